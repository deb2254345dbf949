/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/policy.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/units.h"

/* ---- presets: named sets of fields ---- */

enum { OBSERVE, GENTLE, BALANCED, MUST_FINISH, NEVER_SLOW, PRESETS };

const char *const policy_preset_names[] = {
    [OBSERVE] = "observe",         [GENTLE] = "gentle",         [BALANCED] = "balanced",
    [MUST_FINISH] = "must-finish", [NEVER_SLOW] = "never-slow", [PRESETS] = NULL,
};

#define UNSTATED INT64_MIN
#define S        NS_PER_S
#define MIN      (60 * S)

/*
 * A preset that acts states every field here, those it refuses as well, so that one laid over
 * another leaves nothing of it behind. `observe` states the mode alone: what would be done under
 * the rest is what is to be seen.
 */
/* clang-format off */
static const struct {
    enum policy_field field;
    int64_t value[PRESETS];
} presets[] = {
    /*                                observe       gentle         balanced       must-finish    never-slow */
    {POLICY_MODE,                    {MODE_OBSERVE, MODE_ENFORCE,  MODE_ENFORCE,  MODE_ENFORCE,  MODE_ENFORCE}},
    {POLICY_ALLOW_BANDWIDTH,         {UNSTATED,     ALLOW_YES,     ALLOW_YES,     ALLOW_YES,     ALLOW_YES}},
    {POLICY_ALLOW_COMPRESSION_CACHE, {UNSTATED,     ALLOW_NO,      ALLOW_YES,     ALLOW_YES,     ALLOW_YES}},
    {POLICY_MAX_DOWNTIME,            {UNSTATED,     S / 2,         S,             5 * S,         2 * S}},
    {POLICY_AIM_DOWNTIME,            {UNSTATED,     POLICY_NONE,   POLICY_NONE,   POLICY_NONE,   POLICY_NONE}},
    {POLICY_ALLOW_THROTTLE,          {UNSTATED,     ALLOW_YES,     ALLOW_YES,     ALLOW_YES,     ALLOW_NO}},
    {POLICY_MIN_CPU,                 {UNSTATED,     PPM_ONE / 2,   PPM_ONE / 5,   PPM_ONE / 20,  PPM_ONE / 5}},
    {POLICY_MAX_WORK_LOST,           {UNSTATED,     POLICY_NONE,   30 * S,        POLICY_NONE,   POLICY_NONE}},
    {POLICY_OBJECTIVE,               {UNSTATED,     OBJECTIVE_GENTLE,     OBJECTIVE_LEAST_LOSS,
                                                    OBJECTIVE_LEAST_LOSS, OBJECTIVE_LEAST_LOSS}},
    {POLICY_ALLOW_POST_COPY,         {UNSTATED,     ALLOW_NO,      ALLOW_NO,      ALLOW_YES,     ALLOW_YES}},
    {POLICY_ALLOW_SUSPEND,           {UNSTATED,     ALLOW_NO,      ALLOW_NO,      ALLOW_YES,     ALLOW_NO}},
    {POLICY_ALLOW_CANCEL,            {UNSTATED,     ALLOW_NO,      ALLOW_NO,      ALLOW_NO,      ALLOW_NO}},
    {POLICY_DEADLINE,                {UNSTATED,     30 * MIN,      POLICY_NONE,   POLICY_NONE,   POLICY_NONE}},
    {POLICY_ON_DEADLINE,             {UNSTATED,     ON_DEADLINE_REPORT, ON_DEADLINE_REPORT,
                                                    ON_DEADLINE_FORCE,  ON_DEADLINE_REPORT}},
};
/* clang-format on */

void policy_preset_layer(int64_t preset, struct policy_layer *ret)
{
    *ret = (struct policy_layer){0};
    for (unsigned i = 0; i < sizeof(presets) / sizeof(presets[0]); i++) {
        int64_t value = presets[i].value[preset];

        if (value == UNSTATED)
            continue;
        ret->set |= 1u << presets[i].field;
        ret->values.v[presets[i].field] = value;
    }
}

