/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest_disks.h"

#include <string.h>

/* A piece of the text. */
struct span {
    const char *begin, *end;
};

static const char *find(struct span span, const char *word)
{
    const size_t length = strlen(word);
    const char *at = span.begin < span.end
                         ? memmem(span.begin, (size_t)(span.end - span.begin), word, length)
                         : NULL;

    return at;
}

/* From "<NAME" to its '>', the first one that is no longer name; comments are gone by then. */
static bool find_tag(struct span in, const char *open, struct span *tag)
{
    const size_t length = strlen(open);

    while ((tag->begin = find(in, open)) != NULL) {
        const char after = tag->begin[length];

        tag->end = memchr(tag->begin, '>', (size_t)(in.end - tag->begin));
        if (tag->end == NULL)
            return false;
        if (after == ' ' || after == '>' || after == '/' || after == '\n' || after == '\t')
            return true;
        in.begin = tag->begin + length;
    }
    return false;
}

static const struct {
    const char *entity;
    char character;
} entities[] = {{"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}, {"&apos;", '\''}};

static size_t entity_length(struct span span, char *character)
{
    for (size_t i = 0; i < sizeof(entities) / sizeof(entities[0]); i++) {
        const size_t length = strlen(entities[i].entity);

        if ((size_t)(span.end - span.begin) >= length &&
            memcmp(span.begin, entities[i].entity, length) == 0) {
            *character = entities[i].character;
            return length;
        }
    }
    *character = *span.begin;
    return 1;
}

/* "" where the attribute is not there, or does not fit. */
static void take_attribute(struct span tag, const char *name, char *value, size_t size)
{
    const size_t length = strlen(name);
    size_t used = 0;

    value[0] = '\0';
    for (tag.begin = find(tag, name); tag.begin != NULL; tag.begin = find(tag, name)) {
        const char before = tag.begin[-1]; /* a tag begins with '<' */
        const char quote = tag.begin[length + 1];

        tag.begin += length;
        if ((before == ' ' || before == '\n' || before == '\t') && tag.begin[0] == '=' &&
            (quote == '\'' || quote == '"'))
            break;
    }
    if (tag.begin == NULL)
        return;
    const char quote = tag.begin[1];

    for (tag.begin += 2; tag.begin < tag.end && *tag.begin != quote && used + 1 < size;)
        tag.begin += entity_length(tag, &value[used++]);
    value[tag.begin < tag.end && *tag.begin == quote ? used : 0] = '\0';
}

static const char *skip_comments(const char *text, const char *end)
{
    const struct span all = {text, end};
    const char *comment = find(all, "<!--");
    const char *disk = find(all, "<disk");

    while (comment != NULL && disk != NULL && comment < disk) {
        const struct span rest = {comment, end};
        const char *close = find(rest, "-->");

        if (close == NULL)
            return end;
        text = close + 3;
        comment = find((struct span){text, end}, "<!--");
        disk = find((struct span){text, end}, "<disk");
    }
    return text;
}

static void parse(struct span body, struct guest_disk *disk)
{
    struct span tag;

    *disk = (struct guest_disk){.is_read_only = find_tag(body, "<readonly", &tag)};
    if (find_tag(body, "<source", &tag))
        take_attribute(tag, "file", disk->path, sizeof(disk->path));
    if (find_tag(body, "<driver", &tag))
        take_attribute(tag, "cache", disk->cache, sizeof(disk->cache));
}

bool guest_disk_next(const char **position, struct guest_disk *disk)
{
    const char *end = *position + strlen(*position);
    struct span tag, body;

    for (;;) {
        const struct span rest = {skip_comments(*position, end), end};

        if (!find_tag(rest, "<disk", &tag))
            return false;
        body = (struct span){.begin = tag.end, .end = find((struct span){tag.end, end}, "</disk>")};
        if (body.end == NULL)
            return false;
        *position = body.end;
        parse(body, disk);
        if (disk->path[0] != '\0')
            return true;
    }
}
