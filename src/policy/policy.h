/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The operator's policy: ordered rules, the first that matches decides. Where none does, the request is
 * denied.
 *
 * Parsed text (policy-parse.h) becomes compiled Rules, immutable but for names that were unknown;
 * policy_evaluate() is pure: everything it may look at is in its arguments, and the verdict names the rule,
 * its file and line, so that every refusal can be explained. Predicates fail closed: an unknown fact never
 * makes an `allow` match, and never keeps a `deny` from matching.
 *
 * HACKING.md tells how to add a predicate. */

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
    RESET_OPTIONAL, /* the operator accepts that it goes to the next owner unreset */
    _RESET_DEMAND_MAX,
    _RESET_DEMAND_INVALID = -EINVAL,
} ResetDemand;
DECLARE_STRING_TABLE(reset_demand, ResetDemand); /* "required", "optional" */

typedef enum SiblingDemand {
    SIBLINGS_REFUSE, /* default: a sibling with a host driver refuses the claim */
    SIBLINGS_PARK,   /* it is moved to the vfio driver for the time of the claim, handed to nobody */
    _SIBLING_DEMAND_MAX,
    _SIBLING_DEMAND_INVALID = -EINVAL,
} SiblingDemand;
DECLARE_STRING_TABLE(sibling_demand, SiblingDemand); /* "refuse", "park" */

typedef enum HostCriticalDemand {
    HOST_CRITICAL_REFUSE, /* default: what the host itself needs is never touched, siblings included */
    HOST_CRITICAL_ALLOW,
    _HOST_CRITICAL_DEMAND_MAX,
    _HOST_CRITICAL_DEMAND_INVALID = -EINVAL,
} HostCriticalDemand;
DECLARE_STRING_TABLE(host_critical_demand, HostCriticalDemand); /* "refuse", "allow" */

/* What the host as a whole permits, whatever the rules say. */
typedef enum NoiommuMode {
    NOIOMMU_OFF,     /* default */
    NOIOMMU_ON,      /* the kernel's parameter is somebody else's to set */
    NOIOMMU_MANAGED, /* vfiod sets it for the time of a claim */
    _NOIOMMU_MODE_MAX,
    _NOIOMMU_MODE_INVALID = -EINVAL,
} NoiommuMode;
DECLARE_STRING_TABLE(noiommu_mode, NoiommuMode); /* "off", "on", "managed" */

typedef struct HostSettings {
    NoiommuMode noiommu;
    bool reservations_limited;    /* by the next one */
    unsigned reservation_ttl_sec; /* for users other than root; 0: they cannot reserve anything */
} HostSettings;

#define DECLARED_FUNCTIONS_MAX 1024U

