#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Each step of an acquire and of a release: right with it, wrong when it alone is left out.

The twins need a build with MIGFS_FAULTS. Some steps are masked by others most of the time, and show
in a corner. DROP: ctofs, as Linux's NFS client, drops its pages at a lock by itself; pages that came
after the lock. READ_RECORD: each lock looks at a record that is listed; where the list could not be
read, and where records are required. INVALIDATE of a release: its FLUSH drops pages, too; where no
handle can have written. FLUSH of a release: its INVALIDATE writes pages out, too, and has the
record written again; where the daemon dies before.
"""
import errno
import os

from pair import IMAGE_BYTES, REST, Stack, locks_of, runs, waits_in_gate
from scenario import QUICK, Theme, expect, expect_same
import testbed

theme = Theme("steps")
WAITING = "deadline=8000"


def needs(step, options=QUICK, fresh=False):
    return theme.scenario(Stack(options=options, skip=step), options=options, fresh=fresh,
                          name="needs_" + step.replace(":", "_").lower())


def opened(pair):
    name = pair.image()
    a, b = pair.a.vmm(name), pair.b.vmm(name)
    b.read(1, 0, IMAGE_BYTES)
    return name, a, b


# Acquire --------------------------------------------------------------------------------------

@needs("acquire:LOCK")
def the_bytes_are_held_below(pair):
    _, a, b = opened(pair)
    a.lock(1, 100, 101)
    a.lock(1, 201)
    expect(b.ask("getlk 1 w 201 1") != "free", "A's 201 is not held at the store")


@needs("acquire:TEST", options="deadline=1500")
def no_two_hosts_own_one_image(pair):
    name, a, b = opened(pair)
    a.lock(1)
    record = pair.record(name)
    b.lock(1)
    expect_same(pair.record(name), record, "the record of the owner")
    b.read(1, 0, IMAGE_BYTES)
    a.write(1, 0, IMAGE_BYTES, "A")
    a.ask("fsync 1")
    testbed.wait_until(lambda: b.read(1, 0, IMAGE_BYTES) == runs("A"), what="B reads fresh")


@needs("acquire:DROP", options=WAITING)
def pages_below_that_came_after_the_lock_go(pair):
    """While the acquire waits for A, another program of host B reads the image on the store."""
    name, a, b = opened(pair)
    below = pair.b.vmm()
    below.ask(f"open 1 r {os.path.join(pair.b.below.path, name)}")
    a.lock(1)
    b.lock(1, 100, 101)
    b.begin("lock 1 r 201 1")
    testbed.wait_until(lambda: locked_below(pair, name, 201), what="B's 201 at the store")
    below.read(1, 0, IMAGE_BYTES)
    a.write(1, 0, IMAGE_BYTES, "A")
    a.unlock(1)
    b.end()
    expect_same(b.read(1, 0, IMAGE_BYTES), runs("A"), "B reads as owner")


def locked_below(pair, name, byte):
    """Two hosts hold read locks of the byte at the store."""
    return sum(int(line[-2]) <= byte and (line[-1] == "EOF" or byte <= int(line[-1]))
               for line in locks_of(os.path.join(pair.store, name))) >= 2


@needs("READ_RECORD", fresh=True)
def a_generation_goes_on_where_the_list_cannot_be_read(pair):
    name, a, b = opened(pair)
    a.lock(1)
    a.unlock(1)
    a.close()
    b.ask("close 1")
    pair.b.control("fail readdir EIO 1000")
    b.open(1, name)
    b.lock(1)
    pair.b.control("fail readdir EIO 0")
    expect_same(pair.record(name)[:2], ("owned", 2), "the record after B's acquire")


@theme.scenario(Stack(options="record=require,deadline=1000", skip="READ_RECORD"),
                options="record=require,deadline=1000", name="needs_read_record_to_refuse")
def a_required_record_that_is_torn_refuses(pair):
    name, a, b = opened(pair)
    a.lock(1)
    a.unlock(1)
    a.close()
    with open(pair.record_path(name), "wb") as file:
        file.write(b"?" * 8192)
    refused = [b.error(f"lock 1 r {byte} 1") for byte in (100, 101, 201)]
    expect(refused[-1] != 0, "acquired without the record that is required")


@needs("acquire:INVALIDATE", options=WAITING)
def pages_that_came_during_the_acquire_go(pair):
    """While the acquire waits for A, another program of host B reads; A writes once more."""
    name, a, b = opened(pair)
    reader = pair.b.vmm(name)
    a.lock(1)
    b.lock(1, 100, 101)
    b.begin("lock 1 r 201 1")
    testbed.wait_until(lambda: reader.ask("read 1 0 512") and locked_below(pair, name, 201),
                       what="B's 201 at the store")
    reader.read(1, 0, IMAGE_BYTES)
    a.write(1, 0, IMAGE_BYTES, "A")
    a.unlock(1)
    b.end()
    expect_same(b.read(1, 0, IMAGE_BYTES), runs("A"), "B reads as owner")


@needs("acquire:VERIFY", fresh=True)
def nobody_starts_on_what_is_known_to_be_stale(pair):
    """B's store goes on giving what it had, past every drop."""
    _, a, b = opened(pair)
    pair.b.control("stale")
    a.lock(1)
    a.write(1, 0, IMAGE_BYTES, "A")
    a.unlock(1)
    b.lock(1, 100, 101)
    if b.error("lock 1 r 201 1") == 0:
        expect_same(b.read(1, 0, IMAGE_BYTES), runs("A"), "B reads as owner")


