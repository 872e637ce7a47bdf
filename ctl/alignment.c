/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alignment.h"

#include <stdbool.h>
#include <string.h>

/* The last span of that step in a transition of that kind; NULL: there is none. */
static const struct migfs_span *find(const struct migfs_side *side, enum migfs_handoff_kind kind,
                                     enum migfs_step step)
{
    for (__u32 i = side->span_count; i > 0; i--) {
        const struct migfs_span *span = &side->spans[i - 1];

        if (span->kind == (__u16)kind && span->step == (__u16)step)
            return span;
    }
    return NULL;
}

/* When the release's bytes began to go. False: not known. */
static bool unlock_began(const struct migfs_side *release, int64_t *at_ns)
{
    const struct migfs_span *span = find(release, MIGFS_HANDOFF_RELEASE, MIGFS_STEP_UNLOCK);

    if (span == NULL)
        return false;
    *at_ns = release->started_ns + span->start_us * INT64_C(1000);
    return true;
}

/* When the acquire knew that they were gone; rounded up, as spans are. */
static bool test_ended(const struct migfs_side *acquire, int64_t *at_ns)
{
    const struct migfs_span *span = find(acquire, MIGFS_HANDOFF_ACQUIRE, MIGFS_STEP_TEST);

    if (span == NULL)
        span = find(acquire, MIGFS_HANDOFF_ACQUIRE, MIGFS_STEP_LOCK);
    if (span == NULL)
        return false;
    *at_ns = acquire->started_ns +
             ((int64_t)span->start_us + (int64_t)span->duration_us) * INT64_C(1000);
    return true;
}

static bool has_one_clock(const struct migfs_side *release, const struct migfs_side *acquire)
{
    static const __u8 unknown[sizeof(release->boot_id)];

    return memcmp(release->boot_id, acquire->boot_id, sizeof(unknown)) == 0 &&
           memcmp(release->boot_id, unknown, sizeof(unknown)) != 0;
}

static struct alignment by_clocks(const struct migfs_side *release,
                                  const struct migfs_side *acquire)
{
    if (has_one_clock(release, acquire))
        return (struct alignment){.by = ALIGNED_BY_ONE_CLOCK};
    if ((release->flags & acquire->flags & MIGFS_SIDE_CLOCK) == 0)
        return (struct alignment){.by = ALIGNED_BY_NOTHING};
    return (struct alignment){
        .by = ALIGNED_BY_BEACONS,
        .shift_ns = release->clock_ahead_ns - acquire->clock_ahead_ns,
        .unsure_ns = release->clock_unsure_ns + acquire->clock_unsure_ns,
    };
}

struct alignment alignment_of(const struct migfs_side *release, const struct migfs_side *acquire)
{
    struct alignment alignment = by_clocks(release, acquire);
    int64_t gone_ns, seen_ns;

    if (alignment.by == ALIGNED_BY_ONE_CLOCK || !unlock_began(release, &gone_ns) ||
        !test_ended(acquire, &seen_ns) || seen_ns + alignment.shift_ns >= gone_ns)
        return alignment;
    alignment.by = ALIGNED_BY_ORDER;
    alignment.moved_ns = gone_ns - (seen_ns + alignment.shift_ns);
    alignment.shift_ns += alignment.moved_ns;
    return alignment;
}
