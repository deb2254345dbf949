/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The first byte chooses the unit. What is read is never negative, and can be written and read. */
#include "common/units.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int ok)
{
    if (!ok)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char input[256], text[UNITS_TEXT_MAX];
    int64_t value = -7, back = -7;
    enum unit unit;
    int r;

    if (size == 0 || size > sizeof(input))
        return 0;
    unit = (enum unit)(data[0] % 4);
    memcpy(input, data + 1, size - 1);
    input[size - 1] = '\0';
    r = units_parse(unit, input, &value);
    if (r < 0) {
        check((r == -EINVAL || r == -ERANGE) && value == -7);
        return 0;
    }
    check(r == 0 && value >= 0);
    units_format(unit, value, text);
    check(strlen(text) < sizeof(text));
    /* No policy field takes a share beyond 100%. */
    if (unit != UNIT_SHARE || value <= PPM_ONE)
        check(units_parse(unit, text, &back) == 0);
    return 0;
}
