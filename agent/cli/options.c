/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading the command line: the options of all commands, and those of the one that is run. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "agent/cli/cli.h"

enum { OUTPUT, JSON, HOST, SOCKET, QUIET, NO_LEGEND, HELP, VERSION, SHARED };

static const struct cli_option shared[SHARED + 1] = {
    [OUTPUT] = {"output", "table|json|jsonl", "jsonl is for history, watch, pending -f",
                .letter = 'o', .one_of = true},
    [JSON] = {"json", NULL, "the same as -o json"},
    [HOST] = {"host", "[USER@]HOST", "ask the daemon of that host, by ssh", .letter = 'H'},
    [SOCKET] = {"socket", "PATH", "the daemon's; default $MIGPOLICY_SOCKET or " CLI_DEFAULT_SOCKET},
    [QUIET] = {"quiet", NULL, "print nothing but what was asked for", .letter = 'q'},
    [NO_LEGEND] = {"no-legend", NULL, "no headings above tables"},
    [HELP] = {"help", NULL, "what this command does, and its options", .letter = 'h'},
    [VERSION] = {"version", NULL, "version of this command"},
};

/* What getopt_long() returns for an option. */
enum {
    CODE_SHARED = 256,
    CODE_OWN = CODE_SHARED + SHARED,
    CODE_FIELD = CODE_OWN + CLI_OPTIONS_MAX,
    CODES = CODE_FIELD + POLICY_FIELDS - CODE_SHARED,
};

static bool is_yes_or_no(const struct policy_field_info *info)
{
    return info->choices && strcmp(info->choices[ALLOW_NO], "no") == 0;
}

/* ---- words that were probably meant ---- */

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

