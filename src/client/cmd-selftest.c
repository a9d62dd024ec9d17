/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Real hand-overs: claim, use, release, compare, several rounds. Every step is one that a client takes. The
 * claim's tether is the lifeline of this process, so devices are returned when it is interrupted or dies. */

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "client/ask.h"
#include "client/calls.h"
#include "client/policy-door.h"
#include "client/progress.h"
#include "client/selftest.h"
#include "client/show.h"

#define ROUNDS_DEFAULT 3U
#define MEMBERS_MAX 256U

typedef enum Phase {
    PHASE_CLAIM,
    PHASE_USE,
    PHASE_RETURN,
    _PHASE_MAX,
} Phase;
static const char *const phase_names[_PHASE_MAX] = {"claim", "use", "return"};

typedef struct Selftest {
    const Options *o;
    VfiodRequest request;
    HostDevice *before; /* owned: the devices that the claim touches, as before the first round */
    size_t n_before, rounds, done;
    uint64_t *times[_PHASE_MAX]; /* owned: microseconds of each finished round */
    unsigned files;              /* open files of this process before the first round */
    char *backend, *rule;        /* owned; of the last claim, as the names */
    char claimed[ANSWER_FDS_MAX][sizeof(((HostDevice *) NULL)->name)];
    size_t n_claimed;
    Failure failure; /* .step is NULL: none */
    VfiodErrorText *error;
} Selftest;

static void selftest_done(Selftest *t) {
    for (Phase p = 0; p < _PHASE_MAX; p++)
        free(t->times[p]);
    free(t->before);
    free(t->backend);
    free(t->rule);
}

/* ---- Before ---- */

static unsigned count_files(void) {
    _cleanup_closedir_ DIR *d = NULL;
    const struct dirent *entry;
    unsigned n = 0;

    if (open_directory_at(AT_FDCWD, "/proc/self/fd", &d) >= 0)
        while ((entry = readdir(d)))
            n += entry->d_name[0] != '.';
    return n;
}

/* Other members of the groups are bound to other drivers during the claim, too. */
static int look_before(Selftest *t, struct json_object *plan) {
    struct json_object *members = json_list(plan, "members");
    size_t n = members ? MIN(json_object_array_length(members), (size_t) MEMBERS_MAX) : 0;

    t->before = calloc(n + 1, sizeof(*t->before));
    if (!t->before)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        host_device_read(json_text(json_object_array_get_idx(members, i), "name"), &t->before[t->n_before++]);
    return 0;
}

static int prepare(Selftest *t) {
    _cleanup_json_ struct json_object *plan = NULL;
    int r;

    t->request = options_request(t->o, (const char *const *) t->o->arguments, t->o->n_arguments);
    t->rounds = t->o->rounds > 0 ? t->o->rounds : ROUNDS_DEFAULT;
    for (Phase p = 0; p < _PHASE_MAX; p++) {
        t->times[p] = calloc(t->rounds, sizeof(uint64_t));
        if (!t->times[p])
            return error_text_errno(t->error, ENOMEM, "Cannot test");
    }
    r = call_plan(&t->request, &plan, t->error);
    if (r < 0)
        return r;
    r = look_before(t, plan);
    t->files = count_files();
    return r < 0 ? error_text_errno(t->error, r, "Cannot test") : 0;
}

/* ---- A round ---- */

typedef struct End {
    bool done;
    char state[32];
    VfiodErrorText error; /* .message: why a claim failed or cannot be followed, or "" */
    bool seen, gone;
} End;

static void on_event(
        VfiodConnection *c, const VfiodEvent *event, const VfiodErrorText *error, void *userdata) {
    End *end = userdata;

    if (!event) {
        end->done = true;
        end->error = *error;
        return;
    }
    end->seen = true;
    end->gone = !event->state;
    put_text(end->state, sizeof(end->state), event->state ?: "gone");
    put_text(end->error.message, sizeof(end->error.message), event->failure);
    end->done = end->gone || streq(end->state, "quarantined");
}

static int judge_end(Selftest *t, const char *id, const End *end) {
    if (end->gone)
        return 0;
    if (streq(end->state, "quarantined"))
        return failure_set(&t->failure, "return",
                "Nobody can claim the device until root runs 'vfioctl quarantine retry DEVICE'. The kernel "
                "log "
                "('journalctl -k') may say why this happened.",
                "Claim %s is in quarantine: %s", id, end->error.message);
    if (*end->error.name)
        return failure_set(
                &t->failure, "return", NULL, "Claim %s cannot be followed: %s", id, end->error.message);
    return failure_set(&t->failure, "return",
            "'vfioctl status CLAIM' shows which processes have a device of it open.",
            "Claim %s does not end: it is still %s.", id, end->state);
}

