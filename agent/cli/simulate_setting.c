/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/cli/simulate_setting.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "agent/cli/simulate_list.h"
#include "common/units.h"
#include "policy/model/simulate.h"

#define CURVE_BYTES_MAX ((size_t)1024 * 1024)

enum { SEEDS_MAX = 10000 };

/* clang-format off */
const struct cli_option simulate_options[] = {
    [SIMULATE_ALL] = {"all", NULL, "every sample", .letter = 'a'},
    [SIMULATE_POLICY] = {"policy", "FILE", "under this policy, a JSON object"},
    [SIMULATE_MEMORY] = {"memory", "SIZE", "memory of the guest (4GiB)"},
    [SIMULATE_ZERO] = {"zero", "SIZE", "of it never written to (none)"},
    [SIMULATE_DIRTY_RATE] = {"dirty-rate", "RATE", "how fast it writes (not at all)"},
    [SIMULATE_HOT] = {"hot", "SIZE", "how much memory it writes to (all but --zero)"},
    [SIMULATE_PATTERN] = {"pattern", "sequential|random", "how it walks through that (random)",
                          .one_of = true},
    [SIMULATE_CPU_BOUND] = {"cpu-bound", "SHARE", "writing that slows with the vCPUs (100%)"},
    [SIMULATE_CURVE] = {"curve", "FILE|memcached", "a measured dirty-page curve instead"},
    [SIMULATE_VCPUS] = {"vcpus", "N", "number of vCPUs (1)"},
    [SIMULATE_BUSY] = {"busy", "SHARE", "of a CPU that each uses (100%)"},
    [SIMULATE_SHARED_CPU] = {"shared-cpu", "SHARE", "of a CPU for all vCPUs together (no limit)"},
    [SIMULATE_PHASES] = {"phases", "LIST", "how long it writes how much, as 25s:100%,5s:10%"},
    [SIMULATE_FLUSH] = {"flush", "DURATION", "flushing its disks at the switchover (none)"},
    [SIMULATE_DEVICES] = {"devices", "SIZE", "state of its devices, sent while it stands (none)"},
    [SIMULATE_STORAGE] = {"storage", "SIZE", "disks copied before the memory (none)"},
    [SIMULATE_LINK] = {"link", "RATE", "what the network carries (1Gbit/s)"},
    [SIMULATE_LINK_CHANGES] = {"link-changes", "LIST", "from when it carries how much, as 1m:50%"},
    [SIMULATE_NOISE] = {"noise", "SHARE", "by which that varies (5%)"},
    [SIMULATE_SEED] = {"seed", "N", "another one makes other noise (1)"},
    [SIMULATE_SEEDS] = {"seeds", "N", "so many seeds, and how they come out"},
    [SIMULATE_LIMIT] = {"limit", "DURATION", "downtime limit to begin with (300ms)"},
    [SIMULATE_AUTO_CONVERGE] = {"auto-converge", NULL, "QEMU throttles, too"},
    [SIMULATE_FOR] = {"for", "DURATION", "virtual time to give up after (10m)"},
    [SIMULATE_PLOT] = {"plot", NULL, "plot what is left to send"},
    [SIMULATE_SVG] = {"svg", NULL, "draw it as a picture (SVG), and print that alone"},
    {NULL},
};
/* clang-format on */

static int bad_value(enum simulate_option option, const char *text, const char *expected)
{
    return cli_fail(CLI_USAGE, "--%s: \"%s\" is not %s", simulate_options[option].name, text,
                    expected);
}

/* A quantity in base units (seconds, bytes, parts of 1), within min..max. */
static int quantity(const struct cli *cli, enum simulate_option option, enum unit unit, double min,
                    double max, const char *accepts, double *ret)
{
    const char *text = cli->option[option];
    double one = unit == UNIT_DURATION ? (double)NS_PER_S : unit == UNIT_SHARE ? PPM_ONE : 1;
    int64_t n;

    if (!text)
        return CLI_OK;
    if (units_parse(unit, text, &n) < 0)
        return bad_value(option, text, units_expected(unit, text));
    if ((double)n / one < min || (double)n / one > max)
        return bad_value(option, text, accepts);
    *ret = (double)n / one;
    return CLI_OK;
}

static int whole_number(const struct cli *cli, enum simulate_option option, uint64_t min,
                        uint64_t max, const char *accepts, uint64_t *ret)
{
    const char *text = cli->option[option];
    unsigned long long n;

    if (!text)
        return CLI_OK;
    errno = 0;
    n = strtoull(text, NULL, 10);
    if (!*text || text[strspn(text, "0123456789")] || errno != 0 || n < min || n > max)
        return bad_value(option, text, accepts);
    *ret = n;
    return CLI_OK;
}

