/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What libvirt is told about the mount, and how its guests open their disks there.
 */
#include "doctor.h"
#include "guest_disks.h"
#include "small_file.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define QEMU_CONF "/etc/libvirt/qemu.conf"
#define QEMU_CONF_LENS "/usr/share/augeas/lenses/libvirtd_qemu.aug"
#define DOMAINS "/etc/libvirt/qemu"

static bool is_at_or_below(const char *path, const char *directory)
{
    const size_t length = strlen(directory);

    return strncmp(path, directory, length) == 0 &&
           (path[length] == '/' || path[length] == '\0' || strcmp(directory, "/") == 0);
}

/* ---- qemu.conf ---- */

/* What follows `name =` in the first line that begins so, as libvirt reads it. */
static const char *setting_of(const char *text, const char *name)
{
    const size_t length = strlen(name);

    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += strspn(line, " \t\n");
        if (strncmp(line, name, length) != 0)
            continue;
        const char *value = line + length + strspn(line + length, " \t");

        if (*value == '=')
            return value + 1 + strspn(value + 1, " \t\n");
    }
    return NULL;
}

/* Whether the path names the directory, or one that it is in; libvirt follows links, too. */
static bool path_covers(const char *path, const char *directory)
{
    char *real = realpath(path, NULL);
    const bool covers = is_at_or_below(directory, real != NULL ? real : path);

    free(real);
    return covers;
}

/* Whether one of a list's texts covers the directory. One text alone is no list to libvirt. */
static bool list_covers(const char *list, const char *directory)
{
    const char *end = list + strcspn(list, "]");

    if (*list != '[')
        return false;
    while (list < end) {
        char text[4096];
        const char *open = memchr(list, '"', (size_t)(end - list));
        const char *close = open != NULL ? memchr(open + 1, '"', (size_t)(end - open - 1)) : NULL;

        if (close == NULL || (size_t)(close - open) >= sizeof(text))
            return false;
        memcpy(text, open + 1, (size_t)(close - open - 1));
        size_t length = (size_t)(close - open - 1);
        while (length > 1 && text[length - 1] == '/')
            length--;
        text[length] = '\0';
        if (length > 0 && path_covers(text, directory))
            return true;
        list = close + 1;
    }
    return false;
}

/*
 * Whether the libvirt that is installed knows the setting; an older one passes over it in silence.
 * Its QEMU driver comes with a grammar of all that it reads there. Without one it is believed.
 */
static bool libvirt_reads_shared(void)
{
    char *lens = small_file_read(QEMU_CONF_LENS);
    const bool reads = lens == NULL || strstr(lens, "\"shared_filesystems\"") != NULL;

    free(lens);
    return reads;
}

static void say_setting(struct doctor *doctor, const char *mountpoint, const char *text)
{
    const char *shared = setting_of(text, "shared_filesystems");
    const char *ownership = setting_of(text, "dynamic_ownership");
    const bool chowns = ownership == NULL || ownership[0] != '0';
    const bool reads = libvirt_reads_shared();
    char *mend = NULL;

    if (reads && shared != NULL && (mountpoint == NULL || list_covers(shared, mountpoint))) {
        doctor_say(doctor, COLOUR_GREEN, NULL, "shared_filesystems in " QEMU_CONF " names %s",
                   mountpoint != NULL ? mountpoint : "some directories");
        return;
    }
    if (asprintf(&mend,
                 reads ? "set shared_filesystems = [ \"%s\" ] in " QEMU_CONF
                         " and restart libvirt, on every host"
                       : "this libvirt does not know shared_filesystems = [ \"%s\" ]: install one "
                         "that does, as of Debian 13, or do as migfs-libvirt(7) says without",
                 mountpoint != NULL ? mountpoint : "MOUNTPOINT") < 0)
        return;
    doctor_say(doctor, chowns ? COLOUR_RED : COLOUR_YELLOW, mend,
               chowns ? "libvirt takes %s for a local disk: after a migration the source gives the "
                        "image back to root while the guest runs"
                      : "libvirt takes %s for a local disk: it migrates with --unsafe only",
               mountpoint != NULL ? mountpoint : "what migfs mounts");
    free(mend);
}

