/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/control/control.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/control/internal.h"
#include "agent/control/io.migpolicy.varlink.h"
#include "agent/record/migration_json.h"
#include "agent/virt/loop.h"
#include "agent/watch/leftovers_json.h"
#include "common/cleanup.h"
#include "common/json.h"
#include "common/log.h"
#include "common/units.h"
#include "common/unix_listen.h"
#include "common/wakeup.h"

enum result { RESULT_OK, RESULT_DENIED, RESULT_ERROR };

const char *const control_method_names[] = {
#define X(constant, name, function, changes) name,
    METHOD_TABLE(X)
#undef X
        NULL};
const char *const control_result_names[] = {"ok", "denied", "error", NULL};

/* ---- answering ---- */

/* The one place where requests are counted. */
int control_answer(struct control *c, struct varlink_call *call, enum method method,
                   struct json_object *parameters)
{
    metrics_count(c->env.metrics, METRIC_CONTROL_REQUESTS, METRICS_AT(method, RESULT_OK), 1);
    varlink_reply(call, parameters);
    return 0;
}

int control_continue(struct control *c, struct varlink_call *call, enum method method, bool first,
                     struct json_object *parameters)
{
    if (first)
        metrics_count(c->env.metrics, METRIC_CONTROL_REQUESTS, METRICS_AT(method, RESULT_OK), 1);
    return varlink_reply_more(call, parameters);
}

/* "BadValue: min_cpu, x, a share" */
static void describe_refusal(const char *error, struct json_object *parameters, char *text,
                             size_t size)
{
    size_t len = (size_t)snprintf(text, size, "%s", strrchr(error, '.') + 1);
    const char *between = ": ";

    json_object_object_foreach(parameters, key, value)
    {
        (void)key;
        if (value && len < size)
            len += (size_t)snprintf(text + len, size - len, "%s%s", between,
                                    json_object_get_string(value));
        between = ", ";
    }
}

static void record_call(struct control *c, struct varlink_call *call, enum method method,
                        const struct hv_domain *domain, const char *detail, int result)
{
    const struct peer *peer = varlink_call_peer(call);
    char who[32];

    snprintf(who, sizeof(who), "uid %u", peer->uid);
    record_request(c->env.record, &(struct record_request){
                                      .method = control_method_names[method],
                                      .vm = domain ? domain->name : NULL,
                                      .uuid = domain && *domain->uuid ? domain->uuid : NULL,
                                      .detail = detail,
                                      .by = who,
                                      .pid = peer->pid,
                                      .result = result,
                                  });
}

static bool changes_something(enum method method)
{
    static const bool changes[METHODS] = {
#define X(constant, name, function, changes) changes,
        METHOD_TABLE(X)
#undef X
    };

    return changes[method];
}

int control_refuse(struct control *c, struct varlink_call *call, enum method method,
                   const char *error, struct json_object *parameters)
{
    bool denied = strcmp(error, "io.migpolicy.NotPermitted") == 0;
    char detail[1024];

    metrics_count(c->env.metrics, METRIC_CONTROL_REQUESTS,
                  METRICS_AT(method, denied ? RESULT_DENIED : RESULT_ERROR), 1);
    if (changes_something(method)) {
        describe_refusal(error, parameters, detail, sizeof(detail));
        record_call(c, call, method, &c->about, detail, denied ? REQUEST_DENIED : REQUEST_FAILED);
    }
    varlink_error(call, error, parameters);
    return 0;
}

int control_refuse_parameter(struct control *c, struct varlink_call *call, enum method method,
                             const char *parameter)
{
    control_refuse_why(c, call, method, VARLINK_ERROR_INVALID_PARAMETER, "parameter", parameter);
    return -EINVAL;
}

int control_refuse_why(struct control *c, struct varlink_call *call, enum method method,
                       const char *error, const char *key, const char *why)
{
    struct json_object *o = json_object_new_object();

    json_add_text(o, key, why);
    return control_refuse(c, call, method, error, o);
}

const char *control_text(struct json_object *parameters, const char *key)
{
    struct json_object *value;

    if (!json_object_object_get_ex(parameters, key, &value) ||
        !json_object_is_type(value, json_type_string))
        return NULL;
    return json_object_get_string(value);
}

/* "uuid:…", or a UUID by itself. */
static bool is_uuid(const char *text)
{
    static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";

    if (strlen(text) != strlen(form))
        return false;
    for (size_t i = 0; form[i]; i++) {
        if (form[i] == '-' ? text[i] != '-' : !isxdigit((unsigned char)text[i]))
            return false;
    }
    return true;
}

