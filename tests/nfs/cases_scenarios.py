# SPDX-License-Identifier: GPL-2.0-or-later
"""The scenarios of tests/qemu on real NFS, and what is beside a migration: images that are opened
anew, guests that share one."""
import functools

import beside
import cell as cells
import destroy
import failed
import fresh
import migrate
import mistake
import testbed
import topology
from scenario import expect

MIB = 1 << 20

PLAIN = tuple(image for image in cells.IMAGES if image.aio == "threads")
RAW = tuple(image for image in PLAIN if image.format == "raw")


# Opened anew -----------------------------------------------------------------------------------

def source_killed_after_switch(site, image):
    """The guest goes on over there, and there again after a stop and a start; nothing that the dead
    one had open is in the way."""
    disk = site.image(**image.disk())
    source = site.start(site.a, disk)
    source.write(1, 0, 4 * MIB)
    site.read_before(site.b, disk)
    destination = site.start(site.b, disk, incoming=True)
    source.write(2, 0, MIB)
    downtime_ms = migrate.migrate(source, destination)
    source.kill()
    expect(destination.reads(2, 0, MIB) and destination.reads(1, MIB, MIB), "stale over there")
    destination.write(3, 0, MIB)
    destination.quit()
    again = site.start(site.b, disk)
    expect(again.reads(3, 0, MIB), "stale when started again there")
    again.quit()
    site.check_image(disk)
    return downtime_ms


NODE = "spare"


def node(path, image, read_only):
    return {"driver": image.format, "node-name": NODE, "read-only": read_only, "file": {
        "driver": "file", "filename": path, "node-name": f"{NODE}-file", "read-only": read_only,
        "aio": image.aio, "cache": {"direct": image.cache != "writeback", "no-flush": False}}}


def reopened(site, image):
    """The source's image is opened for reading only, and for writing again: its locks go and come
    while the destination has it open. What was written before and after is there."""
    disk = site.image(**image.disk())
    site.read_before(site.b, disk)
    source, destination = site.start(site.a), None
    source.qmp.command("blockdev-add", **node(site.a.path(disk.name), image, False))
    source.write(1, 0, 4 * MIB, disk=NODE)
    for pattern in (2, 3):
        source.qmp.command("blockdev-reopen",
                           options=[node(site.a.path(disk.name), image, True)])
        expect(source.reads(pattern - 1, 0, MIB, disk=NODE), "stale after it was opened to be read")
        source.qmp.command("blockdev-reopen",
                           options=[node(site.a.path(disk.name), image, False)])
        if destination is None:
            destination = site.start(site.b, incoming=True)
            destination.qmp.command("blockdev-add", **node(site.b.path(disk.name), image, False))
        source.write(pattern, 0, MIB, disk=NODE)
    downtime_ms = migrate.migrate(source, destination)
    source.quit()
    expect(destination.reads(3, 0, MIB, disk=NODE), "stale: what was written after it was reopened")
    expect(destination.reads(1, MIB, MIB, disk=NODE), "stale: what was written before")
    destination.write(4, 0, MIB, disk=NODE)
    destination.quit()
    site.check_image(disk)
    return downtime_ms


def automatic(site, image):
    """A source that opens its file for writing when it has to, and lets go by closing it."""
    return fresh.destination_sees(fresh.change_first_mebibyte, site, **image.disk(),
                                  options={"auto-read-only": True})


# Shared ----------------------------------------------------------------------------------------

SOON_S = 5


def seen_soon(machine, *places):
    try:
        testbed.wait_until(lambda: all(machine.reads(*place) for place in places), SOON_S, "fresh")
        return True
    except testbed.TestFailure:
        return False


def buffered_past_the_daemon(stack, image, _variant):
    if stack == "migfs-passthrough" and image.cache == "writeback":
        return "io=passthrough: while not owner, reads are as NFS gives them"
    return None


def shared_by_two(site, image):
    """Guests on both hosts write one disk (a cluster filesystem): each sees what the other one has
    flushed, both before and after the first has moved beside the second. What a buffered guest had
    read or written itself goes a moment later."""
    disk = site.image(**image.disk(), share_rw=True)
    guests = [site.start(site.a, disk), site.start(site.b, disk)]

    def take_turns():
        for pattern in range(1, 5):
            writer, reader = guests[pattern % 2], guests[(pattern + 1) % 2]
            writer.write(pattern, 0, MIB)
            writer.write(pattern, 2 * pattern * MIB, MIB)
            writer.flush()
            expect(seen_soon(reader, (pattern, 0, MIB), (pattern, 2 * pattern * MIB, MIB)),
                   f"stale: what the other guest wrote in turn {pattern}")

    take_turns()
    destination = site.start(site.b, disk, incoming=True)
    guests[1].write(9, 0, MIB)
    guests[1].flush()
    downtime_ms = migrate.migrate(guests[0], destination)
    expect(destination.reads(9, 0, MIB), "stale over there")
    guests[0] = destination
    take_turns()
    return downtime_ms


# Those of tests/qemu ---------------------------------------------------------------------------

def whole(name, run, image, **fields):
    """A scenario that brings its own images."""
    return cells.Case(name, lambda site, _image: run(site), images=(image,), quick=False, **fields)


def of_image(name, run, images=PLAIN, quick=False, **fields):
    return cells.Case(name, lambda site, image: run(image.disk(), site), images=images, quick=quick,
                      twins=cells.BINDFS, **fields)


def overlay_beside_another(site, image):
    topology.overlay_moves_beside_another(image.cache, site)


CASES = [
    cells.Case("source killed after the switch", source_killed_after_switch, twins=cells.BINDFS,
               quick=False),
    cells.Case("reopened", reopened, twins=cells.BINDFS, variants=cells.opens_by_state,
               quick=False),
    cells.Case("auto-read-only", automatic, twins=cells.BINDFS, variants=cells.opens_by_state,
               quick=False),
    cells.Case("shared by two", shared_by_two, twins=cells.BINDFS, images=RAW, quick=False,
               excused=buffered_past_the_daemon),
    whole("two disks", topology.two_disks, cells.QCOW2, twins=cells.BINDFS),
    cells.Case("overlay beside another", overlay_beside_another, twins=cells.BINDFS, quick=False,
               images=(cells.QCOW2, cells.Image("qcow2", "none")),
               variants=lambda variant: not variant.squash),  # root makes the backing file
    whole("overlay taken while moving", topology.overlay_taken_while_moving, cells.QCOW2,
          twins=cells.BINDFS),
    *(of_image(f"{name} and start there", functools.partial(destroy.move_by_restart, end),
               deadline_s=180) for name, end in destroy.ENDS.items()),
    of_image("destination dies as owner", failed.destination_dies_as_owner),
    of_image("second by mistake there", functools.partial(mistake.second_is_refused, True),
             excused=cells.unrefused, deadline_s=180, quick=True),
    of_image("second by mistake here", functools.partial(mistake.second_is_refused, False)),
    of_image("source resumed by mistake", mistake.source_stays_refused, excused=cells.unrefused),
    of_image("tools here", functools.partial(beside.tools_read, True)),
    of_image("tools there", functools.partial(beside.tools_read, False)),
    of_image("backup job", beside.backup_job),
    of_image("nbd export", beside.export_over_nbd),
]
