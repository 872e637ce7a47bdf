/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The gate before each change of what a file holds or how long it is: whether the inode's state
 * lets it pass, a count that a release waits for (DESIGN §2, CLOSE_GATE and DRAIN), and which bytes
 * change, for the digests of what was written. Never waits.
 */
#ifndef MIGFS_FS_GATE_H
#define MIGFS_FS_GATE_H

#include "handle.h"

/* One change on its way through; the caller's, from gate_enter to gate_leave. */
struct gate_pass {
    struct inode *inode;
    struct digest_change change;
    int fd;              /* by which the change goes; -1: by a path */
    bool may_have_setid; /* set-id bits, which go when another user writes */
    bool is_page;        /* of a mapping, that the kernel writes back */
    bool by_guard;       /* that is not the handle's own */
    bool is_direct;      /* so is the guard */
    unsigned phase;      /* of guard.h */
    bool wants_digest;   /* of a write whose bytes are seen */
};

/* The bytes that a change may touch. */
struct gate_range {
    uint64_t start, end; /* `end` not among them; DIGEST_TO_THE_END: not known */
};
#define GATE_WHOLE_FILE ((struct gate_range){.start = 0, .end = DIGEST_TO_THE_END})

/* `length` bytes from `offset` on, as a request has them. */
struct gate_range gate_range(off_t offset, size_t length);

/*
 * With `handle` NULL (a change by path) nobody holds a write byte. 0, and gate_leave must follow
 * soon; or -EIO. gate_enter_page is for what the kernel writes back of a mapping.
 */
int gate_enter(struct context *context, struct inode *inode, const struct handle *handle,
               struct gate_range range, struct gate_pass *pass);
int gate_enter_page(struct context *context, const struct handle *handle, struct gate_range range,
                    struct gate_pass *pass);

/* What became of it. */
struct gate_outcome {
    size_t bytes;                        /* written */
    const struct digest_extent *written; /* as digest_change_end has it: NULL where it is not known
                                            what the range holds now */
    enum trace_effect effect;            /* on the length */
    uint64_t length_bytes;
};
/* Whether the server is to be asked from now on, so that the kernel must not keep what changed. */
bool gate_leave(struct gate_pass *pass, const struct gate_outcome *outcome);

/* Before and after a change of the file's times by this mount: they are no trace of others. */
void gate_touch_begin(struct inode *inode);
void gate_touch_end(struct inode *inode);

#endif
