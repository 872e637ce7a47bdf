#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The lock suite: POSIX, OFD and flock locks on a mount behave as on the backing filesystem, and each
of them is on the backing file, where another host would meet it.

locks.py [--control] [SCENARIO]...

  --control  with coherence=off the locks stay in the kernel: inside everything is the same, and the
             observer outside sees none; shows that the observer can tell

Each scenario is played twice by the same actors (tests/mount/locks.c): on a file of the disk, and on a
file in the mount of its sibling. What the actors are answered, and what an observer on the backing
file sees, must be the same lines.
"""

import difflib
import os
import random
import select
import signal
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import testbed  # noqa: E402
from testbed import Testbed, TestFailure, check, wait_until  # noqa: E402

SPARE_SOCKETS = 2
ANSWER_TIMEOUT_S = 30

# What FUSE's kernel side decides alone (fs/fuse/file.c): FUSE_SETLK and FUSE_GETLK do not say whether
# a lock is an OFD or a POSIX one. So F_OFD_GETLK answers -1 for any holder, F_GETLK names an OFD
# lock's process, and a cycle of OFD waits looks as one of POSIX locks does. A line of the disk, and
# what may stand for it in the mount. Listed in migfs(8), too.
KERNEL_DECIDES = {
    "kinds_together": {
        "a: get ofd f R 0 1 = ok W 0 10 a": "a: get ofd f R 0 1 = ok W 0 10 -1",
        "a: get posix f W 10 1 = ok W 10 10 -1": "a: get posix f W 10 1 = ok W 10 10 b"},
    "pids": {
        "b: get ofd f W 3 1 = ok W 0 10 a": "b: get ofd f W 3 1 = ok W 0 10 -1",
        "a: get posix f W 25 1 = ok W 20 10 -1": "a: get posix f W 25 1 = ok W 20 10 b"},
    "cycle_without_deadlock": {
        "b: wait ofd f W 0 1 blocks": "b: wait ofd f W 0 1 does not block",
        "b: wait ofd f W 0 1 = EINTR": "b: wait ofd f W 0 1 = EDEADLK"},
}


def excused(scenario, expected, got):
    """expected, with the lines that the kernel answers otherwise as they came."""
    other = KERNEL_DECIDES.get(scenario, {})
    return [other[line] if line in other and other[line] in got else line for line in expected]


SYSCALL_FCNTL, SYSCALL_FLOCK = {"x86_64": ("72", "73"), "aarch64": ("25", "32")}.get(
    os.uname().machine, ("72", "73"))


class Actor:
    """A process that does what it is told; every request and answer becomes a line."""

    def __init__(self, stage, name, channel, spares, process=None, pid=None):
        self.stage = stage
        self.name = name
        self.channel = channel
        self.spares = spares
        self.process = process
        self.pid = pid if pid is not None else process.pid
        self.pending = None
        stage.actors.append(self)

    def __call__(self, request, quiet=False):
        self.send(request)
        return self.answer(quiet)

    def send(self, request):
        self.pending = request
        self.channel.send(request.replace("FILE", self.stage.path)
                          .replace("OUTSIDE", self.stage.outside).encode())

    def answer(self, quiet=False):
        ready, _, _ = select.select([self.channel], [], [], ANSWER_TIMEOUT_S)
        check(ready, f"{self.stage.name}: {self.name} waits for {self.pending!r} for more than "
              f"{ANSWER_TIMEOUT_S} s")
        text = self.channel.recv(1 << 16).decode()
        if not quiet:
            self.stage.note(f"{self.name}: {self.pending} = {self.stage.names_for_pids(text)}")
        return text

    def answered(self, within_s=0.0):
        return bool(select.select([self.channel], [], [], within_s)[0])

    def block(self, request):
        """Sends a request that is to block, and returns when it does."""
        self.send(request)
        wait_until(lambda: self.answered() or self.sleeps_in_lock(), 10, f"{request} blocks")
        blocked = not self.answered(0.02)
        self.stage.note(f"{self.name}: {request} {'blocks' if blocked else 'does not block'}")

    def sleeps_in_lock(self):
        try:
            with open(f"/proc/{self.pid}/syscall", encoding="ascii") as file:
                return file.read().split()[0] in (SYSCALL_FCNTL, SYSCALL_FLOCK)
        except OSError:
            return False

    def fork(self, name):
        ours, number = self.spares.pop()
        pid = int(self(f"fork {number}", quiet=True).split()[1])
        child = Actor(self.stage, name, ours, [], pid=pid)
        child.pending = "fork"
        child.answer(quiet=True)
        return child

    def kill(self, number=signal.SIGKILL):
        os.kill(self.pid, number)

    def end(self):
        """Ends the process and waits until its descriptors are closed."""
        fd = os.pidfd_open(self.pid)
        try:
            os.kill(self.pid, signal.SIGKILL)
            select.select([fd], [], [], 10)
        finally:
            os.close(fd)
        if self.process is not None:
            self.process.wait(10)


def ranges_in_kernel(file_id):
    """The ranges of a file in /proc/locks. The kernel gives the list page by page, and a lock that
    anybody takes or drops between two pages shifts the rest (linux/fs/seq_file.c): what two reads
    agree on is there."""
    def look():
        ranges = []
        with open("/proc/locks", encoding="ascii") as file:
            for line in file:
                fields = line.split()
                if "->" not in fields and fields[5] == file_id:
                    ranges.append("flock" if fields[1] == "FLOCK"
                                  else f"{fields[3][0]} {fields[6]}-{fields[7]}")
        return sorted(ranges)

    seen = [None, look()]

    def agrees():
        seen[:] = [seen[1], look()]
        return seen[0] == seen[1]

    wait_until(agrees, 10, "two reads of /proc/locks agree", interval_s=0)
    return seen[1]


class Stage:
    """One performance of one scenario: path is what actors open, outside the backing file."""

    def __init__(self, bed, name, program, path, outside):
        self.bed = bed
        self.name = name
        self.program = program
        self.path = path
        self.outside = outside
        self.lines = []
        self.actors = []
        with open(outside, "wb") as file:
            file.write(b"x" * 1000)
        self.observer = self.actor("outside")
        self.observer("open f OUTSIDE rw", quiet=True)

    def note(self, line):
        self.lines.append(line)

    def names_for_pids(self, text):
        words = text.split(" ")
        if len(words) == 5 and words[0] == "ok":
            pids = {str(actor.pid): actor.name for actor in self.actors}
            words[4] = pids.get(words[4], words[4])
        return " ".join(words)

    def actor(self, name):
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                 for _ in range(1 + SPARE_SOCKETS)]
        theirs = [pair[1] for pair in pairs]
        process = self.bed.spawn([self.program, theirs[0].fileno()],
                                 pass_fds=[end.fileno() for end in theirs])
        spares = [(ours, end.fileno()) for ours, end in pairs[1:]]
        for end in theirs:
            end.close()
        return Actor(self, name, pairs[0][0], spares, process)

    def opened(self, name, flags="rw"):
        actor = self.actor(name)
        actor(f"open f FILE {flags}")
        return actor

    def outside_map(self, start=0, count=20, settled=None):
        """What locks an observer sees on the backing file; waits for what ends asynchronously."""
        if settled is not None:
            try:
                wait_until(lambda: self.observer(f"map ofd f {start} {count}", quiet=True)[3:]
                           == settled, 3, "map")
            except TestFailure:
                pass
        text = self.observer(f"map ofd f {start} {count}", quiet=True)
        self.note(f"outside: {start}+{count}: {text}")

    def outside_flock(self, settled=None):
        """Whether an observer could take the flock shared and exclusive."""
        def look():
            answers = []
            for kind in "RW":
                answers.append(self.observer(f"flock f {kind}", quiet=True))
                self.observer("flock f U", quiet=True)
            return " ".join(answers)
        if settled is not None:
            try:
                wait_until(lambda: look() == settled, 3, "flock")
            except TestFailure:
                pass
        self.note(f"outside: shared, exclusive: {look()}")

    def kernel_locks(self):
        """The backing file's ranges in /proc/locks, whoever holds them there."""
        status = os.stat(self.outside)
        file_id = (f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:"
                   f"{status.st_ino}")
        self.note(f"kernel: {ranges_in_kernel(file_id)}")

    def end(self):
        for actor in self.actors:
            try:
                actor.end()
            except OSError:
                pass
            actor.channel.close()
            for ours, _ in actor.spares:
                ours.close()
            if actor.process in self.bed.processes:
                self.bed.processes.remove(actor.process)


