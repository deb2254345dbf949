/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The Varlink client of the command line, against the server. */
#include "varlink_peer.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/cli/varlink_client.h"

/* What a client is given to wait for an answer that is sure to come. */
enum { PATIENCE_MS = 240000 };

/* The client, in a thread of its own because it blocks */

struct client_run {
    void (*body)(const char *path);
    const char *path;
    bool done;
};

static void *client_thread(void *arg)
{
    struct client_run *run = arg;

    run->body(run->path);
    __atomic_store_n(&run->done, true, __ATOMIC_SEQ_CST);
    return NULL;
}

static void run_client(struct service *s, void (*body)(const char *path))
{
    struct client_run run = {.body = body, .path = s->path};
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, client_thread, &run), 0);
    while (!__atomic_load_n(&run.done, __ATOMIC_SEQ_CST))
        loop_once(5);
    pthread_join(thread, NULL);
    loop_settle();
}

/* cmocka's assertions belong to the main thread. */
#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);                             \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static void client_body(const char *path)
{
    struct json_object *in = json_object_new_object(), *out;
    struct varlink_client *client;
    bool continues;
    char *error;
    int total = 0;

    CHECK(varlink_client_connect(path, PATIENCE_MS, &client) == 0);
    json_object_object_add(in, "a", json_object_new_int(1));
    CHECK(varlink_client_call(client, "io.test.Echo", in, PATIENCE_MS, &error, &out) == 0);
    CHECK(!error && json_object_equal(in, out));
    json_object_put(out);
    CHECK(varlink_client_call(client, "io.test.Forbidden", NULL, PATIENCE_MS, &error, &out) == 0);
    CHECK(error && strcmp(error, VARLINK_ERROR_PERMISSION_DENIED) == 0);
    free(error);
    json_object_put(out);

    json_object_object_add(in, "n", json_object_new_int(3000000));
    CHECK(varlink_client_call(client, "io.test.Big", in, PATIENCE_MS, &error, &out) == 0);
    CHECK(!error && json_object_get_string_len(json_object_object_get(out, "text")) == 3000000);
    json_object_put(out);

    CHECK(varlink_client_begin(client, "io.test.Count", NULL, PATIENCE_MS) == 0);
    for (continues = true; continues; json_object_put(out)) {
        CHECK(varlink_client_next(client, PATIENCE_MS, &continues, &error, &out) == 0);
        CHECK(!error);
        total += continues ? json_object_get_int(json_object_object_get(out, "n")) : 0;
    }
    CHECK(total == 3);
    CHECK(varlink_client_next(client, 1, &continues, &error, &out) == -ETIMEDOUT);
    json_object_put(in);
    varlink_client_free(client);
}

static void client_and_server_understand_each_other(void **state)
{
    struct service s;

    (void)state;
    service_start(&s, plain);
    service_listen(&s);
    run_client(&s, client_body);
    service_unlisten(&s);
    service_stop(&s);
}

static void timeout_body(const char *path)
{
    struct varlink_client *client;
    struct json_object *out;
    char *error;

    CHECK(varlink_client_connect(path, PATIENCE_MS, &client) == 0);
    CHECK(varlink_client_call(client, "io.test.Keep", NULL, 50, &error, &out) == -ETIMEDOUT);
    CHECK(varlink_client_call(client, "io.test.Echo", NULL, 50, &error, &out) == -ENOTCONN);
    varlink_client_free(client);
}

static void client_gives_up_in_time(void **state)
{
    struct service s;

    (void)state;
    service_start(&s, plain);
    service_listen(&s);
    run_client(&s, timeout_body);
    assert_int_equal(s.n_gone, 1);
    varlink_reply(s.kept, NULL);
    service_unlisten(&s);
    service_stop(&s);
}

static void busy_body(const char *path)
{
    struct varlink_client *client;
    struct json_object *out;
    char *error;

    CHECK(varlink_client_connect(path, PATIENCE_MS, &client) == 0);
    CHECK(varlink_client_call(client, "io.test.Echo", NULL, PATIENCE_MS, &error, &out) == 0);
    CHECK(error && strcmp(error, "io.test.Busy") == 0);
    free(error);
    json_object_put(out);
    CHECK(varlink_client_call(client, "io.test.Echo", NULL, PATIENCE_MS, &error, &out) ==
          -ECONNRESET);
    varlink_client_free(client);
}

static void client_turned_away_learns_why(void **state)
{
    struct varlink_config config = plain;
    struct service s;
    int fd;

    (void)state;
    config.max_clients = 1;
    service_start(&s, config);
    service_listen(&s);
    fd = unix_connect(s.path);
    loop_settle();
    run_client(&s, busy_body);
    close(fd);
    service_unlisten(&s);
    service_stop(&s);
}

static void missing_server_has_a_clear_error(void **state)
{
    struct varlink_client *client = NULL;
    struct service s;
    char longer[200];

    (void)state;
    service_start(&s, plain);
    service_listen(&s);
    service_stop(&s);
    assert_int_equal(varlink_client_connect(s.path, 100, &client), -ECONNREFUSED);
    unlink(s.path);
    assert_int_equal(varlink_client_connect(s.path, 100, &client), -ENOENT);
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    assert_int_equal(varlink_client_connect(longer, 100, &client), -ENAMETOOLONG);
    assert_null(client);
    service_unlisten(&s);
}

static void full_backlog_times_out(void **state)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct varlink_client *clients[8] = {0};
    char dir[] = "/tmp/test-varlink-XXXXXX";
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), r = 0;

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/socket", dir);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(listen(fd, 1), 0);
    for (int i = 0; i < 8 && r == 0; i++)
        r = varlink_client_connect(addr.sun_path, 30, &clients[i]);
    assert_int_equal(r, -ETIMEDOUT);
    for (int i = 0; i < 8; i++)
        varlink_client_free(clients[i]);
    close(fd);
    unlink(addr.sun_path);
    rmdir(dir);
}

static void reply_that_is_no_varlink_is_a_protocol_error(void **state)
{
    static const char *const replies[] = {"{", "[]", "{\"parameters\":1}", "{\"error\":{}}",
                                          "{\"continues\":true}"};
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    char dir[] = "/tmp/test-varlink-XXXXXX";
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/socket", dir);
    assert_int_equal(bind(listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(listen(listener, 1), 0);
    for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++) {
        struct varlink_client *client;
        struct json_object *out = NULL;
        char *error = NULL;
        int fd;

        assert_int_equal(varlink_client_connect(addr.sun_path, PATIENCE_MS, &client), 0);
        fd = accept(listener, NULL, NULL);
        raw_call(fd, replies[i]);
        assert_int_equal(varlink_client_call(client, "a.B", NULL, PATIENCE_MS, &error, &out),
                         -EPROTO);
        assert_null(out);
        close(fd);
        varlink_client_free(client);
    }
    close(listener);
    unlink(addr.sun_path);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(client_and_server_understand_each_other),
        cmocka_unit_test(client_gives_up_in_time),
        cmocka_unit_test(client_turned_away_learns_why),
        cmocka_unit_test(missing_server_has_a_clear_error),
        cmocka_unit_test(full_backlog_times_out),
        cmocka_unit_test(reply_that_is_no_varlink_is_a_protocol_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
