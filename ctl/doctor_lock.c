/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Takes a lock in SOURCE and looks for it by another mount of the same export, which asks the
 * server: a second description on the same mount would be answered by this host. The other mount is
 * attached nowhere, and goes with the process.
 */
#include "doctor.h"
#include "record_owner.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the other mount ---- */

/* What is not the other mount's to have, or is set below. */
static bool is_left_out(const char *word, size_t length)
{
    static const char *const names[] = {
        "rw",   "ro",      "vers",  "minorversion", "nolock",  "local_lock", "nosharecache",
        "soft", "softerr", "nocto", "relatime",     "noatime", "nodiratime"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const size_t name_length = strlen(names[i]);

        if (length >= name_length && strncmp(word, names[i], name_length) == 0 &&
            (length == name_length || word[name_length] == '='))
            return true;
    }
    return false;
}

/* An option that this kernel shows and does not take is one that the mount does without. */
static void configure_word(int context_fd, char *word)
{
    char *value = strchr(word, '=');

    if (value != NULL) {
        *value = '\0';
        (void)fsconfig(context_fd, FSCONFIG_SET_STRING, word, value + 1, 0);
    } else {
        (void)fsconfig(context_fd, FSCONFIG_SET_FLAG, word, NULL, 0);
    }
}

static int configure(int context_fd, const struct mount_entry *store, const char *version)
{
    char *options = strdup(store->options), *rest = options, *word;

    if (options == NULL)
        return -1;
    while ((word = strsep(&rest, ",")) != NULL) {
        if (word[0] != '\0' && !is_left_out(word, strlen(word)))
            configure_word(context_fd, word);
    }
    free(options);
    if (fsconfig(context_fd, FSCONFIG_SET_STRING, "source", store->source, 0) != 0 ||
        fsconfig(context_fd, FSCONFIG_SET_STRING, "vers", version, 0) != 0 ||
        fsconfig(context_fd, FSCONFIG_SET_STRING, "local_lock", "none", 0) != 0 ||
        fsconfig(context_fd, FSCONFIG_SET_FLAG, "nosharecache", NULL, 0) != 0)
        return -1;
    return fsconfig(context_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
}

/* A descriptor of its root, or -1 with errno. */
static int mount_version(const struct mount_entry *store, const char *version)
{
    const int context_fd = fsopen(store->type, FSOPEN_CLOEXEC);
    int fd = -1;

    if (context_fd < 0)
        return -1;
    if (configure(context_fd, store, version) == 0)
        fd = fsmount(context_fd, FSMOUNT_CLOEXEC,
                     MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    const int error = errno;

    (void)close(context_fd); /* nothing is left to be said by it */
    errno = error;
    return fd;
}

/*
 * Of another minor version where the server has one: the client calls itself by it, so it is
 * another host to the server, and a delegation that this mount has, and keeps its locks under, is
 * recalled. The same one has locks of its own, too.
 */
static int mount_again(const struct mount_entry *store, bool *is_other_client)
{
    size_t length = 0;
    const char *given = mount_entry_option(store, "vers", &length);
    const char *other = given != NULL && strncmp(given, "4.1", 3) == 0 ? "4.2" : "4.1";
    char version[16] = "";
    int fd = -1;

    if (given == NULL || length >= sizeof(version)) {
        errno = EINVAL;
        return -1;
    }
    memcpy(version, given, length);
    *is_other_client = version[0] == '4';
    if (*is_other_client)
        fd = mount_version(store, other);
    if (fd < 0) {
        *is_other_client = false;
        fd = mount_version(store, version);
    }
    return fd;
}

/* ---- the lock ---- */

static int lock_file(int fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};

    return fcntl(fd, F_OFD_SETLK, &lock) == 0 ? 0 : errno;
}

/* 0 and whether another one holds it, or a positive errno. */
static int look_for_lock(int fd, bool *is_held)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};

    if (fcntl(fd, F_OFD_GETLK, &lock) != 0)
        return errno;
    *is_held = lock.l_type != F_UNLCK;
    return 0;
}

/* The directory of the file, in the other mount. The caller frees it. */
static char *path_in_mount(const struct subject *subject, const char *below, const char *name)
{
    const char *inside = subject->source + strlen(subject->store.mountpoint);
    char *path = NULL;

    if (strcmp(subject->store.mountpoint, "/") == 0)
        inside = subject->source;
    if (asprintf(&path, ".%s%s%s/%s%s",
                 strcmp(subject->store.root, "/") == 0 ? "" : subject->store.root,
                 inside[0] == '\0' || inside[0] == '/' ? "" : "/", inside, below, name) < 0)
        return NULL;
    return path;
}

