#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Provokes what migfs and migfsctl say of rare trouble, by its real causes: stores that fail, limits,
rights, files in the way. tests/messages.py looks that every message was provoked by some test;
messages_failing.py has those that take a program whose own calls fail.

messages.py [CHECK]...
"""

import contextlib
import fcntl
import mmap
import os
import signal
import subprocess
import sys
import time

for directory in ("..", "../hosts"):
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), directory))
import ctl as ioctls  # noqa: E402
import testbed  # noqa: E402
from pair import CallFailed, IMAGE_BYTES, Pair, Stack  # noqa: E402
from testbed import USER_GID, USER_UID, binary, check  # noqa: E402

DONE, FAILED, USAGE, FENCED, TIMED_OUT, NOT_MIGFS = range(6)
SYSTEM, UNUSABLE = 2, 32
OTHER_GID = 4242
FULL = "/dev/full"
QUICK = "deadline=1000"
# Of what a hand-over asks of a store.
OPERATIONS = ("lookup", "getattr", "open", "read", "write", "fsync", "lock", "unlock", "getlk", "names")
CALLS_MOST = 12
EVENTS_KEPT = 256  # fs/events.c
FILES = 60  # more than a daemon of 48 descriptors can open
DOCTOR_NAMES, DOCTOR_DEPTH = 8, 8  # ctl/doctor_images.c


def ctl(bed, *arguments, expect=DONE, **keywords):
    return bed.run([binary("migfsctl"), *arguments], expect=expect, **keywords)


def says(result, words):
    said = (result.stdout or "") + (result.stderr or "")
    check(words in said, f"not said: {words}: {said}")


def logged(mount, words):
    testbed.wait_until(lambda: words in mount.log_text(), what=f"the line: {words}")


def new(bed, name):
    return bed.directory(os.path.basename(bed.unique(name)))


def source_with_file(bed):
    source = new(bed, "source")
    with open(source + "/image", "wb") as file:
        file.truncate(1 << 16)
    os.utime(source + "/image", (0, 0))  # else doctor waits whether somebody writes it
    return source


@contextlib.contextmanager
def pair_of(bed, options=QUICK):
    pair = Pair(bed, Stack(options=options), False)
    yield pair
    pair.umount()


@contextlib.contextmanager
def read_only(bed, path):
    mount = bed.mount_bind(path, path)
    bed.run(["mount", "-o", "remount,bind,ro", path])
    yield
    mount.umount()


# Mounting ----------------------------------------------------------------------------------------


def limits_of_who_mounts(bed):
    source = source_with_file(bed)
    migfs = [binary("migfs"), source, new(bed, "mnt")]
    says(bed.run(["prlimit", "--nofile=4:4", *migfs], expect=SYSTEM), "cannot make a pipe")


def a_device_of_root_alone(bed):
    source, path = source_with_file(bed), new(bed, "mnt")
    for owned in (source, path):
        os.chown(owned, USER_UID, USER_GID)
    script = ('mount -t tmpfs -o mode=755 none /dev && mknod -m 600 /dev/fuse c 10 229 && '
              'exec setpriv --reuid 1000 --regid 1000 --clear-groups --inh-caps=-all "$@"')
    says(bed.run(["unshare", "-m", "sh", "-c", script, "sh", bed.install("migfs"), source, path],
                 expect=SYSTEM), "it is to be open to all")


def a_source_that_cannot_be_reached(bed):
    source = bed.directory("outer", mode=0o700) + "/source"
    os.mkdir(source)
    says(bed.run([bed.install("migfs"), source, new(bed, "mnt")], as_user=True, expect=UNUSABLE),
         "cannot be used: Permission denied; see that who mounts can reach it")


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return file.read().split()


def a_daemon_that_is_killed_before_it_serves(bed):
    store = source_with_file(bed)
    below = bed.mount_ctofs(store)
    control(below, "freeze")
    command = bed.spawn([binary("migfs"), below.path, new(bed, "mnt")], stderr=subprocess.PIPE,
                        text=True)

    os.kill(int(testbed.wait_until(lambda: children(command.pid), what="the daemon")[0]),
            signal.SIGKILL)
    control(below, "thaw")
    said = command.communicate(timeout=30)[1]
    testbed.keep_said(said)
    check(command.returncode == SYSTEM and "ended by signal 9" in said, said)
    below.umount()


def stores_without_records(bed):
    """The mount goes on without; a line says why, and what to do."""
    source = source_with_file(bed)
    with read_only(bed, source):
        mount = bed.mount_migfs(source)
        logged(mount, "read-only store; mount that with rw")
        mount.umount()

    full = new(bed, "source")
    bed.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=1", "none", full])
    mount = bed.mount_migfs(full)
    logged(mount, "cannot be made; make room, and mount anew")
    mount.umount()
    bed.run(["umount", full])

    below = bed.mount_ctofs(source)
    control(below, "fail names EIO 1")
    mount = bed.mount_migfs(below.path)
    logged(mount, "cannot be made or opened; see migfsctl doctor SOURCE")
    mount.umount()
    below.umount()


def a_source_that_the_kernel_does_not_pass_through(bed):
    """One layer more than it allows."""
    lower = source_with_file(bed)
    for _ in range(2):
        layers = [new(bed, name) for name in ("upper", "work", "merged")]
        bed.run(["mount", "-t", "overlay", "-o", "lowerdir={},upperdir={},workdir={}".format(
            lower, *layers[:2]), "overlay", layers[2]])
        lower = layers[2]
    mount = bed.mount_migfs(lower, options="io=passthrough")
    try:
        os.close(os.open(mount.path + "/image", os.O_RDWR))
        check(False, "it was passed through")
    except OSError:
        pass
    logged(mount, "cannot be passed through to its filesystem; mount with io=daemon")
    mount.umount()


def a_log_that_nobody_reads(bed):
    """Lines are lost, and counted in the first that can be written again."""
    source, path = source_with_file(bed), new(bed, "mnt")
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    daemon = bed.spawn([binary("migfs"), "-f", source, path], stderr=writer)
    os.close(writer)
    testbed.wait_until(lambda: testbed.is_mounted(path), what="the mount")
    with open(path + "/image", "rb+"):
        for _ in range(20):
            ctl(bed, "acquire", path + "/image")
            ctl(bed, "release", path + "/image")
        os.read(reader, 1 << 16)
        ctl(bed, "acquire", path + "/image")
    bed.run(["umount", path])
    daemon.wait(30)
    with open(reader, encoding="utf-8") as log:
        said = log.read()
    testbed.keep_said(said)
    check("lines were not written here" in said, said)


# A store that fails ------------------------------------------------------------------------------


def control(below, *commands):
    with open(below.path + "/.ctofs-control", "wb", buffering=0) as file:
        for command in commands:
            file.write(command.encode())


def hand_over(pair, name):
    """A whole one, as far as it comes."""
    try:
        a = pair.a.vmm(name)
        a.lock(1)
        a.write(1, 0, 4096, "A")
        a.unlock(1)
        a.lock(1)
    except CallFailed:
        pass
    pair.a.end_vmms()


def whatever_fails(bed):
    """Each call of a hand-over fails once, and none kills the mount: another image goes over after."""
    with pair_of(bed) as pair:
        for operation in OPERATIONS:
            for after in range(CALLS_MOST):
                name = pair.image()
                pair.a.control(f"fail {operation} EIO 1 {after}")
                hand_over(pair, name)
                pair.a.control(f"fail {operation} EIO 0")
        name = pair.image()
        vmm = pair.a.vmm(name)
        vmm.lock(1)
        check(vmm.state(1) == "owner", f"after all that: {vmm.state(1)}")


def locks_that_stay(bed):
    with pair_of(bed) as pair:
        name = pair.image()
        vmm = pair.a.vmm(name)
        vmm.lock(1)
        pair.a.control("fail unlock EIO 100")
        pair.a.end_vmms()
        logged(pair.a.above, "locks could not be given back when it was closed")
        pair.a.control("fail unlock EIO 0")


def a_record_that_cannot_be_locked(bed):
    with pair_of(bed) as pair:
        vmm = pair.a.vmm(pair.image())
        vmm.lock(1, 100, 101)
        pair.a.control("fail lock ENOLCK 1 1")  # after the image's
        vmm.lock(1, 201)
        logged(pair.a.above, "its record cannot be locked")


def an_unmount_that_cannot_hand_over(bed):
    with pair_of(bed) as pair:
        vmm = pair.a.vmm(pair.image())
        vmm.lock(1)
        vmm.write(1, 0, 4096, "A")
        pair.a.control("fail fsync EIO 100")
        pair.a.above.signal(signal.SIGTERM)
        logged(pair.a.above, "was not handed over at the unmount")
        pair.a.control("fail fsync EIO 0")
        pair.a.above.wait_end()


def a_group_that_is_not_taken_back(bed):
    with pair_of(bed) as pair:
        vmm = pair.a.vmm()
        for slot in (1, 2):
            vmm.open(slot, pair.image())
        group = ("--group", str(vmm.process.pid), pair.a.above.path)
        pair.a.ctl("acquire", *group)
        for slot in (1, 2):
            vmm.write(slot, 0, 4096, "A")
        pair.a.control("fail fsync EIO 1", "fail lock ENOLCK 100")
        pair.a.ctl("release", *group, expect=FAILED)
        pair.a.control("fail lock ENOLCK 0")
        logged(pair.a.above, "could not be taken back to what it was")


def a_directory_of_which_some_fail(bed):
    with pair_of(bed) as pair:
        vmm = pair.a.vmm()
        for slot in (1, 2):
            vmm.open(slot, pair.image())
            vmm.write(slot, 0, 4096, "A")
        pair.a.control("fail fsync EIO 100")
        said = pair.a.ctl("release", pair.a.above.path, expect=FAILED).stderr
        pair.a.control("fail fsync EIO 0")
        check("2 files failed, 0 are done" in said, said)


def a_fenced_file(bed):
    with pair_of(bed) as pair:
        name = pair.image()
        a = pair.a.vmm(name)
        a.lock(1)
        pair.a.control("partition")
        pair.a.control("heal")
        a.error("write 1 0 4096 X")
        testbed.wait_until(lambda: a.state(1) == "fenced", what="the fence")
        pair.a.control("fail lock EIO 100")
        said = pair.a.ctl("acquire", pair.a.path(name), expect=FENCED).stderr
        check("fenced: it lost its locks" in said, said)


def stale_data(bed):
    """The store gives B what was there before A wrote; `status` says so of what was not acquired."""
    with pair_of(bed) as pair:
        name = pair.image()
        b = pair.b.vmm(name)
        b.read(1, 0, IMAGE_BYTES)
        pair.b.control("stale")
        a = pair.a.vmm(name)
        a.lock(1)
        a.write(1, 0, IMAGE_BYTES, "A")
        a.unlock(1)
        for byte in (100, 101, 201):
            b.error(f"lock 1 r {byte} 1")
        says(pair.b.ctl("status", pair.b.path(name)), "not acquired, since its data was stale")
        pair.b.control("fresh")


def pages_that_stay_below(bed):
    """A program has SOURCE's file mapped: its pages cannot be dropped."""
    source = source_with_file(bed)
    mount = bed.mount_migfs(source)
    with open(source + "/image", "rb+") as past, mmap.mmap(past.fileno(), 0) as pages:
        pages[0] = 1
        with open(mount.path + "/image", "rb+"):
            ctl(bed, "acquire", mount.path + "/image")
    logged(mount, "kept pages of the store that could not be dropped")
    mount.umount()


