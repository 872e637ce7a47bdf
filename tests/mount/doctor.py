#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""migfsctl doctor: each check is green on a right set-up and not on one that is wrong in its way,
as far as one machine without NFS can show; the rest is tests/nfs/doctor.py.

What a check reads is laid over the machine's own in a mount namespace: doctor itself knows no other
root.

doctor.py [CHECK]...
"""

import contextlib
import fcntl
import os
import shlex
import signal
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import forged_beacon  # noqa: E402
import testbed  # noqa: E402
from report import FAILED, UNSAFE, USAGE, WARNINGS, report_of, reports_of  # noqa: E402
from testbed import binary, check  # noqa: E402

ALWAYS = {"kernel", "libfuse", "io_uring", "security", "limits", "libvirt", "guests"}
OF_SOURCE = {"store", "options", "lease", "recovery", "records", "lock", "hosts", "openers",
             "images"}
OFD_SETLK = 37
# The rest of these trees is needed; what goes first.
OVERLAID = {"/etc": "/etc/libvirt /etc/apparmor.d", "/usr/share": "/usr/share/augeas"}
LENS = "/usr/share/augeas/lenses/libvirtd_qemu.aug"  # of what libvirt's QEMU driver reads
KNOWN = 'let filesystem_entry = str_array_entry "shared_filesystems"\n'
UNKNOWN = 'let other_entry = bool_entry "dynamic_ownership"\n'


def laid_over(files):
    """A shell script's beginning that lays files over the machine's own: {path: text}, or None for
    none."""
    lines = ["set -e", "mount --make-rprivate /"]
    for tree in (*OVERLAID, "/sys/fs", "/sys/module", "/dev"):
        mine = {path: text for path, text in files.items() if path.startswith(tree + "/")}
        if not mine:
            continue
        if tree in OVERLAID:
            layer = "$LAYER" + tree
            lines += [f'mkdir -p "{layer}/upper" "{layer}/work"',
                      f'mount -t overlay -o "lowerdir={tree},upperdir={layer}/upper,'
                      f'workdir={layer}/work" overlay {tree}',
                      f"rm -rf {OVERLAID[tree]}"]
        else:
            lines.append(f"mount -t tmpfs none {tree}")
        for path, text in mine.items():
            if text is not None:
                lines += [f"mkdir -p {shlex.quote(os.path.dirname(path))}",
                          f"printf %s {shlex.quote(text)} >{shlex.quote(path)}"]
    for path, text in files.items():
        if path.startswith("/proc/"):
            lines += [f'printf %s {shlex.quote(text)} >"$LAYER/file"',
                      f'mount --bind "$LAYER/file" {path}']
    return "\n".join(lines) + "\n"


def doctor(bed, *paths, files=None, as_user=False, before=(), script=""):
    """Runs it with --json; the reports of its subjects, one alone where there is one."""
    command = [*before, binary("migfsctl"), "doctor", "--json", *paths]
    env = None
    if files or script:
        command = ["unshare", "-m", "sh", "-c",
                   laid_over(files or {}) + script + "\nexec " + shlex.join(command)]
        env = {"LAYER": bed.directory(os.path.basename(bed.unique("layer")))}
    reports = reports_of(bed.run(command, expect=None, as_user=as_user, env=env))
    return reports[0] if len(reports) == 1 else reports


def served(bed, options=""):
    """A source with an image, and its mount, once its beacon is there."""
    source = bed.directory(os.path.basename(bed.unique("source")))
    with open(source + "/image", "wb") as file:
        file.truncate(1 << 20)
    mount = bed.mount_migfs(source, options=options)
    if "off" not in options:
        testbed.wait_until(lambda: forged_beacon.listing(source), what="the beacon")
    return source, mount


# What is examined --------------------------------------------------------------------------------


def a_right_setup_is_green(bed):
    """All but that a disk is of this host alone."""
    source, mount = served(bed)
    report = doctor(bed, mount.path)
    check(set(report.findings) == ALWAYS | OF_SOURCE | {"mount"}, f"{set(report.findings)}")
    report.expect_green(*(set(report.findings) - {"store", "io_uring", "kernel"}))
    report.expect("mount", "green", source, "the defaults")
    report.expect("store", "yellow", "of this host alone")
    check(report.status == WARNINGS, f"status {report.status}")
    check(len(forged_beacon.listing(source)) == 1, f"left: {forged_beacon.listing(source)}")
    mount.umount()


def a_source_before_it_is_mounted(bed):
    source = bed.directory("source")
    report = doctor(bed, source)
    check(set(report.findings) == ALWAYS | OF_SOURCE, f"{set(report.findings)}")
    report.expect("records", "green", "made by the first mount")
    check(os.listdir(source) == [], f"left: {os.listdir(source)}")


def without_mounts(*kept):
    """A shell script's part that unmounts each other migfs where it runs."""
    paths = " | ".join(shlex.quote(mount.path) for mount in kept) or "''"
    return f"""
sed -n 's/^\\([^ ]* \\)\\{{4\\}}\\([^ ]*\\) .* - fuse.migfs .*/\\2/p' /proc/self/mountinfo |
    while read -r path; do case $path in {paths}) ;; *) umount -l "$path" ;; esac; done
"""


