/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Writes a first policy. A rule is active only where somebody has the device now, by a claim or as owner of
 * its VFIO node, so that working setups keep working. Every other device that could be claimed appears in a
 * comment for the operator to decide; devices that the host needs are left out.
 *
 * A comment ends with its line. Text from the host is sanitized, so that it cannot end a comment earlier. The
 * last rule of the list is a fixed one, so that every line before it can end with a comma. */

#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/str.h"
#include "core/device-kind.h"
#include "rehearsal/policy-text.h"
#include "rehearsal/rehearsal-internal.h"

#define FACTS                                                                                                \
    (DEVICE_FACT_HOST_CRITICAL | DEVICE_FACT_RESET_METHODS | DEVICE_FACT_SLOT_PATH | DEVICE_FACT_SERIAL)

/* A user who has a device now. */
typedef struct Holder {
    bool is_group;
    uint32_t id;
    char *name;                /* owned; the user's name in a rule, NULL without one */
    const char *how;           /* "holds it by a claim" */
    struct json_object *claim; /* borrowed; NULL: none */
} Holder;

static void holder_done(Holder *h) {
    free(h->name);
}

typedef struct Generator {
    HostView *host;
    struct json_object *claims; /* borrowed; NULL: not known */
    StrBuf tags, rules;
    size_t n_tags;
    unsigned n_bridges;
} Generator;

static void generator_done(Generator *g) {
    strbuf_done(&g->tags);
    strbuf_done(&g->rules);
}

/* --- holders --- */

static bool names_device(struct json_object *claim, const char *name) {
    struct json_object *devices;

    if (!json_object_object_get_ex(claim, "devices", &devices) ||
            !json_object_is_type(devices, json_type_array))
        return false;
    for (size_t i = 0; i < json_object_array_length(devices); i++)
        if (streq_ptr(json_object_get_string(json_object_array_get_idx(devices, i)), name))
            return true;
    return false;
}

static bool find_claimant(const Generator *g, const Device *d, Holder *ret) {
    char name[DEVICE_NAME_MAX];

    (void) device_name_format(&d->name, name);
    for (size_t i = 0; g->claims && i < json_object_array_length(g->claims); i++) {
        struct json_object *claim = json_object_array_get_idx(g->claims, i), *uid;

        if (!names_device(claim, name) || !json_object_object_get_ex(claim, "uid", &uid))
            continue;
        *ret = (Holder){
                .id = (uint32_t) json_object_get_int64(uid), .how = "holds it by a claim", .claim = claim};
        return true;
    }
    return false;
}

/* Is a sibling on the vfio driver only because of this claim? */
static bool parks_sibling(const Device *d, const Holder *h) {
    char name[DEVICE_NAME_MAX];

    if (!d->group)
        return false;
    FOREACH_MEMBER(m, d->group)
        if (h->claim && m->driver && m->vfio_index >= 0 && !device_is_bridge(m) &&
                !names_device(h->claim, device_name_format(&m->name, name)))
            return true;
    return false;
}

/* Without vfiod, a udev rule or a chown in a script gives the node to the user of the virtual machine. */
static bool find_node_owner(const Device *d, Holder *ret) {
    char path[DEVICE_NODE_MAX];
    struct stat st;

    if (!d->driver || d->vfio_index < 0)
        return false;
    (void) device_node_path(d->name.kind, d->vfio_index, path);
    if (d->vfio_rdev == 0 && d->group)
        snprintf(path, sizeof(path), "/dev/vfio/%d", d->group->id);
    if (stat(path, &st) < 0 || !S_ISCHR(st.st_mode))
        return false;
    if (st.st_uid != 0)
        *ret = (Holder){.id = st.st_uid, .how = "owns its VFIO node"};
    else if (st.st_gid != 0 && (st.st_mode & S_IWGRP))
        *ret = (Holder){.is_group = true, .id = st.st_gid, .how = "may write its VFIO node"};
    else
        return false;
    return true;
}

typedef struct NameSearch {
    bool is_group;
    uint32_t id;
    char *name; /* owned */
} NameSearch;

static int match_name(void *userdata, bool is_group, const char *name, uint32_t id) {
    NameSearch *s = userdata;

    if (is_group != s->is_group || id != s->id)
        return 0;
    s->name = strdup(name);
    return s->name ? 1 : -ENOMEM;
}

