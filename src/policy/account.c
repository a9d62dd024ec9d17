/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The accounts that rules name. A name is looked up when the policy is loaded, and again while it is unknown:
 * a directory service that starts late or a deleted account must not disable the whole policy. In an allow or
 * ask rule an unknown name matches nobody. In a deny rule it matches everybody, because it could be
 * anybody's; see predicate.c. */

#include "policy/filter.h"
#include "policy/rule.h"

static int compare_ids(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *) a, y = *(const uint32_t *) b;

    return x < y ? -1 : x > y;
}

void rule_sort_accounts(Rule *rule) {
    if (rule->n_uids > 0)
        qsort(rule->uids, rule->n_uids, sizeof(*rule->uids), compare_ids);
    if (rule->n_gids > 0)
        qsort(rule->gids, rule->n_gids, sizeof(*rule->gids), compare_ids);
}

int account_resolve(const AccountUse *use, resolve_name_t resolve, void *userdata, uint32_t *ret) {
    int r = resolve(userdata, use->is_group, use->name, ret);
    uint64_t number;

    if (r != -ENOENT)
        return r;
    r = parse_unsigned(use->name, 10, ACCOUNT_ID_MAX, &number);
    if (r < 0)
        return r == -ERANGE ? r : -ENOENT;
    *ret = (uint32_t) number;
    return 0;
}

int rule_set_account(Rule *rule, AccountUse *use, uint32_t id) {
    uint32_t **list = use->is_group ? &rule->gids : &rule->uids, *grown;
    size_t *n = use->is_group ? &rule->n_gids : &rule->n_uids;

    grown = reallocarray(*list, *n + 1, sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    *list = grown;
    grown[(*n)++] = id;
    use->known = true;
    return 0;
}

bool rule_names_unknown(const Rule *rule, bool is_group) {
    for (size_t i = 0; i < rule->n_accounts; i++)
        if (rule->accounts[i].is_group == is_group && !rule->accounts[i].known)
            return true;
    return false;
}

bool rule_names_unknown_user(const Rule *rule, const char *name) {
    for (size_t i = 0; i < rule->n_accounts; i++)
        if (!rule->accounts[i].is_group && !rule->accounts[i].known && streq(rule->accounts[i].name, name))
            return true;
    return false;
}

int policy_foreach_unknown_account(const Policy *policy, visit_account_name_t visit, void *userdata) {
    for (size_t i = 0; i < policy_n_rules(policy); i++)
        for (size_t k = 0; k < policy->rules[i].n_accounts; k++) {
            const AccountUse *use = policy->rules[i].accounts + k;
            int r = use->known ? 0 : visit(userdata, use->is_group, use->name);

            if (r < 0)
                return r;
        }
    return 0;
}

int policy_resolve_again(Policy *policy, resolve_name_t resolve, void *userdata) {
    int n = 0;

    for (size_t i = 0; i < policy_n_rules(policy); i++) {
        Rule *rule = policy->rules + i;
        bool changed = false;

        for (size_t k = 0; k < rule->n_accounts; k++) {
            AccountUse *use = rule->accounts + k;
            uint32_t id;

            if (use->known || account_resolve(use, resolve, userdata, &id) < 0)
                continue;
            if (rule_set_account(rule, use, id) < 0)
                return -ENOMEM;
            changed = true;
            n++;
        }
        if (!changed)
            continue;
        rule_sort_accounts(rule);
        rule_filter_init(policy->filters + i, rule);
    }
    policy->version += n > 0;
    return n;
}
