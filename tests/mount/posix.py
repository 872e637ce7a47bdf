#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The POSIX suite: the same calls on the backing filesystem and on a mount of it answer the same.

posix.py [--user] [--control] [--huge] [CASE]...

  --user     as an unprivileged user with supplementary groups, instead of root
  --control  by bindfs, and it must deviate: what shows that the suite can tell
  --huge     with directories of 50,000 entries

Runs posix (tests/mount/posix) in a directory of the disk and in the mount of its sibling, compares
what both print line by line, then the two trees they left behind, the mount's as the backing
filesystem shows it.
"""

import difflib
import hashlib
import os
import re
import stat
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import testbed  # noqa: E402
from testbed import Testbed, check  # noqa: E402

HUGE_CASES = {"shrinking_huge"}

# What FUSE's kernel side decides alone, so that no daemon can do better: the lines that the mount
# prints, where they differ from those of the backing filesystem. Listed in migfs(8), too.
KERNEL_DECIDES = {
    # fs/fuse/file.c, fuse_file_fallocate(): any mode but keep-size, punch and zero: EOPNOTSUPP
    "collapse_insert": {
        "fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, BLOCK, BLOCK) = EOPNOTSUPP",
        "fallocate(fd, FALLOC_FL_INSERT_RANGE, BLOCK, BLOCK) = EOPNOTSUPP",
    },
    # fs/fuse/inode.c: s_maxbytes is MAX_LFS_FILESIZE, whatever the backing filesystem can hold
    "offset_largest": {
        "lseek(fd, 1LL << 60, SEEK_SET) = 1152921504606846976",
        "lseek(fd, LLONG_MAX, SEEK_SET) = 9223372036854775807",
    },
    # fs/fuse/inode.c, fuse_change_attributes(): an extending write marks the length as unstable, so
    # that attributes asked for meanwhile reach the caller of stat but not the page cache
    "length_ahead_of_read": {"ahead at times"},
    # fs/fuse/file.c, fuse_direct_io(): the request carries the data, not where it lay in memory
    "direct_memory": {
        "pread(fd, memory + alignments[i], 8192, 4096) = 8192",
        "pwrite(fd, memory + alignments[i], 8192, 4096) = 8192",
    },
    # fs/fuse/dir.c, fuse_permission(): without default_permissions the way to a name is not checked
    # by the kernel but with the call itself: of two errors, another one comes first
    "path_rights": {'rename("elsewhere", path) = ENOENT'},
    # fs/fuse/inode.c, fuse_change_attributes_common(): the kernel is not told the sticky bit, so that
    # fs.protected_fifos does not see it; fs.protected_regular holds, below
    "sticky": {'open("sticky/fifo", O_CREAT | O_RDWR | O_NONBLOCK, 0600) = open'},
    # fs/fuse/dev.c, fuse_get_req(): a request has its caller's ids, not what capabilities are left of
    # root's
    "capabilities_dropped": {
        'open("closed", O_RDWR) = open',
        'chmod("foreign", 0600) = 0',
        'chown("foreign", 5, 5) = 0',
        'unlink("dir/x") = 0',
    },
    # a read from past the length that the kernel knows ends there: no request, no atime
    "times_moved": {"pread(fd, text, 4, 100) moves of file"},
    # libfuse before 3.18 has no FUSE_STATX; without it the kernel has no birth time to give
    "birth_time": {"birth time given 0"},
}
# What they leave behind follows from that.
UNLIKE_TREES = {"collapse_insert", "capabilities_dropped"}


def program_lines(bed, program, directory, cases, as_user):
    result = bed.run([program, directory] + cases, as_user=as_user, expect=None)
    check(result.returncode == 0, f"posix ended with {result.returncode}: {result.stderr}")
    check(not result.stderr, f"posix says: {result.stderr}")
    return result.stdout.splitlines()


def by_case(lines):
    cases = {}
    for line in lines:
        name, _, text = line.partition(": ")
        cases.setdefault(name, []).append(text)
    return cases


BLOCKS = re.compile(r" blocks (\d+)")
BLOCKS_TOLERANCE = 16  # two blocks of the extent tree: they depend on where the disk had room


def same_blocks(expected, got):
    """got, with its numbers of blocks replaced by the expected ones where they are near."""
    if len(expected) != len(got):
        return got
    result = []
    for wanted, line in zip(expected, got):
        one, other = BLOCKS.search(wanted), BLOCKS.search(line)
        if one and other and abs(int(one[1]) - int(other[1])) <= BLOCKS_TOLERANCE:
            line = BLOCKS.sub(one[0], line)
        result.append(line)
    return result


def deviations(native, mounted):
    """[(case, diff lines)] of the cases that answer otherwise than the backing filesystem."""
    found = []
    expected, got = by_case(native), by_case(mounted)
    for case in sorted(set(expected) | set(got)):
        wanted = expected.get(case, [])
        answered = same_blocks(wanted, got.get(case, []))
        differing = list(difflib.unified_diff(wanted, answered, "backing", "mount", n=2,
                                              lineterm=""))
        allowed = KERNEL_DECIDES.get(case, set())
        added = {line[1:] for line in differing[2:] if line.startswith("+")}
        if differing and (not allowed or not drop_digests(added) <= allowed):
            found.append((case, differing))
    return found


def drop_digests(lines):
    return {line for line in lines if not line.startswith("content of ")}


def describe(path):
    """What must be the same of a file in both trees."""
    status = os.lstat(path)
    described = [stat.filemode(status.st_mode), status.st_uid, status.st_gid]
    if not stat.S_ISDIR(status.st_mode):
        described += [status.st_size, status.st_nlink, status.st_rdev]
    described.append(sorted((name, os.getxattr(path, name, follow_symlinks=False))
                            for name in os.listxattr(path, follow_symlinks=False)))
    if stat.S_ISLNK(status.st_mode):
        described.append(os.readlink(path))
    if stat.S_ISREG(status.st_mode) and status.st_size < 8 << 20:
        with open(path, "rb") as file:
            described.append(hashlib.sha256(file.read()).hexdigest())
    return described


def tree(root):
    described = {}
    for directory, subdirectories, files in os.walk(os.fsencode(root)):
        for name in subdirectories + files:
            path = os.path.join(directory, name)
            described[os.path.relpath(path, os.fsencode(root))] = describe(path)
    return described


def compare_trees(native, source):
    expected, got = tree(native), tree(source)
    for path in sorted(set(expected) | set(got)):
        if os.fsdecode(path).split("/")[0] in UNLIKE_TREES:
            continue
        check(expected.get(path) == got.get(path),
              f"left behind, {path!r}:\n  backing {expected.get(path)}\n  mount   {got.get(path)}")


def no_leftovers(directory):
    """FUSE's own way of keeping an unlinked open file: renaming it where everybody sees it."""
    for _, _, files in os.walk(directory):
        check(not [name for name in files if name.startswith(".fuse_hidden")],
              ".fuse_hidden files left behind")


