/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The compiled form of a rule, and its predicates. parse*.c fill it, policy.c decides with it, and explain.c
 * explains with the same predicates. Internal to the policy.
 *
 * An empty list means that the rule does not have that predicate. */

#include "base/str.h"
#include "core/cgroup.h"
#include "policy/device-pattern.h"
#include "policy/policy.h"

/* The answer of a predicate. Unknown is a value of its own: rule_holds() alone decides what it means for each
 * effect. */
typedef enum Holds {
    HOLDS_NO,
    HOLDS_YES,
    HOLDS_UNKNOWN, /* a fact that it requires is unknown */
    HOLDS_CHANGED, /* a tag records another card at this place, or this card at another place */
    _HOLDS_MAX,
    _HOLDS_INVALID = -EINVAL,
} Holds;
DECLARE_STRING_TABLE(holds, Holds); /* "no", "yes", "unknown", "changed" */

typedef enum PredicateKind {
    PREDICATE_WHO_USER,
    PREDICATE_WHO_GROUP,
    PREDICATE_WHO_UNIT,
    PREDICATE_WHO_SLICE,
    PREDICATE_WHO_CGROUP,
    PREDICATE_WHO_LABEL,
    PREDICATE_WHO_CAPABILITY,
    PREDICATE_WHO_NAMESPACE,
    PREDICATE_WHO_SCOPE,
    PREDICATE_WHAT_DEVICE,
    PREDICATE_WHAT_PHYSICAL_FUNCTION,
    PREDICATE_WHAT_ID,
    PREDICATE_WHAT_CLASS,
    PREDICATE_WHAT_DRIVER,
    PREDICATE_WHAT_BUS,
    PREDICATE_WHAT_GROUP,
    PREDICATE_WHAT_TAG,
    PREDICATE_WHAT_PROPERTY,
    PREDICATE_WHAT_NUMA,
    PREDICATE_WHAT_ALONE,
    PREDICATE_WHAT_ACS,
    PREDICATE_WHAT_RESET,
    PREDICATE_WHAT_REMOVABLE,
    PREDICATE_WHAT_CAPABILITIES,
    PREDICATE_UNTIL,
    _PREDICATE_MAX,
} PredicateKind;

#define PREDICATES_WHO ((1U << PREDICATE_WHAT_DEVICE) - 1)

/* vendor:device:subsystem vendor:subsystem device in 16 bits each; a wildcard's bits are clear in mask. */
typedef struct IdPattern {
    uint64_t value, mask;
} IdPattern;

typedef struct ClassPattern {
    uint32_t value, mask;
} ClassPattern;

typedef struct StringList {
    char **items; /* owned, as their strings */
    size_t n;
} StringList;

/* Every property that is named must exist and match. */
typedef struct PropertyPattern {
    char *key;        /* owned */
    StringList globs; /* of the value; one must match */
} PropertyPattern;

/* A card at a place. */
typedef struct TagEntry {
    bool has_slot;
    DeviceName slot;
    char *path; /* owned; as DeviceFacts.slot_path; NULL: any */
    IdPattern id;
    char *serial; /* owned; as DeviceFacts.serial; NULL: any */
} TagEntry;

typedef struct Tag {
    char *name; /* owned */
    char *file; /* owned */
    unsigned line, column;
    TagEntry *entries; /* owned */
    size_t n_entries;
    bool used; /* by a rule */
} Tag;

/* The mention of a tag in a rule. */
typedef struct TagUse {
    char *name;     /* owned */
    const Tag *tag; /* borrowed from the policy */
    unsigned line, column;
} TagUse;

/* An account that a rule names. */
typedef struct AccountUse {
    char *name; /* owned */
    bool is_group;
    bool known; /* its id is in the list of the rule */
    unsigned line, column;
} AccountUse;

/* The highest id is -1, which the kernel reads as "unchanged". */
#define ACCOUNT_ID_MAX (UINT32_MAX - 1)

/* What a predicate requires, in the words of the file. */
typedef struct Wanted {
    PredicateKind kind;
    char *text; /* owned, printable */
} Wanted;

struct Rule {
    char *name;   /* owned */
    char *origin; /* owned; "NAME (FILE:LINE)" */
    char *key;    /* owned; NAME, or "NAME (FILE)" when the name is generated */
    char *file;   /* owned */
    unsigned line, column;
    Effect effect;

    uint32_t predicates; /* mask of 1 << PredicateKind: those that it has */
    Wanted *wanted;      /* owned; one for each of these */
    size_t n_wanted;

    uint64_t until_usec; /* CLOCK_REALTIME */

    /* who */
    uint32_t *uids, *gids; /* owned, sorted */
    size_t n_uids, n_gids;
    AccountUse *accounts; /* owned; those given by name, not by number */
    size_t n_accounts;
    StringList units, slices, cgroups, labels; /* globs */
    StringList scopes;                         /* names */
    uint64_t capabilities;                     /* mask of 1 << CAP_…: one of these */
    unsigned namespaces;                       /* mask of 1 << NamespaceKind: one of these */

