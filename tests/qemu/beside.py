#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Tools beside a running guest, on its host and on the other one; backup jobs and exports on it."""
import functools
import os

import migrate
import scenario
from scenario import expect

MIB = 1 << 20


def has_pattern(path, pattern, offset, length):
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(length) == bytes([pattern]) * length


def tools_read(here, image, pair):
    """qemu-img info, check and convert of what the guest has flushed; the image was read before."""
    disk = pair.image(**image)
    machine = pair.start(pair.a, disk)
    host = pair.a if here else pair.b
    machine.write(1, 0, 4 * MIB)
    machine.flush()
    pair.read_before(host, disk)
    machine.write(2, 0, MIB)
    machine.write(3, 32 * MIB, MIB)
    machine.flush()
    path, copy = host.path(disk.name), pair.bed.unique("copy")
    pair.bed.run(["qemu-img", "info", "-U", path])
    if disk.format == "qcow2":
        checked = pair.bed.run(["qemu-img", "check", "-U", path], expect=None)
        expect(checked.returncode in (0, 3), f"check: {checked.stdout}{checked.stderr}")
    pair.bed.run(["qemu-img", "convert", "-U", "-f", disk.format, "-O", "raw", path, copy])
    for pattern, offset in ((2, 0), (1, MIB), (3, 32 * MIB)):
        expect(has_pattern(copy, pattern, offset, MIB), f"stale: the copy at {offset >> 20} MiB")
    os.unlink(copy)
    expect(machine.writes(4, 0, MIB), "the guest cannot write any more")
    moves_on(machine, disk, 4, pair)


def moves_on(machine, disk, pattern, pair):
    """The source is owner again: what it writes now is what the destination reads."""
    pair.read_before(pair.b, disk)
    destination = pair.start(pair.b, disk, incoming=True)
    machine.write(pattern + 1, MIB, MIB)
    migrate.migrate(machine, destination)
    expect(destination.reads(pattern, 0, MIB), "stale after it: the first mebibyte")
    expect(destination.reads(pattern + 1, MIB, MIB), "stale after it: the second mebibyte")
    destination.quit()
    pair.check_image(disk)


def backup_job(image, pair):
    disk = pair.image(**image)
    machine = pair.start(pair.a, disk)
    machine.write(1, 0, 4 * MIB)
    target = pair.image(format="raw")
    machine.qmp.command("blockdev-add", driver="file", node_name="target",
                        filename=pair.a.path(target.name))
    machine.qmp.command("blockdev-backup", job_id="backup", device="disk0", target="target",
                        sync="full", speed=MIB)
    machine.write(2, 0, MIB)
    machine.qmp.command("block-job-set-speed", device="backup", speed=0)
    machine.qmp.event("BLOCK_JOB_COMPLETED")
    machine.qmp.command("blockdev-del", node_name="target")
    expect(has_pattern(pair.a.path(target.name), 1, 0, 4 * MIB),
           "the backup is not the disk as it was at the start")
    moves_on(machine, disk, 2, pair)


def export_over_nbd(image, pair):
    disk = pair.image(**image)
    machine = pair.start(pair.a, disk)
    machine.write(1, 0, 4 * MIB)
    socket, copy = pair.bed.socket_path("nbd"), pair.bed.unique("copy")
    machine.qmp.command("nbd-server-start", addr={"type": "unix", "data": {"path": socket}})
    machine.qmp.command("block-export-add", type="nbd", id="export", node_name="disk0", name="disk")
    machine.write(2, 0, MIB)
    pair.bed.run(["qemu-img", "convert", "-O", "raw", f"nbd+unix:///disk?socket={socket}", copy])
    expect(has_pattern(copy, 2, 0, MIB) and has_pattern(copy, 1, MIB, MIB), "the export is stale")
    os.unlink(copy)
    machine.qmp.command("block-export-del", id="export")
    machine.qmp.event("BLOCK_EXPORT_DELETED")
    machine.qmp.command("nbd-server-stop")
    moves_on(machine, disk, 2, pair)


def made_anew_while_it_is_read(pair):
    """qemu-img create claims its bytes by 101 alone, and what a guest handed over is read still."""
    disk = pair.image(format="qcow2")
    machine = pair.start(pair.a, disk)
    machine.write(1, 0, 4 * MIB)
    with open(pair.a.path(disk.name), "rb"):
        machine.quit()
        for _ in range(2):
            pair.bed.run(["qemu-img", "create", "-q", "-f", "qcow2", pair.a.path(disk.name), "64M"])
    made = pair.start(pair.a, disk)
    expect(made.reads(0, 0, 4 * MIB), "what was there before it was made anew")
    made.quit()


IMAGES = {"raw": dict(format="raw", cache="none"),
          "qcow2": dict(format="qcow2", cache="writeback")}


def scenarios():
    yield scenario.Scenario("made anew while it is read", made_anew_while_it_is_read,
                            harmless=True)
    for name, image in IMAGES.items():
        direct = image["cache"] == "none"
        yield scenario.Scenario(f"tools on its host, {name}",
                                functools.partial(tools_read, True, image), direct)
        yield scenario.Scenario(f"tools on the other host, {name}",
                                functools.partial(tools_read, False, image))
        yield scenario.Scenario(f"backup job, {name}", functools.partial(backup_job, image),
                                direct)
        yield scenario.Scenario(f"nbd export, {name}", functools.partial(export_over_nbd, image),
                                direct)


if __name__ == "__main__":
    scenario.main("beside", scenarios())
