#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The hand-over record: what it is for, and that a bad one never stands in an image's way."""
import errno
import os
import time

from pair import Host, IMAGE_BYTES, Pair, QEMU_BYTES, runs
from scenario import QUICK, Theme, expect, expect_same, expect_state
import testbed

theme = Theme("records")
REQUIRE = "record=require,deadline=1000"
OFF = "record=off,deadline=1000"

# Offsets of a slot, cache/record.h.
AT_VERSION, AT_INO = (8, 4), (56, 8)


@theme.scenario(OFF)
def who_opens_beside_an_owner_reads_fresh(pair):
    """The record tells that another host may be writing."""
    name = pair.image()
    a = pair.a.vmm(name)
    a.lock(1)
    b = pair.b.vmm(name, "r")
    expect_state(pair, b, 1, "standby")
    b.read(1, 0, IMAGE_BYTES)
    a.write(1, 0, IMAGE_BYTES, "A")
    a.ask("fsync 1")
    expect_same(b.read(1, 0, IMAGE_BYTES), runs("A"), "B reads")


@theme.scenario()
def who_was_open_before_learns_of_an_owner_at_any_open(pair):
    """The list of records moves: all files that look plain are looked at again."""
    name, other = pair.image(), pair.image()
    b = pair.b.vmm(name)
    a = pair.a.vmm(name)
    a.lock(1)
    expect_state(pair, a, 1, "owner")
    b.open(2, other)
    testbed.wait_until(lambda: b.state(1) == "standby", what="B as standby")


@theme.scenario()
def generations_count_hand_overs(pair):
    name = pair.image()
    a, b = pair.a.vmm(name), pair.b.vmm(name)
    for turn in range(1, 7):
        source, destination = (a, b) if turn % 2 else (b, a)
        source.lock(1)
        testbed.check(pair.record(name)[:2] == ("owned", turn), f"{pair.record(name)} at {turn}")
        testbed.check(source.generation(1) == turn, f"another generation at {turn}")
        source.unlock(1)
        testbed.check(pair.record(name)[:2] == ("released", turn), f"{pair.record(name)}")
        destination.read(1, 0, 512)


@theme.scenario(options=OFF)
def without_records_hand_overs_are_right(pair):
    name = pair.image()
    a, b = pair.a.vmm(name), pair.b.vmm(name)
    b.read(1, 0, IMAGE_BYTES)
    a.lock(1)
    a.write(1, 0, IMAGE_BYTES, "A")
    a.unlock(1)
    testbed.check(a.error("write 1 0 512 X") == errno.EIO, "a released source writes")
    b.lock(1)
    expect_state(pair, b, 1, "owner")
    expect_same(b.read(1, 0, IMAGE_BYTES), runs("A"), "B reads")
    testbed.check(not os.path.exists(os.path.join(pair.store, ".migfs")), ".migfs was made")


@theme.scenario()
def a_record_that_was_removed_holds_nobody_up_and_is_made_anew(pair):
    name, other = pair.image(), pair.image()
    a, b = pair.a.vmm(name), pair.b.vmm(name)
    a.lock(1)
    b.open(2, other)
    testbed.wait_until(lambda: b.state(1) == "standby", what="B as standby")
    os.unlink(pair.record_path(name))
    b.open(3, name)
    testbed.check(b.state(3) == "plain", f"B is {b.state(3)} by a record that is gone")
    a.unlock(1)
    a.lock(1)
    testbed.check(pair.record(name) is not None, "the owner wrote to a record without a name")
    testbed.check(pair.record(name)[0] == "owned", f"{pair.record(name)}")


# Bad records ----------------------------------------------------------------------------------

def write_file(path, content):
    with open(path, "wb") as file:
        file.write(content)


def torn(pair, path):
    with open(path, "r+b") as file:
        for slot in (0, 4096):
            file.seek(slot + 100)
            file.write(b"\xff" * 64)


def one_slot_torn(pair, path):
    with open(path, "r+b") as file:
        file.seek(4096 + 2000)
        file.write(b"\xff" * 64)


def forged(field, value):
    def forge(pair, path):
        pair.bed.run([testbed.binary("forge"), path, *field, value])
    return forge


