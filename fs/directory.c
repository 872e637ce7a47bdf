/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "directory.h"

#include "acting.h"
#include "handle.h"
#include "names.h"
#include "pages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int open_below(fuse_req_t req, struct inode *inode, int flags)
{
    _cleanup_acting_ struct acting acting = acting_begin(req, inode);
    const int kept = O_RDONLY | O_DIRECTORY | O_CLOEXEC | (flags & O_NOATIME);

    if (acting.fd < 0)
        return acting.fd;
    const int fd = open(acting.path.text, kept);
    return fd >= 0 ? fd : -errno;
}

static int open_handle(fuse_req_t req, struct inode *inode, int flags, struct handle **handle)
{
    const int fd = open_below(req, inode, flags);
    DIR *directory = fd < 0 ? NULL : fdopendir(fd);

    if (fd < 0)
        return fd;
    if (!directory) {
        close(fd);
        return -ENOMEM;
    }
    *handle =
        handle_open(context_of(req), inode, fd, O_RDONLY | O_DIRECTORY, false, fuse_req_ctx(req));
    if (!*handle) {
        closedir(directory);
        return -ENOMEM;
    }
    (*handle)->directory = directory;
    return 0;
}

void directory_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct context *context = context_of(req);
    struct inode *inode = inode_find(context->inodes, ino);
    struct handle *handle = NULL;
    int error;

    if (pages_answer_open(req, ino, fi))
        return;
    error = inode ? open_handle(req, inode, fi->flags, &handle) : -ESTALE;
    if (error != 0) {
        fuse_reply_err(req, -error);
        return;
    }
    fi->fh = handle->number;
    if (fuse_reply_open(req, fi) != 0)
        handle_close(context, handle);
}

/* An answer under way. */
struct listing {
    fuse_req_t req;
    char *bytes;
    size_t size, used;
    bool plus;
};

/*
 * With attributes: an entry that the caller may not look up, or that has just gone, is listed by
 * name and type alone (node id 0).
 */
static size_t add_plus(struct listing *listing, const struct handle *handle,
                       const struct dirent *entry, struct inode **inode)
{
    struct context *context = context_of(listing->req);
    struct fuse_entry_param found = {
        .attr = {.st_ino = entry->d_ino, .st_mode = (mode_t)entry->d_type << 12}};
    const bool dots = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    struct stat attributes;

    if (!dots && names_look_up(context, handle->fd, entry->d_name, false, inode, &attributes) == 0)
        found = names_entry(context, *inode, &attributes);
    return fuse_add_direntry_plus(listing->req, listing->bytes + listing->used,
                                  listing->size - listing->used, entry->d_name, &found,
                                  entry->d_off);
}

static size_t add_plain(struct listing *listing, const struct dirent *entry)
{
    const struct stat attributes = {.st_ino = entry->d_ino, .st_mode = (mode_t)entry->d_type << 12};

    return fuse_add_direntry(listing->req, listing->bytes + listing->used,
                             listing->size - listing->used, entry->d_name, &attributes,
                             entry->d_off);
}

/* Whether the entry fitted; what does not fit is not looked up either. */
static bool add(struct listing *listing, const struct handle *handle, const struct dirent *entry)
{
    struct context *context = context_of(listing->req);
    struct inode *inode = NULL;
    const size_t bytes =
        listing->plus ? add_plus(listing, handle, entry, &inode) : add_plain(listing, entry);
    const bool fits = bytes <= listing->size - listing->used;

    if (inode) {
        if (!fits)
            inode_forget(context->inodes, inode, 1);
        inode_unref(context->inodes, inode);
    }
    if (fits)
        listing->used += bytes;
    return fits;
}

static bool is_hidden(struct context *context, const struct handle *directory,
                      const struct dirent *entry)
{
    const struct inode *hidden = context->record_inode;

    return names_hidden(context, directory->inode->node_id, entry->d_name) ||
           (hidden && entry->d_ino == hidden->identity.ino &&
            names_hidden_there(context, directory->fd, entry->d_name));
}

/* Fills the listing from `offset`. An error after the first entry waits for the next call. */
static int fill(struct listing *listing, struct handle *handle, off_t offset)
{
    struct context *context = context_of(listing->req);

    if (offset != handle->position) {
        seekdir(handle->directory, offset);
        handle->position = offset;
    }
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(handle->directory);

        if (!entry)
            return errno != 0 && listing->used == 0 ? -errno : 0;
        if (!is_hidden(context, handle, entry) && !add(listing, handle, entry)) {
            seekdir(handle->directory, handle->position);
            return 0;
        }
        handle->position = entry->d_off;
    }
}

static int fill_as_caller(struct listing *listing, struct handle *handle, off_t offset)
{
    int error;

    _cleanup_caller_ struct caller caller = caller_begin(listing->req);
    if (caller.error != 0)
        return caller.error;
    pthread_mutex_lock(&handle->directory_mutex);
    error = fill(listing, handle, offset);
    pthread_mutex_unlock(&handle->directory_mutex);
    return error;
}

static void serve(fuse_req_t req, size_t size, off_t offset, uint64_t number, bool plus)
{
    struct handle *handle = handle_find(context_of(req)->handles, number);
    struct listing listing = {.req = req, .bytes = malloc(size), .size = size, .plus = plus};
    int error = handle ? 0 : -EBADF;

    if (!listing.bytes)
        error = -ENOMEM;
    if (error == 0)
        error = fill_as_caller(&listing, handle, offset);
    if (error != 0)
        fuse_reply_err(req, -error);
    else
        fuse_reply_buf(req, listing.bytes, listing.used);
    free(listing.bytes);
}

void directory_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                    struct fuse_file_info *fi)
{
    (void)ino;
    serve(req, size, offset, fi->fh, false);
}

void directory_read_plus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                         struct fuse_file_info *fi)
{
    (void)ino;
    serve(req, size, offset, fi->fh, true);
}

void directory_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct context *context = context_of(req);
    struct handle *handle = handle_find(context->handles, fi->fh);

    (void)ino;
    if (handle)
        handle_close(context, handle);
    fuse_reply_err(req, 0);
}
