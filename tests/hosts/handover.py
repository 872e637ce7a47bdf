#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A QEMU's image goes from host A to B and back, on descriptors that stay open and buffered."""
import errno
import os

from pair import IMAGE_BYTES, runs
from scenario import BINDFS, COHERENCE_OFF, Theme, Wrong, expect, expect_same, expect_state
import testbed

theme = Theme("handover")
HALF = IMAGE_BYTES // 2


def opened(pair):
    """An image that both hosts have open and have read before; A owns it."""
    name = pair.image()
    a, b = pair.a.vmm(name), pair.b.vmm(name)
    b.read(1, 0, IMAGE_BYTES)
    a.lock(1)
    a.read(1, 0, IMAGE_BYTES)
    return name, a, b


def move(source, destination):
    source.unlock(1)
    destination.lock(1)


def handed_over(pair):
    """An image that A owned, and B owns now."""
    name, a, b = opened(pair)
    a.write(1, 0, IMAGE_BYTES, "A")
    move(a, b)
    return name, a, b


@theme.scenario(COHERENCE_OFF, BINDFS)
def what_was_read_early_is_fresh(pair):
    _, a, b = opened(pair)
    a.write(1, 0, IMAGE_BYTES, "A")
    move(a, b)
    expect_state(pair, a, 1, "released")
    expect_state(pair, b, 1, "owner")
    expect_same(b.read(1, 0, IMAGE_BYTES), runs("A"), "B reads")


@theme.scenario(COHERENCE_OFF, BINDFS)
def the_way_back_is_fresh(pair):
    _, a, b = handed_over(pair)
    b.write(1, 0, IMAGE_BYTES, "B")
    move(b, a)
    expect_state(pair, a, 1, "owner")
    expect_same(a.read(1, 0, IMAGE_BYTES), runs("B"), "A reads")
    a.write(1, 0, HALF, "C")
    move(a, b)
    expect_same(b.read(1, 0, IMAGE_BYTES), runs("C", HALF) + " " + runs("B", HALF), "B reads")


@theme.scenario(COHERENCE_OFF, BINDFS)
def a_standby_reads_what_is_stored(pair):
    _, a, b = opened(pair)
    a.write(1, 0, IMAGE_BYTES, "A")
    a.ask("fsync 1")
    b.open(2, pair_name(pair), "r")
    expect_same(b.read(2, 0, IMAGE_BYTES), runs("A"), "B, on standby, reads by a new descriptor")
    a.write(1, 0, IMAGE_BYTES, "C")
    a.ask("fsync 1")
    expect_same(b.read(2, 0, IMAGE_BYTES), runs("C"), "B, on standby, reads")


def pair_name(pair):
    return f"image{pair.images}"


@theme.scenario(COHERENCE_OFF, BINDFS)
def an_image_that_grew_has_its_length(pair):
    _, a, b = opened(pair)
    a.write(1, IMAGE_BYTES, 4096, "A")
    move(a, b)
    expect_same(b.ask("size 1"), str(IMAGE_BYTES + 4096), "fstat at B")
    expect_same(b.ask("end 1"), str(IMAGE_BYTES + 4096), "SEEK_END at B")
    expect_same(b.read(1, IMAGE_BYTES, 4096), runs("A", 4096), "B reads the end")


@theme.scenario(COHERENCE_OFF, BINDFS)
def a_standby_sees_an_image_grow(pair):
    """QEMU asks for the length before it takes its locks."""
    name, a, b = opened(pair)
    b.open(2, name)
    b.ask("size 2")
    a.write(1, IMAGE_BYTES, 4096, "A")
    a.ask("fsync 1")
    expect_same(b.ask("end 2"), str(IMAGE_BYTES + 4096), "SEEK_END at B before its locks")


@theme.scenario(COHERENCE_OFF, BINDFS)
def an_image_that_shrank_has_its_length(pair):
    _, a, b = opened(pair)
    a.ask(f"resize 1 {HALF}")
    move(a, b)
    expect_same(b.ask("size 1"), str(HALF), "fstat at B")
    expect_same(b.read(1, 0, IMAGE_BYTES), runs("0", HALF) + " end", "B reads")


