/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What must hold. The model tells of each moment that a property speaks of; the first that does
 * not hold is kept in the run. Who judges sees all hosts and the server at once.
 */
#ifndef MIGFS_MODEL_PROPERTY_H
#define MIGFS_MODEL_PROPERTY_H

#include "world.h"

/* The server is about to hold what a host wrote. */
void property_write_lands(struct run *run, unsigned h, uint8_t version);

/* A VMM was given this by a read; `was_kept`: by its kernel alone. */
void property_read(struct run *run, unsigned h, uint8_t version, bool was_kept);

/* It was told that it owns the disk. */
void property_owns(struct run *run, unsigned h);

/* It was told that what it wrote up to this one is safe. */
void property_synced(struct run *run, unsigned h, uint8_t version);

/* It was told that what it wrote is lost, or cannot know. */
void property_told_loss(struct host *host);

void property_opened(struct run *run, unsigned h);

/* An acquire met other hosts' locks; a transition was answered. */
void property_conflict(struct run *run, unsigned h, uint8_t bytes);
void property_answered(struct run *run, unsigned h);

/* Of every moment. `step_is_due`: the next step of the host's transition can be taken. */
void property_goes_on(struct run *run, unsigned h, bool step_is_due);

#endif
