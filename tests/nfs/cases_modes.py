# SPDX-License-Identifier: GPL-2.0-or-later
"""Ways to migrate: each with writes after the destination's open.

QEMU's file nodes look for themselves, too, whether their pages were dropped when the destination
took over (x-check-cache-dropped): they complain, and the migration fails. They look before they
lock, right after an advice to drop that FUSE hands to nobody (fact 8 of the design): with
io=passthrough what they see is the store's pages, which migfs drops at the lock.
"""
import functools

import cell as cells
import fresh
import migrate
from scenario import expect

MIB = 1 << 20
SLOW = 1000  # bytes a second


def migrate_late(source, destination):
    """The destination takes its images when it is told to go on, not when the guest has arrived."""
    migrate.capability((source, destination), "late-block-activate")
    source.write(2, 0, MIB)
    migrate.start(source, destination)
    expect(migrate.wait(source) == "completed", "not migrated")
    migrate.wait(destination, "completed")
    destination.qmp.command("cont")


def migrate_paused(source, destination):
    """Block jobs may write until the last moment: the guest is stopped, its images are here."""
    migrate.capability((source, destination), "pause-before-switchover")
    migrate.start(source, destination)
    migrate.wait(source, "pre-switchover")
    source.write(2, 0, MIB)
    source.qmp.command("migrate-continue", state="pre-switchover")
    expect(migrate.wait(source) == "completed", "not migrated")
    destination.qmp.event("RESUME")


def migrate_post_copy(source, destination):
    """The guest runs over there before its memory has come."""
    migrate.capability((source, destination), "postcopy-ram")
    migrate.start(source, destination, max_bandwidth=SLOW)
    migrate.wait(source, "active")
    source.write(2, 0, MIB)
    source.qmp.command("migrate-start-postcopy")
    source.qmp.command("migrate-set-parameters", max_bandwidth=1 << 40)
    destination.qmp.event("RESUME")
    expect(destination.reads(2, 0, MIB), "stale before the guest's memory has come")
    expect(migrate.wait(source) == "completed", "not migrated")


def migrate_multifd(source, destination):
    migrate.capability((source, destination), "multifd")
    migrate.start(source, destination, max_bandwidth=SLOW)
    migrate.wait(source, "setup", "active")
    source.write(2, 0, MIB)
    source.qmp.command("migrate-set-parameters", max_bandwidth=1 << 40)
    expect(migrate.wait(source) == "completed", "not migrated")
    destination.qmp.event("RESUME")


def destination_sees(mode, arguments, site, image):
    """It reads what the source wrote last, keeps what it writes itself, and the image is sound."""
    looks = site.stack != "migfs-passthrough"
    disk = site.image(**image.disk(), options={"x-check-cache-dropped": looks})
    source = site.start(site.a, disk)
    source.write(1, 0, 4 * MIB)
    source.flush()
    site.read_before(site.b, disk)
    destination = site.start(site.b, disk, incoming=True, extra=arguments)
    places = fresh.change_new_clusters(source)[:-1]
    mode(source, destination)
    downtime_ms = source.qmp.command("query-migrate")["downtime"]
    source.quit()
    for pattern, offset, length in [(2, 0, MIB), (1, MIB, MIB), *places]:
        expect(destination.reads(pattern, offset, length),
               f"stale: {offset >> 20} MiB is not {pattern}")
    destination.write(9, 3 * MIB, MIB)
    destination.quit()
    site.check_image(disk)
    return downtime_ms


def case(name, mode, *arguments, **fields):
    return cells.Case(name, functools.partial(destination_sees, mode, arguments),
                      twins=cells.BINDFS, **fields)


CASES = [
    case("late block activate", migrate_late, "-S"),
    case("pause before switchover", migrate_paused),
    case("post-copy", migrate_post_copy,
         variants=lambda variant: not variant.squash),  # userfaultfd is root's
    case("multifd", migrate_multifd, quick=False),
]
