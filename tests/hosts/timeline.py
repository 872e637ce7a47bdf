#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is counted of hand-overs, and kept of their steps: by both hosts, and drawn as one picture."""
import errno
import fcntl
import json
import os
import shutil
import struct
import subprocess
import xml.etree.ElementTree

from pair import IMAGE_BYTES, field
from scenario import QUICK, Theme
import testbed

theme = Theme("timeline")
SVG = "{http://www.w3.org/2000/svg}"

# migfs.h
KINDS = ("acquire", "share", "lock", "more lock", "forget", "release", "downgrade", "demote",
         "unlock", "more unlock")
STEPS = ("LOCK", "TEST", "DROP", "READ_RECORD", "INVALIDATE", "VERIFY", "WRITE_RECORD", "FLUSH",
         "DRAIN", "SYNC", "UNLOCK")
SIDE = "=IIqQqQ64s16s"
SPAN = "=IIHHI"
SIDE_SIZE = struct.calcsize(SIDE) + 24 * struct.calcsize(SPAN)
TIMELINE_SIZE = 16 + 2 * SIDE_SIZE
TIMELINE = 3 << 30 | TIMELINE_SIZE << 16 | 0xDC << 8 | 9


def side_of(answer, offset):
    """None, or what a host did: its name, begin, duration and [(kind, step, start, duration)]."""
    flags, count, began, duration, _, _, host, _ = struct.unpack_from(SIDE, answer, offset)
    spans = [struct.unpack_from(SPAN, answer, offset + struct.calcsize(SIDE) + 16 * i)
             for i in range(count)]
    if not flags & 1:
        return None
    return {"host": host.rstrip(b"\0").decode(), "began": began, "duration": duration,
            "has_clock": bool(flags & 2),
            "spans": [(KINDS[kind], STEPS[step], start, took)
                      for start, took, kind, step, _ in spans]}


def timeline(host, name, generation=0):
    """(generation, release, acquire), or the errno."""
    argument = bytearray(struct.pack("=IIQ", 2, 0, generation).ljust(TIMELINE_SIZE, b"\0"))
    fd = os.open(host.path(name), os.O_RDONLY)
    try:
        fcntl.ioctl(fd, TIMELINE, argument, True)
    except OSError as error:
        return error.errno
    finally:
        os.close(fd)
    return (field(argument, 8, 8), side_of(argument, 16), side_of(argument, 16 + SIDE_SIZE))


def wait_timeline(host, name, generation, sides=2):
    """Both sides are written shortly after their ends."""
    def known():
        found = timeline(host, name, generation)
        return not isinstance(found, int) and sum(side is not None for side in found[1:]) == sides
    testbed.wait_until(known, what=f"{sides} sides of generation {generation}")
    return timeline(host, name, generation)


def handed_over(pair):
    """A wrote and handed over, B acquired."""
    name = pair.image()
    a, b = pair.a.vmm(name), pair.b.vmm(name)
    b.read(1, 0, IMAGE_BYTES)
    a.lock(1)
    a.write(1, 0, IMAGE_BYTES, "A")
    a.unlock(1)
    b.lock(1)
    return name, a, b


def stats(host):
    return json.loads(host.ctl("stats", "--json", host.above.path).stdout)["mounts"][0]


def plot(pair, host, name, *arguments, expect=0):
    picture = pair.bed.unique("picture") + ".svg"
    result = host.ctl("history", "--plot", picture, *arguments, host.path(name), expect=expect)
    testbed.check(os.path.exists(picture) == (expect == 0), "a picture and an error, or neither")
    return picture if expect == 0 else result.stderr


def texts(picture):
    root = xml.etree.ElementTree.parse(picture).getroot()
    testbed.check(root.tag == f"{SVG}svg", root.tag)
    return ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]


# Counters -------------------------------------------------------------------------------------

@theme.scenario(fresh=True)
def each_host_counts_what_it_does(pair):
    handed_over(pair)
    a, b = stats(pair.a), stats(pair.b)
    for host, kind, count in ((a, "acquire", 1), (a, "demote", 1), (a, "release", 1),
                              (b, "acquire", 1), (b, "release", 0)):
        testbed.check(host["handoffs"][kind]["count"] == count, f"{kind}: {host['handoffs'][kind]}")
    for host, step, count in ((a, "flush", 3), (a, "drain", 1), (a, "sync", 3), (b, "test", 1),
                              (b, "verify", 1), (b, "write record", 1), (a, "write record", 2)):
        testbed.check(host["steps"][step]["count"] == count, f"{step}: {host['steps'][step]}")
    for host in (a, b):
        for group in ("handoffs", "steps"):
            for name, counter in host[group].items():
                testbed.check(counter["failed"] == 0 and counter["ended"] == counter["count"] ==
                              sum(counter["up_to_us"].values()), f"{name}: {counter}")
        testbed.check(host["fences"] == host["stale_acquires"] == host["foreign_writes"] ==
                      host["conflicts"] == 0, f"{host}")
    testbed.check(b["open_files"]["owner"] == 1 and a["open_files"]["released"] == 1, "states")


