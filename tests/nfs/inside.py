#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs cells inside the lab's machine. See matrix.py, which writes the list and reads the outcomes.

    inside.py JOBS        the cells of the shared file cells.list, so many side by side

Each cell is a process of its own with a deadline, so that one that hangs or dies takes none along.
Cells of one variant share two hosts and their mounts, and run side by side; beside them one private
cell at a time, on two other hosts, whose links it may cut. One that restarts the server or fills
its disk runs alone.
"""
import collections
import dataclasses
import itertools
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
import traceback

for directory in ("../hosts", "..", "../qemu", "."):
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), directory))

import cases  # noqa: E402
import cell as cells  # noqa: E402
import nfs_site  # noqa: E402
import pair  # noqa: E402
import scenario  # noqa: E402
import testbed  # noqa: E402
from client import Client  # noqa: E402
from server import Server  # noqa: E402

SHARED = os.environ.get("MIGFS_LAB", "")
DEADLINE_FACTOR = float(os.environ.get("MIGFS_DEADLINE_FACTOR", "1"))


class Hosts:
    """Two client hosts, with the export mounted in the variant that was asked for last."""

    def __init__(self, *clients):
        self.clients = clients
        self.variant = None

    def mount(self, variant):
        if variant == self.variant:
            return
        self.umount()
        for client in self.clients:
            client.mount(variant)
        self.variant = variant

    def umount(self):
        """What is left of a cell must not meet the next one."""
        for client in self.clients:
            client.heal()
            client.umount()
        self.variant = None


class Lab:
    """The server, the hosts that cells share, and those of one that has its own."""

    def __init__(self):
        self.server = Server()
        subprocess.run(["modprobe", "-a", "nfs", "nfsv3", "nfsv4"], check=True)
        self.shared = Hosts(Client("a", 11), Client("b", 12))
        self.private = Hosts(Client("c", 13), Client("d", 14))

    def hosts(self, cell):
        return self.private if cell.case.private else self.shared

    def umount(self):
        self.shared.umount()
        self.private.umount()


def last_words():
    """What this process said last: why a test was skipped, for one."""
    sys.stdout.flush()
    with open("/proc/self/fd/1", encoding="utf-8", errors="replace") as said:
        lines = [line for line in said.read().splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"


def run_cell(lab, cell, directory):
    """In a process of its own: what it gave, to be written as JSON."""
    started = time.monotonic()
    downtime_ms, state, detail = None, cells.FRESH, ""
    try:
        with testbed.Testbed("cell", cell.case.deadline_s) as bed:
            try:
                place = nfs_site.Site(bed, cell, lab)
                try:
                    found = cell.case.run(place, cell.image)
                finally:
                    place.end()
                    print(*place.words(), sep="\n", file=sys.stderr)
            except BaseException:
                logs_keep(bed, directory)
                raise
            if isinstance(found, str):
                detail = found
            else:
                downtime_ms = found
    except scenario.Wrong as wrong:
        state, detail = cells.STALE, str(wrong)
    except SystemExit as ended:
        state = cells.SKIPPED if ended.code == testbed.EXIT_SKIPPED else cells.ERROR
        detail = last_words()
    except scenario.FAILURES + (subprocess.SubprocessError, TimeoutError,
                                pair.CallFailed) as failure:
        state, detail = cells.ERROR, f"{type(failure).__name__} {failure}"
    return cells.Outcome(state, detail, downtime_ms, getattr(downtime_ms, "standstill_ms", None),
                         time.monotonic() - started)


def logs_keep(bed, directory):
    """What both hosts' filesystems and machines said."""
    for name in os.listdir(bed.root):
        path = os.path.join(bed.root, name)
        if os.path.isfile(path) and (name.startswith("log.") or name.startswith("qemu-log")):
            shutil.copy(path, directory)