int control_expect_vm(const char *vm, struct hv_domain *ret)
{
    bool by_uuid = strncmp(vm, "uuid:", 5) == 0;
    const char *uuid = by_uuid ? vm + 5 : vm;

    if (strncmp(vm, "id:", 3) == 0 || (by_uuid && !is_uuid(uuid)) || !*vm ||
        strlen(vm) >= HV_NAME_MAX)
        return -ENOENT;
    *ret = (struct hv_domain){.id = -1};
    snprintf(ret->name, sizeof(ret->name), "%s", uuid);
    for (size_t i = 0; is_uuid(uuid) && uuid[i]; i++)
        ret->uuid[i] = (char)tolower((unsigned char)uuid[i]);
    return 0;
}

int control_take_vm(struct control *c, struct varlink_call *call, enum method method,
                    struct json_object *parameters, struct hv_domain *ret)
{
    const char *vm = control_text(parameters, "vm");
    struct json_object *expected = NULL;
    int r;

    if (!vm)
        return control_refuse_parameter(c, call, method, "vm");
    json_object_object_get_ex(parameters, "expected", &expected);
    r = monitor_find(c->env.monitor, vm, ret);
    /* A VM that has left this host still has its stored policy here. */
    if (r < 0 && policies_find(c->env.policies, vm, ret->uuid, sizeof(ret->uuid)) == 0) {
        snprintf(ret->name, sizeof(ret->name), "%s", vm);
        r = 0;
    }
    if (r == -ENOENT && json_object_get_boolean(expected))
        r = control_expect_vm(vm, ret);
    if (r == 0)
        c->about = *ret;
    else if (r == -ENOTCONN)
        control_refuse_why(c, call, method, "io.migpolicy.Refused", "why",
                           "libvirt has not been reached yet, so the VM cannot be looked up");
    else
        control_refuse_why(c, call, method, "io.migpolicy.NoSuchVM", "vm", vm);
    return r;
}

static bool is_admin(const struct peer *peer, void *userdata)
{
    const struct control *c = userdata;

    return peer_is_admin(peer, c->env.admin_gid);
}

int control_check_admin(struct control *c, struct varlink_call *call, enum method method,
                        struct json_object *parameters)
{
    const struct peer *peer = varlink_call_peer(call);
    const char *vm = control_text(parameters, "vm");

    c->about = (struct hv_domain){.id = -1};
    snprintf(c->about.name, sizeof(c->about.name), "%s", vm ? vm : "");
    if (is_admin(peer, c))
        return 0;
    control_refuse_why(c, call, method, "io.migpolicy.NotPermitted", "why",
                       "only root and the admin group may change policies");
    return -EPERM;
}

void control_record(struct control *c, struct varlink_call *call, enum method method,
                    const struct hv_domain *domain, const char *detail)
{
    record_call(c, call, method, domain, detail, REQUEST_APPLIED);
}

void control_describe_fields(const struct policy_layer *layer, char *text, size_t size)
{
    size_t len = 0;

    text[0] = '\0';
    for (unsigned i = 0; i < POLICY_FIELDS && len < size; i++) {
        char value[64];

        if (!(layer->set & 1u << i))
            continue;
        policy_value_format((enum policy_field)i, layer->values.v[i], value, sizeof(value));
        len += (size_t)snprintf(text + len, size - len, "%s%s=%s", len ? " " : "",
                                policy_field_info((enum policy_field)i)->name, value);
    }
}

/* ---- the methods ---- */

int control_take_migrated_vm(struct control *c, struct varlink_call *call, enum method method,
                             struct json_object *parameters, const struct migration *list,
                             size_t count, struct hv_domain *ret)
{
    const char *vm = control_text(parameters, "vm");

    if (!vm || monitor_find(c->env.monitor, vm, ret) == 0)
        return control_take_vm(c, call, method, parameters, ret);
    for (size_t i = 0; i < count; i++) {
        const struct hv_domain *domain = &list[i].domain;

        if (strcmp(domain->name, vm) == 0 ||
            (strncmp(vm, "uuid:", 5) == 0 && strcmp(domain->uuid, vm + 5) == 0)) {
            *ret = *domain;
            return 0;
        }
    }
    if (control_find_leftover(c, vm, ret))
        return 0;
    return control_take_vm(c, call, method, parameters, ret);
}

struct control_host control_host(struct control *c)
{
    struct control_host host = {.connected = monitor_connected(c->env.monitor),
                                .paused_vms = paused_count(c->env.paused)};

    if (!paused_is(c->env.paused, NULL, host.paused_by))
        host.paused_by[0] = '\0';
    return host;
}

void control_add_host(struct json_object *o, const struct control_host *host)
{
    json_add(o, "libvirt_connected", json_object_new_boolean(host->connected));
    json_add_text(o, "host_paused_by", host->paused_by[0] ? host->paused_by : NULL);
    json_add_count(o, "paused_vms", host->paused_vms);
}