def said_beside(bed, *mounts, expect=None):
    """What doctor says without an argument where no other migfs is mounted."""
    script = without_mounts(*mounts) + f"exec {binary('migfsctl')} doctor"
    return bed.run(["unshare", "-m", "sh", "-c", script], expect=expect)


def all_mounts_without_an_argument(bed):
    mounts = [served(bed)[1] for _ in range(2)]
    found = doctor(bed, script=without_mounts(*mounts))
    paths = [report.path for report in found]
    check(paths == [mount.path for mount in mounts], f"{paths}")


def no_mount_is_said(bed):
    report = doctor(bed, script=without_mounts())
    check(report.path is None, f"path {report.path}")
    check(set(report.findings) == ALWAYS, f"{set(report.findings)}")
    said = said_beside(bed)
    check("no migfs is mounted here" in said.stderr and "SOURCE" in said.stderr, said.stderr)
    conf = "/etc/libvirt/qemu.conf"
    doctor(bed, script=without_mounts(), files={conf: "", LENS: KNOWN}).expect(
        "libvirt", "red", "takes what migfs mounts for a local disk", '[ "MOUNTPOINT" ]')
    some = 'shared_filesystems = [ "/a" ]\n'
    doctor(bed, script=without_mounts(), files={conf: some, LENS: KNOWN}).expect(
        "libvirt", "green", "names some directories")


def lines_have_colour_check_text_and_mend(bed):
    source = bed.directory("source")
    result = bed.run([binary("migfsctl"), "doctor", source], expect=WARNINGS)
    lines = result.stdout.splitlines()
    check(lines[0] == source + ":", lines[0])
    for line in lines[1:]:
        colour, name = line.split()[:2]
        check(colour in ("green", "yellow", "red") and name in ALWAYS | OF_SOURCE, line)
        check(("; mend: " in line) == (colour != "green"), line)
    check("\033" not in result.stdout, "escapes where no terminal is")


def bad_arguments_are_refused(bed):
    path = bed.directory("source") + "/file"
    with open(path, "w", encoding="ascii"):
        pass
    for status, words, *arguments in ((USAGE, "one MOUNTPOINT or SOURCE", "/", "/"),
                                      (USAGE, "takes no --group", "--group", "1"),
                                      (FAILED, "No such file", path + ".not"),
                                      (FAILED, "not a directory", path)):
        result = bed.run([binary("migfsctl"), "doctor", *arguments], expect=status)
        check(words in result.stderr, result.stderr)


def a_daemon_that_has_ended_is_said(bed):
    """And the other mounts are examined."""
    ended, mount = (served(bed)[1] for _ in range(2))
    ended.kill()
    result = said_beside(bed, ended, mount, expect=FAILED)
    check(f"{ended.path}: its daemon has ended; umount it, and mount it anew" in result.stderr,
          result.stderr)
    check(f"{mount.path}:\n" in result.stdout, result.stdout)
    ended.abort()
    mount.umount()


def a_store_that_does_not_answer_is_red(bed):
    store = bed.directory("store")
    below = bed.mount_ctofs(store)
    below.signal(signal.SIGSTOP)
    try:
        result = bed.run([binary("migfsctl"), "doctor", "--json", below.path], expect=UNSAFE,
                         timeout_s=90)
    finally:
        below.signal(signal.SIGCONT)
    report = report_of(result)
    report.expect("mount", "red", "did not answer", "server")


# This host ---------------------------------------------------------------------------------------


def kernel(bed):
    source = bed.directory("source")
    report = doctor(bed, source, before=("setarch", os.uname().machine, "--uname-2.6"))
    report.expect("kernel", "yellow", "Linux 2.6", "5.12")
    report = doctor(bed, source, files={"/dev/null": None})
    report.expect("kernel", "red", "/dev/fuse", "modprobe fuse")


