/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/cdi.h"

#include <stdio.h>
#include <sys/sysmacros.h>

#include "base/str.h"

/* The lowest version that has everything in the file, because older engines refuse newer ones. Names that
 * begin with a digit came with 0.5.0. */
static const char *version_for(const char *name) {
    return name[0] >= 'a' && name[0] <= 'z' ? "0.3.0" : "0.5.0";
}

static void add_node(StrBuf *b, const ClaimNode *n) {
    strbuf_add(b, "{\"path\":");
    strbuf_add_json(b, n->path);
    strbuf_addf(b, ",\"type\":\"c\",\"major\":%u,\"minor\":%u,\"permissions\":\"rw\"}",
            major((dev_t) n->rdev), minor((dev_t) n->rdev));
}

static void add_environment(StrBuf *b, const Claim *c) {
    char name[DEVICE_NAME_MAX];

    strbuf_addf(b, "\"VFIOD_CLAIM=%s\",\"VFIOD_BACKEND=%s\",\"VFIOD_DEVICES=", c->id,
            backend_to_string(c->plan.backend));
    for (size_t i = 0; i < c->plan.n_claimed; i++)
        strbuf_addf(b, "%s%s", i > 0 ? "," : "", device_name_format(&c->plan.members[i].name, name));
    strbuf_add(b, "\"");
}

char *cdi_describe(const Claim *c) {
    _cleanup_strbuf_ StrBuf b = {};

    strbuf_addf(&b,
            "{\"cdiVersion\":\"%s\",\"kind\":\"" CDI_KIND
            "\",\"devices\":[{\"name\":\"%s\",\"containerEdits\":{\"deviceNodes\":[",
            version_for(c->id), c->id);
    for (size_t i = 0; i < c->n_nodes; i++) {
        strbuf_add(&b, i > 0 ? "," : "");
        add_node(&b, &c->nodes[i]);
    }
    strbuf_add(&b, "],\"env\":[");
    add_environment(&b, c);
    strbuf_add(&b, "]}}]}\n");
    return strbuf_steal(&b);
}

bool cdi_claim_of_file(const char *name, char ret_id[static CLAIM_ID_MAX]) {
    const char *id = startswith(name, CDI_FILE_PREFIX);

    if (!id || strlen(id) < CLAIM_ID_MAX - 1)
        return false;
    (void) snprintf(ret_id, CLAIM_ID_MAX, "%s", id);
    id += CLAIM_ID_MAX - 1;
    return claim_id_is_valid(ret_id) && (id[0] == '\0' || streq(id, CDI_FILE_SUFFIX));
}
