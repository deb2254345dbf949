/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The only file that knows libvirt: one of the two hypervisors, and the event loop of loop.h. */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include "agent/virt/hypervisor.h"
#include "agent/virt/metadata.h"
#include "common/alloc.h"
#include "common/cleanup.h"
#include "common/units.h"
#include "common/wakeup.h"

/* A peer that answers nothing for this long is gone. */
#define KEEPALIVE_INTERVAL_S 5
#define KEEPALIVE_COUNT      3
/* What libvirt means by no limit, in MiB/s. */
#define SPEED_UNLIMITED_MIB ((unsigned long)(INT64_MAX / MIB_BYTES))

static void free_domain(virDomainPtr *dom)
{
    if (*dom)
        virDomainFree(*dom);
}

static void free_connect(virConnectPtr *conn)
{
    if (*conn)
        virConnectClose(*conn);
}

#define AUTO_DOMAIN  CLEANUP(free_domain)
#define AUTO_CONNECT CLEANUP(free_connect)

int hypervisor_init(const char *uri)
{
    (void)uri;
    return virInitialize() < 0 ? -EIO : 0;
}

static _Thread_local char error_text[256] = "no error";

const char *hypervisor_error(void)
{
    return error_text;
}

/* To be called first thing after a failure: any other call makes libvirt forget it. */
static int last_errno(virConnectPtr conn)
{
    int code = virGetLastErrorCode();

    snprintf(error_text, sizeof(error_text), "%s", virGetLastErrorMessage());
    if (conn && virConnectIsAlive(conn) == 0)
        return -ENOTCONN;
    switch (code) {
    case VIR_ERR_NO_DOMAIN:
        return -ENOENT;
    case VIR_ERR_OPERATION_INVALID:
        return -EINVAL;
    case VIR_ERR_OPERATION_TIMEOUT:
        return -ETIMEDOUT;
    case VIR_ERR_RPC:
    case VIR_ERR_SYSTEM_ERROR:
    case VIR_ERR_INVALID_CONN:
    case VIR_ERR_NO_CONNECT:
        return -ENOTCONN;
    default:
        return -EIO;
    }
}

static int connect_uri(const char *uri, virConnectPtr *ret)
{
    virConnectPtr conn = virConnectOpen(uri);

    if (!conn) {
        last_errno(NULL);
        return -ENOTCONN;
    }
    virConnectSetKeepAlive(conn, KEEPALIVE_INTERVAL_S, KEEPALIVE_COUNT);
    *ret = conn;
    return 0;
}

static void describe(virDomainPtr dom, struct hv_domain *ret)
{
    const char *name = virDomainGetName(dom);

    snprintf(ret->name, sizeof(ret->name), "%s", name ? name : "");
    if (virDomainGetUUIDString(dom, ret->uuid) < 0)
        ret->uuid[0] = '\0';
    ret->id = (int)virDomainGetID(dom);
}

/* ---- the connection for events ---- */

enum { CALLBACKS = 4 };

struct hv_link {
    virConnectPtr conn;
    hv_event_fn event;
    hv_closed_fn closed;
    void *opaque;
    int callback[CALLBACKS];
    atomic_int refs; /* the owner's, and one for each callback libvirt may still be running */
};

static void release_link(void *opaque)
{
    struct hv_link *link = opaque;

    if (atomic_fetch_sub(&link->refs, 1) == 1)
        free(link);
}

static void emit(struct hv_link *link, virDomainPtr dom, struct hv_event *event)
{
    describe(dom, &event->domain);
    event->now_ns = monotonic_ns();
    link->event(event, link->opaque);
}

static void on_iteration(virConnectPtr conn, virDomainPtr dom, int iteration, void *opaque)
{
    struct hv_event event = {.kind = HV_SYNC};

    (void)conn;
    (void)iteration;
    emit(opaque, dom, &event);
}

