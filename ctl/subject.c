/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "subject.h"

#include "command.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* Said of a directory that cannot be opened. */
static const char *open_error(int error)
{
    switch (error) {
    case ENOTDIR:
        return "is not a directory; name a SOURCE or a MOUNTPOINT";
    case EMFILE: /* the daemon's: this process has few */
        return "Too many open files: the daemon has no descriptors left; raise LimitNOFILE= of its "
               "unit and mount anew";
    case ENOTCONN:
        return "its daemon has ended; umount it, and mount it anew";
    default:
        return strerror(error);
    }
}

static int fail(const char *path, const char *what)
{
    complain("%s: %s", path, what);
    return -1;
}

static bool is_text(const char *text, size_t size)
{
    return memchr(text, '\0', size) != NULL;
}

/* Another filesystem could have answered. */
static bool ask_mount(int fd, struct migfs_mount *mount)
{
    *mount = (struct migfs_mount){.version = MIGFS_IOC_VERSION};
    return ioctl(fd, MIGFS_IOC_MOUNT, mount) == 0 && mount->version == MIGFS_IOC_VERSION &&
           is_text(mount->release, sizeof(mount->release)) &&
           is_text(mount->libfuse, sizeof(mount->libfuse)) &&
           is_text(mount->options, sizeof(mount->options)) &&
           is_text(mount->source, sizeof(mount->source));
}

/* A version before MIGFS_IOC_MOUNT. */
static bool is_older_migfs(int fd)
{
    struct migfs_files files = {.version = MIGFS_IOC_VERSION};

    /* Of another version of the ioctls it says EINVAL; no other filesystem knows their numbers. */
    return ioctl(fd, MIGFS_IOC_STATUS, &files) == 0 || errno == EINVAL;
}

static unsigned nfs_version(const struct mount_entry *entry)
{
    size_t length;
    const char *value = mount_entry_option(entry, "vers", &length);

    if (strcmp(entry->type, "nfs4") == 0)
        return 4;
    if (strcmp(entry->type, "nfs") != 0)
        return 0;
    return value != NULL && length > 0 ? (unsigned)(value[0] - '0') : 3;
}

static int open_source(struct subject *subject, const char *source)
{
    char resolved[PATH_MAX];
    uint64_t id;

    subject->source_fd = open(source, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (subject->source_fd < 0 || realpath(source, resolved) == NULL)
        return fail(source, open_error(errno));
    subject->source = strdup(resolved);
    if (subject->source == NULL)
        return fail(source, strerror(errno));
    if (!mount_id_of(subject->source_fd, &id) || !mount_table_find(id, &subject->store))
        return fail(source, "is on no mount of /proc/self/mountinfo; run this where it is mounted, "
                            "outside a chroot, and with memory free");
    subject->nfs_version = nfs_version(&subject->store);
    return 0;
}

/* The daemon's SOURCE by its path may be another directory here, or none: checked by number. */
static int open_daemons_source(struct subject *subject)
{
    struct stat found;

    if (stat(subject->mount.source, &found) != 0 || found.st_ino != subject->mount.ino ||
        major(found.st_dev) != subject->mount.device_major ||
        minor(found.st_dev) != subject->mount.device_minor)
        return 0;
    return open_source(subject, subject->mount.source);
}

static int open_mountpoint(struct subject *subject, int fd)
{
    uint64_t id;

    if (!mount_id_of(fd, &id) || !mount_table_find(id, &subject->migfs))
        return fail(subject->path, "is on no mount of /proc/self/mountinfo; run this where it is "
                                   "mounted, outside a chroot, and with memory free");
    subject->mountpoint = subject->migfs.mountpoint;
    return subject->has_mount ? open_daemons_source(subject) : 0;
}

int subject_open(struct subject *subject, const char *path)
{
    int fd;
    int result;

    *subject = (struct subject){.path = path, .source_fd = -1};
    if (path == NULL)
        return 0;
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fail(path, open_error(errno));
    subject->has_mount = ask_mount(fd, &subject->mount);
    if (subject->has_mount || is_older_migfs(fd))
        result = open_mountpoint(subject, fd);
    else
        result = open_source(subject, path);
    (void)close(fd); /* a directory: nothing was written through it */
    return result;
}

void subject_close(struct subject *subject)
{
    if (subject->source_fd >= 0)
        (void)close(subject->source_fd); /* as above */
    mount_entry_deinit(&subject->store);
    mount_entry_deinit(&subject->migfs); /* and `mountpoint`, which is its */
    free(subject->source);
}
