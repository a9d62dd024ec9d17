/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/surveyor.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "daemon/broker/caps-store.h"

#define LOOKS_MAX 16U /* workers at a time */
#define LOOK_TIMEOUT_USEC (10 * UINT64_C(1000000))
#define RETRIES_MAX 3U /* of a look whose worker died */
#define SILENT_MAX 64U /* devices that did not answer; with more, the first slot is reused */
#define SILENCE_USEC (60 * UINT64_C(1000000))

struct SurveyTask {
    Surveyor *surveyor; /* NULL after ready was called */
    SurveyTask *next;   /* in surveyor.tasks, in the order of arrival */
    Survey *survey;     /* borrowed */
    void (*ready)(void *userdata);
    void *userdata;
};

/* A worker that looks at one device. Its kernel modules have a look of their own: they are files, and an
 * error there means nothing for the device. */
typedef struct Look {
    Surveyor *surveyor;
    struct Look *next; /* in surveyor.looks */
    DeviceName name;
    uint64_t since_seqnum; /* of the device, see inventory.h */
    unsigned what;
    unsigned n_retries;
    WorkerTask *task; /* borrowed */
} Look;

struct Surveyor {
    sd_event *event;
    Inventory *inventory;        /* borrowed */
    WorkerPool *workers;         /* borrowed */
    const char *state_directory; /* borrowed */
    uint64_t timeout_usec, open_timeout_usec;
    SurveyTask *tasks;
    Look *looks;
    unsigned n_looks;
    struct {
        DeviceName name;
        uint64_t until_usec;
    } silent[SILENT_MAX];
    unsigned n_silent;
    uint64_t modules_silent_until_usec;
    /* The look at the types of mediated devices, which belongs to no single device. */
    WorkerTask *types_task; /* borrowed */
    unsigned types_retries;
    uint64_t types_silent_until_usec;
    char types_parent[DEVICE_TEXT_MAX]; /* whose driver is asked at the moment */
    struct {
        char parent[DEVICE_TEXT_MAX];
        uint64_t until_usec;
    } silent_parents[MDEV_SILENT_MAX];
};

/* ---- what needs no worker ---- */

/* The kernel delays a read of config space during a reset, and the owner may reset the device at any rate. So
 * the config space of a claimed device is not read, and its contents are unknown. */
static bool may_be_in_reset(const Device *d) {
    return d->claim || (d->group && d->group->claim);
}

static uint64_t now_usec(const Surveyor *s) {
    uint64_t now = 0;

    (void) sd_event_now(s->event, CLOCK_MONOTONIC, &now);
    return now;
}

static bool is_silent(const Surveyor *s, const DeviceName *name) {
    for (unsigned i = 0; i < s->n_silent; i++)
        if (device_name_compare(&s->silent[i].name, name) == 0)
            return now_usec(s) < s->silent[i].until_usec;
    return false;
}

static void note_silent(Surveyor *s, const DeviceName *name) {
    unsigned i = 0;

    while (i < s->n_silent && device_name_compare(&s->silent[i].name, name) != 0)
        i++;
    if (i == SILENT_MAX)
        i = 0;
    s->n_silent = MAX(s->n_silent, i + 1);
    s->silent[i].name = *name;
    s->silent[i].until_usec = now_usec(s) + SILENCE_USEC;
}

/* Facts in config space may be unknown. Whether the host uses the device must be known before anybody gets
 * it. */
static void put_unknown(SurveyDevice *d, unsigned what, int error) {
    const unsigned strict = DEVICE_FACT_HOST_CRITICAL | DEVICE_FACT_EXCLUSIVE_USE | DEVICE_FACT_DESCENDANTS |
            DEVICE_FACT_CAPS;
    DeviceFacts none = DEVICE_FACTS_NULL;

    survey_put(d, what & ~strict, &none, 0);
    survey_put(d, what & strict, &none, error);
}

