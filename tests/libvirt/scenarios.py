#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""libvirt on two hosts over one store: each has libvirtd, unmodified QEMU and its own migfs.

    scenarios.py [NAME]...

The store is ctofs; in the lab's machine (tests/nfs/in_machine.py) it is real NFS. A scenario takes a
Site and raises when something is not as it must be; its twins, where what makes it right is left
out, must raise Damaged.
"""
import os
import sys
import time

for directory in ("../nfs", "../qemu", "../mount", "..", "."):
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), directory))

import testbed  # noqa: E402
import virt_host  # noqa: E402
from guests import Damaged, Guest  # noqa: E402
from manual import Manual  # noqa: E402
from site_of import places  # noqa: E402
from testbed import check  # noqa: E402
from virt_host import IMAGES, STORE, patience  # noqa: E402

SCENARIOS = {}
MIGRATIONS = 10
MIGRATE = "virsh migrate --live --persistent --undefinesource web qemu+ssh://b/system"
UNSAFE = "Unsafe migration: Migration without shared storage is unsafe"
# What libvirt and QEMU say on both sides of a migration that is broken off.
BROKEN_OFF = ("Unable to shutdown socket", "Unable to read from socket", "Channel error",
              "failed to save SaveStateEntry", "Read section footer failed",
              "unexpectedly closed the monitor", "Unable to read from monitor",
              "'migration in' failed", "'migration out' failed",
              "'migration out' canceled by client")
# And when migfs has died below a guest.
DISK_GONE = ("Transport endpoint is not connected", "Unable to remove disk metadata")
LOCKED = 'Failed to get "write" lock'
# Whose image is opened anew where the guest comes to: over a twin on NFS they end either way.
MAY_BE_RIGHT = ("ten_migrations_of_a_qcow2_image", "saved_here_restored_there")


def scenario(*twins, **arguments):
    """Decorates a scenario; twins: the layers over which it must go wrong; arguments: of Site."""
    def add(function):
        SCENARIOS[function.__name__] = (function, twins, arguments)
        return function
    return add


def check_owner(site, image, owner):
    seen = site.owner(image)
    check(seen == owner, f"{image} belongs to {seen}, not {owner}")


# Migration -------------------------------------------------------------------------------------------


def ten_migrations(site, guest):
    """Under load; the image was read on the host that it comes to before, and is open there."""
    for number in range(MIGRATIONS):
        there = (site.b, site.a)[number % 2]
        with site.read_before(there, guest.image):
            guest.expect_right(passes=0)
            site.migrate(guest, there)
            guest.expect_right()
        check_owner(site, guest.image, site.qemu_user)
    site.end(guest)


@scenario("bindfs")
def ten_migrations_of_a_raw_image(site):
    ten_migrations(site, site.running("web", "raw", "none"))


@scenario("bindfs")
def ten_migrations_of_a_qcow2_image(site):
    ten_migrations(site, site.running("mail", "qcow2", "directsync"))


@scenario("bindfs")
def a_page_cache_that_qemu_drops(site):
    """libvirt takes any cache mode where QEMU drops the pages of its images, as since 4.0."""
    guests = [site.running("web", "raw", "writeback"),
              site.running("mail", "qcow2", "writethrough")]
    for there in (site.b, site.a, site.b, site.a):
        for guest in guests:
            with site.read_before(there, guest.image):
                guest.expect_right()
                site.migrate(guest, there)
                guest.expect_right()
    for guest in guests:
        site.end(guest)


@scenario(shared=False)
def an_image_that_libvirt_takes_for_local(site):
    """Without shared_filesystems a migration is refused; forced, its source gives the image back to
    root while the guest runs, and migfs keeps the guest running."""
    guest = site.running("web", "raw", "none")
    said = site.a.refused(MIGRATE)
    check(UNSAFE in said, said)
    guest.expect_right()
    site.usual(UNSAFE)
    site.a.run(MIGRATE + " --unsafe")
    guest.host = site.b
    check_owner(site, guest.image, (0, 0))
    guest.expect_right(passes=2)
    site.usual("it was given to 0:0", "it is opened again")
    site.end(guest)


# What else libvirt does ------------------------------------------------------------------------------


@scenario()
def managed_save(site):
    """Saved and started again, on the host that it came to."""
    guest = site.running("web", "qcow2", "none")
    site.migrate(guest, site.b)
    for _ in range(2):
        guest.expect_right()
        site.b.run("virsh managedsave web")
        guest.start(site.b)
    guest.expect_right()
    site.migrate(guest, site.a)
    guest.expect_right()
    site.end(guest)


@scenario("bindfs")
def saved_here_restored_there(site):
    """The file of the guest's memory is on the store, too."""
    guest = site.running("web", "raw", "none")
    saved = f"{IMAGES}/web.saved"
    site.usual("unable to canonicalize", saved)  # libvirt's question, before it makes the file
    for here, there in ((site.a, site.b), (site.b, site.a), (site.a, site.b)):
        with site.read_before(there, guest.image):
            guest.expect_right()
            here.run(f"virsh save web {saved}")
            there.run(f"virsh restore {saved}")
            guest.host = there
            guest.expect_right()
    site.end(guest)


