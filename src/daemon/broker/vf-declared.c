/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/vf-declared.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "core/family.h"
#include "daemon/broker/vf-count.h"

#define BOOT_ID "/proc/sys/kernel/random/boot_id"
#define BOOT_ID_MAX 40U
#define SETTLED "virtual-functions-settled"
#define SETTLED_SIZE_MAX (1024U * 1024)

struct VfDeclared {
    Broker *broker;
    VfDeclared *next; /* broker.vf_declared */
    DeviceName name;
    bool settled;
    char *failure; /* owned; why it has none; NULL: no failure */
};

static VfDeclared *find(const Broker *e, const DeviceName *name) {
    for (VfDeclared *v = e->vf_declared; v; v = v->next)
        if (device_name_compare(&v->name, name) == 0)
            return v;
    return NULL;
}

static VfDeclared *get(Broker *e, const DeviceName *name) {
    VfDeclared *v = find(e, name);

    if (v)
        return v;
    v = malloc(sizeof(*v));
    if (!v)
        return NULL;
    *v = (VfDeclared){.broker = e, .next = e->vf_declared, .name = *name};
    return e->vf_declared = v;
}

static void clear_failure(VfDeclared *v) {
    free(v->failure);
    v->failure = NULL;
}

void vf_declared_done(Broker *e) {
    while (e->vf_declared) {
        VfDeclared *v = e->vf_declared;

        e->vf_declared = v->next;
        free(v->failure);
        free(v);
    }
}

/* ---- What is settled in this boot ---- */

static int open_state(const Broker *e) {
    int fd = open(e->config.state_directory, O_DIRECTORY | O_CLOEXEC | O_RDONLY);

    return fd < 0 ? -errno : fd;
}

static int write_settled(const Broker *e) {
    _cleanup_close_ int directory = open_state(e);
    _cleanup_strbuf_ StrBuf lines = {};
    _cleanup_free_ char *text = NULL;
    char boot[BOOT_ID_MAX];
    ssize_t n;

    if (directory < 0)
        return directory;
    n = read_attribute_at(AT_FDCWD, BOOT_ID, boot, sizeof(boot));
    if (n < 0)
        return (int) n;
    strbuf_addf(&lines, "%s\n", boot);
    for (const VfDeclared *v = e->vf_declared; v; v = v->next) {
        char name[DEVICE_NAME_MAX];

        if (v->settled)
            strbuf_addf(&lines, "%s\n", device_name_format(&v->name, name));
    }
    text = strbuf_steal(&lines);
    return text ? write_file_atomic_at(directory, SETTLED, text, strlen(text), 0600) : -ENOMEM;
}

static void load_line(Broker *e, const char *line) {
    DeviceName name;
    VfDeclared *v;

    if (device_name_parse(line, &name) < 0)
        return;
    v = get(e, &name);
    if (v)
        v->settled = true;
}

/* If nothing can be read, no device counts as settled, and those without virtual functions get them. */
void vf_declared_load(Broker *e) {
    _cleanup_close_ int directory = open_state(e);
    _cleanup_free_ char *text = NULL;
    char boot[BOOT_ID_MAX];
    char *line, *end;
    int r;

    r = directory < 0 ? directory : read_file_at(directory, SETTLED, SETTLED_SIZE_MAX, &text, NULL);
    if (r < 0 && r != -ENOENT)
        log_warning_errno(r, "Cannot read for which devices virtual functions were made in this boot");
    if (r < 0 || read_attribute_at(AT_FDCWD, BOOT_ID, boot, sizeof(boot)) < 0)
        return;
    end = text + strcspn(text, "\n");
    if (*end)
        *end++ = '\0';
    if (!streq(text, boot))
        return;
    for (line = end; *line; line = end) {
        end = line + strcspn(line, "\n");
        if (*end)
            *end++ = '\0';
        load_line(e, line);
    }
}

void vf_declared_settle(Broker *e, const DeviceName *name) {
    VfDeclared *v = get(e, name);
    int r = v ? 0 : -ENOMEM;

    if (v && v->settled)
        return;
    if (v) {
        v->settled = true;
        clear_failure(v);
        r = write_settled(e);
    }
    if (r < 0)
        log_warning_errno(r, "Cannot write down for which devices virtual functions were made in this boot");
}

/* ---- Making them ---- */

static void fail(Broker *e, const DeviceName *name, const DeclaredFunctions *want, const Refusal *refusal) {
    VfDeclared *v = get(e, name);
    char shown[DEVICE_NAME_MAX];

    if (!v)
        return;
    clear_failure(v);
    v->failure = strdup(refusal->reason ?: "out of memory");
    if (refusal->code == VFIOD_ERROR_DEVICE_CLAIMED)
        e->vf_waits = true; /* until the end of a claim */
    else
        log_warning("%s: warning: the %u virtual functions of %s are not made: %s", want ? want->place : "?",
                want ? want->count : 0, device_name_format(name, shown), v->failure ?: "out of memory");
}

static void on_made(void *userdata, const Refusal *refusal) {
    VfDeclared *v = userdata;

    if (refusal)
        fail(v->broker, &v->name, policy_find_functions(v->broker->policy, &v->name), refusal);
    else
        vf_declared_settle(v->broker, &v->name);
}

