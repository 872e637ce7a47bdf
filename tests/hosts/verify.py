#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The destination looks whether the file is as its last owner left it, and says what it finds."""
import errno
import json
import os

from pair import Host, IMAGE_BYTES, Stack, runs
from scenario import QUICK, Theme, expect, expect_same, expect_state
import testbed

theme = Theme("verify")
OFF = "record=off,deadline=1000"
PATIENT = "deadline=2000"  # part of it remains for the answer
STRICT = "fence=strict,deadline=1000"
K = 1024
BEFORE_201 = (100, 101, 103)


def handed_over(pair):
    """A wrote and handed over what B has open."""
    name = pair.image()
    a, b = pair.a.vmm(name), pair.b.vmm(name)
    b.read(1, 0, IMAGE_BYTES)
    a.lock(1)
    a.write(1, 0, IMAGE_BYTES, "A")
    a.write(1, 16 * K, 4 * K, "a")
    a.unlock(1)
    return name, a, b


def new_log(host, start=None):
    """What the host has logged since; a length to go on from without one."""
    text = host.above.log_text()
    return len(text) if start is None else text[start:]


def acquire_error(vmm, slot=1):
    vmm.lock(slot, *BEFORE_201)
    return vmm.error(f"lock {slot} r 201 1")


# Stale ----------------------------------------------------------------------------------------

def stale_at_b(pair):
    """What B reads is older than what A hands over, and B's store does not say so."""
    name = pair.image()
    a, b = pair.a.vmm(name), pair.b.vmm(name)
    b.read(1, 0, IMAGE_BYTES)
    pair.b.control("stale")
    a.lock(1)
    a.write(1, 16 * K, 4 * K, "A")
    a.unlock(1)
    return name, a, b


@theme.scenario(OFF, options=PATIENT, fresh=True)
def nobody_starts_on_data_known_to_be_stale(pair):
    name, a, b = stale_at_b(pair)
    start = new_log(pair.b)
    error = acquire_error(b)
    if error == 0:
        expect_same(b.read(1, 16 * K, 4 * K), runs("A", 4 * K), "B, as owner, reads")
    testbed.check(error == errno.EIO, f"{os.strerror(error)}, not EIO")
    log = new_log(pair.b, start)
    host = os.uname().nodename
    for word in (f"{pair.b.above.path}/{name}", "stale", "4096 bytes at offset 16384", host,
                 "generation 1", "migfsctl forget"):
        testbed.check(word in log, f"no '{word}' in the log: {log}")
    testbed.check(pair.record(name)[:2] == ("released", 1), f"{pair.record(name)}")
    b.unlock(1)
    a.lock(1)
    testbed.check(a.state(1) == "owner", "A cannot go on")


@theme.scenario(OFF, options="deadline=8000", fresh=True)
def what_becomes_fresh_in_time_is_waited_for(pair):
    _, _, b = stale_at_b(pair)
    b.lock(1, *BEFORE_201)
    b.begin("lock 1 r 201 1")
    if b.answers_within(0.3):
        b.end()
        expect_same(b.read(1, 16 * K, 4 * K), runs("A", 4 * K), "B, as owner, reads")
    pair.b.control("fresh")
    b.end()
    expect_state(pair, b, 1, "owner")
    expect_same(b.read(1, 16 * K, 4 * K), runs("A", 4 * K), "B reads")


@theme.scenario(OFF, options=PATIENT, fresh=True)
def an_owner_that_only_reads_is_told_too(pair):
    _, _, b = stale_at_b(pair)
    b.lock(1, 100)
    expect(b.error("lock 1 r 201 1") != 0, "B owns, for reading, what is stale")


