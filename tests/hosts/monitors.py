#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Monitors other than QEMU, as man/migfs-vmm.7 recommends them: Cloud Hypervisor, crosvm and
Firecracker by the calls that they make on an image, from the start of a guest to its hand-over.

Debian has none of them, and each needs KVM: vmm.c makes their calls, in their order. They are:

Cloud Hypervisor 46 and newer. Opens the image, reads its first block to tell the format, asks for
its length. A guest that starts, and the destination of a migration before its guest runs, takes one
exclusive lock (OFD): of all (`lock_granularity=full`, and before version 50) or of the length
(`byte-range`). The destination opens the image only when the source has unlocked it and sent its
last state. The source unlocks with its guest paused, before that; if the migration fails later its
guest goes on without a lock. It ends when the migration is complete.
A fork of it takes QEMU's locks (`qemu-compatible`).

crosvm. Opens the image, flock(LOCK_EX | LOCK_NB), sets O_DIRECT if told so, then the length and the
first 4 KiB. It gives the lock by its end. No live migration: `suspend`, `snapshot take`, `stop`; the
other host restores the snapshot.

Firecracker. Opens the image, lseek(SEEK_END), fstat; no lock. To make a snapshot, which needs a
paused guest, it syncs the image, then writes the files for memory and state and syncs them. Loading
it opens the images; the guest runs when it is resumed. migfs-hook tells when.
"""
import dataclasses
import errno
import os

from pair import IMAGE_BYTES, CallFailed, runs
from scenario import BINDFS, COHERENCE_OFF, Theme, Wrong, expect, expect_same, expect_state
import testbed

theme = Theme("monitors")
HOOK = os.path.join(testbed.TOP_DIR, "package", "migfs-hook")
ELSEWHERE = 4  # of the hook, on another host than that which has the image
PATH = {"PATH": f"{testbed.bin_dir()}:{os.environ['PATH']}"}


@dataclasses.dataclass(frozen=True)
class Monitor:
    """Its calls on slot 1, in order; {length} is that of the file. `hooked`: migfs-hook says when."""
    name: str
    options: str          # of migfs, as the manual page has them
    looks: tuple = ()     # after the open, before the lock
    locks: tuple = ()
    knows: tuple = ()     # with the lock
    gives: tuple = ()     # its guest is paused; else its end gives the lock
    hooked: bool = False

    def __str__(self):
        return self.name


OPTIONS = "deadline=1000"
LOOKS = ("read 1 0 4096", "end 1", "size 1")
FULL = Monitor("cloud_hypervisor_full", f"profile=range,{OPTIONS}", looks=LOOKS,
               locks=("lock 1 w 0 0",), gives=("unlock 1 0 0",))
BYTE_RANGE = Monitor("cloud_hypervisor_byte_range", f"profile=range,{OPTIONS}", looks=LOOKS,
                     locks=("lock 1 w 0 {length}",), gives=("unlock 1 0 {length}",))
AS_QEMU = Monitor("cloud_hypervisor_qemu_compatible", OPTIONS, looks=LOOKS,
                  locks=tuple(f"lock 1 r {byte} 1" for byte in (100, 101, 201))
                  + tuple(f"getlk 1 w {byte} 1" for byte in (200, 201, 101)),
                  gives=tuple(f"unlock 1 {byte} 1" for byte in (100, 101, 200, 201)))
CROSVM = Monitor("crosvm", f"profile=flock,{OPTIONS}", locks=("flock 1 ex",),
                 knows=("end 1", "read 1 0 4096"))
CROSVM_DIRECT = dataclasses.replace(CROSVM, name="crosvm_direct", knows=("direct 1", *CROSVM.knows))
FIRECRACKER = Monitor("firecracker", f"profile=none,fence=strict,{OPTIONS}",
                      looks=("end 1", "size 1"), gives=("fsync 1",), hooked=True)

CLOUD_HYPERVISORS = (FULL, BYTE_RANGE, AS_QEMU)
LOCKING = (*CLOUD_HYPERVISORS, CROSVM, CROSVM_DIRECT)
MONITORS = (*LOCKING, FIRECRACKER)


class Refused(testbed.TestFailure):
    """The monitor did not start; the text says by what."""


def make_calls(vmm, calls):
    """A getlk that is in the way is what the monitor takes for a refusal."""
    for call in calls:
        answer = vmm.ask(call.format(length=vmm.ask("size 1") if "{" in call else 0))
        if call.startswith("getlk") and answer != "free":
            raise CallFailed(call, errno.EAGAIN)


def hook(host, *arguments, expected=0):
    """migfs-hook as it is installed. Where nothing is handed over there is nobody to be told."""
    if host.stack not in (BINDFS, COHERENCE_OFF):
        host.bed.run([HOOK, *arguments], env=PATH, expect=expected)


def starts(monitor, host, name):
    """A guest starts there, or a snapshot or an incoming migration is taken up."""
    vmm = host.vmm(name)
    try:
        make_calls(vmm, monitor.looks + monitor.locks + monitor.knows)
        if monitor.hooked:
            hook(host, "acquire", host.path(name))
    except (CallFailed, testbed.TestFailure) as refused:
        vmm.close()
        raise Refused(str(refused)) from refused
    return vmm


def starts_at_last(monitor, host, name):
    """The one before is on its way out: whoever starts a guest tries again."""
    started = []

    def start():
        try:
            started.append(starts(monitor, host, name))
        except Refused:
            return False
        return True
    testbed.wait_until(start, what=f"{monitor} on host {host.name}")
    return started[0]


def pauses_and_gives(monitor, vmm, name):
    make_calls(vmm, monitor.gives)
    if monitor.hooked:
        hook(vmm.host, "release", vmm.host.path(name))
    if not monitor.gives:
        vmm.close()


def moves(monitor, vmm, there, name):
    """The guest goes to that host."""
    pauses_and_gives(monitor, vmm, name)
    return starts_at_last(monitor, there, name)


def expect_silent(monitor, vmm):
    """A source that is still there, and writes on, does no harm; then it ends."""
    if not monitor.gives:
        return
    error = vmm.error("write 1 0 4096 X")
    expect(error != 0, "the source writes after its hand-over")
    testbed.check(error == errno.EIO, f"a source that has handed over gets {error}")
    vmm.close()


def image_that_others_read(pair):
    """Programs on both hosts have read the image and keep it open (a backup, an inventory): so no
    open is a first one there, by which a store renews what it has cached."""
    name = pair.image()
    for host in (pair.a, pair.b):
        host.vmm(name, "r").read(1, 0, IMAGE_BYTES)
    return name


def guest_writes(vmm, byte, length=IMAGE_BYTES):
    """Not flushed: what a hand-over has to see to."""
    for offset in range(0, length, length // 4):
        vmm.write(1, offset, length // 4, byte)


def expect_content(vmm, byte, length=IMAGE_BYTES):
    expect_same(vmm.read(1, 0, length), runs(byte, length), f"the guest on {vmm.host.name} reads")
    expect_same(vmm.ask("size 1"), str(length), "the length")


# What each must do -------------------------------------------------------------------------------

def there_and_back(monitor, pair):
    name = image_that_others_read(pair)
    vmm = starts(monitor, pair.a, name)
    for there, byte in ((pair.b, "A"), (pair.a, "B"), (pair.b, "C")):
        guest_writes(vmm, byte)
        source, vmm = vmm, moves(monitor, vmm, there, name)
        expect_content(vmm, byte)
        expect_silent(monitor, source)
        expect_content(vmm, byte)
        expect_state(pair, vmm, 1, "owner")


def second_start(monitor, pair):
    """By mistake, while the guest runs: refused, and the guest does not notice."""
    name = image_that_others_read(pair)
    vmm = starts(monitor, pair.a, name)
    guest_writes(vmm, "A")
    try:
        starts(monitor, pair.b, name)
    except Refused:
        pass
    else:
        raise Wrong("a second one starts, and would write")
    expect_state(pair, vmm, 1, "owner")
    guest_writes(vmm, "B")
    expect_content(moves(monitor, vmm, pair.b, name), "B")


def killed(monitor, pair):
    """What it had written is there when the guest is started on the other host."""
    name = image_that_others_read(pair)
    vmm = starts(monitor, pair.a, name)
    guest_writes(vmm, "A")
    dies(monitor, vmm, name)
    vmm = starts_at_last(monitor, pair.b, name)
    expect_content(vmm, "A")
    guest_writes(vmm, "B")
    dies(monitor, vmm, name)
    expect_content(starts_at_last(monitor, pair.a, name), "B")


def migration_fails(monitor, pair):
    """The destination has taken the image over and dies before its guest runs. The source goes on,
    as the manual page says, nobody else can start, and the next migration is right."""
    name = image_that_others_read(pair)
    source = starts(monitor, pair.a, name)
    guest_writes(source, "A")
    pauses_and_gives(monitor, source, name)
    destination = starts_at_last(monitor, pair.b, name)
    if monitor.gives:  # the source is still there, and believes too early that it failed
        hook(pair.a, "acquire", pair.a.path(name), expected=ELSEWHERE)
    dies(monitor, destination, name)
    source = goes_on(monitor, source, name)
    guest_writes(source, "B")
    try:
        starts(monitor, pair.b, name)
    except Refused:
        pass
    else:
        raise Wrong("one starts beside the source, which goes on")
    if monitor in CLOUD_HYPERVISORS:  # paused with `ch-remote pause`
        hook(pair.a, "release", pair.a.path(name))
    expect_content(moves(monitor, source, pair.b, name), "B")


def goes_on(monitor, source, name):
    """Cloud Hypervisor resumes its guest without a lock: it must not write so, beside others."""
    if not monitor.gives:
        return starts_at_last(monitor, source.host, name)  # the snapshot, where it was made
    if not monitor.hooked:
        expect(source.error("write 1 0 4096 X") == errno.EIO, "the source writes without its lock")
    hook(source.host, "acquire", source.host.path(name))
    return source


def dies(monitor, vmm, name):
    """Who took no lock is followed by what else has the image open on its host: as the manual page
    says, the administrator releases it."""
    vmm.kill()
    if monitor.hooked:
        hook(vmm.host, "release", vmm.host.path(name))


for each in MONITORS:
    for what in (there_and_back, second_start, killed, migration_fails):
        # What is direct is so with coherence=off, too.
        twins = [BINDFS] if each is CROSVM_DIRECT else [COHERENCE_OFF, BINDFS]
        if what is migration_fails and each in CLOUD_HYPERVISORS:
            twins.append(f"fence=off,{each.options}")

        def run(pair, monitor=each, act=what):
            act(monitor, pair)
        theme.scenario(*twins, options=each.options, name=f"{each}_{what.__name__}")(run)


# Cloud Hypervisor -------------------------------------------------------------------------------

@theme.scenario(COHERENCE_OFF, BINDFS, options=BYTE_RANGE.options)
def a_disk_that_grows_under_a_lock_of_its_length(pair):
    """As by `ch-remote resize-disk`; a qcow2 image does so by itself."""
    name = image_that_others_read(pair)
    source = starts(BYTE_RANGE, pair.a, name)
    source.ask(f"resize 1 {2 * IMAGE_BYTES}")
    guest_writes(source, "A", 2 * IMAGE_BYTES)
    expect_state(pair, source, 1, "owner")
    destination = moves(BYTE_RANGE, source, pair.b, name)
    expect_content(destination, "A", 2 * IMAGE_BYTES)
    expect_state(pair, destination, 1, "owner")
    expect_silent(BYTE_RANGE, source)


@theme.scenario(FULL.options, options=FULL.options)
def a_lock_of_less_than_the_length_owns_nothing(pair):
    """As of some versions for a sparse image: what `migfsctl status` shows is plain. The twin has
    the length, and shows owner."""
    vmm = pair.a.vmm(pair.image())
    vmm.ask(f"lock 1 w 0 {IMAGE_BYTES if pair.twin else IMAGE_BYTES // 2}")
    expect(vmm.state(1) == "plain", f"it is {vmm.state(1)}")


# Firecracker ------------------------------------------------------------------------------------

FENCE = FIRECRACKER.options
ANY_WRITES = FENCE.replace("fence=strict,", "")


@theme.scenario(COHERENCE_OFF, options=FENCE)
def firecracker_killed_alone(pair):
    """Where nobody else has the image open its end releases it."""
    name = pair.image()
    vmm = starts(FIRECRACKER, pair.a, name)
    other = pair.b.vmm(name)
    other.read(1, 0, IMAGE_BYTES)
    guest_writes(vmm, "A")
    vmm.kill()
    expect_content(starts_at_last(FIRECRACKER, pair.b, name), "A")


@theme.scenario(ANY_WRITES, options=FENCE)
def firecracker_started_by_mistake_without_the_hook(pair):
    """Nothing refuses its start, so its writes have to be: fence=strict."""
    name = image_that_others_read(pair)
    vmm = starts(FIRECRACKER, pair.a, name)
    guest_writes(vmm, "A")
    second = pair.b.vmm(name)
    make_calls(second, FIRECRACKER.looks)
    expect(second.error("write 1 0 4096 X") == errno.EIO, "the second one writes")
    expect_content(vmm, "A")


@theme.scenario(ANY_WRITES, options=FENCE)
def firecracker_resumed_without_the_hook(pair):
    """The destination's guest has written, and nobody had acquired: the source's must not go on."""
    name = image_that_others_read(pair)
    source = starts(FIRECRACKER, pair.a, name)
    guest_writes(source, "A")
    pauses_and_gives(FIRECRACKER, source, name)
    destination = pair.b.vmm(name)
    guest_writes(destination, "B")
    destination.ask("fsync 1")
    destination.close()
    acquired = pair.bed.run([HOOK, "acquire", pair.a.path(name)], env=PATH, expect=None)
    expect(acquired.returncode != 0, "the source goes on with another image than it had")
    testbed.check(acquired.returncode == 1 and "forget" in acquired.stderr, f"{acquired}")
    source.close()
    pair.a.ctl("forget", pair.a.path(name))
    expect_content(starts(FIRECRACKER, pair.a, name), "B")


if __name__ == "__main__":
    theme.main()
