#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The destination sees every change that the source made after the destination opened the image."""
import functools
import os

import scenario
import testbed
from scenario import expect

MIB = 1 << 20

# Each changes a disk through a VM of 64 MiB that holds 1 in its first 4 MiB, and says what must be
# read afterwards: (pattern, offset, length).


def change_first_mebibyte(machine):
    machine.write(2, 0, MIB)
    return [(2, 0, MIB), (1, MIB, MIB)]


def change_new_clusters(machine):
    """Far apart: new L2 tables, so L1 entries too, and with small clusters new refcount blocks."""
    places = [(3, offset * MIB, MIB) for offset in range(8, 64, 8)]
    for pattern, offset, length in places:
        machine.write(pattern, offset, length)
    return places + [(1, 0, MIB)]


def change_many_refcounts(machine):
    """More than one refcount block of 4 KiB clusters counts (8 MiB)."""
    machine.write(4, 16 * MIB, 32 * MIB)
    return [(4, 16 * MIB, 32 * MIB)]


def change_length(machine):
    machine.qmp.command("block_resize", node_name="disk0", size=96 * MIB)
    machine.write(5, 95 * MIB, MIB)
    return [(5, 95 * MIB, MIB), (0, 64 * MIB, MIB), (1, 0, MIB)]


def change_to_shorter(machine):
    machine.qmp.command("block_resize", node_name="disk0", size=32 * MIB)
    machine.write(5, 31 * MIB, MIB)
    return [(5, 31 * MIB, MIB), (0, 30 * MIB, MIB), (1, 0, MIB)]


def look_shorter(machine):
    said = machine.io("length").strip()
    expect(said == "32 MiB", f"stale length: {said}")


def change_discard(machine):
    machine.change(f"discard 0 {MIB}")
    machine.change(f"discard {2 * MIB} {MIB}")
    return [(0, 0, MIB), (1, MIB, MIB), (0, 2 * MIB, MIB)]


def change_zero(machine):
    machine.change(f"write -z 0 {MIB}")
    machine.change(f"write -z -u {2 * MIB} {MIB}")
    return [(0, 0, MIB), (1, MIB, MIB), (0, 2 * MIB, MIB)]


def change_snapshot(machine):
    """The snapshot makes all clusters shared: later writes copy them, and every table moves."""
    machine.qmp.command("blockdev-snapshot-internal-sync", device="disk0", name="before")
    machine.write(6, 0, MIB)
    machine.write(7, 32 * MIB, MIB)
    return [(6, 0, MIB), (1, MIB, MIB), (7, 32 * MIB, MIB)]


def use_snapshot(machine):
    machine.qmp.command("blockdev-snapshot-delete-internal-sync", device="disk0", name="before")
    machine.write(8, 2 * MIB, MIB)
    expect(machine.reads(8, 2 * MIB, MIB), "reads its own write otherwise")


def destination_sees(change, pair, after=None, as_user=False, **image):
    """Returns the downtime in milliseconds."""
    disk = pair.image(**image)
    if as_user:
        os.chown(pair.a.path(disk.name), testbed.USER_UID, testbed.USER_GID)
    as_user = as_user or pair.as_user
    source = pair.start(pair.a, disk, as_user=as_user)
    source.write(1, 0, 4 * MIB)
    source.flush()
    pair.read_before(pair.b, disk)
    destination = pair.start(pair.b, disk, incoming=True, as_user=as_user)
    expected = change(source)
    downtime_ms = scenario.migrate.migrate(source, destination)
    source.quit()
    for pattern, offset, length in expected:
        expect(destination.reads(pattern, offset, length),
               f"stale: {length >> 20} MiB at {offset >> 20} MiB are not {pattern}")
    if after:
        after(destination)
    destination.write(9, 3 * MIB, MIB)
    destination.quit()
    pair.check_image(disk)
    return downtime_ms


IMAGES = {
    "raw, none": dict(format="raw", cache="none"),
    "raw, writeback": dict(format="raw", cache="writeback"),
    "qcow2, none": dict(format="qcow2", cache="none"),
    "qcow2, writeback": dict(format="qcow2", cache="writeback"),
}
CHANGES = {
    "first mebibyte": change_first_mebibyte,
    "new clusters": change_new_clusters,
    "growth": change_length,
    "discard": change_discard,
    "zero": change_zero,
}


def scenarios():
    for image_name, image in IMAGES.items():
        direct = image["cache"] == "none"
        for change_name, change in CHANGES.items():
            yield scenario.Scenario(f"{change_name}, {image_name}",
                                    functools.partial(destination_sees, change, **image), direct)
        yield scenario.Scenario(f"truncation, {image_name}", functools.partial(
            destination_sees, change_to_shorter, after=look_shorter, **image), direct)
        if image["format"] == "qcow2":
            small = dict(image, create="cluster_size=4k")
            yield scenario.Scenario(f"refcounts, {image_name}", functools.partial(
                destination_sees, change_many_refcounts, **small), direct)
            yield scenario.Scenario(f"snapshot, {image_name}", functools.partial(
                destination_sees, change_snapshot, after=use_snapshot, **image), direct)
        yield scenario.Scenario(f"as a user, {image_name}", functools.partial(
            destination_sees, change_first_mebibyte, as_user=True, **image), direct)
        automatic = dict(image, options={"auto-read-only": True})
        yield scenario.Scenario(f"auto-read-only, {image_name}", functools.partial(
            destination_sees, change_first_mebibyte, **automatic), direct)


if __name__ == "__main__":
    scenario.main("fresh", scenarios())
