/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Tables for people. Columns are as wide as their widest cell. If the terminal is too narrow, whole columns
 * are dropped, the least important ones first; important ones go below their row instead. Long text is cut
 * before its own column is dropped. Names, places, dates and addresses are never cut, so that lines may wrap.
 * Pure: text in, text out. Scripts use --json. */

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
/* The escape sequence that enables the colour; COLOUR_OFF ends all. */
const char *colour_on(Colour c);
#define COLOUR_OFF "\x1b[0m"

typedef struct TableColumn {
    const char *header;
    unsigned cut;  /* cells can be cut to this many characters: at once if the column is never dropped,
                    * otherwise  when all less important columns are dropped; 0: never */
    unsigned drop; /* the column with the highest number is dropped first; 0: never */
    bool below;    /* not dropped, but shown below its row, before anything is cut */
    bool wide;     /* shown only if the style has all columns */
    bool blank;    /* an empty cell is blank instead of "-" */
} TableColumn;

typedef struct Table Table;

/* NULL on ENOMEM. columns is borrowed and must outlive the table. */
Table *table_new(const TableColumn *columns, size_t n_columns);
Table *table_free(Table *t);
DEFINE_TRIVIAL_CLEANUP_FUNC(Table *, table_free);

/* Starts a row with empty cells. A failure is remembered for table_format(). */
void table_add_row(Table *t);
/* Sets a cell of the last row. text is hostile and is sanitized. "" and NULL are shown as "-". */
void table_set(Table *t, size_t column, const char *text, Colour colour);

/* The column with this header, in any case and with '-' for a space; -ENOENT. */
int table_find_column(const TableColumn *columns, size_t n_columns, const char *name);
/* Sorts the rows by a column, numbers by value and empty cells last. 0, -ENOENT or -ENOMEM. */
int table_sort(Table *t, const char *column);
int compare_cells(const char *a, const char *b); /* for table_sort(); NULL and "" are empty */

typedef struct TableStyle {
    size_t width;  /* of the terminal; 0: unlimited */
    size_t height; /* in lines; the last one counts the rows that are left out; 0: unlimited */
    bool legend;   /* the line of headers */
    bool colours;
    bool wide;  /* all columns */
    bool name;  /* nothing but the first column */
    bool ascii; /* the terminal does not support UTF-8: cut cells end with "..." */
} TableStyle;

/* The whole table as text, without spaces at the ends of lines. Cut cells end with "…"; a column is not cut
 * below the width of its header, nor while a less important one is there. Empty columns are dropped first.
 * Owned by the caller; NULL on ENOMEM. */
char *table_format(const Table *t, const TableStyle *style);

/* The width of text on a terminal, if every character is one column wide. */
size_t text_width(const char *s);
