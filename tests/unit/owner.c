/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cache/owner: each state's row of the table in DESIGN §2, for each fence and for every writer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "cache/owner.h"

#define STATES 6u
#define FENCES 3u

/* An owner in each of the states. */
static const struct owner in_state[STATES] = {
    [OWNER_PLAIN] = {.standing = OWNER_NEVER},
    [OWNER_STANDBY] = {.standing = OWNER_NEVER, .foreign_owner = true},
    [OWNER_SHARED] = {.standing = OWNER_SHARES},
    [OWNER_OWNER] = {.standing = OWNER_ACQUIRED, .writing = true, .recorded = true},
    [OWNER_RELEASED] = {.standing = OWNER_HANDED_OVER},
    [OWNER_FENCED] = {.standing = OWNER_LOST},
};

static void state_follows_from_what_stands(void **state)
{
    (void)state;
    for (unsigned i = 0; i < STATES; i++)
        assert_int_equal(owner_state(&in_state[i]), i);
}

static void the_record_speaks_only_while_nothing_else_does(void **state)
{
    (void)state;
    for (unsigned i = OWNER_SHARED; i < STATES; i++) {
        struct owner owner = in_state[i];

        owner.foreign_owner = true;
        assert_int_equal(owner_state(&owner), i);
    }
}

static void an_inode_whose_test_found_a_writer_is_standby(void **state)
{
    const struct owner owner = {.contested = true};

    (void)state;
    assert_int_equal(owner_state(&owner), OWNER_STANDBY);
}

static void only_a_settled_owner_may_cache(void **state)
{
    (void)state;
    for (unsigned i = 0; i < STATES; i++) {
        for (enum owner_transition under_way = OWNER_SETTLED; under_way <= OWNER_RELEASING;
             under_way++) {
            struct owner owner = in_state[i];

            owner.transition = under_way;
            assert_int_equal(owner_may_cache(&owner),
                             i == OWNER_OWNER && under_way == OWNER_SETTLED);
        }
    }
}

static void the_server_is_asked_in_all_but_settled_plain_and_owner(void **state)
{
    (void)state;
    for (unsigned i = 0; i < STATES; i++) {
        for (enum owner_transition under_way = OWNER_SETTLED; under_way <= OWNER_RELEASING;
             under_way++) {
            struct owner owner = in_state[i];
            const bool believed = i == OWNER_PLAIN || i == OWNER_OWNER;

            owner.transition = under_way;
            assert_int_equal(owner_asks_server(&owner), !(believed && under_way == OWNER_SETTLED));
        }
    }
}

/* [state][fence][holds a write byte] */
static const int permitted[STATES][FENCES][2] = {
    [OWNER_PLAIN] = {[FENCE_RELEASE] = {0, 0}, [FENCE_STRICT] = {0, 0}, [FENCE_OFF] = {0, 0}},
    [OWNER_STANDBY] = {[FENCE_RELEASE] = {0, 0}, [FENCE_STRICT] = {-EIO, 0}, [FENCE_OFF] = {0, 0}},
    [OWNER_SHARED] = {[FENCE_RELEASE] = {0, 0}, [FENCE_STRICT] = {0, 0}, [FENCE_OFF] = {0, 0}},
    [OWNER_OWNER] = {[FENCE_RELEASE] = {0, 0}, [FENCE_STRICT] = {0, 0}, [FENCE_OFF] = {0, 0}},
    [OWNER_RELEASED] =
        {[FENCE_RELEASE] = {-EIO, -EIO}, [FENCE_STRICT] = {-EIO, -EIO}, [FENCE_OFF] = {0, 0}},
    [OWNER_FENCED] =
        {[FENCE_RELEASE] = {-EIO, -EIO}, [FENCE_STRICT] = {-EIO, -EIO}, [FENCE_OFF] = {0, 0}},
};

static void writes_pass_by_state_and_fence_and_write_byte(void **state)
{
    (void)state;
    for (unsigned i = 0; i < STATES; i++) {
        for (enum fence fence = FENCE_RELEASE; fence <= FENCE_OFF; fence++) {
            for (unsigned holds = 0; holds < 2; holds++)
                assert_int_equal(owner_write_permitted(&in_state[i], fence, holds == 1, false),
                                 permitted[i][fence][holds]);
        }
    }
}

static void closed_gate_refuses_every_write_but_without_a_fence(void **state)
{
    (void)state;
    for (unsigned i = 0; i < STATES; i++) {
        for (enum fence fence = FENCE_RELEASE; fence <= FENCE_OFF; fence++) {
            struct owner owner = in_state[i];
            const int expected = fence == FENCE_OFF ? 0 : -EIO;

            owner.transition = OWNER_RELEASING;
            owner.gate_closed = true;
            assert_int_equal(owner_write_permitted(&owner, fence, false, false), expected);
            assert_int_equal(owner_write_permitted(&owner, fence, true, false), expected);
            /* A page of a mapping was dirty before: its state alone may refuse it. */
            assert_int_equal(owner_write_permitted(&owner, fence, false, true),
                             permitted[i][fence][0]);
        }
    }
}