# Files in the way --------------------------------------------------------------------------------


def a_removed_image_that_gets_no_other_name(bed):
    with pair_of(bed) as pair:
        name = pair.image()
        vmm = pair.a.vmm(name)
        vmm.lock(1)
        with open(os.path.join(pair.store, ".migfs", "removed"), "wb"):
            pass
        os.unlink(pair.a.path(name))
        logged(pair.a.above, "is removed while a guest holds it, and cannot get another name")
        vmm.unlock(1)
        vmm.close()  # its file has no name, nor a path


def record_of(source, name="image"):
    return f"{os.stat(os.path.join(source, name)).st_ino:x}"


@contextlib.contextmanager
def attribute(bed, letter, path):
    if bed.run(["chattr", "+" + letter, path], expect=None).returncode != 0:
        testbed.skip("this store has no attributes of chattr")
    try:
        yield
    finally:
        bed.run(["chattr", "-" + letter, path])


def given_over(bed, source):
    mount = bed.mount_migfs(source)
    with open(mount.path + "/image", "rb+"):
        ctl(bed, "acquire", mount.path + "/image")
        ctl(bed, "release", mount.path + "/image")
    mount.umount()


def a_record_that_cannot_be_removed(bed):
    source = source_with_file(bed)
    record = f"{source}/.migfs/{record_of(source)}"
    given_over(bed, source)
    os.unlink(source + "/image")
    os.utime(record, (time.time() - 2 * 86400,) * 2)
    with attribute(bed, "a", source + "/.migfs"):  # its names stay
        mount = bed.mount_migfs(source)
        logged(mount, "of a file that is gone cannot be removed")
        mount.umount()


