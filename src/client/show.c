/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/show.h"

#include <ctype.h>
#include <inttypes.h>
#include <langinfo.h>
#include <pwd.h>

#include "base/local-time.h"
#include "base/str.h"
#include "base/timestamp.h"
#include "client/pager.h"

#define FIELD_LABEL_WIDTH 14
#define FIELD_TEXT_MAX 4096U
#define WIDTH_DEFAULT 80U

static bool colours_wanted(const Options *o) {
    const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");

    if (o->colour != COLOUR_MODE_AUTO)
        return o->colour == COLOUR_MODE_ALWAYS;
    return screen_is_terminal() && !(no_color && *no_color) && term && !streq(term, "dumb");
}

static size_t screen_width(const Options *o) {
    const char *columns = getenv("COLUMNS");
    struct winsize size;
    uint64_t n;

    if (o->full || !screen_is_terminal())
        return 0;
    if (columns && parse_unsigned(columns, 10, 10000, &n) >= 0 && n > 0)
        return (size_t) n;
    if (screen_get_size(&size) >= 0 && size.ws_col > 0)
        return size.ws_col;
    return WIDTH_DEFAULT;
}

/* A list that is shown repeatedly must fit on the screen, with its heading and the line of the cursor. */
static size_t screen_height(const Options *o) {
    struct winsize size;

    if (!o->watch || !screen_is_terminal() || screen_get_size(&size) < 0 || size.ws_row < 4)
        return 0;
    return size.ws_row - 2U;
}

TableStyle screen_style(const Options *o) {
    return (TableStyle){
            .width = screen_width(o),
            .height = screen_height(o),
            .legend = o->legend,
            .colours = colours_wanted(o),
            .wide = o->output == OUTPUT_WIDE,
            .name = o->output == OUTPUT_NAME,
            .ascii = !screen_is_utf8(),
    };
}

bool screen_is_utf8(void) {
    return streq(nl_langinfo(CODESET), "UTF-8");
}

/* In JSON text these bytes occur only within strings, so they can be escaped without parsing. */
static void write_escaped(FILE *f, const char *s) {
    for (; *s; s++) {
        unsigned char c = (unsigned char) s[0], next = (unsigned char) s[1];

        if (c == 0x7f)
            fputs("\\u007f", f);
        else if (c == 0xc2 && next >= 0x80 && next < 0xa0) {
            fprintf(f, "\\u%04x", next);
            s++;
        } else
            putc(c, f);
    }
}

/* Times of the daemon are in microseconds, and these members keep that for programs. */
static const struct {
    const char *usec, *text;
} time_members[] = {
        {"deadline", "deadlineTime"},
        {"evictAt", "evictAtTime"},
        {"policyLoaded", "policyLoadedTime"},
        {"reservedUntil", "reservedUntilTime"},
        {"since", "sinceTime"},
        {"sleepAt", "sleepAtTime"},
        {"stopAt", "stopAtTime"},
        {"timestamp", "time"},
        {"until", "untilTime"},
};

bool is_time_member(const char *key) {
    for (size_t i = 0; i < ELEMENTSOF(time_members); i++)
        if (streq(time_members[i].usec, key))
            return true;
    return false;
}

/* Adds the same time as RFC 3339 for each of them; null where there is none. */
static int add_times(struct json_object *o) {
    for (size_t i = 0; i < ELEMENTSOF(time_members); i++) {
        struct json_object *usec = json_member(o, time_members[i].usec), *time = NULL;
        char text[TIMESTAMP_EXACT_MAX];

        if (!json_object_is_type(usec, json_type_int) || json_member(o, time_members[i].text))
            continue;
        if (json_object_get_uint64(usec) > 0) {
            time = json_object_new_string(timestamp_format_exact(json_object_get_uint64(usec), text));
            if (!time)
                return -ENOMEM;
        }
        if (json_object_object_add(o, time_members[i].text, time) < 0) {
            json_object_put(time);
            return -ENOMEM;
        }
    }
    return 0;
}

static int add_times_everywhere(struct json_object *o) {
    int r = 0;

    if (json_object_is_type(o, json_type_array))
        for (size_t i = 0; i < json_object_array_length(o) && r >= 0; i++)
            r = add_times_everywhere(json_object_array_get_idx(o, i));
    if (!json_object_is_type(o, json_type_object))
        return r;
    json_object_object_foreach(o, key, value) {
        (void) key;
        r = add_times_everywhere(value);
        if (r < 0)
            return r;
    }
    return add_times(o);
}

int show_document(FILE *f, struct json_object *o, bool pretty) {
    int flags =
            JSON_C_TO_STRING_NOSLASHESCAPE | (pretty ? JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED : 0);
    const char *text = json_object_to_json_string_ext(o, flags);

    if (!text)
        return -ENOMEM;
    write_escaped(f, text);
    putc('\n', f);
    return fflush(f) == 0 ? 0 : -errno;
}

