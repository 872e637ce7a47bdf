/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "removed.h"

#include "acting.h"
#include "file_name.h"
#include "log.h"
#include "pool.h"
#include "record_directory.h"
#include "record_file.h"
#include "watch_thread.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Between two looks, while something is kept. */
#define LOOK_AGAIN_S 600
/* A guest that has just been released here may be on its way to another host. */
#define RELEASED_MOST_S 600
/* What has no record that can be read was removed in the midst of something. */
#define UNKNOWN_MOST_S (24 * 3600)

static bool keeps(const struct context *context)
{
    return context->options.protect && context->records != NULL;
}

static void say(struct context *context, struct inode *inode, const char *what)
{
    log_notice("%s: %s", file_name(context, inode).text, what);
}

/* ---- who holds it ---- */

/* This host has been started anew since: none of its guests runs any more. */
static bool is_dead(const struct context *context, const struct record_host *host)
{
    return memcmp(host->machine_id, context->host.machine_id, sizeof(host->machine_id)) == 0 &&
           memcmp(host->boot_id, context->host.boot_id, sizeof(host->boot_id)) != 0;
}

static bool is_held(struct context *context, struct inode *inode)
{
    struct record_seen *seen;
    bool held;

    if (!record_file_is_kept(context, inode))
        return false;
    seen = calloc(1, sizeof(*seen));
    if (!seen)
        return true; /* it can be collected, not brought back */
    held = record_file_read(context, inode, seen) == 0 && seen->is_valid &&
           (inode_is_open(inode) ||
            (seen->record.state == RECORD_OWNED && !is_dead(context, &seen->record.host)));
    free(seen);
    return held;
}

static bool has_one_name(struct context *context, struct inode *inode)
{
    struct stat attributes;

    return inode_stat_at_server(context->inodes, inode, &attributes) == 0 &&
           attributes.st_nlink == 1;
}

/* ---- a name goes ---- */

/* As the caller: a file that no other name leads to. */
static bool is_last_name(fuse_req_t req, struct inode *parent, const char *name, ino_t *ino)
{
    struct stat attributes;

    _cleanup_acting_ struct acting acting = acting_begin(req, parent);
    if (acting.fd < 0 || fstatat(acting.fd, name, &attributes, AT_SYMLINK_NOFOLLOW) != 0)
        return false;
    *ino = attributes.st_ino;
    return S_ISREG(attributes.st_mode) && attributes.st_nlink == 1;
}

/* And its inode, with a reference; or NULL. */
static struct inode *inode_of(fuse_req_t req, struct inode *parent, const char *name)
{
    struct context *context = context_of(req);
    struct inode *inode;
    struct stat attributes;

    _cleanup_acting_ struct acting acting = acting_begin(req, parent);
    if (acting.fd < 0 ||
        inode_lookup(context->inodes, acting.fd, name, false, &inode, &attributes) != 0)
        return NULL;
    inode_forget(context->inodes, inode, 1);
    return inode;
}

/* Most files have no record, and are gone with one look at the list; that is the daemon's. */
static struct inode *look_up(fuse_req_t req, struct inode *parent, const char *name)
{
    ino_t ino;

    if (!is_last_name(req, parent, name, &ino) || !record_listed(context_of(req), ino))
        return NULL;
    return inode_of(req, parent, name);
}

struct removed removed_begin(fuse_req_t req, struct inode *parent, const char *name)
{
    struct removed removed = {.context = context_of(req)};

    if (!keeps(removed.context) || !parent)
        return removed;
    removed.inode = look_up(req, parent, name);
    if (removed.inode && !(is_held(removed.context, removed.inode) &&
                           has_one_name(removed.context, removed.inode))) {
        inode_unref(removed.context->inodes, removed.inode);
        removed.inode = NULL;
    }
    if (removed.inode)
        removed.name = file_name(removed.context, removed.inode);
    return removed;
}

