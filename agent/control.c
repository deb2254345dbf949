/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/control.h"

#include <errno.h>
#include <json-c/json.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "agent/io.migpolicy.varlink.h"
#include "agent/loop.h"
#include "agent/varlink.h"
#include "agent/wakeup.h"
#include "policy/cleanup.h"
#include "policy/units.h"

enum method { METHOD_STATUS, METHOD_EXPLAIN, METHOD_SHOW, METHOD_SET, METHOD_UNSET };
enum result { RESULT_OK, RESULT_DENIED, RESULT_ERROR };

const char *const control_method_names[] = {"Status", "Explain", "Show", "Set", "Unset", NULL};
const char *const control_result_names[] = {"ok", "denied", "error", NULL};

struct control {
    struct control_env env;
    struct varlink_server *server;
};

/* ---- JSON ---- */

static void add(struct json_object *object, const char *key, struct json_object *value)
{
    json_object_object_add(object, key, value);
}

static void add_text(struct json_object *object, const char *key, const char *text)
{
    add(object, key, text ? json_object_new_string(text) : NULL);
}

/* Unknown is null. Nanoseconds are precise enough for all we tell. */
static void add_number(struct json_object *object, const char *key, double value)
{
    add(object, key, isfinite(value) ? json_object_new_double(round(value * 1e6) / 1e6) : NULL);
}

static void add_count(struct json_object *object, const char *key, uint64_t value)
{
    add(object, key, json_object_new_int64(value > INT64_MAX ? INT64_MAX : (int64_t)value));
}

static double known(double value)
{
    return value > 0 ? value : NAN;
}

static struct json_object *migration_to_json(const struct migration *m, int64_t now_ns)
{
    struct json_object *o = json_object_new_object();
    const struct decision *d = &m->decision;
    bool judged = m->active && m->estimate.ready;
    char next[256];

    add_text(o, "vm", m->domain.name);
    add_text(o, "uuid", m->domain.uuid);
    add(o, "active", json_object_new_boolean(m->active));
    add_text(o, "result", m->active ? NULL : outcome_name(m->outcome));
    add_number(o, "ended_seconds_ago", m->active ? NAN : (double)(now_ns - m->ended_ns) / 1e9);
    add_text(o, "verdict", verdict_name(d->verdict));
    add_text(o, "reason", reason_name(d->reason));
    add_text(o, "reason_text", reason_text(d->reason));
    add_text(o, "mode", m->enforce ? "enforce" : "observe");
    migration_next_action(m, next, sizeof(next));
    add_text(o, "next_action", next[0] ? next : NULL);
    add_count(o, "iteration", m->sample.iteration);
    add_number(o, "elapsed_seconds",
               m->active ? (double)m->sample.elapsed_ns / 1e9 : m->duration_s);
    add_count(o, "memory_total_bytes", m->sample.total_bytes);
    add_count(o, "memory_processed_bytes", m->sample.processed_bytes);
    add_count(o, "memory_remaining_bytes", m->active ? m->sample.remaining_bytes : 0);
    add_count(o, "disk_remaining_bytes", m->sample.disk_remaining_bytes);
    add_number(o, "dirty_rate_bytes_per_second", known(m->estimate.dirty_bps));
    add_number(o, "transfer_rate_bytes_per_second", known(m->estimate.transfer_bps));
    add_number(o, "forecast_remaining_seconds", judged && d->course.ends ? d->course.seconds : NAN);
    add_number(o, "forecast_earliest_seconds", judged ? d->earliest_s : NAN);
    add_number(o, "forecast_latest_seconds", judged ? d->latest_s : NAN);
    add(o, "forecast_ends", judged ? json_object_new_boolean(d->course.ends) : NULL);
    add_number(o, "forecast_downtime_seconds", judged ? d->course.downtime_s : NAN);
    add_number(o, "downtime_limit_seconds", known((double)m->sample.downtime_limit_ns / 1e9));
    add_number(o, "downtime_seconds", m->downtime_s);
    add_number(o, "cpu_limit_ratio", m->sample.cpu_share);
    add_number(o, "guest_speed_ratio", m->estimate.speed);
    add_number(o, "throttled_seconds", m->throttled_s);
    add_number(o, "work_lost_seconds", m->work_lost_s);
    return o;
}

