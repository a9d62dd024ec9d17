/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/claim.h"

#include <stdio.h>

#include "base/fd.h"
#include "base/str.h"

VfiodClaim *vfiod_claim_free(VfiodClaim *claim) {
    if (!claim)
        return NULL;
    for (size_t i = 0; i < claim->n_fds; i++) {
        (void) safe_close(claim->fds[i].fd);
        free(claim->fds[i].name);
    }
    free(claim->fds);
    strings_free(claim->spellings, claim->n_spellings);
    strings_free(claim->devices, claim->n_devices);
    strings_free(claim->vf_tokens, claim->n_vf_tokens);
    strings_free(claim->nodes, claim->n_nodes);
    free(claim->id);
    free(claim->backend);
    free(claim->tether);
    free(claim->rule);
    (void) vfiod_connection_free(claim->connection);
    free(claim);
    return NULL;
}

int claim_new(const char *const *devices, size_t n_devices, VfiodClaim **ret) {
    _cleanup_(vfiod_claim_freep) VfiodClaim *claim = calloc(1, sizeof(VfiodClaim));
    int r = claim ? 0 : -ENOMEM;

    for (size_t i = 0; r >= 0 && i < n_devices; i++)
        r = strings_add(&claim->spellings, &claim->n_spellings, devices[i]);
    if (r >= 0)
        *ret = TAKE_PTR(claim);
    return r;
}

/* ---- the order of fds ---- */

static size_t fd_rank(const VfiodClaim *claim, const char *name) {
    const char *device = startswith(name, "device:");

    if (streq(name, "iommufd") || streq(name, "container"))
        return 0;
    if (streq(name, "lifeline"))
        return SIZE_MAX;
    for (size_t i = 0; device && i < claim->n_devices; i++)
        if (streq(claim->devices[i], device))
            return 1 + i;
    return SIZE_MAX - 1;
}

/* A stable sort into the documented order, whatever order the message has: devices in the order of the
 * request. */
static void sort_fds(VfiodClaim *claim) {
    for (size_t i = 1; i < claim->n_fds; i++)
        for (size_t j = i;
                j > 0 && fd_rank(claim, claim->fds[j - 1].name) > fd_rank(claim, claim->fds[j].name); j--) {
            NamedFd swap = claim->fds[j];

            claim->fds[j] = claim->fds[j - 1];
            claim->fds[j - 1] = swap;
        }
}

static ssize_t find_fd(const VfiodClaim *claim, const char *name) {
    for (size_t i = 0; i < claim->n_fds; i++)
        if (claim->fds[i].fd >= 0 && streq(claim->fds[i].name, name))
            return (ssize_t) i;
    return -ENOENT;
}

static bool has_device(const VfiodClaim *claim, const char *name) {
    for (size_t i = 0; i < claim->n_devices; i++)
        if (streq(claim->devices[i], name))
            return true;
    return false;
}

/* The two lists must be parallel. */
int claim_add_spellings(VfiodClaim *claim, const VfiodClaim *added, const Answer *a) {
    size_t n_new = 0;
    int r = 0;

    for (size_t i = 0; i < a->n_devices; i++)
        n_new += !has_device(claim, a->devices[i]);
    if (n_new != added->n_spellings || claim->n_spellings != claim->n_devices)
        return 0;
    for (size_t i = 0; r >= 0 && i < added->n_spellings; i++)
        r = strings_add(&claim->spellings, &claim->n_spellings, added->spellings[i]);
    return r;
}

static int take_devices(VfiodClaim *claim, Answer *a) {
    int r = 0;

    for (size_t i = 0; r >= 0 && i < a->n_devices; i++) {
        if (has_device(claim, a->devices[i]))
            continue;
        r = strings_add(&claim->vf_tokens, &claim->n_vf_tokens, i < a->n_vf_tokens ? a->vf_tokens[i] : "");
        if (r >= 0)
            r = strings_add(&claim->devices, &claim->n_devices, a->devices[i]);
    }
    return r;
}

/* A new lifeline replaces the old one. */
static int take_fds(VfiodClaim *claim, Answer *a) {
    NamedFd *bigger = reallocarray(claim->fds, claim->n_fds + a->n_fds + 1, sizeof(NamedFd));

    if (!bigger)
        return -ENOMEM;
    claim->fds = bigger;
    for (size_t i = 0; i < a->n_fds; i++) {
        ssize_t old = find_fd(claim, a->fds[i].name);

        if (old >= 0) {
            (void) safe_close(claim->fds[old].fd);
            claim->fds[old].fd = TAKE_FD(a->fds[i].fd);
        } else
            claim->fds[claim->n_fds++] =
                    (NamedFd){.name = TAKE_PTR(a->fds[i].name), .fd = TAKE_FD(a->fds[i].fd)};
    }
    sort_fds(claim);
    return 0;
}

