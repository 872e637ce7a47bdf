#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Digests of what an owner wrote: which of them its record has after the hand-over."""
from pair import IMAGE_BYTES
from scenario import Theme
import testbed

theme = Theme("digests")
K = 1024
MOST = 16 * K


def owned(pair):
    """An image that A owns, and has written in three places."""
    name = pair.image()
    a = pair.a.vmm(name)
    a.lock(1)
    for offset in (0, 16 * K, 32 * K):
        a.write(1, offset, 4 * K, "A")
    return name, a


def expect_extents(pair, name, *extents):
    seen = sorted(pair.digests(name))
    testbed.check(seen == sorted(extents), f"the record has {seen}, not {sorted(extents)}")


# What is kept ---------------------------------------------------------------------------------

@theme.scenario()
def what_was_written_is_in_the_record(pair):
    name, a = owned(pair)
    testbed.check(pair.digests(name) == {}, "a record of an owner has digests")
    a.write(1, 16 * K, 4 * K, "B")
    a.write(1, 64 * K, 100, "B")
    a.unlock(1)
    expect_extents(pair, name, (0, 4 * K), (16 * K, 4 * K), (32 * K, 4 * K), (64 * K, 100))
    digests = pair.digests(name)
    testbed.check(digests[0, 4 * K] == digests[32 * K, 4 * K] != digests[16 * K, 4 * K],
                  "digests are not of the bytes")


@theme.scenario()
def of_a_long_write_the_beginning_is(pair):
    name, a = owned(pair)
    a.write(1, 0, IMAGE_BYTES, "B")
    a.unlock(1)
    expect_extents(pair, name, (0, MOST))


@theme.scenario()
def the_last_writes_are_and_those_of_the_first_mib(pair):
    name, a = owned(pair)
    for number in range(200):
        a.write(1, (2 << 20) + 4 * K * number, 4 * K, "B")
    a.unlock(1)
    expect_extents(pair, name, (0, 4 * K), (16 * K, 4 * K), (32 * K, 4 * K),
                   *(((2 << 20) + 4 * K * number, 4 * K) for number in range(104, 200)))


@theme.scenario()
def what_nobody_changed_stays_over_the_next_owner(pair):
    name, a = owned(pair)
    a.unlock(1)
    b = pair.b.vmm(name)
    b.lock(1)
    b.write(1, 16 * K, 4 * K, "B")
    b.unlock(1)
    expect_extents(pair, name, (0, 4 * K), (16 * K, 4 * K), (32 * K, 4 * K))


# What takes them out --------------------------------------------------------------------------

def store(a, _path):
    """Mapped pages come as writes of whole pages."""
    a.ask(f"map 1 {IMAGE_BYTES}")
    a.ask("store 1 16384 1 X")
    a.ask("msync 1")


def open_with_truncation(a, path):
    a.ask(f"open 2 rw+t {path}")


def copy(a, _path):
    a.ask("copy 1 1 65536 16384 1000")


def append(a, path):
    """Where it lands is not the offset of the request."""
    a.ask(f"open 2 rw+a {path}")
    a.ask("write 2 0 4096 X")


CHANGES = {  # how; what is left
    "a_write": (lambda a, path: a.ask("write 1 20479 1 X"), [0, 32 * K, (20479, 1)]),
    "a_write_by_another_handle": (lambda a, path: (a.ask(f"open 2 w {path}"),
                                                   a.ask("write 2 20479 1 X")),
                                  [0, 32 * K, (20479, 1)]),
    "a_direct_write": (lambda a, path: (a.ask(f"open 2 w+d {path}"),
                                        a.ask("write 2 16384 512 X")),
                       [0, 32 * K, (16 * K, 512)]),
    "a_truncation": (lambda a, path: a.ask("resize 1 16385"), [0]),
    "a_truncation_by_path": (lambda a, path: a.ask(f"truncate 20479 {path}"), [0]),
    "a_growth": (lambda a, path: a.ask("resize 1 1048576"), [0, 16 * K, 32 * K]),
    "an_open_with_truncation": (open_with_truncation, []),
    "an_allocation": (lambda a, path: a.ask("allocate 1 20479 1"), [0, 32 * K]),
    "a_copy": (copy, [0, 32 * K]),
    "a_mapped_page": (store, [0, 16 * K, 32 * K]),
    "an_append": (append, []),
}


def changed(how, left):
    def run(pair):
        name, a = owned(pair)
        how(a, pair.a.path(name))
        a.unlock(1)
        expect_extents(pair, name, *(at if isinstance(at, tuple) else (at, 4 * K) for at in left))
    return run


for change, (make, remaining) in CHANGES.items():
    theme.scenario(name=f"after_{change}")(changed(make, remaining))


@theme.scenario()
def after_a_sync_that_failed(pair):
    """What was written before it may be lost, and nobody is told again."""
    name, a = owned(pair)
    pair.a.control("fail write ENOSPC 1")
    testbed.check(a.error("fsync 1") != 0, "the sync did not fail")
    a.write(1, 64 * K, 4 * K, "B")
    a.unlock(1)
    expect_extents(pair, name, (64 * K, 4 * K))


if __name__ == "__main__":
    theme.main()
