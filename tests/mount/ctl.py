#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The ioctls of migfs.h and migfsctl, on two mounts of one directory: two hosts of one store.

ctl.py [CASE]...
"""

import errno
import fcntl
import json
import os
import signal
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import testbed  # noqa: E402
from testbed import Testbed, binary, check  # noqa: E402

DONE, FAILED, USAGE, FENCED, TIMED_OUT, NOT_MIGFS = range(6)
DEADLINE_MS = 600

# migfs.h
HANDOFF_SIZE = 4120
FILES_SIZE = 16376
HANDOFF = "=IIIIiI4096s"
FILES = "=IIQQIIQ"
FILE = "=IIQIIQQQQIIIIqQQQQQQIIII"
LOCKS_CUT = 2
LOST = 1


def ioc(number, size):
    return 3 << 30 | size << 16 | 0xDC << 8 | number


ACQUIRE, RELEASE = ioc(1, HANDOFF_SIZE), ioc(2, HANDOFF_SIZE)
STATUS, EVENTS = ioc(3, FILES_SIZE), ioc(4, FILES_SIZE)
FORGET = ioc(5, HANDOFF_SIZE)
HISTORY_SIZE = 16 + 64 * 176
HISTORY = ioc(6, HISTORY_SIZE)


def call(fd, command, argument):
    """An ioctl; (errno, argument after it)."""
    buffer = bytearray(argument)
    try:
        fcntl.ioctl(fd, command, buffer, True)
    except OSError as error:
        return error.errno, bytes(buffer)
    return 0, bytes(buffer)


def handoff_argument(version=2, flags=0, pid=0):
    return struct.pack(HANDOFF, version, flags, 0, 0, 0, pid, b"")


def files_argument(version=2, flags=0, ino=0, cursor=0, count=0, used=0, reserved=0):
    return struct.pack(FILES, version, flags, ino, cursor, count, used,
                       reserved).ljust(FILES_SIZE, b"\0")


def history_argument(version=2, count=0):
    return struct.pack("=IIII", version, 0, count, 0).ljust(HISTORY_SIZE, b"\0")


def files_unpack(answer):
    """(flags, cursor, [(ino, flags, lock count, path)])"""
    _, flags, _, cursor, count, used, _ = struct.unpack_from(FILES, answer)
    offset, entries = struct.calcsize(FILES), []
    end = offset + used
    for _ in range(count):
        fields = struct.unpack_from(FILE, answer, offset)
        path = offset + struct.calcsize(FILE) + 40 * fields[-2]
        entries.append((fields[2], fields[1], fields[-2], answer[path:path + fields[-1]]))
        offset += fields[0]
    check(offset == end, "the entries do not fill what is used")
    return flags, cursor, entries


class Hosts:
    """Two mounts of one directory, and the files of a test."""

    def __init__(self, bed, name):
        self.bed = bed
        self.store = bed.directory(f"{name}.store")
        self.a = bed.mount_migfs(self.store, options=f"deadline={DEADLINE_MS}")
        self.b = bed.mount_migfs(self.store, options=f"deadline={DEADLINE_MS}")
        self.fds = []

    def image(self, name="image", size=1 << 20, uid=0):
        path = os.path.join(self.store, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.truncate(size)
        os.chmod(path, 0o644)
        os.chown(path, uid, uid)
        return os.path.join(self.a.path, name), os.path.join(self.b.path, name)

    def open(self, path, flags=os.O_RDWR):
        fd = os.open(path, flags)
        self.fds.append(fd)
        return fd

    def end(self):
        for fd in self.fds:
            try:
                os.close(fd)
            except OSError as error:
                check(self.a.ended and error.errno == errno.ENOTCONN, f"close: {error}")
        self.fds = []
        for mount in (self.a, self.b):
            if not mount.ended:
                mount.umount()

    def ctl(self, *arguments, expect=DONE, as_user=False):
        program = self.bed.install("migfsctl") if as_user else binary("migfsctl")
        return self.bed.run([program] + list(arguments), expect=expect, as_user=as_user,
                            timeout_s=20)

    def files(self, *paths, as_user=False):
        document = json.loads(self.ctl("status", "--json", *paths, as_user=as_user).stdout)
        check(document["version"] == 1, "another version of the schema")
        return document["files"]

    def file(self, path, as_user=False):
        files = self.files(path, as_user=as_user)
        check(len(files) == 1, f"{path}: {len(files)} files in its status")
        return files[0]

    def state(self, path):
        return self.file(path)["state"]


def write_error(fd):
    try:
        os.pwrite(fd, b"x" * 512, 0)
    except OSError as error:
        return error.errno
    return 0


def status_has_the_schema(hosts):
    path, _ = hosts.image("sub/image")
    check(hosts.files(hosts.a.path) == [], "a mount without open files has some")
    check(hosts.files(path) == [], "asking about a file opened it")
    check("No file is open" in hosts.ctl("status", hosts.a.path).stdout, "no word of it")
    fd = hosts.open(path)
    os.pwrite(fd, b"x" * 1000, 0)
    os.pread(fd, 10, 5000)
    file = hosts.file(path)
    kinds = {"path": str, "ino": int, "state": str, "transition": str, "generation": int,
             "open_generation": int, "profile": str, "locks": list, "bytes_read": int,
             "bytes_written": int, "foreign_writes": int, "stale_acquires": int,
             "prefetch_errors": int, "name": str, "access": str,
             "last_handoff": type(None)}
    check({key: type(value) for key, value in file.items()} == kinds, f"another schema: {file}")
    check(list(file) == list(kinds), "another order")
    check(file["path"] == path and file["ino"] == os.stat(path).st_ino, f"another file: {file}")
    check(file["state"] == "plain" and file["transition"] == "", f"not plain: {file}")
    check(file["bytes_written"] == 1000 and file["bytes_read"] > 0, f"bytes: {file}")
    for asked in (hosts.a.path, os.path.dirname(path)):
        check(hosts.files(asked) == [file], f"another status by {asked}")
    other = hosts.bed.directory(hosts.a.path + "/other")
    check(hosts.files(other) == [], "a file is listed below another directory")
    check(path in hosts.ctl("status", hosts.a.path).stdout, "the table lacks it")
    hosts.ctl("acquire", path)
    handoff = hosts.file(path)["last_handoff"]
    kinds = {"time": float, "direction": str, "duration_ms": float, "bytes_flushed": int,
             "pages_dropped": int, "bytes_prefetched": int, "verified": str}
    check({key: type(value) for key, value in handoff.items()} == kinds, f"schema: {handoff}")


def acquire_and_release_hand_a_file_over(hosts):
    path_a, path_b = hosts.image()
    hosts.ctl("acquire", path_a, expect=FAILED)
    fd_a, fd_b = hosts.open(path_a), hosts.open(path_b)
    hosts.ctl("acquire", path_a)
    file = hosts.file(path_a)
    check((file["state"], file["profile"], file["generation"]) == ("owner", "ioctl", 1), f"{file}")
    check(file["last_handoff"]["direction"] == "acquire", f"{file}")
    hosts.ctl("acquire", path_a)
    check(hosts.file(path_a)["generation"] == 1, "acquired twice, raised twice")

    refused = hosts.ctl("acquire", path_b, expect=TIMED_OUT)
    check("deadline" in refused.stderr and path_b in refused.stderr, refused.stderr)
    check(hosts.state(path_b) == "standby", "an acquire that failed left another state")
    check(hosts.state(path_a) == "owner", "an acquire elsewhere took the file away")

    os.pread(fd_b, 512, 0)
    os.pwrite(fd_a, b"fresh" * 100, 0)
    hosts.ctl("release", path_a)
    file = hosts.file(path_a)
    check(file["state"] == "released" and file["last_handoff"]["direction"] == "release", f"{file}")
    check(write_error(fd_a) == errno.EIO, "a released file is written")
    hosts.ctl("acquire", path_b)
    check(hosts.state(path_b) == "owner", "not acquired")
    check(os.pread(fd_b, 500, 0) == b"fresh" * 100, "stale after the acquire")
    check(write_error(fd_b) == 0, "an owner may not write")
    hosts.ctl("release", path_b)
    hosts.ctl("acquire", path_a)
    check(write_error(fd_a) == 0, "the way back does not write")
    check(hosts.file(path_a)["generation"] == 3, "the generation does not count hand-overs")


def an_acquire_ends_with_the_last_other_handle(hosts):
    path_a, path_b = hosts.image()
    fd_a = os.open(path_a, os.O_RDWR)
    hosts.open(path_b)
    hosts.ctl("acquire", path_a)
    os.close(fd_a)
    hosts.ctl("acquire", path_b)
    check(hosts.state(path_b) == "owner", "not acquired")


def a_file_never_acquired_can_be_released(hosts):
    path, _ = hosts.image()
    fd = hosts.open(path)
    check(write_error(fd) == 0, "a plain file is not written")
    hosts.ctl("release", path)
    check(write_error(fd) == errno.EIO, "its handle goes on writing")
    hosts.ctl("acquire", path)
    check(write_error(fd) == 0, "its handle does not write again")


def forget_makes_the_record_of_what_is_there(hosts):
    path_a, path_b = hosts.image()
    fd_a = hosts.open(path_a)
    hosts.open(path_b)
    hosts.ctl("acquire", path_a)
    os.pwrite(fd_a, b"a" * 4096, 0)
    hosts.ctl("release", path_a)
    with open(os.path.join(hosts.store, "image"), "r+b") as file:
        file.write(b"b" * 4096)
    for count, command in ((1, "acquire"), (1, "release"), (1, "forget"), (1, "acquire")):
        hosts.ctl(command, path_b)
        check(hosts.file(path_b)["foreign_writes"] == count, f"{command}: {hosts.file(path_b)}")
    check(hosts.file(path_b)["generation"] == 3, "the generation does not go on")
    hosts.ctl("forget", path_b)
    check(hosts.state(path_b) == "owner", "an owner forgot itself")
    path_c, _ = hosts.image("vm/never")
    fd_c = hosts.open(path_c)
    hosts.ctl("forget", os.path.dirname(path_c))
    check(write_error(fd_c) == 0 and hosts.state(path_c) == "plain", "a file without a record")
    record = os.path.join(hosts.store, f".migfs/{os.stat(path_c).st_ino:x}")
    check(not os.path.exists(record), "one was made for it")


def history_tells_the_last_hand_overs(hosts):
    path_a, path_b = hosts.image(uid=testbed.USER_UID)
    fds = [hosts.open(path) for path in (path_a, path_b)]
    check("No hand-over is known" in hosts.ctl("history", path_a).stdout, "some of a new file")
    started = time.time()
    for generation in range(1, 71):
        path = (path_a, path_b)[generation % 2]
        hosts.ctl("acquire", path)
        os.pwrite(fds[generation % 2], b"x" * 4096, 8192 * generation)
        hosts.ctl("release", path)
    handovers = []

    def all_are_written():
        document = json.loads(hosts.ctl("history", "--json", path_a).stdout)
        check(document["version"] == 1 and len(document["files"]) == 1, f"{document}")
        check(document["files"][0]["path"] == path_a, f"{document['files'][0]['path']}")
        handovers[:] = document["files"][0]["handovers"]
        return handovers and handovers[0]["generation"] == 70

    testbed.wait_until(all_are_written, what="the last entry")
    kinds = {"generation": int, "time": float, "from": str, "to": str, "release_ms": float,
             "acquire_ms": float, "bytes_flushed": int, "verified": str}
    check([entry["generation"] for entry in handovers] == list(range(70, 6, -1)), "not the last 64")
    for entry in handovers:
        check({key: type(value) for key, value in entry.items()} == kinds, f"schema: {entry}")
        check(entry["from"] == entry["to"] == os.uname().nodename, f"hosts: {entry}")
        check(started <= entry["time"] <= time.time(), f"time: {entry}")
        check(entry["verified"] == "yes" and entry["release_ms"] > 0 and entry["acquire_ms"] > 0,
              f"{entry}")
    table = hosts.ctl("history", path_b).stdout.splitlines()
    check(len(table) == 65 and table[1].split()[0] == "70" and table[1].endswith("yes"), table[:2])
    check(os.stat(os.path.join(hosts.store, ".migfs/history",
                               f"{os.stat(path_a).st_ino:x}")).st_size <= 80 * 1024, "it grows")

    reader = hosts.open(path_a, os.O_RDONLY)
    check(call(reader, HISTORY, history_argument())[0] == 0, "root may not read it")
    hosts.ctl("history", path_a, as_user=True)
    os.chown(os.path.join(hosts.store, "image"), 0, 0)
    os.stat(path_a)
    refused = hosts.ctl("history", path_a, as_user=True, expect=FAILED)
    check("Permission denied" in refused.stderr, refused.stderr)
    hosts.ctl("history", hosts.a.path, expect=FAILED)


def what_passes_by_the_daemon_is_not_digested(hosts):
    """io=passthrough: the record has no digests, neither of its owner nor of the one before."""
    path_a, _ = hosts.image()
    fd = hosts.open(path_a)
    hosts.ctl("acquire", path_a)
    os.pwrite(fd, b"a" * 4096, 0)
    hosts.ctl("release", path_a)
    check(record_digests(hosts, path_a) == 1, "the daemon makes none")

    mounted = hosts.bed.directory()
    passed = hosts.bed.run([binary("migfs"), hosts.store, mounted, "-o",
                            f"io=passthrough,deadline={DEADLINE_MS}"], expect=None)
    if passed.returncode != 0:
        print(f"  (not over io=passthrough: {passed.stderr.strip()})")
        return
    path = os.path.join(mounted, "image")
    fd = os.open(path, os.O_RDWR)
    hosts.ctl("acquire", path)
    check(hosts.file(path)["last_handoff"]["verified"] == "yes", "not verified")
    os.pwrite(fd, b"b" * 4096, 0)
    check(hosts.file(path)["foreign_writes"] == 0, "what it wrote itself is taken for another's")
    hosts.ctl("release", path)
    check(record_digests(hosts, path_a) == 0, "digests of what it has not seen")
    os.close(fd)
    hosts.ctl("acquire", path_a)
    file = hosts.file(path_a)
    check((file["foreign_writes"], file["last_handoff"]["verified"]) == (0, "no"), f"{file}")
    hosts.bed.run(["umount", mounted])


def record_digests(hosts, path):
    """How many the record has that counts."""
    with open(os.path.join(hosts.store, f".migfs/{os.stat(path).st_ino:x}"), "rb") as file:
        slots = [file.read(4096), file.read(4096)]
    newest = max(slots, key=lambda slot: struct.unpack_from("<QQ", slot, 32)[::-1])
    return struct.unpack_from("<I", newest, 208)[0]


def a_directory_is_all_open_files_below(hosts):
    inside = [hosts.image(f"vm/{name}")[0] for name in ("one", "deep/two")]
    outside = hosts.image("other")[0]
    fds = [hosts.open(path) for path in inside + [outside]]
    hosts.ctl("acquire", os.path.join(hosts.a.path, "vm"))
    check([hosts.state(path) for path in inside + [outside]] == ["owner", "owner", "plain"],
          "not those below")
    hosts.ctl("release", os.path.join(hosts.a.path, "vm"))
    check([write_error(fd) for fd in fds] == [errno.EIO, errno.EIO, 0], "not those below")
    hosts.open(os.path.join(hosts.b.path, "vm/one"))
    hosts.ctl("acquire", os.path.join(hosts.b.path, "vm/one"))
    refused = hosts.ctl("acquire", os.path.join(hosts.a.path, "vm"), expect=TIMED_OUT)
    check(inside[0] in refused.stderr, f"does not name the one: {refused.stderr}")
    check(hosts.state(inside[1]) == "owner", "the others were not tried")


def locks_are_shown_to_root_and_the_owner(hosts):
    path, _ = hosts.image(uid=testbed.USER_UID)
    fd = hosts.open(path)
    template = "hhqqi4x"
    for kind, start, length in ((fcntl.F_RDLCK, 10, 5), (fcntl.F_WRLCK, 100, 0)):
        fcntl.fcntl(fd, 37, struct.pack(template, kind, 0, start, length, 0))  # F_OFD_SETLK
    with open("/proc/self/comm", encoding="utf-8") as file:
        command = file.read().rstrip("\n")
    shown = [{"start": 10, "length": 5, "type": "read", "pid": os.getpid(), "command": command},
             {"start": 100, "length": 0, "type": "write", "pid": os.getpid(), "command": command}]
    hidden = [dict(lock, pid=0, command="") for lock in shown]
    check(hosts.file(path)["locks"] == shown, f"{hosts.file(path)['locks']}")
    check(hosts.file(path, as_user=True)["locks"] == shown, "hidden from the owner")
    os.chown(os.path.join(hosts.store, "image"), 0, 0)
    os.stat(path)
    check(hosts.file(path, as_user=True)["locks"] == hidden, "shown to everybody")
    table = hosts.ctl("status", path, as_user=True).stdout
    check("shown to root" in table and "bytes 100 to the end" in table, table)


def wrong_arguments_change_nothing(hosts):
    path, _ = hosts.image()
    hosts.open(path)
    fd = hosts.open(path)
    read_only = hosts.open(path, os.O_RDONLY)
    directory = hosts.open(hosts.a.path, os.O_RDONLY | os.O_DIRECTORY)
    handoff, files = handoff_argument(), files_argument()
    cases = [
        ("version 0", fd, ACQUIRE, handoff_argument(version=0), errno.EINVAL),
        ("version 3", fd, RELEASE, handoff_argument(version=3), errno.EINVAL),
        ("a flag", fd, RELEASE, handoff_argument(flags=1), errno.EINVAL),
        ("a group of a file", fd, RELEASE, handoff_argument(pid=1), errno.ENOTDIR),
        ("a group", fd, FORGET, handoff_argument(pid=1), errno.EINVAL),
        ("version 3", fd, STATUS, files_argument(version=3), errno.EINVAL),
        ("a flag", fd, EVENTS, files_argument(flags=1), errno.EINVAL),
        ("a check", fd, EVENTS, files_argument(flags=2), errno.EINVAL),
        ("an answer's flag", fd, STATUS, files_argument(flags=4), errno.EINVAL),
        ("a count", fd, STATUS, files_argument(count=1), errno.EINVAL),
        ("a size", fd, ioc(2, 8), bytes(8), errno.EINVAL),
        ("a size", fd, ioc(3, FILES_SIZE - 8), files[:-8], errno.EINVAL),
        ("a larger size", fd, ioc(2, HANDOFF_SIZE + 8), handoff + bytes(8), errno.EINVAL),
        ("one way", fd, 1 << 30 | HANDOFF_SIZE << 16 | 0xDC02, handoff, errno.EINVAL),
        ("no such call", fd, ioc(99, 8), bytes(8), errno.ENOTTY),
        ("another's call", fd, 0x5401, bytes(64), errno.ENOTTY),
        ("not writable", read_only, ACQUIRE, handoff, errno.EBADF),
        ("not writable", read_only, RELEASE, handoff, errno.EBADF),
        ("not writable", read_only, FORGET, handoff, errno.EBADF),
        ("a directory", directory, HISTORY, history_argument(), errno.EISDIR),
        ("version 3", fd, HISTORY, history_argument(version=3), errno.EINVAL),
        ("a count", fd, HISTORY, history_argument(count=1), errno.EINVAL),
        ("a size", fd, ioc(6, 16), bytes(16), errno.EINVAL),
        ("version 3", fd, FORGET, handoff_argument(version=3), errno.EINVAL),
    ]
    before = hosts.file(path)
    for what, where, command, argument, expected in cases:
        got, _ = call(where, command, argument)
        check(got == expected, f"{what} {command:#x}: errno {got}, not {expected}")
    check(hosts.file(path) == before, "something changed")
    check(call(read_only, STATUS, files)[0] == 0, "STATUS wants a writable descriptor")
    check(call(directory, STATUS, files)[0] == 0, "STATUS on a directory")
    check(call(directory, STATUS, files_argument(flags=2))[0] == 0, "STATUS with a check")
    hosts.ctl("acquire", hosts.a.path, expect=FAILED, as_user=True)
    hosts.ctl("release", path, expect=FAILED, as_user=True)
    hosts.ctl("forget", path, expect=FAILED, as_user=True)
    hosts.ctl("forget", hosts.a.path, expect=FAILED, as_user=True)
    check(hosts.file(path) == before, "somebody without rights changed something")


def many_files_are_each_told_once(hosts):
    names = [f"{'n' * 180}{number}" for number in range(300)]
    for name in names:
        hosts.open(hosts.image(f"many/{name}", size=0)[0], os.O_RDONLY)
    directory = hosts.open(hosts.a.path, os.O_RDONLY | os.O_DIRECTORY)
    calls, cursor, found = 0, 0, []
    while calls == 0 or cursor != 0:
        error, answer = call(directory, STATUS, files_argument(cursor=cursor))
        check(error == 0, f"STATUS: errno {error}")
        _, cursor, entries = files_unpack(answer)
        found += [entry[3].decode() for entry in entries]
        calls += 1
    check(calls > 3, "all in one answer: nothing was tested")
    check(sorted(found) == sorted("many/" + name for name in names), "not each once")
    check(len(hosts.files(hosts.a.path)) == 300, "migfsctl shows another number")


def many_locks_are_cut_and_say_so(hosts):
    path, _ = hosts.image()
    fd = hosts.open(path)
    for number in range(600):
        fcntl.fcntl(fd, 37, struct.pack("hhqqi4x", fcntl.F_RDLCK, 0, 2 * number + 1000, 1, 0))
    error, answer = call(fd, STATUS, files_argument())
    _, cursor, entries = files_unpack(answer)
    check(error == 0 and cursor == 0 and len(entries) == 1, "not the one file")
    check(entries[0][1] & LOCKS_CUT and 300 < entries[0][2] < 600, f"{entries[0][:3]}")
    check("more locks" in hosts.ctl("status", path).stdout, "the table does not say so")


def any_name_is_shown(hosts):
    name = b"\xff\x01\"\\ \n\xc3\xa9\xed\xa0\x80" + b"x" * 200
    path = os.fsencode(hosts.a.path) + b"/" + name
    with open(os.fsencode(hosts.store) + b"/" + name, "wb"):
        pass
    hosts.open(path)
    shown = os.fsencode(hosts.file(os.fsdecode(path))["path"])
    check(shown == path, f"another name: {shown}")
    table = hosts.ctl("status", hosts.a.path).stdout
    check("\\377\\001" in table and len(table.splitlines()) == 2, f"the table: {table}")
    deep = os.path.join(hosts.store, *["d" * 250] * 7)
    os.makedirs(deep)
    with open(os.path.join(deep, "f" * 255), "wb"):
        pass
    deep = os.path.join(hosts.a.path, *["d" * 250] * 7, "f" * 255)
    hosts.open(deep)
    check(hosts.file(deep)["path"] == deep, "a long path is not whole")


def paths_are_the_users(hosts):
    path, _ = hosts.image("vm/image")
    hosts.open(path)
    bind = hosts.bed.mount_bind(os.path.join(hosts.a.path, "vm"))
    try:
        shown = os.path.join(bind.path, "image")
        check(hosts.file(shown)["path"] == shown, "another path through a bind mount")
        check(hosts.file(bind.path)["path"] == shown, "another path through a bind mount")
    finally:
        bind.umount()
    os.unlink(path)
    check("(removed)" in hosts.ctl("status", hosts.a.path).stdout, "a removed file is not said so")


def watch_tells_each_hand_over(hosts):
    path, _ = hosts.image()
    hosts.open(path)
    watch = hosts.bed.spawn([binary("migfsctl"), "watch", path], stdout=subprocess.PIPE, text=True)
    check("PATH" in watch.stdout.readline(), "no heads")  # from here on nothing is missed
    as_json = hosts.bed.spawn([binary("migfsctl"), "watch", "--json", hosts.a.path],
                              stdout=subprocess.PIPE, text=True)
    for command, state in (("acquire", "owner"), ("release", "released"), ("acquire", "owner")):
        hosts.ctl(command, path)
        line = watch.stdout.readline()
        check(f" {state} " in line and f" {command} " in line and path in line, line)
    # Without heads there is no telling when it listens: until it has told one.
    os.set_blocking(as_json.stdout.fileno(), False)
    line = ""
    for _ in range(50):
        hosts.ctl("release", path)
        hosts.ctl("acquire", path)
        line = as_json.stdout.readline()
        if line:
            break
    file = json.loads(line)
    check(file["path"] == path and set(file) == set(hosts.file(path)), f"{file}")
    for watcher in (watch, as_json):
        watcher.send_signal(signal.SIGINT)
        check(watcher.wait(10) == -signal.SIGINT, "a signal does not end it")


def status_follows_until_the_mount_ends(hosts):
    source = hosts.bed.directory("followed")
    with open(source + "/image", "wb"):
        pass
    mount = hosts.bed.mount_migfs(source)
    watcher = hosts.bed.spawn([binary("migfsctl"), "status", "--json", "--follow", mount.path],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    as_table = hosts.bed.spawn([binary("migfsctl"), "status", "--follow", mount.path],
                               stdout=subprocess.PIPE, text=True)
    check(json.loads(watcher.stdout.readline()) == {
        "version": 1, "files": [], "checked": True, "fenced_by_store": True}, "files at first")
    fd = os.open(mount.path + "/image", os.O_RDWR)
    told = (json.loads(line)["files"] for line in watcher.stdout)
    files = next(filter(None, told), [])
    check([file["path"] for file in files] == [mount.path + "/image"], f"{files}")
    check(any("image" in line for line in as_table.stdout), "the table does not show it")
    os.close(fd)
    check(any(not files for files in told), "the close is not shown")
    as_table.send_signal(signal.SIGINT)
    check(as_table.wait(10) == -signal.SIGINT, "a signal does not end it")
    mount.umount(lazy=True)  # but for the moment of a look nothing of it is open
    _, said = watcher.communicate(timeout=20)
    check(watcher.returncode == NOT_MIGFS and "not on a migfs" in said,
          f"{watcher.returncode} {said}")
    check("--follow" in hosts.ctl("watch", "--follow", hosts.a.path, expect=USAGE).stderr, "watch")


def events_tell_of_lost_ones(hosts):
    path, _ = hosts.image()
    hosts.open(path)
    fd = hosts.open(path)
    other = hosts.open(hosts.image("other")[0])
    error, answer = call(fd, EVENTS, files_argument())
    _, cursor, entries = files_unpack(answer)
    check(error == 0 and cursor > 0 and not entries, "a first call waits or tells")
    for _ in range(3):
        check(call(fd, ACQUIRE, handoff_argument())[0] == 0, "ACQUIRE")
        check(call(fd, RELEASE, handoff_argument())[0] == 0, "RELEASE")
    flags, end, entries = files_unpack(call(fd, EVENTS, files_argument(cursor=cursor))[1])
    check((flags, len(entries), end) == (0, 6, cursor + 6), f"{flags} {len(entries)} {end}")
    for _ in range(140):
        call(fd, ACQUIRE, handoff_argument())
        call(fd, RELEASE, handoff_argument())
    flags, _, entries = files_unpack(call(fd, EVENTS, files_argument(cursor=cursor))[1])
    check(flags == LOST and entries, "lost events are not said")
    flags, _, entries = files_unpack(call(other, EVENTS, files_argument(cursor=cursor))[1])
    check(flags == LOST and not entries, "told of another file")
    flags, _, _ = files_unpack(call(fd, EVENTS, files_argument(cursor=1 << 62))[1])
    check(flags == LOST, "a cursor of the future waits")


def a_waiting_watch_is_interrupted_and_ends_with_the_mount(hosts):
    path, _ = hosts.image()
    fd = hosts.open(path)
    _, answer = call(fd, EVENTS, files_argument())
    cursor = files_unpack(answer)[1]

    class Alarm(Exception):
        pass

    def on_alarm(_number, _frame):
        raise Alarm

    signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        call(fd, EVENTS, files_argument(cursor=cursor))
        check(False, "EVENTS came back without an event")
    except Alarm:
        pass
    watch = hosts.bed.spawn([binary("migfsctl"), "watch", path], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)
    check("PATH" in watch.stdout.readline(), "no heads")
    hosts.a.signal(signal.SIGTERM)
    _, said = watch.communicate(timeout=20)
    testbed.keep_said(said)
    check(watch.returncode == FAILED and "mount has ended" in said, f"{watch.returncode} {said}")
    hosts.a.wait_end()


def other_filesystems_are_told_apart(hosts):
    plain = os.path.join(hosts.store, "file")
    with open(plain, "wb"):
        pass
    for command in ("status", "watch", "acquire", "release", "forget", "history"):
        said = hosts.ctl(command, plain, expect=NOT_MIGFS).stderr
        check("not on a migfs" in said and plain in said, said)
    ctofs = hosts.bed.mount_ctofs(hosts.store)
    for command in ("status", "watch", "acquire", "release", "forget", "history"):
        hosts.ctl(command, os.path.join(ctofs.path, "file"), expect=NOT_MIGFS)
        hosts.ctl(command, ctofs.path, expect=NOT_MIGFS)
    ctofs.umount()
    hosts.ctl("status", os.path.join(hosts.a.path, "missing"), expect=FAILED)


def wrong_command_lines_are_usage(hosts):
    for arguments in ([], ["frobnicate"], ["status"], ["status", "--frobnicate", "/"],
                      ["acquire", "--json", "/"], ["watch", "--uid", "1", "/"], ["init", "/tmp"],
                      ["init", "--uid", "me", "/tmp"], ["init", "--uid", "1", "/a", "/b"],
                      ["init", "--uid", "4294967295", "/tmp"]):
        said = hosts.ctl(*arguments, expect=USAGE).stderr
        check("migfsctl" in said, f"{arguments}: {said}")
    check("Usage" in hosts.ctl("--help").stdout, "no help")
    check(hosts.ctl("--version").stdout.startswith("migfsctl "), "no version")


def init_makes_the_record_directory(hosts):
    source = hosts.bed.directory()
    records = os.path.join(source, ".migfs")
    uid = testbed.USER_UID

    def owner():
        found = os.lstat(records)
        return found.st_uid, found.st_gid, found.st_mode & 0o7777

    for _ in range(2):  # root's directory: made by root, given away; once more changes nothing
        hosts.ctl("init", "--uid", str(uid), "--gid", "1001", source)
        check(owner() == (uid, 1001, 0o700), f"{owner()}")
    os.chmod(records, 0o755)
    hosts.ctl("init", "--uid", str(uid), source)
    check(owner() == (uid, 1001, 0o700), f"{owner()}")
    said = hosts.ctl("init", "--uid", "1234", source, expect=FAILED).stderr
    check(owner()[0] == uid and "belongs to" in said, said)
    os.rmdir(records)

    os.chown(source, uid, uid)  # the user's: made by the user, as under root_squash
    os.chmod(source, 0o700)
    hosts.ctl("init", "--uid", str(uid), "--gid", str(uid), source)
    check(owner() == (uid, uid, 0o700), f"{owner()}")
    os.rmdir(records)
    os.symlink("/tmp", records)
    hosts.ctl("init", "--uid", str(uid), source, expect=FAILED)
    check(os.readlink(records) == "/tmp", "a symbolic link was replaced")
    os.unlink(records)
    hosts.ctl("init", "--uid", "1234", source, as_user=True, expect=FAILED)
    hosts.ctl("init", "--uid", str(uid), source, as_user=True)
    check(owner()[0] == uid, f"{owner()}")
    said = hosts.ctl("init", "--uid", str(uid), hosts.a.path, expect=FAILED).stderr
    check("migfs mount" in said, said)


CASES = [
    status_has_the_schema,
    acquire_and_release_hand_a_file_over,
    an_acquire_ends_with_the_last_other_handle,
    a_file_never_acquired_can_be_released,
    forget_makes_the_record_of_what_is_there,
    history_tells_the_last_hand_overs,
    what_passes_by_the_daemon_is_not_digested,
    a_directory_is_all_open_files_below,
    locks_are_shown_to_root_and_the_owner,
    wrong_arguments_change_nothing,
    many_files_are_each_told_once,
    many_locks_are_cut_and_say_so,
    any_name_is_shown,
    paths_are_the_users,
    watch_tells_each_hand_over,
    status_follows_until_the_mount_ends,
    events_tell_of_lost_ones,
    a_waiting_watch_is_interrupted_and_ends_with_the_mount,
    other_filesystems_are_told_apart,
    wrong_command_lines_are_usage,
    init_makes_the_record_directory,
]


def test():
    testbed.require_root()
    testbed.require_fuse()
    wanted = sys.argv[1:] or [case.__name__ for case in CASES]
    with Testbed("ctl", deadline_s=110) as bed:
        for case in CASES:
            if case.__name__ not in wanted:
                continue
            hosts = Hosts(bed, case.__name__)
            case(hosts)
            hosts.end()
            print(f"  {case.__name__}", flush=True)


if __name__ == "__main__":
    testbed.main(test)
