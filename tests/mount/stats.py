#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""migfsctl stats: its counters add up with what was done, and its metrics are what they claim to be.

stats.py [CHECK]...
"""
import errno
import fcntl
import json
import os
import re
import stat
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import testbed  # noqa: E402
from testbed import TestFailure, binary, check  # noqa: E402

DONE, FAILED, USAGE, NOT_MIGFS = 0, 1, 2, 5
MIB = 1 << 20
MANUAL = os.path.join(testbed.TOP_DIR, "man", "migfsctl.1")

# Runs with the distribution's own Python, of which the parsers are a package.
PARSE = """
import json, sys
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client import parser as old
text = sys.stdin.read()
families = {}
for family in openmetrics.text_string_to_metric_families(text):
    assert family.name not in families, "twice: " + family.name
    assert family.documentation, "no help: " + family.name
    families[family.name] = {"type": family.type, "unit": family.unit, "samples": [
        [sample.name, dict(sample.labels), sample.value] for sample in family.samples]}
older = sum(len(family.samples) for family in old.text_string_to_metric_families(text))
samples = sum(len(family["samples"]) for family in families.values())
assert older == samples > 0, f"{older} samples in the older format, {samples} in OpenMetrics"
json.dump(families, sys.stdout)
"""


def stats(bed, *arguments):
    return json.loads(bed.run([binary("migfsctl"), "stats", "--json", *arguments]).stdout)["mounts"]


def one(bed, mount):
    mounts = stats(bed, mount.path)
    check(len(mounts) == 1, f"{len(mounts)} mounts")
    return mounts[0]


def metrics(text):
    probe = subprocess.run(["/usr/bin/python3", "-c", "import prometheus_client.openmetrics.parser"],
                           capture_output=True, check=False)
    if probe.returncode != 0:
        testbed.skip("no OpenMetrics parser: apt install python3-prometheus-client")
    parsed = subprocess.run(["/usr/bin/python3", "-c", PARSE], input=text, capture_output=True,
                            text=True, check=False)
    check(parsed.returncode == 0, f"not OpenMetrics: {parsed.stderr}\n{text[:2000]}")
    return json.loads(parsed.stdout)


def source_with_file(bed, size=8 * MIB):
    source = bed.directory("source")
    with open(os.path.join(source, "file"), "wb") as file:
        file.write(os.urandom(size))
    return source


# What was done ---------------------------------------------------------------------------------

def fio(bed, mount, *options):
    """What fio says that it did: (reads, bytes read, writes, bytes written)."""
    result = bed.run(["fio", "--name=job", f"--filename={mount.path}/file", "--direct=1",
                      "--size=8M", "--randseed=7", "--thread", "--group_reporting",
                      "--output-format=json", *options])
    job = json.loads(result.stdout[result.stdout.index("{"):])["jobs"][0]
    return (job["read"]["total_ios"], job["read"]["io_bytes"],
            job["write"]["total_ios"], job["write"]["io_bytes"])


def counters_add_up_with_what_fio_did(bed):
    testbed.require_tools("fio")
    mount = bed.mount_migfs(source_with_file(bed))
    for options in (["--rw=randread", "--bs=16k", "--ioengine=psync"],
                    ["--rw=randwrite", "--bs=64k", "--ioengine=psync"],
                    ["--rw=randrw", "--bs=4k", "--ioengine=libaio", "--iodepth=16", "--numjobs=4"],
                    ["--rw=write", "--bs=1M", "--ioengine=psync", "--numjobs=2"],
                    ["--rw=randread", "--bsrange=512-65536", "--blockalign=512",
                     "--ioengine=sync"]):
        before = one(bed, mount)
        reads, bytes_read, writes, bytes_written = fio(bed, mount, *options)
        after = one(bed, mount)
        check(reads + writes > 0, f"{options}: fio did nothing")
        seen = {
            "reads": after["requests"]["read"]["count"] - before["requests"]["read"]["count"],
            "writes": after["requests"]["write"]["count"] - before["requests"]["write"]["count"],
            "bytes read": after["bytes_read"] - before["bytes_read"],
            "bytes written": after["bytes_written"] - before["bytes_written"]}
        did = {"reads": reads, "writes": writes, "bytes read": bytes_read,
               "bytes written": bytes_written}
        check(seen == did, f"{options}: counted {seen}, fio did {did}")
    for kind, request in one(bed, mount)["requests"].items():
        check(request["failed"] <= request["ended"] <= request["count"], f"{kind}: {request}")
        check(sum(request["up_to_us"].values()) == request["ended"], f"{kind}: {request}")
        if kind in ("read", "write"):
            check(request["ended"] == request["count"] and request["seconds"] > 0 and
                  request["failed"] == 0, f"{kind}: {request}")


def each_kind_of_request_is_counted_as_that(bed):
    """What the kernel asks for at a call is its own, but it asks for that."""
    source = source_with_file(bed)
    mount = bed.mount_migfs(source)
    path = os.path.join(mount.path, "new")
    file = os.open(os.path.join(mount.path, "file"), os.O_RDWR)

    calls = [
        ("make", lambda: os.mkdir(path)), ("rename", lambda: os.rename(path, path + "2")),
        ("remove", lambda: os.rmdir(path + "2")), ("readdir", lambda: os.listdir(mount.path)),
        ("make", lambda: os.symlink("file", path)), ("readlink", lambda: os.readlink(path)),
        ("setattr", lambda: os.chmod(file, 0o600)),
        ("xattr", lambda: os.listxattr(path, follow_symlinks=False)),
        ("fsync", lambda: os.fsync(file)), ("lseek", lambda: os.lseek(file, 0, os.SEEK_HOLE)),
        ("fallocate", lambda: os.posix_fallocate(file, 0, 9 * MIB)),
        ("copy", lambda: os.copy_file_range(file, file, 4096, 0, MIB)),
        ("write", lambda: os.pwrite(file, b"x", 0)),
        ("setlkw", lambda: fcntl.lockf(file, fcntl.LOCK_EX)),
        ("setlk", lambda: fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)),
        ("flush", lambda: os.close(os.dup(file))),
        ("ioctl", lambda: None),  # the question itself
    ]
    for kind, do in calls:
        before = one(bed, mount)["requests"][kind]["count"]
        do()
        after = one(bed, mount)["requests"][kind]["count"]
        check(after > before, f"{kind}: {before} before the call and {after} after it")
    os.close(file)


def errors_are_counted_as_such(bed):
    mount = bed.mount_migfs(source_with_file(bed))
    before = one(bed, mount)["requests"]
    check(not os.path.exists(os.path.join(mount.path, "missing")), "it is there")
    try:
        os.removexattr(os.path.join(mount.path, "file"), "user.none")
        raise TestFailure("an attribute that is not there was removed")
    except OSError as error:
        check(error.errno == errno.ENODATA, f"{error}")
    after = one(bed, mount)["requests"]
    for kind in ("lookup", "xattr"):
        check(after[kind]["failed"] == before[kind]["failed"] + 1,
              f"{kind}: {before[kind]} before, {after[kind]} after")


def each_try_of_a_lock_that_is_waited_for_counts(bed):
    mount = bed.mount_migfs(source_with_file(bed))
    path = os.path.join(mount.path, "file")
    holder = os.open(path, os.O_RDWR)
    fcntl.flock(holder, fcntl.LOCK_EX)
    before = one(bed, mount)
    waiter = bed.spawn(["flock", path, "true"])
    testbed.wait_until(lambda: one(bed, mount)["steps"]["lock"]["failed"] > 0,
                       what="the lock that is waited for")
    fcntl.flock(holder, fcntl.LOCK_UN)
    check(waiter.wait(30) == 0, "it does not get the lock")
    after = one(bed, mount)
    tried = after["steps"]["lock"]["count"] - before["steps"]["lock"]["count"]
    failed = after["steps"]["lock"]["failed"]
    locked = after["handoffs"]["lock"]["count"] - before["handoffs"]["lock"]["count"]
    check((tried, locked, after["handoffs"]["lock"]["failed"]) == (failed + 1, 1, 0),
          f"tried {tried} times, {failed} in vain; locked: {after['handoffs']['lock']}")
    os.close(holder)


def open_files_are_told_by_state(bed):
    mount = bed.mount_migfs(source_with_file(bed))
    check(set(one(bed, mount)["open_files"].values()) == {0}, "files are open")
    with open(os.path.join(mount.path, "file"), "rb+"):
        check(one(bed, mount)["open_files"]["plain"] == 1, "one is open")
        bed.run([binary("migfsctl"), "acquire", os.path.join(mount.path, "file")])
        told = one(bed, mount)
        check(told["open_files"]["owner"] == 1 and told["open_files"]["plain"] == 0, f"{told}")
        check(told["handoffs"]["acquire"]["count"] == 1, f"{told['handoffs']}")


# The command -----------------------------------------------------------------------------------

def metrics_say_what_the_counters_do(bed):
    name = 'a "strange\\" name'
    mount = bed.mount_migfs(source_with_file(bed), mountpoint=bed.directory(name))
    with open(os.path.join(mount.path, "file"), "rb+") as file:
        file.read()
        bed.run([binary("migfsctl"), "acquire", os.path.join(mount.path, "file")])
        bed.run([binary("migfsctl"), "release", os.path.join(mount.path, "file")])
    text = bed.run([binary("migfsctl"), "stats", "--openmetrics", mount.path]).stdout
    counted = one(bed, mount)
    shown = bed.run([binary("migfsctl"), "stats", mount.path]).stdout.split(", since ")[0]
    families = metrics(text)
    samples = {(name, labels.get("kind") or labels.get("step"), labels.get("le")): value
               for family in families.values() for name, labels, value in family["samples"]}
    for family in families.values():
        for _, labels, _ in family["samples"]:
            check(labels["mountpoint"] == shown, f"{labels}")
    for family, kind in (("migfs_read_bytes", "counter"), ("migfs_requests", "counter"),
                         ("migfs_request_duration_seconds", "histogram"),
                         ("migfs_handoff_duration_seconds", "histogram"),
                         ("migfs_step_duration_seconds", "histogram"),
                         ("migfs_open_files", "gauge"), ("migfs_fences", "counter"),
                         ("migfs_stale_acquires", "counter"), ("migfs_foreign_writes", "counter")):
        check(families[family]["type"] == kind, f"{family}: {families[family]['type']}")
    check(families["migfs_read_bytes"]["unit"] == "bytes", "no unit")
    check(samples["migfs_read_bytes_total", None, None] == counted["bytes_read"] == 8 * MIB,
          "bytes read")
    check(samples["migfs_requests_total", "read", None] == counted["requests"]["read"]["count"],
          "requests")
    for group, family, label in (("requests", "migfs_request", "kind"),
                                 ("handoffs", "migfs_handoff", "kind"),
                                 ("steps", "migfs_step", "step")):
        for kind, counter in counted[group].items():
            if kind in ("ioctl", "statfs", "opendir", "getattr", "releasedir"):
                continue  # the command's own go on
            label = kind.replace(" ", "_")
            count = samples.get((f"{family}_duration_seconds_count", label, None), 0)
            check(count == counter["ended"], f"{group} {kind}: {count}, not {counter['ended']}")
            check(samples[f"{family}_errors_total", label, None] == counter["failed"],
                  f"{group} {kind}: errors")
    for kind in ("acquire", "release"):
        check(samples["migfs_handoff_duration_seconds_count", kind, None] == 1, kind)


def literals(text):
    """What mdoc source marks by a line's first Li, without labels and metrics: "more lock"."""
    lines = re.findall(r"^\.(?:It )?Li (.*?)(?: Pq .*)?$", text, re.MULTILINE)
    names = {name.strip(" .;") for line in lines for name in line.split(" ,")}
    return {name for name in names if name and not name.startswith("migfs_")} - {
        "kind", "step", "mountpoint"}


