/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What doctor does in `.migfs`, as its owner: on an export with root_squash root may not.
 */
#ifndef MIGFS_CTL_RECORD_OWNER_H
#define MIGFS_CTL_RECORD_OWNER_H

#include <stdbool.h>
#include <sys/types.h>

#define RECORD_DIRECTORY ".migfs"
#define HOSTS_DIRECTORY "hosts"

/* Its owner; where there is none, root: who would make it. */
struct record_owner {
    bool exists;
    uid_t uid;
    gid_t gid;
    mode_t mode;
    int error; /* a positive errno of the look at it, or 0 */
};
struct record_owner record_owner_of(int source_fd);

/* The process acts as that user until record_owner_end. 0 or a positive errno. */
int record_owner_begin(const struct record_owner *owner);
void record_owner_end(void);

/*
 * Where a file of doctor's own may be: `.migfs/hosts`, made if it is missing, or without `.migfs`
 * SOURCE itself. A descriptor, and the directory's path below SOURCE; or a negative errno. As the
 * owner.
 */
int record_owner_scratch(int source_fd, const struct record_owner *owner, const char **below);

/* A name in it that the mounts remove when it is left, as that of a beacon. */
struct scratch_name {
    char text[50];
};
struct scratch_name scratch_name(void);
/* Whether a file may be such a one: that of a machine that has no id, shorter than a beacon. */
bool scratch_is_file(const char *name, off_t length_bytes);

#endif
