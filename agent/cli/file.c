/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files named on the command line. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "agent/cli/cli.h"
#include "common/json_strict.h"
#include "common/textfile.h"
#include "policy/json/policy_json.h"

#define POLICY_BYTES_MAX ((size_t)64 * 1024)

int cli_read_file(const char *path, size_t max, char **ret_text, size_t *ret_len)
{
    int r = textfile_read(AT_FDCWD, path, max, ret_text, ret_len);

    switch (r) {
    case 0:
        return CLI_OK;
    case -ENOENT:
        return cli_fail(CLI_NOT_FOUND, "%s: there is no such file", path);
    case -EACCES:
    case -EPERM:
        return cli_fail(CLI_PERMISSION, "%s: %s; try as root", path, strerror(-r));
    default:
        return cli_fail(CLI_ERROR, "%s: %s", path, strerror(-r));
    }
}

int cli_read_policy(const char *path, struct policy_layer *ret)
{
    AUTO_FREE char *text = NULL;
    AUTO_JSON struct json_object *object = NULL;
    struct error wrong;
    struct error err;
    char pointer[sizeof(wrong.where) + 1];
    size_t len;
    int r = cli_read_file(path, POLICY_BYTES_MAX, &text, &len);

    if (r != CLI_OK)
        return r;
    if (json_strict_parse(text, len, &object, &err) < 0)
        return cli_fail(CLI_ERROR, "%s:%u: %s", path, err.line, err.text);
    if (policy_layer_from_json(object, ret, &wrong) < 0) {
        snprintf(pointer, sizeof(pointer), "%s%s", *wrong.where ? "/" : "", wrong.where);
        return cli_fail(CLI_ERROR, "%s:%d: %s: %s", path, json_strict_line(text, len, pointer),
                        *wrong.where ? wrong.where : "policy", wrong.text);
    }
    return CLI_OK;
}
