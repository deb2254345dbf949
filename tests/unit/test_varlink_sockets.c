/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who may connect to the Varlink server, and who gets the next turn. */
#include "varlink_peer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static void one_user_cannot_take_every_connection(void **state)
{
    struct varlink_config config = plain;
    struct service s;
    int fds[3];

    (void)state;
    config.max_clients = 4;
    service_start(&s, config);
    service_listen(&s);
    for (int i = 0; i < 3; i++)
        fds[i] = unix_connect(s.path);
    raw_expect(fds[2], "{\"error\":\"io.test.Busy\","
                       "\"parameters\":{\"reason\":\"too many connections\"}}");
    raw_expect_closed(fds[2]);
    close(fds[0]);
    loop_settle();
    fds[0] = unix_connect(s.path);
    for (int i = 0; i < 2; i++) {
        raw_call(fds[i], echo_call);
        raw_expect(fds[i], echo_reply);
    }
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    service_unlisten(&s);
    service_stop(&s);
}

/* Whether who connects now is privileged. */
static bool privileged;

static bool is_privileged(const struct peer *peer, void *userdata)
{
    (void)peer;
    (void)userdata;
    return privileged;
}

static void no_number_of_users_takes_the_places_of_the_privileged(void **state)
{
    struct varlink_config config = plain;
    struct service s;
    int fds[8];

    (void)state;
    if (geteuid() != 0)
        skip(); /* only root can be several users */
    config.max_clients = 8;
    config.is_privileged = is_privileged;
    service_start(&s, config);
    for (int i = 0; i < 8; i++) {
        int pair[2];
        int r = i < 6 ? 0 : -EUSERS;

        /* Not even two users with half of them each get more than six of the eight. */
        assert_int_equal(seteuid(i < 4 ? 1 : 2), 0);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        assert_int_equal(seteuid(0), 0);
        assert_int_equal(varlink_server_add_connection(s.server, pair[0]), r);
        if (r < 0)
            close(pair[0]);
        fds[i] = pair[1];
    }
    privileged = true;
    close(fds[6]);
    close(fds[7]);
    fds[6] = raw_connect(&s);
    fds[7] = raw_connect(&s);
    privileged = false;
    raw_call(fds[7], echo_call);
    raw_expect(fds[7], echo_reply);
    for (int i = 0; i < 8; i++)
        close(fds[i]);
    loop_settle();
    service_stop(&s);
}

/* Turns */

static void raw_echoes(int fd, int a, int count)
{
    char text[80];

    snprintf(text, sizeof(text), "{\"method\":\"io.test.Echo\",\"parameters\":{\"a\":%d}}", a);
    for (int i = 0; i < count; i++)
        raw_call(fd, text);
}

static void peer_with_many_calls_gets_one_of_them_in_a_turn(void **state)
{
    struct service s;
    int one, many;

    (void)state;
    service_start(&s, plain);
    one = raw_connect(&s);
    many = raw_connect(&s);
    raw_echoes(many, 1, 4);
    raw_echoes(one, 2, 1);
    loop_settle();
    assert_string_equal(s.order, "12111");
    close(one);
    close(many);
    loop_settle();
    service_stop(&s);
}

static void peer_that_left_calls_behind_gets_one_of_them_in_a_turn(void **state)
{
    struct service s;
    int one, many;

    (void)state;
    service_start(&s, plain);
    one = raw_connect(&s);
    many = raw_connect(&s);
    for (int i = 0; i < 3; i++)
        raw_call(many, "{\"method\":\"io.test.Echo\",\"oneway\":true}");
    close(many);
    raw_echoes(one, 2, 1);
    loop_settle();
    assert_string_equal(s.order, "0200");
    close(one);
    loop_settle();
    service_stop(&s);
}

static void turn_ends_when_its_time_is_over(void **state)
{
    struct service s;
    int fds[6];

    (void)state;
    service_start(&s, plain);
    s.echo_takes_ns = SECOND_NS / 500; /* a turn has 5 ms: three of these */
    for (int i = 0; i < 6; i++) {
        fds[i] = raw_connect(&s);
        raw_echoes(fds[i], i, 1);
    }
    while (s.n_echo == 0)
        assert_true(loop_once(0));
    assert_int_equal(s.n_echo, 3);
    loop_once(0);
    assert_int_equal(s.n_echo, 6);
    for (int i = 0; i < 6; i++)
        close(fds[i]);
    loop_settle();
    service_stop(&s);
}

