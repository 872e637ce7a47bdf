/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether `.migfs` is there, or can be made, and takes a file that lasts, as its owner.
 */
#include "doctor.h"
#include "record_owner.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char init[] =
    "run `migfsctl init --uid UID SOURCE` with the uid of the images' owner, as root";

/* As a record: its bytes and its name last. 0 or a positive errno. */
static int write_durably(int directory_fd)
{
    static const char bytes[] = "migfsctl doctor\n";
    const struct scratch_name name = scratch_name();
    const int fd =
        openat(directory_fd, name.text, O_WRONLY | O_CREAT | O_EXCL | O_DSYNC | O_CLOEXEC, 0600);
    int error = 0;

    if (fd < 0)
        return errno;
    if (write(fd, bytes, sizeof(bytes) - 1) != (ssize_t)sizeof(bytes) - 1)
        error = errno != 0 ? errno : ENOSPC;
    if (close(fd) != 0 && error == 0)
        error = errno;
    if (error == 0 && fsync(directory_fd) != 0 && errno != EINVAL)
        error = errno;
    if (unlinkat(directory_fd, name.text, 0) != 0 && error == 0)
        error = errno;
    return error;
}

static void say_owner(struct doctor *doctor, const struct subject *subject,
                      const struct record_owner *owner)
{
    const char *below;
    int error = record_owner_begin(owner);
    int fd;

    if (error != 0) {
        doctor_say(doctor, COLOUR_YELLOW, "run migfsctl doctor as root",
                   "%s/" RECORD_DIRECTORY " was not tried: it is of user %u", subject->source,
                   owner->uid);
        return;
    }
    errno = 0;
    fd = record_owner_scratch(subject->source_fd, owner, &below);
    error = fd >= 0 ? write_durably(fd) : -fd;
    if (fd >= 0)
        (void)close(fd); /* a directory, synchronised */
    record_owner_end();
    if (error != 0)
        doctor_say(doctor, COLOUR_RED, init,
                   "%s%s cannot be written by user %u: %s: a mount has no records there",
                   subject->source, owner->exists ? "/" RECORD_DIRECTORY : "", owner->uid,
                   strerror(error));
    else if (owner->exists)
        doctor_say(doctor, COLOUR_GREEN, NULL, "%s/" RECORD_DIRECTORY " can be written by user %u",
                   subject->source, owner->uid);
    else
        doctor_say(doctor, COLOUR_GREEN, NULL,
                   "%s/" RECORD_DIRECTORY " is made by the first mount: %s can be written",
                   subject->source, subject->source);
}

void doctor_records(struct doctor *doctor, const struct subject *subject)
{
    const struct record_owner owner = record_owner_of(subject->source_fd);

    if (owner.error != 0)
        doctor_say(doctor, COLOUR_RED, init, "%s/" RECORD_DIRECTORY ": %s", subject->source,
                   strerror(owner.error));
    else if (owner.exists && !S_ISDIR(owner.mode))
        doctor_say(doctor, COLOUR_RED, "remove it",
                   "%s/" RECORD_DIRECTORY " is not a directory: a mount has no records",
                   subject->source);
    else if (owner.exists && (owner.mode & 077) != 0)
        doctor_say(doctor, COLOUR_RED, "chmod 700 it",
                   "%s/" RECORD_DIRECTORY " is open to others (mode %04o): a mount does not use it",
                   subject->source, owner.mode & 07777);
    else
        say_owner(doctor, subject, &owner);
}