@theme.scenario(options="deadline=2000", fresh=True)
def a_stale_acquire_is_counted(pair):
    name = pair.image()
    a, b = pair.a.vmm(name), pair.b.vmm(name)
    b.read(1, 0, IMAGE_BYTES)
    pair.b.control("stale")
    a.lock(1)
    a.write(1, 16384, 4096, "A")
    a.unlock(1)
    b.lock(1, 100, 101, 103)
    testbed.check(b.error("lock 1 r 201 1") == errno.EIO, "B starts on stale data")
    told = stats(pair.b)
    testbed.check(told["stale_acquires"] == 1, f"{told['stale_acquires']} stale acquires")
    testbed.check(told["handoffs"]["acquire"]["failed"] == 1 and
                  told["steps"]["verify"]["failed"] == 1, f"{told['handoffs']['acquire']}")


@theme.scenario(options=QUICK, fresh=True)
def a_foreign_write_is_counted(pair):
    name = pair.image()
    a = pair.a.vmm(name)
    a.lock(1)
    a.write(1, 0, 4096, "A")
    a.unlock(1)
    a.close()
    with open(os.path.join(pair.store, name), "ab") as file:
        file.write(b"by nobody's leave")
    b = pair.b.vmm(name)
    b.lock(1)
    testbed.check(stats(pair.b)["foreign_writes"] == 1, f"{stats(pair.b)['foreign_writes']}")


@theme.scenario(options=QUICK, fresh=True)
def a_fence_is_counted(pair):
    name = pair.image()
    a = pair.a.vmm(name)
    a.lock(1)
    a.write(1, 0, 4096, "A")
    a.ask("fsync 1")
    pair.a.control("partition")
    b = pair.b.vmm(name)
    b.lock(1)
    pair.a.control("heal")
    a.error("write 1 0 4096 X")
    testbed.wait_until(lambda: stats(pair.a)["fences"] == 1, what="the fence in the counters")
    testbed.check(stats(pair.a)["open_files"]["fenced"] == 1, "the state")
    testbed.check(stats(pair.b)["fences"] == 0, "of the other host")


@theme.scenario(options="deadline=2000", fresh=True)  # a fifth of it is for the answer
def a_conflict_is_counted(pair):
    name = pair.image()
    a, b = pair.a.vmm(name), pair.b.vmm(name)
    a.lock(1)
    b.lock(1, 100, 101, 103, 201)
    testbed.check(stats(pair.b)["conflicts"] == 1, f"{stats(pair.b)['conflicts']}")


# Timelines ------------------------------------------------------------------------------------

@theme.scenario()
def both_hosts_leave_their_side(pair):
    name, _, _ = handed_over(pair)
    for host in (pair.a, pair.b):
        generation, release, acquire = wait_timeline(host, name, 2)
        testbed.check(generation == 2, f"generation {generation}")
        for side in (release, acquire):
            testbed.check(side["host"] == os.uname().nodename, side["host"])
            last = 0
            for kind, step, start, took in side["spans"]:
                testbed.check(last <= start + 1 and took > 0, f"{kind} {step} begins before its "
                              f"predecessor's end, or took no time: {side}")
                last = start
                testbed.check((start + took) * 1000 <= side["duration"] + 2000,
                              f"{kind} {step} ends after all of it: {side}")
        done = [step for kind, step, _, _ in release["spans"] if kind == "release"]
        testbed.check(done == ["FLUSH", "DRAIN", "SYNC", "WRITE_RECORD", "INVALIDATE", "UNLOCK"],
                      f"the release: {done}")
        testbed.check(release["spans"][0][0] == "more unlock" and  # of byte 100
                      ("demote", "SYNC") in [span[:2] for span in release["spans"]],
                      f"the unlocks before it: {release['spans']}")
        done = [step for kind, step, _, _ in acquire["spans"] if kind == "acquire"]
        testbed.check(done == ["LOCK", "TEST", "DROP", "READ_RECORD", "VERIFY", "INVALIDATE",
                               "WRITE_RECORD"], f"the acquire: {done}")
        testbed.check(acquire["began"] >= release["began"] + release["duration"], "the order")


@theme.scenario()
def the_last_one_is_told_where_none_is_named(pair):
    name, a, b = handed_over(pair)
    wait_timeline(pair.a, name, 2)
    testbed.check(timeline(pair.a, name)[0] == 2, "not the last one")
    b.unlock(1)
    a.lock(1)
    wait_timeline(pair.b, name, 3)
    testbed.check(timeline(pair.b, name)[0] == 3, "not the last one")
    testbed.check(wait_timeline(pair.b, name, 1, sides=1)[1] is None, "before the first was one")
    testbed.check(timeline(pair.b, name, 4) == errno.ENODATA, "one to come is known")


@theme.scenario()
def one_that_was_not_acquired_has_one_side(pair):
    name, _, b = handed_over(pair)
    b.unlock(1)
    _, release, acquire = wait_timeline(pair.a, name, 3, sides=1)
    testbed.check(release and not acquire, "the wrong side")
    told = texts(plot(pair, pair.a, name, "--generation", "3"))
    testbed.check(any("Not acquired since" in text for text in told), f"{told}")


