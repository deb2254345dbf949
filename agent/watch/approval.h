/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What an administrator is asked about one migration, and the answers.
 *
 * A policy field that says `ask` becomes a question when the controller proposes what it is about.
 * There is one question at a time. The answer, given or run out of time, holds for this migration:
 * it is laid over the policy, so nothing behind that knows of questions.
 *
 * While forecasts change a little, and when it is not asked for a while, a question keeps its
 * number and its time. When it has come to cost twice of what was asked, and that lasts, it is
 * asked anew under another number, in the time that is left: a yes to the old one answers nothing.
 *
 * A yes may have a ceiling, the guest work that the migration may lose in all. It lies over
 * max_work_lost, and where a throttle would take more than that, the question is asked again.
 *
 * The caller guards a struct approvals; all zeroes is its beginning.
 */
#ifndef MIGPOLICY_APPROVAL_H
#define MIGPOLICY_APPROVAL_H

#include "agent/record/migration.h"

struct approvals {
    struct proposal proposal; /* the last one that has not been answered; id 0: none */
    struct forecast asked;    /* its cost as it was when it got its number */
    int64_t grown_ns;         /* since when it costs much more; 0: it does not */
    bool withdrawn;           /* it is not proposed at present */
    int64_t ceiling_ns;       /* of the throttle that was approved; 0: none */
    uint32_t allowed, denied; /* answered fields, a bit each */
    char source[POLICY_FIELDS][POLICY_SOURCE_MAX];
};

/* Lays the answers over the fields of the policy that want to be asked. */
void approvals_overlay(const struct approvals *a, struct policy *policy);

/*
 * Takes note of what a decision under that policy proposes. Returns whether that is a new question,
 * which is then a->proposal.
 */
bool approvals_ask(struct approvals *a, const struct policy_values *policy,
                   const struct decision *d, const struct migration_evidence *evidence,
                   int64_t now_ns);

/* Nothing is proposed at present. */
void approvals_withdraw(struct approvals *a);

/* The question that is being asked; id 0: none. */
struct proposal approvals_pending(const struct approvals *a);

/*
 * Answers the question of that number. `source` goes into the policy ("uid 0, when asked");
 * ceiling_ns: the guest work that may be lost if it is a yes, 0 for what the policy allows. Returns
 * 0 and the question in *ret, -ENOENT, or -ERANGE, and the question: it would cost more than that.
 */
int approvals_answer(struct approvals *a, unsigned id, bool yes, int64_t ceiling_ns,
                     const char *source, struct proposal *ret);

/* Answers with no what nobody has answered in time. Returns whether that was so. */
bool approvals_expire(struct approvals *a, int64_t now_ns, struct proposal *ret);

#endif
