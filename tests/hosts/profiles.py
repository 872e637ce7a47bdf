#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Which lock means what: profile=range, flock and none, the ioctl, and locks of ordinary programs."""
import errno
import os

from pair import IMAGE_BYTES, Stack, runs
from scenario import COHERENCE_OFF, QUICK, Theme, Wrong, expect, expect_same, expect_state
import testbed

theme = Theme("profiles")
HALF = IMAGE_BYTES // 2
WHOLE = "0 0"
LENGTH = f"0 {IMAGE_BYTES}"


def opened(pair, acquire):
    """An image that both hosts have open and have read; A has written it as owner."""
    name = pair.image()
    a, b = pair.a.vmm(name), pair.b.vmm(name)
    b.read(1, 0, IMAGE_BYTES)
    acquire(a)
    a.ask(f"map 1 {IMAGE_BYTES}")
    a.ask(f"store 1 0 {HALF} A")
    a.write(1, HALF, HALF, "A")
    return name, a, b


def goes_there_and_back(pair, acquire, release):
    _, a, b = opened(pair, acquire)
    expect_state(pair, a, 1, "owner")
    release(a)
    expect_state(pair, a, 1, "released")
    acquire(b)
    expect_state(pair, b, 1, "owner")
    expect_same(b.read(1, 0, IMAGE_BYTES), runs("A"), "B reads")
    error = a.error("write 1 0 4096 X")
    expect(error != 0, "A writes after its hand-over")
    testbed.check(error == errno.EIO, f"a released source gets {error}")
    b.write(1, 0, IMAGE_BYTES, "B")
    release(b)
    acquire(a)
    expect_same(a.read(1, 0, IMAGE_BYTES), runs("B"), "A reads")
    a.write(1, 0, 4096, "A")


# Locks of a whole file ------------------------------------------------------------------------

@theme.scenario(COHERENCE_OFF, "profile=auto", options="profile=range,deadline=1000")
def range_hands_over_with_a_lock_of_all(pair):
    goes_there_and_back(pair, lambda vmm: vmm.ask(f"lock 1 w {WHOLE}"),
                        lambda vmm: vmm.ask(f"unlock 1 {WHOLE}"))


@theme.scenario(COHERENCE_OFF, "profile=auto", options="profile=range,deadline=1000")
def range_hands_over_with_a_lock_of_the_length(pair):
    goes_there_and_back(pair, lambda vmm: vmm.ask(f"lock 1 w {LENGTH}"),
                        lambda vmm: vmm.ask(f"unlock 1 {LENGTH}"))


@theme.scenario(COHERENCE_OFF, options="profile=range,deadline=1000")
def range_hands_over_by_close(pair):
    name, a, b = opened(pair, lambda vmm: vmm.ask(f"lock 1 w {WHOLE}"))
    a.ask("unmap 1")
    a.ask("close 1")
    testbed.wait_until(lambda: b.error(f"lock 1 w {WHOLE}") == 0, what="B's lock after A's close")
    expect_same(b.read(1, 0, IMAGE_BYTES), runs("A"), "B reads")
    testbed.check(pair.twin or pair.record(name)[0] == "owned", f"{pair.record(name)}")


@theme.scenario(COHERENCE_OFF, options="profile=range,deadline=1000")
def range_writers_exclude_each_other(pair):
    name, a, b = opened(pair, lambda vmm: vmm.ask(f"lock 1 w {WHOLE}"))
    expect(b.error(f"lock 1 w {WHOLE}") == errno.EAGAIN, "two hosts own one image")
    expect_state(pair, b, 1, "standby")
    expect_state(pair, a, 1, "owner")


@theme.scenario(options="profile=range,deadline=1000")
def a_range_reader_is_no_owner(pair):
    name = pair.image()
    a, b = pair.a.vmm(name), pair.b.vmm(name)
    for vmm in (a, b):
        vmm.ask(f"lock 1 r {WHOLE}")
        expect_state(pair, vmm, 1, "plain")
    testbed.check(pair.record(name) is None, "a reader wrote a record")


@theme.scenario(options="profile=range,deadline=1000")
def a_lock_of_some_bytes_is_no_range_owner(pair):
    vmm = pair.a.vmm(pair.image())
    vmm.ask("lock 1 w 100 1")
    vmm.ask(f"lock 1 w 0 {HALF}")
    expect_state(pair, vmm, 1, "plain")


# flock ----------------------------------------------------------------------------------------

@theme.scenario(COHERENCE_OFF, "profile=auto", options="profile=flock,deadline=1000")
def flock_hands_over(pair):
    goes_there_and_back(pair, lambda vmm: vmm.ask("flock 1 ex"), lambda vmm: vmm.ask("flock 1 un"))


@theme.scenario(COHERENCE_OFF, options="profile=flock,deadline=1000")
def flock_hands_over_by_close(pair):
    _, a, b = opened(pair, lambda vmm: vmm.ask("flock 1 ex"))
    a.ask("unmap 1")
    a.ask("close 1")
    testbed.wait_until(lambda: b.error("flock 1 ex") == 0, what="B's lock after A's close")
    expect_same(b.read(1, 0, IMAGE_BYTES), runs("A"), "B reads")


