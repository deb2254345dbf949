/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libvirt's group names cannot be computed from the domain: they are escaped, cut and depend on
 * the init system. So they are looked up, from the threads QEMU names "CPU n/KVM" or "CPU n/TCG".
 * A group is accepted only if it is called vcpu<n> and holds that thread and no other: the groups
 * above it hold the threads that do the migrating.
 */
#include "cgroup-throttle/vcpugroups.h"

#include "common/alloc.h"
#include "common/cleanup.h"
#include "common/textfile.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#define PROC_FILE_MAX_BYTES (4U << 20)

static void close_dir(DIR **dir)
{
    if (*dir)
        closedir(*dir);
}

static void free_groups(struct vcpu_groups **groups)
{
    vcpu_groups_free(*groups);
}

#define AUTO_DIR CLEANUP(close_dir)

void vcpu_groups_free(struct vcpu_groups *groups)
{
    if (!groups)
        return;
    for (size_t i = 0; i < groups->count; i++)
        free(groups->vcpus[i].path);
    free(groups->vcpus);
    free(groups->name);
    free(groups);
}

bool uuid_valid(const char *uuid)
{
    for (int i = 0; i < UUID_TEXT_LEN; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;

        if (dash ? uuid[i] != '-' : !isxdigit((unsigned char)uuid[i]))
            return false;
    }
    return uuid[UUID_TEXT_LEN] == '\0';
}

bool vcpu_path_valid(const char *path, unsigned int index)
{
    const char *leaf = strrchr(path, '/');
    char wanted[32];

    snprintf(wanted, sizeof(wanted), "vcpu%u", index);
    if (path[0] != '/' || strcmp(leaf + 1, wanted) != 0)
        return false;
    for (const char *part = path; part; part = strchr(part + 1, '/'))
        if (strncmp(part, "/../", 4) == 0 || strncmp(part, "/./", 3) == 0 ||
            strncmp(part, "//", 2) == 0)
            return false;
    return true;
}

__attribute__((format(printf, 3, 4))) static int read_proc(char **ret_text, size_t *ret_len,
                                                           const char *format, ...)
{
    AUTO_FREE char *file = NULL;
    va_list args;
    int r;

    va_start(args, format);
    alloc_need_length(vasprintf(&file, format, args));
    va_end(args);
    r = textfile_read(AT_FDCWD, file, PROC_FILE_MAX_BYTES, ret_text, ret_len);
    return r == -ESRCH ? -ENOENT : r; /* it ended between open and read */
}

static int parse_number(const char *text, unsigned long max, unsigned long *ret_number,
                        const char **ret_end)
{
    char *end;
    unsigned long number;

    if (!isdigit((unsigned char)*text))
        return -EINVAL;
    errno = 0;
    number = strtoul(text, &end, 10);
    if (errno || number > max)
        return -ERANGE;
    *ret_number = number;
    *ret_end = end;
    return 0;
}

/* A directory entry that is a process or thread id. */
static bool entry_id(const struct dirent *entry, pid_t *ret_id)
{
    unsigned long id;
    const char *end;

    if (parse_number(entry->d_name, INT_MAX, &id, &end) < 0 || *end)
        return false;
    *ret_id = (pid_t)id;
    return true;
}

/* The name in parentheses may itself hold blanks and parentheses: count fields from the last. */
static int stat_field(const char *text, int field, uint64_t *ret_value)
{
    const char *at = strrchr(text, ')');
    unsigned long value;

    for (int i = 2; at && i < field; i++)
        at = strchr(at + 1, ' ');
    if (!at || parse_number(at + 1, ULONG_MAX, &value, &at) < 0)
        return -EBADMSG;
    *ret_value = value;
    return 0;
}

static int process_start_time(const char *proc, pid_t pid, uint64_t *ret_start_time)
{
    AUTO_FREE char *text = NULL;
    int r = read_proc(&text, NULL, "%s/%d/stat", proc, (int)pid);

    return r < 0 ? r : stat_field(text, 22, ret_start_time);
}

