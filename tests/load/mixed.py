#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Everything at once on a mount: data stays right, nothing hangs, nothing leaks.

mixed.py [--seconds N] [--files N] [--threads N] [--seed N] [--store]
"""

import argparse
import os
import random
import subprocess
import threading

from load import check_descriptors, descriptors, run_watched
from testbed import Testbed, binary, check, main, require_fuse, require_root


class Asking:
    """migfsctl beside the load: watch all the time; status, acquire and release over and over."""

    def __init__(self, bed, path):
        self.bed = bed
        self.path = path
        self.watch = None
        self.ended = threading.Event()
        self.failures = []
        self.asked = 0
        self.thread = threading.Thread(target=self._ask, daemon=True)

    def _ask(self):
        image = os.path.join(self.path, "asked")
        with open(image, "wb"):
            while not self.ended.wait(0.05):
                self._run("status", "--json", self.path)
                self._run("acquire", image)
                self._run("release", image)
                self.asked += 1

    def _run(self, *arguments):
        result = subprocess.run([binary("migfsctl"), *arguments], capture_output=True, text=True,
                                check=False)
        if result.returncode != 0:
            self.failures.append(f"{' '.join(arguments)}: {result.returncode}: {result.stderr}")

    def __enter__(self):
        self.watch = self.bed.spawn([binary("migfsctl"), "watch", "--json", self.path],
                                    stdout=subprocess.DEVNULL)
        self.thread.start()
        return self

    def __exit__(self, kind, value, traceback):
        self.ended.set()
        self.thread.join(30)
        if self.watch.poll() is not None:
            self.failures.append(f"watch ended with {self.watch.returncode}")
        self.watch.terminate()
        self.watch.wait(30)
        return False


def load(bed, source, arguments, options):
    mount = bed.mount_migfs(source, options=f"deadline=60000,{options}")
    before = descriptors(mount)
    with Asking(bed, mount.path) as asking:
        run_watched(bed, [binary("mixed"), mount.path, arguments.files, arguments.threads,
                          arguments.seconds, arguments.seed], arguments.seconds + 90)
    check(not asking.failures, f"migfsctl: {asking.failures[:3]}")
    print(f"migfsctl asked {asking.asked} times", flush=True)
    bed.run(["find", mount.path, "-mindepth", "1", "-delete"])
    check_descriptors(mount, before)
    mount.umount()


def test():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--store", action="store_true", help="on ctofs, not on the disk")
    parser.add_argument("--options", default="workers=8")
    arguments = parser.parse_args()
    require_root()
    require_fuse()
    print(f"seed {arguments.seed}", flush=True)
    with Testbed("mixed", deadline_s=arguments.seconds + 150) as bed:
        source = bed.directory("source")
        if arguments.store:
            source = bed.mount_ctofs(source).path
        load(bed, source, arguments, arguments.options)


main(test)