static void say_unseen(struct doctor *doctor, bool is_other_client, const struct subject *subject)
{
    if (is_other_client || subject->nfs_version < 4)
        doctor_say(
            doctor, COLOUR_RED,
            "mount the store without nolock and local_lock=, and see that the server has its "
            "lock manager",
            "a lock taken at %s is not seen by the server: another host may take it, too",
            subject->source);
    else
        doctor_say(doctor, COLOUR_YELLOW, "let the server have both of NFS 4.1 and 4.2",
                   "a lock taken at %s was not seen, but the server has one minor version only: it "
                   "may be kept under a delegation",
                   subject->source);
}

static void look_from_outside(struct doctor *doctor, const struct subject *subject,
                              const struct record_owner *owner, const char *path)
{
    bool is_other_client = false, is_held = false;
    const int mount_fd = mount_again(&subject->store, &is_other_client);
    int error = mount_fd < 0 ? errno : record_owner_begin(owner);
    int fd = -1;

    if (mount_fd < 0) {
        doctor_say(doctor, COLOUR_YELLOW,
                   "run migfsctl doctor as root, in the network namespace of the mount",
                   "whether the server sees a lock was not tried: %s cannot be mounted again: %s",
                   subject->store.source, strerror(error));
        return;
    }
    if (error == 0) {
        fd = openat(mount_fd, path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
        error = fd >= 0 ? look_for_lock(fd, &is_held) : errno;
        record_owner_end();
    }
    if (error != 0)
        doctor_say(doctor, COLOUR_YELLOW, "look at the server's log",
                   "whether the server sees a lock was not learned: %s", strerror(error));
    else if (is_held)
        doctor_say(doctor, COLOUR_GREEN, NULL, "a lock taken at %s is seen by the server",
                   subject->source);
    else
        say_unseen(doctor, is_other_client, subject);
    if (fd >= 0)
        (void)close(fd);   /* nothing was written */
    (void)close(mount_fd); /* nor there */
}

static void try_lock(struct doctor *doctor, const struct subject *subject,
                     const struct record_owner *owner, int directory_fd, const char *below)
{
    const struct scratch_name name = scratch_name();
    char *path = path_in_mount(subject, below, name.text);
    const int fd = openat(directory_fd, name.text, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int error = fd < 0 ? errno : path == NULL ? ENOMEM : lock_file(fd);

    record_owner_end();
    if (fd < 0)
        doctor_say(doctor, COLOUR_RED, "see `records`", "no file to lock can be made in %s: %s",
                   subject->source, strerror(error));
    else if (error != 0)
        doctor_say(doctor, COLOUR_RED,
                   "see that the server gives locks (NFS 3: rpc.statd and lockd run on both sides, "
                   "and no firewall is between)",
                   "no lock can be had at %s: %s", subject->source, strerror(error));
    else
        look_from_outside(doctor, subject, owner, path);
    (void)record_owner_begin(owner); /* as before */
    if (fd >= 0) {
        (void)close(fd);                            /* nothing was written */
        (void)unlinkat(directory_fd, name.text, 0); /* or it goes as a beacon that is over */
    }
    record_owner_end();
    free(path);
}

void doctor_lock(struct doctor *doctor, const struct subject *subject)
{
    const struct record_owner owner = record_owner_of(subject->source_fd);
    const char *below = "";
    int error, fd = -1;

    if (subject->nfs_version == 0) {
        doctor_say(doctor, COLOUR_GREEN, NULL,
                   "not NFS: there is no other mount to look for a lock from");
        return;
    }
    if (geteuid() != 0) {
        doctor_say(doctor, COLOUR_YELLOW, "run migfsctl doctor as root",
                   "whether the server sees a lock was not tried: only root may mount");
        return;
    }
    if (owner.error == 0 && !owner.exists) { /* nobody would remove the file if this is killed */
        doctor_say(doctor, COLOUR_YELLOW, "mount it once, or run `migfsctl init`, and try again",
                   "whether the server sees a lock was not tried: there is no %s/" RECORD_DIRECTORY,
                   subject->source);
        return;
    }
    error = owner.error != 0 ? owner.error : record_owner_begin(&owner);
    if (error == 0) {
        fd = record_owner_scratch(subject->source_fd, &owner, &below);
        error = fd < 0 ? -fd : 0;
    }
    if (error == 0) {
        try_lock(doctor, subject, &owner, fd, below);
        (void)close(fd); /* a directory */
        return;
    }
    record_owner_end();
    doctor_say(doctor, COLOUR_RED, "see `records`", "no file to lock can be made in %s: %s",
               subject->source, strerror(error));
}
