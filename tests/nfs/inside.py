#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs cells inside the lab's machine. See matrix.py, which writes the list and reads the outcomes.

    inside.py NAME...     cells by their names, or with none those of the shared file `cells`

Each cell is a process of its own with a deadline, so that one that hangs or dies takes none along.
"""
import dataclasses
import json
import os
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


class Lab:
    """The server and its two clients, in the variant that was set last."""

    def __init__(self):
        self.server = Server()
        subprocess.run(["modprobe", "-a", "nfs", "nfsv3", "nfsv4"], check=True)
        self.clients = [Client("a", 11), Client("b", 12)]
        self.variant = None

    def set(self, variant):
        if variant == self.variant:
            return
        self.umount()
        self.server.export(squash=variant.squash)
        self.server.leases(variant.delegations)
        for client in self.clients:
            client.mount(variant)
        self.variant = variant

    def umount(self):
        for client in self.clients:
            client.umount()
        self.variant = None


def last_words():
    """What this process said last: why a test was skipped, for one."""
    sys.stdout.flush()
    with open("/proc/self/fd/1", encoding="utf-8", errors="replace") as said:
        lines = [line for line in said.read().splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"


def run_cell(lab, cell):
    """In a process of its own: what it gave, to be written as JSON."""
    started = time.monotonic()
    downtime_ms, state, detail = None, cells.FRESH, ""
    try:
        with testbed.Testbed("cell", cell.case.deadline_s) as bed:
            try:
                place = nfs_site.Site(bed, cell, lab)
                try:
                    downtime_ms = cell.case.run(place, cell.image)
                finally:
                    place.end()
                    print(*place.words(), sep="\n", file=sys.stderr)
            except BaseException:
                logs_keep(bed, cell)
                raise
    except scenario.Wrong as wrong:
        state, detail = cells.STALE, str(wrong)
    except SystemExit as ended:
        state = cells.SKIPPED if ended.code == testbed.EXIT_SKIPPED else cells.ERROR
        detail = last_words()
    except scenario.FAILURES + (subprocess.SubprocessError, TimeoutError,
                                pair.CallFailed) as failure:
        state, detail = cells.ERROR, f"{type(failure).__name__} {failure}"
    return cells.Outcome(state, detail, downtime_ms, time.monotonic() - started)


def cell_directory(cell):
    directory = os.path.join(SHARED, "cells", str(cell).replace("/", "_"))
    os.makedirs(directory, exist_ok=True)
    return directory


def logs_keep(bed, cell):
    """What both hosts' filesystems and machines said."""
    directory = cell_directory(cell)
    for name in os.listdir(bed.root):
        path = os.path.join(bed.root, name)
        if os.path.isfile(path) and (name.startswith("log.") or name.startswith("qemu-log")):
            shutil.copy(path, directory)


def run_apart(lab, cell):
    """The cell's outcome, whatever becomes of its process."""
    directory = cell_directory(cell)
    outcome_path, said_path = (os.path.join(directory, name) for name in ("outcome", "said"))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            said = os.open(said_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            os.dup2(said, 1)
            os.dup2(said, 2)
            outcome = run_cell(lab, cell)
            with open(outcome_path + ".new", "w", encoding="utf-8") as file:
                json.dump(dataclasses.asdict(outcome), file)
            os.rename(outcome_path + ".new", outcome_path)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    ended = testbed.wait_exit(child, cell.case.deadline_s * DEADLINE_FACTOR + 30)
    if not ended:
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0 if ended else os.WNOHANG)
    for client in lab.clients:
        client.heal()
    if os.path.exists(outcome_path):
        with open(outcome_path, encoding="utf-8") as file:
            outcome = cells.Outcome(**json.load(file))
        os.unlink(outcome_path)
    else:
        with open(said_path, encoding="utf-8", errors="replace") as said:
            lines = [line for line in said.read().splitlines() if line.strip()]
        outcome = cells.Outcome(cells.ERROR, "hangs" if not ended else
                                f"ended at {lines[-1] if lines else 'its start'}")
    shutil.rmtree(os.path.join(lab.server.export_directory, str(child)), ignore_errors=True)
    if outcome.state in (cells.FRESH, cells.SKIPPED):
        shutil.rmtree(directory)
    else:
        with open(os.path.join(directory, "dmesg"), "wb") as file:
            subprocess.run(["dmesg"], stdout=file, check=False)
    return outcome


def main():
    names = sys.argv[1:]
    if not names:
        with open(os.path.join(SHARED, "cells.list"), encoding="utf-8") as file:
            names = file.read().splitlines()
    os.umask(0o022)
    lab = Lab()
    known = cases.by_name()
    for name in names:
        cell = known(name)
        lab.set(cell.variant)
        outcome = run_apart(lab, cell)
        print("outcome " + json.dumps({"cell": name, **dataclasses.asdict(outcome)}), flush=True)
        if cell.case.private or outcome.state == cells.ERROR:
            lab.umount()  # what is left of it must not meet the next one
    lab.umount()


if __name__ == "__main__":
    main()
