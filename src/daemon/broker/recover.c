/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The start after a crash, an update or a stop. Claims are rebuilt from their records and from the lifelines
 * that systemd kept.
 *
 * Everything is read before any claim is taken up. So a problem with reading (memory, files, the disk) ends
 * the start without a change: systemd starts the daemon again and still keeps the lifelines. If two records
 * have the same device, the one whose client still has its lifeline counts, and otherwise the newer one.
 *
 * The claim of a record that is damaged, or of another version, may still be in use. The devices that it
 * names are quarantined. If the record may have named more, so is every device on a vfio driver that no claim
 * has. The same happens when a client holds a lifeline that has no record. */

#include <fcntl.h>
#include <stdio.h>
#include <systemd/sd-daemon.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "base/user-name.h"
#include "daemon/broker/backend.h"
#include "daemon/broker/caps-store.h"
#include "daemon/broker/cdi-files.h"
#include "daemon/broker/claim-run.h"
#include "daemon/broker/evict.h"
#include "daemon/broker/fd-store.h"
#include "daemon/broker/grant.h"
#include "daemon/broker/ledger.h"
#include "daemon/broker/recover-kept.h"
#include "daemon/broker/recover-quarantine.h"
#include "daemon/broker/reservation.h"
#include "daemon/broker/sibling.h"
#include "daemon/broker/stuck.h"
#include "daemon/broker/tether.h"
#include "daemon/broker/vf-count.h"
#include "daemon/broker/vf-declared.h"

typedef struct Candidate {
    StoredClaim *stored;
    int lifeline;                   /* owned; what systemd kept for it; -EBADF: nothing */
    char lifeline_id[CLAIM_ID_MAX]; /* the id of that; "": it is not needed any more */
    int previous;                   /* as lifeline, of the previous holder during a move */
    ClaimRun *run;
} Candidate;

typedef struct Recovery {
    Broker *broker;
    char **names; /* of the fds that systemd kept for us, from SD_LISTEN_FDS_START on */
    int n_fds;
    bool *found; /* owned; for each of these fds: a record names it */
    StoredClaims stored;
    Candidate *candidates; /* owned; sorted: valid ones first, then the most credible */
    bool incomplete;       /* some devices of a claim may not be known */
} Recovery;

/* ---- Lifelines ---- */

/* Takes the fd with this name out of the kept ones; -EBADF if there is none. */
static int take_fd(Recovery *recovery, const char *name) {
    for (int i = 0; i < recovery->n_fds; i++)
        if (recovery->names[i] && streq(recovery->names[i], name)) {
            free(recovery->names[i]);
            recovery->names[i] = NULL;
            return SD_LISTEN_FDS_START + i;
        }
    return -EBADF;
}

/* A claim may be tied to a connection. Listening sockets belong to the faces, whatever their names are. */
static bool is_connection(const char *name, int fd) {
    return startswith(name, LIFELINE_STORE_PREFIX) &&
            sd_is_socket(fd, AF_UNIX, SOCK_STREAM, /* listening= */ 0) > 0;
}

static void pass_over_sockets(Recovery *recovery) {
    for (int i = 0; i < recovery->n_fds; i++)
        if (sd_is_socket(SD_LISTEN_FDS_START + i, AF_UNSPEC, 0, -1) > 0 &&
                !is_connection(recovery->names[i], SD_LISTEN_FDS_START + i))
            free(TAKE_PTR(recovery->names[i]));
}

/* Without the kept inotify fd, what happened to the nodes meanwhile is unknown. */
static void keep_watching(Recovery *recovery) {
    NodeWatch *nodes = recovery->broker->nodes;
    _cleanup_close_ int fd = take_fd(recovery, NODE_WATCH_STORE_NAME);
    int r = fd < 0 ? -ENOENT : node_watch_keep(nodes, fd);

    if (r >= 0) {
        (void) TAKE_FD(fd);
        return;
    }
    if (fd >= 0)
        log_warning_errno(r, "Cannot continue the watch over device nodes that systemd keeps");
    (void) node_watch_keep(nodes, -EBADF);
}

