/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/cli/simulate_svg.h"

#include <math.h>
#include <string.h>

#include "agent/cli/cli.h"

/* Of the picture, in pixels. */
enum {
    WIDTH = 900,
    LEFT = 84,
    RIGHT = 18,
    PLOT_TOP = 74,
    PLOT_BOTTOM = 254,
    VERDICT_TOP = 264,
    CPU_TOP = 288,
    STRIP = 18,
    ENDS_TOP = 316,
    ENDS_BOTTOM = 396,
    LIST_TOP = 440,
    LINE = 17,
    MARK_R = 8,
};

/* A letter is about so wide, and a line of the plot is not drawn finer than this. */
#define LETTER_PX 6.4
#define FINE_PX   0.5

/* Up to what is drawn, in seconds and in what the heights of a plot mean. */
struct view {
    double end_s;
    double top_px;
    double bottom_px;
    double max;
};

enum value { REMAINING, THRESHOLD, EARLIEST, LATEST, COURSE };

static double value_of(const struct plot_point *p, enum value value)
{
    switch (value) {
    case REMAINING:
        return p->bytes;
    case THRESHOLD:
        return p->threshold_bytes;
    case EARLIEST:
        return p->time_s + p->earliest_s;
    case LATEST:
        return p->time_s + p->latest_s;
    default:
        return p->end == END_COMES ? p->time_s + p->course_s : NAN;
    }
}

static double x_of(const struct view *v, double time_s)
{
    return LEFT + fmin(time_s / v->end_s, 1) * (WIDTH - LEFT - RIGHT);
}

/* What is far above the plot stays near it: the rest is clipped. */
static double y_of(const struct view *v, double value)
{
    return v->bottom_px - fmin(value / v->max, 4) * (v->bottom_px - v->top_px);
}

static const char style[] =
    "<style>\n"
    "text{fill:#333}.title{font-weight:bold;fill:#111}.dim,.tick{fill:#5a6370}\n"
    ".tick{font-size:11px}.mid{text-anchor:middle}.right{text-anchor:end}\n"
    ".grid{stroke:#e6e9ed}.axis{stroke:#b9c0c9}\n"
    "path{fill:none;stroke-linejoin:round}\n"
    ".area{fill:#0b5cad;fill-opacity:.12}.own{stroke:#0b5cad;stroke-width:1.6}\n"
    ".other{stroke:#9aa2ab;stroke-width:1.1}\n"
    ".threshold{stroke:#116329;stroke-width:1.5;stroke-dasharray:5 3}\n"
    ".band{fill:#7654be;fill-opacity:.22}.earliest{stroke:#7654be;stroke-width:1.2}\n"
    ".course{stroke:#4b2f91;stroke-width:1.8}.now{stroke:#b9c0c9;stroke-dasharray:2 3}\n"
    ".ended{stroke:#111;stroke-width:1;stroke-dasharray:1 3}\n"
    ".never{fill:#f3b0ab;fill-opacity:.45}.cpu{fill:#e9b384}\n"
    ".mark line{stroke:#111;opacity:.5}.mark circle{fill:#fff;stroke:#111;stroke-width:1.3}\n"
    ".mark .done{fill:#111}.mark .done+text{fill:#fff}\n"
    ".mark text{font-size:10px;font-weight:bold;text-anchor:middle}\n"
    "</style>\n";

static const char *const fills[VERDICTS] = {
    [VERDICT_STARTING] = "#e2e5e9",  [VERDICT_CONVERGING] = "#bfe5c8",
    [VERDICT_PLATEAU] = "#fbe3b0",   [VERDICT_NEEDS_HELP] = "#f2b34d",
    [VERDICT_HELPED] = "#b9d9f7",    [VERDICT_HOPELESS] = "#f3b0ab",
    [VERDICT_STALLED] = "#f3b0ab",   [VERDICT_SWITCHOVER] = "#d9ccf2",
    [VERDICT_POST_COPY] = "#d9ccf2", [VERDICT_DONE] = "#e2e5e9",
};

/* ---- lines ---- */

/* Whether the line bends at a point: what is nearer than a pixel part to the one before and does
 * not is left out. */
static bool bends(const struct plot_point *p, enum value value)
{
    double before = value_of(p, value) - value_of(p - 1, value);
    double after = value_of(p + 1, value) - value_of(p, value);

    return !(before * after > 0);
}

