# SPDX-License-Identifier: GPL-2.0-or-later
"""Two hosts on one machine: each has its own ctofs mount of one store, a layer above it, and VMMs.

A Stack says what the layer is: migfs with some options and perhaps a step left out, bindfs, or
nothing. A Vmm is a process that makes the system calls it is told to (vmm.c).
"""
import dataclasses
import errno
import json
import os
import select
import signal
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import testbed  # noqa: E402

# What QEMU 7.2 holds for a qcow2 image that it writes: permissions used, permissions not shared.
QEMU_BYTES = (100, 101, 103, 201, 203)
REST = (100, 103, 203)  # of these, what is neither 101 nor 201
IMAGE_BYTES = 256 * 1024
PAGE = 4096


class CallFailed(Exception):
    """A system call of a VMM gave an errno."""

    def __init__(self, line, number):
        super().__init__(f"{line}: {errno.errorcode.get(number, number)}")
        self.number = number


@dataclasses.dataclass(frozen=True)
class Stack:
    """What lies between a host's VMMs and its mount of the store."""
    kind: str = "migfs"
    options: str = ""  # of migfs
    skip: str = ""     # MIGFS_SKIP_STEP
    keeps_metadata: bool = False  # MIGFS_KEEP_METADATA
    leaves_pages: bool = False    # MIGFS_LEAVE_PAGES
    aio_none: bool = False        # MIGFS_AIO_NONE

    def __str__(self):
        return " ".join(filter(None, (self.kind, self.options, self.skip and f"without {self.skip}",
                                      self.keeps_metadata and "without dropping metadata",
                                      self.leaves_pages and "without dropping what is left",
                                      self.aio_none and "without AIO")))


class Vmm:
    """One process on one host; slots are its descriptors."""

    def __init__(self, host, as_user=False):
        self.host = host
        program = host.bed.install("vmm") if as_user else testbed.binary("vmm")
        self.process = host.bed.spawn([program], as_user=as_user, stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, text=True)
        self.pending = []

    def begin(self, line):
        """Starts a call that may take long."""
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        self.pending.append(line)

    def end(self):
        """The result of the oldest call begun."""
        line = self.pending.pop(0)
        word, _, result = self.process.stdout.readline().rstrip("\n").partition(" ")
        if word == "error":
            raise CallFailed(line, int(result))
        testbed.check(word == "ok", f"the VMM ended at: {line}")
        return result.strip()

    def answers_within(self, seconds):
        return bool(select.select([self.process.stdout], [], [], seconds)[0])

    def ask(self, line):
        self.begin(line)
        return self.end()

    def error(self, line):
        """The errno of a call, 0 for none."""
        try:
            self.ask(line)
            return 0
        except CallFailed as failure:
            return failure.number

    def open(self, slot, name, flags="rw"):
        return self.ask(f"open {slot} {flags} {self.host.path(name)}")

    def read(self, slot, offset, length):
        return self.ask(f"read {slot} {offset} {length}")

    def keeps(self, slot, length):
        """Whether what was cached of length bytes still is: the kernel may reclaim any page at any
        time, so most of them, not each (an invalidation leaves none)."""
        return int(self.ask(f"cached {slot}")) > length // PAGE // 2

    def write(self, slot, offset, length, byte):
        return self.ask(f"write {slot} {offset} {length} {byte}")

    def lock(self, slot, *numbers):
        """Read locks of single bytes, as QEMU takes them."""
        for number in numbers or QEMU_BYTES:
            self.ask(f"lock {slot} r {number} 1")

    def unlock(self, slot, *numbers):
        for number in numbers or QEMU_BYTES:
            self.ask(f"unlock {slot} {number} 1")

    def state(self, slot):
        return self.ask(f"state {slot}").split()[0]

    def generation(self, slot):
        return int(self.ask(f"state {slot}").split()[1])

    def close(self):
        """Ends in an orderly way: the kernel closes what is open."""
        self.process.stdin.close()
        self.process.wait()

    def kill(self):
        self.process.kill()
        self.process.wait()


