/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "lock.h"

#include "description.h"
#include "guard.h"
#include "protect.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

struct lock_table *lock_table_new(void)
{
    struct lock_table *table = calloc(1, sizeof(*table));

    if (table) {
        pthread_mutex_init(&table->mutex, NULL);
        pthread_cond_init(&table->no_waiters, NULL);
    }
    return table;
}

void lock_table_free(struct lock_table *table)
{
    if (!table)
        return;
    pthread_cond_destroy(&table->no_waiters);
    pthread_mutex_destroy(&table->mutex);
    free(table);
}

void lock_change_deinit(struct lock_change *change)
{
    range_table_deinit(&change->undo_ranges);
}

void lock_last_close(struct context *context, struct inode *inode)
{
    struct description *descriptions;

    guard_last_close(context, inode);
    pthread_mutex_lock(&inode->description_mutex);
    pthread_mutex_lock(&context->locks->mutex);
    descriptions = inode->descriptions;
    inode->descriptions = NULL;
    range_table_deinit(&inode->ranges);
    range_table_deinit(&inode->flocks);
    pthread_mutex_unlock(&context->locks->mutex);
    for (struct description *next; descriptions; descriptions = next) {
        next = descriptions->next;
        description_close(descriptions);
    }
    pthread_mutex_unlock(&inode->description_mutex);
    protect_last_close(inode);
}

/* ---- claims ---- */

static struct range_table *table_of(struct inode *inode, const struct lock_change *change)
{
    return change->is_flock ? &inode->flocks : &inode->ranges;
}

/* What the change does to a table that is not shared yet. */
static int apply(struct range_table *ranges, struct range_table *flocks,
                 const struct lock_change *change)
{
    const struct range *range = &change->range;
    struct range_table *table = change->is_flock ? flocks : ranges;

    switch (change->action) {
    case LOCK_TAKE:
        return range_set(table, range);
    case LOCK_GIVE:
        return range_clear(table, range->owner, range->start, range->end);
    case LOCK_GIVE_OWNER:
        range_clear_owner(ranges, range->owner);
        return 0;
    case LOCK_GIVE_HANDLE:
        range_clear_handle(ranges, range->handle);
        range_clear_handle(flocks, range->handle);
        return 0;
    case LOCK_TAKE_DAEMON:
    case LOCK_GIVE_DAEMON:
        break;
    }
    return 0;
}

static enum claim claim_with_daemon(enum claim claim, bool daemon_holds)
{
    return daemon_holds ? CLAIM_OWNER_WRITING : claim;
}

int lock_tables_after(struct context *context, struct inode *inode,
                      const struct lock_change *change, struct range_table *ranges,
                      struct range_table *flocks)
{
    pthread_mutex_lock(&context->locks->mutex);
    int error = range_table_copy(&inode->ranges, ranges);
    if (error == 0)
        error = range_table_copy(&inode->flocks, flocks);
    pthread_mutex_unlock(&context->locks->mutex);
    if (error != 0 || !change)
        return error;
    if (change->action == LOCK_GIVE_DAEMON)
        range_clear_owner(ranges, LOCK_OWNER_DAEMON);
    return apply(ranges, flocks, change);
}

int lock_claims(struct context *context, struct inode *inode, const struct lock_change *change,
                struct lock_claims *claims)
{
    struct range_table ranges = {0}, flocks = {0};
    const bool daemon_before = inode->acquired_by_ioctl;
    const bool daemon_after =
        change->action == LOCK_TAKE_DAEMON || (daemon_before && change->action != LOCK_GIVE_DAEMON);
    int error = lock_tables_after(context, inode, change, &ranges, &flocks);

    if (error == 0) {
        struct stat attributes = {0};
        bool recognised = inode->recognised;

        if (context->options.profile == PROFILE_RANGE && change->handle)
            error = inode_stat(context->inodes, inode, change->handle->fd, false, &attributes);
        const struct profile_locks locks = {
            .ranges = &ranges, .flocks = &flocks, .length_bytes = (uint64_t)attributes.st_size};
        claims->before = inode->claim;
        claims->after = claim_with_daemon(
            profile_claim(context->options.profile, &locks, &recognised), daemon_after);
        claims->recognised = recognised;
    }
    range_table_deinit(&ranges);
    range_table_deinit(&flocks);
    return error;
}

