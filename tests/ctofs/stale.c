/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "stale.h"

#include "mount.h"
#include "writeback.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *read_whole(const struct inode *inode, size_t *size)
{
    const int fd = open(inode_path(inode).text, O_RDONLY | O_CLOEXEC);
    const off_t length = fd >= 0 ? lseek(fd, 0, SEEK_END) : -1;
    char *bytes = length > 0 ? malloc((size_t)length) : NULL;
    const ssize_t got = bytes ? pread(fd, bytes, (size_t)length, 0) : 0;

    if (fd >= 0)
        close(fd);
    *size = got > 0 ? (size_t)got : 0;
    return bytes;
}

void stale_begin(struct mount *mount, struct inode *inode)
{
    pthread_mutex_lock(&inode->lock);
    writeback_flush(mount, inode);
    free(inode->stale);
    inode->stale = read_whole(inode, &inode->stale_bytes);
    pthread_mutex_unlock(&inode->lock);
}

void stale_end(struct mount *mount, struct inode *inode)
{
    (void)mount;
    pthread_mutex_lock(&inode->lock);
    free(inode->stale);
    inode->stale = NULL;
    pthread_mutex_unlock(&inode->lock);
}

void stale_overlay(const struct inode *inode, char *bytes, size_t got, off_t off)
{
    const size_t offset = (size_t)off;

    if (!inode->stale || offset >= inode->stale_bytes)
        return;
    const size_t rest = inode->stale_bytes - offset;

    memcpy(bytes, inode->stale + offset, got < rest ? got : rest);
}
