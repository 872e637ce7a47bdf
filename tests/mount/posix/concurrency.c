/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Several processes and threads at one file: appending, replacing, reading beside a writer. */
#include "posix.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum { WRITERS = 8, RECORDS = 300, RECORD_BYTES = 117 };

static void children_wait(void)
{
    int status, failed = 0;

    while (wait(&status) > 0)
        failed += status != 0;
    say("%d children failed", failed);
}

static void append_records(int writer, int append_late)
{
    int fd = open("log", append_late ? O_WRONLY : O_WRONLY | O_APPEND);
    char record[RECORD_BYTES];

    if (append_late)
        fcntl(fd, F_SETFL, O_APPEND);
    for (int i = 0; i < RECORDS; i++) {
        memset(record, 'a' + writer, sizeof record);
        snprintf(record, sizeof record, "%d %d ", writer, i);
        record[strlen(record)] = (char)('a' + writer);
        record[sizeof record - 1] = '\n';
        if (write(fd, record, sizeof record) != (ssize_t)sizeof record)
            _exit(1);
    }
    _exit(0);
}

/* Records of many processes arrive whole, each once, each writer's in order. */
static void append_many(void)
{
    int next[WRITERS] = {0};
    int torn = 0, out_of_order = 0, total = 0;
    char record[RECORD_BYTES];
    FILE *file;

    file_make("log", 0666, "");
    for (int writer = 0; writer < WRITERS; writer++) {
        fflush(stdout);
        if (fork() == 0)
            append_records(writer, writer % 2);
    }
    children_wait();
    file = fopen("log", "r");
    while (file && fread(record, sizeof record, 1, file) == 1) {
        int writer = -1, number = -1;

        total++;
        if (record[sizeof record - 1] != '\n' || sscanf(record, "%d %d ", &writer, &number) != 2 ||
            writer < 0 || writer >= WRITERS || record[sizeof record - 2] != 'a' + writer)
            torn++;
        else if (next[writer]++ != number)
            out_of_order++;
    }
    say("%d records, %d torn, %d out of order", total, torn, out_of_order);
    stat_print("log");
    unlink("log"); /* the order of the writers is another each time */
}

/* A file replaced by rename is never missing, never empty, never a mixture. */
static void replace_never_missing(void)
{
    int missing = 0, wrong = 0;
    pid_t pid;

    file_make("current", 0644, "0000000000");
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        for (int i = 1; i <= 2000; i++) {
            char text[11];

            memset(text, '0' + i % 10, 10);
            text[10] = 0;
            file_make("next", 0644, text);
            if (rename("next", "current") < 0)
                _exit(1);
        }
        _exit(0);
    }
    while (waitpid(pid, NULL, WNOHANG) == 0) {
        struct stat status;
        char text[11] = "";
        int fd = open("current", O_RDONLY);

        if (fd < 0) {
            missing++;
            continue;
        }
        if (read(fd, text, sizeof text) != 10 || text[0] != text[9])
            wrong++;
        if (fstat(fd, &status) < 0 || status.st_size != 10)
            wrong++;
        close(fd);
        if (access("current", F_OK) < 0 || stat("current", &status) < 0)
            missing++;
    }
    say("missing %d wrong %d", missing, wrong);
}

static void exchange_never_missing(void)
{
    int missing = 0;
    pid_t pid;

    file_make("a", 0644, "a");
    CALL(mkdir("b", 0755));
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        for (int i = 0; i < 1000; i++) {
            if (renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_EXCHANGE) < 0)
                _exit(1);
        }
        _exit(0);
    }
    while (waitpid(pid, NULL, WNOHANG) == 0)
        missing += access("a", F_OK) < 0 || access("b", F_OK) < 0;
    say("missing %d", missing);
    stat_print("a");
    stat_print("b");
}

enum { GROWS_TO = 4 << 20, PIECE_BYTES = 10007, WINDOW_BYTES = 30000 };

/* What the writing process has been told is written, for the reader to hold it to. */
static _Atomic off_t *written_length;

