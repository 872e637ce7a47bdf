/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guard.h"

#include "backing.h"
#include "description.h"
#include "lock.h"
#include "metadata.h"
#include "notify.h"
#include "pool.h"
#include "protect.h"
#include "record_file.h"
#include "report.h"
#include "stats.h"
#include "watch_thread.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PROBE_BYTES BACKING_ALIGNMENT

static bool is_guarded_mount(const struct context *context)
{
    return context->options.coherence && !context->passthrough &&
           context->options.fence != FENCE_OFF;
}

/* ---- choosing ---- */

/* What is to be true of the inode. Descriptions and handles are good in its job. */
struct choice {
    int fd; /* of a description by which others write, too; or -1 */
    bool is_direct;
};

static void offer(struct choice *choice, int fd)
{
    const int flags = fcntl(fd, F_GETFL);

    /* What is written by position would land at the end. */
    if (flags < 0 || (flags & O_APPEND) || (flags & O_ACCMODE) == O_RDONLY || choice->fd >= 0)
        return;
    choice->fd = fd;
    choice->is_direct = (flags & O_DIRECT) != 0;
}

static bool shares(const struct description *description, const struct handle *handle)
{
    return description->handle == handle->number;
}

static bool is_a_way(const struct context *context, const struct inode *inode,
                     const struct profile_locks *locks, const struct description *description)
{
    const uint64_t owner = description->owner;

    if (description->is_lost || description->access == O_RDONLY)
        return false;
    return owner == LOCK_OWNER_DAEMON
               ? range_owner_holds(locks->ranges, owner)
               : profile_owner_writes(context->options.profile, locks, inode->recognised, owner);
}

/* Without `locks`, nobody's are known: each writes by its own way, until the next change. */
static void choose(struct context *context, struct inode *inode, const struct profile_locks *locks,
                   struct choice *choice)
{
    for (struct handle *handle = inode->handles; handle; handle = handle->next)
        handle->guards_next = false;
    if (!locks)
        return;
    for (const struct description *description = inode->descriptions; description;
         description = description->next) {
        if (!is_a_way(context, inode, locks, description))
            continue;
        offer(choice, description->fd);
        for (struct handle *handle = inode->handles; handle; handle = handle->next) {
            if (shares(description, handle))
                handle->guards_next = true;
        }
    }
    if (context->options.profile != PROFILE_FLOCK)
        return;
    for (struct handle *handle = inode->handles; handle; handle = handle->next) {
        if (handle->was_lost || !handle_writes(handle) ||
            !range_handle_holds(locks->flocks, handle->number, RANGE_WRITE))
            continue;
        offer(choice, handle->fd);
        handle->guards_next = true;
    }
}

/* Puts the choice into force. Whether those who are on their way go by another one. */
static bool put(struct inode *inode, const struct choice *choice)
{
    bool is_other = inode->guard_fd != choice->fd;

    for (struct handle *handle = inode->handles; handle; handle = handle->next) {
        is_other = is_other || (handle->guards && !handle->guards_next);
        handle->guards = handle->guards_next;
    }
    inode->guard_fd = choice->fd;
    inode->guard_is_direct = choice->is_direct;
    return is_other;
}

/* Those who began before are counted apart from those who begin now, and end as fast as the store
 * lets them. */
static void drain(struct inode *inode)
{
    const unsigned phase = inode->write_phase;

    inode->write_phase = !phase;
    while (inode->writes_in[phase] > 0)
        pthread_cond_wait(&inode->drained, &inode->mutex);
}

static void count_guarded(struct context *context, bool before, bool after);

void guard_choose(struct context *context, struct inode *inode, const struct lock_change *change)
{
    struct range_table ranges = {0}, flocks = {0};
    struct choice choice = {.fd = -1};

    if (!is_guarded_mount(context))
        return;
    const int error = lock_tables_after(context, inode, change, &ranges, &flocks);
    const struct profile_locks locks = {.ranges = &ranges, .flocks = &flocks};

    pthread_mutex_lock(&inode->mutex);
    const bool before = inode->guard_fd >= 0;
    choose(context, inode, error == 0 ? &locks : NULL, &choice);
    if (put(inode, &choice))
        drain(inode);
    const bool after = inode->guard_fd >= 0;
    if (after && !before)
        inode->guard_seen_ns = pool_now_ns();
    pthread_mutex_unlock(&inode->mutex);
    range_table_deinit(&ranges);
    range_table_deinit(&flocks);
    count_guarded(context, before, after);
}

