/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "protect.h"

#include "backing.h"
#include "description.h"
#include "events.h"
#include "file_name.h"
#include "guard.h"
#include "lock.h"
#include "log.h"
#include "removed.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

/* ---- one description ---- */

/* One below, by the descriptors that share it, and the locks on it. */
struct held {
    struct inode *inode;
    struct opened_as *opened;
    int fd, second_fd; /* the latter -1: there is none */
    bool has_ranges;   /* of `owner` */
    uint64_t owner;    /* of these */
    bool has_flock, flock_is_exclusive;
    bool is_exclusive; /* any of the locks is */
};

static struct held held_by(const struct inode *inode, const struct description *description)
{
    struct held held = {.fd = -1, .second_fd = -1};

    if (!description)
        return held;
    held.owner = description->owner;
    for (size_t i = 0; i < inode->ranges.count; i++) {
        const struct range *range = &inode->ranges.entries[i];

        held.has_ranges = held.has_ranges || range->owner == held.owner;
        held.is_exclusive =
            held.is_exclusive || (range->owner == held.owner && range->type == RANGE_WRITE);
    }
    return held;
}

/* The ranges on it, or those alone that exclude others, in that kind; the first error. */
static int set_ranges(const struct held *held, int fd, bool only_exclusive, short type)
{
    const struct range_table *ranges = &held->inode->ranges;
    int first = 0;

    for (size_t i = 0; held->has_ranges && i < ranges->count; i++) {
        const struct range *range = &ranges->entries[i];

        if (range->owner != held->owner || (only_exclusive && range->type != RANGE_WRITE))
            continue;
        const int error = description_set(fd, range, type);
        first = first != 0 ? first : error;
    }
    return first;
}

static int set_flock(const struct held *held, int fd, int operation)
{
    if (!held->has_flock)
        return 0;
    return flock(fd, operation | LOCK_NB) == 0 ? 0 : -errno;
}

/* Exclusive ones become shared, so that two descriptions can hold them; else they are given up. */
static void share(const struct held *held)
{
    if (set_ranges(held, held->fd, true, F_RDLCK) != 0)
        (void)set_ranges(held, held->fd, true, F_UNLCK); /* taking them anew will tell */
    if (held->flock_is_exclusive && set_flock(held, held->fd, LOCK_SH) != 0)
        (void)set_flock(held, held->fd, LOCK_UN);
}

/* The locks are what they were, on that descriptor. */
static int make_exclusive(const struct held *held, int fd)
{
    const int error = set_ranges(held, fd, true, F_WRLCK);

    return error != 0 || !held->flock_is_exclusive ? error : set_flock(held, fd, LOCK_EX);
}

static int share_with(const struct held *held, int fd)
{
    const int error = set_ranges(held, fd, false, F_RDLCK);

    return error != 0 ? error : set_flock(held, fd, LOCK_SH);
}

/* Locks that may be lost are not taken anew. Of a description that cannot read nothing is learned.
 */
static int confirm(const struct held *held)
{
    const int error = held->has_ranges || held->has_flock ? guard_probe(held->fd) : 0;

    return error == -EOPNOTSUPP ? 0 : error;
}

/*
 * Shared locks are on the new description before they leave the old one. -ENOLCK: exclusive ones
 * were lost on the way. -EIO, -EBADF: they may have been lost before.
 */
static int carry(const struct held *held, int fd)
{
    int error = confirm(held);

    if (error != 0)
        return error;
    if (held->is_exclusive)
        share(held);
    error = share_with(held, fd);
    if (error != 0)
        return held->is_exclusive && make_exclusive(held, held->fd) != 0 ? -ENOLCK : error;
    if (dup3(fd, held->fd, O_CLOEXEC) < 0 ||
        (held->second_fd >= 0 && dup3(fd, held->second_fd, O_CLOEXEC) < 0))
        return -errno;
    return held->is_exclusive && make_exclusive(held, held->fd) != 0 ? -ENOLCK : 0;
}

