#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A host is cut off for longer than its lease, and another one takes its image over: nothing that
the first one does then comes to the store, from whatever descriptor, until it acquires anew."""
import errno
import os

from pair import IMAGE_BYTES, QEMU_BYTES, locks_of, runs
from scenario import QUICK, Theme, Wrong, expect_same, expect_state
import testbed

theme = Theme("fence")
OFF = "fence=off,deadline=1000"


def owned(pair, flags="rw"):
    """A owns the image and has it open by another descriptor, too."""
    name = pair.image()
    a = pair.a.vmm(name, flags)
    a.open(2, name, "rw")
    a.lock(1)
    a.write(1, 0, IMAGE_BYTES, "A")
    a.ask("fsync 1")
    return name, a


def taken_over(pair, name):
    """A is cut off, its locks are gone, and B owns the image; then A is back."""
    pair.a.control("partition")
    b = pair.b.vmm(name)
    b.lock(1)
    expect_state(pair, b, 1, "owner")
    b.write(1, 0, IMAGE_BYTES, "B")
    b.ask("fsync 1")
    pair.a.control("heal")
    return b


def expect_refused(vmm, line):
    number = vmm.error(line)
    if number == 0:
        raise Wrong(f"a host without locks may: {line}")
    testbed.check(number == errno.EIO, f"{line}: {errno.errorcode.get(number, number)}")


def expect_kept(pair, name):
    stored = pair.stored(name)
    if stored != b"B" * IMAGE_BYTES:
        raise Wrong(f"the store holds {len(stored)} bytes, {stored.count(b'B')} of the owner's")


def expect_fenced(pair, vmm, slot=1):
    if not pair.twin:
        testbed.wait_until(lambda: vmm.state(slot) == "fenced", what="the fence")


def another(line):
    """The stale host changes the file by a descriptor that never held a lock."""
    def scenario(pair):
        name, a = owned(pair)
        taken_over(pair, name)
        path = pair.a.path(name)
        expect_refused(a, line.format(path=path))
        a.error("fsync 2")
        expect_kept(pair, name)
        expect_fenced(pair, a)
    return scenario


CHANGES = {
    "a_write": "write 2 0 4096 X",
    "a_write_beyond_the_end": f"write 2 {IMAGE_BYTES} 4096 X",
    "a_truncate": "resize 2 4096",
    "a_truncate_by_path": "truncate 4096 {path}",
    "an_allocation": f"allocate 2 {IMAGE_BYTES} 4096",
    "a_copy": "copy 2 2 131072 0 4096",
    "a_truncating_open": "open 3 rw+t {path}",
}
for change_name, change_line in CHANGES.items():
    theme.scenario(OFF, name=f"{change_name}_by_another_descriptor")(another(change_line))


@theme.scenario(OFF)
def a_new_descriptor_writes_nothing(pair):
    name, a = owned(pair)
    taken_over(pair, name)
    a.open(3, name, "rw+d")
    expect_refused(a, "write 3 0 4096 X")
    expect_kept(pair, name)


@theme.scenario(OFF)
def a_mapping_writes_nothing(pair):
    name, a = owned(pair)
    a.ask(f"map 2 {IMAGE_BYTES}")
    taken_over(pair, name)
    a.ask("store 2 0 4096 X")
    a.error("msync 2")
    expect_kept(pair, name)


@theme.scenario(OFF)
def what_is_unlocked_and_opened_anew_writes_nothing(pair):
    """Latched: through unlock, close and reopen, while another host is owner."""
    name, a = owned(pair)
    taken_over(pair, name)
    a.error("write 1 0 4096 X")
    expect_fenced(pair, a)
    a.unlock(1)
    expect_refused(a, "write 1 0 4096 X")
    expect_refused(a, "write 2 0 4096 X")
    a.ask("close 1")
    a.ask("close 2")
    a.open(1, name)
    expect_refused(a, "write 1 0 4096 X")
    expect_kept(pair, name)
    expect_fenced(pair, a)


@theme.scenario(OFF)
def what_is_closed_unnoticed_writes_nothing(pair):
    """Nobody used the lost locks before they were given back: it is no hand-over."""
    name, a = owned(pair)
    taken_over(pair, name)
    record = pair.record(name)
    a.ask("close 1")
    a.ask("close 2")
    expect_same(pair.record(name), record, "the record of the new owner")
    a.open(1, name)
    a.lock(1)
    expect_refused(a, "write 1 0 4096 X")
    expect_kept(pair, name)


@theme.scenario(OFF)
def what_is_opened_later_reads_what_is_stored(pair):
    """A VMM reads its image's head before it locks it: it must be able to come back."""
    name, a = owned(pair)
    a.read(2, 0, IMAGE_BYTES)
    taken_over(pair, name)
    expect_refused(a, "write 1 0 4096 X")
    expect_fenced(pair, a)
    expect_refused(a, f"read 2 0 {IMAGE_BYTES}")
    a.open(3, name)
    expect_same(a.read(3, 0, IMAGE_BYTES), runs("B"), "a new open reads")
    expect_refused(a, "write 3 0 4096 X")


