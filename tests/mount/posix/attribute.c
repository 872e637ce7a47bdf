/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Attributes: times, which call changes which, mode, owner, set-id bits, statx, statfs, flags. */
#include "posix.h"

#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

static void times_say(const char *path)
{
    struct stat status;

    if (lstat(path, &status) < 0) {
        say("times of %s = %s", path, errno_name(errno));
        return;
    }
    say("times of %s: %lld.%09ld %lld.%09ld", path, (long long)status.st_atim.tv_sec,
        status.st_atim.tv_nsec, (long long)status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
}

static int is_now(const struct timespec *stamp)
{
    time_t now = time(NULL);

    return stamp->tv_sec >= now - 60 && stamp->tv_sec <= now + 1;
}

static void times_set(void)
{
    static const struct {
        const char *name;
        struct timespec times[2];
    } settings[] = {
        {"ns", {{1234567890, 123456789}, {1300000000, 987654321}}},
        {"omit atime", {{1, UTIME_OMIT}, {1400000000, 1}}},
        {"omit mtime", {{1500000000, 999999999}, {1, UTIME_OMIT}}},
        {"omit both", {{1, UTIME_OMIT}, {1, UTIME_OMIT}}},
        {"zero", {{0, 0}, {0, 0}}},
        {"before 1970", {{-1, 5}, {-1000000000, 6}}},
        {"after 2038", {{4294967296LL, 7}, {6000000000LL, 8}}},
        {"too early", {{-99999999999LL, 0}, {-99999999999LL, 0}}},
        {"too late", {{99999999999LL, 0}, {99999999999LL, 0}}},
        {"ns too large", {{1, 1000000000}, {1, 0}}},
        {"ns negative", {{1, 0}, {1, -5}}},
    };
    struct stat status;
    int fd;

    file_make("file", 0644, "x");
    CALL(symlink("file", "link"));
    CALL(mkdir("dir", 0755));
    CALL(mkfifo("fifo", 0644));
    fd = OPEN(open("file", O_RDONLY));
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        say("%s", settings[i].name);
        CALL(utimensat(AT_FDCWD, "file", settings[i].times, 0));
        times_say("file");
        CALL(futimens(fd, settings[i].times));
        times_say("file");
        CALL(utimensat(AT_FDCWD, "link", settings[i].times, AT_SYMLINK_NOFOLLOW));
        times_say("link");
        CALL(utimensat(AT_FDCWD, "dir", settings[i].times, 0));
        times_say("dir");
        CALL(utimensat(AT_FDCWD, "fifo", settings[i].times, 0));
        times_say("fifo");
    }
    {
        const struct timespec mixed[2] = {{7, UTIME_NOW}, {7, UTIME_OMIT}};
        const struct timespec other[2] = {{1000, 5}, {7, UTIME_NOW}};

        CALL(utimensat(AT_FDCWD, "file", settings[0].times, 0));
        CALL(utimensat(AT_FDCWD, "file", mixed, 0));
        CALL(stat("file", &status));
        say("atime now %d, mtime %lld.%09ld", is_now(&status.st_atim),
            (long long)status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
        CALL(futimens(fd, other));
        CALL(stat("file", &status));
        say("atime %lld, mtime now %d", (long long)status.st_atim.tv_sec, is_now(&status.st_mtim));
        CALL(utimensat(AT_FDCWD, "file", NULL, 0));
        CALL(stat("file", &status));
        say("both now %d %d", is_now(&status.st_atim), is_now(&status.st_mtim));
    }
    CALL(utimensat(AT_FDCWD, "absent", NULL, 0));
    CALL(utimensat(AT_FDCWD, "file", NULL, 0x4000));
}

/* Which of the three times a call moves, from a past that is set before it. */
static struct stat before;

static void past_set(const char *path)
{
    const struct timespec past[2] = {{1000000000, 1}, {1100000000, 2}};

    utimensat(AT_FDCWD, path, past, AT_SYMLINK_NOFOLLOW);
    lstat(path, &before);
    clock_tick();
}

static void moved_say(const char *what, const char *path)
{
    struct stat now;

    if (lstat(path, &now) < 0) {
        say("%s: %s", what, errno_name(errno));
        return;
    }
    say("%s moves%s%s%s of %s", what, now.st_atim.tv_sec != before.st_atim.tv_sec ? " atime" : "",
        now.st_mtim.tv_sec != before.st_mtim.tv_sec ? " mtime" : "",
        (now.st_ctim.tv_sec != before.st_ctim.tv_sec ||
         now.st_ctim.tv_nsec != before.st_ctim.tv_nsec)
            ? " ctime"
            : "",
        path);
}

#define MOVES(path, expression)                                                                    \
    do {                                                                                           \
        past_set(path);                                                                            \
        CALL(expression);                                                                          \
        moved_say(#expression, path);                                                              \
    } while (0)

static void times_moved(void)
{
    char text[64] = "";
    int fd;

    file_make("file", 0644, "content");
    CALL(mkdir("dir", 0755));
    CALL(symlink("file", "link"));
    fd = OPEN(open("file", O_RDWR));
    MOVES("file", pread(fd, text, 4, 0));
    MOVES("file", pread(fd, text, 4, 100));
    MOVES("file", pwrite(fd, text, 4, 0));
    MOVES("file", pwrite(fd, text, 0, 0));
    MOVES("file", pwrite(fd, text, 4, 5000));
    MOVES("file", ftruncate(fd, 5004));
    MOVES("file", ftruncate(fd, 6000));
    MOVES("file", ftruncate(fd, 10));
    MOVES("file", truncate("file", 10));
    MOVES("file", truncate("file", 20));
    MOVES("file", chmod("file", 0600));
    MOVES("file", fchmod(fd, 0644));
    MOVES("file", chown("file", (uid_t)-1, (gid_t)-1));
    MOVES("file", chown("file", geteuid(), getegid()));
    MOVES("file", link("file", "hard"));
    MOVES("file", rename("hard", "harder"));
    MOVES("file", unlink("harder"));
    MOVES("file", close(open("file", O_RDONLY)));
    MOVES("file", close(open("file", O_WRONLY | O_TRUNC)));
    MOVES("file", close(open("file", O_WRONLY | O_TRUNC)));
    MOVES("file", fallocate(fd, 0, 0, 8192));
    MOVES("file", fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 16384));
    MOVES("file", fallocate(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, 0, 4096));
    MOVES("file", fsync(fd));
    MOVES("dir", close(open("dir/new", O_CREAT | O_RDWR, 0600)));
    MOVES("dir", close(open("dir/new", O_CREAT | O_RDWR, 0600)));
    MOVES("dir", rename("dir/new", "dir/newer"));
    MOVES("dir", link("dir/newer", "dir/link"));
    MOVES("dir", unlink("dir/link"));
    MOVES("dir", mkdir("dir/sub", 0700));
    MOVES("dir", rmdir("dir/sub"));
    MOVES("dir", symlink("x", "dir/sym"));
    MOVES("dir", mkfifo("dir/fifo", 0600));
    MOVES("dir", rename("dir/fifo", "fifo"));
    MOVES("dir", chmod("dir", 0700));
    MOVES("link", readlink("link", text, sizeof text));
    MOVES("dir/newer", rename("dir/newer", "dir/new"));
}

/* chmod of set-id bits, and who clears them: on chown, write, truncate and fallocate. */
static void setid_try(const char *what, mode_t mode, uid_t owner, gid_t group, int action)
{
    struct stat status;
    int fd;

    unlink("file");
    file_make("file", 0644, "content");
    if (is_root() && chown("file", owner, group) < 0)
        say("chown = %s", errno_name(errno));
    if (chmod("file", mode) < 0)
        say("chmod = %s", errno_name(errno));
    fd = open("file", O_RDWR);
    switch (action) {
    case 0:
        if (pwrite(fd, "x", 1, 0) < 0)
            say("write = %s", errno_name(errno));
        break;
    case 1:
        if (ftruncate(fd, 3) < 0)
            say("ftruncate = %s", errno_name(errno));
        break;
    case 2:
        if (truncate("file", 3) < 0)
            say("truncate = %s", errno_name(errno));
        break;
    case 3:
        close(open("file", O_WRONLY | O_TRUNC));
        break;
    case 4:
        if (fallocate(fd, 0, 0, 8192) < 0)
            say("fallocate = %s", errno_name(errno));
        break;
    case 5:
        if (chown("file", geteuid(), (gid_t)-1) < 0)
            say("chown = %s", errno_name(errno));
        break;
    case 6:
        if (chown("file", (uid_t)-1, 1001) < 0)
            say("chgrp = %s", errno_name(errno));
        break;
    case 7:
        if (chown("file", (uid_t)-1, (gid_t)-1) < 0)
            say("chown of nothing = %s", errno_name(errno));
        break;
    case 8:
        if (chmod("file", mode) < 0)
            say("chmod = %s", errno_name(errno));
        break;
    case 9:
        close(open("file", O_CREAT | O_RDWR | O_TRUNC, 0600));
        break;
    default:
        if (utimensat(AT_FDCWD, "file", NULL, 0) < 0)
            say("utimensat = %s", errno_name(errno));
        break;
    }
    if (stat("file", &status) == 0)
        say("%s after %d of mode %04o: %04o", what, action, mode, status.st_mode & 07777U);
    fstat_print(fd);
    close(fd);
}

static void setid_bits(void)
{
    static const mode_t modes[] = {04755, 02755, 06777, 02745, 04666, 02666, 01777, 07777};

    for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
        for (int action = 0; action <= 10; action++)
            setid_try("own file", modes[m], geteuid(), getegid(), action);
    }
}