static void note_opened(const struct held *held, const struct stat *now, bool is_done)
{
    struct inode *inode = held->inode;

    pthread_mutex_lock(&inode->mutex);
    if (is_done) {
        held->opened->uid = now->st_uid;
        held->opened->gid = now->st_gid;
    }
    held->opened->file_uid = now->st_uid;
    held->opened->file_gid = now->st_gid;
    held->opened->file_mode = now->st_mode;
    pthread_mutex_unlock(&inode->mutex);
}

static bool is_refusal(int error)
{
    return error == -EACCES || error == -EPERM;
}

/* The descriptors' numbers stay: whoever uses one by then goes on by the new description. */
static int renew(const struct held *held, const struct stat *now)
{
    const int kept = O_ACCMODE | O_APPEND | O_DIRECT | O_SYNC | O_DSYNC | O_NOATIME | O_NONBLOCK;
    const int flags = fcntl(held->fd, F_GETFL);
    const int fd = flags < 0 ? -errno : backing_open_as_owner(held->fd, flags & kept);
    int error = fd;

    if (fd >= 0) {
        error = carry(held, fd);
        close(fd); /* nothing was written by it, or there are others of its description */
    }
    if (error == 0 || is_refusal(error))
        note_opened(held, now, error == 0);
    return error; /* of anything else the next time is another try */
}

static bool has_changed(const struct opened_as *opened, const struct stat *now)
{
    return opened->file_uid != now->st_uid || opened->file_gid != now->st_gid ||
           opened->file_mode != now->st_mode;
}

/* Whether somebody who is not root may have less than before. */
static bool has_less(const struct opened_as *opened, const struct stat *now)
{
    return opened->uid != 0 &&
           (opened->file_uid != now->st_uid || opened->file_gid != now->st_gid ||
            (opened->file_mode & ~now->st_mode & (S_IRWXU | S_IRWXG | S_IRWXO)) != 0);
}

/* ---- all of an inode; with its description_mutex held ---- */

/* What a round has come to. */
struct round {
    struct context *context;
    struct inode *inode;
    struct stat now;
    bool is_refused; /* somebody was: else it is to be kept from that */
    unsigned renewed, refused;
    bool was_exclusive;
    bool is_lost; /* locks */
    int error;    /* of the last that was refused */
    int passing;  /* another one, which may not come again: 0 or a negative errno */
};

/* An owner is refused nothing, and what was refused before is so until something changes. */
static bool is_due(const struct round *round, const struct opened_as *opened)
{
    const struct stat *now = &round->now;

    return opened->uid != now->st_uid && has_changed(opened, now) &&
           (round->is_refused || has_less(opened, now));
}

static void renew_in(struct round *round, struct held *held, struct opened_as *opened)
{
    int error;

    held->inode = round->inode;
    held->opened = opened;
    error = renew(held, &round->now);
    round->renewed += error == 0;
    round->refused += is_refusal(error);
    round->is_lost = round->is_lost || error == -ENOLCK;
    round->was_exclusive = round->was_exclusive || held->is_exclusive;
    if (is_refusal(error))
        round->error = error;
    else if (error != 0 && error != -ENOLCK)
        round->passing = error;
}

/* Those that come later are opened as the file is now; none goes. */
static struct handle *first_handle(struct inode *inode)
{
    pthread_mutex_lock(&inode->mutex);
    struct handle *first = inode->handles;
    pthread_mutex_unlock(&inode->mutex);
    return first;
}

static struct opened_as opened_now(const struct handle *handle)
{
    struct inode *inode = handle->inode;

    pthread_mutex_lock(&inode->mutex);
    const struct opened_as opened = handle->opened;
    pthread_mutex_unlock(&inode->mutex);
    return opened;
}

static bool was_lost(const struct handle *handle)
{
    struct inode *inode = handle->inode;

    pthread_mutex_lock(&inode->mutex);
    const bool lost = handle->was_lost;
    pthread_mutex_unlock(&inode->mutex);
    return lost;
}

static struct description *shared_description(const struct inode *inode,
                                              const struct handle *handle)
{
    struct description *description = inode->descriptions;

    while (description && description->handle != handle->number)
        description = description->next;
    return description;
}

