/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ioctl.h"

#include "caller.h"
#include "events.h"
#include "file_flags.h"
#include "file_name.h"
#include "history_file.h"
#include "log.h"
#include "stats.h"
#include "status_check.h"
#include "transition.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* One file of a call, and what became of it. */
struct call_file {
    struct handoff_call *call;
    struct inode *inode;
    bool was_owned; /* before */
    bool is_done;
};

/*
 * One ACQUIRE, RELEASE or FORGET, of one file or of many: answered when the last of them is done.
 * Of a group that did not go whole it turns round first, and takes back what is done. The mutex
 * guards all that changes; whoever takes `pending` to 0 goes on.
 */
struct handoff_call {
    struct context *context;
    fuse_req_t req;
    enum ioctl_call call;
    uint64_t handle; /* the caller's, of a file; 0 of a directory */
    bool is_group;
    bool takes_back;
    struct inode_list list;
    struct call_file *files;
    pthread_mutex_t mutex;
    size_t pending;
    struct migfs_handoff result;
};

static void call_answer(struct handoff_call *call)
{
    fuse_reply_ioctl(call->req, -call->result.error, &call->result, sizeof(call->result));
    pthread_mutex_destroy(&call->mutex);
    inode_list_deinit(call->context, &call->list);
    free(call->files);
    free(call);
}

static void call_begin(struct handoff_call *call, enum ioctl_call which);

static void call_unref(struct handoff_call *call)
{
    pthread_mutex_lock(&call->mutex);
    const bool is_last = --call->pending == 0;
    const bool turns = is_last && call->is_group && !call->takes_back && call->result.error != 0 &&
                       call->result.files_done > 0;
    call->takes_back = call->takes_back || turns;
    pthread_mutex_unlock(&call->mutex);
    if (turns)
        call_begin(call, call->call == IOCTL_ACQUIRE ? IOCTL_RELEASE : IOCTL_ACQUIRE);
    else if (is_last)
        call_answer(call);
}

static void note_failure(struct handoff_call *call, int error, const char *path)
{
    call->result.files_failed++;
    if (call->result.error != 0)
        return;
    call->result.error = -error;
    strncpy(call->result.path, path ? path : "", sizeof(call->result.path) - 1);
}

/* Told by the pool, once a file. */
static void file_done(struct context *context, struct inode *inode, int error, void *data)
{
    struct call_file *file = data;
    struct handoff_call *call = file->call;
    char *path = error != 0 ? file_path(context, inode) : NULL;

    pthread_mutex_lock(&call->mutex);
    if (call->takes_back && error == 0) {
        call->result.files_done--;
    } else if (!call->takes_back && error == 0) {
        call->result.files_done++;
        file->is_done = true;
    } else if (!call->takes_back) {
        note_failure(call, error, path);
    }
    pthread_mutex_unlock(&call->mutex);
    if (call->takes_back && error != 0)
        log_error("%s could not be taken back to what it was when others of the call failed: %s; "
                  "see migfsctl status, and acquire or release it alone",
                  file_name(context, inode).text, strerror(-error));
    free(path);
    call_unref(call);
}

static void file_begin(struct handoff_call *call, struct call_file *file, enum ioctl_call which)
{
    struct context *context = call->context;
    const unsigned deadline_ms = context->options.deadline_ms;

    pthread_mutex_lock(&call->mutex);
    call->pending++;
    pthread_mutex_unlock(&call->mutex);
    switch (which) {
    case IOCTL_ACQUIRE:
        transition_acquire(context, file->inode, call->handle,
                           (uint32_t)fuse_req_ctx(call->req)->pid, deadline_ms, file_done, file);
        break;
    case IOCTL_FORGET:
        transition_forget(context, file->inode, deadline_ms, file_done, file);
        break;
    default:
        if (call->takes_back)
            transition_take_back(context, file->inode, deadline_ms, file_done, file);
        else
            transition_release(context, file->inode, deadline_ms, file_done, file);
        break;
    }
}

/*
 * Taking back leaves alone what failed, and what was owned before an acquire. A release stops the
 * writes of files that nobody owned, too: only an acquire lets those go on.
 */
static bool is_wanted(const struct handoff_call *call, const struct call_file *file)
{
    if (!call->takes_back)
        return true;
    return file->is_done && (call->call == IOCTL_RELEASE || !file->was_owned);
}

static void call_begin(struct handoff_call *call, enum ioctl_call which)
{
    pthread_mutex_lock(&call->mutex);
    call->pending++; /* this function's own */
    pthread_mutex_unlock(&call->mutex);
    for (size_t i = 0; i < call->list.count; i++) {
        if (is_wanted(call, &call->files[i]))
            file_begin(call, &call->files[i], which);
    }
    call_unref(call);
}

