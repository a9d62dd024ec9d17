/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Makes one rule for one user and one card. Its keys follow from what exists: the rest of the group, whether
 * there is a reset, how the client takes the devices. Then the rule is evaluated together with the policy of
 * the host, and that result is reported. */

#include <stdio.h>

#include "core/device-kind.h"
#include "rehearsal/policy-text.h"
#include "rehearsal/rehearsal-internal.h"

#define FACTS (DEVICE_FACT_RESET_METHODS | DEVICE_FACT_SLOT_PATH | DEVICE_FACT_SERIAL | DEVICE_FACT_ACS)
#define NAME_LENGTH_MAX 96U
#define USER_LENGTH_MAX 20U
#define INDENT "      "

typedef struct Setup {
    Rehearsal *rehearsal; /* borrowed, as are all others except the lists */
    const RehearsalSetup *wish;
    const Device *devices[REQUEST_DEVICES_MAX];
    size_t n_devices, n_asked;
    const DeviceKindInfo *kind; /* of all of them */
    const char *grant;
    bool iommufd;
    char user[32]; /* in a form that fits into a name */
    uint32_t uid;
    bool by_number;              /* the user was given by a number without a name */
    struct json_object *dangers; /* owned */
    StrBuf terms;                /* owned: keys of the rule */
} Setup;

static void setup_done(Setup *s) {
    json_object_put(s->dangers);
    strbuf_done(&s->terms);
}

static bool is_chosen(const Setup *s, const Device *d) {
    for (size_t i = 0; i < s->n_devices; i++)
        if (s->devices[i] == d)
            return true;
    return false;
}

/* ---- Which devices ---- */

static bool is_same_card(const Device *a, const Device *b) {
    return a->name.kind == DEVICE_KIND_PCI && b->name.kind == DEVICE_KIND_PCI &&
            a->name.domain == b->name.domain && a->name.pci_bus == b->name.pci_bus &&
            a->name.slot == b->name.slot;
}

static void add_companions(Setup *s, const Device *d) {
    if (!d->group)
        return;
    FOREACH_MEMBER(m, d->group)
        if (s->n_devices < ELEMENTSOF(s->devices) && !is_chosen(s, m) && !device_is_bridge(m) &&
                is_same_card(d, m))
            s->devices[s->n_devices++] = m;
}

static int choose_device(Setup *s, const DeviceName *name, char **ret_problem) {
    DeviceKind first = s->n_devices > 0 ? s->devices[0]->name.kind : name->kind;
    Device *d;
    int r;

    if (!device_kind_info(name->kind)->claimable)
        return problem(ret_problem, -EOPNOTSUPP,
                "this version of vfiod cannot hand out devices of the kind %s",
                device_kind_to_string(name->kind));
    if (name->kind != first)
        return problem(ret_problem, -EOPNOTSUPP,
                "setup writes one rule, for devices of one kind, and these are of the kinds %s and %s: run "
                "it "
                "for each kind",
                device_kind_to_string(first), device_kind_to_string(name->kind));
    r = find_device(&s->rehearsal->host, name, &d, ret_problem);
    if (r >= 0)
        s->devices[s->n_devices++] = d;
    return r;
}

static int choose_devices(Setup *s, char **ret_problem) {
    const RehearsalRequest words = {.devices = s->wish->devices};
    Request request;
    int r;

    r = make_request(&words, &request, ret_problem);
    for (size_t i = 0; r >= 0 && i < request.n_devices; i++)
        r = choose_device(s, request.devices + i, ret_problem);
    if (r < 0)
        return r;
    s->kind = device_kind_info(s->devices[0]->name.kind);
    s->n_asked = s->n_devices;
    for (size_t i = 0; i < s->n_asked; i++)
        add_companions(s, s->devices[i]);
    return 0;
}

/* Finds the user, and their form in names: the number, when the name is long or has unusual characters. */
static int find_user(Setup *s, char **ret_problem) {
    static const char characters[] = "abcdefghijklmnopqrstuvwxyz0123456789._-";
    const char *user = s->wish->user;
    size_t n = strlen(user);
    uint64_t number;

    if (n == 0)
        return problem(ret_problem, -EINVAL, "the name of the user is empty");
    if (host_view_resolve(&s->rehearsal->host, false, user, &s->uid) < 0) {
        if (parse_unsigned(user, 10, UINT32_MAX - 1, &number) < 0)
            return problem(ret_problem, -ENOENT, "there is no user %s on the host", user);
        s->by_number = true;
        s->uid = (uint32_t) number;
    }
    if (n <= USER_LENGTH_MAX && strspn(user, characters) == n && !s->by_number)
        (void) snprintf(s->user, sizeof(s->user), "%s", user);
    else
        (void) snprintf(s->user, sizeof(s->user), "uid%u", (unsigned) s->uid);
    return 0;
}

