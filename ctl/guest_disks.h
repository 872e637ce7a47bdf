/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The file-backed disks in a domain's XML, as libvirt writes it to /etc/libvirt/qemu: enough of XML
 * for that, and no more. Any bytes may be in the text.
 */
#ifndef MIGFS_CTL_GUEST_DISKS_H
#define MIGFS_CTL_GUEST_DISKS_H

#include <stdbool.h>

struct guest_disk {
    char path[4096];
    char cache[32]; /* "" where none is given */
    bool is_read_only;
};

/*
 * The next disk that has a file, from *position on, which is the XML's begin at first; moves
 * *position behind it. False: that was all.
 */
bool guest_disk_next(const char **position, struct guest_disk *disk);

#endif
