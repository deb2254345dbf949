/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Prometheus text 0.0.4 and OpenMetrics 1.0. They differ in the name a family has in its header
 * (OpenMetrics: without _total and _info), in the types they know, in UNIT lines and in the
 * closing EOF; the samples are the same. State sets go out as gauges in both, because OpenMetrics
 * would have their label named like the family.
 */
#include "metrics/internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct writer {
    struct metrics_buf *buf;
    bool openmetrics;
    const struct metrics_family *family;
    bool headed;   /* the header of family is written */
    bool labelled; /* the sample being written has a label already */
};

static const char *type_name(const struct writer *w)
{
    switch (w->family->type) {
    case METRICS_COUNTER:
        return "counter";
    case METRICS_HISTOGRAM:
        return "histogram";
    case METRICS_INFO:
        return w->openmetrics ? "info" : "gauge";
    case METRICS_GAUGE:
        break;
    }
    return "gauge";
}

/* Length of the name a family goes by in its header. */
static size_t header_name_length(const struct writer *w)
{
    const char *name = w->family->name;
    size_t len = strlen(name);

    if (w->openmetrics && w->family->type == METRICS_COUNTER)
        len -= strlen("_total");
    if (w->openmetrics && w->family->type == METRICS_INFO)
        len -= strlen("_info");
    return len;
}

static void header_write(struct writer *w)
{
    const struct metrics_family *f = w->family;
    int len = (int)header_name_length(w);

    metrics_buf_printf(w->buf, "# HELP %.*s %s\n", len, f->name, f->help);
    metrics_buf_printf(w->buf, "# TYPE %.*s %s\n", len, f->name, type_name(w));
    if (w->openmetrics && f->unit)
        metrics_buf_printf(w->buf, "# UNIT %.*s %s\n", len, f->name, f->unit);
    w->headed = true;
}

static void sample_begin(struct writer *w, const char *suffix)
{
    if (!w->headed)
        header_write(w);
    metrics_buf_str(w->buf, w->family->name);
    metrics_buf_str(w->buf, suffix);
    w->labelled = false;
}

static void sample_label(struct writer *w, const char *name, const char *value)
{
    metrics_buf_str(w->buf, w->labelled ? "," : "{");
    metrics_buf_str(w->buf, name);
    metrics_buf_str(w->buf, "=\"");
    while (*value) {
        size_t plain = strcspn(value, "\\\"\n");

        metrics_buf_add(w->buf, value, plain);
        value += plain;
        if (!*value)
            break;
        metrics_buf_str(w->buf, *value == '\n' ? "\\n" : *value == '"' ? "\\\"" : "\\\\");
        value++;
    }
    metrics_buf_str(w->buf, "\"");
    w->labelled = true;
}

static void sample_end(struct writer *w, double value)
{
    char text[32];

    if (isinf(value)) {
        strcpy(text, value > 0 ? "+Inf" : "-Inf");
    } else {
        snprintf(text, sizeof(text), "%.15g", value);
        if (strtod(text, NULL) != value)
            snprintf(text, sizeof(text), "%.17g", value);
    }
    metrics_buf_str(w->buf, w->labelled ? "} " : " ");
    metrics_buf_str(w->buf, text);
    metrics_buf_str(w->buf, "\n");
}

/* The closed labels of a cell; the last one runs fastest. */
static void cell_labels(struct writer *w, const struct metrics_layout *l, size_t cell)
{
    size_t index[METRICS_LABELS_MAX];

    for (size_t i = METRICS_LABELS_MAX; i-- > 0;) {
        size_t size = l->set_size[w->family->labels[i].set];

        index[i] = cell % size;
        cell /= size;
    }
    for (size_t i = 0; i < METRICS_LABELS_MAX && w->family->labels[i].name; i++)
        sample_label(w, w->family->labels[i].name, l->sets[w->family->labels[i].set][index[i]]);
}

