#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is kept in memory of a file, and what of it is right when it is read again.

kept.py [CHECK]...
"""

import ctypes
import mmap
import os
import sys
import threading

TESTS_DIR = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [TESTS_DIR, os.path.join(TESTS_DIR, "hosts")]
import testbed  # noqa: E402
from pair import waits_in_gate  # noqa: E402
from testbed import binary, check, wait_until  # noqa: E402

MIB = 1 << 20
FILE_MIB = 32
OLD, NEW = b"a" * 4096, b"b" * 4096


def resident_mib(bed, path):
    """Of the store's file, by the kernel's word."""
    told = bed.run(["fincore", "--bytes", "--noheadings", "--output", "RES", path])
    return int(told.stdout) / MIB


def read_all(path):
    with open(path, "rb") as file:
        while file.read(MIB):
            pass


def owners_pages_once(bed):
    """What an owner reads is kept above alone; of a file that is nobody's the store keeps it, too."""
    testbed.require_tools("fincore")
    source = bed.directory("source")
    mount = bed.mount_migfs(source)
    kept = {}
    for name in ("owned", "plain"):
        with open(f"{source}/{name}", "wb") as file:
            file.write(os.urandom(FILE_MIB * MIB))
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        with open(f"{mount.path}/{name}", "r+b"):
            if name == "owned":
                bed.run([binary("migfsctl"), "acquire", f"{mount.path}/{name}"])
            read_all(f"{mount.path}/{name}")
            kept[name] = resident_mib(bed, f"{source}/{name}")
    check(kept["owned"] <= FILE_MIB / 10, f"{kept['owned']} MiB are kept twice")
    check(kept["plain"] >= FILE_MIB * 9 / 10, f"the control: {kept['plain']} MiB")
    mount.umount()


def resident_above(fd):
    """How many bytes of its first MiB the kernel has for this mount."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int,
                          ctypes.c_int, ctypes.c_long]
    address = libc.mmap(None, MIB, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)
    pages = (ctypes.c_ubyte * (MIB // mmap.PAGESIZE))()
    check(libc.mincore(ctypes.c_void_p(address), ctypes.c_size_t(MIB), pages) == 0, "mincore")
    libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(MIB))
    return sum(page & 1 for page in pages) * mmap.PAGESIZE


def writers_pages_not_at_all(bed):
    """What a descriptor for writing only writes is not kept above; what one for both does is."""
    mount = bed.mount_migfs(bed.directory("source"))
    kept = {}
    for how in (os.O_WRONLY, os.O_RDWR):
        writer = os.open(f"{mount.path}/file{how}", how | os.O_CREAT)
        reader = os.open(f"{mount.path}/file{how}", os.O_RDONLY)
        os.pwrite(writer, bytes(MIB), 0)
        kept[how] = resident_above(reader)
        os.close(reader)
        os.close(writer)
    check(kept == {os.O_WRONLY: 0, os.O_RDWR: MIB}, f"kept: {kept}")
    mount.umount()


class Beside:
    """One descriptor that writes only, whose one write is held on its way, and one that reads;
    keeps: it keeps pages, which it must not."""

    def __init__(self, bed, keeps):
        self.held, self.held_after = bed.unique("held"), bed.unique("held-after")
        source = bed.directory()
        self.below = f"{source}/file"
        with open(self.below, "wb") as file:
            file.write(OLD)
        self.mount = bed.mount(
            "fuse.migfs", [binary("migfs-faults"), source, "MOUNTPOINT"], source,
            env={"MIGFS_HOLD_WRITES": self.held, "MIGFS_HOLD_WRITTEN": self.held_after,
                 **({"MIGFS_CACHE_BESIDE": "1"} if keeps else {})})
        self.writer = os.open(f"{self.mount.path}/file", os.O_WRONLY)
        self.reader = os.open(f"{self.mount.path}/file", os.O_RDONLY)

    def write_around(self, offset, act, act_after=lambda: None):
        """Writes; when the kernel has dropped what it had, and before the store has the bytes: act;
        when it has them, and before the write returns: act_after."""
        for path in (self.held, self.held_after):
            with open(path, "wb"):
                pass
        thread = threading.Thread(target=os.pwrite, args=(self.writer, NEW, offset), daemon=True)
        thread.start()
        wait_until(lambda: waits_in_gate(self.mount.pid), what="a write on its way")
        act()
        os.unlink(self.held)
        wait_until(lambda: os.stat(self.below).st_size >= offset + len(NEW), what="its bytes")
        act_after()
        os.unlink(self.held_after)
        thread.join()

    def end(self):
        os.close(self.writer)
        os.close(self.reader)
        self.mount.umount()


def beside_a_writer(bed):
    """A page that is read while a write is on its way, which has gone past it, is new after it; in a
    mapping, too. This the kernel does (fs/serve.c): there is nothing to leave out."""
    beside = Beside(bed, keeps=True)
    mapping = mmap.mmap(beside.reader, 4096, mmap.MAP_SHARED, mmap.PROT_READ)

    def read():
        check(os.pread(beside.reader, 4096, 0) == OLD and mapping[:] == OLD, "written already")

    beside.write_around(0, read)
    check(os.pread(beside.reader, 4096, 0) == NEW, "what was read is old")
    check(mapping[:] == NEW, "the mapping is old")
    mapping.close()
    beside.end()


def beside_one_that_grows(bed):
    """What a file has grown by is there to read as soon as its length shows it."""
    half = len(OLD) // 2
    read = {}
    for keeps in (False, True):
        beside = Beside(bed, keeps)
        os.truncate(beside.below, half)

        def read_short():
            check(os.pread(beside.reader, 4096, 0) == OLD[:half], "written already")

        def read_longer():
            check(os.fstat(beside.reader).st_size == half + len(NEW), "not so long")
            read[keeps] = os.pread(beside.reader, 4096, 0)

        beside.write_around(half, read_short, read_longer)
        beside.end()
    check(read[False] == OLD[:half] + NEW[:half], "what was written is not there")
    check(read[True] == OLD[:half] + bytes(half), "the control: no zeros where pages are kept")


CHECKS = (owners_pages_once, writers_pages_not_at_all, beside_a_writer, beside_one_that_grows)


if __name__ == "__main__":
    testbed.main(lambda: testbed.run_checks("kept", CHECKS, deadline_s=100))
