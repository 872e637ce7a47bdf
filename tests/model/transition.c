/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "transition.h"

#include "mount.h"
#include "mutant.h"
#include "property.h"
#include "record_slots.h"
#include "store.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ---- packing ---- */

static const int errors[] = {0, -EIO, -ETIMEDOUT, -ENOLCK, -EBADF};

static uint8_t error_pack(int error)
{
    uint8_t i = 0;

    while (errors[i] != error)
        i++;
    return i;
}

static struct handoff handoff_unpack(const struct packed_handoff *packed)
{
    return (struct handoff){
        .plan =
            {
                .kind = (enum handoff_kind)packed->kind,
                .writes = packed->writes,
                .tests = packed->tests,
                .conflict_is_error = packed->conflict_is_error,
                .stops_handles = packed->stops_handles,
                .has_caller = packed->has_caller,
                .keeps_record = packed->keeps_record,
                .record_is_required = packed->is_required,
            },
        .step = (enum handoff_step)packed->step,
        .position = packed->position,
        .undoing = packed->undoing,
        .answer = errors[packed->answer],
        .leaves_nothing = packed->leaves_nothing,
        .contested = packed->contested,
        .record_state = (enum record_state)packed->record_state,
        .generation = packed->generation,
    };
}

static struct packed_handoff handoff_pack(const struct handoff *handoff)
{
    return (struct packed_handoff){
        .kind = (uint8_t)handoff->plan.kind,
        .writes = handoff->plan.writes,
        .tests = handoff->plan.tests,
        .conflict_is_error = handoff->plan.conflict_is_error,
        .stops_handles = handoff->plan.stops_handles,
        .has_caller = handoff->plan.has_caller,
        .keeps_record = handoff->plan.keeps_record,
        .is_required = handoff->plan.record_is_required,
        .step = (uint8_t)handoff->step,
        .position = (uint8_t)handoff->position,
        .undoing = handoff->undoing,
        .answer = error_pack(handoff->answer),
        .leaves_nothing = handoff->leaves_nothing,
        .contested = handoff->contested,
        .record_state = (uint8_t)handoff->record_state,
        .generation = (uint8_t)handoff->generation,
    };
}

/* ---- what the locks claim ---- */

static void add_range(struct range_table *table, unsigned i, uint64_t start, uint64_t end)
{
    table->entries[table->count++] = (struct range){
        .start = start, .end = end, .type = RANGE_READ, .owner = i + 1, .handle = i + 1};
}

/* By cache/profile, of the bytes that each description holds; `held` as a lock table has them. */
static enum claim claim_of(const uint8_t held[DESCRIPTIONS], bool *recognised)
{
    struct range entries[2 * DESCRIPTIONS];
    struct range_table ranges = {.entries = entries}, flocks = {0};
    const struct profile_locks locks = {.ranges = &ranges, .flocks = &flocks};

    for (unsigned i = 0; i < DESCRIPTIONS; i++) {
        if (held[i] & (BYTE_100 | BYTE_101))
            add_range(&ranges, i, held[i] & BYTE_100 ? 100 : 101, held[i] & BYTE_101 ? 101 : 100);
        if (held[i] & BYTE_201)
            add_range(&ranges, i, 201, 201);
    }
    return profile_claim(PROFILE_AUTO, &locks, recognised);
}

static bool takes(const struct transition *transition)
{
    return transition->change == CHANGE_TAKE || transition->change == CHANGE_TAKE_DAEMON;
}

/* The bytes that the change is of, and what its description holds after it. */
static uint8_t bytes_of(const struct host *host, const struct transition *transition)
{
    switch ((enum change)transition->change) {
    case CHANGE_TAKE:
    case CHANGE_GIVE:
        return transition->bytes;
    case CHANGE_GIVE_HANDLE:
        return host->descriptions[transition->description].held;
    case CHANGE_TAKE_DAEMON:
    case CHANGE_GIVE_DAEMON:
        return ALL_BYTES;
    case CHANGE_NONE:
        break;
    }
    return 0;
}

