/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names: rename with its flags, links, symbolic links, special files, long names and paths. */
#include "posix.h"

#include <limits.h>
#include <stdint.h>
#include <sys/sysmacros.h>

#ifndef RENAME_WHITEOUT
#define RENAME_WHITEOUT (1 << 2)
#endif

enum { LONGEST_NAME = 255, LONGEST_PATH = 4095 };

static void rename_pairs(void)
{
    static const char *const names[] = {"file", "file2", "empty", "full", "link", "absent"};
    static const unsigned flags[] = {0, RENAME_NOREPLACE, RENAME_EXCHANGE,
                                     RENAME_NOREPLACE | RENAME_EXCHANGE, 0x100};

    for (size_t f = 0; f < sizeof flags / sizeof *flags; f++) {
        for (size_t a = 0; a < 6; a++) {
            for (size_t b = 0; b < 6; b++) {
                int result;

                file_make("file", 0644, "one");
                file_make("file2", 0600, "two");
                mkdir("empty", 0755);
                mkdir("full", 0700);
                file_make("full/x", 0644, "x");
                symlink("file", "link");
                result = renameat2(AT_FDCWD, names[a], AT_FDCWD, names[b], flags[f]);
                say("rename %s %s flags %x = %s", names[a], names[b], flags[f],
                    result ? errno_name(errno) : "0");
                for (size_t i = 0; i < 6; i++) {
                    struct stat status;

                    if (lstat(names[i], &status) == 0)
                        stat_say(names[i], &status);
                    unlink(names[i]);
                    {
                        char inner[32];

                        snprintf(inner, sizeof inner, "%s/x", names[i]);
                        unlink(inner);
                    }
                    rmdir(names[i]);
                }
            }
        }
    }
}

static void rename_errors(void)
{
    CALL(mkdir("a", 0755));
    CALL(mkdir("a/b", 0755));
    CALL(mkdir("a/b/c", 0755));
    file_make("file", 0644, "x");
    CALL(rename("a", "a/b/c/d"));
    CALL(rename("a", "a/b"));
    CALL(rename("a/b", "a"));
    CALL(rename("a", "a"));
    CALL(rename("file", "file"));
    CALL(rename("file", "file/"));
    CALL(rename("file", "absent/"));
    CALL(rename("file/", "other"));
    CALL(rename("a", "moved/"));
    CALL(rename("moved", "a"));
    CALL(rename("a/.", "z"));
    CALL(rename("a/..", "z"));
    CALL(rename("a", "."));
    CALL(rename("file", ""));
    CALL(rename("", "file"));
    CALL(rename("absent/x", "y"));
    CALL(rename("file", "absent/x"));
    CALL(rename("file/x", "y"));
    CALL(link("file", "hard"));
    CALL(rename("file", "hard"));
    stat_print("file");
    stat_print("hard");
    CALL(renameat2(AT_FDCWD, "file", AT_FDCWD, "hard", RENAME_EXCHANGE));
    CALL(renameat2(AT_FDCWD, "file", AT_FDCWD, "hard", RENAME_NOREPLACE));
    CALL(rename("file", "/proc/x"));
    CALL(link("file", "/proc/x"));
    CALL(link("/proc/self/stat", "proc"));
}

static void rename_whiteout(void)
{
    file_make("file", 0644, "x");
    CALL(renameat2(AT_FDCWD, "file", AT_FDCWD, "moved", RENAME_WHITEOUT));
    stat_print("file");
    stat_print("moved");
}

