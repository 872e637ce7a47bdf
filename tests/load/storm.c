/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * storm waiters FILE COUNT KIND    COUNT processes wait for one lock. A third gets a signal, which
 *                                  ends the wait; a third is killed; the others each have it once.
 * storm hold FILE COUNT KIND       They wait until the mount goes. Says "serving" once all wait.
 * storm cycles FILE BELOW COUNT    Locks of descriptors that are opened and closed over and over,
 *                                  so that the kernel uses the ids of lock owners again; each one
 *                                  must stand on the mount and on the backing file, and end by its
 *                                  close.
 *
 * KIND: posix, ofd, flock.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum kind { KIND_POSIX, KIND_OFD, KIND_FLOCK };
enum { MOST_WAITERS = 1000, INTERRUPTED = 3, SIGNAL_AGAIN_MS = 10 };

static enum kind kind_of(const char *name)
{
    return strcmp(name, "flock") == 0 ? KIND_FLOCK
           : strcmp(name, "ofd") == 0 ? KIND_OFD
                                      : KIND_POSIX;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* 0, or -1 with errno, as the call itself. */
static int set_lock(int fd, enum kind kind, short type, int waits)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = 7, .l_len = 1};
    const int operation = type == F_UNLCK ? LOCK_UN : LOCK_EX;

    if (kind == KIND_FLOCK)
        return flock(fd, operation | (waits ? 0 : LOCK_NB));
    if (kind == KIND_OFD)
        return fcntl(fd, waits ? F_OFD_SETLKW : F_OFD_SETLK, &lock);
    return fcntl(fd, waits ? F_SETLKW : F_SETLK, &lock);
}

static int open_file(const char *path)
{
    const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0)
        die(path);
    return fd;
}

/* ---- waiters ---- */

static void on_signal(int number)
{
    (void)number;
}

/* Alone with the lock: nobody else may see the number change meanwhile. */
static int wait_once(const char *path, enum kind kind, volatile char *is_open)
{
    const int fd = open_file(path);
    unsigned long before, after;

    *is_open = 1;
    if (set_lock(fd, kind, F_WRLCK, 1) != 0)
        return errno == EINTR ? INTERRUPTED : 1;
    if (pread(fd, &before, sizeof(before), 0) != (ssize_t)sizeof(before))
        return 1;
    before++;
    if (pwrite(fd, &before, sizeof(before), 0) != (ssize_t)sizeof(before) ||
        pread(fd, &after, sizeof(after), 0) != (ssize_t)sizeof(after))
        return 1;
    if (after != before)
        return 2;
    return 0; /* given back by the end of the process */
}

/* Whether the process sleeps in a call: once its file is open, in the one that waits. */
static int sleeps(pid_t pid)
{
    char path[64], text[512] = "";
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
        die(path);
    close(fd);
    const char *state = strrchr(text, ')');
    return state && (state[2] == 'S' || state[2] == 'D');
}

