# SPDX-License-Identifier: GPL-2.0-or-later
"""Each step of an acquire and of a release, on real NFS: right with it, wrong when it alone is left
out (`migfs-without-step`), as tests/hosts/steps.py has it over ctofs.

A VMM that helps nobody: one descriptor, buffered, with no advice and no open between its locks.
DROP: the client drops its pages at a lock by itself, and what it is told of the file's attributes
at the record drops later ones; pages that come while the acquire waits, where there is no record.
"""
import errno
import os

import cell as cells
import testbed
from pair import IMAGE_BYTES, REST, runs, waits_in_gate
from scenario import expect
from server import full

QUICK = "deadline=1000"
WAITING = "deadline=8000"

CASES = []


def strict(variant):
    return cells.reaches_server(variant) and variant.mount == "strict"


def tests_locks(variant):
    """Where a test of a lock finds it (cells.TEST_IS_BLIND)."""
    return strict(variant) and variant.version != "3"


def needs(step, options=QUICK, variants=strict, **fields):
    """A case that is wrong without the step, as fs/fault.h has it."""
    def add(run):
        CASES.append(cells.Case(
            "needs " + step.replace(":", " ").replace("_", " ").lower(),
            lambda site, _image: run(site), images=(cells.RAW,), step=step, options=options,
            stacks=("migfs",), twins=(cells.WITHOUT_STEP,),
            variants=variants, **fields))
        return run
    return add


def opened(site):
    """A file that both hosts have open and have read."""
    name = site.file()
    a, b = site.vmm(site.a, name), site.vmm(site.b, name)
    b.read(1, 0, IMAGE_BYTES)
    return name, a, b


def expect_read(vmm, byte, what, length=IMAGE_BYTES):
    found = vmm.read(1, 0, length)
    expect(found == runs(byte, length), f"stale: {what} reads {found}")


def wait_locked(vmm, byte):
    """Until the server has another host's lock of this byte, too."""
    testbed.wait_until(lambda: vmm.ask(f"getlk 1 w {byte} 1") != "free", what=f"lock of {byte}")


def record_path(site, name):
    ino = os.stat(os.path.join(site.store, name)).st_ino
    return os.path.join(site.store, ".migfs", f"{ino:x}")


# Acquire ---------------------------------------------------------------------------------------

@needs("acquire:LOCK", variants=tests_locks)
def owner_holds_its_bytes_at_server(site):
    _, a, b = opened(site)
    a.lock(1, 100, 101)
    a.lock(1, 201)
    expect(b.ask("getlk 1 w 201 1") != "free", "the server has no lock of the owner")


@needs("acquire:TEST", "deadline=500", tests_locks)
def who_locks_beside_an_owner_believes_nothing(site):
    """Its locks are granted, it is no owner: what it has read is asked for again."""
    _, a, b = opened(site)
    a.lock(1)
    b.lock(1)
    b.read(1, 0, IMAGE_BYTES)
    a.write(1, 0, IMAGE_BYTES, "A")
    a.ask("fsync 1")
    try:
        testbed.wait_until(lambda: b.read(1, 0, IMAGE_BYTES) == runs("A"), 5, "B reads fresh")
    except testbed.TestFailure:
        expect_read(b, "A", "the second")


@needs("acquire:DROP", f"{WAITING},record=off", tests_locks)
def pages_below_that_came_after_the_lock_go(site):
    """While the acquire waits for the owner, another program reads the image below migfs."""
    name, a, b = opened(site)
    below = site.vmm(site.b)
    below.ask(f"open 1 r {os.path.join(site.b.below, name)}")
    a.lock(1)
    b.lock(1, 100, 101)
    b.begin("lock 1 r 201 1")
    wait_locked(a, 201)
    below.read(1, 0, IMAGE_BYTES)
    a.write(1, 0, IMAGE_BYTES, "A")
    a.unlock(1)
    b.end()
    expect_read(b, "A", "the new owner")


@needs("READ_RECORD", "record=require,deadline=1000")
def required_record_that_is_torn_refuses(site):
    name, a, b = opened(site)
    a.lock(1)
    a.unlock(1)
    a.close()
    with open(record_path(site, name), "wb") as file:
        file.write(b"?" * 8192)
    refused = [b.error(f"lock 1 r {byte} 1") for byte in (100, 101, 201)]
    expect(refused[-1] != 0, "acquired without the record that is required")


@needs("acquire:INVALIDATE", WAITING, tests_locks)
def pages_that_came_during_the_acquire_go(site):
    """While the acquire waits for the owner, another program reads the image."""
    name, a, b = opened(site)
    reader = site.vmm(site.b, name)
    a.lock(1)
    b.lock(1, 100, 101)
    b.begin("lock 1 r 201 1")
    wait_locked(a, 201)
    reader.read(1, 0, IMAGE_BYTES)
    a.write(1, 0, IMAGE_BYTES, "A")
    a.unlock(1)
    b.end()
    expect_read(b, "A", "the new owner")