/* The name of the device's tag. That of the first device also names the rule and the file. Returns buf. */
static const char *name_for(const Setup *s, const Device *d, char buf[static NAME_LENGTH_MAX]) {
    char device[DEVICE_NAME_MAX];

    (void) snprintf(buf, NAME_LENGTH_MAX, "%s-%s", s->user, policy_text_short_name(d, device));
    return buf;
}

/* ---- The keys of the rule ---- */

static int add_danger(Setup *s, char *text) {
    _cleanup_free_ char *owned = text;

    return owned ? json_append(s->dangers, json_object_new_string(owned)) : -ENOMEM;
}

static void add_term(Setup *s, const char *why, const char *key, const char *value, bool is_list) {
    strbuf_add(&s->terms, ",\n");
    policy_text_add_comment(&s->terms, INDENT, why);
    strbuf_addf(&s->terms, INDENT "\"%s\": %s\"%s\"%s", key, is_list ? "[" : "", value, is_list ? "]" : "");
}

/* A claim unbinds the siblings from their drivers. */
static int add_siblings(Setup *s) {
    _cleanup_strbuf_ StrBuf names = {};
    _cleanup_free_ char *why = NULL;
    char name[DEVICE_NAME_MAX];

    for (size_t i = 0; i < s->n_devices; i++) {
        const Device *d = s->devices[i];

        if (!d->group || (i > 0 && s->devices[i - 1]->group == d->group))
            continue;
        FOREACH_MEMBER(m, d->group)
            if (!is_chosen(s, m) && !device_leaves_group_viable(m))
                strbuf_addf(&names, "%s%s (%s)", names.length > 0 ? ", " : "",
                        device_name_format(&m->name, name), m->driver);
    }
    if (names.length == 0 || names.error < 0)
        return names.error;
    why = format_string("In the same IOMMU group, and away from the host during the claim: %s.", names.text);
    if (!why)
        return -ENOMEM;
    add_term(s, why, "siblings", "park", false);
    return add_danger(s,
            format_string("During the claim, the host cannot use these devices of the same IOMMU group: %s.",
                    names.text));
}

static int read_facts(Setup *s, const Device *d, DeviceFacts *ret) {
    HostView *host = &s->rehearsal->host;
    int r = host->facts.read_facts(host->facts.userdata, d, FACTS, ret);

    return r == -ENOMEM ? r : 0; /* an unknown fact adds nothing */
}

/* Whether the driver of such a device resets it cannot be known before a claim. */
static int add_unknown_reset(Setup *s) {
    if (s->kind->resets_itself)
        return 0;
    add_term(s, "vfiod cannot see whether the driver resets the device between two owners.", "reset",
            "optional", false);
    return add_danger(s,
            format_string(
                    "It is unknown whether %s is reset. What one user leaves in it, the next one may be "
                    "able to read.",
                    s->wish->devices[0]));
}

static int add_reset(Setup *s) {
    char name[DEVICE_NAME_MAX];

    if (!s->kind->reset)
        return add_unknown_reset(s);
    for (size_t i = 0; i < s->n_devices; i++) {
        _cleanup_(device_facts_done) DeviceFacts facts = DEVICE_FACTS_NULL;
        int r = read_facts(s, s->devices[i], &facts);

        if (r < 0)
            return r;
        if (!(facts.known & DEVICE_FACT_RESET_METHODS) || facts.reset_methods != 0)
            continue;
        add_term(s,
                "A device has no reset method: its next owner gets it in the state that the last owner left.",
                "reset", "optional", false);
        return add_danger(s,
                format_string("%s cannot be reset. What one user leaves in it, the next one can read.",
                        device_name_format(&s->devices[i]->name, name)));
    }
    return 0;
}

