/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The status page: one HTML document that loads nothing else and runs no script. */
#include "common/cleanup.h"
#include "metrics/internal.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <time.h>

#include "common/alloc.h"

static const char head[] =
    "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
    "<meta http-equiv=\"refresh\" content=\"5\">\n"
    "<meta name=\"viewport\" content=\"width=device-width\">\n<title>migpolicy</title>\n<style>\n"
    ":root{color-scheme:light dark}\n"
    "body{font:15px/1.45 system-ui,sans-serif;margin:1.5rem;max-width:100rem}\n"
    "h1{font-size:1.3rem;margin:0}h2{font-size:1.05rem;margin:1.6rem 0 .4rem}\n"
    "table{border-collapse:collapse}div{overflow-x:auto}\n"
    "th,td{padding:.25rem .8rem .25rem 0;text-align:right;white-space:nowrap;"
    "border-bottom:1px solid #8884;font-variant-numeric:tabular-nums}\n"
    "th{font-weight:600}th.t,td.t{text-align:left}\n"
    "td.n{white-space:normal;overflow-wrap:anywhere;min-width:10rem;max-width:30rem}\n"
    "small{display:block;opacity:.65}.bad{color:#c33;font-weight:600}\n"
    "</style>\n</head>\n<body>\n";

static void html_write(struct metrics_buf *b, const char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        if (c == '<')
            metrics_buf_str(b, "&lt;");
        else if (c == '>')
            metrics_buf_str(b, "&gt;");
        else if (c == '&')
            metrics_buf_str(b, "&amp;");
        else if (c == '"')
            metrics_buf_str(b, "&quot;");
        else if (c == '\'')
            metrics_buf_str(b, "&#39;");
        else if (c < 0x20 || c == 0x7f)
            metrics_buf_str(b, "&#xfffd;"); /* HTML has no way to write a control character */
        else
            metrics_buf_add(b, text, 1);
    }
}

static void bytes_write(struct metrics_buf *b, double bytes, const char *suffix)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    size_t unit = 0;

    if (isnan(bytes)) {
        metrics_buf_str(b, "–");
        return;
    }
    while (fabs(bytes) >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        bytes /= 1024;
        unit++;
    }
    metrics_buf_printf(b, "%.*f %s%s", unit && fabs(bytes) < 100 ? 1 : 0, bytes, units[unit],
                       suffix);
}

static void duration_write(struct metrics_buf *b, double seconds)
{
    if (isnan(seconds))
        metrics_buf_str(b, "–");
    else if (seconds < 1)
        metrics_buf_printf(b, "%.0f ms", seconds * 1000);
    else if (seconds < 60)
        metrics_buf_printf(b, "%.1f s", seconds);
    else if (seconds < 3600)
        metrics_buf_printf(b, "%.0f m %02.0f s", floor(seconds / 60), floor(fmod(seconds, 60)));
    else
        metrics_buf_printf(b, "%.0f h %02.0f m", floor(seconds / 3600),
                           floor(fmod(seconds, 3600) / 60));
}

static void number_write(struct metrics_buf *b, double number)
{
    if (isnan(number))
        metrics_buf_str(b, "–");
    else
        metrics_buf_printf(b, "%.0f", number);
}

static void percent_write(struct metrics_buf *b, double ratio)
{
    if (isnan(ratio))
        metrics_buf_str(b, "–");
    else
        metrics_buf_printf(b, "%.0f%%", ratio * 100);
}

static void time_write(struct metrics_buf *b, double timestamp)
{
    char text[32];
    struct tm tm;
    time_t t;

    if (!(fabs(timestamp) < 1e12)) {
        metrics_buf_str(b, "–");
        return;
    }
    t = (time_t)timestamp;
    if (gmtime_r(&t, &tm) && strftime(text, sizeof(text), "%F %T UTC", &tm))
        metrics_buf_str(b, text);
}