@theme.scenario(OFF, options=PATIENT, fresh=True)
def one_stale_extent_among_many_is_found(pair):
    name = pair.image(length=4 << 20)
    a, b = pair.a.vmm(name), pair.b.vmm(name)
    b.read(1, 0, 4 * K)
    a.lock(1)
    for number in range(90):
        a.write(1, (2 << 20) + 8 * K * number, 4 * K, "A")
    a.ask("fsync 1")
    pair.b.control("stale")
    a.write(1, (2 << 20) + 8 * K * 40, 4 * K, "B")
    a.unlock(1)
    testbed.check(pair.twin or len(pair.digests(name)) == 90, "not all are in the record")
    start = new_log(pair.b)
    error = acquire_error(b)
    if error == 0:
        expect_same(b.read(1, (2 << 20) + 8 * K * 40, 4 * K), runs("B", 4 * K), "B reads")
    testbed.check(error == errno.EIO, f"{os.strerror(error)}, not EIO")
    testbed.check(f"offset {(2 << 20) + 8 * K * 40} " in new_log(pair.b, start), "another offset")


@theme.scenario(fresh=True)
def what_cannot_be_read_is_not_known_to_be_stale(pair):
    name, _, b = handed_over(pair)
    start = new_log(pair.b)
    b.lock(1, *BEFORE_201)
    pair.b.control("fail read EIO 20 1")  # its record is read before
    b.lock(1, 201)
    pair.b.control("fail read EIO 0")
    expect_state(pair, b, 1, "owner")
    testbed.check("could not be verified" in new_log(pair.b, start), "not said")
    b.unlock(1)
    testbed.check(pair.record(name)[:2] == ("released", 2), f"{pair.record(name)}")


# Written by somebody else ---------------------------------------------------------------------

def write_below(pair, name, offset=16 * K, byte=b"X", keep_mtime=False):
    """Somebody writes at the server, past every migfs."""
    path = os.path.join(pair.store, name)
    before = os.stat(path)
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(byte * 512)
    if keep_mtime:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


SOMEBODY = {
    "writes": lambda pair, name: write_below(pair, name),
    "writes_where_the_owner_did_not": lambda pair, name: write_below(pair, name, 200 * K),
    "appends": lambda pair, name: write_below(pair, name, IMAGE_BYTES),
    "cuts": lambda pair, name: os.truncate(os.path.join(pair.store, name), 4096),
    "writes_and_puts_the_time_back":
        lambda pair, name: write_below(pair, name, keep_mtime=True),
}


def noticed(how, strict):
    def run(pair):
        name, _, b = handed_over(pair)
        how(pair, name)
        start = new_log(pair.b)
        error = acquire_error(b)
        log = new_log(pair.b, start)
        if not pair.twin:
            testbed.check(log.count("never acquired it wrote it") == 1, f"not said once: {log}")
        if strict:
            expect(error == errno.EIO, "acquired with fence=strict what somebody else wrote")
            testbed.check("migfsctl forget" in log, log)
            return
        testbed.check(error == 0, f"refused: {os.strerror(error)}")
        testbed.check(b.state(1) == "owner", f"B is {b.state(1)}")
        size = os.stat(os.path.join(pair.store, name)).st_size
        testbed.check(b.ask("size 1") == str(size), "another length")
        b.unlock(1)
        start = new_log(pair.b)
        b.lock(1)
        testbed.check("never acquired" not in new_log(pair.b, start), "said again")
    return run


def who_writes_and_then_acquires(how, error, said):
    """B writes what A handed over, and then becomes its owner."""
    def run(pair):
        _, _, b = handed_over(pair)
        start = new_log(pair.b)
        how(b)
        testbed.check(acquire_error(b) == error, f"not {os.strerror(error)}")
        testbed.check(new_log(pair.b, start).count("never acquired it wrote it") == said,
                      new_log(pair.b, start))
        b.unlock(1)
    return run


def writes_as_shared(vmm):
    """As QEMU commits an overlay into its backing file."""
    vmm.lock(1, *BEFORE_201)
    vmm.write(1, 16 * K, 4 * K, "B")


theme.scenario(options=STRICT, name="who_wrote_beside_others_is_nobody_else")(
    who_writes_and_then_acquires(writes_as_shared, 0, 0))
theme.scenario(name="who_wrote_without_a_lock_is_somebody")(
    who_writes_and_then_acquires(lambda vmm: vmm.write(1, 16 * K, 4 * K, "B"), 0, 1))


for what, make in SOMEBODY.items():
    theme.scenario(name=f"somebody_{what}_and_it_goes_on")(noticed(make, False))
    theme.scenario(QUICK, options=STRICT, name=f"somebody_{what}_and_strict_refuses")(
        noticed(make, True))


