/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Standing in the way of chown and chmod (DESIGN §5, protect=on). A store such as NFS judges each
 * read and write by who opened the file, anew. When another host gave the file away, a guest that
 * was judged at its open would lose its disk: what it holds is opened again as the file's present
 * owner, with the locks taken there before the old description goes. New opens are judged as ever.
 */
#ifndef MIGFS_FS_PROTECT_H
#define MIGFS_FS_PROTECT_H

#include "caller.h"
#include "handle.h"

/* Owner and mode may change again and again: so often a call is made, then it was refused. */
#define PROTECT_TRIES 4

/*
 * A call below by what the inode has open failed with `error`, or none did. True where that was a
 * refusal and what is open has been opened anew: the call may be made again. Asks the server
 * and takes locks that nobody is in the way of; waits for nobody else. Not while acting as a
 * caller.
 */
bool protect_mends(struct context *context, struct inode *inode, int error);

/*
 * For a call in a loop: its `result`, of which a negative one is an errno, was a refusal, it may be
 * made again, and was made less than PROTECT_TRIES times. `tries` is the loop's, 0 at first.
 */
bool protect_again(struct context *context, struct inode *inode, ssize_t result, unsigned *tries);

/* The same as protect_mends with the inode's description_mutex held. */
bool protect_mends_held(struct context *context, struct inode *inode, int error);

/*
 * Looks whether others changed owner, mode or name, before anything is refused. For a thread that
 * may wait for the store.
 */
void protect_look(struct context *context, struct inode *inode);

/* Owner or mode were changed through this mount: what would be refused from now on is opened anew.
 */
void protect_changed(struct context *context, struct inode *inode);

/* The last handle is closing: whoever comes next is judged at the open. */
void protect_last_close(struct inode *inode);

/* Whether the handle is open as another user than the one who opened it. */
bool protect_has_renewed(const struct handle *handle);

/*
 * Acting as the request's caller; or, once the handle had to be opened anew, as whom that was done:
 * for calls that the store judges by the thread rather than by the description.
 */
struct caller protect_caller_begin(fuse_req_t req, const struct handle *handle);

#endif
