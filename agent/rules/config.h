/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The daemon's configuration: migpolicyd.json and conf.d/ *.json beside it, in alphabetical order.
 * A later file overrides single settings of an earlier one and adds its rules behind. Comments
 * from // to the end of the line are allowed; no block comments, of which one that is not closed
 * where it seems to be takes rules out unseen.
 *
 * Every file must be owned by root (or by whoever runs this) and not be writable by anybody else:
 * it decides who may slow down or stop virtual machines.
 */
#ifndef MIGPOLICY_CONFIG_H
#define MIGPOLICY_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/rules/selector.h"
#include "agent/virt/description.h"
#include "common/error.h"
#include "policy/policy.h"

#define CONFIG_DEFAULT_PATH "/etc/migpolicy"
/* Of a name in web_may_answer: it goes into policies and records whole. */
#define CONFIG_ANSWERER_MAX 64
#define CONFIG_VENDOR_PATH  "/usr/lib/migpolicy"

struct json_object;

struct config_rule {
    struct selector select;
    struct policy_layer layer;
    char source[POLICY_SOURCE_MAX]; /* "FILE/rules/N", or "FILE" for the policy at the top */
};

struct config {
    char *uri;            /* NULL: qemu:///system */
    char *metrics_listen; /* NULL: default; "": no metrics over HTTP */
    char *web_config;     /* a path; NULL: no TLS, and no passwords */
    size_t web_answerers; /* users of web_config who may answer questions */
    char **web_may_answer;
    char *qemu_run_dir;            /* a path; NULL: that of qemu:///system */
    char *admin_group;             /* NULL: root only may change policies */
    int64_t poll_ns;               /* 0: default */
    int64_t host_bandwidth_bps;    /* 0: no limit */
    int64_t max_throttled_domains; /* of use with: */
    bool limits_throttled;
    bool trust_metadata; /* a domain's own metadata may allow more, too */
    size_t namespaces;   /* that XPath expressions may name */
    struct description_namespace *namespace;
    size_t rules;
    struct config_rule *rule;
    char *ignored; /* NULL, or the files in conf.d whose names do not end in .json, in one line */
};

/*
 * Loads a file, or a directory as described above (neither migpolicyd.json nor conf.d need exist
 * in it); CONFIG_DEFAULT_PATH over the vendor's. A link is followed where it and all it leads
 * through are root's. Returns 0, or -errno with *ret untouched and *ret_err set: -ENOENT (path
 * does not exist), -EACCES, -EPERM (ownership or mode), -EINVAL (contents). Free the result with
 * config_clear().
 */
int config_load(const char *path, struct config *ret, struct error *ret_err);

/*
 * The same, of a directory, over another of the same kind, which need not exist; NULL for none.
 * Of two files of a name in conf.d only the site's own is read.
 */
int config_load_over(const char *vendor, const char *path, struct config *ret,
                     struct error *ret_err);

/*
 * Adds the contents of one file to *config; `path` is for errors and for the source of rules.
 * Returns 0, or -errno with *ret_err set and *config holding a part of it: clear it then.
 */
int config_parse(const char *text, size_t len, const char *path, struct config *config,
                 struct error *ret_err);

/*
 * Checks the contents of a file for `migpolicy apply`: {"vms": {VM: {"policy": {...}}}}, the shape
 * of the stored overrides, with "expires" beside "policy" as an option. Returns 0 and the value of
 * "vms", which the caller puts; or -EINVAL, -E2BIG with *ret_err set. -ENOENT: there is no
 * "vms" in it, so it is no such file.
 */
int config_parse_vms(const char *text, size_t len, const char *path, struct json_object **ret_vms,
                     struct error *ret_err);

/* For how long a field may be given at most, and at least. */
#define CONFIG_EXPIRES_ACCEPTS "a duration between 1s and 365d"

/* Such a duration, in seconds, rounded up. Returns 0 or -EINVAL; text may be NULL, which is none.
 */
int config_parse_expires(const char *text, int64_t *ret_s);

/* Frees what it holds and zeroes it. */
void config_clear(struct config *config);

#endif
