/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One process deals with one hypervisor; its URI tells which kind. */
#include "agent/virt/hypervisor.h"

#include <string.h>

#include "agent/virt/hv_ops.h"

static const struct hv_ops *ops = &hv_libvirt;

int hypervisor_init(const char *uri)
{
    ops = strncmp(uri, "sim:", 4) == 0 ? &hv_simulated : &hv_libvirt;
    return ops->init(uri);
}

const struct throttle_ops *hypervisor_throttle(void)
{
    return ops->throttle;
}

const char *hypervisor_error(void)
{
    return ops->error();
}

int hv_link_open(const char *uri, hv_event_fn event, hv_closed_fn closed, void *opaque,
                 struct hv_link **ret)
{
    return ops->link_open(uri, event, closed, opaque, ret);
}

void hv_link_close(struct hv_link *link)
{
    ops->link_close(link);
}

int hv_link_list(struct hv_link *link, struct hv_domain **ret_domains, size_t *ret_count)
{
    return ops->link_list(link, ret_domains, ret_count);
}

int hv_link_probe(struct hv_link *link, const struct hv_domain *domain, bool *ret_migrating)
{
    return ops->link_probe(link, domain, ret_migrating);
}

int hv_link_metadata(struct hv_link *link, const char *uuid, char **ret_xml)
{
    return ops->link_metadata(link, uuid, ret_xml);
}

int hv_watch_open(const char *uri, const char *uuid, struct hv_watch **ret)
{
    return ops->watch_open(uri, uuid, ret);
}

void hv_watch_close(struct hv_watch *watch)
{
    ops->watch_close(watch);
}

int hv_watch_job(struct hv_watch *watch, struct hv_job *ret)
{
    return ops->watch_job(watch, ret);
}

int hv_watch_get_downtime(struct hv_watch *watch, int64_t *ret_ns)
{
    return ops->watch_get_downtime(watch, ret_ns);
}

int hv_watch_set_downtime(struct hv_watch *watch, int64_t ns)
{
    return ops->watch_set_downtime(watch, ns);
}

int hv_watch_get_speed(struct hv_watch *watch, int64_t *ret_bps)
{
    return ops->watch_get_speed(watch, ret_bps);
}

int hv_watch_set_speed(struct hv_watch *watch, int64_t bps)
{
    return ops->watch_set_speed(watch, bps);
}

int hv_watch_set_compression_cache(struct hv_watch *watch, int64_t bytes)
{
    return ops->watch_set_compression_cache(watch, bytes);
}

int hv_watch_post_copy(struct hv_watch *watch)
{
    return ops->watch_post_copy(watch);
}

int hv_watch_suspend(struct hv_watch *watch)
{
    return ops->watch_suspend(watch);
}

int hv_watch_cancel(struct hv_watch *watch)
{
    return ops->watch_cancel(watch);
}

int hv_watch_flush(struct hv_watch *watch, int64_t *ret_ns)
{
    return ops->watch_flush(watch, ret_ns);
}

int hv_watch_metadata(struct hv_watch *watch, char **ret_xml)
{
    return ops->watch_metadata(watch, ret_xml);
}

int hv_watch_set_metadata(struct hv_watch *watch, const char *xml)
{
    return ops->watch_set_metadata(watch, xml);
}

int hv_watch_facts(struct hv_watch *watch, struct hv_facts *ret)
{
    return ops->watch_facts(watch, ret);
}

int hv_watch_start_dirty_rate(struct hv_watch *watch, int seconds)
{
    return ops->watch_start_dirty_rate(watch, seconds);
}

int hv_watch_dirty_rate(struct hv_watch *watch, bool *ret_measured, int64_t *ret_bps)
{
    return ops->watch_dirty_rate(watch, ret_measured, ret_bps);
}

int hv_watch_state(struct hv_watch *watch, bool *ret_active, bool *ret_running)
{
    return ops->watch_state(watch, ret_active, ret_running);
}