void doctor_libvirt(struct doctor *doctor, const struct subject *subject)
{
    char *text = small_file_read(QEMU_CONF);

    if (text != NULL)
        say_setting(doctor, subject->mountpoint, text);
    else if (errno == ENOENT)
        doctor_say(doctor, COLOUR_GREEN, NULL, "no libvirt here: there is no " QEMU_CONF);
    else
        doctor_say(doctor, COLOUR_YELLOW, "run migfsctl doctor as root", QEMU_CONF ": %s",
                   strerror(errno));
    free(text);
}

/* ---- guests ---- */

struct guests {
    struct doctor *doctor;
    const struct subject *subject;
    unsigned disks, said;
};

/* What is mounted below SOURCE is not of it. A path that leads nowhere yet is judged by its text.
 */
static bool is_into_source(const struct subject *subject, const char *path)
{
    struct stat source, file;

    return subject->source != NULL && is_at_or_below(path, subject->source) &&
           (stat(path, &file) != 0 || fstat(subject->source_fd, &source) != 0 ||
            file.st_dev == source.st_dev);
}

static void look_at_driver(struct guests *guests, const char *guest, const struct guest_disk *disk)
{
    guests->disks++;
    if (disk->is_read_only || strcmp(disk->cache, "none") == 0 ||
        strcmp(disk->cache, "directsync") == 0)
        return;
    guests->said++;
    doctor_say(
        guests->doctor, strcmp(disk->cache, "unsafe") == 0 ? COLOUR_RED : COLOUR_YELLOW,
        "virsh edit the guest: cache='none' in the driver of the disk",
        strcmp(disk->cache, "unsafe") == 0
            ? "%s: %s has cache='%s': what the guest flushes may be lost"
            : "%s: %s has cache='%s': what the store refuses is lost, and libvirt migrates it "
              "with QEMU 4.0 or newer only",
        guest, disk->path, disk->cache[0] != '\0' ? disk->cache : "default");
}

static void look_at(struct guests *guests, const char *guest, const struct guest_disk *disk)
{
    const struct subject *subject = guests->subject;

    /* The mountpoint may be below SOURCE. */
    if (subject->mountpoint != NULL && is_at_or_below(disk->path, subject->mountpoint)) {
        look_at_driver(guests, guest, disk);
    } else if (is_into_source(subject, disk->path)) {
        doctor_say(guests->doctor, COLOUR_RED,
                   "virsh edit the guest: give the disk its path below the mountpoint of migfs",
                   "%s: %s goes past migfs, into what it serves", guest, disk->path);
        guests->said++;
    }
}

static void look_into(struct guests *guests, const char *name)
{
    char *path = NULL, *text = NULL;
    struct guest_disk disk;

    if (asprintf(&path, DOMAINS "/%s", name) < 0)
        return;
    text = small_file_read(path);
    free(path);
    const char *position = text;

    while (text != NULL && guest_disk_next(&position, &disk))
        look_at(guests, name, &disk);
    free(text);
}

void doctor_guests(struct doctor *doctor, const struct subject *subject)
{
    struct guests guests = {.doctor = doctor, .subject = subject};
    DIR *listing = opendir(DOMAINS);

    if (listing == NULL) {
        if (errno == ENOENT)
            doctor_say(doctor, COLOUR_GREEN, NULL, "no guests of libvirt here");
        else
            doctor_say(doctor, COLOUR_YELLOW, "run migfsctl doctor as root", DOMAINS ": %s",
                       strerror(errno));
        return;
    }
    for (const struct dirent *entry = readdir(listing); entry != NULL; entry = readdir(listing)) {
        const char *suffix = strrchr(entry->d_name, '.');

        if (suffix != NULL && strcmp(suffix, ".xml") == 0)
            look_into(&guests, entry->d_name);
    }
    (void)closedir(listing); /* read only */
    if (guests.said == 0)
        doctor_say(doctor, COLOUR_GREEN, NULL, "%u disks of libvirt's guests, none cached by QEMU",
                   guests.disks);
}
