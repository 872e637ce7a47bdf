#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a release leaves in the kernel's page cache: nobody else is served from it, it goes, and no
acquire answers before it has gone.

The twins need a build with MIGFS_FAULTS: there it is left whoever has the file open, and stays.
"""
from pair import PAGE, Stack, runs
from scenario import COHERENCE_OFF, QUICK, Theme, expect, expect_same
from steps import require_faults
import testbed

theme = Theme("pages")
LEFT = Stack(options=QUICK, leaves_pages=True)
LEFT_AND_KEPT = Stack(options=QUICK, leaves_pages=True, skip="INVALIDATE")
BYTES = 1 << 20  # fewer are dropped at once
LARGE_BYTES = 16 << 20


def owned(pair, *beside):
    """An image that A owns and has cached; (A's VMM, B's VMM, others of A that opened it before)."""
    name = pair.image("0", BYTES)
    a, b = pair.a.vmm(name), pair.b.vmm(name)
    others = [pair.a.vmm(name, flags) for flags in beside]
    a.lock(1)
    a.read(1, 0, BYTES)
    return a, b, *others


def overwritten_by(b):
    b.lock(1)
    b.write(1, 0, BYTES, "B")
    b.ask("fsync 1")


def comes_to_be(predicate):
    """Whether it is so in a while."""
    try:
        return testbed.wait_until(predicate, timeout_s=2)
    except testbed.TestFailure:
        return False


@theme.scenario(LEFT)
def who_handed_over_reads_what_is_stored_soon(pair):
    a, b = owned(pair)
    a.unlock(1)
    overwritten_by(b)
    expect(comes_to_be(lambda: a.read(1, 0, BYTES) == runs("B", BYTES)), "A goes on reading its own")


@theme.scenario(LEFT)
def what_was_mapped_shows_what_is_stored_soon(pair):
    a, b = owned(pair)
    a.ask(f"map 1 {BYTES}")
    a.ask(f"load 1 0 {BYTES}")
    a.unlock(1)
    overwritten_by(b)
    expect(comes_to_be(lambda: a.ask(f"load 1 0 {BYTES}") == runs("B", BYTES)),
           "A's mapping goes on showing its own")


@theme.scenario(LEFT)
def a_large_cache_goes(pair):
    name = pair.image("A", LARGE_BYTES)
    a = pair.a.vmm(name)
    a.lock(1)
    a.read(1, 0, LARGE_BYTES)
    testbed.check(a.keeps(1, LARGE_BYTES), "the image is not cached")
    a.unlock(1)
    expect(comes_to_be(lambda: a.ask("cached 1") == "0"), f"{a.ask('cached 1')} pages stay")


@theme.scenario(LEFT)
def a_reader_beside_is_served_from_the_store_at_once(pair):
    a, b, reader = owned(pair, "rw")
    reader.read(1, 0, BYTES)
    a.unlock(1)
    overwritten_by(b)
    expect_same(reader.read(1, 0, BYTES), runs("B", BYTES), "a program beside A's VMM reads")


@theme.scenario(LEFT)
def a_reader_beside_the_ioctl_is_served_from_the_store_at_once(pair):
    name = pair.image("0", BYTES)
    a, b, reader = pair.a.vmm(name), pair.b.vmm(name), pair.a.vmm(name, "r")
    caller = pair.a.vmm(name)
    caller.ask("acquire 1")
    a.read(1, 0, BYTES)
    caller.ask("release 1")
    overwritten_by(b)
    expect_same(reader.read(1, 0, BYTES), runs("B", BYTES), "a program beside A's VMM reads")


@theme.scenario(COHERENCE_OFF, stack=LEFT)
def an_open_is_fresh_whatever_is_left(pair):
    a, b = owned(pair)
    a.unlock(1)
    overwritten_by(b)
    a.open(2, f"image{pair.images}")
    expect_same(a.read(2, 0, BYTES), runs("B", BYTES), "A's new descriptor reads")


@theme.scenario(LEFT_AND_KEPT, stack=LEFT)
def an_acquire_answers_when_all_that_was_left_has_gone(pair):
    a, b = owned(pair)
    a.unlock(1)
    overwritten_by(b)
    b.unlock(1)
    a.lock(1)
    expect_same(a.read(1, 0, BYTES), runs("B", BYTES), "A, owner again, reads")


@theme.scenario(COHERENCE_OFF, options="profile=range,deadline=5000")
def what_is_stored_by_a_mapping_comes_along_and_clean_pages_cost_nothing(pair):
    """The unlock writes out what is dirty, beside a cache that it need not touch."""
    name = pair.image("A", LARGE_BYTES)
    a = pair.a.vmm(name)
    a.ask("lock 1 w 0 0")
    a.read(1, 0, LARGE_BYTES)
    a.ask(f"map 1 {LARGE_BYTES}")
    for page in range(0, 256, 2):
        a.ask(f"store 1 {page * PAGE} {PAGE} M")
    a.ask("unlock 1 0 0")
    stored = pair.stored(name)
    lost = [page for page in range(0, 256, 2)
            if stored[page * PAGE:(page + 1) * PAGE] != b"M" * PAGE]
    expect(not lost, f"{len(lost)} pages of the mapping did not come along")


@theme.scenario(COHERENCE_OFF)
def an_ordinary_unlock_writes_out_and_keeps_what_is_clean(pair):
    """A program that locks, maps and unlocks a file of its own loses no cache by it."""
    name = pair.image("A", LARGE_BYTES)
    a = pair.a.vmm(name)
    a.ask("lock 1 w 0 1")
    a.read(1, 0, LARGE_BYTES)
    a.ask(f"map 1 {LARGE_BYTES}")
    a.ask(f"store 1 0 {PAGE} M")
    a.ask("unlock 1 0 1")
    expect(pair.stored(name)[:PAGE] == b"M" * PAGE, "what was stored is not in the store")
    testbed.check(a.keeps(1, LARGE_BYTES), "the unlock has dropped pages")


if __name__ == "__main__":
    require_faults()
    theme.main()
