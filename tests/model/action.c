/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "action.h"

#include "mount.h"
#include "mutant.h"
#include "property.h"
#include "store.h"
#include "transition.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind {
    /* Of each handle. */
    OPEN,
    CLOSE,
    RELEASE_ARRIVES,
    WRITE,
    STORE,
    FSYNC,
    LOCK_FIRST,
    LOCK_LAST,
    UNLOCK_FIRST,
    UNLOCK_LAST,
    /* Of each host. */
    READ,
    READ_ENDS,
    WRITE_ENDS,
    WRITE_BACK,
    KERNEL_WRITES_BACK,
    ACQUIRE,
    RELEASE,
    STEP,
    STEP_IS_REFUSED,
    STEP_IS_UNHEARD,
    DIE_WRITING_RECORD,
    DEADLINE,
    DROP,
    CHECK_GUARD,
    CRASH,
    KILL,
    RESTART,
    CUT,
    HEAL,
    LEASE_ENDS,
    CATCH_UP,
    KINDS,
};
#define OF_EACH_HANDLE (LOCK_FIRST + 4)

static const char *const names[KINDS] = {
    [OPEN] = "opens handle",
    [CLOSE] = "closes handle",
    [RELEASE_ARRIVES] = "the kernel's RELEASE arrives of handle",
    [WRITE] = "a write begins by handle",
    [STORE] = "stores into a mapped page of handle",
    [FSYNC] = "fsync of handle",
    [LOCK_FIRST] = "locks its 100s by handle",
    [LOCK_LAST] = "locks 201 by handle",
    [UNLOCK_FIRST] = "unlocks its 100s by handle",
    [UNLOCK_LAST] = "unlocks 201 by handle",
    [READ] = "reads",
    [READ_ENDS] = "the read ends",
    [WRITE_ENDS] = "the write ends",
    [WRITE_BACK] = "the NFS client writes its page back",
    [KERNEL_WRITES_BACK] = "the kernel writes its mapped page back",
    [ACQUIRE] = "ioctl ACQUIRE",
    [RELEASE] = "ioctl RELEASE",
    [STEP] = "",
    [STEP_IS_REFUSED] = "[fault]",
    [STEP_IS_UNHEARD] = "[fault] done, but not heard of:",
    [DIE_WRITING_RECORD] = "crashes while it writes the record, which is torn",
    [DEADLINE] = "the deadline passes, the caller is told",
    [DROP] = "drops what it has read as a standby",
    [CHECK_GUARD] = "looks at its guard: the locks are lost",
    [CRASH] = "crashes",
    [KILL] = "migfs is killed",
    [RESTART] = "starts again",
    [CUT] = "is cut off from the server",
    [HEAL] = "reaches the server again",
    [LEASE_ENDS] = "its lease ends, the server takes its locks",
    [CATCH_UP] = "the store shows it what it holds",
};

static bool is_of_handle(enum kind kind)
{
    return kind < (enum kind)OF_EACH_HANDLE;
}

unsigned action_list(const struct scenario *scenario, struct action actions[MOST_ACTIONS])
{
    unsigned count = 0;

    for (unsigned h = 0; h < scenario->hosts; h++) {
        for (unsigned kind = 0; kind < KINDS; kind++) {
            const unsigned handles = is_of_handle((enum kind)kind) ? scenario->handles[h] : 1;

            for (unsigned i = 0; i < handles; i++) {
                if (count == MOST_ACTIONS)
                    abort();
                actions[count++] = (struct action){
                    .kind = (uint8_t)kind, .host = (uint8_t)h, .handle = (uint8_t)i};
            }
        }
    }
    return count;
}

bool action_is_step(const struct action *action)
{
    return action->kind == STEP;
}

/* ---- the VMM ---- */

static uint8_t first_bytes(const struct run *run, unsigned h)
{
    return run->scenario->vmms[h] == VMM_READER ? BYTE_100 : BYTE_100 | BYTE_101;
}

static bool takes_locks(const struct run *run, unsigned h)
{
    return run->scenario->vmms[h] == VMM_QEMU || run->scenario->vmms[h] == VMM_READER;
}