static unsigned open_facts(const SurveyDevice *d) {
    return d->wanted & ~d->taken;
}

static void put_what_is_clear(Surveyor *s, SurveyDevice *d) {
    const Device *device = inventory_find_device(s->inventory, &d->name);
    unsigned config = open_facts(d) & (DEVICE_FACT_ACS | DEVICE_FACT_SERIAL);
    DeviceFacts none = DEVICE_FACTS_NULL;

    if (!device)
        survey_put(d, open_facts(d), &none, -ENODEV);
    else if (config != 0 && may_be_in_reset(device))
        put_unknown(d, config, 0);
    if ((open_facts(d) & DEVICE_FACT_VARIANT) && now_usec(s) < s->modules_silent_until_usec)
        put_unknown(d, DEVICE_FACT_VARIANT, 0);
    if (device && (open_facts(d) & DEVICE_FACT_CAPS) && may_be_in_reset(device))
        put_unknown(d, DEVICE_FACT_CAPS, -EBUSY);
    if (open_facts(d) != 0 && is_silent(s, &d->name))
        put_unknown(d, open_facts(d), -ETIMEDOUT);
}

/* ---- workers ---- */

static bool is_at_modules(unsigned what) {
    return what & DEVICE_FACT_VARIANT;
}

static Look *find_look(const Surveyor *s, const DeviceName *name, unsigned what) {
    for (Look *l = s->looks; l; l = l->next)
        if (device_name_compare(&l->name, name) == 0 && is_at_modules(l->what) == is_at_modules(what))
            return l;
    return NULL;
}

static Look *look_free(Look *l) {
    for (Look **i = &l->surveyor->looks; *i; i = &(*i)->next)
        if (*i == l) {
            *i = l->next;
            l->surveyor->n_looks--;
            break;
        }
    if (l->task)
        worker_task_abandon(l->task);
    free(l);
    return NULL;
}

static int copy_result(const WorkerFacts *from, DeviceFacts *to) {
    *to = DEVICE_FACTS_NULL;
    to->known = from->known;
    to->acs = from->acs;
    to->has_acs_blocker = from->has_acs_blocker;
    to->acs_blocker = from->acs_blocker;
    memcpy(to->serial, from->serial, sizeof(to->serial));
    memcpy(to->variant, from->variant, sizeof(to->variant));
    memcpy(to->variant_driver, from->variant_driver, sizeof(to->variant_driver));
    to->variant_blocked = from->variant_blocked;
    if (from->is_critical && !(to->host_critical = strdup(from->host_critical)))
        return -ENOMEM;
    if (from->has_descendants && !(to->descendants = strdup(from->descendants)))
        return -ENOMEM;
    if (!from->has_caps)
        return 0;
    to->caps = malloc(sizeof(*to->caps));
    if (!to->caps)
        return -ENOMEM;
    *to->caps = from->caps;
    return 0;
}

/* If the modules are unknown, the device gets vfio-pci: they must not fail the request. */
static void deliver_failure(SurveyDevice *d, unsigned what, int error) {
    DeviceFacts none = DEVICE_FACTS_NULL;

    if (error == -ETIMEDOUT || is_at_modules(what))
        put_unknown(d, what, error);
    else
        survey_put(d, what, &none, error);
}

static void deliver(SurveyDevice *d, unsigned what, const WorkerResult *result) {
    DeviceFacts facts = DEVICE_FACTS_NULL;
    int r = result->error;

    what &= open_facts(d);
    if (what == 0)
        return;
    if (r >= 0)
        r = copy_result(&result->facts, &facts);
    if (r >= 0)
        survey_put(d, what, &facts, 0);
    else
        deliver_failure(d, what, r);
    device_facts_done(&facts);
}

static void pump(Surveyor *s);

static int submit(Look *l);

