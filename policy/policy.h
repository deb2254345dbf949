/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the administrator allows for one VM.
 *
 * A policy is made of layers; a later layer overrides an earlier one field by field, and each field
 * of the result remembers the layer it came from. One table describes the fields: the JSON keys,
 * the command line flags, the manual and `show` are all made from it.
 *
 * Pure: no I/O, no clock, no globals. All functions are thread-safe.
 */
#ifndef MIGPOLICY_POLICY_H
#define MIGPOLICY_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum policy_mode { MODE_OBSERVE, MODE_ENFORCE };
enum policy_allow { ALLOW_NO, ALLOW_YES };
enum policy_on_deadline { ON_DEADLINE_REPORT, ON_DEADLINE_CANCEL };
enum policy_objective { OBJECTIVE_LEAST_LOSS, OBJECTIVE_GENTLE };

enum policy_field {
    POLICY_MODE,
    POLICY_MAX_DOWNTIME,
    POLICY_ALLOW_THROTTLE,
    POLICY_MIN_CPU,
    POLICY_MAX_WORK_LOST,
    POLICY_ALLOW_CANCEL,
    POLICY_DEADLINE,
    POLICY_ON_DEADLINE,
    POLICY_PATIENCE,
    POLICY_STALL_TIMEOUT,
    POLICY_OBJECTIVE,
    POLICY_FIELDS,
};

enum policy_kind {
    KIND_DURATION, /* ns, units.h */
    KIND_SHARE,    /* ppm, units.h */
    KIND_CHOICE,   /* index into `choices` */
};

struct policy_field_info {
    const char *name; /* JSON key; the flag is the same with '-' for '_' */
    enum policy_kind kind;
    const char *const *choices; /* KIND_CHOICE: names, NULL-terminated */
    int64_t min, max;           /* KIND_DURATION, KIND_SHARE: the values accepted */
    int64_t initial;            /* built-in default; where it is POLICY_NONE, "none" is accepted */
    const char *accepts;        /* in words, for error lines and the manual */
    const char *help;
};

/* Unset durations that mean "no limit". */
#define POLICY_NONE INT64_C(-1)

/* The values of all fields, indexed by enum policy_field. */
struct policy_values {
    int64_t v[POLICY_FIELDS];
};

/* Some of the fields, as one source states them. Bit i of `set`: field i is stated. */
struct policy_layer {
    uint32_t set;
    struct policy_values values;
};

enum { POLICY_SOURCE_MAX = 128 };

/* The result of merging layers. `source[i]` says where field i came from ("default" if nowhere). */
struct policy {
    struct policy_values values;
    uint32_t set; /* bit i: some layer states field i */
    char source[POLICY_FIELDS][POLICY_SOURCE_MAX];
};

/* The row of the field table. Never NULL for field < POLICY_FIELDS. Static. */
const struct policy_field_info *policy_field_info(enum policy_field field);

/* Field by JSON key or by flag spelling ("max_downtime", "max-downtime"); -ENOENT if none. */
int policy_field_find(const char *name, enum policy_field *ret_field);

/*
 * Reads one value as an administrator writes it and stores it in the layer. On failure the layer is
 * untouched and `ret_expected` (may be NULL) points to a static text that says what would be right.
 * Returns 0, -EINVAL (not such a value), or -ERANGE (outside what the field accepts).
 */
int policy_layer_set(struct policy_layer *layer, enum policy_field field, const char *text,
                     const char **ret_expected);

/* Forgets what the layer says of one field. */
void policy_layer_unset(struct policy_layer *layer, enum policy_field field);

/* Writes a value as policy_layer_set() reads it ("none" for POLICY_NONE). Returns buf. */
const char *policy_value_format(enum policy_field field, int64_t value, char *buf, size_t size);

/* Starts from the built-in defaults: observe, nothing allowed. */
void policy_init(struct policy *policy);

/* Lays `layer` over the policy; fields it states get `source` (cut to POLICY_SOURCE_MAX). */
void policy_merge(struct policy *policy, const struct policy_layer *layer, const char *source);

/*
 * Fills in what follows from the rest once all layers are merged: mode is enforce once anything is
 * allowed, the deadline 10 min then, and on_deadline is cancel when cancelling is allowed.
 */
void policy_finish(struct policy *policy);

/* Is any action allowed? */
bool policy_allows_anything(const struct policy_values *values);

#endif
