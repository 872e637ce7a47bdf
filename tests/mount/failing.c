/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Preloaded into a program, makes calls of it fail that fail seldom. The file that MIGFS_FAILING
 * names says which, and may come, change and go while the program runs:
 *
 *     CALL NUMBER [AFTER [TIMES]]
 *
 * The first AFTER calls from now on go well, the next TIMES fail with the errno NUMBER (0: all). A
 * CALL is one of
 *     alloc            malloc and its like, called by the program itself or by a library
 *     pthread_create fork chdir
 *     openat           of another directory than the working one
 *     read notify      of /dev/fuse: a request, a notification
 *     ioctl:REQUEST    in hexadecimal
 *     io_uring_setup
 * or shows the program another kernel or clock:
 *     lacks            its first request does not offer the feature of bit NUMBER
 *     major            the version of the protocol in that is NUMBER
 *     linux            it is Linux 6.NUMBER
 *     clock            it is NUMBER seconds later
 *     unlocked         locks of open file descriptions are granted, and not taken
 * What lies in the directory that MIGFS_PROC_SELF names is read in the place of /proc/self.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

/* glibc's own: dlsym allocates, too. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

#define FUSE_MAJOR 10
#define FUSE_MINOR 229

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char said[128]; /* mutex, as all below */
static char call[64];
static unsigned number, after, times, calls;

static void look(void)
{
    const char *path = getenv("MIGFS_FAILING");
    char now[sizeof(said)] = "";
    const int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

    if (fd >= 0) {
        if (read(fd, now, sizeof(now) - 1) < 0)
            now[0] = '\0';
        close(fd);
    }
    if (strcmp(now, said) == 0)
        return;
    strcpy(said, now);
    call[0] = '\0';
    calls = after = times = 0;
    (void)sscanf(said, "%63s %u %u %u", call, &number, &after, &times); /* none: nothing fails */
}

/* Whether this call is to fail: its errno is set then. */
static bool fails(const char *name)
{
    const int before = errno;

    pthread_mutex_lock(&mutex);
    look();
    const bool is_it = strcmp(call, name) == 0;
    const unsigned turn = is_it ? calls++ : 0;
    const bool result = is_it && turn >= after && (times == 0 || turn < after + times);
    errno = result ? (int)number : before;
    pthread_mutex_unlock(&mutex);
    return result;
}

static void *real(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

void *malloc(size_t size)
{
    return fails("alloc") ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return fails("alloc") ? NULL : __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size)
{
    return fails("alloc") ? NULL : __libc_realloc(memory, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return fails("alloc") ? NULL : __libc_memalign(alignment, size);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
                   void *argument)
{
    int (*const create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) =
        (__typeof__(create))real("pthread_create");

    return fails("pthread_create") ? errno : create(thread, attributes, start, argument);
}

pid_t fork(void)
{
    pid_t (*const call_on)(void) = (__typeof__(call_on))real("fork");

    return fails("fork") ? -1 : call_on();
}

int chdir(const char *path)
{
    int (*const call_on)(const char *) = (__typeof__(call_on))real("chdir");

    return fails("chdir") ? -1 : call_on(path);
}

int ioctl(int fd, unsigned long request, ...)
{
    int (*const call_on)(int, unsigned long, ...) = (__typeof__(call_on))real("ioctl");
    char name[40];
    va_list arguments;

    va_start(arguments, request);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    (void)snprintf(name, sizeof(name), "ioctl:%lx", request); /* fits */
    return fails(name) ? -1 : call_on(fd, request, argument);
}

/* Of those with an offset it is the kind with 64 bits that the programs call. */
int openat(int directory_fd, const char *path, int flags, ...)
{
    int (*const call_on)(int, const char *, int, ...) = (__typeof__(call_on))real("openat64");
    va_list arguments;

    va_start(arguments, flags);
    const mode_t mode = flags & O_CREAT ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    return directory_fd != AT_FDCWD && fails("openat") ? -1
                                                       : call_on(directory_fd, path, flags, mode);
}

int fcntl(int fd, int command, ...)
{
    int (*const call_on)(int, int, ...) = (__typeof__(call_on))real("fcntl64");
    va_list arguments;

    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    return command == F_OFD_SETLK && fails("unlocked") ? 0 : call_on(fd, command, argument);
}

long syscall(long call_number, ...)
{
    long (*const call_on)(long, ...) = (__typeof__(call_on))real("syscall");
    long words[6];
    va_list arguments;

    va_start(arguments, call_number);
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        words[i] = va_arg(arguments, long);
    va_end(arguments);
    return call_number == SYS_io_uring_setup && fails("io_uring_setup")
               ? -1
               : call_on(call_number, words[0], words[1], words[2], words[3], words[4], words[5]);
}

int uname(struct utsname *name)
{
    int (*const call_on)(struct utsname *) = (__typeof__(call_on))real("uname");
    const int result = call_on(name);

    if (fails("linux"))
        (void)snprintf(name->release, sizeof(name->release), "6.%u.0", number); /* fits */
    return result;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int (*const call_on)(clockid_t, struct timespec *) = (__typeof__(call_on))real("clock_gettime");
    const int result = call_on(clock, now);

    if (clock == CLOCK_REALTIME && fails("clock"))
        now->tv_sec += number;
    return result;
}

FILE *fopen(const char *path, const char *mode)
{
    static const char self[] = "/proc/self";
    FILE *(*const call_on)(const char *, const char *) = (__typeof__(call_on))real("fopen64");
    const char *directory = getenv("MIGFS_PROC_SELF");
    char other[4096];

    if (directory && strncmp(path, self, sizeof(self) - 1) == 0) {
        (void)snprintf(other, sizeof(other), "%s%s", directory, path + sizeof(self) - 1); /* fits */
        if (access(other, R_OK) == 0)
            path = other;
    }
    return call_on(path, mode);
}

static bool is_device(int fd)
{
    struct stat file;

    return fstat(fd, &file) == 0 && S_ISCHR(file.st_mode) &&
           file.st_rdev == makedev(FUSE_MAJOR, FUSE_MINOR);
}

/* The kernel's first request, as another kernel would make it. */
static void change_init(void *buffer)
{
    struct fuse_init_in *init =
        (struct fuse_init_in *)((char *)buffer + sizeof(struct fuse_in_header));

    if (fails("major"))
        init->major = number;
    if (fails("lacks")) {
        init->flags &= ~(uint32_t)(UINT64_C(1) << number);
        init->flags2 &= ~(uint32_t)(UINT64_C(1) << number >> 32);
    }
}

ssize_t read(int fd, void *buffer, size_t size)
{
    ssize_t (*const call_on)(int, void *, size_t) = (__typeof__(call_on))real("read");
    const struct fuse_in_header *header = buffer;

    if (!is_device(fd))
        return call_on(fd, buffer, size);
    if (fails("read"))
        return -1;
    const ssize_t count = call_on(fd, buffer, size);

    if (count >= (ssize_t)(sizeof(*header) + sizeof(struct fuse_init_in)) &&
        header->opcode == FUSE_INIT)
        change_init(buffer);
    return count;
}

ssize_t writev(int fd, const struct iovec *vector, int count)
{
    ssize_t (*const call_on)(int, const struct iovec *, int) = (__typeof__(call_on))real("writev");
    const struct fuse_out_header *header = vector[0].iov_base;

    if (is_device(fd) && header->unique == 0 && fails("notify"))
        return -1;
    return call_on(fd, vector, count);
}
