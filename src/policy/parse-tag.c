/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Tags: their definitions in a file, and their use by the rules of all files. */

#include <search.h>

#include "core/device-spelling.h"
#include "policy/parser.h"

#define TAG_NAME_MAX 64U

static void take_slot(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    _cleanup_free_ char *shown = NULL, *meant = NULL;

    DeviceName slot;

    int r = device_name_parse(value->string, &slot);

    if (r >= 0 && slot.kind == DEVICE_KIND_PCI) {
        p->entry.slot = slot;
        p->entry.has_slot = true;
        return;
    }
    shown = show(p, value->string);
    if (r >= 0) {
        report_value(p, value, "\"%s\" is no PCI device, and tags are about these", shown);
        return;
    }
    meant = device_spelling_explain(value->string, /* in_pattern= */ false);
    report_value(p, value, "\"%s\" is not the name of a device, like pci:0000:06:0d.0%s", shown, meant ?: "");
}

static void take_path(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    _cleanup_free_ char *shown = NULL;

    if (slot_path_is_valid(value->string)) {
        if (free_and_strdup(&p->entry.path, value->string) < 0)
            p->problems.out_of_memory = true;
        return;
    }
    shown = show(p, value->string);
    report_value(p, value,
            "\"%s\" is not a device path, expected one like \"0000:00:1c.0/00.0\", in lower case", shown);
}

static void take_tag_id(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    _cleanup_free_ char *shown = NULL;

    if (parse_id(value->string, &p->entry.id) && !strchr(value->string, '*'))
        return;
    shown = show(p, value->string);
    report_value(p, value,
            "\"%s\" is not the id of a card, expected VENDOR:DEVICE or VENDOR:DEVICE:VENDOR:DEVICE of the "
            "subsystem, each four hex digits, like \"1234:11e8\"",
            shown);
}

static void take_serial(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    _cleanup_free_ char *shown = NULL;

    if (pci_serial_is_valid(value->string)) {
        if (free_and_strdup(&p->entry.serial, value->string) < 0)
            p->problems.out_of_memory = true;
        return;
    }
    shown = show(p, value->string);
    report_value(p, value,
            "\"%s\" is not a serial number, expected one like \"00-1b-21-ff-ff-a1-b2-c3\", in lower case",
            shown);
}

static const Key entry_keys[] = {
        {.name = "slot", .types = TYPE(STRING), .expected = "the name of a device", .take = take_slot},
        {.name = "path",
                .types = TYPE(STRING),
                .expected = "a path like \"0000:00:1c.0/00.0\"",
                .take = take_path},
        {.name = "id",
                .types = TYPE(STRING),
                .expected = "a string like \"1234:11e8\"",
                .required = true,
                .take = take_tag_id},
        {.name = "serial",
                .types = TYPE(STRING),
                .expected = "a serial number like \"00-1b-21-ff-ff-a1-b2-c3\"",
                .take = take_serial},
};

static void take_entry(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    Tag *tag = p->tag;

    p->entry = (TagEntry){};
    schema_take_keys(&p->problems, value, "a tag", entry_keys, ELEMENTSOF(entry_keys), p);
    if (!schema_find_member(value, "slot") && !schema_find_member(value, "path"))
        report_value(p, value, "a tag requires \"slot\" or \"path\": where the card is plugged in");
    if (parser_grow(p, (void **) &tag->entries, tag->n_entries, sizeof(*tag->entries)))
        tag->entries[tag->n_entries++] = TAKE_GENERIC(p->entry, (TagEntry){});
    else
        tag_entry_done(&p->entry);
}

static int compare_tags(const void *a, const void *b) {
    return strcmp(((const Tag *) a)->name, ((const Tag *) b)->name);
}

static bool is_tag_name(const char *s) {
    size_t n = strlen(s);

    return n > 0 && n <= TAG_NAME_MAX && strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789._-") == n;
}