@needs("acquire:VERIFY", "fence=strict,deadline=1000")
def no_guest_starts_on_what_the_last_owner_did_not_leave(site):
    """Changed on the server itself, with mtime put back: its digests tell."""
    name, a, b = opened(site)
    a.lock(1)
    a.write(1, 0, IMAGE_BYTES, "A")
    a.unlock(1)
    path = os.path.join(site.store, name)
    times = os.stat(path)
    with open(path, "r+b") as file:
        file.write(b"X" * 4096)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    b.lock(1, 100, 101)
    expect(b.error("lock 1 r 201 1") != 0, "a guest starts on what its owner did not leave")


@needs("acquire:WRITE_RECORD")
def who_opens_beside_an_owner_knows(site):
    """A reader that takes no lock."""
    name = site.file()
    a = site.vmm(site.a, name)
    a.lock(1)
    reader = site.vmm(site.b, name, "r")
    reader.read(1, 0, IMAGE_BYTES)
    a.write(1, 0, IMAGE_BYTES, "A")
    a.ask("fsync 1")
    expect_read(reader, "A", "who opened beside the owner")


# Release ---------------------------------------------------------------------------------------

@needs("release:FLUSH")
def a_record_says_released_of_what_is_all_there(site):
    """The pages of mappings, too: what follows would write them out, had the daemon not died."""
    name, a, b = opened(site)
    a.lock(1)
    a.ask(f"map 1 {IMAGE_BYTES}")
    a.unlock(1, 101, *REST)
    a.ask(f"store 1 0 {IMAGE_BYTES} A")
    with open(site.kill_file(site.a.name), "w", encoding="ascii") as file:
        file.write("release:INVALIDATE")
    testbed.check(a.error("unlock 1 201 1") != 0, "unlocked by a dead daemon")
    site.wait_killed(site.a)
    with open(record_path(site, name), "rb") as file:
        states = [file.read(4096)[48] for _ in range(2)]
    testbed.check(2 in states, f"the daemon died before its record: {states}")
    b.lock(1)
    expect_read(b, "A", "the new owner")


@needs("release:DRAIN", WAITING)
def a_write_under_way_does_not_come_after(site):
    """It has passed the gate, and the next owner writes before it reaches the server."""
    name, a, b = opened(site)
    writer, held = site.vmm(site.a, name), site.held_writes(site.a.name)
    a.lock(1)
    a.unlock(1, 101, *REST)
    with open(held, "wb"):
        pass
    writer.begin("write 1 0 4096 X")
    testbed.wait_until(lambda: waits_in_gate(site.daemon(site.a)), what="the write in the gate")
    a.begin("unlock 1 201 1")
    waits = not a.answers_within(1)
    if waits:
        os.unlink(held)
        writer.end()
    a.end()
    b.lock(1)
    b.write(1, 0, IMAGE_BYTES, "B")
    b.ask("fsync 1")
    if not waits:
        os.unlink(held)
        writer.end()
    writer.error("fsync 1")
    with open(os.path.join(site.store, name), "rb") as file:
        expect(file.read() == b"B" * IMAGE_BYTES, "the old owner's write came after the new one's")


@needs("release:SYNC", private=True, alone=True, variants=tests_locks)
def what_cannot_be_written_is_not_handed_over(site):
    """The owner's writes find no space: its unlock says so, and it is owner still."""
    name = site.file(length=0)
    a, b = site.vmm(site.a, name), site.vmm(site.b, name)
    a.lock(1)
    a.unlock(1, 101, *REST)
    with full(site.store):
        a.write(1, 0, IMAGE_BYTES, "A")
        error = a.error("unlock 1 201 1")
    if error == 0:
        b.lock(1)
        expect_read(b, "A", "the new owner")
    else:
        testbed.check(error == errno.ENOSPC, f"errno {error}")
        testbed.check(b.ask("getlk 1 w 201 1") != "free", "the lock went")


@needs("release:WRITE_RECORD", "fence=strict,deadline=1000")
def who_follows_a_release_is_no_standby(site):
    """A tool without locks may write an image that nobody owns, with fence=strict too."""
    name, a, b = opened(site)
    a.lock(1)
    a.unlock(1)
    a.close()
    b.ask("close 1")
    b.open(1, name)
    expect(b.error("write 1 0 4096 B") == 0, "refused, as if there were an owner still")


@needs("release:INVALIDATE")
def a_released_source_reads_what_is_stored(site):
    """Of a file that is open for reading alone there is nothing to flush, which would drop, too."""
    name = site.file()
    a, b, control = site.vmm(site.a, name, "r"), site.vmm(site.b, name), site.vmm(site.a)
    control.ask(f"open 1 r {site.a.directory}")
    control.ask("acquire 1")
    a.read(1, 0, IMAGE_BYTES)
    control.ask("release 1")
    b.lock(1)
    b.write(1, 0, IMAGE_BYTES + 4096, "B")
    b.ask("fsync 1")
    expect_read(a, "B", "who has handed over", IMAGE_BYTES + 4096)


@needs("release:UNLOCK", "deadline=500")
def the_other_host_becomes_owner(site):
    _, a, b = opened(site)
    a.lock(1)
    a.unlock(1)
    b.lock(1)
    expect(b.state(1) == "owner", f"the other host is {b.state(1)}")
