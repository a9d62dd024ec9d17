/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The tree of a topology for a terminal. The frame of a group is a bracket to its left. */

#include "client/topology.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/str.h"
#include "client/hardware-names.h"
#include "client/show.h"

enum {
    COLUMN_GROUP,
    COLUMN_NAME,
    COLUMN_KIND,
    COLUMN_DRIVER,
    COLUMN_MODEL,
    COLUMN_NOTES,
    N_COLUMNS,
};
static const TableColumn columns[N_COLUMNS] = {
        [COLUMN_GROUP] = {"GROUP", .blank = true},
        [COLUMN_NAME] = {"NAME", .blank = true},
        [COLUMN_KIND] = {"TYPE", .blank = true},
        [COLUMN_DRIVER] = {"DRIVER", .drop = 2, .blank = true},
        [COLUMN_MODEL] = {"MODEL", .cut = 12, .drop = 1, .blank = true},
        [COLUMN_NOTES] = {"NOTES", .cut = 20, .blank = true},
};

static const struct Glyphs {
    const char *branch, *last, *through, *above;
    const char *first_member, *member, *last_member, *lone_member;
} glyphs[] = {
        {"|-", "`-", "| ", "  ", "/", "|", "\\", "-"},
        {"├─", "└─", "│ ", "  ", "┌", "│", "└", "╶"},
};

typedef struct Tree {
    const Topology *t;
    Table *table;
    const struct Glyphs *glyphs;
    int id_width; /* of the longest group number */
} Tree;

static bool is_of_group(const Topology *t, size_t i, size_t group) {
    return i < t->n_nodes && t->nodes[i].group == group;
}

/* A bracket around consecutive members, with the number at its top. A group may have several. */
static char *bracket(const Tree *tree, size_t i) {
    const Topology *t = tree->t;
    size_t group = t->nodes[i].group;
    bool first, last;
    const char *glyph;

    if (group == TOPOLOGY_NONE)
        return strdup("");
    first = i == 0 || !is_of_group(t, i - 1, group);
    last = !is_of_group(t, i + 1, group);
    if (t->groups[group].n < 2)
        return format_string("%*" PRIi64, tree->id_width, t->groups[group].id);
    glyph = first && last ? tree->glyphs->lone_member
            : first       ? tree->glyphs->first_member
            : last        ? tree->glyphs->last_member
                          : tree->glyphs->member;
    if (first)
        return format_string("%*" PRIi64 " %s", tree->id_width, t->groups[group].id, glyph);
    return format_string("%*s %s", tree->id_width, "", glyph);
}

/* Made from right to left. */
static char *branch(const Tree *tree, size_t i) {
    const TopologyNode *n = &tree->t->nodes[i];
    const char *pieces[TOPOLOGY_DEPTH_MAX + 2];
    _cleanup_strbuf_ StrBuf b = {};
    size_t n_pieces = 0;

    pieces[n_pieces++] = n->last ? tree->glyphs->last : tree->glyphs->branch;
    for (size_t p = n->parent; p != TOPOLOGY_NONE; p = tree->t->nodes[p].parent)
        pieces[n_pieces++] = tree->t->nodes[p].last ? tree->glyphs->above : tree->glyphs->through;
    while (n_pieces > 0)
        strbuf_add(&b, pieces[--n_pieces]);
    strbuf_add(&b, n->name);
    return strbuf_steal(&b);
}

static int add_notes(Tree *tree, const TopologyNode *n) {
    _cleanup_strbuf_ StrBuf b = {};
    Colour colour = COLOUR_NONE;

    for (TopologyNote note = 0; note < _TOPOLOGY_NOTE_MAX; note++) {
        _cleanup_free_ char *text = NULL;
        int r = topology_note(tree->t, n, note, &text);

        if (r < 0)
            return r;
        if (r == 0)
            continue;
        if (b.length == 0)
            colour = topology_note_colour(n, note);
        strbuf_addf(&b, "%s%s", b.length > 0 ? ", " : "", text);
    }
    if (b.error < 0)
        return b.error;
    table_set(tree->table, COLUMN_NOTES, b.text, colour);
    return 0;
}