void guard_last_close(struct context *context, struct inode *inode)
{
    pthread_mutex_lock(&inode->mutex);
    const bool before = inode->guard_fd >= 0;
    inode->guard_fd = -1;
    inode->guard_is_lost = false;
    pthread_mutex_unlock(&inode->mutex);
    count_guarded(context, before, false);
}

int guard_descriptor(const struct inode *inode, const struct handle *handle, bool *is_others)
{
    *is_others = inode->guard_fd >= 0 && !(handle && handle->guards);
    if (*is_others)
        return inode->guard_fd;
    return handle ? handle->fd : -1;
}

/* ---- lost locks ---- */

/* Descriptions that held the lost locks must not be taken for new ones when they lock again. */
static void mark_lost(struct context *context, struct inode *inode)
{
    pthread_mutex_lock(&context->locks->mutex);
    for (struct description *description = inode->descriptions; description;
         description = description->next)
        description->is_lost = true;
    pthread_mutex_unlock(&context->locks->mutex);
    pthread_mutex_lock(&inode->mutex);
    for (struct handle *handle = inode->handles; handle; handle = handle->next)
        handle->was_lost = handle->was_lost || handle->guards || handle->description_owner_known;
    pthread_mutex_unlock(&inode->mutex);
}

static void fence(struct context *context, struct inode *inode)
{
    pthread_mutex_lock(&inode->mutex);
    const enum owner_state before = owner_state(&inode->owner);
    const bool is_news = owner_lock_lost(&inode->owner);
    const bool takes_reference = is_news && !inode->is_kept_fenced;
    inode->is_kept_fenced = inode->is_kept_fenced || is_news;
    if (is_news)
        inode->opens_at_fence = inode->opens;
    pthread_mutex_unlock(&inode->mutex);
    if (!is_news)
        return;
    if (takes_reference)
        inode_ref(context->inodes, inode);
    mark_lost(context, inode);
    guard_choose(context, inode, NULL);
    record_file_close(inode);
    notify_inode_said(context, inode);
    stats_event(context->stats, STATS_FENCE);
    report_fence(context, inode, before);
}

void guard_acquired(struct context *context, struct inode *inode)
{
    pthread_mutex_lock(&inode->mutex);
    const bool ends = inode->is_kept_fenced && owner_state(&inode->owner) != OWNER_FENCED;
    if (ends)
        inode->guard_is_lost = false; /* of the locks that it had before */
    if (ends)
        inode->is_kept_fenced = false;
    pthread_mutex_unlock(&inode->mutex);
    if (ends)
        inode_unref(context->inodes, inode);
}

/* NFS: EIO; a store that closes what is lost: EBADF. */
static bool may_be_lost(int error)
{
    return error == -EIO || error == -EBADF;
}

/* What a store's client keeps together may be as large as this. */
#define PROBE_DROP_BYTES ((off_t)2 << 20)

/*
 * Reads one block from the server by a description that holds locks; what the store's client has of
 * it cached is written out and dropped first. 0 or a negative errno.
 */
static int probe(int fd, int flags)
{
    char *buffer = backing_buffer();

    if (!buffer)
        return -ENOMEM;
    if (!(flags & O_DIRECT)) {
        /* That they fail shows by the read. */
        (void)sync_file_range(fd, 0, PROBE_DROP_BYTES,
                              SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
                                  SYNC_FILE_RANGE_WAIT_AFTER);
        (void)posix_fadvise(fd, 0, PROBE_DROP_BYTES, POSIX_FADV_DONTNEED);
    }
    return pread(fd, buffer, PROBE_BYTES, 0) >= 0 ? 0 : -errno;
}

int guard_probe(int fd)
{
    const int flags = fcntl(fd, F_GETFL);
    int error;

    if (flags < 0)
        return -errno;
    if ((flags & O_ACCMODE) == O_WRONLY)
        return -EOPNOTSUPP;
    error = probe(fd, flags);
    return error == -EACCES ? 0 : error;
}

/* The server answers for the file by another description, if only that its user may not. */
static bool is_answered(struct handle *handle)
{
    const char *bytes;
    const ssize_t count = backing_read_fresh(handle, PROBE_BYTES, 0, &bytes);

    return count >= 0 || count == -EACCES;
}

enum verdict { LOCKS_NONE, LOCKS_THERE, LOCKS_LOST, LOCKS_UNKNOWN };

/*
 * The error is the lock's if a description without locks is answered, and it is no passing one. Of
 * one that cannot read nothing is learned but by what is written.
 */
static enum verdict judge(struct handle *handle, int fd)
{
    const int error = guard_probe(fd);

