# SPDX-License-Identifier: GPL-2.0-or-later
"""One cell of the main job: a real guest, under load, that goes to and fro between two hosts."""
import contextlib
import dataclasses
import os

import hosts
import migrate
import vm

IMAGE_BYTES = 32 << 20


@dataclasses.dataclass
class Outcome:
    stack: str
    image: str
    cache: str
    migrations: int = 0
    stale_guest: int = 0
    stale_outside: int = 0
    downtime_ms: int = 0  # the longest
    trouble: list = dataclasses.field(default_factory=list)  # what went wrong, in QEMU's own words

    @property
    def damaged(self):
        return bool(self.stale_guest or self.stale_outside or self.trouble)


class Cell:
    """Boots a guest on the first host and migrates it; `progress` gets a line now and then."""

    def __init__(self, bed, stack, image_format, cache, boot, progress=lambda text: None):
        self.bed = bed
        self.progress = progress
        self.outcome = Outcome(stack, image_format, cache)
        self.disk = vm.Disk(f"disk.{image_format}", image_format, cache)
        self.hosts = hosts.hosts_mount(bed, stack)
        self.guest = vm.LinuxGuest(*boot, self._show)
        self.serial = self.guest.serial
        self.phase = "boot"

    def run(self, migrations, writes_between=1500):
        """Runs the cell; writes_between: blocks written after the destination read the image."""
        hosts.image_create(self.bed, self.hosts[0], self.disk.name, self.disk.format,
                           str(IMAGE_BYTES))
        with contextlib.ExitStack() as held:
            try:
                self._migrate_all(migrations, writes_between, held)
            except (migrate.MigrationFailed, vm.VmFailed, vm.QmpClosed, vm.QmpError,
                    OSError) as error:
                self.outcome.trouble.append(f"{self.phase}: {error}")
            finally:
                self.guest.close()
        self.outcome.stale_guest = self.serial.counts.bad if self.serial.counts else 0
        return self.outcome

    def _migrate_all(self, migrations, writes_between, held):
        machine = held.enter_context(self._vm(self.hosts[0]))
        self.serial.wait_passes()
        for number in range(migrations):
            here, there = self.hosts[number % 2], self.hosts[(number + 1) % 2]
            self.phase = f"{here.name} → {there.name} ({number + 1} of {migrations})"
            held.callback(os.close, migrate.host_reads_image(there.path(self.disk.name)))
            next_machine = held.enter_context(self._vm(there, incoming=True))
            seen = self.serial.counts.seq
            self.serial.wait_counts(lambda counts: counts.seq >= seen + writes_between
                                    or counts.error)
            downtime = migrate.migrate(machine, next_machine)
            self.outcome.migrations += 1
            self.outcome.downtime_ms = max(self.outcome.downtime_ms, downtime)
            machine.quit()
            machine = next_machine
            self.serial.wait_passes()
        self._look_outside(machine, self.hosts[migrations % 2])

    def _vm(self, host, incoming=False):
        return vm.Vm(self.bed, host.directory, [self.disk], guest=self.guest, incoming=incoming)

    def _look_outside(self, machine, host):
        """With the guest quiet and its data flushed: does this host read what the store has?"""
        self.phase = "compare"
        machine.stop()
        self.outcome.stale_outside = hosts.blocks_differing(host, self.disk.name)
        machine.quit()
        if self.disk.format == "qcow2":
            self._check_image(host)

    def _check_image(self, host):
        result = self.bed.run(["qemu-img", "check", os.path.join(host.store, self.disk.name)],
                              expect=None)
        if result.returncode not in (0, 3):  # 3: leaked clusters, which hurt nobody
            said = " ".join(result.stdout.split())
            self.outcome.trouble.append(f"qemu-img check: {said}")

    def _show(self, counts):
        self.progress(f"{self.phase}: written {counts.seq} read {counts.ok} stale {counts.stale} "
                      f"wrong {counts.wrong} errors {counts.error}")
