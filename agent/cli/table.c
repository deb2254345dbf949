/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tables. On a terminal they fit its width: columns that matter least are left out, then names and
 * texts are cut. In a pipe they are as wide as they are.
 */
#include <langinfo.h>
#include <libsmartcols/libsmartcols.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#include "agent/cli/cli.h"

/* What a name or a text keeps at least. */
enum { NAME_MIN = 12, TEXT_MIN = 14 };

struct cli_table {
    const struct cli *cli;
    const struct cli_column *column; /* borrowed */
    unsigned n_columns;
    size_t n_rows;
    char **cell; /* n_rows times n_columns */
};

struct cli_table *cli_table_new(const struct cli *cli, const struct cli_column *columns,
                                unsigned n_columns)
{
    struct cli_table *t = alloc_need(calloc(1, sizeof(*t)));

    t->cli = cli;
    t->column = columns;
    t->n_columns = n_columns;
    return t;
}

void cli_table_row(struct cli_table *table, const char *const *cells)
{
    char **row;

    table->cell = alloc_need(
        realloc(table->cell, (table->n_rows + 1) * table->n_columns * sizeof(*table->cell)));
    row = &table->cell[table->n_rows++ * table->n_columns];
    for (unsigned i = 0; i < table->n_columns; i++)
        row[i] = cli_escape(cells[i] && *cells[i] ? cells[i] : "-");
}

/* ---- fitting ---- */

/* The columns of the terminal; 0: it is none, or nobody can tell. */
static unsigned terminal_width(void)
{
    struct winsize size = {0};

    if (!isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0)
        return 0;
    return size.ws_col;
}

/* How many columns a text takes, of its first `bytes`. */
static unsigned width_of(const char *text, size_t bytes)
{
    mbstate_t state = {0};
    unsigned width = 0;

    while (bytes > 0) {
        wchar_t c;
        size_t n = mbrtowc(&c, text, bytes, &state);
        int w = n > 0 && n <= bytes ? wcwidth(c) : 1;

        if (n == 0 || n > bytes) {
            n = 1;
            state = (mbstate_t){0};
        }
        width += w > 0 ? (unsigned)w : 0;
        text += n;
        bytes -= n;
    }
    return width;
}

static unsigned natural_width(const struct cli_table *t, unsigned column)
{
    const char *heading = t->column[column].heading;
    unsigned width = t->cli->no_legend ? 1 : width_of(heading, strlen(heading));

    for (size_t row = 0; row < t->n_rows; row++) {
        const char *cell = t->cell[row * t->n_columns + column];
        unsigned w = width_of(cell, strlen(cell));

        width = w > width ? w : width;
    }
    return width;
}

static unsigned least_width(const struct cli_column *column, unsigned natural)
{
    unsigned least = column->style == CLI_NAME                                ? NAME_MIN
                     : column->style == CLI_TEXT || column->style == CLI_WRAP ? TEXT_MIN
                                                                              : natural;

    return natural < least ? natural : least;
}

/* Columns that are left out have the width 0. Returns what all of them take at least. */
static unsigned sum_of_least(const struct cli_table *t, const unsigned natural[])
{
    unsigned sum = 0;

    for (unsigned i = 0; i < t->n_columns; i++) {
        if (natural[i] > 0)
            sum += least_width(&t->column[i], natural[i]) + 1;
    }
    return sum - 1;
}

static void leave_out(const struct cli_table *t, unsigned natural[], unsigned width)
{
    while (sum_of_least(t, natural) > width) {
        int last = -1;

        for (unsigned i = 0; i < t->n_columns; i++) {
            if (natural[i] > 0 && t->column[i].drop > 0 &&
                (last < 0 || t->column[i].drop > t->column[last].drop))
                last = (int)i;
        }
        if (last < 0)
            return;
        natural[last] = 0;
    }
}

