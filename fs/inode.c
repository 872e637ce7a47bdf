/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "inode.h"

#include "crossed_mount.h"
#include "fault.h"
#include "metadata.h"
#include "monotonic.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/sysmacros.h>
#include <unistd.h>

struct inode_table {
    pthread_mutex_t lock;
    struct inode **by_id;
    struct inode **by_identity;
    size_t buckets; /* a power of two, of both */
    size_t count;
    uint64_t last_node_id;
    dev_t root_dev;
    struct crossed_mounts mounts;
    struct inode *newest, *oldest; /* unpinned, with an open descriptor that can be had again */
    size_t idle_fds;
    size_t most_idle_fds;
};

static int64_t time_ns(const struct statx_timestamp *time)
{
    return time->tv_sec * INT64_C(1000000000) + time->tv_nsec;
}

static struct timespec time_spec(const struct statx_timestamp *time)
{
    return (struct timespec){.tv_sec = time->tv_sec, .tv_nsec = time->tv_nsec};
}

static void attributes_from(const struct statx *from, struct stat *attributes)
{
    *attributes = (struct stat){
        .st_dev = makedev(from->stx_dev_major, from->stx_dev_minor),
        .st_ino = from->stx_ino,
        .st_mode = from->stx_mode,
        .st_nlink = from->stx_nlink,
        .st_uid = from->stx_uid,
        .st_gid = from->stx_gid,
        .st_rdev = makedev(from->stx_rdev_major, from->stx_rdev_minor),
        .st_size = (off_t)from->stx_size,
        .st_blksize = (blksize_t)from->stx_blksize,
        .st_blocks = (blkcnt_t)from->stx_blocks,
        .st_atim = time_spec(&from->stx_atime),
        .st_mtim = time_spec(&from->stx_mtime),
        .st_ctim = time_spec(&from->stx_ctime),
    };
}

#define STATX_WANTED (STATX_BASIC_STATS | STATX_BTIME)

static int statx_errno(int fd, int flags, struct statx *out)
{
    const int all = AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW | flags;

    return statx(fd, "", all, STATX_WANTED, out) == 0 ? 0 : -errno;
}

/* ---- descriptors ---- */

static void lru_remove(struct inode_table *table, struct inode *inode)
{
    *(inode->lru_newer ? &inode->lru_newer->lru_older : &table->newest) = inode->lru_older;
    *(inode->lru_older ? &inode->lru_older->lru_newer : &table->oldest) = inode->lru_newer;
    inode->lru_newer = inode->lru_older = NULL;
    table->idle_fds--;
}

static void lru_add(struct inode_table *table, struct inode *inode)
{
    inode->lru_newer = NULL;
    inode->lru_older = table->newest;
    *(table->newest ? &table->newest->lru_newer : &table->oldest) = inode;
    table->newest = inode;
    table->idle_fds++;
}

static int lru_take(struct inode_table *table, struct inode *inode)
{
    const int fd = inode->fd;

    lru_remove(table, inode);
    inode->fd = -1;
    return fd;
}

/* Takes the oldest idle descriptor out when there are too many: -1, or one to close unlocked. */
static int lru_evict(struct inode_table *table)
{
    return table->idle_fds > table->most_idle_fds ? lru_take(table, table->oldest) : -1;
}

static void close_if_open(int fd)
{
    if (fd >= 0)
        close(fd); /* O_PATH: nothing is written by it, nothing can fail */
}

/* What opens handles of the filesystem of `dev`, for the table's life; -1: nothing. */
static int mount_fd_of(struct inode_table *table, dev_t dev)
{
    const struct crossed_mount *mount = crossed_mounts_find(&table->mounts, dev);

    return mount ? mount->fd : -1;
}

/* Whether the filesystem of `dev` has handles to identify inodes by. */
static bool has_handles(struct inode_table *table, dev_t dev, int path_fd)
{
    const struct crossed_mount *mount = crossed_mounts_learn(&table->mounts, dev, path_fd);

    return mount && mount->fd >= 0;
}