def libfuse(bed):
    migfsctl = bed.install("migfsctl")
    source = bed.directory("source")

    def found(version):
        path = os.path.join(os.path.dirname(migfsctl), "migfs")
        with open(path, "w", encoding="ascii") as file:
            file.write(f"#!/bin/sh\necho 'migfs 0.1.0 (libfuse {version})'\n")
        os.chmod(path, 0o755)
        result = bed.run([migfsctl, "doctor", "--json", source], expect=None)
        os.unlink(path)
        return report_of(result)

    found("3.17.2").expect_green("libfuse")
    found("3.14.0").expect("libfuse", "red", "3.14.0", "3.17")
    found("3.18.0").expect("libfuse", "yellow", "3.18.0")
    result = bed.run([migfsctl, "doctor", "--json", source], expect=UNSAFE, env={"PATH": "/bin"})
    report_of(result).expect(
        "libfuse", "red", "cannot be run", "install")


def io_uring(bed):
    switch = "/proc/sys/kernel/io_uring_disabled"
    if not os.path.exists(switch):
        testbed.skip("this kernel has no io_uring_disabled")
    for value, words in (("1", "privileged"), ("2", "does not start")):
        report = doctor(bed, bed.directory("source"), files={switch: value})
        report.expect("io_uring", "yellow", words, "sysctl kernel.io_uring_disabled=0")


def selinux(bed):
    source = bed.directory("source")
    enforcing = {"/sys/fs/selinux/enforce": "1", "/sys/fs/selinux/booleans/virt_use_fusefs": "0 0"}
    doctor(bed, source, files=enforcing).expect("security", "red", "virt_use_fusefs", "setsebool")
    doctor(bed, source, files={**enforcing, "/sys/fs/selinux/enforce": "0"}
           ).expect_green("security")
    doctor(bed, source, files={**enforcing, "/sys/fs/selinux/booleans/virt_use_fusefs": "1 1"}
           ).expect_green("security")


def apparmor(bed):
    _, mount = served(bed)
    profile = "/etc/apparmor.d/usr.lib.libvirt.virt-aa-helper"
    confined = {"/sys/module/apparmor/parameters/enabled": "Y", profile: "profile"}
    doctor(bed, mount.path, files=confined).expect("security", "yellow", "virt-aa-helper",
                                                   f"{mount.path}/** r")
    local = "/etc/apparmor.d/local/usr.lib.libvirt.virt-aa-helper"
    for right in ({**confined, local: f"{mount.path}/** r,\n"},
                  {**confined, "/sys/module/apparmor/parameters/enabled": "N"}):
        doctor(bed, mount.path, files=right).expect_green("security")


def memory(bed):
    mount = bed.mount_migfs(bed.directory("source"))
    report = doctor(bed, mount.path, files={f"/proc/{mount.pid}/cgroup": "0::/unit/of/it",
                                            "/sys/fs/cgroup/unit/memory.max": "100000000"})
    report.expect("limits", "yellow", "95 MiB", "MemoryMax=")
    mount.umount()


def limits_of_memory(bed):
    source = bed.directory("source")
    mount = bed.mount("fuse.migfs", ["prlimit", "--data=900000000", binary("migfs"), source,
                                     "MOUNTPOINT"], source)
    doctor(bed, mount.path).expect("limits", "yellow", "858 MiB", "LimitDATA=")
    mount.umount()
    report = doctor(bed, source, before=("prlimit", "--nofile=1000:1000", "--data=900000000"))
    report.expect("limits", "yellow", "858 MiB")
    report.expect("limits", "yellow", "1000 descriptors are few")


def a_daemon_that_is_not_seen(bed):
    mount = bed.mount_migfs(bed.directory("source"))
    doctor(bed, mount.path, before=("unshare", "--pid", "--fork", "--mount-proc")).expect(
        "limits", "yellow", f"the limits of the daemon, process {mount.pid}, cannot be seen",
        "in the daemon's pid namespace")
    mount.umount()


