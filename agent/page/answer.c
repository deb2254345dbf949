/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/page/answer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/page/document.h"
#include "agent/record/migration_json.h"
#include "common/cleanup.h"
#include "common/json.h"
#include "common/json_strict.h"
#include "common/peer.h"
#include "common/units.h"
#include "common/wakeup.h"

#define MINUTE_NS (60 * NS_PER_S)

enum {
    OK = 200,
    BAD_REQUEST = 400,
    FORBIDDEN = 403,
    NOT_FOUND = 404,
    CONFLICT = 409,
    TOO_MANY_REQUESTS = 429,
};

struct asker {
    char name[128]; /* "": anybody */
    pid_t pid;      /* 0: unknown */
    bool may_answer;
};

struct answer {
    int64_t id;
    bool yes;
    int64_t ceiling_ns; /* 0: none */
};

static struct asker identify(const struct answers *answers, const struct metrics_request *request)
{
    struct asker asker = {.pid = 0};
    struct peer peer;

    if (request->peer_fd >= 0 && peer_read(request->peer_fd, &peer) == 0) {
        snprintf(asker.name, sizeof(asker.name), "uid %u", peer.uid);
        asker.pid = peer.pid;
        asker.may_answer = peer_is_admin(&peer, answers->admin_gid);
        peer_clear(&peer);
    } else if (request->peer_fd < 0 && request->user) {
        snprintf(asker.name, sizeof(asker.name), "web user %s", request->user);
        asker.may_answer = true;
    }
    return asker;
}

unsigned answer_tell_you(const struct answers *answers, const struct metrics_request *request,
                         struct metrics_reply *ret)
{
    struct asker asker = identify(answers, request);
    struct json_object *o = document_new();

    json_add_text(o, "name", *asker.name ? asker.name : NULL);
    json_add(o, "may_answer", json_object_new_boolean(asker.may_answer));
    document_send(ret, o);
    return OK;
}

/* Returns what is wrong, or NULL. */
static const char *take_member(const char *key, struct json_object *value, struct answer *a)
{
    const char *text =
        json_object_is_type(value, json_type_string) ? json_object_get_string(value) : "";

    if (strcmp(key, "id") == 0) {
        a->id = json_object_get_int64(value);
        return json_object_is_type(value, json_type_int) && a->id > 0 && a->id <= UINT32_MAX
                   ? NULL
                   : "id: must be the number of a question";
    }
    if (strcmp(key, "answer") == 0) {
        a->yes = strcmp(text, "approve") == 0;
        return a->yes || strcmp(text, "deny") == 0 ? NULL : "answer: must be approve or deny";
    }
    if (strcmp(key, "max_work_lost") != 0)
        return "only id, answer and max_work_lost belong there";
    return units_parse(UNIT_DURATION, text, &a->ceiling_ns) == 0 && a->ceiling_ns > 0
               ? NULL
               : "max_work_lost: must be a duration, such as 2s";
}

/* Returns what is wrong, or NULL. */
static const char *parse(const struct metrics_request *request, struct answer *ret)
{
    AUTO_JSON struct json_object *body = NULL;
    const char *wrong = NULL;

    if (json_strict_parse(request->body, request->body_len, &body, NULL) < 0 ||
        !json_object_is_type(body, json_type_object))
        return "must be a JSON object";
    json_object_object_foreach(body, key, value)
    {
        if (!wrong)
            wrong = take_member(key, value, ret);
    }
    if (!wrong && (!json_object_object_get_ex(body, "id", NULL) ||
                   !json_object_object_get_ex(body, "answer", NULL)))
        wrong = "id and answer are needed";
    if (!wrong && !ret->yes && ret->ceiling_ns > 0)
        wrong = "max_work_lost: belongs to an approve";
    return wrong;
}

static bool is_too_often(struct answers *answers)
{
    int64_t now = monotonic_ns();

    if (answers->minute_ns == 0 || now - answers->minute_ns >= MINUTE_NS) {
        answers->minute_ns = now;
        answers->in_minute = 0;
    }
    return ++answers->in_minute > ANSWERS_PER_MINUTE;
}

/* Also puts it on record; m: the migration it is about, or NULL. */
static unsigned refuse(const struct answers *answers, const struct asker *asker,
                       const struct answer *a, const struct migration *m, unsigned status,
                       const char *why, struct metrics_reply *ret)
{
    record_request(answers->record,
                   &(struct record_request){
                       .method = a->yes ? "Approve" : "Deny",
                       .vm = m ? m->domain.name : NULL,
                       .uuid = m ? m->domain.uuid : NULL,
                       .detail = why,
                       .by = *asker->name ? asker->name : "nobody known",
                       .pid = asker->pid,
                       .result = status == FORBIDDEN ? REQUEST_DENIED : REQUEST_FAILED,
                   });
    return document_refuse(ret, status, why);
}

/* To the watcher that asks. */
static unsigned carry(const struct answers *answers, const struct asker *asker,
                      const struct answer *a, struct metrics_reply *ret)
{
    AUTO_FREE struct migration *list = NULL;
    struct json_object *o;
    char why[256];
    size_t count;
    size_t i = 0;
    int r = -ENOENT;

    watchers_list(answers->watchers, &list, &count);
    while (i < count && list[i].proposal.id != a->id)
        i++;
    if (i < count)
        r = watchers_answer(answers->watchers, list[i].proposal.id, a->yes, a->ceiling_ns,
                            asker->name);
    if (r == -ERANGE) {
        snprintf(why, sizeof(why), "it would lose more than that: %s", list[i].proposal.text);
        return refuse(answers, asker, a, &list[i], CONFLICT, why, ret);
    }
    if (r < 0) {
        snprintf(why, sizeof(why),
                 "question %u is not asked any more: it was answered, ran out of time, or is asked "
                 "anew under another number",
                 (unsigned)a->id);
        return refuse(answers, asker, a, NULL, NOT_FOUND, why, ret);
    }
    o = document_new();
    json_add(o, "proposal", proposal_to_json(&list[i], monotonic_ns()));
    document_send(ret, o);
    return OK;
}

unsigned answer_take(struct answers *answers, const struct metrics_request *request,
                     struct metrics_reply *ret)
{
    struct asker asker = identify(answers, request);
    struct answer a = {.yes = true};
    const char *wrong = parse(request, &a);

    if (!asker.may_answer)
        return refuse(answers, &asker, &a, NULL, FORBIDDEN,
                      "only root, the admin group and who web_may_answer names may answer", ret);
    if (request->is_foreign)
        return refuse(answers, &asker, &a, NULL, FORBIDDEN,
                      "another page than migpolicy's has sent this", ret);
    if (is_too_often(answers))
        return document_refuse(ret, TOO_MANY_REQUESTS, "too many answers: wait a minute");
    if (wrong)
        return document_refuse(ret, BAD_REQUEST, wrong);
    return carry(answers, &asker, &a, ret);
}
