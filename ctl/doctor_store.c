/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What SOURCE lies on: its filesystem, the options of an NFS mount that break locks or coherence,
 * the lease, and what the client does when it is over.
 */
#include "doctor.h"
#include "small_file.h"

#include <stdlib.h>
#include <string.h>

static bool is_one_of(const char *word, const char *const *words)
{
    for (; *words != NULL; words++) {
        if (strcmp(word, *words) == 0)
            return true;
    }
    return false;
}

static bool option_is(const struct mount_entry *entry, const char *name, const char *value)
{
    size_t length;
    const char *given = mount_entry_option(entry, name, &length);

    return given != NULL && length == strlen(value) && strncmp(given, value, length) == 0;
}

/* ---- the filesystem ---- */

static void say_other(struct doctor *doctor, const struct mount_entry *store)
{
    static const char *const local[] = {"ext2", "ext3",  "ext4",    "xfs",      "btrfs", "f2fs",
                                        "zfs",  "tmpfs", "overlay", "bcachefs", NULL};

    if (is_one_of(store->type, local))
        doctor_say(doctor, COLOUR_YELLOW, "serve a directory that all hosts share, as on NFS 4.2",
                   "%s at %s is of this host alone: no other one sees its images", store->type,
                   store->mountpoint);
    else
        doctor_say(
            doctor, COLOUR_YELLOW,
            "see that its locks are kept at the server, and that O_DIRECT reads come from it",
            "%s at %s is not NFS: what it promises cannot be examined", store->type,
            store->mountpoint);
}

void doctor_store(struct doctor *doctor, const struct subject *subject)
{
    const struct mount_entry *store = &subject->store;
    size_t length = 0;
    const char *version = mount_entry_option(store, "vers", &length);

    if (mount_entry_has(store, "ro"))
        doctor_say(doctor, COLOUR_RED, "mount it with rw",
                   "%s at %s is read-only: neither images nor records can be written",
                   store->source, store->mountpoint);
    if (subject->nfs_version == 0)
        say_other(doctor, store);
    else if (subject->nfs_version < 4)
        doctor_say(
            doctor, COLOUR_YELLOW, "mount it with vers=4.2",
            "%s is NFS %u: its server does not stop the writes of a host that lost its locks",
            store->source, subject->nfs_version);
    else
        doctor_say(doctor, COLOUR_GREEN, NULL, "%s is NFS %.*s", store->source, (int)length,
                   version != NULL ? version : "");
}

/* ---- its options ---- */

enum {
    CACHED_S = 60, /* the default of acregmax and acdirmax, nfs(5) */
};

static const struct rule {
    const char *option;
    const char *value; /* NULL: any */
    enum colour colour;
    const char *what;
    const char *mend;
} rules[] = {
    {"nolock", NULL, COLOUR_RED, "locks stay on this host: two hosts may own an image at once",
     "mount the store without nolock"},
    {"local_lock", "all", COLOUR_RED, "locks stay on this host: two hosts may own an image at once",
     "mount the store with local_lock=none"},
    {"local_lock", "posix", COLOUR_RED,
     "locks stay on this host: two hosts may own an image at once",
     "mount the store with local_lock=none"},
    {"local_lock", "flock", COLOUR_RED,
     "flock locks stay on this host: with profile=flock two hosts may own an image at once",
     "mount the store with local_lock=none"},
    {"nocto", NULL, COLOUR_RED,
     "an open does not ask the server: records and images of other hosts are read stale",
     "mount the store without nocto"},
    {"soft", NULL, COLOUR_RED,
     "a server that is slow gives guests write errors, and may lose their data",
     "mount the store with hard"},
    {"softerr", NULL, COLOUR_RED,
     "a server that is slow gives guests write errors, and may lose their data",
     "mount the store with hard"},
    {"sec", "krb5", COLOUR_YELLOW,
     "migfs has no Kerberos credentials of its callers: they may be refused",
     "use sec=sys on a network of the hosts' own"},
    {"sec", "krb5i", COLOUR_YELLOW,
     "migfs has no Kerberos credentials of its callers: they may be refused",
     "use sec=sys on a network of the hosts' own"},
    {"sec", "krb5p", COLOUR_YELLOW,
     "migfs has no Kerberos credentials of its callers: they may be refused",
     "use sec=sys on a network of the hosts' own"},
};

static unsigned say_rules(struct doctor *doctor, const struct mount_entry *store)
{
    unsigned said = 0;

    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        const struct rule *rule = &rules[i];

        if (rule->value != NULL ? !option_is(store, rule->option, rule->value)
                                : !mount_entry_has(store, rule->option))
            continue;
        doctor_say(doctor, rule->colour, rule->mend, "%s%s%s: %s", rule->option,
                   rule->value != NULL ? "=" : "", rule->value != NULL ? rule->value : "",
                   rule->what);
        said++;
    }
    return said;
}

static unsigned long seconds_of(const struct mount_entry *store, const char *name)
{
    size_t length;
    const char *value = mount_entry_option(store, name, &length);

    return value != NULL ? strtoul(value, NULL, 10) : CACHED_S;
}

/* The longest time that attributes, and names by them, are believed. What is not shown is the
 * default; actimeo= shows as all four. */