/* ---- changes ---- */

/* Puts the change into the table that others read. */
static int enter(struct context *context, struct inode *inode, const struct lock_change *change)
{
    pthread_mutex_lock(&context->locks->mutex);
    const int error = apply(&inode->ranges, &inode->flocks, change);
    pthread_mutex_unlock(&context->locks->mutex);
    return error;
}

/* Without memory for the entry the bytes go back: a lock that nobody knows of is never given up. */
static int enter_taken(struct context *context, struct inode *inode,
                       const struct lock_change *change)
{
    const int error = enter(context, inode, change);

    if (error != 0) {
        const struct description *description = description_find(inode, change->range.owner);

        if (change->is_flock)
            (void)flock(change->handle->fd, LOCK_UN); /* the first error is the one to tell */
        else if (description)
            (void)description_set(description->fd, &change->range, F_UNLCK);
    }
    return error;
}

static int take_flock(struct context *context, struct inode *inode, struct lock_change *change)
{
    const int operation = change->range.type == RANGE_WRITE ? LOCK_EX : LOCK_SH;

    if (flock(change->handle->fd, operation | LOCK_NB) == 0)
        return enter_taken(context, inode, change);
    if (errno != EWOULDBLOCK)
        return -errno;
    /* A change of kind that meets a conflict has lost what was held (flock(2)). */
    pthread_mutex_lock(&context->locks->mutex);
    range_clear_owner(&inode->flocks, change->range.owner);
    pthread_mutex_unlock(&context->locks->mutex);
    return -EAGAIN;
}

/* Another host may have given the file away since the description was opened. */
static int set_range(struct context *context, struct inode *inode,
                     const struct description *description, const struct range *range)
{
    const short type = description_type(range);
    const int error = description_set(description->fd, range, type);

    if (error != -EACCES || !protect_mends_held(context, inode, error))
        return error;
    return description_set(description->fd, range, type);
}

static int take_range(struct context *context, struct inode *inode, struct lock_change *change)
{
    struct description *description;
    int error = description_of(context, inode, change, &description);

    if (error == 0)
        error = set_range(context, inode, description, &change->range);
    if (error == 0)
        error = enter_taken(context, inode, change);
    if (error != 0)
        description_drop(context, inode, change->range.owner);
    return error;
}

static const uint64_t daemon_bytes[] = {QEMU_BYTE_USES, QEMU_BYTE_USES_WRITE,
                                        QEMU_BYTE_UNSHARED_WRITE};

static void set_acquired_by_ioctl(struct inode *inode, bool acquired, uint64_t through)
{
    pthread_mutex_lock(&inode->mutex);
    inode->acquired_by_ioctl = acquired;
    inode->acquired_through = through;
    pthread_mutex_unlock(&inode->mutex);
}

static int give_daemon(struct context *context, struct inode *inode)
{
    pthread_mutex_lock(&context->locks->mutex);
    range_clear_owner(&inode->ranges, LOCK_OWNER_DAEMON);
    pthread_mutex_unlock(&context->locks->mutex);
    description_drop(context, inode, LOCK_OWNER_DAEMON); /* its close unlocks */
    set_acquired_by_ioctl(inode, false, 0);
    return 0;
}

static int take_daemon(struct context *context, struct inode *inode, struct lock_change *change)
{
    for (size_t i = 0; i < sizeof(daemon_bytes) / sizeof(daemon_bytes[0]); i++) {
        struct lock_change one = {
            .action = LOCK_TAKE, .range = change->range, .handle = change->handle};

        one.range.start = one.range.end = daemon_bytes[i];
        const int error = take_range(context, inode, &one);
        if (error != 0) {
            give_daemon(context, inode);
            return error;
        }
    }
    set_acquired_by_ioctl(inode, true, change->acquirer);
    return 0;
}

/* Whether a handle has locks of flock(2) yet that the store took away. */
static bool any_flock_lost(struct inode *inode)
{
    bool lost = false;

    pthread_mutex_lock(&inode->mutex);
    for (const struct handle *handle = inode->handles; handle && !lost; handle = handle->next)
        lost = handle->was_lost && range_handle_holds(&inode->flocks, handle->number, RANGE_READ);
    pthread_mutex_unlock(&inode->mutex);
    return lost;
}