static bool others_have_it_open(struct inode *inode)
{
    bool open;

    pthread_mutex_lock(&inode->mutex);
    open = inode->open_handles > 1;
    pthread_mutex_unlock(&inode->mutex);
    return open;
}

/* Whether the caller may hand over what the descriptor is. 0 or a negative errno. */
static int handoff_permitted(struct context *context, fuse_req_t req, struct inode *inode,
                             const struct fuse_file_info *fi, enum ioctl_call call)
{
    const struct handle *handle;

    if (!context->options.coherence || (call == IOCTL_FORGET && !context->records))
        return -EOPNOTSUPP;
    if (S_ISDIR(inode->type))
        return caller_is_root(req) ? 0 : -EPERM;
    handle = handle_find(context->handles, fi->fh);
    if (!handle || !handle_writes(handle))
        return -EBADF;
    return call == IOCTL_ACQUIRE && !others_have_it_open(inode) ? -ENOENT : 0;
}

static int call_files_new(struct handoff_call *call)
{
    call->files = calloc(call->list.count + 1, sizeof(*call->files));
    if (!call->files)
        return -ENOMEM;
    for (size_t i = 0; i < call->list.count; i++) {
        struct inode *inode = call->list.inodes[i];

        pthread_mutex_lock(&inode->mutex);
        const bool is_owned = owner_state(&inode->owner) == OWNER_OWNER;
        pthread_mutex_unlock(&inode->mutex);
        call->files[i] = (struct call_file){.call = call, .inode = inode, .was_owned = is_owned};
    }
    return 0;
}

static int call_new(struct context *context, struct inode *inode, pid_t group,
                    struct handoff_call **result)
{
    struct handoff_call *call = calloc(1, sizeof(*call));
    struct status_scope scope;
    int error = call ? status_scope_init(&scope, context, inode, 0) : -ENOMEM;

    if (error == 0) {
        scope.process = group;
        error = inode_list_open(context, &scope, &call->list);
        status_scope_deinit(&scope);
    }
    if (error == 0) {
        error = call_files_new(call);
        if (error != 0)
            inode_list_deinit(context, &call->list);
    }
    if (error != 0) {
        free(call);
        return error;
    }
    *result = call;
    return 0;
}

static int handoff_serve(struct context *context, fuse_req_t req, struct inode *inode,
                         const struct fuse_file_info *fi, const struct ioctl_argument *argument)
{
    struct handoff_call *call;
    int error = handoff_permitted(context, req, inode, fi, argument->call);

    if (error == 0 && argument->pid != 0 && !S_ISDIR(inode->type))
        error = -ENOTDIR;
    if (error == 0)
        error = call_new(context, inode, (pid_t)argument->pid, &call);
    if (error != 0)
        return error;
    call->context = context;
    call->req = req;
    call->call = argument->call;
    call->handle = S_ISDIR(inode->type) ? 0 : fi->fh;
    call->is_group = argument->pid != 0;
    call->result.version = MIGFS_IOC_VERSION;
    call->result.pid = argument->pid;
    pthread_mutex_init(&call->mutex, NULL);
    call_begin(call, call->call);
    return 0;
}

static int status_serve(struct context *context, fuse_req_t req, const struct status_scope *scope,
                        uint64_t cursor)
{
    struct migfs_files *files = calloc(1, sizeof(*files));
    int error;

    if (!files)
        return -ENOMEM;
    files->version = MIGFS_IOC_VERSION;
    files->flags = context->is_unfenced ? MIGFS_FILES_UNFENCED : 0;
    error = status_files(context, scope, cursor, fuse_req_ctx(req)->uid, files);
    if (error == 0)
        fuse_reply_ioctl(req, 0, files, sizeof(*files));
    free(files);
    return error;
}

static int query_serve(struct context *context, fuse_req_t req, struct inode *inode,
                       const struct ioctl_argument *argument)
{
    struct status_scope scope;
    int error = status_scope_init(&scope, context, inode, argument->ino);

    if (error != 0)
        return error;
    if (argument->call == IOCTL_STATUS && argument->checks && argument->cursor == 0)
        error = status_check_serve(context, req, &scope);
    else if (argument->call == IOCTL_STATUS)
        error = status_serve(context, req, &scope, argument->cursor);
    else
        events_serve(context, req, &scope, argument->cursor);
    status_scope_deinit(&scope);
    return error;
}

static bool is_owner_of(struct context *context, fuse_req_t req, struct inode *inode)
{
    _cleanup_pin_ struct inode_pin pin = inode_pin_scoped(context->inodes, inode);
    struct stat attributes;

    return pin.fd >= 0 && fstat(pin.fd, &attributes) == 0 &&
           attributes.st_uid == fuse_req_ctx(req)->uid;
}

