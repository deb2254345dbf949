/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A hypervisor that is not there: a host of modelled guests whose migrations run by themselves.
 *
 * Theory of operation
 *
 * The whole program's clock runs time_factor times as fast (clock.h), so that what
 * the model does in virtual seconds and what the agent measures go together; nothing else in the
 * agent knows of it. A thread of the host's own moves the models on every 10 ms of virtual time
 * and sends the events that came of it. A question about a domain moves its model on to the very
 * moment first; what that causes waits for the thread.
 *
 * Faults: a domain may hang or fail, which is to say the calls about it do, while its migration
 * goes on; single calls may fail for a while; and the connection may be lost, which ends it for all
 * who were connected.
 *
 * Others act on a migration at times the scenario tells (others.c). Events are those of libvirt: it
 * tells every stop of the vCPUs during a migration as if it were the switchover, and nothing when a
 * migration ends while the guest runs.
 *
 * Locks: that of a domain, under which nothing is called; that of the host, under which events are
 * sent, so that none comes after hv_link_close().
 */
#ifndef MIGPOLICY_SIM_HOST_H
#define MIGPOLICY_SIM_HOST_H

#include <pthread.h>

#include "agent/sim/scenario.h"
#include "agent/virt/hypervisor.h"
#include "policy/model/model.h"

enum { PENDING_MAX = 8 };

enum domain_state { IDLE, MIGRATING, SWITCHOVER, POST_COPY, GONE, CANCELLED };

struct throttle;

struct sim_domain {
    struct hv_domain id;
    const struct scenario_domain *script;
    uint64_t seed;
    pthread_mutex_t lock; /* guards the rest */
    enum domain_state state;
    double began_s; /* when this migration does, or did: it may be tried again */
    double left_s;  /* when it did */
    unsigned tries; /* begun so far */
    unsigned others_done;
    unsigned failed[SCENARIO_FAILURES_MAX]; /* times each failure has been met */
    bool drifted;                           /* its quotas are somebody else's */
    struct throttle *handle;                /* the open one; NULL: none */
    char *metadata;                         /* NULL: none */
    int measure_s; /* how long the dirty rate is measured, and from when; 0: not yet */
    double measured_from_s;
    struct model model;
    double cache_bytes;
    unsigned n_pending;
    struct hv_event pending[PENDING_MAX];
};

struct hv_link {
    hv_event_fn event;
    hv_closed_fn closed;
    void *opaque;
    double opened_s;
};

struct sim_host {
    struct scenario scenario;
    int64_t start_ns;
    struct sim_domain *domain;
    int log_fd;
    pthread_mutex_t lock; /* guards the rest */
    struct hv_link *link;
};

extern struct sim_host sim_host;

/* Sets what hypervisor_error() says, and returns `error`. */
int sim_failure(int error, const char *text);

/* Virtual seconds since the start. */
double sim_now_s(void);

/* Is whatever was opened at `opened_s` cut off now? Can nothing be opened? */
bool sim_is_cut(double opened_s);
bool sim_is_down(void);

/* One line of the host's own record. */
void sim_note(const struct sim_domain *d, const char *what, double value);

/* Adds an event to be sent. The domain is locked. */
void sim_push(struct sim_domain *d, enum hv_event_kind kind);

/* Lets the domain live until now, or until there is too much to tell. It is locked. */
void sim_advance(struct sim_domain *d);

/* NULL: there is none. */
struct sim_domain *sim_find(const char *uuid);

/* Ends its migration: the guest runs on here. It is locked. */
void sim_cancel(struct sim_domain *d);

/* Stops its vCPUs, whoever wants it. It is locked, and migrates. */
void sim_pause(struct sim_domain *d);

void sim_set_share(struct sim_domain *d, double share);

/* If quotas are kept elsewhere than in the model: has it run by those. It is locked. */
void sim_look_at_quotas(struct sim_domain *d);

/* When others act on it next, in virtual seconds; INFINITY: no more. And lets them, once it has
   lived until then. It is locked. */
double sim_next_other_s(const struct sim_domain *d);
void sim_do_other(struct sim_domain *d);

/* The error that such a call is to meet now, set as by sim_failure(), or 0. It is locked. */
int sim_call_fails(struct sim_domain *d, enum sim_call call);

/*
 * Locks the domain, moved on to now; or does what the scenario has in store for such calls. Returns
 * 0 or -errno. sim_leave() unlocks it and returns `r`.
 */
int sim_enter(struct sim_domain *d, double opened_s, enum sim_call call);
int sim_leave(struct sim_domain *d, int r);

#endif
