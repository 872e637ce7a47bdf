# SPDX-License-Identifier: GPL-2.0-or-later
"""How long a hand-over takes: by the image's size, by what is cached and dirty, and for many files
at once; beside what the store itself takes to write what a release of as many does. All are medians
of some rounds after a first one, which makes what the later ones find."""
import os
import statistics
import time

import testbed

MIB = 1 << 20
ROUNDS = 3
DIRTY_BYTES = 65536  # of each of many files


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


def by_bytes(bed, place, quick):
    most = 256 if quick else 2048
    path = sparse(place, "image", most * MIB)
    for kind in ("cached", "dirty"):
        for mebibytes in [size for size in (1, 16, 64, 256, 1024, 2048) if size <= most]:
            what = {kind: mebibytes * MIB}
            yield f"{mebibytes} MiB {kind}", medians(lambda: one(bed, path, **what))


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
        return medians(sample)
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


def measure(bed, place, quick):
    """Rows (what, acquire ms, release ms, ms of the store itself or None)."""
    for what, (acquire, release) in [*by_size(bed, place, quick), *by_bytes(bed, place, quick)]:
        yield what, acquire, release, None
    for count in (1, 100) if quick else (1, 100, 1000):
        acquire, release = many(bed, place, count)
        yield f"{count} files at once", acquire, release, below(place, count)
