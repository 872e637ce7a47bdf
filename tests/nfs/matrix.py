#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The migration matrix on real NFS: plans the cells, has them run in the lab's machine, shows them as
they come, and ends with a table, also in build/nfs/: matrix.tsv, matrix.svg, and for each cell that
is not right a folder with what everybody said.

Columns of the table: the stacks. A cell is fresh, stale (a host sees or does what it must not),
error (something fails) or skipped; with the downtime in milliseconds as QEMU reports it, which ends
at the source, and how long the guest stands still until it runs at the destination.
"""
import argparse
import collections
import fnmatch
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

# How the rows of the matrix are chosen, and what a run of them is for.
ROWS = {
    "default": (plan.default, "each case in one row over each stack"),
    "quick": (plan.quick, "the short cases over migfs, each pair of values of all dimensions: four "
                          "minutes; in each run of the tests"),
    "cover": (plan.cover, "all cases over all stacks, over migfs with each value of each "
                          "dimension: an hour; in tests/run --full"),
    "picture": (plan.picture, "the main cases over all stacks, raw and qcow2 on NFS 4.2: what "
                              "README shows"),
    "full": (plan.full, "all combinations: days"),
}
EPILOG = """\
A row is an image (format, cache, aio) on a variant of NFS (version, root_squash, delegations, mount
options). Stacks or cases alone are run in one row each; with --quick or another choice in its
rows. tests/run also runs the quick choice ten times with --full: no cell may give another answer.

Leaves matrix.tsv, matrix.svg and the logs of what is not right in build/nfs/CHOICE.

  tests/nfs/run bare migfs growth
  tests/nfs/run 'migfs/*/qcow2-none/v4.1'
  tests/nfs/run --icount --repeat 10 '*/early-read-of-1-MiB/raw-none/v4.2'    # compares downtimes

