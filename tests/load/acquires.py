#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""All files are handed over at once, by two mounts, and nothing hangs or is stale.

acquires.py [--rounds N] [--files N] [--control]
"""

import argparse

from load import check_descriptors, descriptors, is_sanitized, run_watched
from testbed import Testbed, binary, check, main, require_fuse, require_root

BLOCKS = 32


def hand_over(bed, hosts, options, files, rounds, is_control=False):
    deadline_ms = 20000  # of one hand-over: the machine is slow, and time is not what is tested
    mounts = [bed.mount_migfs(host, options=f"deadline={deadline_ms},{options}") for host in hosts]
    before = [descriptors(mount) for mount in mounts]
    output = run_watched(bed, [binary("acquires"), mounts[0].path, mounts[1].path, files, BLOCKS,
                               rounds], 60 + 10 * rounds, expect=1 if is_control else 0)
    check(not is_control or "stale blocks" in output, "without coherence nothing is stale")
    for mount, names in zip(mounts, before):
        check_descriptors(mount, names)
    for mount in mounts:
        mount.umount()


def test():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3 if is_sanitized() else 4)
    parser.add_argument("--files", type=int, default=64)
    parser.add_argument("--control", action="store_true", help="without migfs's coherence")
    arguments = parser.parse_args()
    require_root()
    require_fuse()
    with Testbed("acquires", deadline_s=120 + 30 * arguments.rounds) as bed:
        store = bed.directory("store")
        hosts = [bed.mount_ctofs(store).path for _ in range(2)]
        if arguments.control:
            hand_over(bed, hosts, "coherence=off", arguments.files, 2, is_control=True)
            return
        disk = bed.directory("disk")
        for options in ("workers=2", "workers=32"):
            print(f"on a disk, {options}:", flush=True)
            hand_over(bed, [disk, disk], options, arguments.files, arguments.rounds)
        for options in ("workers=2", "workers=32"):
            print(f"on a close-to-open store, {options}:", flush=True)
            hand_over(bed, hosts, options, arguments.files, arguments.rounds)


main(test)
