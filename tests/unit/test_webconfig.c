/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files of Prometheus' format that say who may read over HTTP. TLS itself: tests/faults. */
#include "metrics/internal.h"
#include "metrics/webconfig.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* Of "secret" and of "other", with the least cost there is. */
#define SECRET "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW"
#define OTHER  "$2y$04$abcdefghijklmnopqrstuu0HtfOlPbTiymk5tcV.3TsFPDd3SYZqu"
#define COSTLY "$2b$31$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234"

static struct error err;

static struct webconfig *good(const char *text)
{
    struct webconfig *w = NULL;

    if (webconfig_parse(text, strlen(text), "FILE", &w, &err) < 0)
        fail_msg("%s", err.text);
    return w;
}

static void expect_error(const char *text, const char *expected)
{
    struct webconfig *w = NULL;

    assert_int_equal(webconfig_parse(text, strlen(text), "FILE", &w, &err), -EINVAL);
    assert_string_equal(err.text, expected);
    assert_null(w);
}

static void both_halves_are_read(void **state)
{
    (void)state;
    struct webconfig *w = good("tls_server_config:\n"
                               "  cert_file: a.crt\n"
                               "  key_file: /b/a.key\n"
                               "  min_version: TLS13\n"
                               "  client_auth_type: NoClientCert\n"
                               "http_server_config: {http2: false}\n"
                               "basic_auth_users:\n"
                               "  one: " SECRET "\n"
                               "  \"two\": '" OTHER "'\n");

    assert_string_equal(w->cert_file, "a.crt");
    assert_string_equal(w->key_file, "/b/a.key");
    assert_true(w->tls13_only);
    assert_int_equal(w->users, 2);
    assert_string_equal(w->user[1].name, "two");
    webconfig_free(w);
}

static void each_half_may_be_missing_or_empty(void **state)
{
    (void)state;
    const char *const texts[] = {"", "# nothing\n", "{}", "basic_auth_users:\n",
                                 "basic_auth_users: {}\nhttp_server_config:\n"};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct webconfig *w = good(texts[i]);

        assert_null(w->cert_file);
        assert_true(webconfig_allows(w, NULL, NULL));
        webconfig_free(w);
    }
}

static void what_is_not_supported_is_refused_with_its_line(void **state)
{
    (void)state;
    expect_error("basic_auth_users:\n  a: b\n",
                 "FILE:2: a: needs a bcrypt hash, as htpasswd -nBC 10 makes it");
    expect_error("basic_auth_users: {a: " COSTLY "}",
                 "FILE:1: a: needs a bcrypt hash with a cost of at most 14");
    expect_error("basic_auth_users: {'a:b': " SECRET "}", "FILE:1: a:b: is no name of a user");
    expect_error("tls_server_config:\n  cert_file: a\n",
                 "FILE:2: tls_server_config: needs cert_file and key_file");
    expect_error("tls_server_config:\n  client_auth_type: RequireAndVerifyClientCert\n",
                 "FILE:2: client_auth_type: must be NoClientCert");
    expect_error("tls_server_config:\n  client_ca_file: a\n",
                 "FILE:2: client_ca_file: is not supported in tls_server_config");
    expect_error("tls_server_config:\n  min_version: TLS10\n",
                 "FILE:2: min_version: must be TLS12 or TLS13");
    expect_error("http_server_config:\n  headers: {}\n",
                 "FILE:2: headers: is not supported in http_server_config");
    expect_error("\nrate_limit: {}\n", "FILE:2: rate_limit: is not supported");
    expect_error("- a\n", "FILE:1: the file: must be a mapping");
    expect_error("basic_auth_users: {}\nbasic_auth_users: {}\n",
                 "FILE:2: basic_auth_users: is there twice");
    expect_error("basic_auth_users: {[a]: b}\n",
                 "FILE:1: basic_auth_users: has a key that is no text");
    expect_error("{}\n---\na: b\n", "FILE:3: a second document");
    expect_error("a: 'b\n", "FILE:2: found unexpected end of stream");
    expect_error("\"a\\u001b\": 1\n", "FILE:1: a?: is not supported");
}

static void a_password_opens_and_nothing_else_does(void **state)
{
    (void)state;
    struct webconfig *w = good("basic_auth_users: {one: " SECRET ", two: " OTHER "}");

    assert_false(webconfig_allows(w, NULL, NULL));
    assert_false(webconfig_allows(w, "one", NULL));
    assert_false(webconfig_allows(w, "one", ""));
    assert_false(webconfig_allows(w, "one", "other"));
    assert_false(webconfig_allows(w, "none", "secret"));
    assert_false(webconfig_allows(w, "", "secret"));
    for (int again = 0; again < 2; again++) { /* the second time it is remembered */
        assert_true(webconfig_allows(w, "one", "secret"));
        assert_false(webconfig_allows(w, "one", "secreT"));
        assert_false(webconfig_allows(w, "one", "secret "));
        assert_true(webconfig_allows(w, "two", "other"));
        assert_false(webconfig_allows(w, "two", "secret"));
    }
    webconfig_free(w);
}