def a_symlink(pair, path):
    os.unlink(path)
    write_file(os.path.join(pair.store, "victim"), b"v" * 8192)
    os.symlink("../victim", path)


def a_directory(_pair, path):
    os.unlink(path)
    os.mkdir(path)


def a_fifo(_pair, path):
    os.unlink(path)
    os.mkfifo(path)


def gone(_pair, path):
    os.unlink(path)


BAD = {  # how it goes bad; what becomes of it; whether record=require refuses; a word in the log
    "torn": (torn, "mended", True, "torn"),
    "torn_in_one_slot": (one_slot_torn, "mended", False, ""),
    "cut_short": (lambda pair, path: os.truncate(path, 5000), "mended", True, "torn"),
    "empty": (lambda pair, path: os.truncate(path, 0), "mended", False, "nothing is in it"),
    "zero": (lambda pair, path: write_file(path, bytes(8192)), "mended", False, "nothing is in it"),
    "huge": (lambda pair, path: write_file(path, b"j" * (3 << 20)), "mended", True, "torn"),
    "of_the_future": (forged(AT_VERSION, 3), "left", True, "future"),
    "of_another_file": (forged(AT_INO, 12345), "mended", True, "alien"),
    "gone": (gone, "mended", False, ""),
    "a_symlink": (a_symlink, "left", True, "symbolic link; remove"),
    "a_directory": (a_directory, "left", True, "is a directory; remove"),
    "a_fifo": (a_fifo, "left", True, "no regular file; remove"),
}


def bad_record(how, options):
    make, becomes, refused, word = BAD[how]

    def run(pair):
        name = pair.image()
        pair.a.end_vmms()
        source = pair.a.vmm(name)
        source.lock(1)
        source.write(1, 0, IMAGE_BYTES, "A")
        source.unlock(1)
        source.lock(1)
        source.unlock(1)  # both slots are written
        source.close()
        path = pair.record_path(name)
        make(pair, path)
        before = os.lstat(path) if os.path.lexists(path) else None
        said = len(pair.b.above.log_text())
        b = pair.b.vmm(name)
        if options == REQUIRE and refused:
            errors = [b.error(f"lock 1 r {byte} 1") for byte in (100, 101, 201)]
            testbed.check(errors[-1] != 0, "no error with record=require")
            testbed.check(pair.a.vmm(name).ask("getlk 1 w 201 1") == "free", "201 stayed")
            return
        b.lock(1, 100, 101, 201)
        testbed.check(b.state(1) == "owner", f"B is {b.state(1)}")
        b.write(1, 0, IMAGE_BYTES, "B")
        b.unlock(1)
        log = pair.b.above.log_text()[said:]
        testbed.check(word in log.lower(), f"no word of it in the log: {log}")
        testbed.check(log.lower().count(word) == 1 or not word, f"said often: {log}")
        if becomes == "mended":
            testbed.check(pair.record(name)[0] == "released", f"{pair.record(name)}")
            testbed.check(os.stat(path).st_size == 8192, f"{os.stat(path).st_size} bytes")
        else:
            after = os.lstat(path)
            testbed.check((after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns),
                          "what is not ours was changed")
        if how == "a_symlink":
            with open(os.path.join(pair.store, "victim"), "rb") as file:
                testbed.check(file.read() == b"v" * 8192, "written through the link")
        a = pair.a.vmm(name)
        a.lock(1)
        expect_same(a.read(1, 0, IMAGE_BYTES), runs("B"), "A reads")
    return run


for kind in BAD:
    theme.scenario(name=f"a_record_{kind}_stands_in_no_ones_way")(bad_record(kind, QUICK))
    theme.scenario(options=REQUIRE, name=f"a_record_{kind}_with_record_require")(
        bad_record(kind, REQUIRE))


# Odd hosts ------------------------------------------------------------------------------------

AT_TIME, AT_BOOT_ID = (80, 8), (120, 8)