def the_manual_tells_of_all_that_is_printed_and_nothing_else(bed):
    with open(MANUAL, encoding="utf-8") as file:
        manual = file.read().split(".Ss What stats counts\n")[1].split("\n.Ss ")[0]
    mount = bed.mount_migfs(source_with_file(bed))
    counted = one(bed, mount)
    text = bed.run([binary("migfsctl"), "stats", "--openmetrics", mount.path]).stdout
    printed = {name + ("_total" if kind == "counter" else "")
               for name, kind in re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE)}
    told = set(re.findall(r"\bmigfs_\w+", manual))
    check(told == printed, f"metrics in one of both alone: {sorted(told ^ printed)}")
    singles, *groups = re.split(r"^\.Em ", manual, flags=re.MULTILINE)
    members = {"requests": literals(groups[0]), "handoffs": literals(groups[1]),
               "steps": literals(groups[2])}
    for group, kinds in members.items():
        check(kinds == set(counted[group]),
              f"{group} in one of both alone: {sorted(kinds ^ set(counted[group]))}")
    members = set(counted) - set(members) - {"mountpoint"}
    check(literals(singles) == members,
          f"members in one of both alone: {sorted(literals(singles) ^ members)}")


def a_file_of_metrics_is_there_as_a_whole_or_not_at_all(bed):
    mount = bed.mount_migfs(source_with_file(bed))
    folder = bed.directory("textfile")
    path = os.path.join(folder, "migfs.prom")

    def write(expect=DONE, target=path):
        return bed.run([binary("migfsctl"), "stats", f"--openmetrics={target}", mount.path],
                       expect=expect)
    check(write().stdout == "", "it prints, too")
    first = os.stat(path)
    check(first.st_mode & 0o777 == 0o666 & ~0o022, f"mode {first.st_mode:o}")
    with open(path, encoding="utf-8") as reader:
        write()
        check(os.stat(path).st_ino != first.st_ino, "it was overwritten where a reader reads")
        check(reader.read().endswith("# EOF\n"), "a reader does not get all of the old one")
    with open(path, encoding="utf-8") as reader:
        metrics(reader.read())
    check(os.listdir(folder) == ["migfs.prom"], f"left behind: {os.listdir(folder)}")
    missing = write(FAILED, os.path.join(folder, "missing/migfs.prom"))
    check("missing/migfs.prom: cannot be written: No such file" in missing.stderr, missing.stderr)
    write(FAILED, folder)
    check(os.listdir(folder) == ["migfs.prom"], f"left behind: {os.listdir(folder)}")


