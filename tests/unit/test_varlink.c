/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Messages and methods of the Varlink server, and what bounds them. */
#include "varlink_peer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Messages */

static void message_split_into_bytes_is_one_call(void **state)
{
    struct service s;
    int fd;

    (void)state;
    service_start(&s, plain);
    fd = raw_connect(&s);
    for (size_t i = 0; i < sizeof(echo_call); i++) {
        assert_int_equal(s.n_echo, 0);
        raw_send(fd, echo_call + i, 1);
        loop_settle();
    }
    raw_expect(fd, echo_reply);
    assert_int_equal(s.n_echo, 1);
    close(fd);
    service_stop(&s);
}

static void messages_in_one_write_are_answered_in_order(void **state)
{
    static const char two[] = "{\"method\":\"io.test.Echo\",\"parameters\":{\"a\":1}}\0"
                              "{\"method\":\"io.test.Echo\"}\0"
                              "{\"method\":\"io.test.Ec";
    struct service s;
    int fd;

    (void)state;
    service_start(&s, plain);
    fd = raw_connect(&s);
    raw_send(fd, two, sizeof(two) - 1);
    n_updates = 0;
    raw_expect(fd, echo_reply);
    raw_expect(fd, "{\"parameters\":{}}");
    raw_expect_silence(fd);
    assert_int_equal(n_updates, 0);
    raw_send(fd, "ho\"}", 5);
    raw_expect(fd, "{\"parameters\":{}}");
    close(fd);
    service_stop(&s);
}

static void garbage_gets_an_error_and_harms_only_its_sender(void **state)
{
    static const char *const cases[][2] = {
        {"", "message"},
        {"hello", "message"},
        {"[]", "message"},
        {"null", "message"},
        {"{}", "method"},
        {"{\"method\":1}", "method"},
        {"{\"method\":\"a\",\"method\":\"b\"}", "message"},
        {"{\"method\":\"io.test.Echo\",\"parameters\":[]}", "parameters"},
        {"{\"method\":\"io.test.Echo\",\"oneway\":1}", "oneway"},
        {"{\"method\":\"io.test.Echo\",\"more\":\"yes\"}", "more"},
        {"{\"method\":\"io.test.Echo\",\"parameters\":{\"a\":NaN}}", "message"},
    };
    struct service s;
    int good;

    (void)state;
    service_start(&s, plain);
    good = raw_connect(&s);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int fd = raw_connect(&s);
        char error[200];

        snprintf(error, sizeof(error),
                 "{\"error\":\"org.varlink.service.InvalidParameter\","
                 "\"parameters\":{\"parameter\":\"%s\"}}",
                 cases[i][1]);
        raw_call(fd, cases[i][0]);
        raw_call(fd, echo_call);
        raw_expect(fd, error);
        raw_expect_closed(fd);
        close(fd);
    }
    assert_int_equal(s.n_echo, 0);
    raw_call(good, echo_call);
    raw_expect(good, echo_reply);
    close(good);
    service_stop(&s);
}

static void deep_nesting_is_refused(void **state)
{
    char text[4096] = "{\"method\":\"io.test.Echo\",\"parameters\":{\"a\":";
    size_t used = strlen(text);
    struct service s;
    int fd;

    (void)state;
    service_start(&s, plain);
    fd = raw_connect(&s);
    memset(text + used, '[', 2000);
    raw_send(fd, text, used + 2001);
    raw_expect(fd, "{\"error\":\"org.varlink.service.InvalidParameter\","
                   "\"parameters\":{\"parameter\":\"message\"}}");
    raw_expect_closed(fd);
    close(fd);
    service_stop(&s);
}

static void call_size_is_bounded_exactly(void **state)
{
    struct varlink_config config = plain;
    struct service s;
    char text[202];
    int fd;

    (void)state;
    config.max_call_bytes = 200;
    service_start(&s, config);
    fd = raw_connect(&s);
    memset(text, ' ', sizeof(text));
    memcpy(text, echo_call, sizeof(echo_call) - 1);
    text[200] = '\0';
    raw_send(fd, text, 201);
    raw_expect(fd, echo_reply);
    /* Also when its end comes late. */
    raw_send(fd, text, 200);
    raw_expect_silence(fd);
    raw_send(fd, "", 1);
    raw_expect(fd, echo_reply);
    /* Also when it fills the buffer behind another one. */
    raw_send(fd, text, 201);
    raw_send(fd, text, 201);
    raw_expect(fd, echo_reply);
    raw_expect(fd, echo_reply);
    text[200] = ' ';
    raw_send(fd, text, 201);
    raw_expect(fd, "{\"error\":\"org.varlink.service.InvalidParameter\","
                   "\"parameters\":{\"parameter\":\"message\"}}");
    raw_expect_closed(fd);
    close(fd);
    service_stop(&s);
}

