# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest's other files: its firmware's variables, its TPM's state, a saved state, a CD."""
import errno
import os
import socket
import struct

import cell as cells
import hosts
import migrate
import testbed
from scenario import expect

MIB = 1 << 20


# Firmware --------------------------------------------------------------------------------------

FIRMWARE = "/usr/share/seabios/bios-256k.bin"
FIRMWARE_BYTES = 256 << 10
VARIABLES_BYTES = 128 << 10
VARIABLES_ADDRESS = (1 << 32) - FIRMWARE_BYTES - VARIABLES_BYTES
PROGRAM_BYTE, READ_ARRAY = 0x40, 0xff


class Flash:
    """A machine whose firmware keeps its variables in a flash chip that is a file. What the
    firmware does to the chip is done by QEMU's test protocol: the same accesses to its registers.
    """

    def __init__(self, site, host, name, incoming=False):
        path = site.bed.socket_path("qtest")
        self.machine = site.start(host, incoming=incoming, extra=[
            "-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={FIRMWARE}",
            "-drive", "if=pflash,unit=1,format=raw,cache=writeback,node-name=variables,"
                      f"file={host.path(name)}",
            "-qtest", f"unix:{path},server=on,wait=off", "-qtest-log", "none"])
        self.registers = socket.socket(socket.AF_UNIX)
        site.held.callback(self.registers.close)
        self.registers.connect(path)

    def ask(self, line):
        self.registers.sendall(line.encode() + b"\n")
        answer = b""
        while not answer.endswith(b"\n"):
            received = self.registers.recv(4096)
            testbed.check(received, f"QEMU closed its test protocol: {line}")
            answer += received
        testbed.check(answer.startswith(b"OK"), f"{line}: {answer!r}")
        return answer.decode().split()[1:]

    def program(self, offset, text):
        for at, byte in enumerate(text, VARIABLES_ADDRESS + offset):
            self.ask(f"writeb {at:#x} {PROGRAM_BYTE:#x}")
            self.ask(f"writeb {at:#x} {byte:#x}")
        self.ask(f"writeb {VARIABLES_ADDRESS:#x} {READ_ARRAY:#x}")

    def shows(self, offset, text):
        found, = self.ask(f"read {VARIABLES_ADDRESS + offset:#x} {len(text)}")
        return bytes.fromhex(found[2:]) == text


def variables_of_firmware(site, _image):
    """What the firmware stored at the source after the destination opened its file, and over there,
    is in the file at the server, and there when the guest is started again on the first host, which
    has read the file in between."""
    name = site.file(b"\xff", VARIABLES_BYTES)
    source = Flash(site, site.a, name)
    source.program(0, b"before")
    site.held.callback(os.close, migrate.host_reads_image(site.b.path(name)))
    destination = Flash(site, site.b, name, incoming=True)
    source.program(4096, b"at the source")
    downtime_ms = migrate.migrate(source.machine, destination.machine)
    source.machine.quit()
    site.held.callback(os.close, migrate.host_reads_image(site.a.path(name)))
    destination.program(8192, b"over there")
    destination.machine.quit()
    expect(hosts.blocks_differing(site.b, name) == 0, "stale: the variables' file as B reads it")
    again = Flash(site, site.a, name)
    for offset, text in ((0, b"before"), (4096, b"at the source"), (8192, b"over there")):
        expect(again.shows(offset, text), f"stale: no {text} when the guest starts again")
    return downtime_ms


# TPM -------------------------------------------------------------------------------------------

LOCK, STATE, NEW_STATE = ".lock", "tpm2-00.permall", "TMP2-00.permall"


class Tpm:
    """What swtpm does in its state directory: a lock of its process on a file of its own; each new
    state is a new file that is renamed over the old one."""

    def __init__(self, site, host):
        self.host = host
        self.vmm = site.vmm(host)
        self.vmm.open(1, LOCK, "rw+c")

    def take(self):
        return self.vmm.error("posix 1 w 0 0")

    def give(self):
        self.vmm.ask("posix 1 u 0 0")

    def store(self, byte):
        self.vmm.open(2, NEW_STATE, "rw+ct")
        self.vmm.write(2, 0, 4096, byte)
        self.vmm.ask("fsync 2")
        self.vmm.ask("close 2")
        os.rename(self.host.path(NEW_STATE), self.host.path(STATE))

    def load(self):
        self.vmm.open(3, STATE, "r")
        found = self.vmm.read(3, 0, 8192)
        self.vmm.ask("close 3")
        return found


