/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The description of a claim's nodes for container engines (Container Device Interface, CDI): an engine that
 * is told "--device vfiod.org/claim=ID" puts them into a container. */

#include "core/claim.h"

#define CDI_KIND "vfiod.org/claim"
#define CDI_FILE_PREFIX "vfiod-"
#define CDI_FILE_SUFFIX ".json"

/* One device, named after the claim. Owned; NULL: out of memory. */
char *cdi_describe(const Claim *c);
/* The claim of a file of ours, by its name; false: it is another's. */
bool cdi_claim_of_file(const char *name, char ret_id[static CLAIM_ID_MAX]);
