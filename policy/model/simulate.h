/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The controller on a modelled migration: looks at it as the daemon does, decides, and does to the
 * model what the daemon would do to the guest. The command, the tests of the controller and the
 * scoreboard all run this loop.
 *
 * Pure and deterministic; one thread per model.
 */
#ifndef MIGPOLICY_SIMULATE_H
#define MIGPOLICY_SIMULATE_H

#include "policy/controller.h"
#include "policy/model/model.h"

/* Functions called at each look, right before and right after the controller is asked. Both may be
   NULL; `before` may change the sample and the model. */
struct simulate_watch {
    void (*before)(void *context, struct sample *s);
    void (*after)(void *context, const struct sample *s, const struct decision *d);
    void *context;
};

/* Until the migration ends or virtual time is `until_s`. Goes on from where the model stands. */
void simulate(struct model *m, struct controller *c, const struct policy_values *policy,
              double until_s, const struct simulate_watch *watch);

/* The guest of the published memcached measurement: 32 GiB, four vCPUs, its dirty-page curve. */
void simulate_memcached(struct model_guest *ret);

#endif
