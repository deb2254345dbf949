/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The method Monitor of the control socket: a stream of what happens.
 *
 * A follower has a number, up to which it has been told of events and ends (migration.h), and
 * nothing else is kept for it: what it is told is made when it is told. So one that reads slowly is
 * simply told later, and of one reply at a time; it takes memory for no more than that one. The
 * tick tells those who waited longest first, and only as many as its time allows.
 */
#include "agent/control/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/record/migration_json.h"
#include "common/alloc.h"
#include "common/cleanup.h"
#include "common/json.h"
#include "common/log.h"
#include "common/units.h"
#include "common/wakeup.h"

/* A reader is told at least so often, so that it can tell a quiet host from a daemon that hangs. */
#define MONITOR_QUIET_NS (10 * NS_PER_S)
/* For how long a reader may leave a reply unread. */
#define MONITOR_PATIENCE_NS (30 * NS_PER_S)
/* What a tick takes for all of them; the first is always served. */
#define TICK_NS (50 * NS_PER_MS)

struct follower {
    struct follower *next;
    struct control *control;
    struct varlink_call *call;
    char uuid[HV_UUID_MAX]; /* of the VM it follows; "": all */
    struct control_host host;
    size_t proposals;
    uint64_t told; /* number up to which it knows what happened */
    bool began;
    int64_t told_ns;
    int64_t stuck_ns; /* since when it has not read; 0: it has */
};

/* All that there is to tell of at one time. */
struct news {
    const struct migration *list;
    size_t count;
    struct control_host host;
    uint64_t last;
    int64_t now_ns;
};

static struct news take_news(struct control *c, int64_t now_ns, struct migration **ret_list)
{
    struct news news = {.host = control_host(c), .last = migration_last_number(), .now_ns = now_ns};

    watchers_list(c->env.watchers, ret_list, &news.count);
    news.list = *ret_list;
    return news;
}

static void leave(struct varlink_call *call, void *userdata)
{
    struct follower *f = userdata;
    struct follower **at = &f->control->followers;

    while (*at != f)
        at = &(*at)->next;
    *at = f->next;
    varlink_reply(call, NULL);
    free(f);
}

/* ---- what a follower is told ---- */

static bool is_about(const struct follower *f, const struct migration *m)
{
    return !f->uuid[0] || strcmp(f->uuid, m->domain.uuid) == 0;
}

static bool is_new(const struct follower *f, const struct news *n, uint64_t number)
{
    return number > f->told && number <= n->last;
}

/* Adds the migration's events that are new; returns how many are, whomever they are told. */
static uint64_t add_events(const struct follower *f, const struct news *n,
                           const struct migration *m, struct json_object *events)
{
    uint64_t found = 0;

    for (unsigned i = m->events > MIGRATION_EVENTS ? m->events - MIGRATION_EVENTS : 0;
         i < m->events; i++) {
        const struct migration_event *e = &m->event[i % MIGRATION_EVENTS];
        struct json_object *o;

        if (!is_new(f, n, e->number))
            continue;
        found++;
        if (!is_about(f, m))
            continue;
        o = json_object_new_object();
        json_add_text(o, "vm", m->domain.name);
        json_add_text(o, "uuid", m->domain.uuid);
        json_add(o, "event", event_to_json(e));
        json_object_array_add(events, o);
    }
    return found;
}

static bool is_same_host(const struct control_host *a, const struct control_host *b)
{
    return a->connected == b->connected && a->paused_vms == b->paused_vms &&
           strcmp(a->paused_by, b->paused_by) == 0;
}

/* All since it was told last; NULL if that is nothing, and may be left unsaid. */
static struct json_object *make_reply(struct follower *f, const struct news *n)
{
    struct json_object *migrations = json_object_new_array();
    struct json_object *events = json_object_new_array();
    struct json_object *proposals =
        control_proposals(n->list, n->count, f->uuid[0] ? f->uuid : NULL, n->now_ns);
    struct json_object *o = json_object_new_object();
    uint64_t found = 0;
    bool matters;