@theme.scenario(OFF, options=PATIENT, fresh=True)
def a_chown_does_not_make_stale_data_somebody_elses(pair):
    """libvirt's, around each migration: what is stale is read again until it is fresh."""
    name, _, b = stale_at_b(pair)
    os.chown(os.path.join(pair.store, name), testbed.USER_UID, testbed.USER_GID)
    b.lock(1, *BEFORE_201)
    b.begin("lock 1 r 201 1")
    expect(not b.answers_within(0.5), "acquired with stale data")
    pair.b.control("fresh")
    b.end()
    expect_same(b.read(1, 16 * K, 4 * K), runs("A", 4 * K), "B, as owner, reads")
    expect_state(pair, b, 1, "owner")


@theme.scenario()
def an_owner_whose_downgrade_failed_goes_on_watching(pair):
    name = pair.image()
    a = pair.a.vmm(name)
    a.lock(1)
    a.write(1, 0, 4 * K, "A")
    pair.a.control("fail fsync EIO 1")
    testbed.check(a.error("unlock 1 201 1") == errno.EIO, "the downgrade did not fail")
    pair.a.control("fail fsync EIO 0")
    expect_state(pair, a, 1, "owner")
    write_below(pair, name, IMAGE_BYTES)
    told = pair.a.status(name)
    testbed.check(told["foreign_writes"] > 0, f"{told}")


@theme.scenario(options=STRICT)
def who_changes_owner_or_mode_wrote_nothing(pair):
    """libvirt does both, around each migration."""
    name, _, b = handed_over(pair)
    path = os.path.join(pair.store, name)
    os.chmod(path, 0o640)
    os.chown(path, testbed.USER_UID, testbed.USER_GID)
    os.chown(path, 0, 0)
    os.rename(path, path + ".moved")
    os.rename(path + ".moved", path)
    start = new_log(pair.b)
    b.lock(1)
    testbed.check("never acquired" not in new_log(pair.b, start), "taken for a write")
    expect_state(pair, b, 1, "owner")


@theme.scenario(options=STRICT)
def what_an_owner_left_that_died_nobody_compares(pair):
    name, a, b = handed_over(pair)
    b.lock(1)
    b.write(1, 0, 4 * K, "B")
    pair.b.control("fail fsync EIO 1", "fail write EIO 1")
    b.kill()
    testbed.wait_until(lambda: a.ask("getlk 1 w 201 1") == "free", what="the end of B's locks")
    pair.b.control("fail fsync EIO 0", "fail write EIO 0")
    testbed.check(pair.record(name)[0] == "owned", f"{pair.record(name)}")
    write_below(pair, name)
    a.lock(1)
    expect_state(pair, a, 1, "owner")


@theme.scenario(options=STRICT)
def a_record_of_an_older_version_is_enough(pair):
    name, _, b = handed_over(pair)
    pair.bed.run([testbed.binary("forge"), pair.record_path(name), "version1"])
    start = new_log(pair.b)
    b.lock(1)
    testbed.check(new_log(pair.b, start).count("WARNING") == 0, new_log(pair.b, start))
    expect_state(pair, b, 1, "owner")
    testbed.check(b.generation(1) == 2, "the generation began anew")


@theme.scenario(QUICK, options=STRICT)
def a_record_of_an_older_version_tells_of_a_writer(pair):
    name, _, b = handed_over(pair)
    pair.bed.run([testbed.binary("forge"), pair.record_path(name), "version1"])
    write_below(pair, name, 200 * K)
    expect(acquire_error(b) == errno.EIO, "acquired what somebody else wrote")


# Forgetting -----------------------------------------------------------------------------------

@theme.scenario(options=PATIENT, fresh=True)
def forget_accepts_what_is_stale(pair):
    name, _, b = stale_at_b(pair)
    testbed.check(acquire_error(b) == errno.EIO, "not stale")
    b.unlock(1)
    pair.b.ctl("forget", pair.b.path(name))
    testbed.check(pair.record(name)[:2] == ("released", 1), f"{pair.record(name)}")
    testbed.check(pair.digests(name) == {}, "digests stay")
    b.lock(1)
    expect_state(pair, b, 1, "owner")
    seen = pair.b.status(name)
    testbed.check(seen["stale_acquires"] == 1 and seen["generation"] == 2, f"{seen}")


