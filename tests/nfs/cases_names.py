# SPDX-License-Identifier: GPL-2.0-or-later
"""Names, owners and modes of images change under a guest; exports lie below exports.

Wherever bare NFS is right the stack must be, with the same errors and no new ones: what a cell does
through its stack it does on the bare mounts, too, with a file of its own, and compares.
"""
import contextlib
import errno
import functools
import os
import shutil

import calls
import cell as cells
import testbed
from scenario import expect

ONCE = (cells.RAW,)
BARE = ("bare",)
COMPARES = "what bare NFS gives is in the case, and is right"


def answer(function, *arguments):
    """What a call gives: its result, or the name of its error."""
    try:
        return function(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]


# ---- names that go ----

def names_leave_nothing(site, _image):
    """A file that nobody has open goes with its name: an NFS client keeps one that is open here
    under another name, and its directory cannot be removed."""
    folder = site.a.path("folder")
    os.mkdir(folder)

    def made(name):
        path = f"{folder}/{name}"
        with open(path, "wb") as file:
            file.write(b"x")
        return path

    def left(*names):
        found = sorted(os.listdir(f"{site.store}/folder"))
        expect(found == sorted(names), f"in the directory: {found}")

    os.unlink(made("one"))
    left()
    os.rename(made("new"), made("old"))
    left("old")
    os.link(f"{folder}/old", f"{folder}/other")
    os.unlink(f"{folder}/old")
    left("other")
    with open(f"{folder}/other", "rb") as other:
        expect(other.read() == b"x", "the other name is of another file")
    os.unlink(f"{folder}/other")
    os.mkfifo(f"{folder}/fifo")
    os.symlink("nowhere", f"{folder}/link")
    os.unlink(f"{folder}/fifo")
    os.unlink(f"{folder}/link")
    left()
    for count in range(20):
        made(f"file{count}")
    shutil.rmtree(folder)


# ---- numbers that come again ----

def gives_out_again(path, number):
    """Makes another file of this number, with the name of the one that had it; or False: the server
    has given it to another cell."""
    others = []

    def comes():
        others.append(f"{path}.{len(others)}")
        with open(others[-1], "wb") as file:
            file.write(b"the later one")
        return os.stat(others[-1]).st_ino == number

    try:
        testbed.wait_until(comes, timeout_s=5)  # once the server has closed the earlier one
        os.rename(others.pop(), path)
        return True
    except testbed.TestFailure:
        return False
    finally:
        for other in others:
            os.unlink(other)


def known_then_replaced(site, host, name):
    """The inode number of a file that a host knows goes to another file, which has its name: what
    the host reads then, and of what length."""
    for attempt in range(5):
        known = host.path(f"{name}.{attempt}")
        path = f"{site.store}/{name}.{attempt}"
        with open(path, "wb") as file:
            file.write(b"earlier")
        number = os.stat(path).st_ino
        with open(known, "rb") as file:
            file.read()
        os.unlink(path)
        if gives_out_again(path, number):
            with open(known, "rb") as file:
                return file.read(), os.fstat(file.fileno()).st_size, os.stat(known).st_size
    raise testbed.TestFailure("the server does not give the number out again")


def number_given_out_again(site, _image):
    """Without file handles a number is all that tells files from each other."""
    expected = answer(known_then_replaced, site, calls.bare(site, site.a), "reference")
    met = answer(known_then_replaced, site, site.a, "image")
    expect(met == expected, f"met {met}, on bare NFS {expected}")


# ---- what the other host does to the image ----

def nothing(_site, _host, _name):
    """For comparison."""


def as_ever(site, *command):
    """By the user whose directory it is where root is nobody."""
    site.bed.run(command, as_user=site.variant.squash)


def chown(site, host, name):
    """By an administrator, on the server where root is nobody elsewhere; others may only read."""
    path = f"{site.store}/{name}" if site.variant.squash else host.path(name)
    os.chown(path, testbed.USER_UID + 1, testbed.USER_GID + 3000)


def chown_away(site, host, name):
    """The same, and others may nothing."""
    chown(site, host, name)
    os.chmod(f"{site.store}/{name}", 0o600)


def chmod(site, host, name):
    as_ever(site, "chmod", "0", host.path(name))


def rename(site, host, name):
    as_ever(site, "mv", host.path(name), host.path(name + ".moved"))


def unlink(site, host, name):
    as_ever(site, "rm", host.path(name))


