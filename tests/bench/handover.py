# SPDX-License-Identifier: GPL-2.0-or-later
"""How long a hand-over takes: by the image's size, by what is cached and dirty, and for many files
at once; beside what the store itself takes to write what a release of as many does, and with what
the readers of another file see meanwhile. All are medians of some rounds after a first one, which
makes what the later ones find."""
import contextlib
import os
import statistics
import subprocess
import time

import testbed

MIB = 1 << 20
ROUNDS = 3
DIRTY_BYTES = 65536  # of each of many files
IDLE_READS = 10000


def sparse(place, name, length):
    path = os.path.join(place.source, name)
    if not os.path.exists(path):
        with open(path, "wb") as file:
            file.truncate(length)
    return os.path.join(place.path, name)


def one(bed, path, cached=0, dirty=0):
    """(acquire, release) in ms."""
    run = bed.run([testbed.binary("calls"), "handover", path, cached, dirty])
    return tuple(int(word) / 1e6 for word in run.stdout.split())


def medians(sample, rounds=ROUNDS):
    """Of each column of what sample() gives, without its first time."""
    samples = [sample() for _ in range(1 + rounds)][1:]
    return [statistics.median(column) for column in zip(*samples)]


def by_size(bed, place, quick):
    for gibibytes in (1, 100) if quick else (1, 10, 100):
        path = sparse(place, f"sparse{gibibytes}", gibibytes << 30)
        yield f"{gibibytes} GiB, clean", medians(lambda: one(bed, path), 5)


def available_mib():
    with open("/proc/meminfo", encoding="ascii") as file:
        return int(dict(line.split(":") for line in file)["MemAvailable"].split()[0]) // 1024


def sizes(kind, quick):
    """In MiB. What is cached is there twice: here and in the store's own cache."""
    if quick:
        return (0, 1, 256, 1024) if kind == "cached" else (1, 16, 256)
    most = 8192 if kind == "cached" and available_mib() > 2.5 * 8192 else 2048
    return [size for size in (0, 1, 16, 64, 256, 1024, 2048, 8192)
            if size <= most and (size > 0 or kind == "cached")]


def by_bytes(bed, place, quick):
    for kind in ("cached", "dirty"):
        path = sparse(place, f"image-{kind}", sizes(kind, quick)[-1] * MIB)
        for mebibytes in sizes(kind, quick):
            what = {kind: mebibytes * MIB}
            yield f"{mebibytes} MiB {kind}", medians(lambda: one(bed, path, **what))
        os.unlink(os.path.join(place.source, f"image-{kind}"))


def open_all(directory, name, count, flags=0):
    os.makedirs(directory, exist_ok=True)
    return [os.open(os.path.join(directory, f"{name}{i}"), os.O_RDWR | os.O_CREAT | flags)
            for i in range(count)]


def write_all(files):
    for fd in files:
        os.pwrite(fd, b"x" * DIRTY_BYTES, 0)


def close_all(files):
    for fd in files:
        os.close(fd)


def ms_since(started):
    return (time.monotonic() - started) * 1000


@contextlib.contextmanager
def reader(bed, path, least=1):
    """Reads the file while the body runs, and so many blocks at least; afterwards in its list: ns of
    99 of 100 reads."""
    found = []
    process = bed.spawn([testbed.binary("calls"), "latency", path, str(least)], stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE, text=True)
    try:
        yield found
    finally:
        out, _ = process.communicate()
        found.append(int(out.split()[1]))


def meanwhile(bed, place, body):
    """How many times longer than on an idle mount 99 of 100 reads of another file take while body()
    runs."""
    path = sparse(place, "other", 64 * MIB)
    with reader(bed, path, IDLE_READS) as idle:
        pass
    with reader(bed, path) as busy:
        body()
    return busy[0] / idle[0]


def many(bed, place, count):
    """All files below a directory by one command, while somebody has them open: all clean when they
    are acquired, each with bytes to flush when they are released."""
    directory = os.path.join(place.path, f"many{count}")

    def timed(verb):
        started = time.monotonic()
        bed.run([testbed.binary("migfsctl"), verb, directory], timeout_s=120)
        return ms_since(started)

    def sample():
        acquire = timed("acquire")
        write_all(files)
        return acquire, timed("release")

    files = open_all(directory, "image", count)
    try:
        quiet = medians(sample)
        return *quiet, meanwhile(bed, place, lambda: [sample() for _ in range(ROUNDS)])
    finally:
        close_all(files)


def below(place, count):
    """What the store takes for a release of as many: an fsync and one stable write of a record
    each."""
    directory = os.path.join(place.source, f"below{count}")

    def sample():
        write_all(files)
        started = time.monotonic()
        for fd, record in zip(files, records):
            os.fdatasync(fd)
            os.pwrite(record, b"r" * 4096, 0)
        return (ms_since(started),)

    files = open_all(directory, "image", count)
    records = open_all(directory, "record", count, os.O_DSYNC)
    try:
        return medians(sample)[0]
    finally:
        close_all(files + records)


def row(what, acquire, release, store=None, slower=None):
    def ratio(value):
        return f"{value / store:.2f}" if store else ""
    return {"what": what, "acquire_ms": f"{acquire:.2f}", "release_ms": f"{release:.2f}",
            "store_ms": f"{store:.2f}" if store else "", "acquire_ratio": ratio(acquire),
            "release_ratio": ratio(release), "others_p99": f"{slower:.2f}" if slower else ""}


def measure(bed, place, quick):
    """Rows: times; of many files also their ratios to the store alone, and to an idle mount the time
    in which 99 of 100 reads of another file are answered meanwhile."""
    for what, (acquire, release) in [*by_size(bed, place, quick), *by_bytes(bed, place, quick)]:
        yield row(what, acquire, release)
    for count in (1, 100) if quick else (1, 100, 1000):
        acquire, release, slower = many(bed, place, count)
        yield row(f"{count} files at once", acquire, release, below(place, count), slower)


def clean_ratios(rows):
    """(MiB, release with so many cached over release with none)."""
    times = {int(row["what"].split()[0]): float(row["release_ms"])
             for row in rows if row["what"].endswith(" MiB cached")}
    return [(size, time / times[0]) for size, time in times.items() if size >= 1024]
