# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests of libvirt under load: tests/nfs/guest_sector.S on one disk, which writes and checks all the
time, and is checked from outside when it stands still."""
import dataclasses
import os
import struct

import testbed
import vm
from virt_host import GUEST_LOGS, IMAGES, patience

BLOCKS, BLOCK_BYTES, NEAR_BLOCKS = 1024, 4096, 192  # guest_sector.S
IMAGE_BYTES = 64 << 20
OWN_BYTES = 4096
FAR_BYTES = 64 << 10
MAGIC = 0x6b6f6d67
EXPECTED = 0x20000  # where the guest remembers what each block must hold

XML = """\
<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>{memory_mib}</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='{format}' cache='{cache}'/>
      <source file='{images}/{image}'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <serial type='file'><source path='/var/log/libvirt/qemu/{name}.serial' append='on'/></serial>
  </devices>
</domain>
"""


class Damaged(Exception):
    """A block is not what the guest wrote last: the danger."""


@dataclasses.dataclass
class Guest:
    """host: where it runs."""
    name: str
    format: str
    cache: str
    memory_mib: int = 32
    host: object = None

    def __post_init__(self):
        self.image = f"{self.name}.{self.format}"

    def create(self, host):
        """Its image, with the program in the first sectors, made through a host's layer."""
        program = os.path.join(testbed.test_bin_dir(), "guest_sector")
        with open(program, "rb") as source, open(host.path("/run/guest_sector"), "wb") as file:
            file.write(source.read())
        host.run(f"cd {IMAGES} && qemu-img create -q -f {self.format} {self.image} 64M && "
                 f"qemu-io -f {self.format} -c 'write -s /run/guest_sector 0 "
                 f"{os.path.getsize(program)}' {self.image}")

    def define(self, host):
        """Makes it known to a host's libvirt."""
        host.write(f"/root/{self.name}.xml", XML.format(
            images=IMAGES, image=self.image, name=self.name, format=self.format, cache=self.cache,
            memory_mib=self.memory_mib))
        host.run(f"virsh define /root/{self.name}.xml")

    def start(self, host):
        host.run(f"virsh start {self.name}")
        self.host = host

    # What it says ----------------------------------------------------------------------------

    def reports(self):
        lines = self.host.read(f"{GUEST_LOGS}/{self.name}.serial").splitlines()
        return [counts for counts in map(vm.Counts.parse, map(str.rstrip, lines)) if counts]

    def counts(self):
        reports = self.reports()
        return reports[-1] if reports else None

    def expect_right(self, passes=1, seconds=120):
        """Waits until it has checked all its blocks from now on; none may be wrong."""
        def passed():
            counts = self.counts()
            return counts and (counts.bad or counts.passes > first + passes) and counts
        first = self.counts().passes if self.counts() else 0
        counts = testbed.wait_until(passed, patience(seconds), f"a pass of {self.name} on "
                                    f"{self.host.name} after {self.counts()}", 0.05)
        if counts.bad:
            raise Damaged(f"{self.name} on host {self.host.name}: {counts}")
        return counts

    def forget_reports(self):
        """What it said before."""
        self.host.write(f"{GUEST_LOGS}/{self.name}.serial", "")

    def expect_runs(self, passes=1, seconds=120):
        """As expect_right, after it was booted from an image that it had used: what it wrote before
        is wrong to it, until it is written anew."""
        def passed():
            counts = self.counts()
            return counts and counts.seq > 0 and (counts.error or len(self.reports()) > first +
                                                  passes) and counts
        first = len(self.reports())
        counts = testbed.wait_until(passed, patience(seconds), f"{self.name} on {self.host.name}",
                                    0.05)
        if counts.error or counts.stale:
            raise Damaged(f"{self.name} on host {self.host.name}: {counts}")

    def wait_error(self, seconds=60):
        """The guest is told that its disk is gone."""
        testbed.wait_until(lambda: self.counts().error, patience(seconds), "an error in the guest")

    def went_back(self, then):
        """Whether, after that report, it came to one that is older."""
        return any(counts.seq < then.seq for counts in
                   self.reports()[self.reports().index(then):])

    # From outside ----------------------------------------------------------------------------

    def _expected(self):
        """The sequence number of each block, from the guest's memory; the one under way."""
        said = self.host.said(f"virsh qemu-monitor-command {self.name} --hmp "
                              f"'xp /{BLOCKS}wx {EXPECTED:#x}'")
        numbers = [int(word, 16) for line in said.splitlines()
                   for word in line.partition(":")[2].split()]
        testbed.check(len(numbers) == BLOCKS, f"{len(numbers)} words of memory")
        return numbers

    def expect_stored(self, store, booted_anew=False):
        """With the guest suspended: each of its blocks on the store, and as this host reads it, is
        the one that it wrote last; booted anew, it does not know those that it has not written
        since."""
        self.host.run(f"virsh suspend {self.name}")
        expected = self._expected()
        for what, directory in (("the store", store), (f"host {self.host.name}",
                                                       self.host.path(IMAGES))):
            raw = self._raw(os.path.join(directory, self.image))
            wrong = [number for number, sequence in enumerate(expected)
                     if not block_is(raw, number, sequence, max(expected) + 1)
                     and not (booted_anew and sequence == 0)]
            if wrong:
                raise Damaged(f"{self.name}: {len(wrong)} blocks on {what} are not what the guest "
                              f"wrote last: {wrong[:8]}")
        self.host.run(f"virsh resume {self.name}")

    def expect_sizes(self, store):
        """domblkinfo, of a guest that stands still."""
        said = self.host.said(f"virsh domblkinfo {self.name} vda")
        sizes = {name: int(size) for name, _, size in
                 (line.partition(":") for line in said.splitlines())}
        file = os.stat(os.path.join(store, self.image))
        right = {"Capacity": IMAGE_BYTES, "Allocation": file.st_blocks * 512,
                 "Physical": file.st_size}
        if self.format == "qcow2" and self.host.said(f"virsh domstate {self.name}") != "shut off":
            right["Allocation"] = sizes["Allocation"]  # the end of what QEMU has written
        testbed.check(sizes == right, f"domblkinfo shows {sizes}, not {right}")

    def _raw(self, path):
        if self.format == "raw":
            with open(path, "rb") as file:
                return file.read()
        copy = self.host.bed.unique("raw")
        self.host.bed.run(["qemu-img", "convert", "-U", "-f", self.format, "-O", "raw", path, copy])
        with open(copy, "rb") as file:
            content = file.read()
        os.unlink(copy)
        return content


def block_is(raw, number, sequence, under_way):
    """Whether a block holds that write of the guest, or the one that was under way."""
    at = OWN_BYTES + number * BLOCK_BYTES + max(0, number - NEAR_BLOCKS) * FAR_BYTES
    block = raw[at:at + BLOCK_BYTES]
    if sequence == 0 and not any(block):
        return True
    magic, own, written = struct.unpack_from("<III", block)
    return (magic, own) == (MAGIC, number) and written in (sequence, under_way)