@theme.scenario(options=STRICT)
def forget_accepts_what_somebody_wrote(pair):
    name, a, b = handed_over(pair)
    write_below(pair, name)
    testbed.check(acquire_error(b) == errno.EIO, "not refused")
    b.unlock(1)
    pair.a.ctl("forget", pair.a.path(name))  # on any host
    b.lock(1)
    expect_same(b.read(1, 16 * K, 512), runs("X", 512), "B reads")
    b.unlock(1)
    testbed.check(a.error("write 1 0 512 A") == errno.EIO, "a released source writes")


@theme.scenario()
def forget_does_nothing_to_an_owners_file(pair):
    name, a = owned(pair)
    a.write(1, 0, 4 * K, "A")
    before = pair.record(name)
    pair.a.ctl("forget", pair.a.path(name))
    refused = pair.b.ctl("forget", pair.b.path(name), expect=4)
    testbed.check("another host still writes" in refused.stderr, refused.stderr)
    testbed.check(pair.record(name) == before, f"{pair.record(name)}, not {before}")
    expect_state(pair, a, 1, "owner")
    a.unlock(1)
    testbed.check((0, 4 * K) in pair.digests(name), "the owner's digests went")


@theme.scenario()
def forget_gives_all_its_locks_back(pair):
    name, a, b = handed_over(pair)
    pair.b.ctl("forget", pair.b.path(name))
    testbed.check(a.ask("getlk 1 w 100 104") == "free", "locks stay")
    a.lock(1)
    expect_state(pair, a, 1, "owner")
    a.unlock(1)
    b.lock(1)
    expect_state(pair, b, 1, "owner")


@theme.scenario(options="record=off")
def forget_needs_records(pair):
    name = pair.image()
    pair.a.vmm(name)
    said = pair.a.ctl("forget", pair.a.path(name), expect=1).stderr
    testbed.check("no records" in said, said)


# History --------------------------------------------------------------------------------------

def history(host, name, generation):
    """Once its newest entry is of that generation."""
    found = []

    def is_there():
        document = json.loads(host.ctl("history", "--json", host.path(name)).stdout)
        found[:] = document["files"][0]["handovers"]
        return found and found[0]["generation"] == generation
    testbed.wait_until(is_there, what=f"generation {generation} in the history")
    return found


@theme.scenario()
def the_history_tells_what_was_verified(pair):
    name, a, b = handed_over(pair)
    b.lock(1)
    b.kill()  # and hands over
    testbed.wait_until(lambda: pair.record(name)[0] == "released", what="B's release")
    write_below(pair, name)
    a.lock(1)
    pair.a.control("fail fsync EIO 1", "fail write EIO 1")
    a.write(1, 0, 4 * K, "A")
    a.kill()  # and does not
    testbed.wait_until(lambda: pair.b.vmm(name).ask("getlk 1 w 201 1") == "free", what="A's end")
    pair.a.control("fail fsync EIO 0", "fail write EIO 0")
    testbed.check(pair.record(name)[0] == "owned", f"{pair.record(name)}")
    b = pair.b.vmm(name)
    b.lock(1)
    seen = history(pair.b, name, 4)
    testbed.check([entry["verified"] for entry in seen] == ["no", "written", "yes", "no"],
                  f"{seen}")
    testbed.check([entry["release_ms"] > 0 for entry in seen] == [False, True, True, False],
                  f"{seen}")
    host = os.uname().nodename
    testbed.check([entry["from"] for entry in seen] == [host, host, host, ""], f"{seen}")


@theme.scenario(fresh=True)
def a_history_that_cannot_be_written_holds_nobody_up(pair):
    name, a = owned(pair)
    history(pair.a, name, 1)
    a.unlock(1)
    directory = os.path.join(pair.store, ".migfs", "history")
    os.rename(directory, directory + ".away")
    with open(directory, "wb"):
        pass
    b = pair.b.vmm(name)
    start = new_log(pair.b)
    b.lock(1)
    expect_state(pair, b, 1, "owner")
    testbed.wait_until(lambda: "generation 2 is missing" in new_log(pair.b, start), what="a word of it")


