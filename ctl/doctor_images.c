/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether some host serves images without migfs, by what can be seen of it: an image that was
 * written since the hand-over that its record tells of, and one that is being written under QEMU's
 * lock though no record names an owner.
 *
 * To ask about the locks of a host that is cut off may make a courteous server take them away. So a
 * lock is asked for only where a file was seen to be written between two looks at the server: who
 * writes is heard by it. No clock decides that.
 */
#include "doctor.h"
#include "record_owner.h"

#include "cache/record.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS INT64_C(1000000000)
#define RECENT_NS (10 * SECOND_NS)
#define QEMU_WRITE_BYTE 101

enum {
    DEPTH_MOST = 8,
    FILES_MOST = 10000,
    NAMED_MOST = 8,
    FRESH_MOST = 64,
    BEAT_FILES = 100,
    /* More than the default of deadline=: locks come before the record in an acquire. */
    BETWEEN_LOOKS_S = 4,
};

enum claim {
    CLAIM_NONE, /* there is no record */
    CLAIM_OWNED,
    CLAIM_RELEASED,
    CLAIM_UNKNOWN, /* there may be one: it cannot be read, or not be understood */
};

struct image {
    int fd; /* O_PATH: nothing of it is opened at the server */
    char *path;
    struct record_identity identity;
    struct trace trace;
    enum claim claim;
    struct record record; /* where there is one */
};

struct images {
    struct doctor *doctor;
    struct record_owner owner;
    int records_fd;
    dev_t device; /* SOURCE's: numbers of inodes are its */
    unsigned files, recorded, unknown, found;
    bool is_cut;                    /* there were more files than are looked at */
    struct image fresh[FRESH_MOST]; /* those that may be being written */
    unsigned fresh_count;
};

/* A positive errno or 0 and the bytes of a record file. */
static int read_bytes(const struct images *images, uint64_t ino, uint8_t *bytes, size_t size,
                      size_t *length)
{
    char name[24];
    int error = images->records_fd >= 0 ? record_owner_begin(&images->owner) : EBADF;

    if (error != 0)
        return error;
    (void)snprintf(name, sizeof(name), "%jx", (uintmax_t)ino); /* it always fits */
    const int fd = openat(images->records_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    const ssize_t count = fd >= 0 ? pread(fd, bytes, size, 0) : -1;

    error = count < 0 ? errno : 0;
    if (fd >= 0)
        (void)close(fd); /* read only */
    record_owner_end();
    if (error == 0)
        *length = (size_t)count;
    return error;
}

static enum claim read_record(const struct images *images, const struct record_identity *identity,
                              struct record *record)
{
    static uint8_t bytes[RECORD_FILE_BYTES + 1];
    unsigned slot;
    size_t length;
    const int error = read_bytes(images, identity->ino, bytes, sizeof(bytes), &length);

    if (error != 0)
        return error == ENOENT ? CLAIM_NONE : CLAIM_UNKNOWN;
    switch (record_decode(bytes, length, identity, record, &slot)) {
    case RECORD_VALID:
        return record->state == RECORD_OWNED ? CLAIM_OWNED : CLAIM_RELEASED;
    case RECORD_MISSING:
        return CLAIM_NONE;
    default:
        return CLAIM_UNKNOWN;
    }
}

/* Whether another description holds QEMU's byte for writing: it has the image open to write. */
static bool is_locked(const struct image *image)
{
    struct flock lock = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = QEMU_WRITE_BYTE, .l_len = 1};
    char path[64];

    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", image->fd); /* it always fits */
    const int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    const bool locked = fd >= 0 && fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;

    if (fd >= 0)
        (void)close(fd); /* read only */
    return locked;
}

static void say_served(struct images *images, const char *path)
{
    if (images->found++ < NAMED_MOST)
        doctor_say(images->doctor, COLOUR_RED,
                   "let the guest on that host use a mount of migfs, with record=on: see its "
                   "definition on each host",
                   "%s is locked and written by a QEMU, and no record names its host: it does not "
                   "use migfs, or shares the image (share-rw=on)",
                   path);
}