def descriptors(bed):
    source = bed.directory("source")
    for number in range(40):
        with open(f"{source}/{number}", "w", encoding="ascii"):
            pass
    path = bed.directory("mnt")
    mount = bed.mount("fuse.migfs", ["prlimit", "--nofile=48:48", binary("migfs"), source,
                                     "MOUNTPOINT"], source, path)
    report = doctor(bed, path)
    report.expect("limits", "yellow", "48 descriptors are few", "LimitNOFILE=")
    held = []
    while len(os.listdir(f"/proc/{mount.pid}/fd")) < 40:
        held.append(os.open(f"{path}/{len(held)}", os.O_RDWR))
    report = doctor(bed, path)
    check(report.colours("limits")[0] in ("yellow", "red"), f"{report.findings['limits']}")
    check("in use: an image may not open" in report.findings["limits"][0][1],
          f"{report.findings['limits']}")
    for fd in held:
        os.close(fd)
    mount.umount()


# libvirt -----------------------------------------------------------------------------------------


def libvirt_settings(bed):
    _, mount = served(bed)
    conf = "/etc/libvirt/qemu.conf"
    link = bed.unique("link")
    os.symlink(mount.path, link)
    for colour, text in (
            ("red", ""),
            ("red", f'# shared_filesystems = [ "{mount.path}" ]\n'),
            ("red", f'shared_filesystems = [ "{mount.path}x", "/elsewhere" ]\n'),
            ("red", f'shared_filesystems = "{mount.path}"\n'),  # libvirt does not start with it
            ("red", f'shared_filesystems = [ ]\nshared_filesystems = [ "{mount.path}" ]\n'),
            ("yellow", "dynamic_ownership = 0\n"),
            ("green", f'shared_filesystems = [ "{link}" ]\n'),
            ("green", f'shared_filesystems = [ "{mount.path}" ]\n'),
            ("green", f'shared_filesystems=[\n  "/elsewhere",\n  "{bed.root}/"\n]\n'),
            ("green", f'dynamic_ownership = 0\nshared_filesystems = [ "{mount.path}/" ]')):
        report = doctor(bed, mount.path, files={conf: text, LENS: KNOWN})
        words = () if colour == "green" else ("set shared_filesystems", mount.path)
        report.expect("libvirt", colour, *words)
        check(report.colours("libvirt") == [colour], f"{text!r}: {report.findings['libvirt']}")


def a_libvirt_that_ignores_the_setting(bed):
    _, mount = served(bed)
    text = f'shared_filesystems = [ "{mount.path}" ]\n'
    conf = "/etc/libvirt/qemu.conf"
    for known in (KNOWN, None):
        doctor(bed, mount.path, files={conf: text, LENS: known}).expect_green("libvirt")
    for colour, more in (("red", ""), ("yellow", "dynamic_ownership = 0\n")):
        report = doctor(bed, mount.path, files={conf: more + text, LENS: UNKNOWN})
        report.expect("libvirt", colour, "does not know shared_filesystems", "Debian 13")
        check(report.colours("libvirt") == [colour], f"{report.findings['libvirt']}")


def disk(path, driver="<driver name='qemu' type='qcow2'/>", more=""):
    return f"<disk type='file' device='disk'>{driver}<source file='{path}'/>{more}</disk>"


def guests(bed):
    source, mount = served(bed)
    inside = mount.path + "/image"

    def found(*disks):
        xml = f"<domain><name>vm</name><devices>{''.join(disks)}</devices></domain>"
        return doctor(bed, mount.path, files={"/etc/libvirt/qemu/vm.xml": xml})

    found(disk(inside)).expect("guests", "yellow", "vm.xml", inside, "cache='default'", "'none'")
    found(disk(inside, '<driver type="raw" cache="writeback"/>')).expect(
        "guests", "yellow", "cache='writeback'", "QEMU 4.0")
    found(disk(inside, "<driver cache='unsafe'/>")).expect("guests", "red", "cache='unsafe'")
    found(disk(source + "/image", "<driver cache='none'/>")).expect(
        "guests", "red", source + "/image", "past migfs")
    found(disk(mount.path + "/a&amp;b", "<driver cache='unsafe'/>")).expect(
        "guests", "red", mount.path + "/a&b")
    right = (disk(inside, "<driver\n   name='qemu'\n cache='none'/>"),
             disk(inside, "<driver cache='directsync' io='native'/>"),
             disk(inside, more="<readonly/>"), disk("/elsewhere/image"),
             "<!-- " + disk(inside, "<driver cache='unsafe'/>") + " -->",
             "<disk type='block'><driver/><source dev='/dev/sda'/></disk>")
    report = found(*right)
    report.expect_green("guests")
    report.expect("guests", "green", "3 disks")
    for broken in ("<disk", "<disk ", "<disk><source file='", "<disk><source file=>" + inside,
                   "<!--" + disk(inside), "<disk>" * 1000, "</disk>", "\n", "<disk><source"):
        found(broken).expect_green("guests")