static int64_t param(virTypedParameterPtr params, int n, const char *name, int64_t unknown)
{
    unsigned long long value;

    if (virTypedParamsGetULLong(params, n, name, &value) != 1)
        return unknown;
    return value > INT64_MAX ? INT64_MAX : (int64_t)value;
}

static void on_job_completed(virConnectPtr conn, virDomainPtr dom, virTypedParameterPtr params,
                             int n, void *opaque)
{
    struct hv_event event = {.kind = HV_COMPLETED};

    (void)conn;
    event.result.elapsed_ms = param(params, n, VIR_DOMAIN_JOB_TIME_ELAPSED, -1);
    event.result.downtime_ms = param(params, n, VIR_DOMAIN_JOB_DOWNTIME, -1);
    event.result.memory_processed_bytes = param(params, n, VIR_DOMAIN_JOB_MEMORY_PROCESSED, -1);
    emit(opaque, dom, &event);
}

static int on_lifecycle(virConnectPtr conn, virDomainPtr dom, int kind, int detail, void *opaque)
{
    struct hv_event event = {.kind = HV_DOMAIN_CHANGED};

    (void)conn;
    switch (kind) {
    case VIR_DOMAIN_EVENT_DEFINED:
    case VIR_DOMAIN_EVENT_STARTED:
        event.kind = HV_DOMAIN_SEEN;
        break;
    case VIR_DOMAIN_EVENT_SUSPENDED:
        if (detail == VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED)
            event.kind = HV_SWITCHOVER;
        else if (detail == VIR_DOMAIN_EVENT_SUSPENDED_POSTCOPY)
            event.kind = HV_POST_COPY;
        else if (detail == VIR_DOMAIN_EVENT_SUSPENDED_POSTCOPY_FAILED)
            event.kind = HV_POST_COPY_FAILED;
        else
            return 0;
        break;
    case VIR_DOMAIN_EVENT_RESUMED:
        event.kind = HV_RESUMED;
        break;
    case VIR_DOMAIN_EVENT_STOPPED:
    case VIR_DOMAIN_EVENT_CRASHED:
        event.kind = HV_STOPPED;
        event.migrated = detail == VIR_DOMAIN_EVENT_STOPPED_MIGRATED;
        break;
    default:
        break;
    }
    emit(opaque, dom, &event);
    return 0;
}

static void on_metadata(virConnectPtr conn, virDomainPtr dom, int type, const char *uri,
                        void *opaque)
{
    struct hv_event event = {.kind = HV_METADATA};

    (void)conn;
    (void)type;
    (void)uri;
    emit(opaque, dom, &event);
}

static void on_closed(virConnectPtr conn, int reason, void *opaque)
{
    struct hv_link *link = opaque;

    (void)conn;
    (void)reason;
    link->closed(link->opaque);
}

static void listen_to(struct hv_link *link, unsigned i, int kind,
                      virConnectDomainEventGenericCallback callback)
{
    atomic_fetch_add(&link->refs, 1);
    link->callback[i] =
        virConnectDomainEventRegisterAny(link->conn, NULL, kind, callback, link, release_link);
    if (link->callback[i] < 0)
        atomic_fetch_sub(&link->refs, 1);
}

void hv_link_close(struct hv_link *link)
{
    if (!link)
        return;
    for (unsigned i = 0; i < CALLBACKS; i++) {
        if (link->callback[i] >= 0)
            virConnectDomainEventDeregisterAny(link->conn, link->callback[i]);
    }
    virConnectUnregisterCloseCallback(link->conn, on_closed);
    virConnectClose(link->conn);
    release_link(link);
}

int hv_link_open(const char *uri, hv_event_fn event, hv_closed_fn closed, void *opaque,
                 struct hv_link **ret)
{
    struct hv_link *link = alloc_need(calloc(1, sizeof(*link)));
    int r;

