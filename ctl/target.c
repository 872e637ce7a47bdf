/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "target.h"

#include "fs/migfs.h"
#include "mount_table.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef FUSE_SUPER_MAGIC
#define FUSE_SUPER_MAGIC 0x65735546
#endif

/*
 * The file is asked about through its directory: that tells the mount which inode is meant without
 * opening the file, which would make a handle of it (and send an open to the store, where it may
 * recall another host's delegation). Only where the directory may not be read, or is not on the
 * same mount (a single file bind-mounted), the file itself is opened.
 */
static int open_directory_of(const char *path, const struct stat *file)
{
    char resolved[PATH_MAX];
    struct stat directory;
    int fd;

    if (realpath(path, resolved) == NULL)
        return -1;
    fd = open(dirname(resolved), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    if (fstat(fd, &directory) == 0 && directory.st_dev == file->st_dev)
        return fd;
    (void)close(fd); /* nothing was written */
    return -1;
}

static int open_for_use(struct target *target, enum target_use use, const struct stat *file)
{
    if (S_ISDIR(file->st_mode)) {
        target->is_directory = true;
        return open(target->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    if (!S_ISREG(file->st_mode)) {
        errno = EINVAL;
        return -1;
    }
    if (use == TARGET_HANDOFF)
        return open(target->path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (use == TARGET_FILE)
        return open(target->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

    const int fd = open_directory_of(target->path, file);

    if (fd < 0)
        return open(target->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    target->ino = file->st_ino;
    return fd;
}

/* "/" becomes "", so that a slash and more can follow. */
static void strip_root(char *path)
{
    if (strcmp(path, "/") == 0)
        path[0] = '\0';
}

/* Leaves both NULL where it cannot tell: paths are then shown as the mount has them. */
static void find_mount(struct target *target)
{
    struct mount_entry entry;
    uint64_t id;

    if (!mount_id_of(target->fd, &id) || !mount_table_find(id, &entry))
        return;
    strip_root(entry.root);
    strip_root(entry.mountpoint);
    target->mount_root = entry.root;
    target->mountpoint = entry.mountpoint;
    entry.root = entry.mountpoint = NULL;
    mount_entry_deinit(&entry);
}

static enum exit_code check_is_fuse(const char *path, struct stat *file)
{
    const int fd = open(path, O_PATH | O_CLOEXEC); /* reaches no filesystem's open */
    struct statfs filesystem;
    bool failed;

    failed = fd < 0 || fstatfs(fd, &filesystem) != 0 || fstat(fd, file) != 0;
    if (failed)
        complain("%s: cannot be reached: %s; see that it exists and may be reached", path,
                 strerror(errno));
    if (fd >= 0)
        (void)close(fd); /* an O_PATH descriptor */
    if (failed)
        return EXIT_FAILED;
    if (filesystem.f_type == FUSE_SUPER_MAGIC)
        return EXIT_DONE;
    complain("%s: not on a migfs; name a path below a mountpoint", path);
    return EXIT_NOT_MIGFS;
}

enum exit_code target_open(struct target *target, const char *path, enum target_use use)
{
    struct stat file;
    const enum exit_code code = check_is_fuse(path, &file);

    if (code != EXIT_DONE)
        return code;
    *target = (struct target){.path = path};
    target->fd = open_for_use(target, use, &file);
    if (target->fd >= 0) {
        find_mount(target);
        return EXIT_DONE;
    }
    if (errno == EINVAL)
        complain("%s: neither a file nor a directory; name one", path);
    else
        complain("%s: cannot be opened: %s; see its owner and mode", path, strerror(errno));
    return EXIT_FAILED;
}

void target_close(struct target *target)
{
    if (target->fd >= 0)
        (void)close(target->fd); /* nothing was written through it */
    target->fd = -1;
    free(target->mount_root);
    free(target->mountpoint);
    target->mount_root = NULL;
    target->mountpoint = NULL;
}

char *target_show(const struct target *target, const char *below)
{
    const char *root = target->mount_root;
    char *shown = NULL;

    if (target->mountpoint == NULL || root == NULL)
        return strdup(below);
    if (root[0] != '\0') {
        const size_t length = strlen(root + 1);

        /* A file that the part of the migfs that is mounted here does not show. */
        if (strncmp(below, root + 1, length) != 0 || below[length] != '/')
            return strdup(below);
        below += length + 1;
    }
    if (asprintf(&shown, "%s/%s", target->mountpoint, below) < 0)
        return NULL;
    return shown;
}

/* One that knows this call, which is older than some others. */
static bool is_migfs(const struct target *target)
{
    struct migfs_files files = {.version = MIGFS_IOC_VERSION, .ino = target->ino};

    return ioctl(target->fd, MIGFS_IOC_STATUS, &files) == 0 && files.version == MIGFS_IOC_VERSION;
}

enum exit_code target_fail(const struct target *target, const char *subject, int error)
{
    const char *path = subject != NULL ? subject : target->path;

    switch (error) {
    case ENOTTY:
    case ENOSYS:
        if (is_migfs(target)) {
            complain("%s: this migfs is older than migfsctl; mount it anew", path);
            return EXIT_FAILED;
        }
        complain("%s: not on a migfs; name a path below a mountpoint", path);
        return EXIT_NOT_MIGFS;
    case EOPNOTSUPP:
        complain("%s: the mount hands nothing over, or keeps no records; mount it without "
                 "coherence=off and record=off, and see its log",
                 path);
        return EXIT_FAILED;
    case ETIMEDOUT:
        complain("%s: not done by the mount's deadline: another host still writes, or the store "
                 "does not answer; end the guest there, or raise deadline=",
                 path);
        return EXIT_TIMED_OUT;
    case EPERM:
        complain("%s: only root may do this for a directory; name a file, or run it as root", path);
        return EXIT_FAILED;
    case ENOENT:
        complain("%s: nobody has it open; start its guest first", path);
        return EXIT_FAILED;
    case EAGAIN:
        complain("%s: somebody holds a lock that stands in the way; see who by migfsctl status",
                 path);
        return EXIT_TIMED_OUT;
    case EINVAL:
        complain(
            "%s: this migfs is of another version than migfsctl; mount it anew, with the version "
            "that is installed",
            path);
        return EXIT_FAILED;
    default:
        complain("%s: the mount answers: %s; see its log", path, strerror(error));
        return EXIT_FAILED;
    }
}
