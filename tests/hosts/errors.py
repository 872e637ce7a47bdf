#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A store that fails at a hand-over: who can be told is, and nobody else owns what may be lost."""
import errno

from pair import IMAGE_BYTES, runs
from scenario import COHERENCE_OFF, QUICK, Theme, expect, expect_same, expect_state
import testbed

theme = Theme("errors")
HALF = IMAGE_BYTES // 2


def owned(pair):
    """A owns the image, and has written what the store does not have yet."""
    name = pair.image()
    a, b = pair.a.vmm(name), pair.b.vmm(name)
    b.read(1, 0, IMAGE_BYTES)
    a.lock(1)
    a.write(1, 0, IMAGE_BYTES, "A")
    return name, a, b


def fails_and_stays(pair, a, b, name, error):
    """The unlock of QEMU's last byte that counts fails, and changes nothing."""
    a.unlock(1, 100)
    failed = 0
    for line in ("unlock 1 101 1", "unlock 1 201 1"):
        failed = failed or a.error(line)
    pair.a.control("fail write EIO 0", "fail fsync EIO 0")
    expect(failed != 0, "the hand-over of lost writes was told as done")
    testbed.check(failed == error, f"errno {failed}, not {error}")
    expect_state(pair, a, 1, "owner")
    expect(b.ask("getlk 1 w 101 1") != "free" or b.ask("getlk 1 w 201 1") != "free",
           "the other host's test sees nobody")
    testbed.check(pair.record(name)[0] == "owned", f"{pair.record(name)}")


@theme.scenario(COHERENCE_OFF)
def an_unlock_fails_with_its_sync(pair):
    name, a, b = owned(pair)
    pair.a.control("fail fsync EIO 1")
    fails_and_stays(pair, a, b, name, errno.EIO)


@theme.scenario(COHERENCE_OFF)
def an_unlock_fails_with_a_write_that_finds_no_space(pair):
    name, a, b = owned(pair)
    pair.a.control("fail write ENOSPC 100")
    fails_and_stays(pair, a, b, name, errno.ENOSPC)


@theme.scenario(COHERENCE_OFF)
def an_unlock_fails_with_a_mapped_page_that_cannot_be_written(pair):
    name, a, b = owned(pair)
    a.ask("fsync 1")
    a.ask(f"map 1 {IMAGE_BYTES}")
    a.ask("store 1 0 4096 M")
    pair.a.control("fail write ENOSPC 100")
    fails_and_stays(pair, a, b, name, errno.ENOSPC)


@theme.scenario()
def a_source_whose_unlock_failed_writes_again_and_hands_over(pair):
    name, a, b = owned(pair)
    pair.a.control("fail fsync EIO 1")
    fails_and_stays(pair, a, b, name, errno.EIO)
    a.write(1, 0, IMAGE_BYTES, "C")
    a.lock(1)
    a.ask("fsync 1")
    a.unlock(1)
    b.lock(1)
    expect_state(pair, b, 1, "owner")
    expect_same(b.read(1, 0, IMAGE_BYTES), runs("C"), "B reads")


@theme.scenario(QUICK)
def a_close_that_cannot_sync_is_logged_and_recorded(pair):
    """There is nobody to tell: the locks go, and the record says that no hand-over took place."""
    name, a, b = owned(pair)
    if not pair.twin:
        pair.a.control("fail fsync EIO 1")
    a.ask(f"map 1 {IMAGE_BYTES}")
    a.kill()
    testbed.wait_until(lambda: b.ask("getlk 1 w 201 1") == "free", what="the locks of the dead")
    expect(pair.record(name)[0] == "owned", "the record says that it was handed over")
    testbed.check("Input/output error" in pair.a.above.log_text(), "no word of it in the log:\n"
                  + pair.a.above.log_text()[-500:])
    b.lock(1)
    expect_state(pair, b, 1, "owner")


@theme.scenario()
def a_killed_vmm_that_was_synced_hands_over(pair):
    name, a, b = owned(pair)
    a.kill()
    testbed.wait_until(lambda: pair.record(name)[0] == "released", what="the hand-over")
    b.lock(1)
    expect_same(b.read(1, 0, IMAGE_BYTES), runs("A"), "B reads")


@theme.scenario()
def a_close_that_hands_over_keeps_the_errors_of_others(pair):
    """What its sync is told by another handle's description, that handle's fsync tells."""
    name = pair.image()
    a = pair.a.vmm(name)
    a.open(2, name)
    a.lock(1)
    a.write(2, 0, IMAGE_BYTES, "A")
    pair.a.control("fail write EIO 100")
    a.error("close 1")
    testbed.wait_until(lambda: "may be lost" in pair.a.above.log_text(), what="the failed release")
    pair.a.control("fail write EIO 0")
    expect_same(a.error("fsync 2"), errno.EIO, "the errno of an fsync after it")
    expect_same(a.error("fsync 2"), 0, "and of one more")


@theme.scenario(COHERENCE_OFF)
def an_acquire_that_cannot_drop_gives_its_bytes_back(pair):
    """A lock that fails was not taken: the other host may go on."""
    name, a, b = owned(pair)
    a.unlock(1)
    b.write(1, 0, 4096, "B")  # else there is nothing to sync
    b.ask("fsync 1")
    b.lock(1, 100, 101)
    pair.b.control("fail fsync EIO 1")
    error = b.error("lock 1 r 201 1")
    pair.b.control("fail fsync EIO 0")
    expect(error == errno.EIO, "a lock was granted though the caches below were not dropped")
    expect(a.ask("getlk 1 w 201 1") == "free", "201 stayed")
    b.unlock(1, 100, 101)
    a.lock(1)
    expect_state(pair, a, 1, "owner")


@theme.scenario()
def a_lock_that_the_store_refuses_changes_nothing(pair):
    name, a, b = owned(pair)
    a.unlock(1)
    before = pair.record(name)
    pair.b.control("fail lock ENOLCK 1")
    testbed.check(b.error("lock 1 r 100 1") == errno.ENOLCK, "another error")
    expect_state(pair, b, 1, "plain")
    testbed.check(pair.record(name) == before, "the record was touched")
    b.lock(1)
    expect_state(pair, b, 1, "owner")


@theme.scenario()
def a_test_that_the_store_refuses_makes_no_owner(pair):
    name, a, b = owned(pair)
    a.unlock(1)
    b.lock(1, 100, 101)
    pair.b.control("fail getlk EIO 1")
    testbed.check(b.error("lock 1 r 201 1") == errno.EIO, "another error")
    testbed.check(a.ask("getlk 1 w 201 1") == "free", "201 stayed")
    testbed.check(b.state(1) != "owner", "an owner without a test")


if __name__ == "__main__":
    theme.main()