/* How many virtual functions a device shall have after a boot. */
typedef struct DeclaredFunctions {
    DevicePattern device;
    char *text; /* owned; device as it was written, sanitized */
    unsigned count;
    int autoprobe; /* whether drivers take them; -1: as the kernel has it */
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

/* Of all claims that a rule has allowed at a time: together, and of one user. */
typedef struct RuleLimits {
    uint64_t claims, devices, claims_per_user, devices_per_user;
    uint64_t pinned; /* bytes of memlock granted, of all claims together */
} RuleLimits;

#define RULE_LIMITS_NONE                                                                                     \
    (RuleLimits) {                                                                                           \
        .claims = LIMIT_NONE, .devices = LIMIT_NONE, .claims_per_user = LIMIT_NONE,                          \
        .devices_per_user = LIMIT_NONE, .pinned = LIMIT_NONE                                                 \
    }

/* What an allow or ask rule allows, and what it demands in return. */
typedef struct RuleTerms {
    unsigned backends; /* mask of 1 << Backend; BACKEND_NOIOMMU only with noiommu_reason */
    unsigned grants;   /* mask of 1 << GrantKind */
    unsigned tethers;  /* mask of 1 << TetherKind; TETHER_EXPLICIT is for the operator alone, even so */
    ResetDemand reset;
    SiblingDemand siblings;
    HostCriticalDemand host_critical;
    HoldTerms hold;
    int priority;         /* of a request that waits, see core/queue.h */
    bool untainted;       /* refuses while anything weakens the isolation of the host */
    bool reason_required; /* the client must say what it is for */
    uint64_t memlock_max; /* bytes up to which RLIMIT_MEMLOCK of the client is raised when it asks; 0: it is
                             not */
    RuleLimits limits;
    char *noiommu_reason; /* owned by the rule; why this device may be used without an IOMMU, NULL: it may not
                           */
    char *scrub;      /* owned by the rule; a unit that runs over the device before its reset, NULL: none */
    char *driver;     /* owned by the rule; the vfio driver that the device is bound to, NULL: the best */
    VfBounds network; /* owned by the rule; what may be requested of a virtual function */
    bool waive_sys_rawio; /* noiommu: also for a subject without CAP_SYS_RAWIO */
} RuleTerms;

typedef struct Rule Rule;     /* opaque; compiled */
typedef struct Policy Policy; /* an ordered set of rules; immutable once built */

Policy *policy_free(Policy *p);
DEFINE_TRIVIAL_CLEANUP_FUNC(Policy *, policy_free);
size_t policy_n_rules(const Policy *p);
const Rule *policy_rule(const Policy *p, size_t i); /* in the order in which they are tried */
/* policy may be NULL: everything off. */
HostSettings policy_host_settings(const Policy *p);
/* The first that matches the device; NULL: none. */
const DeclaredFunctions *policy_find_functions(const Policy *p, const DeviceName *name);
size_t policy_n_functions(const Policy *p);
const DeclaredFunctions *policy_functions(const Policy *p, size_t i);
/* NULL: there is none of that name. */
const DeviceTemplate *policy_find_template(const Policy *p, const DeviceName *name);
/* Which facts the rules ask about, a mask of DeviceFactMask: what the caller should read before it asks. */
unsigned policy_needed_facts(const Policy *p);

/* Resolves a user (is_group false) or group name to an id. 0, -ENOENT, or another negative errno. */
typedef int (*resolve_name_t)(void *userdata, bool is_group, const char *name, uint32_t *ret);
/* Looks up again the accounts that are unknown so far, in place: the one thing about a policy that changes.
 * How many are known now, or -ENOMEM. */
int policy_resolve_again(Policy *policy, resolve_name_t resolve, void *userdata);
/* Every mention of an unknown account. A negative errno of visit ends it. */
typedef int (*visit_account_name_t)(void *userdata, bool is_group, const char *name);
int policy_foreach_unknown_account(const Policy *policy, visit_account_name_t visit, void *userdata);

/* The rules of a policy that can concern a subject, in order. Whoever keeps it asks for it anew when
 * policy_version() is another. */
typedef struct PolicyExcerpt {
    uint32_t *rules; /* owned; indices */
    size_t n;
} PolicyExcerpt;

/* 0 or -ENOMEM. */
int policy_excerpt(const Policy *policy, const Subject *subject, PolicyExcerpt *ret);
void policy_excerpt_done(PolicyExcerpt *a);
/* Another one after policy_resolve_again() has found an account. */
uint64_t policy_version(const Policy *policy);

typedef struct PolicyQuestion {
    const Subject *subject;
    const Device *device;
    const DeviceFacts *facts;     /* facts->known tells which could be read; NULL: none */
    uint64_t now_usec;            /* CLOCK_REALTIME, for "until"; 0: unknown */
    const PolicyExcerpt *excerpt; /* of the subject; NULL: every rule is asked */
} PolicyQuestion;

typedef struct Verdict {
    Effect effect;    /* of the rule; ask, too, when it allows and an ask rule before it could not tell */
    const Rule *rule; /* borrowed from the policy; NULL: no rule matched, the default denied */
    const RuleTerms *terms; /* of the rule; NULL for EFFECT_DENY */
    bool changed; /* the rule would have matched, but its tag knows another card at this place, or this
                   * card at another place: denied */
} Verdict;

/* May the subject use this device? policy may be NULL (nothing valid loaded): denied. */
Verdict policy_evaluate(const Policy *policy, const PolicyQuestion *question);
/* Does the rule say anything about devices, so that it singles some out? */
bool rule_names_devices(const Rule *rule);
/* Do all WHO predicates of the rule hold for this subject? Such a subject may be told of the rule. */
bool rule_concerns(const Rule *rule, const Subject *subject);

/* Name of the rule ("rule 3" when it has none), and "alice-edu (/etc/…/50.json:7)". */
const char *rule_name(const Rule *rule);
const char *rule_origin(const Rule *rule);
/* The name by which claims are counted against its limits, the same after a reload: its own, or that with its
 * file when it has none of its own. */
const char *rule_key(const Rule *rule);
const char *rule_file(const Rule *rule);
unsigned rule_line(const Rule *rule);
Effect rule_effect(const Rule *rule);
const RuleTerms *rule_terms(const Rule *rule);
/* What the rule asks for, in the words of its file: "who.user", "alice, bob". A negative errno ends it. */
int rule_foreach_predicate(
        const Rule *rule, int (*visit)(void *userdata, const char *key, const char *wanted), void *userdata);
