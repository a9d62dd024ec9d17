/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/vmm-request.h"

/* In this order: a claim of iommufd isolates better, and its fds need no node that the user may open. */
static const char *const backends[] = {"iommufd", "group"};

static int choose_backend(
        Vmm vmm, const VmmAbilities *abilities, VfiodRequest *request, VfiodErrorText *error) {
    int r = 0;

    for (size_t i = 0; i < ELEMENTSOF(backends); i++) {
        VfiodRequest candidate = *request;
        const char *grant;

        candidate.backend = backends[i];
        if (vmm_grant(vmm, abilities, candidate.backend, &grant, NULL) < 0)
            continue;
        candidate.grant = request->grant ?: grant;
        r = vfiod_plan(&candidate, NULL, error);
        if (r >= 0) {
            request->backend = candidate.backend;
            return 0;
        }
        if (strcmp(error->name, "BackendUnavailable") != 0 && strcmp(error->name, "AccessDenied") != 0)
            return r;
    }
    if (r >= 0) /* none of them will do: say why */
        request->backend = backends[0];
    return r;
}

int vmm_choose(Vmm vmm, const VmmAbilities *abilities, VfiodRequest *request, VfiodErrorText *error) {
    const char *grant;
    int r = 0;

    if (!request->backend)
        r = choose_backend(vmm, abilities, request, error);
    if (r >= 0)
        r = vmm_grant(vmm, abilities, request->backend, &grant, error);
    if (r >= 0 && !request->grant)
        request->grant = grant;
    return r;
}
