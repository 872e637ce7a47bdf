/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "buffer.h"

#include <linux/fuse.h>
#include <stdlib.h>

#define ALIGNMENT ((size_t)4096)
#define WRITE_HEADER (sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in))

_Static_assert(sizeof(struct buffer) + WRITE_HEADER <= ALIGNMENT, "both lie before the room");

struct buffer *buffer_take(struct buffers *buffers)
{
    struct buffer *buffer = buffers->unused;

    if (!buffer)
        return aligned_alloc(ALIGNMENT, ALIGNMENT + BUFFER_REQUEST_BYTES);
    buffers->unused = buffer->next;
    buffers->count--;
    return buffer;
}

void buffer_return(struct buffers *buffers, struct buffer *buffer, unsigned most)
{
    if (buffers->count >= most) {
        free(buffer);
        return;
    }
    buffer->next = buffers->unused;
    buffers->unused = buffer;
    buffers->count++;
}

void buffers_free(struct buffers *buffers)
{
    while (buffers->count > 0)
        free(buffer_take(buffers));
}

char *buffer_room(struct buffer *buffer)
{
    return (char *)buffer + ALIGNMENT;
}

struct buffer *buffer_of_room(char *room)
{
    return (struct buffer *)(void *)(room - ALIGNMENT);
}

char *buffer_request(struct buffer *buffer)
{
    return buffer_room(buffer) - WRITE_HEADER;
}