static void start_waiters(const char *path, enum kind kind, pid_t *pids, unsigned count)
{
    const struct sigaction interrupt = {.sa_handler = on_signal};

    volatile char *are_open =
        mmap(NULL, MOST_WAITERS, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (are_open == MAP_FAILED)
        die("mmap");
    sigaction(SIGUSR1, &interrupt, NULL); /* the waiters' */
    for (unsigned i = 0; i < count; i++) {
        pids[i] = fork();
        if (pids[i] < 0)
            die("fork");
        if (pids[i] == 0)
            _exit(wait_once(path, kind, &are_open[i]));
    }
    for (unsigned i = 0; i < count; i++) {
        while (!are_open[i] || !sleeps(pids[i]))
            usleep(1000);
    }
    munmap((void *)are_open, MOST_WAITERS);
}

static int end_of(pid_t pid)
{
    int status;

    if (waitpid(pid, &status, 0) != pid)
        die("waitpid");
    return status;
}

/* A signal before the call would be lost: it is repeated until the process has ended. */
static int interrupted_end_of(pid_t pid)
{
    struct pollfd process = {.fd = pidfd_open(pid, 0), .events = POLLIN};

    if (process.fd < 0)
        die("pidfd_open");
    while (poll(&process, 1, SIGNAL_AGAIN_MS) == 0)
        kill(pid, SIGUSR1);
    close(process.fd);
    return end_of(pid);
}

static int waiters(const char *path, unsigned count, enum kind kind)
{
    const int fd = open_file(path);
    const unsigned long zero = 0;
    unsigned long had;
    unsigned rest = 0, failures = 0;
    pid_t pids[MOST_WAITERS];

    if (pwrite(fd, &zero, sizeof(zero), 0) != (ssize_t)sizeof(zero))
        die("write");
    if (set_lock(fd, kind, F_WRLCK, 0) != 0)
        die("lock");
    start_waiters(path, kind, pids, count);
    for (unsigned i = 0; i < count; i++) {
        if (i % 3 < 2)
            kill(pids[i], i % 3 == 0 ? SIGUSR1 : SIGKILL);
    }
    for (unsigned i = 0; i < count; i++) {
        if (i % 3 == 0) {
            const int status = interrupted_end_of(pids[i]);

            failures += !WIFEXITED(status) || WEXITSTATUS(status) != INTERRUPTED;
        }
        if (i % 3 == 1)
            failures += !WIFSIGNALED(end_of(pids[i]));
    }
    if (failures > 0)
        fprintf(stderr, "%u of the interrupted ended in another way\n", failures);
    if (set_lock(fd, kind, F_UNLCK, 0) != 0)
        die("unlock");
    for (unsigned i = 2; i < count; i += 3) {
        const int status = end_of(pids[i]);

        rest++;
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
            fprintf(stderr, "waiter %u: status %x\n", i, (unsigned)status);
            failures++;
        }
    }
    if (pread(fd, &had, sizeof(had), 0) != (ssize_t)sizeof(had) || had != rest) {
        fprintf(stderr, "the lock was had %lu times, not %u\n", had, rest);
        failures++;
    }
    if (set_lock(fd, kind, F_WRLCK, 1) != 0)
        die("lock after all");
    printf("%u waited, %u had it, %u failures\n", count, rest, failures);
    return failures == 0 ? 0 : 1;
}

static int hold(const char *path, unsigned count, enum kind kind)
{
    const int fd = open_file(path);
    pid_t pids[MOST_WAITERS];

    if (set_lock(fd, kind, F_WRLCK, 0) != 0)
        die("lock");
    start_waiters(path, kind, pids, count);
    printf("serving\n");
    fflush(stdout);
    for (unsigned i = 0; i < count; i++)
        end_of(pids[i]);
    return 0;
}

/* ---- cycles ---- */

static int is_seen(int fd, enum kind kind)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 7, .l_len = 1};

    if (kind == KIND_FLOCK) {
        if (flock(fd, LOCK_EX | LOCK_NB) != 0)
            return 1;
        flock(fd, LOCK_UN);
        return 0;
    }
    if (fcntl(fd, F_OFD_GETLK, &lock) != 0)
        die("question about a lock");
    return lock.l_type != F_UNLCK;
}

static void cycle(const char *path, enum kind kind, int mount_fd, int below_fd, unsigned number)
{
    const int fd = open_file(path);

    if (set_lock(fd, kind, F_WRLCK, 0) != 0) {
        fprintf(stderr, "cycle %u, kind %d: ", number, (int)kind);
        die("lock after a close");
    }
    if (!is_seen(mount_fd, kind) || !is_seen(below_fd, kind)) {
        fprintf(stderr, "cycle %u, kind %d: the lock is not there\n", number, (int)kind);
        exit(1);
    }
    close(fd);
}

static int cycles(const char *path, const char *below, unsigned count)
{
    const int mount_fd = open_file(path);
    const int below_fd = open_file(below);

    for (unsigned i = 0; i < count; i++) {
        const enum kind kind = i % 2 == 0 ? KIND_OFD : KIND_FLOCK;

        cycle(path, kind, mount_fd, below_fd, i);
    }
    printf("%u cycles\n", count);
    return 0;
}

int main(int argc, char **argv)
{
    const unsigned count = argc == 5 ? (unsigned)atoi(argv[strcmp(argv[1], "cycles") ? 3 : 4]) : 0;

    if (count > 0 && count <= MOST_WAITERS && strcmp(argv[1], "waiters") == 0)
        return waiters(argv[2], count, kind_of(argv[4]));
    if (count > 0 && count <= MOST_WAITERS && strcmp(argv[1], "hold") == 0)
        return hold(argv[2], count, kind_of(argv[4]));
    if (count > 0 && strcmp(argv[1], "cycles") == 0)
        return cycles(argv[2], argv[3], count);
    fprintf(stderr, "usage: storm waiters|hold FILE COUNT KIND, storm cycles FILE BELOW COUNT\n");
    return 2;
}
