# SPDX-License-Identifier: GPL-2.0-or-later
"""What a hand-over asks of the server, as the client counts it for each mount (mountstats): calls,
not times. Of some hand-overs the least of each direction, for the client and what follows an answer
have calls of their own: renewals, the lock on a record, the beacon."""
import collections
import os

import cell as cells
import testbed
from pair import IMAGE_BYTES, QEMU_BYTES
from scenario import expect

ROUNDS = 6
DATA_WRITES = 1   # what is to be synced
RELEASE_MOST = 2  # COMMIT, and the record's WRITE
# The calls of the state that a client keeps with its server, whoever uses it.
OF_CLIENT = {"SEQUENCE", "RENEW", "BIND_CONN_TO_SESSION", "RECLAIM_COMPLETE", "FREE_STATEID",
             "TEST_STATEID", "DELEGRETURN"}


def calls(mountpoint):
    """{operation: how often} of a mount."""
    found, here = collections.Counter(), False
    with open("/proc/self/mountstats", encoding="ascii") as file:
        for line in file:
            words = line.split()
            if words[:1] == ["device"]:
                here = words[4] == mountpoint
            elif here and len(words) > 8 and words[0].endswith(":") and words[0][:-1].isupper():
                found[words[0][:-1].split("/")[0]] += int(words[1])
    testbed.check(found, f"no statistics of {mountpoint}")
    return found


def without_clients(asked):
    return {name: count for name, count in asked.items() if name not in OF_CLIENT}


def history(site, name):
    """What the hosts have told of their hand-overs of a file: one write a side, a while after its
    answer, and the last calls that follow it."""
    ino = os.stat(os.path.join(site.store, name)).st_ino
    try:
        with open(os.path.join(site.store, ".migfs/history", f"{ino:x}"), "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""


def settled(mountpoint):
    """The calls so far, once those under way are over: nobody tells when the client has closed."""
    seen = [None, None]

    def is_quiet():
        seen[:] = seen[1], without_clients(calls(mountpoint))
        return seen[0] == seen[1]
    testbed.wait_until(is_quiet, what="a client that asks nothing", interval_s=0.1)
    return calls(mountpoint)


def counted(site, host, name, call):
    mountpoint = site.client(host).mountpoint
    before, told_before = settled(mountpoint), history(site, name)
    call()
    asked = calls(mountpoint) - before
    testbed.wait_until(lambda: history(site, name) != told_before, what="its history")
    return without_clients(asked)


def told(asked):
    return f"{sum(asked.values())}: " + ", ".join(
        f"{count} {name}" if count > 1 else name for name, count in sorted(asked.items()))


def hand_over_costs_few_calls(site, _image):
    """All locks of QEMU, and all unlocks, of an image with a cache and something to sync. What an
    acquire asks is told only: how much of it goes at once, a count does not say."""
    name = site.file()
    hosts = (site.a, site.b)
    vmms = [site.vmm(host, name) for host in hosts]
    released, acquired = [], []
    for turn in range(ROUNDS):
        host, vmm = hosts[turn % 2], vmms[turn % 2]
        acquired.append(counted(site, host, name, lambda vmm=vmm: vmm.lock(1)))
        vmm.read(1, 0, IMAGE_BYTES)
        vmm.write(1, 4096, 4096, "x")
        released.append(counted(site, host, name, lambda vmm=vmm: vmm.unlock(1)))
    release, acquire = (min(some, key=lambda asked: sum(asked.values()))
                        for some in (released[2:], acquired[2:]))
    count = sum(release.values()) - len(QEMU_BYTES) - DATA_WRITES  # beyond the guest's own
    expect(count <= RELEASE_MOST, f"a release asks {count} calls of the server: {told(release)}")
    return f"release {told(release)}; acquire {told(acquire)}"


CASES = [
    cells.Case("calls of a hand-over", hand_over_costs_few_calls,
               no_twin="it counts what migfs asks for", images=(cells.RAW,), stacks=("migfs",),
               variants=lambda variant: cells.reaches_server(variant) and variant.version == "4.2",
               private=True, alone=True),
]
