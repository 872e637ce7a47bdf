/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether SELinux or AppArmor stand between guests and files on a FUSE mount.
 */
#include "doctor.h"
#include "small_file.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AA_HELPER "/etc/apparmor.d/usr.lib.libvirt.virt-aa-helper"
#define AA_HELPER_LOCAL "/etc/apparmor.d/local/usr.lib.libvirt.virt-aa-helper"

static bool first_is(const char *path, char wanted)
{
    char line[16];

    return small_file_line(path, line, sizeof(line)) && line[0] == wanted;
}

static bool selinux_stands_in(struct doctor *doctor, const struct subject *subject)
{
    if (!first_is("/sys/fs/selinux/enforce", '1') ||
        first_is("/sys/fs/selinux/booleans/virt_use_fusefs", '1') ||
        (subject->mountpoint != NULL && mount_entry_has(&subject->migfs, "context")))
        return false;
    doctor_say(
        doctor, COLOUR_RED,
        "setsebool -P virt_use_fusefs on, or mount with "
        "context=system_u:object_r:virt_image_t:s0",
        "SELinux is enforcing and virt_use_fusefs is off: guests may not open files on FUSE");
    return true;
}

/* Where libvirt's helper may look into images of any name: its profile names these. */
static bool helper_looks_into(const char *mountpoint)
{
    static const char *const trees[] = {
        "/var/lib/libvirt/images/", "/media/", "/mnt/", "/opt/", "/srv/", "/home/"};
    char *path = NULL, *own = small_file_read(AA_HELPER_LOCAL);
    bool looks = own != NULL && strstr(own, mountpoint) != NULL;

    free(own);
    if (looks || asprintf(&path, "%s/", mountpoint) < 0)
        return true;
    for (size_t i = 0; i < sizeof(trees) / sizeof(trees[0]); i++)
        looks = looks || strncmp(path, trees[i], strlen(trees[i])) == 0;
    free(path);
    return looks;
}

static bool apparmor_stands_in(struct doctor *doctor, const struct subject *subject)
{
    char *mend = NULL;

    if (!first_is("/sys/module/apparmor/parameters/enabled", 'Y') || subject->mountpoint == NULL ||
        access(AA_HELPER, F_OK) != 0 || helper_looks_into(subject->mountpoint))
        return false;
    if (asprintf(&mend,
                 "add '%s/** r,' to " AA_HELPER_LOCAL " and run apparmor_parser -r " AA_HELPER,
                 subject->mountpoint) < 0)
        return false;
    doctor_say(doctor, COLOUR_YELLOW, mend,
               "AppArmor lets libvirt's virt-aa-helper look into images at %s by some names only "
               "(*.img, *.raw, *.qcow2): a guest may not open the backing files of others",
               subject->mountpoint);
    free(mend);
    return true;
}

void doctor_security(struct doctor *doctor, const struct subject *subject)
{
    const bool selinux = access("/sys/fs/selinux/enforce", F_OK) == 0;
    const bool apparmor = first_is("/sys/module/apparmor/parameters/enabled", 'Y');

    if (selinux_stands_in(doctor, subject) || apparmor_stands_in(doctor, subject))
        return;
    doctor_say(doctor, COLOUR_GREEN, NULL, "SELinux is %s, AppArmor is %s: nothing in the way",
               selinux ? "on" : "off", apparmor ? "on" : "off");
}
