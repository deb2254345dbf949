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

struct json_object;
struct varlink_client;

/*
 * Connects to the Unix socket at path, waiting at most timeout_ms (negative: for ever) for a busy
 * server to take the connection. Returns 0; -ENOENT, -ECONNREFUSED (nobody listens), -EACCES,
 * -ETIMEDOUT, -ENAMETOOLONG or another -errno of the socket.
 */
int varlink_client_connect(const char *path, int timeout_ms, struct varlink_client **ret);

/* Disconnects. Accepts NULL. */
void varlink_client_free(struct varlink_client *client);

/*
 * Calls a method ("io.migpolicy.List") and waits at most timeout_ms (negative: for ever) for the
 * reply. parameters is borrowed; NULL means none.
 *
 * Returns 0 when the service answered: *ret_error is then NULL, or the name of the error it
 * answered with (the caller frees it); *ret_parameters is a never-NULL object the caller releases.
 * Otherwise -ETIMEDOUT; -ECONNRESET (the service closed the connection); -EPROTO (what it sent is
 * no Varlink reply, or too large); -E2BIG (the call is too large); -ENOTCONN (after an earlier
 * failure); -ENOMEM.
 */
int varlink_client_call(struct varlink_client *client, const char *method,
                        struct json_object *parameters, int timeout_ms, char **ret_error,
                        struct json_object **ret_parameters);

/*
 * As varlink_client_call(), but asks for "more": on_reply gets each reply but the last one
 * (borrowed), which is returned as above. timeout_ms is the longest wait for any one reply. If
 * on_reply returns non-zero the call ends with that value, which should be negative.
 */
int varlink_client_call_more(struct varlink_client *client, const char *method,
                             struct json_object *parameters, int timeout_ms,
                             int (*on_reply)(struct json_object *parameters, void *userdata),
                             void *userdata, char **ret_error, struct json_object **ret_parameters);

#endif
