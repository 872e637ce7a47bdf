#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Hundreds wait for one lock, and get signals; and owners' ids are used again at once."""

import os
import signal
import subprocess

from load import check_descriptors, descriptors, is_sanitized, run_watched, wait_watched
from testbed import Testbed, binary, check, main, require_fuse, require_root

KINDS = ("posix", "ofd", "flock")
WAITERS = 300


def waiters(bed):
    mount = bed.mount_migfs(bed.directory("disk"))
    before = descriptors(mount)
    for kind in KINDS:
        run_watched(bed, [binary("storm"), "waiters", os.path.join(mount.path, kind), WAITERS,
                          kind], 60)
    bed.run(["rm", "-r"] + [os.path.join(mount.path, kind) for kind in KINDS])
    check_descriptors(mount, before)
    mount.umount()


def cycles(bed):
    source = bed.directory("cycles")
    mount = bed.mount_migfs(source)
    before = descriptors(mount)
    path = os.path.join(mount.path, "file")
    run_watched(bed, [binary("storm"), "cycles", path, os.path.join(source, "file"),
                      2000 if is_sanitized() else 10000], 60)
    os.unlink(path)
    check_descriptors(mount, before)
    mount.umount()


def start_holding(bed, mount, kind):
    process = bed.spawn([binary("storm"), "hold", os.path.join(mount.path, kind), WAITERS, kind],
                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    check(process.stdout.readline() == "serving\n", "the waiters do not wait")
    return process


def signal_ends_waits(bed):
    mount = bed.mount_migfs(bed.directory("ends"))
    processes = [start_holding(bed, mount, kind) for kind in ("ofd", "flock")]
    mount.signal(signal.SIGTERM)
    mount.wait_end(30)
    for process in processes:
        wait_watched(bed, process, 30)


def killed_waits_end(bed):
    mount = bed.mount_migfs(bed.directory("killed"))
    before = descriptors(mount)
    process = start_holding(bed, mount, "ofd")
    os.killpg(process.pid, signal.SIGKILL)
    wait_watched(bed, process, 30, expect=-signal.SIGKILL)
    os.unlink(os.path.join(mount.path, "ofd"))
    check_descriptors(mount, before)
    mount.umount()


def test():
    require_root()
    require_fuse()
    with Testbed("storm", deadline_s=240) as bed:
        for part in (waiters, cycles, signal_ends_waits, killed_waits_end):
            print(f"{part.__name__}:", flush=True)
            part(bed)


main(test)