static struct json_object *evidence_to_json(const struct estimate *e)
{
    struct json_object *o = json_object_new_object();
    double busy = 0;

    for (unsigned i = 0; i < e->vcpus; i++)
        busy += e->vcpu_busy[i];
    add_number(o, "complete_passes", e->passes);
    add_number(o, "remaining_after_last_sync_bytes", e->last_x_bytes);
    add_number(o, "remaining_after_sync_before_bytes", e->prev_x_bytes);
    add_number(o, "drain_rate_bytes_per_second", e->drain_bps);
    if (e->passes > 0) {
        add_number(o, "hot_set_bytes", e->curve.hot_bytes);
        add_number(o, "initial_dirty_rate_bytes_per_second", e->curve.hot_bytes * e->curve.kappa);
        add_number(o, "initial_dirty_rate_low_bytes_per_second", e->slow.hot_bytes * e->slow.kappa);
        add_number(o, "initial_dirty_rate_high_bytes_per_second",
                   e->fast.hot_bytes * e->fast.kappa);
    }
    if (e->vcpus > 0)
        add_number(o, "vcpus_busy", busy);
    return o;
}

static struct json_object *alternative_to_json(enum alternative_kind kind, const struct decision *d)
{
    const struct alternative *a = &d->alternative[kind];
    struct json_object *o = json_object_new_object();

    add_text(o, "kind", alternative_name(kind));
    add(o, "chosen", json_object_new_boolean(d->chosen == kind));
    add(o, "approved", json_object_new_boolean(a->approved));
    add(o, "works", json_object_new_boolean(a->works));
    add_text(o, "reason", reason_name(a->reason));
    add_text(o, "reason_text", reason_text(a->reason));
    add_number(o, "downtime_limit_seconds", known((double)a->downtime_ns / 1e9));
    add_number(o, "cpu_limit_ratio", a->share);
    add_number(o, "seconds", a->works ? a->forecast.seconds : NAN);
    add_number(o, "downtime_seconds", a->works ? a->forecast.downtime_s : NAN);
    add_number(o, "work_lost_seconds", a->works ? a->forecast.work_lost_s : NAN);
    return o;
}

static struct json_object *event_to_json(const struct migration_event *e)
{
    struct json_object *o = json_object_new_object();
    char date[32];
    char text[48];
    struct tm tm;

    gmtime_r(&e->wall.tv_sec, &tm);
    strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text, sizeof(text), "%s.%03ldZ", date, e->wall.tv_nsec / NS_PER_MS);
    add_text(o, "time", text);
    add_number(o, "elapsed_seconds", e->elapsed_s);
    add_text(o, "action", action_name(e->action));
    add_text(o, "result", event_result_name(e->result));
    add_text(o, "reason", reason_name(e->reason));
    add_text(o, "reason_text", reason_text(e->reason));
    add_text(o, "detail", e->detail);
    add_text(o, "approved_by", e->approved_by[0] ? e->approved_by : NULL);
    return o;
}

/* ---- answering ---- */

/* The one place where requests are counted. */
static int answer(struct control *c, struct varlink_call *call, enum method method,
                  struct json_object *parameters)
{
    metrics_count(c->env.metrics, METRIC_CONTROL_REQUESTS, METRICS_AT(method, RESULT_OK), 1);
    varlink_reply(call, parameters);
    return 0;
}

static int refuse(struct control *c, struct varlink_call *call, enum method method,
                  const char *error, struct json_object *parameters)
{
    bool denied = strcmp(error, "io.migpolicy.NotPermitted") == 0;

    metrics_count(c->env.metrics, METRIC_CONTROL_REQUESTS,
                  METRICS_AT(method, denied ? RESULT_DENIED : RESULT_ERROR), 1);
    varlink_error(call, error, parameters);
    return 0;
}

static int refuse_why(struct control *c, struct varlink_call *call, enum method method,
                      const char *error, const char *key, const char *why)
{
    struct json_object *o = json_object_new_object();

    add_text(o, key, why);
    return refuse(c, call, method, error, o);
}

