/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What vfioctl writes to the terminal. */

#include <json-c/json.h>
#include <stdio.h>

#include "base/json-build.h"
#include "client/table.h"
#include "client/vfioctl.h"

/* Width, legend and colours for standard output: colours only where a terminal shows them, unlimited width
 * where none is. */
TableStyle screen_style(const Options *o);
bool screen_is_utf8(void);

/* Writes a document and a newline. Control characters that JSON lets through (DEL, U+0080..U+009F) are
 * escaped too, for the terminal's sake. pretty: over many lines; else on one. 0 or negative errno. */
int show_document(FILE *f, struct json_object *o, bool pretty);
/* The same of what a verb shows: beside each time in microseconds, it has the time in RFC 3339. */
int show_json(FILE *f, struct json_object *o, bool pretty);
int show_table(const Table *t, const Options *o);
/* Is name one of the columns? The error shows all, and which was meant. option: "--sort=", or "". */
int check_column(
        const TableColumn *columns, size_t n, const char *name, const char *option, VfiodErrorText *error);
/* Of --sort, before anything is asked or shown. */
int check_sort(const Options *o, const TableColumn *columns, size_t n, VfiodErrorText *error);
/* By --sort, if that is given. Fills *error. */
int show_sorted_table(Table *t, const Options *o, VfiodErrorText *error);
/* "      Label: text", text sanitized and coloured; left out when text is NULL or "". */
void show_field(const Options *o, const char *label, Colour colour, const char *text);
void show_fieldf(const Options *o, const char *label, const char *format, ...) _printf_(3, 4);
/* A heading in bold. */
void show_heading(const Options *o, const char *text);

/* Members of objects that may lack them, or have them in another type: "", 0, false, NULL then. */
const char *json_text(struct json_object *o, const char *key);
int64_t json_number(struct json_object *o, const char *key);
bool json_flag(struct json_object *o, const char *key);
struct json_object *json_list(struct json_object *o, const char *key);
/* Borrowed; NULL when it is not there. */
struct json_object *json_member(struct json_object *o, const char *key);
/* Elements as text with blanks between; owned by the caller, NULL on ENOMEM. */
char *json_list_text(struct json_object *o, const char *key);

/* "alice (1000)", and a CLOCK_REALTIME of microseconds as local time; owned by the caller, NULL on ENOMEM. */
char *show_owner(int64_t uid);
char *show_time(int64_t usec);
/* Is it a time in microseconds, by its name as a member of JSON? */
bool is_time_member(const char *key);
/* "by 2026-11-29 20:16:46 UTC: the reason (not answered yet)": when a claim is to be given back; owned by the
 * caller, NULL when it need not be, and on ENOMEM. */
char *show_eviction(struct json_object *claim);

/* Of a device's capabilities: "yes", "20 bits", "4K 2M", "unknown"; owned by the caller, NULL on ENOMEM. */
char *show_capability(struct json_object *caps, const char *key);
bool capabilities_are_known(struct json_object *caps); /* any of them */
void show_capabilities(const Options *o, struct json_object *caps);

Colour state_colour(const char *state);
/* Only PCI devices have a class and ids. */
bool is_pci(struct json_object *device);
/* Is a device of this class code of the class that the word names, as in a policy? "display" and "vga" are
 * true of 0x030000. */
bool class_is(uint32_t class_code, const char *word);
/* All these words, and NULL. */
const char *const *class_words(void);
/* A word for a PCI class code: "ethernet", "nvme"…; "class 0xNN" for the rest, written to buf. */
const char *class_word(uint32_t class_code, char *buf, size_t size);
