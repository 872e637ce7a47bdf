/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the threads of `mixed` share: their files, each with what it must contain, and how a run
 * fails. A file belongs to one thread.
 */
#ifndef MIGFS_TESTS_LOAD_MIXED_H
#define MIGFS_TESTS_LOAD_MIXED_H

#include "../pattern.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    MOST_BLOCKS = 32,
    SHARED_FILES = 4,
    NAME_BYTES = 64,
};

struct file {
    unsigned number;
    char name[NAME_BYTES];
    int fd, direct_fd;
    unsigned blocks;                /* its length */
    uint32_t sequence[MOST_BLOCKS]; /* 0: zeros */
    bool linked;
};

struct thread {
    unsigned number;
    uint64_t random;
    pthread_t thread;
    struct file *files;
    unsigned file_count;
    uint32_t sequence;
    uint8_t *buffer; /* aligned, MOST_BLOCKS blocks */
    int shared_fd[SHARED_FILES];
    bool ended; /* a call failed, and that was to be expected */
};

struct run {
    const char *directory;
    int directory_fd;
    bool until_end;
    atomic_bool ending;
    sem_t end; /* posted when it is */
    atomic_uint failures;
};
extern struct run run;

/* Ends the run before its time. */
void end_run(void);

/* Something that must hold does not; or a call has failed, as errno says. Either ends the thread.
 */
void wrong(struct thread *thread, const struct file *file, const char *what, long detail);
void failed(struct thread *thread, const struct file *file, const char *what);

/* A random number below the limit. */
unsigned below(struct thread *thread, unsigned limit);

/* ---- file.c: what one file takes, and must show ---- */

void file_create(struct thread *thread, struct file *file);
void file_open(struct thread *thread, struct file *file, int flags);
void file_close(struct file *file);

/* By one of the file's descriptors. */
void write_range(struct thread *thread, struct file *file, int fd);
void check_read(struct thread *thread, struct file *file, int fd);

void write_mapped(struct thread *thread, struct file *file);
void check_mapped(struct thread *thread, struct file *file);
void check_attributes(struct thread *thread, struct file *file);
void set_length(struct thread *thread, struct file *file);
void punch(struct thread *thread, struct file *file);
void move(struct thread *thread, struct file *file);
void remove_name(struct thread *thread, struct file *file);
void reopen(struct thread *thread, struct file *file);
void list(struct thread *thread, struct file *file);

/* ---- lock.c: locks and hand-overs ---- */

void lock_own(struct thread *thread, struct file *file);
void hand_over(struct thread *thread, struct file *file);
void open_shared(struct thread *thread);
void change_shared(struct thread *thread);

#endif
