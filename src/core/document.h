/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Fields of core types that several documents share. */

#include "base/fields.h"

/* For FIELD_CUSTOM: a DeviceName as text. */
int document_read_name(FieldReader *r, const JsonNode *value, void *place);
void document_write_name(StrBuf *b, const void *place);
/* For FIELD_CUSTOM: a uint64_t as "0xfee00000", because JSON numbers are not exact for 64 bits. */
int document_read_address(FieldReader *r, const JsonNode *value, void *place);
void document_write_address(StrBuf *b, const void *place);