@needs("acquire:WRITE_RECORD")
def who_opens_beside_an_owner_knows(pair):
    name = pair.image()
    a = pair.a.vmm(name)
    a.lock(1)
    b = pair.b.vmm(name, "r")
    b.read(1, 0, IMAGE_BYTES)
    a.write(1, 0, IMAGE_BYTES, "A")
    a.ask("fsync 1")
    expect_same(b.read(1, 0, IMAGE_BYTES), runs("A"), "B reads")


# Share ----------------------------------------------------------------------------------------

@needs("share:TEST")
def what_another_host_owns_is_not_shared_again(pair):
    """A QEMU finds that out for itself; until it does, nothing gets past the fence."""
    _, a, b = opened(pair)
    a.lock(1)
    a.write(1, 0, IMAGE_BYTES, "A")
    a.unlock(1)
    b.lock(1)
    a.lock(1, 100, 101, 203)
    expect(a.state(1) == "released", f"A is {a.state(1)} beside an owner")
    expect(a.error("write 1 0 4096 X") == errno.EIO, "A writes beside an owner")


# Release --------------------------------------------------------------------------------------

@needs("release:FLUSH", fresh=True)
def a_record_says_released_of_what_is_all_there(pair):
    """The pages of mappings, too: what follows would write them out, had the daemon not died."""
    name, a, b = opened(pair)
    a.lock(1)
    a.ask(f"map 1 {IMAGE_BYTES}")
    a.unlock(1, 101, *REST)
    a.ask(f"store 1 0 {IMAGE_BYTES} A")
    pair.a.kill_at("release:INVALIDATE")
    testbed.check(a.error("unlock 1 201 1") != 0, "unlocked by a dead daemon")
    pair.a.wait_killed()
    testbed.check(pair.record(name)[0] == "released", "the daemon died before its record")
    b.lock(1)
    expect_same(b.read(1, 0, IMAGE_BYTES), runs("A"), "B reads")


@needs("release:DRAIN", options=WAITING, fresh=True)
def a_write_under_way_does_not_come_after(pair):
    """It has passed the gate, and not reached the store: there the sync would wait for it; and the
    FLUSH for one through the page cache."""
    name, a, b = opened(pair)
    writer = pair.a.vmm(name, "rw+d")
    a.lock(1)
    a.unlock(1, 101, *REST)
    with open(pair.a.held_writes, "wb"):
        pass
    writer.begin("write 1 0 4096 X")
    testbed.wait_until(lambda: waits_in_gate(pair.a.above.pid), what="the write in the gate")
    a.begin("unlock 1 201 1")
    if not a.answers_within(0.5):
        os.unlink(pair.a.held_writes)
        writer.end()
    a.end()
    b.lock(1)
    b.write(1, 0, IMAGE_BYTES, "B")
    b.ask("fsync 1")
    if writer.pending:
        os.unlink(pair.a.held_writes)
        writer.end()
    writer.error("fsync 1")
    expect(pair.stored(name) == b"B" * IMAGE_BYTES, "A's write came after B's")


@needs("release:SYNC", fresh=True)
def what_cannot_be_written_is_not_handed_over(pair):
    _, a, b = opened(pair)
    a.lock(1)
    a.unlock(1, 101, *REST)
    a.write(1, 0, IMAGE_BYTES, "A")
    pair.a.control("fail write ENOSPC 1000")
    error = a.error("unlock 1 201 1")
    pair.a.control("fail write ENOSPC 0")
    b.lock(1)
    if error == 0:
        expect_same(b.read(1, 0, IMAGE_BYTES), runs("A"), "B reads what A handed over")


@needs("release:WRITE_RECORD", options="fence=strict,deadline=1000")
def who_follows_a_release_is_no_standby(pair):
    """A tool without locks may write an image that nobody owns, with fence=strict too."""
    name, a, b = opened(pair)
    a.lock(1)
    a.unlock(1)
    a.close()
    b.ask("close 1")
    b.open(1, name)
    expect(b.error("write 1 0 4096 B") == 0, "refused, as if A were owner still")


@needs("release:INVALIDATE", fresh=True)
def a_released_source_reads_what_is_stored(pair):
    """Of a file that is open for reading alone there is nothing to flush, which drops pages, too."""
    name = pair.image()
    a, b, control = pair.a.vmm(name, "r"), pair.b.vmm(name), pair.a.vmm()
    control.ask(f"open 1 r {pair.a.above.path}")
    control.ask("acquire 1")
    a.read(1, 0, IMAGE_BYTES)
    control.ask("release 1")
    b.lock(1)
    b.write(1, 0, IMAGE_BYTES, "B")
    b.write(1, IMAGE_BYTES, 4096, "B")
    b.ask("fsync 1")
    expect_same(a.read(1, 0, IMAGE_BYTES), runs("B"), "A reads")
    expect_same(a.ask("size 1"), str(IMAGE_BYTES + 4096), "the length at A")


@needs("release:UNLOCK", options="deadline=1500")
def the_other_host_becomes_owner(pair):
    _, a, b = opened(pair)
    a.lock(1)
    a.unlock(1)
    b.lock(1)
    expect_same(b.state(1), "owner", "B")


def require_faults():
    with open(testbed.binary("migfs"), "rb") as file:
        if b"MIGFS_SKIP_STEP" not in file.read():
            testbed.skip("migfs is built without MIGFS_FAULTS")


if __name__ == "__main__":
    require_faults()
    theme.main()
