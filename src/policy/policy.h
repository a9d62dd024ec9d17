/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The operator's policy: ordered rules, of which the first that matches decides. If none matches, the request
 * is denied.
 *
 * Parsed text (parse.h) becomes compiled rules, which are immutable except for names that were unknown.
 * policy_evaluate() is pure: it uses only its arguments. The verdict names the rule, its file and line, so
 * that every refusal can be explained. Predicates fail closed: an unknown fact never makes an `allow` match,
 * and never keeps a `deny` from matching.
 *
 * HACKING.md describes how to add a predicate. */

#include "core/eviction.h"
#include "core/facts.h"
#include "core/inventory.h"
#include "core/request.h"
#include "core/subject.h"
#include "core/vf-network.h"
#include "policy/device-pattern.h"

typedef enum Effect {
    EFFECT_DENY,
    EFFECT_ALLOW,
    EFFECT_ASK, /* a person answers, through polkit */
    _EFFECT_MAX,
    _EFFECT_INVALID = -EINVAL,
} Effect;
DECLARE_STRING_TABLE(effect, Effect); /* "deny", "allow", "ask" */

typedef enum ResetDemand {
    RESET_REQUIRED, /* default: a device without a reset method is refused */
    RESET_OPTIONAL, /* a device without a reset method goes to the next owner unreset */
    _RESET_DEMAND_MAX,
    _RESET_DEMAND_INVALID = -EINVAL,
} ResetDemand;
DECLARE_STRING_TABLE(reset_demand, ResetDemand); /* "required", "optional" */

typedef enum SiblingDemand {
    SIBLINGS_REFUSE, /* default: a sibling on a host driver refuses the claim */
    SIBLINGS_PARK,   /* siblings are moved to the vfio driver during the claim and handed to nobody */
    _SIBLING_DEMAND_MAX,
    _SIBLING_DEMAND_INVALID = -EINVAL,
} SiblingDemand;
DECLARE_STRING_TABLE(sibling_demand, SiblingDemand); /* "refuse", "park" */

typedef enum HostCriticalDemand {
    HOST_CRITICAL_REFUSE, /* default: a device that the host needs, or a sibling of one, is refused */
    HOST_CRITICAL_ALLOW,
    _HOST_CRITICAL_DEMAND_MAX,
    _HOST_CRITICAL_DEMAND_INVALID = -EINVAL,
} HostCriticalDemand;
DECLARE_STRING_TABLE(host_critical_demand, HostCriticalDemand); /* "refuse", "allow" */

/* What the host as a whole permits, regardless of the rules. */
typedef enum NoiommuMode {
    NOIOMMU_OFF,     /* default */
    NOIOMMU_ON,      /* the kernel's parameter is set by somebody else */
    NOIOMMU_MANAGED, /* vfiod sets it during a claim */
    _NOIOMMU_MODE_MAX,
    _NOIOMMU_MODE_INVALID = -EINVAL,
} NoiommuMode;
DECLARE_STRING_TABLE(noiommu_mode, NoiommuMode); /* "off", "on", "managed" */

typedef struct HostSettings {
    NoiommuMode noiommu;
    bool reservations_limited;    /* the next member is set */
    unsigned reservation_ttl_sec; /* for users other than root; 0: they cannot reserve anything */
} HostSettings;

#define DECLARED_FUNCTIONS_MAX 1024U

/* How many virtual functions a device gets after a boot. */
typedef struct DeclaredFunctions {
    DevicePattern device;
    char *text; /* owned; the device as it was written, sanitized */
    unsigned count;
    int autoprobe; /* whether drivers bind to them; -1: left as it is */
    char *place;   /* owned; FILE:LINE:COL */
} DeclaredFunctions;

#define DEVICE_TEMPLATES_MAX 1024U
#define TEMPLATE_EXAMPLE "{\"name\": \"vgpu\", \"parent\": \"0000:06:00.0\", \"type\": \"nvidia-474\"}"

/* A mediated device that is made for a claim, and removed at its end. */
typedef struct DeviceTemplate {
    DeviceName name; /* template:vgpu */
    char *parent;    /* owned; a glob over the kernel's names of parents */
    char *type;      /* owned; its id, or what the driver calls it */
    char *place;     /* owned; FILE:LINE:COL */
} DeviceTemplate;

#define LIMIT_NONE UINT64_MAX

/* Limits on all claims that a rule allows at the same time: together, and for each user. */
typedef struct RuleLimits {
    uint64_t claims, devices, claims_per_user, devices_per_user;
    uint64_t pinned; /* bytes of memlock granted, all claims together */
} RuleLimits;

#define RULE_LIMITS_NONE                                                                                     \
    (RuleLimits) {                                                                                           \
        .claims = LIMIT_NONE, .devices = LIMIT_NONE, .claims_per_user = LIMIT_NONE,                          \
        .devices_per_user = LIMIT_NONE, .pinned = LIMIT_NONE                                                 \
    }

