/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Asking the daemon, and saying what went wrong. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "agent/cli/cli.h"
#include "agent/cli/varlink_client.h"
#include "agent/control/varlink.h"
#include "common/alloc.h"
#include "common/json_strict.h"

/* The daemon answers from memory, mostly; one that takes this long is stuck. */
#define TIMEOUT_MS 10000
#define SIGN_IN_MS 120000

void cli_cleanup_client(struct varlink_client **client)
{
    varlink_client_free(*client);
}

/* The daemon drops a peer whose text is not JSON, so arguments that cannot be sent never are. */
static bool is_sendable(struct json_object *parameters)
{
    AUTO_JSON struct json_object *parsed = NULL;
    const char *text = json_object_to_json_string(parameters);

    return json_strict_parse(text, strlen(text), &parsed, NULL) == 0;
}

/* A word for the remote shell. */
static char *quoted(const char *word)
{
    char *text = alloc_need(malloc(strlen(word) * 4 + 3));
    char *p = text;

    *p++ = '\'';
    for (; *word; word++)
        p = *word == '\'' ? stpcpy(p, "'\\''") : (*p = *word, p + 1);
    strcpy(p, "'");
    return text;
}

/* Another host's daemon is reached by a command there that passes on what it reads and writes. */
static int connect_host(const struct cli *cli, struct varlink_client **ret)
{
    AUTO_FREE char *socket = quoted(cli->socket);
    AUTO_FREE char *command = NULL;

    alloc_need_length(asprintf(&command, "exec migpolicy --socket=%s bridge", socket));
    return varlink_client_run((const char *const[]){"ssh", "-T", "--", cli->host, command, NULL},
                              ret);
}

static int connect_daemon(const struct cli *cli, struct varlink_client **ret)
{
    return cli->host ? connect_host(cli, ret)
                     : varlink_client_connect(cli->socket, TIMEOUT_MS, ret);
}

/* How the ssh of a connection that failed has ended, in what is reported of it; else the error. */
enum { SSH_ENDED = 1000 };

static int find_cause(const struct cli *cli, struct varlink_client *client, int r)
{
    int status = cli->host && r == -ECONNRESET ? varlink_client_status(client) : -1;

    return status >= 0 && WIFEXITED(status) && WEXITSTATUS(status) > 0
               ? -(SSH_ENDED + WEXITSTATUS(status))
               : r;
}

/* Signing in may take a password. */
static int patience_ms(const struct cli *cli)
{
    int answer_ms = cli->answer_ms ? cli->answer_ms : TIMEOUT_MS;

    return cli->host ? answer_ms + SIGN_IN_MS : answer_ms;
}

int cli_try_call(const struct cli *cli, const char *method, struct json_object *parameters,
                 char **ret_error, struct json_object **ret_reply)
{
    static struct varlink_client *kept; /* to a host: nobody signs in for each call */
    AUTO_JSON struct json_object *owned = parameters;
    CLEANUP(cli_cleanup_client) struct varlink_client *client = STEAL(kept);
    int r;

    if (!is_sendable(owned))
        return -EILSEQ;
    r = client ? 0 : connect_daemon(cli, &client);
    if (r < 0)
        return r;
    r = varlink_client_call(client, method, owned, patience_ms(cli), ret_error, ret_reply);
    if (r < 0)
        return find_cause(cli, client, r);
    if (cli->host)
        kept = STEAL(client);
    return 0;
}

int cli_try_follow(const struct cli *cli, const char *vm, struct varlink_client **ret)
{
    AUTO_JSON struct json_object *parameters = json_object_new_object();
    CLEANUP(cli_cleanup_client) struct varlink_client *client = NULL;
    int r;

    if (vm && !cli_is_pattern(vm))
        json_object_object_add(parameters, "vm", json_object_new_string(vm));
    if (!is_sendable(parameters))
        return -EILSEQ;
    r = connect_daemon(cli, &client);
    if (r == 0)
        r = varlink_client_begin(client, "io.migpolicy.Monitor", parameters, TIMEOUT_MS);
    if (r < 0)
        return r;
    *ret = STEAL(client);
    return 0;
}