@theme.scenario(COHERENCE_OFF, BINDFS)
def mapped_pages_of_the_source_come_along(pair):
    _, a, b = opened(pair)
    a.ask(f"map 1 {IMAGE_BYTES}")
    a.ask(f"store 1 0 {IMAGE_BYTES} A")
    move(a, b)
    expect_same(b.read(1, 0, IMAGE_BYTES), runs("A"), "B reads what A's mapping held")


PAGE = 4096
SCATTERED_PAGES = 1024


@theme.scenario(COHERENCE_OFF, options="profile=range,deadline=5000")
def pages_that_the_kernel_is_writing_back_come_along(pair):
    """Apart from each other, so that each is a WRITE: more than the kernel has under way at once,
    and the unlock overtakes some."""
    name = pair.image("A", SCATTERED_PAGES * PAGE)
    a = pair.a.vmm(name, "rw+s")
    a.ask("lock 1 w 0 0")
    a.ask(f"map 1 {SCATTERED_PAGES * PAGE}")
    for page in range(0, SCATTERED_PAGES, 2):
        a.ask(f"store 1 {page * PAGE} {PAGE} M")
    a.ask("writeback 1")
    a.ask("unlock 1 0 0")
    stored = pair.stored(name)
    lost = [page for page in range(0, SCATTERED_PAGES, 2)
            if stored[page * PAGE:(page + 1) * PAGE] != b"M" * PAGE]
    expect(not lost, f"{len(lost)} pages of the mapping did not come along")


@theme.scenario(COHERENCE_OFF, BINDFS)
def a_mapping_at_the_destination_is_fresh(pair):
    _, a, b = opened(pair)
    b.ask(f"map 1 {IMAGE_BYTES}")
    b.ask(f"load 1 0 {IMAGE_BYTES}")
    a.write(1, 0, IMAGE_BYTES, "A")
    move(a, b)
    expect_same(b.ask(f"load 1 0 {IMAGE_BYTES}"), runs("A"), "B's mapping shows")
    b.ask(f"store 1 0 {HALF} B")
    move(b, a)
    expect_same(a.read(1, 0, IMAGE_BYTES), runs("B", HALF) + " " + runs("A", HALF), "A reads")


@theme.scenario(COHERENCE_OFF, BINDFS)
def one_descriptor_locks_and_another_writes(pair):
    """QEMU's reopen: what was opened first goes on, and the locks move to another description."""
    name, a, b = opened(pair)
    a.open(2, name)
    a.lock(2)
    a.unlock(1)
    expect_state(pair, a, 1, "owner")
    a.write(1, 0, IMAGE_BYTES, "A")
    a.write(2, 0, HALF, "C")
    a.unlock(2)
    expect_state(pair, a, 1, "released")
    b.lock(1)
    expect_same(b.read(1, 0, IMAGE_BYTES), runs("C", HALF) + " " + runs("A", HALF), "B reads")


@theme.scenario(COHERENCE_OFF, BINDFS)
def a_source_that_closes_hands_over(pair):
    _, a, b = opened(pair)
    a.write(1, 0, IMAGE_BYTES, "A")
    a.ask("close 1")
    b.lock(1)
    expect_same(b.read(1, 0, IMAGE_BYTES), runs("A"), "B reads")


@theme.scenario(COHERENCE_OFF)
def a_killed_source_hands_over(pair):
    _, a, b = opened(pair)
    a.ask(f"map 1 {IMAGE_BYTES}")
    a.ask(f"store 1 0 {IMAGE_BYTES} A")
    a.kill()
    b.lock(1)
    expect_state(pair, b, 1, "owner")
    expect_same(b.read(1, 0, IMAGE_BYTES), runs("A"), "B reads")


@theme.scenario(COHERENCE_OFF, BINDFS)
def a_source_that_acquires_again_goes_on(pair):
    _, a, b = opened(pair)
    a.write(1, 0, IMAGE_BYTES, "A")
    a.unlock(1)
    expect_state(pair, a, 1, "released")
    a.lock(1)
    expect_state(pair, a, 1, "owner")
    a.write(1, 0, HALF, "C")
    a.ask("fsync 1")
    move(a, b)
    expect_same(b.read(1, 0, IMAGE_BYTES), runs("C", HALF) + " " + runs("A", HALF), "B reads")


