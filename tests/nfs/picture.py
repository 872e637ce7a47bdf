#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""picture.py MATRIX.tsv PICTURE.svg [downtimes]: the matrix as a grid, a row for each case and
image format, a column for each stack; with the downtimes, which compare where cells ran alone.

Runs with the distribution's own Python, whose matplotlib is a package.
"""
import collections
import csv
import statistics
import sys

import matplotlib

matplotlib.use("Agg")
matplotlib.rcParams["svg.fonttype"] = "none"  # text stays text
import matplotlib.pyplot as plot  # noqa: E402

STATES = {  # the worst first
    "stale": ("#e07a5f", "stale: a host reads or does what it must not"),
    "error": ("#f2cc8f", "error: it fails"),
    "fresh": ("#8fcb9b", "fresh: all as it must be"),
    "skipped": ("#d9d9d9", "skipped"),
}
STACKS = {  # what lies between QEMU and the host's NFS mount
    "bare": "nothing:\nbare NFS",
    "bindfs": "bindfs",
    "passthrough_hp": "libfuse's\npassthrough_hp",
    "migfs-coherence-off": "migfs\ncoherence=off",
    "migfs-fence-off": "migfs\nfence=off",
    "migfs-without-step": "migfs, a step\nleft out",
    "migfs": "migfs",
    "migfs-passthrough": "migfs\nio=passthrough",
}
WIDTH, HEIGHT, LEFT = 1.2, 0.24, 3.3  # inches: of a place, and of the names beside it
GAP = 0.05


def text_of(rows, state, with_downtimes):
    """What is written into a place: the state, of how many, and the downtime."""
    count = sum(row["state"] == state for row in rows)
    text = state if len(rows) == 1 else f"{state} {count} of {len(rows)}"
    downtimes = [int(row["downtime_ms"]) for row in rows if row["downtime_ms"]]
    if with_downtimes and state == "fresh" and downtimes:
        text += f", {statistics.median(downtimes):.0f} ms"
    return text


def label_of(stacks):
    """The images of a row: one, or what they have in common."""
    images = {row["image"] for rows in stacks.values() for row in rows}
    return images.pop() if len(images) == 1 else images.pop().split("-")[0]


def draw(axes, places, stacks, with_downtimes):
    names = list(dict.fromkeys(name for name, _ in places))
    y = 0
    for name in names:
        formats = [row_format for row_name, row_format in places if row_name == name]
        axes.text(-0.85, y + len(formats) / 2, name, ha="right", va="center", fontsize=8)
        for row_format in formats:
            axes.text(-0.06, y + 0.5, label_of(places[name, row_format]), ha="right", va="center",
                      fontsize=7, color="#666666")
            for x, stack in enumerate(stacks):
                rows = places[name, row_format].get(stack)
                if rows:
                    state = next(state for state in STATES if state in [r["state"] for r in rows])
                    axes.add_patch(plot.Rectangle((x, y), 1 - GAP, 1 - GAP,
                                                  color=STATES[state][0], linewidth=0))
                    axes.text(x + 0.5 - GAP / 2, y + 0.5, text_of(rows, state, with_downtimes),
                              ha="center", va="center", fontsize=7)
            y += 1
        y += 0.25
    axes.set_xlim(0, len(stacks))
    axes.set_ylim(y, 0)


def title(rows, with_downtimes):
    versions = sorted({row["variant"].split("-")[0][1:] for row in rows})
    return ("What two hosts see of one image, by what lies between QEMU and NFS "
            + ", ".join(versions)
            + ("\n(with the downtime of the migration as QEMU tells it)" if with_downtimes else ""))


def main():
    with_downtimes = "downtimes" in sys.argv[3:]
    with open(sys.argv[1], encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    places = collections.defaultdict(lambda: collections.defaultdict(list))
    for row in rows:
        places[row["case"], row["image"].split("-")[0]][row["stack"]].append(row)
    stacks = [stack for stack in STACKS if any(row["stack"] == stack for row in rows)]
    height = HEIGHT * (len(places) + 0.25 * len({name for name, _ in places}))
    figure, axes = plot.subplots(figsize=(LEFT + WIDTH * len(stacks), height + 1.6))
    figure.subplots_adjust(left=LEFT / figure.get_figwidth(), right=0.99,
                           bottom=0.5 / figure.get_figheight(),
                           top=1 - 1.1 / figure.get_figheight())
    draw(axes, places, stacks, with_downtimes)
    axes.set_xticks([x + 0.5 - GAP / 2 for x in range(len(stacks))],
                    [STACKS[stack] for stack in stacks], fontsize=8)
    axes.set_yticks([])
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    figure.suptitle(title(rows, with_downtimes), fontsize=9)
    found = {row["state"] for row in rows}
    figure.legend(handles=[plot.Rectangle((0, 0), 1, 1, color=colour, label=label)
                           for state, (colour, label) in STATES.items() if state in found],
                  loc="lower center", ncol=len(found), fontsize=8, frameon=False)
    figure.savefig(sys.argv[2], metadata={"Date": None} if sys.argv[2].endswith("svg") else None)


if __name__ == "__main__":
    main()
