/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Decides how the claim reaches the client, and what that exposes. The request chooses, and every rule of the
 * claim must allow it. A node can be opened by every process of the user; files are in the hands of one. */

#include "base/str.h"
#include "base/user-name.h"
#include "core/device-kind.h"
#include "core/planner.h"

static int refuse_grant(Planner *p, GrantKind wanted) {
    bool fd = p->grants & 1U << GRANT_FD;
    const char *word = grant_kind_to_string(wanted);
    int r;

    r = planner_name_rules(p,
            refuse(p->refusal, VFIOD_ERROR_ACCESS_DENIED, &p->first->name, "%s does not allow the grant %s",
                    planner_call_rules(p), word));
    p->refusal->remedy =
            format_string("%sTo loosen the policy, the operator can add \"%s\" to \"grant\" of the rule.",
                    fd ? "Request the grant fd. " : "", word);
    return r;
}

/* These backends grant files only. noiommu: the kernel lets only a process with CAP_SYS_RAWIO open the node.
 * compat: the user would have to open the group's file, which stays with vfiod. */
static bool has_only_files(const Planner *p) {
    return p->request->backend == BACKEND_NOIOMMU || p->plan->backend == BACKEND_COMPAT;
}

static int refuse_other_grants(Planner *p) {
    Backend backend = p->request->backend == BACKEND_NOIOMMU ? BACKEND_NOIOMMU : p->plan->backend;
    int r = refuse(p->refusal, VFIOD_ERROR_BACKEND_UNAVAILABLE, &p->first->name,
            "the backend %s has no other grant than fd", backend_to_string(backend));

    p->refusal->remedy = strdup("Request the grant fd.");
    return r;
}

/* Anybody may have opened a granted node. A count of the device, or an open of its group, shows whether it is
 * closed again. The node of a mediated device has neither. */
static const PlanMember *find_uncounted(const Plan *plan) {
    for (size_t i = 0; i < plan->n_claimed; i++)
        if (!plan_member_counts_opens(&plan->members[i]))
            return &plan->members[i];
    return NULL;
}

static int refuse_uncounted(Planner *p, const PlanMember *m) {
    int r = refuse(p->refusal, VFIOD_ERROR_BACKEND_UNAVAILABLE, &m->name,
            "with the backend iommufd the kernel does not show when all of its users have closed it, so it "
            "is "
            "only granted as a file");

    p->refusal->remedy = strdup("Request the grant fd, or the backend group.");
    return r;
}

/* ---- What it exposes, in words ---- */

/* The kernel chooses the number of a node when the vfio driver takes the device. */
static void add_cdev(StrBuf *b, const Planner *p, const PlanMember *m) {
    const Device *d = inventory_find_device(p->context->inventory, &m->name);
    char name[DEVICE_NAME_MAX], path[DEVICE_NODE_MAX];

    if (d && d->vfio_index >= 0)
        strbuf_add(b, device_node_path(d->name.kind, d->vfio_index, path));
    else {
        const char *node = device_kind_info(m->name.kind)->node;

        strbuf_addf(b, "the node of %s below %.*s", device_name_format(&m->name, name),
                (int) (strrchr(node, '/') - node), node);
    }
}

static void add_separator(StrBuf *b, size_t i, size_t n) {
    strbuf_add(b, i + 1 == n ? " and " : ", ");
}

static void add_nodes(StrBuf *b, const Planner *p) {
    const Plan *plan = p->plan;
    bool group = plan->backend == BACKEND_GROUP, shared = plan->backend != BACKEND_VHOST_VDPA;
    size_t n = group ? plan->n_groups : plan->n_claimed, made = 0;

    if (shared)
        strbuf_add(b, group ? "/dev/vfio/vfio" : "/dev/iommu");
    for (size_t i = 0; i < n; i++) {
        if (shared || i > 0)
            add_separator(b, i, n);
        if (group)
            strbuf_addf(b, "/dev/vfio/%d", plan->groups[i]);
        else
            add_cdev(b, p, &plan->members[i]);
    }
    for (size_t i = 0; group && i < plan->n_claimed; i++)
        made += plan_member_is_made(&plan->members[i]);
    if (made > 0) /* the kernel chooses their numbers when it makes the devices */
        strbuf_addf(b, " and the node%s of the group%s of what is made", made > 1 ? "s" : "",
                made > 1 ? "s" : "");
}

