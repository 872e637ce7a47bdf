/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "beacon_file.h"

#include "cache/beacon.h"
#include "fault.h"
#include "log.h"
#include "pool.h"
#include "record_directory.h"
#include "watch_thread.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PERIOD_S 60
/* Others' beacons are looked through at the first write, and at each of this number. */
#define COLLECT_WRITES 60
/* For the store to answer at the end. */
#define STOP_NS (INT64_C(2) * 1000000000)
#define SECOND_NS INT64_C(1000000000)
/* A store's times are those of its kernel's ticks, 100 a second at the fewest. */
#define TICK_NS INT64_C(10000000)

struct beacon_file {
    struct context *context; /* until it is ending; the mutex */
    struct record_directory *directory;
    struct beacon beacon; /* the thread's own */
    struct beacon_name name;
    unsigned writes;
    bool is_said; /* that one failed */
    struct watch_thread watch;

    /* its mutex: */
    bool has_ended; /* the thread touches nothing any more but this structure */
};

static int64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now); /* neither clock can fail */
    return now.tv_sec * SECOND_NS + now.tv_nsec;
}

static int64_t written_ns(int fd)
{
    struct stat attributes;

    if (fstat(fd, &attributes) != 0)
        return -1;
    return attributes.st_mtim.tv_sec * SECOND_NS + attributes.st_mtim.tv_nsec;
}

/* ---- this mount's ---- */

static int write_and_close(int fd, const uint8_t *bytes)
{
    const ssize_t count = pwrite(fd, bytes, BEACON_BYTES, 0);
    int error = count == BEACON_BYTES ? 0 : count < 0 ? -errno : -ENOSPC;

    if (close(fd) != 0 && error == 0)
        error = -errno;
    return error;
}

/* With one write and no truncation: who reads it meanwhile has the one before. */
static int write_beacon(struct beacon_file *file)
{
    uint8_t bytes[BEACON_BYTES];
    const int fd =
        record_directory_open_beacon(file->directory, file->name.text, O_WRONLY | O_CREAT);

    if (fd < 0)
        return fd;
    file->beacon.time_ns = clock_ns(CLOCK_REALTIME);
    beacon_encode(&file->beacon, bytes);
    return write_and_close(fd, bytes);
}

/* The server's clock now, as far as the beacon that was just written tells; or -1. */
static int64_t server_ns(const struct beacon_file *file)
{
    const int fd = record_directory_open_beacon(file->directory, file->name.text, O_RDONLY);
    const int64_t now_ns = fd >= 0 ? written_ns(fd) : -1;

    if (fd >= 0)
        close(fd);
    return now_ns;
}

/* The store's time of a write lies between its begin and its end. */
static void note_clock(struct beacon_file *file)
{
    const int64_t began_ns = file->beacon.time_ns, ended_ns = clock_ns(CLOCK_REALTIME);
    const int64_t server_time_ns = server_ns(file);

    if (server_time_ns < 0)
        return;
    pthread_mutex_lock(&file->watch.mutex);
    if (!file->watch.is_ending) {
        const int64_t half_ns = (ended_ns - began_ns) / 2;

        atomic_store(&file->context->clock_ahead_ns, began_ns + half_ns - server_time_ns);
        atomic_store(&file->context->clock_unsure_ns, llabs(half_ns) + TICK_NS);
    }
    pthread_mutex_unlock(&file->watch.mutex);
}

/* ---- those of others ---- */

static bool is_over(const struct beacon_file *file, const char *name, int64_t now_ns)
{
    uint8_t bytes[BEACON_BYTES + 1];
    struct beacon other;
    const int fd = record_directory_open_beacon(file->directory, name, O_RDONLY);

    if (fd < 0)
        return false;
    const ssize_t count = pread(fd, bytes, sizeof(bytes), 0);
    const int64_t age_ns = now_ns - written_ns(fd);
    close(fd);
    if (count < 0 || age_ns > now_ns)
        return false;
    if (beacon_decode(bytes, (size_t)count, &other) != BEACON_VALID)
        return age_ns > BEACON_KEPT_S * SECOND_NS;
    return beacon_is_over(&file->beacon.host, &other, age_ns);
}

