# SPDX-License-Identifier: GPL-2.0-or-later
"""Stores that refuse, locks that stay on their host, hosts without the stack, readers that take no
locks."""
import contextlib
import functools
import os

import beside
import calls
import cell as cells
import migrate
import pair
import scenario
import server
import testbed
from calls import HALF, expect_byte
from scenario import expect

MIB = 1 << 20
ONCE = (cells.RAW,)
RAWS = tuple(image for image in cells.IMAGES if image.format == "raw")
STORE_BYTES = 48 * MIB
LAYERS = ("bare", "bindfs", "migfs", "migfs-passthrough")
KERNEL_READS = "passthrough: the kernel reads, as NFS gives it"


def root_is_root(variant):
    return not variant.squash


# ---- a reader that takes no lock ----

def reader_without_locks(site, image):
    """Beside a guest on the other host it reads what the guest has written and flushed: by the
    descriptor that it had, by a new one, and with the length that the image has by now."""
    disk = site.image(**image.disk())
    guest = site.start(site.a, disk)
    guest.write(1, 0, 4 * MIB)
    guest.flush()
    path = site.b.path(disk.name)
    with open(path, "rb", buffering=0) as reader:
        while reader.read(MIB):
            pass
        guest.write(2, 0, MIB)
        guest.flush()
        expect(os.pread(reader.fileno(), MIB, 0) == b"\2" * MIB, "stale: by the descriptor it had")
        expect(beside.has_pattern(path, 2, 0, MIB), "stale: by a new one")
        guest.qmp.command("block_resize", node_name="disk0", size=96 * MIB)
        guest.write(3, 95 * MIB, MIB)
        guest.flush()
        expect(os.fstat(reader.fileno()).st_size == 96 * MIB, "stale length")
        expect(os.pread(reader.fileno(), MIB, 95 * MIB) == b"\3" * MIB, "stale: what was appended")
        expect(os.stat(path).st_size == 96 * MIB, "stale length by name")
    expect(guest.writes(4, 0, MIB), "the guest cannot write any more")


# ---- one host with the stack, one without ----

def one_host_without(with_stack, site, image):
    """The other host's QEMU has bare NFS, and locks for itself: there and back again."""
    if with_stack == "source":
        site.b = calls.bare(site, site.b)
    else:
        site.a = calls.bare(site, site.a)
    disk = site.image(**image.disk())
    source = site.start(site.a, disk)
    source.write(1, 0, 4 * MIB)
    source.flush()
    site.read_before(site.b, disk)
    destination = site.start(site.b, disk, incoming=True)
    source.write(2, 0, MIB)
    downtime_ms = migrate.migrate(source, destination)
    source.quit()
    for pattern, offset in ((2, 0), (1, MIB)):
        expect(destination.reads(pattern, offset, MIB), f"stale there: {offset >> 20} MiB")
    site.read_before(site.a, disk)
    back = site.start(site.a, disk, incoming=True)
    destination.write(3, MIB, MIB)
    migrate.migrate(destination, back)
    for pattern, offset in ((2, 0), (3, MIB), (1, 2 * MIB)):
        expect(back.reads(pattern, offset, MIB), f"stale back again: {offset >> 20} MiB")
    expect(back.writes(4, 0, MIB), "cannot write")
    back.quit()
    site.check_image(disk)
    return downtime_ms


# ---- stores that refuse ----

@contextlib.contextmanager
def store_of_its_own(site):
    """A pair of hosts on a small filesystem of its own, exported below the cell's directory. Where
    all was right they leave it before it goes: the server keeps a client whose files have gone with
    an export, and that asks for its end for ten seconds (linux/fs/nfs/nfs4proc.c,
    nfs4_proc_destroy_clientid)."""
    with site.lab.server.nested(f"{site.store}/small", STORE_BYTES) as store:
        before = len(site.bed.mounts)
        small = scenario.Pair(site.bed, site.stack, [
            site.host_over(client, store, f"{site.below(client)}/small")
            for client in site.clients], site.as_user)
        try:
            yield small
        finally:
            small.end()
        for mount in reversed(site.bed.mounts[before:]):
            mount.umount()
        for client in site.clients:
            server.sh("umount", f"{site.below(client)}/small", check=False)


