/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What every answer under /api/v1/ has in common. */
#ifndef MIGPOLICY_DOCUMENT_H
#define MIGPOLICY_DOCUMENT_H

#include "metrics/metrics.h"

struct json_object;

/* Every document begins with its schema_version and the time. The caller's. */
struct json_object *document_new(void);

/* What is sent of it, without control characters. Takes it over; the text is the caller's. */
char *document_text(struct json_object *document, size_t *ret_len);

/* The same, into the body of a reply. */
void document_send(struct metrics_reply *ret, struct json_object *document);

/* {"error": why}. Returns the status. */
unsigned document_refuse(struct metrics_reply *ret, unsigned status, const char *why);

#endif
