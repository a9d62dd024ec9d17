/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/unit-job.h"

#include <inttypes.h>
#include <stdio.h>
#include <systemd/sd-bus.h>

#include "base/log.h"
#include "base/str.h"

#define SYSTEMD_NAME "org.freedesktop.systemd1"
#define SYSTEMD_PATH "/org/freedesktop/systemd1"
#define SYSTEMD_INTERFACE "org.freedesktop.systemd1.Manager"
#define DBUS_NAME "org.freedesktop.DBus"
#define DBUS_PATH "/org/freedesktop/DBus"
#define OWNER_CHANGED                                                                                        \
    "type='signal',sender='" DBUS_NAME "',path='" DBUS_PATH "',interface='" DBUS_NAME                        \
    "',member='NameOwnerChanged',arg0='" SYSTEMD_NAME "'"
#define JOB_REMOVED                                                                                          \
    "type='signal',sender='" SYSTEMD_NAME "',path='" SYSTEMD_PATH "',interface='" SYSTEMD_INTERFACE          \
    "',member='JobRemoved'"

#define CANNOT_ASK "systemd cannot be asked to start its unit"
#define START_TIMEOUT_USEC (30 * UINT64_C(1000000)) /* until the job is in the queue */
#define RETRY_USEC (1 * UINT64_C(1000000))

struct UnitJob {
    UnitJobs *all;             /* borrowed */
    UnitJob *previous, *next;  /* UnitJobs.jobs */
    sd_bus_slot *match, *call; /* owned */
    sd_event_source *timer;    /* owned */
    sd_event_source *retry;    /* owned */
    uint64_t timeout_usec;
    bool anew, warned; /* systemd or the connection went away since it began; that was logged */
    char unit[UNIT_JOB_NAME_MAX];
    char *path, *sender; /* owned; of systemd's job; NULL until systemd has answered */
    unit_job_done_t done;
    void *userdata;
};

struct UnitJobs {
    sd_event *event;
    sd_bus *bus;         /* borrowed */
    sd_bus_slot *owners; /* owned; a match */
    UnitJob *jobs;
};

int unit_jobs_new(sd_event *event, UnitJobs **ret) {
    UnitJobs *s = malloc(sizeof(*s));

    if (!s)
        return -ENOMEM;
    *s = (UnitJobs){.event = event};
    *ret = s;
    return 0;
}

UnitJobs *unit_jobs_free(UnitJobs *s) {
    if (!s)
        return NULL;
    while (s->jobs)
        (void) unit_job_free(s->jobs);
    sd_bus_slot_unref(s->owners);
    free(s);
    return NULL;
}

UnitJob *unit_job_free(UnitJob *job) {
    if (!job)
        return NULL;
    sd_bus_slot_unref(job->match);
    sd_bus_slot_unref(job->call);
    sd_event_source_disable_unref(job->timer);
    sd_event_source_disable_unref(job->retry);
    if (job->previous)
        job->previous->next = job->next;
    else
        job->all->jobs = job->next;
    if (job->next)
        job->next->previous = job->previous;
    free(job->path);
    free(job->sender);
    free(job);
    return NULL;
}

/* Free the job first: the callback may start the next one. */
static void finish(UnitJob *job, const char *failure) {
    unit_job_done_t done = job->done;
    void *userdata = job->userdata;

    (void) unit_job_free(job);
    done(userdata, failure);
}

static void fail(UnitJob *job, const char *what, const char *why) {
    _cleanup_free_ char *shown = sanitize(why ?: "", 256), *text = NULL;

    text = format_string("%s%s%s", what, shown && *shown ? ": " : "", shown ?: "");
    finish(job, text ?: what);
}

bool unit_jobs_have_bus(const UnitJobs *s) {
    return s->bus;
}

static int on_removed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    const char *path, *unit, *result;
    _cleanup_free_ char *what = NULL;
    UnitJob *job = userdata;
    uint32_t id;

    if (!job->path || !streq_ptr(sd_bus_message_get_sender(m), job->sender) ||
            sd_bus_message_read(m, "uoss", &id, &path, &unit, &result) < 0 || !streq(path, job->path))
        return 0;
    if (streq(result, "done")) {
        finish(job, NULL);
        return 0;
    }
    what = format_string("the unit %s ended with the result", job->unit);
    fail(job, what ?: "its unit failed", result);
    return 0;
}

static int listen(UnitJob *job);
static void fail_unless_away(UnitJob *job, const char *what, const sd_bus_error *e);

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata) {
    UnitJob *job = userdata;
    int r = listen(job);

    if (r < 0)
        fail_unless_away(job, CANNOT_ASK, &SD_BUS_ERROR_MAKE_CONST(SD_BUS_ERROR_DISCONNECTED, strerror(-r)));
    return 0;
}

/* Is only the connection to systemd away for a while? systemd itself goes and comes back with its bus and
 * when it is re-executed. The unit may be running, so nothing is known yet. */
static bool is_away(const UnitJob *job, const sd_bus_error *e) {
    if (sd_bus_error_has_name(e, SD_BUS_ERROR_NO_REPLY) ||
            sd_bus_error_has_name(e, SD_BUS_ERROR_DISCONNECTED))
        return true;
    return job->anew &&
            (sd_bus_error_has_name(e, SD_BUS_ERROR_SERVICE_UNKNOWN) ||
                    sd_bus_error_has_name(e, SD_BUS_ERROR_NAME_HAS_NO_OWNER) ||
                    startswith(e->name, "org.freedesktop.DBus.Error.Spawn."));
}

