/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve.h"

#include "device.h"
#include "log.h"
#include "loop.h"
#include "operations.h"
#include "paths.h"
#include "signals.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define FUSE_DEVICE "/dev/fuse"

/* The process -------------------------------------------------------------------------------- */

/* The child writes one byte when it serves; its end of the pipe closes when it ends. */
static int child_wait(pid_t child, int ready_fd)
{
    char byte;
    int status;

    if (TEMP_FAILURE_RETRY(read(ready_fd, &byte, 1)) == 1)
        return SERVE_DONE;
    if (TEMP_FAILURE_RETRY(waitpid(child, &status, 0)) < 0)
        return SERVE_SYSTEM;
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    log_error("ended by signal %d (%s) before it served; the kernel's log may say why",
              WTERMSIG(status), strsignal(WTERMSIG(status)));
    return SERVE_SYSTEM;
}

int serve_detach(struct serve *serve)
{
    int ready[2];
    pid_t child;

    signals_block();
    if (serve->context->options.foreground) {
        log_open(true);
        return SERVE_DONE;
    }
    if (pipe2(ready, O_CLOEXEC) < 0) {
        log_error("cannot make a pipe: %s; raise the limit of open files (ulimit -n)",
                  strerror(errno));
        return SERVE_SYSTEM;
    }
    child = fork();
    if (child < 0) {
        log_error("cannot start the daemon's process: %s; raise the limit of processes (ulimit -u)",
                  strerror(errno));
        close(ready[0]);
        close(ready[1]);
        return SERVE_SYSTEM;
    }
    if (child > 0) {
        close(ready[1]);
        _exit(child_wait(child, ready[0]));
    }
    close(ready[0]);
    serve->parent_fd = ready[1];
    return SERVE_DONE;
}

/* Until now error lines went to the terminal that the command was given at. */
static void parent_leave(struct serve *serve)
{
    int null_fd;

    if (serve->parent_fd < 0)
        return;
    if (chdir("/") < 0)
        log_warning(
            "cannot leave the directory that the command was given in: %s; it is busy until "
            "the unmount",
            strerror(errno));
    null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null_fd >= 0) {
        for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
            dup2(null_fd, fd);
        close(null_fd);
    }
    log_open(false);
    setsid();
    const ssize_t written = write(serve->parent_fd, "", 1);
    (void)written; /* where the command that mounted this is gone, nobody waits */
    close(serve->parent_fd);
    serve->parent_fd = -1;
}

/* The session -------------------------------------------------------------------------------- */

static void fuse_log_line(enum fuse_log_level level, const char *format, va_list arguments)
    __attribute__((format(printf, 2, 0)));

/* libfuse's lines end in a newline and begin as they like. */
static void fuse_log_line(enum fuse_log_level level, const char *format, va_list arguments)
{
    char text[512];

    if (level >= FUSE_LOG_DEBUG) {
        vfprintf(stderr, format, arguments);
        return;
    }
    vsnprintf(text, sizeof(text), format, arguments);
    text[strcspn(text, "\n")] = '\0';
    if (level <= FUSE_LOG_ERR)
        log_error("%s", text);
    else
        log_warning("%s", text);
}

/* Every open image costs a few descriptors; the default of 1,024 is the shell's, not the host's. */
static void descriptors_raise(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit); /* as far as anybody may: cannot fail */
    }
}

static struct fuse_session *session_new(struct context *context)
{
    struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
    struct fuse_session *session = NULL;

    if (fuse_opt_add_arg(&args, "migfs") == 0 && fuse_opt_add_arg(&args, "-o") == 0 &&
        fuse_opt_add_arg(&args, context->options.kernel_options) == 0 &&
        (!context->options.debug || fuse_opt_add_arg(&args, "-d") == 0))
        session = fuse_session_new(&args, &operations, sizeof(operations), context);
    fuse_opt_free_args(&args);
    return session;
}

/* What the combination of this store and these options does not give is said once, here. */
static void limits_say(const struct serve *serve)
{
    const struct options *options = &serve->context->options;

    if (!options->coherence)
        return;
    if (options->io == IO_PASSTHROUGH)
        log_warning("io=passthrough: a host that lost an image can still write to it; have such "
                    "hosts fenced by other means");
    if (serve->source_is_nfs3)
        log_warning("'%s' is NFS before version 4: its server does not stop the writes of a host "
                    "that lost its locks; mount it with vers=4.2",
                    options->source);
}

