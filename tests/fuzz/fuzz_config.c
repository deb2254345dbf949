/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The input is a configuration file; a second one, after a NUL, is laid over it. */
#include "agent/rules/config.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

static bool parse(const char *text, size_t len, struct config *config)
{
    struct error err;
    int r = config_parse(text, len, "FILE", config, &err);

    if (r < 0) {
        check(r == -EINVAL || r == -E2BIG);
        check(strnlen(err.text, sizeof(err.text)) < sizeof(err.text));
        check(strncmp(err.text, "FILE:", 5) == 0 && atoi(err.text + 5) > 0);
        for (const char *c = err.text; *c; c++)
            check(!iscntrl((unsigned char)*c));
    }
    return r == 0;
}

static void parse_vms(const char *text, size_t len)
{
    struct json_object *vms = NULL;
    struct error err;
    int r = config_parse_vms(text, len, "FILE", &vms, &err);

    check((r == 0) == (vms != NULL));
    if (r < 0)
        check(strncmp(err.text, "FILE:", 5) == 0 && atoi(err.text + 5) > 0);
    json_object_put(vms);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    const char *nul = size ? memchr(text, 0, size) : NULL;
    size_t first = nul ? (size_t)(nul - text) : size;
    struct config config = {0};

    if (parse(text, first, &config) && nul)
        parse(nul + 1, size - first - 1, &config);
    for (size_t i = 0; i < config.rules; i++)
        check(!selector_is_empty(&config.rule[i].select) ||
              !strstr(config.rule[i].source, "/rules/"));
    config_clear(&config);
    parse_vms(text, size);
    return 0;
}