/* As unlink(2) has it: who may not is told by the store. */
static bool may_remove(fuse_req_t req, struct inode *parent, const struct stat *file)
{
    const uid_t uid = fuse_req_ctx(req)->uid;
    struct stat directory;

    _cleanup_acting_ struct acting acting = acting_begin(req, parent);
    return acting.fd >= 0 && faccessat(AT_FDCWD, acting.path.text, W_OK | X_OK, AT_EACCESS) == 0 &&
           fstat(acting.fd, &directory) == 0 &&
           (!(directory.st_mode & S_ISVTX) || uid == 0 || uid == directory.st_uid ||
            uid == file->st_uid);
}

/* As the records' owner, who may in `.migfs`, or as the daemon, who may everywhere or nowhere. */
static int rename_into(const struct context *context, int parent_fd, const char *name,
                       int directory, const char *to)
{
    {
        _cleanup_caller_ struct caller caller = record_directory_caller(context->records);

        if (caller.error == 0 && renameat(parent_fd, name, directory, to) == 0)
            return 0;
    }
    return renameat(parent_fd, name, directory, to) == 0 ? 0 : -errno;
}

static int link_into(const struct context *context, int fd, int directory, const char *to)
{
    const struct proc_path path = proc_path(fd);

    {
        _cleanup_caller_ struct caller caller = record_directory_caller(context->records);

        if (caller.error == 0 &&
            (linkat(AT_FDCWD, path.text, directory, to, AT_SYMLINK_FOLLOW) == 0 ||
             errno == EEXIST)) /* the number is the file's: it is this one */
            return 0;
    }
    return linkat(AT_FDCWD, path.text, directory, to, AT_SYMLINK_FOLLOW) == 0 || errno == EEXIST
               ? 0
               : -errno;
}

static int unlink_in(const struct context *context, int directory, const char *name)
{
    _cleanup_caller_ struct caller caller = record_directory_caller(context->records);

    if (caller.error != 0)
        return caller.error;
    return unlinkat(directory, name, 0) == 0 ? 0 : -errno;
}

/* Another host may have given the name to another file just before; that one is to go. */
static void remove_other(const struct context *context, const struct inode *inode, int directory,
                         const char *name)
{
    struct stat attributes;

    if (fstatat(directory, name, &attributes, AT_SYMLINK_NOFOLLOW) == 0 &&
        attributes.st_ino != inode->identity.ino && unlink_in(context, directory, name) != 0)
        log_warning("a removed file is left as %s/%s/removed/%s; remove it there when no guest "
                    "holds it",
                    context->options.source, RECORD_DIRECTORY, name);
}

static void wake(struct removed_watch *watch);

static void kept(struct removed *removed)
{
    atomic_store(&removed->inode->removal, REMOVAL_KEPT);
    log_notice("%s is removed while a guest holds it: it stays reachable as %s/%s/removed/%jx "
               "until no guest does",
               removed->name.text, removed->context->options.source, RECORD_DIRECTORY,
               (uintmax_t)removed->inode->identity.ino);
    wake(removed->context->removed_watch);
}

bool removed_move(fuse_req_t req, struct inode *parent, const char *name, struct removed *removed)
{
    struct context *context = removed->context;
    const struct record_name to = record_directory_name(removed->inode->identity.ino);
    struct stat file;
    int directory, error;

    if (inode_stat_at_server(context->inodes, removed->inode, &file) != 0 ||
        !may_remove(req, parent, &file))
        return false;
    _cleanup_pin_ struct inode_pin pin = inode_pin_scoped(context->inodes, parent);
    directory = record_directory_open_removed(context->records, true);
    if (pin.fd < 0 || directory < 0) {
        if (directory >= 0)
            close(directory);
        return false;
    }
    error = rename_into(context, pin.fd, name, directory, to.text);
    if (error == 0) {
        remove_other(context, removed->inode, directory, to.text);
        kept(removed);
    }
    close(directory);
    return error == 0;
}

