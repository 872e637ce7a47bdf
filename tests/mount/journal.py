#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Transitions in systemd's journal, with fields: by a real journald, in a mount namespace of its own.

journal.py [CHECK]...
"""
import errno
import fcntl
import json
import os
import re
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "manual"))
import testbed  # noqa: E402
from page import Page  # noqa: E402
from testbed import binary, check  # noqa: E402

JOURNALDS = ("/usr/lib/systemd/systemd-journald", "/lib/systemd/systemd-journald")
SOCKET = "/run/systemd/journal/socket"
TRANSITION = "b8ab3c1e7e5d4c0c9d2f6a41d07e93a5"  # migfs(8)
FENCE = "5f0c2f7d94b34d41a8e6c1b37a20d9ee"
OFD_SETLK = 37
STEPS = {"acquire": {"LOCK", "TEST", "DROP", "READ_RECORD", "VERIFY", "INVALIDATE", "WRITE_RECORD"},
         "release": {"FLUSH", "DRAIN", "SYNC", "WRITE_RECORD", "INVALIDATE", "UNLOCK"}}
IN_NAMESPACE = "MIGFS_TEST_JOURNAL"


def enter_namespace():
    """Runs this again where /run has a journal's place that no other journal has."""
    if IN_NAMESPACE in os.environ:
        for directory in ("/run/systemd", "/run/log"):
            os.makedirs(directory, exist_ok=True)
            subprocess.run(["mount", "-t", "tmpfs", "tmpfs", directory], check=True)
        os.makedirs("/run/log/journal")
        return
    os.environ[IN_NAMESPACE] = "1"
    os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", sys.executable,
                          *sys.argv])


class Journal:
    """A journald and what it has."""

    def __init__(self, bed):
        self.bed = bed
        self.process = bed.spawn([next(filter(os.path.exists, JOURNALDS))],
                                 stderr=subprocess.DEVNULL)
        testbed.wait_until(lambda: os.path.exists(SOCKET), what="journald's socket")

    def entries(self, **fields):
        matches = [f"{name}={value}" for name, value in fields.items()]
        result = self.bed.run(["journalctl", "--directory=/run/log/journal", "--output=json",
                               "--no-pager", "--quiet", "SYSLOG_IDENTIFIER=migfs", *matches],
                              expect=None)
        return [json.loads(line) for line in result.stdout.splitlines()]

    def wait_entry(self, **fields):
        """The last one with these fields, once there is one."""
        testbed.wait_until(lambda: self.entries(**fields), what=f"an entry with {fields}")
        return self.entries(**fields)[-1]

    def end(self):
        self.process.terminate()
        self.process.wait()
        if os.path.exists(SOCKET):
            os.unlink(SOCKET)


def ctl(bed, *arguments, expect=0):
    return bed.run([binary("migfsctl"), *arguments], expect=expect)


def image(bed, source, name="image"):
    with open(os.path.join(source, name), "wb") as file:
        file.truncate(1 << 20)


def every_transition_has_its_fields(bed):
    journal = Journal(bed)
    source = bed.directory("source")
    name = 'an "image"\nof two lines = one'
    image(bed, source, name)
    mount = bed.mount_migfs(source, daemon=True)
    path = os.path.join(mount.path, name)
    with open(path, "rb+", buffering=0) as file:
        for generation in (1, 2):
            ctl(bed, "acquire", path)
            file.write(b"x" * 65536)
            ctl(bed, "release", path)
            for kind, (before, after) in (("acquire", ("plain" if generation == 1 else "released",
                                                       "owner")),
                                          ("release", ("owner", "released"))):
                entry = journal.wait_entry(MIGFS_MOUNTPOINT=mount.path, MIGFS_TRANSITION=kind,
                                           MIGFS_GENERATION=generation)
                expected = {"MESSAGE_ID": TRANSITION, "MIGFS_FILE": name, "MIGFS_INODE": str(os.stat(path).st_ino),
                            "MIGFS_FROM": before,
                            "MIGFS_TO": after, "MIGFS_RESULT": "done", "PRIORITY": "6",
                            "SYSLOG_FACILITY": "3", "_TRANSPORT": "journal"}
                got = {field: entry.get(field) for field in expected}
                check(got == expected, f"{kind}: {got}, not {expected}")
                check(entry["MESSAGE"].startswith(f"{kind} of {mount.path}/"), entry["MESSAGE"])
                steps = {field[6:-5]: int(value) for field, value in entry.items()
                         if field.endswith("_USEC") and field.count("_") > 1}
                check(set(steps) == STEPS[kind], f"{kind}: {steps}")
                check(sum(steps.values()) <= int(entry["MIGFS_USEC"]) + len(steps),
                      f"{kind}: {entry['MIGFS_USEC']} µs, of which {steps}")
    check(journal.entries(MIGFS_MOUNTPOINT=mount.path, MIGFS_TRANSITION="acquire")[-1]["MIGFS_FROM_HOST"]
          == os.uname().nodename, "whose it was")
    mount.umount()
    journal.end()


def one_that_failed_says_why(bed):
    journal = Journal(bed)
    source = bed.directory("source")
    image(bed, source)
    first = bed.mount_migfs(source, daemon=True)
    second = bed.mount_migfs(source, daemon=True, options="deadline=200")
    paths = [os.path.join(mount.path, "image") for mount in (first, second)]
    with open(paths[0], "rb+"), open(paths[1], "rb+"):
        ctl(bed, "acquire", paths[0])
        ctl(bed, "acquire", paths[1], expect=4)
        entry = journal.wait_entry(MIGFS_MOUNTPOINT=second.path, MIGFS_RESULT="failed")
        check(entry["ERRNO"] == str(errno.ETIMEDOUT) and entry["PRIORITY"] == "3" and
              entry["MIGFS_TO"] == "standby", f"{entry}")
    second.umount()
    first.umount()
    journal.end()