def state_of_tpm(site, _image):
    """The destination has loaded the state, and kept it open; it waits for the lock, and what it
    loads then is what the source stored last."""
    source, destination = Tpm(site, site.a), Tpm(site, site.b)
    expect(source.take() == 0, "the lock is refused")
    source.store("1")
    site.held.callback(os.close, migrate.host_reads_image(site.b.path(STATE)))
    for here, there, byte in ((source, destination, "A"), (destination, source, "B"),
                              (source, destination, "C")):
        expect(there.take() in (errno.EAGAIN, errno.EACCES), "both hosts have the lock")
        there.load()
        here.store(byte)
        here.give()
        expect(there.take() == 0, "the lock is refused")
        right = f"{ord(byte):02x}*4096 end"
        found = there.load()
        expect(found == right, f"stale: the state is {found}, not {right}")


NV_DEFINE_SPACE, NV_READ_PUBLIC = 0x12a, 0x169
NO_SESSIONS, SESSIONS = 0x8001, 0x8002
FIRST_INDEX = 0x01500000
OWNER, PASSWORD, SHA256 = 0x40000001, 0x40000009, 0x000b
OWNER_MAY = 0x02060006  # read and write it, as who knows its password may
NOT_DEFINED = 0x18b


class Emulator:
    """A swtpm whose state is on a host, and commands to its TPM: a new index of its non-volatile
    memory is stored at once."""

    def __init__(self, site, host):
        testbed.require_tools("swtpm")
        path = site.bed.unique("tpm")
        self.process = site.bed.spawn(
            ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={host.directory}",
             "--server", f"type=unixio,path={path}", "--flags", "not-need-init,startup-clear"])
        self.socket = site.held.enter_context(socket.socket(socket.AF_UNIX))
        testbed.wait_until(lambda: self.process.poll() is not None or self.connects(path), 60,
                           "swtpm")
        self.refused = not self.answers()

    def connects(self, path):
        """Its socket has a name before it listens."""
        return self.socket.connect_ex(path) == 0

    def answers(self):
        """It listens before it has its directory's lock, and ends where it does not get it."""
        try:
            self.has(0)
            return True
        except (OSError, struct.error):
            self.process.wait(60)
            return False

    def ask(self, tag, command, arguments):
        """The TPM's response code."""
        self.socket.sendall(struct.pack(">HII", tag, 10 + len(arguments), command) + arguments)
        return struct.unpack(">HII", self.socket.recv(4096)[:10])[2]

    def define(self, number):
        public = struct.pack(">IHIHH", FIRST_INDEX + number, SHA256, OWNER_MAY, 0, 8)
        session = struct.pack(">IHBH", PASSWORD, 0, 0, 0)
        code = self.ask(SESSIONS, NV_DEFINE_SPACE, struct.pack(">II", OWNER, len(session))
                        + session + struct.pack(">HH", 0, len(public)) + public)
        testbed.check(code == 0, f"the TPM answers {code:#x}")

    def has(self, number):
        code = self.ask(NO_SESSIONS, NV_READ_PUBLIC, struct.pack(">I", FIRST_INDEX + number))
        testbed.check(code in (0, NOT_DEFINED), f"the TPM answers {code:#x}")
        return code == 0

    def quit(self):
        self.socket.close()
        self.process.terminate()
        self.process.wait(60)


def tpm_emulator(site, _image):
    """swtpm itself: on the other host it is refused while the TPM is in use, and has all that was
    stored once it is not. (Before version 0.8 it cannot move with a running guest on one
    directory.)"""
    there = (site.b, site.a)
    tpm = Emulator(site, site.a)
    testbed.check(not tpm.refused, "the first swtpm does not start")
    for number in range(3):
        tpm.define(number)
        second = Emulator(site, there[number % 2])
        expect(second.refused, "both hosts have the TPM")
        tpm.quit()
        tpm = Emulator(site, there[number % 2])
        expect(not tpm.refused, "the TPM is in use, though nobody has it")
        expect(all(tpm.has(earlier) for earlier in range(number + 1)), "stale: the TPM's state")
    tpm.quit()


# Saved states ----------------------------------------------------------------------------------

