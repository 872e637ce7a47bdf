#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Others change owner, mode and name of an image that a guest has open: the guest goes on. Whoever
opens it later is judged as ever."""
import errno
import json
import os
import time

from pair import IMAGE_BYTES, QEMU_BYTES, CallFailed, Host, runs
from scenario import QUICK, Theme, Wrong, expect, expect_same, expect_state
import testbed

theme = Theme("protect")
OFF = "protect=off,deadline=1000"
OTHER = (testbed.USER_UID + 1, 4001)  # a user and a group that are none of the guest's
HALF = IMAGE_BYTES // 2
USES_WRITE = 101


def given_image(pair, mode=0o644, uid=testbed.USER_UID, gid=testbed.USER_GID):
    """An image of the unprivileged user's."""
    name = pair.image()
    os.chown(os.path.join(pair.store, name), uid, gid)
    os.chmod(os.path.join(pair.store, name), mode)
    return name


def guest(pair, name, flags="rw+d", host=None):
    """The unprivileged user's VMM on A, owner of its image."""
    vmm = (host or pair.a).vmm(name, flags, as_user=True)
    vmm.lock(1)
    vmm.write(1, 0, HALF, "A")
    vmm.ask("fsync 1")
    expect_state(pair, vmm, 1, "owner")
    return vmm


def chown(path, mode=0o644):
    os.chown(path, *OTHER)
    os.chmod(path, mode)


def expect_works(vmm, line):
    number = vmm.error(line)
    if number:
        raise Wrong(f"a running guest gets {errno.errorcode[number]}: {line}")


def expect_shown(pair, image, **right):
    """What `status` says of A's file."""
    if not pair.twin:
        seen = pair.a.status(image)
        for key, value in right.items():
            testbed.check(seen[key] == value, f"{key} is shown as {seen[key]}, not {value}")


def expect_said(pair, host, *words, times=1):
    if not pair.twin:
        lines = [line for line in host.above.log_text().splitlines()
                 if all(word in line for word in words)]
        testbed.check(len(lines) == times, f"{words} is said {len(lines)} times")


# ---- owner and mode ----

def goes_on(pair, vmm, name, slot=1):
    """All that a guest does, and what it wrote is stored."""
    for line in (f"read {slot} 0 4096", f"write {slot} 0 {HALF} B", f"fsync {slot}",
                 f"allocate {slot} 0 {HALF}", f"resize {slot} {IMAGE_BYTES + 4096}",
                 f"read {slot} {HALF} 4096"):
        expect_works(vmm, line)
    stored = pair.stored(name)
    expect(stored[:HALF] == b"B" * HALF, "the guest's write is not stored")
    testbed.check(len(stored) == IMAGE_BYTES + 4096, f"{len(stored)} bytes")
    expect_state(pair, vmm, slot, "owner")


@theme.scenario(OFF, fresh=True)
def a_guest_goes_on_after_a_chown_elsewhere(pair):
    name = given_image(pair)
    a = guest(pair, name)
    chown(pair.b.path(name), 0o600)
    goes_on(pair, a, name)
    expect_shown(pair, name, access="as owner", name="present")
    expect_said(pair, pair.a, f"/{name}:", "opened again as its owner")


@theme.scenario(OFF)
def a_guest_goes_on_after_a_chown_past_migfs(pair):
    name = given_image(pair)
    a = guest(pair, name)
    chown(os.path.join(pair.store, name))
    goes_on(pair, a, name)


@theme.scenario(OFF)
def a_guest_goes_on_after_a_chown_here(pair):
    name = given_image(pair)
    a = guest(pair, name, "rw")
    a.write(1, 0, HALF, "x")
    chown(pair.a.path(name))
    goes_on(pair, a, name)


@theme.scenario(OFF)
def a_guest_by_its_group_goes_on_after_a_chmod(pair):
    name = given_image(pair, 0o660, uid=0)
    a = guest(pair, name)
    os.chmod(pair.b.path(name), 0o600)
    goes_on(pair, a, name)


