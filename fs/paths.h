/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SOURCE and MOUNTPOINT, before anything is mounted: whether they can be what they are to be, and
 * where they really are. Asks no file system for attributes, so that a mount whose server or
 * daemon does not answer is seen for what it is, and not waited for.
 */
#ifndef MIGFS_FS_PATHS_H
#define MIGFS_FS_PATHS_H

struct paths {
    int source_fd;        /* O_PATH | O_DIRECTORY */
    char *mountpoint;     /* absolute, free of symbolic links */
    char source_type[32]; /* of the file system that SOURCE lies on, as in /proc/mounts */
};

/*
 * 0, and descriptor and string are the caller's; or a negative errno after a line in the log that
 * names the directory and the mend: -ENOMEM, or any other for "cannot be mounted so".
 */
int paths_open(const char *source, const char *mountpoint, struct paths *paths);

#endif
