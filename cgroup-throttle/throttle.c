/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every change goes: read what is there, write journal, write quotas. The journal names the
 * original, the new and the last value of each vCPU, so whatever a crash leaves between two writes
 * is recognised as ours. Undoing looks at quota and period one by one: ours goes back to the
 * original, another writer's stays. It is the same code on every path: end, failure, next start.
 */
#include "cgroup-throttle/throttle.h"

#include "cgroup-throttle/allowance.h"
#include "cgroup-throttle/claim.h"
#include "cgroup-throttle/cpuquota.h"
#include "cgroup-throttle/journal.h"
#include "cgroup-throttle/spare.h"
#include "cgroup-throttle/vcpugroups.h"
#include "common/alloc.h"
#include "common/cleanup.h"

#include <errno.h>
#include <pthread.h>

/* How long throttle_open() waits for who has the domain: a restore takes milliseconds, an ended
 * watcher is collected each second. */
#define CLAIM_WAIT_S 5

struct throttle {
    struct claim claim;
    struct throttle_roots roots;
    struct cpu_mount mount;

    pthread_mutex_t lock; /* for what follows, and for writing in the groups */
    struct allowance *allowance;
    struct vcpu_groups *groups;
    bool journalled;
    bool final;
};

struct throttle_roots throttle_roots_default(void)
{
    return (struct throttle_roots){.proc = "/proc", .run_dir = "/run/migpolicy"};
}

int throttle_find_pid(const struct throttle_roots *roots, const char *uuid, pid_t *ret_pid)
{
    return vcpu_groups_find_pid(roots->proc, uuid, ret_pid);
}

static bool quota_is_ours(const struct vcpu_group *vcpu, int64_t quota_us)
{
    return quota_us == vcpu->original.quota_us || quota_us == vcpu->applied.quota_us ||
           quota_us == vcpu->previous.quota_us;
}

static bool period_is_ours(const struct vcpu_group *vcpu, int64_t period_us)
{
    return period_us == vcpu->original.period_us || period_us == vcpu->applied.period_us ||
           period_us == vcpu->previous.period_us;
}

/*
 * A file of the group is not there. That is as good as restored if the thread has left, or if the
 * group has lost the controller; otherwise it is we who cannot see it.
 */
static int explain_absence(const struct throttle_roots *roots, const struct cpu_mount *mount,
                           pid_t pid, const struct vcpu_group *vcpu)
{
    int r = vcpu_groups_check_thread(roots->proc, pid, vcpu);

    if (r < 0)
        return r;
    return vcpu_groups_visible(mount, vcpu) ? -ENOENT : -ENODATA;
}

/*
 * Version 1 refuses a quota above what a group above has, so one that was tightened meanwhile
 * refuses the original. Without a limit of its own the guest has what that one leaves it; that is
 * written, and is ours from now on, until the original is accepted. Without a journal of it, it
 * would later be taken for another writer's; a slow guest would be worse.
 */
static void lift_limit(const struct throttle_roots *roots, const struct cpu_mount *mount,
                       struct vcpu_groups *groups, struct vcpu_group *vcpu)
{
    struct cpu_quota now, none;

    if (cpu_quota_read(mount, vcpu->path, &now) < 0 || now.quota_us < 0)
        return;
    none = (struct cpu_quota){.quota_us = -1, .period_us = now.period_us};
    if (period_is_ours(vcpu, now.period_us)) {
        none.period_us = vcpu->original.period_us;
        vcpu->previous.period_us = now.period_us;
        vcpu->applied.period_us = none.period_us;
    }
    vcpu->previous.quota_us = now.quota_us;
    vcpu->applied.quota_us = -1;
    (void)journal_save(roots->run_dir, groups);
    (void)cpu_quota_write(mount, vcpu->path, &now, &none);
}

/* A journal is not believed blindly: only the group its thread is in now is written to. */
static int undo_vcpu(const struct throttle_roots *roots, const struct cpu_mount *mount,
                     struct vcpu_groups *groups, struct vcpu_group *vcpu, bool *ret_drifted)
{
    struct cpu_quota now, target;
    int r;