/* ---- fields ---- */

static const char *const mode_names[] = {"observe", "enforce", NULL};
static const char *const allow_names[] = {"no", "ask", "yes", NULL};
static const char *const on_deadline_names[] = {"report", "cancel", "force", NULL};
static const char *const on_other_writer_names[] = {"yield", "hold", NULL};
static const char *const objective_names[] = {"least-loss", "gentle", NULL};
static const char *const rung_names[] = {"bandwidth", "downtime", "throttle", "post-copy",
                                         "suspend",   "cancel",   NULL};

/* Four bits a rung, the first one lowest. */
#define ORDER_BITS    4
#define ORDER_DEFAULT 0x543210

/* libvirt refuses downtimes above 2000000 ms; a longer deadline than 30 days is a typing error. */
#define DOWNTIME_MAX_NS (2000 * NS_PER_S)
#define DURATION_MAX_NS (NS_PER_S * 86400 * 30)

/* 64 Tbit/s and 64 TiB: more than any link or host has. */
#define RATE_MAX_BPS   (INT64_C(8) << 40)
#define SIZE_MAX_BYTES (INT64_C(64) << 40)

#define ACCEPTS_ALLOW    "yes, ask or no"
#define ACCEPTS_DURATION "a duration between 1s and 30 days"

/*
 * The fields: X(constant, name, kind, which value is narrower, choices, least and greatest value,
 * built-in default, what is accepted, help).
 */