/* Devices may reach each other without passing the IOMMU. */
static int add_isolation(Setup *s) {
    char name[DEVICE_NAME_MAX];

    if (s->kind->is_made)
        return add_danger(s,
                format_string("Whether %s is kept apart from other devices of its parent is up to the "
                              "parent's driver.",
                        s->wish->devices[0]));
    for (size_t i = 0; i < s->n_devices; i++) {
        _cleanup_(device_facts_done) DeviceFacts facts = DEVICE_FACTS_NULL;
        int r = read_facts(s, s->devices[i], &facts);

        if (r >= 0 && (facts.known & DEVICE_FACT_ACS) && facts.acs == ACS_INCOMPLETE)
            r = add_danger(s,
                    format_string(
                            "%s is not isolated on its way to the root: it may reach other devices directly.",
                            device_name_format(&s->devices[i]->name, name)));
        if (r < 0)
            return r;
    }
    return 0;
}

/* A client that takes only fds of an iommufd opens the group's node itself on a kernel without iommufd. */
static int choose_grant(Setup *s, char **ret_problem) {
    HostView *host = &s->rehearsal->host;
    KernelFacts kernel;
    int r;

    r = host->facts.read_kernel_facts(host->facts.userdata, &kernel);
    if (r < 0)
        return problem(ret_problem, r, "cannot find out what the kernel supports: %s", strerror(-r));
    s->iommufd = kernel.iommufd || s->wish->has_iommufd;
    s->grant = s->wish->grant ?: s->wish->needs_iommufd && !s->iommufd ? "node" : NULL;
    return 0;
}

static int add_use(Setup *s) {
    const char *grant = s->grant;
    int r = 0;

    if (grant && streq(grant, "node")) {
        add_term(s, "The client opens the nodes by their paths.", "grant", "node", true);
        r = add_danger(s,
                strdup("With the grant node, every program of the user can open the devices during a "
                       "claim."));
    } else if (grant && streq(grant, "none"))
        add_term(s, "The client opens the devices as root; they are only reserved.", "grant", "none", true);
    if (s->wish->memlock)
        add_term(s, "Memory that a device can access must be locked: the memory of the guest plus 1G.",
                "memlock", s->wish->memlock, false);
    return r;
}

/* ---- The text ---- */

static int add_tags(Setup *s, StrBuf *b) {
    char tag[NAME_LENGTH_MAX];

    if (!s->kind->has_ids)
        return 0;
    strbuf_add(
            b, "  // A place and the card in it: another card in the slot does not match.\n  \"tags\": {\n");
    for (size_t i = 0; i < s->n_devices; i++) {
        _cleanup_(device_facts_done) DeviceFacts facts = DEVICE_FACTS_NULL;
        int r = read_facts(s, s->devices[i], &facts);

        if (r < 0)
            return r;
        strbuf_addf(b, "    \"%s\": ", name_for(s, s->devices[i], tag));
        policy_text_add_tag(b, s->devices[i], &facts);
        strbuf_add(b, i + 1 < s->n_devices ? ",\n" : "\n");
    }
    strbuf_add(b, "  },\n");
    return 0;
}

static void add_who(const Setup *s, StrBuf *b) {
    const char *const *units = s->wish->units;

    if (units)
        policy_text_add_comment(
                b, INDENT, "Only programs in these units. Other programs of the user are denied.");
    strbuf_add(b, INDENT "\"who\": { \"user\": ");
    if (s->by_number)
        strbuf_addf(b, "%u", (unsigned) s->uid);
    else
        policy_text_add_string(b, s->wish->user);
    if (units) {
        strbuf_add(b, ", \"unit\": [");
        for (size_t i = 0; units[i]; i++) {
            strbuf_add(b, i > 0 ? ", " : "");
            policy_text_add_string(b, units[i]);
        }
        strbuf_add(b, "]");
    }
    strbuf_add(b, " },\n");
}

/* A device without ids is identified by its name only. */
static void add_what(const Setup *s, StrBuf *b) {
    char name[NAME_LENGTH_MAX];

    strbuf_addf(b, INDENT "\"what\": { \"%s\": [", s->kind->has_ids ? "tag" : "device");
    for (size_t i = 0; i < s->n_devices; i++)
        strbuf_addf(b, "%s\"%s\"", i > 0 ? ", " : "",
                s->kind->has_ids ? name_for(s, s->devices[i], name)
                                 : device_name_format(&s->devices[i]->name, name));
    strbuf_add(b, "] }");
}

