/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "options.h"

#include "log.h"

#include <errno.h>
#include <fuse_lowlevel.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * One word between the commas of -o. A name that ends in '=' takes a value, one that ends in '*'
 * stands for all words that start so.
 */
struct rule {
    const char *name;
    /* 0, -EINVAL when `value` is none of `values`, or -ENOMEM. `value` is "" where none is taken.
     */
    int (*apply)(struct options *options, const char *word, const char *value);
    const char *values; /* of migfs's own options: what is allowed, the default first */
    const char *help;
};

static int name_parse(const char *const *names, const char *value)
{
    for (int i = 0; names[i]; i++)
        if (strcmp(names[i], value) == 0)
            return i;
    return -EINVAL;
}

static int number_parse(const char *value, unsigned min, unsigned max, unsigned *number)
{
    unsigned long long parsed = 0;

    if (!*value)
        return -EINVAL;
    for (; *value; value++) {
        if (*value < '0' || *value > '9')
            return -EINVAL;
        parsed = parsed * 10 + (unsigned)(*value - '0');
        if (parsed > max)
            return -EINVAL;
    }
    if (parsed < min)
        return -EINVAL;
    *number = (unsigned)parsed;
    return 0;
}

static int apply_io(struct options *options, const char *word, const char *value)
{
    static const char *const names[] = {
        [IO_DAEMON] = "daemon", [IO_PASSTHROUGH] = "passthrough", NULL};
    int index = name_parse(names, value);

    (void)word;
    if (index < 0)
        return index;
    options->io = (enum io_mode)index;
    return 0;
}

static int apply_profile(struct options *options, const char *word, const char *value)
{
    (void)word;
    return profile_parse(value, &options->profile);
}

static int apply_fence(struct options *options, const char *word, const char *value)
{
    (void)word;
    return fence_parse(value, &options->fence);
}

static int apply_standby(struct options *options, const char *word, const char *value)
{
    static const char *const names[] = {
        [STANDBY_DIRECT] = "direct", [STANDBY_DELAY] = "delay", [STANDBY_CACHED] = "cached", NULL};
    int index = name_parse(names, value);

    (void)word;
    if (index < 0)
        return index;
    options->standby = (enum standby_mode)index;
    return 0;
}

static int apply_record(struct options *options, const char *word, const char *value)
{
    static const char *const names[] = {
        [RECORD_ON] = "on", [RECORD_REQUIRE] = "require", [RECORD_OFF] = "off", NULL};
    int index = name_parse(names, value);

    (void)word;
    if (index < 0)
        return index;
    options->record = (enum record_mode)index;
    return 0;
}

static int apply_switch(bool *is_on, const char *value)
{
    static const char *const names[] = {"off", "on", NULL};
    const int index = name_parse(names, value);

    if (index < 0)
        return index;
    *is_on = index == 1;
    return 0;
}

static int apply_protect(struct options *options, const char *word, const char *value)
{
    (void)word;
    return apply_switch(&options->protect, value);
}

static int apply_coherence(struct options *options, const char *word, const char *value)
{
    (void)word;
    return apply_switch(&options->coherence, value);
}

static int apply_deadline(struct options *options, const char *word, const char *value)
{
    (void)word;
    return number_parse(value, 100, 600000, &options->deadline_ms);
}

static int apply_workers(struct options *options, const char *word, const char *value)
{
    (void)word;
    return number_parse(value, 2, 256, &options->workers);
}

static int apply_io_uring(struct options *options, const char *word, const char *value)
{
    (void)word;
    return apply_switch(&options->io_uring, value);
}

/* For libfuse, which unescapes what it is given: a comma may be part of a value. */
static int kernel_option_add(struct options *options, const char *word)
{
    return fuse_opt_add_opt_escaped(&options->kernel_options, word) < 0 ? -ENOMEM : 0;
}

static int apply_kernel(struct options *options, const char *word, const char *value)
{
    (void)value;
    return kernel_option_add(options, word);
}

static int apply_read_only(struct options *options, const char *word, const char *value)
{
    options->read_only = strcmp(word, "ro") == 0;
    return apply_kernel(options, word, value);
}