/* The death of a worker, or of the spawner, means nothing for the device. */
static bool look_again(Look *l, const WorkerResult *result) {
    return result->error == -ECONNRESET && l->n_retries++ < RETRIES_MAX && submit(l) >= 0;
}

/* What was learned by opening the device is remembered with it. */
static void remember(const Look *l, const WorkerResult *result) {
    const Device *d = inventory_find_device(l->surveyor->inventory, &l->name);

    if (result->error >= 0 && result->facts.has_caps && d && d->since_seqnum == l->since_seqnum)
        (void) caps_store_remember(
                l->surveyor->state_directory, l->surveyor->inventory, &l->name, &result->facts.caps);
}

static void note_timeout(const Look *l) {
    Surveyor *s = l->surveyor;

    if (!is_at_modules(l->what)) {
        note_silent(s, &l->name);
        return;
    }
    s->modules_silent_until_usec = now_usec(s) + SILENCE_USEC;
    log_warning("Reading the modules of the kernel takes too long: devices get vfio-pci for a minute, unless "
                "a rule names a driver");
}

static void on_looked(void *userdata, const WorkerResult *result, int *fds) {
    Look *l = userdata;
    Surveyor *s = l->surveyor;

    l->task = NULL;
    if (look_again(l, result))
        return;
    if (result->error == -ETIMEDOUT)
        note_timeout(l);
    remember(l, result);
    for (SurveyTask *t = s->tasks; t; t = t->next)
        for (size_t i = 0; i < t->survey->n_devices; i++)
            if (device_name_compare(&t->survey->devices[i].name, &l->name) == 0)
                deliver(&t->survey->devices[i], l->what, result);
    (void) look_free(l);
    pump(s);
}

static int submit(Look *l) {
    WorkerOrder order = {.operation = WORKER_SURVEY, .facts = l->what};

    order.item.name = l->name;
    return worker_submit(l->surveyor->workers, &order,
            l->what & DEVICE_FACT_CAPS ? l->surveyor->open_timeout_usec : l->surveyor->timeout_usec,
            &(WorkerCaller){.done = on_looked, .userdata = l, .task = &l->task});
}

static int start_look(Surveyor *s, const DeviceName *name, unsigned what) {
    Look *l = malloc(sizeof(*l));
    const Device *d;
    int r;

    if (!l)
        return -ENOMEM;
    *l = (Look){.surveyor = s, .name = *name, .what = what};
    d = inventory_find_device(s->inventory, name);
    l->since_seqnum = d ? d->since_seqnum : 0;
    r = submit(l);
    if (r < 0) {
        free(l);
        return r;
    }
    l->next = s->looks;
    s->looks = l;
    s->n_looks++;
    return 0;
}

static void start_device_look(Surveyor *s, SurveyDevice *d, unsigned what) {
    int r;

    if (what == 0 || s->n_looks >= LOOKS_MAX || find_look(s, &d->name, what))
        return;
    r = start_look(s, &d->name, what);
    if (r < 0)
        deliver_failure(d, what, r);
}

/* The modules come after the device: then the same worker goes on, and it may have loaded libkmod before. If
 * no worker could be started for the device, nobody else would ask for the modules. */
static void start_device(Surveyor *s, SurveyDevice *d) {
    const unsigned modules = DEVICE_FACT_VARIANT;

    put_what_is_clear(s, d);
    start_device_look(s, d, open_facts(d) & ~modules);
    if ((open_facts(d) & ~modules) == 0)
        start_device_look(s, d, open_facts(d));
}

/* ---- mediated devices ---- */

static int parse_types(int fd, SharedMdevTypes **ret) {
    _cleanup_free_ char *text = NULL;
    MdevTypes types = {};
    size_t size = 0;
    int r;

    r = read_file(fd, MDEV_TYPES_TEXT_MAX, &text, &size);
    if (r >= 0)
        r = mdev_types_from_text(text, size, &types);
    if (r < 0)
        return r;
    *ret = mdev_types_share(&types);
    return *ret ? 0 : -ENOMEM;
}

