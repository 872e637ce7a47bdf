/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mount.h"

#include "mutant.h"
#include "property.h"
#include "record_slots.h"
#include "store.h"

struct owner mount_owner(const struct host *host)
{
    const struct packed_owner *packed = &host->owner;

    return (struct owner){
        .standing = (enum owner_standing)packed->standing,
        .transition = (enum owner_transition)packed->transition,
        .gate_closed = packed->gate_closed,
        .foreign_owner = packed->foreign_owner,
        .writing = packed->writing,
        .contested = packed->contested,
        .sync_failed = packed->sync_failed,
        .recorded = packed->recorded,
        .shares_again = packed->shares_again,
        .generation = packed->generation,
    };
}

void mount_set_owner(struct host *host, const struct owner *owner)
{
    host->owner = (struct packed_owner){
        .standing = (uint8_t)owner->standing,
        .transition = (uint8_t)owner->transition,
        .gate_closed = owner->gate_closed,
        .foreign_owner = owner->foreign_owner,
        .writing = owner->writing,
        .contested = owner->contested,
        .sync_failed = owner->sync_failed,
        .recorded = owner->recorded,
        .shares_again = owner->shares_again,
        .generation = (uint8_t)owner->generation,
    };
}

/* ---- decisions ---- */

bool mount_should_ask(const struct host *host)
{
    const struct owner owner = mount_owner(host);

    return owner_asks_server(&owner);
}

static bool asks(const struct run *run, const struct host *host)
{
    struct owner owner = mount_owner(host);

    if (mutated(run, MUTATION_ALWAYS_CACHES))
        return false;
    if (mutated(run, MUTATION_CACHES_ACQUIRING))
        owner.transition = OWNER_SETTLED;
    return owner_asks_server(&owner);
}

static bool keeps(const struct run *run, const struct host *host)
{
    const struct owner owner = mount_owner(host);

    return mutated(run, MUTATION_ALWAYS_KEEPS) || owner_may_cache(&owner);
}

static bool may_write(const struct run *run, const struct host *host, unsigned handle)
{
    struct owner owner = mount_owner(host);
    const bool holds = host->descriptions[handle].held & BYTE_101;

    if (mutated(run, MUTATION_GATE_OPEN))
        owner.gate_closed = false;
    if (mutated(run, MUTATION_RELEASED_WRITES) && owner_state(&owner) == OWNER_RELEASED)
        return true;
    return owner_write_permitted(&owner, FENCE_RELEASE, holds, false) == 0;
}

static bool guards(const struct host *host, unsigned i)
{
    return host->descriptions[i].held & BYTE_101 && !host->descriptions[i].is_lost;
}

/* The description by which all is written that has no lock of its own; DESCRIPTIONS: none. */
static unsigned guard_of(const struct host *host)
{
    unsigned i = 0;

    while (i < DESCRIPTIONS && !guards(host, i))
        i++;
    return i;
}

static unsigned writes_by(const struct run *run, const struct host *host, unsigned handle)
{
    const unsigned guard = guard_of(host);

    if (guards(host, handle) || guard == DESCRIPTIONS || mutated(run, MUTATION_NO_GUARD))
        return handle;
    return guard;
}

/* ---- the kernel's pages ---- */

static void change_digest(const struct run *run, struct host *host, uint8_t version)
{
    if (mutated(run, MUTATION_STALE_DIGEST) && host->digest != 0)
        return;
    host->digest = version;
    host->digest_is_durable = 0;
}

/* A dirty page comes to the daemon as a WRITE. False: not now. */
static bool launder(struct run *run, unsigned h)
{
    struct host *host = &run->world.hosts[h];

    if (host->kept != PAGE_DIRTY)
        return true;
    if (may_write(run, host, host->kept_by)) {
        const uint8_t version = host->kept_version;

        if (!store_write(run, h, version, writes_by(run, host, host->kept_by)))
            return false;
        change_digest(run, host, version);
    } else {
        host->writeback_error = host->mapping_error = 1;
        host->drop_is_due = 1;
        host->expected = 0;
    }
    host->kept = PAGE_CLEAN;
    return true;
}

