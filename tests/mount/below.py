#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What changes below a mount, by another host or a full disk, shows in it as it is.

below.py [CHECK]...
"""

import errno
import os
import signal
import stat
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import testbed  # noqa: E402
from testbed import check  # noqa: E402

MIB = 1 << 20


def write(path, data):
    with open(path, "wb") as file:
        file.write(data)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def errno_of(function, *arguments):
    try:
        function(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "ok"


def opened_source(bed):
    source = bed.directory("source")
    return source, bed.mount_stack(source).path


def names_come_and_go(bed):
    source, inside = opened_source(bed)
    for _ in range(50):
        check(errno_of(os.stat, inside + "/n") == "ENOENT", "is there")
        write(source + "/n", b"x")
        check(read(inside + "/n") == b"x", "another content")
        os.rename(source + "/n", source + "/m")
        check(errno_of(os.stat, inside + "/n") == "ENOENT", "the old name is still there")
        check(read(inside + "/m") == b"x", "another content")
        os.unlink(source + "/m")
        check(errno_of(os.open, inside + "/m", os.O_RDONLY) == "ENOENT", "removed, and opens")
        check(sorted(os.listdir(inside)) == [], f"lists {os.listdir(inside)}")


def replaced_file(bed):
    """A file replaced by rename below is the new one at the next open; the old open one stays."""
    source, inside = opened_source(bed)
    write(source + "/f", b"old content")
    for i in range(50):
        old = os.open(inside + "/f", os.O_RDONLY)
        before = os.pread(old, 100, 0)
        write(source + "/new", b"new %d" % i * (i % 3 + 1))
        os.rename(source + "/new", source + "/f")
        check(read(inside + "/f") == b"new %d" % i * (i % 3 + 1), f"round {i}: stale content")
        check(os.stat(inside + "/f").st_ino == os.stat(source + "/f").st_ino, "another inode number")
        check(os.pread(old, 100, 0) == before, f"round {i}: the open file changed")
        check(os.fstat(old).st_size == len(before), "the open file's length changed")
        os.close(old)


def reused_inode_number(bed):
    """The disk gives a removed file's number to the next: it is another file, type and content."""
    source, inside = opened_source(bed)
    reused = 0
    makers = (lambda p: write(p, b"a file"), os.mkdir, lambda p: os.symlink("target", p), os.mkfifo,
              lambda p: write(p, b"another, longer file"))
    removers = (os.unlink, os.rmdir, os.unlink, os.unlink, os.unlink)
    last = None
    for i in range(200):
        kind = i % len(makers)
        name = f"{source}/n{i}"
        makers[kind](name)
        below, above = os.lstat(name), os.lstat(f"{inside}/n{i}")
        reused += below.st_ino == last
        last = below.st_ino
        check((stat.S_IFMT(above.st_mode), above.st_ino, above.st_size, above.st_ctime_ns) ==
              (stat.S_IFMT(below.st_mode), below.st_ino, below.st_size, below.st_ctime_ns),
              f"round {i}: {above} for {below}")
        if kind in (0, 4):
            check(read(f"{inside}/n{i}") == read(name), f"round {i}: stale content")
        if kind == 2:
            check(os.readlink(f"{inside}/n{i}") == "target", "another target")
        removers[kind](name)
        check(errno_of(os.lstat, f"{inside}/n{i}") == "ENOENT", "removed, and there")
    print(f"{reused} numbers used again")


def reused_while_open(bed):
    """As above while the mount holds the old file open: the two stay apart."""
    source, inside = opened_source(bed)
    for i in range(50):
        write(source + "/f", b"first %d" % i)
        fd = os.open(inside + "/f", os.O_RDWR)
        os.unlink(source + "/f")
        write(source + "/f", b"second %d, longer" % i)
        check(read(inside + "/f") == b"second %d, longer" % i, "stale content")
        check(os.pread(fd, 100, 0) == b"first %d" % i, "the open file changed")
        os.pwrite(fd, b"F", 0)
        check(read(source + "/f") == b"second %d, longer" % i, "the write went to the other file")
        os.close(fd)
        os.unlink(inside + "/f")
        check(errno_of(os.stat, source + "/f") == "ENOENT", "not removed")


