/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * migfsctl acquire, release and forget: hand each PATH over, and say which did not go.
 */
#include "command.h"
#include "fs/migfs.h"
#include "reply.h"
#include "target.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

/* What EIO alone does not tell. */
struct trouble {
    bool is_fenced; /* a file of the target has lost its locks */
    bool is_stale;  /* one was not acquired for its data */
};

static struct trouble trouble_of(const struct target *target)
{
    struct trouble trouble = {.is_fenced = false};
    struct reply reply;
    __u64 cursor = 0;

    while (reply_ask(&reply, target, MIGFS_IOC_STATUS, cursor) == 0) {
        const struct migfs_file *file;

        while ((file = reply_next(&reply)) != NULL) {
            trouble.is_fenced |= file->state == MIGFS_STATE_FENCED;
            trouble.is_stale |= file->stale_acquires > 0 || file->foreign_writes > 0;
        }
        if (reply.files.cursor <= cursor)
            break;
        cursor = reply.files.cursor;
    }
    return trouble;
}

static enum exit_code handoff_fail(const struct target *target, struct migfs_handoff *handoff,
                                   int error)
{
    struct trouble trouble = {.is_fenced = false};
    char *subject = NULL;
    const char *path;
    enum exit_code code;

    handoff->path[sizeof(handoff->path) - 1] = '\0';
    if (handoff->path[0] != '\0' && target->is_directory)
        subject = target_show(target, handoff->path);
    path = subject != NULL ? subject : target->path;
    if (error == EIO)
        trouble = trouble_of(target);
    if (trouble.is_fenced) {
        complain(
            "%s: fenced: it lost its locks while owner or shared here; end its guest, and start it "
            "again",
            path);
        code = EXIT_FENCED;
    } else if (trouble.is_stale) {
        complain("%s: it is not as its last owner left it, see the mount's log; 'migfsctl forget' "
                 "accepts what is there",
                 path);
        code = EXIT_FAILED;
    } else {
        code = target_fail(target, subject, error);
    }
    if (handoff->files_failed > 1 || (handoff->pid != 0 && handoff->files_done > 0))
        complain("%s: %u files failed, %u are done; see the mount's log for each", target->path,
                 handoff->files_failed, handoff->files_done);
    free(subject);
    return code;
}

static enum exit_code group_fail(const char *path, unsigned group)
{
    complain("%s: process %u has no file open there; migfsctl status shows who has", path, group);
    return EXIT_FAILED;
}

static enum exit_code handoff_path(const char *path, unsigned long command, unsigned group)
{
    struct migfs_handoff handoff = {.version = MIGFS_IOC_VERSION, .pid = group};
    struct target target;
    enum exit_code code = target_open(&target, path, TARGET_HANDOFF);

    if (code != EXIT_DONE)
        return code;
    if (ioctl(target.fd, command, &handoff) < 0)
        code = handoff_fail(&target, &handoff, errno);
    else if (group != 0 && handoff.files_done == 0)
        code = group_fail(path, group);
    target_close(&target);
    return code;
}

static enum exit_code handoff_all(const struct arguments *arguments, unsigned long command)
{
    enum exit_code code = EXIT_DONE;

    for (int i = 0; i < arguments->path_count; i++) {
        const enum exit_code path_code =
            handoff_path(arguments->paths[i], command, arguments->group);

        code = code == EXIT_DONE ? path_code : code;
    }
    return code;
}

enum exit_code acquire_command(const struct arguments *arguments)
{
    return handoff_all(arguments, MIGFS_IOC_ACQUIRE);
}

enum exit_code release_command(const struct arguments *arguments)
{
    return handoff_all(arguments, MIGFS_IOC_RELEASE);
}

enum exit_code forget_command(const struct arguments *arguments)
{
    return handoff_all(arguments, MIGFS_IOC_FORGET);
}
