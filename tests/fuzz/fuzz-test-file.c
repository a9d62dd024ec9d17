/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuzz.h"

#include "base/str.h"
#include "rehearsal/test-file.h"

/* The input is the text of a test file: either every problem is printable, or every case can be run. */

static void expect_case(const TestFile *f, const TestCase *c) {
    Refusal refusal = REFUSAL_NULL;

    EXPECT(c->name && c->name[0] && is_printable(c->name));
    EXPECT(c->line > 0 && c->subject < f->n_subjects);
    EXPECT(c->expect >= 0 && c->expect < _EFFECT_MAX);
    EXPECT(!c->rule || c->expects_rule);
    EXPECT((int) c->error < 0 || (c->expects_error && c->error < _VFIOD_ERROR_MAX));
    EXPECT(request_validate(&c->request, &refusal) == 0);
}

static void expect_subject(const TestSubject *s) {
    EXPECT(s->user && s->user[0]);
    EXPECT(!s->groups == (s->n_groups == 0) && !s->capabilities == (s->n_capabilities == 0));
    for (size_t i = 0; i <= s->n_groups && s->groups; i++)
        EXPECT(!s->groups[i] == (i == s->n_groups));
    for (size_t i = 0; i <= s->n_capabilities && s->capabilities; i++)
        EXPECT(!s->capabilities[i] == (i == s->n_capabilities));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    _cleanup_(test_file_done) TestFile file = {};
    _cleanup_(problems_done) Problems problems = {};
    int r;

    r = test_file_parse("a.json", (const char *) data, size, &file, &problems);
    EXPECT(r == 0 || r == -EBADMSG);
    EXPECT((r == 0) == (problems_count(&problems) == 0));
    for (size_t i = 0; i < problems_count(&problems); i++)
        EXPECT(is_printable(problems_get(&problems, i)) && utf8_is_valid(problems_get(&problems, i)));
    for (size_t i = 0; i < file.n_subjects; i++)
        expect_subject(file.subjects + i);
    for (size_t i = 0; i < file.n_cases; i++)
        expect_case(&file, file.cases + i);
    EXPECT(!test_file_find_account(&file, false, "") || r == 0);
    return 0;
}
