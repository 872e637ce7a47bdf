/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * migfsctl: asks mounts of migfs, and tells them. The command line is read here, the commands are
 * in a file each; migfsctl(1) is the reference.
 */
#include "command.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "Usage: migfsctl status [--json] [--follow] PATH...\n"
    "       migfsctl watch [--json] PATH...\n"
    "       migfsctl acquire [--group PID] PATH...\n"
    "       migfsctl release [--group PID] PATH...\n"
    "       migfsctl forget PATH...\n"
    "       migfsctl history [--json] PATH...\n"
    "       migfsctl history --plot FILE.svg [--generation N] PATH\n"
    "       migfsctl stats [--json | --openmetrics[=FILE]] [PATH...]\n"
    "       migfsctl doctor [--json] [MOUNTPOINT|SOURCE]\n"
    "       migfsctl init --uid UID [--gid GID] SOURCE\n"
    "       migfsctl --help | --version\n"
    "\n"
    "  status   shows the open files: who may write, who holds which locks; --follow: every "
    "second\n"
    "  watch    shows each hand-over as it ends\n"
    "  acquire  makes this host the owner\n"
    "  release  writes everything back, stops the writers here, lets other hosts acquire\n"
    "  forget   accepts what a file holds now, where an acquire of it failed\n"
    "  history  shows the last hand-overs of a file; --plot: draws one, the last one\n"
    "  stats    shows what a mount has done so far, counted and timed; without a PATH: all mounts\n"
    "  doctor   examines a mount, or a SOURCE before it is mounted: whether migration is safe\n"
    "  init     makes SOURCE/.migfs for UID, where root may not (root_squash)\n"
    "\n"
    "A PATH is a file on a migfs; but for history also a directory, for all open files below;\n"
    "for stats any file or directory, it asks the mount.\n"
    "--group PID: those that a process opened, all or none; the PATHs are directories.\n"
    "Exit: 0 done, 1 failed, 2 usage, 3 fenced, 4 timed out, 5 not a migfs;\n"
    "of doctor 6 warnings, 7 unsafe.\n";

static const struct command {
    const char *name;
    enum exit_code (*run)(const struct arguments *arguments);
    bool takes_json;
    bool takes_follow;
    bool takes_owner;
    bool takes_group;
    bool takes_any;  /* one path or none */
    bool takes_none; /* paths or none */
    bool takes_openmetrics;
    bool takes_plot;
} commands[] = {
    {"status", status_command, .takes_json = true, .takes_follow = true},
    {"watch", watch_command, .takes_json = true},
    {"acquire", acquire_command, .takes_group = true},
    {"release", release_command, .takes_group = true},
    {"forget", forget_command, .takes_json = false},
    {"history", history_command, .takes_json = true, .takes_plot = true},
    {"stats", stats_command, .takes_json = true, .takes_none = true, .takes_openmetrics = true},
    {"doctor", doctor_command, .takes_json = true, .takes_any = true},
    {"init", init_command, .takes_owner = true},
};

void complain(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    (void)fputs("migfsctl: ", stderr); /* nobody is left to tell */
    (void)vfprintf(stderr, format, arguments);
    (void)fputc('\n', stderr);
    va_end(arguments);
}

static const struct command *command_find(const char *name)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    }
    return NULL;
}

