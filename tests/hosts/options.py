#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the mount options fence= and standby= change."""
import contextlib
import errno
import os

from pair import IMAGE_BYTES, CallFailed, runs
from scenario import QUICK, Theme, Wrong, expect, expect_same, expect_state
import testbed

theme = Theme("options")
SYS_OPENAT = {"x86_64": 257, "aarch64": 56}.get(os.uname().machine)


def standing_by(pair):
    """A owns the image, B has it open."""
    name = pair.image()
    a = pair.a.vmm(name)
    a.lock(1)
    a.write(1, 0, IMAGE_BYTES, "A")
    a.ask("fsync 1")
    b = pair.b.vmm(name)
    expect_state(pair, b, 1, "standby")
    return name, a, b


# fence ----------------------------------------------------------------------------------------

@theme.scenario(QUICK, options="fence=strict,deadline=1000")
def strict_refuses_the_writes_of_a_standby(pair):
    name, _, b = standing_by(pair)
    error = b.error("write 1 0 4096 X")
    b.error("fsync 1")
    expect(pair.stored(name) == b"A" * IMAGE_BYTES, "a standby wrote")
    testbed.check(error == errno.EIO, f"errno {error}")
    for line in (f"truncate 4096 {b.host.path(name)}", "resize 1 4096",
                 f"open 2 rw+t {b.host.path(name)}", f"allocate 1 0 {2 * IMAGE_BYTES}"):
        testbed.check(b.error(line) == errno.EIO, f"not refused: {line}")
    testbed.check(pair.stored(name) == b"A" * IMAGE_BYTES, "a standby changed the file")


def creates_below(host):
    """A thread of the host's migfs is in openat(2) with O_CREAT: the store has not answered yet."""
    for task in os.listdir(f"/proc/{host.above.pid}/task"):
        with contextlib.suppress(OSError):
            with open(f"/proc/{host.above.pid}/task/{task}/syscall", encoding="ascii") as file:
                words = file.read().split()
            if words[0] == str(SYS_OPENAT) and int(words[3], 16) & os.O_CREAT:
                return True
    return False


@theme.scenario(QUICK, options="fence=strict,deadline=1000")
def strict_refuses_a_creator_whose_file_another_host_made_first(pair):
    """O_CREAT | O_TRUNC: there was no such file when the kernel looked, and there is now."""
    name = "made"
    b = pair.b.vmm()
    pair.b.control("freeze names")
    b.begin(f"open 1 rw+ct {b.host.path(name)}")
    testbed.wait_until(lambda: creates_below(pair.b), what="the create does not reach the store")
    a = pair.a.vmm(name, "rw+c")
    a.lock(1)
    a.write(1, 0, IMAGE_BYTES, "A")
    a.ask("fsync 1")
    pair.b.control("thaw")
    try:
        b.end()
        error = 0
    except CallFailed as failure:
        error = failure.number
    expect(pair.stored(name) == b"A" * IMAGE_BYTES, "a standby truncated the file")
    testbed.check(error == errno.EIO, f"errno {error}")


@theme.scenario(options="fence=strict,deadline=1500")
def strict_lets_those_write_who_hold_a_write_byte(pair):
    """Beside an owner that will not go: what QEMU makes of it is QEMU's."""
    _, _, b = standing_by(pair)
    b.lock(1, 100, 101)
    b.lock(1, 201)
    expect_state(pair, b, 1, "standby")
    testbed.check(b.error("write 1 0 4096 B") == 0, "who holds 101 may not write")


@theme.scenario("fence=strict,deadline=1000", options=QUICK)
def release_lets_a_standby_write(pair):
    _, _, b = standing_by(pair)
    expect(b.error("write 1 0 4096 B") == 0, "a standby may not write")


@theme.scenario(QUICK, options="fence=off,deadline=1000")
def off_lets_a_released_source_write(pair):
    _, a, _ = standing_by(pair)
    a.unlock(1)
    expect_state(pair, a, 1, "released")
    expect(a.error("write 1 0 4096 X") == 0, "a released source may not write")


# standby --------------------------------------------------------------------------------------

@theme.scenario("standby=cached,deadline=1000", options=QUICK)
def direct_keeps_no_page_of_a_reader(pair):
    name, _, b = standing_by(pair)
    b.ask("close 1")
    b.open(1, name, "r")
    b.read(1, 0, IMAGE_BYTES)
    if int(b.ask("cached 1")) > 0:
        raise Wrong("pages were kept")


