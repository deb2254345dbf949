/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the HTTP server shows beside the metrics: the page at "/" for people, and under /api/v1/ the
 * JSON it is made of (docs/api.md). Nothing here changes anything, but for the answer of an
 * administrator to what the agent asks (answer.h). All comes from memory; nothing waits for libvirt
 * or a disk.
 *
 * page.html, page.css, plots.js, answer.js and page.js are put together by embed-page when the
 * program is built, into one document whose Content-Security-Policy allows these very scripts and
 * styles, and nothing else.
 */
#ifndef MIGPOLICY_PAGE_H
#define MIGPOLICY_PAGE_H

#include <stddef.h>
#include <sys/types.h>

#include "agent/record/recent.h"
#include "agent/record/record.h"
#include "agent/rules/paused.h"
#include "agent/watch/leftovers.h"
#include "agent/watch/monitor.h"
#include "agent/watch/watchers.h"
#include "metrics/metrics.h"

/* Borrowed, must outlive the page. */
struct page_env {
    const char *uri; /* of the hypervisor */
    struct watchers *watchers;
    struct leftovers *leftovers;
    struct monitor *monitor;
    struct recent *recent;
    struct record *record;
    gid_t admin_gid; /* who may answer at a Unix socket, beside root; (gid_t)-1: nobody */
};

/* How the host is, as the daemon tells about once a second: to ask for it may wait for a disk. */
struct page_host {
    char paused_by[PAUSED_WHO_MAX]; /* "": nobody */
    size_t paused_vms;
    size_t unreadable;  /* VMs only observed since what was stored about them cannot be read */
    size_t outstanding; /* undo journals of VMs that nobody follows any more */
};

struct page;

struct page *page_new(const struct page_env *env);
void page_free(struct page *p);

/* Thread-safe. */
void page_set_host(struct page *p, const struct page_host *host);

/* A metrics_ask_fn; from the HTTP server's thread only. */
unsigned page_ask(void *page, const struct metrics_request *request, struct metrics_reply *ret);

#endif
