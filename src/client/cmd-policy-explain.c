/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "client/calls.h"
#include "client/policy-door.h"
#include "client/show-explanation.h"

/* --- the caller, as the daemon would identify them --- */

#define SELF_TEXT_MAX 4096U
#define N_CAPABILITIES 64U
#define SELF_GROUPS_MAX 65536 /* NGROUPS_MAX of the kernel */

/* Texts that a RehearsalSubject points to. */
typedef struct Self {
    char user[24];
    char **groups; /* owned, ended by NULL */
    char *cgroup;  /* owned; NULL: unknown */
    char label[SELF_TEXT_MAX];
    char capability_numbers[N_CAPABILITIES][4];
    const char *capabilities[N_CAPABILITIES + 1];
    bool foreign_namespace;
} Self;

static void self_done(Self *s) {
    for (size_t i = 0; s->groups && s->groups[i]; i++)
        free(s->groups[i]);
    free(s->groups);
    free(s->cgroup);
}

static int read_groups(Self *s) {
    _cleanup_free_ gid_t *gids = NULL;
    int n = getgroups(0, NULL);

    if (n < 0 || n > SELF_GROUPS_MAX)
        return -EINVAL;
    gids = calloc((size_t) n + 1, sizeof(*gids));
    s->groups = calloc((size_t) n + 2, sizeof(*s->groups));
    if (!gids || !s->groups)
        return -ENOMEM;
    n = getgroups(n, gids + 1);
    if (n < 0)
        return -errno;
    gids[0] = getegid();
    for (int i = 0; i <= n; i++) {
        s->groups[i] = format_string("%u", (unsigned) gids[i]);
        if (!s->groups[i])
            return -ENOMEM;
    }
    return 0;
}

/* "CapEff:\t000001ffffffffff" in /proc/self/status; 0 when there is no such line. */
static uint64_t find_mask(const char *text, const char *key) {
    const char *line = strstr(text, key);

    return line ? strtoull(line + strlen(key), NULL, 16) : 0;
}

/* Like the daemon: only root's and ambient capabilities count. */
static void read_capabilities(Self *s) {
    _cleanup_free_ char *text = NULL;
    uint64_t mask;
    size_t n = 0;

    if (read_file_at(AT_FDCWD, "/proc/self/status", SELF_TEXT_MAX, &text, NULL) < 0)
        return;
    mask = find_mask(text, "\nCapEff:\t");
    if (geteuid() != 0)
        mask &= find_mask(text, "\nCapAmb:\t");
    for (unsigned i = 0; i < N_CAPABILITIES; i++) {
        if ((mask & UINT64_C(1) << i) == 0)
            continue;
        snprintf(s->capability_numbers[n], sizeof(s->capability_numbers[n]), "%u", i);
        s->capabilities[n] = s->capability_numbers[n];
        n++;
    }
}

/* The kernel's initial namespaces have fixed inodes (include/linux/proc_ns.h). */
static bool is_namespace(const char *path, const char *expected) {
    char buf[64] = {};

    return readlink(path, buf, sizeof(buf) - 1) > 0 && streq(buf, expected);
}

static int read_self(Self *s) {
    snprintf(s->user, sizeof(s->user), "%u", (unsigned) geteuid());
    (void) rehearsal_own_cgroup(&s->cgroup);
    read_capabilities(s);
    if (read_attribute_at(AT_FDCWD, "/proc/self/attr/current", s->label, sizeof(s->label)) < 0)
        s->label[0] = '\0';
    s->foreign_namespace = !is_namespace("/proc/self/ns/user", "user:[4026531837]") ||
            !is_namespace("/proc/self/ns/pid", "pid:[4026531836]");
    return read_groups(s);
}

/* --- the verb --- */

static int keep_text(void *userdata, const char *text) {
    return free_and_strdup(userdata, text);
}

/* Only the daemon knows its earlier decisions. */
static int explain_past(const Options *o, VfiodErrorText *error) {
    const VfiodRequest nothing = {};
    const Call call = {.method = METHOD_EXPLAIN,
            .request = &nothing,
            .claim = o->claim,
            .last_refusal = !o->claim,
            .pidfd = -EBADF};
    _cleanup_json_ struct json_object *result = NULL;
    _cleanup_connection_ VfiodConnection *c = NULL;
    _cleanup_free_ char *text = NULL;
    int r;

    r = vfiod_connection_new(&c, error);
    if (r >= 0)
        r = connection_call(c, &call, keep_text, &text, error);
    if (r < 0)
        return r;
    result = text ? json_tokener_parse(text) : NULL;
    if (!json_object_is_type(result, json_type_object))
        return error_text_errno(error, EBADMSG, "Cannot read vfiod's answer");
    return policy_show(o, result, show_answer, error);
}

/* The facts about a subject that an option can give. */
static const struct {
    const char *key, *option;
} tellable[] = {
        {"who.group", "--group"},
        {"who.unit", "--unit"},
        {"who.slice", "--cgroup"},
        {"who.cgroup", "--cgroup"},
        {"who.label", "--label"},
};

/* Mask over tellable[]: the facts on which this rule depends. 0 when a predicate is certainly false. */
static unsigned find_untold(struct json_object *rule) {
    struct json_object *predicates = json_list(rule, "predicates");
    unsigned untold = 0;

    for (size_t i = 0; predicates && i < json_object_array_length(predicates); i++) {
        struct json_object *p = json_object_array_get_idx(predicates, i);

        if (streq(json_text(p, "holds"), "no"))
            return 0;
        for (size_t k = 0; k < ELEMENTSOF(tellable); k++)
            if (streq(json_text(p, "holds"), "unknown") && streq(json_text(p, "key"), tellable[k].key))
                untold |= 1U << k;
    }
    return untold;
}

