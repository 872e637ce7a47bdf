/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cache/handoff: the order of each kind as DESIGN §2 has it, what single failures lead to, and
 * then every sequence of outcomes from every start, against what must hold of all of them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cache/handoff.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define KINDS ((unsigned)HANDOFF_QUIET_UNLOCK + 1)

/* More than the longest order and its undoing. */
#define BOUND 16u

static const struct handoff_outcome well = {0};
static const struct handoff_outcome failed = {.error = -EIO};
static const struct handoff_outcome conflict = {.conflict = true};
static const struct handoff_outcome late = {.expired = true};
static const struct handoff_outcome pages_came = {.pages_came = true};
static const struct handoff_outcome late_and_failed = {.error = -ETIMEDOUT, .expired = true};

/* A transition and all that it went through. */
struct run {
    struct handoff handoff;
    struct owner owner;
    enum handoff_step steps[BOUND];
    struct handoff_outcome outcomes[BOUND]; /* of the steps before the last */
    bool undone[BOUND];                     /* the step took back */
    unsigned count;
};

static void run_note(struct run *run, enum handoff_step step)
{
    assert_true(run->count < BOUND);
    run->steps[run->count] = step;
    run->undone[run->count] = run->handoff.undoing;
    run->count++;
}

static void run_begin(struct run *run, const struct owner *start, const struct handoff_plan *plan)
{
    *run = (struct run){.owner = *start};
    run_note(run, handoff_begin(&run->handoff, &run->owner, plan));
}

static enum handoff_step run_now(const struct run *run)
{
    return run->steps[run->count - 1];
}

static void run_next(struct run *run, const struct handoff_outcome *outcome)
{
    run->outcomes[run->count - 1] = *outcome;
    run_note(run, handoff_next(&run->handoff, &run->owner, outcome));
}

/* Goes on until `step` is under way, all well. */
static void run_to(struct run *run, enum handoff_step step)
{
    while (run_now(run) != step) {
        assert_int_not_equal(run_now(run), HANDOFF_DONE);
        run_next(run, &well);
    }
}

static void run_out(struct run *run)
{
    run_to(run, HANDOFF_DONE);
}

/* The last time that the step was under way, or -1. */
static int run_find(const struct run *run, enum handoff_step step, bool undone)
{
    for (unsigned i = run->count; i-- > 0;) {
        if (run->steps[i] == step && run->undone[i] == undone)
            return (int)i;
    }
    return -1;
}

static bool run_did(const struct run *run, enum handoff_step step)
{
    return run_find(run, step, false) >= 0 || run_find(run, step, true) >= 0;
}

/* Whether the step was carried out, not to take back, and went well in time. */
static bool run_did_well(const struct run *run, enum handoff_step step)
{
    const int at = run_find(run, step, false);

    return at >= 0 && run->outcomes[at].error == 0 && !run->outcomes[at].expired &&
           !run->outcomes[at].conflict;
}

static void assert_steps(const struct run *run, const char *expected)
{
    char steps[256] = "";

    for (unsigned i = 0; i < run->count; i++) {
        const size_t used = strlen(steps);

        snprintf(steps + used, sizeof(steps) - used, "%s%s", i > 0 ? " " : "",
                 handoff_step_name(run->steps[i]));
    }
    assert_string_equal(steps, expected);
}

static const struct handoff_plan acquire_plan = {
    .kind = HANDOFF_ACQUIRE,
    .writes = true,
    .tests = true,
    .has_caller = true,
    .keeps_record = true,
};

static const struct handoff_plan release_plan = {
    .kind = HANDOFF_RELEASE,
    .has_caller = true,
    .keeps_record = true,
};

static const struct owner plain = {.generation = 5};
static const struct owner standby = {.foreign_owner = true, .generation = 5};
static const struct owner shares = {.standing = OWNER_SHARES, .generation = 5};
static const struct owner owns = {
    .standing = OWNER_ACQUIRED, .writing = true, .recorded = true, .generation = 5};
static const struct owner owns_reading = {.standing = OWNER_ACQUIRED, .generation = 5};
static const struct owner handed_over = {
    .standing = OWNER_HANDED_OVER, .foreign_owner = true, .generation = 5};
static const struct owner lost = {.standing = OWNER_LOST, .generation = 5};

/* Order --------------------------------------------------------------------------------------- */

static struct handoff_plan plan_of(enum handoff_kind kind)
{
    struct handoff_plan plan = acquire_plan;

    plan.kind = kind;
    return plan;
}

static void steps_come_in_the_order_of_the_design(void **state)
{
    static const char *const expected[] = {
        [HANDOFF_ACQUIRE] = "LOCK TEST DROP READ_RECORD VERIFY INVALIDATE WRITE_RECORD ANSWER DONE",
        [HANDOFF_SHARE] = "LOCK DROP READ_RECORD INVALIDATE ANSWER DONE",
        [HANDOFF_LOCK] = "LOCK INVALIDATE ANSWER DONE",
        [HANDOFF_QUIET_LOCK] = "LOCK ANSWER DONE",
        [HANDOFF_FORGET] = "LOCK TEST DROP READ_RECORD INVALIDATE WRITE_RECORD UNLOCK ANSWER DONE",
        [HANDOFF_RELEASE] = "FLUSH DRAIN SYNC WRITE_RECORD INVALIDATE UNLOCK ANSWER DONE",
        [HANDOFF_DOWNGRADE] = "FLUSH SYNC INVALIDATE UNLOCK ANSWER DONE",
        [HANDOFF_DEMOTE] = "FLUSH SYNC UNLOCK ANSWER DONE",
        [HANDOFF_UNLOCK] = "FLUSH SYNC UNLOCK ANSWER DONE",
        [HANDOFF_QUIET_UNLOCK] = "UNLOCK ANSWER DONE",
    };

    (void)state;
    for (unsigned kind = 0; kind < KINDS; kind++) {
        const struct handoff_plan plan = plan_of((enum handoff_kind)kind);
        struct run run;

        run_begin(&run, kind <= HANDOFF_FORGET ? &plain : &owns, &plan);
        run_out(&run);
        assert_steps(&run, expected[kind]);
        assert_int_equal(run.handoff.answer, 0);
    }
}

static void a_reader_is_owner_without_a_record(void **state)
{
    struct handoff_plan plan = acquire_plan;
    struct run run;

    (void)state;
    plan.writes = false;
    run_begin(&run, &plain, &plan);
    run_out(&run);
    assert_steps(&run, "LOCK TEST DROP READ_RECORD VERIFY INVALIDATE ANSWER DONE");
    assert_int_equal(owner_state(&run.owner), OWNER_OWNER);
    assert_false(run.owner.recorded);

    run_begin(&run, &owns_reading, &release_plan);
    run_out(&run);
    assert_steps(&run, "FLUSH DRAIN SYNC INVALIDATE UNLOCK ANSWER DONE");
    assert_int_equal(owner_state(&run.owner), OWNER_PLAIN);
}

