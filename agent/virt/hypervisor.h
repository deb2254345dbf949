/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The hypervisor as the agent sees it: one connection for events and the list of domains, and one
 * connection per watched migration, so that a domain whose monitor hangs delays nobody else. Which
 * one it is, is chosen by what is linked: libvirt (libvirt.c) in migpolicyd, a simulated host
 * (agent/sim/) in migpolicyd-sim.
 *
 * Functions return 0 or -errno: -ENOTCONN (the connection is lost or cannot be made), -ENOENT (no
 * such domain), -EINVAL (not possible in the domain's present state), -ETIMEDOUT (the domain is
 * busy), -EIO (anything else). hypervisor_error() then tells what the hypervisor said, for a log
 * line.
 */
#ifndef MIGPOLICY_HYPERVISOR_H
#define MIGPOLICY_HYPERVISOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HV_NAME_MAX = 256, HV_UUID_MAX = 37, HV_VCPUS_MAX = 1024 };

struct hv_domain {
    char name[HV_NAME_MAX]; /* cut if longer; never trusted */
    char uuid[HV_UUID_MAX];
    int id; /* -1: not running */
};

/* How a migration went, as the source's hypervisor tells at its end. -1: not told. */
struct hv_result {
    int64_t elapsed_ms;
    int64_t downtime_ms;
    int64_t memory_processed_bytes;
};

enum hv_event_kind {
    HV_DOMAIN_SEEN,    /* defined or started */
    HV_DOMAIN_CHANGED, /* gone or stopped: the list must be read anew */
    HV_SYNC,           /* a dirty-bitmap sync of a migration, save or dump */
    HV_SWITCHOVER,     /* paused by a migration */
    HV_POST_COPY,
    HV_POST_COPY_FAILED, /* the guest is stopped until the migration is recovered */
    HV_RESUMED,          /* running again on this host */
    HV_STOPPED,          /* no longer on this host: migrated, shut off or crashed */
    HV_COMPLETED,        /* a job ended well; `result` is valid */
    HV_METADATA,         /* metadata changed; HV_DOMAIN_SEEN may imply it, too */
};

struct hv_event {
    enum hv_event_kind kind;
    struct hv_domain domain;
    int64_t now_ns; /* monotonic clock */
    bool migrated;  /* HV_STOPPED: by a migration */
    struct hv_result result;
};

/* Called from the event loop's thread or one of the hypervisor's own: must only mark and wake. */
typedef void (*hv_event_fn)(const struct hv_event *event, void *opaque);
typedef void (*hv_closed_fn)(void *opaque);

/* Statistics of the job under way. */
struct hv_job {
    bool active;
    bool outgoing; /* an outgoing migration, not a save, dump or incoming one */
    int64_t elapsed_ns;
    uint64_t iteration;
    uint64_t memory_total_bytes;
    uint64_t memory_processed_bytes;
    uint64_t memory_remaining_bytes;
    uint64_t disk_total_bytes;
    uint64_t disk_remaining_bytes;
    int64_t expected_downtime_ns;
    unsigned auto_converge_percent;
    uint64_t compression_cache_bytes; /* 0: not compressed by XBZRLE */
    bool post_copy;
};

/* What a domain has and uses. */
struct hv_facts {
    uint64_t memory_bytes;
    uint64_t resident_bytes; /* what its process holds in memory, as much at most; 0: unknown */
    unsigned vcpus;          /* in use, HV_VCPUS_MAX at most */
    int64_t vcpu_time_ns[HV_VCPUS_MAX]; /* CPU time each has used so far */
};

/* Once, after loop_init() and before all else, with the URI that all is to be opened with. */
int hypervisor_init(const char *uri);

/* What went wrong last in this thread. Valid until the thread's next call. Never NULL. */
const char *hypervisor_error(void);

/* The connection for events. Opened, listed and closed by one thread; events may come before it is
 * open. */
struct hv_link;
int hv_link_open(const char *uri, hv_event_fn event, hv_closed_fn closed, void *opaque,
                 struct hv_link **ret);
void hv_link_close(struct hv_link *link);

/* All domains, active or not. The caller frees *ret_domains with free(). */
int hv_link_list(struct hv_link *link, struct hv_domain **ret_domains, size_t *ret_count);

/* Is a job under way that may be an outgoing migration? Does not wait for the monitor when idle. */
int hv_link_probe(struct hv_link *link, const struct hv_domain *domain, bool *ret_migrating);

/*
 * The XML element that a domain's metadata has for METADATA_URI (agent/virt/metadata.h), which the
 * caller frees; *ret_xml is NULL if there is none. Takes no job, waits for no monitor.
 */
int hv_link_metadata(struct hv_link *link, const char *uuid, char **ret_xml);

/*
 * The XML that describes the domain, which the caller frees; NULL if there is none. Takes no job,
 * waits for no monitor.
 */
int hv_link_description(struct hv_link *link, const char *uuid, char **ret_xml);

/* A connection of its own to watch one domain. Used by one thread at a time. */
struct hv_watch;
int hv_watch_open(const char *uri, const char *uuid, struct hv_watch **ret);
void hv_watch_close(struct hv_watch *watch);

int hv_watch_job(struct hv_watch *watch, struct hv_job *ret);
int hv_watch_get_downtime(struct hv_watch *watch, int64_t *ret_ns);
int hv_watch_set_downtime(struct hv_watch *watch, int64_t ns);
/*
 * The migration speed limit in bytes per second, rounded up to MiB/s; 0: none. One that was given
 * to the migration when it was started is not known to libvirt's getter.
 */
int hv_watch_get_speed(struct hv_watch *watch, int64_t *ret_bps);
int hv_watch_set_speed(struct hv_watch *watch, int64_t bps);

int hv_watch_set_compression_cache(struct hv_watch *watch, int64_t bytes);

/* Asks for the switch to post-copy; an event confirms it. -EINVAL: not started with post-copy. */
int hv_watch_post_copy(struct hv_watch *watch);

/* Pauses the guest. It runs on where the migration ends: at the destination, or here if it fails.
 */
int hv_watch_suspend(struct hv_watch *watch);

int hv_watch_cancel(struct hv_watch *watch);

/*
 * What a flush of the domain's disks took lately, on average; 0 while there was none to see. It
 * happens inside the blackout and no downtime limit knows of it. A lower bound: under load of the
 * final flush it takes longer.
 */
int hv_watch_flush(struct hv_watch *watch, int64_t *ret_ns);

/* As hv_link_metadata(). */
int hv_watch_metadata(struct hv_watch *watch, char **ret_xml);
int hv_watch_description(struct hv_watch *watch, char **ret_xml);

/*
 * Replaces that element, in the running domain and in its definition; NULL: removes it. -EBUSY: not
 * while the domain has a job such as a migration, for which it waits at most a moment.
 */
int hv_watch_set_metadata(struct hv_watch *watch, const char *xml);

int hv_watch_facts(struct hv_watch *watch, struct hv_facts *ret);

/*
 * Has the hypervisor measure, for 1 to 60 whole seconds, how much of its memory a running domain
 * dirties; not during a migration. It compares samples of the memory, which costs the guest next to
 * nothing. The result is the unique bytes dirtied in that time, per second, in whole MiB.
 */
int hv_watch_start_dirty_rate(struct hv_watch *watch, int seconds);
int hv_watch_dirty_rate(struct hv_watch *watch, bool *ret_measured, int64_t *ret_bps);

/* Does the domain still exist on this host, and does it run? Takes no job, waits for no monitor. */
int hv_watch_state(struct hv_watch *watch, bool *ret_active, bool *ret_running);

#endif