# The mount ---------------------------------------------------------------------------------------


def mount_options(bed):
    for options, colour, words in (
            ("coherence=off", "red", ("coherence=off",)),
            ("record=off", "red", ("record=off", "no hand-over records")),
            ("fence=off", "red", ("fence=off", "not refused"))):
        _, mount = served(bed, options)
        doctor(bed, mount.path).expect("mount", colour, *words)
        mount.umount()
    source, mount = served(bed, "deadline=5000,fence=strict")
    report = doctor(bed, mount.path)
    report.expect_green("mount")
    report.expect("mount", "green", source, "deadline=5000,fence=strict")


def passthrough(bed):
    source = bed.directory("source")
    try:
        mount = bed.mount_migfs(source, options="io=passthrough")
    except testbed.TestFailure as failure:
        if "io=passthrough is not offered by this kernel" not in str(failure):
            raise
        testbed.skip("no io=passthrough here")
    doctor(bed, mount.path).expect("mount", "yellow", "io=passthrough", "STONITH")
    mount.umount()


def another_version_than_is_installed(bed):
    """migfsctl of a later version: the same program, with another number in it."""
    _, mount = served(bed)
    version = bed.run([binary("migfs"), "--version"]).stdout.split()[1].encode() + b"\0"
    later = bed.install("migfsctl")
    with open(later, "rb") as file:
        program = file.read()
    with open(later, "wb") as file:
        file.write(program.replace(version, version.replace(b"0", b"9")))
    result = bed.run([later, "doctor", "--json", mount.path], expect=None)
    report_of(result).expect(
        "mount", "yellow", version.decode()[:-1] + " serves", "is installed", "anew")


def source_that_is_not_seen(bed):
    source, mount = served(bed)
    report = doctor(bed, mount.path, script=f"mount -t tmpfs none {source}")
    report.expect("mount", "yellow", source, "nsenter")
    check("store" not in report.findings, "another directory was examined")


# The store ---------------------------------------------------------------------------------------


def store(bed):
    source = bed.directory("source")
    report = doctor(bed, source, script=f"mount --bind {source} {source}; "
                    f"mount -o remount,bind,ro {source}")
    report.expect("store", "red", "read-only", "rw")
    report.expect("records", "red", source)
    below = bed.mount_ctofs(source)
    doctor(bed, below.path).expect("store", "yellow", "fuse.ctofs", "not NFS")


def records(bed):
    source = bed.directory("source")
    inside = source + "/.migfs"
    with open(inside, "w", encoding="ascii"):
        pass
    doctor(bed, source).expect("records", "red", "not a directory", "remove it")
    os.unlink(inside)
    os.mkdir(inside, 0o755)
    doctor(bed, source).expect("records", "red", "0755", "chmod 700")
    os.chmod(inside, 0o700)
    doctor(bed, source).expect_green("records")
    os.chown(inside, testbed.USER_UID, testbed.USER_GID)
    os.chmod(source, 0o700)
    report = doctor(bed, source)  # that user does not come as far
    report.expect("records", "red", str(testbed.USER_UID), "Permission denied", "migfsctl init")
    report.expect("hosts", "yellow", "Permission denied")
    os.chmod(source, 0o755)


def others_than_root(bed):
    source = bed.directory("source")
    os.mkdir(source + "/.migfs", 0o700)
    migfsctl = bed.install("migfsctl")
    result = bed.run([migfsctl, "doctor", "--json", source], as_user=True, expect=None)
    report = report_of(result)
    for name in ("records", "hosts", "openers"):
        report.expect(name, "yellow", "as root")


# Other hosts -------------------------------------------------------------------------------------


def hosts_that_agree_are_green(bed):
    source, mount = served(bed, "profile=qemu")
    forged_beacon.write(source, "b", machine=b"B" * 16, options="profile=qemu,deadline=9000")
    report = doctor(bed, mount.path)
    report.expect_green("hosts")
    report.expect("hosts", "green", "b serves with migfs", "deadline=9000")