static int submit_types(Surveyor *s);

/* One driver that does not answer must not hide the types of the others. Returns false if too many do not
 * answer. */
static bool note_silent_parent(Surveyor *s) {
    for (unsigned i = 0; i < MDEV_SILENT_MAX && s->types_parent[0]; i++) {
        if (now_usec(s) < s->silent_parents[i].until_usec)
            continue;
        put_text(s->silent_parents[i].parent, sizeof(s->silent_parents[i].parent), s->types_parent);
        s->silent_parents[i].until_usec = now_usec(s) + SILENCE_USEC;
        log_warning(
                "%s: its driver does not report which mediated devices it can make; not asked again for a "
                "minute",
                s->types_parent);
        return true;
    }
    return false;
}

static void on_types_parent(void *userdata, const WorkerResult *result) {
    Surveyor *s = userdata;

    put_text(s->types_parent, sizeof(s->types_parent), result->parent);
}

static void on_types(void *userdata, const WorkerResult *result, int *fds) {
    SharedMdevTypes *types = NULL;
    Surveyor *s = userdata;
    int r = result->error;

    if (r == -ECONNRESET && s->types_retries++ < RETRIES_MAX && submit_types(s) >= 0)
        return;
    s->types_retries = 0;
    if (r == -ETIMEDOUT && note_silent_parent(s) && submit_types(s) >= 0)
        return;
    if (r == -ETIMEDOUT)
        s->types_silent_until_usec = now_usec(s) + SILENCE_USEC;
    if (r >= 0)
        r = parse_types(fds[0], &types);
    for (SurveyTask *t = s->tasks; t; t = t->next)
        if (survey_wants_mdev_types(t->survey))
            survey_put_mdev_types(t->survey, types ? mdev_types_ref(types) : NULL, r);
    types = mdev_types_unref(types);
    pump(s);
}

static int submit_types(Surveyor *s) {
    WorkerOrder order = {.operation = WORKER_MDEV_TYPES};

    for (unsigned i = 0; i < MDEV_SILENT_MAX; i++)
        if (now_usec(s) < s->silent_parents[i].until_usec)
            put_text(order.silent[order.n_silent++], sizeof(order.silent[0]), s->silent_parents[i].parent);
    s->types_parent[0] = '\0';
    return worker_submit(s->workers, &order, s->timeout_usec,
            &(WorkerCaller){
                    .done = on_types, .step = on_types_parent, .userdata = s, .task = &s->types_task});
}

static void start_types(Surveyor *s, Survey *survey) {
    int r;

    if (!survey_wants_mdev_types(survey) || s->types_task)
        return;
    r = now_usec(s) < s->types_silent_until_usec ? -ETIMEDOUT : submit_types(s);
    if (r < 0)
        survey_put_mdev_types(survey, NULL, r);
}

/* Is it the opened device, one of the same group, or one below it? */
static bool is_disturbed(const Surveyor *s, const DeviceName *name, const DeviceName *opened) {
    const Device *d = inventory_find_device(s->inventory, name),
                 *o = inventory_find_device(s->inventory, opened);

    if (d && o && d->group && d->group == o->group)
        return true;
    for (; d && d != o; d = inventory_find_parent(s->inventory, d))
        ;
    return d != NULL || device_name_compare(name, opened) == 0;
}

/* A worker has a device open that disturbs a device of the survey: nobody else could open that. */
static bool is_opened(const Surveyor *s, const Survey *survey) {
    for (const Look *l = s->looks; l; l = l->next)
        for (size_t i = 0; (l->what & DEVICE_FACT_CAPS) && i < survey->n_devices; i++)
            if (is_disturbed(s, &survey->devices[i].name, &l->name))
                return true;
    return false;
}

/* Starts the looks that can be started, and calls back the tasks that have everything. A callback may do
 * anything. */
