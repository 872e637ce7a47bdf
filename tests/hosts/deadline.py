#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A store that does not answer during a hand-over: the VMM is told in time, and nothing hangs."""
import errno

from pair import CallFailed, IMAGE_BYTES, runs
from scenario import Theme, expect, expect_same
import testbed

theme = Theme("deadline")
DEADLINE = "deadline=400"
PATIENT = "deadline=60000"
LIMIT_S = 30
TWIN_LIMIT_S = 1.5


def prepared(pair):
    name, other = pair.image(), pair.image("o")
    a, b = pair.a.vmm(name), pair.b.vmm(name)
    b.write(1, 0, 4096, "0")  # as it was: else an acquire has nothing to sync
    b.ask("fsync 1")
    b.read(1, 0, IMAGE_BYTES)
    beside = pair.a.vmm(other), pair.b.vmm(other)
    for vmm in beside:
        vmm.write(1, 0, 4096, "o")
        vmm.ask("fsync 1")
        vmm.read(1, 0, IMAGE_BYTES)
    return name, a, b, beside


def answer(vmm, line):
    """The errno of a call that must end while the store stands still."""
    vmm.begin(line)
    expect(vmm.answers_within(TWIN_LIMIT_S if vmm.host.stack.options != DEADLINE else LIMIT_S),
           f"{line}: no answer")
    try:
        vmm.end()
    except CallFailed as failure:
        return failure.number
    return 0


def one_times_out(vmm, lines):
    """The first call that needs what hangs; the VMM gives up then."""
    for line in lines:
        error = answer(vmm, line)
        if error:
            testbed.check(error == errno.ETIMEDOUT, f"{line}: errno {error}, not ETIMEDOUT")
            return
    raise testbed.TestFailure("nothing timed out")


def locks_time_out(vmm):
    one_times_out(vmm, [f"lock 1 r {byte} 1" for byte in (100, 101, 201)])


def unlocks_time_out(vmm):
    one_times_out(vmm, [f"unlock 1 {byte} 1" for byte in (100, 101, 201)])


def frozen(host, operation):
    class Frozen:
        def __enter__(self):
            host.control(f"freeze {operation}")

        def __exit__(self, *_):
            host.control("thaw")
    return Frozen()


def others_go_on(vmm, operation):
    """Another file of the same mount, as far as what it needs is not frozen itself."""
    testbed.check(vmm.read(1, 0, 4096) == runs("o", 4096), "another file cannot be read")
    if operation != "getattr":
        vmm.ask("size 1")
        vmm.ask("write 1 0 4096 o")


def acquire_frozen(operation):
    def run(pair):
        _, a, b, beside = prepared(pair)
        a.lock(1)
        a.write(1, 0, IMAGE_BYTES, "A")
        a.unlock(1)
        with frozen(pair.b, operation):
            locks_time_out(b)
            others_go_on(beside[1], operation)
        testbed.wait_until(lambda: b.state(1) != "owner", what="no owner")
        b.unlock(1)  # as a VMM does that failed
        # Told that it has no lock, it has none: A may come back, and is right.
        a.lock(1)
        testbed.check(a.state(1) == "owner", f"A is {a.state(1)}")
        expect_same(a.read(1, 0, IMAGE_BYTES), runs("A"), "A reads")
        a.write(1, 0, IMAGE_BYTES, "C")
        a.unlock(1)
        b.lock(1)
        testbed.check(b.state(1) == "owner", f"B is {b.state(1)}")
        expect_same(b.read(1, 0, IMAGE_BYTES), runs("C"), "B reads")
    return run


def source_with_changes(a):
    """Owner of 201 alone, with written and mapped pages that the store does not have."""
    a.lock(1)
    a.write(1, 0, IMAGE_BYTES, "A")
    a.ask(f"map 1 {IMAGE_BYTES}")
    a.ask("store 1 4096 4096 M")


def release_frozen(operation):
    def run(pair):
        _, a, b, beside = prepared(pair)
        source_with_changes(a)
        with frozen(pair.a, operation):
            unlocks_time_out(a)
            others_go_on(beside[0], operation)
        # Told that it still has its locks, it has them, and is the owner still.
        testbed.wait_until(lambda: a.state(1) == "owner", what="A as owner")
        testbed.check(b.ask("getlk 1 w 201 1") == "r 201 1", "A's lock went")
        a.write(1, 8192, 4096, "C")
        a.lock(1)
        a.unlock(1)
        b.lock(1)
        testbed.check(b.state(1) == "owner", f"B is {b.state(1)}")
        right = " ".join((runs("A", 4096), runs("M", 4096), runs("C", 4096),
                          runs("A", IMAGE_BYTES - 12288)))
        expect_same(b.read(1, 0, IMAGE_BYTES), right, "B reads")
    return run


@theme.scenario(PATIENT, options=DEADLINE, fresh=True)
def a_release_ends_while_unlock_hangs(pair):
    """Whether the bytes went nobody can know: the other host may be owner already."""
    _, a, b, beside = prepared(pair)
    source_with_changes(a)
    a.unlock(1, 100, 101)  # that of 101 syncs
    a.ask("unlock 1 103 1")
    with frozen(pair.a, "unlock"):
        one_times_out(a, ["unlock 1 201 1"])
        others_go_on(beside[0], "unlock")
        testbed.check(a.error("write 1 0 4096 X") == errno.EIO, "who may be released writes")
    a.unlock(1)
    b.lock(1)
    testbed.check(b.state(1) == "owner", f"B is {b.state(1)}")
    right = " ".join((runs("A", 4096), runs("M", 4096), runs("A", IMAGE_BYTES - 8192)))
    expect_same(b.read(1, 0, IMAGE_BYTES), right, "B reads")


for frozen_operation in ("lock", "getlk", "fsync", "getattr"):
    theme.scenario(*[PATIENT] * (frozen_operation == "fsync"), options=DEADLINE, fresh=True,
                   name=f"an_acquire_ends_while_{frozen_operation}_hangs")(
                       acquire_frozen(frozen_operation))
for frozen_operation in ("fsync", "write"):
    theme.scenario(*[PATIENT] * (frozen_operation == "fsync"), options=DEADLINE, fresh=True,
                   name=f"a_release_ends_while_{frozen_operation}_hangs")(
                       release_frozen(frozen_operation))


if __name__ == "__main__":
    theme.main()
