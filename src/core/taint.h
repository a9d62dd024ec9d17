/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What weakens this host, and since when. Findings are visible to anybody (module parameters, the kernel's
 * command line, its taint bits). Deeds are what vfiod did (it handed out a device without an IOMMU). This
 * file is pure: host/taint-reader looks, daemon/broker/ledger remembers. */

#include <json-c/json.h>

#include "base/fields.h"
#include "core/device-name.h"

typedef enum TaintKind {
    TAINT_NOIOMMU_CLAIM,     /* vfiod handed out a device without an IOMMU */
    TAINT_NOIOMMU_ENABLED,   /* vfio.enable_unsafe_noiommu_mode is on */
    TAINT_UNSAFE_INTERRUPTS, /* allow_unsafe_interrupts of vfio_iommu_type1 or iommufd */
    TAINT_COMMAND_LINE,      /* pcie_acs_override=, pci=… that weakens isolation, iommu=off and the like */
    TAINT_KERNEL,            /* a bit of /proc/sys/kernel/tainted */
    TAINT_OPEN_NODE,         /* a VFIO node that users other than root may open without vfiod */
    _TAINT_KIND_MAX,
    _TAINT_KIND_INVALID = -EINVAL,
} TaintKind;
DECLARE_STRING_TABLE(taint_kind, TaintKind);
/* "noiommu-claim", "noiommu-enabled", "unsafe-interrupts", "command-line", "kernel", "open-node" */

typedef struct Taint {
    TaintKind kind;
    bool weakens; /* it weakens isolation between devices, or between a device and the host: then the host is
                   * not "untainted" */
    char what[128];      /* "vfio_iommu_type1.allow_unsafe_interrupts", "pcie_acs_override=downstream",
                            "TAINT_USER" */
    uint64_t since_usec; /* CLOCK_REALTIME: when it happened, or was first seen */
    uid_t uid;           /* the user; (uid_t) -1: unknown, or caused by the kernel or its command line */
    char device[DEVICE_NAME_MAX]; /* "" */
    char rule[512];               /* its origin; "" */
    char reason[256];             /* given by the rule or the client; "" */
} Taint;

#define TAINTS_MAX 256U

typedef struct TaintList {
    Taint entries[TAINTS_MAX];
    size_t n;
    size_t more; /* entries that did not fit */
} TaintList;

/* Adds a finding; what becomes printable ASCII. The same finding is added once. Returns the entry, so that
 * the caller can fill in more; NULL if the list is full. */
Taint *taint_list_add(TaintList *l, TaintKind kind, bool weakens, const char *what);
/* Appends findings from the text of /proc/cmdline (split as the kernel does, with quotes) and from the number
 * in /proc/sys/kernel/tainted. Malformed text adds nothing. */
void taint_list_add_command_line(TaintList *l, const char *text);
void taint_list_add_kernel(TaintList *l, uint64_t tainted);
/* "A, B": all entries that weaken isolation, for a refusal; owned; NULL if there are none. *ret_error: 0 or
 * -ENOMEM. */
char *taint_list_describe_weakness(const TaintList *l, int *ret_error);
/* Writes an array of objects with the fields of a Taint ("uid" only if it is known). Entries that did not fit
 * are counted in one more entry. */
void taint_list_write(StrBuf *b, const TaintList *l);
struct json_object *taint_list_to_json(const TaintList *l); /* NULL on ENOMEM */
/* Reads such an array. Returns 0; -EBADMSG with r->problem set; -ENOMEM. On failure *ret is empty. */
int taint_list_read(FieldReader *r, const JsonNode *list, TaintList *ret);
