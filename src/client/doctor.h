/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Finds what prevents this host from handing out devices safely. doctor-look.c reads facts, doctor-judge.c
 * judges them (it is pure), and cmd-doctor.c prints. A fact that cannot be read is left out: it does not mean
 * that all is well. */

#include <json-c/json.h>
#include <sys/types.h>

#include "base/macro.h"
#include "client/kernel-module.h"
#include "client/vfioctl.h"

typedef struct DoctorFacts {
    /* Owned; from rehearsal_snapshot(): "kernel", "devices", "taints". NULL: it cannot be read. */
    struct json_object *host;
    /* Owned; properties of the daemon. NULL: see .unreachable. */
    struct json_object *manager;
    struct json_object *pins;           /* owned; from pins_list(); NULL: unknown */
    struct json_object *rules, *limits; /* owned; from doctor-memory.h; NULL: unknown */
    char *unreachable;                  /* owned; why the daemon does not answer */
    char *quarantined;                  /* owned; device names separated by blanks; "": none */
    char *power_failed;                 /* owned; names of claimed devices, likewise; NULL: unknown */
    char *command_line;                 /* owned; the kernel's; NULL: unknown */
    char *iommus;                       /* owned; names in /sys/class/iommu separated by blanks; "": none */
    unsigned n_groups;
    const char *firmware_table; /* the ACPI table that describes an IOMMU; NULL: none was found */
    int interrupts_remapped;    /* 0, 1; -1: unknown */
    KernelModule vfio_pci, iommufd;
    bool is_virtual_machine;
    uid_t uid;
    uint64_t memlock;              /* in bytes, for this user; UINT64_MAX: no limit */
    char *qemu, *libvirt, *podman; /* owned; versions, "QEMU 7.2"; NULL: not installed */
    bool qemu_takes_fds;
    bool has_kvm, may_use_kvm;         /* /dev/kvm exists; this user may open it */
    bool polkit, polkit_agent;         /* installed */
    char *distribution;                /* owned; ID and ID_LIKE of os-release, separated by blanks */
    bool has_grub, has_kernel_cmdline; /* /etc/default/grub, /etc/kernel/cmdline */
} DoctorFacts;

void doctor_facts_done(DoctorFacts *f);

typedef enum FindingLevel {
    FINDING_OK,
    FINDING_NOTE,    /* useful to know; nothing has to be done */
    FINDING_WARNING, /* it works, but may surprise */
    FINDING_PROBLEM, /* devices cannot be handed out, or not safely */
    _FINDING_LEVEL_MAX,
    _FINDING_LEVEL_INVALID = -EINVAL,
} FindingLevel;
DECLARE_STRING_TABLE(finding_level, FindingLevel); /* "ok", "note", "warning", "problem" */

typedef struct Finding {
    FindingLevel level;
    const char *subject;    /* the topic, a stable word: "iommu" */
    char *fact, *why, *fix; /* owned sentences; why and fix are NULL for FINDING_OK only */
} Finding;

#define FINDINGS_MAX 48U

typedef struct Findings {
    Finding items[FINDINGS_MAX];
    size_t n;
    int error; /* 0 or -ENOMEM */
} Findings;

void findings_done(Findings *f);
FindingLevel findings_worst(const Findings *f);

/* Judges all facts. Findings are in the order in which to fix them. */
void doctor_judge(const DoctorFacts *facts, Findings *ret);
/* Judges only the daemon. It uses .manager, .unreachable, .quarantined and .power_failed. */
void doctor_judge_service(const DoctorFacts *facts, Findings *ret);

/* The findings of vfioctl status --check (cmd-doctor.c): problems of the daemon. Returns the exit status of
 * the verb, or -errno with *error. */
int doctor_check_service(const Options *o, VfiodErrorText *error);

/* A name and the first number with a dot in what the program prints, "podman 4.3.1"; the name if there is
 * none. Owned by the caller; NULL on ENOMEM. */
char *doctor_name_version(const char *name, const char *text);

/* Looks at this host. Fills all fields but .manager, .unreachable, .quarantined and .power_failed. Returns 0
 * or -ENOMEM. */
int doctor_look(DoctorFacts *ret);