@theme.scenario(options="profile=flock,deadline=1000")
def a_lock_on_a_descriptor_that_cannot_read_is_not_lost(pair):
    """As of `exec 9>image; flock 9`."""
    name = pair.image()
    a = pair.a.vmm(name, "w")
    a.ask("flock 1 ex")
    a.open(2, name, "r")
    pair.a.ctl("status", pair.a.path(name))
    expect_state(pair, a, 1, "owner")
    a.write(1, 0, 4096, "A")


@theme.scenario()
def no_lock_is_taken_beside_lost_ones(pair):
    name, a = owned(pair)
    taken_over(pair, name)
    a.error("write 1 0 4096 X")
    expect_fenced(pair, a)
    testbed.check(a.error("lock 1 r 110 1") == errno.EIO, "a lock beside the lost ones")
    late = pair.a.vmm(name)
    testbed.check(late.error("lock 1 r 100 1") == errno.EIO, "another's lock beside the lost ones")


def is_open_below(pair, name):
    """Whether A's daemon has the image open, not only found."""
    process = f"/proc/{pair.a.above.pid}"
    for number in os.listdir(f"{process}/fd"):
        try:
            path = os.readlink(f"{process}/fd/{number}")
            with open(f"{process}/fdinfo/{number}", encoding="ascii") as file:
                flags = int(file.read().split("flags:")[1].split()[0], 8)
        except FileNotFoundError:
            continue  # closed meanwhile
        if path == os.path.join(pair.a.below.path, name) and not flags & os.O_PATH:
            return True
    return False


def record_is_guarded(pair, name):
    """A lock lies on the record, at the store."""
    return bool(locks_of(pair.record_path(name)))


def keeps_the_owners_record(give):
    """A host that does not know yet that it has lost its image hands it over."""
    def scenario(pair):
        name, a = owned(pair)
        if not pair.twin:
            testbed.wait_until(lambda: record_is_guarded(pair, name), what="the record's lock")
        b = taken_over(pair, name)
        record = pair.record(name)
        give(a)
        testbed.wait_until(lambda: not is_open_below(pair, name), what="A's close below")
        expect_same(pair.record(name), record, "the record of the owner")
        b.write(1, 0, IMAGE_BYTES, "C")
        b.unlock(1)
        testbed.check(pair.record(name)[:2] == ("released", 2), f"{pair.record(name)}")
        late = pair.a.vmm(name)
        late.lock(1)
        expect_state(pair, late, 1, "owner")
        testbed.check(pair.record(name)[:2] == ("owned", 3), f"{pair.record(name)}")
        expect_same(late.read(1, 0, IMAGE_BYTES), runs("C"), "A reads")
    return scenario


def unlocks_all(vmm):
    for byte in QEMU_BYTES:
        vmm.error(f"unlock 1 {byte} 1")
    vmm.close()


for how, what in (("unlock", unlocks_all), ("close", lambda vmm: vmm.close()),
                  ("kill", lambda vmm: vmm.kill())):
    theme.scenario(OFF, name=f"the_owners_record_stays_after_a_stale_{how}")(
        keeps_the_owners_record(what))


@theme.scenario()
def a_full_acquire_ends_it(pair):
    """On the descriptor that lost its locks, too: they are taken by a new one below."""
    name, a = owned(pair)
    b = taken_over(pair, name)
    a.error("write 1 0 4096 X")
    expect_fenced(pair, a)
    a.unlock(1)
    a.lock(1)  # B is there still
    expect_fenced(pair, a)
    testbed.check(a.error("write 1 0 4096 X") == errno.EIO, "a write beside the owner's")
    a.unlock(1)
    b.unlock(1)
    a.lock(1)
    expect_state(pair, a, 1, "owner")
    expect_same(a.read(1, 0, IMAGE_BYTES), runs("B"), "A reads")
    a.write(1, 0, 4096, "C")
    a.write(2, 4096, 4096, "D")
    a.ask("fsync 1")
    stored = pair.stored(name)
    testbed.check(stored[:8192] == b"C" * 4096 + b"D" * 4096, "the new owner's writes")


@theme.scenario()
def an_error_of_the_store_fences_nobody(pair):
    name, a = owned(pair)
    pair.a.control("fail write EIO 1")
    a.error("write 1 0 4096 X")
    a.error("fsync 1")
    pair.a.ctl("status", "--json", pair.a.path(name))
    expect_state(pair, a, 1, "owner")
    a.write(1, 0, 4096, "C")
    testbed.check(a.error("fsync 1") == 0, "the owner cannot go on")


@theme.scenario()
def a_descriptor_without_locks_writes_as_it_was_opened(pair):
    """By the guard, with its own flags: at the end where it appends, whole where it is direct."""
    name, a = owned(pair)
    a.open(3, name, "rw+d")
    a.write(3, 4096, 4096, "D")
    a.write(2, 1, 3, "E")
    a.open(4, name, "rw+a")
    a.write(4, 0, 3, "F")
    a.ask("fsync 1")
    stored = pair.stored(name)
    testbed.check(stored[:8192] == b"AEEE" + b"A" * 4092 + b"D" * 4096, "the writes of others")
    testbed.check(stored[IMAGE_BYTES:] == b"FFF", f"{len(stored)} bytes: what was appended")


if __name__ == "__main__":
    theme.main()
