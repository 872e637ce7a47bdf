# SPDX-License-Identifier: GPL-2.0-or-later
"""What is measured side by side: the directory itself, migfs, and what people use today. Each stack
has a directory of its own on the same disk."""
import contextlib
import dataclasses
import os
import shutil
import subprocess

import guests
import testbed

# Where tests/setup builds libfuse's examples.
PEERS = (os.environ.get("MIGFS_PEER_DIR")
         or os.path.join(testbed.TOP_DIR, "build", "deps", "lab"))
SHARED_MIB = 16  # of random bytes


class Place:
    """One stack, mounted: where its files are seen, and the process that serves them. A share for
    guests is mounted by those: it has a socket, and no files here but those below."""

    def __init__(self, bed, name, mount):
        self.bed = bed
        self.name = name
        self.source = bed.directory(f"source-{name}")
        self.mount = mount(bed, self.source)
        self.path = self.mount.path if self.mount else self.source
        self.pid = self.mount.pid if self.mount else None
        self.share = self.path if isinstance(self.mount, Share) else None
        self.path = self.source if self.share else self.path
        self.machine = None

    def guest(self, mebibytes):
        """A guest that runs here, on a disk of so many MiB; from the first call on."""
        if not self.machine:
            self.machine = guests.Machine(self.bed, self, self.data(mebibytes, "guest"))
        return self.machine

    def end_guest(self):
        if self.machine:
            self.machine.end()
        self.machine = None

    def data(self, mebibytes, name=None):
        """A file of so many random MiB, below and above."""
        name = name or f"data{mebibytes}"
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
        """Of the server and its children, since its start; 0 without one."""
        return cpu_s(self.pid) if self.pid else 0.0


def cpu_s(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        children = file.read().split()
    return ((int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            + sum(cpu_s(child) for child in children))


PATIENT = "deadline=60000"  # a thousand files at once


def migfs(options=""):
    return lambda bed, source: bed.mount_migfs(source, options=options)


def peer(*arguments):
    return lambda bed, source: bed.mount(
        "fuse.passthrough_hp", [os.path.join(PEERS, "passthrough_hp"), *arguments,
                                "-o", "allow_other", source, "MOUNTPOINT"], source, daemon=True)


def passthrough_ll(bed, source):
    """Asks for each name and all attributes each time, as migfs does for names."""
    return bed.mount("fuse.passthrough_ll", [os.path.join(PEERS, "passthrough_ll"), "-o",
                                             f"allow_other,timeout=0,source={source}",
                                             "MOUNTPOINT"], source, daemon=True)


def mergerfs(bed, source):
    return bed.mount("fuse.mergerfs", ["mergerfs", "-o", "allow_other,cache.files=partial", source,
                                       "MOUNTPOINT"], source, daemon=True)


def bindfs(bed, source):
    return bed.mount_bindfs(source, options="forward-odirect=512")


VIRTIOFSD_OF_QEMU = "/usr/lib/qemu/virtiofsd"  # QEMU before 8.0
VIRTIOFSD = "/usr/libexec/virtiofsd"           # the one of today, in Rust


@dataclasses.dataclass(frozen=True)
class Share:
    """What virtiofsd has in place of a mount: a socket for QEMU."""
    path: str
    pid: int


def virtiofsd(bed, source):
    path = os.path.join(bed.directory("sockets", mode=0o1777), "virtiofsd")
    if os.path.exists(VIRTIOFSD):
        arguments = [VIRTIOFSD, f"--socket-path={path}", f"--shared-dir={source}",
                     "--cache=never", "--allow-direct-io"]
    else:
        arguments = [VIRTIOFSD_OF_QEMU, f"--socket-path={path}",
                     "-o", f"source={source},cache=none,allow_direct_io"]
    log = open(bed.unique("log-virtiofsd"), "wb")
    process = bed.spawn(arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    log.close()
    testbed.wait_until(lambda: os.path.exists(path) or process.poll() is not None, 30,
                       "virtiofsd's socket")
    testbed.check(process.poll() is None, "virtiofsd did not start")
    return Share(path, process.pid)


STACKS = {
    "native": lambda bed, source: None,
    "migfs": migfs(PATIENT),
    "migfs-threads": migfs(f"io_uring=off,{PATIENT}"),
    "migfs-passthrough": migfs(f"io=passthrough,{PATIENT}"),
    "migfs-coherence-off": migfs("coherence=off"),
    "passthrough_hp": peer(),
    "passthrough_hp-daemon": peer("--nopassthrough"),
    "passthrough_ll": passthrough_ll,
    "bindfs": bindfs,
    "mergerfs": mergerfs,
    "virtiofsd": virtiofsd,
}
# The others are for the workloads that name them.
ORDINARY = tuple(name for name in STACKS if name not in ("passthrough_ll", "virtiofsd"))
IN_PICTURE = ("native", "migfs", "migfs-passthrough", "passthrough_hp-daemon", "passthrough_ll",
              "bindfs")
OWNERS = ("migfs", "migfs-threads", "migfs-passthrough")
QUICK = ("native", "migfs", "migfs-passthrough", "passthrough_ll", "bindfs")


def missing(name):
    """Why a stack cannot be had here, or None."""
    if name == "mergerfs" and not shutil.which("mergerfs"):
        return "mergerfs is not installed"
    if name.startswith("passthrough_"):
        program = name.removesuffix("-daemon")
        return None if os.path.exists(os.path.join(PEERS, program)) else "tests/setup lab builds it"
    if name == "virtiofsd" and not any(map(os.path.exists, (VIRTIOFSD, VIRTIOFSD_OF_QEMU))):
        return "neither QEMU nor a package of its own has brought it"
    return None
