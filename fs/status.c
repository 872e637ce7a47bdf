/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "status.h"

#include "file_name.h"
#include "lock.h"
#include "verify.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

_Static_assert((int)MIGFS_STATE_PLAIN == (int)OWNER_PLAIN &&
                   (int)MIGFS_STATE_STANDBY == (int)OWNER_STANDBY &&
                   (int)MIGFS_STATE_SHARED == (int)OWNER_SHARED &&
                   (int)MIGFS_STATE_OWNER == (int)OWNER_OWNER &&
                   (int)MIGFS_STATE_RELEASED == (int)OWNER_RELEASED &&
                   (int)MIGFS_STATE_FENCED == (int)OWNER_FENCED &&
                   (int)MIGFS_TRANSITION_ACQUIRING == (int)OWNER_ACQUIRING &&
                   (int)MIGFS_TRANSITION_RELEASING == (int)OWNER_RELEASING &&
                   (int)MIGFS_PROFILE_AUTO == (int)PROFILE_AUTO &&
                   (int)MIGFS_PROFILE_QEMU == (int)PROFILE_QEMU &&
                   (int)MIGFS_PROFILE_RANGE == (int)PROFILE_RANGE &&
                   (int)MIGFS_PROFILE_FLOCK == (int)PROFILE_FLOCK &&
                   (int)MIGFS_PROFILE_NONE == (int)PROFILE_NONE &&
                   (int)MIGFS_VERIFIED_NO == (int)VERIFY_UNKNOWN &&
                   (int)MIGFS_VERIFIED_PARTLY == (int)VERIFY_PARTLY &&
                   (int)MIGFS_VERIFIED_YES == (int)VERIFY_WHOLE &&
                   (int)MIGFS_VERIFIED_WRITTEN == (int)VERIFY_WRITTEN &&
                   (int)MIGFS_LOCK_READ == (int)RANGE_READ &&
                   (int)MIGFS_LOCK_WRITE == (int)RANGE_WRITE,
               "migfs.h numbers these as they are numbered here");

static const char deleted_suffix[] = " (deleted)"; /* d_path, fs/d_path.c */

/* Paths ------------------------------------------------------------------------------------- */

static void strip_deleted(char *path)
{
    const size_t length = strlen(path);
    const size_t suffix = sizeof(deleted_suffix) - 1;

    if (length > suffix && strcmp(path + length - suffix, deleted_suffix) == 0)
        path[length - suffix] = '\0';
}

/* One file ---------------------------------------------------------------------------------- */

/* The path, and what the store's client remembers of owner and links; it is not asked anew. */
static int take_name(struct context *context, struct inode *inode, struct file_status *status)
{
    struct inode_pin pin _cleanup_pin_ = inode_pin_scoped(context->inodes, inode);
    struct statx attributes;

    status->owner = (uid_t)-1; /* nobody, where it cannot be told */
    status->path = file_path_of(context, pin.fd);
    if (!status->path)
        return -ENOMEM;
    if (pin.fd < 0)
        return 0;
    if (statx(pin.fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_UID | STATX_NLINK,
              &attributes) != 0)
        return 0;
    status->owner = attributes.stx_uid;
    if (atomic_load(&inode->removal) == REMOVAL_KEPT)
        status->file.flags |= MIGFS_FILE_KEPT;
    if (attributes.stx_nlink == 0 || atomic_load(&inode->removal) == REMOVAL_GONE) {
        status->file.flags |= MIGFS_FILE_UNLINKED;
        strip_deleted(status->path);
    }
    return 0;
}

static enum migfs_profile shown_profile(const struct context *context, const struct inode *inode)
{
    if (inode->acquired_by_ioctl)
        return MIGFS_PROFILE_IOCTL;
    if (context->options.profile == PROFILE_AUTO && inode->recognised)
        return MIGFS_PROFILE_QEMU;
    return (enum migfs_profile)context->options.profile;
}

static uint64_t oldest_open_generation(const struct inode *inode)
{
    uint64_t oldest = inode->owner.generation;

    for (const struct handle *handle = inode->handles; handle; handle = handle->next) {
        if (handle->open_generation < oldest)
            oldest = handle->open_generation;
    }
    return oldest;
}