/* clang-format off */
#define FIELD_TABLE(X) \
    X(PRESET, "preset", KIND_CHOICE, NARROWER_NEITHER, policy_preset_names, 0, 0, \
      POLICY_NONE, "observe, gentle, balanced, must-finish or never-slow", \
      "a set of fields; what is stated beside it overrides it") \
    X(MODE, "mode", KIND_CHOICE, NARROWER_LOW, mode_names, 0, 0, MODE_OBSERVE, \
      "observe or enforce", \
      "observe: decide, record and export, touch nothing; enforce: act as allowed") \
    X(MAX_DOWNTIME, "max_downtime", KIND_DURATION, NARROWER_LOW, NULL, NS_PER_MS, \
      DOWNTIME_MAX_NS, POLICY_NONE, \
      "a duration between 1ms and 33m20s, or none", \
      "the longest blackout: the downtime limit is lowered, and may be " \
      "raised, to what keeps it") \
    X(AIM_DOWNTIME, "aim_downtime", KIND_DURATION, NARROWER_NEITHER, NULL, NS_PER_MS, \
      DOWNTIME_MAX_NS, POLICY_NONE, \
      "a duration between 1ms and 33m20s, or none", \
      "the downtime limit to begin with; it is raised only as far as time " \
      "demands") \
    X(ALLOW_THROTTLE, "allow_throttle", KIND_CHOICE, NARROWER_LOW, allow_names, 0, 0, \
      ALLOW_NO, ACCEPTS_ALLOW, \
      "vCPUs may be slowed through cgroup CPU quota") \
    X(MIN_CPU, "min_cpu", KIND_SHARE, NARROWER_HIGH, NULL, PPM_ONE / 100, PPM_ONE, \
      PPM_ONE / 5, "a share between 1% and 100%", \
      "no vCPU is throttled below this share of what it could use") \
    X(MAX_WORK_LOST, "max_work_lost", KIND_DURATION, NARROWER_LOW_BUT_NONE, NULL, \
      NS_PER_MS, DURATION_MAX_NS, POLICY_NONE, \
      "a duration between 1ms and 30 days, or none", \
      "guest work that throttling may cost per migration") \
    X(ALLOW_BANDWIDTH, "allow_bandwidth", KIND_CHOICE, NARROWER_LOW, allow_names, 0, 0, \
      ALLOW_NO, ACCEPTS_ALLOW, \
      "the migration's speed limit may be raised") \
    X(MAX_BANDWIDTH, "max_bandwidth", KIND_RATE, NARROWER_LOW_BUT_NONE, NULL, MIB_BYTES, \
      RATE_MAX_BPS, POLICY_NONE, "a rate of at least 1MiB/s, or none", \
      "the speed limit may be raised up to this") \
    X(ALLOW_COMPRESSION_CACHE, "allow_compression_cache", KIND_CHOICE, NARROWER_LOW, \
      allow_names, 0, 0, ALLOW_NO, ACCEPTS_ALLOW, \
      "the XBZRLE cache of a compressed migration may grow") \
    X(MAX_COMPRESSION_CACHE, "max_compression_cache", KIND_SIZE, NARROWER_LOW_BUT_NONE, \
      NULL, MIB_BYTES, SIZE_MAX_BYTES, POLICY_NONE, \
      "a size of at least 1MiB, or none", \
      "the XBZRLE cache may grow up to this") \
    X(ALLOW_POST_COPY, "allow_post_copy", KIND_CHOICE, NARROWER_LOW, allow_names, 0, 0, \
      ALLOW_NO, ACCEPTS_ALLOW, \
      "the guest may be switched to post-copy, if the migration was " \
      "started with it") \
    X(ALLOW_SUSPEND, "allow_suspend", KIND_CHOICE, NARROWER_LOW, allow_names, 0, 0, \
      ALLOW_NO, ACCEPTS_ALLOW, \
      "the guest may be paused until all of its memory is sent") \
    X(ALLOW_CANCEL, "allow_cancel", KIND_CHOICE, NARROWER_LOW, allow_names, 0, 0, ALLOW_NO, \
      ACCEPTS_ALLOW, \
      "the migration may be cancelled when it is hopeless or too late") \
    X(DEADLINE, "deadline", KIND_DURATION, NARROWER_NEITHER, NULL, NS_PER_S, \
      DURATION_MAX_NS, POLICY_NONE, ACCEPTS_DURATION ", or none", \
      "the migration should have ended this long after its memory phase began") \
    X(DEADLINE_PER_GIB, "deadline_per_gib", KIND_DURATION, NARROWER_NEITHER, NULL, \
      NS_PER_MS, DURATION_MAX_NS, POLICY_NONE, \
      "a duration between 1ms and 30 days, or none", \
      "the deadline is at least this for each GiB of memory") \
    X(ON_DEADLINE, "on_deadline", KIND_CHOICE, NARROWER_FIRST, on_deadline_names, 0, 0, \
      ON_DEADLINE_REPORT, "report, cancel or force", \
      "what happens at the deadline: cancel needs allow_cancel; force is " \
      "post-copy, else suspend, each if allowed") \
    X(PATIENCE, "patience", KIND_DURATION, NARROWER_HIGH, NULL, 0, DURATION_MAX_NS, 0, \
      "a duration between 0s and 30 days", \
      "how long a confirmed plateau may last before the first action") \
    X(STALL_TIMEOUT, "stall_timeout", KIND_DURATION, NARROWER_HIGH, NULL, NS_PER_S, \
      DURATION_MAX_NS, 60 * NS_PER_S, ACCEPTS_DURATION, \
      "no byte sent for this long means stalled") \
    X(ON_OTHER_WRITER, "on_other_writer", KIND_CHOICE, NARROWER_FIRST, \
      on_other_writer_names, 0, 0, OTHER_WRITER_YIELD, "yield or hold", \
      "when another program changes a downtime limit of ours: leave it, " \
      "or set ours again") \
    X(ASK_TIMEOUT, "ask_timeout", KIND_DURATION, NARROWER_NEITHER, NULL, NS_PER_S, \
      DURATION_MAX_NS, 300 * NS_PER_S, ACCEPTS_DURATION, \
      "a question that nobody answers for this long is withdrawn") \
    X(PRECOPY_ITERATIONS, "precopy_iterations", KIND_COUNT, NARROWER_HIGH, NULL, 1, \
      1000000, POLICY_NONE, "a number between 1 and 1000000, or none", \
      "stop and copy after so many passes, within max_downtime or by " \
      "suspend") \
    X(PRECOPY_THRESHOLD, "precopy_threshold", KIND_SIZE, NARROWER_LOW, NULL, 4096, \
      SIZE_MAX_BYTES, POLICY_NONE, "a size of at least 4KiB, or none", \
      "stop and copy once a pass begins with no more than this, within " \
      "max_downtime or by suspend") \
    X(OBJECTIVE, "objective", KIND_CHOICE, NARROWER_NEITHER, objective_names, 0, 0, \
      OBJECTIVE_LEAST_LOSS, "least-loss or gentle", \
      "least-loss: throttle short and hard; gentle: the mildest throttle that " \
      "meets the deadline") \
    X(ORDER, "order", KIND_ORDER, NARROWER_NEITHER, rung_names, 0, 0, ORDER_DEFAULT, \
      "a list such as bandwidth,downtime,throttle,post-copy,suspend,cancel", \
      "the order in which actions are considered; those left out come last")
