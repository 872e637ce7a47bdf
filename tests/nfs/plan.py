# SPDX-License-Identifier: GPL-2.0-or-later
"""Which cells are run: a covering choice of each case's images and variants, or all of them."""
import itertools

import cell as cells

FIELDS = tuple([("image", name) for name in ("format", "cache", "aio")]
               + [("variant", name) for name in ("version", "squash", "delegations", "mount")])
QUICK_PEERS = 2  # cases that the quick choice also runs over each other stack


def pairs(image, variant):
    """Each two values that meet in this row."""
    values = [(name, getattr(image if kind == "image" else variant, name)) for kind, name in FIELDS]
    return set(itertools.combinations(values, 2))


def rows(case):
    return [(image, variant) for variant in cells.ALL_VARIANTS if case.variants(variant)
            for image in case.images]


def covering(case):
    """Few rows in which each two values of all dimensions meet at least once: greedy, and always
    the same."""
    left = rows(case)
    missing = set().union(*(pairs(*row) for row in left))
    chosen = []
    while missing:
        best = max(left, key=lambda row: len(pairs(*row) & missing))
        chosen.append(best)
        missing -= pairs(*best)
    return chosen


def one_row_each(all_cases):
    """A row for each case, such that all of them together meet as many pairs as they can."""
    met = set()
    for case in all_cases:
        row = max(rows(case), key=lambda candidate: len(pairs(*candidate) - met))
        met |= pairs(*row)
        yield case, row


def quick(all_cases):
    """Each short case over migfs, and without the step that it is about; the first cases that must
    go wrong without migfs over the others, too."""
    short = [case for case in all_cases if case.quick]
    controls = [case for case in short if case.control][:QUICK_PEERS]
    return [cell for case, row in one_row_each(short)
            for cell in cells_of(case, [row])
            if cell.stack in ("migfs", cells.WITHOUT_STEP) or case in controls]


def default(all_cases):
    return [cell for case, row in one_row_each(all_cases) for cell in cells_of(case, [row])]


def covered(all_cases):
    return [cell for case in all_cases for cell in cells_of(case, covering(case))]


def full(all_cases):
    return [cell for case in all_cases for cell in cells_of(case, rows(case))]


def cells_of(case, chosen_rows):
    return [cells.Cell(stack, case, image, variant) for image, variant in chosen_rows
            for stack in case.stacks]


def in_order(chosen):
    """Cells of one variant together: each variant is mounted once."""
    order = {variant: at for at, variant in enumerate(cells.ALL_VARIANTS)}
    return sorted(chosen, key=lambda cell: order[cell.variant])