static void draw_line(FILE *f, const char *class, const struct view *v,
                      const struct plot_point *point, size_t n, enum value value)
{
    double drawn_px = -1;
    bool pen = false;

    fprintf(f, "<path class=\"%s\" clip-path=\"url(#%s)\" d=\"", class,
            v->top_px < ENDS_TOP ? "plot" : "ends");
    for (size_t i = 0; i < n && point[i].time_s <= v->end_s; i++) {
        double y = value_of(&point[i], value);
        double x = x_of(v, point[i].time_s);

        if (!isfinite(y)) {
            pen = false;
            continue;
        }
        if (pen && i + 1 < n && x - drawn_px < FINE_PX && !bends(&point[i], value))
            continue;
        fprintf(f, "%s%.1f %.1f", pen ? "L" : "M", x, y_of(v, y));
        drawn_px = x;
        pen = true;
    }
    fputs("\"/>\n", f);
}

static void draw_area(FILE *f, const struct view *v, const struct plot_point *point, size_t n)
{
    fprintf(f, "<path class=\"area\" d=\"M%.1f %.1f", x_of(v, point[0].time_s), v->bottom_px);
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || i + 1 == n || bends(&point[i], REMAINING))
            fprintf(f, "L%.1f %.1f", x_of(v, point[i].time_s), y_of(v, point[i].bytes));
    }
    fprintf(f, "L%.1f %.1fZ\"/>\n", x_of(v, point[n - 1].time_s), v->bottom_px);
}

/* ---- axes ---- */

static void draw_heights(FILE *f, const struct view *v)
{
    double step = exp2(ceil(log2(v->max / 4.4)));
    char text[CLI_TEXT_MAX];

    for (unsigned i = 1; i * step <= v->max; i++) {
        double y = y_of(v, i * step);

        fprintf(f,
                "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>\n"
                "<text class=\"tick right\" x=\"%d\" y=\"%.1f\">%s</text>\n",
                LEFT, WIDTH - RIGHT, y, y, LEFT - 6, y + 4, cli_bytes(i * step, text));
    }
}

static double time_step(double end_s)
{
    static const double steps[] = {0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600};
    size_t i = 0;

    while (i + 1 < sizeof(steps) / sizeof(steps[0]) && end_s / steps[i] > 10)
        i++;
    return fmax(steps[i], end_s / 10);
}

static void draw_times(FILE *f, const struct view *v)
{
    double step = time_step(v->end_s);
    char text[CLI_TEXT_MAX];

    for (unsigned i = 0; i * step <= v->end_s; i++) {
        double at = i * step;

        if (at < 120)
            snprintf(text, sizeof(text), "%g s", at);
        else
            cli_seconds(at, text);
        fprintf(f,
                "<line class=\"axis\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>\n"
                "<text class=\"tick mid\" x=\"%.1f\" y=\"%d\">%s</text>\n",
                x_of(v, at), x_of(v, at), ENDS_BOTTOM, ENDS_BOTTOM + 4, x_of(v, at),
                ENDS_BOTTOM + 16, text);
    }
}

static void draw_frame(FILE *f, int bottom, const char *name, int name_y)
{
    fprintf(f,
            "<line class=\"axis\" x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\"/>\n"
            "<text class=\"dim\" x=\"8\" y=\"%d\">%s</text>\n",
            LEFT, WIDTH - RIGHT, bottom, bottom, name_y, name);
}

/* ---- what lasts for a time ---- */

static void draw_span(FILE *f, const struct view *v, double from_s, double to_s, int top,
                      int height, const char *paint, const char *text)
{
    double x = x_of(v, from_s);
    double width = fmax(x_of(v, to_s) - x, 1);

    fprintf(f,
            "<rect %s x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\"><title>%s</title></rect>\n",
            paint, x, top, width, height, text);
    if (width > LETTER_PX * (double)strlen(text) + 4)
        fprintf(f, "<text class=\"tick mid\" x=\"%.1f\" y=\"%d\">%s</text>\n", x + width / 2,
                top + height / 2 + 4, text);
}

