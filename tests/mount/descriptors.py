#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A daemon serves many files with few descriptors, survives when they run out, and gives them back.

descriptors.py [CHECK]...
"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import testbed  # noqa: E402
from testbed import binary, check, wait_until  # noqa: E402


def descriptors(mount):
    """How many a daemon has, without the queues and rings of its threads."""
    directory, count = f"/proc/{mount.pid}/fd", 0
    for name in os.listdir(directory):
        try:
            count += os.readlink(f"{directory}/{name}") not in ("/dev/fuse", "anon_inode:[io_uring]")
        except OSError:
            continue
    return count


def few_descriptors(bed):
    """A daemon with few descriptors serves many files: it keeps one for open files alone."""
    source = bed.directory("source")
    for i in range(1500):
        directory = f"{source}/d{i % 50}"
        os.makedirs(directory, exist_ok=True)
        with open(f"{directory}/f{i}", "w", encoding="ascii") as file:
            file.write(str(i))
    mount = bed.mount("fuse.migfs", ["prlimit", "--nofile=500:500", binary("migfs"), source,
                                     "MOUNTPOINT"], source)
    for _ in range(2):
        for i in range(1500):
            path = f"{mount.path}/d{i % 50}/f{i}"
            check(os.stat(path).st_size == len(str(i)), f"{path}: another length")
            with open(path, encoding="ascii") as file:
                check(file.read() == str(i), f"{path}: another content")
    held = [os.open(f"{mount.path}/d{i % 50}/f{i}", os.O_RDWR) for i in range(100)]
    for i, fd in enumerate(held):
        os.pwrite(fd, b"held", 0)
        check(os.pread(fd, 4, 0) == b"held", f"{i}")
        os.close(fd)
    bed.run(["rm", "-r", *[f"{mount.path}/d{i}" for i in range(50)]])
    check(os.listdir(mount.path) == [], f"left: {os.listdir(mount.path)[:5]}")
    mount.umount()


def descriptors_run_out(bed):
    """More open files than descriptors: an error for the caller, and service goes on."""
    source = bed.directory("source")
    for i in range(600):
        with open(f"{source}/f{i}", "w", encoding="ascii") as file:
            file.write(str(i))
    mount = bed.mount("fuse.migfs", ["prlimit", "--nofile=300:300", binary("migfs"), source,
                                     "MOUNTPOINT"], source)
    held, refused = [], 0
    for i in range(600):
        try:
            held.append(os.open(f"{mount.path}/f{i}", os.O_RDONLY))
        except OSError:
            refused += 1
    check(refused, "600 files are open by 300 descriptors")
    for fd in held:
        os.close(fd)
    with open(f"{mount.path}/f599", encoding="ascii") as file:
        check(file.read() == "599", "no service after that")
    mount.umount()


def descriptors_return(bed):
    """What is closed, removed or forgotten takes no descriptor any more."""
    source = bed.directory("source")
    mount = bed.mount_migfs(source)
    os.stat(mount.path)
    before = descriptors(mount)
    for i in range(300):
        name = f"{mount.path}/f{i}"
        fd = os.open(name, os.O_RDWR | os.O_CREAT)
        os.write(fd, b"x")
        os.unlink(name)
        os.close(fd)
        os.mkdir(name)
        os.listdir(name)
        os.rmdir(name)
        os.close(os.open(mount.path, os.O_TMPFILE | os.O_RDWR))
    wait_until(lambda: descriptors(mount) <= before + 5, 10,
               f"descriptors go ({before} before, {descriptors(mount)} after)")
    mount.umount()


CHECKS = (few_descriptors, descriptors_run_out, descriptors_return)


if __name__ == "__main__":
    testbed.main(lambda: testbed.run_checks("descriptors", CHECKS, deadline_s=90))
