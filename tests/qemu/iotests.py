#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's own tests of its block layer, on a directory and on a mount of migfs: what passes on the
one passes on the other.

iotests.py raw|qcow2 [TEST]...

Some of them need what this machine or QEMU's package lacks, and some fail now and then on any
directory: one that fails on the mount alone is run twice more, on both.
"""

import os
import pathlib
import shutil
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import testbed  # noqa: E402
from testbed import check  # noqa: E402

SOURCE = pathlib.Path(testbed.TOP_DIR) / "build" / "deps" / "qemu"
PROGRAMS = {"QEMU_PROG": "qemu-system-x86_64", "QEMU_IMG_PROG": "qemu-img",
            "QEMU_IO_PROG": "qemu-io", "QEMU_NBD_PROG": "qemu-nbd",
            "QSD_PROG": "qemu-storage-daemon"}
CACHES = {"raw": "none", "qcow2": "writeback"}
MOST_S = 60      # one that hangs waits for a clock that only QEMU's qtest has
FEWEST = 40      # that pass on a directory; fewer: they cannot be run here
AGAIN = 2


class Place:
    """A directory that tests are run in."""

    def __init__(self, bed, image_format, name, directory):
        self.format = image_format
        self.environment = {
            **os.environ, **{name: shutil.which(program) for name, program in PROGRAMS.items()},
            "TEST_DIR": directory, "OUTPUT_DIR": bed.directory("output-" + name),
            "SOCK_DIR": os.path.dirname(bed.socket_path(name)), "PYTHON": "python3"}

    def check(self, *arguments):
        """What `check` of these tests prints, and its status; None: it hangs."""
        process = subprocess.Popen(
            ["./check", f"-{self.format}", *arguments], cwd=SOURCE / "tests/qemu-iotests",
            env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True)
        try:
            said = process.communicate(timeout=MOST_S)[0]
            return said.decode(errors="replace"), process.returncode
        except subprocess.TimeoutExpired:
            return "", None
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)  # and what it left behind
            except ProcessLookupError:
                pass
            process.wait()

    def names(self):
        said, _ = self.check("-n")
        return [os.path.basename(line.split()[-1]) for line in said.splitlines()
                if line.strip() and " -- " not in line]

    def outcome(self, test):
        """pass, fail, "not run" or hangs; and what was said."""
        said, status = self.check("-c", CACHES[self.format], test)
        if status is None:
            return "hangs", ""
        if f"Not run: {test}" in said:
            return "not run", said
        return ("pass" if status == 0 else "fail"), said


def fails_on_the_mount_alone(test, bare, mount):
    """What it says there, though it passes on the directory; or None."""
    for _ in range(1 + AGAIN):
        outcome, said = mount.outcome(test)
        if outcome == "pass":
            return None
        if bare.outcome(test)[0] != "pass":
            return None  # it does so now and then
    return said or outcome


def run():
    image_format, wanted = sys.argv[1], sys.argv[2:]
    testbed.require_root()
    testbed.require_fuse()
    testbed.require_tools(*PROGRAMS.values())
    if not (SOURCE / "stamp").exists():
        testbed.skip(f"no source of QEMU in {SOURCE}; tests/run --full fetches it")
    with testbed.Testbed("iotests", deadline_s=3500) as bed:
        source = bed.directory("source")
        migfs = bed.mount_migfs(source, bed.directory("mount"))  # some mind a dot in its name
        bare = Place(bed, image_format, "bare", bed.directory("directory"))
        mount = Place(bed, image_format, "mount", migfs.path)
        bad, passed = [], 0
        for test in wanted or bare.names():
            outcome = bare.outcome(test)[0]
            failure = fails_on_the_mount_alone(test, bare, mount) if outcome == "pass" else None
            passed += outcome == "pass" and failure is None
            print(f"{test}: {outcome}{', and not on the mount' if failure else ''}", flush=True)
            if failure:
                bad.append(test)
                print(failure, flush=True)
        print(f"{passed} pass on both", flush=True)
        check(not bad, f"on the mount alone: {' '.join(bad)}")
        check(wanted or passed >= FEWEST, f"only {passed} of QEMU's tests can be run here")
        migfs.umount()


if __name__ == "__main__":
    testbed.main(run)