/* Gives columns of a style what they need of the room that is left. */
static void widen(const struct cli_table *t, const unsigned natural[], unsigned width[], int style,
                  unsigned *left)
{
    for (unsigned i = 0; i < t->n_columns; i++) {
        unsigned more = natural[i] - width[i];

        if (natural[i] == 0 || (int)t->column[i].style != style)
            continue;
        more = more < *left ? more : *left;
        width[i] += more;
        *left -= more;
    }
}

/* Cuts a text to a width, with a mark for what is missing. */
static void cut(char *text, unsigned width)
{
    const char *mark = strcmp(nl_langinfo(CODESET), "UTF-8") == 0 ? "…" : "~";
    size_t len = strlen(text);

    if (width_of(text, len) <= width)
        return;
    while (len > 0 &&
           (width_of(text, len) > width - 1 || ((unsigned char)text[len] & 0xc0) == 0x80))
        len--;
    /* Where what is cut off is shorter than the mark, it is that of ASCII. */
    strcpy(text + len, strlen(text + len) >= strlen(mark) ? mark : "~");
}

/* How wide each column is to be. */
static void fit(struct cli_table *t, unsigned width[])
{
    unsigned terminal = terminal_width();
    unsigned *natural AUTO_FREE = alloc_need(calloc(t->n_columns, sizeof(*natural)));
    unsigned left;

    for (unsigned i = 0; i < t->n_columns; i++)
        width[i] = natural[i] = natural_width(t, i);
    if (terminal == 0)
        return;
    leave_out(t, natural, terminal);
    left = sum_of_least(t, natural);
    left = left < terminal ? terminal - left : 0;
    for (unsigned i = 0; i < t->n_columns; i++)
        width[i] = natural[i] > 0 ? least_width(&t->column[i], natural[i]) : 0;
    widen(t, natural, width, CLI_NAME, &left);
    widen(t, natural, width, CLI_TEXT, &left);
    widen(t, natural, width, CLI_WRAP, &left);
    for (size_t i = 0; i < t->n_rows * t->n_columns; i++) {
        if (width[i % t->n_columns] > 0 && t->column[i % t->n_columns].style != CLI_WRAP)
            cut(t->cell[i], width[i % t->n_columns]);
    }
}

/* ---- printing ---- */

/* Frees the table, all but its library's form. */
static struct libscols_table *finish(struct cli_table *t)
{
    static const int flags[] = {[CLI_LEFT] = 0,
                                [CLI_RIGHT] = SCOLS_FL_RIGHT,
                                [CLI_WRAP] = SCOLS_FL_WRAP,
                                [CLI_NAME] = 0,
                                [CLI_TEXT] = 0};
    struct libscols_table *table = alloc_need(scols_new_table());
    unsigned *width AUTO_FREE = alloc_need(calloc(t->n_columns, sizeof(*width)));

    fit(t, width);
    scols_table_enable_noheadings(table, t->cli->no_legend);
    /* The cells are escaped already; the library would escape the backslashes again. */
    scols_table_enable_noencoding(table, 1);
    for (unsigned i = 0; i < t->n_columns; i++) {
        if (width[i] > 0)
            alloc_need(
                scols_table_new_column(table, t->column[i].heading, 0, flags[t->column[i].style]));
    }
    for (size_t row = 0; row < t->n_rows; row++) {
        struct libscols_line *line = alloc_need(scols_table_new_line(table, NULL));
        unsigned at = 0;

        for (unsigned i = 0; i < t->n_columns; i++) {
            char *cell = t->cell[row * t->n_columns + i];

            if (width[i] == 0)
                free(cell);
            else if (scols_line_refer_data(line, at++, cell) < 0)
                alloc_failed();
        }
    }
    free(t->cell);
    free(t);
    return table;
}

char *cli_table_text(struct cli_table *table)
{
    struct libscols_table *t = finish(table);
    char *text = NULL;

    if (scols_print_table_to_string(t, &text) < 0)
        alloc_failed();
    scols_unref_table(t);
    return text;
}

void cli_table_print(struct cli_table *table)
{
    struct libscols_table *t = finish(table);

    if (scols_print_table(t) < 0)
        alloc_failed();
    scols_unref_table(t);
}