/* That of this process, as this /proc shows it; 0: it does not show us at all. */
static uint64_t own_pid_namespace(const char *proc)
{
    AUTO_FREE char *file = NULL;
    struct stat st;

    alloc_need_length(asprintf(&file, "%s/self/ns/pid", proc));
    return stat(file, &st) < 0 ? 0 : st.st_ino;
}

/* Is this the process of a QEMU started with "-uuid UUID"? Unreadable counts as no. */
static int runs_domain(const char *proc, pid_t pid, const char *uuid, bool *ret_runs)
{
    AUTO_FREE char *text = NULL;
    const char *program;
    bool is_uuid = false;
    size_t len;
    int r;

    r = read_proc(&text, &len, "%s/%d/cmdline", proc, (int)pid);
    if (r < 0)
        return r;
    *ret_runs = false;
    program = strrchr(text, '/') ? strrchr(text, '/') : text;
    if (!strstr(program, "qemu") && !strstr(program, "kvm"))
        return 0;
    for (const char *arg = text; arg < text + len; arg += strlen(arg) + 1) {
        if (is_uuid && strcasecmp(arg, uuid) == 0)
            *ret_runs = true;
        is_uuid = strcmp(arg, "-uuid") == 0;
    }
    return 0;
}

/*
 * A line is "ID:CONTROLLERS:PATH". Version 1 names the controllers, version 2 has ID 0 and none.
 * A controller of version 1 is not available in version 2, so version 1 wins.
 */
static int parse_cgroup(char *text, int *ret_version, char **ret_path)
{
    char *save = NULL, *unified = NULL;

    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *controllers = strchr(line, ':');
        char *path = controllers ? strchr(controllers + 1, ':') : NULL;

        if (!path)
            continue;
        *path++ = '\0';
        if (strcmp(line, "0:") == 0)
            unified = path;
        for (char *item = controllers + 1; item; item = strchr(item, ',')) {
            item += *item == ',';
            if (strncmp(item, "cpu", 3) == 0 && (item[3] == '\0' || item[3] == ',')) {
                *ret_version = 1;
                *ret_path = path;
                return 0;
            }
        }
    }
    if (!unified)
        return -EOPNOTSUPP;
    *ret_version = 2;
    *ret_path = unified;
    return 0;
}

static int thread_group(const char *proc, pid_t pid, pid_t tid, int *ret_version, char **ret_path)
{
    AUTO_FREE char *text = NULL;
    char *path;
    int r;

    r = read_proc(&text, NULL, "%s/%d/task/%d/cgroup", proc, (int)pid, (int)tid);
    if (r < 0)
        return r;
    r = parse_cgroup(text, ret_version, &path);
    if (r < 0)
        return r;
    *ret_path = alloc_need(strdup(path));
    return 0;
}

/* "CPU 3/KVM" or "CPU 3/TCG" */
static bool vcpu_index(const char *comm, unsigned int *ret_index)
{
    unsigned long index;
    const char *end;

    if (strncmp(comm, "CPU ", 4) != 0 || parse_number(comm + 4, UINT_MAX, &index, &end) < 0 ||
        (strcmp(end, "/KVM\n") != 0 && strcmp(end, "/TCG\n") != 0))
        return false;
    *ret_index = (unsigned int)index;
    return true;
}

static int add_thread(const char *proc, struct vcpu_groups *groups, pid_t tid)
{
    AUTO_FREE char *comm = NULL, *path = NULL;
    struct vcpu_group vcpu = {.tid = tid};
    int r, version;

    r = read_proc(&comm, NULL, "%s/%d/task/%d/comm", proc, (int)groups->pid, (int)tid);
    if (r == -ENOENT)
        return 0; /* some other thread that ended meanwhile */
    if (r < 0 || !vcpu_index(comm, &vcpu.index))
        return r;
    r = thread_group(proc, groups->pid, tid, &version, &path);
    if (r < 0)
        return r;
    if (!vcpu_path_valid(path, vcpu.index) || (groups->count && version != groups->version))
        return -EOPNOTSUPP;
    groups->version = version;
    vcpu.path = STEAL(path);
    groups->vcpus =
        alloc_need(reallocarray(groups->vcpus, groups->count + 1, sizeof(*groups->vcpus)));
    groups->vcpus[groups->count++] = vcpu;
    return 0;
}