static void without_record_or_test_those_steps_alone_are_left_out(void **state)
{
    struct handoff_plan plan = acquire_plan;
    struct run run;

    (void)state;
    plan.keeps_record = false;
    run_begin(&run, &plain, &plan);
    run_out(&run);
    assert_steps(&run, "LOCK TEST DROP INVALIDATE ANSWER DONE");

    plan = acquire_plan;
    plan.tests = false;
    run_begin(&run, &plain, &plan);
    run_out(&run);
    assert_steps(&run, "LOCK DROP READ_RECORD VERIFY INVALIDATE WRITE_RECORD ANSWER DONE");
}

static void an_acquire_owns_and_raises_the_generation(void **state)
{
    static const struct owner *const starts[] = {&plain, &standby, &shares, &handed_over, &lost};

    (void)state;
    for (size_t i = 0; i < COUNT(starts); i++) {
        struct run run;

        run_begin(&run, starts[i], &acquire_plan);
        run_to(&run, HANDOFF_STEP_WRITE_RECORD);
        assert_int_equal(run.handoff.record_state, RECORD_OWNED);
        assert_int_equal(run.handoff.generation, 6);
        assert_int_equal(run.owner.epoch, 1);
        run_out(&run);
        assert_int_equal(owner_state(&run.owner), OWNER_OWNER);
        assert_true(owner_may_cache(&run.owner));
        assert_int_equal(run.owner.generation, 6);
        assert_true(run.owner.recorded);
    }
}

static void an_acquire_goes_by_the_generation_that_it_has_read(void **state)
{
    struct run run;

    (void)state;
    run_begin(&run, &plain, &acquire_plan);
    run_to(&run, HANDOFF_STEP_READ_RECORD);
    (void)owner_record_seen(&run.owner, true, 41); /* the state is asserted below */
    run_to(&run, HANDOFF_STEP_WRITE_RECORD);
    assert_int_equal(run.handoff.generation, 42);
    run_out(&run);
    assert_int_equal(owner_state(&run.owner), OWNER_OWNER);
    assert_false(run.owner.foreign_owner);
}

static void a_release_hands_over_under_the_same_generation(void **state)
{
    struct run run;

    (void)state;
    run_begin(&run, &owns, &release_plan);
    run_to(&run, HANDOFF_STEP_WRITE_RECORD);
    assert_int_equal(run.handoff.record_state, RECORD_RELEASED);
    assert_int_equal(run.handoff.generation, 5);
    run_to(&run, HANDOFF_STEP_UNLOCK);
    assert_int_equal(owner_state(&run.owner), OWNER_RELEASED);
    run_out(&run);
    assert_int_equal(owner_state(&run.owner), OWNER_RELEASED);
    assert_false(run.owner.recorded);
    assert_int_equal(run.owner.epoch, 1);
}

static void the_gate_closes_after_the_flush_and_for_good(void **state)
{
    struct run run;

    (void)state;
    run_begin(&run, &owns, &release_plan);
    assert_int_equal(run_now(&run), HANDOFF_STEP_FLUSH);
    assert_int_equal(owner_write_permitted(&run.owner, FENCE_RELEASE, true, false), 0);
    while (run_now(&run) != HANDOFF_DONE) {
        run_next(&run, &well);
        assert_int_equal(owner_write_permitted(&run.owner, FENCE_RELEASE, true, false), -EIO);
    }
}

static void what_was_handed_over_is_shared_when_tested_and_handed_over_again(void **state)
{
    const struct handoff_plan share_plan = plan_of(HANDOFF_SHARE);
    struct run run;

    (void)state;
    run_begin(&run, &handed_over, &share_plan);
    run_to(&run, HANDOFF_STEP_TEST);
    assert_int_equal(owner_state(&run.owner), OWNER_RELEASED);
    run_out(&run);
    assert_int_equal(run.handoff.answer, 0);
    assert_int_equal(owner_state(&run.owner), OWNER_SHARED);

    const struct owner sharing = run.owner;
    run_begin(&run, &sharing, &release_plan);
    run_to(&run, HANDOFF_STEP_DRAIN);
    assert_int_equal(owner_write_permitted(&run.owner, FENCE_RELEASE, false, false), -EIO);
    run_out(&run);
    assert_int_equal(owner_state(&run.owner), OWNER_RELEASED);
}

static void what_was_handed_over_stays_so_where_another_host_owns(void **state)
{
    const struct handoff_plan share_plan = plan_of(HANDOFF_SHARE);
    struct run run;

    (void)state;
    run_begin(&run, &handed_over, &share_plan);
    run_to(&run, HANDOFF_STEP_TEST);
    assert_false(handoff_test_waits(&run.handoff, &run.owner));
    run_next(&run, &conflict);
    run_out(&run);
    assert_int_equal(run.handoff.answer, 0);
    assert_int_equal(owner_state(&run.owner), OWNER_RELEASED);
    assert_false(run.owner.contested); /* who is to own waits as ever */
}

static void a_downgraded_owner_writes_its_record_at_the_release(void **state)
{
    const struct handoff_plan downgrade = plan_of(HANDOFF_DOWNGRADE);
    struct run run;

    (void)state;
    run_begin(&run, &owns, &downgrade);
    run_out(&run);
    assert_int_equal(owner_state(&run.owner), OWNER_SHARED);
    assert_true(run.owner.recorded);

    const struct owner downgraded = run.owner;
    run_begin(&run, &downgraded, &release_plan);
    run_out(&run);
    assert_true(run_did(&run, HANDOFF_STEP_WRITE_RECORD));
    assert_int_equal(owner_state(&run.owner), OWNER_RELEASED);
}

static void one_that_only_shared_has_nothing_to_hand_over(void **state)
{
    struct run run;

    (void)state;
    run_begin(&run, &shares, &release_plan);
    run_out(&run);
    assert_steps(&run, "FLUSH DRAIN SYNC INVALIDATE UNLOCK ANSWER DONE");
    assert_int_equal(owner_state(&run.owner), OWNER_PLAIN);
}

static void release_by_the_ioctl_stops_handles_that_never_owned(void **state)
{
    struct handoff_plan plan = release_plan;
    struct run run;

    (void)state;
    plan.stops_handles = true;
    run_begin(&run, &plain, &plan);
    run_out(&run);
    assert_steps(&run, "FLUSH DRAIN SYNC INVALIDATE UNLOCK ANSWER DONE");
    assert_int_equal(owner_state(&run.owner), OWNER_RELEASED);
    assert_int_equal(owner_write_permitted(&run.owner, FENCE_RELEASE, false, false), -EIO);
}

/* Failures ------------------------------------------------------------------------------------ */

static void conflict_is_answered_as_posix_says_and_touches_no_record(void **state)
{
    struct run run;

    (void)state;
    run_begin(&run, &plain, &acquire_plan);
    assert_true(handoff_test_waits(&run.handoff, &run.owner));
    run_to(&run, HANDOFF_STEP_TEST);
    run_next(&run, &conflict);
    run_out(&run);
    assert_steps(&run, "LOCK TEST INVALIDATE ANSWER DONE");
    assert_int_equal(run.handoff.answer, 0);
    assert_int_equal(owner_state(&run.owner), OWNER_STANDBY);
}

