# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests of which only the system calls matter: processes of vmm.c on the hosts of a cell."""
import types

import hosts
import pair
from scenario import expect

KIB = 1 << 10
IMAGE_BYTES = 256 * KIB
HALF = IMAGE_BYTES // 2
USES_WRITE, UNSHARED_WRITE = 101, 201  # what QEMU asks about before it believes its locks


def image(site, name="image", byte="0"):
    """A raw image, put on the store before anybody looks."""
    with open(f"{site.store}/{name}", "wb") as file:
        file.write(byte.encode() * IMAGE_BYTES)
    return name


def vmm(site, host, name=None, flags="rw", as_user=False):
    """A VMM on a host of the cell, with the image open in slot 1."""
    machine = pair.Vmm(types.SimpleNamespace(bed=site.bed, path=host.path), as_user)
    if name:
        machine.open(1, name, flags)
    return machine


def bare(site, host):
    """The same host's NFS mount, without what is above it."""
    return hosts.Host(host.name, host.below, host.store, host.below)


def is_free(machine, slot=1):
    """As QEMU asks after it has taken its locks: does another host write?"""
    return all(machine.ask(f"getlk {slot} w {byte} 1") == "free"
               for byte in (USES_WRITE, UNSHARED_WRITE))


def acquires(machine, slot=1):
    """Tries what QEMU does to activate a disk; gives its locks back where it is refused."""
    try:
        machine.lock(slot)
        if is_free(machine, slot):
            return True
    except pair.CallFailed:
        pass  # a lock that migfs would not wait for any longer is a refusal, too
    for byte in pair.QEMU_BYTES:
        machine.error(f"unlock {slot} {byte} 1")
    return False


def expect_byte(machine, byte, offset, length, what, slot=1):
    seen = machine.read(slot, offset, length)
    expect(seen == pair.runs(byte, length), f"stale: {what}: {seen}")
