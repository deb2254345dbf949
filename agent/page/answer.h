/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An administrator's answer over HTTP to what the agent asks. It is taken from whom the control
 * socket takes it, root and the admin group, who are known at a Unix socket alone; and from the
 * users of web_config that web_may_answer names, who have told their password over TLS. What a
 * browser sends for a page of somebody else's is refused, whoever uses that browser.
 *
 * An answer is to the question of one number, as on the control socket: one that has come to cost
 * much more meanwhile has another number, and a yes to the old one does nothing.
 *
 * From the HTTP server's thread only, which nothing here keeps waiting.
 */
#ifndef MIGPOLICY_ANSWER_H
#define MIGPOLICY_ANSWER_H

#include <stdint.h>
#include <sys/types.h>

#include "agent/record/record.h"
#include "agent/watch/watchers.h"
#include "metrics/metrics.h"

/* Answers that are taken in a minute, of all who may. */
enum { ANSWERS_PER_MINUTE = 30 };

struct answers {
    struct watchers *watchers; /* these are borrowed */
    struct record *record;
    gid_t admin_gid; /* (gid_t)-1: none */
    int64_t minute_ns;
    unsigned in_minute;
};

/* Who asks, by which name, and whether they may answer. */
unsigned answer_tell_you(const struct answers *answers, const struct metrics_request *request,
                         struct metrics_reply *ret);

/* The body: {"id": N, "answer": "approve" or "deny", "max_work_lost": "2s"}, the last if wanted. */
unsigned answer_take(struct answers *answers, const struct metrics_request *request,
                     struct metrics_reply *ret);

#endif