int serve_open(struct serve *serve)
{
    struct context *context = serve->context;
    struct options *options = &context->options;
    struct paths paths;
    int error;

    fuse_set_log_func(fuse_log_line);
    error = paths_open(options->source, options->mountpoint, &paths);
    if (error)
        return error == -ENOMEM ? SERVE_SYSTEM : SERVE_MOUNT;
    context->source_fd = paths.source_fd;
    serve->mountpoint = paths.mountpoint;
    context->mountpoint = paths.mountpoint;
    serve->source_is_nfs3 = strcmp(paths.source_type, "nfs") == 0; /* version 4 is "nfs4" */
    context->is_unfenced = serve->source_is_nfs3 || options->io == IO_PASSTHROUGH;

    if (options->io == IO_PASSTHROUGH && geteuid() != 0) {
        log_error("io=passthrough needs root; mount as root, or with io=daemon");
        return SERVE_MOUNT;
    }
    descriptors_raise();
    context->session = session_new(context);
    if (context->session)
        return SERVE_DONE;
    log_error("no session of libfuse could be made for '%s': see the lines before, and free memory "
              "where it is short",
              serve->mountpoint);
    return SERVE_SYSTEM;
}

/* fusermount3 opens it as the user, too. */
static int device_check(void)
{
    int fd = open(FUSE_DEVICE, O_RDWR | O_CLOEXEC);

    if (fd >= 0) {
        close(fd);
        return SERVE_DONE;
    }
    if (errno == EACCES || errno == EPERM)
        log_error("cannot open " FUSE_DEVICE ": %s; it is to be open to all (mode 0666)",
                  strerror(errno));
    else
        log_error("cannot open " FUSE_DEVICE ": %s; load the kernel's module: modprobe fuse",
                  strerror(errno));
    return SERVE_SYSTEM;
}

/*
 * Serves the first request, which is INIT, before there are threads: whether the kernel agrees is
 * known, and the mount usable, when this returns.
 */
static int session_initialise(struct context *context)
{
    struct fuse_buf request = {0};
    int size;

    do
        size = fuse_session_receive_buf(context->session, &request);
    while (size == -EINTR);
    if (size > 0)
        fuse_session_process_buf(context->session, &request);
    free(request.mem);

    /* libfuse refuses by an answer, and goes on: then serve_init was not called. */
    if (size <= 0 || fuse_session_exited(context->session) || context->capable == 0) {
        log_error("the kernel and migfs did not agree on a connection for '%s': %s; see the "
                  "kernel's log, and mount again",
                  context->mountpoint,
                  size < 0 ? strerror(-size) : "its first request was refused");
        return SERVE_SYSTEM;
    }
    if (context->options.io == IO_PASSTHROUGH && !context->passthrough) {
        log_error("io=passthrough is not offered by this kernel; it takes Linux 6.9 with "
                  "CONFIG_FUSE_PASSTHROUGH, or mount with io=daemon");
        return SERVE_MOUNT;
    }
    return SERVE_DONE;
}

int serve_mount(struct serve *serve)
{
    int status = device_check();

    if (status)
        return status;
    if (fuse_session_mount(serve->context->session, serve->mountpoint) < 0) {
        log_error("MOUNTPOINT '%s' could not be mounted: see the line before", serve->mountpoint);
        return SERVE_MOUNT;
    }
    serve->context->device = device_new(serve->context);
    if (!serve->context->device) {
        log_error("cannot take the device of '%s' over from libfuse: out of memory; free some",
                  serve->mountpoint);
        return SERVE_SYSTEM;
    }
    status = session_initialise(serve->context);
    if (status)
        return status;
    serve->context->loop = loop_new(serve->context);
    if (!serve->context->loop) {
        log_error("cannot make ready to serve '%s': out of memory; free some", serve->mountpoint);
        return SERVE_SYSTEM;
    }
    limits_say(serve);
    return SERVE_DONE;
}

/* The loop ----------------------------------------------------------------------------------- */

static bool connection_ended(struct fuse_session *session)
{
    struct pollfd device = {.fd = fuse_session_fd(session)};

    return poll(&device, 1, 0) == 1 && (device.revents & POLLERR);
}

int serve_run(struct serve *serve)
{
    struct context *context = serve->context;
    struct signals signals = {.context = context, .mountpoint = serve->mountpoint};
    int error = signals_start(&signals);

    if (error) {
        log_error("cannot start the thread for signals: %s; raise TasksMax= of the unit, or ulimit "
                  "-u and -v of who mounts",
                  strerror(-error));
        return SERVE_SYSTEM;
    }
    parent_leave(serve);
    log_notice("serving '%s' at '%s'", context->options.source, serve->mountpoint);
    error = loop_run(context->loop);
    signals_stop(&signals);

    /* Notifications under way wait for answers that no thread would give now. */
    if (!connection_ended(context->session))
        umount2(serve->mountpoint, MNT_FORCE | MNT_DETACH | UMOUNT_NOFOLLOW);
    if (error) {
        log_error("serving '%s' ended: %s; end its guests, and mount it again", serve->mountpoint,
                  strerror(abs(error)));
        return SERVE_SYSTEM;
    }
    log_notice("no longer serving '%s'", serve->mountpoint);
    return SERVE_DONE;
}