    r = vcpu_groups_check_thread(roots->proc, groups->pid, vcpu);
    if (r < 0)
        return r;
    r = cpu_quota_read(mount, vcpu->path, &now);
    if (r == -ENOENT)
        return explain_absence(roots, mount, groups->pid, vcpu);
    if (r < 0)
        return r;
    target = now;
    if (quota_is_ours(vcpu, now.quota_us))
        target.quota_us = vcpu->original.quota_us;
    if (period_is_ours(vcpu, now.period_us))
        target.period_us = vcpu->original.period_us;
    r = cpu_quota_write(mount, vcpu->path, &now, &target);
    if (r == -ENOENT)
        return explain_absence(roots, mount, groups->pid, vcpu);
    if (r == -EINVAL && quota_is_ours(vcpu, now.quota_us))
        lift_limit(roots, mount, groups, vcpu);
    if (r < 0)
        return r;
    *ret_drifted = !cpu_quota_equal(&target, &vcpu->original);
    return 0;
}

static int undo_vcpus(const struct throttle_roots *roots, const struct cpu_mount *mount,
                      struct vcpu_groups *groups, struct throttle_result *result)
{
    int first_error = 0;

    for (size_t i = 0; i < groups->count; i++) {
        bool drifted = false;
        int r = undo_vcpu(roots, mount, groups, &groups->vcpus[i], &drifted);

        if (r == -ENOENT)
            result->gone++;
        else if (r < 0)
            result->failed++;
        else if (drifted)
            result->drifted++;
        else
            result->restored++;
        if (r < 0 && r != -ENOENT && first_error == 0)
            first_error = r;
    }
    return first_error;
}

static int undo_live(const struct throttle_roots *roots, struct vcpu_groups *groups,
                     struct throttle_result *result)
{
    struct cpu_mount mount = {0};
    int r;

    r = vcpu_groups_check_process(roots->proc, groups);
    if (r == 0)
        r = cpu_mount_find(roots->proc, groups->version, groups->vcpus[0].path, &mount);
    if (r == 0)
        r = undo_vcpus(roots, &mount, groups, result);
    else
        result->failed = groups->count;
    cpu_mount_clear(&mount);
    return r;
}

/* Undo and, if that leaves nothing to do, remove the journal. */
static int undo(const struct throttle_roots *roots, struct vcpu_groups *groups,
                struct throttle_result *ret_result)
{
    struct throttle_result result = {0};
    int r = undo_live(roots, groups, &result);

    /* The process may have ended meanwhile, and that explains any failure. */
    if (r < 0 && vcpu_groups_check_process(roots->proc, groups) == -ENOENT) {
        result = (struct throttle_result){.gone = groups->count};
        r = 0;
    }
    *ret_result = result;
    return r < 0 ? r : journal_remove(roots->run_dir, groups->uuid);
}

/* By its journal. *ret_name is the caller's to free, and set as soon as it is known. */
static int undo_journal(const struct throttle_roots *roots, const char *uuid, char **ret_name,
                        struct throttle_result *result)
{
    struct vcpu_groups *groups = NULL;
    int r;

    r = journal_load(roots->run_dir, uuid, &groups);
    if (r < 0)
        return r;
    r = undo(roots, groups, result);
    free(*ret_name);
    *ret_name = STEAL(groups->name);
    vcpu_groups_free(groups);
    return r;
}

/* What an earlier handle left: its values must not be taken for originals. */
static int undo_leftover(const struct throttle_roots *roots, const char *uuid)
{
    AUTO_FREE char *name = NULL;
    struct throttle_result result;
    int r = undo_journal(roots, uuid, &name, &result);

    return r == -ENOENT ? 0 : r;
}

static void free_throttle(struct throttle **t)
{
    throttle_free(*t);
}

int throttle_open(const struct throttle_roots *roots, const char *uuid, const char *name, pid_t pid,
                  struct throttle **ret_throttle)
{
    CLEANUP(free_throttle) struct throttle *t = alloc_need(calloc(1, sizeof(*t)));
    int r;

    pthread_mutex_init(&t->lock, NULL);
    t->roots = *roots;
    if (!uuid_valid(uuid))
        return -EINVAL;
    r = claim_take(&t->claim, uuid, CLAIM_WAIT_S);
    if (r == 0)
        r = undo_leftover(roots, uuid);
    if (r < 0)
        return r;
    r = vcpu_groups_find(roots->proc, uuid, name, pid, &t->groups);
    if (r < 0)
        return r;
    r = cpu_mount_find(roots->proc, t->groups->version, t->groups->vcpus[0].path, &t->mount);
    if (r < 0)
        return r;
    r = allowance_new(t->roots.proc, &t->mount, t->groups, &t->allowance);
    if (r < 0)
        return r;
    spare_keep();
    *ret_throttle = STEAL(t);
    return 0;
}

