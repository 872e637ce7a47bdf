# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs the scenarios of one theme: each as it must be, and each with its negative twin.

    THEME.py [NAME]...

A scenario is a function that takes a Pair. It raises Wrong for the danger itself: a stale byte, a
write that must not land, a lock that must not be granted; and TestFailure for anything else that
is not as it should be, such as a state. Over its own stack it must raise nothing; over each of its
twins, where what makes it right is left out, it must raise Wrong, or it proves nothing. What only
migfs can answer is not asked over a twin (`expect_state`).
"""
import sys
import time

from pair import CallFailed, Pair, Stack
import testbed

COHERENCE_OFF = Stack(options="coherence=off")
BINDFS = Stack(kind="bindfs")
QUICK = "deadline=1000"


class Wrong(Exception):
    """The danger that migfs is for."""


def expect(condition, message):
    if not condition:
        raise Wrong(message)


def expect_same(seen, right, what):
    if seen != right:
        raise Wrong(f"{what}: {seen}, not {right}")


def expect_state(pair, vmm, slot, right):
    if not pair.twin:
        state = vmm.state(slot)
        testbed.check(state == right, f"host {vmm.host.name} is {state}, not {right}")


class Scenario:
    """See above. twins: stacks; fresh: not on mounts that others use."""

    def __init__(self, run, stack, twins, fresh, name=None):
        self.name = name or run.__name__
        self.run = run
        self.stack = stack
        self.twins = twins
        self.fresh = fresh


class Theme:
    """The scenarios of one test, in order."""

    def __init__(self, name, deadline_s=80):
        self.name = name
        self.deadline_s = deadline_s
        self.scenarios = []
        self.pairs = {}

    def scenario(self, *twins, options=QUICK, fresh=False, name=None, stack=None):
        """Decorates a scenario; a twin given as a string is migfs with these options."""
        stacks = [Stack(options=twin) if isinstance(twin, str) else twin for twin in twins]

        def add(run):
            self.scenarios.append(Scenario(run, stack or Stack(options=options), stacks, fresh,
                                           name))
            return run
        return add

    def _pair(self, bed, scenario, stack, twin):
        if scenario.fresh:
            return Pair(bed, stack, twin)
        if (stack, twin) not in self.pairs:
            self.pairs[stack, twin] = Pair(bed, stack, twin)
        return self.pairs[stack, twin]

    def _outcome(self, bed, scenario, stack, twin):
        """What the scenario raised, or None."""
        pair = self._pair(bed, scenario, stack, twin)
        try:
            scenario.run(pair)
            failure = None
        except (Wrong, CallFailed, testbed.TestFailure) as raised:
            failure = raised
        pair.end_scenario()
        if scenario.fresh:
            pair.umount()
        return failure

    def _judge(self, bed, scenario, stack, twin):
        started = time.monotonic()
        failure = self._outcome(bed, scenario, stack, twin)
        good = isinstance(failure, Wrong) if twin else failure is None
        told = "right" if failure is None else f"{type(failure).__name__}: {failure}"
        print(f"{'ok ' if good else 'BAD'} {scenario.name} ({stack}): {told} "
              f"[{time.monotonic() - started:.2f} s]", flush=True)
        return good

    def _run(self, chosen):
        bad = []
        with testbed.Testbed(f"hosts-{self.name}", self.deadline_s) as bed:
            for scenario in self.scenarios:
                if chosen and scenario.name not in chosen:
                    continue
                runs = [(scenario.stack, False)] + [(stack, True) for stack in scenario.twins]
                bad += [scenario.name for stack, twin in runs
                        if not self._judge(bed, scenario, stack, twin)]
            for pair in self.pairs.values():
                pair.umount()
        testbed.check(not bad, "not as it must be: " + ", ".join(bad))

    def main(self):
        testbed.require_root()
        testbed.require_fuse()
        if any(stack.kind == "bindfs" for s in self.scenarios for stack in s.twins):
            testbed.require_tools("bindfs")
        testbed.main(lambda: self._run(sys.argv[1:]))
