# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a cell happens: two hosts on one NFS server, each with its own mount of the export and its
stack over it."""
import os
import signal
import types

import cell as cells
import hosts
import pair
import scenario
import testbed

PEER = os.path.join(testbed.TOP_DIR, "build", "deps", "lab", "passthrough_hp")
OPTIONS = {"migfs-passthrough": "io=passthrough", "migfs-coherence-off": "coherence=off",
           cells.FENCE_OFF: "fence=off"}


def peer_mount(bed, below):
    return bed.mount("fuse.passthrough_hp", [PEER, "-o", "allow_other", below, "MOUNTPOINT"],
                     below, daemon=True).path


class Site(scenario.Pair):
    """The pair of hosts of one cell, in a directory of its own on the export.

    lab: its server; clients: the two hosts, whose links a private cell may cut; variant: of the
    cell.
    """

    def __init__(self, bed, cell, lab):
        self.lab = lab
        self.clients = lab.hosts(cell).clients
        self.case = cell.case
        self.variant = cell.variant
        self.files = 0
        self.subdirectory = str(os.getpid())  # inside.py removes it
        self.store = os.path.join(lab.server.export_directory, self.subdirectory)
        os.mkdir(self.store)
        self.bed = bed
        self.stack = cell.stack
        if cell.variant.squash:
            self.hand_over_to_user(cell)
        super().__init__(bed, cell.stack, [self.host_over(client, self.store, self.below(client))
                                           for client in self.clients],
                         as_user=cell.variant.squash)

    def hand_over_to_user(self, cell):
        """Where root is nobody, the images' user owns the directory and the records."""
        os.chown(self.store, testbed.USER_UID, testbed.USER_GID)
        if cell.stack.startswith("migfs"):
            self.bed.run([testbed.binary("migfsctl"), "init", "--uid", testbed.USER_UID,
                          self.below(self.clients[0])])

    def below(self, client):
        return os.path.join(client.mountpoint, self.subdirectory)

    def host_over(self, client, store, below):
        """One host: the cell's stack over a client's mount of a store."""
        if self.stack == "passthrough_hp":
            return hosts.Host(client.name, peer_mount(self.bed, below), store, below)
        if not self.stack.startswith("migfs"):
            return hosts.host_over(self.bed, self.stack, client.name, store, below)
        options = ",".join(filter(None, (OPTIONS.get(self.stack), self.case.options)))
        if self.case.step:
            return hosts.Host(client.name, self.faulty_mount(client.name, options, below), store,
                              below)
        return hosts.host_over(self.bed, f"migfs:{options}", client.name, store, below)

    def faulty_mount(self, name, options, below):
        """migfs that can be told to go wrong, in a case that is about a step."""
        skipped = self.case.step if self.stack == cells.WITHOUT_STEP else ""
        return self.bed.mount(
            "fuse.migfs", [testbed.binary("migfs-faults"), below, "MOUNTPOINT",
                           *(["-o", options] if options else [])], below,
            env={"MIGFS_SKIP_STEP": skipped, "MIGFS_HOLD_WRITES": self.held_writes(name),
                 "MIGFS_KILL_FILE": self.kill_file(name)}).path

    def held_writes(self, name):
        """While this file exists the writes of a host's migfs wait behind the gate."""
        return os.path.join(self.bed.root, f"hold.{name}")

    def kill_file(self, name):
        """A host's migfs dies at the step that this file names (fs/fault.h)."""
        return os.path.join(self.bed.root, f"kill.{name}")

    def mount_of(self, host):
        return next(mount for mount in self.bed.mounts if mount.path == host.directory)

    def daemon(self, host):
        """The process that serves a host's mount."""
        return self.mount_of(host).pid

    def wait_killed(self, host):
        """Its migfs has died at the step that it was told."""
        mount = self.mount_of(host)
        mount.wait_end(expect=-signal.SIGKILL)
        mount.abort()

    def file(self, byte=b"0", length=pair.IMAGE_BYTES):
        """The name of a new file, put into the store before anybody looks."""
        self.files += 1
        name = f"file{self.files}"
        with open(os.path.join(self.store, name), "wb") as file:
            file.write(byte * length)
        return name

    def vmm(self, host, name=None, flags="rw"):
        """A process that makes the system calls it is told to; the file is open in its slot 1."""
        vmm = pair.Vmm(types.SimpleNamespace(bed=self.bed, name=host.name, path=host.path))
        self.held.callback(vmm.kill)
        if name is not None:
            vmm.open(1, name, flags)
        return vmm

    def client(self, host):
        """The lab's client that a host is."""
        return next(client for client in self.clients if client.name == host.name)