static void only_the_first_conflict_waits_out_the_deadline(void **state)
{
    const struct handoff_plan unlock = plan_of(HANDOFF_UNLOCK);
    struct run run;

    (void)state;
    run_begin(&run, &plain, &acquire_plan);
    run_to(&run, HANDOFF_STEP_TEST);
    run_next(&run, &conflict);
    run_out(&run);

    struct owner contested = run.owner;
    run_begin(&run, &contested, &acquire_plan);
    assert_false(handoff_test_waits(&run.handoff, &run.owner));

    run_begin(&run, &contested, &unlock);
    run_out(&run);
    contested = run.owner;
    assert_int_equal(owner_state(&contested), OWNER_PLAIN);
    run_begin(&run, &contested, &acquire_plan);
    assert_true(handoff_test_waits(&run.handoff, &run.owner));
}

static void conflict_of_the_ioctl_gives_the_bytes_back(void **state)
{
    struct handoff_plan plan = acquire_plan;
    struct run run;

    (void)state;
    plan.conflict_is_error = true;
    run_begin(&run, &plain, &plan);
    run_to(&run, HANDOFF_STEP_TEST);
    run_next(&run, &conflict);
    run_out(&run);
    assert_steps(&run, "LOCK TEST INVALIDATE UNLOCK ANSWER DONE");
    assert_int_equal(run.handoff.answer, -ETIMEDOUT);
}

static void an_owner_for_reading_that_meets_a_writer_is_owner_no_more(void **state)
{
    struct run run;

    (void)state;
    run_begin(&run, &owns_reading, &acquire_plan);
    run_to(&run, HANDOFF_STEP_TEST);
    run_next(&run, &conflict);
    run_out(&run);
    assert_false(owner_may_cache(&run.owner));
    assert_int_equal(owner_state(&run.owner), OWNER_STANDBY);
    assert_true(run.owner.epoch > 0);
}

static void lock_that_is_refused_changes_nothing(void **state)
{
    struct run run;

    (void)state;
    run_begin(&run, &standby, &acquire_plan);
    run_next(&run, &(struct handoff_outcome){.error = -EAGAIN});
    run_out(&run);
    assert_steps(&run, "LOCK ANSWER DONE");
    assert_int_equal(run.handoff.answer, -EAGAIN);
    assert_int_equal(owner_state(&run.owner), OWNER_STANDBY);
}

static void record_that_fails_blocks_an_image_only_when_required(void **state)
{
    static const enum handoff_step of_record[] = {HANDOFF_STEP_READ_RECORD,
                                                  HANDOFF_STEP_WRITE_RECORD};

    (void)state;
    for (size_t i = 0; i < COUNT(of_record); i++) {
        struct handoff_plan plan = acquire_plan;
        struct run run;

        run_begin(&run, &plain, &plan);
        run_to(&run, of_record[i]);
        run_next(&run, &(struct handoff_outcome){.error = -EIO});
        run_out(&run);
        assert_int_equal(run.handoff.answer, 0);
        assert_int_equal(owner_state(&run.owner), OWNER_OWNER);

        plan.record_is_required = true;
        run_begin(&run, &plain, &plan);
        run_to(&run, of_record[i]);
        run_next(&run, &failed);
        run_out(&run);
        assert_int_equal(run.handoff.answer, -EIO);
        assert_int_equal(owner_state(&run.owner), OWNER_PLAIN);
        assert_true(run_find(&run, HANDOFF_STEP_UNLOCK, true) >= 0);
    }
}

static void what_is_known_to_be_stale_is_not_acquired(void **state)
{
    static const struct owner *const starts[] = {&plain, &standby, &shares, &handed_over, &lost};

    (void)state;
    for (size_t i = 0; i < COUNT(starts); i++) {
        struct run run;

        run_begin(&run, starts[i], &acquire_plan);
        run_to(&run, HANDOFF_STEP_VERIFY);
        run_next(&run, &failed);
        run_out(&run);
        assert_steps(&run, "LOCK TEST DROP READ_RECORD VERIFY UNLOCK ANSWER DONE");
        assert_int_equal(run.handoff.answer, -EIO);
        assert_int_equal(run.owner.standing, starts[i]->standing);
        assert_false(owner_may_cache(&run.owner));
    }
}

static void what_another_host_writes_is_not_verified(void **state)
{
    struct run run;

    (void)state;
    run_begin(&run, &plain, &acquire_plan);
    run_to(&run, HANDOFF_STEP_TEST);
    run_next(&run, &conflict);
    run_out(&run);
    assert_false(run_did(&run, HANDOFF_STEP_VERIFY));
}

static void sync_that_fails_with_a_caller_keeps_owner_and_bytes(void **state)
{
    static const enum handoff_step before_the_record[] = {HANDOFF_STEP_FLUSH, HANDOFF_STEP_DRAIN,
                                                          HANDOFF_STEP_SYNC};

    (void)state;
    for (size_t i = 0; i < COUNT(before_the_record); i++) {
        struct run run;

        run_begin(&run, &owns, &release_plan);
        run_to(&run, before_the_record[i]);
        run_next(&run, &failed);
        run_out(&run);
        assert_int_equal(run.handoff.answer, -EIO);
        assert_false(run_did(&run, HANDOFF_STEP_UNLOCK));
        assert_false(run_did(&run, HANDOFF_STEP_WRITE_RECORD));
        assert_int_equal(owner_state(&run.owner), OWNER_OWNER);
        assert_int_equal(owner_write_permitted(&run.owner, FENCE_RELEASE, true, false), 0);
    }
}

static void sync_that_fails_without_a_caller_leaves_the_record_at_owner(void **state)
{
    struct handoff_plan plan = release_plan;
    struct run run;

    (void)state;
    plan.has_caller = false;
    run_begin(&run, &owns, &plan);
    run_to(&run, HANDOFF_STEP_SYNC);
    run_next(&run, &failed);
    run_out(&run);
    assert_steps(&run, "FLUSH DRAIN SYNC INVALIDATE UNLOCK DONE");
    assert_int_equal(owner_state(&run.owner), OWNER_RELEASED);
    assert_true(run.owner.recorded);
}

static void record_that_fails_at_the_release_does_not_keep_the_bytes(void **state)
{
    struct run run;

    (void)state;
    run_begin(&run, &owns, &release_plan);
    run_to(&run, HANDOFF_STEP_WRITE_RECORD);
    run_next(&run, &failed);
    run_out(&run);
    assert_int_equal(run.handoff.answer, 0);
    assert_int_equal(owner_state(&run.owner), OWNER_RELEASED);
    assert_true(run.owner.recorded); /* it still says so */
}

static void release_that_expires_after_its_record_owns_again(void **state)
{
    struct run run;

    (void)state;
    run_begin(&run, &owns, &release_plan);
    run_to(&run, HANDOFF_STEP_INVALIDATE);
    assert_false(run.owner.recorded);
    run_next(&run, &late);
    assert_int_equal(run_now(&run), HANDOFF_STEP_WRITE_RECORD);
    assert_int_equal(run.handoff.record_state, RECORD_OWNED);
    run_next(&run, &late);
    run_out(&run);
    assert_int_equal(run.handoff.answer, -ETIMEDOUT);
    assert_false(run_did(&run, HANDOFF_STEP_UNLOCK));
    assert_int_equal(owner_state(&run.owner), OWNER_OWNER);
    assert_true(run.owner.recorded);
}

