#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What migfs costs, side by side with the directory itself and with what people use today.

In each round each workload runs over each stack, one after the other, so that what else the machine
does meets all alike. A ratio is to the native directory's sample of the same round: their median,
the least and the most. Absolute figures are this machine's and this moment's. virtiofsd, which has
no mount without a guest, is measured inside one.
"""
import argparse
import csv
import dataclasses
import os
import statistics
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import goals  # noqa: E402
import guests  # noqa: E402
import handover  # noqa: E402
import idle  # noqa: E402
import stacks  # noqa: E402
import testbed  # noqa: E402
import workloads  # noqa: E402

RESULTS = os.path.join(testbed.TOP_DIR, "build", "bench")
PICTURE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "picture.py")
QUICK = workloads.Effort(milliseconds=300, data_mib=128, hot_mib=32, copy_mib=128, files=1000)
LONG = workloads.Effort(milliseconds=1500, data_mib=512, hot_mib=128, copy_mib=1024, files=10000)
PARTS = ("handover", "idle")


def parse():
    parser = argparse.ArgumentParser(prog="tests/bench/run", description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="minutes: fewer, shorter, smaller")
    parser.add_argument("--picture", action="store_true", help="what README shows of it")
    parser.add_argument("--rounds", type=int, help="default: 5, quick 3")
    parser.add_argument("--list", action="store_true", help="names stacks and workloads, and ends")
    parser.add_argument("choices", nargs="*", metavar="STACK|WORKLOAD|" + "|".join(PARTS),
                        help="only these; native is always there")
    return parser.parse_args()


@dataclasses.dataclass(frozen=True)
class Plan:
    names: list   # of stacks
    works: list
    parts: tuple  # of PARTS

    def works_of(self, in_guest):
        return [work for work in self.works if work.in_guest == in_guest]

    def mounted(self):
        return [name for name in self.names if name not in ("native", "virtiofsd")]


def check_words(words):
    known = {*stacks.STACKS, *PARTS, *(work.name for work in workloads.WORKLOADS)}
    if words - known:
        sys.exit(f"tests/bench/run: neither a stack nor a workload (--list names them): "
                 f"{', '.join(sorted(words - known))}")


def names_of(arguments, words):
    """Those of stacks that can be had here."""
    names = stacks.QUICK if arguments.quick else list(stacks.STACKS)
    if arguments.picture:
        names = stacks.IN_PICTURE
    if words & set(stacks.STACKS):
        names = [name for name in stacks.STACKS if name in words | {"native"}]
    if "handover" in words and "migfs" not in names:
        names = [*names, "migfs"]
    for name in filter(stacks.missing, names):
        print(f"{name}: left out, {stacks.missing(name)}", flush=True)
    return [name for name in names if not stacks.missing(name)]


def works_of(arguments, words):
    asked = [work for work in workloads.WORKLOADS if work.name in words]
    if asked or words & set(PARTS):
        return asked
    if arguments.picture:
        return [work for work in workloads.WORKLOADS if work.name in workloads.IN_PICTURE]
    return [work for work in workloads.WORKLOADS if work.quick or not arguments.quick]


def chosen(arguments):
    words = set(arguments.choices)
    check_words(words)
    names, works = names_of(arguments, words), works_of(arguments, words)
    if any(work.in_guest for work in works) and guests.missing():
        print(f"in a guest: left out, {guests.missing()}", flush=True)
        works = [work for work in works if not work.in_guest]
    is_whole = not words & {work.name for work in workloads.WORKLOADS} and not arguments.picture
    parts = words & set(PARTS) or (set(PARTS) if is_whole and "migfs" in names else set())
    return Plan(names, works, tuple(part for part in PARTS if part in parts))


def show(text):
    """Where it is, on a terminal."""
    if sys.stdout.isatty():
        print(f"\r{text:76}\r", end="", flush=True)


def run_rounds(bed, places, works, effort, rounds):
    """{(workload, stack): [Sample]}."""
    samples = {}
    for number in range(rounds):
        for work in works:
            for place in [place for place in places if place.name in work.stacks]:
                show(f"[{number + 1}/{rounds}] {work.name:34} {place.name}")
                samples.setdefault((work.name, place.name), []).append(
                    work.run(bed, place, effort))
    show("")
    return samples


def rows_of(samples, works, places):
    for work in works:
        for place in [place for place in places if place.name in work.stacks]:
            found = samples[work.name, place.name]
            ratios = [sample.value / native.value
                      for sample, native in zip(found, samples[work.name, "native"])]
            cpu = [sample.cpu_us for sample in found if sample.cpu_us is not None]
            yield {"workload": work.name, "stack": place.name, "unit": work.unit,
                   "value": f"{statistics.median(sample.value for sample in found):.4g}",
                   "ratio": f"{statistics.median(ratios):.3f}",
                   "least": f"{min(ratios):.3f}", "most": f"{max(ratios):.3f}",
                   "cpu_us": f"{statistics.median(cpu):.1f}" if cpu and place.pid else "",
                   "goal": ""}


def set_goals(rows):
    table = goals.Table(rows)
    for row in rows:
        least = goals.least_ratio(table, row["workload"], row["stack"])
        row["goal"] = f"{least:.3f}" if least else ""


def cell(row):
    if row is None:
        return f"{'':>22}"
    cpu = f"({row['cpu_us']})" if row["cpu_us"] else ""
    return f"{row['ratio']:>14} {cpu:>7}"


def print_table(rows, works, places):
    others = [place.name for place in places if place.name != "native"]
    print("ratio to the native directory, processor time of the server a request [us]")
    print(f"{'':34} {'native':>20}  " + "  ".join(f"{name:>22}" for name in others))
    for work in works:
        line = {row["stack"]: row for row in rows if row["workload"] == work.name}
        native = f"{line['native']['value']} {work.unit}"
        print(f"{work.name:34} {native:>20}  "
              + "  ".join(cell(line.get(name)) for name in others))


def print_goals(found):
    print()
    for goal in found:
        print(goal)


def result(name):
    return os.path.join(RESULTS, name)


def remove_results(names):
    """Those of an earlier run, so that what is there after this one is this one's."""
    for name in names:
        for path in (result(name + ".tsv"), result(name + ".svg")):
            if os.path.exists(path):
                os.unlink(path)


