/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "handoff.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

/* The order of each kind; the numbers are those of DESIGN §2. Ended by DONE. */
#define MOST_STEPS 10

static const enum handoff_step orders[][MOST_STEPS] = {
    [HANDOFF_ACQUIRE] =
        {
            HANDOFF_STEP_LOCK,         /* 1 */
            HANDOFF_STEP_TEST,         /* 2 */
            HANDOFF_STEP_DROP,         /* 3 */
            HANDOFF_STEP_READ_RECORD,  /* 4 */
            HANDOFF_STEP_VERIFY,       /* 6, before 5: what is read until it ends may be stale */
            HANDOFF_STEP_INVALIDATE,   /* 5 */
            HANDOFF_STEP_WRITE_RECORD, /* 7 */
            HANDOFF_STEP_ANSWER,
            HANDOFF_DONE,
        },
    [HANDOFF_SHARE] =
        {
            HANDOFF_STEP_LOCK,
            HANDOFF_STEP_TEST, /* where it was handed over */
            HANDOFF_STEP_DROP,
            HANDOFF_STEP_READ_RECORD,
            HANDOFF_STEP_INVALIDATE,
            HANDOFF_STEP_ANSWER,
            HANDOFF_DONE,
        },
    [HANDOFF_LOCK] =
        {
            HANDOFF_STEP_LOCK,
            HANDOFF_STEP_INVALIDATE,
            HANDOFF_STEP_ANSWER,
            HANDOFF_DONE,
        },
    [HANDOFF_QUIET_LOCK] =
        {
            HANDOFF_STEP_LOCK,
            HANDOFF_STEP_ANSWER,
            HANDOFF_DONE,
        },
    /* As an acquire by which nobody becomes owner, and that is not to verify. */
    [HANDOFF_FORGET] =
        {
            HANDOFF_STEP_LOCK,
            HANDOFF_STEP_TEST,
            HANDOFF_STEP_DROP,
            HANDOFF_STEP_READ_RECORD,
            HANDOFF_STEP_INVALIDATE,
            HANDOFF_STEP_WRITE_RECORD,
            HANDOFF_STEP_UNLOCK,
            HANDOFF_STEP_ANSWER,
            HANDOFF_DONE,
        },
    [HANDOFF_RELEASE] =
        {
            HANDOFF_STEP_FLUSH,        /* 1 */
            HANDOFF_STEP_DRAIN,        /* 2, the gate closes before it */
            HANDOFF_STEP_SYNC,         /* 3 */
            HANDOFF_STEP_WRITE_RECORD, /* 4 */
            HANDOFF_STEP_INVALIDATE,   /* 5 */
            HANDOFF_STEP_UNLOCK,       /* 6 */
            HANDOFF_STEP_ANSWER,
            HANDOFF_DONE,
        },
    [HANDOFF_DOWNGRADE] =
        {
            HANDOFF_STEP_FLUSH,
            HANDOFF_STEP_SYNC,
            HANDOFF_STEP_INVALIDATE,
            HANDOFF_STEP_UNLOCK,
            HANDOFF_STEP_ANSWER,
            HANDOFF_DONE,
        },
    [HANDOFF_DEMOTE] =
        {
            HANDOFF_STEP_FLUSH,
            HANDOFF_STEP_SYNC,
            HANDOFF_STEP_UNLOCK,
            HANDOFF_STEP_ANSWER,
            HANDOFF_DONE,
        },
    [HANDOFF_UNLOCK] =
        {
            HANDOFF_STEP_FLUSH,
            HANDOFF_STEP_SYNC, /* of one that is owner no more */
            HANDOFF_STEP_UNLOCK,
            HANDOFF_STEP_ANSWER,
            HANDOFF_DONE,
        },
    [HANDOFF_QUIET_UNLOCK] =
        {
            HANDOFF_STEP_UNLOCK,
            HANDOFF_STEP_ANSWER,
            HANDOFF_DONE,
        },
};

/* Taking back an acquire that failed after LOCK, and a release that failed after its record. */
static const enum handoff_step acquire_undo[] = {
    HANDOFF_STEP_WRITE_RECORD,
    HANDOFF_STEP_UNLOCK,
    HANDOFF_STEP_ANSWER,
    HANDOFF_DONE,
};
static const enum handoff_step release_undo[] = {
    HANDOFF_STEP_WRITE_RECORD,
    HANDOFF_STEP_ANSWER,
    HANDOFF_DONE,
};

