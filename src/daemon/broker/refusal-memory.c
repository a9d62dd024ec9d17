/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/refusal-memory.h"

#include "base/str.h"

/* enough of a sentence that names every sibling of a group */
#define MESSAGE_MAX 2048U

static RefusalNote *note_free(RefusalNote *note) {
    if (!note)
        return NULL;
    subject_done(&note->subject);
    free(note->message);
    free(note);
    return NULL;
}
DEFINE_TRIVIAL_CLEANUP_FUNC(RefusalNote *, note_free);

void refusal_memory_done(RefusalMemory *m) {
    while (m->n_notes > 0)
        (void) note_free(m->notes[--m->n_notes]);
}

static size_t find_index(const RefusalMemory *m, uid_t uid) {
    size_t i = 0;

    while (i < m->n_notes && m->notes[i]->subject.uid != uid)
        i++;
    return i;
}

static RefusalNote *note_new(const Subject *subject, const Request *request, const Refusal *refusal) {
    _cleanup_(note_freep) RefusalNote *note = calloc(1, sizeof(*note));
    _cleanup_free_ char *text = refusal_format(refusal);

    if (!note || !text)
        return NULL;
    note->subject = SUBJECT_NULL;
    note->request = *request;
    memset(note->request.ticket, 0, sizeof(note->request.ticket)); /* it is secret, and its device is named */
    note->code = refusal->code;
    note->message = sanitize(text, MESSAGE_MAX);
    if (!note->message || subject_copy(subject, &note->subject) < 0)
        return NULL;
    return TAKE_PTR(note);
}

void refusal_memory_keep(RefusalMemory *m, const Subject *subject, const Request *request,
        const Refusal *refusal, uint64_t now_usec, uint64_t policy_generation) {
    RefusalNote *note = note_new(subject, request, refusal);
    size_t i = find_index(m, subject->uid);

    if (!note)
        return;
    note->when_usec = now_usec;
    note->policy_generation = policy_generation;
    if (i == m->n_notes && i < REFUSAL_MEMORY_USERS)
        m->n_notes++;
    else {
        i = MIN(i, m->n_notes - 1); /* their old one, or the oldest of all */
        (void) note_free(m->notes[i]);
    }
    memmove(m->notes + 1, m->notes, i * sizeof(*m->notes));
    m->notes[0] = note;
}

const RefusalNote *refusal_memory_find(const RefusalMemory *m, uid_t uid) {
    size_t i = find_index(m, uid);

    return i < m->n_notes ? m->notes[i] : NULL;
}

const RefusalNote *refusal_memory_latest(const RefusalMemory *m) {
    return m->n_notes > 0 ? m->notes[0] : NULL;
}