@theme.scenario(OFF)
def it_goes_on_again_and_again(pair):
    name = given_image(pair)
    a = guest(pair, name)
    for uid in (OTHER[0], OTHER[0] + 1, testbed.USER_UID, OTHER[0]):
        os.chown(pair.b.path(name), uid, OTHER[1])
        expect_works(a, f"write 1 0 {HALF} C")
        expect_works(a, "fsync 1")
    expect_same(a.read(1, 0, HALF), runs("C", HALF), "A reads")


@theme.scenario(OFF)
def what_is_under_way_goes_on(pair):
    """Many at once, by the one that holds the locks, while owners change."""
    name = given_image(pair)
    vmms = [guest(pair, name)]
    for _ in range(3):
        vmms.append(pair.a.vmm(name, "rw+d", as_user=True))
    for turn in range(24):
        byte = "BCD"[turn % 3]
        for at, vmm in enumerate(vmms):
            vmm.begin(f"write 1 {at * 4096} 4096 {byte}")
            vmm.begin(f"read 1 {at * 4096} 4096")
        os.chown(pair.b.path(name), OTHER[0] + turn, OTHER[1])
        os.chmod(pair.b.path(name), 0o600)
        try:
            for vmm in vmms:
                vmm.end()
                expect_same(vmm.end(), runs(byte, 4096), "a guest reads")
        except CallFailed as failure:
            raise Wrong(str(failure)) from failure
    expect(pair.stored(name)[:16384] == b"D" * 16384, "a write is not stored")


@theme.scenario(OFF)
def a_buffered_guest_goes_on_where_the_chown_was_noticed(pair):
    """By a look such as that of `status`, or of the third of a lease."""
    name = given_image(pair)
    a = guest(pair, name, "rw")
    chown(pair.b.path(name))
    pair.a.ctl("status", pair.a.path(name))
    goes_on(pair, a, name)


@theme.scenario(OFF)
def a_mapping_is_written_back(pair):
    name = given_image(pair)
    a = guest(pair, name, "rw")
    a.ask(f"map 1 {IMAGE_BYTES}")
    a.ask(f"store 1 0 {HALF} M")
    chown(pair.b.path(name))
    pair.a.ctl("status", pair.a.path(name))
    expect_works(a, "msync 1")
    expect(pair.stored(name)[:HALF] == b"M" * HALF, "the mapping is not stored")


@theme.scenario(OFF)
def another_descriptor_goes_on(pair):
    """It holds no lock, and writes by the one that does."""
    name = given_image(pair)
    a = guest(pair, name)
    a.open(2, name, "rw+d")
    chown(pair.b.path(name), 0o600)
    goes_on(pair, a, name, slot=2)
    goes_on(pair, a, name, slot=1)


@theme.scenario(OFF)
def the_locks_stay(pair):
    """Another host finds them at any time."""
    name = given_image(pair)
    a = guest(pair, name)
    b = pair.b.vmm(name)
    chown(pair.b.path(name), 0o600)
    expect_works(a, f"write 1 0 {HALF} B")
    for byte in QEMU_BYTES:
        expect(b.ask(f"getlk 1 w {byte} 1") != "free", f"byte {byte} is free")
    b.lock(1)
    testbed.check(pair.twin or b.state(1) != "owner", "two owners")


@theme.scenario(OFF)
def it_is_handed_over_after_it(pair):
    name = given_image(pair)
    a = guest(pair, name)
    chown(pair.b.path(name), 0o600)
    expect_works(a, f"write 1 0 {HALF} B")
    a.unlock(1)
    b = pair.b.vmm(name)
    b.lock(1)
    expect_state(pair, b, 1, "owner")
    expect_same(b.read(1, 0, HALF), runs("B", HALF), "B reads")
    b.unlock(1)
    a.lock(1)
    expect_state(pair, a, 1, "owner")
    expect_works(a, f"write 1 0 {HALF} C")


@theme.scenario(OFF)
def a_destination_takes_over_after_it(pair):
    """It has opened the image, and has taken no lock yet."""
    name = given_image(pair)
    source = pair.b.vmm(name)
    source.lock(1)
    source.write(1, 0, HALF, "S")
    a = pair.a.vmm(name, "rw", as_user=True)
    a.read(1, 0, 4096)
    chown(pair.b.path(name), 0o600)
    expect_works(a, "read 1 8192 4096")
    source.unlock(1)
    number = a.error("lock 1 r 100 1")
    expect(number == 0, "a destination cannot lock its image")
    a.lock(1)
    expect_state(pair, a, 1, "owner")
    expect_same(a.read(1, 0, HALF), runs("S", HALF), "A reads")
    expect_works(a, f"write 1 0 {HALF} T")
    expect_works(a, "fsync 1")


