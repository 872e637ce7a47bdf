# SPDX-License-Identifier: GPL-2.0-or-later
"""The source's host is cut off from the server, for less and for more than its lease; the server
starts anew. Nothing hangs for good, and who holds the locks reads nothing stale."""
import functools

import calls
import cell as cells
import failed
import migrate
import pair
import vm
from calls import HALF, expect_byte
from scenario import expect
from server import LEASE_S, wait_for

MIB = 1 << 20
ONCE = (cells.RAW,)


def leased(variant):
    """A lease is NFSv4's; root's VMMs need an export where root is root."""
    return variant.version.startswith("4") and not variant.squash and variant.mount == "strict"


def wait_lease(site, host):
    """Waits until the lease of a host that is cut off is over at the server."""
    wait_for(lambda: site.lab.server.lease_is_over(host.name), 6 * LEASE_S, "the lease's end")


def acquire_at_last(machine, what, slot=1):
    """Tries to become owner as an administrator's retries do, until it is possible."""
    wait_for(lambda: calls.acquires(machine, slot), 8 * LEASE_S, what)


def short_partition(site, _image):
    """Shorter than the lease: what was written meanwhile arrives, and the hand-over is as ever."""
    name = calls.image(site)
    guest, beside = calls.vmm(site, site.a, name), calls.vmm(site, site.a, name)
    other = calls.vmm(site, site.b, name)
    expect(calls.acquires(guest), "refused though alone")
    guest.write(1, 0, HALF, "1")
    guest.ask("fsync 1")
    other.read(1, 0, calls.IMAGE_BYTES)
    client = site.client(site.a)
    client.cut()
    try:
        guest.begin(f"write 1 0 {HALF} 2")
        guest.begin("fsync 1")
        beside.begin(f"write 1 {HALF} {HALF} 3")
        beside.begin("fsync 1")
        beside.answers_within(LEASE_S / 4)
    finally:
        client.heal()
    for machine in (guest, guest, beside, beside):
        machine.end()
    guest.unlock(1)
    acquire_at_last(other, "the hand-over after it")
    expect_byte(other, "2", 0, HALF, "the guest's write")
    expect_byte(other, "3", HALF, HALF, "the write beside it")


# How an old owner's data may still come: what its VMM does before its host is cut off, meanwhile,
# and when the host is back. By slot 1 it holds the locks, slot 2 is another descriptor.
WAYS = {
    "the locked descriptor": ((), ("write 1 0 {half} s", "fsync 1"),
                              ("write 1 {half} {half} t", "fsync 1")),
    "another descriptor": ((), ("write 2 0 {half} s", "fsync 2"),
                           ("write 2 {half} {half} t", "fsync 2")),
    "a direct write under way": (("open 3 rw+d {path}",), ("write 3 0 {half} s",), ()),
    "pages dirty below": ((), ("write 2 0 {half} s",), ("fsync 2",)),
    "pages dirty in a mapping": (("map 2 {length}", "load 2 0 {length}"), ("store 2 0 {half} s",),
                                 ("msync 2",)),
    "a new descriptor": ((), (), ("open 3 rw {path}", "write 3 0 {half} s", "fsync 3")),
    "a truncating open": ((), (), ("open 3 rw+t {path}",)),
    "a truncation": ((), (), ("resize 2 4096",)),
    "a truncation by name": ((), (), ("truncate 4096 {path}",)),
    "a write past the end": ((), (), ("write 2 {length} 4096 s", "fsync 2")),
    "an allocation past the end": ((), (), ("allocate 2 {length} 4096",)),
    "a copy": (("open 3 rw+c {path}.source", "write 3 0 {half} s", "fsync 3"), (),
               ("copy 3 2 0 0 {half}", "fsync 2")),
    "a descriptor unlocked": ((), (), ("UNLOCK", "write 1 0 {half} s", "fsync 1")),
    "a descriptor locked again": ((), (), ("UNLOCK", "LOCK", "write 1 0 {half} s", "fsync 1")),
    "an image opened again": ((), (), ("close 1", "close 2", "open 1 rw {path}", "LOCK",
                                       "write 1 0 {half} s", "fsync 1")),
}
AT_ONCE = {"LOCK": [f"lock 1 r {byte} 1" for byte in pair.QEMU_BYTES],
           "UNLOCK": [f"unlock 1 {byte} 1" for byte in pair.QEMU_BYTES]}