static mode_t foreign_mode;
static int foreign_action;

static void foreign_write(void)
{
    int fd = open("foreign", O_WRONLY | (foreign_action == 3 ? O_TRUNC : 0));

    if (fd < 0) {
        say("open = %s", errno_name(errno));
        return;
    }
    if (foreign_action == 0 && pwrite(fd, "x", 1, 0) < 0)
        say("write = %s", errno_name(errno));
    if (foreign_action == 1 && ftruncate(fd, 3) < 0)
        say("ftruncate = %s", errno_name(errno));
    if (foreign_action == 2 && truncate("foreign", 3) < 0)
        say("truncate = %s", errno_name(errno));
    if (foreign_action == 4 && fallocate(fd, 0, 0, 8192) < 0)
        say("fallocate = %s", errno_name(errno));
    if (foreign_action == 5 && fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 3) < 0)
        say("punch = %s", errno_name(errno));
    close(fd);
}

/* Root's file with set-id bits, written by an ordinary user: the bits must go. */
static void setid_foreign(void)
{
    static const mode_t modes[] = {04777, 02777, 06777, 02767, 04666, 02666, 07777};

    if (!is_root())
        return;
    for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
        for (foreign_action = 0; foreign_action <= 5; foreign_action++) {
            foreign_mode = modes[m];
            unlink("foreign");
            file_make("foreign", foreign_mode, "content");
            say("mode %04o action %d", foreign_mode, foreign_action);
            as_user(foreign_write);
            stat_print("foreign");
        }
    }
}