# Scenarios -----------------------------------------------------------------------------------------


def basics(stage, kind):
    a, b = stage.opened("a"), stage.opened("b")
    a(f"set {kind} f W 0 10")
    stage.outside_map()
    stage.kernel_locks()
    b(f"get {kind} f W 5 1")
    b(f"get {kind} f R 0 0")
    b(f"set {kind} f R 0 1")
    b(f"set {kind} f W 9 2")
    b(f"set {kind} f W 10 2")
    a(f"get {kind} f W 0 10")
    a(f"get {kind} f W 10 1")
    a(f"set {kind} f U 0 0")
    stage.outside_map()
    b(f"set {kind} f W 0 10")
    b("close f")
    stage.outside_map(settled="." * 20)
    stage.kernel_locks()
    a(f"set {kind} f W 0 20")
    a.end()
    stage.outside_map(settled="." * 20)


def shared_and_upgraded(stage, kind):
    a, b, c = stage.opened("a"), stage.opened("b"), stage.opened("c")
    a(f"set {kind} f R 0 10")
    b(f"set {kind} f R 5 10")
    stage.outside_map()
    stage.kernel_locks()
    a(f"set {kind} f W 0 10")
    a(f"set {kind} f W 0 5")
    stage.outside_map()
    b(f"set {kind} f U 5 10")
    a(f"set {kind} f W 0 10")
    a(f"set {kind} f R 3 3")
    c(f"map {kind} f 0 20")
    stage.outside_map()
    stage.kernel_locks()
    b(f"set {kind} f R 3 3")
    b(f"set {kind} f R 3 4")
    a(f"set {kind} f W 3 3")
    a("close f")
    stage.outside_map(settled="...RRR" + "." * 14)


