/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A host's mount, as the kernel and fs/ have it: pages kept by the kernel, the gate and the guard
 * before a write (DESIGN §3), opens, reads, and what a close leaves. It asks cache/owner for every
 * decision; mutants take one out here.
 */
#ifndef MIGFS_MODEL_MOUNT_H
#define MIGFS_MODEL_MOUNT_H

#include "world.h"

/* cache/'s structures, of and to the bytes of the world. */
struct owner mount_owner(const struct host *host);
void mount_set_owner(struct host *host, const struct owner *owner);

/* By cache/owner, no mutant in between. */
bool mount_should_ask(const struct host *host);

/* The kernel writes dirty pages out, and keeps them. False: a request holds one. */
bool mount_write_out(struct run *run, unsigned h);

/* The kernel lets go of the pages, dirty ones by writing them. False: a request holds one. */
bool mount_notify(struct run *run, unsigned h);

/* Whether another host is owner is looked up, and what is cached dropped when that is news. */
void mount_look(struct run *run, unsigned h);

/* What a VMM asks for. False: not now, or it would change nothing. */
bool mount_open(struct run *run, unsigned h, unsigned handle);
bool mount_close(struct run *run, unsigned h, unsigned handle);
bool mount_read(struct run *run, unsigned h);
bool mount_read_end(struct run *run, unsigned h);
bool mount_write(struct run *run, unsigned h, unsigned handle);
bool mount_write_end(struct run *run, unsigned h);
bool mount_store(struct run *run, unsigned h, unsigned handle); /* into a mapped page */
bool mount_write_back(struct run *run, unsigned h);             /* of that, by the kernel */
bool mount_fsync(struct run *run, unsigned h, unsigned handle);

/* The daemon's own: the drop that follows a standby's reads, and the look at the guard. */
bool mount_drop_late(struct run *run, unsigned h);
bool mount_check_guard(struct run *run, unsigned h);

/* The handle is gone, with all that the inode had of it. */
void mount_closed(struct run *run, unsigned h, unsigned handle);
/* A release has ended: which handles it leaves as released. */
void mount_mark_released(struct host *host);

#endif
