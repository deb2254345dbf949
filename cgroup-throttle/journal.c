/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is read back decides what root writes where, so nothing in a journal is believed: it must
 * be a regular file in a directory only the owner can write to, carry its own UUID, and name only
 * groups called vcpu<n> with quotas a kernel accepts. Which process and which mount they belong to
 * is looked up afresh by whoever undoes it.
 */
#include "cgroup-throttle/journal.h"

#include "common/cleanup.h"
#include "common/json.h"
#include "common/json_strict.h"
#include "common/textfile.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#define DIRECTORY         "undo"
#define FORMAT_VERSION    1 /* see journal.h before it becomes 2 */
#define JOURNAL_MAX_BYTES (4U << 20)

static void free_groups(struct vcpu_groups **groups)
{
    vcpu_groups_free(*groups);
}

static void close_dir(DIR **dir)
{
    if (*dir)
        closedir(*dir);
}

static int open_directory(const char *run_dir)
{
    AUTO_CLOSE int run = open(run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    AUTO_CLOSE int fd = -1;
    struct stat st;
    int stolen;

    if (run < 0)
        return -errno;
    fd = openat(run, DIRECTORY, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) < 0)
        return -errno;
    if ((st.st_mode & (S_IWGRP | S_IWOTH)) || (st.st_uid != 0 && st.st_uid != geteuid()))
        return -EPERM;
    stolen = fd;
    fd = -1;
    return stolen;
}

