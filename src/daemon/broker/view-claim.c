/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The properties of a claim. Everybody may see that it exists and who owns it: a user who is refused a device
 * must be able to find out who has it. What the operator's policy says (Rule) is only for the owner and root.
 */

#include "base/local-time.h"
#include "base/str.h"
#include "base/user-name.h"
#include "daemon/broker/sibling.h"
#include "daemon/broker/views.h"
#include "daemon/broker/waiting.h"

#define HOLDERS_MAX 64U

static int put_id(const ViewQuery *q, const ViewSink *out) {
    return view_text(out, ((const Claim *) q->thing)->id);
}

static int put_state(const ViewQuery *q, const ViewSink *out) {
    return view_text(out, claim_state_to_string(((const Claim *) q->thing)->state));
}

static int put_devices(const ViewQuery *q, const ViewSink *out) {
    const Claim *c = q->thing;
    int r;

    r = view_open(out, 'a', "o");
    for (size_t i = 0; i < c->plan.n_claimed && r >= 0; i++)
        if (!c->plan.members[i].leaving)
            r = view_refer_device(out, &c->plan.members[i].name);
    return r < 0 ? r : view_close(out);
}

static int put_groups(const ViewQuery *q, const ViewSink *out) {
    const Claim *c = q->thing;
    int r;

    r = view_open(out, 'a', "o");
    for (size_t i = 0; i < c->plan.n_groups && r >= 0; i++)
        r = view_refer_group(out, c->plan.groups[i]);
    return r < 0 ? r : view_close(out);
}

static int put_backend(const ViewQuery *q, const ViewSink *out) {
    return view_text(out, backend_to_string(((const Claim *) q->thing)->plan.backend));
}

static int put_grant(const ViewQuery *q, const ViewSink *out) {
    return view_text(out, grant_kind_to_string(((const Claim *) q->thing)->plan.grant));
}

/* After its end, its user may not open them any more. */
static int put_nodes(const ViewQuery *q, const ViewSink *out) {
    const Claim *c = q->thing;
    int r;

    r = view_open(out, 'a', "s");
    for (size_t i = 0; c->state == CLAIM_HELD && i < c->n_nodes && r >= 0; i++)
        r = view_text(out, c->nodes[i].path);
    return r < 0 ? r : view_close(out);
}

/* In the order of its devices. */
static int put_vf_tokens(const ViewQuery *q, const ViewSink *out) {
    const Claim *c = q->thing;
    bool any = c->state == CLAIM_HELD && plan_has_vf_token(&c->plan);
    int r;

    r = view_open(out, 'a', "s");
    for (size_t i = 0; any && i < c->plan.n_claimed && r >= 0; i++)
        if (!c->plan.members[i].leaving)
            r = view_text(out, c->plan.members[i].vf_token);
    return r < 0 ? r : view_close(out);
}

static int put_tether(const ViewQuery *q, const ViewSink *out) {
    return view_text(out, tether_kind_to_string(((const Claim *) q->thing)->plan.tether));
}

static int put_cookie(const ViewQuery *q, const ViewSink *out) {
    return view_text(out, ((const Claim *) q->thing)->cookie);
}

static int put_uid(const ViewQuery *q, const ViewSink *out) {
    return view_number(out, 'u', ((const Claim *) q->thing)->uid);
}

static int put_pid(const ViewQuery *q, const ViewSink *out) {
    return view_number(out, 'u', (uint32_t) ((const Claim *) q->thing)->pid);
}

static int put_command(const ViewQuery *q, const ViewSink *out) {
    return view_text(out, ((const Claim *) q->thing)->command);
}

static int put_unit(const ViewQuery *q, const ViewSink *out) {
    return view_text(out, ((const Claim *) q->thing)->unit);
}

static int put_rule(const ViewQuery *q, const ViewSink *out) {
    return view_text(out, ((const Claim *) q->thing)->plan.rule);
}

static int put_reason(const ViewQuery *q, const ViewSink *out) {
    return view_text(out, ((const Claim *) q->thing)->reason);
}

static int put_since(const ViewQuery *q, const ViewSink *out) {
    return view_number(out, 't', ((const Claim *) q->thing)->since_usec);
}

static int put_reserved_until(const ViewQuery *q, const ViewSink *out) {
    const Claim *c = q->thing;

    return view_number(out, 't', c->ticket[0] ? c->until_usec : 0);
}