@theme.scenario(QUICK, options="standby=cached,deadline=1000")
def cached_keeps_pages_for_a_moment(pair):
    """Pages that a probe reads many times a second may come from the kernel, until the drop."""
    name, _, b = standing_by(pair)
    b.ask("close 1")
    b.open(1, name, "r")
    for _ in range(50):  # the drop may come between the two calls
        b.read(1, 0, IMAGE_BYTES)
        if int(b.ask("cached 1")) > 0:
            return
    raise Wrong("no page was kept")


for how in ("direct", "cached"):
    @theme.scenario("coherence=off", options=f"standby={how},deadline=1000",
                    name=f"a_standby_{how}_is_fresh_soon_and_owns_fresh_pages")
    def fresh_soon(pair):
        name, a, b = standing_by(pair)
        b.open(2, name, "r")
        for byte in "CD":
            b.read(1, 0, IMAGE_BYTES)
            b.read(2, 0, IMAGE_BYTES)
            a.write(1, 0, IMAGE_BYTES, byte)
            a.ask("fsync 1")
            for slot in (1, 2):
                if not pair.twin:
                    testbed.wait_until(lambda: b.read(slot, 0, IMAGE_BYTES) == runs(byte),
                                       what="B reads fresh")
                expect_same(b.read(slot, 0, IMAGE_BYTES), runs(byte), "B reads")
        a.write(1, 0, IMAGE_BYTES, "E")
        a.unlock(1)
        b.lock(1)
        for slot in (1, 2):
            expect_same(b.read(slot, 0, IMAGE_BYTES), runs("E"), "B, owner, reads")


@theme.scenario(QUICK, options="standby=delay,deadline=1000")
def delay_opens_when_it_is_needed(pair):
    name, a, b = standing_by(pair)
    b.open(2, name, "rw+d")  # the first one had the record opened
    before = pair.b.counter("opens")
    b.open(3, name)
    b.ask("size 3")
    expect(pair.b.counter("opens") == before, "the store was asked to open it")
    a.write(1, 0, IMAGE_BYTES, "C")
    a.ask("fsync 1")
    expect_same(b.read(3, 0, IMAGE_BYTES), runs("C"), "B, on standby, reads")
    testbed.check(pair.b.counter("opens") > before, "it was read unopened")
    a.unlock(1)
    b.lock(2)
    expect_state(pair, b, 2, "owner")
    b.write(2, 0, IMAGE_BYTES, "D")
    b.write(3, 0, 4096, "E")
    b.ask("fsync 3")
    testbed.check(pair.stored(name)[:8192] == b"E" * 4096 + b"D" * 4096, "the new owner's writes")


@theme.scenario(options="standby=delay,deadline=1000")
def delay_judges_the_caller_at_once(pair):
    name, _, _ = standing_by(pair)
    os.chmod(os.path.join(pair.store, name), 0o600)
    said = pair.bed.run(["dd", "if=" + pair.b.path(name), "count=0"], as_user=True, expect=1)
    testbed.check("Permission denied" in said.stderr, said.stderr)


@theme.scenario("profile=none,deadline=1000", options=QUICK)
def an_owner_reads_what_it_read_without_the_store(pair):
    """Pages that were read as owner stay, whatever else is opened: reads reach no store."""
    name = pair.image()
    a = pair.a.vmm(name)
    a.lock(1)
    a.read(1, 0, IMAGE_BYTES)
    for slot, flags in ((2, "rw"), (3, "r"), (4, "rw+d")):
        a.open(slot, name, flags)
    expect(a.keeps(1, IMAGE_BYTES), "pages went with an open")
    before = pair.a.counter("reads")
    a.read(1, 0, IMAGE_BYTES)
    expect(pair.a.counter("reads") == before, "the store was read")


@theme.scenario(options=QUICK)
def a_descriptor_opened_on_standby_is_cached_after_the_acquire(pair):
    _, a, b = standing_by(pair)
    b.read(1, 0, IMAGE_BYTES)
    a.unlock(1)
    b.lock(1)
    b.read(1, 0, IMAGE_BYTES)
    testbed.wait_until(lambda: b.read(1, 0, IMAGE_BYTES) and b.keeps(1, IMAGE_BYTES),
                       what="B's pages as owner")


if __name__ == "__main__":
    theme.main()