int show_json(FILE *f, struct json_object *o, bool pretty) {
    int r = add_times_everywhere(o);

    return r < 0 ? r : show_document(f, o, pretty);
}

#define COLUMNS_MAX 32U

/* The form of a column in an option: "host-use". */
static char *column_name(const char *header) {
    char *name = strdup(header);

    for (char *s = name; s && *s; s++)
        *s = *s == ' ' ? '-' : (char) tolower((unsigned char) *s);
    return name;
}

int check_column(
        const TableColumn *columns, size_t n, const char *name, const char *option, VfiodErrorText *error) {
    char *names[COLUMNS_MAX + 1] = {};
    _cleanup_strbuf_ StrBuf all = {};
    const char *near;
    int r;

    assert(n <= COLUMNS_MAX);
    if (table_find_column(columns, n, name) >= 0)
        return 0;
    for (size_t i = 0; i < n; i++) {
        names[i] = column_name(columns[i].header);
        if (!names[i])
            break;
        strbuf_addf(&all, "%s%s", i > 0 ? ", " : "", names[i]);
    }
    near = nearest(name, (const char *const *) names);
    r = error_text_set(error, EINVAL, ERROR_NAME_USAGE,
            "%s%s: there is no such column%s%s%s The columns are %s.", option, name,
            near ? "; did you mean '" : "", near ? near : "", near ? "'?" : ".", all.text ? all.text : "");
    for (size_t i = 0; i < n; i++)
        free(names[i]);
    return r;
}

int check_sort(const Options *o, const TableColumn *columns, size_t n, VfiodErrorText *error) {
    return o->sort ? check_column(columns, n, o->sort, "--sort=", error) : 0;
}

int show_sorted_table(Table *t, const Options *o, VfiodErrorText *error) {
    int r = o->sort ? table_sort(t, o->sort) : 0;

    if (r >= 0)
        r = show_table(t, o);
    return r < 0 ? error_text_errno(error, r, "Cannot show the table") : 0;
}

int show_table(const Table *t, const Options *o) {
    TableStyle style = screen_style(o);
    _cleanup_free_ char *text = t ? table_format(t, &style) : NULL;

    if (!text)
        return -ENOMEM;
    return fputs(text, stdout) >= 0 ? 0 : -errno;
}

void show_field(const Options *o, const char *label, Colour colour, const char *text) {
    _cleanup_free_ char *safe = NULL;
    bool coloured = colour != COLOUR_NONE && colours_wanted(o);

    if (!text || !*text)
        return;
    safe = sanitize(text, FIELD_TEXT_MAX);
    printf("%*s: %s%s%s\n", FIELD_LABEL_WIDTH, label, coloured ? colour_on(colour) : "",
            safe ? safe : "(out of memory)", coloured ? COLOUR_OFF : "");
}

void show_fieldf(const Options *o, const char *label, const char *format, ...) {
    _cleanup_free_ char *text = NULL;
    va_list ap;

    va_start(ap, format);
    if (vasprintf(&text, format, ap) < 0)
        text = NULL;
    va_end(ap);
    show_field(o, label, COLOUR_NONE, text ? text : "(out of memory)");
}

void show_heading(const Options *o, const char *text) {
    _cleanup_free_ char *safe = sanitize(text, FIELD_TEXT_MAX);
    bool coloured = colours_wanted(o);

    printf("%s%s%s\n", coloured ? colour_on(COLOUR_BOLD) : "", safe ? safe : "(out of memory)",
            coloured ? COLOUR_OFF : "");
}

const char *json_text(struct json_object *o, const char *key) {
    struct json_object *v;

    if (!json_object_object_get_ex(o, key, &v) || !json_object_is_type(v, json_type_string))
        return "";
    return json_object_get_string(v);
}

int64_t json_number(struct json_object *o, const char *key) {
    struct json_object *v;

    if (!json_object_object_get_ex(o, key, &v) || !json_object_is_type(v, json_type_int))
        return 0;
    return json_object_get_int64(v);
}

bool json_flag(struct json_object *o, const char *key) {
    struct json_object *v;

    return json_object_object_get_ex(o, key, &v) && json_object_is_type(v, json_type_boolean) &&
            json_object_get_boolean(v);
}

struct json_object *json_member(struct json_object *o, const char *key) {
    struct json_object *value = NULL;

    (void) json_object_object_get_ex(o, key, &value);
    return value;
}

struct json_object *json_list(struct json_object *o, const char *key) {
    struct json_object *v;

    if (!json_object_object_get_ex(o, key, &v) || !json_object_is_type(v, json_type_array))
        return NULL;
    return v;
}

