/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The command `migpolicy`: command line and choice of the verb. */
#include "agent/cli/cli.h"

#include <getopt.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>

#define DEFAULT_SOCKET "/run/migpolicy/io.migpolicy"

/* The options that are not policy fields or simulate's own. */
enum option_id {
    OPT_ALL,
    OPT_FILE,
    OPT_DRY_RUN,
    OPT_POLICY,
    OPT_EXPIRES,
    OPT_RUNTIME,
    OPT_SCOPE,
    OPT_LABEL,
    OPT_TIMEOUT,
    OPT_COLOR,
    OPT_OUTPUT,
    OPT_JSON,
    OPT_SOCKET,
    OPT_QUIET,
    OPT_NO_LEGEND,
    OPT_HELP,
    OPT_VERSION,
    OPTIONS,
};

static const struct {
    const char *name;
    char letter;       /* 0: none */
    const char *value; /* NULL: it takes none */
    const char *help;
} options[OPTIONS] = {
    [OPT_ALL] = {"all", 'a', NULL, "all there is; see the command"},
    [OPT_FILE] = {"file", 'f', "FILE", "the policies; - for standard input"},
    [OPT_DRY_RUN] = {"dry-run", 0, NULL, "only show what would change"},
    [OPT_POLICY] = {"policy", 0, "FILE", "under this policy, a JSON object"},
    [OPT_EXPIRES] = {"expires", 0, "DURATION", "for so long only"},
    [OPT_RUNTIME] = {"runtime", 0, NULL, "until the daemon is restarted"},
    [OPT_SCOPE] = {"scope", 0, "host|metadata", "metadata travels with the VM, and only narrows"},
    [OPT_LABEL] = {"label", 0, "LABELS", "labels in the metadata, for rules to ask for"},
    [OPT_TIMEOUT] = {"timeout", 0, "DURATION", "for so long at most"},
    [OPT_COLOR] = {"color", 0, "auto|always|never", "whether to use colours"},
    [OPT_OUTPUT] = {"output", 'o', "table|json|jsonl", "jsonl is for history and watch"},
    [OPT_JSON] = {"json", 0, NULL, "the same as -o json"},
    [OPT_SOCKET] = {"socket", 0, "PATH",
                    "the daemon's; default $MIGPOLICY_SOCKET or " DEFAULT_SOCKET},
    [OPT_QUIET] = {"quiet", 'q', NULL, "print nothing but what was asked for"},
    [OPT_NO_LEGEND] = {"no-legend", 0, NULL, "no headings above tables"},
    [OPT_HELP] = {"help", 'h', NULL, "what this command does, and its options"},
    [OPT_VERSION] = {"version", 0, NULL, "version of this command"},
};

#define BIT(option) (1u << (option))
#define ALL_VERBS                                                                                  \
    (BIT(OPT_OUTPUT) | BIT(OPT_JSON) | BIT(OPT_SOCKET) | BIT(OPT_QUIET) | BIT(OPT_NO_LEGEND) |     \
     BIT(OPT_HELP) | BIT(OPT_VERSION))

static int help(const struct cli *cli);

