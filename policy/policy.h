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
enum policy_allow { ALLOW_NO, ALLOW_ASK, ALLOW_YES };
enum policy_on_deadline { ON_DEADLINE_REPORT, ON_DEADLINE_CANCEL, ON_DEADLINE_FORCE };
enum policy_on_other_writer { OTHER_WRITER_YIELD, OTHER_WRITER_HOLD };
enum policy_objective { OBJECTIVE_LEAST_LOSS, OBJECTIVE_GENTLE };

/* The rungs of the ladder, least harmful first. */
enum policy_rung {
    RUNG_BANDWIDTH, /* and the compression cache: more guest memory a second, at no cost to it */
    RUNG_DOWNTIME,
    RUNG_THROTTLE,
    RUNG_POST_COPY,
    RUNG_SUSPEND,
    RUNG_CANCEL,
    RUNGS,
};

enum policy_field {
    POLICY_PRESET, /* stands for other fields, see policy_merge() */
    POLICY_MODE,
    POLICY_MAX_DOWNTIME,
    POLICY_AIM_DOWNTIME,
    POLICY_ALLOW_THROTTLE,
    POLICY_MIN_CPU,
    POLICY_MAX_WORK_LOST,
    POLICY_ALLOW_BANDWIDTH,
    POLICY_MAX_BANDWIDTH,
    POLICY_ALLOW_COMPRESSION_CACHE,
    POLICY_MAX_COMPRESSION_CACHE,
    POLICY_ALLOW_POST_COPY,
    POLICY_ALLOW_SUSPEND,
    POLICY_ALLOW_CANCEL,
    POLICY_DEADLINE,
    POLICY_DEADLINE_PER_GIB,
    POLICY_ON_DEADLINE,
    POLICY_PATIENCE,
    POLICY_STALL_TIMEOUT,
    POLICY_ON_OTHER_WRITER,
    POLICY_ASK_TIMEOUT,
    POLICY_PRECOPY_ITERATIONS,
    POLICY_PRECOPY_THRESHOLD,
    POLICY_OBJECTIVE,
    POLICY_ORDER,
    POLICY_FIELDS,
};

enum policy_kind {
    KIND_DURATION, /* ns, units.h */
    KIND_SHARE,    /* ppm, units.h */
    KIND_SIZE,     /* bytes, units.h */
    KIND_RATE,     /* bytes per second, units.h */
    KIND_COUNT,    /* a plain number */
    KIND_CHOICE,   /* index into `choices` */
    KIND_ORDER,    /* the rungs, see policy_rung_at() */
};

/* Which of two values of a field allows less; see policy_narrow(). */
enum policy_narrower {
    NARROWER_NEITHER,      /* nobody can say */
    NARROWER_FIRST,        /* the first choice, than any other */
    NARROWER_LOW,          /* the lower one, and none */
    NARROWER_LOW_BUT_NONE, /* the lower one; none is no limit */
    NARROWER_HIGH,         /* the higher one, and none */
};

struct policy_field_info {
    const char *name; /* JSON key; the flag is the same with '-' for '_' */
    enum policy_kind kind;
    enum policy_narrower narrower;
    const char *const *choices; /* KIND_CHOICE, KIND_ORDER: names, NULL-terminated */
    int64_t min, max;           /* the values accepted; not of KIND_CHOICE and KIND_ORDER */
    int64_t initial;            /* built-in default; where it is POLICY_NONE, "none" is accepted */
    const char *accepts;        /* in words, for error lines and the manual */
    const char *help;
};

/* Unset quantities that mean "no limit". */
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

/*
 * Lays `layer` over the policy; fields it states get `source` (cut to POLICY_SOURCE_MAX). Its
 * preset comes first, as "preset NAME, SOURCE", so that what the same layer states itself overrides
 * it.
 */
void policy_merge(struct policy *policy, const struct policy_layer *layer, const char *source);

/*
 * Fills in what follows from the rest once all layers are merged: mode is enforce once anything is
 * allowed, and on_deadline is cancel when cancelling is allowed.
 */
void policy_finish(struct policy *policy);

/*
 * Takes from `layer` only what allows less than the policy does; the rest of it is ignored, as are
 * fields of which nobody can say what is less. After policy_finish(), for what follows from other
 * layers is to be narrowed too.
 */
void policy_narrow(struct policy *policy, const struct policy_layer *layer, const char *source);

/* Is any action allowed, or to be asked about? */
bool policy_allows_anything(const struct policy_values *values);

/* The rung at `place` (0..RUNGS-1) of a KIND_ORDER value. */
enum policy_rung policy_rung_at(int64_t order, unsigned place);

/*
 * By when the migration of a guest of `total_bytes` of memory is to end, ns after its memory
 * phase began: the larger of `deadline` and `deadline_per_gib`; POLICY_NONE: none is stated, or it
 * is not known yet (total_bytes 0).
 */
int64_t policy_deadline_ns(const struct policy_values *values, uint64_t total_bytes);

/* The word a KIND is written as where a value belongs ("DURATION"). Static. */
const char *policy_kind_word(enum policy_kind kind);

/* The values of POLICY_PRESET, ended by NULL. */
extern const char *const policy_preset_names[];

/* The fields a preset states. `preset` is a value of POLICY_PRESET other than POLICY_NONE. */
void policy_preset_layer(int64_t preset, struct policy_layer *ret);

/* What a label is made of, in words. */
#define POLICY_LABEL  "a label of up to 63 letters, digits, '.', '-' and '_'"
#define POLICY_LABELS "labels of up to 63 letters, digits, '.', '-' and '_', with spaces between"

/* Are these `len` bytes a label, by which rules choose domains and metadata names them? */
bool policy_is_label(const char *text, size_t len);

#endif