void throttle_free(struct throttle *t)
{
    if (!t)
        return;
    claim_drop(&t->claim);
    allowance_free(t->allowance);
    vcpu_groups_free(t->groups);
    cpu_mount_clear(&t->mount);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

size_t throttle_vcpu_count(const struct throttle *t)
{
    return t->groups->count;
}

double throttle_allowance(struct throttle *t, int64_t now_ns)
{
    double sum = 0;

    pthread_mutex_lock(&t->lock);
    if (!t->journalled)
        allowance_look(t->allowance, now_ns);
    for (size_t i = 0; i < t->groups->count; i++)
        sum += allowance_cpus(t->allowance, i);
    pthread_mutex_unlock(&t->lock);
    return sum / (double)t->groups->count;
}

static int check_identity(const struct throttle *t)
{
    int r = vcpu_groups_check_process(t->roots.proc, t->groups);

    for (size_t i = 0; r == 0 && i < t->groups->count; i++) {
        r = vcpu_groups_check_thread(t->roots.proc, t->groups->pid, &t->groups->vcpus[i]);
        if (r == -ENOENT)
            r = -ESTALE;
    }
    return r;
}

/* Read what is there now; refuse if someone else has written it. */
static int read_current(const struct throttle *t, struct cpu_quota *current)
{
    for (size_t i = 0; i < t->groups->count; i++) {
        const struct vcpu_group *vcpu = &t->groups->vcpus[i];
        int r = cpu_quota_read(&t->mount, vcpu->path, &current[i]);

        if (r < 0)
            return r;
        if (!quota_is_ours(vcpu, current[i].quota_us) ||
            !period_is_ours(vcpu, current[i].period_us))
            return -EBUSY;
    }
    return 0;
}

/* The journal of the change from current to target. On failure the handle is as before. */
static int record(struct throttle *t, const struct cpu_quota *current,
                  const struct cpu_quota *target)
{
    AUTO_FREE struct vcpu_group *before =
        alloc_need(reallocarray(NULL, t->groups->count, sizeof(*t->groups->vcpus)));
    int r;

    for (size_t i = 0; i < t->groups->count; i++) {
        struct vcpu_group *vcpu = &t->groups->vcpus[i];

        before[i] = *vcpu;
        vcpu->previous = current[i];
        vcpu->applied = target[i];
    }
    r = journal_save(t->roots.run_dir, t->groups);
    if (r < 0) {
        for (size_t i = 0; i < t->groups->count; i++)
            t->groups->vcpus[i] = before[i];
        return r;
    }
    t->journalled = true;
    return 0;
}

static int restore_locked(struct throttle *t, struct throttle_result *result)
{
    int r;

    if (!t->journalled)
        return 0;
    r = undo(&t->roots, t->groups, result);
    if (spare_use(r)) {
        r = undo(&t->roots, t->groups, result);
        spare_keep();
    }
    if (r == 0)
        t->journalled = false;
    return r;
}

static int set_locked(struct throttle *t, double share, int64_t period_us)
{
    AUTO_FREE struct cpu_quota *quotas = alloc_need(calloc(t->groups->count * 2, sizeof(*quotas)));
    struct cpu_quota *current = quotas, *target = quotas + t->groups->count;
    struct throttle_result ignored = {0};
    bool change = false;
    int r;

    if (t->final)
        return -ESHUTDOWN;
    r = check_identity(t);
    if (r == 0)
        r = read_current(t, current);
    if (r < 0)
        return r;
    for (size_t i = 0; i < t->groups->count; i++) {
        target[i] = cpu_quota_tighten(&t->groups->vcpus[i].original,
                                      allowance_cpus(t->allowance, i), share, period_us);
        change |= !cpu_quota_equal(&current[i], &target[i]);
    }
    if (!change)
        return 0;
    r = record(t, current, target);
    for (size_t i = 0; r == 0 && i < t->groups->count; i++) {
        r = cpu_quota_write(&t->mount, t->groups->vcpus[i].path, &current[i], &target[i]);
        if (r < 0)
            restore_locked(t, &ignored);
    }
    return r;
}

int throttle_set(struct throttle *t, double share, int64_t period_us)
{
    int r;

    if (!(share > 0 && share <= 1) || period_us < CPU_QUOTA_MIN_US ||
        period_us > CPU_QUOTA_PERIOD_MAX_US)
        return -EINVAL;
    pthread_mutex_lock(&t->lock);
    r = set_locked(t, share, period_us);
    pthread_mutex_unlock(&t->lock);
    return r;
}

int throttle_restore(struct throttle *t, bool final, struct throttle_result *ret_result)
{
    struct throttle_result result = {0};
    int r;

    pthread_mutex_lock(&t->lock);
    t->final |= final;
    r = restore_locked(t, &result);
    if (t->final && r == 0)
        claim_drop(&t->claim);
    pthread_mutex_unlock(&t->lock);
    if (ret_result)
        *ret_result = result;
    return r;
}

bool throttle_in_force(struct throttle *t)
{
    bool journalled;

    pthread_mutex_lock(&t->lock);
    journalled = t->journalled;
    pthread_mutex_unlock(&t->lock);
    return journalled;
}

static int check_locked(const struct throttle *t, size_t *drifted)
{
    int r = check_identity(t);

    for (size_t i = 0; r == 0 && i < t->groups->count; i++) {
        const struct vcpu_group *vcpu = &t->groups->vcpus[i];
        struct cpu_quota now;

        r = cpu_quota_read(&t->mount, vcpu->path, &now);
        if (r == 0 && !cpu_quota_equal(&now, t->journalled ? &vcpu->applied : &vcpu->original))
            (*drifted)++;
    }
    return r;
}

int throttle_check(struct throttle *t, size_t *ret_drifted)
{
    size_t drifted = 0;
    int r;

    pthread_mutex_lock(&t->lock);
    r = check_locked(t, &drifted);
    pthread_mutex_unlock(&t->lock);
    if (r == 0)
        *ret_drifted = drifted;
    return r;
}

int throttle_usage_ns(struct throttle *t, size_t vcpu, uint64_t *ret_ns)
{
    const struct vcpu_groups *groups = t->groups;
    uint64_t sum_ns = 0;
    int r;

    if (vcpu != THROTTLE_ALL_VCPUS && vcpu >= groups->count)
        return -EINVAL;
    r = vcpu_groups_check_process(t->roots.proc, groups);
    for (size_t i = 0; r == 0 && i < groups->count; i++) {
        uint64_t ns;

        if (vcpu != THROTTLE_ALL_VCPUS && i != vcpu)
            continue;
        r = vcpu_groups_thread_time(t->roots.proc, groups->pid, groups->vcpus[i].tid, &ns);
        if (r == 0)
            sum_ns += ns;
    }
    if (r == 0)
        *ret_ns = sum_ns;
    return r;
}

int throttle_restore_journal(const struct throttle_roots *roots, const char *uuid, char **ret_name,
                             struct throttle_result *ret_result)
{
    struct claim claim = {0};
    int r;

    *ret_name = NULL;
    *ret_result = (struct throttle_result){0};
    if (!uuid_valid(uuid))
        return -EBADMSG;
    r = claim_take(&claim, uuid, 0);
    if (r < 0)
        return r;
    r = undo_journal(roots, uuid, ret_name, ret_result);
    if (spare_use(r)) {
        r = undo_journal(roots, uuid, ret_name, ret_result);
        spare_keep();
    }
    claim_drop(&claim);
    return r;
}

struct listing {
    throttle_journal_fn fn;
    void *opaque;
};

static void tell_journal(const char *uuid, void *opaque)
{
    const struct listing *listing = opaque;

    listing->fn(uuid, claim_is_taken(uuid), listing->opaque);
}

int throttle_list_journals(const struct throttle_roots *roots, throttle_journal_fn fn, void *opaque)
{
    struct listing listing = {.fn = fn, .opaque = opaque};
    int r;

    spare_keep();
    r = journal_list(roots->run_dir, tell_journal, &listing);
    if (spare_use(r)) {
        r = journal_list(roots->run_dir, tell_journal, &listing);
        spare_keep();
    }
    return r;
}

void throttle_sweep(const struct throttle_roots *roots)
{
    journal_sweep(roots->run_dir);
}

int throttle_journal_written(const struct throttle_roots *roots, const char *uuid,
                             struct timespec *ret)
{
    return journal_written(roots->run_dir, uuid, ret);
}

struct restore_all {
    const struct throttle_roots *roots;
    throttle_report_fn report;
    void *opaque;
    int first_error;
};

static void restore_one(const char *uuid, bool open, void *opaque)
{
    AUTO_FREE char *name = NULL;
    struct restore_all *all = opaque;
    struct throttle_result result = {0};
    int r;

    (void)open;
    r = throttle_restore_journal(all->roots, uuid, &name, &result);
    if (r < 0 && all->first_error == 0)
        all->first_error = r;
    if (all->report)
        all->report(uuid, name, r, &result, all->opaque);
}

int throttle_restore_all(const struct throttle_roots *roots, throttle_report_fn report,
                         void *opaque)
{
    struct restore_all all = {.roots = roots, .report = report, .opaque = opaque};
    int r;

    throttle_sweep(roots);
    r = throttle_list_journals(roots, restore_one, &all);
    return r < 0 ? r : all.first_error;
}
