# SPDX-License-Identifier: GPL-2.0-or-later
"""VMMs that lock otherwise than QEMU, or not at all: the image goes there and back on descriptors
that stay open and buffered, with no advice and no second open in between."""
import errno
import os

import cell as cells
import testbed
from pair import IMAGE_BYTES, runs
from scenario import expect

HALF = IMAGE_BYTES // 2
CLOSE = "close 1"
HOOK = os.path.join(testbed.TOP_DIR, "package", "migfs-hook")


class Locks:
    """A VMM that takes and gives a lock on its image by these calls."""

    def __init__(self, taking, giving):
        self.taking = taking
        self.giving = giving

    def take(self, vmm):
        """The errno."""
        return vmm.error(self.taking.format(length=vmm.ask("size 1")))

    def acquire(self, vmm, _site, _name):
        """Whoever closes may be on its way out."""
        testbed.wait_until(lambda: self.take(vmm) == 0, what=self.taking)

    def release(self, vmm, _site, name):
        vmm.ask(self.giving)
        if self.giving == CLOSE:
            vmm.open(1, name)


class Ioctl:
    """A VMM that takes no lock: somebody else says when, on one host by migfsctl, on the other by
    the ioctl. Where there is no migfs nobody can be told."""

    giving = "release"

    def acquire(self, vmm, site, name):
        self.tell(vmm, site, name, "acquire")

    def release(self, vmm, site, name):
        self.tell(vmm, site, name, "release")

    @staticmethod
    def tell(vmm, site, name, what):
        if site.stack not in cells.MIGFS:
            return
        if vmm.host.name == site.a.name:
            site.bed.run([testbed.binary("migfsctl"), what, site.a.path(name)])
        else:
            control = site.vmm(site.b, name)
            control.ask(f"{what} 1")
            control.ask("close 1")


class Hook(Ioctl):
    """The same, by the hook on both hosts."""

    @staticmethod
    def tell(vmm, site, name, what):
        host = site.a if vmm.host.name == site.a.name else site.b
        if site.stack in cells.MIGFS:
            site.bed.run([HOOK, what, host.path(name)],
                         env={"PATH": f"{testbed.bin_dir()}:{os.environ['PATH']}"})


WHOLE = Locks("lock 1 w 0 0", "unlock 1 0 0")
LENGTH = Locks("lock 1 w 0 {length}", "unlock 1 0 0")
WHOLE_BY_CLOSE = Locks("lock 1 w 0 0", CLOSE)
FLOCK = Locks("flock 1 ex", "flock 1 un")
FLOCK_BY_CLOSE = Locks("flock 1 ex", CLOSE)


def there_and_back(locks, site, _image):
    """Each host reads what the other one wrote, a part through a mapping, before it handed over;
    the length too. One that has handed over and keeps its descriptor cannot write."""
    name = site.file()
    a, b = site.vmm(site.a, name), site.vmm(site.b, name)
    for vmm in (a, b):
        vmm.read(1, 0, IMAGE_BYTES)
    length = IMAGE_BYTES
    for here, there, byte in ((a, b, "A"), (b, a, "B"), (a, b, "C")):
        locks.acquire(here, site, name)
        here.ask(f"map 1 {IMAGE_BYTES}")
        here.ask(f"store 1 0 {HALF} {byte}")
        here.write(1, HALF, length + 4096 - HALF, byte)
        length += 4096
        here.ask("unmap 1")
        locks.release(here, site, name)
        locks.acquire(there, site, name)
        seen = there.read(1, 0, length)
        expect(seen == runs(byte, length), f"stale: {seen}, not {length} of {byte}")
        expect(there.ask("size 1") == str(length), "stale: the length")
        if site.stack == "migfs" and locks.giving != CLOSE:
            expect(here.error("write 1 0 4096 X") == errno.EIO, "who has handed over writes")
        locks.release(there, site, name)


def one_at_a_time(locks, site, _image):
    """Where the lock excludes, two hosts never have it both."""
    name = site.file()
    a, b = site.vmm(site.a, name), site.vmm(site.b, name)
    for here, there in ((a, b), (b, a)):
        expect(locks.take(here) == 0, "the lock is refused")
        expect(locks.take(there) == errno.EAGAIN, "both hosts have the lock")
        locks.release(here, site, name)


def case(name, locks, options, run=there_and_back):
    return cells.Case(name, lambda site, image: run(locks, site, image), twins=cells.BINDFS,
                      images=(cells.RAW,), variants=cells.reaches_server,
                      options=options)


CASES = [
    case("lock of all", WHOLE, "profile=range"),
    case("lock of the length", LENGTH, "profile=range"),
    case("lock of all given by close", WHOLE_BY_CLOSE, "profile=range"),
    case("lock of all excludes", WHOLE, "profile=range", one_at_a_time),
    case("flock", FLOCK, "profile=flock"),
    case("flock given by close", FLOCK_BY_CLOSE, "profile=flock"),
    case("flock excludes", FLOCK, "profile=flock", one_at_a_time),
    case("no lock but the ioctl", Ioctl(), "profile=none"),
    case("no lock but the hook", Hook(), "profile=none,fence=strict"),
]
