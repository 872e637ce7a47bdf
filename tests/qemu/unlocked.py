#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A real monitor that takes no locks, QEMU with locking=off, and package/migfs-hook, which says when
the images of a guest are handed over. A guest has two of them."""
import functools
import os

import migrate
import scenario
import testbed
from scenario import expect

MIB = 1 << 20
HOOK = os.path.join(testbed.TOP_DIR, "package", "migfs-hook")
PATH = {"PATH": f"{testbed.bin_dir()}:{os.environ['PATH']}"}
ELSEWHERE = 4
UNLOCKED = {"locking": "off"}


class Unlocked:
    """A guest with two images, and the hook."""

    def __init__(self, pair, cache):
        self.pair = pair
        self.disks = [pair.image(format="raw", cache=cache, options=UNLOCKED),
                      pair.image(format="qcow2", cache=cache, options=UNLOCKED)]

    def hook(self, host, *command, status=0):
        """Where nothing is handed over there is nobody to be told."""
        if self.pair.stack not in scenario.CONTROLS + ("bare", "local"):
            self.pair.bed.run([HOOK, *command, *(host.path(disk.name) for disk in self.disks)],
                              env=PATH, expect=status)

    def start(self, host):
        machine = self.pair.start(host, *self.disks)
        self.hook(host, "acquire")
        return machine

    def incoming(self, host):
        """It opens the images, and reads their tables when its guest is to run: at `cont`."""
        machine = self.pair.start(host, *self.disks, incoming=True, extra=("-S",))
        migrate.capability((machine,), "late-block-activate")
        return machine

    def send(self, source, destination):
        """Until the source has written all it has, and its guest is paused."""
        migrate.start(source, destination)
        expect(migrate.wait(source) == "completed", "the migration failed")
        migrate.end_event(destination, migrate.ENDED, 60)

    def move(self, source, here, there):
        self.hook(here, "check", "source")
        self.hook(there, "check", "destination")
        destination = self.incoming(there)
        self.send(source, destination)
        self.hook(here, "release")
        self.hook(there, "acquire")
        destination.qmp.command("cont")
        return destination

    def write(self, machine, pattern, offset=0):
        for disk in range(2):
            machine.write(pattern, offset, 4 * MIB, disk)

    def expect(self, machine, pattern, offset=0):
        for disk in range(2):
            expect(machine.reads(pattern, offset, 4 * MIB, disk), f"stale: disk {disk}")

    def expect_sound(self, machine):
        machine.quit()
        for disk in self.disks:
            self.pair.check_image(disk)


def there_and_back(cache, pair):
    guest = Unlocked(pair, cache)
    machine, here, there = guest.start(pair.a), pair.a, pair.b
    guest.write(machine, 1)
    pair.read_before(pair.a, *guest.disks)
    for pattern in (2, 3, 4):
        pair.read_before(there, *guest.disks)
        guest.write(machine, pattern)
        guest.write(machine, pattern, 8 * MIB * pattern)  # new clusters
        source, machine = machine, guest.move(machine, here, there)
        guest.expect(machine, pattern)
        guest.expect(machine, pattern, 8 * MIB * pattern)
        source.quit()
        here, there = there, here
    guest.expect_sound(machine)


def destination_dies(cache, pair):
    """After it took the images over, before its guest ran; the source goes on."""
    guest = Unlocked(pair, cache)
    source = guest.start(pair.a)
    guest.write(source, 1)
    destination = guest.incoming(pair.b)
    guest.send(source, destination)
    guest.hook(pair.a, "release")
    guest.hook(pair.b, "acquire")
    destination.kill()
    guest.hook(pair.a, "acquire")
    source.qmp.command("cont")
    guest.expect(source, 1)
    pair.read_before(pair.b, *guest.disks)
    guest.write(source, 2)
    destination = guest.move(source, pair.a, pair.b)
    guest.expect(destination, 2)
    source.quit()
    guest.expect_sound(destination)


def second_start(cache, pair):
    """By mistake: the hook refuses it, and where nobody asks the hook, fence=strict its writes."""
    guest = Unlocked(pair, cache)
    first = guest.start(pair.a)
    guest.write(first, 1)
    second = pair.start(pair.b, *guest.disks)
    guest.hook(pair.b, "acquire", status=ELSEWHERE)
    for disk in range(2):
        expect(not second.writes(9, 0, MIB, disk), "the second one writes")
    second.kill()
    guest.expect(first, 1)
    guest.write(first, 2)
    guest.expect_sound(first)


def scenarios():
    for act in (there_and_back, destination_dies, second_start):
        for cache in ("none", "writeback"):
            yield scenario.Scenario(f"{act.__name__.replace('_', ' ')}, {cache}",
                                    functools.partial(act, cache), cache == "none")


if __name__ == "__main__":
    scenario.main("unlocked", scenarios())