/* What an allow or ask rule allows, and what it requires in return. */
typedef struct RuleTerms {
    unsigned backends; /* mask of 1 << Backend; BACKEND_NOIOMMU only with noiommu_reason */
    unsigned grants;   /* mask of 1 << GrantKind */
    unsigned tethers;  /* mask of 1 << TetherKind; TETHER_EXPLICIT is for root only, even if it is in the
                        * mask */
    ResetDemand reset;
    SiblingDemand siblings;
    HostCriticalDemand host_critical;
    HoldTerms hold;
    int priority;         /* of a request that waits, see core/queue.h */
    bool untainted;       /* refuses while a taint weakens the isolation of the host */
    bool reason_required; /* the caller must give a reason */
    uint64_t memlock_max; /* bytes up to which the caller's RLIMIT_MEMLOCK is raised on request; 0: never */
    RuleLimits limits;
    char *noiommu_reason; /* owned by the rule; why the device may be used without an IOMMU; NULL: it may
                           * not */
    char *scrub;          /* owned by the rule; a unit that clears the device before its reset; NULL: none */
    char *driver;         /* owned by the rule; the vfio driver that the device is bound to; NULL: the best */
    VfBounds network;     /* owned by the rule; limits of what may be requested for a virtual function */
    bool waive_sys_rawio; /* noiommu: also for a caller without CAP_SYS_RAWIO */
} RuleTerms;

/* Those of a rule without any key about them. */
extern const RuleTerms rule_terms_default;

typedef struct Rule Rule;     /* opaque; compiled */
typedef struct Policy Policy; /* an ordered set of rules; immutable once built */

Policy *policy_free(Policy *p);
DEFINE_TRIVIAL_CLEANUP_FUNC(Policy *, policy_free);
size_t policy_n_rules(const Policy *p);
const Rule *policy_rule(const Policy *p, size_t i); /* in the order in which they are tried */
/* policy may be NULL: everything is off. */
HostSettings policy_host_settings(const Policy *p);
/* The first that matches the device. NULL: none. */
const DeclaredFunctions *policy_find_functions(const Policy *p, const DeviceName *name);
size_t policy_n_functions(const Policy *p);
const DeclaredFunctions *policy_functions(const Policy *p, size_t i);
/* NULL: there is no template of that name. */
const DeviceTemplate *policy_find_template(const Policy *p, const DeviceName *name);
/* A mask of DeviceFactMask: the facts that the rules use, which the caller reads before it evaluates. */
unsigned policy_needed_facts(const Policy *p);

/* Resolves a user (is_group false) or group name to an id. 0, -ENOENT, or another negative errno. */
typedef int (*resolve_name_t)(void *userdata, bool is_group, const char *name, uint32_t *ret);
/* Looks up the accounts that are still unknown, in place. Nothing else of a policy ever changes. Returns how
 * many were found, or -ENOMEM. */
int policy_resolve_again(Policy *policy, resolve_name_t resolve, void *userdata);
/* Visits every mention of an unknown account. A negative errno of visit ends the walk and is returned. */
typedef int (*visit_account_name_t)(void *userdata, bool is_group, const char *name);
int policy_foreach_unknown_account(const Policy *policy, visit_account_name_t visit, void *userdata);

/* The rules of a policy that can concern a subject, in order. The owner makes a new one when policy_version()
 * has changed. */
typedef struct PolicyExcerpt {
    uint32_t *rules; /* owned; indices */
    size_t n;
} PolicyExcerpt;

/* 0 or -ENOMEM. */
int policy_excerpt(const Policy *policy, const Subject *subject, PolicyExcerpt *ret);
void policy_excerpt_done(PolicyExcerpt *a);
/* Changes when policy_resolve_again() has found an account. */
uint64_t policy_version(const Policy *policy);

typedef struct PolicyQuestion {
    const Subject *subject;
    const Device *device;
    const DeviceFacts *facts;     /* facts->known shows which could be read; NULL: none */
    uint64_t now_usec;            /* CLOCK_REALTIME, for "until"; 0: unknown */
    const PolicyExcerpt *excerpt; /* of the subject; NULL: evaluate every rule */
} PolicyQuestion;

typedef struct Verdict {
    Effect effect;    /* of the rule; also "ask" when the rule allows and an earlier ask rule was undecided */
    const Rule *rule; /* borrowed from the policy; NULL: no rule matched */
    const RuleTerms *terms; /* of the rule; NULL for EFFECT_DENY */
    bool changed; /* the rule would match, but its tag records another card at this place, or this card at
                   * another place: denied */
} Verdict;

/* May the subject use this device? policy may be NULL (none could be loaded): denied. */
Verdict policy_evaluate(const Policy *policy, const PolicyQuestion *question);
/* Does the rule have a predicate about devices? */
bool rule_names_devices(const Rule *rule);
/* Do all WHO predicates of the rule hold for this subject? Only then may the subject learn of the rule. */
bool rule_concerns(const Rule *rule, const Subject *subject);

/* Name of the rule ("rule 3" when it has none), and "alice-edu (/etc/…/50.json:7)". */
const char *rule_name(const Rule *rule);
const char *rule_origin(const Rule *rule);
/* The key under which claims are counted for the rule's limits. It is the same after a reload: its name, or
 * for a rule without one its number and file. */
const char *rule_key(const Rule *rule);
const char *rule_file(const Rule *rule);
unsigned rule_line(const Rule *rule);
Effect rule_effect(const Rule *rule);
const RuleTerms *rule_terms(const Rule *rule);
/* Visits what the rule requires, in the words of its file: "who.user", "alice, bob". A negative errno of
 * visit ends the walk and is returned. */
int rule_foreach_predicate(
        const Rule *rule, int (*visit)(void *userdata, const char *key, const char *wanted), void *userdata);
