/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Out of memory: the process says so and ends, for memory of our own and for JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/alloc.h"
#include "common/json.h"

enum { TEXT_BYTES = 64 << 20 };

static void need_nothing(void)
{
    alloc_need(NULL);
}

static void need_length(void)
{
    alloc_need_length(-1);
}

/* No address space is left but what is there, and json-c has to copy the text. */
static void need_json(void)
{
    const struct rlimit none = {0};
    char *text = mmap(NULL, TEXT_BYTES, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    setrlimit(RLIMIT_AS, &none);
    json_object_new_string_len(text, TEXT_BYTES);
}

/* Runs fn in a child; what it said, and how it ended. */
static int run(void (*fn)(void), char *said, size_t size)
{
    int fds[2];
    int status;
    ssize_t n;
    pid_t pid;

    assert_int_equal(pipe(fds), 0);
    pid = fork();
    if (pid == 0) {
        dup2(fds[1], 2);
        fn();
        _exit(0);
    }
    close(fds[1]);
    n = read(fds[0], said, size - 1);
    said[n > 0 ? n : 0] = '\0';
    close(fds[0]);
    waitpid(pid, &status, 0);
    return status;
}

static void assert_ends(void (*fn)(void))
{
    char said[200];
    int status = run(fn, said, sizeof(said));

    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    assert_non_null(strstr(said, "out of memory\n"));
}

static void what_is_there_is_handed_on(void **state)
{
    int thing;

    (void)state;
    assert_ptr_equal(alloc_need(&thing), &thing);
    assert_int_equal(alloc_need_length(0), 0);
}

static void without_memory_the_process_says_so_and_ends(void **state)
{
    (void)state;
    assert_ends(need_nothing);
    assert_ends(need_length);
}

static void json_without_memory_is_no_null_but_the_end(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); /* they have an end of their own for it */
#endif
    assert_ends(need_json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_there_is_handed_on),
        cmocka_unit_test(without_memory_the_process_says_so_and_ends),
        cmocka_unit_test(json_without_memory_is_no_null_but_the_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