static int read_curve(const struct cli *cli, struct simulate_setting *s)
{
    static const enum simulate_option instead[] = {SIMULATE_MEMORY, SIMULATE_DIRTY_RATE,
                                                   SIMULATE_HOT, SIMULATE_PATTERN};
    const char *path = cli->option[SIMULATE_CURVE];
    struct error error;
    AUTO_FREE char *text = NULL;
    size_t len;
    int code;

    for (unsigned i = 0; i < sizeof(instead) / sizeof(instead[0]); i++) {
        if (cli->option[instead[i]])
            return cli_fail(CLI_USAGE, "--%s: a curve says that already; leave out one of them",
                            simulate_options[instead[i]].name);
    }
    if (strcmp(path, "memcached") == 0) {
        simulate_memcached(&s->guest);
        return CLI_OK;
    }
    code = cli_read_file(path, CURVE_BYTES_MAX, &text, &len);
    if (code != CLI_OK)
        return code;
    if (simulate_curve_parse(text, len, &s->curve, &error) < 0)
        return cli_fail(CLI_ERROR, "%s:%u: %s", path, error.line, error.text);
    s->guest.ram_bytes = s->curve.guest_bytes;
    s->guest.region[0].curve = s->curve.point;
    s->guest.region[0].curve_points = s->curve.n;
    return CLI_OK;
}

/* A list of times and shares; *ret_n is 0 if it is not stated. */
static int list(const struct cli *cli, enum simulate_option option, unsigned max,
                struct simulate_pair *ret, unsigned *ret_n)
{
    const char *text = cli->option[option];
    int n = text ? simulate_list_parse(text, max, ret) : 0;

    if (n == -E2BIG)
        return cli_fail(CLI_USAGE, "--%s: there may be %u at most", simulate_options[option].name,
                        max);
    if (n < 0)
        return bad_value(option, text,
                         "a list of times and shares up to 1000% such as 25s:100%,5s:10%");
    *ret_n = (unsigned)n;
    return CLI_OK;
}

static int read_phases(const struct cli *cli, struct model_guest *g)
{
    struct simulate_pair pair[MODEL_PHASES_MAX];
    int code = list(cli, SIMULATE_PHASES, MODEL_PHASES_MAX, pair, &g->phases);

    if (code == CLI_OK && g->phases > 0 && g->regions == 0)
        return cli_fail(CLI_USAGE, "--phases says when it writes; say how fast: --dirty-rate");
    for (unsigned i = 0; code == CLI_OK && i < g->phases; i++)
        g->phase[i] = (struct model_phase){
            .seconds = pair[i].seconds, .rate = pair[i].share, .busy = fmin(pair[i].share, 1)};
    return code;
}

static int read_link_changes(const struct cli *cli, struct model_link *l)
{
    struct simulate_pair pair[MODEL_CHANGES_MAX];
    int code = list(cli, SIMULATE_LINK_CHANGES, MODEL_CHANGES_MAX, pair, &l->changes);

    for (unsigned i = 0; code == CLI_OK && i < l->changes; i++) {
        if (pair[i].share < 0.001 || (i > 0 && pair[i].seconds <= pair[i - 1].seconds))
            return bad_value(SIMULATE_LINK_CHANGES, cli->option[SIMULATE_LINK_CHANGES],
                             "one time after the other, each with at least 0.1%");
        l->change[i] = (struct model_change){.at_s = pair[i].seconds, .factor = pair[i].share};
    }
    return code;
}

/* What is written to, once the size of the guest is known. */
static int read_region(const struct cli *cli, struct model_guest *g)
{
    struct model_region *r = &g->region[0];
    double used;
    int code;

    code = quantity(cli, SIMULATE_CPU_BOUND, UNIT_SHARE, 0, 1, "a share from 0% to 100%",
                    &r->cpu_bound);
    r->bytes = g->ram_bytes - g->zero_bytes;
    used = r->curve ? r->curve[r->curve_points - 1].bytes : 0;
    if (code == CLI_OK && !r->curve) {
        code = quantity(cli, SIMULATE_HOT, UNIT_SIZE, 4096, INFINITY, "a size of at least 4KiB",
                        &r->bytes);
        used = cli->option[SIMULATE_HOT] ? r->bytes : 0;
    }
    if (code != CLI_OK)
        return code;
    if (cli->option[SIMULATE_HOT] && r->rate_bps == 0)
        return cli_fail(CLI_USAGE, "--hot says where the guest writes; say how fast: --dirty-rate");
    if (!r->curve && r->rate_bps == 0) {
        g->regions = 0;
        return CLI_OK;
    }
    if (g->zero_bytes + fmax(used, 4096) > g->ram_bytes)
        return cli_fail(CLI_USAGE, "what it writes to and --zero are more than the guest's memory");
    return CLI_OK;
}

