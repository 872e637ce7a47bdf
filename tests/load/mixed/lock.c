/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mixed.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

static int set_lock(int fd, int command, off_t start, short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = 1};

    return fcntl(fd, command, &lock);
}

/* Bytes that no profile knows, taken and given by whoever is alone with the file. */
void lock_own(struct thread *thread, struct file *file)
{
    const int kind = (int)below(thread, 3);
    const off_t start = (kind == 0 ? 1000 : 2000) + below(thread, 50);
    const int command = kind == 0 ? F_SETLK : F_OFD_SETLK;
    const short type = below(thread, 2) ? F_WRLCK : F_RDLCK;
    int result;

    result =
        kind == 2 ? flock(file->fd, LOCK_EX | LOCK_NB) : set_lock(file->fd, command, start, type);
    if (result != 0)
        failed(thread, file, "lock");
    if (below(thread, 3) == 0)
        return; /* stays, until a close or the next one */
    result = kind == 2 ? flock(file->fd, LOCK_UN) : set_lock(file->fd, command, start, F_UNLCK);
    if (result != 0)
        failed(thread, file, "unlock");
}

static void check_refused(struct thread *thread, struct file *file)
{
    errno = 0;
    if (pwrite(file->fd, thread->buffer, BLOCK_BYTES, 0) >= 0)
        wrong(thread, file, "a released file takes writes", 0);
    else if (errno != EIO)
        failed(thread, file, "write after a release");
}

static void wait_unlocked(struct thread *thread, struct file *file)
{
    struct flock lock = {.l_type = F_WRLCK, .l_start = 201, .l_len = 1};

    do {
        lock.l_type = F_WRLCK;
        if (fcntl(file->fd, F_OFD_GETLK, &lock) != 0)
            failed(thread, file, "question about a lock");
    } while (!thread->ended && lock.l_type != F_UNLCK);
}

/* The kernel tells of the last close later than close(2) returns; until then it stays released. */
static void open_released(struct thread *thread, struct file *file)
{
    int error = EIO;

    file_open(thread, file, 0);
    wait_unlocked(thread, file);
    for (int i = 0; i < 5000 && error == EIO && !thread->ended; i++) {
        error = ftruncate(file->fd, (off_t)file->blocks * BLOCK_BYTES) == 0 ? 0 : errno;
        if (error == EIO)
            usleep(1000);
    }
    errno = error;
    if (error != 0 && !thread->ended)
        failed(thread, file, "truncate of a file that nobody has open any more");
}

void hand_over(struct thread *thread, struct file *file)
{
    static const off_t bytes[] = {100, 101, 201};

    for (int again = (int)below(thread, 3); again >= 0 && !thread->ended; again--) {
        for (size_t i = 0; i < 3; i++) {
            if (set_lock(file->fd, F_OFD_SETLK, bytes[i], F_RDLCK) != 0)
                failed(thread, file, "lock of an image");
        }
        write_range(thread, file, below(thread, 2) ? file->fd : file->direct_fd);
        write_mapped(thread, file);
        check_read(thread, file, file->fd);
        if (thread->ended || (again == 0 && below(thread, 4) == 0))
            break; /* released by the close */
        for (size_t i = 0; i < 3; i++) {
            if (set_lock(file->fd, F_OFD_SETLK, bytes[i], F_UNLCK) != 0)
                failed(thread, file, "unlock of an image");
        }
        if (!thread->ended)
            check_refused(thread, file);
        check_read(thread, file, below(thread, 2) ? file->fd : file->direct_fd);
    }
    file_close(file);
    if (!file->linked)
        file_create(thread, file);
    else if (!thread->ended)
        open_released(thread, file);
}

/* ---- files that all share ---- */

static atomic_uint inside[SHARED_FILES];
static atomic_ullong counters[SHARED_FILES];

void open_shared(struct thread *thread)
{
    char name[NAME_BYTES];
    const uint64_t zero = 0;

    for (unsigned i = 0; i < SHARED_FILES; i++) {
        snprintf(name, sizeof(name), "shared.%u", i);
        thread->shared_fd[i] = openat(run.directory_fd, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (thread->shared_fd[i] < 0)
            failed(thread, NULL, "open of a shared file");
        else if (thread->number == 0 &&
                 pwrite(thread->shared_fd[i], &zero, sizeof(zero), 0) != (ssize_t)sizeof(zero))
            failed(thread, NULL, "write of a shared file");
    }
}

static int lock_shared(int fd, unsigned kind, short type)
{
    int result;

    do {
        if (kind % 2)
            result = flock(fd, type == F_UNLCK ? LOCK_UN : LOCK_EX);
        else
            result = set_lock(fd, type == F_UNLCK ? F_OFD_SETLK : F_OFD_SETLKW, 0, type);
    } while (result != 0 && errno == EINTR && !atomic_load(&run.ending));
    return result;
}

/* One at a time, and each sees what the one before wrote. */
void change_shared(struct thread *thread)
{
    const unsigned kind = below(thread, SHARED_FILES);
    const int fd = thread->shared_fd[kind];
    uint64_t value = 0;

    if (lock_shared(fd, kind, F_WRLCK) != 0) {
        if (errno != EINTR)
            failed(thread, NULL, "blocking lock");
        return;
    }
    if (atomic_fetch_add(&inside[kind], 1) != 0)
        wrong(thread, NULL, "two hold one lock", (long)kind);
    if (pread(fd, &value, sizeof(value), 0) != (ssize_t)sizeof(value))
        failed(thread, NULL, "read of a shared file");
    else if (value != atomic_load(&counters[kind]))
        wrong(thread, NULL, "stale counter", (long)value);
    value++;
    if (!thread->ended && pwrite(fd, &value, sizeof(value), 0) != (ssize_t)sizeof(value))
        failed(thread, NULL, "write of a shared file");
    if (!thread->ended)
        atomic_store(&counters[kind], value);
    atomic_fetch_sub(&inside[kind], 1);
    if (lock_shared(fd, kind, F_UNLCK) != 0 && errno != EINTR)
        failed(thread, NULL, "unlock of a shared file");
}
