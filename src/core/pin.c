/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/pin.h"

#include <stdio.h>

#define ID_SHORT_LENGTH 9U /* "8086:10d3" */

static const char *const pin_state_table[_PIN_STATE_MAX] = {
        [PIN_IN_FORCE] = "in-force",
        [PIN_PENDING] = "pending",
        [PIN_ABSENT] = "absent",
        [PIN_MOVED] = "moved",
        [PIN_SWAPPED] = "swapped",
        [PIN_TOO_LATE] = "too-late",
        [PIN_OVERRIDDEN] = "overridden",
        [PIN_UNKNOWN] = "unknown",
};
DEFINE_STRING_TABLE(pin_state, PinState);

/* ---- Reading ---- */

static bool is_id(const char *s) {
    size_t n = strlen(s);

    if (n != ID_SHORT_LENGTH && n != PIN_ID_MAX - 1)
        return false;
    for (size_t i = 0; i < n; i++)
        if (i % 5 == 4 ? s[i] != ':' : !strchr("0123456789abcdef", s[i]))
            return false;
    return true;
}

bool pin_driver_is_valid(const char *driver) {
    size_t n = strspn(driver, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");

    return n > 0 && n < PIN_DRIVER_MAX && driver[n] == '\0' && driver[0] != '-';
}

typedef struct Parser {
    Problems *problems;
    Pin pin;
} Parser;

static void take_text(
        Parser *p, const JsonNode *value, bool is_valid, char *to, size_t size, const char *expected) {
    _cleanup_free_ char *shown = NULL;

    if (is_valid) {
        put_text(to, size, value->string);
        return;
    }
    shown = problems_show(p->problems, value->string);
    problems_report_value(p->problems, value, "\"%s\" is not %s", shown, expected);
}

static void take_path(void *userdata, const JsonNode *value) {
    Parser *p = userdata;

    take_text(p, value, slot_path_is_valid(value->string), p->pin.path, sizeof(p->pin.path),
            "a device path, expected one like \"0000:00:1c.0/00.0\", in lower case");
}

static void take_id(void *userdata, const JsonNode *value) {
    Parser *p = userdata;

    take_text(p, value, is_id(value->string), p->pin.id, sizeof(p->pin.id),
            "the id of a card, expected VENDOR:DEVICE or VENDOR:DEVICE:VENDOR:DEVICE of the subsystem, each "
            "four hex digits in lower case, like \"8086:10d3\"");
}

static void take_serial(void *userdata, const JsonNode *value) {
    Parser *p = userdata;

    take_text(p, value, pci_serial_is_valid(value->string), p->pin.serial, sizeof(p->pin.serial),
            "a serial number, expected one like \"00-1b-21-ff-ff-a1-b2-c3\", in lower case");
}

static void take_driver(void *userdata, const JsonNode *value) {
    Parser *p = userdata;

    take_text(p, value, pin_driver_is_valid(value->string), p->pin.driver, sizeof(p->pin.driver),
            "the name of a driver, expected one like \"vfio-pci\", or \"none\"");
}

static const Key pin_keys[] = {
        {.name = "path",
                .types = TYPE(STRING),
                .expected = "a path like \"0000:00:1c.0/00.0\"",
                .required = true,
                .take = take_path},
        {.name = "id",
                .types = TYPE(STRING),
                .expected = "a string like \"8086:10d3\"",
                .required = true,
                .take = take_id},
        {.name = "serial",
                .types = TYPE(STRING),
                .expected = "a serial number like \"00-1b-21-ff-ff-a1-b2-c3\"",
                .take = take_serial},
        {.name = "driver",
                .types = TYPE(STRING),
                .expected = "the name of a driver",
                .required = true,
                .take = take_driver},
};

static int parse_document(Parser *p, const JsonDocument *document) {
    const JsonNode *root = json_document_root(document);

    if (root->type != JSON_OBJECT)
        problems_report_value(
                p->problems, root, "expected an object, found %s", schema_describe_type(root->type));
    else
        schema_take_keys(p->problems, root, "a pin", pin_keys, ELEMENTSOF(pin_keys), p);
    return p->problems->out_of_memory ? -ENOMEM : 0;
}

int pin_parse(const char *file, const char *text, size_t size, Pin *ret, Problems *problems) {
    static const JsonBounds bounds = {.size = PIN_FILE_MAX, .nodes = 64};
    _cleanup_(json_document_freep) JsonDocument *document = NULL;
    size_t n_before = problems->n;
    Parser p = {.problems = problems};
    JsonError error;
    int r;

    problems->file = file;
    r = json_document_parse_bounded(text, size, &bounds, &document, &error);
    if (r == -EBADMSG)
        problems_report(problems, error.line, error.column, "%s", error.message);
    else if (r >= 0)
        r = parse_document(&p, document);
    problems->file = NULL;
    if (r < 0)
        return problems->out_of_memory ? -ENOMEM : r;
    if (problems->n > n_before)
        return -EBADMSG;
    *ret = p.pin;
    return 0;
}

/* ---- Writing ---- */

void pin_write(StrBuf *b, const Pin *pin) {
    strbuf_addf(b, "{\n    \"path\": \"%s\",\n    \"id\": \"%s\",\n", pin->path, pin->id);
    if (*pin->serial)
        strbuf_addf(b, "    \"serial\": \"%s\",\n", pin->serial);
    strbuf_addf(b, "    \"driver\": \"%s\"\n}\n", pin->driver);
}

const char *pin_file_name(const char *path, char buf[static PIN_FILE_NAME_MAX]) {
    (void) snprintf(buf, PIN_FILE_NAME_MAX, "%.*s.json", (int) SLOT_PATH_MAX - 1, path);
    for (char *c = buf; *c; c++)
        if (*c == '/')
            *c = '-';
    return buf;
}

const char *pin_format_id(uint16_t vendor, uint16_t device, uint16_t subsystem_vendor,
        uint16_t subsystem_device, char buf[static PIN_ID_MAX]) {
    (void) snprintf(
            buf, PIN_ID_MAX, "%04x:%04x:%04x:%04x", vendor, device, subsystem_vendor, subsystem_device);
    return buf;
}

/* ---- Deciding ---- */

int pin_matches_card(const Pin *pin, const PinDevice *device) {
    const char *rest = startswith(device->id, pin->id);

    if (!rest || (*rest != '\0' && *rest != ':'))
        return 0;
    if (!*pin->serial)
        return 1;
    if (!device->serial_known)
        return -EAGAIN;
    return streq(pin->serial, device->serial);
}

/* For the right card. */
static PinState judge_driver(const Pin *pin, const PinDevice *device) {
    bool nothing = streq(pin->driver, PIN_NO_DRIVER);

    if (*device->driver)
        return !nothing && streq(device->driver, pin->driver) ? PIN_IN_FORCE : PIN_TOO_LATE;
    if (*device->override && !streq(device->override, pin->driver))
        return PIN_OVERRIDDEN;
    return nothing && *device->override ? PIN_IN_FORCE : PIN_PENDING;
}

/* A device that is already as the pin wants needs no serial number: it was checked when it was bound. */
PinState pin_judge(const Pin *pin, const PinDevice *at_place, const PinDevice *elsewhere) {
    int matches = at_place ? pin_matches_card(pin, at_place) : 0;

    if (matches > 0)
        return judge_driver(pin, at_place);
    if (matches < 0)
        return judge_driver(pin, at_place) == PIN_IN_FORCE ? PIN_IN_FORCE : PIN_UNKNOWN;
    if (elsewhere)
        return PIN_MOVED;
    return at_place ? PIN_SWAPPED : PIN_ABSENT;
}

static void explain_swapped(StrBuf *b, const Pin *pin, const PinDevice *at_place) {
    if (!startswith(at_place->id, pin->id))
        strbuf_addf(b, "Another card is in this place: %s in place of %s. It is not bound.", at_place->id,
                pin->id);
    else
        strbuf_addf(b,
                "Another card of the same kind is in this place: its serial number is %s in place of %s. "
                "It is not bound.",
                *at_place->serial ? at_place->serial : "missing", pin->serial);
}

static void explain_pending(StrBuf *b, const Pin *pin, const PinDevice *at_place) {
    if (*at_place->override)
        strbuf_addf(b, "The device waits for the driver %s, which is not loaded or did not take it.",
                pin->driver);
    else
        strbuf_add(b, "The device has no driver yet. The pin takes effect at the next boot.");
}

char *pin_explain(const Pin *pin, PinState state, const PinDevice *at_place, const PinDevice *elsewhere) {
    _cleanup_strbuf_ StrBuf b = {};
    char name[DEVICE_NAME_MAX];

    strbuf_add(&b, "");
    switch (state) {
    case PIN_PENDING:
        explain_pending(&b, pin, at_place);
        break;
    case PIN_ABSENT:
        strbuf_add(&b, "No card is in this place.");
        break;
    case PIN_MOVED:
        strbuf_addf(&b, "The card is %s now, at %s. It is not bound there.",
                device_name_format(&elsewhere->name, name), elsewhere->path);
        break;
    case PIN_SWAPPED:
        explain_swapped(&b, pin, at_place);
        break;
    case PIN_TOO_LATE:
        strbuf_addf(&b,
                "The device is with the driver %s, which is never taken away from a running host. The pin "
                "takes effect at the next boot. If the initramfs loads that driver, rebuild it first "
                "('update-initramfs -u' or 'dracut -f').",
                at_place->driver);
        break;
    case PIN_OVERRIDDEN:
        strbuf_addf(&b,
                "Another program has set driver_override of the device to %s, and that is left alone.",
                at_place->override);
        break;
    case PIN_UNKNOWN:
        strbuf_add(&b,
                "The serial number of the card cannot be read, so it may be another one. Only root can "
                "read it.");
        break;
    default:
        break;
    }
    return strbuf_steal(&b);
}
