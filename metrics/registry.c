/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * All values that are not about one VM lie in one array of doubles, laid out once from the table
 * of families and the sizes of the label sets. VMs are an array sorted by uuid. A snapshot is
 * therefore two copies, and that is the longest anyone ever holds the lock.
 */
#include "common/cleanup.h"
#include "metrics/internal.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <string.h>

#include "common/alloc.h"

struct metrics {
    pthread_mutex_t lock;
    struct metrics_layout layout;
    double *values;
    struct metrics_entry *entries; /* sorted by uuid */
    size_t entry_count;
    size_t entry_size; /* allocated */
    size_t shown_count;
};

const struct metrics_vm METRICS_VM_UNKNOWN = {.phase = -1,
                                              .verdict = -1,
#define X(member, unit, help) .member = NAN,
                                              METRICS_VM_TABLE(X)
#undef X
};

static size_t slots_per_cell(const struct metrics_family *f)
{
    return f->type == METRICS_HISTOGRAM ? metrics_family_buckets(f) + 1 : 1;
}

static bool layout_init(struct metrics_layout *l, const struct metrics_labels *labels)
{
    memcpy(l->sets, metrics_fixed_sets, sizeof(l->sets));
    l->sets[METRICS_SET_PHASE] = labels->phases;
    l->sets[METRICS_SET_VERDICT] = labels->verdicts;
    l->sets[METRICS_SET_ACTION] = labels->actions;
    l->sets[METRICS_SET_REASON] = labels->reasons;
    l->sets[METRICS_SET_METHOD] = labels->methods;
    l->sets[METRICS_SET_RESULT] = labels->results;

    l->set_size[METRICS_SET_NONE] = 1; /* a label that is not there has one value */
    for (size_t i = METRICS_SET_NONE + 1; i < METRICS_SET_COUNT; i++) {
        if (!l->sets[i])
            return false;
        while (l->sets[i][l->set_size[i]])
            l->set_size[i]++;
    }

    for (size_t i = 0; i < METRIC_HOST_COUNT; i++) {
        const struct metrics_family *f = &metrics_families[i];

        l->first[i] = l->value_count;
        l->cells[i] = 1;
        for (size_t j = 0; j < METRICS_LABELS_MAX; j++)
            l->cells[i] *= l->set_size[f->labels[j].set];
        l->value_count += l->cells[i] * slots_per_cell(f);
    }
    return true;
}

static void values_init(const struct metrics_layout *l, double *values)
{
    for (size_t i = 0; i < METRIC_HOST_COUNT; i++) {
        if (metrics_families[i].type != METRICS_GAUGE)
            continue;
        for (size_t j = 0; j < l->cells[i]; j++)
            values[l->first[i] + j] = NAN;
    }
    values[l->first[METRIC_BUILD_INFO]] = 1;
    values[l->first[METRIC_PROCESS_START_TIME]] = metrics_process_start_time();
}

int metrics_new(const struct metrics_labels *labels, struct metrics **ret_metrics)
{
    AUTO_FREE struct metrics *m = alloc_need(calloc(1, sizeof(*m)));

    if (!layout_init(&m->layout, labels))
        return -EINVAL;
    m->values = alloc_need(calloc(m->layout.value_count, sizeof(*m->values)));
    values_init(&m->layout, m->values);
    pthread_mutex_init(&m->lock, NULL);
    *ret_metrics = STEAL(m);
    return 0;
}

void metrics_free(struct metrics *m)
{
    if (!m)
        return;
    pthread_mutex_destroy(&m->lock);
    free(m->entries);
    free(m->values);
    free(m);
}

/* First slot of a series, NULL if there is no such series of that type. */
static double *slot_find(struct metrics *m, enum metric id, enum metrics_type type,
                         struct metrics_at at)
{
    const struct metrics_layout *l = &m->layout;

    if ((unsigned)id >= METRIC_HOST_COUNT || metrics_families[id].type != type)
        return NULL;