# Hosts that keep no record of ours ------------------------------------------------------------

@theme.scenario(fresh=True)
def a_host_that_keeps_no_record_hands_over_too(pair):
    """As one does whose version takes the record for one of the future: it leaves it alone."""
    name, a, _ = handed_over(pair)
    other = Host(pair.bed, "C", pair.store, Stack(options=OFF))
    c = other.vmm(name)
    c.lock(1)
    expect_same(c.read(1, 16 * K, 4 * K), runs("a", 4 * K), "C reads")
    c.write(1, 16 * K, 4 * K, "C")
    c.unlock(1)
    a.lock(1)
    expect_same(a.read(1, 16 * K, 4 * K), runs("C", 4 * K), "A reads")
    testbed.check(pair.a.status(name)["foreign_writes"] == 1, "not noticed")
    other.umount()


@theme.scenario(options=STRICT)
def the_ioctl_says_why_and_what_accepts_it(pair):
    name, _, b = handed_over(pair)
    write_below(pair, name)
    said = pair.b.ctl("acquire", pair.b.path(name), expect=1).stderr
    testbed.check("migfsctl forget" in said, said)
    pair.b.ctl("forget", pair.b.path(name))
    pair.b.ctl("acquire", pair.b.path(name))
    expect_state(pair, b, 1, "owner")


# Beside an owner ------------------------------------------------------------------------------

def owned(pair):
    name = pair.image()
    a = pair.a.vmm(name)
    a.lock(1)
    return name, a


def expect_noticed(pair, name, count):
    seen = pair.a.status(name)["foreign_writes"]
    testbed.check(seen == count, f"noticed {seen} times, not {count}")


@theme.scenario()
def status_notices_by_times_who_writes_what_the_owner_leaves_alone(pair):
    name, a = owned(pair)
    write_below(pair, name, 200 * K)
    start = new_log(pair.a)
    expect_noticed(pair, name, 1)
    testbed.check("somebody else wrote it" in new_log(pair.a, start), new_log(pair.a, start))
    expect_noticed(pair, name, 1)
    write_below(pair, name, 200 * K)
    expect_noticed(pair, name, 2)
    table = pair.a.ctl("status", pair.a.path(name)).stdout
    testbed.check("had not acquired it: 2 times" in table, table)
    a.unlock(1)
    b = pair.b.vmm(name)
    b.lock(1)
    last = pair.b.status(name)["last_handoff"]
    testbed.check(last["verified"] == "no", f"{last}")  # nothing was written: no digests


@theme.scenario()
def status_notices_by_digests_who_writes_beside_the_owners_writes(pair):
    name, a = owned(pair)
    a.write(1, 16 * K, 4 * K, "A")
    a.ask("fsync 1")
    write_below(pair, name, 17 * K)
    a.write(1, 64 * K, 4 * K, "A")
    start = new_log(pair.a)
    expect_noticed(pair, name, 1)
    testbed.check("4096 bytes at offset 16384" in new_log(pair.a, start), new_log(pair.a, start))
    expect_noticed(pair, name, 1)


@theme.scenario()
def a_release_notices_a_length_that_is_not_ours(pair):
    name, a = owned(pair)
    a.write(1, 0, 4 * K, "A")
    a.ask("fsync 1")
    write_below(pair, name, IMAGE_BYTES)
    start = new_log(pair.a)
    a.unlock(1)
    testbed.check("somebody else wrote it" in new_log(pair.a, start), new_log(pair.a, start))
    expect_noticed(pair, name, 1)


@theme.scenario()
def a_release_notices_times_that_moved_while_nothing_was_written(pair):
    name, a = owned(pair)
    write_below(pair, name)
    a.unlock(1)
    expect_noticed(pair, name, 1)


