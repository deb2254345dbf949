/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Prints docs/metrics.md. */
#include "metrics/metrics.h"

#include <stdbool.h>
#include <stdio.h>

int main(void)
{
    struct metrics_buf b = {0};
    bool written;

    metrics_render_doc(&b);
    written = fputs(b.data, stdout) != EOF && fflush(stdout) != EOF;
    metrics_buf_free(&b);
    return !written;
}
