/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "file_name.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char cut[] = "...";

/* Where a descriptor's file is now, as the kernel names it: without asking its filesystem. */
static char *descriptor_path(int fd)
{
    const struct proc_path link = proc_path(fd);
    char *path = malloc(PATH_MAX);
    ssize_t length;

    if (!path)
        return NULL;
    length = fd < 0 ? 0 : readlink(link.text, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = '\0';
    return path;
}

/* Makes `path` relative to SOURCE, in place; one that is not below it stays as it is. */
static void strip_source(const struct context *context, char *path)
{
    char *source = descriptor_path(context->source_fd);
    const size_t length = source ? strlen(source) : 0;
    size_t strip = 0;

    if (length > 1 && strncmp(path, source, length) == 0 &&
        (path[length] == '/' || path[length] == '\0'))
        strip = length;
    free(source);
    strip += path[strip] == '/';
    memmove(path, path + strip, strlen(path + strip) + 1);
}

char *file_path_of(const struct context *context, int fd)
{
    char *path = descriptor_path(fd);

    if (path)
        strip_source(context, path);
    return path;
}

char *file_path(struct context *context, struct inode *inode)
{
    struct inode_pin pin _cleanup_pin_ = inode_pin_scoped(context->inodes, inode);

    return file_path_of(context, pin.fd);
}

struct file_name file_name(struct context *context, struct inode *inode)
{
    char *below = file_path(context, inode);
    char *path = NULL;
    struct file_name name;

    if (below && below[0] && asprintf(&path, "%s/%s", context->mountpoint, below) < 0)
        path = NULL;
    const size_t length = path ? strlen(path) : 0;
    const size_t most = sizeof(name.text) - 1;
    if (!path)
        (void)snprintf(name.text, sizeof(name.text), "inode %ju of %s", /* may be cut */
                       (uintmax_t)inode->identity.ino, context->mountpoint);
    else if (length <= most)
        memcpy(name.text, path, length + 1);
    else
        (void)snprintf(name.text, sizeof(name.text), "%s%s", cut, /* as long as there is room */
                       path + length - (most - (sizeof(cut) - 1)));
    free(path);
    free(below);
    return name;
}
