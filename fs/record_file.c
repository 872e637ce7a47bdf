/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "record_file.h"

#include "file_name.h"
#include "guard.h"
#include "handle.h"
#include "log.h"
#include "refresh.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define RECORD_ALIGNMENT 4096
/* One block more than a record has, so that a file that is too long shows. */
#define READ_BYTES (RECORD_FILE_BYTES + RECORD_ALIGNMENT)

struct record_handle {
    unsigned references; /* inode.mutex: the inode's one, and one for each use under way */
    int fd;
    bool is_direct;
    uint64_t sequence;
    unsigned slot; /* that counts */
    bool has_slot;
    bool is_future;        /* somebody newer keeps it: never written */
    bool is_guarded;       /* it holds a lock, which may be lost */
    pthread_mutex_t mutex; /* also across a read or write of it */
};

bool record_file_is_kept(struct context *context, const struct inode *inode)
{
    const struct inode *root = inode_find(context->inodes, FUSE_ROOT_ID);

    return context->records && S_ISREG(inode->type) && inode->identity.dev == root->identity.dev;
}

static void tell_owner_of_none(struct inode *inode)
{
    pthread_mutex_lock(&inode->mutex);
    (void)owner_record_seen(&inode->owner, false, 0);
    pthread_mutex_unlock(&inode->mutex);
}

static int look_if_plain(struct inode *inode, void *data)
{
    struct context *context = data;

    if (!record_file_is_kept(context, inode) ||
        !record_directory_lists(context->records, inode->identity.ino))
        return 0;
    pthread_mutex_lock(&inode->mutex);
    const bool plain = owner_state(&inode->owner) == OWNER_PLAIN;
    pthread_mutex_unlock(&inode->mutex);
    if (plain)
        refresh_look(context, inode);
    return 0;
}

/* One that was removed holds nobody up, and what is written next must not go to a file without
 * name. */
static void forget_record(struct inode *inode)
{
    record_file_close(inode);
    tell_owner_of_none(inode);
}

void record_look_at_list(struct context *context)
{
    if (record_directory_look(context->records))
        (void)inode_each_open(context->inodes, look_if_plain, context); /* short of memory: the
                                                                  next moment of each looks */
}

bool record_listed(struct context *context, ino_t ino)
{
    record_look_at_list(context);
    return record_directory_lists(context->records, ino);
}

bool record_look(struct context *context, struct inode *inode)
{
    enum owner_state before, after;

    if (!record_file_is_kept(context, inode))
        return false;
    const bool is_listed = record_listed(context, inode->identity.ino);
    pthread_mutex_lock(&inode->mutex);
    before = owner_state(&inode->owner);
    pthread_mutex_unlock(&inode->mutex);
    if (is_listed)
        (void)record_file_read(context, inode, NULL); /* said there; the acquire is who needs it */
    else
        forget_record(inode);
    pthread_mutex_lock(&inode->mutex);
    after = owner_state(&inode->owner);
    pthread_mutex_unlock(&inode->mutex);
    return before != after;
}

bool record_look_in_standby(struct context *context, struct inode *inode)
{
    if (!record_file_is_kept(context, inode))
        return false;
    pthread_mutex_lock(&inode->mutex);
    const bool is_standby = owner_state(&inode->owner) == OWNER_STANDBY;
    pthread_mutex_unlock(&inode->mutex);
    if (!is_standby || !record_listed(context, inode->identity.ino))
        return false;
    refresh_look_in_standby(context, inode);
    return true;
}

struct record_identity record_identity_of(const struct inode *inode)
{
    const struct inode_identity *from = &inode->identity;

    return (struct record_identity){
        .ino = from->ino,
        .birth_ns = from->birth_ns,
        .handle_hash = from->handle_type
                           ? record_handle_hash(from->handle_type, from->handle, from->handle_bytes)
                           : 0,
    };
}

static void record_handle_free(struct record_handle *record)
{
    if (!record)
        return;
    close(record->fd);
    pthread_mutex_destroy(&record->mutex);
    free(record);
}

/* Opens the record of an inode number; O_CREAT in `flags` makes it. */
static int record_handle_open(struct context *context, ino_t ino, int flags,
                              struct record_handle **result)
{
    const struct record_directory *directory = context->records;
    struct record_handle *record = calloc(1, sizeof(*record));
    int fd;

    if (!record)
        return -ENOMEM;
    record->is_direct = true;
    fd = record_directory_open_file(directory, ino, flags | O_DIRECT);
    if (fd == -EINVAL) { /* a store without O_DIRECT */
        record->is_direct = false;
        fd = record_directory_open_file(directory, ino, flags);
    }
    if (fd < 0) {
        free(record);
        return fd;
    }
    record->fd = fd;
    pthread_mutex_init(&record->mutex, NULL);
    *result = record;
    return 0;
}

