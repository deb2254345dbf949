/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migpolicyd: start, run, stop.
 *
 * The order of things matters. What an earlier agent left throttled is restored before anything
 * else; nobody can connect before everything stands; at the end the guests get their CPU back
 * before anything is torn down that could hang.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>

#include "agent/control/control.h"
#include "agent/daemon/lock.h"
#include "agent/daemon/options.h"
#include "agent/daemon/restore.h"
#include "agent/page/page.h"
#include "agent/record/phase.h"
#include "agent/record/recent.h"
#include "agent/record/record.h"
#include "agent/rules/config.h"
#include "agent/rules/paused.h"
#include "agent/rules/policies.h"
#include "agent/virt/loop.h"
#include "agent/watch/leftovers.h"
#include "agent/watch/monitor.h"
#include "agent/watch/watchers.h"
#include "common/alloc.h"
#include "common/cleanup.h"
#include "common/json.h"
#include "common/log.h"
#include "common/units.h"
#include "common/wakeup.h"
#include "metrics/webconfig.h"

#define DEFAULT_POLL_NS (250 * NS_PER_MS)
#define SOCKET_GROUP    "migpolicy"
#define TICK_MS         1000

struct daemon {
    struct options opt;
    struct throttle_roots roots;
    struct config config;
    char *uri;
    char *socket;
    char *listen;
    const char *http_path; /* of a Unix socket of ours, in listen; or NULL */
    char *qemu_run_dir;
    char *admin_group; /* "": none */
    int64_t poll_ns;
    struct policies *policies;
    struct paused *paused;
    struct host *host;
    struct metrics *metrics;
    struct metrics_http *http;
    struct webconfig *web; /* until the server has it */
    bool guarded;          /* the server has one */
    struct traces *traces;
    struct record *record;
    struct recent *recent;
    struct page *page;
    struct learned *learned;
    struct leftovers *leftovers;
    struct watchers *watchers;
    struct monitor *monitor;
    struct control *control;
    int64_t tick_due_ns;
    int lock;
    bool stop;
};

/* ---- the directories ---- */

static int take_lock(const char *run_dir, int *ret_fd)
{
    char who[128];
    int r = lock_take(run_dir, ret_fd);

    if (r == -EBUSY) {
        lock_is_helpless(run_dir, who, sizeof(who));
        log_error("%s: another migpolicyd has it: %s", run_dir, who);
    } else if (r < 0) {
        log_error("%s/lock: %s", run_dir, strerror(-r));
    }
    return r;
}

static int make_dir(const char *path, mode_t mode)
{
    if (mkdir(path, mode) == 0 || errno == EEXIST)
        return 0;
    log_error("cannot create %s: %s", path, strerror(errno));
    return -errno;
}

/* ---- the event loop's own callbacks ---- */

static void export_counts(struct daemon *d)
{
    size_t rules;
    size_t overrides;
    size_t metadata;
    char who[PAUSED_WHO_MAX] = "";
    bool paused = paused_is(d->paused, NULL, who);
    struct page_host host = {0};

    policies_count(d->policies, &rules, &overrides, &metadata);
    metrics_set(d->metrics, METRIC_POLICIES, METRICS_AT(METRICS_SOURCE_CONFIG), (double)rules);
    metrics_set(d->metrics, METRIC_POLICIES, METRICS_AT(METRICS_SOURCE_OVERRIDE),
                (double)overrides);
    metrics_set(d->metrics, METRIC_POLICIES, METRICS_AT(METRICS_SOURCE_METADATA), (double)metadata);
    host.unreadable = policies_unread(d->policies) + (paused && paused_by_doubt(who));
    host.paused_vms = paused_count(d->paused);
    host.outstanding = watchers_outstanding(d->watchers);
    if (paused)
        memcpy(host.paused_by, who, sizeof(host.paused_by));
    page_set_host(d->page, &host);
    metrics_set(d->metrics, METRIC_STATE_UNREADABLE, METRICS_SINGLE, (double)host.unreadable);
    metrics_set(d->metrics, METRIC_PAUSED, METRICS_SINGLE, paused);
    metrics_set(d->metrics, METRIC_PAUSED_VMS, METRICS_SINGLE, (double)host.paused_vms);
}