def a_removed_image_that_cannot_be_collected(bed):
    source = source_with_file(bed)
    number = record_of(source)
    mount = bed.mount_migfs(source)
    with open(mount.path + "/image", "rb+"):
        ctl(bed, "acquire", mount.path + "/image")
        os.unlink(mount.path + "/image")
        says(ctl(bed, "status", mount.path), "removed, and kept reachable until no guest holds it")
    mount.umount()
    os.utime(f"{source}/.migfs/{number}", (time.time() - 86400,) * 2)
    with attribute(bed, "i", f"{source}/.migfs/removed/{number}"):
        mount = bed.mount_migfs(source)
        logged(mount, "cannot be collected")
        mount.umount()


def a_name_that_another_host_gave_away(bed):
    """While this host's rename of it is under way; and the wrong one cannot be removed again."""
    with pair_of(bed) as pair:
        name = pair.image()
        other = pair.image()
        vmm = pair.a.vmm(name)
        vmm.lock(1)
        os.mkdir(os.path.join(pair.store, ".migfs", "removed"), 0o700)
        pair.a.control("freeze names", "fail names EIO 1 1")
        remover = bed.spawn(["rm", "-f", pair.a.path(name)])
        testbed.wait_until(lambda: waits_below(pair.a.above.pid), what="the rename")
        os.rename(os.path.join(pair.store, other), os.path.join(pair.store, name))
        pair.a.control("thaw names")
        remover.wait(30)
        logged(pair.a.above, "a removed file is left as")
        pair.a.control("fail names EIO 0")


