/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a claim shows. Everybody may see that it exists and whose it is: a user who is refused a device must
 * be able to find out by whom. What the operator's policy says (Rule) is for the owner and for root. */

#include "base/str.h"
#include "daemon/broker/views.h"
#include "daemon/kernel/holders.h"

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

static int put_failure(const ViewQuery *q, const ViewSink *out) {
    const Claim *c = q->thing;
    _cleanup_free_ char *text = NULL;

    if ((int) c->refusal.code < 0)
        return view_text(out, NULL);
    text = refusal_format(&c->refusal);
    return text ? view_text(out, text) : -ENOMEM;
}

/* Everybody may ask, and everybody can make the answer as expensive as they like: it is a walk over all files
 * that all processes have open. */
static ssize_t find_holders(const ViewQuery *q, Holder holders[static HOLDERS_MAX]) {
    BudgetAccount *account = budget_account(q->host->budget, q->reader ? q->reader->uid : (uid_t) -1);
    uint64_t begin = budget_now();
    ssize_t n;

    if (!account)
        return -ENOMEM;
    if (!view_reader_is_operator(q) && !budget_has_credit(account, PURSE_HOLDERS, begin))
        return refuse(q->refusal, VFIOD_ERROR_LIMIT_EXCEEDED, NULL,
                "looking for holders takes long on this host, and uid %u did it often just now",
                (unsigned) account->uid);
    n = holders_find(q->thing, holders, HOLDERS_MAX);
    budget_spend(account, PURSE_HOLDERS, begin, budget_now() - begin);
    return n;
}

static int put_holder(const ViewSink *out, const Holder *holder) {
    int r;

    r = view_open(out, 'r', "us");
    if (r >= 0)
        r = view_number(out, 'u', (uint32_t) holder->pid);
    if (r >= 0)
        r = view_text(out, holder->command);
    return r < 0 ? r : view_close(out);
}

static int put_holders(const ViewQuery *q, const ViewSink *out) {
    Holder holders[HOLDERS_MAX];
    ssize_t n = find_holders(q, holders);
    int r;

    if (n < 0)
        return (int) n; /* not known is not nobody */
    r = view_open(out, 'a', "(us)");
    for (ssize_t i = 0; i < n && r >= 0; i++)
        r = put_holder(out, &holders[i]);
    return r < 0 ? r : view_close(out);
}

const ViewField view_claim_fields[] = {
        {"Id", "s", VIEW_CONSTANT, VIEW_FOR_ALL, put_id},
        {"State", "s", VIEW_ANNOUNCED, VIEW_FOR_ALL, put_state},
        {"Devices", "ao", VIEW_CONSTANT, VIEW_FOR_ALL, put_devices},
        {"Groups", "ao", VIEW_CONSTANT, VIEW_FOR_ALL, put_groups},
        {"Backend", "s", VIEW_CONSTANT, VIEW_FOR_ALL, put_backend},
        {"Uid", "u", VIEW_CONSTANT, VIEW_FOR_ALL, put_uid},
        {"Pid", "u", VIEW_CONSTANT, VIEW_FOR_ALL, put_pid},
        {"Command", "s", VIEW_CONSTANT, VIEW_FOR_ALL, put_command},
        {"Unit", "s", VIEW_CONSTANT, VIEW_FOR_ALL, put_unit},
        {"Rule", "s", VIEW_CONSTANT, VIEW_FOR_OWNER, put_rule},
        {"Reason", "s", VIEW_CONSTANT, VIEW_FOR_ALL, put_reason},
        {"Since", "t", VIEW_CONSTANT, VIEW_FOR_ALL, put_since},
        {"Failure", "s", VIEW_ANNOUNCED, VIEW_FOR_ALL, put_failure},
        {"Holders", "a(us)", VIEW_COSTLY, VIEW_FOR_ALL, put_holders},
        {},
};