static void on_tick(void *opaque)
{
    struct daemon *d = opaque;
    int64_t now = monotonic_ns();

    metrics_set(d->metrics, METRIC_LOOP_LAG, METRICS_SINGLE,
                d->tick_due_ns && now > d->tick_due_ns ? (double)(now - d->tick_due_ns) / 1e9 : 0);
    d->tick_due_ns = now + TICK_MS * NS_PER_MS;
    watchers_reap(d->watchers);
    control_tick(d->control, now);
    metrics_http_tick(d->http, now);
    export_counts(d);
    lock_beat(d->lock);
    if (watchers_are_kept(d->watchers, now))
        sd_notify(0, "WATCHDOG=1");
}

/* What a configuration comes to, with the options, which take precedence, and with the defaults. */

static const char *first_of(const char *option, const char *configured, const char *by_default)
{
    return option ? option : configured ? configured : by_default;
}

static const char *uri_of(const struct daemon *d, const struct config *config)
{
    return first_of(d->opt.uri, config->uri, OPTIONS_DEFAULT_URI);
}

static const char *listen_of(const struct daemon *d, const struct config *config)
{
    return first_of(d->opt.metrics_listen, config->metrics_listen, OPTIONS_DEFAULT_METRICS);
}

static const char *qemu_run_dir_of(const struct daemon *d, const struct config *config)
{
    return first_of(d->opt.qemu_run_dir, config->qemu_run_dir, OPTIONS_DEFAULT_QEMU);
}

static const char *admin_group_of(const struct config *config)
{
    return config->admin_group ? config->admin_group : "";
}

static int64_t poll_ns_of(const struct config *config)
{
    return config->poll_ns ? config->poll_ns : DEFAULT_POLL_NS;
}

static struct host_limits limits_of(const struct config *config)
{
    return (struct host_limits){
        .throttled_max = config->limits_throttled ? config->max_throttled_domains : -1,
        .bandwidth_bps = config->host_bandwidth_bps,
    };
}

/* The keys that only count at the start, as far as they have another value now; or "". */
static void tell_ignored(const struct daemon *d, const struct config *config, char *text,
                         size_t size)
{
    const struct {
        const char *key;
        bool differs;
    } keys[] = {
        {"uri", strcmp(uri_of(d, config), d->uri) != 0},
        {"metrics_listen", strcmp(listen_of(d, config), d->listen) != 0},
        {"qemu_run_dir", strcmp(qemu_run_dir_of(d, config), d->qemu_run_dir) != 0},
        {"admin_group", strcmp(admin_group_of(config), d->admin_group) != 0},
        {"poll_interval", poll_ns_of(config) != d->poll_ns},
    };
    size_t len = 0;

    text[0] = '\0';
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        if (keys[i].differs)
            len +=
                (size_t)snprintf(text + len, size - len, "%s%s",
                                 len ? ", " : "not before migpolicyd is restarted: ", keys[i].key);
    }
}

/* What a configuration says of access to the HTTP server; NULL if nothing. */
static int load_web(const struct config *config, struct webconfig **ret, struct error *ret_err)
{
    struct error err;
    int r = 0;

    *ret = NULL;
    if (!config->web_config && config->web_answerers == 0)
        return 0;
    if (!config->web_config)
        return error_set(ret_err, -EINVAL, "web_may_answer: needs web_config, with TLS");
    r = webconfig_load(config->web_config, ret, &err);
    if (r < 0)
        return error_set(ret_err, r, "web_config: %s", err.text);
    for (size_t i = 0; r == 0 && i < config->web_answerers; i++)
        r = webconfig_let_answer(*ret, config->web_may_answer[i], &err);
    if (r == 0)
        return 0;
    webconfig_free(*ret);
    *ret = NULL;
    return error_set(ret_err, r, "web_may_answer: %s", err.text);
}

/* Certificates are renewed: they are read again whenever the configuration is. */
static void replace_web(struct daemon *d, struct webconfig *web)
{
    if (!d->http || (!web && !d->guarded)) {
        webconfig_free(web);
        return;
    }
    d->guarded = web;
    if (metrics_http_replace(d->http, web) < 0)
        log_error("metrics: cannot go on at \"%s\"", d->listen);
}

/* Both, or neither. */
static int load_all(const char *path, struct config *ret, struct webconfig **ret_web,
                    struct error *ret_err)
{
    struct config config;
    int r = config_load(path, &config, ret_err);

