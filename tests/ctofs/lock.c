/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "lock.h"

#include "handle.h"
#include "lock_owner.h"
#include "lock_wait.h"
#include "thread.h"
#include "writeback.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <time.h>

/* Dropping ------------------------------------------------------------------------------------ */

void lock_release_owner(struct mount *mount, struct inode *inode, uint64_t id)
{
    pthread_mutex_lock(&inode->lock);
    struct lock_owner *owner = owner_find(inode, id);

    if (owner && owner->count > 0) {
        owner->users++;
        owner_unlock(owner, 0, INT64_MAX);
        mount->counters.unlocks++;
        owner->count = 0;
        owner_unuse(inode, owner);
    }
    pthread_mutex_unlock(&inode->lock);
}

void lock_release_handle(struct mount *mount, struct handle *handle)
{
    struct inode *inode = handle->inode;

    (void)mount;
    pthread_mutex_lock(&inode->lock);
    for (struct lock_owner *owner = inode->lock_owners, *next; owner; owner = next) {
        next = owner->next;
        owner->users++;
        owner_drop_handle(owner, handle);
        owner_unuse(inode, owner);
    }
    pthread_mutex_unlock(&inode->lock);
}

void lock_lose_all(struct mount *mount, struct inode *inode)
{
    pthread_mutex_lock(&inode->lock);
    bool lost = false;

    for (struct lock_owner *owner = inode->lock_owners; owner; owner = owner->next) {
        for (size_t i = 0; i < owner->count; i++)
            owner->held[i].handle->lock_lost = true;
        if (owner->flock_handle)
            owner->flock_handle->lock_lost = true;
        if (owner->count > 0 || owner->flock_handle) {
            lost = true;
            mount->counters.locks_lost++;
        }
        owner_unlock(owner, 0, INT64_MAX);
        if (owner->fd >= 0)
            (void)flock(owner->fd, LOCK_UN); /* cannot fail on a descriptor of ours */
    }
    /* What was written under the lock is refused now, and its fsync will say so. */
    if (lost && inode->dirty.count > 0) {
        extent_clear(&inode->dirty);
        inode->write_error = EIO;
        inode->write_errors++;
    }
    pthread_mutex_unlock(&inode->lock);
}

/* One lock request, on a thread of its own ---------------------------------------------------- */

/*
 * A close sends its release after it returned: a lock of a holder that is gone may be met for a
 * moment, which NFS does not show. So a conflict is looked at again before it is told: after 1, 2,
 * 4, 8 and 16 ms.
 */
#define CONFLICT_LOOKS 5

static void conflict_pause(int look)
{
    const struct timespec pause = {.tv_nsec = 1000000L << look};

    nanosleep(&pause, NULL);
}

struct request {
    fuse_req_t req;
    struct mount *mount;
    struct inode *inode;
    struct handle *handle;
    struct lock_owner *owner;
    struct flock lock;
    int flock_operation; /* LOCK_SH or LOCK_EX; 0: a byte range */
    bool sleep;
};

static int lock_once(struct request *request, bool sleep)
{
    const int fd = request->owner->fd;

    if (request->flock_operation)
        return flock(fd, request->flock_operation | (sleep ? 0 : LOCK_NB)) < 0 ? errno : 0;
    struct flock lock = request->lock;

    return fcntl(fd, sleep ? F_OFD_SETLKW : F_OFD_SETLK, &lock) < 0 ? errno : 0;
}

/* Is the conflict with somebody on this host who is surely there? Then it is told at once. */
static bool conflict_stays(const struct request *request)
{
    const struct lock_owner *holder = NULL;
    bool stays = false;

    pthread_mutex_lock(&request->inode->lock);
    if (request->flock_operation) {
        for (holder = request->inode->lock_owners; holder && !stays; holder = holder->next)
            stays =
                holder != request->owner && holder->flock_handle && !holder->flock_handle->closing;
    } else {
        const struct held *held =
            owner_conflict(request->inode, request->owner->id, &request->lock, &holder);

        stays = held && !held->handle->closing;
    }
    pthread_mutex_unlock(&request->inode->lock);
    return stays;
}

static int lock_blocking(void *request)
{
    return lock_once(request, true);
}