bool handoff_takes_locks(enum handoff_kind kind)
{
    return kind <= HANDOFF_FORGET;
}

/* Nothing may be cached while one of these is under way. */
static enum owner_transition transition_of(enum handoff_kind kind)
{
    switch (kind) {
    case HANDOFF_ACQUIRE:
    case HANDOFF_SHARE:
        return OWNER_ACQUIRING;
    case HANDOFF_RELEASE:
    case HANDOFF_DOWNGRADE:
        return OWNER_RELEASING;
    default:
        return OWNER_SETTLED;
    }
}

enum handoff_kind handoff_kind_of(const struct owner *owner, enum claim before, enum claim after,
                                  bool unlocking)
{
    const bool acquired = owner->standing == OWNER_ACQUIRED;
    const bool shares = owner->standing == OWNER_SHARES;
    /* A read lock in the place of a write lock gives bytes back too. */
    const bool giving = unlocking || after < before;

    if (after >= CLAIM_OWNER_READING) {
        if (acquired && before == CLAIM_OWNER_WRITING && after == CLAIM_OWNER_READING)
            return HANDOFF_DEMOTE;
        if (giving)
            return acquired ? HANDOFF_QUIET_UNLOCK : HANDOFF_UNLOCK;
        if (acquired && (after == CLAIM_OWNER_READING || before == CLAIM_OWNER_WRITING))
            return HANDOFF_QUIET_LOCK;
        return HANDOFF_ACQUIRE;
    }
    if (after == CLAIM_SHARED) {
        if (shares)
            return giving ? HANDOFF_QUIET_UNLOCK : HANDOFF_QUIET_LOCK;
        return giving ? HANDOFF_DOWNGRADE : HANDOFF_SHARE;
    }
    if (giving)
        return acquired || shares ? HANDOFF_RELEASE : HANDOFF_UNLOCK;
    return HANDOFF_LOCK;
}

static const enum handoff_step *order_of(const struct handoff *handoff)
{
    if (!handoff->undoing)
        return orders[handoff->plan.kind];
    return handoff_takes_locks(handoff->plan.kind) ? acquire_undo : release_undo;
}

static bool applies(const struct handoff *handoff, enum handoff_step step)
{
    const struct handoff_plan *plan = &handoff->plan;

    switch (step) {
    case HANDOFF_STEP_TEST:
        return plan->tests;
    case HANDOFF_STEP_READ_RECORD:
    case HANDOFF_STEP_VERIFY: /* a contest goes past it */
        return plan->keeps_record;
    case HANDOFF_STEP_SYNC:
        return plan->kind != HANDOFF_UNLOCK || handoff->leaves_nothing;
    case HANDOFF_STEP_WRITE_RECORD:
        return plan->keeps_record && plan->writes && !handoff->contested;
    case HANDOFF_STEP_ANSWER:
        return plan->has_caller;
    default:
        return true;
    }
}

/*
 * An acquire owns, a release hands over; either one taken back does the opposite. Where the record
 * of the acquire could not be written the release's is the first to tell of this turn.
 */
static void enter_record(struct handoff *handoff, const struct owner *owner)
{
    const enum handoff_kind kind = handoff->plan.kind;
    const bool taking = handoff_takes_locks(kind) && kind != HANDOFF_FORGET;
    const bool is_untold = taking || (kind == HANDOFF_RELEASE && !owner->recorded);

    handoff->record_state = taking != handoff->undoing ? RECORD_OWNED : RECORD_RELEASED;
    if (!handoff->undoing)
        handoff->generation = owner->generation + (is_untold ? 1 : 0);
}

/*
 * A latched fence takes a full acquire. One that has handed over shares only what was tested: a
 * QEMU that is about to own takes 101 first, and may find that another host owns.
 */
static void share(struct owner *owner, bool is_tested)
{
    const bool handed_over = owner->standing == OWNER_HANDED_OVER;

    if (owner->standing == OWNER_LOST || (handed_over && !is_tested))
        return;
    owner->shares_again = handed_over;
    owner->standing = OWNER_SHARES;
}