void serve_close(struct serve *serve)
{
    struct context *context = serve->context;

    loop_free(context->loop);
    context->loop = NULL;
    device_free(context->device); /* the last descriptors of the connection but the session's */
    context->device = NULL;
    if (context->session) {
        fuse_session_unmount(context->session);
        fuse_session_destroy(context->session);
        context->session = NULL;
    }
    if (context->source_fd >= 0)
        close(context->source_fd);
    context->source_fd = -1;
    free(serve->mountpoint);
    serve->mountpoint = NULL;
}

/* INIT --------------------------------------------------------------------------------------- */

/* Those that the kernel does not offer are done without. */
static const uint64_t wanted[] = {
    FUSE_CAP_ASYNC_READ,
    FUSE_CAP_ASYNC_DIO,
    FUSE_CAP_ATOMIC_O_TRUNC,
    FUSE_CAP_DONT_MASK,
    FUSE_CAP_EXPLICIT_INVAL_DATA,
    FUSE_CAP_HANDLE_KILLPRIV_V2,
    FUSE_CAP_IOCTL_DIR,
    FUSE_CAP_PARALLEL_DIROPS,
    FUSE_CAP_READDIRPLUS,
    FUSE_CAP_READDIRPLUS_AUTO,
    FUSE_CAP_DIRECT_IO_ALLOW_MMAP,
};

/* Some of them are libfuse's defaults. */
static const uint64_t unwanted[] = {
    FUSE_CAP_AUTO_INVAL_DATA, /* takes precedence of EXPLICIT_INVAL_DATA; a GETATTR a read */
    FUSE_CAP_HANDLE_KILLPRIV, /* the kernel would not say when a set-id bit has to go */
    FUSE_CAP_WRITEBACK_CACHE, /* what a guest has written must not wait in this host's cache */
    FUSE_CAP_SPLICE_READ,     /* splice costs two to three times the speed */
    FUSE_CAP_SPLICE_WRITE,       FUSE_CAP_SPLICE_MOVE,
    FUSE_CAP_POSIX_ACL,       /* the backing file system judges */
    FUSE_CAP_CACHE_SYMLINKS,  /* names are nobody's to own */
    FUSE_CAP_NO_OPEN_SUPPORT, /* every open has to be seen */
    FUSE_CAP_NO_OPENDIR_SUPPORT, FUSE_CAP_EXPORT_SUPPORT,
    FUSE_CAP_POSIX_LOCKS, /* the kernel's own, unless asked for below */
    FUSE_CAP_FLOCK_LOCKS,        FUSE_CAP_PASSTHROUGH,
};

/*
 * There a write that bypasses the kernel's pages drops those that it overwrites before and after
 * (linux/fs/fuse/file.c, fuse_direct_io; tests/mount/kept.py). Linux 6.1 does neither.
 */
#define MINOR_OF_LINUX_6_12 41

void serve_init(void *userdata, struct fuse_conn_info *connection)
{
    struct context *context = userdata;

    context->capable = connection->capable_ext;
    context->drops_overwritten = connection->proto_minor >= MINOR_OF_LINUX_6_12;
    for (size_t i = 0; i < sizeof(unwanted) / sizeof(unwanted[0]); i++)
        fuse_unset_feature_flag(connection, unwanted[i]);
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
        fuse_set_feature_flag(connection, wanted[i]);
    if (context->options.coherence) {
        fuse_set_feature_flag(connection, FUSE_CAP_POSIX_LOCKS);
        fuse_set_feature_flag(connection, FUSE_CAP_FLOCK_LOCKS);
    }
    if (context->options.io == IO_PASSTHROUGH) {
        context->passthrough = fuse_set_feature_flag(connection, FUSE_CAP_PASSTHROUGH);
        /* SOURCE may lie on FUSE or an overlay itself. */
        connection->max_backing_stack_depth = FUSE_BACKING_STACKED_OVER;
    }
    connection->max_write = 1 << 20;
    connection->max_background = 128;
    connection->congestion_threshold = 96;
    connection->time_gran = 1;
}