static void acquire_that_expires_after_its_record_takes_it_back(void **state)
{
    struct run run;

    (void)state;
    run_begin(&run, &plain, &acquire_plan);
    run_to(&run, HANDOFF_STEP_WRITE_RECORD);
    run_next(&run, &late);
    assert_int_equal(run_now(&run), HANDOFF_STEP_WRITE_RECORD);
    assert_int_equal(run.handoff.record_state, RECORD_RELEASED);
    assert_int_equal(run.handoff.generation, 6);
    run_next(&run, &late);
    assert_int_equal(run_now(&run), HANDOFF_STEP_UNLOCK);
    run_next(&run, &late);
    run_out(&run);
    assert_int_equal(run.handoff.answer, -ETIMEDOUT);
    assert_int_equal(owner_state(&run.owner), OWNER_PLAIN);
    assert_false(run.owner.recorded);
}

static void ordinary_unlock_does_not_fail_by_a_failed_flush(void **state)
{
    const struct handoff_plan plan = plan_of(HANDOFF_UNLOCK);
    struct run run;

    (void)state;
    run_begin(&run, &plain, &plan);
    run_next(&run, &failed);
    run_out(&run);
    assert_steps(&run, "FLUSH UNLOCK ANSWER DONE");
    assert_int_equal(run.handoff.answer, 0);
}

static void who_is_owner_no_more_leaves_nothing_behind_at_an_unlock(void **state)
{
    static const struct owner contested = {.contested = true};
    static const struct owner *const starts[] = {&lost, &handed_over, &contested};
    const struct handoff_plan plan = plan_of(HANDOFF_UNLOCK);

    (void)state;
    for (size_t i = 0; i < COUNT(starts); i++) {
        struct run run;

        run_begin(&run, starts[i], &plan);
        run_to(&run, HANDOFF_STEP_SYNC);
        run_next(&run, &failed);
        run_out(&run);
        assert_steps(&run, "FLUSH SYNC UNLOCK ANSWER DONE");
        assert_int_equal(run.handoff.answer, -EIO); /* the next sync would not know of it */
    }
}

static void demotion_that_fails_to_sync_keeps_the_byte(void **state)
{
    const struct handoff_plan plan = plan_of(HANDOFF_DEMOTE);
    struct run run;

    (void)state;
    run_begin(&run, &owns, &plan);
    run_to(&run, HANDOFF_STEP_SYNC);
    run_next(&run, &failed);
    run_out(&run);
    assert_steps(&run, "FLUSH SYNC ANSWER DONE");
    assert_int_equal(run.handoff.answer, -EIO);
    assert_true(run.owner.writing);
}

static void what_happens_after_the_answer_is_not_undone_by_the_end(void **state)
{
    struct run run;

    (void)state;
    run_begin(&run, &plain, &acquire_plan);
    run_to(&run, HANDOFF_STEP_ANSWER);
    run.owner.standing = OWNER_LOST;
    run.owner.transition = OWNER_RELEASING;
    run_next(&run, &well);
    assert_int_equal(run_now(&run), HANDOFF_DONE);
    assert_int_equal(owner_state(&run.owner), OWNER_FENCED);
    assert_int_equal(run.owner.transition, OWNER_RELEASING);
}

static void data_lost_at_a_failed_sync_is_never_recorded_as_released(void **state)
{
    struct run run;
    struct owner again;

    (void)state;
    run_begin(&run, &owns, &release_plan);
    run_to(&run, HANDOFF_STEP_SYNC);
    run_next(&run, &failed);
    run_to(&run, HANDOFF_DONE);
    assert_int_equal(owner_state(&run.owner), OWNER_OWNER);
    again = run.owner;
    run_begin(&run, &again, &release_plan);
    run_to(&run, HANDOFF_DONE);
    assert_false(run_did(&run, HANDOFF_STEP_WRITE_RECORD));
    assert_true(run.owner.recorded);
}

static void sync_that_fails_late_is_remembered_too(void **state)
{
    static const struct handoff_outcome late_and_lost = {.error = -EIO, .expired = true};
    struct run run;
    struct owner again;

    (void)state;
    run_begin(&run, &owns, &release_plan);
    run_to(&run, HANDOFF_STEP_SYNC);
    run_next(&run, &late_and_lost);
    run_to(&run, HANDOFF_DONE);
    assert_int_equal(run.handoff.answer, -ETIMEDOUT);
    assert_int_equal(owner_state(&run.owner), OWNER_OWNER);
    again = run.owner;
    run_begin(&run, &again, &release_plan);
    run_to(&run, HANDOFF_DONE);
    assert_false(run_did(&run, HANDOFF_STEP_WRITE_RECORD));
}

static void release_syncs_again_what_comes_before_the_bytes_go(void **state)
{
    static const enum handoff_step steps[] = {HANDOFF_STEP_SYNC, HANDOFF_STEP_WRITE_RECORD,
                                              HANDOFF_STEP_INVALIDATE};

    (void)state;
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        struct run run;

        run_begin(&run, &owns, &release_plan);
        run_to(&run, steps[i]);
        assert_int_equal(owner_write_permitted(&run.owner, FENCE_RELEASE, true, false), -EIO);
        assert_int_equal(owner_write_permitted(&run.owner, FENCE_RELEASE, false, true), 0);
        run_next(&run, &pages_came);
        assert_int_equal(run_now(&run), HANDOFF_STEP_DRAIN);
        run_to(&run, HANDOFF_STEP_UNLOCK);
        assert_int_equal(owner_write_permitted(&run.owner, FENCE_RELEASE, true, true), -EIO);
        run_out(&run);
        assert_int_equal(owner_state(&run.owner), OWNER_RELEASED);
        assert_int_equal(run.handoff.record_state, RECORD_RELEASED);
    }
}

static void downgrade_and_demote_sync_again_without_a_drain(void **state)
{
    static const enum handoff_kind kinds[] = {HANDOFF_DOWNGRADE, HANDOFF_DEMOTE};

    (void)state;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct run run;
        struct handoff_plan plan = release_plan;

        plan.kind = kinds[i];
        run_begin(&run, &owns, &plan);
        run_to(&run, HANDOFF_STEP_SYNC);
        run_next(&run, &pages_came);
        assert_int_equal(run_now(&run), HANDOFF_STEP_SYNC);
        run_out(&run);
        assert_int_equal(run.handoff.answer, 0);
    }
}

static void release_ends_though_pages_come_for_ever(void **state)
{
    struct handoff handoff;
    struct owner owner = owns;
    enum handoff_step step = handoff_begin(&handoff, &owner, &release_plan);
    unsigned count = 0;

    (void)state;
    while (step != HANDOFF_DONE) {
        const bool after_sync = step == HANDOFF_STEP_SYNC || step == HANDOFF_STEP_WRITE_RECORD;

        step = handoff_next(&handoff, &owner, after_sync ? &pages_came : &well);
        assert_true(++count < 1000);
    }
    assert_int_equal(owner_state(&owner), OWNER_RELEASED);
}

static void acquire_minds_no_page(void **state)
{
    struct run run;

    (void)state;
    run_begin(&run, &plain, &acquire_plan);
    run_to(&run, HANDOFF_STEP_INVALIDATE);
    run_next(&run, &pages_came);
    assert_int_equal(run_now(&run), HANDOFF_STEP_WRITE_RECORD);
}