def full(_site, store):
    return server.full(store)


def read_only(site, store):
    return site.lab.server.read_only(store)


def broken(site, store):
    return site.lab.server.broken(store)


def image_in(store, refusing, name="image"):
    """One whose blocks are there before its disk breaks; otherwise it has none yet."""
    with open(f"{store}/{name}", "wb") as file:
        if refusing is broken:
            file.write(b"0" * calls.IMAGE_BYTES)
            os.fsync(file.fileno())
        else:
            file.truncate(calls.IMAGE_BYTES)
    return name


def unlock_all(machine, slot=1):
    """The errno of each unlock, as QEMU goes on after one that fails."""
    return [machine.error(f"unlock {slot} {byte} 1") for byte in pair.QEMU_BYTES]


def handover_fails(refusing, site, _image):
    """What the source wrote cannot be stored when it lets go: it is told, keeps the image, and the
    other host is refused. When the store is well again all goes on, and nothing is lost that was
    acknowledged."""
    with store_of_its_own(site) as small:
        name = image_in(small.a.store, refusing)
        guest, other = calls.vmm(site, small.a, name), calls.vmm(site, small.b, name)
        expect(calls.acquires(guest), "refused though alone")
        guest.write(1, 0, HALF, "1")
        guest.ask("fsync 1")
        other.read(1, 0, calls.IMAGE_BYTES)
        with refusing(site, small.a.store):
            wrote = guest.error(f"write 1 {HALF} {HALF} 2")
            unlocked = unlock_all(guest)
            print(f"write {wrote}, unlocks {unlocked}")
            expect(wrote or any(unlocked), "nobody was told that what was written is lost")
            expect(wrote or not calls.acquires(other), "the other host got what was not stored")
        server.wait_for(lambda: calls.acquires(guest), 60, "the source as owner again")
        guest.write(1, HALF, HALF, "3")
        guest.ask("fsync 1")
        guest.unlock(1)
        server.wait_for(lambda: calls.acquires(other), 60, "the hand-over")
        expect_byte(other, "1", 0, HALF, "what was acknowledged before")
        expect_byte(other, "3", HALF, HALF, "what was acknowledged after")
        guest.close()
        other.close()


def no_room_at_migration(site, image):
    """The guest's data finds no room when it is to go: it stays, what it had flushed is there, and
    when there is room it can go."""
    with store_of_its_own(site) as small:
        disk = small.image(size="32M", **image.disk())
        source = small.start(small.a, disk)
        source.write(1, 0, 4 * MIB)
        source.flush()
        small.read_before(small.b, disk)
        destination = small.start(small.b, disk, incoming=True)
        with full(site, small.a.store):
            said = source.io(f"write -P 2 {8 * MIB} {4 * MIB}")
            refused = "rror" in said or "fail" in said
            try:
                migrate.migrate(source, destination, timeout=240)
                expect(refused, "it went, and left behind what found no room")
                guest = destination
            except migrate.MigrationFailed as failed:
                print(f"the migration {failed}")
                destination.kill()
                guest = source
        print(f"the write: {said}")
        if guest is source:
            expect(source.reads(1, 0, 4 * MIB), "the source lost data")
            source.quit()  # QEMU never flushes again by what has failed to flush once
            source = small.start(small.a, disk)
            expect(source.reads(1, 0, 4 * MIB), "stale: what was flushed before")
            source.write(3, 8 * MIB, 4 * MIB)
            source.flush()
            guest = small.start(small.b, disk, incoming=True)
            migrate.migrate(source, guest, timeout=240)
            expect(guest.reads(3, 8 * MIB, 4 * MIB), "stale: what was written when there was room")
        expect(guest.reads(1, 0, 4 * MIB), "stale: what was flushed before")
        expect(guest.writes(4, 0, MIB), "cannot write")
        guest.quit()
        small.check_image(disk)


