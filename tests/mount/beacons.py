#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Each mount has a beacon in .migfs/hosts while it serves, and is none the worse where it cannot.

beacons.py [CHECK]...
"""

import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import forged_beacon  # noqa: E402
import testbed  # noqa: E402
from testbed import binary, check  # noqa: E402

DAY_S = 24 * 3600


def machine_id():
    try:
        with open("/etc/machine-id", encoding="ascii") as file:
            return bytes.fromhex(file.read().strip()).ljust(16, b"\0")
    except OSError:
        return bytes(16)


def mounted(bed, source, options="", new=1):
    """A mount whose beacon is written, and the beacon's path."""
    before = set(forged_beacon.listing(source))
    mount = bed.mount_migfs(source, options=options)
    found = testbed.wait_until(lambda: set(forged_beacon.listing(source)) - before or not new,
                               what="the beacon")
    name = found.pop() if new else ""
    path = os.path.join(forged_beacon.directory(source), name)
    if new:
        testbed.wait_until(lambda: os.path.getsize(path) > 0, what="the beacon's bytes")
    return mount, path


def comes_and_goes_with_the_mount(bed):
    source = bed.directory("source")
    before_ns = time.time_ns()
    mount, path = mounted(bed, source, "deadline=5000,noatime,fence=strict")
    beacon = forged_beacon.read(path)
    check(beacon["magic"] == b"MIGFSBCN" and beacon["version"] == 1, f"{beacon}")
    check(beacon["name"] == os.uname().nodename, f"{beacon}")
    check(beacon["options"] == "deadline=5000,fence=strict", f"{beacon}")
    check(before_ns < beacon["mounted"] <= beacon["time"] <= time.time_ns(), f"{beacon}")
    version = bed.run([binary("migfs"), "--version"]).stdout.split()[1]
    check(beacon["release"] == version, f"{beacon}")
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        check(beacon["boot"].hex() == file.read().strip().replace("-", ""), f"{beacon}")
    check(os.path.basename(path) == f"{machine_id().hex()}-{beacon['instance']:016x}", path)
    check(os.stat(path).st_mode & 0o777 == 0o600, "others may read it")
    check(not os.path.exists(mount.path + "/.migfs"), "it shows in the mount")
    other, other_path = mounted(bed, source)
    check(forged_beacon.read(other_path)["options"] == "", "options that were not given")
    other.umount()
    check(forged_beacon.listing(source) == [os.path.basename(path)], "the other one's beacon")
    mount.umount()
    check(forged_beacon.listing(source) == [], "the beacon is left")


def is_of_the_directory_s_owner(bed):
    source = bed.directory("source")
    os.chown(source, testbed.USER_UID, testbed.USER_GID)
    bed.run([binary("migfsctl"), "init", "--uid", testbed.USER_UID, source])
    mount, path = mounted(bed, source)
    check(os.stat(path).st_uid == testbed.USER_UID, f"owner {os.stat(path).st_uid}")
    mount.umount()
    check(forged_beacon.listing(source) == [], "the beacon is left")


def is_written_again(bed):
    """Its time moves on, and what removed it is made good."""
    source = bed.directory("source")
    # A build for sanitizers has the faults in migfs itself.
    faulty = "migfs-faults" if os.path.exists(testbed.test_bin_dir() + "/migfs-faults") else "migfs"
    mount = bed.mount("fuse.migfs", [binary(faulty), source, "MOUNTPOINT"], source,
                      env={"MIGFS_BEACON_MS": "20"})
    name, = testbed.wait_until(lambda: forged_beacon.listing(source), what="the beacon")
    path = os.path.join(forged_beacon.directory(source), name)
    testbed.wait_until(lambda: os.path.getsize(path) > 0, what="the beacon's bytes")
    first = forged_beacon.read(path)
    testbed.wait_until(lambda: forged_beacon.read(path)["time"] > first["time"], what="a later one")
    check(forged_beacon.read(path)["mounted"] == first["mounted"], "mounted again")
    os.unlink(path)
    testbed.wait_until(lambda: forged_beacon.listing(source) == [name], what="a new one")
    mount.umount()
    check(forged_beacon.listing(source) == [], "the beacon is left")


