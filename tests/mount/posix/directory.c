/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading directories: completeness, positions, rewinding, entries that go and come meanwhile. */
#include "posix.h"

#include <dirent.h>
#include <sys/syscall.h>

enum { MANY = 1500, HUGE = 50000 };

static void entries_make(int count)
{
    char name[64];

    for (int i = 0; i < count; i++) {
        snprintf(name, sizeof name, "entry-%05d-with-a-name-of-some-length", i);
        close(open(name, O_CREAT | O_WRONLY, 0600));
    }
}

static int entry_number(const char *name)
{
    int number = -1;

    return sscanf(name, "entry-%d-", &number) == 1 ? number : -1;
}

/* Reads all; says how many entries are missing or come twice. */
static void listing_say(DIR *dir, const char *what, int count)
{
    static unsigned char seen[HUGE];
    int twice = 0, missing = 0, other = 0, wrong_type = 0;
    struct dirent *entry;

    memset(seen, 0, sizeof seen);
    while (errno = 0, (entry = readdir(dir)) != NULL) {
        int number = entry_number(entry->d_name);

        if (number < 0 || number >= HUGE) {
            other++;
            continue;
        }
        if (entry->d_type != DT_REG)
            wrong_type++;
        if (seen[number]++)
            twice++;
    }
    for (int i = 0; i < count; i++)
        missing += !seen[i];
    say("%s: %d missing, %d twice, %d others, %d of a wrong type, %s", what, missing, twice, other,
        wrong_type, errno_name(errno));
}

static int name_compare(const void *a, const void *b)
{
    return strcmp((const char *)a, (const char *)b);
}

static void entry_kinds(void)
{
    static char lines[32][64];
    size_t count = 0;
    struct dirent *entry;
    struct stat status, parent;
    int right_ino = 0;
    DIR *dir;

    file_make("file", 0644, "x");
    CALL(mkdir("dir", 0755));
    CALL(symlink("x", "link"));
    CALL(mkfifo("fifo", 0600));
    CALL(mknod("socket", S_IFSOCK | 0600, 0));
    CALL(link("file", "hard"));
    dir = opendir(".");
    stat("..", &parent);
    while ((entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, "..") && lstat(entry->d_name, &status) == 0)
            right_ino += entry->d_ino == status.st_ino;
        snprintf(lines[count++], sizeof *lines, "%.40s type %d", entry->d_name, entry->d_type);
    }
    qsort(lines, count, sizeof *lines, name_compare);
    for (size_t i = 0; i < count; i++)
        say("%s", lines[i]);
    say("%d inode numbers right", right_ino);
    CALL(closedir(dir));
}

static void listing(void)
{
    DIR *dir;

    entries_make(MANY);
    dir = opendir(".");
    listing_say(dir, "first", MANY);
    rewinddir(dir);
    listing_say(dir, "rewound", MANY);
    unlink("entry-00000-with-a-name-of-some-length");
    file_make("appeared", 0600, "");
    rewinddir(dir);
    listing_say(dir, "after a removal and a creation", MANY);
    closedir(dir);
}

/* telldir is remembered for each entry, each is found again by seekdir: backwards, at random. */
static void positions(void)
{
    static long offsets[MANY + 3];
    static char names[MANY + 3][64];
    struct dirent *entry;
    int count = 0, right = 0;
    unsigned random_state = 12345;
    DIR *dir;

    entries_make(MANY);
    dir = opendir(".");
    for (;;) {
        offsets[count] = telldir(dir);
        entry = readdir(dir);
        if (!entry || count >= MANY + 2)
            break;
        snprintf(names[count++], sizeof *names, "%.60s", entry->d_name);
    }
    say("%d entries", count);
    for (int i = 0; i < 500; i++) {
        int index;

        random_state = random_state * 1103515245U + 12345U;
        index = (int)((random_state >> 8) % (unsigned)count);
        seekdir(dir, offsets[index]);
        entry = readdir(dir);
        right += entry && !strcmp(entry->d_name, names[index]);
    }
    say("%d of 500 found", right);
    /* with every second entry removed, those that are left are still found */
    for (int i = 0; i < count; i += 2)
        unlink(names[i]);
    right = 0;
    for (int i = 1; i < count; i += 2) {
        seekdir(dir, offsets[i]);
        entry = readdir(dir);
        right += entry && (!strcmp(entry->d_name, names[i]) || names[i][0] == '.');
    }
    say("%d found after removals", right);
    seekdir(dir, offsets[count]);
    say("at the end %d", readdir(dir) == NULL);
    closedir(dir);
}

