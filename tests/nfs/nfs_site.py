# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a cell happens: two hosts on one NFS server, each with its own mount of the export and its
stack over it."""
import os

import hosts
import scenario
import testbed

PEER = os.path.join(testbed.TOP_DIR, "build", "deps", "lab", "passthrough_hp")
LAYERS = {"migfs-passthrough": "migfs:io=passthrough",
          "migfs-coherence-off": "migfs:coherence=off"}


def peer_mount(bed, below):
    return bed.mount("fuse.passthrough_hp", [PEER, "-o", "allow_other", below, "MOUNTPOINT"],
                     below, daemon=True).path


class Site(scenario.Pair):
    """The pair of hosts of one cell, in a directory of its own on the export.

    lab: the server and the clients, for cells that cut links or restart the server; variant: of
    the cell.
    """

    def __init__(self, bed, cell, lab):
        self.lab = lab
        self.variant = cell.variant
        self.subdirectory = str(os.getpid())  # inside.py removes it
        self.store = os.path.join(lab.server.export_directory, self.subdirectory)
        os.mkdir(self.store)
        self.bed = bed
        self.stack = cell.stack
        if cell.variant.squash:
            self.hand_over_to_user(cell)
        super().__init__(bed, cell.stack, [self.host_over(client, self.store, self.below(client))
                                           for client in lab.clients],
                         as_user=cell.variant.squash)

    def hand_over_to_user(self, cell):
        """Where root is nobody, the images' user owns the directory and the records."""
        os.chown(self.store, testbed.USER_UID, testbed.USER_GID)
        if cell.stack.startswith("migfs"):
            self.bed.run([testbed.binary("migfsctl"), "init", "--uid", testbed.USER_UID,
                          self.below(self.lab.clients[0])])

    def below(self, client):
        return os.path.join(client.mountpoint, self.subdirectory)

    def host_over(self, client, store, below):
        """One host: the cell's stack over a client's mount of a store."""
        if self.stack == "passthrough_hp":
            return hosts.Host(client.name, peer_mount(self.bed, below), store, below)
        return hosts.host_over(self.bed, LAYERS.get(self.stack, self.stack), client.name, store,
                               below)

    def client(self, host):
        """The lab's client that a host is."""
        return next(client for client in self.lab.clients if client.name == host.name)
