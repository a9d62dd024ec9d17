/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Inside of the policy parser, between policy-parse.c (the file, the set) and the files that know the keys of
 * one object each: policy-parse-who.c, policy-parse-what.c, policy-parse-terms.c, policy-parse-tag.c. Nobody
 * else includes this. */

#include "core/policy-parse.h"
#include "core/policy-rule.h"
#include "core/schema.h"

/* Where a setting of the host was made first. */
typedef struct HostPlace {
    char *file; /* owned; NULL: not made yet */
    unsigned line, column;
} HostPlace;

struct PolicyParser {
    resolve_name_t resolve;
    void *userdata;
    Rule *rules; /* owned */
    size_t n_rules;
    void *names;    /* tree of RuleName */
    void *resolved; /* tree of Resolved */
    void *tag_tree; /* tree of Tag, borrowed from tags */
    Tag **tags;     /* owned, in the order of the files */
    size_t n_tags;
    HostSettings host;
    HostPlace noiommu_place;
    Problems problems, warnings;

    /* of the file that is being parsed */
    unsigned rule_number;
    Rule rule; /* that the functions of the keys fill */
    Tag *tag;  /* the same */
    const JsonNode *tag_entry;
    PropertyPattern *property;
};

#define report_value(p, value, ...) problems_report_value(&(p)->problems, value, __VA_ARGS__)
#define report_key(p, member, ...)                                                                           \
    problems_report(&(p)->problems, (member)->key_line, (member)->key_column, __VA_ARGS__)
#define show(p, s) problems_show(&(p)->problems, s)

/* Room for one element more behind n; lists double. */
bool parser_grow(PolicyParser *p, void **list, size_t n, size_t size);
/* A copy of s at the end of the list. */
void parser_add_string(PolicyParser *p, StringList *list, const char *s);
/* Notes for every member of object that is a predicate ("who" and "user" make "who.user") that the rule asks
 * for it, and what it wants. */
void parser_note_predicates(PolicyParser *p, const char *prefix, const JsonNode *object);
/* A glob that is not empty, not too long and has no open bracket. False: it has been reported. */
bool parser_check_glob(PolicyParser *p, const JsonNode *value);
/* The id of a card: "1234:11e8" or with the subsystem's pair, "*" for any part. */
bool parse_id(const char *s, IdPattern *ret);
/* A number of bytes, as a number or like "16G". False: it has been reported. */
bool parser_take_size(PolicyParser *p, const JsonNode *value, uint64_t max, uint64_t *ret);

/* The functions of the keys with an object of their own, for the tables of policy-parse.c. */
void take_who(void *userdata, const JsonNode *value);
void take_what(void *userdata, const JsonNode *value);
void take_limits(void *userdata, const JsonNode *value);
void take_noiommu(void *userdata, const JsonNode *value);
void take_tags(void *userdata, const JsonNode *value);
/* The keys that say what a rule allows. */
extern const Key terms_keys[];
extern const size_t n_terms_keys;