# ---- a server that refuses root ----

MODES = (0o600, 0o644, 0o666)


def what_root_meets(site, host, prefix):
    """What each call of a VMM that runs as root gives, on the images of a user; at last one of them
    is open for writing when the server takes the permission away."""
    machine = calls.vmm(site, host)
    met = []
    for mode in MODES:
        path = host.path(f"{prefix}{mode:o}")
        met += [f"{mode:o}: {line.split()[0]} {machine.error(line.format(path=path))}" for line in (
            "truncate 4096 {path}", "open 1 r {path}", "read 1 0 4096", "open 2 rw {path}",
            f"write 2 0 {HALF} r", "fsync 2")]
    met.append(f"create {machine.error(f'open 3 rw+c {host.path(prefix)}')}")
    for line in (*(f"lock 2 r {byte} 1" for byte in pair.QEMU_BYTES), f"write 2 0 {HALF} r",
                 "fsync 2"):
        met.append(f"{line.split()[0]} {machine.error(line)}")
    os.chmod(f"{site.store}/{prefix}{MODES[-1]:o}", 0o600)
    refused = [machine.error(f"write 2 {HALF} {HALF} x"), machine.error("fsync 2")]
    expect(any(refused), "the server lets root write")
    met += [f"refused {refused}", f"unlock {unlock_all(machine, 2)}",
            f"close {machine.error('close 2')}"]
    machine.close()
    return met


def root_is_refused(site, _image):
    """The same errors as on bare NFS, and not a byte of what was refused."""
    for prefix in ("reference", "image"):
        for mode in MODES:
            name = calls.image(site, f"{prefix}{mode:o}")
            os.chown(f"{site.store}/{name}", testbed.USER_UID, testbed.USER_GID)
            os.chmod(f"{site.store}/{name}", mode)
    expected = what_root_meets(site, calls.bare(site, site.a), "reference")
    met = what_root_meets(site, site.a, "image")
    print(f"on bare NFS: {expected}")
    expect(met == expected, f"met {met}, on bare NFS {expected}")
    with open(f"{site.store}/image{MODES[-1]:o}", "rb") as stored:
        expect(b"x" not in stored.read(), "what was refused is stored")


BUFFERED = (cells.Image("raw", "writeback"), cells.QCOW2)

def refused(name, refusing, **fields):
    return cells.Case(f"{name} at hand-over", functools.partial(handover_fails, refusing),
                      images=ONCE, stacks=LAYERS, variants=root_is_root, private=True,
                      deadline_s=150, excused=cells.unrefused, **fields)


CASES = [
    cells.Case("reader without locks", reader_without_locks, images=RAWS, twins=cells.BINDFS,
               stacks=LAYERS, deadline_s=150,
               variants=lambda variant: variant.mount == "strict",
               excused=lambda stack, image, variant:
               KERNEL_READS if stack == "migfs-passthrough" else None),
    cells.Case("stack at the source alone", functools.partial(one_host_without, "source"),
               twins=cells.BINDFS, stacks=LAYERS, deadline_s=180, quick=False),
    cells.Case("stack at the destination alone", functools.partial(one_host_without, "destination"),
               twins=cells.BINDFS, stacks=LAYERS, deadline_s=180),
    refused("no room", full, twins=cells.BINDFS),
    refused("read-only store", read_only, twins=cells.BINDFS),
    refused("broken disk", broken, twins=cells.BINDFS),
    cells.Case("no room at migration", no_room_at_migration, images=BUFFERED, twins=cells.BINDFS,
               stacks=LAYERS, variants=root_is_root, private=True, deadline_s=240, quick=False),
    cells.Case("root refused", root_is_refused, images=ONCE, stacks=LAYERS,
               variants=lambda variant: variant.squash and variant.mount == "strict",
               no_twin="what bare NFS gives is in the case"),
]