static int history_permitted(struct context *context, fuse_req_t req, struct inode *inode,
                             const struct fuse_file_info *fi)
{
    const struct handle *handle;

    if (S_ISDIR(inode->type))
        return -EISDIR;
    if (!context->records)
        return -EOPNOTSUPP;
    handle = handle_find(context->handles, fi->fh);
    if (!handle)
        return -EBADF;
    return handle_writes(handle) || caller_is_root(req) || is_owner_of(context, req, inode)
               ? 0
               : -EACCES;
}

_Static_assert(HISTORY_ENTRIES == MIGFS_HISTORY_HANDOVERS, "all that is kept is told");

static void show_handover(const struct history_entry *entry, struct migfs_handover *handover)
{
    *handover = (struct migfs_handover){
        .generation = entry->generation,
        .time_ns = entry->time_ns,
        .release_ns = entry->release_ns,
        .acquire_ns = entry->acquire_ns,
        .bytes = entry->flushed_bytes,
        .verified = entry->verified,
    };
    _Static_assert(sizeof(handover->from) == sizeof(entry->from), "a name is as long in either");
    memcpy(handover->from, entry->from, sizeof(handover->from));
    memcpy(handover->to, entry->to, sizeof(handover->to));
}

static int history_serve(struct context *context, fuse_req_t req, struct inode *inode,
                         const struct fuse_file_info *fi)
{
    struct history_entry *entries;
    struct migfs_history *history;
    int count = history_permitted(context, req, inode, fi);

    if (count != 0)
        return count;
    entries = calloc(HISTORY_ENTRIES, sizeof(*entries));
    history = calloc(1, sizeof(*history));
    count = entries && history ? history_file_read(context, inode, entries) : -ENOMEM;
    if (count >= 0) {
        history->version = MIGFS_IOC_VERSION;
        history->count = (__u32)count;
        for (int i = 0; i < count; i++)
            show_handover(&entries[i], &history->handovers[i]);
        fuse_reply_ioctl(req, 0, history, sizeof(*history));
    }
    free(history);
    free(entries);
    return count < 0 ? count : 0;
}

_Static_assert(TIMELINE_SPANS == MIGFS_TIMELINE_SPANS, "all that is kept is told");

static void show_side(const struct timeline_entry *entry, struct migfs_side *side)
{
    const struct timeline *timeline = &entry->timeline;

    *side = (struct migfs_side){
        .flags = MIGFS_SIDE_KNOWN | (entry->clock_unsure_ns != 0 ? MIGFS_SIDE_CLOCK : 0) |
                 (timeline->is_cut ? MIGFS_SIDE_CUT : 0),
        .span_count = timeline->span_count,
        .started_ns = timeline->started_ns,
        .duration_ns = (__u64)timeline->ended_ns - (__u64)timeline->started_ns,
        .clock_ahead_ns = entry->clock_ahead_ns,
        .clock_unsure_ns = entry->clock_unsure_ns,
    };
    memcpy(side->host, entry->host, sizeof(side->host));
    memcpy(side->boot_id, entry->boot_id, sizeof(side->boot_id));
    for (uint32_t i = 0; i < timeline->span_count; i++)
        side->spans[i] = (struct migfs_span){
            .start_us = timeline->spans[i].start_us,
            .duration_us = timeline->spans[i].duration_us,
            .kind = timeline->spans[i].kind,
            .step = timeline->spans[i].step,
        };
}

/* 0: none is known. Or a negative errno. */
static int last_generation(struct context *context, struct inode *inode, uint64_t *generation)
{
    struct history_entry *entries = calloc(HISTORY_ENTRIES, sizeof(*entries));
    const int count = entries ? history_file_read(context, inode, entries) : -ENOMEM;

    if (count > 0)
        *generation = entries[0].generation;
    free(entries);
    return count < 0 ? count : 0;
}

static int timeline_serve(struct context *context, fuse_req_t req, struct inode *inode,
                          const struct fuse_file_info *fi, uint64_t generation)
{
    struct history_sides found = {.is_known = {false, false}};
    struct migfs_timeline timeline = {.version = MIGFS_IOC_VERSION};
    int error = history_permitted(context, req, inode, fi);

    if (error == 0 && generation == 0)
        error = last_generation(context, inode, &generation);
    if (error == 0)
        error = generation != 0 ? history_file_sides(context, inode, generation, &found) : -ENODATA;
    if (error != 0)
        return error;
    timeline.generation = generation;
    if (found.is_known[TIMELINE_RELEASE])
        show_side(&found.sides[TIMELINE_RELEASE], &timeline.release);
    if (found.is_known[TIMELINE_ACQUIRE])
        show_side(&found.sides[TIMELINE_ACQUIRE], &timeline.acquire);
    fuse_reply_ioctl(req, 0, &timeline, sizeof(timeline));
    return 0;
}

