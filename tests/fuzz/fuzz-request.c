/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuzz.h"

#include "base/str.h"
#include "core/request.h"

/* The input is lines: NAME=VALUE is an option, anything else a device. */

static void expect_refusal(Refusal *refusal, int r) {
    _cleanup_free_ char *text = NULL;

    EXPECT(r < 0 && refusal->code >= 0 && r == -error_info(refusal->code)->error);
    EXPECT(refusal->reason && refusal->reason[0] && is_printable(refusal->reason));
    EXPECT(utf8_is_valid(refusal->reason) && strlen(refusal->reason) < 512);
    text = refusal_format(refusal);
    EXPECT(text);
    refusal_done(refusal);
}

static void expect_network(const VfNetwork *n) {
    char text[VF_NETWORK_TEXT_MAX];
    VfProblem problem;
    VfNetwork back;

    EXPECT(n->has < 1U << _VF_ATTRIBUTE_MAX && n->vlan <= VLAN_MAX && n->qos == 0 && n->protocol == 0);
    EXPECT(!vf_network_has(n, VF_MAC) || !(n->mac[0] & 1));
    if (n->has == 0)
        return;
    EXPECT(vf_network_parse(vf_network_format(n, text), &back, &problem) == 0);
    for (VfAttribute a = 0; a < _VF_ATTRIBUTE_MAX; a++)
        EXPECT(vf_network_has(n, a) == vf_network_has(&back, a) &&
                (!vf_network_has(n, a) || vf_network_same(n, &back, a)));
}

static void take_line(Request *request, char *line) {
    Refusal refusal = REFUSAL_NULL;
    Request before = *request;
    char *value = strchr(line, '=');
    int r;

    if (value) {
        *value++ = '\0';
        r = request_set_option(request, line, value, &refusal);
    } else
        r = request_add_device(request, line, &refusal);
    if (r == 0)
        return;
    expect_refusal(&refusal, r);
    /* a refusal leaves no trace */
    EXPECT(before.n_devices == request->n_devices && before.backend == request->backend);
    EXPECT(streq(before.reason, request->reason));
    EXPECT(before.grant == request->grant && before.tether == request->tether);
    EXPECT(streq(before.cookie, request->cookie));
    EXPECT(before.pid == request->pid && before.pidfd_id == request->pidfd_id);
    EXPECT(before.network.has == request->network.has);
    EXPECT(before.memlock == request->memlock && before.untainted == request->untainted);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    _cleanup_free_ char *text = malloc(size + 1);
    Refusal refusal = REFUSAL_NULL;
    Request request = REQUEST_NULL;
    char *rest = text, *line;
    int r;

    EXPECT(text);
    memcpy(text, data, size);
    text[size] = '\0';
    while ((line = strsep(&rest, "\n")))
        take_line(&request, line);

    EXPECT(request.n_devices <= REQUEST_DEVICES_MAX);
    EXPECT(request.backend == _BACKEND_INVALID || backend_to_string(request.backend));
    EXPECT(grant_kind_to_string(request.grant) && tether_kind_to_string(request.tether));
    EXPECT(!request.cookie[0] || cookie_is_valid(request.cookie));
    EXPECT(request.memlock <= REQUEST_MEMLOCK_MAX);
    expect_network(&request.network);
    EXPECT(memchr(request.reason, 0, sizeof(request.reason)));
    EXPECT(is_printable(request.reason) && utf8_is_valid(request.reason));
    for (size_t i = 0; i < request.n_devices; i++)
        for (size_t k = 0; k < i; k++)
            EXPECT(device_name_compare(&request.devices[i], &request.devices[k]) != 0);
    r = request_validate(&request, &refusal);
    if (request.n_devices == 0 || (request.pidfd_id != 0 && request.pid == 0) ||
            (request.pid != 0 && request.tether != TETHER_PROCESS) ||
            (request.n_devices > 1 && vf_network_has(&request.network, VF_MAC)))
        expect_refusal(&refusal, r);
    else
        EXPECT(r == 0);
    return 0;
}
