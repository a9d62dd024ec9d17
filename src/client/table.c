/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/table.h"

#include <ctype.h>

#include "base/str.h"

#define CELL_MAX 512U /* in bytes */
#define COLUMN_GAP "  "

typedef struct Cell {
    char *text; /* owned; sanitized; NULL: empty */
    Colour colour;
} Cell;

struct Table {
    const TableColumn *columns; /* borrowed */
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

Table *table_new(const TableColumn *columns, size_t n_columns) {
    Table *t = calloc(1, sizeof(Table));

    assert(n_columns > 0);

    if (!t)
        return NULL;
    *t = (Table){.columns = columns, .n_columns = n_columns};
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

static const Cell *cell_at(const Table *t, size_t row, size_t column) {
    return t->cells + row * t->n_columns + column;
}

static const char *cell_text(const Table *t, size_t column, const Cell *cell) {
    return cell->text ? cell->text : t->columns[column].blank ? "" : "-";
}

int table_find_column(const TableColumn *columns, size_t n_columns, const char *name) {
    for (size_t c = 0; c < n_columns; c++) {
        const char *header = columns[c].header, *s = name;

        while (*header &&
                (tolower((unsigned char) *s) == tolower((unsigned char) *header) ||
                        (*s == '-' && *header == ' '))) {
            header++;
            s++;
        }
        if (!*header && !*s)
            return (int) c;
    }
    return -ENOENT;
}

int compare_cells(const char *a, const char *b) {
    bool has_a = a && *a, has_b = b && *b;

    if (!has_a || !has_b)
        return (int) has_b - (int) has_a;
    return strverscmp(a, b);
}

typedef struct SortKey {
    const char *text;
    size_t row;
} SortKey;

static int compare_keys(const void *a, const void *b) {
    const SortKey *x = a, *y = b;
    int r = compare_cells(x->text, y->text);

    return r != 0 ? r : x->row < y->row ? -1 : 1;
}

int table_sort(Table *t, const char *column) {
    _cleanup_free_ SortKey *keys = calloc(t->n_rows + 1, sizeof(SortKey));
    Cell *sorted = calloc(t->n_rows * t->n_columns + 1, sizeof(Cell));
    int c = table_find_column(t->columns, t->n_columns, column);

    if (!keys || !sorted || c < 0) {
        free(sorted);
        return c < 0 ? c : -ENOMEM;
    }
    for (size_t r = 0; r < t->n_rows; r++)
        keys[r] = (SortKey){.text = cell_at(t, r, (size_t) c)->text, .row = r};
    qsort(keys, t->n_rows, sizeof(SortKey), compare_keys);
    for (size_t r = 0; r < t->n_rows; r++)
        memcpy(sorted + r * t->n_columns, cell_at(t, keys[r].row, 0), t->n_columns * sizeof(Cell));
    free(t->cells);
    t->cells = sorted;
    t->n_allocated = t->n_rows;
    return 0;
}

/* ---- Width ---- */

/* Used instead of a width. */
#define DROPPED SIZE_MAX
#define BELOW (SIZE_MAX - 1) /* on lines of its own */

static bool is_in_line(size_t width) {
    return width < BELOW;
}

static size_t natural_width(const Table *t, const TableStyle *style, size_t column) {
    size_t width = style->legend ? text_width(t->columns[column].header) : 0;

    for (size_t r = 0; r < t->n_rows; r++)
        width = MAX(width, text_width(cell_text(t, column, cell_at(t, r, column))));
    return width;
}

static size_t total_width(const Table *t, const size_t *widths) {
    size_t total = 0;

    for (size_t c = 0; c < t->n_columns; c++)
        if (is_in_line(widths[c]))
            total += (total > 0 ? strlen(COLUMN_GAP) : 0) + widths[c];
    return total;
}

/* While a less important column is in line, that one is dropped instead. A column that is never dropped is
 * cut first: otherwise all others would be dropped for it. */
static bool can_be_cut(const Table *t, size_t column, const size_t *widths) {
    const TableColumn *c = t->columns + column;

    if (!is_in_line(widths[column]) || c->cut == 0 ||
            widths[column] <= MAX(text_width(c->header), (size_t) c->cut))
        return false;
    for (size_t i = 0; i < t->n_columns; i++)
        if (is_in_line(widths[i]) && c->drop > 0 && t->columns[i].drop > c->drop)
            return false;
    return true;
}

/* Takes one character from the widest column that can still be cut. False: none can, so lines are longer. */
static bool cut(const Table *t, size_t width, size_t *widths) {
    for (size_t total = total_width(t, widths); total > width; total--) {
        size_t widest = t->n_columns;

        for (size_t c = 0; c < t->n_columns; c++)
            if (can_be_cut(t, c, widths) && (widest == t->n_columns || widths[c] > widths[widest]))
                widest = c;
        if (widest == t->n_columns)
            return false;
        widths[widest]--;
    }
    return true;
}

static bool column_is_empty(const Table *t, size_t column) {
    for (size_t r = 0; r < t->n_rows; r++)
        if (cell_at(t, r, column)->text)
            return false;
    return true;
}

/* Drops the least important column; below: one that can go below its row. False: all remaining columns must
 * stay. */
static bool drop(const Table *t, bool below, size_t *widths) {
    size_t least = t->n_columns;
    bool least_is_empty = false;

    for (size_t c = 0; c < t->n_columns; c++) {
        bool empty;

        if (!is_in_line(widths[c]) || t->columns[c].drop == 0 || (below && !t->columns[c].below))
            continue;
        empty = column_is_empty(t, c);
        if (least < t->n_columns &&
                (empty != least_is_empty ? !empty : t->columns[c].drop <= t->columns[least].drop))
            continue;
        least = c;
        least_is_empty = empty;
    }
    if (least == t->n_columns)
        return false;
    widths[least] = t->columns[least].below && !least_is_empty ? BELOW : DROPPED;
    return true;
}

static void lay_out(const Table *t, const TableStyle *style, size_t *widths) {
    for (size_t c = 0; c < t->n_columns; c++)
        widths[c] = t->columns[c].wide && !style->wide ? DROPPED : 0;
    do
        for (size_t c = 0; c < t->n_columns; c++)
            if (is_in_line(widths[c]))
                widths[c] = natural_width(t, style, c);
    while (style->width > 0 &&
            ((total_width(t, widths) > style->width && drop(t, /* below= */ true, widths)) ||
                    (!cut(t, style->width, widths) && drop(t, /* below= */ false, widths))));
}

/* Appends text cut to width. */
static void add_cut(StrBuf *out, const char *text, size_t width, const char *mark) {
    size_t n = 0, kept = width - MIN(width, text_width(mark));

    if (text_width(text) <= width) {
        strbuf_add(out, text);
        return;
    }
    for (size_t shown = 0; text[n]; n++) {
        if (((unsigned char) text[n] & 0xc0) != 0x80 && ++shown > kept)
            break;
    }
    strbuf_addf(out, "%.*s%s", (int) n, text, mark);
}

static void add_line(
        const Table *t, const TableStyle *style, const size_t *widths, const Cell *row, StrBuf *out) {
    size_t blanks = 0; /* written before the next text, so that lines do not end with spaces */

    for (size_t c = 0; c < t->n_columns; c++) {
        const char *text = row ? cell_text(t, c, row + c) : t->columns[c].header;
        Colour colour = row ? row[c].colour : COLOUR_BOLD;
        bool coloured = style->colours && colour != COLOUR_NONE;

        if (!is_in_line(widths[c]))
            continue;
        if (!*text) {
            blanks += widths[c] + strlen(COLUMN_GAP);
            continue;
        }
        strbuf_addf(out, "%*s", (int) blanks, "");
        if (coloured)
            strbuf_add(out, colour_on(colour));
        add_cut(out, text, widths[c], style->ascii ? "..." : "…");
        if (coloured)
            strbuf_add(out, COLOUR_OFF);
        blanks = widths[c] - MIN(widths[c], text_width(text)) + strlen(COLUMN_GAP);
    }
    strbuf_add(out, "\n");
}

#define BELOW_INDENT 4U

/* "    terms: grant node, ask", on as many lines as needed. */
static void add_below(
        const Table *t, const TableStyle *style, const size_t *widths, const Cell *row, StrBuf *out) {
    for (size_t c = 0; c < t->n_columns; c++) {
        const char *text = row[c].text, *header = t->columns[c].header;
        size_t column = BELOW_INDENT + text_width(header) + 1;

        if (widths[c] != BELOW || !text)
            continue;
        strbuf_addf(out, "%*s", (int) BELOW_INDENT, "");
        for (; *header; header++)
            strbuf_addf(out, "%c", tolower((unsigned char) *header));
        strbuf_add(out, ":");
        while (*text) {
            _cleanup_free_ char *word = strndup(text, strcspn(text, " "));
            size_t n = word ? text_width(word) : 0;

            if (column + 1 + n > style->width && column > 2 * BELOW_INDENT) {
                strbuf_addf(out, "\n%*s", (int) (2 * BELOW_INDENT - 1), "");
                column = 2 * BELOW_INDENT - 1;
            }
            strbuf_addf(out, " %s", word ?: "?");
            column += 1 + n;
            text += strcspn(text, " ");
            text += strspn(text, " ");
        }
        strbuf_add(out, "\n");
    }
}

static size_t rows_shown(const Table *t, const TableStyle *style) {
    size_t taken = style->legend ? 1 : 0;

    if (style->height == 0 || t->n_rows + taken <= style->height)
        return t->n_rows;
    return style->height > taken + 1 ? style->height - taken - 1 : 0;
}

char *table_format(const Table *t, const TableStyle *style) {
    _cleanup_strbuf_ StrBuf out = {};
    _cleanup_free_ size_t *widths = calloc(t->n_columns, sizeof(size_t));
    size_t shown;

    if (!widths || t->failed)
        return NULL;
    for (size_t r = 0; style->name && r < t->n_rows; r++)
        strbuf_addf(&out, "%s\n", cell_text(t, 0, cell_at(t, r, 0)));
    if (style->name)
        return strbuf_steal(&out);
    lay_out(t, style, widths);
    if (style->legend)
        add_line(t, style, widths, NULL, &out);
    shown = rows_shown(t, style);
    for (size_t r = 0; r < shown; r++) {
        add_line(t, style, widths, cell_at(t, r, 0), &out);
        add_below(t, style, widths, cell_at(t, r, 0), &out);
    }
    if (shown < t->n_rows)
        strbuf_addf(&out, "(%zu more)\n", t->n_rows - shown);
    return strbuf_steal(&out);
}