static const struct verb {
    const char *name;
    int (*function)(const struct cli *cli);
    const char *synopsis, *help;
    const char *all_means; /* what --all does here */
    unsigned takes;        /* BIT() of options, beside ALL_VERBS */
    bool takes_fields, takes_simulate, takes_link, takes_jsonl;
} verbs[] = {
    {"status", cli_status, "[VM...]", "migrations under way", .takes = BIT(OPT_ALL),
     .all_means = "those that have ended as well"},
    {"set", cli_set, "VM POLICY-FLAG...", "override policy fields of a VM", .takes_fields = true,
     .takes = BIT(OPT_EXPIRES) | BIT(OPT_RUNTIME) | BIT(OPT_SCOPE) | BIT(OPT_LABEL)},
    {"unset", cli_unset, "VM FIELD...|--all", "forget overrides of a VM",
     .takes = BIT(OPT_ALL) | BIT(OPT_SCOPE), .all_means = "every field"},
    {"apply", cli_apply, "-f FILE|-", "policies of several VMs at once, all or none",
     .takes = BIT(OPT_FILE) | BIT(OPT_DRY_RUN)},
    {"show", cli_show, "VM", "the policy in effect, and where each field comes from"},
    {"explain", cli_explain, "VM", "evidence, verdict, alternatives and what was done"},
    {"history", cli_history, "[VM]", "migrations that have ended", .takes = BIT(OPT_ALL),
     .all_means = "not only the last 20", .takes_jsonl = true},
    {"watch", cli_watch, "[VM]", "migrations under way, live", .takes = BIT(OPT_COLOR),
     .takes_jsonl = true},
    {"wait", cli_wait, "VM", "wait until its migration has ended", .takes = BIT(OPT_TIMEOUT)},
    {"predict", cli_predict, "VM [FLAG...]", "what migrating it would be like; measures it first",
     .takes = BIT(OPT_POLICY), .takes_fields = true, .takes_link = true},
    {"pending", cli_pending, "", "questions that wait for an administrator's answer"},
    {"approve", cli_approve, "ID", "say yes to a question, for this migration"},
    {"deny", cli_deny, "ID", "say no to a question, for this migration"},
    {"release", cli_release, "VM", "give a throttled guest its CPU back, for this migration"},
    {"pause", cli_pause, "[VM]", "take no action any more, for a VM or on the whole host"},
    {"resume", cli_resume, "[VM]", "end a pause"},
    {"check", cli_check, "[FILE|DIR]", "say what is wrong with a configuration or file for apply"},
    {"reload", cli_reload, "", "have the daemon read its configuration anew"},
    {"replay", cli_replay, "TRACE", "decide again on a recorded migration",
     .takes = BIT(OPT_ALL) | BIT(OPT_POLICY), .all_means = "every sample"},
    {"simulate", cli_simulate, "[FLAG...]", "try a policy on a described guest and network",
     .takes = BIT(OPT_ALL) | BIT(OPT_POLICY), .all_means = "every sample", .takes_fields = true,
     .takes_simulate = true, .takes_link = true},
    {"help", help, "[COMMAND]", "what a command does", .takes = BIT(OPT_ALL),
     .all_means = "all commands with all their options"},
    {"version", cli_version, "", "versions of this command and of the daemon"},
};
enum { N_VERBS = sizeof(verbs) / sizeof(verbs[0]) };

/* What getopt_long() returns: a letter, or one of these. */
enum {
    CODE_OPTION = 256,
    CODE_FIELD = CODE_OPTION + OPTIONS,
    CODE_SIMULATE = CODE_FIELD + POLICY_FIELDS,
    CODES = CODE_SIMULATE + SIMULATE_OPTIONS,
};

/* What was given on the command line beside what struct cli holds. */
struct given {
    unsigned options; /* BIT() */
    const char *value[OPTIONS];
};

static bool is_yes_or_no(const struct policy_field_info *info)
{
    return info->choices && strcmp(info->choices[ALLOW_NO], "no") == 0;
}

/* ---- help ---- */

static void print_policy_flags(void)
{
    printf("\nPolicy flags:\n");
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
}

static void print_option(const char *name, char letter, const char *value, const char *text)
{
    char shown[80];

    snprintf(shown, sizeof(shown), "%c%c%c --%s%s%s", letter ? '-' : ' ', letter ? letter : ' ',
             letter ? ',' : ' ', name, value ? "=" : "", value ? value : "");
    printf("  %-30s %s\n", shown, text);
}

static void print_options(const struct verb *verb, unsigned mask)
{
    for (unsigned i = 0; i < OPTIONS; i++) {
        if (mask & BIT(i))
            print_option(options[i].name, options[i].letter, options[i].value,
                         i == OPT_ALL && verb ? verb->all_means : options[i].help);
    }
}

static void print_simulate_options(const struct verb *verb)
{
    for (unsigned i = 0; i < SIMULATE_OPTIONS; i++) {
        const struct cli_simulate_option *o = &cli_simulate_options[i];

        if (verb->takes_simulate || (verb->takes_link && i == SIMULATE_LINK))
            print_option(o->name, 0, o->value, o->help);
    }
}

static const char quantities[] =
    "\nVM: a name, uuid:UUID or id:ID. Durations: 500ms 2s 1m30s; shares: 20%; sizes: 4GiB;\n"
    "rates: 1Gbit/s 100MiB/s.";

