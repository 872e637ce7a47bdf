# SPDX-License-Identifier: GPL-2.0-or-later
"""What is done to each stack. A workload gives a Sample: how much of its unit, so that more is
better, and what a request cost its server in processor time."""
import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import time

import goals
import stacks
import testbed


@dataclasses.dataclass(frozen=True)
class Sample:
    value: float          # in the workload's unit
    cpu_us: float = None  # of the server, a request; None: not asked


@dataclasses.dataclass(frozen=True)
class Workload:
    name: str
    unit: str    # whole: of a rate with its "/s"
    run: object  # (bed, place, effort) -> Sample
    quick: bool = True
    stacks: tuple = stacks.ORDINARY
    in_guest: bool = False


@dataclasses.dataclass(frozen=True)
class Effort:
    """How long and how large."""
    milliseconds: int
    data_mib: int
    hot_mib: int
    copy_mib: int
    files: int


def fio(bed, effort, path, *arguments):
    """The sum of all jobs: (requests, bytes, seconds)."""
    run = bed.run(["fio", "--name=bench", f"--filename={path}", "--time_based",
                   f"--runtime={effort.milliseconds}ms", "--norandommap", "--randrepeat=0",
                   "--group_reporting", "--output-format=json", *arguments], timeout_s=120)
    job = json.loads(run.stdout[run.stdout.index("{"):])["jobs"][0]
    sides = [job["read"], job["write"]]
    return (sum(side["total_ios"] for side in sides), sum(side["io_bytes"] for side in sides),
            max(side["runtime"] for side in sides) / 1000)


def read_whole(path):
    with open(path, "rb") as file:
        while file.read(1 << 20):
            pass