static void mode_changes(void)
{
    static const mode_t modes[] = {0, 0777, 01777, 02777, 04777, 07777, 0444, 0170644};

    file_make("file", 0644, "x");
    CALL(mkdir("dir", 0755));
    for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
        say("mode %o", modes[m]);
        CALL(chmod("file", modes[m]));
        stat_print("file");
        CALL(chmod("dir", modes[m] | 0700));
        stat_print("dir");
    }
    CALL(chmod("absent", 0600));
    CALL(chmod("file/x", 0600));
    if (is_root())
        CALL(chown("file", 1000, 1001));
    CALL(chmod("file", 02755));
    stat_print("file");
    CALL(chown("file", geteuid(), 1002));
    CALL(chmod("file", 02755));
    stat_print("file");
    CALL(chown("file", geteuid(), 1003));
    CALL(chmod("file", 02755));
    stat_print("file");
    CALL(chown("file", 1, 1));
    CALL(chown("absent", 1, 1));
    CALL(symlink("file", "link"));
    CALL(lchown("link", geteuid(), 1001));
    CALL(lchown("link", 5, 5));
    stat_print("link");
    stat_print("file");
    CALL(chown("file", (uid_t)-1, (gid_t)-1));
}

static void statx_fields(void)
{
    struct statx fields;
    struct stat directory;
    const unsigned asked = STATX_BASIC_STATS;
    int fd;

    file_make("file", 0644, "content");
    fd = OPEN(open("file", O_RDWR));
    file_fill(fd, 0, 40000, 1);
    CALL(fsync(fd));
    CALL(link("file", "link"));
    CALL(statx(AT_FDCWD, "file", AT_STATX_SYNC_AS_STAT, asked, &fields));
    say("mask %x nlink %u uid %u gid %u mode %o size %llu blocks %llu blksize %u",
        fields.stx_mask & asked, fields.stx_nlink, fields.stx_uid, fields.stx_gid, fields.stx_mode,
        (unsigned long long)fields.stx_size, (unsigned long long)fields.stx_blocks,
        fields.stx_blksize);
    CALL(statx(AT_FDCWD, "file", AT_STATX_FORCE_SYNC, asked, &fields));
    CALL(statx(AT_FDCWD, "file", AT_STATX_DONT_SYNC, asked, &fields));
    say("size %llu", (unsigned long long)fields.stx_size);
    CALL(statx(fd, "", AT_EMPTY_PATH, STATX_SIZE, &fields));
    CALL(statx(AT_FDCWD, "file", 0x6000, asked, &fields));
    CALL(stat(".", &directory));
    say("same device as the directory %d", fields.stx_dev_minor == minor(directory.st_dev) &&
                                               fields.stx_dev_major == major(directory.st_dev));
    for (int i = 0; i < 5; i++) {
        char name[16];

        snprintf(name, sizeof name, "d%d", i);
        mkdir(name, 0755);
    }
    stat_print(".");
}

