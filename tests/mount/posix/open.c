/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opening: every flag on every kind of file, unnamed files, path descriptors, unlinked open files.
 */
#include "posix.h"

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

static void kinds_make(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "socket"};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    file_make("file", 0644, "content");
    CALL(mkdir("dir", 0755));
    CALL(symlink("file", "link"));
    CALL(symlink("nowhere", "dangling"));
    CALL(symlink("loop", "loop"));
    CALL(symlink("dir", "dirlink"));
    CALL(mkfifo("fifo", 0644));
    CALL(bind(fd, (struct sockaddr *)&address, sizeof address));
    close(fd);
}

static void open_flags(void)
{
    static const char *const names[] = {"file",    "dir",     "link",   "dangling", "loop",
                                        "dirlink", "fifo",    "socket", "absent",   "file/",
                                        "dir/",    "absent/", "file/x"};
    static const struct {
        const char *name;
        int flags;
    } flags[] = {
        {"RDONLY", O_RDONLY},
        {"WRONLY", O_WRONLY},
        {"RDWR", O_RDWR},
        {"NOFOLLOW", O_RDONLY | O_NOFOLLOW},
        {"DIRECTORY", O_RDONLY | O_DIRECTORY},
        {"DIRECTORY NOFOLLOW", O_RDONLY | O_DIRECTORY | O_NOFOLLOW},
        {"PATH", O_PATH},
        {"PATH NOFOLLOW", O_PATH | O_NOFOLLOW},
        {"APPEND", O_WRONLY | O_APPEND},
        {"TRUNC rdonly", O_RDONLY | O_TRUNC},
        {"TRUNC", O_RDWR | O_TRUNC},
        {"SYNC", O_RDWR | O_SYNC},
        {"DSYNC", O_RDWR | O_DSYNC},
        {"DIRECT", O_RDWR | O_DIRECT},
        {"NOATIME", O_RDONLY | O_NOATIME},
        {"CREAT EXCL", O_RDWR | O_CREAT | O_EXCL},
        {"CREAT EXCL NOFOLLOW", O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW},
        {"CREAT DIRECTORY", O_RDWR | O_CREAT | O_DIRECTORY},
        {"EXCL alone", O_RDWR | O_EXCL},
        {"access mode 3", 3},
        {"CREAT", O_RDWR | O_CREAT},
        {"CREAT TRUNC", O_RDWR | O_CREAT | O_TRUNC},
        {"CREAT rdonly", O_RDONLY | O_CREAT},
        {"TMPFILE", O_RDWR | O_TMPFILE},
        {"TMPFILE rdonly", O_RDONLY | O_TMPFILE},
        {"TMPFILE EXCL", O_WRONLY | O_TMPFILE | O_EXCL},
    };

    kinds_make();
    for (size_t f = 0; f < sizeof flags / sizeof *flags; f++) {
        for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
            int fd = open(names[n], flags[f].flags | O_NONBLOCK | O_CLOEXEC, 0640);

            say("open %s %s = %s", names[n], flags[f].name, fd < 0 ? errno_name(errno) : "open");
            if (fd >= 0) {
                struct stat status;

                say("  fl %o", (unsigned)fcntl(fd, F_GETFL) & ~(unsigned)O_NONBLOCK);
                if (fstat(fd, &status) == 0)
                    stat_say("  fstat", &status);
                close(fd);
            }
            unlink("nowhere");
            if (strncmp(names[n], "file", 4) == 0)
                file_make("file", 0644, "content");
            if (strncmp(names[n], "absent", 6) == 0)
                unlink("absent");
        }
    }
}

