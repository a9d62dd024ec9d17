/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/selector.h"

#include <stdio.h>

#include "base/str.h"
#include "core/pci-class.h"
#include "policy/rule.h"

static int take_word(const char *word, SelectorKind kind, DeviceSelector *ret, char *problem, size_t size) {
    bool known = *word && strlen(word) < sizeof(ret->word);

    if (known && kind == SELECT_CLASS)
        known = pci_class_match(word, 0) >= 0;
    if (!known) {
        (void) snprintf(problem, size, "names no %s",
                kind == SELECT_TAG ? "tag"
                                   : "class: expected 2, 4 or 6 hex digits, or a name like \"ethernet\"");
        return -EINVAL;
    }
    *ret = (DeviceSelector){.kind = kind};
    strcpy(ret->word, word);
    return 0;
}

int device_selector_parse(const char *text, DeviceSelector *ret, char *problem, size_t problem_size) {
    const char *class = startswith(text, "class:"), *tag = startswith(text, "tag:");
    DeviceSelector s = {};
    int r;

    if (class || tag)
        return take_word(class ?: tag, class ? SELECT_CLASS : SELECT_TAG, ret, problem, problem_size);
    r = device_pattern_parse(text, &s.device, problem, problem_size);
    if (r >= 0)
        *ret = s;
    return r;
}

static const Tag *find_tag(const Policy *policy, const char *name) {
    for (size_t i = 0; policy && i < policy->n_tags; i++)
        if (streq(policy->tags[i]->name, name))
            return policy->tags[i];
    return NULL;
}

static bool tag_concerns(const char *tag, const Policy *policy, const Subject *subject) {
    if (subject_is_operator(subject))
        return true;
    for (size_t i = 0; policy && i < policy->n_rules; i++)
        for (size_t k = 0; k < policy->rules[i].n_tags; k++)
            if (streq(policy->rules[i].tags[k].name, tag) && rule_concerns(&policy->rules[i], subject))
                return true;
    return false;
}

bool device_selector_concerns(const DeviceSelector *s, const Policy *policy, const Subject *subject) {
    return s->kind != SELECT_TAG || tag_concerns(s->word, policy, subject);
}

/* Facts are read only for cards whose ids match an entry of the tag. */
static unsigned facts_of_tag(const Tag *tag, const Question *q) {
    unsigned needed = 0;

    for (size_t i = 0; i < tag->n_entries; i++) {
        const TagEntry *e = &tag->entries[i];

        if ((q->id & e->id.mask) == e->id.value)
            needed |= (e->path ? DEVICE_FACT_SLOT_PATH : 0U) | (e->serial ? DEVICE_FACT_SERIAL : 0U);
    }
    return needed;
}

static int match_tag(const Tag *tag, const Device *d, const DeviceFacts *facts, unsigned *ret_needed) {
    const PolicyQuestion question = {.device = d, .facts = facts};
    TagUse use = {.tag = tag};
    const Rule rule = {.tags = &use, .n_tags = 1};
    unsigned missing;
    Question q;

    question_init(&q, &question, 0);
    switch (tags_hold(&rule, &q)) {
    case HOLDS_YES:
        return 1;
    case HOLDS_UNKNOWN:
        missing = facts_of_tag(tag, &q) & ~(facts ? facts->known : 0U);
        if (missing == 0)
            return 0;
        *ret_needed = missing;
        return -ENODATA;
    default:
        return 0;
    }
}

int device_selector_match(const DeviceSelector *s, const Policy *policy, const Device *d,
        const DeviceFacts *facts, unsigned *ret_needed) {
    char kernel_name[DEVICE_NAME_MAX];
    const Tag *tag;

    switch (s->kind) {
    case SELECT_CLASS:
        return d->name.kind == DEVICE_KIND_PCI && pci_class_match(s->word, d->class_code) > 0;
    case SELECT_TAG:
        tag = find_tag(policy, s->word);
        return tag ? match_tag(tag, d, facts, ret_needed) : 0;
    default:
        (void) device_name_format_kernel(&d->name, kernel_name);
        return device_pattern_match(&s->device, &d->name, kernel_name);
    }
}

int policy_foreach_tag_of(const Policy *policy, const Device *d, const DeviceFacts *facts,
        const Subject *subject, visit_tag_t visit, void *userdata) {
    unsigned ignored;
    int r = 0;

    for (size_t i = 0; policy && subject && i < policy->n_tags && r >= 0; i++)
        if (tag_concerns(policy->tags[i]->name, policy, subject) &&
                match_tag(policy->tags[i], d, facts, &ignored) > 0)
            r = visit(userdata, policy->tags[i]->name);
    return r;
}