# The ioctl ------------------------------------------------------------------------------------

IOCTL_OFF = Stack(options="fence=off,deadline=1000")


@theme.scenario(IOCTL_OFF)
def the_ioctl_hands_over(pair):
    goes_there_and_back(pair, lambda vmm: control_of(pair, vmm, "acquire"),
                        lambda vmm: control_of(pair, vmm, "release"))


def control_of(pair, vmm, what):
    """By migfsctl for one host, by a descriptor of its own for the other."""
    name = f"image{pair.images}"
    if vmm.host is pair.a:
        pair.a.ctl(what, pair.a.path(name))
        return
    controller = vmm.host.vmm(name)
    controller.ask(f"{what} 1")
    controller.close()


@theme.scenario("profile=auto", options="profile=none,deadline=1000")
def none_knows_the_ioctl_alone(pair):
    name = pair.image()
    a, control = pair.a.vmm(name), pair.a.vmm(name)
    a.lock(1)
    if a.state(1) != "plain":
        raise Wrong("locks make an owner")
    control.ask("acquire 1")
    expect_state(pair, a, 1, "owner")


@theme.scenario()
def the_ioctl_wants_rights(pair):
    name = pair.image()
    a, reader = pair.a.vmm(name), pair.a.vmm(name, "r")
    for what in ("acquire", "release"):
        testbed.check(reader.error(f"{what} 1") == errno.EBADF, f"{what}: a reader may")
    directory = pair.a.vmm()
    directory.ask(f"open 1 r {pair.a.above.path}")
    pair.a.ctl("acquire", pair.a.above.path, expect=1, as_user=True)
    pair.a.ctl("release", pair.a.above.path, expect=1, as_user=True)
    expect_state(pair, a, 1, "plain")
    testbed.check(directory.ask("acquire 1") == "1", "root may not acquire a directory")
    expect_state(pair, a, 1, "owner")


@theme.scenario()
def an_acquire_needs_somebody_who_has_it_open(pair):
    alone = pair.a.vmm(pair.image())
    testbed.check(alone.error("acquire 1") == errno.ENOENT, "acquired for nobody")
    pair.a.ctl("acquire", pair.a.path(f"image{pair.images}"))  # `alone` has it open
    expect_state(pair, alone, 1, "owner")


@theme.scenario()
def an_acquire_ends_at_the_last_other_close(pair):
    name = pair.image()
    a, control = pair.a.vmm(name), pair.a.vmm(name)
    b, control_b = pair.b.vmm(name), pair.b.vmm(name)
    control.ask("acquire 1")
    control.close()
    expect_state(pair, a, 1, "owner")
    a.write(1, 0, IMAGE_BYTES, "A")
    a.close()
    testbed.wait_until(lambda: control_b.error("acquire 1") == 0, what="B's acquire")
    expect_same(b.read(1, 0, IMAGE_BYTES), runs("A"), "B reads")


@theme.scenario()
def an_acquire_ends_at_the_last_close_but_the_callers(pair):
    """The one who asked keeps its descriptor, and is not a user of the file."""
    name = pair.image()
    a, control = pair.a.vmm(name), pair.a.vmm(name)
    control.ask("acquire 1")
    a.close()
    testbed.wait_until(lambda: control.state(1) != "owner", what="the end of the acquire")


def opened_before_the_end(pair):
    """A late opener, there before the turn of an acquire's end, which the last other close has
    asked for; and the one who acquired. None: the end was faster."""
    name = pair.image()
    a, control, below = pair.a.vmm(name), pair.a.vmm(name), pair.b.vmm()
    below.open(1, os.path.join(pair.b.below.path, name))
    control.ask("acquire 1")
    a.ask("lock 1 w 500 1")
    # The end has its turn behind what was asked before: here a question that is not answered yet.
    pair.a.control("freeze unlock getlk")
    try:
        a.close()
        control.begin("getlk 1 w 600 1")
        testbed.wait_until(lambda: waits_for_fuse(control) or control.answers_within(0),
                           what="the question")
        pair.a.control("thaw unlock")
        testbed.wait_until(lambda: below.ask("getlk 1 w 500 1") == "free", 2, "A's close")
        late = pair.a.vmm(name)
        there = late.state(1) == "owner"
    except testbed.TestFailure:
        there = False  # the question was before the close
    finally:
        pair.a.control("thaw")
    control.end()
    control.ask("getlk 1 w 600 1")  # behind the end, too
    return (late, control) if there else None


def waits_for_fuse(vmm):
    with open(f"/proc/{vmm.process.pid}/wchan", encoding="ascii") as file:
        return file.read() == "request_wait_answer"


@theme.scenario(options="deadline=10000")
def an_acquire_goes_on_for_who_opens_before_its_end(pair):
    for _ in range(20):
        opened_late = opened_before_the_end(pair)
        if opened_late:
            break
    testbed.check(opened_late, "the end was always faster")
    late, control = opened_late
    expect_state(pair, late, 1, "owner")
    late.write(1, 0, IMAGE_BYTES, "A")
    late.close()
    testbed.wait_until(lambda: control.state(1) != "owner", what="the end of the acquire")