char *json_list_text(struct json_object *o, const char *key) {
    _cleanup_strbuf_ StrBuf b = {};
    struct json_object *list = json_list(o, key);

    for (size_t i = 0; list && i < json_object_array_length(list); i++) {
        struct json_object *v = json_object_array_get_idx(list, i);

        strbuf_addf(&b, "%s%s", i > 0 ? " " : "", v ? json_object_get_string(v) : "-");
    }
    return strbuf_steal(&b);
}

Colour state_colour(const char *state) {
    if (streq(state, "quarantined"))
        return COLOUR_RED;
    if (streq(state, "claimed") || streq(state, "held"))
        return COLOUR_GREEN;
    return streq(state, "free") || streq(state, "") ? COLOUR_NONE : COLOUR_YELLOW;
}

bool is_pci(struct json_object *device) {
    return startswith(json_text(device, "name"), "pci:");
}

/* From PCI Code and ID Assignment. The longest match comes first. The words are those of the policy, and some
 * for bridges. */
static const struct {
    uint32_t code, mask;
    const char *word;
} classes[] = {
        {0x010802, 0xffffff, "nvme"},
        {0x010000, 0xffff00, "scsi"},
        {0x010100, 0xffff00, "ide"},
        {0x010400, 0xffff00, "raid"},
        {0x010600, 0xffff00, "sata"},
        {0x010700, 0xffff00, "sas"},
        {0x010000, 0xff0000, "storage"},
        {0x020000, 0xffff00, "ethernet"},
        {0x020700, 0xffff00, "infiniband"},
        {0x020000, 0xff0000, "network"},
        {0x028000, 0xffff00, "wireless"},
        {0x030000, 0xffff00, "vga"},
        {0x030200, 0xffff00, "3d"},
        {0x030000, 0xff0000, "display"},
        {0x040000, 0xffff00, "video"},
        {0x040100, 0xffff00, "audio"},
        {0x040300, 0xffff00, "audio"},
        {0x040000, 0xff0000, "multimedia"},
        {0x050000, 0xff0000, "memory"},
        {0x060000, 0xffff00, "host-bridge"},
        {0x060100, 0xffff00, "isa-bridge"},
        {0x060400, 0xffff00, "pci-bridge"},
        {0x060000, 0xff0000, "bridge"},
        {0x070000, 0xff0000, "serial"},
        {0x080000, 0xff0000, "system"},
        {0x090000, 0xff0000, "input"},
        {0x0b0000, 0xff0000, "processor"},
        {0x0c0000, 0xffff00, "firewire"},
        {0x0c0300, 0xffff00, "usb"},
        {0x0c0500, 0xffff00, "smbus"},
        {0x0c0000, 0xff0000, "bus"},
        {0x0d0000, 0xff0000, "wireless"},
        {0x100000, 0xff0000, "crypto"},
        {0x110000, 0xff0000, "signal-processing"},
        {0x120000, 0xff0000, "accelerator"},
};

bool class_is(uint32_t class_code, const char *word) {
    for (size_t i = 0; i < ELEMENTSOF(classes); i++)
        if (streq(classes[i].word, word) && (class_code & classes[i].mask) == classes[i].code)
            return true;
    return false;
}

const char *const *class_words(void) {
    static const char *words[ELEMENTSOF(classes) + 1];

    for (size_t i = 0; i < ELEMENTSOF(classes); i++)
        words[i] = classes[i].word;
    return words;
}

const char *class_word(uint32_t class_code, char *buf, size_t size) {
    for (size_t i = 0; i < ELEMENTSOF(classes); i++)
        if ((class_code & classes[i].mask) == classes[i].code)
            return classes[i].word;
    snprintf(buf, size, "class 0x%02x", (class_code >> 16) & 0xff);
    return buf;
}

char *show_owner(int64_t uid) {
    const struct passwd *user = getpwuid((uid_t) uid);

    return user ? format_string("%s (%" PRIi64 ")", user->pw_name, uid) : format_string("%" PRIi64, uid);
}

char *show_time(int64_t usec) {
    return strdup(LOCAL_TIME((uint64_t) usec));
}

char *show_eviction(struct json_object *claim) {
    const char *state = json_text(claim, "eviction"), *reason = json_text(claim, "evictReason");
    int64_t at = json_number(claim, "evictAt");
    _cleanup_free_ char *by = at > 0 ? show_time(at) : NULL;

    if (!by)
        return NULL;
    return format_string("by %s%s%s (%s)", by, *reason ? ": " : "", reason,
            streq(state, "announced")              ? "not answered yet"
                    : streq(state, "acknowledged") ? "its holder has answered"
                    : streq(state, "overdue")      ? "that time is over"
                                                   : state);
}
