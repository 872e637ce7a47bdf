/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "crossed_mount.h"

#include "identity.h"

#include <stdlib.h>
#include <unistd.h>

void crossed_mounts_init(struct crossed_mounts *mounts)
{
    pthread_mutex_init(&mounts->lock, NULL); /* cannot fail with default attributes */
    mounts->first = NULL;
}

static void mount_free(struct crossed_mount *mount)
{
    if (!mount)
        return;
    if (mount->fd >= 0)
        close(mount->fd); /* O_PATH or a directory: nothing was written by it */
    free(mount);
}

void crossed_mounts_deinit(struct crossed_mounts *mounts)
{
    for (struct crossed_mount *mount = mounts->first, *next; mount; mount = next) {
        next = mount->next;
        mount_free(mount);
    }
    pthread_mutex_destroy(&mounts->lock);
}

/* With the lock held. */
static struct crossed_mount *find(const struct crossed_mounts *mounts, dev_t dev)
{
    struct crossed_mount *mount = mounts->first;

    while (mount && mount->dev != dev)
        mount = mount->next;
    return mount;
}

const struct crossed_mount *crossed_mounts_find(struct crossed_mounts *mounts, dev_t dev)
{
    pthread_mutex_lock(&mounts->lock);
    const struct crossed_mount *mount = find(mounts, dev);
    pthread_mutex_unlock(&mounts->lock);
    return mount;
}

static struct crossed_mount *mount_new(dev_t dev, int path_fd)
{
    struct crossed_mount *mount = malloc(sizeof(*mount));

    if (mount)
        *mount = (struct crossed_mount){.dev = dev,
                                        .fd = identity_open_mount(path_fd),
                                        .renames_open = identity_is_nfs(path_fd)};
    return mount;
}

const struct crossed_mount *crossed_mounts_learn(struct crossed_mounts *mounts, dev_t dev,
                                                 int path_fd)
{
    const struct crossed_mount *known = crossed_mounts_find(mounts, dev);
    struct crossed_mount *made = known ? NULL : mount_new(dev, path_fd);

    if (!made)
        return known;
    pthread_mutex_lock(&mounts->lock);
    known = find(mounts, dev); /* another thread may have been faster */
    if (!known) {
        made->next = mounts->first;
        mounts->first = made;
        known = made;
        made = NULL;
    }
    pthread_mutex_unlock(&mounts->lock);
    mount_free(made);
    return known;
}
