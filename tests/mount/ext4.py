#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a local ext4 keeps from its users it keeps from them on a mount, too.

ext4.py [CHECK]...
"""

import errno
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import testbed  # noqa: E402
from testbed import check, skip  # noqa: E402

MIB = 1 << 20
CAP_SYS_RESOURCE = 24
NOBODYS_UID = 4711  # whose the reserved blocks are: not the daemon's


def write(path, data):
    with open(path, "wb") as file:
        file.write(data)


def errno_of(function, *arguments):
    try:
        function(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "ok"


def require_resource():
    """Root without CAP_SYS_RESOURCE, as in a container, is bound like anybody."""
    with open("/proc/self/status", encoding="ascii") as file:
        effective = next(line.split()[1] for line in file if line.startswith("CapEff:"))
    if not int(effective, 16) & 1 << CAP_SYS_RESOURCE:
        skip("needs CAP_SYS_RESOURCE")


def mounted_ext4(bed, *features, options="defaults"):
    """A directory, everybody's, of a small ext4, half of which is reserved."""
    testbed.require_tools("mkfs.ext4")
    image, source = bed.unique("image"), bed.directory("source")
    with open(image, "wb") as file:
        file.truncate(64 * MIB)
    bed.run(["mkfs.ext4", "-q", "-m", "50", *features, image])
    if bed.run(["mount", "-o", f"loop,{options}", image, source], expect=None).returncode != 0:
        skip(f"no loop device, or the kernel's ext4 lacks {' '.join(features) or 'nothing'}")
    os.chmod(source, 0o1777)
    return source


def remove(bed, path):
    """Its blocks are free when the journal has it."""
    os.unlink(path)
    bed.run(["sync", "-f", os.path.dirname(path)])


def write_all(bed, path, as_user):
    """MiB until there is no room."""
    ended = bed.run(["dd", "if=/dev/zero", "bs=64K", "conv=fsync", f"of={path}"], as_user=as_user,
                    expect=1)
    check("No space left" in ended.stderr, ended.stderr)
    written = os.path.getsize(path) // MIB
    remove(bed, path)
    return written


def allocates(bed, path, as_user):
    """Whether there is room for more than is everybody's."""
    ended = bed.run(["fallocate", "--length", f"{40 * MIB}", path], as_user=as_user, expect=None)
    remove(bed, path)
    return ended.returncode == 0


def reserved_from_writes(bed):
    """On one mount, for root and a user in turns."""
    require_resource()
    source = mounted_ext4(bed, options=f"resuid={NOBODYS_UID}")
    inside = bed.mount_stack(source).path
    for as_user in (True, False, True, False):
        below = write_all(bed, source + "/below", as_user)
        above = write_all(bed, inside + "/above", as_user)
        check((above < 40) == as_user, f"{above} MiB, as_user={as_user}")
        check(abs(below - above) <= 1, f"{above} MiB, {below} below, as_user={as_user}")


def reserved_from_allocations(bed):
    require_resource()
    source = mounted_ext4(bed)
    inside = bed.mount_stack(source).path
    for as_user in (True, False, True, False):
        for path in (source + "/below", inside + "/above"):
            check(allocates(bed, path, as_user) != as_user, f"{path}, as_user={as_user}")


def quota_binds_users(bed):
    """Blocks and inodes; root goes on, with a file of the user's too."""
    require_resource()
    testbed.require_tools("setquota")
    source = mounted_ext4(bed, "-O", "quota", options="usrquota")
    bed.run(["setquota", "-u", str(testbed.USER_UID), "0", "8192", "0", "4", source])
    inside = bed.mount_stack(source).path
    for directory in (source, inside):
        path = directory + "/f"
        for as_user in (True, False, True):
            ended = bed.run(["dd", "if=/dev/zero", "bs=64K", "count=256", "conv=fsync,notrunc",
                             f"of={path}"], as_user=as_user, expect=None)
            check(("Disk quota exceeded" in ended.stderr) == as_user,
                  f"{path}, as_user={as_user}: {ended.stderr}")
            bed.run(["truncate", "-s", "0", path])
        check(os.stat(path).st_uid == testbed.USER_UID, "not the user's file")
        names = [f"{directory}/{i}" for i in range(6)]
        ended = bed.run(["touch", *names], as_user=True, expect=1)
        check("Disk quota exceeded" in ended.stderr, f"{directory}: {ended.stderr}")
        bed.run(["rm", "-f", path, *names])


def folded_names(bed):
    """The records' directory is hidden in every case, however it was spelt when it was made."""
    source = mounted_ext4(bed, "-O", "casefold")
    bed.run(["rmdir", source + "/lost+found"])
    for spelt in (".migfs", ".Migfs"):
        root = f"{source}/{spelt[1:]}"
        os.mkdir(root)
        bed.run(["chattr", "+F", root])
        os.mkdir(f"{root}/{spelt}", 0o700)
        write(root + "/image", b"x")
        os.mkdir(root + "/sub")
        os.chmod(root, 0o1777)
        inside = bed.mount_stack(root).path
        check(sorted(os.listdir(inside)) == ["image", "sub"], f"lists {os.listdir(inside)}")
        check(os.stat(inside + "/IMAGE").st_size == 1, "does not fold case")
        for name in (".migfs", ".MIGFS", ".Mi\u200dgf\u017f"):
            path = f"{inside}/{name}"
            for call, right in (((os.stat, path), "ENOENT"), ((os.listdir, path), "ENOENT"),
                                ((os.mkdir, path), "EPERM"), ((os.mkfifo, path), "EPERM"),
                                ((os.open, path, os.O_CREAT | os.O_RDWR), "EPERM"),
                                ((os.rename, inside + "/sub", path), "EPERM"),
                                ((os.rename, inside + "/image", path), "EPERM"),
                                ((os.rename, path, inside + "/x"), "ENOENT"),
                                ((os.rmdir, path), "ENOENT")):
                check(errno_of(*call) == right, f"{call}: {errno_of(*call)}, not {right}")
        check(os.listdir(root + "/.migfs") == ["hosts"], "something else is in it")


CHECKS = (reserved_from_writes, reserved_from_allocations, quota_binds_users, folded_names)


if __name__ == "__main__":
    testbed.main(lambda: testbed.run_checks("ext4", CHECKS))
