/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/recover-kept.h"

#include "base/log.h"
#include "base/str.h"
#include "core/device-kind.h"
#include "daemon/broker/recover-quarantine.h"

void kept_claims_done(KeptClaims *k) {
    for (size_t i = 0; i < k->n; i++)
        claim_done(&k->claims[i]);
    free(k->claims);
    *k = (KeptClaims){};
}

/* ---- Reading ---- */

/* NULL: there is none. */
static StoredClaim *find_record(const StoredClaims *stored, const char *id, bool damaged) {
    for (size_t i = 0; i < stored->n; i++)
        if (stored->entries[i].damaged == damaged && streq(stored->entries[i].id, id))
            return &stored->entries[i];
    return NULL;
}

/* The keepsake is a full copy of the damaged record, so the rest of that record is not needed. */
static void drop_damaged(Store *s, StoredClaims *stored, const char *id) {
    StoredClaim *entry;

    while ((entry = find_record(stored, id, /* damaged= */ true))) {
        _cleanup_free_ char *copy = store_keep_copy(s, entry);

        log_error("The record of claim %s is damaged: %s (%s)", id, entry->problem ?: "no file of a record",
                copy ?: "lost");
        store_drop(s, entry);
        stored_claims_remove(stored, entry);
    }
}

static int parse(
        const char *text, size_t size, const char *id, const char *boot_id, Claim *ret, char **ret_problem) {
    _cleanup_(claim_done) Claim c = CLAIM_NULL;
    int r;

    r = claim_from_record(text, size, boot_id, &c, ret_problem);
    if (r < 0)
        return r;
    if (!streq(c.id, id) || c.state != CLAIM_QUARANTINED) {
        *ret_problem = strdup("it is not the record of that quarantine");
        return -EBADMSG;
    }
    *ret = TAKE_GENERIC(c, CLAIM_NULL);
    return 0;
}

static int add_stored(StoredClaims *stored, Claim *c) {
    StoredClaim *entry = stored_claims_add(stored);

    if (!entry)
        return -ENOMEM;
    log_notice("Claim %s is still in quarantine: its record is gone or damaged, and systemd has kept a copy",
            c->id);
    memcpy(entry->id, c->id, sizeof(entry->id));
    entry->kept = true;
    entry->claim = TAKE_GENERIC(*c, CLAIM_NULL);
    return 0;
}

/* An older record of a quarantine marks no device as bad: all of them are. */
static bool was_bad(const Claim *c, const PlanMember *m) {
    return plan_has_bad(&c->plan) ? m->progress == MEMBER_BAD : plan_member_is_moved(m);
}

static void leave_only_bad(Claim *c) {
    Plan *p = &c->plan;
    size_t n = 0, left = 0;

    for (; n < p->n_members; n++)
        if (was_bad(c, &p->members[n]))
            p->members[left++] = p->members[n];
    p->n_members = left;
}

static int add_earlier(KeptClaims *earlier, Claim *c) {
    Claim *claims = reallocarray(earlier->claims, earlier->n + 1, sizeof(*claims));

    if (!claims)
        return -ENOMEM;
    earlier->claims = claims;
    leave_only_bad(c);
    claims[earlier->n++] = TAKE_GENERIC(*c, CLAIM_NULL);
    return 0;
}

/* As with a damaged record, all devices in it are quarantined. text: NULL if it cannot be read. */
static int add_damaged(StoredClaims *stored, const char *id, const char *text, size_t size, char *problem) {
    StoredClaim *entry = stored_claims_add(stored);

    if (!entry) {
        free(problem);
        return -ENOMEM;
    }
    put_text(entry->id, sizeof(entry->id), id);
    entry->kept = entry->damaged = true;
    entry->problem = problem;
    return text ? salvage_names(text, size, &entry->names) : 0;
}

static int refuse_keepsake(Store *s, const char *name) {
    log_warning("What systemd has kept as \"%s\" is not used: that is no id of a claim", name);
    keepsakes_drop(store_keepsakes(s), name);
    return 0;
}

