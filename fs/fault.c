/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fault.h"

#ifdef MIGFS_FAULTS
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOOK_AGAIN_NS 1000000
#define MOST_NAME 64

/* Whether `name` is "STEP" or "KIND:STEP" of this one. */
static bool is_named(const char *name, enum handoff_kind kind, enum handoff_step step)
{
    const char *kind_name = handoff_kind_name(kind);
    const size_t length = strlen(kind_name);

    if (strncmp(name, kind_name, length) == 0 && name[length] == ':')
        name += length + 1;
    return strcmp(name, handoff_step_name(step)) == 0;
}

static void die_if_asked(enum handoff_kind kind, enum handoff_step step)
{
    const char *path = getenv("MIGFS_KILL_FILE");
    char name[MOST_NAME] = "";
    const int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

    if (fd < 0)
        return;
    if (read(fd, name, sizeof(name) - 1) > 0 && is_named(name, kind, step))
        (void)raise(SIGKILL);
    close(fd);
}

bool fault_at(enum handoff_kind kind, enum handoff_step step)
{
    const char *skipped = getenv("MIGFS_SKIP_STEP");

    die_if_asked(kind, step);
    return skipped && is_named(skipped, kind, step);
}

bool fault_skips_retire(void)
{
    const char *skipped = getenv("MIGFS_SKIP_STEP");

    return skipped && strcmp(skipped, "retire") == 0;
}

static void hold(const char *variable, void (*before)(void))
{
    const struct timespec pause = {.tv_nsec = LOOK_AGAIN_NS};
    const char *held = getenv(variable);

    if (held && access(held, F_OK) == 0)
        before();
    while (held && access(held, F_OK) == 0)
        nanosleep(&pause, NULL);
}

void fault_hold_write(void (*before)(void))
{
    hold("MIGFS_HOLD_WRITES", before);
}

void fault_hold_written(void (*before)(void))
{
    hold("MIGFS_HOLD_WRITTEN", before);
}

bool fault_caches_beside(void)
{
    return getenv("MIGFS_CACHE_BESIDE") != NULL;
}

bool fault_keeps_metadata(void)
{
    return getenv("MIGFS_KEEP_METADATA") != NULL;
}

bool fault_leaves_pages(void)
{
    return getenv("MIGFS_LEAVE_PAGES") != NULL;
}

bool fault_aio_none(void)
{
    return getenv("MIGFS_AIO_NONE") != NULL;
}

int64_t fault_beacon_period_ns(int64_t period_ns)
{
    const char *given = getenv("MIGFS_BEACON_MS");

    return given ? strtoll(given, NULL, 10) * 1000000 : period_ns;
}
#endif
