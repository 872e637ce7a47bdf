# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest migrates after its destination has opened, and read, the image."""
import functools

import cell as cells
import failed
import fresh
import migrate
from scenario import expect

MIB = 1 << 20


def destination_sees(change, site, image, **disk):
    return fresh.destination_sees(change, site, **image.disk(), **disk)


def early_read(length, site, image):
    """The destination has read only this much."""
    disk = site.image(**image.disk())
    source = site.start(site.a, disk)
    source.write(1, 0, 4 * MIB)
    source.flush()
    with open(site.b.path(disk.name), "rb", buffering=0) as early:
        early.read(length)
        destination = site.start(site.b, disk, incoming=True)
        source.write(2, 0, MIB)
        downtime_ms = migrate.migrate(source, destination)
        expect(destination.reads(2, 0, MIB), "stale: the first mebibyte")
        expect(destination.reads(1, MIB, MIB), "stale: the second mebibyte")
    destination.quit()
    site.check_image(disk)
    return downtime_ms


QCOW2 = tuple(image for image in cells.IMAGES if image.format == "qcow2")

CASES = [
    cells.Case("early read of 64 KiB", functools.partial(early_read, 64 << 10), twins=cells.BINDFS),
    cells.Case("early read of 1 MiB", functools.partial(early_read, MIB), twins=cells.BINDFS,
               quick=False),
    cells.Case("new clusters", functools.partial(destination_sees, fresh.change_new_clusters),
               twins=cells.BINDFS),
    cells.Case("refcount growth", functools.partial(
        destination_sees, fresh.change_many_refcounts, create="cluster_size=4k"),
        twins=cells.BINDFS, images=QCOW2, quick=False),
    cells.Case("growth", functools.partial(destination_sees, fresh.change_length),
               twins=cells.BINDFS),
    cells.Case("truncation", functools.partial(
        destination_sees, fresh.change_to_shorter, after=fresh.look_shorter), twins=cells.BINDFS),
    cells.Case("discard", functools.partial(destination_sees, fresh.change_discard),
               twins=cells.BINDFS,  # older ones ignore it
               variants=lambda variant: variant.version == "4.2"),
    cells.Case("internal snapshot", functools.partial(
        destination_sees, fresh.change_snapshot, after=fresh.use_snapshot),
        twins=cells.BINDFS, images=QCOW2),
]

# The others run at each change over a store that stands in for NFS (tests/qemu).
QUICK_FAILURES = (failed.cancel_at_switch, failed.kill_after_switch)

for fail in failed.FAILURES:
    CASES.append(cells.Case(
        fail.__name__.replace("_", " "),
        lambda site, image, fail=fail: failed.source_goes_on(fail, image.disk(), site),
        twins=cells.BINDFS, quick=fail in QUICK_FAILURES))
