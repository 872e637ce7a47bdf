/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "open.h"

#include "acting.h"
#include "close.h"
#include "data.h"
#include "fault.h"
#include "gate.h"
#include "guard.h"
#include "names.h"
#include "pages.h"
#include "passthrough.h"
#include "protect.h"
#include "record_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* Of one that is closing no write is to come. With the inode's mutex held. */
static bool has_uncached_writer(const struct inode *inode)
{
    for (const struct handle *handle = inode->handles; handle; handle = handle->next) {
        if (handle->is_uncached && !atomic_load(&handle->may_be_closing))
            return true;
    }
    return false;
}

/*
 * Whether a plain open goes past the kernel's pages. What is appended lands at the end that the
 * server knows, and the kernel would keep it at the end that this host knows. What a descriptor
 * that cannot read writes would be kept for nobody: the next open drops it; but who had the file
 * open before may have pages of it. And who opens it beside such a writer keeps nothing either: of
 * a page that is read while the file grows within it the rest is zeros, and the new length may be
 * known before the kernel drops that page. With the inode's mutex held.
 */
static bool is_uncached(const struct context *context, const struct handle *handle)
{
    const bool appends = handle_writes(handle) && (handle->flags & O_APPEND) != 0;
    const bool is_alone = handle->inode->open_handles == 1;

    return appends || (has_uncached_writer(handle->inode) && !fault_caches_beside()) ||
           (is_alone && !handle_reads(handle) && context->drops_overwritten);
}

/*
 * What the kernel may keep of this open. While owner its pages stay whatever is opened (fact 13);
 * what is read of a file that another host writes shall not stay at all.
 */
static void set_open_flags(struct context *context, struct handle *handle,
                           struct fuse_file_info *fi)
{
    struct inode *inode = handle->inode;
    const bool direct = (fi->flags & O_DIRECT) != 0;

    pthread_mutex_lock(&inode->mutex);
    const bool may_cache = owner_may_cache(&inode->owner);
    const bool asks = owner_asks_server(&inode->owner);
    const bool uncached = !may_cache && !direct && is_uncached(context, handle);
    handle->is_uncached = uncached && handle_writes(handle);
    pthread_mutex_unlock(&inode->mutex);
    fi->keep_cache = may_cache;
    fi->direct_io = direct || uncached ||
                    (asks && !handle_writes(handle) && context->options.standby != STANDBY_CACHED);
    fi->parallel_direct_writes = direct;
}

/* Takes `fd` over: a handle, and what the kernel is to know of it. */
static int open_handle(fuse_req_t req, struct inode *inode, int fd, struct fuse_file_info *fi,
                       bool is_delayed, struct handle **result)
{
    struct context *context = context_of(req);
    struct handle *handle =
        handle_open(context, inode, fd, fi->flags, is_delayed, fuse_req_ctx(req));
    int error = 0;

    if (!handle) {
        close(fd);
        return -ENOMEM;
    }
    fi->fh = handle->number;
    if (context->passthrough && S_ISREG(inode->type))
        error = passthrough_open(req, handle, fi);
    else if (context->options.coherence)
        set_open_flags(context, handle, fi);
    if (error != 0) {
        close_last(context, handle, NULL);
        return error;
    }
    *result = handle;
    return 0;
}

/* Flags for the open below: what names is done already, and the descriptor is ours. */
static int flags_below(int flags)
{
    return (flags & ~(O_CREAT | O_EXCL | O_NOCTTY | O_NOFOLLOW)) | O_CLOEXEC;
}

/*
 * linux/fs.h, __FMODE_EXEC: the open is execve(2)'s. Without default_permissions the kernel looks
 * only whether anybody may execute the file (linux/fs/fuse/dir.c, fuse_permission).
 */
#define OPEN_TO_EXECUTE 0x20

/* The right to execute is what counts, not that to read: only the kernel reads by this open. */
static int open_to_execute(const char *path, int flags)
{
    int fd;

    if (faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) != 0)
        return -errno;
    fd = open(path, flags);
    if (fd < 0 && errno == EACCES) {
        _cleanup_pause_ struct caller_pause pause = caller_pause_begin();

        fd = open(path, flags);
    }
    return fd >= 0 ? fd : -errno;
}

static int open_below(fuse_req_t req, struct inode *inode, int flags)
{
    _cleanup_acting_ struct acting acting = acting_begin(req, inode);

    if (acting.fd < 0)
        return acting.fd;
    if (flags & OPEN_TO_EXECUTE)
        return open_to_execute(acting.path.text, flags_below(flags));
    const int fd = open(acting.path.text, flags_below(flags));
    return fd >= 0 ? fd : -errno;
}

