/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "control.h"
#include "lock.h"
#include "mount.h"
#include "stale.h"
#include "thread.h"
#include "writeback.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* How often a frozen request looks whether its caller or the mount is gone. */
#define LOOK_NS 50000000

static const char *const operation_names[OP_COUNT] = {
    [OP_LOOKUP] = "lookup", [OP_GETATTR] = "getattr",     [OP_SETATTR] = "setattr",
    [OP_OPEN] = "open",     [OP_READ] = "read",           [OP_WRITE] = "write",
    [OP_FSYNC] = "fsync",   [OP_FLUSH] = "flush",         [OP_RELEASE] = "release",
    [OP_LOCK] = "lock",     [OP_UNLOCK] = "unlock",       [OP_GETLK] = "getlk",
    [OP_NAMES] = "names",   [OP_READDIR] = "readdir",     [OP_XATTR] = "xattr",
    [OP_STATFS] = "statfs", [OP_FALLOCATE] = "fallocate", [OP_LSEEK] = "lseek",
};

static const struct {
    const char *name;
    int number;
} errors[] = {
    {"EIO", EIO},       {"ENOSPC", ENOSPC}, {"EDQUOT", EDQUOT},       {"ESTALE", ESTALE},
    {"EACCES", EACCES}, {"EPERM", EPERM},   {"EAGAIN", EAGAIN},       {"ENOLCK", ENOLCK},
    {"EBADF", EBADF},   {"ENOENT", ENOENT}, {"ETIMEDOUT", ETIMEDOUT}, {"EINTR", EINTR},
    {"ENOMEM", ENOMEM}, {"EFBIG", EFBIG},   {"EROFS", EROFS},         {"EINVAL", EINVAL},
};

void fault_init(struct faults *faults)
{
    pthread_mutex_init(&faults->lock, NULL);
    pthread_cond_init(&faults->thawed, NULL);
}

static int wait_thawed(struct mount *mount, fuse_req_t req, uint32_t bit)
{
    struct faults *faults = &mount->faults;

    while (faults->frozen & bit) {
        struct timespec until;

        if (fuse_session_exited(mount->session))
            return ENOTCONN;
        if (req && fuse_req_interrupted(req))
            return EINTR;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += LOOK_NS;
        if (until.tv_nsec >= 1000000000) {
            until.tv_nsec -= 1000000000;
            until.tv_sec++;
        }
        pthread_cond_timedwait(&faults->thawed, &faults->lock, &until);
    }
    return 0;
}

static int take_locked(struct faults *faults, enum operation operation)
{
    if (faults->failures[operation].count == 0)
        return 0;
    if (faults->failures[operation].after > 0) {
        faults->failures[operation].after--;
        return 0;
    }
    faults->failures[operation].count--;
    return faults->failures[operation].error;
}

int fault_enter(struct mount *mount, fuse_req_t req, enum operation operation)
{
    struct faults *faults = &mount->faults;

    pthread_mutex_lock(&faults->lock);
    int err = wait_thawed(mount, req, 1U << operation);

    if (!err)
        err = take_locked(faults, operation);
    pthread_mutex_unlock(&faults->lock);
    return err;
}

int fault_wait(struct mount *mount, fuse_req_t req, enum operation operation)
{
    pthread_mutex_lock(&mount->faults.lock);
    const int err = wait_thawed(mount, req, 1U << operation);

    pthread_mutex_unlock(&mount->faults.lock);
    return err;
}

int fault_take(struct mount *mount, enum operation operation)
{
    pthread_mutex_lock(&mount->faults.lock);
    const int err = take_locked(&mount->faults, operation);

    pthread_mutex_unlock(&mount->faults.lock);
    return err;
}

int fault_frozen(struct mount *mount, enum operation operation)
{
    pthread_mutex_lock(&mount->faults.lock);
    const int frozen = (mount->faults.frozen >> operation) & 1U;

    pthread_mutex_unlock(&mount->faults.lock);
    return frozen;
}

static int operation_of(const char *name)
{
    for (int operation = 0; name && operation < OP_COUNT; operation++)
        if (strcmp(operation_names[operation], name) == 0)
            return operation;
    return -1;
}

static int error_of(const char *name)
{
    for (size_t i = 0; name && i < sizeof(errors) / sizeof(errors[0]); i++)
        if (strcmp(errors[i].name, name) == 0)
            return errors[i].number;
    return 0;
}