static int read_guest(const struct cli *cli, struct simulate_setting *s)
{
    struct model_guest *g = &s->guest;
    struct model_region *r = &g->region[0];
    uint64_t vcpus;
    double busy;
    int code = CLI_OK;

    *g = (struct model_guest){
        .ram_bytes = 4096 * (double)MIB_BYTES, .vcpus = 1, .vcpu_busy = {1}, .regions = 1};
    *r = (struct model_region){.cpu_bound = 1, .vcpu = MODEL_ALL_VCPUS};
    if (cli->option[SIMULATE_CURVE])
        code = read_curve(cli, s);
    vcpus = g->vcpus;
    busy = g->vcpu_busy[0];
    if (code == CLI_OK)
        code = quantity(cli, SIMULATE_MEMORY, UNIT_SIZE, (double)MIB_BYTES, 0x1p50,
                        "a size from 1MiB to 1024TiB", &g->ram_bytes);
    if (code == CLI_OK)
        code = quantity(cli, SIMULATE_ZERO, UNIT_SIZE, 0, g->ram_bytes,
                        "a part of the guest's memory", &g->zero_bytes);
    if (code == CLI_OK)
        code = quantity(cli, SIMULATE_DIRTY_RATE, UNIT_RATE, 0, 1e15,
                        "a rate of at most 1000000GB/s", &r->rate_bps);
    if (code == CLI_OK)
        code = quantity(cli, SIMULATE_FLUSH, UNIT_DURATION, 0, 3600, "a duration of at most 1h",
                        &g->flush_s);
    if (code == CLI_OK)
        code = quantity(cli, SIMULATE_DEVICES, UNIT_SIZE, 0, 0x1p50, "a size of at most 1024TiB",
                        &g->device_bytes);
    if (code == CLI_OK)
        code = quantity(cli, SIMULATE_STORAGE, UNIT_SIZE, 0, 0x1p50, "a size of at most 1024TiB",
                        &g->disk_bytes);
    if (code == CLI_OK)
        code = whole_number(cli, SIMULATE_VCPUS, 1, MODEL_VCPUS_MAX, "a number from 1 to 1024",
                            &vcpus);
    if (code == CLI_OK)
        code = quantity(cli, SIMULATE_BUSY, UNIT_SHARE, 0.01, 1, "a share from 1% to 100%", &busy);
    if (code == CLI_OK)
        code = quantity(cli, SIMULATE_SHARED_CPU, UNIT_SHARE, 0.01, MODEL_VCPUS_MAX,
                        "a share of at least 1%", &g->shared_cpus);
    r->sequential =
        cli->option[SIMULATE_PATTERN] && strcmp(cli->option[SIMULATE_PATTERN], "sequential") == 0;
    if (code == CLI_OK)
        code = read_region(cli, g);
    if (code == CLI_OK)
        code = read_phases(cli, g);
    g->vcpus = (unsigned)vcpus;
    for (unsigned i = 0; i < g->vcpus; i++)
        g->vcpu_busy[i] = busy;
    return code;
}

static int read_policy(const struct cli *cli, struct policy *ret)
{
    struct policy_layer file = {0};
    struct policy_layer flags = {0};
    int code = CLI_OK;

    if (cli->option[SIMULATE_POLICY])
        code = cli_read_policy(cli->option[SIMULATE_POLICY], &file);
    if (code == CLI_OK)
        code = cli_read_fields(cli, &flags);
    if (code != CLI_OK)
        return code;
    policy_init(ret);
    policy_merge(ret, &file, "file");
    policy_merge(ret, &flags, "flags");
    policy_finish(ret);
    return CLI_OK;
}

int simulate_read_setting(const struct cli *cli, struct simulate_setting *s)
{
    int code;

    *s = (struct simulate_setting){
        .link = {.bps = 1e9 / 8, .noise = 0.05}, .seed = 1, .limit_s = 0.3, .until_s = 600};
    s->auto_converge = cli->option[SIMULATE_AUTO_CONVERGE] != NULL;
    code = read_policy(cli, &s->policy);
    if (code == CLI_OK)
        code = read_guest(cli, s);
    if (code == CLI_OK)
        code = quantity(cli, SIMULATE_LINK, UNIT_RATE, 1000, 1e15,
                        "a rate from 1KB/s to 1000000GB/s", &s->link.bps);
    if (code == CLI_OK)
        code = read_link_changes(cli, &s->link);
    if (code == CLI_OK)
        code = quantity(cli, SIMULATE_NOISE, UNIT_SHARE, 0, 1, "a share from 0% to 100%",
                        &s->link.noise);
    if (code == CLI_OK)
        code = whole_number(cli, SIMULATE_SEED, 0, UINT64_MAX, "a number from 0 to 2^64 - 1",
                            &s->seed);
    if (code == CLI_OK)
        code =
            whole_number(cli, SIMULATE_SEEDS, 2, SEEDS_MAX, "a number from 2 to 10000", &s->seeds);
    if (code == CLI_OK)
        code = quantity(cli, SIMULATE_LIMIT, UNIT_DURATION, 0.001, 2000,
                        "a duration from 1ms to 33m20s", &s->limit_s);
    if (code == CLI_OK)
        code = quantity(cli, SIMULATE_FOR, UNIT_DURATION, 1, 86400, "a duration from 1s to 1d",
                        &s->until_s);
    return code;
}
