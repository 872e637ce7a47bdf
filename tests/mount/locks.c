/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A process that locks on request: locks.py holds several and tells each what to do, a line a
 * request, a line an answer ("ok …" or an errno's name), over the socket named in the argument.
 *
 *   open NAME PATH FLAGS          FLAGS: r, w, rw            close NAME      dup NAME NEW
 *   set KIND NAME TYPE START LENGTH [WHENCE]                 KIND: posix, ofd; TYPE: R, W, U, other
 *   wait KIND NAME TYPE START LENGTH [WHENCE]                as set, blocking
 *   get KIND NAME TYPE START LENGTH [WHENCE]                 the lock in the way: type start length
 * pid flock NAME TYPE [wait]                                   TYPE: R, W, U map KIND NAME START
 * COUNT                                a character a byte: . free, R, W seek NAME OFFSET    write
 * NAME TEXT    read NAME COUNT fork SOCKET                                              the child
 * serves another socket cycles KIND PATH COUNT                                   open, lock, close,
 * over and over pid       exit
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { NAMES = 64, WORDS = 12, LINE_BYTES = 8192 };

static struct {
    char name[32];
    int fd;
} files[NAMES];

static char answer[LINE_BYTES];

static int file_fd(const char *name)
{
    for (int i = 0; i < NAMES; i++) {
        if (files[i].name[0] && !strcmp(files[i].name, name))
            return files[i].fd;
    }
    return -1;
}

static void file_name(const char *name, int fd)
{
    for (int i = 0; i < NAMES; i++) {
        if (!files[i].name[0]) {
            snprintf(files[i].name, sizeof files[i].name, "%s", name);
            files[i].fd = fd;
            return;
        }
    }
    abort();
}

static void file_forget(const char *name)
{
    for (int i = 0; i < NAMES; i++) {
        if (!strcmp(files[i].name, name))
            files[i].name[0] = 0;
    }
}

static void answer_result(long long result)
{
    if (result < 0)
        snprintf(answer, sizeof answer, "%s", strerrorname_np(errno));
    else
        snprintf(answer, sizeof answer, "ok");
}

static short lock_type(const char *text)
{
    switch (text[0]) {
    case 'R':
        return F_RDLCK;
    case 'W':
        return F_WRLCK;
    case 'U':
        return F_UNLCK;
    default:
        return (short)atoi(text);
    }
}

static struct flock lock_parse(char **words)
{
    struct flock lock = {
        .l_type = lock_type(words[0]),
        .l_whence = SEEK_SET,
        .l_start = strtoll(words[1], NULL, 0),
        .l_len = strtoll(words[2], NULL, 0),
    };

    if (words[3][0])
        lock.l_whence = !strcmp(words[3], "end")   ? SEEK_END
                        : !strcmp(words[3], "cur") ? SEEK_CUR
                                                   : (short)atoi(words[3]);
    return lock;
}

static void lock_set(int wait, char **words)
{
    int ofd = !strcmp(words[0], "ofd");
    struct flock lock = lock_parse(words + 2);
    int command = wait ? (ofd ? F_OFD_SETLKW : F_SETLKW) : (ofd ? F_OFD_SETLK : F_SETLK);

    answer_result(fcntl(file_fd(words[1]), command, &lock));
}

static char type_letter(short type)
{
    return type == F_WRLCK ? 'W' : type == F_RDLCK ? 'R' : '.';
}

static void lock_get(char **words)
{
    struct flock lock = lock_parse(words + 2);

    if (fcntl(file_fd(words[1]), strcmp(words[0], "ofd") ? F_GETLK : F_OFD_GETLK, &lock) < 0)
        answer_result(-1);
    else if (lock.l_type == F_UNLCK)
        snprintf(answer, sizeof answer, "ok free");
    else
        snprintf(answer, sizeof answer, "ok %c %lld %lld %d", type_letter(lock.l_type),
                 (long long)lock.l_start, (long long)lock.l_len, (int)lock.l_pid);
}

static void lock_map(char **words)
{
    int command = strcmp(words[0], "ofd") ? F_GETLK : F_OFD_GETLK;
    int fd = file_fd(words[1]);
    long long start = atoll(words[2]);
    size_t count = (size_t)atoi(words[3]);
    size_t at = 3;

    memcpy(answer, "ok ", 4);
    for (size_t i = 0; i < count && at < sizeof answer - 1; i++) {
        struct flock lock = {.l_type = F_WRLCK, .l_start = start + (off_t)i, .l_len = 1};

        if (fcntl(fd, command, &lock) < 0) {
            answer_result(-1);
            return;
        }
        answer[at++] = type_letter(lock.l_type);
    }
    answer[at] = 0;
}

static int flock_operation(const char *type)
{
    return type[0] == 'R' ? LOCK_SH : type[0] == 'W' ? LOCK_EX : type[0] == 'U' ? LOCK_UN : 64;
}

static int cycle_lock(const char *kind, int fd, int *held_by_others)
{
    struct flock lock = {.l_type = F_WRLCK, .l_len = 10};
    struct flock probe = lock;

    if (!strcmp(kind, "flock")) {
        if (!held_by_others)
            return flock(fd, LOCK_EX | LOCK_NB);
        *held_by_others = flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
        return *held_by_others ? 0 : flock(fd, LOCK_UN);
    }
    if (!held_by_others)
        return fcntl(fd, F_OFD_SETLK, &lock);
    if (fcntl(fd, F_OFD_GETLK, &probe) < 0)
        return -1;
    *held_by_others = probe.l_type == F_WRLCK;
    return 0;
}

/* The kernel uses a closed description's lock owner again for the next: no lock may get lost. */
static void lock_cycles(const char *kind, const char *path, int count)
{
    int observer = open(path, O_RDWR);
    int refused = 0, lost = 0, failed = 0;

    for (int i = 0; i < count; i++) {
        int fd = open(path, O_RDWR);
        struct stat status;

        if (cycle_lock(kind, fd, NULL) < 0) {
            refused += errno == EAGAIN;
            failed += errno != EAGAIN;
        } else {
            for (int look = 0; look < 4; look++) {
                int held = 0;

                failed += cycle_lock(kind, observer, &held) < 0;
                lost += !held;
                failed += fstat(fd, &status) < 0;
            }
        }
        close(fd);
    }
    close(observer);
    snprintf(answer, sizeof answer, "ok %d refused, %d lost, %d failed", refused, lost, failed);
}

static void on_signal(int number)
{
    (void)number;
}

static void file_open(char **words)
{
    int flags = !strcmp(words[2], "r") ? O_RDONLY : !strcmp(words[2], "w") ? O_WRONLY : O_RDWR;
    int fd = open(words[1], !strcmp(words[2], "path") ? O_PATH : flags);

    answer_result(fd);
    if (fd >= 0)
        file_name(words[0], fd);
}

static void transfer(int writing, char **words)
{
    char text[256] = "";

    if (writing) {
        answer_result(write(file_fd(words[0]), words[1], strlen(words[1])));
        return;
    }
    if (pread(file_fd(words[0]), text, (size_t)atoi(words[1]) % sizeof text, 0) < 0)
        answer_result(-1);
    else
        snprintf(answer, sizeof answer, "ok %s", text);
}

/* Returns the socket to go on with: a child's own after a fork. */
static int request_serve(int channel, char **words)
{
    const char *verb = words[0];
    int new_channel = channel;
    pid_t pid;

    snprintf(answer, sizeof answer, "unknown request %s", verb);
    if (!strcmp(verb, "open")) {
        file_open(words + 1);
    } else if (!strcmp(verb, "close")) {
        answer_result(close(file_fd(words[1])));
        file_forget(words[1]);
    } else if (!strcmp(verb, "dup")) {
        int fd = dup(file_fd(words[1]));

        answer_result(fd);
        file_name(words[2], fd);
    } else if (!strcmp(verb, "set") || !strcmp(verb, "wait")) {
        lock_set(verb[0] == 'w', words + 1);
    } else if (!strcmp(verb, "get")) {
        lock_get(words + 1);
    } else if (!strcmp(verb, "map")) {
        lock_map(words + 1);
    } else if (!strcmp(verb, "flock")) {
        answer_result(
            flock(file_fd(words[1]), flock_operation(words[2]) | (words[3][0] ? 0 : LOCK_NB)));
    } else if (!strcmp(verb, "seek")) {
        answer_result(lseek(file_fd(words[1]), atoll(words[2]), SEEK_SET));
    } else if (!strcmp(verb, "write") || !strcmp(verb, "read")) {
        transfer(verb[0] == 'w', words + 1);
    } else if (!strcmp(verb, "cycles")) {
        lock_cycles(words[1], words[2], atoi(words[3]));
    } else if (!strcmp(verb, "fork")) {
        pid = fork();
        if (pid == 0)
            new_channel = atoi(words[1]);
        snprintf(answer, sizeof answer, "ok %d", pid ? (int)pid : (int)getpid());
    } else if (!strcmp(verb, "pid")) {
        snprintf(answer, sizeof answer, "ok %d", (int)getpid());
    } else if (!strcmp(verb, "exit")) {
        _exit(0);
    }
    return new_channel;
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = on_signal}; /* no SA_RESTART: a wait is interrupted */
    int channel = argc > 1 ? atoi(argv[1]) : 0;
    char line[LINE_BYTES];
    ssize_t got;

    sigaction(SIGUSR1, &action, NULL);
    signal(SIGCHLD, SIG_IGN);
    while ((got = read(channel, line, sizeof line - 1)) > 0 || (got < 0 && errno == EINTR)) {
        char *words[WORDS];
        char *rest = line;
        size_t length;

        if (got < 0)
            continue;
        line[got] = 0;
        for (int i = 0; i < WORDS; i++) {
            words[i] = strsep(&rest, " \n");
            if (!words[i])
                words[i] = line + got;
        }
        channel = request_serve(channel, words);
        length = strlen(answer);
        if (write(channel, answer, length) != (ssize_t)length)
            return 1;
    }
    return 0;
}