def split_and_merged(stage, kind):
    a, b = stage.opened("a"), stage.opened("b")
    for request in ("W 0 20", "U 5 5", "R 6 2", "W 5 5", "R 0 1", "R 19 1", "U 10 1", "W 0 0",
                    "U 10 0", "R 3 4", "W 4 1", "U 0 0"):
        a(f"set {kind} f {request}")
        b(f"map {kind} f 0 25")
        stage.outside_map(0, 25)
        stage.kernel_locks()


def ranges(stage, kind):
    a, b = stage.opened("a"), stage.opened("b")
    for request in ("W -10 5 end", "W -10 -5 end", "R 0 0 end", "W 5 5 end", "U 0 0",
                    "W 100 -10", "W 5 -10", "W 100 0", "U 100 0", "W -1 10", "W 0 -1",
                    "R 4611686018427387904 10", "R 9223372036854775807 1",
                    "R 9223372036854775807 0", "R 9223372036854775806 2",
                    "R 9223372036854775806 3", "W 10 9223372036854775807", "U 0 0",
                    "7 0 10", "W 0 1 9", "W 1 -1", "W 0 9223372036854775807"):
        a(f"set {kind} f {request}")
        b(f"get {kind} f W 0 0")
        stage.kernel_locks()
    a(f"set {kind} f U 0 0")
    a("seek f 50")
    a(f"set {kind} f W -5 10 cur")
    b(f"get {kind} f W 0 0")
    stage.outside_map(40, 20)
    a("write f grown")
    b(f"get {kind} f R -500 100 end")
    b(f"get {kind} f R 1 1 cur")
    b(f"get {kind} f R -2000 1 end")
    b(f"get {kind} f U 0 1")


