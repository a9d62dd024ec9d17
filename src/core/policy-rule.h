/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The compiled form of a rule, between policy-parse.c, which fills it, and policy.c, which looks at it.
 * Nobody else includes this. An empty list means that the rule does not ask for that fact. */

#include "core/device-pattern.h"
#include "core/policy.h"

/* vendor:device:subsystem vendor:subsystem device in 16 bits each; a wildcard's bits are clear in mask. */
typedef struct IdPattern {
    uint64_t value, mask;
} IdPattern;

typedef struct ClassPattern {
    uint32_t value, mask;
} ClassPattern;

struct Rule {
    char *name;   /* owned */
    char *origin; /* owned; "NAME (FILE:LINE)" */
    char *key;    /* owned; NAME, or "NAME (FILE)" when the name was made up */
    char *file;   /* owned */
    unsigned line;
    Effect effect;

    /* who */
    uint32_t *uids, *gids; /* owned, sorted */
    size_t n_uids, n_gids;

    /* what */
    DevicePattern *devices; /* owned */
    IdPattern *ids;         /* owned */
    ClassPattern *classes;  /* owned */
    char **drivers;         /* owned, as their strings */
    size_t n_devices, n_ids, n_classes, n_drivers;

    /* which use; of an allow rule only */
    RuleTerms terms;
};

struct Policy {
    Rule *rules; /* owned, in the order in which they are tried */
    size_t n_rules;
    HostSettings host;
    unsigned needed_facts;
};

void rule_done(Rule *r);
