/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/rules/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <ctype.h>
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/json.h"
#include "common/units.h"

static char dir[64];

static const char *in_dir(const char *name)
{
    static char path[256];

    snprintf(path, sizeof(path), "%s%s%s", dir, *name ? "/" : "", name);
    return path;
}

#define RULE_KEYS                                                                                  \
    "name, uuid, label, title, flavor, project, instance_name, ovirt, xpath, min_memory, "         \
    "max_memory, min_vcpus or max_vcpus"

static void put(const char *name, const char *text)
{
    FILE *f = fopen(in_dir(name), "w");

    assert_non_null(f);
    assert_int_equal(fputs(text, f) < 0, 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(in_dir(name), 0644), 0);
}

static void load(const char *name, struct config *ret)
{
    struct error err = {"untouched"};

    if (config_load(in_dir(name), ret, &err) != 0)
        fail_msg("%s", err.text);
    assert_string_equal(err.text, "untouched");
}

/* Loading fails with `error`, says `say` after the directory, and changes nothing. */
static void expect_failure(const char *name, int error, const char *say)
{
    struct config config = {.poll_ns = 77};
    struct error err = {""};
    const char *told;

    assert_int_equal(config_load(in_dir(name), &config, &err), error);
    assert_int_equal(config.poll_ns, 77);
    assert_null(config.rule);
    told = strncmp(err.text, dir, strlen(dir)) == 0 ? err.text + strlen(dir) : "?";
    if (strcmp(told, say) != 0)
        fail_msg("\"%s\" instead of \"DIR%s\"", err.text, say);
}

static void expect_error(const char *text, const char *say)
{
    put("c.json", text);
    expect_failure("c.json", -EINVAL, say);
}

