/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What /proc tells about this process, for the conventional process_* families. */
#include "common/cleanup.h"
#include "metrics/internal.h"

#include <dirent.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

struct process_stat {
    unsigned long user_ticks, system_ticks, virtual_bytes;
    unsigned long long start_ticks;
    long resident_pages;
};

static bool stat_read(struct process_stat *ret)
{
    AUTO_FCLOSE FILE *f = fopen("/proc/self/stat", "re");
    char line[1024];

    if (!f || !fgets(line, sizeof(line), f))
        return false;
    /* The second field is the program's name in parentheses, and may contain any character. */
    const char *rest = strrchr(line, ')');
    return rest &&
           sscanf(rest + 1,
                  " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d %*d %*d "
                  "%llu %lu %ld",
                  &ret->user_ticks, &ret->system_ticks, &ret->start_ticks, &ret->virtual_bytes,
                  &ret->resident_pages) == 5;
}

static double fds_open(void)
{
    DIR *dir = opendir("/proc/self/fd");
    double n = 0;

    if (!dir)
        return NAN;
    for (const struct dirent *e; (e = readdir(dir));)
        n += e->d_name[0] != '.';
    closedir(dir);
    return n - 1; /* without the one that lists them */
}

static double fds_max(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
        return NAN;
    return (double)limit.rlim_cur;
}

void metrics_process_read(const struct metrics_layout *layout, double *values)
{
    const size_t *first = layout->first;
    struct process_stat st;
    bool known = stat_read(&st);

    values[first[METRIC_PROCESS_CPU_SECONDS]] =
        known ? (double)(st.user_ticks + st.system_ticks) / (double)sysconf(_SC_CLK_TCK) : NAN;
    values[first[METRIC_PROCESS_RESIDENT_MEMORY]] =
        known ? (double)st.resident_pages * (double)sysconf(_SC_PAGESIZE) : NAN;
    values[first[METRIC_PROCESS_VIRTUAL_MEMORY]] = known ? (double)st.virtual_bytes : NAN;
    values[first[METRIC_PROCESS_OPEN_FDS]] = fds_open();
    values[first[METRIC_PROCESS_MAX_FDS]] = fds_max();
}

double metrics_process_start_time(void)
{
    AUTO_FCLOSE FILE *f = fopen("/proc/stat", "re");
    AUTO_FREE char *line = NULL;
    size_t size = 0;
    struct process_stat st;
    uint64_t boot_time;

    if (!f || !stat_read(&st))
        return NAN;
    while (getline(&line, &size, f) > 0) {
        if (sscanf(line, "btime %" SCNu64, &boot_time) == 1)
            return (double)boot_time + (double)st.start_ticks / (double)sysconf(_SC_CLK_TCK);
    }
    return NAN;
}