static bool is_first(const Claim *c, size_t index, const Claim *holder, Inventory *inventory) {
    for (size_t i = 0; i < index; i++)
        if (waiting_find_holder(inventory, &c->plan.members[i].name) == holder)
            return false;
    return true;
}

static int put_blocker(const Claim *holder, const ViewSink *out) {
    const Eviction *v = &holder->eviction;
    _cleanup_free_ char *text = v->state == EVICTION_NONE
            ? format_string("claim %s of %s, %s", holder->id, USER_TEXT(holder->uid),
                      claim_state_to_string(holder->state))
            : format_string("claim %s of %s, %s, evicted by %s (%s)", holder->id, USER_TEXT(holder->uid),
                      claim_state_to_string(holder->state), LOCAL_TIME(v->at_usec),
                      eviction_cause_to_string(v->cause));

    return text ? view_text(out, text) : -ENOMEM;
}

static int put_waits_for(const ViewQuery *q, const ViewSink *out) {
    Inventory *inventory = q->host->inventory;
    const Claim *c = q->thing;
    int r;

    r = view_open(out, 'a', "s");
    for (size_t i = 0; c->state == CLAIM_WAITING && i < c->plan.n_claimed && r >= 0; i++) {
        const Claim *holder = waiting_find_holder(inventory, &c->plan.members[i].name);

        if (holder && is_first(c, i, holder, inventory))
            r = put_blocker(holder, out);
    }
    return r < 0 ? r : view_close(out);
}

static int put_deadline(const ViewQuery *q, const ViewSink *out) {
    const Claim *c = q->thing;

    return view_number(out, 't', c->ticket[0] ? 0 : c->until_usec);
}

static int put_queue_position(const ViewQuery *q, const ViewSink *out) {
    return view_number(out, 'u', ((const Claim *) q->thing)->queue_position);
}

static int put_eviction(const ViewQuery *q, const ViewSink *out) {
    return view_text(out, eviction_state_to_string(((const Claim *) q->thing)->eviction.state));
}

static int put_evict_at(const ViewQuery *q, const ViewSink *out) {
    return view_number(out, 't', ((const Claim *) q->thing)->eviction.at_usec);
}

static int put_stopping(const ViewQuery *q, const ViewSink *out) {
    return view_text(out, stop_state_to_string(((const Claim *) q->thing)->stop.state));
}

/* During an eviction, the time when the claim is ended. Otherwise the time of the next signal. */
static int put_stop_at(const ViewQuery *q, const ViewSink *out) {
    const Claim *c = q->thing;

    if (c->eviction.state != EVICTION_NONE)
        return view_number(out, 't', eviction_stop_usec(&c->plan.hold, c->eviction.at_usec));
    return view_number(out, 't', c->stop.at_usec);
}

static int put_evict_cause(const ViewQuery *q, const ViewSink *out) {
    const Eviction *v = &((const Claim *) q->thing)->eviction;

    return view_text(out, v->state == EVICTION_NONE ? "" : eviction_cause_to_string(v->cause));
}

static int put_evict_reason(const ViewQuery *q, const ViewSink *out) {
    return view_text(out, ((const Claim *) q->thing)->eviction.reason);
}

static int put_sleep_at(const ViewQuery *q, const ViewSink *out) {
    return view_number(out, 't', ((const Claim *) q->thing)->sleep_at_usec);
}

static int put_resume(const ViewQuery *q, const ViewSink *out) {
    return view_text(out, resume_state_to_string(claim_resume_state(q->thing)));
}

static int put_resume_failures(const ViewQuery *q, const ViewSink *out) {
    const Claim *c = q->thing;
    int r;

    r = view_open(out, 'a', "s");
    for (size_t i = 0; i < c->plan.n_claimed && r >= 0; i++) {
        const PlanMember *m = &c->plan.members[i];
        _cleanup_free_ char *text = NULL;
        char name[DEVICE_NAME_MAX];

        if (m->lost == MEMBER_FAILURE_NONE)
            continue;
        text = format_string(
                "%s did not come back when the host woke up: %s. It is quarantined when the claim ends.",
                device_name_format(&m->name, name), m->lost_seen);
        r = text ? view_text(out, text) : -ENOMEM;
    }
    return r < 0 ? r : view_close(out);
}

static int put_failure(const ViewQuery *q, const ViewSink *out) {
    const Claim *c = q->thing;
    _cleanup_free_ char *text = NULL;

    if ((int) c->refusal.code < 0)
        return view_text(out, NULL);
    text = refusal_format(&c->refusal);
    return text ? view_text(out, text) : -ENOMEM;
}

