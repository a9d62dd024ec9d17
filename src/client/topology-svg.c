/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The picture as SVG: one file without scripts or external parts, for light and dark screens. */

#include "client/topology-picture.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/str.h"
#include "client/hardware-names.h"
#include "client/show.h"

/* Boxes do not differ by colour only: their text has the meaning too. */
static const char style[] =
        "<style>\n"
        "text { font-family: ui-monospace, \"DejaVu Sans Mono\", Menlo, Consolas, monospace; font-size: "
        "12px; }\n"
        ".title, .numa, .root, .name, .why, text.red { font-weight: bold; } .title { font-size: 15px; } "
        ".numa { font-size: 14px; }\n"
        ".edge { fill: none; } .frame rect, .box.red rect { stroke-width: 2; }\n"
        ".background { fill: #ffffff; } text { fill: #1b1f24; } .edge { stroke: #8c959f; }\n"
        ".box rect { fill: #f6f8fa; stroke: #8c959f; } text.faint { fill: #59636e; }\n"
        ".frame rect { fill: #f1f0ff; stroke: #6f55c8; } .frame text { fill: #4b34a0; }\n"
        ".box.red rect { fill: #ffe9e7; stroke: #b3131a; } text.red { fill: #b3131a; }\n"
        ".box.green rect { fill: #e2f5e6; stroke: #116b2c; } text.green { fill: #116b2c; }\n"
        ".box.yellow rect { fill: #fff1cf; stroke: #7a5200; } text.yellow { fill: #7a5200; }\n"
        "@media (prefers-color-scheme: dark) {\n"
        ".background { fill: #0f1318; } text { fill: #e8edf2; } .edge { stroke: #66717c; }\n"
        ".box rect { fill: #1c232b; stroke: #66717c; } text.faint { fill: #a4afba; }\n"
        ".frame rect { fill: #1d1a33; stroke: #8f7be0; } .frame text { fill: #b9abf5; }\n"
        ".box.red rect { fill: #43191a; stroke: #ff8d84; } text.red { fill: #ff8d84; }\n"
        ".box.green rect { fill: #12331d; stroke: #6fd389; } text.green { fill: #6fd389; }\n"
        ".box.yellow rect { fill: #3a2c08; stroke: #f0c35c; } text.yellow { fill: #f0c35c; }\n"
        "}\n"
        "</style>\n";

static const char *const colour_classes[_COLOUR_MAX] = {
        [COLOUR_GREY] = " faint",
        [COLOUR_GREEN] = " green",
        [COLOUR_YELLOW] = " yellow",
        [COLOUR_RED] = " red",
};

static const char *class_of(Colour c) {
    return colour_classes[c] ?: "";
}

/* Text of an element or attribute. Control characters, which XML cannot contain, were removed before. */
static void add_xml(StrBuf *b, const char *safe) {
    for (; *safe; safe++)
        switch (*safe) {
        case '&':
            strbuf_add(b, "&amp;");
            break;
        case '<':
            strbuf_add(b, "&lt;");
            break;
        case '>':
            strbuf_add(b, "&gt;");
            break;
        case '"':
            strbuf_add(b, "&quot;");
            break;
        case '\'':
            strbuf_add(b, "&#39;");
            break;
        default:
            strbuf_add_byte(b, *safe);
        }
}

static void add_hostile(StrBuf *b, const char *text) {
    _cleanup_free_ char *safe = sanitize(text, 4096);

    if (safe)
        add_xml(b, safe);
    else
        b->error = -ENOMEM;
}

static bool is_ascii(const char *s) {
    for (; *s; s++)
        if ((unsigned char) *s >= 0x80)
            return false;
    return true;
}

/* Text in scripts with wider letters is compressed to the space for this many letters. */
static void add_text(StrBuf *b, const char *class, Colour colour, int x, int y, const char *text) {
    strbuf_addf(b, "<text class=\"%s%s\" x=\"%d\" y=\"%d\"", class, class_of(colour), x, y);
    if (!is_ascii(text))
        strbuf_addf(b, " textLength=\"%d\" lengthAdjust=\"spacingAndGlyphs\"",
                picture_text_width(text_width(text)));
    strbuf_add(b, ">");
    add_xml(b, text);
    strbuf_add(b, "</text>\n");
}

static void add_rect(StrBuf *b, int x, int y, int width, int height) {
    strbuf_addf(b, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"4\"/>\n", x, y, width, height);
}

/* ---- Edges ---- */

static void add_edge(StrBuf *b, int x, int y, const PictureBox *child) {
    strbuf_addf(b, "<path class=\"edge\" d=\"M%d %dV%dH%d\"/>\n", x, y,
            child->y + PICTURE_PADDING / 2 + PICTURE_LINE_HEIGHT / 2, child->x);
}

static void add_edges(StrBuf *b, const Picture *p) {
    for (size_t i = 0; i < p->topology->n_nodes; i++) {
        const TopologyNode *n = &p->topology->nodes[i];
        const PictureBox *parent = n->parent == TOPOLOGY_NONE ? NULL : &p->boxes[n->parent];
        const PictureHeading *root = &p->roots[n->root];

        if (parent)
            add_edge(b, parent->x + 12, parent->y + parent->height, &p->boxes[i]);
        else
            add_edge(b, root->x + 12, root->y + 5, &p->boxes[i]);
    }
}

/* ---- Boxes and frames ---- */

static void add_detail(StrBuf *b, const char *label, const char *text) {
    if (!*text)
        return;
    strbuf_addf(b, "\n%s: ", label);
    add_hostile(b, text);
}

