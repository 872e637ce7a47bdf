/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ctofs SOURCE MOUNTPOINT [-f] [-o OPTION,...]: a close-to-open store.
 *
 * Serves the directory SOURCE and caches as badly as an NFS client may, so that two mounts of one
 * SOURCE play two hosts on one machine, and every stale read can be shown on purpose.
 *
 * Reads       The kernel's pages of this mount. Dropped by: the first open of a file on this mount
 *             when the file changed since; any lock, once granted; posix_fadvise(DONTNEED). Not by
 * a second open while the file is open. O_DIRECT reads the store. Writes      Acknowledged into a
 * buffer. They reach SOURCE by fsync, close, an unlock, a lock, a stat, SEEK_DATA and the like, or
 * after some seconds; O_DIRECT and O_SYNC at once. Other mounts see them only then; an error of
 * writing back shows at fsync or close. Attributes  Of an open file, believed for `acreg` seconds,
 * length included. statx(AT_STATX_FORCE_SYNC) asks the store. Not open, and names: asked each time.
 * Locks       POSIX, OFD and flock lie at the store: they hold between mounts. F_GETLK tells a
 *             conflict on this mount first.
 *
 * Rights      Each read, write, lock and truncation that reaches the store is judged by who opened
 *             the file, anew where its owner or mode were changed since (EACCES); what was buffered
 *             by then is lost when it is refused. The owner is refused nothing, nor is root.
 *
 * Options, beside libfuse's: acreg=SECONDS (60), flush=SECONDS (5: how long a write may stay in the
 * buffer). Default: allow_other,default_permissions,suid,dev.
 *
 * .ctofs-control at the root prints counters when read. Each line written to it is one of
 *   fail OPERATION ERRNO [COUNT [AFTER]]
 *                                  of these AFTER (0) go well, then COUNT (1) fail; `write` is what
 *                                  reaches the store, so a buffered write fails later
 *   freeze [OPERATION]...          they wait; without one: all that ask the store, but for the
 *                                  root's attributes
 *   thaw [OPERATION]...
 *   partition [MILLISECONDS]       freeze, and after that time the locks are gone: by a
 *                                  descriptor that held one reads of the store and writes get
 *                                  EIO from then on
 *   heal
 *   forget-removed                 what has no name is gone, also where it is open (ESTALE)
 *   drop-caches                    as a lock does, on each open file
 *   stale                          reads of each open file give what the store has now, whatever is
 *                                  written, dropped or asked of the store; attributes do not
 *   fresh
 * OPERATION: lookup getattr setattr open read write fsync flush release lock unlock getlk names
 * readdir xattr statfs fallocate lseek.
 *
 * Ends at umount, or by SIGTERM and SIGINT. Exit: 0, 1 usage, 2 anything else.
 */
#include "lock_wait.h"
#include "mount.h"
#include "writeback.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* A frozen request holds its thread: there must be one left to thaw it. */
#define MAX_THREADS 512
#define IDLE_THREADS 16

static const struct fuse_opt options[] = {
    {"acreg=%lf", offsetof(struct mount, attribute_seconds), 0},
    {"flush=%lf", offsetof(struct mount, flush_seconds), 0},
    FUSE_OPT_END,
};

int64_t clock_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int on_option(void *data, const char *argument, int key, struct fuse_args *rest)
{
    struct mount *mount = data;

    (void)rest;
    if (key != FUSE_OPT_KEY_NONOPT || mount->source)
        return 1;
    mount->source = realpath(argument, NULL);
    if (mount->source)
        return 0;
    fprintf(stderr, "ctofs: %s: %s\n", argument, strerror(errno));
    return -1;
}

