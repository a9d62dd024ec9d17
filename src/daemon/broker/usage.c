/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/usage.h"

#include <fcntl.h>
#include <poll.h>
#include <search.h>
#include <sys/epoll.h>

#include "base/fd.h"
#include "base/str.h"

#define ALL_USERS ((uid_t) -1)

/* The claims that a rule has allowed: those of one user, or of all. */
typedef struct Counter {
    char rule[RULE_KEY_MAX];
    uid_t uid;
    unsigned n_users; /* pointers to it */
    uint64_t claims, devices, pinned;
} Counter;

/* The memory that one process can lock because of one rule. */
typedef struct Pin {
    Usage *usage;
    struct Pin *next; /* usage.pins */
    Counter *all;     /* of the rule */
    pid_t pid;
    int pidfd; /* owned; -EBADF: the process is unknown or has ended */
    sd_event_source *exit;
    uint64_t now;  /* of present claims */
    uint64_t most; /* to which the limit was raised for this rule; counted */
    uint64_t kept; /* the part of it that could not be restored */
} Pin;

/* The changed limit of one process, while a claim needs more than it had. */
typedef struct Limit {
    struct Limit *next; /* usage.limits */
    Subject process;    /* owned: pid, uid and pidfd only */
    MemlockChange change;
} Limit;

typedef struct RuleCharge {
    Counter *all, *user;
    unsigned claims, devices;
    Pin *pin; /* NULL: no memory is locked */
    uint64_t most_before;
} RuleCharge;

struct UsageCharge {
    Usage *usage;
    UsageCharge *next; /* usage.locking; only if memlock is not 0 */
    UsageCharge *more; /* owned; those that have joined it */
    uint64_t memlock;
    bool raised, ended;
    size_t n_rules;
    RuleCharge rules[];
};

struct Usage {
    sd_event *event;
    void *counters; /* tree of Counter */
    Pin *pins;
    UsageCharge *locking;
    Limit *limits;
};

/* More than any machine has, and small enough that sums do not overflow. */
#define MEMLOCK_MAX (UINT64_C(1) << 50)

/* ---- counters ---- */

static int compare_counters(const void *a, const void *b) {
    const Counter *x = a, *y = b;

    if (x->uid != y->uid)
        return x->uid < y->uid ? -1 : 1;
    return strcmp(x->rule, y->rule);
}

static Counter *find_counter(const Usage *u, const char *rule, uid_t uid) {
    Counter key = {.uid = uid}, **found;

    put_text(key.rule, sizeof(key.rule), rule); /* cut as in a PlanCharge */
    found = tfind(&key, &u->counters, compare_counters);
    return found ? *found : NULL;
}

static Counter *counter_ref(Usage *u, const char *rule, uid_t uid) {
    Counter *c = find_counter(u, rule, uid);

    if (!c) {
        c = calloc(1, sizeof(*c));
        if (!c)
            return NULL;
        c->uid = uid;
        put_text(c->rule, sizeof(c->rule), rule);
        if (!tsearch(c, &u->counters, compare_counters)) {
            free(c);
            return NULL;
        }
    }
    c->n_users++;
    return c;
}

static void counter_unref(Usage *u, Counter *c) {
    if (!c || --c->n_users > 0)
        return;
    (void) tdelete(c, &u->counters, compare_counters);
    free(c);
}

/* ---- locked memory ---- */

static const Pin *pin_of(const UsageCharge *c) {
    return c->n_rules > 0 ? c->rules[0].pin : NULL;
}

static bool has_ended(int pidfd) {
    struct pollfd p = {.fd = pidfd, .events = POLLIN};

    return pidfd < 0 || poll(&p, 1, 0) != 0;
}

/* A pid is reused only after its process has ended. */
static Pin *find_pin(const Usage *u, const Counter *all, const Subject *process) {
    if (!process || process->pid <= 0)
        return NULL;
    for (Pin *p = u->pins; p; p = p->next)
        if (p->all == all && p->pid == process->pid && !has_ended(p->pidfd))
            return p;
    return NULL;
}

static void set_most(Pin *p, uint64_t most) {
    p->all->pinned += most - p->most;
    p->most = most;
}

