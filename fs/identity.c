/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "identity.h"

#include "caller.h"

#include <linux/magic.h>
#include <xxhash.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

struct proc_path proc_path(int fd)
{
    struct proc_path path;

    snprintf(path.text, sizeof(path.text), "/proc/self/fd/%d", fd);
    return path;
}

uint64_t identity_hash(const struct inode_identity *identity)
{
    uint64_t words[] = {(uint64_t)identity->dev, (uint64_t)identity->ino,
                        (uint64_t)identity->birth_ns};

    return XXH3_64bits_withSeed(identity->handle, identity->handle_bytes,
                                XXH3_64bits(words, sizeof(words)));
}

bool identity_equals(const struct inode_identity *a, const struct inode_identity *b)
{
    return a->dev == b->dev && a->ino == b->ino && a->birth_ns == b->birth_ns &&
           a->handle_type == b->handle_type && a->handle_bytes == b->handle_bytes &&
           memcmp(a->handle, b->handle, a->handle_bytes) == 0;
}

struct handle_buffer {
    struct file_handle header;
    uint8_t bytes[MAX_HANDLE_SZ];
};

void identity_take_handle(struct inode_identity *identity, int fd, const char *name)
{
    struct handle_buffer buffer = {.header.handle_bytes = MAX_HANDLE_SZ};
    int mount_id;

    if (name_to_handle_at(fd, name, &buffer.header, &mount_id, name[0] ? 0 : AT_EMPTY_PATH) != 0)
        return;
    identity->handle_type = buffer.header.handle_type;
    identity->handle_bytes = buffer.header.handle_bytes;
    memcpy(identity->handle, buffer.header.f_handle, buffer.header.handle_bytes);
}

int identity_open(int mount_fd, const struct inode_identity *identity)
{
    struct handle_buffer buffer = {
        .header = {.handle_bytes = identity->handle_bytes, .handle_type = identity->handle_type}};
    _cleanup_pause_ struct caller_pause pause = caller_pause_begin();
    int fd;

    if (identity->handle_type == 0)
        return -ESTALE;
    memcpy(buffer.bytes, identity->handle, identity->handle_bytes);
    fd = open_by_handle_at(mount_fd, &buffer.header, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    return fd >= 0 ? fd : -errno;
}

static bool filesystem_is(int fd, uint32_t magic)
{
    struct statfs filesystem;

    return fstatfs(fd, &filesystem) == 0 && (uint32_t)filesystem.f_type == magic;
}

bool identity_is_nfs(int fd)
{
    return filesystem_is(fd, NFS_SUPER_MAGIC);
}

bool identity_is_judged_anew(int fd)
{
    return identity_is_nfs(fd) || filesystem_is(fd, FUSE_SUPER_MAGIC);
}

int identity_open_mount(int path_fd)
{
    struct inode_identity identity = {0};
    _cleanup_pause_ struct caller_pause pause = caller_pause_begin();
    int fd, again;

    /* A FUSE store's handles are node ids of one mount of it: they mean nothing to another host,
     * and something else after a forget (linux/fs/fuse/inode.c, fuse_encode_fh). */
    if (filesystem_is(path_fd, FUSE_SUPER_MAGIC))
        return -1;
    identity_take_handle(&identity, path_fd, "");
    fd = identity.handle_type == 0
             ? -1
             : open(proc_path(path_fd).text, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    again = identity_open(fd, &identity);
    if (again >= 0) {
        close(again);
        return fd;
    }
    close(fd);
    return -1;
}
