#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Ordinary tools on a mount leave what they leave on the disk: contents, modes, times, holes.

tools.py [--large] [CHECK]...

  --large  with trees of 10,000 files, cloned twice
"""

import hashlib
import os
import random
import shutil
import sqlite3
import stat
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import testbed  # noqa: E402
from testbed import Testbed, TestFailure, check  # noqa: E402

LARGE = "--large" in sys.argv
TREE_FILES = 10000 if LARGE else 300
SQLITE_PROCESSES, SQLITE_ROUNDS = 6, 25
MIB = 1 << 20


class Stage:
    """The same work on the disk and in a mount: native, inside (the mount) and behind (its source)."""

    def __init__(self, bed):
        self.bed = bed
        self.native = bed.directory("native")
        self.behind = bed.directory("source")
        self.mount = bed.mount_stack(self.behind)
        self.inside = self.mount.path
        self.material = bed.directory("material")

    def both(self, work):
        """Does the work on the disk and in the mount, then compares what was left."""
        work(self.native)
        work(self.inside)
        self.compare(self.native, self.inside)
        self.compare(self.native, self.behind)

    def compare(self, expected, got):
        one, other = tree(expected), tree(got)
        other.pop(".migfs", None)
        for path in sorted(set(one) | set(other)):
            check(one.get(path) == other.get(path),
                  f"{path!r} in {os.path.basename(got)}:\n  expected {one.get(path)}"
                  f"\n  got      {other.get(path)}")


def describe(path):
    status = os.lstat(path)
    described = [stat.filemode(status.st_mode), status.st_uid, status.st_gid]
    if not stat.S_ISDIR(status.st_mode):
        described += [status.st_size, status.st_nlink, status.st_rdev]
    described.append({name: os.getxattr(path, name, follow_symlinks=False)
                      for name in os.listxattr(path, follow_symlinks=False)})
    if status.st_mtime_ns < 1_500_000_000 * 10**9:  # set by the material, not by the clock
        described.append(status.st_mtime_ns)
    if stat.S_ISLNK(status.st_mode):
        described.append(os.readlink(path))
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as file:
            described.append(hashlib.file_digest(file, "sha256").hexdigest()
                             if hasattr(hashlib, "file_digest")
                             else hashlib.sha256(file.read()).hexdigest())
    return described


def tree(root):
    described = {}
    for directory, subdirectories, files in os.walk(root):
        if directory == root and ".migfs" in subdirectories:
            subdirectories.remove(".migfs")
        for name in subdirectories + files:
            path = os.path.join(directory, name)
            described[os.path.relpath(path, root)] = describe(path)
    return described


def blocks(path):
    return os.stat(path).st_blocks


def material(stage):
    """A tree with everything that a copier may lose."""
    root = os.path.join(stage.material, "tree")
    generator = random.Random(3)
    for i in range(60):
        directory = os.path.join(root, f"d{i % 7}", f"e{i % 3}")
        os.makedirs(directory, exist_ok=True)
        path = os.path.join(directory, f"file {i}")
        with open(path, "wb") as file:
            file.write(generator.randbytes(generator.randrange(100000)))
        os.chmod(path, generator.choice((0o644, 0o600, 0o755, 0o4755, 0o2755, 0o444)))
        if i % 5 == 0:
            os.setxattr(path, "user.note", generator.randbytes(50))
        if i % 7 == 0:
            os.chown(path, 1000, 1001)
        if i % 9 == 0:
            os.link(path, path + " linked")
        os.utime(path, ns=(1_000_000_000_000_000_001 + i, 1_100_000_000_123_456_789 + i))
    os.symlink("d0/e0", os.path.join(root, "link"))
    os.symlink("nowhere", os.path.join(root, "dangling"))
    os.utime(os.path.join(root, "dangling"), ns=(1, 1_111_111_111_222_333_444),
             follow_symlinks=False)
    os.mkfifo(os.path.join(root, "fifo"), 0o640)
    os.mknod(os.path.join(root, "device"), stat.S_IFCHR | 0o600, os.makedev(1, 3))
    with open(os.path.join(root, "sparse"), "wb") as file:
        for at in (0, 5 * MIB, 11 * MIB + 4096):
            file.seek(at)
            file.write(b"data" * 1024)
        file.truncate(20 * MIB)
    with open(os.path.join(root, "\xff\n name".encode("latin-1").decode("utf-8", "surrogateescape")),
              "wb") as file:
        file.write(b"x")
    subprocess.run(["setfacl", "-m", "u:1000:rwx,g:1002:r", os.path.join(root, "d1")], check=True)
    subprocess.run(["setfacl", "-d", "-m", "u:1000:rw,o:-", os.path.join(root, "d1")], check=True)
    os.chmod(os.path.join(root, "d2"), 0o2775)
    os.chmod(os.path.join(root, "d3"), 0o1777)
    for directory, _, _ in os.walk(root, topdown=False):
        os.utime(directory, ns=(5, 1_234_567_890_000_000_007))
    return root


def holes_kept(stage, name):
    expected, got = blocks(os.path.join(stage.native, name)), blocks(os.path.join(stage.inside, name))
    check(got < 2 * MIB // 512, f"{name}: {got} blocks, a hole is filled (disk: {expected})")


def cp(stage):
    testbed.require_tools("setfacl")
    root = material(stage)
    stage.both(lambda target: stage.bed.run(["cp", "-a", root, target + "/copy"]))
    holes_kept(stage, "copy/sparse")
    # within the mount, and out of it again
    stage.both(lambda target: stage.bed.run(
        ["cp", "-a", "--sparse=auto", target + "/copy", target + "/again"]))
    holes_kept(stage, "again/sparse")
    stage.bed.run(["cp", "-a", stage.inside + "/again", stage.material + "/out"])
    stage.compare(root, stage.material + "/out")
    stage.both(lambda target: stage.bed.run(["rm", "-r", target + "/again"]))


def rsync(stage):
    testbed.require_tools("rsync", "setfacl")
    root = material(stage)

    def sync(target):
        stage.bed.run(["rsync", "-aHAXS", root + "/", target + "/copy/"])
    stage.both(sync)
    holes_kept(stage, "copy/sparse")
    again = stage.bed.run(["rsync", "-aHAXSi", root + "/", stage.inside + "/copy/"]).stdout
    check(again == "", f"a second run still has to do:\n{again}")
    with open(os.path.join(root, "d0/e0/file 0"), "ab") as file:
        file.write(b"changed")
    os.unlink(os.path.join(root, "link"))

    def update(target):
        stage.bed.run(["rsync", "-aHAX", "--delete", "--inplace", root + "/", target + "/copy/"])
    stage.both(update)


def tar(stage):
    testbed.require_tools("tar", "setfacl")
    root = material(stage)
    archive = os.path.join(stage.material, "tree.tar")
    options = ["--xattrs", "--xattrs-include=*", "--acls", "--sparse", "--numeric-owner"]
    stage.bed.run(["tar", "-C", root, "-cf", archive, *options, "."])

    def unpack(target):
        os.mkdir(target + "/copy")
        stage.bed.run(["tar", "-C", target + "/copy", "-xpf", archive, *options])
    stage.both(unpack)
    holes_kept(stage, "copy/sparse")
    stage.bed.run(["tar", "-C", stage.inside + "/copy", "-df", archive, *options])
    for target in (stage.native, stage.inside):
        stage.bed.run(["tar", "-C", target + "/copy", "--sort=name", "-cf", target + "/packed.tar",
                       *options, "."])
    os.mkdir(stage.material + "/repacked")
    stage.bed.run(["tar", "-C", stage.material + "/repacked", "-xpf", stage.inside + "/packed.tar",
                   *options])
    stage.compare(root, stage.material + "/repacked")


def git(stage):
    testbed.require_tools("git")
    repository = os.path.join(stage.material, "repository")
    home = {"HOME": stage.material, "GIT_CONFIG_NOSYSTEM": "1", "GIT_AUTHOR_DATE": "1500000000 +0000",
            "GIT_COMMITTER_DATE": "1500000000 +0000"}
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "gc.auto=0",
                "-c", "safe.directory=*"]

    def run(*arguments):
        return stage.bed.run(["git", *identity, *arguments], env=home).stdout
    generator = random.Random(4)
    for i in range(TREE_FILES):
        directory = os.path.join(repository, f"d{i % 40}", f"e{i % 11}")
        os.makedirs(directory, exist_ok=True)
        with open(os.path.join(directory, f"f{i}"), "wb") as file:
            file.write(generator.randbytes(generator.randrange(2000)))
    run("init", "-q", "-b", "main", repository)
    run("-C", repository, "add", "-A")
    run("-C", repository, "commit", "-q", "-m", "all")
    head = run("-C", repository, "rev-parse", "HEAD^{tree}")
    for name in ("one", "two") if LARGE else ("one",):
        clone = os.path.join(stage.inside, name)
        run("clone", "-q", "--no-hardlinks", repository, clone)
        check(run("-C", clone, "status", "--porcelain") == "", f"{name} is not clean")
        run("-C", clone, "fsck", "--strict")
        with open(os.path.join(clone, "d0", "new"), "wb") as file:
            file.write(b"new\n")
        shutil.rmtree(os.path.join(clone, "d1"))
        run("-C", clone, "add", "-A")
        run("-C", clone, "commit", "-q", "-m", "change")
        run("-C", clone, "gc", "-q")
        run("-C", clone, "checkout", "-q", "HEAD~1")
        check(run("-C", clone, "write-tree") == head, f"{name}: another tree")
        check(run("-C", clone, "status", "--porcelain") == "", f"{name} is not clean")
    one = tree(os.path.join(stage.inside, "one"))
    check({path: one[path] for path in one if not path.startswith(".git")} ==
          {path: d for path, d in tree(os.path.join(stage.behind, "one")).items()
           if not path.startswith(".git")}, "another tree behind the mount")
    stage.bed.run(["rm", "-rf", os.path.join(stage.inside, "one")])


SQLITE_WORKER = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
database.execute("pragma synchronous=off" if sys.argv[4] == "fast" else "pragma synchronous=full")
for i in range(int(sys.argv[3])):
    database.execute("begin immediate")
    (balance,) = database.execute("select balance from account").fetchone()
    database.execute("insert into entry values (?, ?, ?)", (int(sys.argv[2]), i, balance))
    database.execute("update account set balance = ?", (balance + 1,))
    database.execute("commit")
"""


