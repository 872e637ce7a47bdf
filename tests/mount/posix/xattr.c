/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Extended attributes: name spaces, sizes, flags, who sees which. */
#include "posix.h"

#include <sys/xattr.h>

static char value[70000];
static char names[70000];

static int name_compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorted: the order belongs to the filesystem. security.* of the host's policy is left out. */
static void list_say(const char *path)
{
    char *sorted[64];
    size_t count = 0;
    ssize_t length = llistxattr(path, names, sizeof names);

    if (length < 0) {
        say("list of %s = %s", path, errno_name(errno));
        return;
    }
    for (char *name = names; name < names + length && count < 64; name += strlen(name) + 1)
        sorted[count++] = name;
    qsort(sorted, count, sizeof *sorted, name_compare);
    say("list of %s: %zd bytes, %zu names", path, length, count);
    for (size_t i = 0; i < count; i++) {
        ssize_t got = lgetxattr(path, sorted[i], value, sizeof value);

        say("  %s = %zd", sorted[i], got < 0 ? (ssize_t)-errno : got);
    }
}

static void xattr_calls(void)
{
    int fd;

    file_make("file", 0644, "x");
    CALL(mkdir("dir", 0755));
    CALL(symlink("file", "link"));
    CALL(symlink("absent", "dangling"));
    CALL(mkfifo("fifo", 0644));
    fd = OPEN(open("file", O_RDWR));
    CALL(setxattr("file", "user.one", "value", 5, 0));
    CALL(setxattr("file", "user.one", "value", 5, XATTR_CREATE));
    CALL(setxattr("file", "user.two", "value", 5, XATTR_REPLACE));
    CALL(setxattr("file", "user.two", "longer value", 12, XATTR_CREATE));
    CALL(setxattr("file", "user.one", "other", 5, XATTR_REPLACE));
    CALL(setxattr("file", "user.one", "other", 5, 4));
    CALL(setxattr("file", "user.one", "other", 5, XATTR_CREATE | XATTR_REPLACE));
    CALL(setxattr("file", "user.empty", "", 0, 0));
    CALL(setxattr("file", "user.empty", NULL, 0, 0));
    CALL(fsetxattr(fd, "user.by-fd", "v", 1, 0));
    CALL(getxattr("file", "user.two", value, 0));
    CALL(getxattr("file", "user.two", value, 5));
    CALL(getxattr("file", "user.two", value, 11));
    CALL(getxattr("file", "user.two", value, 12));
    CALL(fgetxattr(fd, "user.by-fd", value, 100));
    CALL(getxattr("file", "user.absent", value, 100));
    CALL(getxattr("file", "user.", value, 100));
    CALL(getxattr("file", "user", value, 100));
    CALL(getxattr("file", "", value, 100));
    CALL(getxattr("file", "nonsense.name", value, 100));
    CALL(setxattr("file", "nonsense.name", "x", 1, 0));
    CALL(setxattr("file", "user.", "x", 1, 0));
    CALL(setxattr("file", "system.nonsense", "x", 1, 0));
    CALL(getxattr("file", "system.nonsense", value, 100));
    CALL(removexattr("file", "nonsense.name"));
    CALL(listxattr("file", names, 0));
    CALL(listxattr("file", names, 3));
    list_say("file");
    CALL(removexattr("file", "user.one"));
    CALL(removexattr("file", "user.one"));
    CALL(fremovexattr(fd, "user.by-fd"));
    list_say("file");
    CALL(setxattr("link", "user.via", "x", 1, 0));
    CALL(lsetxattr("link", "user.on", "x", 1, 0));
    CALL(lgetxattr("link", "user.on", value, 10));
    CALL(llistxattr("link", names, sizeof names));
    CALL(getxattr("dangling", "user.x", value, 10));
    CALL(setxattr("fifo", "user.x", "x", 1, 0));
    CALL(getxattr("fifo", "user.x", value, 10));
    CALL(setxattr("dir", "user.x", "x", 1, 0));
    list_say("dir");
    list_say("file");
    list_say("link");
    list_say("fifo");
    CALL(setxattr("absent", "user.x", "x", 1, 0));
    CALL(unlink("file"));
    CALL(fgetxattr(fd, "user.two", value, 100));
    CALL(fsetxattr(fd, "user.late", "x", 1, 0));
    CALL(flistxattr(fd, names, sizeof names));
}

