/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "journal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define SOCKET_PATH "/run/systemd/journal/socket"

static char *put(char *to, const void *from, size_t size)
{
    return (char *)memcpy(to, from, size) + size;
}

/* "NAME=value\n", or where the value has a newline "NAME\n", its length in 8 bytes, it, "\n". */
void journal_text(struct journal_entry *entry, const char *name, const char *value)
{
    const size_t name_length = strlen(name), length = strlen(value);
    const bool has_lines = memchr(value, '\n', length) != NULL;
    const size_t size = name_length + 1 + (has_lines ? 8 : 0) + length + 1;
    char *to = entry->bytes + entry->size;

    if (size > sizeof(entry->bytes) - entry->size)
        return;
    to = put(to, name, name_length);
    *to++ = has_lines ? '\n' : '=';
    for (unsigned bits = 0; has_lines && bits < 64; bits += 8)
        *to++ = (char)((uint64_t)length >> bits & 0xff);
    to = put(to, value, length);
    *to = '\n';
    entry->size += size;
}

void journal_number(struct journal_entry *entry, const char *name, uint64_t value)
{
    char text[24];

    (void)snprintf(text, sizeof(text), "%" PRIu64, value); /* always fits */
    journal_text(entry, name, text);
}

int journal_send(const struct journal_entry *entry)
{
    static const struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = SOCKET_PATH};
    const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int error = 0;

    if (fd < 0)
        return -errno;
    if (sendto(fd, entry->bytes, entry->size, MSG_DONTWAIT | MSG_NOSIGNAL,
               (const struct sockaddr *)&address, sizeof(address)) < 0)
        error = -errno;
    close(fd); /* nothing waits in it */
    return error;
}

bool journal_is_stream(int fd)
{
    const char *stream = getenv("JOURNAL_STREAM");
    uintmax_t device, ino;
    struct stat attributes;

    return stream && sscanf(stream, "%ju:%ju", &device, &ino) == 2 && fstat(fd, &attributes) == 0 &&
           attributes.st_dev == device && attributes.st_ino == ino;
}