static void find_claims(const struct host *host, struct transition *transition)
{
    uint8_t held[DESCRIPTIONS];
    bool recognised = host->recognised;

    for (unsigned i = 0; i < DESCRIPTIONS; i++)
        held[i] = host->descriptions[i].held;
    if (takes(transition))
        held[transition->description] |= transition->bytes;
    else
        held[transition->description] &= (uint8_t)~transition->bytes;
    transition->claim_before = host->claim;
    transition->claim_after = (uint8_t)claim_of(held, &recognised);
    transition->recognised = recognised;
}

/* ---- telling the VMM ---- */

static uint8_t last_byte(const struct run *run, unsigned h)
{
    return run->scenario->vmms[h] == VMM_IOCTL ? ALL_BYTES : BYTE_201;
}

/* QEMU tests for itself, and backs off; here it sees no less than migfs has seen. */
static bool vmm_finds_it_free(const struct run *run, unsigned h)
{
    const uint8_t mind = run->scenario->vmms[h] == VMM_READER ? BYTE_101 : BYTE_101 | BYTE_201;

    if (run->world.hosts[h].transition.handoff.contested &&
        !mutated(run, MUTATION_QEMU_TESTS_LATER))
        return false;
    return run->scenario->vmms[h] == VMM_IOCTL || store_held_by_others(run, h, mind) == 0;
}

static void tell_taken(struct run *run, unsigned h)
{
    struct host *host = &run->world.hosts[h];
    const struct transition *transition = &host->transition;

    if (!(transition->bytes & last_byte(run, h)) || !vmm_finds_it_free(run, h))
        return;
    bool is_open = false; /* it may have closed the file meanwhile */
    for (unsigned i = 0; i < HANDLES; i++) {
        if (host->descriptions[i].state == HANDLE_OPEN &&
            (i == transition->description || transition->description == DAEMON)) {
            host->descriptions[i].was_active = 1;
            is_open = true;
        }
    }
    if (host->is_active || !is_open)
        return;
    host->is_active = 1;
    host->lost = 0;
    host->expected = host->page == PAGE_DIRTY ? host->page_version : run->world.server.version;
    property_owns(run, h);
}

static void tell(struct run *run, unsigned h, int answer)
{
    struct host *host = &run->world.hosts[h];
    struct transition *transition = &host->transition;
    const enum handoff_kind kind = (enum handoff_kind)transition->handoff.kind;

    if (transition->is_late && answer != 0) /* the caller was told that it failed */
        property_told_loss(host);
    if (transition->was_told || transition->is_late || !transition->handoff.has_caller)
        return;
    transition->was_told = 1;
    if (takes(transition)) {
        if (answer == 0)
            tell_taken(run, h);
        return;
    }
    if (answer == 0 && (kind == HANDOFF_RELEASE || kind == HANDOFF_DEMOTE)) {
        /* A release stops the writes, so that all of them are safe. */
        property_synced(run, h,
                        kind == HANDOFF_RELEASE ? host->acknowledged : transition->promised);
        if (run->world.server.locks[h][transition->description] & transition->bytes)
            run->violation = "an unlock is answered, and the server still holds the bytes";
    }
    if (answer != 0)
        property_told_loss(host);
}

/* ---- steps ---- */

static bool any_lost(const struct host *host)
{
    for (unsigned i = 0; i < DESCRIPTIONS; i++) {
        if (host->descriptions[i].is_lost && host->descriptions[i].held != 0)
            return true;
    }
    return false;
}

static void set_claim(struct host *host, bool after)
{
    const struct transition *transition = &host->transition;

    host->claim = after ? transition->claim_after : transition->claim_before;
    if (after)
        host->recognised = transition->recognised;
}

static int step_lock(struct run *run, unsigned h)
{
    struct host *host = &run->world.hosts[h];
    struct transition *transition = &host->transition;
    struct description *description = &host->descriptions[transition->description];

    if (any_lost(host))
        return -EIO;
    transition->taken = transition->bytes & (uint8_t)~description->held;
    store_lock(run, h, transition->description, transition->bytes);
    if (transition->change == CHANGE_TAKE_DAEMON) {
        description->state = HANDLE_OPEN;
        host->acquired_by_ioctl = 1;
    }
    set_claim(host, true);
    return 0;
}

