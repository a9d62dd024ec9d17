/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* How the daemon stops without losing a caller. A daemon that simply exits when idle loses a call of that
 * moment: the bus has delivered it already, or systemd believes that the service still runs and does not
 * start it. So: first STOPPING=1, after which systemd queues further starts; then the name is released; calls
 * that the bus delivered before its answer are still served; then exit. An Acquire in that time is refused
 * with ShuttingDown, because its claim would need a daemon; the caller's next try starts one. SIGTERM does
 * the same.
 *
 * The policy is replaced as a whole. A policy with any error only changes the list of errors. Without a valid
 * policy the daemon runs and denies everything, so that people can see why. */

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>

#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "base/user-name.h"
#include "daemon/broker/audit.h"
#include "daemon/bus/bus.h"
#include "daemon/broker/broker.h"
#include "daemon/kernel/hotplug.h"
#include "daemon/broker/fd-store.h"
#include "daemon/broker/ledger.h"
#include "daemon/broker/lifelines.h"
#include "daemon/manager.h"
#include "daemon/policy-loader.h"
#include "daemon/privileges.h"
#include "daemon/sockets.h"
#include "daemon/varlink/varlink.h"

/* The delay after the spawner's death. It is long enough for systemd's limit (StartLimitBurst= in
 * StartLimitIntervalSec=), even if every spawner dies at once. */
#define RESTART_USEC (10 * UINT64_C(1000000))
#define RESTART_RETRY_USEC UINT64_C(1000000)

#define CLAIMS_PER_UID_MAX 64U
#define CLAIMS_MAX 512U /* units/vfiod.service: FileDescriptorStoreMax= */
/* Its lifeline, and a copy of its record once it is quarantined. */
#define PLACES_PER_CLAIM 2U
/* Other fds in the store: unused lifelines, the watch of the nodes, a copy of the taints, and a second
 * lifeline of a claim that moves. */
#define KEPT_BESIDE_CLAIMS (LIFELINES_UNUSED_MAX + 3U)

/* Some buses accept the connection and do not answer. Readiness does not depend on them. */
#define BUS_PATIENCE_USEC (5 * UINT64_C(1000000))

struct Manager {
    ManagerConfig config;
    sd_event *event;
    sd_event_source *idle_timer;
    HostSnapshot *snapshot; /* owned; of --simulate: there is no ledger and no hotplug then */
    HostSource host;
    Inventory *inventory; /* owned, or the snapshot's */
    Budget *budget;
    Door *door;
    Broker *broker;
    Ledger *ledger;
    Hotplug *hotplug;
    PolicyLoader *loader;
    const PolicyLoad *policy; /* the loader's: the policy in force, and the errors of the last load */
    const PolicyLoad *shadow; /* the same for the shadow policy */
    bool reloading;           /* systemd was told */
    BusFace *bus;
    VarlinkFace *varlink;
    PassedSockets sockets;
    bool ready;                    /* systemd was told */
    sd_event_source *bus_patience; /* runs until then */
    bool raw_io;                   /* CAP_SYS_RAWIO is kept */
    sd_event_source *spawner_exit, *restart_timer;
    int exit_status;
    bool stopping;
};

/* ---- Stopping ---- */

static void stop(Manager *m) {
    if (m->stopping)
        return;
    m->stopping = true;
    (void) sd_notify(false, "STOPPING=1\nSTATUS=Giving the name back");
    if (m->varlink)
        varlink_face_stop(m->varlink);
    if (m->bus)
        bus_face_stop(m->bus);
    else
        (void) sd_event_exit(m->event, m->exit_status);
}

static void on_bus_stopped(void *userdata) {
    Manager *m = userdata;

    (void) sd_event_exit(m->event, m->exit_status);
}

static bool is_idle(const Manager *m) {
    return broker_is_idle(m->broker) && bus_face_n_listeners(m->bus) == 0 &&
            varlink_face_n_peers(m->varlink) == 0;
}

/* Restarts the wait whenever the last claim or listener may have gone. The timer checks whether that is
 * so. */
static void start_idle_timer(Manager *m) {
    int r;

    if (m->config.exit_idle_usec == EXIT_IDLE_NEVER || m->stopping)
        return;
    r = sd_event_source_set_time_relative(m->idle_timer, m->config.exit_idle_usec);
    if (r >= 0)
        r = sd_event_source_set_enabled(m->idle_timer, SD_EVENT_ONESHOT);
    if (r < 0)
        log_warning_errno(r, "Cannot set the idle timer, staying");
}

