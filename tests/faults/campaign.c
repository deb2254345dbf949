/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * campaign [--every N] [--document] | --guest RUN_DIR: breaks the throttle at each of its system
 * calls, on the kernel's own cgroups. Needs root; exits with 77 where it may make no cgroups.
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
#include "cgroup-throttle/cpuquota.h"
#include "cgroup-throttle/throttle.h"
#include "common/alloc.h"
#include "common/cleanup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#define UUID  "6f1c9c1e-3a55-4b6e-9c0d-0123456789ad"
#define SCOPE "/machine-qemu\\x2d1\\x2dcampaign.scope"

enum { VCPUS = 2, CALLS_MAX = 4096, SKIPPED = 77 };
/* No system call has this number: the agent is through with what is to be broken. */
enum { THROUGH = 100001 };

/* As found; the second has a limit of its user's. */
static const struct cpu_quota found[VCPUS] = {{-1, 100000}, {50000, 100000}};

static struct cpu_mount cpu;
static char slice[64], run_dir[256], undo_dir[264];
static pid_t guest;

__attribute__((format(printf, 1, 2), noreturn)) static void give_up(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(EXIT_FAILURE);
}

/* ---- a guest: a process with threads that are called as QEMU's, in groups as libvirt's ---- */

static void *be_vcpu(void *arg)
{
    char name[16];
    pid_t tid = gettid();

    snprintf(name, sizeof(name), "CPU %d/TCG", (int)(intptr_t)arg);
    prctl(PR_SET_NAME, name);
    if (write(STDOUT_FILENO, &tid, sizeof(tid)) == sizeof(tid))
        for (;;)
            pause();
    return NULL;
}

static int be_guest(void)
{
    pthread_t thread[VCPUS];

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (intptr_t i = 0; i < VCPUS; i++)
        if (pthread_create(&thread[i], NULL, be_vcpu, (void *)i) != 0)
            return EXIT_FAILURE;
    pause();
    return EXIT_SUCCESS;
}

/* The ids of its threads come in any order; their names tell which is which. */
static void start_guest(pid_t tid[VCPUS])
{
    int fd[2];

    if (pipe(fd) < 0 || (guest = fork()) < 0)
        give_up("no guest: %s", strerror(errno));
    if (guest == 0) {
        dup2(fd[1], STDOUT_FILENO);
        execl("/proc/self/exe", "qemu-campaign", "-uuid", UUID, (char *)NULL);
        _exit(127);
    }
    close(fd[1]);
    for (int i = 0; i < VCPUS; i++) {
        AUTO_FREE char *file = NULL;
        char name[32] = "";
        int number = -1;
        pid_t one;

        if (read(fd[0], &one, sizeof(one)) != sizeof(one))
            give_up("no guest");
        alloc_need_length(asprintf(&file, "/proc/%d/task/%d/comm", (int)guest, (int)one));
        AUTO_FCLOSE FILE *f = fopen(file, "re");
        if (!f || !fgets(name, sizeof(name), f) || sscanf(name, "CPU %d/", &number) != 1)
            give_up("no vCPU");
        tid[number] = one;
    }
    close(fd[0]);
}

static char *group_file(const char *group, const char *file)
{
    char *name;

    alloc_need_length(asprintf(&name, "%s%s%s/%s", cpu.point, slice, group, file));
    return name;
}