def waits_below(pid):
    """A thread of this migfs waits for an answer of the store."""
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/task/{task}/syscall", encoding="ascii") as file:
                if file.read().split()[0] in RENAMES:
                    return True
    return False


# renameat, renameat2 of x86-64; of others by their numbers there.
RENAMES = ("264", "316") if os.uname().machine == "x86_64" else ("38", "276")


def a_file_that_is_given_away(bed):
    with pair_of(bed) as pair:
        name = pair.image()
        path = os.path.join(pair.store, name)
        os.chown(path, USER_UID, USER_GID)
        vmm = pair.a.vmm(name, as_user=True)
        vmm.lock(1)
        pair.a.control("fail open EACCES 100")
        os.chown(path, 0, 0)
        os.chmod(path, 0)
        vmm.error("write 1 0 4096 A")
        vmm.error("fsync 1")
        says(pair.a.ctl("status", pair.a.path(name)), "owner or mode were changed: refused")
        pair.a.control("fail open EACCES 0")


# The command -------------------------------------------------------------------------------------


def init_that_cannot(bed):
    def init(source, words, *arguments, uid=0, as_user=False, before=()):
        program = bed.install("migfsctl") if as_user else binary("migfsctl")
        says(bed.run([*before, program, "init", "--uid", uid, *arguments, source],
                     as_user=as_user, expect=FAILED), words)

    source = new(bed, "source")
    init(source + "/none", "cannot be opened: No such file")
    init(source, "let that user write in SOURCE", uid=USER_UID, as_user=True)
    init(source, "cannot become user 1000", uid=USER_UID,
         before=("setpriv", "--bounding-set=-setgid", "--inh-caps=-setgid"))
    with read_only(bed, source):
        init(source, "see that SOURCE can be written")
    os.mkdir(source + "/.migfs", 0o755)
    with read_only(bed, source):
        init(source, "cannot be given the mode 0700")
    os.chown(source + "/.migfs", USER_UID, USER_GID)
    init(source, "cannot be given to its owner", "--gid", OTHER_GID, uid=USER_UID, as_user=True)
    os.chmod(source + "/.migfs", 0)
    init(source, "cannot be opened; see its owner and mode", uid=USER_UID, as_user=True)
    init_on_a_store_that_fails(bed)


