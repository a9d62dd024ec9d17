/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Each device is a row, indented below its parent, so that the members of a group are consecutive rows, and a
 * frame around them contains nothing else. Root buses are below each other. Each NUMA node begins a new
 * column, and so does a root bus when the column would become too high. */

#include "client/topology-picture.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/str.h"
#include "client/hardware-names.h"
#include "client/show.h"

#define MARGIN 16
#define TOP 72 /* below title and legend */
#define INDENT 28
#define GAP 6
#define ROOT_GAP 14
#define FRAME_PADDING 7
#define COLUMN_GAP 40
#define COLUMN_HEIGHT 1400 /* higher ones are divided into several columns */
#define TEXT_MAX 72U       /* in characters of a line */
#define WIDTH_MIN 480      /* of a column, for the sentences of frames */

void picture_done(Picture *p) {
    for (size_t i = 0; p->boxes && i < p->topology->n_nodes; i++) {
        free(p->boxes[i].name);
        free(p->boxes[i].group);
        for (size_t k = 0; k < p->boxes[i].n_lines; k++)
            free(p->boxes[i].lines[k].text);
    }
    for (size_t i = 0; i < p->n_frames; i++)
        for (size_t k = 0; k < p->frames[i].n_lines; k++)
            free(p->frames[i].lines[k]);
    for (size_t i = 0; p->roots && i < p->topology->n_roots; i++)
        free(p->roots[i].text);
    for (size_t i = 0; i < p->n_columns; i++)
        free(p->columns[i].text);
    free(p->boxes);
    free(p->frames);
    free(p->roots);
    free(p->columns);
    *p = (Picture){};
}

int picture_text_width(size_t n) {
    return (int) (n * 29 + 3) / 4;
}

/* ---- Text ---- */

/* At most max characters; "…" ends a text that was cut. */
static char *cut_text(const char *text, size_t max) {
    _cleanup_free_ char *safe = sanitize(text, 4096);
    size_t n = 0, shown = 0;

    if (!safe || text_width(safe) <= max)
        return TAKE_PTR(safe);
    while (safe[n] && (((unsigned char) safe[n] & 0xc0) == 0x80 || ++shown < max))
        n++;
    return format_string("%.*s…", (int) n, safe);
}

static int add_line(PictureBox *box, const char *text, Colour colour) {
    PictureLine *line = &box->lines[box->n_lines];

    *line = (PictureLine){.text = cut_text(text, TEXT_MAX), .colour = colour};
    if (!line->text)
        return -ENOMEM;
    box->n_lines++;
    return 0;
}

/* "root port, pcieport", after the name. */
static int add_first_line(PictureBox *box, const TopologyNode *n) {
    _cleanup_free_ char *kind = topology_kind(n), *text = NULL;
    const char *driver = json_text(n->device, "driver");

    text = kind ? format_string("%s%s%s", kind, *kind && *driver ? ", " : "", driver) : NULL;
    return text ? add_line(box, text, COLOUR_NONE) : -ENOMEM;
}

static int add_model(PictureBox *box, const TopologyNode *n) {
    const char *vendor = json_text(n->device, "vendorName"), *model = json_text(n->device, "modelName");
    _cleanup_free_ char *text = NULL;

    if (!*vendor && !*model)
        return 0;
    text = hardware_short_name(*vendor ? vendor : NULL, *model ? model : NULL);
    return text ? add_line(box, text, COLOUR_NONE) : -ENOMEM;
}

static int add_notes(PictureBox *box, const Topology *t, const TopologyNode *n) {
    for (TopologyNote note = 0; note < _TOPOLOGY_NOTE_MAX; note++) {
        _cleanup_free_ char *text = NULL;
        Colour colour = topology_note_colour(n, note);
        int r = topology_note(t, n, note, &text);

        if (r > 0) {
            r = add_line(box, text, colour);
            if (box->colour == COLOUR_NONE)
                box->colour = colour;
        }
        if (r < 0)
            return r;
    }
    return 0;
}

