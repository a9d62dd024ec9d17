/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/claim-module.h"

#include <stdio.h>

#include "base/str.h"
#include "core/device-kind.h"
#include "daemon/broker/claim-run.h"
#include "host/variant-reader.h"

#define NO_BUS "vfiod has no connection to D-Bus to let systemd load it"

static void load_next(ClaimRun *j);

static PlanMember *current(ClaimRun *j) {
    return &j->claim.plan.members[j->n_loaded];
}

/* remedy: owned; NULL: the default of the code. */
static void fail(ClaimRun *j, VfiodError code, const char *why, char *remedy) {
    const PlanMember *m = current(j);

    (void) refuse(
            &j->claim.refusal, code, &m->name, "its driver %s is not loaded, and %s", m->target_driver, why);
    if (remedy) {
        free(j->claim.refusal.remedy);
        j->claim.refusal.remedy = remedy;
    }
    claim_run_feed(j, CLAIM_EVENT_BIND_FAILED);
}

static bool is_generic(const PlanMember *m) {
    return streq(m->target_driver, device_kind_info(m->name.kind)->driver);
}

static void fail_to_load(ClaimRun *j, const char *why) {
    const PlanMember *m = current(j);

    fail(j, VFIOD_ERROR_BIND_FAILED, why,
            format_string("Nothing was changed. Try 'modprobe %s' and see the kernel log (journalctl -k).%s",
                    m->module,
                    is_generic(m) ? ""
                                  : " The operator can also let the rule name another driver (\"driver\": "
                                    "\"vfio-pci\")."));
}

/* The unit ends well whatever modprobe reports. The module may have a driver of another name than planned. */
static void on_module(void *userdata, const char *failure) {
    ClaimRun *j = userdata;
    PlanMember *m = current(j);
    char driver[VARIANT_NAME_MAX];

    j->loading = NULL;
    if (!variant_is_loaded(m->target_driver) && variant_read_driver(m->module, driver) >= 0) {
        put_text(m->target_driver, sizeof(m->target_driver), driver);
        j->dirty = true;
    }
    if (variant_is_loaded(m->target_driver))
        load_next(j);
    else
        fail_to_load(j, failure ?: "systemd could not load its module");
}

static int start_unit(ClaimRun *j, const char *module) {
    Broker *b = j->broker;
    char unit[UNIT_JOB_NAME_MAX];

    (void) snprintf(unit, sizeof(unit), "modprobe@%s.service", module);
    return unit_job_start(b->unit_jobs, unit, b->config.worker_timeout_usec, on_module, j, &j->loading);
}

/* Drivers of other kinds have no modules that vfiod may load. */
static bool needs_module(const PlanMember *m) {
    return m->bind && m->name.kind == DEVICE_KIND_PCI && *m->target_driver &&
            !variant_is_loaded(m->target_driver);
}

static void load_next(ClaimRun *j) {
    const Plan *plan = &j->claim.plan;
    int r;

    while (j->n_loaded < plan->n_members && !needs_module(current(j)))
        j->n_loaded++;
    if (j->n_loaded == plan->n_members) {
        j->go_on(j);
        return;
    }
    if (!*current(j)->module) /* vfio-pci, which was removed after vfiod had started */
        variant_module_name(current(j)->target_driver, current(j)->module);
    if (!unit_jobs_have_bus(j->broker->unit_jobs)) {
        fail_to_load(j, NO_BUS);
        return;
    }
    r = start_unit(j, current(j)->module);
    if (r < 0)
        fail_to_load(j, strerror(-r));
}

void claim_module_load(ClaimRun *j, void (*go_on)(ClaimRun *j)) {
    j->n_loaded = 0;
    j->go_on = go_on;
    load_next(j);
}

static bool drop(ClaimRun *j) {
    if (!j->loading)
        return false;
    j->loading = unit_job_free(j->loading);
    return true;
}

void claim_module_end(ClaimRun *j, ClaimEvent event) {
    if (!drop(j))
        return;
    if (event == CLAIM_EVENT_DEVICE_GONE)
        fail(j, VFIOD_ERROR_DEVICE_GONE, "a device of the claim has disappeared meanwhile", NULL);
    else
        fail(j, VFIOD_ERROR_BIND_FAILED, "the claim was released meanwhile", strdup("Request it again."));
}

/* A claim that ends may take others with it. */
void claim_module_lose_bus(Broker *b) {
    ClaimRun *j = b->claims;

    while (j) {
        if (!drop(j)) {
            j = j->next;
            continue;
        }
        fail_to_load(j, NO_BUS);
        j = b->claims;
    }
}
