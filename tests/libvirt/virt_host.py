# SPDX-License-Identifier: GPL-2.0-or-later
"""A host as an administrator of libvirt has it: a Debian 13 in namespaces of its own (network,
mounts, processes, name), with the store at /nfs/images, a layer over it, libvirtd, and sshd for
qemu+ssh://. Nothing of it outlives the test: with its first process all others end, and with them
its mounts.

    host = VirtHost(bed, "a", "/mount/of/the/store")
    host.layer_start("migfs")
    host.libvirt_start('shared_filesystems = [ "/var/lib/libvirt/images" ]')
    host.run("virsh list")
"""
import os
import re
import signal
import subprocess

import testbed

ROOT = os.path.join(testbed.TOP_DIR, "build", "deps", "libvirt", "root")
INIT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "host_init")
STORE, IMAGES = "/nfs/images", "/var/lib/libvirt/images"
QEMU_CONF = "/etc/libvirt/qemu.conf"
LAYER_LOG, LIBVIRT_LOG = "/var/log/layer.log", "/var/log/libvirt/libvirtd.log"
GUEST_LOGS = "/var/log/libvirt/qemu"
ADDRESSES = ("10.8.0.1", "10.8.0.2")
ENVIRONMENT = {"HOME": "/root", "TERM": "dumb", "LC_ALL": "C.UTF-8",
               "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}

LAYER_USUAL = re.compile(r"migfs: (serving |no longer serving |(share|acquire|release) of \S+: |"
                         r"\S+: \d+ bytes of its tables were read ahead)")
LIBVIRT_UNUSUAL = re.compile(r": (warning|error) : ")
# What libvirtd says of a host without a bus, a firmware and KVM; and of questions by HMP.
LIBVIRT_HERE = re.compile(r"DBus not available|/sys/devices/virtual/dmi/id|dmidecode|/dev/kvm|"
                          r"is tainted: custom-monitor")
QEMU_USUAL = re.compile(r"terminating on signal 15 from pid")


def require():
    testbed.require_root()
    testbed.require_fuse()
    if not os.path.exists(os.path.join(os.path.dirname(ROOT), "stamp")):
        testbed.skip("no Debian 13 with libvirt (tests/setup libvirt makes it)")


def patience(seconds):
    return seconds * float(os.environ.get("MIGFS_DEADLINE_FACTOR", "1"))


class VirtHost:
    """name: a or b; store: where its mount of the store is outside; network: a named network
    namespace that it shall be in, or its own."""

    def __init__(self, bed, name, store, network=None):
        self.bed = bed
        self.name = name
        # The process that the test holds becomes the parent of the host's first one.
        enter = ["nsenter", f"--net=/run/netns/{network}"] if network else []
        self.process = bed.spawn(
            [*enter, "unshare", *([] if network else ["--net"]), "--mount", "--propagation",
             "private", "--uts", "--ipc", "--pid", "--fork", "--kill-child", INIT, name, ROOT,
             bed.directory(os.path.basename(bed.unique(f"host-{name}"))), testbed.bin_dir(), store],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        said = self.process.stdout.readline()
        testbed.check(said == "ready\n", f"host {name} does not start: {said}")
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children",
                  encoding="ascii") as file:
            self.init = file.read().strip()
        self.daemons = {}

    # Commands and files ----------------------------------------------------------------------

    def _inside(self, command):
        words = ["sh", "-c", command] if isinstance(command, str) else command
        return ["nsenter", f"--target={self.init}", "--mount", "--uts", "--ipc", "--net", "--pid",
                "--root", "env", "--chdir=/", "-i",
                *(f"{name}={value}" for name, value in ENVIRONMENT.items()), *words]

    def run(self, command, expect=0, timeout_s=120):
        """Runs a command line (or a list of words) as this host's root."""
        return self.bed.run(self._inside(command), expect=expect, timeout_s=patience(timeout_s))

    def said(self, command):
        return self.run(command).stdout.strip()

    def begin(self, command):
        """Starts a command that takes long: a process with what it says in .stdout."""
        return self.bed.spawn(self._inside(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)

    def refused(self, command):
        """What a command says that must fail."""
        result = self.run(command, expect=None)
        testbed.check(result.returncode != 0, f"{command}: succeeded\n{result.stdout}")
        return result.stdout + result.stderr

    def path(self, path):
        """A file of this host, as the test sees it."""
        return f"/proc/{self.init}/root{path}"

    def read(self, path):
        try:
            with open(self.path(path), encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def write(self, path, text, mode="w"):
        with open(self.path(path), mode, encoding="utf-8") as file:
            file.write(text)

    def names_set(self, addresses):
        self.write("/etc/hosts", "127.0.0.1 localhost\n" + "".join(
            f"{address} {name}\n" for name, address in zip("ab", addresses)))

    # Daemons ---------------------------------------------------------------------------------

    def _daemon(self, name, command, log):
        self.daemons[name] = self.bed.spawn(self._inside(f"exec {command} >>{log} 2>&1"),
                                            stdin=subprocess.DEVNULL)

    def _wait(self, command, name):
        def ready():
            process = self.daemons[name]
            testbed.check(process.poll() is None, f"{name} on host {self.name} ended: {self.logs()}")
            return self.run(command, expect=None).returncode == 0
        testbed.wait_until(ready, patience(60), f"{name} on host {self.name}", interval_s=0.1)

    def layer_start(self, layer):
        """Over the store: migfs, or bindfs. In the foreground, for its log's sake."""
        self._daemon("layer", f"{layer} {STORE} {IMAGES} -f", LAYER_LOG)
        self._wait(f"mountpoint -q {IMAGES}", "layer")

    def libvirt_start(self, *settings):
        """libvirtd with Debian's settings, and these lines in qemu.conf."""
        self.write(QEMU_CONF, "".join(f"{line}\n" for line in settings), "a")
        self._daemon("sshd", "/usr/sbin/sshd -D -e", "/var/log/sshd.log")
        self._daemon("virtlogd", "virtlogd", "/var/log/virtlogd.log")
        self._daemon("libvirtd", "libvirtd", LIBVIRT_LOG)
        self._wait("virsh version", "libvirtd")

    def layer_kill(self):
        """It dies, as by a defect."""
        process = self.daemons.pop("layer")
        with open(f"/proc/{process.pid}/task/{process.pid}/children", encoding="ascii") as file:
            os.kill(int(file.read()), signal.SIGKILL)
        process.wait()

    def fail(self):
        """All that runs on it ends; what waits for a server that it cannot reach, when it can."""
        self.process.kill()
        self.process.wait()

    def die(self):
        """All that runs on it, at once."""
        self.fail()
        testbed.check(testbed.wait_exit(int(self.init), patience(30)), f"{self.name} does not die")

    def layer_end(self):
        """Nobody uses it any more."""
        self.run(f"umount {IMAGES}")
        status = self.daemons.pop("layer").wait(patience(60))
        testbed.check(status == 0, f"the layer on host {self.name} ended with {status}")

    # What they say ---------------------------------------------------------------------------

    def guest_logs(self):
        """{path: text}"""
        paths = [os.path.join(GUEST_LOGS, name) for name in os.listdir(self.path(GUEST_LOGS))]
        return {path: self.read(path) for path in paths if path.endswith(".log")}

    def logs(self):
        """For who looks at a failure."""
        texts = {LAYER_LOG: self.read(LAYER_LOG), LIBVIRT_LOG: self.read(LIBVIRT_LOG),
                 **self.guest_logs()}
        return "\n".join(line for path, text in texts.items()
                         for line in [f"--- host {self.name}, {path}", *text.splitlines()[-40:]]
                         if not line.endswith("\\") and not LIBVIRT_HERE.search(line))

    def complaints(self):
        """All lines of all logs that are not as they are when all is well."""
        return [f"host {self.name}: {line}" for line in
                [line for line in self.read(LAYER_LOG).splitlines() if not LAYER_USUAL.match(line)]
                + [line for line in self.read(LIBVIRT_LOG).splitlines()
                   if LIBVIRT_UNUSUAL.search(line) and not LIBVIRT_HERE.search(line)]
                + [line for text in self.guest_logs().values() for line in text.splitlines()
                   if "qemu-system-x86_64: " in line and not QEMU_USUAL.search(line)]]


def connect(a, b):
    """A cable between two hosts."""
    a.bed.run(["nsenter", f"--target={a.init}", "--net", "ip", "link", "add", "eth0", "type", "veth",
               "peer", "name", "eth0", "netns", b.init])
    for host, address in zip((a, b), ADDRESSES):
        for command in (f"ip address add {address}/24 dev eth0", "ip link set eth0 up",
                        "ip link set lo up"):
            host.run(command)


def hosts_of(bed, stores):
    """Two hosts of a network of their own, each over its mount of the store."""
    a, b = (VirtHost(bed, name, store) for name, store in zip("ab", stores))
    connect(a, b)
    for host in (a, b):
        host.names_set(ADDRESSES)
    return a, b


def hosts_in(bed, stores, networks, addresses):
    """The same in networks that there are."""
    hosts = [VirtHost(bed, name, store, network)
             for name, store, network in zip("ab", stores, networks)]
    for host in hosts:
        host.names_set(addresses)
    return hosts
