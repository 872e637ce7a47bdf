/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who may what: access along paths, sticky and set-group-id directories, read-only flags. */
#include "posix.h"

#include <grp.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/time.h>

static void access_matrix(void)
{
    static const int wants[] = {
        F_OK, R_OK, W_OK, X_OK, R_OK | W_OK, R_OK | X_OK, R_OK | W_OK | X_OK};
    char name[32];

    for (unsigned mode = 0; mode < 01000; mode += mode < 0700 ? 041 : 1) {
        snprintf(name, sizeof name, "m%03o", mode);
        if (access(name, F_OK) < 0)
            continue;
        for (size_t w = 0; w < sizeof wants / sizeof *wants; w++) {
            int plain = access(name, wants[w]) ? errno : 0;
            int effective = faccessat(AT_FDCWD, name, wants[w], AT_EACCESS) ? errno : 0;

            if (plain || effective)
                say("%s %d: %s %s", name, wants[w], errno_name(plain), errno_name(effective));
        }
        {
            int reader = open(name, O_RDONLY);
            int reader_errno = errno;
            int writer = open(name, O_WRONLY);
            int writer_errno = errno;

            say("%s read %s write %s", name, reader < 0 ? errno_name(reader_errno) : "open",
                writer < 0 ? errno_name(writer_errno) : "open");
            close(reader);
            close(writer);
        }
    }
    CALL(access("absent", F_OK));
    CALL(access("m000/x", F_OK));
    CALL(access("m000", 16));
}

static void access_rights(void)
{
    char name[32];

    for (unsigned mode = 0; mode < 01000; mode += mode < 0700 ? 041 : 1) {
        snprintf(name, sizeof name, "m%03o", mode);
        file_make(name, mode, "x");
    }
    say("itself");
    access_matrix();
    if (is_root()) {
        for (unsigned mode = 0; mode < 01000; mode += mode < 0700 ? 041 : 1) {
            snprintf(name, sizeof name, "m%03o", mode);
            chown(name, (uid_t)(mode % 2 ? 1000 : 5), 1001);
        }
    }
    say("user");
    as_user(access_matrix);
    say("stranger");
    as_stranger(access_matrix);
}

/* access(2) asks for the real ids, AT_EACCESS for the effective ones. */
static void access_real_ids(void)
{
    if (!is_root())
        return;
    file_make("private", 0600, "x");
    CALL(setresuid(1000, 0, 0));
    CALL(access("private", R_OK));
    CALL(faccessat(AT_FDCWD, "private", R_OK, AT_EACCESS));
    OPEN(open("private", O_RDONLY));
    CALL(setresuid(0, 1000, 0));
    CALL(access("private", R_OK));
    CALL(faccessat(AT_FDCWD, "private", R_OK, AT_EACCESS));
    OPEN(open("private", O_RDONLY));
}

static void path_walk(void)
{
    static const char *const dirs[] = {"none", "search", "list", "all", "write"};
    static struct stat status;
    char path[64];

    for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++) {
        say("directory %s", dirs[i]);
        snprintf(path, sizeof path, "%s/in", dirs[i]);
        CALL(stat(path, &status));
        OPEN(open(path, O_RDONLY));
        OPEN(open(path, O_WRONLY));
        CALL(chmod(path, 0666));
        CALL(truncate(path, 1));
        CALL(rename(path, "elsewhere"));
        CALL(rename("elsewhere", path));
        CALL(link(path, "elsewhere"));
        CALL(unlink("elsewhere"));
        OPEN(open(dirs[i], O_RDONLY | O_DIRECTORY));
        CALL(chdir(dirs[i]) == 0 && chdir("..") == 0);
        snprintf(path, sizeof path, "%s/new", dirs[i]);
        OPEN(open(path, O_CREAT | O_RDWR, 0600));
        CALL(mkdir(path, 0700));
        CALL(unlink(path));
        CALL(rmdir(path));
        CALL(symlink("x", path));
        CALL(unlink(path));
        CALL(mkfifo(path, 0600));
        CALL(unlink(path));
    }
}