int inode_pin(struct inode_table *table, struct inode *inode)
{
    int fd, mount_fd;

    pthread_mutex_lock(&table->lock);
    if (inode->fd >= 0) {
        if (inode->pins++ == 0 && !inode->fd_is_kept)
            lru_remove(table, inode);
        fd = inode->fd;
        pthread_mutex_unlock(&table->lock);
        return fd;
    }
    mount_fd = mount_fd_of(table, inode->identity.dev);
    pthread_mutex_unlock(&table->lock);

    fd = identity_open(mount_fd, &inode->identity);
    if (fd == -ESTALE)
        atomic_store(&inode->is_stale, true);
    if (fd < 0)
        return fd;

    pthread_mutex_lock(&table->lock);
    const int surplus = inode->fd >= 0 ? fd : -1;
    if (inode->fd < 0)
        inode->fd = fd;
    else if (inode->pins == 0)
        lru_remove(table, inode);
    inode->pins++;
    fd = inode->fd;
    pthread_mutex_unlock(&table->lock);
    close_if_open(surplus);
    return fd;
}

void inode_unpin(struct inode_table *table, struct inode *inode)
{
    int evicted = -1;

    pthread_mutex_lock(&table->lock);
    if (--inode->pins == 0 && !inode->fd_is_kept) {
        lru_add(table, inode);
        evicted = lru_evict(table);
    }
    pthread_mutex_unlock(&table->lock);
    close_if_open(evicted);
}

/* ---- the table ---- */

static void link_by_id(struct inode_table *table, struct inode *inode)
{
    struct inode **bucket = &table->by_id[inode->node_id & (table->buckets - 1)];

    inode->next_by_id = *bucket;
    *bucket = inode;
}

static struct inode **identity_bucket(const struct inode_table *table,
                                      const struct inode_identity *identity)
{
    return &table->by_identity[identity_hash(identity) & (table->buckets - 1)];
}

static void link_by_identity(struct inode_table *table, struct inode *inode)
{
    struct inode **bucket = identity_bucket(table, &inode->identity);

    inode->next_by_identity = *bucket;
    *bucket = inode;
}

/* Doubles the buckets; where memory is short the chains grow instead. */
static void grow(struct inode_table *table)
{
    const size_t old_buckets = table->buckets, buckets = old_buckets * 2;
    struct inode **by_id = calloc(buckets, sizeof(*by_id));
    struct inode **by_identity = calloc(buckets, sizeof(*by_identity));
    struct inode **old_by_id = table->by_id;

    if (!by_id || !by_identity) {
        free(by_id);
        free(by_identity);
        return;
    }
    free(table->by_identity);
    table->by_id = by_id;
    table->by_identity = by_identity;
    table->buckets = buckets;
    for (size_t i = 0; i < old_buckets; i++) {
        for (struct inode *inode = old_by_id[i], *next; inode; inode = next) {
            next = inode->next_by_id;
            link_by_id(table, inode);
            link_by_identity(table, inode);
        }
    }
    free(old_by_id);
}

static void inode_free(struct inode *inode)
{
    if (!inode)
        return;
    close_if_open(inode->fd);
    close_if_open(inode->direct_fd);
    digest_ring_stop(&inode->digests);
    metadata_free(inode->metadata);
    free(inode->locking);
    range_table_deinit(&inode->ranges);
    range_table_deinit(&inode->flocks);
    pthread_cond_destroy(&inode->drained);
    pthread_mutex_destroy(&inode->description_mutex);
    pthread_mutex_destroy(&inode->mutex);
    free(inode);
}

static void unlink_from(struct inode **link, struct inode *inode, size_t next_offset)
{
    while (*link != inode)
        link = (struct inode **)((char *)*link + next_offset);
    *link = *(struct inode **)((char *)inode + next_offset);
}

/* With the lock held: takes the inode out when nobody needs it. Returns it, to be freed unlocked.
 */
static struct inode *remove_unused(struct inode_table *table, struct inode *inode)
{
    if (inode->lookups > 0 || inode->references > 0)
        return NULL;
    unlink_from(&table->by_id[inode->node_id & (table->buckets - 1)], inode,
                offsetof(struct inode, next_by_id));
    unlink_from(identity_bucket(table, &inode->identity), inode,
                offsetof(struct inode, next_by_identity));
    if (inode->fd >= 0 && inode->pins == 0 && !inode->fd_is_kept)
        lru_remove(table, inode);
    table->count--;
    return inode;
}

