/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * posix DIRECTORY [CASE]...: runs the cases, each in a process and an empty directory of its own,
 * and prints what every call answered. posix --list names them.
 */
#include "posix.h"

#include <grp.h>
#include <stdarg.h>
#include <sys/wait.h>

enum { CASE_DEADLINE_S = 60 };

static const char *current = "";

static const struct test_case *const groups[] = {
    open_cases,  name_cases, attribute_cases, permission_cases, acl_cases,
    xattr_cases, data_cases, sparse_cases,    directory_cases,  concurrency_cases,
};

const char *errno_name(int error)
{
    const char *name = strerrorname_np(error);

    return name ? name : "E?";
}

void say(const char *format, ...)
{
    va_list arguments;

    printf("%s: ", current);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    fflush(stdout);
}

long long call_print(const char *text, long long value)
{
    int error = errno;

    if (value == -1)
        say("%s = %s", text, errno_name(error));
    else
        say("%s = %lld", text, value);
    errno = error;
    return value;
}

int open_print(const char *text, int fd)
{
    int error = errno;

    say("%s = %s", text, fd < 0 ? errno_name(error) : "open");
    errno = error;
    return fd;
}

static char type_letter(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
        return '-';
    case S_IFDIR:
        return 'd';
    case S_IFLNK:
        return 'l';
    case S_IFIFO:
        return 'p';
    case S_IFSOCK:
        return 's';
    case S_IFCHR:
        return 'c';
    case S_IFBLK:
        return 'b';
    default:
        return '?';
    }
}

void stat_say(const char *label, const struct stat *status)
{
    say("%s: %c %04o %u:%u links %u size %lld device %x", label, type_letter(status->st_mode),
        status->st_mode & 07777U, status->st_uid, status->st_gid, (unsigned)status->st_nlink,
        S_ISDIR(status->st_mode) ? 0LL : (long long)status->st_size, (unsigned)status->st_rdev);
}

void stat_print(const char *path)
{
    struct stat status;

    if (lstat(path, &status) < 0)
        say("lstat %s = %s", path, errno_name(errno));
    else
        stat_say(path, &status);
}

void fstat_print(int fd)
{
    struct stat status;

    if (fstat(fd, &status) < 0)
        say("fstat = %s", errno_name(errno));
    else
        stat_say("fstat", &status);
}

void file_make(const char *path, mode_t mode, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    if (fd < 0) {
        say("make %s = %s", path, errno_name(errno));
        return;
    }
    if (write(fd, text, strlen(text)) < 0 || fchmod(fd, mode) < 0)
        say("make %s: %s", path, errno_name(errno));
    close(fd);
}

void file_fill(int fd, off_t offset, size_t length, unsigned seed)
{
    unsigned char block[4096];
    size_t done = 0;

    while (done < length) {
        size_t piece = length - done < sizeof block ? length - done : sizeof block;
        ssize_t written;

        for (size_t i = 0; i < piece; i++)
            block[i] = (unsigned char)((done + i) * 31 + seed * 17 + ((done + i) >> 8));
        written = pwrite(fd, block, piece, offset + (off_t)done);
        if (written <= 0) {
            say("fill at %lld = %s", (long long)offset + (long long)done, errno_name(errno));
            return;
        }
        done += (size_t)written;
    }
}

unsigned long long content_digest(int fd)
{
    unsigned long long digest = 0xcbf29ce484222325ULL; /* FNV-1a */
    unsigned char block[65536];
    off_t offset = 0;
    ssize_t got;

    while ((got = pread(fd, block, sizeof block, offset)) > 0) {
        for (ssize_t i = 0; i < got; i++)
            digest = (digest ^ block[i]) * 0x100000001b3ULL;
        offset += got;
    }
    return got < 0 ? (unsigned long long)errno : digest;
}

void file_print(const char *path)
{
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW);
    struct stat status;

    if (fd < 0 || fstat(fd, &status) < 0)
        say("read %s = %s", path, errno_name(errno));
    else
        say("content of %s: %lld bytes, %016llx", path, (long long)status.st_size,
            content_digest(fd));
    if (fd >= 0)
        close(fd);
}

int is_root(void)
{
    return geteuid() == 0;
}

static void wait_for(pid_t pid)
{
    int status;

    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (status != 0)
        say("child: status %x", (unsigned)status);
}

static void child_run(void (*function)(void), uid_t uid, gid_t gid, size_t count,
                      const gid_t *supplementary)
{
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (pid < 0) {
        say("fork = %s", errno_name(errno));
        return;
    }
    if (pid == 0) {
        if (count && (setgroups(count, supplementary) < 0 || setresgid(gid, gid, gid) < 0 ||
                      setresuid(uid, uid, uid) < 0)) {
            say("become %u = %s", uid, errno_name(errno));
            _exit(1);
        }
        function();
        fflush(stdout);
        _exit(0);
    }
    wait_for(pid);
}

void in_child(void (*function)(void))
{
    child_run(function, 0, 0, 0, NULL);
}

void as_user(void (*function)(void))
{
    static const gid_t supplementary[] = {1000, 1001, 1002};

    if (is_root())
        child_run(function, 1000, 1000, 3, supplementary);
    else
        in_child(function);
}

void as_stranger(void (*function)(void))
{
    static const gid_t supplementary[] = {1003};

    if (is_root())
        child_run(function, 1003, 1003, 1, supplementary);
}

void clock_tick(void)
{
    struct timespec first, now;
    const struct timespec pause = {.tv_nsec = 1000000};

    clock_gettime(CLOCK_REALTIME_COARSE, &first);
    do {
        nanosleep(&pause, NULL);
        clock_gettime(CLOCK_REALTIME_COARSE, &now);
    } while (now.tv_sec == first.tv_sec && now.tv_nsec == first.tv_nsec);
}

static int case_wanted(const char *name, int argc, char **argv)
{
    if (argc <= 2)
        return 1;
    for (int i = 2; i < argc; i++) {
        if (!strcmp(argv[i], name))
            return 1;
    }
    return 0;
}

static void case_run(const struct test_case *test)
{
    int status = 0;
    pid_t pid;

    current = test->name;
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        alarm(CASE_DEADLINE_S);
        umask(022);
        if (mkdir(test->name, 0777) < 0 || chmod(test->name, 0777) < 0 || chdir(test->name) < 0) {
            say("directory of the case: %s", errno_name(errno));
            _exit(1);
        }
        test->run();
        fflush(stdout);
        _exit(0);
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (status)
        say("the case ended with status %x", (unsigned)status);
}

int main(int argc, char **argv)
{
    int list = argc == 2 && !strcmp(argv[1], "--list");

    if (argc < 2 || (!list && chdir(argv[1]) < 0)) {
        fprintf(stderr, "usage: posix DIRECTORY [CASE]... | --list\n");
        return 2;
    }
    for (size_t group = 0; group < sizeof groups / sizeof *groups; group++) {
        for (const struct test_case *test = groups[group]; test->name; test++) {
            if (list)
                puts(test->name);
            else if (case_wanted(test->name, argc, argv))
                case_run(test);
        }
    }
    return 0;
}
