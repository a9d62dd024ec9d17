/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The topology for graphviz, dot(1), to draw it differently or as a part of a larger picture. */

#include "client/topology.h"

#include <inttypes.h>

#include "base/str.h"
#include "client/hardware-names.h"
#include "client/show.h"

/* Escapes text for dot's quotes. dot interprets escapes that begin with '\', and HTML entities. */
static void add_dot(StrBuf *b, const char *text) {
    _cleanup_free_ char *safe = sanitize(text, 4096);

    if (!safe)
        b->error = -ENOMEM;
    for (const char *s = safe; s && *s; s++) {
        if (*s == '&')
            strbuf_add(b, "&amp;");
        else {
            if (*s == '"' || *s == '\\')
                strbuf_add_byte(b, '\\');
            strbuf_add_byte(b, *s);
        }
    }
}

/* A line of a label; "\l" ends it, aligned to the left. */
static void add_line(StrBuf *b, const char *text) {
    if (!*text)
        return;
    add_dot(b, text);
    strbuf_add(b, "\\l");
}

static void add_label(StrBuf *b, const Topology *t, const TopologyNode *n) {
    const char *vendor = json_text(n->device, "vendorName"), *model = json_text(n->device, "modelName");
    _cleanup_free_ char *kind = topology_kind(n), *name = NULL;
    const char *driver = json_text(n->device, "driver");

    if (!kind) {
        b->error = -ENOMEM;
        return;
    }
    add_line(b, n->name);
    add_dot(b, kind);
    strbuf_add(b, *kind && *driver ? ", " : "");
    add_dot(b, driver);
    strbuf_add(b, *kind || *driver ? "\\l" : "");
    name = hardware_short_name(*vendor ? vendor : NULL, *model ? model : NULL);
    add_line(b, name ?: "");
    if (n->group != TOPOLOGY_NONE)
        strbuf_addf(b, "group %" PRIi64 "\\l", t->groups[n->group].id);
    for (TopologyNote note = 0; note < _TOPOLOGY_NOTE_MAX; note++) {
        _cleanup_free_ char *text = NULL;
        int r = topology_note(t, n, note, &text);

        if (r < 0)
            b->error = r;
        add_line(b, text ?: "");
    }
}

/* The colour of the most important note. */
static const char *fill_of(const Topology *t, const TopologyNode *n) {
    static const char *const fills[_COLOUR_MAX] = {
            [COLOUR_GREEN] = "#e2f5e6", [COLOUR_YELLOW] = "#fff1cf", [COLOUR_RED] = "#ffe9e7"};

    for (TopologyNote note = 0; note < _TOPOLOGY_NOTE_MAX; note++) {
        _cleanup_free_ char *text = NULL;

        if (topology_note(t, n, note, &text) > 0 && fills[topology_note_colour(n, note)])
            return fills[topology_note_colour(n, note)];
    }
    return "#f6f8fa";
}

static void add_node(StrBuf *b, const Topology *t, size_t i, const char *indent) {
    strbuf_addf(b, "%sn%zu [label=\"", indent, i);
    add_label(b, t, &t->nodes[i]);
    strbuf_addf(b, "\", fillcolor=\"%s\"];\n", fill_of(t, &t->nodes[i]));
}

static void add_root(StrBuf *b, const TopologyRoot *root, size_t i) {
    _cleanup_free_ char *place = topology_place(root->numa, root->iommu);

    strbuf_addf(b, "  r%zu [shape=plaintext, style=\"\", label=\"", i);
    add_line(b, root->label);
    add_line(b, place ?: "");
    strbuf_add(b, "\"];\n");
}

static void add_group(StrBuf *b, const Topology *t, size_t group) {
    bool any = false;

    for (size_t i = 0; i < t->n_nodes; i++) {
        if (t->nodes[i].group != group)
            continue;
        if (!any) {
            strbuf_addf(b, "  subgraph cluster_group_%" PRIi64 " {\n    label=\"group %" PRIi64 "\\l",
                    t->groups[group].id, t->groups[group].id);
            add_line(b, t->groups[group].why);
            strbuf_add(b, "\";\n");
        }
        any = true;
        add_node(b, t, i, "    ");
    }
    strbuf_add(b, any ? "  }\n" : "");
}

char *topology_format_dot(const Topology *t) {
    _cleanup_strbuf_ StrBuf b = {};

    strbuf_add(&b,
            "digraph topology {\n"
            "  rankdir=LR;\n"
            "  node [shape=box, style=filled, fontname=\"monospace\", fontsize=10];\n"
            "  edge [arrowhead=none];\n"
            "  graph [fontname=\"monospace\", fontsize=10, labeljust=l, style=filled, color=\"#6f55c8\", "
            "fillcolor=\"#f1f0ff\"];\n");
    for (size_t i = 0; i < t->n_roots; i++)
        add_root(&b, &t->roots[i], i);
    for (size_t i = 0; i < t->n_groups; i++)
        if (t->groups[i].n > 1)
            add_group(&b, t, i);
    for (size_t i = 0; i < t->n_nodes; i++)
        if (t->nodes[i].group == TOPOLOGY_NONE || t->groups[t->nodes[i].group].n < 2)
            add_node(&b, t, i, "  ");
    for (size_t i = 0; i < t->n_nodes; i++) {
        const TopologyNode *n = &t->nodes[i];

        if (n->parent == TOPOLOGY_NONE)
            strbuf_addf(&b, "  r%zu -> n%zu;\n", n->root, i);
        else
            strbuf_addf(&b, "  n%zu -> n%zu;\n", n->parent, i);
    }
    strbuf_add(&b, "}\n");
    return strbuf_steal(&b);
}
