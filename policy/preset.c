/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/preset.h"

#include "common/units.h"

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
} table[] = {
    /*                                observe       gentle         balanced       must-finish    never-slow */
    {POLICY_MODE,                    {MODE_OBSERVE, MODE_ENFORCE,  MODE_ENFORCE,  MODE_ENFORCE,  MODE_ENFORCE}},
    {POLICY_ALLOW_BANDWIDTH,         {UNSTATED,     ALLOW_YES,     ALLOW_YES,     ALLOW_YES,     ALLOW_YES}},
    {POLICY_ALLOW_COMPRESSION_CACHE, {UNSTATED,     ALLOW_NO,      ALLOW_YES,     ALLOW_YES,     ALLOW_YES}},
    {POLICY_MAX_DOWNTIME,            {UNSTATED,     S / 2,         S,             5 * S,         2 * S}},
    {POLICY_ALLOW_THROTTLE,          {UNSTATED,     ALLOW_YES,     ALLOW_YES,     ALLOW_YES,     ALLOW_NO}},
    {POLICY_MIN_CPU,                 {UNSTATED,     PPM_ONE / 2,   PPM_ONE / 5,   PPM_ONE / 20,  PPM_ONE / 5}},
    {POLICY_MAX_WORK_LOST,           {UNSTATED,     POLICY_NONE,   30 * S,        POLICY_NONE,   POLICY_NONE}},
    {POLICY_OBJECTIVE,               {UNSTATED,     OBJECTIVE_GENTLE,     OBJECTIVE_LEAST_LOSS,
                                                    OBJECTIVE_LEAST_LOSS, OBJECTIVE_LEAST_LOSS}},
    {POLICY_ALLOW_POST_COPY,         {UNSTATED,     ALLOW_NO,      ALLOW_NO,      ALLOW_YES,     ALLOW_YES}},
    {POLICY_ALLOW_SUSPEND,           {UNSTATED,     ALLOW_NO,      ALLOW_NO,      ALLOW_YES,     ALLOW_NO}},
    {POLICY_ALLOW_CANCEL,            {UNSTATED,     ALLOW_NO,      ALLOW_NO,      ALLOW_NO,      ALLOW_NO}},
    {POLICY_DEADLINE,                {UNSTATED,     30 * MIN,      10 * MIN,      10 * MIN,      10 * MIN}},
    {POLICY_ON_DEADLINE,             {UNSTATED,     ON_DEADLINE_REPORT, ON_DEADLINE_REPORT,
                                                    ON_DEADLINE_FORCE,  ON_DEADLINE_REPORT}},
};
/* clang-format on */

void policy_preset_layer(int64_t preset, struct policy_layer *ret)
{
    *ret = (struct policy_layer){0};
    for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        int64_t value = table[i].value[preset];

        if (value == UNSTATED)
            continue;
        ret->set |= 1u << table[i].field;
        ret->values.v[table[i].field] = value;
    }
}