static int apply_nothing(struct options *options, const char *word, const char *value)
{
    (void)options;
    (void)word;
    (void)value;
    return 0;
}

static const struct rule rules[] = {
    {"io=", apply_io, "daemon or passthrough", "the way of data"},
    {"profile=", apply_profile, "auto, qemu, range, flock or none", "which locks hand over"},
    {"fence=", apply_fence, "release, strict or off", "which writes are refused"},
    {"standby=", apply_standby, "direct, delay or cached", "reads while another host is owner"},
    {"record=", apply_record, "on, require or off", "the hand-over record in SOURCE/.migfs"},
    {"protect=", apply_protect, "on or off", "open images outlive chown, chmod and unlink"},
    {"deadline=", apply_deadline, "3000, or another number of milliseconds from 100 to 600000",
     "for one hand-over"},
    {"coherence=", apply_coherence, "on or off", "off: an ordinary passthrough layer"},
    {"workers=", apply_workers, "32, or another number from 2 to 256", "threads for requests"},
    {"io_uring=", apply_io_uring, "on or off", "off: a thread for each request under way"},

    /* Generic ones that libfuse makes mount flags or kernel options of. */
    {.name = "ro", .apply = apply_read_only},
    {.name = "rw", .apply = apply_read_only},
    {.name = "allow_other", .apply = apply_kernel},
    {.name = "fsname=", .apply = apply_kernel},
    {.name = "subtype=", .apply = apply_kernel},
    {.name = "dev", .apply = apply_kernel},
    {.name = "nodev", .apply = apply_kernel},
    {.name = "suid", .apply = apply_kernel},
    {.name = "nosuid", .apply = apply_kernel},
    {.name = "exec", .apply = apply_kernel},
    {.name = "noexec", .apply = apply_kernel},
    {.name = "sync", .apply = apply_kernel},
    {.name = "async", .apply = apply_kernel},
    {.name = "dirsync", .apply = apply_kernel},
    {.name = "noatime", .apply = apply_kernel},
    {.name = "nodiratime", .apply = apply_kernel},
    {.name = "symfollow", .apply = apply_kernel},
    {.name = "nosymfollow", .apply = apply_kernel},
    {.name = "context=", .apply = apply_kernel},
    {.name = "fscontext=", .apply = apply_kernel},
    {.name = "defcontext=", .apply = apply_kernel},
    {.name = "rootcontext=", .apply = apply_kernel},

    /* Generic ones that are for mount(8), fstab(5) or systemd, or that FUSE has no use for. */
    {.name = "defaults", .apply = apply_nothing},
    {.name = "auto", .apply = apply_nothing},
    {.name = "noauto", .apply = apply_nothing},
    {.name = "user", .apply = apply_nothing},
    {.name = "user=", .apply = apply_nothing},
    {.name = "users", .apply = apply_nothing},
    {.name = "nouser", .apply = apply_nothing},
    {.name = "owner", .apply = apply_nothing},
    {.name = "group", .apply = apply_nothing},
    {.name = "nofail", .apply = apply_nothing},
    {.name = "_netdev", .apply = apply_nothing},
    {.name = "comment=", .apply = apply_nothing},
    {.name = "helper=", .apply = apply_nothing},
    {.name = "uhelper=", .apply = apply_nothing},
    {.name = "x-*", .apply = apply_nothing},
    {.name = "X-*", .apply = apply_nothing},
    {.name = "atime", .apply = apply_nothing},
    {.name = "diratime", .apply = apply_nothing},
    {.name = "relatime", .apply = apply_nothing},
    {.name = "norelatime", .apply = apply_nothing},
    {.name = "strictatime", .apply = apply_nothing},
    {.name = "nostrictatime", .apply = apply_nothing},
    {.name = "lazytime", .apply = apply_nothing},
    {.name = "nolazytime", .apply = apply_nothing},
    {.name = "silent", .apply = apply_nothing},
    {.name = "loud", .apply = apply_nothing},
};

#define RULE_COUNT (sizeof(rules) / sizeof(rules[0]))

