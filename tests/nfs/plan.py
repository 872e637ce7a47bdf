# SPDX-License-Identifier: GPL-2.0-or-later
"""Which cells are run. A row of a case is an image with a variant of NFS; the dimensions are the
image's and the variant's fields.

    quick    each short case in one row over migfs, and over its twins that are no whole layer of
             their own; the first ones that have bindfs for a twin over every stack
    cover    each case over migfs in rows that have each value of each dimension, over the other
             stacks in one; all cases together meet each two values
    picture  what README shows: the main cases, raw and qcow2, on NFS 4.2
    default  each case in one row over each stack
    full     each case in all rows over each stack
"""
import collections
import itertools

import cell as cells

FIELDS = tuple([("image", name) for name in ("format", "cache", "aio")]
               + [("variant", name) for name in ("version", "squash", "delegations", "mount")])
QUICK_PEERS = 1  # cases that the quick choice runs over every stack
PICTURED = (
    "early read of 1 MiB", "new clusters", "growth", "truncation", "discard", "internal snapshot",
    "post-copy", "cancel at switch", "second by mistake there", "tpm emulator", "long partition")
ALL_ROWS = 6     # a case with so few rows is covered by no fewer


def values(row):
    image, variant = row
    return {(name, getattr(image if kind == "image" else variant, name)) for kind, name in FIELDS}


def pairs(row):
    """Each two values that meet in this row."""
    return set(itertools.combinations(sorted(values(row), key=str), 2))


def rows(case):
    return [(image, variant) for variant in cells.ALL_VARIANTS if case.variants(variant)
            for image in case.images]


class Chooser:
    """Takes rows one by one, and always the same: what no row had before goes first, then what few
    had, on mounts that there are already."""

    def __init__(self):
        self.uses = collections.Counter()  # of pairs
        self.variants = set()

    def take(self, candidates, wanted=frozenset()):
        """The row that has most of the wanted values."""
        row = max(candidates, key=lambda row: (
            len(values(row) & wanted), sum(not self.uses[pair] for pair in pairs(row)),
            row[1] in self.variants, -sum(self.uses[pair] for pair in pairs(row))))
        self.uses.update(pairs(row))
        self.variants.add(row[1])
        return row

    def cover(self, case):
        left = rows(case)
        if len(left) <= ALL_ROWS:
            return left
        wanted = set().union(*map(values, left))
        chosen = []
        while wanted:
            chosen.append(self.take(left, wanted))
            wanted -= values(chosen[-1])
        return chosen


def one_row_each(all_cases):
    """One in which migfs has to be right, if there is one."""
    chooser = Chooser()
    for case in all_cases:
        judged = [row for row in rows(case) if not case.excused("migfs", *row)]
        yield case, chooser.take(judged or rows(case))


def quick(all_cases):
    short = [case for case in all_cases if case.quick]
    peers = [case for case in short if case.twins == cells.BINDFS][:QUICK_PEERS]

    def is_run(cell):
        return (cell.stack == "migfs" or cell.case in peers
                or cell.stack in cell.case.twins and cell.stack not in cells.USUAL_STACKS)

    return [cell for case, row in one_row_each(short) for cell in cells_of(case, [row])
            if is_run(cell)]


def cover(all_cases):
    chooser = Chooser()
    chosen = []
    for case in all_cases:
        case_rows = chooser.cover(case)
        chosen += [cell for cell in cells_of(case, case_rows)
                   if cell.stack == "migfs" or (cell.image, cell.variant) == case_rows[0]]
    return chosen


def picture(all_cases):
    usual = cells.Variant()
    return [cell for case in all_cases if case.name in PICTURED
            for image in (cells.RAW, cells.QCOW2) if image in case.images
            for cell in cells_of(case, [(image, usual)]) if cell.stack in cells.USUAL_STACKS]


def default(all_cases):
    return [cell for case, row in one_row_each(all_cases) for cell in cells_of(case, [row])]


def full(all_cases):
    return [cell for case in all_cases for cell in cells_of(case, rows(case))]


def cells_of(case, chosen_rows):
    return [cells.Cell(stack, case, image, variant) for image, variant in chosen_rows
            for stack in case.all_stacks()]


def in_order(chosen):
    """Cells of one variant together, for each is mounted once; private ones first, for others run
    beside them."""
    order = {variant: at for at, variant in enumerate(cells.ALL_VARIANTS)}
    return sorted(chosen, key=lambda cell: (order[cell.variant], not cell.case.private))
