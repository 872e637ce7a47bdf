/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What doctor's checks share: the thing that is examined, and how a check says what it found. Each
 * check runs in a process of its own subject that may be killed, so it may wait for the store, and
 * what it changes of the process ends with it.
 */
#ifndef MIGFS_CTL_DOCTOR_H
#define MIGFS_CTL_DOCTOR_H

#include "fs/migfs.h"
#include "mount_table.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

enum colour {
    COLOUR_GREEN,
    COLOUR_YELLOW,
    COLOUR_RED,
};

/* A migfs that serves SOURCE, or a SOURCE that is to be served, or neither: this host alone. */
struct subject {
    const char *path;         /* as given; NULL: this host alone */
    char *source;             /* absolute; NULL: this host alone, or not to be seen from here */
    char *mountpoint;         /* of the migfs; NULL: none */
    struct mount_entry migfs; /* where `mountpoint` is not NULL */
    int source_fd;            /* of `source`; or -1 */
    struct migfs_mount mount; /* where `has_mount`: of the daemon */
    bool has_mount;
    struct mount_entry store; /* that `source` lies on */
    unsigned nfs_version;     /* of that: 3, 4, …; 0: not NFS */
};

/* Where the findings go. */
struct doctor {
    FILE *out;
    const char *check; /* that is under way */
};

/*
 * A finding of the check under way. `mend` is what to do about it, NULL for a green one. Both
 * become one line each.
 */
void doctor_say(struct doctor *doctor, enum colour colour, const char *mend, const char *format,
                ...) __attribute__((format(printf, 4, 5)));

/* The check under way goes on: the store does answer it. */
void doctor_beat(struct doctor *doctor);

/* The checks; migfsctl(1) has what each looks at. */
void doctor_kernel(struct doctor *doctor, const struct subject *subject);
void doctor_libfuse(struct doctor *doctor, const struct subject *subject);
void doctor_io_uring(struct doctor *doctor, const struct subject *subject);
void doctor_security(struct doctor *doctor, const struct subject *subject);
void doctor_limits(struct doctor *doctor, const struct subject *subject);
void doctor_libvirt(struct doctor *doctor, const struct subject *subject);
void doctor_guests(struct doctor *doctor, const struct subject *subject);
void doctor_mount(struct doctor *doctor, const struct subject *subject);
void doctor_store(struct doctor *doctor, const struct subject *subject);
void doctor_options(struct doctor *doctor, const struct subject *subject);
void doctor_lease(struct doctor *doctor, const struct subject *subject);
void doctor_recovery(struct doctor *doctor, const struct subject *subject);
void doctor_records(struct doctor *doctor, const struct subject *subject);
void doctor_lock(struct doctor *doctor, const struct subject *subject);
void doctor_hosts(struct doctor *doctor, const struct subject *subject);
void doctor_openers(struct doctor *doctor, const struct subject *subject);
void doctor_images(struct doctor *doctor, const struct subject *subject);

#endif