static int fill_box(PictureBox *box, const Topology *t, const TopologyNode *n) {
    const TopologyGroup *group = n->group == TOPOLOGY_NONE ? NULL : &t->groups[n->group];
    int r;

    box->name = sanitize(n->name, 256);
    if (!box->name)
        return -ENOMEM;
    if (group && group->n < 2) {
        box->group = format_string("group %" PRIi64, group->id);
        if (!box->group)
            return -ENOMEM;
    }
    r = add_first_line(box, n);
    if (r >= 0)
        r = add_model(box, n);
    if (r >= 0)
        r = add_notes(box, t, n);
    box->height = (int) box->n_lines * PICTURE_LINE_HEIGHT + PICTURE_PADDING;
    return r;
}

/* The width that it needs. */
static int text_width_of_box(const PictureBox *box) {
    size_t first = text_width(box->name) + 1 + text_width(box->lines[0].text);
    size_t width = box->group ? first + 2 + text_width(box->group) : first;

    for (size_t i = 1; i < box->n_lines; i++)
        width = MAX(width, text_width(box->lines[i].text));
    return picture_text_width(width) + 2 * PICTURE_PADDING;
}

/* ---- Places ---- */

typedef struct Column {
    int x, y, width; /* y: of the next element */
    size_t first, n; /* indices into the order of roots */
    bool continues;  /* it continues the column before it */
} Column;

typedef struct Layout {
    const Topology *t;
    Picture *p;
    size_t *order;   /* owned: roots, grouped by NUMA node */
    Column *columns; /* owned */
    size_t n_columns;
    PictureFrame *open;
} Layout;

static int compare_order(const void *a, const void *b, void *userdata) {
    const TopologyRoot *roots = userdata;
    size_t x = *(const size_t *) a, y = *(const size_t *) b;

    if (roots[x].numa != roots[y].numa)
        return roots[x].numa < roots[y].numa ? -1 : 1;
    return x < y ? -1 : 1;
}

static bool begins_run(const Topology *t, const TopologyRoot *root, size_t i) {
    size_t group = t->nodes[i].group;

    return group != TOPOLOGY_NONE && t->groups[group].n > 1 &&
            (i == root->first || t->nodes[i - 1].group != group);
}

static bool ends_run(const Topology *t, const TopologyRoot *root, size_t i) {
    size_t group = t->nodes[i].group;

    return group != TOPOLOGY_NONE && t->groups[group].n > 1 &&
            (i + 1 == root->first + root->n || t->nodes[i + 1].group != group);
}

/* An estimate of its height: sentences of frames count as two lines. */
static int height_of_root(const Layout *l, const TopologyRoot *root) {
    int height = 24 + ROOT_GAP;

    for (size_t i = root->first; i < root->first + root->n; i++) {
        height += l->p->boxes[i].height + GAP;
        if (begins_run(l->t, root, i))
            height += 2 * FRAME_PADDING + GAP + 3 * PICTURE_LINE_HEIGHT;
    }
    return height;
}

static int width_of_root(const Layout *l, const TopologyRoot *root) {
    int width = picture_text_width(text_width(root->label) + 48);

    for (size_t i = root->first; i < root->first + root->n; i++) {
        int indent = (int) (l->t->nodes[i].depth + 1) * INDENT;

        width = MAX(width, indent + text_width_of_box(&l->p->boxes[i]) + FRAME_PADDING);
    }
    return MAX(width, WIDTH_MIN);
}

/* The height for each column of the NUMA node whose roots begin at i. */
static int target_height(const Layout *l, size_t i) {
    int64_t numa = l->t->roots[l->order[i]].numa;
    int total = 0;

    for (; i < l->t->n_roots && l->t->roots[l->order[i]].numa == numa; i++)
        total += height_of_root(l, &l->t->roots[l->order[i]]);
    return total / (1 + total / COLUMN_HEIGHT);
}