int control_status(struct varlink_call *call, struct json_object *parameters, void *userdata)
{
    struct control *c = userdata;
    struct migration *list AUTO_FREE = NULL;
    struct json_object *o;
    struct json_object *migrations;
    struct json_object *ended = NULL;
    struct hv_domain domain;
    const char *vm = control_text(parameters, "vm");
    struct control_host host = control_host(c);
    int64_t now = monotonic_ns();
    size_t count = 0;

    json_object_object_get_ex(parameters, "include_ended", &ended);
    watchers_list(c->env.watchers, &list, &count);
    if (vm &&
        control_take_migrated_vm(c, call, METHOD_STATUS, parameters, list, count, &domain) < 0)
        return 0;
    o = json_object_new_object();
    migrations = json_object_new_array();
    for (size_t i = 0; i < count; i++) {
        if ((list[i].active || json_object_get_boolean(ended)) &&
            (!vm || strcmp(list[i].domain.uuid, domain.uuid) == 0))
            json_object_array_add(migrations, migration_to_json(&list[i], now));
    }
    control_add_host(o, &host);
    json_add(o, "leftovers", leftovers_to_json(c->env.leftovers, vm ? domain.uuid : NULL));
    json_add(o, "migrations", migrations);
    return control_answer(c, call, METHOD_STATUS, o);
}

static int explain(struct control *c, struct varlink_call *call, const struct migration *m)
{
    struct json_object *o = json_object_new_object();
    struct json_object *alternatives = json_object_new_array();

    for (unsigned i = 0; m->decision.alternatives_known && i < ALTERNATIVES; i++)
        json_object_array_add(alternatives,
                              alternative_to_json((enum alternative_kind)i, &m->decision));
    json_add(o, "migration", migration_to_json(m, monotonic_ns()));
    json_add(o, "evidence", evidence_to_json(&m->estimate));
    json_add(o, "alternatives", alternatives);
    json_add(o, "events", events_to_json(m));
    return control_answer(c, call, METHOD_EXPLAIN, o);
}

int control_explain(struct varlink_call *call, struct json_object *parameters, void *userdata)
{
    struct control *c = userdata;
    struct migration *list AUTO_FREE = NULL;
    struct hv_domain domain;
    size_t count;

    watchers_list(c->env.watchers, &list, &count);
    if (control_take_migrated_vm(c, call, METHOD_EXPLAIN, parameters, list, count, &domain) < 0)
        return 0;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(list[i].domain.uuid, domain.uuid) == 0)
            return explain(c, call, &list[i]);
    }
    return control_refuse_why(
        c, call, METHOD_EXPLAIN, "io.migpolicy.Refused", "why",
        "no migration of this VM has been seen since migpolicyd was started; migpolicy "
        "history lists earlier ones");
}

static const struct varlink_method methods[] = {
#define X(constant, name, function, changes) {name, function},
    METHOD_TABLE(X)
#undef X
        {NULL, NULL},
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

static uint64_t now_ns(void)
{
    return (uint64_t)monotonic_ns();
}

int control_new(const struct control_env *env, struct control **ret)
{
    struct control *c = alloc_need(calloc(1, sizeof(*c)));
    const struct varlink_loop loop = {add_watch, update_watch, remove_watch, now_ns, NULL};
    const struct varlink_config config = {
        .vendor = "migpolicy",
        .product = "migpolicyd",
        .version = MIGPOLICY_VERSION,
        .url = "",
        .interface = "io.migpolicy",
        .description = io_migpolicy_varlink,
        .methods = methods,
        .userdata = c,
        .is_privileged = is_admin,
    };
    int fd = -1;
    int r;

    c->env = *env;
    c->done[0] = c->done[1] = c->done_watch = -1;
    r = varlink_server_new(&config, &loop, &c->server);
    if (r == 0)
        r = control_work_init(c);
    if (r == 0)
        r = unix_listen(env->socket_path, env->socket_gid,
                        env->socket_gid == (gid_t)-1 ? 0600 : 0660, &fd);
    if (r == 0)
        r = varlink_server_add_listener(c->server, fd);
    if (r < 0) {
        if (fd >= 0)
            close(fd);
        control_work_end(c);
        varlink_server_free(c->server);
        free(c);
        return r;
    }
    *ret = c;
    return 0;
}

bool control_free(struct control *c)
{
    bool quiet;

    if (!c)
        return true;
    varlink_server_free(c->server);
    quiet = control_work_end(c);
    unlink(c->env.socket_path);
    free(c);
    return quiet;
}

void control_tick(struct control *c, int64_t now_ns)
{
    varlink_server_tick(c->server, (uint64_t)now_ns);
    control_monitor_tick(c, now_ns);
}