@theme.scenario()
def nothing_of_what_the_owner_does_is_taken_for_anothers(pair):
    name, a = owned(pair)
    path, below = pair.a.path(name), os.path.join(pair.store, name)
    pair.a.vmm(name)
    for change in (lambda: a.write(1, 16 * K, 4 * K, "A"), lambda: a.write(1, IMAGE_BYTES, 1, "A"),
                   lambda: a.ask("resize 1 100000"), lambda: a.ask(f"truncate 300000 {path}"),
                   lambda: a.ask("allocate 1 0 400000"), lambda: a.ask("copy 1 1 0 420000 4096"),
                   lambda: os.utime(path), lambda: os.utime(path, ns=(1, 1)),
                   lambda: os.chmod(path, 0o640), lambda: os.chmod(below, 0o600),
                   lambda: (a.ask("map 1 4096"), a.ask("store 1 0 10 X"), a.ask("msync 1")),
                   lambda: a.ask("fsync 1"), lambda: a.ask(f"open 5 rw+t {path}"),
                   lambda: (a.ask(f"open 6 w+a {path}"), a.ask("write 6 0 100 A"))):
        change()
        expect_noticed(pair, name, 0)
    a.unlock(1)
    expect_noticed(pair, name, 0)
    b = pair.b.vmm(name)
    b.lock(1)
    testbed.check(pair.b.status(name)["foreign_writes"] == 0, "noticed by B")


@theme.scenario()
def nor_what_is_written_after_101_was_given_back(pair):
    """The file was looked at then, for the record that 201's unlock leaves: by a handle without
    locks it is written once more, with and without a sync, and grows."""
    for change in (lambda beside: beside.write(1, 16 * K, 4 * K, "A"),
                   lambda beside: (beside.write(1, 16 * K, 4 * K, "B"), beside.ask("fsync 1")),
                   lambda beside: beside.write(1, IMAGE_BYTES, 4 * K, "A"),
                   lambda beside: None):
        name, a = owned(pair)
        beside = pair.a.vmm(name)
        a.write(1, 0, 16 * K, "A")
        a.unlock(1, *BEFORE_201)
        change(beside)
        a.unlock(1, 201, 203)
        expect_noticed(pair, name, 0)
        b = pair.b.vmm(name)
        b.lock(1)
        testbed.check(pair.b.status(name)["foreign_writes"] == 0, "noticed by B")


@theme.scenario()
def nothing_of_what_the_owner_does_meanwhile_is_either(pair):
    """Looks and writes at the same time."""
    name, a = owned(pair)
    writers = [pair.a.vmm(name) for _ in range(3)]
    for turn in range(60):
        for number, writer in enumerate(writers):
            writer.begin(f"write 1 {(turn * 7 + number) % 24 * 2048} 4096 {chr(65 + turn % 26)}")
        expect_noticed(pair, name, 0)
        for writer in writers:
            writer.end()
    a.unlock(1)
    expect_noticed(pair, name, 0)
    b = pair.b.vmm(name)
    b.lock(1)
    testbed.check(pair.b.status(name)["foreign_writes"] == 0, "noticed by B")


@theme.scenario(fresh=True)
def a_status_waits_a_little_for_a_store_that_does_not_answer(pair):
    shared = pair.a.vmm(pair.image())
    shared.lock(1, 100, 101)
    expect_unchecked(pair, "shared")
    shared.close()
    _, a = owned(pair)
    a.write(1, 0, 4 * K, "A")
    expect_unchecked(pair, "owner")


def expect_unchecked(pair, state):
    """A guest in that state is shown while the store gives nothing, and that it was not checked."""
    def document():
        return json.loads(pair.a.ctl("status", "--json", pair.a.above.path).stdout)

    testbed.wait_until(lambda: document()["checked"], what="all as checked")
    pair.a.control("freeze read")
    table, frozen = pair.a.ctl("status", pair.a.above.path).stdout, document()
    pair.a.control("thaw")
    testbed.check(state in table and "does not answer" in table, table)
    testbed.check(not frozen["checked"], "checked by a store that gives nothing")
    testbed.check(state in [file["state"] for file in frozen["files"]], f"{frozen}")
    testbed.wait_until(lambda: document()["checked"], what="all as checked after it")


if __name__ == "__main__":
    theme.main()
