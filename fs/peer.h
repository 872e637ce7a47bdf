/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Other hosts of the store, as their records show them: what is odd about their set-up is said once
 * a host. Nothing is decided by it. From any thread.
 */
#ifndef MIGFS_FS_PEER_H
#define MIGFS_FS_PEER_H

#include "context.h"

void peer_look(struct context *context, const struct record *record);

#endif
