/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/record/migration_json.h"

#include <math.h>
#include <stdio.h>

#include "common/json.h"
#include "common/units.h"
#include "policy/json/decision_json.h"

void json_add(struct json_object *object, const char *key, struct json_object *value)
{
    json_object_object_add(object, key, value);
}

void json_add_text(struct json_object *object, const char *key, const char *text)
{
    json_add(object, key, text ? json_object_new_string(text) : NULL);
}

/* Unknown is null. */
void json_add_number(struct json_object *object, const char *key, double value)
{
    json_add(object, key, isfinite(value) ? json_new_rounded(value) : NULL);
}

void json_add_count(struct json_object *object, const char *key, uint64_t value)
{
    json_add(object, key, json_object_new_int64(value > INT64_MAX ? INT64_MAX : (int64_t)value));
}

static double known(double value)
{
    return value > 0 ? value : NAN;
}

/* Null before the first look. */
static void add_known_count(struct json_object *o, const char *key, const struct migration *m,
                            uint64_t value)
{
    if (m->sample.now_ns == 0)
        json_add(o, key, NULL);
    else
        json_add_count(o, key, value);
}

struct json_object *migration_to_json(const struct migration *m, int64_t now_ns)
{
    struct json_object *o = json_object_new_object();
    const struct decision *d = &m->decision;
    bool judged = m->active && m->estimate.ready;
    char next[256];

    json_add_text(o, "vm", m->domain.name);
    json_add_text(o, "uuid", m->domain.uuid);
    json_add(o, "active", json_object_new_boolean(m->active));
    json_add_text(o, "result", m->active ? NULL : outcome_name(m->outcome));
    json_add_number(o, "ended_seconds_ago", m->active ? NAN : (double)(now_ns - m->ended_ns) / 1e9);
    json_add_text(o, "verdict", verdict_name(d->verdict));
    json_add_text(o, "reason", reason_name(d->reason));
    json_add_text(o, "reason_text", reason_text(d->reason));
    json_add_text(o, "mode", m->enforce ? "enforce" : "observe");
    json_add_text(o, "paused", m->active && m->paused[0] ? m->paused : NULL);
    migration_next_action(m, next, sizeof(next));
    json_add_text(o, "next_action", next[0] ? next : NULL);
    json_add_number(o, "age_seconds", m->active ? (double)(now_ns - m->sample.now_ns) / 1e9 : NAN);
    json_add_count(o, "iteration", m->sample.iteration);
    json_add_number(o, "elapsed_seconds",
                    m->active ? (double)m->sample.elapsed_ns / 1e9 : m->duration_s);
    add_known_count(o, "memory_total_bytes", m, m->sample.total_bytes);
    add_known_count(o, "memory_processed_bytes", m, m->sample.processed_bytes);
    add_known_count(o, "memory_remaining_bytes", m, m->active ? m->sample.remaining_bytes : 0);
    add_known_count(o, "disk_remaining_bytes", m, m->sample.disk_remaining_bytes);
    json_add_number(o, "dirty_rate_bytes_per_second", known(m->estimate.dirty_bps));
    json_add_number(o, "transfer_rate_bytes_per_second", known(m->estimate.transfer_bps));
    json_add_number(o, "forecast_remaining_seconds",
                    m->active && decision_end(d) == END_COMES ? d->course.seconds : NAN);
    json_add_number(o, "forecast_earliest_seconds", m->active ? d->earliest_s : NAN);
    json_add_number(o, "forecast_latest_seconds", m->active ? d->latest_s : NAN);
    json_add(o, "forecast_ends", m->active ? decision_end_to_json(d) : NULL);
    json_add_number(o, "forecast_probability", m->active ? decision_chance(d) : NAN);
    json_add_number(o, "forecast_downtime_seconds", judged ? d->course.downtime_s : NAN);
    json_add_number(o, "downtime_limit_seconds", known((double)m->sample.downtime_limit_ns / 1e9));
    json_add_number(o, "downtime_seconds", m->downtime_s);
    json_add_number(o, "cpu_limit_ratio", m->sample.cpu_share);
    json_add_number(o, "guest_speed_ratio", m->estimate.speed);
    json_add_number(o, "throttled_seconds", m->throttled_s);
    json_add_number(o, "work_lost_seconds", m->work_lost_s);
    return o;
}

struct json_object *proposal_to_json(const struct migration *m, int64_t now_ns)
{
    const struct proposal *p = &m->proposal;
    const struct migration_evidence *v = &p->evidence;
    struct json_object *o = json_object_new_object();
    bool ends = p->outcome.ends;

    json_add_count(o, "id", p->id);
    json_add_text(o, "vm", m->domain.name);
    json_add_text(o, "uuid", m->domain.uuid);
    json_add_time(o, "since", &p->since);
    json_add_number(o, "expires_seconds", fmax((double)(p->expires_ns - now_ns) / 1e9, 0));
    json_add_text(o, "action", action_name(p->action.kind));
    json_add_text(o, "reason", reason_name(p->action.reason));
    json_add_text(o, "reason_text", reason_text(p->action.reason));
    json_add_text(o, "detail", p->text);
    json_add_number(o, "seconds", ends ? p->outcome.seconds : NAN);
    json_add_number(o, "downtime_seconds", ends ? p->outcome.downtime_s : NAN);
    json_add_number(o, "work_lost_seconds", ends ? p->outcome.work_lost_s : NAN);
    json_add_text(o, "verdict", verdict_name(v->verdict));
    json_add_count(o, "iteration", v->iteration);
    json_add_count(o, "memory_remaining_bytes", v->remaining_bytes);
    json_add_number(o, "plateau_bytes", p->plateau_bytes);
    json_add_number(o, "dirty_rate_bytes_per_second", known(v->dirty_bps));
    json_add_number(o, "transfer_rate_bytes_per_second", known(v->transfer_bps));
    json_add_number(o, "forecast_remaining_seconds", v->forecast_s);
    return o;
}

