/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/vmm-request.h"

#include <stdio.h>

#include "base/str.h"
#include "client/libvfiod-internal.h"

/* In this order: a claim of iommufd isolates better, and its fds need no node that the user may open. */
static const char *const backends[] = {"iommufd", "group"};

/* A program that opens nodes by their paths can do so as root without being granted them. */
static bool grant_fits(const char *requested, const char *needed) {
    return !requested || streq(requested, needed) || (streq(requested, "none") && streq(needed, "node"));
}

static bool is_of_backend(const VfiodErrorText *refusal) {
    return streq(refusal->name, "BackendUnavailable") || streq(refusal->name, "AccessDenied");
}

/* The user did not request the group backend, so a refusal of it alone would name what they never wrote. */
static void explain_choice(
        const VmmAbilities *abilities, const VfiodRequest *request, VfiodErrorText *refusal) {
    size_t n = strlen(refusal->message);

    if (is_of_backend(refusal) && streq(request->backend, "group") && !abilities->takes_fds)
        snprintf(refusal->message + n, sizeof(refusal->message) - n,
                " %s takes no file descriptors (QEMU does since 9.0), so the backend group with --grant=%s "
                "was "
                "requested.",
                abilities->name, request->grant);
}

/* The refusal of the first backend that this host has is the one to show: the next one is a way out that the
 * user did not ask for. */
static int choose_backend(
        Vmm vmm, const VmmAbilities *abilities, VfiodRequest *request, VfiodErrorText *error) {
    int r = 0;

    for (size_t i = 0; i < ELEMENTSOF(backends); i++) {
        VfiodRequest candidate = *request;
        VfiodErrorText refusal;
        const char *grant;
        int k;

        candidate.backend = backends[i];
        if (vmm_grant(vmm, abilities, candidate.backend, &grant, NULL) < 0 ||
                !grant_fits(request->grant, grant))
            continue;
        candidate.grant = request->grant ?: grant;
        k = vfiod_plan(&candidate, NULL, &refusal);
        if (k >= 0) {
            request->backend = candidate.backend;
            return 0;
        }
        explain_choice(abilities, &candidate, &refusal);
        if (r >= 0 || streq(error->name, "BackendUnavailable") || !is_of_backend(&refusal)) {
            r = k;
            *error = refusal;
        }
        if (!is_of_backend(&refusal))
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
    if (r < 0)
        return r;
    if (!grant_fits(request->grant, grant))
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE,
                "%s uses the backend %s with --grant=%s, not --grant=%s.", abilities->name, request->backend,
                grant, request->grant);
    if (!request->grant)
        request->grant = grant;
    return 0;
}
