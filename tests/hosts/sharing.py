#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's locks beside those of others: share-rw, a backup job, a backing file of two hosts."""
import errno

from pair import IMAGE_BYTES, runs
from scenario import COHERENCE_OFF, Theme, expect, expect_same, expect_state
import testbed

theme = Theme("sharing")
HALF = IMAGE_BYTES // 2

SHARED = (100, 101, 203)       # share-rw=on: others may write
SHARED_RAW = (100, 101)        # a raw image, which shares the right to resize it, too
BACKING = (100, 201)           # read only, and nobody may write it
NO_QEMU = "profile=none,deadline=1000"


def share(locks, pair):
    """A cluster filesystem in the guests; what it syncs must be seen."""
    name = pair.image()
    a, b = pair.a.vmm(name), pair.b.vmm(name)
    for vmm in (a, b):
        vmm.read(1, 0, IMAGE_BYTES)
        vmm.lock(1, *locks)
        expect_state(pair, vmm, 1, "shared")
    for writer, reader, byte in ((a, b, "A"), (b, a, "B")):
        writer.write(1, 0, HALF, byte)
        writer.ask("fsync 1")
        right = runs(byte, HALF)
        testbed.wait_until(lambda: pair.twin or reader.read(1, 0, HALF) == right,
                           what=f"{reader.host.name} sees {writer.host.name}")
        expect_same(reader.read(1, 0, HALF), right, f"{reader.host.name} reads")
    testbed.check(pair.record(name) is None, "one that shares wrote a record")
    a.unlock(1, *locks)
    b.unlock(1, *locks)
    expect_state(pair, a, 1, "plain")


@theme.scenario(COHERENCE_OFF)
def two_that_share_see_each_others_writes(pair):
    share(SHARED, pair)


@theme.scenario(COHERENCE_OFF)
def two_that_share_a_raw_image_see_each_others_writes(pair):
    share(SHARED_RAW, pair)


@theme.scenario(COHERENCE_OFF)
def what_one_that_shares_wrote_is_read_anew(pair):
    """The kernel keeps what is written, too."""
    name = pair.image()
    a, b = pair.a.vmm(name), pair.b.vmm(name)
    for vmm, byte in ((a, "A"), (b, "B")):
        vmm.lock(1, *SHARED)
        vmm.write(1, 0, IMAGE_BYTES, byte)
        vmm.ask("fsync 1")
    testbed.wait_until(lambda: pair.twin or a.read(1, 0, IMAGE_BYTES) == runs("B"), what="A sees B")
    expect_same(a.read(1, 0, IMAGE_BYTES), runs("B"), "A reads")


@theme.scenario(COHERENCE_OFF)
def one_that_shared_becomes_owner(pair):
    name = pair.image()
    a, b = pair.a.vmm(name), pair.b.vmm(name)
    b.read(1, 0, IMAGE_BYTES)
    a.lock(1, *SHARED)
    a.write(1, 0, IMAGE_BYTES, "A")
    a.unlock(1, *SHARED)
    b.lock(1)
    expect_state(pair, b, 1, "owner")
    expect_same(b.read(1, 0, IMAGE_BYTES), runs("A"), "B reads")


@theme.scenario(COHERENCE_OFF)
def a_backup_job_loses_nothing(pair):
    """201 is dropped and taken again beside 101; the record stays the owner's."""
    name = pair.image()
    a, b = pair.a.vmm(name), pair.b.vmm(name)
    b.read(1, 0, IMAGE_BYTES)
    a.lock(1)
    before = pair.record(name)
    a.write(1, 0, HALF, "A")
    a.ask(f"map 1 {IMAGE_BYTES}")
    a.ask("store 1 4096 4096 M")
    a.unlock(1, 201)
    expect_state(pair, a, 1, "shared")
    testbed.check(pair.twin or pair.record(name) == before, "the record changed")
    a.write(1, HALF, HALF, "C")
    a.lock(1, 201)
    expect_state(pair, a, 1, "owner")
    testbed.check(pair.twin or pair.record(name)[0] == "owned", "the record says otherwise")
    a.write(1, 0, 4096, "D")
    right = " ".join((runs("D", 4096), runs("M", 4096), runs("A", HALF - 8192), runs("C", HALF)))
    expect_same(a.read(1, 0, IMAGE_BYTES), right, "A reads")
    a.unlock(1)
    b.lock(1)
    expect_same(b.read(1, 0, IMAGE_BYTES), right, "B reads")


