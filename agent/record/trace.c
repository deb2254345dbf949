/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/record/trace.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/alloc.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/textfile.h"
#include "common/units.h"
#include "common/wakeup.h"

#define FLUSH_NS       (2 * NS_PER_S)
#define JOIN_TIMEOUT_S 3
/* What one migration may have waiting for the disk; the last line may still be added to it. */
#define BUFFER_MAX ((size_t)128 * 1024)

enum { FILE_NAME_MAX = 80 };

const struct trace_limits trace_limits_default = {
    .file_samples = 20000,
    .file_bytes = (size_t)8 * 1024 * 1024,
    .files = 500,
    .bytes = (size_t)256 * 1024 * 1024,
};

struct trace {
    struct traces *owner;
    char file[FILE_NAME_MAX];
    int64_t start_ns;
    struct policy_values policy; /* recorded last */

    /* Guarded by the owner's lock. */
    struct trace *next;
    char *buf;
    size_t len, size;
    unsigned samples;
    size_t bytes; /* all that was ever added */
    bool truncated;
    bool ended;

    /* Of the writing thread. */
    bool created;
};

struct file {
    char name[FILE_NAME_MAX];
    size_t bytes;
};

struct traces {
    struct trace_limits limits;
    int dir;
    pthread_t thread;
    struct wakeup wake;
    pthread_mutex_t lock;
    struct trace *first; /* guarded by the lock; only the writing thread takes traces out */

    /* Of the writing thread; the files there are, oldest first. */
    bool failing; /* the last write failed */
    struct file *file;
    size_t n_files;
    size_t bytes;
};

/* ---- the directory; writing thread only ---- */

/* 20261121T082439.123Z-UUID.jsonl: sorted by name they are sorted by age. */
static bool is_trace_name(const char *name)
{
    size_t len = strlen(name);

    return len > 27 && len < FILE_NAME_MAX && isdigit((unsigned char)name[0]) && name[8] == 'T' &&
           strcmp(name + len - 6, ".jsonl") == 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct file *)a)->name, ((const struct file *)b)->name);
}

static void add_file(struct traces *ts, const char *name, size_t bytes)
{
    struct file *file;

    ts->file = alloc_need(realloc(ts->file, (ts->n_files + 1) * sizeof(*file)));
    file = &ts->file[ts->n_files++];
    snprintf(file->name, sizeof(file->name), "%s", name);
    file->bytes = bytes;
    ts->bytes += bytes;
}

