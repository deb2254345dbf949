/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>
#include <unistd.h>

#include "agent/watch/crew.h"
#include "common/units.h"
#include "common/wakeup.h"

enum { TASKS = 40, PATIENCE_MS = 240000 };

/* A task that says what happens to it, and does as it is told. */
struct probe {
    struct crew_task task;
    int64_t period_ns;
    atomic_llong begun_ns;
    atomic_int waits_ms; /* how long a step sleeps */
    atomic_int steps;
    atomic_int last;    /* the step after which it is over; 0: none */
    atomic_int running; /* in how many threads, now */
    atomic_int by;      /* the thread */
    atomic_bool overlapped;
    atomic_bool hang; /* in the next step, for as long as this is so */
    atomic_bool hangs;
};

static struct probe probes[TASKS];

static void pause_ms(int64_t ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * NS_PER_MS}, NULL);
}

static int64_t step(void *opaque)
{
    struct probe *p = opaque;
    int64_t now = monotonic_ns();

    if (atomic_fetch_add(&p->running, 1) > 0)
        p->overlapped = true;
    p->begun_ns = now;
    p->by = gettid();
    while (p->hang) {
        p->hangs = true;
        pause_ms(1);
    }
    p->hangs = false;
    if (p->waits_ms > 0)
        pause_ms(p->waits_ms);
    p->steps++;
    atomic_fetch_sub(&p->running, 1);
    return p->steps == p->last ? CREW_DONE : now + p->period_ns;
}

static void wait_steps(const struct probe *p, int steps)
{
    for (int ms = 0; p->steps < steps; ms++) {
        assert_true(ms < PATIENCE_MS);
        pause_ms(1);
    }
}

static void wait_hang(const struct probe *p)
{
    for (int ms = 0; !p->hangs; ms++) {
        assert_true(ms < PATIENCE_MS);
        pause_ms(1);
    }
}

static int join_within(struct probe *p, int64_t ms)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += ms % 1000 * NS_PER_MS;
    until.tv_sec += until.tv_nsec / NS_PER_S;
    until.tv_nsec %= NS_PER_S;
    return crew_join(&p->task, &until);
}

static size_t threads(void)
{
    DIR *dir = opendir("/proc/self/task");
    size_t n = 0;

    assert_non_null(dir);
    for (const struct dirent *e; (e = readdir(dir));)
        n += e->d_name[0] != '.';
    closedir(dir);
    return n;
}

static size_t threads_at_start;

/* Those of the test before may not quite have gone: a thread that was joined is still seen for a
 * while. */
static size_t threads_at_rest(void)
{
    for (int ms = 0; threads() > threads_at_start; ms++) {
        assert_true(ms < PATIENCE_MS);
        pause_ms(1);
    }
    return threads_at_start;
}

/* Ends the tasks and the crew. */
static void end(struct crew *crew, size_t tasks)
{
    for (size_t i = 0; i < tasks; i++) {
        probes[i].hang = false;
        probes[i].last = probes[i].steps + 1;
        while (join_within(&probes[i], 20) < 0) {
            probes[i].last = probes[i].steps + 1;
            crew_wake(&probes[i].task);
        }
        assert_false(probes[i].overlapped);
    }
    crew_free(crew);
}

static struct crew *begin(size_t tasks, int64_t period_ns)
{
    struct crew *crew;

    assert_int_equal(crew_new("crew", &crew), 0);
    for (size_t i = 0; i < tasks; i++) {
        probes[i] = (struct probe){.period_ns = period_ns};
        assert_int_equal(crew_add(crew, &probes[i].task, step, &probes[i]), 0);
    }
    return crew;
}

static void a_task_is_called_at_once_and_then_when_it_asks_to_be(void **state)
{
    struct crew *crew = begin(1, 50 * NS_PER_MS);
    int64_t first;

    (void)state;
    wait_steps(&probes[0], 1);
    first = probes[0].begun_ns;
    wait_steps(&probes[0], 2);
    assert_true(probes[0].begun_ns >= first + 50 * NS_PER_MS);
    end(crew, 1);
}

