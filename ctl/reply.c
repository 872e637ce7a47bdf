/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "reply.h"

#include "counters.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

static bool entry_is_whole(const struct migfs_file *file, size_t rest)
{
    size_t needed = sizeof(*file);

    if (rest < needed || file->size > rest || file->size % 8 != 0 || file->size < needed)
        return false;
    if (file->lock_count > (file->size - needed) / sizeof(struct migfs_lock))
        return false;
    needed += file->lock_count * sizeof(struct migfs_lock);
    if (file->path_length >= file->size - needed)
        return false;
    return memchr(migfs_file_path(file), '\0', file->size - needed) ==
           migfs_file_path(file) + file->path_length;
}

static const struct migfs_file *entry_at(const struct migfs_files *files, size_t offset)
{
    return (const struct migfs_file *)(const void *)(files->buffer + offset);
}

static bool reply_is_whole(const struct migfs_files *files)
{
    size_t offset = 0;

    if (files->version != MIGFS_IOC_VERSION || files->used > sizeof(files->buffer))
        return false;
    for (__u32 i = 0; i < files->count; i++) {
        const struct migfs_file *file = entry_at(files, offset);

        if (!entry_is_whole(file, files->used - offset))
            return false;
        offset += file->size;
    }
    return offset == files->used;
}

int reply_ask(struct reply *reply, const struct target *target, unsigned long command, __u64 cursor)
{
    *reply = (struct reply){.files = {.version = MIGFS_IOC_VERSION,
                                      .flags = command == MIGFS_IOC_STATUS ? MIGFS_FILES_CHECK : 0,
                                      .ino = target->ino,
                                      .cursor = cursor}};
    if (ioctl(target->fd, command, &reply->files) < 0)
        return errno;
    return reply_is_whole(&reply->files) ? 0 : ENOTTY;
}

const struct migfs_file *reply_next(struct reply *reply)
{
    const struct migfs_file *file;

    if (reply->offset >= reply->files.used)
        return NULL;
    file = entry_at(&reply->files, reply->offset);
    reply->offset += file->size;
    return file;
}

#define NAME_OF(names, number)                                                                     \
    ((number) < sizeof(names) / sizeof((names)[0]) ? (names)[number] : "unknown")

const char *file_name_state(const struct migfs_file *file)
{
    if ((file->flags & MIGFS_FILE_KEPT) != 0)
        return "kept";
    return (file->flags & MIGFS_FILE_UNLINKED) != 0 ? "removed" : "present";
}

const char *file_access(const struct migfs_file *file)
{
    if ((file->flags & MIGFS_FILE_REFUSED) != 0)
        return "refused";
    return (file->flags & MIGFS_FILE_REOPENED) != 0 ? "as owner" : "as opened";
}

const char *file_state(const struct migfs_file *file)
{
    return NAME_OF(state_names, file->state);
}

const char *file_transition(const struct migfs_file *file)
{
    static const char *const names[] = {
        [MIGFS_TRANSITION_NONE] = "",
        [MIGFS_TRANSITION_ACQUIRING] = "acquiring",
        [MIGFS_TRANSITION_RELEASING] = "releasing",
    };

    return NAME_OF(names, file->transition);
}

const char *file_profile(const struct migfs_file *file)
{
    static const char *const names[] = {
        [MIGFS_PROFILE_AUTO] = "auto",   [MIGFS_PROFILE_QEMU] = "qemu",
        [MIGFS_PROFILE_RANGE] = "range", [MIGFS_PROFILE_FLOCK] = "flock",
        [MIGFS_PROFILE_NONE] = "none",   [MIGFS_PROFILE_IOCTL] = "ioctl",
    };

    return NAME_OF(names, file->profile);
}

const char *file_direction(const struct migfs_file *file)
{
    static const char *const names[] = {
        [MIGFS_DIRECTION_NONE] = "none",
        [MIGFS_DIRECTION_ACQUIRE] = "acquire",
        [MIGFS_DIRECTION_RELEASE] = "release",
    };

    return NAME_OF(names, file->handoff_direction);
}

const char *file_verified(__u32 verified)
{
    static const char *const names[] = {
        [MIGFS_VERIFIED_NO] = "no",
        [MIGFS_VERIFIED_PARTLY] = "partly",
        [MIGFS_VERIFIED_YES] = "yes",
        [MIGFS_VERIFIED_WRITTEN] = "written",
    };

    return NAME_OF(names, verified);
}

const char *lock_type(const struct migfs_lock *lock)
{
    static const char *const names[] = {
        [MIGFS_LOCK_READ] = "read",
        [MIGFS_LOCK_WRITE] = "write",
    };

    return NAME_OF(names, lock->type);
}
