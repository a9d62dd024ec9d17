/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What is wrong with this host, as far as handing out devices goes. One file reads facts (doctor-look.c),
 * another one judges them (doctor-judge.c, pure), and the verb prints (cmd-doctor.c). A fact that cannot be
 * read is no finding that all is well: it is left out. */

#include <json-c/json.h>
#include <sys/types.h>

#include "base/macro.h"
#include "client/kernel-module.h"
#include "client/vfioctl.h"

typedef struct DoctorFacts {
    /* Owned; of rehearsal_snapshot(): "kernel", "devices", "taints". NULL: it cannot be read. */
    struct json_object *host;
    /* Owned; properties of the daemon. NULL: see .unreachable. */
    struct json_object *manager;
    struct json_object *pins;           /* owned; of pins_list(); NULL: unknown */
    struct json_object *rules, *limits; /* owned; of doctor-memory.h; NULL: unknown */
    char *unreachable;                  /* owned; why the daemon does not answer */
    char *quarantined;                  /* owned; names of devices with blanks between; "": none */
    char *power_failed;                 /* owned; names of claimed devices, likewise; NULL: unknown */
    char *command_line;                 /* owned; of the kernel; NULL: unknown */
    char *iommus;                       /* owned; names of /sys/class/iommu with blanks between; "": none */
    unsigned n_groups;
    const char *firmware_table; /* the ACPI table that describes an IOMMU; NULL: none is known */
    int interrupts_remapped;    /* 0, 1; -1: unknown */
    KernelModule vfio_pci, iommufd;
    bool is_virtual_machine;
    uid_t uid;
    uint64_t memlock;              /* bytes that this user may lock; UINT64_MAX: any number */
    char *qemu, *libvirt, *podman; /* owned; versions, "QEMU 7.2"; NULL: not installed */
    bool qemu_takes_fds;
    bool has_kvm, may_use_kvm;         /* /dev/kvm is there; this user may open it */
    bool polkit, polkit_agent;         /* installed */
    char *distribution;                /* owned; ID and ID_LIKE of os-release with blanks between */
    bool has_grub, has_kernel_cmdline; /* /etc/default/grub, /etc/kernel/cmdline */
} DoctorFacts;

void doctor_facts_done(DoctorFacts *f);

typedef enum FindingLevel {
    FINDING_OK,
    FINDING_NOTE,    /* worth knowing, and nothing to be done */
    FINDING_WARNING, /* works, but something will surprise */
    FINDING_PROBLEM, /* devices cannot be handed out, or not safely */
    _FINDING_LEVEL_MAX,
    _FINDING_LEVEL_INVALID = -EINVAL,
} FindingLevel;
DECLARE_STRING_TABLE(finding_level, FindingLevel); /* "ok", "note", "warning", "problem" */

typedef struct Finding {
    FindingLevel level;
    const char *subject;    /* what it is about, a word that stays: "iommu" */
    char *fact, *why, *fix; /* owned sentences; why and fix may be NULL */
} Finding;

#define FINDINGS_MAX 48U

typedef struct Findings {
    Finding items[FINDINGS_MAX];
    size_t n;
    int error; /* 0 or -ENOMEM */
} Findings;

void findings_done(Findings *f);
FindingLevel findings_worst(const Findings *f);

/* Everything that the facts say, in the order in which one would fix it. */
void doctor_judge(const DoctorFacts *facts, Findings *ret);
/* What the daemon says alone: of the facts it needs .manager, .unreachable, .quarantined and
 * .power_failed. */
void doctor_judge_service(const DoctorFacts *facts, Findings *ret);

/* The findings of vfioctl status --check (cmd-doctor.c): what is wrong with the daemon's work. Returns the
 * exit status of the verb, or -errno with *error. */
int doctor_check_service(const Options *o, VfiodErrorText *error);

/* Looks at this host. Fills all but .manager, .unreachable, .quarantined and .power_failed. 0 or -ENOMEM. */
int doctor_look(DoctorFacts *ret);
