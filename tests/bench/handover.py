# SPDX-License-Identifier: GPL-2.0-or-later
"""How long a hand-over takes: by the image's size, by what is cached and dirty, and for many files
at once; beside what the store itself takes for the same bytes."""
import os
import statistics
import time

import testbed

MIB = 1 << 20


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


def medians(bed, path, rounds, **what):
    samples = [one(bed, path, **what) for _ in range(rounds)]
    return [statistics.median(column) for column in zip(*samples)]


def by_size(bed, place, quick):
    for gibibytes in (1, 100) if quick else (1, 10, 100):
        path = sparse(place, f"sparse{gibibytes}", gibibytes << 30)
        yield f"{gibibytes} GiB, clean", medians(bed, path, 5)


def by_bytes(bed, place, quick):
    most = 256 if quick else 2048
    path = sparse(place, "image", most * MIB)
    for kind in ("cached", "dirty"):
        for mebibytes in [size for size in (1, 16, 64, 256, 1024, 2048) if size <= most]:
            yield f"{mebibytes} MiB {kind}", medians(bed, path, 3, **{kind: mebibytes * MIB})


def many(bed, place, count):
    """All files below a directory by one command, while somebody has them open."""
    directory = os.path.join(place.path, f"many{count}")
    os.makedirs(directory, exist_ok=True)
    files = []
    try:
        for i in range(count):
            files.append(os.open(os.path.join(directory, f"image{i}"), os.O_RDWR | os.O_CREAT))
            os.pwrite(files[-1], b"x" * 65536, 0)
        times = []
        for verb in ("acquire", "release"):
            started = time.monotonic()
            bed.run([testbed.binary("migfsctl"), verb, directory], timeout_s=120)
            times.append((time.monotonic() - started) * 1000)
    finally:
        for fd in files:
            os.close(fd)
    return times


def below(place, count):
    """What the store takes for as many files: an fsync and one stable write of a record each."""
    directory = os.path.join(place.source, f"below{count}")
    os.makedirs(directory, exist_ok=True)
    files = []
    for i in range(count):
        fd = os.open(os.path.join(directory, f"image{i}"), os.O_RDWR | os.O_CREAT)
        os.pwrite(fd, b"x" * 65536, 0)
        record = os.open(os.path.join(directory, f"record{i}"), os.O_RDWR | os.O_CREAT | os.O_DSYNC)
        files.append((fd, record))
    started = time.monotonic()
    for fd, record in files:
        os.fdatasync(fd)
        os.pwrite(record, b"r" * 4096, 0)
    spent = (time.monotonic() - started) * 1000
    for pair in files:
        for fd in pair:
            os.close(fd)
    return spent


def measure(bed, place, quick):
    """Rows (what, acquire ms, release ms, ms of the store itself or None)."""
    for what, (acquire, release) in [*by_size(bed, place, quick), *by_bytes(bed, place, quick)]:
        yield what, acquire, release, None
    for count in (1, 100) if quick else (1, 100, 1000):
        acquire, release = many(bed, place, count)
        yield f"{count} files at once", acquire, release, below(place, count)
