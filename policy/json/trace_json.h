/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The lines of a trace, the record of one migration: JSON objects, one a line.
 *
 *   {"trace":1,"vm":...,"uuid":...,"started":...,"poll_ns":...,"policy":{...},"sources":{...}} the
 * first
 *   {"prior":{...}}                        controller_set_prior() was called (prior_json.h)
 *   {"sample":{...},"decision":{...}}      what was seen, what was decided, how the actions went
 *   {"policy":{...},"sources":{...}}       the policy has changed
 *   {"latch":REASON,"action":ACTION}   controller_latch() was called
 *   {"end":{...}}                        the last
 *
 * A sample's members are those of struct sample; one that is zero or false is left out, cpu_share
 * where it is 1. Its times count from the start of the migration. A field of the policy that sets
 * no limit is left out.
 *
 * Pure, buffers only; thread-safe. What is read may be hostile: all numbers are bounded, all names
 * are known ones.
 */
#ifndef MIGPOLICY_TRACE_JSON_H
#define MIGPOLICY_TRACE_JSON_H

#include <stddef.h>

#include "common/error.h"
#include "policy/controller.h"

enum { TRACE_VERSION = 1, TRACE_LINE_MAX = 32768, TRACE_ACTIONS_MAX = 4 };

/* How it went with an action that was decided. */
enum trace_result { TRACE_NOT_APPLIED, TRACE_APPLIED, TRACE_FAILED, TRACE_RESULTS };

struct trace_header {
    char vm[256]; /* any bytes; those that are not UTF-8 are not recorded as they are */
    char uuid[37];
    char started[32]; /* UTC, ISO 8601 */
    int64_t poll_ns;
    struct policy policy;
};

struct trace_step {
    struct sample sample;
    enum verdict verdict;
    enum reason reason;
    bool apply;
    unsigned n_actions;
    struct action action[TRACE_ACTIONS_MAX];
    enum trace_result result[TRACE_ACTIONS_MAX];
};

struct trace_end {
    char outcome[16];   /* letters and '-' */
    double duration_s;  /* NAN: unknown */
    double downtime_s;  /* likewise */
    double work_lost_s; /* likewise */
    bool truncated;     /* samples are missing before it */
};

enum trace_kind { TRACE_HEADER, TRACE_PRIOR, TRACE_STEP, TRACE_POLICY, TRACE_LATCH, TRACE_END };

struct trace_line {
    enum trace_kind kind;
    union {
        struct trace_header header;
        struct prior prior;
        struct trace_step step;
        struct policy policy;
        struct {
            enum action_kind action;
            enum reason reason;
        } latch;
        struct trace_end end;
    };
};

/*
 * Writes one line with its newline, NUL-terminated, into a buffer of TRACE_LINE_MAX bytes. Returns
 * its length, or -ENOBUFS.
 */
int trace_format(const struct trace_line *line, char buf[TRACE_LINE_MAX]);

/*
 * Reads one line, without its newline. Returns 0; or -EINVAL with *ret untouched and ret_err->text,
 * but no place, set.
 */
int trace_parse(const char *text, size_t len, struct trace_line *ret, struct error *ret_err);

const char *trace_result_name(enum trace_result result);

#endif