    link->event = event;
    link->closed = closed;
    link->opaque = opaque;
    for (unsigned i = 0; i < CALLBACKS; i++)
        link->callback[i] = -1;
    r = connect_uri(uri, &link->conn);
    if (r < 0) {
        free(link);
        return r;
    }
    link->refs = 2;
    if (virConnectRegisterCloseCallback(link->conn, on_closed, link, release_link) < 0) {
        link->refs = 1;
        hv_link_close(link);
        return -ENOTCONN;
    }
    listen_to(link, 0, VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle));
    listen_to(link, 1, VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION,
              VIR_DOMAIN_EVENT_CALLBACK(on_iteration));
    listen_to(link, 2, VIR_DOMAIN_EVENT_ID_JOB_COMPLETED,
              VIR_DOMAIN_EVENT_CALLBACK(on_job_completed));
    listen_to(link, 3, VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, VIR_DOMAIN_EVENT_CALLBACK(on_metadata));
    for (unsigned i = 0; i < CALLBACKS; i++) {
        if (link->callback[i] < 0) {
            hv_link_close(link);
            return -ENOTCONN;
        }
    }
    *ret = link;
    return 0;
}

int hv_link_list(struct hv_link *link, struct hv_domain **ret_domains, size_t *ret_count)
{
    virDomainPtr *doms;
    int n = virConnectListAllDomains(link->conn, &doms, 0);
    struct hv_domain *list;

    if (n < 0)
        return last_errno(link->conn);
    list = alloc_need(calloc((size_t)n + 1, sizeof(*list)));
    for (int i = 0; i < n; i++) {
        describe(doms[i], &list[i]);
        virDomainFree(doms[i]);
    }
    free(doms);
    *ret_domains = list;
    *ret_count = (size_t)n;
    return 0;
}

int hv_link_probe(struct hv_link *link, const struct hv_domain *domain, bool *ret_migrating)
{
    virDomainPtr dom AUTO_DOMAIN = virDomainLookupByUUIDString(link->conn, domain->uuid);
    virDomainJobInfo info;

    if (!dom || virDomainGetJobInfo(dom, &info) < 0)
        return last_errno(link->conn);
    *ret_migrating = info.type == VIR_DOMAIN_JOB_BOUNDED || info.type == VIR_DOMAIN_JOB_UNBOUNDED;
    return 0;
}

static int read_metadata(virConnectPtr conn, virDomainPtr dom, char **ret_xml)
{
    char *xml = virDomainGetMetadata(dom, VIR_DOMAIN_METADATA_ELEMENT, METADATA_URI, 0);

    if (!xml && virGetLastErrorCode() != VIR_ERR_NO_DOMAIN_METADATA)
        return last_errno(conn);
    *ret_xml = xml;
    return 0;
}

int hv_link_metadata(struct hv_link *link, const char *uuid, char **ret_xml)
{
    virDomainPtr dom AUTO_DOMAIN = virDomainLookupByUUIDString(link->conn, uuid);

    return dom ? read_metadata(link->conn, dom, ret_xml) : last_errno(link->conn);
}

static int read_description(virConnectPtr conn, virDomainPtr dom, char **ret_xml)
{
    char *xml = virDomainGetXMLDesc(dom, 0);

    if (!xml)
        return last_errno(conn);
    *ret_xml = xml;
    return 0;
}

int hv_link_description(struct hv_link *link, const char *uuid, char **ret_xml)
{
    virDomainPtr dom AUTO_DOMAIN = virDomainLookupByUUIDString(link->conn, uuid);

    return dom ? read_description(link->conn, dom, ret_xml) : last_errno(link->conn);
}

/* ---- one watched domain ---- */

struct hv_watch {
    virConnectPtr conn;
    virDomainPtr dom;
    uint64_t flushes; /* counters of the disks at the last look, 0: none yet */
    uint64_t flush_total_ns;
    int64_t flush_ns;
};