/* clang-format on */

static const struct policy_field_info fields[POLICY_FIELDS] = {
#define X(constant, ...) [POLICY_##constant] = {__VA_ARGS__},
    FIELD_TABLE(X)
#undef X
};

#define ONE_MORE(...) +1
_Static_assert(0 FIELD_TABLE(ONE_MORE) == POLICY_FIELDS, "each field has one row");

/* How quantities are read and written. KIND_COUNT has no unit. */
static const struct {
    enum unit unit;
    const char *word;
} kinds[] = {
    [KIND_DURATION] = {UNIT_DURATION, "DURATION"},
    [KIND_SHARE] = {UNIT_SHARE, "SHARE"},
    [KIND_SIZE] = {UNIT_SIZE, "SIZE"},
    [KIND_RATE] = {UNIT_RATE, "RATE"},
    [KIND_COUNT] = {UNIT_SIZE, "NUMBER"},
    [KIND_CHOICE] = {UNIT_SIZE, "WORD"},
    [KIND_ORDER] = {UNIT_SIZE, "LIST"},
};

const char *policy_kind_word(enum policy_kind kind)
{
    return kinds[kind].word;
}

const struct policy_field_info *policy_field_info(enum policy_field field)
{
    return &fields[field];
}

static bool same_name(const char *a, const char *b)
{
    for (; *a && *b; a++, b++) {
        if ((*a == '-' ? '_' : *a) != (*b == '-' ? '_' : *b))
            return false;
    }
    return *a == *b;
}

int policy_field_find(const char *name, enum policy_field *ret_field)
{
    for (unsigned i = 0; i < POLICY_FIELDS; i++) {
        if (same_name(fields[i].name, name)) {
            *ret_field = (enum policy_field)i;
            return 0;
        }
    }
    return -ENOENT;
}

static int choice_parse(const char *const *choices, const char *text, size_t len)
{
    for (int i = 0; choices[i]; i++) {
        if (strlen(choices[i]) == len && memcmp(choices[i], text, len) == 0)
            return i;
    }
    return -EINVAL;
}

static int count_parse(const char *text, int64_t *ret_value)
{
    int64_t value = 0;

    if (!*text)
        return -EINVAL;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return -EINVAL;
        value = value < INT32_MAX ? value * 10 + (*text - '0') : INT32_MAX;
    }
    *ret_value = value;
    return 0;
}