static bool same_span(const struct plot_point *a, const struct plot_point *b, int which)
{
    return which == VERDICT_TOP ? a->verdict == b->verdict
           : which == CPU_TOP   ? a->cpu_share == b->cpu_share
                                : a->end == b->end;
}

/* One of the strips, or where it is said not to end. */
static void draw_spans(FILE *f, const struct view *v, const struct picture *p, int which)
{
    for (size_t i = 0, end; i < p->n_points; i = end) {
        const struct plot_point *at = &p->point[i];
        char paint[40];
        char text[CLI_TEXT_MAX];
        double to_s;

        for (end = i + 1; end < p->n_points && same_span(at, &p->point[end], which);)
            end++;
        to_s = p->point[end < p->n_points ? end : end - 1].time_s;
        if (which == VERDICT_TOP) {
            snprintf(paint, sizeof(paint), "fill=\"%s\"", fills[at->verdict]);
            draw_span(f, v, at->time_s, to_s, which, STRIP, paint, verdict_name(at->verdict));
        } else if (which == CPU_TOP && at->cpu_share < 1) {
            draw_span(f, v, at->time_s, to_s, which, STRIP, "class=\"cpu\"",
                      cli_percent(at->cpu_share, text));
        } else if (which == ENDS_TOP && at->end == END_NEVER) {
            draw_span(f, v, at->time_s, to_s, which, ENDS_BOTTOM - ENDS_TOP, "class=\"never\"",
                      "does not end");
        }
    }
}

/* Between the earliest and the latest end, as far as both are said. */
static void draw_band(FILE *f, const struct view *v, const struct plot_point *point, size_t n)
{
    for (size_t i = 0, end; i < n; i = end) {
        end = i + 1;
        if (!isfinite(point[i].latest_s) || !isfinite(point[i].earliest_s))
            continue;
        while (end < n && isfinite(point[end].latest_s) && isfinite(point[end].earliest_s))
            end++;
        fprintf(f, "<path class=\"band\" clip-path=\"url(#ends)\" d=\"");
        for (size_t k = i; k < end; k++)
            fprintf(f, "%s%.1f %.1f", k > i ? "L" : "M", x_of(v, point[k].time_s),
                    y_of(v, value_of(&point[k], LATEST)));
        for (size_t k = end; k-- > i;)
            fprintf(f, "L%.1f %.1f", x_of(v, point[k].time_s),
                    y_of(v, value_of(&point[k], EARLIEST)));
        fputs("Z\"/>\n", f);
    }
}

/* ---- what was done ---- */

static void draw_marks(FILE *f, const struct view *v, const struct picture *p)
{
    double before_px = -WIDTH;
    bool low = false;

    for (size_t i = 0; i < p->n_marks; i++) {
        double x = x_of(v, p->mark[i].time_s);
        double y;

        low = x - before_px < 2 * MARK_R && !low;
        y = PLOT_TOP - MARK_R + (low ? 2 * MARK_R + 1 : 0);
        before_px = x;
        fprintf(f,
                "<g class=\"mark\"><line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%d\"/>"
                "<circle%s cx=\"%.1f\" cy=\"%.1f\" r=\"%d\"/><text x=\"%.1f\" y=\"%.1f\">%zu</text>"
                "</g>\n",
                x, x, y, ENDS_BOTTOM, p->mark[i].done ? " class=\"done\"" : "", x, y, MARK_R, x,
                y + 3.5, i + 1);
    }
}

static void list_marks(FILE *f, const struct picture *p)
{
    for (size_t i = 0; i < p->n_marks; i++) {
        const struct plot_mark *m = &p->mark[i];
        char doing[CLI_DOING_MAX] = "";
        char time[CLI_TEXT_MAX];

        cli_describe(&m->action, m->done, doing);
        fprintf(f,
                "<text class=\"right\" x=\"26\" y=\"%zu\">%zu</text>"
                "<text class=\"right\" x=\"78\" y=\"%zu\">%s</text>"
                "<text x=\"%d\" y=\"%zu\">%s: %s</text>\n",
                LIST_TOP + LINE * i, i + 1, LIST_TOP + LINE * i, cli_seconds(m->time_s, time), LEFT,
                LIST_TOP + LINE * i, doing, reason_text(m->action.reason));
    }
}

