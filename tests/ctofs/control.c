/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "control.h"

#include "thread.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct text {
    size_t length;
    char bytes[2048];
};

void control_attributes(struct stat *attributes)
{
    *attributes = (struct stat){.st_mode = S_IFREG | 0600, .st_nlink = 1, .st_ino = UINT32_MAX};
}

/* The counters as they are at the open: one reader, one moment. */
static void print_counters(struct text *text, struct counters *counters)
{
    const struct {
        const char *name;
        atomic_ullong *value;
    } lines[] = {
        {"opens", &counters->opens},
        {"fresh_opens", &counters->fresh_opens},
        {"locks", &counters->locks},
        {"lock_conflicts", &counters->lock_conflicts},
        {"unlocks", &counters->unlocks},
        {"lock_tests", &counters->lock_tests},
        {"locks_lost", &counters->locks_lost},
        {"reads", &counters->reads},
        {"bytes_read", &counters->bytes_read},
        {"writes", &counters->writes},
        {"bytes_written", &counters->bytes_written},
        {"buffered_writes", &counters->buffered_writes},
        {"write_errors", &counters->write_errors},
        {"fsyncs", &counters->fsyncs},
        {"invalidations", &counters->invalidations},
        {"attributes_fresh", &counters->attributes_fresh},
        {"attributes_cached", &counters->attributes_cached},
    };

    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        text->length +=
            (size_t)snprintf(text->bytes + text->length, sizeof(text->bytes) - text->length,
                             "%s %llu\n", lines[i].name, atomic_load(lines[i].value));
}

void control_open(fuse_req_t req, struct fuse_file_info *fi)
{
    struct text *text = calloc(1, sizeof(*text));

    if (!text) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    print_counters(text, &mount_of(req)->counters);
    fi->fh = (uint64_t)(uintptr_t)text;
    fi->direct_io = 1;
    if (fuse_reply_open(req, fi) == -ENOENT)
        free(text);
}

void control_release(fuse_req_t req, struct fuse_file_info *fi)
{
    free((struct text *)(uintptr_t)fi->fh);
    fuse_reply_err(req, 0);
}

void control_read(fuse_req_t req, size_t size, off_t off, struct fuse_file_info *fi)
{
    const struct text *text = (const struct text *)(uintptr_t)fi->fh;

    if (off < 0 || (size_t)off >= text->length) {
        fuse_reply_buf(req, NULL, 0);
        return;
    }
    const size_t left = text->length - (size_t)off;
    const size_t length = size < left ? size : left;
    char *copy = malloc(length);

    if (!copy) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    /* Whoever has the answer may close at once, and the text is gone before the reply returns. */
    memcpy(copy, text->bytes + off, length);
    fuse_reply_buf(req, copy, length);
    free(copy);
}

struct commands {
    fuse_req_t req;
    size_t size;
    char text[];
};

static void *commands_run(void *argument)
{
    struct commands *commands = argument;
    char *rest = NULL;
    int err = 0;

    for (char *line = strtok_r(commands->text, "\n", &rest); line && !err;
         line = strtok_r(NULL, "\n", &rest))
        err = fault_command(mount_of(commands->req), line);
    if (err)
        fuse_reply_err(commands->req, err);
    else
        fuse_reply_write(commands->req, commands->size);
    free(commands);
    return NULL;
}

void control_write(fuse_req_t req, const char *buf, size_t size)
{
    struct commands *commands = malloc(sizeof(*commands) + size + 1);

    if (!commands) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    commands->req = req;
    commands->size = size;
    memcpy(commands->text, buf, size);
    commands->text[size] = '\0';
    const int err = thread_start(commands_run, commands);

    if (err) {
        free(commands);
        fuse_reply_err(req, err);
    }
}
