/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/subject.h"

#include "base/fd.h"

void subject_done(Subject *s) {
    (void) safe_close(s->pidfd);
    free(s->gids);
    free(s->command);
    free(s->unit);
    free(s->cgroup);
    free(s->label);
    *s = SUBJECT_NULL;
}

bool subject_in_group(const Subject *s, gid_t gid) {
    for (size_t i = 0; i < s->n_gids; i++)
        if (s->gids[i] == gid)
            return true;
    return false;
}

bool subject_is_operator(const Subject *s) {
    return s->uid == 0;
}
