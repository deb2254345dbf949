/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A hostile trace. What is read of a line must be written and read again as the same line, and what
 * is refused comes with one printable line. The engine gets every sample, whatever is in it, and
 * must not act beyond the policy.
 */
#include "policy/json/trace_json.h"

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int ok)
{
    if (!ok)
        abort();
}

static void check_written_again(const struct trace_line *line)
{
    static char first[TRACE_LINE_MAX], second[TRACE_LINE_MAX];
    static struct trace_line again;
    struct error err;
    int len = trace_format(line, first);

    /* A line may grow when written: an escape, a source spelled out. */
    if (len == -ENOBUFS)
        return;
    check(len > 0 && first[len - 1] == '\n' && !memchr(first, '\n', (size_t)len - 1));
    check(trace_parse(first, (size_t)len - 1, &again, &err) == 0);
    check(again.kind == line->kind);
    check(trace_format(&again, second) == len && memcmp(first, second, (size_t)len) == 0);
}

static void check_decision(const struct policy_values *p, const struct decision *d)
{
    check((unsigned)d->verdict < VERDICTS && (unsigned)d->reason < REASONS);
    check(d->n_actions <= sizeof(d->action) / sizeof(d->action[0]));
    for (unsigned i = 0; i < d->n_actions && d->apply; i++) {
        const struct action *a = &d->action[i];

        if (a->kind == ACTION_THROTTLE)
            check(p->v[POLICY_ALLOW_THROTTLE] == ALLOW_YES &&
                  a->share >= (double)p->v[POLICY_MIN_CPU] / 1e6 - 1e-9 && a->share <= 1);
        else if (a->kind == ACTION_DOWNTIME)
            check(a->downtime_ns > 0);
        else if (a->kind == ACTION_CANCEL)
            check(p->v[POLICY_ALLOW_CANCEL] == ALLOW_YES);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct controller controller;
    static struct trace_line line;
    static struct policy policy;
    const char *text = (const char *)data;

    controller_init(&controller);
    policy_init(&policy);
    while (size > 0) {
        const char *newline = memchr(text, '\n', size);
        size_t n = newline ? (size_t)(newline - text) : size;
        struct error err = {""};
        struct decision d;

        if (trace_parse(text, n, &line, &err) < 0) {
            check(err.text[0] != '\0');
            for (const char *c = err.text; *c; c++)
                check((unsigned char)*c >= 0x20 && *c != 0x7f);
        } else {
            check_written_again(&line);
            if (line.kind == TRACE_HEADER)
                policy = line.header.policy;
            else if (line.kind == TRACE_PRIOR)
                controller_set_prior(&controller, &line.prior);
            else if (line.kind == TRACE_POLICY)
                policy = line.policy;
            else if (line.kind == TRACE_LATCH)
                controller_latch(&controller, line.latch.action, line.latch.reason);
            if (line.kind == TRACE_STEP) {
                controller_step(&controller, &policy.values, &line.step.sample, &d);
                check_decision(&policy.values, &d);
            }
        }
        n += newline != NULL;
        text += n;
        size -= n;
    }
    return 0;
}
