/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Tables for people: columns as wide as their widest cell. Where the terminal is too narrow, long text is cut
 * first, then whole columns are dropped. What a table is about goes below its row instead. Names, places,
 * dates and addresses are never cut: half of one is of no use, and lines wrap in the end. Pure: text in, text
 * out. Scripts use --json. */

#include "base/macro.h"

typedef enum Colour {
    COLOUR_NONE,
    COLOUR_BOLD,
    COLOUR_GREY,
    COLOUR_GREEN,
    COLOUR_YELLOW,
    COLOUR_RED,
    _COLOUR_MAX,
    _COLOUR_INVALID = -EINVAL,
} Colour;
/* The escape sequence that turns it on; COLOUR_OFF ends all. */
const char *colour_on(Colour c);
#define COLOUR_OFF "\x1b[0m"

typedef struct TableColumn {
    const char *header;
    unsigned cut;  /* its cells may be cut to so many characters, before any column is dropped; 0: never */
    unsigned drop; /* the column with the highest number is dropped first; 0: never */
    bool below;    /* not dropped, but shown below its row, before anything is cut */
    bool wide;     /* shown only where the style asks for all columns */
    bool blank;    /* an empty cell shows nothing, instead of "-" */
} TableColumn;

typedef struct Table Table;

/* NULL on ENOMEM. columns is borrowed and must outlive the table. */
Table *table_new(const TableColumn *columns, size_t n_columns);
Table *table_free(Table *t);
DEFINE_TRIVIAL_CLEANUP_FUNC(Table *, table_free);

/* Starts a row; its cells are empty. Failures stick and are told by table_format(). */
void table_add_row(Table *t);
/* Sets a cell of the last row. text is hostile: it is sanitized. "" and NULL show as "-". */
void table_set(Table *t, size_t column, const char *text, Colour colour);

/* The column with this header in any case, and '-' for a space; -ENOENT. */
int table_find_column(const TableColumn *columns, size_t n_columns, const char *name);
/* Orders the rows by a column, numbers by their value and empty cells last. 0, -ENOENT, -ENOMEM. */
int table_sort(Table *t, const char *column);
int compare_cells(const char *a, const char *b); /* likewise; NULL and "" are empty */

typedef struct TableStyle {
    size_t width;  /* of the terminal; 0: unlimited */
    size_t height; /* lines, the last of which counts the rows that are left out; 0: unlimited */
    bool legend;   /* the line of headers */
    bool colours;
    bool wide;  /* all columns */
    bool name;  /* nothing but the first column */
    bool ascii; /* the terminal does not take UTF-8: cells that are cut end with "..." */
} TableStyle;

/* The whole table as text, each line ended, no blanks at the ends of lines. Cells that are cut end with "…",
 * the widest columns give first, none below its header. Of columns that may be dropped, empty ones go first.
 * Owned by the caller; NULL on ENOMEM. */
char *table_format(const Table *t, const TableStyle *style);

/* Columns that text takes on a terminal, taking every character for one wide. */
size_t text_width(const char *s);