def changed_attributes(bed):
    source, inside = opened_source(bed)
    write(source + "/f", b"content")
    os.mkdir(source + "/d")
    for i in range(50):
        os.chmod(source + "/f", 0o600 + i)
        os.truncate(source + "/f", 1000 + i)
        os.utime(source + "/f", ns=(i, 10**18 + i))
        os.chown(source + "/d", i, i + 1)
        os.setxattr(source + "/f", "user.n", b"%d" % i)
        status, directory = os.stat(inside + "/f"), os.stat(inside + "/d")
        check((stat.S_IMODE(status.st_mode), status.st_size, status.st_mtime_ns) ==
              (0o600 + i, 1000 + i, 10**18 + i), f"round {i}: stale {status}")
        check((directory.st_uid, directory.st_gid) == (i, i + 1), f"round {i}: stale {directory}")
        check(os.getxattr(inside + "/f", "user.n") == b"%d" % i, "stale attribute")
        os.link(source + "/f", f"{source}/l{i}")
        check(os.stat(inside + "/f").st_nlink == i + 2, "stale links")


def changed_content(bed):
    """What is written below is read by the next open: close-to-open, as NFS promises."""
    source, inside = opened_source(bed)
    for i in range(50):
        data = b"%d" % (i % 10) * (10000 - 100 * i)
        write(source + "/f", data)
        check(read(inside + "/f") == data, f"round {i}: stale content after a new open")
    size = os.path.getsize(source + "/f")
    fd = os.open(inside + "/f", os.O_RDONLY)
    with open(source + "/f", "ab") as file:
        file.write(b"grown")
    check(os.fstat(fd).st_size == size + 5, "a growth below does not show")
    check(os.lseek(fd, 0, os.SEEK_END) == size + 5, "a growth below is not sought")
    check(os.pread(fd, 100, size) == b"grown", "a growth below is not read")
    os.close(fd)


def moved_directory(bed):
    """A directory moved below while files in it are open and it is somebody's current directory."""
    source, inside = opened_source(bed)
    os.makedirs(source + "/a/b")
    write(source + "/a/b/f", b"content")
    directory = os.open(inside + "/a/b", os.O_RDONLY)
    fd = os.open(inside + "/a/b/f", os.O_RDWR)
    os.mkdir(source + "/c")
    os.rename(source + "/a/b", source + "/c/moved")
    check(read(inside + "/c/moved/f") == b"content", "not at its new place")
    check(errno_of(os.stat, inside + "/a/b") == "ENOENT", "still at its old place")
    os.pwrite(fd, b"C", 0)
    check(os.fstat(fd).st_size == 7, "the open file")
    inner = os.open("f", os.O_RDONLY, dir_fd=directory)
    check(os.pread(inner, 7, 0) == b"Content", "relative to the open directory")
    os.mkdir("new", dir_fd=directory)
    check(os.path.isdir(source + "/c/moved/new"), "made elsewhere")
    os.rename(source + "/c/moved", source + "/a/b")
    os.rename(inside + "/a/b/f", inside + "/c/f")
    check(read(source + "/c/f") == b"Content", "moved elsewhere")
    for descriptor in (directory, fd, inner):
        os.close(descriptor)


