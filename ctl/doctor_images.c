/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether some host serves images without migfs, by what can be seen of it: an image that was
 * written since the hand-over that its record tells of, and one that is being written under QEMU's
 * lock though no record names an owner.
 *
 * A lock is asked for only where a file was written within the last seconds: who writes is in touch
 * with the server. To ask about the locks of a host that is cut off may make a courteous server
 * take them away.
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
#include <time.h>
#include <unistd.h>

#define SECOND_NS INT64_C(1000000000)
#define RECENT_NS (10 * SECOND_NS)
#define QEMU_WRITE_BYTE 101

enum {
    DEPTH_MOST = 8,
    FILES_MOST = 10000,
    NAMED_MOST = 8,
    ACQUIRE_MOST_S = 4, /* more than the default of deadline= */
};

struct images {
    struct doctor *doctor;
    const struct subject *subject;
    struct record_owner owner;
    int records_fd;
    int64_t now_ns; /* of this host; `hosts` says when that is far from the store's */
    unsigned files, recorded, found;
    bool is_cut; /* there were more files than are looked at */
};

enum claim {
    CLAIM_NONE, /* no record, or one that is of no use */
    CLAIM_OWNED,
    CLAIM_RELEASED,
};

static enum claim read_record(const struct images *images, uint64_t ino, struct record *record)
{
    static uint8_t bytes[RECORD_FILE_BYTES + 1];
    const struct record_identity identity = {.ino = ino};
    unsigned slot;
    char name[24];
    int fd = -1;
    ssize_t count = -1;

    (void)snprintf(name, sizeof(name), "%jx", (uintmax_t)ino); /* it always fits */
    if (images->records_fd >= 0 && record_owner_begin(&images->owner) == 0) {
        fd = openat(images->records_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        count = fd >= 0 ? pread(fd, bytes, sizeof(bytes), 0) : -1;
        if (fd >= 0)
            (void)close(fd); /* read only */
        record_owner_end();
    }
    if (count < 0 || record_decode(bytes, (size_t)count, &identity, record, &slot) != RECORD_VALID)
        return CLAIM_NONE;
    return record->state == RECORD_OWNED ? CLAIM_OWNED : CLAIM_RELEASED;
}

/* Whether another description holds QEMU's byte for writing: it has the image open to write. */
static bool is_locked(int directory_fd, const char *name)
{
    struct flock lock = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = QEMU_WRITE_BYTE, .l_len = 1};
    const int fd = openat(directory_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
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

/* At the server: what this host has cached may be older than the record. */
static bool look(int directory_fd, const char *name, uint64_t *ino, struct trace *trace)
{
    struct statx file;

    if (statx(directory_fd, name, AT_SYMLINK_NOFOLLOW | AT_STATX_FORCE_SYNC, STATX_BASIC_STATS,
              &file) != 0 ||
        !S_ISREG(file.stx_mode))
        return false;
    *ino = file.stx_ino;
    *trace = (struct trace){
        .length_bytes = file.stx_size,
        .mtime_ns = file.stx_mtime.tv_sec * SECOND_NS + file.stx_mtime.tv_nsec,
        .ctime_ns = file.stx_ctime.tv_sec * SECOND_NS + file.stx_ctime.tv_nsec,
    };
    return true;
}

/* Whether a hand-over came between: what was seen says nothing then. */
static bool has_moved(const struct images *images, uint64_t ino, enum claim claim,
                      const struct record *before)
{
    struct record now;

    return read_record(images, ino, &now) != claim ||
           (claim != CLAIM_NONE && now.sequence != before->sequence);
}

/* Locks come before the record in an acquire, by its deadline at most. */
static void wait_for_acquire(void)
{
    const struct timespec pause = {.tv_sec = ACQUIRE_MOST_S};

    nanosleep(&pause, NULL); /* cut short: no harm but the doubt */
}

static void look_at(struct images *images, int directory_fd, const char *name, const char *path)
{
    struct record record;
    struct trace trace;
    uint64_t ino;
    enum claim claim;

    if (!look(directory_fd, name, &ino, &trace))
        return;
    claim = read_record(images, ino, &record);
    images->recorded += claim != CLAIM_NONE;
    /* Anew: the record may be younger than the first look. */
    if (claim == CLAIM_OWNED || !look(directory_fd, name, &ino, &trace))
        return;
    if (images->now_ns - trace.mtime_ns < RECENT_NS && is_locked(directory_fd, name)) {
        wait_for_acquire();
        if (!has_moved(images, ino, claim, &record) && is_locked(directory_fd, name))
            say_served(images, path);
        return;
    }
    if (claim == CLAIM_RELEASED && trace_compare(&record.trace, &trace) == TRACE_WRITTEN &&
        !has_moved(images, ino, claim, &record))
        say_written(images, path, &record);
}

static void walk(struct images *images, int directory_fd, const char *path, unsigned depth);

static void walk_into(struct images *images, int directory_fd, const char *name, const char *path,
                      unsigned depth)
{
    const int fd = openat(directory_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    images->is_cut |= depth >= DEPTH_MOST;
    if (fd >= 0 && depth < DEPTH_MOST)
        walk(images, fd, path, depth + 1);
    else if (fd >= 0)
        (void)close(fd); /* read only */
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

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            strcmp(entry->d_name, RECORD_DIRECTORY) == 0)
            continue;
        if (images->files++ >= FILES_MOST) {
            images->is_cut = true;
            break;
        }
        if (asprintf(&below, "%s/%s", path, entry->d_name) < 0)
            break;
        if (entry->d_type == DT_DIR)
            walk_into(images, directory_fd, entry->d_name, below, depth);
        else
            look_at(images, directory_fd, entry->d_name, below);
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
        doctor_say(images->doctor, COLOUR_YELLOW, "examine directories of it by themselves",
                   "not all files were looked at: they are more than %d, or deeper than %d "
                   "directories",
                   FILES_MOST, DEPTH_MOST);
    else if (images->found == 0)
        doctor_say(images->doctor, COLOUR_GREEN, NULL,
                   "%u files, %u of them with a record: none is seen to be written without migfs",
                   images->files, images->recorded);
}

void doctor_images(struct doctor *doctor, const struct subject *subject)
{
    struct images images = {.doctor = doctor,
                            .subject = subject,
                            .owner = record_owner_of(subject->source_fd),
                            .records_fd = -1};
    const int fd = openat(subject->source_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now); /* cannot fail */
    images.now_ns = now.tv_sec * SECOND_NS + now.tv_nsec;
    if (images.owner.exists && record_owner_begin(&images.owner) == 0) {
        images.records_fd = openat(subject->source_fd, RECORD_DIRECTORY,
                                   O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        record_owner_end();
    }
    if (fd < 0) {
        doctor_say(doctor, COLOUR_YELLOW, "see that it can be read", "%s: %s", subject->source,
                   strerror(errno));
        return;
    }
    walk(&images, fd, subject->source, 0);
    if (images.records_fd >= 0)
        (void)close(images.records_fd); /* read only */
    say_rest(&images);
}