/* The job's own timer ends the attempts at the latest. */
static void fail_unless_away(UnitJob *job, const char *what, const sd_bus_error *e) {
    const char *why = e->message ?: e->name;

    job->retry = sd_event_source_disable_unref(job->retry);
    if (!is_away(job, e) ||
            sd_event_add_time_relative(
                    job->all->event, &job->retry, CLOCK_MONOTONIC, RETRY_USEC, 0, on_retry, job) < 0) {
        fail(job, what, why);
        return;
    }
    if (!job->warned)
        log_warning("systemd does not answer, trying again to start %s: %s", job->unit, why);
    job->warned = true;
}

static int on_started(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    const sd_bus_error *e = sd_bus_message_get_error(m);
    const char *sender = sd_bus_message_get_sender(m), *path;
    _cleanup_free_ char *what = NULL;
    UnitJob *job = userdata;

    job->call = sd_bus_slot_unref(job->call);
    what = format_string("the unit %s could not be started", job->unit);
    if (e)
        fail_unless_away(job, what ?: "its unit could not be started", e);
    else if (!sender || sd_bus_message_read(m, "o", &path) < 0)
        fail(job, what ?: "its unit could not be started", "systemd's answer cannot be read");
    else if (free_and_strdup(&job->sender, sender) < 0 || free_and_strdup(&job->path, path) < 0)
        fail(job, what ?: "its unit could not be started", "out of memory");
    return 0;
}

/* The match is in place, so the end of the job cannot be missed. */
static int on_match(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    UnitJob *job = userdata;
    UnitJobs *s = job->all;
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *call = NULL;
    int r;

    if (sd_bus_message_is_method_error(m, NULL)) {
        fail_unless_away(job, CANNOT_ASK, sd_bus_message_get_error(m));
        return 0;
    }
    r = sd_bus_message_new_method_call(
            s->bus, &call, SYSTEMD_NAME, SYSTEMD_PATH, SYSTEMD_INTERFACE, "StartUnit");
    if (r >= 0)
        r = sd_bus_message_append(call, "ss", job->unit, "replace");
    if (r >= 0)
        r = sd_bus_call_async(s->bus, &job->call, call, on_started, job, START_TIMEOUT_USEC);
    if (r < 0)
        fail(job, CANNOT_ASK, strerror(-r));
    return 0;
}

/* Begins again: what systemd sent to an earlier connection is lost. */
static int listen(UnitJob *job) {
    sd_bus *bus = job->all->bus;

    job->match = sd_bus_slot_unref(job->match);
    job->call = sd_bus_slot_unref(job->call);
    job->retry = sd_event_source_disable_unref(job->retry);
    free(TAKE_PTR(job->path));
    free(TAKE_PTR(job->sender));
    return bus ? sd_bus_add_match_async(bus, &job->match, JOB_REMOVED, on_removed, on_match, job) : 0;
}

static void listen_anew(UnitJobs *s) {
    for (UnitJob *next, *job = s->jobs; job; job = next) {
        next = job->next;
        job->anew = true;
        (void) on_retry(NULL, 0, job);
    }
}

/* This also happens when systemd is re-executed. Its jobs go on, and it announces their end under its new
 * name. A StartUnit for a unit that is being started joins that job. */
static int on_owner_changed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    const char *name, *old_owner, *new_owner;
    UnitJobs *s = userdata;

    if (!streq_ptr(sd_bus_message_get_sender(m), DBUS_NAME) ||
            sd_bus_message_read(m, "sss", &name, &old_owner, &new_owner) < 0 || !streq(name, SYSTEMD_NAME))
        return 0;
    if (*new_owner)
        listen_anew(s);
    for (UnitJob *job = s->jobs; job; job = job->next)
        job->anew = true;
    return 0;
}

/* Without this callback, sd-bus would close the connection on an error. */
static int on_owners(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    if (sd_bus_message_is_method_error(m, NULL))
        log_warning("The bus does not let vfiod watch for a re-execution of systemd");
    return 0;
}

void unit_jobs_set_bus(UnitJobs *s, sd_bus *bus) {
    int r;

    s->owners = sd_bus_slot_unref(s->owners);
    s->bus = bus;
    r = bus ? sd_bus_add_match_async(bus, &s->owners, OWNER_CHANGED, on_owner_changed, on_owners, s) : 0;
    if (r < 0)
        log_warning_errno(r, "Cannot watch for a re-execution of systemd");
    listen_anew(s);
}

static int on_time(sd_event_source *source, uint64_t usec, void *userdata) {
    _cleanup_free_ char *what = NULL;
    UnitJob *job = userdata;

    what = format_string(
            "the unit %s did not end within %" PRIu64 " s", job->unit, job->timeout_usec / 1000000);
    fail(job, what ?: "its unit did not end in time", NULL);
    return 0;
}

static void link_job(UnitJobs *s, UnitJob *job) {
    job->next = s->jobs;
    if (s->jobs)
        s->jobs->previous = job;
    s->jobs = job;
}

int unit_job_start(UnitJobs *s, const char *unit, uint64_t timeout_usec, unit_job_done_t done, void *userdata,
        UnitJob **ret) {
    UnitJob *job;
    int r;

    job = malloc(sizeof(*job));
    if (!job)
        return -ENOMEM;
    *job = (UnitJob){.all = s, .timeout_usec = timeout_usec, .done = done, .userdata = userdata};
    link_job(s, job);
    put_text(job->unit, sizeof(job->unit), unit);
    r = sd_event_add_time_relative(s->event, &job->timer, CLOCK_MONOTONIC, timeout_usec, 0, on_time, job);
    if (r >= 0)
        r = listen(job);
    if (r < 0) {
        (void) unit_job_free(job);
        return r;
    }
    *ret = job;
    return 0;
}