    for (size_t i = 0; i < n->count; i++) {
        const struct migration *m = &n->list[i];
        bool has_ended = !m->active && is_new(f, n, m->end_number);

        found += has_ended;
        if (f->began)
            found += add_events(f, n, m, events);
        if (is_about(f, m) && (m->active || has_ended || !f->began))
            json_object_array_add(migrations, migration_to_json(m, n->now_ns));
    }
    matters = !f->began || json_object_array_length(migrations) > 0 ||
              json_object_array_length(events) > 0 ||
              json_object_array_length(proposals) != f->proposals ||
              !is_same_host(&n->host, &f->host) || n->now_ns - f->told_ns >= MONITOR_QUIET_NS;
    f->proposals = json_object_array_length(proposals);
    control_add_host(o, &n->host);
    json_add(o, "migrations", migrations);
    json_add(o, "events", events);
    json_add_count(o, "events_missed", f->began ? n->last - f->told - found : 0);
    json_add(o, "proposals", proposals);
    if (matters)
        return o;
    json_object_put(o);
    return NULL;
}

/* Returns 0, or -E2BIG: the call has been answered, and the follower is not to be used. */
static int tell(struct follower *f, const struct news *n)
{
    struct json_object *reply = make_reply(f, n);
    int r = reply ? control_continue(f->control, f->call, METHOD_MONITOR, !f->began, reply) : 0;

    if (r == -E2BIG) {
        varlink_call_on_disconnect(f->call, NULL, NULL);
        control_refuse_why(f->control, f->call, METHOD_MONITOR, "io.migpolicy.Failed", "why",
                           "more migrations than one reply can hold; name a VM");
        return r;
    }
    /* Where it is gone, or failed, the loop will call leave(). */
    f->host = n->host;
    f->told = n->last;
    f->began = true;
    if (reply)
        f->told_ns = n->now_ns;
    return 0;
}

/* Whether it has been dropped: it does not read. */
static bool drop_if_stuck(struct follower *f, int64_t now_ns)
{
    const struct peer *peer = varlink_call_peer(f->call);

    if (varlink_call_queued(f->call) == 0)
        f->stuck_ns = 0;
    else if (f->stuck_ns == 0)
        f->stuck_ns = now_ns;
    if (f->stuck_ns == 0 || now_ns - f->stuck_ns < MONITOR_PATIENCE_NS)
        return false;
    log_warning("uid %u (process %d) has not read what Monitor told it for %lld s; it is dropped",
                peer->uid, peer->pid, (long long)(MONITOR_PATIENCE_NS / NS_PER_S));
    varlink_call_on_disconnect(f->call, NULL, NULL);
    control_refuse_why(f->control, f->call, METHOD_MONITOR, "io.migpolicy.Busy", "reason",
                       "what Monitor told was not read");
    return true;
}

static void drop_stuck(struct control *c, int64_t now_ns)
{
    for (struct follower **at = &c->followers; *at;) {
        struct follower *f = *at;

        if (drop_if_stuck(f, now_ns)) {
            *at = f->next;
            free(f);
        } else {
            at = &f->next;
        }
    }
}

void control_monitor_tick(struct control *c, int64_t now_ns)
{
    struct migration *list AUTO_FREE = NULL;
    struct follower **last = &c->followers;
    struct follower *waiting;
    struct news news;

    drop_stuck(c, now_ns);
    waiting = c->followers;
    if (!waiting)
        return;
    news = take_news(c, now_ns, &list);
    c->followers = NULL;
    do {
        struct follower *f = waiting;

        waiting = f->next;
        f->next = NULL;
        if (f->stuck_ns == 0 && tell(f, &news) < 0) {
            free(f);
            continue;
        }
        *last = f;
        last = &f->next;
    } while (waiting && monotonic_ns() - now_ns < TICK_NS);
    /* Whoever has not had a turn is first the next time. */
    *last = NULL;
    for (last = &waiting; *last;)
        last = &(*last)->next;
    *last = c->followers;
    c->followers = waiting;
}

int control_monitor(struct varlink_call *call, struct json_object *parameters, void *userdata)
{
    struct control *c = userdata;
    struct migration *list AUTO_FREE = NULL;
    struct hv_domain domain = {0};
    struct follower *f;
    struct news news;

    if (!varlink_call_wants_more(call))
        return control_refuse(c, call, METHOD_MONITOR, VARLINK_ERROR_EXPECTED_MORE, NULL);
    news = take_news(c, monotonic_ns(), &list);
    if (control_text(parameters, "vm") &&
        control_take_migrated_vm(c, call, METHOD_MONITOR, parameters, list, news.count, &domain) <
            0)
        return 0;
    f = alloc_need(calloc(1, sizeof(*f)));
    f->control = c;
    f->call = call;
    snprintf(f->uuid, sizeof(f->uuid), "%s", domain.uuid);
    if (tell(f, &news) < 0) {
        free(f);
        return 0;
    }
    varlink_call_on_disconnect(call, leave, f);
    f->next = c->followers;
    c->followers = f;
    return 0;
}
