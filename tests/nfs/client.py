# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab's client hosts: a network namespace each, so that each has its own NFS client, with its
own cache, state and identity at the server. Paths are the machine's own: a process of the lab can
look at both hosts' mounts; the network that a mount uses is the one it was mounted from."""
import os

from server import ADDRESS, EXPORT, sh

# strict: stale data cannot hide behind attributes that happen to be asked for. With the defaults a
# READ moves the access time at the server, the next stat fetches all attributes, and the client
# drops its cache by chance.
STRICT = "acregmin=60,acregmax=60,acdirmin=60,acdirmax=60"
OPTIONS = {"strict": STRICT, "default": "", "nolock": f"{STRICT},nolock",
           "local_lock": f"{STRICT},local_lock=all"}


# NFSv3 asks the status monitor of its own network at the first lock.
STARTED_INSIDE = """
echo {name} >/sys/fs/nfs/net/nfs_client/identifier
mount -t tmpfs tmpfs /run
mkdir -p /run/rpcbind /run/statd/sm /run/statd/sm.bak
rpcbind -w
rpc.statd --no-notify --state-directory-path /run/statd
"""


class Client:
    """One host: name, number (its address)."""

    def __init__(self, name, number):
        self.name = name
        self.link = f"lab-{name}"
        self.mountpoint = f"/hosts/{name}"
        sh("ip", "netns", "add", name)
        sh("ip", "link", "add", self.link, "type", "veth", "peer", "name", "eth0", "netns", name)
        sh("ip", "link", "set", self.link, "master", "lab", "up")
        self.inside("ip", "link", "set", "lo", "up")
        self.inside("ip", "address", "add", f"10.7.0.{number}/24", "dev", "eth0")
        self.inside("ip", "link", "set", "eth0", "up")
        self.inside("sh", "-ec", STARTED_INSIDE.format(name=name))

    def inside(self, *command):
        """Runs a command in this host's network, with mounts of its own."""
        return sh("ip", "netns", "exec", self.name, *command)

    def mount(self, variant):
        """Mounts the export in a variant of cell.py, as this host."""
        os.makedirs(self.mountpoint, exist_ok=True)
        source = ADDRESS + (":/" if variant.version.startswith("4") else ":" + EXPORT)
        options = ",".join(filter(None, (f"vers={variant.version}", OPTIONS[variant.mount])))
        sh("nsenter", f"--net=/run/netns/{self.name}", "mount", "-t", "nfs", "-o", options, source,
           self.mountpoint)

    def umount(self):
        """Whatever still uses it: by force, and lazily."""
        if sh("umount", self.mountpoint, check=False) is None:
            sh("umount", "-f", "-l", self.mountpoint, check=False)

    def cut(self):
        """A partition: not one packet passes any more."""
        sh("ip", "link", "set", self.link, "down")

    def heal(self):
        sh("ip", "link", "set", self.link, "up")