static void only_those_named_may_answer_and_only_over_tls(void **state)
{
    (void)state;
    struct webconfig *w = good("basic_auth_users: {one: " SECRET ", two: " OTHER "}");

    assert_int_equal(webconfig_let_answer(w, "one", &err), -EINVAL);
    assert_string_equal(err.text, "one: only over TLS, with tls_server_config");
    w->cert = strdup("a certificate");
    assert_false(webconfig_has_answering(w));
    assert_int_equal(webconfig_let_answer(w, "three", &err), -EINVAL);
    assert_string_equal(err.text, "three: is not in basic_auth_users");
    assert_int_equal(webconfig_let_answer(w, "one", &err), 0);
    assert_true(webconfig_has_answering(w) && webconfig_may_answer(w, "one"));
    assert_false(webconfig_may_answer(w, "two") || webconfig_may_answer(w, "three"));
    assert_false(webconfig_may_answer(w, NULL) || webconfig_may_answer(w, ""));
    webconfig_free(w);
}

static void what_a_browser_sends_for_another_page_is_told_apart(void **state)
{
    static const struct {
        const char *origin, *site, *host;
        bool is_tls, is_unix, is_same;
    } rows[] = {
        {NULL, NULL, "h", true, false, true}, /* no browser */
        {NULL, NULL, NULL, false, true, true},
        {NULL, "same-origin", "h", true, false, false}, /* none sends a POST without Origin */
        {"https://h", NULL, "h", true, false, true},    /* an old one */
        {"https://h:9917", "same-origin", "H:9917", true, false, true},
        {"https://h:9917", "same-site", "h:9917", true, false, false},
        {"https://h:9917", "cross-site", "h:9917", true, false, false},
        {"https://evil", "same-origin", "h", true, false, false},
        {"https://h", NULL, "h:9917", true, false, false},
        {"http://h:9917", NULL, "h:9917", true, false, false},
        {"https://h", NULL, NULL, true, false, false},
        {"null", NULL, "h", true, false, false},
        {"", NULL, "", true, false, false},
        {"http://localhost:8080", "same-origin", "localhost:8080", false, true, true},
        {"http://127.0.0.1", "same-origin", "127.0.0.1", false, true, true},
        {"http://[::1]:80", "same-origin", "[::1]:80", false, true, true},
        /* a name of an attacker's that points to the end of the tunnel */
        {"http://evil:8080", "same-origin", "evil:8080", false, true, false},
        {"http://localhost.evil:8080", "same-origin", "localhost.evil:8080", false, true, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (metrics_is_same_origin(rows[i].origin, rows[i].site, rows[i].host, rows[i].is_tls,
                                   rows[i].is_unix) != rows[i].is_same)
            fail_msg("row %zu", i);
    }
}

static void files_others_may_write_and_keys_they_may_read_are_refused(void **state)
{
    (void)state;
    char dir[] = "/tmp/webconfig-XXXXXX", path[64], key[64];
    struct webconfig *w = NULL;

    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/web.yml", dir);
    snprintf(key, sizeof(key), "%s/key", dir);
    assert_int_equal(webconfig_load(path, &w, &err), -ENOENT);
    assert_non_null(strstr(err.text, "/web.yml: No such file"));

    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs("tls_server_config: {cert_file: web.yml, key_file: key}\n", f);
    fclose(f);
    assert_int_equal(chmod(path, 0664), 0);
    assert_int_equal(webconfig_load(path, &w, &err), -EPERM);
    assert_non_null(strstr(err.text, "not be writable by group or others"));

    assert_int_equal(chmod(path, 0644), 0);
    close(open(key, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    assert_int_equal(chmod(key, 0644), 0);
    assert_int_equal(webconfig_load(path, &w, &err), -EPERM);
    assert_non_null(strstr(err.text, "/key: must be owned by root and not be readable"));

    assert_int_equal(chmod(key, 0600), 0);
    assert_int_equal(webconfig_load(path, &w, &err), -EINVAL);
    assert_non_null(strstr(err.text, "cert_file web.yml and key_file key: "));
    unlink(path);
    unlink(key);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_halves_are_read),
        cmocka_unit_test(each_half_may_be_missing_or_empty),
        cmocka_unit_test(what_is_not_supported_is_refused_with_its_line),
        cmocka_unit_test(a_password_opens_and_nothing_else_does),
        cmocka_unit_test(only_those_named_may_answer_and_only_over_tls),
        cmocka_unit_test(what_a_browser_sends_for_another_page_is_told_apart),
        cmocka_unit_test(files_others_may_write_and_keys_they_may_read_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
