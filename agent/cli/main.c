/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The command `migpolicy`: command line and choice of the verb. */
#include "agent/cli/cli.h"

#include <getopt.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>

#define DEFAULT_SOCKET "/run/migpolicy/io.migpolicy"

static const struct verb {
    const char *name;
    int (*function)(const struct cli *cli);
    const char *synopsis, *help;
    bool takes_all, takes_fields, takes_policy, takes_simulate, takes_override, takes_scope,
        takes_file, takes_timeout, takes_jsonl, takes_color, takes_bandwidth;
} verbs[] = {
    {"status", cli_status, "[VM...]", "migrations under way; -a: and those that have ended",
     .takes_all = true},
    {"set", cli_set, "VM POLICY-FLAG...", "override policy fields of a VM", .takes_fields = true,
     .takes_override = true, .takes_scope = true},
    {"unset", cli_unset, "VM FIELD...|--all", "forget overrides of a VM", .takes_all = true,
     .takes_scope = true},
    {"apply", cli_apply, "-f FILE|-", "policies of several VMs at once, all or none",
     .takes_file = true},
    {"show", cli_show, "VM", "the policy in effect, and where each field comes from"},
    {"explain", cli_explain, "VM", "evidence, verdict, alternatives and what was done"},
    {"history", cli_history, "[VM]", "migrations that have ended; -a: not only the last 20",
     .takes_all = true, .takes_jsonl = true},
    {"watch", cli_watch, "[VM]", "migrations under way, live; -o jsonl: a line for each update",
     .takes_jsonl = true, .takes_color = true},
    {"wait", cli_wait, "VM", "wait until its migration has ended; --timeout: so long at most",
     .takes_timeout = true},
    {"predict", cli_predict, "VM [FLAG...]", "what migrating it would be like; measures it first",
     .takes_fields = true, .takes_policy = true, .takes_bandwidth = true},
    {"pending", cli_pending, "", "what waits for an administrator's answer"},
    {"approve", cli_approve, "ID", "say yes to it, for this migration"},
    {"deny", cli_deny, "ID", "say no to it, for this migration"},
    {"release", cli_release, "VM", "give a throttled guest its CPU back, for this migration"},
    {"pause", cli_pause, "[VM]", "do nothing any more, for a VM or on the whole host"},
    {"resume", cli_resume, "[VM]", "the end of that"},
    {"check", cli_check, "[FILE|DIR]", "say what is wrong with a configuration or file for apply"},
    {"reload", cli_reload, "", "have the daemon read its configuration anew"},
    {"replay", cli_replay, "TRACE", "decide again on a recorded migration; --policy: otherwise",
     .takes_all = true, .takes_policy = true},
    {"simulate", cli_simulate, "[FLAG...]", "try a policy on a described guest and network",
     .takes_all = true, .takes_fields = true, .takes_policy = true, .takes_simulate = true},
    {"version", cli_version, "", "versions of this command and of the daemon"},
};
enum { N_VERBS = sizeof(verbs) / sizeof(verbs[0]) };

enum {
    OPT_JSON = 256,
    OPT_POLICY,
    OPT_BANDWIDTH,
    OPT_EXPIRES,
    OPT_SCOPE,
    OPT_DRY_RUN,
    OPT_LABEL,
    OPT_TIMEOUT,
    OPT_COLOR,
    OPT_RUNTIME,
    OPT_SOCKET,
    OPT_NO_LEGEND,
    OPT_VERSION,
    OPT_FIELD,
    OPT_SIMULATE = OPT_FIELD + POLICY_FIELDS
};

