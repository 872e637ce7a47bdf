# SPDX-License-Identifier: GPL-2.0-or-later
"""Virtual machines: one unmodified QEMU process each, its disks, and the guest's serial line.

A Guest outlives the processes. All QEMUs that run it in turn write its serial line to one pipe, so
its output is one stream across migrations; and they map its memory from one file, so a migration
does not copy it (`x-ignore-shared`). With `-accel tcg` on a loaded machine, memory that is copied
while the guest runs arrives damaged now and then: the guest panics, over a plain directory too.
"""
import dataclasses
import json
import os
import re
import socket
import subprocess
import threading

from qmp import Qmp, QmpClosed, QmpError

QEMU = "qemu-system-x86_64"
GUEST_BYTES = 128 << 20
KERNEL_COMMAND_LINE = ("console=ttyS0 quiet panic=-1 tsc=unstable mitigations=off nokaslr "
                       "random.trust_cpu=on")
FIRMWARE_BYTES = 64 << 10
RESET_VECTOR = 16  # bytes before its end
HALT = b"\xfa\xf4\xeb\xfd"  # cli; hlt; jmp to the hlt
END_OF_OUTPUT = b"help [command] -- help for one or all commands\r\n"  # what `help help` prints


@dataclasses.dataclass(frozen=True)
class Disk:
    """A disk image as a VMM gets it. cache: none, directsync, writeback or writethrough, as QEMU's
    `-drive` has it; `options` go to its file node (auto-read-only, locking)."""
    name: str
    format: str = "raw"
    cache: str = "none"
    aio: str = "threads"
    backing: str = None  # name of the backing file, opened read-only
    backing_format: str = "raw"
    share_rw: bool = False
    options: dict = dataclasses.field(default_factory=dict)

    def arguments(self, directory, index):
        cache = {"direct": self.cache in ("none", "directsync"), "no-flush": False}
        write_cache = "off" if self.cache in ("directsync", "writethrough") else "on"

        def file_node(node, name, **options):
            return {"node-name": node, "driver": "file", "filename": f"{directory}/{name}",
                    "cache": cache, **options}

        def image_node(node, driver, file, **options):
            return {"node-name": node, "driver": driver, "file": file, "cache": cache, **options}

        file, image, backing = f"file{index}", f"disk{index}", f"backing{index}"
        nodes = [file_node(file, self.name, discard="unmap", aio=self.aio,
                           **self.options)]
        if self.backing:
            base = f"backing-file{index}"
            nodes += [file_node(base, self.backing, **{"read-only": True}),
                      image_node(backing, self.backing_format, base, **{"read-only": True})]
        options = {"backing": backing} if self.backing else {}
        nodes.append(image_node(image, self.format, file, discard="unmap", **options))
        arguments = []
        for node in nodes:
            arguments += ["-blockdev", json.dumps(node)]
        share = "on" if self.share_rw else "off"
        return arguments + ["-device", f"virtio-blk-pci,drive={image},id=device{index},"
                                       f"share-rw={share},write-cache={write_cache}"]


@dataclasses.dataclass(frozen=True)
class Counts:
    ok: int
    stale: int
    wrong: int
    error: int
    seq: int
    passes: int

    PATTERN = re.compile(
        r"guest ok (\d+) stale (\d+) wrong (\d+) error (\d+) seq (\d+) pass (\d+)$")

    @classmethod
    def parse(cls, line):
        match = cls.PATTERN.match(line)
        return cls(*map(int, match.groups())) if match else None

    @property
    def bad(self):
        return self.stale + self.wrong + self.error


class Serial:
    """The guest's serial line: read by a thread, so that QEMU never waits for us."""

    def __init__(self, on_counts=lambda counts: None):
        self.read_end, self.write_end = os.pipe()
        self.lines = []
        self.counts = None
        self.on_counts = on_counts
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        with open(self.read_end, errors="replace") as stream:
            for line in stream:
                self._append(line.rstrip())

    def _append(self, line):
        counts = Counts.parse(line)
        with self.changed:
            self.lines.append(line)
            self.counts = counts or self.counts
            self.changed.notify_all()
        if counts:
            self.on_counts(counts)

    def wait_counts(self, satisfied, timeout=60):
        """Waits until a report of the guest satisfies the condition; returns that report."""
        with self.changed:
            if not self.changed.wait_for(lambda: self.counts and satisfied(self.counts), timeout):
                raise TimeoutError("the guest did not get there; its last words:\n"
                                   + "\n".join(self.lines[-8:]))
            return self.counts

    def wait_passes(self, passes=2, timeout=60):
        """Waits until the guest has checked all its disks from now on, or met an error."""
        start = self.wait_counts(lambda counts: True, timeout)
        return self.wait_counts(lambda counts: counts.passes >= start.passes + passes
                                or counts.error > start.error, timeout)

    def mismatches(self):
        with self.changed:
            return [line for line in self.lines if re.match("guest (mismatch|error)", line)]

    def close(self):
        os.close(self.write_end)


class Guest:
    """What a running guest consists of, wherever it runs: memory, serial line. Boots from its disk."""

    memory_bytes = GUEST_BYTES

    def __init__(self, on_counts=lambda counts: None):
        self.serial = Serial(on_counts)
        self.memory = os.memfd_create("guest-memory")
        os.truncate(self.memory, self.memory_bytes)

    def arguments(self):
        memory = f"/proc/self/fd/{self.memory}"
        return ["-object", f"memory-backend-file,id=memory,size={self.memory_bytes},"
                           f"mem-path={memory},share=on",
                "-machine", "memory-backend=memory", "-m", str(self.memory_bytes >> 20),
                "-chardev", "stdio,id=serial,signal=off", "-serial", "chardev:serial"]

    def close(self):
        self.serial.close()
        os.close(self.memory)


