/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mixed.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- opening ---- */

void file_open(struct thread *thread, struct file *file, int flags)
{
    file->fd = openat(run.directory_fd, file->name, O_RDWR | O_CLOEXEC | flags, 0600);
    if (file->fd < 0) {
        failed(thread, file, "open");
        return;
    }
    file->direct_fd = openat(run.directory_fd, file->name, O_RDWR | O_DIRECT | O_CLOEXEC);
    if (file->direct_fd < 0)
        failed(thread, file, "open O_DIRECT");
    file->linked = true;
}

void file_close(struct file *file)
{
    if (file->fd >= 0)
        close(file->fd);
    if (file->direct_fd >= 0)
        close(file->direct_fd);
    file->fd = file->direct_fd = -1;
}

static void file_rename_to(struct thread *thread, const struct file *file, char *name)
{
    snprintf(name, NAME_BYTES, "t%u.f%u.%x", thread->number, file->number, ++thread->sequence);
}

void file_create(struct thread *thread, struct file *file)
{
    file_rename_to(thread, file, file->name);
    memset(file->sequence, 0, sizeof(file->sequence));
    file->blocks = 0;
    file_open(thread, file, O_CREAT | O_EXCL);
}

/* ---- writing ---- */

void write_range(struct thread *thread, struct file *file, int fd)
{
    const unsigned first = below(thread, MOST_BLOCKS);
    const unsigned count = 1 + below(thread, MOST_BLOCKS - first);
    const size_t bytes = (size_t)count * BLOCK_BYTES;
    const uint32_t sequence = ++thread->sequence;

    for (unsigned i = 0; i < count; i++)
        pattern_fill(thread->buffer + (size_t)i * BLOCK_BYTES, file->number, first + i, sequence);
    if (pwrite(fd, thread->buffer, bytes, (off_t)first * BLOCK_BYTES) != (ssize_t)bytes) {
        failed(thread, file, fd == file->fd ? "write" : "write O_DIRECT");
        return;
    }
    for (unsigned i = first; i < first + count; i++)
        file->sequence[i] = sequence;
    if (first + count > file->blocks)
        file->blocks = first + count;
}

void write_mapped(struct thread *thread, struct file *file)
{
    const size_t bytes = (size_t)file->blocks * BLOCK_BYTES;
    uint8_t *map;

    if (file->blocks == 0)
        return;
    map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file->fd, 0);
    if (map == MAP_FAILED) {
        failed(thread, file, "mmap");
        return;
    }
    const uint32_t sequence = ++thread->sequence;
    for (unsigned i = below(thread, file->blocks); i < file->blocks; i += 1 + below(thread, 3)) {
        pattern_fill(map + (size_t)i * BLOCK_BYTES, file->number, i, sequence);
        file->sequence[i] = sequence;
    }
    /* What is in the mapping alone is lost with the mount. */
    if ((below(thread, 2) || run.until_end) && msync(map, bytes, MS_SYNC) != 0)
        failed(thread, file, "msync");
    munmap(map, bytes);
}

void set_length(struct thread *thread, struct file *file)
{
    const unsigned blocks = below(thread, MOST_BLOCKS + 1);
    const off_t length = (off_t)blocks * BLOCK_BYTES;
    char path[4096];
    int result;

    snprintf(path, sizeof(path), "%s/%s", run.directory, file->name);
    result =
        file->linked && below(thread, 2) ? truncate(path, length) : ftruncate(file->fd, length);
    if (result != 0) {
        failed(thread, file, "truncate");
        return;
    }
    for (unsigned i = blocks; i < MOST_BLOCKS; i++)
        file->sequence[i] = 0;
    file->blocks = blocks;
}

void punch(struct thread *thread, struct file *file)
{
    const unsigned first = below(thread, MOST_BLOCKS);
    const unsigned count = 1 + below(thread, MOST_BLOCKS - first);

    if (fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)first * BLOCK_BYTES,
                  (off_t)count * BLOCK_BYTES) != 0) {
        failed(thread, file, "punch a hole");
        return;
    }
    for (unsigned i = first; i < first + count; i++)
        file->sequence[i] = 0;
}

