/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* vfioctl: one table of verbs (vfioctl.c), one file for each (cmd-*.c); those of `vfioctl policy` have two
 * words. A verb gets parsed options and returns an exit status, or a negative errno with *error set. Only
 * main() prints errors. */

#include "client/error-text.h"
#include "client/vmm.h"

typedef enum ColourMode {
    COLOUR_MODE_AUTO,
    COLOUR_MODE_ALWAYS,
    COLOUR_MODE_NEVER,
    _COLOUR_MODE_MAX,
    _COLOUR_MODE_INVALID = -EINVAL,
} ColourMode;
DECLARE_STRING_TABLE(colour_mode, ColourMode); /* "auto", "always", "never" */

typedef enum OutputFormat {
    OUTPUT_TEXT,
    OUTPUT_WIDE, /* all columns */
    OUTPUT_NAME, /* only names */
    OUTPUT_JSON,
    _OUTPUT_FORMAT_MAX,
    _OUTPUT_FORMAT_INVALID = -EINVAL,
} OutputFormat;
DECLARE_STRING_TABLE(output_format, OutputFormat); /* "text", "wide", "name", "json" */

/* An option that can be repeated: its arguments in order, ended by NULL. The array belongs to main(). */
typedef struct OptionList {
    const char **items;
    size_t n;
} OptionList;

/* Everything is borrowed from argv. */
typedef struct Options {
    bool json, legend, groups, wait, untainted, ask, probe;
    bool full, pager;
    bool watch; /* a list that is shown repeatedly */
    OutputFormat output;
    const char *sort; /* NULL: the daemon's order */
    ColourMode colour;
    const char **devices; /* --device, in order; owned array */
    size_t n_devices;
    const char *backend, *reason, *grant, *tether, *cookie;
    const char *connect;   /* for virt */
    const char *driver;    /* for pin; NULL: not given */
    uint64_t pid;          /* 0: not given */
    VfiodRequestMore more; /* with its pidfd, which is owned */
    /* for exec */
    Vmm vmm;
    bool print;
    bool libvirt, podman, write; /* for setup, which uses .vmm too */
    const char *hotplug;
    /* for memlock-for */
    uint64_t ram;
    unsigned n_of_devices;
    VfiodViommu viommu;
    uint64_t wait_usec; /* --wait; 0: do not */
    uint64_t memlock;
    /* for reserve */
    uint64_t ttl;      /* seconds; 0: not given */
    int64_t in_sec;    /* --in; negative: not given */
    bool answers;      /* --more */
    uint64_t more_sec; /* its value */
    bool cancel;
    bool check;
    bool svg, dot; /* for topology */
    /* for vf */
    uint64_t count;  /* UINT64_MAX: not given */
    int autoprobe;   /* 0, 1; -1: not given */
    uint64_t rounds; /* for selftest; 0: not given */
    /* for the policy verbs */
    const char *host, *user, *unit, *slice, *cgroup, *label, *scope, *claim;
    OptionList policies, groups_of_user, capabilities, tests;
    bool foreign_namespace, last_refusal, serials, loaded;
    char **arguments; /* after the verb and its options */
    size_t n_arguments;
} Options;

/* The request that the options describe, for these devices. */
VfiodRequest options_request(const Options *o, const char *const *devices, size_t n_devices);

int verb_list(const Options *o, VfiodErrorText *error);
int verb_topology(const Options *o, VfiodErrorText *error);
int verb_watch(const Options *o, VfiodErrorText *error);
int verb_status(const Options *o, VfiodErrorText *error);
int verb_plan(const Options *o, VfiodErrorText *error);
int verb_setup(const Options *o, VfiodErrorText *error);
int verb_edit(const Options *o, VfiodErrorText *error);
int verb_exec(const Options *o, VfiodErrorText *error);
int verb_memlock_for(const Options *o, VfiodErrorText *error);
int verb_reserve(const Options *o, VfiodErrorText *error);
int verb_hold(const Options *o, VfiodErrorText *error);
int verb_release(const Options *o, VfiodErrorText *error);
/* Shows the states of a claim until it is gone; fails when it is quarantined. asked: the release was
 * requested before; otherwise this requests it first. */
int release_wait(const char *id, bool asked, const Options *o, VfiodErrorText *error);
int verb_transfer(const Options *o, VfiodErrorText *error);
int verb_quarantine(const Options *o, VfiodErrorText *error);
int verb_evict(const Options *o, VfiodErrorText *error);
int verb_monitor(const Options *o, VfiodErrorText *error);
int verb_taint(const Options *o, VfiodErrorText *error);
int verb_doctor(const Options *o, VfiodErrorText *error);
int verb_selftest(const Options *o, VfiodErrorText *error);
int verb_caps(const Options *o, VfiodErrorText *error);
int verb_virt(const Options *o, VfiodErrorText *error);
int verb_vf(const Options *o, VfiodErrorText *error);
int verb_pin(const Options *o, VfiodErrorText *error);
int verb_unpin(const Options *o, VfiodErrorText *error);
int verb_import(const Options *o, VfiodErrorText *error);
int verb_pins(const Options *o, VfiodErrorText *error);
int verb_types(const Options *o, VfiodErrorText *error);
int verb_reload(const Options *o, VfiodErrorText *error);
int verb_policy_check(const Options *o, VfiodErrorText *error);
int verb_policy_show(const Options *o, VfiodErrorText *error);
int verb_policy_explain(const Options *o, VfiodErrorText *error);
int verb_policy_test(const Options *o, VfiodErrorText *error);
int verb_policy_diff(const Options *o, VfiodErrorText *error);
int verb_policy_generate(const Options *o, VfiodErrorText *error);
int verb_snapshot(const Options *o, VfiodErrorText *error);