/* It goes on by a handle that it has locked otherwise, or stops. */
static void stop_by(struct host *host, unsigned handle)
{
    bool goes_on = false;

    for (unsigned i = 0; i < HANDLES; i++)
        goes_on = goes_on || (i != handle && host->descriptions[i].was_active &&
                              host->descriptions[i].held & BYTE_201);
    host->is_active = host->is_active && goes_on;
}

static bool lock(struct run *run, unsigned h, unsigned handle, bool last)
{
    struct host *host = &run->world.hosts[h];
    const struct description *description = &host->descriptions[handle];
    const uint8_t first = first_bytes(run, h);
    const uint8_t before = last ? first : 0;

    if (!takes_locks(run, h) || description->state != HANDLE_OPEN || description->held != before ||
        (last && host->locks_left == 0))
        return false;
    if (last)
        host->locks_left--;
    return transition_begin(run, h, CHANGE_TAKE, handle, last ? BYTE_201 : first, false);
}

static bool unlock(struct run *run, unsigned h, unsigned handle, bool last)
{
    struct host *host = &run->world.hosts[h];
    const struct description *description = &host->descriptions[handle];
    const uint8_t bytes = last ? BYTE_201 : first_bytes(run, h);

    if (!takes_locks(run, h) || description->state != HANDLE_OPEN ||
        (description->held & bytes) != bytes || (last && description->held != BYTE_201) ||
        (run->scenario->is_orderly && host->writes))
        return false;
    stop_by(host, handle);
    return transition_begin(run, h, CHANGE_GIVE, handle, bytes, false);
}

static bool call_ioctl(struct run *run, unsigned h, bool acquires)
{
    struct host *host = &run->world.hosts[h];
    bool is_open = false;

    for (unsigned i = 0; i < HANDLES; i++)
        is_open = is_open || host->descriptions[i].state == HANDLE_OPEN;
    if (run->scenario->vmms[h] != VMM_IOCTL || !is_open || host->acquired_by_ioctl == acquires ||
        (acquires && host->locks_left == 0))
        return false;
    if (acquires)
        host->locks_left--;
    else
        host->is_active = 0;
    return transition_begin(run, h, acquires ? CHANGE_TAKE_DAEMON : CHANGE_GIVE_DAEMON, DAEMON,
                            ALL_BYTES, false);
}

static bool release_arrives(struct run *run, unsigned h, unsigned handle)
{
    const struct host *host = &run->world.hosts[h];

    return host->descriptions[handle].state == HANDLE_CLOSING &&
           transition_begin(run, h, CHANGE_GIVE_HANDLE, handle, 0, true);
}

static bool write_back(struct run *run, unsigned h)
{
    const struct host *host = &run->world.hosts[h];

    if (!store_reaches(host) || host->page != PAGE_DIRTY)
        return false;
    (void)store_write_back(run, h); /* the next sync tells */
    return true;
}

/* ---- what befalls a host ---- */

static bool spend(uint8_t *budget)
{
    if (*budget == 0)
        return false;
    --*budget;
    return true;
}

static struct host host_without_memory(const struct host *host)
{
    return (struct host){
        .boot = host->boot, .opens_left = host->opens_left, .locks_left = host->locks_left};
}

static bool crash(struct run *run, unsigned h)
{
    struct host *host = &run->world.hosts[h];

    if (!host->is_up || !spend(&run->world.crashes_left))
        return false;
    *host = host_without_memory(host);
    return true;
}

static bool die_writing_record(struct run *run, unsigned h)
{
    return spend(&run->world.crashes_left) && transition_step(run, h, STEP_TORN);
}

/* Its descriptions are closed, by a kernel that lives. */
static bool kill_migfs(struct run *run, unsigned h)
{
    struct host *host = &run->world.hosts[h];

    if (!store_reaches(host) || !spend(&run->world.crashes_left))
        return false;
    (void)store_write_back(run, h); /* nobody is left to be told */

    struct host after = host_without_memory(host);
    after.is_up = 1;
    after.boot++;
    after.page = host->page;
    after.page_version = host->page_version;
    *host = after;
    memset(run->world.server.locks[h], 0, sizeof(run->world.server.locks[h]));
    return true;
}

