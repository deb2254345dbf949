/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/record/recent.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/record/migration_json.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/json.h"

/* A course that has been thinned out has room for at least so many more points. */
#define ROOM (RECENT_POINTS / 4)

struct point {
    float elapsed_s;
    float remaining_bytes;
    float dirty_bps;        /* 0: unknown */
    float transfer_bps;     /* 0: unknown */
    float switchover_bytes; /* what would fit into the downtime limit; 0: unknown */
    float cpu_share;
    uint32_t pass;
};

struct course {
    char uuid[HV_UUID_MAX];
    int64_t looked_ns;
    struct policy policy;
    unsigned count;
    struct point point[RECENT_POINTS];
};

struct ended {
    struct hv_domain domain;
    char result[16];
    char mode[16];
    char started[40], ended[40];
    double elapsed_s, downtime_s, throttled_s, work_lost_s; /* NAN: unknown */
    uint64_t passes;
    uint64_t total_bytes;
    unsigned actions; /* applied */
    unsigned count;
    float spark[RECENT_SPARK]; /* bytes that remained */
};

struct recent {
    pthread_mutex_t lock; /* guards the rest */
    struct course *course[RECENT_VMS];
    unsigned courses;
    struct ended *ended[RECENT_ENDED]; /* oldest first */
    unsigned n_ended;
};

static void unlock(pthread_mutex_t **lock)
{
    pthread_mutex_unlock(*lock);
}

#define LOCKED(r)                                                                                  \
    pthread_mutex_t *locked_ CLEANUP(unlock) = &(r)->lock;                                         \
    pthread_mutex_lock(locked_)

struct recent *recent_new(void)
{
    struct recent *r = alloc_need(calloc(1, sizeof(*r)));

    pthread_mutex_init(&r->lock, NULL);
    return r;
}

