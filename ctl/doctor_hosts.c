/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The other hosts that serve the same store, by their beacons: whether they are there, of one
 * version, with options that agree, and with clocks that do. Times are the store's, which all see
 * alike: it gives each beacon its mtime.
 */
#include "doctor.h"
#include "record_owner.h"

#include "cache/beacon.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS INT64_C(1000000000)
/* Clocks that follow the same time are nearer, also by a store whose times are coarse. */
#define CLOCK_MOST_NS SECOND_NS
/* A doctor that was not killed has removed its files long before. */
#define LEFT_NS (600 * SECOND_NS)

struct hosts {
    struct doctor *doctor;
    const struct subject *subject;
    int64_t server_ns; /* the store's clock, now */
    int64_t own_ns;    /* how far this host's clock is ahead of it */
    struct beacon *beacons;
    int64_t *written_ns; /* by the store's clock, of each */
    size_t count;
    unsigned said;
};

/* ---- reading ---- */

static int64_t mtime_of(const struct stat *attributes)
{
    return attributes->st_mtim.tv_sec * SECOND_NS + attributes->st_mtim.tv_nsec;
}

/* Writes a file as a beacon is written, to learn what time the store has. 0 or a positive errno. */
static int ask_clock(struct hosts *hosts, int directory_fd)
{
    const struct scratch_name name = scratch_name();
    struct timespec now;
    struct stat attributes;
    int error = 0;
    const int fd = openat(directory_fd, name.text, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0)
        return errno;
    clock_gettime(CLOCK_REALTIME, &now); /* cannot fail */
    if (pwrite(fd, "?", 1, 0) != 1 || fsync(fd) != 0 || fstat(fd, &attributes) != 0)
        error = errno;
    (void)close(fd);                            /* synchronised */
    (void)unlinkat(directory_fd, name.text, 0); /* or it goes as a beacon that is over */
    if (error != 0)
        return error;
    hosts->server_ns = mtime_of(&attributes);
    hosts->own_ns = now.tv_sec * SECOND_NS + now.tv_nsec - hosts->server_ns;
    return 0;
}

static bool add(struct hosts *hosts, const struct beacon *beacon, int64_t written_ns)
{
    struct beacon *beacons =
        reallocarray(hosts->beacons, hosts->count + 1, sizeof(*hosts->beacons));
    int64_t *times;

    if (beacons == NULL)
        return false;
    hosts->beacons = beacons;
    times = reallocarray(hosts->written_ns, hosts->count + 1, sizeof(*times));
    if (times == NULL)
        return false;
    hosts->written_ns = times;
    beacons[hosts->count] = *beacon;
    times[hosts->count++] = written_ns;
    return true;
}

static void read_one(struct hosts *hosts, int directory_fd, const char *name)
{
    uint8_t bytes[BEACON_BYTES + 1];
    struct stat attributes;
    struct beacon beacon;
    enum beacon_verdict verdict;
    const int fd = openat(directory_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0)
        return; /* its mount has ended meanwhile */
    const ssize_t count = pread(fd, bytes, sizeof(bytes), 0);
    const bool is_read = count >= 0 && fstat(fd, &attributes) == 0;

    (void)close(fd); /* read only */
    if (!is_read)
        return;
    verdict = beacon_decode(bytes, (size_t)count, &beacon);
    if (verdict == BEACON_DAMAGED && scratch_is_file(name, attributes.st_size) &&
        hosts->server_ns - mtime_of(&attributes) > LEFT_NS)
        (void)unlinkat(directory_fd, name, 0); /* else the next one does */
    if (verdict == BEACON_VALID && !add(hosts, &beacon, mtime_of(&attributes))) {
        doctor_say(hosts->doctor, COLOUR_YELLOW, "try again", "out of memory: %s is not judged",
                   name);
        hosts->said++;
    }
    if (verdict != BEACON_FUTURE)
        return; /* a damaged one may be one that is just being made */
    doctor_say(hosts->doctor, COLOUR_YELLOW, "install the same version on all hosts",
               "a host serves this store by a newer migfs: its beacon %s is not understood", name);
    hosts->said++;
}

