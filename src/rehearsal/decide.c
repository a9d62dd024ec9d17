/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rehearsal/decide.h"

#include <time.h>

#include "base/str.h"

uint64_t time_now(void) {
    struct timespec t;

    if (clock_gettime(CLOCK_REALTIME, &t) < 0)
        return 0;
    return (uint64_t) t.tv_sec * 1000000 + (uint64_t) t.tv_nsec / 1000;
}

int look_at_device(HostView *host, Inventory *inventory, Survey *survey, const DeviceName *name,
        unsigned what, const DeviceFacts **ret) {
    int r;

    *ret = NULL;
    if (what == 0)
        return 0;
    r = survey_get(survey, name, what, ret);
    if (r == -EAGAIN) {
        survey_take(survey, &host->facts, inventory, 0);
        r = survey_get(survey, name, what, ret);
    }
    return r == -ENOMEM ? r : 0;
}

int decide_device(HostView *host, Survey *survey, const Policy *policy, const Subject *subject,
        const Device *device, uint64_t now_usec, Decision *ret, char **ret_problem) {
    Inventory *inventory;
    int r;

    *ret = (Decision){
            .question = {.subject = subject,
                    .device = device,
                    .now_usec = now_usec > 0 ? now_usec : time_now()},
    };
    r = host_view_get_inventory(host, &inventory, ret_problem);
    if (r >= 0) /* a fact that cannot be read is unknown, which rules can handle */
        r = look_at_device(
                host, inventory, survey, &device->name, policy_needed_facts(policy), &ret->question.facts);
    if (r < 0)
        return r;
    ret->verdict = policy_evaluate(policy, &ret->question);
    return 0;
}

Answer *answer_free(Answer *a) {
    if (!a)
        return NULL;
    plan_done(&a->plan);
    refusal_done(&a->refusal);
    free(a);
    return NULL;
}

int decide_request(HostView *host, Survey *survey, const Policy *policy, const Subject *subject,
        const Request *request, uint64_t now_usec, Answer **ret, char **ret_problem) {
    _cleanup_(answer_freep) Answer *a = calloc(1, sizeof(*a));
    PlanContext context = {
            .policy = policy,
            .survey = survey,
            .now_usec = now_usec > 0 ? now_usec : time_now(),
            .all_obstacles = true,
            .beyond_policy = true, /* it shows nothing that its user cannot read */
            .describe = true,
    };
    int r;

    if (!a)
        return -ENOMEM;
    a->plan = PLAN_NULL;
    a->refusal = REFUSAL_NULL;
    r = host_view_get_inventory(host, &context.inventory, ret_problem);
    if (r < 0)
        return r;
    r = plan_build_from(&context, &host->facts, request, subject, &a->plan, &a->refusal);
    if (r == -ENOMEM)
        return r;
    a->granted = r >= 0;
    *ret = TAKE_PTR(a);
    return 0;
}

#define NEAREST_DEVICES_MAX 4096U /* how many are searched for a suggestion */

typedef struct NearestDevice {
    const DeviceName *wanted; /* borrowed */
    const char **names;       /* owned, as are the names */
    size_t n;
    bool out_of_memory;
} NearestDevice;

static bool is_same_slot(const DeviceName *a, const DeviceName *b) {
    return b->kind == DEVICE_KIND_PCI && a->domain == b->domain && a->pci_bus == b->pci_bus &&
            a->slot == b->slot;
}

static int note_device(Device *d, void *userdata) {
    NearestDevice *known = userdata;
    char name[DEVICE_NAME_MAX], *copy;

    if (d->name.kind == DEVICE_KIND_PCI && !is_same_slot(&d->name, known->wanted))
        return 0;
    copy = strdup(device_name_format(&d->name, name));
    known->names[known->n] = copy;
    known->out_of_memory = !copy;
    known->n += copy != NULL;
    return copy ? 0 : -ENOMEM;
}

static int report_no_device(Inventory *inventory, const DeviceName *wanted, char **ret_problem) {
    NearestDevice known = {
            .wanted = wanted, .names = calloc((size_t) inventory_n_devices(inventory) + 1, sizeof(char *))};
    char name[DEVICE_NAME_MAX];
    const char *meant;
    int r = known.names ? 0 : -ENOMEM;

    /* Another address is not another spelling, except for the function of a card. */
    if (known.names && inventory_n_devices(inventory) <= NEAREST_DEVICES_MAX)
        r = inventory_foreach_device(inventory, note_device, &known);
    if (r >= 0) {
        meant = nearest(device_name_format(wanted, name), known.names);
        r = problem(ret_problem, -ENODEV, "there is no device %s on the host%s%s%s", name,
                meant ? "; did you mean " : "", meant ?: "", meant ? "?" : "");
    }
    for (size_t i = 0; i < known.n; i++)
        free((void *) known.names[i]);
    free(known.names);
    return r;
}

int find_device(HostView *host, const DeviceName *name, Device **ret, char **ret_problem) {
    Inventory *inventory;
    Device *d;
    int r;

    if (name->kind == DEVICE_KIND_TEMPLATE) {
        template_as_device(name, &host->template);
        *ret = &host->template;
        return 0;
    }
    r = host_view_get_inventory(host, &inventory, ret_problem);
    if (r < 0)
        return r;
    d = inventory_find_device(inventory, name);
    if (!d)
        return report_no_device(inventory, name, ret_problem);
    *ret = d;
    return 0;
}
