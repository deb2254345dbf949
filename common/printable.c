/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "common/printable.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/alloc.h"

/* First and last of each range. */
static const uint32_t unsafe[][2] = {
    {0, 0x1f},        {0x7f, 0x9f},     {0xad, 0xad},       {0x61c, 0x61c},
    {0x180e, 0x180e}, {0x200b, 0x200f}, {0x2028, 0x202e},   {0x2060, 0x206f},
    {0xfeff, 0xfeff}, {0xfff9, 0xfffb}, {0xe0000, 0xe0fff},
};

bool printable_is(uint32_t character)
{
    for (size_t i = 0; i < sizeof(unsafe) / sizeof(unsafe[0]); i++) {
        if (character >= unsafe[i][0] && character <= unsafe[i][1])
            return false;
    }
    return true;
}

size_t printable_decode(const char *text, size_t len, uint32_t *ret_code)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *p = (const unsigned char *)text;
    size_t n = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    uint32_t code;

    if (n == 0 || n > len)
        return 0;
    code = n == 1 ? p[0] : p[0] & (0xffu >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (p[i] & 0x3f);
    }
    if (code < smallest[n] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff) || p[0] > 0xf4)
        return 0;
    *ret_code = code;
    return n;
}

void printable_replace(char *text)
{
    const char *from = text;
    size_t left = strlen(text);
    uint32_t c = 0;

    while (left > 0) {
        size_t n = printable_decode(from, left, &c);

        if (n > 0 && printable_is(c)) {
            memmove(text, from, n);
            text += n;
        } else {
            *text++ = '?';
        }
        n += n == 0;
        from += n;
        left -= n;
    }
    *text = '\0';
}

static size_t escape(char *out, uint32_t c)
{
    if (c < 0x10000)
        return (size_t)sprintf(out, "\\u%04x", (unsigned)c);
    c -= 0x10000;
    return (size_t)sprintf(out, "\\u%04x\\u%04x", (unsigned)(0xd800 + (c >> 10)),
                           (unsigned)(0xdc00 + (c & 0x3ff)));
}

char *printable_json(const char *text, size_t len, size_t *ret_len)
{
    const char *from = text;
    char *out = alloc_need(malloc(6 * len + 1)); /* one byte of DEL makes six */
    char *p = out;
    uint32_t c = 0;

    while (len > 0) {
        size_t n = printable_decode(from, len, &c);

        /* Outside of strings white space is the only control there is. */
        if (n == 0)
            p += escape(p, 0xfffd);
        else if (printable_is(c) || c == '\n')
            p = mempcpy(p, from, n);
        else
            p += escape(p, c);
        n += n == 0;
        from += n;
        len -= n;
    }
    *p = '\0';
    if (ret_len)
        *ret_len = (size_t)(p - out);
    return out;
}
