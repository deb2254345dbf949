/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/daemon/restore.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/daemon/lock.h"
#include "agent/record/record.h"
#include "agent/watch/leftovers.h"
#include "common/log.h"

static void report_restore(const char *uuid, const char *name, int error,
                           const struct throttle_result *result, void *opaque)
{
    struct record *const *record = opaque;

    leftovers_report(*record, NULL, uuid, name, error, result);
}

/* May what is there be restored, although perhaps another agent is at work? */
static bool may_restore(const struct options *opt)
{
    char who[128];
    bool helpless;
    int fd; /* for good */
    int r = lock_take(opt->run_dir, &fd);

    if (r == 0)
        return true;
    if (r != -EBUSY) {
        log_error("%s/lock: %s", opt->run_dir, strerror(-r));
        return opt->force;
    }
    helpless = lock_is_helpless(opt->run_dir, who, sizeof(who));
    if (!helpless && !opt->force) {
        log_error(
            "%s: another migpolicyd has it: %s; migpolicy release gives a guest its CPU back, "
            "and --force all of them at once",
            opt->run_dir, who);
        return false;
    }
    log_warning("%s: restoring what belongs to %s", opt->run_dir, who);
    return true;
}

int restore_alone(const struct options *opt)
{
    struct throttle_roots roots = {.proc = "/proc", .run_dir = opt->run_dir};
    struct record *record = NULL;
    int r;

    if (access(opt->run_dir, F_OK) < 0 && errno == ENOENT)
        return EXIT_SUCCESS;
    if (!may_restore(opt))
        return EXIT_FAILURE;
    /* Without the state directory, or with a full disk, the guests get their CPU back as well. */
    r = record_new(opt->state_dir, &record_limits_default, NULL, &record);
    if (r < 0)
        log_warning("%s: %s; this is not recorded", opt->state_dir, strerror(-r));
    r = throttle_restore_all(&roots, report_restore, &record);
    if (record_stop(record))
        record_free(record);
    if (r < 0)
        log_error("%s: not everything could be restored: %s", opt->run_dir, throttle_error(r));
    return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