static int empty(int fd)
{
    return ftruncate(fd, 0) == 0 ? 0 : -errno;
}

static int empty_by_guard(struct context *context, struct inode *inode, int fd)
{
    const int error = empty(fd);

    return protect_mends(context, inode, error) ? empty(fd) : error;
}

/* O_TRUNC changes the file, and passes the gate like a write. */
static int open_gated(fuse_req_t req, struct inode *inode, int flags)
{
    struct gate_pass pass;
    int result;

    if (!(flags & O_TRUNC))
        return open_below(req, inode, flags);
    result = gate_enter(context_of(req), inode, NULL, GATE_WHOLE_FILE, &pass);
    if (result != 0)
        return result;
    result = open_below(req, inode, pass.by_guard ? flags & ~O_TRUNC : flags);
    if (result >= 0 && pass.by_guard) {
        const int error = empty_by_guard(context_of(req), inode, pass.fd);

        if (error != 0) {
            close(result);
            result = guard_failed(context_of(req), inode, error);
        }
    }
    gate_leave(&pass, &(struct gate_outcome){.effect = result >= 0 ? TRACE_CUTS : TRACE_UNSURE});
    return result;
}

static bool is_unchanged(const struct stat *a, const struct stat *b)
{
    return a->st_size == b->st_size && memcmp(&a->st_mtim, &b->st_mtim, sizeof(a->st_mtim)) == 0 &&
           memcmp(&a->st_ctim, &b->st_ctim, sizeof(a->st_ctim)) == 0;
}

/*
 * An open sees what was closed before it. An NFS client keeps that for the first open of a file
 * only: while another one holds its cache it keeps old pages and an old length (fact 2). So the
 * server is asked here, and what is older goes.
 */
static int refresh_reopened(struct context *context, struct inode *inode, int fd)
{
    struct stat now;
    int error;

    pthread_mutex_lock(&inode->mutex);
    const bool is_reopened = inode->open_handles > 0 && !owner_may_cache(&inode->owner);
    const struct stat before = inode->at_open;
    pthread_mutex_unlock(&inode->mutex);
    if (!context->options.coherence)
        return 0;
    error = inode_stat(context->inodes, inode, fd, is_reopened, &now);
    if (error != 0)
        return error;
    if (is_reopened && !is_unchanged(&before, &now))
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); /* advice: an error has no meaning */
    pthread_mutex_lock(&inode->mutex);
    inode->at_open = now;
    pthread_mutex_unlock(&inode->mutex);
    return 0;
}

/* Where another host is owner, an open that changes nothing can wait. */
static bool is_delayed(struct context *context, struct inode *inode, int flags)
{
    if (context->options.standby != STANDBY_DELAY || context->passthrough ||
        !S_ISREG(inode->type) || (flags & (O_TRUNC | OPEN_TO_EXECUTE)))
        return false;
    pthread_mutex_lock(&inode->mutex);
    const bool is_standby = owner_state(&inode->owner) == OWNER_STANDBY;
    pthread_mutex_unlock(&inode->mutex);
    return is_standby;
}

static int access_of(int flags)
{
    switch (flags & O_ACCMODE) {
    case O_RDONLY:
        return R_OK;
    case O_WRONLY:
        return W_OK;
    default:
        return R_OK | W_OK;
    }
}

/* The caller is judged now; nothing of the file is touched before it is needed. */
static int open_delayed(fuse_req_t req, struct inode *inode, struct fuse_file_info *fi,
                        struct handle **handle)
{
    int fd;
    {
        _cleanup_acting_ struct acting acting = acting_begin(req, inode);

        if (acting.fd < 0)
            return acting.fd;
        if (faccessat(AT_FDCWD, acting.path.text, access_of(fi->flags), AT_EACCESS) != 0)
            return -errno;
        fd = open(acting.path.text, O_PATH | O_CLOEXEC);
        if (fd < 0)
            return -errno;
    }
    return open_handle(req, inode, fd, fi, true, handle);
}

static int open_file(fuse_req_t req, struct inode *inode, struct fuse_file_info *fi,
                     struct handle **handle)
{
    int fd, error;

    /* A changed state needs no drop here: the open itself drops what the kernel has. */
    (void)record_look(context_of(req), inode);
    if (is_delayed(context_of(req), inode, fi->flags))
        return open_delayed(req, inode, fi, handle);
    fd = open_gated(req, inode, fi->flags);
    if (fd == -ESTALE)
        atomic_store(&inode->is_stale, true); /* the kernel looks the name up again */
    if (fd < 0)
        return fd;
    error = refresh_reopened(context_of(req), inode, fd);
    if (error != 0) {
        close(fd);
        return error;
    }
    return open_handle(req, inode, fd, fi, false, handle);
}

