#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The migration matrix on real NFS: plans the cells, has them run in the lab's machine, shows them as
they come, and ends with a table, also in build/nfs/: matrix.tsv, matrix.svg, and for each cell that
is not right a folder with what everybody said.

Columns of the table: the stacks. A cell is fresh, stale (a host sees or does what it must not),
error (something fails) or skipped; with the downtime in milliseconds as QEMU reports it.
"""
import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys

NFS_DIR = os.path.dirname(os.path.abspath(__file__))
for directory in ("../hosts", "..", "../qemu", "."):
    sys.path.insert(0, os.path.join(NFS_DIR, directory))

import cases  # noqa: E402
import cell as cells  # noqa: E402
import machine  # noqa: E402
import plan  # noqa: E402
import testbed  # noqa: E402

OUTPUT = os.path.join(machine.TOP_DIR, "build", "nfs")
COLUMNS = ("stack", "case", "image", "variant", "state", "downtime_ms", "seconds", "detail")


def options_parse():
    parser = argparse.ArgumentParser(
        prog="tests/nfs/run", description="The migration matrix on real NFS, in one VM.",
        epilog="Without a choice of rows each case runs once over each stack. Exits 0 when every "
               "cell is as it must be.")
    rows = parser.add_mutually_exclusive_group()
    rows.add_argument("--quick", action="store_true",
                      help="each case once over migfs, some over the others: four minutes")
    rows.add_argument("--cover", action="store_true",
                      help="all pairs of NFS version, export, mount, image, cache, aio")
    rows.add_argument("--full", action="store_true", help="all combinations")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="run each cell N times")
    parser.add_argument("--list", action="store_true", help="names stacks and cases, and ends")
    parser.add_argument("choice", nargs="*", metavar="STACK|CASE|CELL",
                        help="only these; a cell is STACK/CASE/IMAGE/VARIANT")
    return parser.parse_args()


def cells_chosen(options):
    find = cases.by_name()
    try:
        named = [find(name) for name in options.choice if "/" in name]
    except (KeyError, ValueError) as error:
        sys.exit(f"tests/nfs/run: no such cell (STACK/CASE/IMAGE/VARIANT): {error}")
    words = [word for word in options.choice if "/" not in word]
    unknown = [word for word in words if word not in cells.STACKS and word not in cases.CASES]
    if unknown:
        sys.exit(f"tests/nfs/run: neither a stack nor a case (--list names them): {unknown[0]}")
    if named and not words:
        return named
    stacks = [word for word in words if word in cells.STACKS] or cells.STACKS
    chosen_cases = [cases.CASES[word] for word in words if word in cases.CASES]
    choose = (plan.quick if options.quick else plan.covered if options.cover
              else plan.full if options.full else plan.default)
    return named + [cell for cell in choose(chosen_cases or list(cases.CASES.values()))
                    if cell.stack in stacks]


class Run:
    """One boot of the machine; outcomes as they come."""

    def __init__(self, chosen):
        self.waiting = [str(cell) for cell in chosen]
        self.total = len(chosen)
        self.outcomes = []  # (cell, Outcome)
        self.find = cases.by_name()
        self.said = open(os.path.join(OUTPUT, "machine.log"), "w", encoding="utf-8")

    def on_line(self, line):
        self.said.write(line + "\n")
        match = re.search(r"outcome (\{.*\})", line)
        if match:
            fields = json.loads(match.group(1))
            name = fields.pop("cell")
            self.waiting.remove(name)
            self.note(self.find(name), cells.Outcome(**fields))
        elif "Traceback" in line or "Error" in line or "Call Trace" in line:
            print(line, flush=True)

    def note(self, cell, outcome):
        self.outcomes.append((cell, outcome))
        wrong = cells.judge(cell, outcome)
        downtime = "" if outcome.downtime_ms is None else f" {outcome.downtime_ms} ms"
        detail = f"  {outcome.detail.splitlines()[0]}" if outcome.detail else ""
        print(f"[{len(self.outcomes)}/{self.total}] {'BAD ' if wrong else ''}{cell}: "
              f"{outcome.state}{downtime}{detail} [{outcome.seconds:.1f} s]", flush=True)

    def end(self, status):
        self.said.close()
        for name in self.waiting:
            self.note(self.find(name), cells.Outcome(
                cells.ERROR, f"never ran: the lab's machine ended with {status}, "
                             f"see {os.path.join(OUTPUT, 'machine.log')}"))


def run_all(chosen):
    shared = os.path.join(OUTPUT, "shared")
    shutil.rmtree(OUTPUT, ignore_errors=True)
    os.makedirs(shared)
    with open(os.path.join(shared, "cells.list"), "w", encoding="utf-8") as file:
        file.write("".join(f"{cell}\n" for cell in chosen))
    run = Run(chosen)
    try:
        status = machine.run(["tests/nfs/inside.py"], shared, run.on_line)
    except KeyboardInterrupt:
        status = "an interrupt"
    run.end(status)
    kept = os.path.join(shared, "cells")
    if os.path.isdir(kept):
        shutil.move(kept, os.path.join(OUTPUT, "cells"))
    shutil.rmtree(shared)
    return run.outcomes


def write_tsv(outcomes):
    path = os.path.join(OUTPUT, "matrix.tsv")
    with open(path, "w", encoding="utf-8") as file:
        file.write("\t".join(COLUMNS) + "\n")
        for cell, outcome in outcomes:
            row = (cell.stack, cell.case.name, cell.image, cell.variant, outcome.state,
                   "" if outcome.downtime_ms is None else outcome.downtime_ms,
                   f"{outcome.seconds:.1f}", " ".join(outcome.detail.split()))
            file.write("\t".join(map(str, row)) + "\n")
    return path


def print_table(outcomes):
    """A line a case; in each column the worst that the stack gave, and how often."""
    stacks = [stack for stack in cells.STACKS if any(cell.stack == stack for cell, _ in outcomes)]
    names = list(dict.fromkeys(cell.case.name for cell, _ in outcomes))
    rows = [["case", *stacks]]
    for name in names:
        row = [name]
        for stack in stacks:
            states = [outcome.state for cell, outcome in outcomes
                      if (cell.case.name, cell.stack) == (name, stack)]
            worst = next((state for state in (cells.STALE, cells.ERROR, cells.FRESH, cells.SKIPPED)
                          if state in states), "")
            many = f" {states.count(worst)} of {len(states)}" if len(states) > 1 else ""
            row.append(worst + many)
        rows.append(row)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    print()
    for row in rows:
        print("  ".join(word.ljust(width) for word, width in zip(row, widths)).rstrip())
    print()


def print_downtimes(outcomes):
    """Of each case that was right over both: how migfs's downtime compares with bare NFS's."""
    ratios = []
    for name in dict.fromkeys(cell.case.name for cell, _ in outcomes):
        medians = {}
        for stack in ("bare", "migfs"):
            found = [outcome.downtime_ms for cell, outcome in outcomes
                     if (cell.case.name, cell.stack) == (name, stack) and outcome.downtime_ms]
            if found:
                medians[stack] = statistics.median(found)
        if len(medians) == 2:
            ratios.append(medians["migfs"] / medians["bare"])
            print(f"downtime, {name}: bare {medians['bare']:.0f} ms, migfs "
                  f"{medians['migfs']:.0f} ms: {ratios[-1]:.2f}")
    if ratios:
        print(f"downtime, migfs over bare, median of {len(ratios)} cases: "
              f"{statistics.median(ratios):.2f}")


def differing(outcomes):
    """Cells that did not give the same answer each time, and what they gave."""
    states = {}
    for cell, outcome in outcomes:
        states.setdefault(str(cell), []).append(outcome.state)
    return {name: found for name, found in states.items() if len(set(found)) > 1}


def main():
    options = options_parse()
    if options.list:
        print("stacks:", *cells.STACKS, sep="\n  ")
        print("cases:", *cases.CASES, sep="\n  ")
        return 0
    chosen = plan.in_order(cells_chosen(options)) * options.repeat
    if not chosen:
        print("tests/nfs/run: no cell is chosen (--list names stacks and cases)", file=sys.stderr)
        return 2
    if os.geteuid() != 0:
        sys.exit("tests/nfs/run: the machine's root is this system's: run it as root")
    machine.require()
    outcomes = run_all(chosen)
    print_table(outcomes)
    tsv = write_tsv(outcomes)
    print_downtimes(outcomes)
    bad = [(cell, why) for cell, outcome in outcomes if (why := cells.judge(cell, outcome))]
    bad += [(name, f"not the same answer each time: {' '.join(states)}")
            for name, states in differing(outcomes).items()]
    for cell, why in bad:
        print(f"BAD {cell}: {why}")
    skipped = [(cell, outcome) for cell, outcome in outcomes if outcome.state == cells.SKIPPED]
    for cell, outcome in skipped:
        print(f"skipped {cell}: {outcome.detail}")
    print(f"{len(outcomes)} cells, {len(bad)} not as they must be; {tsv}")
    drawn = subprocess.run([os.path.join(NFS_DIR, "picture.py"), tsv,
                            os.path.join(OUTPUT, "matrix.svg")], check=False).returncode == 0
    if bad or not drawn:
        return 1
    return testbed.EXIT_SKIPPED if skipped else 0


if __name__ == "__main__":
    sys.exit(main())