static void renew_handle(struct round *round, struct handle *handle)
{
    struct inode *inode = round->inode;
    struct description *description = shared_description(inode, handle);
    struct held held = held_by(inode, description);

    if (handle->is_delayed || was_lost(handle) || (description && description->is_lost) ||
        !is_due(round, &handle->opened))
        return;
    held.fd = handle->fd;
    held.second_fd = description ? description->fd : -1;
    held.has_flock = range_handle_holds(&inode->flocks, handle->number, RANGE_READ);
    held.flock_is_exclusive = range_handle_holds(&inode->flocks, handle->number, RANGE_WRITE);
    held.is_exclusive = held.is_exclusive || held.flock_is_exclusive;
    renew_in(round, &held, &handle->opened);
    handle_apply_flags(handle); /* F_SETFL may have come meanwhile */
    if (description)
        description->opened = opened_now(handle);
}

static bool is_of_open_handle(struct inode *inode, const struct description *description)
{
    const struct handle *handle = first_handle(inode);

    while (handle && handle->number != description->handle)
        handle = handle->next;
    return handle != NULL;
}

static void renew_description(struct round *round, struct description *description)
{
    struct held held = held_by(round->inode, description);

    if (description->is_lost || !is_due(round, &description->opened))
        return;
    held.fd = description->fd;
    renew_in(round, &held, &description->opened);
}

/* The one for fresh reads: its number is good while it is in its place. */
static void renew_fresh(struct round *round)
{
    struct inode *inode = round->inode;
    int fd = -1;

    for (const struct handle *handle = first_handle(inode); handle && fd < 0; handle = handle->next)
        fd = backing_open_as_owner(handle->fd, O_RDONLY | O_DIRECT);
    if (fd < 0)
        return; /* the next such read tells */
    pthread_mutex_lock(&inode->mutex);
    const int old = inode->direct_fd >= 0 ? fcntl(inode->direct_fd, F_DUPFD_CLOEXEC, 0) : -1;
    if (old >= 0)
        (void)dup3(fd, inode->direct_fd, O_CLOEXEC); /* of a good number: cannot fail */
    pthread_mutex_unlock(&inode->mutex);
    if (old >= 0)
        close(old); /* asks the store: not with the mutex held */
    close(fd);
}

static enum inode_access access_now(struct inode *inode)
{
    pthread_mutex_lock(&inode->mutex);
    const enum inode_access access = inode->access;
    pthread_mutex_unlock(&inode->mutex);
    return access;
}

static void set_access(struct inode *inode, enum inode_access access)
{
    pthread_mutex_lock(&inode->mutex);
    inode->access = access;
    pthread_mutex_unlock(&inode->mutex);
}

static void say(const struct round *round)
{
    const struct file_name name = file_name(round->context, round->inode);
    const unsigned uid = round->now.st_uid, gid = round->now.st_gid;
    const unsigned mode = round->now.st_mode & 07777;

    if (round->refused > 0)
        log_error("%s: it was given to %u:%u, mode %04o, and its guest is refused: nobody "
                  "migfs can act as may open it (%s); give it back (chown, chmod)",
                  name.text, uid, gid, mode, strerror(-round->error));
    else if (round->renewed > 0)
        log_notice("%s: it was given to %u:%u, mode %04o, while a guest has it open: it is "
                   "opened again as its owner",
                   name.text, uid, gid, mode);
    if (round->is_lost)
        log_error("%s: a lock of its guest could not be taken again; another host may have it: end "
                  "the guest on one of them",
                  name.text);
    if (round->renewed > 0 && round->was_exclusive)
        log_warning("%s: its exclusive locks could not be carried over without a gap: for a moment "
                    "they were shared, or none; see that no other host has started its guest",
                    name.text);
}

static void run(struct round *round)
{
    struct inode *inode = round->inode;

    round->refused = 0;
    round->passing = 0;
    for (struct handle *handle = first_handle(inode); handle; handle = handle->next)
        renew_handle(round, handle);
    for (struct description *description = inode->descriptions; description;
         description = description->next) {
        if (!is_of_open_handle(inode, description))
            renew_description(round, description);
    }
}

