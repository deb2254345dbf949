/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/record/record.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/record/migration_json.h"
#include "common/cleanup.h"
#include "common/json.h"
#include "common/json_strict.h"
#include "common/log.h"
#include "common/printable.h"
#include "common/textfile.h"
#include "common/units.h"
#include "common/wakeup.h"
#include "policy/json/prior_json.h"

#define JOIN_TIMEOUT_S 3
#define IDLE_NS        (3600 * NS_PER_S)
#define MINUTE_NS      (60 * NS_PER_S)
/* What may wait for the disk. */
#define QUEUE_MAX ((size_t)1024 * 1024)
/* No line is longer; a file's bound may be passed by one. */
#define LINE_MAX_BYTES ((size_t)64 * 1024)

enum { VM_MAX = 256, DETAIL_MAX = 1024 };

const struct record_limits record_limits_default = {
    .audit_bytes = (size_t)4 * 1024 * 1024,
    .history_bytes = (size_t)1024 * 1024,
};

struct line {
    struct line *next;
    bool history;
    size_t len;
    char text[];
};

struct record {
    int dir;
    struct record_limits limits;
    struct metrics *metrics;
    pthread_t thread;
    struct wakeup wake;

    pthread_mutex_t lock; /* guards the queue, and the count of denials */
    struct line *first, **last;
    size_t queued_bytes;
    bool stopped;
    int64_t minute_ns;
    unsigned denials;

    pthread_mutex_t files; /* held by a reader, and for a rotation */
    bool failing;          /* the last write failed; writing thread */
};

/* ---- the writing thread ---- */