@theme.scenario(options=QUICK)
def a_new_open_is_judged_as_ever(pair):
    name = given_image(pair)
    a = guest(pair, name)
    chown(pair.b.path(name), 0o600)
    a.write(1, 0, HALF, "B")
    for flags in ("rw", "r", "w", "rw+d"):
        number = a.error(f"open 2 {flags} {pair.a.path(name)}")
        expect(number == errno.EACCES, f"a new open, {flags}: {errno.errorcode.get(number, 0)}")
    number = a.error(f"truncate 0 {pair.a.path(name)}")
    expect(number == errno.EACCES, f"a truncation by name: {errno.errorcode.get(number, 0)}")
    os.chmod(pair.b.path(name), 0o604)
    testbed.check(a.error(f"open 2 r {pair.a.path(name)}") == 0, "others may read")
    number = a.error("write 2 0 4096 x")
    expect(number == errno.EBADF, "a descriptor that may only read writes")


def exclusive(profile, take):
    options = f"profile={profile},deadline=1000"

    @theme.scenario(f"protect=off,{options}", options=options, fresh=True,
                    name=f"an_exclusive_lock_is_taken_anew_{profile}")
    def scenario(pair):
        name = given_image(pair)
        a = pair.a.vmm(name, "rw+d", as_user=True)
        a.ask(take)
        expect_state(pair, a, 1, "owner")
        chown(pair.b.path(name), 0o600)
        expect_works(a, f"write 1 0 {HALF} B")
        expect_state(pair, a, 1, "owner")
        b = pair.b.vmm(name)
        number = b.error(take)
        expect(number == errno.EAGAIN, f"another host's lock: {errno.errorcode.get(number, 0)}")
        expect_said(pair, pair.a, "exclusive locks", "without a gap")
        a.ask("close 1")
        testbed.wait_until(lambda: b.error(take) == 0, what="the lock of who closed")


exclusive("range", "lock 1 w 0 0")
exclusive("flock", "flock 1 ex")


@theme.scenario("protect=off,profile=flock,deadline=1000", options="profile=flock,deadline=1000")
def who_cannot_read_is_not_taken_for_one_whose_lock_is_lost(pair):
    name = given_image(pair)
    a = pair.a.vmm(name, "w+d", as_user=True)
    a.ask("flock 1 ex")
    expect_state(pair, a, 1, "owner")
    chown(pair.b.path(name), 0o600)
    expect_works(a, f"write 1 0 {HALF} B")
    expect_state(pair, a, 1, "owner")


@theme.scenario("protect=off,deadline=1000", options=QUICK)
def a_moment_without_memory_is_not_for_good(pair):
    name = given_image(pair)
    a = guest(pair, name)
    pair.a.control("fail open ENOMEM 100")
    chown(pair.b.path(name), 0o600)
    testbed.check(a.error("write 1 0 4096 B") != 0, "written by a description that is refused")
    pair.a.control("fail open ENOMEM 0")
    expect_works(a, f"write 1 0 {HALF} B")
    expect_state(pair, a, 1, "owner")


@theme.scenario(options="profile=range,deadline=1000")
def who_loses_an_exclusive_lock_on_the_way_is_fenced(pair):
    name = given_image(pair)
    a = pair.a.vmm(name, "rw+d", as_user=True)
    a.ask("lock 1 w 0 0")
    chown(pair.b.path(name), 0o600)
    pair.a.control("fail lock EAGAIN 1 2")  # shared on both, and another host is faster then
    expect(a.error("write 1 0 4096 B") != 0, "a write without the lock")
    testbed.wait_until(lambda: a.state(1) == "fenced", what="the fence")
    expect(pair.stored(name) == b"0" * IMAGE_BYTES, "it is stored")


