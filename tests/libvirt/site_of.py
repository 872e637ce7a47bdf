# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a scenario happens: one store, two mounts of it, two hosts with a layer over each."""
import contextlib
import os
import subprocess
import sys

import testbed
import virt_host
from guests import Guest
from report import report_of
from virt_host import IMAGES, patience

LAYERS = {"migfs": "migfs", "bindfs": "bindfs", "migfs-protect-off": "migfs -o protect=off"}
SHARED = f'shared_filesystems = [ "{IMAGES}" ]'
FAST = "1G"


class Place:
    """On this machine: mounts by ctofs, which caches as badly as NFS may. caches_always: what was
    read before is read again for certain, and not only where its client has not asked since."""
    caches_always = True

    @contextlib.contextmanager
    def site(self, bed, layer, **arguments):
        store = bed.directory("store")
        hosts = virt_host.hosts_of(bed, [bed.mount_ctofs(store).path for _ in "ab"])
        with Site(bed, layer, store, hosts, lambda _: None, **arguments) as site:
            yield site


class NfsPlace:
    """In the lab's machine: NFS 4.2, in a directory of its own for each scenario."""
    caches_always = False

    def __init__(self):
        import cell
        from client import Client
        from server import Server
        self.server = Server()
        subprocess.run(["modprobe", "-a", "nfs", "nfsv4"], check=True)
        self.variant = cell.Variant()
        self.clients = [Client("a", 11), Client("b", 12)]
        self.count = 0

    @contextlib.contextmanager
    def site(self, bed, layer, **arguments):
        self.count += 1
        store = os.path.join(self.server.export_directory, f"scenario{self.count}")
        os.mkdir(store)
        for client in self.clients:
            client.mount(self.variant)
        try:
            hosts = virt_host.hosts_in(
                bed, [os.path.join(client.mountpoint, os.path.basename(store))
                      for client in self.clients],
                [client.name for client in self.clients], ("10.7.0.11", "10.7.0.12"))
            with Site(bed, layer, store, hosts, self.cut, **arguments) as site:
                yield site
        finally:
            for client in self.clients:
                client.heal()
                client.umount()

    def cut(self, name):
        next(client for client in self.clients if client.name == name).cut()


def places():
    return NfsPlace() if "MIGFS_LAB" in os.environ else Place()


class Migration:
    """One that was begun, and does not end before it is told to: it sends all of the guest's memory,
    pages of zeroes too, at a mebibyte a second."""

    def __init__(self, site, guest, there):
        self.site, self.guest, self.there = site, guest, there
        self.here = guest.host
        self._set("zero-page-detection none")
        self.process = self.here.begin(
            f"virsh migrate --live --persistent --undefinesource --bandwidth 1 {guest.name} "
            f"qemu+ssh://{there.name}/system")
        testbed.wait_until(self._is_under_way, patience(60), "the migration", 0.1)

    def _is_under_way(self):
        testbed.check(self.process.poll() is None, "the migration has ended already")
        return "Memory processed" in self.here.said(f"virsh domjobinfo {self.guest.name}")

    def _set(self, parameter):
        self.here.run(f"virsh qemu-monitor-command {self.guest.name} --hmp "
                      f"'migrate_set_parameter {parameter}'")

    def go_on(self):
        """To its end."""
        self._set("zero-page-detection legacy")
        self._set(f"max-bandwidth {FAST}")
        said, _ = self.process.communicate(timeout=patience(120))
        testbed.check(self.process.returncode == 0, f"the migration failed: {said}")
        self.guest.host = self.there

    def fails(self):
        """What virsh says."""
        said, _ = self.process.communicate(timeout=patience(120))
        testbed.check(self.process.returncode != 0, f"the migration succeeded: {said}")
        self._set("zero-page-detection legacy")
        return said


