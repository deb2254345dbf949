/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A migration told in JSON, with the members the types of io.migpolicy.varlink name. Unknown
 * numbers are null. All functions are pure; the caller releases what they return.
 */
#ifndef MIGPOLICY_MIGRATION_JSON_H
#define MIGPOLICY_MIGRATION_JSON_H

#include "agent/record/migration.h"

struct json_object;

/*
 * Add a member; the value of json_add() is taken over, and NULL text or a NAN is null. Times are
 * written as RFC 3339 has them, in UTC.
 */
void json_add(struct json_object *object, const char *key, struct json_object *value);
void json_add_text(struct json_object *object, const char *key, const char *text);
void json_add_number(struct json_object *object, const char *key, double value);
void json_add_count(struct json_object *object, const char *key, uint64_t value);
void json_add_time(struct json_object *object, const char *key, const struct timespec *time);

/* A time as it is written there. Returns buf. */
const char *time_format(const struct timespec *time, char *buf, size_t size);

struct json_object *migration_to_json(const struct migration *m, int64_t now_ns);
/* m->proposal, which is there. */
struct json_object *proposal_to_json(const struct migration *m, int64_t now_ns);

struct json_object *evidence_to_json(const struct estimate *e);
/* The hot set, and how fast it is dirtied at first by the curves that the evidence allows. */
void json_add_curves(struct json_object *object, const struct estimate *e);
struct json_object *alternative_to_json(enum alternative_kind kind, const struct decision *d);
struct json_object *event_to_json(const struct migration_event *e);

/* A policy as an array of the type Field. */
struct json_object *fields_to_json(const struct policy *policy);

/* The events that are still known, in the order they happened. */
struct json_object *events_to_json(const struct migration *m);

#endif
