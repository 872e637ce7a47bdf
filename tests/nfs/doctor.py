#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""migfsctl doctor on real NFS, in the lab's machine: a right set-up is all green, and each mount
option, module parameter and export that is not is found. tests/mount/doctor.py has the rest.

in_machine.py tests/nfs/doctor.py [CHECK]...
"""
import contextlib
import errno
import fcntl
import json
import os
import struct
import subprocess
import sys
import threading

for directory in ("..", "../mount", "."):
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), directory))

import forged_beacon  # noqa: E402
import testbed  # noqa: E402
from client import Client  # noqa: E402
from messages_failing import Failing  # noqa: E402
from report import report_of  # noqa: E402
from server import ADDRESS, EXPORT, LEASE_S, Server, sh, write  # noqa: E402
from testbed import binary, check  # noqa: E402

PARAMETER = "/sys/module/nfs/parameters/recover_lost_locks"
OFD_SETLK = 37
CALLS_MOST = 40
FOUND = {}  # what the server and its clients are, made once


class Place:
    """The export, mounted by a client, and what doctor says there."""

    def __init__(self, bed, name="a", options="vers=4.2"):
        self.bed = bed
        self.client = next(client for client in FOUND["clients"] if client.name == name)
        self.store = self.client.mountpoint
        os.makedirs(self.store, exist_ok=True)
        source = ADDRESS + (":" + EXPORT if "vers=3" in options else ":/")
        sh("nsenter", f"--net=/run/netns/{name}", "mount", "-t", "nfs", "-o", options, source,
           self.store)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.umount()

    def doctor(self, path=None, env=None):
        return report_of(self.bed.run(
            ["nsenter", f"--net=/run/netns/{self.client.name}", binary("migfsctl"), "doctor",
             "--json", path or self.store], expect=None, env=env))


def export_clean():
    sh("rm", "-rf", f"{EXPORT}/.migfs")
    check(os.listdir(EXPORT) == [], f"left: {os.listdir(EXPORT)}")


@contextlib.contextmanager
def initialised(path=EXPORT):
    """With .migfs, as after the first mount."""
    os.mkdir(f"{path}/.migfs", 0o700)
    try:
        yield
    finally:
        sh("rm", "-rf", f"{path}/.migfs")


@contextlib.contextmanager
def served(bed, place):
    mount = bed.mount_migfs(place.store)
    try:
        # As the server has it: root may be nobody here.
        testbed.wait_until(lambda: forged_beacon.listing(EXPORT), what="the beacon")
        yield mount
    finally:
        mount.umount()


def a_right_setup_is_all_green(bed):
    for version in ("4.2", "4.1", "4.0"):
        with Place(bed, options=f"vers={version}") as place:
            found = place.doctor()
            found.expect("lock", "yellow", "no", ".migfs", "migfsctl init")
            found.expect_all_green("lock")
            with served(bed, place) as mount:
                found = place.doctor(mount.path)
                found.expect_all_green()
                found.expect("store", "green", f"NFS {version}")
                found.expect("lock", "green", "seen by the server")
                found.expect("lease", "green", "10 s")
                check(len(forged_beacon.listing(place.store)) == 1, "a file is left")
        export_clean()


def delegations():
    """How many the server has given."""
    found = 0
    for client in os.listdir("/proc/fs/nfsd/clients"):
        with open(f"/proc/fs/nfsd/clients/{client}/states", encoding="ascii") as file:
            found += file.read().count("type: deleg")
    return found


@contextlib.contextmanager
def delegating():
    FOUND["server"].leases(True)
    try:
        yield
    finally:
        FOUND["server"].leases(False)


def is_delegated(place):
    """Whether the server gives a delegation to who makes a file, as doctor does."""
    fd = os.open(place.store + "/delegated", os.O_RDWR | os.O_CREAT)
    given = delegations() > 0
    os.close(fd)
    os.unlink(place.store + "/delegated")
    return given


def a_lock_under_a_delegation_is_seen(bed):
    delegated = {}
    for version in ("4.2", "4.1", "4.0"):
        with initialised(), delegating(), Place(bed, options=f"vers={version}") as place:
            delegated[version] = is_delegated(place)
            place.doctor().expect_all_green()
    check(any(delegated.values()), f"no delegation was given: {delegated}")


def one_minor_version_is_no_alarm(bed):
    """The other mount is then the same client to the server."""
    server = FOUND["server"]

    def serve(*without):
        sh("rpc.nfsd", "0")
        sh("rpc.nfsd", *without, "--lease-time", LEASE_S, "--grace-time", LEASE_S, "8")
        server.end_grace()

    try:
        serve("-N", "4.0", "-N", "4.1")
        with initialised(), Place(bed) as place:
            place.doctor().expect_all_green()
        with initialised(), delegating(), Place(bed) as place:
            found = place.doctor().findings["lock"]
            print(found, flush=True)
            check(found[0][0] in ("green", "yellow"), f"{found}")
            failing = Failing(bed)
            failing.say("unlocked", 0)  # as one that is kept under a delegation
            found = place.doctor(env=failing.env)
            found.expect("lock", "yellow", "one minor version only", "4.1 and 4.2")
    finally:
        serve("-V", "4.0", "-V", "4.1", "-V", "4.2")


def a_lock_that_is_not_there_or_cannot_be_looked_for(bed):
    failing = Failing(bed)
    with initialised(), Place(bed) as place:
        failing.say("unlocked", 0)
        place.doctor(env=failing.env).expect("lock", "red", "not seen by the server")
        said = ""
        for turn in range(CALLS_MOST):
            failing.say("openat", errno.EIO, turn, 1)
            said = str(place.doctor(env=failing.env).findings["lock"])
            if "was not learned" in said:
                break
        check("was not learned: Input/output error" in said, said)


def a_directory_of_the_export_is_found_there(bed):
    """Also where only a part of the filesystem is mounted."""
    os.makedirs(f"{EXPORT}/a b/c")
    with initialised(f"{EXPORT}/a b"), initialised(f"{EXPORT}/a b/c"), Place(bed) as place:
        place.doctor(place.store + "/a b/c").expect_all_green()
        part = bed.directory("part")
        bed.run(["mount", "--bind", place.store + "/a b", part])
        place.doctor(part).expect_all_green()
        place.doctor(part + "/c").expect_all_green()
        bed.run(["umount", part])
    sh("rm", "-rf", f"{EXPORT}/a b")


def status_says_what_a_server_does_not_stop(bed):
    """At the mount, too."""
    for version, fenced in (("4.2", True), ("3", False)):
        with initialised(), Place(bed, options=f"vers={version}") as place, \
                served(bed, place) as mount:
            path = os.path.join(mount.path, "image")
            with open(path, "wb"):
                document = json.loads(
                    bed.run([binary("migfsctl"), "status", "--json", path]).stdout)
                table = bed.run([binary("migfsctl"), "status", path]).stdout
            check(document["fenced_by_store"] == fenced, f"{version}: {document}")
            check(("can still write to it" in table) != fenced, f"{version}: {table}")
            said = "NFS before version 4" in mount.log_text()
            check(said != fenced, f"{version}: {mount.log_text()}")
            os.unlink(path)


def version_3_is_yellow_and_its_locks_are_seen(bed):
    with initialised(), Place(bed, options="vers=3") as place:
        found = place.doctor()
        found.expect("store", "yellow", "NFS 3", "vers=4.2")
        found.expect("lock", "green", "seen by the server")
        found.expect_all_green("store")
    with initialised(), Place(bed, options="vers=3,nolock") as place:
        found = place.doctor()
        found.expect("options", "red", "nolock")
        found.expect("options", "red", "local_lock=all")
        found.expect("lock", "red", "not seen by the server")
    with initialised(), Place(bed, options="vers=3,local_lock=posix") as place:
        found = place.doctor()
        found.expect("options", "red", "local_lock=posix")
        found.expect("lock", "red", "not seen by the server")
    with initialised(), Place(bed, options="vers=3,local_lock=flock") as place:
        found = place.doctor()
        found.expect("options", "red", "local_lock=flock")
        found.expect("lock", "green")


def options_that_break_coherence_are_found(bed):
    for options, colour, words in (
            ("nocto", "red", ("nocto",)),
            ("soft", "red", ("soft:", "hard")),
            ("softerr", "red", ("softerr:",)),
            ("actimeo=600", "yellow", ("acregmax=600", "actimeo=")),
            ("acregmin=61,acregmax=61", "yellow", ("acregmin=61",)),
            ("acdirmax=600", "yellow", ("acdirmax=600",)),
            ("acdirmax=600", "yellow", ("lookupcache=all", "lookupcache=positive"))):
        with initialised(), Place(bed, options="vers=4.2," + options) as place:
            found = place.doctor()
            found.expect("options", colour, *words)
            found.expect_all_green("options")
    for options in ("lookupcache=none", "actimeo=5", "noac", "acregmin=60,acdirmin=60",
                    "nosharecache"):
        with initialised(), Place(bed, options="vers=4.2," + options) as place:
            place.doctor().expect_all_green()
    with Place(bed, options="vers=4.2,acdirmax=600,lookupcache=positive") as place:
        check(len(place.doctor().colours("options")) == 1, "lookupcache=positive is told, too")
    with Place(bed, options="vers=4.2,ro") as place:
        found = place.doctor()
        found.expect("store", "red", "read-only")
        found.expect("records", "red", "Read-only")


def recovered_locks_are_red(bed):
    with initialised(), Place(bed) as place:
        write(PARAMETER, "Y")
        try:
            place.doctor().expect("recovery", "red", "no fence", "modprobe.d")
        finally:
            write(PARAMETER, "N")
        place.doctor().expect_all_green()


def a_squashed_root_is_told_to_init(bed):
    os.chown(EXPORT, testbed.USER_UID, testbed.USER_GID)
    FOUND["server"].export(squash=True)
    try:
        with Place(bed) as place:
            found = place.doctor()
            found.expect("records", "red", "user 0", "migfsctl init --uid")
            bed.run([binary("migfsctl"), "init", "--uid", testbed.USER_UID, place.store])
            found = place.doctor()
            found.expect("records", "green", f"user {testbed.USER_UID}")
            found.expect_all_green()
            with served(bed, place) as mount:
                place.doctor(mount.path).expect_all_green()
    finally:
        FOUND["server"].export()
        os.chown(EXPORT, 0, 0)
    export_clean()


def another_host_is_seen(bed):
    with Place(bed) as one, Place(bed, "b") as two:
        with served(bed, one) as mount:
            other = bed.mount_migfs(two.store, options="deadline=7000")
            try:
                testbed.wait_until(lambda: len(os.listdir(f"{EXPORT}/.migfs/hosts")) == 2,
                                   what="the other beacon")
                found = one.doctor(mount.path)
                found.expect("hosts", "green", "serves with migfs", "deadline=7000")
                found.expect_all_green()
                two.doctor(other.path).expect("hosts", "green", "the defaults")
            finally:
                other.umount()
            one.doctor(mount.path).expect("hosts", "green", "no other host")
    export_clean()


@contextlib.contextmanager
def writing(fd):
    """A guest that writes as long as the block lasts, and whose writes come to the server."""
    ends = threading.Event()

    def write_on():
        while not ends.wait(0.1):
            os.pwrite(fd, b"guest", 0)
            os.fsync(fd)

    thread = threading.Thread(target=write_on)
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join()


def a_host_without_migfs_is_seen(bed):
    """Its lock is the server's, seen from another host; its migfs would have made a record."""
    image = f"{EXPORT}/image"
    with Place(bed) as one, Place(bed, "b") as two:
        with served(bed, one) as mount:
            fd = os.open(two.store + "/image", os.O_RDWR | os.O_CREAT, 0o600)
            os.pwrite(fd, b"guest", 0)
            os.fsync(fd)
            one.doctor(mount.path).expect("images", "green")
            fcntl.fcntl(fd, OFD_SETLK,
                        struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 101, 1, 0))
            one.doctor(mount.path).expect("images", "green")  # it may be cut off
            with writing(fd):
                one.doctor(mount.path).expect("images", "red", "image", "no record names")
            os.close(fd)
    os.unlink(image)
    export_clean()


