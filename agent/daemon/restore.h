/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migpolicyd --restore: what a dead or stopped agent left throttled, without being one. */
#ifndef MIGPOLICY_DAEMON_RESTORE_H
#define MIGPOLICY_DAEMON_RESTORE_H

#include "agent/daemon/options.h"

/* Of the run directory in opt, and on record in its state directory. Returns the exit status. */
int restore_alone(const struct options *opt);

#endif
