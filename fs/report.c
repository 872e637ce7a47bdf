/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "report.h"

#include "events.h"
#include "file_name.h"
#include "history_file.h"
#include "log.h"
#include "record_file.h"
#include "status.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <time.h>

/* journalctl MESSAGE_ID=…; migfs(8). */
#define TRANSITION_ID "b8ab3c1e7e5d4c0c9d2f6a41d07e93a5"
#define FENCE_ID "5f0c2f7d94b34d41a8e6c1b37a20d9ee"
/* Of a longer path the end of it. */
#define PATH_MOST 4095

static bool is_handoff(enum handoff_kind kind)
{
    return kind == HANDOFF_ACQUIRE || kind == HANDOFF_SHARE || kind == HANDOFF_RELEASE ||
           kind == HANDOFF_DOWNGRADE;
}

/* ---- fields of the journal ---- */

struct states {
    enum owner_state before, after;
    uint64_t generation;
};

static void add_file(struct journal_entry *fields, struct context *context, struct inode *inode,
                     const struct states *states)
{
    char *below = file_path(context, inode);
    const char *path = below ? below : "";
    const size_t length = strlen(path);

    journal_text(fields, "MIGFS_FILE", length > PATH_MOST ? path + length - PATH_MOST : path);
    free(below);
    journal_number(fields, "MIGFS_INODE", inode->identity.ino);
    journal_text(fields, "MIGFS_MOUNTPOINT", context->options.mountpoint);
    journal_number(fields, "MIGFS_GENERATION", states->generation);
    journal_text(fields, "MIGFS_FROM", owner_state_name(states->before));
    journal_text(fields, "MIGFS_TO", owner_state_name(states->after));
}

/* A step may run more than once. */
static void add_steps(struct journal_entry *fields, const struct timeline *timeline)
{
    for (enum handoff_step step = 0; step < HANDOFF_STEP_ANSWER; step++) {
        uint64_t us = 0;
        bool ran = false;

        for (uint32_t i = 0; i < timeline->span_count; i++) {
            if (timeline->spans[i].step == (uint16_t)step) {
                us += timeline->spans[i].duration_us;
                ran = true;
            }
        }
        char name[40];
        (void)snprintf(name, sizeof(name), "MIGFS_%s_USEC", handoff_step_name(step)); /* fits */
        if (ran)
            journal_number(fields, name, us);
    }
}

static const char *verified_name(enum verify_verdict verdict)
{
    static const char *const names[] = {
        [VERIFY_UNKNOWN] = "no",      [VERIFY_PARTLY] = "partly", [VERIFY_WHOLE] = "yes",
        [VERIFY_WRITTEN] = "written", [VERIFY_STALE] = "stale",
    };

    return names[verdict];
}

static void add_transition(struct journal_entry *fields, const struct transition *transition,
                           uint64_t duration_ns)
{
    const struct handoff *handoff = &transition->handoff;
    const struct record_seen *seen = transition->verify.seen;

    journal_text(fields, "MESSAGE_ID", TRANSITION_ID);
    journal_text(fields, "MIGFS_TRANSITION", handoff_kind_name(handoff->plan.kind));
    journal_text(fields, "MIGFS_RESULT",
                 handoff->answer != 0 ? "failed"
                 : handoff->contested ? "conflict"
                                      : "done");
    if (handoff->answer != 0)
        journal_number(fields, "ERRNO", (uint64_t)-handoff->answer);
    journal_number(fields, "MIGFS_USEC", duration_ns / 1000);
    add_steps(fields, &transition->timeline);
    if (handoff->plan.kind == HANDOFF_ACQUIRE)
        journal_text(fields, "MIGFS_VERIFIED", verified_name(transition->verify.verdict));
    if (handoff->plan.kind == HANDOFF_ACQUIRE && seen && seen->is_valid)
        journal_text(fields, "MIGFS_FROM_HOST", seen->record.host.name);
    journal_number(fields, "MIGFS_BYTES_FLUSHED", transition->bytes_flushed);
    journal_number(fields, "MIGFS_BYTES_PREFETCHED", transition->bytes_prefetched);
    journal_number(fields, "MIGFS_PAGES_DROPPED", transition->pages_dropped);
}

