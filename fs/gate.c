/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gate.h"

#include "guard.h"
#include "lock.h"
#include "metadata.h"

struct gate_range gate_range(off_t offset, size_t length)
{
    const uint64_t start = (uint64_t)offset;

    return (struct gate_range){
        .start = start,
        .end = length < DIGEST_TO_THE_END - start ? start + length : DIGEST_TO_THE_END,
    };
}

static int enter(struct context *context, struct inode *inode, const struct handle *handle,
                 bool is_page, struct gate_range range, struct gate_pass *pass)
{
    const bool strict = context->options.fence == FENCE_STRICT;
    const bool holds = strict && handle && lock_handle_writes(context, inode, handle);
    int error;

    pthread_mutex_lock(&inode->mutex);
    error = owner_write_permitted(&inode->owner, context->options.fence, holds, is_page);
    if (error == 0) {
        pass->inode = inode;
        pass->fd = guard_descriptor(inode, handle, &pass->by_guard);
        pass->is_direct = pass->by_guard && inode->guard_is_direct;
        pass->phase = inode->write_phase;
        inode->writes_in[pass->phase]++;
        inode->changes++;
        pass->is_page = is_page;
        pass->may_have_setid = inode->may_have_setid;
        inode->pages_under_way += is_page;
        pass->wants_digest = digest_ring_keeps(&inode->digests);
        inode->written_beside |= owner_state(&inode->owner) == OWNER_SHARED;
        trace_change_begin(&inode->watch);
        digest_change_begin(&inode->digests, &pass->change, range.start, range.end);
        metadata_touch(inode, range.start, range.end);
    }
    pthread_mutex_unlock(&inode->mutex);
    return error;
}

int gate_enter(struct context *context, struct inode *inode, const struct handle *handle,
               struct gate_range range, struct gate_pass *pass)
{
    return enter(context, inode, handle, false, range, pass);
}

int gate_enter_page(struct context *context, const struct handle *handle, struct gate_range range,
                    struct gate_pass *pass)
{
    return enter(context, handle->inode, handle, true, range, pass);
}

/* Of two that overlap one may have cut what the other one wrote. */
static enum trace_effect effect_of(const struct gate_pass *pass, const struct gate_outcome *outcome)
{
    return pass->change.is_spoiled ? TRACE_UNSURE : outcome->effect;
}

bool gate_leave(struct gate_pass *pass, const struct gate_outcome *outcome)
{
    struct inode *inode = pass->inode;

    pthread_mutex_lock(&inode->mutex);
    digest_change_end(&inode->digests, &pass->change, outcome->written);
    trace_change_end(&inode->watch, effect_of(pass, outcome), outcome->length_bytes);
    inode->bytes_written += outcome->bytes;
    inode->pages_under_way -= pass->is_page;
    inode->pages_written_back += pass->is_page;
    const bool last_page = pass->is_page && inode->pages_under_way == 0;
    if (--inode->writes_in[pass->phase] == 0 || last_page)
        pthread_cond_broadcast(&inode->drained);
    const bool asks = owner_asks_server(&inode->owner);
    pthread_mutex_unlock(&inode->mutex);
    return asks;
}

void gate_touch_begin(struct inode *inode)
{
    pthread_mutex_lock(&inode->mutex);
    trace_change_begin(&inode->watch);
    pthread_mutex_unlock(&inode->mutex);
}

void gate_touch_end(struct inode *inode)
{
    pthread_mutex_lock(&inode->mutex);
    trace_change_end(&inode->watch, TRACE_KEEPS, 0);
    pthread_mutex_unlock(&inode->mutex);
}