/* Methods */

static void service_describes_itself(void **state)
{
    struct service s;
    int fd;

    (void)state;
    service_start(&s, plain);
    fd = raw_connect(&s);
    raw_call(fd, "{\"method\":\"org.varlink.service.GetInfo\"}");
    raw_expect(fd,
               "{\"parameters\":{\"vendor\":\"Vendor\",\"product\":\"Product\",\"version\":\"1\","
               "\"url\":\"https://example.org/\","
               "\"interfaces\":[\"org.varlink.service\",\"io.test\"]}}");
    raw_call(fd, "{\"method\":\"org.varlink.service.GetInterfaceDescription\","
                 "\"parameters\":{\"interface\":\"io.test\"}}");
    raw_expect(fd, "{\"parameters\":{\"description\":"
                   "\"interface io.test\\n\\nmethod Echo() -> ()\\n\"}}");
    raw_call(fd, "{\"method\":\"org.varlink.service.GetInterfaceDescription\","
                 "\"parameters\":{\"interface\":\"org.varlink.service\"}}");
    loop_settle();
    {
        char buf[4096] = "";

        assert_true(recv(fd, buf, sizeof(buf), 0) > 0);
        assert_non_null(strstr(buf, "\\ninterface org.varlink.service\\n"));
        assert_non_null(strstr(buf, "\\nerror ExpectedMore ()\\n"));
    }
    close(fd);
    service_stop(&s);
}

static void every_failure_has_its_error(void **state)
{
    static const char *const cases[][2] = {
        {"{\"method\":\"io.test.Nope\"}", "{\"error\":\"org.varlink.service.MethodNotFound\","
                                          "\"parameters\":{\"method\":\"io.test.Nope\"}}"},
        {"{\"method\":\"org.varlink.service.Nope\"}",
         "{\"error\":\"org.varlink.service.MethodNotFound\","
         "\"parameters\":{\"method\":\"org.varlink.service.Nope\"}}"},
        {"{\"method\":\"io.test.sub.Echo\"}",
         "{\"error\":\"org.varlink.service.InterfaceNotFound\","
         "\"parameters\":{\"interface\":\"io.test.sub\"}}"},
        {"{\"method\":\"Echo\"}", "{\"error\":\"org.varlink.service.InvalidParameter\","
                                  "\"parameters\":{\"parameter\":\"method\"}}"},
        {"{\"method\":\"io.test.Later\"}",
         "{\"error\":\"org.varlink.service.MethodNotImplemented\","
         "\"parameters\":{\"method\":\"io.test.Later\"}}"},
        {"{\"method\":\"io.test.Echo\",\"upgrade\":true}",
         "{\"error\":\"org.varlink.service.MethodNotImplemented\","
         "\"parameters\":{\"method\":\"io.test.Echo\"}}"},
        {"{\"method\":\"io.test.Forbidden\"}",
         "{\"error\":\"org.varlink.service.PermissionDenied\",\"parameters\":{}}"},
        {"{\"method\":\"io.test.Broken\"}", "{\"error\":\"io.test.InternalError\",\"parameters\":{"
                                            "\"reason\":\"Input/output error\"}}"},
        {"{\"method\":\"io.test.Count\"}",
         "{\"error\":\"org.varlink.service.ExpectedMore\",\"parameters\":{}}"},
        {"{\"method\":\"org.varlink.service.GetInterfaceDescription\"}",
         "{\"error\":\"org.varlink.service.InvalidParameter\","
         "\"parameters\":{\"parameter\":\"interface\"}}"},
        {"{\"method\":\"org.varlink.service.GetInterfaceDescription\","
         "\"parameters\":{\"interface\":\"x.y\"}}",
         "{\"error\":\"org.varlink.service.InterfaceNotFound\","
         "\"parameters\":{\"interface\":\"x.y\"}}"},
    };
    struct service s;
    int fd;

    (void)state;
    service_start(&s, plain);
    fd = raw_connect(&s);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        raw_call(fd, cases[i][0]);
        raw_expect(fd, cases[i][1]);
    }
    close(fd);
    service_stop(&s);
}

