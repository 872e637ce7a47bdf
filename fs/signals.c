/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "signals.h"

#include "instance.h"
#include "log.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <time.h>

static sigset_t ending_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    return set;
}

static void interrupt_nothing(int signal)
{
    (void)signal;
}

void signals_block(void)
{
    const struct sigaction ignore = {.sa_handler = SIG_IGN};
    const struct sigaction interrupt = {.sa_handler = interrupt_nothing}; /* no SA_RESTART */
    sigset_t set = ending_signals();

    /* None of these can fail with valid arguments. */
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    sigaction(SIGPIPE, &ignore, NULL);
    sigaction(SIGUSR2, &interrupt, NULL);
}

/*
 * For a mount that this process may not unmount by itself (fusermount3 does, for a user who is not
 * root). libfuse looks whether it should exit when its wait is interrupted; the signal is repeated
 * because it may come just before the wait.
 */
static void loop_interrupt(struct signals *signals)
{
    const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};

    fuse_session_exit(signals->context->session);
    while (!atomic_load(&signals->stopped)) {
        pthread_kill(signals->loop, SIGUSR2);
        nanosleep(&pause, NULL);
    }
}

static void mount_end(struct signals *signals)
{
    unsigned open_files = instance_release_all(signals->context);

    /* With nothing open: as umount(8) does, dirty pages are written first. */
    if (umount2(signals->mountpoint, UMOUNT_NOFOLLOW) == 0)
        return;
    if (open_files > 0)
        log_warning("unmounting '%s' with files still open: %u", signals->mountpoint, open_files);
    /* MNT_FORCE: the connection ends at once, not with the last open file. */
    if (umount2(signals->mountpoint, MNT_FORCE | MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
        loop_interrupt(signals);
}

static void *signals_wait(void *argument)
{
    struct signals *signals = argument;
    sigset_t set = ending_signals();
    int signal = 0;

    sigwait(&set, &signal);
    if (atomic_load(&signals->stopped))
        return NULL;
    log_notice("%s: releasing what this mount owns, then unmounting '%s'", strsignal(signal),
               signals->mountpoint);
    mount_end(signals);
    return NULL;
}

int signals_start(struct signals *signals)
{
    atomic_init(&signals->stopped, false);
    signals->loop = pthread_self();
    return -pthread_create(&signals->thread, NULL, signals_wait, signals);
}

void signals_stop(struct signals *signals)
{
    atomic_store(&signals->stopped, true);
    pthread_kill(signals->thread, SIGTERM);
    pthread_join(signals->thread, NULL);
}