static int divide_into_columns(Layout *l) {
    int height = 0, target = 0;

    l->order = calloc(l->t->n_roots + 1, sizeof(size_t));
    l->columns = calloc(l->t->n_roots + 1, sizeof(Column));
    if (!l->order || !l->columns)
        return -ENOMEM;
    for (size_t i = 0; i < l->t->n_roots; i++)
        l->order[i] = i;
    qsort_r(l->order, l->t->n_roots, sizeof(size_t), compare_order, l->t->roots);
    for (size_t i = 0; i < l->t->n_roots; i++) {
        const TopologyRoot *root = &l->t->roots[l->order[i]];
        bool other_node = i == 0 || l->t->roots[l->order[i - 1]].numa != root->numa;
        int more = height_of_root(l, root);
        Column *c;

        if (other_node)
            target = target_height(l, i);
        if (other_node || height + more / 2 > target) {
            l->columns[l->n_columns++] = (Column){.first = i, .continues = !other_node};
            height = 0;
        }
        c = &l->columns[l->n_columns - 1];
        c->n++;
        c->width = MAX(c->width, width_of_root(l, root));
        height += more;
    }
    return 0;
}

/* Fills a line with words; a word that is longer than a line is cut. Returns where the next line begins. */
static const char *wrap(const char *text, size_t max, char **ret) {
    size_t n = 0, characters = 0, end = 0;

    for (; text[n]; n++) {
        if (text[n] == ' ')
            end = n;
        if (((unsigned char) text[n] & 0xc0) != 0x80 && ++characters > max)
            break;
    }
    if (!text[n] || end == 0)
        end = text[n] ? n : strlen(text);
    *ret = strndup(text, end);
    text += end;
    return text + strspn(text, " ");
}

static int fill_frame(PictureFrame *f, const TopologyGroup *group, int width) {
    size_t max = (size_t) MAX((width - 2 * PICTURE_PADDING) * 4 / 29, 20);
    _cleanup_free_ char *text =
            format_string("group %" PRIi64 ", %zu devices: %s", group->id, group->n, group->why);
    _cleanup_free_ char *safe = text ? sanitize(text, 1024) : NULL;
    const char *rest = safe;

    if (!safe)
        return -ENOMEM;
    while (*rest && f->n_lines < PICTURE_FRAME_LINES_MAX) {
        rest = wrap(rest, max, &f->lines[f->n_lines]);
        if (!f->lines[f->n_lines])
            return -ENOMEM;
        f->n_lines++;
    }
    return 0;
}

static int box_x(const Layout *l, const Column *c, size_t i) {
    return c->x + (int) (l->t->nodes[i].depth + 1) * INDENT;
}

static int open_frame(Layout *l, Column *c, const TopologyRoot *root, size_t i) {
    PictureFrame *f = &l->p->frames[l->p->n_frames++];
    int x = box_x(l, c, i), r;

    for (size_t k = i; !ends_run(l->t, root, k); k++)
        x = MIN(x, box_x(l, c, k + 1));
    *f = (PictureFrame){.group = l->t->nodes[i].group,
            .x = x - FRAME_PADDING,
            .y = c->y,
            .width = c->x + c->width - x + FRAME_PADDING};
    r = fill_frame(f, &l->t->groups[f->group], f->width);
    c->y += FRAME_PADDING + (int) f->n_lines * PICTURE_LINE_HEIGHT + 4;
    l->open = f;
    return r;
}

static void close_frame(Layout *l, Column *c) {
    c->y += FRAME_PADDING - GAP;
    l->open->height = c->y - l->open->y;
    c->y += 2 * GAP;
}

static int place_node(Layout *l, Column *c, const TopologyRoot *root, size_t i) {
    PictureBox *box = &l->p->boxes[i];
    int r = begins_run(l->t, root, i) ? open_frame(l, c, root, i) : 0;

    if (r < 0)
        return r;
    box->x = box_x(l, c, i);
    box->y = c->y;
    box->width = c->x + c->width - FRAME_PADDING - box->x;
    c->y += box->height + GAP;
    if (ends_run(l->t, root, i))
        close_frame(l, c);
    return 0;
}