/* The id under which its tether is kept. For a damaged record, the id of the claim may be all that is known.
 */
static const char *lifeline_of(const StoredClaim *c) {
    return c->damaged ? c->id : claim_lifeline(&c->claim);
}

/* Duplicates the fd that was kept under this id into *ret, owned, since several claims may be tied to one
 * connection. *ret stays as it is if nothing was kept. An fd that cannot be duplicated is an error: its claim
 * may be in use. */
static int find_lifeline(Recovery *recovery, const char *id, int *ret) {
    char name[TETHER_STORE_NAME_MAX];

    (void) tether_store_name(id, name);
    for (int i = 0; i < recovery->n_fds; i++)
        if (recovery->names[i] && streq(recovery->names[i], name)) {
            recovery->found[i] = true;
            *ret = fcntl(SD_LISTEN_FDS_START + i, F_DUPFD_CLOEXEC, SD_LISTEN_FDS_START + recovery->n_fds);
            return *ret < 0 ? log_error_errno(-errno, "Cannot take up %s", name) : 0;
        }
    return 0;
}

static int find_candidate(Recovery *recovery, StoredClaim *stored, Candidate *c) {
    int r;

    c->stored = stored;
    (void) snprintf(c->lifeline_id, sizeof(c->lifeline_id), "%s", lifeline_of(stored));
    r = find_lifeline(recovery, c->lifeline_id, &c->lifeline);
    if (r < 0 || stored->damaged || !stored->claim.moving)
        return r;
    return find_lifeline(recovery, stored->claim.previous_lifeline, &c->previous);
}

/* If the record of a claim is there, its keepsake is not needed. */
static int take_keepsakes(Recovery *recovery) {
    int r = 0;

    (void) safe_close(take_fd(recovery, LEDGER_STORE_NAME)); /* the ledger has read it */
    for (int i = 0; r >= 0 && i < recovery->n_fds; i++) {
        _cleanup_free_ char *name = NULL;
        _cleanup_close_ int fd = -EBADF;

        if (!recovery->names[i] || !startswith(recovery->names[i], QUARANTINE_STORE_PREFIX))
            continue;
        name = TAKE_PTR(recovery->names[i]);
        fd = SD_LISTEN_FDS_START + i;
        r = kept_claims_load(recovery->broker->store, name, fd, &recovery->stored, &recovery->broker->kept);
    }
    return r;
}

static void close_candidates(Recovery *recovery) {
    for (size_t i = 0; i < recovery->stored.n; i++) {
        (void) safe_close(recovery->candidates[i].lifeline);
        (void) safe_close(recovery->candidates[i].previous);
    }
    free(recovery->candidates);
}

static int find_candidates(Recovery *recovery) {
    size_t n = recovery->stored.n;
    int r = 0;

    recovery->candidates = calloc(n + 1, sizeof(*recovery->candidates));
    if (!recovery->candidates)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        recovery->candidates[i].lifeline = recovery->candidates[i].previous = -EBADF;
    for (size_t i = 0; r >= 0 && i < n; i++)
        r = find_candidate(recovery, &recovery->stored.entries[i], &recovery->candidates[i]);
    return r;
}

/* c no longer needs the fd under this id. Other claims may be tied to the same connection. */
static void drop_lifeline(const Recovery *recovery, Candidate *c, const char *id) {
    char name[TETHER_STORE_NAME_MAX];

    if (streq(c->lifeline_id, id))
        c->lifeline_id[0] = '\0';
    for (size_t i = 0; i < recovery->stored.n; i++)
        if (streq(recovery->candidates[i].lifeline_id, id))
            return;
    fd_store_remove(tether_store_name(id, name));
}

