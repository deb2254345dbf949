/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What those who follow migrations are given to work with. */
#ifndef MIGPOLICY_WATCH_ENV_H
#define MIGPOLICY_WATCH_ENV_H

#include "agent/record/learned.h"
#include "agent/record/migration.h"
#include "agent/record/recent.h"
#include "agent/record/record.h"
#include "agent/record/trace.h"
#include "agent/rules/paused.h"
#include "agent/rules/policies.h"
#include "agent/virt/hypervisor.h"
#include "agent/virt/throttle_open.h"
#include "agent/watch/host.h"
#include "agent/watch/leftovers.h"
#include "metrics/metrics.h"

/* A throttle is released when its watcher has had no fresh statistics for this long. */
#define WATCHER_STALE_S 3

/* What all watchers share. Borrowed, must outlive them. */
struct watchers_env {
    const char *uri;
    struct throttle_place place;
    int64_t poll_ns;
    struct policies *policies;
    struct paused *paused;
    struct host *host;
    struct metrics *metrics;
    struct traces *traces; /* NULL: migrations are not traced */
    struct record *record;
    struct recent *recent;
    struct learned *learned;
    struct leftovers *leftovers;
};

#endif