static int make_room(struct record *r, const char *name, size_t max, size_t more)
{
    char old[32];
    struct stat st;
    int e = 0;

    if (fstatat(r->dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (st.st_size == 0 || (size_t)st.st_size + more <= max)
        return 0;
    snprintf(old, sizeof(old), "%s.1", name);
    pthread_mutex_lock(&r->files);
    if (renameat(r->dir, name, r->dir, old) < 0)
        e = -errno;
    pthread_mutex_unlock(&r->files);
    return e;
}

static int write_line(struct record *r, const struct line *line)
{
    const char *name = line->history ? RECORD_HISTORY : RECORD_AUDIT;
    size_t max = line->history ? r->limits.history_bytes : r->limits.audit_bytes;
    int e = make_room(r, name, max, line->len);
    AUTO_CLOSE int fd = -1;
    struct stat st;
    char last = '\n';

    if (e < 0)
        return e;
    /* O_NONBLOCK: a FIFO in its place must not block us before fstat() tells. */
    fd = openat(r->dir, name, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK,
                0600);
    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -EINVAL;
    if (st.st_size > 0 && pread(fd, &last, 1, st.st_size - 1) != 1)
        return -EIO;
    if (last != '\n')
        e = textfile_append(fd, "\n", 1);
    if (e == 0)
        e = textfile_append(fd, line->text, line->len);
    if (e == 0 && fdatasync(fd) < 0)
        e = -errno;
    return e;
}

static void count_lost(struct record *r)
{
    if (r->metrics)
        metrics_count(r->metrics, METRIC_RECORD_FAILURES, METRICS_SINGLE, 1);
}

static void write_queue(struct record *r)
{
    struct line *line;

    for (;;) {
        int e;

        pthread_mutex_lock(&r->lock);
        line = r->first;
        if (line) {
            r->first = line->next;
            r->queued_bytes -= line->len;
            if (!r->first)
                r->last = &r->first;
        }
        pthread_mutex_unlock(&r->lock);
        if (!line)
            return;
        e = write_line(r, line);
        if (e < 0) {
            count_lost(r);
            if (!r->failing)
                log_warning("%s: decisions and migrations cannot be recorded: %s",
                            line->history ? RECORD_HISTORY : RECORD_AUDIT, strerror(-e));
        }
        r->failing = e < 0;
        free(line);
    }
}

static void *writer_main(void *arg)
{
    struct record *r = arg;

    while (wakeup_wait(&r->wake, monotonic_ns() + IDLE_NS) == 0)
        write_queue(r);
    write_queue(r);
    return NULL;
}

int record_new(const char *dir, const struct record_limits *limits, struct metrics *metrics,
               struct record **ret)
{
    struct record *r = alloc_need(calloc(1, sizeof(*r)));
    int e = 0;

    r->limits = *limits;
    r->metrics = metrics;
    r->last = &r->first;
    wakeup_init(&r->wake);
    pthread_mutex_init(&r->lock, NULL);
    pthread_mutex_init(&r->files, NULL);
    r->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (r->dir < 0)
        e = -errno;
    else
        e = -pthread_create(&r->thread, NULL, writer_main, r);
    if (e < 0) {
        record_free(r);
        return e;
    }
    pthread_setname_np(r->thread, "record");
    *ret = r;
    return 0;
}

bool record_stop(struct record *r)
{
    struct timespec until;

    if (!r)
        return true;
    pthread_mutex_lock(&r->lock);
    r->stopped = true;
    pthread_mutex_unlock(&r->lock);
    wakeup_end(&r->wake);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += JOIN_TIMEOUT_S;
    return pthread_timedjoin_np(r->thread, NULL, &until) == 0;
}

void record_free(struct record *r)
{
    if (!r)
        return;
    wakeup_destroy(&r->wake);
    pthread_mutex_destroy(&r->lock);
    pthread_mutex_destroy(&r->files);
    if (r->dir >= 0)
        close(r->dir);
    free(r);
}

/* ---- recording ---- */

/* Takes over the object. */
static void put(struct record *r, bool history, struct json_object *object)
{
    AUTO_JSON struct json_object *owned = object;
    AUTO_FREE char *text = NULL;
    struct line *line;
    const char *raw;
    size_t len = 0;

    json_add_count(owned, "schema_version", 1);
    raw = json_object_to_json_string_length(
        owned, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &len);
    /* A name that is not UTF-8, perhaps for having been cut, would make the line unreadable. */
    text = printable_json(raw, len, &len);
    if (len >= LINE_MAX_BYTES) {
        count_lost(r);
        return;
    }
    line = alloc_need(malloc(sizeof(*line) + len + 1));
    *line = (struct line){.history = history, .len = len + 1};
    memcpy(line->text, text, len);
    line->text[len] = '\n';

    pthread_mutex_lock(&r->lock);
    if (!r->stopped && r->queued_bytes + line->len <= QUEUE_MAX) {
        r->queued_bytes += line->len;
        *r->last = line;
        r->last = &line->next;
        line = NULL;
    }
    pthread_mutex_unlock(&r->lock);
    if (line)
        count_lost(r);
    free(line);
    wakeup_signal(&r->wake);
}

void record_event(struct record *r, const struct hv_domain *domain, const struct migration_event *e)
{
    const struct log_field fields[] = {
        {"VM", domain->name},
        {"UUID", domain->uuid},
        {"ACTION", action_name(e->action)},
        {"REASON", reason_name(e->reason)},
        {"RESULT", event_result_name(e->result)},
        {"DETAIL", e->detail},
        {"APPROVED_BY", e->approved_by},
        {NULL},
    };
    struct json_object *o;

    log_fields(e->result == EVENT_FAILED ? LOG_WARNING : LOG_INFO, fields,
               "%s: %s %s: %s (%s: %s)%s%s", domain->name, action_name(e->action),
               event_result_name(e->result), e->detail, reason_name(e->reason),
               reason_text(e->reason), *e->approved_by ? "; approved by " : "", e->approved_by);
    if (!r)
        return;
    o = event_to_json(e);
    json_add_text(o, "vm", domain->name);
    json_add_text(o, "uuid", domain->uuid);
    put(r, false, o);
}

/*
 * Whether one more denial is too much. The first that is gets recorded, and says so: who may only
 * read must neither hide what others did nor go unseen.
 */
static bool is_flood(struct record *r, const char **ret_detail)
{
    int64_t now = monotonic_ns();
    unsigned denials;

    pthread_mutex_lock(&r->lock);
    if (r->minute_ns == 0 || now - r->minute_ns >= MINUTE_NS) {
        r->minute_ns = now;
        r->denials = 0;
    }
    denials = ++r->denials;
    pthread_mutex_unlock(&r->lock);
    if (denials == RECORD_DENIALS_PER_MINUTE)
        *ret_detail = "too many of these: until a minute is over they are only counted";
    return denials > RECORD_DENIALS_PER_MINUTE;
}

void record_request(struct record *r, const struct record_request *q)
{
    static const char *const results[] = {"applied", "failed", "denied"};
    const char *detail = q->detail;
    struct timespec now;
    struct json_object *o;
    char vm[VM_MAX];
    char text[DETAIL_MAX];
    char action[32];

    if (r && q->result == REQUEST_DENIED && is_flood(r, &detail))
        return;
    snprintf(vm, sizeof(vm), "%s", q->vm ? q->vm : "");
    snprintf(text, sizeof(text), "%s", detail);
    snprintf(action, sizeof(action), "%s", q->method);
    for (char *c = action; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    log_fields(q->result == REQUEST_APPLIED ? LOG_INFO : LOG_WARNING,
               (const struct log_field[]){
                   {"VM", vm},
                   {"UUID", q->uuid},
                   {"ACTION", action},
                   {"RESULT", results[q->result]},
                   {"DETAIL", text},
                   {"APPROVED_BY", q->result == REQUEST_APPLIED ? q->by : NULL},
                   {"BY", q->by},
                   {NULL},
               },
               "%s: %s %s: %s; by %s", *vm ? vm : "-", action, results[q->result], text, q->by);
    if (!r)
        return;
    o = json_object_new_object();
    clock_gettime(CLOCK_REALTIME, &now);
    json_add_time(o, "time", &now);
    json_add_text(o, "action", action);
    json_add_text(o, "result", results[q->result]);
    json_add_text(o, "detail", text);
    json_add_text(o, "approved_by", q->result == REQUEST_APPLIED ? q->by : NULL);
    json_add_text(o, "by", q->by);
    if (q->pid > 0)
        json_add_count(o, "pid", (uint64_t)q->pid);
    json_add_text(o, "vm", *vm ? vm : NULL);
    json_add_text(o, "uuid", q->uuid);
    put(r, false, o);
}

void record_migration(struct record *r, const struct migration *m, const char *trace)
{
    const struct log_field fields[] = {
        {"VM", m->domain.name},
        {"UUID", m->domain.uuid},
        {"RESULT", outcome_name(m->outcome)},
        {NULL},
    };
    struct json_object *o;
    struct timespec now;
    char downtime[48] = "";

    if (isfinite(m->downtime_s))
        snprintf(downtime, sizeof(downtime), ", downtime %.2f s", m->downtime_s);
    log_fields(LOG_INFO, fields,
               "%s: migration %s after %.1f s%s, throttled %.1f s, guest work lost %.1f s",
               m->domain.name, outcome_name(m->outcome), m->duration_s, downtime, m->throttled_s,
               m->work_lost_s);
    if (!r)
        return;
    o = json_object_new_object();
    clock_gettime(CLOCK_REALTIME, &now);
    json_add_text(o, "vm", m->domain.name);
    json_add_text(o, "uuid", m->domain.uuid);
    json_add_text(o, "result", outcome_name(m->outcome));
    json_add_time(o, "started", &m->started);
    json_add_time(o, "ended", &now);
    json_add_number(o, "elapsed_seconds", m->duration_s);
    json_add_number(o, "downtime_seconds", m->downtime_s);
    json_add_number(o, "throttled_seconds", m->throttled_s);
    json_add_number(o, "work_lost_seconds", m->work_lost_s);
    json_add_text(o, "mode", m->enforce ? "enforce" : "observe");
    json_add_count(o, "iteration", m->sample.iteration);
    json_add_count(o, "memory_total_bytes", m->sample.total_bytes);
    json_add_count(o, "memory_processed_bytes", m->sample.processed_bytes);
    json_add(o, "events", events_to_json(m));
    json_add(o, "learned", prior_to_json(&m->learned));
    json_add_text(o, "trace", trace);
    put(r, true, o);
}

/* ---- reading ---- */

static bool is_text(struct json_object *object, const char *key, const char *text)
{
    struct json_object *value;

    return json_object_object_get_ex(object, key, &value) &&
           json_object_is_type(value, json_type_string) &&
           (!text || strcmp(json_object_get_string(value), text) == 0);
}

/* Adds the lines of one file that match, last one first. Lines that are none are passed over. */
static int read_file(struct record *r, const char *file, const char *name, const char *uuid,
                     size_t limit, struct json_object *list)
{
    AUTO_FREE char *text = NULL;
    size_t len = 0;
    int e = textfile_read(r->dir, file, r->limits.history_bytes + LINE_MAX_BYTES, &text, &len);

    while (e == 0 && len > 0 && json_object_array_length(list) < limit) {
        struct json_object *o = NULL;
        const char *before;
        size_t start;

        if (text[len - 1] == '\n')
            len--;
        before = memrchr(text, '\n', len);
        start = before ? (size_t)(before - text) + 1 : 0;
        if (json_strict_parse(text + start, len - start, &o, NULL) == 0 &&
            json_object_is_type(o, json_type_object) && is_text(o, "vm", name) &&
            is_text(o, "uuid", uuid))
            json_object_array_add(list, STEAL(o));
        json_object_put(o);
        len = start;
    }
    return e == -ENOENT ? 0 : e;
}

int record_history(struct record *r, const char *name, const char *uuid, size_t limit,
                   struct json_object **ret)
{
    AUTO_JSON struct json_object *list = json_object_new_array();
    int e;

    pthread_mutex_lock(&r->files);
    e = read_file(r, RECORD_HISTORY, name, uuid, limit, list);
    if (e == 0)
        e = read_file(r, RECORD_HISTORY ".1", name, uuid, limit, list);
    pthread_mutex_unlock(&r->files);
    if (e == 0)
        *ret = STEAL(list);
    return e;
}
