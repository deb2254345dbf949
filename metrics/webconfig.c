/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "metrics/webconfig.h"

#include <crypt.h>
#include <errno.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <yaml.h>

#include "common/alloc.h"
#include "common/cleanup.h"
#include "common/textfile.h"

#define PEM_BYTES_MAX ((size_t)256 * 1024)

/* Where in which file we are. */
struct place {
    const char *path;
    yaml_document_t *document;
    struct webconfig *web;
    struct error *err;
};

static int fail(const struct place *place, const yaml_node_t *node, const char *key,
                const char *reason)
{
    return error_set(place->err, -EINVAL, "%.200s:%zu: %.100s%s%s", place->path,
                     node->start_mark.line + 1, key, *key ? ": " : "", reason);
}

/* A scalar as text; NULL for anything else, and for one with a NUL in it. */
static const char *text_of(const yaml_node_t *node)
{
    const char *text = (const char *)node->data.scalar.value;

    if (node->type != YAML_SCALAR_NODE || strlen(text) != node->data.scalar.length)
        return NULL;
    return text;
}

typedef int (*take_fn)(const struct place *place, const char *key, const yaml_node_t *value);

/* Calls take() for each member. Nothing at all, as in "key:", is a mapping without any. */
static int take_mapping(const struct place *place, const char *name, const yaml_node_t *node,
                        take_fn take)
{
    const yaml_node_pair_t *first, *pair, *before;
    const char *nothing = text_of(node);
    int r = 0;

    if (nothing && !*nothing)
        return 0;
    if (node->type != YAML_MAPPING_NODE)
        return fail(place, node, name, "must be a mapping");
    first = node->data.mapping.pairs.start;
    for (pair = first; r == 0 && pair < node->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key = yaml_document_get_node(place->document, pair->key);
        const char *text = text_of(key);

        if (!text)
            return fail(place, key, name, "has a key that is no text");
        for (before = first; before < pair; before++) {
            if (strcmp(text, text_of(yaml_document_get_node(place->document, before->key))) == 0)
                return fail(place, key, text, "is there twice");
        }
        r = take(place, text, yaml_document_get_node(place->document, pair->value));
    }
    return r;
}

static int take_text(const struct place *place, const char *key, const yaml_node_t *value,
                     char **target)
{
    const char *text = text_of(value);

    if (!text || !*text)
        return fail(place, value, key, "must be a text");
    *target = alloc_need(strdup(text));
    return 0;
}

static int take_choice(const struct place *place, const char *key, const yaml_node_t *value,
                       const char *one, const char *other, bool *ret_other)
{
    const char *text = text_of(value);
    char expected[64];

    if (!text || (strcmp(text, one) != 0 && strcmp(text, other) != 0)) {
        snprintf(expected, sizeof(expected), "must be %s%s%s", one, *other ? " or " : "", other);
        return fail(place, value, key, expected);
    }
    *ret_other = strcmp(text, other) == 0;
    return 0;
}

static int take_tls(const struct place *place, const char *key, const yaml_node_t *value)
{
    bool ignored;

    if (strcmp(key, "cert_file") == 0)
        return take_text(place, key, value, &place->web->cert_file);
    if (strcmp(key, "key_file") == 0)
        return take_text(place, key, value, &place->web->key_file);
    if (strcmp(key, "min_version") == 0)
        return take_choice(place, key, value, "TLS12", "TLS13", &place->web->tls13_only);
    if (strcmp(key, "client_auth_type") == 0)
        return take_choice(place, key, value, "NoClientCert", "", &ignored);
    return fail(place, value, key, "is not supported in tls_server_config");
}

static int take_http(const struct place *place, const char *key, const yaml_node_t *value)
{
    bool ignored;

    if (strcmp(key, "http2") == 0)
        return take_choice(place, key, value, "true", "false", &ignored);
    return fail(place, value, key, "is not supported in http_server_config");
}

static int take_user(const struct place *place, const char *name, const yaml_node_t *value)
{
    struct webconfig *w = place->web;
    const char *hash = text_of(value);
    int cost = 0, end = 0;

    if (!*name || strchr(name, ':'))
        return fail(place, value, name, "is no name of a user");
    if (!hash || sscanf(hash, "$2%*1[aby]$%2d$%n", &cost, &end) != 1 || end != 7 ||
        strlen(hash) != 60 || crypt_checksalt(hash) == CRYPT_SALT_INVALID)
        return fail(place, value, name, "needs a bcrypt hash, as htpasswd -nBC 10 makes it");
    if (cost > WEBCONFIG_COST_MAX)
        return fail(place, value, name, "needs a bcrypt hash with a cost of at most 14");
    w->user = alloc_need(reallocarray(w->user, w->users + 1, sizeof(*w->user)));
    w->user[w->users++] = (struct webconfig_user){
        .name = alloc_need(strdup(name)),
        .hash = alloc_need(strdup(hash)),
    };
    return 0;
}