class Site:
    """shared: whether libvirt is told that the images are shared; settings_a: more lines of host a's
    qemu.conf; cut: takes a host from the network; bare: the scenario starts the daemons."""

    def __init__(self, bed, layer, store, hosts, cut, shared=True, settings_a=(), bare=False):
        self.bed = bed
        self.layer = layer
        self.store = store
        self.a, self.b = hosts
        self.cut = cut
        shared = (SHARED,) if shared else ()
        for host, own in ((self.a, settings_a), (self.b, ())):
            if not bare:
                host.layer_start(LAYERS[layer])
                host.libvirt_start(*shared, *own)
                print(f"host {host.name} is up, with {layer}", flush=True)
        self.qemu_user = self.ids("libvirt-qemu")
        self.allowed, self.possible = [], []
        self.dead = []

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            print(*(host.logs() for host in self.alive()), sep="\n", file=sys.stderr)
        for host in self.alive():
            host.die()

    # Guests and images -----------------------------------------------------------------------

    def guest(self, name, image_format, cache, **arguments):
        """A new guest, known to host a."""
        guest = Guest(name, image_format, cache, **arguments)
        guest.create(self.a)
        guest.define(self.a)
        return guest

    def running(self, *what, **arguments):
        """A new guest that runs on host a."""
        guest = self.guest(*what, **arguments)
        guest.start(self.a)
        guest.expect_right()
        return guest

    def migrate(self, guest, there):
        guest.host.run(f"virsh migrate --live --persistent --undefinesource {guest.name} "
                       f"qemu+ssh://{there.name}/system")
        print(f"{guest.name} to host {there.name} at {guest.counts()}", flush=True)
        guest.host = there

    @contextlib.contextmanager
    def migrating(self, guest, there):
        """Meanwhile a migration is under way."""
        migration = Migration(self, guest, there)
        yield migration
        testbed.check(migration.process.poll() is not None, "the migration was left alone")

    @contextlib.contextmanager
    def read_before(self, host, image):
        """A program of the host has read where the guest writes most, and keeps the image open."""
        process = host.begin(f"exec 9<{IMAGES}/{image} && head -c 4M <&9 >/dev/null && echo read && "
                             "read x")
        testbed.check(process.stdout.readline() == "read\n", "the image cannot be read")
        try:
            yield
        finally:
            process.stdin.close()
            process.wait()

    def host_dies(self, host):
        """It loses its network and all that runs on it; its last words are not asked for."""
        self.dead.append(host)
        self.cut(host.name)
        host.fail()

    def alive(self):
        return [host for host in (self.a, self.b) if host not in self.dead]

    def end(self, guest, booted_anew=False):
        """All that a guest wrote is there; when it ends it gives its image back to root."""
        guest.expect_stored(self.store, booted_anew)
        guest.host.run(f"virsh destroy {guest.name}")
        testbed.check(self.owner(guest.image) == (0, 0), f"{guest.image} is left to "
                      f"{self.owner(guest.image)}")

    def ids(self, name):
        """The numbers of a user and the group of that name."""
        return tuple(int(self.a.said(f"getent {table} {name}").split(":")[2])
                     for table in ("passwd", "group"))

    def owner(self, image):
        """As the store has it."""
        file = os.stat(os.path.join(self.store, image))
        return file.st_uid, file.st_gid

    def give(self, image, owner, mode):
        os.chown(os.path.join(self.store, image), *owner)
        os.chmod(os.path.join(self.store, image), mode)

    # What is said ----------------------------------------------------------------------------

    def usual(self, *words):
        """A line that is said in this scenario, and not a complaint."""
        self.allowed.append(words)

    def may_say(self, *words):
        """The same, of a line that need not come."""
        self.possible.append(words)

    def expect_green(self, host, *names):
        """What doctor says of them."""
        report_of(host.run(f"migfsctl doctor --json {IMAGES}", expect=None)).expect_green(*names)

    def end_well(self):
        """Nobody uses the layers any more, and nobody has complained."""
        for host in self.alive():
            if "layer" in host.daemons:
                host.layer_end()
        complaints = [line for host in self.alive() for line in host.complaints()]
        lines = [line for line in complaints
                 if not any(all(word in line for word in words)
                            for words in self.allowed + self.possible)]
        testbed.check(not lines, "the logs say:\n" + "\n".join(lines))
        for words in self.allowed:
            testbed.check(any(all(word in line for word in words) for line in complaints),
                          f"nobody says {words}")
