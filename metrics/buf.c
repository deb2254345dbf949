/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "metrics/internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/alloc.h"

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

void metrics_buf_free(struct metrics_buf *b)
{
    free(b->data);
    *b = (struct metrics_buf){0};
}

/* Room for len more bytes and a NUL. */
static void buf_reserve(struct metrics_buf *b, size_t len)
{
    if (b->size - b->len > len)
        return;

    size_t size = b->size ? b->size : 4096;
    while (size - b->len <= len)
        size *= 2;
    b->data = alloc_need(realloc(b->data, size));
    b->size = size;
}

void metrics_buf_add(struct metrics_buf *b, const char *text, size_t len)
{
    buf_reserve(b, len);
    memcpy(b->data + b->len, text, len);
    b->len += len;
    b->data[b->len] = '\0';
}

void metrics_buf_str(struct metrics_buf *b, const char *text)
{
    metrics_buf_add(b, text, strlen(text));
}

void metrics_buf_printf(struct metrics_buf *b, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (len < 0)
        return;
    buf_reserve(b, (size_t)len);
    va_start(args, format);
    vsnprintf(b->data + b->len, (size_t)len + 1, format, args);
    va_end(args);
    b->len += (size_t)len;
}

/* Bytes of the character at s (NUL-terminated), 0 if it is not one that Unicode allows. */
static size_t utf8_length(const unsigned char *s)
{
    if (s[0] < 0x80)
        return 1;
    if (s[0] < 0xc2 || s[0] > 0xf4)
        return 0;

    size_t n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    }
    bool overlong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
    bool surrogate = s[0] == 0xed && s[1] > 0x9f;
    bool too_large = s[0] == 0xf4 && s[1] > 0x8f;
    return overlong || surrogate || too_large ? 0 : n;
}

void metrics_utf8_copy(char *to, size_t size, const char *text)
{
    size_t used = 0;

    while (*text) {
        size_t n = utf8_length((const unsigned char *)text);
        const char *from = n ? text : REPLACEMENT;
        size_t len = n ? n : strlen(REPLACEMENT);

        if (used + len >= size)
            break;
        memcpy(to + used, from, len);
        used += len;
        text += n ? n : 1;
    }
    to[used] = '\0';
}