static bool restart(struct run *run, unsigned h)
{
    struct host *host = &run->world.hosts[h];

    if (host->is_up)
        return false;
    host->is_up = 1;
    host->boot++;
    memset(run->world.server.locks[h], 0, sizeof(run->world.server.locks[h]));
    return true;
}

static bool cut(struct run *run, unsigned h)
{
    struct host *host = &run->world.hosts[h];

    if (!store_reaches(host) || !spend(&run->world.partitions_left))
        return false;
    host->is_cut = 1;
    host->transition.is_hampered = host->transition.change != CHANGE_NONE;
    return true;
}

static bool heal(struct run *run, unsigned h)
{
    struct host *host = &run->world.hosts[h];

    if (!host->is_cut)
        return false;
    host->is_cut = 0;
    return true;
}

static bool lease_ends(struct run *run, unsigned h)
{
    const struct host *host = &run->world.hosts[h];
    uint8_t held = 0;

    for (unsigned i = 0; i < DESCRIPTIONS; i++)
        held |= run->world.server.locks[h][i];
    if (store_reaches(host) || held == 0)
        return false;
    store_lease_ends(run, h);
    return true;
}

static bool catch_up(struct run *run, unsigned h)
{
    const uint8_t bit = (uint8_t)(1u << h);

    if (!(run->world.server.lags & bit))
        return false;
    run->world.server.lags &= (uint8_t)~bit;
    return true;
}

/* ---- all of them ---- */

static bool apply_to_handle(struct run *run, enum kind kind, unsigned h, unsigned handle)
{
    switch (kind) {
    case OPEN:
        return mount_open(run, h, handle);
    case CLOSE:
        return mount_close(run, h, handle);
    case RELEASE_ARRIVES:
        return release_arrives(run, h, handle);
    case WRITE:
        return mount_write(run, h, handle);
    case STORE:
        return mount_store(run, h, handle);
    case FSYNC:
        return mount_fsync(run, h, handle);
    case LOCK_FIRST:
    case LOCK_LAST:
        return lock(run, h, handle, kind == LOCK_LAST);
    default:
        return unlock(run, h, handle, kind == UNLOCK_LAST);
    }
}

static bool apply_to_store_side(struct run *run, enum kind kind, unsigned h)
{
    switch (kind) {
    case WRITE_BACK:
        return write_back(run, h);
    case CRASH:
        return crash(run, h);
    case KILL:
        return kill_migfs(run, h);
    case RESTART:
        return restart(run, h);
    case CUT:
        return cut(run, h);
    case HEAL:
        return heal(run, h);
    case LEASE_ENDS:
        return lease_ends(run, h);
    default:
        return catch_up(run, h);
    }
}

bool action_apply(struct run *run, const struct action *action)
{
    const enum kind kind = (enum kind)action->kind;
    const unsigned h = action->host;

    if (is_of_handle(kind))
        return apply_to_handle(run, kind, h, action->handle);
    switch (kind) {
    case READ:
        return mount_read(run, h);
    case READ_ENDS:
        return mount_read_end(run, h);
    case WRITE_ENDS:
        return mount_write_end(run, h);
    case KERNEL_WRITES_BACK:
        return mount_write_back(run, h);
    case ACQUIRE:
    case RELEASE:
        return call_ioctl(run, h, kind == ACQUIRE);
    case STEP:
        return transition_step(run, h, STEP_GOES_WELL);
    case STEP_IS_REFUSED:
        return spend(&run->world.failures_left) && transition_step(run, h, STEP_FAILS);
    case STEP_IS_UNHEARD:
        return spend(&run->world.failures_left) && transition_step(run, h, STEP_UNHEARD);
    case DIE_WRITING_RECORD:
        return die_writing_record(run, h);
    case DEADLINE:
        return spend(&run->world.deadlines_left) && transition_expire(run, h);
    case DROP:
        return mount_drop_late(run, h);
    case CHECK_GUARD:
        return mount_check_guard(run, h);
    default:
        return apply_to_store_side(run, kind, h);
    }
}

