/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the kernel and libfuse of this host allow, and whether io_uring is to be had for guests.
 */
#include "doctor.h"
#include "small_file.h"

#include <errno.h>
#include <linux/io_uring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

/* 1000 * major + minor of the version that a text begins with; 0: with none. */
static unsigned version_of(const char *text)
{
    char *end;
    const unsigned long major = strtoul(text, &end, 10);

    if (end == text || *end != '.' || major > 999)
        return 0;
    return (unsigned)(1000 * major + strtoul(end + 1, NULL, 10) % 1000);
}

/* As linux/include/uapi/linux/fuse.h has them: 7.33, 7.40. */
enum {
    KILLPRIV_SINCE = 5012,
    PASSTHROUGH_SINCE = 6009,
    RESEND_SINCE = 6009,
};

/* A distribution keeps the configuration of its kernels in /boot; where there is none it is not
 * known, and taken for set. */
static bool is_configured(const char *release, const char *line)
{
    char *path = NULL, *text = NULL;
    bool configured = true;

    if (asprintf(&path, "/boot/config-%s", release) < 0)
        return true;
    text = small_file_read(path);
    if (text != NULL)
        configured = strstr(text, line) != NULL;
    free(text);
    free(path);
    return configured;
}

static void say_kernel(struct doctor *doctor, const char *release)
{
    const unsigned version = version_of(release);
    const bool passes =
        version >= PASSTHROUGH_SINCE && is_configured(release, "CONFIG_FUSE_PASSTHROUGH=y");

    if (version < KILLPRIV_SINCE) {
        doctor_say(doctor, COLOUR_YELLOW, "use Linux 5.12 or newer, best 6.9 or newer",
                   "Linux %s does not say when set-id bits go: each write costs a call more",
                   release);
        return;
    }
    doctor_say(doctor, COLOUR_GREEN, NULL, "Linux %s: killpriv%s%s", release,
               passes ? ", passthrough for root" : "; no io=passthrough",
               version >= RESEND_SINCE ? ", resend" : ", no resend");
}

void doctor_kernel(struct doctor *doctor, const struct subject *subject)
{
    struct utsname host;

    (void)subject;
    if (access("/dev/fuse", F_OK) != 0) {
        doctor_say(doctor, COLOUR_RED, "modprobe fuse", "/dev/fuse: %s: nothing can be mounted",
                   strerror(errno));
        return;
    }
    if (uname(&host) == 0) /* it cannot fail */
        say_kernel(doctor, host.release);
}

static void say_libfuse(struct doctor *doctor, const char *version)
{
    if (version_of(version) < 3017)
        doctor_say(doctor, COLOUR_RED, "install a package of migfs for this system",
                   "libfuse %s is older than 3.17", version);
    else if (strcmp(version, "3.18.0") == 0)
        doctor_say(doctor, COLOUR_YELLOW, "install libfuse 3.18.1 or newer, or 3.17",
                   "libfuse 3.18.0 has defects that later ones have not");
    else
        doctor_say(doctor, COLOUR_GREEN, NULL, "libfuse %s", version);
}

/* "migfs 0.1.0 (libfuse 3.17.2)" of the migfs beside this program, or that of PATH. */
static FILE *open_version(void)
{
    char path[4096];
    const ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);
    char *name;

    path[length > 0 ? length : 0] = '\0';
    name = strrchr(path, '/');
    if (name == NULL || name == path) /* an empty word in PATH would be the working directory */
        return popen("migfs --version 2>/dev/null", "re");
    *name = '\0';
    /* The directory goes by the environment, so that no byte of it is the shell's to read. */
    return setenv("MIGFSCTL_DIRECTORY", path, 1) == 0
               ? popen("PATH=\"$MIGFSCTL_DIRECTORY:$PATH\" migfs --version 2>/dev/null", "re")
               : NULL;
}

void doctor_libfuse(struct doctor *doctor, const struct subject *subject)
{
    char line[256] = "", version[64] = "";
    FILE *output;

    if (subject->has_mount) {
        say_libfuse(doctor, subject->mount.libfuse);
        return;
    }
    output = open_version();
    if (output != NULL && fgets(line, sizeof(line), output) != NULL)
        (void)sscanf(line, "migfs %*s (libfuse %63[^)])", version); /* "" says it */
    if (output != NULL)
        (void)pclose(output); /* what it printed says how it went */
    if (version[0] == '\0')
        doctor_say(doctor, COLOUR_RED, "install the package migfs",
                   "migfs --version cannot be run: neither beside migfsctl nor in PATH");
    else
        say_libfuse(doctor, version);
}

void doctor_io_uring(struct doctor *doctor, const struct subject *subject)
{
    static const char mend[] = "sysctl kernel.io_uring_disabled=0, or give no guest io='io_uring'";
    struct io_uring_params params = {.flags = 0};
    char disabled[16] = "0";
    long fd;

    (void)subject;
    (void)small_file_line("/proc/sys/kernel/io_uring_disabled", disabled,
                          sizeof(disabled)); /* before 6.6 there is none */
    if (disabled[0] != '0') {
        doctor_say(doctor, COLOUR_YELLOW, mend, "kernel.io_uring_disabled is %s: %s", disabled,
                   disabled[0] == '1' ? "only privileged processes, and so no guests, have io_uring"
                                      : "a guest whose disk has io='io_uring' does not start");
        return;
    }
    fd = syscall(SYS_io_uring_setup, 1, &params);
    if (fd >= 0) {
        (void)close((int)fd); /* nothing was queued */
        doctor_say(doctor, COLOUR_GREEN, NULL, "io_uring is allowed");
        return;
    }
    doctor_say(doctor, COLOUR_YELLOW,
               errno == EPERM ? "let the service's seccomp filter allow io_uring_setup, or give no "
                                "guest io='io_uring'"
                              : "give no guest io='io_uring'",
               "io_uring cannot be set up here: %s", strerror(errno));
}