static unsigned say_times(struct doctor *doctor, const struct mount_entry *store)
{
    static const char *const names[] = {"acregmin", "acregmax", "acdirmin", "acdirmax"};
    unsigned said = 0;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const unsigned long seconds = seconds_of(store, names[i]);

        if (seconds <= CACHED_S)
            continue;
        doctor_say(doctor, COLOUR_YELLOW, "mount the store with actimeo= of 60 or less",
                   "%s=%lu: %s that other hosts changed show so much later here", names[i], seconds,
                   i < 2 ? "lengths and times of files" : "names");
        said++;
    }
    return said;
}

/* lookupcache=all shows as nothing: what is missing is then believed to be, too. */
static unsigned say_names(struct doctor *doctor, const struct mount_entry *store)
{
    if (mount_entry_has(store, "lookupcache") || seconds_of(store, "acdirmax") <= CACHED_S)
        return 0;
    doctor_say(doctor, COLOUR_YELLOW, "mount the store with lookupcache=positive",
               "lookupcache=all with acdirmax=%lu: an image that another host made may be missing "
               "here for so long",
               seconds_of(store, "acdirmax"));
    return 1;
}

void doctor_options(struct doctor *doctor, const struct subject *subject)
{
    const struct mount_entry *store = &subject->store;

    if (subject->nfs_version == 0) {
        doctor_say(doctor, COLOUR_GREEN, NULL, "%s has no options of NFS", store->type);
        return;
    }
    const unsigned said =
        say_rules(doctor, store) + say_times(doctor, store) + say_names(doctor, store);

    if (said == 0)
        doctor_say(doctor, COLOUR_GREEN, NULL,
                   "no option of %s breaks locks or coherence; names of other hosts show within "
                   "%lu s",
                   store->mountpoint, seconds_of(store, "acdirmax"));
}

/* ---- the lease ---- */

enum {
    LEASE_SHORT_S = 10,
    LEASE_LONG_S = 180,
};

/* In proc_pid_mountstats(5), as mountinfo: octal digits for what would end a word. */
static bool is_of_mount(const char *line, const char *mountpoint)
{
    const char *at = strstr(line, " mounted on ");
    const size_t length = strlen(mountpoint);

    if (at == NULL)
        return false;
    at += strlen(" mounted on ");
    for (size_t i = 0; i < length; i++) {
        if (at[0] == '\\' && strlen(at) > 3 && strchr(" \t\n\\", mountpoint[i]) != NULL)
            at += 4;
        else if (*at++ != mountpoint[i])
            return false;
    }
    return strncmp(at, " with fstype ", strlen(" with fstype ")) == 0;
}

/* Of the mount that was made last there. 0: not told. */
static unsigned long lease_of(const char *mountpoint)
{
    char *text = small_file_read("/proc/self/mountstats"), *rest = text, *line;
    unsigned long seconds = 0;
    bool is_ours = false;

    while (rest != NULL && (line = strsep(&rest, "\n")) != NULL) {
        const char *lease = strstr(line, "lease_time=");

        if (strncmp(line, "device ", 7) == 0)
            is_ours = is_of_mount(line, mountpoint);
        else if (is_ours && lease != NULL)
            seconds = strtoul(lease + strlen("lease_time="), NULL, 10);
    }
    free(text);
    return seconds;
}

void doctor_lease(struct doctor *doctor, const struct subject *subject)
{
    static const char mend[] =
        "set the server's lease to 15 to 90 s (nfs.conf: [nfsd] lease-time=)";
    unsigned long seconds;

    if (subject->nfs_version < 4) {
        doctor_say(doctor, COLOUR_GREEN, NULL, "no lease: the store is not NFS version 4");
        return;
    }
    seconds = lease_of(subject->store.mountpoint);
    if (seconds == 0)
        doctor_say(doctor, COLOUR_YELLOW, "mount the store anew",
                   "/proc/self/mountstats tells no lease of %s", subject->store.mountpoint);
    else if (seconds < LEASE_SHORT_S)
        doctor_say(doctor, COLOUR_YELLOW, mend,
                   "the lease is %lu s: a host whose network hiccups so long loses its images",
                   seconds);
    else if (seconds > LEASE_LONG_S)
        doctor_say(doctor, COLOUR_YELLOW, mend,
                   "the lease is %lu s: so long nobody can take over from a host that failed",
                   seconds);
    else
        doctor_say(doctor, COLOUR_GREEN, NULL, "the lease is %lu s", seconds);
}

void doctor_recovery(struct doctor *doctor, const struct subject *subject)
{
    static const char parameter[] = "/sys/module/nfs/parameters/recover_lost_locks";
    char value[16];

    if (subject->nfs_version < 4) {
        doctor_say(doctor, COLOUR_GREEN, NULL, "no locks to recover: not NFS version 4");
        return;
    }
    if (!small_file_line(parameter, value, sizeof(value)))
        doctor_say(doctor, COLOUR_YELLOW, "see that nfs.recover_lost_locks is not set at boot",
                   "%s cannot be read", parameter);
    else if (value[0] == 'Y' || value[0] == '1')
        doctor_say(
            doctor, COLOUR_RED,
            "echo N >/sys/module/nfs/parameters/recover_lost_locks, and remove it from "
            "/etc/modprobe.d and the kernel's command line",
            "nfs.recover_lost_locks is on: a host that lost its images takes its locks again "
            "and writes, so there is no fence");
    else
        doctor_say(doctor, COLOUR_GREEN, NULL, "nfs.recover_lost_locks is off");
}
