/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a decision of the policy costs, and what loading one costs.
 *
 * A decision: one rule that matches is the floor; against it 1,000 rules of the same kind of which the last
 * matches, and of which none does. Each kind asks about something else, so that no trick that is good for one
 * of them hides what the others cost; "mix" takes turns. Warm figures are medians over batches, since one
 * decision is shorter than the clock is exact. "cold" is what the daemon sees after it has slept: single
 * decisions, and before each of them so much memory is walked through that nothing of the policy is left in
 * the caches; median and the worst.
 *
 * Loading: text to Policy of 10,000 rules, warnings included; the floor is parsing the same text as JSON.
 *
 * Prints lines `NAME VALUE FLOOR`: microseconds, FLOOR - where there is none. */

#include <getopt.h>
#include <stdio.h>
#include <time.h>

#include "base/json-text.h"
#include "base/str.h"
#include "policy/parse.h"

#define N_RULES 1000U
#define N_RULES_LOADED 10000U
#define BATCH_USEC 300.0
#define SAMPLES_MAX 301U
#define CACHES_SIZE (32U * 1024 * 1024)

typedef struct Amount {
    size_t batches, cold, loads;
} Amount;

/* Members of "who" and "what"; # stands for four digits, others in each rule. */
typedef struct Kind {
    const char *name;
    const char *who, *what;             /* of rules that do not match */
    const char *right_who, *right_what; /* of the one that does */
} Kind;

static const Kind kinds[] = {
        {"user", "'user': 1#", "", "'user': 1000", ""},
        {"id", "'user': 1000", "'id': '8086:#'", "'user': 1000", "'id': '1234:11e8'"},
        {"class", "'user': 1000", "'class': '02#'", "'user': 1000", "'class': '00ff'"},
        {"device", "'user': 1000", "'device': '#:06:0d.0'", "'user': 1000", "'device': '0000:06:0d.0'"},
        {"device-glob", "'user': 1000", "'device': '#:06:*'", "'user': 1000", "'device': '0000:06:*'"},
        {"driver", "'group': 2000", "'driver': 'driver-#'", "'group': 2000", "'driver': 'e1000e'"},
        {"unit", "'unit': 'vm-#-*.service'", "", "'unit': 'vm-ali*.service'", ""},
        {"unit-end", "'unit': '*-#.service'", "", "'unit': '*-alice.service'", ""},
        {"slice", "'slice': 'machine-#-*.slice'", "", "'slice': 'machine-ed*.slice'", ""},
        {"cgroup", "'cgroup': '/machine.slice/*/vm-#*'", "", "'cgroup': '/machine.slice/*/vm-al*'", ""},
        {"label", "'label': '*:svirt_#_t:*'", "", "'label': '*:svirt_t:*'", ""},
        {"property", "'user': 1000", "'property': {'ID_PATH': 'pci-#:*'}", "'user': 1000",
                "'property': {'ID_PATH': 'pci-0000:*'}"},
        {"property-any", "'user': 1000", "'property': {'ID_PATH': '*-#:*'}", "'user': 1000",
                "'property': {'ID_PATH': '*-0000:*'}"},
        {"properties", "'user': 1000", "'property': {'KEY_#': '*'}", "'user': 1000",
                "'property': {'ID_PATH': '*'}"},
        {"numa", "'user': 1000", "'numa': 1#", "'user': 1000", "'numa': 1"},
        {"tag", "'user': 1000", "'tag': 'card-#'", "'user': 1000", "'tag': 'mine'"},
        {"many", "'user': 1000, 'unit': 'vm-*', 'label': '*:svirt_t:*'",
                "'id': '1234:11e8', 'isolation': {'removable': true}, 'property': {'ID_#': '*'}",
                "'user': 1000", ""},
};

static Subject subject;
static Device device;
static DeviceFacts facts;

static double now_usec(void) {
    struct timespec t;

    (void) clock_gettime(CLOCK_MONOTONIC, &t);
    return (double) t.tv_sec * 1e6 + (double) t.tv_nsec / 1e3;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *) a, y = *(const double *) b;

    return x < y ? -1 : x > y;
}