/* Ends a use, or the inode's keeping; with the last one it is closed. */
static void record_handle_put(struct inode *inode, struct record_handle *record)
{
    pthread_mutex_lock(&inode->mutex);
    const bool is_last = --record->references == 0;
    pthread_mutex_unlock(&inode->mutex);
    if (is_last)
        record_handle_free(record);
}

/*
 * The inode's, opened at need and kept while the inode is open; another thread may have been
 * faster. To be put back by record_handle_put.
 */
static int record_handle_of(struct context *context, struct inode *inode, int flags,
                            struct record_handle **result)
{
    struct record_handle *opened = NULL;
    int error;

    pthread_mutex_lock(&inode->mutex);
    *result = inode->record;
    if (*result)
        (*result)->references++;
    pthread_mutex_unlock(&inode->mutex);
    if (*result)
        return 0;
    error = record_handle_open(context, inode->identity.ino, flags, &opened);
    if (error != 0)
        return error;
    opened->references = 1; /* the caller's */
    *result = opened;
    pthread_mutex_lock(&inode->mutex);
    if (inode->record)
        *result = inode->record;
    else if (inode->open_handles > 0) /* else no last close would end the keeping */
        inode->record = opened;
    if (inode->record)
        inode->record->references++;
    pthread_mutex_unlock(&inode->mutex);
    if (*result != opened)
        record_handle_free(opened);
    return 0;
}

void record_file_close(struct inode *inode)
{
    struct record_handle *record;

    pthread_mutex_lock(&inode->mutex);
    record = inode->record;
    inode->record = NULL;
    pthread_mutex_unlock(&inode->mutex);
    if (record)
        record_handle_put(inode, record);
}

void record_file_guard(struct context *context, struct inode *inode)
{
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_len = 1};
    struct record_handle *record;
    int error = 0;

    pthread_mutex_lock(&inode->mutex);
    record = context->options.fence != FENCE_OFF && inode->owner.recorded ? inode->record : NULL;
    if (record)
        record->references++;
    pthread_mutex_unlock(&inode->mutex);
    if (!record)
        return;
    pthread_mutex_lock(&record->mutex);
    if (!record->is_guarded) {
        error = fcntl(record->fd, F_OFD_SETLK, &lock) == 0 ? 0 : errno;
        record->is_guarded = error == 0;
    }
    pthread_mutex_unlock(&record->mutex);
    if (error != 0)
        log_info("%s: its record cannot be locked: %s; see that the store gives locks",
                 file_name(context, inode).text, strerror(error));
    record_handle_put(inode, record);
}

/* Reads the whole file, past the client's cache. Returns the bytes there are, or an errno. */
static ssize_t read_fresh(const struct record_handle *record, uint8_t *bytes)
{
    if (!record->is_direct) {
        const int error = posix_fadvise(record->fd, 0, 0, POSIX_FADV_DONTNEED);

        if (error != 0)
            return -error;
    }
    const ssize_t count = pread(record->fd, bytes, READ_BYTES, 0);
    return count >= 0 ? count : -errno;
}

static bool set_odd(struct inode *inode, bool odd)
{
    pthread_mutex_lock(&inode->mutex);
    const bool was_odd = inode->record_was_odd;
    inode->record_was_odd = odd;
    pthread_mutex_unlock(&inode->mutex);
    return was_odd;
}

static void say_once(const struct context *context, struct inode *inode, const char *what,
                     bool is_refused)
{
    if (!set_odd(inode, true))
        log_warning("the record %s/%s/%jx is not used: %s; hand-overs %s", context->options.source,
                    RECORD_DIRECTORY, (uintmax_t)inode->identity.ino, what,
                    is_refused ? "are refused: remove it, or mount with record=on"
                               : "go on, and make it anew where they may");
}

/* What stands in the place of a record is nobody's of ours, and stays. */
static const char *error_mend(int error)
{
    switch (error) {
    case -ELOOP:
        return "it is a symbolic link; remove it";
    case -EISDIR:
        return "it is a directory; remove it";
    case -ESPIPE:
    case -ENXIO:
        return "it is no regular file; remove it";
    case -ENOSPC:
    case -EDQUOT:
        return "no space is left; make some";
    default:
        return strerror(-error);
    }
}

static const char *verdict_mend(enum record_verdict verdict)
{
    switch (verdict) {
    case RECORD_MISSING:
        return "nothing is in it";
    case RECORD_FUTURE:
        return "it is of the future, from a newer migfs; install that here";
    case RECORD_ALIEN:
        return "it is alien, of another file";
    default:
        return "it is torn";
    }
}

