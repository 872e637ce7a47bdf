/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "record_directory.h"

#include "caller.h"
#include "log.h"
#include "pool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * A directory whose time is coarser than two changes looks unmoved after the second: after a move
 * it is listed at each look until one began so long after it.
 */
#define UNSETTLED_NS (INT64_C(2) * 1000000000)

#define HISTORY_DIRECTORY "history"
#define BEACON_DIRECTORY "hosts"
#define REMOVED_DIRECTORY "removed"

struct record_directory {
    int path_fd; /* O_PATH */
    uid_t uid;   /* its owner, as whom all of it is done */
    gid_t gid;
    pthread_mutex_t mutex; /* of all that follows */
    pthread_cond_t looked;
    bool is_looking; /* somebody, without the mutex; the others wait for what it sees */
    ino_t *inos;     /* sorted */
    size_t count;
    int64_t looked_at_ns; /* CLOCK_MONOTONIC, when the last look began; 0: never */
    int64_t listed_at_ns; /* the last that listed; 0: never */
    int64_t moved_at_ns;  /* when one had seen a new time first */
    struct statx_timestamp mtime, ctime;
    ino_t walked_to;      /* by record_directory_next */
    int64_t walked_at_ns; /* CLOCK_MONOTONIC, 0: never */
};

static int make_directory(struct context *context)
{
    if (mkdirat(context->source_fd, RECORD_DIRECTORY, 0700) == 0 || errno == EEXIST)
        return 0;
    return -errno;
}

/* Where others may make names in SOURCE, any of them may have made this one. */
static void say_if_planted(const struct context *context, uid_t uid)
{
    struct stat source;

    if (uid == 0 || uid == geteuid() || fstat(context->source_fd, &source) != 0 ||
        uid == source.st_uid || !(source.st_mode & (S_IWGRP | S_IWOTH)))
        return;
    log_warning("%s/%s belongs to uid %ju, who can forge what hosts say there; if that is nobody "
                "whom you gave it to, remove it and run `migfsctl init`",
                context->options.source, RECORD_DIRECTORY, (uintmax_t)uid);
}