/* 1 when somebody has it, otherwise 0; or -ENOMEM. */
static int find_holder(const Generator *g, const Device *d, Holder *ret) {
    Holder holder = {};
    NameSearch search;

    if (!find_claimant(g, d, &holder) && (g->host->snapshot || !find_node_owner(d, &holder)))
        return 0;
    search = (NameSearch){.is_group = holder.is_group, .id = holder.id};
    if (host_view_foreach_account(g->host, match_name, &search) < 0)
        return -ENOMEM;
    holder.name = search.name;
    *ret = holder;
    return 1;
}

/* --- text --- */

static void add_comment(StrBuf *b, const char *text) {
    policy_text_add_comment(b, "    ", text);
}

static void describe_siblings(StrBuf *b, const Device *d) {
    unsigned n = 0;

    if (!d->group && d->name.kind == DEVICE_KIND_VDPA)
        return;
    if (!d->group) {
        strbuf_add(b, ", without an IOMMU");
        return;
    }
    strbuf_addf(b, ", IOMMU group %d", d->group->id);
    FOREACH_MEMBER(m, d->group)
        if (m != d && !device_is_bridge(m)) {
            char name[DEVICE_NAME_MAX];

            strbuf_addf(b, "%s%s (%s)", n++ == 0 ? " together with " : ", ",
                    device_name_format_kernel(&m->name, name), m->driver ?: "no driver");
        }
}

static void describe_device(StrBuf *b, const Device *d, const DeviceFacts *facts) {
    _cleanup_strbuf_ StrBuf line = {};
    char name[DEVICE_NAME_MAX];

    if (device_kind_info(d->name.kind)->has_ids)
        strbuf_addf(&line, "%s: %04x:%04x, class %06x, ", device_name_format_kernel(&d->name, name),
                d->vendor, d->device, (unsigned) d->class_code);
    else
        strbuf_addf(&line, "%s: ", device_name_format(&d->name, name));
    if (d->driver)
        strbuf_addf(&line, "driver %s", d->driver);
    else
        strbuf_add(&line, "no driver");
    describe_siblings(&line, d);
    if (device_kind_info(d->name.kind)->reset && facts->known & DEVICE_FACT_RESET_METHODS &&
            facts->reset_methods == 0)
        strbuf_add(&line, ", has no reset method");
    strbuf_add(b, "\n");
    add_comment(b, line.text ?: "?");
}

static void add_tag(Generator *g, const Device *d, const DeviceFacts *facts) {
    char tag[DEVICE_NAME_MAX];

    strbuf_addf(&g->tags, "%s    \"%s\": ", g->n_tags++ > 0 ? ",\n" : "", policy_text_short_name(d, tag));
    policy_text_add_tag(&g->tags, d, facts);
}

static bool wants_optional_reset(const Device *d, const DeviceFacts *facts) {
    const DeviceKindInfo *kind = device_kind_info(d->name.kind);

    return kind->reset ? (facts->known & DEVICE_FACT_RESET_METHODS) && facts->reset_methods == 0
                       : !kind->resets_itself;
}

static void add_reset(StrBuf *b, const char *indent, const Device *d, const DeviceFacts *facts) {
    if (wants_optional_reset(d, facts))
        strbuf_addf(b, ",\n%s// %s\n%s\"reset\": \"optional\"", indent,
                device_kind_info(d->name.kind)->reset
                        ? "Without a reset: the next owner gets the device as the last one left it."
                        : "vfiod cannot see whether the driver resets it between two owners.",
                indent);
}

static void add_rule(Generator *g, const Device *d, const DeviceFacts *facts, const Holder *h) {
    _cleanup_free_ char *comment = NULL;
    char tag[DEVICE_NAME_MAX], name[DEVICE_NAME_MAX];
    StrBuf *b = &g->rules;

    comment = format_string("%s %s %s.", h->is_group ? "Group" : "User", h->name ?: "without a name", h->how);
    add_comment(b, comment ?: "?");
    if (device_kind_info(d->name.kind)->has_ids)
        add_tag(g, d, facts);
    (void) policy_text_short_name(d, tag);
    strbuf_addf(b, "    {\n      \"name\": \"keep-%s\",\n      \"effect\": \"allow\",\n", tag);
    strbuf_addf(b, "      \"who\": { \"%s\": ", h->is_group ? "group" : "user");
    if (h->name)
        policy_text_add_string(b, h->name);
    else
        strbuf_addf(b, "%" PRIu32, h->id);
    if (device_kind_info(d->name.kind)->has_ids)
        strbuf_addf(b, " },\n      \"what\": { \"tag\": \"%s\" }", tag);
    else
        strbuf_addf(b, " },\n      \"what\": { \"device\": \"%s\" }", device_name_format(&d->name, name));
    add_reset(b, "      ", d, facts);
    if (parks_sibling(d, h))
        strbuf_add(
                b, ",\n      // A device of its group is parked for it now.\n      \"siblings\": \"park\"");
    strbuf_add(b, "\n    },\n");
}

