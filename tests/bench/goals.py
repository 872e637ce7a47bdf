# SPDX-License-Identifier: GPL-2.0-or-later
"""What is to be reached, and whether it was."""
import dataclasses

OURS = ("migfs", "migfs-passthrough")


@dataclasses.dataclass(frozen=True)
class Goal:
    what: str
    stack: str
    value: float
    bound: float
    is_most: bool = False  # or the least

    @property
    def is_met(self):
        return self.value <= self.bound if self.is_most else self.value >= self.bound

    def __str__(self):
        return (f"{' ' if self.is_met else '!'} {self.what:50} {self.stack:18} "
                f"{self.value:8.3g} {'<=' if self.is_most else '>='} {self.bound:.3g}")


# ---- rates, as ratios to the native directory ----

def fixed_ratios():
    """(workload, least of io=daemon, least of io=passthrough)."""
    for engine in ("libaio", "io_uring"):
        for how in ("read", "write"):
            yield f"4k random {how}, QD1, {engine}", 0.88, 0.97
            yield f"4k random {how}, QD32, {engine}", 0.85, 0.97
    yield "1M sequential read, QD4", 0.95, 0.97
    yield "1M sequential write, QD4", 0.95, 0.97
    yield "4k hot cached read", 0.90, 0.90
    yield "4k hot cached read, handed over", 0.90, 0.90
    yield "4k write and fsync", 0.85, 0.85
    yield "eight synchronous writers", 0.80, None
    yield "cp", 1 / 1.3, 1 / 1.3
    yield "cp --reflink=never", 1 / 1.3, 1 / 1.3
    yield "bytes read for one kept in memory", 1 / 1.1, 1 / 1.1


RATIOS = {name: dict(zip(OURS, least)) for name, *least in fixed_ratios()}
CLONE_TIMES = 1.1  # of passthrough_ll
ROUND_TRIPS = 2    # of an fstat, for lock and unlock

# A request wakes the daemon, and its answer who asked. By workload: how many one after another.
WAKE = "two processes wake each other"
WAKES = {"4k write and fsync": 2} | {f"4k random {how}, QD1, {engine}": 1 for how in ("read", "write")
                                     for engine in ("libaio", "io_uring")}


class Table:
    """Of the bench: by workload and stack."""

    def __init__(self, rows):
        self.rows = {(row["workload"], row["stack"]): row for row in rows}

    def number(self, workload, stack, column):
        text = self.rows.get((workload, stack), {}).get(column)
        return float(text) if text else None


def left_by(table, workload, count, trip, stack):
    """The ratio, when the time is the native one's and that of so many round trips."""
    native = table.number(workload, "native", "value")
    trips = table.number(trip, stack, "value")
    return 1 / (1 + count * native / trips) if native and trips else None


def least_for_lock(table, stack):
    return left_by(table, "lock and unlock", ROUND_TRIPS, "fstat", stack)


def least_ratio(table, workload, stack):
    """To the native directory; None: there is no goal."""
    if stack not in OURS:
        return None
    if workload == "lock and unlock":
        return least_for_lock(table, stack)
    if workload == "git clone":
        peer = table.number(workload, "passthrough_ll", "ratio")
        return peer / CLONE_TIMES if peer else None
    return RATIOS.get(workload, {}).get(stack)


# ---- what else ----

PEERS = ("passthrough_hp-daemon", "bindfs", "mergerfs")  # the data passes through these, too
DEEP = [f"4k random {how}, QD32, {engine}" for how in ("read", "write")
        for engine in ("libaio", "io_uring")]


def of_deep(table, workload):
    ours, threads = (table.number(workload, name, "cpu_us") for name in ("migfs", "migfs-threads"))
    if ours and threads:
        yield Goal(f"{workload}: CPU over a thread a request", "migfs", ours / threads, 0.6, True)
    peers = [table.number(workload, name, "ratio") for name in PEERS]
    best, ratio = max(filter(None, peers), default=None), table.number(workload, "migfs", "ratio")
    if best and ratio:
        yield Goal(f"{workload}: over the best peer", "migfs", ratio / best, 1.5)


@dataclasses.dataclass(frozen=True)
class LeftByWakes:
    """About the ratio of a daemon that takes no time itself, but sleeps until it is asked: where
    its wake-ups take as long as those of two processes that do nothing else."""
    workload: str
    ratio: float

    def __str__(self):
        return f"  {self.workload + ': left by wake-ups alone':50} {'about':18} {self.ratio:8.3g}"


def of_wakes(table):
    for workload, count in WAKES.items():
        ratio = left_by(table, workload, count, WAKE, "native")
        if ratio:
            yield LeftByWakes(workload, ratio)


def of_bench(rows):
    table = Table(rows)
    for (workload, stack), row in table.rows.items():
        if row["goal"]:
            yield Goal(workload, stack, float(row["ratio"]), float(row["goal"]))
    for workload in DEEP:
        yield from of_deep(table, workload)
    yield from of_wakes(table)


def of_handover(rows):
    for row in rows:
        if row["what"] == "1000 files at once":
            for column, bound in (("acquire_ratio", 1.5), ("release_ratio", 1.5),
                                  ("others_p99", 2)):
                yield Goal(f"1000 files at once: {column.replace('_', ', ')}", "migfs",
                           float(row[column]), bound, True)


def of_clean_release(ratios):
    for mebibytes, ratio in ratios:
        yield Goal(f"release with {mebibytes} MiB cached clean over none", "migfs", ratio, 2, True)


def of_idle(rows):
    for row in rows:
        if row["stack"] in OURS:
            yield Goal("10,000 inodes known: MiB resident", row["stack"],
                       float(row["resident_mib"]), 20, True)
            yield Goal(f"and nothing done: wake-ups in {row['seconds']} s", row["stack"],
                       int(row["wakes"]), 0, True)