static void add_devices(StrBuf *b, const Plan *plan) {
    char name[DEVICE_NAME_MAX];

    for (size_t i = 0; i < plan->n_claimed; i++) {
        if (i > 0)
            add_separator(b, i, plan->n_claimed);
        strbuf_add(b, device_name_format(&plan->members[i].name, name));
    }
}

static void add_files(StrBuf *b, const Planner *p) {
    Backend backend = p->plan->backend;

    strbuf_add(b, "the opened ");
    if (backend == BACKEND_COMPAT)
        strbuf_add(b, "/dev/vfio/vfio with ");
    if (backend == BACKEND_COMPAT || !backend_has_groups(backend))
        add_devices(b, p->plan);
    else
        add_nodes(b, p);
    strbuf_add(b, " go to the caller, who can pass them on");
}

/* An IOMMU cannot tell the hardware of a mediated device apart. */
static void add_trust(StrBuf *b, const Planner *p) {
    char name[DEVICE_NAME_MAX];

    for (size_t i = 0; i < p->plan->n_claimed; i++) {
        const PlanMember *m = &p->plan->members[i];

        if (plan_member_is_made(m))
            strbuf_addf(b,
                    "; %s is made of type %s by the driver of %s, which, and no IOMMU, isolates it, and "
                    "is removed at the end",
                    device_name_format(&m->name, name), m->made.type, m->made.parent);
        else if (m->name.kind == DEVICE_KIND_MDEV)
            strbuf_addf(b, "; the driver %s, and no IOMMU, isolates %s", m->target_driver,
                    device_name_format(&m->name, name));
    }
}

static int describe(Planner *p) {
    _cleanup_strbuf_ StrBuf b = {};

    switch (p->plan->grant) {
    case GRANT_FD:
        add_files(&b, p);
        break;
    case GRANT_NODE:
        add_nodes(&b, p);
        strbuf_addf(&b,
                " become usable by %s, for every process of that uid and for as long as the claim lives",
                USER_TEXT(p->subject->uid));
        break;
    default:
        strbuf_add(&b, "nothing is handed out; reserves the devices and binds them to their vfio driver");
    }
    if (p->plan->grant != GRANT_NONE)
        add_trust(&b, p);
    p->plan->exposes = strbuf_steal(&b);
    return p->plan->exposes ? 0 : refuse(p->refusal, VFIOD_ERROR_INTERNAL, NULL, "out of memory");
}

/* These devices stay as they are. Example: "pci:0000:01:00.0: consumer pci:0000:01:00.1 (driver
 * snd_hda_intel)" */
static int describe_companions(Planner *p) {
    _cleanup_strbuf_ StrBuf b = {};
    char name[DEVICE_NAME_MAX];

    for (size_t i = 0; i < p->plan->n_claimed; i++) {
        const PlanMember *m = &p->plan->members[i];
        const DeviceFacts *facts;
        int r;

        if (plan_member_is_made(m))
            continue;
        r = survey_get(p->context->survey, &m->name, DEVICE_FACT_LINKS, &facts);
        p->again = p->again || r == -EAGAIN;
        if (r < 0 || !facts->links)
            continue;
        strbuf_addf(&b, "%s%s: ", b.length > 0 ? "; " : "", device_name_format(&m->name, name));
        device_links_describe(facts->links, &b);
    }
    if (b.length == 0)
        return 0;
    p->plan->companions = strbuf_steal(&b);
    return p->plan->companions ? 0 : refuse(p->refusal, VFIOD_ERROR_INTERNAL, NULL, "out of memory");
}

int grant_decide(Planner *p) {
    GrantKind wanted = p->request->grant;
    const PlanMember *uncounted =
            wanted != GRANT_FD && p->plan->backend == BACKEND_IOMMUFD ? find_uncounted(p->plan) : NULL;
    int r = 0;

    p->plan->grant = wanted;
    if (wanted != GRANT_FD && has_only_files(p))
        r = refuse_other_grants(p);
    else if (!(p->grants & 1U << wanted))
        r = refuse_grant(p, wanted);
    else if (uncounted)
        r = refuse_uncounted(p, uncounted);
    r = planner_put_aside(p, r);
    if (r < 0 || !p->context->describe || p->again || (int) p->found.code >= 0)
        return r;
    r = describe_companions(p);
    if (r >= 0)
        r = reset_describe(p);
    return r < 0 ? r : describe(p);
}
