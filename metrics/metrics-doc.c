/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Prints docs/metrics.md. */
#include "metrics/metrics.h"

#include <stdio.h>

int main(void)
{
    struct metrics_buf b = {0};
    int r = metrics_render_doc(&b);

    if (r == 0)
        r = fputs(b.data, stdout) == EOF || fflush(stdout) == EOF ? -1 : 0;
    metrics_buf_free(&b);
    return r < 0;
}