class Run:
    """One run of a cell: its process, and the directory that keeps what it said."""

    def __init__(self, lab, cell, directory):
        self.lab = lab
        self.cell = cell
        self.directory = directory
        self.said, self.written = (os.path.join(directory, name) for name in ("said", "outcome"))
        os.makedirs(directory)
        self.deadline = time.monotonic() + cell.case.deadline_s * DEADLINE_FACTOR + 30
        self.pid = os.fork()
        if self.pid == 0:
            self.run()
        self.pidfd = os.pidfd_open(self.pid)

    def run(self):
        """In its process."""
        status = 1
        try:
            said = os.open(self.said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            os.dup2(said, 1)
            os.dup2(said, 2)
            outcome = run_cell(self.lab, self.cell, self.directory)
            with open(self.written + ".new", "w", encoding="utf-8") as file:
                json.dump(dataclasses.asdict(outcome), file)
            os.rename(self.written + ".new", self.written)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def end(self):
        """Its outcome, whatever became of its process."""
        hangs = not select.select([self.pidfd], [], [], 0)[0]
        if hangs:
            os.kill(self.pid, signal.SIGKILL)
        os.close(self.pidfd)
        os.waitpid(self.pid, os.WNOHANG if hangs else 0)
        outcome = self.outcome(hangs)
        shutil.rmtree(os.path.join(self.lab.server.export_directory, str(self.pid)),
                      ignore_errors=True)
        if outcome.state in (cells.FRESH, cells.SKIPPED):
            shutil.rmtree(self.directory)
        else:
            with open(os.path.join(self.directory, "dmesg"), "wb") as file:
                subprocess.run(["dmesg"], stdout=file, check=False)
        return outcome

    def outcome(self, hangs):
        if os.path.exists(self.written):
            with open(self.written, encoding="utf-8") as file:
                outcome = cells.Outcome(**json.load(file))
            os.unlink(self.written)
            return outcome
        with open(self.said, encoding="utf-8", errors="replace") as said:
            lines = [line for line in said.read().splitlines() if line.strip()]
        return cells.Outcome(cells.ERROR, "hangs" if hangs else
                             f"ended at {lines[-1] if lines else 'its start'}")


class Runs:
    """Those under way."""

    def __init__(self, lab, jobs):
        self.lab = lab
        self.jobs = jobs
        self.under_way = []
        self.spoilt = False  # the shared mounts, by a cell that ended in an error
        self.counts = collections.Counter()

    def run(self, variant, waiting):
        """Cells of one variant, in their order where nothing is in the way."""
        self.lab.server.export(squash=variant.squash)
        self.lab.server.leases(variant.delegations)
        while waiting or self.under_way:
            cell = next((cell for cell in waiting if self.may_start(cell)), None)
            if cell is None:
                self.wait_one()
            else:
                waiting.remove(cell)
                self.start(cell)
        self.lab.umount()

    def may_start(self, cell):
        beside = [run.cell.case for run in self.under_way]
        if self.jobs == 1 or cell.case.alone or any(case.alone for case in beside):
            return not beside
        if cell.case.private:
            return not any(case.private for case in beside)
        return sum(not case.private for case in beside) < (1 if self.spoilt else self.jobs)

    def start(self, cell):
        if self.spoilt and not cell.case.private:
            self.lab.shared.umount()
            self.spoilt = False
        self.lab.hosts(cell).mount(cell.variant)
        self.under_way.append(Run(self.lab, cell, self.directory(cell)))

    def directory(self, cell):
        """A directory for each run: one that fails keeps its logs, however the next ones end."""
        self.counts[cell] += 1
        name = str(cell).replace("/", "_")
        return os.path.join(SHARED, "cells", f"{name}.{self.counts[cell]}")

    def wait_one(self):
        first = min(run.deadline for run in self.under_way)
        ended = select.select([run.pidfd for run in self.under_way], [], [],
                              max(0, first - time.monotonic()))[0]
        for run in list(self.under_way):
            if run.pidfd in ended or run.deadline <= time.monotonic():
                self.under_way.remove(run)
                self.ended(run.cell, run.end())

    def ended(self, cell, outcome):
        print("outcome " + json.dumps({"cell": str(cell), **dataclasses.asdict(outcome)}),
              flush=True)
        if cell.case.private:
            self.lab.private.umount()
        elif outcome.state == cells.ERROR:
            self.spoilt = True


def main():
    known = cases.by_name()
    with open(os.path.join(SHARED, "cells.list"), encoding="utf-8") as file:
        chosen = [known(name) for name in file.read().splitlines()]
    os.umask(0o022)
    runs = Runs(Lab(), int(sys.argv[1]))
    for variant, of_variant in itertools.groupby(chosen, lambda cell: cell.variant):
        runs.run(variant, list(of_variant))


if __name__ == "__main__":
    main()
