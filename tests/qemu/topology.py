#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests with more than one image: two disks, overlays on a backing file that others use too."""
import functools

import migrate
import scenario
import vm
from scenario import expect

MIB = 1 << 20
BASE = "base.raw"


def two_disks(pair):
    disks = [pair.image(format="raw"), pair.image(format="qcow2", cache="writeback")]
    source = pair.start(pair.a, *disks)
    pair.read_before(pair.b, *disks)
    destination = pair.start(pair.b, *disks, incoming=True)
    source.write(1, 0, MIB, disk=0)
    source.write(2, 0, MIB, disk=1)
    migrate.migrate(source, destination)
    expect(destination.reads(1, 0, MIB, disk=0), "stale: the first disk")
    expect(destination.reads(2, 0, MIB, disk=1), "stale: the second disk")
    destination.write(3, 0, MIB, disk=1)
    expect(destination.reads(1, 0, MIB, disk=0), "one disk's write shows in the other")


def base_create(pair):
    with open(pair.a.path(BASE), "wb") as base:
        base.write(b"\x05" * (8 * MIB))
        base.truncate(64 * MIB)


def overlay_moves_beside_another(cache, pair):
    """Both hosts hold the backing file locked at once: each guest has its own overlay."""
    base_create(pair)
    moving, other = (pair.image(format="qcow2", cache=cache, backing=BASE) for _ in range(2))
    source = pair.start(pair.a, moving)
    neighbour = pair.start(pair.b, other)
    pair.read_before(pair.b, vm.Disk(BASE), moving)
    destination = pair.start(pair.b, moving, incoming=True)
    source.write(6, 0, MIB)
    source.write(6, 32 * MIB, MIB)
    neighbour.write(7, MIB, MIB)
    migrate.migrate(source, destination)
    source.quit()
    for pattern, offset in ((6, 0), (5, MIB), (6, 32 * MIB), (0, 40 * MIB)):
        expect(destination.reads(pattern, offset, MIB),
               f"stale: {offset >> 20} MiB is not {pattern}")
    expect(neighbour.reads(7, MIB, MIB) and neighbour.reads(5, 0, MIB),
           "the neighbour is disturbed")
    destination.quit()
    pair.check_image(moving)


def overlay_taken_while_moving(pair):
    """An external snapshot between the destination's open of the base and the switch is refused by
    no layer: the destination opens the new overlay, as libvirt has it do."""
    base = pair.image(format="qcow2")
    source = pair.start(pair.a, base)
    source.write(1, 0, 4 * MIB)
    pair.read_before(pair.b, base)
    overlay = pair.image(format="qcow2")
    pair.read_before(pair.b, overlay)
    source.qmp.command("blockdev-add", driver="qcow2", node_name="overlay", backing=None,
                       file={"driver": "file", "filename": pair.a.path(overlay.name)})
    source.qmp.command("blockdev-snapshot", node="disk0", overlay="overlay")
    source.write(2, 0, MIB)
    chained = vm.Disk(overlay.name, "qcow2", backing=base.name, backing_format="qcow2")
    destination = pair.start(pair.b, chained, incoming=True)
    source.write(3, 2 * MIB, MIB)
    migrate.migrate(source, destination)
    source.quit()
    for pattern, offset in ((2, 0), (1, MIB), (3, 2 * MIB)):
        expect(destination.reads(pattern, offset, MIB),
               f"stale: {offset >> 20} MiB is not {pattern}")
    destination.quit()
    pair.check_image(overlay)
    pair.check_image(base)


SCENARIOS = [
    scenario.Scenario("two disks of one guest", two_disks),
    *(scenario.Scenario(f"overlay beside another guest's, {cache}",
                        functools.partial(overlay_moves_beside_another, cache), cache == "none")
      for cache in ("none", "writeback")),
    scenario.Scenario("overlay taken while moving", overlay_taken_while_moving, direct=True),
]

if __name__ == "__main__":
    scenario.main("topology", SCENARIOS)
