/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The picture of one hand-over: an SVG with a row for each step on either host, on one time axis,
 * and the guest's pause as far as it shows in locks.
 */
#ifndef MIGFS_CTL_PLOT_H
#define MIGFS_CTL_PLOT_H

#include "fs/migfs.h"

#include <stdbool.h>
#include <stdio.h>

/*
 * One of the sides is known at least; `name` is the file's, as text_printable has it. False: out of
 * memory. Whether it could be written is the stream's to tell.
 */
bool plot_write(FILE *stream, const struct migfs_timeline *timeline, const char *name);

#endif