static void oneway_call_gets_no_reply(void **state)
{
    struct service s;
    int fd;

    (void)state;
    service_start(&s, plain);
    fd = raw_connect(&s);
    raw_call(fd, "{\"method\":\"io.test.Echo\",\"oneway\":true}");
    raw_call(fd, "{\"method\":\"io.test.Nope\",\"oneway\":true}");
    raw_expect_silence(fd);
    assert_int_equal(s.n_echo, 1);
    raw_call(fd, echo_call);
    raw_expect(fd, echo_reply);
    close(fd);
    service_stop(&s);
}

static void oneway_calls_of_a_peer_already_gone_are_carried_out(void **state)
{
    struct service s;
    int fd;

    (void)state;
    service_start(&s, plain);
    fd = raw_connect(&s);
    for (int i = 0; i < 150; i++)
        raw_call(fd, "{\"method\":\"io.test.Echo\",\"oneway\":true}");
    close(fd);
    loop_settle();
    assert_int_equal(s.n_echo, 150);
    service_stop(&s);
}

static void more_streams_until_the_last_reply(void **state)
{
    struct service s;
    int fd;

    (void)state;
    service_start(&s, plain);
    fd = raw_connect(&s);
    raw_call(fd, "{\"method\":\"io.test.Count\",\"more\":true}");
    raw_expect(fd, "{\"continues\":true,\"parameters\":{\"n\":1}}");
    raw_expect(fd, "{\"continues\":true,\"parameters\":{\"n\":2}}");
    raw_expect(fd, "{\"parameters\":{\"n\":3}}");
    close(fd);
    service_stop(&s);
}

static void peer_is_known_to_the_handler(void **state)
{
    struct service s;
    int fd;

    (void)state;
    service_start(&s, plain);
    fd = raw_connect(&s);
    raw_call(fd, "{\"method\":\"io.test.WhoAmI\"}");
    raw_expect(fd, "{\"parameters\":{}}");
    close(fd);
    service_stop(&s);
}

/* Deferred answers */

static void later_calls_wait_for_a_deferred_answer(void **state)
{
    struct service s;
    int fd;

    (void)state;
    service_start(&s, plain);
    fd = raw_connect(&s);
    raw_call(fd, "{\"method\":\"io.test.Keep\"}");
    raw_call(fd, echo_call);
    raw_expect_silence(fd);
    assert_int_equal(s.n_echo, 0);
    assert_int_equal(varlink_reply(s.kept, NULL), 0);
    assert_int_equal(s.n_echo, 0); /* no handler runs inside an answer */
    raw_expect(fd, "{\"parameters\":{}}");
    raw_expect(fd, echo_reply);
    close(fd);
    loop_settle();
    assert_int_equal(s.n_gone, 0);
    service_stop(&s);
}

static void disconnect_is_told_once_and_the_call_stays_valid(void **state)
{
    struct service s;
    int fd;

    (void)state;
    service_start(&s, plain);
    fd = raw_connect(&s);
    raw_call(fd, "{\"method\":\"io.test.Keep\",\"more\":true}");
    loop_settle();
    close(fd);
    loop_settle();
    assert_int_equal(s.n_gone, 1);
    assert_int_equal(varlink_reply_more(s.kept, json_object_new_object()), -ECONNRESET);
    assert_int_equal(varlink_call_peer(s.kept)->uid, getuid());
    service_stop(&s);
    assert_int_equal(varlink_reply(s.kept, json_object_new_object()), -ECONNRESET);
    assert_int_equal(s.n_gone, 1);
}

static void stream_learns_of_a_disconnect_it_wrote_into(void **state)
{
    struct service s;
    int fd;

    (void)state;
    service_start(&s, plain);
    fd = raw_connect(&s);
    raw_call(fd, "{\"method\":\"io.test.Keep\",\"more\":true}");
    loop_settle();
    close(fd);
    assert_int_equal(varlink_reply_more(s.kept, NULL), -ECONNRESET);
    assert_int_equal(s.n_gone, 0); /* no callback runs inside an answer */
    loop_settle();
    assert_int_equal(s.n_gone, 1);
    varlink_reply(s.kept, NULL);
    service_stop(&s);
}

