/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of the control socket's methods share. Event loop's thread only. */
#ifndef MIGPOLICY_CONTROL_INTERNAL_H
#define MIGPOLICY_CONTROL_INTERNAL_H

#include <pthread.h>

#include "agent/control/env.h"
#include "agent/control/varlink.h"

struct json_object;

/* The methods: X(constant, name in io.migpolicy.varlink, function, whether it changes anything) */
/* clang-format off */
#define METHOD_TABLE(X) \
    X(STATUS, "Status", control_status, false) \
    X(EXPLAIN, "Explain", control_explain, false) \
    X(SHOW, "Show", control_show, false) \
    X(SET, "Set", control_set, true) \
    X(UNSET, "Unset", control_unset, true) \
    X(OVERRIDES, "Overrides", control_overrides, false) \
    X(HISTORY, "History", control_history, false) \
    X(CHANGE_METADATA, "ChangeMetadata", control_change_metadata, true) \
    X(APPLY, "Apply", control_apply, true) \
    X(RELOAD, "Reload", control_reload, true) \
    X(PENDING, "Pending", control_pending, false) \
    X(MONITOR, "Monitor", control_monitor, false) \
    X(APPROVE, "Approve", control_approve, true) \
    X(DENY, "Deny", control_deny, true) \
    X(DOMAINS, "Domains", control_domains, false) \
    X(PREDICT, "Predict", control_predict, false) \
    X(PAUSE, "Pause", control_pause, true) \
    X(RESUME, "Resume", control_resume, true) \
    X(RELEASE, "Release", control_release, true)
/* clang-format on */

enum method {
#define X(constant, name, function, changes) METHOD_##constant,
    METHOD_TABLE(X)
#undef X
        METHODS
};

/* Their functions, as struct varlink_method has them; userdata is the control. */
#define X(constant, name, function, changes)                                                       \
    int function(struct varlink_call *call, struct json_object *parameters, void *userdata);
METHOD_TABLE(X)
#undef X

struct control {
    struct control_env env;
    struct varlink_server *server;
    int done[2]; /* a pipe: pointers to works that are done */
    int done_watch;
    struct hv_domain about;     /* the VM of the call that is being answered, for the record */
    unsigned works;             /* under way */
    unsigned changes;           /* of metadata, under way */
    unsigned releases;          /* of leftovers, under way */
    struct inquiry *inquiries;  /* predictions under way, a list */
    struct reading *readings;   /* of the history: the one under way, and those that wait */
    struct follower *followers; /* of Monitor, a list: who was told longest ago is first */
};

/*
 * Something that takes its time, in a thread of its own: work.c. `run` is called in it. Since a
 * thread that hangs is left behind at the end of the process, it must touch nothing but what
 * belongs to the work, or what stays where control_free() tells of such a thread. `done` is called
 * afterwards from the event loop, unless the process ends before.
 */
struct control_work {
    void (*run)(struct control_work *work);
    void (*done)(struct control_work *work);
    int done_fd;
    pthread_t thread;
};

int control_work_start(struct control *c, struct control_work *work);

/* First, and last: it gives works a moment to be done, and returns whether all are. */
int control_work_init(struct control *c);
bool control_work_end(struct control *c);

/*
 * The ways to answer a call; each counts it. They take over the parameters, release the call and
 * return 0, for handlers to return. Whoever refuses a change puts that on record, too.
 * control_refuse_why() makes {key: why} the error's parameters.
 */
int control_answer(struct control *c, struct varlink_call *call, enum method method,
                   struct json_object *parameters);
int control_refuse(struct control *c, struct varlink_call *call, enum method method,
                   const char *error, struct json_object *parameters);
int control_refuse_why(struct control *c, struct varlink_call *call, enum method method,
                       const char *error, const char *key, const char *why);

/* One reply of a stream, the call being counted with the first. As varlink_reply_more(). */
int control_continue(struct control *c, struct varlink_call *call, enum method method, bool first,
                     struct json_object *parameters);

/* Refuses the call for a parameter that is missing or of another type. Returns -EINVAL. */
int control_refuse_parameter(struct control *c, struct varlink_call *call, enum method method,
                             const char *parameter);

/* A parameter, borrowed; NULL if it is absent or no text. */
const char *control_text(struct json_object *parameters, const char *key);

/* Resolves the parameter "vm"; when that fails the call has been answered, and -errno is returned.
 */
int control_take_vm(struct control *c, struct varlink_call *call, enum method method,
                    struct json_object *parameters, struct hv_domain *ret);

/* A VM that is not here, as it is expected: by name, or by UUID. -ENOENT: by neither. */
int control_expect_vm(const char *vm, struct hv_domain *ret);

/* The same, also for a VM that has gone, if its migration is on the list, or its quotas could not
   be restored. */
int control_take_migrated_vm(struct control *c, struct varlink_call *call, enum method method,
                             struct json_object *parameters, const struct migration *list,
                             size_t count, struct hv_domain *ret);

/* What Status and Monitor tell of the host. */
struct control_host {
    bool connected;
    char paused_by[PAUSED_WHO_MAX]; /* "": it is not */
    size_t paused_vms;
};
struct control_host control_host(struct control *c);
void control_add_host(struct json_object *o, const struct control_host *host);

/* Each question that waits for an answer, of the VM of that UUID or of all (NULL). */
struct json_object *control_proposals(const struct migration *list, size_t count, const char *uuid,
                                      int64_t now_ns);

/* Tells the followers what is new. About once a second. */
void control_monitor_tick(struct control *c, int64_t now_ns);

/*
 * Whether the caller may change things; if not, the call has been answered, and it is -EPERM. To be
 * called first by every method that changes something.
 */
int control_check_admin(struct control *c, struct varlink_call *call, enum method method,
                        struct json_object *parameters);

/* A leftover by the name or UUID of its VM, if there is one; it need not be known to libvirt. */
bool control_find_leftover(struct control *c, const char *vm, struct hv_domain *ret);

/* Records what the caller has changed; domain may be NULL. */
void control_record(struct control *c, struct varlink_call *call, enum method method,
                    const struct hv_domain *domain, const char *detail);

/* The fields a layer sets, for such a record: "max_downtime=2s min_cpu=30%", cut to size. */
void control_describe_fields(const struct policy_layer *layer, char *text, size_t size);

/* Refuses a value of a field with BadValue. Returns -EINVAL. */
int control_refuse_value(struct control *c, struct varlink_call *call, enum method method,
                         const char *field, const char *value, const char *expected);

/*
 * Reads the parameter "fields", a text for each policy field it names: all or none. When that fails
 * the call has been answered, and -errno is returned.
 */
int control_take_fields(struct control *c, struct varlink_call *call, enum method method,
                        struct json_object *parameters, struct policy_layer *ret);

/* Answers with the effective policy, or with that which would be in effect (may be NULL). */
int control_answer_policy(struct control *c, struct varlink_call *call, enum method method,
                          const struct hv_domain *domain, struct policy *would);

#endif
