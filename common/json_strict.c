/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation. One pass over the text with an explicit stack of open containers, so hostile
 * nesting cannot exhaust the C stack. Keys are never copied: a key is the offset of its first
 * character, and decode() turns the text there into code points whenever two keys are compared or
 * one is printed. The keys of all open objects lie on one array; when an object closes, its part of
 * the array is sorted, which brings duplicates side by side in O(n log n) whatever a peer sends.
 */
#include "common/json_strict.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/json.h"
#include "common/printable.h"

#define NO_KEY SIZE_MAX

struct frame {
    bool is_object;
    size_t key;       /* object: the current member's key, or NO_KEY between members */
    size_t index;     /* array: the current element */
    size_t first_key; /* object: where its keys begin in scan.keys */
    const char
        *match; /* what is left of the wanted pointer below this container, NULL: elsewhere */
};

struct scan {
    const char *text;
    size_t len;
    size_t pos;
    struct frame stack[JSON_STRICT_MAX_DEPTH];
    unsigned depth;
    size_t *keys;
    size_t n_keys, size_keys;
    const char *match; /* as in frame, for the value about to be read */
    size_t found;      /* offset of the value at the wanted pointer, or NO_KEY */
    const char *reason;
};

static int fail(struct scan *s, const char *reason)
{
    s->reason = reason;
    return -EINVAL;
}

static int peek(const struct scan *s)
{
    return s->pos < s->len ? (unsigned char)s->text[s->pos] : -1;
}

static void skip_space(struct scan *s)
{
    while (s->pos < s->len && memchr(" \t\r\n", s->text[s->pos], 4))
        s->pos++;
}

static unsigned position_line(const char *text, size_t pos)
{
    unsigned line = 1;

    for (size_t i = 0; i < pos; i++)
        line += text[i] == '\n';
    return line;
}

static unsigned position_column(const char *text, size_t pos)
{
    size_t start = pos;
    unsigned column = 1;

    while (start > 0 && text[start - 1] != '\n')
        start--;
    for (; start < pos; start++)
        column += ((unsigned char)text[start] & 0xc0) != 0x80;
    return column;
}

/* Strings */

static bool decode_hex4(const char *text, size_t len, uint32_t *ret_code)
{
    uint32_t code = 0;

    if (len < 4)
        return false;
    for (size_t i = 0; i < 4; i++) {
        const char *digits = "0123456789abcdef";
        const char *digit = text[i] ? strchr(digits, text[i] | 0x20) : NULL;

        if (!digit || (text[i] < '0'))
            return false;
        code = code << 4 | (uint32_t)(digit - digits);
    }
    *ret_code = code;
    return true;
}

/* Decodes the escape at text, which begins with a backslash. */
static size_t decode_escape(const char *text, size_t len, uint32_t *ret_code,
                            const char **ret_reason)
{
    static const char names[] = "\"\\/bfnrt", codes[] = "\"\\/\b\f\n\r\t";
    const char *name = len > 1 && text[1] ? strchr(names, text[1]) : NULL;
    uint32_t high, low;

    if (name) {
        *ret_code = (unsigned char)codes[name - names];
        return 2;
    }
    if (len < 2 || text[1] != 'u' || !decode_hex4(text + 2, len - 2, &high)) {
        *ret_reason = "invalid escape in string";
        return 0;
    }
    if (high == 0) {
        *ret_reason = "\\u0000 is not allowed";
        return 0;
    }
    if (high < 0xd800 || high > 0xdfff) {
        *ret_code = high;
        return 6;
    }
    if (high > 0xdbff || len < 12 || text[6] != '\\' || text[7] != 'u' ||
        !decode_hex4(text + 8, len - 8, &low) || low < 0xdc00 || low > 0xdfff) {
        *ret_reason = "lone surrogate in string";
        return 0;
    }
    *ret_code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
    return 12;
}

/* Decodes one character of a string; returns the bytes it takes, or 0 with a reason. */
static size_t decode(const char *text, size_t len, uint32_t *ret_code, const char **ret_reason)
{
    size_t n;

    if (*text == '\\')
        return decode_escape(text, len, ret_code, ret_reason);
    if ((unsigned char)*text < 0x20) {
        *ret_reason = "raw control character in string";
        return 0;
    }
    n = printable_decode(text, len, ret_code);
    if (n == 0)
        *ret_reason = "invalid UTF-8 in string";
    return n;
}

/* At the opening quote; leaves pos after the closing one. */
static int scan_string(struct scan *s)
{
    s->pos++;
    while (peek(s) != '"') {
        uint32_t code = 0;
        size_t n;

        if (s->pos >= s->len)
            return fail(s, "unterminated string");
        n = decode(s->text + s->pos, s->len - s->pos, &code, &s->reason);
        if (n == 0)
            return -EINVAL;
        s->pos += n;
    }
    s->pos++;
    return 0;
}