def replace(site, host, name):
    with open(f"{site.store}/{name}.new", "wb") as new:
        new.write(b"n" * calls.IMAGE_BYTES)
    os.chown(f"{site.store}/{name}.new", testbed.USER_UID, testbed.USER_GID)
    as_ever(site, "mv", host.path(name + ".new"), host.path(name))


GIVEN_AWAY = (chown, chown_away)


def running_guest(site, host, name):
    """One of the unprivileged user, with an image of its own."""
    os.chown(f"{site.store}/{calls.image(site, name)}", testbed.USER_UID, testbed.USER_GID)
    guest = calls.vmm(site, host, name, "rw+d", as_user=True)
    guest.lock(1)
    guest.write(1, 0, calls.HALF, "1")
    guest.ask("fsync 1")
    return guest


def what_guest_meets(change, site, here, there, name):
    """A guest runs on `here`, and `there` the image is changed: what each of its calls gives, and a
    new open."""
    guest = running_guest(site, here, name)
    answer(os.stat, there.path(name))
    change(site, there, name)
    met = [f"write {guest.error(f'write 1 0 {calls.HALF} 2')}", f"fsync {guest.error('fsync 1')}",
           f"allocate {guest.error(f'allocate 1 0 {calls.HALF}')}",
           f"read {guest.error(f'read 1 {calls.HALF} {calls.HALF}')}",
           f"size {guest.error('size 1')}", f"end {guest.error('end 1')}"]
    if met[0] == "write 0" and met[1] == "fsync 0" and met[3] == "read 0":
        met.append(guest.read(1, 0, calls.IMAGE_BYTES))
    for byte in (calls.USES_WRITE, calls.UNSHARED_WRITE):
        met.append(f"unlock {guest.error(f'unlock 1 {byte} 1')}")
    met.append(f"close {guest.error('close 1')}")
    opened = "untold"
    if change in (*GIVEN_AWAY, chmod):  # what a name means may be cached for a while
        opened = guest.error(f"open 2 rw {here.path(name)}")
    guest.close()
    return met, opened


def changed_elsewhere(change, site, _image):
    """By the other host's stack, and by its bare mount: the guest meets nothing of it, and who
    opens the image later what he meets on bare NFS."""
    bare_a, bare_b = calls.bare(site, site.a), calls.bare(site, site.b)
    right, _ = what_guest_meets(nothing, site, bare_a, bare_b, "untouched")
    bare, opened = what_guest_meets(change, site, bare_a, bare_b, "reference")
    if change in GIVEN_AWAY and site.stack != "bare":
        testbed.check(bare != right, f"bare NFS is right, and the case proves nothing: {bare}")
    for number, there in enumerate((site.b, bare_b)):
        met, later = what_guest_meets(change, site, site.a, there, f"image{number}")
        way = "past migfs" if there is bare_b else "through migfs"
        expect(met == right, f"changed {way}: met {met}, must be {right}")
        expect(later == opened, f"a new open gives {later}, on bare NFS {opened}")


def outlives_restart(take_name, site, _image):
    """The image loses its name, then the server is started anew. One that has it open, for a lock
    too, keeps what has no name until then: on bare NFS the guest's disk is gone with what the
    server had in memory."""
    guests = {"bare": running_guest(site, calls.bare(site, site.a), "reference"),
              site.stack: running_guest(site, site.a, "image")}
    take_name(site, calls.bare(site, site.b), "reference")
    take_name(site, site.b, "image")
    site.lab.server.restart()
    site.lab.server.wait_grace()
    met = {stack: [guest.error(f"write 1 0 {calls.HALF} 2"), guest.error("fsync 1"),
                   guest.error(f"read 1 {calls.HALF} {calls.HALF}")]
           for stack, guest in guests.items()}
    if site.stack != "bare":
        testbed.check(any(met["bare"]), "bare NFS is right, and the case proves nothing")
    expect(not any(met[site.stack]), f"met {met[site.stack]}, on bare NFS {met['bare']}")
    calls.expect_byte(guests[site.stack], "2", 0, calls.HALF, "what was written after it")


# ---- removed at the server ----

def what_is_met(site, host, name):
    """The images are removed on the server itself: what one meets who has one open, and one who has
    only seen the name of the other."""
    opened, known = f"{name}.open", f"{name}.known"
    reader = calls.vmm(site, host, opened, "rw+d")
    reader.read(1, 0, 4096)
    os.stat(host.path(known))
    for gone in (opened, known):
        os.unlink(f"{site.store}/{gone}")
    met = [answer(os.listxattr, host.path(known)),
           answer(lambda path: os.close(os.open(path, os.O_RDONLY)), host.path(known)),
           answer(os.truncate, host.path(known), 0),
           answer(os.path.exists, host.path(known)),
           f"write {reader.error('write 1 0 4096 x')}", f"fsync {reader.error('fsync 1')}",
           f"read {reader.error('read 1 8192 4096')}", f"size {reader.error('size 1')}",
           f"lock {reader.error('lock 1 r 100 1')}", f"close {reader.error('close 1')}"]
    reader.close()
    return met