static void print(const char *what, const char *kind, const char *detail, double value, double floor) {
    (void) printf("%s-%s%s%s %.3f ", what, kind, detail[0] ? "-" : "", detail, value);
    if (floor > 0)
        (void) printf("%.3f\n", floor);
    else
        (void) printf("-\n");
}

_Noreturn static void fail(const char *what) {
    (void) fprintf(stderr, "bench-policy: %s\n", what);
    exit(EXIT_FAILURE);
}

/* ---- Policies ---- */

static void add_members(StrBuf *b, const char *members, unsigned number) {
    for (const char *p = members; *p; p++)
        if (*p == '#')
            strbuf_addf(b, "%04u", number);
        else
            strbuf_addf(b, "%c", *p == '\'' ? '"' : *p);
}

static void add_rule(StrBuf *b, unsigned i, const char *who, const char *what) {
    strbuf_addf(b, "%s\n{\"name\": \"rule-%u\", \"effect\": \"allow\", \"who\": {", i > 0 ? "," : "", i);
    add_members(b, who, i % 9999 + 1);
    strbuf_add(b, "}, \"what\": {");
    add_members(b, what, i % 9999 + 1);
    strbuf_add(b, "}}");
}

/* The tags that rules of the kind "tag" name. */
static void add_tags(StrBuf *b, unsigned n_rules) {
    strbuf_add(b, "\"tags\": {\"mine\": {\"slot\": \"0000:06:0d.0\", \"id\": \"1234:11e8\"}");
    for (unsigned i = 1; i <= MIN(n_rules, 9999U); i++)
        strbuf_addf(b, ",\n\"card-%04u\": {\"slot\": \"%04u:06:0d.0\", \"id\": \"1234:11e8\"}", i, i);
    strbuf_add(b, "},\n");
}

/* For the mix: one rule with all predicates that the thousand rules use. */
static const Kind everything = {
        .right_who = "'user': 1000, 'group': 2000, 'unit': 'vm-ali*.service', 'slice': 'machine-ed*.slice', "
                     "'cgroup': '/machine.slice/*/vm-al*', 'label': '*:svirt_t:*'",
        .right_what = "'id': '1234:11e8', 'class': '00ff', 'device': '0000:06:*', 'driver': 'e1000e', "
                      "'property': {'ID_PATH': 'pci-0000:*'}, 'numa': 1, 'tag': 'mine'",
};

/* kind: an index, or ELEMENTSOF(kinds) for all of them in turns. */
static const Kind *kind_of(size_t kind, unsigned i) {
    return kinds + (kind < ELEMENTSOF(kinds) ? kind : i % ELEMENTSOF(kinds));
}

static char *write_policy(size_t kind, unsigned n_rules, bool last_matches) {
    _cleanup_strbuf_ StrBuf b = {};
    char *text;

    strbuf_add(&b, "{");
    add_tags(&b, n_rules);
    strbuf_add(&b, "\"rules\": [");
    for (unsigned i = 0; i < n_rules; i++) {
        const Kind *k = n_rules == 1 && kind == ELEMENTSOF(kinds) ? &everything : kind_of(kind, i);
        bool right = last_matches && i == n_rules - 1;

        add_rule(&b, i, right ? k->right_who : k->who, right ? k->right_what : k->what);
    }
    strbuf_add(&b, "\n]}\n");
    text = strbuf_steal(&b);
    if (!text)
        fail("out of memory");
    return text;
}

/* Every rule after the first is covered by it. */
static char *write_shadowed(unsigned n_rules) {
    _cleanup_strbuf_ StrBuf b = {};
    char *text;

    strbuf_add(&b, "{");
    add_tags(&b, n_rules);
    strbuf_add(&b, "\"rules\": [");
    add_rule(&b, 0, "", "");
    for (unsigned i = 1; i < n_rules; i++)
        add_rule(&b, i, kind_of(SIZE_MAX, i)->who, kind_of(SIZE_MAX, i)->what);
    strbuf_add(&b, "\n]}\n");
    text = strbuf_steal(&b);
    if (!text)
        fail("out of memory");
    return text;
}

