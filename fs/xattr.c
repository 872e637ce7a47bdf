/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "xattr.h"

#include "acting.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

static bool is_trusted(const char *name)
{
    return strncmp(name, "trusted.", strlen("trusted.")) == 0;
}

static struct acting begin(fuse_req_t req, fuse_ino_t ino)
{
    return acting_begin(req, inode_find(context_of(req)->inodes, ino));
}

/* A value or a list of `length` bytes, or its length alone when no buffer was offered. */
static void reply_bytes(fuse_req_t req, ssize_t length, const char *bytes, size_t size)
{
    if (length < 0)
        fuse_reply_err(req, (int)-length);
    else if (size == 0)
        fuse_reply_xattr(req, (size_t)length);
    else
        fuse_reply_buf(req, bytes, (size_t)length);
}

static ssize_t get(fuse_req_t req, fuse_ino_t ino, const char *name, char *value, size_t size)
{
    _cleanup_acting_ struct acting acting = begin(req, ino);

    if (acting.fd < 0)
        return acting.fd;
    if (is_trusted(name) && !caller_is_root(req))
        return -ENODATA;
    const ssize_t length = getxattr(acting.path.text, name, value, size);
    return length >= 0 ? length : -errno;
}

void xattr_get(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    char *value = malloc(size ? size : 1);
    const ssize_t length = value ? get(req, ino, name, value, size) : -ENOMEM;

    reply_bytes(req, length, value, size);
    free(value);
}

/* Takes the names out of the list that the caller may not see; returns its new length. */
static ssize_t hide_trusted(char *list, ssize_t length)
{
    char *to = list;

    for (char *name = list; name < list + length;) {
        const size_t bytes = strlen(name) + 1;

        if (!is_trusted(name)) {
            memmove(to, name, bytes);
            to += bytes;
        }
        name += bytes;
    }
    return to - list;
}

/* The whole list as the caller sees it, into a buffer that holds the largest one. */
static ssize_t list(fuse_req_t req, fuse_ino_t ino, char *names)
{
    _cleanup_acting_ struct acting acting = begin(req, ino);

    if (acting.fd < 0)
        return acting.fd;
    const ssize_t length = listxattr(acting.path.text, names, XATTR_LIST_MAX);
    if (length < 0)
        return -errno;
    return caller_is_root(req) ? length : hide_trusted(names, length);
}

void xattr_list(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    char *names = malloc(XATTR_LIST_MAX);
    ssize_t length = names ? list(req, ino, names) : -ENOMEM;

    if (size > 0 && length > (ssize_t)size)
        length = -ERANGE;
    reply_bytes(req, length, names, size);
    free(names);
}

static int set(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size,
               int flags)
{
    _cleanup_acting_ struct acting acting = begin(req, ino);

    if (acting.fd < 0)
        return acting.fd;
    if (is_trusted(name) && !caller_is_root(req))
        return -EPERM;
    return setxattr(acting.path.text, name, value, size, flags) == 0 ? 0 : -errno;
}

void xattr_set(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size,
               int flags)
{
    fuse_reply_err(req, -set(req, ino, name, value, size, flags));
}

static int unset(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    _cleanup_acting_ struct acting acting = begin(req, ino);

    if (acting.fd < 0)
        return acting.fd;
    if (is_trusted(name) && !caller_is_root(req))
        return -EPERM;
    return removexattr(acting.path.text, name) == 0 ? 0 : -errno;
}

void xattr_remove(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    fuse_reply_err(req, -unset(req, ino, name));
}