def mount_below(bed):
    """Another filesystem below SOURCE is crossed as it is, with its own files and numbers."""
    source = bed.directory("source")
    os.mkdir(source + "/other")
    bed.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", source + "/other"])
    write(source + "/other/f", b"in another filesystem")
    write(source + "/g", b"g")
    inside = bed.mount_stack(source).path
    check(read(inside + "/other/f") == b"in another filesystem", "not crossed")
    check(errno_of(os.link, inside + "/g", inside + "/other/g") == "EXDEV", "linked across")
    check(errno_of(os.rename, inside + "/g", inside + "/other/g") == "EXDEV", "renamed across")
    write(inside + "/other/h", b"h")
    check(read(source + "/other/h") == b"h", "written elsewhere")
    check(sorted(os.listdir(inside + "/other")) == ["f", "h"], f"{os.listdir(inside + '/other')}")
    check(os.statvfs(inside + "/other").f_blocks * os.statvfs(inside + "/other").f_frsize == 4 * MIB,
          "statfs of another filesystem")


def never_outside(bed):
    """Names that lead out of SOURCE do not: links are followed by the caller, not by the daemon."""
    source, inside = opened_source(bed)
    write(bed.root + "/secret", b"secret")
    os.symlink("../secret", source + "/relative")
    os.symlink(bed.root + "/secret", source + "/absolute")
    os.symlink("/", source + "/root")
    check(os.readlink(inside + "/relative") == "../secret", "another target")
    check(os.stat(inside + "/..").st_ino == os.stat(bed.root).st_ino, "the parent of the root")
    check(read(inside + "/absolute") == b"secret", "the kernel follows absolute links")
    check(errno_of(os.chown, inside + "/relative", 0, 0) == "ok", "relative to the mountpoint")
    os.lchown(inside + "/absolute", 5, 5)
    check(os.stat(bed.root + "/secret").st_uid == 0, "the target was changed")
    check(os.lstat(source + "/absolute").st_uid == 5, "the link was not changed")


def disk_full(bed):
    """ENOSPC reaches the caller, whatever was acknowledged is there, and it goes on afterwards."""
    source = bed.directory("source")
    bed.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", source])
    inside = bed.mount_stack(source).path
    write(inside + "/ballast", b"b" * MIB)
    fd = os.open(inside + "/f", os.O_RDWR | os.O_CREAT, 0o600)
    acknowledged, error = 0, None
    while acknowledged < 16 * MIB:
        try:
            acknowledged += os.pwrite(fd, bytes([acknowledged // 4096 % 251]) * 4096, acknowledged)
        except OSError as failure:
            error = failure.errno
            break
    check(error == errno.ENOSPC, f"error {error} after {acknowledged} bytes")
    check(errno_of(write, inside + "/g", b"x" * 100000) == "ENOSPC", "another file")
    check(errno_of(os.posix_fallocate, fd, 0, 32 * MIB) == "ENOSPC", "fallocate")
    os.fsync(fd)
    for data in (read(inside + "/f"), read(source + "/f")):
        check(len(data) == acknowledged, f"{len(data)} bytes of {acknowledged}")
        check(all(data[at] == at // 4096 % 251 for at in range(0, len(data), 4096)), "content")
    os.truncate(inside + "/ballast", 0)
    check(os.pwrite(fd, b"after", acknowledged) == 5, "does not go on")
    os.close(fd)


MAPPER = """
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
os.ftruncate(fd, 8 << 20)
mapping = mmap.mmap(fd, 8 << 20)
for at in range(0, 8 << 20, 4096):
    mapping[at] = 1
try:
    mapping.flush()
except OSError as error:
    os._exit(error.errno)
os._exit(0)
"""


def disk_full_mapped(bed):
    """Mapped pages that find no room: the access or msync says so."""
    source = bed.directory("source")
    bed.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", source])
    inside = bed.mount_stack(source).path
    ended = bed.run([sys.executable, "-c", MAPPER, inside + "/f"], expect=None).returncode
    check(ended in (errno.ENOSPC, errno.EIO, -signal.SIGBUS),
          f"status {ended}: acknowledged what has no room")


CHECKS = (names_come_and_go, replaced_file, reused_inode_number, reused_while_open,
          changed_attributes, changed_content, moved_directory, mount_below, never_outside, disk_full,
          disk_full_mapped)


if __name__ == "__main__":
    testbed.main(lambda: testbed.run_checks("below", CHECKS))
