/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What `migpolicy simulate` is told as a list of times and shares: 10s:100%,5s:20%. Thread-safe. */
#ifndef MIGPOLICY_CLI_SIMULATE_LIST_H
#define MIGPOLICY_CLI_SIMULATE_LIST_H

struct simulate_pair {
    double seconds; /* more than 0 */
    double share;   /* parts of 1, at most 10 */
};

/* Returns how many there are, 1 to max; or -EINVAL, or -E2BIG if there are more. */
int simulate_list_parse(const char *text, unsigned max, struct simulate_pair *ret);

#endif
