/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* org.vfiod1.Claim. Everybody may see that a claim exists and whose it is: who is refused a device must be
 * able to find out by whom. What the operator's policy says (Rule) is for the owner and for root. */

#include <time.h>

#include "daemon/bus/bus-internal.h"
#include "daemon/kernel/holders.h"

#define PREFIX BUS_FACE_PATH "/claim"
#define HOLDERS_MAX 64U
#define HOLDERS_CREDIT_USEC (5 * UINT64_C(1000000))

static int method_release(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    const Claim *c = userdata;

    return bus_call_begin(bus_face_current(sd_bus_message_get_bus(m)), m, c->id, bus_call_run_release, error);
}

static int get_id(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const Claim *c = userdata;

    return sd_bus_message_append(reply, "s", c->id);
}

static int get_state(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const Claim *c = userdata;

    return sd_bus_message_append(reply, "s", claim_state_to_string(c->state));
}

static int get_devices(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const Claim *c = userdata;
    char buf[BUS_OBJECT_PATH_MAX];
    int r;

    r = sd_bus_message_open_container(reply, 'a', "o");
    if (r < 0)
        return r;
    for (size_t i = 0; i < c->plan.n_claimed; i++) {
        r = sd_bus_message_append(reply, "o", bus_device_path(&c->plan.members[i].name, buf));
        if (r < 0)
            return r;
    }
    return sd_bus_message_close_container(reply);
}

static int get_groups(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const Claim *c = userdata;
    char buf[BUS_OBJECT_PATH_MAX];
    int r;

    r = sd_bus_message_open_container(reply, 'a', "o");
    if (r < 0)
        return r;
    for (size_t i = 0; i < c->plan.n_groups; i++) {
        r = sd_bus_message_append(reply, "o", bus_group_path(c->plan.groups[i], buf));
        if (r < 0)
            return r;
    }
    return sd_bus_message_close_container(reply);
}

static int get_backend(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const Claim *c = userdata;

    return sd_bus_message_append(reply, "s", backend_to_string(c->plan.backend));
}

static int get_pid(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const Claim *c = userdata;

    return sd_bus_message_append(reply, "u", (uint32_t) c->pid);
}

static int get_text(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const Claim *c = userdata;

    return bus_append_text(reply,
            streq(property, "Command")        ? c->command
                    : streq(property, "Unit") ? c->unit
                                              : c->reason);
}

static int get_rule(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const Subject *reader = bus_reader(bus);
    const Claim *c = userdata;

    if (!reader || (reader->uid != c->uid && !subject_is_operator(reader)))
        return sd_bus_message_append(reply, "s", "");
    return bus_append_text(reply, c->plan.rule);
}

static int get_failure(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const Claim *c = userdata;
    _cleanup_free_ char *text = NULL;

    if ((int) c->refusal.code < 0)
        return sd_bus_message_append(reply, "s", "");
    text = refusal_format(&c->refusal);
    return text ? bus_append_text(reply, text) : -ENOMEM;
}

static uint64_t now_usec(void) {
    struct timespec ts;

    (void) clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t) ts.tv_sec * 1000000 + (uint64_t) ts.tv_nsec / 1000;
}

/* Everybody may ask, and everybody can make the answer as expensive as he likes: it is a walk over all files
 * that all processes have open. So it gets a second of the daemon's time at once and a fifth in the long run,
 * root excepted. holders_paid_usec is when what was used up is paid for. */
static ssize_t find_holders(sd_bus *bus, const Claim *c, Holder holders[static HOLDERS_MAX]) {
    BusFace *b = bus_face_current(bus);
    const Subject *reader = bus_reader(bus);
    uint64_t begin = now_usec();
    ssize_t n;

    if (b->holders_paid_usec > begin + HOLDERS_CREDIT_USEC && !(reader && subject_is_operator(reader)))
        return -EBUSY;
    n = holders_find(c, holders, HOLDERS_MAX);
    b->holders_paid_usec = MAX(b->holders_paid_usec, begin) + 5 * (now_usec() - begin);
    return n;
}

static int get_holders(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    Holder holders[HOLDERS_MAX];
    ssize_t n = find_holders(bus, userdata, holders);
    int r;

    if (n == -EBUSY) {
        Refusal refusal = REFUSAL_NULL;

        r = refuse(&refusal, VFIOD_ERROR_LIMIT_EXCEEDED, NULL,
                "looking takes long on this host, and was done often just now");
        r = bus_error_from_refusal(error, r, &refusal);
        refusal_done(&refusal);
        return r;
    }
    if (n < 0)
        return sd_bus_error_set_errno(error, (int) n); /* not known is not nobody */
    r = sd_bus_message_open_container(reply, 'a', "(us)");
    if (r < 0)
        return r;
    for (ssize_t i = 0; i < n; i++) {
        r = sd_bus_message_open_container(reply, 'r', "us");
        if (r < 0)
            return r;
        r = sd_bus_message_append(reply, "u", (uint32_t) holders[i].pid);
        if (r < 0)
            return r;
        r = bus_append_text(reply, holders[i].command);
        if (r < 0)
            return r;
        r = sd_bus_message_close_container(reply);
        if (r < 0)
            return r;
    }
    return sd_bus_message_close_container(reply);
}

const sd_bus_vtable bus_claim_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("Release", SD_BUS_ARGS("a{sv}", options), SD_BUS_NO_RESULT, method_release,
                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("Id", "s", get_id, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("State", "s", get_state, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Devices", "ao", get_devices, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Groups", "ao", get_groups, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Backend", "s", get_backend, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Uid", "u", NULL, offsetof(Claim, uid), SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Pid", "u", get_pid, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Command", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Unit", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Rule", "s", get_rule, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Reason", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Since", "t", NULL, offsetof(Claim, since_usec), SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Failure", "s", get_failure, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Holders", "a(us)", get_holders, 0, SD_BUS_VTABLE_PROPERTY_EXPLICIT),
        SD_BUS_VTABLE_END,
};

static int find_claim(sd_bus *bus, const char *path, const char *interface, void *userdata, void **ret_found,
        sd_bus_error *error) {
    BusFace *b = userdata;
    const char *id = startswith(path, PREFIX "/");
    const Claim *c = id ? broker_find_claim(b->context.broker, id) : NULL;

    if (!c)
        return 0;
    *ret_found = (void *) c; /* the getters only look */
    return 1;
}

static int add_path(const Claim *c, void *userdata) {
    char path[BUS_OBJECT_PATH_MAX];

    return bus_paths_add(userdata, bus_claim_path(c->id, path));
}

static int enumerate_claims(
        sd_bus *bus, const char *prefix, void *userdata, char ***ret_nodes, sd_bus_error *error) {
    BusFace *b = userdata;
    _cleanup_(bus_paths_done) BusPaths paths = {};
    int r;

    if (startswith(prefix, PREFIX "/"))
        return 0; /* one of them is looked at: nothing is below it */
    r = broker_foreach_claim(b->context.broker, add_path, &paths);
    if (r < 0)
        return r;
    *ret_nodes = TAKE_PTR(paths.list);
    return 0;
}

int bus_claim_export(BusFace *b) {
    int r;

    r = sd_bus_add_fallback_vtable(
            b->bus, NULL, PREFIX, BUS_CLAIM_INTERFACE, bus_claim_vtable, find_claim, b);
    if (r < 0)
        return r;
    return sd_bus_add_node_enumerator(b->bus, NULL, PREFIX, enumerate_claims, b);
}