/* The long options of every verb, so that options may stand before the verb as well as after it. */
static const struct option common_options[] = {
    {"all", no_argument, NULL, 'a'},
    {"json", no_argument, NULL, OPT_JSON},
    {"output", required_argument, NULL, 'o'},
    {"socket", required_argument, NULL, OPT_SOCKET},
    {"policy", required_argument, NULL, OPT_POLICY},
    {"bandwidth", required_argument, NULL, OPT_BANDWIDTH},
    {"expires", required_argument, NULL, OPT_EXPIRES},
    {"file", required_argument, NULL, 'f'},
    {"dry-run", no_argument, NULL, OPT_DRY_RUN},
    {"scope", required_argument, NULL, OPT_SCOPE},
    {"label", required_argument, NULL, OPT_LABEL},
    {"color", required_argument, NULL, OPT_COLOR},
    {"timeout", required_argument, NULL, OPT_TIMEOUT},
    {"runtime", no_argument, NULL, OPT_RUNTIME},
    {"quiet", no_argument, NULL, 'q'},
    {"no-legend", no_argument, NULL, OPT_NO_LEGEND},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, OPT_VERSION},
};
enum { N_COMMON = sizeof(common_options) / sizeof(common_options[0]) };

static bool is_yes_or_no(const struct policy_field_info *info)
{
    return info->choices && strcmp(info->choices[ALLOW_NO], "no") == 0;
}

static void print_help(void)
{
    printf("Usage: migpolicy [OPTION...] [COMMAND] [ARGUMENT...]\n"
           "Decide how live migrations may be helped to an end, and see how they fare.\n\n"
           "Commands (status if none is given; VM: a name, uuid:UUID or id:ID):\n");
    for (unsigned i = 0; i < N_VERBS; i++)
        printf("  %-9s%-19s%s\n", verbs[i].name, verbs[i].synopsis, verbs[i].help);
    printf("\nOptions:\n"
           "  -a, --all           status: ended migrations too; unset: every field; history:\n"
           "                      all there are; replay and simulate: every sample\n"
           "  -o, --output=FORMAT table or json; history, watch: jsonl too\n"
           "      --json          the same as -o json\n"
           "      --socket=PATH   the daemon's socket (default $MIGPOLICY_SOCKET or\n"
           "                      " DEFAULT_SOCKET ")\n"
           "      --policy=FILE   replay, simulate, predict: under this policy, a JSON object\n"
           "      --bandwidth=RATE  predict: what the link carries\n"
           "      --expires=DURATION  set: for so long only\n"
           "      --color=WHEN    watch: auto, always or never\n"
           "      --timeout=DURATION  wait: for so long at most\n"
           "  -f, --file=FILE     apply: the policies; - for standard input\n"
           "      --dry-run       apply: only show what would change\n"
           "      --runtime       set: until the daemon is restarted\n"
           "      --scope=SCOPE   set, unset: host, or metadata, which travels with the VM\n"
           "      --label=LABELS  set: labels in the metadata, for rules to ask for\n"
           "  -q, --quiet         print nothing but what was asked for\n"
           "      --no-legend     no headings above tables\n"
           "  -h, --help          this text\n"
           "      --version       version of this command\n\n"
           "Policy flags of set, simulate and predict:\n");
    for (unsigned i = 0; i < POLICY_FIELDS; i++) {
        const struct policy_field_info *info = policy_field_info((enum policy_field)i);
        char flag[CLI_FLAG_MAX];
        char text[64];
        size_t len;

        len = (size_t)snprintf(text, sizeof(text), "--%s", cli_flag(info->name, flag));
        if (is_yes_or_no(info)) {
            snprintf(text + len, sizeof(text) - len, "[=yes|ask|no]");
        } else if (info->kind == KIND_CHOICE) {
            for (unsigned c = 0; info->choices[c] && len < sizeof(text); c++)
                len += (size_t)snprintf(text + len, sizeof(text) - len, "%c%s", c ? '|' : '=',
                                        info->choices[c]);
        } else {
            snprintf(text + len, sizeof(text) - len, "=%s", policy_kind_word(info->kind));
        }
        printf("  %s\n        %s\n", text, info->help);
    }
    printf("\nWhat simulate simulates, and the defaults:\n");
    for (unsigned i = 0; i < SIMULATE_OPTIONS; i++) {
        const struct cli_simulate_option *o = &cli_simulate_options[i];

        printf("  --%s%s%s\n        %s\n", o->name, o->value ? "=" : "", o->value ? o->value : "",
               o->help);
    }
    printf("\nDurations: 500ms 2s 1m30s; shares: 20%%; sizes: 4GiB; rates: 1Gbit/s 100MiB/s.\n"
           "See migpolicy(1).\n");
}