/* Whether locks that the store took away were not given back yet: none is taken beside them. */
static bool any_lost(struct inode *inode, const struct lock_change *change)
{
    for (const struct description *description = inode->descriptions; description;
         description = description->next) {
        if (description->is_lost && range_owner_holds(&inode->ranges, description->owner))
            return true;
    }
    if (any_flock_lost(inode))
        return true;
    return change->is_flock && change->handle->was_lost; /* it has no other description */
}

static int take(struct context *context, struct inode *inode, struct lock_change *change)
{
    int error;

    if (any_lost(inode, change))
        return -EIO;
    if (change->action == LOCK_TAKE_DAEMON)
        return take_daemon(context, inode, change);
    error = range_table_copy(table_of(inode, change), &change->undo_ranges);
    if (error != 0)
        return error;
    return change->is_flock ? take_flock(context, inode, change)
                            : take_range(context, inode, change);
}

int lock_take(struct context *context, struct inode *inode, struct lock_change *change)
{
    pthread_mutex_lock(&inode->description_mutex);
    const int error = take(context, inode, change);
    pthread_mutex_unlock(&inode->description_mutex);
    return error;
}

static int give_range(struct context *context, struct inode *inode, const struct range *range)
{
    const struct description *description = description_find(inode, range->owner);
    int error;

    if (!description)
        return 0;
    error = description_set(description->fd, range, F_UNLCK);
    if (error != 0 && !description->is_lost)
        return error;
    pthread_mutex_lock(&context->locks->mutex);
    error = range_clear(&inode->ranges, range->owner, range->start, range->end);
    pthread_mutex_unlock(&context->locks->mutex);
    description_drop(context, inode, range->owner);
    return error;
}

static int give_flock(struct context *context, struct inode *inode, struct lock_change *change)
{
    if (flock(change->handle->fd, LOCK_UN) != 0)
        return -errno;
    return enter(context, inode, change);
}

/* An unlock that the store refused: with the owner's last range its description goes, and all on
 * it. */
static void give_by_close(struct context *context, struct inode *inode, const struct range *range)
{
    pthread_mutex_lock(&context->locks->mutex);
    (void)range_clear(&inode->ranges, range->owner, range->start, range->end); /* no split: whole */
    pthread_mutex_unlock(&context->locks->mutex);
    description_drop(context, inode, range->owner);
}

/* Ranges taken through a handle go one by one: others of the same owner may stay. */
static int give_handle(struct context *context, struct inode *inode,
                       const struct lock_change *change)
{
    int error = 0;

    for (size_t i = 0; i < inode->ranges.count;) {
        const struct range range = inode->ranges.entries[i];

        if (range.handle != change->range.handle) {
            i++;
            continue;
        }
        const int failed = give_range(context, inode, &range);
        if (failed != 0) {
            error = failed;
            give_by_close(context, inode, &range);
        }
        i = 0; /* the table has changed */
    }
    /* The description may live on under a range's owner, and a flock with it. */
    if (range_handle_holds(&inode->flocks, change->range.handle, RANGE_READ) &&
        flock(change->handle->fd, LOCK_UN) != 0)
        error = -errno;
    (void)enter(context, inode, change); /* clearing a handle cannot fail */
    return error;
}

static int give(struct context *context, struct inode *inode, struct lock_change *change)
{
    const struct range all_of_owner = {.end = RANGE_MAX, .owner = change->range.owner};

    switch (change->action) {
    case LOCK_GIVE:
        return change->is_flock ? give_flock(context, inode, change)
                                : give_range(context, inode, &change->range);
    case LOCK_GIVE_OWNER:
        return give_range(context, inode, &all_of_owner);
    case LOCK_GIVE_HANDLE:
        return give_handle(context, inode, change);
    case LOCK_GIVE_DAEMON:
        return give_daemon(context, inode);
    case LOCK_TAKE:
    case LOCK_TAKE_DAEMON:
        break;
    }
    return -EINVAL;
}

int lock_give(struct context *context, struct inode *inode, struct lock_change *change)
{
    pthread_mutex_lock(&inode->description_mutex);
    const int error = give(context, inode, change);
    pthread_mutex_unlock(&inode->description_mutex);
    return error;
}