def drop_cached(place, path):
    """Of a clean file: what the stack keeps, then what the file system below does. fio drops what it
    sees itself: with the native file that is below, and each write past the cache is spared the
    page that it would have to drop."""
    for seen in (path, os.path.join(place.source, os.path.relpath(path, place.path))):
        with open(seen, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


# mergerfs keeps what is written in a buffer that is not aligned: O_DIRECT below refuses it.
DIRECT_WRITERS = tuple(name for name in stacks.ORDINARY if name != "mergerfs")


def of_fio(name, *arguments, megabytes=False, hot=False, quick=True):
    def run(bed, place, effort):
        path = place.data(effort.hot_mib if hot else effort.data_mib)
        with place.owned(path) if hot else contextlib.nullcontext():
            if hot:
                read_whole(path)
            else:
                drop_cached(place, path)
            before = place.cpu_s()
            requests, count, seconds = fio(bed, effort, path, *arguments)
        cpu_us = (place.cpu_s() - before) * 1e6 / max(requests, 1)
        return Sample((count / 1e6 if megabytes else requests) / seconds, cpu_us)
    writes = bool({"--rw=write", "--rw=randwrite"}.intersection(arguments))
    return Workload(name, "MB/s" if megabytes else "requests/s", run, quick,
                    DIRECT_WRITERS if writes and "--direct=1" in arguments else stacks.ORDINARY)


def direct(how, depth, engine, **fields):
    name = f"4k random {how}, QD{depth}, {engine}"
    return of_fio(name, f"--rw=rand{how}", "--bs=4k", f"--iodepth={depth}", f"--ioengine={engine}",
                  "--direct=1", **fields)


def of_calls(kind, quick=True):
    def run(bed, place, effort):
        directory = os.path.join(place.path, "calls")
        os.makedirs(directory, exist_ok=True)
        before = place.cpu_s()
        done = bed.run([testbed.binary("calls"), kind, directory, effort.milliseconds])
        count, nanoseconds = map(int, done.stdout.split())
        return Sample(count / nanoseconds * 1e9, (place.cpu_s() - before) * 1e6 / count)
    return Workload({"open": "open and close", "create": "create and unlink",
                     "lookup": "stat of a/b/c", "lock": "lock and unlock"}.get(kind, kind),
                    "calls/s", run, quick)


def wake(bed, _place, effort):
    """What a request costs at least that a daemon answers which sleeps between two."""
    count, nanoseconds = map(int, bed.run(
        [testbed.binary("calls"), "wake", effort.milliseconds]).stdout.split())
    return Sample(count / nanoseconds * 1e9)


def hot_after_hand_over(bed, place, effort):
    path = place.data(effort.hot_mib)
    before = place.cpu_s()
    done = bed.run([testbed.binary("calls"), "hot", path, effort.milliseconds])
    count, nanoseconds = map(int, done.stdout.split())
    return Sample(count / nanoseconds * 1e9, (place.cpu_s() - before) * 1e6 / count)


FILES_A_DIRECTORY = 100
FILE_BYTES = 1000


def history(count):
    """For git fast-import: one commit of so many files, two directories deep."""
    yield b"commit refs/heads/main\ncommitter bench <bench> 0 +0000\ndata 0\n"
    for i in range(count):
        directory = i // FILES_A_DIRECTORY
        yield b"M 100644 inline %d/%d/%d\ndata %d\n%s\n" % (
            directory // 10, directory, i, FILE_BYTES, (b"%d " % i).ljust(FILE_BYTES, b"x"))


def repository(bed, count):
    path = os.path.join(bed.root, f"repository{count}")
    if not os.path.exists(path):
        bed.run(["git", "init", "-q", "--bare", "-b", "main", path])
        subprocess.run(["git", "-C", path, "fast-import", "--quiet"], check=True,
                       input=b"".join(history(count)))
    return path


# passthrough_hp sets no times by name, and git gives up.
CLONED = (*(name for name in stacks.ORDINARY if not name.startswith("passthrough_hp")),
          "passthrough_ll")


def clone(bed, place, effort):
    path, target = repository(bed, effort.files), os.path.join(place.path, "clone")
    before, started = place.cpu_s(), time.monotonic()
    bed.run(["git", "clone", "-q", "--no-hardlinks", path, target], timeout_s=120)
    seconds = time.monotonic() - started
    cpu_us = (place.cpu_s() - before) * 1e6 / effort.files
    shutil.rmtree(target)
    return Sample(effort.files / seconds, cpu_us)


def in_guest(name, *arguments):
    def run(_bed, place, effort):
        machine = place.guest(effort.data_mib)
        before = place.cpu_s()
        rate, count = machine.fio(effort.milliseconds, *arguments)
        return Sample(rate, (place.cpu_s() - before) * 1e6 / max(count, 1))
    return Workload(f"in a guest: {name}", "requests/s", run, quick=False,
                    stacks=("native", "migfs", "migfs-passthrough", "virtiofsd"), in_guest=True)


def of_cp(*options):
    """By copy_file_range(2), which says nothing where the store clones; or with --reflink=never by
    reads and writes."""
    command = " ".join(("cp", *options))

    def run(bed, place, effort):
        source = place.data(effort.copy_mib)
        drop_cached(place, source)
        target = os.path.join(place.path, "copied")
        timed = bed.run(["/usr/bin/env", "bash", "-c",
                         f'TIMEFORMAT=%R; time {command} "$0" "$1"', source, target])
        os.unlink(target)
        seconds = float(timed.stderr.split()[-1])
        return Sample(effort.copy_mib * 1.048576 / max(seconds, 0.001))  # a clone takes none
    return Workload(command, "MB/s", run)


def page_cache(_bed, place, effort):
    """How many bytes are read for one that stays in memory: 1 is right, 0.5 is kept twice."""
    path = place.data(effort.copy_mib)
    subprocess.run(["sync"], check=True)
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
        file.write("1")
    before = cached_mib()
    with place.owned(path):
        read_whole(path)
        kept = cached_mib() - before
    return Sample(effort.copy_mib / max(kept, 1))


def cached_mib():
    with open("/proc/meminfo", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Cached:")) / 1024


WORKLOADS = [
    direct("read", 1, "libaio"),
    direct("read", 1, "io_uring", quick=False),
    direct("read", 32, "libaio"),
    direct("read", 32, "io_uring", quick=False),
    direct("write", 1, "libaio"),
    direct("write", 1, "io_uring", quick=False),
    direct("write", 32, "libaio"),
    direct("write", 32, "io_uring", quick=False),
    of_fio("1M sequential read, QD4", "--rw=read", "--bs=1M", "--iodepth=4", "--ioengine=libaio",
           "--direct=1", megabytes=True),
    of_fio("1M sequential write, QD4", "--rw=write", "--bs=1M", "--iodepth=4", "--ioengine=libaio",
           "--direct=1", megabytes=True, quick=False),
    of_fio("4k hot cached read", "--rw=randread", "--bs=4k", "--ioengine=psync", "--invalidate=0",
           hot=True),
    Workload("4k hot cached read, handed over", "requests/s", hot_after_hand_over),
    of_fio("4k write and fsync", "--rw=randwrite", "--bs=4k", "--ioengine=psync", "--fsync=1"),
    of_fio("eight synchronous writers", "--rw=randwrite", "--bs=4k", "--ioengine=psync",
           "--direct=1", "--numjobs=8"),
    of_calls("fstat"),
    of_calls("open"),
    of_calls("create"),
    of_calls("lookup"),
    of_calls("lock"),
    Workload(goals.WAKE, "times/s", wake, stacks=("native",)),
    of_cp(),
    of_cp("--reflink=never"),
    Workload("git clone", "files/s", clone, stacks=CLONED),
    Workload("bytes read for one kept in memory", "bytes", page_cache, quick=False),
    in_guest("4k random read, QD1", "--rw=randread", "--bs=4k", "--iodepth=1"),
    in_guest("4k random read, QD32", "--rw=randread", "--bs=4k", "--iodepth=32"),
    in_guest("4k random write, QD32", "--rw=randwrite", "--bs=4k", "--iodepth=32"),
]
IN_PICTURE = (*(f"4k random {how}, {depth}, libaio" for depth in ("QD1", "QD32")
                for how in ("read", "write")),
              "1M sequential read, QD4", "1M sequential write, QD4",
              "4k hot cached read, handed over", "4k write and fsync",
              "eight synchronous writers", "cp", "cp --reflink=never", "git clone",
              goals.WAKE)  # is no bar: the goals are read beside it