def modes(stage, kind):
    a, b = stage.opened("a", "r"), stage.opened("b", "w")
    a(f"set {kind} f W 0 10")
    a(f"set {kind} f R 0 10")
    b(f"set {kind} f R 20 10")
    b(f"set {kind} f W 20 10")
    b(f"set {kind} f W 0 10")
    a(f"get {kind} f W 20 1")
    b(f"get {kind} f R 0 1")
    stage.outside_map(0, 32)
    a(f"set {kind} f U 0 0")
    b(f"set {kind} f U 0 0")
    a("open p FILE path")
    a(f"set {kind} p R 0 1")
    a(f"set {kind} closed R 0 1")


def read_then_write_handle(stage, kind):
    """A read lock through a read-only handle, then a write lock of the same process."""
    a, b = stage.opened("a", "r"), stage.opened("b")
    a("open w FILE rw")
    a(f"set {kind} f R 0 10")
    a(f"set {kind} w W 0 5")
    b(f"map {kind} f 0 20")
    stage.outside_map()
    a(f"set {kind} f U 0 0")
    a(f"set {kind} w W 0 5")
    stage.outside_map()
    a("close f")
    b(f"set {kind} f R 0 1")


def two_descriptors_posix(stage):
    """Closing any descriptor drops the process's locks, whichever they were taken by."""
    a, b = stage.opened("a"), stage.opened("b")
    a("open g FILE rw")
    a("set posix f W 0 10")
    a("set posix g R 5 10")
    b("map posix f 0 20")
    stage.outside_map()
    a("get posix g W 0 1")
    a("close g")
    b("map posix f 0 20")
    stage.outside_map()
    a("set posix f W 0 10")
    a("open h FILE r")
    a("close h")
    b("set posix f W 0 10")
    stage.outside_map()
    b("set posix f U 0 0")
    a("dup f d")
    a("set posix d W 0 10")
    a("close d")
    b("set posix f W 0 10")


def two_descriptors_ofd(stage):
    a, b = stage.opened("a"), stage.opened("b")
    a("open g FILE rw")
    a("set ofd f W 0 10")
    a("set ofd g W 5 10")
    a("get ofd g W 0 10")
    a("set ofd g R 10 10")
    b("map ofd f 0 20")
    stage.outside_map()
    a("close f")
    b("set ofd f W 0 5")
    stage.outside_map(settled="WWWWW.....RRRRRRRRRR")
    a("dup g d")
    a("close g")
    b("set ofd f W 10 5")
    a("set ofd d W 10 1")
    stage.outside_map()
    a("close d")
    b("set ofd f W 10 5")
    stage.outside_map(settled="WWWWW.....WWWWW.....")


def kinds_together(stage):
    """POSIX and OFD locks conflict, also within one process; flock stands beside them."""
    a, b = stage.opened("a"), stage.opened("b")
    a("set posix f W 0 10")
    a("set ofd f R 0 1")
    a("get ofd f R 0 1")
    b("set ofd f W 5 10")
    b("set ofd f W 10 10")
    a("get posix f W 10 1")
    a("set posix f W 10 1")
    a("flock f W")
    b("flock f R")
    stage.outside_map()
    stage.outside_flock()
    stage.kernel_locks()
    b("close f")
    a("set posix f W 10 10")
    stage.outside_map(settled="W" * 20)


def pids(stage):
    a, b = stage.opened("a"), stage.opened("b")
    a("set posix f W 0 10")
    b("get posix f W 3 1")
    b("get ofd f W 3 1")
    b("set ofd f W 20 10")
    a("get posix f W 25 1")
    a("get ofd f W 25 1")
    child = a.fork("child")
    child("get posix f W 0 1")
    child("set posix f W 0 1")
    child("set posix f R 40 1")
    a("get posix f W 40 1")
    b("get posix f W 40 1")