def odd_host(at, value, word):
    """The last owner's record shows it: said once, and the image is handed over all the same."""
    def run(pair):
        for turn in range(3):  # the first is right
            name = pair.image()
            a = pair.a.vmm(name)
            a.lock(1)
            a.write(1, 0, IMAGE_BYTES, "A")
            a.unlock(1)
            a.close()
            if turn > 0:
                pair.bed.run([testbed.binary("forge"), pair.record_path(name), *at, value()])
            b = pair.b.vmm(name)
            b.lock(1)
            expect_same(b.state(1), "owner", f"B, the image's turn {turn}")
            expect_same(b.read(1, 0, IMAGE_BYTES), runs("A"), "B reads")
            said = [line for line in pair.b.above.log_text().splitlines() if word in line]
            testbed.check(len(said) == min(turn, 1), f"turn {turn}, said {len(said)} times: {said}")
    return run


for what, at, value, word in (
        ("clock_is_hours_ahead", AT_TIME, lambda: time.time_ns() + 7200 * 10**9, "clock of host"),
        ("machine_is_a_clone", AT_BOOT_ID, lambda: 1, "machine-id")):
    theme.scenario(fresh=True, name=f"a_host_whose_{what}_is_said")(odd_host(at, value, word))


# Bad directories ------------------------------------------------------------------------------

class Store:
    """A pair whose hosts are mounted by the scenario, on a prepared store."""

    def __init__(self, pair):
        self.pair = pair
        self.store = pair.bed.directory()
        self.records = os.path.join(self.store, ".migfs")

    def mount(self, options=QUICK, expect_status=0):
        below = self.pair.bed.mount_ctofs(self.store)
        try:
            return below, self.pair.bed.mount_migfs(below.path, options=options,
                                                    expect=expect_status)
        finally:
            if expect_status:
                below.umount()


def mounts_without_records(prepare, word):
    def run(pair):
        store = Store(pair)
        prepare(store)
        refused = store.mount(REQUIRE, expect_status=32)[1]
        testbed.check(".migfs" in refused.output and word in refused.output, refused.output)
        below, above = store.mount()
        testbed.check(word in above.log_text(), above.log_text())
        write_file(os.path.join(store.store, "image"), b"0" * 4096)
        host = Host.__new__(Host)
        host.bed, host.above, host.vmms = pair.bed, above, []
        vmm = host.vmm("image")
        vmm.lock(1)
        testbed.check(vmm.state(1) == "owner", "no owner without records")
        vmm.close()
        above.umount()
        below.umount()
    return run


def make_file(store):
    write_file(store.records, b"")


def make_symlink(store):
    os.mkdir(os.path.join(store.store, "elsewhere"), 0o700)
    os.symlink("elsewhere", store.records)


def make_open(store):
    os.mkdir(store.records)
    os.chmod(store.records, 0o755)


@theme.scenario()
def a_directory_that_another_user_made_is_said(pair):
    """Who may make names in the directory that is mounted may have made this one, too."""
    for mode, says in ((0o1777, True), (0o755, False)):
        store = Store(pair)
        os.mkdir(store.records, 0o700)
        os.chown(store.records, testbed.USER_UID, testbed.USER_GID)
        os.chmod(store.store, mode)
        below, above = store.mount()
        said = f"belongs to uid {testbed.USER_UID}" in above.log_text()
        testbed.check(said == says, f"mode {mode:o}: {above.log_text()}")
        above.umount()
        below.umount()


for what, make, word in (("a_file", make_file, "not a directory"),
                         ("a_symlink", make_symlink, "not a directory"),
                         ("open_to_others", make_open, "chmod 700")):
    theme.scenario(name=f"a_directory_of_records_that_is_{what}")(
        mounts_without_records(make, word))


@theme.scenario()
def a_directory_that_cannot_be_written(pair):
    """Its owner may not write it either: said at the acquire, which goes on."""
    store = Store(pair)
    os.mkdir(store.records)
    os.chmod(store.records, 0o500)
    os.chown(store.records, testbed.USER_UID, testbed.USER_GID)
    write_file(os.path.join(store.store, "image"), b"0" * 4096)
    for options, error in ((QUICK, 0), (REQUIRE, errno.EACCES)):
        below, above = store.mount(options)
        host = Host.__new__(Host)
        host.bed, host.above, host.vmms = pair.bed, above, []
        vmm = host.vmm("image")
        vmm.lock(1, 100, 101)
        got = vmm.error("lock 1 r 201 1")
        testbed.check(got == error, f"errno {got}, not {error}, with {options}")
        testbed.check(above.log_text().count("cannot be written: Permission denied") == 1,
                      "not said once")
        vmm.close()
        above.umount()
        below.umount()