/* Listens before the claim ends, so that the end is not missed. */
static int give_back(Selftest *t, VfiodClaim *claim) {
    _cleanup_free_ char *id = strdup(vfiod_claim_id(claim));
    _cleanup_connection_ VfiodConnection *c = NULL;
    _cleanup_progress_ Progress progress = {};
    uint64_t deadline = monotonic_usec() + VFIOD_CALL_TIMEOUT_USEC;
    End end = {};
    int r = id ? vfiod_connection_new(&c, &end.error) : -ENOMEM;

    if (r >= 0)
        r = vfiod_connection_watch(c, id, on_event, &end, &end.error);
    if (r >= 0)
        r = progress_wait(&progress, c, &end.seen, deadline);
    (void) vfiod_claim_free(claim);
    if (r >= 0) {
        progress_begin(&progress, "Waiting for the end of claim %s", id);
        r = progress_wait(&progress, c, &end.done, deadline);
    }
    if (r < 0 && r != -ETIMEDOUT && !*end.error.name)
        (void) error_text_set(&end.error, -r, ERROR_NAME_UNREACHABLE, "The connection to vfiod broke.");
    return judge_end(t, id ?: "?", &end);
}

static const HostDevice *find_before(const Selftest *t, const char *name) {
    for (size_t i = 0; i < t->n_before; i++)
        if (streq(t->before[i].name, name))
            return &t->before[i];
    return NULL;
}

/* A device that did not exist before was made for the claim and must disappear with it. */
static int compare_made(Selftest *t) {
    int r = 0;

    for (size_t i = 0; r >= 0 && i < t->n_claimed; i++) {
        HostDevice now, none = {};

        if (find_before(t, t->claimed[i]))
            continue;
        host_device_read(t->claimed[i], &now);
        r = host_device_compare(&none, &now, &t->failure);
    }
    return r;
}

static int compare(Selftest *t) {
    int r = 0;

    for (size_t i = 0; r >= 0 && i < t->n_before; i++) {
        HostDevice now;

        host_device_read(t->before[i].name, &now);
        r = host_device_compare(&t->before[i], &now, &t->failure);
    }
    return r < 0 ? r : compare_made(t);
}

/* Remembers what is needed after the claim. */
static int remember(Selftest *t, const VfiodClaim *claim) {
    const char *name;

    t->n_claimed = 0;
    for (size_t i = 0; i < ELEMENTSOF(t->claimed) && (name = vfiod_claim_device(claim, i)); i++)
        put_text(t->claimed[t->n_claimed++], sizeof(t->claimed[0]), name);
    if (free_and_strdup(&t->backend, vfiod_claim_backend(claim)) < 0 ||
            free_and_strdup(&t->rule, vfiod_claim_rule(claim)) < 0)
        return error_text_errno(t->error, ENOMEM, "Cannot test");
    return 0;
}

static void take_time(Selftest *t, Phase phase, uint64_t *since) {
    uint64_t now = monotonic_usec();

    t->times[phase][t->done] = now - *since;
    *since = now;
}

/* The devices are released even when their use has failed. The first failure is reported. */
static int run_round(Selftest *t) {
    uint64_t since = monotonic_usec();
    VfiodClaim *claim = NULL;
    Failure of_use;
    int r, k;

    r = ask_and_acquire(t->o, &t->request, &claim, t->error);
    if (r < 0)
        return r;
    take_time(t, PHASE_CLAIM, &since);
    r = remember(t, claim);
    if (r >= 0)
        r = selftest_use(claim, &t->failure);
    take_time(t, PHASE_USE, &since);
    of_use = t->failure;
    k = give_back(t, claim);
    take_time(t, PHASE_RETURN, &since);
    if (of_use.step)
        t->failure = of_use;
    if (r < 0 || k < 0)
        return r < 0 ? r : k;
    return compare(t);
}

/* ---- The verdict ---- */

static const char *show_usec(uint64_t usec, char buf[static 24]) {
    if (usec < 1000000)
        (void) snprintf(buf, 24, "%.1f ms", (double) usec / 1000);
    else
        (void) snprintf(buf, 24, "%.2f s", (double) usec / 1000000);
    return buf;
}

static void show_line(const char *name, const uint64_t usec[static 3]) {
    char first[24], second[24], third[24];

    printf("%-6s %10s %10s %10s\n", name, show_usec(usec[0], first), show_usec(usec[1], second),
            show_usec(usec[2], third));
}

static void show_round(const Selftest *t) {
    uint64_t usec[_PHASE_MAX];
    char number[24];

    if (t->o->json)
        return;
    if (t->done == 0 && t->o->legend)
        printf("%-6s %10s %10s %10s\n", "ROUND", "CLAIM", "USE", "RETURN");
    for (Phase p = 0; p < _PHASE_MAX; p++)
        usec[p] = t->times[p][t->done];
    (void) snprintf(number, sizeof(number), "%zu", t->done + 1);
    show_line(number, usec);
    (void) fflush(stdout);
}

static int compare_usec(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;

    return (x > y) - (x < y);
}

/* Of a sorted list. */
static uint64_t median(const uint64_t *usec, size_t n) {
    return n % 2 == 1 ? usec[n / 2] : (usec[n / 2 - 1] + usec[n / 2]) / 2;
}

