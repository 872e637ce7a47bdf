# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs the scenarios of one theme over one stack.

    THEME.py STACK[:OPTIONS] [NAME]...      STACK: local, bare, bindfs, migfs; OPTIONS: of migfs

A scenario is a function that takes a Pair (two hosts on one store) and raises when something is not
as it must be. Over migfs every scenario must pass. Over a control, bindfs or migfs with its
coherence off, each one must run into the danger that migfs is for: if it does not, it proves
nothing. (With its coherence off migfs still hands O_DIRECT through, as bindfs does not: scenarios
of images with cache=none alone may end either way there.) Over bare mounts what happens is only
told.
"""
import contextlib
import dataclasses
import os
import sys
import typing

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import hosts
import migrate
import testbed
import vm

COHERENCE_OFF = "migfs:coherence=off"
CONTROLS = ("bindfs", COHERENCE_OFF)
LAYER_LINES = 12


class Wrong(Exception):
    """A host sees or does what it must not: the danger."""


# What ends a scenario; over a control it has to be the danger itself.
FAILURES = (Wrong, vm.VmFailed, vm.QmpError, vm.QmpClosed, migrate.MigrationFailed,
            testbed.TestFailure, OSError)


@dataclasses.dataclass(frozen=True)
class Scenario:
    name: str
    run: typing.Callable
    direct: bool = False  # all its images have cache=none
    harmless: bool = False  # nothing is handed over: no layer goes wrong in it


class Pair:
    """Two hosts on one store, and the machines and descriptors of one scenario on them. as_user:
    images belong to the unprivileged user, who runs the machines."""

    def __init__(self, bed, stack, pair_of_hosts, as_user=False):
        self.bed = bed
        self.as_user = as_user
        self.stack = stack
        self.a, self.b = pair_of_hosts
        self.held = contextlib.ExitStack()
        self.machines = []
        self.images = 0

    def image(self, size="64M", **disk):
        """A new image, created on host A."""
        self.images += 1
        options = disk.pop("create", "")
        disk = vm.Disk(name=f"image{self.images}.{disk.get('format', 'raw')}", **disk)
        hosts.image_create(self.bed, self.a, disk.name, disk.format, size, disk.backing, options,
                           self.as_user)
        return disk

    def start(self, host, *disks, **arguments):
        """A QEMU on a host; ended with the scenario at the latest."""
        arguments.setdefault("as_user", self.as_user)
        machine = self.held.enter_context(vm.Vm(self.bed, host.directory, disks, **arguments))
        self.machines.append(machine)
        return machine

    def read_before(self, host, *disks):
        """The host reads the images and keeps them open, as other programs on it do."""
        for disk in disks:
            self.held.callback(os.close, migrate.host_reads_image(host.path(disk.name)))

    def check_image(self, disk):
        """The image is sound on the store itself; leaked clusters hurt nobody."""
        if disk.format == "raw":
            return
        result = self.bed.run(["qemu-img", "check", "-U", os.path.join(self.a.store, disk.name)],
                              expect=None)
        expect(result.returncode in (0, 3), f"qemu-img check: {result.stdout}{result.stderr}")

    def end(self):
        """Ends the machines and closes the descriptors of the scenario."""
        self.held.close()
        self.held = contextlib.ExitStack()

    def words(self):
        """What the machines of the last scenario said on stderr, and the layers below them last."""
        layers = [mount for host in (self.a, self.b) for mount in self.bed.mounts
                  if mount.path == host.directory]
        return [*(machine.log() for machine in self.machines if machine.log()),
                *(f"--- {mount.path}\n" + "\n".join(mount.log_text().splitlines()[-LAYER_LINES:])
                  for mount in layers)]


def expect(condition, message):
    if not condition:
        raise Wrong(message)


def scenario_failure(scenario, pair):
    """Runs a scenario; the exception that says what went wrong, or None."""
    pair.machines = []
    try:
        scenario.run(pair)
        return None
    except FAILURES as failure:
        return failure
    finally:
        pair.end()


def scenario_judge(scenario, stack, failure):
    """Is it as it must be?"""
    if scenario.harmless:
        return failure is None
    if stack == "bare" or (stack == COHERENCE_OFF and scenario.direct):
        return failure is None or isinstance(failure, Wrong)
    if stack in CONTROLS:
        return isinstance(failure, Wrong)
    return failure is None


def describe(failure):
    if failure is None:
        return "right"
    return str(failure) if isinstance(failure, Wrong) else f"{type(failure).__name__} {failure}"


def main(theme, scenarios, deadline_s=120):
    """Runs a theme as the test program that it is."""
    stack, chosen = sys.argv[1], sys.argv[2:]
    testbed.require_root()
    testbed.require_fuse()
    testbed.require_tools("qemu-system-x86_64", "qemu-img")

    def run():
        bad = []
        with testbed.Testbed(f"qemu-{theme}", deadline_s) as bed:
            pair = Pair(bed, stack, hosts.hosts_mount(bed, stack))
            for scenario in scenarios:
                if chosen and scenario.name not in chosen:
                    continue
                failure = scenario_failure(scenario, pair)
                right = scenario_judge(scenario, stack, failure)
                print(f"{'ok  ' if right else 'BAD '} {stack} {scenario.name}: {describe(failure)}",
                      flush=True)
                if not right:
                    bad.append(scenario.name)
                    print(*pair.words(), sep="\n", flush=True)
        testbed.check(not bad, f"over {stack}: " + ", ".join(bad))

    testbed.main(run)
