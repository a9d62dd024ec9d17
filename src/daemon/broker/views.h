/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The tables of what the daemon shows, see core/view.h. Facts that the kernel announces come from the
 * inventory; others are read from the host for each read of the field. A fact that cannot be read has its
 * "unknown" value, so that one broken device does not spoil a list of all. */

#include "core/taint.h"
#include "core/view.h"
#include "daemon/broker/broker.h"
#include "daemon/broker/budget.h"
#include "daemon/broker/host-source.h"
#include "host/policy-files.h"

struct ViewHost {
    Inventory *inventory;
    const HostSource *source;
    Broker *broker;
    Budget *budget;
    const PolicyLoad *policy; /* in force, with errors of the last load; replaced in place */
    const PolicyLoad *shadow; /* the same for the shadow policy */
    const TaintList *(*read_taints)(void *userdata); /* at most a second old */
    const char *(*noiommu_state)(void *userdata);    /* "off", "on", "managed", "unavailable" */
    bool simulated;                                  /* a recorded host */
    void *userdata;
};

/* Their things: none (NULL), a Device, a Group, a Claim. */
extern const ViewTable view_tables[_VIEW_KIND_MAX];
extern const ViewField view_manager_fields[], view_device_fields[], view_group_fields[], view_claim_fields[];

/* For the host; figures by rule are for root. */
int view_put_figures(const ViewQuery *q, const ViewSink *out);

/* The field's value needs a search (holder-search.h), which the face makes first and charges to the reader's
 * budget. */
bool view_needs_holders(const ViewField *field);
/* 0; or refused: the reader has requested that too often recently. */
int view_check_holders(const ViewHost *host, const Subject *reader, Refusal *refusal);
void view_charge_holders(const ViewHost *host, const Subject *reader, const HolderAnswer *answer);

/* "free", "claimed", "quarantined", or the state of the claim; for devices and groups. */
const char *view_state_of(const Claim *claim, bool quarantined);
const char *view_device_state(const Device *d);
/* Why it is quarantined: the code in its claim's record. NULL: it is not. */
const char *view_quarantine_cause(const Device *d);
const char *view_group_state(const Group *g);
bool view_group_is_viable(const Group *g);
/* "loaded", "stale", "broken" */
const char *view_policy_state(const PolicyLoad *p);
unsigned view_n_claims_denied(const ViewHost *host);
