/* SPDX-License-Identifier: GPL-2.0-or-later */
/* POSIX ACLs, in their binary form (acl(5), the kernel's posix_acl_xattr.h): set, inherited,
 * obeyed. */
#include "posix.h"

#include <endian.h>
#include <stdint.h>
#include <sys/xattr.h>

static const char access_name[] = "system.posix_acl_access";
static const char default_name[] = "system.posix_acl_default";

enum { USER_OBJ = 1, USER = 2, GROUP_OBJ = 4, GROUP = 8, MASK = 16, OTHER = 32 };

struct entry {
    uint16_t tag;
    uint16_t perm;
    uint32_t id;
};

struct acl {
    uint32_t version;
    struct entry entries[8];
};

static size_t acl_build(struct acl *acl, const struct entry *entries, size_t count)
{
    acl->version = htole32(2);
    for (size_t i = 0; i < count; i++) {
        acl->entries[i].tag = htole16(entries[i].tag);
        acl->entries[i].perm = htole16(entries[i].perm);
        acl->entries[i].id = htole32(entries[i].id);
    }
    return sizeof acl->version + count * sizeof *acl->entries;
}

static void acl_print(const char *path, const char *name)
{
    struct acl acl;
    ssize_t got = getxattr(path, name, &acl, sizeof acl);
    char text[256] = "";
    size_t at = 0;

    if (got < 0) {
        say("acl %s of %s = %s", name + 17, path, errno_name(errno));
        return;
    }
    for (size_t i = 0; i < ((size_t)got - 4) / sizeof *acl.entries; i++)
        at +=
            (size_t)snprintf(text + at, sizeof text - at, " %u:%d:%u", le16toh(acl.entries[i].tag),
                             (int)le32toh(acl.entries[i].id), le16toh(acl.entries[i].perm));
    say("acl %s of %s:%s", name + 17, path, text);
}

static const struct entry rich[] = {
    {USER_OBJ, 7, (uint32_t)-1},  {USER, 6, 1000},  {USER, 0, 1004},
    {GROUP_OBJ, 4, (uint32_t)-1}, {GROUP, 7, 1001}, {MASK, 6, (uint32_t)-1},
    {OTHER, 0, (uint32_t)-1}};

static void acl_try(void)
{
    char name[64];
    static const char *const paths[] = {"file", "dir"};

    for (size_t i = 0; i < 2; i++) {
        say("%s: r %d w %d x %d", paths[i], access(paths[i], R_OK), access(paths[i], W_OK),
            access(paths[i], X_OK));
    }
    OPEN(open("file", O_RDWR));
    CALL(getxattr("file", access_name, name, sizeof name));
    CALL(removexattr("file", access_name));
    OPEN(open("dir/new", O_RDWR | O_CREAT, 0666));
    CALL(unlink("dir/new"));
}

static void acl_access(void)
{
    struct acl acl;
    size_t length = acl_build(&acl, rich, sizeof rich / sizeof *rich);
    char small[8];

    file_make("file", 0640, "x");
    CALL(mkdir("dir", 0750));
    CALL(symlink("file", "link"));
    acl_print("file", access_name);
    CALL(setxattr("file", access_name, &acl, length, 0));
    CALL(setxattr("dir", access_name, &acl, length, 0));
    CALL(lsetxattr("link", access_name, &acl, length, 0));
    CALL(setxattr("file", default_name, &acl, length, 0));
    acl_print("file", access_name);
    stat_print("file");
    stat_print("dir");
    CALL(getxattr("file", access_name, small, 0));
    CALL(getxattr("file", access_name, small, sizeof small));
    as_user(acl_try);
    as_stranger(acl_try);
    CALL(chmod("file", 0710));
    acl_print("file", access_name);
    stat_print("file");
    CALL(chmod("file", 0777));
    acl_print("file", access_name);
    stat_print("file");
    CALL(setxattr("file", access_name, &acl, length - 4, 0));
    CALL(setxattr("file", access_name, &acl, 3, 0));
    CALL(setxattr("file", access_name, &acl, 4, 0));
    CALL(setxattr("file", access_name, NULL, 0, 0));
    acl_print("file", access_name);
    acl.version = htole32(1);
    CALL(setxattr("file", access_name, &acl, length, 0));
    acl.version = htole32(2);
    acl.entries[0].tag = htole16(64);
    CALL(setxattr("file", access_name, &acl, length, 0));
    CALL(removexattr("dir", access_name));
    CALL(removexattr("dir", access_name));
    acl_print("dir", access_name);
    stat_print("dir");
}

/* An ACL that a mode says just as well becomes the mode. */
static void acl_minimal(void)
{
    static const struct entry plain[] = {
        {USER_OBJ, 6, (uint32_t)-1}, {GROUP_OBJ, 2, (uint32_t)-1}, {OTHER, 1, (uint32_t)-1}};
    struct acl acl;
    size_t length = acl_build(&acl, plain, 3);

    file_make("file", 0777, "x");
    CALL(setxattr("file", access_name, &acl, length, 0));
    acl_print("file", access_name);
    stat_print("file");
    CALL(chmod("file", 02755));
    CALL(setxattr("file", access_name, &acl, length, 0));
    stat_print("file");
}

static void create_all(const char *directory)
{
    static const char *const masks_text[] = {"000", "022", "077"};
    static const mode_t masks[] = {0, 022, 077};
    char path[128];

    for (size_t i = 0; i < 3; i++) {
        umask(masks[i]);
        snprintf(path, sizeof path, "%s/file%s", directory, masks_text[i]);
        close(open(path, O_CREAT | O_RDWR, 0666));
        stat_print(path);
        acl_print(path, access_name);
        snprintf(path, sizeof path, "%s/dir%s", directory, masks_text[i]);
        mkdir(path, 0777);
        stat_print(path);
        acl_print(path, access_name);
        acl_print(path, default_name);
        snprintf(path, sizeof path, "%s/fifo%s", directory, masks_text[i]);
        mkfifo(path, 0666);
        stat_print(path);
        acl_print(path, access_name);
        snprintf(path, sizeof path, "%s/link%s", directory, masks_text[i]);
        symlink("x", path);
        stat_print(path);
        {
            int fd = open(directory, O_TMPFILE | O_RDWR, 0666);

            fstat_print(fd);
            close(fd);
        }
    }
}

static void create_default(void)
{
    create_all("default");
}

static void create_default_user(void)
{
    create_all("default/dir000");
}

/* With a default ACL the umask does not count, without one it does. */
static void acl_default(void)
{
    static const struct entry simple[] = {
        {USER_OBJ, 7, (uint32_t)-1}, {GROUP_OBJ, 5, (uint32_t)-1}, {OTHER, 4, (uint32_t)-1}};
    struct acl acl;
    size_t length = acl_build(&acl, rich, sizeof rich / sizeof *rich);

    CALL(mkdir("default", 0755));
    CALL(setxattr("default", default_name, &acl, length, 0));
    acl_print("default", default_name);
    acl_print("default", access_name);
    create_default();
    CALL(chmod("default/dir000", 0777));
    as_user(create_default_user);
    length = acl_build(&acl, simple, 3);
    CALL(mkdir("simple", 0755));
    CALL(setxattr("simple", default_name, &acl, length, 0));
    create_all("simple");
    CALL(removexattr("simple", default_name));
    umask(022);
    close(open("simple/after", O_CREAT | O_RDWR, 0666));
    stat_print("simple/after");
}

const struct test_case acl_cases[] = {
    {"acl_access", acl_access},
    {"acl_minimal", acl_minimal},
    {"acl_default", acl_default},
    {NULL, NULL},
};
