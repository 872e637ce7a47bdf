#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""picture.py DIRECTORY NAME...: NAME.svg of NAME.tsv there. bench: bars a workload with their
spread, and the goals; handover: lines. Runs with the distribution's own Python, whose matplotlib is a package.
"""
import csv
import os
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plot  # noqa: E402

COLOURS = {"migfs": "#1b6ca8", "migfs-threads": "#44546a", "migfs-passthrough": "#6fb1de",
           "migfs-coherence-off": "#b5d5ee",
           "passthrough_hp": "#b7a57a", "passthrough_hp-daemon": "#8d99ae", "bindfs": "#e07a5f",
           "mergerfs": "#81b29a", "passthrough_ll": "#c9ada7", "virtiofsd": "#f2cc8f"}


def rows_of(directory, name):
    with open(os.path.join(directory, name), encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def draw_bars(axes, places, mine, height, **style):
    """places: y of each workload that there is a row of."""
    ratios = [float(row["ratio"]) for row in mine]
    spread = [[ratio - float(row["least"]) for ratio, row in zip(ratios, mine)],
              [float(row["most"]) - ratio for ratio, row in zip(ratios, mine)]]
    axes.barh(places, ratios, height, xerr=[[max(0, value) for value in side] for side in spread],
              error_kw={"lw": 0.6, "ecolor": "#444444"}, **style)


def draw_goals(axes, places, mine, height, **style):
    found = [(y, float(row["goal"])) for y, row in zip(places, mine) if row["goal"]]
    if found:
        axes.vlines([goal for _, goal in found], [y - height / 2 for y, _ in found],
                    [y + height / 2 for y, _ in found], color="#c0122f", lw=1.6, zorder=3, **style)


def draw_bench(rows, path):
    works = list(dict.fromkeys(row["workload"] for row in rows if row["stack"] != "native"))
    stacks = [name for name in dict.fromkeys(row["stack"] for row in rows) if name != "native"]
    if not stacks:
        return
    height = 0.8 / len(stacks)
    figure, axes = plot.subplots(figsize=(8, 0.9 + len(works) * (0.16 + 0.14 * len(stacks))))
    for i, stack in enumerate(stacks):
        mine = [row for row in rows if row["stack"] == stack]
        places = [works.index(row["workload"]) - 0.4 + (i + 0.5) * height for row in mine]
        draw_bars(axes, places, mine, height, label=stack, color=COLOURS[stack])
        draw_goals(axes, places, mine, height, label="goal" if i == 0 else None)
    axes.axvline(1, color="#444444", lw=0.8)
    axes.set_yticks(range(len(works)), works, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, max(1.4, *(1.05 * float(row["most"]) for row in rows)))
    axes.set_xlabel("of what the native directory gives: 1 is as good, more is better", fontsize=8)
    axes.legend(fontsize=7, loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False)
    finish(figure, axes, path)


def draw_handover(rows, path):
    figure, (left, right) = plot.subplots(1, 2, figsize=(8, 3))
    for kind, colour in (("dirty", "#e07a5f"), ("cached", "#1b6ca8")):
        mine = [row for row in rows if row["what"].endswith(f"MiB {kind}")
                and not row["what"].startswith("0 ")]
        left.plot([int(row["what"].split()[0]) for row in mine],
                  [float(row["release_ms"]) for row in mine], "o-", color=colour, label=kind)
    left.set_xlabel("MiB", fontsize=8)
    left.set_ylabel("release, ms", fontsize=8)
    left.legend(fontsize=8, frameon=False)
    mine = [row for row in rows if "files at once" in row["what"]]
    counts = [int(row["what"].split()[0]) for row in mine]
    for column, name, colour in (("acquire_ms", "acquire", "#1b6ca8"),
                                 ("release_ms", "release", "#e07a5f"),
                                 ("store_ms", "the store alone", "#8d99ae")):
        right.plot(counts, [float(row[column]) for row in mine], "o-", color=colour, label=name)
    right.set_xlabel("files at once", fontsize=8)
    right.set_ylabel("all of them, ms", fontsize=8)
    right.legend(fontsize=8, frameon=False)
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_yscale("log")
    finish(figure, right, path, left)


def finish(figure, axes, path, *others):
    for one in (axes, *others):
        one.tick_params(labelsize=8)
        one.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main():
    draw = {"bench": draw_bench, "handover": draw_handover}
    directory, *names = sys.argv[1:]
    for name in names:
        draw[name](rows_of(directory, name + ".tsv"), os.path.join(directory, name + ".svg"))


if __name__ == "__main__":
    main()
