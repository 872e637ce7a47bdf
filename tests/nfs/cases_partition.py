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


def cut_past_lease(site, host):
    """Cuts a host off until its lease is over at the server."""
    site.client(host).cut()
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


def long_partition(through, site, _image):
    """Longer than the lease: another host becomes owner, and writes. What the old owner writes by
    the descriptor that held the locks, or by another one, must not land; the new owner reads its
    own data, and so does the old host when it is owner again."""
    name = calls.image(site)
    guest = calls.vmm(site, site.a, name)
    guest.open(2, name)
    other = calls.vmm(site, site.b, name)
    expect(calls.acquires(guest), "refused though alone")
    guest.write(1, 0, calls.IMAGE_BYTES, "1")
    guest.ask("fsync 1")
    other.read(1, 0, calls.IMAGE_BYTES)
    try:
        cut_past_lease(site, site.a)
        guest.begin(f"write {through} 0 {HALF} s")
        guest.begin(f"fsync {through}")
        acquire_at_last(other, "the takeover")
        expect_byte(other, "1", 0, calls.IMAGE_BYTES, "what the old owner had synced")
        other.write(1, 0, calls.IMAGE_BYTES, "2")
        other.ask("fsync 1")
    finally:
        site.client(site.a).heal()
    answers = [result(guest), result(guest)]
    again = f"write {through} {HALF} {HALF} t"
    answers += [guest.error(again), guest.error(f"fsync {through}")]
    print(f"the old owner's write, fsync, write, fsync: {answers}")
    expect_byte(other, "2", 0, calls.IMAGE_BYTES, "the new owner's own data")
    with open(f"{site.store}/{name}", "rb") as stored:
        landed = set(stored.read()) & set(b"st")
    expect(not landed, f"the old owner's writes landed ({answers}): {bytes(landed)}")
    other.unlock(1)
    guest.error("close 1")
    guest.error("close 2")
    guest.open(3, name)
    acquire_at_last(guest, "the old host as owner again", slot=3)
    expect_byte(guest, "2", 0, calls.IMAGE_BYTES, "what the other owner wrote", slot=3)


def result(machine):
    """The errno of a call begun."""
    try:
        machine.end()
        return 0
    except pair.CallFailed as failure:
        return failure.number


def looked_at(site, name):
    """What an administrator does on the other host; how each ended."""
    path = site.b.path(name)
    commands = (["stat", path], ["ls", "-l", site.b.path(".")],
                ["qemu-img", "info", "-U", "-f", "raw", path],
                ["cp", path, site.bed.unique("copy")])
    return [site.bed.run(command, expect=None).returncode for command in commands]


def looked_at_while_cut_off(site, _image):
    """The owner is cut off for longer than its lease, and the other host only looks at one of its
    two images. No one takes over: all guests of the owner go on."""
    names = [calls.image(site, name) for name in ("looked-at", "left-alone")]
    guests = [calls.vmm(site, site.a, name) for name in names]
    for guest in guests:
        expect(calls.acquires(guest), "refused though alone")
        guest.write(1, 0, HALF, "1")
        guest.ask("fsync 1")
    looked_at(site, names[0])
    try:
        cut_past_lease(site, site.a)
        ended = looked_at(site, names[0])
    finally:
        site.client(site.a).heal()
    print(f"the tools ended with {ended}")
    went_on = [(guest.error(f"write 1 0 {HALF} 2"), guest.error("fsync 1")) for guest in guests]
    expect(went_on == [(0, 0)] * 2, f"the guests' write and fsync after it: {went_on}")
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
    cells.Case("short partition", quick=False, run=short_partition, images=ONCE, variants=leased, stacks=LATE,
               private=True, deadline_s=150),
    cells.Case("long partition", functools.partial(long_partition, 1), images=ONCE,
               variants=leased, stacks=LATE, private=True, deadline_s=240,
               excused=unfenced_passthrough),
    cells.Case("long partition by another descriptor", functools.partial(long_partition, 2),
               images=ONCE, variants=leased, stacks=LATE, private=True, deadline_s=240,
               excused=unfenced_passthrough),
    cells.Case("looked at while cut off", looked_at_while_cut_off, images=ONCE, variants=leased,
               stacks=LATE, private=True, deadline_s=240),
    cells.Case("server restart under owner", quick=False, run=in_grace(restart_under_owner), variants=leased, stacks=LATE,
               images=(cells.RAW, cells.QCOW2), private=True, deadline_s=240),
    cells.Case("server restart in hand-over", quick=False, run=in_grace(restart_in_handover), variants=leased, stacks=LATE,
               images=(cells.RAW, cells.QCOW2), private=True, deadline_s=300),
]
