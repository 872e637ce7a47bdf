/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "pages.h"

#include "handle.h"
#include "log.h"
#include "notify.h"
#include "pool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- what may be there ---- */

/* 0.5 µs a page, beside three requests to write dirty ones out. */
#define FEW_BYTES (UINT64_C(512) << 10)

bool pages_are_left(const struct inode *inode)
{
    return inode->pages_left != inode->pages_left_dropped;
}

static uint64_t most_bytes_there(struct inode *inode)
{
    pthread_mutex_lock(&inode->mutex);
    const uint64_t bytes = pages_are_left(inode) ? UINT64_MAX : atomic_load(&inode->cached_bytes);
    pthread_mutex_unlock(&inode->mutex);
    return bytes;
}

bool pages_may_be_there(struct inode *inode)
{
    return most_bytes_there(inode) > 0;
}

bool pages_may_be_many(struct inode *inode)
{
    return most_bytes_there(inode) > FEW_BYTES;
}

/* A page is in the cache, and locked, before its READ comes: the drop waits for it. */
bool pages_drop_begin(struct inode *inode, struct pages_before *before)
{
    pthread_mutex_lock(&inode->mutex);
    const bool are_left = pages_are_left(inode);
    before->left = inode->pages_left;
    before->cached_bytes = atomic_exchange(&inode->cached_bytes, 0);
    pthread_mutex_unlock(&inode->mutex);
    return before->cached_bytes > 0 || are_left;
}

/* What was left meanwhile, by a release beside, may have come after its place was passed. */
static void note_dropped(struct inode *inode, uint64_t left)
{
    pthread_mutex_lock(&inode->mutex);
    if (inode->pages_left_dropped < left)
        inode->pages_left_dropped = left;
    pthread_mutex_unlock(&inode->mutex);
}

void pages_drop_end(struct inode *inode, const struct pages_before *before, int error)
{
    if (error != 0)
        atomic_fetch_add(&inode->cached_bytes, before->cached_bytes);
    else
        note_dropped(inode, before->left);
}

/* ---- the daemon's own opens of the mount ---- */

/* No handle has it. */
#define OWN_HANDLE UINT64_MAX

struct own_open {
    pid_t thread;
    uint64_t node_id;
    bool is_seen; /* it has come here: it is this mount that was opened */
    struct own_open *next;
};

struct own_opens {
    pthread_mutex_t mutex;
    struct own_open *first;
    atomic_uint count;
    atomic_bool are_refused; /* by the kernel, to this process: for good */
};

struct own_opens *own_opens_new(void)
{
    struct own_opens *opens = calloc(1, sizeof(*opens));

    if (opens)
        pthread_mutex_init(&opens->mutex, NULL);
    return opens;
}

void own_opens_free(struct own_opens *opens)
{
    if (!opens)
        return;
    pthread_mutex_destroy(&opens->mutex);
    free(opens);
}

static void own_open_begin(struct own_opens *opens, struct own_open *own)
{
    pthread_mutex_lock(&opens->mutex);
    own->next = opens->first;
    opens->first = own;
    atomic_fetch_add(&opens->count, 1);
    pthread_mutex_unlock(&opens->mutex);
}

/* Whether its file was opened here. */
static bool own_open_end(struct own_opens *opens, struct own_open *own)
{
    pthread_mutex_lock(&opens->mutex);
    struct own_open **link = &opens->first;
    while (*link != own)
        link = &(*link)->next;
    *link = own->next;
    atomic_fetch_sub(&opens->count, 1);
    pthread_mutex_unlock(&opens->mutex);
    return own->is_seen;
}

static bool is_own(struct own_opens *opens, pid_t thread, uint64_t node_id)
{
    struct own_open *own;

    if (atomic_load(&opens->count) == 0)
        return false;
    pthread_mutex_lock(&opens->mutex);
    own = opens->first;
    while (own && own->thread != thread)
        own = own->next;
    if (own && own->node_id == node_id)
        own->is_seen = true;
    pthread_mutex_unlock(&opens->mutex);
    return own != NULL;
}

/* It keeps no page and drops none; its close is not to be told before its RELEASE. */
bool pages_answer_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    if (!is_own(context_of(req)->own_opens, fuse_req_ctx(req)->pid, ino))
        return false;
    fi->fh = OWN_HANDLE;
    fi->keep_cache = 1;
    fi->direct_io = 1;
    fi->noflush = 1;
    fuse_reply_open(req, fi);
    return true;
}

/* What was to be written has been: its errors are known here. */
bool pages_answer_fsync(fuse_req_t req, const struct fuse_file_info *fi)
{
    if (fi->fh != OWN_HANDLE)
        return false;
    fuse_reply_err(req, 0);
    return true;
}

/* ---- writing out ---- */