static int step_unlock(struct run *run, unsigned h)
{
    struct host *host = &run->world.hosts[h];
    struct transition *transition = &host->transition;
    struct description *description = &host->descriptions[transition->description];
    const bool undoing = transition->handoff.undoing;

    store_unlock(run, h, transition->description, undoing ? transition->taken : transition->bytes);
    if (transition->description == DAEMON) {
        *description = (struct description){0};
        host->errors &= (uint8_t) ~(1u << DAEMON);
        host->acquired_by_ioctl = 0;
    }
    if (description->held == 0)
        description->is_lost = 0; /* the next lock is by a description of its own */
    set_claim(host, !undoing);
    return 0;
}

/* One's own locks can hide those of others, where they are not let go for the test. */
static bool is_masked(const struct run *run, unsigned h, uint8_t byte)
{
    unsigned holders = 0;

    for (unsigned i = 0; i < DESCRIPTIONS; i++)
        holders += (run->world.hosts[h].descriptions[i].held & byte) != 0;
    return mutated(run, MUTATION_MASKED_TEST) && holders > 1;
}

static int step_test(struct run *run, unsigned h, bool *conflict)
{
    struct transition *transition = &run->world.hosts[h].transition;
    const bool minds_readers = transition->handoff.writes && !mutated(run, MUTATION_TEST_101_ONLY);
    uint8_t mind = minds_readers ? BYTE_101 | BYTE_201 : BYTE_101;

    if (transition->handoff.kind == HANDOFF_SHARE)
        mind = BYTE_201;
    if (is_masked(run, h, BYTE_101))
        mind &= (uint8_t)~BYTE_101;
    if (is_masked(run, h, BYTE_201))
        mind &= (uint8_t)~BYTE_201;
    *conflict = store_held_by_others(run, h, mind) != 0;
    if (*conflict) {
        transition->is_hampered = 1;
        property_conflict(run, h, mind);
    }
    return 0;
}

static int step_drop(struct run *run, unsigned h)
{
    struct host *host = &run->world.hosts[h];
    const int error = store_write_back(run, h);

    if (error != 0)
        return error;
    host->distrusts_below = host->reads && host->read_is_cached;
    store_drop(host);
    return 0;
}

static int step_read_record(struct run *run, unsigned h)
{
    struct host *host = &run->world.hosts[h];
    const struct slot seen = record_slots_read(run, h);
    const struct owner owner = mount_owner(host);

    if (host->transition.handoff.kind == HANDOFF_ACQUIRE) {
        host->transition.seen = seen;
        host->digest = seen.state == RECORD_RELEASED ? seen.digest : 0;
        host->digest_is_durable = 1;
    }
    return mutated(run, MUTATION_RECORD_BLOCKS) && owner.foreign_owner ? -ETIMEDOUT : 0;
}

static int step_verify(struct run *run, unsigned h)
{
    struct host *host = &run->world.hosts[h];
    const struct slot *seen = &host->transition.seen;

    if (seen->state != RECORD_RELEASED)
        return 0;
    if (!seen->is_as_it) {
        host->digest = 0;
        return 0;
    }
    if (seen->digest == 0 || host->digest != seen->digest ||
        store_read_direct(run, h) == seen->digest)
        return 0;
    if (run->world.server.lags & (1u << h))
        host->transition.is_hampered = 1;
    return -EIO;
}

static int write_record(struct run *run, unsigned h, bool is_torn)
{
    const struct host *host = &run->world.hosts[h];
    const struct packed_handoff *handoff = &host->transition.handoff;
    const bool is_dirty = host->page == PAGE_DIRTY || host->kept == PAGE_DIRTY || host->writes;

    if (store_refuses(host) && run->scenario->store_fences &&
        !mutated(run, MUTATION_RECORD_UNFENCED))
        return -EIO;
    if (handoff->record_state == RECORD_RELEASED && !handoff->undoing && host->lost)
        run->violation = "a record says `released`, and some of what was written is lost";
    if (handoff->record_state == RECORD_RELEASED && !handoff->undoing && is_dirty)
        run->violation = "a record says `released`, and what was written is not in the store";
    record_slots_write(run, h, (enum record_state)handoff->record_state, handoff->generation,
                       is_torn);
    return 0;
}

