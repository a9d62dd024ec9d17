/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/caps-record.h"

#include "base/str.h"
#include "core/device-kind.h"

DEFINE_FIELD_WORDS(device_cap, _DEVICE_CAP_MAX, "a capability");
DEFINE_FIELD_WORDS(iommu_type, _IOMMU_TYPE_MAX, "a type of IOMMU");
DEFINE_FIELD_WORDS(migration_mode, _MIGRATION_MODE_MAX, "a mode of migration");

static const Field range_fields[] = {
        FIELD_CUSTOM("start", IovaRange, start, JSON_STRING, document_read_address, document_write_address,
                .flags = FIELD_REQUIRED),
        FIELD_CUSTOM("end", IovaRange, end, JSON_STRING, document_read_address, document_write_address,
                .flags = FIELD_REQUIRED),
};
static const FieldTable range_table = FIELD_TABLE(range_fields);

#define PASID_BITS_MAX 32

static int check_caps(FieldReader *r, const JsonNode *object, void *target) {
    const DeviceCaps *c = target;

    if (c->present & ~c->known)
        return fields_fail(r, object, "\"present\" has what is not \"known\"");
    for (size_t i = 0; i < c->n_iova; i++)
        if (c->iova[i].start > c->iova[i].end)
            return fields_fail(r, object, "a range in \"iova\" ends before it starts");
    return 0;
}

static const Field caps_fields[] = {
        FIELD_TEXT("driver", DeviceCaps, driver, .flags = FIELD_REQUIRED),
        FIELD_WORDS("known", DeviceCaps, known, &device_cap_words, .flags = FIELD_REQUIRED),
        FIELD_WORDS("present", DeviceCaps, present, &device_cap_words, .flags = FIELD_OMIT),
        FIELD_WORD("iommu", DeviceCaps, iommu, &iommu_type_words, .flags = FIELD_OMIT),
        FIELD_NUMBER("pasidBits", DeviceCaps, pasid_bits, 0, PASID_BITS_MAX),
        FIELD_WORDS("migration", DeviceCaps, migration, &migration_mode_words, .flags = FIELD_OMIT),
        FIELD_CUSTOM("pageSizes", DeviceCaps, page_sizes, JSON_STRING, document_read_address,
                document_write_address),
        FIELD_OBJECTS(
                "iova", DeviceCaps, iova, n_iova, &range_table, 0, IOVA_RANGES_MAX, .flags = FIELD_OMIT),
        FIELD_BOOLEAN("iovaCut", DeviceCaps, iova_cut, .flags = FIELD_OMIT),
};
const FieldTable device_caps_table = FIELD_TABLE(caps_fields, .check = check_caps);

static const Field record_fields[] = {
        FIELD_CUSTOM("device", CapsRecord, device, JSON_STRING, document_read_name, document_write_name,
                .flags = FIELD_REQUIRED),
        FIELD_NUMBER("identity", CapsRecord, identity, 1, DEVICE_IDENTITY_MAX, .flags = FIELD_REQUIRED),
        FIELD_OBJECT("capabilities", CapsRecord, caps, &device_caps_table, .flags = FIELD_REQUIRED),
};
static const FieldTable record_table = FIELD_TABLE(record_fields);

uint64_t caps_record_identity(const Device *d, uint64_t inode, uint64_t driver_inode) {
    uint64_t hash = device_identity_add(0, "capabilities", inode);

    hash = device_identity_add(hash, "driver", driver_inode);
    return device_identity_end(device_identity_add(hash, "device", device_identity(d)));
}

char *caps_record_to_text(const CapsRecord *r) {
    _cleanup_strbuf_ StrBuf b = {};

    fields_write(&b, &record_table, r);
    strbuf_add(&b, "\n");
    return strbuf_steal(&b);
}

int caps_record_parse(const char *text, size_t size, CapsRecord *ret) {
    _cleanup_(json_document_freep) JsonDocument *document = NULL;
    FieldReader reader = {.name = "the record of capabilities"};
    CapsRecord record = {};
    JsonError error;
    int r;

    r = json_document_parse(text, size, &document, &error);
    if (r >= 0)
        r = fields_read(&reader, json_document_root(document), &record_table, &record);
    free(reader.problem);
    if (r >= 0)
        *ret = record;
    return r;
}