static void last_close_leaves_the_record_to_speak(void **state)
{
    (void)state;
    for (unsigned i = 0; i < STATES; i++) {
        for (unsigned foreign = 0; foreign < 2; foreign++) {
            struct owner owner = in_state[i];

            owner.foreign_owner = foreign == 1;
            const enum owner_state before = owner_state(&owner);

            owner_last_close(&owner);
            if (i == OWNER_FENCED)
                assert_int_equal(owner_state(&owner), OWNER_FENCED);
            else
                assert_int_equal(owner_state(&owner), foreign ? OWNER_STANDBY : OWNER_PLAIN);
            assert_int_equal(owner.epoch, owner_state(&owner) != before);
        }
    }
}

static void last_close_forgets_a_contest(void **state)
{
    struct owner owner = {.contested = true};

    (void)state;
    owner_last_close(&owner);
    assert_int_equal(owner_state(&owner), OWNER_PLAIN);
    assert_int_equal(owner.epoch, 1);
}

static void only_who_locked_for_writing_is_fenced_and_once(void **state)
{
    (void)state;
    for (unsigned i = 0; i < STATES; i++) {
        struct owner owner = in_state[i];
        const bool had_locks = i == OWNER_OWNER || i == OWNER_SHARED;

        owner.writing = owner.recorded = true;
        assert_int_equal(owner_lock_lost(&owner), had_locks);
        assert_int_equal(owner_state(&owner), had_locks ? OWNER_FENCED : i);
        assert_int_equal(owner.epoch, had_locks);
        assert_int_equal(owner.writing, !had_locks);
        assert_int_equal(owner.recorded, !had_locks);
        assert_false(owner_lock_lost(&owner));
    }
}

static void record_of_a_foreign_owner_makes_plain_standby_and_back(void **state)
{
    struct owner owner = in_state[OWNER_PLAIN];

    (void)state;
    assert_true(owner_record_seen(&owner, true, 7));
    assert_int_equal(owner_state(&owner), OWNER_STANDBY);
    assert_int_equal(owner.epoch, 1);
    assert_int_equal(owner.generation, 7);
    assert_false(owner_record_seen(&owner, true, 7));
    assert_int_equal(owner.epoch, 1);
    assert_true(owner_record_seen(&owner, false, 8));
    assert_int_equal(owner_state(&owner), OWNER_PLAIN);
    assert_int_equal(owner.epoch, 2);
}

static void record_moves_no_state_that_locks_have_made(void **state)
{
    (void)state;
    for (unsigned i = OWNER_SHARED; i < STATES; i++) {
        struct owner owner = in_state[i];

        assert_false(owner_record_seen(&owner, true, 1));
        assert_int_equal(owner_state(&owner), i);
        assert_int_equal(owner.epoch, 0);
    }
}

static void generation_never_goes_back(void **state)
{
    struct owner owner = {.generation = 9};

    (void)state;
    (void)owner_record_seen(&owner, false, 3); /* the state is another test's */
    assert_int_equal(owner.generation, 9);
}

static void states_and_transitions_have_the_names_of_the_manual(void **state)
{
    (void)state;
    assert_string_equal(owner_state_name(OWNER_PLAIN), "plain");
    assert_string_equal(owner_state_name(OWNER_STANDBY), "standby");
    assert_string_equal(owner_state_name(OWNER_SHARED), "shared");
    assert_string_equal(owner_state_name(OWNER_OWNER), "owner");
    assert_string_equal(owner_state_name(OWNER_RELEASED), "released");
    assert_string_equal(owner_state_name(OWNER_FENCED), "fenced");
    assert_string_equal(owner_transition_name(OWNER_SETTLED), "");
    assert_string_equal(owner_transition_name(OWNER_ACQUIRING), "acquiring");
    assert_string_equal(owner_transition_name(OWNER_RELEASING), "releasing");
}

static void fences_are_parsed_by_their_names_alone(void **state)
{
    enum fence fence;

    (void)state;
    for (enum fence each = FENCE_RELEASE; each <= FENCE_OFF; each++) {
        assert_int_equal(fence_parse(fence_name(each), &fence), 0);
        assert_int_equal(fence, each);
    }
    fence = FENCE_STRICT;
    assert_int_equal(fence_parse("", &fence), -EINVAL);
    assert_int_equal(fence_parse("on", &fence), -EINVAL);
    assert_int_equal(fence_parse("strict ", &fence), -EINVAL);
    assert_int_equal(fence, FENCE_STRICT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(state_follows_from_what_stands),
        cmocka_unit_test(the_record_speaks_only_while_nothing_else_does),
        cmocka_unit_test(an_inode_whose_test_found_a_writer_is_standby),
        cmocka_unit_test(only_a_settled_owner_may_cache),
        cmocka_unit_test(the_server_is_asked_in_all_but_settled_plain_and_owner),
        cmocka_unit_test(writes_pass_by_state_and_fence_and_write_byte),
        cmocka_unit_test(closed_gate_refuses_every_write_but_without_a_fence),
        cmocka_unit_test(last_close_leaves_the_record_to_speak),
        cmocka_unit_test(last_close_forgets_a_contest),
        cmocka_unit_test(only_who_locked_for_writing_is_fenced_and_once),
        cmocka_unit_test(record_of_a_foreign_owner_makes_plain_standby_and_back),
        cmocka_unit_test(record_moves_no_state_that_locks_have_made),
        cmocka_unit_test(generation_never_goes_back),
        cmocka_unit_test(states_and_transitions_have_the_names_of_the_manual),
        cmocka_unit_test(fences_are_parsed_by_their_names_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
