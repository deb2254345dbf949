/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The method Predict of the control socket: measured and worked out in a thread of its own. */
#include "agent/control/internal.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "agent/record/migration_json.h"
#include "agent/watch/predict_measure.h"
#include "common/cleanup.h"
#include "common/json.h"
#include "common/units.h"

enum { INQUIRIES_MAX = 4 };

struct inquiry {
    struct control_work work; /* first */
    struct inquiry *next;
    struct control *control;
    struct varlink_call *call;
    struct hv_domain domain;
    char *uri;
    struct policy policy;
    double given_bps;
    double otherwise_bps;
    struct wakeup wake;

    int result;
    struct error err;
    struct predict_facts facts;
    const char *source;
    struct prediction prediction;
};

static void free_inquiry(struct inquiry *q)
{
    wakeup_destroy(&q->wake);
    free(q->uri);
    free(q);
}

static void run_inquiry(struct control_work *work)
{
    struct inquiry *q = (struct inquiry *)work;

    q->result = predict_measure(q->uri, q->domain.uuid, &q->wake, q->given_bps, q->otherwise_bps,
                                &q->facts, &q->source, &q->err);
    if (q->result == 0)
        predict(&q->facts, &q->policy.values, &q->prediction);
}

static void leave(struct varlink_call *call, void *userdata)
{
    struct inquiry *q = userdata;

    (void)call;
    wakeup_end(&q->wake);
}

/* ---- the answer ---- */

static double known(double number)
{
    return isfinite(number) ? number : NAN;
}

static struct json_object *action_to_json(const struct predict_action *a)
{
    struct json_object *o = json_object_new_object();
    enum action_kind kind = a->action.kind;

    json_add_number(o, "elapsed_seconds", a->at_s);
    json_add_text(o, "action", action_name(kind));
    json_add_text(o, "result", event_result_name(a->applied ? EVENT_APPLIED : EVENT_PROPOSED));
    json_add_text(o, "reason", reason_name(a->action.reason));
    json_add_text(o, "reason_text", reason_text(a->action.reason));
    json_add_number(o, "downtime_limit_seconds",
                    kind == ACTION_DOWNTIME ? (double)a->action.downtime_ns / 1e9 : NAN);
    json_add_number(o, "cpu_limit_ratio", kind == ACTION_THROTTLE ? a->action.share : NAN);
    json_add_number(o, "speed_limit_bytes_per_second",
                    kind == ACTION_BANDWIDTH && a->action.speed_limit_bps > 0
                        ? (double)a->action.speed_limit_bps
                        : NAN);
    return o;
}

static struct json_object *course_to_json(enum predict_kind kind, const struct predict_course *c)
{
    static const char *const outcomes[] = {[MODEL_RUNNING] = "running",
                                           [MODEL_COMPLETED] = "completed",
                                           [MODEL_CANCELLED] = "cancelled"};
    struct json_object *o = json_object_new_object();
    struct json_object *actions = json_object_new_array();
    bool completes = c->state == MODEL_COMPLETED;

    for (unsigned i = 0; i < c->actions; i++)
        json_object_array_add(actions, action_to_json(&c->action[i]));
    json_add_text(o, "kind", predict_kind_name(kind));
    json_add_text(o, "outcome", outcomes[c->state]);
    json_add_number(o, "elapsed_seconds", c->state == MODEL_RUNNING ? NAN : c->seconds);
    json_add_number(o, "earliest_seconds", known(c->earliest_s));
    json_add_number(o, "latest_seconds", known(c->latest_s));
    json_add_number(o, "downtime_seconds", completes ? c->downtime_s : NAN);
    json_add_number(o, "work_lost_seconds", completes ? c->work_lost_s : NAN);
    json_add_number(o, "throttled_seconds", c->throttled_s);
    json_add_number(o, "cpu_limit_ratio", c->least_share);
    json_add_number(o, "downtime_limit_seconds", c->downtime_limit_s);
    json_add(o, "actions", actions);
    return o;
}

