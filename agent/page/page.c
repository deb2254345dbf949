/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/page/page.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "agent/page/answer.h"
#include "agent/page/document.h"
#include "agent/page/page.html.h"
#include "agent/record/migration_json.h"
#include "agent/watch/leftovers_json.h"
#include "common/cleanup.h"
#include "common/json.h"
#include "common/units.h"
#include "common/wakeup.h"

#define API "/api/v1/"
/* However many look at it: the status is made anew so often, and no more. */
#define STATUS_NS (250 * NS_PER_MS)
/* Answers are told to nobody else, and a page of somebody else's has no part in this one. */
#define NO_SOURCES "default-src 'none'; frame-ancestors 'none'"

enum { OK = 200, NOT_FOUND = 404 };

struct page {
    struct page_env env;
    pthread_mutex_t lock; /* guards the host */
    struct page_host host;
    int64_t host_ns; /* when that was told; 0: not yet */

    /* Of the HTTP server's thread. */
    struct answers answers;
    char *status;
    size_t status_len;
    int64_t status_ns;
};

struct page *page_new(const struct page_env *env)
{
    struct page *p = alloc_need(calloc(1, sizeof(*p)));

    p->env = *env;
    p->answers = (struct answers){
        .watchers = env->watchers, .record = env->record, .admin_gid = env->admin_gid};
    pthread_mutex_init(&p->lock, NULL);
    return p;
}

void page_free(struct page *p)
{
    if (!p)
        return;
    pthread_mutex_destroy(&p->lock);
    free(p->status);
    free(p);
}

void page_set_host(struct page *p, const struct page_host *host)
{
    pthread_mutex_lock(&p->lock);
    p->host = *host;
    p->host_ns = monotonic_ns();
    pthread_mutex_unlock(&p->lock);
}

/* ---- documents ---- */

static struct json_object *text_or_null(const char *text)
{
    return *text ? json_object_new_string(text) : NULL;
}

static struct json_object *migration_document(const struct migration *m, int64_t now_ns)
{
    struct json_object *o = migration_to_json(m, now_ns);

    json_add(o, "flavor", text_or_null(m->names.flavor));
    json_add(o, "project", text_or_null(m->names.project));
    json_add(o, "instance_name", text_or_null(m->names.instance_name));
    json_add_time(o, "started", &m->started);
    json_add_number(o, "plateau_bytes",
                    m->active && decision_end(&m->decision) == END_NEVER &&
                            m->decision.course.plateau_bytes > 0
                        ? m->decision.course.plateau_bytes
                        : NAN);
    json_add(o, "proposal", m->active && m->proposal.id > 0 ? proposal_to_json(m, now_ns) : NULL);
    return o;
}

static struct json_object *host_document(struct page *p, int64_t now_ns, unsigned questions)
{
    struct json_object *o = json_object_new_object();
    char name[256] = "";
    struct page_host host;
    int64_t host_ns;

    pthread_mutex_lock(&p->lock);
    host = p->host;
    host_ns = p->host_ns;
    pthread_mutex_unlock(&p->lock);
    gethostname(name, sizeof(name) - 1);
    json_add_text(o, "name", name);
    json_add_text(o, "uri", p->env.uri);
    json_add_text(o, "version", MIGPOLICY_VERSION);
    json_add_number(o, "age_seconds", host_ns ? (double)(now_ns - host_ns) / 1e9 : NAN);
    json_add(o, "libvirt_connected", json_object_new_boolean(monitor_connected(p->env.monitor)));
    json_add(o, "paused_by", text_or_null(host.paused_by));
    json_add_count(o, "paused_vms", host.paused_vms);
    json_add_count(o, "pending_questions", questions);
    json_add_count(o, "unreadable_states", host.unreadable);
    json_add_count(o, "outstanding_journals", host.outstanding);
    return o;
}

static unsigned get_status(struct page *p, struct metrics_reply *ret)
{
    AUTO_FREE struct migration *list = NULL;
    struct json_object *migrations;
    struct json_object *o;
    int64_t now = monotonic_ns();
    unsigned questions = 0;
    size_t count = 0;

    if (!p->status || now - p->status_ns > STATUS_NS) {
        watchers_list(p->env.watchers, &list, &count);
        o = document_new();
        migrations = json_object_new_array();
        for (size_t i = 0; i < count; i++) {
            questions += list[i].active && list[i].proposal.id > 0;
            json_object_array_add(migrations, migration_document(&list[i], now));
        }
        json_add(o, "host", host_document(p, now, questions));
        json_add(o, "leftovers", leftovers_to_json(p->env.leftovers, NULL));
        json_add(o, "migrations", migrations);
        free(p->status);
        p->status = document_text(o, &p->status_len);
        p->status_ns = now;
    }
    metrics_buf_add(&ret->body, p->status, p->status_len);
    return OK;
}

static unsigned get_migration(struct page *p, const char *uuid, const char *since,
                              struct metrics_reply *ret)
{
    AUTO_FREE struct migration *m = alloc_need(malloc(sizeof(*m)));
    struct json_object *alternatives;
    struct json_object *o;
    double since_s = since ? strtod(since, NULL) : -1;

    if (watchers_get(p->env.watchers, uuid, m) < 0)
        return document_refuse(ret, NOT_FOUND, "no migration of a VM of that UUID is known");
    alternatives = json_object_new_array();
    for (unsigned i = 0; m->decision.alternatives_known && i < ALTERNATIVES; i++)
        json_object_array_add(alternatives,
                              alternative_to_json((enum alternative_kind)i, &m->decision));
    o = document_new();
    json_add(o, "migration", migration_document(m, monotonic_ns()));
    json_add(o, "evidence", evidence_to_json(&m->estimate));
    json_add(o, "alternatives", alternatives);
    json_add(o, "events", events_to_json(m));
    json_add(o, "policy", recent_policy_to_json(p->env.recent, m->domain.uuid));
    json_add(
        o, "course",
        recent_course_to_json(p->env.recent, m->domain.uuid, isfinite(since_s) ? since_s : -1));
    document_send(ret, o);
    return OK;
}

static unsigned get_history(struct page *p, struct metrics_reply *ret)
{
    struct json_object *o = document_new();

    json_add(o, "migrations", recent_ended_to_json(p->env.recent));
    document_send(ret, o);
    return OK;
}

unsigned page_ask(void *page, const struct metrics_request *request, struct metrics_reply *ret)
{
    const char *path = request->path;
    struct page *p = page;

    if (strcmp(path, "/") == 0) {
        ret->content_type = "text/html; charset=utf-8";
        ret->security_policy = page_policy;
        metrics_buf_add(&ret->body, page_html, sizeof(page_html) - 1);
        return OK;
    }
    if (strncmp(path, API, strlen(API)) != 0)
        return NOT_FOUND;
    ret->content_type = "application/json";
    ret->security_policy = NO_SOURCES;
    if (request->body) {
        p->status_ns = 0; /* what is asked has changed */
        return answer_take(&p->answers, request, ret);
    }
    path += strlen(API);
    if (strcmp(path, "status") == 0)
        return get_status(p, ret);
    if (strcmp(path, "history") == 0)
        return get_history(p, ret);
    if (strcmp(path, "you") == 0)
        return answer_tell_you(&p->answers, request, ret);
    if (strncmp(path, "migrations/", strlen("migrations/")) == 0)
        return get_migration(p, path + strlen("migrations/"), request->since, ret);
    return document_refuse(ret, NOT_FOUND, "try status, history, you or migrations/UUID");
}
