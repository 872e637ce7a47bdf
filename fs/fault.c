/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fault.h"

#ifdef MIGFS_FAULTS
#include <stdlib.h>
#include <string.h>

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
#endif
