#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What migfs and migfsctl say where memory, threads or the kernel fail them: failing.c has the calls
go wrong. Each failure is said in a line, whichever call it is; and no start fails without one.

messages_failing.py [CHECK]...
"""

import contextlib
import errno
import fcntl
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import forged_beacon  # noqa: E402
import testbed  # noqa: E402
from testbed import binary, check  # noqa: E402

ACQUIRE, MOUNT = 0xd018dc01, 0xd1b0dc07  # fs/migfs.h
BACKING_CLOSE = 0x4004e502  # linux/fuse.h
OFD_SETLKW = 38
PASSTHROUGH, KILLPRIV_V2 = 37, 28
# A program makes far fewer calls before it serves, or ends, than these.
CALLS_MOST = 400
CLEAN_RUNS = 40
COMMAND_CALLS = 30  # of a command, that are made to fail
OPEN_CALLS = 24  # and an open makes no more than these
STORE_CALLS = (0, 3, 9, 16)
DONE, SYSTEM, UNUSABLE = 0, 2, 32


class Failing:
    """The file that says what fails; nothing while it is empty."""

    def __init__(self, bed):
        self.path = bed.unique("failing")
        self.env = {"MIGFS_FAILING": self.path, "LD_PRELOAD": binary("failing.so")}
        self.calm()

    def calm(self):
        self.say("")

    def say(self, *fault):
        with open(self.path + ".new", "w", encoding="ascii") as file:
            file.write(" ".join(str(word) for word in fault))
        os.rename(self.path + ".new", self.path)


def new(bed, name):
    return bed.directory(os.path.basename(bed.unique(name)))


def control(below, command):
    """Of a mount by ctofs."""
    with open(below.path + "/.ctofs-control", "wb", buffering=0) as file:
        file.write(command.encode())


def source_with_file(bed):
    source = new(bed, "source")
    with open(source + "/image", "wb") as file:
        file.truncate(1 << 16)
    os.utime(source + "/image", (0, 0))  # else doctor waits whether somebody writes it
    return source


def mounted(bed, source, failing, options=""):
    return bed.mount_migfs(source, options=options, env=failing.env)


def log_of(bed, source, failing, options=""):
    """What a mount says that meets the fault: one that serves, or one that ends."""
    try:
        mount = mounted(bed, source, failing, options)
    except testbed.TestFailure:
        mount = bed.mounts[-1]
    failing.calm()
    bed.run(["umount", mount.path], expect=None)  # it may have ended
    status = mount.process.wait(30)
    mount.ended = True
    check(status in (DONE, SYSTEM, UNUSABLE), f"it ended with {status}")
    check("migfs: " in mount.log_text(), f"it ended with {status}, and not a word")
    return mount.log_text()


def each_fails_once(bed, call, number):
    """One mount for each call that a start makes, which fails; until a run of them is clean."""
    source, failing = source_with_file(bed), Failing(bed)
    said, clean = [], 0
    for turn in range(CALLS_MOST):
        failing.say(call, number, turn, 1)
        log = log_of(bed, source, failing)
        quiet = all(" serving '" in line or "no longer serving" in line for line in log.splitlines())
        clean = clean + 1 if quiet else 0
        said.append(log)
        if clean == CLEAN_RUNS:
            return "".join(said)
    check(False, f"after {CALLS_MOST} calls a start still fails")
    return None


def a_start_without_memory(bed):
    said = each_fails_once(bed, "alloc", errno.ENOMEM)
    for words in ("while the options were read", "for MOUNTPOINT", "no session of libfuse",
                  "cannot be served: Cannot allocate memory", "take the device of",
                  "make ready to serve"):
        check(words in said, f"never said: {words}")


def a_start_without_threads(bed):
    said = each_fails_once(bed, "pthread_create", errno.EAGAIN)
    for words in ("threads cannot be started", "thread for signals", "this host's beacon"):
        check(words in said, f"never said: {words}")


def a_start_without_a_process(bed):
    source, failing = source_with_file(bed), Failing(bed)
    failing.say("fork", errno.EAGAIN)
    failed = bed.mount_migfs(source, daemon=True, expect=SYSTEM, env=failing.env)
    check("cannot start the daemon's process" in failed.output, failed.output)


def a_directory_that_cannot_be_left(bed):
    source, failing = source_with_file(bed), Failing(bed)
    failing.say("chdir", errno.EACCES)
    mount = bed.mount_migfs(source, daemon=True, env=failing.env)
    check("cannot leave the directory" in mount.log_text(), mount.log_text())
    mount.umount()


def other_kernels(bed):
    source, failing = source_with_file(bed), Failing(bed)
    for fault, options, words in (
            (("major", 6), "", "its first request was refused"),
            (("read", errno.EIO), "", "did not agree on a connection"),
            (("lacks", PASSTHROUGH), "io=passthrough", "not offered by this kernel")):
        failing.say(*fault)
        log = log_of(bed, source, failing, options)
        check(words in log, f"{fault}: {log}")


def a_kernel_that_does_not_say_when_set_id_bits_go(bed):
    source, failing = source_with_file(bed), Failing(bed)
    failing.say("lacks", KILLPRIV_V2)
    mount = mounted(bed, source, failing)
    said = bed.run([binary("migfsctl"), "doctor", mount.path], expect=None).stdout
    check("does not say when set-id bits go" in said, said)
    mount.umount()


def a_device_that_cannot_be_read_any_more(bed):
    source, failing = source_with_file(bed), Failing(bed)
    mount = mounted(bed, source, failing)
    failing.say("read", errno.EIO)
    bed.run(["stat", mount.path + "/image"], expect=None)
    mount.wait_end(expect=SYSTEM)
    check("ended: Input/output error" in mount.log_text(), mount.log_text())
    bed.run(["umount", mount.path], expect=None)


def a_close_without_memory(bed):
    """From whichever allocation on: it is done, or said not to be, if need be of a file without the
    name that there is no memory for."""
    source, failing = source_with_file(bed), Failing(bed)
    words = ": out of memory when it was closed"
    nameless = f"inode {os.stat(source + '/image').st_ino} of "
    for turn in range(CALLS_MOST):
        mount = mounted(bed, source, failing)
        fd = os.open(mount.path + "/image", os.O_RDWR)
        bed.run([binary("migfsctl"), "acquire", mount.path + "/image"])
        failing.say("alloc", errno.ENOMEM, turn)
        try:
            os.close(fd)
        except OSError as error:  # of the flush
            check(error.errno == errno.ENOMEM, f"{error}")
        testbed.wait_until(lambda: any(said in mount.log_text() for said in (
            words, "failed to allocate request", "release of")), what="the end of the close")
        failing.calm()
        mount.umount()
        if words in mount.log_text():
            check(nameless in mount.log_text(), mount.log_text())
            return
    check(False, "never said")


WAITS = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'rb+'), fcntl.LOCK_EX)"


def waits_for_lock(pid):
    """A thread of this migfs is in fcntl(fd, F_OFD_SETLKW)."""
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/task/{task}/syscall", encoding="ascii") as file:
                if file.read().split()[2:3] == [f"{OFD_SETLKW:#x}"]:
                    return True
    return False


def a_lock_that_is_had_after_a_wait_without_memory(bed):
    """Nor does the store take it back."""
    store = source_with_file(bed)
    here, there = bed.mount_ctofs(store), bed.mount_ctofs(store)
    failing = Failing(bed)
    words = "a lock that nobody holds stays on the store"

    for turn in range(CALLS_MOST):
        mount = mounted(bed, here.path, failing)
        with open(there.path + "/image", "rb+") as other:
            fcntl.lockf(other, fcntl.LOCK_EX)
            waiter = bed.spawn([sys.executable, "-c", WAITS, mount.path + "/image"],
                               stderr=subprocess.DEVNULL)
            testbed.wait_until(lambda: waits_for_lock(mount.pid), what="the wait")
            failing.say("alloc", errno.ENOMEM, turn, 1)
            control(here, "fail unlock EIO 1000")
        waiter.wait(30)
        failing.calm()
        control(here, "fail unlock EIO 0")
        mount.umount()
        if words in mount.log_text():
            return
    check(False, "never said")


def a_look_without_memory(bed):
    """Whichever allocation of an open fails: where it is the look's, the open goes on, and says so."""
    source, failing = source_with_file(bed), Failing(bed)
    mount = mounted(bed, source, failing)
    other = bed.mount_migfs(source)
    for turn in range(CALLS_MOST):
        with open(f"{source}/{turn}", "wb"):
            pass
        held = os.open(f"{mount.path}/{turn}", os.O_RDONLY)
        with open(f"{other.path}/{turn}", "rb+"):
            bed.run([binary("migfsctl"), "acquire", f"{other.path}/{turn}"])
            failing.say("alloc", errno.ENOMEM, turn % OPEN_CALLS, 1)
            bed.run(["cat", mount.path + "/image"], expect=None)
            failing.calm()
        os.close(held)
        if "out of memory to look" in mount.log_text():
            break
    check("out of memory to look" in mount.log_text(), mount.log_text())
    other.umount()
    mount.umount()