static const struct handoff_plan forget_plan = {
    .kind = HANDOFF_FORGET,
    .writes = true,
    .tests = true,
    .conflict_is_error = true,
    .has_caller = true,
    .keeps_record = true,
};

static void a_forget_rewrites_the_record_and_owns_nothing(void **state)
{
    static const struct owner *const starts[] = {&plain, &standby, &handed_over, &lost};

    (void)state;
    for (size_t i = 0; i < COUNT(starts); i++) {
        struct run run;

        run_begin(&run, starts[i], &forget_plan);
        run_to(&run, HANDOFF_STEP_WRITE_RECORD);
        assert_int_equal(run.handoff.record_state, RECORD_RELEASED);
        assert_int_equal(run.handoff.generation, 5);
        run_out(&run);
        assert_int_equal(run.handoff.answer, 0);
        assert_int_equal(run.owner.standing, starts[i]->standing);
        assert_int_equal(run.owner.generation, 5);
    }
}

static void a_forget_that_meets_a_writer_or_cannot_write_is_an_error(void **state)
{
    struct run run;

    (void)state;
    run_begin(&run, &plain, &forget_plan);
    run_to(&run, HANDOFF_STEP_TEST);
    run_next(&run, &conflict);
    run_out(&run);
    assert_steps(&run, "LOCK TEST INVALIDATE UNLOCK ANSWER DONE");
    assert_int_equal(run.handoff.answer, -ETIMEDOUT);

    run_begin(&run, &plain, &forget_plan);
    run_to(&run, HANDOFF_STEP_WRITE_RECORD);
    run_next(&run, &failed);
    run_out(&run);
    assert_int_equal(run.handoff.answer, -EIO);
}

/* Every sequence ------------------------------------------------------------------------------ */

static bool takes(enum handoff_kind kind)
{
    return kind <= HANDOFF_FORGET;
}

static bool moves_state(enum handoff_kind kind)
{
    return kind == HANDOFF_ACQUIRE || kind == HANDOFF_SHARE || kind == HANDOFF_RELEASE ||
           kind == HANDOFF_DOWNGRADE;
}

static bool went_wrong(const struct run *run, enum handoff_step step)
{
    return run_find(run, step, false) >= 0 && !run_did_well(run, step);
}

static bool conflicted(const struct run *run)
{
    return run->handoff.contested;
}

static bool expired(const struct run *run)
{
    for (unsigned i = 0; i + 1 < run->count; i++) {
        if (run->outcomes[i].expired && run->steps[i] != HANDOFF_STEP_ANSWER)
            return true;
    }
    return false;
}

/* While it is under way. */
static void assert_nothing_is_believed_meanwhile(const struct run *run, const struct owner *start)
{
    const enum handoff_kind kind = run->handoff.plan.kind;
    const enum handoff_step now = run_now(run);

    if (!moves_state(kind) || now == HANDOFF_STEP_ANSWER || now == HANDOFF_DONE)
        return;
    assert_false(owner_may_cache(&run->owner));
    assert_true(owner_asks_server(&run->owner));
    assert_string_equal(owner_transition_name(run->owner.transition),
                        takes(kind) ? "acquiring" : "releasing");
    if (kind == HANDOFF_RELEASE)
        assert_int_equal(run->owner.gate_closed,
                         now != HANDOFF_STEP_FLUSH &&
                             (start->writing || run->handoff.plan.stops_handles));
}

static void assert_answered_once_and_last(const struct run *run)
{
    unsigned answers = 0;

    for (unsigned i = 0; i < run->count; i++)
        answers += run->steps[i] == HANDOFF_STEP_ANSWER;
    assert_int_equal(answers, run->handoff.plan.has_caller);
    if (run->handoff.plan.has_caller)
        assert_int_equal(run->steps[run->count - 2], HANDOFF_STEP_ANSWER);
    if (expired(run))
        assert_int_equal(run->handoff.answer, -ETIMEDOUT);
    assert_int_equal(run->owner.transition, OWNER_SETTLED);
    assert_false(run->owner.gate_closed);
}

static void assert_epoch_tells_of_every_change(const struct run *run, const struct owner *start)
{
    assert_true(run->owner.epoch >= start->epoch);
    if (owner_state(&run->owner) != owner_state(start))
        assert_true(run->owner.epoch > start->epoch);
    if (moves_state(run->handoff.plan.kind) && run->handoff.answer == 0)
        assert_true(run->owner.epoch > start->epoch);
    assert_true(run->owner.generation >= start->generation);
}

/* One becomes owner by a whole acquire only. */
static void assert_owner_by_all_steps_only(const struct run *run, const struct owner *start)
{
    const struct handoff_plan *plan = &run->handoff.plan;

    if (owner_state(&run->owner) != OWNER_OWNER || start->standing == OWNER_ACQUIRED)
        return;
    assert_int_equal(plan->kind, HANDOFF_ACQUIRE);
    assert_int_equal(run->handoff.answer, 0);
    assert_true(run_did_well(run, HANDOFF_STEP_LOCK));
    assert_true(!plan->tests || run_did_well(run, HANDOFF_STEP_TEST));
    assert_true(run_did_well(run, HANDOFF_STEP_DROP));
    assert_true(run_did_well(run, HANDOFF_STEP_INVALIDATE));
    if (plan->keeps_record) {
        assert_true(run_did(run, HANDOFF_STEP_READ_RECORD));
        assert_true(run_did_well(run, HANDOFF_STEP_VERIFY));
        assert_int_equal(run_did(run, HANDOFF_STEP_WRITE_RECORD), plan->writes);
    }
    if (plan->record_is_required) {
        assert_false(went_wrong(run, HANDOFF_STEP_READ_RECORD));
        assert_false(went_wrong(run, HANDOFF_STEP_WRITE_RECORD));
    }
}

static void assert_taking_ends_as_told(const struct run *run, const struct owner *start)
{
    const bool lock_refused =
        went_wrong(run, HANDOFF_STEP_LOCK) && run->handoff.answer != -ETIMEDOUT;

    if (went_wrong(run, HANDOFF_STEP_VERIFY))
        assert_false(run_did(run, HANDOFF_STEP_WRITE_RECORD));
    if (conflicted(run)) {
        assert_int_not_equal(owner_state(&run->owner), OWNER_OWNER);
        assert_false(run_did(run, HANDOFF_STEP_WRITE_RECORD));
        assert_true(run_did(run, HANDOFF_STEP_INVALIDATE));
    } else if (run->handoff.answer != 0) {
        assert_int_equal(run->owner.standing, start->standing);
        assert_int_equal(run->owner.writing, start->writing);
    }
    /* The bytes are held exactly when the caller was told so. */
    if (run->handoff.answer != 0 && !lock_refused)
        assert_true(run_find(run, HANDOFF_STEP_UNLOCK, true) >= 0);
    else
        assert_false(run_did(run, HANDOFF_STEP_UNLOCK));
    if (run_find(run, HANDOFF_STEP_WRITE_RECORD, false) >= 0 && run->handoff.answer != 0) {
        const int back = run_find(run, HANDOFF_STEP_WRITE_RECORD, true);

        assert_true(back >= 0);
        assert_true(back < run_find(run, HANDOFF_STEP_UNLOCK, true));
        if (run->outcomes[back].error == 0)
            assert_false(run->owner.recorded);
    }
}