static int bad_option(int code, const char *word)
{
    char letter[] = {'-', (char)optopt, '\0'};

    if (optopt > 0 && optopt < 256)
        word = letter;
    if (code == ':')
        return cli_fail(CLI_USAGE, "%s needs a value; see migpolicy --help", word);
    return cli_fail(CLI_USAGE, "no such option as \"%s\"; see migpolicy --help", word);
}

static int read_color(const char *text, struct cli *cli)
{
    static const char *const names[] = {"auto", "always", "never"};

    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(text, names[i]) == 0) {
            cli->color = i;
            return 0;
        }
    }
    return -1;
}

/* Reads the options; `ret_stop` tells that one of them (help, version) was all there is to do. */
static int read_options(struct cli *cli, int argc, char **argv, bool *ret_stop)
{
    struct option options[N_COMMON + POLICY_FIELDS + SIMULATE_OPTIONS + 1] = {0};
    char flags[POLICY_FIELDS][CLI_FLAG_MAX];
    int opt;

    memcpy(options, common_options, sizeof(common_options));
    for (unsigned i = 0; i < POLICY_FIELDS; i++) {
        const struct policy_field_info *info = policy_field_info((enum policy_field)i);

        options[N_COMMON + i] = (struct option){
            cli_flag(info->name, flags[i]),
            is_yes_or_no(info) ? optional_argument : required_argument, NULL, OPT_FIELD + (int)i};
    }
    for (unsigned i = 0; i < SIMULATE_OPTIONS; i++)
        options[N_COMMON + POLICY_FIELDS + i] =
            (struct option){cli_simulate_options[i].name,
                            cli_simulate_options[i].value ? required_argument : no_argument, NULL,
                            OPT_SIMULATE + (int)i};

    while ((opt = getopt_long(argc, argv, ":af:o:qh", options, NULL)) >= 0) {
        switch (opt) {
        case 'a':
            cli->all = true;
            break;
        case OPT_JSON:
            cli->json = true;
            break;
        case 'o':
            cli->jsonl = strcmp(optarg, "jsonl") == 0;
            cli->json = cli->jsonl || strcmp(optarg, "json") == 0;
            if (!cli->json && strcmp(optarg, "table") != 0)
                return cli_fail(CLI_USAGE, "-o: \"%s\" is not table, json or jsonl", optarg);
            break;
        case OPT_POLICY:
            cli->policy = optarg;
            break;
        case OPT_BANDWIDTH:
            cli->bandwidth = optarg;
            break;
        case OPT_EXPIRES:
            cli->expires = optarg;
            break;
        case OPT_COLOR:
            if (read_color(optarg, cli) < 0)
                return cli_fail(CLI_USAGE, "--color: \"%s\" is not auto, always or never", optarg);
            break;
        case OPT_TIMEOUT:
            cli->timeout = optarg;
            break;
        case OPT_SCOPE:
            cli->scope = optarg;
            if (strcmp(optarg, "host") != 0 && strcmp(optarg, "metadata") != 0)
                return cli_fail(CLI_USAGE, "--scope: \"%s\" is not host or metadata", optarg);
            break;
        case 'f':
            cli->file = optarg;
            break;
        case OPT_DRY_RUN:
            cli->dry_run = true;
            break;
        case OPT_LABEL:
            cli->label = optarg;
            break;
        case OPT_RUNTIME:
            cli->runtime = true;
            break;
        case OPT_SOCKET:
            cli->socket = optarg;
            break;
        case 'q':
            cli->quiet = true;
            break;
        case OPT_NO_LEGEND:
            cli->no_legend = true;
            break;
        case 'h':
            print_help();
            *ret_stop = true;
            return CLI_OK;
        case OPT_VERSION:
            printf("migpolicy %s\n", MIGPOLICY_VERSION);
            *ret_stop = true;
            return CLI_OK;
        case '?':
        case ':':
            return bad_option(opt, argv[optind - 1]);
        default:
            if (opt >= OPT_SIMULATE)
                cli->simulate_text[opt - OPT_SIMULATE] = optarg ? optarg : "";
            else
                cli->field_text[opt - OPT_FIELD] = optarg ? optarg : "yes";
        }
    }
    cli->args = argv + optind;
    cli->n_args = argc - optind;
    return CLI_OK;
}

