# SPDX-License-Identifier: GPL-2.0-or-later
"""Live migration between two QEMU processes, step by step or as a whole."""
import os
import subprocess

ENDED = ("completed", "failed", "cancelled")


class Downtime(int):
    """Of a migration, in milliseconds, as QEMU reports it: the source's part, up to the moment when
    it has sent all. standstill_ms: until the guest runs at the destination, which has taken over
    its images by then; by the times of both QEMUs' events."""
    standstill_ms = None


def time_ms(event):
    stamp = event["timestamp"]
    return stamp["seconds"] * 1e3 + stamp["microseconds"] / 1e3


class MigrationFailed(Exception):
    """The migration ended otherwise than completed; the text is QEMU's own."""


def host_reads_image(path):
    """What happens on a destination before a guest comes: tools read the image, all of it.

    Returns a descriptor that is still open, as a monitoring or backup program would keep it; the
    caller closes it. While it is open no open is a first one, so close-to-open renews nothing.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    while os.read(fd, 1 << 20):
        pass
    subprocess.run(["qemu-img", "info", "-U", path], stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, check=False)
    return fd


def listen(destination):
    destination.qmp.command("migrate-incoming", uri=f"unix:{destination.migration_path}")


def capability(machines, *names, on=True):
    """Switches migration capabilities, in all machines named."""
    for machine in machines:
        machine.qmp.command("migrate-set-capabilities", capabilities=[
            {"capability": name, "state": on} for name in names])


def start(source, destination, max_bandwidth=1 << 40):
    """Starts a migration; wait for its end with `wait`. max_bandwidth: bytes a second; QEMU takes
    less than 10 for no limit."""
    listen(destination)
    source.qmp.events.clear()  # an earlier migration's end is not this one's
    source.qmp.command("migrate-set-parameters", max_bandwidth=max_bandwidth)
    source.qmp.command("migrate", uri=f"unix:{destination.migration_path}")


def end_event(machine, statuses, timeout):
    return machine.qmp.event("MIGRATION", timeout=timeout,
                             where=lambda data: data["status"] in statuses)


def wait(source, *statuses, timeout=120):
    """Waits until the source reports one of the statuses (any end by default); returns it."""
    return end_event(source, statuses or ENDED, timeout)["data"]["status"]


def migrate(source, destination, timeout=120):
    """Moves the guest; returns the Downtime."""
    start(source, destination)
    status = wait(source, timeout=timeout)
    if status != "completed":
        error = source.qmp.command("query-migrate").get("error-desc", "")
        raise MigrationFailed(f"{status} {error} {source.log()} {destination.log()}")
    destination.qmp.event("RESUME", timeout=timeout)  # it owns its images only now
    # Taken here, or it would pass for the end of the next migration, out of this machine.
    completed = end_event(destination, ENDED, timeout)
    downtime = Downtime(source.qmp.command("query-migrate")["downtime"])
    stopped = [event for event in source.qmp.events if event["event"] == "STOP"]
    if stopped:  # else it was paused before
        downtime.standstill_ms = time_ms(completed) - time_ms(stopped[-1])
    return downtime