int cli_try_next(const struct cli *cli, struct varlink_client *client, int timeout_ms,
                 char **ret_error, struct json_object **ret_reply)
{
    bool continues = true;
    int r = varlink_client_next(client, timeout_ms < 0 ? patience_ms(cli) : timeout_ms, &continues,
                                ret_error, ret_reply);

    if (r < 0)
        return r == -ETIMEDOUT ? r : find_cause(cli, client, r);
    /* It ends with an error only. */
    if (continues == !*ret_error)
        return 0;
    json_object_put(*ret_reply);
    free(*ret_error);
    return -EPROTO;
}

static int report_ssh(const struct cli *cli, int status)
{
    /* What the command there has to say was said on standard error already, and so by ssh. */
    if (status == 127)
        return cli_fail(CLI_UNREACHABLE, "there is no migpolicy in the PATH of %s", cli->host);
    if (status == 255)
        return cli_fail(CLI_UNREACHABLE, "cannot reach %s by ssh", cli->host);
    return status;
}

static int report_failure(const struct cli *cli, int error)
{
    if (error > SSH_ENDED)
        return report_ssh(cli, error - SSH_ENDED);
    if (cli->host && error == ENOENT)
        return cli_fail(CLI_UNREACHABLE, "there is no ssh, which --host takes");
    switch (error) {
    case EILSEQ:
        return cli_fail(CLI_USAGE, "an argument is not valid UTF-8; VM names are");
    case ETIMEDOUT:
        return cli_fail(CLI_TIMEOUT, "no answer from migpolicyd at %s; look at its log",
                        cli->socket);
    case EACCES:
    case EPERM:
        return cli_fail(CLI_PERMISSION, "cannot connect to %s: %s; root and the socket's group may",
                        cli->socket, strerror(error));
    case ECONNRESET:
    case EPIPE:
        return cli_fail(CLI_UNREACHABLE, "migpolicyd at %s closed the connection; look at its log",
                        cli->socket);
    case EPROTO:
        return cli_fail(CLI_ERROR, "what answers at %s is not migpolicyd; check --socket",
                        cli->socket);
    case E2BIG:
        return cli_fail(CLI_USAGE, "the arguments are too long; shorten them");
    default:
        return cli_fail(CLI_UNREACHABLE, "cannot reach migpolicyd at %s: %s; is it running?",
                        cli->socket, strerror(error));
    }
}

static const char *text_or(const char *text, const char *otherwise)
{
    return text ? text : otherwise;
}

