/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Calls: from a message to its handler, and the answers. */
#include "agent/control/varlink_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/json.h"
#include "common/json_strict.h"

#define SERVICE_INTERFACE "org.varlink.service"

static const char service_description[] =
    "# Answered by every Varlink service: what it is and which interfaces it has.\n"
    "interface org.varlink.service\n"
    "\n"
    "method GetInfo() -> (\n"
    "  vendor: string,\n"
    "  product: string,\n"
    "  version: string,\n"
    "  url: string,\n"
    "  interfaces: []string\n"
    ")\n"
    "\n"
    "method GetInterfaceDescription(interface: string) -> (description: string)\n"
    "\n"
    "error InterfaceNotFound (interface: string)\n"
    "\n"
    "error MethodNotFound (method: string)\n"
    "\n"
    "error MethodNotImplemented (method: string)\n"
    "\n"
    "error InvalidParameter (parameter: string)\n"
    "\n"
    "error PermissionDenied ()\n"
    "\n"
    "error ExpectedMore ()\n";

void vl_call_unref(struct varlink_call *call)
{
    if (--call->refs > 0)
        return;
    vl_client_unref(call->client);
    free(call->method);
    free(call);
}

/* Answers */

/* Consumes parameters; the final reply also the owner's reference to the call. */
static int call_answer(struct varlink_call *call, const char *error, struct json_object *parameters,
                       bool final)
{
    struct client *c = call->client;
    int r = 0;

    if (call->oneway)
        json_object_put(parameters);
    else
        r = vl_client_reply(c, error, parameters, !final);
    if (!final)
        return r;
    if (r == -E2BIG)
        vl_client_own_error(c, "InternalError", "reply too large");
    call->answered = true;
    if (c->call == call) {
        c->call = NULL;
        c->active = true;
        vl_client_ready(c);
    }
    vl_call_unref(call);
    return r;
}

int varlink_reply(struct varlink_call *call, struct json_object *parameters)
{
    return call_answer(call, NULL, parameters, true);
}

int varlink_error(struct varlink_call *call, const char *error, struct json_object *parameters)
{
    return call_answer(call, error, parameters, true);
}

int varlink_error_invalid_parameter(struct varlink_call *call, const char *parameter)
{
    return varlink_error(call, VARLINK_ERROR_INVALID_PARAMETER,
                         vl_one_string("parameter", parameter));
}

int varlink_reply_more(struct varlink_call *call, struct json_object *parameters)
{
    if (!call->more) {
        json_object_put(parameters);
        return -EINVAL;
    }
    return call_answer(call, NULL, parameters, false);
}

size_t varlink_call_queued(const struct varlink_call *call)
{
    return call->client->out.used;
}

bool varlink_call_wants_more(const struct varlink_call *call)
{
    return call->more;
}

bool varlink_call_is_oneway(const struct varlink_call *call)
{
    return call->oneway;
}

const struct peer *varlink_call_peer(const struct varlink_call *call)
{
    return &call->client->peer;
}

const char *varlink_call_method(const struct varlink_call *call)
{
    return call->method;
}

void varlink_call_on_disconnect(struct varlink_call *call,
                                void (*cb)(struct varlink_call *call, void *userdata),
                                void *userdata)
{
    call->on_disconnect = cb;
    call->on_disconnect_userdata = userdata;
}

/* Methods */

static int service_get_info(struct varlink_call *call, const struct varlink_config *config)
{
    struct json_object *info = json_object_new_object(), *interfaces = json_object_new_array();

    json_object_object_add(info, "vendor", json_object_new_string(config->vendor));
    json_object_object_add(info, "product", json_object_new_string(config->product));
    json_object_object_add(info, "version", json_object_new_string(config->version));
    json_object_object_add(info, "url", json_object_new_string(config->url));
    json_object_array_add(interfaces, json_object_new_string(SERVICE_INTERFACE));
    json_object_array_add(interfaces, json_object_new_string(config->interface));
    json_object_object_add(info, "interfaces", interfaces);
    varlink_reply(call, info);
    return 0;
}

static int service_get_description(struct varlink_call *call, struct json_object *parameters,
                                   const struct varlink_config *config)
{
    struct json_object *value;
    const char *name;

    if (!json_object_object_get_ex(parameters, "interface", &value) ||
        !json_object_is_type(value, json_type_string)) {
        varlink_error_invalid_parameter(call, "interface");
        return 0;
    }
    name = json_object_get_string(value);
    if (strcmp(name, SERVICE_INTERFACE) == 0)
        varlink_reply(call, vl_one_string("description", service_description));
    else if (strcmp(name, config->interface) == 0)
        varlink_reply(call, vl_one_string("description", config->description));
    else
        varlink_error(call, VARLINK_ERROR_INTERFACE_NOT_FOUND, vl_one_string("interface", name));
    return 0;
}