static struct inode *inode_new(const struct inode_identity *identity, mode_t type)
{
    struct inode *inode = calloc(1, sizeof(*inode));

    if (!inode)
        return NULL;
    inode->identity = *identity;
    inode->type = type;
    inode->fd = -1;
    inode->direct_fd = -1;
    inode->guard_fd = -1;
    pthread_mutex_init(&inode->mutex, NULL); /* cannot fail with default attributes */
    pthread_mutex_init(&inode->description_mutex, NULL);

    monotonic_cond_init(&inode->drained);
    return inode;
}

static struct inode *find_by_identity(const struct inode_table *table,
                                      const struct inode_identity *identity)
{
    struct inode *inode = *identity_bucket(table, identity);

    while (inode && (inode->is_retired || !identity_equals(&inode->identity, identity)))
        inode = inode->next_by_identity;
    return inode;
}

/* Adds `inode`, which takes over `fd`, with the lock held. */
static void insert(struct inode_table *table, struct inode *inode, int fd)
{
    if (table->count >= table->buckets)
        grow(table);
    inode->fd = fd;
    inode->fd_is_kept = inode->identity.handle_type == 0;
    inode->node_id = ++table->last_node_id;
    link_by_id(table, inode);
    link_by_identity(table, inode);
    table->count++;
    if (!inode->fd_is_kept)
        lru_add(table, inode);
}

struct inode_table *inode_table_new(int source_fd)
{
    struct inode_table *table = calloc(1, sizeof(*table));
    struct inode *root;
    struct stat attributes;
    struct rlimit limit;
    int error;

    if (!table)
        return NULL;
    pthread_mutex_init(&table->lock, NULL);
    crossed_mounts_init(&table->mounts);
    table->buckets = 1024;
    table->by_id = calloc(table->buckets, sizeof(*table->by_id));
    table->by_identity = calloc(table->buckets, sizeof(*table->by_identity));
    table->most_idle_fds = 1024;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
        table->most_idle_fds = (size_t)limit.rlim_cur / 4;
    error = table->by_id && table->by_identity
                ? inode_lookup(table, source_fd, "", false, &root, &attributes)
                : -ENOMEM;
    if (error != 0) {
        inode_table_free(table);
        errno = -error;
        return NULL;
    }
    table->root_dev = attributes.st_dev;
    return table; /* the root keeps the reference for good */
}

void inode_table_free(struct inode_table *table)
{
    if (!table)
        return;
    for (size_t i = 0; table->by_id && i < table->buckets; i++) {
        for (struct inode *inode = table->by_id[i], *next; inode; inode = next) {
            next = inode->next_by_id;
            inode_free(inode);
        }
    }
    crossed_mounts_deinit(&table->mounts);
    free(table->by_id);
    free(table->by_identity);
    pthread_mutex_destroy(&table->lock);
    free(table);
}

struct inode *inode_find(struct inode_table *table, uint64_t node_id)
{
    struct inode *inode;

    pthread_mutex_lock(&table->lock);
    inode = table->by_id[node_id & (table->buckets - 1)];
    while (inode && inode->node_id != node_id)
        inode = inode->next_by_id;
    pthread_mutex_unlock(&table->lock);
    return inode;
}

/*
 * Two filesystems below SOURCE may use one inode number; the kernel shows all as one device. Those
 * crossed into get numbers of their own.
 */
static void make_ino_unique(const struct inode_table *table, struct stat *attributes)
{
    if (table->root_dev != 0 && attributes->st_dev != table->root_dev)
        attributes->st_ino ^= (ino_t)attributes->st_dev << 32 | (ino_t)1 << 63;
}

/* The inode of `identity` with one more reference, or NULL. With the lock held. */
static struct inode *hold_known(const struct inode_table *table,
                                const struct inode_identity *identity)
{
    struct inode *inode = find_by_identity(table, identity);

    if (inode)
        inode->references++;
    return inode;
}