/* It holds nothing at its end, and is no other's owner than before. */
static void assert_forget_ends_as_told(const struct run *run, const struct owner *start)
{
    const bool lock_refused =
        went_wrong(run, HANDOFF_STEP_LOCK) && run->handoff.answer != -ETIMEDOUT;

    assert_int_equal(run->owner.standing, start->standing);
    assert_int_equal(run->owner.writing, start->writing);
    assert_int_equal(run_did(run, HANDOFF_STEP_UNLOCK), !lock_refused);
    assert_false(run->owner.recorded && !start->recorded);
    if (run->handoff.answer == 0 && !conflicted(run) && run->handoff.plan.keeps_record)
        assert_int_equal(run_did_well(run, HANDOFF_STEP_WRITE_RECORD), run->handoff.plan.writes);
    assert_false(conflicted(run) && run_did(run, HANDOFF_STEP_WRITE_RECORD));
}

static void assert_giving_ends_as_told(const struct run *run, const struct owner *start)
{
    const enum handoff_kind kind = run->handoff.plan.kind;
    const bool unlocked = run_did(run, HANDOFF_STEP_UNLOCK);
    const bool unsafe = went_wrong(run, HANDOFF_STEP_FLUSH) ||
                        went_wrong(run, HANDOFF_STEP_DRAIN) || went_wrong(run, HANDOFF_STEP_SYNC);

    if (!run->handoff.plan.has_caller)
        assert_true(unlocked);
    if (!unlocked) {
        assert_int_not_equal(run->handoff.answer, 0);
        assert_int_equal(run->owner.standing, start->standing);
        assert_int_equal(run->owner.writing, start->writing);
        return;
    }
    if (unsafe && kind != HANDOFF_UNLOCK) {
        assert_false(run->handoff.plan.has_caller);
        assert_false(run_did(run, HANDOFF_STEP_WRITE_RECORD));
        assert_int_equal(run->owner.recorded, start->recorded);
    }
    if (kind == HANDOFF_RELEASE || kind == HANDOFF_DOWNGRADE) {
        assert_true(run_did(run, HANDOFF_STEP_SYNC));
        assert_true(run_did(run, HANDOFF_STEP_INVALIDATE));
        assert_int_not_equal(owner_state(&run->owner), OWNER_OWNER);
    }
}

/* A writing owner's bytes never go before its record, and its handles never write again. */
static void assert_hand_over_is_whole(const struct run *run, const struct owner *start)
{
    const struct handoff_plan *plan = &run->handoff.plan;

    if (plan->kind != HANDOFF_RELEASE || !run_did(run, HANDOFF_STEP_UNLOCK) ||
        start->standing == OWNER_LOST)
        return;
    if (start->writing || plan->stops_handles)
        assert_int_equal(owner_state(&run->owner), OWNER_RELEASED);
    else
        assert_int_equal(run->owner.standing, OWNER_NEVER);
    if (start->writing && plan->keeps_record && !start->sync_failed &&
        run_did_well(run, HANDOFF_STEP_FLUSH) && run_did_well(run, HANDOFF_STEP_DRAIN) &&
        run_did_well(run, HANDOFF_STEP_SYNC))
        assert_true(run_did(run, HANDOFF_STEP_WRITE_RECORD));
    if (run_did(run, HANDOFF_STEP_WRITE_RECORD))
        assert_true(run_find(run, HANDOFF_STEP_WRITE_RECORD, false) <
                    run_find(run, HANDOFF_STEP_UNLOCK, false));
}

static void assert_fence_stays_latched(const struct run *run, const struct owner *start)
{
    if (start->standing != OWNER_LOST)
        return;
    if (run->handoff.plan.kind == HANDOFF_ACQUIRE && run->handoff.answer == 0 && !conflicted(run))
        assert_int_equal(owner_state(&run->owner), OWNER_OWNER);
    else
        assert_int_equal(owner_state(&run->owner), OWNER_FENCED);
}

static void assert_end(const struct run *run, const struct owner *start)
{
    assert_answered_once_and_last(run);
    assert_epoch_tells_of_every_change(run, start);
    assert_owner_by_all_steps_only(run, start);
    if (run->handoff.plan.kind == HANDOFF_FORGET)
        assert_forget_ends_as_told(run, start);
    else if (takes(run->handoff.plan.kind))
        assert_taking_ends_as_told(run, start);
    else
        assert_giving_ends_as_told(run, start);
    assert_hand_over_is_whole(run, start);
    assert_fence_stays_latched(run, start);
}

static unsigned long runs_ended;

static void explore(const struct run *run, const struct owner *start);

static void explore_outcome(const struct run *run, const struct owner *start,
                            const struct handoff_outcome *outcome)
{
    struct run further = *run;

    run_next(&further, outcome);
    explore(&further, start);
}

/* Tries every outcome of the step under way; once the deadline has passed it stays so. */
static void explore(const struct run *run, const struct owner *start)
{
    const enum handoff_step now = run_now(run);
    const bool has_expired = expired(run);

    assert_nothing_is_believed_meanwhile(run, start);
    if (now == HANDOFF_DONE) {
        runs_ended++;
        assert_end(run, start);
        return;
    }
    if (now == HANDOFF_STEP_ANSWER) {
        explore_outcome(run, start, has_expired ? &late : &well);
        return;
    }
    if (!has_expired) {
        explore_outcome(run, start, &well);
        explore_outcome(run, start, &failed);
        if (now == HANDOFF_STEP_TEST)
            explore_outcome(run, start, &conflict);
    }
    if (run->handoff.plan.has_caller) {
        explore_outcome(run, start, &late);
        explore_outcome(run, start, &late_and_failed);
    }
}

static void explore_kind(enum handoff_kind kind)
{
    static const struct owner *const starts[] = {&plain,        &standby,     &shares, &owns,
                                                 &owns_reading, &handed_over, &lost};

    for (unsigned bits = 0; bits < 128; bits++) {
        const struct handoff_plan plan = {
            .kind = kind,
            .writes = bits & 1,
            .tests = bits & 2,
            .conflict_is_error = bits & 4,
            .has_caller = bits & 8,
            .keeps_record = bits & 16,
            .record_is_required = bits & 32,
            .stops_handles = bits & 64,
        };

        for (size_t i = 0; i < COUNT(starts); i++) {
            struct owner start = *starts[i];
            struct run run;

            /* An owner has nothing to forget, and is not asked to. */
            if (kind == HANDOFF_FORGET &&
                (start.standing == OWNER_ACQUIRED || start.standing == OWNER_SHARES))
                continue;

            /* Downgraded, contested and demoted owners are starts too. */
            for (unsigned more = 0; more < 8; more++) {
                start.writing = (more & 1) != 0 && start.standing != OWNER_NEVER;
                start.recorded = start.writing && (more & 2) != 0;
                start.contested = (more & 4) != 0 && start.standing == OWNER_NEVER;
                run_begin(&run, &start, &plan);
                explore(&run, &start);
            }
        }
    }
}

static void every_sequence_ends_with_one_answer_and_what_was_told(void **state)
{
    (void)state;
    runs_ended = 0;
    for (unsigned kind = 0; kind < KINDS; kind++)
        explore_kind((enum handoff_kind)kind);
    printf("%lu sequences\n", runs_ended);
}

