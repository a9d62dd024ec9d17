/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Random lists of events against a model of the world. The machine may be fed anything at any time, as a
 * hostile client, a kernel that sleeps and a hand that pulls cards would; the model checks what must hold all
 * the same: fds leave only after a yes and over bound devices, nothing touches hardware that is not written
 * down, a device goes back only after the client has closed it, and what is over stays over. */

#include "core/machine.h"
#include "fuzz.h"

typedef struct Model {
    ClaimState state;
    bool allowed, recorded, bound, given, closed;
    unsigned deferred;
} Model;

static void note_event(Model *m, ClaimEvent event) {
    switch (event) {
    case CLAIM_EVENT_ALLOWED:
        m->allowed = true;
        break;
    case CLAIM_EVENT_BOUND:
        m->bound = true;
        break;
    case CLAIM_EVENT_CLOSED:
        m->closed = true;
        break;
    case CLAIM_EVENT_RECOVERED_HELD:
    case CLAIM_EVENT_RECOVERED_ENDED:
    case CLAIM_EVENT_RECOVERED_QUARANTINED:
        /* An earlier process had said yes, written it down and bound it. */
        m->allowed = m->recorded = m->bound = m->given = true;
        break;
    default:
        break;
    }
}

static void check_effects(Model *m, ClaimState before, unsigned effects) {
    if (effects & CLAIM_EFFECT_SAVE)
        m->recorded = true;
    if (effects & CLAIM_EFFECT_BIND)
        EXPECT(m->allowed && m->recorded && !m->given);
    if (effects & CLAIM_EFFECT_OPEN)
        EXPECT(m->bound);
    if (effects & CLAIM_EFFECT_REPLY) {
        EXPECT(m->allowed && m->bound && m->recorded && !m->given);
        m->given = true;
    }
    if (effects & CLAIM_EFFECT_RESET)
        EXPECT(m->recorded && (m->closed || (before == CLAIM_QUARANTINED && !m->given)));
    /* Given and not closed: only a quarantine that a person lifts, or that was pulled out, leads back. */
    if (effects & CLAIM_EFFECT_RESTORE)
        EXPECT(m->recorded && (!m->given || m->closed || before == CLAIM_QUARANTINED));
    if (effects & CLAIM_EFFECT_FORGET)
        EXPECT(m->state == CLAIM_GONE);
}

static void feed(Model *m, ClaimEvent event) {
    Transition t = machine_step(m->state, event);
    ClaimState before = m->state;
    unsigned deferred;

    /* No worker is late with a device that the client has open: orders begin before it has it, or after. */
    if (event == CLAIM_EVENT_RETURNED && m->given && !m->closed)
        return;
    if (t.effects & CLAIM_EFFECT_IMPOSSIBLE) {
        EXPECT(t.next == m->state);
        return;
    }
    EXPECT(m->state != CLAIM_GONE);
    if (t.effects & CLAIM_EFFECT_DEFER) {
        m->deferred |= 1U << event;
        return;
    }
    note_event(m, event);
    m->state = t.next;
    check_effects(m, before, t.effects);
    deferred = before != t.next ? m->deferred : 0;
    m->deferred &= ~deferred;
    for (ClaimEvent e = 0; e < _CLAIM_EVENT_MAX; e++)
        if (deferred & (1U << e))
            feed(m, e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Model m = {.state = CLAIM_REQUESTED};

    for (size_t i = 0; i < size; i++)
        feed(&m, (ClaimEvent) (data[i] % _CLAIM_EVENT_MAX));
    return 0;
}
