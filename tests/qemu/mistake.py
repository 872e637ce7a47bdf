#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A second QEMU is started on an image that a guest uses: QEMU's own locks must refuse it."""
import functools
import os

import migrate
import scenario
import vm
from scenario import expect

MIB = 1 << 20


def records(pair):
    """The hand-over records on the store, byte by byte; none where no migfs is in use."""
    directory = os.path.join(pair.a.store, ".migfs")
    found = {}
    for name in sorted(os.listdir(directory)) if os.path.isdir(directory) else ():
        path = os.path.join(directory, name)
        if os.path.isfile(path):  # not their history
            with open(path, "rb") as record:
                found[name] = record.read()
    return found


def second_is_refused(elsewhere, image, pair):
    disk = pair.image(**image)
    first = pair.start(pair.a, disk)
    first.write(1, 0, MIB)
    before = records(pair)
    expect(before or pair.stack != "migfs", "the first has no record")
    for _ in range(2):
        try:
            pair.start(pair.b if elsewhere else pair.a, disk).kill()
        except vm.VmFailed as refused:
            expect("Failed to get" in str(refused) and "lock" in str(refused), str(refused))
        else:
            raise scenario.Wrong("a second QEMU has the image, and would write to it")
    expect(records(pair) == before, "the record changed")
    expect(first.writes(2, 0, MIB) and first.reads(2, 0, MIB), "the first cannot go on")
    first_moves_on(first, disk, pair)


def first_moves_on(first, disk, pair):
    """The refused one has harmed nothing: the guest can still be migrated."""
    pair.read_before(pair.b, disk)
    destination = pair.start(pair.b, disk, incoming=True)
    first.write(3, MIB, MIB)
    migrate.migrate(first, destination)
    expect(destination.reads(3, MIB, MIB) and destination.reads(2, 0, MIB), "stale after it")
    destination.quit()
    pair.check_image(disk)


def source_stays_refused(image, pair):
    """After a migration the old source is resumed by mistake, while the guest runs over there."""
    disk = pair.image(**image)
    source = pair.start(pair.a, disk)
    destination = pair.start(pair.b, disk, incoming=True)
    migrate.migrate(source, destination)
    destination.write(4, 0, MIB)
    destination.flush()
    try:
        source.qmp.command("cont")
    except vm.QmpError as refused:
        expect("lock" in str(refused), str(refused))
    else:
        raise scenario.Wrong("the source runs again, and so does the guest over there")
    expect(destination.reads(4, 0, MIB), "the guest's data changed")
    expect(destination.writes(5, MIB, MIB), "the guest cannot write any more")


IMAGES = {"raw": dict(format="raw", cache="none"),
          "qcow2": dict(format="qcow2", cache="writeback")}


def scenarios():
    for name, image in IMAGES.items():
        direct = image["cache"] == "none"
        yield scenario.Scenario(f"second on the other host, {name}",
                                functools.partial(second_is_refused, True, image))
        yield scenario.Scenario(f"second on the same host, {name}",
                                functools.partial(second_is_refused, False, image), direct)
        yield scenario.Scenario(f"source resumed by mistake, {name}",
                                functools.partial(source_stays_refused, image))


if __name__ == "__main__":
    scenario.main("mistake", scenarios())
