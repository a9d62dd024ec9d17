/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What several documents have in common: fields of types of core. */

#include "base/fields.h"

/* Of FIELD_CUSTOM: a DeviceName, as text. */
int document_read_name(FieldReader *r, const JsonNode *value, void *place);
void document_write_name(StrBuf *b, const void *place);
/* Likewise a uint64_t, as "0xfee00000": a JSON number is not good for 64 bits. */
int document_read_address(FieldReader *r, const JsonNode *value, void *place);
void document_write_address(StrBuf *b, const void *place);
