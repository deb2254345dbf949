/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What an implementation of hypervisor.h provides: each function as its namesake there. struct
 * hv_link and struct hv_watch are completed by each implementation for itself.
 */
#ifndef MIGPOLICY_HV_OPS_H
#define MIGPOLICY_HV_OPS_H

#include "agent/virt/hypervisor.h"

struct hv_ops {
    const struct throttle_ops *throttle;
    int (*init)(const char *uri);
    const char *(*error)(void);
    int (*link_open)(const char *uri, hv_event_fn event, hv_closed_fn closed, void *opaque,
                     struct hv_link **ret);
    void (*link_close)(struct hv_link *link);
    int (*link_list)(struct hv_link *link, struct hv_domain **ret_domains, size_t *ret_count);
    int (*link_probe)(struct hv_link *link, const struct hv_domain *domain, bool *ret_migrating);
    int (*link_metadata)(struct hv_link *link, const char *uuid, char **ret_xml);
    int (*watch_open)(const char *uri, const char *uuid, struct hv_watch **ret);
    void (*watch_close)(struct hv_watch *watch);
    int (*watch_job)(struct hv_watch *watch, struct hv_job *ret);
    int (*watch_get_downtime)(struct hv_watch *watch, int64_t *ret_ns);
    int (*watch_set_downtime)(struct hv_watch *watch, int64_t ns);
    int (*watch_get_speed)(struct hv_watch *watch, int64_t *ret_bps);
    int (*watch_set_speed)(struct hv_watch *watch, int64_t bps);
    int (*watch_set_compression_cache)(struct hv_watch *watch, int64_t bytes);
    int (*watch_post_copy)(struct hv_watch *watch);
    int (*watch_suspend)(struct hv_watch *watch);
    int (*watch_cancel)(struct hv_watch *watch);
    int (*watch_flush)(struct hv_watch *watch, int64_t *ret_ns);
    int (*watch_metadata)(struct hv_watch *watch, char **ret_xml);
    int (*watch_set_metadata)(struct hv_watch *watch, const char *xml);
    int (*watch_facts)(struct hv_watch *watch, struct hv_facts *ret);
    int (*watch_start_dirty_rate)(struct hv_watch *watch, int seconds);
    int (*watch_dirty_rate)(struct hv_watch *watch, bool *ret_measured, int64_t *ret_bps);
    int (*watch_state)(struct hv_watch *watch, bool *ret_active, bool *ret_running);
};

extern const struct hv_ops hv_libvirt;
extern const struct hv_ops hv_simulated; /* URI sim:FILE */

#endif