void recent_free(struct recent *r)
{
    if (!r)
        return;
    for (unsigned i = 0; i < r->courses; i++)
        free(r->course[i]);
    for (unsigned i = 0; i < r->n_ended; i++)
        free(r->ended[i]);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

/* ---- courses ---- */

static struct course *find(struct recent *r, const char *uuid)
{
    for (unsigned i = 0; i < r->courses; i++) {
        if (strcmp(r->course[i]->uuid, uuid) == 0)
            return r->course[i];
    }
    return NULL;
}

/* An empty one: a new one as long as there is room, else that of the VM not looked at for longest.
 */
static struct course *take(struct recent *r, const char *uuid)
{
    struct course *c = r->course[0];

    if (r->courses < RECENT_VMS) {
        c = r->course[r->courses++] = alloc_need(malloc(sizeof(*c)));
    } else {
        for (unsigned i = 1; i < r->courses; i++) {
            if (r->course[i]->looked_ns < c->looked_ns)
                c = r->course[i];
        }
    }
    c->count = 0;
    snprintf(c->uuid, sizeof(c->uuid), "%s", uuid);
    return c;
}

/* Is that point the first or the last of its pass, or of all? */
static bool is_edge(const struct course *c, unsigned i)
{
    return i == 0 || i + 1 == c->count || c->point[i].pass != c->point[i - 1].pass ||
           c->point[i].pass != c->point[i + 1].pass;
}

static void thin_out(struct course *c)
{
    unsigned kept = 0;
    unsigned inner = 0;
    unsigned half;

    /* Judged on the course as it was: what is written is behind what is still to be read. */
    bool edge[RECENT_POINTS];
    for (unsigned i = 0; i < c->count; i++)
        edge[i] = is_edge(c, i);
    for (unsigned i = 0; i < c->count; i++) {
        if (edge[i] || inner++ % 2)
            c->point[kept++] = c->point[i];
    }
    c->count = kept;
    if (kept <= RECENT_POINTS - ROOM)
        return;

    /* Nothing but edges: every other pass of the older half, but for the very first point. */
    half = kept / 2;
    kept = 1;
    for (unsigned i = 1, pass = 0; i < c->count; i++) {
        pass += c->point[i].pass != c->point[i - 1].pass;
        if (i >= half || pass % 2 == 0)
            c->point[kept++] = c->point[i];
    }
    c->count = kept;
    if (kept > RECENT_POINTS - ROOM) {
        memmove(&c->point[0], &c->point[ROOM], (kept - ROOM) * sizeof(c->point[0]));
        c->count = kept - ROOM;
    }
}

static void add(struct course *c, const struct point *p)
{
    if (c->count > 0 && p->elapsed_s <= c->point[c->count - 1].elapsed_s)
        return;
    if (c->count == RECENT_POINTS)
        thin_out(c);
    c->point[c->count++] = *p;
}

static struct point point_of(const struct migration *m)
{
    const struct sample *s = &m->sample;
    const struct estimate *e = &m->estimate;

    return (struct point){
        .elapsed_s = (float)((double)s->elapsed_ns / 1e9),
        .remaining_bytes = (float)(s->remaining_bytes + s->disk_remaining_bytes),
        .dirty_bps = (float)e->dirty_bps,
        .transfer_bps = (float)e->transfer_bps,
        .switchover_bytes = (float)(e->transfer_bps * (double)s->downtime_limit_ns / 1e9),
        .cpu_share = (float)s->cpu_share,
        .pass = (uint32_t)s->iteration,
    };
}

void recent_look(struct recent *r, const struct migration *m, const struct policy *policy)
{
    struct point p = point_of(m);
    struct course *c;
    LOCKED(r);

    c = find(r, m->domain.uuid);
    if (!c)
        c = take(r, m->domain.uuid);
    else if (c->count > 0 && p.elapsed_s < c->point[c->count - 1].elapsed_s)
        c->count = 0; /* another migration of that VM */
    c->looked_ns = monotonic_ns();
    c->policy = *policy;
    add(c, &p);
}

/* ---- migrations that ended ---- */

static void put(struct recent *r, struct ended *e)
{
    if (r->n_ended == RECENT_ENDED) {
        free(r->ended[0]);
        memmove(&r->ended[0], &r->ended[1], (RECENT_ENDED - 1) * sizeof(r->ended[0]));
        r->n_ended--;
    }
    r->ended[r->n_ended++] = e;
}

static void draw(struct ended *e, const struct course *c)
{
    e->count = c->count < RECENT_SPARK ? c->count : RECENT_SPARK;
    for (unsigned i = 0; i < e->count; i++)
        e->spark[i] = c->point[e->count == 1 ? 0 : (size_t)i * (c->count - 1) / (e->count - 1)]
                          .remaining_bytes;
}

void recent_end(struct recent *r, const struct migration *m)
{
    struct ended *e = alloc_need(calloc(1, sizeof(*e)));
    struct course *c;
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    e->domain = m->domain;
    snprintf(e->result, sizeof(e->result), "%s", outcome_name(m->outcome));
    snprintf(e->mode, sizeof(e->mode), "%s", m->enforce ? "enforce" : "observe");
    time_format(&m->started, e->started, sizeof(e->started));
    time_format(&now, e->ended, sizeof(e->ended));
    e->elapsed_s = m->duration_s;
    e->downtime_s = m->downtime_s;
    e->throttled_s = m->throttled_s;
    e->work_lost_s = m->work_lost_s;
    e->passes = m->sample.iteration;
    e->total_bytes = m->sample.total_bytes;
    for (unsigned i = 0; i < MIGRATION_EVENTS && i < m->events; i++)
        e->actions += m->event[i].result == EVENT_APPLIED;

    LOCKED(r);
    c = find(r, m->domain.uuid);
    if (c && m->outcome == OUTCOME_COMPLETED) {
        struct point last = point_of(m);

        last.elapsed_s = (float)m->duration_s;
        last.remaining_bytes = 0;
        add(c, &last);
    }
    if (c)
        draw(e, c);
    put(r, e);
}

static void take_text(char *to, size_t size, struct json_object *o, const char *key)
{
    struct json_object *value = NULL;

    json_object_object_get_ex(o, key, &value);
    snprintf(to, size, "%s",
             json_object_is_type(value, json_type_string) ? json_object_get_string(value) : "");
}

static double take_number(struct json_object *o, const char *key)
{
    struct json_object *value = NULL;

    json_object_object_get_ex(o, key, &value);
    return json_object_is_type(value, json_type_double) || json_object_is_type(value, json_type_int)
               ? json_object_get_double(value)
               : NAN;
}

static unsigned count_applied(struct json_object *o)
{
    struct json_object *events = NULL;
    unsigned n = 0;

    json_object_object_get_ex(o, "events", &events);
    for (size_t i = 0;
         json_object_is_type(events, json_type_array) && i < json_object_array_length(events);
         i++) {
        char result[16];

        take_text(result, sizeof(result), json_object_array_get_idx(events, i), "result");
        n += strcmp(result, event_result_name(EVENT_APPLIED)) == 0;
    }
    return n;
}

void recent_load(struct recent *r, struct json_object *history)
{
    LOCKED(r);

    for (size_t i = json_object_array_length(history); i-- > 0;) {
        struct json_object *o = json_object_array_get_idx(history, i);
        struct ended *e = alloc_need(calloc(1, sizeof(*e)));

        take_text(e->domain.name, sizeof(e->domain.name), o, "vm");
        take_text(e->domain.uuid, sizeof(e->domain.uuid), o, "uuid");
        take_text(e->result, sizeof(e->result), o, "result");
        take_text(e->mode, sizeof(e->mode), o, "mode");
        take_text(e->started, sizeof(e->started), o, "started");
        take_text(e->ended, sizeof(e->ended), o, "ended");
        e->elapsed_s = take_number(o, "elapsed_seconds");
        e->downtime_s = take_number(o, "downtime_seconds");
        e->throttled_s = take_number(o, "throttled_seconds");
        e->work_lost_s = take_number(o, "work_lost_seconds");
        e->passes = (uint64_t)fmax(take_number(o, "iteration"), 0);
        e->total_bytes = (uint64_t)fmax(take_number(o, "memory_total_bytes"), 0);
        e->actions = count_applied(o);
        put(r, e);
    }
}

/* ---- as JSON ---- */

/* A number with two decimals, and no more: a course has many. */
static struct json_object *hundredths(double value)
{
    char text[48];

    snprintf(text, sizeof(text), "%.2f", value);
    return JSON_NEED(json_object_new_double_s(value, text));
}

static struct json_object *bytes(float value)
{
    return json_object_new_int64((int64_t)value);
}

static struct json_object *known_bytes(float value)
{
    return value > 0 ? bytes(value) : NULL;
}

struct json_object *recent_course_to_json(struct recent *r, const char *uuid, double since_s)
{
    static const char *const names[] = {
        "elapsed_seconds",
        "remaining_bytes",
        "dirty_rate_bytes_per_second",
        "transfer_rate_bytes_per_second",
        "switchover_bytes",
        "cpu_limit_ratio",
    };
    enum { COLUMNS = sizeof(names) / sizeof(names[0]) };
    AUTO_FREE struct course *c = alloc_need(calloc(1, sizeof(*c)));
    struct json_object *column[COLUMNS];
    struct json_object *o = json_object_new_object();

    {
        LOCKED(r);
        const struct course *found = find(r, uuid);

        if (found)
            *c = *found;
    }
    for (unsigned i = 0; i < COLUMNS; i++)
        json_add(o, names[i], column[i] = json_object_new_array());
    for (const struct point *p = c->point; p < c->point + c->count; p++) {
        if (round(p->elapsed_s * 100.0) <= round(since_s * 100))
            continue;
        json_object_array_add(column[0], hundredths(p->elapsed_s));
        json_object_array_add(column[1], bytes(p->remaining_bytes));
        json_object_array_add(column[2], known_bytes(p->dirty_bps));
        json_object_array_add(column[3], known_bytes(p->transfer_bps));
        json_object_array_add(column[4], known_bytes(p->switchover_bytes));
        json_object_array_add(column[5], hundredths(p->cpu_share));
    }
    return o;
}

struct json_object *recent_policy_to_json(struct recent *r, const char *uuid)
{
    struct policy policy;
    bool found = false;

    {
        LOCKED(r);
        const struct course *c = find(r, uuid);

        if (c) {
            policy = c->policy;
            found = true;
        }
    }
    return found ? fields_to_json(&policy) : NULL;
}

static struct json_object *ended_to_json(const struct ended *e)
{
    struct json_object *o = json_object_new_object();
    struct json_object *spark = json_object_new_array();

    json_add_text(o, "vm", e->domain.name);
    json_add_text(o, "uuid", e->domain.uuid);
    json_add_text(o, "result", e->result);
    json_add_text(o, "mode", e->mode);
    json_add_text(o, "started", e->started);
    json_add_text(o, "ended", e->ended);
    json_add_number(o, "elapsed_seconds", e->elapsed_s);
    json_add_number(o, "downtime_seconds", e->downtime_s);
    json_add_number(o, "throttled_seconds", e->throttled_s);
    json_add_number(o, "work_lost_seconds", e->work_lost_s);
    json_add_count(o, "iteration", e->passes);
    json_add_count(o, "memory_total_bytes", e->total_bytes);
    json_add_count(o, "actions_applied", e->actions);
    for (unsigned i = 0; i < e->count; i++)
        json_object_array_add(spark, bytes(e->spark[i]));
    json_add(o, "remaining_bytes", spark);
    return o;
}

struct json_object *recent_ended_to_json(struct recent *r)
{
    struct json_object *list = json_object_new_array();
    LOCKED(r);

    for (unsigned i = r->n_ended; i-- > 0;)
        json_object_array_add(list, ended_to_json(r->ended[i]));
    return list;
}