def none_without_records(bed):
    source = bed.directory("source")
    for options in ("record=off", "coherence=off"):
        mount, _ = mounted(bed, source, options, new=0)
        mount.umount()
        check(not os.path.exists(source + "/.migfs"), f"{options}: {os.listdir(source)}")


def those_that_are_over_are_removed(bed):
    source = bed.directory("source")
    own = machine_id()
    gone = {forged_beacon.write(source, "old", instance=1, age_s=8 * DAY_S)}
    kept = {forged_beacon.write(source, "vanished", instance=2, age_s=6 * DAY_S),
            forged_beacon.write(source, "fresh", instance=3)}
    ended = forged_beacon.write(source, "ended here", machine=own, instance=4, age_s=3600)
    (gone if any(own) else kept).add(ended)
    kept.add(forged_beacon.write(source, "another mount here", machine=own, instance=5))
    for number, age_s in ((6, 8 * DAY_S), (8, 6 * DAY_S)):
        path = forged_beacon.write(source, instance=number)
        with open(path, "wb") as file:
            file.write(b"no beacon")
        os.utime(path, (time.time() - age_s,) * 2)
        (gone if age_s > 7 * DAY_S else kept).add(path)
    note = os.path.join(forged_beacon.directory(source), "README")
    with open(note, "w", encoding="ascii") as file:
        file.write("of an administrator's own")
    os.utime(note, (0, 0))
    kept.add(note)
    mount, path = mounted(bed, source)
    for name in gone:
        testbed.wait_until(lambda name=name: not os.path.exists(name), what=f"{name} to go")
    mount.umount()
    check({os.path.join(forged_beacon.directory(source), name)
           for name in forged_beacon.listing(source)} == kept, f"{forged_beacon.listing(source)}")
    check(path not in kept, "its own")


def a_mount_serves_without_it(bed):
    """Where it cannot be written one line in the log says so, and that is all."""
    source = bed.directory("source")
    os.makedirs(source + "/.migfs", mode=0o700)
    with open(source + "/.migfs/hosts", "w", encoding="ascii") as file:
        file.write("in the way")
    mount = bed.mount_migfs(source)
    testbed.wait_until(lambda: "beacon cannot be written" in mount.log_text(), what="the line")
    with open(mount.path + "/image", "w", encoding="ascii") as file:
        file.write("served")
    mount.umount()
    check(mount.log_text().count("this host's beacon") == 1, mount.log_text())


def is_idle(mount):
    """Whether the thread of the beacon has done what it does at first, and waits for its time."""
    for thread in os.listdir(f"/proc/{mount.pid}/task"):
        try:
            with open(f"/proc/{mount.pid}/task/{thread}/comm", encoding="ascii") as file:
                name = file.read().strip()
            with open(f"/proc/{mount.pid}/task/{thread}/wchan", encoding="ascii") as file:
                waits = file.read()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended meanwhile
        if name == "migfs-beacon":
            return waits.startswith("futex")
    return False


def a_store_that_does_not_answer_holds_up_no_end(bed):
    """The beacon is left then, and the daemon ends as it would without one."""
    store = bed.directory("store")
    below = bed.mount_ctofs(store)
    # Who looks for leaks waits for each thread to stop, and one that waits for the store does not.
    mount = bed.mount_migfs(below.path, env={"ASAN_OPTIONS": "detect_leaks=0"})
    testbed.wait_until(lambda: forged_beacon.listing(store) and is_idle(mount), what="the beacon")
    below.signal(signal.SIGSTOP)
    try:
        mount.signal(signal.SIGTERM)
        mount.wait_end()
    finally:
        below.signal(signal.SIGCONT)
    check(len(forged_beacon.listing(store)) == 1, "it was removed: the store did answer")


CHECKS = (comes_and_goes_with_the_mount, is_of_the_directory_s_owner, is_written_again,
          none_without_records, those_that_are_over_are_removed, a_mount_serves_without_it,
          a_store_that_does_not_answer_holds_up_no_end)


if __name__ == "__main__":
    testbed.main(lambda: testbed.run_checks("beacons", CHECKS))