    if (r < 0)
        return r;
    r = load_web(&config, ret_web, ret_err);
    if (r < 0) {
        config_clear(&config);
        return r;
    }
    if (config.ignored)
        log_warning("not read, as its name does not end in .json: %s", config.ignored);
    *ret = config;
    return 0;
}

static int reload(void *opaque, struct error *ret_err)
{
    struct daemon *d = opaque;
    struct webconfig *web = NULL;
    struct config config;
    struct host_limits limits;
    int r;

    sd_notify(0, "RELOADING=1");
    r = load_all(d->opt.config, &config, &web, ret_err);
    if (r < 0) {
        log_error("%s; the configuration in force is kept", ret_err->text);
    } else {
        tell_ignored(d, &config, ret_err->text, sizeof(ret_err->text));
        limits = limits_of(&config);
        host_set_limits(d->host, &limits);
        replace_web(d, web);
        policies_reload(d->policies, &config);
        log_info("configuration reloaded%s%s", *ret_err->text ? "; " : "", ret_err->text);
    }
    sd_notify(0, "READY=1");
    return r;
}

static void on_signal(int fd, unsigned events, void *opaque)
{
    struct daemon *d = opaque;
    struct signalfd_siginfo info;

    (void)events;
    if (read(fd, &info, sizeof(info)) != sizeof(info))
        return;
    if (info.ssi_signo == SIGHUP) {
        struct error err;

        reload(d, &err);
        return;
    }
    log_info("%s: stopping", strsignal((int)info.ssi_signo));
    d->stop = true;
}

/* Signals are blocked before any thread starts, so that only the loop sees them. */
static int watch_signals(struct daemon *d)
{
    sigset_t set;
    int fd;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0)
        return -errno;
    return loop_add_fd(fd, POLLIN, on_signal, d) < 0 ? -EIO : 0;
}

/* ---- start ---- */

static int group_id(const char *name, gid_t *ret)
{
    const struct group *group = getgrnam(name);

    if (!group)
        return -ENOENT;
    *ret = group->gr_gid;
    return 0;
}

static int start_policies(struct daemon *d)
{
    struct error warning;
    int r = policies_new(&d->config, d->opt.state_dir, d->paused, &d->policies, &warning);

    if (r < 0)
        log_error("%s: %s", d->opt.state_dir, strerror(-r));
    else if (warning.text[0])
        log_error("%s", warning.text);
    return r;
}

static int start_paused(struct daemon *d)
{
    struct error warning;
    int r = paused_new(d->opt.state_dir, &d->paused, &warning);

    if (r < 0)
        log_error("%s: %s", d->opt.state_dir, strerror(-r));
    else if (warning.text[0])
        log_error("%s", warning.text);
    else if (paused_is(d->paused, NULL, NULL))
        log_warning("the host is paused: nothing is done until migpolicy resume");
    return r;
}

static int start_metrics(struct daemon *d)
{
    static const struct metrics_labels labels = {
        .phases = phase_names,
        .verdicts = verdict_names,
        .actions = action_names,
        .reasons = reason_names,
        .methods = control_method_names,
        .results = control_result_names,
    };

    return metrics_new(&labels, &d->metrics);
}

/* The one that systemd has opened for it. Returns 0 with -1 if there is none. */
static int take_passed_socket(int *ret_fd)
{
    const int fd = SD_LISTEN_FDS_START;
    int n = sd_listen_fds(false);

    *ret_fd = -1;
    if (n <= 0)
        return n;
    if (n > 1 || sd_is_socket(fd, AF_UNSPEC, SOCK_STREAM, true) <= 0) {
        log_error("metrics: of systemd one socket is expected, a stream that listens");
        return -EINVAL;
    }
    fcntl(fd, F_SETFL, O_NONBLOCK);
    *ret_fd = fd;
    return 0;
}