/* Kinds --------------------------------------------------------------------------------------- */

/* An inode under QEMU, whose every lock goes well. */
struct vmm {
    struct range_table ranges;
    struct range_table flocks;
    enum profile profile;
    bool recognised;
    enum claim claim;
    struct owner owner;
};

static enum handoff_kind vmm_settle(struct vmm *vmm, bool unlocking)
{
    const struct profile_locks locks = {&vmm->ranges, &vmm->flocks, 4096};
    const enum claim claim = profile_claim(vmm->profile, &locks, &vmm->recognised);
    const enum handoff_kind kind = handoff_kind_of(&vmm->owner, vmm->claim, claim, unlocking);
    struct handoff_plan plan = acquire_plan;
    struct run run;

    plan.kind = kind;
    plan.writes = claim == CLAIM_OWNER_WRITING || claim == CLAIM_SHARED;
    run_begin(&run, &vmm->owner, &plan);
    run_out(&run);
    vmm->owner = run.owner;
    vmm->claim = claim;
    return kind;
}

static enum handoff_kind vmm_lock(struct vmm *vmm, uint64_t owner, uint64_t byte)
{
    const struct range lock = {
        .start = byte, .end = byte, .type = RANGE_READ, .owner = owner, .handle = owner};

    assert_int_equal(range_set(&vmm->ranges, &lock), 0);
    return vmm_settle(vmm, false);
}

static enum handoff_kind vmm_unlock(struct vmm *vmm, uint64_t owner, uint64_t byte)
{
    assert_int_equal(range_clear(&vmm->ranges, owner, byte, byte), 0);
    return vmm_settle(vmm, true);
}

static void vmm_end(struct vmm *vmm)
{
    range_table_deinit(&vmm->ranges);
    range_table_deinit(&vmm->flocks);
}

/* qcow2, as seen with strace. Until 201 comes it may be one that shares. */
static void vmm_start(struct vmm *vmm)
{
    assert_int_equal(vmm_lock(vmm, 1, 100), HANDOFF_LOCK);
    assert_int_equal(vmm_lock(vmm, 1, 101), HANDOFF_SHARE);
    assert_int_equal(owner_state(&vmm->owner), OWNER_SHARED);
    assert_int_equal(vmm_lock(vmm, 1, 103), HANDOFF_QUIET_LOCK);
    assert_int_equal(vmm_lock(vmm, 1, 201), HANDOFF_ACQUIRE);
    assert_int_equal(vmm_lock(vmm, 1, 203), HANDOFF_QUIET_LOCK);
    assert_int_equal(owner_state(&vmm->owner), OWNER_OWNER);
}

static void a_source_releases_when_201_goes(void **state)
{
    struct vmm vmm = {0};

    (void)state;
    vmm_start(&vmm);
    assert_int_equal(vmm_unlock(&vmm, 1, 100), HANDOFF_QUIET_UNLOCK);
    assert_int_equal(vmm_unlock(&vmm, 1, 101), HANDOFF_DEMOTE);
    assert_int_equal(vmm_unlock(&vmm, 1, 103), HANDOFF_QUIET_UNLOCK);
    assert_int_equal(owner_state(&vmm.owner), OWNER_OWNER);
    assert_int_equal(vmm_unlock(&vmm, 1, 201), HANDOFF_RELEASE);
    assert_int_equal(vmm_unlock(&vmm, 1, 203), HANDOFF_UNLOCK);
    assert_int_equal(owner_state(&vmm.owner), OWNER_RELEASED);
    vmm_end(&vmm);
}

static void a_source_that_comes_back_acquires_again(void **state)
{
    struct vmm vmm = {0};

    (void)state;
    vmm_start(&vmm);
    for (uint64_t byte = 100; byte <= 203; byte++)
        (void)vmm_unlock(&vmm, 1, byte); /* the order is the test's above */
    assert_int_equal(owner_state(&vmm.owner), OWNER_RELEASED);
    vmm_start(&vmm);
    assert_int_equal(vmm.owner.generation, 2);
    vmm_end(&vmm);
}

static void a_reopen_hands_nothing_over(void **state)
{
    static const uint64_t bytes[] = {100, 101, 103, 201, 203};
    struct vmm vmm = {0};

    (void)state;
    vmm_start(&vmm);
    for (size_t i = 0; i < COUNT(bytes); i++)
        assert_int_equal(vmm_lock(&vmm, 2, bytes[i]), HANDOFF_QUIET_LOCK);
    for (size_t i = 0; i < COUNT(bytes); i++)
        assert_int_equal(vmm_unlock(&vmm, 1, bytes[i]), HANDOFF_QUIET_UNLOCK);
    assert_int_equal(owner_state(&vmm.owner), OWNER_OWNER);
    assert_int_equal(vmm.owner.epoch, 3); /* a plain lock, the share and the acquire */
    vmm_end(&vmm);
}

static void a_backup_shares_and_takes_back(void **state)
{
    struct vmm vmm = {0};

    (void)state;
    vmm_start(&vmm);
    assert_int_equal(vmm_unlock(&vmm, 1, 201), HANDOFF_DOWNGRADE);
    assert_int_equal(owner_state(&vmm.owner), OWNER_SHARED);
    assert_true(vmm.owner.recorded);
    assert_int_equal(vmm_lock(&vmm, 1, 201), HANDOFF_ACQUIRE);
    assert_int_equal(owner_state(&vmm.owner), OWNER_OWNER);
    vmm_end(&vmm);
}

/* Raw images share all that can be shared: no byte of the 200s is taken. */
static void share_rw_of_a_raw_image_shares(void **state)
{
    struct vmm vmm = {0};

    (void)state;
    assert_int_equal(vmm_lock(&vmm, 1, 100), HANDOFF_LOCK);
    assert_int_equal(vmm_lock(&vmm, 1, 101), HANDOFF_SHARE);
    assert_int_equal(owner_state(&vmm.owner), OWNER_SHARED);
    assert_int_equal(vmm_unlock(&vmm, 1, 100), HANDOFF_QUIET_UNLOCK);
    assert_int_equal(vmm_unlock(&vmm, 1, 101), HANDOFF_RELEASE);
    assert_int_equal(owner_state(&vmm.owner), OWNER_PLAIN);
    vmm_end(&vmm);
}

static void share_rw_shares(void **state)
{
    struct vmm vmm = {0};

    (void)state;
    assert_int_equal(vmm_lock(&vmm, 1, 100), HANDOFF_LOCK);
    assert_int_equal(vmm_lock(&vmm, 1, 101), HANDOFF_SHARE);
    assert_int_equal(vmm_lock(&vmm, 1, 203), HANDOFF_QUIET_LOCK);
    assert_int_equal(vmm_lock(&vmm, 2, 101), HANDOFF_QUIET_LOCK);
    assert_int_equal(owner_state(&vmm.owner), OWNER_SHARED);
    assert_int_equal(vmm_unlock(&vmm, 2, 101), HANDOFF_QUIET_UNLOCK);
    assert_int_equal(vmm_unlock(&vmm, 1, 101), HANDOFF_RELEASE);
    assert_int_equal(owner_state(&vmm.owner), OWNER_PLAIN);
    vmm_end(&vmm);
}

