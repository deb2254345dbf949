/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The input is a file that says who may read over HTTP. */
#include "metrics/webconfig.h"

#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct webconfig *w = NULL;
    struct error err;
    int r = webconfig_parse((const char *)data, size, "FILE", &w, &err);

    check((r == 0) == (w != NULL));
    if (r < 0) {
        check(r == -EINVAL);
        check(strnlen(err.text, sizeof(err.text)) < sizeof(err.text));
        check(strncmp(err.text, "FILE:", 5) == 0 && atoi(err.text + 5) > 0);
        for (const char *c = err.text; *c; c++)
            check(!iscntrl((unsigned char)*c));
        return 0;
    }
    check(!w->cert_file == !w->key_file);
    for (size_t i = 0; i < w->users; i++)
        check(strlen(w->user[i].hash) == 60 && *w->user[i].name);
    webconfig_free(w);
    return 0;
}
