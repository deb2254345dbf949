/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of the command `migpolicy` share. The command is a thin client: it checks what it
 * can without the daemon, makes one call per question, and shows the reply.
 *
 * Text from the daemon and from the command line is hostile (a VM may be named anything), so it
 * reaches a terminal only through cli_fail(), cli_line() and the tables, which escape it.
 *
 * Nothing here is thread-safe.
 */
#ifndef MIGPOLICY_CLI_H
#define MIGPOLICY_CLI_H

#include <stdbool.h>
#include <stddef.h>

#include "common/cleanup.h"
#include "common/json.h"
#include "policy/controller.h"
#include "policy/policy.h"

enum cli_exit {
    CLI_OK,
    CLI_ERROR,
    CLI_USAGE,
    CLI_UNREACHABLE,
    CLI_NOT_FOUND,
    CLI_PERMISSION,
    CLI_REFUSED,
    CLI_TIMEOUT,
    CLI_MIGRATION_FAILED,
};

#define CLI_DEFAULT_SOCKET "/run/migpolicy/io.migpolicy"

/* An option of a command; a list of them ends with one that has no name. */
struct cli_option {
    const char *name;
    const char *value; /* "DURATION"; NULL: it takes none */
    const char *help;
    char letter; /* 0: none */
    bool one_of; /* `value` lists what it may be: "host|metadata" */
};

struct cli;

/* A command. Its function prints its own output and errors and returns the exit code. */
struct cli_verb {
    const char *name;
    int (*function)(const struct cli *cli);
    const char *synopsis, *help;
    const struct cli_option *options; /* its own; NULL: none */
    bool fields;                      /* takes policy flags */
    bool jsonl;                       /* can write -o jsonl */
};

/* All there are, in the order of help: X(name). Each is defined in the file that does it. */
#define CLI_VERBS(X)                                                                               \
    X(status)                                                                                      \
    X(set)                                                                                         \
    X(unset)                                                                                       \
    X(overrides)                                                                                   \
    X(apply)                                                                                       \
    X(show)                                                                                        \
    X(explain)                                                                                     \
    X(history)                                                                                     \
    X(watch)                                                                                       \
    X(wait)                                                                                        \
    X(predict)                                                                                     \
    X(pending)                                                                                     \
    X(approve)                                                                                     \
    X(deny)                                                                                        \
    X(release)                                                                                     \
    X(pause)                                                                                       \
    X(resume)                                                                                      \
    X(bridge)                                                                                      \
    X(check)                                                                                       \
    X(reload)                                                                                      \
    X(replay)                                                                                      \
    X(simulate)                                                                                    \
    X(help)                                                                                        \
    X(version)

#define X(verb) extern const struct cli_verb cli_##verb;
CLI_VERBS(X)
#undef X

enum { CLI_OPTIONS_MAX = 32 };

/* The command line, read. */
struct cli {
    const struct cli_verb *verb;
    const char *socket;
    const char *host;  /* "[user@]host", whose daemon is asked by ssh; NULL: this one's */
    const char *meant; /* a verb like the word that was taken for a VM; NULL: none */
    int answer_ms;     /* how long the daemon may take to answer; 0: as it should */
    bool json, jsonl /* with json */, quiet, no_legend, help, version;
    /* The verb's own options in their order: NULL if not given, "" if without a value. */
    const char *option[CLI_OPTIONS_MAX];
    const char *field_text[POLICY_FIELDS]; /* value of a policy flag; NULL if it was not given */
    char **args;                           /* the words that are left, NULL-terminated */
    int n_args;
};

/* options.c */

/* Reads options, the verb's and those all have, or reports what is wrong and returns CLI_USAGE. */
int cli_read_options(struct cli *cli, int argc, char **argv);

/* The index of the first word that is no option nor the value of one that all have; 0: none. */
int cli_first_word(int argc, char **argv);

/* Prints the options of a verb; NULL: those that all have. */
void cli_print_options(const struct cli_verb *verb);

/* The nearest to a word among those considered; name is NULL while none is near. */
struct cli_nearest {
    const char *word;
    const char *name;
    unsigned distance;
};
void cli_consider(struct cli_nearest *nearest, const char *name);

/* text.c */

enum { CLI_TEXT_MAX = 32, CLI_FLAG_MAX = 32 };

