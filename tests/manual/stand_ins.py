# SPDX-License-Identifier: GPL-2.0-or-later
"""Plays man/migfs-vmm.7: Cloud Hypervisor, crosvm and Firecracker are stand-ins, programs of the
names that the page has, whose calls on the images are made by tests/hosts/vmm.c."""
import testbed
from place import Exchange
from testbed import check

HOOK = "/usr/libexec/migfs-hook"
IMAGES = ("web.raw", "data.raw")
BOTH = " ".join(f"/srv/vm/{name}" for name in IMAGES)
FULL = "lock {slot} w 0 0", "unlock {slot} 0 0"
PROGRAMS = ("ch-remote", "crosvm", "curl", "ssh", "guest_pause", "guest_save", "guest_load",
            "guest_end", "guest_resume")


class Monitor:
    """A process on a host with both images open, one a slot."""

    def __init__(self, place):
        self.process = place.start(f"exec {testbed.binary('vmm')}")
        for slot, name in enumerate(IMAGES, 1):
            self.ask(f"open {slot} rw /srv/vm/{name}")

    def ask(self, line, number=0):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        word, _, result = self.process.stdout.readline().rstrip("\n").partition(" ")
        check(word == ("error" if number else "ok"), f"{line}: {word} {result}")
        return result.strip()

    def all(self, line):
        for slot in range(1, len(IMAGES) + 1):
            self.ask(line.format(slot=slot))

    def write(self, byte):
        self.all(f"write {{slot}} 0 65536 {byte}")

    def expect(self, byte):
        for slot in range(1, len(IMAGES) + 1):
            seen = self.ask(f"read {slot} 0 65536")
            check(seen == f"{ord(byte):02x}*65536", f"stale: {seen}")

    def end(self):
        self.process.stdin.close()
        self.process.wait()