static void a_backing_file_is_owned_without_a_record(void **state)
{
    struct vmm vmm = {0};

    (void)state;
    assert_int_equal(vmm_lock(&vmm, 1, 100), HANDOFF_LOCK);
    assert_int_equal(vmm_lock(&vmm, 1, 201), HANDOFF_ACQUIRE);
    assert_int_equal(owner_state(&vmm.owner), OWNER_OWNER);
    assert_false(vmm.owner.recorded);
    assert_int_equal(vmm_lock(&vmm, 1, 101), HANDOFF_ACQUIRE); /* a commit into it */
    assert_true(vmm.owner.recorded);
    vmm_end(&vmm);
}

static void locks_of_other_programs_move_no_state(void **state)
{
    struct vmm vmm = {0};

    (void)state;
    assert_int_equal(vmm_lock(&vmm, 7, 0), HANDOFF_LOCK);
    assert_int_equal(vmm_unlock(&vmm, 7, 0), HANDOFF_UNLOCK);
    assert_int_equal(owner_state(&vmm.owner), OWNER_PLAIN);
    vmm_start(&vmm);
    assert_int_equal(vmm_lock(&vmm, 7, 0), HANDOFF_QUIET_LOCK);
    assert_int_equal(vmm_unlock(&vmm, 7, 0), HANDOFF_QUIET_UNLOCK);
    vmm_end(&vmm);
}

static enum handoff_kind vmm_lock_all(struct vmm *vmm, enum range_type type)
{
    const struct range lock = {.end = RANGE_MAX, .type = type, .owner = 1, .handle = 1};

    assert_int_equal(range_set(&vmm->ranges, &lock), 0);
    return vmm_settle(vmm, false);
}

static void read_lock_in_the_place_of_a_write_lock_releases(void **state)
{
    struct vmm vmm = {.profile = PROFILE_RANGE};

    (void)state;
    assert_int_equal(vmm_lock_all(&vmm, RANGE_WRITE), HANDOFF_ACQUIRE);
    assert_int_equal(vmm_lock_all(&vmm, RANGE_READ), HANDOFF_RELEASE);
    assert_int_equal(owner_state(&vmm.owner), OWNER_RELEASED);
    assert_int_equal(vmm_lock_all(&vmm, RANGE_WRITE), HANDOFF_ACQUIRE);
    assert_int_equal(owner_state(&vmm.owner), OWNER_OWNER);
    vmm_end(&vmm);
}

static void only_a_release_that_nobody_else_reads_leaves_pages(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < KINDS; kind++) {
        struct handoff handoff = {.plan = {.kind = (enum handoff_kind)kind}};

        assert_false(handoff_may_leave_pages(&handoff, false));
        assert_int_equal(handoff_may_leave_pages(&handoff, true), kind == HANDOFF_RELEASE);
        handoff.plan.takes_back = true;
        assert_false(handoff_may_leave_pages(&handoff, true));
    }
}

static void every_step_and_kind_has_a_name(void **state)
{
    (void)state;
    for (unsigned step = 0; step <= HANDOFF_DONE; step++)
        assert_true(strlen(handoff_step_name((enum handoff_step)step)) > 0);
    for (unsigned kind = 0; kind < KINDS; kind++)
        assert_true(strlen(handoff_kind_name((enum handoff_kind)kind)) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_come_in_the_order_of_the_design),
        cmocka_unit_test(a_reader_is_owner_without_a_record),
        cmocka_unit_test(without_record_or_test_those_steps_alone_are_left_out),
        cmocka_unit_test(an_acquire_owns_and_raises_the_generation),
        cmocka_unit_test(an_acquire_goes_by_the_generation_that_it_has_read),
        cmocka_unit_test(a_release_hands_over_under_the_same_generation),
        cmocka_unit_test(the_gate_closes_after_the_flush_and_for_good),
        cmocka_unit_test(what_was_handed_over_is_shared_when_tested_and_handed_over_again),
        cmocka_unit_test(what_was_handed_over_stays_so_where_another_host_owns),
        cmocka_unit_test(a_downgraded_owner_writes_its_record_at_the_release),
        cmocka_unit_test(one_that_only_shared_has_nothing_to_hand_over),
        cmocka_unit_test(release_by_the_ioctl_stops_handles_that_never_owned),
        cmocka_unit_test(conflict_is_answered_as_posix_says_and_touches_no_record),
        cmocka_unit_test(only_the_first_conflict_waits_out_the_deadline),
        cmocka_unit_test(conflict_of_the_ioctl_gives_the_bytes_back),
        cmocka_unit_test(an_owner_for_reading_that_meets_a_writer_is_owner_no_more),
        cmocka_unit_test(lock_that_is_refused_changes_nothing),
        cmocka_unit_test(record_that_fails_blocks_an_image_only_when_required),
        cmocka_unit_test(a_forget_rewrites_the_record_and_owns_nothing),
        cmocka_unit_test(a_forget_that_meets_a_writer_or_cannot_write_is_an_error),
        cmocka_unit_test(what_is_known_to_be_stale_is_not_acquired),
        cmocka_unit_test(what_another_host_writes_is_not_verified),
        cmocka_unit_test(sync_that_fails_with_a_caller_keeps_owner_and_bytes),
        cmocka_unit_test(sync_that_fails_without_a_caller_leaves_the_record_at_owner),
        cmocka_unit_test(record_that_fails_at_the_release_does_not_keep_the_bytes),
        cmocka_unit_test(release_that_expires_after_its_record_owns_again),
        cmocka_unit_test(acquire_that_expires_after_its_record_takes_it_back),
        cmocka_unit_test(ordinary_unlock_does_not_fail_by_a_failed_flush),
        cmocka_unit_test(who_is_owner_no_more_leaves_nothing_behind_at_an_unlock),
        cmocka_unit_test(demotion_that_fails_to_sync_keeps_the_byte),
        cmocka_unit_test(what_happens_after_the_answer_is_not_undone_by_the_end),
        cmocka_unit_test(every_sequence_ends_with_one_answer_and_what_was_told),
        cmocka_unit_test(a_source_releases_when_201_goes),
        cmocka_unit_test(a_source_that_comes_back_acquires_again),
        cmocka_unit_test(a_reopen_hands_nothing_over),
        cmocka_unit_test(a_backup_shares_and_takes_back),
        cmocka_unit_test(data_lost_at_a_failed_sync_is_never_recorded_as_released),
        cmocka_unit_test(share_rw_of_a_raw_image_shares),
        cmocka_unit_test(sync_that_fails_late_is_remembered_too),
        cmocka_unit_test(release_syncs_again_what_comes_before_the_bytes_go),
        cmocka_unit_test(downgrade_and_demote_sync_again_without_a_drain),
        cmocka_unit_test(release_ends_though_pages_come_for_ever),
        cmocka_unit_test(acquire_minds_no_page),
        cmocka_unit_test(share_rw_shares),
        cmocka_unit_test(a_backing_file_is_owned_without_a_record),
        cmocka_unit_test(locks_of_other_programs_move_no_state),
        cmocka_unit_test(read_lock_in_the_place_of_a_write_lock_releases),
        cmocka_unit_test(only_a_release_that_nobody_else_reads_leaves_pages),
        cmocka_unit_test(every_step_and_kind_has_a_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
