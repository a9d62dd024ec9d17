/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Pieces of policy text. Text from the host is hostile: strings are escaped as JSON and comments are
 * sanitized, so that neither can end early. */

#include "base/str.h"
#include "core/facts.h"
#include "core/inventory.h"

void policy_text_add_string(StrBuf *b, const char *s);
/* Appends one line of comment. */
void policy_text_add_comment(StrBuf *b, const char *indent, const char *text);
/* "0000-06-0d.0": the form of an address in names of tags and rules. Returns buf. */
const char *policy_text_short_name(const Device *d, char buf[static DEVICE_NAME_MAX]);
/* Appends { "path": …, "id": …, "serial": … }: the device's place in a form without bus numbers where
 * possible, and the card. facts has the slot path and the serial number, if known. */
void policy_text_add_tag(StrBuf *b, const Device *d, const DeviceFacts *facts);
