/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/watch/approval.h"

#include <errno.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "common/units.h"

/*
 * What a question may come to cost before it is another one, and for how long: of a simulated guest
 * that writes steadily, 2.0 s of work lost are forecast as 1.0 to 2.8 s, and for a moment as 7.1 s.
 */
#define GROWN_FACTOR  2.0
#define GROWN_LEAST_S 1.0
#define GROWN_HOLD_NS (5 * NS_PER_S)

static const uint32_t THROTTLE_FIELD = 1u << POLICY_ALLOW_THROTTLE;
static atomic_uint last_id;

/* Guest work that the throttle on our ceiling may lose, laid over the policy. */
static void overlay_ceiling(const struct approvals *a, struct policy *policy)
{
    int64_t *budget_ns = &policy->values.v[POLICY_MAX_WORK_LOST];

    if (a->ceiling_ns == 0 || !(a->allowed & THROTTLE_FIELD) ||
        policy->values.v[POLICY_ALLOW_THROTTLE] != ALLOW_ASK ||
        (*budget_ns != POLICY_NONE && *budget_ns <= a->ceiling_ns))
        return;
    *budget_ns = a->ceiling_ns;
    snprintf(policy->source[POLICY_MAX_WORK_LOST], POLICY_SOURCE_MAX, "%s",
             a->source[POLICY_ALLOW_THROTTLE]);
}

void approvals_overlay(const struct approvals *a, struct policy *policy)
{
    overlay_ceiling(a, policy);
    for (unsigned i = 0; i < POLICY_FIELDS; i++) {
        if (!((a->allowed | a->denied) & (1u << i)) || policy->values.v[i] != ALLOW_ASK)
            continue;
        policy->values.v[i] = a->allowed & (1u << i) ? ALLOW_YES : ALLOW_NO;
        snprintf(policy->source[i], POLICY_SOURCE_MAX, "%s", a->source[i]);
    }
}

/* The fields behind what is proposed that want to be asked; *ret_first: the first such action. */
static uint32_t asked_fields(const struct policy_values *policy, const struct decision *d,
                             struct action *ret_first)
{
    uint32_t fields = 0;

    for (unsigned i = 0; d->apply && i < d->n_proposed; i++) {
        if (action_allowance(policy, d->proposed[i].kind) != ALLOW_ASK)
            continue;
        if (!fields)
            *ret_first = d->proposed[i];
        fields |= 1u << action_allowed_by(d->proposed[i].kind);
    }
    return fields;
}

static bool exceeds(double now_s, double asked_s)
{
    return now_s > asked_s * GROWN_FACTOR && now_s - asked_s > GROWN_LEAST_S;
}

/* Does it cost that much more than was asked that a yes to the one is none to the other? */
static bool costs_more(const struct forecast *asked, const struct forecast *now)
{
    if (!asked->ends)
        return false;
    return !now->ends || exceeds(now->work_lost_s, asked->work_lost_s) ||
           exceeds(now->downtime_s, asked->downtime_s);
}

static bool has_grown(struct approvals *a, const struct forecast *now, int64_t now_ns)
{
    if (!costs_more(&a->asked, now))
        a->grown_ns = 0;
    else if (a->grown_ns == 0)
        a->grown_ns = now_ns;
    return a->grown_ns != 0 && now_ns - a->grown_ns >= GROWN_HOLD_NS;
}

/* A throttle that was allowed up to a ceiling, and would take more, is asked about again. */
static void lift_ceiling(struct approvals *a, const struct decision *d)
{
    const struct alternative *throttle = &d->alternative[ALT_THROTTLE];

    if (a->ceiling_ns == 0 || !d->alternatives_known || d->verdict == VERDICT_HELPED ||
        throttle->works || d->alternative[ALT_BOTH].works ||
        throttle->reason != REASON_THROTTLE_OVER_BUDGET)
        return;
    a->allowed &= ~THROTTLE_FIELD;
    a->ceiling_ns = 0;
}

bool approvals_ask(struct approvals *a, const struct policy_values *policy,
                   const struct decision *d, const struct migration_evidence *evidence,
                   int64_t now_ns)
{
    static const struct forecast nothing = {0};
    const struct forecast *outcome =
        d->asked == ALTERNATIVES ? &nothing : &d->alternative[d->asked].forecast;
    struct proposal *p = &a->proposal;
    struct action first;
    uint32_t fields = asked_fields(policy, d, &first);
    bool has_another = fields && (p->id == 0 || p->fields != fields);
    bool is_new = has_another || (fields && has_grown(a, outcome, now_ns));
    int64_t expires_ns = has_another ? now_ns + policy->v[POLICY_ASK_TIMEOUT] : p->expires_ns;

    lift_ceiling(a, d);
    a->withdrawn = !fields;
    if (!fields)
        return false;
    if (is_new) {
        *p = (struct proposal){
            .id = atomic_fetch_add(&last_id, 1) + 1,
            .expires_ns = expires_ns,
            .fields = fields,
        };
        a->asked = *outcome;
        a->grown_ns = 0;
        clock_gettime(CLOCK_REALTIME, &p->since);
    }
    p->action = first;
    p->evidence = *evidence;
    p->plateau_bytes = d->course.ends ? NAN : d->course.plateau_bytes;
    p->outcome = *outcome;
    if (d->asked == ALTERNATIVES)
        snprintf(p->text, sizeof(p->text), "%s", action_name(first.kind));
    else
        migration_describe(d->asked, &d->alternative[d->asked], p->text, sizeof(p->text));
    return is_new;
}

void approvals_withdraw(struct approvals *a)
{
    a->withdrawn = true;
}

struct proposal approvals_pending(const struct approvals *a)
{
    static const struct proposal none = {0};

    return a->withdrawn ? none : a->proposal;
}

static void answer(struct approvals *a, bool yes, const char *source, struct proposal *ret)
{
    *ret = a->proposal;
    *(yes ? &a->allowed : &a->denied) |= ret->fields;
    *(yes ? &a->denied : &a->allowed) &= ~ret->fields;
    for (unsigned i = 0; i < POLICY_FIELDS; i++) {
        if (ret->fields & (1u << i))
            snprintf(a->source[i], sizeof(a->source[i]), "%s", source);
    }
    a->proposal = (struct proposal){0};
}

int approvals_answer(struct approvals *a, unsigned id, bool yes, int64_t ceiling_ns,
                     const char *source, struct proposal *ret)
{
    const struct forecast *outcome = &a->proposal.outcome;

    if (id == 0 || a->withdrawn || a->proposal.id != id)
        return -ENOENT;
    *ret = a->proposal;
    if (yes && ceiling_ns > 0 && outcome->ends &&
        outcome->work_lost_s - outcome->downtime_s > (double)ceiling_ns / 1e9)
        return -ERANGE;
    if (a->proposal.fields & THROTTLE_FIELD)
        a->ceiling_ns = yes ? ceiling_ns : 0;
    answer(a, yes, source, ret);
    return 0;
}

bool approvals_expire(struct approvals *a, int64_t now_ns, struct proposal *ret)
{
    bool expired = a->proposal.id > 0 && now_ns >= a->proposal.expires_ns;

    if (expired && a->withdrawn)
        a->proposal = (struct proposal){0};
    else if (expired)
        answer(a, false, reason_text(REASON_ASK_TIMEOUT), ret);
    return expired && !a->withdrawn;
}