def write_tsv(name, rows):
    os.makedirs(RESULTS, exist_ok=True)
    with open(result(name + ".tsv"), "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def run_works(bed, places, plan, effort, rounds):
    samples = run_rounds(bed, places, plan.works_of(False), effort, rounds)
    try:
        samples |= run_rounds(bed, places, plan.works_of(True), effort, rounds)
    finally:
        for place in places:
            place.end_guest()
    rows = list(rows_of(samples, plan.works, places))
    set_goals(rows)
    print_table(rows, plan.works, places)
    print_goals(goals.of_bench(rows))
    write_tsv("bench", rows)


def print_handover(rows):
    print(f"\n{'hand-over':24} {'acquire ms':>11} {'release ms':>11} {'store alone ms':>15} "
          f"{'ratios':>13} {'others p99':>11}")
    for row in rows:
        ratios = f"{row['acquire_ratio']:>6} {row['release_ratio']:>6}"
        print(f"{row['what']:24} {row['acquire_ms']:>11} {row['release_ms']:>11} "
              f"{row['store_ms']:>15} {ratios} {row['others_p99']:>11}")
    print_goals([*goals.of_handover(rows), *goals.of_clean_release(handover.clean_ratios(rows))])


def run_handover(bed, places, quick):
    place = next(place for place in places if place.name == "migfs")
    rows = list(handover.measure(bed, place, quick))
    print_handover(rows)
    write_tsv("handover", rows)


def run_idle(bed, names, quick):
    rows = list(idle.measure(bed, names, quick))
    print(f"\n{'10,000 inodes known':24} {'MiB resident':>13} {'wake-ups':>9}")
    for row in rows:
        print(f"{row['stack']:24} {row['resident_mib']:>13} {row['wakes']:>9} in {row['seconds']} s"
              f"  {row['who']}")
    print_goals(goals.of_idle(rows))
    write_tsv("idle", rows)


def draw(names):
    subprocess.run(["/usr/bin/python3", PICTURE, RESULTS, *names], check=True)


def list_all():
    print("stacks:", *stacks.STACKS, sep="\n  ")
    print("workloads:", *(work.name for work in workloads.WORKLOADS), *PARTS, sep="\n  ")


def measure(bed, plan, arguments):
    effort = QUICK if arguments.quick else LONG
    places = [stacks.Place(bed, name, stacks.STACKS[name]) for name in plan.names]
    if plan.works:
        run_works(bed, places, plan, effort, arguments.rounds or (3 if arguments.quick else 5))
    if "handover" in plan.parts:
        run_handover(bed, places, arguments.quick)
    if "idle" in plan.parts:
        run_idle(bed, plan.mounted(), arguments.quick)


def main():
    arguments = parse()
    if arguments.list:
        list_all()
        return
    testbed.require_root()
    testbed.require_fuse()
    plan = chosen(arguments)
    results = ["bench"] * bool(plan.works) + list(plan.parts)
    remove_results(results)
    with testbed.Testbed("bench", deadline_s=7200) as bed:
        measure(bed, plan, arguments)
    draw([name for name in results if name != "idle"])
    written = [name + end for name in results for end in (".tsv", ".svg")]
    print(f"\n{RESULTS}: " + ", ".join(name for name in written if os.path.exists(result(name))))


if __name__ == "__main__":
    try:
        main()
    except testbed.TestFailure as failure:
        sys.exit(f"tests/bench/run: {failure}")