static void keep(struct host *host, enum page page, uint8_t version, unsigned by)
{
    host->kept = (uint8_t)page;
    host->kept_version = version;
    host->kept_by = (uint8_t)by;
    host->is_left = host->is_left && page != PAGE_NONE;
}

/* The page is locked by a request. */
static bool is_busy(const struct host *host)
{
    return host->reads || host->writes;
}

bool mount_write_out(struct run *run, unsigned h)
{
    const struct host *host = &run->world.hosts[h];

    return !host->reads && !(host->writes && !run->scenario->is_direct) && launder(run, h);
}

bool mount_notify(struct run *run, unsigned h)
{
    struct host *host = &run->world.hosts[h];

    if (!mount_write_out(run, h))
        return false;
    keep(host, PAGE_NONE, 0, 0);
    return true;
}

/* ---- opens ---- */

static bool is_open(const struct host *host, unsigned handle)
{
    return host->is_up && host->descriptions[handle].state == HANDLE_OPEN;
}

static bool any_handle(const struct host *host)
{
    for (unsigned i = 0; i < HANDLES; i++) {
        if (host->descriptions[i].state != HANDLE_CLOSED)
            return true;
    }
    return false;
}

void mount_look(struct run *run, unsigned h)
{
    struct host *host = &run->world.hosts[h];
    const struct owner before = mount_owner(host);

    if (mutated(run, MUTATION_NO_RECORD_LOOK))
        return;
    (void)record_slots_read(run, h); /* the acquire is who needs it */
    const struct owner after = mount_owner(host);
    if (owner_state(&before) != owner_state(&after) && !is_busy(host))
        (void)mount_notify(run, h);
}

bool mount_open(struct run *run, unsigned h, unsigned handle)
{
    struct host *host = &run->world.hosts[h];

    if (!store_reaches(host) || host->opens_left == 0 || is_busy(host) ||
        host->descriptions[handle].state != HANDLE_CLOSED)
        return false;
    host->opens_left--;
    mount_look(run, h);
    const bool is_first = !any_handle(host);
    const bool may_keep = keeps(run, host);
    if (!may_keep && !mount_notify(run, h))
        return false;
    store_open(run, h, is_first || !may_keep);
    host->descriptions[handle].state = HANDLE_OPEN;
    property_opened(run, h);
    return true;
}

/* The VMM is told, and nobody knows any more what is in the store. */
static void fail_sync(struct host *host)
{
    host->digest = host->digest_is_durable = 0;
    property_told_loss(host);
}

/* What went wrong by another handle that one's sync tells. */
static void sync_and_tell(struct run *run, unsigned h, unsigned handle)
{
    struct host *host = &run->world.hosts[h];

    if (store_sync(run, h, handle) != 0 || host->mapping_error)
        fail_sync(host);
    else if (host->errors == 0)
        property_synced(run, h, host->acknowledged);
    host->mapping_error = 0;
}

bool mount_close(struct run *run, unsigned h, unsigned handle)
{
    struct host *host = &run->world.hosts[h];
    struct description *description = &host->descriptions[handle];

    if (!is_open(host, handle) || is_busy(host) || !launder(run, h) ||
        (host->page == PAGE_DIRTY && !store_reaches(host)))
        return false;
    sync_and_tell(run, h, handle);
    description->state = HANDLE_CLOSING;
    description->was_active = 0;
    bool goes_on = false; /* by another handle */
    for (unsigned i = 0; i < HANDLES; i++)
        goes_on = goes_on || (host->descriptions[i].was_active && host->descriptions[i].held) ||
                  (host->descriptions[i].was_active && host->acquired_by_ioctl);
    host->is_active = host->is_active && goes_on;
    return true;
}