static const char *text_parameter(struct json_object *parameters, const char *key)
{
    struct json_object *value;

    if (!json_object_object_get_ex(parameters, key, &value) ||
        !json_object_is_type(value, json_type_string))
        return NULL;
    return json_object_get_string(value);
}

/* Resolves the "vm" parameter; when that fails the call has been answered and -errno is returned.
 */
static int take_vm(struct control *c, struct varlink_call *call, enum method method,
                   struct json_object *parameters, struct hv_domain *ret)
{
    const char *vm = text_parameter(parameters, "vm");
    int r;

    if (!vm) {
        metrics_count(c->env.metrics, METRIC_CONTROL_REQUESTS, METRICS_AT(method, RESULT_ERROR), 1);
        varlink_error_invalid_parameter(call, "vm");
        return -EINVAL;
    }
    r = monitor_find(c->env.monitor, vm, ret);
    /* A VM that has left this host still has its stored policy here. */
    if (r < 0 && policies_find(c->env.policies, vm, ret->uuid, sizeof(ret->uuid)) == 0) {
        snprintf(ret->name, sizeof(ret->name), "%s", vm);
        return 0;
    }
    if (r == -ENOTCONN)
        refuse_why(c, call, method, "io.migpolicy.Refused", "why",
                   "libvirt has not been reached yet, so the VM cannot be looked up");
    else if (r < 0)
        refuse_why(c, call, method, "io.migpolicy.NoSuchVM", "vm", vm);
    return r;
}

static int check_admin(struct control *c, struct varlink_call *call, enum method method)
{
    const struct varlink_peer *peer = varlink_call_peer(call);
    bool allowed = peer->uid == 0;

    if (c->env.admin_gid != (gid_t)-1) {
        allowed |= peer->gid == c->env.admin_gid;
        for (size_t i = 0; i < peer->n_groups; i++)
            allowed |= peer->groups[i] == c->env.admin_gid;
    }
    if (!allowed)
        refuse_why(c, call, method, "io.migpolicy.NotPermitted", "why",
                   "only root and the admin group may change policies");
    return allowed ? 0 : -EPERM;
}

static int answer_policy(struct control *c, struct varlink_call *call, enum method method,
                         const struct hv_domain *domain)
{
    struct json_object *o = json_object_new_object();
    struct json_object *fields = json_object_new_array();
    struct policy policy;
    char value[64];

    policies_resolve(c->env.policies, domain->name, domain->uuid, &policy);
    for (unsigned i = 0; i < POLICY_FIELDS; i++) {
        struct json_object *field = json_object_new_object();

        policy_value_format((enum policy_field)i, policy.values.v[i], value, sizeof(value));
        add_text(field, "name", policy_field_info((enum policy_field)i)->name);
        add_text(field, "value", value);
        add_text(field, "source", policy.source[i]);
        json_object_array_add(fields, field);
    }
    add_text(o, "vm", domain->name);
    add_text(o, "uuid", domain->uuid);
    add(o, "fields", fields);
    return answer(c, call, method, o);
}

/* ---- the methods ---- */

static int on_status(struct varlink_call *call, struct json_object *parameters, void *userdata)
{
    struct control *c = userdata;
    struct migration *list AUTO_FREE = NULL;
    struct json_object *o;
    struct json_object *migrations;
    struct json_object *ended = NULL;
    struct hv_domain domain;
    const char *vm = text_parameter(parameters, "vm");
    int64_t now = monotonic_ns();
    size_t count = 0;

    json_object_object_get_ex(parameters, "include_ended", &ended);
    if (vm && take_vm(c, call, METHOD_STATUS, parameters, &domain) < 0)
        return 0;
    if (watchers_list(c->env.watchers, &list, &count) < 0)
        return -ENOMEM;
    o = json_object_new_object();
    migrations = json_object_new_array();
    for (size_t i = 0; i < count; i++) {
        if ((list[i].active || json_object_get_boolean(ended)) &&
            (!vm || strcmp(list[i].domain.uuid, domain.uuid) == 0))
            json_object_array_add(migrations, migration_to_json(&list[i], now));
    }
    add(o, "libvirt_connected", json_object_new_boolean(monitor_connected(c->env.monitor)));
    add(o, "migrations", migrations);
    return answer(c, call, METHOD_STATUS, o);
}

