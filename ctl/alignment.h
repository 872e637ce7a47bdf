/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The two sides of a hand-over on one clock. No I/O.
 */
#ifndef MIGFS_CTL_ALIGNMENT_H
#define MIGFS_CTL_ALIGNMENT_H

#include "fs/migfs.h"

#include <stdint.h>

enum alignment_by {
    ALIGNED_BY_NOTHING, /* the clocks are not known to agree, nor how they differ */
    ALIGNED_BY_ONE_CLOCK,
    ALIGNED_BY_BEACONS, /* each against the store's */
    ALIGNED_BY_ORDER,   /* and that was not enough: nobody locks before the other has unlocked */
};

struct alignment {
    enum alignment_by by;
    int64_t shift_ns;   /* to add to times of the acquire, to have them by the release's clock */
    uint64_t unsure_ns; /* more or less; 0: exact, or not known */
    int64_t moved_ns;   /* the part of it that is there for the order alone */
};

/* Both sides are known, as MIGFS_IOC_TIMELINE gives them. */
struct alignment alignment_of(const struct migfs_side *release, const struct migfs_side *acquire);

#endif
