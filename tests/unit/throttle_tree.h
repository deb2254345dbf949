/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Temporary trees of /proc and cgroups with one domain in them, for tests of the throttle. Each
 * test runs once per layout: cgroup versions 1 and 2, names as libvirt makes them with and without
 * systemd, and a cgroup namespace. What fails here fails the test.
 */
#ifndef MIGPOLICY_THROTTLE_TREE_H
#define MIGPOLICY_THROTTLE_TREE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

#include <cmocka.h>

#include "cgroup-throttle/cpuquota.h"
#include "cgroup-throttle/throttle.h"

/* The domain. */
#define UUID       "6f1c9c1e-3a55-4b6e-9c0d-0123456789ab"
#define OTHER_UUID "6f1c9c1e-3a55-4b6e-9c0d-0123456789ac"
#define PID        5000000 /* more than any kernel gives out */
#define VCPUS      3
#define TID(n)     (PID + 10 + (n))

struct layout {
    const char *name;
    int version;
    const char *mount_root;
    const char *mount_dir; /* below the temporary tree */
    const char *mount_dir_escaped;
    const char *cgroup_lines; /* other controllers, before the one of cpu */
    const char *base;         /* parent group of the vCPU groups, below the mount root */
};

/* Of the test that runs. */
extern const struct layout *layout;
extern char *tree;
extern struct throttle_roots roots;

/* A row of the tests for run_on_layouts(), which is what main() does. */
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
int set_up(void **state);
int tear_down(void **state);
int run_on_layouts(const struct CMUnitTest *tests, size_t count);

/* Paths are allocated; each function that is given one frees it. */
__attribute__((format(printf, 1, 2))) char *in_tree(const char *format, ...);
char *vcpu_file(int vcpu, const char *file);

/* Writes a file, and the folders above it. Groups are paths below the mount. */
void put(char *path, const char *text);
void put_quota_in(const char *group, int64_t quota_us, int64_t period_us);
void put_quota(int vcpu, int64_t quota_us, int64_t period_us);
void put_thread(pid_t pid, pid_t tid, const char *comm, const char *group);
void put_vcpu_group(int vcpu, const char *threads);
void put_process(pid_t pid, const char *uuid, uint64_t start_time);
void put_domain(void);
void remove_tree(char *path);

/* The whole text of a file, to be freed. */
char *read_all(char *path);
bool exists(char *path);
bool journal_exists(void);
struct cpu_quota get_quota(int vcpu);
void assert_quota(int vcpu, int64_t quota_us, int64_t period_us);
void assert_all_quotas(int64_t quota_us, int64_t period_us);

/* The throttle of the domain; what opening it returns, where it must not write anything. */
struct throttle *open_domain(void);
int try_open(void);

/* The writes from the one to the other fail, counted from 1 and from now. */
void fail_writes(unsigned int from, unsigned int to, int error);

#endif
