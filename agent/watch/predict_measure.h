/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What policy/model/predict.h is to be told of a running domain. */
#ifndef MIGPOLICY_PREDICT_MEASURE_H
#define MIGPOLICY_PREDICT_MEASURE_H

#include "common/error.h"
#include "common/wakeup.h"
#include "policy/model/predict.h"

/*
 * Measures a running domain that does not migrate, which takes 7 to 77 seconds; wakeup_end() on
 * `wake` cuts it short. `bandwidth_bps` is what the link carries, 0: the migration speed limit, if
 * there is one, else `otherwise_bps`, which may be 0 too. *ret_source names which it was.
 * Returns 0; -EPERM (not now, or not without a bandwidth), -ECANCELED, or as of hypervisor.h.
 */
int predict_measure(const char *uri, const char *uuid, struct wakeup *wake, double bandwidth_bps,
                    double otherwise_bps, struct predict_facts *ret, const char **ret_source,
                    struct error *ret_err);

#endif