static void take_handoff(const struct handoff_report *report, struct migfs_file *file)
{
    if (report->time_ns == 0)
        return;
    file->handoff_direction = report->released ? MIGFS_DIRECTION_RELEASE : MIGFS_DIRECTION_ACQUIRE;
    file->handoff_time_ns = report->time_ns;
    file->handoff_duration_ns = report->duration_ns;
    file->handoff_bytes_flushed = report->bytes_flushed;
    file->handoff_pages_dropped = report->pages_dropped;
    file->handoff_bytes_prefetched = report->bytes_prefetched;
    file->handoff_verified = report->verified;
}

static void take_ranges(const struct range_table *ranges, struct file_status *status)
{
    for (size_t i = 0; i < ranges->count; i++) {
        const struct range *range = &ranges->entries[i];

        status->locks[status->file.lock_count++] = (struct migfs_lock){
            .start = range->start,
            .length = range->end == RANGE_MAX ? 0 : range->end - range->start + 1,
            .type = range->type == RANGE_WRITE ? MIGFS_LOCK_WRITE : MIGFS_LOCK_READ,
            .pid = range->pid,
        };
    }
}

/* Under inode.mutex, so that state and locks are of one moment. */
static int take_locks(struct context *context, struct inode *inode, struct file_status *status)
{
    size_t count;
    int error = 0;

    pthread_mutex_lock(&context->locks->mutex);
    count = inode->ranges.count + inode->flocks.count;
    if (count > 0) {
        status->locks = calloc(count, sizeof(*status->locks));
        error = status->locks ? 0 : -ENOMEM;
    }
    if (status->locks) {
        take_ranges(&inode->ranges, status);
        take_ranges(&inode->flocks, status);
    }
    pthread_mutex_unlock(&context->locks->mutex);
    return error;
}

static int take_state(struct context *context, struct inode *inode, struct file_status *status)
{
    struct migfs_file *file = &status->file;
    int error;

    pthread_mutex_lock(&inode->mutex);
    file->generation = inode->owner.generation;
    file->open_generation = oldest_open_generation(inode);
    file->bytes_read = atomic_load(&inode->bytes_read);
    file->bytes_written = inode->bytes_written;
    file->foreign_writes = inode->foreign_writes;
    file->stale_acquires = inode->stale_acquires;
    file->prefetch_errors = inode->prefetch_errors;
    file->state = (uint32_t)owner_state(&inode->owner);
    file->transition = (uint32_t)inode->owner.transition;
    file->profile = shown_profile(context, inode);
    file->flags |= inode->access == ACCESS_AS_OWNER  ? MIGFS_FILE_REOPENED
                   : inode->access == ACCESS_REFUSED ? MIGFS_FILE_REFUSED
                                                     : 0;
    take_handoff(&inode->last_handoff, file);
    error = take_locks(context, inode, status);
    pthread_mutex_unlock(&inode->mutex);
    return error;
}

static void take_command(struct migfs_lock *lock)
{
    char path[32];
    char command[sizeof(lock->command) + 1];
    ssize_t length;
    int fd;

    if (lock->pid == 0)
        return;
    (void)snprintf(path, sizeof(path), "/proc/%u/comm", lock->pid); /* it always fits */
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return; /* it has ended, and left its lock to a child or in flight */
    length = read(fd, command, sizeof(command));
    (void)close(fd); /* read only */
    if (length > 0 && command[length - 1] == '\n')
        length--;
    if (length > (ssize_t)sizeof(lock->command) - 1)
        length = sizeof(lock->command) - 1;
    if (length > 0)
        memcpy(lock->command, command, (size_t)length);
}

int status_take(struct context *context, struct inode *inode, struct file_status *status)
{
    struct file_status taken = {
        .file = {.ino = inode->identity.ino,
                 .device_major = major(inode->identity.dev),
                 .device_minor = minor(inode->identity.dev)},
    };
    int error = take_state(context, inode, &taken);

    if (error == 0)
        error = take_name(context, inode, &taken);
    if (error != 0) {
        file_status_deinit(&taken);
        return error;
    }
    for (uint32_t i = 0; i < taken.file.lock_count; i++)
        take_command(&taken.locks[i]);
    *status = taken;
    return 0;
}

/* Many files -------------------------------------------------------------------------------- */