static int put(const char *group, const char *file, const char *text)
{
    AUTO_FREE char *name = group_file(group, file);
    AUTO_CLOSE int fd = open(name, O_WRONLY | O_CLOEXEC);

    return fd < 0 || write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

static int make_group(const char *group)
{
    AUTO_FREE char *name = group_file(group, "");

    return mkdir(name, 0755) < 0 ? -errno : 0;
}

static void vcpu_group(int i, char name[static 128])
{
    snprintf(name, 128, SCOPE "/libvirt/vcpu%d", i);
}

static int place_vcpu(int i, pid_t tid)
{
    char group[128], text[16];
    int r;

    vcpu_group(i, group);
    snprintf(text, sizeof(text), "%d", (int)tid);
    r = make_group(group);
    if (r == 0 && cpu.version == 1)
        return put(group, "tasks", text);
    if (r == 0)
        r = put(group, "cgroup.type", "threaded");
    if (r == 0 && i == 0) {
        r = put("", "cgroup.subtree_control", "+cpu");
        if (r == 0)
            r = put(SCOPE, "cgroup.subtree_control", "+cpu");
        if (r == 0)
            r = put(SCOPE "/libvirt", "cgroup.subtree_control", "+cpu");
    }
    return r < 0 ? r : put(group, "cgroup.threads", text);
}

static bool place_guest(void)
{
    pid_t tid[VCPUS] = {0};
    char pid[16];
    int r = 0;

    if (cpu_mount_find("/proc", 1, "/x", &cpu) < 0 && cpu_mount_find("/proc", 2, "/x", &cpu) < 0)
        return false;
    snprintf(slice, sizeof(slice), "/migpolicy-campaign%d.slice", (int)getpid());
    if (make_group("") < 0 || make_group(SCOPE) < 0 || make_group(SCOPE "/libvirt") < 0)
        return false;
    start_guest(tid);
    snprintf(pid, sizeof(pid), "%d", (int)guest);
    r = put(SCOPE "/libvirt", "cgroup.procs", pid);
    for (int i = 0; r == 0 && i < VCPUS; i++)
        r = place_vcpu(i, tid[i]);
    return r == 0;
}

static void remove_group(const char *group)
{
    AUTO_FREE char *name = group_file(group, "");

    for (int i = 0; i < 1000 && rmdir(name) < 0 && errno == EBUSY; i++)
        usleep(10000);
}

static void remove_all(void)
{
    char group[128];

    if (guest > 0) {
        kill(guest, SIGKILL);
        waitpid(guest, NULL, 0);
    }
    for (int i = 0; cpu.point && i < VCPUS; i++) {
        vcpu_group(i, group);
        remove_group(group);
    }
    if (cpu.point) {
        remove_group(SCOPE "/libvirt");
        remove_group(SCOPE);
        remove_group("");
    }
    rmdir(undo_dir);
    rmdir(run_dir);
    cpu_mount_clear(&cpu);
}

static bool as_found(void)
{
    for (int i = 0; i < VCPUS; i++) {
        AUTO_FREE char *path = NULL;
        struct cpu_quota now;
        char group[128];

        vcpu_group(i, group);
        alloc_need_length(asprintf(&path, "%s%s", slice, group));
        if (cpu_quota_read(&cpu, path, &now) < 0 || !cpu_quota_equal(&now, &found[i]))
            return false;
    }
    return true;
}

static void put_as_found(void)
{
    AUTO_FREE char *path = NULL;
    char group[128];

    vcpu_group(1, group);
    alloc_need_length(asprintf(&path, "%s%s", slice, group));
    if (cpu_quota_write(&cpu, path, &found[0], &found[1]) < 0 || !as_found())
        give_up("the quotas of the guest cannot be set");
}

/* ---- the journals ---- */

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
        (throttle_open(&where, UUID, "campaign", guest, &t) < 0 ||
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
    if (!as_found() && !journal_exists()) {
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
    if (!as_found()) {
        tally->slow++;
        tell(phase, fault, call, "the guest is not as found");
        put_as_found();
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

static const char intro[] =
    "<!-- SPDX-License-Identifier: LGPL-2.1-or-later -->\n"
    "# What was broken, and what came of it\n\n"
    "<!-- Generated by `tests/faults/campaign --document`. -->\n\n"
    "An agent sets the quotas of a guest with two vCPUs, one of them with a limit of its own,\n"
    "tightens them, restores them, or restores at its start what a dead one has left. At each of "
    "the\n"
    "system calls of that it is killed; or the call fails, once or for as long as the agent is at "
    "it,\n"
    "with each error that is plausible for that call, such as a full disk, no descriptors or a "
    "file\n"
    "system that is read-only. Then the cause goes away, and the agent, or the next one if it was\n"
    "killed, restores without anybody's help.\n\n";

static void print_document(const struct tally tally[], int every, bool bad)
{
    struct tally sum = {0};
    struct utsname host;

    uname(&host);
    fputs(intro, stdout);
    printf("On cgroup version %d of Linux %s", cpu.version, host.release);
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

/* A guest that a dead agent has left slow; each line on standard input asks how it is. */
static int show_guest(void)
{
    if (in_another(throttle_and_die) != 0)
        give_up("the guest cannot be throttled");
    puts(cpu.point);
    for (int c; fflush(stdout), (c = getchar()) != EOF;)
        puts(as_found() ? "as found" : "slow");
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {{"every", required_argument, NULL, 'e'},
                                          {"document", no_argument, NULL, 'd'},
                                          {"guest", required_argument, NULL, 'g'},
                                          {0}};
    struct tally tally[PHASES] = {0};
    bool bad = false, document = false;
    const char *there = NULL;
    int every = 1, o;

    if (argc == 3 && strcmp(argv[1], "-uuid") == 0)
        return be_guest();
    while ((o = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (o == 'e' && atoi(optarg) > 0)
            every = atoi(optarg);
        else if (o == 'd')
            document = true;
        else if (o == 'g')
            there = optarg;
        else
            return 2;
    }
    snprintf(run_dir, sizeof(run_dir), "%s", there ? there : P_tmpdir "/campaign-XXXXXX");
    if (!there && !mkdtemp(run_dir))
        give_up("%s: %s", run_dir, strerror(errno));
    snprintf(undo_dir, sizeof(undo_dir), "%s/undo", run_dir);
    atexit(remove_all);
    if (!place_guest())
        return SKIPPED;
    put_as_found();
    if (there)
        return show_guest();
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
