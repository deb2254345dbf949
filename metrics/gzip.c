/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "metrics/internal.h"

#include <stdlib.h>
#include <zlib.h>

#include "common/alloc.h"

enum {
    WORTH_BYTES = 1024,
    GZIP_WINDOW = MAX_WBITS + 16, /* zlib's way to ask for gzip's header */
    GZIP_MEMORY = 8,              /* zlib's default */
};

bool metrics_gzip(struct metrics_buf *b)
{
    z_stream z = {0};
    struct metrics_buf out = {0};
    int r;

    if (b->len < WORTH_BYTES)
        return false;
    r = deflateInit2(&z, Z_BEST_SPEED, Z_DEFLATED, GZIP_WINDOW, GZIP_MEMORY, Z_DEFAULT_STRATEGY);
    alloc_need_length(r == Z_OK ? 0 : -1);
    out.size = deflateBound(&z, b->len);
    out.data = alloc_need(malloc(out.size));
    z.next_in = (unsigned char *)b->data;
    z.avail_in = (unsigned)b->len;
    z.next_out = (unsigned char *)out.data;
    z.avail_out = (unsigned)out.size;
    r = deflate(&z, Z_FINISH); /* within the bound it always ends */
    out.len = z.total_out;
    deflateEnd(&z);
    if (r != Z_STREAM_END) {
        metrics_buf_free(&out);
        return false;
    }
    metrics_buf_free(b);
    *b = out;
    return true;
}
