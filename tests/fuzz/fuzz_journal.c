/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whatever an undo journal holds, what is read from it names only groups called vcpu<n> with quotas
 * a kernel accepts, and can be written and read again.
 */
#include "cgroup-throttle/journal.h"
#include "tree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define UUID "11111111-2222-3333-4444-555555555555"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void check_groups(const struct vcpu_groups *groups)
{
    check(strcmp(groups->uuid, UUID) == 0 && groups->name && groups->pid > 1);
    check((groups->version == 1 || groups->version == 2) && groups->count > 0);
    for (size_t i = 0; i < groups->count; i++) {
        const struct vcpu_group *vcpu = &groups->vcpus[i];

        check(vcpu_path_valid(vcpu->path, vcpu->index));
        check(cpu_quota_valid(&vcpu->original) && cpu_quota_valid(&vcpu->applied) &&
              cpu_quota_valid(&vcpu->previous));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vcpu_groups *groups = NULL, *again = NULL;
    int r;

    tree_put("undo/" UUID ".json", data, size);
    r = journal_load(tree(), UUID, &groups);
    if (r < 0) {
        check((r == -EBADMSG || r == -EPROTONOSUPPORT) && !groups);
        return 0;
    }
    check_groups(groups);
    check(journal_save(tree(), groups) == 0);
    check(journal_load(tree(), UUID, &again) == 0);
    check_groups(again);
    check(again->count == groups->count && again->start_time == groups->start_time);
    vcpu_groups_free(again);
    vcpu_groups_free(groups);
    return 0;
}