static void open_tmpfile(void)
{
    char path[64];
    char text[16] = "";
    int fd = OPEN(open(".", O_TMPFILE | O_RDWR, 0666));
    int excl = OPEN(open(".", O_TMPFILE | O_RDWR | O_EXCL, 0600));

    fstat_print(fd);
    CALL(write(fd, "unnamed", 7));
    CALL(fchmod(fd, 0751));
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    CALL(linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
    CALL(linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
    CALL(linkat(fd, "", AT_FDCWD, "named-by-fd", AT_EMPTY_PATH));
    fstat_print(fd);
    stat_print("named");
    CALL(pwrite(fd, "UN", 2, 0));
    file_print("named");
    snprintf(path, sizeof path, "/proc/self/fd/%d", excl);
    CALL(linkat(AT_FDCWD, path, AT_FDCWD, "excluded", AT_SYMLINK_FOLLOW));
    CALL(pread(fd, text, sizeof text, 0));
    say("text %s", text);
    OPEN(open("absent", O_TMPFILE | O_RDWR, 0600));
    OPEN(open("named", O_TMPFILE | O_RDWR, 0600));
    umask(077);
    fd = OPEN(open(".", O_TMPFILE | O_RDWR, 0666));
    fstat_print(fd);
}

static void open_path(void)
{
    char text[8];
    struct stat status;
    int fd, dir, link;

    file_make("file", 0644, "content");
    CALL(mkdir("dir", 0755));
    CALL(symlink("file", "link"));
    fd = OPEN(open("file", O_PATH));
    dir = OPEN(open("dir", O_PATH | O_DIRECTORY));
    link = OPEN(open("link", O_PATH | O_NOFOLLOW));
    CALL(read(fd, text, sizeof text));
    CALL(write(fd, text, 1));
    CALL(fchmod(fd, 0600));
    CALL(fchown(fd, geteuid(), getegid()));
    CALL(ftruncate(fd, 0));
    CALL(fsync(fd));
    CALL(lseek(fd, 0, SEEK_END));
    CALL(fchmodat(fd, "", 0600, 0));
    fstat_print(fd);
    CALL(fstat(link, &status));
    stat_say("link", &status);
    CALL(readlinkat(link, "", text, sizeof text));
    OPEN(openat(dir, "new", O_CREAT | O_WRONLY, 0600));
    CALL(unlinkat(dir, "new", 0));
    CALL(linkat(fd, "", AT_FDCWD, "second", AT_EMPTY_PATH));
    stat_print("file");
    OPEN(openat(fd, "x", O_RDONLY));
    OPEN(openat(fd, "", O_RDONLY));
}

static void open_unlinked(void)
{
    char text[16] = "";
    const struct timespec times[2] = {{.tv_sec = 1000, .tv_nsec = 5},
                                      {.tv_sec = 2000, .tv_nsec = 7}};
    struct stat status;
    struct stat again;
    int fd = OPEN(open("file", O_RDWR | O_CREAT, 0644));
    int second = OPEN(open("file", O_RDONLY));
    char path[64];

    CALL(write(fd, "content", 7));
    CALL(unlink("file"));
    fstat_print(fd);
    CALL(write(fd, "more", 4));
    CALL(pread(second, text, sizeof text, 0));
    say("text %s", text);
    CALL(fchmod(fd, 0600));
    CALL(fchmod(second, 0640));
    CALL(ftruncate(fd, 5));
    CALL(ftruncate(second, 5));
    CALL(futimens(fd, times));
    CALL(fchown(fd, (uid_t)-1, (gid_t)-1));
    CALL(fsync(fd));
    fstat_print(second);
    CALL(fstat(fd, &status));
    say("times %lld.%09ld %lld.%09ld", (long long)status.st_atim.tv_sec, status.st_atim.tv_nsec,
        (long long)status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    CALL(chmod(path, 0604));
    CALL(truncate(path, 3));
    CALL(stat(path, &again));
    stat_say("through /proc", &again);
    say("same inode %d", again.st_ino == status.st_ino);
    OPEN(open(path, O_RDONLY));
    CALL(linkat(AT_FDCWD, path, AT_FDCWD, "revived", AT_SYMLINK_FOLLOW));
    file_make("file", 0644, "another");
    CALL(pread(second, text, sizeof text, 0));
    stat_print("file");
    CALL(mkdir("dir", 0755));
    fd = OPEN(open("dir", O_RDONLY | O_DIRECTORY));
    CALL(rmdir("dir"));
    fstat_print(fd);
    OPEN(openat(fd, "x", O_CREAT | O_RDWR, 0600));
    CALL(mkdirat(fd, "x", 0700));
    CALL(fchmod(fd, 0700));
    CALL(fstat(fd, &status));
    say("mode %o", status.st_mode);
}

/* A file renamed over while open: the descriptor keeps the old one. */
static void open_replaced(void)
{
    char text[16] = "";
    int fd;

    file_make("file", 0644, "old");
    file_make("new", 0644, "newer");
    fd = OPEN(open("file", O_RDWR));
    CALL(rename("new", "file"));
    fstat_print(fd);
    CALL(pread(fd, text, sizeof text, 0));
    say("text %s", text);
    CALL(ftruncate(fd, 100));
    CALL(fchmod(fd, 0600));
    fstat_print(fd);
    stat_print("file");
    file_print("file");
}

static void open_many(void)
{
    enum { MANY = 1500 };
    static int fds[MANY];
    struct rlimit limit = {.rlim_cur = MANY + 64, .rlim_max = MANY + 64};
    char name[32];
    int open_count = 0;
    int right = 0;

    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_max < MANY + 64) {
        say("the limit of descriptors is too low");
        return;
    }
    limit.rlim_cur = MANY + 64;
    CALL(setrlimit(RLIMIT_NOFILE, &limit));
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "f%d", i);
        fds[i] = open(name, O_RDWR | O_CREAT, 0600);
        if (fds[i] >= 0 && pwrite(fds[i], &i, sizeof i, 0) == (ssize_t)sizeof i)
            open_count++;
    }
    say("%d open", open_count);
    for (int i = 0; i < MANY; i++) {
        int value = -1;

        if (pread(fds[i], &value, sizeof value, 0) == (ssize_t)sizeof value && value == i)
            right++;
    }
    say("%d right", right);
}