/* And with one more lookup. */
static struct inode *take_known(const struct inode_table *table,
                                const struct inode_identity *identity)
{
    struct inode *inode = hold_known(table, identity);

    if (inode)
        inode->lookups++;
    return inode;
}

/* The same, made where there is none; takes `fd` over in any case. NULL: out of memory. */
static struct inode *take_or_make(struct inode_table *table, const struct inode_identity *identity,
                                  mode_t type, int fd)
{
    struct inode *inode, *fresh;

    pthread_mutex_lock(&table->lock);
    inode = take_known(table, identity);
    pthread_mutex_unlock(&table->lock);
    fresh = inode ? NULL : inode_new(identity, type);
    if (fresh) {
        pthread_mutex_lock(&table->lock);
        inode = take_known(table, identity);
        if (!inode) {
            insert(table, fresh, fd);
            inode = take_known(table, identity);
            fresh = NULL;
            fd = lru_evict(table); /* the inode has its own now, another may be one too many */
        }
        pthread_mutex_unlock(&table->lock);
        inode_free(fresh);
    }
    close_if_open(fd);
    return inode;
}

/* All but the handle. */
static struct inode_identity identity_seen(const struct statx *seen)
{
    return (struct inode_identity){
        .dev = makedev(seen->stx_dev_major, seen->stx_dev_minor),
        .ino = seen->stx_ino,
        .birth_ns = seen->stx_mask & STATX_BTIME ? time_ns(&seen->stx_btime) : 0,
    };
}

static void note_setid(struct inode *inode, mode_t mode)
{
    pthread_mutex_lock(&inode->mutex);
    inode->may_have_setid = (mode & (S_ISUID | S_ISGID)) != 0;
    pthread_mutex_unlock(&inode->mutex);
}

/* The name by which a removed file is kept is nobody's. */
static void hide_kept_name(struct inode *inode, struct stat *attributes)
{
    if (atomic_load(&inode->removal) == REMOVAL_KEPT && attributes->st_nlink > 0)
        attributes->st_nlink--;
}

/*
 * A directory that something is mounted on when it is walked into: an export below an export, an
 * automounter's. O_PATH alone stays in front of it.
 */
static bool may_be_crossed(const struct inode_table *table, const struct statx *seen)
{
    const bool is_elsewhere = table->root_dev != 0 &&
                              makedev(seen->stx_dev_major, seen->stx_dev_minor) != table->root_dev;

    return S_ISDIR(seen->stx_mode) &&
           (is_elsewhere || (seen->stx_attributes & STATX_ATTR_AUTOMOUNT));
}

static bool is_gone_below(struct inode_table *table, struct inode *known, const struct statx *seen)
{
    _cleanup_pin_ struct inode_pin pin = inode_pin_scoped(table, known);
    struct statx at_known;
    int error = pin.fd < 0 ? pin.fd : statx_errno(pin.fd, 0, &at_known);

    if (error == 0 && time_ns(&at_known.stx_ctime) != time_ns(&seen->stx_ctime))
        error = statx_errno(pin.fd, AT_STATX_FORCE_SYNC, &at_known);
    return error == -ESTALE;
}

/*
 * Where there is neither a handle nor a birth time (an NFS 4.0 client tells none), a file whose
 * number was that of another one before is taken for it: unless it differs from what the kept
 * descriptor of that shows, and the server says that that is gone.
 */
static void retire_if_gone(struct inode_table *table, const struct inode_identity *identity,
                           const struct statx *seen)
{
    struct inode *known;

    if (identity->handle_type != 0 || identity->birth_ns != 0 || fault_skips_retire())
        return;
    pthread_mutex_lock(&table->lock);
    known = hold_known(table, identity);
    pthread_mutex_unlock(&table->lock);
    if (!known)
        return;
    if (is_gone_below(table, known, seen)) {
        pthread_mutex_lock(&table->lock);
        known->is_retired = true;
        pthread_mutex_unlock(&table->lock);
    }
    inode_unref(table, known);
}

