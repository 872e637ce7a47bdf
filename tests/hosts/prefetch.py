#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The tables of an image that an acquire read ahead: they serve the VMM, and never stale ones.

The image is one of qemu-img's; what is written over its tables makes it none, which nobody minds
here. VMMs read with O_DIRECT, as QEMU with cache=none, past the kernel's pages, where not said
otherwise. The twins of what must not be stale drop nothing, and need a build with MIGFS_FAULTS.
"""
import os
import subprocess

from pair import Stack, runs
from scenario import BINDFS, COHERENCE_OFF, QUICK, Theme, expect, expect_same
from steps import require_faults
import testbed

theme = Theme("prefetch")
OFF = "record=off,deadline=1000"  # nothing is verified, and nothing read ahead
KEEPS = Stack(options=QUICK, keeps_metadata=True)
K = 1024
HEAD, REFCOUNTS, L1 = (0, 4 * K), (64 * K, 64 * K), (192 * K, 32 * K)  # of an image of 2 TiB
LENGTH = L1[0] + L1[1]


def qcow2(pair):
    """A new image, put into the store before anybody looks."""
    name = pair.image(length=0)
    path = os.path.join(pair.store, name)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "2T"], check=True)
    testbed.check(len(pair.stored(name)) == LENGTH, "qemu-img places tables elsewhere")
    return name


def owned(pair, flags="rw+d"):
    """B owns an image that A had written and handed over."""
    name = qcow2(pair)
    a, b = pair.a.vmm(name), pair.b.vmm(name, flags)
    b.read(1, *HEAD)
    a.lock(1)
    a.write(1, 128 * K, 4 * K, "A")
    a.unlock(1)
    b.lock(1)
    return name, a, b


# It is there ----------------------------------------------------------------------------------

def reads_after_the_lock(flags):
    def run(pair):
        name, _, b = owned(pair, flags)
        before = pair.b.counter("reads")
        head = b.read(1, *HEAD)
        b.read(1, *L1)
        b.read(1, *REFCOUNTS)
        expect_same(pair.b.counter("reads") - before, 0, "reads of the store after the lock")
        testbed.check(head.startswith("51*1 46*1 49*1 fb*1"), f"not the image's head: {head}")
        testbed.check(pair.b.status(name)["last_handoff"]["bytes_prefetched"] == LENGTH,
                      f"{pair.b.status(name)}")
    return run


theme.scenario(OFF, name="a_direct_reader_finds_the_tables_there")(reads_after_the_lock("rw+d"))
theme.scenario(OFF, name="a_cached_reader_finds_the_tables_there")(reads_after_the_lock("rw"))


@theme.scenario(OFF, stack=Stack(options=QUICK, aio_none=True))
def so_he_does_without_aio(pair):
    reads_after_the_lock("rw+d")(pair)
    expect("no AIO: " in pair.b.above.log_text(), "not in the log")


@theme.scenario(OFF)
def it_is_said(pair):
    name, _, _ = owned(pair)
    expect(f"{pair.b.path(name)}: {LENGTH} bytes of its tables were read ahead" in
           pair.b.above.log_text(), "not in the log")


@theme.scenario()
def a_raw_image_has_none(pair):
    name = pair.image()
    b = pair.b.vmm(name, "rw+d")
    b.lock(1)
    testbed.check(pair.b.status(name)["last_handoff"]["bytes_prefetched"] == 0, "read ahead")
    expect_same(b.read(1, *HEAD), runs("0", HEAD[1]), "B reads")


@theme.scenario(fresh=True)
def what_cannot_be_read_is_no_error(pair):
    name = qcow2(pair)
    b = pair.b.vmm(name, "rw+d")
    pair.b.control("fail read EIO 1000")
    b.lock(1)
    pair.b.control("fail read EIO 0")
    file = pair.b.status(name)
    testbed.check((file["state"], file["prefetch_errors"]) == ("owner", 1), f"{file}")
    testbed.check(file["last_handoff"]["bytes_prefetched"] == 0, f"{file}")
    testbed.check("could not be read ahead" in pair.b.above.log_text(), "not in the log")
    expect(b.read(1, *HEAD).startswith("51*1 46*1"), "B cannot read")


@theme.scenario()
def a_read_that_the_store_may_refuse_is_its_to_answer(pair):
    """QEMU finds out by small direct reads which alignment its writes must have."""
    _, _, b = owned(pair)
    for offset, length in ((0, 512), (512, 4 * K), (0, 1)):
        before = pair.b.counter("reads")
        b.read(1, offset, length)
        expect_same(pair.b.counter("reads") - before, 1, f"reads of the store for {length} bytes")


@theme.scenario()
def what_somebody_wrote_who_never_acquired_it_is_not_read_ahead(pair):
    """They may be at it still."""
    name, a, b = owned(pair)
    b.unlock(1)
    with open(os.path.join(pair.store, name), "r+b") as file:
        os.pwrite(file.fileno(), b"X" * 4 * K, LENGTH)
    a.lock(1)
    handoff = pair.a.status(name)["last_handoff"]
    testbed.check((handoff["verified"], handoff["bytes_prefetched"]) == ("written", 0),
                  f"{handoff}")


# It is never stale ----------------------------------------------------------------------------

@theme.scenario(KEEPS)
def not_at_the_next_acquire(pair):
    _, a, b = owned(pair)
    b.read(1, *HEAD)
    b.unlock(1)
    a.lock(1)
    a.write(1, *L1, "A")
    a.unlock(1)
    b.lock(1)
    expect_same(b.read(1, *L1), runs("A", L1[1]), "B, owner again, reads")


def after_the_release(flags):
    def run(pair):
        _, a, b = owned(pair, flags)
        b.read(1, *L1)
        b.unlock(1)
        a.lock(1)
        a.write(1, *L1, "A")
        a.ask("fsync 1")
        expect_same(b.read(1, *L1), runs("A", L1[1]), "B reads what it released")
    return run


# Who is no owner is served nothing of it: a twin that only drops nothing is right here.
theme.scenario(BINDFS, name="not_after_the_release")(after_the_release("rw+d"))
theme.scenario(COHERENCE_OFF, BINDFS, name="not_after_the_release_cached")(after_the_release("rw"))


@theme.scenario(KEEPS, fresh=True)
def not_when_somebody_else_is_known_to_have_written(pair):
    """A tool on the server, while B owns it: what is noticed must show."""
    name, _, b = owned(pair)
    with open(os.path.join(pair.store, name), "r+b") as file:
        os.pwrite(file.fileno(), b"X" * L1[1], L1[0])
    testbed.check(pair.b.status(name)["foreign_writes"] == 1, "not noticed")
    expect_same(b.read(1, *L1), runs("X", L1[1]), "B reads")


@theme.scenario(Stack(options="deadline=8000", keeps_metadata=True), options="deadline=8000",
                fresh=True)
def not_when_the_store_was_stale_for_a_while(pair):
    name = qcow2(pair)
    a, b = pair.a.vmm(name), pair.b.vmm(name, "rw+d")
    pair.b.control("stale")
    a.lock(1)
    a.write(1, *L1, "A")
    a.unlock(1)
    b.lock(1, 100, 101, 103)
    b.begin("lock 1 r 201 1")
    testbed.check(not b.answers_within(0.3), "the stale store was not noticed")
    pair.b.control("fresh")
    b.end()
    expect_same(b.read(1, *L1), runs("A", L1[1]), "B reads")


# How it is changed, by a second handle where not said otherwise; the byte that is there then.
PART = (L1[0] + 4 * K, 4 * K)  # of the tables: what is read after it
ALL = f"{L1[0]} {L1[1]}"
CHANGES = {
    "its_own_write": ("X", f"write 1 {ALL} X"),
    "a_write": ("X", f"write 2 {ALL} X"),
    "a_direct_write": ("X", "open 3 w+d {path}", f"write 3 {ALL} X"),
    "mapped_pages": ("X", f"map 2 {LENGTH}", f"store 2 {ALL} X", "msync 2"),
    "a_truncation": ("\0", f"resize 2 {PART[0]}", f"resize 2 {LENGTH}"),
    "a_truncation_of_its_path": ("\0", f"truncate {PART[0]} {{path}}",
                                 f"truncate {LENGTH} {{path}}"),
    "an_open_with_truncation": ("\0", "open 3 rw+t {path}", f"resize 3 {LENGTH}"),
    "a_discard": ("\0", f"discard 2 {ALL}"),
    "a_copy": ("A", "open 3 r {path}", f"copy 3 2 {128 * K} {PART[0]} {PART[1]}"),
}


def changed(byte, *lines):
    def run(pair):
        name = qcow2(pair)
        with open(os.path.join(pair.store, name), "r+b") as file:
            os.pwrite(file.fileno(), b"A" * 4 * K, 128 * K)
            os.pwrite(file.fileno(), b"o" * L1[1], L1[0])
        b = pair.b.vmm(name, "rw+d")
        b.open(2, name)
        b.lock(1)
        for line in lines:
            b.ask(line.format(path=pair.b.path(name)))
        expect_same(b.read(1, *PART), runs(byte, PART[1]), "B reads what it changed")
    return run


for change, what in CHANGES.items():
    theme.scenario(KEEPS, name=f"not_after_{change}")(changed(*what))


if __name__ == "__main__":
    require_faults()
    testbed.require_tools("qemu-img")
    theme.main()