static void draw_legend(FILE *f, size_t y)
{
    static const struct {
        const char *class;
        const char *text;
        int width;
    } entries[] = {
        {"own", "with the policy", 130},           {"other", "with nobody acting", 150},
        {"threshold", "switches over below", 155}, {"earliest", "not before", 100},
        {"course", "said to end then", 140},       {"ended", "ended", 60},
    };
    int x = LEFT;

    for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++) {
        fprintf(f,
                "<path class=\"%s\" d=\"M%d %zuh20\"/>"
                "<text class=\"tick\" x=\"%d\" y=\"%zu\">%s</text>\n",
                entries[i].class, x, y - 4, x + 25, y, entries[i].text);
        x += entries[i].width;
    }
}

static void draw_head(FILE *f, const struct picture *p, size_t height)
{
    fprintf(
        f,
        "<!-- SPDX-License-Identifier: LGPL-2.1-or-later -->\n"
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %zu\" "
        "font-family=\"sans-serif\" font-size=\"13\">\n%s"
        "<clipPath id=\"plot\"><rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\"/></clipPath>\n"
        "<clipPath id=\"ends\"><rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\"/></clipPath>\n"
        "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n"
        "<text class=\"title\" x=\"8\" y=\"20\">%s</text>\n"
        "<text class=\"dim\" x=\"8\" y=\"38\">%s</text>\n",
        WIDTH, height, style, LEFT, PLOT_TOP - 10, WIDTH - LEFT - RIGHT,
        PLOT_BOTTOM - PLOT_TOP + 11, LEFT, ENDS_TOP, WIDTH - LEFT - RIGHT, ENDS_BOTTOM - ENDS_TOP,
        p->title, p->other_title);
}

void simulate_svg(FILE *f, const struct picture *p)
{
    double own_s = p->point[p->n_points - 1].time_s;
    double other_s = p->other[p->n_other - 1].time_s;
    size_t legend_y = LIST_TOP + LINE * p->n_marks + (p->n_marks > 0 ? 10 : 0);
    /* What never ends is shown for a while. */
    double end_s = fmax(other_s <= own_s ? own_s : fmin(other_s, own_s * 1.25), 0.001);
    struct view plot = {end_s, PLOT_TOP, PLOT_BOTTOM, 1};
    const struct view ends = {end_s, ENDS_TOP, ENDS_BOTTOM, end_s};

    for (size_t i = 0; i < p->n_points; i++)
        plot.max = fmax(plot.max, p->point[i].bytes);
    plot.max *= 1.04;
    draw_head(f, p, legend_y + 14);
    draw_heights(f, &plot);
    draw_line(f, "other", &plot, p->other, p->n_other, REMAINING);
    draw_area(f, &plot, p->point, p->n_points);
    draw_line(f, "threshold", &plot, p->point, p->n_points, THRESHOLD);
    draw_line(f, "own", &plot, p->point, p->n_points, REMAINING);
    draw_frame(f, PLOT_BOTTOM, "remaining", PLOT_TOP - 4);
    draw_spans(f, &plot, p, VERDICT_TOP);
    draw_frame(f, VERDICT_TOP + STRIP, "verdict", VERDICT_TOP + 13);
    draw_spans(f, &plot, p, CPU_TOP);
    draw_frame(f, CPU_TOP + STRIP, "CPU limit", CPU_TOP + 13);
    draw_spans(f, &ends, p, ENDS_TOP);
    fprintf(f, "<path class=\"now\" d=\"M%d %dL%d %d\"/>\n", LEFT, ENDS_BOTTOM, WIDTH - RIGHT,
            ENDS_TOP);
    if (p->completed)
        fprintf(f, "<path class=\"ended\" d=\"M%d %.1fH%d\"/>\n", LEFT, y_of(&ends, own_s),
                WIDTH - RIGHT);
    draw_band(f, &ends, p->point, p->n_points);
    draw_line(f, "earliest", &ends, p->point, p->n_points, EARLIEST);
    draw_line(f, "course", &ends, p->point, p->n_points, COURSE);
    draw_frame(f, ENDS_BOTTOM, "ends at", ENDS_TOP + 12);
    draw_times(f, &plot);
    draw_marks(f, &plot, p);
    list_marks(f, p);
    draw_legend(f, legend_y);
    fputs("</svg>\n", f);
}