/* Where the value starts in `word`, or NULL when the rule is not about it. */
static const char *rule_match(const struct rule *rule, const char *word)
{
    size_t length = strlen(rule->name);
    char last = rule->name[length - 1];

    if (last == '*')
        return strncmp(word, rule->name, length - 1) == 0 ? "" : NULL;
    if (last == '=')
        return strncmp(word, rule->name, length) == 0 ? word + length : NULL;
    return strcmp(word, rule->name) == 0 ? "" : NULL;
}

static int word_unknown(const char *word)
{
    for (size_t i = 0; i < RULE_COUNT; i++) {
        size_t length = strlen(rules[i].name) - 1;

        if (!rules[i].values || strlen(word) != length || strncmp(word, rules[i].name, length) != 0)
            continue;
        log_error("option '%s' needs a value: %s=%s", word, word, rules[i].values);
        return -EINVAL;
    }
    log_error("unknown option '%s'; 'migfs --help' lists all", word);
    return -EINVAL;
}

static int word_apply(struct options *options, const char *word)
{
    for (size_t i = 0; i < RULE_COUNT; i++) {
        const char *value = rule_match(&rules[i], word);
        int error;

        if (!value)
            continue;
        error = rules[i].apply(options, word, value);
        if (error == 0 && rules[i].values && fuse_opt_add_opt(&options->own_words, word) < 0)
            error = -ENOMEM;
        if (error == -EINVAL)
            log_error("option '%.*s' cannot be '%s'; it takes %s", (int)strlen(rules[i].name) - 1,
                      rules[i].name, value, rules[i].values);
        return error;
    }
    return word_unknown(word);
}

/* Splits at commas; a backslash makes the byte after it part of the word. */
static int list_apply(struct options *options, const char *list)
{
    char *word = malloc(strlen(list) + 1);
    int error = 0;

    if (!word)
        return -ENOMEM;
    while (*list && error == 0) {
        size_t length = 0;

        for (; *list && *list != ','; list++) {
            if (*list == '\\' && list[1])
                list++;
            word[length++] = *list;
        }
        word[length] = '\0';
        if (*list == ',')
            list++;
        if (length > 0)
            error = word_apply(options, word);
    }
    free(word);
    return error;
}

static int positional_apply(struct options *options, const char *argument)
{
    char **place = options->source ? &options->mountpoint : &options->source;

    if (options->mountpoint) {
        log_error("unexpected argument '%s' after MOUNTPOINT; options follow -o", argument);
        return -EINVAL;
    }
    if (!*argument) {
        log_error("%s is empty; usage: migfs SOURCE MOUNTPOINT [-o OPTION,...]",
                  options->source ? "MOUNTPOINT" : "SOURCE");
        return -EINVAL;
    }
    *place = strdup(argument);
    return *place ? 0 : -ENOMEM;
}

/* Applies argv[*index]; moves *index on to the last argument that it took. */
static int argument_apply(struct options *options, int argc, char **argv, int *index)
{
    const char *argument = argv[*index];

    if (strcmp(argument, "-h") == 0 || strcmp(argument, "--help") == 0) {
        options->show_help = true;
    } else if (strcmp(argument, "-V") == 0 || strcmp(argument, "--version") == 0) {
        options->show_version = true;
    } else if (strcmp(argument, "-f") == 0) {
        options->foreground = true;
    } else if (strcmp(argument, "-d") == 0) {
        options->foreground = options->debug = true;
    } else if (strncmp(argument, "-o", 2) == 0 && argument[2]) {
        return list_apply(options, argument + 2);
    } else if (strcmp(argument, "-o") == 0) {
        if (*index + 1 == argc) {
            log_error("-o needs a list of options after it; 'migfs --help' lists all");
            return -EINVAL;
        }
        return list_apply(options, argv[++*index]);
    } else if (argument[0] == '-') {
        return word_unknown(argument);
    } else {
        return positional_apply(options, argument);
    }
    return 0;
}

/*
 * What the mount table shows as the mount's source: SOURCE as given, so that mount(8) finds its
 * line of fstab again; but not as seen from a directory that nobody else stands in.
 */