/* A claim of the device would unbind these from their drivers, and is refused unless the rule permits
 * that. */
static bool has_busy_sibling(const Device *d) {
    if (!d->group)
        return false;
    FOREACH_MEMBER(m, d->group)
        if (m != d && m->driver && m->vfio_index < 0 && !device_is_bridge(m))
            return true;
    return false;
}

/* The keys that a rule for this device needs besides who and what. */
static char *make_terms(const Device *d, const DeviceFacts *facts) {
    return format_string("%s%s", wants_optional_reset(d, facts) ? ", \"reset\": \"optional\"" : "",
            has_busy_sibling(d) ? ", \"siblings\": \"park\"" : "");
}

/* 1 with *ret (owned by the caller) when a claim is refused although a rule with these terms allows it;
 * otherwise 0; or -ENOMEM. */
static int why_refused(Generator *g, const Device *d, const char *terms, char **ret) {
    const Accounts accounts = {.host = g->host};
    _cleanup_(policy_parser_freep) PolicyParser *parser = policy_parser_new(host_view_resolve, g->host);
    _cleanup_(subject_done) Subject subject = SUBJECT_NULL;
    _cleanup_(policy_freep) Policy *policy = NULL;
    _cleanup_(answer_freep) Answer *answer = NULL;
    _cleanup_free_ char *text = NULL, *user = NULL, *ignored = NULL;
    _cleanup_(survey_done) Survey survey = {};
    char name[DEVICE_NAME_MAX];
    Request request;
    int r;

    text = format_string(
            "{ \"rules\": [ { \"effect\": \"allow\", \"who\": {}, \"what\": { \"device\": \"%s\" }%s } ] }",
            device_name_format(&d->name, name), terms);
    if (!text || !parser)
        return -ENOMEM;
    r = policy_parser_add(parser, "the offer", text, strlen(text));
    if (r >= 0)
        r = policy_parser_finish(parser, &policy);
    if (r >= 0)
        r = persona_to_subject(&accounts, &(RehearsalSubject){.user = "0"}, &subject, &user, &ignored);
    if (r >= 0)
        r = make_request(
                &(RehearsalRequest){.devices = (const char *const[]){name, NULL}}, &request, &ignored);
    if (r >= 0)
        r = decide_request(g->host, &survey, policy, &subject, &request, 0, &answer, &ignored);
    if (r < 0 || answer->granted)
        return r == -ENOMEM ? r : 0; /* nothing else is known to refuse it */
    *ret = format_string("Left out: %s.", answer->refusal.reason ?: error_info(answer->refusal.code)->name);
    return *ret ? 1 : -ENOMEM;
}

static void add_suggestion(Generator *g, const Device *d, const char *terms) {
    char name[DEVICE_NAME_MAX], tag[DEVICE_NAME_MAX];

    strbuf_addf(&g->rules,
            "    // { \"name\": \"use-%s\", \"effect\": \"allow\", \"who\": { \"user\": \"NAME\" },\n"
            "    //   \"what\": { \"device\": \"%s\"",
            policy_text_short_name(d, tag),
            d->name.kind == DEVICE_KIND_PCI ? device_name_format_kernel(&d->name, name)
                                            : device_name_format(&d->name, name));
    if (device_kind_info(d->name.kind)->has_ids)
        strbuf_addf(&g->rules, ", \"id\": \"%04x:%04x\"", d->vendor, d->device);
    strbuf_addf(&g->rules, " }%s },\n", terms);
}

static int offer(Generator *g, const Device *d, const DeviceFacts *facts) {
    _cleanup_free_ char *terms = make_terms(d, facts), *why = NULL;
    int r = terms ? why_refused(g, d, terms, &why) : -ENOMEM;

    if (r > 0)
        add_comment(&g->rules, why);
    else if (r == 0)
        add_suggestion(g, d, terms);
    return MIN(r, 0);
}

/* --- devices --- */