/* Points out options that are missing: without them a denial here may not be one on the host. */
static int show_rehearsed(const Options *o, struct json_object *result) {
    struct json_object *devices = json_list(result, "devices");
    _cleanup_strbuf_ StrBuf text = {};
    unsigned untold = 0;

    for (size_t i = 0; devices && i < json_object_array_length(devices); i++) {
        struct json_object *rules = json_list(json_object_array_get_idx(devices, i), "considered");

        for (size_t k = 0; rules && k < json_object_array_length(rules); k++)
            untold |= find_untold(json_object_array_get_idx(rules, k));
    }
    for (size_t k = 0; k < ELEMENTSOF(tellable); k++)
        if (untold & 1U << k)
            strbuf_addf(&text, "%s%s (%s)", text.length > 0 ? ", " : "", tellable[k].key, tellable[k].option);
    if (show_answer(o, result) < 0 || text.error < 0)
        return -ENOMEM;
    show_field(o, "Unknown", COLOUR_YELLOW, text.text);
    return 0;
}

static const char *const *list_or_null(const OptionList *list) {
    return list->n > 0 ? list->items : NULL;
}

static int explain(const Options *o, const RehearsalSubject *subject, VfiodErrorText *error) {
    _cleanup_rehearsal_ Rehearsal *rehearsal = NULL;
    _cleanup_json_ struct json_object *result = NULL;
    _cleanup_free_ char *memlock = NULL;
    RehearsalRequest request = {
            .devices = (const char *const *) o->arguments,
            .backend = o->backend,
            .reason = o->reason,
            .grant = o->grant,
            .tether = o->tether,
            .require = o->more.require,
            .network = o->more.network,
            .untainted = o->untainted,
    };
    char *problem = NULL;
    int r;

    if (o->memlock > 0) {
        request.memlock = memlock = format_string("%" PRIu64, o->memlock);
        if (!memlock)
            return error_text_errno(error, -ENOMEM, "Cannot explain");
    }
    r = policy_open(o, o->policies.items, &rehearsal, error);
    if (r < 0)
        return r;
    r = rehearsal_explain(rehearsal, subject, &request, &result, &problem);
    return r < 0 ? policy_failed(r, problem, error) : policy_show(o, result, show_rehearsed, error);
}

static int explain_self(const Options *o, VfiodErrorText *error) {
    _cleanup_(self_done) Self self = {};
    RehearsalSubject subject;
    int r;

    if (o->host)
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE,
                "--host: your account on that host is unknown; give --user.");
    r = read_self(&self);
    if (r < 0)
        return error_text_errno(error, r, "Cannot find out who you are");
    subject = (RehearsalSubject){
            .user = self.user,
            .groups = o->groups_of_user.n > 0 ? o->groups_of_user.items : (const char *const *) self.groups,
            .unit = o->unit,
            .cgroup = o->cgroup || o->unit ? o->cgroup : self.cgroup,
            .label = o->label     ? o->label
                    : *self.label ? self.label
                                  : NULL,
            .capabilities = o->capabilities.n > 0 ? o->capabilities.items : self.capabilities,
            .foreign_namespace = o->foreign_namespace || self.foreign_namespace,
            .scope = o->scope,
    };
    return explain(o, &subject, error);
}

/* Where systemd puts it: "a-b.slice" is /a.slice/a-b.slice. Owned by the caller; NULL on ENOMEM. */
static char *cgroup_of_slice(const char *slice, const char *unit) {
    _cleanup_strbuf_ StrBuf b = {};

    for (const char *p = strchr(slice, '-'); p; p = strchr(p + 1, '-'))
        strbuf_addf(&b, "/%.*s.slice", (int) (p - slice), slice);
    strbuf_addf(&b, "/%s%s%s", slice, unit ? "/" : "", unit ?: "");
    return strbuf_steal(&b);
}

static int explain_in_slice(const Options *o, VfiodErrorText *error) {
    _cleanup_free_ char *cgroup = NULL;
    Options with = *o;
    size_t n = strlen(o->slice);

    if (o->cgroup)
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE, "--slice and --cgroup: give one of them.");
    if (n <= strlen(".slice") || !streq(o->slice + n - strlen(".slice"), ".slice"))
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE,
                "--slice=%s: the name of a slice ends in \".slice\".", o->slice);
    cgroup = cgroup_of_slice(o->slice, o->unit);
    if (!cgroup)
        return error_text_errno(error, -ENOMEM, "Cannot explain");
    with.slice = NULL;
    with.cgroup = cgroup;
    return verb_policy_explain(&with, error);
}

int verb_policy_explain(const Options *o, VfiodErrorText *error) {
    const RehearsalSubject subject = {
            .user = o->user,
            .groups = list_or_null(&o->groups_of_user),
            .unit = o->unit,
            .cgroup = o->cgroup,
            .label = o->label,
            .capabilities = list_or_null(&o->capabilities),
            .foreign_namespace = o->foreign_namespace,
            .scope = o->scope,
    };

    if (o->claim || o->last_refusal) {
        if (o->n_arguments > 0 || o->host || o->user || o->policies.n > 0 || (o->claim && o->last_refusal))
            return error_text_set(error, EINVAL, ERROR_NAME_USAGE,
                    "--claim and --last-refusal stand alone: the daemon knows the rest.");
        return explain_past(o, error);
    }
    if (o->n_arguments == 0)
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE,
                "Too few arguments: vfioctl policy explain [--user USER] DEVICE…");
    if (o->slice)
        return explain_in_slice(o, error);
    return o->user ? explain(o, &subject, error) : explain_self(o, error);
}
