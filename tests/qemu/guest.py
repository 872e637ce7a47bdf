#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A running Linux guest under load goes to and fro between two hosts.

    guest.py STACK[:OPTIONS] IMAGE CACHE MIGRATIONS

Over migfs no block may be wrong, in the guest or outside; over a control some must be.
"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import boot
import migrating
import scenario
import testbed

SECONDS_EACH = 15


def run(stack, image, cache, migrations):
    with testbed.Testbed("qemu-guest", 60 + SECONDS_EACH * migrations) as bed:
        cell = migrating.Cell(bed, stack, image, cache, boot.boot_files(bed), print)
        outcome = cell.run(migrations, writes_between=500)
        print(outcome)
        for line in cell.serial.mismatches():
            print(line)
        if stack in scenario.CONTROLS:
            testbed.check(outcome.stale_guest or outcome.stale_outside,
                          f"{stack}: nothing stale, so the test proves nothing")
            return
        testbed.check(not outcome.damaged, f"{stack}: damaged")
        testbed.check(outcome.migrations == migrations, f"{outcome.migrations} migrations only")


def main():
    stack, image, cache, migrations = sys.argv[1:]
    testbed.require_root()
    testbed.require_fuse()
    testbed.require_tools("qemu-system-x86_64", "qemu-img")
    testbed.main(lambda: run(stack, image, cache, int(migrations)))


if __name__ == "__main__":
    main()