static uint32_t mount_flags(const struct context *context)
{
    const struct options *options = &context->options;
    uint32_t flags = 0;

    if (options->coherence)
        flags |= MIGFS_MOUNT_COHERENT;
    if (context->records)
        flags |= MIGFS_MOUNT_RECORDS;
    if (context->passthrough)
        flags |= MIGFS_MOUNT_PASSTHROUGH;
    if (options->coherence && !context->passthrough && options->fence != FENCE_OFF)
        flags |= MIGFS_MOUNT_FENCES;
    if (context->capable & FUSE_CAP_HANDLE_KILLPRIV_V2)
        flags |= MIGFS_MOUNT_KILLPRIV;
    return flags;
}

static void show_text(char *to, size_t size, const char *text)
{
    snprintf(to, size, "%s", text ? text : ""); /* what is too long is cut */
}

static int mount_serve(struct context *context, fuse_req_t req)
{
    struct migfs_mount *mount = calloc(1, sizeof(*mount));
    const struct inode_identity *root = &inode_find(context->inodes, FUSE_ROOT_ID)->identity;

    if (!mount)
        return -ENOMEM;
    *mount = (struct migfs_mount){
        .version = MIGFS_IOC_VERSION,
        .flags = mount_flags(context),
        .pid = (__u32)getpid(),
        .lease_ms = context->lease_ms,
        .device_major = major(root->dev),
        .device_minor = minor(root->dev),
        .ino = root->ino,
        .instance = context->host.instance,
        .mounted_ns = context->mounted_ns,
    };
    show_text(mount->release, sizeof(mount->release), MIGFS_VERSION_TEXT);
    show_text(mount->libfuse, sizeof(mount->libfuse), fuse_pkgversion());
    show_text(mount->options, sizeof(mount->options), context->options.own_words);
    if (readlink(proc_path(context->source_fd).text, mount->source, sizeof(mount->source) - 1) < 0)
        mount->source[0] = '\0';
    fuse_reply_ioctl(req, 0, mount, sizeof(*mount));
    free(mount);
    return 0;
}

static int count_state(struct inode *inode, void *data)
{
    struct migfs_stats *stats = data;

    if (!S_ISREG(inode->type))
        return 0;
    pthread_mutex_lock(&inode->mutex);
    const enum owner_state state = owner_state(&inode->owner);
    pthread_mutex_unlock(&inode->mutex);
    stats->open_files[state]++; /* numbered alike: fs/status.c */
    return 0;
}

static int stats_serve(struct context *context, fuse_req_t req)
{
    struct migfs_stats *stats = calloc(1, sizeof(*stats));
    int error;

    if (!stats)
        return -ENOMEM;
    stats->version = MIGFS_IOC_VERSION;
    stats->instance = context->host.instance;
    stats->mounted_ns = context->mounted_ns;
    stats_read(context->stats, &stats->counters);
    error = inode_each_open(context->inodes, count_state, stats);
    if (error == 0)
        fuse_reply_ioctl(req, 0, stats, sizeof(*stats));
    free(stats);
    return error;
}

/* Replies, now or later, or returns a negative errno to reply with. */
static int serve(fuse_req_t req, fuse_ino_t ino, const struct fuse_file_info *fi,
                 const struct ioctl_argument *argument)
{
    struct context *context = context_of(req);
    struct inode *inode = inode_find(context->inodes, ino);

    if (!inode)
        return -ESTALE;
    switch (argument->call) {
    case IOCTL_ACQUIRE:
    case IOCTL_RELEASE:
    case IOCTL_FORGET:
        return handoff_serve(context, req, inode, fi, argument);
    case IOCTL_HISTORY:
        return history_serve(context, req, inode, fi);
    case IOCTL_TIMELINE:
        return timeline_serve(context, req, inode, fi, argument->generation);
    case IOCTL_MOUNT:
        return mount_serve(context, req);
    case IOCTL_STATS:
        return stats_serve(context, req);
    case IOCTL_STATUS:
    case IOCTL_EVENTS:
        return query_serve(context, req, inode, argument);
    }
    return -ENOTTY;
}

void ioctl_serve(fuse_req_t req, fuse_ino_t ino, unsigned int cmd, void *arg,
                 struct fuse_file_info *fi, unsigned flags, const void *in_buf, size_t in_bufsz,
                 size_t out_bufsz)
{
    struct ioctl_argument argument;
    int error;

    (void)arg;
    (void)flags; /* the layout is the same for 32-bit callers */
    if (file_flags_is_call(cmd)) {
        file_flags_serve(req, fi, cmd, in_buf, in_bufsz, out_bufsz);
        return;
    }
    error = ioctl_argument_parse(cmd, in_buf, in_bufsz, out_bufsz, &argument);
    if (error == 0)
        error = serve(req, ino, fi, &argument);
    if (error != 0)
        fuse_reply_err(req, -error);
}
