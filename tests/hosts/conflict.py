#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A second VMM on the other host, by mistake or because the first one has just died."""
import errno
import time

from pair import IMAGE_BYTES, runs
from scenario import COHERENCE_OFF, Theme, expect, expect_same, expect_state
import testbed

theme = Theme("conflict")
SHORT = "deadline=1200"
ELSEWHERE = 4  # of migfsctl


def owned(pair):
    name = pair.image()
    a, b = pair.a.vmm(name), pair.b.vmm(name)
    b.read(1, 0, IMAGE_BYTES)
    a.lock(1)
    a.write(1, 0, IMAGE_BYTES, "A")
    a.ask("fsync 1")
    return name, a, b


@theme.scenario(COHERENCE_OFF, options=SHORT)
def a_second_vmm_sees_the_first(pair):
    """QEMU's locks are read locks: granted, and QEMU tests for itself."""
    name, a, b = owned(pair)
    before = pair.record(name)
    b.lock(1, 100, 101)
    b.lock(1, 201)
    expect_same(b.ask("getlk 1 w 201 1"), "r 201 1", "what is in the way of B's 201")
    expect(b.ask("getlk 1 w 101 1") != "free", "nobody is in the way of B's 101")
    expect_state(pair, b, 1, "standby")
    expect_state(pair, a, 1, "owner")
    testbed.check(pair.record(name) == before, "the record was touched")
    b.unlock(1, 201)
    b.unlock(1, 100, 101)
    testbed.check(pair.record(name) == before, "the record was touched by the way out")
    expect_state(pair, a, 1, "owner")
    a.write(1, 0, IMAGE_BYTES, "C")
    expect_same(a.read(1, 0, IMAGE_BYTES), runs("C"), "the owner reads")


@theme.scenario("fence=off,deadline=1200", options=SHORT)
def who_was_owner_until_a_contest_stays_stopped(pair):
    """Through each handle that was open then, though another one of them is closed."""
    name = pair.image()
    a, b = pair.a.vmm(name), pair.b.vmm(name)
    a.open(2, name)
    a.lock(1)
    a.write(1, 0, 4096, "A")
    a.unlock(1, 101)
    b.lock(1, 100, 201)
    expect_state(pair, b, 1, "owner")
    a.error("lock 1 r 101 1")
    expect_state(pair, a, 1, "released")
    expect(a.error("write 1 0 512 X") == errno.EIO, "it writes beside the owner")
    a.ask("close 2")
    pair.a.ctl("status", pair.a.path(name))  # behind the close's own turn
    expect(a.error("write 1 0 512 X") == errno.EIO, "it writes again after another one's close")
    expect_state(pair, a, 1, "released")


@theme.scenario("deadline=1200,profile=none", options=SHORT)
def a_second_vmm_gives_the_first_time_to_go(pair):
    """The lock that would make an owner waits most of the deadline for who is on its way out."""
    _, a, b = owned(pair)
    b.lock(1, 100, 101)
    b.begin("lock 1 r 201 1")
    a.unlock(1)
    b.end()
    if not pair.twin:
        expect_state(pair, b, 1, "owner")
    expect(b.ask("getlk 1 w 101 1") == "free", "A is still there")
    expect(a.error("write 1 0 512 X"), "A still writes")


@theme.scenario(COHERENCE_OFF, options=SHORT)
def a_second_vmm_does_not_cache(pair):
    """Nobody owns an image that another host writes: what is read there stays fresh."""
    _, a, b = owned(pair)
    b.lock(1, 100, 101)
    b.lock(1, 201)
    b.read(1, 0, IMAGE_BYTES)
    a.write(1, 0, IMAGE_BYTES, "C")
    a.ask("fsync 1")
    if not pair.twin:
        testbed.wait_until(lambda: b.read(1, 0, IMAGE_BYTES) == runs("C"), what="B reads fresh")
    expect_same(b.read(1, 0, IMAGE_BYTES), runs("C"), "B reads")


@theme.scenario(options=SHORT)
def the_ioctl_times_out_beside_an_owner(pair):
    name, a, b = owned(pair)
    control = pair.b.vmm(name)
    before = pair.record(name)
    testbed.check(control.error("acquire 1") == errno.ETIMEDOUT, "acquired beside an owner")
    expect_state(pair, b, 1, "standby")
    expect_state(pair, a, 1, "owner")
    testbed.check(pair.record(name) == before, "the record was touched")
    testbed.check(a.ask("getlk 1 w 100 104") == "free", "B's bytes were left behind")
    a.close()
    control.ask("acquire 1")
    expect_state(pair, b, 1, "owner")


@theme.scenario(COHERENCE_OFF, options="deadline=5000")
def a_killed_owner_is_followed_at_once(pair):
    """`destroy` here and `start` there: the acquire succeeds, before any deadline."""
    name, a, b = owned(pair)
    a.write(1, 0, IMAGE_BYTES, "D")
    a.process.kill()
    started = time.monotonic()
    b.lock(1)
    took = time.monotonic() - started
    expect_state(pair, b, 1, "owner")
    testbed.check(pair.twin or pair.record(name)[0] == "owned", "no record")
    expect_same(b.read(1, 0, IMAGE_BYTES), runs("D"), "B reads")
    testbed.check(took < 60, f"it took {took:.1f} s")


@theme.scenario(options=SHORT)
def an_ioctl_waits_for_a_lock_that_is_being_given_back(pair):
    """As the exclusive one of a VMM that has just died on the other host: its close is late there,
    and not to be seen here. One that stays is told, and nothing is acquired."""
    name = pair.image()
    a = pair.a.vmm(name)
    pair.a.control("fail lock EAGAIN 3")
    pair.a.ctl("acquire", pair.a.path(name))
    expect_state(pair, a, 1, "owner")
    pair.a.ctl("release", pair.a.path(name))
    pair.a.control("fail lock EAGAIN 1000000")
    pair.a.ctl("acquire", pair.a.path(name), expect=ELSEWHERE)
    pair.a.control("fail lock EAGAIN 0")
    expect_state(pair, a, 1, "released")
    pair.a.ctl("acquire", pair.a.path(name))


@theme.scenario("profile=none,deadline=1200", options=SHORT)
def who_came_second_becomes_owner_by_asking_again(pair):
    _, a, b = owned(pair)
    b.lock(1)
    expect_state(pair, b, 1, "standby")
    b.unlock(1)
    a.unlock(1)
    b.lock(1)
    expect_state(pair, b, 1, "owner")
    expect(a.error("write 1 0 512 X"), "A still writes")
    expect_same(b.read(1, 0, IMAGE_BYTES), runs("A"), "B reads")


if __name__ == "__main__":
    theme.main()