class Host:
    """One host: the mount of the store, the layer, and who runs on it."""

    def __init__(self, bed, name, store, stack):
        self.bed = bed
        self.name = name
        self.store = store
        self.stack = stack
        self.below = bed.mount_ctofs(store)
        self.held_writes = bed.unique("hold")  # while it exists; with MIGFS_FAULTS alone
        self.kill_file = bed.unique("kill")    # so, too
        self.above = self._mount()
        self.vmms = []

    def _mount(self):
        if self.stack.kind == "bindfs":
            return self.bed.mount_bindfs(self.below.path)
        if self.stack.kind != "migfs":
            return self.below
        environment = {"MIGFS_HOLD_WRITES": self.held_writes, "MIGFS_KILL_FILE": self.kill_file}
        if self.stack.skip:
            environment["MIGFS_SKIP_STEP"] = self.stack.skip
        if self.stack.keeps_metadata:
            environment["MIGFS_KEEP_METADATA"] = "1"
        if self.stack.aio_none:
            environment["MIGFS_AIO_NONE"] = "1"
        if self.stack.leaves_pages:
            environment["MIGFS_LEAVE_PAGES"] = "1"
        return self.bed.mount_migfs(self.below.path, options=self.stack.options, env=environment)

    def kill_at(self, step):
        """migfs of this host is to die at the step (fs/fault.h)."""
        with open(self.kill_file, "w", encoding="ascii") as file:
            file.write(step)

    def wait_killed(self):
        """It did; its VMMs end with it."""
        self.above.wait_end(expect=-signal.SIGKILL)
        os.unlink(self.kill_file)
        self.end_vmms()
        self.above.abort()

    def restart(self):
        """Mounts anew after wait_killed."""
        self.above = self._mount()

    def path(self, name):
        return os.path.join(self.above.path, name)

    def vmm(self, name=None, flags="rw", as_user=False):
        """A new VMM, with the image open in slot 1; `as_user`: of the unprivileged caller."""
        vmm = Vmm(self, as_user)
        self.vmms.append(vmm)
        if name is not None:
            vmm.open(1, name, flags)
        return vmm

    def control(self, *commands):
        """Commands to this host's mount of the store: fail, freeze, thaw …"""
        with open(os.path.join(self.below.path, ".ctofs-control"), "wb", buffering=0) as file:
            for command in commands:
                file.write(command.encode())

    def counter(self, name):
        with open(os.path.join(self.below.path, ".ctofs-control"), encoding="ascii") as file:
            return int(dict(line.split() for line in file)[name])

    def ctl(self, *arguments, expect=0, as_user=False):
        program = (self.bed.install("migfsctl") if as_user else testbed.binary("migfsctl"))
        return self.bed.run([program] + list(arguments), expect=expect, as_user=as_user,
                            timeout_s=20)

    def status(self, name):
        """What migfsctl tells of the file of that name."""
        return json.loads(self.ctl("status", "--json", self.path(name)).stdout)["files"][0]

    def end_vmms(self):
        for vmm in self.vmms:
            if vmm.process.poll() is None:
                vmm.kill()
        self.vmms = []

    def umount(self):
        self.end_vmms()
        if self.above is not self.below and not self.above.ended:
            self.above.umount()
        if not self.below.ended:
            self.below.umount()


class Pair:
    """Two hosts over one store; `twin` says that what makes it right is left out."""

    def __init__(self, bed, stack, twin):
        self.bed = bed
        self.stack = stack
        self.twin = twin
        self.store = bed.directory()
        self.a = Host(bed, "A", self.store, stack)
        self.b = Host(bed, "B", self.store, stack)
        self.images = 0

    def image(self, byte="0", length=IMAGE_BYTES):
        """A new image, put into the store before anybody looks."""
        self.images += 1
        name = f"image{self.images}"
        with open(os.path.join(self.store, name), "wb") as file:
            file.write(byte.encode() * length)
        return name

    def stored(self, name):
        """What the store itself has."""
        with open(os.path.join(self.store, name), "rb") as file:
            return file.read()

    def record_path(self, name):
        ino = os.stat(os.path.join(self.store, name)).st_ino
        return os.path.join(self.store, ".migfs", f"{ino:x}")

    def _slot(self, name):
        """The slot of a record that counts, None without a record."""
        try:
            with open(self.record_path(name), "rb") as file:
                content = file.read()
        except FileNotFoundError:
            return None
        slots = [slot for slot in (content[:4096], content[4096:]) if slot[:8] == b"MIGFSREC"]
        return max(slots, key=lambda slot: (field(slot, 40, 8), field(slot, 32, 8)), default=None)

    def record(self, name):
        """(state, generation, sequence) of the slot that counts; None without a record."""
        slot = self._slot(name)
        if slot is None:
            return None
        state = field(slot, 48, 4)
        return ({1: "owned", 2: "released"}.get(state, state), field(slot, 40, 8),
                field(slot, 32, 8))

    def digests(self, name):
        """{(offset, length): digest} of that slot."""
        slot = self._slot(name)
        entries = [slot[256 + 32 * i:288 + 32 * i] for i in range(field(slot, 208, 4))]
        return {(field(entry, 0, 8), field(entry, 8, 4)): entry[16:] for entry in entries}

    def end_scenario(self):
        self.a.end_vmms()
        self.b.end_vmms()

    def umount(self):
        self.a.umount()
        self.b.umount()


def waits_in_gate(pid):
    """A thread of this migfs sleeps: it holds a write."""
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/wchan", encoding="ascii") as file:
                if "nanosleep" in file.read():
                    return True
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended meanwhile
    return False


def locks_of(path):
    """The lines of /proc/locks, in words, that are of this file."""
    file = os.stat(path)
    key = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}:{file.st_ino}"
    with open("/proc/locks", encoding="ascii") as locks:
        return [line.split() for line in locks if key in line.split()]


def field(slot, offset, size):
    """A number of a record, cache/record.h."""
    return int.from_bytes(slot[offset:offset + size], "little")


def runs(byte, count=IMAGE_BYTES):
    """As `read` of a VMM shows one byte in a row."""
    return f"{ord(byte):02x}*{count}"