/* Warns of each sibling that is on a driver of the host. */
static int put_sibling_warnings(const Claim *c, const Group *g, const ViewSink *out) {
    char name[DEVICE_NAME_MAX];
    int r = 0;

    FOREACH_MEMBER(d, g) {
        _cleanup_free_ char *text = NULL;

        if (!sibling_blocks(&c->plan, d))
            continue;
        text = format_string("%s (driver %s) is in IOMMU group %d of the claim: while its driver has it, the "
                             "kernel lets no program attach devices of the group.",
                device_name_format(&d->name, name), d->driver, g->id);
        r = text ? view_text(out, text) : -ENOMEM;
        if (r < 0)
            break;
    }
    return r;
}

static int put_warnings(const ViewQuery *q, const ViewSink *out) {
    const Claim *c = q->thing;
    int r;

    r = view_open(out, 'a', "s");
    for (size_t i = 0; c->state == CLAIM_HELD && i < c->plan.n_groups && r >= 0; i++) {
        const Group *g = inventory_find_group(q->host->inventory, c->plan.groups[i]);

        r = g ? put_sibling_warnings(c, g, out) : 0;
    }
    return r < 0 ? r : view_close(out);
}

/* Everybody may ask, and everybody can make the answer as expensive as they like: it walks over all open
 * files of all processes. */
int view_check_holders(const ViewHost *host, const Subject *reader, Refusal *refusal) {
    BudgetAccount *account = budget_account(host->budget, reader->uid);

    if (!account)
        return -ENOMEM;
    if (subject_is_operator(reader) || budget_has_credit(account, PURSE_HOLDERS, budget_now()))
        return 0;
    return refuse(refusal, VFIOD_ERROR_LIMIT_EXCEEDED, NULL, "%s has searched for holders too often just now",
            USER_TEXT(account->uid));
}

void view_charge_holders(const ViewHost *host, const Subject *reader, const HolderAnswer *answer) {
    BudgetAccount *account = budget_account(host->budget, reader->uid);

    if (account)
        budget_spend(account, PURSE_HOLDERS, budget_now(), answer->cost_usec);
}

/* Is the i-th the first file of its kind in its process, among those of the claim? */
static bool is_first_of_kind(const HolderAnswer *answer, size_t i, const Claim *c) {
    const HolderEntry *e = &answer->entries[i];

    if (!holder_entry_is_of(e, c))
        return false;
    while (i-- > 0 && answer->entries[i].pid == e->pid)
        if (streq(answer->entries[i].file, e->file) && holder_entry_is_of(&answer->entries[i], c))
            return false;
    return true;
}

static int put_kinds(const ViewSink *out, const HolderAnswer *answer, size_t first, const Claim *c) {
    int r;

    r = view_open(out, 'a', "s");
    for (size_t i = first; r >= 0 && i < answer->n && answer->entries[i].pid == answer->entries[first].pid;
            i++)
        if (is_first_of_kind(answer, i, c))
            r = view_text(out, answer->entries[i].file);
    return r < 0 ? r : view_close(out);
}

/* A process, from its first file on that is of the claim. */
static int put_holder(
        const ViewSink *out, const HolderAnswer *answer, size_t first, const Claim *c, bool with_files) {
    const HolderEntry *holder = &answer->entries[first];
    int r;

    r = view_open(out, 'r', with_files ? "usas" : "us");
    if (r >= 0)
        r = view_number(out, 'u', (uint32_t) holder->pid);
    if (r >= 0)
        r = view_text(out, holder->command);
    if (r >= 0 && with_files)
        r = put_kinds(out, answer, first, c);
    return r < 0 ? r : view_close(out);
}

/* Each process is listed once. The files of a process are consecutive. */
static int put_processes(const ViewQuery *q, const ViewSink *out, bool with_files) {
    const HolderAnswer *answer = q->found;
    int32_t last = 0;
    size_t n = 0;
    int r;

    if (!answer)
        return -EOPNOTSUPP;
    if (answer->error < 0) /* unknown does not mean that there are none */
        return refuse(q->refusal, VFIOD_ERROR_INTERNAL, NULL,
                "cannot find the processes that have its devices open: %s", strerror(-answer->error));
    r = view_open(out, 'a', with_files ? "(usas)" : "(us)");
    for (size_t i = 0; i < answer->n && n < HOLDERS_MAX && r >= 0; i++) {
        const HolderEntry *e = &answer->entries[i];

        if (e->pid == last || !holder_entry_is_of(e, q->thing))
            continue;
        last = e->pid;
        n++;
        r = put_holder(out, answer, i, q->thing, with_files);
    }
    return r < 0 ? r : view_close(out);
}

