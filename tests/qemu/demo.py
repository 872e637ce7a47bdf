#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs the cells of tests/demo, shows them live, and judges the table. See `tests/demo --help`."""
import argparse
import dataclasses
import os
import pathlib
import shutil
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import boot
import migrating
import testbed

COLUMNS = ("stack", "image", "cache", "migrations", "stale_guest", "stale_outside", "downtime_ms")
CONTROL = "bindfs"
MIGRATIONS = 2  # A → B → A
CELL_DEADLINE_S = 180


def cells_chosen(options):
    """(stack, image, cache) of each cell to run, the control before migfs."""
    caches = {"raw": ["none"], "qcow2": ["writeback"]}
    if options.full:
        caches = {image: ["none", "writeback"] for image in caches}
    return [(stack, image, cache) for stack in ("bare", CONTROL, "migfs") for image in caches
            for cache in caches[image]
            if stack in (options.stack or [stack]) and image in (options.image or [image])]


class Progress:
    """One line that changes on a terminal; elsewhere a line for each new phase."""

    def __init__(self, title):
        self.title = title
        self.started = time.monotonic()
        self.phase = None

    def show(self, text):
        if sys.stdout.isatty():
            line = f"{self.title}  {text}"[:shutil.get_terminal_size().columns - 1]
            print(f"\r\033[K{line}", end="", flush=True)
        elif text.split(":")[0] != self.phase:
            self.phase = text.split(":")[0]
            print(f"{self.title}  {text}", flush=True)

    def end(self, outcome):
        state = "damaged" if outcome.damaged else "right"
        seconds = time.monotonic() - self.started
        start = "\r\033[K" if sys.stdout.isatty() else ""
        print(f"{start}{self.title}  {state}, {seconds:.0f} s", flush=True)


def cell_run(stack, image, cache):
    progress = Progress(f"{stack:7}{image:6}{cache:10}")
    outcome = migrating.Outcome(stack, image, cache)
    try:
        with testbed.Testbed(f"demo-{stack}-{image}-{cache}", CELL_DEADLINE_S) as bed:
            cell = migrating.Cell(bed, stack, image, cache, boot.boot_files(bed), progress.show)
            outcome = cell.outcome
            cell.run(MIGRATIONS)
    except testbed.TestFailure as failure:
        outcome.trouble.append(str(failure))
    progress.end(outcome)
    return outcome


def table_rows(outcomes):
    return [COLUMNS] + [tuple(str(dataclasses.asdict(outcome)[column]) for column in COLUMNS)
                        for outcome in outcomes]


def table_print(outcomes):
    rows = table_rows(outcomes)
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    print()
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    for outcome in outcomes:
        for trouble in outcome.trouble:
            print(f"note: {outcome.stack} {outcome.image} {outcome.cache}: {trouble}")
    print()


def table_write(outcomes):
    directory = pathlib.Path(os.environ.get("MIGFS_BUILD_DIR",
                                            os.path.join(testbed.TOP_DIR, "build")), "demo")
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "demo.tsv").write_text(
        "".join("\t".join(row) + "\n" for row in table_rows(outcomes)))


def judge(outcomes):
    """One sentence for each thing that is not as it must be."""
    faults = []
    for outcome in outcomes:
        if outcome.stack == "migfs" and outcome.damaged:
            faults.append(f"migfs failed with {outcome.image}, cache={outcome.cache}: "
                          f"{outcome.stale_guest} stale blocks in the guest, "
                          f"{outcome.stale_outside} outside, {outcome.migrations} migrations.")
    for image in dict.fromkeys(outcome.image for outcome in outcomes if outcome.stack == CONTROL):
        if not any(outcome.stale_guest or outcome.stale_outside for outcome in outcomes
                   if (outcome.stack, outcome.image) == (CONTROL, image)):
            faults.append(f"The control ({CONTROL}) shows no stale block with {image}: "
                          "what migfs shows proves nothing.")
    return faults


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--stack", action="append")
    parser.add_argument("--image", action="append")
    outcomes = [cell_run(*cell) for cell in cells_chosen(parser.parse_args())]
    table_print(outcomes)
    table_write(outcomes)
    faults = judge(outcomes)
    for fault in faults:
        print(fault)
    if not faults:
        print("Every block right over migfs." if any(o.stack == "migfs" for o in outcomes)
              else "As expected of these stacks.")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