static int lock_take(struct request *request)
{
    int err = lock_once(request, false);

    if (err == EAGAIN && request->sleep)
        return lock_wait(request->req, lock_blocking, request);
    for (int look = 0; err == EAGAIN && look < CONFLICT_LOOKS; look++) {
        if (conflict_stays(request))
            break;
        conflict_pause(look);
        err = lock_once(request, false);
    }
    return err;
}

/* With the inode's lock held: the lock is granted. */
static void lock_record(struct request *request)
{
    struct lock_owner *owner = request->owner;

    if (request->handle->lock_lost)
        request->handle->relocked = true;
    if (request->flock_operation)
        owner->flock_handle = request->handle;
    else
        owner_set(owner, (struct held){.start = request->lock.l_start,
                                       .end = range_end(&request->lock),
                                       .type = request->lock.l_type,
                                       .handle = request->handle});
}

static int lock_serve(struct request *request)
{
    struct inode *inode = request->inode;
    int err = fault_enter(request->mount, request->req, OP_LOCK);

    if (!err)
        err = opener_judge(request->mount, inode, &request->handle->opener, R_OK);
    if (err)
        return err;
    pthread_mutex_lock(&inode->lock);
    err = request->owner->fd < 0 ? ENOLCK : owner_reserve(request->owner);
    pthread_mutex_unlock(&inode->lock);
    if (!err)
        err = lock_take(request);
    if (err) {
        request->mount->counters.lock_conflicts += err == EAGAIN;
        return err;
    }
    pthread_mutex_lock(&inode->lock);
    lock_record(request);
    pthread_mutex_unlock(&inode->lock);
    request->mount->counters.locks++;
    /* As the NFS client does on any lock: what was cached before it is worth nothing. */
    writeback_drop(request->mount, inode);
    return 0;
}

static void request_end(struct request *request, int err)
{
    struct inode *inode = request->inode;

    pthread_mutex_lock(&inode->lock);
    owner_unuse(inode, request->owner);
    pthread_mutex_unlock(&inode->lock);
    fuse_reply_err(request->req, err);
    inode_put(inode);
    free(request);
}

static void *request_run(void *argument)
{
    struct request *request = argument;

    request_end(request, lock_serve(request));
    return NULL;
}

static void lock_start(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
                       struct request wanted)
{
    struct mount *mount = mount_of(req);
    struct inode *inode = inode_of(&mount->inodes, ino);
    struct request *request = malloc(sizeof(*request));

    if (!request) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    *request = wanted;
    request->req = req;
    request->mount = mount;
    request->inode = inode;
    request->handle = handle_of(fi);
    pthread_mutex_lock(&inode->lock);
    request->handle->closing = false;
    request->owner = owner_use(inode, fi->lock_owner, fuse_req_ctx(req)->pid);
    pthread_mutex_unlock(&inode->lock);
    if (!request->owner) {
        fuse_reply_err(req, errno);
        free(request);
        return;
    }
    inode_get(inode);
    const int err = thread_start(request_run, request);

    if (err)
        request_end(request, err == EAGAIN ? ENOLCK : err);
}

/* Unlock: notifies nobody, so the serving thread does it. */
static int unlock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
                  const struct flock *lock)
{
    struct mount *mount = mount_of(req);
    struct inode *inode = inode_of(&mount->inodes, ino);
    struct handle *handle = handle_of(fi);
    int err = fault_enter(mount, req, OP_UNLOCK);

    if (err)
        return err;
    pthread_mutex_lock(&inode->lock);
    handle->closing = false;
    writeback_flush(mount, inode);
    struct lock_owner *owner = owner_find(inode, fi->lock_owner);

    if (owner) {
        owner->users++;
        if (!lock) {
            owner_drop_handle(owner, owner->flock_handle);
        } else {
            err = owner_reserve(owner);
            if (!err) {
                owner_unlock(owner, lock->l_start, range_end(lock));
                owner_set(
                    owner,
                    (struct held){.start = lock->l_start, .end = range_end(lock), .type = F_UNLCK});
            }
        }
        owner_unuse(inode, owner);
    }
    owner_forgive(inode, handle);
    pthread_mutex_unlock(&inode->lock);
    mount->counters.unlocks++;
    return err;
}