/* fail OPERATION ERRNO [COUNT [AFTER]] */
static int command_fail(struct faults *faults, char **rest)
{
    const int operation = operation_of(strtok_r(NULL, " \t", rest));
    const int error = error_of(strtok_r(NULL, " \t", rest));
    const char *count = strtok_r(NULL, " \t", rest);
    const char *after = count ? strtok_r(NULL, " \t", rest) : NULL;

    if (operation < 0 || error == 0)
        return EINVAL;
    pthread_mutex_lock(&faults->lock);
    faults->failures[operation].error = error;
    faults->failures[operation].count = count ? strtoul(count, NULL, 10) : 1;
    faults->failures[operation].after = after ? strtoul(after, NULL, 10) : 0;
    pthread_mutex_unlock(&faults->lock);
    return 0;
}

static void set_frozen(struct faults *faults, uint32_t frozen, uint32_t mask)
{
    pthread_mutex_lock(&faults->lock);
    faults->frozen = (faults->frozen & ~mask) | frozen;
    pthread_cond_broadcast(&faults->thawed);
    pthread_mutex_unlock(&faults->lock);
}

/* freeze|thaw [OPERATION]...; without one: all */
static int command_freeze(struct faults *faults, bool freeze, char **rest)
{
    uint32_t mask = 0;

    for (const char *word; (word = strtok_r(NULL, " \t", rest));) {
        const int operation = operation_of(word);

        if (operation < 0)
            return EINVAL;
        mask |= 1U << operation;
    }
    if (mask == 0)
        mask = UINT32_MAX;
    set_frozen(faults, freeze ? mask : 0, mask);
    return 0;
}

struct lease {
    struct mount *mount;
    uint64_t partition;
    unsigned long lease_ms;
};

static void *lease_run(void *argument)
{
    struct lease *lease = argument;
    struct faults *faults = &lease->mount->faults;
    const struct timespec pause = {.tv_sec = (time_t)(lease->lease_ms / 1000),
                                   .tv_nsec = (long)(lease->lease_ms % 1000) * 1000000};

    nanosleep(&pause, NULL);
    pthread_mutex_lock(&faults->lock);
    const bool over = faults->partition == lease->partition;

    pthread_mutex_unlock(&faults->lock);
    if (over)
        inode_each_open(&lease->mount->inodes, lock_lose_all, lease->mount);
    free(lease);
    return NULL;
}

/* partition [MILLISECONDS]: nothing reaches the store; after that time the locks are gone. */
static int command_partition(struct mount *mount, char **rest)
{
    const char *word = strtok_r(NULL, " \t", rest);
    struct lease *lease = malloc(sizeof(*lease));

    if (!lease)
        return ENOMEM;
    set_frozen(&mount->faults, UINT32_MAX, UINT32_MAX);
    pthread_mutex_lock(&mount->faults.lock);
    mount->faults.partition = (uint64_t)clock_ns();
    *lease = (struct lease){.mount = mount,
                            .partition = mount->faults.partition,
                            .lease_ms = word ? strtoul(word, NULL, 10) : 0};
    pthread_mutex_unlock(&mount->faults.lock);
    /* Without a pause they are gone before the writer of this command goes on. */
    if (lease->lease_ms == 0) {
        lease_run(lease);
        return 0;
    }
    return thread_start(lease_run, lease);
}

static int command_heal(struct faults *faults)
{
    pthread_mutex_lock(&faults->lock);
    faults->partition = 0;
    pthread_mutex_unlock(&faults->lock);
    set_frozen(faults, 0, UINT32_MAX);
    return 0;
}

int fault_command(struct mount *mount, char *line)
{
    char *rest = NULL;
    const char *command = strtok_r(line, " \t", &rest);

    if (!command)
        return 0;
    if (strcmp(command, "fail") == 0)
        return command_fail(&mount->faults, &rest);
    if (strcmp(command, "freeze") == 0)
        return command_freeze(&mount->faults, true, &rest);
    if (strcmp(command, "thaw") == 0)
        return command_freeze(&mount->faults, false, &rest);
    if (strcmp(command, "partition") == 0)
        return command_partition(mount, &rest);
    if (strcmp(command, "heal") == 0)
        return command_heal(&mount->faults);
    if (strcmp(command, "forget-removed") == 0) {
        mount->forgets_removed = true;
        return 0;
    }
    if (strcmp(command, "drop-caches") == 0) {
        inode_each_open(&mount->inodes, writeback_drop, mount);
        return 0;
    }
    if (strcmp(command, "stale") == 0) {
        inode_each_open(&mount->inodes, stale_begin, mount);
        return 0;
    }
    if (strcmp(command, "fresh") == 0) {
        inode_each_open(&mount->inodes, stale_end, mount);
        return 0;
    }
    return EINVAL;
}