static int place_root(Layout *l, Column *c, size_t index) {
    const TopologyRoot *root = &l->t->roots[index];
    _cleanup_free_ char *place = topology_place(-1, root->iommu), *text = NULL;
    PictureHeading *heading = &l->p->roots[index];
    int r = 0;

    text = place ? format_string("%s%s%s", root->label, *place ? ", " : "", place) : NULL;
    *heading = (PictureHeading){.x = c->x, .y = c->y + PICTURE_LINE_HEIGHT};
    heading->text = text ? cut_text(text, TEXT_MAX) : NULL;
    if (!heading->text)
        return -ENOMEM;
    c->y += 24;
    for (size_t i = root->first; i < root->first + root->n && r >= 0; i++)
        r = place_node(l, c, root, i);
    c->y += ROOT_GAP;
    return r;
}

static int place_column(Layout *l, Column *c) {
    int64_t numa = l->t->roots[l->order[c->first]].numa;
    PictureHeading *heading;
    int r = 0;

    if (numa >= 0) {
        heading = &l->p->columns[l->p->n_columns];
        *heading = (PictureHeading){.x = c->x, .y = c->y + PICTURE_LINE_HEIGHT};
        heading->text = format_string("NUMA node %" PRIi64 "%s", numa, c->continues ? ", continued" : "");
        if (!heading->text)
            return -ENOMEM;
        l->p->n_columns++;
        c->y += 28;
    }
    for (size_t i = c->first; i < c->first + c->n && r >= 0; i++)
        r = place_root(l, c, l->order[i]);
    return r;
}

static bool is_needed(const Picture *p, Colour colour, bool quarantined) {
    const Topology *t = p->topology;

    for (size_t i = 0; i < t->n_nodes; i++)
        if (p->boxes[i].colour == colour &&
                streq(json_text(t->nodes[i].device, "state"), "quarantined") == quarantined)
            return true;
    return false;
}

static int add_key(Picture *p, int x, const char *class, const char *text) {
    p->keys[p->n_keys++] = (PictureKey){.x = x, .class = class, .text = text};
    return x + 22 + picture_text_width(strlen(text) + 2);
}

/* Returns the right end of the last one. */
static int place_keys(Picture *p) {
    int x = MARGIN;

    if (is_needed(p, COLOUR_RED, false))
        x = add_key(p, x, "box red", "not isolated");
    if (is_needed(p, COLOUR_RED, true))
        x = add_key(p, x, "box red", "quarantined");
    if (is_needed(p, COLOUR_GREEN, false))
        x = add_key(p, x, "box green", "claimed");
    if (is_needed(p, COLOUR_YELLOW, false))
        x = add_key(p, x, "box yellow", "in use");
    if (p->n_frames > 0)
        x = add_key(p, x, "frame", "one IOMMU group");
    return x;
}

static int place(Layout *l) {
    int x = MARGIN, r = 0;

    for (size_t i = 0; i < l->n_columns && r >= 0; i++) {
        Column *c = &l->columns[i];

        c->x = x;
        c->y = TOP;
        r = place_column(l, c);
        x += c->width + COLUMN_GAP;
        l->p->height = MAX(l->p->height, c->y);
    }
    l->p->width = MAX(MAX(x - COLUMN_GAP, MARGIN + WIDTH_MIN), place_keys(l->p)) + MARGIN;
    l->p->height = MAX(l->p->height, TOP + PICTURE_LINE_HEIGHT);
    return r;
}

int picture_lay_out(const Topology *t, Picture *ret) {
    _cleanup_(picture_done) Picture p = {.topology = t};
    Layout l = {.t = t, .p = &p};
    int r = 0;

    p.boxes = calloc(t->n_nodes + 1, sizeof(PictureBox));
    p.frames = calloc(t->n_nodes + 1, sizeof(PictureFrame));
    p.roots = calloc(t->n_roots + 1, sizeof(PictureHeading));
    p.columns = calloc(t->n_roots + 1, sizeof(PictureHeading));
    if (!p.boxes || !p.frames || !p.roots || !p.columns)
        return -ENOMEM;
    for (size_t i = 0; i < t->n_nodes && r >= 0; i++)
        r = fill_box(&p.boxes[i], t, &t->nodes[i]);
    if (r >= 0)
        r = divide_into_columns(&l);
    if (r >= 0)
        r = place(&l);
    free(l.order);
    free(l.columns);
    if (r < 0)
        return r;
    *ret = TAKE_GENERIC(p, (Picture){});
    return 0;
}
