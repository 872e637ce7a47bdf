/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * migfsctl doctor: the table of the checks, and what they found as lines or as JSON. A subject is
 * examined by a child, which a store that does not answer can hold up; then it is killed, and what
 * it had found until then is shown.
 */
#include "doctor.h"

#include "command.h"
#include "json.h"
#include "subject.h"
#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json_object.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* For one check to say nothing. NFS gives up nothing by itself. */
#define CHECK_MOST_MS 30000

/* What each of them needs; others are left out. */
enum need {
    NEED_NOTHING,
    NEED_MOUNT,  /* a migfs */
    NEED_SOURCE, /* its directory */
};

/* What never waits for the store is first. */
static const struct check {
    const char *name;
    void (*run)(struct doctor *doctor, const struct subject *subject);
    enum need need;
} checks[] = {
    {"kernel", doctor_kernel, NEED_NOTHING},     {"libfuse", doctor_libfuse, NEED_NOTHING},
    {"io_uring", doctor_io_uring, NEED_NOTHING}, {"security", doctor_security, NEED_NOTHING},
    {"limits", doctor_limits, NEED_NOTHING},     {"libvirt", doctor_libvirt, NEED_NOTHING},
    {"mount", doctor_mount, NEED_MOUNT},         {"guests", doctor_guests, NEED_NOTHING},
    {"store", doctor_store, NEED_SOURCE},        {"options", doctor_options, NEED_SOURCE},
    {"lease", doctor_lease, NEED_SOURCE},        {"recovery", doctor_recovery, NEED_SOURCE},
    {"records", doctor_records, NEED_SOURCE},    {"lock", doctor_lock, NEED_SOURCE},
    {"hosts", doctor_hosts, NEED_SOURCE},        {"openers", doctor_openers, NEED_SOURCE},
    {"images", doctor_images, NEED_SOURCE},
};

static const char *const colours[] = {
    [COLOUR_GREEN] = "green", [COLOUR_YELLOW] = "yellow", [COLOUR_RED] = "red"};

/* ---- the child ---- */

/* Four texts a finding: colour, check, mend, text. One without a colour: a check begins, or goes
 * on. */
static void send(struct doctor *doctor, const char *colour, const char *mend, const char *text)
{
    (void)fprintf(doctor->out, "%s%c%s%c%s%c%s%c", colour, 0, doctor->check, 0, mend, 0, text,
                  0); /* a parent that is gone reads nothing */
    (void)fflush(doctor->out);
}

void doctor_say(struct doctor *doctor, enum colour colour, const char *mend, const char *format,
                ...)
{
    va_list arguments;
    char *text;

    va_start(arguments, format);
    const int length = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (length < 0) {
        complain("out of memory; free some, and run it again");
        _exit(EXIT_FAILED);
    }
    send(doctor, colours[colour], mend != NULL ? mend : "", text);
    free(text);
}

void doctor_beat(struct doctor *doctor)
{
    send(doctor, "", "", "");
}

static bool is_possible(const struct check *check, const struct subject *subject)
{
    return check->need == NEED_NOTHING ||
           (check->need == NEED_MOUNT && subject->mountpoint != NULL) ||
           (check->need == NEED_SOURCE && subject->source != NULL);
}

static int examine(const char *path, int out_fd)
{
    struct doctor doctor = {.out = fdopen(out_fd, "w"), .check = "mount"};
    struct subject subject;

    if (doctor.out == NULL) {
        complain("out of memory; free some, and run it again");
        return EXIT_FAILED;
    }
    doctor_beat(&doctor);
    if (subject_open(&subject, path) != 0)
        return EXIT_FAILED;
    for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
        doctor.check = checks[i].name;
        if (!is_possible(&checks[i], &subject))
            continue;
        doctor_beat(&doctor);
        checks[i].run(&doctor, &subject);
    }
    subject_close(&subject);
    return fclose(doctor.out) == 0 ? EXIT_DONE : EXIT_FAILED;
}

/* ---- the parent ---- */

/* What a child has sent. */
struct findings {
    char *bytes;
    size_t length, room;
    size_t offset; /* of the finding that findings_next gives next */
};

struct finding {
    const char *colour, *check, *mend, *text;
};

static const char *take_text(struct findings *findings)
{
    const char *text = findings->bytes + findings->offset;
    const char *end = findings->offset < findings->length
                          ? memchr(text, '\0', findings->length - findings->offset)
                          : NULL;

    if (end == NULL)
        return NULL;
    findings->offset = (size_t)(end + 1 - findings->bytes);
    return text;
}

