#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The images of one VMM are handed over together, or none of them is."""
import os

from pair import runs
from scenario import Theme, expect, expect_same, expect_state
import testbed

theme = Theme("groups")
WITHOUT_GROUP = "deadline=1001"  # as any other, and told apart: its scenario asks for no group
K = 1024


class Machine:
    """A VMM with two images, and another one's beside it."""

    def __init__(self, pair):
        self.pair = pair
        self.names = [pair.image(), pair.image()]
        self.vmm = pair.a.vmm()
        for slot, name in enumerate(self.names, 1):
            self.vmm.open(slot, name)
        self.other_name = pair.image()
        self.other = pair.a.vmm(self.other_name)

    def ctl(self, command, expect=0):
        group = [] if self.pair.twin else ["--group", str(self.vmm.process.pid)]
        return self.pair.a.ctl(command, *group, self.pair.a.above.path, expect=expect)

    def states(self):
        """Twins are asked, too: what these say is what a group is for."""
        return [self.vmm.state(1), self.vmm.state(2)]


@theme.scenario(WITHOUT_GROUP, fresh=True)
def a_group_is_what_one_process_opened(pair):
    machine = Machine(pair)
    machine.ctl("acquire")
    testbed.check(machine.states() == ["owner", "owner"], f"{machine.states()}")
    expect_same(machine.other.state(1), "plain", "another VMM's image is")
    machine.vmm.write(1, 0, 4 * K, "A")
    machine.vmm.write(2, 0, 4 * K, "B")
    machine.ctl("release")
    testbed.check(machine.states() == ["released", "released"], f"{machine.states()}")
    b = pair.b.vmm()
    for slot, (name, byte) in enumerate(zip(machine.names, "AB"), 1):
        b.open(slot, name)
        b.lock(slot)
        expect_same(b.read(slot, 0, 4 * K), runs(byte, 4 * K), "the other host reads")


@theme.scenario(WITHOUT_GROUP, fresh=True)
def a_release_that_fails_takes_the_others_back(pair):
    machine = Machine(pair)
    machine.ctl("acquire")
    for slot in (1, 2):
        machine.vmm.write(slot, 0, 4 * K, "A")
    plain_name = pair.image()  # nobody owns it
    machine.vmm.open(3, plain_name)
    pair.a.control("fail fsync EIO 1")
    failed = machine.ctl("release", expect=1)
    if not pair.twin:  # which releases more than the group's
        names = [*machine.names, plain_name]
        testbed.check(any(name in failed.stderr for name in names), failed.stderr)
    expect(machine.states() == ["owner", "owner"], f"one image went: {machine.states()}")
    for slot in (1, 2, 3):
        machine.vmm.write(slot, 0, 4 * K, "C")


@theme.scenario(WITHOUT_GROUP, fresh=True)
def an_acquire_that_fails_gives_the_others_back(pair):
    machine = Machine(pair)
    owner = pair.b.vmm(machine.names[1])
    owner.lock(1)
    machine.ctl("acquire", expect=4)
    expect(machine.states()[0] == "plain", f"one image of two is {machine.states()[0]}")
    machine.vmm.write(1, 0, 4 * K, "C")
    expect_state(pair, owner, 1, "owner")


@theme.scenario()
def a_process_without_files_has_no_group(pair):
    Machine(pair)
    said = pair.a.ctl("release", "--group", str(os.getpid()), pair.a.above.path, expect=1)
    testbed.check("no file open" in said.stderr, said.stderr)


if __name__ == "__main__":
    theme.main()