int hv_watch_open(const char *uri, const char *uuid, struct hv_watch **ret)
{
    virConnectPtr conn AUTO_CONNECT = NULL;
    virDomainPtr dom AUTO_DOMAIN = NULL;
    struct hv_watch *watch;
    int r = connect_uri(uri, &conn);

    if (r < 0)
        return r;
    dom = virDomainLookupByUUIDString(conn, uuid);
    if (!dom)
        return last_errno(conn);
    watch = alloc_need(calloc(1, sizeof(*watch)));
    watch->conn = STEAL(conn);
    watch->dom = STEAL(dom);
    *ret = watch;
    return 0;
}

void hv_watch_close(struct hv_watch *watch)
{
    if (!watch)
        return;
    virDomainFree(watch->dom);
    virConnectClose(watch->conn);
    free(watch);
}

int hv_watch_job(struct hv_watch *watch, struct hv_job *ret)
{
    virTypedParameterPtr params = NULL;
    int n = 0;
    int type = VIR_DOMAIN_JOB_NONE;
    int operation = VIR_DOMAIN_JOB_OPERATION_UNKNOWN;
    int throttle = 0;

    if (virDomainGetJobStats(watch->dom, &type, &params, &n, 0) < 0)
        return last_errno(watch->conn);
    virTypedParamsGetInt(params, n, VIR_DOMAIN_JOB_OPERATION, &operation);
    virTypedParamsGetInt(params, n, VIR_DOMAIN_JOB_AUTO_CONVERGE_THROTTLE, &throttle);
    *ret = (struct hv_job){
        .active = type == VIR_DOMAIN_JOB_BOUNDED || type == VIR_DOMAIN_JOB_UNBOUNDED,
        .outgoing = operation == VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT,
        .elapsed_ns = param(params, n, VIR_DOMAIN_JOB_TIME_ELAPSED, 0) * NS_PER_MS,
        .iteration = (uint64_t)param(params, n, VIR_DOMAIN_JOB_MEMORY_ITERATION, 0),
        .memory_total_bytes = (uint64_t)param(params, n, VIR_DOMAIN_JOB_MEMORY_TOTAL, 0),
        .memory_processed_bytes = (uint64_t)param(params, n, VIR_DOMAIN_JOB_MEMORY_PROCESSED, 0),
        .memory_remaining_bytes = (uint64_t)param(params, n, VIR_DOMAIN_JOB_MEMORY_REMAINING, 0),
        .disk_total_bytes = (uint64_t)param(params, n, VIR_DOMAIN_JOB_DISK_TOTAL, 0),
        .disk_remaining_bytes = (uint64_t)param(params, n, VIR_DOMAIN_JOB_DISK_REMAINING, 0),
        .expected_downtime_ns = param(params, n, VIR_DOMAIN_JOB_DOWNTIME, 0) * NS_PER_MS,
        .auto_converge_percent = throttle > 0 ? (unsigned)throttle : 0,
        .compression_cache_bytes = (uint64_t)param(params, n, VIR_DOMAIN_JOB_COMPRESSION_CACHE, 0),
        .post_copy = param(params, n, VIR_DOMAIN_JOB_MEMORY_POSTCOPY_REQS, 0) > 0,
    };
    virTypedParamsFree(params, n);
    return 0;
}

int hv_watch_get_downtime(struct hv_watch *watch, int64_t *ret_ns)
{
    unsigned long long ms;

    if (virDomainMigrateGetMaxDowntime(watch->dom, &ms, 0) < 0)
        return last_errno(watch->conn);
    *ret_ns = (int64_t)ms * NS_PER_MS;
    return 0;
}

int hv_watch_set_downtime(struct hv_watch *watch, int64_t ns)
{
    if (virDomainMigrateSetMaxDowntime(watch->dom, (unsigned long long)(ns / NS_PER_MS), 0) < 0)
        return last_errno(watch->conn);
    return 0;
}

int hv_watch_get_speed(struct hv_watch *watch, int64_t *ret_bps)
{
    unsigned long mib;

    if (virDomainMigrateGetMaxSpeed(watch->dom, &mib, 0) < 0)
        return last_errno(watch->conn);
    *ret_bps = mib >= SPEED_UNLIMITED_MIB ? 0 : (int64_t)mib * MIB_BYTES;
    return 0;
}