static Pin *pin_free(Pin *p) {
    if (!p)
        return NULL;
    for (Pin **i = &p->usage->pins; *i; i = &(*i)->next)
        if (*i == p) {
            *i = p->next;
            break;
        }
    set_most(p, 0);
    counter_unref(p->usage, p->all);
    sd_event_source_disable_unref(p->exit);
    (void) safe_close(p->pidfd);
    free(p);
    return NULL;
}
DEFINE_TRIVIAL_CLEANUP_FUNC(Pin *, pin_free);

/* Others may still have the devices of its claims, so only the present claims count from now on. */
static int on_exit_process(sd_event_source *s, int fd, uint32_t events, void *userdata) {
    Pin *p = userdata;

    p->exit = sd_event_source_disable_unref(p->exit);
    p->pidfd = safe_close(p->pidfd);
    set_most(p, p->now);
    if (p->now == 0)
        (void) pin_free(p);
    return 0;
}

static int pin_new(Usage *u, Counter *all, const Subject *process, Pin **ret) {
    _cleanup_(pin_freep) Pin *p = calloc(1, sizeof(*p));
    int r = 0;

    if (!p)
        return -ENOMEM;
    *p = (Pin){.usage = u, .all = all, .pidfd = -EBADF};
    all->n_users++;
    if (process && process->pidfd >= 0) {
        p->pid = process->pid;
        p->pidfd = fcntl(process->pidfd, F_DUPFD_CLOEXEC, 3);
        r = p->pidfd < 0 ? -errno
                         : sd_event_add_io(u->event, &p->exit, p->pidfd, EPOLLIN, on_exit_process, p);
    }
    if (r < 0)
        return r;
    p->next = u->pins;
    *ret = u->pins = p;
    TAKE_PTR(p);
    return 0;
}

static int charge_memory(Usage *u, RuleCharge *c, const Subject *process, uint64_t bytes) {
    Pin *p = find_pin(u, c->all, process);
    int r;

    if (!p) {
        r = pin_new(u, c->all, process, &p);
        if (r < 0)
            return r;
    }
    c->pin = p;
    c->most_before = p->most;
    p->now += bytes;
    set_most(p, MAX(p->most, p->now));
    return 0;
}

static void discharge_memory(RuleCharge *c, uint64_t bytes, bool raised) {
    Pin *p = TAKE_PTR(c->pin);

    if (!p)
        return;
    p->now -= bytes;
    if (p->pidfd < 0)
        set_most(p, p->now);
    else if (!raised)
        set_most(p, MAX(p->now, c->most_before));
    if (p->most == 0)
        (void) pin_free(p);
}

/* ---- limits of processes ---- */

static Limit **find_limit(Usage *u, pid_t pid) {
    Limit **l = &u->limits;

    while (*l && ((*l)->process.pid != pid || has_ended((*l)->process.pidfd)))
        l = &(*l)->next;
    return l;
}

static void limit_free(Limit **l) {
    Limit *old = *l;

    *l = old->next;
    subject_done(&old->process);
    free(old);
}

MemlockChange *usage_limit(UsageCharge *c, const Subject *process) {
    Usage *u = c->usage;
    Limit **found = find_limit(u, process->pid), *l;

    if (*found)
        return &(*found)->change;
    l = calloc(1, sizeof(*l));
    if (!l)
        return NULL;
    l->process = SUBJECT_NULL;
    l->process.pid = process->pid;
    l->process.uid = process->uid;
    l->process.pidfd = fcntl(process->pidfd, F_DUPFD_CLOEXEC, 3);
    if (l->process.pidfd < 0) {
        free(l);
        return NULL;
    }
    l->next = u->limits;
    u->limits = l;
    return &l->change;
}

static uint64_t needed_by(const Usage *u, pid_t pid) {
    uint64_t sum = 0;

    for (const UsageCharge *i = u->locking; i; i = i->next)
        if (pin_of(i)->pid == pid && pin_of(i)->pidfd >= 0)
            sum += i->memlock;
    return sum;
}

/* After the limit was restored, it is what the process's claims need. Only those count, and what could not be
 * restored. */
static void count_limit(Usage *u, pid_t pid, bool is_put_back) {
    for (Pin *p = u->pins, *next; p; p = next) {
        next = p->next;
        if (p->pid != pid || p->pidfd < 0)
            continue;
        if (!is_put_back)
            p->kept = p->most;
        set_most(p, MAX(p->now, p->kept));
        if (p->most == 0)
            (void) pin_free(p);
    }
}