@theme.scenario()
def what_was_handed_over_is_shared_again(pair):
    """A QEMU that exports its disk after it has made it; qemu-img create while somebody reads."""
    name = pair.image()
    a = pair.a.vmm(name)
    a.lock(1)
    a.write(1, 0, HALF, "A")
    a.unlock(1)
    expect_state(pair, a, 1, "released")
    for byte in "BC":
        a.lock(1, *SHARED)
        expect_state(pair, a, 1, "shared")
        a.write(1, HALF, HALF, byte)
        a.unlock(1, *SHARED)
        expect_state(pair, a, 1, "released")
        testbed.check(a.error("write 1 0 4096 X") == errno.EIO, "a handle of before writes")
        right = " ".join((runs("A", HALF), runs(byte, HALF)))
        expect_same(a.read(1, 0, IMAGE_BYTES), right, "A reads")
    a.lock(1)
    a.write(1, 0, 4096, "D")
    expect_state(pair, a, 1, "owner")


@theme.scenario(COHERENCE_OFF)
def what_an_owner_wrote_is_there_when_it_shares(pair):
    """A reader on the other host (an export) may look from then on."""
    name = pair.image()
    a, b = pair.a.vmm(name), pair.b.vmm(name, "r")
    b.read(1, 0, IMAGE_BYTES)
    a.lock(1)
    a.ask(f"map 1 {IMAGE_BYTES}")
    a.ask(f"store 1 0 {HALF} A")
    a.write(1, HALF, HALF, "A")
    a.unlock(1, 201)
    b.lock(1, 100, 203)
    expect_same(b.read(1, 0, IMAGE_BYTES), runs("A"), "B reads")


@theme.scenario(COHERENCE_OFF)
def a_writer_that_turns_reader_is_read_fresh(pair):
    """101 goes, 201 stays: a block job ends, the image becomes somebody's backing file."""
    name = pair.image()
    a, b = pair.a.vmm(name), pair.b.vmm(name)
    b.read(1, 0, IMAGE_BYTES)
    a.lock(1)
    a.write(1, 0, IMAGE_BYTES, "A")
    a.unlock(1, 101)
    expect_state(pair, a, 1, "owner")
    b.lock(1, *BACKING)
    expect_state(pair, b, 1, "owner")
    expect_same(b.read(1, 0, IMAGE_BYTES), runs("A"), "B reads")


@theme.scenario()
def a_backing_file_is_owned_for_reading_by_both(pair):
    name = pair.image("G")
    a, b = pair.a.vmm(name, "r"), pair.b.vmm(name, "r")
    for vmm in (a, b):
        vmm.lock(1, *BACKING)
        expect_state(pair, vmm, 1, "owner")
    for vmm in (a, b):
        testbed.check(vmm.read(1, 0, IMAGE_BYTES) == runs("G"), "not what is there")
        testbed.check(vmm.ask("getlk 1 w 101 1") == "free", "somebody holds 101")
    a.unlock(1, *BACKING)
    expect_state(pair, a, 1, "plain")
    expect_state(pair, b, 1, "owner")
    testbed.check(pair.record(name) is None, "a reader wrote a record")


@theme.scenario(NO_QEMU)
def pages_of_a_backing_file_stay(pair):
    """An owner for reading keeps its cache: that is what it is owner for."""
    name = pair.image("G")
    a = pair.a.vmm(name, "r")
    a.lock(1, *BACKING)
    a.read(1, 0, IMAGE_BYTES)
    a.open(2, name, "r")  # an open without keep_cache drops all
    expect(a.keeps(2, IMAGE_BYTES), "pages went with a second open")


@theme.scenario(COHERENCE_OFF)
def a_reader_hands_nothing_over(pair):
    """A reader's release leaves its handles alone; a writer elsewhere is then the owner."""
    name = pair.image()
    a, b = pair.a.vmm(name), pair.b.vmm(name)
    a.lock(1, *BACKING)
    a.read(1, 0, IMAGE_BYTES)
    a.unlock(1, *BACKING)
    expect_state(pair, a, 1, "plain")
    testbed.check(a.error("write 1 0 512 A") == 0, "a handle of a reader was stopped")
    a.ask("fsync 1")
    b.lock(1)
    b.write(1, 0, IMAGE_BYTES, "B")
    b.unlock(1)
    a.lock(1, *BACKING)
    expect_same(a.read(1, 0, IMAGE_BYTES), runs("B"), "A reads")


@theme.scenario("record=off,deadline=1000")
def what_others_wrote_beside_a_backup_is_no_stale_data(pair):
    """What was digested before 201 was dropped another one may have overwritten since."""
    name = pair.image()
    a, b = pair.a.vmm(name), pair.b.vmm(name)
    a.lock(1, 100, 101, 201)
    a.write(1, 0, 4096, "A")
    a.unlock(1, 201)
    expect_state(pair, a, 1, "shared")
    b.lock(1, *SHARED_RAW)
    b.write(1, 0, 4096, "B")
    b.ask("fsync 1")
    b.unlock(1, *SHARED_RAW)
    a.unlock(1, 100, 101)
    b.lock(1, 100, 101, 201)
    expect_state(pair, b, 1, "owner")
    if pair.twin:
        expect(pair.record(name), "nothing says who the owner is")


if __name__ == "__main__":
    theme.main()