@scenario("bindfs")
def snapshots(site):
    """An overlay is put on the image of a running guest, the guest migrates with it, and it is
    committed there."""
    guest = site.running("web", "raw", "none")
    site.a.run("virsh snapshot-create-as web before --disk-only --atomic --no-metadata "
               f"--diskspec vda,file={IMAGES}/web.before")
    guest.expect_right()
    check_owner(site, "web.before", site.qemu_user)
    with site.read_before(site.b, guest.image), site.read_before(site.b, "web.before"):
        guest.expect_right()
        site.migrate(guest, site.b)
        guest.expect_right()
    with site.read_before(site.a, guest.image):
        site.b.run("virsh blockcommit web vda --active --pivot --wait", timeout_s=300)
        os.unlink(site.b.path(f"{IMAGES}/web.before"))
        guest.expect_right()
        site.migrate(guest, site.a)
        guest.expect_right()
    site.end(guest)


@scenario()
def a_snapshot_inside_the_image(site):
    """With the guest's memory; the guest goes back to it after it was on the other host."""
    guest = site.running("web", "qcow2", "none")
    site.a.run("virsh snapshot-create-as web before")
    then = guest.expect_right(passes=2)
    said = site.a.refused(MIGRATE)
    check("snapshots" in said, said)
    site.a.run("virsh snapshot-revert web before")
    site.a.run("virsh snapshot-delete web before")
    testbed.wait_until(lambda: guest.went_back(then), patience(60), "the guest's going back")
    guest.expect_right()
    site.migrate(guest, site.b)
    guest.expect_right()
    site.end(guest)


@scenario("bindfs")
def block_copy(site):
    """Of a running guest to another image of the store, which it goes on with; then it migrates."""
    guest = site.running("web", "raw", "none")
    site.a.run(f"virsh blockcopy web vda {IMAGES}/web.copy --format raw --transient-job --wait "
               "--pivot", timeout_s=300)
    guest.image = "web.copy"
    guest.expect_right()
    check_owner(site, "web.raw", (0, 0))
    check_owner(site, "web.copy", site.qemu_user)
    for there in (site.b, site.a, site.b):
        with site.read_before(there, guest.image):
            guest.expect_right()
            site.migrate(guest, there)
            guest.expect_right()
    site.end(guest)


@scenario()
def sizes_that_libvirt_shows(site):
    """virsh domblkinfo: as the store has them, while the guest runs and when it does not."""
    guest = site.running("web", "qcow2", "none")
    for there in (site.b, site.a):
        guest.expect_right()
        guest.host.run("virsh suspend web")
        guest.expect_sizes(site.store)
        guest.host.run("virsh resume web")
        site.migrate(guest, there)
    guest.host.run("virsh destroy web")
    guest.expect_sizes(site.store)


@scenario("migfs-protect-off", settings_a=('user = "backup"', 'group = "backup"',
                                           "dynamic_ownership = 0"))