/* What the record says is told to the owner state; true when that changed it. */
static void tell_owner(struct context *context, struct inode *inode, const struct record *record)
{
    const bool foreign =
        record->state == RECORD_OWNED && !record_same_host(&record->host, &context->host);

    pthread_mutex_lock(&inode->mutex);
    (void)owner_record_seen(&inode->owner, foreign, record->generation); /* record_look compares */
    const bool is_taken = foreign && owner_state(&inode->owner) == OWNER_OWNER;
    pthread_mutex_unlock(&inode->mutex);
    if (is_taken)
        (void)guard_failed(context, inode, -EIO); /* whether its locks are still there */
}

static int judge(struct context *context, struct inode *inode, struct record_handle *handle,
                 const uint8_t *bytes, size_t size, struct record_seen *seen)
{
    const struct record_identity identity = record_identity_of(inode);
    struct record record;
    const enum record_verdict verdict =
        record_decode(bytes, size, &identity, &record, &handle->slot);

    handle->has_slot = verdict == RECORD_VALID;
    handle->is_future = verdict == RECORD_FUTURE;
    if (verdict == RECORD_VALID) {
        handle->sequence = record.sequence;
        (void)set_odd(inode, false); /* what it was does not matter here */
        tell_owner(context, inode, &record);
        if (seen)
            *seen = (struct record_seen){.is_valid = true, .record = record};
        return 0;
    }
    const bool is_empty = verdict == RECORD_MISSING; /* as if it were not there */
    tell_owner_of_none(inode);
    say_once(context, inode, verdict_mend(verdict),
             !is_empty && context->options.record == RECORD_REQUIRE);
    return is_empty ? 0 : -EIO;
}

/* *lost: it may be the description that cannot be read, since its lock is gone. */
static int read_and_judge(struct context *context, struct inode *inode,
                          struct record_handle *handle, struct record_seen *seen, bool *lost)
{
    uint8_t *bytes = aligned_alloc(RECORD_ALIGNMENT, READ_BYTES);
    ssize_t size;
    int error;

    if (!bytes)
        return -ENOMEM;
    pthread_mutex_lock(&handle->mutex);
    size = read_fresh(handle, bytes);
    *lost = handle->is_guarded && (size == -EIO || size == -EBADF);
    error = size < 0 ? (int)size : judge(context, inode, handle, bytes, (size_t)size, seen);
    if (size < 0 && !*lost)
        say_once(context, inode, error_mend((int)size), context->options.record == RECORD_REQUIRE);
    pthread_mutex_unlock(&handle->mutex);
    free(bytes);
    return error;
}

/* By the inode's description of it, or by a new one in its place. */
static int read_record(struct context *context, struct inode *inode, struct record_seen *seen,
                       bool *lost)
{
    struct record_handle *handle;
    int error = record_handle_of(context, inode, 0, &handle);

    if (error == -ENOENT)
        tell_owner_of_none(inode);
    if (error != 0)
        return error == -ENOENT ? 0 : error;
    error = read_and_judge(context, inode, handle, seen, lost);
    if (*lost)
        record_file_close(inode);
    record_handle_put(inode, handle);
    return error;
}

int record_file_read(struct context *context, struct inode *inode, struct record_seen *seen)
{
    const bool required = context->options.record == RECORD_REQUIRE;
    bool lost = false;
    int error;

    if (seen)
        seen->is_valid = false;
    if (!record_file_is_kept(context, inode))
        return required && S_ISREG(inode->type) && !context->records ? -EIO : 0;
    error = read_record(context, inode, seen, &lost);
    if (lost) {
        (void)guard_failed(context, inode, -EIO); /* its file's locks may be lost, too */
        error = read_record(context, inode, seen, &lost);
    }
    return required ? error : 0;
}

static int read_any(const struct record_handle *handle, ino_t ino, struct record_seen *seen,
                    struct stat *attributes)
{
    const struct record_identity identity = {.ino = ino};
    uint8_t *bytes = aligned_alloc(RECORD_ALIGNMENT, READ_BYTES);
    ssize_t size;
    unsigned slot;

    if (!bytes)
        return -ENOMEM;
    size = read_fresh(handle, bytes);
    if (size >= 0)
        seen->is_valid =
            record_decode(bytes, (size_t)size, &identity, &seen->record, &slot) == RECORD_VALID;
    free(bytes);
    if (size < 0)
        return (int)size;
    return fstat(handle->fd, attributes) == 0 ? 0 : -errno;
}

int record_file_read_any(struct context *context, ino_t ino, struct record_seen *seen,
                         struct stat *attributes)
{
    struct record_handle *handle;
    int error = record_handle_open(context, ino, 0, &handle);