def forked_posix(stage):
    """A child has none of its parent's locks, and its close drops none of them."""
    a, b = stage.opened("a"), stage.opened("b")
    a("set posix f W 0 10")
    child = a.fork("child")
    child("set posix f U 0 0")
    b("map posix f 0 20")
    child("set posix f W 10 5")
    stage.outside_map()
    child("close f")
    b("map posix f 0 20")
    stage.outside_map(settled="W" * 10 + "." * 10)
    child.end()
    b("map posix f 0 20")
    a("close f")
    stage.outside_map()


def forked_ofd(stage):
    """A child shares its parent's description and its locks; they end with the last of both."""
    a, b = stage.opened("a"), stage.opened("b")
    a("set ofd f W 0 10")
    child = a.fork("child")
    child("set ofd f U 0 5")
    b("map ofd f 0 20")
    stage.outside_map()
    child("set ofd f W 15 5")
    a("close f")
    b("map ofd f 0 20")
    stage.outside_map()
    a.end()
    b("map ofd f 0 20")
    child("close f")
    b("set ofd f W 0 20")
    stage.outside_map(settled="W" * 20)


def flocks(stage):
    a, b = stage.opened("a"), stage.opened("b", "r")
    a("flock f R")
    b("flock f R")
    stage.outside_flock()
    stage.kernel_locks()
    a("flock f W")
    b("flock f U")
    a("flock f W")
    stage.outside_flock()
    b("flock f R")
    b("flock f W")
    a("flock f R")
    b("flock f R")
    a("flock f U")
    b("flock f W")
    stage.outside_flock()
    stage.outside_map()
    a("flock f W")
    b("close f")
    a("flock f W")
    stage.outside_flock()
    a("flock f other")
    a("flock closed W")
    a("open p FILE path")
    a("flock p W")
    a.end()
    stage.outside_flock(settled="ok ok")


def flock_descriptors(stage):
    a, b = stage.opened("a"), stage.opened("b")
    a("open g FILE rw")
    a("flock f W")
    a("flock g R")
    a("dup f d")
    a("close f")
    b("flock f R")
    stage.outside_flock()
    child = a.fork("child")
    a("close d")
    a("close g")
    b("flock f R")
    stage.outside_flock()
    child("flock d R")
    b("flock f R")
    child("flock d U")
    b("flock f W")
    child.end()
    stage.outside_flock()
    b("close f")
    stage.outside_flock(settled="ok ok")


def waiting(stage, kind):
    a, b, c = stage.opened("a"), stage.opened("b"), stage.opened("c")
    a(f"set {kind} f W 0 10")
    b.block(f"wait {kind} f W 5 10")
    c(f"set {kind} f W 10 2")  # a wait holds nothing
    c(f"set {kind} f U 0 0")
    c("read f 4")
    c("write f y")
    stage.outside_map()
    a(f"set {kind} f U 7 3")
    stage.note(f"still blocked {not b.answered(0.05)}")
    a(f"set {kind} f U 0 0")
    b.answer()
    stage.outside_map()
    a.block(f"wait {kind} f R 0 6")
    b("close f")
    a.answer()
    stage.outside_map(settled="R" * 6 + "." * 14)
    c.block(f"wait {kind} f W 0 1")
    a.end()
    c.answer()
    stage.outside_map(settled="W" + "." * 19)


def interrupted(stage, kind):
    """A signal ends a wait with EINTR; nothing is granted to it later, and others go on meanwhile."""
    a, b, c = stage.opened("a"), stage.opened("b"), stage.opened("c")
    a(f"set {kind} f W 0 10")
    b.block(f"wait {kind} f W 0 1")
    c(f"set {kind} f W 50 10")
    c("write f z")
    c("read f 3")
    c("open more FILE rw")
    c("close more")
    b.kill(signal.SIGUSR1)
    b.answer()
    b("read f 3")
    b(f"set {kind} f W 0 1")
    a(f"set {kind} f U 0 0")
    stage.outside_map()
    stage.kernel_locks()
    c(f"set {kind} f W 0 10")
    for _ in range(5):
        b.block(f"wait {kind} f R 0 1")
        b.kill(signal.SIGUSR1)
        b.answer()
    b.block(f"wait {kind} f R 0 1")
    b.end()
    c(f"set {kind} f U 0 0")
    a(f"set {kind} f W 0 10")
    stage.outside_map(settled="W" * 10 + "." * 10)