def a_destination_that_chowns(site):
    """Its libvirtd gives the image to its own user while the guest still runs on the source, as
    another one."""
    guest = site.guest("web", "raw", "none", memory_mib=1024)
    site.give(guest.image, site.ids("backup"), 0o600)
    guest.start(site.a)
    guest.expect_right()
    with site.migrating(guest, site.b) as migration:
        testbed.wait_until(lambda: site.owner(guest.image) == site.qemu_user, patience(60),
                           "the image's new owner")
        guest.expect_right(passes=3)
        migration.go_on()
    guest.expect_right()
    site.usual("it was given to", "it is opened again")
    site.end(guest)


# Failures ----------------------------------------------------------------------------------------------


@scenario("bindfs")
def a_migration_that_is_given_up(site):
    """Aborted by the administrator; then the destination's QEMU dies; then it comes to its end."""
    guest = site.running("web", "raw", "none", memory_mib=1024)
    with site.read_before(site.b, guest.image):
        with site.migrating(guest, site.b) as migration:
            guest.expect_right()
            site.a.run("virsh domjobabort web")
            said = migration.fails()
            check("canceled by client" in said, said)
        guest.expect_right()
        check_owner(site, guest.image, site.qemu_user)
        with site.migrating(guest, site.b) as migration:
            guest.expect_right()
            site.b.run("kill -9 $(cat /run/libvirt/qemu/web.pid)")
            migration.fails()
        guest.expect_right()
        check_owner(site, guest.image, site.qemu_user)
        site.migrate(guest, site.b)
        guest.expect_right()
    check_owner(site, guest.image, site.qemu_user)
    for words in BROKEN_OFF:
        site.may_say(words)
    site.end(guest)


@scenario("migfs-protect-off")
def a_second_start_by_mistake(site):
    """QEMU is refused, and libvirt gives the image back to root while the guest runs elsewhere."""
    guest = site.running("web", "raw", "none")
    guest.define(site.b)
    check(LOCKED in site.b.refused("virsh start web"), "not for its lock")
    check_owner(site, guest.image, (0, 0))
    guest.expect_right(passes=3)
    site.usual(LOCKED)
    site.may_say("Unable to read from monitor")
    site.usual("is locked, but another host writes it: no owner here")
    site.usual("it was given to 0:0", "it is opened again")
    site.end(guest)


@scenario()
def a_host_that_dies(site):
    """Its guest is started on the other one, once the server lets it."""
    guest = site.running("web", "qcow2", "none")
    guest.define(site.b)
    site.host_dies(site.a)

    def starts():
        result = site.b.run("virsh start web", expect=None)
        check(result.returncode == 0 or LOCKED in result.stderr, result.stderr)
        return result.returncode == 0
    testbed.wait_until(starts, patience(60), "the dead host's locks to go", 1)
    guest.host = site.b
    guest.expect_runs()
    site.usual("never handed it over", "check the image")
    site.may_say(LOCKED)
    site.end(guest, booted_anew=True)


@scenario()
def a_migfs_that_dies(site):
    """Its guest loses its disk, and is started again over a new one."""
    guest = site.running("web", "raw", "none")
    site.a.layer_kill()
    guest.wait_error()
    site.a.run("virsh destroy web")
    site.a.run(f"umount -l {IMAGES}")
    site.a.layer_start("migfs")
    guest.forget_reports()
    guest.start(site.a)
    guest.expect_runs()
    for words in DISK_GONE:
        site.may_say(words)
    site.usual("never handed it over", "check the image")
    site.end(guest, booted_anew=True)


# The manual page ---------------------------------------------------------------------------------------


