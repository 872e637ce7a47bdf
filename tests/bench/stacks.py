# SPDX-License-Identifier: GPL-2.0-or-later
"""What is measured side by side: the directory itself, migfs, and what people use today. Each stack
has a directory of its own on the same disk."""
import contextlib
import os
import shutil
import subprocess

import testbed

PEER = os.path.join(testbed.TOP_DIR, "build", "deps", "lab", "passthrough_hp")
SHARED_MIB = 16  # of random bytes


class Place:
    """One stack, mounted: where its files are seen, and the process that serves them."""

    def __init__(self, bed, name, mount):
        self.name = name
        self.source = bed.directory(f"source-{name}")
        self.mount = mount(bed, self.source)
        self.path = self.mount.path if self.mount else self.source
        self.pid = self.mount.pid if self.mount else None

    def data(self, mebibytes):
        """A file of so many random MiB, below and above."""
        name = f"data{mebibytes}"
        if not os.path.exists(os.path.join(self.source, name)):
            block = os.urandom(SHARED_MIB << 20)
            with open(os.path.join(self.source, name), "wb") as file:
                for at in range(0, mebibytes, SHARED_MIB):
                    file.write(block[:min(SHARED_MIB, mebibytes - at) << 20])
                os.fsync(file.fileno())
        return os.path.join(self.path, name)

    @contextlib.contextmanager
    def owned(self, path):
        """The file as a guest's host has it: open, and where there are owners, owned."""
        with open(path, "r+b"):
            if self.name in OWNERS:
                subprocess.run([testbed.binary("migfsctl"), "acquire", path], check=True)
            yield

    def cpu_s(self):
        """Of the server, since its start; 0 without one."""
        if self.pid is None:
            return 0.0
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_mib(self):
        if self.pid is None:
            return 0.0
        with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) / 1024


PATIENT = "deadline=60000"  # a thousand files at once


def migfs(options=""):
    return lambda bed, source: bed.mount_migfs(source, options=options)


def peer(*arguments):
    return lambda bed, source: bed.mount(
        "fuse.passthrough_hp", [PEER, *arguments, "-o", "allow_other", source, "MOUNTPOINT"],
        source, daemon=True)


def mergerfs(bed, source):
    return bed.mount("fuse.mergerfs", ["mergerfs", "-o", "allow_other,cache.files=partial", source,
                                       "MOUNTPOINT"], source, daemon=True)


def bindfs(bed, source):
    return bed.mount_bindfs(source, options="forward-odirect=512")


STACKS = {
    "native": lambda bed, source: None,
    "migfs": migfs(PATIENT),
    "migfs-threads": migfs(f"io_uring=off,{PATIENT}"),
    "migfs-passthrough": migfs(f"io=passthrough,{PATIENT}"),
    "migfs-coherence-off": migfs("coherence=off"),
    "passthrough_hp": peer(),
    "passthrough_hp-daemon": peer("--nopassthrough"),
    "bindfs": bindfs,
    "mergerfs": mergerfs,
}
OWNERS = ("migfs", "migfs-threads", "migfs-passthrough")
QUICK = ("native", "migfs", "migfs-passthrough", "bindfs")


def missing(name):
    """Why a stack cannot be had here, or None."""
    if name == "mergerfs" and not shutil.which("mergerfs"):
        return "mergerfs is not installed"
    if name.startswith("passthrough_hp") and not os.path.exists(PEER):
        return "tests/setup lab builds it"
    return None
