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
 *      "uuid": "6f1c9c1e-...",               by its place in the list, if absent
 *      "description": "<domain>...</domain>", its XML, as libvirt gives it; none if absent
 *      "metadata": "<policy .../>",          its own policy (agent/virt/metadata.h); none if absent
 *      "link": {"rate": "1Gbit/s", "noise": 0.1, "changes": [{"at": "10s", "factor": 0.5}]},
 *      "guest": {"ram": "2GiB", "zero": "1GiB", "disk": "0B",    its storage, copied first
 *                "flush": "0s", "device": "0B",                  of its disks; of its devices
 *                "vcpus": 2, "busy": "100%", "shared_cpus": 1.5, all vCPUs together; no limit
 *                "regions": [{"size": "200MiB", "rate": "210MB/s", "sequential": false,
 *                             "cpu_bound": "100%", "vcpu": 0}],
 *                "phases": [{"lasts": "10s", "rate": 1, "busy": 1}]},
 *      "speed_limit": "100MB/s",             of the migration; none if absent
 *      "compression_cache": "64MiB",         it is compressed, which has no effect here
 *      "post_copy": true,                    it was started with post-copy; false if absent
 *      "auto_converge": true,                it was started with that; false if absent
 *      "switchover": "30s",                  it takes this much longer than it should
 *      "hang_after": "8s",                   calls about it return no more, from then on
 *      "fail_after": "8s",                   they fail
 *      "failures": [{"call": "post-copy",    one of SIM_CALLS fails
 *                    "error": "timeout",     with one of SIM_ERRORS
 *                    "after": "5s",          from then on; 0s if absent
 *                    "lasts": "10s",         for so long; for good if absent
 *                    "times": 1}],           and so many times only; always if absent
 *      "others": [{"at": "9s", "do": "pause"},      what somebody else does to it: one of
 * SIM_DEEDS,
 *                 {"at": "12s", "do": "downtime",   by time
 *                  "value": "500ms"}],
 *      "retry_after": "500ms",               cancelled or failed, it is started again so much later
 *      "retries": 1,                         so many times
 *      "forgotten_after": "500ms"}]}         so long after it has left it is not listed any more
 *
 * Times count from the start of the simulation; those of failures, of others, of hanging and
 * failing from the start of the (first) migration; those of link changes from the start of each.
 * What may be absent has the value shown for a steady, busy, healthy domain: no noise, changes,
 * zero pages or phases; one vCPU; written by all vCPUs; never. Anything else is an error, as is an
 * unknown key.
 *
 * Pure; thread-safe.
 */
#ifndef MIGPOLICY_SCENARIO_H
#define MIGPOLICY_SCENARIO_H

#include <stddef.h>

#include "agent/virt/hypervisor.h"
#include "common/error.h"
#include "policy/model/model.h"

/* Calls that can be made to fail, by the names they have in a scenario. */
#define SIM_CALLS(X)                                                                               \
    X(JOB, "job")                                                                                  \
    X(GET_DOWNTIME, "get-downtime")                                                                \
    X(SET_DOWNTIME, "set-downtime")                                                                \
    X(GET_SPEED, "get-speed")                                                                      \
    X(SET_SPEED, "set-speed")                                                                      \
    X(COMPRESSION_CACHE, "compression-cache")                                                      \
    X(POST_COPY, "post-copy")                                                                      \
    X(SUSPEND, "suspend")                                                                          \
    X(CANCEL, "cancel")                                                                            \
    X(FLUSH, "flush")                                                                              \
    X(QUOTA, "quota")                                                                              \
    X(RESTORE, "restore")                                                                          \
    X(CHECK_QUOTA, "check-quota")                                                                  \
    X(OTHER, "other")

/* What they fail with: the name, what hypervisor.h makes of it, and libvirt's words. */
#define SIM_ERRORS(X)                                                                              \
    X(TIMEOUT, "timeout", ETIMEDOUT,                                                               \
      "Timed out during operation: cannot acquire state change lock (held by "                     \
      "monitor=remoteDispatchDomainMigratePerform3Params)")                                        \
    X(INVALID, "invalid", EINVAL,                                                                  \
      "Requested operation is not valid: not possible in the domain's present state")              \
    X(FAILED, "failed", EIO, "internal error: unable to execute QEMU command")                     \
    X(GONE, "gone", ENOENT, "no such file or directory")

/* What others can do to a migration: the name, and the unit of its value. A quota is of each vCPU,
   as a share of a CPU. A guest that they paused runs on when it is resumed or the migration fails.
 */
#define SIM_DEEDS(X)                                                                               \
    X(PAUSE, "pause", NO_VALUE)                                                                    \
    X(RESUME, "resume", NO_VALUE)                                                                  \
    X(CANCEL, "cancel", NO_VALUE)                                                                  \
    X(DOWNTIME, "downtime", UNIT_DURATION)                                                         \
    X(SPEED, "speed", UNIT_RATE)                                                                   \
    X(QUOTA, "quota", UNIT_SHARE)

#define SIM_CONSTANT(name, ...) SIM_CALL_##name,
enum sim_call { SIM_CALLS(SIM_CONSTANT) };
#undef SIM_CONSTANT
#define SIM_CONSTANT(name, ...) SIM_ERROR_##name,
enum sim_error { SIM_ERRORS(SIM_CONSTANT) };
#undef SIM_CONSTANT
#define SIM_CONSTANT(name, ...) SIM_DO_##name,
enum sim_deed { SIM_DEEDS(SIM_CONSTANT) };
#undef SIM_CONSTANT

enum { SCENARIO_FAILURES_MAX = 16, SCENARIO_OTHERS_MAX = 64 };

struct scenario_failure {
    enum sim_call call;
    enum sim_error error;
    double from_s;
    double until_s; /* INFINITY: for good */
    unsigned times; /* at most */
};

struct scenario_other {
    double at_s;
    enum sim_deed deed;
    double value; /* seconds, bytes per second, a share of 1 */
};

struct scenario_domain {
    char name[HV_NAME_MAX];
    char uuid[37];     /* "": by its place */
    char *metadata;    /* NULL: none */
    char *description; /* NULL: none */
    double start_s;
    double hang_s; /* INFINITY: never */
    double fail_s; /* likewise */
    double switchover_s;
    double speed_limit_bps;
    double compression_cache_bytes;
    bool post_copy;
    bool auto_converge;
    double retry_s; /* INFINITY: it is not started again */
    unsigned retries;
    double forgotten_s; /* INFINITY: it stays listed */
    unsigned n_failures;
    struct scenario_failure failure[SCENARIO_FAILURES_MAX];
    unsigned n_others;
    struct scenario_other other[SCENARIO_OTHERS_MAX]; /* by time */
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

/* Returns 0; or -EINVAL or -E2BIG with *ret untouched. */
int scenario_parse(const char *text, size_t len, struct scenario *ret, struct error *ret_err);

/* Frees what it holds and zeroes it. */
void scenario_clear(struct scenario *s);

#endif
