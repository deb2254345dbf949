/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Metadata that is understood is written as metadata that says the same; what is not understood
 * comes with a printable error and asks for nothing but to be observed.
 */
#include "agent/virt/metadata.h"

#include <ctype.h>
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
    char *xml = size > 0 ? strndup((const char *)data, size) : strdup("");
    struct metadata metadata, again;
    char *written;

    check(xml);
    metadata_parse(xml, &metadata);
    for (const char *c = metadata.error; *c; c++)
        check(isprint((unsigned char)*c));
    if (metadata.error[0]) {
        check(metadata.layer.set == 1u << POLICY_MODE && !metadata.labels[0]);
        check(metadata.layer.values.v[POLICY_MODE] == MODE_OBSERVE);
    } else {
        check(metadata_format(&metadata, &written) == 0);
        metadata_parse(written, &again);
        /* A quantity may be rounded as it is written. */
        check(!again.error[0] && again.layer.set == metadata.layer.set);
        check(strcmp(again.labels, metadata.labels) == 0);
        free(written);
    }
    free(xml);
    return 0;
}