def io_uring_that_is_not_allowed_is_yellow(bed):
    switch = "/proc/sys/kernel/io_uring_disabled"
    with Place(bed) as place:
        for value in ("1", "2"):
            write(switch, value)
            try:
                place.doctor().expect("io_uring", "yellow", f"is {value}")
            finally:
                write(switch, "0")


def a_server_that_cannot_be_reached_is_red(bed):
    with Place(bed) as place:
        place.client.cut()
        try:
            found = place.doctor().findings
        finally:
            place.client.heal()
        check(any(colour == "red" and "did not answer" in text
                  for findings in found.values() for colour, text, _ in findings), f"{found}")


def a_long_lease_is_yellow(bed):
    server = FOUND["server"]
    sh("rpc.nfsd", "0")
    write("/proc/fs/nfsd/nfsv4leasetime", 200)
    sh("rpc.nfsd", "8")
    server.end_grace()
    try:
        with Place(bed) as place:
            place.doctor().expect("lease", "yellow", "200 s", "lease-time=")
    finally:
        server.restart()
        server.end_grace()


CHECKS = (a_right_setup_is_all_green, a_lock_under_a_delegation_is_seen,
          a_lock_that_is_not_there_or_cannot_be_looked_for,
          a_directory_of_the_export_is_found_there, status_says_what_a_server_does_not_stop,
          version_3_is_yellow_and_its_locks_are_seen,
          options_that_break_coherence_are_found, recovered_locks_are_red,
          a_squashed_root_is_told_to_init, another_host_is_seen, a_host_without_migfs_is_seen,
          io_uring_that_is_not_allowed_is_yellow, a_server_that_cannot_be_reached_is_red,
          a_long_lease_is_yellow, one_minor_version_is_no_alarm)


def main():
    if "MIGFS_LAB" not in os.environ:
        testbed.skip("runs in the lab's machine: tests/nfs/in_machine.py tests/nfs/doctor.py")
    server = Server()
    server.leases(False)
    subprocess.run(["modprobe", "-a", "nfs", "nfsv3", "nfsv4"], check=True)
    FOUND.update(server=server, clients=[Client("a", 11), Client("b", 12)])
    testbed.run_checks("doctor", CHECKS, deadline_s=180)


if __name__ == "__main__":
    testbed.main(main)