static int resolve(
        _unused_ void *userdata, _unused_ bool is_group, _unused_ const char *name, _unused_ uint32_t *ret) {
    return -ENOENT;
}

static Policy *load(const char *text) {
    _cleanup_(policy_parser_freep) PolicyParser *p = policy_parser_new(resolve, NULL);
    Policy *policy = NULL;

    if (!p || policy_parser_add(p, "bench.json", text, strlen(text)) < 0)
        fail("out of memory");
    if (policy_parser_n_errors(p) > 0)
        fail(policy_parser_error(p, 0));
    if (policy_parser_finish(p, &policy) < 0)
        fail("the policy does not load");
    return policy;
}

/* ---- Decisions ---- */

static void set_question(void) {
    static gid_t gids[] = {1000, 44, 2000};
    /* As udev sets them for a network card. */
    static char *properties[] = {(char *) "DEVPATH=/devices/pci0000:00/0000:00:1c.0/0000:06:0d.0",
            (char *) "SUBSYSTEM=pci", (char *) "DRIVER=e1000e", (char *) "PCI_CLASS=FF00",
            (char *) "PCI_ID=1234:11E8", (char *) "PCI_SUBSYS_ID=1AF4:1100",
            (char *) "PCI_SLOT_NAME=0000:06:0d.0",
            (char *) "MODALIAS=pci:v00001234d000011E8sv00001AF4sd00001100bc00scFFi00",
            (char *) "USEC_INITIALIZED=2134567", (char *) "ID_PCI_CLASS_FROM_DATABASE=Unclassified device",
            (char *) "ID_VENDOR_FROM_DATABASE=Technical Corp.",
            (char *) "ID_PATH_WITH_USB_REVISION=", (char *) "ID_PATH=pci-0000:06:0d.0",
            (char *) "ID_PATH_TAG=pci-0000_06_0d_0", (char *) "ID_NET_NAME_MAC=enx525400123456", NULL};

    subject = SUBJECT_NULL;
    subject.uid = 1000;
    subject.gids = gids;
    subject.n_gids = ELEMENTSOF(gids);
    subject.unit = (char *) "vm-alice.service";
    subject.cgroup = (char *) "/machine.slice/machine-edu.slice/vm-alice.service";
    subject.label = (char *) "system_u:system_r:svirt_t:s0:c12,c345";
    subject.capabilities_known = true;
    subject.user_namespace = subject.pid_namespace = NAMESPACE_HOST;
    device = (Device){
            .name = {.kind = DEVICE_KIND_PCI, .pci_bus = 6, .slot = 0x0d},
            .vendor = 0x1234,
            .device = 0x11e8,
            .subsystem_vendor = 0x1af4,
            .subsystem_device = 0x1100,
            .class_code = 0x00ff00,
            .driver = (char *) "e1000e",
            .vfio_index = -1,
    };
    facts = DEVICE_FACTS_NULL;
    facts.known = DEVICE_FACT_ALL;
    facts.numa_node = 1;
    facts.removable = REMOVABLE_REMOVABLE;
    facts.properties = properties;
}

static bool decide(const Policy *policy) {
    PolicyQuestion question = {.subject = &subject, .device = &device, .facts = &facts, .now_usec = 1};

    return policy_evaluate(policy, &question).effect == EFFECT_ALLOW;
}

static double time_batch(const Policy *policy, size_t n, bool expected) {
    double begin = now_usec();

    for (size_t i = 0; i < n; i++)
        if (decide(policy) != expected)
            fail("a decision is wrong");
    return now_usec() - begin;
}

static double warm(const Policy *policy, bool expected, const Amount *amount) {
    double values[SAMPLES_MAX];
    size_t n = 1;

    while (time_batch(policy, n, expected) < BATCH_USEC)
        n *= 2;
    for (size_t i = 0; i < amount->batches; i++)
        values[i] = time_batch(policy, n, expected) / (double) n;
    qsort(values, amount->batches, sizeof(values[0]), compare);
    return values[amount->batches / 2];
}

