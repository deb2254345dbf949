/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The recent past in memory, for those who look at it (agent/page): the course of each migration
 * under way and of the last ones that ended, the policy each is judged by, and a summary of the
 * migrations that ended. Bounded in every way; nothing is decided by it, nothing waits for a disk.
 *
 * A course holds the points of a plot. When it is full, points within passes are thinned out, then
 * whole passes of its older half, and never the newest: a sawtooth stays one, and the plot begins
 * where the migration was first seen.
 *
 * Thread-safe: one lock, held for copies.
 */
#ifndef MIGPOLICY_RECENT_H
#define MIGPOLICY_RECENT_H

#include <stddef.h>

#include "agent/record/migration.h"

struct json_object;
struct recent;

enum {
    RECENT_POINTS = 512, /* of a course */
    RECENT_VMS = 256,    /* with a course; the one not looked at for longest makes room */
    RECENT_ENDED = 100,  /* migrations */
    RECENT_SPARK = 48,   /* points of the course of one that ended */
};

/* Ends the process where there is no memory. */
struct recent *recent_new(void);
void recent_free(struct recent *r);

/* A migration under way was looked at, and judged by that policy. */
void recent_look(struct recent *r, const struct migration *m, const struct policy *policy);

/* It has ended. */
void recent_end(struct recent *r, const struct migration *m);

/* What record_history() tells of earlier ones, newest first; before the first recent_end(). */
void recent_load(struct recent *r, struct json_object *history);

/*
 * The course of a VM's migration from after `since_s` of its time on, an array for each quantity;
 * empty arrays where there is none. And the policy: an array as fields_to_json() makes it, or NULL.
 * And the migrations that ended, newest first. The caller releases them.
 */
struct json_object *recent_course_to_json(struct recent *r, const char *uuid, double since_s);
struct json_object *recent_policy_to_json(struct recent *r, const char *uuid);
struct json_object *recent_ended_to_json(struct recent *r);

#endif