def waiting_flock(stage):
    a, b, c = stage.opened("a"), stage.opened("b"), stage.opened("c")
    a("flock f W")
    b.block("flock f W wait")
    c.block("flock f R wait")
    c.kill(signal.SIGUSR1)
    c.answer()
    c("read f 3")
    stage.outside_flock()
    a("flock f U")
    b.answer()
    stage.outside_flock()
    c.block("flock f R wait")
    b.end()
    c.answer()
    stage.outside_flock()


def waiters(stage, kind):
    """Every one of many waiters gets the lock, one at a time."""
    a = stage.opened("a")
    lock = f"{kind} f W 0 1"
    a("flock f W" if kind == "flock" else f"set {lock}")
    others = [stage.opened(f"waiter{i}") for i in range(12)]
    for other in others:
        other.block("flock f W wait" if kind == "flock" else f"wait {lock}")
    a("close f")
    served = 0
    waiting_for = list(others)
    while waiting_for:
        ready, _, _ = select.select([o.channel for o in waiting_for], [], [], ANSWER_TIMEOUT_S)
        check(ready, f"{len(waiting_for)} waiters are not served")
        owners = [o for o in waiting_for if o.channel in ready]
        check(len(owners) == 1, f"{len(owners)} hold an exclusive lock")
        served += owners[0].answer(quiet=True) == "ok"
        waiting_for.remove(owners[0])
        check(not any(o.answered() for o in waiting_for), "two hold an exclusive lock")
        owners[0]("close f", quiet=True)
    stage.note(f"{served} served")
    stage.outside_map(settled="." * 20)


def deadlock(stage):
    a, b, c = stage.opened("a"), stage.opened("b"), stage.opened("c")
    a("set posix f W 0 1")
    b("set posix f W 1 1")
    c("set posix f W 2 1")
    a.block("wait posix f W 1 1")
    b("wait posix f W 0 1")
    b.block("wait posix f W 2 1")
    c("wait posix f W 0 1")
    c("set posix f U 2 1")
    b.answer()
    b("set posix f U 0 0")
    a.answer()
    stage.outside_map()
    c.block("wait posix f W 0 1")
    a("close f")
    c.answer()


def deadlock_two_files(stage):
    a, b = stage.opened("a"), stage.opened("b")
    with open(stage.outside + ".2", "wb"):
        pass
    for actor in (a, b):
        actor("open g FILE.2 rw")
    a("set posix f W 0 1")
    b("set posix g W 0 1")
    a.block("wait posix g W 0 1")
    b("wait posix f W 0 1")
    b("set posix g U 0 1")
    a.answer()


def cycle_without_deadlock(stage):
    """OFD locks know no EDEADLK: a cycle waits, until a signal ends it."""
    a, b = stage.opened("a"), stage.opened("b")
    a("set ofd f W 0 1")
    b("set ofd f W 1 1")
    a.block("wait ofd f W 1 1")
    b.block("wait ofd f W 0 1")
    b.kill(signal.SIGUSR1)
    b.answer()
    b("set ofd f U 0 0")
    a.answer()
    stage.outside_map()


def killed(stage, kind):
    for _ in range(5):
        a, b = stage.opened("a"), stage.opened("b")
        a("flock f W" if kind == "flock" else f"set {kind} f W 0 10")
        b.block("flock f W wait" if kind == "flock" else f"wait {kind} f W 0 10")
        a.end()
        b.answer()
        b.end()
        stage.outside_map(settled="." * 20)
        stage.outside_flock(settled="ok ok")


def owner_ids_again(stage, kind):
    a = stage.actor("a")
    a(f"cycles {kind} FILE 300")
    stage.outside_map(settled="." * 20)
    stage.outside_flock(settled="ok ok")


