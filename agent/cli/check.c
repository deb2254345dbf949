/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migpolicy check, version */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "agent/cli/cli.h"
#include "agent/rules/config.h"
#include "common/json_strict.h"
#include "common/textfile.h"

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

static void add_string(struct json_object *object, const char *key, const char *value)
{
    json_object_object_add(object, key, value ? json_object_new_string(value) : NULL);
}

static enum cli_exit exit_code(int error)
{
    switch (error) {
    case ENOENT:
        return CLI_NOT_FOUND;
    case EACCES:
    case EPERM:
        return CLI_PERMISSION;
    default:
        return CLI_ERROR;
    }
}

/* Has it a word in brackets, such as web[prod], which matches webp but no VM of that name? */
static bool has_word_in_brackets(const char *pattern)
{
    for (const char *p = pattern; *p; p++) {
        size_t len = *p == '[' ? strspn(p + 1, LETTERS) : 0;

        if (len >= 3 && p[1 + len] == ']')
            return true;
        if (*p == '\\' && p[1])
            p++;
    }
    return false;
}

static void warn_of_brackets(const struct config *config)
{
    for (size_t i = 0; i < config->rules; i++) {
        const struct config_rule *rule = &config->rule[i];

        for (char **name = rule->select.text[SELECT_NAME]; name && *name; name++) {
            if (has_word_in_brackets(*name))
                cli_fail(CLI_OK,
                         "%s: the pattern \"%s\" does not match a VM of that very name; a plain [ "
                         "is written \\\\[ in JSON",
                         rule->source, *name);
        }
    }
}

/* Whichever it is, a configuration or a file for apply. -errno with the error set. */
static int check(const char *path, struct error *error)
{
    AUTO_FREE char *text = NULL;
    AUTO_JSON struct json_object *vms = NULL;
    struct config config;
    size_t len;
    int r;

    if (textfile_read(AT_FDCWD, path, JSON_STRICT_MAX_BYTES, &text, &len) == 0) {
        r = config_parse_vms(text, len, path, &vms, error);
        if (r != -ENOENT)
            return r;
    }
    r = config_load(path, &config, error);
    if (r < 0)
        return r;
    warn_of_brackets(&config);
    if (config.ignored)
        cli_fail(CLI_OK, "not read, as its name does not end in .json: %s", config.ignored);
    config_clear(&config);
    return 0;
}

static int check_path(const struct cli *cli)
{
    const char *path = cli->n_args > 0 ? cli->args[0] : CONFIG_DEFAULT_PATH;
    struct error error = {0};
    int r;

    if (cli->n_args > 1)
        return cli_fail(CLI_USAGE, "check takes one file or directory; what is \"%s\"?",
                        cli->args[1]);
    r = check(path, &error);
    if (cli->json) {
        AUTO_JSON struct json_object *report = json_object_new_object();

        add_string(report, "path", path);
        json_object_object_add(report, "valid", json_object_new_boolean(r == 0));
        add_string(report, "error", r < 0 ? error.text : NULL);
        cli_print_json(report);
    }
    if (r < 0)
        return cli_fail(exit_code(-r), "%s", *error.text ? error.text : strerror(-r));
    if (!cli->json && !cli->quiet)
        cli_line("%s is valid", path);
    return CLI_OK;
}

static int version(const struct cli *cli)
{
    AUTO_FREE char *error = NULL;
    AUTO_JSON struct json_object *reply = NULL;
    const char *daemon_version;
    int r;

    if (cli_no_arguments(cli) != CLI_OK)
        return CLI_USAGE;
    r = cli_try_call(cli, "org.varlink.service.GetInfo", NULL, &error, &reply);
    daemon_version = r == 0 && !error ? cli_string(reply, "version") : NULL;
    if (cli->json) {
        AUTO_JSON struct json_object *report = json_object_new_object();

        add_string(report, "version", MIGPOLICY_VERSION);
        add_string(report, "daemon_version", daemon_version);
        cli_print_json(report);
        return CLI_OK;
    }
    cli_line("migpolicy %s", MIGPOLICY_VERSION);
    if (r < 0)
        cli_line("migpolicyd not reached at %s: %s", cli->socket, strerror(-r));
    else
        cli_line("migpolicyd %s", daemon_version ? daemon_version : "of unknown version");
    return CLI_OK;
}

const struct cli_verb cli_check = {"check", check_path, "[FILE|DIR]",
                                   "say what is wrong with a configuration or file for apply"};
const struct cli_verb cli_version = {"version", version, "",
                                     "versions of this command and of the daemon"};