/* ---- the log ---- */

static const char *failure_mend(int error)
{
    switch (error) {
    case -ETIMEDOUT:
        return "end its guest on the other host, see that the store answers, or raise deadline=";
    case -ENOSPC:
    case -EDQUOT:
        return "make room on the store";
    case -EAGAIN:
    case -EACCES:
        return "end what holds its locks on the other host";
    default:
        return "see the lines before, and that the store answers";
    }
}

static void say(struct context *context, const struct transition *transition,
                const struct states *states, uint64_t duration_ns)
{
    const enum handoff_kind kind = transition->handoff.plan.kind;
    const int error = transition->handoff.answer;
    struct inode *inode = transition->job.inode;
    const struct file_name name = file_name(context, inode);
    struct journal_entry fields;

    fields.size = 0;
    if (log_takes_fields()) {
        add_transition(&fields, transition, duration_ns);
        add_file(&fields, context, inode, states);
    }
    if (error != 0)
        log_with_fields(LOG_ERR, &fields, "%s of %s failed: %s; it is %s; %s",
                        handoff_kind_name(kind), name.text, strerror(-error),
                        owner_state_name(states->after), failure_mend(error));
    else if (kind == HANDOFF_FORGET)
        log_with_fields(LOG_NOTICE, &fields, "%s is accepted as it is", name.text);
    else if (transition->handoff.contested)
        log_with_fields(LOG_NOTICE, &fields,
                        "%s is locked, but another host writes it: no owner here; end its guest "
                        "on one of them",
                        name.text);
    else
        log_with_fields(LOG_INFO, &fields, "%s of %s: %s, generation %ju", handoff_kind_name(kind),
                        name.text, owner_state_name(states->after), (uintmax_t)states->generation);
    if (transition->bytes_prefetched > 0)
        log_info("%s: %ju bytes of its tables were read ahead", name.text,
                 (uintmax_t)transition->bytes_prefetched);
    if (transition->pages_stayed)
        log_warning(
            "%s: this host kept pages of the store that could not be dropped; reads go past "
            "them; see migfsctl doctor for who has it open past migfs",
            name.text);
}

void report_fence(struct context *context, struct inode *inode, enum owner_state state_before)
{
    struct journal_entry fields;
    pthread_mutex_lock(&inode->mutex);
    const struct states states = {state_before, OWNER_FENCED, inode->owner.generation};
    pthread_mutex_unlock(&inode->mutex);
    fields.size = 0;
    if (log_takes_fields()) {
        journal_text(&fields, "MESSAGE_ID", FENCE_ID);
        add_file(&fields, context, inode, &states);
    }
    log_with_fields(LOG_ERR, &fields,
                    "%s: the locks of this host are lost: it was cut off from the server for "
                    "too long. It is fenced: what is open gets EIO, and nothing is written until "
                    "the file is locked anew: end its guest here, and start it again",
                    file_name(context, inode).text);
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

/* The clock that people have. */
static int64_t realtime_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now); /* cannot fail */
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* The inode's locks or unlocks up to now, by that clock. */
static void fill_side(struct timeline_entry *side, struct context *context,
                      const struct transition *transition)
{
    const struct inode *inode = transition->job.inode;
    const struct timeline *timeline = inode->locking ? inode->locking : &transition->timeline;
    const int64_t set_by_ns = realtime_ns() - pool_now_ns();

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

    if (!is_handoff(kind) && (kind != HANDOFF_FORGET || error != 0))
        return;
    pthread_mutex_lock(&inode->mutex);
    const struct handoff_report last = {
        .time_ns = realtime_ns(),
        .released = !handoff_takes_locks(kind),
        .duration_ns = (uint64_t)(transition->timeline.ended_ns - transition->started_ns),
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
    say(context, transition, &states, last.duration_ns);
    if (is_handoff(kind))
        events_publish(context, inode);
    add_to_history(context, transition);
}
