# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab's NFS server: the kernel's own, in the machine's first network namespace, with an export
on ext4. Lease and grace are the shortest that nfsd takes."""
import contextlib
import errno
import os
import socket
import subprocess
import time

ADDRESS = "10.7.0.1"
NETWORK = "10.7.0.0/24"
EXPORT = "/srv/export"
LEASE_S = 10
IMAGE_BYTES = 2 << 30
NESTED_BYTES = 16 << 20
SECTOR_BYTES = 512
STARTS = 10
PROC = "/proc/fs/nfsd"
GRACE_SWITCHES = (f"{PROC}/v4_end_grace", "/proc/fs/lockd/nlm_end_grace")
VARIABLE = "/var/lib/nfs"


def sh(*command, check=True):
    """Runs a command; what it printed, or None where it failed and may."""
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                            check=False)
    if check and result.returncode != 0:
        raise OSError(f"{' '.join(map(str, command))}: {result.stdout}{result.stderr}".strip())
    return result.stdout if result.returncode == 0 else None


def read(path):
    with open(path, encoding="ascii") as file:
        return file.read()


def write(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(str(text))


def disk_mount(directory, backing, length, mapped=None):
    """An ext4 of its own: file handles, holes and errors are as on a real server. mapped: its disk
    has this name in the device mapper, which can break it."""
    os.makedirs(directory, exist_ok=True)
    with open(backing, "wb") as file:
        file.truncate(length)
    sh("mkfs.ext4", "-q", "-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard", backing)
    device = sh("losetup", "--find", "--show", backing).strip()
    if mapped:
        disk_map("create", mapped, f"linear {device} 0", length)
        device = "/dev/" + sh("dmsetup", "info", "-c", "--noheadings", "-o", "blkdevname",
                              mapped).strip()
    sh("mount", device, directory)
    sh("rm", "-rf", os.path.join(directory, "lost+found"))


def loop_of(backing):
    return sh("losetup", "--noheadings", "--output", "NAME", "--associated", backing).strip()


def disk_map(how, name, target, length):
    sh("dmsetup", how, "--noudevrules", "--noudevsync", name, "--table",
       f"0 {length // SECTOR_BYTES} {target}")


def disk_switch(name, target, length):
    """From now on the disk is another one; what is under way is not waited for."""
    sh("dmsetup", "suspend", "--nolockfs", "--noflush", name)
    disk_map("load", name, target, length)
    sh("dmsetup", "resume", "--noudevrules", "--noudevsync", name)


def users_add():
    """What the packages' set-up would have done."""
    with open("/etc/passwd", "a", encoding="ascii") as file:
        for number, name in enumerate(("_rpc", "statd")):
            file.write(f"{name}:x:{990 + number}:65534::/run/rpcbind:/usr/sbin/nologin\n")
    os.makedirs("/run/rpcbind", exist_ok=True)


def names_set():
    """The daemons look up who calls: by files, for there is nobody to ask."""
    with open("/etc/hosts", "w", encoding="ascii") as file:
        file.write(f"127.0.0.1 localhost lab\n{ADDRESS} server\n10.7.0.11 a\n10.7.0.12 b\n"
                   "10.7.0.13 c\n10.7.0.14 d\n")
    with open("/etc/nsswitch.conf", "w", encoding="ascii") as file:
        file.write("passwd: files\ngroup: files\nhosts: files\nservices: files\nrpc: files\n")
    socket.sethostname("lab")


def bridge_create():
    sh("ip", "link", "set", "lo", "up")
    sh("ip", "link", "add", "lab", "type", "bridge")
    sh("ip", "address", "add", f"{ADDRESS}/24", "dev", "lab")
    sh("ip", "link", "set", "lab", "up")


def wait_for(condition, seconds, what):
    """The kernel tells nobody when such a thing has happened: it is asked."""
    deadline = time.monotonic() + seconds * float(os.environ.get("MIGFS_DEADLINE_FACTOR", "1"))
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} does not come")
        time.sleep(0.1)


def remembers_clients():
    """Whether nfsdcld has opened the pipe that nfsd made for it; else nobody could reclaim anything
    after a restart."""
    for pid in sh("pidof", "nfsdcld").split():
        for fd in os.listdir(f"/proc/{pid}/fd"):
            if os.readlink(f"/proc/{pid}/fd/{fd}").endswith("/nfsd/cld"):
                return True
    return False


