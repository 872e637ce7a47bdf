/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "record_owner.h"

#include "cache/beacon.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

struct record_owner record_owner_of(int source_fd)
{
    struct stat found;

    if (fstatat(source_fd, RECORD_DIRECTORY, &found, AT_SYMLINK_NOFOLLOW) != 0)
        return (struct record_owner){
            .uid = geteuid(), .gid = getegid(), .error = errno == ENOENT ? 0 : errno};
    return (struct record_owner){
        .exists = true, .uid = found.st_uid, .gid = found.st_gid, .mode = found.st_mode};
}

int record_owner_begin(const struct record_owner *owner)
{
    if (geteuid() != 0)
        return geteuid() == owner->uid ? 0 : EPERM;
    if (owner->uid == 0)
        return 0;
    return setgroups(0, NULL) == 0 && setegid(owner->gid) == 0 && seteuid(owner->uid) == 0 ? 0
                                                                                           : errno;
}

void record_owner_end(void)
{
    /* Back to the real ids: cannot fail. */
    if (seteuid(getuid()) != 0 || setegid(getgid()) != 0)
        _exit(1);
}

static int open_hosts(int records_fd)
{
    if (mkdirat(records_fd, HOSTS_DIRECTORY, 0700) != 0 && errno != EEXIST)
        return -1;
    return openat(records_fd, HOSTS_DIRECTORY, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

int record_owner_scratch(int source_fd, const struct record_owner *owner, const char **below)
{
    int records_fd, fd;

    if (!owner->exists) {
        *below = "";
        fd = openat(source_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return fd >= 0 ? fd : -errno;
    }
    records_fd =
        openat(source_fd, RECORD_DIRECTORY, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (records_fd < 0)
        return -errno;
    fd = open_hosts(records_fd);
    fd = fd >= 0 ? fd : -errno;
    (void)close(records_fd); /* read only */
    *below = RECORD_DIRECTORY "/" HOSTS_DIRECTORY "/";
    return fd;
}

struct scratch_name scratch_name(void)
{
    struct record_host host = {.instance = (uint64_t)getpid()};
    struct scratch_name name;

    /* Where there is no randomness yet the pid is enough. */
    (void)!getrandom(&host.instance, sizeof(host.instance), GRND_NONBLOCK);
    const struct beacon_name made = beacon_name(&host);

    memcpy(name.text, made.text, sizeof(name.text));
    return name;
}

bool scratch_is_file(const char *name, off_t length_bytes)
{
    static const char no_machine[] = "00000000000000000000000000000000-";

    return strncmp(name, no_machine, sizeof(no_machine) - 1) == 0 && length_bytes < BEACON_BYTES;
}
