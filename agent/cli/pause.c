/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migpolicy pause, resume, release */
#include <stdio.h>

#include "agent/cli/cli.h"

/* With a VM or, if that may be left out, for the whole host. */
static int call_for(const struct cli *cli, const char *method, bool needs_vm,
                    struct json_object **ret_reply)
{
    struct json_object *parameters;
    const char *vm = NULL;
    int code = needs_vm || cli->n_args > 0 ? cli_one_vm(cli, &vm) : CLI_OK;

    if (code != CLI_OK)
        return code;
    parameters = json_object_new_object();
    if (vm)
        json_object_object_add(parameters, "vm", json_object_new_string(vm));
    code = cli_call(cli, method, parameters, ret_reply);
    if (code == CLI_OK && cli->json)
        cli_print_json(*ret_reply);
    return code;
}

static int pause_actions(const struct cli *cli)
{
    AUTO_JSON struct json_object *reply = NULL;
    int code = call_for(cli, "io.migpolicy.Pause", false, &reply);
    const char *vm = cli_string(reply, "vm");

    if (code == CLI_OK && !cli->json && !cli->quiet)
        cli_line("%s is paused: watched, and nothing is done", vm ? vm : "the host");
    return code;
}

static int resume(const struct cli *cli)
{
    AUTO_JSON struct json_object *reply = NULL;
    int code = call_for(cli, "io.migpolicy.Resume", false, &reply);
    const char *vm = cli_string(reply, "vm");
    const char *by = cli_string(reply, "host_paused_by");
    double paused = cli_number(reply, "paused_vms");

    if (code != CLI_OK || cli->json || cli->quiet)
        return code;
    if (vm && by)
        cli_line("%s is no longer paused by itself, but the host is, by %s", vm, by);
    else if (!vm && paused > 0)
        cli_line("the host is no longer paused, but %.0f VM%s by %s", paused,
                 paused > 1 ? "s are," : " is,", paused > 1 ? "themselves" : "itself");
    else
        cli_line("%s is no longer paused", vm ? vm : "the host");
    return code;
}

static int release(const struct cli *cli)
{
    AUTO_JSON struct json_object *reply = NULL;
    int code = call_for(cli, "io.migpolicy.Release", true, &reply);
    const char *vm = cli_string(reply, "vm");
    const char *restored = cli_string(reply, "restored");

    if (code != CLI_OK || cli->json || cli->quiet)
        return code;
    if (restored)
        cli_line("%s has its CPU back: %s", vm ? vm : "?", restored);
    else
        cli_line("%s has its CPU back and is not throttled again in this migration", vm ? vm : "?");
    return CLI_OK;
}

const struct cli_verb cli_pause = {"pause", pause_actions, "[VM]",
                                   "take no more actions, for a VM or on the whole host"};
const struct cli_verb cli_resume = {"resume", resume, "[VM]", "end a pause"};
const struct cli_verb cli_release = {"release", release, "VM",
                                     "give a throttled guest its CPU back, for this migration"};
