/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/claim.h"

#include <stdio.h>

#include "base/str.h"

void claim_done(Claim *c) {
    plan_done(&c->plan);
    free(c->command);
    free(c->unit);
    free(c->reason);
    free(c->nodes);
    subject_done(&c->subject);
    refusal_done(&c->refusal);
    *c = CLAIM_NULL;
}

static const char *const resume_state_table[_RESUME_STATE_MAX] = {
        [RESUME_NONE] = "none",
        [RESUME_CHECKING] = "checking",
        [RESUME_OK] = "ok",
        [RESUME_FAILED] = "failed",
        [RESUME_UNKNOWN] = "unknown",
};
DEFINE_STRING_TABLE(resume_state, ResumeState);

ResumeState claim_resume_state(const Claim *c) {
    for (size_t i = 0; c->resume != RESUME_CHECKING && i < c->plan.n_claimed; i++)
        if (c->plan.members[i].lost != MEMBER_FAILURE_NONE)
            return RESUME_FAILED;
    return c->resume;
}

const char *claim_lifeline(const Claim *c) {
    return c->lifeline[0] ? c->lifeline : c->id;
}

bool claim_node_path_is_valid(const char *path) {
    const char *name = startswith(path, "/dev/vfio/") ?: startswith(path, "/dev/vhost-vdpa-");

    if (streq(path, "/dev/iommu"))
        return true;
    return name && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789/-") == strlen(name);
}

bool claim_id_is_valid(const char *id) {
    return strlen(id) == CLAIM_ID_MAX - 1 && strspn(id, "0123456789abcdef") == CLAIM_ID_MAX - 1;
}

const char *claim_format_ticket(const Claim *c, char buf[static REQUEST_TICKET_MAX]) {
    (void) snprintf(buf, REQUEST_TICKET_MAX, "%s-%s", c->id, c->ticket);
    return buf;
}

bool claim_has_ticket(const Claim *c, const char *ticket) {
    char own[REQUEST_TICKET_MAX];
    unsigned char differences = 0;

    if (!c->ticket[0] || strlen(ticket) != REQUEST_TICKET_MAX - 1)
        return false;
    (void) claim_format_ticket(c, own);
    for (size_t i = 0; i < REQUEST_TICKET_MAX; i++)
        differences |= (unsigned char) (own[i] ^ ticket[i]);
    return differences == 0;
}