/* Drops what systemd kept for claims that have no record. */
static void drop_rest(Recovery *recovery) {
    for (int i = 0; i < recovery->n_fds; i++) {
        const char *name = recovery->names[i];

        if (name && startswith(name, GROUP_FILES_STORE_PREFIX)) {
            (void) safe_close(SD_LISTEN_FDS_START + i); /* this is not the last copy: systemd has one and
                                                         * closes it */
            fd_store_remove(name);
            continue;
        }
        if (!name || !startswith(name, LIFELINE_STORE_PREFIX))
            continue;
        if (!recovery->found[i] && !tether_fd_is_over(SD_LISTEN_FDS_START + i)) {
            log_error("A program holds the lifeline %s, but that claim has no record", name);
            recovery->incomplete = true;
        }
        if (!recovery->found[i])
            fd_store_remove(name);
        (void) safe_close(SD_LISTEN_FDS_START + i);
    }
}

/* ---- Records that contradict each other ---- */

/* Does its client still have it? Devices on their way into a claim belong to nobody yet. */
static bool hangs_on(const Claim *claim, int lifeline) {
    return !claim->of[0] && tether_is_alive(claim->plan.tether, claim->connection, lifeline);
}

static bool hung_on(const Claim *claim, int previous) {
    return claim->moving && tether_is_alive(claim->previous_tether, claim->previous_connection, previous);
}

static bool is_alive(const Candidate *c) {
    const Claim *claim = &c->stored->claim;

    return claim->state == CLAIM_HELD && (hangs_on(claim, c->lifeline) || hung_on(claim, c->previous));
}

static int compare_candidates(const void *a, const void *b) {
    const Candidate *x = a, *y = b;
    uint64_t since_x = x->stored->claim.since_usec, since_y = y->stored->claim.since_usec;

    if (x->stored->damaged != y->stored->damaged)
        return x->stored->damaged ? 1 : -1;
    /* Where a claim and its part have the same device, the claim counts. */
    if (!x->stored->claim.of[0] != !y->stored->claim.of[0])
        return x->stored->claim.of[0] ? 1 : -1;
    if (is_alive(x) != is_alive(y))
        return is_alive(x) ? -1 : 1;
    return (since_x < since_y) - (since_x > since_y);
}

/* ---- Taking up ---- */

static int give_up(Recovery *recovery, Candidate *c, const char *reason, const SalvagedNames *names) {
    Quarantine q = {.broker = recovery->broker, .reason = reason};
    const char *id = c->stored->id;
    int r = 0;

    /* The id in a damaged record may be that of another claim. */
    if (!claims_find(recovery->broker, id))
        memcpy(q.id, id, sizeof(q.id));
    for (size_t i = 0; r >= 0 && i < names->n; i++)
        r = quarantine_named(&q, &names->names[i]);
    quarantine_finish(&q);
    if (r >= 0)
        r = q.error;
    if (r < 0)
        return log_error_errno(r, "Cannot quarantine the devices of claim %s", id);
    if (q.id[0]) /* no device had to be quarantined */
        (void) store_remove(recovery->broker->store, id);
    store_drop(recovery->broker->store, c->stored);
    if (c->lifeline >= 0)
        drop_lifeline(recovery, c, lifeline_of(c->stored));
    if (c->previous >= 0)
        drop_lifeline(recovery, c, c->stored->claim.previous_lifeline);
    return 0;
}

static int give_up_damaged(Recovery *recovery, Candidate *c) {
    _cleanup_free_ char *copy = store_keep_copy(recovery->broker->store, c->stored);

    log_error("The record of claim %s is damaged, its devices are quarantined: %s (%s)",
            c->stored->id[0] ? c->stored->id : "of unknown id", c->stored->problem ?: "no file of a record",
            copy ?: "lost");
    recovery->incomplete = recovery->incomplete || !c->stored->names.complete;
    return give_up(recovery, c, "the record of the claim that had it is damaged, so it may be in use",
            &c->stored->names);
}