static int set_up(void **state)
{
    (void)state;
    strcpy(dir, P_tmpdir "/test-config-XXXXXX");
    return mkdtemp(dir) && chmod(dir, 0755) == 0 ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int tear_down(void **state)
{
    (void)state;
    return nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void file_is_read(void **state)
{
    struct config config;

    (void)state;
    put("c.json", "{\"uri\": \"qemu:///session\", \"metrics_listen\": \"\","
                  " \"admin_group\": \"adm\", \"poll_interval\": \"250ms\","
                  " \"qemu_run_dir\": \"/run/x/qemu\","
                  " \"policy\": {\"max_downtime\": \"1s\"},"
                  " \"rules\": [{\"name\": \"db*\", \"policy\": {\"allow_throttle\": true}},"
                  "             {\"uuid\": \"u\", \"policy\": {}}]}");
    load("c.json", &config);
    assert_string_equal(config.uri, "qemu:///session");
    assert_string_equal(config.metrics_listen, "");
    assert_string_equal(config.admin_group, "adm");
    assert_string_equal(config.qemu_run_dir, "/run/x/qemu");
    assert_int_equal(config.poll_ns, 250 * NS_PER_MS);
    assert_int_equal(config.rules, 3);
    assert_true(selector_is_empty(&config.rule[0].select));
    assert_int_equal(config.rule[0].layer.values.v[POLICY_MAX_DOWNTIME], NS_PER_S);
    assert_string_equal(config.rule[1].select.text[SELECT_NAME][0], "db*");
    assert_null(config.rule[1].select.text[SELECT_UUID]);
    assert_string_equal(config.rule[2].select.text[SELECT_UUID][0], "u");
    assert_null(config.rule[2].select.text[SELECT_NAME]);
    assert_string_equal(config.rule[1].source + strlen(dir), "/c.json/rules/0");
    config_clear(&config);
    assert_null(config.rule);
    config_clear(&config);
}

static void empty_object_and_empty_directory_are_the_defaults(void **state)
{
    struct config config;

    (void)state;
    put("c.json", "{}");
    load("c.json", &config);
    assert_null(config.uri);
    assert_int_equal(config.rules, 0);
    config_clear(&config);
    assert_int_equal(mkdir(in_dir("empty"), 0755), 0);
    load("empty", &config);
    assert_null(config.uri);
    assert_int_equal(config.poll_ns, 0);
    config_clear(&config);
}

static void directory_is_read_in_order_and_later_files_override(void **state)
{
    struct config config;

    (void)state;
    assert_int_equal(mkdir(in_dir("conf.d"), 0755), 0);
    put("conf.d/20-b.json", "{\"uri\": \"third\", \"policy\": {\"min_cpu\": \"30%\"}}");
    put("conf.d/10-a.json", "{\"uri\": \"second\", \"admin_group\": \"adm\","
                            " \"policy\": {\"min_cpu\": \"20%\"}}");
    put("migpolicyd.json", "{\"uri\": \"first\", \"metrics_listen\": \"127.0.0.1:1\","
                           " \"policy\": {\"min_cpu\": \"10%\"}}");
    put("other.json", "not read");
    put("conf.d/99-c.json.disabled", "not read");
    put("conf.d/.hidden.json", "not read");
    load("", &config);
    assert_string_equal(config.uri, "third");
    assert_string_equal(config.admin_group, "adm");
    assert_string_equal(config.metrics_listen, "127.0.0.1:1");
    assert_int_equal(config.rules, 3);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(config.rule[i].layer.values.v[POLICY_MIN_CPU],
                         (int64_t)(i + 1) * PPM_ONE / 10);
    config_clear(&config);
}

static void what_is_there_and_cannot_be_read_is_an_error_and_not_absent(void **state)
{
    static const char *const names[] = {"conf.d", "migpolicyd.json"};
    struct config config;
    struct error err;

    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(symlink("nothing", in_dir(names[i])), 0);
        assert_true(config_load(in_dir(""), &config, &err) < 0);
        assert_non_null(strstr(err.text, names[i]));
        assert_int_equal(unlink(in_dir(names[i])), 0);
    }
    assert_int_equal(config_load(in_dir(""), &config, &err), 0);
    config_clear(&config);
}

static void conf_d_is_read_in_alphabetical_order(void **state)
{
    static const char *const shuffled[] = {"50", "10", "80", "30", "20", "70", "40", "60"};
    struct config config;

    (void)state;
    assert_int_equal(mkdir(in_dir("conf.d"), 0755), 0);
    for (size_t i = 0; i < 8; i++) {
        char name[32], text[64];

        snprintf(name, sizeof(name), "conf.d/%s.json", shuffled[i]);
        snprintf(text, sizeof(text), "{\"policy\": {\"min_cpu\": \"%s%%\"}}", shuffled[i]);
        put(name, text);
    }
    load("", &config);
    assert_int_equal(config.rules, 8);
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(config.rule[i].layer.values.v[POLICY_MIN_CPU],
                         (int64_t)(i + 1) * PPM_ONE / 10);
    config_clear(&config);
}

static void one_bad_file_refuses_the_directory(void **state)
{
    (void)state;
    assert_int_equal(mkdir(in_dir("conf.d"), 0755), 0);
    put("migpolicyd.json", "{\"policy\": {\"min_cpu\": \"10%\"}}");
    put("conf.d/a.json", "{\n\n\"uri\": 1}");
    expect_failure("", -EINVAL, "/conf.d/a.json:3: /uri: must be a text");
}

static void meaning_is_checked_and_placed(void **state)
{
    (void)state;
    expect_error("[]", "/c.json:1: /: must be an object");
    expect_error("null", "/c.json:1: /: must be an object");
    expect_error("{\"web_may_answer\": \"a\"}",
                 "/c.json:1: /web_may_answer: must be an array of names");
    expect_error("{\"web_may_answer\": [\"a\", \"\"]}",
                 "/c.json:1: /web_may_answer: a name must be a text of 1 to 64 bytes");
    expect_error("{\n \"urii\": \"x\"}", "/c.json:2: /urii: unknown key");
    expect_error("{\n \"\": 1}", "/c.json:2: /: unknown key");
    expect_error("{\"uri\":\n 5}", "/c.json:2: /uri: must be a text");
    expect_error("{\"metrics_listen\": null}", "/c.json:1: /metrics_listen: must be a text");
    expect_error("{\"qemu_run_dir\": 1}", "/c.json:1: /qemu_run_dir: must be a text");
    expect_error("{\"qemu_run_dir\": \"run\"}",
                 "/c.json:1: /qemu_run_dir: must be an absolute path");
    expect_error("{\"max_throttled_domains\": -1}",
                 "/c.json:1: /max_throttled_domains: must be a whole number, 0 or more");
    expect_error("{\"max_throttled_domains\": 1.5}",
                 "/c.json:1: /max_throttled_domains: must be a whole number, 0 or more");
    expect_error("{\"max_throttled_domains\": 9223372036854775807}",
                 "/c.json:1: /max_throttled_domains: must be a whole number, 0 or more");
    expect_error("{\"host_bandwidth\": \"900kB/s\"}",
                 "/c.json:1: /host_bandwidth: must be a rate of at least 1MiB/s");
    expect_error("{\"host_bandwidth\": 5}",
                 "/c.json:1: /host_bandwidth: must be a rate of at least 1MiB/s");
    expect_error("{\"trust_metadata\": \"yes\"}",
                 "/c.json:1: /trust_metadata: must be true or false");
    expect_error("{\"namespaces\": {\"a\": \"\"}}",
                 "/c.json:1: /namespaces/a: must be the URI of a namespace");
    expect_error("{\"policy\": {\n\"max_downtime\": 2}}",
                 "/c.json:2: /policy/max_downtime: must be a duration such as 500ms, 2s or 1m30s");
    expect_error("{\"policy\": []}", "/c.json:1: /policy: a policy must be an object");
    for (const char *const *p =
             (const char *const[]){"\"19ms\"", "\"1001ms\"", "100", "\"1\"", "null", NULL};
         *p; p++) {
        char text[64];

        snprintf(text, sizeof(text), "{\"poll_interval\": %s}", *p);
        expect_error(text, "/c.json:1: /poll_interval: must be a duration between 20ms and 1s");
    }
}

static void rules_are_checked_and_placed(void **state)
{
    (void)state;
    expect_error("{\"rules\": {}}", "/c.json:1: /rules: must be an array");
    expect_error("{\"rules\": [\n1]}", "/c.json:2: /rules/0: a rule must be an object");
    expect_error("{\"rules\": [{\"name\": \"a\"}]}",
                 "/c.json:1: /rules/0: a rule needs policy, and " RULE_KEYS);
    expect_error("{\"rules\": [\n{\"policy\": {}}]}",
                 "/c.json:2: /rules/0: a rule needs policy, and " RULE_KEYS);
    expect_error("{\"rules\": [{\"label\": \"a b\", \"policy\": {}}]}",
                 "/c.json:1: /rules/0/label: must be a label of up to 63 letters, digits, '.', "
                 "'-' and '_'");
    expect_error("{\"rules\": [{\"label\": \"\", \"policy\": {}}]}",
                 "/c.json:1: /rules/0/label: must be a label of up to 63 letters, digits, '.', "
                 "'-' and '_'");
    expect_error("{\"rules\": [{\"name\": [], \"policy\": {}}]}",
                 "/c.json:1: /rules/0/name: must not be empty");
    expect_error("{\"rules\": [{\"flavor\": [\"a\", 1], \"policy\": {}}]}",
                 "/c.json:1: /rules/0/flavor: must be texts");
    expect_error("{\"rules\": [{\"title\": 1, \"policy\": {}}]}",
                 "/c.json:1: /rules/0/title: must be a text, or a list of texts");
    expect_error("{\"rules\": [{\"ovirt\": \"custom/tier\", \"policy\": {}}]}",
                 "/c.json:1: /rules/0/ovirt: must be PATH=PATTERN, such as \"custom/tier=gold\"");
    expect_error("{\"rules\": [{\"min_memory\": 64, \"policy\": {}}]}",
                 "/c.json:1: /rules/0/min_memory: must be a size, such as \"64GiB\"");
    expect_error("{\"rules\": [{\"max_vcpus\": 0, \"policy\": {}}]}",
                 "/c.json:1: /rules/0/max_vcpus: must be a number from 1 on");
    expect_error("{\"rules\": [{\"name\": \"a\", \"trust_owner\": 1, \"policy\": {}}]}",
                 "/c.json:1: /rules/0/trust_owner: must be true or false");
    expect_error("{\"rules\": [{\"xpath\": \"a:vm/a:tier\", \"policy\": {}}]}",
                 "/c.json:1: /rules/0/xpath: its prefixes must be declared in namespaces");
    expect_error("{\"rules\": [{\"xpath\": \"b[\", \"policy\": {}}]}",
                 "/c.json:1: /rules/0/xpath: must be an XPath 1.0 expression");
    expect_error("{\"rules\": [{\"name\": \"a\", \"tag\": \"b\"}]}",
                 "/c.json:1: /rules/0/tag: unknown key; a rule has policy, and " RULE_KEYS);
    expect_error("{\"rules\": [{\"name\": \"a\", \"policy\": {}},\n"
                 "{\"name\": \"b\", \"policy\": {\n\"mode\": \"x\"}}]}",
                 "/c.json:3: /rules/1/policy/mode: must be observe or enforce");
}

static void keys_with_slashes_are_placed_too(void **state)
{
    (void)state;
    expect_error("{\n \"a/b~\": 1}", "/c.json:2: /a~1b~0: unknown key");
    expect_error("{\"rules\": [\n{\"name\": \"a\",\n \"a/b\": 1}]}",
                 "/c.json:3: /rules/0/a~1b: unknown key; a rule has policy, and " RULE_KEYS);
}

static void keys_that_cannot_be_shown_have_the_line_around_them(void **state)
{
    (void)state;
    expect_error("{\n\"policy\":\n{\n\"\\u00e4\": 1}}",
                 "/c.json:3: /policy/??: unknown policy field");
}

static void grammar_is_strict_and_placed(void **state)
{
    (void)state;
    expect_error("", "/c.json:1:1: /: unexpected end of text");
    expect_error("{\"uri\": \"a\",\n \"uri\": \"b\"}", "/c.json:2:2: /uri: duplicate key");
    expect_error("{'uri': 1}", "/c.json:1:2: /: expected a key in double quotes");
    expect_error("{} {}", "/c.json:1:4: /: unexpected text after the value");
}

static void error_lines_stay_one_printable_line(void **state)
{
    struct config config = {0};
    struct error err;

    (void)state;
    put("c.json", "{\"\\u001b[31m\\n\\u007f\": 1}");
    assert_int_equal(config_load(in_dir("c.json"), &config, &err), -EINVAL);
    for (const char *c = err.text; *c; c++)
        assert_false(iscntrl((unsigned char)*c));
}

static void very_long_keys_and_paths_only_cut_the_error(void **state)
{
    char *text AUTO_FREE = malloc(5000);
    struct config config = {0};
    struct error err;

    (void)state;
    memset(text, 'k', 5000);
    memcpy(text, "{\"", 2);
    strcpy(text + 4990, "\": 1}");
    put("c.json", text);
    assert_int_equal(config_load(in_dir("c.json"), &config, &err), -EINVAL);
    assert_int_equal(config_parse(text, strlen(text), text, &config, &err), -EINVAL);
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
}

static void missing_path_is_told(void **state)
{
    (void)state;
    expect_failure("nothing", -ENOENT, "/nothing: No such file or directory");
    assert_int_equal(symlink("nothing", in_dir("dangling")), 0);
    expect_failure("dangling", -ENOENT, "/dangling: No such file or directory");
}

static void files_others_may_write_are_refused(void **state)
{
    char say[128];

    (void)state;
    put("migpolicyd.json", "{}");
    assert_int_equal(chmod(in_dir("migpolicyd.json"), 0664), 0);
    snprintf(say, sizeof(say),
             "/migpolicyd.json: must not be writable by group or others (owner %u, mode 0664)",
             geteuid());
    expect_failure("", -EPERM, say);
    expect_failure("migpolicyd.json", -EPERM, say);
    assert_int_equal(chmod(in_dir("migpolicyd.json"), 0602), 0);
    snprintf(say, sizeof(say),
             "/migpolicyd.json: must not be writable by group or others (owner %u, mode 0602)",
             geteuid());
    expect_failure("migpolicyd.json", -EPERM, say);
}

static void directories_others_may_write_are_refused(void **state)
{
    char say[128];

    (void)state;
    assert_int_equal(mkdir(in_dir("conf.d"), 0755), 0);
    assert_int_equal(chmod(in_dir("conf.d"), 0775), 0);
    snprintf(say, sizeof(say),
             "/conf.d: must not be writable by group or others (owner %u, mode 0775)", geteuid());
    expect_failure("", -EPERM, say);
    assert_int_equal(chmod(dir, 0777), 0);
    snprintf(say, sizeof(say), ": must not be writable by group or others (owner %u, mode 0777)",
             geteuid());
    expect_failure("", -EPERM, say);
}

static void files_of_another_owner_are_refused(void **state)
{
    (void)state;
    put("c.json", "{}");
    if (geteuid() != 0)
        skip();
    assert_int_equal(chown(in_dir("c.json"), 12345, 0), 0);
    expect_failure("c.json", -EPERM, "/c.json: must be owned by root (owner 12345, mode 0644)");
}

static void what_is_no_small_regular_file_is_refused(void **state)
{
    FILE *f;

    (void)state;
    assert_int_equal(mkfifo(in_dir("fifo"), 0600), 0);
    expect_failure("fifo", -EINVAL, "/fifo: Invalid argument");
    put("c.json", "{}");
    f = fopen(in_dir("c.json"), "w");
    assert_non_null(f);
    for (int i = 0; i < 1024 * 1024 + 1; i++)
        fputc(' ', f);
    assert_int_equal(fclose(f), 0);
    expect_failure("c.json", -EFBIG, "/c.json: File too large");
}

static void links_are_followed_where_root_alone_could_lead_elsewhere(void **state)
{
    char place[] = "/run/migpolicy-test-XXXXXX", target[64], say[160];
    struct config config;
    FILE *f;

    (void)state;
    put("c.json", "{\"uri\": \"here\"}");
    assert_int_equal(symlink("c.json", in_dir("link")), 0);
    expect_failure(
        "link", -EPERM,
        "/link: a link to what is not root's alone: /tmp: must not be writable by group or "
        "others (owner 0, mode 1777)");
    if (geteuid() != 0 || !mkdtemp(place))
        skip();
    snprintf(target, sizeof(target), "%s/c.json", place);
    f = fopen(target, "w");
    assert_non_null(f);
    fputs("{\"uri\": \"there\"}", f);
    fclose(f);
    assert_int_equal(unlink(in_dir("link")), 0);
    assert_int_equal(symlink(target, in_dir("link")), 0);
    load("link", &config);
    assert_string_equal(config.uri, "there");
    config_clear(&config);

    assert_int_equal(chown(place, 12345, 0), 0);
    snprintf(
        say, sizeof(say),
        "/link: a link to what is not root's alone: %s: must be owned by root (owner 12345, mode "
        "0700)",
        place);
    expect_failure("link", -EPERM, say);
    assert_int_equal(chown(place, 0, 0), 0);
    assert_int_equal(lchown(in_dir("link"), 12345, 0), 0);
    expect_failure("link", -EPERM, "/link: must be owned by root (owner 12345, mode 0777)");
    unlink(target);
    rmdir(place);
}

static void comments_reach_to_the_end_of_their_line(void **state)
{
    struct config config;

    (void)state;
    put("c.json", "// all of it\n{\"$schema\": \"x\", // \"uri\": \"no\",\n"
                  " \"uri\": \"http://a//b\\\"//c\" //\n}\n//");
    load("c.json", &config);
    assert_string_equal(config.uri, "http://a//b\"//c");
    config_clear(&config);
    put("c.json", "// one\n{ // two\n  \"uri\": 1 }");
    expect_failure("c.json", -EINVAL, "/c.json:3: /uri: must be a text");
    put("c.json", "{\n \"uri\": \"a\" /* b */ }");
    expect_failure("c.json", -EINVAL, "/c.json:2:13: /uri: expected ',' or '}'");
    put("c.json", "{ } // a\x1b[31m");
    expect_failure("c.json", -EINVAL, "/c.json:1:9: /: unexpected text after the value");
    put("c.json", "{\"$schema\": 1}");
    expect_failure("c.json", -EINVAL, "/c.json:1: /$schema: must be a text");
}

static void what_is_not_read_for_its_name_is_told(void **state)
{
    struct config config;
    char expected[512];

    (void)state;
    assert_int_equal(mkdir(in_dir("conf.d"), 0755), 0);
    put("conf.d/a.json", "{}");
    put("conf.d/.b.json", "{");
    put("conf.d/c.json.old\n", "{");
    load("", &config);
    snprintf(expected, sizeof(expected), "%s/conf.d/.b.json, %s/conf.d/c.json.old?", dir, dir);
    assert_string_equal(config.ignored, expected);
    config_clear(&config);
}

static void the_site_lies_over_the_vendor_and_takes_the_place_of_its_files(void **state)
{
    char vendor[256];
    struct config config;
    struct error err;

    (void)state;
    assert_int_equal(mkdir(in_dir("own"), 0755), 0);
    assert_int_equal(mkdir(in_dir("own/conf.d"), 0755), 0);
    snprintf(vendor, sizeof(vendor), "%s", in_dir("vendor"));
    put("own/migpolicyd.json", "{\"uri\": \"own\", \"policy\": {\"min_cpu\": \"20%\"}}");
    put("own/conf.d/20.json", "{\"policy\": {\"min_cpu\": \"40%\"}}");
    assert_int_equal(config_load_over(vendor, in_dir("own"), &config, &err), 0);
    assert_int_equal(config.rules, 2); /* there is no vendor */
    config_clear(&config);

    assert_int_equal(mkdir(vendor, 0755), 0);
    assert_int_equal(mkdir(in_dir("vendor/conf.d"), 0755), 0);
    put("vendor/migpolicyd.json", "{\"uri\": \"theirs\", \"policy\": {\"min_cpu\": \"10%\"}}");
    put("vendor/conf.d/10.json", "{\"policy\": {\"min_cpu\": \"30%\"}}");
    put("vendor/conf.d/20.json", "{\"policy\": {\"min_cpu\": \"99%\"}}");
    put("vendor/conf.d/30.json", "{\"policy\": {\"min_cpu\": \"50%\"}}");
    assert_int_equal(config_load_over(vendor, in_dir("own"), &config, &err), 0);
    assert_string_equal(config.uri, "own");
    assert_int_equal(config.rules, 5);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(config.rule[i].layer.values.v[POLICY_MIN_CPU],
                         (int64_t)(i + 1) * PPM_ONE / 10);
    config_clear(&config);

    assert_int_equal(chmod(vendor, 0777), 0);
    assert_int_equal(config_load_over(vendor, in_dir("own"), &config, &err), -EPERM);
}

static void directory_named_like_a_pattern_is_taken_literally(void **state)
{
    struct config config;

    (void)state;
    assert_int_equal(mkdir(in_dir("[ab]*"), 0755), 0);
    assert_int_equal(mkdir(in_dir("[ab]*/conf.d"), 0755), 0);
    put("[ab]*/conf.d/x.json", "{\"uri\": \"here\"}");
    load("[ab]*", &config);
    assert_non_null(config.uri);
    assert_string_equal(config.uri, "here");
    config_clear(&config);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static void files_for_apply_are_checked_and_placed(void **state)
{
    static const struct {
        const char *text;
        int r;
        const char *error;
    } cases[] = {
        {"{\"schema_version\": 1, \"vms\": {\"a\": {\"name\": \"x\", \"set_by\": \"\","
         " \"policy\": {\"preset\": \"gentle\"}}}}",
         0, ""},
        {"{\"policy\": {}}", -ENOENT, "F:1: /: needs \"vms\""},
        {"[]", -ENOENT, "F:1: /: needs \"vms\""},
        {"{\"vms\": {}", -EINVAL, "F:1:11: /vms: unexpected end of text"},
        {"{\"vms\": []}", -EINVAL, "F:1: /vms: must be an object"},
        {"{\"vms\": {},\n\"x\": 1}", -EINVAL, "F:2: /x: unknown key"},
        {"{\"vms\": {},\n\"schema_version\": 2}", -EINVAL, "F:2: /schema_version: must be 1"},
        {"{\"vms\": {\n\"a/b\": 1}}", -EINVAL, "F:2: /vms/a~1b: must be an object with policy"},
        {"{\"vms\": {\n\"a\": {}}}", -EINVAL, "F:2: /vms/a: needs policy"},
        {"{\"vms\": {\"a\":\n{\"policy\": {\n\"min_cpu\": 1}}}}", -EINVAL,
         "F:3: /vms/a/policy/min_cpu: must be a share such as 20%"},
        {"{\"vms\": {\"a\": {\"policy\": {}, \"expires\": \"365d\"}}}", 0, ""},
        {"{\"vms\": {\"a\": {\"policy\": {},\n\"expires\": {}}}}", -EINVAL,
         "F:2: /vms/a/expires: must be a duration between 1s and 365d"},
        {"{\"vms\": {\"a\": {\"policy\": {},\n\"expires\": \"365d1s\"}}}", -EINVAL,
         "F:2: /vms/a/expires: must be a duration between 1s and 365d"},
        {"{\"vms\": {\"a\": {\"policy\": {},\n\"runtime\": true}}}", -EINVAL,
         "F:2: /vms/a/runtime: unknown key; a VM has policy, and expires if it is to end"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct error err = {""};
        struct json_object *vms = NULL;

        assert_int_equal(config_parse_vms(cases[i].text, strlen(cases[i].text), "F", &vms, &err),
                         cases[i].r);
        if (strcmp(err.text, cases[i].error) != 0)
            print_error("%s\n", err.text);
        assert_string_equal(err.text, cases[i].error);
        json_object_put(vms);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(file_is_read),
        TEST(empty_object_and_empty_directory_are_the_defaults),
        TEST(directory_is_read_in_order_and_later_files_override),
        TEST(what_is_there_and_cannot_be_read_is_an_error_and_not_absent),
        TEST(conf_d_is_read_in_alphabetical_order),
        TEST(one_bad_file_refuses_the_directory),
        TEST(meaning_is_checked_and_placed),
        TEST(rules_are_checked_and_placed),
        TEST(keys_with_slashes_are_placed_too),
        TEST(keys_that_cannot_be_shown_have_the_line_around_them),
        TEST(grammar_is_strict_and_placed),
        TEST(error_lines_stay_one_printable_line),
        TEST(very_long_keys_and_paths_only_cut_the_error),
        TEST(missing_path_is_told),
        TEST(files_others_may_write_are_refused),
        TEST(directories_others_may_write_are_refused),
        TEST(files_of_another_owner_are_refused),
        TEST(links_are_followed_where_root_alone_could_lead_elsewhere),
        TEST(comments_reach_to_the_end_of_their_line),
        TEST(what_is_not_read_for_its_name_is_told),
        TEST(the_site_lies_over_the_vendor_and_takes_the_place_of_its_files),
        TEST(what_is_no_small_regular_file_is_refused),
        TEST(directory_named_like_a_pattern_is_taken_literally),
        cmocka_unit_test(files_for_apply_are_checked_and_placed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