static const char *set_name(const struct metrics_snapshot *s, enum metrics_set set, int index)
{
    return index >= 0 && (size_t)index < s->layout->set_size[set] ? s->layout->sets[set][index]
                                                                  : "–";
}

static double host_sum(const struct metrics_snapshot *s, enum metric id)
{
    double sum = 0;

    for (size_t i = 0; i < s->layout->cells[id]; i++)
        sum += s->values[s->layout->first[id] + i];
    return sum;
}

static void host_write(const struct metrics_snapshot *s, struct metrics_buf *b)
{
    double up = host_sum(s, METRIC_LIBVIRT_UP);
    double omitted = host_sum(s, METRIC_VMS_OMITTED);
    double unrestored = host_sum(s, METRIC_THROTTLE_RESTORE_FAILURES);

    metrics_buf_str(b, "<h1>migpolicy ");
    html_write(b, MIGPOLICY_VERSION);
    metrics_buf_str(b, "</h1>\n<p>libvirt: ");
    metrics_buf_str(b, isnan(up) ? "–"
                       : up > 0  ? "connected"
                                 : "<span class=\"bad\">not connected</span>");
    metrics_buf_str(b, " · throttled VMs: ");
    number_write(b, host_sum(s, METRIC_THROTTLED_DOMAINS));
    metrics_buf_str(b, " · migrations started: ");
    number_write(b, host_sum(s, METRIC_MIGRATIONS_STARTED));
    metrics_buf_str(b, ", completed: ");
    number_write(b, host_sum(s, METRIC_MIGRATIONS_COMPLETED));
    metrics_buf_str(b, ", failed: ");
    number_write(b, host_sum(s, METRIC_MIGRATIONS_FAILED));
    metrics_buf_str(b, " · <a href=\"/metrics\">metrics</a></p>\n");
    if (unrestored > 0)
        metrics_buf_printf(
            b, "<p class=\"bad\">Putting CPU limits back failed %.0f times: see the log.</p>\n",
            unrestored);
    if (omitted > 0)
        metrics_buf_printf(b, "<p class=\"bad\">%.0f more VMs are not shown.</p>\n", omitted);
}

static void vm_cell(struct metrics_buf *b, const struct metrics_entry *e)
{
    metrics_buf_str(b, "<tr><td class=\"t n\"><bdi>");
    html_write(b, e->name);
    metrics_buf_str(b, "</bdi><small>");
    html_write(b, e->uuid);
    metrics_buf_str(b, "</small></td>");
}

static void live_row(const struct metrics_snapshot *s, const struct metrics_entry *e,
                     struct metrics_buf *b)
{
    const struct metrics_vm *vm = &e->vm;

    vm_cell(b, e);
    metrics_buf_str(b, "<td class=\"t\">");
    html_write(b, set_name(s, METRICS_SET_VERDICT, vm->verdict));
    metrics_buf_str(b, "</td><td class=\"t\">");
    html_write(b, set_name(s, METRICS_SET_PHASE, vm->phase));
    metrics_buf_str(b, "</td><td>");
    number_write(b, vm->iteration);
    metrics_buf_str(b, "</td><td>");
    duration_write(b, vm->elapsed_seconds);
    metrics_buf_str(b, "</td><td>");
    duration_write(b, vm->forecast_remaining_seconds);
    metrics_buf_str(b, "</td><td>");
    bytes_write(b, vm->memory_remaining_bytes, "");
    metrics_buf_str(b, " of ");
    bytes_write(b, vm->memory_total_bytes, "");
    metrics_buf_str(b, "</td><td>");
    bytes_write(b, vm->dirty_rate_bytes_per_second, "/s");
    metrics_buf_str(b, "</td><td>");
    bytes_write(b, vm->transfer_rate_bytes_per_second, "/s");
    metrics_buf_str(b, "</td><td>");
    duration_write(b, vm->expected_downtime_seconds);
    metrics_buf_str(b, " (limit ");
    duration_write(b, vm->downtime_limit_seconds);
    metrics_buf_str(b, ")</td><td>");
    percent_write(b, vm->cpu_limit_ratio);
    metrics_buf_str(b, "</td><td>");
    duration_write(b, vm->work_lost_so_far_seconds);
    metrics_buf_str(b, "</td></tr>\n");
}