/* It tells of this write-back and of what failed since the last one. */
static int step_flush(struct run *run, unsigned h)
{
    struct host *host = &run->world.hosts[h];
    const bool failed = host->writeback_error || !mount_write_out(run, h) || host->writeback_error;

    host->writeback_error = 0;
    return failed ? -EIO : 0;
}

static bool hands_over_alone(const struct run *run, unsigned h)
{
    const struct host *host = &run->world.hosts[h];
    bool is_alone = true;

    if (host->transition.description == DAEMON || mutated(run, MUTATION_LEAVES_TO_OTHERS))
        return true;
    for (unsigned i = 0; i < HANDLES; i++)
        is_alone = is_alone && (i == host->transition.description ||
                                host->descriptions[i].state == HANDLE_CLOSED);
    return is_alone;
}

static void leave_page(struct run *run, unsigned h)
{
    struct host *host = &run->world.hosts[h];

    host->is_left = 1;
    if (!mutated(run, MUTATION_LEAVES_FOR_GOOD))
        host->drop_is_due = 1;
    for (unsigned i = 0; i < HANDLES; i++)
        host->descriptions[i].was_alone =
            host->descriptions[i].state != HANDLE_CLOSED &&
            (host->transition.description == DAEMON || i == host->transition.description);
}

static int step_invalidate(struct run *run, unsigned h)
{
    struct host *host = &run->world.hosts[h];
    const struct handoff handoff = handoff_unpack(&host->transition.handoff);

    if (host->kept == PAGE_NONE || !handoff_may_leave_pages(&handoff, hands_over_alone(run, h)))
        return mount_notify(run, h) ? 0 : -EIO;
    if (!mount_write_out(run, h))
        return -EIO;
    leave_page(run, h);
    return 0;
}

static int step_sync(struct run *run, unsigned h)
{
    struct host *host = &run->world.hosts[h];
    int error = 0;

    for (unsigned i = 0; i < HANDLES && error == 0; i++) {
        if (host->descriptions[i].state != HANDLE_CLOSED)
            error = store_sync(run, h, i);
    }
    if (error == 0) {
        host->digest_is_durable = 1;
        return 0;
    }
    if (!host->transition.handoff.has_caller && !mutated(run, MUTATION_SWALLOWED_ERROR)) {
        for (unsigned i = 0; i < HANDLES; i++)
            host->errors |= (uint8_t)((host->descriptions[i].state == HANDLE_OPEN) << i);
    }
    host->digest = host->digest_is_durable = 0;
    host->transition.is_hampered = 1; /* by what failed before */
    return error;
}

/* What the step waits for. */
static bool is_due(const struct run *run, const struct host *host, enum handoff_step step)
{
    const bool is_dirty = host->page == PAGE_DIRTY;
    const bool locks_page = host->writes && !run->scenario->is_direct;

    switch (step) {
    case HANDOFF_STEP_LOCK:
    case HANDOFF_STEP_TEST:
    case HANDOFF_STEP_READ_RECORD:
    case HANDOFF_STEP_VERIFY:
    case HANDOFF_STEP_WRITE_RECORD:
        return store_reaches(host);
    case HANDOFF_STEP_UNLOCK: /* the guard lets the writes by it end */
        return store_reaches(host) && !host->writes;
    case HANDOFF_STEP_DROP:
    case HANDOFF_STEP_SYNC:
        return !is_dirty || store_reaches(host);
    case HANDOFF_STEP_FLUSH:
        return !host->reads && !locks_page && (!is_dirty || store_reaches(host));
    case HANDOFF_STEP_INVALIDATE:
        return !host->reads && !locks_page;
    case HANDOFF_STEP_DRAIN:
        return !host->writes;
    case HANDOFF_STEP_ANSWER:
    case HANDOFF_DONE:
        break;
    }
    return true;
}

