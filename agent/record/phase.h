/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A migration as the metrics show it. Thread-safe (the metrics are). */
#ifndef MIGPOLICY_PHASE_H
#define MIGPOLICY_PHASE_H

#include "agent/record/migration.h"
#include "metrics/metrics.h"

/* Names of the phases, ended by NULL. */
extern const char *const phase_names[];

/* Exports a migration under way, or the summary of one that has ended. */
void phase_export(struct metrics *metrics, const struct migration *m);
void phase_export_last(struct metrics *metrics, const struct migration *m);

#endif
