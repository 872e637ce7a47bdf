#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""boot.py ROOT NEWER: boots the Debian in the directory ROOT, which has systemd and migfs, under an
overlay in a VM; tests/package/booted runs there, with what it needs set up: lines of fstab, an
instance of migfs@.service, and stores that are mounted late, after the one migfs that does not wait
for its store. NEWER is the package to upgrade to.
"""
import glob
import os
import shutil
import signal
import subprocess
import sys
import tempfile

PACKAGE_DIR = os.path.dirname(os.path.abspath(__file__))
TOP_DIR = os.path.dirname(os.path.dirname(PACKAGE_DIR))
sys.path += [os.path.join(TOP_DIR, "tests"), os.path.join(TOP_DIR, "tests", "qemu")]

import initramfs  # noqa: E402
import testbed  # noqa: E402

KERNEL_DIR = os.path.join(TOP_DIR, "build", "deps", "lab", "kernel")
MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay", "fuse")
DEADLINE_S = 1200

INIT = """#!/bin/busybox sh
export PATH=/bin
busybox mount -t devtmpfs dev /dev
{insmod}
busybox mkdir -p /r /t /new
busybox mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,ro,cache=loose root /r
busybox mount -t tmpfs -o mode=755 tmpfs /t
busybox mkdir /t/upper /t/work
busybox mount -t overlay -o lowerdir=/r,upperdir=/t/upper,workdir=/t/work root /new
busybox mount -t proc proc /new/proc
busybox mount -t sysfs sysfs /new/sys
busybox mount -t devtmpfs dev /new/dev
busybox mount -t tmpfs -o mode=755 tmpfs /new/run
busybox mkdir /new/run/test
busybox mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 test /new/run/test
busybox chroot /new /bin/sh /run/test/prepare
exec busybox switch_root /new /lib/systemd/systemd
"""

PREPARE = r"""set -e
echo 0123456789abcdef0123456789abcdef >/etc/machine-id
mkdir -p /nfs/images /nfs/the-second /nfs/early /var/lib/libvirt/images /srv/second /srv/early
cat >/sbin/mount.late <<'END'
#!/bin/sh
tries=0
until grep -q ' /srv/early ' /proc/self/mountinfo || [ $tries = 600 ]; do
    sleep 0.1
    tries=$((tries + 1))
done
sleep 2
mount -n -t tmpfs -o mode=755 "$1" "$2"
touch "$2/stored"
END
chmod 755 /sbin/mount.late
cat >/etc/fstab <<'END'
images /nfs/images late _netdev,nofail 0 0
second /nfs/the-second late _netdev,nofail 0 0
early /nfs/early late _netdev,nofail 0 0
/nfs/images /var/lib/libvirt/images fuse.migfs _netdev,nofail,x-systemd.requires-mounts-for=/nfs/images 0 0
/nfs/early /srv/early fuse.migfs _netdev,nofail 0 0
END
mkdir -p /etc/migfs/nfs
sed 's,^MOUNTPOINT=.*,MOUNTPOINT=/srv/second,' /usr/share/doc/migfs/examples/images.conf \
    >/etc/migfs/nfs/the-second.conf
systemctl enable "migfs@$(systemd-escape --path /nfs/the-second).service"
mkdir -p /run/systemd/system/multi-user.target.wants
cat >/run/systemd/system/booted.service <<'END'
[Service]
Type=exec
ExecStart=/bin/sh -c '/bin/bash /run/test/booted >/run/test/output 2>&1; echo $$? >/run/test/status; journalctl -b >/run/test/journal; sync; systemctl poweroff --force --force'
END
ln -s ../booted.service /run/systemd/system/multi-user.target.wants/
"""


def share(tag, path, *options):
    return ["-virtfs", ",".join(["local", f"mount_tag={tag}", f"path={path}", "security_model=none",
                                 "multidevs=remap", *options])]


def boot_command(root, shared, archive):
    return ["setpriv", "--pdeathsig", "KILL",
            "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-machine", "q35", "-cpu", "max",
            "-smp", "2", "-m", "1024", "-nodefaults", "-no-user-config", "-display", "none",
            "-no-reboot", "-serial", "stdio", "-kernel", os.path.join(KERNEL_DIR, "vmlinuz"),
            "-initrd", archive, "-append",
            "console=ttyS0 panic=-1 no_timer_check mitigations=off random.trust_cpu=on "
            "systemd.getty_auto=0",
            *share("root", root, "readonly=on"), *share("test", shared)]


def shared_fill(shared, newer):
    for name in ("booted", "check"):
        shutil.copy(os.path.join(PACKAGE_DIR, name), shared)
    os.mkdir(os.path.join(shared, "newer"))
    shutil.copy(newer, os.path.join(shared, "newer"))
    with open(os.path.join(shared, "prepare"), "w", encoding="ascii") as file:
        file.write(PREPARE)


def text(shared, name):
    try:
        with open(os.path.join(shared, name), encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def main():
    root, newer = sys.argv[1:]
    if not os.path.exists(os.path.join(os.path.dirname(KERNEL_DIR), "stamp")):
        testbed.skip("no kernel to boot (tests/setup lab fetches it)")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="boot-") as scratch:
        shared = os.path.join(scratch, "test")
        archive = os.path.join(scratch, "initramfs")
        os.mkdir(shared)
        shared_fill(shared, newer)
        modules, = glob.glob(os.path.join(KERNEL_DIR, "lib", "modules", "*"))
        initramfs.build(modules, MODULES, INIT, archive)
        try:
            console = subprocess.run(boot_command(root, shared, archive), stdin=subprocess.DEVNULL,
                                     stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                     errors="replace", timeout=DEADLINE_S, check=False).stdout
        except subprocess.TimeoutExpired as expired:
            console = (expired.stdout or b"").decode(errors="replace")
        print(text(shared, "output"), end="")
        if text(shared, "status").strip() != "0":
            print(text(shared, "journal")[-20000:] or console[-20000:])
            sys.exit(1)


if __name__ == "__main__":
    main()