static int start_http(struct daemon *d, gid_t admin_gid)
{
    const struct webconfig *web = d->web;
    const char *where = "systemd's socket";
    gid_t gid = (gid_t)-1;
    char port[16];
    int fd;
    int r;

    d->page = page_new(&(struct page_env){
        .uri = d->uri,
        .watchers = d->watchers,
        .leftovers = d->leftovers,
        .monitor = d->monitor,
        .recent = d->recent,
        .record = d->record,
        .admin_gid = admin_gid,
    });

    r = take_passed_socket(&fd);
    if (r < 0 || (fd < 0 && !d->listen[0]))
        return r;
    if (fd < 0) {
        group_id(SOCKET_GROUP, &gid);
        r = metrics_http_listen(d->listen, gid, &fd);
        d->http_path = r == 0 ? metrics_http_path(d->listen) : NULL;
        where = d->http_path ? d->listen : port;
    }
    if (r == 0)
        r = metrics_http_start(d->metrics, fd, d->web, page_ask, d->page, &d->http);
    if (r < 0) {
        log_error("metrics: cannot listen on \"%s\": %s", d->listen, strerror(-r));
        return r;
    }
    d->web = NULL;
    d->guarded = web;
    snprintf(port, sizeof(port), "port %u", metrics_http_port(d->http));
    log_info("metrics at %s%s%s", where, web && web->cert ? ", over TLS" : "",
             web && web->users ? ", for who has a password" : "");
    return 0;
}

static int start_control(struct daemon *d, gid_t admin_gid)
{
    struct control_env env = {
        .uri = d->uri,
        .socket_path = d->socket,
        .socket_gid = (gid_t)-1,
        .admin_gid = admin_gid,
        .policies = d->policies,
        .paused = d->paused,
        .watchers = d->watchers,
        .leftovers = d->leftovers,
        .monitor = d->monitor,
        .metrics = d->metrics,
        .record = d->record,
        .state_dir = d->opt.state_dir,
        .reload = reload,
        .reload_opaque = d,
    };
    int r;

    group_id(SOCKET_GROUP, &env.socket_gid);
    r = control_new(&env, &d->control);
    if (r == -EADDRINUSE)
        log_error("%s: another migpolicyd is running", d->socket);
    else if (r < 0)
        log_error("%s: %s", d->socket, strerror(-r));
    return r;
}

/* What ended before this start is shown as well, if it can be read. */
static void start_recent(struct daemon *d)
{
    AUTO_JSON struct json_object *history = NULL;

    d->recent = recent_new();
    if (record_history(d->record, NULL, NULL, RECENT_ENDED, &history) == 0)
        recent_load(d->recent, history);
}

/* Without them all else works. */
static void start_traces(struct daemon *d)
{
    char *dir AUTO_FREE = NULL;
    int r;

    alloc_need_length(asprintf(&dir, "%s/traces", d->opt.state_dir));
    r = traces_new(dir, &trace_limits_default, &d->traces);
    if (r < 0)
        log_warning("migrations are not recorded: %s/traces: %s", d->opt.state_dir, strerror(-r));
}

static int start_watchers(struct daemon *d)
{
    struct watchers_env env = {
        .uri = d->uri,
        .place = {.roots = d->roots, .qemu_run_dir = d->qemu_run_dir},
        .poll_ns = d->poll_ns,
        .policies = d->policies,
        .paused = d->paused,
        .host = d->host,
        .metrics = d->metrics,
        .traces = d->traces,
        .record = d->record,
        .recent = d->recent,
        .learned = d->learned,
        .leftovers = d->leftovers,
    };

    return watchers_new(&env, &d->watchers);
}

/* The result goes to the log and into the metrics. */
static void restore_first(struct daemon *d)
{
    size_t left, restored;

    d->leftovers = leftovers_new(&d->roots, d->record, d->metrics);
    restored = leftovers_restore_first(d->leftovers, &left);
    metrics_set(d->metrics, METRIC_START_RESTORED, METRICS_SINGLE, (double)restored);
    metrics_set(d->metrics, METRIC_START_LEFT, METRICS_SINGLE, (double)left);
    if (left > 0)
        log_error("at the start %zu VMs had their CPU limits put back, and %zu could not; that is "
                  "tried again, and migpolicy status names them",
                  restored, left);
    else if (restored > 0)
        log_info("at the start %zu VMs had their CPU limits put back", restored);
}

/*
 * What needs no configuration, which may be broken. Without the state directory the guests get
 * their CPU back as well; then the start fails.
 */
static int start_first(struct daemon *d)
{
    int r, recorded;

    r = watch_signals(d);
    if (r == 0)
        r = make_dir(d->opt.run_dir, 0755);
    if (r == 0)
        r = take_lock(d->opt.run_dir, &d->lock);
    if (r == 0)
        r = start_metrics(d);
    if (r < 0)
        return r;
    recorded = make_dir(d->opt.state_dir, 0700);
    if (recorded == 0 && (recorded = record_new(d->opt.state_dir, &record_limits_default,
                                                d->metrics, &d->record)) < 0)
        log_error("%s: %s", d->opt.state_dir, strerror(-recorded));
    restore_first(d);
    return recorded;
}

