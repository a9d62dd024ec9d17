/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Tables for people: columns as wide as their widest cell, narrowed to the terminal when they must be. Pure:
 * text in, text out. Scripts use --json. */

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

typedef struct Table Table;

/* NULL on ENOMEM. headers is borrowed and must outlive the table. */
Table *table_new(const char *const *headers, size_t n_columns);
Table *table_free(Table *t);
DEFINE_TRIVIAL_CLEANUP_FUNC(Table *, table_free);

/* Starts a row; its cells are empty. Failures stick and are told by table_format(). */
void table_add_row(Table *t);
/* Sets a cell of the last row. text is hostile: it is sanitized. "" and NULL show as "-". */
void table_set(Table *t, size_t column, const char *text, Colour colour);

typedef struct TableStyle {
    size_t width; /* of the terminal; 0: unlimited */
    bool legend;  /* the line of headers */
    bool colours;
} TableStyle;

/* The whole table as text, each line ended, no blanks at the ends of lines. Cells that do not fit are cut
 * with "…", the widest columns first, none below its header. Owned by the caller; NULL on ENOMEM. */
char *table_format(const Table *t, const TableStyle *style);

/* Columns that text takes on a terminal, taking every character for one wide. */
size_t text_width(const char *s);
