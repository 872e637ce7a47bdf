#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""migfs is killed at each step of an acquire and of a release: what was synced is there, the other
host takes the image over, and the record does not promise more than there is.

The twins are in steps.py: a release that leaves FLUSH out and dies, or SYNC out and meets an error,
promises what is not there. Needs a build with MIGFS_FAULTS.
"""
from pair import IMAGE_BYTES, QEMU_BYTES, REST, runs
from scenario import Theme, expect, expect_same
from steps import require_faults
import testbed

theme = Theme("killed")

ACQUIRE = ("LOCK", "TEST", "DROP", "READ_RECORD", "VERIFY", "INVALIDATE", "WRITE_RECORD", "ANSWER")
RELEASE = ("FLUSH", "DRAIN", "SYNC", "WRITE_RECORD", "INVALIDATE", "UNLOCK", "ANSWER")
RELEASED = RELEASE[RELEASE.index("WRITE_RECORD") + 1:]  # who dies at these has handed it over

# What `owned` leaves.
LAST = f"{runs('A', IMAGE_BYTES // 2)} {runs('B', IMAGE_BYTES // 2)}"


def owned(pair):
    """A owns an image that was synced as B and written as A since."""
    name = pair.image()
    a = pair.a.vmm(name)
    a.lock(1)
    a.write(1, 0, IMAGE_BYTES, "B")
    a.ask("fsync 1")
    a.write(1, 0, IMAGE_BYTES // 2, "A")
    return name, a


def expect_intact(name, seen, record):
    """Block by block one of what was written; all of the last where it was handed over."""
    if record[0] == "released":
        expect_same(seen, LAST, f"{name}, which was handed over")
    else:
        expect(seen in (LAST, runs("B")), f"{name}, of an owner that died: {seen}")


def taken_over(pair, name, host):
    """The host becomes owner of the image, whose last owner's daemon is gone."""
    record = pair.record(name)
    vmm = host.vmm(name)
    vmm.lock(1)
    expect_same(vmm.state(1), "owner", f"{host.name} after {record}")
    expect_same(pair.record(name)[0], "owned", "the record then")
    testbed.check(pair.record(name)[1] > record[1], f"{pair.record(name)} after {record}")
    said = "never handed it over" in host.above.log_text()
    testbed.check(said == (record[0] == "owned"),
                  f"what {host.name} says of {record}: {host.above.log_text()}")
    return vmm, record


def handed_back(pair, name, vmm):
    """What was killed comes back, and the image goes there in an orderly way."""
    vmm.write(1, 0, IMAGE_BYTES, "C")
    vmm.unlock(1)
    a = pair.a.vmm(name)
    a.lock(1)
    expect_same(a.state(1), "owner", "A, mounted anew")
    expect_same(a.read(1, 0, IMAGE_BYTES), runs("C"), "A reads")


def killed_in_release(step):
    def scenario(pair):
        name, a = owned(pair)
        a.unlock(1, 101, *REST)
        pair.a.kill_at(f"release:{step}")
        testbed.check(a.error("unlock 1 201 1") != 0, "unlocked by a dead daemon")
        pair.a.wait_killed()
        b, record = taken_over(pair, name, pair.b)
        testbed.check(record[0] == ("released" if step in RELEASED else "owned"), f"{record}")
        expect_intact(name, b.read(1, 0, IMAGE_BYTES), record)
        pair.a.restart()
        handed_back(pair, name, b)
    theme.scenario(fresh=True, name=f"killed_at_release_{step.lower()}")(scenario)


def killed_in_acquire(step):
    def scenario(pair):
        name, a = owned(pair)
        a.unlock(1)
        before = pair.record(name)
        b = pair.b.vmm(name)
        pair.b.kill_at(f"acquire:{step}")
        number = 0
        for byte in QEMU_BYTES:
            number = number or b.error(f"lock 1 r {byte} 1")
        testbed.check(number != 0, "locked by a dead daemon")
        pair.b.wait_killed()
        testbed.check((pair.record(name) == before) == (step != "ANSWER"),
                      f"the record is {pair.record(name)} after {before}")
        a.close()
        a, record = taken_over(pair, name, pair.a)
        expect_same(a.read(1, 0, IMAGE_BYTES), LAST, f"A after {record}")
        a.unlock(1)
        pair.b.restart()
        b = pair.b.vmm(name)
        b.lock(1)
        expect_same(b.state(1), "owner", "B, mounted anew")
    theme.scenario(fresh=True, name=f"killed_at_acquire_{step.lower()}")(scenario)


if __name__ == "__main__":
    require_faults()
    for one in ACQUIRE:
        killed_in_acquire(one)
    for one in RELEASE:
        killed_in_release(one)
    theme.main()
