#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""package/migfs-hook: the images of one guest go together or not at all, and each answer is clear.

Its twin is migfsctl itself, which hands over what it can of several paths.
"""
import errno
import os
import signal
import subprocess

from pair import IMAGE_BYTES, runs
from scenario import QUICK, Theme, expect, expect_same
import testbed

theme = Theme("hook")
HOOK = os.path.join(testbed.TOP_DIR, "package", "migfs-hook")
PATH = {"PATH": f"{testbed.bin_dir()}:{os.environ['PATH']}", "LC_ALL": "C"}
MIGFSCTL = "deadline=1001"  # twin: the same mount, and migfsctl in place of the hook
DONE, FAILED, USAGE, FENCED, ELSEWHERE, NOT_MIGFS, HALF_DONE = 0, 1, 2, 3, 4, 5, 8
IMAGES = 3


class Guest:
    """The images of one guest; on each host a monitor that takes no locks has them open."""

    def __init__(self, pair):
        self.pair = pair
        self.names = [pair.image() for _ in range(IMAGES)]
        self.vmms = {host: self.opened(host) for host in (pair.a, pair.b)}

    def opened(self, host):
        vmm = host.vmm()
        for slot, name in enumerate(self.names, 1):
            vmm.open(slot, name)
        return vmm

    def paths(self, host):
        return [host.path(name) for name in self.names]

    def hook(self, host, *command, expected=DONE, says=""):
        """Runs it on all images; the message has to say that."""
        program = [testbed.binary("migfsctl")] if self.pair.twin else [HOOK]
        told = host.bed.run([*program, *command, *self.paths(host)], env=PATH,
                            expect=None if self.pair.twin else expected)
        if not self.pair.twin:
            testbed.check(says in told.stderr, f"not said: {says}\n{told.stderr}")
            testbed.check(bool(told.stderr) == (expected != DONE), f"{expected}: {told.stderr}")
        return told

    def states(self, host):
        return [self.vmms[host].state(slot) for slot in range(1, IMAGES + 1)]

    def generations(self, host):
        return [self.vmms[host].generation(slot) for slot in range(1, IMAGES + 1)]

    def write(self, host, byte):
        for slot in range(1, IMAGES + 1):
            self.vmms[host].write(slot, 0, IMAGE_BYTES, byte)

    def expect_reads(self, host, byte):
        for slot in range(1, IMAGES + 1):
            expect_same(self.vmms[host].read(slot, 0, IMAGE_BYTES), runs(byte), "the guest reads")

    def expect_all(self, host, state):
        """What a unit is: twins are asked, too."""
        expect_same(self.states(host), [state] * IMAGES, f"host {host.name}")

    def expect_writable(self, host):
        for slot in range(1, IMAGES + 1):
            error = self.vmms[host].error(f"write {slot} 0 4096 W")
            expect(error == 0, f"image {slot} cannot be written: {error}")


@theme.scenario("coherence=off", options="profile=none,fence=strict,deadline=1000")
def a_guest_goes_there_and_back(pair):
    guest = Guest(pair)
    if pair.twin:
        guest.hook = lambda *_, **__: None
    for vmm in guest.vmms.values():
        for slot in range(1, IMAGES + 1):
            vmm.read(slot, 0, IMAGE_BYTES)
    guest.hook(pair.a, "acquire")
    here, there = pair.a, pair.b
    for byte in "ABC":
        guest.write(here, byte)
        guest.hook(here, "check", "source")
        guest.hook(there, "check", "destination")
        guest.hook(here, "release")
        guest.hook(there, "acquire")
        guest.expect_reads(there, byte)
        here, there = there, here


# All or none ------------------------------------------------------------------------------------

@theme.scenario(MIGFSCTL)
def an_image_that_another_host_has_keeps_all_from_coming(pair):
    guest = Guest(pair)
    other = pair.b.vmm(guest.names[1])
    other.lock(1)
    guest.hook(pair.a, "acquire", expected=ELSEWHERE, says=guest.names[1])
    expect("owner" not in guest.states(pair.a), f"some came: {guest.states(pair.a)}")
    expect_same(other.state(1), "owner", "the other host is")
    other.unlock(1)
    guest.hook(pair.a, "acquire")
    guest.expect_all(pair.a, "owner")


@theme.scenario(MIGFSCTL)
def an_image_that_cannot_be_synchronised_keeps_all_from_going(pair):
    guest = Guest(pair)
    guest.hook(pair.a, "acquire")
    guest.vmms[pair.a].write(2, 0, IMAGE_BYTES, "A")
    pair.a.control("fail write EIO 1")
    guest.hook(pair.a, "release", expected=FAILED, says=guest.names[1])
    guest.expect_all(pair.a, "owner")
    guest.expect_writable(pair.a)
    guest.hook(pair.a, "release")
    guest.hook(pair.b, "acquire")
    guest.expect_all(pair.b, "owner")


@theme.scenario("deadline=20001", options="deadline=20000")
def an_interrupted_one_takes_back_what_it_did(pair):
    guest = Guest(pair)
    guest.hook(pair.a, "acquire")
    pair.a.control("freeze unlock")  # nothing of the first image is done while it waits
    command = [testbed.binary("migfsctl") if pair.twin else HOOK, "release", *guest.paths(pair.a)]
    process = pair.bed.spawn(command, env=PATH, stderr=subprocess.PIPE, text=True)
    testbed.wait_until(lambda: guest.vmms[pair.a].error("write 1 0 4096 X") == errno.EIO,
                       what="the release to begin")
    process.send_signal(signal.SIGTERM)
    pair.a.control("thaw")
    _, told = process.communicate(timeout=20)
    pair.bed.processes.remove(process)
    if not pair.twin:
        testbed.check(process.returncode == FAILED and "interrupted" in told,
                      f"{process.returncode}: {told}")
    guest.expect_all(pair.a, "owner")
    guest.expect_writable(pair.a)


@theme.scenario(options=QUICK, fresh=True)
def what_cannot_be_taken_back_is_said(pair):
    guest = Guest(pair)
    guest.hook(pair.a, "acquire")
    guest.vmms[pair.a].write(2, 0, IMAGE_BYTES, "A")
    pair.a.control("fail write EIO 1", "fail lock EIO 100")
    told = guest.hook(pair.a, "release", expected=HALF_DONE, says="could not be taken back")
    testbed.check(guest.names[0] in told.stderr, told.stderr)
    pair.a.control("fail lock EIO 0")
    guest.hook(pair.a, "acquire")  # as the manual page has it
    guest.expect_all(pair.a, "owner")
    guest.expect_writable(pair.a)


# Again, and at the wrong time -------------------------------------------------------------------

@theme.scenario(options=QUICK)
def what_is_done_is_not_done_again(pair):
    guest = Guest(pair)
    guest.hook(pair.a, "acquire")
    once = guest.generations(pair.a)
    guest.hook(pair.a, "acquire")
    expect_same(guest.generations(pair.a), once, "the generations")
    guest.hook(pair.a, "release")
    guest.hook(pair.a, "release")
    guest.expect_all(pair.a, "released")
    guest.vmms[pair.a].close()
    guest.hook(pair.a, "release")  # the monitor has ended, which releases


@theme.scenario(options=QUICK)
def a_source_that_takes_back_meets_the_destination(pair):
    """Who believes that the migration failed, while the guest runs over there, is refused."""
    guest = Guest(pair)
    guest.hook(pair.a, "acquire")
    guest.hook(pair.a, "release")
    guest.hook(pair.b, "acquire")
    guest.hook(pair.a, "acquire", expected=ELSEWHERE, says=guest.names[0])
    guest.expect_all(pair.b, "owner")
    guest.expect_writable(pair.b)
    expect(guest.vmms[pair.a].error("write 1 0 4096 X") != 0, "the source writes")


@theme.scenario(options=QUICK)
def a_host_that_has_nothing_releases_nothing(pair):
    guest = Guest(pair)
    guest.hook(pair.a, "acquire")
    late = Guest.opened(guest, pair.b)  # opened beside an owner: standby
    guest.vmms[pair.b].close()
    guest.vmms[pair.b] = late
    guest.hook(pair.b, "release", expected=ELSEWHERE, says="another host owns it")
    guest.expect_all(pair.a, "owner")
    guest.expect_writable(pair.a)


# Checks -----------------------------------------------------------------------------------------

@theme.scenario(options=QUICK)
def a_check_says_what_is_in_the_way(pair):
    guest = Guest(pair)
    guest.hook(pair.a, "check", "source", expected=FAILED, says="not acquired")
    guest.hook(pair.b, "check", "destination")
    guest.hook(pair.a, "acquire")
    guest.hook(pair.a, "check", "source")
    guest.hook(pair.a, "check", "destination", expected=FAILED, says="this host has it already")
    guest.vmms[pair.b].close()
    guest.hook(pair.b, "check", "source", expected=FAILED, says="nobody has it open here")
    guest.vmms[pair.b] = guest.opened(pair.b)
    guest.hook(pair.b, "check", "source", expected=ELSEWHERE, says="another host owns it")
    guest.hook(pair.b, "check", "destination")
    before = guest.generations(pair.a)
    guest.hook(pair.a, "release")
    guest.hook(pair.a, "check", "source", expected=FAILED, says="this host has handed it over")
    expect_same(guest.generations(pair.a), before, "the generations")


@theme.scenario(options=QUICK)
def a_check_of_the_destination_asks_for_the_rights(pair):
    guest = Guest(pair)
    os.chmod(os.path.join(pair.store, guest.names[2]), 0o400)
    told = pair.bed.run(["setpriv", "--reuid", str(testbed.USER_UID), "--clear-groups", HOOK, "check",
                         "destination", *guest.paths(pair.b)], env=PATH, expect=FAILED)
    testbed.check(f"{guest.names[2]}: may not be read" in told.stderr, told.stderr)


@theme.scenario(options=QUICK, fresh=True)
def a_fenced_image_is_handed_to_nobody(pair):
    guest = Guest(pair)
    guest.hook(pair.a, "acquire")
    guest.vmms[pair.a].ask("fsync 1")
    pair.a.control("partition")
    other = pair.b.vmm(guest.names[0])
    other.lock(1)
    pair.a.control("heal")
    testbed.wait_until(lambda: guest.vmms[pair.a].error("write 1 0 4096 X") == errno.EIO
                       and guest.vmms[pair.a].state(1) == "fenced", what="the fence")
    for command in (("check", "source"), ("check", "destination"), ("release",)):
        guest.hook(pair.a, *command, expected=FENCED, says="fenced")
    guest.hook(pair.a, "acquire", expected=FENCED, says="fenced")


# The command line -------------------------------------------------------------------------------

@theme.scenario(options=QUICK)
def wrong_words_are_refused(pair):
    name = pair.image()
    path, outside = pair.a.path(name), os.path.join(pair.store, name)
    for status, words in ((USAGE, ()), (USAGE, ("release",)), (USAGE, ("check", path)),
                          (USAGE, ("check", "source")), (USAGE, ("hand", path)),
                          (NOT_MIGFS, ("acquire", outside)), (NOT_MIGFS, ("check", "source", outside)),
                          (FAILED, ("acquire", pair.a.path("none"))),
                          (FAILED, ("release", pair.a.above.path)),
                          (FAILED, ("acquire", path))):  # nobody has it open
        told = pair.bed.run([HOOK, *words], env=PATH, expect=status)
        testbed.check(told.stderr and not told.stdout, f"{words}: {told}")
    told = pair.bed.run([HOOK, "--help"], env=PATH)
    testbed.check(told.stdout.startswith("usage:") and not told.stderr, f"{told}")


@theme.scenario(options=QUICK)
def names_may_have_blanks(pair):
    name = pair.image()
    odd = 'a "state":"owner" b'
    os.rename(os.path.join(pair.store, name), os.path.join(pair.store, odd))
    with open(pair.a.path(odd), "r+b"):
        pair.bed.run([HOOK, "check", "source", pair.a.path(odd)], env=PATH, expect=FAILED)
        pair.bed.run([HOOK, "acquire", pair.a.path(odd)], env=PATH)
        pair.bed.run([HOOK, "check", "source", pair.a.path(odd)], env=PATH)


if __name__ == "__main__":
    theme.main()