int hv_watch_set_speed(struct hv_watch *watch, int64_t bps)
{
    unsigned long mib = (unsigned long)((bps + MIB_BYTES - 1) / MIB_BYTES);

    if (virDomainMigrateSetMaxSpeed(watch->dom, bps > 0 ? mib : SPEED_UNLIMITED_MIB, 0) < 0)
        return last_errno(watch->conn);
    return 0;
}

int hv_watch_set_compression_cache(struct hv_watch *watch, int64_t bytes)
{
    if (virDomainMigrateSetCompressionCache(watch->dom, (unsigned long long)bytes, 0) < 0)
        return last_errno(watch->conn);
    return 0;
}

int hv_watch_post_copy(struct hv_watch *watch)
{
    return virDomainMigrateStartPostCopy(watch->dom, 0) < 0 ? last_errno(watch->conn) : 0;
}

int hv_watch_suspend(struct hv_watch *watch)
{
    return virDomainSuspend(watch->dom) < 0 ? last_errno(watch->conn) : 0;
}

int hv_watch_cancel(struct hv_watch *watch)
{
    return virDomainAbortJob(watch->dom) < 0 ? last_errno(watch->conn) : 0;
}

/* Block statistics are signed, absent ones count as 0. */
static uint64_t count(virTypedParameterPtr params, int n, const char *name)
{
    long long value = 0;

    virTypedParamsGetLLong(params, n, name, &value);
    return value > 0 ? (uint64_t)value : 0;
}

int hv_watch_flush(struct hv_watch *watch, int64_t *ret_ns)
{
    virTypedParameterPtr params = NULL;
    uint64_t flushes;
    uint64_t total_ns;
    int n = 0;

    /* No disk named: the sum over all. Without any disk libvirt has nothing to sum. */
    if (virDomainBlockStatsFlags(watch->dom, "", NULL, &n, 0) < 0)
        return last_errno(watch->conn);
    params = alloc_need(calloc((size_t)n + 1, sizeof(*params)));
    if (virDomainBlockStatsFlags(watch->dom, "", params, &n, 0) < 0) {
        free(params);
        return last_errno(watch->conn);
    }
    flushes = count(params, n, VIR_DOMAIN_BLOCK_STATS_FLUSH_REQ);
    total_ns = count(params, n, VIR_DOMAIN_BLOCK_STATS_FLUSH_TOTAL_TIMES);
    virTypedParamsFree(params, n);
    if (flushes > watch->flushes && total_ns >= watch->flush_total_ns)
        watch->flush_ns =
            (int64_t)((total_ns - watch->flush_total_ns) / (flushes - watch->flushes));
    watch->flushes = flushes;
    watch->flush_total_ns = total_ns;
    *ret_ns = watch->flush_ns;
    return 0;
}

int hv_watch_metadata(struct hv_watch *watch, char **ret_xml)
{
    return read_metadata(watch->conn, watch->dom, ret_xml);
}

int hv_watch_description(struct hv_watch *watch, char **ret_xml)
{
    return read_description(watch->conn, watch->dom, ret_xml);
}

int hv_watch_set_metadata(struct hv_watch *watch, const char *xml)
{
    virDomainJobInfo info;
    unsigned flags = 0;

    /* Else libvirt would wait half a minute for the job to end. */
    if (virDomainGetJobInfo(watch->dom, &info) < 0)
        return last_errno(watch->conn);
    if (info.type == VIR_DOMAIN_JOB_BOUNDED || info.type == VIR_DOMAIN_JOB_UNBOUNDED)
        return -EBUSY;
    if (virDomainIsActive(watch->dom) == 1)
        flags |= VIR_DOMAIN_AFFECT_LIVE;
    if (virDomainIsPersistent(watch->dom) == 1)
        flags |= VIR_DOMAIN_AFFECT_CONFIG;
    if (virDomainSetMetadata(watch->dom, VIR_DOMAIN_METADATA_ELEMENT, xml, METADATA_KEY,
                             METADATA_URI, flags) == 0)
        return 0;
    return virGetLastErrorCode() == VIR_ERR_OPERATION_TIMEOUT ? -EBUSY : last_errno(watch->conn);
}

