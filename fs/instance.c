/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "instance.h"

#include "batch.h"
#include "beacon_file.h"
#include "events.h"
#include "file_name.h"
#include "guard.h"
#include "handle.h"
#include "lease.h"
#include "lock.h"
#include "lock_wait.h"
#include "log.h"
#include "names.h"
#include "pages.h"
#include "pool.h"
#include "record_collect.h"
#include "record_file.h"
#include "removed.h"
#include "stats.h"
#include "transition.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

/* Transitions of so many files run side by side. */
#define POOL_THREADS 16

/* ---- who this host is ---- */

static int nibble(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* 16 bytes in hex, with or without dashes; what is missing stays zero, and matches only itself. */
static void read_id(const char *path, uint8_t *id)
{
    FILE *file = fopen(path, "re");
    int c, digits = 0;

    while (file && digits < 32 && (c = fgetc(file)) != EOF) {
        const int value = nibble((char)c);

        if (value < 0)
            continue;
        id[digits / 2] = (uint8_t)(id[digits / 2] | value << (digits % 2 ? 0 : 4));
        digits++;
    }
    if (file)
        fclose(file);
}

static int identify(struct record_host *host)
{
    read_id("/etc/machine-id", host->machine_id);
    read_id("/proc/sys/kernel/random/boot_id", host->boot_id);
    if (gethostname(host->name, sizeof(host->name) - 1) != 0)
        return -errno;
    return getrandom(&host->instance, sizeof(host->instance), 0) == sizeof(host->instance) ? 0
                                                                                           : -errno;
}

/* ---- the tables ---- */

int instance_init(struct context *context)
{
    int error = identify(&context->host);

    if (error == 0)
        error = lock_wait_init();
    if (error == 0) {
        context->inodes = inode_table_new(context->source_fd);
        error = context->inodes ? 0 : -errno;
    }
    if (error == 0) {
        context->handles = handle_table_new();
        context->locks = lock_table_new();
        context->events = events_new();
        context->own_opens = own_opens_new();
        context->stats = stats_new();
        context->watch = guard_watch_new(context);
        context->removed_watch = removed_watch_new(context);
        context->pool = pool_new(context, POOL_THREADS);
        context->batch_rooms = batch_rooms_new();
        if (!context->handles || !context->locks || !context->events || !context->own_opens ||
            !context->stats || !context->watch || !context->removed_watch || !context->pool ||
            !context->batch_rooms)
            error = -ENOMEM;
    }
    if (error == 0)
        error = record_directory_open(context, &context->records);
    if (error == 0)
        names_find_hidden(context);
    if (error != 0) {
        log_error("SOURCE '%s' cannot be served: %s; see the lines before, and free memory where "
                  "it is short",
                  context->options.source, strerror(-error));
        instance_deinit(context);
    }
    return error;
}

int instance_start(struct context *context)
{
    struct timespec now;
    int error = pool_start(context->pool);

    clock_gettime(CLOCK_REALTIME, &now); /* cannot fail */
    context->mounted_ns = now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
    context->lease_ms = lease_ms(context->source_fd);
    if (error == 0)
        error = guard_watch_start(context->watch);
    if (error == 0)
        error = removed_watch_start(context->removed_watch);
    if (error != 0)
        log_error("threads cannot be started: %s; raise TasksMax= of the unit, or ulimit -u and -v "
                  "of who mounts",
                  strerror(-error));
    else
        record_collect(context);
    if (error == 0)
        context->beacon = beacon_file_start(context);
    return error;
}

/* The kernel has gone with files open: no close of theirs comes any more. */
static int abandon(struct inode *inode, void *data)
{
    lock_last_close(data, inode);
    record_file_close(inode);
    return 0;
}

void instance_deinit(struct context *context)
{
    if (context->events)
        events_stop(context->events);
    if (context->locks)
        lock_wait_end_all(context);
    const bool uses_records = beacon_file_stop(context->beacon);
    context->beacon = NULL;
    guard_watch_stop(context->watch);
    removed_watch_stop(context->removed_watch);
    pool_stop(context->pool);
    if (context->inodes)
        (void)inode_each_open(context->inodes, abandon, context); /* short of memory: exit frees */
    if (!uses_records)
        record_directory_close(context->records);
    handle_table_free(context->handles);
    inode_table_free(context->inodes);
    lock_table_free(context->locks);
    events_free(context->events);
    own_opens_free(context->own_opens);
    stats_free(context->stats);
    guard_watch_free(context->watch);
    removed_watch_free(context->removed_watch);
    pool_free(context->pool);
    batch_rooms_free(context->batch_rooms);
    context->records = NULL;
    context->record_inode = NULL; /* freed with the table */
    context->handles = NULL;
    context->inodes = NULL;
    context->locks = NULL;
    context->events = NULL;
    context->own_opens = NULL;
    context->stats = NULL;
    context->watch = NULL;
    context->removed_watch = NULL;
    context->pool = NULL;
    context->batch_rooms = NULL;
}

/* ---- releasing all ---- */

/* Shared by who waits and the releases; the last of them frees it. */
struct releases {
    pthread_mutex_t mutex;
    pthread_cond_t done;
    unsigned pending; /* releases under way, and one for who waits */
    unsigned open_files;
    unsigned deadline_ms;
    struct context *context;
};

static void releases_put(struct releases *releases)
{
    pthread_mutex_lock(&releases->mutex);
    const bool is_last = --releases->pending == 0;
    pthread_cond_broadcast(&releases->done);
    pthread_mutex_unlock(&releases->mutex);
    if (!is_last)
        return;
    pthread_cond_destroy(&releases->done);
    pthread_mutex_destroy(&releases->mutex);
    free(releases);
}

static void released(struct context *context, struct inode *inode, int error, void *data)
{
    if (error != 0)
        log_error("%s was not handed over at the unmount: %s; check the image before a guest "
                  "starts from it",
                  file_name(context, inode).text, strerror(-error));
    inode_unref(context->inodes, inode);
    releases_put(data);
}

static int release_one(struct inode *inode, void *data)
{
    struct releases *releases = data;
    struct context *context = releases->context;

    if (!S_ISREG(inode->type))
        return 0;
    log_warning("%s is still open here: whoever has it open loses it now; end guests before an "
                "unmount",
                file_name(context, inode).text);
    pthread_mutex_lock(&inode->mutex);
    const bool owns =
        owner_state(&inode->owner) == OWNER_OWNER || owner_state(&inode->owner) == OWNER_SHARED;
    pthread_mutex_unlock(&inode->mutex);

    pthread_mutex_lock(&releases->mutex);
    releases->open_files++;
    releases->pending += owns;
    pthread_mutex_unlock(&releases->mutex);
    if (!owns)
        return 0;
    inode_ref(context->inodes, inode);
    transition_release(context, inode, releases->deadline_ms, released, releases);
    return 0;
}

unsigned instance_release_all(struct context *context)
{
    struct releases *releases = calloc(1, sizeof(*releases));
    unsigned open_files;

    if (!releases)
        return 0;
    pthread_mutex_init(&releases->mutex, NULL);
    pthread_cond_init(&releases->done, NULL);
    releases->pending = 1;
    releases->deadline_ms = context->options.deadline_ms;
    releases->context = context;
    (void)inode_each_open(context->inodes, release_one, releases); /* short of memory: none */

    /* Each release ends: by itself, or by its deadline. */
    pthread_mutex_lock(&releases->mutex);
    while (releases->pending > 1)
        pthread_cond_wait(&releases->done, &releases->mutex);
    open_files = releases->open_files;
    pthread_mutex_unlock(&releases->mutex);
    releases_put(releases);
    return open_files;
}