/* rm -r's way: what is read is removed; whatever else is there must still come. */
static void shrink(int count, int step)
{
    struct dirent *entry;
    int removed = 0, left = 0;
    DIR *dir = opendir(".");

    (void)count;
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        if (entry_number(entry->d_name) % step == 0)
            removed += unlink(entry->d_name) == 0;
        else
            left++;
    }
    closedir(dir);
    say("removed %d, seen and kept %d", removed, left);
}

static void shrinking(void)
{
    DIR *dir;

    entries_make(MANY);
    shrink(MANY, 3);
    shrink(MANY, 2);
    shrink(MANY, 1);
    dir = opendir(".");
    listing_say(dir, "empty", 0);
    closedir(dir);
    CALL(chdir(".."));
    CALL(rmdir("shrinking"));
    CALL(mkdir("shrinking", 0755));
}

static void shrinking_huge(void)
{
    DIR *dir;

    entries_make(HUGE);
    dir = opendir(".");
    listing_say(dir, "all", HUGE);
    closedir(dir);
    shrink(HUGE, 2);
    shrink(HUGE, 1);
    dir = opendir(".");
    listing_say(dir, "empty", 0);
    closedir(dir);
}

/* An entry that is there all the time is seen exactly once, whatever comes and goes beside it. */
static void turnover(void)
{
    char name[64];
    struct dirent *entry;
    int stable = 0, round = 0;
    DIR *dir;

    for (int i = 0; i < 500; i++) {
        snprintf(name, sizeof name, "stable-%04d", i);
        close(open(name, O_CREAT | O_WRONLY, 0600));
    }
    dir = opendir(".");
    while ((entry = readdir(dir)) != NULL) {
        stable += !strncmp(entry->d_name, "stable-", 7);
        snprintf(name, sizeof name, "passing-%04d", round);
        if (round < 2000)
            close(open(name, O_CREAT | O_WRONLY, 0600));
        snprintf(name, sizeof name, "passing-%04d", round++ - 3);
        unlink(name);
    }
    closedir(dir);
    say("%d stable entries seen", stable);
    for (int i = 0; i < 2000; i++) {
        snprintf(name, sizeof name, "passing-%04d", i);
        unlink(name);
    }
}

static void descriptors(void)
{
    char buffer[512];
    DIR *dir;
    long got;
    int fd;

    entries_make(20);
    fd = OPEN(open(".", O_RDONLY | O_DIRECTORY));
    CALL(syscall(SYS_getdents64, fd, buffer, 10));
    got = syscall(SYS_getdents64, fd, buffer, sizeof buffer);
    say("some %d", got > 0);
    CALL(lseek(fd, 0, SEEK_SET));
    dir = fdopendir(dup(fd));
    listing_say(dir, "by a duplicate", 20);
    got = syscall(SYS_getdents64, fd, buffer, sizeof buffer);
    say("the position is shared: %ld", got);
    closedir(dir);
    CALL(lseek(fd, 0, SEEK_CUR) >= 0);
    file_make("file", 0600, "");
    fd = OPEN(open("file", O_RDONLY));
    CALL(syscall(SYS_getdents64, fd, buffer, sizeof buffer));
    CALL(mkdir("gone", 0700));
    fd = OPEN(open("gone", O_RDONLY));
    CALL(rmdir("gone"));
    CALL(syscall(SYS_getdents64, fd, buffer, sizeof buffer));
    CALL(opendir("gone") ? 0 : -1);
    CALL(fchdir(fd));
    CALL(getcwd(buffer, sizeof buffer) ? 0 : -1);
}

static void name_longest(void)
{
    struct dirent *entry;
    char name[256];
    int right = 0;
    DIR *dir;

    for (int i = 0; i < 100; i++) {
        memset(name, 'A' + i % 26, 255);
        name[254] = (char)('0' + i / 26);
        name[255] = 0;
        close(open(name, O_CREAT | O_WRONLY, 0600));
    }
    dir = opendir(".");
    while ((entry = readdir(dir)) != NULL)
        right += strlen(entry->d_name) == 255 && access(entry->d_name, F_OK) == 0;
    closedir(dir);
    say("%d right", right);
}

/* Not in the default run: 50,000 entries. */
const struct test_case directory_cases[] = {
    {"entry_kinds", entry_kinds},
    {"listing", listing},
    {"positions", positions},
    {"shrinking", shrinking},
    {"turnover", turnover},
    {"descriptors", descriptors},
    {"name_longest", name_longest},
    {"shrinking_huge", shrinking_huge},
    {NULL, NULL},
};
