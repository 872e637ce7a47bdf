/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ioctl_argument.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    PATH_LENGTH_MAX = 4095,
};

_Static_assert(sizeof(struct migfs_files) <= 16380 && sizeof(struct migfs_history) <= 16380 &&
                   sizeof(struct migfs_stats) <= 16380,
               "FUSE carries no more");
_Static_assert(sizeof(struct migfs_file) + PATH_LENGTH_MAX + 1 <= MIGFS_FILES_BUFFER_SIZE,
               "a file without locks always fits");

static int parse_handoff(const void *in, size_t in_size, size_t out_size,
                         struct ioctl_argument *argument)
{
    struct migfs_handoff handoff;

    if (in_size != sizeof(handoff) || out_size != sizeof(handoff))
        return -EINVAL;
    memcpy(&handoff, in, sizeof(handoff));
    if (handoff.version != MIGFS_IOC_VERSION || handoff.flags != 0 ||
        (handoff.pid != 0 && argument->call == IOCTL_FORGET))
        return -EINVAL;
    argument->pid = handoff.pid;
    return 0;
}

static int parse_files(const void *in, size_t in_size, size_t out_size,
                       struct ioctl_argument *argument)
{
    const __u32 flags = argument->call == IOCTL_STATUS ? MIGFS_FILES_CHECK : 0;
    struct migfs_files files;

    if (in_size != sizeof(files) || out_size != sizeof(files))
        return -EINVAL;
    memcpy(&files, in, sizeof(files));
    if (files.version != MIGFS_IOC_VERSION || (files.flags & ~flags) != 0 || files.count != 0 ||
        files.used != 0 || files.reserved != 0)
        return -EINVAL;
    argument->ino = files.ino;
    argument->cursor = files.cursor;
    argument->checks = (files.flags & MIGFS_FILES_CHECK) != 0;
    return 0;
}

static int parse_history(const void *in, size_t in_size, size_t out_size)
{
    struct migfs_history history;

    if (in_size != sizeof(history) || out_size != sizeof(history))
        return -EINVAL;
    memcpy(&history, in, offsetof(struct migfs_history, handovers));
    if (history.version != MIGFS_IOC_VERSION || history.flags != 0 || history.count != 0 ||
        history.reserved != 0)
        return -EINVAL;
    return 0;
}

static int parse_mount(const void *in, size_t in_size, size_t out_size)
{
    struct migfs_mount mount;

    if (in_size != sizeof(mount) || out_size != sizeof(mount))
        return -EINVAL;
    memcpy(&mount, in, sizeof(mount));
    return mount.version == MIGFS_IOC_VERSION && mount.flags == 0 ? 0 : -EINVAL;
}

static int parse_stats(const void *in, size_t in_size, size_t out_size)
{
    struct migfs_stats stats;

    if (in_size != sizeof(stats) || out_size != sizeof(stats))
        return -EINVAL;
    memcpy(&stats, in, offsetof(struct migfs_stats, instance));
    return stats.version == MIGFS_IOC_VERSION && stats.flags == 0 ? 0 : -EINVAL;
}

static int parse_timeline(const void *in, size_t in_size, size_t out_size,
                          struct ioctl_argument *argument)
{
    struct migfs_timeline timeline;

    if (in_size != sizeof(timeline) || out_size != sizeof(timeline))
        return -EINVAL;
    memcpy(&timeline, in, offsetof(struct migfs_timeline, release));
    if (timeline.version != MIGFS_IOC_VERSION || timeline.flags != 0)
        return -EINVAL;
    argument->generation = timeline.generation;
    return 0;
}

