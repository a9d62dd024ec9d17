/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The compiled form of a rule, and the predicates that look at it. policy-parse*.c fill it, policy.c decides
 * with it, explain.c tells about it with the very same predicates. Nobody else includes this.
 *
 * An empty list means that the rule does not ask for that fact. */

#include "base/str.h"
#include "core/cgroup.h"
#include "policy/device-pattern.h"
#include "policy/policy.h"

/* How a predicate stands. Unknown is a value of its own: policy.c decides in ONE place what that
 * means for an allow and for a deny rule. */
typedef enum Holds {
    HOLDS_NO,
    HOLDS_YES,
    HOLDS_UNKNOWN, /* a fact that it requires is unknown */
    HOLDS_CHANGED, /* of a tag: another card at its place, or its card at another place */
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

/* All properties that are named must be there and match. */
typedef struct PropertyPattern {
    char *key;        /* owned */
    StringList globs; /* of the value; one must match */
} PropertyPattern;

/* A card at a place. */
typedef struct TagEntry {
    bool has_slot;
    DeviceName slot;
    char *path; /* owned; as DeviceFacts.slot_path; NULL: not said */
    IdPattern id;
    char *serial; /* owned; as DeviceFacts.serial; NULL: not said */
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

/* What a predicate wants, in the words of the file. */
typedef struct Wanted {
    PredicateKind kind;
    char *text; /* owned, printable */
} Wanted;

struct Rule {
    char *name;   /* owned */
    char *origin; /* owned; "NAME (FILE:LINE)" */
    char *key;    /* owned; NAME, or "NAME (FILE)" when the name was made up */
    char *file;   /* owned */
    unsigned line, column;
    Effect effect;

    uint32_t predicates; /* mask of 1 << PredicateKind: what it asks for */
    Wanted *wanted;      /* owned; of each of these */
    size_t n_wanted;

    uint64_t until_usec; /* CLOCK_REALTIME */

    /* who */
    uint32_t *uids, *gids; /* owned, sorted */
    size_t n_uids, n_gids;
    AccountUse *accounts; /* owned; that are named, not numbered */
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
    unsigned buses;       /* mask of 1 << DeviceKind; 0: not said */
    uint64_t *groups;     /* owned; fingerprints */
    uint32_t *numa_nodes; /* owned */
    TagUse *tags;         /* owned */
    PropertyPattern *properties;
    size_t n_devices, n_functions, n_ids, n_classes, n_groups, n_numa_nodes, n_tags, n_properties;
    bool alone, acs, reset, removable; /* what is wanted, where it is asked */
    DeviceNeeds needs;                 /* what.capabilities */

    /* which use; of an allow or ask rule only */
    RuleTerms terms;
};

void property_pattern_done(PropertyPattern *p);
void tag_entry_done(TagEntry *e);
void rule_done(Rule *r);

/* --- account.c --- */

/* The id of the account: a name wins, and digits that are nobody's name are the id. 0, -ENOENT, -ERANGE
 * (digits that are no id), or what resolve returned. */
int account_resolve(const AccountUse *use, resolve_name_t resolve, void *userdata, uint32_t *ret);
/* Puts the id of one of its accounts into the rule, unsorted. -ENOMEM. */
int rule_set_account(Rule *rule, AccountUse *use, uint32_t id);
void rule_sort_accounts(Rule *rule);
bool rule_names_unknown(const Rule *rule, bool is_group);
bool rule_names_unknown_user(const Rule *rule, const char *name);

/* What is asked, with the forms that every rule needs made once. */
typedef struct Question {
    const Subject *subject;
    const Device *device;     /* NULL: only who */
    const DeviceFacts *facts; /* NULL: none */
    uint64_t now_usec;        /* 0: unknown */
    uint64_t id;              /* as in IdPattern */
    uint64_t group;           /* fingerprint; 0 unless a rule asks for it, or without a group */
    char kernel_name[DEVICE_NAME_MAX];
    struct QuestionMemo *memo; /* NULL: none */
} Question;

#define SLICES_MAX 16U /* that are looked at; of those below nothing is known */

/* What many rules of a policy look for in the same question. */
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

/* Large, and not filled until somebody asks. */
static inline void question_memo_init(QuestionMemo *m) {
    m->key = NULL;
    m->slices_read = false;
}

/* predicates: mask of those that will be asked, policy->predicates. */
void question_init(Question *q, const PolicyQuestion *question, uint32_t predicates);

typedef struct Predicate {
    const char *key; /* "who.user", "what.isolation.acs", "until" */
    Holds (*evaluate)(const Rule *rule, const Question *question);
    unsigned facts; /* mask of DeviceFactMask that it needs; that of a tag depends on its entries */
} Predicate;

/* How the rule's predicate stands. PREDICATE_WHO_USER and PREDICATE_WHO_SCOPE may be asked of every rule, the
 * others of those that ask for them (rule->predicates). */
Holds rule_ask(const Rule *rule, PredicateKind kind, const Question *question);
const char *predicate_key(PredicateKind kind);
unsigned predicate_facts(PredicateKind kind);
/* Those that make up the rule for this question: what it asks for, always the user, of a caller with a scope
 * the scope, and of a device of another kind than PCI the bus. */
uint32_t rule_predicates(const Rule *rule, const Question *question);
/* The kinds of devices that it is about, as far as its .buses and its effect say: a mask of 1 << DeviceKind.
 * An allow or ask rule that names neither bus nor device is about PCI. */
unsigned rule_buses(const Rule *rule);
/* In the words of the file: "alice, bob". What the rule does not ask for: "anybody", "no scope", "pci". */
const char *rule_wanted(const Rule *rule, PredicateKind kind);

/* What all predicates of a rule come to. */
typedef enum RuleHolds {
    RULE_PASSES_BY, /* goes to the next rule */
    RULE_MAY_ASK,   /* goes to the next rule, but who might have to be asked is not left out */
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
    uint32_t predicates; /* of all rules together */
    HostSettings host;
    DeclaredFunctions *declared; /* owned */
    size_t n_declared;
    DeviceTemplate *templates; /* owned */
    size_t n_templates;
    unsigned needed_facts;
    uint64_t version; /* counts what policy_resolve_again() has changed */
};

void declared_functions_done(DeclaredFunctions *list, size_t n);
void device_templates_done(DeviceTemplate *list, size_t n);
Tag *tag_free(Tag *tag);
DEFINE_TRIVIAL_CLEANUP_FUNC(Tag *, tag_free);
/* How the device stands to all tags of a rule. */
Holds tags_hold(const Rule *rule, const Question *question);
/* The card that an entry of the tag knows at the place of this device, or the place that it knows for this
 * card: for telling what has changed. NULL when neither. */
const TagEntry *tag_changed_entry(const Tag *tag, const Question *question);
