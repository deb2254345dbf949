/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What `migpolicy simulate` is told on the command line: guest, link, policy and how to run it. */
#ifndef MIGPOLICY_SIMULATE_SETTING_H
#define MIGPOLICY_SIMULATE_SETTING_H

#include "agent/cli/cli.h"
#include "agent/cli/simulate_curve.h"
#include "policy/model/model.h"

enum simulate_option {
    SIMULATE_ALL,
    SIMULATE_POLICY,
    SIMULATE_MEMORY,
    SIMULATE_ZERO,
    SIMULATE_DIRTY_RATE,
    SIMULATE_HOT,
    SIMULATE_PATTERN,
    SIMULATE_CPU_BOUND,
    SIMULATE_CURVE,
    SIMULATE_VCPUS,
    SIMULATE_BUSY,
    SIMULATE_SHARED_CPU,
    SIMULATE_PHASES,
    SIMULATE_FLUSH,
    SIMULATE_DEVICES,
    SIMULATE_STORAGE,
    SIMULATE_LINK,
    SIMULATE_LINK_CHANGES,
    SIMULATE_NOISE,
    SIMULATE_SEED,
    SIMULATE_SEEDS,
    SIMULATE_LIMIT,
    SIMULATE_AUTO_CONVERGE,
    SIMULATE_FOR,
    SIMULATE_PLOT,
    SIMULATE_SVG,
};

extern const struct cli_option simulate_options[];

/* What is simulated. */
struct simulate_setting {
    struct model_guest guest;
    struct model_link link;
    struct simulate_curve curve;
    struct policy policy;
    uint64_t seed;
    double limit_s;
    double until_s;
    bool auto_converge;
    uint64_t seeds; /* 0: one run is told in full */
};

/* Reads the options, or reports what is wrong; returns the exit code. What was read of a curve is
 * freed by simulate_curve_clear(), whatever is returned. */
int simulate_read_setting(const struct cli *cli, struct simulate_setting *s);

#endif
