/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "property.h"

#include "mount.h"
#include "mutant.h"
#include "store.h"

static void violated(struct run *run, const char *property)
{
    if (!run->violation)
        run->violation = property;
}

/* Its VMM owns the disk, and the server agrees. */
static bool owns(const struct run *run, unsigned h)
{
    const struct host *host = &run->world.hosts[h];

    return host->is_up && host->is_active && !store_refuses(host);
}

static bool writes(const struct run *run, unsigned h)
{
    return run->scenario->vmms[h] != VMM_READER;
}

void property_write_lands(struct run *run, unsigned h, uint8_t version)
{
    for (unsigned other = 0; other < run->scenario->hosts; other++) {
        if (other != h && owns(run, other))
            violated(run, "one host's write reaches the server while another one owns the disk");
    }
    if (version < run->world.server.synced)
        violated(run, "an older write lands over one that was acknowledged as safe");
}

/* What a read must give that is served from the server. */
static bool is_current(const struct run *run, unsigned h, uint8_t version)
{
    const struct host *host = &run->world.hosts[h];
    const struct server *server = &run->world.server;

    if (server->lags != 0 || run->scenario->splits_reads || host->kept == PAGE_DIRTY)
        return true; /* nothing can be said */
    return version == (host->page == PAGE_DIRTY ? host->page_version : server->version);
}

/* By whom the page may be read that a release left. */
static bool serves_others(const struct run *run, unsigned h)
{
    const struct host *host = &run->world.hosts[h];
    bool others = false;

    for (unsigned i = 0; i < HANDLES; i++)
        others = others ||
                 (host->descriptions[i].state == HANDLE_OPEN && !host->descriptions[i].was_alone);
    return host->is_left && others;
}

void property_read(struct run *run, unsigned h, uint8_t version, bool was_kept)
{
    const struct host *host = &run->world.hosts[h];
    const bool will_drop = host->drop_is_due || host->owner.transition != OWNER_SETTLED;

    if (owns(run, h) && host->expected != 0 && version != host->expected)
        violated(run, "an owner reads stale data");
    if (!mount_should_ask(host) || is_current(run, h, version))
        return;
    if (!was_kept)
        violated(run, "a host that is not owner is not served from the server");
    else if (serves_others(run, h))
        violated(run, "a stale page that a release left is served to who did not hand over");
    else if (!will_drop)
        violated(run, "a stale page is served past the state that allowed it to be kept");
}

void property_owns(struct run *run, unsigned h)
{
    struct server *server = &run->world.server;
    const struct host *host = &run->world.hosts[h];

    for (unsigned other = 0; other < run->scenario->hosts; other++) {
        if (other != h && owns(run, other) && (writes(run, h) || writes(run, other)))
            violated(run, "two hosts own the disk, and one of them writes");
    }
    const struct owner owner = mount_owner(host);
    if (owner_state(&owner) != OWNER_OWNER)
        violated(run, "a VMM owns the disk, and its migfs is not owner");
    if (!host->owner.recorded || !writes(run, h) ||
        host->transition.handoff.kind != HANDOFF_ACQUIRE)
        return;
    const bool is_same = server->top_host == h && server->top_boot == host->boot;
    if (host->owner.generation <= server->top_generation && !is_same)
        violated(run, "two owners go by one generation");
    server->top_generation = host->owner.generation;
    server->top_host = (uint8_t)h;
    server->top_boot = host->boot;
}

void property_synced(struct run *run, unsigned h, uint8_t version)
{
    struct host *host = &run->world.hosts[h];
    struct server *server = &run->world.server;

    if (version > server->synced)
        server->synced = version;
    if (host->acknowledged <= version)
        host->acknowledged = 0;
    if (server->version < server->synced)
        violated(run, "a write that was acknowledged as safe is not at the server");
}

void property_told_loss(struct host *host)
{
    host->acknowledged = 0;
    host->transition.promised = 0;
}

void property_opened(struct run *run, unsigned h)
{
    const struct host *host = &run->world.hosts[h];
    const struct owner opener = mount_owner(host);

    if (!owner_may_cache(&opener) && host->kept != PAGE_NONE &&
        host->kept_version != run->world.server.version)
        violated(run, "an open does not see what was closed before it");
    for (unsigned other = 0; other < run->scenario->hosts; other++) {
        if (other == h || !owns(run, other) || !run->world.hosts[other].owner.recorded ||
            !writes(run, other))
            continue;
        if (owner_state(&opener) == OWNER_PLAIN)
            violated(run, "an open does not see that another host is recorded as owner");
    }
}

void property_conflict(struct run *run, unsigned h, uint8_t bytes)
{
    for (unsigned other = 0; other < run->scenario->hosts; other++) {
        const struct host *host = &run->world.hosts[other];

        if (other == h)
            continue;
        for (unsigned i = 0; i < DESCRIPTIONS; i++) {
            if (run->world.server.locks[other][i] & bytes &&
                (!host->is_up || host->descriptions[i].held & bytes))
                return;
        }
    }
    violated(run, "an acquire waits for locks that nobody thinks it holds");
}

void property_answered(struct run *run, unsigned h)
{
    const struct transition *transition = &run->world.hosts[h].transition;

    if (transition->handoff.answer != 0 && !transition->is_hampered)
        violated(run, "a transition fails, and nothing stood in its way");
}

void property_goes_on(struct run *run, unsigned h, bool step_is_due)
{
    const struct host *host = &run->world.hosts[h];

    if (host->transition.change != CHANGE_NONE && !step_is_due && !host->reads && !host->writes &&
        !host->is_cut)
        violated(run, "a transition waits, and nothing will end it");
}