def hosts_that_do_not_are_said(bed):
    source, mount = served(bed)
    number = 0

    def found(**fields):
        nonlocal number
        number += 1
        path = forged_beacon.write(source, **{"name": f"host{number}",
                                              "machine": bytes([number] * 16), **fields})
        report = doctor(bed, mount.path)
        os.unlink(path)
        return report

    found(release="9.9.9").expect("hosts", "yellow", "host1", "9.9.9", "same version")
    found(options="profile=range").expect("hosts", "yellow", "host2", "profile=range")
    found(options="fence=strict,fence=off").expect("hosts", "yellow", "host3", "fence=off",
                                                   "not stopped")
    found(options="io=passthrough").expect("hosts", "yellow", "host4", "io=passthrough")
    found(clock_ahead_s=3600).expect("hosts", "yellow", "host5", "s ahead of", "chrony")
    found(clock_ahead_s=-30).expect("hosts", "yellow", "host6", "30.0 s behind")
    found(age_s=600).expect("hosts", "yellow", "host7", "vanished 600 s ago")
    found(version=2).expect("hosts", "yellow", "newer migfs")
    report = found(name="\033[31mred\nhost")
    report.expect("hosts", "green", "\033[31mred\nhost")
    forged_beacon.write(source, "\033[31mred\nhost")
    shown = bed.run([binary("migfsctl"), "doctor", mount.path], expect=None).stdout
    check("\\033[31mred\\012host serves" in shown, shown)
    os.unlink(forged_beacon.write(source, "\033[31mred\nhost"))
    found().expect_green("hosts")


def what_is_no_beacon_does_no_harm(bed):
    source, mount = served(bed)
    path = forged_beacon.write(source, "damaged")
    with open(path, "r+b") as file:
        file.seek(100)
        file.write(b"x")
    with open(forged_beacon.directory(source) + "/README", "w", encoding="ascii") as file:
        file.write("mine")
    doctor(bed, mount.path).expect("hosts", "green", "no other host")


def what_a_killed_doctor_left_is_removed(bed):
    """And nothing else: not one of a doctor that runs, nor a beacon without a machine id."""
    source, mount = served(bed)
    kept = set(forged_beacon.listing(source))
    kept.add(os.path.basename(forged_beacon.write(source, "a", machine=bytes(16), age_s=3600)))
    for number, (length, age_s, machine) in enumerate(((0, 3600, 0), (1, 3600, 0), (16, 3600, 0),
                                                       (0, 60, 0), (1, 3600, 1))):
        name = f"{machine:032x}-{number:016x}"
        path = os.path.join(forged_beacon.directory(source), name)
        with open(path, "wb") as file:
            file.write(b"?" * length)
        os.utime(path, (time.time() - age_s,) * 2)
        if age_s < 600 or machine:
            kept.add(name)
    doctor(bed, mount.path)
    check(set(forged_beacon.listing(source)) == kept, f"{forged_beacon.listing(source)}")
    mount.umount()


def hosts_of_one_machine_id(bed):
    source, mount = served(bed)
    forged_beacon.write(source, "a", machine=b"C" * 16, boot=b"1" * 16, instance=1, served_s=600)
    clone = forged_beacon.write(source, "b", machine=b"C" * 16, boot=b"2" * 16, instance=2,
                                served_s=300)
    doctor(bed, mount.path).expect("hosts", "red", "same /etc/machine-id",
                                   "systemd-machine-id-setup")
    os.unlink(clone)
    # Another mount of the same boot is none; nor is one that was left before a restart.
    forged_beacon.write(source, "a", machine=b"C" * 16, boot=b"1" * 16, instance=3)
    forged_beacon.write(source, "a", machine=b"C" * 16, boot=b"0" * 16, instance=4, age_s=900)
    doctor(bed, mount.path).expect_green("hosts")


def a_crash_and_a_reboot_make_no_clone(bed):
    """The dead boot's beacon is fresh for a while."""
    source, mount = served(bed)
    forged_beacon.write(source, "a", machine=b"C" * 16, boot=b"1" * 16, instance=1, served_s=600,
                        age_s=90)
    for instance, served_s in ((2, 10), (3, 0)):
        forged_beacon.write(source, "a", machine=b"C" * 16, boot=b"2" * 16, instance=instance,
                            served_s=served_s)
        doctor(bed, mount.path).expect_green("hosts")


def the_mount_s_own_beacon_is_missed(bed):
    source, mount = served(bed)
    name, = forged_beacon.listing(source)
    os.unlink(os.path.join(forged_beacon.directory(source), name))
    doctor(bed, mount.path).expect("hosts", "yellow", "own beacon", "log")


# Without migfs -----------------------------------------------------------------------------------


