# SPDX-License-Identifier: GPL-2.0-or-later
"""A whole guest that runs fio: its disk is an image on the stack, or, with virtiofsd, it mounts
what the daemon shares. The guest's processor is emulated, so that the stack is a small part of what
a request takes; but all of QEMU's way to the image is there, and its locks are."""
import glob
import os
import re
import shutil
import socket
import subprocess
import sys

import testbed

sys.path.append(os.path.join(testbed.TESTS_DIR, "qemu"))

import boot  # noqa: E402
import initramfs  # noqa: E402
import vm  # noqa: E402

GUEST_BYTES = 512 << 20  # fio's libraries are in its initramfs, and unpacked
MODULES = (*boot.MODULES, "virtiofs")
DONE = "bench done"
INIT = """#!/bin/busybox sh
for name in proc sys tmp share; do /bin/busybox mkdir /$name; done
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
{insmod}
exec 3<>/dev/ttyS1
/bin/busybox stty raw -echo <&3
/bin/busybox echo """ + DONE + """
while read -r line; do
    eval "$line"
    /bin/busybox echo """ + DONE + """
done <&3
"""
FIO = "/bin/ld.so --library-path /bin /bin/fio"
IMAGE = "/dev/vda"
SHARED = "/share/guest"


def missing():
    """Why no guest can be had here, or None."""
    if not shutil.which(vm.QEMU):
        return f"{vm.QEMU} is not installed"
    if not os.path.exists(os.path.join(boot.kernel_directory(), "vmlinuz")):
        return "tests/setup kernel fetches a guest kernel"
    return None


def libraries_of(program):
    """(loader, libraries): paths."""
    text = subprocess.run(["ldd", program], check=True, stdout=subprocess.PIPE, text=True).stdout
    loader = re.search(r"^\s*(/\S*/ld-\S+)", text, re.MULTILINE).group(1)
    return loader, re.findall(r"=> (/\S+)", text)


def build_initramfs(bed):
    fio = shutil.which("fio")
    loader, libraries = libraries_of(fio)
    modules, = glob.glob(os.path.join(boot.kernel_directory(), "lib", "modules", "*"))
    archive = os.path.join(bed.root, "initramfs-bench")
    if not os.path.exists(archive):
        programs = [("bin/fio", fio), ("bin/ld.so", loader)]
        programs += [(f"bin/{os.path.basename(path)}", path) for path in libraries]
        initramfs.build(modules, MODULES, INIT, archive, programs)
    return archive


class Guest(vm.LinuxGuest):
    """Does what is written to its second serial line."""

    memory_bytes = GUEST_BYTES

    def __init__(self, bed):
        super().__init__(os.path.join(boot.kernel_directory(), "vmlinuz"), build_initramfs(bed))
        self.socket = os.path.join(bed.directory("sockets", mode=0o1777),
                                   os.path.basename(bed.unique("commands")))

    def arguments(self):
        return super().arguments() + [
            "-chardev", f"socket,id=commands,path={self.socket},server=on,wait=off",
            "-serial", "chardev:commands"]


class Machine:
    """A guest that runs on a place's image, or with what its virtiofsd shares."""

    def __init__(self, bed, place, image):
        self.guest = Guest(bed)
        disks, extra = [], []
        if place.share:
            extra = ["-chardev", f"socket,id=share,path={place.share}",
                     "-device", "vhost-user-fs-pci,chardev=share,tag=share"]
        else:
            disks = [vm.Disk(os.path.basename(image), cache="none", aio="native")]
        self.vm = vm.Vm(bed, os.path.dirname(image), disks, guest=self.guest, extra=extra)
        self.commands = socket.socket(socket.AF_UNIX)
        self.commands.connect(self.guest.socket)
        self.seen = 0
        self.await_done()
        if place.share:
            self.run("/bin/busybox mount -t virtiofs share /share")
        self.file = SHARED if place.share else IMAGE

    def await_done(self, timeout_s=120):
        """The lines until then."""
        serial = self.guest.serial
        with serial.changed:
            found = serial.changed.wait_for(lambda: DONE in serial.lines[self.seen:], timeout_s)
            testbed.check(found, "the guest did not get there; its last words:\n"
                          + "\n".join(serial.lines[-8:]))
            end = serial.lines.index(DONE, self.seen)
            lines, self.seen = serial.lines[self.seen:end], end + 1
        return lines

    def run(self, command):
        self.commands.sendall(command.encode() + b"\n")
        return self.await_done()

    def fio(self, milliseconds, *arguments):
        """Requests a second, and how many there were."""
        lines = self.run(f"{FIO} --name=bench --filename={self.file} --size=100% --time_based "
                         f"--runtime={milliseconds}ms --norandommap --randrepeat=0 --thread "
                         f"--direct=1 --ioengine=libaio --minimal {' '.join(arguments)}")
        words = next((line.split(";") for line in lines if line.startswith("3;fio-")), None)
        testbed.check(words, "fio in the guest: " + "\n".join(lines))
        # fio(1), TERSE OUTPUT, version 3: requests a second and milliseconds, read and written
        sides = [(float(words[i]), float(words[i + 1]) / 1000) for i in (7, 48)]
        return max(rate for rate, _ in sides), sum(rate * seconds for rate, seconds in sides)

    def end(self):
        self.commands.close()
        self.vm.kill()
        self.guest.close()