@theme.scenario()
def who_may_not_read_the_history_gets_no_timeline(pair):
    name, _, _ = handed_over(pair)
    wait_timeline(pair.a, name, 2)
    os.chmod(os.path.join(pair.store, name), 0o644)
    picture = os.path.join(pair.bed.directory("open", mode=0o777), "a.svg")
    refused = pair.a.ctl("history", "--plot", picture, pair.a.path(name), as_user=True, expect=1)
    testbed.check("ermission denied" in refused.stderr or "annot be" in refused.stderr,
                  refused.stderr)
    testbed.check(not os.path.exists(picture), "a picture all the same")


@theme.scenario()
def a_history_of_before_is_read_and_has_no_steps(pair):
    """As an older migfs left it: the entries alone."""
    name, _, _ = handed_over(pair)
    wait_timeline(pair.a, name, 2)
    ino = os.stat(os.path.join(pair.store, name)).st_ino
    os.truncate(os.path.join(pair.store, ".migfs/history", f"{ino:x}"), 64 * 256)
    table = pair.a.ctl("history", pair.a.path(name)).stdout.splitlines()
    testbed.check(len(table) == 3, f"{table}")
    testbed.check(timeline(pair.a, name) == errno.ENODATA, "steps")
    said = plot(pair, pair.a, name, expect=1)
    testbed.check("no steps are known" in said, said)


# The picture ----------------------------------------------------------------------------------

@theme.scenario()
def the_picture_has_every_step_of_either_host(pair):
    name, _, _ = handed_over(pair)
    _, release, acquire = wait_timeline(pair.b, name, 2)
    picture = plot(pair, pair.b, name)
    told = texts(picture)
    for kind, step, _, _ in release["spans"] + acquire["spans"]:
        step = step.lower().replace("_", " ")
        label = kind if kind.endswith(step) else f"{kind}: {step}"
        testbed.check(label in told, f"no '{label}' in {told}")
    pause = acquire["began"] + acquire["duration"] - release["began"]
    shown = f"{pause / 1e6:.3g} ms"
    testbed.check(any(f"guest paused for {shown} at least" in text for text in told),
                  f"no pause of {shown}: {told}")
    testbed.check("guest paused" in told and "Both hosts have one clock." in told, f"{told}")
    root = xml.etree.ElementTree.parse(picture).getroot()
    bars = [bar for bar in root.iter(f"{SVG}rect") if bar.get("rx") and bar.get("height") == "12"]
    gap = acquire["began"] > release["began"] + release["duration"]
    testbed.check(len(bars) == len(release["spans"]) + len(acquire["spans"]) + gap,
                  f"{len(bars)} bars")
    for bar in bars:
        testbed.check(220 <= float(bar.get("x")) <= 866 and float(bar.get("width")) >= 2,
                      f"out of the chart: {bar.attrib}")
    if shutil.which("rsvg-convert"):
        image = subprocess.run(["rsvg-convert", picture], capture_output=True, check=True).stdout
        testbed.check(image.startswith(b"\x89PNG"), "not drawn")


@theme.scenario()
def a_name_is_text_in_the_picture(pair):
    name = pair.image()
    odd = '<b>&amp; "image"\nof two lines'
    os.rename(os.path.join(pair.store, name), os.path.join(pair.store, odd))
    fd = os.open(pair.a.path(odd), os.O_RDWR)
    try:
        pair.a.ctl("acquire", pair.a.path(odd))
        wait_timeline(pair.a, odd, 1, sides=1)
        told = texts(plot(pair, pair.a, odd))
    finally:
        os.close(fd)
    testbed.check(told[0].endswith('<b>&amp; "image"\\012of two lines'), told[0])
    testbed.check(any("other host's side is not known" in text for text in told), f"{told}")


@theme.scenario()
def what_cannot_be_drawn_is_said(pair):
    name, _, _ = handed_over(pair)
    wait_timeline(pair.a, name, 2)
    path = pair.a.path(name)
    for arguments, status, said in (
            (["--plot", "/nonexistent/a.svg", path], 1, "/nonexistent/a.svg: cannot be written"),
            (["--plot", "/tmp/a.svg", path, path], 2, "one hand-over, of one PATH"),
            (["--plot", "/tmp/a.svg", "--json", path], 2, "not both"),
            (["--plot", "", path], 2, "needs the name of a file"),
            (["--generation", "2", path], 2, "--generation says which hand-over to --plot"),
            (["--plot", "/tmp/a.svg", "--generation", "0", path], 2, "'0' is not a generation"),
            (["--plot", "/tmp/a.svg", "--generation", "x", path], 2, "'x' is not a generation")):
        result = pair.a.ctl("history", *arguments, expect=status)
        testbed.check(said in result.stderr, f"{arguments}: {result.stderr}")
    said = plot(pair, pair.a, name, "--generation", "77", expect=1)
    testbed.check("no steps are known of that hand-over" in said, said)


if __name__ == "__main__":
    theme.main()