static void links(void)
{
    struct stat one, two;
    int fd;

    file_make("one", 0644, "content");
    CALL(link("one", "two"));
    CALL(link("one", "two"));
    CALL(link("absent", "three"));
    CALL(link("one", "absent/three"));
    CALL(mkdir("dir", 0755));
    CALL(link("dir", "dirlink"));
    CALL(link("one", "dir/three"));
    stat_print("one");
    CALL(chmod("two", 0600));
    stat_print("one");
    stat_print("dir/three");
    CALL(truncate("two", 3));
    stat_print("one");
    fd = OPEN(open("dir/three", O_WRONLY | O_APPEND));
    CALL(write(fd, "more", 4));
    stat_print("two");
    file_print("one");
    CALL(stat("one", &one));
    CALL(stat("two", &two));
    say("same inode %d", one.st_ino == two.st_ino && one.st_dev == two.st_dev);
    CALL(unlink("one"));
    fstat_print(fd);
    stat_print("two");
    CALL(rename("two", "dir/three"));
    CALL(unlink("two"));
    fstat_print(fd);
    CALL(unlink("dir/three"));
    fstat_print(fd);
    CALL(symlink("absent", "sym"));
    CALL(link("sym", "symtoo"));
    CALL(linkat(AT_FDCWD, "sym", AT_FDCWD, "followed", AT_SYMLINK_FOLLOW));
    stat_print("symtoo");
}

static void symlinks(void)
{
    static char target[PATH_MAX + 16];
    static char text[PATH_MAX + 16];
    static const size_t lengths[] = {1, 59, 60, 61, 255, 1023, 3000, 4094, 4095, 4096};

    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        char name[32];
        ssize_t got;

        memset(target, 'a' + (int)i, lengths[i]);
        target[lengths[i]] = 0;
        snprintf(name, sizeof name, "l%zu", lengths[i]);
        say("length %zu", lengths[i]);
        CALL(symlink(target, name));
        stat_print(name);
        memset(text, 0, sizeof text);
        got = readlink(name, text, sizeof text);
        say("readlink %zd same %d", got, got > 0 && !strcmp(target, text));
        say("readlink into 10: %zd", readlink(name, text, 10));
    }
    CALL(symlink("", "empty"));
    CALL(symlink("x", "l1"));
    CALL(symlink("../symlinks/l1", "relative"));
    CALL(readlink(".", text, 10));
    file_make("file", 0644, "");
    CALL(readlink("file", text, 10));
    CALL(mkdir("a", 0755));
    CALL(symlink("b", "a/b"));
    CALL(symlink("../file", "a/up"));
    OPEN(open("a/up", O_RDONLY));
    OPEN(open("a/b/c", O_RDONLY));
    CALL(symlink("/", "root"));
    OPEN(open("root/dev/null", O_RDONLY));
    for (int i = 0; i < 45; i++) {
        char from[16], to[16];

        snprintf(from, sizeof from, "chain%d", i + 1);
        snprintf(to, sizeof to, "chain%d", i);
        if (i == 0)
            symlink("file", to);
        symlink(to, from);
    }
    OPEN(open("chain39", O_RDONLY));
    OPEN(open("chain40", O_RDONLY));
    OPEN(open("chain45", O_RDONLY));
    CALL(chmod("chain45", 0600));
    CALL(lchown("l255", (uid_t)-1, (gid_t)-1));
    CALL(fchmodat(AT_FDCWD, "l255", 0600, AT_SYMLINK_NOFOLLOW));
}

static void special_files(void)
{
    CALL(mknod("regular", S_IFREG | 0640, 0));
    CALL(mknod("zero", 0640, 0));
    CALL(mknod("fifo", S_IFIFO | 0640, 0));
    CALL(mknod("socket", S_IFSOCK | 0640, 0));
    CALL(mknod("char", S_IFCHR | 0640, makedev(1, 3)));
    CALL(mknod("block", S_IFBLK | 0640, makedev(7, 200)));
    CALL(mknod("bigdev", S_IFCHR | 0600, makedev(300, 70000)));
    CALL(mknod("whiteout", S_IFCHR | 0600, makedev(0, 0)));
    CALL(mknod("dir", S_IFDIR | 0640, 0));
    CALL(mknod("link", S_IFLNK | 0640, 0));
    CALL(mknod("fifo", S_IFIFO | 0640, 0));
    CALL(mknod("absent/x", S_IFIFO | 0640, 0));
    stat_print("regular");
    stat_print("zero");
    stat_print("fifo");
    stat_print("socket");
    stat_print("char");
    stat_print("block");
    stat_print("bigdev");
    stat_print("whiteout");
    OPEN(open("fifo", O_WRONLY | O_NONBLOCK));
    OPEN(open("socket", O_RDONLY));
    CALL(truncate("fifo", 0));
    CALL(chmod("fifo", 0600));
    CALL(rename("fifo", "regular"));
    CALL(unlink("socket"));
    stat_print("regular");
}