static void op_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock,
                     int sleep)
{
    struct flock wanted = range_flock(lock->l_type, lock->l_start, range_end(lock));

    if (inode_of(&mount_of(req)->inodes, ino)->type == 0)
        fuse_reply_err(req, ENOLCK);
    else if (lock->l_type == F_UNLCK)
        fuse_reply_err(req, unlock(req, ino, fi, &wanted));
    else
        lock_start(req, ino, fi, (struct request){.lock = wanted, .sleep = sleep});
}

static void op_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, int operation)
{
    const int kind = operation & ~LOCK_NB;

    if (inode_of(&mount_of(req)->inodes, ino)->type == 0)
        fuse_reply_err(req, ENOLCK);
    else if (kind == LOCK_UN)
        fuse_reply_err(req, unlock(req, ino, fi, NULL));
    else
        lock_start(req, ino, fi,
                   (struct request){.flock_operation = kind, .sleep = !(operation & LOCK_NB)});
}

/* Test ---------------------------------------------------------------------------------------- */

/* As the NFS client: a conflict on this host is told first, and hides what others hold. */
static bool test_here(const struct inode *inode, uint64_t id, struct flock *lock)
{
    const struct lock_owner *holder = NULL;
    const struct held *held = owner_conflict(inode, id, lock, &holder);

    if (!held)
        return false;
    *lock = range_flock(held->type, held->start, held->end);
    lock->l_pid = holder->pid;
    return true;
}

static int test_store(int fd, struct flock *lock)
{
    struct flock found = *lock;

    found.l_pid = 0;
    if (fcntl(fd, F_OFD_GETLK, &found) < 0)
        return errno;
    if (found.l_type == F_UNLCK) {
        lock->l_type = F_UNLCK;
        return 0;
    }
    *lock = found;
    lock->l_pid = 0; /* nobody on this host */
    return 0;
}

static void *test_run(void *argument)
{
    struct request *request = argument;
    struct inode *inode = request->inode;
    struct flock found = request->lock;
    int err = fault_enter(request->mount, request->req, OP_GETLK);

    for (int look = 0; !err && look <= CONFLICT_LOOKS; look++) {
        if (look > 0)
            conflict_pause(look - 1);
        found = request->lock;
        pthread_mutex_lock(&inode->lock);
        if (!test_here(inode, request->owner->id, &found))
            err = request->owner->fd < 0 ? ENOLCK : test_store(request->owner->fd, &found);
        pthread_mutex_unlock(&inode->lock);
        if (found.l_type == F_UNLCK || conflict_stays(request))
            break;
    }
    pthread_mutex_lock(&inode->lock);
    owner_unuse(inode, request->owner);
    pthread_mutex_unlock(&inode->lock);
    request->mount->counters.lock_tests++;
    if (err)
        fuse_reply_err(request->req, err);
    else
        fuse_reply_lock(request->req, &found);
    inode_put(inode);
    free(request);
    return NULL;
}

static void op_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock)
{
    struct mount *mount = mount_of(req);
    struct inode *inode = inode_of(&mount->inodes, ino);
    struct request *request = inode->type == 0 ? NULL : malloc(sizeof(*request));

    if (!request) {
        fuse_reply_err(req, inode->type == 0 ? ENOLCK : ENOMEM);
        return;
    }
    *request =
        (struct request){.req = req, .mount = mount, .inode = inode, .handle = handle_of(fi)};
    request->lock = range_flock(lock->l_type, lock->l_start, range_end(lock));
    pthread_mutex_lock(&inode->lock);
    request->owner = owner_use(inode, fi->lock_owner, fuse_req_ctx(req)->pid);
    pthread_mutex_unlock(&inode->lock);
    int err = request->owner ? 0 : errno;

    if (!err) {
        inode_get(inode);
        err = thread_start(test_run, request);
        if (!err)
            return;
        request_end(request, err);
        return;
    }
    fuse_reply_err(req, err);
    free(request);
}

void lock_operations(struct fuse_lowlevel_ops *operations)
{
    operations->getlk = op_getlk;
    operations->setlk = op_setlk;
    operations->flock = op_flock;
}
