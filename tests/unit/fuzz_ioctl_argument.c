/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzzes ioctl_argument_parse: no bytes, command or sizes make it read beyond what came, and what
 * it refuses leaves the argument as it was. The first byte chooses a command of migfs's, or bytes
 * of the input as the command; the second one whether the sizes are right.
 */
#include "fs/ioctl_argument.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const unsigned commands[] = {MIGFS_IOC_ACQUIRE, MIGFS_IOC_RELEASE, MIGFS_IOC_STATUS,
                                        MIGFS_IOC_EVENTS,  MIGFS_IOC_FORGET,  MIGFS_IOC_HISTORY,
                                        MIGFS_IOC_MOUNT,   MIGFS_IOC_STATS,   MIGFS_IOC_TIMELINE};
    const struct ioctl_argument before = {.call = IOCTL_EVENTS, .ino = 1, .cursor = 2};
    struct ioctl_argument argument = before;
    unsigned command;
    size_t in_size;
    uint8_t *in;
    int error;

    if (size < 6)
        return 0;
    memcpy(&command, data + 2, sizeof(command));
    if (data[0] != 0)
        command = commands[data[0] % (sizeof(commands) / sizeof(commands[0]))];
    in_size = data[1] != 0 ? _IOC_SIZE(command) : size - 6;
    in = calloc(1, in_size > 0 ? in_size : 1);
    if (in == NULL)
        return 0;
    memcpy(in, data + 6, size - 6 < in_size ? size - 6 : in_size);
    error = ioctl_argument_parse(command, in, in_size, data[1] != 0 ? in_size : data[0], &argument);
    free(in);
    if (error != 0 && error != -EINVAL && error != -ENOTTY)
        abort();
    if (error != 0 && (argument.call != before.call || argument.ino != before.ino ||
                       argument.cursor != before.cursor))
        abort();
    if (error == 0 && _IOC_TYPE(command) != MIGFS_IOC_TYPE)
        abort();
    return 0;
}
