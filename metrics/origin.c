/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tells requests that a page of somebody else's has a browser send, with the rights of its user. */
#include "metrics/internal.h"

#include <string.h>
#include <strings.h>

static bool is_loopback(const char *host)
{
    static const char *const names[] = {"localhost", "127.0.0.1", "[::1]"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        size_t len = strlen(names[i]);

        if (strncasecmp(host, names[i], len) == 0 && (!host[len] || host[len] == ':'))
            return true;
    }
    return false;
}

bool metrics_is_same_origin(const char *origin, const char *site, const char *host, bool is_tls,
                            bool is_unix)
{
    const char *scheme = is_tls ? "https://" : "http://";

    if (!origin)
        return !site; /* browsers send it with every POST */
    if (site && strcmp(site, "same-origin") != 0)
        return false;
    return host && strncmp(origin, scheme, strlen(scheme)) == 0 &&
           strcasecmp(origin + strlen(scheme), host) == 0 && (!is_unix || is_loopback(host));
}
