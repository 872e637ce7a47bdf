#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest is ended here and started there at once: no lock is in its way, no byte is old."""
import functools

import scenario
from scenario import expect

MIB = 1 << 20
MOVES = 6


def move_by_restart(end, image, pair):
    disk = pair.image(**image)
    machine = pair.start(pair.a, disk)
    pair.read_before(pair.a, disk)
    pair.read_before(pair.b, disk)
    for number in range(1, MOVES + 1):
        machine.write(number, 0, MIB)
        machine.write(number, 8 * number * MIB, MIB)
        machine.flush()
        end(machine)
        machine = pair.start((pair.a, pair.b)[number % 2], disk)
        expect(machine.reads(number, 0, MIB), f"stale: the first mebibyte, move {number}")
        expect(machine.reads(number, 8 * number * MIB, MIB), f"stale: a new cluster, move {number}")
    machine.quit()
    pair.check_image(disk)


ENDS = {"quit": lambda machine: machine.quit(), "kill": lambda machine: machine.kill()}
IMAGES = {"raw": dict(format="raw", cache="none"),
          "qcow2": dict(format="qcow2", cache="writeback")}

SCENARIOS = [scenario.Scenario(f"{end_name} and start there, {image_name}",
                               functools.partial(move_by_restart, end, image),
                               image["cache"] == "none")
             for end_name, end in ENDS.items() for image_name, image in IMAGES.items()]

if __name__ == "__main__":
    scenario.main("destroy", SCENARIOS)