/* An O_PATH descriptor of what inode_lookup looks up, and what it is. */
static int open_seen(int parent_fd, const char *name, int flags, struct statx *seen)
{
    const int fd = name[0] ? openat(parent_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC | flags)
                           : open(proc_path(parent_fd).text, O_PATH | O_CLOEXEC);
    const int error = fd < 0 ? -errno : statx_errno(fd, 0, seen);

    if (error == 0)
        return fd;
    close_if_open(fd);
    return error;
}

int inode_lookup(struct inode_table *table, int parent_fd, const char *name, bool crosses,
                 struct inode **inode, struct stat *attributes)
{
    struct inode *found;
    struct statx seen = {0};
    int fd = open_seen(parent_fd, name, 0, &seen);

    if (fd >= 0 && name[0] && crosses && may_be_crossed(table, &seen)) {
        close(fd);
        fd = open_seen(parent_fd, name, O_DIRECTORY, &seen);
    }
    if (fd < 0)
        return fd;

    struct inode_identity identity = identity_seen(&seen);
    if (has_handles(table, identity.dev, fd))
        identity_take_handle(&identity, fd, "");
    retire_if_gone(table, &identity, &seen);
    found = take_or_make(table, &identity, seen.stx_mode & S_IFMT, fd);
    if (!found)
        return -ENOMEM;
    attributes_from(&seen, attributes);
    make_ino_unique(table, attributes);
    hide_kept_name(found, attributes);
    note_setid(found, attributes->st_mode);
    *inode = found;
    return 0;
}

struct inode *inode_renamed_if_open(struct inode_table *table, int parent_fd, const char *name)
{
    struct statx seen;

    if (statx(parent_fd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_WANTED, &seen) != 0 ||
        S_ISDIR(seen.stx_mode))
        return NULL;

    struct inode_identity identity = identity_seen(&seen);
    identity_take_handle(&identity, parent_fd, name);
    pthread_mutex_lock(&table->lock);
    const struct crossed_mount *mount = crossed_mounts_find(&table->mounts, identity.dev);
    struct inode *inode = mount && mount->renames_open ? hold_known(table, &identity) : NULL;
    pthread_mutex_unlock(&table->lock);
    return inode;
}

/* Neither a handle nor a state would be missed: a fence, and what the ioctl made owner, outlive
 * handles. */
static bool may_be_retired(struct inode *inode)
{
    pthread_mutex_lock(&inode->mutex);
    const bool may = inode->open_handles == 0 && owner_state(&inode->owner) == OWNER_PLAIN;
    pthread_mutex_unlock(&inode->mutex);
    return may && !fault_skips_retire();
}

void inode_close_idle(struct inode_table *table, struct inode *inode)
{
    const bool may_retire = may_be_retired(inode);
    int idle = -1;

    pthread_mutex_lock(&table->lock);
    if (inode->fd >= 0 && inode->pins == 0 && !inode->fd_is_kept) {
        idle = lru_take(table, inode);
    } else if (inode->fd >= 0 && inode->pins == 0 && may_retire) {
        idle = inode->fd;
        inode->fd = -1;
        inode->is_retired = true;
    }
    pthread_mutex_unlock(&table->lock);
    close_if_open(idle);
}

void inode_forget(struct inode_table *table, struct inode *inode, uint64_t count)
{
    struct inode *unused;

    pthread_mutex_lock(&table->lock);
    inode->lookups -= count < inode->lookups ? count : inode->lookups;
    unused = remove_unused(table, inode);
    pthread_mutex_unlock(&table->lock);
    inode_free(unused);
}

void inode_ref(struct inode_table *table, struct inode *inode)
{
    pthread_mutex_lock(&table->lock);
    inode->references++;
    pthread_mutex_unlock(&table->lock);
}

void inode_unref(struct inode_table *table, struct inode *inode)
{
    struct inode *unused;

    pthread_mutex_lock(&table->lock);
    inode->references--;
    unused = remove_unused(table, inode);
    pthread_mutex_unlock(&table->lock);
    inode_free(unused);
}

int inode_stat(struct inode_table *table, struct inode *inode, int fd, bool forced,
               struct stat *attributes)
{
    struct statx seen;
    const int error = statx_errno(fd, forced ? AT_STATX_FORCE_SYNC : 0, &seen);

