/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mixed DIRECTORY FILES THREADS SECONDS SEED [until-end]
 *
 * Threads do to their files what can be done to files, at random: reads and writes by calls,
 * O_DIRECT and mappings, truncates, renames, unlinks while open, locks of all kinds, hand-overs in
 * QEMU's order. Each knows what its files must contain. Files that all share are changed under
 * blocking locks, and signals come in between. With `until-end` the mount goes away meanwhile: the
 * first error of a call ends a thread, and is no failure; wrong data is.
 */
#include "mixed.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { MOST_THREADS = 256 };

struct run run;

static atomic_uint finished; /* threads, of their own accord or not */
static atomic_ullong operations;
static struct thread threads[MOST_THREADS];
static unsigned thread_count;

void end_run(void)
{
    atomic_store(&run.ending, true);
    sem_post(&run.end);
}

/* ---- failing ---- */

void wrong(struct thread *thread, const struct file *file, const char *what, long detail)
{
    fprintf(stderr, "thread %u, %s: %s (%ld)\n", thread->number, file ? file->name : "-", what,
            detail);
    atomic_fetch_add(&run.failures, 1);
    thread->ended = true;
    end_run();
}

void failed(struct thread *thread, const struct file *file, const char *what)
{
    const int error = errno;

    thread->ended = true;
    if (run.until_end)
        return;
    fprintf(stderr, "thread %u, %s: %s: %s\n", thread->number, file ? file->name : "-", what,
            strerror(error));
    atomic_fetch_add(&run.failures, 1);
    end_run();
}

unsigned below(struct thread *thread, unsigned limit)
{
    thread->random ^= thread->random << 13;
    thread->random ^= thread->random >> 7;
    thread->random ^= thread->random << 17;
    return (unsigned)((thread->random >> 24) % limit);
}

/* ---- the threads ---- */

static void operate(struct thread *thread)
{
    struct file *file = &thread->files[below(thread, thread->file_count)];

    switch (below(thread, 24)) {
    case 0:
    case 1:
    case 2:
        write_range(thread, file, file->fd);
        break;
    case 3:
    case 4:
        write_range(thread, file, file->direct_fd);
        break;
    case 5:
    case 6:
        write_mapped(thread, file);
        break;
    case 7:
    case 8:
    case 9:
        check_read(thread, file, file->fd);
        break;
    case 10:
    case 11:
        check_read(thread, file, file->direct_fd);
        break;
    case 12:
        check_mapped(thread, file);
        break;
    case 13:
        set_length(thread, file);
        break;
    case 14:
        punch(thread, file);
        break;
    case 15:
        move(thread, file);
        break;
    case 16:
        remove_name(thread, file);
        break;
    case 17:
        reopen(thread, file);
        break;
    case 18:
        list(thread, file);
        break;
    case 19:
        lock_own(thread, file);
        break;
    case 20:
        hand_over(thread, file);
        break;
    case 21:
    case 22:
        change_shared(thread);
        break;
    case 23:
        check_attributes(thread, file);
        if (fsync(file->fd) != 0)
            failed(thread, file, "fsync");
        break;
    }
    atomic_fetch_add(&operations, 1);
}

static void *work(void *data)
{
    struct thread *thread = data;

    while (!atomic_load(&run.ending) && !thread->ended)
        operate(thread);
    for (unsigned i = 0; i < thread->file_count; i++) {
        if (!thread->ended)
            check_read(thread, &thread->files[i], thread->files[i].fd);
        file_close(&thread->files[i]);
    }
    /* Where a mount is taken away each ends by itself, and nobody is left to load it. */
    if (atomic_fetch_add(&finished, 1) + 1 == thread_count)
        end_run();
    return NULL;
}

static void on_signal(int number)
{
    (void)number;
}

static void on_bus_error(int number)
{
    (void)number;
    _exit(atomic_load(&run.failures) == 0 ? 0 : 1); /* a mapping of a mount that is gone */
}

static void *send_signals(void *data)
{
    const struct timespec pause = {.tv_nsec = 1000000};

    (void)data;
    for (unsigned i = 0; !atomic_load(&run.ending); i++) {
        pthread_kill(threads[(i * 7) % thread_count].thread, SIGUSR1);
        nanosleep(&pause, NULL);
    }
    return NULL;
}

static void thread_init(struct thread *thread, unsigned number, unsigned file_count, uint64_t seed)
{
    thread->number = number;
    thread->random = (seed + number + 1) * UINT64_C(0x9e3779b97f4a7c15);
    thread->file_count = file_count;
    thread->files = calloc(file_count, sizeof(*thread->files));
    thread->buffer = aligned_alloc(BLOCK_BYTES, (size_t)MOST_BLOCKS * BLOCK_BYTES);
    if (!thread->files || !thread->buffer)
        exit(2);
    open_shared(thread);
    for (unsigned i = 0; i < file_count && !thread->ended; i++) {
        thread->files[i].number = i;
        thread->files[i].fd = thread->files[i].direct_fd = -1;
        file_create(thread, &thread->files[i]);
        if (!thread->ended)
            write_range(thread, &thread->files[i], thread->files[i].fd);
    }
}

static void raise_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static void wait_end(unsigned seconds)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += seconds;
    while (sem_clockwait(&run.end, CLOCK_MONOTONIC, &until) != 0 && errno == EINTR)
        ;
}

static int load(unsigned file_count, unsigned seconds, uint64_t seed)
{
    pthread_t signaller;

    for (unsigned i = 0; i < thread_count; i++)
        thread_init(&threads[i], i, file_count / thread_count, seed);
    printf("serving\n");
    fflush(stdout);
    for (unsigned i = 0; i < thread_count; i++) {
        if (pthread_create(&threads[i].thread, NULL, work, &threads[i]) != 0)
            return 2;
    }
    if (pthread_create(&signaller, NULL, send_signals, NULL) != 0)
        return 2;
    wait_end(seconds);
    atomic_store(&run.ending, true);
    pthread_join(signaller, NULL);
    for (unsigned i = 0; i < thread_count; i++)
        pthread_join(threads[i].thread, NULL);
    return atomic_load(&run.failures) == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    const struct sigaction interrupt = {.sa_handler = on_signal}; /* without SA_RESTART */
    const struct sigaction bus_error = {.sa_handler = on_bus_error};
    int status;

    thread_count = argc >= 6 ? (unsigned)atoi(argv[3]) : 0;
    run.until_end = argc == 7 && strcmp(argv[6], "until-end") == 0;
    if (thread_count == 0 || thread_count > MOST_THREADS ||
        (unsigned)atoi(argv[2]) < thread_count) {
        fprintf(stderr, "usage: mixed DIRECTORY FILES THREADS SECONDS SEED [until-end]\n");
        return 2;
    }
    raise_limit();
    sem_init(&run.end, 0, 0);
    sigaction(SIGUSR1, &interrupt, NULL);
    if (run.until_end)
        sigaction(SIGBUS, &bus_error, NULL);
    run.directory = argv[1];
    run.directory_fd = open(run.directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (run.directory_fd < 0) {
        perror(run.directory);
        return 2;
    }
    status = load((unsigned)atoi(argv[2]), (unsigned)atoi(argv[4]), strtoull(argv[5], NULL, 0));
    printf("%llu operations, %u failures\n", (unsigned long long)atomic_load(&operations),
           atomic_load(&run.failures));
    return status;
}
