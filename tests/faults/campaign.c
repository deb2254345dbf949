/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * campaign [--every N] [--document] | --guest RUN_DIR | --found UUID: breaks the throttle at each
 * of its system calls, on the kernel's own cgroups. Needs root; exits with 77 where it may make no
 * cgroups. The others make a guest for other tests, one that a dead agent has left slow with its
 * journal in RUN_DIR, or one that nobody has touched.
 *
 * An agent sets a quota, tightens it, restores, or restores at its start what another has left. A
 * tracer lets it run up to one of the system calls of that, and there
 *
 *     kills it, as SIGKILL does between two calls; another agent starts, or
 *     has that call fail, once or for as long as the agent is at it, with each errno that is
 *     plausible for it; then the cause is gone, and the same agent restores.
 *
 * After each round: as long as a quota was not as found its journal was there; at the end all
 * quotas are exactly as found, and nothing is left in the directory of the journals. One round in
 * which that is not so is a failure, and told with what it takes to repeat it.
 */
#include "cgroup-throttle/throttle.h"
#include "common/alloc.h"
#include "common/cleanup.h"
#include "tests/faults/guest.h"

#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#define UUID "6f1c9c1e-3a55-4b6e-9c0d-0123456789ad"

enum { CALLS_MAX = 4096, SKIPPED = 77 };
/* No system call has this number: the agent is through with what is to be broken. */
enum { THROUGH = 100001 };

static char run_dir[256], undo_dir[264];

/* ---- the journals ---- */

static void remove_all(void)
{
    guest_remove();
    rmdir(undo_dir);
    rmdir(run_dir);
}

static bool journal_exists(void)
{
    AUTO_FREE char *name = NULL;

    alloc_need_length(asprintf(&name, "%s/" UUID ".json", undo_dir));
    return access(name, F_OK) == 0;
}

static size_t count_files(void)
{
    DIR *dir = opendir(undo_dir);
    size_t n = 0;

    for (struct dirent *e; dir && (e = readdir(dir));)
        n += e->d_name[0] != '.' || strlen(e->d_name) > 2;
    if (dir)
        closedir(dir);
    return n;
}

/* ---- the agent ---- */

enum phase { SET, TIGHTEN, RESTORE, START, PHASES };
static const char *const phase_names[PHASES] = {"set", "tighten", "restore",
                                                "restore at the start"};

static struct throttle_roots roots(void)
{
    return (struct throttle_roots){.proc = "/proc", .run_dir = run_dir};
}

/* Up to what is to be broken, which begins when the tracer lets it go on after a stop. */
static struct throttle *prepare(enum phase phase)
{
    struct throttle_roots where = roots();
    struct throttle *t = NULL;

    if (phase != START &&
        (throttle_open(&where, UUID, "campaign", guest_pid(), &t) < 0 ||
         (phase != SET && throttle_set(t, phase == TIGHTEN ? 0.5 : 0.2, 10000) < 0)))
        _exit(2);
    return t;
}

static int do_phase(enum phase phase, struct throttle *t)
{
    struct throttle_roots where = roots();

    switch (phase) {
    case SET:
    case TIGHTEN:
        return throttle_set(t, 0.2, 10000);
    case RESTORE:
        return throttle_restore(t, true, NULL);
    default:
        return throttle_restore_all(&where, NULL, NULL);
    }
}

/* As the daemon: what it has open, and then by the journal. */
static int restore(struct throttle *t)
{
    struct throttle_roots where = roots();
    int r = t ? throttle_restore(t, true, NULL) : 0;

    throttle_free(t);
    return r < 0 ? r : throttle_restore_all(&where, NULL, NULL);
}

static void be_agent(enum phase phase)
{
    struct throttle *t = prepare(phase);

    ptrace(PTRACE_TRACEME, 0, 0, 0);
    raise(SIGSTOP);
    do_phase(phase, t);
    syscall(THROUGH);
    _exit(restore(t) < 0 ? 3 : 0);
}

