/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a simulated host goes through, as JSON:
 *
 *   {"time_factor": 20,                      virtual seconds in a second; 1 if absent
 *    "disconnect_after": "30s",              the connection is lost then, and refused
 *    "reconnect_after": "5s",                for so long; for good if absent
 *    "log": "FILE",                          what was done to the domains: JSON lines, appended
 *    "domains": [{
 *      "name": "vm1", "start": "2s",         its migration begins then; 0s if absent
 *      "metadata": "<policy .../>",          its own policy (agent/virt/metadata.h); none if absent
 *      "link": {"rate": "1Gbit/s", "noise": 0.1, "changes": [{"at": "10s", "factor": 0.5}]},
 *      "guest": {"ram": "2GiB", "zero": "1GiB", "flush": "0s", "vcpus": 2, "busy": "100%",
 *                "regions": [{"size": "200MiB", "rate": "210MB/s", "sequential": false,
 *                             "cpu_bound": "100%", "vcpu": 0}],
 *                "phases": [{"lasts": "10s", "rate": 1, "busy": 1}]},
 *      "speed_limit": "100MB/s",             of the migration; none if absent
 *      "compression_cache": "64MiB",         it is compressed, which has no effect here
 *      "post_copy": true,                    it was started with post-copy; false if absent
 *      "switchover": "30s",                  it takes this much longer than it should
 *      "hang_after": "8s",                   calls about it return no more, from then on
 *      "fail_after": "8s"}]}                 they fail
 *
 * Times count from the start of the simulation; those of link changes, hanging and failing from the
 * start of the migration. What may be absent has the value shown for a steady, busy, healthy
 * domain: no noise, changes, zero pages or phases; one vCPU; written by all vCPUs; never. Anything
 * else is an error, as is an unknown key.
 *
 * Pure; thread-safe.
 */
#ifndef MIGPOLICY_SCENARIO_H
#define MIGPOLICY_SCENARIO_H

#include <stddef.h>

#include "agent/virt/hypervisor.h"
#include "policy/model/model.h"

struct scenario_domain {
    char name[HV_NAME_MAX];
    char *metadata; /* NULL: none */
    double start_s;
    double hang_s; /* INFINITY: never */
    double fail_s; /* likewise */
    double switchover_s;
    double speed_limit_bps;
    double compression_cache_bytes;
    bool post_copy;
    struct model_guest guest;
    struct model_link link;
};

struct scenario {
    double time_factor;
    double disconnect_s; /* INFINITY: never */
    double reconnect_s;  /* likewise */
    char *log;           /* NULL: none */
    size_t n_domains;
    struct scenario_domain *domain;
};

/* One line: "line N: POINTER: what is wrong". Printable. */
struct scenario_error {
    char text[400];
};

/* Returns 0; or -EINVAL, -E2BIG or -ENOMEM with *ret untouched and *ret_err set. */
int scenario_parse(const char *text, size_t len, struct scenario *ret,
                   struct scenario_error *ret_err);

/* Frees what it holds and zeroes it. */
void scenario_clear(struct scenario *s);

#endif