static int order_parse(const char *text, int64_t *ret_value)
{
    unsigned seen = 0;
    unsigned place = 0;
    int64_t value = 0;
    size_t len;

    for (;; text += len + 1) {
        int rung;

        len = strcspn(text, ",");
        rung = choice_parse(rung_names, text, len);
        if (rung < 0 || seen & (1u << rung))
            return -EINVAL;
        seen |= 1u << rung;
        value |= (int64_t)rung << (ORDER_BITS * place++);
        if (!text[len])
            break;
    }
    for (unsigned rung = 0; rung < RUNGS; rung++) {
        if (!(seen & (1u << rung)))
            value |= (int64_t)rung << (ORDER_BITS * place++);
    }
    *ret_value = value;
    return 0;
}

enum policy_rung policy_rung_at(int64_t order, unsigned place)
{
    return (enum policy_rung)(order >> (ORDER_BITS * place) & ((1 << ORDER_BITS) - 1));
}

/* Choices are listed in `accepts`; what a malformed quantity should look like its unit tells. */
static int value_parse(const struct policy_field_info *info, const char *text, int64_t *ret_value,
                       const char **ret_expected)
{
    int64_t value = 0;
    int r;

    *ret_expected = info->accepts;
    if (info->kind == KIND_CHOICE) {
        r = choice_parse(info->choices, text, strlen(text));
        if (r >= 0)
            *ret_value = r;
        return r < 0 ? r : 0;
    }
    if (info->kind == KIND_ORDER)
        return order_parse(text, ret_value);
    if (info->initial == POLICY_NONE && strcmp(text, "none") == 0) {
        *ret_value = POLICY_NONE;
        return 0;
    }
    if (info->kind == KIND_COUNT) {
        r = count_parse(text, &value);
    } else {
        r = units_parse(kinds[info->kind].unit, text, &value);
        if (r == -EINVAL)
            *ret_expected = units_expected(kinds[info->kind].unit, text);
    }
    if (r == 0 && (value < info->min || value > info->max))
        r = -ERANGE;
    if (r == 0)
        *ret_value = value;
    return r;
}

int policy_layer_set(struct policy_layer *layer, enum policy_field field, const char *text,
                     const char **ret_expected)
{
    const char *expected;
    int64_t value = 0;
    int r = value_parse(&fields[field], text, &value, &expected);

    if (r < 0) {
        if (ret_expected)
            *ret_expected = expected;
        return r;
    }
    layer->values.v[field] = value;
    layer->set |= 1u << field;
    return 0;
}

void policy_layer_unset(struct policy_layer *layer, enum policy_field field)
{
    layer->set &= ~(1u << field);
    layer->values.v[field] = 0;
}

static void order_format(int64_t order, char *buf, size_t size)
{
    size_t len = 0;

    for (unsigned i = 0; i < RUNGS && len < size; i++)
        len += (size_t)snprintf(buf + len, size - len, "%s%s", i ? "," : "",
                                rung_names[policy_rung_at(order, i)]);
}

const char *policy_value_format(enum policy_field field, int64_t value, char *buf, size_t size)
{
    const struct policy_field_info *info = &fields[field];
    char text[UNITS_TEXT_MAX];

    if (value == POLICY_NONE)
        snprintf(buf, size, "none");
    else if (info->kind == KIND_CHOICE)
        snprintf(buf, size, "%s", info->choices[value]);
    else if (info->kind == KIND_ORDER)
        order_format(value, buf, size);
    else if (info->kind == KIND_COUNT)
        snprintf(buf, size, "%" PRId64, value);
    else
        snprintf(buf, size, "%s", units_format(kinds[info->kind].unit, value, text));
    return buf;
}

void policy_init(struct policy *policy)
{
    *policy = (struct policy){0};
    for (unsigned i = 0; i < POLICY_FIELDS; i++) {
        policy->values.v[i] = fields[i].initial;
        snprintf(policy->source[i], POLICY_SOURCE_MAX, "default");
    }
}

