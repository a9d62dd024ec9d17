/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What weakens this host, and since when: findings that anybody can make by looking (module parameters, the
 * kernel's command line, its taint bits), and deeds of vfiod (a device handed out without an IOMMU). Pure:
 * host/taint-reader looks, daemon/ledger remembers. */

#include <json-c/json.h>

#include "base/fields.h"
#include "core/device-name.h"

typedef enum TaintKind {
    TAINT_NOIOMMU_CLAIM,     /* we handed a device out without an IOMMU */
    TAINT_NOIOMMU_ENABLED,   /* vfio.enable_unsafe_noiommu_mode is on */
    TAINT_UNSAFE_INTERRUPTS, /* allow_unsafe_interrupts of vfio_iommu_type1 or iommufd */
    TAINT_COMMAND_LINE,      /* pcie_acs_override=, pci=… that weakens isolation, iommu=off and the like */
    TAINT_KERNEL,            /* a bit of /proc/sys/kernel/tainted */
    TAINT_OPEN_NODE,         /* a VFIO node that others than root may open, past every policy */
    _TAINT_KIND_MAX,
    _TAINT_KIND_INVALID = -EINVAL,
} TaintKind;
DECLARE_STRING_TABLE(taint_kind, TaintKind);
/* "noiommu-claim", "noiommu-enabled", "unsafe-interrupts", "command-line", "kernel", "open-node" */

typedef struct Taint {
    TaintKind kind;
    bool weakens; /* isolation between devices, or between a device and the host: what "untainted" is about */
    char what[128];      /* "vfio_iommu_type1.allow_unsafe_interrupts", "pcie_acs_override=downstream",
                            "TAINT_USER" */
    uint64_t since_usec; /* CLOCK_REALTIME: when it happened, or was first seen */
    uid_t uid;           /* the user; (uid_t) -1: unknown, the kernel or its command line */
    char device[DEVICE_NAME_MAX]; /* "" */
    char rule[512];               /* origin; "" */
    char reason[256];             /* that the rule or the client gave; "" */
} Taint;

#define TAINTS_MAX 256U

typedef struct TaintList {
    Taint entries[TAINTS_MAX];
    size_t n;
    size_t more; /* that did not fit */
} TaintList;

/* Adds a finding, what as printable ASCII; the same one twice is one. The entry, for more to be filled in;
 * NULL when the list is full. */
Taint *taint_list_add(TaintList *l, TaintKind kind, bool weakens, const char *what);
/* Appends what the text of /proc/cmdline (parsed as the kernel does, with quotes) and the number of
 * /proc/sys/kernel/tainted say. Malformed text says nothing. */
void taint_list_add_command_line(TaintList *l, const char *text);
void taint_list_add_kernel(TaintList *l, uint64_t tainted);
/* "A, B": all entries that weaken isolation, for a refusal; NULL when there are none. Owned. *ret_error: 0 or
 * -ENOMEM. */
char *taint_list_describe_weakness(const TaintList *l, int *ret_error);
/* The list as an array of objects with the fields of a Taint, "uid" only where it is known, and an entry for
 * those that did not fit. */
void taint_list_write(StrBuf *b, const TaintList *l);
struct json_object *taint_list_to_json(const TaintList *l); /* NULL on ENOMEM */
/* The way back, of an array. 0; -EBADMSG with r->problem set; -ENOMEM. *ret is empty then. */
int taint_list_read(FieldReader *r, const JsonNode *list, TaintList *ret);
