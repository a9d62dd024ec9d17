/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Pieces of policy text, for those who write one. What comes from the host is hostile: strings are JSON's,
 * comments are sanitized, so neither can end before its end. */

#include "base/str.h"
#include "core/facts.h"
#include "core/inventory.h"

void policy_text_add_string(StrBuf *b, const char *s);
/* A line of a comment. */
void policy_text_add_comment(StrBuf *b, const char *indent, const char *text);
/* "0000-06-0d.0": what is left of an address where a tag or a rule is named. Returns buf. */
const char *policy_text_short_name(const Device *d, char buf[static DEVICE_NAME_MAX]);
/* { "path": …, "id": …, "serial": … }: the device's place, as far as it does not depend on the numbers of
 * buses, and the card. facts has what is known of slot path and serial number. */
void policy_text_add_tag(StrBuf *b, const Device *d, const DeviceFacts *facts);
