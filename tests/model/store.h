/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The store with NFS's promises and no more: a client may keep what it has read and what was
 * written through it until a close, an fsync or an open asks; a lock drops and an unlock flushes
 * the locked bytes alone (RFC 8881 §10.3), which the file's block is not among; the server takes
 * the locks of a client that it has not heard of for a lease, and then refuses what is written by
 * a description that held one, if it is of version 4. A call that needs the server must not be
 * made of a host that is cut off: store_reaches is asked first.
 */
#ifndef MIGFS_MODEL_STORE_H
#define MIGFS_MODEL_STORE_H

#include "world.h"

static inline bool store_reaches(const struct host *host)
{
    return host->is_up && !host->is_cut;
}

/* What the client has, or brings from the server. */
bool store_can_read(const struct host *host);
uint8_t store_read_cached(struct run *run, unsigned h);

/* O_DIRECT: what is dirty goes out first. */
uint8_t store_read_direct(struct run *run, unsigned h);

/* Through the client's cache, by a description. False: not now, something must go out first. */
bool store_write(struct run *run, unsigned h, uint8_t version, unsigned by);

/* What is dirty goes to the server. 0 or -EIO. */
int store_write_back(struct run *run, unsigned h);

/* fdatasync: the same, and what went wrong since this description's last one. */
int store_sync(struct run *run, unsigned h, unsigned by);

void store_drop(struct host *host);

/* The first open of a file here sees what was closed before it. */
void store_open(struct run *run, unsigned h, bool is_first);

void store_lock(struct run *run, unsigned h, unsigned by, uint8_t bytes);
void store_unlock(struct run *run, unsigned h, unsigned by, uint8_t bytes);

/* Those of `bytes` that other hosts hold. */
uint8_t store_held_by_others(const struct run *run, unsigned h, uint8_t bytes);

/* The lease of a host that is cut off, or down, has ended. */
void store_lease_ends(struct run *run, unsigned h);

/* Its locks were taken away, and it may not know. */
bool store_refuses(const struct host *host);

#endif