void removed_link(struct removed *removed)
{
    struct context *context = removed->context;
    const struct record_name to = record_directory_name(removed->inode->identity.ino);
    _cleanup_pin_ struct inode_pin pin = inode_pin_scoped(context->inodes, removed->inode);
    const int directory = record_directory_open_removed(context->records, true);
    int error = directory < 0 ? directory : pin.fd < 0 ? pin.fd : 0;

    if (error == 0)
        error = link_into(context, pin.fd, directory, to.text);
    if (directory >= 0)
        close(directory);
    removed->is_linked = error == 0;
    if (error != 0)
        log_warning("%s is removed while a guest holds it, and cannot get another name in "
                    "%s/%s/removed: %s; whoever owns that directory must be allowed to",
                    removed->name.text, context->options.source, RECORD_DIRECTORY,
                    strerror(-error));
}

static void unlink_again(const struct removed *removed)
{
    const struct record_name name = record_directory_name(removed->inode->identity.ino);
    const int directory = record_directory_open_removed(removed->context->records, false);

    if (directory < 0)
        return; /* a second name of what has one: collected */
    (void)unlink_in(removed->context, directory, name.text);
    close(directory);
}

void removed_end(struct removed *removed, int error)
{
    if (!removed->inode)
        return;
    if (removed->is_linked && error == 0)
        kept(removed);
    else if (removed->is_linked)
        unlink_again(removed);
    inode_unref(removed->context->inodes, removed->inode);
    removed->inode = NULL;
}

/* ---- what others did ---- */

static bool is_in(const struct context *context, const struct inode *inode)
{
    const struct record_name name = record_directory_name(inode->identity.ino);
    const int directory = record_directory_open_removed(context->records, false);
    struct stat attributes;

    if (directory < 0)
        return false;
    _cleanup_caller_ struct caller caller = record_directory_caller(context->records);
    const bool found = caller.error == 0 &&
                       fstatat(directory, name.text, &attributes, AT_SYMLINK_NOFOLLOW) == 0 &&
                       attributes.st_ino == inode->identity.ino;
    close(directory);
    return found;
}

void removed_look(struct context *context, struct inode *inode)
{
    struct stat attributes;
    int error;

    if (!context->options.protect || atomic_load(&inode->removal) != REMOVAL_NONE)
        return;
    error = inode_stat_at_server(context->inodes, inode, &attributes);
    if (error != 0 && error != -ESTALE)
        return;
    if (error != 0 || attributes.st_nlink == 0) {
        atomic_store(&inode->removal, REMOVAL_GONE);
        say(context, inode,
            "it was removed on the store, and is there as long as its server keeps it");
    } else if (attributes.st_nlink == 1 && keeps(context) && record_file_is_kept(context, inode) &&
               is_in(context, inode)) {
        atomic_store(&inode->removal, REMOVAL_KEPT);
        say(context, inode, "another host removed it; it stays until no guest holds it");
    }
}

/* ---- collecting ---- */

static int is_that_one(struct inode *inode, void *data)
{
    return S_ISREG(inode->type) && inode->identity.ino == *(const ino_t *)data;
}

/* By the server's clock. */
struct look {
    struct context *context;
    int directory;
    time_t now;
    unsigned left;
};

static bool is_recorded_as_held(const struct look *look, const struct record *record,
                                const struct stat *attributes)
{
    if (record->state == RECORD_OWNED)
        return !is_dead(look->context, &record->host);
    return look->now - attributes->st_mtim.tv_sec < RELEASED_MOST_S;
}

static bool is_held_still(const struct look *look, ino_t ino, const struct stat *file)
{
    struct record_seen *seen;
    struct stat attributes;
    bool held;
    int error;

    if (inode_each_open(look->context->inodes, is_that_one, &ino) != 0)
        return true;
    seen = calloc(1, sizeof(*seen));
    if (!seen)
        return true;
    error = record_file_read_any(look->context, ino, seen, &attributes);
    if (error == 0 && seen->is_valid)
        held = is_recorded_as_held(look, &seen->record, &attributes);
    else
        held =
            (error != 0 && error != -ENOENT) || look->now - file->st_ctim.tv_sec < UNKNOWN_MOST_S;
    free(seen);
    return held;
}

