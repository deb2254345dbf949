/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A blocking Varlink client: one connection, one call at a time. The bounds on calls and replies
 * are those of agent/control/varlink.h, where the names of the standard errors are as well.
 *
 * A client may be used from any thread, but from one at a time. No function raises SIGPIPE.
 *
 * After any negative return of a call the connection is in an unknown state: every later call
 * returns -ENOTCONN. An error reply of the service is not such a failure.
 */
#ifndef MIGPOLICY_VARLINK_CLIENT_H
#define MIGPOLICY_VARLINK_CLIENT_H

#include <stdbool.h>

struct json_object;
struct varlink_client;

/*
 * Connects to the Unix socket at path, waiting at most timeout_ms (negative: for ever) for a busy
 * server to take the connection. Returns 0; -ENOENT, -ECONNREFUSED (nobody listens), -EACCES,
 * -ETIMEDOUT, -ENAMETOOLONG or another -errno of the socket.
 */
int varlink_client_connect(const char *path, int timeout_ms, struct varlink_client **ret);

/*
 * Runs a command whose standard input and output are the connection; it inherits standard error.
 * argv[0] is looked for in PATH. Returns 0 or -errno.
 */
int varlink_client_run(const char *const argv[], struct varlink_client **ret);

/* How the command of a connection that failed has ended, as of waitpid(2); -1: there is none. */
int varlink_client_status(struct varlink_client *client);

/* Disconnects, and ends the command if there is one. Accepts NULL. */
void varlink_client_free(struct varlink_client *client);

/*
 * Calls a method ("io.migpolicy.List") and waits at most timeout_ms (negative: for ever) for the
 * reply. parameters is borrowed; NULL means none.
 *
 * Returns 0 when the service answered: *ret_error is then NULL, or the name of the error it
 * answered with (the caller frees it); *ret_parameters is a never-NULL object the caller releases.
 * Otherwise -ETIMEDOUT; -ECONNRESET (the service closed the connection); -EPROTO (what it sent is
 * no Varlink reply, or too large); -E2BIG (the call is too large); -ENOTCONN (after an earlier
 * failure).
 */
int varlink_client_call(struct varlink_client *client, const char *method,
                        struct json_object *parameters, int timeout_ms, char **ret_error,
                        struct json_object **ret_parameters);

/*
 * Calls a method for "more" than one reply; varlink_client_next() takes them. Returns 0 or as
 * varlink_client_call().
 */
int varlink_client_begin(struct varlink_client *client, const char *method,
                         struct json_object *parameters, int timeout_ms);

/*
 * The next reply, as varlink_client_call() has it. *ret_continues: others will follow. After
 * -ETIMEDOUT, and only then, it may be called again.
 */
int varlink_client_next(struct varlink_client *client, int timeout_ms, bool *ret_continues,
                        char **ret_error, struct json_object **ret_parameters);

/* To poll for POLLIN, when varlink_client_next() has returned -ETIMEDOUT. The client's. */
int varlink_client_fd(const struct varlink_client *client);

#endif
