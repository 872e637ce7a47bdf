# SPDX-License-Identifier: GPL-2.0-or-later
"""What the load tests share: what a daemon holds, and where it hangs when it does."""

import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from testbed import TestFailure, wait_until  # noqa: E402


def is_sanitized():
    """Whether the daemons are slowed down by a sanitizer."""
    return "TSAN_OPTIONS" in os.environ or "ASAN_OPTIONS" in os.environ


def print_stacks(pids):
    """Where each thread of the processes is, in the kernel."""
    for pid in pids:
        try:
            tasks = os.listdir(f"/proc/{pid}/task")
        except OSError:
            continue
        for task in tasks:
            try:
                with open(f"/proc/{pid}/task/{task}/stack", encoding="ascii") as file:
                    stack = " < ".join(line.split()[1].split("+")[0] for line in file)
                with open(f"/proc/{pid}/task/{task}/comm", encoding="utf-8") as file:
                    name = file.read().strip()
            except OSError:
                continue
            print(f"  {name} {pid}/{task}: {stack}", file=sys.stderr, flush=True)


def run_watched(bed, argv, timeout_s, expect=0):
    """Runs a load to its end. One that hangs: shows where, and fails; the testbed then aborts."""
    process = bed.spawn(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return wait_watched(bed, process, timeout_s, expect)


def wait_watched(bed, process, timeout_s, expect=0):
    try:
        output, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        print_stacks([mount.pid for mount in bed.mounts if mount.pid] + [process.pid])
        raise TestFailure(f"{process.args[0]} hangs: not done after {timeout_s} s") from None
    bed.processes.remove(process)
    print(output.rstrip(), flush=True)
    if expect is not None and process.returncode != expect:
        raise TestFailure(f"{' '.join(process.args)}: status {process.returncode}")
    return output


def descriptors(mount):
    """What the daemon has open, by name; an inode that it knows is one of them, as O_PATH."""
    names = []
    for fd in os.listdir(f"/proc/{mount.pid}/fd"):
        try:
            names.append(os.readlink(f"/proc/{mount.pid}/fd/{fd}"))
        except OSError:
            continue  # closed meanwhile
    return sorted(names)


def forget_all():
    """The kernel forgets names and inodes that nobody uses."""
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
        file.write("2")


def check_descriptors(mount, before, timeout_s=20):
    """What the daemon had open before the load, and no more, once the kernel has forgotten. Queues
    and rings are its threads', which stay."""
    def others(names):
        return [name for name in names if "fuse" not in name and "io_uring" not in name]

    before = others(before)

    def extra():
        now = others(descriptors(mount))
        for name in before:
            if name in now:
                now.remove(name)
        return now

    def is_back():
        forget_all()
        return not extra()

    try:
        wait_until(is_back, timeout_s, "descriptors", interval_s=0.2)
    except TestFailure:
        left = extra()
        raise TestFailure(f"{mount.kind} on {mount.path} keeps {len(left)} descriptors: "
                          f"{left[:10]}") from None