int status_scope_init(struct status_scope *scope, struct context *context, struct inode *inode,
                      uint64_t ino)
{
    *scope = (struct status_scope){.ino = ino};
    if (ino != 0)
        return 0;
    if (!S_ISDIR(inode->type)) {
        scope->node_id = inode->node_id;
        return 0;
    }
    scope->directory = inode->node_id == FUSE_ROOT_ID ? strdup("") : file_path(context, inode);
    return scope->directory ? 0 : -ENOMEM;
}

void status_scope_deinit(struct status_scope *scope)
{
    free(scope->directory);
    scope->directory = NULL;
}

bool status_scope_has(const struct status_scope *scope, uint64_t node_id, uint64_t ino,
                      const char *path)
{
    size_t length;

    if (scope->ino != 0)
        return ino == scope->ino;
    if (scope->node_id != 0)
        return node_id == scope->node_id;
    length = scope->directory ? strlen(scope->directory) : 0;
    if (length == 0)
        return true;
    return path && strncmp(path, scope->directory, length) == 0 && path[length] == '/';
}

struct collection {
    struct context *context;
    const struct status_scope *scope;
    struct inode_list *list;
    size_t capacity;
};

static bool is_opened_by(struct inode *inode, pid_t process)
{
    const struct handle *handle;

    pthread_mutex_lock(&inode->mutex);
    handle = inode->handles;
    while (handle && handle->process != process)
        handle = handle->next;
    pthread_mutex_unlock(&inode->mutex);
    return handle != NULL;
}

static int collect(struct inode *inode, void *data)
{
    struct collection *collection = data;
    struct inode_list *list = collection->list;
    char *path = NULL;
    bool has;

    if (!S_ISREG(inode->type))
        return 0;
    if (collection->scope->directory && !(path = file_path(collection->context, inode)))
        return -ENOMEM;
    has = status_scope_has(collection->scope, inode->node_id, inode->identity.ino, path);
    free(path);
    if (!has ||
        (collection->scope->process != 0 && !is_opened_by(inode, collection->scope->process)))
        return 0;
    if (list->count == collection->capacity) {
        const size_t capacity = collection->capacity ? 2 * collection->capacity : 16;
        struct inode **inodes = reallocarray(list->inodes, capacity, sizeof(struct inode *));

        if (!inodes)
            return -ENOMEM;
        list->inodes = inodes;
        collection->capacity = capacity;
    }
    inode_ref(collection->context->inodes, inode);
    list->inodes[list->count++] = inode;
    return 0;
}

static int compare_node_ids(const void *left, const void *right)
{
    const struct inode *const *a = left;
    const struct inode *const *b = right;

    return ((*a)->node_id > (*b)->node_id) - ((*a)->node_id < (*b)->node_id);
}

int inode_list_open(struct context *context, const struct status_scope *scope,
                    struct inode_list *list)
{
    struct inode_list found = {.inodes = NULL};
    struct collection collection = {.context = context, .scope = scope, .list = &found};
    const int error = inode_each_open(context->inodes, collect, &collection);

    if (error != 0) {
        inode_list_deinit(context, &found);
        return error;
    }
    if (found.count > 1)
        qsort(found.inodes, found.count, sizeof(struct inode *), compare_node_ids);
    *list = found;
    return 0;
}

void inode_list_deinit(struct context *context, struct inode_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        inode_unref(context->inodes, list->inodes[i]);
    free(list->inodes);
    *list = (struct inode_list){.inodes = NULL};
}

/*
 * The cursor is the node id to go on with: ids only grow and are never used again, so a file that
 * stays open is met once, whatever is opened and closed between the calls.
 */
int status_files(struct context *context, const struct status_scope *scope, uint64_t cursor,
                 uid_t caller, struct migfs_files *files)
{
    struct inode_list list;
    int error = inode_list_open(context, scope, &list);
    bool fits = true;

    if (error != 0)
        return error;
    files->cursor = 0;
    for (size_t i = 0; i < list.count && error == 0 && fits; i++) {
        struct file_status status;

        if (list.inodes[i]->node_id < cursor)
            continue;
        error = status_take(context, list.inodes[i], &status);
        if (error != 0)
            break;
        fits = ioctl_files_append(files, &status, caller);
        if (!fits)
            files->cursor = list.inodes[i]->node_id;
        file_status_deinit(&status);
    }
    inode_list_deinit(context, &list);
    return error;
}