static int list_files(struct traces *ts)
{
    int fd = openat(ts->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;
    struct stat st;

    if (!dir) {
        int r = -errno;

        if (fd >= 0)
            close(fd);
        return r;
    }
    while ((entry = readdir(dir))) {
        if (is_trace_name(entry->d_name) &&
            fstatat(ts->dir, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
            add_file(ts, entry->d_name, (size_t)st.st_size);
    }
    closedir(dir);
    if (ts->n_files > 0)
        qsort(ts->file, ts->n_files, sizeof(ts->file[0]), compare_names);
    return 0;
}

/* Removes the oldest files until `more` of them and `bytes` more fit in. */
static void make_room(struct traces *ts, unsigned more, size_t bytes)
{
    while (ts->n_files > 0 &&
           (ts->n_files + more > ts->limits.files || ts->bytes + bytes > ts->limits.bytes)) {
        unlinkat(ts->dir, ts->file[0].name, 0);
        ts->bytes -= ts->file[0].bytes;
        memmove(ts->file, ts->file + 1, --ts->n_files * sizeof(ts->file[0]));
    }
}

static struct file *find_file(struct traces *ts, const char *name)
{
    for (size_t i = ts->n_files; i-- > 0;) {
        if (strcmp(ts->file[i].name, name) == 0)
            return &ts->file[i];
    }
    return NULL;
}

/* A trace that had to make room for others is not continued. */
static int write_out(struct traces *ts, struct trace *t, const char *buf, size_t len)
{
    int flags = O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW | (t->created ? 0 : O_CREAT | O_EXCL);
    int fd AUTO_CLOSE = -1;
    struct file *file;
    int r;

    make_room(ts, !t->created, len);
    if (t->created && !find_file(ts, t->file))
        return 0;
    fd = openat(ts->dir, t->file, flags, 0600);
    if (fd < 0)
        return t->created && errno == ENOENT ? 0 : -errno;
    if (!t->created) {
        add_file(ts, t->file, 0);
        t->created = true;
    }
    r = textfile_append(fd, buf, len);
    if (r < 0)
        return r;
    file = find_file(ts, t->file);
    file->bytes += len;
    ts->bytes += len;
    return 0;
}

/* ---- the writing thread ---- */

/* Said once, and when it is over. */
static void tell(struct traces *ts, const struct trace *t, int r)
{
    if (r < 0 && !ts->failing)
        log_warning("migrations cannot be recorded: %s: %s", t->file, strerror(-r));
    else if (r == 0 && ts->failing)
        log_info("migrations are recorded again");
    ts->failing = r < 0;
}

/*
 * What could not be written, put before what has come meanwhile, waits for the next time, as far as
 * there is room; of a migration that has ended it is lost.
 */
static void keep(struct trace *t, char *buf, size_t len)
{
    if (!t->ended && len + t->len <= BUFFER_MAX) {
        buf = alloc_need(realloc(buf, len + t->len + 1));
        if (t->len > 0)
            memcpy(buf + len, t->buf, t->len);
        len += t->len;
    } else {
        t->truncated = true;
    }
    free(t->buf);
    t->buf = buf;
    t->len = t->ended ? 0 : len;
    t->size = len;
}

static void flush(struct traces *ts)
{
    struct trace **at = &ts->first;
    struct trace *t;

    pthread_mutex_lock(&ts->lock);
    while ((t = *at)) {
        char *buf = STEAL(t->buf);
        size_t len = t->len;
        int r = 0;

        t->len = t->size = 0;
        pthread_mutex_unlock(&ts->lock);
        if (len > 0) {
            r = write_out(ts, t, buf, len);
            tell(ts, t, r);
        }
        pthread_mutex_lock(&ts->lock);
        if (r < 0)
            keep(t, STEAL(buf), len);
        free(buf);
        /* New traces are put in front meanwhile, so `at` may no longer be what points to t. */
        while (*at != t)
            at = &(*at)->next;
        if (t->ended && t->len == 0) {
            *at = t->next;
            free(t->buf);
            free(t);
        } else {
            at = &t->next;
        }
    }
    pthread_mutex_unlock(&ts->lock);
}

static void *writer_main(void *arg)
{
    struct traces *ts = arg;

    while (wakeup_wait(&ts->wake, monotonic_ns() + FLUSH_NS) == 0)
        flush(ts);
    flush(ts);
    return NULL;
}

static void destroy(struct traces *ts)
{
    wakeup_destroy(&ts->wake);
    pthread_mutex_destroy(&ts->lock);
    if (ts->dir >= 0)
        close(ts->dir);
    free(ts->file);
    free(ts);
}

int traces_new(const char *dir, const struct trace_limits *limits, struct traces **ret)
{
    struct traces *ts;
    int r = 0;

    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        return -errno;
    ts = alloc_need(calloc(1, sizeof(*ts)));
    ts->limits = *limits;
    wakeup_init(&ts->wake);
    pthread_mutex_init(&ts->lock, NULL);
    ts->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (ts->dir < 0 || faccessat(ts->dir, ".", W_OK | X_OK, AT_EACCESS) < 0)
        r = -errno;
    if (r == 0)
        r = list_files(ts);
    if (r == 0)
        r = -pthread_create(&ts->thread, NULL, writer_main, ts);
    if (r == 0)
        pthread_setname_np(ts->thread, "traces");
    if (r < 0) {
        destroy(ts);
        return r;
    }
    *ret = ts;
    return 0;
}

bool traces_stop(struct traces *ts)
{
    struct timespec until;

    if (!ts)
        return true;
    wakeup_end(&ts->wake);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += JOIN_TIMEOUT_S;
    return pthread_timedjoin_np(ts->thread, NULL, &until) == 0;
}

void traces_free(struct traces *ts)
{
    struct trace *t;

    if (!ts)
        return;
    while ((t = ts->first)) {
        ts->first = t->next;
        free(t->buf);
        free(t);
    }
    destroy(ts);
}

/* ---- recording ---- */

/* Takes the text over into the buffer; one of no length is missing. `last` may exceed the bounds.
 */
static void add(struct trace *t, const char *text, size_t len, bool last)
{
    struct traces *ts = t->owner;

    pthread_mutex_lock(&ts->lock);
    /* Half a line is none: after one that is missing, the record would be wrong. */
    if (!last && (len == 0 || t->len + len > BUFFER_MAX || t->bytes + len > ts->limits.file_bytes))
        t->truncated = true;
    if (last || !t->truncated) {
        if (t->len + len > t->size) {
            t->size = t->len + len + 4096;
            t->buf = alloc_need(realloc(t->buf, t->size));
        }
        memcpy(t->buf + t->len, text, len);
        t->len += len;
        t->bytes += len;
    }
    t->ended |= last;
    pthread_mutex_unlock(&ts->lock);
    if (last)
        wakeup_signal(&ts->wake);
}

static void add_line(struct trace *t, const struct trace_line *line)
{
    char text[TRACE_LINE_MAX];
    int len = trace_format(line, text);

    add(t, text, len < 0 ? 0 : (size_t)len, line->kind == TRACE_END);
}

/* The present as it stands in the header and, shortened, in the name of the file. */
static void format_now(char iso[32], char name[32])
{
    struct timespec now;
    struct tm tm;
    size_t len;

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    len = strftime(iso, 32, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(iso + len, 32 - len, ".%03uZ", (unsigned)(now.tv_nsec / NS_PER_MS) % 1000);
    len = strftime(name, 32, "%Y%m%dT%H%M%S", &tm);
    snprintf(name + len, 32 - len, ".%03uZ", (unsigned)(now.tv_nsec / NS_PER_MS) % 1000);
}

struct trace *trace_start(struct traces *ts, const struct hv_domain *domain, int64_t start_ns,
                          int64_t poll_ns, const struct policy *policy)
{
    struct trace_line *line AUTO_FREE = NULL;
    struct trace *t;
    char when[32];

    if (!ts || strspn(domain->uuid, "0123456789abcdefABCDEF-") != sizeof(domain->uuid) - 1)
        return NULL;
    line = alloc_need(calloc(1, sizeof(*line)));
    t = alloc_need(calloc(1, sizeof(*t)));
    t->owner = ts;
    t->start_ns = start_ns;
    t->policy = policy->values;
    line->kind = TRACE_HEADER;
    format_now(line->header.started, when);
    snprintf(t->file, sizeof(t->file), "%s-%s.jsonl", when, domain->uuid);
    snprintf(line->header.vm, sizeof(line->header.vm), "%s", domain->name);
    snprintf(line->header.uuid, sizeof(line->header.uuid), "%s", domain->uuid);
    line->header.poll_ns = poll_ns;
    line->header.policy = *policy;

    pthread_mutex_lock(&ts->lock);
    t->next = ts->first;
    ts->first = t;
    pthread_mutex_unlock(&ts->lock);
    add_line(t, line);
    return t;
}

const char *trace_file(const struct trace *t)
{
    return t ? t->file : NULL;
}

void trace_prior(struct trace *t, const struct prior *prior)
{
    if (t)
        add_line(t, &(struct trace_line){.kind = TRACE_PRIOR, .prior = *prior});
}

void trace_policy(struct trace *t, const struct policy *policy)
{
    if (!t || memcmp(&t->policy, &policy->values, sizeof(t->policy)) == 0)
        return;
    t->policy = policy->values;
    add_line(t, &(struct trace_line){.kind = TRACE_POLICY, .policy = *policy});
}

void trace_step(struct trace *t, const struct trace_step *step)
{
    struct trace_line line = {.kind = TRACE_STEP, .step = *step};

    if (!t || t->samples > t->owner->limits.file_samples)
        return;
    if (++t->samples > t->owner->limits.file_samples) {
        add(t, "", 0, false);
        return;
    }
    line.step.sample.now_ns -= t->start_ns;
    if (line.step.sample.at_sync)
        line.step.sample.sync_ns -= t->start_ns;
    else
        line.step.sample.sync_ns = 0;
    add_line(t, &line);
}

void trace_latch(struct trace *t, enum action_kind action, enum reason reason)
{
    if (t)
        add_line(t, &(struct trace_line){.kind = TRACE_LATCH, .latch = {action, reason}});
}

void trace_end(struct trace *t, const struct trace_end *end)
{
    struct trace_line line = {.kind = TRACE_END, .end = *end};

    if (!t)
        return;
    pthread_mutex_lock(&t->owner->lock);
    line.end.truncated = t->truncated;
    pthread_mutex_unlock(&t->owner->lock);
    add_line(t, &line);
}
