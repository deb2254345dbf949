/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The command `migpolicy`: the choice of the verb, and help. */
#include <locale.h>
#include <stdio.h>
#include <string.h>

#include "agent/cli/cli.h"

static const struct cli_verb *const verbs[] = {
#define X(verb) &cli_##verb,
    CLI_VERBS(X)
#undef X
};
enum { N_VERBS = sizeof(verbs) / sizeof(verbs[0]) };

/* The verb of that name, or NULL. */
static const struct cli_verb *find_verb(const char *name)
{
    for (unsigned i = 0; i < N_VERBS; i++) {
        if (strcmp(verbs[i]->name, name) == 0)
            return verbs[i];
    }
    return NULL;
}

/* The verb that was probably meant, or NULL. */
static const char *nearest_verb(const char *word)
{
    struct cli_nearest nearest = {.word = word};

    for (unsigned i = 0; i < N_VERBS; i++)
        cli_consider(&nearest, verbs[i]->name);
    return nearest.name;
}

/* ---- help ---- */

enum { HELP_ALL };
static const struct cli_option help_options[] = {
    [HELP_ALL] = {"all", NULL, "all commands with all their options", .letter = 'a'},
    {NULL},
};

static void print_verb(const struct cli_verb *verb)
{
    printf("Usage: migpolicy %s [OPTION...] %s\n%c%s.\n\nOptions:\n", verb->name, verb->synopsis,
           verb->help[0] - 'a' + 'A', verb->help + 1);
    cli_print_options(verb);
}

static void print_verbs(void)
{
    printf("Usage: migpolicy [OPTION...] [COMMAND] [ARGUMENT...]\n"
           "Decide how live migrations may be helped to an end, and see how they fare.\n\n"
           "Commands (status if none is given):\n");
    for (unsigned i = 0; i < N_VERBS; i++)
        printf("  %-10s%-19s%s\n", verbs[i]->name, verbs[i]->synopsis, verbs[i]->help);
    printf("\nOptions of all of them:\n");
    cli_print_options(NULL);
}

static void print_help(const struct cli_verb *verb, bool all)
{
    if (verb) {
        print_verb(verb);
    } else {
        print_verbs();
        for (unsigned i = 0; all && i < N_VERBS; i++) {
            putchar('\n');
            print_verb(verbs[i]);
        }
    }
    puts("\nVM: a name, uuid:UUID or id:ID. Durations: 500ms 2s 1m30s; shares: 20%; sizes: 4GiB;\n"
         "rates: 1Gbit/s 100MiB/s.");
    printf("See %s migpolicy(1).\n",
           verb ? "migpolicy help, and" : "migpolicy help COMMAND, migpolicy help --all, and");
}

static int help(const struct cli *cli)
{
    const char *word = cli->n_args > 0 ? cli->args[0] : NULL;
    const struct cli_verb *verb = word ? find_verb(word) : NULL;

    if (word && !verb && nearest_verb(word))
        return cli_fail(CLI_USAGE, "there is no command \"%s\"; did you mean %s?", word,
                        nearest_verb(word));
    if (word && !verb)
        return cli_fail(CLI_USAGE, "there is no command \"%s\"; see migpolicy help", word);
    if (cli->n_args > 1)
        return cli_fail(CLI_USAGE, "help takes one command; what is \"%s\"?", cli->args[1]);
    print_help(verb, cli->option[HELP_ALL]);
    return CLI_OK;
}

const struct cli_verb cli_help = {"help", help, "[COMMAND]", "what a command does", help_options};

/* ---- running ---- */

/* Runs the verb the words begin with; status if they begin with none. */
static int run(int argc, char **argv)
{
    struct cli cli = {.socket = getenv("MIGPOLICY_SOCKET")};
    int word = cli_first_word(argc, argv);
    const struct cli_verb *named = word ? find_verb(argv[word]) : NULL;
    int code;

    if (!cli.socket || !*cli.socket)
        cli.socket = CLI_DEFAULT_SOCKET;
    cli.verb = named ? named : &cli_status;
    if (named) {
        memmove(argv + word, argv + word + 1, (size_t)(argc - word) * sizeof(*argv));
        argc--;
    } else if (word) {
        cli.meant = nearest_verb(argv[word]);
    }
    code = cli_read_options(&cli, argc, argv);
    if (code != CLI_OK)
        return code;
    if (cli.version)
        printf("migpolicy %s\n", MIGPOLICY_VERSION);
    else if (cli.help)
        print_help(named, false);
    else
        code = cli.verb->function(&cli);
    return code;
}

int main(int argc, char **argv)
{
    int code;

    setlocale(LC_CTYPE, "");
    code = run(argc, argv);
    if ((fflush(stdout) != 0 || ferror(stdout)) && code == CLI_OK)
        code = cli_fail(CLI_ERROR, "cannot write the output: %m");
    return code;
}
