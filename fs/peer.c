/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "peer.h"

#include "log.h"

#include <inttypes.h>
#include <time.h>

static int64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* Of two odd hosts that take turns each is said more than once. */
static bool is_news(struct context *context, const struct record_host *host)
{
    return atomic_exchange(&context->odd_host, host->instance) != host->instance;
}

void peer_look(struct context *context, const struct record *record)
{
    const int64_t now_ns = clock_ns(CLOCK_REALTIME);
    const int64_t booted_ns = now_ns - clock_ns(CLOCK_BOOTTIME);
    const struct record_host *host = &record->host;
    const enum record_oddity oddity = record_host_oddity(record, &context->host, now_ns, booted_ns);

    if (oddity == RECORD_HOST_FINE || !is_news(context, host))
        return;
    if (oddity == RECORD_HOST_CLONED)
        log_warning("host %s has the machine-id of this one; give each host its own: "
                    "rm /etc/machine-id; systemd-machine-id-setup",
                    host->name);
    else
        log_warning("the clock of host %s is %" PRId64 " s ahead of this one's; set both by NTP: "
                    "times of hand-overs are wrong",
                    host->name, (record->time_ns - now_ns) / 1000000000);
}
