#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Migrations that do not succeed: the source goes on writing, the image is intact, and the next try
finds everything. A destination may die at any point."""
import functools
import time

import migrate
import scenario
import testbed
from scenario import expect

MIB = 1 << 20
SLOW = 1000  # bytes a second: such a migration does not end by itself
PATTERN_BEFORE, PATTERN_AFTER, PATTERN_THERE = 1, 2, 3

# Each makes a migration fail and leaves the guest with the source.


def cancel_early(source, destination):
    migrate.start(source, destination, max_bandwidth=SLOW)
    migrate.wait(source, "active")
    source.qmp.command("migrate_cancel")
    expect(migrate.wait(source) == "cancelled", "not cancelled")


def cancel_at_switch(source, destination):
    pause_at_switch(source, destination)
    source.qmp.command("migrate_cancel")
    expect(migrate.wait(source) == "cancelled", "not cancelled")


def kill_listening(source, destination):
    migrate.listen(destination)
    destination.kill()


def kill_early(source, destination):
    migrate.capability((source, destination), "return-path")
    migrate.start(source, destination, max_bandwidth=SLOW)
    migrate.wait(source, "active")
    destination.kill()
    source.qmp.command("migrate-set-parameters", max_bandwidth=1 << 40)
    expect_failed(source)


def kill_before_switch(source, destination):
    migrate.capability((source, destination), "return-path")
    pause_at_switch(source, destination)
    destination.kill()
    source.qmp.command("migrate-continue", state="pre-switchover")
    expect_failed(source)


def kill_in_switch(source, destination):
    """The source has let go; how far the destination got is open."""
    pause_at_switch(source, destination)
    source.qmp.command("migrate-continue", state="pre-switchover")
    migrate.wait(source, "device", "completed", "failed")
    destination.kill()
    resume_source(source)


def kill_after_switch(source, destination):
    migrate.migrate(source, destination)
    destination.kill()
    resume_source(source)


def kill_after_ms(delay_ms, source, destination):
    """At some point of a migration that takes some ten milliseconds."""
    migrate.start(source, destination)
    time.sleep(delay_ms / 1000)
    destination.kill()
    resume_source(source)


def load_fails(source, destination):
    """The destination misses a device: it learns so after the source has let go, and says so."""
    migrate.capability((source, destination), "return-path")
    migrate.start(source, destination)
    expect_failed(source)


def load_fails_unheard(source, destination):
    """As above, and nobody tells the source: the administrator resumes it."""
    migrate.start(source, destination)
    destination.process.wait(60)
    resume_source(source)


def pause_at_switch(source, destination):
    migrate.capability((source, destination), "pause-before-switchover")
    migrate.start(source, destination)
    migrate.wait(source, "pre-switchover")


def expect_failed(source):
    status = migrate.wait(source)
    expect(status == "failed", f"the migration {status}")


def resume_source(source):
    """Without a return path a source may believe that it succeeded."""
    if source.qmp.command("query-migrate").get("status") not in migrate.ENDED:
        migrate.wait(source)
    testbed.wait_until(lambda: source.status() != "finish-migrate", what="the migration's end")
    source.qmp.command("cont")


def source_goes_on(fail, image, pair):
    disk = pair.image(**image)
    extra = DEVICE if fail in (load_fails, load_fails_unheard) else ()
    source = pair.start(pair.a, disk, extra=extra)
    source.write(PATTERN_BEFORE, 0, 4 * MIB)
    source.flush()
    pair.read_before(pair.b, disk)
    fail(source, pair.start(pair.b, disk, incoming=True))

    expect(source.reads(PATTERN_BEFORE, 0, 4 * MIB), "the source lost data")
    expect(source.writes(PATTERN_AFTER, MIB, MIB), "the source cannot write any more")
    expect(source.reads(PATTERN_AFTER, MIB, MIB), "stale: the source's own write")

    migrate.capability((source,), "pause-before-switchover", "return-path", on=False)
    destination = pair.start(pair.b, disk, incoming=True, extra=extra)
    migrate.migrate(source, destination)
    expect(destination.reads(PATTERN_AFTER, MIB, MIB), "stale: what was written after the failure")
    expect(destination.reads(PATTERN_BEFORE, 0, MIB), "stale: what was written before it")
    destination.quit()
    pair.check_image(disk)


def destination_dies_as_owner(image, pair):
    """Killed after it wrote: whoever starts next, on either host, has all that was synced."""
    disk = pair.image(**image)
    source = pair.start(pair.a, disk)
    source.write(PATTERN_BEFORE, 0, 4 * MIB)
    pair.read_before(pair.b, disk)
    destination = pair.start(pair.b, disk, incoming=True)
    pair.read_before(pair.a, disk)
    migrate.migrate(source, destination)
    source.quit()
    destination.write(PATTERN_THERE, 0, MIB)
    destination.write(PATTERN_THERE, 32 * MIB, MIB)
    destination.flush()
    destination.kill()
    written = ((PATTERN_THERE, 0), (PATTERN_BEFORE, MIB), (PATTERN_THERE, 32 * MIB))
    for host in (pair.a, pair.b):
        again = pair.start(host, disk)
        for pattern, offset in written:
            expect(again.reads(pattern, offset, MIB),
                   f"stale: on {host.name} {offset >> 20} MiB is not {pattern}")
        again.quit()
    pair.check_image(disk)


DEVICE = ("-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng")
DELAYS_MS = (0, 2, 4, 6, 8, 10, 15, 20, 30)
FAILURES = (cancel_early, cancel_at_switch, kill_listening, kill_early, kill_before_switch,
            kill_in_switch, kill_after_switch, load_fails, load_fails_unheard)
IMAGES = {"raw": dict(format="raw", cache="none"),
          "qcow2": dict(format="qcow2", cache="writeback")}


def scenarios():
    for image_name, image in IMAGES.items():
        direct = image["cache"] == "none"
        for fail in FAILURES:
            name = fail.__name__.replace("_", " ")
            yield scenario.Scenario(f"{name}, {image_name}",
                                    functools.partial(source_goes_on, fail, image), direct)
        for delay_ms in DELAYS_MS:
            yield scenario.Scenario(f"kill after {delay_ms} ms, {image_name}", functools.partial(
                source_goes_on, functools.partial(kill_after_ms, delay_ms), image), direct)
        yield scenario.Scenario(f"kill after writing, {image_name}",
                                functools.partial(destination_dies_as_owner, image), direct)


if __name__ == "__main__":
    scenario.main("failed", scenarios())