def run():
    as_user = "--user" in sys.argv
    control = "--control" in sys.argv
    huge = "--huge" in sys.argv
    wanted = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    testbed.require_root()
    testbed.require_fuse()
    with Testbed("posix", deadline_s=300 if huge else 240) as bed:
        program = bed.install("posix")
        listed = bed.run([program, "--list"]).stdout.split()
        cases = [case for case in listed
                 if (case in wanted if wanted else huge or case not in HUGE_CASES)]
        native = bed.directory("native/work")
        source = bed.directory("source/work")
        os.umask(0o022)
        for directory in (native, source):
            os.chmod(directory, 0o755)
            if as_user:
                os.chown(directory, testbed.USER_UID, testbed.USER_GID)
        if control:
            mount = bed.mount_bindfs(os.path.dirname(source))
        else:
            mount = bed.mount_stack(os.path.dirname(source))
        expected = program_lines(bed, program, native, cases, as_user)
        got = program_lines(bed, program, os.path.join(mount.path, "work"), cases, as_user)
        found = deviations(expected, got)
        if control:
            check(found, "bindfs answers as the backing filesystem does: the suite cannot tell")
            print(f"bindfs deviates in {len(found)} cases")
            mount.abort()
            return
        for case, lines in found:
            print(f"--- {case}")
            print("\n".join(lines[2:60]))
        no_leftovers(source)
        check(not found, f"{len(found)} of {len(cases)} cases deviate: "
              + " ".join(case for case, _ in found))
        compare_trees(native, source)
        print(f"{len(cases)} cases, {len(expected)} answers")


if __name__ == "__main__":
    testbed.main(run)