static void merge_stated(struct policy *policy, const struct policy_layer *layer,
                         const char *source)
{
    for (unsigned i = 0; i < POLICY_FIELDS; i++) {
        if (!(layer->set & (1u << i)))
            continue;
        policy->values.v[i] = layer->values.v[i];
        policy->set |= 1u << i;
        snprintf(policy->source[i], POLICY_SOURCE_MAX, "%s", source);
    }
}

void policy_merge(struct policy *policy, const struct policy_layer *layer, const char *source)
{
    if (layer->set & 1u << POLICY_PRESET) {
        int64_t preset = layer->values.v[POLICY_PRESET];
        struct policy_layer stands_for;
        char text[POLICY_SOURCE_MAX];

        policy_preset_layer(preset, &stands_for);
        snprintf(text, sizeof(text), "preset %s, %s", policy_preset_names[preset], source);
        merge_stated(policy, &stands_for, text);
    }
    merge_stated(policy, layer, source);
}

static bool is_narrower(enum policy_narrower narrower, int64_t value, int64_t than)
{
    switch (narrower) {
    case NARROWER_FIRST:
        return value == 0 && than != 0;
    case NARROWER_LOW:
        return value < than; /* POLICY_NONE is below all */
    case NARROWER_LOW_BUT_NONE:
        return value != POLICY_NONE && (than == POLICY_NONE || value < than);
    case NARROWER_HIGH:
        return than != POLICY_NONE && (value == POLICY_NONE || value > than);
    default:
        return false;
    }
}

void policy_narrow(struct policy *policy, const struct policy_layer *layer, const char *source)
{
    struct policy wanted = {0};

    policy_merge(&wanted, layer, source);
    for (unsigned i = 0; i < POLICY_FIELDS; i++) {
        if (!(wanted.set & (1u << i)) ||
            !is_narrower(fields[i].narrower, wanted.values.v[i], policy->values.v[i]))
            continue;
        policy->values.v[i] = wanted.values.v[i];
        policy->set |= 1u << i;
        memcpy(policy->source[i], wanted.source[i], POLICY_SOURCE_MAX);
    }
}

bool policy_allows_anything(const struct policy_values *values)
{
    bool any = values->v[POLICY_MAX_DOWNTIME] != POLICY_NONE ||
               values->v[POLICY_AIM_DOWNTIME] != POLICY_NONE;

    for (unsigned i = 0; i < POLICY_FIELDS; i++)
        any |= fields[i].choices == allow_names && values->v[i] != ALLOW_NO;
    return any;
}

int64_t policy_deadline_ns(const struct policy_values *values, uint64_t total_bytes)
{
    int64_t deadline_ns = values->v[POLICY_DEADLINE];
    int64_t per_gib_ns = values->v[POLICY_DEADLINE_PER_GIB];

    if (per_gib_ns != POLICY_NONE && total_bytes == 0)
        return POLICY_NONE;
    if (per_gib_ns != POLICY_NONE) {
        double by_size_ns = (double)per_gib_ns * ((double)total_bytes / (double)(1 << 30));

        if (by_size_ns > (double)deadline_ns)
            deadline_ns =
                by_size_ns < (double)DURATION_MAX_NS ? (int64_t)by_size_ns : DURATION_MAX_NS;
    }
    return deadline_ns;
}

void policy_finish(struct policy *policy)
{
    int64_t *v = policy->values.v;

    if (!policy_allows_anything(&policy->values))
        return;
    if (!(policy->set & (1u << POLICY_MODE)))
        v[POLICY_MODE] = MODE_ENFORCE;
    if (!(policy->set & (1u << POLICY_ON_DEADLINE)) && v[POLICY_ALLOW_CANCEL] == ALLOW_YES)
        v[POLICY_ON_DEADLINE] = ON_DEADLINE_CANCEL;
}

bool policy_is_label(const char *text, size_t len)
{
    if (len == 0 || len > 63)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!isascii((unsigned char)text[i]) ||
            !(isalnum((unsigned char)text[i]) || strchr(".-_", text[i])))
            return false;
    }
    return true;
}