@theme.scenario(options=QUICK)
def a_stale_owner_is_no_owner_again(pair):
    """Cut off, taken over, and given away: the locks that it lost are not taken anew."""
    name = given_image(pair)
    a = guest(pair, name)
    a.open(2, name, "rw+d")
    pair.a.control("partition")
    b = pair.b.vmm(name)
    b.lock(1)
    expect_state(pair, b, 1, "owner")
    b.write(1, 0, IMAGE_BYTES, "B")
    b.ask("fsync 1")
    chown(pair.b.path(name), 0o600)
    pair.a.control("heal")
    for line in ("read 2 0 4096", "write 2 0 4096 X", "write 1 0 4096 X", "resize 1 4096",
                 "write 2 0 4096 X"):
        number = a.error(line)
        expect(number != 0, f"a host without locks may: {line}")
    expect(pair.stored(name) == b"B" * IMAGE_BYTES, "a stale owner's write is stored")
    testbed.wait_until(lambda: a.state(1) == "fenced", what="the fence")
    expect_state(pair, b, 1, "owner")


@theme.scenario(fresh=True)
def where_no_credential_passes_it_is_said_with_the_mend(pair):
    name = given_image(pair)
    a = guest(pair, name)
    chown(pair.b.path(name), 0o600)
    pair.a.control("fail open EACCES 1000")  # as a server does that takes root for nobody
    for _ in range(3):
        testbed.check(a.error("write 1 0 4096 B") == errno.EACCES, "a write that is refused")
    expect_shown(pair, name, access="refused")
    expect_said(pair, pair.a, f"/{name}:", "refused", "chown, chmod")
    pair.a.control("fail open EACCES 0")
    os.chown(pair.b.path(name), testbed.USER_UID, testbed.USER_GID)
    testbed.check(a.error("write 1 0 4096 B") == 0, "given back, and refused still")


@theme.scenario(options=QUICK)
def a_buffered_write_that_was_refused_is_told(pair):
    """The store took it and lost it: an fsync says so, once, and what follows is kept."""
    name = given_image(pair)
    a = guest(pair, name, "rw")
    chown(pair.b.path(name))
    testbed.check(a.error(f"write 1 0 {HALF} B") == 0, "a buffered write")
    number = a.error("fsync 1")
    expect(number != 0 or pair.stored(name)[:HALF] == b"B" * HALF, "a lost write is not told")
    goes_on(pair, a, name)


# ---- names ----

def removed(pair, name):
    """Where a removed image stays: below the store, by the number that it has there."""
    return os.path.join(pair.store, ".migfs", "removed", name)


def number_of(pair, name):
    return f"{os.stat(os.path.join(pair.store, name)).st_ino:x}"


def remove(host, name):
    os.unlink(host.path(name))


def remove_as_user(host, name):
    """Who may do so, though not look at the records."""
    os.chown(os.path.dirname(host.path(name)), testbed.USER_UID, testbed.USER_GID)
    host.bed.run(["rm", "-f", host.path(name)], as_user=True)


def replace(host, name):
    with open(host.path(name + ".new"), "wb") as new:
        new.write(b"N" * IMAGE_BYTES)
    os.rename(host.path(name + ".new"), host.path(name))


def outlives(take_name, where):
    """Then the server forgets what has no name: one of NFSv3 at once, of NFSv4 when it restarts."""
    @theme.scenario(OFF, fresh=True, name=f"a_guest_outlives_a_{take_name.__name__}_{where}")
    def scenario(pair):
        name = given_image(pair)
        number = number_of(pair, name)
        a = guest(pair, name)
        take_name(pair.b if where == "elsewhere" else pair.a, name)
        for host in (pair.a, pair.b):
            host.control("forget-removed")
        goes_on_nameless(pair, a, number)
        expect_said(pair, pair.b if where == "elsewhere" else pair.a, "while a guest holds it")
        if take_name is replace:
            b = pair.b.vmm(name, "r")
            expect_same(b.read(1, 0, IMAGE_BYTES), runs("N"), "a new open reads")
        else:
            expect(not os.path.exists(pair.b.path(name)), "it has its name still")