static int carry_out(struct run *run, unsigned h, enum handoff_step step, bool *conflict)
{
    switch (step) {
    case HANDOFF_STEP_LOCK:
        return step_lock(run, h);
    case HANDOFF_STEP_TEST:
        return step_test(run, h, conflict);
    case HANDOFF_STEP_DROP:
        return step_drop(run, h);
    case HANDOFF_STEP_READ_RECORD:
        return step_read_record(run, h);
    case HANDOFF_STEP_INVALIDATE:
        return step_invalidate(run, h);
    case HANDOFF_STEP_VERIFY:
        return step_verify(run, h);
    case HANDOFF_STEP_WRITE_RECORD:
        return write_record(run, h, false);
    case HANDOFF_STEP_FLUSH:
        return step_flush(run, h);
    case HANDOFF_STEP_SYNC:
        return step_sync(run, h);
    case HANDOFF_STEP_UNLOCK:
        return step_unlock(run, h);
    case HANDOFF_STEP_DRAIN:
    case HANDOFF_STEP_ANSWER:
    case HANDOFF_DONE:
        break;
    }
    return 0;
}

/* An injected failure. False: the step has none that matters. */
static bool fail(struct run *run, unsigned h, enum handoff_step step, enum how how, int *error)
{
    struct host *host = &run->world.hosts[h];
    bool conflict;

    *error = -EIO;
    switch (step) {
    case HANDOFF_STEP_LOCK:
        *error = -ENOLCK;
        return how == STEP_FAILS;
    case HANDOFF_STEP_TEST:
    case HANDOFF_STEP_DROP:
        return how == STEP_FAILS;
    case HANDOFF_STEP_WRITE_RECORD:
        if (how == STEP_UNHEARD)
            (void)carry_out(run, h, step, &conflict); /* its answer is lost */
        return true;
    case HANDOFF_STEP_SYNC: /* no room: the page is lost */
        if (how != STEP_FAILS || host->page != PAGE_DIRTY)
            return false;
        host->page = PAGE_CLEAN;
        store_drop(host);
        host->expected = 0;
        host->digest = host->digest_is_durable = 0;
        host->lost = 1;
        return true;
    case HANDOFF_STEP_UNLOCK: /* with no caller the close gives the bytes back */
        return how == STEP_FAILS && host->transition.handoff.has_caller;
    default:
        return false;
    }
}

/* ---- the run ---- */

static void close_or_give(struct run *run, unsigned h, unsigned handle)
{
    const struct host *host = &run->world.hosts[h];
    bool is_last = true;

    for (unsigned i = 0; i < HANDLES; i++)
        is_last = is_last && (i == handle || host->descriptions[i].state == HANDLE_CLOSED);
    if (host->acquired_by_ioctl && is_last)
        (void)transition_begin(run, h, CHANGE_GIVE_DAEMON, DAEMON, ALL_BYTES, true);
    else
        mount_closed(run, h, handle);
}

static void finish(struct run *run, unsigned h)
{
    struct host *host = &run->world.hosts[h];
    const struct transition over = host->transition;

    property_answered(run, h);
    tell(run, h, errors[over.handoff.answer]);
    if (over.handoff.kind == HANDOFF_RELEASE ||
        (over.handoff.contested && !mutated(run, MUTATION_UNMARKED_CONTEST)))
        mount_mark_released(host);
    host->transition = (struct transition){0};
    if (!over.is_closing)
        return;
    for (unsigned i = 0; i < HANDLES; i++) {
        if (host->descriptions[i].state == HANDLE_CLOSING &&
            (i == over.description || over.description == DAEMON))
            close_or_give(run, h, i);
    }
}

static void note(struct run *run, unsigned h, const struct handoff *handoff, int error,
                 bool conflict)
{
    const struct transition *transition = &run->world.hosts[h].transition;

    if (!run->wants_notes)
        return;
    (void)snprintf(run->note, sizeof(run->note), "%s: %s%s%s%s%s",
                   handoff_kind_name(handoff->plan.kind), handoff_step_name(handoff->step),
                   handoff->undoing ? " to take back" : "",
                   skips(run, handoff->plan.kind, handoff->step) ? " (skipped)" : "",
                   conflict ? ": another host holds locks until the deadline" : "",
                   transition->is_late ? ": late" : "");
    if (error != 0) {
        const size_t used = strlen(run->note);

        (void)snprintf(run->note + used, sizeof(run->note) - used, ": %s", strerror(-error));
    }
}

