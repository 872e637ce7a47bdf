/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether this host may believe what it has cached of one inode, and may write it (DESIGN §2).
 *
 * The state is derived, never set: from the claim that the locks make, from the transition that
 * last ended, and from the record. Only handoff.c changes the fields marked so; the caller
 * serialises access (fs: the inode's mutex).
 *
 *     state     reads            kernel may keep pages   attribute time-out   writes
 *     plain     cached           since the open          0                    pass
 *     standby   from the server  no                      0, forced            pass; EIO if strict
 *     shared    from the server  no                      0, forced            pass
 *     owner     cached           yes                     long                 pass
 *     released  from the server  no                      0, forced            EIO
 *     fenced    EIO, or by opens  no                      0, forced            EIO
 *               later: server
 *
 * While a transition is under way nothing may be kept and reads come from the server; once a
 * release has closed its gate writes get EIO.
 */
#ifndef MIGFS_CACHE_OWNER_H
#define MIGFS_CACHE_OWNER_H

#include "profile.h"

#include <stdbool.h>
#include <stdint.h>

enum owner_state {
    OWNER_PLAIN,
    OWNER_STANDBY,
    OWNER_SHARED,
    OWNER_OWNER,
    OWNER_RELEASED,
    OWNER_FENCED, /* entered by owner_lock_lost only */
};

enum owner_transition {
    OWNER_SETTLED,
    OWNER_ACQUIRING,
    OWNER_RELEASING,
};

enum fence {
    FENCE_RELEASE, /* released and fenced inodes refuse writes */
    FENCE_STRICT,  /* and those of a standby whose writer holds no write byte */
    FENCE_OFF,     /* none */
};

/* What the transition that ended last left behind. */
enum owner_standing {
    OWNER_NEVER,    /* none yet, or undone by the last close */
    OWNER_ACQUIRED, /* tested: nobody else writes */
    OWNER_SHARES,   /* locked for writing beside others */
    OWNER_HANDED_OVER,
    OWNER_LOST, /* its locks are gone while it was owner */
};

struct owner {
    enum owner_standing standing;     /* handoff */
    enum owner_transition transition; /* handoff */
    bool gate_closed;                 /* handoff: a release refuses writes */
    bool foreign_owner;               /* the record names another host as owner */
    bool writing;                     /* handoff: the owner may have written since it acquired */
    bool contested;                   /* handoff: the last test found another host writing; so
                                         it is standby, whatever the record says */
    bool sync_failed;                 /* handoff: what was written since may be lost */
    bool recorded;                    /* handoff: the record names this mount as owner */
    bool shares_again;                /* handoff: it shares what it had handed over before */
    uint64_t epoch;                   /* handoff: raised by each transition */
    uint64_t generation;              /* of the file, as last read from or written to its record */
};

enum owner_state owner_state(const struct owner *owner);

/* Whether the kernel may keep pages and attributes beyond the open and the call. */
bool owner_may_cache(const struct owner *owner);

/* Whether reads and attributes must be asked from the server, past every cache. */
bool owner_asks_server(const struct owner *owner);

/*
 * All rules of who may write, in one place. `holds_write_byte`: the lock owner that writes, or
 * anybody through the same handle, holds a byte that its profile counts as writing. `is_page`: the
 * kernel writes a page of a mapping back, which may have been dirty for long: it passes the gate
 * until the bytes go. 0 or -EIO.
 */
int owner_write_permitted(const struct owner *owner, enum fence fence, bool holds_write_byte,
                          bool is_page);

/*
 * The last handle is gone: what was released or shared is so no longer, and the record alone
 * speaks. A latched fence stays. Raises the epoch when the state changes by it.
 */
void owner_last_close(struct owner *owner);

/*
 * The store has taken the locks away. True where that is news: it was owner, or shared, and is
 * fenced from now on; the caller drops what this mount has cached.
 */
bool owner_lock_lost(struct owner *owner);

/*
 * The record was read outside a transition: another host is owner, or none is. Returns true when
 * that changed the state, and the caller must then drop this mount's pages and attributes.
 */
bool owner_record_seen(struct owner *owner, bool foreign_owner, uint64_t generation);

/* "plain", "standby", …; "", "acquiring", "releasing". */
const char *owner_state_name(enum owner_state state);
const char *owner_transition_name(enum owner_transition transition);
const char *fence_name(enum fence fence);
int fence_parse(const char *name, enum fence *fence);

#endif
