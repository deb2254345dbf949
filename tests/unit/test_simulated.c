/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The scenario of the simulated host; the host itself is tested with the daemon, tests/faults/. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "agent/sim/scenario.h"

#define GUEST "\"guest\":{\"ram\":\"1GiB\"},\"link\":{\"rate\":\"1GB/s\"}"

static void everything_that_can_be_said_is_read(void **state)
{
    static const char text[] =
        "{\"time_factor\":20,\"disconnect_after\":\"30s\",\"reconnect_after\":\"5s\","
        "\"log\":\"file\",\"domains\":[{\"name\":\"a\",\"start\":\"2s\",\"hang_after\":\"8s\","
        "\"fail_after\":\"9s\",\"link\":{\"rate\":\"1GB/s\",\"noise\":0.5,"
        "\"changes\":[{\"at\":\"10s\",\"factor\":0.25}]},"
        "\"guest\":{\"ram\":\"2GiB\",\"zero\":\"1GiB\",\"flush\":\"100ms\",\"vcpus\":2,"
        "\"busy\":\"50%\",\"regions\":[{\"size\":\"1MiB\",\"rate\":\"2MB/s\","
        "\"sequential\":true,\"cpu_bound\":\"25%\",\"vcpu\":1}],"
        "\"phases\":[{\"lasts\":\"3s\",\"rate\":2,\"busy\":0.5}]}}]}";
    struct error err;
    struct scenario s;
    const struct scenario_domain *d;

    (void)state;
    assert_int_equal(scenario_parse(text, strlen(text), &s, &err), 0);
    assert_true(s.time_factor == 20 && s.disconnect_s == 30 && s.reconnect_s == 35);
    assert_string_equal(s.log, "file");
    assert_int_equal(s.n_domains, 1);
    d = &s.domain[0];
    assert_string_equal(d->name, "a");
    assert_true(d->start_s == 2 && d->hang_s == 8 && d->fail_s == 9);
    assert_true(d->link.bps == 1e9 && d->link.noise == 0.5 && d->link.changes == 1);
    assert_true(d->link.change[0].at_s == 10 && d->link.change[0].factor == 0.25);
    assert_true(d->guest.ram_bytes == 2147483648.0 && d->guest.zero_bytes == 1073741824.0);
    assert_true(d->guest.flush_s == 0.1 && d->guest.vcpus == 2 && d->guest.vcpu_busy[1] == 0.5);
    assert_true(d->guest.regions == 1 && d->guest.region[0].bytes == 1048576);
    assert_true(d->guest.region[0].rate_bps == 2e6 && d->guest.region[0].sequential);
    assert_true(d->guest.region[0].cpu_bound == 0.25 && d->guest.region[0].vcpu == 1);
    assert_true(d->guest.phases == 1 && d->guest.phase[0].seconds == 3);
    assert_true(d->guest.phase[0].rate == 2 && d->guest.phase[0].busy == 0.5);
    scenario_clear(&s);
}

static void what_others_do_and_which_calls_fail_is_read(void **state)
{
    static const char text[] =
        "{\"domains\":[{\"name\":\"a\",\"auto_converge\":true,\"retry_after\":\"500ms\","
        "\"forgotten_after\":\"700ms\","
        "\"failures\":[{\"call\":\"post-copy\",\"error\":\"failed\",\"after\":\"5s\","
        "\"lasts\":\"10s\",\"times\":3},{\"call\":\"job\",\"error\":\"timeout\"}],"
        "\"others\":[{\"at\":\"9s\",\"do\":\"pause\"},{\"at\":\"9s\",\"do\":\"resume\"},"
        "{\"at\":\"12s\",\"do\":\"downtime\",\"value\":\"500ms\"},"
        "{\"at\":\"13s\",\"do\":\"quota\",\"value\":\"50%\"}],"
        "\"guest\":{\"ram\":\"1GiB\",\"disk\":\"2GiB\",\"device\":\"1MiB\",\"vcpus\":1024,"
        "\"shared_cpus\":1.5},\"link\":{\"rate\":\"1GB/s\"}}]}";
    struct error err;
    struct scenario s;
    const struct scenario_domain *d;

    (void)state;
    assert_int_equal(scenario_parse(text, strlen(text), &s, &err), 0);
    d = &s.domain[0];
    assert_true(d->auto_converge && d->retry_s == 0.5 && d->retries == 1);
    assert_true(d->forgotten_s == 0.7);
    assert_true(d->n_failures == 2 && d->failure[0].call == SIM_CALL_POST_COPY);
    assert_true(d->failure[0].error == SIM_ERROR_FAILED && d->failure[0].times == 3);
    assert_true(d->failure[0].from_s == 5 && d->failure[0].until_s == 15);
    assert_true(d->failure[1].from_s == 0 && isinf(d->failure[1].until_s));
    assert_true(d->n_others == 4 && d->other[1].deed == SIM_DO_RESUME && d->other[1].at_s == 9);
    assert_true(d->other[2].deed == SIM_DO_DOWNTIME && d->other[2].value == 0.5);
    assert_true(d->other[3].deed == SIM_DO_QUOTA && d->other[3].value == 0.5);
    assert_true(d->guest.disk_bytes == 2147483648.0 && d->guest.device_bytes == 1048576);
    assert_true(d->guest.shared_cpus == 1.5 && d->guest.vcpus == 1024);
    scenario_clear(&s);
}