/* A claim of the process has ended. */
static void put_back(Usage *u, pid_t pid) {
    Limit **l = find_limit(u, pid);
    uint64_t needed = needed_by(u, pid);
    int r;

    if (!*l)
        return;
    r = memlock_put_back(&(*l)->process, needed, &(*l)->change);
    count_limit(u, pid, r >= 0);
    if (r < 0 || needed == 0)
        limit_free(l);
}

static void forget_limits(Usage *u, bool all) {
    for (Limit **l = &u->limits; *l;)
        if (all || has_ended((*l)->process.pidfd))
            limit_free(l);
        else
            l = &(*l)->next;
}

static bool is_first_of_process(const Usage *u, const Pin *pin) {
    for (const Pin *p = u->pins; p != pin; p = p->next)
        if (p->pidfd >= 0 && p->pid == pin->pid)
            return false;
    return true;
}

void usage_get_memory(const Usage *u, uint64_t *ret_allowed, uint64_t *ret_locked) {
    *ret_allowed = *ret_locked = 0;
    for (const UsageCharge *c = u->locking; c; c = c->next)
        *ret_allowed += c->memlock;
    for (const Pin *p = u->pins; p; p = p->next) {
        const Subject process = {.pid = p->pid, .pidfd = p->pidfd};
        uint64_t bytes;

        if (p->pidfd >= 0 && is_first_of_process(u, p) && memlock_read(&process, &bytes) >= 0)
            *ret_locked += bytes;
    }
}

/* ---- claims ---- */

static void set_counts(RuleCharge *r, unsigned claims, unsigned devices) {
    r->all->claims = r->all->claims - r->claims + claims;
    r->user->claims = r->user->claims - r->claims + claims;
    r->all->devices = r->all->devices - r->devices + devices;
    r->user->devices = r->user->devices - r->devices + devices;
    r->claims = claims;
    r->devices = devices;
}

UsageCharge *usage_discharge(UsageCharge *c) {
    const Pin *pin;
    pid_t pid;
    Usage *u;

    if (!c)
        return NULL;
    c->more = usage_discharge(c->more);
    u = c->usage;
    pin = pin_of(c);
    pid = c->ended && c->raised && pin && pin->pidfd >= 0 ? pin->pid : 0;
    for (size_t i = 0; i < c->n_rules; i++) {
        RuleCharge *r = &c->rules[i];

        discharge_memory(r, c->memlock, c->raised);
        if (r->all && r->user)
            set_counts(r, 0, 0);
        counter_unref(c->usage, r->all);
        counter_unref(c->usage, r->user);
    }
    for (UsageCharge **i = &c->usage->locking; *i; i = &(*i)->next)
        if (*i == c) {
            *i = c->next;
            break;
        }
    free(c);
    if (pid > 0)
        put_back(u, pid);
    forget_limits(u, false);
    return NULL;
}
DEFINE_TRIVIAL_CLEANUP_FUNC(UsageCharge *, usage_discharge);

static bool counts_rule(const UsageCharge *c, const char *rule) {
    for (; c; c = c->more)
        for (size_t i = 0; i < c->n_rules; i++)
            if (c->rules[i].claims > 0 && streq(c->rules[i].all->rule, rule))
                return true;
    return false;
}

static int charge_rule(Usage *u, RuleCharge *c, const PlanCharge *charge, uid_t uid, const Subject *process,
        uint64_t memlock, bool again) {
    c->all = counter_ref(u, charge->rule, ALL_USERS);
    c->user = counter_ref(u, charge->rule, uid);
    if (!c->all || !c->user)
        return -ENOMEM;
    set_counts(c, !again, charge->devices);
    return memlock > 0 ? charge_memory(u, c, process, memlock) : 0;
}