static bool findings_next(struct findings *findings, struct finding *finding)
{
    const char *texts[4];

    for (size_t i = 0; i < 4; i++) {
        texts[i] = take_text(findings);
        if (texts[i] == NULL)
            return false;
    }
    *finding =
        (struct finding){.colour = texts[0], .check = texts[1], .mend = texts[2], .text = texts[3]};
    return true;
}

static bool append(struct findings *findings, const void *bytes, size_t length)
{
    if (findings->room - findings->length < length) {
        const size_t room = 2 * (findings->room + length);
        char *grown = realloc(findings->bytes, room);

        if (grown == NULL)
            return false;
        findings->bytes = grown;
        findings->room = room;
    }
    memcpy(findings->bytes + findings->length, bytes, length);
    findings->length += length;
    return true;
}

/* Until the child has closed its end: 0. Or an errno; ETIMEDOUT: it says nothing for too long. */
static int receive(struct findings *findings, int fd)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    char bytes[4096];
    ssize_t count;
    int ready;

    while ((ready = poll(&poll_fd, 1, CHECK_MOST_MS)) > 0) {
        count = read(fd, bytes, sizeof(bytes));
        if (count <= 0)
            return count == 0 ? 0 : errno;
        if (!append(findings, bytes, (size_t)count))
            return ENOMEM;
    }
    return ready == 0 ? ETIMEDOUT : errno;
}

static bool append_stuck(struct findings *findings)
{
    static const char text[] =
        "the store did not answer within 30 seconds; what is not shown was not examined";
    static const char mend[] = "see that the server runs and can be reached from here";
    struct finding finding, last = {.check = "mount"};

    findings->offset = 0;
    while (findings_next(findings, &finding))
        last = finding;
    findings->length = findings->offset; /* what was cut in the midst */
    findings->offset = 0;
    char *check = strdup(last.check);
    const bool appended = check != NULL && append(findings, "red", sizeof("red")) &&
                          append(findings, check, strlen(check) + 1) &&
                          append(findings, mend, sizeof(mend)) &&
                          append(findings, text, sizeof(text));
    free(check);
    return appended;
}

/* 0 or -1, a line said. */
static int findings_collect(struct findings *findings, const char *path)
{
    int ends[2], status = 0;
    pid_t child;

    (void)fflush(stdout);
    if (pipe2(ends, O_CLOEXEC) != 0 || (child = fork()) < 0) {
        complain("no process to examine with: %s; raise the limit of processes (ulimit -u)",
                 strerror(errno));
        return -1;
    }
    if (child == 0) {
        (void)close(ends[0]); /* the parent's */
        _exit(examine(path, ends[1]));
    }
    (void)close(ends[1]); /* the child's */
    const int error = receive(findings, ends[0]);
    (void)close(ends[0]);
    if (error != 0) {
        (void)kill(child, SIGKILL); /* ours, and not waited for yet */
        if (error == ETIMEDOUT && append_stuck(findings))
            return 0; /* the kernel may hold it as long as the server is away */
        complain("%s: what was found is lost: %s; free some memory, and run it again",
                 path != NULL ? path : "this host",
                 error == ETIMEDOUT ? strerror(ENOMEM) : strerror(error));
        return -1;
    }
    if (waitpid(child, &status, 0) == child && WIFEXITED(status) &&
        WEXITSTATUS(status) == EXIT_DONE)
        return 0;
    if (WIFSIGNALED(status))
        complain("%s: the check ended by signal %d; run it again",
                 path != NULL ? path : "this host", WTERMSIG(status));
    return -1;
}

/* ---- what is shown ---- */

struct report {
    bool as_json;
    struct json_object *subjects;
    enum colour worst;
    unsigned printed;
};

static enum colour colour_of(const char *name)
{
    for (unsigned i = 0; i < sizeof(colours) / sizeof(colours[0]); i++) {
        if (strcmp(colours[i], name) == 0)
            return (enum colour)i;
    }
    return COLOUR_RED;
}

static const char *shade(enum colour colour)
{
    static const char *const shades[] = {
        [COLOUR_GREEN] = "\033[32m", [COLOUR_YELLOW] = "\033[33m", [COLOUR_RED] = "\033[1;31m"};

    return isatty(STDOUT_FILENO) == 1 ? shades[colour] : "";
}