@theme.scenario()
def an_acquire_waits_for_a_close_under_way(pair):
    """The kernel tells of a close after it: a lock that is about to go is in nobody's way."""
    name = pair.image()
    control = pair.a.vmm(name)
    pair.a.vmm(name)
    for _ in range(5):
        other = pair.a.vmm(name)
        other.open(2, os.path.join(pair.b.below.path, name))
        other.ask("lock 1 w 100 1")
        other.ask("posix 1 w 500 1")
        # As it ends it flushes slot 1, which drops the second lock, then hangs at slot 2.
        pair.b.control("freeze flush")
        other.process.stdin.close()
        testbed.wait_until(lambda: control.ask("getlk 1 w 500 1") == "free", what="the flush")
        control.begin("acquire 1")
        control.answers_within(0.005)
        pair.b.control("thaw")
        other.process.wait()
        control.end()
        control.ask("release 1")


# Ordinary programs ----------------------------------------------------------------------------

ORDINARY = {
    "posix": (lambda vmm: vmm.ask("posix 1 w 0 0"), lambda vmm: vmm.ask("posix 1 u 0 0")),
    "sqlite": (lambda vmm: vmm.ask("posix 1 w 1073741824 1"),
               lambda vmm: vmm.ask("posix 1 u 1073741824 1")),
    "flock": (lambda vmm: vmm.ask("flock 1 ex"), lambda vmm: vmm.ask("flock 1 un")),
    "ofd": (lambda vmm: vmm.ask(f"lock 1 w {WHOLE}"), lambda vmm: vmm.ask(f"unlock 1 {WHOLE}")),
    "byte_100": (lambda vmm: vmm.ask("lock 1 w 100 1"), lambda vmm: vmm.ask("unlock 1 100 1")),
}


def ordinary(kind):
    lock, unlock = ORDINARY[kind]

    def run(pair):
        name, a, b = opened(pair, lock)
        expect_state(pair, a, 1, "plain")
        unlock(a)
        expect_state(pair, a, 1, "plain")
        lock(b)
        expect_same(b.ask("size 1"), str(IMAGE_BYTES), "the length at B")
        expect_same(b.read(1, 0, IMAGE_BYTES), runs("A"), "B reads under its lock")
        b.write(1, IMAGE_BYTES, 4096, "B")
        unlock(b)
        lock(a)
        expect_same(a.ask("size 1"), str(IMAGE_BYTES + 4096), "the length at A")
        expect_same(a.read(1, IMAGE_BYTES, 4096), runs("B", 4096), "A reads under its lock")
        unlock(a)
        testbed.check(pair.record(name) is None, "an ordinary lock wrote a record")
        testbed.check(a.error("write 1 0 4096 A") == 0, "an ordinary program is fenced")
    return run


for kind_of_lock in ORDINARY:
    theme.scenario(COHERENCE_OFF, name=f"auto_leaves_{kind_of_lock}_locks_to_programs")(
        ordinary(kind_of_lock))


@theme.scenario(QUICK, options="profile=none,deadline=1000")
def a_whole_read_lock_is_not_qemus(pair):
    """It covers QEMU's bytes; the twin is QEMU's own locks, which are recognised."""
    a = pair.a.vmm(pair.image())
    if pair.twin:
        a.lock(1)
    else:
        a.ask(f"lock 1 r {WHOLE}")
    if a.state(1) != "plain":
        raise Wrong("it made an owner")


# What a lock costs ----------------------------------------------------------------------------

LOCKS = 200


def jobs_of_pool(pid):
    """How often the threads that transitions run on have gone to sleep."""
    count = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/status", encoding="ascii") as file:
            status = dict(line.rstrip("\n").split(":", 1) for line in file)
        if status["Name"].strip() == "transition":
            count += int(status["voluntary_ctxt_switches"])
    return count


def jobs_of_locks(pair, vmm):
    before = jobs_of_pool(pair.a.above.pid)
    for _ in range(LOCKS):
        vmm.ask("lock 1 w 5 1")
        vmm.ask("unlock 1 5 1")
    return jobs_of_pool(pair.a.above.pid) - before


@theme.scenario(fresh=True)  # jobs of what ran before would be counted
def a_lock_that_changes_nothing_is_answered_where_it_is_read(pair):
    """But where pages have to be dropped or written out for it: that is not for such a thread."""
    a = pair.a.vmm(pair.image())
    jobs = jobs_of_locks(pair, a)
    testbed.check(jobs < LOCKS / 4, f"{jobs} jobs for {LOCKS} locks of a file with no page")
    before = jobs_of_pool(pair.a.above.pid)
    a.read(1, 0, IMAGE_BYTES)
    a.ask("lock 1 w 5 1")
    testbed.check(a.ask("cached 1") == "0", "a lock leaves the pages that were there before it")
    testbed.check(jobs_of_pool(pair.a.above.pid) > before, "a serving thread has dropped them")


if __name__ == "__main__":
    theme.main()