static void a_task_that_is_woken_need_not_wait_until_it_is_due(void **state)
{
    struct crew *crew = begin(3, 3600 * NS_PER_S);

    (void)state;
    for (int i = 1; i <= 20; i++) {
        wait_steps(&probes[1], i);
        pause_ms(5); /* let all fall asleep */
        crew_wake(&probes[1].task);
        wait_steps(&probes[1], i + 1);
    }
    assert_int_equal(probes[0].steps, 1);
    assert_int_equal(probes[2].steps, 1);
    end(crew, 3);
}

static void a_wake_while_it_runs_makes_one_more_step_and_only_one(void **state)
{
    struct crew *crew = begin(1, 3600 * NS_PER_S);

    (void)state;
    wait_steps(&probes[0], 1);
    probes[0].hang = true;
    crew_wake(&probes[0].task);
    wait_hang(&probes[0]);
    for (int i = 0; i < 5; i++)
        crew_wake(&probes[0].task);
    probes[0].hang = false;
    wait_steps(&probes[0], 3);
    pause_ms(50);
    assert_int_equal(probes[0].steps, 3);
    end(crew, 1);
}

static void a_task_that_hangs_holds_up_no_other(void **state)
{
    struct crew *crew = begin(TASKS, 20 * NS_PER_MS);
    int so_far[TASKS];

    (void)state;
    for (size_t i = 0; i < TASKS; i++)
        wait_steps(&probes[i], 1);
    for (size_t i = 0; i < TASKS / 2; i++)
        probes[i].hang = true;
    for (size_t i = 0; i < TASKS / 2; i++)
        wait_hang(&probes[i]);
    for (size_t i = TASKS / 2; i < TASKS; i++)
        so_far[i] = probes[i].steps;
    for (size_t i = TASKS / 2; i < TASKS; i++)
        wait_steps(&probes[i], so_far[i] + 10);
    assert_true(probes[0].hangs);
    end(crew, TASKS);
}

/* All workers but one hang, the leader among them, and the last sleeps until far in the future. */
static void a_wake_is_heard_while_the_leader_hangs(void **state)
{
    struct crew *crew = begin(3, 3600 * NS_PER_S);

    (void)state;
    for (size_t i = 0; i < 3; i++)
        wait_steps(&probes[i], 1);
    pause_ms(20);
    for (size_t i = 0; i < 2; i++) {
        probes[i].hang = true;
        crew_wake(&probes[i].task);
        wait_hang(&probes[i]);
        pause_ms(20);
    }
    crew_wake(&probes[2].task);
    wait_steps(&probes[2], 2);
    end(crew, 3);
}

/* The leader was only told of both together. */
static void of_two_that_are_woken_together_the_one_that_hangs_does_not_stop_the_other(void **state)
{
    struct crew *crew = begin(2, 3600 * NS_PER_S);

    (void)state;
    wait_steps(&probes[0], 1);
    wait_steps(&probes[1], 1);
    pause_ms(20);
    probes[0].hang = true;
    crew_wake(&probes[0].task);
    crew_wake(&probes[1].task);
    wait_steps(&probes[1], 2);
    end(crew, 2);
}

static void no_task_runs_in_two_threads(void **state)
{
    struct crew *crew = begin(TASKS, 0);

    (void)state;
    for (int i = 0; i < 20000; i++)
        crew_wake(&probes[i % 4].task);
    for (size_t i = 0; i < TASKS; i++)
        wait_steps(&probes[i], 100);
    end(crew, TASKS); /* looks whether any did */
}

