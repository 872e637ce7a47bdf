# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab's NFS server: the kernel's own, in the machine's first network namespace, with an export
on ext4. Lease and grace are the shortest that nfsd takes."""
import errno
import os
import socket
import subprocess

ADDRESS = "10.7.0.1"
NETWORK = "10.7.0.0/24"
EXPORT = "/srv/export"
LEASE_S = 10
IMAGE_BYTES = 2 << 30
PROC = "/proc/fs/nfsd"
VARIABLE = "/var/lib/nfs"


def sh(*command, check=True):
    """Runs a command; what it printed, or None where it failed and may."""
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                            check=False)
    if check and result.returncode != 0:
        raise OSError(f"{' '.join(map(str, command))}: {result.stdout}{result.stderr}".strip())
    return result.stdout if result.returncode == 0 else None


def write(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(str(text))


def disk_mount():
    """An ext4 of its own for the export: file handles, holes and errors are as on a real server."""
    os.makedirs(EXPORT, exist_ok=True)
    backing = "/run/export.ext4"
    with open(backing, "wb") as file:
        file.truncate(IMAGE_BYTES)
    sh("mkfs.ext4", "-q", "-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard", backing)
    sh("mount", "-o", "loop", backing, EXPORT)
    sh("rm", "-rf", os.path.join(EXPORT, "lost+found"))


def users_add():
    """What the packages' set-up would have done."""
    with open("/etc/passwd", "a", encoding="ascii") as file:
        for number, name in enumerate(("_rpc", "statd")):
            file.write(f"{name}:x:{990 + number}:65534::/run/rpcbind:/usr/sbin/nologin\n")
    os.makedirs("/run/rpcbind", exist_ok=True)


def names_set():
    """The daemons look up who calls: by files, for there is nobody to ask."""
    with open("/etc/hosts", "w", encoding="ascii") as file:
        file.write(f"127.0.0.1 localhost lab\n{ADDRESS} server\n10.7.0.11 a\n10.7.0.12 b\n")
    with open("/etc/nsswitch.conf", "w", encoding="ascii") as file:
        file.write("passwd: files\ngroup: files\nhosts: files\nservices: files\nrpc: files\n")
    socket.sethostname("lab")


def bridge_create():
    sh("ip", "link", "set", "lo", "up")
    sh("ip", "link", "add", "lab", "type", "bridge")
    sh("ip", "address", "add", f"{ADDRESS}/24", "dev", "lab")
    sh("ip", "link", "set", "lab", "up")


class Server:
    """Started once a boot; the export's options and the leases may change between cells."""

    export_directory = EXPORT

    def __init__(self):
        users_add()
        names_set()
        disk_mount()
        bridge_create()
        for name in ("nfsdcld", "rpc_pipefs"):
            os.makedirs(os.path.join(VARIABLE, name), exist_ok=True)
        sh("mount", "-t", "rpc_pipefs", "rpc_pipefs", os.path.join(VARIABLE, "rpc_pipefs"))
        sh("rpcbind", "-w")
        sh("rpc.statd", "--no-notify")
        sh("modprobe", "nfsd")
        if not os.path.ismount(PROC):
            sh("mount", "-t", "nfsd", "nfsd", PROC)
        self.start()
        # The kernel looks for this path whatever the network, and would register the clients' own
        # lock managers here; without it, each uses its own loopback.
        os.unlink("/run/rpcbind.sock")

    def start(self):
        write(f"{PROC}/nfsv4leasetime", LEASE_S)
        write(f"{PROC}/nfsv4gracetime", LEASE_S)
        sh("nfsdcld")
        sh("rpc.nfsd", "--lease-time", LEASE_S, "--grace-time", LEASE_S, "8")
        sh("rpc.mountd")
        self.export()
        # Nobody can have locks to reclaim: no grace at the first start.
        self.end_grace()

    def end_grace(self):
        for switch in (f"{PROC}/v4_end_grace", "/proc/fs/lockd/nlm_end_grace"):
            try:
                write(switch, "Y")
            except OSError as error:
                if error.errno != errno.EBUSY:  # has ended by itself
                    raise

    def export(self, squash=False):
        squashed = "root_squash" if squash else "no_root_squash"
        sh("exportfs", "-i", "-o", f"rw,sync,no_subtree_check,fsid=0,insecure,{squashed}",
           f"{NETWORK}:{EXPORT}")

    def leases(self, on):
        """Whether the server gives delegations."""
        write("/proc/sys/fs/leases-enable", 1 if on else 0)