static int on_idle_timer(sd_event_source *source, uint64_t usec, void *userdata) {
    Manager *m = userdata;

    if (is_idle(m)) {
        log_debug("No claims and no clients, exiting");
        stop(m);
    } else if (!broker_is_at_rest(m->broker))
        start_idle_timer(m); /* no client reports when this ends */
    return 0;
}

static void on_face_idle(void *userdata) {
    start_idle_timer(userdata);
}

/* ---- The spawner ---- */

/* A restart must not lose the request of a waiting caller. */
static int on_restart_timer(sd_event_source *source, uint64_t usec, void *userdata) {
    Manager *m = userdata;
    int r;

    if (m->bus && broker_is_at_rest(m->broker)) {
        log_notice("Restarting for a new spawner");
        m->exit_status = EX_TEMPFAIL;
        stop(m);
        return 0;
    }
    (void) sd_notify(false, "STATUS=The spawner has died; restarting after the claims in progress");
    r = sd_event_source_set_time_relative(source, RESTART_RETRY_USEC);
    return r < 0 ? r : sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* Only a new daemon has the privilege that a spawner needs. Claims survive a restart if the service manager
 * keeps our fds and restarts us. */
static int on_spawner_exit(sd_event_source *source, int fd, uint32_t events, void *userdata) {
    Manager *m = userdata;
    siginfo_t info;

    (void) waitid(P_PIDFD, (id_t) fd, &info, WEXITED | WNOHANG);
    m->spawner_exit = sd_event_source_disable_unref(m->spawner_exit);
    if (!getenv("NOTIFY_SOCKET")) {
        log_error("The spawner (vfiod --spawner) has died: the isolation and the serial numbers of devices "
                  "are unknown until vfiod is restarted");
        return 0;
    }
    log_error("The spawner (vfiod --spawner) has died: the isolation and the serial numbers of devices are "
              "unknown until vfiod has restarted, which it does soon");
    (void) sd_notify(false, "STATUS=The spawner has died; restarting soon");
    return sd_event_add_time_relative(
            m->event, &m->restart_timer, CLOCK_MONOTONIC, RESTART_USEC, 0, on_restart_timer, m);
}

static int watch_spawner(Manager *m) {
    if (m->config.spawner_process < 0)
        return 0;
    return sd_event_add_io(
            m->event, &m->spawner_exit, m->config.spawner_process, EPOLLIN, on_spawner_exit, m);
}

/* ---- Policy ---- */

static const char *policy_state(const Manager *m) {
    return !m->policy->policy ? "broken" : m->policy->n_errors > 0 ? "stale" : "loaded";
}

static void tell_status(const Manager *m, const char *prefix) {
    (void) sd_notifyf(false, "%sSTATUS=Serving; policy %s, %zu rule(s)", prefix, policy_state(m),
            m->policy->policy ? policy_n_rules(m->policy->policy) : 0);
}

/* CAP_SYS_RAWIO is kept only if a rule of the first policy is about devices without an IOMMU. A capability
 * that was given up cannot be regained, and a later reload reports that. Held claims do not need it. */
static int settle_raw_io(Manager *m) {
    bool wanted = policy_host_settings(m->policy->policy).noiommu != NOIOMMU_OFF;

    m->raw_io = wanted && privileges_have(CAP_SYS_RAWIO);
    broker_set_raw_io(m->broker, m->raw_io);
    if (wanted && !m->raw_io)
        log_warning("The policy mentions devices without an IOMMU, but vfiod has no CAP_SYS_RAWIO (see "
                    "vfiod(8)): requests for them are refused");
    return wanted ? 0 : privileges_give_up(CAP_SYS_RAWIO);
}

static void drop_raw_io(Manager *m) {
    int r;

    if (m->snapshot || !m->raw_io || policy_host_settings(m->policy->policy).noiommu != NOIOMMU_OFF)
        return;
    r = privileges_give_up(CAP_SYS_RAWIO);
    if (r < 0) {
        log_error_errno(r, "Cannot give up CAP_SYS_RAWIO, which the policy no longer requires");
        return;
    }
    m->raw_io = false;
    broker_set_raw_io(m->broker, false);
}

static bool noiommu_needs_restart(const Manager *m) {
    return !m->raw_io && policy_host_settings(m->policy->policy).noiommu != NOIOMMU_OFF;
}

/* Reviews what the former policy decided. */
static void settle_policy(Manager *m) {
    drop_raw_io(m);
    (void) broker_review_claims(m->broker);
    broker_make_declared_functions(m->broker);
    if (m->ledger)
        ledger_look(m->ledger);
    if (noiommu_needs_restart(m))
        log_warning("The policy now mentions devices without an IOMMU, but vfiod has no CAP_SYS_RAWIO: "
                    "requests for them are refused until vfiod is restarted");
}

static void on_policy_loaded(void *userdata, int r, bool resolved) {
    Manager *m = userdata;

    if (r < 0)
        log_error_errno(r, "Cannot read the policy, nothing was changed");
    if (!m->broker)
        return; /* it gets the policy when it is loaded */
    broker_set_policy(m->broker, m->policy->policy);
    broker_set_shadow(m->broker, m->shadow->policy);
    if (!resolved)
        broker_note_policy_load(m->broker, r >= 0 && m->policy->n_errors == 0);
    if (r >= 0 && m->bus) {
        log_info("%s: %zu rules in force",
                resolved                           ? "Accounts of the policy looked up again"
                        : m->policy->n_errors == 0 ? "Policy reloaded"
                                                   : "Policy not reloaded, because it has errors",
                policy_n_rules(m->policy->policy));
        settle_policy(m);
        bus_face_policy_changed(m->bus);
        varlink_face_host_changed(m->varlink);
    }
    if (m->bus && !resolved)
        bus_face_policy_loaded(m->bus, r);
    if (m->varlink && !resolved)
        varlink_face_policy_loaded(m->varlink, r);
    if (m->reloading)
        tell_status(m, "READY=1\n");
    m->reloading = false;
}

static void reload_policy(void *userdata, const Subject *by) {
    audit_reload(by);
    policy_loader_load(((Manager *) userdata)->loader);
}

/* Waits until the accounts of the policy are looked up or timed out; nobody is served before. -ECANCELED: the
 * daemon was told to stop. */
static int load_first_policy(Manager *m) {
    const PolicyLoaderConfig config = {
            .directories = m->config.policy_directories,
            .shadow_directories = m->config.shadow_directories,
            .credentials = m->config.credentials_directory,
            /* A recorded host has its own accounts. */
            .passwd = m->snapshot ? NULL : m->config.passwd,
            .resolve = m->snapshot ? host_snapshot_resolve : NULL,
            .resolve_userdata = m->snapshot,
    };
    int r;

    r = policy_loader_new(m->event, &config, on_policy_loaded, m, &m->loader);
    if (r < 0)
        return log_error_errno(r, "Cannot read the policy");
    m->policy = policy_loader_policy(m->loader);
    m->shadow = policy_loader_shadow(m->loader);
    policy_loader_load(m->loader);
    while (policy_loader_is_busy(m->loader) && !m->stopping) {
        r = sd_event_run(m->event, UINT64_MAX);
        if (r < 0)
            return log_error_errno(r, "Cannot wait for the accounts of the policy");
    }
    return m->stopping ? -ECANCELED : 0;
}

/* ---- Signals ---- */

static int on_stop_signal(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata) {
    stop(userdata);
    return 0;
}

static int on_reload_signal(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata) {
    Subject by = SUBJECT_NULL;
    Manager *m = userdata;

    (void) sd_notifyf(false, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, clock_usec(CLOCK_MONOTONIC));
    by.uid = si->ssi_uid;
    by.pid = (pid_t) si->ssi_pid;
    m->reloading = true;
    reload_policy(m, &by);
    return 0;
}

static int watch_signals(Manager *m) {
    static const int stopping[] = {SIGTERM, SIGINT};
    sigset_t mask;
    int r;

    sigemptyset(&mask);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGINT);
    sigaddset(&mask, SIGHUP);
    if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
        return -errno;
    /* A closed terminal or pipe must not end the daemon. */
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR)
        return -errno;
    for (size_t i = 0; i < ELEMENTSOF(stopping); i++) {
        r = sd_event_add_signal(m->event, NULL, stopping[i], on_stop_signal, m);
        if (r < 0)
            return r;
    }
    return sd_event_add_signal(m->event, NULL, SIGHUP, on_reload_signal, m);
}