# What a released source may not do any more, on any handle ------------------------------------

def prepare_mapping(_name, a):
    a.ask(f"map 2 {IMAGE_BYTES}")
    a.ask("load 2 0 4096")


def write_mapped(a, _path):
    a.ask("store 2 0 4096 X")
    return a.error("msync 2")


CHANGES = {
    "write": lambda a, path: a.error("write 1 0 4096 X"),
    "append": lambda a, path: a.error(f"write 1 {IMAGE_BYTES} 4096 X"),
    "write_by_another_handle": lambda a, path: a.error("write 2 0 4096 X"),
    "write_directly": lambda a, path: a.error("write 3 0 4096 X"),
    "write_by_a_new_handle": lambda a, path: a.error(f"open 5 rw {path}")
                             or a.error("write 5 0 4096 X"),
    "store_in_a_mapping": write_mapped,
    "truncate_by_path": lambda a, path: a.error(f"truncate 4096 {path}"),
    "truncate_by_handle": lambda a, path: a.error("resize 1 4096"),
    "open_with_truncation": lambda a, path: a.error(f"open 5 rw+t {path}"),
    "fallocate": lambda a, path: a.error(f"allocate 1 0 {2 * IMAGE_BYTES}"),
    "copy_file_range": lambda a, path: a.error("copy 4 1 0 0 4096"),
}


def refused_change(kind):
    def run(pair):
        name, a, b = opened(pair)
        a.open(2, name)
        a.open(3, name, "rw+d")
        a.open(4, pair.image("X"), "r")
        prepare_mapping(name, a)
        a.write(1, 0, IMAGE_BYTES, "A")
        move(a, b)
        b.write(1, 0, IMAGE_BYTES, "B")
        b.ask("fsync 1")
        error = CHANGES[kind](a, a.host.path(name))
        a.error("fsync 1")  # what a refused write left behind may show here
        if error == 0 or pair.stored(name) != b"B" * IMAGE_BYTES:
            raise Wrong(f"{kind}: errno {error}, and it is in the store: "
                        f"{pair.stored(name) != b'B' * IMAGE_BYTES}")
        testbed.check(error == errno.EIO, f"{kind}: {os.strerror(error)}")
        testbed.wait_until(lambda: a.read(1, 0, IMAGE_BYTES) == runs("B"),
                           what="A, released, reads what is stored")
        move(b, a)
        expect_same(a.read(1, 0, IMAGE_BYTES), runs("B"), "A, owner again, reads")
        expect_same(a.ask("load 2 0 4096"), runs("B", 4096), "A's mapping shows")
    return run


for change in CHANGES:
    theme.scenario("fence=off,deadline=1000", name=f"a_released_source_may_not_{change}")(
        refused_change(change))


# The end of `released` ------------------------------------------------------------------------

@theme.scenario("fence=strict,deadline=1000")
def a_handle_opened_after_the_last_close_writes(pair):
    name, a, b = handed_over(pair)
    a.ask("close 1")
    a.open(1, name)
    expect_state(pair, a, 1, "standby")
    if a.error("write 1 0 4096 C"):  # refused by fence=strict alone
        raise Wrong("a standby may not write")
    b.close()

    def is_plain_when_opened_again():
        a.ask("close 1")
        a.open(1, name)
        return a.state(1) == "plain"

    # The close of who is gone is on its way for a while.
    testbed.wait_until(is_plain_when_opened_again, what="the end of B's close")


@theme.scenario()
def released_ends_with_the_last_handle_that_was_open_then(pair):
    name, a, b = handed_over(pair)
    late = pair.a.vmm(name)
    expect_state(pair, late, 1, "released")
    testbed.check(late.error("write 1 0 4096 X") == errno.EIO, "a late handle writes")
    a.ask("close 1")
    testbed.wait_until(lambda: late.state(1) == "standby", what="the end of `released`")
    b.unlock(1)
    b.close()
    late.open(2, name)
    testbed.wait_until(lambda: late.state(1) == "plain", what="plain after B has gone")


if __name__ == "__main__":
    theme.main()
