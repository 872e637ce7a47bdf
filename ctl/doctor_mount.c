/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the options of a migfs mount give up, and whether it is of the version that is installed.
 */
#include "doctor.h"

#include <stdlib.h>
#include <string.h>

static bool say_options(struct doctor *doctor, const struct migfs_mount *mount)
{
    const __u32 flags = mount->flags;

    if ((flags & MIGFS_MOUNT_COHERENT) == 0) {
        doctor_say(doctor, COLOUR_RED, "mount it without coherence=off",
                   "coherence=off: nothing is handed over, a destination reads stale data");
        return true;
    }
    if ((flags & MIGFS_MOUNT_RECORDS) == 0)
        doctor_say(
            doctor, COLOUR_RED,
            "mount it without record=off, where SOURCE/.migfs can be written (migfsctl init)",
            "no hand-over records: this host does not know of an owner on another one, and "
            "no hand-over is verified");
    if ((flags & MIGFS_MOUNT_PASSTHROUGH) != 0)
        doctor_say(doctor, COLOUR_YELLOW,
                   "mount it with io=daemon, or have lost hosts fenced by other means (STONITH, a "
                   "watchdog)",
                   "io=passthrough: a host that lost an image can still write to it");
    else if ((flags & MIGFS_MOUNT_FENCES) == 0)
        doctor_say(doctor, COLOUR_RED, "mount it without fence=off",
                   "fence=off: writes to an image that was handed over are not refused");
    if ((flags & MIGFS_MOUNT_KILLPRIV) == 0)
        doctor_say(doctor, COLOUR_YELLOW, "use Linux 5.12 or newer",
                   "the kernel does not say when set-id bits go: each write costs a call more");
    return (flags & MIGFS_MOUNT_RECORDS) == 0 || (flags & MIGFS_MOUNT_PASSTHROUGH) != 0 ||
           (flags & MIGFS_MOUNT_FENCES) == 0 || (flags & MIGFS_MOUNT_KILLPRIV) == 0;
}

void doctor_mount(struct doctor *doctor, const struct subject *subject)
{
    static const char anew[] = "mount it anew when no guest uses it";
    const struct migfs_mount *mount = &subject->mount;
    bool said;

    if (!subject->has_mount) {
        doctor_say(doctor, COLOUR_YELLOW, anew,
                   "the daemon is of an older version than migfsctl (%s): it does not tell where "
                   "SOURCE is, and its store is not examined",
                   MIGFS_VERSION_TEXT);
        return;
    }
    said = say_options(doctor, mount);
    if (strcmp(mount->release, MIGFS_VERSION_TEXT) != 0) {
        doctor_say(doctor, COLOUR_YELLOW, anew, "migfs %s serves; %s is installed", mount->release,
                   MIGFS_VERSION_TEXT);
        said = true;
    }
    if (subject->source == NULL) {
        doctor_say(doctor, COLOUR_YELLOW,
                   "run migfsctl doctor in the daemon's mount namespace: nsenter -t PID -m",
                   "%s is not what the daemon serves, seen from here: its store is not examined",
                   mount->source);
        said = true;
    }
    if (!said)
        doctor_say(doctor, COLOUR_GREEN, NULL, "migfs %s serves %s; options: %s", mount->release,
                   mount->source, mount->options[0] != '\0' ? mount->options : "the defaults");
}
