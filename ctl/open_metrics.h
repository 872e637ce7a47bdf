/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Counters of mounts in OpenMetrics' text format, version 1.0.0, so that Prometheus's older format
 * has a reading of it, too: a node exporter's textfile folder is read as that.
 */
#ifndef MIGFS_CTL_OPEN_METRICS_H
#define MIGFS_CTL_OPEN_METRICS_H

#include "counters.h"

#include <stdio.h>

/* Of `count` mounts, each once. Whether it could be written is the stream's to tell. */
void open_metrics_write(FILE *stream, const struct mount_stats *mounts, size_t count);

#endif
