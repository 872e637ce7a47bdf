/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * model [--full] [--scenario NAME] [--mutant NAME] [--depth N] clean|mutants
 *
 *   clean    each scenario as the code is: no property may be violated. Prints the states visited
 *            and how far it went.
 *   mutants  each guard taken out in its scenario: some property must be. Prints the shortest
 *            counterexample.
 */
#include "explorer.h"
#include "mutant.h"
#include "scenario.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct options {
    bool is_full;
    const char *scenario, *mutant;
    unsigned depth;
};

static unsigned depth_of(const struct options *options, const struct scenario *scenario)
{
    if (options->depth)
        return options->depth;
    return options->is_full ? scenario->full_depth : scenario->depth;
}

static void print_way(const struct scenario *scenario, const struct mutant *mutant,
                      const struct exploration *found)
{
    struct run run = {.scenario = scenario, .mutant = mutant};
    char text[400];

    action_begin(&run);
    if (scenario->owner_at_start)
        printf("     0  A has opened and acquired the file, which holds write 1\n");
    for (unsigned i = 0; i < found->length; i++) {
        action_tell(&run, &found->way[i], text, sizeof(text));
        printf("  %4u  %s\n", i + 1, text);
        (void)action_apply(&run, &found->way[i]); /* it was applied before */
    }
    printf("        => %s\n", found->violation);
}

static void print_extent(const struct exploration *result)
{
    printf("%lu states, %s %u actions\n", result->states, result->is_whole ? "all, within" : "to",
           result->depth);
    (void)fflush(stdout); /* who watches wants to see it now */
}

static bool clean_holds(const struct options *options, const struct scenario *scenario)
{
    struct exploration result;

    printf("%-12s %s: ", scenario->name, scenario->about);
    (void)fflush(stdout);
    if (explorer_run(scenario, NULL, depth_of(options, scenario), &result) != 0) {
        printf("more states than there is room for\n");
        return false;
    }
    print_extent(&result);
    if (result.violation)
        print_way(scenario, NULL, &result);
    return !result.violation;
}

/* One that nothing catches must stay so, or what is said of it is wrong. */
static bool mutant_is_caught(const struct options *options, const struct mutant *mutant)
{
    const struct scenario *scenario = scenario_find(mutant->scenario);
    /* What is to be caught ends the search by itself. */
    const unsigned depth = mutant->why_not || options->depth ? depth_of(options, scenario) : 0;
    struct exploration result;

    printf("%-24s %s %s (%s): ", mutant->name, mutant->is_gap ? "a gap: there is not" : "without",
           mutant->guard, mutant->scenario);
    (void)fflush(stdout);
    if (!scenario || explorer_run(scenario, mutant, depth, &result) != 0) {
        printf("more states than there is room for\n");
        return false;
    }
    print_extent(&result);
    if (result.violation)
        print_way(scenario, mutant, &result);
    else
        printf("        => not caught%s%s\n", mutant->why_not ? ": " : "",
               mutant->why_not ? mutant->why_not : "");
    return (mutant->why_not == NULL) == (result.violation != NULL);
}

static bool is_wanted(const char *wanted, const char *name)
{
    return !wanted || strcmp(wanted, name) == 0;
}

static unsigned run_clean(const struct options *options)
{
    unsigned failed = 0;

    for (unsigned i = 0; i < scenario_count; i++) {
        if (is_wanted(options->scenario, scenarios[i].name))
            failed += !clean_holds(options, &scenarios[i]);
    }
    return failed;
}

static unsigned run_mutants(const struct options *options)
{
    unsigned failed = 0;

    for (unsigned i = 0; i < mutant_count; i++) {
        if (mutants[i].is_deep && !options->is_full && !options->mutant) {
            printf("%-24s with --full only\n", mutants[i].name);
            continue;
        }
        if (is_wanted(options->mutant, mutants[i].name) &&
            is_wanted(options->scenario, mutants[i].scenario))
            failed += !mutant_is_caught(options, &mutants[i]);
    }
    return failed;
}

static bool parse(int argc, char **argv, struct options *options)
{
    static const struct option known[] = {
        {"full", no_argument, NULL, 'f'},
        {"scenario", required_argument, NULL, 's'},
        {"mutant", required_argument, NULL, 'm'},
        {"depth", required_argument, NULL, 'd'},
        {0},
    };
    int option;

    while ((option = getopt_long(argc, argv, "", known, NULL)) >= 0) {
        if (option == 'f')
            options->is_full = true;
        else if (option == 's')
            options->scenario = optarg;
        else if (option == 'm')
            options->mutant = optarg;
        else if (option == 'd')
            options->depth = (unsigned)strtoul(optarg, NULL, 10);
        else
            return false;
    }
    return optind == argc - 1;
}

int main(int argc, char **argv)
{
    struct options options = {.is_full = false};
    unsigned failed;

    if (!parse(argc, argv, &options)) {
        fprintf(stderr,
                "usage: %s [--full] [--scenario NAME] [--mutant NAME] [--depth N] "
                "clean|mutants\n",
                argv[0]);
        return 2;
    }
    failed = strcmp(argv[optind], "mutants") == 0 ? run_mutants(&options) : run_clean(&options);
    printf("%s: %u failed\n", argv[optind], failed);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