static void last_close(struct host *host)
{
    struct owner owner = mount_owner(host);

    owner_last_close(&owner);
    mount_set_owner(host, &owner);
    host->digest = host->digest_is_durable = 0;
    host->claim = host->recognised = 0;
    host->has_slot = host->slot = host->sequence = 0;
    host->lost = 0;
}

void mount_closed(struct run *run, unsigned h, unsigned handle)
{
    struct host *host = &run->world.hosts[h];
    struct owner owner = mount_owner(host);
    bool was_released = false;

    host->descriptions[handle] = (struct description){0};
    host->errors &= (uint8_t) ~(1u << handle);
    if (!any_handle(host)) {
        last_close(host);
        return;
    }
    for (unsigned i = 0; i < HANDLES; i++)
        was_released = was_released || host->descriptions[i].was_released;
    if (!was_released && owner_state(&owner) == OWNER_RELEASED) {
        owner_last_close(&owner);
        mount_set_owner(host, &owner);
    }
}

void mount_mark_released(struct host *host)
{
    const struct owner owner = mount_owner(host);

    for (unsigned i = 0; i < HANDLES; i++) {
        if (owner_state(&owner) == OWNER_RELEASED && host->descriptions[i].state != HANDLE_CLOSED)
            host->descriptions[i].was_released = 1;
    }
}

/* ---- reads and writes ---- */

static void end_read(struct run *run, unsigned h)
{
    struct host *host = &run->world.hosts[h];
    const uint8_t version = host->read_version;

    if (host->read_is_cached && host->page == PAGE_NONE) {
        host->page = PAGE_CLEAN;
        host->page_version = version;
    }
    keep(host, PAGE_CLEAN, version, 0);
    if (!host->read_is_cached && !mutated(run, MUTATION_STANDBY_KEEPS))
        host->drop_is_due = 1;
    host->reads = host->read_version = host->read_is_cached = 0;
    property_read(run, h, version, false);
}

bool mount_read(struct run *run, unsigned h)
{
    struct host *host = &run->world.hosts[h];
    const struct owner owner = mount_owner(host);

    if (!(is_open(host, 0) || is_open(host, 1)) || is_busy(host))
        return false;
    if (host->kept != PAGE_NONE) {
        property_read(run, h, host->kept_version, true);
        return true;
    }
    if (owner_state(&owner) == OWNER_FENCED)
        return false;
    const bool distrusts = host->distrusts_below && !mutated(run, MUTATION_TRUSTS_BELOW);
    const bool is_fresh = asks(run, host) || distrusts;
    if (is_fresh ? !store_reaches(host) : !store_can_read(host))
        return false;
    host->read_version = is_fresh ? store_read_direct(run, h) : store_read_cached(run, h);
    host->read_is_cached = !is_fresh;
    host->reads = 1;
    if (!run->scenario->splits_reads)
        end_read(run, h);
    return true;
}

bool mount_read_end(struct run *run, unsigned h)
{
    if (!run->world.hosts[h].reads)
        return false;
    end_read(run, h);
    return true;
}

/* Somebody has the disk, or had it by this handle and does not know better. */
static bool would_write(const struct run *run, const struct host *host, unsigned handle)
{
    const uint8_t held = host->descriptions[handle].held;

    if (run->scenario->is_orderly && !mutated(run, MUTATION_DISORDERLY) &&
        (!(held & BYTE_101) || host->transition.change == CHANGE_GIVE))
        return false;
    return is_open(host, handle) && (host->is_active || host->descriptions[handle].was_active) &&
           run->world.writes_left > 0 && !is_busy(host);
}

static uint8_t number_write(struct run *run)
{
    run->world.writes_left--;
    return ++run->world.server.last_write;
}

