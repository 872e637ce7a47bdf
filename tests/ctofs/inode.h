/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The inodes that the kernel knows of this mount, and their open handles. An inode keeps an O_PATH
 * descriptor of the store's file for as long as it is known, so its number cannot be used again.
 *
 * Lock order: the table's lock, then an inode's. An inode's lock is never held over a notification
 * of the kernel: the kernel may have to write dirty pages out first, and that needs the lock.
 */
#ifndef CTOFS_INODE_H
#define CTOFS_INODE_H

#include "extent.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

struct lock_owner;
struct mount;

/* Who opened a file, and what its owner, group and mode were then. */
struct opener {
    uid_t uid;
    gid_t gid;
    uid_t file_uid;
    gid_t file_gid;
    mode_t file_mode;
};

/* One open of the kernel's. All fields but the first five: the inode's lock. */
struct handle {
    struct handle *next;
    struct inode *inode;
    int fd;
    int flags;
    struct opener opener;
    bool closing;         /* flushed, and not used since: its release may be on the way */
    bool lock_lost;       /* held a lock when the lease ended: gets EIO */
    bool relocked;        /* locked again after that, without an unlock: EIO for ever */
    unsigned seen_errors; /* of inode.write_errors */
};

struct inode {
    struct inode *next; /* in its bucket; the table's lock */
    uint64_t lookups;   /* the table's lock */
    atomic_uint references;
    uint64_t generation;
    dev_t device;
    ino_t number;
    mode_t type; /* S_IFMT bits; 0: the control file */
    int path_fd;

    pthread_mutex_t lock; /* all below */
    pthread_cond_t released;
    struct handle *handles;
    unsigned open_count;
    int write_fd; /* -1, or what buffered writes go to the store by */
    struct extent_list dirty;
    struct opener dirty_opener; /* by whose handle that was written */
    int64_t dirty_since_ns;
    int write_error; /* the last one, and how many there were */
    unsigned write_errors;
    struct stat attributes; /* as last seen at the store, believed until: */
    int64_t attributes_until_ns;
    struct stat version; /* what the file was when the kernel's pages were known to be right */
    bool version_known;
    struct lock_owner *lock_owners;
    char *stale; /* what is read instead of what there is, or NULL */
    size_t stale_bytes;
};

#define INODE_BUCKETS 4096

struct inode_table {
    pthread_mutex_t lock;
    uint64_t next_generation;
    struct inode *root;
    struct inode *control;
    struct inode *buckets[INODE_BUCKETS];
};

/* Opens the root and makes the control file's inode. Returns an errno. */
int inode_table_open(struct inode_table *table, const char *source);

/* The inode behind a node id that the kernel holds. */
struct inode *inode_of(struct inode_table *table, uint64_t nodeid);
uint64_t inode_nodeid(const struct inode_table *table, const struct inode *inode);

/* Finds or makes the inode of the file at `path_fd`, with `*attributes` as fstat gives them; takes
 * the descriptor over in any case and counts a lookup. NULL: out of memory. */
struct inode *inode_enter(struct inode_table *table, int path_fd, const struct stat *attributes);

/* The inode of this file with a reference, if it is known; or NULL. */
struct inode *inode_find(struct inode_table *table, const struct stat *attributes);

void inode_forget(struct inode_table *table, struct inode *inode, uint64_t lookups);

/* A reference of one's own, for what outlives its request. */
void inode_get(struct inode *inode);
void inode_put(struct inode *inode);

/* Calls `visit` for each inode that is open, with a reference and no lock held. */
void inode_each_open(struct inode_table *table, void (*visit)(struct mount *, struct inode *),
                     struct mount *mount);

/* "/proc/self/fd/N": reaches the file whatever its name is now. */
struct proc_path {
    char text[32];
};
struct proc_path inode_path(const struct inode *inode);

/* With the lock held: asks the store for the attributes; returns an errno. */
int inode_refresh(struct mount *mount, struct inode *inode);

/* With the lock held: the attributes that this host sees, and how long the kernel may keep them. */
void inode_attributes(const struct inode *inode, struct stat *attributes, double *timeout);

/* With the lock held: the file is as this host left it; nothing that is cached became wrong. */
void inode_changed_here(struct inode *inode);

#endif