/* 0 or a positive errno. */
static int read_all(struct hosts *hosts, int directory_fd)
{
    const int fd = openat(directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *listing = fd >= 0 ? fdopendir(fd) : NULL;

    if (listing == NULL)
        return errno;
    for (const struct dirent *entry = readdir(listing); entry != NULL; entry = readdir(listing)) {
        if (beacon_is_name(entry->d_name))
            read_one(hosts, directory_fd, entry->d_name);
    }
    (void)closedir(listing); /* read only */
    return 0;
}

/* ---- judging ---- */

static int64_t age_of(const struct hosts *hosts, size_t i)
{
    return hosts->server_ns - hosts->written_ns[i];
}

static bool is_fresh(const struct hosts *hosts, size_t i)
{
    return beacon_is_fresh(&hosts->beacons[i], age_of(hosts, i));
}

static bool same_machine(const struct beacon *a, const struct beacon *b)
{
    static const uint8_t unknown[sizeof(a->host.machine_id)] = {0};

    return memcmp(a->host.machine_id, b->host.machine_id, sizeof(unknown)) == 0 &&
           memcmp(a->host.machine_id, unknown, sizeof(unknown)) != 0;
}

/* One that was left by a mount before, of a host that serves again. */
static bool is_followed(const struct hosts *hosts, size_t i)
{
    for (size_t j = 0; j < hosts->count; j++) {
        if (j != i && is_fresh(hosts, j) && same_machine(&hosts->beacons[i], &hosts->beacons[j]))
            return true;
    }
    return false;
}

static void say_vanished(struct hosts *hosts, size_t i)
{
    doctor_say(hosts->doctor, COLOUR_YELLOW,
               "see to that host; mounting there again, or a week, removes the beacon",
               "%s vanished %jd s ago without unmounting: it failed, or cannot reach the store",
               hosts->beacons[i].host.name, (intmax_t)(age_of(hosts, i) / SECOND_NS));
    hosts->said++;
}

/* The last value of an option among those that were given. */
static void option_value(const char *options, const char *name, const char *absent, char *value,
                         size_t size)
{
    const size_t length = strlen(name);

    (void)snprintf(value, size, "%s", absent); /* what is too long is cut */
    while (*options != '\0') {
        const size_t word = strcspn(options, ",");

        if (strncmp(options, name, length) == 0)
            (void)snprintf(value, size, "%.*s", (int)(word - length), options + length);
        options += word + (options[word] == ',');
    }
}

static const struct {
    const char *name, *absent;
    const char *unsafe; /* a value that is a danger to the others, whatever they have */
} agreed[] = {
    {"io=", "daemon", "passthrough"},
    {"profile=", "auto", NULL},
    {"fence=", "release", "off"},
};

static bool options_differ(struct hosts *hosts, const struct beacon *beacon)
{
    bool differ = false;

    for (size_t i = 0; i < sizeof(agreed) / sizeof(agreed[0]); i++) {
        char theirs[32], ours[32];

        option_value(beacon->options, agreed[i].name, agreed[i].absent, theirs, sizeof(theirs));
        option_value(hosts->subject->has_mount ? hosts->subject->mount.options : "", agreed[i].name,
                     agreed[i].absent, ours, sizeof(ours));
        const bool is_unsafe = agreed[i].unsafe != NULL && strcmp(theirs, agreed[i].unsafe) == 0;

        if (!is_unsafe && (!hosts->subject->has_mount || strcmp(theirs, ours) == 0))
            continue;
        doctor_say(hosts->doctor, COLOUR_YELLOW, "mount with the same options on all hosts",
                   "%s serves with %s%s%s", beacon->host.name, agreed[i].name, theirs,
                   is_unsafe ? ": it is not stopped from writing what it lost" : "");
        differ = true;
    }
    return differ;
}

static bool clock_differs(struct hosts *hosts, size_t i)
{
    const struct beacon *beacon = &hosts->beacons[i];
    const int64_t ahead_ns = beacon->time_ns - hosts->written_ns[i] - hosts->own_ns;

    if (llabs(ahead_ns) <= CLOCK_MOST_NS)
        return false;
    doctor_say(hosts->doctor, COLOUR_YELLOW, "run chrony or systemd-timesyncd on all hosts",
               "the clock of %s is %.1f s %s this one's: histories and logs do not line up",
               beacon->host.name, (double)llabs(ahead_ns) / 1e9,
               ahead_ns > 0 ? "ahead of" : "behind");
    return true;
}

static bool version_differs(struct hosts *hosts, const struct beacon *beacon)
{
    const char *own =
        hosts->subject->has_mount ? hosts->subject->mount.release : MIGFS_VERSION_TEXT;

    if (strcmp(beacon->version, own) == 0)
        return false;
    doctor_say(hosts->doctor, COLOUR_YELLOW, "install the same version on all hosts",
               "%s serves with migfs %s, this host has %s", beacon->host.name, beacon->version,
               own);
    return true;
}

/* A machine that crashed and serves again has the beacon of its last boot, too, which stays fresh
 * for a while: that was written last before the other one mounted. */
static bool overlap(const struct beacon *a, const struct beacon *b)
{
    const bool a_is_first = a->mounted_ns <= b->mounted_ns;
    const struct beacon *first = a_is_first ? a : b, *second = a_is_first ? b : a;

    return first->time_ns >= second->mounted_ns;
}

static bool is_cloned(struct hosts *hosts, size_t i)
{
    const struct beacon *beacon = &hosts->beacons[i];

    for (size_t j = 0; j < i; j++) {
        const struct beacon *other = &hosts->beacons[j];

        if (!is_fresh(hosts, j) || !same_machine(beacon, other) ||
            memcmp(beacon->host.boot_id, other->host.boot_id, sizeof(other->host.boot_id)) == 0 ||
            !overlap(beacon, other))
            continue;
        doctor_say(hosts->doctor, COLOUR_RED,
                   "give one of them another: rm /etc/machine-id, systemd-machine-id-setup, reboot",
                   "%s and %s have the same /etc/machine-id: libvirt and NFS may take them for one "
                   "host",
                   other->host.name, beacon->host.name);
        return true;
    }
    return false;
}

static void judge(struct hosts *hosts, size_t i)
{
    const struct beacon *beacon = &hosts->beacons[i];
    const bool is_own =
        hosts->subject->has_mount && beacon->host.instance == hosts->subject->mount.instance;

    if (!is_fresh(hosts, i)) {
        if (!is_own && !is_followed(hosts, i))
            say_vanished(hosts, i);
        return;
    }
    /* Each of them is said. */
    const bool wrong = is_cloned(hosts, i);

    if (is_own)
        return;
    const bool differs = version_differs(hosts, beacon);
    const bool disagrees = options_differ(hosts, beacon);
    const bool is_late = clock_differs(hosts, i);

    hosts->said++;
    if (!wrong && !differs && !disagrees && !is_late)
        doctor_say(hosts->doctor, COLOUR_GREEN, NULL, "%s serves with migfs %s; options: %s",
                   beacon->host.name, beacon->version,
                   beacon->options[0] != '\0' ? beacon->options : "the defaults");
}

static void say_own_clock(struct hosts *hosts)
{
    if (llabs(hosts->own_ns) <= CLOCK_MOST_NS)
        return;
    doctor_say(hosts->doctor, COLOUR_YELLOW,
               "run chrony or systemd-timesyncd here and on the server",
               "this host's clock is %.1f s %s the store's", (double)llabs(hosts->own_ns) / 1e9,
               hosts->own_ns > 0 ? "ahead of" : "behind");
    hosts->said++;
}

static void say_missing_beacon(struct hosts *hosts)
{
    const struct subject *subject = hosts->subject;

    if (!subject->has_mount || (subject->mount.flags & MIGFS_MOUNT_RECORDS) == 0)
        return;
    for (size_t i = 0; i < hosts->count; i++) {
        if (hosts->beacons[i].host.instance == subject->mount.instance && is_fresh(hosts, i))
            return;
    }
    doctor_say(hosts->doctor, COLOUR_YELLOW, "look at the log of migfs, and see `records`",
               "this mount's own beacon is not there: other hosts do not know of it");
    hosts->said++;
}

static int collect(struct hosts *hosts, const struct record_owner *owner)
{
    const char *below;
    int error, fd;

    if (!owner->exists) /* nobody is there, and no file is made where nobody would remove it */
        return 0;
    error = record_owner_begin(owner);
    if (error != 0)
        return error;
    fd = record_owner_scratch(hosts->subject->source_fd, owner, &below);
    error = fd < 0 ? -fd : ask_clock(hosts, fd);
    if (error == 0)
        error = read_all(hosts, fd);
    if (fd >= 0)
        (void)close(fd); /* a directory */
    record_owner_end();
    return error;
}

void doctor_hosts(struct doctor *doctor, const struct subject *subject)
{
    const struct record_owner owner = record_owner_of(subject->source_fd);
    struct hosts hosts = {.doctor = doctor, .subject = subject};
    const int error = owner.error != 0 ? owner.error : collect(&hosts, &owner);

    if (error != 0) {
        doctor_say(doctor, COLOUR_YELLOW,
                   geteuid() == 0 ? "see `records`" : "run migfsctl doctor as root",
                   "the other hosts are not known: %s/" RECORD_DIRECTORY "/" HOSTS_DIRECTORY ": %s",
                   subject->source, strerror(error));
    } else {
        say_own_clock(&hosts);
        say_missing_beacon(&hosts);
        for (size_t i = 0; i < hosts.count; i++)
            judge(&hosts, i);
        if (hosts.said == 0)
            doctor_say(doctor, COLOUR_GREEN, NULL, "no other host serves this store by migfs");
    }
    free(hosts.beacons);
    free(hosts.written_ns);
}