@contextlib.contextmanager
def full(directory):
    """Meanwhile not a block is left on the disk of a directory, not even for root."""
    path = f"{directory}/ballast"
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        length = 0
        for piece in (64 << 20, 1 << 20, 4096):
            try:
                while True:
                    os.posix_fallocate(fd, length, piece)
                    length += piece
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
        yield
    finally:
        os.close(fd)
        os.unlink(path)


class Server:
    """Started once a boot; the export's options and the leases may change between cells."""

    export_directory = EXPORT

    def __init__(self):
        users_add()
        names_set()
        disk_mount(EXPORT, "/run/export.ext4", IMAGE_BYTES)
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
        # Who remembers the clients has a second to hear of a start (linux/fs/nfsd/nfs4recover.c): it
        # goes before all others.
        sh("chrt", "--fifo", "1", "nfsdcld")
        self.threads_start()
        for _ in range(STARTS):
            if remembers_clients():
                break
            self.threads_end()
            self.threads_start()
        sh("rpc.mountd")
        self.export()
        # Nobody can have locks to reclaim: no grace at the first start.
        self.end_grace()

    def threads_start(self):
        write(f"{PROC}/nfsv4leasetime", LEASE_S)
        write(f"{PROC}/nfsv4gracetime", LEASE_S)
        write("/proc/sys/fs/nfs/nlm_grace_period", LEASE_S)
        sh("rpc.nfsd", "--lease-time", LEASE_S, "--grace-time", LEASE_S, "8")

    def threads_end(self):
        sh("rpc.nfsd", "0")

    def restart(self):
        """It loses all that it has in memory; its clients have the grace period to reclaim it."""
        self.threads_end()
        self.threads_start()
        if not remembers_clients():
            raise OSError("the server does not remember its clients: nfsdcld did not hear of it")

    def wait_grace(self):
        """Waits for the end of the grace periods after a restart: while the one of NFSv3 goes on
        no NFSv4 lock is given either."""
        def ended():
            return all(read(switch).startswith("Y") for switch in GRACE_SWITCHES)
        wait_for(ended, 12 * LEASE_S, "the end of the grace period")

    def lease_is_over(self, name):
        """Whether the client of that name has not renewed its lease in time (NFSv4)."""
        for client in os.listdir(f"{PROC}/clients"):
            info = read(f"{PROC}/clients/{client}/info")
            # As the client names itself: "… NODENAME/NAME/ADDRESS" in 4.0, "… NAME/NODENAME" later.
            if f" {name}/" in info or f"/{name}/" in info:
                return "status: confirmed" not in info
        return True  # it is known no more

    def end_grace(self):
        for switch in GRACE_SWITCHES:
            try:
                write(switch, "Y")
            except OSError as error:
                if error.errno != errno.EBUSY:  # has ended by itself
                    raise

    def export(self, squash=False):
        squashed = "root_squash" if squash else "no_root_squash"
        sh("exportfs", "-i", "-o", f"rw,sync,no_subtree_check,fsid=0,crossmnt,insecure,{squashed}",
           f"{NETWORK}:{EXPORT}")

    def leases(self, on):
        """Whether the server gives delegations."""
        write("/proc/sys/fs/leases-enable", 1 if on else 0)

    @contextlib.contextmanager
    def nested(self, directory, length=NESTED_BYTES):
        """A filesystem of its own, exported below the export, at a path on the server."""
        name = directory.strip("/").replace("/", "_")
        backing = f"/run/nested.{name}"
        disk_mount(directory, backing, length, name)
        try:
            yield directory
        finally:
            sh("exportfs", "-f")  # nfsd lets go of what it has looked up
            sh("umount", "-l", directory)
            loop = loop_of(backing)
            sh("dmsetup", "remove", "--deferred", "--noudevrules", "--noudevsync", name)
            sh("losetup", "--detach", loop)
            os.unlink(backing)

    @contextlib.contextmanager
    def broken(self, directory):
        """Meanwhile the disk below a nested filesystem gives errors, to reads and writes."""
        name = directory.strip("/").replace("/", "_")
        backing = f"/run/nested.{name}"
        length = os.path.getsize(backing)
        disk_switch(name, "error", length)
        try:
            yield
        finally:
            disk_switch(name, f"linear {loop_of(backing)} 0", length)

    @contextlib.contextmanager
    def read_only(self, directory):
        """Meanwhile each write to a nested filesystem is refused."""
        sh("exportfs", "-i", "-o", "ro,no_subtree_check,insecure,no_root_squash",
           f"{NETWORK}:{directory}")
        try:
            yield
        finally:
            sh("exportfs", "-u", f"{NETWORK}:{directory}")