/*
 * Whether the handles of now are stopped with a release. A reader hands nothing over, unless its
 * handles shall be stopped; what was handed over before it was shared is so again.
 */
static bool stops(const struct owner *owner, bool stops_handles)
{
    return owner->writing || owner->shares_again || stops_handles;
}

/* `recorded` is the record's: it stays where that could not be written. */
static void hand_over(struct owner *owner, bool stops_handles)
{
    if (owner->standing != OWNER_LOST)
        owner->standing = stops(owner, stops_handles) ? OWNER_HANDED_OVER : OWNER_NEVER;
    owner->writing = false;
    owner->shares_again = false;
}

/*
 * What is given up is so before its bytes go, and whether or not they go well: what the other host
 * may do from then on is not ours to know.
 */
static void enter_unlock(struct handoff *handoff, struct owner *owner)
{
    if (handoff->plan.kind == HANDOFF_RELEASE)
        hand_over(owner, handoff->plan.stops_handles);
    if (handoff->plan.takes_back && owner->standing == OWNER_HANDED_OVER)
        owner->standing = OWNER_NEVER;
    if (handoff->plan.kind == HANDOFF_DOWNGRADE)
        share(owner, false);
}

/* What holds from the moment that a step begins, before anybody carries it out. */
static void enter(struct handoff *handoff, struct owner *owner, enum handoff_step step)
{
    switch (step) {
    case HANDOFF_STEP_DRAIN: /* CLOSE_GATE: others here may go on beside who never wrote */
        owner->gate_closed = stops(owner, handoff->plan.stops_handles);
        break;
    case HANDOFF_STEP_INVALIDATE:
        owner->epoch++;
        break;
    case HANDOFF_STEP_WRITE_RECORD:
        enter_record(handoff, owner);
        break;
    case HANDOFF_STEP_UNLOCK:
        enter_unlock(handoff, owner);
        break;
    default:
        break;
    }
}

/* The transition is over: what stands now. */
static void settle(struct handoff *handoff, struct owner *owner)
{
    owner->transition = OWNER_SETTLED;
    owner->gate_closed = false;
    if (handoff->answer != 0 || handoff->contested || handoff->undoing)
        return;

    switch (handoff->plan.kind) {
    case HANDOFF_ACQUIRE:
        owner->standing = OWNER_ACQUIRED;
        owner->writing = handoff->plan.writes;
        owner->shares_again = false;
        owner->sync_failed = false;
        owner->contested = false;
        owner->foreign_owner = false;
        break;
    case HANDOFF_SHARE:
        share(owner, handoff->plan.tests);
        break;
    default:
        break;
    }
}

static enum handoff_step advance(struct handoff *handoff, struct owner *owner)
{
    const enum handoff_step *order = order_of(handoff);

    while (order[handoff->position] != HANDOFF_DONE && !applies(handoff, order[handoff->position]))
        handoff->position++;

    handoff->step = order[handoff->position];
    if (handoff->step == HANDOFF_STEP_ANSWER || handoff->step == HANDOFF_DONE)
        settle(handoff, owner);
    enter(handoff, owner, handoff->step);
    return handoff->step;
}

static enum handoff_step next(struct handoff *handoff, struct owner *owner)
{
    handoff->position++;
    return advance(handoff, owner);
}

/* Goes to `step` of the present order, which has it. */
static enum handoff_step jump(struct handoff *handoff, struct owner *owner, enum handoff_step step)
{
    const enum handoff_step *order = order_of(handoff);

    handoff->position = 0;
    while (order[handoff->position] != step)
        handoff->position++;
    return advance(handoff, owner);
}

/* Who gives up what was contested asks anew another time: for its state this is a transition. */
static void forget_contest(struct owner *owner)
{
    if (owner->contested)
        owner->epoch++;
    owner->contested = false;
}

enum handoff_step handoff_begin(struct handoff *handoff, struct owner *owner,
                                const struct handoff_plan *plan)
{
    *handoff = (struct handoff){.plan = *plan};
    if (plan->kind == HANDOFF_RELEASE)
        handoff->plan.writes = owner->writing && !owner->sync_failed;
    if (plan->kind == HANDOFF_SHARE)
        handoff->plan.tests = plan->tests && owner->standing == OWNER_HANDED_OVER;
    /* A close has told its own loss, and is not to take another handle's from it. */
    handoff->leaves_nothing =
        plan->has_caller && (owner->standing != OWNER_NEVER || owner->contested);
    owner->transition = transition_of(plan->kind);
    if (!handoff_takes_locks(plan->kind))
        forget_contest(owner);
    return advance(handoff, owner);
}