static int start(struct daemon *d)
{
    const struct host_limits limits = limits_of(&d->config);
    gid_t admin_gid = (gid_t)-1;
    int r;

    d->uri = alloc_need(strdup(uri_of(d, &d->config)));
    d->listen = alloc_need(strdup(listen_of(d, &d->config)));
    d->qemu_run_dir = alloc_need(strdup(qemu_run_dir_of(d, &d->config)));
    d->admin_group = alloc_need(strdup(admin_group_of(&d->config)));
    d->poll_ns = poll_ns_of(&d->config);
    if (d->opt.socket)
        d->socket = alloc_need(strdup(d->opt.socket));
    else
        alloc_need_length(asprintf(&d->socket, "%s/io.migpolicy", d->opt.run_dir));
    if (d->config.admin_group && group_id(d->config.admin_group, &admin_gid) < 0) {
        log_error("admin_group: there is no group \"%s\"", d->config.admin_group);
        return -ENOENT;
    }

    if (hypervisor_init(d->uri) < 0) {
        log_error("%s: %s", d->uri, hypervisor_error());
        return -EIO;
    }
    learned_new(d->record, &d->learned);

    r = start_paused(d);
    if (r == 0)
        r = start_policies(d);
    d->host = host_new(&limits);
    if (r == 0)
        start_recent(d);
    if (r == 0)
        start_traces(d);
    if (r == 0)
        r = start_watchers(d);
    if (r == 0)
        r = monitor_new(d->uri, d->watchers, d->policies, d->metrics, &d->monitor);
    if (r == 0)
        r = start_http(d, admin_gid);
    if (r == 0)
        export_counts(d);
    if (r == 0)
        r = start_control(d, admin_gid);
    if (r == 0 && loop_add_timer(TICK_MS, on_tick, d) < 0)
        r = -EIO;
    return r;
}

static void stop(struct daemon *d, int status)
{
    bool quiet;

    sd_notify(0, "STOPPING=1");
    metrics_http_stop(d->http); /* which looks at the watchers */
    if (d->http_path)
        unlink(d->http_path);
    quiet = control_free(d->control);
    quiet &= monitor_free(d->monitor); /* before the watchers, which it starts */
    quiet &= watchers_free(d->watchers);
    quiet &= traces_stop(d->traces);
    quiet &= record_stop(d->record);
    if (!quiet)
        _exit(status); /* a thread that hangs in the hypervisor still uses the rest */
    page_free(d->page);
    recent_free(d->recent);
    policies_free(d->policies);
    paused_free(d->paused);
    host_free(d->host);
    leftovers_free(d->leftovers);
    traces_free(d->traces);
    learned_free(d->learned);
    record_free(d->record);
    metrics_free(d->metrics);
    webconfig_free(d->web);
    config_clear(&d->config);
    free(d->uri);
    free(d->socket);
    free(d->listen);
    free(d->qemu_run_dir);
    free(d->admin_group);
}

static int check(struct daemon *d)
{
    struct error err;

    if (load_all(d->opt.config, &d->config, &d->web, &err) < 0) {
        log_error("%s", err.text);
        return EXIT_FAILURE;
    }
    webconfig_free(d->web);
    config_clear(&d->config);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    struct daemon d = {.opt = {
                           .config = CONFIG_DEFAULT_PATH,
                           .state_dir = "/var/lib/migpolicy",
                           .run_dir = "/run/migpolicy",
                       }};
    struct error err;
    int r = options_parse(argc, argv, &d.opt);

    if (r >= 0)
        return r;
    log_init();
    if (d.opt.restore)
        return restore_alone(&d.opt);
    if (d.opt.check)
        return check(&d);
    d.roots = (struct throttle_roots){.proc = "/proc", .run_dir = d.opt.run_dir};
    r = loop_init();
    if (r == 0)
        r = start_first(&d);
    if (r == 0 && (r = load_all(d.opt.config, &d.config, &d.web, &err)) < 0)
        log_error("%s", err.text);
    if (r == 0)
        r = start(&d);
    if (r == 0) {
        sd_notify(0, "READY=1");
        while (!d.stop && r == 0)
            r = loop_run_once();
        if (r < 0)
            log_error("the event loop failed: %s", strerror(-r));
    }
    stop(&d, r < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
    return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