int usage_charge(Usage *u, const Plan *plan, uid_t uid, const Subject *process, const UsageCharge *of,
        UsageCharge **ret) {
    _cleanup_(usage_dischargep) UsageCharge *c =
            calloc(1, sizeof(*c) + plan->n_charges * sizeof(c->rules[0]));

    if (!c)
        return -ENOMEM;
    c->usage = u;
    /* A record can have memory without a rule. */
    c->memlock = plan->n_charges > 0 ? MIN(plan->memlock, MEMLOCK_MAX) : 0;
    for (; c->n_rules < plan->n_charges;) {
        size_t i = c->n_rules++;
        int r = charge_rule(u, &c->rules[i], &plan->charges[i], uid, process, c->memlock,
                counts_rule(of, plan->charges[i].rule));

        if (r < 0)
            return r;
    }
    if (c->memlock > 0) {
        c->next = u->locking;
        u->locking = c;
    }
    *ret = TAKE_PTR(c);
    return 0;
}

static unsigned devices_of(const Plan *plan, const char *rule) {
    for (size_t i = 0; i < plan->n_charges; i++)
        if (streq(plan->charges[i].rule, rule))
            return plan->charges[i].devices;
    return 0;
}

/* Counts a rule at its first occurrence. */
static bool count_anew(UsageCharge *head, UsageCharge *c, const Plan *plan) {
    bool needed = c == head || c->memlock > 0;

    for (size_t i = 0; i < c->n_rules; i++)
        set_counts(&c->rules[i], 0, 0);
    for (size_t i = 0; i < c->n_rules; i++) {
        const char *rule = c->rules[i].all->rule;
        unsigned n = devices_of(plan, rule);

        for (const UsageCharge *before = head; before != c; before = before->more)
            for (size_t k = 0; k < before->n_rules; k++)
                if (streq(before->rules[k].all->rule, rule))
                    n = 0;
        set_counts(&c->rules[i], n > 0, n);
        needed = needed || n > 0;
    }
    return needed;
}

void usage_change(UsageCharge *c, UsageCharge *joined, const Plan *plan) {
    UsageCharge **last = &c;

    while (*last)
        last = &(*last)->more;
    *last = joined;
    for (UsageCharge **i = &c; *i;) {
        UsageCharge *next = (*i)->more;

        if (count_anew(c, *i, plan)) {
            i = &(*i)->more;
            continue;
        }
        (*i)->more = NULL;
        (void) usage_discharge(*i);
        *i = next;
    }
}

uint64_t usage_memlock(const UsageCharge *c) {
    const Pin *mine = pin_of(c);

    return mine && mine->pid > 0 ? needed_by(c->usage, mine->pid) : c->memlock;
}

void usage_end(UsageCharge *c) {
    for (; c; c = c->more)
        c->ended = true;
}

void usage_set_raised(UsageCharge *c) {
    c->raised = true;
}

static void leave_out(const UsageCharge *c, const Counter *all, RuleUsage *usage) {
    for (; c; c = c->more)
        for (size_t i = 0; i < c->n_rules; i++) {
            const RuleCharge *charge = &c->rules[i];

            if (charge->all != all)
                continue;
            usage->claims -= charge->claims;
            usage->claims_of_user -= charge->claims;
            usage->devices -= charge->devices;
            usage->devices_of_user -= charge->devices;
        }
}

void usage_count(const Usage *u, const char *rule_key, const Subject *subject, const UsageCharge *except,
        RuleUsage *ret) {
    const Counter *all = find_counter(u, rule_key, ALL_USERS);
    const Counter *user = find_counter(u, rule_key, subject->uid);
    const Pin *pin;

    *ret = (RuleUsage){};
    if (!all)
        return;
    ret->claims = all->claims;
    ret->devices = all->devices;
    ret->pinned = all->pinned;
    pin = find_pin(u, all, subject);
    ret->pinned_spare = pin ? pin->most - pin->now : 0;
    if (!user)
        return;
    ret->claims_of_user = user->claims;
    ret->devices_of_user = user->devices;
    leave_out(except, all, ret);
}

int usage_new(sd_event *event, Usage **ret) {
    Usage *u = calloc(1, sizeof(*u));

    if (!u)
        return -ENOMEM;
    u->event = sd_event_ref(event);
    *ret = u;
    return 0;
}

Usage *usage_free(Usage *u) {
    if (!u)
        return NULL;
    while (u->pins)
        (void) pin_free(u->pins);
    forget_limits(u, true);
    assert(!u->counters);
    sd_event_unref(u->event);
    free(u);
    return NULL;
}
