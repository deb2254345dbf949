/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What may become of a migration: for each alternative whether it would end it, when and at what
 * price, on the likeliest curve and on those at both ends of what the evidence allows. What of it
 * is done is the controller's to choose.
 *
 * Pure; thread-safe.
 */
#ifndef MIGPOLICY_OUTLOOK_H
#define MIGPOLICY_OUTLOOK_H

#include <math.h>

#include "policy/decision.h"
#include "policy/estimate.h"
#include "policy/policy.h"

/* What the alternatives of one step are worked out from. */
struct outlook {
    const struct estimate *e;
    const struct policy_values *policy;
    const struct sample *s;
    bool new_policy;     /* not the one the last decision was made by */
    int64_t elapsed_ns;  /* since the memory phase began */
    int64_t deadline_ns; /* since the memory phase began; POLICY_NONE: none */
    bool deadline_stated;
    double left_s; /* until the deadline; INFINITY: none, or it has passed */
    double ceiling_s;
    double flat_speed; /* the remainder has been flat at this speed, and at the limit in force */
    bool taken;        /* another program changes our downtime limit */
    double held_s;     /* what the switchover takes beside sending memory, by QEMU's own count */
};

/* An action that failed for a reason that may pass. */
struct retry {
    int64_t next_ns; /* not before; 0: did not fail */
    unsigned times;  /* in a row */
};

/* What has been done to this migration already, and what is known from that. */
struct tried {
    enum reason latched[ACTIONS]; /* why never to do it (again), REASON_NONE: no such reason */
    unsigned throttled_passes;    /* whole passes under the present throttle */
    unsigned floor_passes;        /* of them under the hardest one that is allowed */
    int64_t speed_set_bps;        /* speed limit of ours; 0: none */
    double downtime_margin;       /* grows when the switchover does not come as forecast */
    double work_lost_s;           /* guest work it cost */
    struct retry retry[ACTIONS];
};

/* Did it fail a moment ago? */
static inline bool must_wait(const struct tried *tried, enum action_kind action, int64_t now_ns)
{
    return tried->retry[action].next_ns > now_ns;
}

/* The same future on each of the curves the evidence allows. */
struct spread {
    struct forecast likely; /* on the best fit */
    bool all_end;
    bool any_ends;
    struct forecast first; /* the soonest and the latest end; of use when any, or all, end */
    struct forecast last;
};

static inline double seconds_of(int64_t ns)
{
    return (double)ns / 1e9;
}

/* As far as it fits: what nonsense comes to is a very long time. */
static inline int64_t ns_of(double seconds)
{
    return (int64_t)fmin(seconds * 1e9, 9e18);
}

/* What has been seen not to end is not forecast to end, whatever the curve says. */
struct forecast outlook_forecast(const struct outlook *o, const struct dirty_curve *curve,
                                 double speed, double limit_s);

struct spread outlook_spread(const struct outlook *o, double speed, double limit_s);

/* Would it end at full speed, on any curve, if the guest dirtied somewhat less than it has shown?
 */
bool outlook_ends_with_less(const struct outlook *o, double limit_s);

/* What remains is sent while the guest stands still, or runs elsewhere without it. */
struct forecast outlook_send_rest(const struct outlook *o, double downtime_s, double speed);

/* The largest limit that may be set: with it the blackout stays within the ceiling, even if pause
   and device state take as long as is seen. */
double outlook_ceiling_s(const struct outlook *o);

/* The largest limit that may stay in force if it was found: with what they take as a rule. */
double outlook_kept_s(const struct outlook *o);

/* Would that end break max_downtime, or, of NULL, would any? */
bool outlook_breaks_ceiling(const struct outlook *o, const struct forecast *f);

/* The other way round: the least ceiling that allows a limit. */
double outlook_ceiling_for(const struct outlook *o, double limit_s);

/*
 * By when it is to end, by the time since its memory phase began. A deadline that nobody stated
 * leaves time for a few passes over all of the memory.
 */
void outlook_set_deadline(struct outlook *o, int64_t elapsed_ns);

bool outlook_half_time_over(const struct outlook *o);

/* The alternative of doing one thing, before it is known what it would do. */
struct alternative outlook_may(const struct outlook *o, enum action_kind action);

/* Fills in the present course and its spread, as they are shown. */
void outlook_course(const struct outlook *o, struct decision *d);

/*
 * The same before there is evidence to decide by: in the first pass by what is known of the guest,
 * or else as if nothing were dirtied, then on the curves that go with what the first pass left. To
 * be shown only.
 */
void outlook_first_guess(const struct outlook *o, struct decision *d);

/* Works out all alternatives. */
void outlook_alternatives(const struct tried *tried, const struct outlook *o, struct decision *d);

#endif