def save(machine, path):
    machine.stop()
    machine.qmp.events.clear()
    machine.qmp.command("migrate", uri=f"exec:cat >{path}")
    expect(migrate.wait(machine) == "completed", "not saved")


def saved_and_restored_there(site, image):
    """The other host has read an earlier save of that name, and the image: the restored guest goes
    on with what was saved last."""
    disk = site.image(**image.disk())
    saved = "saved"
    source = site.start(site.a, disk)
    source.write(1, 0, 4 * MIB)
    save(source, site.a.path(saved))
    site.held.callback(os.close, migrate.host_reads_image(site.b.path(saved)))
    site.read_before(site.b, disk)
    source.qmp.command("cont")
    source.write(2, 0, MIB)
    save(source, site.a.path(saved))
    source.quit()
    restored = site.start(site.b, disk, incoming=True)
    restored.qmp.command("migrate-incoming", uri=f"exec:cat <{site.b.path(saved)}")
    migrate.wait(restored, "completed")
    restored.qmp.command("cont")
    expect(hosts.blocks_differing(site.b, saved) == 0, "stale: the saved state")
    expect(restored.reads(2, 0, MIB) and restored.reads(1, MIB, MIB), "stale: the disk")
    restored.write(3, 0, MIB)
    restored.quit()
    site.check_image(disk)


def snapshot_loaded_there(site, image):
    """A snapshot with the machine's state, taken after the other host had read the image."""
    disk = site.image(**image.disk())
    source = site.start(site.a, disk)
    source.write(1, 0, 4 * MIB)
    site.read_before(site.b, disk)
    source.write(2, 0, MIB)
    refused = source.qmp.hmp("savevm state")
    expect(not refused, f"savevm: {refused}")
    source.write(3, 0, MIB)
    source.quit()
    there = site.start(site.b, disk)
    expect(there.reads(3, 0, MIB), "stale: the disk as it was at last")
    refused = there.qmp.hmp("loadvm state")
    expect(not refused, f"loadvm: {refused}")
    expect(there.reads(2, 0, MIB) and there.reads(1, MIB, MIB), "stale: the disk as it was saved")
    there.quit()
    site.check_image(disk)


# CD --------------------------------------------------------------------------------------------

def with_cd(path):
    return ["-drive", f"if=none,id=cd,media=cdrom,readonly=on,format=raw,file={path}",
            "-device", "ide-cd,drive=cd"]


def cd_of_both_hosts(site, image):
    """Guests on both hosts have the same CD; one moves, and both go on reading."""
    disk = site.image(**image.disk())
    cd = site.file(b"C", 2 * MIB)

    def start(host, *disks, **arguments):
        return site.start(host, *disks, extra=with_cd(host.path(cd)), **arguments)

    neighbour = start(site.b)
    source = start(site.a, disk)
    site.read_before(site.b, disk)
    destination = start(site.b, disk, incoming=True)
    source.write(1, 0, MIB)
    downtime_ms = migrate.migrate(source, destination)
    source.quit()
    expect(destination.reads(1, 0, MIB), "stale: the disk")
    for machine in (neighbour, destination):
        expect(machine.reads(ord("C"), 0, 2 * MIB, disk="cd"), "the CD is not what it is")
    return downtime_ms


QCOW2 = tuple(image for image in cells.IMAGES if image.format == "qcow2")

CASES = [
    cells.Case("firmware variables", variables_of_firmware, images=(cells.RAW,),
               variants=cells.reaches_server, quick=False,
               no_twin="QEMU reads them at its start alone, from a first open, and the destination "
                       "writes all of them: no cache is asked"),
    cells.Case("tpm state", state_of_tpm, twins=cells.BINDFS, images=(cells.RAW,),
               variants=cells.reaches_server),
    cells.Case("tpm emulator", tpm_emulator, twins=cells.BINDFS, images=(cells.RAW,),
               variants=cells.reaches_server),
    cells.Case("saved and restored there", saved_and_restored_there, twins=cells.BINDFS,
               variants=cells.opens_by_state, quick=False),
    cells.Case("snapshot loaded there", snapshot_loaded_there, twins=cells.BINDFS, images=QCOW2,
               quick=False),
    cells.Case("cd of both hosts", cd_of_both_hosts, twins=cells.BINDFS,
               variants=cells.reaches_server, quick=False),
]