def sqlite(stage):
    """Many processes in one database, by rollback journal and by WAL: no update is lost."""
    for journal in ("delete", "wal"):
        path = os.path.join(stage.inside, f"{journal}.db")
        database = sqlite3.connect(path)
        mode = database.execute(f"pragma journal_mode={journal}").fetchone()[0]
        check(mode == journal, f"journal {mode}, not {journal}")
        database.execute("create table account (balance integer)")
        database.execute("insert into account values (0)")
        database.execute("create table entry (process integer, number integer, balance integer)")
        database.commit()
        database.close()
        workers = [stage.bed.spawn([sys.executable, "-c", SQLITE_WORKER, path, i, SQLITE_ROUNDS,
                                    "fast"], stderr=subprocess.PIPE, text=True)
                   for i in range(SQLITE_PROCESSES)]
        for worker in workers:
            _, err = worker.communicate()
            check(worker.returncode == 0, f"{journal}: {err}")
        for where in (path, os.path.join(stage.behind, f"{journal}.db")):
            database = sqlite3.connect(where)
            total = SQLITE_PROCESSES * SQLITE_ROUNDS
            check(database.execute("select balance from account").fetchone() == (total,),
                  f"{journal}: updates are lost")
            check(database.execute("select count(distinct balance) from entry").fetchone()
                  == (total,), f"{journal}: entries are lost")
            check(database.execute("pragma integrity_check").fetchone() == ("ok",),
                  f"{journal}: integrity")
            database.close()


