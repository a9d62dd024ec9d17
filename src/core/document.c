/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/document.h"

#include <inttypes.h>

#include "core/device-name.h"
#include "core/device-spelling.h"

static int fail_name(FieldReader *r, const JsonNode *value) {
    _cleanup_free_ char *meant = device_spelling_explain(value->string, /* in_pattern= */ false);

    return fields_fail(r, value, "not the name of a device%s: write it like pci:0000:06:0d.0", meant ?: "");
}

int document_read_name(FieldReader *r, const JsonNode *value, void *place) {
    if (device_name_parse(value->string, place) < 0)
        return fail_name(r, value);
    return 0;
}

void document_write_name(StrBuf *b, const void *place) {
    char name[DEVICE_NAME_MAX];

    strbuf_add_json(b, device_name_format(place, name));
}

int document_read_address(FieldReader *r, const JsonNode *value, void *place) {
    const char *digits = startswith(value->string, "0x");

    if (!digits || parse_unsigned(digits, 16, UINT64_MAX, place) < 0)
        return fields_fail(r, value, "expected an address like \"0xfee00000\"");
    return 0;
}

void document_write_address(StrBuf *b, const void *place) {
    strbuf_addf(b, "\"0x%" PRIx64 "\"", *(const uint64_t *) place);
}