def what_was_slow_is_found_as_the_page_says(bed):
    """By the command of migfs(8): one that waited for another host, and no other."""
    testbed.require_tools("jq")
    journal = Journal(bed)
    source = bed.directory("source")
    for name in ("free", "taken"):
        image(bed, source, name)
    first, second = (bed.mount_migfs(source, daemon=True, options="deadline=1000") for _ in "ab")
    files = [open(os.path.join(mount.path, name), "rb+") for mount in (first, second)
             for name in ("free", "taken")]
    ctl(bed, "acquire", os.path.join(first.path, "taken"))
    ctl(bed, "acquire", os.path.join(second.path, "taken"), expect=4)
    ctl(bed, "acquire", os.path.join(second.path, "free"))
    journal.wait_entry(MIGFS_MOUNTPOINT=second.path, MIGFS_FILE="free")
    found = bed.run(["sh", "-c", Page("migfs.8").find("journalctl")]).stdout
    slow = [entry["MIGFS_FILE"] for entry in journal.entries(MIGFS_TRANSITION="acquire")
            if int(entry["MIGFS_USEC"]) > 100_000]  # on a busy machine also others
    check("taken" in slow and re.findall('"MIGFS_FILE": "(.*)"', found) == slow, f"{slow}: {found}")
    for file in files:
        file.close()
    second.umount()
    first.umount()
    journal.end()


def a_fence_says_what_the_file_was(bed):
    """Locked as QEMU does; then the store's client is cut off until its locks are gone."""
    journal = Journal(bed)
    store = bed.directory("store")
    for state, locked in (("owner", (100, 101, 201)), ("shared", (100, 101, 203))):
        image(bed, store, state)
        below = bed.mount_ctofs(store, daemon=True)
        mount = bed.mount_migfs(below.path, daemon=True)
        fd = os.open(os.path.join(mount.path, state), os.O_RDWR | os.O_DSYNC)
        for start in locked:
            fcntl.fcntl(fd, OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_RDLCK, 0, start, 1, 0))
        for command in (b"partition", b"heal"):
            with open(os.path.join(below.path, ".ctofs-control"), "wb", buffering=0) as control:
                control.write(command)
        try:
            os.write(fd, b"x")
            raise testbed.TestFailure(f"{state}: written without locks")
        except OSError as error:
            check(error.errno == errno.EIO, f"{error}")
        entry = journal.wait_entry(MESSAGE_ID=FENCE, MIGFS_MOUNTPOINT=mount.path)
        got = {field: entry.get(field) for field in ("MIGFS_FILE", "MIGFS_FROM", "MIGFS_TO")}
        check(got == {"MIGFS_FILE": state, "MIGFS_FROM": state, "MIGFS_TO": "fenced"}, f"{got}")
        os.close(fd)
        mount.umount()
        below.umount()
    journal.end()


def units_write_their_fields_too(bed):
    """A unit's standard error leads to the journal: $JOURNAL_STREAM."""
    journal = Journal(bed)
    source, mountpoint = bed.directory("source"), bed.directory("mnt")
    image(bed, source)
    path = os.path.join(mountpoint, "image")
    log = os.path.join(bed.root, "stream")
    with open(log, "wb") as stream:
        status = os.fstat(stream.fileno())
        process = bed.spawn([binary("migfs"), "-f", source, mountpoint], stderr=stream,
                            env={"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
    testbed.wait_until(lambda: testbed.is_mounted(mountpoint), what="the mount")

    def lines():
        with open(log, encoding="utf-8") as stream:
            return stream.read()
    try:
        with open(path, "rb+"):
            ctl(bed, "acquire", path)
            journal.wait_entry(MIGFS_MOUNTPOINT=mountpoint, MIGFS_TRANSITION="acquire")
            check("acquire of " not in lines(), "it is there twice")
            check("serving" in lines(), "lines without fields are lost")
            journal.end()
            ctl(bed, "release", path)
            testbed.wait_until(lambda: "release of " in lines(),
                               what="the line, since there is no journal")
    finally:
        subprocess.run(["umount", mountpoint], check=True)
        process.wait()


def a_journal_that_does_not_read_holds_nobody_up(bed):
    journal = Journal(bed)
    source = bed.directory("source")
    image(bed, source)
    mount = bed.mount_migfs(source, daemon=True)
    path = os.path.join(mount.path, "image")
    journal.process.send_signal(19)  # SIGSTOP
    with open(path, "rb+"):
        for _ in range(600):  # more than a socket's queue takes: net.unix.max_dgram_qlen
            ctl(bed, "acquire", path)
            ctl(bed, "release", path)
    journal.process.send_signal(18)
    journal.wait_entry(MIGFS_MOUNTPOINT=mount.path, MIGFS_TRANSITION="acquire")
    mount.umount()
    journal.end()


def run():
    testbed.require_root()
    testbed.require_tools("journalctl", "unshare")
    if not any(map(os.path.exists, JOURNALDS)):
        testbed.skip("no systemd-journald: apt install systemd")
    enter_namespace()
    testbed.run_checks("journal", (
        every_transition_has_its_fields, one_that_failed_says_why,
        what_was_slow_is_found_as_the_page_says, a_fence_says_what_the_file_was,
        units_write_their_fields_too, a_journal_that_does_not_read_holds_nobody_up))


if __name__ == "__main__":
    testbed.main(run)
