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

/* The keepsake is a full copy of what the damaged record was, so the rest of that record is not needed. */
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

static int add_earlier(KeptClaims *earlier, Claim *c) {
    Claim *claims = reallocarray(earlier->claims, earlier->n + 1, sizeof(*claims));

    if (!claims)
        return -ENOMEM;
    earlier->claims = claims;
    claims[earlier->n++] = TAKE_GENERIC(*c, CLAIM_NULL);
    return 0;
}

/* As with a damaged record: what it names goes into quarantine. text: NULL if it cannot be read. */
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

/* A quarantine of an older record names no device as bad: all are. */
static bool was_bad(const Claim *c, const PlanMember *m) {
    return plan_has_bad(&c->plan) ? m->progress == MEMBER_BAD : plan_member_is_moved(m);
}

/* Where the hardware does not tell, the name must do. */
static bool is_same_device(const PlanMember *m, const Device *d) {
    return d && (!device_kind_info(m->name.kind)->identity || plan_member_is(m, d));
}

static int quarantine_member(Quarantine *q, const PlanMember *m) {
    char shown[DEVICE_NAME_MAX];

    if (!is_same_device(m, inventory_find_device(q->broker->inventory, &m->name))) {
        log_notice("The quarantine of %s has ended: the device is gone since the kexec",
                device_name_format(&m->name, shown));
        return 0;
    }
    q->failure = m->failure;
    return quarantine_named(q, &m->name);
}

static int quarantine_claim(Broker *e, const Claim *c) {
    _cleanup_free_ char *reason = format_string(
            "it was in quarantine before the kexec: %s", c->refusal.reason ?: "the reason is unknown");
    Quarantine q = {.broker = e, .reason = reason, .since_usec = c->since_usec};
    int r = reason ? 0 : -ENOMEM;

    memcpy(q.id, c->id, sizeof(q.id));
    for (size_t i = 0; r >= 0 && i < c->plan.n_members; i++)
        if (was_bad(c, &c->plan.members[i]))
            r = quarantine_member(&q, &c->plan.members[i]);
    quarantine_finish(&q);
    if (r >= 0)
        r = q.error;
    if (r >= 0 && q.id[0]) /* no device is left */
        (void) store_remove(e->store, c->id);
    return r < 0 ? log_error_errno(r, "Cannot keep quarantine %s", c->id) : 0;
}

int kept_claims_quarantine(Broker *e, const KeptClaims *earlier) {
    int r = 0;

    for (size_t i = 0; r >= 0 && i < earlier->n; i++)
        r = quarantine_claim(e, &earlier->claims[i]);
    return r;
}
