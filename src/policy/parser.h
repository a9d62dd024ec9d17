/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Inside of the policy parser, between the files policy-parse*.c, each of which knows the keys of one kind of
 * object: the file and the set (policy-parse.c), a rule, its "who", its "what", what it allows
 * (policy-parse-terms.c), tags. Nobody else includes this. */

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
    struct Resolved **accounts; /* owned, borrowed from the tree, in the order of the files */
    size_t n_accounts;
    void *tag_tree; /* tree of Tag, borrowed from tags */
    Tag **tags;     /* owned, in the order of the files */
    size_t n_tags;
    bool has_scopes; /* a rule names one */
    bool has_kinds;  /* a rule names another one than PCI */
    HostSettings host;
    DeclaredFunctions *declared; /* owned */
    size_t n_declared;
    DeviceTemplate *templates; /* owned */
    size_t n_templates;
    char *noiommu_place,
            *reservation_ttl_place; /* owned; FILE:LINE:COL of that setting, NULL: not made yet */
    Problems problems, warnings;
    bool checked; /* also what several files say together */

    /* of the file that is being parsed */
    unsigned rule_number;

    /* what the functions of the keys fill */
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

/* --- policy-parse-value.c: what several of them need --- */

/* Room for one element more behind n; lists double. */
bool parser_grow(PolicyParser *p, void **list, size_t n, size_t size);
void parser_add_string(PolicyParser *p, StringList *list, const char *s);
/* The rule asks for this predicate, and value is what it wants. */
void parser_note_predicate(PolicyParser *p, PredicateKind kind, const JsonNode *value);
/* The same for every member of object that is one: "who" and "user" make "who.user". */
void parser_note_predicates(PolicyParser *p, const char *prefix, const JsonNode *object);
/* The others return false, or a negative number, when they have reported what is wrong with the value. */
bool parser_check_not_empty(PolicyParser *p, const JsonNode *object);
bool parser_take_glob(PolicyParser *p, const JsonNode *value, StringList *list);
/* A number of bytes, or one like "16G". */
bool parser_take_size(PolicyParser *p, const JsonNode *value, uint64_t *ret);
bool parser_take_number(PolicyParser *p, const JsonNode *value, uint64_t min, uint64_t max, uint64_t *ret);
/* The index of value in words, which end with NULL. what: "value of \"reset\":". */
int parser_take_word(PolicyParser *p, const JsonNode *value, const char *what, const char *const *words);

/* --- parse-spelling.c: patterns that can never match --- */

/* False when the value has wildcards, of which its key knows nothing. what: "the name of a user"; advice:
 * what to write instead. */
bool parser_refuse_glob(PolicyParser *p, const JsonNode *value, const char *what, const char *advice);
/* False when it is a glob of another program. */
bool parser_check_foreign_glob(PolicyParser *p, const JsonNode *value);
void parser_check_unit(PolicyParser *p, const JsonNode *value);
void parser_check_slice(PolicyParser *p, const JsonNode *value);
void parser_check_cgroup(PolicyParser *p, const JsonNode *value);
void parser_check_driver(PolicyParser *p, const JsonNode *value);
void parser_check_property_key(PolicyParser *p, const JsonNode *member);
void parser_check_property(PolicyParser *p, const char *key, const JsonNode *value);

/* --- the functions of keys, for the tables of others --- */

void take_rule(PolicyParser *p, const JsonNode *value);
void take_who(void *userdata, const JsonNode *value);
void take_what(void *userdata, const JsonNode *value);
void take_tags(void *userdata, const JsonNode *value);
void take_virtual_functions(void *userdata, const JsonNode *value);
void take_templates(void *userdata, const JsonNode *value);
/* False when it is reported that it is none. */
bool parser_take_pci_pattern(PolicyParser *p, const JsonNode *value, DevicePattern *ret);
/* The id of a card: "1234:11e8", or with the subsystem's pair; "*" stands for any part. */
bool parse_id(const char *s, IdPattern *ret);

/* policy-parse-terms.c; rule_terms_keys are the names of their keys, ended by NULL. */
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

/* Gives every mention of a tag its tag; those that nobody defines are errors. */
void parser_resolve_tags(PolicyParser *p);
/* Gives the rules the ids of the accounts that they name; warns of those that are unknown. */
void parser_resolve_accounts(PolicyParser *p);
void parser_warn_of_unused_tags(PolicyParser *p);
/* Of rules that name a template that nobody defines. */
void parser_warn_of_unknown_templates(PolicyParser *p);
/* Of rules that can never match, because an earlier one covers them. */
void parser_warn_of_covered_rules(PolicyParser *p);
void parser_forget_names(PolicyParser *p);
void parser_forget_accounts(PolicyParser *p);
void parser_forget_tags(PolicyParser *p);
