# SPDX-License-Identifier: GPL-2.0-or-later
"""What a server takes while nothing is done: its memory with ten thousand files known, and how
often its threads run nevertheless."""
import os
import time

import stacks

FILES = 10000
FILES_A_DIRECTORY = 100
SETTLE_S = 1
SECONDS = 65  # longer than what is done once a minute
SECONDS_QUICK = 5


def make_files(directory):
    for i in range(FILES):
        below = os.path.join(directory, str(i // FILES_A_DIRECTORY))
        if i % FILES_A_DIRECTORY == 0:
            os.mkdir(below)
        with open(os.path.join(below, str(i)), "wb"):
            pass


def know_files(directory):
    """The kernel asks for each, and keeps what it is told."""
    for path, _, names in os.walk(directory):
        for name in names:
            os.lstat(os.path.join(path, name))


def resident_mib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) / 1024


def wakes(pid):
    """{(thread, name): how often it waited for something}."""
    counts = {}
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/status", encoding="ascii") as file:
            fields = dict(line.split(":", 1) for line in file)
        counts[thread, fields["Name"].strip()] = int(fields["voluntary_ctxt_switches"])
    return counts


def woken(before, after):
    """{name: how often since}."""
    found = {}
    for thread, count in after.items():
        if count > before.get(thread, 0):
            found[thread[1]] = found.get(thread[1], 0) + count - before.get(thread, 0)
    return found


def measure(bed, names, quick):
    """Rows. All wait together."""
    seconds = SECONDS_QUICK if quick else SECONDS
    mounts = {}
    for name in names:
        source = bed.directory(f"idle-{name}")
        make_files(source)
        mounts[name] = stacks.STACKS[name](bed, source)
        know_files(mounts[name].path)
    time.sleep(SETTLE_S)
    before = {name: wakes(mount.pid) for name, mount in mounts.items()}
    time.sleep(seconds)
    for name, mount in mounts.items():
        who = woken(before[name], wakes(mount.pid))
        yield {"stack": name, "resident_mib": f"{resident_mib(mount.pid):.1f}",
               "seconds": seconds, "wakes": sum(who.values()),
               "who": " ".join(f"{thread}:{count}" for thread, count in who.items())}
        mount.umount()
