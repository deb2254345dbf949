/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migpolicy apply, reload */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/cli/cli.h"
#include "agent/rules/config.h"

/* What the daemon takes in one call, and a little more: the daemon says so itself. */
#define APPLY_BYTES_MAX ((size_t)1024 * 1024)

enum { FROM, DRY_RUN, IGNORE_MISSING, EXPECTED };
static const struct cli_option apply_options[] = {
    [FROM] = {"file", "FILE", "the policies; - for standard input", .letter = 'f'},
    [DRY_RUN] = {"dry-run", NULL, "only show what would change"},
    [IGNORE_MISSING] = {"ignore-missing", NULL, "leave out VMs that are not on this host"},
    [EXPECTED] = {"expected", NULL, "store it for VMs that are not here for when they come"},
    {NULL},
};

static int read_stdin(char **ret_text, size_t *ret_len)
{
    char *text = alloc_need(malloc(APPLY_BYTES_MAX + 1));
    size_t len = fread(text, 1, APPLY_BYTES_MAX + 1, stdin);

    if (ferror(stdin) || len > APPLY_BYTES_MAX) {
        free(text);
        return cli_fail(CLI_ERROR, "standard input: %s",
                        len > APPLY_BYTES_MAX ? "larger than 1 MiB" : "cannot be read");
    }
    *ret_text = text;
    *ret_len = len;
    return CLI_OK;
}

static int read_vms(const char *path, struct json_object **ret_vms)
{
    AUTO_FREE char *text = NULL;
    struct error err;
    size_t len = 0;
    bool is_stdin = strcmp(path, "-") == 0;
    int code =
        is_stdin ? read_stdin(&text, &len) : cli_read_file(path, APPLY_BYTES_MAX, &text, &len);

    if (code != CLI_OK)
        return code;
    if (config_parse_vms(text, len, is_stdin ? "standard input" : path, ret_vms, &err) < 0)
        return cli_fail(CLI_ERROR, "%s", err.text);
    return CLI_OK;
}

static int apply(const struct cli *cli)
{
    AUTO_JSON struct json_object *reply = NULL;
    AUTO_JSON struct json_object *parameters = json_object_new_object();
    struct json_object *vms;
    struct json_object *changes;
    int code;

    if (!cli->option[FROM] || cli->n_args > 0)
        return cli_fail(CLI_USAGE, "apply takes -f FILE, or -f - for standard input");
    if (cli->option[IGNORE_MISSING] && cli->option[EXPECTED])
        return cli_fail(CLI_USAGE, "--ignore-missing and --expected: leave out one of them");
    code = read_vms(cli->option[FROM], &vms);
    if (code != CLI_OK)
        return code;
    json_object_object_add(parameters, "vms", vms);
    json_object_object_add(parameters, "dry_run",
                           json_object_new_boolean(cli->option[DRY_RUN] != NULL));
    json_object_object_add(parameters, "ignore_missing",
                           json_object_new_boolean(cli->option[IGNORE_MISSING] != NULL));
    if (cli->option[EXPECTED])
        json_object_object_add(parameters, "expected", json_object_new_boolean(true));
    code = cli_call(cli, "io.migpolicy.Apply", STEAL(parameters), &reply);
    if (code != CLI_OK)
        return code;
    if (cli->json) {
        cli_print_json(reply);
        return CLI_OK;
    }
    changes = cli_array(reply, "changes");
    for (size_t i = 0; i < cli_array_length(changes) && !cli->quiet; i++) {
        struct json_object *change = json_object_array_get_idx(changes, i);
        const char *until = cli_string(change, "until");

        cli_line("%s: %s: %s -> %s%s%s", cli_string(change, "vm"), cli_string(change, "field"),
                 cli_string(change, "before"), cli_string(change, "after"), until ? ", until " : "",
                 until ? until : "");
    }
    if (cli_array_length(changes) == 0 && !cli->quiet)
        cli_line("Nothing %s in effect.", cli->option[DRY_RUN] ? "would change" : "has changed");
    return CLI_OK;
}

static int reload(const struct cli *cli)
{
    AUTO_JSON struct json_object *reply = NULL;
    int code = cli_no_arguments(cli);

    if (code == CLI_OK)
        code = cli_call(cli, "io.migpolicy.Reload", NULL, &reply);
    if (code != CLI_OK || !cli_string(reply, "not_in_force"))
        return code;
    return cli_fail(CLI_OK, "%s", cli_string(reply, "not_in_force"));
}

const struct cli_verb cli_apply = {"apply", apply, "-f FILE|-",
                                   "policies of several VMs at once, all or none", apply_options};
const struct cli_verb cli_reload = {"reload", reload, "",
                                    "have the daemon read its configuration anew"};