static int explain(struct control *c, struct varlink_call *call, const struct migration *m)
{
    struct json_object *o = json_object_new_object();
    struct json_object *alternatives = json_object_new_array();
    struct json_object *events = json_object_new_array();
    unsigned first = m->events > MIGRATION_EVENTS ? m->events - MIGRATION_EVENTS : 0;

    for (unsigned i = 0; m->decision.alternatives_known && i < ALTERNATIVES; i++)
        json_object_array_add(alternatives,
                              alternative_to_json((enum alternative_kind)i, &m->decision));
    for (unsigned i = first; i < m->events; i++)
        json_object_array_add(events, event_to_json(&m->event[i % MIGRATION_EVENTS]));
    add(o, "migration", migration_to_json(m, monotonic_ns()));
    add(o, "evidence", evidence_to_json(&m->estimate));
    add(o, "alternatives", alternatives);
    add(o, "events", events);
    return answer(c, call, METHOD_EXPLAIN, o);
}

static int on_explain(struct varlink_call *call, struct json_object *parameters, void *userdata)
{
    struct control *c = userdata;
    struct migration *list AUTO_FREE = NULL;
    const char *vm = text_parameter(parameters, "vm");
    struct hv_domain domain;
    size_t count;

    if (watchers_list(c->env.watchers, &list, &count) < 0)
        return -ENOMEM;
    /* A VM that has just migrated away is no longer among the domains, but still explained. */
    for (size_t i = 0; vm && i < count; i++) {
        if (strcmp(list[i].domain.name, vm) == 0)
            return explain(c, call, &list[i]);
    }
    if (take_vm(c, call, METHOD_EXPLAIN, parameters, &domain) < 0)
        return 0;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(list[i].domain.uuid, domain.uuid) == 0)
            return explain(c, call, &list[i]);
    }
    return refuse_why(c, call, METHOD_EXPLAIN, "io.migpolicy.Refused", "why",
                      "no migration of this VM has been seen");
}

static int on_show(struct varlink_call *call, struct json_object *parameters, void *userdata)
{
    struct control *c = userdata;
    struct hv_domain domain;

    if (take_vm(c, call, METHOD_SHOW, parameters, &domain) < 0)
        return 0;
    return answer_policy(c, call, METHOD_SHOW, &domain);
}

/* Reads all fields before anything is stored. When that fails the call has been answered. */
static int take_fields(struct control *c, struct varlink_call *call, struct json_object *parameters,
                       struct policy_layer *ret)
{
    struct json_object *fields;

    if (!json_object_object_get_ex(parameters, "fields", &fields) ||
        !json_object_is_type(fields, json_type_object) || json_object_object_length(fields) == 0) {
        varlink_error_invalid_parameter(call, "fields");
        return -EINVAL;
    }
    json_object_object_foreach(fields, name, value)
    {
        const char *expected = "the name of a policy field";
        const char *text = json_object_get_string(value);
        enum policy_field field;
        struct json_object *o;

        if (json_object_is_type(value, json_type_string) && policy_field_find(name, &field) == 0 &&
            policy_layer_set(ret, field, text, &expected) == 0)
            continue;
        o = json_object_new_object();
        add_text(o, "field", name);
        add_text(o, "value", text);
        add_text(o, "expected", expected);
        refuse(c, call, METHOD_SET, "io.migpolicy.BadValue", o);
        return -EINVAL;
    }
    return 0;
}

