/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Finds out what a path of doctor's command line is, and what there is to be known of it.
 */
#ifndef MIGFS_CTL_SUBJECT_H
#define MIGFS_CTL_SUBJECT_H

#include "doctor.h"

/*
 * `path` NULL: this host alone. 0, or -1 after a line on standard error; subject_close for both.
 */
int subject_open(struct subject *subject, const char *path);
void subject_close(struct subject *subject);

#endif