static void pump(Surveyor *s) {
    SurveyTask **i = &s->tasks;

    for (SurveyTask *t = s->tasks; t; t = t->next)
        for (size_t k = 0; k < t->survey->n_devices; k++)
            start_device(s, &t->survey->devices[k]);
    for (SurveyTask *t = s->tasks; t; t = t->next)
        start_types(s, t->survey);
    while (*i) {
        SurveyTask *t = *i;

        if (survey_is_open(t->survey) || is_opened(s, t->survey)) {
            i = &t->next;
            continue;
        }
        *i = t->next;
        t->surveyor = NULL;
        survey_age(t->survey, s->inventory);
        t->ready(t->userdata);
        i = &s->tasks;
    }
}

/* ---- tasks ---- */

SurveyTask *survey_task_free(SurveyTask *t) {
    if (!t)
        return NULL;
    for (SurveyTask **i = t->surveyor ? &t->surveyor->tasks : NULL; i && *i; i = &(*i)->next)
        if (*i == t) {
            *i = t->next;
            break;
        }
    free(t);
    return NULL;
}

static void take_at_once(Surveyor *s, Survey *survey, const FactSource *source, bool sleeps) {
    survey_take(survey, source, s->inventory, sleeps ? SURVEY_FACTS_SLEEPING : 0);
    for (size_t i = 0; i < survey->n_devices; i++)
        if (open_facts(&survey->devices[i]) != 0)
            put_what_is_clear(s, &survey->devices[i]);
}

int surveyor_take(Surveyor *s, Survey *survey, const FactSource *source, bool sleeps,
        void (*ready)(void *userdata), void *userdata, SurveyTask **ret) {
    SurveyTask *t, **i = &s->tasks;

    take_at_once(s, survey, source, sleeps);
    if (!survey_is_open(survey) && !is_opened(s, survey))
        return 0;
    for (size_t k = 0; k < survey->n_devices; k++)
        start_device(s, &survey->devices[k]);
    start_types(s, survey);
    if (!survey_is_open(survey) && !is_opened(s, survey))
        return 0;
    t = malloc(sizeof(*t));
    if (!t)
        return -ENOMEM;
    *t = (SurveyTask){.surveyor = s, .survey = survey, .ready = ready, .userdata = userdata};
    while (*i)
        i = &(*i)->next;
    *ret = *i = t;
    return -EAGAIN;
}

void surveyor_take_now(Surveyor *s, Survey *survey, const FactSource *source, bool sleeps) {
    take_at_once(s, survey, source, sleeps);
    for (size_t i = 0; i < survey->n_devices; i++)
        if (open_facts(&survey->devices[i]) != 0)
            put_unknown(&survey->devices[i], open_facts(&survey->devices[i]), -ETIMEDOUT);
    if (survey_wants_mdev_types(survey))
        survey_put_mdev_types(survey, NULL, -ETIMEDOUT);
}

int surveyor_new(sd_event *event, Inventory *inventory, WorkerPool *workers, const char *state_directory,
        uint64_t timeout_usec, Surveyor **ret) {
    Surveyor *s = calloc(1, sizeof(*s));

    if (!s)
        return -ENOMEM;
    s->event = sd_event_ref(event);
    s->inventory = inventory;
    s->workers = workers;
    s->state_directory = state_directory;
    s->timeout_usec = MIN(timeout_usec, LOOK_TIMEOUT_USEC);
    s->open_timeout_usec = timeout_usec;
    *ret = s;
    return 0;
}

Surveyor *surveyor_free(Surveyor *s) {
    if (!s)
        return NULL;
    for (SurveyTask *t = s->tasks; t; t = t->next)
        t->surveyor = NULL;
    while (s->looks)
        (void) look_free(s->looks);
    if (s->types_task)
        worker_task_abandon(s->types_task);
    sd_event_unref(s->event);
    free(s);
    return NULL;
}