static char *fsname_of(const char *source)
{
    char *absolute = source[0] == '/' ? NULL : realpath(source, NULL);
    char *fsname;

    if (asprintf(&fsname, "fsname=%s", absolute ? absolute : source) < 0)
        fsname = NULL;
    free(absolute);
    return fsname;
}

/* Puts migfs's defaults before the caller's own words: of two, libfuse takes the last. */
static int kernel_options_complete(struct options *options)
{
    char *given = options->kernel_options;
    char *fsname = fsname_of(options->source);
    int error = -ENOMEM;

    options->kernel_options = NULL;
    if (!fsname)
        goto out;
    error = kernel_option_add(options, fsname);
    if (!error)
        error = kernel_option_add(options, "subtype=migfs");
    if (!error && geteuid() == 0)
        error = kernel_option_add(options, "allow_other");
    /* What was given is escaped already. */
    if (!error && given && fuse_opt_add_opt(&options->kernel_options, given) < 0)
        error = -ENOMEM;
out:
    free(fsname);
    free(given);
    return error;
}

static int arguments_apply(struct options *options, int argc, char **argv)
{
    bool positional_only = false;

    for (int i = 1; i < argc; i++) {
        int error;

        if (!positional_only && strcmp(argv[i], "--") == 0) {
            positional_only = true;
            continue;
        }
        error = positional_only ? positional_apply(options, argv[i])
                                : argument_apply(options, argc, argv, &i);
        if (error)
            return error;
        if (options->show_help || options->show_version)
            return 0;
    }
    if (!options->mountpoint) {
        log_error("%s missing; usage: migfs SOURCE MOUNTPOINT [-o OPTION,...]",
                  options->source ? "MOUNTPOINT is" : "SOURCE and MOUNTPOINT are");
        return -EINVAL;
    }
    return kernel_options_complete(options);
}

int options_parse(int argc, char **argv, struct options *options)
{
    int error;

    *options = (struct options){
        .io = IO_DAEMON,
        .profile = PROFILE_AUTO,
        .fence = FENCE_RELEASE,
        .standby = STANDBY_DIRECT,
        .record = RECORD_ON,
        .protect = true,
        .deadline_ms = 3000,
        .workers = 32,
        .io_uring = true,
        .coherence = true,
    };
    error = arguments_apply(options, argc, argv);
    if (error == -ENOMEM)
        log_error("out of memory while the options were read; free some");
    return error;
}

void options_deinit(struct options *options)
{
    free(options->source);
    free(options->mountpoint);
    free(options->kernel_options);
    free(options->own_words);
    *options = (struct options){0};
}

void options_print_help(void)
{
    printf("usage: migfs SOURCE MOUNTPOINT [-f] [-d] [-o OPTION,...]\n"
           "       mount -t fuse.migfs SOURCE MOUNTPOINT [-o OPTION,...]\n\n"
           "Mounts the directory SOURCE at MOUNTPOINT and keeps its files coherent over live\n"
           "migration: what one host wrote before a hand-over, the next one reads.\n\n"
           "  -f             stay in the foreground, log to standard error\n"
           "  -d             the same, and print every request\n"
           "  -h, --help     this text\n"
           "  -V, --version  the versions of migfs and libfuse\n\n"
           "Options after -o, the default first:\n");
    for (size_t i = 0; i < RULE_COUNT && rules[i].values; i++)
        printf("  %-11s%s\n%15s%s\n", rules[i].name, rules[i].values, "", rules[i].help);
    printf("\nGeneric mount options are taken too:\n ");
    for (size_t i = 0, column = 1; i < RULE_COUNT; i++) {
        size_t length = strlen(rules[i].name) + 1;

        if (rules[i].values)
            continue;
        if (column + length > 78) {
            printf("\n ");
            column = 1;
        }
        printf(" %s", rules[i].name);
        column += length;
    }
    printf("\n\nExit status: 0 done, 1 usage, 2 system, 32 not mounted. See migfs(8).\n");
}

void options_print_version(void)
{
    printf("migfs %s (libfuse %s)\n", MIGFS_VERSION_TEXT, fuse_pkgversion());
}