static void what_is_left_out_is_healthy(void **state)
{
    static const char text[] = "{\"domains\":[{\"name\":\"a\"," GUEST "}]}";
    struct error err;
    struct scenario s;

    (void)state;
    assert_int_equal(scenario_parse(text, strlen(text), &s, &err), 0);
    assert_true(s.time_factor == 1 && isinf(s.disconnect_s) && !s.log);
    assert_true(isinf(s.domain[0].hang_s) && isinf(s.domain[0].fail_s));
    assert_true(isinf(s.domain[0].retry_s) && s.domain[0].n_others == 0);
    assert_true(isinf(s.domain[0].forgotten_s));
    assert_true(s.domain[0].guest.vcpus == 1 && s.domain[0].guest.vcpu_busy[0] == 1);
    scenario_clear(&s);
}

static void what_is_wrong_is_refused_with_line_and_place(void **state)
{
    static const struct {
        const char *text, *expected;
    } bad[] = {
        {"", "line 1: "},
        {"[]", "line 1: must be an object"},
        {"{\"domain\":[]}", "line 1: has an unknown key"},
        {"{\n\"time_factor\":\"20\"}", "line 2: /time_factor: must be a number"},
        {"{\"domains\":[\n{\"name\":\"\"," GUEST "}]}", "line 2: /domains/0/name: must be"},
        {"{\"domains\":[{" GUEST "}]}", "line 1: /domains/0: needs a \"name\""},
        {"{\"domains\":[\n{\"name\":\"a\"}]}", "line 2: /domains/0/guest: must be an object"},
        {"{\"domains\":[{\"name\":\"a\",\"start\":2," GUEST "}]}",
         "line 1: /domains/0/start: must be"},
        {"{\"domains\":[{\"name\":\"a\",\"guest\":{\"ram\":\"1GiB\",\"zero\":\"2GiB\"},"
         "\"link\":{\"rate\":\"1GB/s\"}}]}",
         "line 1: /domains/0/guest/ram: is less than"},
        {"{\"domains\":[{\"name\":\"a\",\n\"others\":[{\"at\":\"1s\",\"do\":\"dance\"}]," GUEST
         "}]}",
         "line 2: /domains/0/others/0/do: needs"},
        {"{\"domains\":[{\"name\":\"a\",\"others\":[{\"at\":\"1s\",\"do\":\"speed\"}]," GUEST "}]}",
         "line 1: /domains/0/others/0: \"value\" is missing"},
        {"{\"domains\":[{\"name\":\"a\",\"others\":[{\"at\":\"2s\",\"do\":\"pause\"},"
         "{\"at\":\"1s\",\"do\":\"cancel\"}]," GUEST "}]}",
         "line 1: /domains/0/others/1/at: must not be before"},
        {"{\"domains\":[{\"name\":\"a\",\"failures\":[{\"call\":\"job\"}]," GUEST "}]}",
         "line 1: /domains/0/failures/0: needs \"error\""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct error err = {""};
        struct scenario s = {.n_domains = 77};

        assert_true(scenario_parse(bad[i].text, strlen(bad[i].text), &s, &err) < 0);
        assert_int_equal(s.n_domains, 77);
        if (strncmp(err.text, bad[i].expected, strlen(bad[i].expected)) != 0)
            fail_msg("%s: %s", bad[i].text, err.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_that_can_be_said_is_read),
        cmocka_unit_test(what_others_do_and_which_calls_fail_is_read),
        cmocka_unit_test(what_is_left_out_is_healthy),
        cmocka_unit_test(what_is_wrong_is_refused_with_line_and_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