def pages_that_the_kernel_does_not_drop(bed):
    """Another host became owner; what this one's kernel has of the file is to go, and stays."""
    source, failing = source_with_file(bed), Failing(bed)
    mount, other = mounted(bed, source, failing), bed.mount_migfs(source)
    held = os.open(mount.path + "/image", os.O_RDWR)
    os.pread(held, 4096, 0)
    with open(other.path + "/image", "rb+"):
        bed.run([binary("migfsctl"), "acquire", other.path + "/image"])
        failing.say("notify", errno.ENOMEM)
        with open(mount.path + "/image", "rb"):
            testbed.wait_until(lambda: "pages of it could not be dropped" in mount.log_text(),
                               what="the line")
        failing.calm()
    os.close(held)
    other.umount()
    mount.umount()


def a_backing_file_that_the_kernel_keeps(bed):
    source, failing = source_with_file(bed), Failing(bed)
    mount = mounted(bed, source, failing, "io=passthrough")
    failing.say(f"ioctl:{BACKING_CLOSE:x}", errno.EIO)
    with open(mount.path + "/image", "rb"):
        pass
    testbed.wait_until(lambda: "the kernel keeps it open" in mount.log_text(), what="the line")
    failing.calm()
    mount.umount()


# The command -------------------------------------------------------------------------------------