    /* what */
    DevicePattern *devices, *functions; /* owned; functions: of physical functions */
    IdPattern *ids;                     /* owned */
    ClassPattern *classes;              /* owned */
    StringList drivers;
    unsigned buses;       /* mask of 1 << DeviceKind; 0: not specified */
    uint64_t *groups;     /* owned; fingerprints */
    uint32_t *numa_nodes; /* owned */
    TagUse *tags;         /* owned */
    PropertyPattern *properties;
    size_t n_devices, n_functions, n_ids, n_classes, n_groups, n_numa_nodes, n_tags, n_properties;
    bool alone, acs, reset, removable; /* the required values, for the predicates that the rule has */
    DeviceNeeds needs;                 /* what.capabilities */

    /* what follows; of an allow or ask rule only */
    RuleTerms terms;
};

void property_pattern_done(PropertyPattern *p);
void tag_entry_done(TagEntry *e);
void rule_done(Rule *r);

/* --- account.c --- */

/* The id of the account. A name wins; digits that are not a name are the id. 0, -ENOENT, -ERANGE (digits that
 * are not a valid id), or what resolve returned. */
int account_resolve(const AccountUse *use, resolve_name_t resolve, void *userdata, uint32_t *ret);
/* Adds the id of one of its accounts to the rule, unsorted. 0 or -ENOMEM. */
int rule_set_account(Rule *rule, AccountUse *use, uint32_t id);
void rule_sort_accounts(Rule *rule);
bool rule_names_unknown(const Rule *rule, bool is_group);
bool rule_names_unknown_user(const Rule *rule, const char *name);

/* A question with the forms that every rule needs, computed once. */
typedef struct Question {
    const Subject *subject;
    const Device *device;     /* NULL: only the subject is known */
    const DeviceFacts *facts; /* NULL: none */
    uint64_t now_usec;        /* 0: unknown */
    uint64_t id;              /* as in IdPattern */
    uint64_t group;           /* fingerprint; 0 when no rule uses it, or without a group */
    char kernel_name[DEVICE_NAME_MAX];
    struct QuestionMemo *memo; /* NULL: none */
} Question;

#define SLICES_MAX 16U /* slices below these are ignored */

/* Results that many rules of a policy need for the same question. */
typedef struct QuestionMemo {
    const char *key, *value; /* of the property that was found last */
    bool slices_read;
    size_t n_slices;
    bool more_slices;
    struct {
        char name[UNIT_NAME_SIZE];
        bool below_unit;
    } slices[SLICES_MAX]; /* of the subject, from the top down */
} QuestionMemo;

/* Large, so it is filled only when a predicate needs it. */
static inline void question_memo_init(QuestionMemo *m) {
    m->key = NULL;
    m->slices_read = false;
}

/* predicates: mask of those that will be evaluated, policy->predicates. */
void question_init(Question *q, const PolicyQuestion *question, uint32_t predicates);

typedef struct Predicate {
    const char *key; /* "who.user", "what.isolation.acs", "until" */
    Holds (*evaluate)(const Rule *rule, const Question *question);
    unsigned facts; /* mask of DeviceFactMask that it needs; for a tag it depends on the entries */
} Predicate;

/* Evaluates a predicate. PREDICATE_WHO_USER and PREDICATE_WHO_SCOPE can be evaluated for every rule, the
 * others only for rules that have them (rule->predicates). */
Holds rule_ask(const Rule *rule, PredicateKind kind, const Question *question);
const char *predicate_key(PredicateKind kind);
unsigned predicate_facts(PredicateKind kind);
/* The predicates that are evaluated for this question: those of the rule and always the user; also the scope
 * for a caller with a scope, and the bus for a device of another kind than PCI. */
uint32_t rule_predicates(const Rule *rule, const Question *question);
/* The kinds of devices that its .buses and its effect admit: a mask of 1 << DeviceKind. An allow or ask rule
 * that names neither bus nor device is about PCI. */
unsigned rule_buses(const Rule *rule);
/* What the predicate requires, in the words of the file: "alice, bob". For a predicate that the rule does not
 * have: "anybody", "no scope", "pci". */
const char *rule_wanted(const Rule *rule, PredicateKind kind);

/* The result of all predicates of a rule. */
typedef enum RuleHolds {
    RULE_PASSES_BY, /* continue with the next rule */
    RULE_MAY_ASK,   /* continue with the next rule; what a later rule allows is asked */
    RULE_DECIDES,
    RULE_CHANGED, /* denies, because of a tag */
} RuleHolds;
RuleHolds rule_holds(const Rule *rule, const Question *question);

struct Policy {
    Rule *rules;                /* owned, in the order in which they are tried */
    struct RuleFilter *filters; /* owned; of each of these */
    size_t n_rules;
    Tag **tags; /* owned */
    size_t n_tags;
    uint32_t predicates; /* of all rules, combined */
    HostSettings host;
    DeclaredFunctions *declared; /* owned */
    size_t n_declared;
    DeviceTemplate *templates; /* owned */
    size_t n_templates;
    unsigned needed_facts;
    uint64_t version; /* counts the changes by policy_resolve_again() */
};

void declared_functions_done(DeclaredFunctions *list, size_t n);
void device_templates_done(DeviceTemplate *list, size_t n);
Tag *tag_free(Tag *tag);
DEFINE_TRIVIAL_CLEANUP_FUNC(Tag *, tag_free);
/* The result for all tags of a rule. */
Holds tags_hold(const Rule *rule, const Question *question);
/* The entry of the tag that records another card at the place of this device, or another place for this card.
 * NULL: none. */
const TagEntry *tag_changed_entry(const Tag *tag, const Question *question);