static enum handoff_step undo(struct handoff *handoff, struct owner *owner, int error,
                              bool record_may_be_written)
{
    handoff->answer = error;
    handoff->undoing = true;
    handoff->position = record_may_be_written ? 0 : 1;
    return advance(handoff, owner);
}

/* Taking: a failure gives the bytes back, and the caller is told. */
static enum handoff_step taking_failed(struct handoff *handoff, struct owner *owner, int error)
{
    const bool expired = error == -ETIMEDOUT;
    const bool forgets = handoff->plan.kind == HANDOFF_FORGET;
    const bool wrote_record = handoff->step == HANDOFF_STEP_WRITE_RECORD;
    const bool of_record = wrote_record || handoff->step == HANDOFF_STEP_READ_RECORD;
    const bool needs_record = handoff->plan.record_is_required || forgets;

    if (handoff->step == HANDOFF_STEP_LOCK && !expired) {
        handoff->answer = error; /* nothing was taken */
        return jump(handoff, owner, HANDOFF_STEP_ANSWER);
    }
    if (of_record && !expired && !needs_record)
        return next(handoff, owner); /* said by who did it: an image is never blocked by it */
    if (handoff->step == HANDOFF_STEP_UNLOCK) { /* a FORGET's: nobody keeps them */
        handoff->answer = error;
        return next(handoff, owner);
    }
    return undo(handoff, owner, error, wrote_record && !forgets);
}

/*
 * Giving: with a caller to tell, the bytes stay; without one they go, and the record stays. A sync
 * that failed after the deadline has failed all the same.
 */
static enum handoff_step giving_failed(struct handoff *handoff, struct owner *owner, int error,
                                       bool has_failed)
{
    const bool told = handoff->plan.has_caller;
    const bool expired = error == -ETIMEDOUT;

    switch (handoff->step) {
    case HANDOFF_STEP_FLUSH:
    case HANDOFF_STEP_DRAIN:
    case HANDOFF_STEP_SYNC:
        if (handoff->plan.kind == HANDOFF_UNLOCK && !expired) {
            /* POSIX: an unlock does not fail by the file's data; but who lost it shall know. */
            if (handoff->step == HANDOFF_STEP_SYNC)
                handoff->answer = error;
            return next(handoff, owner);
        }
        if (has_failed && handoff->step != HANDOFF_STEP_DRAIN)
            owner->sync_failed = true; /* told once; the next sync would not know of it */
        if (told)
            return undo(handoff, owner, error, false);
        handoff->plan.writes = false; /* the record stays at `owner` */
        return next(handoff, owner);
    case HANDOFF_STEP_WRITE_RECORD:
    case HANDOFF_STEP_INVALIDATE:
        if (expired && told)
            return undo(handoff, owner, error, handoff->plan.kind == HANDOFF_RELEASE);
        return next(handoff, owner); /* the locks decide, not the record */
    default:                         /* UNLOCK: given up for us, whatever became of the bytes */
        handoff->answer = error;
        return next(handoff, owner);
    }
}

/*
 * Another host writes: nothing that is cached may be believed, and one that was owner until now, or
 * shared what it now wants alone, is so no longer. The record is not touched. Where it only shares,
 * what was handed over stays so: who is to own tests again.
 */
static enum handoff_step test_conflicts(struct handoff *handoff, struct owner *owner)
{
    handoff->contested = true;
    owner->contested = owner->contested || handoff->plan.kind != HANDOFF_SHARE;
    if (owner->standing == OWNER_ACQUIRED || owner->standing == OWNER_SHARES)
        hand_over(owner, false);
    return jump(handoff, owner, HANDOFF_STEP_INVALIDATE);
}

/* What the step did is so, even where the deadline has passed meanwhile. */
static void note_success(struct handoff *handoff, struct owner *owner)
{
    if (handoff->step != HANDOFF_STEP_WRITE_RECORD)
        return;
    owner->generation = handoff->generation;
    owner->recorded = handoff->record_state == RECORD_OWNED;
}

