/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * migfs: mounts SOURCE at MOUNTPOINT and keeps its files coherent over live migration. migfs(8).
 */
#include "instance.h"
#include "options.h"
#include "serve.h"

#include <errno.h>

static int status_of(int error)
{
    if (error == 0)
        return SERVE_DONE;
    return error == -ENOMEM ? SERVE_SYSTEM : SERVE_MOUNT;
}

int main(int argc, char **argv)
{
    struct context context = {.source_fd = -1};
    struct serve serve = {.context = &context, .parent_fd = -1};
    int status = SERVE_DONE;
    int error = options_parse(argc, argv, &context.options);

    if (error) {
        status = error == -EINVAL ? SERVE_USAGE : SERVE_SYSTEM;
    } else if (context.options.show_help) {
        options_print_help();
    } else if (context.options.show_version) {
        options_print_version();
    } else {
        status = serve_detach(&serve);
        if (!status)
            status = serve_open(&serve);
        if (!status)
            status = status_of(instance_init(&context));
        if (!status)
            status = serve_mount(&serve);
        if (!status)
            status = status_of(instance_start(&context));
        if (!status)
            status = serve_run(&serve);
        instance_deinit(&context);
        serve_close(&serve);
    }
    options_deinit(&context.options);
    return status;
}
