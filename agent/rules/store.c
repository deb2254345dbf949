/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/rules/store.h"

#include <errno.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/json.h"
#include "common/json_strict.h"
#include "common/textfile.h"

int store_load(int dirfd, const char *name, size_t max_bytes, struct json_object **ret,
               struct error *ret_err)
{
    char *text AUTO_FREE = NULL;
    struct json_object *root AUTO_JSON = NULL;
    struct json_object *version;
    struct error err;
    size_t len;
    int r = textfile_read(dirfd, name, max_bytes, &text, &len);

    if (r < 0)
        return error_set(ret_err, r, "%s", strerror(-r));
    r = json_strict_parse(text, len, &root, &err);
    if (r < 0)
        return error_set(ret_err, r, "line %u: %s", err.line, err.text);
    if (!json_object_is_type(root, json_type_object) ||
        !json_object_object_get_ex(root, "schema_version", &version) ||
        !json_object_is_type(version, json_type_int) ||
        json_object_get_int64(version) != STORE_SCHEMA_VERSION)
        return error_set(ret_err, -EINVAL, "its schema_version is not %d", STORE_SCHEMA_VERSION);
    *ret = STEAL(root);
    return 0;
}