static void path_rights(void)
{
    static const struct {
        const char *name;
        mode_t mode;
    } dirs[] = {{"none", 0700}, {"search", 0711}, {"list", 0744}, {"all", 0777}, {"write", 0733}};
    char path[64];

    for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++) {
        mkdir(dirs[i].name, 0755);
        snprintf(path, sizeof path, "%s/in", dirs[i].name);
        file_make(path, 0644, "x");
        chmod(dirs[i].name, is_root() ? dirs[i].mode : dirs[i].mode << 6 & 0700);
    }
    as_user(path_walk);
    as_stranger(path_walk);
    for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++)
        chmod(dirs[i].name, 0755);
}

static void sticky_try(void)
{
    CALL(unlink("sticky/root"));
    CALL(unlink("sticky/user"));
    CALL(rename("sticky/root", "sticky/moved"));
    CALL(rename("sticky/other", "sticky/root"));
    CALL(rmdir("sticky/dir"));
    file_make("sticky/mine", 0666, "x");
    CALL(rename("sticky/mine", "sticky/root"));
    CALL(renameat2(AT_FDCWD, "sticky/mine", AT_FDCWD, "sticky/root", RENAME_EXCHANGE));
    OPEN(open("sticky/root", O_CREAT | O_WRONLY, 0600));
    OPEN(open("sticky/stranger", O_CREAT | O_WRONLY, 0600));
    OPEN(open("sticky/fifo", O_CREAT | O_RDWR | O_NONBLOCK, 0600));
    CALL(unlink("sticky/mine"));
}

static void sticky(void)
{
    CALL(mkdir("sticky", 0777));
    CALL(chmod("sticky", 01777));
    file_make("sticky/root", 0666, "x");
    file_make("sticky/user", 0666, "x");
    file_make("sticky/other", 0666, "x");
    file_make("sticky/stranger", 0666, "x");
    CALL(mkfifo("sticky/fifo", 0666));
    CALL(mkdir("sticky/dir", 0777));
    if (is_root()) {
        CALL(chown("sticky/user", 1000, 1000));
        CALL(chown("sticky/stranger", 1003, 1003));
        CALL(chown("sticky/fifo", 1003, 1003));
    }
    as_user(sticky_try);
    as_stranger(sticky_try);
    stat_print("sticky/user");
    stat_print("sticky/root");
    stat_print("sticky/moved");
}

static void setgid_create(void)
{
    int fd;

    umask(0);
    CALL(mkdir("sgid/dir", 0777));
    close(OPEN(open("sgid/file", O_CREAT | O_RDWR, 0666)));
    close(OPEN(open("sgid/exec", O_CREAT | O_RDWR, 02777)));
    close(OPEN(open("sgid/noexec", O_CREAT | O_RDWR, 02767)));
    CALL(mkfifo("sgid/fifo", 0666));
    CALL(mknod("sgid/node", S_IFREG | 02777, 0));
    CALL(symlink("x", "sgid/link"));
    fd = OPEN(open("sgid", O_TMPFILE | O_RDWR, 02777));
    fstat_print(fd);
    stat_print("sgid/dir");
    stat_print("sgid/file");
    stat_print("sgid/exec");
    stat_print("sgid/noexec");
    stat_print("sgid/fifo");
    stat_print("sgid/node");
    stat_print("sgid/link");
    CALL(mkdir("sgid/dir/deeper", 0755));
    stat_print("sgid/dir/deeper");
    CALL(chmod("sgid/file", 02777));
    stat_print("sgid/file");
    CALL(unlink("sgid/file"));
    CALL(unlink("sgid/exec"));
    CALL(unlink("sgid/noexec"));
    CALL(unlink("sgid/fifo"));
    CALL(unlink("sgid/node"));
    CALL(unlink("sgid/link"));
    CALL(rmdir("sgid/dir/deeper"));
    CALL(rmdir("sgid/dir"));
}