static int add_node(Tree *tree, size_t i) {
    const TopologyNode *n = &tree->t->nodes[i];
    _cleanup_free_ char *model = NULL, *group = bracket(tree, i), *name = branch(tree, i),
                        *kind = topology_kind(n);
    const char *vendor_name = json_text(n->device, "vendorName");
    const char *model_name = json_text(n->device, "modelName");

    if (!group || !name || !kind)
        return -ENOMEM;
    model = hardware_short_name(*vendor_name ? vendor_name : NULL, *model_name ? model_name : NULL);
    table_add_row(tree->table);
    table_set(tree->table, COLUMN_GROUP, group,
            n->group != TOPOLOGY_NONE && tree->t->groups[n->group].n > 1 ? COLOUR_YELLOW : COLOUR_NONE);
    table_set(tree->table, COLUMN_NAME, name, n->does_not_isolate ? COLOUR_RED : COLOUR_NONE);
    table_set(tree->table, COLUMN_KIND, kind, COLOUR_NONE);
    table_set(tree->table, COLUMN_DRIVER, json_text(n->device, "driver"), COLOUR_NONE);
    table_set(tree->table, COLUMN_MODEL, model, COLOUR_NONE);
    return add_notes(tree, n);
}

static int add_root(Tree *tree, const TopologyRoot *root) {
    _cleanup_free_ char *place = topology_place(root->numa, root->iommu);
    int r = place ? 0 : -ENOMEM;

    table_add_row(tree->table);
    table_set(tree->table, COLUMN_NAME, root->label, COLOUR_BOLD);
    table_set(tree->table, COLUMN_NOTES, place, COLOUR_BOLD);
    for (size_t i = root->first; i < root->first + root->n && r >= 0; i++)
        r = add_node(tree, i);
    return r;
}

/* The reasons why devices share a group, one per line. */
static void add_reasons(const Topology *t, const TableStyle *style, StrBuf *out) {
    bool any = false;

    for (size_t i = 0; i < t->n_groups; i++) {
        _cleanup_free_ char *why = t->groups[i].why ? sanitize(t->groups[i].why, 512) : NULL;
        bool shown = false;

        for (size_t k = 0; why && k < t->n_nodes && !shown; k++)
            shown = t->nodes[k].group == i;
        if (!shown)
            continue;
        strbuf_addf(out, "%s%sGroup %" PRIi64 "%s has %zu devices: %s.\n", any ? "" : "\n",
                style->colours ? colour_on(COLOUR_YELLOW) : "", t->groups[i].id,
                style->colours ? COLOUR_OFF : "", t->groups[i].n, why);
        any = true;
    }
}

char *topology_format_tree(const Topology *t, const TableStyle *style, bool utf8) {
    _cleanup_(table_freep) Table *table = table_new(columns, N_COLUMNS);
    Tree tree = {.t = t, .table = table, .glyphs = &glyphs[utf8]};
    _cleanup_free_ char *text = NULL;
    _cleanup_strbuf_ StrBuf out = {};

    if (!table)
        return NULL;
    for (size_t i = 0; i < t->n_groups; i++)
        tree.id_width = MAX(tree.id_width, snprintf(NULL, 0, "%" PRIi64, t->groups[i].id));
    for (size_t i = 0; i < t->n_roots; i++)
        if (add_root(&tree, &t->roots[i]) < 0)
            return NULL;
    text = table_format(table, style);
    if (!text)
        return NULL;
    strbuf_add(&out, text);
    if (t->n_nodes > 0 && t->n_groups == 0)
        strbuf_add(&out, "\nThere are no IOMMU groups: no device is isolated from the host.\n");
    add_reasons(t, style, &out);
    return strbuf_steal(&out);
}