/* No claim accounts for those of its devices that the better claim does not have. */
static int give_up_rival(Recovery *recovery, Candidate *c, const ClaimRun *winner) {
    const Plan *plan = &c->stored->claim.plan;
    DeviceName members[PLAN_MEMBERS_MAX]; /* a record has at most this many */
    SalvagedNames names = {.names = members};

    ClaimRun loser = {.claim = c->stored->claim, .broker = recovery->broker};

    (void) grant_retract(&loser);
    free(store_keep_copy(recovery->broker->store, c->stored));
    log_error("Claim %s names a device that claim %s also names: it is not restored", c->stored->id,
            winner->claim.id);
    for (size_t i = 0; i < plan->n_members; i++)
        if (plan_member_is_moved(&plan->members[i]))
            members[names.n++] = plan->members[i].name;
    return give_up(
            recovery, c, "its claim also names a device of another claim, so it may be in use", &names);
}

static void expect_more(Plan *p, ClaimState recorded) {
    for (size_t i = 0; i < p->n_members; i++)
        p->members[i].progress = member_after_crash(p->members[i].progress, recorded);
}

/* A claim in quarantine does not need them: nobody has its devices. */
static void take_group_files(Recovery *recovery, ClaimRun *j) {
    char name[sizeof(GROUP_FILES_STORE_PREFIX) + CLAIM_ID_MAX];
    int fd;

    if (j->claim.plan.backend != BACKEND_COMPAT || j->claim.state == CLAIM_QUARANTINED)
        return;
    (void) snprintf(name, sizeof(name), GROUP_FILES_STORE_PREFIX "%s", j->claim.id);
    while (j->group_files.n < j->claim.plan.n_groups && (fd = take_fd(recovery, name)) >= 0)
        group_files_add(j, &fd);
    group_files_adopted(j);
}

/* All claims are taken up before the first one goes on. Otherwise one could end before its rival is seen. */
static int take_up(Recovery *recovery, Candidate *c) {
    c->run = claim_run_new(recovery->broker);
    if (!c->run)
        return -ENOMEM;
    c->run->claim = TAKE_GENERIC(c->stored->claim, CLAIM_NULL);
    c->run->granted = c->run->stored = true;
    expect_more(&c->run->claim.plan, c->run->claim.state);
    claim_run_attach(c->run);
    take_group_files(recovery, c->run);
    return usage_charge(
            recovery->broker->usage, &c->run->claim.plan, c->run->claim.uid, NULL, NULL, &c->run->charge);
}

/* Leaves the devices to the claim that they had joined, or had not left yet, when the last daemon died. The
 * rest of the part is undone. */
static void leave_to_whole(Recovery *recovery, StoredClaim *stored) {
    const ClaimRun *whole = stored->claim.of[0] ? claims_find(recovery->broker, stored->claim.of) : NULL;

    if (whole)
        plan_leave_to(&stored->claim.plan, &whole->claim.plan);
}

static int take_up_or_not(Recovery *recovery, Candidate *c) {
    const ClaimRun *rival;

    leave_to_whole(recovery, c->stored);
    if (c->stored->claim.plan.n_claimed == 0) {
        store_remove(recovery->broker->store, c->stored->id);
        return 0;
    }
    rival = claims_find_rival(recovery->broker, &c->stored->claim.plan);
    return rival ? give_up_rival(recovery, c, rival) : take_up(recovery, c);
}

static const PlanMember *find_lost(const ClaimRun *j) {
    for (size_t i = 0; i < j->claim.plan.n_claimed; i++) {
        const PlanMember *m = &j->claim.plan.members[i];
        const Device *d = inventory_find_device(j->broker->inventory, &m->name);

        if (!m->leaving && !(d && plan_member_is(m, d) && d->driver && streq(d->driver, m->target_driver)))
            return m;
    }
    return NULL;
}

/* No event reports what happened while the daemon was away. j may be freed afterwards. */
static void catch_up(ClaimRun *j) {
    const PlanMember *lost;
    bool goes_on = true;

    while (goes_on && (lost = find_lost(j))) {
        const DeviceName name = lost->name;

        goes_on = broker_feed_gone(j, &name, "it was unplugged or left its vfio driver while it was held");
    }
}