/* Prints one escaped line on stderr, "migpolicy: cause; next step", and returns `code`. */
int cli_fail(enum cli_exit code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Prints one escaped line on stdout. */
void cli_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * A copy in which control characters, characters that change the direction of text, and bytes that
 * are not of the locale's character set are written \xNN. The caller frees it.
 */
char *cli_escape(const char *text);

/* The flag of a policy field ("max-downtime" for max_downtime). Returns buf. */
const char *cli_flag(const char *field_name, char buf[CLI_FLAG_MAX]);

/* Members of a JSON object: NAN, NULL or false if absent, null or of another type. */
double cli_number(struct json_object *object, const char *key);
const char *cli_string(struct json_object *object, const char *key);
struct json_object *cli_array(struct json_object *object, const char *key);
bool cli_is(struct json_object *object, const char *key, bool value);

/* Length of what cli_array() returned. */
size_t cli_array_length(struct json_object *array);

/* Quantities for people: "180 MiB", "95 MiB/s", "2.1 s", "20%"; "-" for NAN. Return buf. */
const char *cli_bytes(double bytes, char buf[CLI_TEXT_MAX]);
const char *cli_rate(double bytes_per_second, char buf[CLI_TEXT_MAX]);
const char *cli_seconds(double seconds, char buf[CLI_TEXT_MAX]);
const char *cli_percent(double ratio, char buf[CLI_TEXT_MAX]);

/* As cli_percent(), but "-" where nothing is limited. */
const char *cli_cpu_limit(double ratio, char buf[CLI_TEXT_MAX]);

/* The time to the end a migration or an alternative is forecast to have; "never" if it has none. */
const char *cli_eta(double seconds, bool never, char buf[CLI_TEXT_MAX]);

/* Prints the object with "schema_version" added; cli_print_jsonl() at once and in one line. */
void cli_print_json(struct json_object *object);
void cli_print_jsonl(struct json_object *object);

/* status.c */

/* Whether a VM is given as a pattern; and taking what does not match one out of a list. */
bool cli_is_pattern(const char *vm);
void cli_keep_matching(struct json_object *migrations, const char *pattern);

/* Those that somebody should look at come first; the ended ones last. */
void cli_sort_by_urgency(struct json_object *migrations);

/* Migrations as Status tells them, a row each. */
struct cli_table *cli_status_table(const struct cli *cli, struct json_object *migrations);

/* Parameters of Status for a VM; for all if it is NULL or a pattern. The caller releases them. */
struct json_object *cli_status_parameters(const char *vm, bool include_ended);

/* predict.c */

/* Parameters of Predict for a VM, as the command line has them; else what is wrong is reported. */
int cli_predict_parameters(const struct cli *cli, const char *vm, struct json_object **ret);

/* The course of that kind in a reply, borrowed; NULL: there is none. */
struct json_object *cli_find_course(struct json_object *reply, const char *kind);

/* rank.c: predicts several VMs, and ranks them. Returns the exit code. */
int cli_rank(const struct cli *cli);

/* explain.c */

/* Calls Explain and prints the reply for people. As cli_try_call(). */
int cli_try_explain(const struct cli *cli, const char *vm, char **ret_error);

/* history.c */

/* Calls History; vm may be NULL. As cli_call(). */
int cli_ask_history(const struct cli *cli, const char *vm, int limit,
                    struct json_object **ret_reply);

/* table.c */

struct cli_column {
    const char *heading;
    /* A name and a text are cut where a terminal is too narrow. */
    enum { CLI_LEFT, CLI_RIGHT, CLI_WRAP, CLI_NAME, CLI_TEXT } style;
    int drop; /* in what order columns are left out of a narrow table, the highest first; 0: never
               */
};
struct cli_table;

struct cli_table *cli_table_new(const struct cli *cli, const struct cli_column *columns,
                                unsigned n_columns);

/* Adds a row of n_columns cells, which are copied and escaped; NULL shows as "-". */
void cli_table_row(struct cli_table *table, const char *const *cells);

/* The table as text, its lines as long as they are and the last one without its end; the caller
 * frees it. Frees the table. */
char *cli_table_text(struct cli_table *table);

/* Prints the table and frees it. */
void cli_table_print(struct cli_table *table);

/* decision.c */

enum { CLI_DOING_MAX = 160 };

/* One action in words, appended; what is not done in brackets. */
void cli_describe(const struct action *a, bool done, char text[CLI_DOING_MAX]);

/* Adds a number; null unless it is finite. */
void cli_add_number(struct json_object *object, const char *key, double value);

/* New objects; `actions` is taken over. */
struct json_object *cli_action_to_json(const struct action *a, const char *result);
struct json_object *cli_decision_to_json(enum verdict verdict, enum reason reason,
                                         struct json_object *actions);

/* file.c: what is wrong is reported; these return the exit code. */

/* The whole of a file, which the caller frees. */
int cli_read_file(const char *path, size_t max, char **ret_text, size_t *ret_len);

/* A policy in JSON. */
int cli_read_policy(const char *path, struct policy_layer *ret);

/* policy.c */

/* The policy flags given, each checked, or reports what is wrong and returns CLI_USAGE. */
int cli_read_fields(const struct cli *cli, struct policy_layer *ret);

/* call.c */

/*
 * Calls "INTERFACE.METHOD" and reports nothing. Takes over `parameters` (may be NULL). Returns 0
 * when the daemon answered, with *ret_error as varlink_client_call() leaves it; else -errno.
 */
int cli_try_call(const struct cli *cli, const char *method, struct json_object *parameters,
                 char **ret_error, struct json_object **ret_reply);

/* The same, with every failure reported; returns the exit code and sets *ret_reply on CLI_OK only.
 */
int cli_call(const struct cli *cli, const char *method, struct json_object *parameters,
             struct json_object **ret_reply);

/*
 * Begins Monitor of a VM, or of all if it is NULL or a pattern; and takes the next thing it tells,
 * waiting at most so long (-1: as long as an answer may take). As cli_try_call() and cli_call();
 * cli_next() sets *ret_reply to NULL where none came in time. A client is freed by
 * cli_cleanup_client(); see varlink_client.h for how to poll it.
 */
struct varlink_client;
int cli_open(const struct cli *cli, struct varlink_client **ret); /* a connection alone */
int cli_try_follow(const struct cli *cli, const char *vm, struct varlink_client **ret);
int cli_try_next(const struct cli *cli, struct varlink_client *client, int timeout_ms,
                 char **ret_error, struct json_object **ret_reply);
int cli_follow(const struct cli *cli, const char *vm, struct varlink_client **ret);
int cli_next(const struct cli *cli, struct varlink_client *client, int timeout_ms,
             struct json_object **ret_reply);
void cli_cleanup_client(struct varlink_client **client);

/* Takes exactly one VM from the arguments, or none; else reports what is wrong, CLI_USAGE. */
int cli_one_vm(const struct cli *cli, const char **ret_vm);
int cli_no_arguments(const struct cli *cli);

#endif