static int write_policy(Setup *s, char **ret) {
    _cleanup_strbuf_ StrBuf b = {};
    char tag[NAME_LENGTH_MAX];
    int r;

    policy_text_add_comment(&b, "", "Written by 'vfioctl setup'.");
    strbuf_add(&b, "{\n");
    r = add_tags(s, &b);
    if (r < 0)
        return r;
    strbuf_addf(&b, "  \"rules\": [\n    {\n" INDENT "\"name\": \"%s\",\n" INDENT "\"effect\": \"allow\",\n",
            name_for(s, s->devices[0], tag));
    add_who(s, &b);
    add_what(s, &b);
    strbuf_addf(&b, "%s\n    }\n  ]\n}\n", s->terms.text ?: "");
    *ret = strbuf_steal(&b);
    return *ret && s->terms.error >= 0 ? 0 : -ENOMEM;
}

static int write_rule(Setup *s, char **ret) {
    int r = add_siblings(s);

    if (r >= 0)
        r = add_reset(s);
    if (r >= 0)
        r = add_isolation(s);
    if (r >= 0)
        r = add_use(s);
    return r < 0 ? r : write_policy(s, ret);
}

/* ---- Trying it ---- */

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* The policy of the host with this file added, or replaced if it exists, in the right order. */
static int add_files(Rehearsal *r, PolicyParser *parser, const char *file, const char *text) {
    bool added = false;
    int k = 0;

    for (size_t i = 0; k >= 0 && i < r->n_texts; i++) {
        const PolicyText *t = r->texts + i;
        int order = strcmp(base_name(t->path), file);

        if (t->fate != POLICY_FILE_READ)
            continue;
        if (!added && order >= 0) {
            added = true;
            k = policy_parser_add(parser, file, text, strlen(text));
        }
        if (k >= 0 && order != 0)
            k = policy_parser_add(parser, t->path, t->text, t->size);
    }
    return added || k < 0 ? k : policy_parser_add(parser, file, text, strlen(text));
}

static int load_with(Rehearsal *r, const char *file, const char *text, Policy **ret, char **ret_problem) {
    _cleanup_(policy_parser_freep) PolicyParser *parser = policy_parser_new(host_view_resolve, &r->host);
    int k;

    if (!parser)
        return -ENOMEM;
    k = add_files(r, parser, file, text);
    if (k >= 0)
        k = policy_parser_finish(parser, ret);
    if (k == -EINVAL)
        return problem(ret_problem, k,
                "the policy with the new file has errors: %s. If a file of an earlier setup has the same "
                "devices, "
                "remove it, or name all devices of the user in one setup",
                policy_parser_error(parser, 0));
    return k;
}

static int request_all(const Setup *s, Request *ret, char **ret_problem) {
    const RehearsalRequest words = {
            .devices = s->wish->devices,
            .grant = s->grant,
            .memlock = s->wish->memlock,
    };
    Refusal refusal = REFUSAL_NULL;
    char name[DEVICE_NAME_MAX];
    int r;

    r = make_request(&words, ret, ret_problem);
    for (size_t i = s->n_asked; r >= 0 && i < s->n_devices; i++)
        r = request_add_device(ret, device_name_format(&s->devices[i]->name, name), &refusal);
    refusal_done(&refusal);
    return r;
}

static RehearsalSubject make_persona(const Setup *s) {
    return (RehearsalSubject){.user = s->wish->user, .unit = s->wish->units ? s->wish->units[0] : NULL};
}

static int try_it(
        Setup *s, const char *file, const char *text, struct json_object **ret, char **ret_problem) {
    const Accounts accounts = {.host = &s->rehearsal->host};
    const RehearsalSubject persona = make_persona(s);
    _cleanup_(subject_done) Subject subject = SUBJECT_NULL;
    _cleanup_(policy_freep) Policy *policy = NULL;
    _cleanup_free_ char *user = NULL;
    Request request;
    int r;

    r = load_with(s->rehearsal, file, text, &policy, ret_problem);
    if (r >= 0)
        r = persona_to_subject(&accounts, &persona, &subject, &user, ret_problem);
    if (r >= 0)
        r = request_all(s, &request, ret_problem);
    return r < 0 ? r
                 : explain_request(&s->rehearsal->host, policy, &subject, user, &request, ret, ret_problem);
}