static int make_directory(const char *run_dir)
{
    AUTO_CLOSE int run = open(run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (run < 0)
        return -errno;
    if (mkdirat(run, DIRECTORY, 0700) == 0)
        return fsync(run) < 0 ? -errno : 0;
    return errno == EEXIST ? 0 : -errno;
}

static void file_name(char name[static NAME_MAX], const char *uuid, const char *suffix)
{
    snprintf(name, NAME_MAX, "%.*s.json%s", UUID_TEXT_LEN, uuid, suffix);
}

static json_object *quota_to_json(const struct cpu_quota *q)
{
    json_object *json = json_object_new_object();

    json_object_object_add(json, "quota_us", json_object_new_int64(q->quota_us));
    json_object_object_add(json, "period_us", json_object_new_int64(q->period_us));
    return json;
}

static json_object *vcpu_to_json(const struct vcpu_group *vcpu)
{
    json_object *json = json_object_new_object();

    json_object_object_add(json, "index", json_object_new_int64(vcpu->index));
    json_object_object_add(json, "tid", json_object_new_int64(vcpu->tid));
    json_object_object_add(json, "path", json_object_new_string(vcpu->path));
    json_object_object_add(json, "original", quota_to_json(&vcpu->original));
    json_object_object_add(json, "applied", quota_to_json(&vcpu->applied));
    json_object_object_add(json, "previous", quota_to_json(&vcpu->previous));
    return json;
}

static json_object *groups_to_json(const struct vcpu_groups *groups)
{
    json_object *json = json_object_new_object(), *vcpus = json_object_new_array();

    json_object_object_add(json, "version", json_object_new_int64(FORMAT_VERSION));
    json_object_object_add(json, "uuid", json_object_new_string(groups->uuid));
    json_object_object_add(json, "name", json_object_new_string(groups->name));
    json_object_object_add(json, "pid", json_object_new_int64(groups->pid));
    json_object_object_add(json, "start_time", json_object_new_int64((int64_t)groups->start_time));
    if (groups->pid_namespace)
        json_object_object_add(json, "pid_namespace",
                               json_object_new_int64((int64_t)groups->pid_namespace));
    json_object_object_add(json, "cgroup_version", json_object_new_int64(groups->version));
    for (size_t i = 0; i < groups->count; i++)
        json_object_array_add(vcpus, vcpu_to_json(&groups->vcpus[i]));
    json_object_object_add(json, "vcpus", vcpus);
    return json;
}

int journal_save(const char *run_dir, const struct vcpu_groups *groups)
{
    AUTO_JSON json_object *json = groups_to_json(groups), *again = NULL;
    char name[NAME_MAX];
    AUTO_CLOSE int dir = -1;
    const char *text;
    size_t len;
    int r;

    text = json_object_to_json_string_length(json, JSON_C_TO_STRING_PRETTY, &len);
    if (json_strict_parse(text, len, &again, NULL) < 0)
        return -EBADMSG;
    r = make_directory(run_dir);
    if (r < 0)
        return r;
    dir = open_directory(run_dir);
    if (dir < 0)
        return dir;
    file_name(name, groups->uuid, "");
    return textfile_replace(dir, name, 0600, text);
}

static bool get_int(json_object *json, const char *key, int64_t min, int64_t max, int64_t *ret)
{
    json_object *value = json_object_object_get(json, key);
    int64_t number;

    if (!json_object_is_type(value, json_type_int))
        return false;
    number = json_object_get_int64(value);
    if (number < min || number > max)
        return false;
    *ret = number;
    return true;
}

/* NULL unless it is a string without a NUL inside. */
static const char *get_string(json_object *json, const char *key)
{
    json_object *value = json_object_object_get(json, key);

    if (!json_object_is_type(value, json_type_string) ||
        strlen(json_object_get_string(value)) != (size_t)json_object_get_string_len(value))
        return NULL;
    return json_object_get_string(value);
}

static bool get_quota(json_object *json, const char *key, struct cpu_quota *ret_quota)
{
    json_object *value = json_object_object_get(json, key);

    return json_object_is_type(value, json_type_object) &&
           get_int(value, "quota_us", -1, INT64_MAX, &ret_quota->quota_us) &&
           get_int(value, "period_us", 1, INT64_MAX, &ret_quota->period_us) &&
           cpu_quota_valid(ret_quota);
}

static int vcpu_from_json(json_object *json, struct vcpu_group *vcpu)
{
    const char *path;
    int64_t index, tid;

    if (!json_object_is_type(json, json_type_object) ||
        !get_int(json, "index", 0, UINT_MAX, &index) || !get_int(json, "tid", 2, INT_MAX, &tid) ||
        !(path = get_string(json, "path")) || !vcpu_path_valid(path, (unsigned int)index) ||
        !get_quota(json, "original", &vcpu->original) ||
        !get_quota(json, "applied", &vcpu->applied) ||
        !get_quota(json, "previous", &vcpu->previous))
        return -EBADMSG;
    vcpu->index = (unsigned int)index;
    vcpu->tid = (pid_t)tid;
    vcpu->path = alloc_need(strdup(path));
    return 0;
}

static int groups_from_json(json_object *json, const char *uuid, struct vcpu_groups *groups)
{
    int64_t format, pid, start_time, cgroup_version, pid_namespace = 0;
    const char *own_uuid, *name;
    json_object *vcpus;
    size_t count;

    if (!json_object_is_type(json, json_type_object) ||
        !get_int(json, "version", 1, INT64_MAX, &format))
        return -EBADMSG;
    if (format != FORMAT_VERSION)
        return -EPROTONOSUPPORT;
    if (!(own_uuid = get_string(json, "uuid")) || strcmp(own_uuid, uuid) != 0 ||
        !(name = get_string(json, "name")) || !get_int(json, "pid", 2, INT_MAX, &pid) ||
        !get_int(json, "start_time", 0, INT64_MAX, &start_time) ||
        !get_int(json, "cgroup_version", 1, 2, &cgroup_version) ||
        (json_object_object_get(json, "pid_namespace") &&
         !get_int(json, "pid_namespace", 1, INT64_MAX, &pid_namespace)))
        return -EBADMSG;
    vcpus = json_object_object_get(json, "vcpus");
    if (!json_object_is_type(vcpus, json_type_array) || json_object_array_length(vcpus) == 0)
        return -EBADMSG;
    count = json_object_array_length(vcpus);
    memcpy(groups->uuid, uuid, sizeof(groups->uuid));
    groups->pid = (pid_t)pid;
    groups->start_time = (uint64_t)start_time;
    groups->pid_namespace = (uint64_t)pid_namespace;
    groups->version = (int)cgroup_version;
    groups->name = alloc_need(strdup(name));
    groups->vcpus = alloc_need(calloc(count, sizeof(*groups->vcpus)));
    for (groups->count = 0; groups->count < count; groups->count++) {
        int r = vcpu_from_json(json_object_array_get_idx(vcpus, groups->count),
                               &groups->vcpus[groups->count]);

        if (r < 0)
            return r;
    }
    return 0;
}

static int load(int dir, const char *uuid, struct vcpu_groups **ret_groups)
{
    CLEANUP(free_groups) struct vcpu_groups *groups = alloc_need(calloc(1, sizeof(*groups)));
    AUTO_JSON json_object *json = NULL;
    AUTO_FREE char *text = NULL;
    char name[NAME_MAX];
    size_t len;
    int r;

    file_name(name, uuid, "");
    r = textfile_read(dir, name, JOURNAL_MAX_BYTES, &text, &len);
    if (r == -ELOOP || r == -EINVAL || r == -EFBIG)
        return -EBADMSG;
    if (r < 0)
        return r;
    if (json_strict_parse(text, len, &json, NULL) < 0)
        return -EBADMSG;
    r = groups_from_json(json, uuid, groups);
    if (r < 0)
        return r;
    *ret_groups = STEAL(groups);
    return 0;
}

int journal_load(const char *run_dir, const char *uuid, struct vcpu_groups **ret_groups)
{
    AUTO_CLOSE int dir = open_directory(run_dir);

    if (!uuid_valid(uuid))
        return -EBADMSG;
    return dir < 0 ? dir : load(dir, uuid, ret_groups);
}

int journal_remove(const char *run_dir, const char *uuid)
{
    AUTO_CLOSE int dir = open_directory(run_dir);
    char name[NAME_MAX];

    if (dir < 0)
        return dir == -ENOENT ? 0 : dir;
    file_name(name, uuid, "");
    if (unlinkat(dir, name, 0) < 0)
        return errno == ENOENT ? 0 : -errno;
    return fsync(dir) < 0 ? -errno : 0;
}

int journal_written(const char *run_dir, const char *uuid, struct timespec *ret)
{
    AUTO_CLOSE int dir = open_directory(run_dir);
    char name[NAME_MAX + 1];
    struct stat st;

    if (dir < 0)
        return dir;
    snprintf(name, sizeof(name), "%s.json", uuid);
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    *ret = st.st_mtim;
    return 0;
}

static bool ends_with(const char *name, const char *suffix)
{
    size_t len = strlen(name);

    return len > strlen(suffix) && strcmp(name + len - strlen(suffix), suffix) == 0;
}

void journal_sweep(const char *run_dir)
{
    AUTO_CLOSE int dir = open_directory(run_dir);
    int copy = dir < 0 ? -1 : fcntl(dir, F_DUPFD_CLOEXEC, 0);
    CLEANUP(close_dir) DIR *list = copy < 0 ? NULL : fdopendir(copy);
    struct dirent *entry;

    while (list && (entry = readdir(list)))
        if (ends_with(entry->d_name, ".json.tmp"))
            unlinkat(dir, entry->d_name, 0);
    if (copy >= 0 && !list)
        close(copy);
}

int journal_list(const char *run_dir, journal_fn fn, void *opaque)
{
    char uuid[NAME_MAX + 1];
    CLEANUP(close_dir) DIR *list = NULL;
    AUTO_CLOSE int dir = open_directory(run_dir);
    struct dirent *entry;
    int copy;

    if (dir < 0)
        return dir == -ENOENT ? 0 : dir;
    copy = fcntl(dir, F_DUPFD_CLOEXEC, 0);
    if (copy < 0)
        return -errno;
    list = fdopendir(copy);
    if (!list) {
        int r = -errno;

        close(copy);
        return r;
    }
    for (errno = 0; (entry = readdir(list)); errno = 0) {
        if (!ends_with(entry->d_name, ".json"))
            continue;
        snprintf(uuid, sizeof(uuid), "%.*s", (int)(strlen(entry->d_name) - strlen(".json")),
                 entry->d_name);
        fn(uuid, opaque);
    }
    return -errno;
}