static void say_written(struct images *images, const char *path, const struct record *record)
{
    if (images->found++ < NAMED_MOST)
        doctor_say(images->doctor, COLOUR_YELLOW,
                   "see whether it was a restore, or a host without migfs; with fence=strict, "
                   "`migfsctl forget` accepts what is there",
                   "%s was written since %s handed it over, by somebody who never acquired it",
                   path, record->host.name);
}

static int64_t nanoseconds(const struct statx_timestamp *time)
{
    return time->tv_sec * SECOND_NS + time->tv_nsec;
}

/* At the server: what this host has cached may be older than the record. */
static bool look(const struct images *images, struct image *image)
{
    struct statx file;

    if (statx(image->fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_BASIC_STATS | STATX_BTIME,
              &file) != 0 ||
        !S_ISREG(file.stx_mode) ||
        makedev(file.stx_dev_major, file.stx_dev_minor) != images->device)
        return false;
    image->identity = (struct record_identity){
        .ino = file.stx_ino,
        .birth_ns = (file.stx_mask & STATX_BTIME) != 0 ? nanoseconds(&file.stx_btime) : 0,
    };
    image->trace = (struct trace){
        .length_bytes = file.stx_size,
        .mtime_ns = nanoseconds(&file.stx_mtime),
        .ctime_ns = nanoseconds(&file.stx_ctime),
    };
    return true;
}

/* Whether a hand-over came between: what was seen says nothing then. */
static bool has_moved(const struct images *images, const struct image *image)
{
    struct record now;

    return read_record(images, &image->identity, &now) != image->claim ||
           (image->claim == CLAIM_RELEASED && now.sequence != image->record.sequence);
}

/* By this host's clock, so it says only which files are worth a second look. */
static bool may_be_fresh(const struct image *image)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now); /* cannot fail */
    return llabs(now.tv_sec * SECOND_NS + now.tv_nsec - image->trace.mtime_ns) < RECENT_NS;
}

static void judge_trace(struct images *images, const struct image *image)
{
    if (image->claim == CLAIM_RELEASED &&
        trace_compare(&image->record.trace, &image->trace) == TRACE_WRITTEN &&
        !has_moved(images, image))
        say_written(images, image->path, &image->record);
}

/* After the wait. */
static void judge_fresh(struct images *images, struct image *image)
{
    const int64_t before_ns = image->trace.mtime_ns;

    if (!look(images, image) || has_moved(images, image))
        return;
    if (image->trace.mtime_ns != before_ns && is_locked(image)) {
        if (!has_moved(images, image))
            say_served(images, image->path);
        return;
    }
    judge_trace(images, image);
}

static void image_deinit(struct image *image)
{
    (void)close(image->fd); /* nothing was opened by it */
    free(image->path);
}

/* Whether it is to be looked at again. */
static bool judge(struct images *images, struct image *image)
{
    if (!look(images, image))
        return false;
    image->claim = read_record(images, &image->identity, &image->record);
    images->recorded += image->claim == CLAIM_OWNED || image->claim == CLAIM_RELEASED;
    images->unknown += image->claim == CLAIM_UNKNOWN;
    /* Anew: the record may be younger than the first look. */
    if (image->claim == CLAIM_OWNED || image->claim == CLAIM_UNKNOWN || !look(images, image))
        return false;
    if (may_be_fresh(image)) {
        if (images->fresh_count + 1 < FRESH_MOST)
            return true;
        images->is_cut = true;
    }
    judge_trace(images, image);
    return false;
}

static void look_at(struct images *images, int directory_fd, const char *name, const char *path)
{
    struct image *image = &images->fresh[images->fresh_count];

    image->fd = openat(directory_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (image->fd < 0)
        return;
    image->path = strdup(path);
    if (image->path != NULL && judge(images, image))
        images->fresh_count++;
    else
        image_deinit(image);
}

/* One wait for all of them. */
static void look_again(struct images *images)
{
    const struct timespec pause = {.tv_sec = BETWEEN_LOOKS_S};

    if (images->fresh_count == 0)
        return;
    doctor_beat(images->doctor);
    nanosleep(&pause, NULL); /* cut short: less is seen to be written */
    for (unsigned i = 0; i < images->fresh_count; i++) {
        judge_fresh(images, &images->fresh[i]);
        image_deinit(&images->fresh[i]);
    }
}

static void walk(struct images *images, int directory_fd, const char *path, unsigned depth);

/* 0, or a positive errno where it is no directory. */
static int walk_into(struct images *images, int directory_fd, const char *name, const char *path,
                     unsigned depth)
{
    struct stat found;
    const int fd = openat(directory_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0)
        return errno;
    const bool is_of_source = fstat(fd, &found) == 0 && found.st_dev == images->device;

    images->is_cut |= is_of_source && depth >= DEPTH_MOST;
    if (is_of_source && depth < DEPTH_MOST)
        walk(images, fd, path, depth + 1);
    else
        (void)close(fd); /* read only */
    return 0;
}

static bool is_left_out(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, RECORD_DIRECTORY) == 0;
}

