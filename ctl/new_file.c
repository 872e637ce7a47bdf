/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "new_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* As open(2) would have made it: mkstemp(3) lets nobody else read it, such as an exporter. */
static bool open_to_all(int fd)
{
    const mode_t mask = umask(0);

    (void)umask(mask); /* cannot fail */
    return fchmod(fd, 0666 & ~mask) == 0;
}

/* Without the links to it: the file beside which it is written, and in whose place it comes. */
static char *place_of(const char *path)
{
    char *place = realpath(path, NULL);

    return place == NULL && errno == ENOENT ? strdup(path) : place;
}

static char *draft_of(const char *place)
{
    char *draft;

    if (asprintf(&draft, "%s.XXXXXX", place) >= 0)
        return draft;
    errno = ENOMEM;
    return NULL;
}

static bool make(struct new_file *file)
{
    const int fd = file->draft != NULL ? mkstemp(file->draft) : -1;

    if (fd < 0)
        return false;
    file->stream = open_to_all(fd) ? fdopen(fd, "w") : NULL;
    if (file->stream != NULL)
        return true;

    const int error = errno;

    (void)close(fd); /* nothing was written */
    (void)unlink(file->draft);
    errno = error;
    return false;
}

bool new_file_begin(struct new_file *file, const char *path)
{
    struct stat attributes;

    *file = (struct new_file){.stream = NULL};
    if (stat(path, &attributes) == 0 && !S_ISREG(attributes.st_mode)) {
        file->stream = fopen(path, "w");
        return file->stream != NULL;
    }
    file->path = place_of(path);
    if (file->path != NULL)
        file->draft = draft_of(file->path);
    if (make(file))
        return true;
    free(file->path);
    free(file->draft);
    return false;
}

bool new_file_end(struct new_file *file, bool is_good)
{
    bool is_done = is_good && fflush(file->stream) == 0 && !ferror(file->stream);
    int error = errno;

    if (fclose(file->stream) != 0 && is_done) {
        error = errno;
        is_done = false;
    }
    if (is_done && file->draft != NULL && rename(file->draft, file->path) != 0) {
        error = errno;
        is_done = false;
    }
    if (!is_done && file->draft != NULL)
        (void)unlink(file->draft); /* what is left of it says so by its name */
    free(file->path);
    free(file->draft);
    errno = error;
    return is_done;
}
