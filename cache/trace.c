/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "trace.h"

enum trace_verdict trace_compare(const struct trace *before, const struct trace *now)
{
    if (before->length_bytes != now->length_bytes)
        return TRACE_WRITTEN;
    if (before->ctime_ns == now->ctime_ns)
        return TRACE_SAME;
    return before->mtime_ns != 0 && before->mtime_ns == now->mtime_ns ? TRACE_TOUCHED
                                                                      : TRACE_WRITTEN;
}

void trace_change_begin(struct trace_watch *watch)
{
    watch->under_way++;
}

void trace_change_end(struct trace_watch *watch, enum trace_effect effect, uint64_t length_bytes)
{
    watch->under_way--;
    watch->changes++;
    switch (effect) {
    case TRACE_KEEPS:
        break;
    case TRACE_GROWS:
        if (watch->length_bytes < length_bytes)
            watch->length_bytes = length_bytes;
        break;
    case TRACE_CUTS:
        watch->length_bytes = length_bytes;
        break;
    case TRACE_UNSURE:
        watch->length_is_known = false;
        break;
    }
}

void trace_watch_on(struct trace_watch *watch)
{
    watch->is_on = true;
    watch->length_is_known = false;
    watch->changes_at_last = UINT64_MAX;
}

void trace_watch_off(struct trace_watch *watch)
{
    watch->is_on = false;
}

struct trace_look trace_look_begin(const struct trace_watch *watch)
{
    return (struct trace_look){
        .is_quiet = watch->under_way == 0,
        .changes = watch->changes,
    };
}

static enum trace_verdict compare_with_last(const struct trace_watch *watch,
                                            const struct trace *now)
{
    if (watch->changes == watch->changes_at_last)
        return trace_compare(&watch->last, now);
    return watch->length_is_known && watch->length_bytes != now->length_bytes ? TRACE_WRITTEN
                                                                              : TRACE_SAME;
}

enum trace_verdict trace_look_end(struct trace_watch *watch, const struct trace_look *look,
                                  const struct trace *now)
{
    enum trace_verdict verdict;

    if (!watch->is_on || !look->is_quiet || watch->under_way > 0 || watch->changes != look->changes)
        return TRACE_SAME;
    verdict = compare_with_last(watch, now);
    watch->last = *now;
    watch->changes_at_last = watch->changes;
    watch->length_bytes = now->length_bytes;
    watch->length_is_known = true;
    return verdict;
}

bool trace_sight_serves(const struct trace_watch *watch, const struct trace_sight *sight)
{
    return sight->is_there && sight->look.is_quiet && watch->under_way == 0 &&
           watch->changes == sight->look.changes;
}