static int report_error(const struct cli *cli, const char *error, struct json_object *reply)
{
    const char *why = text_or(cli_string(reply, "why"), "it does not say why");
    char flag[CLI_FLAG_MAX];

    if (strcmp(error, "io.migpolicy.NoSuchVM") == 0 && cli->meant)
        return cli_fail(CLI_NOT_FOUND, "no VM \"%s\"; did you mean the command %s?",
                        text_or(cli_string(reply, "vm"), "?"), cli->meant);
    if (strcmp(error, "io.migpolicy.NoSuchVM") == 0)
        return cli_fail(CLI_NOT_FOUND,
                        "no VM \"%s\"; virsh list --all lists VMs, migpolicy help commands",
                        text_or(cli_string(reply, "vm"), "?"));
    if (strcmp(error, "io.migpolicy.NoSuchProposal") == 0)
        return cli_fail(
            CLI_NOT_FOUND,
            "no proposal %.0f waits for an answer, or it was asked anew because it has grown; "
            "migpolicy pending lists those that do",
            cli_number(reply, "id"));
    if (strcmp(error, "io.migpolicy.BadValue") == 0)
        return cli_fail(CLI_USAGE, "--%s: \"%s\" is not %s",
                        cli_flag(text_or(cli_string(reply, "field"), "?"), flag),
                        text_or(cli_string(reply, "value"), "?"),
                        text_or(cli_string(reply, "expected"), "accepted"));
    if (strcmp(error, "io.migpolicy.BadConfig") == 0)
        return cli_fail(CLI_ERROR, "%s; the configuration in force is kept", why);
    if (strcmp(error, "io.migpolicy.NotPermitted") == 0)
        return cli_fail(CLI_PERMISSION, "not permitted: %s; it takes root or the admin group", why);
    if (strcmp(error, VARLINK_ERROR_PERMISSION_DENIED) == 0)
        return cli_fail(CLI_PERMISSION, "not permitted; it takes root or the admin group");
    if (strcmp(error, "io.migpolicy.Refused") == 0)
        return cli_fail(CLI_REFUSED, "refused: %s", why);
    if (strcmp(error, "io.migpolicy.Busy") == 0)
        return cli_fail(CLI_REFUSED, "migpolicyd is busy: %s; try again",
                        text_or(cli_string(reply, "reason"), "too many connections"));
    if (strcmp(error, "io.migpolicy.Failed") == 0)
        return cli_fail(CLI_ERROR, "failed: %s", why);
    if (strcmp(error, VARLINK_ERROR_METHOD_NOT_FOUND) == 0 ||
        strcmp(error, VARLINK_ERROR_METHOD_NOT_IMPLEMENTED) == 0 ||
        strcmp(error, VARLINK_ERROR_INTERFACE_NOT_FOUND) == 0 ||
        strcmp(error, VARLINK_ERROR_INVALID_PARAMETER) == 0)
        return cli_fail(CLI_ERROR,
                        "migpolicyd does not understand this (%s); is it of another "
                        "version? see migpolicy version",
                        error);
    return cli_fail(CLI_ERROR, "migpolicyd answered %s: %s; look at its log", error,
                    text_or(cli_string(reply, "reason"), "it does not say why"));
}

int cli_call(const struct cli *cli, const char *method, struct json_object *parameters,
             struct json_object **ret_reply)
{
    AUTO_FREE char *error = NULL;
    AUTO_JSON struct json_object *reply = NULL;
    int r = cli_try_call(cli, method, parameters, &error, &reply);

    if (r < 0)
        return report_failure(cli, -r);
    if (error)
        return report_error(cli, error, reply);
    *ret_reply = STEAL(reply);
    return CLI_OK;
}

int cli_open(const struct cli *cli, struct varlink_client **ret)
{
    int r = connect_daemon(cli, ret);

    return r < 0 ? report_failure(cli, -r) : CLI_OK;
}

int cli_follow(const struct cli *cli, const char *vm, struct varlink_client **ret)
{
    int r = cli_try_follow(cli, vm, ret);

    return r < 0 ? report_failure(cli, -r) : CLI_OK;
}

int cli_next(const struct cli *cli, struct varlink_client *client, int timeout_ms,
             struct json_object **ret_reply)
{
    AUTO_FREE char *error = NULL;
    AUTO_JSON struct json_object *reply = NULL;
    int r = cli_try_next(cli, client, timeout_ms, &error, &reply);

    if (r == -ETIMEDOUT && timeout_ms >= 0) {
        *ret_reply = NULL;
        return CLI_OK;
    }
    if (r < 0)
        return report_failure(cli, -r);
    if (error)
        return report_error(cli, error, reply);
    *ret_reply = STEAL(reply);
    return CLI_OK;
}

int cli_one_vm(const struct cli *cli, const char **ret_vm)
{
    const char *verb = cli->verb->name;

    if (cli->n_args == 0)
        return cli_fail(CLI_USAGE, "%s needs a VM; see migpolicy help %s", verb, verb);
    if (cli->n_args > 1)
        return cli_fail(CLI_USAGE,
                        "%s takes one VM; what is \"%s\"? The value of a flag is written "
                        "--flag=value",
                        verb, cli->args[1]);
    *ret_vm = cli->args[0];
    return CLI_OK;
}

int cli_no_arguments(const struct cli *cli)
{
    if (cli->n_args == 0)
        return CLI_OK;
    return cli_fail(CLI_USAGE, "%s takes only options; what is \"%s\"?", cli->verb->name,
                    cli->args[0]);
}
