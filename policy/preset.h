/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Named sets of policy fields. Pure; thread-safe. */
#ifndef MIGPOLICY_PRESET_H
#define MIGPOLICY_PRESET_H

#include "policy/policy.h"

/* The values of POLICY_PRESET, NULL-terminated. */
extern const char *const policy_preset_names[];

/* The fields a preset states. `preset` is a value of POLICY_PRESET other than POLICY_NONE. */
void policy_preset_layer(int64_t preset, struct policy_layer *ret);

#endif
