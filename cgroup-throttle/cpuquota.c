/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Version 1 keeps quota and period in two files, version 2 in one. With two files there is a
 * moment between the writes when the new value of one is paired with the old value of the other.
 * The order is chosen so that the guest never gets more than before and after:
 *
 *     lengthening the period    period first   old quota / longer period   <= before
 *     shortening it             quota first    new quota / longer period   <= after
 *
 * and where one side has no limit, so that it stays unlimited rather than nearly stopped.
 */
#include "cgroup-throttle/cpuquota.h"

#include "cgroup-throttle/cgwrite.h"
#include "common/alloc.h"
#include "common/cleanup.h"
#include "common/textfile.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#define V1_QUOTA  "cpu.cfs_quota_us"
#define V1_PERIOD "cpu.cfs_period_us"
#define V2_MAX    "cpu.max"

#define MOUNTINFO_MAX_BYTES (4U << 20)
#define VALUE_MAX_BYTES     4096

void cpu_mount_clear(struct cpu_mount *mount)
{
    free(mount->point);
    free(mount->root);
    *mount = (struct cpu_mount){0};
}

/* mountinfo writes blanks and backslashes as three octal digits. */
static void unescape(char *s)
{
    char *out = s;

    while (*s) {
        if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
            s[3] >= '0' && s[3] <= '7') {
            *out++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
            s += 4;
        } else {
            *out++ = *s++;
        }
    }
    *out = '\0';
}

static bool list_has(char *list, const char *word)
{
    char *save = NULL;

    for (char *item = strtok_r(list, ",", &save); item; item = strtok_r(NULL, ",", &save))
        if (strcmp(item, word) == 0)
            return true;
    return false;
}

/* "36 35 0:30 ROOT POINT options [optional fields] - TYPE SOURCE SUPEROPTIONS" */
static bool parse_mount(char *line, int version, char **ret_root, char **ret_point)
{
    char *separator = strstr(line, " - "), *save = NULL, *root, *point, *type, *options;

    if (!separator)
        return false;
    *separator = '\0';
    type = strtok_r(separator + 3, " ", &save);
    strtok_r(NULL, " ", &save);
    options = strtok_r(NULL, " ", &save);
    if (!type || !options || strcmp(type, version == 1 ? "cgroup" : "cgroup2") != 0 ||
        (version == 1 && !list_has(options, "cpu")))
        return false;
    strtok_r(line, " ", &save);
    strtok_r(NULL, " ", &save);
    strtok_r(NULL, " ", &save);
    root = strtok_r(NULL, " ", &save);
    point = strtok_r(NULL, " ", &save);
    if (!root || !point)
        return false;
    unescape(root);
    unescape(point);
    *ret_root = root;
    *ret_point = point;
    return true;
}

int cpu_mount_find(const char *proc, int version, const char *path, struct cpu_mount *ret_mount)
{
    AUTO_FREE char *file = NULL, *text = NULL;
    char *save = NULL;
    int r;

    alloc_need_length(asprintf(&file, "%s/self/mountinfo", proc));
    r = textfile_read(AT_FDCWD, file, MOUNTINFO_MAX_BYTES, &text, NULL);
    if (r < 0)
        return r;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        struct cpu_mount found = {.version = version};

        if (!parse_mount(line, version, &found.root, &found.point) ||
            !cpu_mount_relative(&found, path))
            continue;
        found.root = alloc_need(strdup(found.root));
        found.point = alloc_need(strdup(found.point));
        *ret_mount = found;
        return 0;
    }
    return -EOPNOTSUPP;
}

const char *cpu_mount_relative(const struct cpu_mount *mount, const char *path)
{
    size_t len = strlen(mount->root);

    if (strcmp(mount->root, "/") == 0)
        len = 0;
    if (strncmp(path, mount->root, len) != 0 || path[len] != '/')
        return NULL;
    return path + len + 1;
}

char *cpu_mount_file(const struct cpu_mount *mount, const char *path, const char *name)
{
    const char *relative = cpu_mount_relative(mount, path);
    char *file;

    if (!relative)
        return NULL;
    alloc_need_length(asprintf(&file, "%s/%s/%s", mount->point, relative, name));
    return file;
}

static int read_value(const struct cpu_mount *mount, const char *path, const char *name,
                      char **ret_text)
{
    AUTO_FREE char *file = cpu_mount_file(mount, path, name);
    int r;

    if (!file)
        return -ENODATA;
    r = textfile_read(AT_FDCWD, file, VALUE_MAX_BYTES, ret_text, NULL);
    return r == -ENODEV ? -ENOENT : r; /* removed between open and read */
}

static int parse_us(const char *text, char **ret_end, int64_t *ret_us)
{
    char *end;
    long long value;

    errno = 0;
    value = strtoll(text, &end, 10);
    if (end == text || errno)
        return -EBADMSG;
    *ret_end = end;
    *ret_us = value;
    return 0;
}

static int read_v1(const struct cpu_mount *mount, const char *path, struct cpu_quota *ret_quota)
{
    AUTO_FREE char *quota = NULL, *period = NULL;
    char *end;
    int r;

    r = read_value(mount, path, V1_QUOTA, &quota);
    if (r < 0)
        return r;
    r = read_value(mount, path, V1_PERIOD, &period);
    if (r < 0)
        return r;
    r = parse_us(quota, &end, &ret_quota->quota_us);
    return r < 0 ? r : parse_us(period, &end, &ret_quota->period_us);
}