def init_on_a_store_that_fails(bed):
    below = bed.mount_ctofs(new(bed, "store"))
    said = ""
    for operation in ("lookup", "getattr", "fsync"):
        for after in range(CALLS_MOST):
            control(below, f"fail {operation} EIO 1 {after}")
            said += ctl(bed, "init", "--uid", "0", below.path, expect=None).stderr
            control(below, f"fail {operation} EIO 0")
    for words in ("cannot be looked at; see that the store answers", "cannot be made durable"):
        check(words in said, f"never said: {words}: {said}")
    below.umount()


def output_that_cannot_be_written(bed):
    mount = bed.mount_migfs(source_with_file(bed))
    for arguments in (("--help",), ("status", "--follow", mount.path)):
        with open(FULL, "w", encoding="ascii") as full:
            says(ctl(bed, *arguments, expect=FAILED, stdout=full, text=True), "standard output cannot be written: ")
    mount.umount()


def paths_that_are_none(bed):
    mount = bed.mount_migfs(source_with_file(bed))
    os.mkfifo(mount.path + "/fifo")
    says(ctl(bed, "status", mount.path + "/fifo", expect=FAILED), "neither a file nor a directory")
    says(ctl(bed, "status", mount.path + "/none", expect=FAILED), "cannot be reached: No such file")
    says(bed.run([bed.install("migfsctl"), "acquire", mount.path + "/image"], as_user=True,
                 expect=FAILED), "cannot be opened: Permission denied")
    says(ctl(bed, "release", "--group", "me", mount.path, expect=USAGE), "number of a process")
    says(ctl(bed, "doctor", mount.path + "/image", expect=FAILED), "not a directory; name a SOURCE")
    says(ctl(bed, "doctor", "/", "/", expect=USAGE), "takes one MOUNTPOINT or SOURCE, or none")
    mount.umount()


def directories_of_no_mount(bed):
    """As a chroot sees what is mounted outside of it."""
    program, mount = bed.install("migfsctl"), bed.mount_migfs(source_with_file(bed))
    script = """
        for tree in /usr /lib /lib64 /proc; do
            [ -d $tree ] && mkdir -p "$1$tree" && mount --rbind $tree "$1$tree"
        done
        cp "$2" "$1/migfsctl"
        chroot "$1" /migfsctl doctor /"""
    for root in (new(bed, "root"), mount.path + "/root"):
        says(bed.run(["unshare", "-m", "sh", "-c", script, "sh", root, program], expect=FAILED),
             "is on no mount of /proc/self/mountinfo")
    mount.umount()


NO_MIGFS = """
sed -n 's/^\\([^ ]* \\)\\{4\\}\\([^ ]*\\) .* - fuse.migfs .*/\\2/p' /proc/self/mountinfo |
    while read -r path; do umount -l "$path"; done
"""


def no_mount_to_count(bed):
    says(bed.run(["unshare", "-m", "sh", "-c", NO_MIGFS + f"exec {binary('migfsctl')} stats"],
                 expect=NOT_MIGFS), "no migfs is mounted here")


def a_daemon_without_descriptors(bed):
    source = source_with_file(bed)
    for number in range(FILES):
        with open(f"{source}/{number}", "wb"):
            pass
    mount = bed.mount("fuse.migfs", ["prlimit", "--nofile=48:48", binary("migfs"), source,
                                     "MOUNTPOINT"], source)
    held, said = [], ""
    for number in range(FILES):
        with contextlib.suppress(OSError):
            held.append(os.open(f"{mount.path}/{number}", os.O_RDWR))
        if len(held) <= number:  # it has none left, or closes one for each that it opens
            said = ctl(bed, "doctor", mount.path, expect=None).stderr
        if "raise LimitNOFILE= of its unit" in said:
            break
    check("raise LimitNOFILE= of its unit" in said, said)
    for fd in held:
        with contextlib.suppress(OSError):  # the flush may fail, too
            os.close(fd)
    mount.umount()


def a_lock_in_the_way(bed):
    with pair_of(bed) as pair:
        name = pair.image()
        a, b = pair.a.vmm(name), pair.b.vmm(name)
        b.ask("lock 1 w 0 0")
        a.read(1, 0, 512)
        says(pair.a.ctl("acquire", pair.a.path(name), expect=TIMED_OUT),
             "somebody holds a lock that stands in the way")


