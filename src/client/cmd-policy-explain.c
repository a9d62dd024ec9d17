/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "client/policy-door.h"

/* --- yourself, as the daemon would find you out --- */

#define SELF_TEXT_MAX 4096U
#define SELF_GROUPS_MAX 65536 /* NGROUPS_MAX of the kernel */

/* Texts that a RehearsalSubject points to. */
typedef struct Self {
    char user[24];
    char **groups; /* owned, ended by NULL */
    char cgroup[SELF_TEXT_MAX], label[SELF_TEXT_MAX];
    bool foreign_namespace;
} Self;

static void self_done(Self *s) {
    for (size_t i = 0; s->groups && s->groups[i]; i++)
        free(s->groups[i]);
    free(s->groups);
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

/* "0::/user.slice/…": of the unified hierarchy. */
static void read_cgroup(Self *s) {
    _cleanup_free_ char *text = NULL;
    char *line, *next = NULL;

    if (read_file_at(AT_FDCWD, "/proc/self/cgroup", SELF_TEXT_MAX, &text, NULL) < 0)
        return;
    for (line = strtok_r(text, "\n", &next); line; line = strtok_r(NULL, "\n", &next)) {
        const char *path = startswith(line, "0::");

        if (path)
            (void) snprintf(s->cgroup, sizeof(s->cgroup), "%s", path);
    }
}

/* The first namespaces of a kernel have fixed numbers (include/linux/proc_ns.h). */
static bool is_namespace(const char *path, const char *expected) {
    char buf[64] = {};

    return readlink(path, buf, sizeof(buf) - 1) > 0 && streq(buf, expected);
}

static int read_self(Self *s) {
    snprintf(s->user, sizeof(s->user), "%u", (unsigned) geteuid());
    read_cgroup(s);
    if (read_attribute_at(AT_FDCWD, "/proc/self/attr/current", s->label, sizeof(s->label)) < 0)
        s->label[0] = '\0';
    s->foreign_namespace = !is_namespace("/proc/self/ns/user", "user:[4026531837]") ||
            !is_namespace("/proc/self/ns/pid", "pid:[4026531836]");
    return read_groups(s);
}

/* --- what is shown --- */

static struct json_object *member(struct json_object *o, const char *key) {
    struct json_object *value = NULL;

    (void) json_object_object_get_ex(o, key, &value);
    return value;
}

/* A rule that does not match shows what kept it from that, one that does what it was about. */
static void show_predicates(struct json_object *rule) {
    struct json_object *predicates = json_list(rule, "predicates");
    bool holds = json_flag(rule, "holds");

    for (size_t i = 0; predicates && i < json_object_array_length(predicates); i++) {
        struct json_object *p = json_object_array_get_idx(predicates, i);
        const char *answer = json_text(p, "holds");

        if (holds || !streq(answer, "yes"))
            policy_print("          %s: %s; wanted %s, seen %s", json_text(p, "key"), answer,
                    json_text(p, "wanted"), json_text(p, "seen"));
    }
}

static void show_considered(const Options *o, struct json_object *explanation) {
    struct json_object *considered = json_list(explanation, "considered");
    TableStyle style = screen_style(o);

    for (size_t i = 0; considered && i < json_object_array_length(considered); i++) {
        struct json_object *rule = json_object_array_get_idx(considered, i);
        bool decides = i + 1 == json_object_array_length(considered) && *json_text(explanation, "rule");

        if (style.colours)
            fputs(colour_on(decides ? COLOUR_BOLD : COLOUR_GREY), stdout);
        policy_print("  %s %s: %s (%s:%" PRIi64 ")", decides ? "decides " : "no match",
                json_text(rule, "rule"), json_text(rule, "effect"), json_text(rule, "file"),
                json_number(rule, "line"));
        if (style.colours)
            fputs(COLOUR_OFF, stdout);
        show_predicates(rule);
    }
    if (json_number(explanation, "leftOut") > 0)
        printf("  … and %" PRIi64 " more rules that do not match\n", json_number(explanation, "leftOut"));
    if (json_number(explanation, "hidden") > 0)
        printf("  %" PRIi64 " rules are not for you to see\n", json_number(explanation, "hidden"));
}

static void show_explanation(const Options *o, struct json_object *explanation) {
    _cleanup_free_ char *heading = format_string("%s: %s by %s%s%s", json_text(explanation, "device"),
            json_text(explanation, "effect"), *json_text(explanation, "rule") ? "the rule " : "the default",
            json_text(explanation, "rule"), *json_text(explanation, "rule") ? "" : ", since no rule matches");

    show_heading(o, heading ? heading : "(out of memory)");
    show_considered(o, explanation);
    show_field(o, "Change", COLOUR_YELLOW, json_text(explanation, "change"));
    puts("");
}

static int show_answer(const Options *o, struct json_object *result) {
    struct json_object *devices = json_list(result, "devices"), *plan = member(result, "plan");
    const char *name = json_text(result, "error"), *effect = json_text(result, "effect");

    for (size_t i = 0; devices && i < json_object_array_length(devices); i++)
        show_explanation(o, json_object_array_get_idx(devices, i));
    if (*name) {
        show_field(o, "Request", COLOUR_RED, name);
        show_field(o, "Message", COLOUR_NONE, json_text(result, "message"));
        return 0;
    }
    show_field(
            o, "Request", COLOUR_GREEN, streq(effect, "ask") ? "granted when a person says yes" : "granted");
    show_field(o, "Backend", COLOUR_NONE, json_text(plan, "backend"));
    return 0;
}

/* --- the verb --- */

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
    return r < 0 ? policy_failed(r, problem, error) : policy_show(o, result, show_answer, error);
}

static int explain_self(const Options *o, VfiodErrorText *error) {
    _cleanup_(self_done) Self self = {};
    RehearsalSubject subject;
    int r;

    if (o->host)
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE,
                "--host: nobody knows who you are on that host; say --user.");
    r = read_self(&self);
    if (r < 0)
        return error_text_errno(error, r, "Cannot find out who you are");
    subject = (RehearsalSubject){
            .user = self.user,
            .groups = o->groups_of_user.n > 0 ? o->groups_of_user.items : (const char *const *) self.groups,
            .unit = o->unit,
            .cgroup = o->cgroup                ? o->cgroup
                    : o->unit || !*self.cgroup ? NULL
                                               : self.cgroup,
            .label = o->label     ? o->label
                    : *self.label ? self.label
                                  : NULL,
            .capabilities = list_or_null(&o->capabilities),
            .foreign_namespace = o->foreign_namespace || self.foreign_namespace,
    };
    return explain(o, &subject, error);
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
    };

    if (o->n_arguments == 0)
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE,
                "Too few arguments: vfioctl policy explain [--user USER] DEVICE…");
    return o->user ? explain(o, &subject, error) : explain_self(o, error);
}
