/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/page/document.h"

#include <time.h>

#include "agent/record/migration_json.h"
#include "common/cleanup.h"
#include "common/json.h"
#include "common/printable.h"

struct json_object *document_new(void)
{
    struct json_object *o = json_object_new_object();
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    json_add_count(o, "schema_version", 1);
    json_add_time(o, "time", &now);
    return o;
}

char *document_text(struct json_object *document, size_t *ret_len)
{
    AUTO_JSON struct json_object *owned = document;
    size_t len;
    const char *raw = json_object_to_json_string_length(
        owned, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &len);

    return printable_json(raw, len, ret_len);
}

void document_send(struct metrics_reply *ret, struct json_object *document)
{
    size_t len;
    AUTO_FREE char *text = document_text(document, &len);

    metrics_buf_add(&ret->body, text, len);
}

unsigned document_refuse(struct metrics_reply *ret, unsigned status, const char *why)
{
    struct json_object *o = document_new();

    json_add_text(o, "error", why);
    document_send(ret, o);
    return status;
}