static void fifo_talks(void)
{
    char text[8] = "";
    int reader, writer;

    CALL(mkfifo("fifo", 0600));
    reader = OPEN(open("fifo", O_RDONLY | O_NONBLOCK));
    writer = OPEN(open("fifo", O_WRONLY));
    CALL(write(writer, "through", 7));
    CALL(read(reader, text, sizeof text));
    say("text %s", text);
    CALL(unlink("fifo"));
    CALL(write(writer, "again", 5));
    CALL(read(reader, text, sizeof text));
}

static void name_length(void)
{
    static const size_t lengths[] = {1, 254, LONGEST_NAME, LONGEST_NAME + 1, 300, 1000, 5000};
    static char name[8192];

    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        memset(name, 'n', lengths[i]);
        name[lengths[i]] = 0;
        say("length %zu", lengths[i]);
        OPEN(open(name, O_CREAT | O_RDWR, 0600));
        CALL(access(name, F_OK));
        CALL(rename(name, "short"));
        CALL(rename("short", name));
        CALL(unlink(name));
        CALL(mkdir(name, 0700));
        CALL(rmdir(name));
        CALL(symlink("x", name));
        CALL(unlink(name));
        CALL(mkfifo(name, 0600));
        CALL(link(name, "linked"));
        CALL(unlink("linked"));
        CALL(unlink(name));
        CALL(chmod(name, 0600));
        CALL(truncate(name, 0));
        CALL(unlink("short"));
    }
}

static void name_bytes(void)
{
    int made = 0;

    for (int byte = 1; byte < 256; byte++) {
        char name[3] = {(char)byte, 0, 0};
        int fd;

        if (byte == '/')
            continue;
        if (byte == '.')
            name[1] = 'x';
        fd = open(name, O_CREAT | O_EXCL | O_RDWR, 0600);
        if (fd < 0) {
            say("byte %02x = %s", (unsigned)byte, errno_name(errno));
            continue;
        }
        close(fd);
        made += access(name, F_OK) == 0 && chmod(name, 0644) == 0;
    }
    say("%d names", made);
    for (int byte = 1; byte < 256; byte++) { /* longest names, of each byte */
        char name[LONGEST_NAME + 1];

        if (byte == '/' || byte == '.')
            continue;
        memset(name, byte, LONGEST_NAME);
        name[LONGEST_NAME] = 0;
        if (mkdir(name, 0700) < 0 || rmdir(name) < 0)
            say("long name of %02x = %s", (unsigned)byte, errno_name(errno));
    }
}

/* "./././…/x" has any length wanted and does not depend on where the suite runs. */
static void path_length(void)
{
    static char path[LONGEST_PATH + 16];

    CALL(mkdir("dd", 0755));
    for (size_t length = LONGEST_PATH - 1; length <= LONGEST_PATH + 1; length++) {
        size_t at = 0;

        while (at + 2 < length - 1) {
            path[at++] = '.';
            path[at++] = '/';
        }
        while (at < length)
            path[at++] = 'x';
        path[at] = 0;
        say("path of %zu", strlen(path));
        close(OPEN(open(path, O_CREAT | O_RDWR, 0600)));
        CALL(access(path, F_OK));
        CALL(symlink(path, "to"));
        OPEN(open("to", O_RDONLY));
        CALL(unlink("to"));
        CALL(unlink(path));
    }
}