/* One that starts, or one that dies right after having throttled. */
static int in_another(int (*what)(void))
{
    pid_t pid = fork();
    int status;

    if (pid == 0)
        _exit(what() < 0 ? 1 : 0);
    return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int start_another(void)
{
    return restore(NULL);
}

static int throttle_and_die(void)
{
    return prepare(RESTORE) ? 0 : -1;
}

/* ---- what breaks ---- */

struct fault {
    enum { NONE, KILL, ONCE, FOR_GOOD } kind;
    int at; /* which of its system calls, from 0 */
    int error;
};

#define ERRORS_MAX 6
/* What can be met with where all is well otherwise; that something is not there means that. */
static const struct {
    long call;
    const char *name;
    int error[ERRORS_MAX];
} plausible[] = {
    {SYS_openat, "openat", {EMFILE, ENFILE, EACCES, EROFS, EIO, ENOSPC}},
    {SYS_open, "open", {EMFILE, ENFILE, EACCES, EROFS, EIO, ENOSPC}},
    {SYS_read, "read", {EIO, EINTR, EACCES}},
    {SYS_pread64, "pread64", {EIO, EINTR}},
    {SYS_write, "write", {EIO, ENOSPC, EINTR, EINVAL, EACCES, EBUSY}},
    {SYS_fsync, "fsync", {EIO, ENOSPC}},
    {SYS_fdatasync, "fdatasync", {EIO, ENOSPC}},
    {SYS_renameat, "renameat", {EIO, ENOSPC, EROFS, EACCES}},
    {SYS_renameat2, "renameat2", {EIO, ENOSPC, EROFS, EACCES}},
    {SYS_rename, "rename", {EIO, ENOSPC, EROFS, EACCES}},
    {SYS_unlinkat, "unlinkat", {EIO, EROFS, EACCES}},
    {SYS_mkdirat, "mkdirat", {EIO, ENOSPC, EROFS, EACCES}},
    {SYS_fchmod, "fchmod", {EIO, EROFS, EPERM}},
    {SYS_ftruncate, "ftruncate", {EIO, ENOSPC}},
    {SYS_fstat, "fstat", {EIO, ENOMEM}},
    {SYS_newfstatat, "newfstatat", {EIO, EACCES, ENOMEM}},
    {SYS_faccessat, "faccessat", {EIO, EACCES}},
    {SYS_faccessat2, "faccessat2", {EIO, EACCES}},
    {SYS_getdents64, "getdents64", {EIO, ENOMEM}},
    {SYS_fcntl, "fcntl", {EMFILE, ENOMEM}},
    {SYS_close, "close", {EIO, EINTR}},
    {SYS_mmap, "mmap", {ENOMEM}},
    {SYS_brk, "brk", {ENOMEM}},
};

static const int *errors_of(long call)
{
    for (size_t i = 0; i < sizeof(plausible) / sizeof(plausible[0]); i++)
        if (plausible[i].call == call)
            return plausible[i].error;
    return NULL;
}

static const char *name_of(long call)
{
    for (size_t i = 0; i < sizeof(plausible) / sizeof(plausible[0]); i++)
        if (plausible[i].call == call)
            return plausible[i].name;
    return "another call";
}

static bool next_stop(pid_t pid, int *status)
{
    return ptrace(PTRACE_SYSCALL, pid, 0, 0) == 0 && waitpid(pid, status, 0) == pid &&
           WIFSTOPPED(*status);
}

/* Does nothing instead, and returns -error. */
static bool fail_call(pid_t pid, struct user_regs_struct *regs, int error, int *status)
{
    regs->orig_rax = (unsigned long long)-1;
    if (ptrace(PTRACE_SETREGS, pid, 0, regs) < 0 || !next_stop(pid, status) ||
        ptrace(PTRACE_GETREGS, pid, 0, regs) < 0)
        return false;
    regs->rax = (unsigned long long)-error;
    return ptrace(PTRACE_SETREGS, pid, 0, regs) == 0;
}

/*
 * From the stop to the end of the agent. Notes the calls if `calls` is not NULL. Returns how many
 * there were, up to the fault if it was passed.
 */
static int trace(pid_t pid, const struct fault *fault, long *calls, int *status)
{
    struct user_regs_struct regs;
    long broken = -1;
    int n = 0;

    for (; n < CALLS_MAX && next_stop(pid, status); n++) {
        if (ptrace(PTRACE_GETREGS, pid, 0, &regs) < 0)
            break;
        if ((long)regs.orig_rax == THROUGH)
            break;
        if (calls)
            calls[n] = (long)regs.orig_rax;
        if (fault->kind == KILL && n == fault->at) {
            kill(pid, SIGKILL);
            waitpid(pid, status, 0);
            return n;
        }
        if (fault->kind != NONE && n == fault->at)
            broken = (long)regs.orig_rax;
        if ((long)regs.orig_rax == broken && (fault->kind == FOR_GOOD || n == fault->at)) {
            if (!fail_call(pid, &regs, fault->error, status))
                break;
            if (fault->kind == ONCE)
                break;
        } else if (!next_stop(pid, status)) {
            break;
        }
    }
    if (!WIFSTOPPED(*status))
        return n; /* it has ended */
    ptrace(PTRACE_DETACH, pid, 0, 0);
    waitpid(pid, status, 0);
    return n;
}

/* ---- rounds ---- */

struct tally {
    int calls;
    int killed, once, for_good;
    int ended; /* it ended itself, for want of memory */
    int slow, stale, unguarded, failed;
};

static void tell(enum phase phase, const struct fault *f, long call, const char *what)
{
    printf("# %s, call %d (%s), %s%s: %s\n", phase_names[phase], f->at, name_of(call),
           f->kind == KILL ? "killed" : strerror(f->error), f->kind == FOR_GOOD ? " for good" : "",
           what);
}

static void run_round(enum phase phase, const struct fault *fault, long call, struct tally *tally,
                      long *calls)
{
    int status = 0;
    bool dies;
    pid_t pid;

    if (phase == START && in_another(throttle_and_die) != 0)
        give_up("the guest cannot be throttled");
    fflush(NULL);
    pid = fork();
    if (pid == 0)
        be_agent(phase);
    if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
        give_up("%s: the agent does not come to what is to be broken", phase_names[phase]);
    ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD);
    tally->calls = trace(pid, fault, calls, &status);
    dies = WIFSIGNALED(status);
    if (!guest_is_as_found() && !journal_exists()) {
        tally->unguarded++;
        tell(phase, fault, call, "a quota is not as found, and there is no journal");
    }
    if (dies && fault->kind != KILL)
        tally->ended++;
    if (!dies && WEXITSTATUS(status) != 0) {
        tally->failed++;
        tell(phase, fault, call, "not restored although the cause was gone");
    }
    if (dies && in_another(start_another) != 0) {
        tally->failed++;
        tell(phase, fault, call, "the next agent cannot restore");
    }
    if (!guest_is_as_found()) {
        tally->slow++;
        tell(phase, fault, call, "the guest is not as found");
        guest_put_as_found();
    }
    if (count_files() > 0) {
        tally->stale++;
        tell(phase, fault, call, "something is left among the journals");
    }
}