static int open_directory(struct context *context, struct record_directory *directory)
{
    struct stat attributes;
    const int fd =
        openat(context->source_fd, RECORD_DIRECTORY, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    if (fstat(fd, &attributes) != 0) {
        const int error = -errno;

        close(fd);
        return error;
    }
    if (attributes.st_mode & (S_IRWXG | S_IRWXO)) {
        close(fd);
        return -EACCES;
    }
    say_if_planted(context, attributes.st_uid);
    directory->path_fd = fd;
    directory->uid = attributes.st_uid;
    directory->gid = attributes.st_gid;
    return 0;
}

static const char *directory_mend(int error)
{
    switch (error) {
    case -ENOTDIR:
    case -ELOOP:
        return "is not a directory; remove it";
    case -EACCES:
    case -EPERM:
        return "may not be made or is open to others; run `migfsctl init --uid UID SOURCE` as root "
               "of the store, or `chmod 700` it";
    case -EROFS:
        return "cannot be made on a read-only store; mount that with rw";
    case -ENOSPC:
    case -EDQUOT:
        return "cannot be made; make room, and mount anew";
    default:
        return "cannot be made or opened; see migfsctl doctor SOURCE";
    }
}

int record_directory_open(struct context *context, struct record_directory **result)
{
    struct record_directory *directory;
    int error;

    *result = NULL;
    if (!context->options.coherence || context->options.record == RECORD_OFF)
        return 0;
    directory = calloc(1, sizeof(*directory));
    if (!directory)
        return -ENOMEM;
    pthread_mutex_init(&directory->mutex, NULL);
    pthread_cond_init(&directory->looked, NULL);
    error = make_directory(context);
    if (error == 0 || error == -EACCES || error == -EPERM || error == -EROFS) {
        const int opened = open_directory(context, directory);

        error = opened == -ENOENT && error != 0 ? error : opened;
    }
    if (error == 0) {
        *result = directory;
        return 0;
    }
    pthread_cond_destroy(&directory->looked);
    pthread_mutex_destroy(&directory->mutex);
    free(directory);
    log_warning("no hand-over records: %s/%s %s (%s)", context->options.source, RECORD_DIRECTORY,
                directory_mend(error), strerror(-error));
    return context->options.record == RECORD_REQUIRE ? error : 0;
}

void record_directory_close(struct record_directory *directory)
{
    if (!directory)
        return;
    close(directory->path_fd);
    pthread_cond_destroy(&directory->looked);
    pthread_mutex_destroy(&directory->mutex);
    free(directory->inos);
    free(directory);
}

static int compare_inos(const void *a, const void *b)
{
    const ino_t left = *(const ino_t *)a, right = *(const ino_t *)b;

    return (left > right) - (left < right);
}

static bool same_time(const struct statx_timestamp *a, const struct statx_timestamp *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/* In lower-case hex, and no other way; anything else is not ours. */
bool record_directory_parse(const char *name, ino_t *ino)
{
    char *end;

    errno = 0;
    *ino = strtoull(name, &end, 16);
    if (errno != 0 || *end != '\0')
        return false;
    return strcmp(record_directory_name(*ino).text, name) == 0;
}

struct record_name record_directory_name(ino_t ino)
{
    struct record_name name;

    snprintf(name.text, sizeof(name.text), "%jx", (uintmax_t)ino);
    return name;
}

static int add_ino(ino_t **inos, size_t *count, size_t *room, ino_t ino)
{
    if (*count == *room) {
        const size_t more = *room ? *room * 2 : 64;
        ino_t *grown = reallocarray(*inos, more, sizeof(*grown));

        if (!grown)
            return -ENOMEM;
        *inos = grown;
        *room = more;
    }
    (*inos)[(*count)++] = ino;
    return 0;
}

static DIR *open_listing(const struct record_directory *directory)
{
    _cleanup_caller_ struct caller caller = caller_begin_as(directory->uid, directory->gid);
    const int fd = caller.error == 0
                       ? openat(directory->path_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
                       : -1;
    DIR *listing = fd >= 0 ? fdopendir(fd) : NULL;

    if (fd >= 0 && !listing)
        close(fd);
    return listing;
}

/* What a look saw. */
struct sight {
    int64_t begun_ns;
    struct statx times;
    bool is_listed; /* with what follows */
    ino_t *inos;
    size_t count;
};

static void list(const struct record_directory *directory, struct sight *sight)
{
    DIR *listing = open_listing(directory);
    size_t room = 0;
    ino_t ino;
    int error = 0;

    if (!listing)
        return;
    while (error == 0) {
        errno = 0;
        const struct dirent *entry = readdir(listing);

        if (!entry) {
            error = -errno;
            break;
        }
        if (record_directory_parse(entry->d_name, &ino))
            error = add_ino(&sight->inos, &sight->count, &room, ino);
    }
    closedir(listing);
    if (error == 0 && sight->count > 0)
        qsort(sight->inos, sight->count, sizeof(*sight->inos), compare_inos);
    sight->is_listed = error == 0;
}

static bool has_moved(const struct record_directory *directory, const struct statx *now)
{
    return directory->listed_at_ns == 0 || !same_time(&now->stx_mtime, &directory->mtime) ||
           !same_time(&now->stx_ctime, &directory->ctime);
}

/* By who looks: nobody else changes what it compares with. */
static void look(const struct record_directory *directory, struct sight *sight)
{
    if (statx(directory->path_fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC,
              STATX_MTIME | STATX_CTIME, &sight->times) == 0 &&
        (has_moved(directory, &sight->times) ||
         directory->listed_at_ns - directory->moved_at_ns < UNSETTLED_NS))
        list(directory, sight);
}

/* With the mutex held: whether the list is new. What could not be seen stays. */
static bool take_in(struct record_directory *directory, struct sight *sight)
{
    directory->looked_at_ns = sight->begun_ns;
    if (!sight->is_listed)
        return false;

    const bool moved = has_moved(directory, &sight->times);
    const bool differs = sight->count != directory->count ||
                         (sight->count > 0 && memcmp(sight->inos, directory->inos,
                                                     sight->count * sizeof(*sight->inos)) != 0);
    ino_t *before = directory->inos;

    if (moved)
        directory->moved_at_ns = pool_now_ns();
    directory->mtime = sight->times.stx_mtime;
    directory->ctime = sight->times.stx_ctime;
    directory->listed_at_ns = sight->begun_ns;
    directory->inos = sight->inos;
    directory->count = sight->count;
    sight->inos = before;
    return moved || differs;
}

/* A thousand files at once need few looks, and where the store does not answer all wait as one. */
bool record_directory_look(struct record_directory *directory)
{
    const int64_t called_ns = pool_now_ns();
    struct sight sight = {0};
    bool is_new = false;

    pthread_mutex_lock(&directory->mutex);
    while (directory->is_looking)
        pthread_cond_wait(&directory->looked, &directory->mutex);
    if (directory->looked_at_ns <= called_ns) {
        directory->is_looking = true;
        pthread_mutex_unlock(&directory->mutex);
        sight.begun_ns = pool_now_ns();
        look(directory, &sight);
        pthread_mutex_lock(&directory->mutex);
        is_new = take_in(directory, &sight);
        directory->is_looking = false;
        pthread_cond_broadcast(&directory->looked);
    }
    pthread_mutex_unlock(&directory->mutex);
    free(sight.inos);
    return is_new;
}

bool record_directory_lists(struct record_directory *directory, ino_t ino)
{
    pthread_mutex_lock(&directory->mutex);
    const bool found = directory->count > 0 && bsearch(&ino, directory->inos, directory->count,
                                                       sizeof(ino), compare_inos) != NULL;
    pthread_mutex_unlock(&directory->mutex);
    return found;
}

/* One of its subdirectories, opened with `access` of open(2); or a negative errno. As the owner. */
static int open_subdirectory(const struct record_directory *directory, const char *name, int access,
                             bool makes)
{
    const int flags = access | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    int fd = openat(directory->path_fd, name, flags);

    if (fd < 0 && errno == ENOENT && makes) {
        (void)mkdirat(directory->path_fd, name, 0700); /* the open says how it went */
        fd = openat(directory->path_fd, name, flags);
    }
    return fd >= 0 ? fd : -errno;
}

/* A file of a subdirectory, with `flags` of open(2); nothing is stable by itself there. */
static int open_in_subdirectory(const struct record_directory *directory, const char *subdirectory,
                                const char *name, int flags)
{
    _cleanup_caller_ struct caller caller = caller_begin_as(directory->uid, directory->gid);
    if (caller.error != 0)
        return caller.error;
    const int parent = open_subdirectory(directory, subdirectory, O_PATH, (flags & O_CREAT) != 0);
    if (parent < 0)
        return parent;
    int fd = openat(parent, name, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    fd = fd >= 0 ? fd : -errno;
    close(parent);
    return fd;
}

int record_directory_open_removed(const struct record_directory *directory, bool makes)
{
    _cleanup_caller_ struct caller caller = record_directory_caller(directory);

    return caller.error != 0 ? caller.error
                             : open_subdirectory(directory, REMOVED_DIRECTORY, O_RDONLY, makes);
}

struct caller record_directory_caller(const struct record_directory *directory)
{
    return caller_begin_as(directory->uid, directory->gid);
}

int record_directory_open_history(const struct record_directory *directory, ino_t ino, int flags)
{
    const struct record_name name = record_directory_name(ino);

    return open_in_subdirectory(directory, HISTORY_DIRECTORY, name.text, flags | O_RDWR);
}

int record_directory_open_beacon(const struct record_directory *directory, const char *name,
                                 int flags)
{
    return open_in_subdirectory(directory, BEACON_DIRECTORY, name, flags);
}

DIR *record_directory_list_beacons(const struct record_directory *directory)
{
    const int fd = open_in_subdirectory(directory, BEACON_DIRECTORY, ".", O_RDONLY | O_DIRECTORY);
    DIR *listing = fd >= 0 ? fdopendir(fd) : NULL;

    if (fd >= 0 && !listing)
        close(fd);
    return listing;
}

int record_directory_remove_beacon(const struct record_directory *directory, const char *name)
{
    _cleanup_caller_ struct caller caller = caller_begin_as(directory->uid, directory->gid);
    if (caller.error != 0)
        return caller.error;
    const int parent = open_subdirectory(directory, BEACON_DIRECTORY, O_PATH, false);
    if (parent < 0)
        return parent;
    const int error = unlinkat(parent, name, 0) == 0 ? 0 : -errno;
    close(parent);
    return error;
}

int record_directory_open_file(const struct record_directory *directory, ino_t ino, int flags)
{
    const struct record_name name = record_directory_name(ino);
    _cleanup_caller_ struct caller caller = caller_begin_as(directory->uid, directory->gid);
    if (caller.error != 0)
        return caller.error;
    const int fd = openat(directory->path_fd, name.text,
                          flags | O_RDWR | O_DSYNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    return fd >= 0 ? fd : -errno;
}

int record_directory_sync(const struct record_directory *directory)
{
    DIR *listing = open_listing(directory);
    int error;

    if (!listing)
        return -EIO;
    error = fsync(dirfd(listing)) == 0 || errno == EINVAL ? 0 : -errno;
    closedir(listing);
    return error;
}

int record_directory_remove(const struct record_directory *directory, ino_t ino)
{
    const struct record_name name = record_directory_name(ino);
    _cleanup_caller_ struct caller caller = caller_begin_as(directory->uid, directory->gid);
    if (caller.error != 0)
        return caller.error;
    if (unlinkat(directory->path_fd, name.text, 0) != 0)
        return -errno;
    const int parent = open_subdirectory(directory, HISTORY_DIRECTORY, O_PATH, false);
    const bool left = parent >= 0 && unlinkat(parent, name.text, 0) != 0 && errno != ENOENT;
    const int error = left ? -errno : 0;
    if (parent >= 0)
        close(parent);
    return error;
}

bool record_directory_is_due(struct record_directory *directory, int64_t pause_ns)
{
    const int64_t now_ns = pool_now_ns();

    pthread_mutex_lock(&directory->mutex);
    const bool due = directory->walked_at_ns == 0 || now_ns - directory->walked_at_ns >= pause_ns;
    if (due)
        directory->walked_at_ns = now_ns;
    pthread_mutex_unlock(&directory->mutex);
    return due;
}

bool record_directory_next(struct record_directory *directory, ino_t *ino)
{
    size_t low = 0;

    pthread_mutex_lock(&directory->mutex);
    for (size_t high = directory->count; low < high;) {
        const size_t middle = low + (high - low) / 2;

        if (directory->inos[middle] <= directory->walked_to)
            low = middle + 1;
        else
            high = middle;
    }
    const bool found = low < directory->count;
    directory->walked_to = found ? directory->inos[low] : 0;
    *ino = directory->walked_to;
    pthread_mutex_unlock(&directory->mutex);
    return found;
}