static void collect(const struct beacon_file *file)
{
    DIR *listing = record_directory_list_beacons(file->directory);
    const int64_t now_ns = server_ns(file);
    const struct dirent *entry;

    while (listing && now_ns >= 0 && (entry = readdir(listing)) != NULL) {
        if (beacon_is_name(entry->d_name) && is_over(file, entry->d_name, now_ns))
            (void)record_directory_remove_beacon(file->directory, entry->d_name); /* next time */
    }
    if (listing)
        closedir(listing);
}

/* ---- the thread ---- */

static void write_once(struct beacon_file *file)
{
    const int error = write_beacon(file);

    if (error != 0 && !file->is_said)
        log_warning("this host's beacon cannot be written, so migfsctl doctor on other hosts does "
                    "not know of it: %s/%s/hosts/%s: %s; see migfsctl doctor here",
                    file->context->options.source, RECORD_DIRECTORY, file->name.text,
                    strerror(-error));
    file->is_said = error != 0;
    if (error == 0)
        note_clock(file);
    if (error == 0 && file->writes++ % COLLECT_WRITES == 0)
        collect(file);
}

static bool wait_period(struct beacon_file *file)
{
    const int64_t due_ns = pool_now_ns() + fault_beacon_period_ns(PERIOD_S * SECOND_NS);
    const struct timespec due = {.tv_sec = due_ns / SECOND_NS, .tv_nsec = due_ns % SECOND_NS};
    int error = 0;

    pthread_mutex_lock(&file->watch.mutex);
    while (!file->watch.is_ending && error != ETIMEDOUT)
        error = pthread_cond_timedwait(&file->watch.changed, &file->watch.mutex, &due);
    const bool goes_on = !file->watch.is_ending;
    pthread_mutex_unlock(&file->watch.mutex);
    return goes_on;
}

static void *run(void *data)
{
    struct beacon_file *file = data;

    do
        write_once(file);
    while (wait_period(file));
    (void)record_directory_remove_beacon(file->directory, file->name.text); /* it ages out */
    watch_thread_tell(&file->watch, &file->has_ended);
    return NULL;
}

static void describe(struct beacon_file *file, struct context *context)
{
    const char *options = context->options.own_words;

    file->context = context;
    file->directory = context->records;
    file->beacon = (struct beacon){.host = context->host,
                                   .period_s = PERIOD_S,
                                   .mounted_ns = context->mounted_ns,
                                   .version = MIGFS_VERSION_TEXT};
    if (options)
        strncpy(file->beacon.options, options, sizeof(file->beacon.options) - 1);
    file->name = beacon_name(&context->host);
}

static void file_free(struct beacon_file *file)
{
    watch_thread_deinit(&file->watch);
    free(file);
}

struct beacon_file *beacon_file_start(struct context *context)
{
    struct beacon_file *file = context->records ? calloc(1, sizeof(*file)) : NULL;

    if (!file)
        return NULL;
    watch_thread_init(&file->watch);
    describe(file, context);
    const int error = watch_thread_start(&file->watch, "migfs-beacon", run, file);
    if (error == 0)
        return file;
    log_warning("no thread for this host's beacon, so migfsctl doctor on other hosts does not know "
                "of it: %s; raise TasksMax= of the unit, and mount anew",
                strerror(-error));
    file_free(file);
    return NULL;
}

bool beacon_file_stop(struct beacon_file *file)
{
    int error = 0;

    if (!file)
        return false;
    const int64_t due_ns = pool_now_ns() + STOP_NS;
    const struct timespec due = {.tv_sec = due_ns / SECOND_NS, .tv_nsec = due_ns % SECOND_NS};
    watch_thread_tell(&file->watch, &file->watch.is_ending);
    pthread_mutex_lock(&file->watch.mutex);
    while (!file->has_ended && error != ETIMEDOUT)
        error = pthread_cond_timedwait(&file->watch.changed, &file->watch.mutex, &due);
    const bool has_ended = file->has_ended;
    pthread_mutex_unlock(&file->watch.mutex);
    if (!has_ended) {
        pthread_detach(file->watch.thread);
        return true;
    }
    watch_thread_stop(&file->watch);
    file_free(file);
    return false;
}
