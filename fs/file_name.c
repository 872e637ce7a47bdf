/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "file_name.h"

#include "status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char cut[] = "...";

struct file_name file_name(struct context *context, struct inode *inode)
{
    char *below = status_path(context, inode);
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
