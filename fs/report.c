/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "report.h"

#include "events.h"
#include "history_file.h"
#include "log.h"
#include "record_file.h"
#include "status.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static bool is_handoff(enum handoff_kind kind)
{
    return kind == HANDOFF_ACQUIRE || kind == HANDOFF_SHARE || kind == HANDOFF_RELEASE ||
           kind == HANDOFF_DOWNGRADE;
}

struct states {
    enum owner_state before, after;
    uint64_t generation;
};

/* ---- the log ---- */

static void say(const struct transition *transition, const struct states *states)
{
    const enum handoff_kind kind = transition->handoff.plan.kind;
    const int error = transition->handoff.answer;
    struct inode *inode = transition->job.inode;
    const uintmax_t ino = inode->identity.ino;

    if (error != 0)
        log_error("%s of inode %ju failed: %s; it is %s", handoff_kind_name(kind), ino,
                  strerror(-error), owner_state_name(states->after));
    else if (kind == HANDOFF_FORGET)
        log_notice("inode %ju is accepted as it is", ino);
    else if (transition->handoff.contested)
        log_notice("inode %ju is locked, but another host writes it: no owner here", ino);
    else
        log_info("%s of inode %ju: %s, generation %ju", handoff_kind_name(kind), ino,
                 owner_state_name(states->after), (uintmax_t)states->generation);
    if (transition->bytes_prefetched > 0)
        log_info("inode %ju: %ju bytes of its tables were read ahead", ino,
                 (uintmax_t)transition->bytes_prefetched);
    if (transition->pages_stayed)
        log_warning("inode %ju: the store kept pages that could not be dropped; reads go past them",
                    ino);
}

void report_fence(struct context *context, struct inode *inode)
{
    char *path = status_path(context, inode);

    log_error("%s/%s: the locks of this host are lost: it was cut off from the server for too "
              "long. It is fenced: what is open gets EIO, and nothing is written until the file is "
              "locked anew",
              context->options.mountpoint, path ? path : "(a file)");
    free(path);
    events_publish(context, inode);
}

/* ---- the history ---- */

/* Of an acquire that raised the generation. The release left its part in the record. */
static void add_acquired(struct history_entry *entry, const struct context *context,
                         const struct transition *transition,
                         const struct record_identity *identity)
{
    const struct record_seen *seen = transition->verify.seen;
    struct inode *inode = transition->job.inode;

    pthread_mutex_lock(&inode->mutex);
    *entry = (struct history_entry){
        .generation = inode->owner.generation,
        .verified = transition->verify.verdict,
        .time_ns = inode->last_handoff.time_ns,
        .acquire_ns = inode->last_handoff.duration_ns,
        .identity = *identity,
    };
    pthread_mutex_unlock(&inode->mutex);
    memcpy(entry->to, context->host.name, sizeof(entry->to));
    if (seen && seen->is_valid) {
        memcpy(entry->from, seen->record.host.name, sizeof(entry->from));
        entry->release_ns = seen->record.duration_ns;
        entry->flushed_bytes = seen->record.flushed_bytes;
    }
}

/* The inode's locks or unlocks up to now, by the clock that people have. */
static void fill_side(struct timeline_entry *side, struct context *context,
                      const struct transition *transition)
{
    const struct inode *inode = transition->job.inode;
    const struct timeline *timeline = inode->locking ? inode->locking : &transition->timeline;
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    const int64_t set_by_ns = now.tv_sec * INT64_C(1000000000) + now.tv_nsec - pool_now_ns();
    side->timeline = *timeline;
    side->timeline.started_ns += set_by_ns;
    side->timeline.ended_ns += set_by_ns;
    side->clock_ahead_ns = atomic_load(&context->clock_ahead_ns);
    side->clock_unsure_ns = (uint64_t)atomic_load(&context->clock_unsure_ns);
    memcpy(side->boot_id, context->host.boot_id, sizeof(side->boot_id));
    memcpy(side->host, context->host.name, sizeof(side->host));
}

static void add_to_history(struct context *context, const struct transition *transition)
{
    const struct handoff *handoff = &transition->handoff;
    const bool acquired = handoff->plan.kind == HANDOFF_ACQUIRE;
    struct inode *inode = transition->job.inode;
    struct history_entry entry;

    if ((!acquired && handoff->plan.kind != HANDOFF_RELEASE) || handoff->answer != 0 ||
        !handoff->plan.writes || handoff->contested || !record_file_is_kept(context, inode))
        return;
    pthread_mutex_lock(&inode->mutex);
    const bool is_recorded = inode->owner.recorded == acquired; /* a release is no longer */
    const uint64_t generation = inode->owner.generation;
    pthread_mutex_unlock(&inode->mutex);
    if (!is_recorded)
        return;

    struct timeline_entry side = {
        .side = acquired ? TIMELINE_ACQUIRE : TIMELINE_RELEASE,
        .generation = acquired ? generation : generation + 1,
        .identity = record_identity_of(inode),
    };
    fill_side(&side, context, transition);
    if (acquired)
        add_acquired(&entry, context, transition, &side.identity);
    history_file_add(context, acquired ? &entry : NULL, &side);
    if (inode->locking)
        *inode->locking = (struct timeline){.span_count = 0}; /* told */
}

/* ---- all of it ---- */

void report_transition(struct context *context, struct transition *transition)
{
    struct inode *inode = transition->job.inode;
    const enum handoff_kind kind = transition->handoff.plan.kind;
    const int error = transition->handoff.answer;
    struct timespec now;

    if (!is_handoff(kind) && (kind != HANDOFF_FORGET || error != 0))
        return;
    clock_gettime(CLOCK_REALTIME, &now);
    pthread_mutex_lock(&inode->mutex);
    const struct handoff_report last = {
        .time_ns = now.tv_sec * INT64_C(1000000000) + now.tv_nsec,
        .released = kind > HANDOFF_FORGET,
        .duration_ns = (uint64_t)(pool_now_ns() - transition->started_ns),
        .bytes_flushed = transition->bytes_flushed,
        .pages_dropped = transition->pages_dropped,
        .bytes_prefetched = transition->bytes_prefetched,
        .verified = transition->verify.verdict,
    };
    const enum owner_state state = owner_state(&inode->owner);
    const struct states states = {transition->state_before, state, inode->owner.generation};
    if (is_handoff(kind) && error == 0 && !transition->handoff.contested)
        inode->last_handoff = last;
    if (kind == HANDOFF_DOWNGRADE && state != OWNER_OWNER) {
        /* Others may write from now on, and what was digested here may be overwritten. */
        trace_watch_off(&inode->watch);
        digest_ring_stop(&inode->digests);
    }
    pthread_mutex_unlock(&inode->mutex);
    say(transition, &states);
    if (is_handoff(kind))
        events_publish(context, inode);
    add_to_history(context, transition);
}