/* Tells cache/ how the step went. */
static void go_on(struct run *run, unsigned h, int error, bool conflict)
{
    struct host *host = &run->world.hosts[h];
    struct transition *transition = &host->transition;
    struct handoff handoff = handoff_unpack(&transition->handoff);
    struct owner owner = mount_owner(host);
    const struct handoff_outcome outcome = {
        .error = error, .conflict = conflict, .expired = transition->is_late};

    note(run, h, &handoff, error, conflict);
    enum handoff_step next = handoff_next(&handoff, &owner, &outcome);
    if (next == HANDOFF_STEP_ANSWER)
        next = handoff_next(&handoff, &owner, &(struct handoff_outcome){0});
    transition->handoff = handoff_pack(&handoff);
    mount_set_owner(host, &owner);
    if (next == HANDOFF_STEP_INVALIDATE && handoff.plan.kind == HANDOFF_ACQUIRE &&
        !handoff.contested && mutated(run, MUTATION_REPLY_EARLY))
        tell(run, h, 0);
    if (next == HANDOFF_DONE)
        finish(run, h);
}

/* Steps of a release that a mutant puts elsewhere. */
static bool is_moved(const struct run *run, enum handoff_kind kind, enum handoff_step step)
{
    if (kind == HANDOFF_ACQUIRE)
        return step == HANDOFF_STEP_DROP && mutated(run, MUTATION_DROP_EARLY);
    if (kind != HANDOFF_RELEASE)
        return false;
    return (step == HANDOFF_STEP_UNLOCK && mutated(run, MUTATION_UNLOCK_EARLY)) ||
           (step == HANDOFF_STEP_WRITE_RECORD && mutated(run, MUTATION_RECORD_EARLY));
}

static void carry_out_moved(struct run *run, unsigned h, enum handoff_kind kind,
                            enum handoff_step step)
{
    struct packed_handoff *handoff = &run->world.hosts[h].transition.handoff;

    if (kind == HANDOFF_ACQUIRE && step == HANDOFF_STEP_LOCK && mutated(run, MUTATION_DROP_EARLY))
        (void)step_drop(run, h);
    if (kind != HANDOFF_RELEASE || step != HANDOFF_STEP_DRAIN)
        return;
    if (mutated(run, MUTATION_UNLOCK_EARLY))
        (void)step_unlock(run, h);
    if (mutated(run, MUTATION_RECORD_EARLY) && handoff->writes) {
        handoff->record_state = RECORD_RELEASED;
        handoff->generation = run->world.hosts[h].owner.generation;
        (void)write_record(run, h, false);
    }
}

static void die(struct run *run, unsigned h)
{
    struct host *host = &run->world.hosts[h];
    const struct host dead = {
        .boot = host->boot, .opens_left = host->opens_left, .locks_left = host->locks_left};

    (void)write_record(run, h, true);
    *host = dead;
}

bool transition_step(struct run *run, unsigned h, enum how how)
{
    struct host *host = &run->world.hosts[h];
    struct transition *transition = &host->transition;
    const enum handoff_kind kind = (enum handoff_kind)transition->handoff.kind;
    const enum handoff_step step = (enum handoff_step)transition->handoff.step;
    const bool is_skipped = skips(run, kind, step);
    bool conflict = false;
    int error = 0;

    if (!host->is_up || transition->change == CHANGE_NONE)
        return false;
    if (transition->is_flushed) {
        transition->is_flushed = 0;
        go_on(run, h, 0, false);
        return how == STEP_GOES_WELL;
    }
    if (!is_skipped && !is_due(run, host, step))
        return false;
    if (store_refuses(host))
        transition->is_hampered = 1;
    if (how == STEP_TORN) {
        if (is_skipped || step != HANDOFF_STEP_WRITE_RECORD)
            return false;
        die(run, h);
        return true;
    }
    if (how != STEP_GOES_WELL) {
        if (is_skipped || !fail(run, h, step, how, &error))
            return false;
        transition->is_hampered = 1;
    } else if (!is_skipped && !is_moved(run, kind, step)) {
        error = carry_out(run, h, step, &conflict);
    }
    if (kind == HANDOFF_RELEASE && step == HANDOFF_STEP_FLUSH && error == 0) {
        transition->is_flushed = 1; /* writes pass until it is said */
        return true;
    }
    carry_out_moved(run, h, kind, step);
    go_on(run, h, error, conflict);
    return true;
}