static bool number_parse(const char *text, uint64_t *number)
{
    char *end;
    unsigned long long value;

    if (text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    value = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0')
        return false;
    *number = value;
    return true;
}

/* uid_t and gid_t without their -1, which means "leave it" to chown(2). */
static bool id_parse(const char *text, unsigned *id)
{
    uint64_t value;

    if (!number_parse(text, &value) || value >= (unsigned)-1)
        return false;
    *id = (unsigned)value;
    return true;
}

enum option_letter {
    OPTION_JSON = 'j',
    OPTION_FOLLOW = 'f',
    OPTION_UID = 'u',
    OPTION_GID = 'g',
    OPTION_GROUP = 'p',
    OPTION_OPENMETRICS = 'm',
    OPTION_PLOT = 'P',
    OPTION_GENERATION = 'n',
};

/* Says it where the command does not take the option. */
static bool takes(const struct command *command, bool it_does, const char *option)
{
    if (!it_does)
        complain("%s takes no %s", command->name, option);
    return it_does;
}

static bool owner_take(int letter, struct arguments *arguments)
{
    const bool is_user = letter == OPTION_UID;

    if (!id_parse(optarg, is_user ? &arguments->uid : &arguments->gid)) {
        complain("'%s' is not a number of a user or a group; see id(1)", optarg);
        return false;
    }
    *(is_user ? &arguments->has_uid : &arguments->has_gid) = true;
    return true;
}

static bool group_take(struct arguments *arguments)
{
    if (id_parse(optarg, &arguments->group) && arguments->group != 0)
        return true;
    complain("'%s' is not the number of a process; name a PID", optarg);
    return false;
}

static bool generation_take(struct arguments *arguments)
{
    if (number_parse(optarg, &arguments->generation) && arguments->generation != 0)
        return true;
    complain("'%s' is not a generation; migfsctl history shows them", optarg);
    return false;
}

static bool option_take(const struct command *command, int letter, struct arguments *arguments)
{
    switch (letter) {
    case OPTION_JSON:
        arguments->json = true;
        return takes(command, command->takes_json, "--json");
    case OPTION_FOLLOW:
        arguments->follows = true;
        return takes(command, command->takes_follow, "--follow");
    case OPTION_UID:
    case OPTION_GID:
        return takes(command, command->takes_owner, "--uid and no --gid") &&
               owner_take(letter, arguments);
    case OPTION_GROUP:
        return takes(command, command->takes_group, "--group") && group_take(arguments);
    case OPTION_OPENMETRICS:
        arguments->has_openmetrics = true;
        arguments->openmetrics = optarg;
        return takes(command, command->takes_openmetrics, "--openmetrics");
    case OPTION_PLOT:
        arguments->plot = optarg;
        return takes(command, command->takes_plot, "--plot");
    case OPTION_GENERATION:
        return takes(command, command->takes_plot, "--generation") && generation_take(arguments);
    default:
        return false; /* getopt_long has said it */
    }
}

/* What does not go together, said; of what the command takes. */
static bool arguments_agree(const struct command *command, const struct arguments *arguments)
{
    const char *const file =
        arguments->openmetrics != NULL ? arguments->openmetrics : arguments->plot;

    if (arguments->json && (arguments->has_openmetrics || arguments->plot != NULL)) {
        complain("%s takes --json or %s, not both", command->name,
                 arguments->plot != NULL ? "--plot" : "--openmetrics");
        return false;
    }
    if (arguments->generation != 0 && arguments->plot == NULL) {
        complain("--generation says which hand-over to --plot; name a FILE.svg");
        return false;
    }
    if (arguments->plot != NULL && arguments->path_count > 1) {
        complain("--plot draws one hand-over, of one PATH");
        return false;
    }
    if (file != NULL && file[0] == '\0') {
        complain("%s needs the name of a file",
                 arguments->plot != NULL ? "--plot" : "--openmetrics=");
        return false;
    }
    return true;
}

static bool arguments_parse(const struct command *command, int argc, char **argv,
                            struct arguments *arguments)
{
    static const struct option options[] = {
        {"json", no_argument, NULL, OPTION_JSON},
        {"follow", no_argument, NULL, OPTION_FOLLOW},
        {"uid", required_argument, NULL, OPTION_UID},
        {"gid", required_argument, NULL, OPTION_GID},
        {"group", required_argument, NULL, OPTION_GROUP},
        {"openmetrics", optional_argument, NULL, OPTION_OPENMETRICS},
        {"plot", required_argument, NULL, OPTION_PLOT},
        {"generation", required_argument, NULL, OPTION_GENERATION},
        {NULL, 0, NULL, 0},
    };
    int letter;

    while ((letter = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (!option_take(command, letter, arguments))
            return false;
    }
    arguments->paths = argv + optind;
    arguments->path_count = argc - optind;
    if (command->takes_owner && !arguments->has_uid) {
        complain("%s needs --uid UID: who is to own .migfs", command->name);
        return false;
    }
    if (command->takes_any && arguments->path_count > 1) {
        complain("%s takes one MOUNTPOINT or SOURCE, or none", command->name);
        return false;
    }
    if (!arguments_agree(command, arguments))
        return false;
    if (command->takes_any || command->takes_none)
        return true;
    if (arguments->path_count < 1 || (command->takes_owner && arguments->path_count > 1)) {
        complain("%s needs %s", command->name, command->takes_owner ? "one SOURCE" : "a PATH");
        return false;
    }
    return true;
}

static enum exit_code finish(enum exit_code code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    complain("standard output cannot be written: %s; see where it leads", strerror(errno));
    return code == EXIT_DONE ? EXIT_FAILED : code;
}

int main(int argc, char **argv)
{
    struct arguments arguments = {.json = false};
    const char *name = argc > 1 ? argv[1] : "";
    const struct command *command = command_find(name);

    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        (void)fputs(usage, stdout); /* finish() looks */
        return finish(EXIT_DONE);
    }
    if (strcmp(name, "--version") == 0) {
        (void)puts("migfsctl " MIGFS_VERSION_TEXT); /* finish() looks */
        return finish(EXIT_DONE);
    }
    if (command == NULL) {
        if (name[0] != '\0')
            complain("'%s' is not a command", name);
        (void)fputs(usage, stderr); /* nobody is left to tell */
        return EXIT_USAGE;
    }
    argv[1] = argv[0]; /* getopt_long names it in what it says */
    if (!arguments_parse(command, argc - 1, argv + 1, &arguments)) {
        (void)fputs("Try 'migfsctl --help'.\n", stderr); /* nobody is left to tell */
        return EXIT_USAGE;
    }
    return finish(command->run(&arguments));
}