def goes_on_nameless(pair, vmm, number):
    for line in (f"read 1 {HALF} 4096", f"write 1 0 {HALF} B", "fsync 1"):
        expect_works(vmm, line)
    with open(removed(pair, number), "rb") as file:
        expect(file.read(HALF) == b"B" * HALF, "the guest's write is not stored")
    said = pair.a.ctl("status", "--json", pair.a.above.path)
    seen = [file for file in json.loads(said.stdout)["files"] if f"{file['ino']:x}" == number]
    testbed.check(pair.twin or seen[0]["name"] == "kept", f"shown as {seen}")
    expect_state(pair, vmm, 1, "owner")


for taking in (remove, remove_as_user, replace):
    for place in ("elsewhere", "here"):
        outlives(taking, place)


@theme.scenario(OFF, fresh=True)
def a_destination_takes_over_what_was_removed(pair):
    name = given_image(pair)
    source = pair.b.vmm(name)
    source.lock(1)
    source.write(1, 0, HALF, "S")
    a = pair.a.vmm(name, "rw", as_user=True)
    remove(pair.b, name)
    for host in (pair.a, pair.b):
        host.control("forget-removed")
    source.error("unlock 1 201 1")
    source.error("unlock 1 101 1")
    source.close()
    expect_works(a, "read 1 0 4096")
    a.lock(1)
    expect_same(a.read(1, 0, HALF), runs("S", HALF), "A reads")
    expect_works(a, f"write 1 0 {HALF} T")


@theme.scenario(fresh=True)
def its_directory_can_be_removed(pair):
    for where in (pair.a, pair.b):
        os.mkdir(os.path.join(pair.store, "folder"))
        os.chown(os.path.join(pair.store, "folder"), testbed.USER_UID, testbed.USER_GID)
        name = "folder/" + given_image(pair)
        os.rename(os.path.join(pair.store, os.path.basename(name)), os.path.join(pair.store, name))
        a = guest(pair, name)
        remove(where, name)
        os.rmdir(where.path("folder"))
        expect_works(a, f"write 1 0 {HALF} B")


@theme.scenario(fresh=True)
def what_nobody_holds_is_just_removed(pair):
    never, released, read = given_image(pair), given_image(pair), given_image(pair)
    a = guest(pair, released)
    a.unlock(1)
    a.close()
    reader = pair.a.vmm(read, "r")
    testbed.wait_until(lambda: not json.loads(
        pair.a.ctl("status", "--json", pair.a.path(released)).stdout)["files"], what="the close")
    for name in (never, released, read):
        remove(pair.b, name)
        expect(not os.path.exists(os.path.join(pair.store, name)), f"{name} is there")
    directory = removed(pair, "")
    expect(not os.path.exists(directory) or not os.listdir(directory), "something was kept")
    reader.read(1, 0, 4096)


@theme.scenario(fresh=True)
def it_stays_what_it_was(pair):
    """Owner, mode and so whose quota it counts for; its links, as far as anybody sees."""
    name = given_image(pair, 0o640)
    number = number_of(pair, name)
    a = guest(pair, name)
    other = os.open(pair.b.path(name), os.O_RDONLY)
    remove(pair.b, name)
    kept = os.stat(removed(pair, number))
    expect_same((kept.st_uid, kept.st_gid, kept.st_mode & 0o7777, kept.st_nlink),
                (testbed.USER_UID, testbed.USER_GID, 0o640, 1), "kept as")
    expect_same(os.fstat(other).st_nlink, 0, "links that are seen")
    os.close(other)
    expect_works(a, f"write 1 0 {HALF} B")


@theme.scenario(fresh=True)
def a_file_with_another_name_needs_none(pair):
    name = given_image(pair)
    number = number_of(pair, name)
    guest(pair, name)
    os.link(pair.b.path(name), pair.b.path("other"))
    remove(pair.b, name)
    testbed.check(not os.path.exists(removed(pair, number)), "kept without need")
    remove(pair.b, "other")
    testbed.check(os.path.exists(removed(pair, number)), "its last name is gone")


