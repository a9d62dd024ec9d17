/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rehearsal/policy-text.h"

#include "base/json-build.h"

#define COMMENT_MAX 400U

void policy_text_add_string(StrBuf *b, const char *s) {
    _cleanup_json_ struct json_object *o = json_object_new_string(s);

    if (o)
        strbuf_add(b, json_object_to_json_string_ext(o, JSON_C_TO_STRING_NOSLASHESCAPE));
    else
        b->error = -ENOMEM;
}

void policy_text_add_comment(StrBuf *b, const char *indent, const char *text) {
    _cleanup_free_ char *safe = sanitize(text, COMMENT_MAX);

    if (safe)
        strbuf_addf(b, "%s// %s\n", indent, safe);
    else
        b->error = -ENOMEM;
}

const char *policy_text_short_name(const Device *d, char buf[static DEVICE_NAME_MAX]) {
    (void) device_name_format_kernel(&d->name, buf);
    for (char *s = buf; *s; s++)
        if (*s == ':')
            *s = '-';
    return buf;
}

void policy_text_add_tag(StrBuf *b, const Device *d, const DeviceFacts *facts) {
    char name[DEVICE_NAME_MAX];

    strbuf_add(b, "{ ");
    if (facts->known & DEVICE_FACT_SLOT_PATH && facts->slot_path[0]) {
        strbuf_add(b, "\"path\": ");
        policy_text_add_string(b, facts->slot_path);
    } else
        strbuf_addf(b, "\"slot\": \"%s\"", device_name_format_kernel(&d->name, name));
    strbuf_addf(b, ", \"id\": \"%04x:%04x\"", d->vendor, d->device);
    if (facts->known & DEVICE_FACT_SERIAL && facts->serial[0]) {
        strbuf_add(b, ", \"serial\": ");
        policy_text_add_string(b, facts->serial);
    }
    strbuf_add(b, " }");
}