/* Not every store tells in its listing what is a directory. */
static void look_at_entry(struct images *images, int directory_fd, const struct dirent *entry,
                          const char *path, unsigned depth)
{
    int error = ENOTDIR;

    if (entry->d_type == DT_DIR || entry->d_type == DT_UNKNOWN)
        error = walk_into(images, directory_fd, entry->d_name, path, depth);
    if (error == ENOTDIR || error == ELOOP)
        look_at(images, directory_fd, entry->d_name, path);
}

/* Takes the descriptor over. */
static void walk(struct images *images, int directory_fd, const char *path, unsigned depth)
{
    DIR *listing = fdopendir(directory_fd);

    if (listing == NULL) {
        (void)close(directory_fd); /* read only */
        return;
    }
    for (const struct dirent *entry = readdir(listing); entry != NULL; entry = readdir(listing)) {
        char *below = NULL;

        if (is_left_out(entry->d_name))
            continue;
        if (images->files++ >= FILES_MOST) {
            images->is_cut = true;
            break;
        }
        if (images->files % BEAT_FILES == 0)
            doctor_beat(images->doctor);
        if (asprintf(&below, "%s/%s", path, entry->d_name) < 0)
            break;
        look_at_entry(images, directory_fd, entry, below, depth);
        free(below);
    }
    (void)closedir(listing); /* read only */
}

static void say_rest(const struct images *images)
{
    if (images->found > NAMED_MOST)
        doctor_say(images->doctor, COLOUR_YELLOW, "see to these first", "and %u more images",
                   images->found - NAMED_MOST);
    if (images->is_cut)
        doctor_say(images->doctor, COLOUR_YELLOW, "keep less below SOURCE",
                   "not all files were looked at: they are more than %d, or deeper than %d "
                   "directories, or more than %d of them are being written",
                   FILES_MOST, DEPTH_MOST, FRESH_MOST - 1);
    if (images->unknown > 0)
        doctor_say(images->doctor, COLOUR_YELLOW,
                   geteuid() == 0 ? "examine the SOURCE that is mounted, and see `records`; a "
                                    "record that is damaged is made anew by the next acquire"
                                  : "run migfsctl doctor as root",
                   "of %u files it is not known whether a record names their host: there is no "
                   "record that can be read",
                   images->unknown);
    if (images->found == 0 && images->unknown == 0 && !images->is_cut)
        doctor_say(images->doctor, COLOUR_GREEN, NULL,
                   "%u files, %u of them with a record: none is seen to be written without migfs",
                   images->files, images->recorded);
}

static int open_records(const struct images *images, int source_fd)
{
    int fd;

    if (!images->owner.exists || record_owner_begin(&images->owner) != 0)
        return -1;
    fd = openat(source_fd, RECORD_DIRECTORY, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    record_owner_end();
    return fd;
}

void doctor_images(struct doctor *doctor, const struct subject *subject)
{
    struct images images = {.doctor = doctor, .owner = record_owner_of(subject->source_fd)};
    struct stat source;
    const int fd = openat(subject->source_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &source) != 0) {
        doctor_say(doctor, COLOUR_YELLOW, "see that it can be read", "%s cannot be read: %s",
                   subject->source, strerror(errno));
        if (fd >= 0)
            (void)close(fd); /* read only */
        return;
    }
    images.device = source.st_dev;
    images.records_fd = open_records(&images, subject->source_fd);
    walk(&images, fd, subject->source, 0);
    look_again(&images);
    if (images.records_fd >= 0)
        (void)close(images.records_fd); /* read only */
    say_rest(&images);
}