class LinuxGuest(Guest):
    """Boots a kernel of its own."""

    def __init__(self, kernel, initramfs, on_counts=lambda counts: None):
        super().__init__(on_counts)
        self.kernel = kernel
        self.initramfs = initramfs

    def arguments(self):
        return super().arguments() + ["-kernel", self.kernel, "-initrd", self.initramfs,
                                      "-append", KERNEL_COMMAND_LINE]


def firmware_that_halts(bed):
    """What a machine without a guest has for firmware: one that looked for something to boot would
    keep a processor busy that the other machines need."""
    path = os.path.join(bed.root, "firmware")
    if not os.path.exists(path):
        with open(path, "wb") as file:
            file.write(HALT.rjust(FIRMWARE_BYTES - RESET_VECTOR + len(HALT), b"\0")
                       .ljust(FIRMWARE_BYTES, b"\0"))
        os.chmod(path, 0o644)
    return path


class Vm:
    """A QEMU process. Use as a context manager, or call kill()."""

    def __init__(self, bed, directory, disks, *, guest=None, incoming=False, extra=(),
                 as_user=False, timeout=60):
        """directory: where this host sees the images. guest: None for a machine that has nothing to
        boot, and whose disks are used by io()."""
        self.bed = bed
        self.log_path = bed.unique("qemu-log")
        self.migration_path = bed.socket_path("migrate")
        ours, theirs = socket.socketpair()
        # A terminal: qemu-io prints to stdout, which is line-buffered on a terminal only.
        self.output, output = os.openpty()
        arguments = [QEMU, "-accel", "tcg", "-machine", "q35", "-cpu", "max",
                     "-smp", "1", "-nodefaults", "-no-user-config",
                     "-display", "none", "-no-reboot",
                     "-chardev", f"socket,id=qmp,fd={theirs.fileno()}", "-mon", "qmp,mode=control",
                     *extra]
        for index, disk in enumerate(disks):
            arguments += disk.arguments(directory, index)
        arguments += guest.arguments() if guest else ["-m", "32", "-bios", firmware_that_halts(bed)]
        if incoming:
            arguments += ["-incoming", "defer"]
        with open(self.log_path, "wb") as log:
            self.process = bed.spawn(
                arguments, as_user=as_user, stdin=subprocess.DEVNULL, stderr=log,
                stdout=guest.serial.write_end if guest else output,
                pass_fds=(theirs.fileno(), *([guest.memory] if guest else [])))
        theirs.close()
        os.close(output)
        self.socket = ours
        try:
            self.qmp = Qmp(ours, timeout)
            capabilities = ["events"] + (["x-ignore-shared"] if guest else [])
            self.qmp.command("migrate-set-capabilities", capabilities=[
                {"capability": name, "state": True} for name in capabilities])
        except (QmpClosed, TimeoutError) as error:
            self.kill()
            raise VmFailed(f"QEMU did not start: {self.log()}") from error

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def log(self):
        """What QEMU said on stderr."""
        with open(self.log_path, errors="replace") as log:
            return log.read().strip()

    def io(self, command, disk=0):
        """Runs a qemu-io command on a disk as the guest's device would, or on a block node that has
        no device, by its name; returns what it printed."""
        where = (disk if isinstance(disk, str)
                 else f"-d /machine/peripheral/device{disk}/virtio-backend")
        for line in (command, "help help"):
            refused = self.qmp.hmp(f'qemu-io {where} "{line}"')
            if refused:
                raise VmFailed(refused.strip())
        printed = b""
        while END_OF_OUTPUT not in printed:
            printed += os.read(self.output, 65536)
        return printed[:printed.index(END_OF_OUTPUT)].decode(errors="replace")

    def write(self, pattern, offset, length, disk=0):
        self.change(f"write -P {pattern} {offset} {length}", disk)

    def flush(self, disk=0):
        self.change("flush", disk)

    def reads(self, pattern, offset, length, disk=0):
        """Does this VM see the pattern there?"""
        output = self.io(f"read -P {pattern} {offset} {length}", disk)
        return "verification failed" not in output and f"read {length}/{length} bytes" in output

    def writes(self, pattern, offset, length, disk=0):
        """Does a write go through?"""
        try:
            self.write(pattern, offset, length, disk)
            self.flush(disk)
            return True
        except VmFailed:
            return False

    def change(self, command, disk=0):
        """Runs a qemu-io command that must succeed."""
        output = self.io(command, disk)
        if "fail" in output or "rror" in output:
            raise VmFailed(f"{command}: {output.strip()}")

    def status(self):
        return self.qmp.command("query-status")["status"]

    def stop(self):
        self.qmp.command("stop")

    def quit(self):
        """Ends the process as `virsh destroy` does with a live one, and waits for its end."""
        try:
            self.qmp.command("quit")
        except QmpClosed:
            pass
        self.process.wait(60)
        self.kill()

    def kill(self):
        """SIGKILL, and wait until it is gone."""
        self.process.kill()
        self.process.wait()
        self.socket.close()
        if self.output is not None:
            os.close(self.output)
            self.output = None
        if self.process in self.bed.processes:
            self.bed.processes.remove(self.process)


class VmFailed(Exception):
    """QEMU did not do what it was asked; the text is QEMU's own."""