/* The statistics of the domain alone; virDomainStatsRecordListFree() frees them. */
static int read_stats(struct hv_watch *watch, unsigned kinds, virDomainStatsRecordPtr **ret)
{
    virDomainPtr doms[] = {watch->dom, NULL};
    int n = virDomainListGetStats(doms, kinds, ret, 0);

    if (n < 0)
        return last_errno(watch->conn);
    if (n == 1)
        return 0;
    virDomainStatsRecordListFree(*ret);
    return -ENOENT;
}

int hv_watch_facts(struct hv_watch *watch, struct hv_facts *ret)
{
    struct hv_facts facts = {0};
    virDomainStatsRecordPtr *stats;
    virTypedParameterPtr params;
    unsigned count = 0;
    int r = read_stats(watch, VIR_DOMAIN_STATS_BALLOON | VIR_DOMAIN_STATS_VCPU, &stats);

    if (r < 0)
        return r;
    params = stats[0]->params;
    r = stats[0]->nparams;
    facts.memory_bytes = (uint64_t)param(params, r, "balloon.maximum", 0) * 1024;
    facts.resident_bytes = (uint64_t)param(params, r, "balloon.rss", 0) * 1024;
    virTypedParamsGetUInt(params, r, "vcpu.maximum", &count);
    for (unsigned i = 0; i < count && facts.vcpus < HV_VCPUS_MAX; i++) {
        char name[32];
        int64_t ns;

        /* A vCPU that is not plugged in has none. */
        snprintf(name, sizeof(name), "vcpu.%u.time", i);
        ns = param(params, r, name, -1);
        if (ns >= 0)
            facts.vcpu_time_ns[facts.vcpus++] = ns;
    }
    virDomainStatsRecordListFree(stats);
    *ret = facts;
    return 0;
}

int hv_watch_start_dirty_rate(struct hv_watch *watch, int seconds)
{
    if (virDomainStartDirtyRateCalc(watch->dom, seconds, 0) < 0)
        return last_errno(watch->conn);
    return 0;
}

int hv_watch_dirty_rate(struct hv_watch *watch, bool *ret_measured, int64_t *ret_bps)
{
    virDomainStatsRecordPtr *stats;
    long long mib = 0;
    int status = VIR_DOMAIN_DIRTYRATE_UNSTARTED;
    int r = read_stats(watch, VIR_DOMAIN_STATS_DIRTYRATE, &stats);

    if (r < 0)
        return r;
    virTypedParamsGetInt(stats[0]->params, stats[0]->nparams, "dirtyrate.calc_status", &status);
    virTypedParamsGetLLong(stats[0]->params, stats[0]->nparams, "dirtyrate.megabytes_per_second",
                           &mib);
    virDomainStatsRecordListFree(stats);
    *ret_measured = status == VIR_DOMAIN_DIRTYRATE_MEASURED;
    *ret_bps = mib > 0 ? mib * MIB_BYTES : 0;
    return 0;
}

int hv_watch_state(struct hv_watch *watch, bool *ret_active, bool *ret_running)
{
    int state;
    int reason;

    if (virDomainGetState(watch->dom, &state, &reason, 0) < 0) {
        int r = last_errno(watch->conn);

        if (r != -ENOENT)
            return r;
        *ret_active = *ret_running = false;
        return 0;
    }
    *ret_active = state != VIR_DOMAIN_SHUTOFF && state != VIR_DOMAIN_CRASHED;
    *ret_running = state == VIR_DOMAIN_RUNNING || state == VIR_DOMAIN_BLOCKED;
    return 0;
}
