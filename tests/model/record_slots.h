/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The record at the server. Each judgement is that of cache/record on the bytes that the slots
 * stand for, a torn one with its tail missing.
 */
#ifndef MIGFS_MODEL_RECORD_SLOTS_H
#define MIGFS_MODEL_RECORD_SLOTS_H

#include "world.h"

/* The slot that counts, tells the owner state and remembers it; all zero where none does. */
struct slot record_slots_read(struct run *run, unsigned h);

/* `is_torn`: the host dies in the middle of it. */
void record_slots_write(struct run *run, unsigned h, enum record_state state, uint64_t generation,
                        bool is_torn);

#endif