bool mount_write(struct run *run, unsigned h, unsigned handle)
{
    struct host *host = &run->world.hosts[h];

    if (!would_write(run, host, handle) || host->kept == PAGE_DIRTY ||
        run->scenario->vmms[h] == VMM_READER || !may_write(run, host, handle))
        return false;
    host->writes = 1;
    host->write_version = number_write(run);
    host->write_by = (uint8_t)writes_by(run, host, handle);
    host->write_handle = (uint8_t)handle;
    return true;
}

static void acknowledge(struct host *host, uint8_t version)
{
    host->acknowledged = version;
    if (host->is_active)
        host->expected = version;
}

bool mount_write_end(struct run *run, unsigned h)
{
    struct host *host = &run->world.hosts[h];

    if (!host->writes || (run->scenario->is_direct && !store_reaches(host)) ||
        !store_write(run, h, host->write_version, host->write_by))
        return false;
    change_digest(run, host, host->write_version);
    if (run->scenario->is_direct) {
        keep(host, PAGE_NONE, 0, 0);
        (void)store_write_back(run, h); /* below by O_DIRECT, too; its error is the next sync's */
    } else {
        keep(host, PAGE_CLEAN, host->write_version, 0);
        /* A release drops it itself. */
        if (mount_should_ask(host) && host->transition.handoff.kind != HANDOFF_RELEASE &&
            !mutated(run, MUTATION_KEEPS_WRITTEN))
            host->drop_is_due = 1;
    }
    acknowledge(host, host->write_version);
    host->writes = host->write_version = host->write_by = host->write_handle = 0;
    return true;
}

bool mount_store(struct run *run, unsigned h, unsigned handle)
{
    struct host *host = &run->world.hosts[h];

    if (!run->scenario->maps || !would_write(run, host, handle) || !host->is_active ||
        run->scenario->vmms[h] == VMM_READER)
        return false;
    const uint8_t version = number_write(run);
    keep(host, PAGE_DIRTY, version, handle);
    acknowledge(host, version);
    return true;
}

bool mount_write_back(struct run *run, unsigned h)
{
    struct host *host = &run->world.hosts[h];

    return host->is_up && host->kept == PAGE_DIRTY && !is_busy(host) && launder(run, h);
}

bool mount_fsync(struct run *run, unsigned h, unsigned handle)
{
    struct host *host = &run->world.hosts[h];

    if (!is_open(host, handle) || is_busy(host) || !store_reaches(host) ||
        (host->acknowledged == 0 && host->page != PAGE_DIRTY) || !launder(run, h))
        return false;
    sync_and_tell(run, h, handle);
    return true;
}

/* ---- the daemon's own ---- */

bool mount_drop_late(struct run *run, unsigned h)
{
    struct host *host = &run->world.hosts[h];

    if (!host->is_up || !host->drop_is_due || host->transition.change != CHANGE_NONE)
        return false;
    if ((asks(run, host) || host->is_left) && !mount_notify(run, h))
        return false;
    host->drop_is_due = 0;
    return true;
}

bool mount_check_guard(struct run *run, unsigned h)
{
    struct host *host = &run->world.hosts[h];
    struct owner owner = mount_owner(host);
    const unsigned guard = guard_of(host);

    if (!store_reaches(host) || host->transition.change != CHANGE_NONE || guard == DESCRIPTIONS ||
        !host->descriptions[guard].refused || mutated(run, MUTATION_NO_WATCH) ||
        (owner_state(&owner) != OWNER_OWNER && owner_state(&owner) != OWNER_SHARED))
        return false;
    (void)store_write_back(run, h); /* the look begins with it */
    (void)mount_write_end(run, h);  /* and what is under way by the guard ends after it */
    if (!mutated(run, MUTATION_NO_LATCH))
        (void)owner_lock_lost(&owner);
    mount_set_owner(host, &owner);
    for (unsigned i = 0; i < DESCRIPTIONS && !mutated(run, MUTATION_LOST_LOCKS_AGAIN); i++)
        host->descriptions[i].is_lost = host->descriptions[i].held != 0;
    host->drop_is_due = 1;
    return true;
}