static void look_at(struct look *look, const char *name)
{
    struct stat file;
    ino_t ino;
    int error;

    if (!record_directory_parse(name, &ino) ||
        fstatat(look->directory, name, &file, AT_SYMLINK_NOFOLLOW) != 0 || file.st_ino != ino)
        return; /* none of ours */
    if (is_held_still(look, ino, &file)) {
        look->left++;
        return;
    }
    error = unlink_in(look->context, look->directory, name);
    if (error == 0)
        log_info("%s/%s/removed/%s is gone: no guest holds it", look->context->options.source,
                 RECORD_DIRECTORY, name);
    else if (error != -ENOENT) /* another host was faster */
        log_warning("the removed file %s/%s/removed/%s cannot be collected: %s; remove it, "
                    "no guest holds it",
                    look->context->options.source, RECORD_DIRECTORY, name, strerror(-error));
}

static time_t server_now(const struct context *context, int directory)
{
    _cleanup_caller_ struct caller caller = record_directory_caller(context->records);
    struct stat attributes;

    if (caller.error == 0 && futimens(directory, NULL) == 0 && fstat(directory, &attributes) == 0)
        return attributes.st_mtim.tv_sec;
    return time(NULL); /* a store that is read-only, where nothing can be collected either */
}

void removed_collect(struct context *context)
{
    const int fd = keeps(context) ? record_directory_open_removed(context->records, false) : -1;
    DIR *listing = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *entry;

    if (!listing) {
        if (fd >= 0)
            close(fd);
        return;
    }
    struct look look = {.context = context, .directory = fd, .now = server_now(context, fd)};
    while ((entry = readdir(listing)) != NULL)
        look_at(&look, entry->d_name);
    closedir(listing);
    if (look.left > 0)
        wake(context->removed_watch);
}

/* ---- the watch ---- */

struct removed_watch {
    struct watch_thread thread;
    struct context *context;

    /* its mutex: */
    bool is_wanted; /* something is kept */
};

static void wake(struct removed_watch *watch)
{
    watch_thread_tell(&watch->thread, &watch->is_wanted);
}

static void run_collect(struct context *context, struct job *job)
{
    removed_collect(context);
    pool_finish(context->pool, job);
}

static void job_free(struct job *job)
{
    free(job);
}

static void submit_collect(struct context *context)
{
    struct job *job = calloc(1, sizeof(*job));

    if (!job) {
        wake(context->removed_watch); /* the next round */
        return;
    }
    *job = (struct job){
        .inode = inode_find(context->inodes, FUSE_ROOT_ID), .run = run_collect, .free = job_free};
    pool_submit(context->pool, job);
}

/* With the mutex held. Whether a round is due, rather than the end. */
static bool wait_round(struct removed_watch *watch)
{
    struct timespec until;
    int error = 0;

    while (!watch->is_wanted && !watch->thread.is_ending)
        pthread_cond_wait(&watch->thread.changed, &watch->thread.mutex);
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += LOOK_AGAIN_S;
    while (!watch->thread.is_ending && error == 0)
        error = pthread_cond_timedwait(&watch->thread.changed, &watch->thread.mutex, &until);
    watch->is_wanted = false;
    return !watch->thread.is_ending;
}

static void *watch_run(void *data)
{
    struct removed_watch *watch = data;

    pthread_mutex_lock(&watch->thread.mutex);
    while (wait_round(watch)) {
        pthread_mutex_unlock(&watch->thread.mutex);
        submit_collect(watch->context);
        pthread_mutex_lock(&watch->thread.mutex);
    }
    pthread_mutex_unlock(&watch->thread.mutex);
    return NULL;
}

struct removed_watch *removed_watch_new(struct context *context)
{
    struct removed_watch *watch = calloc(1, sizeof(*watch));

    if (!watch)
        return NULL;
    watch->context = context;
    watch_thread_init(&watch->thread);
    return watch;
}

int removed_watch_start(struct removed_watch *watch)
{
    if (!keeps(watch->context))
        return 0;
    return watch_thread_start(&watch->thread, "migfs-removed", watch_run, watch);
}

void removed_watch_stop(struct removed_watch *watch)
{
    if (watch)
        watch_thread_stop(&watch->thread);
}

void removed_watch_free(struct removed_watch *watch)
{
    if (!watch)
        return;
    watch_thread_deinit(&watch->thread);
    free(watch);
}
