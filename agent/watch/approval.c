/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/watch/approval.h"

#include <errno.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static atomic_uint last_id;

void approvals_overlay(const struct approvals *a, struct policy *policy)
{
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

bool approvals_ask(struct approvals *a, const struct policy_values *policy,
                   const struct decision *d, const struct migration_evidence *evidence,
                   int64_t now_ns)
{
    struct proposal *p = &a->proposal;
    struct action first;
    uint32_t fields = asked_fields(policy, d, &first);
    bool is_new = fields && (p->id == 0 || p->fields != fields);

    a->withdrawn = !fields;
    if (!fields)
        return false;
    if (is_new) {
        *p = (struct proposal){
            .id = atomic_fetch_add(&last_id, 1) + 1,
            .expires_ns = now_ns + policy->v[POLICY_ASK_TIMEOUT],
            .fields = fields,
        };
        clock_gettime(CLOCK_REALTIME, &p->since);
    }
    p->action = first;
    p->evidence = *evidence;
    p->plateau_bytes = d->course.ends ? NAN : d->course.plateau_bytes;
    if (d->asked == ALTERNATIVES) {
        p->outcome = (struct forecast){0};
        snprintf(p->text, sizeof(p->text), "%s", action_name(first.kind));
    } else {
        p->outcome = d->alternative[d->asked].forecast;
        migration_describe(d->asked, &d->alternative[d->asked], p->text, sizeof(p->text));
    }
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

int approvals_answer(struct approvals *a, unsigned id, bool yes, const char *source,
                     struct proposal *ret)
{
    if (id == 0 || a->withdrawn || a->proposal.id != id)
        return -ENOENT;
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
