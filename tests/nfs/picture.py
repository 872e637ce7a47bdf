#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""picture.py MATRIX.tsv PICTURE.svg: the matrix as a grid of cells, with the downtime in them.

Runs with the distribution's own Python, whose matplotlib is a package.
"""
import csv
import statistics
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plot  # noqa: E402

COLOURS = {"fresh": "#8fcb9b", "stale": "#e07a5f", "error": "#f2cc8f", "skipped": "#d9d9d9"}
ORDER = ("stale", "error", "fresh", "skipped")


def worst(rows):
    """(state, text) of all rows that one place of the grid stands for."""
    states = [row["state"] for row in rows]
    state = next(state for state in ORDER if state in states)
    downtimes = [int(row["downtime_ms"]) for row in rows if row["downtime_ms"]]
    lines = [state if len(rows) == 1 else f"{state} {states.count(state)}/{len(rows)}"]
    if downtimes and state == "fresh":
        lines.append(f"{statistics.median(downtimes):.0f} ms")
    return state, "\n".join(lines)


def main():
    with open(sys.argv[1], encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    stacks = list(dict.fromkeys(sorted((row["stack"] for row in rows), key=(
        "bare", "bindfs", "passthrough_hp", "migfs-coherence-off", "migfs-without-step", "migfs",
        "migfs-passthrough").index)))
    names = list(dict.fromkeys(row["case"] for row in rows))
    figure, axes = plot.subplots(figsize=(3.2 + 1.35 * len(stacks), 0.8 + 0.42 * len(names)))
    for y, name in enumerate(names):
        for x, stack in enumerate(stacks):
            found = [row for row in rows if (row["case"], row["stack"]) == (name, stack)]
            if not found:
                continue
            state, text = worst(found)
            axes.add_patch(plot.Rectangle((x, y), 0.96, 0.92, color=COLOURS[state]))
            axes.text(x + 0.48, y + 0.46, text, ha="center", va="center", fontsize=7)
    axes.set_xlim(0, len(stacks))
    axes.set_ylim(len(names), 0)
    axes.set_xticks([x + 0.48 for x in range(len(stacks))], [
        stack.replace("-", "\n", 1) for stack in stacks], fontsize=8)
    axes.set_yticks([y + 0.46 for y in range(len(names))], names, fontsize=8)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    figure.tight_layout()
    figure.savefig(sys.argv[2], metadata={"Date": None})


if __name__ == "__main__":
    main()
