#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads and writes that bypass every cache go by io_uring when several come at once, and are as
right as those that go one by one: data, errors, and the end of them at a hand-over.

ring.py [CHECK]...
"""

import errno
import mmap
import os
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import testbed  # noqa: E402
from testbed import binary, check, skip, wait_until  # noqa: E402

MIB = 1 << 20
SWITCH = "/proc/sys/kernel/io_uring_disabled"
DEPTH = 32
WRITERS = 16


def rings(mount):
    """How many the daemon has."""
    directory, count = f"/proc/{mount.pid}/fd", 0
    for name in os.listdir(directory):
        try:
            count += "io_uring" in os.readlink(f"{directory}/{name}")
        except OSError:
            continue
    return count


def require_io_uring():
    try:
        with open(SWITCH, encoding="ascii") as file:
            if file.read().strip() != "0":
                skip(f"{SWITCH} is not 0")
    except FileNotFoundError:
        pass  # kernels before 6.6 have none


def exercise(bed, path, *arguments, expect=0):
    """Many at once, each block checked by what it says itself."""
    return bed.run(["fio", "--name=ring", f"--filename={path}", "--size=64m", "--direct=1",
                    "--ioengine=libaio", f"--iodepth={DEPTH}", "--rw=randwrite", "--bsrange=4k-256k",
                    "--verify=crc32c", "--verify_fatal=1", "--norandommap", *arguments],
                   expect=expect, timeout_s=120)


def data_by_ring(bed):
    """What was written in any order is read; by io_uring, and not with io_uring=off."""
    require_io_uring()
    for option, is_used in (("on", True), ("off", False)):
        mount = bed.mount_migfs(bed.directory(f"source-{option}"), options=f"io_uring={option}")
        exercise(bed, f"{mount.path}/file")
        check((rings(mount) > 0) == is_used, f"io_uring={option}: {rings(mount)} rings")
        mount.umount()


def many_files(bed):
    """More requests at once than one ring takes, with others between them."""
    mount = bed.mount_migfs(bed.directory("source"))
    ended = threading.Event()

    def others():
        while not ended.is_set():
            with open(f"{mount.path}/small", "w", encoding="ascii") as file:
                file.write("x")
            os.stat(f"{mount.path}/small")
            os.unlink(f"{mount.path}/small")

    beside = threading.Thread(target=others)
    beside.start()
    try:
        bed.run(["fio", "--name=ring", f"--directory={mount.path}", "--size=8m", "--direct=1",
                 "--ioengine=libaio", "--iodepth=64", "--numjobs=8", "--rw=randrw", "--bs=4k",
                 "--verify=crc32c", "--verify_fatal=1", "--group_reporting"], timeout_s=120)
    finally:
        ended.set()
        beside.join()
    mount.umount()


def forbidden(bed):
    """Where io_uring may not be had: one line, and as right as before."""
    require_io_uring()
    if not os.path.exists(SWITCH):
        skip(f"no {SWITCH}")
    mount = bed.mount_migfs(bed.directory("source"))
    with open(SWITCH, "w", encoding="ascii") as file:
        file.write("2")
    try:
        exercise(bed, f"{mount.path}/file")
        exercise(bed, f"{mount.path}/file")
    finally:
        with open(SWITCH, "w", encoding="ascii") as file:
            file.write("0")
    check(rings(mount) == 0, f"{rings(mount)} rings")
    lines = [line for line in mount.log_text().splitlines() if "no io_uring" in line]
    check(len(lines) == 1 and "io_uring=off" in lines[0], f"said: {lines}")
    mount.umount()


def errors(bed):
    """A full disk and a broken one are the caller's to see, for the blocks that they are about."""
    image, source = bed.unique("image"), bed.directory("source")
    with open(image, "wb") as file:
        file.truncate(64 * MIB)
    testbed.require_tools("mkfs.ext4")
    bed.run(["mkfs.ext4", "-q", image])
    if bed.run(["mount", "-o", "loop", image, source], expect=None).returncode != 0:
        skip("no loop device")
    mount = bed.mount_migfs(source)
    with open(f"{mount.path}/file", "wb") as file:  # so that no write makes it longer: those come
        file.truncate(128 * MIB)                    # one by one
    ended = bed.run(["fio", "--name=full", f"--filename={mount.path}/file", "--size=128m",
                     "--direct=1", "--ioengine=libaio", f"--iodepth={DEPTH}", "--rw=write",
                     "--bs=64k", "--fallocate=none"], expect=None, timeout_s=120)
    check(ended.returncode != 0 and "No space left" in ended.stdout + ended.stderr,
          f"a full disk gave: {ended.returncode}: {ended.stderr}")
    check(rings(mount) > 0, "no ring was used")
    mount.umount()


