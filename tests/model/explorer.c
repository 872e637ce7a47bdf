/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "explorer.h"

#include "property.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* 16 bytes a state and 4 to 8 for its place: with the frontier below 2 GiB. */
#define MOST_STATES 30000000u

struct node {
    uint64_t hash;
    uint32_t parent;
    uint16_t action;
};

struct frontier {
    struct world *worlds;
    uint32_t *nodes;
    size_t count, capacity;
};

struct explorer {
    const struct scenario *scenario;
    const struct mutant *mutant;
    struct action actions[MOST_ACTIONS];
    unsigned action_count;

    struct node *nodes;
    size_t node_count, node_capacity;
    uint32_t *places; /* index + 1 of a node, by its hash */
    size_t place_count;
    struct frontier now, next;
    struct run run; /* of one action after another */
};

/* ---- the visited ---- */

static int grow_places(struct explorer *explorer)
{
    const size_t count = explorer->place_count ? explorer->place_count * 2 : 1u << 16;
    uint32_t *places = calloc(count, sizeof(*places));

    if (!places)
        return -ENOMEM;
    for (size_t i = 0; i < explorer->node_count; i++) {
        size_t at = explorer->nodes[i].hash & (count - 1);

        while (places[at] != 0)
            at = (at + 1) & (count - 1);
        places[at] = (uint32_t)i + 1;
    }
    free(explorer->places);
    explorer->places = places;
    explorer->place_count = count;
    return 0;
}

static int reserve_nodes(struct explorer *explorer)
{
    if (explorer->node_count == MOST_STATES)
        return -ENOMEM;
    if (explorer->node_count == explorer->node_capacity) {
        const size_t capacity = explorer->node_capacity ? explorer->node_capacity * 2 : 1u << 14;
        struct node *nodes = realloc(explorer->nodes, capacity * sizeof(*nodes));

        if (!nodes)
            return -ENOMEM;
        explorer->nodes = nodes;
        explorer->node_capacity = capacity;
    }
    return explorer->node_count * 5 >= explorer->place_count * 4 ? grow_places(explorer) : 0;
}

/* 1: it is new; 0: it was there; or -ENOMEM. */
static int visit(struct explorer *explorer, const struct world *world, uint32_t parent,
                 unsigned action)
{
    const uint64_t hash = XXH3_64bits(world, sizeof(*world));
    const int error = reserve_nodes(explorer);

    if (error != 0)
        return error;
    size_t at = hash & (explorer->place_count - 1);
    while (explorer->places[at] != 0) {
        if (explorer->nodes[explorer->places[at] - 1].hash == hash)
            return 0;
        at = (at + 1) & (explorer->place_count - 1);
    }
    explorer->nodes[explorer->node_count] =
        (struct node){.hash = hash, .parent = parent, .action = (uint16_t)action};
    explorer->places[at] = (uint32_t)++explorer->node_count;
    return 1;
}

/* ---- the frontier ---- */

static int frontier_add(struct frontier *frontier, const struct world *world, uint32_t node)
{
    if (frontier->count == frontier->capacity) {
        const size_t capacity = frontier->capacity ? frontier->capacity * 2 : 1u << 10;
        struct world *worlds = realloc(frontier->worlds, capacity * sizeof(*worlds));
        uint32_t *nodes = realloc(frontier->nodes, capacity * sizeof(*nodes));

        frontier->worlds = worlds ? worlds : frontier->worlds;
        frontier->nodes = nodes ? nodes : frontier->nodes;
        if (!worlds || !nodes)
            return -ENOMEM;
        frontier->capacity = capacity;
    }
    frontier->worlds[frontier->count] = *world;
    frontier->nodes[frontier->count++] = node;
    return 0;
}

/* ---- the search ---- */

static void note_way(const struct explorer *explorer, uint32_t node, unsigned last,
                     struct exploration *result)
{
    unsigned length = 1;

    for (uint32_t at = node; at != 0; at = explorer->nodes[at].parent)
        length++;
    if (length > MOST_LENGTH)
        abort(); /* no scenario is that deep */
    result->length = length;
    result->way[--length] = explorer->actions[last];
    for (uint32_t at = node; at != 0; at = explorer->nodes[at].parent)
        result->way[--length] = explorer->actions[explorer->nodes[at].action];
}

/* One action of one moment. `steps`: of whom the next step can be taken. */
static int try_action(struct explorer *explorer, size_t from, unsigned i, bool steps[MOST_HOSTS],
                      struct exploration *result)
{
    struct run *run = &explorer->run;
    const struct action *action = &explorer->actions[i];

    run->world = explorer->now.worlds[from];
    run->violation = NULL;
    if (!action_apply(run, action))
        return 0;
    steps[action->host] = steps[action->host] || action_is_step(action);
    if (run->violation) {
        result->violation = run->violation;
        note_way(explorer, explorer->now.nodes[from], i, result);
        return 0;
    }
    const int is_new = visit(explorer, &run->world, explorer->now.nodes[from], i);
    if (is_new <= 0)
        return is_new;
    return frontier_add(&explorer->next, &run->world, (uint32_t)explorer->node_count - 1);
}

static int expand(struct explorer *explorer, size_t from, struct exploration *result)
{
    struct run run = {.scenario = explorer->scenario, .world = explorer->now.worlds[from]};
    bool steps[MOST_HOSTS] = {false};
    int error = 0;

    for (unsigned i = 0; i < explorer->action_count && error == 0 && !result->violation; i++)
        error = try_action(explorer, from, i, steps, result);
    for (unsigned h = 0; h < explorer->scenario->hosts && error == 0; h++)
        property_goes_on(&run, h, steps[h]);
    if (!result->violation && run.violation) {
        const uint32_t node = explorer->now.nodes[from];

        result->violation = run.violation;
        note_way(explorer, explorer->nodes[node].parent, explorer->nodes[node].action, result);
    }
    return error;
}

/* All moments at one distance. */
static int expand_all(struct explorer *explorer, struct exploration *result)
{
    int error = 0;

    for (size_t i = 0; i < explorer->now.count && error == 0 && !result->violation; i++)
        error = expand(explorer, i, result);

    const struct frontier over = explorer->now;
    explorer->now = explorer->next;
    explorer->next = over;
    explorer->next.count = 0;
    return error;
}

static int search(struct explorer *explorer, unsigned depth, struct exploration *result)
{
    struct run start = {.scenario = explorer->scenario, .mutant = explorer->mutant};
    int error;

    action_begin(&start);
    result->violation = start.violation;
    error = visit(explorer, &start.world, 0, 0);
    if (error > 0)
        error = frontier_add(&explorer->now, &start.world, 0);
    while (error == 0 && !result->violation && explorer->now.count > 0 &&
           (depth == 0 || result->depth < depth)) {
        error = expand_all(explorer, result);
        if (explorer->now.count > 0)
            result->depth++;
    }
    result->is_whole = explorer->now.count == 0;
    result->states = explorer->node_count;
    return error;
}

int explorer_run(const struct scenario *scenario, const struct mutant *mutant, unsigned depth,
                 struct exploration *result)
{
    struct explorer explorer = {
        .scenario = scenario,
        .mutant = mutant,
        .run = {.scenario = scenario, .mutant = mutant},
    };
    int error;

    *result = (struct exploration){.violation = NULL};
    explorer.action_count = action_list(scenario, explorer.actions);
    error = search(&explorer, depth, result);
    free(explorer.nodes);
    free(explorer.places);
    free(explorer.now.worlds);
    free(explorer.now.nodes);
    free(explorer.next.worlds);
    free(explorer.next.nodes);
    return error;
}