static struct json_object *inquiry_to_json(const struct inquiry *q)
{
    const struct predict_facts *f = &q->facts;
    const struct estimate *e = &q->prediction.estimate;
    struct json_object *o = json_object_new_object();
    struct json_object *evidence = json_object_new_object();
    struct json_object *measured = json_object_new_array();
    struct json_object *courses = json_object_new_array();
    double busy = 0;

    for (unsigned i = 0; i < f->vcpus; i++)
        busy += f->vcpu_busy[i];
    for (unsigned i = 0; i < f->points; i++) {
        struct json_object *point = json_object_new_object();

        json_add_number(point, "seconds", f->point[i].seconds);
        json_add_count(point, "dirty_bytes", (uint64_t)f->point[i].bytes);
        json_object_array_add(measured, point);
    }
    for (unsigned i = 0; i < PREDICT_KINDS; i++)
        json_object_array_add(courses,
                              course_to_json((enum predict_kind)i, &q->prediction.course[i]));
    json_add_text(o, "vm", q->domain.name);
    json_add_text(o, "uuid", q->domain.uuid);
    json_add_count(o, "memory_total_bytes", (uint64_t)f->memory_bytes);
    json_add_count(o, "memory_used_bytes", (uint64_t)f->used_bytes);
    json_add_count(o, "vcpus", f->vcpus);
    json_add_number(o, "vcpus_busy", busy);
    json_add_number(o, "downtime_limit_seconds", f->downtime_limit_s);
    json_add_number(o, "bandwidth_bytes_per_second", f->bandwidth_bps);
    json_add_text(o, "bandwidth_source", q->source);
    json_add(o, "measured", measured);
    json_add_curves(evidence, e);
    json_add(o, "evidence", evidence);
    json_add_count(o, "plateau_bytes", (uint64_t)q->prediction.plateau_bytes);
    json_add(o, "courses", courses);
    json_add(o, "fields", fields_to_json(&q->policy));
    return o;
}

static void end_inquiry(struct control_work *work)
{
    struct inquiry *q = (struct inquiry *)work;
    struct control *c = q->control;
    struct inquiry **at = &c->inquiries;

    while (*at != q)
        at = &(*at)->next;
    *at = q->next;
    switch (q->result) {
    case 0:
        control_answer(c, q->call, METHOD_PREDICT, inquiry_to_json(q));
        break;
    case -EPERM:
    case -EINVAL:
    case -ECANCELED:
        control_refuse_why(c, q->call, METHOD_PREDICT, "io.migpolicy.Refused", "why", q->err.text);
        break;
    case -ENOENT:
        control_refuse_why(c, q->call, METHOD_PREDICT, "io.migpolicy.NoSuchVM", "vm",
                           q->domain.name);
        break;
    default:
        control_refuse_why(c, q->call, METHOD_PREDICT, "io.migpolicy.Failed", "why", q->err.text);
    }
    free_inquiry(q);
}

/* ---- the question ---- */

static int take_bandwidth(struct inquiry *q, struct json_object *parameters)
{
    const char *text = control_text(parameters, "link");
    int64_t bps;

    if (!text)
        return 0;
    if (units_parse(UNIT_RATE, text, &bps) < 0 || bps < 1000)
        return control_refuse_value(q->control, q->call, METHOD_PREDICT, "link", text,
                                    "a rate of at least 1KB/s, such as 1Gbit/s or 100MiB/s");
    q->given_bps = (double)bps;
    return 0;
}