/* The next character of an already checked key; false at its end. */
static bool key_next(const struct scan *s, size_t *pos, uint32_t *ret_code)
{
    const char *reason;

    if (s->text[*pos] == '"')
        return false;
    *pos += decode(s->text + *pos, s->len - *pos, ret_code, &reason);
    return true;
}

/* Orders keys by their characters, equal ones by where they stand. */
static int key_compare(const void *a, const void *b, void *scan)
{
    size_t x = *(const size_t *)a, y = *(const size_t *)b;

    for (;;) {
        uint32_t cx = 0, cy = 0;
        bool more_x = key_next(scan, &x, &cx), more_y = key_next(scan, &y, &cy);

        if (!more_x && !more_y)
            return *(const size_t *)a < *(const size_t *)b ? -1 : 1;
        if (cx != cy)
            return cx < cy ? -1 : 1;
    }
}

static bool key_equal(const struct scan *s, size_t x, size_t y)
{
    uint32_t cx, cy;

    for (;;) {
        bool more_x = key_next(s, &x, &cx), more_y = key_next(s, &y, &cy);

        if (!more_x || !more_y)
            return more_x == more_y;
        if (cx != cy)
            return false;
    }
}

/* The wanted pointer */

/* If the first token of pointer is this key, returns what follows the token, else NULL. */
static const char *match_key(const struct scan *s, const char *pointer, size_t key)
{
    uint32_t code;

    if (*pointer++ != '/')
        return NULL;
    while (key_next(s, &key, &code)) {
        uint32_t wanted;
        size_t n;

        if (*pointer == '/' || *pointer == '\0')
            return NULL;
        n = printable_decode(pointer, strlen(pointer), &wanted);
        if (*pointer == '~') {
            n = 2;
            wanted = pointer[1] == '0' ? '~' : pointer[1] == '1' ? '/' : UINT32_MAX;
        }
        if (n == 0 || wanted != code)
            return NULL;
        pointer += n;
    }
    return *pointer == '/' || *pointer == '\0' ? pointer : NULL;
}

static const char *match_index(const char *pointer, size_t index)
{
    char token[32];
    size_t n = (size_t)snprintf(token, sizeof(token), "/%zu", index);

    if (strncmp(pointer, token, n) != 0)
        return NULL;
    return pointer[n] == '/' || pointer[n] == '\0' ? pointer + n : NULL;
}

/* Scalars */

static int scan_literal(struct scan *s, const char *word)
{
    size_t n = strlen(word);

    if (s->len - s->pos < n || memcmp(s->text + s->pos, word, n) != 0)
        return fail(s, "expected a value");
    s->pos += n;
    return 0;
}

static size_t scan_digits(struct scan *s)
{
    size_t start = s->pos;

    while (peek(s) >= '0' && peek(s) <= '9')
        s->pos++;
    return s->pos - start;
}