def openers(bed):
    source, mount = served(bed)
    fd = os.open(mount.path + "/image", os.O_RDWR)
    doctor(bed, mount.path).expect_green("openers")
    os.close(fd)
    for flags, colour in ((os.O_RDONLY, "yellow"), (os.O_RDWR, "red")):
        fd = os.open(source + "/image", flags)
        doctor(bed, mount.path).expect("openers", colour, f"process {os.getpid()}",
                                       source + "/image", "past migfs")
        os.close(fd)
    doctor(bed, mount.path).expect_green("openers")


def a_mount_below_its_source_is_not_past_it(bed):
    source = bed.directory("source")
    below = source + "/images"
    os.mkdir(below)
    for directory in (source, below):
        with open(directory + "/image", "wb") as file:
            file.truncate(1 << 20)
    mount = bed.mount_migfs(source)
    bed.run(["mount", "--bind", mount.path, below])
    inside = below + "/image"

    def found(path):
        xml = "<domain>" + disk(path, "<driver cache='none'/>") + "</domain>"
        return doctor(bed, below, files={"/etc/libvirt/qemu/vm.xml": xml})

    fd = os.open(inside, os.O_RDWR)
    report = found(inside)
    report.expect_green("guests", "openers")
    report.expect("guests", "green", "1 disks")
    os.close(fd)
    fd = os.open(source + "/image", os.O_RDWR)
    report = found(source + "/image")
    report.expect("openers", "red", source + "/image", "for writing")
    report.expect("guests", "red", source + "/image")
    os.close(fd)
    found(source + "/not made yet").expect("guests", "red", "not made yet")
    # Another migfs's, or any other filesystem's.
    report = doctor(bed, source, files={"/etc/libvirt/qemu/vm.xml": "<domain>" + disk(inside) +
                                        "</domain>"})
    report.expect_green("guests")
    bed.run(["umount", below])
    mount.umount()


def hand_over(bed, path):
    fd = os.open(path, os.O_RDWR)
    bed.run([binary("migfsctl"), "acquire", path])
    os.pwrite(fd, b"guest", 0)
    bed.run([binary("migfsctl"), "release", path])
    os.close(fd)


def lock(fd, start):
    fcntl.fcntl(fd, OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, start, 1, 0))


def images_written_past_their_record(bed):
    source, mount = served(bed)
    hand_over(bed, mount.path + "/image")
    report = doctor(bed, mount.path)
    report.expect_green("images")
    report.expect("images", "green", "1 of them with a record")
    os.chmod(source + "/image", 0o600)  # times of the data are as they were
    doctor(bed, mount.path).expect_green("images")
    with open(source + "/image", "r+b") as file:
        file.write(b"restored")
    doctor(bed, mount.path).expect("images", "yellow", source + "/image", os.uname().nodename,
                                   "never acquired", "migfsctl forget")


@contextlib.contextmanager
def writing(fd):
    """A guest that writes as long as the block lasts."""
    ends = threading.Event()

    def write():
        while not ends.wait(0.1):
            os.pwrite(fd, b"guest", 0)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join()


def images_served_without_migfs(bed):
    """As a QEMU of another host would: its lock, no record, and data that is being written."""
    source, mount = served(bed)
    fd = os.open(source + "/image", os.O_RDWR)
    with writing(fd):
        doctor(bed, mount.path).expect_green("images")
        lock(fd, 101)
        doctor(bed, mount.path).expect("images", "red", source + "/image", "no record names",
                                       "record=on")
    os.close(fd)


def images_of_a_silent_host_are_not_asked_about(bed):
    """Whatever this host's clock has: who was not seen to write may be cut off."""
    source, mount = served(bed)
    fd = os.open(source + "/image", os.O_RDWR)
    lock(fd, 101)
    for ahead_s in (0, -60, 5, 3600):
        os.utime(source + "/image", (time.time() + ahead_s,) * 2)
        doctor(bed, mount.path).expect_green("images")
    os.close(fd)