    if (error != 0)
        return error;
    error = read_any(handle, ino, seen, attributes);
    record_handle_free(handle);
    return error;
}

static int64_t nanoseconds(const struct timespec *time)
{
    return time->tv_sec * INT64_C(1000000000) + time->tv_nsec;
}

static struct record_file_handle file_handle_of(const struct inode *inode)
{
    const struct inode_identity *from = &inode->identity;
    struct record_file_handle handle = {.type = from->handle_type};

    _Static_assert(sizeof(handle.bytes) == sizeof(from->handle), "either holds what there may be");
    if (from->handle_type != 0) {
        handle.length = from->handle_bytes;
        memcpy(handle.bytes, from->handle, from->handle_bytes);
    }
    return handle;
}

static struct trace trace_of(const struct stat *attributes)
{
    return (struct trace){
        .length_bytes = (uint64_t)attributes->st_size,
        .ctime_ns = nanoseconds(&attributes->st_ctim),
        .mtime_ns = nanoseconds(&attributes->st_mtim),
    };
}

static void add_digests(struct inode *inode, struct record *record)
{
    pthread_mutex_lock(&inode->mutex);
    record->digest_count = (uint32_t)digest_ring_copy(&inode->digests, record->digests);
    pthread_mutex_unlock(&inode->mutex);
}

/* What an owner has yet to write nobody can compare: its record has no digests. */
static struct record record_now(struct context *context, struct inode *inode,
                                const struct record_handle *handle, const struct record_news *news)
{
    struct timespec now;
    struct record record;

    clock_gettime(CLOCK_REALTIME, &now);
    record = (struct record){
        .sequence = handle->sequence + 1,
        .generation = news->generation,
        .state = news->state,
        .identity = record_identity_of(inode),
        .host = news->host ? *news->host : context->host,
        .time_ns = nanoseconds(&now),
        .trace = news->trace,
        .flushed_bytes = news->flushed_bytes,
        .duration_ns = news->duration_ns,
        .file_handle = file_handle_of(inode),
    };
    if (news->state == RECORD_RELEASED)
        add_digests(inode, &record);
    return record;
}

/*
 * The slot that does not count is overwritten. A record that is worth nothing is begun anew, both
 * slots in one write, so that the file has its length from the start.
 */
static int write_slot(struct record_handle *handle, const struct record *record)
{
    uint8_t *bytes = aligned_alloc(RECORD_ALIGNMENT, RECORD_FILE_BYTES);
    const size_t size = handle->has_slot ? RECORD_SLOT_BYTES : RECORD_FILE_BYTES;
    const unsigned slot = handle->has_slot ? !handle->slot : 0;
    int error = 0;

    if (!bytes)
        return -ENOMEM;
    memset(bytes, 0, RECORD_FILE_BYTES);
    record_encode(record, bytes);
    const ssize_t written = pwrite(handle->fd, bytes, size, (off_t)slot * RECORD_SLOT_BYTES);
    if (written < 0)
        error = -errno;
    else if ((size_t)written != size)
        error = -ENOSPC;
    else if (!handle->has_slot && ftruncate(handle->fd, RECORD_FILE_BYTES) != 0)
        error = -errno;
    free(bytes);
    if (error == 0) {
        handle->has_slot = true;
        handle->slot = slot;
        handle->sequence = record->sequence;
    }
    return error;
}

static int write_record(struct context *context, struct inode *inode, struct record_handle *handle,
                        const struct record_news *news)
{
    int error = 0;

    pthread_mutex_lock(&handle->mutex);
    const bool is_new = !handle->has_slot;
    if (!handle->is_future) {
        const struct record record = record_now(context, inode, handle, news);

        error = write_slot(handle, &record);
    }
    pthread_mutex_unlock(&handle->mutex);
    return error == 0 && is_new ? record_directory_sync(context->records) : error;
}

int record_file_trace(struct context *context, struct inode *inode, struct trace *trace)
{
    struct stat attributes;
    const int error = inode_stat_at_server(context->inodes, inode, &attributes);

    if (error == 0)
        *trace = trace_of(&attributes);
    return error;
}

int record_file_write(struct context *context, struct inode *inode, const struct record_news *news)
{
    struct record_handle *handle;
    int error;

    if (!record_file_is_kept(context, inode))
        return 0;
    error = record_handle_of(context, inode, O_CREAT, &handle);
    if (error == 0) {
        error = write_record(context, inode, handle, news);
        record_handle_put(inode, handle);
    }
    if (error != 0 && !set_odd(inode, true))
        log_error("the record %s/%s/%jx cannot be written: %s; see migfsctl doctor",
                  context->options.source, RECORD_DIRECTORY, (uintmax_t)inode->identity.ino,
                  error_mend(error));
    return error;
}