# Writes that fail -----------------------------------------------------------------------------

def hand_over_with_failed_write(pair, operation, error, after):
    """A hands over, but one of its calls to the store fails, of the record or of the image; then B
    acquires. How many such calls A made."""
    name = pair.image()
    a = pair.a.vmm(name)
    counter = {"write": "writes", "fsync": "fsyncs"}[operation]
    before = pair.a.counter(counter)
    pair.a.control(f"fail {operation} {error} 1 {after}")
    told = [a.error(f"lock 1 r {byte} 1") for byte in QEMU_BYTES]
    if not any(told):
        told = [a.error(f"write 1 0 {IMAGE_BYTES} A"), a.error("fsync 1")]
        told += [a.error(f"unlock 1 {byte} 1") for byte in QEMU_BYTES]
    pair.a.control(f"fail {operation} {error} 0")
    calls = pair.a.counter(counter) - before
    record = pair.record(name)
    a.close()
    b = pair.b.vmm(name)
    b.lock(1)
    expect_same(b.state(1), "owner", f"B after {record}, {operation} {after}")
    seen = b.read(1, 0, IMAGE_BYTES)
    if not any(told):
        expect_same(seen, runs("A"), f"B reads what A's VMM has stored, {operation} {after}")
    if record is not None:
        testbed.check(record[1] >= 1, f"{record} of the first owner, {operation} {after}, {told}")
        testbed.check(record[0] == "owned" or not any(told[2:]), f"{record}, the VMM got {told}")
    b.close()
    return calls


def a_hand_over_meets(error):
    def run(pair):
        for operation, least in (("write", 3), ("fsync", 1)):
            calls = hand_over_with_failed_write(pair, operation, error, 1000)
            testbed.check(calls >= least, f"{calls} calls of {operation} in a hand-over")
            for after in range(calls):
                hand_over_with_failed_write(pair, operation, error, after)
    return run


for code in ("ENOSPC", "EIO"):
    theme.scenario(name=f"each_write_that_fails_with_{code.lower()}_is_survived")(
        a_hand_over_meets(code))


# Hidden ---------------------------------------------------------------------------------------

@theme.scenario("coherence=off,deadline=1000")
def the_records_are_hidden_from_the_mount(pair):
    """At the root only; coherence=off makes and hides none, but shows what another mount made."""
    os.makedirs(os.path.join(pair.store, ".migfs"), mode=0o700, exist_ok=True)
    root = pair.a.above.path
    hidden = os.path.join(root, ".migfs")
    other = os.path.join(root, "other")
    os.makedirs(other, exist_ok=True)
    expect(".migfs" not in os.listdir(root), "it is listed")
    expect(error_of(os.stat, hidden) == errno.ENOENT, "it is found")
    write_file(os.path.join(root, "file"), b"")
    for call, arguments in ((os.mkdir, (hidden,)), (os.mkfifo, (hidden,)),
                            (os.symlink, ("other", hidden)),
                            (os.link, (os.path.join(root, "file"), hidden)),
                            (os.rename, (other, hidden)),
                            (os.open, (hidden, os.O_CREAT | os.O_RDWR))):
        error = error_of(call, *arguments)
        testbed.check(error == errno.EPERM, f"{call.__name__} onto it: {error}")
    for call, arguments in ((os.rmdir, (hidden,)), (os.unlink, (hidden,)),
                            (os.rename, (hidden, other)), (os.chmod, (hidden, 0o777)),
                            (os.open, (hidden, os.O_RDONLY))):
        error = error_of(call, *arguments)
        testbed.check(error == errno.ENOENT, f"{call.__name__} of it: {error}")
    below = os.path.join(other, ".migfs")
    os.mkdir(below)
    testbed.check(".migfs" in os.listdir(other), "one that is not at the root is hidden, too")
    os.rmdir(below)


def error_of(call, *arguments):
    try:
        call(*arguments)
        return 0
    except OSError as error:
        return error.errno


if __name__ == "__main__":
    theme.main()