/* The verdict for the device without the new file, where a rule matches. */
static int compare_device(
        Setup *s, const Policy *policy, const Subject *subject, const char *file, const Device *d) {
    _cleanup_(survey_done) Survey survey = {};
    _cleanup_free_ char *ignored = NULL;
    char name[DEVICE_NAME_MAX];
    Decision decision;
    const char *origin;
    int r;

    r = decide_device(&s->rehearsal->host, &survey, policy, subject, d, 0, &decision, &ignored);
    if (r < 0 || !decision.verdict.rule)
        return r == -ENOMEM ? r : 0;
    origin = rule_origin(decision.verdict.rule);
    if (strstr(origin, file)) /* the same file was there before */
        return 0;
    (void) device_name_format(&d->name, name);
    if (decision.verdict.effect == EFFECT_DENY)
        return add_danger(s,
                format_string("Rule %s denies %s today. This file may come before it and allow the device.",
                        origin, name));
    return add_danger(s,
            format_string("Rule %s already applies to %s. The policy uses the first rule that matches.",
                    origin, name));
}

static int compare_with_present(Setup *s, const Policy *policy, const char *file) {
    const Accounts accounts = {.host = &s->rehearsal->host};
    const RehearsalSubject persona = make_persona(s);
    _cleanup_(subject_done) Subject subject = SUBJECT_NULL;
    _cleanup_free_ char *user = NULL, *ignored = NULL;
    int r;

    r = persona_to_subject(&accounts, &persona, &subject, &user, &ignored);
    for (size_t i = 0; r >= 0 && i < s->n_devices; i++)
        r = compare_device(s, policy, &subject, file, s->devices[i]);
    return r == -ENOMEM ? r : 0;
}

static int add_names(struct json_object *o, const char *key, const Setup *s, size_t from) {
    struct json_object *list = json_object_new_array();
    char name[DEVICE_NAME_MAX];

    if (json_add(o, key, list) < 0)
        return -ENOMEM;
    for (size_t i = from; i < s->n_devices; i++)
        if (json_append(list, json_object_new_string(device_name_format(&s->devices[i]->name, name))) < 0)
            return -ENOMEM;
    return 0;
}

/* Can any rule allow this device? */
static bool is_claimable(const Setup *s) {
    for (size_t i = 0; i < s->n_devices; i++)
        if (device_is_bridge(s->devices[i]) || !s->kind->claimable)
            return false;
    return true;
}

int rehearsal_setup(Rehearsal *r, const RehearsalSetup *wish, struct json_object **ret, char **ret_problem) {
    _cleanup_json_ struct json_object *o = json_object_new_object(), *explanation = NULL;
    _cleanup_(setup_done) Setup s = {.rehearsal = r, .wish = wish, .dangers = json_object_new_array()};
    _cleanup_free_ char *text = NULL, *file = NULL;
    char name[NAME_LENGTH_MAX];
    const Policy *present;
    int k;

    *ret_problem = NULL;
    if (!o || !s.dangers)
        return -ENOMEM;
    k = rehearsal_get_policy(r, &present, ret_problem);
    if (k >= 0)
        k = find_user(&s, ret_problem);
    if (k >= 0)
        k = choose_devices(&s, ret_problem);
    if (k >= 0)
        k = choose_grant(&s, ret_problem);
    if (k < 0)
        return k;
    file = format_string("60-%s.json", name_for(&s, s.devices[0], name));
    k = file ? write_rule(&s, &text) : -ENOMEM;
    if (k >= 0)
        k = try_it(&s, file, text, &explanation, ret_problem);
    if (k >= 0)
        k = compare_with_present(&s, present, file);
    if (k < 0)
        return k;
    if (json_add_string(o, "file", file) < 0 || json_add_string(o, "policy", text) < 0 ||
            add_names(o, "devices", &s, 0) < 0 || add_names(o, "added", &s, s.n_asked) < 0 ||
            json_add(o, "dangers", json_object_get(s.dangers)) < 0 ||
            json_add_string(o, "grant", s.grant ?: "fd") < 0 ||
            json_add(o, "iommufd", json_object_new_boolean(s.iommufd)) < 0 ||
            json_add(o, "claimable", json_object_new_boolean(is_claimable(&s))) < 0 ||
            json_add(o, "explanation", TAKE_PTR(explanation)) < 0)
        return -ENOMEM;
    *ret = TAKE_PTR(o);
    return 0;
}
