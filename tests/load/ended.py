#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A mount that is taken away under load: the daemon ends with 0, and nobody hangs."""

import random
import signal
import subprocess

from load import wait_watched
from testbed import Testbed, binary, check, main, require_fuse, require_root

FILES, THREADS = 60, 12
BEFORE_S = 1.5


def start_load(bed, mount, seconds):
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    process = bed.spawn([binary("mixed"), mount.path, FILES, THREADS, seconds, seed, "until-end"],
                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    check(process.stdout.readline() == "serving\n", "the load does not start")
    try:
        process.wait(BEFORE_S)
    except subprocess.TimeoutExpired:
        return process
    check(False, f"the load ended early: {process.stdout.read()}")
    return None


def aborted(bed, source):
    mount = bed.mount_migfs(source)
    process = start_load(bed, mount, 60)
    mount.abort_connection()
    mount.wait_end(30)
    wait_watched(bed, process, 30)
    bed.run(["umount", "-l", mount.path], expect=None)


def signalled(bed, source):
    mount = bed.mount_migfs(source)
    process = start_load(bed, mount, 60)
    mount.signal(signal.SIGTERM)
    mount.wait_end(30)
    wait_watched(bed, process, 30)


def unmounted_lazily(bed, source):
    mount = bed.mount_migfs(source)
    process = start_load(bed, mount, 3)
    bed.run(["umount", "-l", mount.path])
    wait_watched(bed, process, 30)
    mount.wait_end(30)


def killed_load(bed, source):
    mount = bed.mount_migfs(source)
    process = start_load(bed, mount, 60)
    process.kill()
    wait_watched(bed, process, 30, expect=-signal.SIGKILL)
    mount.umount()


def test():
    require_root()
    require_fuse()
    with Testbed("ended", deadline_s=240) as bed:
        for part in (aborted, signalled, unmounted_lazily, killed_load):
            print(f"{part.__name__}:", flush=True)
            part(bed, bed.directory(part.__name__))


main(test)