def qemu_img(stage):
    testbed.require_tools("qemu-img", "qemu-io")
    raw = os.path.join(stage.material, "input.raw")
    with open(raw, "wb") as file:
        generator = random.Random(5)
        for at in (0, 3 * MIB, 9 * MIB, 15 * MIB):
            file.seek(at)
            file.write(generator.randbytes(MIB // 2))
        file.truncate(16 * MIB)
    digest = hashlib.sha256(open(raw, "rb").read()).hexdigest()

    def image(*arguments, expect=0):
        return stage.bed.run(["qemu-img", *arguments], expect=expect).stdout

    def content(path, kind):
        out = os.path.join(stage.material, "output.raw")
        image("convert", "-f", kind, "-O", "raw", path, out)
        return hashlib.sha256(open(out, "rb").read()).hexdigest()

    for kind in ("raw", "qcow2"):
        for cache in ("none", "writeback"):
            path = os.path.join(stage.inside, f"{kind}-{cache}")
            image("convert", "-f", "raw", "-O", kind, "-t", cache, "-T", cache, raw, path)
            check(content(path, kind) == digest, f"{kind} {cache}: another content")
            behind = os.path.join(stage.behind, f"{kind}-{cache}")
            check(content(behind, kind) == digest, f"{kind} {cache}: another content behind")
            check(blocks(behind) < 4 * MIB // 512, f"{kind} {cache}: holes are filled")
            image("compare", "-f", "raw", "-F", kind, raw, path)
    base = os.path.join(stage.inside, "qcow2-none")
    image("check", base)
    overlay = os.path.join(stage.inside, "overlay")
    image("create", "-f", "qcow2", "-F", "qcow2", "-b", base, overlay)
    stage.bed.run(["qemu-io", "-f", "qcow2", "-c", "write -P 0x5a 1M 700k", "-c", "flush", overlay])
    image("snapshot", "-c", "before", overlay)
    stage.bed.run(["qemu-io", "-f", "qcow2", "-c", "write -P 0xa5 1M 700k",
                   "-c", "write -z 9M 512k", "-c", "discard 3M 512k", overlay])
    image("check", overlay)
    check("before" in image("snapshot", "-l", overlay), "the snapshot is not listed")
    image("snapshot", "-a", "before", overlay)
    stage.bed.run(["qemu-io", "-f", "qcow2", "-c", "read -P 0x5a 1M 700k", overlay])
    image("snapshot", "-d", "before", overlay)
    image("check", overlay)
    image("commit", "-f", "qcow2", overlay)
    stage.bed.run(["qemu-io", "-f", "qcow2", "-c", "read -P 0x5a 1M 700k", base])
    image("check", base)
    image("resize", "-f", "qcow2", base, "32M")
    image("resize", "-f", "raw", os.path.join(stage.inside, "raw-none"), "20M")
    check(os.stat(os.path.join(stage.behind, "raw-none")).st_size == 20 * MIB, "not resized")
    for preallocation in ("off", "falloc", "full"):
        path = os.path.join(stage.inside, "new-" + preallocation)
        image("create", "-f", "raw", "-o", f"preallocation={preallocation}", path, "4M")
        check((blocks(path) >= 4 * MIB // 512) == (preallocation != "off"),
              f"{preallocation}: {blocks(path)} blocks")
    # an odd length: where an unaligned request is let pass, QEMU lengthens such images
    odd = os.path.join(stage.inside, "odd")
    with open(odd, "wb") as file:
        file.write(os.urandom(MIB + 512))
    image("convert", "-f", "raw", "-O", "raw", "-t", "none", "-T", "none", odd, odd + "2")
    check(os.stat(odd).st_size == MIB + 512, "the image was lengthened")


def fio(stage):
    testbed.require_tools("fio")
    for name, options in (
            ("direct", ["--direct=1", "--ioengine=libaio", "--iodepth=8", "--rw=randwrite"]),
            ("buffered", ["--direct=0", "--ioengine=psync", "--rw=randwrite", "--fsync=32"]),
            ("mapped", ["--ioengine=mmap", "--rw=randwrite"]),
            ("mixed", ["--direct=0", "--ioengine=sync", "--rw=randrw", "--bsrange=512-70000",
                       "--bs_unaligned"])):
        job = ["--bs=4k"] if name != "mixed" else []
        result = stage.bed.run(
            ["fio", f"--name={name}", f"--directory={stage.inside}", "--size=8M", "--verify=crc32c",
             "--verify_fatal=1", "--randseed=7", "--thread", "--numjobs=2", *job, *options],
            expect=None, cwd=stage.material)
        check(result.returncode == 0, f"{name}: {result.stdout[-1500:]}{result.stderr[-1500:]}")


CHECKS = (cp, rsync, tar, git, sqlite, qemu_img, fio)


def run():
    wanted = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    testbed.require_root()
    testbed.require_fuse()
    os.umask(0o022)
    failed, skipped = [], []
    for function in CHECKS:
        if wanted and function.__name__ not in wanted:
            continue
        try:
            with Testbed("tools", deadline_s=600 if LARGE else 90) as bed:
                function(Stage(bed))
        except (TestFailure, OSError, sqlite3.Error, subprocess.SubprocessError) as failure:
            failed.append(function.__name__)
            print(f"{function.__name__}: {failure}", flush=True)
        except SystemExit as ended:
            if ended.code != testbed.EXIT_SKIPPED:
                raise
            skipped.append(function.__name__)
    check(not failed, f"{len(failed)} of {len(CHECKS)} checks: {' '.join(failed)}")
    if skipped:
        testbed.skip("tools missing for " + " ".join(skipped))


if __name__ == "__main__":
    testbed.main(run)
