/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who may read over HTTP, and whether it is encrypted: a file of the format that Prometheus and its
 * exporters take as --web.config.file. Of it are understood: tls_server_config with cert_file,
 * key_file, min_version (TLS12, TLS13) and client_auth_type NoClientCert; http_server_config with
 * http2, which changes nothing; basic_auth_users with bcrypt hashes. Anything else is an error: who
 * asked for client certificates must not be served without.
 *
 * Not thread-safe; webconfig_allows() belongs to one thread.
 */
#ifndef MIGPOLICY_METRICS_WEBCONFIG_H
#define MIGPOLICY_METRICS_WEBCONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include "common/error.h"

enum {
    WEBCONFIG_BYTES_MAX = 64 * 1024,
    WEBCONFIG_COST_MAX = 14, /* of bcrypt: a second of the thread that serves all, for each guess */
};

struct webconfig_user {
    char *name;
    char *hash;
    bool may_answer; /* questions of an administrator's */
    char *accepted;  /* the password that matched it, so that each scrape does not cost a bcrypt */
};

struct webconfig {
    char *cert_file; /* NULL: no TLS */
    char *key_file;
    char *cert; /* what was in them, PEM */
    char *key;
    bool tls13_only;
    size_t users; /* 0: anybody */
    struct webconfig_user *user;
};

/*
 * Reads the file and what it names, relative paths from its own directory. It must be owned by root
 * (or by whoever runs this) and not be writable by others; the key not be readable by others
 * either. Returns 0 or -errno with *ret_err set: what opening says, -EPERM (ownership or mode),
 * -EINVAL (contents, or a key that is not the certificate's). Free the result.
 */
int webconfig_load(const char *path, struct webconfig **ret, struct error *ret_err);

/* The same of a text, without reading what it names; `path` is for errors. */
int webconfig_parse(const char *text, size_t len, const char *path, struct webconfig **ret,
                    struct error *ret_err);

/*
 * Lets a user answer questions. Returns 0 or -EINVAL with *ret_err set: there is no such user, or
 * passwords would be told without TLS.
 */
int webconfig_let_answer(struct webconfig *w, const char *name, struct error *ret_err);

/* May any, or (by name, NULL: nobody) that one? */
bool webconfig_has_answering(const struct webconfig *w);
bool webconfig_may_answer(const struct webconfig *w, const char *name);

/* NULL: nothing was said. An unknown name takes as long as a wrong password. */
bool webconfig_allows(struct webconfig *w, const char *name, const char *password);

/* Accepts NULL. */
void webconfig_free(struct webconfig *w);

#endif
