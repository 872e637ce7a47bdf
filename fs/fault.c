/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fault.h"

#ifdef MIGFS_FAULTS
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOOK_AGAIN_NS 1000000

bool fault_skips(enum handoff_kind kind, enum handoff_step step)
{
    const char *skipped = getenv("MIGFS_SKIP_STEP");
    const char *kind_name = handoff_kind_name(kind);
    const size_t length = strlen(kind_name);

    if (!skipped)
        return false;
    if (strncmp(skipped, kind_name, length) == 0 && skipped[length] == ':')
        skipped += length + 1;
    return strcmp(skipped, handoff_step_name(step)) == 0;
}

void fault_hold_write(void)
{
    const struct timespec pause = {.tv_nsec = LOOK_AGAIN_NS};
    const char *held = getenv("MIGFS_HOLD_WRITES");

    while (held && access(held, F_OK) == 0)
        nanosleep(&pause, NULL);
}

int64_t fault_beacon_period_ns(int64_t period_ns)
{
    const char *given = getenv("MIGFS_BEACON_MS");

    return given ? strtoll(given, NULL, 10) * 1000000 : period_ns;
}
#endif
