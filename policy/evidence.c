/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/evidence.h"

#include <math.h>

#include "policy/tuning.h"

/* Is no more than that part left of what `than` was off the switchover? */
static bool is_less(const struct evidence *seen, const struct estimate *e, const struct sample *s,
                    double than_bytes, double part)
{
    double enough = e->transfer_bps * fmax(seconds_of(s->downtime_limit_ns) - seen->held_s, 0);

    return e->last_x_bytes < than_bytes - (1 - part) * fabs(than_bytes - enough);
}

/* Passes that end as they began, as far above the switchover, are a plateau, whatever a curve
   through them would allow. */
static bool is_flat(const struct evidence *seen, const struct estimate *e, const struct sample *s)
{
    return !is_less(seen, e, s, e->prev_x_bytes, FLAT);
}

/* Does the guest do the same all the time? */
static bool is_steady(const struct estimate *e)
{
    return fabs(log(e->last_x_bytes / e->prev_x_bytes)) < STEADY;
}

/* The first pass is another kind of pass, so two more are compared. */
static void judge_steady(struct evidence *seen, const struct estimate *e, const struct sample *s,
                         const struct before *before)
{
    bool steady = is_steady(e);
    bool untouched = before->cpu_share >= 1 && s->cpu_share >= 1 &&
                     s->downtime_limit_ns == before->downtime_limit_ns;

    seen->steady_syncs = steady ? seen->steady_syncs + 1 : 0;
    seen->was_steady |= seen->steady_syncs >= STEADY_SYNCS;
    seen->unsteady |= !steady && untouched && e->passes > 2;
}

bool evidence_is_steady(const struct evidence *seen, const struct estimate *e)
{
    return seen->steady_syncs >= STEADY_SYNCS || (e->known && !seen->unsteady);
}

/*
 * How many passes in a row have found no less than the least so far under the throttle in force?
 * One pass is one observation: it may have met a link that carried less for a while.
 */
static void judge_throttle(struct evidence *seen, const struct estimate *e, const struct sample *s,
                           const struct before *before, bool new_pass)
{
    if (before->cpu_share >= 1 || s->cpu_share != before->cpu_share ||
        (double)s->downtime_limit_ns > DOWNTIME_STEP_MIN * (double)before->downtime_limit_ns ||
        (new_pass && is_less(seen, e, s, seen->throttle_low_bytes, NOT_SHRINKING))) {
        seen->throttle_low_bytes = e->last_x_bytes;
        seen->throttle_low_ns = s->now_ns;
        seen->stuck_passes = 0;
    } else {
        seen->stuck_passes += new_pass;
    }
}

bool evidence_is_flat(const struct evidence *seen, int64_t now_ns)
{
    return (seen->flat_syncs >= DOUBT_SYNCS && seconds_of(now_ns - seen->flat_ns) >= DOUBT_S) ||
           (seen->stuck_passes >= NO_LOWER_PASSES &&
            seconds_of(now_ns - seen->throttle_low_ns) >= DOUBT_S);
}

/* What was learned from the sample about the throttle in force. */
static void account(struct evidence *seen, struct tried *tried, const struct estimate *e,
                    const struct sample *s, const struct before *before, double floor_share)
{
    double dt = seconds_of(s->now_ns - before->now_ns);
    bool new_pass = e->passes > before->passes;

    if (before->now_ns != 0 && dt > 0 && before->cpu_share < 1) {
        seen->throttled_s += dt;
        tried->work_lost_s += e->lost_s - before->lost_s;
        seen->last_loss_s = e->lost_s - before->lost_s;
        tried->throttled_passes += new_pass;
        tried->floor_passes += new_pass && before->cpu_share <= floor_share * (1 + SHARE_DEADBAND);
    } else if (s->cpu_share >= 1 && !new_pass) {
        tried->throttled_passes = 0;
        tried->floor_passes = 0;
    }
    seen->since_last_s = before->now_ns != 0 ? dt : 0;
    if (new_pass)
        judge_steady(seen, e, s, before);
    judge_throttle(seen, e, s, before, new_pass);
    seen->passes_since_downtime += new_pass;
    if (s->cpu_share != before->cpu_share || s->downtime_limit_ns != before->downtime_limit_ns ||
        (new_pass && !is_flat(seen, e, s)))
        seen->flat_syncs = 0;
    else if (new_pass && seen->flat_syncs++ == 0)
        seen->flat_ns = s->now_ns;
    /* Before the memory phase nothing is stalled: storage is being copied. Nor is it where sync
       after sync finds nothing to send. */
    if (s->total_bytes != 0 &&
        (s->processed_bytes != before->processed_bytes || (new_pass && s->remaining_bytes == 0)))
        seen->moved_ns = s->now_ns;
}

/* Has it been so for that many syncs in a row, and so long? */
static bool lasts(struct due *due, bool is_so, int64_t now_ns, unsigned syncs, double s)
{
    if (!is_so)
        due->syncs = 0;
    else if (due->syncs++ == 0)
        due->since_ns = now_ns;
    return is_so && due->syncs >= syncs && seconds_of(now_ns - due->since_ns) >= s;
}

/*
 * A switchover that is due by what a sync found, and does not come for several syncs, is held by
 * something that memory_remaining does not count: device state, or a link that QEMU measures as
 * slower than we do. It takes at least what the limit leaves beside memory; QEMU's own expectation
 * may know it.
 */
static void notice_held(struct evidence *seen, const struct estimate *e, const struct sample *s,
                        const struct before *before)
{
    double memory_s = e->last_x_bytes / e->transfer_bps;
    double limit_s = seconds_of(s->downtime_limit_ns);
    bool held;

    if (s->downtime_limit_ns != before->downtime_limit_ns)
        seen->due = seen->nearly_due = (struct due){0};
    if (e->passes == before->passes || e->passes == 0 || e->transfer_bps <= 0)
        return;
    held = lasts(&seen->due, memory_s <= DUE_PART * limit_s, s->now_ns, DUE_SYNCS, DUE_S);
    held |=
        lasts(&seen->nearly_due, memory_s <= limit_s, s->now_ns, NEARLY_DUE_SYNCS, NEARLY_DUE_S);
    if (!held)
        return;
    if (limit_s - memory_s >= seen->held_s)
        seen->held_s = fmax(fmax(limit_s - memory_s, seen->held_s) * HELD_STEP,
                            seconds_of(s->expected_downtime_ns) - memory_s);
    seen->due = seen->nearly_due = (struct due){0};
}

/* The memory phase begins: storage that is copied before has a clock of its own. */
static void note_start(struct evidence *seen, const struct sample *s)
{
    if (s->total_bytes == 0)
        seen->storage_first = true;
    if (s->total_bytes == 0 || seen->memory_known)
        return;
    seen->memory_known = true;
    seen->memory_ns = seen->storage_first || s->disk_total_bytes > 0 ? s->elapsed_ns : 0;
    seen->found_limit_ns = s->downtime_limit_ns;
}

struct before evidence_before(const struct estimator *estimator)
{
    const struct sample *last = &estimator->last;

    return (struct before){
        .now_ns = last->now_ns,
        .cpu_share = last->cpu_share,
        .downtime_limit_ns = last->downtime_limit_ns,
        .processed_bytes = last->processed_bytes,
        .passes = estimator->now.passes,
        .lost_s = estimator->now.lost_s,
    };
}

void evidence_take(struct evidence *seen, struct tried *tried, const struct estimate *e,
                   const struct sample *s, const struct before *before, double floor_share)
{
    account(seen, tried, e, s, before, floor_share);
    note_start(seen, s);
    notice_held(seen, e, s, before);
}