static int take_section(const struct place *place, const char *key, const yaml_node_t *value)
{
    int r;

    if (strcmp(key, "http_server_config") == 0)
        return take_mapping(place, key, value, take_http);
    if (strcmp(key, "basic_auth_users") == 0)
        return take_mapping(place, key, value, take_user);
    if (strcmp(key, "tls_server_config") != 0)
        return fail(place, value, key, "is not supported");
    r = take_mapping(place, key, value, take_tls);
    if (r == 0 && (!place->web->cert_file || !place->web->key_file))
        return fail(place, value, key, "needs cert_file and key_file");
    return r;
}

/* libyaml says neither more nor where of some errors. */
static int fail_yaml(const char *path, const yaml_parser_t *parser, struct error *err)
{
    alloc_need_length(parser->error == YAML_MEMORY_ERROR ? -1 : 0);
    return error_set(err, -EINVAL, "%.200s:%zu: %.200s", path, parser->problem_mark.line + 1,
                     parser->problem ? parser->problem : "is no YAML");
}

static int parse_document(const struct place *place, yaml_parser_t *parser)
{
    const yaml_node_t *root = yaml_document_get_root_node(place->document);
    yaml_document_t next;
    bool more;
    int r = root ? take_mapping(place, "the file", root, take_section) : 0;

    if (r < 0 || !root)
        return r;
    if (!yaml_parser_load(parser, &next))
        return fail_yaml(place->path, parser, place->err);
    more = yaml_document_get_root_node(&next);
    if (more)
        r = fail(place, yaml_document_get_root_node(&next), "", "a second document");
    yaml_document_delete(&next);
    return r;
}

int webconfig_parse(const char *text, size_t len, const char *path, struct webconfig **ret,
                    struct error *ret_err)
{
    struct webconfig *w = alloc_need(calloc(1, sizeof(*w)));
    yaml_document_t document;
    yaml_parser_t parser;
    struct place place = {.path = path, .document = &document, .web = w, .err = ret_err};
    int r;

    alloc_need_length(yaml_parser_initialize(&parser) ? 0 : -1);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
    if (yaml_parser_load(&parser, &document)) {
        r = parse_document(&place, &parser);
        yaml_document_delete(&document);
    } else {
        r = fail_yaml(path, &parser, ret_err);
    }
    yaml_parser_delete(&parser);
    if (r < 0)
        webconfig_free(w);
    else
        *ret = w;
    return r;
}

/* Links are followed first: certificates are renewed by moving one. `forbidden`: bits of the mode.
 */
static int read_file(const char *path, mode_t forbidden, size_t max, char **ret, size_t *ret_len,
                     struct error *err)
{
    char *real AUTO_FREE = realpath(path, NULL);
    struct stat st = {0};
    int r = real && stat(real, &st) == 0 ? 0 : -errno;

    if (r == 0 && ((st.st_uid != 0 && st.st_uid != geteuid()) || st.st_mode & forbidden))
        return error_set(
            err, -EPERM, "%.300s: must be owned by root and not be %s others (owner %u, mode %04o)",
            path, forbidden & S_IROTH ? "readable or writable by" : "writable by group or",
            st.st_uid, st.st_mode & 07777);
    if (r == 0)
        r = textfile_read(AT_FDCWD, real, max, ret, ret_len);
    return r < 0 ? error_set(err, r, "%.300s: %s", path, strerror(-r)) : 0;
}

static int check_pair(struct webconfig *w, const char *path, struct error *err)
{
    const gnutls_datum_t cert = {(unsigned char *)w->cert, (unsigned)strlen(w->cert)};
    const gnutls_datum_t key = {(unsigned char *)w->key, (unsigned)strlen(w->key)};
    gnutls_certificate_credentials_t credentials;
    int r;

    alloc_need_length(gnutls_certificate_allocate_credentials(&credentials));
    r = gnutls_certificate_set_x509_key_mem(credentials, &cert, &key, GNUTLS_X509_FMT_PEM);
    gnutls_certificate_free_credentials(credentials);
    if (r >= 0)
        return 0;
    return error_set(err, -EINVAL, "%.100s: cert_file %.100s and key_file %.100s: %s", path,
                     w->cert_file, w->key_file, gnutls_strerror(r));
}

