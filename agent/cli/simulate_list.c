/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/cli/simulate_list.h"

#include <errno.h>
#include <string.h>

#include "common/alloc.h"
#include "common/cleanup.h"
#include "common/units.h"

static int parse_pair(char *text, struct simulate_pair *ret)
{
    char *colon = strchr(text, ':');
    int64_t ns;
    int64_t share;

    if (!colon)
        return -EINVAL;
    *colon = '\0';
    if (units_parse(UNIT_DURATION, text, &ns) < 0 || units_parse(UNIT_SHARE, colon + 1, &share) < 0)
        return -EINVAL;
    if (ns < NS_PER_MS || ns > 86400 * NS_PER_S || share > 10 * PPM_ONE)
        return -EINVAL;
    *ret = (struct simulate_pair){(double)ns / 1e9, (double)share / PPM_ONE};
    return 0;
}

int simulate_list_parse(const char *text, unsigned max, struct simulate_pair *ret)
{
    AUTO_FREE char *copy = alloc_need(strdup(text));
    char *rest = copy;
    char *item;
    unsigned n = 0;

    while ((item = strsep(&rest, ","))) {
        struct simulate_pair pair;

        if (parse_pair(item, &pair) < 0)
            return -EINVAL;
        if (n == max)
            return -E2BIG;
        ret[n++] = pair;
    }
    return (int)n;
}