class Writers:
    """So many that not each has a thread. Each writes a block of its own over and over, until it is
    refused; side by side, if no cached descriptor is open (linux/fs/fuse/iomode.c)."""

    def __init__(self, path):
        self.fd = os.open(path, os.O_RDWR | os.O_DIRECT)
        self.done = [0] * WRITERS
        self.refused = [None] * WRITERS
        self.threads = [threading.Thread(target=self._write, args=(i,), daemon=True)
                        for i in range(WRITERS)]
        for thread in self.threads:
            thread.start()

    def _write(self, number):
        block = mmap.mmap(-1, 4096)
        while self.refused[number] is None:
            block[:8] = (self.done[number] + 1).to_bytes(8, "little")
            try:
                os.pwrite(self.fd, block, number * 4096)
                self.done[number] += 1
            except OSError as error:
                self.refused[number] = error.errno

    def join(self):
        for thread in self.threads:
            thread.join()
        os.close(self.fd)


def blocks(path):
    with open(path, "rb") as file:
        data = file.read(WRITERS * 4096)
    return [int.from_bytes(data[i * 4096:i * 4096 + 8], "little") for i in range(WRITERS)]


def handed_over(bed):
    """After a release nothing lands that was under way, and all that was acknowledged is there. So
    often that the ring has had its part: it is for what comes while the threads are busy."""
    source = bed.directory("source")
    path = f"{source}/image"
    with open(path, "wb") as file:
        file.write(bytes(WRITERS * 4096))
    mount = bed.mount_migfs(source)
    rounds = 0
    while rounds < 20 or (rings(mount) == 0 and rounds < 400):
        rounds += 1
        holder = os.open(f"{mount.path}/image", os.O_RDWR | os.O_DIRECT)  # see Writers
        bed.run([binary("migfsctl"), "acquire", f"{mount.path}/image"])
        writers = Writers(f"{mount.path}/image")
        wait_until(lambda: min(writers.done) > 20, what="writers that write")
        bed.run([binary("migfsctl"), "release", f"{mount.path}/image"])
        at_release = blocks(path)
        writers.join()
        os.close(holder)
        check(set(writers.refused) == {errno.EIO}, f"refused with {writers.refused}")
        check(blocks(path) == at_release, "a write landed after the release")
        check(at_release == writers.done, f"acknowledged {writers.done}, there {at_release}")
    check(rings(mount) > 0, "no ring was used")
    mount.umount()


def aborted(bed):
    """A connection that is aborted under load ends the daemon."""
    mount = bed.mount_migfs(bed.directory("source"))
    load = bed.spawn(["fio", "--name=ring", f"--filename={mount.path}/file", "--size=64m",
                      "--direct=1", "--ioengine=libaio", f"--iodepth={DEPTH}", "--rw=randwrite",
                      "--bs=4k", "--time_based", "--runtime=60"],
                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: rings(mount) > 0, what="a ring that is used")
    mount.abort_connection()
    mount.wait_end()
    load.wait(60)


CHECKS = (data_by_ring, many_files, forbidden, handed_over, aborted)
IN_MACHINE = (errors,)  # with loop devices


if __name__ == "__main__":
    testbed.main(lambda: testbed.run_checks(
        "ring", IN_MACHINE if "errors" in sys.argv else CHECKS, deadline_s=300))
