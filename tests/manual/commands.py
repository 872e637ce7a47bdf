#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Every command that README.md and the manual pages show is run as it stands there, on two hosts,
or it is named here which test does. One that nobody knows fails the test.

commands.py [PAGE]...
"""
import os
import re
import signal
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import testbed
from page import Page
from place import Exchange, Place
from stand_ins import Monitors
from testbed import check

STORE, IMAGES, MACHINES = "/nfs/images", "/var/lib/libvirt/images", "/srv/vm"
WARNINGS = 6  # of doctor: the store is not NFS
K = 1024


class Hosts:
    """Two hosts with a store, and who has images open."""

    def __init__(self, bed):
        self.bed = bed
        self.store = bed.directory()
        self.exchange = Exchange(bed)
        self.a, self.b = (Place(bed, name, self.store, self.exchange.directory) for name in "ab")

    def image(self, name, byte=b"0"):
        with open(os.path.join(self.store, name), "wb") as file:
            file.write(byte * 256 * K)

    def end(self):
        for place in (self.a, self.b):
            place.process.kill()
            place.process.wait()


class Opener:
    """A program that has an image open."""

    def __init__(self, place, path):
        self.process = place.start(f"exec 3<>'{path}'; echo open; read -r line")
        check(self.process.stdout.readline() == "open\n", f"{path} cannot be opened")

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def readme(page, hosts):
    a = hosts.a
    page.done_by("tests/demo", "tests/qemu/CMakeLists.txt", "tests/demo")
    page.done_by("tests/run", ".ci/run", "tests/run")
    page.done_by("tests/nfs/run migfs bare growth", "tests/nfs/CMakeLists.txt",
                 "matrix.py migfs bare growth")
    page.done_by("tests/nfs/run --picture", "tests/nfs/CMakeLists.txt", "matrix.py --picture")
    for example in page.examples:
        if example.endswith("/run --list"):
            a.run(page.take(example), directory=testbed.TOP_DIR)
        elif example.startswith("tests/bench/run "):
            page.done_by(example, "tests/bench/CMakeLists.txt", "bench.py")
    page.done_by("package/build", "tests/package/built", "package/build")
    page.done_by("apt install ./build/package/migfs_*.deb", "tests/package/installed",
                 "apt_install /packages/migfs_*.deb")
    page.done_by(page.find("_netdev,nofail"), "tests/package/boot_files", "README.md")
    build(page, a)
    a.run(page.take(f"migfs {STORE} {IMAGES}"))
    a.run(page.take(f"migfsctl doctor {IMAGES}"), expect=WARNINGS)
    a.run(page.take(f"umount {IMAGES}"))
    a.run(page.take(f"mount -t fuse.migfs {STORE} {IMAGES} -o deadline=5000"))
    a.run(page.take(f"migfsctl status {IMAGES}"))
    page.done_by(page.find("virsh migrate"), "tests/libvirt/scenarios.py", "the_manual_page")
    hosts.image("web.raw")
    a.run(page.take(f"migfsctl history {IMAGES}/web.raw"))


def build(page, host):
    """In the clone that this test is of, as far as it is built; the results go with the host."""
    with open(os.path.join(os.path.dirname(testbed.bin_dir()), "CMakeCache.txt"),
              encoding="utf-8") as file:
        libfuse = re.search(r"^FUSE_LIBDIR:.*=(.*)$", file.read(), re.M).group(1)
    for words in ("cmake -B build", "cmake --build build", "cmake --install build"):
        host.run(page.find(words), directory=testbed.TOP_DIR,
                 environment=[f"PKG_CONFIG_PATH={libfuse}/pkgconfig"])
    host.run("build/root/usr/bin/migfs --version; test -x build/root/usr/libexec/migfs-hook",
             directory=testbed.TOP_DIR)


def migfs_8(page, hosts):
    a = hosts.a
    hosts.image("disk.raw")
    page.done_by(page.find("_netdev,nofail"), "tests/package/boot_files", "fuse.migfs .*requires")
    page.done_by(page.find("[Mount]"), "tests/package/boot_files", r"\[Mount\]")
    configuration = page.find("MOUNTPOINT=")
    with open(os.path.join(testbed.TOP_DIR, "package", "images.conf"), encoding="utf-8") as file:
        lines = file.read().splitlines()
    check(set(configuration.splitlines()) <= {line.removeprefix("#") for line in lines},
          f"images.conf is not as shown: {configuration}")
    page.done_by(page.find("systemctl enable"), "tests/package/boot.py", "systemctl enable")
    page.done_by(page.find("journalctl"), "tests/mount/journal.py", 'find("journalctl")')
    both = page.find(f"migfsctl doctor {STORE}").splitlines()
    a.run(both[0], expect=WARNINGS)
    a.run(page.take(f"mount -t fuse.migfs {STORE} {IMAGES}"))
    a.run(both[1], expect=WARNINGS)
    opener = Opener(a, f"{IMAGES}/disk.raw")
    a.run(f"migfsctl acquire {IMAGES}/disk.raw")
    check("owner" in a.run(page.take(f"migfsctl status {IMAGES}")).stdout, "nobody is owner")
    opener.close()
    recovers(page, a)


def recovers(page, a):
    """What FAILURES says."""
    for words in page.examples:
        if words in page.left:
            page.take(words)
            a.run(words)


def migfs_5(page, hosts):
    a = hosts.a
    hosts.image("disk.qcow2")
    a.run(f"migfs {STORE} {IMAGES}")
    opener = Opener(a, f"{IMAGES}/disk.qcow2")
    a.run(f"migfsctl acquire {IMAGES}/disk.qcow2")
    told = a.run(page.find("disk.qcow2")).stdout
    check("\na\n" in told, f"the record names no host a: {told}")
    opener.close()


def migfsctl_1(page, hosts):
    a, b = hosts.a, hosts.b
    for name in ("vm.img", "disk.img"):
        hosts.image(name)
    a.run(page.take(f"migfsctl init --uid 107 {STORE}"))
    check(os.stat(os.path.join(hosts.store, ".migfs")).st_uid == 107, "it is not user 107's")
    for place in (a, b):
        place.run(f"migfs {STORE} {IMAGES} && mount --bind {IMAGES} {MACHINES}")
    a.run(page.take(f"migfsctl doctor {IMAGES}"), expect=WARNINGS)
    openers = [Opener(place, f"{IMAGES}/{name}") for place in (a, b)
               for name in ("vm.img", "disk.img")]
    hand_over_is_logged(page, a)
    check(a.run(page.find("jq -r"), directory=IMAGES).stdout == "owner\n", "a is not owner")
    a.run(page.take(f"migfsctl status {IMAGES}"))
    a.run(f"migfsctl acquire {MACHINES}/disk.img")
    a.run(page.take("migfsctl release /srv/vm/disk.img"))
    b.run(page.take("migfsctl acquire /srv/vm/disk.img"))
    command = page.take("migfsctl history vm.img")
    testbed.wait_until(lambda: " a " in a.run(command, directory=IMAGES).stdout, what="the history")
    a.run(page.take("migfsctl history --plot handover.svg vm.img").replace(
        "handover.svg", "/handover.svg"), directory=IMAGES)
    a.run("mkdir -p /var/lib/prometheus/node-exporter")
    a.run(page.find("--openmetrics="))
    for opener in openers:
        opener.close()
    a.run(page.take(f"migfsctl forget {IMAGES}/vm.img"))
    page.done_by("virsh start vm", "tests/libvirt/scenarios.py", "virsh start web")


def hand_over_is_logged(page, a):
    logging = a.start(page.find("migfsctl watch"))
    a.run(f"migfsctl acquire {IMAGES}/vm.img")
    testbed.wait_until(lambda: a.run("cat handovers.json", expect=None).stdout.count("acquire"),
                       what="the hand-over in the log")
    os.killpg(logging.pid, signal.SIGTERM)
    logging.wait()


def migfs_libvirt_7(page, _hosts):
    """By a test that boots two libvirts, and says itself when one of them was left out."""
    for example in list(page.examples):
        page.done_by(example, "tests/libvirt/scenarios.py", "the_manual_page",
                     "expect_nothing_left")


def migfs_vmm_7(page, hosts):
    """The monitors are stand-ins that make their calls; all else is as it is."""
    for name in ("web.raw", "data.raw"):
        hosts.image(name)
    Monitors(page, hosts).play()


UNKNOWN = (("    migfsctl frobnicate",), (".EX", "migfsctl frobnicate", ".EE"),
           (".Dl # frobnicate",), (".Dl migfsctl frobnicate",),
           (".Bd -literal", "format", "b# frobnicate", ".Ed"))


def expect_unknown_noticed(name):
    """The twin: with one more example, shown in any way that such a page has, one is left."""
    known = Page(name).examples
    ways = 0
    for more in UNKNOWN:
        page = Page(name, more)
        if len(page.examples) == len(known):
            continue
        ways += 1
        for example in known:
            page.take(example)
        check(page.left, f"{name}: an example that nobody knows is not noticed: {more}")
    check(ways >= 1, f"{name}: shows nothing by any of {UNKNOWN}")


PAGES = {"README.md": readme, "migfs.8": migfs_8, "migfs.5": migfs_5, "migfsctl.1": migfsctl_1,
         "migfs-libvirt.7": migfs_libvirt_7, "migfs-vmm.7": migfs_vmm_7}


def main():
    testbed.require_root()
    testbed.require_fuse()
    testbed.require_tools("jq", "nsenter", "unshare", "cmake")
    pages = {"README.md", *os.listdir(os.path.join(testbed.TOP_DIR, "man"))}
    check(pages == set(PAGES), f"pages that nobody plays, or that are gone: {pages ^ set(PAGES)}")
    bad = []
    for name, play in PAGES.items():
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        with testbed.Testbed("manual", 240) as bed:
            page, hosts = Page(name), Hosts(bed)
            try:
                play(page, hosts)
                page.expect_nothing_left()
                expect_unknown_noticed(name)
                print(f"ok   {name}: {len(page.examples)} examples", flush=True)
            except (testbed.TestFailure, subprocess.SubprocessError, OSError) as failure:
                bad.append(name)
                print(f"BAD  {name}: {failure}", flush=True)
            hosts.end()
    check(not bad, "not as shown: " + ", ".join(bad))


if __name__ == "__main__":
    testbed.main(main)