    const struct metrics_family *f = &metrics_families[id];
    size_t cell = 0;
    for (size_t i = 0; i < METRICS_LABELS_MAX; i++) {
        size_t size = l->set_size[f->labels[i].set];

        if (at.index[i] >= size)
            return NULL;
        cell = cell * size + at.index[i];
    }
    return &m->values[l->first[id] + cell * slots_per_cell(f)];
}

void metrics_count(struct metrics *m, enum metric id, struct metrics_at at, uint64_t n)
{
    double *slot = slot_find(m, id, METRICS_COUNTER, at);

    if (!slot)
        return;
    pthread_mutex_lock(&m->lock);
    *slot += (double)n;
    pthread_mutex_unlock(&m->lock);
}

void metrics_set(struct metrics *m, enum metric id, struct metrics_at at, double value)
{
    double *slot = slot_find(m, id, METRICS_GAUGE, at);

    if (!slot)
        return;
    pthread_mutex_lock(&m->lock);
    *slot = value;
    pthread_mutex_unlock(&m->lock);
}

void metrics_observe(struct metrics *m, enum metric id, struct metrics_at at, double value)
{
    double *slot = slot_find(m, id, METRICS_HISTOGRAM, at);

    /* One such value would spoil the sum for ever. */
    if (!slot || !isfinite(value) || value < 0)
        return;

    const struct metrics_family *f = &metrics_families[id];
    size_t bucket = 0;
    while (value > f->bounds[bucket])
        bucket++;
    pthread_mutex_lock(&m->lock);
    slot[bucket] += 1;
    slot[metrics_family_buckets(f)] += value;
    pthread_mutex_unlock(&m->lock);
}

