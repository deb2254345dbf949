/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What could not be restored so far, as the control socket and the page tell it. */
#ifndef MIGPOLICY_LEFTOVERS_JSON_H
#define MIGPOLICY_LEFTOVERS_JSON_H

#include "agent/watch/leftovers.h"
#include "common/json.h"

/* An array of the interface's type Leftover: of one domain, or with NULL of all. Thread-safe, and
 * waits for no restore. */
struct json_object *leftovers_to_json(struct leftovers *l, const char *uuid);

#endif
