/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * migfsctl init: makes SOURCE/.migfs, mode 0700, for the user who is to keep the hand-over records.
 * On an export with root_squash root may not; so a child becomes that user and does it. Where only
 * root may write in SOURCE, root does it and gives the directory away. What is there already is
 * left as it is, unless it is a directory of that user.
 */
#include "command.h"
#include "fs/migfs.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char record_directory[] = ".migfs";

enum {
    RECORD_MODE = 0700,
    EXIT_NOT_PERMITTED = 100, /* of the child: SOURCE is not that user's to write in */
};

/* Who is to own it. */
struct request {
    const char *source;
    uid_t uid;
    gid_t gid;
    bool gid_is_wanted; /* given on the command line: another group is corrected */
};

static int fail(const struct request *request, const char *what, int error)
{
    complain("%s/%s %s%s%s", request->source, record_directory, what, error != 0 ? ": " : "",
             error != 0 ? strerror(error) : "");
    return EXIT_FAILED;
}

/* What is there, new or not, may be taken: EXIT_DONE, or EXIT_FAILED with a line said. */
static int check_found(const struct request *request, const struct stat *found, uid_t expected)
{
    if (!S_ISDIR(found->st_mode))
        return fail(request, "is there, and is not a directory; remove it", 0);
    if (found->st_uid == request->uid || found->st_uid == expected)
        return EXIT_DONE;
    complain("%s/%s belongs to user %u, not to %u; give it to that user (chown), or name its own",
             request->source, record_directory, found->st_uid, request->uid);
    return EXIT_FAILED;
}

static int correct(const struct request *request, int fd, const struct stat *found)
{
    const bool other_owner = found->st_uid != request->uid;
    const bool other_group = found->st_gid != request->gid;
    const bool sets_group = other_group && (other_owner || request->gid_is_wanted);

    if ((other_owner || sets_group) &&
        fchown(fd, request->uid, sets_group ? request->gid : (gid_t)-1) != 0)
        return fail(request, "cannot be given to its owner; do so on the server", errno);
    if ((found->st_mode & 07777) != RECORD_MODE && fchmod(fd, RECORD_MODE) != 0)
        return fail(request, "cannot be given the mode 0700; chmod it on the server", errno);
    return EXIT_DONE;
}

/* `expected`: who may own it beside the user, as its maker. */
static int settle(const struct request *request, int source_fd, uid_t expected)
{
    struct stat found;
    int code;
    int fd;

    if (fstatat(source_fd, record_directory, &found, AT_SYMLINK_NOFOLLOW) != 0)
        return fail(request, "cannot be looked at; see that the store answers", errno);
    code = check_found(request, &found, expected);
    if (code != EXIT_DONE)
        return code;
    fd = openat(source_fd, record_directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return fail(request, "cannot be opened; see its owner and mode", errno);
    /* Once more, of what was opened: it may have been replaced. */
    if (fstat(fd, &found) != 0)
        code = fail(request, "cannot be looked at; see that the store answers", errno);
    else
        code = check_found(request, &found, expected);
    if (code == EXIT_DONE)
        code = correct(request, fd, &found);
    (void)close(fd); /* read only */
    return code;
}

static int make_in(const struct request *request, int source_fd, bool gives_away)
{
    uid_t expected = request->uid;
    int code;

    if (mkdirat(source_fd, record_directory, RECORD_MODE) == 0) {
        if (gives_away)
            expected = geteuid();
    } else if (errno != EEXIST) {
        if (!gives_away && (errno == EACCES || errno == EPERM))
            return EXIT_NOT_PERMITTED;
        return fail(request, "cannot be made; see that SOURCE can be written", errno);
    }
    code = settle(request, source_fd, expected);
    if (code == EXIT_DONE && fsync(source_fd) != 0 && errno != EINVAL)
        return fail(request,
                    "cannot be made durable; see that the store answers, and run this again",
                    errno);
    return code;
}

/* As whoever the process is. `gives_away`: root, and what it makes becomes the user's. */
static int make(const struct request *request, bool gives_away)
{
    struct migfs_files status = {.version = MIGFS_IOC_VERSION};
    int code;
    const int fd = open(request->source, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0 && errno == EACCES && !gives_away)
        return EXIT_NOT_PERMITTED;
    if (fd < 0) {
        complain("SOURCE %s cannot be opened: %s; see that it exists and may be reached",
                 request->source, strerror(errno));
        return EXIT_FAILED;
    }
    if (ioctl(fd, MIGFS_IOC_STATUS, &status) == 0) {
        complain("%s is a migfs mount; name SOURCE, the directory that it shows", request->source);
        code = EXIT_FAILED;
    } else {
        code = make_in(request, fd, gives_away);
    }
    (void)close(fd); /* a directory: nothing was written through it */
    return code;
}

static bool become(const struct request *request)
{
    const struct passwd *entry = getpwuid(request->uid);
    const bool has_groups = entry != NULL ? initgroups(entry->pw_name, request->gid) == 0
                                          : setgroups(1, &request->gid) == 0;

    return has_groups && setresgid(request->gid, request->gid, request->gid) == 0 &&
           setresuid(request->uid, request->uid, request->uid) == 0;
}

static int make_as_user(const struct request *request)
{
    int status;
    const pid_t child = fork();

    if (child == 0) {
        if (become(request))
            _exit(make(request, false));
        complain("cannot become user %u: %s; run this as root with all its rights", request->uid,
                 strerror(errno));
        _exit(EXIT_FAILED);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status)) {
        complain("no process to act as user %u; raise the limit of processes (ulimit -u)",
                 request->uid);
        return EXIT_FAILED;
    }
    return WEXITSTATUS(status);
}

static gid_t group_of(const struct arguments *arguments)
{
    const struct passwd *entry;

    if (arguments->has_gid)
        return arguments->gid;
    entry = getpwuid(arguments->uid);
    return entry != NULL ? entry->pw_gid : (gid_t)arguments->uid;
}

enum exit_code init_command(const struct arguments *arguments)
{
    const struct request request = {.source = arguments->paths[0],
                                    .uid = arguments->uid,
                                    .gid = group_of(arguments),
                                    .gid_is_wanted = arguments->has_gid};
    int code;

    umask(0);
    if (geteuid() != 0 && geteuid() != request.uid) {
        complain("only root can make %s/%s for user %u; run this as root", request.source,
                 record_directory, request.uid);
        return EXIT_FAILED;
    }
    if (geteuid() != 0) {
        code = make(&request, false);
    } else {
        code = make_as_user(&request);
        if (code == EXIT_NOT_PERMITTED)
            code = make(&request, true);
    }
    if (code == EXIT_NOT_PERMITTED)
        code = fail(&request, "cannot be made; let that user write in SOURCE", EACCES);
    return code == EXIT_DONE ? EXIT_DONE : EXIT_FAILED;
}