class Monitors:
    """The page, section by section."""

    def __init__(self, page, hosts):
        self.page = page
        self.hosts = hosts
        self.a, self.b = hosts.a, hosts.b
        self.running = {"a": None, "b": None}
        self.breaks = False  # the destination does not load
        for place in (self.a, self.b):
            for program in PROGRAMS:
                place.script(f"usr/local/bin/{program}", Exchange.PROGRAM)
        hosts.exchange.serve(self.carry_out)

    def play(self):
        self.cloud_hypervisor()
        self.crosvm()
        self.firecracker()
        self.in_one_script()
        self.failures()

    def run(self, place, words, expect=0):
        return place.run(self.page.take(words), expect=expect)

    def mounted(self, options):
        for place in (self.a, self.b):
            self.run(place, f"migfs /nfs/images /srv/vm -o {options}")

    def unmounted(self):
        for name, monitor in self.running.items():
            if monitor:
                monitor.end()
            self.running[name] = None
        for place in (self.a, self.b):
            place.run("umount /srv/vm")

    def starts(self, place, *calls):
        self.running[place.name] = Monitor(place)
        for call in calls:
            self.running[place.name].all(call)
        return self.running[place.name]

    # What the stand-ins are asked: by the name of their host; the status is returned.

    def carry_out(self, host, words):
        program, *arguments = words
        if program == "ssh":
            place = {"a": self.a, "b": self.b}[arguments[0]]
            if arguments[1].startswith("guest_"):
                return self.guest(place, arguments[1])
            return place.run(" ".join(arguments[1:]), expect=None).returncode
        if program.startswith("guest_"):
            return self.guest({"a": self.a, "b": self.b}[host], program)
        return self.monitor({"a": self.a, "b": self.b}[host], " ".join(words))

    def monitor(self, place, words):
        running = self.running[place.name]
        if "crosvm stop" in words:
            running.end()
            self.running[place.name] = None
        elif "crosvm run" in words:
            self.starts(place, "flock {slot} ex")
        elif "snapshot/create" in words:
            running.all("fsync {slot}")
        elif "snapshot/load" in words:
            self.starts(place)
        elif not any(known in words for known in (
                "pause", "resume", "suspend", "snapshot take", "Paused", "Resumed")):
            return 1
        return 0

    def guest(self, place, what):
        if what == "guest_load":
            if self.breaks:
                return 1
            self.starts(place)
        elif what == "guest_save":
            self.running[place.name].all("fsync {slot}")
        elif what == "guest_end" and self.running[place.name]:
            self.running[place.name].end()
            self.running[place.name] = None
        return 0

    # The sections.

    def cloud_hypervisor(self):
        lock, unlock = FULL
        self.mounted("profile=range")
        source = self.starts(self.a, lock)
        check("owner" in self.run(self.a, "migfsctl status /srv/vm").stdout, "a is not owner")
        source.write("A")
        source.all(unlock)                  # the migration
        destination = self.starts(self.b, lock)
        destination.end()                   # which fails
        self.running["b"] = None
        source.ask("write 1 0 4096 X", number=5)
        self.run(self.a, f"{HOOK} acquire {BOTH}")
        source.expect("A")
        source.write("B")
        self.run(self.a, "ch-remote --api-socket=/run/web.sock pause")
        self.run(self.a, f"{HOOK} release {BOTH}")
        source.all(unlock)                  # the next one
        destination = self.starts(self.b, lock)
        self.run(self.b, "ch-remote --api-socket=/run/web.sock resume")
        destination.expect("B")
        self.unmounted()

    def crosvm(self):
        self.mounted("profile=flock")
        self.starts(self.a, "flock {slot} ex").write("C")
        self.run(self.a, "crosvm suspend /run/web.sock")
        self.run(self.a, "crosvm snapshot take /srv/vm/web.snapshot /run/web.sock")
        self.run(self.a, "crosvm stop /run/web.sock")
        self.run(self.b, "crosvm run --restore /srv/vm/web.snapshot --block path=/srv/vm/web.raw")
        self.running["b"].expect("C")
        self.unmounted()

    def firecracker(self):
        self.mounted("profile=none,fence=strict")
        source = self.starts(self.a)
        self.run(self.a, f"{HOOK} acquire {BOTH}")
        source.write("D")
        self.run(self.a, f"{HOOK} check source {BOTH}")
        self.run(self.b, f"{HOOK} check destination {BOTH}")
        self.a.run(self.page.find("Paused"))
        self.a.run(self.page.find("snapshot/create"))
        self.run(self.a, f"{HOOK} release {BOTH}")
        self.b.run(self.page.find("snapshot/load"))
        self.run(self.b, f"{HOOK} acquire {BOTH}")
        self.b.run(self.page.find("Resumed"))
        destination = self.running["b"]
        destination.expect("D")
        destination.write("E")
        self.run(self.a, f"{HOOK} acquire {BOTH}", expect=4)  # while the destination has them
        destination.expect("E")
        destination.end()                   # a migration that fails
        self.running["b"] = None
        self.run(self.a, f"{HOOK} acquire {BOTH}")
        source.expect("E")

    def in_one_script(self):
        """There, then back, which fails: the guest stays where it is."""
        for place in (self.a, self.b):
            place.script("usr/local/bin/guest_move", self.page.find("guest_move HOST IMAGE"))
        self.running["a"].write("F")
        self.hosts.exchange.asked.clear()
        self.a.run(f"guest_move b {BOTH}")
        check(self.running["a"] is None, "the source has not ended")
        self.running["b"].expect("F")
        self.running["b"].write("G")
        self.breaks = True
        self.b.run(f"guest_move a {BOTH}")
        self.running["b"].expect("G")
        self.running["b"].write("H")
        asked = self.hosts.exchange.asked
        check(asked[-1] == "guest_resume" and asked.count("guest_pause") == 2, f"{asked}")
        self.unmounted()

    def failures(self):
        """What is not shown in a section above."""
        self.mounted("profile=none,fence=strict")
        source = self.starts(self.a)
        self.a.run(f"{HOOK} acquire {BOTH} && {HOOK} release {BOTH}")
        self.starts(self.b).write("I")      # resumed, and nobody has acquired
        self.running["b"].all("fsync {slot}")
        self.running["b"].end()
        self.running["b"] = None
        self.a.run(f"{HOOK} acquire {BOTH}", expect=1)
        source.end()
        self.running["a"] = None
        self.run(self.a, "migfsctl forget /srv/vm/web.raw")
        self.a.run("migfsctl forget /srv/vm/data.raw")
        self.starts(self.a)
        self.a.run(f"{HOOK} acquire {BOTH}")
        self.running["a"].expect("I")
        self.unmounted()
        self.migfs_dies()

    def migfs_dies(self):
        for place in (self.a, self.b):
            place.run("migfs /nfs/images /srv/vm")
        opened = self.starts(self.a)
        self.a.run("kill -9 $(pidof migfs)")
        opened.ask("read 1 0 4096", number=107)
        opened.end()
        self.running["a"] = None
        self.run(self.a, "umount -l /srv/vm")
        self.a.run("migfs /nfs/images /srv/vm")
        self.unmounted()