static void birth_time(void)
{
    struct statx fields;

    file_make("file", 0644, "content");
    CALL(statx(AT_FDCWD, "file", 0, STATX_BTIME, &fields));
    say("birth time given %d", !!(fields.stx_mask & STATX_BTIME));
}

static void statfs_fields(void)
{
    struct statvfs fields;
    int fd;

    file_make("file", 0644, "content");
    fd = OPEN(open("file", O_RDONLY));
    CALL(statvfs(".", &fields));
    say("bsize %lu frsize %lu namemax %lu blocks %llu files %llu", fields.f_bsize, fields.f_frsize,
        fields.f_namemax, (unsigned long long)fields.f_blocks, (unsigned long long)fields.f_files);
    CALL(fstatvfs(fd, &fields));
    say("free %d avail %d", fields.f_bfree > 0, fields.f_bavail > 0);
}

/* Inode numbers: the same by each way, another one for another file. */
static void inode_numbers(void)
{
    struct stat path, handle, moved, other;
    int fd;

    file_make("one", 0600, "x");
    file_make("two", 0600, "x");
    fd = OPEN(open("one", O_RDONLY));
    CALL(stat("one", &path));
    CALL(fstat(fd, &handle));
    CALL(rename("one", "moved"));
    CALL(stat("moved", &moved));
    CALL(stat("two", &other));
    say("path and handle %d, after rename %d, other %d", path.st_ino == handle.st_ino,
        path.st_ino == moved.st_ino, path.st_ino != other.st_ino);
}

static void inode_flags(void)
{
    int flags = 0;
    int fd;

    file_make("file", 0644, "content");
    fd = OPEN(open("file", O_RDWR));
    CALL(ioctl(fd, FS_IOC_GETFLAGS, &flags));
    say("immutable %d append %d", !!(flags & FS_IMMUTABLE_FL), !!(flags & FS_APPEND_FL));
    flags |= FS_NODUMP_FL;
    CALL(ioctl(fd, FS_IOC_SETFLAGS, &flags));
    flags = 0;
    CALL(ioctl(fd, FS_IOC_GETFLAGS, &flags));
    say("nodump %d", !!(flags & FS_NODUMP_FL));
}

static void ioctl_unknown(void)
{
    int value = 0;
    int fd;

    file_make("file", 0644, "content");
    fd = OPEN(open("file", O_RDWR));
    CALL(ioctl(fd, TCGETS, &value));
    CALL(ioctl(fd, 0x12345678, &value));
    CALL(ioctl(fd, FIONREAD, &value));
    say("%d to read", value);
    CALL(ioctl(fd, FICLONE, fd));
}

const struct test_case attribute_cases[] = {
    {"times_set", times_set},         {"times_moved", times_moved},
    {"setid_bits", setid_bits},       {"setid_foreign", setid_foreign},
    {"mode_changes", mode_changes},   {"statx_fields", statx_fields},
    {"birth_time", birth_time},       {"statfs_fields", statfs_fields},
    {"inode_numbers", inode_numbers}, {"inode_flags", inode_flags},
    {"ioctl_unknown", ioctl_unknown}, {NULL, NULL},
};