/* The claim was moving to another holder, who may not know it yet. If the new holder is there, it counts, and
 * otherwise the previous one. */
static void settle_move(const Recovery *recovery, Candidate *c) {
    Claim *claim = &c->run->claim;
    char other[CLAIM_ID_MAX];

    memcpy(other, claim->previous_lifeline, sizeof(other));
    if (!hangs_on(claim, c->lifeline) && hung_on(claim, c->previous)) {
        int lifeline = c->lifeline;

        (void) snprintf(other, sizeof(other), "%s", claim_lifeline(claim));
        tether_move_back(claim);
        (void) snprintf(c->lifeline_id, sizeof(c->lifeline_id), "%s", claim_lifeline(claim));
        c->lifeline = c->previous;
        c->previous = lifeline;
    }
    claim->moving = false;
    c->run->dirty = true;
    if (c->previous >= 0)
        drop_lifeline(recovery, c, other);
}

/* Returns 1 if the claim goes on, 0 if the kept fd does not fit the record. Other errors are temporary, and
 * end the start. */
static int adopt(ClaimRun *j, Candidate *c) {
    int r = claim_run_tether(j)->adopt(j, c->lifeline);

    if (r == -ENOMEM || r == -EMFILE || r == -ENFILE || r == -ENOSPC)
        return log_error_errno(r, "Cannot watch what claim %s is tied to", j->claim.id);
    if (r < 0) {
        log_error_errno(r,
                "Claim %s ends: the file descriptor that systemd kept for its tether %s is not valid",
                j->claim.id, tether_kind_to_string(j->claim.plan.tether));
        return 0;
    }
    if (j->lifeline || j->kept)
        (void) TAKE_FD(c->lifeline);
    return 1;
}

/* Watch the nodes of all claims before one of them goes on, since events are read then. In every other state
 * the client has not got its files yet, or has closed them. */
static void watch_nodes(ClaimRun *j) {
    if (j->claim.state != CLAIM_HELD && j->claim.state != CLAIM_DRAINING)
        return;
    j->resumed = true;
    backend_watch_recovered(j);
}

/* Without these files another program may have got its devices meanwhile. */
static bool has_group_files(const ClaimRun *j) {
    if (group_files_are_complete(j))
        return true;
    log_error("Claim %s ends: systemd did not keep the files of its groups", j->claim.id);
    return false;
}

/* A reservation has not touched its device. It ends at once if it has expired or its device is gone. */
static int resume_reservation(ClaimRun *j) {
    const PlanMember *m = &j->claim.plan.members[0];
    int r;

    log_info("Reservation %s for %s found after the restart", j->claim.id, USER_TEXT(j->claim.uid));
    claim_run_feed(j, CLAIM_EVENT_RECOVERED_RESERVED);
    r = reservation_watch(j);
    if (r < 0)
        return log_error_errno(r, "Cannot watch the time of reservation %s", j->claim.id);
    if (!plan_member_is_made(m) && !claim_run_find_device(j, m)) {
        const DeviceName name = m->name;

        (void) broker_feed_gone(j, &name, "it was unplugged while it was reserved");
    }
    return 0;
}