int claim_take_answer(VfiodClaim *claim, Answer *a, bool needs_lifeline) {
    int r;

    if (!claim->id)
        claim->id = TAKE_PTR(a->claim);
    if (!claim->backend)
        claim->backend = TAKE_PTR(a->backend);
    if (!claim->tether)
        claim->tether = TAKE_PTR(a->tether);
    if (!claim->rule)
        claim->rule = TAKE_PTR(a->rule);
    if (!claim->nodes) {
        claim->nodes = TAKE_PTR(a->nodes);
        claim->n_nodes = a->n_nodes;
        a->n_nodes = 0;
    }
    r = take_devices(claim, a);
    if (r >= 0)
        r = take_fds(claim, a);
    if (r < 0)
        return r;
    /* without a lifeline the claim has ended already */
    return needs_lifeline && vfiod_claim_fd(claim, "lifeline") < 0 ? -EBADMSG : 0;
}

/* ---- what the caller sees ---- */

const char *vfiod_claim_id(const VfiodClaim *claim) {
    return claim->id;
}

const char *vfiod_claim_backend(const VfiodClaim *claim) {
    return claim->backend ? claim->backend : "";
}

const char *vfiod_claim_rule(const VfiodClaim *claim) {
    return claim->rule ? claim->rule : "";
}

const char *vfiod_claim_device(const VfiodClaim *claim, size_t index) {
    return index < claim->n_devices ? claim->devices[index] : NULL;
}

int vfiod_claim_fd(const VfiodClaim *claim, const char *name) {
    ssize_t i = find_fd(claim, name);

    return i < 0 ? (int) i : claim->fds[i].fd;
}

const char *claim_node(const VfiodClaim *claim, size_t index) {
    return index < claim->n_nodes ? claim->nodes[index] : NULL;
}

/* The full name for the caller's spelling of a device. */
static const char *full_name(const VfiodClaim *claim, const char *device) {
    if (!device)
        return vfiod_claim_device(claim, 0);
    if (claim->n_spellings == claim->n_devices)
        for (size_t i = 0; i < claim->n_spellings; i++)
            if (streq(claim->spellings[i], device))
                return claim->devices[i];
    return device;
}

const char *vfiod_claim_vf_token(const VfiodClaim *claim, const char *device) {
    const char *name = full_name(claim, device);

    for (size_t i = 0; name && i < claim->n_devices; i++)
        if (streq(claim->devices[i], name))
            return *claim->vf_tokens[i] ? claim->vf_tokens[i] : NULL;
    return NULL;
}

bool claim_has_device(const VfiodClaim *claim, const char *device) {
    const char *name = full_name(claim, device);

    for (size_t i = 0; name && i < claim->n_devices; i++)
        if (streq(claim->devices[i], name))
            return true;
    return false;
}

int vfiod_claim_device_fd(const VfiodClaim *claim, const char *device) {
    const char *name = full_name(claim, device);
    char fd_name[64];

    if (!name || strlen(name) >= sizeof(fd_name) - strlen("device:"))
        return -ENOENT;
    snprintf(fd_name, sizeof(fd_name), "device:%s", name);
    return vfiod_claim_fd(claim, fd_name);
}

int vfiod_claim_nth_fd(const VfiodClaim *claim, size_t index, const char **ret_name) {
    for (size_t i = 0; i < claim->n_fds; i++) {
        if (claim->fds[i].fd < 0 || index-- > 0)
            continue;
        if (ret_name)
            *ret_name = claim->fds[i].name;
        return claim->fds[i].fd;
    }
    return -ENOENT;
}

int vfiod_claim_take_fd(VfiodClaim *claim, const char *name) {
    ssize_t i = find_fd(claim, name);

    return i < 0 ? (int) i : TAKE_FD(claim->fds[i].fd);
}

static void remove_string(char **l, size_t *n, size_t i) {
    free(l[i]);
    (*n)--;
    memmove(l + i, l + i + 1, (*n - i) * sizeof(char *));
}

static void drop_device(VfiodClaim *claim, const char *device) {
    bool parallel = claim->n_spellings == claim->n_devices;
    const char *name = full_name(claim, device);

    for (size_t i = 0; i < claim->n_devices; i++) {
        _cleanup_free_ char *fd_name = NULL;

        if (!streq(claim->devices[i], name))
            continue;
        fd_name = format_string("device:%s", name);
        for (size_t j = 0; fd_name && j < claim->n_fds; j++)
            if (claim->fds[j].name && streq(claim->fds[j].name, fd_name))
                claim->fds[j].fd = safe_close(claim->fds[j].fd);
        if (parallel)
            remove_string(claim->spellings, &claim->n_spellings, i);
        remove_string(claim->devices, &claim->n_devices, i);
        remove_string(claim->vf_tokens, &claim->n_vf_tokens, i);
        return;
    }
}

void claim_drop_devices(VfiodClaim *claim, const char *const *devices, size_t n_devices) {
    for (size_t i = 0; i < n_devices; i++)
        drop_device(claim, devices[i]);
}
