/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Internal to the policy parser. Each of the files parse*.c knows the keys of one kind of object: the file
 * and the set (parse.c), a rule (parse-rule.c), its "who", its "what", its terms (parse-terms.c), tags. */

#include "policy/parse.h"
#include "policy/rule.h"
#include "core/schema.h"

struct PolicyParser {
    resolve_name_t resolve;
    void *userdata;
    uint64_t now_usec; /* 0: unknown */
    Rule *rules;       /* owned */
    size_t n_rules;
    /* of the rules, once the set is checked */
    struct RuleFilter *filters; /* owned */
    void *names;                /* tree of RuleName */
    void *resolved;             /* tree of Resolved */
    struct Resolved **accounts; /* owned; the elements belong to the tree, in the order of the files */
    size_t n_accounts;
    void *tag_tree; /* tree of Tag; these belong to tags */
    Tag **tags;     /* owned, in the order of the files */
    size_t n_tags;
    bool has_scopes; /* a rule names a scope */
    bool has_kinds;  /* a rule names another kind than PCI */
    HostSettings host;
    DeclaredFunctions *declared; /* owned */
    size_t n_declared;
    DeviceTemplate *templates; /* owned */
    size_t n_templates;
    char *noiommu_place, *reservation_ttl_place; /* owned; FILE:LINE:COL of that setting; NULL: not set yet */
    Problems problems, warnings;
    bool checked; /* the set as a whole is checked */

    /* of the file that is being parsed */
    unsigned rule_number;

    /* filled by the functions of the keys */
    Rule rule;
    Tag *tag;
    TagEntry entry;
    DeclaredFunctions functions;
    DeviceTemplate template;
    PropertyPattern property;
};

#define report_value(p, value, ...) problems_report_value(&(p)->problems, value, __VA_ARGS__)
#define report_key(p, member, ...)                                                                           \
    problems_report(&(p)->problems, (member)->key_line, (member)->key_column, __VA_ARGS__)
#define show(p, s) problems_show(&(p)->problems, s)

/* --- parse-value.c: shared by several of them --- */

/* Makes room for element n of a list; lists double. False on ENOMEM. */
bool parser_grow(PolicyParser *p, void **list, size_t n, size_t size);
void parser_add_string(PolicyParser *p, StringList *list, const char *s);
/* Notes that the rule has this predicate, with value as what it requires. */
void parser_note_predicate(PolicyParser *p, PredicateKind kind, const JsonNode *value);
/* The same for every member of object that is a predicate: "who" and "user" make "who.user". */
void parser_note_predicates(PolicyParser *p, const char *prefix, const JsonNode *object);
/* These return false, or a negative number, after they have reported what is wrong with the value. */
bool parser_check_not_empty(PolicyParser *p, const JsonNode *object);
bool parser_take_glob(PolicyParser *p, const JsonNode *value, StringList *list);
/* A number of bytes, or a size like "16G". */
bool parser_take_size(PolicyParser *p, const JsonNode *value, uint64_t *ret);
bool parser_take_number(PolicyParser *p, const JsonNode *value, uint64_t min, uint64_t max, uint64_t *ret);
/* The index of value in words, which end with NULL. what: "value of \"reset\":". */
int parser_take_word(PolicyParser *p, const JsonNode *value, const char *what, const char *const *words);

/* --- parse-spelling.c: patterns that can never match --- */

/* False when the value has wildcards and its key does not support any. what: "the name of a user"; advice:
 * what to write instead. */
bool parser_refuse_glob(PolicyParser *p, const JsonNode *value, const char *what, const char *advice);
/* False when the glob uses syntax of another program. */
bool parser_check_foreign_glob(PolicyParser *p, const JsonNode *value);
void parser_check_unit(PolicyParser *p, const JsonNode *value);
void parser_check_slice(PolicyParser *p, const JsonNode *value);
void parser_check_cgroup(PolicyParser *p, const JsonNode *value);
void parser_check_driver(PolicyParser *p, const JsonNode *value);
void parser_check_property_key(PolicyParser *p, const JsonNode *member);
void parser_check_property(PolicyParser *p, const char *key, const JsonNode *value);

/* --- functions of keys, for tables in other files --- */

void take_rule(PolicyParser *p, const JsonNode *value);
void take_who(void *userdata, const JsonNode *value);
void take_what(void *userdata, const JsonNode *value);
void take_tags(void *userdata, const JsonNode *value);
void take_virtual_functions(void *userdata, const JsonNode *value);
void take_templates(void *userdata, const JsonNode *value);
/* False after reporting that value is not a PCI pattern. */
bool parser_take_pci_pattern(PolicyParser *p, const JsonNode *value, DevicePattern *ret);
/* The id of a card: "1234:11e8", or with the subsystem's pair; "*" stands for any part. */
bool parse_id(const char *s, IdPattern *ret);

/* In parse-terms.c. The names of the keys there, ended by NULL. */
extern const char *const rule_terms_keys[];
void take_backend(void *userdata, const JsonNode *value);
void take_grant(void *userdata, const JsonNode *value);
void take_tether(void *userdata, const JsonNode *value);
void take_reset(void *userdata, const JsonNode *value);
void take_siblings(void *userdata, const JsonNode *value);
void take_host_critical(void *userdata, const JsonNode *value);
void take_memlock(void *userdata, const JsonNode *value);
void take_untainted(void *userdata, const JsonNode *value);
void take_reason(void *userdata, const JsonNode *value);
void take_limits(void *userdata, const JsonNode *value);
void take_noiommu(void *userdata, const JsonNode *value);
void take_network(void *userdata, const JsonNode *value);
void take_priority(void *userdata, const JsonNode *value);
void take_eviction_delay(void *userdata, const JsonNode *value);
void take_vfio_driver(void *userdata, const JsonNode *value);
void take_sleep_delay(void *userdata, const JsonNode *value);
void take_max_duration(void *userdata, const JsonNode *value);
void take_stop_after(void *userdata, const JsonNode *value);
void take_drain_timeout(void *userdata, const JsonNode *value);
void take_d3cold(void *userdata, const JsonNode *value);
void take_preemptible(void *userdata, const JsonNode *value);
void take_scrub(void *userdata, const JsonNode *value);

/* --- the set as a whole --- */

/* Sets the tag of each mention of a tag. An undefined tag is an error. */
void parser_resolve_tags(PolicyParser *p);
/* Sets the ids of the accounts that rules name. Warns of unknown accounts. */
void parser_resolve_accounts(PolicyParser *p);
void parser_warn_of_unused_tags(PolicyParser *p);
/* Warns of rules that name an undefined template. */
void parser_warn_of_unknown_templates(PolicyParser *p);
/* Warns of rules that can never match, because an earlier rule covers them. */
void parser_warn_of_covered_rules(PolicyParser *p);
void parser_forget_names(PolicyParser *p);
void parser_forget_accounts(PolicyParser *p);
void parser_forget_tags(PolicyParser *p);
