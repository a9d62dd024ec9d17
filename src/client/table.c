/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/table.h"

#include "base/str.h"

#define CELL_MAX 512U /* bytes of one cell */
#define COLUMN_GAP "  "
#define COLUMN_WIDTH_MIN 8U /* columns are not narrowed below this or their header */

typedef struct Cell {
    char *text; /* owned; sanitized; NULL: empty */
    Colour colour;
} Cell;

struct Table {
    const char *const *headers; /* borrowed */
    size_t n_columns, n_rows, n_allocated;
    Cell *cells; /* owned; n_rows * n_columns */
    bool failed; /* out of memory */
};

const char *colour_on(Colour c) {
    static const char *const table[_COLOUR_MAX] = {
            [COLOUR_NONE] = "",
            [COLOUR_BOLD] = "\x1b[1m",
            [COLOUR_GREY] = "\x1b[90m",
            [COLOUR_GREEN] = "\x1b[32m",
            [COLOUR_YELLOW] = "\x1b[33m",
            [COLOUR_RED] = "\x1b[1;31m",
    };

    return table[c];
}

Table *table_new(const char *const *headers, size_t n_columns) {
    Table *t = calloc(1, sizeof(Table));

    assert(n_columns > 0);

    if (!t)
        return NULL;
    *t = (Table){.headers = headers, .n_columns = n_columns};
    return t;
}

Table *table_free(Table *t) {
    if (!t)
        return NULL;
    for (size_t i = 0; i < t->n_rows * t->n_columns; i++)
        free(t->cells[i].text);
    free(t->cells);
    free(t);
    return NULL;
}

void table_add_row(Table *t) {
    if (t->failed)
        return;
    if (t->n_rows == t->n_allocated) {
        size_t want = t->n_allocated ? t->n_allocated * 2 : 16;
        Cell *cells = reallocarray(t->cells, want * t->n_columns, sizeof(Cell));

        if (!cells) {
            t->failed = true;
            return;
        }
        t->cells = cells;
        t->n_allocated = want;
    }
    memset(t->cells + t->n_rows * t->n_columns, 0, t->n_columns * sizeof(Cell));
    t->n_rows++;
}

void table_set(Table *t, size_t column, const char *text, Colour colour) {
    Cell *cell;

    assert(column < t->n_columns);

    if (t->failed)
        return;
    assert(t->n_rows > 0);
    cell = t->cells + (t->n_rows - 1) * t->n_columns + column;
    free(cell->text);
    *cell = (Cell){.colour = colour};
    if (!text || !*text)
        return;
    cell->text = sanitize(text, CELL_MAX);
    if (!cell->text)
        t->failed = true;
}

size_t text_width(const char *s) {
    size_t n = 0;

    for (; *s; s++)
        n += ((unsigned char) *s & 0xc0) != 0x80;
    return n;
}

static const char *cell_text(const Cell *cell) {
    return cell->text ? cell->text : "-";
}

static void natural_widths(const Table *t, const TableStyle *style, size_t *widths) {
    for (size_t c = 0; c < t->n_columns; c++) {
        widths[c] = style->legend ? text_width(t->headers[c]) : 0;
        for (size_t r = 0; r < t->n_rows; r++)
            widths[c] = MAX(widths[c], text_width(cell_text(t->cells + r * t->n_columns + c)));
    }
}

/* Takes one character at a time from the widest column that may still give one. */
static void narrow(const Table *t, size_t width, size_t *widths) {
    size_t total = strlen(COLUMN_GAP) * (t->n_columns - 1);

    for (size_t c = 0; c < t->n_columns; c++)
        total += widths[c];
    for (; total > width; total--) {
        size_t widest = t->n_columns;

        for (size_t c = 0; c < t->n_columns; c++)
            if (widths[c] > MAX(text_width(t->headers[c]), (size_t) COLUMN_WIDTH_MIN) &&
                    (widest == t->n_columns || widths[c] > widths[widest]))
                widest = c;
        if (widest == t->n_columns)
            return; /* nothing left to take: lines will wrap */
        widths[widest]--;
    }
}

/* Appends text cut to width. */
static void add_cut(StrBuf *out, const char *text, size_t width) {
    size_t n = 0;

    if (text_width(text) <= width) {
        strbuf_add(out, text);
        return;
    }
    for (size_t shown = 0; text[n]; n++) {
        if (((unsigned char) text[n] & 0xc0) != 0x80 && ++shown >= width)
            break;
    }
    strbuf_addf(out, "%.*s…", (int) n, text);
}

static void add_line(
        const Table *t, const TableStyle *style, const size_t *widths, const Cell *row, StrBuf *out) {
    size_t blanks = 0; /* owed before the next text, so that no line ends with any */

    for (size_t c = 0; c < t->n_columns; c++) {
        const char *text = row ? cell_text(row + c) : t->headers[c];
        Colour colour = row ? row[c].colour : COLOUR_BOLD;
        bool coloured = style->colours && colour != COLOUR_NONE;

        strbuf_addf(out, "%*s", (int) blanks, "");
        if (coloured)
            strbuf_add(out, colour_on(colour));
        add_cut(out, text, widths[c]);
        if (coloured)
            strbuf_add(out, COLOUR_OFF);
        blanks = widths[c] - MIN(widths[c], text_width(text)) + strlen(COLUMN_GAP);
    }
    strbuf_add(out, "\n");
}

char *table_format(const Table *t, const TableStyle *style) {
    _cleanup_strbuf_ StrBuf out = {};
    _cleanup_free_ size_t *widths = calloc(t->n_columns, sizeof(size_t));

    if (!widths || t->failed)
        return NULL;
    natural_widths(t, style, widths);
    if (style->width > 0)
        narrow(t, style->width, widths);
    if (style->legend)
        add_line(t, style, widths, NULL, &out);
    for (size_t r = 0; r < t->n_rows; r++)
        add_line(t, style, widths, t->cells + r * t->n_columns, &out);
    return strbuf_steal(&out);
}