static void op_init(void *data, struct fuse_conn_info *connection)
{
    (void)data;
    /* Attributes that turn out to be new must not drop pages: they may be stale, and stay so. */
    fuse_unset_feature_flag(connection, FUSE_CAP_AUTO_INVAL_DATA);
    fuse_set_feature_flag(connection, FUSE_CAP_EXPLICIT_INVAL_DATA);
    fuse_set_feature_flag(connection, FUSE_CAP_HANDLE_KILLPRIV_V2);
    fuse_set_feature_flag(connection, FUSE_CAP_DIRECT_IO_ALLOW_MMAP);
    fuse_unset_feature_flag(connection, FUSE_CAP_SPLICE_READ);
    fuse_unset_feature_flag(connection, FUSE_CAP_SPLICE_WRITE);
    fuse_unset_feature_flag(connection, FUSE_CAP_SPLICE_MOVE);
}

static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit); /* with fewer it serves as many files as it can */
}

static struct fuse_session *session_new(struct fuse_args *args, struct mount *mount)
{
    struct fuse_lowlevel_ops operations = {.init = op_init};

    data_operations(&operations);
    names_operations(&operations);
    lock_operations(&operations);
    attributes_operations(&operations);
    return fuse_session_new(args, &operations, sizeof(operations), mount);
}

static int serve(struct mount *mount, bool clone_fd)
{
    struct fuse_loop_config *config = fuse_loop_cfg_create();

    if (!config)
        return ENOMEM;
    fuse_loop_cfg_set_clone_fd(config, clone_fd);
    fuse_loop_cfg_set_max_threads(config, MAX_THREADS);
    fuse_loop_cfg_set_idle_threads(config, IDLE_THREADS);
    const int result = fuse_session_loop_mt(mount->session, config);

    fuse_loop_cfg_destroy(config);
    writeback_all(mount);
    return result < 0 ? -result : 0;
}

/* Mounts and serves until the end. Returns an errno, after saying what failed. */
static int run(struct mount *mount, const struct fuse_cmdline_opts *command)
{
    int err = inode_table_open(&mount->inodes, mount->source);

    if (err) {
        fprintf(stderr, "ctofs: %s: %s\n", mount->source, strerror(err));
        return err;
    }
    if (fuse_set_signal_handlers(mount->session) != 0)
        return EIO;
    if (fuse_session_mount(mount->session, command->mountpoint) != 0) {
        fuse_remove_signal_handlers(mount->session);
        return EIO;
    }
    err = fuse_daemonize(command->foreground) < 0 ? EIO : writeback_start(mount);
    if (!err)
        err = serve(mount, command->clone_fd);
    fuse_session_unmount(mount->session);
    fuse_remove_signal_handlers(mount->session);
    return err;
}

static int add_defaults(struct fuse_args *args, const struct mount *mount)
{
    char text[PATH_MAX + 64];

    snprintf(text, sizeof(text), "-oallow_other,suid,dev,default_permissions,fsname=%s",
             mount->source);
    return fuse_opt_insert_arg(args, 1, text);
}

int main(int argc, char **argv)
{
    static struct mount mount = {.attribute_seconds = 60, .flush_seconds = 5};
    struct fuse_args args = FUSE_ARGS_INIT(argc, argv);
    struct fuse_cmdline_opts command = {0};
    int status = 1;

    if (fuse_opt_parse(&args, &mount, options, on_option) != 0)
        goto out;
    if (!mount.source || fuse_parse_cmdline(&args, &command) != 0 || !command.mountpoint) {
        fprintf(stderr, "usage: ctofs SOURCE MOUNTPOINT [-f] [-o OPTION,...]\n");
        goto out;
    }
    status = 2;
    if (add_defaults(&args, &mount) != 0)
        goto out;
    raise_descriptor_limit();
    umask(0);
    fault_init(&mount.faults);
    lock_wait_init();
    mount.session = session_new(&args, &mount);
    if (mount.session && run(&mount, &command) == 0)
        status = 0;
    if (mount.session)
        fuse_session_destroy(mount.session);
out:
    free(command.mountpoint);
    free(mount.source);
    fuse_opt_free_args(&args);
    return status;
}