bool transition_expire(struct run *run, unsigned h)
{
    struct host *host = &run->world.hosts[h];
    struct transition *transition = &host->transition;

    if (!host->is_up || transition->change == CHANGE_NONE || transition->is_late ||
        !transition->handoff.has_caller)
        return false;
    transition->is_late = 1;
    transition->is_hampered = 1;
    return true;
}

/* ---- beginning ---- */

static struct handoff_plan plan_of(const struct transition *transition, const struct owner *owner)
{
    const bool is_by_ioctl = transition->description == DAEMON;
    const enum handoff_kind kind =
        transition->change == CHANGE_GIVE_DAEMON
            ? HANDOFF_RELEASE
            : handoff_kind_of(owner, (enum claim)transition->claim_before,
                              (enum claim)transition->claim_after, !takes(transition));

    return (struct handoff_plan){
        .kind = kind,
        .writes = transition->claim_after == CLAIM_OWNER_WRITING,
        .tests = true,
        .conflict_is_error = is_by_ioctl && takes(transition),
        .has_caller = !transition->is_closing,
        .stops_handles = transition->change == CHANGE_GIVE_DAEMON,
        .keeps_record = true,
    };
}

/* Of what is left, the first failure of what hands nothing over is not now. */
static bool run_quiet(struct run *run, unsigned h)
{
    const struct transition *transition = &run->world.hosts[h].transition;
    const enum handoff_kind kind = (enum handoff_kind)transition->handoff.kind;

    if (kind != HANDOFF_LOCK && kind != HANDOFF_QUIET_LOCK && kind != HANDOFF_UNLOCK &&
        kind != HANDOFF_QUIET_UNLOCK)
        return true;
    while (transition->change != CHANGE_NONE && transition->handoff.kind == (uint8_t)kind) {
        if (!transition_step(run, h, STEP_GOES_WELL))
            return false;
    }
    return true;
}

bool transition_begin(struct run *run, unsigned h, enum change change, unsigned description,
                      uint8_t bytes, bool is_closing)
{
    struct host *host = &run->world.hosts[h];
    struct transition *transition = &host->transition;
    struct handoff handoff;

    if (!host->is_up || transition->change != CHANGE_NONE)
        return false;
    if ((change == CHANGE_TAKE || change == CHANGE_TAKE_DAEMON) &&
        !mutated(run, MUTATION_UNCHECKED_RELOCK))
        (void)mount_check_guard(run, h); /* false: there is nothing to see */
    *transition = (struct transition){
        .change = (uint8_t)change,
        .description = (uint8_t)description,
        .bytes = bytes,
        .is_closing = is_closing,
        .promised = host->acknowledged,
        .is_hampered = store_refuses(host) || host->is_cut,
    };
    transition->bytes = bytes_of(host, transition);
    if (takes(transition)) {
        if (!store_reaches(host))
            return false;
        mount_look(run, h);
    }
    find_claims(host, transition);

    struct owner owner = mount_owner(host);
    const struct handoff_plan plan = plan_of(transition, &owner);
    (void)handoff_begin(&handoff, &owner, &plan); /* its first step is in `handoff` */
    transition->handoff = handoff_pack(&handoff);
    mount_set_owner(host, &owner);
    if (run->wants_notes)
        (void)snprintf(run->note, sizeof(run->note), "begins: %s", handoff_kind_name(plan.kind));
    return run_quiet(run, h);
}
