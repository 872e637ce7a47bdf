#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Mounting and unmounting as everybody does, and what bad input gets: exit codes 0, 1, 2 and 32, one
line that names the thing, nothing mounted.

cli.py [CHECK]...
"""

import errno
import fcntl
import os
import signal
import stat
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import testbed  # noqa: E402
from testbed import binary, check, is_mounted, mount_entry  # noqa: E402

USAGE, SYSTEM, UNUSABLE = 1, 2, 32
# What a process sees of a mount that is gone; which of them is the kernel's choice.
GONE = (errno.EIO, errno.ENOTCONN, errno.ECONNABORTED)


def errno_of(function, *arguments, **keywords):
    try:
        function(*arguments, **keywords)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "ok"


def source_with_file(bed, name=None):
    source = bed.directory(name or os.path.basename(bed.unique("source")))
    with open(os.path.join(source, "image"), "w", encoding="ascii") as file:
        file.write("content")
    return source


def content(directory):
    with open(os.path.join(directory, "image"), encoding="ascii") as file:
        return file.read()


def mountpoint_in(bed):
    return bed.directory(os.path.basename(bed.unique("mnt")))


def gone(mount):
    check(not is_mounted(mount.path), f"{mount.path} is still mounted")


# Mounting ------------------------------------------------------------------------------------------


def mounts_and_returns(bed):
    """Returns 0 once the mount serves, holding no pipe of its caller; umount ends the daemon."""
    source, path = source_with_file(bed), mountpoint_in(bed)
    result = bed.run([binary("migfs"), source, path], timeout_s=30)
    check(result.stdout == "" and result.stderr == "", f"says {result.stdout}{result.stderr}")
    check(content(path) == "content", "the file is not there")
    pid = bed.find_daemon(path)
    check(pid is not None, "no daemon whose arguments name the mountpoint")
    check(os.getsid(pid) != os.getsid(0), "the daemon is in its caller's session")
    check(os.readlink(f"/proc/{pid}/cwd") == "/", "the daemon holds its caller's directory")
    bed.run(["umount", path])
    check(testbed.wait_exit(pid, 10), "the daemon still runs after umount")


def mount_table_entry(bed):
    source = source_with_file(bed)
    mount = bed.mount_migfs(source, daemon=True)
    _, _, _, kind, name, options = mount_entry(mount.path)
    check(kind == "fuse.migfs", f"type {kind}")
    check(name == source, f"mounted from {name}, not {source}")
    check("allow_other" in options.split(","), f"root's default is allow_other: {options}")
    mount.umount()


def every_user_sees_it(bed):
    mount = bed.mount_migfs(source_with_file(bed))
    os.chmod(os.path.join(mount.source, "image"), 0o600)
    bed.run(["ls", mount.path], as_user=True)
    result = bed.run(["cat", os.path.join(mount.path, "image")], as_user=True, expect=None)
    check(result.returncode != 0 and "Permission denied" in result.stderr, "0600 was readable")
    mount.umount()


# As after an installation: migfs where mount(8) and its helper find it, /dev/fuse open to all, in a
# mount namespace of the script's own, and with the set-user-id fusermount3 of the system, also where
# libfuse is from a prefix without. $1 is migfs, $2 a directory for the device.
INSTALLED = """
set -e
mount -t tmpfs none /usr/local/sbin
ln -s "$1" /usr/local/sbin/migfs
mknod -m 666 "$2/fuse" c 10 229
mount --bind "$2/fuse" /dev/fuse
library=$(ldd "$1" | sed -n 's/.*libfuse3.* => \\([^ ]*\\) .*/\\1/p')
own=${library%/lib/*}/bin/fusermount3
if [ -e "$own" ] && [ ! -u "$own" ]; then mount --bind "$(command -v fusermount3)" "$own"; fi
shift 2
"""


def installed(bed, script, *arguments, **keywords):
    """Runs a shell script ($1… are the arguments) where migfs is installed."""
    return bed.run(["unshare", "-m", "sh", "-c", INSTALLED + script, "sh", bed.install("migfs"),
                    bed.directory(os.path.basename(bed.unique("dev"))), *arguments],
                   timeout_s=40, **keywords)


def mount_command(bed):
    """mount -t fuse.migfs SOURCE MOUNTPOINT -o …"""
    testbed.require_tools("mount.fuse3", "findmnt")
    source, path = source_with_file(bed), mountpoint_in(bed)
    said = installed(bed, """
        mount -t fuse.migfs "$1" "$2" -o rw,noatime,profile=qemu
        findmnt -n -o FSTYPE,SOURCE,OPTIONS "$2"
        cat "$2/image"
        umount "$2"
        if mount -t fuse.migfs "$1" "$2" -o profile=nonsense; then echo mounted; fi
        findmnt -n "$2" || echo nothing there
        """, source, path)
    kind, name, options = said.stdout.splitlines()[0].split()
    check(kind == "fuse.migfs" and name == source and "noatime" in options.split(","), said.stdout)
    check(said.stdout.splitlines()[1:] == ["contentnothing there"], f"{said.stdout}")
    check("nonsense" in said.stderr, f"says {said.stderr!r}")


def fstab_line(bed):
    testbed.require_tools("mount.fuse3")
    source, path = source_with_file(bed), mountpoint_in(bed)
    table = bed.unique("fstab")
    with open(table, "w", encoding="ascii") as file:
        file.write(f"{source} {path} fuse.migfs "
                   "defaults,_netdev,nofail,noauto,x-systemd.automount,fence=strict 0 0\n")
    said = installed(bed, 'mount -T "$1" "$2"; cat "$2/image"; umount "$2"', table, path)
    check(said.stdout == "content", f"{said.stdout!r}")


def fusermount(bed):
    mount = bed.mount_migfs(source_with_file(bed), daemon=True)
    bed.run(["fusermount3", "-u", mount.path])
    mount.wait_end()
    gone(mount)


def foreground(bed):
    """-f logs to stderr and ends with 0 after umount."""
    mount = bed.mount_migfs(source_with_file(bed))
    check(content(mount.path) == "content", "the file is not there")
    mount.umount()
    gone(mount)


def odd_paths(bed):
    """Spaces, commas, backslashes, colons and bytes above 127 in SOURCE and MOUNTPOINT."""
    for name in ("a b", "a,b=c", "a\\b", "a:b", "umläut", "-dash", "a\nb", "a#b", "x" * 200):
        source = source_with_file(bed, f"odd/source/{name}")
        path = bed.directory(f"odd/mnt/{name}")
        mount = bed.mount_migfs(source, path)
        check(content(path) == "content", f"{name!r}: the file is not there")
        mount.umount()


def relative_paths(bed):
    """Relative, by a symbolic link, with a slash at the end."""
    source_with_file(bed, "rel/source")
    path = bed.directory("rel/mnt")
    os.symlink("mnt", os.path.join(bed.root, "rel/link"))
    os.symlink("source", os.path.join(bed.root, "rel/sourcelink"))
    for where in (("source", "mnt"), ("./source/", "mnt/"), ("sourcelink", "link"),
                  ("../rel/source", "./mnt")):
        bed.run([binary("migfs"), *where], cwd=os.path.join(bed.root, "rel"), timeout_s=30)
        check(is_mounted(path), f"{where}: not mounted")
        check(content(path) == "content", f"{where}: the file is not there")
        check(mount_entry(path)[4] == os.path.join(bed.root, "rel/source"),
              f"{where}: mounted from {mount_entry(path)[4]}")
        bed.run(["umount", path])


def arguments_in_any_order(bed):
    source, path = source_with_file(bed), mountpoint_in(bed)
    for argv in (["-o", "noatime", source, path], [source, "-o", "noatime", path],
                 [source, path, "-onoatime"], ["-o", "noatime", "-o", "nodev", "--", source, path]):
        bed.run([binary("migfs"), *argv], timeout_s=30)
        check("noatime" in mount_entry(path)[5], f"{argv}: {mount_entry(path)}")
        bed.run(["umount", path])


def same_source_twice(bed):
    """Two mounts of one SOURCE show the same, at once."""
    source = source_with_file(bed)
    one, two = bed.mount_migfs(source), bed.mount_migfs(source)
    check("ENOENT" == errno_of(os.stat, two.path + "/new"), "new is there")
    with open(one.path + "/new", "w", encoding="ascii") as file:
        file.write("x")
    check(os.stat(two.path + "/new").st_size == 1, "new is not there")
    os.rename(one.path + "/new", one.path + "/newer")
    check(errno_of(os.stat, two.path + "/new") == "ENOENT", "new is still there")
    check(os.stat(two.path + "/newer").st_ino == os.stat(source + "/newer").st_ino,
          "another inode number")
    one.umount()
    two.umount()


# Options -------------------------------------------------------------------------------------------


def help_and_version(bed):
    for option in ("--help", "-h"):
        text = bed.run([binary("migfs"), option]).stdout
        for word in ("SOURCE", "MOUNTPOINT", "io=", "profile=", "fence=", "standby=", "record=",
                     "protect=", "deadline=", "coherence=", "io_uring="):
            check(word in text, f"{option} does not mention {word}")
    for option in ("--version", "-V"):
        text = bed.run([binary("migfs"), option]).stdout
        check(text.startswith("migfs ") and any(c.isdigit() for c in text), f"{option}: {text!r}")


def generic_options(bed):
    source = source_with_file(bed)
    for option in ("allow_other", "fsname=name", "subtype=sub", "ro", "rw", "dev", "nodev", "suid",
                   "nosuid", "exec", "noexec", "atime", "noatime", "defaults", "_netdev", "nofail",
                   "auto", "noauto", "user", "x-anything", "x-systemd.requires=/a/b"):
        mount = bed.mount_migfs(source, options=option)
        options = mount_entry(mount.path)[5].split(",")
        if option in ("ro", "nodev", "nosuid", "noexec", "noatime"):
            check(option in options, f"{option} is lost: {options}")
        if option in ("dev", "suid", "exec"):
            check("no" + option not in options, f"{option}: {options}")
        if option == "fsname=name":
            check(mount_entry(mount.path)[4] == "name", f"{mount_entry(mount.path)}")
        if option == "subtype=sub":
            check(mount_entry(mount.path)[3] == "fuse.sub", f"{mount_entry(mount.path)}")
        mount.umount()


def own_options(bed):
    source = source_with_file(bed)
    for option in ("io=daemon", "profile=auto", "profile=qemu", "profile=range", "profile=flock",
                   "profile=none", "fence=release", "fence=strict", "fence=off", "standby=direct",
                   "standby=cached", "record=on", "record=off", "protect=on", "protect=off",
                   "io_uring=on", "io_uring=off", "deadline=3000", "deadline=500",
                   "coherence=on", "coherence=off", "io=daemon,profile=none,record=off"):
        mount = bed.mount_migfs(source, options=option)
        check(content(mount.path) == "content", f"{option}: the file is not there")
        mount.umount()


def passthrough(bed):
    """io=passthrough serves where the kernel can, and is refused with a message where not."""
    source, path = source_with_file(bed), mountpoint_in(bed)
    result = bed.run([binary("migfs"), source, path, "-o", "io=passthrough"], expect=None,
                     timeout_s=30)
    if result.returncode == 0:
        check(content(path) == "content", "the file is not there")
        bed.run(["umount", path])
        return
    check(result.returncode == UNUSABLE, f"status {result.returncode}")
    check("passthrough" in result.stderr, f"says {result.stderr!r}")
    check(not is_mounted(path), "mounted")


def read_only(bed):
    source = source_with_file(bed)
    mount = bed.mount_migfs(source, options="ro")
    image = os.path.join(mount.path, "image")
    check(content(mount.path) == "content", "the file is not there")
    for call in ((os.open, image, os.O_RDWR), (os.unlink, image), (os.chmod, image, 0o600),
                 (os.mkdir, image + ".d"), (os.truncate, image, 0), (os.utime, image),
                 (os.setxattr, image, "user.x", b"x"), (os.rename, image, image + "2")):
        check(errno_of(*call) == "EROFS", f"{call[0].__name__}: {errno_of(*call)}")
    mount.umount()
    check(content(source) == "content", "changed")


def record_directory_hidden(bed):
    """.migfs is at the root of SOURCE, for its owner alone, and not there in the mount."""
    source = source_with_file(bed)
    mount = bed.mount_migfs(source)
    inside, name = os.path.join(mount.path, ".migfs"), os.path.join(source, ".migfs")
    status = os.stat(name)
    check(stat.S_ISDIR(status.st_mode) and stat.S_IMODE(status.st_mode) == 0o700
          and status.st_uid == 0, f"{stat.filemode(status.st_mode)} {status.st_uid}")
    check(sorted(os.listdir(mount.path)) == ["image"], f"lists {os.listdir(mount.path)}")
    image = os.path.join(mount.path, "image")
    for call, expected in (((os.stat, inside), "ENOENT"), ((os.listdir, inside), "ENOENT"),
                           ((os.stat, inside + "/x"), "ENOENT"), ((os.mkdir, inside), "EPERM"),
                           ((os.open, inside, os.O_CREAT | os.O_RDWR), "EPERM"),
                           ((os.symlink, "x", inside), "EPERM"), ((os.link, image, inside), "EPERM"),
                           ((os.mkfifo, inside), "EPERM"), ((os.rename, image, inside), "EPERM"),
                           ((os.rename, inside, image), "ENOENT"), ((os.rmdir, inside), "ENOENT"),
                           ((os.unlink, inside), "ENOENT"), ((os.open, inside, os.O_RDONLY), "ENOENT")):
        check(errno_of(*call) == expected,
              f"{call[0].__name__} {call[1:]}: {errno_of(*call)}, not {expected}")
    os.mkdir(mount.path + "/sub")
    os.mkdir(mount.path + "/sub/.migfs")
    check(os.listdir(mount.path + "/sub") == [".migfs"], "hidden below the root, too")
    os.rmdir(mount.path + "/sub/.migfs")
    os.rmdir(mount.path + "/sub")
    mount.umount()


def record_directory_hidden_by_another_name(bed):
    """What is hidden is the directory, as where a store folds case: here by a bind mount."""
    source = source_with_file(bed)
    os.mkdir(source + "/alias")
    os.mkdir(source + "/.migfs", 0o700)
    bed.run(["mount", "--bind", source + "/.migfs", source + "/alias"])
    mount = bed.mount_migfs(source)
    os.mkdir(mount.path + "/sub")
    for parent in (mount.path, mount.path + "/sub"):
        for name in os.listdir(parent):  # with attributes: what a listing tells is not served either
            check(errno_of(os.listdir, f"{parent}/{name}") != "ok" or name == "sub", f"{name} opens")
    inside, image = mount.path + "/alias", mount.path + "/image"
    for call, expected in (((os.stat, inside), "ENOENT"), ((os.listdir, inside), "ENOENT"),
                           ((os.mkdir, inside), "EPERM"),
                           ((os.open, inside, os.O_CREAT | os.O_RDWR), "EPERM"),
                           ((os.open, inside, os.O_CREAT | os.O_EXCL | os.O_RDWR), "EPERM"),
                           ((os.symlink, "x", inside), "EPERM"), ((os.link, image, inside), "EPERM"),
                           ((os.rename, mount.path + "/sub", inside), "EPERM"),
                           ((os.rename, image, inside), "EPERM"), ((os.rmdir, inside), "ENOENT"),
                           ((os.mkdir, mount.path + "/sub"), "EEXIST")):
        check(errno_of(*call) == expected,
              f"{call[0].__name__} {call[1:]}: {errno_of(*call)}, not {expected}")
    mount.umount()
    bed.run(["umount", source + "/alias"])


# Bad input -----------------------------------------------------------------------------------------


def refused(bed, argv, status, names, mountpoint=None, wrapper=(), **keywords):
    """The command ends with status, one line that names the thing, and nothing more mounted."""
    before = mount_entry(mountpoint) if mountpoint else None
    result = bed.run([*wrapper, binary("migfs"), *argv], expect=None, timeout_s=30, **keywords)
    said = result.stderr.strip("\n")
    check(result.returncode == status, f"{argv}: status {result.returncode}, not {status}: {said}")
    check(len(said.splitlines()) == 1, f"{argv}: not one line: {said!r}")
    check(said.startswith("migfs: "), f"{argv}: does not say who speaks: {said!r}")
    check(names in said, f"{argv}: does not name {names}: {said!r}")
    if mountpoint:
        check(mount_entry(mountpoint) == before, f"{argv}: mounted")


def bad_usage(bed):
    source, path = source_with_file(bed), mountpoint_in(bed)
    for argv, names in (([], "SOURCE"), ([source], "MOUNTPOINT"), ([source, path, "more"], "more"),
                        (["--nonsense", source, path], "nonsense"),
                        ([source, path, "-z"], "z"), ([source, path, "-o"], "o")):
        refused(bed, argv, USAGE, names, path)


def bad_options(bed):
    source, path = source_with_file(bed), mountpoint_in(bed)
    for option in ("nonsense", "nonsense=1", "noatime,nonsense", "io=nonsense", "io=", "io",
                   "profile=nonsense", "fence=nonsense", "standby=nonsense", "record=nonsense",
                   "protect=nonsense", "protect=", "protect", "coherence=nonsense",
                   "io_uring=nonsense", "deadline=nonsense", "deadline=", "deadline=-1",
                   "deadline=3000x", "deadline=99999999999999999999", "deadline=1e3",
                   "IO=daemon", "profile=QEMU", "default_permissions=1"):
        names = option.rpartition(",")[2].partition("=")[0]
        refused(bed, [source, path, "-o", option], USAGE, names, path)


def bad_source(bed):
    path = mountpoint_in(bed)
    missing = os.path.join(bed.root, "missing-source")
    refused(bed, [missing, path], UNUSABLE, missing, path)
    file = os.path.join(source_with_file(bed), "image")
    refused(bed, [file, path], UNUSABLE, file, path)
    refused(bed, ["", path], USAGE, "SOURCE", path)


def bad_mountpoint(bed):
    source = source_with_file(bed)
    missing = os.path.join(bed.root, "missing-mountpoint")
    refused(bed, [source, missing], UNUSABLE, missing, missing)
    file = os.path.join(source_with_file(bed), "image")
    refused(bed, [source, file], UNUSABLE, file, file)
    refused(bed, [source, ""], USAGE, "MOUNTPOINT")


def nested(bed):
    source = source_with_file(bed)
    below = os.path.join(source, "below")
    os.mkdir(below)
    link = bed.unique("link")
    os.symlink(below, link)
    refused(bed, [source, source], UNUSABLE, source, source)
    refused(bed, [source, below], UNUSABLE, below, below)
    refused(bed, [below, source], UNUSABLE, source, source)
    refused(bed, [source, link], UNUSABLE, link, below)
    check(os.listdir(below) == [], "left something behind")
    # a sibling whose name begins as SOURCE's is none of these
    sibling = bed.directory(os.path.basename(source) + "-beside")
    bed.mount_migfs(source, sibling).umount()


def busy(bed):
    """A second migfs on the mountpoint; another filesystem there; a migfs as SOURCE."""
    source, other = source_with_file(bed), source_with_file(bed)
    mount = bed.mount_migfs(source)
    refused(bed, [source, mount.path], UNUSABLE, mount.path, mount.path)
    refused(bed, [other, mount.path], UNUSABLE, mount.path, mount.path)
    path = mountpoint_in(bed)
    refused(bed, [mount.path, path], UNUSABLE, mount.path, path)
    os.mkdir(os.path.join(source, "sub"))
    refused(bed, [os.path.join(mount.path, "sub"), path], UNUSABLE, mount.path, path)
    check(content(mount.path) == "content", "the first mount no longer serves")
    mount.umount()
    bound = bed.mount_bind(other, path)
    refused(bed, [source, path], UNUSABLE, path, path)
    bed.run(["umount", bound.path])


def no_device(bed):
    """Without /dev/fuse: 2."""
    source, path = source_with_file(bed), mountpoint_in(bed)
    refused(bed, [source, path], SYSTEM, "/dev/fuse", path,
            wrapper=["unshare", "-m", "sh", "-c", 'mount -t tmpfs none /dev && exec "$@"', "sh"])


# Unprivileged --------------------------------------------------------------------------------------


AS_USER = (f"setpriv --reuid {testbed.USER_UID} --regid {testbed.USER_GID} --clear-groups "
           "--inh-caps=-all ")


def user_mount(bed):
    """An ordinary user mounts, uses and unmounts what is his; root does not see it."""
    testbed.require_tools("fusermount3", "setpriv", "findmnt")
    source, path = source_with_file(bed), mountpoint_in(bed)
    for owned in (source, path, os.path.join(source, "image")):
        os.chown(owned, testbed.USER_UID, testbed.USER_GID)
    said = installed(bed, f"""
        {AS_USER} migfs "$1" "$2"
        {AS_USER} sh -c 'cd "$1" && cat image && echo && echo new >file && mv file file2 &&
            chmod 600 file2 && stat -c %u:%a file2 && rm file2' sh "$2"
        ls "$2" 2>&1 || echo not for root
        {AS_USER} fusermount3 -u "$2"
        findmnt -n "$2" || echo ended
        """, source, path)
    lines = said.stdout.splitlines()
    check(lines[:2] == ["content", "1000:600"], f"{lines}")
    check(lines[-2:] == ["not for root", "ended"], f"{lines}")


def user_refused(bed):
    """What FUSE does not allow a user gets a message, not a mount."""
    testbed.require_tools("fusermount3", "setpriv", "findmnt")
    for options, mine in (("-oio=passthrough", True), ("-oallow_other", True), ("-onoatime", False)):
        source, path = source_with_file(bed), mountpoint_in(bed)
        if mine:
            os.chown(source, testbed.USER_UID, testbed.USER_GID)
            os.chown(path, testbed.USER_UID, testbed.USER_GID)
        said = installed(bed, f"""
            status=0
            {AS_USER} migfs "$1" "$2" $3 || status=$?
            findmnt -n "$2" || echo "nothing there, status $status"
            """, source, path, options)
        check(said.stdout == f"nothing there, status {UNUSABLE}\n", f"{options}: {said.stdout!r} "
              f"{said.stderr!r}")
        check(said.stderr.startswith("migfs: ") or "\nmigfs: " in said.stderr,
              f"{options}: says {said.stderr!r}")


# Signals -------------------------------------------------------------------------------------------


def signals_unmount(bed):
    for number in (signal.SIGTERM, signal.SIGINT):
        mount = bed.mount_migfs(source_with_file(bed))
        mount.signal(number)
        mount.wait_end()
        gone(mount)
    mount = bed.mount_migfs(source_with_file(bed), daemon=True)
    mount.signal(signal.SIGTERM)
    mount.wait_end()
    gone(mount)


def signal_with_open_files(bed):
    """Files that are open lose the mount: an error, the log names them, the lock below is free."""
    source = source_with_file(bed)
    mount = bed.mount_migfs(source)
    fd = os.open(os.path.join(mount.path, "image"), os.O_RDWR)
    other = os.open(os.path.join(mount.path, "image"), os.O_RDONLY)
    fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.write(fd, b"CONTENT")
    backing = os.open(os.path.join(source, "image"), os.O_RDWR)
    check(errno_of(fcntl.lockf, backing, fcntl.LOCK_EX | fcntl.LOCK_NB) in ("EAGAIN", "EACCES"),
          "the lock is not on the backing file")
    mount.signal(signal.SIGTERM)
    mount.wait_end()
    gone(mount)
    check("image" in mount.log_text(), "the log does not name the open file")
    for call in ((os.write, fd, b"late"), (os.fsync, fd), (os.pread, other, 10, 100000)):
        try:
            call[0](*call[1:])
            result = 0
        except OSError as error:
            result = error.errno
        check(result in GONE or call[0] is os.pread and result == 0,
              f"{call[0].__name__}: {errno.errorcode.get(result, 'ok')}")
    check(errno_of(fcntl.lockf, backing, fcntl.LOCK_EX | fcntl.LOCK_NB) == "ok",
          "the lock is still on the backing file")
    os.close(backing)
    check(content(source) == "CONTENT", "what was acknowledged is lost")
    for descriptor in (fd, other):
        try:
            os.close(descriptor)
        except OSError:
            pass  # the kernel may report the end of the connection here


def killed_daemon(bed):
    """SIGKILL leaves a dead mountpoint that umount clears and that mounts again."""
    source = source_with_file(bed)
    mount = bed.mount_migfs(source)
    mount.kill()
    check(errno_of(os.stat, mount.path + "/image") in [errno.errorcode[e] for e in GONE],
          "a killed daemon serves")
    mount.abort()
    again = bed.mount_migfs(source, mount.path)
    check(content(again.path) == "content", "the file is not there")
    again.umount()


def umount_while_busy(bed):
    """umount of a mount in use is EBUSY and harms nothing; a lazy one ends when the last file closes."""
    source = source_with_file(bed)
    mount = bed.mount_migfs(source)
    fd = os.open(os.path.join(mount.path, "image"), os.O_RDWR)
    result = bed.run(["umount", mount.path], expect=None)
    check(result.returncode == UNUSABLE, f"umount: {result.returncode}")
    os.write(fd, b"still")
    bed.run(["umount", "-l", mount.path])
    os.pwrite(fd, b"STILL", 0)
    os.fsync(fd)
    os.close(fd)
    mount.wait_end()
    check(content(source) == "STILLnt", f"{content(source)}")


CHECKS = (
    mounts_and_returns, mount_table_entry, every_user_sees_it, mount_command, fstab_line, fusermount,
    foreground, odd_paths, relative_paths, arguments_in_any_order, same_source_twice,
    help_and_version, generic_options, own_options, passthrough, read_only, record_directory_hidden,
    record_directory_hidden_by_another_name,
    bad_usage, bad_options, bad_source, bad_mountpoint, nested, busy, no_device, user_mount,
    user_refused, signals_unmount, signal_with_open_files, killed_daemon, umount_while_busy)


if __name__ == "__main__":
    testbed.main(lambda: testbed.run_checks("cli", CHECKS))
