/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The tables of what the daemon shows, see core/view.h. What the kernel announces comes from the inventory;
 * what it never announces is read from the host while the field is read. A fact that cannot be read has its
 * unknown value: one sick device must not spoil a list of all. */

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
    const PolicyLoad *policy; /* what is in force, and errors of the last load; replaced in place by reload */
    const PolicyLoad *shadow; /* likewise */
    const TaintList *(*read_taints)(void *userdata); /* as of now, within a second */
    const char *(*noiommu_state)(void *userdata);    /* "off", "on", "managed", "unavailable" */
    bool simulated;                                  /* a recorded host */
    void *userdata;
};

/* The thing of each: nothing (NULL), a Device, a Group, a Claim. */
extern const ViewTable view_tables[_VIEW_KIND_MAX];
extern const ViewField view_manager_fields[], view_device_fields[], view_group_fields[], view_claim_fields[];

/* Of the host; what is counted by rule is for root. */
int view_put_figures(const ViewQuery *q, const ViewSink *out);

/* Its value takes a search (holder-search.h) that the face makes first, with the budget of the reader; its
 * answer is what the query has found. */
bool view_needs_holders(const ViewField *field);
/* 0; refused: the reader has had that done too often just now. */
int view_check_holders(const ViewHost *host, const Subject *reader, Refusal *refusal);
void view_charge_holders(const ViewHost *host, const Subject *reader, const HolderAnswer *answer);

/* "free", "claimed", "quarantined", or what the claim is at; for devices and groups alike. */
const char *view_state_of(const Claim *claim, bool quarantined);
const char *view_device_state(const Device *d);
/* Why nobody gets it: the code of its claim's record. NULL: it is not quarantined. */
const char *view_quarantine_cause(const Device *d);
const char *view_group_state(const Group *g);
bool view_group_is_viable(const Group *g);
/* "loaded", "stale", "broken" */
const char *view_policy_state(const PolicyLoad *p);
unsigned view_n_claims_denied(const ViewHost *host);