class OldOwner:
    """A VMM whose image is taken over while its host is cut off."""

    def __init__(self, site, number, way):
        self.way = way
        self.before, self.meanwhile, self.after = WAYS[way]
        self.slot = number + 1  # of the new owner's VMM
        self.name = calls.image(site, f"image{number}")
        self.path = site.a.path(self.name)
        self.guest = calls.vmm(site, site.a, self.name)
        self.guest.open(2, self.name)
        expect(calls.acquires(self.guest), "refused though alone")
        self.guest.write(1, 0, calls.IMAGE_BYTES, "1")
        self.guest.ask("fsync 1")
        self.begin(self.before)
        self.ends()

    def begin(self, lines):
        for line in lines:
            for call in AT_ONCE.get(line, [line]):
                self.guest.begin(call.format(half=HALF, length=calls.IMAGE_BYTES, path=self.path))

    def ends(self):
        """The errno of each call that was begun."""
        return [result(self.guest) for _ in list(self.guest.pending)]

    def stored(self, site):
        """None, or what is there that the new owner did not write."""
        with open(f"{site.store}/{self.name}", "rb") as file:
            content = file.read()
        if content == b"2" * calls.IMAGE_BYTES:
            return None
        return (f"by {self.way}: {len(content)} bytes, "
                f"{len(content) - content.count(b'2')} not the owner's")


def long_partition(site, _image):
    """Longer than the lease: another host becomes owner, and writes. Nothing that the old owner had
    begun, or does now, by whatever descriptor, must change a byte or the length; the new owner
    reads its own data, and so does the old host when it is owner again."""
    owners = [OldOwner(site, number, way) for number, way in enumerate(WAYS)]
    other = calls.vmm(site, site.b)
    for owner in owners:
        other.open(owner.slot, owner.name)
        other.read(owner.slot, 0, calls.IMAGE_BYTES)
    try:
        site.client(site.a).cut()
        for owner in owners:
            owner.begin(owner.meanwhile)
        wait_lease(site, site.a)
        for owner in owners:
            acquire_at_last(other, "the takeover", owner.slot)
            expect_byte(other, "1", 0, calls.IMAGE_BYTES, "what the old owner had synced",
                        owner.slot)
            other.write(owner.slot, 0, calls.IMAGE_BYTES, "2")
            other.ask(f"fsync {owner.slot}")
    finally:
        site.client(site.a).heal()
    for owner in owners:
        owner.begin(owner.after)
    for owner in owners:
        print(f"{owner.way}: {owner.ends()}")
        owner.guest.close()
    landed = [change for owner in owners if (change := owner.stored(site))]
    expect(not landed, f"the old owner changed the image {'; '.join(landed)}")
    for owner in owners:
        expect_byte(other, "2", 0, calls.IMAGE_BYTES, "the new owner's own data", owner.slot)
    other.unlock(owners[0].slot)
    again = calls.vmm(site, site.a, owners[0].name)
    acquire_at_last(again, "the old host as owner again")
    expect_byte(again, "2", 0, calls.IMAGE_BYTES, "what the other owner wrote")


def result(machine):
    """The errno of a call begun."""
    try:
        machine.end()
        return 0
    except pair.CallFailed as failure:
        return failure.number


def look(site, name):
    """What an administrator does on the other host; how each ended."""
    path = site.b.path(name)
    commands = (["stat", path], ["ls", "-l", site.b.path(".")],
                ["qemu-img", "info", "-U", "-f", "raw", path],
                ["cp", path, site.bed.unique("copy")])
    return [site.bed.run(command, expect=None).returncode for command in commands]


def ask_for_lock(site, name):
    """A look that does harm: it asks the server whether somebody else has the image locked."""
    other = calls.vmm(site, site.b, name)
    answer = other.ask(f"getlk 1 w {calls.USES_WRITE} 1")
    other.close()
    return answer


def call_back(site, name):
    """After a partition the server may send its calls to a connection that its client has given up,
    until TCP tells: a delegation recalled meanwhile is revoked, and the locks behind it are gone, on
    bare NFS too. The recall of one that guards nothing finds that out."""
    calls.vmm(site, site.b, name).close()


def looked_at_while_cut_off(look_at, site, _image):
    """The owner is cut off for longer than its lease, and the other host only looks at one of its
    two images. No one takes over: all guests of the owner go on."""
    names = [calls.image(site, name) for name in ("looked-at", "left-alone")]
    delegated = calls.vmm(site, site.a, calls.image(site, "unlocked"))
    guests = [calls.vmm(site, site.a, name) for name in names]
    for guest in guests:
        expect(calls.acquires(guest), "refused though alone")
        guest.write(1, 0, HALF, "1")
        guest.ask("fsync 1")
    look_at(site, names[0])
    try:
        site.client(site.a).cut()
        wait_lease(site, site.a)
        ended = look_at(site, names[0])
    finally:
        site.client(site.a).heal()
    print(f"the look ended with {ended}")
    went_on = [(guest.error(f"write 1 0 {HALF} 2"), guest.error("fsync 1")) for guest in guests]
    expect(went_on == [(0, 0)] * 2, f"the guests' write and fsync after it: {went_on}")
    call_back(site, "unlocked")
    delegated.close()
    for name in names:
        other = calls.vmm(site, site.b, name)
        expect(not calls.acquires(other), f"{name} was there to be taken")
        other.close()
    for guest, name in zip(guests, names):
        guest.unlock(1)
        other = calls.vmm(site, site.b, name)
        acquire_at_last(other, "the hand-over after it")
        expect_byte(other, "2", 0, HALF, "what was written after it")