/* The owner's pieces of `undo_ranges` inside the range, or the gap before the next one. */
static int undo_piece(struct context *context, struct inode *inode,
                      const struct lock_change *change, uint64_t *position)
{
    struct range piece = change->range;
    const struct range *next = NULL;

    piece.start = *position;
    for (size_t i = 0; i < change->undo_ranges.count && !next; i++) {
        const struct range *old = &change->undo_ranges.entries[i];

        if (old->owner == piece.owner && old->end >= *position && old->start <= piece.end)
            next = old;
    }
    if (!next || next->start > *position) {
        piece.end = next ? next->start - 1 : piece.end;
        *position = piece.end + 1;
        return give_range(context, inode, &piece);
    }
    struct lock_change again = {.action = LOCK_TAKE, .range = *next, .handle = change->handle};
    again.range.start = *position;
    again.range.end = next->end < piece.end ? next->end : piece.end;
    *position = again.range.end + 1;
    return take_range(context, inode, &again);
}

/* The handle's flock is of the kind that it was, or none. */
static int undo_flock(struct context *context, struct inode *inode,
                      const struct lock_change *change)
{
    struct lock_change back = {
        .action = LOCK_GIVE, .is_flock = true, .range = change->range, .handle = change->handle};

    for (size_t i = 0; i < change->undo_ranges.count; i++) {
        if (change->undo_ranges.entries[i].owner != change->range.owner)
            continue;
        back.action = LOCK_TAKE;
        back.range = change->undo_ranges.entries[i];
        return take_flock(context, inode, &back);
    }
    return give_flock(context, inode, &back);
}

int lock_give_back(struct context *context, struct inode *inode, struct lock_change *change)
{
    /* Short of memory the whole range goes: less than the owner had, but below as in the table. */
    (void)range_table_copy(table_of(inode, change), &change->undo_ranges);
    return lock_undo(context, inode, change);
}

static int undo(struct context *context, struct inode *inode, struct lock_change *change)
{
    int error = 0;

    if (change->action == LOCK_TAKE_DAEMON)
        return give_daemon(context, inode);
    if (change->is_flock)
        return undo_flock(context, inode, change);
    for (uint64_t position = change->range.start; position <= change->range.end && error == 0;)
        error = undo_piece(context, inode, change, &position);
    return error;
}

int lock_undo(struct context *context, struct inode *inode, struct lock_change *change)
{
    pthread_mutex_lock(&inode->description_mutex);
    const int error = undo(context, inode, change);
    pthread_mutex_unlock(&inode->description_mutex);
    return error;
}

void lock_drop_unused(struct context *context, struct inode *inode, uint64_t owner)
{
    pthread_mutex_lock(&inode->description_mutex);
    description_drop(context, inode, owner);
    pthread_mutex_unlock(&inode->description_mutex);
}

/* ---- the test ---- */

static int ask_bytes(int fd, uint64_t first, uint64_t last, bool *held)
{
    const struct range range = {.start = first, .end = last};
    struct flock lock = description_flock(&range, F_WRLCK); /* conflicts with any lock of others */

    if (fcntl(fd, F_OFD_GETLK, &lock) != 0)
        return -errno;
    *held = lock.l_type != F_UNLCK;
    return 0;
}

static bool holds_byte(const struct inode *inode, const struct description *description,
                       uint64_t byte)
{
    return range_owner_holds_byte(&inode->ranges, description->owner, byte);
}

/* Whether anybody on this mount holds the byte by a write lock, which can be neither masked nor let
 * go. */
static bool holds_exclusively(const struct inode *inode, uint64_t byte)
{
    for (size_t i = 0; i < inode->ranges.count; i++) {
        const struct range *range = &inode->ranges.entries[i];

        if (range->type == RANGE_WRITE && range->start <= byte && byte <= range->end)
            return true;
    }
    return false;
}

/* Gives or takes the byte on every description that holds it but `kept`; the first error. */
static int set_others(struct inode *inode, const struct description *kept, uint64_t byte,
                      short type)
{
    const struct range range = {.start = byte, .end = byte};
    int first = 0;

    for (const struct description *other = inode->descriptions; other; other = other->next) {
        if (other == kept || !holds_byte(inode, other, byte))
            continue;
        const int error = description_set(other->fd, &range, type);
        first = first != 0 ? first : error;
    }
    return first;
}

