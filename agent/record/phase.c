/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/record/phase.h"

#include <math.h>
#include <time.h>

#include "common/clock.h"

enum phase { PHASE_SETUP, PHASE_STORAGE, PHASE_PRE_COPY, PHASE_SWITCHOVER, PHASE_POST_COPY };

const char *const phase_names[] = {"setup", "storage", "pre-copy", "switchover", "post-copy", NULL};

static enum phase phase_of(const struct migration *m)
{
    if (m->decision.verdict == VERDICT_SWITCHOVER)
        return PHASE_SWITCHOVER;
    if (m->decision.verdict == VERDICT_POST_COPY)
        return PHASE_POST_COPY;
    if (m->sample.total_bytes > 0)
        return PHASE_PRE_COPY;
    return m->sample.disk_total_bytes > 0 ? PHASE_STORAGE : PHASE_SETUP;
}

static void export_names(struct metrics *metrics, const struct migration *m)
{
    metrics_vm_info(metrics, m->domain.uuid, m->names.flavor, m->names.project,
                    m->names.instance_name);
}

static double known(double value)
{
    return value > 0 ? value : NAN;
}

static double finite_or_nan(double value)
{
    return isfinite(value) ? value : NAN;
}

static double unix_time(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

void phase_export(struct metrics *metrics, const struct migration *m)
{
    const struct forecast *course = &m->decision.course;
    struct metrics_vm vm = {
        .phase = (int)phase_of(m),
        .verdict = (int)m->decision.verdict,
        .elapsed_seconds = (double)m->sample.elapsed_ns / 1e9,
        .memory_total_bytes = (double)m->sample.total_bytes,
        .memory_processed_bytes = (double)m->sample.processed_bytes,
        .memory_remaining_bytes = (double)m->sample.remaining_bytes,
        .disk_remaining_bytes = (double)m->sample.disk_remaining_bytes,
        .dirty_rate_bytes_per_second = known(m->estimate.dirty_bps),
        .transfer_rate_bytes_per_second = known(m->estimate.transfer_bps),
        .iteration = (double)m->sample.iteration,
        .expected_downtime_seconds = course->downtime_s,
        .downtime_limit_seconds = known((double)m->sample.downtime_limit_ns / 1e9),
        .forecast_remaining_seconds =
            decision_end(&m->decision) == END_COMES ? course->seconds : NAN,
        .forecast_earliest_seconds = finite_or_nan(m->decision.earliest_s),
        .forecast_latest_seconds = finite_or_nan(m->decision.latest_s),
        .forecast_probability_ratio = decision_chance(&m->decision),
        .forecast_plateau_bytes =
            decision_end(&m->decision) == END_NEVER ? known(course->plateau_bytes) : NAN,
        .paused = m->paused[0] != '\0',
        .cpu_limit_ratio = m->sample.cpu_share,
        .throttled_seconds = m->throttled_s,
        .work_lost_so_far_seconds = m->work_lost_s,
        .pending_proposals = m->proposal.id > 0,
        .last_action_timestamp_seconds = NAN,
        .sample_timestamp_seconds = unix_time() - (double)(monotonic_ns() - m->sample.now_ns) / 1e9,
    };

    if (m->events > 0) {
        const struct timespec *t = &m->event[(m->events - 1) % MIGRATION_EVENTS].wall;

        vm.last_action_timestamp_seconds = (double)t->tv_sec + (double)t->tv_nsec / 1e9;
    }
    metrics_vm_update(metrics, m->domain.uuid, m->domain.name, &vm);
    export_names(metrics, m);
}

void phase_export_last(struct metrics *metrics, const struct migration *m)
{
    static const enum metrics_outcome outcome[] = {
        [OUTCOME_COMPLETED] = METRICS_OUTCOME_COMPLETED,
        [OUTCOME_CANCELLED] = METRICS_OUTCOME_CANCELLED,
        [OUTCOME_FAILED] = METRICS_OUTCOME_FAILED,
        [OUTCOME_LOST] = METRICS_OUTCOME_LOST,
    };
    metrics_vm_remove(metrics, m->domain.uuid);
    metrics_vm_last(metrics, m->domain.uuid, m->domain.name,
                    &(struct metrics_last){
                        .outcome = outcome[m->outcome],
                        .duration_seconds = m->duration_s,
                        .downtime_seconds = m->downtime_s,
                        .work_lost_seconds = m->work_lost_s,
                        .end_timestamp_seconds = unix_time(),
                    });
    export_names(metrics, m);
}