def commands_without_memory(bed):
    """Done, or a line that says why not; whichever allocation fails."""
    source, failing = source_with_file(bed), Failing(bed)
    mount = bed.mount_migfs(source)
    path = mount.path + "/image"
    said = ""
    with open(path, "rb+"):
        bed.run([binary("migfsctl"), "acquire", path])
        for arguments in (("status", path), ("history", path), ("stats", mount.path),
                          ("doctor", mount.path), ("watch", source)):
            for turn in range(COMMAND_CALLS):
                failing.say("alloc", errno.ENOMEM, turn, 1)
                result = bed.run([binary("migfsctl"), *arguments], expect=None, env=failing.env)
                check(result.returncode >= 0 and (result.returncode in (0, 6, 7) or result.stderr),
                      f"{arguments}, allocation {turn}: {result.returncode}, and not a word")
                check("did not answer" not in result.stdout, f"allocation {turn}: {result.stdout}")
                said += result.stderr
    mount.umount()
    for words in ("out of memory; free some", "what was found is lost: Cannot allocate memory;", "out of memory, or standard output is closed"):
        check(words in said, f"never said: {words}")


def commands_without_processes(bed):
    source, failing = source_with_file(bed), Failing(bed)
    failing.say("fork", errno.EAGAIN)
    for arguments, words in ((("doctor", source), "no process to examine with"),
                             (("init", "--uid", "0", source), "no process to act as")):
        said = bed.run([binary("migfsctl"), *arguments], expect=1, env=failing.env).stderr
        check(words in said, said)


def a_watch_without_threads(bed):
    mount, failing = bed.mount_migfs(source_with_file(bed)), Failing(bed)
    failing.say("pthread_create", errno.EAGAIN)
    said = bed.run([binary("migfsctl"), "watch", mount.path], expect=1, env=failing.env).stderr
    check("no thread to watch" in said, said)
    mount.umount()


def another_migfs_than_the_command(bed):
    """One that does not know the call, and one that has another version of it."""
    mount, failing = bed.mount_migfs(source_with_file(bed)), Failing(bed)
    for error, words in ((errno.ENOTTY, "older than migfsctl; mount it anew"),
                         (errno.EINVAL, "of another version than migfsctl")):
        failing.say(f"ioctl:{ACQUIRE:x}", error)
        said = bed.run([binary("migfsctl"), "acquire", mount.path + "/image"], expect=1,
                       env=failing.env).stderr
        check(words in said, said)
    mount.umount()


# Doctor -------------------------------------------------------------------------------------------


def doctor(bed, source, env=None, **keywords):
    """What it says, as text."""
    return bed.run([binary("migfsctl"), "doctor", source], expect=None, env=env, **keywords).stdout


def others_seen_by_doctor(bed):
    """Another kernel, another clock, a daemon that does not know a call."""
    source, failing = source_with_file(bed), Failing(bed)
    mount = bed.mount_migfs(source)
    for path, fault, words in (
            (source, ("linux", 1), "; no io=passthrough, no resend"),
            (source, ("clock", 3600), "s ahead of the store's; mend: run chrony"),
            (source, ("io_uring_setup", errno.EPERM), "let the service's seccomp filter allow"),
            (source, ("io_uring_setup", errno.EMFILE), "io_uring cannot be set up here"),
            (mount.path, (f"ioctl:{MOUNT:x}", errno.ENOTTY), "of an older version than migfsctl")):
        failing.say(*fault)
        said = doctor(bed, path, failing.env)
        check(words in said, f"{fault}: {said}")
    mount.umount()


