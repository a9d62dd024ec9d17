/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A snapshot that came by mail. What is taken is a sound inventory whose facts can all be read, written
 * again, and read as the same; what is not is refused with a sentence that is fit for a terminal. */

#include "core/snapshot.h"
#include "fuzz.h"

static int write_device(Device *d, void *userdata) {
    FactSource source = host_snapshot_facts(userdata);
    _cleanup_(device_facts_done) DeviceFacts facts = DEVICE_FACTS_NULL;
    struct json_object *o;
    int r;

    r = source.read_facts(source.userdata, d, DEVICE_FACT_ALL, &facts);
    EXPECT(r == 0 || r == -ENODATA);
    EXPECT(r < 0 || facts.host_critical || facts.known & DEVICE_FACT_HOST_CRITICAL);
    o = host_snapshot_device_to_json(d, &facts, true);
    EXPECT(o);
    json_object_put(o);
    return 0;
}

static int write_group(Group *g, void *userdata) {
    const GroupFacts *facts = host_snapshot_group_facts(userdata, g->id);
    struct json_object *o;

    EXPECT(g->n_members > 0);
    if (!facts)
        return 0;
    o = host_snapshot_group_to_json(g, facts);
    EXPECT(o);
    json_object_put(o);
    return 0;
}

static int look_up_account(void *userdata, bool is_group, const char *name, uint32_t id) {
    uint32_t found;

    EXPECT(id != UINT32_MAX);
    EXPECT(host_snapshot_resolve(userdata, is_group, name, &found) == 0 && found == id);
    if (!is_group)
        EXPECT(host_snapshot_user_name(userdata, id));
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    _cleanup_(host_snapshot_freep) HostSnapshot *s = NULL;
    _cleanup_free_ char *problem = NULL;
    int r;

    r = host_snapshot_parse((const char *) data, size, &s, &problem);
    EXPECT((r == 0 && s && !problem) || (r == -EBADMSG && !s && problem && is_printable(problem)));
    if (r < 0)
        return 0;
    inventory_check(host_snapshot_inventory(s));
    EXPECT(inventory_foreach_device(host_snapshot_inventory(s), write_device, s) == 0);
    EXPECT(inventory_foreach_group(host_snapshot_inventory(s), write_group, s) == 0);
    EXPECT(host_snapshot_foreach_account(s, look_up_account, s) == 0);
    EXPECT(host_snapshot_taints(s)->n <= TAINTS_MAX);
    return 0;
}