/* Minimum, median and maximum of the rounds that are done. */
static void summarize(Selftest *t, Phase phase, uint64_t ret[static 3]) {
    uint64_t *usec = t->times[phase];

    qsort(usec, t->done, sizeof(*usec), compare_usec);
    ret[0] = usec[0];
    ret[1] = median(usec, t->done);
    ret[2] = usec[t->done - 1];
}

static void show_summary(Selftest *t) {
    uint64_t usec[3];

    if (t->done == 0)
        return;
    if (t->o->legend)
        printf("\n%-6s %10s %10s %10s\n", "", "MIN", "MEDIAN", "MAX");
    for (Phase p = 0; p < _PHASE_MAX; p++) {
        summarize(t, p, usec);
        show_line(phase_names[p], usec);
    }
    puts("");
}

static void show_verdict(Selftest *t) {
    show_summary(t);
    if (t->failure.step) {
        policy_print("FAIL: round %zu of %zu, step %s: %s", t->done + 1, t->rounds, t->failure.step,
                t->failure.what);
        if (t->failure.fix)
            policy_print("Fix: %s", t->failure.fix);
        return;
    }
    policy_print("PASS: %zu hand-over%s, backend %s, rule %s.", t->done, t->done == 1 ? "" : "s", t->backend,
            t->rule);
    for (size_t i = 0; i < t->n_before; i++)
        if (t->before[i].present)
            policy_print("%s is as before: driver %s.", t->before[i].name,
                    *t->before[i].driver ? t->before[i].driver : "none");
}

/* ---- The verdict, as JSON ---- */

static int add_usec(struct json_object *o, const char *key, uint64_t usec) {
    return json_add(o, key, json_object_new_int64((int64_t) usec));
}

static int add_rounds(const Selftest *t, struct json_object *result) {
    _cleanup_json_ struct json_object *rounds = json_object_new_array();

    for (size_t i = 0; rounds && i < t->done; i++) {
        _cleanup_json_ struct json_object *round = json_object_new_object();

        for (Phase p = 0; p < _PHASE_MAX; p++)
            if (!round || add_usec(round, phase_names[p], t->times[p][i]) < 0)
                return -ENOMEM;
        if (json_append(rounds, TAKE_PTR(round)) < 0)
            return -ENOMEM;
    }
    return json_add(result, "rounds", TAKE_PTR(rounds));
}

/* After the rounds, because it sorts their times. */
static int add_summaries(Selftest *t, struct json_object *result) {
    static const char *const keys[] = {"min", "median", "max"};

    for (Phase p = 0; t->done > 0 && p < _PHASE_MAX; p++) {
        _cleanup_json_ struct json_object *summary = json_object_new_object();
        uint64_t usec[3];

        summarize(t, p, usec);
        for (size_t i = 0; i < ELEMENTSOF(keys); i++)
            if (!summary || add_usec(summary, keys[i], usec[i]) < 0)
                return -ENOMEM;
        if (json_add(result, phase_names[p], TAKE_PTR(summary)) < 0)
            return -ENOMEM;
    }
    return 0;
}

static int show_verdict_json(Selftest *t) {
    _cleanup_json_ struct json_object *result = json_object_new_object();
    const Failure *f = &t->failure;

    if (!result || json_add_string(result, "verdict", f->step ? "fail" : "pass") < 0 ||
            json_add_string(result, "backend", t->backend) < 0 ||
            json_add_string(result, "rule", t->rule) < 0 || add_rounds(t, result) < 0 ||
            add_summaries(t, result) < 0)
        return -ENOMEM;
    if (f->step &&
            (json_add_string(result, "step", f->step) < 0 ||
                    json_add_string(result, "message", f->what) < 0 ||
                    (f->fix && json_add_string(result, "fix", f->fix) < 0)))
        return -ENOMEM;
    return show_json(stdout, result, /* pretty= */ true);
}

/* ---- The verb ---- */

/* 0, also when a round failed: then t->failure is set. */
static int run_rounds(Selftest *t) {
    while (t->done < t->rounds) {
        int r = run_round(t);

        if (r < 0 && !t->failure.step && t->done == 0) /* refused, as any other claim */
            return r;
        if (r < 0 && !t->failure.step)
            (void) failure_set(&t->failure, phase_names[PHASE_CLAIM], NULL, "%s", t->error->message);
        if (r < 0)
            return 0;
        show_round(t);
        t->done++;
    }
    if (count_files() > t->files)
        (void) failure_set(&t->failure, "files", "Report this: it is a fault of libvfiod.",
                "More files are open in vfioctl than before: %u instead of %u.", count_files(), t->files);
    return 0;
}

int verb_selftest(const Options *o, VfiodErrorText *error) {
    _cleanup_(selftest_done) Selftest t = {.o = o, .error = error};
    int r;

    r = prepare(&t);
    if (r >= 0)
        r = run_rounds(&t);
    if (r < 0)
        return r;
    if (!o->json)
        show_verdict(&t);
    else if (show_verdict_json(&t) < 0)
        return error_text_errno(error, EIO, "Cannot show the result");
    return t.failure.step ? exit_status_of(ERROR_NAME_PROBLEMS) : 0;
}
