/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which files the configuration is read from, and whether they can be trusted. */
#include "agent/rules/config.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/alloc.h"
#include "common/cleanup.h"
#include "common/textfile.h"

enum { CONFIG_BYTES_MAX = 1024 * 1024, IGNORED_MAX = 200 };

static int fail_errno(const char *path, int r, struct error *err)
{
    return error_set(err, r, "%.400s: %s", path, strerror(-r));
}

static int check_owner(const char *path, const struct stat *st, struct error *err)
{
    const char *why = NULL;

    if (st->st_uid != 0 && st->st_uid != geteuid())
        why = "must be owned by root";
    else if (!S_ISLNK(st->st_mode) && st->st_mode & (S_IWGRP | S_IWOTH))
        why = "must not be writable by group or others";
    if (!why)
        return 0;
    return error_set(err, -EPERM, "%.350s: %s (owner %u, mode %04o)", path, why, st->st_uid,
                     st->st_mode & 07777);
}

/* What a link leads to, and each directory above it: nobody else may put something else there. */
static int check_way(const char *target, struct error *err)
{
    char *way AUTO_FREE = alloc_need(strdup(target));
    struct stat st;
    int r = 0;

    for (char *end = way + strlen(way); r == 0 && end; end = strrchr(way, '/')) {
        *end = '\0';
        if (lstat(*way ? way : "/", &st) < 0)
            return fail_errno(way, -errno, err);
        r = check_owner(*way ? way : "/", &st, err);
    }
    return r;
}

/* May it be read? *ret_real, which the caller frees, is the path without a link at its end. */
static int resolve(const char *path, char **ret_real, struct error *err)
{
    char *real AUTO_FREE = NULL;
    struct error where;
    struct stat st;
    int r;

    if (lstat(path, &st) < 0)
        return fail_errno(path, -errno, err);
    r = check_owner(path, &st, err);
    if (r < 0)
        return r;
    if (!S_ISLNK(st.st_mode)) {
        *ret_real = alloc_need(strdup(path));
        return 0;
    }
    real = realpath(path, NULL);
    if (!real)
        return fail_errno(path, -errno, err);
    r = check_way(real, &where);
    if (r < 0)
        return error_set(err, r, "%.200s: a link to what is not root's alone: %.260s", path,
                         where.text);
    *ret_real = STEAL(real);
    return 0;
}

static int load_file(const char *path, struct config *config, struct error *err)
{
    char *text AUTO_FREE = NULL, *real AUTO_FREE = NULL;
    size_t len;
    int r = resolve(path, &real, err);

    if (r < 0)
        return r;
    r = textfile_read(AT_FDCWD, real, CONFIG_BYTES_MAX, &text, &len);
    if (r < 0)
        return fail_errno(path, r, err);
    return config_parse(text, len, path, config, err);
}

/* Returns 1, 0 or -errno; a link to nothing is there, and so is what may not be looked at. */
static int is_there(const char *path, struct error *err)
{
    struct stat st;

    if (lstat(path, &st) == 0)
        return 1;
    return errno == ENOENT ? 0 : fail_errno(path, -errno, err);
}

static bool is_conf_file(const char *name)
{
    const char *dot = strrchr(name, '.');

    return name[0] != '.' && dot && strcmp(dot, ".json") == 0;
}

static int is_entry(const struct dirent *entry)
{
    return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

/* Somebody may believe that it is in force. */
static void note_ignored(const char *path, struct config *config)
{
    char *before AUTO_FREE = config->ignored;

    if (before && strlen(before) > IGNORED_MAX) {
        config->ignored = STEAL(before);
        return;
    }
    alloc_need_length(
        asprintf(&config->ignored, "%s%s%.255s", before ? before : "", before ? ", " : "", path));
    for (char *c = config->ignored; *c; c++) {
        if (iscntrl((unsigned char)*c))
            *c = '?';
    }
}

/* The entries of DIR/conf.d in alphabetical order, how many, or -errno; none without it. */
static int list(const char *dir, struct dirent ***ret, struct error *err)
{
    char *path AUTO_FREE = NULL, *real AUTO_FREE = NULL;
    int r;

    alloc_need_length(asprintf(&path, "%s/conf.d", dir));
    r = is_there(path, err);
    if (r > 0)
        r = resolve(path, &real, err);
    if (r < 0 || !real)
        return r;
    r = scandir(real, ret, is_entry, alphasort);
    return r < 0 ? fail_errno(path, -errno, err) : r;
}

static int load_entry(const char *dir, const char *name, struct config *config, struct error *err)
{
    char *path AUTO_FREE = NULL;

    alloc_need_length(asprintf(&path, "%s/conf.d/%s", dir, name));
    if (is_conf_file(name))
        return load_file(path, config, err);
    note_ignored(path, config);
    return 0;
}

static void free_list(struct dirent **entries, int count)
{
    for (int i = 0; entries && i < count; i++)
        free(entries[i]);
    free(entries);
}

/* Both directories as one; of two files of a name, the site's own. */
static int load_conf_d(const char *vendor, const char *own, struct config *config,
                       struct error *err)
{
    struct dirent **theirs = NULL, **ours = NULL;
    int n_theirs = vendor ? list(vendor, &theirs, err) : 0;
    int n_ours = n_theirs < 0 ? n_theirs : list(own, &ours, err);
    int r = n_ours < 0 ? n_ours : 0;

    for (int i = 0, j = 0; r == 0;) {
        const struct dirent *a = ours && i < n_ours ? ours[i] : NULL;
        const struct dirent *b = theirs && j < n_theirs ? theirs[j] : NULL;
        int order = !a ? 1 : !b ? -1 : strcmp(a->d_name, b->d_name);

        if (a && order <= 0)
            r = load_entry(own, a->d_name, config, err);
        else if (b)
            r = load_entry(vendor, b->d_name, config, err);
        else
            break;
        i += order <= 0;
        j += order >= 0;
    }
    free_list(theirs, n_theirs);
    free_list(ours, n_ours);
    return r;
}

static int load_main(const char *dir, struct config *config, struct error *err)
{
    char *path AUTO_FREE = NULL, *real AUTO_FREE = NULL;
    int r = resolve(dir, &real, err);

    if (r < 0)
        return r;
    alloc_need_length(asprintf(&path, "%s/migpolicyd.json", dir));
    r = is_there(path, err);
    return r > 0 ? load_file(path, config, err) : r;
}

static int load_dirs(const char *vendor, const char *own, struct config *config, struct error *err)
{
    int r = vendor ? is_there(vendor, err) : 0;

    if (r == 0)
        vendor = NULL;
    else if (r > 0)
        r = load_main(vendor, config, err);
    if (r == 0)
        r = load_main(own, config, err);
    return r < 0 ? r : load_conf_d(vendor, own, config, err);
}

int config_load_over(const char *vendor, const char *path, struct config *ret,
                     struct error *ret_err)
{
    struct config config = {0};
    struct stat st;
    int r;

    if (stat(path, &st) < 0)
        return fail_errno(path, -errno, ret_err);
    r = S_ISDIR(st.st_mode) ? load_dirs(vendor, path, &config, ret_err)
                            : load_file(path, &config, ret_err);
    if (r < 0) {
        config_clear(&config);
        return r;
    }
    *ret = config;
    return 0;
}

int config_load(const char *path, struct config *ret, struct error *ret_err)
{
    bool is_default = strcmp(path, CONFIG_DEFAULT_PATH) == 0;

    return config_load_over(is_default ? CONFIG_VENDOR_PATH : NULL, path, ret, ret_err);
}