/* 1 with *ret (owned by the caller) when the device must not be offered, otherwise 0; or -ENOMEM. */
static int why_left_out(const Device *d, const DeviceFacts *facts, char **ret) {
    if (!(facts->known & DEVICE_FACT_HOST_CRITICAL))
        *ret = strdup("Left out: it is unknown whether the host uses it.");
    else if (facts->host_critical)
        *ret = format_string("Left out: the host uses it: %s.", facts->host_critical);
    else if (!d->group && d->name.kind != DEVICE_KIND_VDPA)
        *ret = strdup("Left out: nothing isolates the host from it, see \"noiommu\" in vfiod-policy(5).");
    else
        return 0;
    return *ret ? 1 : -ENOMEM;
}

static int add_device(Device *d, void *userdata) {
    _cleanup_(device_facts_done) DeviceFacts facts = DEVICE_FACTS_NULL;
    _cleanup_free_ char *why = NULL;
    _cleanup_(holder_done) Holder holder = {};
    Generator *g = userdata;
    int r, held;

    if (device_is_bridge(d)) {
        g->n_bridges++;
        return 0;
    }
    if (!device_kind_info(d->name.kind)->claimable)
        return 0;
    r = g->host->facts.read_facts(g->host->facts.userdata, d, FACTS, &facts);
    if (r == -ENOMEM)
        return r;
    describe_device(&g->rules, d, &facts);
    r = why_left_out(d, &facts, &why);
    if (r > 0)
        add_comment(&g->rules, why);
    if (r != 0)
        return MIN(r, 0);
    held = find_holder(g, d, &holder);
    if (held > 0)
        add_rule(g, d, &facts, &holder);
    else if (held == 0)
        held = offer(g, d, &facts);
    return MIN(held, 0);
}

static char *put_together(Generator *g) {
    _cleanup_strbuf_ StrBuf b = {};

    strbuf_add(&b,
            "// A policy to start from, generated from the current state of the host. Read it, change it, "
            "try it\n"
            "// with 'vfioctl policy check' and 'vfioctl policy explain', and copy it to "
            "/etc/vfiod/policy.d,\n"
            "// as 99-generated.json: its last rule denies what no file before it allows.\n"
            "// The comments below are only suggestions: decide who may have these devices.\n"
            "{\n  \"description\": \"made by vfioctl policy generate\",\n");
    if (g->n_tags > 0)
        strbuf_addf(&b,
                "  // Cards in their places: another card in the slot does not match.\n"
                "  \"tags\": {\n%s\n  },\n",
                g->tags.text ?: "");
    strbuf_add(&b, "  \"rules\": [\n");
    if (g->n_bridges > 0)
        strbuf_addf(&b, "    // %u bridge%s left out: bridges cannot be claimed.\n", g->n_bridges,
                g->n_bridges == 1 ? " is" : "s are");
    strbuf_add(&b, g->rules.text ?: "");
    strbuf_add(&b,
            "\n    // The default: without a rule, every request is denied.\n"
            "    { \"name\": \"nothing-else\", \"effect\": \"deny\", \"who\": {}, \"what\": {} }\n"
            "  ]\n}\n");
    if (g->tags.error < 0 || g->rules.error < 0)
        return NULL;
    return strbuf_steal(&b);
}

/* Checks the generated text with the real parser. */
static int check_text(HostView *host, const char *text, char **ret_problem) {
    _cleanup_(policy_parser_freep) PolicyParser *parser = policy_parser_new(host_view_resolve, host);
    _cleanup_(policy_freep) Policy *policy = NULL;
    int r;

    if (!parser)
        return -ENOMEM;
    r = policy_parser_add(parser, "the generated policy", text, strlen(text));
    if (r >= 0)
        r = policy_parser_finish(parser, &policy);
    if (r == -EINVAL)
        return problem(ret_problem, r, "%s", policy_parser_error(parser, 0));
    return r;
}

int rehearsal_generate(Rehearsal *r, struct json_object *claims, char **ret, char **ret_problem) {
    _cleanup_(generator_done) Generator g = {.host = &r->host, .claims = claims};
    _cleanup_free_ char *text = NULL;
    Inventory *inventory;
    int k;

    *ret_problem = NULL;
    k = host_view_get_inventory(&r->host, &inventory, ret_problem);
    if (k >= 0)
        k = inventory_foreach_device(inventory, add_device, &g);
    if (k < 0)
        return k;
    text = put_together(&g);
    if (!text)
        return -ENOMEM;
    k = check_text(&r->host, text, ret_problem);
    if (k < 0)
        return k;
    *ret = TAKE_PTR(text);
    return 0;
}
