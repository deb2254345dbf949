/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migpolicy bridge: the far end of --host. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/cli/cli.h"
#include "agent/cli/varlink_client.h"

/* Passes on what is there; false: that was the end, or nobody takes it. */
static bool pass(int from, int to)
{
    char buf[65536];
    ssize_t n = read(from, buf, sizeof(buf));
    ssize_t done = 0;

    if (n <= 0)
        return n < 0 && (errno == EINTR || errno == EAGAIN);
    while (done < n) {
        ssize_t sent = write(to, buf + done, (size_t)(n - done));
        struct pollfd room = {.fd = to, .events = POLLOUT};

        if (sent >= 0)
            done += sent;
        else if (errno == EAGAIN)
            poll(&room, 1, -1);
        else if (errno != EINTR)
            return false;
    }
    return true;
}

static int bridge(const struct cli *cli)
{
    struct pollfd p[] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.events = POLLIN}};
    CLEANUP(cli_cleanup_client) struct varlink_client *client = NULL;
    int code = cli_no_arguments(cli);

    if (code == CLI_OK)
        code = cli_open(cli, &client);
    if (code != CLI_OK)
        return code;
    p[1].fd = varlink_client_fd(client);
    for (;;) {
        if (poll(p, 2, -1) < 0 && errno != EINTR)
            return cli_fail(CLI_ERROR, "poll: %m");
        if (p[1].revents && !pass(p[1].fd, STDOUT_FILENO))
            return CLI_OK;
        if (p[0].revents && !pass(STDIN_FILENO, p[1].fd)) {
            shutdown(p[1].fd, SHUT_WR);
            p[0].fd = -1;
        }
    }
}

const struct cli_verb cli_bridge = {"bridge", bridge, "",
                                    "pass on standard input and output to the daemon, for --host"};
