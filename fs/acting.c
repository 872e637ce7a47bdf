/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "acting.h"

#include <errno.h>

struct acting acting_begin(fuse_req_t req, struct inode *inode)
{
    struct acting acting = {.pin.fd = -ESTALE, .fd = -ESTALE};

    if (!inode)
        return acting;
    acting.pin = inode_pin_scoped(context_of(req)->inodes, inode);
    acting.fd = acting.pin.fd;
    if (acting.fd < 0)
        return acting;
    acting.path = proc_path(acting.fd);
    acting.caller = caller_begin(req);
    if (acting.caller.error != 0)
        acting.fd = acting.caller.error;
    return acting;
}

void acting_end(struct acting *acting)
{
    caller_end(&acting->caller);
    inode_pin_end(&acting->pin);
}