/* Index of uuid among the entries, or where it belongs. */
static size_t entry_find(const struct metrics *m, const char *uuid, bool *ret_found)
{
    size_t low = 0, high = m->entry_count;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (strcmp(m->entries[mid].uuid, uuid) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    *ret_found = low < m->entry_count && strcmp(m->entries[low].uuid, uuid) == 0;
    return low;
}

static void entry_delete(struct metrics *m, size_t i)
{
    struct metrics_entry *e = &m->entries[i];

    m->shown_count -= e->shown;
    m->entry_count--;
    memmove(e, e + 1, (m->entry_count - i) * sizeof(*e));
}

/* Give up the summary of the migration that ended first. What is not live is always shown. */
static void entry_evict(struct metrics *m)
{
    const struct metrics_entry *oldest = NULL;

    for (const struct metrics_entry *e = m->entries; e < m->entries + m->entry_count; e++) {
        if (e->live)
            continue;
        if (!oldest || e->last.end_timestamp_seconds < oldest->last.end_timestamp_seconds)
            oldest = e;
    }
    if (oldest)
        entry_delete(m, (size_t)(oldest - m->entries));
}

static void entry_insert(struct metrics *m, size_t i, const char *uuid)
{
    if (m->entry_count == m->entry_size) {
        size_t size = m->entry_size ? 2 * m->entry_size : 16;

        m->entries = alloc_need(reallocarray(m->entries, size, sizeof(*m->entries)));
        m->entry_size = size;
    }

    struct metrics_entry *e = &m->entries[i];
    memmove(e + 1, e, (m->entry_count - i) * sizeof(*e));
    *e = (struct metrics_entry){0};
    strcpy(e->uuid, uuid);
    m->entry_count++;
}

/* The entry of a VM, made if need be, and shown if there is room. Call it with the lock held. */
static struct metrics_entry *entry_get(struct metrics *m, const char *uuid, const char *name)
{
    bool found;
    size_t i = entry_find(m, uuid, &found);

    if (m->shown_count >= METRICS_VMS_MAX && !(found && m->entries[i].shown)) {
        entry_evict(m);
        i = entry_find(m, uuid, &found);
    }
    if (!found)
        entry_insert(m, i, uuid);

    struct metrics_entry *e = &m->entries[i];
    if (!e->shown && m->shown_count < METRICS_VMS_MAX) {
        e->shown = true;
        m->shown_count++;
    }
    metrics_utf8_copy(e->name, sizeof(e->name), name);
    return e;
}

/* The key as it is stored; false if it is too long to be a uuid. */
static bool uuid_key(const char *uuid, char key[static METRICS_UUID_SIZE])
{
    if (strlen(uuid) >= METRICS_UUID_SIZE)
        return false;
    metrics_utf8_copy(key, METRICS_UUID_SIZE, uuid);
    return true;
}

int metrics_vm_update(struct metrics *m, const char *uuid, const char *name,
                      const struct metrics_vm *vm)
{
    struct metrics_entry *e;
    char key[METRICS_UUID_SIZE];

    if (!uuid_key(uuid, key))
        return -EINVAL;
    pthread_mutex_lock(&m->lock);
    e = entry_get(m, key, name);
    e->vm = *vm;
    e->live = true;
    pthread_mutex_unlock(&m->lock);
    return 0;
}

int metrics_vm_last(struct metrics *m, const char *uuid, const char *name,
                    const struct metrics_last *last)
{
    struct metrics_entry *e;
    char key[METRICS_UUID_SIZE];

    if (!uuid_key(uuid, key))
        return -EINVAL;
    pthread_mutex_lock(&m->lock);
    e = entry_get(m, key, name);
    e->last = *last;
    e->ended = true;
    if (!e->live && !e->shown)
        entry_delete(m, (size_t)(e - m->entries));
    pthread_mutex_unlock(&m->lock);
    return 0;
}

void metrics_vm_remove(struct metrics *m, const char *uuid)
{
    char key[METRICS_UUID_SIZE];
    bool found;

    if (!uuid_key(uuid, key))
        return;
    pthread_mutex_lock(&m->lock);
    size_t i = entry_find(m, key, &found);
    if (found && m->entries[i].ended && m->entries[i].shown)
        m->entries[i].live = false;
    else if (found)
        entry_delete(m, i);
    pthread_mutex_unlock(&m->lock);
}

void metrics_vm_info(struct metrics *m, const char *uuid, const char *flavor, const char *project,
                     const char *instance_name)
{
    const char *const text[METRICS_INFO_LABELS] = {flavor, project, instance_name};
    char key[METRICS_UUID_SIZE];
    bool found;
    size_t at;

    if (!uuid_key(uuid, key))
        return;
    pthread_mutex_lock(&m->lock);
    at = entry_find(m, key, &found);
    for (size_t i = 0; found && i < METRICS_INFO_LABELS; i++)
        metrics_utf8_copy(m->entries[at].info[i], METRICS_INFO_SIZE, text[i]);
    pthread_mutex_unlock(&m->lock);
}

/* The copying part of a snapshot, with the lock held. */
static void snapshot_copy(const struct metrics *m, struct metrics_snapshot *s)
{
    const struct metrics_layout *l = &m->layout;

    s->layout = l;
    s->values = alloc_need(calloc(l->value_count, sizeof(*s->values)));
    s->entries = alloc_need(calloc(m->shown_count + 1, sizeof(*s->entries)));
    memcpy(s->values, m->values, l->value_count * sizeof(*s->values));
    s->values[l->first[METRIC_VMS_OMITTED]] = (double)(m->entry_count - m->shown_count);
    for (size_t i = 0; i < m->entry_count; i++) {
        if (m->entries[i].shown)
            s->entries[s->entry_count++] = m->entries[i];
    }
}

static void snapshot_release(struct metrics_snapshot *s)
{
    free(s->values);
    free(s->entries);
}

void metrics_render(struct metrics *m, enum metrics_format format, struct metrics_buf *b)
{
    CLEANUP(snapshot_release) struct metrics_snapshot s = {0};

    pthread_mutex_lock(&m->lock);
    snapshot_copy(m, &s);
    pthread_mutex_unlock(&m->lock);
    metrics_process_read(s.layout, s.values);
    metrics_text_render(&s, format == METRICS_OPENMETRICS, b);
}
