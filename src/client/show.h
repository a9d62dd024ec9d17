/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Output of vfioctl to the terminal. */

#include <json-c/json.h>
#include <stdio.h>

#include "base/json-build.h"
#include "client/table.h"
#include "client/vfioctl.h"

/* Width, legend and colours for standard output: colours only if the terminal supports them, unlimited width
 * without a terminal. */
TableStyle screen_style(const Options *o);
bool screen_is_utf8(void);

/* Writes a document and a newline. Control characters that JSON allows (DEL, U+0080..U+009F) are escaped too.
 * pretty: on many lines; otherwise on one. 0 or negative errno. */
int show_document(FILE *f, struct json_object *o, bool pretty);
/* The same for the result of a verb: RFC 3339 times are added to times in microseconds. */
int show_json(FILE *f, struct json_object *o, bool pretty);
int show_table(const Table *t, const Options *o);
/* Is name one of the columns? The error lists all, with a suggestion. option: "--sort=", or "". */
int check_column(
        const TableColumn *columns, size_t n, const char *name, const char *option, VfiodErrorText *error);
/* Checks --sort before any call. */
int check_sort(const Options *o, const TableColumn *columns, size_t n, VfiodErrorText *error);
/* Shows the table, sorted if --sort is given. Sets *error. */
int show_sorted_table(Table *t, const Options *o, VfiodErrorText *error);
/* "      Label: text", with text sanitized and coloured. Nothing when text is NULL or "". */
void show_field(const Options *o, const char *label, Colour colour, const char *text);
void show_fieldf(const Options *o, const char *label, const char *format, ...) _printf_(3, 4);
/* A heading in bold. */
void show_heading(const Options *o, const char *text);

/* Members of objects. If one is missing or has another type: "", 0, false or NULL. */
const char *json_text(struct json_object *o, const char *key);
int64_t json_number(struct json_object *o, const char *key);
bool json_flag(struct json_object *o, const char *key);
struct json_object *json_list(struct json_object *o, const char *key);
/* Borrowed; NULL when it is missing. */
struct json_object *json_member(struct json_object *o, const char *key);
/* The elements separated by spaces; owned by the caller; NULL on ENOMEM. */
char *json_list_text(struct json_object *o, const char *key);

/* "alice (1000)"; and CLOCK_REALTIME in microseconds as local time. Owned by the caller; NULL on ENOMEM. */
char *show_owner(int64_t uid);
char *show_time(int64_t usec);
/* Is this JSON member a time in microseconds, by its name? */
bool is_time_member(const char *key);
/* "by 2026-11-29 20:16:46 UTC: the reason (not answered yet)": until when the claim must be given back. Owned
 * by the caller; NULL when it is not evicted, or on ENOMEM. */
char *show_eviction(struct json_object *claim);

/* A capability of a device: "yes", "20 bits", "4K 2M", "unknown"; owned by the caller; NULL on ENOMEM. */
char *show_capability(struct json_object *caps, const char *key);
bool capabilities_are_known(struct json_object *caps); /* at least one of them */
void show_capabilities(const Options *o, struct json_object *caps);

Colour state_colour(const char *state);
/* Only PCI devices have a class and ids. */
bool is_pci(struct json_object *device);
/* Does the word name the class of this class code, as in a policy? Both "display" and "vga" are true for
 * 0x030000. */
bool class_is(uint32_t class_code, const char *word);
/* All these words, ended by NULL. */
const char *const *class_words(void);
/* A word for a PCI class code: "ethernet", "nvme"…; "class 0xNN" for the rest, written to buf. */
const char *class_word(uint32_t class_code, char *buf, size_t size);