void json_add_curves(struct json_object *object, const struct estimate *e)
{
    json_add_number(object, "hot_set_bytes", e->curve.hot_bytes);
    json_add_number(object, "initial_dirty_rate_bytes_per_second",
                    e->curve.hot_bytes * e->curve.kappa);
    json_add_number(object, "initial_dirty_rate_low_bytes_per_second",
                    e->slow.hot_bytes * e->slow.kappa);
    json_add_number(object, "initial_dirty_rate_high_bytes_per_second",
                    e->fast.hot_bytes * e->fast.kappa);
}

struct json_object *evidence_to_json(const struct estimate *e)
{
    struct json_object *o = json_object_new_object();
    double busy = 0;

    for (unsigned i = 0; i < e->vcpus; i++)
        busy += e->vcpu_busy[i];
    json_add_number(o, "complete_passes", e->passes);
    json_add_number(o, "known_from_before", e->known);
    json_add_number(o, "remaining_after_last_sync_bytes", e->last_x_bytes);
    json_add_number(o, "remaining_after_sync_before_bytes", e->prev_x_bytes);
    json_add_number(o, "drain_rate_bytes_per_second", e->drain_bps);
    if (e->passes > 0)
        json_add_curves(o, e);
    if (e->vcpus > 0)
        json_add_number(o, "vcpus_busy", busy);
    return o;
}

struct json_object *alternative_to_json(enum alternative_kind kind, const struct decision *d)
{
    const struct alternative *a = &d->alternative[kind];
    struct json_object *o = json_object_new_object();
    bool ends = a->works && a->forecast.ends;

    json_add_text(o, "kind", alternative_name(kind));
    json_add(o, "chosen", json_object_new_boolean(d->chosen == kind));
    json_add(o, "approved", json_object_new_boolean(a->approved));
    json_add(o, "works", json_object_new_boolean(a->works));
    json_add_text(o, "reason", reason_name(a->reason));
    json_add_text(o, "reason_text", reason_text(a->reason));
    json_add_number(o, "downtime_limit_seconds", known((double)a->downtime_ns / 1e9));
    json_add_number(o, "cpu_limit_ratio", a->share);
    json_add_number(o, "speed_limit_bytes_per_second", known((double)a->speed_limit_bps));
    json_add_number(o, "compression_cache_bytes", known((double)a->cache_bytes));
    json_add(o, "ask", json_object_new_boolean(a->ask));
    json_add_number(o, "seconds", ends ? a->forecast.seconds : NAN);
    json_add_number(o, "downtime_seconds", ends ? a->forecast.downtime_s : NAN);
    json_add_number(o, "work_lost_seconds", ends ? a->forecast.work_lost_s : NAN);
    return o;
}

const char *time_format(const struct timespec *time, char *buf, size_t size)
{
    char date[32];
    struct tm tm;

    gmtime_r(&time->tv_sec, &tm);
    strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(buf, size, "%s.%03ldZ", date, time->tv_nsec / NS_PER_MS);
    return buf;
}

void json_add_time(struct json_object *object, const char *key, const struct timespec *time)
{
    char text[48];

    json_add_text(object, key, time_format(time, text, sizeof(text)));
}

struct json_object *event_to_json(const struct migration_event *e)
{
    const struct migration_evidence *v = &e->evidence;
    struct json_object *o = json_object_new_object();

    json_add_time(o, "time", &e->wall);
    json_add_number(o, "elapsed_seconds", e->elapsed_s);
    json_add_text(o, "action", action_name(e->action));
    json_add_text(o, "result", event_result_name(e->result));
    json_add_text(o, "reason", reason_name(e->reason));
    json_add_text(o, "reason_text", reason_text(e->reason));
    json_add_text(o, "detail", e->detail);
    json_add_text(o, "approved_by", e->approved_by[0] ? e->approved_by : NULL);
    json_add_text(o, "verdict", v->known ? verdict_name(v->verdict) : NULL);
    if (v->known)
        json_add_count(o, "iteration", v->iteration);
    if (v->known)
        json_add_count(o, "memory_remaining_bytes", v->remaining_bytes);
    json_add_number(o, "dirty_rate_bytes_per_second", known(v->dirty_bps));
    json_add_number(o, "transfer_rate_bytes_per_second", known(v->transfer_bps));
    json_add_number(o, "forecast_remaining_seconds", v->known ? v->forecast_s : NAN);
    return o;
}

struct json_object *events_to_json(const struct migration *m)
{
    struct json_object *list = json_object_new_array();

    for (unsigned i = m->events > MIGRATION_EVENTS ? m->events - MIGRATION_EVENTS : 0;
         i < m->events; i++)
        json_object_array_add(list, event_to_json(&m->event[i % MIGRATION_EVENTS]));
    return list;
}

struct json_object *fields_to_json(const struct policy *policy)
{
    struct json_object *fields = json_object_new_array();
    char value[64];

    for (unsigned i = 0; i < POLICY_FIELDS; i++) {
        struct json_object *field = json_object_new_object();

        policy_value_format((enum policy_field)i, policy->values.v[i], value, sizeof(value));
        json_add_text(field, "name", policy_field_info((enum policy_field)i)->name);
        json_add_text(field, "value", value);
        json_add_text(field, "source", policy->source[i]);
        json_object_array_add(fields, field);
    }
    return fields;
}