static int read_named(const char *path, const char *name, mode_t forbidden, char **ret,
                      struct error *err)
{
    char *copy AUTO_FREE = alloc_need(strdup(path));
    char *full AUTO_FREE = NULL;

    if (name[0] == '/')
        full = alloc_need(strdup(name));
    else
        alloc_need_length(asprintf(&full, "%s/%s", dirname(copy), name));
    return read_file(full, forbidden, PEM_BYTES_MAX, ret, NULL, err);
}

int webconfig_load(const char *path, struct webconfig **ret, struct error *ret_err)
{
    char *text AUTO_FREE = NULL;
    struct webconfig *w = NULL;
    size_t len = 0;
    int r = read_file(path, S_IWGRP | S_IWOTH, WEBCONFIG_BYTES_MAX, &text, &len, ret_err);

    if (r == 0)
        r = webconfig_parse(text, len, path, &w, ret_err);
    if (r < 0 || !w)
        return r;
    if (w->cert_file) {
        r = read_named(path, w->cert_file, S_IWGRP | S_IWOTH, &w->cert, ret_err);
        if (r == 0)
            r = read_named(path, w->key_file, S_IWGRP | S_IROTH | S_IWOTH, &w->key, ret_err);
        if (r == 0)
            r = check_pair(w, path, ret_err);
    }
    if (r < 0)
        webconfig_free(w);
    else
        *ret = w;
    return r;
}

/* In a time that does not tell how much of it is the same. */
static bool is_same(const char *a, const char *b)
{
    size_t len = strlen(a);
    unsigned differs = 0;

    if (strlen(b) != len)
        return false;
    for (size_t i = 0; i < len; i++)
        differs |= (unsigned char)a[i] ^ (unsigned char)b[i];
    return !differs;
}

static bool matches(const char *password, const char *hash)
{
    struct crypt_data *data AUTO_FREE = alloc_need(calloc(1, sizeof(*data)));
    const char *made = crypt_r(password, hash, data);
    bool same = made && is_same(made, hash);

    explicit_bzero(data, sizeof(*data));
    return same;
}

static struct webconfig_user *find_user(const struct webconfig *w, const char *name)
{
    for (size_t i = 0; i < w->users; i++) {
        if (strcmp(w->user[i].name, name) == 0)
            return &w->user[i];
    }
    return NULL;
}

int webconfig_let_answer(struct webconfig *w, const char *name, struct error *ret_err)
{
    struct webconfig_user *user = find_user(w, name);

    if (!w->cert)
        return error_set(ret_err, -EINVAL, "%.64s: only over TLS, with tls_server_config", name);
    if (!user)
        return error_set(ret_err, -EINVAL, "%.64s: is not in basic_auth_users", name);
    user->may_answer = true;
    return 0;
}

bool webconfig_has_answering(const struct webconfig *w)
{
    for (size_t i = 0; i < w->users; i++) {
        if (w->user[i].may_answer)
            return true;
    }
    return false;
}

bool webconfig_may_answer(const struct webconfig *w, const char *name)
{
    const struct webconfig_user *user = name ? find_user(w, name) : NULL;

    return user && user->may_answer;
}

bool webconfig_allows(struct webconfig *w, const char *name, const char *password)
{
    struct webconfig_user *user;

    if (w->users == 0)
        return true;
    if (!name || !password)
        return false;
    user = find_user(w, name);
    if (user && user->accepted && is_same(user->accepted, password))
        return true;
    if (!matches(password, user ? user->hash : w->user[0].hash) || !user)
        return false;
    free(user->accepted);
    user->accepted = alloc_need(strdup(password));
    return true;
}

static void forget(char *secret)
{
    if (secret)
        explicit_bzero(secret, strlen(secret));
    free(secret);
}

void webconfig_free(struct webconfig *w)
{
    if (!w)
        return;
    for (size_t i = 0; i < w->users; i++) {
        free(w->user[i].name);
        free(w->user[i].hash);
        forget(w->user[i].accepted);
    }
    free(w->user);
    free(w->cert_file);
    free(w->key_file);
    free(w->cert);
    forget(w->key);
    free(w);
}