static void setgid_directory(void)
{
    static const gid_t group_list[] = {1001, 1005};

    for (size_t i = 0; i < 2; i++) {
        CALL(mkdir("sgid", 0777));
        CALL(chown("sgid", (uid_t)-1, group_list[i]));
        CALL(chmod("sgid", 02777));
        stat_print("sgid");
        in_child(setgid_create);
        as_user(setgid_create);
        as_stranger(setgid_create);
        CALL(rmdir("sgid"));
    }
}

static void owner_calls(void)
{
    static const struct timeval past[2] = {{1000, 0}, {1000, 0}};

    CALL(chmod("file", 0666));
    CALL(chown("file", 1000, 1000));
    CALL(chown("file", (uid_t)-1, 1001));
    CALL(chown("file", (uid_t)-1, 1003));
    CALL(chown("file", (uid_t)-1, (gid_t)-1));
    CALL(utimes("file", NULL));
    CALL(utimes("file", past));
    CALL(utimes("readable", NULL));
    CALL(utimes("readable", past));
    CALL(truncate("readable", 0));
    CALL(link("readable", "linked"));
    CALL(link("file", "linked2"));
    OPEN(open("file", O_RDONLY | O_NOATIME));
    OPEN(open("readable", O_RDONLY | O_NOATIME));
    stat_print("file");
}

static void owner_rights(void)
{
    file_make("file", 0666, "x");
    file_make("readable", 0644, "x");
    as_user(owner_calls);
    as_stranger(owner_calls);
    if (is_root())
        CALL(chown("file", 1000, 1000));
    CALL(chmod("file", 0666));
    as_user(owner_calls);
    as_stranger(owner_calls);
}

/* Supplementary groups count: a file of group 1002, readable by the group alone. */
static void group_open(void)
{
    OPEN(open("g1000", O_RDWR));
    OPEN(open("g1001", O_RDWR));
    OPEN(open("g1002", O_RDWR));
    OPEN(open("g1003", O_RDWR));
    OPEN(open("g1002dir/x", O_CREAT | O_RDWR, 0600));
    CALL(unlink("g1002dir/x"));
}

static void group_rights(void)
{
    static const gid_t list[] = {1000, 1001, 1002, 1003};
    char name[16];

    for (size_t i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "g%u", list[i]);
        file_make(name, 0060, "x");
        say("chown %s = %s", name, chown(name, (uid_t)-1, list[i]) ? errno_name(errno) : "0");
    }
    CALL(mkdir("g1002dir", 0700));
    CALL(chown("g1002dir", (uid_t)-1, 1002));
    CALL(chmod("g1002dir", 0070));
    as_user(group_open);
    as_stranger(group_open);
    CALL(chmod("g1002dir", 0770));
}

/* A process that changes its groups and ids is judged by those it has at the call. */
static void groups_changed(void)
{
    static const gid_t with[] = {1001, 1002};
    static const gid_t without[] = {1001};
    static gid_t many[1000];

    if (!is_root())
        return;
    file_make("g1002", 0060, "x");
    CALL(chown("g1002", 0, 1002));
    for (size_t i = 0; i < sizeof many / sizeof *many; i++)
        many[i] = (gid_t)(5000 + i);
    for (int round = 0; round < 3; round++) {
        CALL(setgroups(2, with));
        CALL(seteuid(1000));
        OPEN(open("g1002", O_RDWR));
        CALL(seteuid(0));
        CALL(setgroups(1, without));
        CALL(seteuid(1000));
        OPEN(open("g1002", O_RDWR));
        CALL(seteuid(0));
        many[999] = round % 2 ? 1002 : 6000;
        CALL(setgroups(sizeof many / sizeof *many, many));
        CALL(seteuid(1000));
        OPEN(open("g1002", O_RDWR));
        OPEN(open("own", O_RDWR | O_CREAT, 0600));
        CALL(seteuid(0));
        CALL(setegid(1002));
        CALL(setgroups(0, NULL));
        CALL(seteuid(1000));
        OPEN(open("g1002", O_RDWR));
        CALL(mkdir("dir", 0700));
        stat_print("dir");
        CALL(rmdir("dir"));
        CALL(seteuid(0));
        CALL(setegid(0));
    }
    stat_print("own");
}