/* Directories so deep that no path reaches the bottom. */
static void path_depth(void)
{
    char name[201];
    char text[16] = "";
    int depth = 0;
    int fd;

    memset(name, 'd', sizeof name - 1);
    name[sizeof name - 1] = 0;
    while (depth < 60 && mkdir(name, 0755) == 0 && chdir(name) == 0)
        depth++;
    say("depth %d", depth);
    file_make("bottom", 0644, "deep");
    stat_print("bottom");
    fd = OPEN(open("bottom", O_RDONLY));
    CALL(read(fd, text, sizeof text));
    say("text %s", text);
    CALL(rename("bottom", "../up"));
    CALL(unlink("../up"));
    while (depth-- > 0) {
        if (chdir("..") < 0 || rmdir(name) < 0) {
            say("up at %d = %s", depth, errno_name(errno));
            break;
        }
    }
    CALL(access(name, F_OK));
}

static void remove_errors(void)
{
    CALL(mkdir("dir", 0755));
    CALL(mkdir("dir/sub", 0755));
    file_make("file", 0644, "x");
    CALL(symlink("dir", "link"));
    CALL(unlink("dir"));
    CALL(rmdir("dir"));
    CALL(rmdir("file"));
    CALL(rmdir("link"));
    CALL(rmdir("link/"));
    CALL(rmdir("absent"));
    CALL(unlink("absent"));
    CALL(unlink("file/"));
    CALL(unlink("file/x"));
    CALL(rmdir("dir/."));
    CALL(rmdir("dir/sub/.."));
    CALL(rmdir("."));
    CALL(rmdir(""));
    CALL(unlinkat(AT_FDCWD, "dir", AT_REMOVEDIR));
    CALL(unlinkat(AT_FDCWD, "file", AT_REMOVEDIR));
    CALL(unlinkat(AT_FDCWD, "dir/sub", AT_REMOVEDIR));
    CALL(unlinkat(AT_FDCWD, "dir", 0x8000));
    CALL(unlinkat(-5, "dir", 0));
    CALL(mkdir("dir", 0755));
    CALL(mkdir("file", 0755));
    CALL(mkdir("link", 0755));
    CALL(mkdir("absent/x", 0755));
    CALL(mkdir("new/", 0755));
    CALL(mkdir("file/x", 0755));
    CALL(rmdir("new/"));
    CALL(chdir("file"));
    stat_print("dir");
    stat_print(".");
}

/* Other ways in: a name looked up as absent appears, a name cached as present goes. */
static void name_turns(void)
{
    int right = 0;

    for (int i = 0; i < 200; i++) {
        right += access("n", F_OK) < 0 && errno == ENOENT;
        file_make("n", 0600, "x");
        right += access("n", F_OK) == 0;
        right += unlink("n") == 0;
        right += access("n", F_OK) < 0 && errno == ENOENT;
        right += mkdir("n", 0700) == 0;
        right += open("n", O_WRONLY) < 0 && errno == EISDIR;
        right += rename("n", "m") == 0 && rmdir("n") < 0 && errno == ENOENT && rmdir("m") == 0;
        right += symlink("gone", "n") == 0 && open("n", O_RDONLY) < 0 && errno == ENOENT;
        right += unlink("n") == 0;
    }
    say("%d right", right);
}

const struct test_case name_cases[] = {
    {"rename_pairs", rename_pairs},
    {"rename_errors", rename_errors},
    {"rename_whiteout", rename_whiteout},
    {"links", links},
    {"symlinks", symlinks},
    {"special_files", special_files},
    {"fifo_talks", fifo_talks},
    {"name_length", name_length},
    {"name_bytes", name_bytes},
    {"path_length", path_length},
    {"path_depth", path_depth},
    {"remove_errors", remove_errors},
    {"name_turns", name_turns},
    {NULL, NULL},
};