static void run_phase(enum phase phase, int every, struct tally *tally)
{
    static long calls[CALLS_MAX];
    struct fault fault = {.kind = NONE};
    int n, turn = 0;

    run_round(phase, &fault, -1, tally, calls);
    n = tally->calls;
    for (fault.at = 0; fault.at < n; fault.at++) {
        const int *error = errors_of(calls[fault.at]);

        if (turn++ % every == 0) {
            fault.kind = KILL;
            run_round(phase, &fault, calls[fault.at], tally, NULL);
            tally->killed++;
        }
        for (int i = 0; error && i < ERRORS_MAX && error[i]; i++) {
            fault.error = error[i];
            fault.kind = ONCE;
            if (turn++ % every == 0) {
                run_round(phase, &fault, calls[fault.at], tally, NULL);
                tally->once++;
            }
            fault.kind = FOR_GOOD;
            if (error[i] != EINTR && turn++ % every == 0) {
                run_round(phase, &fault, calls[fault.at], tally, NULL);
                tally->for_good++;
            }
        }
    }
    tally->calls = n;
}

static void print_document(const struct tally tally[], int every, bool bad)
{
    struct tally sum = {0};
    struct utsname host;

    uname(&host);
    printf("On cgroup version %d of Linux %s", guest_mount()->version, host.release);
    if (every > 1)
        printf(", one round in %d", every);
    printf(":\n\n| the agent does | system calls | killed | failed once | failed for good |\n"
           "|---|---|---|---|---|\n");
    for (int i = 0; i < PHASES; i++) {
        printf("| %s | %d | %d | %d | %d |\n", phase_names[i], tally[i].calls, tally[i].killed,
               tally[i].once, tally[i].for_good);
        sum.calls += tally[i].calls;
        sum.killed += tally[i].killed;
        sum.once += tally[i].once;
        sum.for_good += tally[i].for_good;
        sum.ended += tally[i].ended;
        sum.slow += tally[i].slow;
        sum.stale += tally[i].stale;
        sum.unguarded += tally[i].unguarded;
        sum.failed += tally[i].failed;
    }
    printf("| all | %d | %d | %d | %d |\n\n", sum.calls, sum.killed, sum.once, sum.for_good);
    printf("| what came of it | rounds |\n|---|---|\n"
           "| quotas not as they were found at the end | %d |\n"
           "| a quota in force without a journal of it, at any end of an agent | %d |\n"
           "| not restored although the cause was gone | %d |\n"
           "| something left among the journals | %d |\n"
           "| the agent ended itself for want of memory, and the next one restored | %d |\n",
           sum.slow, sum.unguarded, sum.failed, sum.stale, sum.ended);
    if (bad)
        fputs("\nNot all is well.\n", stdout);
}