@theme.scenario(fresh=True)
def who_may_not_remove_it_does_not(pair):
    """A directory that others may not write, and one where each removes his own."""
    for mode, error in ((0o755, errno.EACCES), (0o1777, errno.EPERM)):
        folder = os.path.join(pair.store, f"folder{mode:o}")
        os.mkdir(folder)
        os.chmod(folder, mode)
        name = given_image(pair)
        number = number_of(pair, name)
        os.rename(os.path.join(pair.store, name), os.path.join(folder, name))
        name = f"{os.path.basename(folder)}/{name}"
        path = pair.a.path(name)
        guest(pair, name)
        os.chown(path, *OTHER)
        with open(path + ".new", "wb"):
            os.chown(path + ".new", testbed.USER_UID, testbed.USER_GID)
        for command in (["rm", "-f", path], ["mv", "-f", path + ".new", path]):
            said = pair.bed.run(command, as_user=True, expect=None)
            expect(said.returncode != 0, f"{command[0]} is not refused")
            testbed.check(os.strerror(error) in said.stderr, said.stderr)
        expect(number_of(pair, name) == number, "removed by who may not")
        testbed.check(not os.path.exists(removed(pair, number)), "kept as well")


@theme.scenario(fresh=True)
def a_name_that_is_there_already_is_taken_for_its_own(pair):
    """Of another host that removes it at once, or of one that failed between its steps."""
    name = given_image(pair)
    number = number_of(pair, name)
    a = guest(pair, name)
    remove(pair.b, given_held(pair))  # makes the directory
    os.link(os.path.join(pair.store, name), removed(pair, number))
    replace(pair.b, name)
    testbed.check(os.path.exists(removed(pair, number)), "not kept")
    for host in (pair.a, pair.b):
        host.control("forget-removed")
    expect_works(a, f"write 1 0 {HALF} B")


def given_held(pair):
    name = given_image(pair)
    guest(pair, name)
    return name


def age(pair, number, seconds):
    """Its record was written that long ago."""
    os.utime(os.path.join(pair.store, ".migfs", number), (time.time() - seconds,) * 2)


def end(pair, vmm, number):
    vmm.unlock(1)
    vmm.close()
    testbed.wait_until(lambda: not any(
        f"{file['ino']:x}" == number for file in json.loads(
            pair.a.ctl("status", "--json", pair.a.above.path).stdout)["files"]), what="the close")


@theme.scenario(fresh=True)
def it_is_collected_when_no_guest_holds_it(pair):
    """Not while one owns it, nor just after a release: it may be on its way to another host."""
    numbers, vmms = [], []
    for _ in range(4):
        name = given_image(pair)
        numbers.append(number_of(pair, name))
        vmms.append(guest(pair, name))
        remove(pair.b, name)
    owned, open_here, released, ended = numbers
    vmms[1].unlock(1)
    end(pair, vmms[2], released)
    end(pair, vmms[3], ended)
    for number in (owned, open_here, ended):
        age(pair, number, 7200)
    watcher = Host(pair.bed, "C", pair.store, pair.stack)
    for number in (ended, open_here):  # released, and open on another host alone: as one that ended
        testbed.wait_until(lambda number=number: not os.path.exists(removed(pair, number)),
                           what="the collection")
    watcher.umount()
    again = Host(pair.bed, "C", pair.store, pair.stack)  # by now the first has seen them all
    expect(os.path.exists(removed(pair, owned)), "an owned image is gone")
    expect(os.path.exists(removed(pair, released)), "one on its way is gone")
    age(pair, released, 7200)
    again.umount()
    last = Host(pair.bed, "C", pair.store, pair.stack)
    testbed.wait_until(lambda: not os.path.exists(removed(pair, released)), what="the other's")
    last.umount()
    expect(os.path.exists(removed(pair, owned)), "an owned image is gone")
    expect_works(vmms[0], f"write 1 0 {HALF} B")


@theme.scenario(fresh=True)
def what_was_removed_around_is_shown(pair):
    name = given_image(pair)
    number = number_of(pair, name)
    a = guest(pair, name)
    os.unlink(os.path.join(pair.store, name))
    expect_works(a, f"write 1 0 {HALF} B")
    said = pair.a.ctl("status", "--json", pair.a.above.path)
    seen = [file for file in json.loads(said.stdout)["files"] if f"{file['ino']:x}" == number]
    testbed.check(seen[0]["name"] == "removed", f"shown as {seen}")
    expect_said(pair, pair.a, "removed on the store")


if __name__ == "__main__":
    theme.main()