static int put_holders(const ViewQuery *q, const ViewSink *out) {
    return put_processes(q, out, /* with_files= */ false);
}

static int put_open_files(const ViewQuery *q, const ViewSink *out) {
    return put_processes(q, out, /* with_files= */ true);
}

bool view_needs_holders(const ViewField *field) {
    return field->put == put_holders || field->put == put_open_files;
}

const ViewField view_claim_fields[] = {
        {"Id", "s", VIEW_CONSTANT, VIEW_FOR_ALL, put_id},
        {"State", "s", VIEW_ANNOUNCED, VIEW_FOR_ALL, put_state},
        {"Devices", "ao", VIEW_ANNOUNCED, VIEW_FOR_ALL, put_devices},
        {"Groups", "ao", VIEW_ANNOUNCED, VIEW_FOR_ALL, put_groups},
        {"Backend", "s", VIEW_CONSTANT, VIEW_FOR_ALL, put_backend},
        {"Grant", "s", VIEW_CONSTANT, VIEW_FOR_ALL, put_grant},
        {"Nodes", "as", VIEW_ANNOUNCED, VIEW_FOR_ALL, put_nodes},
        {"Tether", "s", VIEW_ANNOUNCED, VIEW_FOR_ALL, put_tether},
        {"Cookie", "s", VIEW_CONSTANT, VIEW_FOR_OWNER, put_cookie},
        {"Uid", "u", VIEW_CONSTANT, VIEW_FOR_ALL, put_uid},
        {"Pid", "u", VIEW_CONSTANT, VIEW_FOR_ALL, put_pid},
        {"Command", "s", VIEW_CONSTANT, VIEW_FOR_ALL, put_command},
        {"Unit", "s", VIEW_CONSTANT, VIEW_FOR_ALL, put_unit},
        {"Rule", "s", VIEW_INVALIDATED, VIEW_FOR_OWNER, put_rule},
        {"Reason", "s", VIEW_CONSTANT, VIEW_FOR_ALL, put_reason},
        {"Since", "t", VIEW_CONSTANT, VIEW_FOR_ALL, put_since},
        {"ReservedUntil", "t", VIEW_CONSTANT, VIEW_FOR_ALL, put_reserved_until},
        {"Deadline", "t", VIEW_ANNOUNCED, VIEW_FOR_ALL, put_deadline},
        {"QueuePosition", "u", VIEW_INVALIDATED, VIEW_FOR_OWNER, put_queue_position},
        {"WaitsFor", "as", VIEW_SILENT, VIEW_FOR_OWNER, put_waits_for},
        {"Eviction", "s", VIEW_ANNOUNCED, VIEW_FOR_ALL, put_eviction},
        {"EvictAt", "t", VIEW_ANNOUNCED, VIEW_FOR_ALL, put_evict_at},
        {"Stopping", "s", VIEW_ANNOUNCED, VIEW_FOR_ALL, put_stopping},
        {"StopAt", "t", VIEW_ANNOUNCED, VIEW_FOR_ALL, put_stop_at},
        {"EvictCause", "s", VIEW_ANNOUNCED, VIEW_FOR_ALL, put_evict_cause},
        {"EvictReason", "s", VIEW_ANNOUNCED, VIEW_FOR_ALL, put_evict_reason},
        {"Warnings", "as", VIEW_ANNOUNCED, VIEW_FOR_ALL, put_warnings},
        {"SleepAt", "t", VIEW_ANNOUNCED, VIEW_FOR_ALL, put_sleep_at},
        {"Resume", "s", VIEW_ANNOUNCED, VIEW_FOR_ALL, put_resume},
        {"ResumeFailures", "as", VIEW_ANNOUNCED, VIEW_FOR_ALL, put_resume_failures},
        {"Failure", "s", VIEW_ANNOUNCED, VIEW_FOR_ALL, put_failure},
        {"VfTokens", "as", VIEW_SILENT, VIEW_FOR_OWNER, put_vf_tokens},
        {"Holders", "a(us)", VIEW_COSTLY, VIEW_FOR_ALL, put_holders, .members = "pid command"},
        {"OpenFiles", "a(usas)", VIEW_COSTLY, VIEW_FOR_ALL, put_open_files, .members = "pid command files"},
        {},
};