    if (error == -ESTALE)
        atomic_store(&inode->is_stale, true);
    if (error != 0)
        return error;
    attributes_from(&seen, attributes);
    make_ino_unique(table, attributes);
    hide_kept_name(inode, attributes);
    note_setid(inode, attributes->st_mode);
    return 0;
}

int inode_stat_open(struct inode_table *table, struct inode *inode, int fd, struct stat *attributes)
{
    if (fstat(fd, attributes) != 0)
        return -errno;
    make_ino_unique(table, attributes);
    hide_kept_name(inode, attributes);
    return 0;
}

int inode_stat_at_server(struct inode_table *table, struct inode *inode, struct stat *attributes)
{
    _cleanup_pin_ struct inode_pin pin = inode_pin_scoped(table, inode);

    return pin.fd < 0 ? pin.fd : inode_stat(table, inode, pin.fd, true, attributes);
}

bool inode_handles_last(struct inode_table *table)
{
    return mount_fd_of(table, table->root_dev) >= 0;
}

int inode_handle_exists(struct inode_table *table, int type, const uint8_t *bytes, size_t length)
{
    struct inode_identity identity = {.handle_type = type, .handle_bytes = (unsigned)length};
    const int mount_fd = mount_fd_of(table, table->root_dev);
    struct statx seen;
    int fd;

    if (mount_fd < 0 || length > sizeof(identity.handle))
        return -EOPNOTSUPP;
    memcpy(identity.handle, bytes, length);
    fd = identity_open(mount_fd, &identity);
    if (fd < 0)
        return fd;
    /* An NFS client opens what it remembers; the server is asked for its attributes alone. */
    const int error = statx_errno(fd, AT_STATX_FORCE_SYNC, &seen);
    close_if_open(fd);
    return error;
}

bool inode_asks_server(struct inode *inode)
{
    pthread_mutex_lock(&inode->mutex);
    const bool asks = owner_asks_server(&inode->owner) || inode->distrusts_below;
    pthread_mutex_unlock(&inode->mutex);
    return asks;
}

/* Seconds: as long as it takes, since a transition drops them by notification. */
#define OWNER_TIMEOUT 3600.0

double inode_attributes_timeout(const struct context *context, struct inode *inode)
{
    if (!context->options.coherence)
        return INODE_INCOHERENT_TIMEOUT;
    if (!S_ISREG(inode->type))
        return 0;

    pthread_mutex_lock(&inode->mutex);
    const bool may_cache = owner_may_cache(&inode->owner);
    pthread_mutex_unlock(&inode->mutex);
    return may_cache ? OWNER_TIMEOUT : 0;
}

bool inode_is_protected(const struct context *context, const struct inode *inode)
{
    return context->options.protect && context->options.coherence && !context->passthrough &&
           S_ISREG(inode->type);
}

static bool is_open(struct inode *inode)
{
    pthread_mutex_lock(&inode->mutex);
    const bool open = inode->open_handles > 0;
    pthread_mutex_unlock(&inode->mutex);
    return open;
}

/* All open inodes, each with a reference; NULL and 0 where memory is short. */
static struct inode **snapshot_open(struct inode_table *table, size_t *count)
{
    struct inode **open = NULL;

    *count = 0;
    pthread_mutex_lock(&table->lock);
    open = malloc((table->count + 1) * sizeof(*open));
    for (size_t i = 0; open && i < table->buckets; i++) {
        for (struct inode *inode = table->by_id[i]; inode; inode = inode->next_by_id) {
            if (!is_open(inode))
                continue;
            inode->references++;
            open[(*count)++] = inode;
        }
    }
    pthread_mutex_unlock(&table->lock);
    return open;
}

int inode_each_open(struct inode_table *table, int (*visit)(struct inode *inode, void *data),
                    void *data)
{
    size_t count;
    struct inode **open = snapshot_open(table, &count);
    int result = open ? 0 : -ENOMEM;

    for (size_t i = 0; open && i < count; i++) {
        if (result == 0)
            result = visit(open[i], data);
        inode_unref(table, open[i]);
    }
    free(open);
    return result;
}