def relock_at_once(stage, kind):
    """A lock is free as soon as its holder's close has returned."""
    a, b = stage.actor("a"), stage.actor("b")
    b("open f FILE rw")
    refused = 0
    for _ in range(300):
        a("open f FILE rw", quiet=True)
        a("flock f W" if kind == "flock" else f"set {kind} f W 0 10", quiet=True)
        a("close f", quiet=True)
        refused += b("flock f W" if kind == "flock" else f"set {kind} f W 0 10",
                     quiet=True) != "ok"
        b("flock f U" if kind == "flock" else f"set {kind} f U 0 0", quiet=True)
    stage.note(f"{refused} refused")


def held_by_many(stage, kind):
    """300 descriptions, each with its byte: all are there, and all go."""
    a, b = stage.actor("a"), stage.opened("b")
    for i in range(60):
        a(f"open f{i} FILE rw", quiet=True)
        a(f"set {kind} f{i} W {i} 1", quiet=True)
    b(f"map {kind} f 0 60")
    stage.outside_map(0, 60)
    for i in range(0, 60, 2):
        a(f"close f{i}", quiet=True)
    if kind == "ofd":
        stage.outside_map(0, 60, settled=".W" * 30)
        b("set ofd f R 0 1")
        a("set ofd f1 U 0 0")
        b("set ofd f R 1 1")
    else:
        b("map posix f 0 60")


def at_random(stage, seed):
    """Several owners of both kinds lock and unlock at random; after each step all maps agree."""
    generator = random.Random(seed)
    owners = [(stage.opened("a"), "posix"), (stage.opened("b"), "posix"),
              (stage.opened("c"), "ofd"), (stage.opened("d"), "ofd")]
    probe = stage.opened("probe")
    for step in range(150):
        actor, kind = generator.choice(owners)
        length = generator.choice([0, 1, 1, 2, 5, 10])
        start = generator.randrange(30)
        actor(f"set {kind} f {generator.choice('RRWWU')} {start} {length}")
        if step % 10 == 9:
            actor("close f")
            probe("map ofd f 0 1", quiet=True)
            actor("open f FILE rw")
            # an OFD lock ends a moment after the close: settle by a lock that needs it gone
            stage.settle_close()
        probe("map posix f 0 40")
        stage.outside_map(0, 40)


def image_bytes(stage):
    """The bytes that VMMs lock on images are locks like others to everybody else."""
    a, b = stage.opened("a"), stage.opened("b")
    for byte in (100, 101, 103, 201, 203):
        a(f"set ofd f R {byte} 1")
    b("map ofd f 98 8")
    stage.outside_map(98, 8)
    stage.outside_map(198, 8)
    b("set ofd f R 100 1")
    b("get ofd f W 201 1")
    b("get ofd f W 101 1")
    b("set ofd f W 102 1")
    a("write f image")
    a("set ofd f U 201 1")
    a("set ofd f U 203 1")
    stage.outside_map(198, 8)
    for byte in (100, 101, 103):
        a(f"set ofd f U {byte} 1")
    stage.outside_map(98, 8)
    a("close f")
    b("close f")
    stage.outside_map(98, 8, settled="." * 8)


def removed_file(stage):
    """Locks work on, on a file that is removed while it is open."""
    a, b = stage.opened("a"), stage.opened("b")
    a("set ofd f W 0 10")
    os.unlink(stage.path)
    b("get ofd f W 0 1")
    b("set ofd f W 0 1")
    a("set ofd f U 0 5")
    b("set ofd f W 0 1")
    b("set posix f W 3 1")
    a("set posix f W 3 1")
    a("flock f W")
    b("flock f R")
    stage.outside_map()


def hard_link(stage):
    """A lock is on the file, not on the name."""
    a = stage.opened("a")
    b = stage.actor("b")
    os.link(stage.path, stage.path + ".link")
    b("open f FILE.link rw")
    a("set posix f W 0 5")
    a("set ofd f W 10 5")
    a("flock f W")
    b("map posix f 0 20")
    b("set ofd f W 0 1")
    b("flock f R")
    a("open g FILE.link r")
    a("close g")
    b("map posix f 0 20")