Exits with 0 when every cell is as it must be, 77 when one was skipped."""
OUTPUT = os.path.join(machine.TOP_DIR, "build", "nfs")  # a directory in it for each choice
MOST_DOWNTIME = 1.2  # of bare NFS's: what is aimed at, and only told
COLUMNS = ("stack", "case", "image", "variant", "state", "downtime_ms", "standstill_ms", "seconds",
           "detail")


def options_parse():
    parser = argparse.ArgumentParser(
        prog="tests/nfs/run", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="The migration matrix on real NFS, in one VM.", epilog=EPILOG)
    rows = parser.add_mutually_exclusive_group()
    for name, (_, text) in ROWS.items():
        if name != "default":
            rows.add_argument(f"--{name}", dest="rows", action="store_const", const=name, help=text)
    parser.set_defaults(rows="default")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="run each cell N times")
    parser.add_argument("--jobs", type=int, metavar="N",
                        help="cells side by side; default 2, and 1 where the choice names any: "
                             "only downtimes of cells that run alone compare")
    parser.add_argument("--icount", action="store_true",
                        help="the machine's clock counts instructions, a nanosecond each: "
                             "downtimes are not the emulator's then")
    parser.add_argument("--list", action="store_true",
                        help="name stacks and cases, and say what runs when; with a choice: its "
                             "cells")
    parser.add_argument("choice", nargs="*", metavar="STACK|CASE|CELL",
                        help="only these; a cell is STACK/CASE/IMAGE/VARIANT, any of the four may "
                             "be a pattern")
    options = parser.parse_args()
    if options.repeat < 1 or (options.jobs or 1) < 1:
        parser.error("--repeat and --jobs take a number from 1 up")
    return options


def usage_error(text):
    print(f"tests/nfs/run: {text}", file=sys.stderr)
    sys.exit(2)


def cells_matching(pattern):
    found = [cell for cell in plan.full(list(cases.CASES.values()))
             if fnmatch.fnmatchcase(str(cell), pattern)]
    if not found:
        usage_error(f"no such cell (STACK/CASE/IMAGE/VARIANT): {pattern}")
    return found


def cells_chosen(options):
    named = [cell for word in options.choice if "/" in word for cell in cells_matching(word)]
    words = [word for word in options.choice if "/" not in word]
    for word in words:
        if word not in cells.STACKS and word not in cases.CASES:
            usage_error(f"neither a stack nor a case (--list names them): {word}")
    if named and not words:
        return list(dict.fromkeys(named))
    stacks = [word for word in words if word in cells.STACKS] or cells.STACKS
    chosen_cases = [cases.CASES[word] for word in words if word in cases.CASES]
    choose, _ = ROWS[options.rows]
    return list(dict.fromkeys(named + [
        cell for cell in choose(chosen_cases or list(cases.CASES.values()))
        if cell.stack in stacks]))


def list_all():
    """What there is, and what runs when."""
    everything = list(cases.CASES.values())
    plans = {name: choose(everything) for name, (choose, _) in ROWS.items()}
    print("stacks:", *cells.STACKS, sep="\n  ")
    print("\nrows:")
    for name, (_, text) in ROWS.items():
        option = "" if name == "default" else f"--{name}"
        print(f"  {option:8} {len(plans[name]):6} cells: {text}")
    print("\ncases, with their cells in these choices, and the stacks that must go wrong in them:")
    print(f"  {'':36} {'quick':>6} {'cover':>6} {'full':>6}  twins")
    for case in everything:
        counts = "".join(f" {sum(cell.case is case for cell in plans[name]) or '-':>6}"
                         for name in ("quick", "cover", "full"))
        twins = " ".join(case.twins) or f"none: {case.no_twin}"
        print(f"  {case.name.replace(' ', '-'):36}{counts}  {twins}")


class Run:
    """One boot of the machine; outcomes as they come."""

    def __init__(self, chosen, output):
        self.output = output
        self.waiting = [str(cell) for cell in chosen]
        self.total = len(chosen)
        self.outcomes = []  # (cell, Outcome)
        self.find = cases.by_name()
        self.said = open(os.path.join(output, "machine.log"), "w", encoding="utf-8")

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
                             f"see {os.path.join(self.output, 'machine.log')}"))


def run_all(chosen, jobs, output, icount):
    shared = os.path.join(output, "shared")
    shutil.rmtree(output, ignore_errors=True)
    os.makedirs(shared)
    with open(os.path.join(shared, "cells.list"), "w", encoding="utf-8") as file:
        file.write("".join(f"{cell}\n" for cell in chosen))
    run = Run(chosen, output)
    try:
        status = machine.run(["tests/nfs/inside.py", str(jobs)], shared, run.on_line, icount)
    except KeyboardInterrupt:
        status = "an interrupt"
    run.end(status)
    kept = os.path.join(shared, "cells")
    if os.path.isdir(kept):
        shutil.move(kept, os.path.join(output, "cells"))
    shutil.rmtree(shared)
    return run.outcomes


def number_of(milliseconds):
    return "" if milliseconds is None else f"{milliseconds:.0f}"


def write_tsv(outcomes, path):
    with open(path, "w", encoding="utf-8") as file:
        file.write("\t".join(COLUMNS) + "\n")
        order = list(cases.CASES.values())
        for cell, outcome in sorted(outcomes, key=lambda pair: order.index(pair[0].case)):
            row = (cell.stack, cell.case.name, cell.image, cell.variant, outcome.state,
                   number_of(outcome.downtime_ms), number_of(outcome.standstill_ms),
                   f"{outcome.seconds:.1f}", " ".join(outcome.detail.split()))
            file.write("\t".join(map(str, row)) + "\n")


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


def print_ratios(outcomes, what, field):
    """Of each row that was right over both: how a time over migfs compares with that over bare NFS;
    returns the ratio of each."""
    found = {}
    for cell, outcome in outcomes:
        milliseconds = getattr(outcome, field)
        if outcome.state == cells.FRESH and milliseconds is not None:
            row = f"{cell.case.name}, {cell.image}, {cell.variant}"
            found.setdefault(row, {}).setdefault(cell.stack, []).append(milliseconds)
    ratios = []
    for row, stacks in found.items():
        if not {"bare", "migfs"} <= stacks.keys():
            continue
        bare, migfs = (statistics.median(stacks[stack]) for stack in ("bare", "migfs"))
        ratios.append(migfs / max(bare, 1))
        print(f"{what}, {row}: bare {bare:.0f} ms, migfs {migfs:.0f} ms, "
              f"medians of {len(stacks['bare'])} and {len(stacks['migfs'])}: {ratios[-1]:.2f}")
    return ratios


def print_downtimes(outcomes):
    ratios = print_ratios(outcomes, "downtime", "downtime_ms")
    if ratios:
        ratio = statistics.median(ratios)
        print(f"downtime over migfs is {ratio:.2f} of that over bare NFS (median of {len(ratios)} "
              f"rows): {'at most' if ratio <= MOST_DOWNTIME else 'MORE THAN'} {MOST_DOWNTIME}")
    print_ratios(outcomes, "standstill", "standstill_ms")


def unsteady(outcomes):
    """Cells that did not give the same answer each time, and what they gave."""
    states = {}
    for cell, outcome in outcomes:
        states.setdefault(str(cell), []).append(outcome.state)
    return {name: found for name, found in states.items() if len(set(found)) > 1}


def print_repeated(outcomes, times):
    """What the repetitions are for; how many cells were unsteady."""
    found = unsteady(outcomes)
    for name, states in found.items():
        counts = collections.Counter(states)
        print(f"UNSTEADY {name}: "
              + ", ".join(f"{count} × {state}" for state, count in counts.items()))
    print(f"{len(outcomes) // times} cells, {times} times each: {len(found)} did not give the same "
          "answer each time")
    return len(found)


def print_bad(outcomes, times):
    """What is not as it must be, or was skipped; how many are bad."""
    bad = 0
    for cell, outcome in outcomes:
        wrong = cells.judge(cell, outcome)
        bad += bool(wrong)
        if wrong:
            print(f"BAD {cell}: {wrong}")
        elif outcome.state == cells.SKIPPED:
            print(f"skipped {cell}: {outcome.detail}")
    return bad + (print_repeated(outcomes, times) if times > 1 else 0)


def main():
    options = options_parse()
    if options.list and options.rows == "default" and not options.choice:
        list_all()
        return 0
    chosen = plan.in_order(cells_chosen(options)) * options.repeat
    if not chosen:
        usage_error("no cell is chosen (--list names stacks and cases)")
    if options.list:
        print(*chosen, sep="\n")
        return 0
    if os.geteuid() != 0:
        sys.exit("tests/nfs/run: the machine's root is this system's: run it as root")
    machine.require()
    jobs = options.jobs or (1 if options.choice else 2)
    output = os.path.join(OUTPUT, "named" if options.choice else
                          options.rows + ("-repeated" if options.repeat > 1 else ""))
    outcomes = run_all(chosen, jobs, output, options.icount)
    print_table(outcomes)
    if jobs == 1:
        print_downtimes(outcomes)
    bad = print_bad(outcomes, options.repeat)
    tsv, svg = (os.path.join(output, f"matrix.{suffix}") for suffix in ("tsv", "svg"))
    write_tsv(outcomes, tsv)
    print(f"{len(outcomes)} cells, {bad} not as they must be; {svg}, {tsv}"
          + (f", logs in {os.path.join(output, 'cells')}" if bad else ""))
    drawn = subprocess.run([os.path.join(NFS_DIR, "picture.py"), tsv, svg,
                            *(["downtimes"] if jobs == 1 else [])], check=False).returncode == 0
    if bad or not drawn:
        return 1
    return testbed.EXIT_SKIPPED if any(outcome.state == cells.SKIPPED
                                       for _, outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
