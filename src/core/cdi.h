/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The description of a claim's nodes for container engines (Container Device Interface, CDI): with "--device
 * vfiod.org/claim=ID" the engine puts the nodes into a container. */

#include "core/claim.h"

#define CDI_KIND "vfiod.org/claim"
#define CDI_FILE_PREFIX "vfiod-"
#define CDI_FILE_SUFFIX ".json"

/* One device, named after the claim. Owned by the caller; NULL on ENOMEM. */
char *cdi_describe(const Claim *c);
/* The claim of one of our files, from its name. False: the file is not ours. */
bool cdi_claim_of_file(const char *name, char ret_id[static CLAIM_ID_MAX]);