static int method_not_found(struct varlink_call *call)
{
    varlink_error(call, VARLINK_ERROR_METHOD_NOT_FOUND, vl_one_string("method", call->method));
    return 0;
}

/* If method is "<interface>.NAME" returns NAME, else NULL. */
static const char *method_of(const char *method, const char *interface)
{
    size_t n = strlen(interface);

    if (strncmp(method, interface, n) != 0 || method[n] != '.' || strchr(method + n + 1, '.'))
        return NULL;
    return method + n + 1;
}

static int call_dispatch(struct varlink_call *call, struct json_object *parameters)
{
    const struct varlink_config *config = &call->client->server->config;
    const char *name = method_of(call->method, SERVICE_INTERFACE);
    const char *dot;

    if (name && strcmp(name, "GetInfo") == 0)
        return service_get_info(call, config);
    if (name && strcmp(name, "GetInterfaceDescription") == 0)
        return service_get_description(call, parameters, config);
    if (name)
        return method_not_found(call);

    name = method_of(call->method, config->interface);
    for (const struct varlink_method *m = config->methods; name && m->name; m++) {
        if (strcmp(m->name, name) == 0)
            return m->handler ? m->handler(call, parameters, config->userdata) : -ENOSYS;
    }
    if (name)
        return method_not_found(call);

    dot = strrchr(call->method, '.');
    if (dot) {
        AUTO_FREE char *interface = alloc_need(strndup(call->method, (size_t)(dot - call->method)));

        varlink_error(call, VARLINK_ERROR_INTERFACE_NOT_FOUND,
                      vl_one_string("interface", interface));
        return 0;
    }
    return varlink_error_invalid_parameter(call, "method");
}

/* A handler failed without having answered. */
static void call_failed(struct varlink_call *call, int error)
{
    if (error == -EPERM || error == -EACCES)
        varlink_error(call, VARLINK_ERROR_PERMISSION_DENIED, NULL);
    else if (error == -ENOSYS)
        varlink_error(call, VARLINK_ERROR_METHOD_NOT_IMPLEMENTED,
                      vl_one_string("method", call->method));
    else {
        const char *reason = strerrordesc_np(-error);
        char name[256];

        snprintf(name, sizeof(name), "%s.InternalError", call->client->server->config.interface);
        varlink_error(call, name, vl_one_string("reason", reason ? reason : "unknown error"));
    }
}

/* Reads an optional flag of a call; false, with the error sent, if it is there but no boolean. */
static bool read_flag(struct client *c, struct json_object *message, const char *name, bool *ret)
{
    struct json_object *value;

    *ret = false;
    if (!json_object_object_get_ex(message, name, &value) || !value)
        return true;
    if (!json_object_is_type(value, json_type_boolean)) {
        vl_client_protocol_error(c, name);
        return false;
    }
    *ret = json_object_get_boolean(value);
    return true;
}

static struct varlink_call *call_new(struct client *c, const char *method)
{
    struct varlink_call *call = alloc_need(calloc(1, sizeof(*call)));

    call->method = alloc_need(strdup(method));
    call->refs = 2;
    call->client = c;
    c->refs++;
    return call;
}

static void process_call(struct client *c, struct json_object *message)
{
    struct json_object *method, *parameters = NULL;
    struct varlink_call *call;
    bool more, oneway, upgrade;
    int r;

    if (!json_object_object_get_ex(message, "method", &method) ||
        !json_object_is_type(method, json_type_string)) {
        vl_client_protocol_error(c, "method");
        return;
    }
    if (!read_flag(c, message, "more", &more) || !read_flag(c, message, "oneway", &oneway) ||
        !read_flag(c, message, "upgrade", &upgrade))
        return;
    json_object_object_get_ex(message, "parameters", &parameters);
    if (parameters && !json_object_is_type(parameters, json_type_object)) {
        vl_client_protocol_error(c, "parameters");
        return;
    }
    parameters = parameters ? json_object_get(parameters) : json_object_new_object();
    call = call_new(c, json_object_get_string(method));
    call->more = more && !oneway;
    call->oneway = oneway;
    c->call = call;
    r = upgrade ? -ENOSYS : call_dispatch(call, parameters);
    if (r < 0 && !call->answered)
        call_failed(call, r);
    vl_call_unref(call);
    json_object_put(parameters);
}

void vl_process_message(struct client *c, const char *text, size_t len)
{
    struct json_object *message;

    if (json_strict_parse(text, len, &message, NULL) < 0) {
        vl_client_protocol_error(c, "message");
        return;
    }
    if (json_object_is_type(message, json_type_object))
        process_call(c, message);
    else
        vl_client_protocol_error(c, "message");
    json_object_put(message);
}
