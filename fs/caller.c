/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "caller.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* umask is shared by all threads of a process until a thread asks for its own (unshare(2)). */
static _Thread_local bool has_own_umask;

static int own_umask(mode_t mask)
{
    if (!has_own_umask && unshare(CLONE_FS) != 0)
        return -errno;
    has_own_umask = true;
    umask(mask);
    return 0;
}

/* The raw call: glibc's setgroups changes every thread of the process. */
static int thread_setgroups(size_t count, const gid_t *groups)
{
    return syscall(SYS_setgroups, count, groups) == 0 ? 0 : -errno;
}

/*
 * The caller's supplementary groups, from /proc; where it cannot be seen (another pid namespace, or
 * gone) it has none, which never widens a right.
 */
static int assume_groups(fuse_req_t req)
{
    gid_t few[64], *groups = few;
    int count = fuse_req_getgroups(req, (int)(sizeof(few) / sizeof(few[0])), few), error;

    if (count > (int)(sizeof(few) / sizeof(few[0]))) {
        groups = calloc((size_t)count, sizeof(*groups));
        if (!groups)
            return -ENOMEM;
        const int again = fuse_req_getgroups(req, count, groups);
        count = again < count ? again : count;
    }
    error = thread_setgroups(count > 0 ? (size_t)count : 0, groups);
    if (groups != few)
        free(groups);
    return error;
}

/* setfsuid(2) leaves CAP_SYS_RESOURCE as it is (capabilities(7)). */
static _Thread_local enum { LIMITS_UNKNOWN, LIMITS_BIND, LIMITS_EXCEEDED } limits;

bool caller_limit_is(uid_t uid)
{
    return limits == (uid == 0 ? LIMITS_EXCEEDED : LIMITS_BIND);
}

void caller_limit(uid_t uid)
{
    const bool exceeds = uid == 0;
    const unsigned index = CAP_TO_INDEX(CAP_SYS_RESOURCE), mask = CAP_TO_MASK(CAP_SYS_RESOURCE);
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3];

    if (caller_limit_is(uid))
        return;
    if (syscall(SYS_capget, &header, sets) != 0)
        return; /* of oneself: cannot fail */
    sets[index].effective &= ~mask;
    if (exceeds)
        sets[index].effective |= sets[index].permitted & mask;
    if (syscall(SYS_capset, &header, sets) == 0) /* within what is permitted: cannot fail */
        limits = exceeds ? LIMITS_EXCEEDED : LIMITS_BIND;
}

static struct caller assume_ids(uid_t uid, gid_t gid)
{
    setfsgid(gid); /* cannot fail for a root daemon; checked by asking below */
    setfsuid(uid);
    if ((gid_t)setfsgid((gid_t)-1) == gid && (uid_t)setfsuid((uid_t)-1) == uid)
        return (struct caller){.assumed = true};
    setfsuid(0);
    setfsgid(0);
    return (struct caller){.error = -EPERM};
}

struct caller caller_begin(fuse_req_t req)
{
    const struct fuse_ctx *ctx = fuse_req_ctx(req);
    int error;

    caller_limit(ctx->uid);
    error = own_umask(ctx->umask);
    if (error != 0 || geteuid() != 0 || (ctx->uid == 0 && ctx->gid == 0))
        return (struct caller){.error = error};
    error = assume_groups(req);
    if (error != 0)
        return (struct caller){.error = error};
    return assume_ids(ctx->uid, ctx->gid);
}

struct caller caller_begin_as(uid_t uid, gid_t gid)
{
    int error;

    if (geteuid() != 0 || (uid == 0 && gid == 0))
        return (struct caller){0};
    error = thread_setgroups(0, NULL);
    return error != 0 ? (struct caller){.error = error} : assume_ids(uid, gid);
}

/* A daemon that is not root keeps its ids: it may not, and setfsuid(2) tells the present one. */
struct caller_pause caller_pause_begin(void)
{
    const uid_t uid = (uid_t)setfsuid(0);
    const gid_t gid = (gid_t)setfsgid(0);

    return (struct caller_pause){.uid = uid, .gid = gid};
}

void caller_pause_end(struct caller_pause *pause)
{
    setfsgid(pause->gid);
    setfsuid(pause->uid);
}

void caller_end(struct caller *caller)
{
    if (!caller->assumed)
        return;
    setfsuid(0);
    setfsgid(0);
    (void)thread_setgroups(0, NULL); /* root may drop its groups; none widens a right */
    caller->assumed = false;
}

bool caller_is_root(fuse_req_t req)
{
    return fuse_req_ctx(req)->uid == 0;
}

/* linux/fs/proc/array.c, task_state */
static pid_t read_process(pid_t thread)
{
    char path[64], line[128];
    long process = thread;
    FILE *status;

    snprintf(path, sizeof(path), "/proc/%ld/status", (long)thread);
    status = fopen(path, "re");
    while (status && fgets(line, sizeof(line), status)) {
        if (strncmp(line, "Tgid:", 5) == 0)
            process = strtol(line + 5, NULL, 10);
    }
    if (status)
        fclose(status);
    return (pid_t)process;
}

pid_t caller_process(pid_t thread)
{
    int fd;

    if (thread == 0)
        return 0;
    fd = (int)syscall(SYS_pidfd_open, thread, 0); /* of a process's first thread alone */
    if (fd < 0)
        return read_process(thread);
    close(fd);
    return thread;
}
