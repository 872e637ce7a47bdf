/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How long the server of an NFS version 4 mount keeps the locks of a host that it does not hear of.
 */
#ifndef MIGFS_FS_LEASE_H
#define MIGFS_FS_LEASE_H

/*
 * Of the mount that the open directory lies on, in ms, as the kernel says in
 * /proc/self/mountstats; 0 where there is none, or it cannot be told.
 */
unsigned lease_ms(int source_fd);

#endif
