/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "operations.h"

#include "attributes.h"
#include "data.h"
#include "directory.h"
#include "ioctl.h"
#include "lock.h"
#include "names.h"
#include "open.h"
#include "read.h"
#include "serve.h"
#include "write.h"
#include "xattr.h"

const struct fuse_lowlevel_ops operations = {
    .init = serve_init,

    .lookup = names_lookup,
    .forget = names_forget,
    .forget_multi = names_forget_multi,
    .mknod = names_mknod,
    .mkdir = names_mkdir,
    .symlink = names_symlink,
    .link = names_link,
    .unlink = names_unlink,
    .rmdir = names_rmdir,
    .rename = names_rename,
    .readlink = names_readlink,

    .getattr = attributes_get,
    .setattr = attributes_set,
    .access = attributes_access,
    .statfs = attributes_statfs,

    .opendir = directory_open,
    .readdir = directory_read,
    .readdirplus = directory_read_plus,
    .releasedir = directory_release,
    .fsyncdir = data_fsync,

    .getxattr = xattr_get,
    .setxattr = xattr_set,
    .listxattr = xattr_list,
    .removexattr = xattr_remove,

    .open = open_existing,
    .create = open_new,
    .tmpfile = open_unnamed,
    .read = read_serve,
    .write = write_serve,
    .flush = data_flush,
    .release = data_release,
    .fsync = data_fsync,
    .fallocate = data_fallocate,
    .lseek = data_lseek,
    .copy_file_range = data_copy_file_range,

    .getlk = lock_getlk,
    .setlk = lock_setlk,
    .flock = lock_flock_request,

    .ioctl = ioctl_serve,
};
