# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest boots from: the distribution's kernel and an initramfs with the load in it."""
import glob
import os

import initramfs
import testbed

MODULES = ("virtio_pci", "virtio_blk")
INIT = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
{insmod}
exec /guest
"""


def kernel_directory():
    """Where tests/setup unpacked the guest kernel; MIGFS_KERNEL_DIR overrides it."""
    return (os.environ.get("MIGFS_KERNEL_DIR")
            or os.path.join(testbed.TOP_DIR, "build", "deps", "kernel"))


def boot_files(bed):
    """(kernel, initramfs) for vm.Vm; ends the test as skipped where there is no kernel."""
    testbed.require_tools("busybox")
    kernel = os.path.join(kernel_directory(), "vmlinuz")
    if not os.path.exists(kernel):
        testbed.skip(f"no guest kernel in {kernel_directory()} (tests/setup kernel fetches one)")
    modules, = glob.glob(os.path.join(kernel_directory(), "lib", "modules", "*"))
    archive = os.path.join(bed.root, "initramfs")
    initramfs.build(modules, MODULES, INIT, archive, [("guest", testbed.binary("guest"))])
    return kernel, archive
