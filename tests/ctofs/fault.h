/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Trouble on purpose, switched through the control file: an operation that fails N times, a store
 * that does not answer, a host that is cut off until its locks are gone.
 */
#ifndef CTOFS_FAULT_H
#define CTOFS_FAULT_H

#include <pthread.h>
#include <stdint.h>

struct mount;
struct fuse_req;

enum operation {
    OP_LOOKUP,
    OP_GETATTR,
    OP_SETATTR,
    OP_OPEN,
    OP_READ,
    OP_WRITE, /* reaching the store, whoever sends it there */
    OP_FSYNC,
    OP_FLUSH,
    OP_RELEASE,
    OP_LOCK,
    OP_UNLOCK,
    OP_GETLK,
    OP_NAMES, /* create, mkdir, unlink, rename … */
    OP_READDIR,
    OP_XATTR,
    OP_STATFS,
    OP_FALLOCATE,
    OP_LSEEK,
    OP_COUNT
};

struct faults {
    pthread_mutex_t lock;
    pthread_cond_t thawed;
    uint32_t frozen; /* one bit an operation */
    struct {
        int error;
        unsigned long count;
        unsigned long after; /* that many go well before */
    } failures[OP_COUNT];
    uint64_t partition; /* which one; 0: none */
};

void fault_init(struct faults *faults);

/* Waits while the operation is frozen, then takes one failure if there is one. Returns 0, the
 * failure's errno, EINTR when the caller was interrupted, ENOTCONN when the mount ends. `req` may
 * be NULL. */
int fault_enter(struct mount *mount, struct fuse_req *req, enum operation operation);

/* Waits only. */
int fault_wait(struct mount *mount, struct fuse_req *req, enum operation operation);

/* Takes one failure without waiting. */
int fault_take(struct mount *mount, enum operation operation);

/* Does the operation stand still now? */
int fault_frozen(struct mount *mount, enum operation operation);

/* One line of the control file; returns 0 or EINVAL. */
int fault_command(struct mount *mount, char *line);

#endif
