/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which policy a VM has: rules, overrides, labels and metadata. */
#include "policies_dir.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/units.h"

static void rules_apply_by_glob_and_uuid_and_the_last_wins(void **state)
{
    (void)state;
    start("{\"policy\": {\"min_cpu\": \"10%\"}, \"rules\": ["
          "{\"name\": \"db-*\", \"policy\": {\"min_cpu\": \"20%\", \"patience\": \"1s\"}},"
          "{\"name\": \"db-[0-9]\", \"policy\": {\"min_cpu\": \"30%\"}},"
          "{\"uuid\": \"AAAAAAAA-1111-1111-1111-111111111111\","
          " \"policy\": {\"min_cpu\": \"40%\"}},"
          "{\"name\": \"web*\", \"uuid\": \"" UUID_B "\","
          " \"policy\": {\"min_cpu\": \"50%\"}}]}",
          "");
    expect("other", UUID_B, POLICY_MIN_CPU, "10%", "FILE");
    expect("db-x", UUID_B, POLICY_MIN_CPU, "20%", "FILE/rules/0, by name db-*");
    expect("db-7", UUID_B, POLICY_MIN_CPU, "30%", "FILE/rules/1, by name db-[0-9]");
    expect("db-7", UUID_B, POLICY_PATIENCE, "1s", "FILE/rules/0, by name db-*");
    expect("db-7", UUID_A, POLICY_MIN_CPU, "40%",
           "FILE/rules/2, by uuid AAAAAAAA-1111-1111-1111-111111111111");
    expect("web1", UUID_B, POLICY_MIN_CPU, "50%", "FILE/rules/3, by name web*, uuid " UUID_B);
    expect("web1", UUID_A, POLICY_MIN_CPU, "40%",
           "FILE/rules/2, by uuid AAAAAAAA-1111-1111-1111-111111111111");
    expect("db-7", UUID_A, POLICY_STALL_TIMEOUT, "1m", "default");
}

static void resolved_policy_is_finished(void **state)
{
    (void)state;
    start("{\"policy\": {\"allow_throttle\": true}}", "");
    expect("vm", UUID_A, POLICY_MODE, "enforce", "default");
    expect("vm", UUID_A, POLICY_DEADLINE, "none", "default");
}

static void override_wins_over_rules_and_names_who_set_it(void **state)
{
    (void)state;
    start("{\"policy\": {\"min_cpu\": \"10%\", \"patience\": \"1s\"}}", "");
    assert_int_equal(set("vm", UUID_A, POLICY_MIN_CPU, "50%"), 0);
    expect("vm", UUID_A, POLICY_MIN_CPU, "50%", "override set by uid 0");
    expect("vm", UUID_A, POLICY_PATIENCE, "1s", "FILE");
    expect("vm", "AAAAAAAA-1111-1111-1111-111111111111", POLICY_MIN_CPU, "50%",
           "override set by uid 0");
    expect("vm", UUID_B, POLICY_MIN_CPU, "10%", "FILE");
}

