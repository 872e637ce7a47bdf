/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * STATUS that asks the store first: each file of the scope that this host owns is looked at, side
 * by side, for changes that others made. Bounded: a store that does not answer delays the answer a
 * little, and it says so.
 */
#ifndef MIGFS_FS_STATUS_CHECK_H
#define MIGFS_FS_STATUS_CHECK_H

#include "status.h"

/* Serves STATUS with MIGFS_FILES_CHECK: replies later and takes the scope over, or returns -ENOMEM.
 */
int status_check_serve(struct context *context, fuse_req_t req, struct status_scope *scope);

#endif