static void disconnect_is_noticed_while_input_is_full(void **state)
{
    struct varlink_config config = plain;
    char junk[400];
    struct service s;
    int fd;

    (void)state;
    config.max_call_bytes = 100;
    service_start(&s, config);
    fd = raw_connect(&s);
    raw_call(fd, "{\"method\":\"io.test.Keep\"}");
    memset(junk, 'x', sizeof(junk));
    raw_send(fd, junk, sizeof(junk));
    raw_expect_silence(fd);
    close(fd);
    loop_settle();
    assert_int_equal(s.n_gone, 1);
    varlink_reply(s.kept, NULL);
    service_stop(&s);
}

static void server_may_go_before_its_calls(void **state)
{
    struct service s;
    int fd;

    (void)state;
    service_start(&s, plain);
    fd = raw_connect(&s);
    raw_call(fd, "{\"method\":\"io.test.Keep\"}");
    loop_settle();
    service_stop(&s);
    assert_int_equal(s.n_gone, 1);
    assert_int_equal(varlink_error(s.kept, "io.test.Gone", NULL), -ECONNRESET);
    close(fd);
}

static void half_closed_peer_still_gets_its_answers(void **state)
{
    struct service s;
    int fd;

    (void)state;
    service_start(&s, plain);
    fd = raw_connect(&s);
    raw_call(fd, echo_call);
    raw_call(fd, "{\"method\":\"io.test.Keep\"}");
    raw_call(fd, echo_call);
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    raw_expect(fd, echo_reply);
    raw_expect_silence(fd);
    varlink_reply(s.kept, NULL);
    raw_expect(fd, "{\"parameters\":{}}");
    raw_expect(fd, echo_reply);
    raw_expect_closed(fd);
    assert_int_equal(s.n_gone, 0);
    close(fd);
    service_stop(&s);
}

/* Bounds */

static void slow_reader_is_disconnected_at_the_output_bound(void **state)
{
    struct varlink_config config = plain;
    struct service s;
    int fd, good, r, sent = 0;

    (void)state;
    config.max_queued_bytes = 100000;
    service_start(&s, config);
    good = raw_connect(&s);
    fd = raw_connect(&s);
    raw_call(fd, "{\"method\":\"io.test.Keep\",\"more\":true}");
    loop_settle();
    do {
        struct json_object *obj = json_object_new_object();
        char text[10001];

        memset(text, 'x', 10000);
        text[10000] = '\0';
        json_object_object_add(obj, "text", json_object_new_string(text));
        r = varlink_reply_more(s.kept, obj);
    } while (r == 0 && ++sent < 1000);
    assert_int_equal(r, -ENOBUFS);
    assert_true(sent >= 10);
    assert_int_equal(s.n_gone, 0);
    loop_settle();
    assert_int_equal(s.n_gone, 1);
    varlink_reply(s.kept, NULL);
    raw_call(good, echo_call);
    raw_expect(good, echo_reply);
    close(fd);
    close(good);
    service_stop(&s);
}

static void reply_larger_than_the_bound_becomes_an_error(void **state)
{
    struct varlink_config config = plain;
    struct service s;
    int fd;

    (void)state;
    config.max_queued_bytes = 4096;
    service_start(&s, config);
    fd = raw_connect(&s);
    raw_call(fd, "{\"method\":\"io.test.Big\",\"parameters\":{\"n\":5000}}");
    raw_expect(fd, "{\"error\":\"io.test.InternalError\","
                   "\"parameters\":{\"reason\":\"reply too large\"}}");
    raw_call(fd, echo_call);
    raw_expect(fd, echo_reply);
    close(fd);
    service_stop(&s);
}

static void large_reply_arrives_whole_as_the_peer_reads(void **state)
{
    size_t total = 0, wanted = 3000000 + strlen("{\"parameters\":{\"text\":\"\"}}") + 1;
    struct service s;
    int fd;

    (void)state;
    service_start(&s, plain);
    fd = raw_connect(&s);
    raw_call(fd, "{\"method\":\"io.test.Big\",\"parameters\":{\"n\":3000000}}");
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    for (int i = 0; i < 1000 && total < wanted; i++) {
        static char buf[65536];
        ssize_t n;

        loop_settle();
        n = recv(fd, buf, sizeof(buf), 0);
        assert_true(n > 0);
        total += (size_t)n;
    }
    assert_int_equal(total, wanted);
    raw_expect_closed(fd);
    close(fd);
    service_stop(&s);
}