static void overrides_add_up_and_survive_a_restart(void **state)
{
    struct stat st;

    (void)state;
    start("{}", "");
    assert_int_equal(set("vm \"\\ \xc3\xa4", UUID_A, POLICY_MIN_CPU, "50%"), 0);
    assert_int_equal(set("vm", UUID_A, POLICY_PATIENCE, "50ns"), 0);
    assert_int_equal(set("b", UUID_B, POLICY_MODE, "enforce"), 0);
    assert_int_equal(stat(in_dir("overrides.json"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    start("{}", "");
    assert_int_equal(overrides(), 2);
    expect("vm", UUID_A, POLICY_MIN_CPU, "50%", "override set by uid 0");
    expect("vm", UUID_A, POLICY_PATIENCE, "50ns", "override set by uid 0");
    expect("b", UUID_B, POLICY_MODE, "enforce", "override set by uid 0");
}

static void unset_takes_fields_out_and_forgets_an_empty_override(void **state)
{
    (void)state;
    start("{}", "");
    assert_int_equal(set("vm", UUID_A, POLICY_MIN_CPU, "50%"), 0);
    assert_int_equal(set("vm", UUID_A, POLICY_PATIENCE, "2s"), 0);
    assert_int_equal(policies_unset(p, "vm", UUID_A, 1u << POLICY_MIN_CPU | 1u << POLICY_MODE), 0);
    expect("vm", UUID_A, POLICY_MIN_CPU, "20%", "default");
    expect("vm", UUID_A, POLICY_PATIENCE, "2s", "override set by uid 0");
    assert_int_equal(policies_unset(p, "vm", UUID_A, ~0u), 0);
    assert_int_equal(overrides(), 0);
    start("{}", "");
    assert_int_equal(overrides(), 0);
    expect("vm", UUID_A, POLICY_PATIENCE, "0s", "default");
}

static void unset_of_an_unknown_vm_changes_nothing(void **state)
{
    (void)state;
    start("{}", "");
    assert_int_equal(policies_unset(p, "vm", UUID_A, ~0u), 0);
    assert_int_equal(access(in_dir("overrides.json"), F_OK), -1);
}

static void override_is_found_by_name(void **state)
{
    char uuid[37] = "untouched";

    (void)state;
    start("{}", "");
    assert_int_equal(set("vm", UUID_A, POLICY_MIN_CPU, "50%"), 0);
    assert_int_equal(policies_find(p, "v*", uuid, sizeof(uuid)), -ENOENT);
    assert_string_equal(uuid, "untouched");
    assert_int_equal(policies_find(p, "vm", uuid, sizeof(uuid)), 0);
    assert_string_equal(uuid, UUID_A);
}

static void reload_replaces_the_rules_and_keeps_overrides(void **state)
{
    struct config config;
    size_t rules, count, metadata;

    (void)state;
    start("{\"policy\": {\"min_cpu\": \"10%\", \"patience\": \"1s\"}, \"rules\": []}", "");
    assert_int_equal(set("vm", UUID_A, POLICY_MIN_CPU, "50%"), 0);
    config = config_of("{\"rules\": [{\"name\": \"vm\", \"policy\": {\"patience\": \"3s\"}},"
                       " {\"name\": \"x\", \"policy\": {}}]}");
    policies_reload(p, &config);
    assert_null(config.rule);
    policies_count(p, &rules, &count, &metadata);
    assert_int_equal(rules, 2);
    assert_int_equal(count, 1);
    expect("vm", UUID_A, POLICY_PATIENCE, "3s", "FILE/rules/0, by name vm");
    expect("vm", UUID_A, POLICY_MIN_CPU, "50%", "override set by uid 0");
    expect("vm", UUID_B, POLICY_MIN_CPU, "20%", "default");
}

static int set_until(enum policies_kind kind, enum policy_field field, const char *text,
                     int64_t expires_s)
{
    struct policy_layer layer = {0};

    assert_int_equal(policy_layer_set(&layer, field, text, NULL), 0);
    return policies_set(p, kind, "vm", UUID_A, &layer, expires_s, "uid 0", NULL);
}

static void runtime_lies_over_expiring_over_stored(void **state)
{
    (void)state;
    start("{}", "");
    assert_int_equal(set_until(POLICIES_RUNTIME, POLICY_MIN_CPU, "70%", 0), 0);
    assert_int_equal(set_until(POLICIES_EXPIRING, POLICY_MIN_CPU, "60%", 4102444800), 0);
    assert_int_equal(set_until(POLICIES_EXPIRING, POLICY_PATIENCE, "2s", 4102444801), 0);
    assert_int_equal(set("vm", UUID_A, POLICY_MIN_CPU, "50%"), 0);
    expect("vm", UUID_A, POLICY_MIN_CPU, "70%", "runtime override set by uid 0");
    start("{}", "");
    expect("vm", UUID_A, POLICY_MIN_CPU, "60%",
           "override set by uid 0, until 2100-01-01T00:00:00Z");
    expect("vm", UUID_A, POLICY_PATIENCE, "2s",
           "override set by uid 0, until 2100-01-01T00:00:01Z");
    assert_int_equal(policies_unset(p, "vm", UUID_A, 1u << POLICY_MIN_CPU), 0);
    expect("vm", UUID_A, POLICY_MIN_CPU, "20%", "default");
    start("{}", "");
    expect("vm", UUID_A, POLICY_MIN_CPU, "20%", "default");
    expect("vm", UUID_A, POLICY_PATIENCE, "2s",
           "override set by uid 0, until 2100-01-01T00:00:01Z");
}

/* In place of libc's, for policies.c as well: the clock of these tests. */
static time_t later_s;

time_t time(time_t *ret)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    now.tv_sec += later_s;
    if (ret)
        *ret = now.tv_sec;
    return now.tv_sec;
}

static void what_has_expired_is_gone_by_itself(void **state)
{
    int64_t past = time(NULL);

    (void)state;
    start("{}", "");
    assert_int_equal(set("vm", UUID_A, POLICY_MIN_CPU, "50%"), 0);
    assert_int_equal(set_until(POLICIES_RUNTIME, POLICY_MIN_CPU, "60%", past + 20), 0);
    assert_int_equal(set_until(POLICIES_RUNTIME, POLICY_PATIENCE, "3s", past + 1000), 0);
    assert_int_equal(set_until(POLICIES_EXPIRING, POLICY_MAX_DOWNTIME, "2s", past + 20), 0);
    assert_int_equal(overrides(), 3);
    later_s = 20;
    expect("vm", UUID_A, POLICY_MIN_CPU, "50%", "override set by uid 0");
    expect("vm", UUID_A, POLICY_MAX_DOWNTIME, "none", "default");
    assert_int_equal(overrides(), 2);
    start("{}", "");
    assert_int_equal(overrides(), 1);
    later_s = 0;
}

static void preset_of_an_override_lies_below_its_fields_however_they_were_set(void **state)
{
    (void)state;
    start("{}", "");
    assert_int_equal(set("vm", UUID_A, POLICY_MIN_CPU, "50%"), 0);
    assert_int_equal(set("vm", UUID_A, POLICY_PRESET, "balanced"), 0);
    start("{}", "");
    expect("vm", UUID_A, POLICY_MIN_CPU, "50%", "override set by uid 0");
    expect("vm", UUID_A, POLICY_ALLOW_THROTTLE, "yes", "preset balanced, override set by uid 0");
    assert_int_equal(policies_unset(p, "vm", UUID_A, 1u << POLICY_PRESET), 0);
    expect("vm", UUID_A, POLICY_ALLOW_THROTTLE, "no", "default");
}

static void applying_is_all_or_nothing_and_a_rehearsal_changes_nothing(void **state)
{
    struct policies_change change[2] = {
        {.domain = {.name = "a", .uuid = UUID_A}},
        {.domain = {.name = "b", .uuid = UUID_B}},
    };

    (void)state;
    assert_int_equal(policy_layer_set(&change[1].layer, POLICY_MIN_CPU, "30%", NULL), 0);
    start("{}", "");
    assert_int_equal(set("a", UUID_A, POLICY_PATIENCE, "2s"), 0);
    for (int i = 0; i < 2; i++) {
        if (i == 0) {
            assert_int_equal(policies_apply(p, change, 2, "uid 0", true), 0);
        } else {
            block_store();
            assert_true(policies_apply(p, change, 2, "uid 0", false) < 0);
            assert_int_equal(rmdir(in_dir("overrides.json.tmp")), 0);
        }
        assert_int_equal(change[0].before.values.v[POLICY_PATIENCE], 2 * NS_PER_S);
        assert_int_equal(change[0].after.values.v[POLICY_PATIENCE], 0);
        assert_int_equal(change[1].after.values.v[POLICY_MIN_CPU], 300000);
        expect("a", UUID_A, POLICY_PATIENCE, "2s", "override set by uid 0");
        expect("b", UUID_B, POLICY_MIN_CPU, "20%", "default");
        assert_int_equal(overrides(), 1);
    }
    assert_int_equal(policies_apply(p, change, 2, "uid 7", false), 0);
    start("{}", "");
    assert_int_equal(overrides(), 1);
    expect("a", UUID_A, POLICY_PATIENCE, "0s", "default");
    expect("b", UUID_B, POLICY_MIN_CPU, "30%", "override set by uid 7");
}

static void tell(const char *uuid, const char *xml)
{
    policies_learn_metadata(p, uuid, 0, xml);
}

static void metadata_only_narrows_unless_it_is_trusted(void **state)
{
    const char *xml = "<policy min_cpu='40%' max_downtime='3s' allow_cancel='yes' deadline='1h'/>";

    (void)state;
    start("{\"policy\": {\"min_cpu\": \"10%\", \"max_downtime\": \"1s\"}}", "");
    tell(UUID_A, xml);
    expect("vm", UUID_A, POLICY_MIN_CPU, "40%", "domain metadata");
    expect("vm", UUID_A, POLICY_MAX_DOWNTIME, "1s", "FILE");
    expect("vm", UUID_A, POLICY_ALLOW_CANCEL, "no", "default");
    expect("vm", UUID_A, POLICY_DEADLINE, "none", "default");
    expect("vm", UUID_B, POLICY_MIN_CPU, "10%", "FILE");
    assert_int_equal(set("vm", UUID_A, POLICY_MIN_CPU, "20%"), 0);
    expect("vm", UUID_A, POLICY_MIN_CPU, "40%", "domain metadata");

    start("{\"trust_metadata\": true, \"policy\": {\"max_downtime\": \"1s\"}}", "");
    tell(UUID_A, xml);
    expect("vm", UUID_A, POLICY_MAX_DOWNTIME, "3s", "domain metadata");
    expect("vm", UUID_A, POLICY_ALLOW_CANCEL, "yes", "domain metadata");
    expect("vm", UUID_A, POLICY_DEADLINE, "1h", "domain metadata");
    expect("vm", UUID_A, POLICY_MIN_CPU, "20%", "override set by uid 0");
}

static void metadata_narrows_what_follows_from_other_layers_too(void **state)
{
    (void)state;
    start("{\"policy\": {\"allow_throttle\": true}}", "");
    tell(UUID_A, "<policy mode='observe'/>");
    expect("vm", UUID_A, POLICY_MODE, "observe", "domain metadata");
}

static void malformed_metadata_means_observe_even_if_metadata_is_trusted(void **state)
{
    static const char *const configs[] = {"{\"policy\": {\"allow_throttle\": true}}",
                                          "{\"policy\": {\"allow_throttle\": true},"
                                          " \"trust_metadata\": true}"};

    (void)state;
    start(configs[0], "");
    policies_learn_metadata(p, UUID_B, -EIO, NULL);
    expect("vm", UUID_B, POLICY_MODE, "observe", "malformed domain metadata");
    for (size_t i = 0; i < 2; i++) {
        start(configs[i], "");
        tell(UUID_A, "<policy allow_cancel='yes' min_cpu='x'/>");
        expect("vm", UUID_A, POLICY_MODE, "observe", "malformed domain metadata");
        expect("vm", UUID_A, POLICY_ALLOW_CANCEL, "no", "default");
        expect("vm", UUID_B, POLICY_MODE, "enforce", "default");
    }
}

static void rules_apply_by_label(void **state)
{
    (void)state;
    start("{\"rules\": [{\"label\": \"db\", \"policy\": {\"patience\": \"1s\"}},"
          "{\"label\": \"db\", \"name\": \"x*\", \"policy\": {\"patience\": \"2s\"}}]}",
          "");
    expect("x1", UUID_A, POLICY_PATIENCE, "0s", "default");
    tell(UUID_A, "<policy label='web db'/>");
    expect("x1", UUID_A, POLICY_PATIENCE, "2s", "FILE/rules/1, by name x*, label db");
    expect("vm", UUID_A, POLICY_PATIENCE, "1s", "FILE/rules/0, by label db");
    expect("x1", UUID_B, POLICY_PATIENCE, "0s", "default");
    tell(UUID_A, "<policy label='db' min_cpu='x'/>");
    expect("vm", UUID_A, POLICY_PATIENCE, "0s", "default");
}

/* As Nova writes it, with both of its namespaces; and what else a domain is known by. */
#define NOVA(version, name)                                                                        \
    "<domain type='kvm' id='7'>\n  <name>instance-0000002a</name>\n  <uuid>" UUID_A "</uuid>\n"    \
    "  <title>shop, front</title>\n  <metadata>\n"                                                 \
    "    <nova:instance xmlns:nova=\"http://openstack.org/xmlns/libvirt/nova/" version "\">\n"     \
    "      <nova:package version=\"26.2.2\"/>\n      <nova:name>" name "</nova:name>\n"            \
    "      <nova:creationTime>2026-11-26 09:15:27</nova:creationTime>\n"                           \
    "      <nova:flavor name=\"m1.large\">\n        <nova:memory>8192</nova:memory>\n"             \
    "        <nova:disk>80</nova:disk>\n        <nova:swap>0</nova:swap>\n"                        \
    "        <nova:ephemeral>0</nova:ephemeral>\n        <nova:vcpus>4</nova:vcpus>\n"             \
    "      </nova:flavor>\n      <nova:owner>\n"                                                   \
    "        <nova:user uuid=\"9d4a5e2c1b7f4c38a6d0e5f1b2c3d4e5\">clerk</nova:user>\n"             \
    "        <nova:project uuid=\"0f1e2d3c4b5a69788796a5b4c3d2e1f0\">shop</nova:project>\n"        \
    "      </nova:owner>\n      <nova:root type=\"image\" uuid=\"" UUID_B "\"/>\n"                 \
    "    </nova:instance>\n"                                                                       \
    "    <a:vm xmlns:a=\"urn:example:vm\"><a:tier>gold</a:tier></a:vm>\n"                          \
    "    <ovirt-vm:vm xmlns:ovirt-vm=\"http://ovirt.org/vm/1.0\">\n"                               \
    "      <ovirt-vm:clusterVersion>4.7</ovirt-vm:clusterVersion>\n"                               \
    "      <ovirt-vm:custom><ovirt-vm:tier>gold</ovirt-vm:tier></ovirt-vm:custom>\n"               \
    "    </ovirt-vm:vm>\n"                                                                         \
    "  </metadata>\n  <memory unit='KiB'>8388608</memory>\n"                                       \
    "  <currentMemory unit='KiB'>8388608</currentMemory>\n"                                        \
    "  <vcpu placement='static'>4</vcpu>\n</domain>\n"

static void describe(const char *uuid, const char *xml)
{
    struct description d;

    assert_int_equal(description_parse(xml, &d), 0);
    policies_set_description(p, uuid, &d);
}

/* Is the VM selected, and by what, as show tells? NULL: it is not. */
static void expect_selected(const char *selectors, const char *by)
{
    char config[512];
    char source[POLICY_SOURCE_MAX];

    snprintf(config, sizeof(config),
             "{\"namespaces\": {\"v\": \"urn:example:vm\"},"
             " \"rules\": [{%s, \"policy\": {\"min_cpu\": \"40%%\"}}]}",
             selectors);
    start(config, "");
    describe(UUID_A, NOVA("1.1", "web"));
    snprintf(source, sizeof(source), "FILE/rules/0, by %s", by ? by : "");
    expect("instance-0000002a", UUID_A, POLICY_MIN_CPU, by ? "40%" : "20%",
           by ? source : "default");
    expect("instance-0000002a", UUID_B, POLICY_MIN_CPU, "20%", "default");
}

static void rules_select_by_what_nova_ovirt_and_libvirt_write(void **state)
{
    (void)state;
    expect_selected("\"flavor\": \"m1.*\"", "flavor m1.*");
    expect_selected("\"flavor\": [\"c1.*\", \"m1.large\"]", "flavor m1.large");
    expect_selected("\"flavor\": \"m1\"", NULL);
    expect_selected("\"project\": \"shop\"", "project shop");
    expect_selected("\"project\": \"0F1E2D3C4B5A69788796A5B4C3D2E1F0\"",
                    "project 0F1E2D3C4B5A69788796A5B4C3D2E1F0");
    expect_selected("\"title\": \"shop*\", \"flavor\": \"m1.*\"", "title shop*, flavor m1.*");
    expect_selected("\"title\": \"shop*\", \"flavor\": \"c1.*\"", NULL);
    expect_selected("\"min_memory\": \"8GiB\", \"max_vcpus\": 4", "memory, vcpus");
    expect_selected("\"max_memory\": \"8GB\"", NULL);
    expect_selected("\"min_vcpus\": 5", NULL);
    expect_selected("\"trust_owner\": true, \"instance_name\": \"web\"", "instance_name web");
    expect_selected("\"trust_owner\": true, \"ovirt\": [\"custom/tier=s*\", \"custom/tier=g*\"]",
                    "ovirt custom/tier=g*");
    expect_selected("\"trust_owner\": true, \"ovirt\": \"tier=gold\"", NULL);
    expect_selected("\"trust_owner\": true, \"xpath\": \"v:vm[v:tier='gold']\"",
                    "xpath v:vm[v:tier='gold']");
    expect_selected("\"trust_owner\": true, \"xpath\": \"v:vm[v:tier='silver']\"", NULL);
}

static void both_namespaces_of_nova_are_read(void **state)
{
    (void)state;
    start("{\"rules\": [{\"flavor\": \"m1.large\", \"project\": \"shop\","
          " \"policy\": {\"patience\": \"1s\"}}]}",
          "");
    describe(UUID_A, NOVA("1.0", "web"));
    expect("x", UUID_A, POLICY_PATIENCE, "1s", "FILE/rules/0, by flavor m1.large, project shop");
    describe(UUID_A, NOVA("2.0", "web"));
    expect("x", UUID_A, POLICY_PATIENCE, "0s", "default");
}

static void a_project_cannot_promote_its_own_instance(void **state)
{
    static const char *const own[] = {"instance_name web", "ovirt custom/tier=gold",
                                      "xpath v:vm[v:tier='gold']"};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        const char *test = strchr(own[i], ' ') + 1;
        char source[POLICY_SOURCE_MAX];
        char config[512];

        snprintf(config, sizeof(config),
                 "{\"namespaces\": {\"v\": \"urn:example:vm\"}, \"rules\": ["
                 "{\"flavor\": \"m1.*\", \"policy\": {\"allow_suspend\": true}},"
                 "{\"%.*s\": \"%s\","
                 " \"policy\": {\"allow_cancel\": true, \"allow_suspend\": false}}]}",
                 (int)(test - own[i] - 1), own[i], test);
        snprintf(source, sizeof(source), "FILE/rules/1, by %s (its owner's to write)", own[i]);
        start(config, "");
        describe(UUID_A, NOVA("1.1", "web"));
        expect("x", UUID_A, POLICY_ALLOW_CANCEL, "no", "default");
        expect("x", UUID_A, POLICY_ALLOW_SUSPEND, "no", source);
    }
}

static void what_is_no_domain_or_too_large_is_refused(void **state)
{
    char *xml = malloc(200000);
    struct description d = {.vcpus = 7};

    (void)state;
    assert_int_equal(description_parse("<network/>", &d), -EINVAL);
    assert_int_equal(description_parse("<domain>", &d), -EINVAL);
    assert_int_equal(description_parse("<!DOCTYPE domain><domain/>", &d), -EINVAL);
    assert_non_null(xml);
    snprintf(xml, 200000, "<domain><metadata><a>%0100000d</a></metadata></domain>", 0);
    assert_int_equal(description_parse(xml, &d), -E2BIG);
    assert_int_equal(d.vcpus, 7);
    free(xml);
}

static void metadata_is_news_once_and_can_be_forgotten(void **state)
{
    struct metadata m;

    (void)state;
    start("{}", "");
    metadata_parse("<policy mode='nothing'/>", &m);
    policies_forget_domain(p, UUID_A);
    assert_true(policies_set_metadata(p, UUID_A, &m));
    assert_false(policies_set_metadata(p, UUID_A, &m));
    policies_get_metadata(p, "AAAAAAAA-1111-1111-1111-111111111111", &m);
    assert_true(strstr(m.error, "mode"));
    policies_forget_domain(p, UUID_A);
    policies_get_metadata(p, UUID_A, &m);
    assert_string_equal(m.error, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(rules_apply_by_glob_and_uuid_and_the_last_wins),
        TEST(resolved_policy_is_finished),
        TEST(override_wins_over_rules_and_names_who_set_it),
        TEST(overrides_add_up_and_survive_a_restart),
        TEST(unset_takes_fields_out_and_forgets_an_empty_override),
        TEST(unset_of_an_unknown_vm_changes_nothing),
        TEST(override_is_found_by_name),
        TEST(reload_replaces_the_rules_and_keeps_overrides),
        TEST(metadata_only_narrows_unless_it_is_trusted),
        TEST(metadata_narrows_what_follows_from_other_layers_too),
        TEST(malformed_metadata_means_observe_even_if_metadata_is_trusted),
        TEST(rules_apply_by_label),
        TEST(rules_select_by_what_nova_ovirt_and_libvirt_write),
        TEST(both_namespaces_of_nova_are_read),
        TEST(a_project_cannot_promote_its_own_instance),
        TEST(what_is_no_domain_or_too_large_is_refused),
        TEST(applying_is_all_or_nothing_and_a_rehearsal_changes_nothing),
        TEST(metadata_is_news_once_and_can_be_forgotten),
        TEST(runtime_lies_over_expiring_over_stored),
        TEST(what_has_expired_is_gone_by_itself),
        TEST(preset_of_an_override_lies_below_its_fields_however_they_were_set),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
