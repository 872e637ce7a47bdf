# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that writes and reads all the time, in real mode (guest_sector.S), goes to and fro."""
import os

import cell as cells
import hosts
import migrate
import testbed
import vm
from scenario import expect

MIGRATIONS = 10
PASSES_BETWEEN = 1  # that begin and end after a destination has opened the image
WAIT_S = 300

QUIET = tuple(image for image in cells.IMAGES if image.aio == "threads")


def program_write(site, disk):
    """The guest's program goes to the first sectors of its disk."""
    program = os.path.join(testbed.test_bin_dir(), "guest_sector")
    site.bed.run(["qemu-io", "-f", disk.format, "-c",
                  f"write -s {program} 0 {os.path.getsize(program)}", site.a.path(disk.name)],
                 as_user=site.as_user)


def ping_pong(site, image):
    """Ten times there and back, the image read on the other host before: no block that the guest
    reads may be old, wrong or refused; and what the last host reads is what the server has."""
    disk = site.image(**image.disk())
    program_write(site, disk)
    guest = vm.Guest()
    site.held.callback(guest.close)
    machine = site.start(site.a, disk, guest=guest)
    guest.serial.wait_passes(PASSES_BETWEEN, WAIT_S)
    downtimes_ms = []
    for number in range(MIGRATIONS):
        there = (site.b, site.a)[number % 2]
        site.read_before(there, disk)
        destination = site.start(there, disk, guest=guest, incoming=True)
        guest.serial.wait_passes(PASSES_BETWEEN, WAIT_S)
        downtimes_ms.append(migrate.migrate(machine, destination))
        machine.quit()
        machine = destination
        counts = guest.serial.wait_passes(PASSES_BETWEEN, WAIT_S)
        expect(counts.bad == 0, f"after {number + 1} migrations: {counts}")
    machine.stop()
    differing = hosts.blocks_differing(there, disk.name)
    expect(differing == 0, f"{differing} blocks are not what the server has")
    machine.quit()
    site.check_image(disk)
    return max(downtimes_ms)


CASES = [
    cells.Case("ping-pong under guest load", ping_pong, twins=cells.BINDFS, images=QUIET,
               quick=False, deadline_s=300),
]
