# SPDX-License-Identifier: GPL-2.0-or-later
"""A host on which commands are run as they are written: with its own root, /nfs/images and name.

Its root is this machine's under an overlay of memory, in namespaces of its own, so that nothing
done there lasts, and all of it ends with one process. /nfs/images is a store that both share, by a
ctofs of its own; /exchange lies on both.
"""
import os
import shutil
import subprocess
import threading

import testbed

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
INIT = """
set -e
root=$1 name=$2 store=$3 exchange=$4 top=$5
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$root"
mkdir "$root/upper" "$root/work" "$root/root" "$root/top-upper" "$root/top-work"
mount -t overlay overlay -o "lowerdir=/,upperdir=$root/upper,workdir=$root/work" "$root/root"
if [ "$(stat -c %d /)" != "$(stat -c %d "$top")" ]; then
    mkdir -p "$root/root$top"
    mount -t overlay overlay -o \\
        "lowerdir=$top,upperdir=$root/top-upper,workdir=$root/top-work" "$root/root$top"
fi
mount --rbind /dev "$root/root/dev"
mount --rbind /sys "$root/root/sys"
mount -t proc proc "$root/root/proc"
cd "$root/root"
mkdir -p store exchange nfs/images srv/vm var/lib/libvirt/images
mount --bind "$store" store
mount --bind "$exchange" exchange
hostname "$name"
echo ready
exec sleep infinity
"""


class Place:
    """A host; `run` is its administrator's shell."""

    def __init__(self, bed, name, store, exchange):
        self.bed = bed
        self.name = name
        self.root = bed.directory(f"root.{name}")
        script = bed.unique("init")
        with open(script, "w", encoding="utf-8") as file:
            file.write(INIT)
        self.process = bed.spawn(
            ["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "sh", script,
             self.root, name, store, exchange, testbed.TOP_DIR],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if self.process.stdout.readline() != "ready\n":
            testbed.skip(f"no root of its own: {self.process.stderr.read().strip()}")
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children",
                  encoding="ascii") as file:
            self.init = file.read().split()[0]
        for program in ("migfs", "migfsctl", "ctofs"):
            self.install(f"usr/bin/{program}", testbed.binary(program))
        self.install("usr/libexec/migfs-hook", os.path.join(testbed.TOP_DIR, "package/migfs-hook"))
        self.run("ctofs /store /nfs/images")

    def inside(self, path):
        """Where that file of the host is, for this process."""
        return f"/proc/{self.init}/root{self.root}/root/{path}"

    def install(self, path, source):
        os.makedirs(os.path.dirname(self.inside(path)), exist_ok=True)
        shutil.copy(source, self.inside(path))
        os.chmod(self.inside(path), 0o755)

    def script(self, path, text):
        with open(self.inside(path), "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(self.inside(path), 0o755)

    def command(self, command, directory="/", environment=()):
        return ["nsenter", f"--target={self.init}", "--mount", "--uts", "--pid",
                "chroot", f"{self.root}/root", "env", "-i", "HOME=/root", "TERM=dumb",
                "LC_ALL=C.UTF-8", f"PATH={PATH}",
                *environment, "sh", "-ec", f'cd "{directory}"\n{command}']

    def run(self, command, expect=0, directory="/", environment=()):
        return self.bed.run(self.command(command, directory, environment), expect=expect)

    def start(self, command, directory="/"):
        """Its process is a nsenter's child: it ends with the host."""
        return self.bed.spawn(self.command(command, directory), stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True)


class Exchange:
    """Commands of a host that the test carries out itself: calls(host name, words) gives a status.

    A program on the host is a script that writes what it was asked and waits for the answer."""

    PROGRAM = """#!/bin/sh
printf '%s\\n' "$(hostname) $(basename "$0") $*" >/exchange/asked
read -r status </exchange/answer
exit "$status"
"""

    def __init__(self, bed):
        self.directory = bed.directory("exchange", mode=0o777)
        for name in ("asked", "answer"):
            os.mkfifo(os.path.join(self.directory, name))
        self.asked = []

    def serve(self, calls):
        def loop():
            while True:
                with open(os.path.join(self.directory, "asked"), encoding="utf-8") as file:
                    host, *words = file.readline().split()
                self.asked.append(" ".join(words))
                with open(os.path.join(self.directory, "answer"), "w", encoding="ascii") as file:
                    file.write(f"{calls(host, words)}\n")
        thread = threading.Thread(target=loop, daemon=True)
        thread.start()