/* linux/include/linux/exportfs.h and fs/fuse/inode.c, fuse_encode_fh: node id, generation. */
#define FILEID_INO64_GEN 0x81
struct fuse_handle {
    struct file_handle header;
    uint32_t words[3];
};

static int open_by_node(int mount_fd, uint64_t node_id)
{
    struct fuse_handle handle = {
        .header = {.handle_bytes = sizeof(handle.words), .handle_type = FILEID_INO64_GEN},
        .words = {(uint32_t)(node_id >> 32), (uint32_t)node_id, 0}, /* names give no generation */
    };
    const int fd = open_by_handle_at(mount_fd, &handle.header, O_RDONLY | O_CLOEXEC);

    return fd >= 0 ? fd : -errno;
}

/*
 * Of the mount as it can be seen from here. For a moment only, while somebody else has the file
 * open: it must not keep anybody from unmounting.
 */
static int open_own(const struct context *context, uint64_t node_id)
{
    const int mount_fd = open(context->mountpoint, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int fd;

    if (mount_fd < 0)
        return -errno;
    fd = open_by_node(mount_fd, node_id);
    close(mount_fd);
    return fd;
}

static int open_seen(struct context *context, const struct inode *inode)
{
    struct own_open own = {.thread = gettid(), .node_id = inode->node_id};
    int fd;

    if (atomic_load(&context->own_opens->are_refused))
        return -EPERM;
    own_open_begin(context->own_opens, &own);
    fd = open_own(context, inode->node_id);
    const bool is_seen = own_open_end(context->own_opens, &own);
    if (fd == -EPERM || fd == -EOPNOTSUPP)
        atomic_store(&context->own_opens->are_refused, true);
    if (fd >= 0 && !is_seen) { /* something else is mounted there by now */
        close(fd);
        fd = -EXDEV;
    }
    return fd;
}

static int write_out(struct context *context, const struct inode *inode)
{
    const int fd = open_seen(context, inode);
    int error;

    if (fd < 0)
        return fd;
    /* Unlike sync_file_range(2) it waits for WRITEs that are queued (fuse_sync_writes). */
    error = fdatasync(fd) == 0 ? 0 : -errno;
    close(fd);
    return error;
}

/* Dirty pages come from writable mappings alone, and those keep a handle open. */
static bool may_be_dirty(struct inode *inode, const struct handle *closing)
{
    pthread_mutex_lock(&inode->mutex);
    const bool others_write =
        inode->writable_handles > (closing && handle_writes(closing) ? 1U : 0U);
    pthread_mutex_unlock(&inode->mutex);
    return others_write && pages_may_be_there(inode);
}

int pages_write_out(struct context *context, struct inode *inode, const struct handle *closing)
{
    if (!may_be_dirty(inode, closing))
        return 0;
    if (pages_may_be_many(inode) && write_out(context, inode) == 0)
        return 0;
    return notify_inode(context, inode);
}

/* ---- what a release left ---- */

#define FIRST_PIECE_BYTES (UINT64_C(4) << 20)
/* A piece holds up the inode's other jobs: about so long. */
#define PIECE_LEAST_NS 1000000
#define PIECE_MOST_NS 4000000

static uint64_t leave(struct inode *inode)
{
    pthread_mutex_lock(&inode->mutex);
    const uint64_t left = ++inode->pages_left;
    atomic_store(&inode->cached_bytes, 0);
    pthread_mutex_unlock(&inode->mutex);
    return left;
}

void pages_leave(struct inode *inode)
{
    (void)leave(inode); /* whichever it is */
}

struct pages_left pages_drop_left_begin(struct inode *inode, uint64_t length_bytes)
{
    return (struct pages_left){
        .left = leave(inode), .length_bytes = length_bytes, .piece_bytes = FIRST_PIECE_BYTES};
}

static void adapt(struct pages_left *left, int64_t took_ns)
{
    if (took_ns < PIECE_LEAST_NS)
        left->piece_bytes *= 2;
    else if (took_ns > PIECE_MOST_NS && left->piece_bytes > FIRST_PIECE_BYTES)
        left->piece_bytes /= 2;
}

bool pages_drop_left(struct context *context, struct inode *inode, struct pages_left *left)
{
    const int64_t start_ns = pool_now_ns();
    int error;

    pthread_mutex_lock(&inode->mutex);
    const bool are_there = inode->pages_left_dropped < left->left;
    pthread_mutex_unlock(&inode->mutex);
    if (!are_there) /* who acquired the file has dropped all */
        return false;
    const bool is_last = left->length_bytes - left->offset <= left->piece_bytes;
    error = notify_range(context, inode, left->offset, is_last ? 0 : left->piece_bytes);
    left->offset += left->piece_bytes;
    adapt(left, pool_now_ns() - start_ns);
    if (error == 0 && !is_last)
        return true;
    if (error == 0)
        note_dropped(inode, left->left);
    else
        notify_say(context, inode, error);
    return false;
}