def a_host_that_is_not_judged_without_memory(bed):
    source, failing = new(bed, "source"), Failing(bed)
    forged_beacon.write(source, "b")

    def said_without(turn):
        failing.say("alloc", errno.ENOMEM, turn, 1)
        return doctor(bed, source, failing.env)
    check(any("is not judged; mend: try again" in said_without(turn)
              for turn in range(CALLS_MOST)), "it is judged without memory")


@contextlib.contextmanager
def as_nfs(bed, source, options="vers=4.2", lease_s=None):
    """The environment in which a mountpoint looks like NFS to doctor, for what no server gives here."""
    directory = new(bed, "self")
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        lines = file.read().splitlines()
    with open(directory + "/mountinfo", "w", encoding="utf-8") as file:
        for line in lines:
            fields = line.split()
            if fields[4] == source:
                line = " ".join(fields[:6]) + f" - nfs4 server:/export rw,{options}"
            file.write(line + "\n")
    with open(directory + "/mountstats", "w", encoding="utf-8") as file:
        file.write(f"device server:/export mounted on {source} with fstype nfs4 statvers=1.1\n")
        if lease_s is not None:
            file.write(f"\tnfsv4:\tbm0=0x0,pnfs=not configured,lease_time={lease_s}\n")
    yield {"MIGFS_PROC_SELF": directory, "LD_PRELOAD": binary("failing.so")}


def nfs_that_no_lab_has(bed):
    source = new(bed, "source")
    os.mkdir(source + "/.migfs", 0o700)
    bind = bed.mount_bind(source, source)
    for options, lease_s, words in (
            ("vers=4.2,sec=krb5", None, "sec=krb5: migfs has no Kerberos credentials"),
            ("vers=4.2,sec=krb5i", None, "/proc/self/mountstats tells no lease of"),
            ("vers=4.2,sec=krb5p", 5, "the lease is 5 s: a host whose network hiccups"),
            ("vers=4.2", 600, "the lease is 600 s: so long nobody can take over"),
            ("vers=4.2", 90, "cannot be mounted again"),
            ("vers=4.2", 90, "recover_lost_locks cannot be read")):
        with as_nfs(bed, source, options, lease_s) as env:
            said = doctor(bed, source, env)
            check(words in said, f"{words}: {said}")
    with as_nfs(bed, source) as env:
        said = doctor_as_user(bed, source, env)
        check("only root may mount" in said, said)
        bed.run(["mount", "-o", "remount,bind,ro", source])
        said = doctor(bed, source, env)
        check("no file to lock can be made in" in said, said)
    bind.umount()


def doctor_as_user(bed, source, env):
    return bed.run([bed.install("migfsctl"), "doctor", source], as_user=True, expect=None,
                   env={**env, "LD_PRELOAD": bed.install("failing.so")}).stdout


def a_store_that_gives_no_lock_or_answer(bed):
    """Whatever of a store fails from some call of doctor on: it ends well, and says so."""
    below = bed.mount_ctofs(source_with_file(bed))
    os.mkdir(below.path + "/.migfs", 0o700)
    said = ""
    with as_nfs(bed, below.path) as env:
        for operation, error in (("lock", "ENOLCK"), ("open", "EIO"), ("getattr", "EIO"),
                                 ("names", "EIO"), ("lookup", "EIO"), ("readdir", "EIO")):
            for after in STORE_CALLS:
                control(below, f"fail {operation} {error} 1000 {after}")
                said += doctor(bed, below.path, env)
                control(below, f"fail {operation} {error} 0")
    for words in ("no lock can be had at", "mnt.2 cannot be read", "no file to lock can be made in"):
        check(words in said, f"never said: {words}")
    below.umount()


CHECKS = (
    a_start_without_memory, a_start_without_threads, a_start_without_a_process,
    a_directory_that_cannot_be_left, other_kernels, a_kernel_that_does_not_say_when_set_id_bits_go,
    a_device_that_cannot_be_read_any_more, a_close_without_memory, a_look_without_memory,
    a_lock_that_is_had_after_a_wait_without_memory,
    pages_that_the_kernel_does_not_drop, a_backing_file_that_the_kernel_keeps,
    commands_without_memory, commands_without_processes, a_watch_without_threads,
    another_migfs_than_the_command, others_seen_by_doctor,
    a_host_that_is_not_judged_without_memory, nfs_that_no_lab_has,
    a_store_that_gives_no_lock_or_answer)


if __name__ == "__main__":
    testbed.main(lambda: testbed.run_checks("failing", CHECKS, deadline_s=120))