/* ---- in words ---- */

static void tell_more(const struct run *before, const struct run *after, unsigned h, char *text,
                      size_t size)
{
    const struct server *server = &after->world.server;
    const struct host *host = &after->world.hosts[h];
    const struct host *was = &before->world.hosts[h];
    const struct owner owner = mount_owner(host), owner_was = mount_owner(was);
    size_t used = strlen(text);

    if (server->version != before->world.server.version)
        used += (size_t)snprintf(text + used, size - used, "; write %u is at the server",
                                 server->version);
    if (owner_state(&owner) != owner_state(&owner_was))
        used += (size_t)snprintf(text + used, size - used, "; it is %s",
                                 owner_state_name(owner_state(&owner)));
    if (host->is_active && !was->is_active)
        (void)snprintf(text + used, size - used, "; its VMM owns the disk");
}

void action_tell(const struct run *run, const struct action *action, char *text, size_t size)
{
    const unsigned h = action->host;
    struct run after = *run;
    size_t used = (size_t)snprintf(text, size, "%c: %s", 'A' + (int)h, names[action->kind]);

    after.wants_notes = true;
    after.note[0] = 0;
    (void)action_apply(&after, action); /* it could be applied before */
    const struct host *host = &after.world.hosts[h];
    if (is_of_handle((enum kind)action->kind))
        used += (size_t)snprintf(text + used, size - used, " %u", action->handle);
    if (action->kind == WRITE)
        used += (size_t)snprintf(text + used, size - used, ": write %u by description %u",
                                 host->write_version, host->write_by);
    if (action->kind == STORE)
        used += (size_t)snprintf(text + used, size - used, ": write %u", host->kept_version);
    if (action->kind == READ && !host->reads)
        used += (size_t)snprintf(text + used, size - used, " write %u%s", host->kept_version,
                                 run->world.hosts[h].kept ? " (kept by the kernel)" : "");
    if (after.note[0])
        used += (size_t)snprintf(text + used, size - used, "%s%s", text[used - 1] == ' ' ? "" : " ",
                                 after.note);
    if (used < size)
        tell_more(run, &after, h, text, size);
}

/* ---- the start ---- */

static void must(struct run *run, enum kind kind)
{
    const struct action action = {.kind = (uint8_t)kind};

    if (!action_apply(run, &action))
        abort(); /* the start of a scenario is no matter of chance */
}

static void must_wholly(struct run *run, enum kind kind)
{
    must(run, kind);
    while (run->world.hosts[0].transition.change != CHANGE_NONE)
        must(run, STEP);
}

static void own_at_start(struct run *run)
{
    must(run, OPEN);
    if (run->scenario->vmms[0] == VMM_IOCTL) {
        must_wholly(run, ACQUIRE);
    } else {
        must_wholly(run, LOCK_FIRST);
        must_wholly(run, LOCK_LAST);
    }
}

void action_begin(struct run *run)
{
    const struct scenario *scenario = run->scenario;
    struct world *world = &run->world;

    *world = (struct world){.server = {.version = 1, .last_write = 1}};
    for (unsigned h = 0; h < scenario->hosts; h++) {
        world->hosts[h].is_up = 1;
        world->hosts[h].opens_left = world->hosts[h].locks_left = 1;
    }
    if (scenario->owner_at_start)
        own_at_start(run);
    for (unsigned h = 0; h < scenario->hosts; h++) {
        world->hosts[h].opens_left = (uint8_t)scenario->opens;
        world->hosts[h].locks_left = (uint8_t)scenario->locks;
    }
    world->writes_left = (uint8_t)scenario->writes;
    world->crashes_left = (uint8_t)scenario->crashes;
    world->partitions_left = (uint8_t)scenario->partitions;
    world->failures_left = (uint8_t)scenario->failures;
    world->deadlines_left = (uint8_t)scenario->deadlines;
}