static void histogram_write(struct writer *w, const struct metrics_layout *l, size_t cell,
                            const double *slot)
{
    size_t buckets = metrics_family_buckets(w->family);
    double count = 0;

    for (size_t i = 0; i < buckets; i++) {
        double bound = w->family->bounds[i];
        char le[32];

        /* OpenMetrics wants "1.0", not "1", and one spelling keeps the series the same in both. */
        snprintf(le, sizeof(le), bound == floor(bound) ? "%.1f" : "%g", bound);
        count += slot[i];
        sample_begin(w, "_bucket");
        cell_labels(w, l, cell);
        sample_label(w, "le", isinf(bound) ? "+Inf" : le);
        sample_end(w, count);
    }
    sample_begin(w, "_sum");
    cell_labels(w, l, cell);
    sample_end(w, slot[buckets]);
    sample_begin(w, "_count");
    cell_labels(w, l, cell);
    sample_end(w, count);
}

static void host_write(struct writer *w, const struct metrics_snapshot *s, size_t id)
{
    const struct metrics_layout *l = s->layout;
    size_t slots = w->family->type == METRICS_HISTOGRAM ? metrics_family_buckets(w->family) + 1 : 1;

    for (size_t cell = 0; cell < l->cells[id]; cell++) {
        const double *slot = &s->values[l->first[id] + cell * slots];

        if (w->family->type == METRICS_HISTOGRAM) {
            histogram_write(w, l, cell, slot);
        } else if (!isnan(*slot) && !(w->family->sparse && *slot == 0)) {
            sample_begin(w, "");
            cell_labels(w, l, cell);
            sample_end(w, *slot);
        }
    }
}

static void vm_sample_begin(struct writer *w, const struct metrics_entry *e)
{
    sample_begin(w, "");
    sample_label(w, "vm", e->name);
    sample_label(w, "uuid", e->uuid);
}

static double member_double(const void *base, size_t offset)
{
    double value;

    memcpy(&value, (const char *)base + offset, sizeof(value));
    return value;
}

static void vm_write(struct writer *w, const struct metrics_entry *e)
{
    double value = member_double(&e->vm, w->family->offset);

    if (isnan(value))
        return;
    vm_sample_begin(w, e);
    sample_end(w, value);
}

static void state_write(struct writer *w, const struct metrics_layout *l,
                        const struct metrics_entry *e)
{
    const char *const *set = l->sets[w->family->labels[0].set];
    int size = (int)l->set_size[w->family->labels[0].set];
    int state;

    memcpy(&state, (const char *)&e->vm + w->family->offset, sizeof(state));
    if (state < 0 || state >= size)
        return;
    for (int i = 0; i < size; i++) {
        vm_sample_begin(w, e);
        sample_label(w, w->family->labels[0].name, set[i]);
        sample_end(w, i == state);
    }
}

static void info_write(struct writer *w, const struct metrics_entry *e)
{
    vm_sample_begin(w, e);
    for (size_t i = 0; i < METRICS_INFO_LABELS; i++) {
        if (e->info[i][0])
            sample_label(w, metrics_info_labels[i], e->info[i]);
    }
    sample_end(w, 1);
}

static void last_write(struct writer *w, const struct metrics_layout *l,
                       const struct metrics_entry *e)
{
    double value = member_double(&e->last, w->family->offset);

    if (isnan(value) || (size_t)e->last.outcome >= l->set_size[METRICS_SET_OUTCOME])
        return;
    vm_sample_begin(w, e);
    sample_label(w, w->family->labels[0].name, l->sets[METRICS_SET_OUTCOME][e->last.outcome]);
    sample_end(w, value);
}

static void family_write(struct writer *w, const struct metrics_snapshot *s, size_t id)
{
    enum metrics_scope scope = w->family->scope;

    if (scope == METRICS_HOST) {
        host_write(w, s, id);
        return;
    }
    for (size_t i = 0; i < s->entry_count; i++) {
        const struct metrics_entry *e = &s->entries[i];

        if (scope == METRICS_VM && e->live)
            vm_write(w, e);
        else if (scope == METRICS_STATE && e->live)
            state_write(w, s->layout, e);
        else if (scope == METRICS_INFO_OF_VM)
            info_write(w, e);
        else if (scope == METRICS_LAST && e->ended)
            last_write(w, s->layout, e);
    }
}

void metrics_text_render(const struct metrics_snapshot *s, bool openmetrics, struct metrics_buf *b)
{
    for (size_t i = 0; i < metrics_family_count; i++) {
        struct writer w = {.buf = b, .openmetrics = openmetrics, .family = &metrics_families[i]};

        family_write(&w, s, i);
    }
    if (openmetrics)
        metrics_buf_str(b, "# EOF\n");
}
