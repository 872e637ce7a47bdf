/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

/* With its newline shorter than PIPE_BUF: lines of several threads do not mix in a pipe. */
#define LINE_BYTES 1024

/* Changes once, when the daemon leaves its terminal; its threads may run by then. */
static atomic_bool log_to_syslog;
static atomic_bool log_to_journal; /* entries that have fields; if there is one */

static pthread_mutex_t stderr_mutex = PTHREAD_MUTEX_INITIALIZER;
static unsigned long stderr_lost; /* lines; stderr_mutex */

void log_open(bool foreground)
{
    atomic_store(&log_to_syslog, !foreground);
    atomic_store(&log_to_journal, !foreground || journal_is_stream(STDERR_FILENO));
    if (!foreground)
        openlog("migfs", LOG_PID | LOG_NDELAY, LOG_DAEMON);
    else
        closelog();
}

/* A reader that has stopped reading must not stop the file system: the line is lost instead. */
static bool stderr_writable(void)
{
    struct pollfd descriptor = {.fd = STDERR_FILENO, .events = POLLOUT};

    return poll(&descriptor, 1, 0) == 1 && (descriptor.revents & POLLOUT);
}

static void stderr_write(const char *text, size_t length)
{
    /* There is nobody left to tell of a standard error that cannot be written. */
    if (write(STDERR_FILENO, text, length) < 0)
        return;
}

static void stderr_line(char *line, size_t length)
{
    pthread_mutex_lock(&stderr_mutex);
    if (!stderr_writable()) {
        stderr_lost++;
    } else {
        if (stderr_lost > 0) {
            char note[80];
            int size = snprintf(note, sizeof(note), "migfs: %lu lines were not written here\n",
                                stderr_lost);

            stderr_write(note, (size_t)size);
            stderr_lost = 0;
        }
        line[length] = '\n';
        stderr_write(line, length + 1);
    }
    pthread_mutex_unlock(&stderr_mutex);
}

static const char prefix[] = "migfs: ";

struct line {
    char bytes[LINE_BYTES]; /* with the prefix, and room for a newline */
};

static char *line_text(struct line *line)
{
    return line->bytes + sizeof(prefix) - 1;
}

__attribute__((format(printf, 2, 0))) static void line_make(struct line *line, const char *format,
                                                            va_list arguments)
{
    memcpy(line->bytes, prefix, sizeof(prefix));
    vsnprintf(line_text(line), sizeof(line->bytes) - sizeof(prefix), format, arguments);
    /* A file may be named so that it would begin a line of its own. */
    for (char *c = line_text(line); *c; c++)
        if ((unsigned char)*c < ' ' || *c == 127)
            *c = '?';
}

static void line_write(int priority, struct line *line)
{
    if (atomic_load(&log_to_syslog))
        syslog(priority, "%s", line_text(line));
    else
        stderr_line(line->bytes, strlen(line->bytes));
}

__attribute__((format(printf, 2, 0))) static void log_line(int priority, const char *format,
                                                           va_list arguments)
{
    struct line line;

    line_make(&line, format, arguments);
    line_write(priority, &line);
}

bool log_takes_fields(void)
{
    return atomic_load(&log_to_journal);
}

static int line_send(int priority, struct line *line, struct journal_entry *fields)
{
    journal_text(fields, "MESSAGE", line_text(line));
    journal_number(fields, "PRIORITY", (uint64_t)priority);
    journal_text(fields, "SYSLOG_IDENTIFIER", "migfs");
    journal_number(fields, "SYSLOG_FACILITY", LOG_FAC(LOG_DAEMON));
    return journal_send(fields);
}

void log_with_fields(int priority, struct journal_entry *fields, const char *format, ...)
{
    va_list arguments;
    struct line line;

    va_start(arguments, format);
    line_make(&line, format, arguments);
    va_end(arguments);
    const int error = log_takes_fields() ? line_send(priority, &line, fields) : -ENOENT;
    /* Who does not read must not stop the file system; syslog(3) would wait for the same reader. */
    if (error != 0 && error != -EAGAIN)
        line_write(priority, &line);
}

#define DEFINE_LOG(name, priority)                                                                 \
    void name(const char *format, ...)                                                             \
    {                                                                                              \
        va_list arguments;                                                                         \
                                                                                                   \
        va_start(arguments, format);                                                               \
        log_line(priority, format, arguments);                                                     \
        va_end(arguments);                                                                         \
    }

DEFINE_LOG(log_error, LOG_ERR)
DEFINE_LOG(log_warning, LOG_WARNING)
DEFINE_LOG(log_notice, LOG_NOTICE)
DEFINE_LOG(log_info, LOG_INFO)
DEFINE_LOG(log_debug, LOG_DEBUG)