static int read_v2(const struct cpu_mount *mount, const char *path, struct cpu_quota *ret_quota)
{
    AUTO_FREE char *text = NULL;
    char *end;
    int r;

    r = read_value(mount, path, V2_MAX, &text);
    if (r < 0)
        return r;
    if (strncmp(text, "max", 3) == 0) {
        ret_quota->quota_us = -1;
        end = text + 3;
    } else {
        r = parse_us(text, &end, &ret_quota->quota_us);
        if (r < 0)
            return r;
    }
    return parse_us(end, &end, &ret_quota->period_us);
}

int cpu_quota_read(const struct cpu_mount *mount, const char *path, struct cpu_quota *ret_quota)
{
    struct cpu_quota q = {0};
    int r = mount->version == 1 ? read_v1(mount, path, &q) : read_v2(mount, path, &q);

    if (r < 0)
        return r;
    if (!cpu_quota_valid(&q))
        return -EBADMSG;
    *ret_quota = q;
    return 0;
}

int cpu_quota_writable(const struct cpu_mount *mount, const char *path)
{
    static const char *const v1[] = {V1_QUOTA, V1_PERIOD, NULL};
    static const char *const v2[] = {V2_MAX, NULL};

    for (const char *const *name = mount->version == 1 ? v1 : v2; *name; name++) {
        AUTO_FREE char *file = cpu_mount_file(mount, path, *name);

        if (!file)
            return -ENODATA;
        if (faccessat(AT_FDCWD, file, R_OK | W_OK, AT_EACCESS) < 0)
            return -errno;
    }
    return 0;
}

static int write_v1(const struct cpu_mount *mount, const char *group, const struct cpu_quota *from,
                    const struct cpu_quota *to)
{
    char quota[32], period[32];
    struct cgwrite_value values[2];
    size_t count = 0;
    bool period_first =
        to->quota_us >= 0 && (from->quota_us < 0 || to->period_us >= from->period_us);

    snprintf(quota, sizeof(quota), "%" PRId64, to->quota_us);
    snprintf(period, sizeof(period), "%" PRId64, to->period_us);
    if (period_first && from->period_us != to->period_us)
        values[count++] = (struct cgwrite_value){V1_PERIOD, period};
    if (from->quota_us != to->quota_us)
        values[count++] = (struct cgwrite_value){V1_QUOTA, quota};
    if (!period_first && from->period_us != to->period_us)
        values[count++] = (struct cgwrite_value){V1_PERIOD, period};
    return cgwrite(mount->point, group, values, count);
}

static int write_v2(const struct cpu_mount *mount, const char *group, const struct cpu_quota *to)
{
    char text[64];

    if (to->quota_us < 0)
        snprintf(text, sizeof(text), "max %" PRId64, to->period_us);
    else
        snprintf(text, sizeof(text), "%" PRId64 " %" PRId64, to->quota_us, to->period_us);
    return cgwrite(mount->point, group, &(struct cgwrite_value){V2_MAX, text}, 1);
}

int cpu_quota_write(const struct cpu_mount *mount, const char *path, const struct cpu_quota *from,
                    const struct cpu_quota *to)
{
    const char *group = cpu_mount_relative(mount, path);
    int r;

    if (!group)
        return -EOPNOTSUPP;
    if (cpu_quota_equal(from, to))
        return 0;
    r = mount->version == 1 ? write_v1(mount, group, from, to) : write_v2(mount, group, to);
    return r == -ENODEV ? -ENOENT : r;
}

/* A line of cpu.stat: both versions have these. */
static int find_count(const char *text, const char *name, uint64_t *ret)
{
    const char *line = strstr(text, name);
    char *end;

    if (!line || (line != text && line[-1] != '\n'))
        return -EBADMSG;
    line += strlen(name);
    errno = 0;
    *ret = strtoull(line, &end, 10);
    return end == line || errno ? -EBADMSG : 0;
}

int cpu_quota_stops(const struct cpu_mount *mount, const char *path, struct cpu_stops *ret_stops)
{
    AUTO_FREE char *text = NULL;
    struct cpu_stops stops;
    int r = read_value(mount, path, "cpu.stat", &text);

    if (r == 0)
        r = find_count(text, "nr_periods ", &stops.periods);
    if (r == 0)
        r = find_count(text, "nr_throttled ", &stops.stopped);
    if (r == 0)
        *ret_stops = stops;
    return r;
}

struct cpu_quota cpu_quota_tighten(const struct cpu_quota *original, double allowance_cpus,
                                   double share, int64_t period_us)
{
    double cpus = share * allowance_cpus;
    struct cpu_quota q = {.period_us = period_us};

    if (share >= 1)
        return *original;
    /* The least the kernel accepts, 1 ms in 1 s, is no more than any original can be. */
    if (cpus * (double)q.period_us < CPU_QUOTA_MIN_US)
        q.period_us = (int64_t)fmin(ceil(CPU_QUOTA_MIN_US / cpus), CPU_QUOTA_PERIOD_MAX_US);
    q.quota_us = (int64_t)fmax(floor(cpus * (double)q.period_us), CPU_QUOTA_MIN_US);
    return q;
}