static void privileged_call_passes_those_of_others_but_one(void **state)
{
    struct varlink_config config = plain;
    struct service s;
    int fds[5];

    (void)state;
    config.is_privileged = is_privileged;
    service_start(&s, config);
    s.echo_takes_ns = SECOND_NS; /* longer than a turn */
    for (int i = 0; i < 5; i++) {
        privileged = i == 0;
        fds[i] = raw_connect(&s);
        raw_echoes(fds[i], privileged ? 9 : 1, 2);
    }
    loop_settle();
    assert_string_equal(s.order, "1919111111");
    for (int i = 0; i < 5; i++)
        close(fds[i]);
    loop_settle();
    service_stop(&s);
}

static void who_has_used_little_time_comes_before_who_has_used_much(void **state)
{
    struct service s;
    int fresh, busy;

    (void)state;
    service_start(&s, plain);
    fresh = raw_connect(&s);
    busy = raw_connect(&s); /* what is served first else */
    s.echo_takes_ns = 1000;
    raw_echoes(busy, 1, 1);
    loop_settle();
    raw_echoes(busy, 1, 1);
    raw_echoes(fresh, 2, 1);
    loop_settle();
    assert_string_equal(s.order, "121");
    close(fresh);
    close(busy);
    loop_settle();
    service_stop(&s);
}

static void socket_has_the_mode_and_group_asked_for(void **state)
{
    gid_t gid = geteuid() == 0 ? getgid() + 1 : getgid();
    struct service s;
    struct stat st;
    int fd;

    (void)state;
    service_start(&s, plain);
    service_listen(&s);
    assert_int_equal(stat(s.path, &st), 0);
    assert_int_equal(st.st_mode, S_IFSOCK | 0660);
    unlink(s.path);
    assert_int_equal(unix_listen(s.path, gid, 0600, &fd), 0);
    assert_int_equal(stat(s.path, &st), 0);
    assert_int_equal(st.st_mode, S_IFSOCK | 0600);
    assert_int_equal(st.st_gid, gid);
    close(fd);
    service_unlisten(&s);
    service_stop(&s);
}

static void stale_socket_is_replaced_but_a_live_one_is_not(void **state)
{
    struct service s;
    int fd = -1, other = -1;

    (void)state;
    service_start(&s, plain);
    service_listen(&s);
    assert_int_equal(unix_listen(s.path, (gid_t)-1, 0660, &fd), -EADDRINUSE);
    assert_int_equal(fd, -1);
    varlink_server_free(s.server); /* leaves the path behind */
    assert_int_equal(unix_listen(s.path, (gid_t)-1, 0660, &other), 0);
    close(unix_connect(s.path));
    close(other);
    service_unlisten(&s);
}

static void what_is_not_a_socket_is_never_removed(void **state)
{
    struct service s;
    struct stat st;
    FILE *f;
    int fd;

    (void)state;
    service_start(&s, plain);
    service_listen(&s);
    unlink(s.path);
    f = fopen(s.path, "w");
    assert_non_null(f);
    fclose(f);
    assert_int_equal(unix_listen(s.path, (gid_t)-1, 0660, &fd), -EEXIST);
    assert_int_equal(stat(s.path, &st), 0);
    assert_int_equal(varlink_server_add_listener(s.server, 0), -EBUSY);
    service_unlisten(&s);
    service_stop(&s);
}

static void only_a_listening_unix_socket_is_inherited(void **state)
{
    struct service s;
    int fds[2];

    (void)state;
    service_start(&s, plain);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_int_equal(varlink_server_add_listener(s.server, fds[0]), -EINVAL);
    close(fds[0]);
    close(fds[1]);
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(varlink_server_add_listener(s.server, fds[0]), -EINVAL);
    close(fds[0]);
    close(fds[1]);
    service_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_user_cannot_take_every_connection),
        cmocka_unit_test(no_number_of_users_takes_the_places_of_the_privileged),
        cmocka_unit_test(peer_with_many_calls_gets_one_of_them_in_a_turn),
        cmocka_unit_test(peer_that_left_calls_behind_gets_one_of_them_in_a_turn),
        cmocka_unit_test(turn_ends_when_its_time_is_over),
        cmocka_unit_test(privileged_call_passes_those_of_others_but_one),
        cmocka_unit_test(who_has_used_little_time_comes_before_who_has_used_much),
        cmocka_unit_test(socket_has_the_mode_and_group_asked_for),
        cmocka_unit_test(stale_socket_is_replaced_but_a_live_one_is_not),
        cmocka_unit_test(what_is_not_a_socket_is_never_removed),
        cmocka_unit_test(only_a_listening_unix_socket_is_inherited),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