/* ---- checking ---- */

static bool is_zero(const uint8_t *bytes)
{
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, BLOCK_BYTES - 1) == 0;
}

static void check_block(struct thread *thread, const struct file *file, unsigned block,
                        const uint8_t *bytes, const char *how)
{
    const uint32_t sequence = file->sequence[block];
    uint64_t first;

    if (sequence == 0 ? is_zero(bytes) : pattern_is(bytes, file->number, block, sequence))
        return;
    memcpy(&first, bytes, sizeof(first));
    fprintf(stderr, "file %s, block %u of %u by %s: sequence %x wanted, %llx there\n", file->name,
            block, file->blocks, how, sequence, (unsigned long long)first);
    wrong(thread, file, "data", block);
}

void check_read(struct thread *thread, struct file *file, int fd)
{
    const char *how = fd == file->fd ? "read" : "read O_DIRECT";
    const size_t bytes = (size_t)MOST_BLOCKS * BLOCK_BYTES;
    const ssize_t count = pread(fd, thread->buffer, bytes, 0);

    if (count < 0) {
        failed(thread, file, how);
        return;
    }
    if (count != (ssize_t)file->blocks * BLOCK_BYTES) {
        if (!run.until_end)
            wrong(thread, file, "length read", count);
        return;
    }
    for (unsigned i = 0; i < file->blocks && !thread->ended; i++)
        check_block(thread, file, i, thread->buffer + (size_t)i * BLOCK_BYTES, how);
}

void check_mapped(struct thread *thread, struct file *file)
{
    const size_t bytes = (size_t)file->blocks * BLOCK_BYTES;
    uint8_t *map;

    if (file->blocks == 0)
        return;
    map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, file->fd, 0);
    if (map == MAP_FAILED) {
        failed(thread, file, "mmap");
        return;
    }
    for (unsigned i = 0; i < file->blocks && !thread->ended; i++)
        check_block(thread, file, i, map + (size_t)i * BLOCK_BYTES, "mapping");
    munmap(map, bytes);
}

void check_attributes(struct thread *thread, struct file *file)
{
    struct stat attributes;

    if (fstat(file->fd, &attributes) != 0)
        failed(thread, file, "fstat");
    else if (attributes.st_size != (off_t)file->blocks * BLOCK_BYTES)
        wrong(thread, file, "length", attributes.st_size);
    else if (attributes.st_nlink != (file->linked ? 1u : 0u))
        wrong(thread, file, "links", (long)attributes.st_nlink);
}

/* ---- names ---- */

void move(struct thread *thread, struct file *file)
{
    char name[NAME_BYTES];

    if (!file->linked)
        return;
    file_rename_to(thread, file, name);
    if (renameat(run.directory_fd, file->name, run.directory_fd, name) != 0)
        failed(thread, file, "rename");
    else
        memcpy(file->name, name, sizeof(name));
}

/* The open file stays as it was; later it is begun anew. */
void remove_name(struct thread *thread, struct file *file)
{
    if (file->linked) {
        if (unlinkat(run.directory_fd, file->name, 0) != 0)
            failed(thread, file, "unlink");
        file->linked = false;
        return;
    }
    file_close(file);
    file_create(thread, file);
}

void reopen(struct thread *thread, struct file *file)
{
    if (!file->linked)
        return;
    file_close(file);
    file_open(thread, file, 0);
}

/* What the thread does not touch meanwhile is there once, whatever others do. */
void list(struct thread *thread, struct file *file)
{
    const int fd = openat(run.directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *listing = fd >= 0 ? fdopendir(fd) : NULL;
    unsigned found = 0;

    if (!listing) {
        failed(thread, file, "opendir");
        return;
    }
    errno = 0;
    for (const struct dirent *entry; (entry = readdir(listing));)
        found += strcmp(entry->d_name, file->name) == 0;
    if (errno != 0)
        failed(thread, file, "readdir");
    else if (found != (file->linked ? 1u : 0u))
        wrong(thread, file, "times in its directory", (long)found);
    closedir(listing);
}