static int test(struct inode *inode, uint64_t byte, bool *held_elsewhere)
{
    const struct description *kept = inode->descriptions;
    int error, again;

    if (holds_exclusively(inode, byte)) {
        *held_elsewhere = false;
        return 0;
    }
    while (kept && !holds_byte(inode, kept, byte))
        kept = kept->next;
    if (!kept)
        kept = inode->descriptions;
    if (!kept)
        return -EINVAL;
    error = set_others(inode, kept, byte, F_UNLCK);
    if (error == 0)
        error = ask_bytes(kept->fd, byte, byte, held_elsewhere);
    again = set_others(inode, kept, byte, F_RDLCK);
    return error != 0 ? error : again;
}

int lock_test(struct inode *inode, uint64_t byte, bool *held_elsewhere)
{
    pthread_mutex_lock(&inode->description_mutex);
    const int error = test(inode, byte, held_elsewhere);
    pthread_mutex_unlock(&inode->description_mutex);
    return error;
}

int lock_test_all(struct inode *inode, uint64_t first, uint64_t last, bool *held)
{
    pthread_mutex_lock(&inode->description_mutex);
    const struct description *asked = inode->descriptions;
    const int error = asked ? ask_bytes(asked->fd, first, last, held) : -EINVAL;
    pthread_mutex_unlock(&inode->description_mutex);
    return error;
}

/* ---- questions ---- */

bool lock_owner_holds(struct context *context, struct inode *inode, uint64_t owner)
{
    pthread_mutex_lock(&context->locks->mutex);
    const bool holds = range_owner_holds(&inode->ranges, owner);
    pthread_mutex_unlock(&context->locks->mutex);
    return holds;
}

bool lock_handle_holds(struct context *context, struct inode *inode, uint64_t handle)
{
    pthread_mutex_lock(&context->locks->mutex);
    const bool holds = range_handle_holds(&inode->ranges, handle, RANGE_READ) ||
                       range_handle_holds(&inode->flocks, handle, RANGE_READ);
    pthread_mutex_unlock(&context->locks->mutex);
    return holds;
}

bool lock_handle_writes(struct context *context, struct inode *inode, const struct handle *handle)
{
    bool writes = false;

    pthread_mutex_lock(&inode->mutex);
    const bool recognised = inode->recognised;
    pthread_mutex_unlock(&inode->mutex);
    pthread_mutex_lock(&context->locks->mutex);
    const struct profile_locks locks = {.ranges = &inode->ranges, .flocks = &inode->flocks};
    for (size_t i = 0; i < inode->ranges.count && !writes; i++) {
        const struct range *range = &inode->ranges.entries[i];

        writes = range->handle == handle->number &&
                 profile_owner_writes(context->options.profile, &locks, recognised, range->owner);
    }
    writes = writes || (context->options.profile == PROFILE_FLOCK &&
                        range_handle_holds(&inode->flocks, handle->number, RANGE_READ));
    pthread_mutex_unlock(&context->locks->mutex);
    return writes;
}

/* The lowest range in the way of the change; for the daemon's locks, in that of their first byte.
 */
static const struct range *conflict_of(struct inode *inode, const struct lock_change *change)
{
    const struct range *conflict = NULL;

    if (change->action != LOCK_TAKE_DAEMON)
        return range_conflict(table_of(inode, change), &change->range);
    for (size_t i = 0; i < sizeof(daemon_bytes) / sizeof(daemon_bytes[0]) && !conflict; i++) {
        struct range byte = change->range;

        byte.start = byte.end = daemon_bytes[i];
        conflict = range_conflict(&inode->ranges, &byte);
    }
    return conflict;
}

bool lock_holder_is_closing(struct context *context, struct inode *inode,
                            const struct lock_change *change)
{
    bool closing = false;

    pthread_mutex_lock(&context->locks->mutex);
    const struct range *holder = conflict_of(inode, change);
    const uint64_t number = holder ? holder->handle : 0;
    pthread_mutex_unlock(&context->locks->mutex);
    if (number != 0) {
        const struct handle *handle = handle_find(context->handles, number);

        closing = !handle || atomic_load(&handle->may_be_closing);
    }
    return closing;
}
