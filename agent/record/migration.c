/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/record/migration.h"

#include <inttypes.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>

#include "common/units.h"

const char *event_result_name(enum event_result result)
{
#define X(constant, name) name,
    static const char *const names[] = {EVENT_TABLE(X)};
#undef X

    return names[result];
}

const char *outcome_name(enum outcome outcome)
{
#define X(constant, name) name,
    static const char *const names[] = {OUTCOME_TABLE(X)};
#undef X

    return names[outcome];
}

struct migration_evidence migration_evidence(const struct sample *s, const struct estimate *e,
                                             const struct decision *d)
{
    return (struct migration_evidence){
        .known = true,
        .verdict = d->verdict,
        .iteration = s->iteration,
        .remaining_bytes = s->remaining_bytes,
        .dirty_bps = e->dirty_bps,
        .transfer_bps = e->transfer_bps,
        .forecast_s = e->ready && d->course.ends ? d->course.seconds : NAN,
    };
}

static void take_name(char *to, size_t size, const struct description *d,
                      enum description_text which)
{
    snprintf(to, size, "%s", d->text[which] ? d->text[which] : "");
}

void migration_take_names(struct migration *m, const struct description *d)
{
    struct migration_names *n = &m->names;

    take_name(n->flavor, sizeof(n->flavor), d, DESCRIPTION_FLAVOR);
    take_name(n->project, sizeof(n->project), d, DESCRIPTION_PROJECT);
    take_name(n->instance_name, sizeof(n->instance_name), d, DESCRIPTION_INSTANCE_NAME);
}

static atomic_uint_fast64_t last_number;

uint64_t migration_last_number(void)
{
    return atomic_load(&last_number);
}

uint64_t migration_next_number(void)
{
    return atomic_fetch_add(&last_number, 1) + 1;
}

void migration_add_event(struct migration *m, const struct migration_event *event)
{
    struct migration_event *added = &m->event[m->events++ % MIGRATION_EVENTS];

    *added = *event;
    added->number = migration_next_number();
}

/* What the alternative consists of. */
static void describe_means(enum alternative_kind kind, const struct alternative *a, char *buf,
                           size_t size)
{
    char rate[UNITS_TEXT_MAX];

    if (kind == ALT_BANDWIDTH && a->speed_limit_bps > 0)
        snprintf(buf, size, "speed limit %s", units_format(UNIT_RATE, a->speed_limit_bps, rate));
    else if (kind == ALT_BANDWIDTH)
        snprintf(buf, size, "no speed limit");
    else if (kind == ALT_COMPRESSION_CACHE)
        snprintf(buf, size, "compression cache %" PRId64 " MiB", a->cache_bytes / MIB_BYTES);
    else if (kind == ALT_POST_COPY || kind == ALT_SUSPEND)
        snprintf(buf, size, "%s", alternative_name(kind));
    else if (a->share < 1)
        snprintf(buf, size, "CPU at %.0f%%, downtime limit %.2f s", a->share * 100,
                 (double)a->downtime_ns / 1e9);
    else if (kind == ALT_WAIT)
        snprintf(buf, size, "no action");
    else
        snprintf(buf, size, "downtime limit %.2f s", (double)a->downtime_ns / 1e9);
}

const char *migration_describe(enum alternative_kind kind, const struct alternative *a, char *buf,
                               size_t size)
{
    char what[80];

    describe_means(kind, a, what, sizeof(what));
    if (a->works && a->forecast.ends)
        snprintf(buf, size, "%s: ends in %.1f s, downtime %.2f s, guest work lost %.1f s", what,
                 a->forecast.seconds, a->forecast.downtime_s, a->forecast.work_lost_s);
    else
        snprintf(buf, size, "%s: %s", what, a->works ? "worth a try" : "does not end");
    return buf;
}

static void append(char *buf, size_t size, size_t *len, const char *word, const char *text)
{
    int n = snprintf(buf + *len, size - *len, "%s%s", *len ? word : "", text);

    if (n > 0)
        *len += (size_t)n < size - *len ? (size_t)n : size - *len - 1;
}

/* What would help, cheapest for the admin to read first. */
static void describe_wish(const struct migration *m, char *buf, size_t size)
{
    const struct alternative *a = m->decision.alternative;
    char text[96];
    size_t len = 0;

    buf[0] = '\0';
    if (a[ALT_DOWNTIME].works) {
        snprintf(text, sizeof(text), "--max-downtime %.1fs",
                 ceil((double)a[ALT_DOWNTIME].ceiling_ns / 1e8) / 10);
        append(buf, size, &len, "", text);
    }
    if (a[ALT_THROTTLE].works) {
        snprintf(text, sizeof(text), "--allow-throttle (%.0f%% CPU for %.0f s)",
                 a[ALT_THROTTLE].share * 100, ceil(a[ALT_THROTTLE].forecast.seconds));
        append(buf, size, &len, " or ", text);
    }
}

static void describe_next(const struct migration *m, char *buf, size_t size)
{
    const struct decision *d = &m->decision;
    char wish[200];

    buf[0] = '\0';
    if (!m->active) {
        if (m->events > 0) {
            const struct migration_event *e = &m->event[(m->events - 1) % MIGRATION_EVENTS];

            snprintf(buf, size, "last: %s %s (%s)", action_name(e->action),
                     event_result_name(e->result), reason_name(e->reason));
        }
    } else if (m->proposal.id > 0) {
        snprintf(buf, size, "asks: %s (migpolicy approve %u)", m->proposal.text, m->proposal.id);
    } else if (m->sample.cpu_share < 1) {
        snprintf(buf, size, "throttled to %.0f%% (%s)", m->sample.cpu_share * 100,
                 reason_name(d->reason));
    } else if (d->n_actions > 0) {
        snprintf(buf, size, "%s%s (%s)", d->apply ? "" : "would: ", action_name(d->action[0].kind),
                 reason_name(d->action[0].reason));
    } else if (d->n_proposed > 0) {
        snprintf(buf, size, "would ask: %s (%s)", action_name(d->proposed[0].kind),
                 reason_name(d->proposed[0].reason));
    } else if (d->verdict == VERDICT_NEEDS_HELP || d->verdict == VERDICT_HOPELESS ||
               d->verdict == VERDICT_STALLED) {
        describe_wish(m, wish, sizeof(wish));
        snprintf(buf, size, "%s%s", wish[0] ? "would help: " : reason_name(d->reason), wish);
    } else {
        snprintf(buf, size, "%s", reason_name(d->reason));
    }
}

const char *migration_next_action(const struct migration *m, char *buf, size_t size)
{
    size_t len = 0;

    buf[0] = '\0';
    if (m->active && m->paused[0]) {
        append(buf, size, &len, "", m->paused);
        append(buf, size, &len, "; ", "");
    }
    describe_next(m, buf + len, size - len);
    return buf;
}