int kept_claims_load(Store *s, const char *name, int fd, StoredClaims *stored, KeptClaims *earlier) {
    const char *id = startswith(name, QUARANTINE_STORE_PREFIX);
    _cleanup_free_ char *text = NULL, *problem = NULL;
    _cleanup_(claim_done) Claim c = CLAIM_NULL;
    size_t size = 0;
    bool same_boot;
    int r;

    r = keepsakes_adopt(store_keepsakes(s), name);
    if (r < 0 || find_record(stored, id, /* damaged= */ false))
        return r;
    if (!claim_id_is_valid(id))
        return refuse_keepsake(s, name);
    r = keepsake_read(fd, RECORD_SIZE_MAX, &text, &size);
    if (r >= 0)
        r = parse(text, size, id, store_boot_id(s), &c, &problem);
    same_boot = r != -ESTALE;
    if (!same_boot)
        r = parse(text, size, id, /* boot_id= */ NULL, &c, &problem);
    if (r == -ENOMEM)
        return r;
    if (r < 0)
        return add_damaged(stored, id, text, size, TAKE_PTR(problem));
    drop_damaged(s, stored, id);
    return same_boot ? add_stored(stored, &c) : add_earlier(earlier, &c);
}

/* ---- After a kexec ---- */

/* If this kind of hardware has no identity, the name must do. */
static bool is_same_device(const PlanMember *m, const Device *d) {
    return d && (!device_kind_info(m->name.kind)->identity || plan_member_is(m, d));
}

/* Its group may be another one now, and a claim may have it: then a later start quarantines it. Returns 1 if
 * it is finished, 0 if it has to wait. */
static int quarantine_member(Quarantine *q, const PlanMember *m) {
    const Device *d = inventory_find_device(q->broker->inventory, &m->name);
    char shown[DEVICE_NAME_MAX];
    int r;

    if (!d)
        return 0;
    if (!is_same_device(m, d)) {
        log_notice("The quarantine of %s has ended: another device has its name since the kexec",
                device_name_format(&m->name, shown));
        return 1;
    }
    if (d->quarantined)
        return 1;
    q->failure = m->failure;
    r = quarantine_named(q, &m->name);
    return r < 0 ? r : q->added;
}

/* Devices that have to wait remain in c. */
static int quarantine_members(Quarantine *q, Claim *c) {
    Plan *p = &c->plan;
    size_t left = 0;
    int r = 0;

    for (size_t i = 0; i < p->n_members; i++) {
        const int done = r >= 0 ? quarantine_member(q, &p->members[i]) : 0;

        if (done <= 0)
            p->members[left++] = p->members[i];
        if (done < 0)
            r = done;
    }
    p->n_members = left;
    return r;
}

static int quarantine_claim(Broker *e, Claim *c) {
    _cleanup_free_ char *reason = format_string(
            "it was in quarantine before the kexec: %s", c->refusal.reason ?: "the reason is unknown");
    Quarantine q = {.broker = e, .reason = reason, .since_usec = c->since_usec};
    int r = reason ? 0 : -ENOMEM;

    if (!claims_find(e, c->id))
        memcpy(q.id, c->id, sizeof(q.id));
    if (r >= 0)
        r = quarantine_members(&q, c);
    quarantine_finish(&q);
    if (r >= 0)
        r = q.error;
    if (r >= 0 && c->plan.n_members == 0 && !claims_find(e, c->id)) /* no device is left */
        (void) store_remove(e->store, c->id);
    return r < 0 ? log_error_errno(r, "Cannot keep quarantine %s", c->id) : 0;
}

static void log_missing(const Claim *c) {
    char shown[DEVICE_NAME_MAX];

    for (size_t i = 0; i < c->plan.n_members; i++)
        log_notice("%s was in quarantine before the kexec, and will be again when it appears",
                device_name_format(&c->plan.members[i].name, shown));
}

int kept_claims_quarantine(Broker *e) {
    KeptClaims *k = &e->kept;
    int r = 0;

    for (size_t i = 0; r >= 0 && i < k->n; i++) {
        r = quarantine_claim(e, &k->claims[i]);
        if (r >= 0)
            log_missing(&k->claims[i]);
    }
    return r;
}

void kept_claims_note_device(Broker *e, const Device *d) {
    for (size_t i = 0; i < e->kept.n; i++)
        if (plan_find_member(&e->kept.claims[i].plan, &d->name))
            (void) quarantine_claim(e, &e->kept.claims[i]);
}