/* Whether the file was changed once more meanwhile, which explains what was refused. */
static bool is_outrun(struct round *round)
{
    const struct stat before = round->now;

    return inode_stat_at_server(round->context->inodes, round->inode, &round->now) == 0 &&
           (before.st_uid != round->now.st_uid || before.st_gid != round->now.st_gid ||
            before.st_mode != round->now.st_mode);
}

/* It was given back to those who have it open. */
static bool is_given_back(const struct round *round)
{
    for (const struct handle *handle = first_handle(round->inode); handle; handle = handle->next) {
        if (opened_now(handle).uid != round->now.st_uid)
            return false;
    }
    return true;
}

static void conclude(struct round *round)
{
    if (round->passing != 0) /* its locks may be lost, if it is one of these errors */
        (void)guard_failed(round->context, round->inode, round->passing);
    if (round->renewed + round->refused == 0 && !round->is_lost) {
        if (access_now(round->inode) == ACCESS_REFUSED && is_given_back(round))
            set_access(round->inode, ACCESS_AS_OPENED);
        return;
    }
    renew_fresh(round);
    set_access(round->inode, round->refused > 0 ? ACCESS_REFUSED : ACCESS_AS_OWNER);
    if (round->is_lost)
        guard_lost(round->context, round->inode);
    say(round);
    events_publish(round->context, round->inode);
}

/*
 * Whoever waits for a lock waits by a description that must stay. Whether all is open and locked as
 * it was, as far as this round can tell.
 */
static bool renew_all(struct context *context, struct inode *inode, bool is_refused)
{
    struct round round = {.context = context, .inode = inode, .is_refused = is_refused};

    if (atomic_load(&inode->lock_waits) > 0 ||
        inode_stat_at_server(context->inodes, inode, &round.now) != 0)
        return false;
    run(&round);
    for (unsigned tries = 1; tries < PROTECT_TRIES && round.refused > 0 && is_outrun(&round);
         tries++)
        run(&round);
    conclude(&round);
    return !round.is_lost && round.passing == 0;
}

/* Another thread may have been faster: then nothing was left to do. */
bool protect_mends_held(struct context *context, struct inode *inode, int error)
{
    if (error != -EACCES || !inode_is_protected(context, inode))
        return false;
    return renew_all(context, inode, true) && access_now(inode) == ACCESS_AS_OWNER;
}

bool protect_mends(struct context *context, struct inode *inode, int error)
{
    bool mends;

    if (error != -EACCES || !inode_is_protected(context, inode))
        return false;
    pthread_mutex_lock(&inode->description_mutex);
    mends = protect_mends_held(context, inode, error);
    pthread_mutex_unlock(&inode->description_mutex);
    return mends;
}

bool protect_again(struct context *context, struct inode *inode, ssize_t result, unsigned *tries)
{
    ++*tries;
    return result < 0 && *tries < PROTECT_TRIES && protect_mends(context, inode, (int)result);
}

void protect_changed(struct context *context, struct inode *inode)
{
    const struct handle *handle;

    if (!inode_is_protected(context, inode))
        return;
    pthread_mutex_lock(&inode->description_mutex);
    handle = first_handle(inode); /* they are closed under this mutex */
    if (handle && identity_is_judged_anew(handle->fd))
        (void)renew_all(context, inode, false); /* a refusal will tell */
    pthread_mutex_unlock(&inode->description_mutex);
}

void protect_last_close(struct inode *inode)
{
    set_access(inode, ACCESS_AS_OPENED);
}

void protect_look(struct context *context, struct inode *inode)
{
    protect_changed(context, inode);
    removed_look(context, inode);
}

bool protect_has_renewed(const struct handle *handle)
{
    return opened_now(handle).uid != handle->uid;
}

struct caller protect_caller_begin(fuse_req_t req, const struct handle *handle)
{
    const struct opened_as opened = opened_now(handle);

    return opened.uid == handle->uid ? caller_begin(req) : caller_begin_as(opened.uid, opened.gid);
}
