# SPDX-License-Identifier: GPL-2.0-or-later
"""Two hosts on one machine: each has its own mount of one store, and its own layer above it.

    local    no mounts: both hosts see the store itself (to tell a test's own mistakes)
    bare     ctofs alone: what a VMM gets from NFS
    bindfs   Debian's bindfs over ctofs: the control
    migfs    migfs over ctofs; migfs:OPTIONS with these mount options
"""
import dataclasses
import os

BLOCK_BYTES = 4096


@dataclasses.dataclass(frozen=True)
class Host:
    name: str
    directory: str  # where this host's programs see the images
    store: str      # the server's own directory
    below: str      # this host's mount of the store

    def path(self, image):
        return os.path.join(self.directory, image)


def host_over(bed, stack, name, store, below):
    """A host whose mount of the store is `below`, with its stack mounted over that."""
    stack, _, options = stack.partition(":")
    layers = {"local": lambda: store,
              "bare": lambda: below,
              "bindfs": lambda: bed.mount_bindfs(below).path,
              "migfs": lambda: bed.mount_migfs(below, options=options).path}
    return Host(name, layers[stack](), store, below)


def hosts_mount(bed, stack):
    """A new store, and two hosts on it."""
    store = bed.directory("store")
    return [host_over(bed, stack, name, store,
                      store if stack == "local" else bed.mount_ctofs(store).path) for name in "AB"]


def image_create(bed, host, name, image_format, size, backing=None, options="", as_user=False):
    """Creates an image through a host's mount, as an administrator or its user would."""
    command = ["qemu-img", "create", "-q", "-f", image_format]
    if backing:
        command += ["-b", backing, "-F", "raw"]
    if options:
        command += ["-o", options]
    bed.run(command + [host.path(name), size], as_user=as_user)


def blocks_differing(host, image):
    """How many 4 KiB blocks of the image this host reads otherwise than the store has them."""
    in_store = os.path.join(host.store, image)
    with open(host.path(image), "rb") as seen, open(in_store, "rb") as stored:
        count = 0
        while True:
            ours, theirs = seen.read(1 << 20), stored.read(1 << 20)
            if not ours and not theirs:
                return count
            if ours != theirs:
                count += sum(ours[at:at + BLOCK_BYTES] != theirs[at:at + BLOCK_BYTES]
                             for at in range(0, max(len(ours), len(theirs)), BLOCK_BYTES))