/* The verb the arguments begin with, which is taken off them. */
static const struct verb *take_verb(struct cli *cli)
{
    for (unsigned i = 0; cli->n_args > 0 && i < N_VERBS; i++) {
        if (strcmp(verbs[i].name, cli->args[0]) == 0) {
            cli->args++;
            cli->n_args--;
            return &verbs[i];
        }
    }
    return &verbs[0];
}

static int check_flags(const struct cli *cli, const struct verb *verb)
{
    char flag[CLI_FLAG_MAX];

    if (cli->all && !verb->takes_all)
        return cli_fail(CLI_USAGE, "%s has no option --all; see migpolicy --help", verb->name);
    if (cli->bandwidth && !verb->takes_bandwidth)
        return cli_fail(CLI_USAGE, "%s has no option --bandwidth; see migpolicy --help",
                        verb->name);
    if (cli->policy && !verb->takes_policy)
        return cli_fail(CLI_USAGE, "%s has no option --policy; see migpolicy --help", verb->name);
    if ((cli->file || cli->dry_run) && !verb->takes_file)
        return cli_fail(CLI_USAGE, "%s has no option --%s; see migpolicy --help", verb->name,
                        cli->file ? "file" : "dry-run");
    if (cli->scope && !verb->takes_scope)
        return cli_fail(CLI_USAGE, "%s has no option --scope; see migpolicy --help", verb->name);
    if (cli->label && (!verb->takes_override || !cli_in_metadata(cli)))
        return cli_fail(CLI_USAGE, "--label goes with set --scope metadata");
    if ((cli->expires || cli->runtime) && cli_in_metadata(cli))
        return cli_fail(CLI_USAGE, "--%s goes with overrides of this host, not with metadata",
                        cli->expires ? "expires" : "runtime");
    if ((cli->expires || cli->runtime) && !verb->takes_override)
        return cli_fail(CLI_USAGE, "%s has no option --%s; see migpolicy --help", verb->name,
                        cli->expires ? "expires" : "runtime");
    if (cli->timeout && !verb->takes_timeout)
        return cli_fail(CLI_USAGE, "%s has no option --timeout; see migpolicy --help", verb->name);
    if (cli->color != CLI_COLOR_AUTO && !verb->takes_color)
        return cli_fail(CLI_USAGE, "%s has no option --color; see migpolicy --help", verb->name);
    if (cli->jsonl && !verb->takes_jsonl)
        return cli_fail(CLI_USAGE, "%s does not write jsonl; use -o json", verb->name);
    for (unsigned i = 0; i < POLICY_FIELDS && !verb->takes_fields; i++) {
        if (cli->field_text[i])
            return cli_fail(CLI_USAGE, "%s does not take --%s; use migpolicy set", verb->name,
                            cli_flag(policy_field_info((enum policy_field)i)->name, flag));
    }
    for (unsigned i = 0; i < SIMULATE_OPTIONS && !verb->takes_simulate; i++) {
        if (cli->simulate_text[i])
            return cli_fail(CLI_USAGE, "%s has no option --%s; see migpolicy --help", verb->name,
                            cli_simulate_options[i].name);
    }
    return CLI_OK;
}

int main(int argc, char **argv)
{
    struct cli cli = {.socket = getenv("MIGPOLICY_SOCKET")};
    bool stop = false;
    int code;

    setlocale(LC_CTYPE, "");
    opterr = 0;
    if (!cli.socket || !*cli.socket)
        cli.socket = DEFAULT_SOCKET;

    code = read_options(&cli, argc, argv, &stop);
    if (code == CLI_OK && !stop) {
        const struct verb *verb = take_verb(&cli);

        code = check_flags(&cli, verb);
        if (code == CLI_OK)
            code = verb->function(&cli);
    }
    if ((fflush(stdout) != 0 || ferror(stdout)) && code == CLI_OK)
        code = cli_fail(CLI_ERROR, "cannot write the output: %m");
    return code;
}