static void calls_beyond_the_rate_wait_for_the_next_second(void **state)
{
    struct varlink_config config = plain;
    struct service s;
    int fd, other;

    (void)state;
    config.max_calls = 5;
    service_start(&s, config);
    fd = raw_connect(&s);
    other = raw_connect(&s);
    varlink_server_tick(s.server, 10 * SECOND_NS);
    for (int i = 0; i < 8; i++)
        raw_call(fd, "{\"method\":\"io.test.Echo\",\"oneway\":true}");
    loop_settle();
    assert_int_equal(s.n_echo, 5);
    raw_call(other, echo_call);
    raw_expect(other, echo_reply);
    varlink_server_tick(s.server, 10 * SECOND_NS + SECOND_NS / 2);
    loop_settle();
    assert_int_equal(s.n_echo, 6);
    varlink_server_tick(s.server, 11 * SECOND_NS);
    loop_settle();
    assert_int_equal(s.n_echo, 9);
    close(fd);
    close(other);
    service_stop(&s);
}

static void idle_peer_is_disconnected_but_a_waiting_one_is_not(void **state)
{
    struct service s;
    int idle, busy, dripping, waiting;

    (void)state;
    service_start(&s, plain);
    idle = raw_connect(&s);
    busy = raw_connect(&s);
    dripping = raw_connect(&s);
    waiting = raw_connect(&s);
    raw_call(waiting, "{\"method\":\"io.test.Keep\"}");
    for (uint64_t t = 1; t <= 62; t++) {
        raw_call(busy, echo_call);
        raw_expect(busy, echo_reply);
        if (t < 60)
            raw_send(dripping, " ", 1);
        varlink_server_tick(s.server, t * SECOND_NS);
        if (t == 61)
            raw_expect_silence(idle);
    }
    raw_expect_closed(idle);
    raw_expect_closed(dripping);
    raw_expect_silence(waiting);
    varlink_reply(s.kept, NULL);
    raw_expect(waiting, "{\"parameters\":{}}");
    close(idle);
    close(busy);
    close(dripping);
    close(waiting);
    service_stop(&s);
}

static void peer_that_never_reads_is_disconnected_in_time(void **state)
{
    struct service s;
    int fd;

    (void)state;
    service_start(&s, plain);
    fd = raw_connect(&s);
    raw_call(fd, "{\"method\":\"io.test.Big\",\"parameters\":{\"n\":3000000}}");
    raw_call(fd, "{\"method\":\"io.test.Keep\"}");
    loop_settle();
    varlink_server_tick(s.server, 1 * SECOND_NS);
    varlink_server_tick(s.server, 61 * SECOND_NS);
    assert_int_equal(s.n_gone, 0);
    varlink_server_tick(s.server, 62 * SECOND_NS);
    assert_int_equal(s.n_gone, 1);
    varlink_reply(s.kept, NULL);
    close(fd);
    service_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(message_split_into_bytes_is_one_call),
        cmocka_unit_test(messages_in_one_write_are_answered_in_order),
        cmocka_unit_test(garbage_gets_an_error_and_harms_only_its_sender),
        cmocka_unit_test(deep_nesting_is_refused),
        cmocka_unit_test(call_size_is_bounded_exactly),
        cmocka_unit_test(service_describes_itself),
        cmocka_unit_test(every_failure_has_its_error),
        cmocka_unit_test(oneway_call_gets_no_reply),
        cmocka_unit_test(oneway_calls_of_a_peer_already_gone_are_carried_out),
        cmocka_unit_test(more_streams_until_the_last_reply),
        cmocka_unit_test(peer_is_known_to_the_handler),
        cmocka_unit_test(later_calls_wait_for_a_deferred_answer),
        cmocka_unit_test(disconnect_is_told_once_and_the_call_stays_valid),
        cmocka_unit_test(stream_learns_of_a_disconnect_it_wrote_into),
        cmocka_unit_test(disconnect_is_noticed_while_input_is_full),
        cmocka_unit_test(server_may_go_before_its_calls),
        cmocka_unit_test(half_closed_peer_still_gets_its_answers),
        cmocka_unit_test(slow_reader_is_disconnected_at_the_output_bound),
        cmocka_unit_test(reply_larger_than_the_bound_becomes_an_error),
        cmocka_unit_test(large_reply_arrives_whole_as_the_peer_reads),
        cmocka_unit_test(calls_beyond_the_rate_wait_for_the_next_second),
        cmocka_unit_test(idle_peer_is_disconnected_but_a_waiting_one_is_not),
        cmocka_unit_test(peer_that_never_reads_is_disconnected_in_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
