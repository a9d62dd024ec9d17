/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/logind.h"

#include <fcntl.h>
#include <stdio.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"

#define DBUS_NAME "org.freedesktop.DBus"
#define DBUS_PATH "/org/freedesktop/DBus"
#define LOGIND_NAME "org.freedesktop.login1"
#define LOGIND_PATH "/org/freedesktop/login1"
#define LOGIND_INTERFACE "org.freedesktop.login1.Manager"
#define DELAY_MAX_USEC (3600 * UINT64_C(1000000)) /* longer delays are not believed */

struct Logind {
    LogindCallbacks callbacks;
    sd_bus *bus;                                   /* borrowed */
    sd_bus_slot *owners, *signals;                 /* matches */
    sd_bus_slot *ask_owner, *ask_delay, *ask_lock; /* calls in progress */
    char owner[64];                                /* logind's unique name; "": it is not running */
    uint64_t delay_usec;
    int lock; /* owned; -EBADF: none */
    bool sleeping;
};

static void forget_owner(Logind *l) {
    l->signals = sd_bus_slot_unref(l->signals);
    l->ask_delay = sd_bus_slot_unref(l->ask_delay);
    l->ask_lock = sd_bus_slot_unref(l->ask_lock);
    l->lock = safe_close(l->lock);
    l->owner[0] = '\0';
    l->delay_usec = LOGIND_DELAY_DEFAULT_USEC;
}

/* If logind ends before the host sleeps, no signal reports the wake-up. */
static void wake(Logind *l) {
    if (!l->sleeping)
        return;
    l->sleeping = false;
    l->callbacks.woke(l->callbacks.userdata);
}

/* ---- The delay lock ---- */

static int on_lock(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    Logind *l = userdata;
    int fd;

    l->ask_lock = sd_bus_slot_unref(l->ask_lock);
    if (sd_bus_message_is_method_error(m, NULL) || sd_bus_message_read(m, "h", &fd) < 0) {
        log_warning("logind refused a delay lock: holders may be notified too late that the host sleeps");
        return 1;
    }
    (void) safe_close(l->lock);
    l->lock = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    return 1;
}

static void take_lock(Logind *l) {
    int r;

    if (!l->owner[0] || l->lock >= 0 || l->ask_lock)
        return;
    r = sd_bus_call_method_async(l->bus, &l->ask_lock, l->owner, LOGIND_PATH, LOGIND_INTERFACE, "Inhibit",
            on_lock, l, "ssss", "sleep", "vfiod", "Notify the holders of VFIO devices", "delay");
    if (r < 0)
        log_warning_errno(r, "Cannot ask logind for a delay lock");
}

void logind_let_sleep(Logind *l) {
    l->ask_lock = sd_bus_slot_unref(l->ask_lock);
    l->lock = safe_close(l->lock);
}

/* ---- Signals ---- */

/* Without a callback of its own, an error would close the connection. */
static int on_match(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    if (sd_bus_message_is_method_error(m, NULL))
        log_warning("The bus does not let vfiod watch logind");
    return 1;
}

static int on_sleep(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    Logind *l = userdata;
    int begins;

    /* Anybody could send us such a signal. */
    if (!streq_ptr(sd_bus_message_get_sender(m), l->owner) || sd_bus_message_read(m, "b", &begins) < 0)
        return 0;
    if (begins && !l->sleeping) {
        l->sleeping = true;
        l->callbacks.sleep(l->callbacks.userdata, l->delay_usec);
    } else if (!begins) {
        wake(l);
        take_lock(l);
    }
    return 0;
}

static int on_delay(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    Logind *l = userdata;
    uint64_t usec;

    l->ask_delay = sd_bus_slot_unref(l->ask_delay);
    if (!sd_bus_message_is_method_error(m, NULL) && sd_bus_message_read(m, "v", "t", &usec) >= 0)
        l->delay_usec = MIN(usec, DELAY_MAX_USEC);
    return 1;
}

/* Signals come from the unique name, so that signals of other connections do not match. */
static void follow(Logind *l, const char *owner) {
    char match[320];
    int r;

    forget_owner(l);
    wake(l);
    if (!*owner)
        return;
    (void) snprintf(l->owner, sizeof(l->owner), "%s", owner);
    (void) snprintf(match, sizeof(match),
            "type='signal',sender='%s',path='" LOGIND_PATH "',interface='" LOGIND_INTERFACE
            "',member='PrepareForSleep'",
            l->owner);
    r = sd_bus_add_match_async(l->bus, &l->signals, match, on_sleep, on_match, l);
    if (r >= 0)
        r = sd_bus_call_method_async(l->bus, &l->ask_delay, l->owner, LOGIND_PATH,
                "org.freedesktop.DBus.Properties", "Get", on_delay, l, "ss", LOGIND_INTERFACE,
                "InhibitDelayMaxUSec");
    if (r < 0)
        log_warning_errno(r, "Cannot watch logind");
    take_lock(l);
}

static int on_owner_changed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    const char *name, *old_owner, *new_owner;
    Logind *l = userdata;

    if (!streq_ptr(sd_bus_message_get_sender(m), DBUS_NAME) ||
            sd_bus_message_read(m, "sss", &name, &old_owner, &new_owner) < 0 || !streq(name, LOGIND_NAME))
        return 0;
    l->ask_owner = sd_bus_slot_unref(l->ask_owner);
    follow(l, new_owner);
    return 0;
}

/* Not an error to report: not every host has logind. */
static int on_owner(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    const char *owner;
    Logind *l = userdata;

    l->ask_owner = sd_bus_slot_unref(l->ask_owner);
    if (!sd_bus_message_is_method_error(m, NULL) && sd_bus_message_read(m, "s", &owner) >= 0)
        follow(l, owner);
    return 1;
}

/* The match first, so that a logind that starts in between is noticed. */
static int watch(Logind *l) {
    int r;

    r = sd_bus_add_match_async(l->bus, &l->owners,
            "type='signal',sender='" DBUS_NAME "',path='" DBUS_PATH "',interface='" DBUS_NAME
            "',member='NameOwnerChanged',arg0='" LOGIND_NAME "'",
            on_owner_changed, on_match, l);
    if (r >= 0)
        r = sd_bus_call_method_async(l->bus, &l->ask_owner, DBUS_NAME, DBUS_PATH, DBUS_NAME, "GetNameOwner",
                on_owner, l, "s", LOGIND_NAME);
    return r;
}

void logind_set_bus(Logind *l, sd_bus *bus) {
    int r;

    l->owners = sd_bus_slot_unref(l->owners);
    l->ask_owner = sd_bus_slot_unref(l->ask_owner);
    forget_owner(l);
    wake(l);
    l->bus = bus;
    r = bus ? watch(l) : 0;
    if (r < 0)
        log_warning_errno(r, "Cannot watch logind");
}

int logind_new(const LogindCallbacks *callbacks, Logind **ret) {
    Logind *l = malloc(sizeof(*l));

    if (!l)
        return -ENOMEM;
    *l = (Logind){.callbacks = *callbacks, .lock = -EBADF, .delay_usec = LOGIND_DELAY_DEFAULT_USEC};
    *ret = l;
    return 0;
}

Logind *logind_free(Logind *l) {
    if (!l)
        return NULL;
    l->callbacks.woke = NULL;
    l->sleeping = false;
    logind_set_bus(l, NULL);
    free(l);
    return NULL;
}
