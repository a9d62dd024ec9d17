/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The interfaces that every service has: org.varlink.service, and io.systemd.service for operators. */

#include "base/log.h"
#include "daemon/varlink/varlink-internal.h"

const VarlinkParameter varlink_no_parameters[] = {{}};

/* ---- org.varlink.service ---- */

static int run_get_info(VarlinkCall *call, const Subject *subject, Refusal *refusal) {
    JsonWriter w;

    varlink_reply_begin(&w);
    json_write_key(&w, "vendor");
    json_write_text(&w, "vfiod");
    json_write_key(&w, "product");
    json_write_text(&w, "VFIO Device Broker");
    json_write_key(&w, "version");
    json_write_text(&w, VFIOD_VERSION);
    json_write_key(&w, "url");
    json_write_text(&w, "https://github.com/vfiod/vfiod");
    json_write_open(&w, "interfaces", '[');
    for (const VarlinkInterface *i = varlink_interfaces; i->name; i++)
        json_write_text(&w, i->name);
    json_write_close(&w, ']');
    return varlink_reply_send(call, &w, NULL, 0);
}

static int run_get_interface_description(VarlinkCall *call, const Subject *subject, Refusal *refusal) {
    const char *name = varlink_call_text(call, "interface");
    JsonWriter w;

    for (const VarlinkInterface *i = varlink_interfaces; i->name; i++)
        if (streq(i->name, name)) {
            varlink_reply_begin(&w);
            json_write_key(&w, "description");
            json_write_text(&w, i->description);
            return varlink_reply_send(call, &w, NULL, 0);
        }
    return varlink_reply_error(call, VARLINK_SERVICE ".InterfaceNotFound", "interface", name);
}

const VarlinkMethod varlink_service_methods[] = {
        {"GetInfo", run_get_info, 0, varlink_no_parameters},
        {"GetInterfaceDescription", run_get_interface_description, 0,
                (const VarlinkParameter[]){{"interface", "s", true}, {}}},
        {},
};

/* ---- io.systemd.service ---- */

static int run_ping(VarlinkCall *call, const Subject *subject, Refusal *refusal) {
    return varlink_reply_empty(call);
}

static int deny(VarlinkCall *call) {
    return varlink_reply_error(call, VARLINK_SERVICE ".PermissionDenied", NULL, NULL);
}

int varlink_reload(VarlinkCall *call, const Subject *subject) {
    const VarlinkContext *context = &call->peer->face->context;

    call->waits_for_policy = true;
    context->reload_policy(context->userdata, subject);
    return VARLINK_PENDING;
}

static int run_reload(VarlinkCall *call, const Subject *subject, Refusal *refusal) {
    return subject_is_operator(subject) ? varlink_reload(call, subject) : deny(call);
}

static void answer_reload(VarlinkCall *call, int r) {
    const PolicyLoad *policy = call->peer->face->context.host.policy;
    Refusal refusal = REFUSAL_NULL;

    if (r >= 0 && policy->n_errors > 0)
        r = policy_load_refuse(policy, &refusal);
    if (r >= 0)
        r = varlink_reply_empty(call);
    if (r < 0)
        varlink_call_refuse(call, r, &refusal);
    refusal_done(&refusal);
    varlink_call_done(call);
}

void varlink_face_policy_loaded(VarlinkFace *v, int r) {
    for (VarlinkPeer *p = v->peers; p; p = p->next)
        if (p->call && p->call->waits_for_policy)
            answer_reload(p->call, r);
}

static int run_set_log_level(VarlinkCall *call, const Subject *subject, Refusal *refusal) {
    int64_t level = varlink_call_parameter(call, "level")->integer;

    if (!subject_is_operator(subject))
        return deny(call);
    if (level < LOG_EMERG || level > LOG_DEBUG)
        return varlink_reply_error(call, VARLINK_SERVICE ".InvalidParameter", "parameter", "level");
    log_set_max_level((int) level);
    return varlink_reply_empty(call);
}

static int run_get_log_level(VarlinkCall *call, const Subject *subject, Refusal *refusal) {
    JsonWriter w;

    varlink_reply_begin(&w);
    json_write_key(&w, "level");
    json_write_number(&w, log_get_max_level());
    return varlink_reply_send(call, &w, NULL, 0);
}

const VarlinkMethod varlink_systemd_methods[] = {
        {"Ping", run_ping, 0, varlink_no_parameters},
        {"Reload", run_reload, VARLINK_ACTS | VARLINK_EFFECT, varlink_no_parameters},
        {"SetLogLevel", run_set_log_level, VARLINK_ACTS | VARLINK_EFFECT,
                (const VarlinkParameter[]){{"level", "i", true}, {}}},
        {"GetLogLevel", run_get_log_level, 0, varlink_no_parameters},
        {},
};