def images_whose_record_is_not_read(bed):
    """They may have an owner: nothing is asked, nothing is claimed."""
    source, mount = served(bed)
    os.mkdir(source + "/sub")
    with open(source + "/sub/image", "wb") as file:
        file.truncate(1 << 20)
    hand_over(bed, mount.path + "/image")
    record = f"{source}/.migfs/{os.stat(source + '/image').st_ino:x}"
    image, below = (os.open(path, os.O_RDWR) for path in (source + "/image", source + "/sub/image"))
    for fd in (image, below):
        lock(fd, 101)
    with open(record, "rb") as file:
        right = file.read()
    torn = right[:100] + bytes([right[100] ^ 1]) + right[101:4096]
    with writing(image), writing(below):
        for bytes_ in (torn + torn, right[:4096]):
            with open(record, "wb") as file:
                file.write(bytes_)
            report = doctor(bed, mount.path)
            report.expect("images", "yellow", "of 1 files", "not known")
            check("image is locked" not in str([text for _, text, _ in report.findings["images"]
                                                if source + "/image" in text]),
                  f"{report.findings['images']}")
        report = doctor(bed, source + "/sub")
        report.expect("images", "yellow", "of 1 files", "not known")
        check(report.colours("images") == ["yellow"], f"{report.findings['images']}")
        migfsctl = bed.install("migfsctl")
        result = bed.run([migfsctl, "doctor", "--json", source], as_user=True, expect=None)
        report = report_of(result)
        report.expect("images", "yellow", "of 2 files", "as root")
        check(report.colours("images") == ["yellow"], f"{report.findings['images']}")
        with open(record, "wb") as file:  # of no bytes: there is none
            pass
        doctor(bed, mount.path).expect("images", "red", source + "/image", "no record names")
    for fd in (image, below):
        os.close(fd)


def images_of_another_device(bed):
    """Its numbers of inodes are not those that records have."""
    source, mount = served(bed)
    os.mkdir(source + "/sub")
    script = f"mount -t tmpfs none {source}/sub; : >{source}/sub/image"
    report = doctor(bed, mount.path, script=script)
    report.expect("images", "green", "2 files")
    check(report.colours("images") == ["green"], f"{report.findings['images']}")


def images_where_a_listing_tells_no_types(bed):
    testbed.require_tools("mkfs.ext4")
    disk, source = bed.unique("disk"), bed.directory("source")
    with open(disk, "wb") as file:
        file.truncate(16 << 20)
    bed.run(["mkfs.ext4", "-q", "-O", "^filetype", disk])
    if bed.run(["mount", "-o", "loop", disk, source], expect=None).returncode != 0:
        testbed.skip("no loop device, or no ext4 without filetype")
    os.makedirs(source + "/a/b")
    os.mkdir(source + "/.migfs", 0o700)
    os.symlink("a", source + "/link")
    fd = os.open(source + "/a/b/image", os.O_RDWR | os.O_CREAT)
    lock(fd, 101)
    with writing(fd):
        doctor(bed, source).expect("images", "red", source + "/a/b/image", "no record names")
    os.close(fd)


def images_served_by_migfs(bed):
    _, mount = served(bed)
    fd = os.open(mount.path + "/image", os.O_RDWR)
    for byte in (100, 101, 201):
        lock(fd, byte)
    os.pwrite(fd, b"guest", 0)
    report = doctor(bed, mount.path)
    report.expect_green("images")
    report.expect("images", "green", "1 of them with a record")
    os.close(fd)


CHECKS = (
    a_right_setup_is_green, a_source_before_it_is_mounted, all_mounts_without_an_argument,
    no_mount_is_said, lines_have_colour_check_text_and_mend, bad_arguments_are_refused,
    a_daemon_that_has_ended_is_said, a_store_that_does_not_answer_is_red, kernel, libfuse,
    io_uring, selinux, apparmor, memory, a_daemon_that_is_not_seen, descriptors,
    libvirt_settings, a_libvirt_that_ignores_the_setting, guests, mount_options, passthrough,
    another_version_than_is_installed, source_that_is_not_seen, store, records,
    others_than_root, hosts_that_agree_are_green, hosts_that_do_not_are_said,
    what_is_no_beacon_does_no_harm, what_a_killed_doctor_left_is_removed,
    hosts_of_one_machine_id, a_crash_and_a_reboot_make_no_clone,
    the_mount_s_own_beacon_is_missed, openers, a_mount_below_its_source_is_not_past_it,
    images_written_past_their_record, images_served_without_migfs,
    images_of_a_silent_host_are_not_asked_about, images_whose_record_is_not_read,
    images_of_another_device, images_where_a_listing_tells_no_types, images_served_by_migfs)
# Not with AddressSanitizer, whose shadow is more than any limit.
CHECKS_WITH_LIMITS = (limits_of_memory,)


def all_checks():
    with open(binary("migfs"), "rb") as file:
        return CHECKS + (() if b"__asan_init" in file.read() else CHECKS_WITH_LIMITS)


if __name__ == "__main__":
    testbed.main(lambda: testbed.run_checks("doctor", all_checks(), deadline_s=120, at_once=6))