static pid_t growing_writer(void)
{
    static char piece[PIECE_BYTES];
    pid_t pid;
    int fd;

    written_length = mmap(NULL, sizeof *written_length, PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    file_make("grows", 0644, "");
    fflush(stdout);
    pid = fork();
    if (pid)
        return pid;
    fd = open("grows", O_WRONLY);
    memset(piece, 'x', sizeof piece);
    for (off_t at = 0; at < GROWS_TO; at += PIECE_BYTES) {
        if (pwrite(fd, piece, sizeof piece, at) != (ssize_t)sizeof piece)
            _exit(1);
        *written_length = at + PIECE_BYTES;
    }
    _exit(0);
}

/* What a write has returned is there in full, for every reader; never zeros within the length. */
static void reader_beside_writer(void)
{
    static unsigned char buffer[WINDOW_BYTES * 2];
    int shorter = 0, wrong = 0, shrunk = 0;
    off_t last_length = 0;
    pid_t pid = growing_writer();
    int fd = open("grows", O_RDONLY);

    while (waitpid(pid, NULL, WNOHANG) == 0) {
        off_t length = *written_length;
        off_t from = length > WINDOW_BYTES ? length - WINDOW_BYTES : 0;
        ssize_t got = pread(fd, buffer, sizeof buffer, from);
        struct stat status;

        shorter += got < length - from;
        for (ssize_t i = 0; i < got; i++)
            wrong += buffer[i] != 'x';
        if (fstat(fd, &status) < 0 || status.st_size < length || status.st_size < last_length)
            shrunk++;
        last_length = status.st_size;
    }
    say("shorter %d wrong %d shrunk %d", shorter, wrong, shrunk);
}

/* While a write is still under way, fstat may already know of it and a read not yet. */
static void length_ahead_of_read(void)
{
    static unsigned char buffer[WINDOW_BYTES];
    pid_t pid = growing_writer();
    int fd = open("grows", O_RDONLY);
    int ahead = 0;

    while (waitpid(pid, NULL, WNOHANG) == 0) {
        struct stat status;

        if (fstat(fd, &status) < 0 || status.st_size < WINDOW_BYTES)
            continue;
        ahead += pread(fd, buffer, sizeof buffer, status.st_size - WINDOW_BYTES) < WINDOW_BYTES;
    }
    say("ahead %s", ahead ? "at times" : "never");
}

static atomic_int thread_errors;

static void *thread_work(void *argument)
{
    int number = (int)(long)argument;
    char name[32], other[32], block[5000];
    int shared = open("shared", O_RDWR);

    snprintf(name, sizeof name, "t%d", number);
    snprintf(other, sizeof other, "T%d", number);
    for (int i = 0; i < 60; i++) {
        int fd = open(name, O_RDWR | O_CREAT | O_EXCL, 0600);

        memset(block, number + i, sizeof block);
        if (fd < 0 || pwrite(fd, block, sizeof block, 0) != (ssize_t)sizeof block)
            thread_errors++;
        if (pwrite(shared, block, sizeof block, (off_t)number * 5000) != (ssize_t)sizeof block)
            thread_errors++;
        memset(block, 0, sizeof block);
        if (pread(shared, block, sizeof block, (off_t)number * 5000) != (ssize_t)sizeof block ||
            block[0] != (char)(number + i) || block[4999] != (char)(number + i))
            thread_errors++;
        if (rename(name, other) < 0 || unlink(other) < 0 || ftruncate(fd, 10) < 0 ||
            fsync(fd) < 0 || close(fd) < 0)
            thread_errors++;
    }
    close(shared);
    return NULL;
}

static void threads_mixed(void)
{
    pthread_t threads[16];

    file_make("shared", 0600, "");
    for (long i = 0; i < 16; i++)
        pthread_create(&threads[i], NULL, thread_work, (void *)i);
    for (int i = 0; i < 16; i++)
        pthread_join(threads[i], NULL);
    say("%d errors", thread_errors);
    stat_print("shared");
    file_print("shared");
}

/* One creates with O_EXCL, all others get EEXIST. */
static void create_exclusive(void)
{
    int won = 0;

    for (int round = 0; round < 50; round++) {
        char name[32];
        int ends[2];
        char token;

        snprintf(name, sizeof name, "x%d", round);
        if (pipe(ends) < 0)
            return;
        fflush(stdout);
        for (int i = 0; i < 4; i++) {
            if (fork() == 0) {
                if (open(name, O_CREAT | O_EXCL | O_WRONLY, 0600) >= 0)
                    _exit(write(ends[1], "w", 1) != 1);
                _exit(errno != EEXIST);
            }
        }
        close(ends[1]);
        while (read(ends[0], &token, 1) == 1)
            won++;
        close(ends[0]);
        while (wait(NULL) > 0)
            continue;
    }
    say("%d won", won);
}

/* mkdir and rmdir in the same place by several: the number of successes balances. */
static void names_contended(void)
{
    int made = 0;

    fflush(stdout);
    for (int i = 0; i < 4; i++) {
        if (fork() == 0) {
            for (int round = 0; round < 300; round++) {
                if (mkdir("contended", 0700) < 0 && errno != EEXIST)
                    _exit(1);
                if (rmdir("contended") < 0 && errno != ENOENT)
                    _exit(2);
            }
            _exit(0);
        }
    }
    children_wait();
    made = mkdir("contended", 0700) == 0 && rmdir("contended") == 0;
    say("balanced %d", made);
}

/* A program runs from here; while it runs it cannot be written, while it is written it cannot run.
 */
static void program_copy(const char *from, const char *to)
{
    int in = open(from, O_RDONLY);
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0755);
    char block[65536];
    ssize_t got;

    while ((got = read(in, block, sizeof block)) > 0) {
        if (write(out, block, (size_t)got) != got)
            say("copy: %s", errno_name(errno));
    }
    close(in);
    close(out);
}

static void programs(void)
{
    static char *const arguments[] = {"program", "100", NULL};
    static char *const environment[] = {NULL};
    int status = 0;
    int ends[2];
    char end;
    pid_t pid;
    int fd;

    program_copy("/bin/sleep", "program");
    if (pipe2(ends, O_CLOEXEC) < 0)
        return;
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        execve("program", arguments, environment);
        _exit(99);
    }
    close(ends[1]);
    CALL(read(ends[0], &end, 1)); /* the end that exec closes */
    OPEN(open("program", O_WRONLY));
    CALL(truncate("program", 0));
    OPEN(open("program", O_RDONLY));
    CALL(rename("program", "renamed"));
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    say("ended %x", (unsigned)status);
    fd = OPEN(open("renamed", O_WRONLY));
    CALL(execve("renamed", arguments, environment));
    close(fd);
    CALL(chmod("renamed", 0644));
    CALL(execve("renamed", arguments, environment));
    file_make("script", 0755, "#!/bin/sh\nexit 3\n");
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        execve("./script", arguments, environment);
        _exit(99);
    }
    waitpid(pid, &status, 0);
    say("script ended %x", (unsigned)status);
}

const struct test_case concurrency_cases[] = {
    {"append_many", append_many},
    {"replace_never_missing", replace_never_missing},
    {"exchange_never_missing", exchange_never_missing},
    {"reader_beside_writer", reader_beside_writer},
    {"length_ahead_of_read", length_ahead_of_read},
    {"threads_mixed", threads_mixed},
    {"create_exclusive", create_exclusive},
    {"names_contended", names_contended},
    {"programs", programs},
    {NULL, NULL},
};