    if (error == 0)
        return LOCKS_THERE;
    return may_be_lost(error) && is_answered(handle) && may_be_lost(guard_probe(fd))
               ? LOCKS_LOST
               : LOCKS_UNKNOWN;
}

/* LOCKS_NONE: there is no guard. */
static enum verdict confirm(struct context *context, struct handle *handle)
{
    struct inode *inode = handle->inode;

    pthread_mutex_lock(&inode->mutex);
    const int fd = inode->guard_fd;
    const enum owner_state state = owner_state(&inode->owner);
    const bool is_known = inode->guard_is_lost;
    const int64_t asked_ns = pool_now_ns();
    inode->guard_check_is_due = false;
    inode->guard_is_lost = false;
    pthread_mutex_unlock(&inode->mutex);
    if (fd < 0 || (state != OWNER_OWNER && state != OWNER_SHARED))
        return LOCKS_NONE;
    const enum verdict verdict = is_known ? LOCKS_LOST : judge(handle, fd);
    if (verdict == LOCKS_LOST)
        fence(context, inode);
    backing_close_fresh(inode);
    if (verdict == LOCKS_THERE) {
        pthread_mutex_lock(&inode->mutex);
        inode->guard_seen_ns = asked_ns;
        pthread_mutex_unlock(&inode->mutex);
    }
    return verdict;
}

int guard_check(struct context *context, struct handle *handle)
{
    const enum verdict verdict = confirm(context, handle);

    metadata_expire(handle->inode);
    if (verdict == LOCKS_THERE || verdict == LOCKS_UNKNOWN)
        protect_look(context, handle->inode);
    return verdict == LOCKS_UNKNOWN ? -EAGAIN : 0;
}

/* ---- the watch ---- */

/* Of stores whose lease is not known. */
#define UNKNOWN_PERIOD_MS 30000

struct guard_watch {
    struct watch_thread thread;
    struct context *context;
    unsigned period_ms;
    unsigned sure_ms; /* after its locks were there they are still; 0: not known */

    /* its mutex: */
    unsigned guarded;   /* inodes */
    bool is_asked;      /* some inode's guard_check_is_due */
    unsigned under_way; /* checks */
};

static void count_guarded(struct context *context, bool before, bool after)
{
    struct guard_watch *watch = context->watch;

    if (before == after)
        return;
    pthread_mutex_lock(&watch->thread.mutex);
    watch->guarded += after ? 1 : -1U;
    pthread_cond_broadcast(&watch->thread.changed);
    pthread_mutex_unlock(&watch->thread.mutex);
}

/* Those that have a check due are looked at now. */
static void ask(struct guard_watch *watch)
{
    watch_thread_tell(&watch->thread, &watch->is_asked);
}

void guard_confirm(struct context *context, struct inode *inode)
{
    struct handle *handle;

    pthread_mutex_lock(&inode->mutex);
    const int64_t age_ns = pool_now_ns() - inode->guard_seen_ns;
    const bool is_sure = inode->guard_fd < 0 || age_ns < context->watch->sure_ms * INT64_C(1000000);
    handle = handle_reader(inode);
    pthread_mutex_unlock(&inode->mutex);
    if (!is_sure && handle)
        (void)confirm(context, handle); /* what it found is in the inode's state */
}

int guard_failed(struct context *context, struct inode *inode, int error)
{
    struct guard_watch *watch = context->watch;

    if (!may_be_lost(error))
        return error;
    pthread_mutex_lock(&inode->mutex);
    const bool wanted = inode->guard_fd >= 0;
    inode->guard_check_is_due = wanted;
    pthread_mutex_unlock(&inode->mutex);
    if (!wanted)
        return error;
    ask(watch);
    return -EIO;
}

void guard_lost(struct context *context, struct inode *inode)
{
    pthread_mutex_lock(&inode->mutex);
    const enum owner_state state = owner_state(&inode->owner);
    const bool had_any = inode->guard_fd >= 0 && (state == OWNER_OWNER || state == OWNER_SHARED);
    if (had_any) {
        inode->guard_check_is_due = true;
        inode->guard_is_lost = true;
    }
    pthread_mutex_unlock(&inode->mutex);
    if (had_any)
        ask(context->watch);
}

static void checked(struct context *context, struct inode *inode, int error, void *data)
{
    struct guard_watch *watch = data;

    (void)context;
    (void)inode;
    (void)error;
    pthread_mutex_lock(&watch->thread.mutex);
    watch->under_way--;
    pthread_cond_broadcast(&watch->thread.changed);
    pthread_mutex_unlock(&watch->thread.mutex);
}