static double bench_policy(size_t kind, unsigned n_rules, bool last_matches, const Amount *amount) {
    _cleanup_free_ char *text = write_policy(kind, n_rules, last_matches);
    _cleanup_(policy_freep) Policy *policy = load(text);

    return warm(policy, last_matches, amount);
}

static void bench_kind(size_t kind, const Amount *amount) {
    const char *name = kind < ELEMENTSOF(kinds) ? kinds[kind].name : "mix";
    double one = bench_policy(kind, 1, true, amount);

    print("policy", name, "one", one, 0);
    print("policy", name, "last", bench_policy(kind, N_RULES, true, amount), one);
    print("policy", name, "none", bench_policy(kind, N_RULES, false, amount), one);
}

static void bench_cold(const Amount *amount) {
    _cleanup_free_ char *text = write_policy(SIZE_MAX, N_RULES, true);
    _cleanup_(policy_freep) Policy *policy = load(text);
    _cleanup_free_ volatile char *caches = calloc(1, CACHES_SIZE);
    double values[SAMPLES_MAX];

    if (!caches)
        fail("out of memory");
    for (size_t i = 0; i < amount->cold; i++) {
        for (size_t k = 0; k < CACHES_SIZE; k += 64)
            caches[k]++;
        values[i] = time_batch(policy, 1, true);
    }
    qsort(values, amount->cold, sizeof(values[0]), compare);
    print("policy", "cold", "p50", values[amount->cold / 2], 0);
    print("policy", "cold", "max", values[amount->cold - 1], 0);
}

/* ---- Loading ---- */

static double time_json(const char *text) {
    _cleanup_(json_document_freep) JsonDocument *document = NULL;
    double begin = now_usec();
    JsonError error;

    if (json_document_parse(text, strlen(text), &document, &error) < 0)
        fail("what was written is not JSON");
    return now_usec() - begin;
}

static void bench_load(const char *name, const char *text, const Amount *amount) {
    double values[SAMPLES_MAX], floors[SAMPLES_MAX];

    for (size_t i = 0; i < amount->loads; i++) {
        _cleanup_(policy_freep) Policy *policy = NULL;
        double begin;

        floors[i] = time_json(text);
        begin = now_usec();
        policy = load(text);
        values[i] = now_usec() - begin;
        if (policy_n_rules(policy) != N_RULES_LOADED)
            fail("rules are missing");
    }
    qsort(values, amount->loads, sizeof(values[0]), compare);
    qsort(floors, amount->loads, sizeof(floors[0]), compare);
    print("load", name, "", values[amount->loads / 2], floors[amount->loads / 2]);
}

static void bench_loading(const Amount *amount) {
    _cleanup_free_ char *shadowed = write_shadowed(N_RULES_LOADED);

    for (size_t kind = 0; kind <= ELEMENTSOF(kinds); kind++) {
        _cleanup_free_ char *text = write_policy(kind, N_RULES_LOADED, true);

        bench_load(kind < ELEMENTSOF(kinds) ? kinds[kind].name : "mix", text, amount);
    }
    bench_load("shadowed", shadowed, amount);
}

int main(int argc, char **argv) {
    static const struct option options[] = {{"quick", no_argument, NULL, 'q'}, {}};
    Amount amount = {.batches = 31, .cold = SAMPLES_MAX, .loads = 3};
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
        if (c == 'q')
            amount = (Amount){.batches = 3, .cold = 3, .loads = 1};
        else {
            (void) fprintf(stderr, "usage: %s [--quick]\n", argv[0]);
            return 2;
        }
    set_question();
    for (size_t kind = 0; kind <= ELEMENTSOF(kinds); kind++)
        bench_kind(kind, &amount);
    bench_cold(&amount);
    bench_loading(&amount);
    return EXIT_SUCCESS;
}