/* Each line on standard input asks how it is; a "k" kills it, as QEMU dies, and libvirt tidies up.
 */
static int show_guest(void)
{
    puts(guest_mount()->point);
    for (int c; fflush(stdout), (c = getchar()) != EOF;) {
        if (c == 'k')
            guest_remove();
        else if (c == '\n')
            puts(guest_pid() == 0 ? "gone" : guest_is_as_found() ? "as found" : "slow");
    }
    return EXIT_SUCCESS;
}

static int run_all(int every, bool document)
{
    struct tally tally[PHASES] = {0};
    bool bad = false;

    for (enum phase phase = 0; phase < PHASES; phase++) {
        run_phase(phase, every, &tally[phase]);
        bad |= tally[phase].slow || tally[phase].stale || tally[phase].unguarded ||
               tally[phase].failed;
    }
    if (document)
        print_document(tally, every, bad);
    else
        for (int i = 0; i < PHASES; i++)
            printf("%s: %d calls, %d killed, %d failed once, %d for good, %d wrong\n",
                   phase_names[i], tally[i].calls, tally[i].killed, tally[i].once,
                   tally[i].for_good,
                   tally[i].slow + tally[i].stale + tally[i].unguarded + tally[i].failed);
    return bad ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {{"every", required_argument, NULL, 'e'},
                                          {"document", no_argument, NULL, 'd'},
                                          {"guest", required_argument, NULL, 'g'},
                                          {"found", required_argument, NULL, 'f'},
                                          {0}};
    const char *there = NULL, *uuid = NULL;
    bool document = false;
    int every = 1, o;

    if (argc == 3 && strcmp(argv[1], "-uuid") == 0)
        return guest_be();
    while ((o = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (o == 'e' && atoi(optarg) > 0)
            every = atoi(optarg);
        else if (o == 'd')
            document = true;
        else if (o == 'g')
            there = optarg;
        else if (o == 'f')
            uuid = optarg;
        else
            return 2;
    }
    snprintf(run_dir, sizeof(run_dir), "%s", there ? there : P_tmpdir "/campaign-XXXXXX");
    if (!there && !uuid && !mkdtemp(run_dir))
        give_up("%s: %s", run_dir, strerror(errno));
    snprintf(undo_dir, sizeof(undo_dir), "%s/undo", run_dir);
    atexit(remove_all);
    if (!guest_place(uuid ? uuid : UUID))
        return SKIPPED;
    if (there && in_another(throttle_and_die) != 0)
        give_up("the guest cannot be throttled");
    return there || uuid ? show_guest() : run_all(every, document);
}