static void live_table(const struct metrics_snapshot *s, struct metrics_buf *b)
{
    bool any = false;

    metrics_buf_str(b, "<h2>Migrating or throttled</h2>\n");
    for (size_t i = 0; i < s->entry_count; i++) {
        if (!s->entries[i].live)
            continue;
        if (!any)
            metrics_buf_str(b,
                            "<div><table>\n<tr><th class=\"t\">VM</th><th class=\"t\">Verdict</th>"
                            "<th class=\"t\">Phase</th><th>Pass</th><th>Elapsed</th><th>To go</th>"
                            "<th>Remaining</th><th>Dirtied</th><th>Sent</th><th>Downtime</th>"
                            "<th>CPU limit</th><th>Work lost</th></tr>\n");
        any = true;
        live_row(s, &s->entries[i], b);
    }
    metrics_buf_str(b, any ? "</table></div>\n" : "<p>None.</p>\n");
}

static void last_row(const struct metrics_snapshot *s, const struct metrics_entry *e,
                     struct metrics_buf *b)
{
    vm_cell(b, e);
    metrics_buf_str(b, "<td class=\"t\">");
    html_write(b, set_name(s, METRICS_SET_OUTCOME, (int)e->last.outcome));
    metrics_buf_str(b, "</td><td class=\"t\">");
    time_write(b, e->last.end_timestamp_seconds);
    metrics_buf_str(b, "</td><td>");
    duration_write(b, e->last.duration_seconds);
    metrics_buf_str(b, "</td><td>");
    duration_write(b, e->last.downtime_seconds);
    metrics_buf_str(b, "</td><td>");
    duration_write(b, e->last.work_lost_seconds);
    metrics_buf_str(b, "</td></tr>\n");
}

/* Latest end first; an unknown one counts as long ago, for qsort needs a total order. */
static int compare_ends(const void *a, const void *b)
{
    const struct metrics_entry *const *x = a, *const *y = b;
    double end_x = fmax((*x)->last.end_timestamp_seconds, 0);
    double end_y = fmax((*y)->last.end_timestamp_seconds, 0);

    return (end_x < end_y) - (end_x > end_y);
}

static void last_table(const struct metrics_snapshot *s, struct metrics_buf *b)
{
    AUTO_FREE const struct metrics_entry **ended =
        alloc_need(calloc(s->entry_count + 1, sizeof(*ended)));
    size_t n = 0;

    for (size_t i = 0; i < s->entry_count; i++) {
        if (s->entries[i].ended)
            ended[n++] = &s->entries[i];
    }
    metrics_buf_str(b, "<h2>Last migrations</h2>\n");
    if (!n) {
        metrics_buf_str(b, "<p>None.</p>\n");
        return;
    }
    qsort(ended, n, sizeof(*ended), compare_ends);
    metrics_buf_str(b, "<div><table>\n<tr><th class=\"t\">VM</th><th class=\"t\">Result</th>"
                       "<th class=\"t\">Ended</th><th>Took</th><th>Downtime</th>"
                       "<th>Work lost</th></tr>\n");
    for (size_t i = 0; i < n; i++)
        last_row(s, ended[i], b);
    metrics_buf_str(b, "</table></div>\n");
}

void metrics_page_render(const struct metrics_snapshot *s, struct metrics_buf *b)
{
    metrics_buf_str(b, head);
    host_write(s, b);
    live_table(s, b);
    last_table(s, b);
    metrics_buf_str(b, "</body>\n</html>\n");
}