/* The tooltip: everything, without cuts. */
static void add_title(StrBuf *b, const Topology *t, const TopologyNode *n) {
    struct json_object *d = n->device;
    int64_t numa = topology_numa(n);

    strbuf_add(b, "<title>");
    add_hostile(b, n->name);
    add_detail(b, "Vendor", json_text(d, "vendorName"));
    add_detail(b, "Model", json_text(d, "modelName"));
    if (is_pci(d))
        strbuf_addf(b, "\nIds: %04x:%04x", (unsigned) json_number(d, "vendor") & 0xffff,
                (unsigned) json_number(d, "product") & 0xffff);
    add_detail(b, "Driver", json_text(d, "driver"));
    if (n->group != TOPOLOGY_NONE)
        strbuf_addf(b, "\nGroup: %" PRIi64, t->groups[n->group].id);
    for (TopologyNote note = 0; note < TOPOLOGY_NOTE_PLACE; note++) {
        static const char *const labels[] = {"Isolation", "State", "Host uses it"};
        _cleanup_free_ char *text = NULL;
        int r = topology_note(t, n, note, &text);

        if (r < 0)
            b->error = r;
        if (r > 0)
            add_detail(b, labels[note], text);
    }
    add_detail(b, "Slot", json_text(d, "slotPath"));
    if (numa >= 0)
        strbuf_addf(b, "\nNUMA node: %" PRIi64, numa);
    add_detail(b, "IOMMU", json_text(d, "iommuUnit"));
    strbuf_add(b, "</title>\n");
}

static void add_box(StrBuf *b, const Picture *p, size_t i) {
    const TopologyNode *n = &p->topology->nodes[i];
    const PictureBox *box = &p->boxes[i];
    int x = box->x + PICTURE_PADDING, y = box->y + PICTURE_LINE_HEIGHT;

    strbuf_addf(b, "<g class=\"box%s\" data-name=\"", class_of(box->colour));
    add_xml(b, box->name);
    strbuf_add(b, "\"");
    if (n->group != TOPOLOGY_NONE)
        strbuf_addf(b, " data-group=\"%" PRIi64 "\"", p->topology->groups[n->group].id);
    strbuf_add(b, ">\n");
    add_title(b, p->topology, n);
    add_rect(b, box->x, box->y, box->width, box->height);
    add_text(b, "name", COLOUR_NONE, x, y, box->name);
    add_text(
            b, "line", COLOUR_NONE, x + picture_text_width(text_width(box->name) + 1), y, box->lines[0].text);
    if (box->group)
        add_text(b, "group", COLOUR_GREY,
                box->x + box->width - PICTURE_PADDING - picture_text_width(text_width(box->group)), y,
                box->group);
    for (size_t k = 1; k < box->n_lines; k++)
        add_text(b, "line", box->lines[k].colour, x, y + (int) k * PICTURE_LINE_HEIGHT, box->lines[k].text);
    strbuf_add(b, "</g>\n");
}

static void add_frame(StrBuf *b, const Picture *p, const PictureFrame *f) {
    const TopologyGroup *group = &p->topology->groups[f->group];

    strbuf_addf(b, "<g class=\"frame\" data-group=\"%" PRIi64 "\">\n<title>", group->id);
    add_hostile(b, group->why);
    strbuf_add(b, "</title>\n");
    add_rect(b, f->x, f->y, f->width, f->height);
    for (size_t i = 0; i < f->n_lines; i++)
        add_text(b, "why", COLOUR_NONE, f->x + PICTURE_PADDING, f->y + (int) (i + 1) * PICTURE_LINE_HEIGHT,
                f->lines[i]);
    strbuf_add(b, "</g>\n");
}

/* ---- The whole ---- */

static void add_key(StrBuf *b, const PictureKey *key) {
    strbuf_addf(b, "<g class=\"%s\">", key->class);
    add_rect(b, key->x, PICTURE_KEYS_Y - 10, 16, 12);
    strbuf_add(b, "</g>\n");
    add_text(b, "key", COLOUR_GREY, key->x + 22, PICTURE_KEYS_Y, key->text);
}

char *picture_to_svg(const Picture *p) {
    _cleanup_strbuf_ StrBuf b = {};

    strbuf_addf(&b,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\">\n"
            "<title>Devices and IOMMU groups</title>\n",
            p->width, p->height, p->width, p->height);
    strbuf_add(&b, style);
    strbuf_addf(&b, "<rect class=\"background\" width=\"%d\" height=\"%d\"/>\n", p->width, p->height);
    add_text(&b, "title", COLOUR_NONE, 16, 28, "Devices and IOMMU groups");
    for (size_t i = 0; i < p->n_keys; i++)
        add_key(&b, &p->keys[i]);
    for (size_t i = 0; i < p->n_columns; i++)
        add_text(&b, "numa", COLOUR_NONE, p->columns[i].x, p->columns[i].y, p->columns[i].text);
    for (size_t i = 0; i < p->n_frames; i++)
        add_frame(&b, p, &p->frames[i]);
    add_edges(&b, p);
    for (size_t i = 0; i < p->topology->n_roots; i++)
        add_text(&b, "root", COLOUR_NONE, p->roots[i].x, p->roots[i].y, p->roots[i].text);
    for (size_t i = 0; i < p->topology->n_nodes; i++)
        add_box(&b, p, i);
    strbuf_add(&b, "</svg>\n");
    return strbuf_steal(&b);
}