static int on_set(struct varlink_call *call, struct json_object *parameters, void *userdata)
{
    struct control *c = userdata;
    struct policy_layer layer = {0};
    struct hv_domain domain;
    char who[64];
    int r;

    if (check_admin(c, call, METHOD_SET) < 0 ||
        take_vm(c, call, METHOD_SET, parameters, &domain) < 0 ||
        take_fields(c, call, parameters, &layer) < 0)
        return 0;
    snprintf(who, sizeof(who), "uid %u", varlink_call_peer(call)->uid);
    r = policies_set(c->env.policies, domain.name, domain.uuid, &layer, who);
    if (r < 0)
        return refuse_why(c, call, METHOD_SET, "io.migpolicy.Failed", "why", strerror(-r));
    watchers_poke(c->env.watchers, domain.uuid);
    return answer_policy(c, call, METHOD_SET, &domain);
}

static int on_unset(struct varlink_call *call, struct json_object *parameters, void *userdata)
{
    struct control *c = userdata;
    struct json_object *names;
    struct hv_domain domain;
    unsigned fields = 0;
    int r;

    if (check_admin(c, call, METHOD_UNSET) < 0 ||
        take_vm(c, call, METHOD_UNSET, parameters, &domain) < 0)
        return 0;
    if (!json_object_object_get_ex(parameters, "fields", &names) ||
        !json_object_is_type(names, json_type_array)) {
        varlink_error_invalid_parameter(call, "fields");
        return 0;
    }
    for (size_t i = 0; i < json_object_array_length(names); i++) {
        struct json_object *name = json_object_array_get_idx(names, i);
        enum policy_field field;
        struct json_object *o;

        if (json_object_is_type(name, json_type_string) &&
            policy_field_find(json_object_get_string(name), &field) == 0) {
            fields |= 1u << field;
            continue;
        }
        o = json_object_new_object();
        add_text(o, "field", json_object_get_string(name));
        add_text(o, "value", "");
        add_text(o, "expected", "the name of a policy field");
        return refuse(c, call, METHOD_UNSET, "io.migpolicy.BadValue", o);
    }
    r = policies_unset(c->env.policies, domain.uuid, fields ? fields : ~0u);
    if (r < 0)
        return refuse_why(c, call, METHOD_UNSET, "io.migpolicy.Failed", "why", strerror(-r));
    watchers_poke(c->env.watchers, domain.uuid);
    return answer_policy(c, call, METHOD_UNSET, &domain);
}

static const struct varlink_method methods[] = {
    {"Status", on_status}, {"Explain", on_explain}, {"Show", on_show},
    {"Set", on_set},       {"Unset", on_unset},     {NULL, NULL},
};

/* ---- the server ---- */

static int add_watch(void *ctx, int fd, unsigned events, loop_fd_fn cb, void *opaque)
{
    (void)ctx;
    return loop_add_fd(fd, events, cb, opaque);
}

static void update_watch(void *ctx, int watch, unsigned events)
{
    (void)ctx;
    loop_update_fd(watch, events);
}

static void remove_watch(void *ctx, int watch)
{
    (void)ctx;
    loop_remove_fd(watch);
}

int control_new(const struct control_env *env, struct control **ret)
{
    struct control *c = calloc(1, sizeof(*c));
    const struct varlink_loop loop = {add_watch, update_watch, remove_watch, NULL};
    const struct varlink_config config = {
        .vendor = "migpolicy",
        .product = "migpolicyd",
        .version = MIGPOLICY_VERSION,
        .url = "",
        .interface = "io.migpolicy",
        .description = io_migpolicy_varlink,
        .methods = methods,
        .userdata = c,
    };
    int fd = -1;
    int r;

    if (!c)
        return -ENOMEM;
    c->env = *env;
    r = varlink_server_new(&config, &loop, &c->server);
    if (r == 0)
        r = varlink_listen(env->socket_path, env->socket_gid,
                           env->socket_gid == (gid_t)-1 ? 0600 : 0660, &fd);
    if (r == 0)
        r = varlink_server_add_listener(c->server, fd);
    if (r < 0) {
        if (fd >= 0)
            close(fd);
        varlink_server_free(c->server);
        free(c);
        return r;
    }
    *ret = c;
    return 0;
}

void control_free(struct control *c)
{
    if (!c)
        return;
    varlink_server_free(c->server);
    unlink(c->env.socket_path);
    free(c);
}

void control_tick(struct control *c, int64_t now_ns)
{
    varlink_server_tick(c->server, (uint64_t)now_ns);
}
