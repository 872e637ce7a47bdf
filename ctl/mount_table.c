/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mount_table.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MOUNTINFO "/proc/self/mountinfo"

void mount_entry_deinit(struct mount_entry *entry)
{
    free(entry->root);
    free(entry->mountpoint);
    free(entry->type);
    free(entry->source);
    free(entry->options);
    *entry = (struct mount_entry){.id = 0};
}

const char *mount_entry_option(const struct mount_entry *entry, const char *name, size_t *length)
{
    const size_t name_length = strlen(name);
    const char *word = entry->options;

    while (*word != '\0') {
        const size_t word_length = strcspn(word, ",");

        if (strncmp(word, name, name_length) == 0 &&
            (word_length == name_length || word[name_length] == '=')) {
            const char *value = word + name_length + (word_length > name_length);

            *length = (size_t)(word + word_length - value);
            return value;
        }
        word += word_length + (word[word_length] == ',');
    }
    return NULL;
}

bool mount_entry_has(const struct mount_entry *entry, const char *option)
{
    size_t length;

    return mount_entry_option(entry, option, &length) != NULL;
}

/* A field as mountinfo writes it: space, tab, newline and backslash as three octal digits. */
static char *unescape(const char *field)
{
    char *text = malloc(strlen(field) + 1);
    char *to = text;

    if (text == NULL)
        return NULL;
    for (const char *from = field; *from != '\0'; to++) {
        if (from[0] == '\\' && from[1] != '\0' && from[2] != '\0' && from[3] != '\0') {
            *to = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
            from += 4;
        } else {
            *to = *from++;
        }
    }
    *to = '\0';
    return text;
}

/* id, parent, major:minor, root, mountpoint, options, fields…, "-", type, source, options */
static bool parse(char *line, struct mount_entry *entry)
{
    char *rest = line;
    char *fields[6] = {NULL}, *tail[4] = {NULL};

    line[strcspn(line, "\n")] = '\0';
    for (size_t i = 0; i < 6; i++)
        fields[i] = strsep(&rest, " ");
    while (rest != NULL && tail[0] == NULL) {
        char *word = strsep(&rest, " ");

        tail[0] = strcmp(word, "-") == 0 ? word : NULL;
    }
    for (size_t i = 1; i < 4; i++)
        tail[i] = strsep(&rest, " ");
    if (fields[5] == NULL || tail[3] == NULL)
        return false;
    *entry = (struct mount_entry){
        .id = strtoull(fields[0], NULL, 10),
        .root = unescape(fields[3]),
        .mountpoint = unescape(fields[4]),
        .type = unescape(tail[1]),
        .source = unescape(tail[2]),
    };
    if (asprintf(&entry->options, "%s,%s", fields[5], tail[3]) < 0)
        entry->options = NULL;
    if (entry->root != NULL && entry->mountpoint != NULL && entry->type != NULL &&
        entry->source != NULL && entry->options != NULL)
        return true;
    mount_entry_deinit(entry);
    return false;
}

bool mount_id_of(int fd, uint64_t *id)
{
    struct statx attributes;

    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MNT_ID, &attributes) != 0 ||
        (attributes.stx_mask & STATX_MNT_ID) == 0)
        return false;
    *id = attributes.stx_mnt_id;
    return true;
}

static bool find(struct mount_entry *entry, size_t *position,
                 bool (*matches)(const struct mount_entry *entry, const void *wanted),
                 const void *wanted)
{
    FILE *file = fopen(MOUNTINFO, "re");
    char *line = NULL;
    size_t capacity = 0, number = 0;
    bool found = false;

    while (file != NULL && !found && getline(&line, &capacity, file) >= 0) {
        struct mount_entry candidate;

        if (number++ < *position || !parse(line, &candidate))
            continue;
        found = matches(&candidate, wanted);
        if (found)
            *entry = candidate;
        else
            mount_entry_deinit(&candidate);
    }
    *position = number;
    free(line);
    if (file != NULL)
        (void)fclose(file); /* read only */
    return found;
}

static bool has_id(const struct mount_entry *entry, const void *wanted)
{
    return entry->id == *(const uint64_t *)wanted;
}

bool mount_table_find(uint64_t id, struct mount_entry *entry)
{
    size_t position = 0;

    return find(entry, &position, has_id, &id);
}

static bool has_type(const struct mount_entry *entry, const void *wanted)
{
    return strcmp(entry->type, wanted) == 0;
}

bool mount_table_next(const char *type, size_t *position, struct mount_entry *entry)
{
    return find(entry, position, has_type, type);
}