void cli_consider(struct cli_nearest *nearest, const char *name)
{
    enum { NEAR_MAX = 2 };
    unsigned d = distance(nearest->word, name);

    if (d <= NEAR_MAX && d < strlen(name) && (!nearest->name || d < nearest->distance)) {
        nearest->name = name;
        nearest->distance = d;
    }
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

static void print_options(const struct cli_option *options)
{
    for (; options && options->name; options++)
        print_option(options->name, options->letter, options->value, options->help);
}

void cli_print_options(const struct cli_verb *verb)
{
    if (verb)
        print_options(verb->options);
    print_options(shared);
    if (verb && verb->fields)
        print_policy_flags();
}

/* ---- reading ---- */

/* All that getopt_long() is to know. */
struct table {
    struct option option[CODES + 1];
    char letters[2 * (SHARED + CLI_OPTIONS_MAX) + 2];
    char flag[POLICY_FIELDS][CLI_FLAG_MAX];
};

static struct option *add_options(struct table *t, struct option *next,
                                  const struct cli_option *options, int code)
{
    for (; options && options->name; options++) {
        size_t len = strlen(t->letters);

        *next++ = (struct option){options->name, options->value ? required_argument : no_argument,
                                  NULL, code++};
        if (options->letter)
            snprintf(t->letters + len, sizeof(t->letters) - len, "%c%s", options->letter,
                     options->value ? ":" : "");
    }
    return next;
}

static void table_init(struct table *t, const struct cli_verb *verb)
{
    struct option *next = t->option;

    strcpy(t->letters, ":");
    next = add_options(t, next, shared, CODE_SHARED);
    next = add_options(t, next, verb->options, CODE_OWN);
    for (int i = 0; i < POLICY_FIELDS && verb->fields; i++) {
        const struct policy_field_info *info = policy_field_info((enum policy_field)i);

        *next++ = (struct option){cli_flag(info->name, t->flag[i]),
                                  is_yes_or_no(info) ? optional_argument : required_argument, NULL,
                                  CODE_FIELD + i};
    }
    *next = (struct option){0};
}

static int by_letter(const struct cli_option *options, int letter)
{
    for (int i = 0; options && options[i].name; i++) {
        if (options[i].letter == letter)
            return i;
    }
    return -1;
}

static int code_of_letter(const struct cli_verb *verb, int letter)
{
    int i = by_letter(verb->options, letter);

    return i >= 0 ? CODE_OWN + i : CODE_SHARED + by_letter(shared, letter);
}

/* "a|b|c" as "a, b or c". */
static void describe_choices(const char *choices, char *text, size_t size)
{
    size_t len = 0;

    text[0] = '\0';
    while (*choices && len < size) {
        size_t n = strcspn(choices, "|");
        const char *rest = choices[n] ? choices + n + 1 : choices + n;

        len += (size_t)snprintf(text + len, size - len, "%s%.*s",
                                len == 0 ? ""
                                : *rest  ? ", "
                                         : " or ",
                                (int)n, choices);
        choices = rest;
    }
}

static bool is_choice(const char *choices, const char *text)
{
    size_t len = strlen(text);

    for (; *choices; choices += strspn(choices, "|")) {
        size_t n = strcspn(choices, "|");

        if (n == len && strncmp(choices, text, n) == 0)
            return true;
        choices += n;
    }
    return false;
}

static int take_value(const struct cli_option *option, const char *text, const char **ret)
{
    char expected[80];

    if (text && option->one_of && !is_choice(option->value, text)) {
        describe_choices(option->value, expected, sizeof(expected));
        return cli_fail(CLI_USAGE, "--%s: \"%s\" is not %s", option->name, text, expected);
    }
    *ret = text ? text : "";
    return CLI_OK;
}

static int bad_option(const struct cli *cli, const struct table *t, int code, const char *word)
{
    char name[CLI_FLAG_MAX] = {'-', (char)optopt, '\0'};
    struct cli_nearest nearest = {.word = name + 2};
    const char *verb = cli->verb->name;
    enum policy_field field;

    if (optopt <= 0 || optopt >= CODE_SHARED)
        snprintf(name, sizeof(name), "%.*s", (int)strcspn(word, "="), word);
    if (code == ':')
        return cli_fail(CLI_USAGE, "%s needs a value; see migpolicy help %s", name, verb);
    if (strncmp(name, "--", 2) != 0)
        return cli_fail(CLI_USAGE, "%s has no option %s; see migpolicy help %s", verb, name, verb);
    for (const struct option *o = t->option; o->name; o++)
        cli_consider(&nearest, o->name);
    if (nearest.name)
        return cli_fail(CLI_USAGE, "%s has no option %s; did you mean --%s?", verb, name,
                        nearest.name);
    if (!cli->verb->fields && policy_field_find(name + 2, &field) == 0)
        return cli_fail(CLI_USAGE, "%s has no option %s; migpolicy set has", verb, name);
    return cli_fail(CLI_USAGE, "%s has no option %s; see migpolicy help %s", verb, name, verb);
}

static int take_shared(struct cli *cli, const char *const given[SHARED])
{
    const char *format = given[OUTPUT];

    cli->jsonl = format && strcmp(format, "jsonl") == 0;
    cli->json = given[JSON] || cli->jsonl || (format && strcmp(format, "json") == 0);
    cli->quiet = given[QUIET];
    cli->no_legend = given[NO_LEGEND];
    cli->help = given[HELP];
    cli->version = given[VERSION];
    cli->host = given[HOST];
    if (given[SOCKET])
        cli->socket = given[SOCKET];
    else if (cli->host)
        cli->socket = CLI_DEFAULT_SOCKET; /* what the environment says is of this host */
    if (cli->host && (!*cli->host || *cli->host == '-'))
        return cli_fail(CLI_USAGE, "--host: \"%s\" is not the name of a host", cli->host);
    if (cli->jsonl && !cli->verb->jsonl)
        return cli_fail(CLI_USAGE, "%s does not write jsonl; use -o json", cli->verb->name);
    return CLI_OK;
}

/* What JSON calls true is yes here as well. */
static const char *field_value(int field, const char *text)
{
    if (!text)
        return "yes";
    if (!is_yes_or_no(policy_field_info((enum policy_field)field)))
        return text;
    return strcmp(text, "true") == 0 ? "yes" : strcmp(text, "false") == 0 ? "no" : text;
}

int cli_read_options(struct cli *cli, int argc, char **argv)
{
    const char *given[SHARED] = {NULL};
    struct table t;
    int result = CLI_OK;
    int code;

    table_init(&t, cli->verb);
    opterr = 0;
    while (result == CLI_OK && (code = getopt_long(argc, argv, t.letters, t.option, NULL)) >= 0) {
        if (code == '?' || code == ':')
            return bad_option(cli, &t, code, argv[optind - 1]);
        if (code < CODE_SHARED)
            code = code_of_letter(cli->verb, code);
        if (code >= CODE_FIELD)
            cli->field_text[code - CODE_FIELD] = field_value(code - CODE_FIELD, optarg);
        else if (code >= CODE_OWN)
            result = take_value(&cli->verb->options[code - CODE_OWN], optarg,
                                &cli->option[code - CODE_OWN]);
        else
            result = take_value(&shared[code - CODE_SHARED], optarg, &given[code - CODE_SHARED]);
    }
    cli->args = argv + optind;
    cli->n_args = argc - optind;
    return result == CLI_OK ? take_shared(cli, given) : result;
}

/* Is the word behind this one its value? Of options that are shared only. */
static bool takes_the_next(const char *word)
{
    size_t len = strlen(word);

    for (int i = 0; i < SHARED; i++) {
        if (!shared[i].value)
            continue;
        if (word[1] == '-' ? strncmp(shared[i].name, word + 2, len - 2) == 0
                           : word[len - 1] == shared[i].letter)
            return true;
    }
    return false;
}

int cli_first_word(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--") == 0)
            return 0;
        if (argv[i][0] != '-')
            return i;
        i += takes_the_next(argv[i]);
    }
    return 0;
}