static void where_steps_wait_more_than_one_worker_takes_part(void **state)
{
    struct crew *crew = begin(TASKS, 200 * NS_PER_MS);
    bool others = false;

    (void)state;
    for (size_t i = 0; i < TASKS; i++)
        probes[i].waits_ms = 20;
    for (size_t i = 0; i < TASKS; i++)
        wait_steps(&probes[i], 8);
    for (size_t i = 1; i < TASKS; i++)
        others |= probes[i].by != probes[0].by;
    assert_true(others);
    end(crew, TASKS);
}

static void each_that_hangs_costs_one_thread(void **state)
{
    size_t before = threads_at_rest();
    struct crew *crew = begin(TASKS, 10 * NS_PER_MS);

    (void)state;
    for (size_t i = 0; i < TASKS; i++)
        probes[i].hang = true;
    for (size_t i = 0; i < TASKS; i++)
        wait_hang(&probes[i]);
    pause_ms(50);
    assert_true(threads() <= before + TASKS + 2);
    end(crew, TASKS);
}

/* The clock is made to run fast: 10 s are soon over. To be the last test. */
static void workers_that_are_not_needed_end(void **state)
{
    size_t before = threads_at_rest();
    struct crew *crew;

    (void)state;
    monotonic_set_speed(20);
    crew = begin(TASKS, 10 * NS_PER_S);
    for (size_t i = 0; i < TASKS; i++)
        probes[i].hang = true;
    for (size_t i = 0; i < TASKS; i++)
        crew_wake(&probes[i].task);
    for (size_t i = 0; i < TASKS; i++)
        wait_hang(&probes[i]);
    assert_true(threads() >= before + TASKS);
    for (size_t i = 0; i < TASKS; i++)
        probes[i].hang = false;
    for (int ms = 0; threads() > before + 4; ms++) {
        assert_true(ms < PATIENCE_MS);
        pause_ms(1);
    }
    wait_steps(&probes[0], probes[0].steps + 1);
    end(crew, TASKS);
}

static void a_task_that_is_over_is_joined_and_one_that_hangs_is_not(void **state)
{
    struct crew *crew = begin(2, 3600 * NS_PER_S);

    (void)state;
    wait_steps(&probes[0], 1);
    probes[0].last = 2;
    probes[1].hang = true;
    crew_wake(&probes[0].task);
    crew_wake(&probes[1].task);
    assert_int_equal(join_within(&probes[0], PATIENCE_MS), 0);
    wait_hang(&probes[1]);
    assert_int_equal(join_within(&probes[1], 20), -ETIMEDOUT);
    crew_wake(&probes[0].task); /* and nothing happens */
    assert_int_equal(probes[0].steps, 2);
    probes[1].last = probes[1].steps + 1;
    probes[1].hang = false;
    assert_int_equal(join_within(&probes[1], PATIENCE_MS), 0);
    crew_free(crew);
}

static void nothing_is_freed_well(void **state)
{
    (void)state;
    crew_free(NULL);
    crew_free(begin(0, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_task_is_called_at_once_and_then_when_it_asks_to_be),
        cmocka_unit_test(a_task_that_is_woken_need_not_wait_until_it_is_due),
        cmocka_unit_test(a_wake_while_it_runs_makes_one_more_step_and_only_one),
        cmocka_unit_test(a_task_that_hangs_holds_up_no_other),
        cmocka_unit_test(a_wake_is_heard_while_the_leader_hangs),
        cmocka_unit_test(of_two_that_are_woken_together_the_one_that_hangs_does_not_stop_the_other),
        cmocka_unit_test(no_task_runs_in_two_threads),
        cmocka_unit_test(where_steps_wait_more_than_one_worker_takes_part),
        cmocka_unit_test(each_that_hangs_costs_one_thread),
        cmocka_unit_test(a_task_that_is_over_is_joined_and_one_that_hangs_is_not),
        cmocka_unit_test(nothing_is_freed_well),
        cmocka_unit_test(workers_that_are_not_needed_end),
    };

    threads_at_start = threads();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