# ---- the server starts anew ----

def in_grace(run):
    """A case that restarts the server: the next one's locks must not wait for its grace."""
    def run_to_end(site, image):
        try:
            return run(site, image)
        finally:
            site.lab.server.wait_grace()
    return run_to_end


def restart_under_owner(site, image):
    """The guest goes on, and migrates."""
    disk = site.image(**image.disk())
    source = site.start(site.a, disk)
    source.write(1, 0, 4 * MIB)
    source.flush()
    site.read_before(site.b, disk)
    site.lab.server.restart()
    source.write(2, 0, MIB)
    source.flush()
    site.lab.server.wait_grace()
    destination = site.start(site.b, disk, incoming=True)
    source.write(3, MIB, MIB)
    downtime_ms = migrate.migrate(source, destination)
    for pattern, offset in ((2, 0), (3, MIB), (1, 2 * MIB)):
        expect(destination.reads(pattern, offset, MIB), f"stale: {offset >> 20} MiB")
    destination.quit()
    site.check_image(disk)
    return downtime_ms


def continues(machine):
    """A lock that the server does not give within migfs's deadline leaves the guest paused; the
    administrator tells it to go on until it does."""
    try:
        machine.qmp.command("cont")
        return True
    except vm.QmpError:
        return False


def restart_in_handover(site, image):
    """Between the source's pause and its end: the guest is on one of both sides afterwards, with all
    that it wrote, and can go over."""
    disk = site.image(**image.disk())
    source = site.start(site.a, disk)
    source.write(1, 0, 4 * MIB)
    source.flush()
    site.read_before(site.b, disk)
    destination = site.start(site.b, disk, incoming=True)
    migrate.capability((source, destination), "return-path")
    source.write(2, 0, MIB)
    failed.pause_at_switch(source, destination)
    site.lab.server.restart()
    source.qmp.command("migrate-continue", state="pre-switchover")
    status = migrate.wait(source, timeout=240)
    site.lab.server.wait_grace()
    print(f"the migration {status}")
    if status != "completed":
        destination.kill()
        failed.resume_source(source)
        expect(source.reads(2, 0, MIB), "the source lost data")
        source.write(4, 3 * MIB, MIB)
        migrate.capability((source,), "pause-before-switchover", "return-path", on=False)
        destination = site.start(site.b, disk, incoming=True)
        migrate.migrate(source, destination)
        expect(destination.reads(4, 3 * MIB, MIB), "stale: what was written after the failure")
    else:
        migrate.wait(destination, timeout=240)
        wait_for(lambda: continues(destination), 12 * LEASE_S, "the guest at the destination")
        source.quit()
    for pattern, offset in ((2, 0), (1, MIB)):
        expect(destination.reads(pattern, offset, MIB), f"stale: {offset >> 20} MiB")
    expect(destination.writes(5, 0, MIB), "the destination cannot write")
    destination.quit()
    site.check_image(disk)


def unfenced_passthrough(stack, _image, _variant):
    """Why the server lets a stale owner write, or None."""
    return ("the kernel's own description holds no lock" if stack == "migfs-passthrough" else None)


LATE = ("bare", "bindfs", "migfs", "migfs-passthrough")

CASES = [
    cells.Case("short partition", short_partition, twins=cells.BINDFS, images=ONCE,
               variants=leased, stacks=LATE, private=True, deadline_s=150),
    cells.Case("long partition", long_partition, images=ONCE, variants=leased, stacks=LATE,
               twins=("bare", "bindfs", cells.FENCE_OFF), private=True, deadline_s=300,
               excused=unfenced_passthrough),
    cells.Case("looked at while cut off",
               functools.partial(looked_at_while_cut_off, look), images=ONCE, variants=leased,
               stacks=LATE, private=True, deadline_s=240,
               no_twin="no layer does more than look: its twin is the case that asks for a lock"),
    # A server that knows what it owes nobody gives up a host's state when asked about a lock of it.
    cells.Case("asked for a lock while cut off",
               functools.partial(looked_at_while_cut_off, ask_for_lock), images=ONCE,
               variants=leased, stacks=(), twins=("bare",), private=True, deadline_s=240),
    cells.Case("server restart under owner", in_grace(restart_under_owner), twins=cells.BINDFS,
               variants=leased, stacks=LATE, images=(cells.RAW, cells.QCOW2), private=True,
               alone=True, deadline_s=240, quick=False),
    cells.Case("server restart in hand-over", in_grace(restart_in_handover), twins=cells.BINDFS,
               variants=leased, stacks=LATE, images=(cells.RAW, cells.QCOW2), private=True,
               alone=True, deadline_s=300, quick=False),
]