/* ---- Messages between the parts ---- */

static void on_taints_changed(void *userdata) {
    Manager *m = userdata;

    if (m->bus)
        bus_face_taints_changed(m->bus);
    if (m->varlink)
        varlink_face_host_changed(m->varlink);
}

static const TaintList *read_taints(void *userdata) {
    Manager *m = userdata;

    if (m->snapshot)
        return host_snapshot_taints(m->snapshot);
    ledger_look(m->ledger);
    return ledger_taints(m->ledger);
}

static bool is_node_granted(void *userdata, const char *path, uid_t uid) {
    const Manager *m = userdata;

    return m->broker && broker_has_exposed(m->broker, path, uid);
}

static int read_weakness(void *userdata, char **ret) {
    Manager *m = userdata;
    int r = 0;

    if (m->ledger)
        ledger_look_now(m->ledger);
    *ret = taint_list_describe_weakness(read_taints(m), &r);
    return *ret ? 0 : r;
}

static const char *noiommu_state(void *userdata) {
    const Manager *m = userdata;

    return noiommu_needs_restart(m) ? "unavailable"
                                    : noiommu_mode_to_string(policy_host_settings(m->policy->policy).noiommu);
}

static void on_device_changed(void *userdata, Device *device, int changes, int old_group) {
    Manager *m = userdata;

    /* Only queued here, and announced after the broker has finished. */
    if (m->bus)
        bus_face_device_changed(m->bus, device, changes, old_group);
    if (m->varlink)
        varlink_face_device_changed(m->varlink, device, changes, old_group);
    if (changes & DEVICE_REMOVED)
        broker_device_removed(m->broker, device);
    else
        broker_device_changed(m->broker, device, changes);
    ledger_look_soon(m->ledger);
}

