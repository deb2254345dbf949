/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of the command `migpolicy` share. The command is a thin client: it checks what it
 * can without the daemon, makes one call per question, and shows the reply.
 *
 * Text from the daemon and from the command line is hostile (a VM may be named anything), so it
 * reaches a terminal only through cli_fail(), cli_line() and the tables, which escape it.
 *
 * Out of memory ends the process. Nothing here is thread-safe.
 */
#ifndef MIGPOLICY_CLI_H
#define MIGPOLICY_CLI_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/cleanup.h"
#include "common/json_cleanup.h"
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

/* Options of simulate. */
enum simulate_option {
    SIMULATE_MEMORY,
    SIMULATE_ZERO,
    SIMULATE_DIRTY_RATE,
    SIMULATE_HOT,
    SIMULATE_PATTERN,
    SIMULATE_CPU_BOUND,
    SIMULATE_CURVE,
    SIMULATE_VCPUS,
    SIMULATE_BUSY,
    SIMULATE_FLUSH,
    SIMULATE_LINK,
    SIMULATE_NOISE,
    SIMULATE_SEED,
    SIMULATE_LIMIT,
    SIMULATE_FOR,
    SIMULATE_PLOT,
    SIMULATE_OPTIONS,
};
struct cli_simulate_option {
    const char *name, *value, *help; /* value: NULL if it takes none */
};
extern const struct cli_simulate_option cli_simulate_options[SIMULATE_OPTIONS];

/* The command line, read. */
struct cli {
    enum { CLI_COLOR_AUTO, CLI_COLOR_ALWAYS, CLI_COLOR_NEVER } color;
    const char *socket;
    const char *policy;  /* --policy; NULL if it was not given */
    const char *timeout; /* --timeout; NULL if it was not given */
    const char *expires; /* --expires; NULL if it was not given */
    const char *scope;   /* --scope, likewise */
    const char *file;    /* --file, likewise */
    const char *label;   /* --label, likewise */
    const char *meant;   /* a verb like the word that was taken for a VM; NULL: none */
    int answer_ms;       /* how long the daemon may take to answer; 0: as it should */
    bool json, jsonl /* with json */, quiet, no_legend, all, runtime, dry_run;
    const char *field_text[POLICY_FIELDS]; /* value of a policy flag, NULL if it was not given */
    const char *simulate_text[SIMULATE_OPTIONS]; /* likewise; "" for an option without a value */
    char **args;                                 /* what follows the verb, NULL-terminated */
    int n_args;
};

/* The verbs. Each prints its own output and errors and returns the exit code. */
int cli_status(const struct cli *cli);
int cli_set(const struct cli *cli);
int cli_unset(const struct cli *cli);
int cli_show(const struct cli *cli);
int cli_apply(const struct cli *cli);
int cli_reload(const struct cli *cli);
int cli_explain(const struct cli *cli);
int cli_history(const struct cli *cli);
int cli_watch(const struct cli *cli);
int cli_wait(const struct cli *cli);
int cli_predict(const struct cli *cli);
int cli_pending(const struct cli *cli);
int cli_approve(const struct cli *cli);
int cli_deny(const struct cli *cli);
int cli_release(const struct cli *cli);
int cli_pause(const struct cli *cli);
int cli_resume(const struct cli *cli);
int cli_check(const struct cli *cli);
int cli_replay(const struct cli *cli);
int cli_simulate(const struct cli *cli);
int cli_version(const struct cli *cli);

/* text.c */

enum { CLI_TEXT_MAX = 32, CLI_FLAG_MAX = 32 };

_Noreturn void cli_out_of_memory(void);

/* Returns p, which is not NULL: else the process ends. */
void *cli_need(void *p);

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

/* Migrations as Status tells them, a row each. */
struct cli_table *cli_status_table(const struct cli *cli, struct json_object *migrations);

/* Parameters of Status for a VM; for all if it is NULL or a pattern. The caller releases them. */
struct json_object *cli_status_parameters(const char *vm, bool include_ended);

/* history.c */

/* Calls History; vm may be NULL. As cli_call(). */
int cli_ask_history(const struct cli *cli, const char *vm, int limit,
                    struct json_object **ret_reply);

/* table.c */

struct cli_column {
    const char *heading;
    enum { CLI_LEFT, CLI_RIGHT, CLI_WRAP } style;
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

/* Adds a member; takes over `value`, which is not NULL: else the process ends. */
void cli_add(struct json_object *object, const char *key, struct json_object *value);

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

/* Is a policy to be changed in the VM's metadata? */
bool cli_in_metadata(const struct cli *cli);

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

/* Takes exactly one VM from the arguments, or reports what is wrong and returns CLI_USAGE. */
int cli_one_vm(const struct cli *cli, const char *verb, const char **ret_vm);

#endif