static int go_on(const Recovery *recovery, Candidate *c) {
    ClaimRun *j = c->run;
    ClaimState recorded = j->claim.state;
    ClaimEvent event;
    int r = 0;

    j->claim.state = CLAIM_REQUESTED;
    j->dirty = recorded == CLAIM_QUARANTINED &&
            (c->stored->kept || !store_has_keepsake(recovery->broker->store, j->claim.id));
    if (recorded == CLAIM_RESERVED)
        return resume_reservation(j);
    if (plan_has_bad(&j->claim.plan))
        stuck_recover(j);
    if (j->claim.moving)
        settle_move(recovery, c);
    if (recorded == CLAIM_HELD && hangs_on(&j->claim, c->lifeline) && has_group_files(j))
        r = adopt(j, c);
    if (r < 0)
        return r;
    event = machine_recovery(recorded, r > 0);
    if (event != CLAIM_EVENT_RECOVERED_HELD && c->lifeline >= 0)
        drop_lifeline(recovery, c, claim_lifeline(&j->claim));
    log_info("Claim %s of %s found after the restart, %s", j->claim.id, USER_TEXT(j->claim.uid),
            event == CLAIM_EVENT_RECOVERED_HELD ? "still held" : "no longer held");
    if (event != CLAIM_EVENT_RECOVERED_HELD)
        evict_end(j);
    claim_run_feed(j, event);
    if (event != CLAIM_EVENT_RECOVERED_HELD)
        return 0;
    r = evict_watch(j);
    if (r < 0)
        return log_error_errno(r, "Cannot watch the time of claim %s", j->claim.id);
    evict_for_waiter(j,
            /* the queue of the last daemon is lost */ false); /* who waited has gone with the last daemon */
    catch_up(j);
    return 0;
}

static int recover(Recovery *recovery) {
    size_t n;
    int r;

    r = store_load(recovery->broker->store, &recovery->stored);
    if (r >= 0)
        r = take_keepsakes(recovery);
    if (r >= 0)
        r = find_candidates(recovery);
    if (r < 0)
        return r;
    n = recovery->stored.n;
    qsort(recovery->candidates, n, sizeof(*recovery->candidates), compare_candidates);
    for (size_t i = 0; r >= 0 && i < n; i++) {
        Candidate *c = &recovery->candidates[i];

        r = c->stored->damaged ? give_up_damaged(recovery, c) : take_up_or_not(recovery, c);
    }
    if (r >= 0)
        drop_rest(recovery);
    if (r >= 0)
        r = recovery->incomplete ? quarantine_unaccounted(recovery->broker) : 0;
    if (r >= 0)
        r = kept_claims_quarantine(recovery->broker);
    for (size_t i = 0; r >= 0 && i < n; i++)
        if (recovery->candidates[i].run)
            watch_nodes(recovery->candidates[i].run);
    for (size_t i = 0; r >= 0 && i < n; i++)
        if (recovery->candidates[i].run)
            r = go_on(recovery, &recovery->candidates[i]);
    for (ClaimRun *j = recovery->broker->claims; r >= 0 && j; j = j->next)
        if (j->claim.state == CLAIM_HELD) {
            grant_resume(j);
            sibling_note_all(j);
        }
    if (r >= 0)
        r = sibling_recover(recovery->broker);
    if (r >= 0)
        cdi_sweep(recovery->broker);
    return r;
}

int broker_recover(Broker *e) {
    Recovery recovery = {.broker = e};
    int r;

    recovery.n_fds = sd_listen_fds_with_names(/* unset_environment= */ 1, &recovery.names);
    if (recovery.n_fds < 0)
        return log_error_errno(recovery.n_fds, "Cannot take back the fds that systemd keeps");
    recovery.found = calloc((size_t) recovery.n_fds + 1, sizeof(*recovery.found));
    if (!recovery.found)
        return log_error_errno(-ENOMEM, "Cannot take back the fds that systemd keeps");
    pass_over_sockets(&recovery);
    keep_watching(&recovery);
    r = recover(&recovery);
    node_watch_forget_rest(e->nodes);
    if (recovery.candidates)
        close_candidates(&recovery);
    stored_claims_done(&recovery.stored);
    free(recovery.found);
    for (int i = 0; i < recovery.n_fds; i++)
        free(recovery.names[i]);
    free(recovery.names);
    if (r < 0)
        return log_error_errno(r, "Cannot take up the claims of the last run");
    broker_settle(e);
    caps_store_load(e->config.state_directory, e->inventory);
    vf_declared_load(e);
    vf_changes_recover(e);
    return 0;
}