static void xattr_sizes(void)
{
    static const size_t sizes[] = {1, 255, 1000, 3000, 4000, 4096, 16384, 65535, 65536, 65537};
    char name[300] = "user.";

    file_make("file", 0644, "x");
    memset(value, 'v', sizeof value);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        say("size %zu", sizes[i]);
        CALL(setxattr("file", "user.big", value, sizes[i], 0));
        CALL(getxattr("file", "user.big", names, sizeof value));
        CALL(removexattr("file", "user.big"));
    }
    memset(name + 5, 'n', 251);
    name[255] = 0;
    CALL(setxattr("file", name, "x", 1, 0));
    CALL(getxattr("file", name, names, 10));
    name[255] = 'n';
    name[256] = 0;
    CALL(setxattr("file", name, "x", 1, 0));
    CALL(getxattr("file", name, names, 10));
    list_say("file");
    CALL(setxattr("file", "user.bytes", "a\0b\377c", 5, 0));
    CALL(getxattr("file", "user.bytes", names, 10));
    say("%02x%02x", (unsigned)(unsigned char)names[1], (unsigned)(unsigned char)names[3]);
}

static void trusted_try(void)
{
    list_say("file");
    CALL(getxattr("file", "trusted.secret", value, 100));
    CALL(setxattr("file", "trusted.secret", "x", 1, 0));
    CALL(setxattr("file", "trusted.mine", "x", 1, 0));
    CALL(removexattr("file", "trusted.secret"));
    CALL(removexattr("file", "trusted.absent"));
    CALL(getxattr("file", "trusted.absent", value, 100));
    CALL(listxattr("file", names, 0));
    CALL(getxattr("file", "security.test", value, 100));
    CALL(setxattr("file", "security.test", "y", 1, 0));
    CALL(removexattr("file", "security.test"));
    CALL(getxattr("file", "user.seen", value, 100));
    CALL(setxattr("file", "user.seen", "y", 1, 0));
    CALL(getxattr("private", "user.seen", value, 100));
    CALL(listxattr("private", names, 100));
    CALL(setxattr("sticky", "user.x", "y", 1, 0));
}

static void trusted(void)
{
    file_make("file", 0666, "x");
    file_make("private", 0600, "x");
    CALL(mkdir("sticky", 0777));
    CALL(chmod("sticky", 01777));
    CALL(setxattr("file", "trusted.secret", "value", 5, 0));
    CALL(setxattr("file", "security.test", "value", 5, 0));
    CALL(setxattr("file", "user.seen", "value", 5, 0));
    CALL(setxattr("private", "user.seen", "value", 5, 0));
    list_say("file");
    as_user(trusted_try);
    as_stranger(trusted_try);
    in_child(trusted_try);
}

/* A write takes file capabilities away. */
static void capability(void)
{
    static const unsigned char cap[20] = {1, 0, 0, 2, 0, 4};
    int fd;

    file_make("file", 0755, "x");
    CALL(setxattr("file", "security.capability", cap, sizeof cap, 0));
    CALL(getxattr("file", "security.capability", value, 100));
    fd = OPEN(open("file", O_WRONLY));
    CALL(write(fd, "y", 1));
    CALL(getxattr("file", "security.capability", value, 100));
    CALL(setxattr("file", "security.capability", cap, sizeof cap, 0));
    CALL(chown("file", geteuid(), getegid()));
    CALL(getxattr("file", "security.capability", value, 100));
    CALL(setxattr("file", "security.capability", cap, sizeof cap, 0));
    CALL(truncate("file", 0));
    CALL(getxattr("file", "security.capability", value, 100));
}

const struct test_case xattr_cases[] = {
    {"xattr_calls", xattr_calls},
    {"xattr_sizes", xattr_sizes},
    {"trusted", trusted},
    {"capability", capability},
    {NULL, NULL},
};