/* Who goes on storing into a mapping while it hands the file over is not waited for for ever. */
#define MOST_SYNCS_AGAIN 32

/* From UNLOCK on pages are refused: nothing is to be on its way by then. */
static bool must_sync_again(const struct handoff *handoff, const struct handoff_outcome *outcome)
{
    return outcome->pages_came && !handoff_takes_locks(handoff->plan.kind) &&
           handoff->syncs_again < MOST_SYNCS_AGAIN;
}

enum handoff_step handoff_next(struct handoff *handoff, struct owner *owner,
                               const struct handoff_outcome *outcome)
{
    const int error = outcome->expired ? -ETIMEDOUT : outcome->error;

    if (handoff->step == HANDOFF_STEP_ANSWER) {
        handoff->step = HANDOFF_DONE; /* settled before the answer: others may follow it at once */
        return HANDOFF_DONE;
    }
    if (outcome->error == 0)
        note_success(handoff, owner);
    if (handoff->undoing) {
        handoff->answer = outcome->expired ? -ETIMEDOUT : handoff->answer;
        return next(handoff, owner);
    }
    if (error != 0)
        return handoff_takes_locks(handoff->plan.kind)
                   ? taking_failed(handoff, owner, error)
                   : giving_failed(handoff, owner, error, outcome->error != 0);
    if (must_sync_again(handoff, outcome)) {
        handoff->syncs_again++;
        return jump(handoff, owner,
                    handoff->plan.kind == HANDOFF_RELEASE ? HANDOFF_STEP_DRAIN : HANDOFF_STEP_SYNC);
    }
    if (outcome->conflict)
        return test_conflicts(handoff, owner);
    if (handoff->contested && handoff->plan.conflict_is_error)
        return undo(handoff, owner, -ETIMEDOUT, false);
    return next(handoff, owner);
}

bool handoff_test_waits(const struct handoff *handoff, const struct owner *owner)
{
    /* Who locks byte by byte waits once; each call of the ioctl is a new question. */
    return handoff->plan.kind != HANDOFF_SHARE && handoff->plan.has_caller &&
           (handoff->plan.conflict_is_error || !owner->contested);
}

/* Who takes back a release that it made of an acquire goes on reading. */
bool handoff_may_leave_pages(const struct handoff *handoff, bool is_alone)
{
    return handoff->plan.kind == HANDOFF_RELEASE && !handoff->plan.takes_back && is_alone;
}

const char *handoff_step_name(enum handoff_step step)
{
    static const char *const names[] = {
        [HANDOFF_STEP_LOCK] = "LOCK",
        [HANDOFF_STEP_TEST] = "TEST",
        [HANDOFF_STEP_DROP] = "DROP",
        [HANDOFF_STEP_READ_RECORD] = "READ_RECORD",
        [HANDOFF_STEP_INVALIDATE] = "INVALIDATE",
        [HANDOFF_STEP_VERIFY] = "VERIFY",
        [HANDOFF_STEP_WRITE_RECORD] = "WRITE_RECORD",
        [HANDOFF_STEP_FLUSH] = "FLUSH",
        [HANDOFF_STEP_DRAIN] = "DRAIN",
        [HANDOFF_STEP_SYNC] = "SYNC",
        [HANDOFF_STEP_UNLOCK] = "UNLOCK",
        [HANDOFF_STEP_ANSWER] = "ANSWER",
        [HANDOFF_DONE] = "DONE",
    };
    return names[step];
}

const char *handoff_kind_name(enum handoff_kind kind)
{
    static const char *const names[] = {
        [HANDOFF_ACQUIRE] = "acquire",     [HANDOFF_SHARE] = "share",
        [HANDOFF_LOCK] = "lock",           [HANDOFF_QUIET_LOCK] = "more lock",
        [HANDOFF_FORGET] = "forget",       [HANDOFF_RELEASE] = "release",
        [HANDOFF_DOWNGRADE] = "downgrade", [HANDOFF_DEMOTE] = "demote",
        [HANDOFF_UNLOCK] = "unlock",       [HANDOFF_QUIET_UNLOCK] = "more unlock",
    };
    return names[kind];
}
