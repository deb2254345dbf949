/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <libsmartcols/libsmartcols.h>

#include "agent/cli/cli.h"

struct cli_table {
    struct libscols_table *table;
    unsigned n_columns;
};

struct cli_table *cli_table_new(const struct cli *cli, const struct cli_column *columns,
                                unsigned n_columns)
{
    static const int flags[] = {
        [CLI_LEFT] = 0, [CLI_RIGHT] = SCOLS_FL_RIGHT, [CLI_WRAP] = SCOLS_FL_WRAP};
    struct cli_table *t = alloc_need(malloc(sizeof(*t)));

    t->table = alloc_need(scols_new_table());
    t->n_columns = n_columns;
    scols_table_enable_noheadings(t->table, cli->no_legend);
    /* The cells are escaped already; the library would escape the backslashes again. */
    scols_table_enable_noencoding(t->table, 1);
    for (unsigned i = 0; i < n_columns; i++)
        alloc_need(
            scols_table_new_column(t->table, columns[i].heading, 0, flags[columns[i].style]));
    return t;
}

void cli_table_row(struct cli_table *table, const char *const *cells)
{
    struct libscols_line *line = alloc_need(scols_table_new_line(table->table, NULL));

    for (unsigned i = 0; i < table->n_columns; i++) {
        const char *text = cells[i] && *cells[i] ? cells[i] : "-";

        if (scols_line_refer_data(line, i, cli_escape(text)) < 0)
            alloc_failed();
    }
}

char *cli_table_text(struct cli_table *table)
{
    char *text = NULL;

    if (scols_print_table_to_string(table->table, &text) < 0)
        alloc_failed();
    scols_unref_table(table->table);
    free(table);
    return text;
}

void cli_table_print(struct cli_table *table)
{
    if (scols_print_table(table->table) < 0)
        alloc_failed();
    scols_unref_table(table->table);
    free(table);
}
