/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A controller driving a modelled migration, as the agent would. */
#ifndef MIGPOLICY_TEST_SIM_H
#define MIGPOLICY_TEST_SIM_H

#include "policy/controller.h"
#include "policy/model/model.h"

struct sim {
    struct model model;
    struct controller controller;
    struct policy policy;
    struct decision last;
    void (*meddle)(struct sim *sim, struct sample *s); /* changes the world before each look */
    unsigned count[ACTIONS];                           /* actions applied */
    unsigned proposed;                                 /* actions decided but not to be applied */
    double first_action_s;                             /* NAN: none */
    uint64_t first_action_iteration;
    double least_share;       /* tightest quota ever applied */
    double greatest_limit_s;  /* largest downtime limit ever set */
    enum reason last_release; /* reason of the last release */
    bool seen[VERDICTS];
};

/* "hot" MB written at "rate" MB/s by one busy vCPU of a 512 MiB guest. */
struct model_guest sim_guest(double hot_mb, double rate_mbps);

/* One that writes 210 MB over and over at 210 MB/s, on a link of 97 MB/s. */
#define LINK 97
struct model_guest busy_guest(void);

/* Policy fields and values in turn, ended by NULL. */
void sim_start(struct sim *sim, const struct model_guest *guest, double link_mbps, ...);

/* A meddler: the first region grows by 5% of 210 MB in each pass. */
void sim_grow(struct sim *sim, struct sample *s);

/* Until the migration ends or `seconds` have gone by. */
void sim_run(struct sim *sim, double seconds);

/* How many were applied. */
unsigned actions(const struct sim *sim);

#endif