/* Adds p->tag to the tags of the set, unless the name is taken. */
static void add_tag(PolicyParser *p, const JsonNode *member) {
    Tag **found;

    if (!parser_grow(p, (void **) &p->tags, p->n_tags, sizeof(Tag *)))
        return;
    found = tsearch(p->tag, &p->tag_tree, compare_tags);
    if (!found)
        p->problems.out_of_memory = true;
    else if (*found == p->tag)
        p->tags[p->n_tags++] = TAKE_PTR(p->tag);
    else
        report_key(p, member, "tag \"%s\" already exists at %s:%u:%u", p->tag->name, (*found)->file,
                (*found)->line, (*found)->column);
}

static void take_tag(PolicyParser *p, const JsonNode *member) {
    static const Key key = {.name = "a tag",
            .types = TYPE(OBJECT),
            .expected = "an object like {\"slot\": \"06:0d.0\", \"id\": \"1234:11e8\"}",
            .list = true,
            .take = take_entry};

    if (!is_tag_name(member->key)) {
        report_key(p, member,
                "the name of a tag must have 1 to %u of the characters a-z, 0-9, \".\", \"_\", \"-\"",
                TAG_NAME_MAX);
        return;
    }
    p->tag = calloc(1, sizeof(*p->tag));
    if (!p->tag) {
        p->problems.out_of_memory = true;
        return;
    }
    p->tag->name = strdup(member->key);
    p->tag->file = strdup(p->problems.file);
    p->tag->line = member->key_line;
    p->tag->column = member->key_column;
    if (!p->tag->name || !p->tag->file)
        p->problems.out_of_memory = true;
    else {
        schema_take_value(&p->problems, &key, member, p);
        add_tag(p, member);
    }
    p->tag = tag_free(p->tag);
}

void take_tags(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;

    for (const JsonNode *m = value->children; m; m = m->next)
        take_tag(p, m);
}

/* --- the set as a whole --- */

static void report_unknown_tag(PolicyParser *p, const Rule *rule, const TagUse *use) {
    _cleanup_free_ const char **names = calloc(p->n_tags + 1, sizeof(*names));
    _cleanup_free_ char *shown = show(p, use->name);
    const char *meant;

    if (!names) {
        p->problems.out_of_memory = true;
        return;
    }
    /* Errors that are only counted need no suggestion, which would be searched among all tags. */
    for (size_t i = 0; p->problems.n < PROBLEMS_MAX && i < p->n_tags; i++)
        names[i] = p->tags[i]->name;
    meant = nearest(use->name, names);
    p->problems.file = rule->file;
    if (meant)
        problems_report(&p->problems, use->line, use->column, "unknown tag \"%s\", did you mean \"%s\"?",
                shown, meant);
    else
        problems_report(
                &p->problems, use->line, use->column, "unknown tag \"%s\", no file defines it", shown);
    p->problems.file = NULL;
}

static void resolve_tag(PolicyParser *p, const Rule *rule, TagUse *use) {
    Tag **found = tfind(&(const Tag){.name = use->name}, &p->tag_tree, compare_tags);

    if (!found) {
        report_unknown_tag(p, rule, use);
        return;
    }
    (*found)->used = true;
    use->tag = *found;
}

void parser_resolve_tags(PolicyParser *p) {
    for (size_t i = 0; i < p->n_rules; i++)
        for (size_t k = 0; k < p->rules[i].n_tags; k++)
            resolve_tag(p, p->rules + i, p->rules[i].tags + k);
}

void parser_warn_of_unused_tags(PolicyParser *p) {
    for (size_t i = 0; i < p->n_tags; i++) {
        const Tag *tag = p->tags[i];

        if (tag->used)
            continue;
        p->warnings.file = tag->file;
        problems_report(
                &p->warnings, tag->line, tag->column, "tag \"%s\" is not used by any rule", tag->name);
    }
    p->warnings.file = NULL;
}

static void keep_tag(_unused_ void *tag) {
}

/* The tree borrows its tags. */
void parser_forget_tags(PolicyParser *p) {
    tdestroy(p->tag_tree, keep_tag);
    p->tag_tree = NULL;
    for (size_t i = 0; i < p->n_tags; i++)
        (void) tag_free(p->tags[i]);
    free(p->tags);
    p->tags = NULL;
    p->n_tags = 0;
}