@scenario(bare=True)
def the_manual_page(site):
    """Each of its commands, where it says so."""
    manual = Manual()
    a, b = site.a, site.b
    for host in (a, b):
        manual.run(host, f"migfs {STORE} {IMAGES}")
        host.libvirt_start(manual.setting)
    guest = site.guest("web", "raw", "none", memory_mib=1024)
    manual.run(a, "virsh start web")
    guest.host = a
    guest.expect_right()
    for host in (a, b):
        manual.run(host, f"migfsctl doctor {IMAGES}", expect=None)
        site.expect_green(host, "libvirt", "guests")
    manual_moves(site, manual, guest)
    manual_failures(site, manual, guest)
    manual.run(b, "virsh blockcopy web vda /var/lib/libvirt/images/web.copy --format raw "
               "--transient-job --wait --pivot")
    guest.image = "web.copy"
    guest.expect_runs()
    guest.expect_stored(site.store, booted_anew=True)
    manual.run(b, "virsh destroy web")
    manual.run(a, f"migfsctl forget {IMAGES}/web.raw")
    other = Guest("mail", "qcow2", "none")
    other.create(a)
    manual.run(b, f"qemu-img check -f qcow2 {IMAGES}/mail.qcow2")
    manual.expect_nothing_left()
    for host in (a, b):
        host.run(f"umount {IMAGES}")
    site.may_say("unable to canonicalize", "web.saved")
    site.may_say(LOCKED)
    for words in BROKEN_OFF + DISK_GONE:
        site.may_say(words)


def manual_moves(site, manual, guest):
    """From a to b, by all ways."""
    a, b = site.a, site.b
    manual.run(a, MIGRATE)
    guest.host = b
    manual.run(b, f"migfsctl history {IMAGES}/web.raw")
    check("owner" in manual.run(b, f"migfsctl status {IMAGES}").stdout, "b is not owner")
    guest.expect_right()
    manual.run(b, "virsh managedsave web")
    manual.run(b, "virsh start web")
    guest.expect_right()
    manual.run(b, f"virsh save web {IMAGES}/web.saved")
    manual.run(a, f"virsh restore {IMAGES}/web.saved")
    guest.host = a
    guest.expect_right()
    manual.run(a, "virsh snapshot-create-as web before --disk-only --atomic --no-metadata")
    guest.expect_right()
    manual.run(a, MIGRATE)
    guest.host = b
    guest.expect_right()
    manual.run(b, "virsh blockcommit web vda --active --pivot --wait")
    guest.expect_right()
    manual.run(b, "virsh domblkinfo web vda")


def manual_failures(site, manual, guest):
    """While it runs on b; it ends there, booted anew."""
    a, b = site.a, site.b
    with site.migrating(guest, a) as migration:
        manual.run(b, "virsh domjobabort web")
        migration.fails()
    guest.define(a)
    manual.refused(a, "virsh start web", LOCKED)
    manual.run(b, f"chown libvirt-qemu:libvirt-qemu {IMAGES}/web.raw")
    check_owner(site, guest.image, site.qemu_user)
    guest.expect_right()
    b.run("kill -9 $(pidof migfs)")
    guest.wait_error()
    manual.run(b, "virsh destroy web")
    manual.run(b, f"umount -l {IMAGES}")
    manual.run(b, f"migfs {STORE} {IMAGES}")
    guest.forget_reports()
    manual.run(b, "virsh start web")
    guest.expect_runs()


# What runs them ----------------------------------------------------------------------------------------


def run_over(place, name, layer):
    """The damage that it ran into, or None."""
    function, _, arguments = SCENARIOS[name]
    started = time.monotonic()
    outcome = None
    with testbed.Testbed(f"libvirt-{name}", 600) as bed:
        with place.site(bed, layer, **arguments) as site:
            try:
                function(site)
                site.end_well()
            except Damaged as damaged:
                outcome = damaged
    print(f"{name} over {layer}: {outcome or 'right'} [{time.monotonic() - started:.0f} s]",
          flush=True)
    return outcome


def run():
    bad = []
    place = places()
    for name in sys.argv[1:] or SCENARIOS:
        _, twins, _ = SCENARIOS[name]
        for layer in ("migfs", *twins):
            try:
                outcome = run_over(place, name, layer)
                right = outcome is None if layer == "migfs" else (
                    outcome is not None or name in MAY_BE_RIGHT and not place.caches_always)
            except (testbed.TestFailure, OSError) as failure:
                outcome, right = failure, False
            if not right:
                print(f"BAD {name} over {layer}: {outcome}", flush=True)
                bad.append(f"{name} over {layer}")
    check(not bad, ", ".join(bad))


if __name__ == "__main__":
    virt_host.require()
    os.umask(0o022)
    testbed.main(run)