static void print_verb(const struct verb *verb)
{
    printf("Usage: migpolicy %s [OPTION...] %s\n%c%s.\n\nOptions:\n", verb->name, verb->synopsis,
           verb->help[0] - 'a' + 'A', verb->help + 1);
    print_options(verb, verb->takes);
    print_simulate_options(verb);
    print_options(verb, ALL_VERBS);
    if (verb->takes_fields)
        print_policy_flags();
}

static void print_verbs(void)
{
    printf("Usage: migpolicy [OPTION...] [COMMAND] [ARGUMENT...]\n"
           "Decide how live migrations may be helped to an end, and see how they fare.\n\n"
           "Commands (status if none is given):\n");
    for (unsigned i = 0; i < N_VERBS; i++)
        printf("  %-9s%-19s%s\n", verbs[i].name, verbs[i].synopsis, verbs[i].help);
    printf("\nOptions of all of them:\n");
    print_options(NULL, ALL_VERBS);
}

/* The verb of that name, or NULL. */
static const struct verb *find_verb(const char *name)
{
    for (unsigned i = 0; i < N_VERBS; i++) {
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    }
    return NULL;
}

/* How many letters have to be changed, added or left out; short words only. */
static unsigned distance(const char *a, const char *b)
{
    enum { WORD_MAX = 32 };
    size_t n = strlen(a);
    size_t m = strlen(b);
    unsigned row[WORD_MAX + 1];

    if (n > WORD_MAX || m > WORD_MAX)
        return WORD_MAX;
    for (size_t j = 0; j <= m; j++)
        row[j] = (unsigned)j;
    for (size_t i = 1; i <= n; i++) {
        unsigned diagonal = row[0];

        row[0] = (unsigned)i;
        for (size_t j = 1; j <= m; j++) {
            unsigned best = diagonal + (a[i - 1] != b[j - 1]);

            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[m];
}

enum { NEAR_MAX = 2 };

static void consider(const char *word, const char *name, const char **best, unsigned *distance_max)
{
    unsigned d = distance(word, name);

    if (d <= *distance_max && d < strlen(name)) {
        *best = name;
        *distance_max = d > 0 ? d - 1 : 0;
    }
}

/* The verb that was probably meant, or NULL. */
static const char *nearest_verb(const char *word)
{
    unsigned most = NEAR_MAX;
    const char *best = NULL;

    for (unsigned i = 0; i < N_VERBS; i++)
        consider(word, verbs[i].name, &best, &most);
    return best;
}

static int no_such_verb(const char *word)
{
    const char *meant = nearest_verb(word);

    if (meant)
        return cli_fail(CLI_USAGE, "there is no command \"%s\"; did you mean %s?", word, meant);
    return cli_fail(CLI_USAGE, "there is no command \"%s\"; see migpolicy help", word);
}

static void print_help(const struct verb *verb, bool all)
{
    if (verb) {
        print_verb(verb);
    } else {
        print_verbs();
        for (unsigned i = 0; all && i < N_VERBS; i++) {
            putchar('\n');
            print_verb(&verbs[i]);
        }
    }
    puts(quantities);
    printf("See %s migpolicy(1).\n",
           verb ? "migpolicy help, and" : "migpolicy help COMMAND, migpolicy help --all, and");
}

static int help(const struct cli *cli)
{
    const struct verb *verb = cli->n_args > 0 ? find_verb(cli->args[0]) : NULL;

    if (cli->n_args > 0 && !verb)
        return no_such_verb(cli->args[0]);
    if (cli->n_args > 1)
        return cli_fail(CLI_USAGE, "help takes one command; \"%s\" is one too many", cli->args[1]);
    print_help(verb, cli->all);
    return CLI_OK;
}

/* ---- reading the command line ---- */

static int no_such_option(const struct option *all, const char *word)
{
    unsigned most = NEAR_MAX;
    const char *best = NULL;

    if (strncmp(word, "--", 2) == 0) {
        char name[CLI_FLAG_MAX];

        snprintf(name, sizeof(name), "%.*s", (int)strcspn(word + 2, "="), word + 2);
        for (; all->name; all++)
            consider(name, all->name, &best, &most);
    }
    if (best)
        return cli_fail(CLI_USAGE, "no such option as \"%s\"; did you mean --%s?", word, best);
    return cli_fail(CLI_USAGE, "no such option as \"%s\"; see migpolicy --help", word);
}

static int bad_option(int code, const struct option *all, const char *word)
{
    char letter[] = {'-', (char)optopt, '\0'};

    if (optopt > 0 && optopt < 256)
        word = letter;
    if (code == ':')
        return cli_fail(CLI_USAGE, "%s needs a value; see migpolicy --help", word);
    return no_such_option(all, word);
}

static void list_options(struct option all[], char flags[POLICY_FIELDS][CLI_FLAG_MAX])
{
    for (int i = 0; i < OPTIONS; i++)
        *all++ =
            (struct option){options[i].name, options[i].value ? required_argument : no_argument,
                            NULL, CODE_OPTION + i};
    for (int i = 0; i < POLICY_FIELDS; i++) {
        const struct policy_field_info *info = policy_field_info((enum policy_field)i);

        *all++ = (struct option){cli_flag(info->name, flags[i]),
                                 is_yes_or_no(info) ? optional_argument : required_argument, NULL,
                                 CODE_FIELD + i};
    }
    for (int i = 0; i < SIMULATE_OPTIONS; i++)
        *all++ = (struct option){cli_simulate_options[i].name,
                                 cli_simulate_options[i].value ? required_argument : no_argument,
                                 NULL, CODE_SIMULATE + i};
    *all = (struct option){0};
}

/* Options may stand before the verb as well as after it. */
static int read_options(struct cli *cli, struct given *given, int argc, char **argv)
{
    struct option all[OPTIONS + POLICY_FIELDS + SIMULATE_OPTIONS + 1];
    char flags[POLICY_FIELDS][CLI_FLAG_MAX];
    int code;

    list_options(all, flags);
    while ((code = getopt_long(argc, argv, ":af:o:qh", all, NULL)) >= 0) {
        if (code == '?' || code == ':')
            return bad_option(code, all, argv[optind - 1]);
        for (int i = 0; i < OPTIONS && code < CODE_OPTION; i++) {
            if (options[i].letter == code)
                code = CODE_OPTION + i;
        }
        if (code >= CODE_SIMULATE) {
            cli->simulate_text[code - CODE_SIMULATE] = optarg ? optarg : "";
        } else if (code >= CODE_FIELD) {
            cli->field_text[code - CODE_FIELD] = optarg ? optarg : "yes";
        } else {
            given->options |= BIT(code - CODE_OPTION);
            given->value[code - CODE_OPTION] = optarg;
        }
    }
    cli->args = argv + optind;
    cli->n_args = argc - optind;
    return CLI_OK;
}

/* Which of the texts an option may have; -1: none. */
static int choice(const char *text, const char *const texts[])
{
    for (int i = 0; texts[i]; i++) {
        if (strcmp(text, texts[i]) == 0)
            return i;
    }
    return -1;
}

static int take_values(struct cli *cli, const struct given *given)
{
    static const char *const colors[] = {"auto", "always", "never", NULL};
    static const char *const formats[] = {"table", "json", "jsonl", NULL};
    static const char *const scopes[] = {"host", "metadata", NULL};
    const char *color = given->value[OPT_COLOR];
    const char *format = given->value[OPT_OUTPUT];
    const char *scope = given->value[OPT_SCOPE];

    if (format && choice(format, formats) < 0)
        return cli_fail(CLI_USAGE, "-o: \"%s\" is not table, json or jsonl", format);
    if (color && choice(color, colors) < 0)
        return cli_fail(CLI_USAGE, "--color: \"%s\" is not auto, always or never", color);
    if (scope && choice(scope, scopes) < 0)
        return cli_fail(CLI_USAGE, "--scope: \"%s\" is not host or metadata", scope);
    cli->color = color ? (unsigned)choice(color, colors) : CLI_COLOR_AUTO;
    cli->jsonl = format && choice(format, formats) == 2;
    cli->json = (given->options & BIT(OPT_JSON)) || (format && choice(format, formats) > 0);
    cli->scope = scope;
    cli->all = given->options & BIT(OPT_ALL);
    cli->quiet = given->options & BIT(OPT_QUIET);
    cli->no_legend = given->options & BIT(OPT_NO_LEGEND);
    cli->runtime = given->options & BIT(OPT_RUNTIME);
    cli->dry_run = given->options & BIT(OPT_DRY_RUN);
    cli->policy = given->value[OPT_POLICY];
    cli->expires = given->value[OPT_EXPIRES];
    cli->timeout = given->value[OPT_TIMEOUT];
    cli->file = given->value[OPT_FILE];
    cli->label = given->value[OPT_LABEL];
    if (given->value[OPT_SOCKET])
        cli->socket = given->value[OPT_SOCKET];
    return CLI_OK;
}

/* The verb the arguments begin with, which is taken off them. */
static const struct verb *take_verb(struct cli *cli)
{
    const struct verb *verb = cli->n_args > 0 ? find_verb(cli->args[0]) : NULL;

    if (!verb)
        return &verbs[0];
    cli->args++;
    cli->n_args--;
    return verb;
}

static int has_no_option(const struct verb *verb, const char *name)
{
    return cli_fail(CLI_USAGE, "%s has no option --%s; see migpolicy help %s", verb->name, name,
                    verb->name);
}

static int check_options(const struct cli *cli, const struct verb *verb, unsigned given)
{
    char flag[CLI_FLAG_MAX];

    for (unsigned i = 0; i < OPTIONS; i++) {
        if (given & BIT(i) & ~(verb->takes | ALL_VERBS))
            return has_no_option(verb, options[i].name);
    }
    for (unsigned i = 0; i < POLICY_FIELDS && !verb->takes_fields; i++) {
        if (cli->field_text[i])
            return cli_fail(CLI_USAGE, "%s does not take --%s; use migpolicy set", verb->name,
                            cli_flag(policy_field_info((enum policy_field)i)->name, flag));
    }
    for (unsigned i = 0; i < SIMULATE_OPTIONS && !verb->takes_simulate; i++) {
        if (cli->simulate_text[i] && !(i == SIMULATE_LINK && verb->takes_link))
            return has_no_option(verb, cli_simulate_options[i].name);
    }
    if (cli->label && !cli_in_metadata(cli))
        return cli_fail(CLI_USAGE, "--label goes with set --scope metadata");
    if ((cli->expires || cli->runtime) && cli_in_metadata(cli))
        return cli_fail(CLI_USAGE, "--%s goes with overrides of this host, not with metadata",
                        cli->expires ? "expires" : "runtime");
    if (cli->jsonl && !verb->takes_jsonl)
        return cli_fail(CLI_USAGE, "%s does not write jsonl; use -o json", verb->name);
    return CLI_OK;
}

static int run(struct cli *cli, const struct given *given)
{
    const char *word = cli->n_args > 0 ? cli->args[0] : NULL;
    const struct verb *verb = take_verb(cli);
    int code;

    if (given->options & BIT(OPT_HELP)) {
        print_help(word ? find_verb(word) : NULL, cli->all);
        return CLI_OK;
    }
    if (word && !find_verb(word))
        cli->meant = nearest_verb(word);
    code = check_options(cli, verb, given->options);
    return code == CLI_OK ? verb->function(cli) : code;
}

int main(int argc, char **argv)
{
    struct cli cli = {.socket = getenv("MIGPOLICY_SOCKET")};
    struct given given = {0};
    int code;

    setlocale(LC_CTYPE, "");
    opterr = 0;
    if (!cli.socket || !*cli.socket)
        cli.socket = DEFAULT_SOCKET;

    code = read_options(&cli, &given, argc, argv);
    if (code == CLI_OK && (given.options & BIT(OPT_VERSION)))
        printf("migpolicy %s\n", MIGPOLICY_VERSION);
    else if (code == CLI_OK && (code = take_values(&cli, &given)) == CLI_OK)
        code = run(&cli, &given);
    if ((fflush(stdout) != 0 || ferror(stdout)) && code == CLI_OK)
        code = cli_fail(CLI_ERROR, "cannot write the output: %m");
    return code;
}