static int by_index(const void *a, const void *b)
{
    const struct vcpu_group *x = a, *y = b;

    return (x->index > y->index) - (x->index < y->index);
}

static int list_vcpus(const char *proc, struct vcpu_groups *groups)
{
    AUTO_FREE char *name = NULL;
    AUTO_DIR DIR *dir = NULL;
    struct dirent *entry;

    alloc_need_length(asprintf(&name, "%s/%d/task", proc, (int)groups->pid));
    dir = opendir(name);
    if (!dir)
        return -errno;
    while ((entry = readdir(dir))) {
        pid_t tid;
        int r = entry_id(entry, &tid) ? add_thread(proc, groups, tid) : 0;

        if (r < 0)
            return r;
    }
    if (groups->count == 0)
        return -EOPNOTSUPP;
    qsort(groups->vcpus, groups->count, sizeof(*groups->vcpus), by_index);
    return 0;
}

static char *threads_file(const struct cpu_mount *mount, const struct vcpu_group *vcpu)
{
    return cpu_mount_file(mount, vcpu->path, mount->version == 1 ? "tasks" : "cgroup.threads");
}

bool vcpu_groups_visible(const struct cpu_mount *mount, const struct vcpu_group *vcpu)
{
    AUTO_FREE char *file = threads_file(mount, vcpu);

    return file && faccessat(AT_FDCWD, file, F_OK, AT_EACCESS) == 0;
}

/* Who may make groups, in a subtree handed over to them, could pass for a guest. */
static int check_owner(const struct cpu_mount *mount, const struct vcpu_group *vcpu)
{
    AUTO_FREE char *group = cpu_mount_file(mount, vcpu->path, "");
    struct stat st;

    if (!group)
        return -EOPNOTSUPP;
    if (stat(group, &st) < 0)
        return -errno;
    return st.st_uid == 0 || st.st_uid == geteuid() ? 0 : -EOPNOTSUPP;
}

static int check_alone(const struct cpu_mount *mount, const struct vcpu_group *vcpu)
{
    AUTO_FREE char *file = threads_file(mount, vcpu), *text = NULL;
    unsigned long tid;
    const char *end;
    int r;

    if (!file)
        return -EOPNOTSUPP;
    r = textfile_read(AT_FDCWD, file, PROC_FILE_MAX_BYTES, &text, NULL);
    if (r < 0)
        return r;
    if (parse_number(text, INT_MAX, &tid, &end) < 0 || (pid_t)tid != vcpu->tid ||
        strcmp(end, "\n") != 0)
        return -EOPNOTSUPP;
    return 0;
}

static int read_quotas(const char *proc, struct vcpu_groups *groups)
{
    struct cpu_mount mount = {0};
    int r;

    r = cpu_mount_find(proc, groups->version, groups->vcpus[0].path, &mount);
    for (size_t i = 0; r == 0 && i < groups->count; i++) {
        struct vcpu_group *vcpu = &groups->vcpus[i];

        r = check_owner(&mount, vcpu);
        if (r == 0)
            r = check_alone(&mount, vcpu);
        if (r == 0)
            r = cpu_quota_writable(&mount, vcpu->path);
        if (r == 0)
            r = cpu_quota_read(&mount, vcpu->path, &vcpu->original);
        vcpu->applied = vcpu->previous = vcpu->original;
    }
    cpu_mount_clear(&mount);
    /* The threads are there, so a file that is not means that the controller is not enabled. */
    return r == -ENOENT || r == -EINVAL ? -EOPNOTSUPP : r;
}

int vcpu_groups_find(const char *proc, const char *uuid, const char *name, pid_t pid,
                     struct vcpu_groups **ret_groups)
{
    CLEANUP(free_groups) struct vcpu_groups *groups = alloc_need(calloc(1, sizeof(*groups)));
    bool runs;
    int r;