/* A glob also matches devices without SR-IOV. */
static bool is_meant(const Broker *e, const Device *d, const DeclaredFunctions *want) {
    const FactSource *source = &e->config.host->facts;
    _cleanup_(device_facts_done) DeviceFacts facts = DEVICE_FACTS_NULL;

    if (device_is_virtual_function(d) || d->name.kind != DEVICE_KIND_PCI)
        return false;
    if (want->device.exact)
        return true;
    return source->read_facts(source->userdata, d, DEVICE_FACT_FUNCTIONS_MAX, &facts) >= 0 &&
            facts.functions_max > 0;
}

static int make(Broker *e, const Device *d, const DeclaredFunctions *want, Refusal *refusal) {
    const VfWish wish = {
            .device = d->name,
            .count = want->count,
            .autoprobe = want->autoprobe < 0 ? SRIOV_AUTOPROBE_KEEP
                    : want->autoprobe        ? SRIOV_AUTOPROBE_ON
                                             : SRIOV_AUTOPROBE_OFF,
            .only_create = true,
    };
    VfDeclared *v = get(e, &d->name);
    char name[DEVICE_NAME_MAX];
    int r;

    r = v ? family_check_reshaping(e->inventory, d, refusal) : -ENOMEM;
    if (r < 0)
        return r;
    log_notice("%s: makes %u virtual functions of %s", want->place, want->count,
            device_name_format(&d->name, name));
    return vf_change_begin(e, d, &wish, on_made, v);
}

void vf_declared_try(Broker *e, const Device *d) {
    const DeclaredFunctions *want = policy_find_functions(e->policy, &d->name);
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
    VfDeclared *v = find(e, &d->name);
    unsigned now;
    int r = 0;

    if (v)
        clear_failure(v);
    if (!want || (v && v->settled) || d->reshaping || !is_meant(e, d, want))
        return;
    now = family_count_functions(e->inventory, d);
    if (now == want->count) {
        vf_declared_settle(e, &d->name);
        return;
    }
    if (now > 0)
        r = refuse(&refusal, VFIOD_ERROR_DEVICE_BUSY, &d->name,
                "it already has %u, and vfiod does not change an existing number", now);
    else if (d->driver && d->vfio_index < 0)
        r = make(e, d, want, &refusal);
    if (r < 0 && (int) refusal.code < 0)
        (void) refuse(&refusal, VFIOD_ERROR_INTERNAL, &d->name, "%s", strerror(-r));
    if (r < 0)
        fail(e, &d->name, want, &refusal);
}

static int try_device(Device *d, void *userdata) {
    vf_declared_try(userdata, d);
    return 0;
}

void broker_make_declared_functions(Broker *e) {
    if (policy_n_functions(e->policy) > 0 && !e->config.simulated)
        (void) inventory_foreach_device(e->inventory, try_device, e);
}

/* ---- Differences from the policy ---- */

typedef struct Visit {
    Broker *broker;
    int (*visit)(void *userdata, const char *line);
    void *userdata;
} Visit;

static const char *why(const Broker *e, const Device *d) {
    const VfDeclared *v = find(e, &d->name);

    if (d->reshaping)
        return "its virtual functions are being made";
    if (v && v->settled)
        return "they were made, or their number was changed, since the last boot";
    if (v && v->failure)
        return v->failure;
    return d->driver ? "they are not made while it is on this driver" : "it has no driver yet";
}

static int visit_device(Device *d, void *userdata) {
    const Visit *v = userdata;
    const DeclaredFunctions *want = policy_find_functions(v->broker->policy, &d->name);
    _cleanup_free_ char *line = NULL;
    char name[DEVICE_NAME_MAX];
    unsigned now;

    if (!want || !is_meant(v->broker, d, want))
        return 0;
    now = family_count_functions(v->broker->inventory, d);
    if (now == want->count)
        return 0;
    line = format_string("%s: warning: %s has %u virtual functions, and %u are declared: %s", want->place,
            device_name_format(&d->name, name), now, want->count, why(v->broker, d));
    return line ? v->visit(v->userdata, line) : -ENOMEM;
}

static int visit_missing(const Visit *v) {
    int r = 0;

    for (size_t i = 0; i < policy_n_functions(v->broker->policy) && r == 0; i++) {
        const DeclaredFunctions *want = policy_functions(v->broker->policy, i);
        _cleanup_free_ char *line = NULL;
        char name[DEVICE_NAME_MAX];

        if (!want->device.exact || inventory_find_device(v->broker->inventory, &want->device.name))
            continue;
        line = format_string("%s: warning: there is no device %s", want->place,
                device_name_format(&want->device.name, name));
        r = line ? v->visit(v->userdata, line) : -ENOMEM;
    }
    return r;
}

int broker_foreach_functions_warning(
        Broker *e, int (*visit)(void *userdata, const char *line), void *userdata) {
    Visit v = {.broker = e, .visit = visit, .userdata = userdata};
    int r;

    if (policy_n_functions(e->policy) == 0 || e->config.simulated)
        return 0;
    r = visit_missing(&v);
    return r != 0 ? r : inventory_foreach_device(e->inventory, visit_device, &v);
}
