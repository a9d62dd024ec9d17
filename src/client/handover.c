/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/handover.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/str.h"
#include "client/claim.h"
#include "client/show.h"
#include "client/vmm.h"

static void free_list(char **l, size_t n) {
    for (size_t i = 0; i < n; i++)
        free(l[i]);
    free(l);
}

void handover_done(Handover *h) {
    free_list(h->devices, h->n_devices);
    free_list(h->fds, h->n_fds);
    free_list(h->nodes, h->n_nodes);
    free_list(h->vf_tokens, h->n_vf_tokens);
    free(h->claim);
    free(h->backend);
    *h = (Handover){};
}

static int append(char ***l, size_t *n, char *text) {
    char **bigger = text ? reallocarray(*l, *n + 1, sizeof(char *)) : NULL;

    if (!bigger) {
        free(text);
        return -ENOMEM;
    }
    *l = bigger;
    bigger[(*n)++] = text;
    return 0;
}

static int add_fd(Handover *h, char *name) {
    return append(&h->fds, &h->n_fds, name);
}

int handover_from_claim(const VfiodClaim *claim, Handover *ret) {
    _cleanup_handover_ Handover h = {};
    const char *name;
    int r;

    r = free_and_strdup(&h.claim, vfiod_claim_id(claim));
    if (r >= 0)
        r = free_and_strdup(&h.backend, vfiod_claim_backend(claim));
    for (size_t i = 0; r >= 0 && (name = vfiod_claim_device(claim, i)); i++)
        r = append(&h.devices, &h.n_devices, strdup(name));
    for (size_t i = 0; r >= 0 && i < h.n_devices; i++) {
        const char *token = vfiod_claim_vf_token(claim, h.devices[i]);

        h.has_vf_tokens |= token != NULL;
        r = append(&h.vf_tokens, &h.n_vf_tokens, strdup(token ?: ""));
    }
    for (size_t i = 0; r >= 0 && (name = claim_node(claim, i)); i++)
        r = append(&h.nodes, &h.n_nodes, strdup(name));
    for (size_t i = 0; r >= 0 && vfiod_claim_nth_fd(claim, i, &name) >= 0; i++)
        r = add_fd(&h, strdup(name));
    if (r < 0)
        return r;
    *ret = h;
    h = (Handover){};
    return 0;
}

static int add_groups(Handover *h, struct json_object *groups) {
    int r = add_fd(h, strdup("container"));

    for (size_t i = 0; r >= 0 && groups && i < json_object_array_length(groups); i++)
        r = add_fd(h,
                format_string("group:%" PRIi64, json_object_get_int64(json_object_array_get_idx(groups, i))));
    return r;
}

static int add_devices(Handover *h) {
    int r = 0;

    for (size_t i = 0; r >= 0 && i < h->n_devices; i++)
        r = add_fd(h, format_string("device:%s", h->devices[i]));
    return r;
}

int handover_from_plan(struct json_object *plan, const char *grant, const TemplateDevice *devices,
        size_t n_devices, Handover *ret) {
    _cleanup_handover_ Handover h = {};
    const char *backend = json_text(plan, "backend");
    int r;

    r = free_and_strdup(&h.backend, backend);
    for (size_t i = 0; r >= 0 && i < n_devices; i++)
        r = append(&h.devices, &h.n_devices, strdup(devices[i].name));
    if (r >= 0 && (!grant || streq(grant, "fd"))) {
        if (streq(backend, "group"))
            r = add_groups(&h, json_list(plan, "groups"));
        else {
            if (streq(backend, "iommufd"))
                r = add_fd(&h, strdup("iommufd"));
            else if (streq(backend, "compat"))
                r = add_fd(&h, strdup("container"));
            if (r >= 0)
                r = add_devices(&h);
        }
    }
    if (r >= 0)
        r = add_fd(&h, strdup("lifeline"));
    if (r < 0)
        return r;
    *ret = h;
    h = (Handover){};
    return 0;
}

int handover_number(const Handover *h, const char *fd_name) {
    for (size_t i = 0; i < h->n_fds; i++)
        if (streq(h->fds[i], fd_name))
            return HANDOVER_FIRST_FD + (int) i;
    return -ENOENT;
}

/* sd_listen_fds_with_names(3) separates names by ':', so they must not contain one. */
static char *fd_names(const Handover *h) {
    _cleanup_strbuf_ StrBuf b = {};

    strbuf_add(&b, "LISTEN_FDNAMES=");
    for (size_t i = 0; i < h->n_fds; i++) {
        strbuf_add(&b, i > 0 ? ":" : "");
        for (const char *p = h->fds[i]; *p; p++)
            strbuf_addf(&b, "%c", *p == ':' ? '_' : *p);
    }
    return strbuf_steal(&b);
}

static char *list_of(const char *variable, char **l, size_t n) {
    _cleanup_strbuf_ StrBuf b = {};

    strbuf_addf(&b, "%s=", variable);
    for (size_t i = 0; i < n; i++)
        strbuf_addf(&b, "%s%s", i > 0 ? "," : "", l[i]);
    return strbuf_steal(&b);
}

int handover_environment(const Handover *h, pid_t pid, char ***ret) {
    char *const entries[] = {
            format_string("LISTEN_FDS=%zu", h->n_fds),
            fd_names(h),
            format_string("VFIOD_BACKEND=%s", h->backend),
            list_of("VFIOD_DEVICES", h->devices, h->n_devices),
            h->n_nodes > 0 ? list_of("VFIOD_NODES", h->nodes, h->n_nodes) : strdup(""),
            h->has_vf_tokens ? list_of("VFIOD_VF_TOKENS", h->vf_tokens, h->n_vf_tokens) : strdup(""),
            pid > 0 ? format_string("LISTEN_PID=%d", (int) pid) : strdup(""),
            h->claim ? format_string("VFIOD_CLAIM=%s", h->claim) : strdup(""),
    };
    char **list = calloc(ELEMENTSOF(entries) + 1, sizeof(char *));
    bool failed = !list;
    size_t n = 0;

    for (size_t i = 0; i < ELEMENTSOF(entries); i++) {
        failed |= !entries[i];
        if (list && entries[i] && *entries[i])
            list[n++] = entries[i];
        else
            free(entries[i]);
    }
    if (failed) {
        free_arguments(&list);
        return -ENOMEM;
    }
    *ret = list;
    return 0;
}