static bool integer_fits(const char *digits, size_t n, bool negative)
{
    uint64_t value = 0, limit = (uint64_t)INT64_MAX + negative;

    for (size_t i = 0; i < n; i++) {
        unsigned digit = (unsigned)(digits[i] - '0');

        if (value > (limit - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    return true;
}

/*
 * Whether a number with fraction or exponent is finite as a double. Its leading digits are written
 * anew without a decimal point, because what strtod() takes for one depends on the locale.
 */
static bool real_fits(const char *text, size_t n)
{
    enum { DIGITS = 30 };
    char buf[DIGITS + 24];
    size_t used = 0;
    int64_t scale = 0, exponent = 0;
    bool fraction = false, below = false;
    size_t i;

    for (i = 0; i < n && text[i] != 'e' && text[i] != 'E'; i++) {
        if (text[i] == '.') {
            fraction = true;
        } else if (text[i] != '-') {
            if (used < DIGITS && (used > 0 || text[i] != '0'))
                buf[used++] = text[i];
            else if (used == DIGITS)
                scale++;
            scale -= fraction;
        }
    }
    if (used == 0)
        return true;
    for (; i < n; i++) {
        below |= text[i] == '-';
        if (text[i] >= '0' && text[i] <= '9' && exponent < INT32_MAX)
            exponent = exponent * 10 + (text[i] - '0');
    }
    snprintf(buf + used, sizeof(buf) - used, "e%" PRId64, scale + (below ? -exponent : exponent));
    return isfinite(strtod(buf, NULL));
}

static int scan_number(struct scan *s)
{
    size_t start = s->pos, digits, n;
    bool negative = peek(s) == '-', real = false;

    s->pos += negative;
    digits = s->pos;
    n = scan_digits(s);
    if (n == 0)
        return fail(s, "expected a digit");
    if (n > 1 && s->text[digits] == '0') {
        s->pos = digits;
        return fail(s, "number with a leading zero");
    }
    if (peek(s) == '.') {
        real = true;
        s->pos++;
        if (scan_digits(s) == 0)
            return fail(s, "expected a digit");
    }
    if (peek(s) == 'e' || peek(s) == 'E') {
        real = true;
        s->pos++;
        if (peek(s) == '+' || peek(s) == '-')
            s->pos++;
        if (scan_digits(s) == 0)
            return fail(s, "expected a digit");
    }
    if (real ? !real_fits(s->text + start, s->pos - start)
             : !integer_fits(s->text + digits, n, negative)) {
        s->pos = start;
        return fail(s, real ? "number out of range" : "integer out of range");
    }
    return 0;
}

/* Containers */

static int open_container(struct scan *s)
{
    if (s->depth == JSON_STRICT_MAX_DEPTH) {
        s->reason = "nested too deeply";
        return -E2BIG;
    }
    s->stack[s->depth++] = (struct frame){
        .is_object = peek(s) == '{',
        .key = NO_KEY,
        .index = SIZE_MAX,
        .first_key = s->n_keys,
        .match = s->match,
    };
    s->pos++;
    return 0;
}

static void push_key(struct scan *s, size_t key)
{
    if (s->n_keys == s->size_keys) {
        size_t size = s->size_keys ? 2 * s->size_keys : 64;

        s->keys = alloc_need(reallocarray(s->keys, size, sizeof(*s->keys)));
        s->size_keys = size;
    }
    s->keys[s->n_keys++] = key;
}

static int close_container(struct scan *s)
{
    struct frame *top = &s->stack[s->depth - 1];
    size_t n = s->n_keys - top->first_key;
    size_t *keys = n ? s->keys + top->first_key : NULL;
    size_t duplicate = NO_KEY;

    if (n > 1)
        qsort_r(keys, n, sizeof(*keys), key_compare, s);
    for (size_t i = 1; i < n; i++) {
        if (keys[i] < duplicate && key_equal(s, keys[i - 1], keys[i]))
            duplicate = keys[i];
    }
    if (duplicate != NO_KEY) {
        top->key = duplicate;
        s->pos = duplicate - 1;
        return fail(s, "duplicate key");
    }
    s->n_keys = top->first_key;
    s->depth--;
    s->pos++;
    return 0;
}

/* Advances to the next value of the innermost container, past the key if that is an object. */
static int begin_member(struct scan *s)
{
    struct frame *top = &s->stack[s->depth - 1];
    size_t key;
    int r;

    if (!top->is_object) {
        top->index++;
        s->match = top->match ? match_index(top->match, top->index) : NULL;
        return 0;
    }
    top->key = NO_KEY;
    skip_space(s);
    if (peek(s) != '"')
        return fail(s, "expected a key in double quotes");
    key = s->pos + 1;
    r = scan_string(s);
    if (r < 0)
        return r;
    push_key(s, key);
    top->key = key;
    s->match = top->match ? match_key(s, top->match, key) : NULL;
    skip_space(s);
    if (peek(s) != ':')
        return fail(s, "expected ':' after key");
    s->pos++;
    return 0;
}

/* Reads a scalar, or only the opening bracket of a container. */
static int begin_value(struct scan *s, bool *ret_opened)
{
    int c;

    skip_space(s);
    c = peek(s);
    if (s->match && *s->match == '\0')
        s->found = s->pos;
    *ret_opened = c == '{' || c == '[';
    if (*ret_opened)
        return open_container(s);
    switch (c) {
    case '"':
        return scan_string(s);
    case 't':
        return scan_literal(s, "true");
    case 'f':
        return scan_literal(s, "false");
    case 'n':
        return scan_literal(s, "null");
    case -1:
        return fail(s, "unexpected end of text");
    default:
        return c == '-' || (c >= '0' && c <= '9') ? scan_number(s) : fail(s, "expected a value");
    }
}

/* Closes every container that ends here; then either begins the next member or sets *ret_done. */
static int end_value(struct scan *s, bool opened, bool *ret_done)
{
    while (s->depth > 0) {
        bool is_object = s->stack[s->depth - 1].is_object;
        int r;

        skip_space(s);
        if (peek(s) == (is_object ? '}' : ']')) {
            r = close_container(s);
            if (r < 0)
                return r;
        } else if (opened) {
            return begin_member(s);
        } else if (peek(s) == ',') {
            s->pos++;
            return begin_member(s);
        } else if (peek(s) == -1) {
            return fail(s, "unexpected end of text");
        } else {
            return fail(s, is_object ? "expected ',' or '}'" : "expected ',' or ']'");
        }
        opened = false;
    }
    *ret_done = true;
    return 0;
}

static int scan_document(struct scan *s)
{
    bool done = false;

    if (s->len > JSON_STRICT_MAX_BYTES) {
        s->reason = "text too long";
        return -E2BIG;
    }
    while (!done) {
        bool opened;
        int r = begin_value(s, &opened);

        if (r < 0)
            return r;
        r = end_value(s, opened, &done);
        if (r < 0)
            return r;
    }
    skip_space(s);
    return s->pos == s->len ? 0 : fail(s, "unexpected text after the value");
}

/* Errors */

/* Writes one character of a pointer in printable form; returns its length, less than 8. */
static size_t print_code(char *buf, size_t size, uint32_t code)
{
    if (!printable_is(code))
        return (size_t)snprintf(buf, size, "\\u%04x", (unsigned)code);
    if (code == '\\' || code == '~' || code == '/')
        return (size_t)snprintf(buf, size, "%s", code == '\\' ? "\\\\" : code == '~' ? "~0" : "~1");
    if (code < 0x80)
        return (size_t)snprintf(buf, size, "%c", (char)code);
    if (code < 0x800)
        return (size_t)snprintf(buf, size, "%c%c", (char)(0xc0 | code >> 6),
                                (char)(0x80 | (code & 0x3f)));
    if (code < 0x10000)
        return (size_t)snprintf(buf, size, "%c%c%c", (char)(0xe0 | code >> 12),
                                (char)(0x80 | (code >> 6 & 0x3f)), (char)(0x80 | (code & 0x3f)));
    return (size_t)snprintf(buf, size, "%c%c%c%c", (char)(0xf0 | code >> 18),
                            (char)(0x80 | (code >> 12 & 0x3f)), (char)(0x80 | (code >> 6 & 0x3f)),
                            (char)(0x80 | (code & 0x3f)));
}

/* Appends n bytes, or "..." if they no longer fit; false when there is no room for more. */
static bool append(char *buf, size_t size, const char *piece, size_t n)
{
    static const char dots[] = "...";
    size_t used = strlen(buf);

    if (used + n + sizeof(dots) > size) {
        memcpy(buf + used, dots, sizeof(dots));
        return false;
    }
    memcpy(buf + used, piece, n);
    buf[used + n] = '\0';
    return true;
}

static void print_pointer(const struct scan *s, char *buf, size_t size)
{
    buf[0] = '\0';
    for (unsigned i = 0; i < s->depth; i++) {
        const struct frame *f = &s->stack[i];
        char piece[32];
        uint32_t code = 0;

        if (f->is_object ? f->key == NO_KEY : f->index == SIZE_MAX)
            continue;
        if (!append(buf, size, "/", 1))
            return;
        if (!f->is_object) {
            size_t n = (size_t)snprintf(piece, sizeof(piece), "%zu", f->index);

            if (!append(buf, size, piece, n))
                return;
            continue;
        }
        for (size_t key = f->key; key_next(s, &key, &code);) {
            size_t n = print_code(piece, sizeof(piece), code);

            if (!append(buf, size, piece, n))
                return;
        }
    }
}

static void describe_error(const struct scan *s, int error, struct error *ret_err)
{
    error_set(ret_err, error, "%s", s->reason);
    ret_err->line = position_line(s->text, s->pos);
    ret_err->column = position_column(s->text, s->pos);
    print_pointer(s, ret_err->where, sizeof(ret_err->where));
}

/* Public functions */

/*
 * Text that passed the scan has one reading only, so json-c's own lenience no longer matters, and
 * only lack of memory can make it fail.
 */
static struct json_object *build(const struct scan *s)
{
    struct json_tokener *tok = alloc_need(json_tokener_new_ex(JSON_STRICT_MAX_DEPTH + 2));
    struct json_object *obj;
    enum json_tokener_error error;

    obj = json_tokener_parse_ex(tok, s->text, (int)s->len);
    /* A bare number has no end of its own: only a terminator tells json-c that it is complete. */
    if (json_tokener_get_error(tok) == json_tokener_continue)
        obj = json_tokener_parse_ex(tok, "", 1);
    error = json_tokener_get_error(tok);
    json_tokener_free(tok);
    if (error != json_tokener_success)
        alloc_failed();
    return obj;
}

int json_strict_parse(const char *text, size_t len, struct json_object **ret, struct error *ret_err)
{
    struct scan s = {.text = text, .len = len, .found = NO_KEY};
    int r = scan_document(&s);

    free(s.keys);
    if (r == 0)
        *ret = build(&s);
    else if (ret_err)
        describe_error(&s, r, ret_err);
    return r;
}

int json_strict_line(const char *text, size_t len, const char *pointer)
{
    struct scan s = {.text = text, .len = len, .match = pointer, .found = NO_KEY};

    scan_document(&s);
    free(s.keys);
    return s.found == NO_KEY ? 0 : (int)position_line(text, s.found);
}
