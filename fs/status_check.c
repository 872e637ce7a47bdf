/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "status_check.h"

#include "guard.h"
#include "pool.h"
#include "verify.h"

#include <errno.h>
#include <stdlib.h>

/* What an answer may take longer for the sake of a store that is slow. */
#define CHECK_MOST_MS 250

/* One STATUS under way. The mutex guards all that changes; who takes `pending` to 0 answers. */
struct check_call {
    struct context *context;
    fuse_req_t req;
    uid_t uid;
    struct status_scope scope;
    pthread_mutex_t mutex;
    size_t pending;
    bool is_late;
};

static void answer(struct check_call *call)
{
    struct migfs_files *files = calloc(1, sizeof(*files));
    int error = files ? 0 : -ENOMEM;

    if (error == 0) {
        files->version = MIGFS_IOC_VERSION;
        files->flags = (call->is_late ? MIGFS_FILES_UNCHECKED : 0) |
                       (call->context->is_unfenced ? MIGFS_FILES_UNFENCED : 0);
        error = status_files(call->context, &call->scope, 0, call->uid, files);
    }
    if (error == 0)
        fuse_reply_ioctl(call->req, 0, files, sizeof(*files));
    else
        fuse_reply_err(call->req, -error);
    free(files);
}

static void call_put(struct check_call *call)
{
    pthread_mutex_lock(&call->mutex);
    const bool is_last = --call->pending == 0;
    pthread_mutex_unlock(&call->mutex);
    if (!is_last)
        return;
    answer(call);
    status_scope_deinit(&call->scope);
    pthread_mutex_destroy(&call->mutex);
    free(call);
}

static void checked(struct context *context, struct inode *inode, int error, void *data)
{
    struct check_call *call = data;

    (void)context;
    (void)inode;
    pthread_mutex_lock(&call->mutex);
    call->is_late = call->is_late || error != 0;
    pthread_mutex_unlock(&call->mutex);
    call_put(call);
}

/* Of the locks of who writes, and, of a recorded owner, of what the file must be. */
static int look(struct context *context, struct inode *inode)
{
    struct handle *handle;
    int error;

    pthread_mutex_lock(&inode->mutex);
    const bool is_owned = owner_state(&inode->owner) == OWNER_OWNER && inode->watch.is_on;
    const bool is_guarded = inode->guard_fd >= 0;
    handle = handle_reader(inode);
    pthread_mutex_unlock(&inode->mutex);
    if (!handle) /* by write-only handles nothing can be learned */
        return is_guarded ? -EAGAIN : 0;
    error = guard_check(context, handle);
    if (is_owned)
        verify_owned(context, handle);
    return error;
}

/* In its turn, so that it stays so meanwhile. */
static void run(struct context *context, struct job *job)
{
    const int error = pool_expired(context->pool, job) ? 0 : look(context, job->inode);

    pool_reply(context->pool, job, error);
    pool_finish(context->pool, job);
}

static void job_free(struct job *job)
{
    free(job);
}

static int check_file(struct check_call *call, struct inode *inode)
{
    struct job *job = calloc(1, sizeof(*job));

    if (!job)
        return -ENOMEM;
    *job = (struct job){
        .inode = inode, .run = run, .free = job_free, .done = checked, .done_data = call};
    pthread_mutex_lock(&call->mutex);
    call->pending++;
    pthread_mutex_unlock(&call->mutex);
    pool_set_deadline(call->context->pool, job, CHECK_MOST_MS);
    pool_submit(call->context->pool, job);
    return 0;
}

static bool is_watched(struct inode *inode)
{
    pthread_mutex_lock(&inode->mutex);
    const bool watched = inode->watch.is_on || inode->guard_fd >= 0;
    pthread_mutex_unlock(&inode->mutex);
    return watched;
}

int status_check_serve(struct context *context, fuse_req_t req, struct status_scope *scope)
{
    struct check_call *call = calloc(1, sizeof(*call));
    struct inode_list list;
    int error = call ? inode_list_open(context, scope, &list) : -ENOMEM;

    if (error != 0) {
        free(call);
        return error;
    }
    *call = (struct check_call){.context = context,
                                .req = req,
                                .uid = fuse_req_ctx(req)->uid,
                                .scope = *scope,
                                .pending = 1 /* this function's own */};
    *scope = (struct status_scope){.ino = 0};
    pthread_mutex_init(&call->mutex, NULL);
    for (size_t i = 0; i < list.count; i++) {
        if (is_watched(list.inodes[i]) && check_file(call, list.inodes[i]) != 0) {
            pthread_mutex_lock(&call->mutex);
            call->is_late = true; /* short of memory it is answered all the same */
            pthread_mutex_unlock(&call->mutex);
        }
    }
    inode_list_deinit(context, &list);
    call_put(call);
    return 0;
}
