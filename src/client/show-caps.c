/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>

#include "base/str.h"
#include "client/show.h"

static void add_element(StrBuf *b, struct json_object *element) {
    char size[FORMAT_SIZE_MAX];

    if (json_object_is_type(element, json_type_object))
        strbuf_addf(b, "0x%" PRIx64 "-0x%" PRIx64, json_object_get_uint64(json_member(element, "start")),
                json_object_get_uint64(json_member(element, "end")));
    else if (json_object_is_type(element, json_type_int))
        strbuf_add(b, format_size(json_object_get_uint64(element), size));
    else
        strbuf_add(b, json_object_get_string(element));
}

char *show_capability(struct json_object *caps, const char *key) {
    struct json_object *value = json_member(caps, key);
    StrBuf b = {};

    if (!value)
        return strdup("unknown");
    if (json_object_is_type(value, json_type_boolean))
        return strdup(json_object_get_boolean(value) ? "yes" : "no");
    if (json_object_is_type(value, json_type_int) && json_object_get_int64(value) == 0)
        return strdup("no");
    if (json_object_is_type(value, json_type_int))
        return format_string("%" PRIi64 " bits", json_object_get_int64(value));
    if (!json_object_is_type(value, json_type_array))
        return strdup(json_object_get_string(value));
    if (json_object_array_length(value) == 0)
        return strdup("no");
    for (size_t i = 0; i < json_object_array_length(value); i++) {
        if (i > 0)
            strbuf_add(&b, " ");
        add_element(&b, json_object_array_get_idx(value, i));
    }
    if (b.error < 0) {
        strbuf_done(&b);
        return NULL;
    }
    return b.text;
}

bool capabilities_are_known(struct json_object *caps) {
    return json_object_is_type(caps, json_type_object) && json_object_object_length(caps) > 0;
}

void show_capabilities(const Options *o, struct json_object *caps) {
    static const struct {
        const char *label, *key;
    } fields[] = {
            {"Seen with", "driver"},
            {"IOMMU", "iommu"},
            {"Coherency", "coherency"},
            {"Enforced", "enforced-coherency"},
            {"Remapping", "interrupt-remapping"},
            {"PASID", "pasid"},
            {"Dirty tracking", "dirty-tracking"},
            {"DMA logging", "dma-logging"},
            {"Migration", "migration"},
            {"dma-buf", "dma-buf"},
            {"Page sizes", "page-sizes"},
            {"IOVA", "iova-ranges"},
    };

    if (!capabilities_are_known(caps)) {
        show_field(o, "Capabilities", COLOUR_NONE, "unknown: nothing has opened it to look");
        return;
    }
    for (size_t i = 0; i < ELEMENTSOF(fields); i++) {
        _cleanup_free_ char *text = show_capability(caps, fields[i].key);

        show_field(o, fields[i].label, COLOUR_NONE, text);
    }
}
