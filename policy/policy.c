/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/policy.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "policy/units.h"

static const char *const mode_names[] = {"observe", "enforce", NULL};
static const char *const allow_names[] = {"no", "yes", NULL};
static const char *const on_deadline_names[] = {"report", "cancel", NULL};
static const char *const objective_names[] = {"least-loss", "gentle", NULL};

/* libvirt refuses downtimes above 2000000 ms; a longer deadline than 30 days is a typing error. */
#define DOWNTIME_MAX_NS (2000 * NS_PER_S)
#define DURATION_MAX_NS (NS_PER_S * 86400 * 30)

/* Name, kind, choices, least and greatest value, built-in default, what is accepted, help. */
static const struct policy_field_info fields[POLICY_FIELDS] = {
    [POLICY_MODE] = {"mode", KIND_CHOICE, mode_names, 0, 0, MODE_OBSERVE, "observe or enforce",
                     "observe: decide, record and export, touch nothing; enforce: act as allowed"},
    [POLICY_MAX_DOWNTIME] = {"max_downtime", KIND_DURATION, NULL, NS_PER_MS, DOWNTIME_MAX_NS,
                             POLICY_NONE, "a duration between 1ms and 33m20s, or none",
                             "the downtime limit may be raised up to this"},
    [POLICY_ALLOW_THROTTLE] = {"allow_throttle", KIND_CHOICE, allow_names, 0, 0, ALLOW_NO,
                               "yes or no", "vCPUs may be slowed through cgroup CPU quota"},
    [POLICY_MIN_CPU] = {"min_cpu", KIND_SHARE, NULL, PPM_ONE / 100, PPM_ONE, PPM_ONE / 5,
                        "a share between 1% and 100%",
                        "no vCPU is throttled below this share of what it could use"},
    [POLICY_MAX_WORK_LOST] = {"max_work_lost", KIND_DURATION, NULL, NS_PER_MS, DURATION_MAX_NS,
                              POLICY_NONE, "a duration between 1ms and 30 days, or none",
                              "guest work that throttling may cost per migration"},
    [POLICY_ALLOW_CANCEL] = {"allow_cancel", KIND_CHOICE, allow_names, 0, 0, ALLOW_NO, "yes or no",
                             "the migration may be cancelled when it is hopeless or too late"},
    [POLICY_DEADLINE] = {"deadline", KIND_DURATION, NULL, NS_PER_S, DURATION_MAX_NS, POLICY_NONE,
                         "a duration between 1s and 30 days, or none",
                         "the migration is wanted ended this long after its start"},
    [POLICY_ON_DEADLINE] = {"on_deadline", KIND_CHOICE, on_deadline_names, 0, 0, ON_DEADLINE_REPORT,
                            "report or cancel",
                            "what happens at the deadline; cancel needs allow_cancel"},
    [POLICY_PATIENCE] = {"patience", KIND_DURATION, NULL, 0, DURATION_MAX_NS, 0,
                         "a duration between 0s and 30 days",
                         "how long a confirmed plateau may last before the first action"},
    [POLICY_STALL_TIMEOUT] = {"stall_timeout", KIND_DURATION, NULL, NS_PER_S, DURATION_MAX_NS,
                              60 * NS_PER_S, "a duration between 1s and 30 days",
                              "no new low in what remains for this long means stalled"},
    [POLICY_OBJECTIVE] = {"objective", KIND_CHOICE, objective_names, 0, 0, OBJECTIVE_LEAST_LOSS,
                          "least-loss or gentle",
                          "least-loss: throttle short and hard; gentle: the mildest throttle that "
                          "meets the deadline"},
};

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

int policy_layer_set(struct policy_layer *layer, enum policy_field field, const char *text,
                     const char **ret_expected)
{
    const struct policy_field_info *info = &fields[field];
    const char *expected = info->accepts;
    int64_t value = 0;
    int r = 0;

    if (info->kind == KIND_CHOICE) {
        while (info->choices[value] && strcmp(info->choices[value], text) != 0)
            value++;
        if (!info->choices[value])
            r = -EINVAL;
    } else if (info->initial == POLICY_NONE && strcmp(text, "none") == 0) {
        value = POLICY_NONE;
    } else {
        enum unit unit = info->kind == KIND_DURATION ? UNIT_DURATION : UNIT_SHARE;

        r = units_parse(unit, text, &value);
        if (r == -EINVAL)
            expected = units_expected(unit);
        else if (r == 0 && (value < info->min || value > info->max))
            r = -ERANGE;
    }
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

const char *policy_value_format(enum policy_field field, int64_t value, char *buf, size_t size)
{
    const struct policy_field_info *info = &fields[field];
    char text[UNITS_TEXT_MAX];

    if (info->kind == KIND_CHOICE)
        snprintf(buf, size, "%s", info->choices[value]);
    else if (value == POLICY_NONE)
        snprintf(buf, size, "none");
    else
        snprintf(
            buf, size, "%s",
            units_format(info->kind == KIND_DURATION ? UNIT_DURATION : UNIT_SHARE, value, text));
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

void policy_merge(struct policy *policy, const struct policy_layer *layer, const char *source)
{
    for (unsigned i = 0; i < POLICY_FIELDS; i++) {
        if (!(layer->set & (1u << i)))
            continue;
        policy->values.v[i] = layer->values.v[i];
        policy->set |= 1u << i;
        snprintf(policy->source[i], POLICY_SOURCE_MAX, "%s", source);
    }
}

bool policy_allows_anything(const struct policy_values *values)
{
    return values->v[POLICY_MAX_DOWNTIME] != POLICY_NONE ||
           values->v[POLICY_ALLOW_THROTTLE] == ALLOW_YES ||
           values->v[POLICY_ALLOW_CANCEL] == ALLOW_YES;
}

void policy_finish(struct policy *policy)
{
    int64_t *v = policy->values.v;

    if (!policy_allows_anything(&policy->values))
        return;
    if (!(policy->set & (1u << POLICY_MODE)))
        v[POLICY_MODE] = MODE_ENFORCE;
    if (!(policy->set & (1u << POLICY_DEADLINE)))
        v[POLICY_DEADLINE] = 600 * NS_PER_S;
    if (!(policy->set & (1u << POLICY_ON_DEADLINE)) && v[POLICY_ALLOW_CANCEL] == ALLOW_YES)
        v[POLICY_ON_DEADLINE] = ON_DEADLINE_CANCEL;
}