static void run_check(struct context *context, struct job *job)
{
    struct inode *inode = job->inode;
    struct handle *handle;

    pthread_mutex_lock(&inode->mutex);
    handle = handle_reader(inode);
    pthread_mutex_unlock(&inode->mutex);
    if (handle)
        (void)guard_check(context, handle); /* who asks is not told, but by the state */
    pool_reply(context->pool, job, 0);
    pool_finish(context->pool, job);
}

static void free_check(struct job *job)
{
    free(job);
}

/* One at a time: a store that does not answer takes one thread of the pool, and no more. */
static void check_and_wait(struct guard_watch *watch, struct inode *inode)
{
    struct job *job = calloc(1, sizeof(*job));

    if (!job)
        return; /* the next round looks again */
    *job = (struct job){
        .inode = inode, .run = run_check, .free = free_check, .done = checked, .done_data = watch};
    pthread_mutex_lock(&watch->thread.mutex);
    watch->under_way++;
    pthread_mutex_unlock(&watch->thread.mutex);
    pool_submit(watch->context->pool, job);
    pthread_mutex_lock(&watch->thread.mutex);
    while (watch->under_way > 0)
        pthread_cond_wait(&watch->thread.changed, &watch->thread.mutex);
    pthread_mutex_unlock(&watch->thread.mutex);
}

struct round {
    struct guard_watch *watch;
    bool is_of_all; /* not only of those that asked */
};

static int visit(struct inode *inode, void *data)
{
    const struct round *round = data;
    struct guard_watch *watch = round->watch;

    pthread_mutex_lock(&inode->mutex);
    const bool is_due = inode->guard_fd >= 0 && (round->is_of_all || inode->guard_check_is_due);
    pthread_mutex_unlock(&inode->mutex);
    if (is_due)
        check_and_wait(watch, inode);
    pthread_mutex_lock(&watch->thread.mutex);
    const bool ends = watch->thread.is_ending;
    pthread_mutex_unlock(&watch->thread.mutex);
    return ends;
}

/*
 * Nothing guarded: sleeps without a timer. A period begins with the first that is guarded: a
 * hand-over is the worst moment to ask for locks that were taken just now. True: a round of all is
 * due.
 */
static bool wait_round(struct guard_watch *watch)
{
    int64_t due_ns = pool_now_ns() + watch->period_ms * INT64_C(1000000);
    int error = 0;

    while (!watch->thread.is_ending && !watch->is_asked && error != ETIMEDOUT) {
        if (watch->guarded == 0) {
            pthread_cond_wait(&watch->thread.changed, &watch->thread.mutex);
            due_ns = pool_now_ns() + watch->period_ms * INT64_C(1000000);
            continue;
        }
        const struct timespec due = {.tv_sec = due_ns / 1000000000, .tv_nsec = due_ns % 1000000000};

        error = pthread_cond_timedwait(&watch->thread.changed, &watch->thread.mutex, &due);
    }
    watch->is_asked = false;
    return error == ETIMEDOUT;
}

static void *watch_run(void *data)
{
    struct guard_watch *watch = data;
    struct round round = {.watch = watch};

    pthread_mutex_lock(&watch->thread.mutex);
    while (!watch->thread.is_ending) {
        round.is_of_all = wait_round(watch);
        pthread_mutex_unlock(&watch->thread.mutex);
        (void)inode_each_open(watch->context->inodes, visit, &round); /* -ENOMEM: the next round */
        pthread_mutex_lock(&watch->thread.mutex);
    }
    pthread_mutex_unlock(&watch->thread.mutex);
    return NULL;
}

struct guard_watch *guard_watch_new(struct context *context)
{
    struct guard_watch *watch = calloc(1, sizeof(*watch));

    if (!watch)
        return NULL;
    watch->context = context;
    watch_thread_init(&watch->thread);
    return watch;
}

int guard_watch_start(struct guard_watch *watch)
{
    const unsigned lease = watch->context->lease_ms;

    if (!is_guarded_mount(watch->context))
        return 0;
    watch->period_ms = lease > 0 ? lease / 3 : UNKNOWN_PERIOD_MS;
    watch->sure_ms = lease / 3 * 2;
    return watch_thread_start(&watch->thread, "migfs-guard", watch_run, watch);
}

void guard_watch_stop(struct guard_watch *watch)
{
    if (watch)
        watch_thread_stop(&watch->thread);
}

void guard_watch_free(struct guard_watch *watch)
{
    if (!watch)
        return;
    watch_thread_deinit(&watch->thread);
    free(watch);
}
