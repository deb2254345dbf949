/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Prints docs/metrics.md, or with --man docs/migpolicy-metrics.7. */
#include "metrics/metrics.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    struct metrics_buf b = {0};
    bool written;

    if (argc > 1 && strcmp(argv[1], "--man") == 0)
        metrics_render_manual(&b);
    else
        metrics_render_doc(&b);
    written = fputs(b.data, stdout) != EOF && fflush(stdout) != EOF;
    metrics_buf_free(&b);
    return !written;
}
