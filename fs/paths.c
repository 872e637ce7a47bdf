/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "paths.h"

#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct place {
    const char *name; /* SOURCE or MOUNTPOINT */
    const char *given;
    int fd;
    char path[PATH_MAX];
    char type[32];
    bool is_mount; /* something is mounted at it, not above */
};

static int place_resolve(struct place *place)
{
    char link[64];
    ssize_t length;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", place->fd);
    length = readlink(link, place->path, sizeof(place->path) - 1);
    if (length < 0)
        return -errno;
    place->path[length] = '\0';
    return 0;
}

static int mount_id_of(int fd, int *id)
{
    char name[64];
    char *line = NULL;
    size_t size = 0;
    int error = -ENOENT;
    FILE *file;

    snprintf(name, sizeof(name), "/proc/self/fdinfo/%d", fd);
    file = fopen(name, "re");
    if (!file)
        return -errno;
    errno = 0;
    while (error && getline(&line, &size, file) >= 0)
        if (sscanf(line, "mnt_id: %d", id) == 1)
            error = 0;
    if (error && errno == ENOMEM)
        error = -ENOMEM; /* and not the end of the table */
    free(line);
    fclose(file);
    return error;
}

/* proc(5), mountinfo: blanks, backslashes and line ends in a path stand as three octal digits. */
static bool escaped_path_equals(const char *escaped, const char *path)
{
    while (*escaped && *path) {
        unsigned octal = (unsigned char)*escaped;
        size_t length = 1;

        if (*escaped == '\\' && sscanf(escaped + 1, "%3o", &octal) == 1)
            length = 4;
        if ((char)octal != *path)
            return false;
        escaped += length;
        path++;
    }
    return !*escaped && !*path;
}

/* proc(5), mountinfo: "ID PARENT DEVICE ROOT MOUNTPOINT … - TYPE SOURCE OPTIONS". */
static bool place_parse(struct place *place, const char *line, int wanted)
{
    const char *type = strstr(line, " - ");
    char *point = NULL;
    int id;

    if (!type || sscanf(line, "%d %*s %*s %*s %ms ", &id, &point) < 1)
        return false;
    if (id != wanted || !point || sscanf(type, " - %31s", place->type) != 1) {
        free(point);
        return false;
    }
    place->is_mount = escaped_path_equals(point, place->path);
    free(point);
    return true;
}

static int place_type(struct place *place)
{
    char *line = NULL;
    size_t size = 0;
    int wanted = -1;
    int error = mount_id_of(place->fd, &wanted);
    FILE *file;

    if (error)
        return error;
    file = fopen("/proc/self/mountinfo", "re");
    if (!file)
        return -errno;
    error = -ENOENT;
    errno = 0;
    while (error && getline(&line, &size, file) >= 0)
        error = place_parse(place, line, wanted) ? 0 : -ENOENT;
    if (error && errno == ENOMEM)
        error = -ENOMEM; /* and not the end of the table */
    free(line);
    fclose(file);
    return error;
}

static int place_open(struct place *place)
{
    int error = 0;

    place->fd = open(place->given, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (place->fd < 0)
        error = -errno;
    if (error == -ENOENT)
        log_error("%s '%s' does not exist; create it, or name a directory that does", place->name,
                  place->given);
    else if (error == -ENOTDIR)
        log_error("%s '%s' is not a directory; name one", place->name, place->given);
    if (error == -ENOENT || error == -ENOTDIR)
        return error;

    if (!error)
        error = place_resolve(place);
    if (!error)
        error = place_type(place);
    if (error)
        log_error("%s '%s' cannot be used: %s; see that who mounts can reach it", place->name,
                  place->given, strerror(-error));
    return error;
}

static bool path_lies_below(const char *path, const char *directory)
{
    size_t length = strlen(directory);

    if (length == 1)
        return path[1] != '\0';
    return strncmp(path, directory, length) == 0 && path[length] == '/';
}

static bool type_is_migfs(const char *type)
{
    return strcmp(type, "fuse.migfs") == 0;
}

static int places_judge(const struct place *source, const struct place *mountpoint)
{
    if (type_is_migfs(source->type)) {
        log_error("SOURCE '%s' lies on a migfs already; name the directory that it shows",
                  source->given);
        return -EBUSY;
    }
    if (type_is_migfs(mountpoint->type)) {
        log_error("MOUNTPOINT '%s' is busy: a migfs is mounted there; unmount it first",
                  mountpoint->given);
        return -EBUSY;
    }
    /* An automounter's own mount is there to be covered. */
    if (mountpoint->is_mount && strcmp(mountpoint->type, "autofs") != 0) {
        log_error("MOUNTPOINT '%s' is busy: a %s is mounted there; unmount it first, or name "
                  "another directory",
                  mountpoint->given, mountpoint->type);
        return -EBUSY;
    }
    if (strcmp(source->path, mountpoint->path) == 0) {
        log_error("MOUNTPOINT '%s' is SOURCE itself; name another directory", mountpoint->given);
        return -EINVAL;
    }
    if (path_lies_below(mountpoint->path, source->path)) {
        log_error("MOUNTPOINT '%s' lies in SOURCE '%s'; name a directory outside it",
                  mountpoint->given, source->given);
        return -EINVAL;
    }
    if (path_lies_below(source->path, mountpoint->path)) {
        log_error("SOURCE '%s' lies in MOUNTPOINT '%s'; name a mountpoint outside it",
                  source->given, mountpoint->given);
        return -EINVAL;
    }
    return 0;
}

int paths_open(const char *source, const char *mountpoint, struct paths *paths)
{
    struct place from = {.name = "SOURCE", .given = source, .fd = -1};
    struct place to = {.name = "MOUNTPOINT", .given = mountpoint, .fd = -1};
    char *resolved = NULL;
    int error = place_open(&from);

    if (!error)
        error = place_open(&to);
    if (!error)
        error = places_judge(&from, &to);
    if (!error) {
        resolved = strdup(to.path);
        if (!resolved) {
            error = -ENOMEM;
            log_error("out of memory for MOUNTPOINT '%s'; free some", mountpoint);
        }
    }
    if (!error) {
        paths->source_fd = from.fd;
        paths->mountpoint = resolved;
        memcpy(paths->source_type, from.type, sizeof(paths->source_type));
        from.fd = -1;
    }
    if (from.fd >= 0)
        close(from.fd);
    if (to.fd >= 0)
        close(to.fd);
    return error;
}