static void on_claim_changed(void *userdata, const Claim *claim, ClaimChange change) {
    Manager *m = userdata;

    /* Before the reply, so that a device that somebody has is always in the ledger. */
    if (claim->plan.backend == BACKEND_NOIOMMU && claim->state == CLAIM_HELD)
        ledger_note_claim(m->ledger, claim);
    if (claim->plan.backend == BACKEND_NOIOMMU)
        ledger_look_soon(m->ledger);
    if (m->bus)
        bus_face_claim_changed(m->bus, claim, change);
    if (m->varlink)
        varlink_face_claim_changed(m->varlink, claim, change);
    if (change == CLAIM_REMOVED)
        start_idle_timer(m);
}

static int refresh_device(void *userdata, const DeviceName *name) {
    Manager *m = userdata;

    return hotplug_refresh(m->hotplug, name);
}

static void become_ready(Manager *m) {
    if (m->ready)
        return;
    m->ready = true;
    m->bus_patience = sd_event_source_disable_unref(m->bus_patience);
    tell_status(m, "READY=1\n");
    log_info("Serving %u devices in %u groups, policy %s", inventory_n_devices(m->inventory),
            inventory_n_groups(m->inventory), policy_state(m));
    start_idle_timer(m);
}

static void on_bus_ready(void *userdata) {
    become_ready(userdata);
}

static int on_bus_patience(sd_event_source *source, uint64_t usec, void *userdata) {
    log_notice("The bus does not answer yet, serving the sockets");
    become_ready(userdata);
    return 0;
}

/* In early boot the bus accepts connections before it serves anybody; in a rescue shell it never does. */
static int limit_patience(Manager *m) {
    if (m->sockets.n == 0 || m->ready || m->stopping)
        return 0;
    return sd_event_add_time_relative(
            m->event, &m->bus_patience, CLOCK_MONOTONIC, BUS_PATIENCE_USEC, 0, on_bus_patience, m);
}

/* ---- Building ---- */

static int create_engine(Manager *m) {
    const BrokerConfig config = {
            .state_directory = m->config.state_directory,
            .cdi_directory = m->config.cdi_directory,
            .worker_timeout_usec = m->config.worker_timeout_usec,
            .spawner = m->config.spawner,
            .ask_timeout_usec = m->config.ask_timeout_usec,
            .budget = m->budget,
            .host = &m->host,
            .simulated = m->snapshot,
    };
    int r;

    r = broker_new(m->event, m->inventory, &config, &m->broker);
    if (r < 0)
        return log_error_errno(r, "Cannot start the broker");
    broker_set_observer(m->broker, on_claim_changed, m);
    broker_set_weakness(m->broker, read_weakness, m);
    broker_set_policy(m->broker, m->policy->policy);
    broker_set_shadow(m->broker, m->shadow->policy);
    broker_note_policy_load(m->broker, m->policy->n_errors == 0);
    return 0;
}

