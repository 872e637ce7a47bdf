# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab's machine: a VM whose root is this system's, read-only under an overlay, with a kernel
that has NFS. What is installed and built here is there too, and nothing done there lasts, but what
is written to the shared directory.

    status = machine.run(["tests/nfs/inside.py"], shared)

The command runs as root in the top directory, with MIGFS_LAB set to the shared directory's path in
the VM; what it prints is passed on line by line.
"""
import glob
import os
import shlex
import shutil
import subprocess
import sys
import tempfile

TOP_DIR = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path += [os.path.join(TOP_DIR, "tests"), os.path.join(TOP_DIR, "tests", "qemu")]

import initramfs  # noqa: E402
import testbed  # noqa: E402

LAB_DIR = os.path.join(TOP_DIR, "build", "deps", "lab")
MEMORY_MIB = 4096
MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
MOUNT_9P = "trans=virtio,version=9p2000.L,msize=262144"
KERNEL_COMMAND_LINE = "console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on"
PASSED_ON = ("MIGFS_BIN_DIR", "MIGFS_TEST_BIN_DIR")
SHARED = "/run/lab"
JOB, BEGUN, STATUS = "job", "begun", "status"
MESSAGES = "messages"  # as MIGFS_MESSAGES of here (testbed.py)
BOOTS = 3

INIT = """#!/bin/busybox sh
export PATH=/bin
busybox mount -t devtmpfs dev /dev
{{insmod}}
busybox mkdir -p /r /l /t /new
busybox mount -t 9p -o {mount_9p},ro,cache=loose root /r
busybox mount -t 9p -o {mount_9p},ro,cache=loose lab /l
busybox mount -t tmpfs -o mode=755 tmpfs /t
busybox mkdir /t/upper /t/work
busybox mount -t overlay -o lowerdir=/l/root:/r,upperdir=/t/upper,workdir=/t/work root /new
busybox mount -t proc proc /new/proc
busybox mount -t sysfs sysfs /new/sys
busybox mount -t devtmpfs dev /new/dev
busybox mkdir -p /new/dev/pts /new/dev/shm
busybox mount -t devpts -o ptmxmode=666 devpts /new/dev/pts
for directory in /dev/shm /run; do
    busybox mkdir -p /new$directory
    busybox mount -t tmpfs -o mode=1777 tmpfs /new$directory
done
busybox mkdir -p /new{shared} /new/lib/modules
busybox mount -t 9p -o {mount_9p} shared /new{shared}
busybox mount --bind /l/kernel/usr/lib/modules /new/usr/lib/modules
exec busybox switch_root /new /bin/sh {shared}/{job}
"""

JOB_SCRIPT = """: >{shared}/{begun}
cd {top}
export {environment}
modprobe -a fuse ext4 loop dm_mod veth bridge
{command}
echo $? >{shared}/{status}
sync
exec busybox poweroff -f
"""


def require():
    """Ends the test as skipped where there is nothing to boot."""
    if not os.path.exists(os.path.join(LAB_DIR, "stamp")):
        testbed.skip("no lab to boot (tests/setup lab fetches it)")


def job_script(command, environment):
    return JOB_SCRIPT.format(
        top=shlex.quote(TOP_DIR), command=shlex.join(command), shared=SHARED, begun=BEGUN,
        status=STATUS,
        environment=" ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items()))


def environment_there():
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root", "LC_ALL": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1",
            "MIGFS_LAB": SHARED, "MIGFS_BUILD_DIR": "/nonexistent",
            "MIGFS_DEADLINE_FACTOR": "4",
            **({"MIGFS_MESSAGES": f"{SHARED}/{MESSAGES}"} if "MIGFS_MESSAGES" in os.environ else {}),
            **{name: os.environ[name] for name in PASSED_ON if name in os.environ}}


def processors(counts_instructions):
    """An emulator's time depends on how busy this computer is, and is spent where no processor
    would spend it. Instructions are the same everywhere: a nanosecond each, of one processor, since
    of two that take turns either one waits for the other."""
    if counts_instructions:
        return ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=on,align=off", "-smp", "1"]
    return ["-accel", "tcg,thread=multi", "-smp", str(os.cpu_count())]


def boot_command(directory, shared, counts_instructions):
    kernel = os.path.join(LAB_DIR, "kernel")
    modules, = glob.glob(os.path.join(kernel, "lib", "modules", "*"))
    archive = os.path.join(directory, "initramfs")
    initramfs.build(modules, MODULES, INIT.format(
        mount_9p=MOUNT_9P, shared=SHARED, job=JOB), archive)

    def share(tag, path, *options):
        return ["-virtfs", ",".join(["local", f"mount_tag={tag}", f"path={path}",
                                     "security_model=none", "multidevs=remap", *options])]

    return ["qemu-system-x86_64", *processors(counts_instructions), "-machine", "q35",
            "-cpu", "max", "-m", str(MEMORY_MIB), "-nodefaults", "-no-user-config",
            "-display", "none", "-no-reboot", "-serial", "stdio",
            "-kernel", os.path.join(kernel, "vmlinuz"), "-initrd", archive,
            "-append", KERNEL_COMMAND_LINE,
            *share("root", "/", "readonly=on"), *share("lab", LAB_DIR, "readonly=on"), *share("shared", shared)]


def tied(command):
    """The machine dies with whoever started it."""
    return ["setpriv", "--pdeathsig", "KILL", *command]


def boot(shared, on_line, counts_instructions):
    """Until the machine is off, or dies."""
    directory = tempfile.mkdtemp(prefix="migfs-lab-")
    try:
        command = boot_command(directory, shared, counts_instructions)
        with subprocess.Popen(tied(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              text=True, errors="replace") as vm:
            try:
                for line in vm.stdout:
                    on_line(line.rstrip())
            finally:
                vm.kill()  # on a signal, too: nothing in there is worth an orderly end
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def keep_messages(directory):
    for name in os.listdir(directory):
        with open(os.path.join(directory, name), encoding="utf-8",
                  errors="surrogateescape") as file:
            testbed.keep_said(file.read())
    shutil.rmtree(directory)


def run(command, shared, on_line=print, counts_instructions=False):
    """Boots, runs the command, powers off; its exit status, or None where it never ended.

    A kernel now and then dies while it boots: the emulator runs a processor into code that another
    one is patching. What died before the command began is booted again.
    """
    begun, status = os.path.join(shared, BEGUN), os.path.join(shared, STATUS)
    for path in (begun, status):
        if os.path.exists(path):
            os.unlink(path)
    with open(os.path.join(shared, JOB), "w", encoding="utf-8") as job:
        job.write(job_script(command, environment_there()))
    messages = os.path.join(shared, MESSAGES)
    os.makedirs(messages, exist_ok=True)
    for _ in range(BOOTS):
        boot(shared, on_line, counts_instructions)
        if os.path.exists(begun):
            break
        on_line("the machine died before anything ran in it; booted again, three times at most")
    keep_messages(messages)
    if not os.path.exists(status):
        return None
    with open(status, encoding="ascii") as file:
        return int(file.read())