def what_is_no_file_is_written_to_and_stays(bed):
    """As root a device would be gone for all."""
    mount = bed.mount_migfs(source_with_file(bed))
    folder = bed.directory("folder")
    fifo, link, file, standard = (os.path.join(folder, name)
                                  for name in ("fifo", "link", "file", "standard"))
    os.mkfifo(fifo)
    os.symlink("file", link)
    os.symlink("/proc/self/fd/1", standard)

    def write(target):
        return bed.run([binary("migfsctl"), "stats", f"--openmetrics={target}", mount.path]).stdout
    reader = bed.spawn(["cat", fifo], stdout=subprocess.PIPE, text=True)
    write(fifo)
    check(reader.communicate()[0].endswith("# EOF\n"), "not all came through the pipe")
    check(write(standard).endswith("# EOF\n"), "not all came to standard output")
    with open(file, "w", encoding="utf-8") as before:
        before.write("as it was")
    write(link)
    with open(file, encoding="utf-8") as written:
        check(written.read().endswith("# EOF\n"), "not all is in the file")
    check(stat.S_ISFIFO(os.lstat(fifo).st_mode) and os.path.islink(link) and
          os.path.islink(standard) and len(os.listdir(folder)) == 4, f"{os.listdir(folder)}")


def without_a_path_all_mounts_are_told_once(bed):
    source = source_with_file(bed)
    first, second = bed.mount_migfs(source), bed.mount_migfs(source)
    result = bed.run([binary("migfsctl"), "stats", "--json"], expect=None)
    told = json.loads(result.stdout)["mounts"]  # and of whoever else has mounts here
    check({first.path, second.path} <= {mount["mountpoint"] for mount in told}, f"{told}")
    told = stats(bed, first.path, os.path.join(first.path, "file"), second.path)
    check([mount["mountpoint"] for mount in told] == [first.path, second.path], "not each once")
    metrics(bed.run([binary("migfsctl"), "stats", "--openmetrics", first.path, second.path,
                          first.path]).stdout)
    table = bed.run([binary("migfsctl"), "stats", first.path, second.path]).stdout
    for word in (f"{first.path}, since ", f"{second.path}, since ", "REQUEST", "COUNT", "LONGEST"):
        check(word in table, f"no {word}:\n{table}")