def directory(stage):
    a, b = stage.actor("a"), stage.actor("b")
    os.mkdir(stage.path + ".dir")
    for actor in (a, b):
        actor("open f FILE.dir r")
    a("flock f W")
    b("flock f R")
    a("flock f U")
    b("flock f R")
    a("set ofd f R 0 1")
    b("set ofd f W 0 1")
    b("get ofd f W 0 1")


BOTH_KINDS = ("posix", "ofd")
EVERY_KIND = ("posix", "ofd", "flock")
SCENARIOS = (
    [(function, (kind,)) for function in
     (basics, shared_and_upgraded, split_and_merged, ranges, modes, read_then_write_handle,
      waiting, interrupted, held_by_many) for kind in BOTH_KINDS]
    + [(function, (kind,)) for function in (waiters, killed, relock_at_once)
       for kind in EVERY_KIND]
    + [(owner_ids_again, (kind,)) for kind in ("ofd", "flock")]
    + [(at_random, (seed,)) for seed in (1, 2, 3)]
    + [(function, ()) for function in
       (two_descriptors_posix, two_descriptors_ofd, kinds_together, pids, forked_posix, forked_ofd,
        flocks, flock_descriptors, waiting_flock, deadlock, deadlock_two_files,
        cycle_without_deadlock, image_bytes, removed_file, hard_link, directory)])


def play(bed, program, function, arguments, directory_path, outside_directory):
    name = "_".join([function.__name__] + [str(a) for a in arguments])
    stage = Stage(bed, name, program, os.path.join(directory_path, name),
                  os.path.join(outside_directory, name))
    stage.settle_close = lambda: wait_until(
        lambda: settled(stage), 3, f"{name}: locks of a closed description go")
    try:
        function(stage, *arguments)
    finally:
        stage.end()
    return stage.lines


def settled(stage):
    """The observer's map twice the same, a moment apart."""
    first = stage.observer("map ofd f 0 40", quiet=True)
    select.select([], [], [], 0.02)
    return first == stage.observer("map ofd f 0 40", quiet=True)


def seen_outside(lines):
    return [line for line in lines if line.startswith(("outside:", "kernel:"))]


def seen_inside(lines):
    return [line for line in lines if not line.startswith(("outside:", "kernel:"))]


def run():
    control = "--control" in sys.argv
    wanted = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    testbed.require_root()
    testbed.require_fuse()
    with Testbed("locks", deadline_s=150) as bed:
        program = bed.install("locks")
        native = bed.directory("native")
        source = bed.directory("source")
        mount = (bed.mount_migfs(source, options="coherence=off") if control
                 else bed.mount_stack(source))
        failed = []
        for function, arguments in SCENARIOS:
            name = "_".join([function.__name__] + [str(a) for a in arguments])
            if wanted and name not in wanted and function.__name__ not in wanted:
                continue
            expected = play(bed, program, function, arguments, native, native)
            try:
                got = play(bed, program, function, arguments, mount.path, source)
            except TestFailure as failure:
                got = [f"failed: {failure}"]
            expected = excused(name, expected, got)
            if control:
                check(seen_inside(got) == seen_inside(expected), f"{name}: not as on the disk")
                check(not any(mark in line for line in seen_outside(got)
                              for mark in ("R", "W", "EWOULDBLOCK", "EAGAIN", "-")),
                      f"{name}: with coherence=off a lock is on the backing file")
                continue
            if got != expected:
                failed.append(name)
                print(f"--- {name}")
                print("\n".join(list(difflib.unified_diff(
                    expected, got, "backing", "mount", n=3, lineterm=""))[2:50]), flush=True)
        check(not failed, f"{len(failed)} scenarios deviate: {' '.join(failed)}")


if __name__ == "__main__":
    testbed.main(run)