static void open_create_modes(void)
{
    static const mode_t masks[] = {0, 022, 027, 077, 0777};
    static const mode_t modes[] = {0, 0400, 0644, 0666, 0777, 04755, 02755, 01777, 06777};
    char name[32];

    for (size_t u = 0; u < sizeof masks / sizeof *masks; u++) {
        for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
            umask(masks[u]);
            snprintf(name, sizeof name, "f%03o-%04o", masks[u], modes[m]);
            close(open(name, O_CREAT | O_RDWR | O_EXCL, modes[m]));
            stat_print(name);
            name[0] = 'd';
            mkdir(name, modes[m]);
            stat_print(name);
            name[0] = 'p';
            mkfifo(name, modes[m]);
            stat_print(name);
            name[0] = 'n';
            mknod(name, S_IFREG | modes[m], 0);
            stat_print(name);
        }
    }
}

/* A file created without any right is open for what the creator asked. */
static void open_create_denied(void)
{
    char text[8] = "";
    int fd = OPEN(open("none", O_RDWR | O_CREAT | O_EXCL, 0));

    CALL(write(fd, "right", 5));
    CALL(pread(fd, text, 5, 0));
    CALL(ftruncate(fd, 2));
    CALL(fsync(fd));
    say("text %s", text);
    fstat_print(fd);
    fd = OPEN(open("readonly", O_WRONLY | O_CREAT | O_EXCL, 0444));
    CALL(write(fd, "right", 5));
    close(fd);
    file_print("readonly");
    OPEN(open("readonly", O_WRONLY));
    OPEN(open("readonly", O_RDONLY | O_TRUNC));
    OPEN(open("none", O_RDONLY));
}

const struct test_case open_cases[] = {
    {"open_flags", open_flags},
    {"open_tmpfile", open_tmpfile},
    {"open_path", open_path},
    {"open_unlinked", open_unlinked},
    {"open_replaced", open_replaced},
    {"open_many", open_many},
    {"open_create_modes", open_create_modes},
    {"open_create_denied", open_create_denied},
    {NULL, NULL},
};