int ioctl_argument_parse(unsigned command, const void *in, size_t in_size, size_t out_size,
                         struct ioctl_argument *argument)
{
    /* By number: a caller of another size has a version that is not ours, and is told so. */
    static const struct {
        unsigned command;
        enum ioctl_call call;
    } calls[] = {
        {MIGFS_IOC_ACQUIRE, IOCTL_ACQUIRE},   {MIGFS_IOC_RELEASE, IOCTL_RELEASE},
        {MIGFS_IOC_STATUS, IOCTL_STATUS},     {MIGFS_IOC_EVENTS, IOCTL_EVENTS},
        {MIGFS_IOC_FORGET, IOCTL_FORGET},     {MIGFS_IOC_HISTORY, IOCTL_HISTORY},
        {MIGFS_IOC_MOUNT, IOCTL_MOUNT},       {MIGFS_IOC_STATS, IOCTL_STATS},
        {MIGFS_IOC_TIMELINE, IOCTL_TIMELINE},
    };
    struct ioctl_argument parsed = {.ino = 0};
    size_t i = 0;
    int error = -ENOTTY;

    if (_IOC_TYPE(command) != MIGFS_IOC_TYPE)
        return -ENOTTY;
    while (i < sizeof(calls) / sizeof(calls[0]) && _IOC_NR(calls[i].command) != _IOC_NR(command))
        i++;
    if (i == sizeof(calls) / sizeof(calls[0]))
        return -ENOTTY;
    if (calls[i].command != command || in == NULL)
        return -EINVAL;
    parsed.call = calls[i].call;
    switch (parsed.call) {
    case IOCTL_ACQUIRE:
    case IOCTL_RELEASE:
    case IOCTL_FORGET:
        error = parse_handoff(in, in_size, out_size, &parsed);
        break;
    case IOCTL_HISTORY:
        error = parse_history(in, in_size, out_size);
        break;
    case IOCTL_MOUNT:
        error = parse_mount(in, in_size, out_size);
        break;
    case IOCTL_STATS:
        error = parse_stats(in, in_size, out_size);
        break;
    case IOCTL_TIMELINE:
        error = parse_timeline(in, in_size, out_size, &parsed);
        break;
    case IOCTL_STATUS:
    case IOCTL_EVENTS:
        error = parse_files(in, in_size, out_size, &parsed);
        break;
    }
    if (error == 0)
        *argument = parsed;
    return error;
}

void file_status_deinit(struct file_status *status)
{
    free(status->locks);
    free(status->path);
    *status = (struct file_status){.locks = NULL};
}

static size_t entry_size(size_t lock_count, size_t path_length)
{
    const size_t size =
        sizeof(struct migfs_file) + lock_count * sizeof(struct migfs_lock) + path_length + 1;

    return (size + 7) & ~(size_t)7;
}

static void hide_pids(struct migfs_file *file, struct migfs_lock *locks)
{
    file->flags |= MIGFS_FILE_PIDS_HIDDEN;
    for (uint32_t i = 0; i < file->lock_count; i++) {
        locks[i].pid = 0;
        memset(locks[i].command, 0, sizeof(locks[i].command));
    }
}

bool ioctl_files_append(struct migfs_files *files, const struct file_status *status, uid_t caller)
{
    struct migfs_file file = status->file;
    const size_t rest = sizeof(files->buffer) - files->used;
    const char *path = status->path;
    size_t path_length = strlen(path);
    uint8_t *to = files->buffer + files->used;

    if (path_length > PATH_LENGTH_MAX) {
        path += path_length - PATH_LENGTH_MAX;
        path_length = PATH_LENGTH_MAX;
        file.flags |= MIGFS_FILE_PATH_CUT;
    }
    if (entry_size(file.lock_count, path_length) > rest) {
        if (files->count > 0)
            return false;
        file.flags |= MIGFS_FILE_LOCKS_CUT;
        file.lock_count =
            (uint32_t)((rest - entry_size(0, path_length)) / sizeof(struct migfs_lock));
    }
    file.size = (uint32_t)entry_size(file.lock_count, path_length);
    file.path_length = (uint32_t)path_length;

    struct migfs_lock *locks = (struct migfs_lock *)(void *)(to + sizeof(file));
    const size_t locks_size = file.lock_count * sizeof(*locks);

    memset(to, 0, file.size);
    if (locks_size > 0)
        memcpy(locks, status->locks, locks_size);
    if (caller != 0 && caller != status->owner)
        hide_pids(&file, locks);
    memcpy(to, &file, sizeof(file));
    memcpy(to + sizeof(file) + locks_size, path, path_length);
    files->used += file.size;
    files->count++;
    return true;
}
