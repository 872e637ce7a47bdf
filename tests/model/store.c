/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "store.h"

#include "mutant.h"
#include "property.h"

#include <errno.h>

bool store_can_read(const struct host *host)
{
    return host->page != PAGE_NONE || store_reaches(host);
}

static uint8_t version_for(const struct run *run, unsigned h)
{
    const struct server *server = &run->world.server;

    return server->lags & (1u << h) ? server->previous : server->version;
}

uint8_t store_read_cached(struct run *run, unsigned h)
{
    struct host *host = &run->world.hosts[h];

    return host->page != PAGE_NONE ? host->page_version : version_for(run, h);
}

uint8_t store_read_direct(struct run *run, unsigned h)
{
    (void)store_write_back(run, h); /* its error is the next sync's to tell */
    return version_for(run, h);
}

/* The server takes a write, or refuses it. */
static int land(struct run *run, unsigned h, uint8_t version, unsigned by)
{
    struct server *server = &run->world.server;
    const struct host *host = &run->world.hosts[h];
    const bool fences = run->scenario->store_fences && !mutated(run, MUTATION_NO_STORE_FENCE);

    if (fences && host->descriptions[by].refused)
        return -EIO;
    property_write_lands(run, h, version);
    server->previous = server->version;
    server->version = version;
    if (run->scenario->store_lags)
        server->lags = (uint8_t)(((1u << run->scenario->hosts) - 1) & ~(1u << h));
    for (unsigned i = 0; i < 2; i++)
        server->slots[i].is_as_it = 0;
    for (unsigned i = 0; i < run->scenario->hosts; i++)
        run->world.hosts[i].transition.seen.is_as_it = 0;
    return 0;
}

int store_write_back(struct run *run, unsigned h)
{
    struct host *host = &run->world.hosts[h];

    if (host->page != PAGE_DIRTY)
        return 0;
    const int error = land(run, h, host->page_version, host->page_by);
    if (error == 0) {
        host->page = PAGE_CLEAN;
        return 0;
    }
    /* The page is dropped, and each description's next sync tells. */
    host->page = PAGE_NONE;
    host->page_version = host->page_by = 0;
    host->expected = 0;
    for (unsigned i = 0; i < DESCRIPTIONS; i++) {
        if (host->descriptions[i].state != HANDLE_CLOSED)
            host->errors |= (uint8_t)(1u << i);
    }
    return error;
}

bool store_write(struct run *run, unsigned h, uint8_t version, unsigned by)
{
    struct host *host = &run->world.hosts[h];

    if (host->page == PAGE_DIRTY && host->page_by != by) {
        if (!store_reaches(host))
            return false;
        (void)store_write_back(run, h); /* told by the next sync */
    }
    host->page = PAGE_DIRTY;
    host->page_version = version;
    host->page_by = (uint8_t)by;
    return true;
}

int store_sync(struct run *run, unsigned h, unsigned by)
{
    struct host *host = &run->world.hosts[h];
    int error = store_write_back(run, h);

    if (host->errors & (1u << by))
        error = -EIO;
    host->errors &= (uint8_t) ~(1u << by);
    return error;
}

void store_drop(struct host *host)
{
    if (host->page != PAGE_CLEAN)
        return;
    host->page = PAGE_NONE;
    host->page_version = host->page_by = 0;
}

void store_open(struct run *run, unsigned h, bool is_first)
{
    struct host *host = &run->world.hosts[h];

    if (is_first && host->page_version != run->world.server.version)
        store_drop(host);
}

void store_lock(struct run *run, unsigned h, unsigned by, uint8_t bytes)
{
    run->world.hosts[h].descriptions[by].held |= bytes;
    run->world.server.locks[h][by] |= bytes;
}

void store_unlock(struct run *run, unsigned h, unsigned by, uint8_t bytes)
{
    struct description *description = &run->world.hosts[h].descriptions[by];

    description->held &= (uint8_t)~bytes;
    run->world.server.locks[h][by] &= (uint8_t)~bytes;
    if (description->held == 0)
        description->refused = 0; /* its lock state is gone, and its writes pass again */
}

uint8_t store_held_by_others(const struct run *run, unsigned h, uint8_t bytes)
{
    uint8_t held = 0;

    for (unsigned other = 0; other < run->scenario->hosts; other++) {
        for (unsigned i = 0; i < DESCRIPTIONS && other != h; i++)
            held |= run->world.server.locks[other][i];
    }
    return held & bytes;
}

void store_lease_ends(struct run *run, unsigned h)
{
    struct host *host = &run->world.hosts[h];

    for (unsigned i = 0; i < DESCRIPTIONS; i++) {
        if (host->is_up && run->world.server.locks[h][i])
            host->descriptions[i].refused = 1;
        run->world.server.locks[h][i] = 0;
    }
}

bool store_refuses(const struct host *host)
{
    for (unsigned i = 0; i < DESCRIPTIONS; i++) {
        if (host->descriptions[i].refused)
            return true;
    }
    return false;
}
