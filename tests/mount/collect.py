#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Records of images that are gone are removed, and no others: each that must stay is beside one that
must go, with a higher inode number, so that it was looked at when that one has gone.

collect.py [CASE]...
"""

import os
import shutil
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import testbed  # noqa: E402
from testbed import Testbed, binary, check  # noqa: E402

DAY_S = 24 * 3600


class Store:
    """A directory of images, each of which was owned and handed over once."""

    def __init__(self, bed, name, images=2):
        self.bed = bed
        self.path = bed.directory(f"{name}.store")
        self.mount = bed.mount_migfs(self.path)
        names = [f"image{number}" for number in range(images)]
        for image in names:
            with open(self.image(image), "wb") as file:
                file.truncate(1 << 20)
        self.names = sorted(names, key=lambda image: os.stat(self.image(image)).st_ino)
        self.records = {image: f"{os.stat(self.image(image)).st_ino:x}" for image in names}
        for image in names:
            self.hand_over(image)

    def image(self, name):
        return os.path.join(self.path, name)

    def record(self, name):
        return os.path.join(self.path, ".migfs", self.records[name])

    def history(self, name):
        return os.path.join(self.path, ".migfs", "history", self.records[name])

    def hand_over(self, name):
        fd = os.open(os.path.join(self.mount.path, name), os.O_RDWR)
        for command in ("acquire", "release"):
            self.bed.run([binary("migfsctl"), command, os.path.join(self.mount.path, name)])
        os.close(fd)
        testbed.wait_until(lambda: os.path.exists(self.history(name)), what="the history")

    def age(self, *names, days=2):
        for name in names:
            os.utime(self.record(name), (time.time() - days * DAY_S,) * 2)

    def mount_again(self):
        self.mount.umount()
        self.mount = self.bed.mount_migfs(self.path)

    def wait_gone(self, name):
        testbed.wait_until(lambda: not os.path.exists(self.record(name)), what=f"{name} going")
        testbed.wait_until(lambda: not os.path.exists(self.history(name)), what="its history")


def the_record_of_a_removed_image_goes(bed):
    store = Store(bed, "removed", images=3)
    for name in store.names:
        os.unlink(store.image(name))
    store.age(*store.names)
    store.mount_again()
    for name in store.names:
        store.wait_gone(name)
    testbed.wait_until(lambda: store.mount.log_text().count("its file is gone") == 3, what="the log")


def keep(store):
    """The image is as it was."""


def remove(store):
    os.unlink(store.image(store.names[0]))


def rename(store):
    os.mkdir(store.image("directory"))
    os.rename(store.image(store.names[0]), store.image("directory/renamed"))


def link_and_remove(store):
    os.link(store.image(store.names[0]), store.image("link"))
    remove(store)


def remove_open(store):
    """Somebody has it open, and may hand it over yet."""
    store.held = os.open(store.image(store.names[0]), os.O_RDONLY)
    remove(store)


def remove_young(store):
    remove(store)
    store.age(store.names[0], days=0.9)


def remove_owned(store):
    """Its owner died, or lives: the record does not tell."""
    remove(store)
    forge(store, "48", "4", "1")


def remove_version_1(store):
    """No handle in it: nothing is certain."""
    remove(store)
    forge(store, "version1")


def remove_torn(store):
    remove(store)
    with open(store.record(store.names[0]), "r+b") as file:
        file.write(b"?" * 8192)
    store.age(store.names[0])


def forge(store, *arguments):
    store.bed.run([testbed.binary("forge"), store.record(store.names[0]), *arguments])
    store.age(store.names[0])


def stays(what):
    def case(bed):
        store = Store(bed, what.__name__)
        os.unlink(store.image(store.names[1]))
        store.age(*store.names)
        what(store)
        store.mount_again()
        store.wait_gone(store.names[1])
        check(os.path.exists(store.record(store.names[0])), f"{what.__name__}: its record went")
        check(os.path.exists(store.history(store.names[0])), f"{what.__name__}: its history went")
    case.__name__ = f"a_record_stays_after_{what.__name__}"
    return case


def what_is_no_record_stays(bed):
    store = Store(bed, "others", images=1)
    others = [os.path.join(store.path, ".migfs", name) for name in ("0", "README", "0abc", "history")]
    for path in others[:-1]:
        shutil.copy(store.record(store.names[0]), path)
        os.utime(path, (time.time() - 2 * DAY_S,) * 2)
    os.unlink(store.image(store.names[0]))
    store.age(*store.names)
    store.mount_again()
    store.wait_gone(store.names[0])
    check(all(os.path.exists(path) for path in others), "something else went")


CASES = [the_record_of_a_removed_image_goes,
         *(stays(what) for what in (keep, rename, link_and_remove, remove_open, remove_young, remove_owned,
                                    remove_version_1, remove_torn)),
         what_is_no_record_stays]


def has_handles(bed):
    """Whether the store's file handles last: overlay's and FUSE's may not."""
    store = Store(bed, "handles", images=1)
    with open(store.record(store.names[0]), "rb") as file:
        content = file.read()
    return any(content[at + 244] for at in (0, 4096))


def test():
    testbed.require_root()
    testbed.require_fuse()
    wanted = sys.argv[1:] or [case.__name__ for case in CASES]
    with Testbed("collect", deadline_s=110) as bed:
        if not has_handles(bed):
            testbed.skip("the filesystem of the test's directory gives no file handles")
        for case in CASES:
            if case.__name__ in wanted:
                case(bed)
                print(f"  {case.__name__}", flush=True)


if __name__ == "__main__":
    testbed.main(test)