static int take_policy(struct inquiry *q, struct json_object *parameters)
{
    struct policy_layer layer = {0};
    struct json_object *value;
    bool instead =
        json_object_object_get_ex(parameters, "instead", &value) && json_object_get_boolean(value);

    if (json_object_object_get_ex(parameters, "fields", &value) && value &&
        control_take_fields(q->control, q->call, METHOD_PREDICT, parameters, &layer) < 0)
        return -EINVAL;
    if (instead)
        policy_init(&q->policy);
    else
        policies_resolve(q->control->env.policies, q->domain.name, q->domain.uuid, &q->policy);
    policy_merge(&q->policy, &layer, "given");
    policy_finish(&q->policy);
    return 0;
}

/* Among the migrations seen, the rate of the one that was there last; 0: none. */
static double last_rate(struct control *c)
{
    struct migration *list AUTO_FREE = NULL;
    int64_t last_ns = INT64_MIN;
    double bps = 0;
    size_t n;

    watchers_list(c->env.watchers, &list, &n);
    for (size_t i = 0; i < n; i++) {
        int64_t at_ns = list[i].active ? INT64_MAX : list[i].ended_ns;

        if (list[i].estimate.transfer_bps <= 0 || at_ns < last_ns)
            continue;
        last_ns = at_ns;
        bps = list[i].estimate.transfer_bps;
    }
    return bps;
}

/* Why not now; NULL: nothing against it. */
static const char *objection(const struct inquiry *q)
{
    unsigned n = 0;

    for (const struct inquiry *other = q->control->inquiries; other; other = other->next) {
        if (strcmp(other->domain.uuid, q->domain.uuid) == 0)
            return "a prediction for this VM is under way; wait for its end";
        n++;
    }
    if (n >= INQUIRIES_MAX)
        return "too many predictions are under way; try again";
    if (q->domain.id < 0)
        return "the VM is not running";
    return NULL;
}

static int start(struct inquiry *q)
{
    struct control *c = q->control;
    int r;

    q->uri = alloc_need(strdup(c->env.uri));
    q->otherwise_bps = last_rate(c);
    q->work = (struct control_work){.run = run_inquiry, .done = end_inquiry};
    r = control_work_start(c, &q->work);
    if (r < 0)
        return r;
    varlink_call_on_disconnect(q->call, leave, q);
    q->next = c->inquiries;
    c->inquiries = q;
    return 0;
}

int control_predict(struct varlink_call *call, struct json_object *parameters, void *userdata)
{
    struct control *c = userdata;
    struct inquiry *q = alloc_need(calloc(1, sizeof(*q)));
    const char *why;
    int r;

    wakeup_init(&q->wake);
    q->control = c;
    q->call = call;
    if (control_take_vm(c, call, METHOD_PREDICT, parameters, &q->domain) < 0 ||
        take_bandwidth(q, parameters) < 0 || take_policy(q, parameters) < 0) {
        free_inquiry(q); /* it has been answered */
        return 0;
    }
    why = objection(q);
    r = why ? control_refuse_why(c, call, METHOD_PREDICT, "io.migpolicy.Refused", "why", why)
            : start(q);
    if (why || r < 0)
        free_inquiry(q);
    return r;
}

int control_domains(struct varlink_call *call, struct json_object *parameters, void *userdata)
{
    struct control *c = userdata;
    struct hv_domain *list AUTO_FREE = NULL;
    struct json_object *domains;
    struct json_object *o;
    size_t count;

    (void)parameters;
    if (monitor_list(c->env.monitor, &list, &count) < 0)
        return control_refuse_why(c, call, METHOD_DOMAINS, "io.migpolicy.Refused", "why",
                                  "libvirt has not been reached yet, so its VMs are not known");
    domains = json_object_new_array();
    for (size_t i = 0; i < count; i++) {
        struct json_object *domain = json_object_new_object();

        json_add_text(domain, "vm", list[i].name);
        json_add_text(domain, "uuid", list[i].uuid);
        json_add(domain, "running", json_object_new_boolean(list[i].id >= 0));
        json_object_array_add(domains, domain);
    }
    o = json_object_new_object();
    json_add(o, "domains", domains);
    return control_answer(c, call, METHOD_DOMAINS, o);
}
