/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is read of a migration and its guest at each look. For the migration's own thread.
 */
#ifndef MIGPOLICY_SAMPLING_H
#define MIGPOLICY_SAMPLING_H

#include "agent/watch/act.h"

/* Finds the vCPUs. Returns REASON_NONE, or why they cannot be throttled, which has been logged. */
enum reason sampling_open_throttle(struct act *act);

/*
 * Makes a sample of job statistics and the rest: CPU time, limits in force. sync_ns: the sync it is
 * taken at; 0: none.
 */
void sampling_take(struct act *act, const struct hv_job *hv, int64_t sync_ns, struct sample *s);

/* REASON_OTHER_WRITER when somebody else has changed quotas of ours, REASON_NO_CGROUP when their
 * groups are not those of the vCPUs any more. Either has been logged. */
enum reason sampling_check_drift(struct act *act, int64_t now);

/*
 * Reads what the domain's XML says of it, and whether its own metadata forbids anything. Nothing
 * changes these of a migrating domain, so once will do. It is done here, and not left to the
 * monitor, because nothing may be done before it is known. What cannot be read forbids everything.
 * Returns 0, or -ENOTCONN, -ENOENT: the domain is out of reach.
 */
int sampling_learn(struct act *act);

#endif