void open_existing(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct context *context = context_of(req);
    struct inode *inode = inode_find(context->inodes, ino);
    struct handle *handle = NULL;
    int error;

    if (pages_answer_open(req, ino, fi))
        return;
    error = inode ? open_file(req, inode, fi, &handle) : -ESTALE;
    if (error != 0)
        fuse_reply_err(req, -error);
    else if (fuse_reply_open(req, fi) != 0)
        close_last(context, handle, NULL);
}

/* ---- creating ---- */

struct created {
    struct inode *inode;
    struct handle *handle;
    struct stat attributes;
};

/*
 * `name` NULL: a file without one (O_TMPFILE). Another host may have put something there meanwhile:
 * a symbolic link is the kernel's to follow, which looks again on ESTALE (linux/fs/namei.c,
 * do_filp_open); a FIFO must not hold up this thread; a file is truncated by the gate alone.
 */
static int create_below(fuse_req_t req, struct inode *directory, const char *name, mode_t mode,
                        int flags)
{
    _cleanup_acting_ struct acting acting = acting_begin(req, directory);
    const int named = (flags & ~O_TRUNC) | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    int fd;

    if (acting.fd < 0)
        return acting.fd;
    fd = name ? openat(acting.fd, name, named, mode)
              : open(acting.path.text, flags | O_TMPFILE | O_CLOEXEC, mode);
    if (fd >= 0)
        return fd;
    const int error = -errno;
    if ((error == -EEXIST || error == -EISDIR) && name &&
        names_hidden_there(context_of(req), acting.fd, name))
        return -EPERM;
    return error == -ELOOP && !(flags & O_NOFOLLOW) ? -ESTALE : error;
}

/* What O_TRUNC asks of a file that was there already. */
static int truncate_found(fuse_req_t req, struct inode *inode, int fd, struct stat *attributes)
{
    struct context *context = context_of(req);
    int error;

    if (attributes->st_size == 0)
        return 0;
    {
        _cleanup_caller_ struct caller caller = caller_begin(req);

        error = caller.error;
        if (error == 0)
            error = data_truncate(context, inode, NULL, fd, 0);
    }
    return error != 0 ? error : inode_stat(context->inodes, inode, fd, false, attributes);
}

static int open_created(fuse_req_t req, int fd, struct fuse_file_info *fi, struct created *created)
{
    int error;

    (void)record_look(context_of(req), created->inode);
    if (!S_ISREG(created->inode->type))
        error = -ESTALE; /* not what the kernel would have asked to create: it looks again */
    else
        error =
            fi->flags & O_TRUNC ? truncate_found(req, created->inode, fd, &created->attributes) : 0;
    if (error != 0) {
        close(fd);
        return error;
    }
    return open_handle(req, created->inode, fd, fi, false, &created->handle);
}

static int create_file(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                       struct fuse_file_info *fi, struct created *created)
{
    struct context *context = context_of(req);
    int fd, error;

    if (name && names_hidden(context, parent, name))
        return -EPERM;
    fd = create_below(req, inode_find(context->inodes, parent), name, mode, fi->flags & ~O_NOCTTY);
    if (fd < 0)
        return fd;
    error = inode_lookup(context->inodes, fd, "", false, &created->inode, &created->attributes);
    if (error != 0) {
        close(fd);
        return error;
    }
    error = open_created(req, fd, fi, created);
    if (error != 0) {
        inode_forget(context->inodes, created->inode, 1);
        inode_unref(context->inodes, created->inode);
    }
    return error;
}

static void create_and_reply(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                             struct fuse_file_info *fi)
{
    struct context *context = context_of(req);
    struct created created;
    const int error = create_file(req, parent, name, mode, fi, &created);

    if (error != 0) {
        fuse_reply_err(req, -error);
        return;
    }
    const struct fuse_entry_param entry = names_entry(context, created.inode, &created.attributes);
    if (fuse_reply_create(req, &entry, fi) != 0) {
        inode_forget(context->inodes, created.inode, 1);
        close_last(context, created.handle, NULL);
    }
    inode_unref(context->inodes, created.inode);
}

void open_new(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
              struct fuse_file_info *fi)
{
    create_and_reply(req, parent, name, mode, fi);
}

void open_unnamed(fuse_req_t req, fuse_ino_t parent, mode_t mode, struct fuse_file_info *fi)
{
    create_and_reply(req, parent, NULL, mode, fi);
}
