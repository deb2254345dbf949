/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What earlier migrations have taught about each VM, for its next one from this host.
 *
 * Theory of operation
 *
 * Each migration that ends leaves what it has shown of its guest in its line of the history
 * (record.h), and here. At the start of the daemon the history's lines are read back, so there is
 * no other file to be kept. A point counts half as much after a month. A migration starts from what
 * the one before has left, so only the newest is kept of each VM, and of the VMs those that
 * migrated last.
 *
 * Thread-safe.
 */
#ifndef MIGPOLICY_LEARNED_H
#define MIGPOLICY_LEARNED_H

#include <time.h>

#include "agent/record/record.h"
#include "policy/estimate.h"

/* VMs that are remembered. */
enum { LEARNED_VMS = 1024 };

struct learned;

/* Reads what is on record, which may be NULL: nothing. *ret is released by learned_free(). */
void learned_new(struct record *record, struct learned **ret);

/* Accepts NULL. */
void learned_free(struct learned *l);

/* What is known of a VM, by UUID; false: nothing, or it is too old to count. `now` by the wall
   clock. */
bool learned_find(struct learned *l, const char *uuid, time_t now, struct prior *ret);

/* A migration has ended; nothing is taken from one that has taught nothing. */
void learned_take(struct learned *l, const char *uuid, time_t now, const struct prior *prior);

#endif
