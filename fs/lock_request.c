/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "description.h"
#include "lock.h"

#include "backing.h"
#include "transition.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

/* libfuse hands `l_len` 0 for "to the end", as fcntl(2). */
static struct range range_from(const struct flock *lock, uint64_t owner,
                               const struct handle *handle)
{
    return (struct range){
        .start = (uint64_t)lock->l_start,
        .end = lock->l_len == 0 ? RANGE_MAX : (uint64_t)(lock->l_start + lock->l_len - 1),
        .type = lock->l_type == F_WRLCK ? RANGE_WRITE : RANGE_READ,
        .owner = owner,
        .handle = handle->number,
        .pid = (uint32_t)lock->l_pid,
    };
}

static void submit(fuse_req_t req, struct handle *handle, const struct lock_change *change,
                   bool waits)
{
    struct context *context = context_of(req);
    struct transition *transition = transition_new(handle->inode, change);

    atomic_store(&handle->may_be_closing, false);
    if (!transition) {
        fuse_reply_err(req, ENOLCK);
        return;
    }
    transition->job.req = req;
    transition->has_caller = true;
    transition->waits = waits;
    if (waits)
        transition_submit(context, transition, context->options.deadline_ms);
    else
        transition_carry_out(context, transition, context->options.deadline_ms);
}

void lock_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock,
                int sleep)
{
    struct handle *handle;
    const bool gives = lock->l_type == F_UNLCK;
    const int error = backing_handle(context_of(req), fi->fh, &handle);

    (void)ino;
    if (error != 0) {
        fuse_reply_err(req, -error);
        return;
    }
    const struct lock_change change = {
        .action = gives ? LOCK_GIVE : LOCK_TAKE,
        .range = range_from(lock, fi->lock_owner, handle),
        .handle = handle,
    };
    submit(req, handle, &change, !gives && sleep);
}

/* flock(2) locks belong to the open file: its number is their owner. */
void lock_flock_request(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, int operation)
{
    struct handle *handle;
    const int kind = operation & ~LOCK_NB;
    const int error = backing_handle(context_of(req), fi->fh, &handle);

    (void)ino;
    if (error != 0) {
        fuse_reply_err(req, -error);
        return;
    }
    const struct lock_change change = {
        .action = kind == LOCK_UN ? LOCK_GIVE : LOCK_TAKE,
        .is_flock = true,
        .range =
            {
                .end = RANGE_MAX,
                .type = kind == LOCK_EX ? RANGE_WRITE : RANGE_READ,
                .owner = handle->number,
                .handle = handle->number,
                .pid = (uint32_t)fuse_req_ctx(req)->pid,
            },
        .handle = handle,
    };
    submit(req, handle, &change, kind != LOCK_UN && !(operation & LOCK_NB));
}

/* ---- F_GETLK ---- */

struct question {
    struct job job; /* first */
    struct lock_change change;
    unsigned retries_left;
};

static struct flock flock_of(const struct range *range)
{
    struct flock lock = description_flock(range, range->type == RANGE_WRITE ? F_WRLCK : F_RDLCK);

    lock.l_pid = (pid_t)range->pid;
    return lock;
}

/* A conflict on this mount: the store would know no pid. */
static bool ask_table(struct context *context, struct inode *inode, const struct range *wanted,
                      struct flock *lock)
{
    pthread_mutex_lock(&context->locks->mutex);
    const struct range *conflict = range_conflict(&inode->ranges, wanted);
    if (conflict)
        *lock = flock_of(conflict);
    pthread_mutex_unlock(&context->locks->mutex);
    return conflict != NULL;
}

/*
 * Asked on the owner's description, so that its own locks do not count; an owner without one asks
 * on one that nobody has locks on. What this mount holds was asked of the table.
 */
static int ask_below(const struct inode *inode, const struct lock_change *change,
                     struct flock *lock)
{
    const struct description *own = inode->descriptions;
    int fd, fresh = -1, error = 0;

    while (own && own->owner != change->range.owner)
        own = own->next;
    if (!own)
        fresh = backing_reopen(change->handle, change->handle->flags & O_ACCMODE);
    fd = own ? own->fd : fresh;
    if (fd < 0)
        return fd;
    *lock =
        description_flock(&change->range, change->range.type == RANGE_WRITE ? F_WRLCK : F_RDLCK);
    if (fcntl(fd, F_OFD_GETLK, lock) != 0)
        error = -errno;
    if (fresh >= 0)
        close(fresh);
    return error;
}

static void answer(struct context *context, struct question *question, int error,
                   const struct flock *lock)
{
    fuse_req_t req = pool_take_request(context->pool, &question->job);

    if (req && error != 0)
        fuse_reply_err(req, -error);
    else if (req)
        fuse_reply_lock(req, lock);
    pool_finish(context->pool, &question->job);
}

static void run_question(struct context *context, struct job *job)
{
    struct question *question = (struct question *)job;
    struct flock lock = {.l_type = F_UNLCK};
    int error = 0;

    if (pool_expired(context->pool, job)) {
        answer(context, question, -ETIMEDOUT, NULL); /* who may have closed the handle since */
        return;
    }
    if (question->retries_left > 0 &&
        lock_holder_is_closing(context, job->inode, &question->change)) {
        question->retries_left--;
        pool_again(context->pool, job, LOCK_CLOSING_AGAIN_MS);
        return;
    }
    if (!ask_table(context, job->inode, &question->change.range, &lock)) {
        pthread_mutex_lock(
            &job->inode->description_mutex); /* no lock is on two of them meanwhile */
        error = ask_below(job->inode, &question->change, &lock);
        pthread_mutex_unlock(&job->inode->description_mutex);
    }
    answer(context, question, error, &lock);
}

static void free_question(struct job *job)
{
    free(job);
}

void lock_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock)
{
    struct context *context = context_of(req);
    struct handle *handle = handle_find(context->handles, fi->fh);
    struct question *question = handle ? calloc(1, sizeof(*question)) : NULL;

    (void)ino;
    if (!question) {
        fuse_reply_err(req, handle ? ENOLCK : EBADF);
        return;
    }
    atomic_store(&handle->may_be_closing, false);
    question->job = (struct job){
        .inode = handle->inode, .run = run_question, .free = free_question, .req = req};
    question->change = (struct lock_change){
        .action = LOCK_TAKE,
        .range = range_from(lock, fi->lock_owner, handle),
        .handle = handle,
    };
    question->retries_left = LOCK_CLOSING_RETRIES;
    pool_set_deadline(context->pool, &question->job, context->options.deadline_ms);
    pool_submit(context->pool, &question->job);
}