static int build_engine(Manager *m) {
    int r;

    if (mkdir(m->config.state_directory, 0755) < 0 && errno != EEXIST)
        return log_error_errno(-errno, "Cannot make %s", m->config.state_directory);
    r = load_first_policy(m);
    if (r < 0)
        return r;
    r = ledger_new(m->event, m->config.state_directory, on_taints_changed, is_node_granted, m, &m->ledger);
    if (r < 0)
        return log_error_errno(r, "Cannot open the ledger of taints");
    m->host = host_source_of_machine();
    m->inventory = inventory_new();
    if (!m->inventory)
        return -ENOMEM;
    r = create_engine(m);
    if (r < 0)
        return r;
    r = hotplug_new(m->event, m->inventory, on_device_changed, m, &m->hotplug);
    if (r < 0)
        return log_error_errno(r, "Cannot read the devices of this host");
    broker_set_refresh(m->broker, refresh_device, m);
    r = settle_raw_io(m);
    if (r < 0)
        return log_error_errno(r, "Cannot give CAP_SYS_RAWIO up");
    r = broker_recover(m->broker);
    if (r < 0)
        return log_error_errno(r, "Cannot take up the claims of the daemon before");
    ledger_look_now(m->ledger); /* only now is it known what was granted */
    (void) broker_review_claims(m->broker);
    broker_make_declared_functions(m->broker);
    return 0;
}

/* Lines as in passwd(5) and group(5), by is_group. */
static int add_account_line(void *lines, bool is_group, const char *name, uint32_t id) {
    if (!strpbrk(name, ":\n"))
        strbuf_addf((StrBuf *) lines + is_group, "%s:x:%" PRIu32 ":\n", name, id);
    return 0;
}

/* For texts: the recorded host has accounts of its own. */
static int take_recorded_names(const HostSnapshot *s) {
    StrBuf lines[2] = {};
    _cleanup_free_ char *passwd = NULL, *group = NULL;
    int r;

    (void) host_snapshot_foreach_account(s, add_account_line, lines);
    passwd = strbuf_steal(&lines[false]);
    group = strbuf_steal(&lines[true]);
    r = passwd ? user_names_read(passwd) : -ENOMEM;
    return r < 0 ? r : group ? group_names_read(group) : -ENOMEM;
}

static int load_snapshot(Manager *m) {
    _cleanup_free_ char *text = NULL, *problem = NULL;
    size_t size;
    int r;

    r = read_file_at(AT_FDCWD, m->config.simulate, SNAPSHOT_SIZE_MAX, &text, &size);
    if (r < 0)
        return log_error_errno(r, "%s: cannot read the recorded host", m->config.simulate);
    r = host_snapshot_parse(text, size, &m->snapshot, &problem);
    if (r == -EBADMSG)
        log_error("%s: not a recorded host: %s", m->config.simulate, problem);
    else if (r < 0)
        log_error_errno(r, "%s: cannot take the recorded host", m->config.simulate);
    return r < 0 ? r : take_recorded_names(m->snapshot);
}

/* Uses nothing of this machine but its bus and policy files: no udev, sysfs, nodes or state on disk. */
static int build_simulated_engine(Manager *m) {
    int r;

    r = load_snapshot(m);
    if (r < 0)
        return r;
    r = load_first_policy(m);
    if (r < 0)
        return r;
    m->host = host_source_of_snapshot(m->snapshot);
    m->inventory = host_snapshot_inventory(m->snapshot);
    r = create_engine(m);
    if (r < 0)
        return r;
    m->raw_io = true; /* nothing is opened, so nobody is refused because of it */
    broker_set_raw_io(m->broker, true);
    r = privileges_give_up(CAP_SYS_RAWIO);
    return r < 0 ? log_error_errno(r, "Cannot give CAP_SYS_RAWIO up") : 0;
}

static ViewHost view_host(Manager *m) {
    return (ViewHost){
            .inventory = m->inventory,
            .source = &m->host,
            .broker = m->broker,
            .budget = m->budget,
            .policy = m->policy,
            .shadow = m->shadow,
            .read_taints = read_taints,
            .noiommu_state = noiommu_state,
            .simulated = m->snapshot,
            .userdata = m,
    };
}