def what_cannot_be_told_is_said(bed):
    mount = bed.mount_migfs(source_with_file(bed))
    ctl = binary("migfsctl")
    for arguments, status, said in (
            (["stats", "/proc"], NOT_MIGFS, "/proc: not on a migfs"),
            (["stats", mount.path + "/none"], FAILED, "No such file"),
            (["stats", "--json", "--openmetrics", mount.path], USAGE, "not both"),
            (["stats", "--openmetrics=", mount.path], USAGE, "needs the name of a file"),
            (["stats", "--follow", mount.path], USAGE, "takes no --follow"),
            (["status", "--openmetrics", mount.path], USAGE, "takes no --openmetrics")):
        result = bed.run([ctl, *arguments], expect=status)
        check(said in result.stderr, f"{arguments}: {result.stderr}")
    good = bed.run([ctl, "stats", "--json", "/proc", mount.path], expect=NOT_MIGFS)
    check(json.loads(good.stdout)["mounts"][0]["mountpoint"] == mount.path, "the other one is lost")
    os.chmod(bed.root, 0o755)
    bed.run([bed.install("migfsctl"), "stats", mount.path], as_user=True,
            expect=FAILED if "allow_other" not in mount_options(mount) else DONE)


def mount_options(mount):
    return next(line.split(" - ")[1] for line in open("/proc/self/mountinfo", encoding="utf-8")
                if line.split()[4] == mount.path)


if __name__ == "__main__":
    testbed.main(lambda: testbed.run_checks("stats", (
        counters_add_up_with_what_fio_did, each_kind_of_request_is_counted_as_that,
        errors_are_counted_as_such, each_try_of_a_lock_that_is_waited_for_counts,
        open_files_are_told_by_state, metrics_say_what_the_counters_do,
        the_manual_tells_of_all_that_is_printed_and_nothing_else,
        a_file_of_metrics_is_there_as_a_whole_or_not_at_all,
        what_is_no_file_is_written_to_and_stays, without_a_path_all_mounts_are_told_once,
        what_cannot_be_told_is_said)))