def removed_at_server(site, _image):
    """The same errors as on bare NFS, for who has the image open and who has seen its name."""
    for name in ("reference", "image"):
        for suffix in (".open", ".known"):
            calls.image(site, name + suffix)
    expected = what_is_met(site, calls.bare(site, site.a), "reference")
    met = what_is_met(site, site.a, "image")
    expect(met == expected, f"met {met}, on bare NFS {expected}")


# ---- exports below ----

def lookups_cross(site, _image):
    """Each lookup crosses into an export below the export, a listing of the one above does not."""
    with contextlib.ExitStack() as held:
        nested = [held.enter_context(site.lab.server.nested(f"{site.store}/{name}"))
                  for name in ("read", "write", "list")]
        for directory in nested:
            os.mkdir(f"{directory}/deep")
            with open(f"{directory}/deep/file", "wb") as file:
                file.write(b"inside")
        for host in (site.a, site.b):
            expect(set(os.listdir(host.path("."))) >= {"read", "write", "list"}, "not listed")
            with open(host.path("read/deep/file"), "rb") as file:
                expect(file.read() == b"inside", "reads otherwise")
            expect(os.listdir(host.path("list")) == ["deep"], "lists otherwise")
            name = host.path(f"write/{host.name}")
            with open(name, "wb") as file:
                file.write(b"written")
            with open(f"{site.store}/write/{host.name}", "rb") as file:
                expect(file.read() == b"written", "written elsewhere")
            expect(answer(os.rename, name, host.path("above")) == "EXDEV", "renamed across")
            os.unlink(name)


def lacks_handles(variant):
    """An NFS client gives programs no file handles on NFS 4.0 (linux/fs/nfs/super.c)."""
    return variant.version == "4.0" and not variant.squash


def has_handles(variant):
    return variant.version != "4.0" and not variant.squash


LEAVES_NOTHING = dict(images=ONCE, stacks=("bare", "bindfs", "migfs", "migfs-passthrough"))
CASES = [
    cells.Case("names leave nothing", names_leave_nothing, variants=has_handles,
               no_twin="bare NFS leaves nothing either: no layer may bring it in",
               **LEAVES_NOTHING),
    cells.Case("names leave nothing without handles", names_leave_nothing, variants=lacks_handles,
               twins=(cells.WITHOUT_STEP,), step="retire", **LEAVES_NOTHING),
    cells.Case("number given out again", number_given_out_again, images=ONCE,
               variants=lacks_handles, twins=(cells.WITHOUT_STEP,), step="retire",
               stacks=("bare", "migfs", "migfs-passthrough")),
    cells.Case("removed at the server", removed_at_server, images=ONCE, no_twin=COMPARES,
               variants=lambda variant: not variant.squash,
               stacks=("bare", "bindfs", "migfs", "migfs-passthrough")),
    cells.Case("exports below", lookups_cross, images=ONCE, private=True,
               no_twin="bare NFS crosses, too: no layer may stand in the way",
               variants=lambda variant: not variant.squash,
               stacks=("bare", "bindfs", "migfs", "migfs-passthrough")),
]
for changing in (chown, chown_away, chmod, rename, unlink, replace):
    CASES.append(cells.Case(
        f"{changing.__name__.replace('_', ' ')} elsewhere",
        functools.partial(changed_elsewhere, changing), images=ONCE,
        twins=BARE if changing in GIVEN_AWAY else (),
        no_twin="" if changing in GIVEN_AWAY else COMPARES,
        variants=lambda variant: variant not in cells.LOCKS_STAY_HERE,
        stacks=("bare", "bindfs", "migfs",
                *(() if changing in GIVEN_AWAY else ("migfs-passthrough",)))))
for changing in (unlink, replace):
    CASES.append(cells.Case(
        f"{changing.__name__} and restart", functools.partial(outlives_restart, changing),
        images=ONCE, private=True, alone=True, quick=False, deadline_s=150, twins=BARE,
        variants=lambda variant: variant not in cells.LOCKS_STAY_HERE,
        stacks=("bare", "bindfs", "migfs", "migfs-passthrough")))