/* Root without its capabilities is judged as anybody. */
static void drop_override(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];

    CALL(syscall(SYS_capget, &header, data));
    data[0].effective &=
        ~(1U << CAP_DAC_OVERRIDE | 1U << CAP_DAC_READ_SEARCH | 1U << CAP_FOWNER | 1U << CAP_CHOWN);
    CALL(syscall(SYS_capset, &header, data));
    OPEN(open("closed", O_RDWR));
    CALL(access("closed", R_OK));
    CALL(chmod("foreign", 0600));
    CALL(chown("foreign", 5, 5));
    CALL(unlink("dir/x"));
}

static void capabilities_dropped(void)
{
    if (!is_root())
        return;
    file_make("closed", 0, "x");
    file_make("foreign", 0644, "x");
    CALL(chown("foreign", 1000, 1000));
    CALL(mkdir("dir", 0755));
    CALL(chown("dir", 1000, 1000));
    CALL(chmod("dir", 0700));
    file_make("dir/x", 0644, "x");
    in_child(drop_override);
}

static void flag_set(const char *path, int flag, int on)
{
    int fd = open(path, O_RDONLY);
    int flags = 0;
    int result = ioctl(fd, FS_IOC_GETFLAGS, &flags);

    if (result == 0) {
        flags = on ? flags | flag : flags & ~flag;
        result = ioctl(fd, FS_IOC_SETFLAGS, &flags);
    }
    say("flag %x of %s %d = %s", (unsigned)flag, path, on, result ? errno_name(errno) : "0");
    close(fd);
}

/* Immutable and append-only files refuse as the backing filesystem does. */
static void immutable(void)
{
    static const struct timespec past[2] = {{1000, 0}, {1000, 0}};
    static const int flags[] = {FS_IMMUTABLE_FL, FS_APPEND_FL};
    int fd;

    if (!is_root())
        return;
    for (size_t i = 0; i < 2; i++) {
        file_make("file", 0644, "content");
        mkdir("dir", 0755);
        fd = OPEN(open("file", O_RDWR));
        flag_set("file", flags[i], 1);
        flag_set("dir", flags[i], 1);
        OPEN(open("file", O_WRONLY));
        OPEN(open("file", O_WRONLY | O_APPEND));
        OPEN(open("file", O_RDONLY | O_TRUNC));
        CALL(truncate("file", 1));
        CALL(chmod("file", 0600));
        CALL(chown("file", 5, 5));
        CALL(utimensat(AT_FDCWD, "file", past, 0));
        CALL(utimensat(AT_FDCWD, "file", NULL, 0));
        CALL(link("file", "linked"));
        CALL(rename("file", "moved"));
        CALL(unlink("file"));
        CALL(ftruncate(fd, 1));
        CALL(fchmod(fd, 0600));
        CALL(mkdir("dir/x", 0755));
        CALL(rmdir("dir/x"));
        CALL(rmdir("dir"));
        flag_set("file", flags[i], 0);
        flag_set("dir", flags[i], 0);
        CALL(rmdir("dir/x"));
        stat_print("file");
        close(fd);
    }
}

static void umask_directory(void)
{
    umask(027);
    CALL(mkdir("kept", 0777));
    umask(0);
    CALL(mkdir("open", 01777));
    CALL(mkfifo("fifo", 0666));
    stat_print("kept");
    stat_print("open");
    stat_print("fifo");
}

const struct test_case permission_cases[] = {
    {"access_rights", access_rights},
    {"access_real_ids", access_real_ids},
    {"path_rights", path_rights},
    {"sticky", sticky},
    {"setgid_directory", setgid_directory},
    {"owner_rights", owner_rights},
    {"group_rights", group_rights},
    {"groups_changed", groups_changed},
    {"capabilities_dropped", capabilities_dropped},
    {"immutable", immutable},
    {"umask_directory", umask_directory},
    {NULL, NULL},
};
