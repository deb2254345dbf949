/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/cli/simulate_plot.h"

#include <math.h>
#include <string.h>

#include "agent/cli/cli.h"

enum { LABEL = 9, COLUMNS = 68, ROWS = 16, ROWS_PER_LABEL = 4 };

struct column {
    double least, most;
};

/* Widens the column by the line between two points, as far as it runs within from..to. */
static void take_line(struct column *c, const struct plot_point *a, const struct plot_point *b,
                      double from, double to)
{
    double slope = b->time_s > a->time_s ? (b->bytes - a->bytes) / (b->time_s - a->time_s) : 0;
    double first = a->bytes + slope * (fmax(from, a->time_s) - a->time_s);
    double last = b->bytes - slope * (b->time_s - fmin(to, b->time_s));

    c->least = fmin(c->least, fmin(first, last));
    c->most = fmax(c->most, fmax(first, last));
}

static void make_columns(struct column column[COLUMNS], const struct plot_point *point, size_t n)
{
    double width = point[n - 1].time_s / COLUMNS;
    size_t i = 0;

    for (unsigned c = 0; c < COLUMNS; c++) {
        double from = c * width;
        double to = (c + 1) * width;

        column[c] = (struct column){INFINITY, 0};
        while (i + 2 < n && point[i + 1].time_s <= from)
            i++;
        for (size_t k = i; k < n && (k == i || point[k].time_s < to); k++)
            take_line(&column[c], &point[k], &point[k + 1 < n ? k + 1 : k], from, to);
    }
}

/* The part of the plot between two heights. */
static const char *cell(const struct column *c, double low, double high, bool utf8)
{
    static const char *const blocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    double filled = (c->least - low) / (high - low);

    if (filled > 0 && utf8)
        return blocks[(int)ceil(fmin(filled, 1) * 8) - 1];
    if (filled > 0.5)
        return "#";
    if (c->most > low)
        return utf8 ? "░" : ".";
    return " ";
}

static void print_row(FILE *f, bool utf8, const struct column column[COLUMNS], double top,
                      unsigned row)
{
    const char *cells[COLUMNS];
    unsigned used = 0;
    char label[CLI_TEXT_MAX] = "";

    for (unsigned c = 0; c < COLUMNS; c++) {
        cells[c] = cell(&column[c], top * row / ROWS, top * (row + 1) / ROWS, utf8);
        used = *cells[c] == ' ' ? used : c + 1;
    }
    if ((row + 1) % ROWS_PER_LABEL == 0)
        cli_bytes(top * (row + 1) / ROWS, label);
    fprintf(f, "%*s %s", LABEL, label, utf8 ? "┤" : "|");
    for (unsigned c = 0; c < used; c++)
        fputs(cells[c], f);
    fputc('\n', f);
}

/* A mark whose place is taken moves to the right, or is lost at the end. */
static void print_marks(FILE *f, const struct plot_mark *mark, size_t n, double end_s)
{
    char line[COLUMNS + 1];
    size_t used = 0;

    memset(line, ' ', sizeof(line));
    for (size_t i = 0; i < n; i++) {
        size_t at = end_s > 0 ? (size_t)(fmin(mark[i].time_s / end_s, 1) * (COLUMNS - 1)) : 0;

        at = at < used ? used : at;
        if (at >= COLUMNS)
            break;
        line[at] = mark[i].letter;
        used = at + 1;
    }
    if (used > 0)
        fprintf(f, "%*s  %.*s\n", LABEL, "", (int)used, line);
}

void simulate_plot(FILE *f, bool utf8, const struct plot_point *point, size_t n_points,
                   const struct plot_mark *mark, size_t n_marks)
{
    struct column column[COLUMNS];
    double end_s = point[n_points - 1].time_s;
    double top = 0;
    char middle[CLI_TEXT_MAX];
    char end[CLI_TEXT_MAX];

    make_columns(column, point, n_points);
    for (size_t i = 0; i < n_points; i++)
        top = fmax(top, point[i].bytes);
    for (unsigned row = ROWS; row > 0; row--)
        print_row(f, utf8, column, top, row - 1);
    fprintf(f, "%*s %s", LABEL, "0 B", utf8 ? "└" : "+");
    for (unsigned c = 0; c < COLUMNS; c++)
        fputs(utf8 ? "─" : "-", f);
    fputc('\n', f);
    print_marks(f, mark, n_marks, end_s);
    fprintf(f, "%*s  0%*s%*s\n", LABEL, "", COLUMNS / 2 - 1, cli_seconds(end_s / 2, middle),
            COLUMNS / 2, cli_seconds(end_s, end));
}