def a_holder_in_another_pid_namespace(bed):
    source = source_with_file(bed)
    mount = bed.mount("fuse.migfs", ["unshare", "-p", "-f", "--kill-child", binary("migfs"), source,
                                     "MOUNTPOINT"], source)
    with open(mount.path + "/image", "rb+") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        says(ctl(bed, "status", mount.path), "the holder is in another pid namespace")
    mount.umount()


def a_mount_that_passes_through(bed):
    mount = bed.mount_migfs(source_with_file(bed), options="io=passthrough")
    with open(mount.path + "/image", "rb"):
        says(ctl(bed, "status", mount.path), "can still write to it here")
    mount.umount()


def a_watch_that_is_too_slow(bed):
    mount = bed.mount_migfs(source_with_file(bed))
    path = mount.path + "/image"
    with open(path, "rb+") as file, open(path, "rb+"):
        watch = bed.spawn([binary("migfsctl"), "watch", path], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)
        check("PATH" in watch.stdout.readline(), "no heads")
        watch.send_signal(signal.SIGSTOP)
        for _ in range(EVENTS_KEPT // 2 + 1):
            for command in (ioctls.ACQUIRE, ioctls.RELEASE):
                check(ioctls.call(file.fileno(), command, ioctls.handoff_argument())[0] == 0,
                      "no hand-over")
        watch.send_signal(signal.SIGCONT)
        said = watch.stderr.readline()
        testbed.keep_said(said)
        check("too slow: some transitions are not shown" in said, said)
        watch.kill()
        watch.wait()
    mount.umount()


# Doctor -------------------------------------------------------------------------------------------


def a_check_that_is_killed(bed):
    below = bed.mount_ctofs(source_with_file(bed))
    control(below, "freeze")
    doctor = bed.spawn([binary("migfsctl"), "doctor", below.path], stdout=subprocess.DEVNULL,
                       stderr=subprocess.PIPE, text=True)
    os.kill(int(testbed.wait_until(lambda: children(doctor.pid), what="the check")[0]),
            signal.SIGKILL)
    control(below, "thaw")
    said = doctor.communicate(timeout=30)[1]
    testbed.keep_said(said)
    check("the check ended by signal 9; run it again" in said, said)
    below.umount()


def more_than_doctor_names(bed):
    source = new(bed, "source")
    mount = bed.mount_migfs(source)
    names = [f"image{number}" for number in range(DOCTOR_NAMES + 1)]
    for name in names:
        with open(f"{mount.path}/{name}", "wb+"):
            ctl(bed, "acquire", f"{mount.path}/{name}")
            ctl(bed, "release", f"{mount.path}/{name}")
    os.makedirs(source + "/deep" * (DOCTOR_DEPTH + 1))
    with contextlib.ExitStack() as past:
        for name in names:
            past.enter_context(open(f"{source}/{name}", "wb")).write(b"restored")
        said = ctl(bed, "doctor", mount.path, expect=None).stdout
    for words in ("and 1 more of them; mend: see them by lsof +D SOURCE",
                  "and 1 more images; mend: see to these first", "not all files were looked at"):
        check(words in said, f"not said: {words}: {said}")
    mount.umount()


CHECKS = (
    limits_of_who_mounts, a_device_of_root_alone, a_source_that_cannot_be_reached,
    a_daemon_that_is_killed_before_it_serves, stores_without_records,
    a_source_that_the_kernel_does_not_pass_through, a_log_that_nobody_reads,
    whatever_fails, locks_that_stay,
    a_record_that_cannot_be_locked, an_unmount_that_cannot_hand_over,
    a_group_that_is_not_taken_back, a_directory_of_which_some_fail, a_fenced_file, stale_data,
    pages_that_stay_below, a_removed_image_that_gets_no_other_name,
    a_record_that_cannot_be_removed, a_removed_image_that_cannot_be_collected,
    a_name_that_another_host_gave_away, a_file_that_is_given_away,
    init_that_cannot, output_that_cannot_be_written, paths_that_are_none, directories_of_no_mount,
    no_mount_to_count, a_daemon_without_descriptors, a_lock_in_the_way,
    a_holder_in_another_pid_namespace, a_mount_that_passes_through, a_watch_that_is_too_slow,
    a_check_that_is_killed, more_than_doctor_names)


if __name__ == "__main__":
    testbed.main(lambda: testbed.run_checks("messages", CHECKS, deadline_s=120))
