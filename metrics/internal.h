/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shared by the files of this room only: the table of families, and the copy of all values that
 * a rendering works on.
 */
#ifndef MIGPOLICY_METRICS_INTERNAL_H
#define MIGPOLICY_METRICS_INTERNAL_H

#include "metrics/metrics.h"

#include <stdbool.h>

#define METRICS_UUID_SIZE  37
#define METRICS_NAME_SIZE  256
#define METRICS_LABELS_MAX 3

enum metrics_type {
    METRICS_GAUGE,
    METRICS_COUNTER,
    METRICS_HISTOGRAM,
    METRICS_INFO,
};

/* Where the values of a family come from, and thereby when it has series. */
enum metrics_scope {
    METRICS_HOST,  /* the registry's values, one per combination of labels */
    METRICS_VM,    /* a double of struct metrics_vm */
    METRICS_STATE, /* an index in struct metrics_vm, shown as one 0/1 series per name of the set */
    METRICS_LAST,  /* a double of struct metrics_last */
    METRICS_INFO_OF_VM, /* always 1, with the texts of an entry as labels */
};

enum metrics_set {
    METRICS_SET_NONE,
    METRICS_SET_VERSION,
    METRICS_SET_CALL,
    METRICS_SET_SOURCE,
    METRICS_SET_FAILURE,
    METRICS_SET_ACTION_RESULT,
    METRICS_SET_OUTCOME,
    METRICS_SET_PHASE, /* from here on: the caller's */
    METRICS_SET_VERDICT,
    METRICS_SET_ACTION,
    METRICS_SET_REASON,
    METRICS_SET_METHOD,
    METRICS_SET_RESULT,
    METRICS_SET_COUNT
};

struct metrics_family {
    const char *name; /* as exposed: counters end in _total */
    const char *help;
    const char *unit; /* NULL: none */
    enum metrics_type type;
    enum metrics_scope scope;
    bool sparse; /* series that are still zero are left out */
    struct {
        const char *name;
        enum metrics_set set;
    } labels[METRICS_LABELS_MAX]; /* the closed ones; vm and uuid are implied by the scope */
    const double *bounds;         /* histograms: upper bounds of the buckets, the last INFINITY */
    size_t offset;                /* METRICS_VM, _STATE, _LAST: of the member */
};

/* The first METRIC_HOST_COUNT are indexed by enum metric. */
extern const struct metrics_family metrics_families[];
extern const size_t metrics_family_count;

/* The sets this room owns, by enum metrics_set; NULL for the caller's. */
extern const char *const *const metrics_fixed_sets[METRICS_SET_COUNT];

/* Number of buckets of a histogram, the one up to infinity included; 0 for other types. */
size_t metrics_family_buckets(const struct metrics_family *f);

enum { METRICS_INFO_SIZE = 128, METRICS_INFO_LABELS = 3 };

/* The labels of migpolicy_vm_info beside vm and uuid. */
extern const char *const metrics_info_labels[METRICS_INFO_LABELS];

struct metrics_entry {
    char uuid[METRICS_UUID_SIZE];
    char name[METRICS_NAME_SIZE];
    bool shown; /* within METRICS_VMS_MAX */
    bool live;  /* vm is valid */
    bool ended; /* last is valid */
    char info[METRICS_INFO_LABELS][METRICS_INFO_SIZE];
    struct metrics_vm vm;
    struct metrics_last last;
};

/* Where a family's values are, the same for the life of a registry. */
struct metrics_layout {
    const char *const *sets[METRICS_SET_COUNT];
    size_t set_size[METRICS_SET_COUNT];
    size_t first[METRIC_HOST_COUNT]; /* of the family's slots among the values */
    size_t cells[METRIC_HOST_COUNT]; /* combinations of labels, the last label running fastest */
    size_t value_count;
};

/*
 * A consistent copy of everything. A cell of a histogram takes one slot per bucket, holding what
 * fell into that bucket alone, and one for the sum; any other cell takes one slot.
 */
struct metrics_snapshot {
    const struct metrics_layout *layout;
    double *values;
    struct metrics_entry *entries; /* the shown ones, by uuid */
    size_t entry_count;
};

/* Fill the process_* slots (those that /proc does not tell become NAN). */
void metrics_process_read(const struct metrics_layout *layout, double *values);
/* Unix time this process started, or NAN. */
double metrics_process_start_time(void);

void metrics_buf_str(struct metrics_buf *b, const char *text);
void metrics_buf_printf(struct metrics_buf *b, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Copy text as valid UTF-8 into to[size], cut between characters. */
void metrics_utf8_copy(char *to, size_t size, const char *text);

void metrics_text_render(const struct metrics_snapshot *s, bool openmetrics, struct metrics_buf *b);

/* Compresses what is worth it, in place; false: it is as it was. */
bool metrics_gzip(struct metrics_buf *b);

/* Does an Accept-Encoding header (NULL: none) want gzip? */
bool metrics_accepts_gzip(const char *accept_encoding);

/*
 * Whether whoever sent a request is no browser, or a browser for a page of ours: by its headers
 * Origin, Sec-Fetch-Site and Host (NULL: not there). At a Unix socket, which a browser reaches
 * through a tunnel alone, the page must come from the browser's own host, or a foreign name that is
 * pointed to there would do.
 */
bool metrics_is_same_origin(const char *origin, const char *site, const char *host, bool is_tls,
                            bool is_unix);

#endif