    groups->name = alloc_need(strdup(name));
    if (!uuid_valid(uuid) || pid <= 1)
        return -EINVAL;
    memcpy(groups->uuid, uuid, sizeof(groups->uuid));
    groups->pid = pid;
    groups->pid_namespace = own_pid_namespace(proc);
    r = process_start_time(proc, pid, &groups->start_time);
    if (r < 0)
        return r;
    r = runs_domain(proc, pid, uuid, &runs);
    if (r < 0)
        return r;
    if (!runs)
        return -ESTALE;
    r = list_vcpus(proc, groups);
    if (r == 0)
        r = read_quotas(proc, groups);
    if (vcpu_groups_check_process(proc, groups) == -ENOENT)
        return -ENOENT; /* which explains whatever went wrong above */
    if (r < 0)
        return r;
    *ret_groups = STEAL(groups);
    return 0;
}

/*
 * That /proc does not show it proves nothing by itself. In the same pid namespace kill() knows,
 * which sees processes that hidepid hides.
 */
int vcpu_groups_check_process(const char *proc, const struct vcpu_groups *groups)
{
    uint64_t start_time, namespace;
    int r = process_start_time(proc, groups->pid, &start_time);

    if (r == 0 && start_time == groups->start_time)
        return 0;
    if (r < 0 && r != -ENOENT)
        return r;
    namespace = own_pid_namespace(proc);
    if (namespace == 0 || (groups->pid_namespace && groups->pid_namespace != namespace))
        return -ENODATA;
    if (r == -ENOENT && (kill(groups->pid, 0) == 0 || errno != ESRCH))
        return -ENODATA;
    return -ENOENT;
}

int vcpu_groups_check_thread(const char *proc, pid_t pid, const struct vcpu_group *vcpu)
{
    AUTO_FREE char *path = NULL;
    int version, r;

    r = thread_group(proc, pid, vcpu->tid, &version, &path);
    if (r < 0)
        return r;
    return strcmp(path, vcpu->path) == 0 ? 0 : -ESTALE;
}

/* Anybody can start something that is called qemu and told "-uuid UUID". */
static bool has_vcpu_groups(const char *proc, const char *uuid, pid_t pid)
{
    CLEANUP(free_groups) struct vcpu_groups *groups = NULL;

    return vcpu_groups_find(proc, uuid, "", pid, &groups) == 0;
}

static int find_process(const char *proc, const char *uuid, bool with_groups, pid_t *ret_pid)
{
    AUTO_DIR DIR *dir = opendir(proc);
    struct dirent *entry;
    pid_t found = 0;

    if (!dir)
        return -errno;
    while ((entry = readdir(dir))) {
        bool runs = false;
        pid_t pid;

        if (!entry_id(entry, &pid) || runs_domain(proc, pid, uuid, &runs) < 0 || !runs ||
            (with_groups && !has_vcpu_groups(proc, uuid, pid)))
            continue;
        if (found)
            return -ENOTUNIQ;
        found = pid;
    }
    if (!found)
        return -ENOENT;
    *ret_pid = found;
    return 0;
}

int vcpu_groups_find_pid(const char *proc, const char *uuid, pid_t *ret_pid)
{
    int r = find_process(proc, uuid, false, ret_pid);

    return r == -ENOTUNIQ ? find_process(proc, uuid, true, ret_pid) : r;
}

int vcpu_groups_thread_time(const char *proc, pid_t pid, pid_t tid, uint64_t *ret_ns)
{
    AUTO_FREE char *schedstat = NULL, *stat = NULL;
    uint64_t user = 0, system = 0;
    unsigned long ns;
    const char *end;
    int r;

    r = read_proc(&schedstat, NULL, "%s/%d/task/%d/schedstat", proc, (int)pid, (int)tid);
    if (r == 0 && parse_number(schedstat, ULONG_MAX, &ns, &end) == 0) {
        *ret_ns = ns;
        return 0;
    }
    /* Kernels without schedstat still count clock ticks. */
    r = read_proc(&stat, NULL, "%s/%d/task/%d/stat", proc, (int)pid, (int)tid);
    if (r < 0)
        return r;
    r = stat_field(stat, 14, &user);
    if (r == 0)
        r = stat_field(stat, 15, &system);
    if (r < 0)
        return r;
    *ret_ns = (user + system) * (1000000000ULL / (uint64_t)sysconf(_SC_CLK_TCK));
    return 0;
}
