/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "owner.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

enum owner_state owner_state(const struct owner *owner)
{
    switch (owner->standing) {
    case OWNER_LOST:
        return OWNER_FENCED;
    case OWNER_ACQUIRED:
        return OWNER_OWNER;
    case OWNER_SHARES:
        return OWNER_SHARED;
    case OWNER_HANDED_OVER:
        return OWNER_RELEASED;
    case OWNER_NEVER:
        break;
    }
    return owner->foreign_owner || owner->contested ? OWNER_STANDBY : OWNER_PLAIN;
}

bool owner_may_cache(const struct owner *owner)
{
    return owner->transition == OWNER_SETTLED && owner_state(owner) == OWNER_OWNER;
}

bool owner_asks_server(const struct owner *owner)
{
    if (owner->transition != OWNER_SETTLED)
        return true;

    const enum owner_state state = owner_state(owner);
    return state != OWNER_PLAIN && state != OWNER_OWNER;
}

int owner_write_permitted(const struct owner *owner, enum fence fence, bool holds_write_byte,
                          bool is_page)
{
    if (fence == FENCE_OFF)
        return 0;
    if (owner->gate_closed && !is_page)
        return -EIO;

    switch (owner_state(owner)) {
    case OWNER_PLAIN:
    case OWNER_SHARED:
    case OWNER_OWNER:
        return 0;
    case OWNER_STANDBY:
        return fence == FENCE_STRICT && !holds_write_byte ? -EIO : 0;
    case OWNER_RELEASED:
    case OWNER_FENCED:
        break;
    }
    return -EIO;
}

void owner_last_close(struct owner *owner)
{
    const enum owner_state before = owner_state(owner);

    owner->contested = false;
    if (owner->standing != OWNER_LOST) {
        owner->standing = OWNER_NEVER;
        owner->writing = false;
        owner->recorded = false;
        owner->shares_again = false;
    }
    if (owner_state(owner) != before)
        owner->epoch++;
}

bool owner_lock_lost(struct owner *owner)
{
    if (owner->standing != OWNER_ACQUIRED && owner->standing != OWNER_SHARES)
        return false;
    owner->standing = OWNER_LOST;
    owner->writing = false;
    owner->recorded = false;
    owner->epoch++;
    return true;
}

bool owner_record_seen(struct owner *owner, bool foreign_owner, uint64_t generation)
{
    const enum owner_state before = owner_state(owner);

    owner->foreign_owner = foreign_owner;
    if (generation > owner->generation)
        owner->generation = generation;
    if (owner_state(owner) == before)
        return false;
    owner->epoch++;
    return true;
}

const char *owner_state_name(enum owner_state state)
{
    static const char *const names[] = {
        [OWNER_PLAIN] = "plain", [OWNER_STANDBY] = "standby",   [OWNER_SHARED] = "shared",
        [OWNER_OWNER] = "owner", [OWNER_RELEASED] = "released", [OWNER_FENCED] = "fenced",
    };
    return names[state];
}

const char *owner_transition_name(enum owner_transition transition)
{
    static const char *const names[] = {
        [OWNER_SETTLED] = "",
        [OWNER_ACQUIRING] = "acquiring",
        [OWNER_RELEASING] = "releasing",
    };
    return names[transition];
}

static const char *const fence_names[] = {
    [FENCE_RELEASE] = "release",
    [FENCE_STRICT] = "strict",
    [FENCE_OFF] = "off",
};

const char *fence_name(enum fence fence)
{
    return fence_names[fence];
}

int fence_parse(const char *name, enum fence *fence)
{
    for (size_t i = 0; i < sizeof(fence_names) / sizeof(fence_names[0]); i++) {
        if (strcmp(name, fence_names[i]) == 0) {
            *fence = (enum fence)i;
            return 0;
        }
    }
    return -EINVAL;
}
