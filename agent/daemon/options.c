/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/daemon/options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/rules/config.h"

enum { EXIT_USAGE = 2 };

static const char usage[] =
    "Usage: migpolicyd [OPTION...]\n"
    "Watches outgoing live migrations and brings them to an end within approved policy.\n\n"
    "  -c, --connect URI          libvirt to watch (default " OPTIONS_DEFAULT_URI ")\n"
    "      --config PATH          configuration file or directory (default " CONFIG_DEFAULT_PATH
    ")\n"
    "      --state-dir DIR        stored policies (default /var/lib/migpolicy)\n"
    "      --run-dir DIR          undo journal and socket (default /run/migpolicy)\n"
    "      --socket PATH          control socket (default RUN_DIR/io.migpolicy)\n"
    "      --metrics-listen WHERE metrics over HTTP: ADDRESS:PORT (default " OPTIONS_DEFAULT_METRICS
    "),\n"
    "                             unix:PATH, or \"\" for none\n"
    "      --qemu-run-dir DIR     libvirt's QEMU pid files (default " OPTIONS_DEFAULT_QEMU ")\n"
    "      --check                check the configuration and exit\n"
    "      --restore              restore what a dead or stopped agent left throttled and exit\n"
    "      --force                with --restore: whatever agent is at work\n"
    "  -h, --help                 this text\n"
    "      --version              version\n";

enum { URI, CONFIG, STATE_DIR, RUN_DIR, SOCKET, LISTEN, QEMU_RUN_DIR, TEXTS };
enum { CHECK = 256, RESTORE, FORCE, VERSION };

static const struct option longs[] = {
    {"connect", required_argument, NULL, URI},
    {"config", required_argument, NULL, CONFIG},
    {"state-dir", required_argument, NULL, STATE_DIR},
    {"run-dir", required_argument, NULL, RUN_DIR},
    {"socket", required_argument, NULL, SOCKET},
    {"metrics-listen", required_argument, NULL, LISTEN},
    {"qemu-run-dir", required_argument, NULL, QEMU_RUN_DIR},
    {"check", no_argument, NULL, CHECK},
    {"restore", no_argument, NULL, RESTORE},
    {"force", no_argument, NULL, FORCE},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, VERSION},
    {NULL, 0, NULL, 0},
};

/* Takes one that getopt_long() has found. Returns -1, or what to exit with. */
static int take(int o, struct options *opt)
{
    const char **const texts[TEXTS] = {
        [URI] = &opt->uri,
        [CONFIG] = &opt->config,
        [STATE_DIR] = &opt->state_dir,
        [RUN_DIR] = &opt->run_dir,
        [SOCKET] = &opt->socket,
        [LISTEN] = &opt->metrics_listen,
        [QEMU_RUN_DIR] = &opt->qemu_run_dir,
    };

    switch (o) {
    case 'c':
        opt->uri = optarg;
        break;
    case CHECK:
        opt->check = true;
        break;
    case RESTORE:
        opt->restore = true;
        break;
    case FORCE:
        opt->force = true;
        break;
    case 'h':
        fputs(usage, stdout);
        return EXIT_SUCCESS;
    case VERSION:
        puts("migpolicyd " MIGPOLICY_VERSION);
        return EXIT_SUCCESS;
    default:
        if (o >= TEXTS)
            return EXIT_USAGE;
        *texts[o] = optarg;
    }
    return -1;
}

int options_parse(int argc, char **argv, struct options *opt)
{
    int o;

    while ((o = getopt_long(argc, argv, "c:h", longs, NULL)) != -1) {
        int code = take(o, opt);

        if (code >= 0)
            return code;
    }
    if (opt->force && !opt->restore) {
        fputs("migpolicyd: --force belongs to --restore; see migpolicyd --help\n", stderr);
        return EXIT_USAGE;
    }
    if (optind < argc) {
        fprintf(stderr, "migpolicyd: unexpected argument \"%s\"; see migpolicyd --help\n",
                argv[optind]);
        return EXIT_USAGE;
    }
    return -1;
}