static bool print_line(const struct finding *finding)
{
    const enum colour colour = colour_of(finding->colour);
    char *text = text_printable(finding->text);
    char *mend = text_printable(finding->mend);
    const bool printed = text != NULL && mend != NULL &&
                         printf("%s%-6s%s  %-8s  %s%s%s\n", shade(colour), finding->colour,
                                isatty(STDOUT_FILENO) == 1 ? "\033[0m" : "", finding->check, text,
                                mend[0] != '\0' ? "; mend: " : "", mend) > 0;

    free(text);
    free(mend);
    return printed;
}

static bool print_lines(struct report *report, struct findings *findings, const char *path)
{
    char *name = text_printable(path != NULL ? path : "this host");
    struct finding finding;
    bool printed = name != NULL && printf("%s%s:\n", report->printed++ > 0 ? "\n" : "", name) > 0;

    free(name);
    while (printed && findings_next(findings, &finding))
        printed = finding.colour[0] == '\0' || print_line(&finding);
    return printed;
}

static bool add_json(struct report *report, struct findings *findings, const char *path,
                     enum colour worst)
{
    struct json_object *array = json_object_new_array();
    struct finding finding;
    bool added = array != NULL;

    while (added && findings_next(findings, &finding)) {
        if (finding.colour[0] == '\0')
            continue;
        struct json_object *object =
            json_finding(finding.check, finding.colour, finding.text, finding.mend);

        added = object != NULL && json_object_array_add(array, object) == 0;
    }
    if (!added) {
        json_object_put(array);
        return false;
    }
    struct json_object *subject = json_subject(path, colours[worst], array);

    return subject != NULL && json_object_array_add(report->subjects, subject) == 0;
}

static enum colour worst_of(struct findings *findings)
{
    enum colour worst = COLOUR_GREEN;
    struct finding finding;

    while (findings_next(findings, &finding)) {
        if (finding.colour[0] != '\0' && colour_of(finding.colour) > worst)
            worst = colour_of(finding.colour);
    }
    findings->offset = 0;
    return worst;
}

static enum exit_code report_add(struct report *report, const char *path)
{
    struct findings findings = {.bytes = NULL};
    enum exit_code code = EXIT_DONE;

    if (findings_collect(&findings, path) != 0) {
        free(findings.bytes);
        return EXIT_FAILED;
    }
    const enum colour worst = worst_of(&findings);

    if (worst > report->worst)
        report->worst = worst;
    if (report->as_json ? !add_json(report, &findings, path, worst)
                        : !print_lines(report, &findings, path)) {
        complain("out of memory, or standard output is closed; run it again");
        code = EXIT_FAILED;
    }
    free(findings.bytes);
    return code;
}

/* All migfs mounts; where there is none, this host. */
static enum exit_code report_add_mounts(struct report *report)
{
    enum exit_code code = EXIT_DONE;
    struct mount_entry entry;
    size_t position = 0, count = 0;

    while (mount_table_next("fuse.migfs", &position, &entry)) {
        const enum exit_code one = report_add(report, entry.mountpoint);

        code = code == EXIT_DONE ? one : code;
        mount_entry_deinit(&entry);
        count++;
    }
    if (count > 0)
        return code;
    complain("no migfs is mounted here; name the SOURCE that is to be mounted to have its store "
             "examined, too");
    return report_add(report, NULL);
}

enum exit_code doctor_command(const struct arguments *arguments)
{
    static const enum exit_code codes[] = {
        [COLOUR_GREEN] = EXIT_DONE, [COLOUR_YELLOW] = EXIT_WARNINGS, [COLOUR_RED] = EXIT_UNSAFE};
    struct report report = {.as_json = arguments->json};
    enum exit_code code = EXIT_DONE;

    (void)signal(SIGPIPE, SIG_IGN); /* SIG_IGN of a signal cannot fail */
    report.subjects = report.as_json ? json_object_new_array() : NULL;
    if (arguments->path_count == 0)
        code = report_add_mounts(&report);
    for (int i = 0; i < arguments->path_count; i++) {
        const enum exit_code one = report_add(&report, arguments->paths[i]);

        code = code == EXIT_DONE ? one : code;
    }
    if (report.as_json && !json_print_document("subjects", report.subjects)) {
        complain("out of memory, or standard output is closed; run it again");
        code = EXIT_FAILED;
    }
    return code == EXIT_DONE ? codes[report.worst] : code;
}
