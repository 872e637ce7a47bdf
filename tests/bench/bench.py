#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What migfs costs, side by side with the directory itself and with what people use today.

In each round each workload runs over each stack, one after the other, so that what else the machine
does meets all alike. A ratio is to the native directory's sample of the same round: their median,
the least and the most. Absolute figures are this machine's and this moment's. virtiofsd is not here:
it has no mount without a guest.
"""
import argparse
import csv
import os
import statistics
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import handover  # noqa: E402
import stacks  # noqa: E402
import testbed  # noqa: E402
import workloads  # noqa: E402

RESULTS = os.path.join(testbed.TOP_DIR, "build", "bench")
PICTURE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "picture.py")
QUICK = workloads.Effort(milliseconds=300, data_mib=128, hot_mib=32, copy_mib=128)
LONG = workloads.Effort(milliseconds=1500, data_mib=512, hot_mib=128, copy_mib=1024)


def parse():
    parser = argparse.ArgumentParser(prog="tests/bench/run", description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="two minutes: fewer, shorter, smaller")
    parser.add_argument("--rounds", type=int, help="default: 5, quick 3")
    parser.add_argument("--list", action="store_true", help="names stacks and workloads, and ends")
    parser.add_argument("choices", nargs="*", metavar="STACK|WORKLOAD|handover",
                        help="only these; native is always there")
    return parser.parse_args()


def chosen(arguments):
    """(names of stacks, workloads, whether hand-overs are measured)."""
    names, works, words = list(stacks.STACKS), workloads.WORKLOADS, set(arguments.choices)
    unknown = words - set(names) - {work.name for work in works} - {"handover"}
    if unknown:
        sys.exit(f"tests/bench/run: neither a stack nor a workload (--list names them): "
                 f"{', '.join(sorted(unknown))}")
    if arguments.quick:
        names, works = list(stacks.QUICK), [work for work in works if work.quick]
    if words & set(stacks.STACKS):
        names = ["native"] + [name for name in stacks.STACKS if name in words - {"native"}]
    if "handover" in words and "migfs" not in names:
        names.append("migfs")
    asked = [work for work in workloads.WORKLOADS if work.name in words]
    only_handover = "handover" in words and not asked
    for name in [name for name in names if stacks.missing(name)]:
        print(f"{name}: left out, {stacks.missing(name)}", flush=True)
        names.remove(name)
    return (names, [] if only_handover else asked or works,
            "handover" in words or (not asked and "migfs" in names))


def show(text):
    """Where it is, on a terminal."""
    if sys.stdout.isatty():
        print(f"\r{text:76}\r", end="", flush=True)


def run_rounds(bed, places, works, effort, rounds):
    """{(workload, stack): [Sample]}."""
    samples = {}
    for number in range(rounds):
        for work in works:
            for place in places:
                show(f"[{number + 1}/{rounds}] {work.name:34} {place.name}")
                samples.setdefault((work.name, place.name), []).append(
                    work.run(bed, place, effort))
    show("")
    return samples


def rows_of(samples, works, places):
    for work in works:
        for place in places:
            found = samples[work.name, place.name]
            ratios = [sample.value / native.value
                      for sample, native in zip(found, samples[work.name, "native"])]
            cpu = [sample.cpu_us for sample in found if sample.cpu_us is not None]
            yield {"workload": work.name, "stack": place.name, "unit": work.unit,
                   "value": f"{statistics.median(sample.value for sample in found):.4g}",
                   "ratio": f"{statistics.median(ratios):.3f}",
                   "least": f"{min(ratios):.3f}", "most": f"{max(ratios):.3f}",
                   "cpu_us": f"{statistics.median(cpu):.1f}" if cpu and place.pid else ""}


def in_brackets(text):
    return f"({text})" if text else ""


def print_table(rows, works, places):
    others = [place.name for place in places if place.name != "native"]
    print("ratio to the native directory, processor time of the server a request [us]")
    print(f"{'':34} {'native':>20}  " + "  ".join(f"{name:>22}" for name in others))
    for work in works:
        line = {row["stack"]: row for row in rows if row["workload"] == work.name}
        native = f"{line['native']['value']} {work.unit}"
        cells = [f"{line[name]['ratio']:>14} {in_brackets(line[name]['cpu_us']):>7}"
                 for name in others]
        print(f"{work.name:34} {native:>20}  " + "  ".join(cells))


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


def print_handover(rows):
    print(f"\n{'hand-over':24} {'acquire ms':>11} {'release ms':>11} {'store alone ms':>15} "
          f"{'ratios':>13} {'others p99':>11}")
    for row in rows:
        ratios = f"{row['acquire_ratio']:>6} {row['release_ratio']:>6}"
        print(f"{row['what']:24} {row['acquire_ms']:>11} {row['release_ms']:>11} "
              f"{row['store_ms']:>15} {ratios} {row['others_p99']:>11}")
    for mebibytes, ratio in handover.clean_ratios(rows):
        print(f"release with {mebibytes} MiB cached clean over release with none: {ratio:.2f}")


def run_handover(bed, places, quick):
    place = next(place for place in places if place.name == "migfs")
    rows = list(handover.measure(bed, place, quick))
    print_handover(rows)
    write_tsv("handover", rows)


def draw(names):
    subprocess.run(["/usr/bin/python3", PICTURE, RESULTS, *names], check=True)


def main():
    arguments = parse()
    if arguments.list:
        print("stacks:", *stacks.STACKS, sep="\n  ")
        print("workloads:", *(work.name for work in workloads.WORKLOADS), "handover", sep="\n  ")
        return
    testbed.require_root()
    testbed.require_fuse()
    names, works, hands_over = chosen(arguments)
    effort = QUICK if arguments.quick else LONG
    rounds = arguments.rounds or (3 if arguments.quick else 5)
    results = ["bench"] * bool(works) + ["handover"] * hands_over
    remove_results(results)
    with testbed.Testbed("bench", deadline_s=7200) as bed:
        places = [stacks.Place(bed, name, stacks.STACKS[name]) for name in names]
        if works:
            samples = run_rounds(bed, places, works, effort, rounds)
            rows = list(rows_of(samples, works, places))
            print_table(rows, works, places)
            print("resident MiB: " + ", ".join(f"{place.name} {place.resident_mib():.1f}"
                                               for place in places if place.pid))
            write_tsv("bench", rows)
        if hands_over:
            run_handover(bed, places, arguments.quick)
    draw(results)
    written = [name + end for name in results for end in (".tsv", ".svg")]
    print(f"\n{RESULTS}: " + ", ".join(name for name in written if os.path.exists(result(name))))


if __name__ == "__main__":
    try:
        main()
    except testbed.TestFailure as failure:
        sys.exit(f"tests/bench/run: {failure}")