static int build_bus(Manager *m) {
    const BusContext context = {
            .event = m->event,
            .host = view_host(m),
            .door = m->door,
            .reload_policy = reload_policy,
            .ready = on_bus_ready,
            .idle = on_face_idle,
            .stopped = on_bus_stopped,
            .userdata = m,
    };

    return bus_face_new(&context, &m->bus);
}

/* systemd listens for us, also while the daemon is not running. */
static int build_varlink(Manager *m) {
    const VarlinkContext context = {
            .event = m->event,
            .host = view_host(m),
            .door = m->door,
            .reload_policy = reload_policy,
            .idle = on_face_idle,
            .userdata = m,
    };
    int r;

    r = varlink_face_new(&context, &m->varlink);
    for (size_t i = 0; r >= 0 && i < m->sockets.n; i++) {
        const PassedSocket *s = m->sockets.sockets + i;

        r = varlink_face_listen(m->varlink, s->fd, s->scope, s->read_only);
    }
    return r;
}

/* A claim whose fds systemd does not keep would end with this process. */
static unsigned count_claims_max(void) {
    uint64_t room = fd_store_size();

    room -= MIN(room, KEPT_BESIDE_CLAIMS);
    room /= PLACES_PER_CLAIM;
    if (room >= CLAIMS_MAX)
        return CLAIMS_MAX;
    log_warning(
            "FileDescriptorStoreMax= has been lowered: there can be no more than %u claims", (unsigned) room);
    return (unsigned) room;
}

static int build_loop(Manager *m) {
    const BudgetLimits limits = {.claims_per_user = CLAIMS_PER_UID_MAX, .claims = count_claims_max()};
    int r;

    r = sd_event_new(&m->event);
    if (r < 0)
        return r;
    m->budget = budget_new(&limits);
    if (!m->budget)
        return -ENOMEM;
    r = door_new(m->event, m->budget, &m->door);
    if (r < 0)
        return r;
    r = watch_signals(m);
    if (r < 0)
        return r;
    r = watch_spawner(m);
    if (r < 0)
        return r;
    r = sd_event_set_watchdog(m->event, true);
    if (r < 0)
        return r;
    r = sd_event_add_time_relative(m->event, &m->idle_timer, CLOCK_MONOTONIC, 0, 0, on_idle_timer, m);
    if (r < 0)
        return r;
    return sd_event_source_set_enabled(m->idle_timer, SD_EVENT_OFF);
}

int manager_new(const ManagerConfig *config, Manager **ret) {
    _cleanup_(manager_freep) Manager *m = calloc(1, sizeof *m);
    int r;

    if (!m)
        return -ENOMEM;
    m->config = *config;
    r = build_loop(m);
    if (r < 0)
        return log_error_errno(r, "Cannot set up the event loop");
    r = passed_sockets_find(&m->sockets);
    if (r < 0)
        return log_error_errno(r, "Cannot take the sockets that systemd passes");
    r = config->simulate ? build_simulated_engine(m) : build_engine(m);
    if (r < 0 && !m->stopping)
        return r;
    r = m->stopping ? 0 : build_varlink(m);
    if (r < 0)
        return log_error_errno(r, "Cannot set up the Varlink face");
    r = m->stopping ? 0 : build_bus(m);
    if (r >= 0)
        r = limit_patience(m);
    if (r < 0)
        return log_error_errno(r, "Cannot set up the D-Bus face");
    *ret = TAKE_PTR(m);
    return 0;
}

Manager *manager_free(Manager *m) {
    if (!m)
        return NULL;
    m->varlink = varlink_face_free(m->varlink);
    m->bus = bus_face_free(m->bus);
    if (m->broker)
        broker_set_observer(m->broker, NULL, NULL);
    m->hotplug = hotplug_free(m->hotplug);
    m->broker = broker_free(m->broker);
    m->door = door_free(m->door);
    m->budget = budget_free(m->budget);
    m->ledger = ledger_free(m->ledger);
    if (!m->snapshot)
        m->inventory = inventory_free(m->inventory);
    m->snapshot = host_snapshot_free(m->snapshot);
    m->loader = policy_loader_free(m->loader);
    sd_event_source_disable_unref(m->idle_timer);
    sd_event_source_disable_unref(m->spawner_exit);
    sd_event_source_disable_unref(m->restart_timer);
    sd_event_source_disable_unref(m->bus_patience);
    sd_event_unref(m->event);
    passed_sockets_done(&m->sockets);
    free(m);
    return NULL;
}

int manager_run(Manager *m) {
    return sd_event_loop(m->event);
}
