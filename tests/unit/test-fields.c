/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Tests of document tables: reading and writing with a field of each kind, the messages about invalid values,
 * and the records of earlier versions, which must be read and written as before. */

#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <json-c/json.h>
#include <stdio.h>

#include "base/fields.h"
#include "core/record.h"

typedef enum Colour {
    COLOUR_NONE,
    COLOUR_RED,
    COLOUR_BLUE,
    _COLOUR_MAX,
    _COLOUR_INVALID = -EINVAL
} Colour;
static const char *const colour_table[_COLOUR_MAX] = {"none", "red", "blue"};
const char *colour_to_string(Colour v);
Colour colour_from_string(const char *s);
DEFINE_STRING_TABLE(colour, Colour);
DEFINE_FIELD_WORDS(colour, _COLOUR_MAX, "a colour");

typedef struct Part {
    int number;
    char name[8];
} Part;

typedef struct Whole {
    bool yes, known;
    uint8_t small;
    uint16_t port;
    uint32_t id;
    int64_t wide;
    char text[8];
    char *string;
    Colour colour;
    unsigned colours, facts;
    uint16_t fact;
    Part inner;
    Part *parts;
    size_t n_parts;
    int numbers[3];
    size_t n_numbers;
    uint32_t maybe;
} Whole;

static const Field part_fields[] = {
        FIELD_NUMBER("number", Part, number, -1, 100, .flags = FIELD_REQUIRED),
        FIELD_TEXT("name", Part, name),
};
static const FieldTable part_table = FIELD_TABLE(part_fields);
static const Field number = {.kind = FIELD_NUMBER, .size = sizeof(int), .min = 0, .max = 9};

static const Field whole_fields[] = {
        FIELD_BOOLEAN("yes", Whole, yes),
        FIELD_NUMBER("small", Whole, small, 0, 255),
        FIELD_NUMBER("port", Whole, port, 0, 65535),
        FIELD_NUMBER("id", Whole, id, 0, UINT32_MAX - 1, .flags = FIELD_OMIT),
        FIELD_NUMBER("wide", Whole, wide, INT64_MIN, INT64_MAX),
        FIELD_TEXT("text", Whole, text),
        FIELD_STRING("string", Whole, string, .flags = FIELD_OMIT),
        FIELD_WORD("colour", Whole, colour, &colour_words),
        FIELD_WORDS("colours", Whole, colours, &colour_words),
        FIELD_NUMBER("fact", Whole, fact, 0, 65535, .fact = 4),
        FIELD_OBJECT("inner", Whole, inner, &part_table),
        FIELD_OBJECTS("parts", Whole, parts, n_parts, &part_table, 0, 5, .flags = FIELD_ALLOCATED),
        FIELD_VALUES("numbers", Whole, numbers, n_numbers, &number, 0, 3),
        FIELD_NUMBER("maybe", Whole, maybe, 0, 10, .flags = FIELD_IF_KNOWN, .known = offsetof(Whole, known)),
        {.name = "old", .kind = FIELD_IGNORED},
};
static const FieldTable whole_table = FIELD_TABLE(whole_fields, .facts = offsetof(Whole, facts));

static void whole_done(Whole *w) {
    free(w->string);
    free(w->parts);
    *w = (Whole){};
}

static int read_whole(const char *text, Whole *w, char **ret_problem) {
    FieldReader r = {.name = "the whole"};
    JsonDocument *document;
    JsonError error;
    int e;

    *w = (Whole){.id = UINT32_MAX};
    assert_int_equal(json_document_parse(text, strlen(text), &document, &error), 0);
    e = fields_read(&r, json_document_root(document), &whole_table, w);
    json_document_free(document);
    *ret_problem = r.problem;
    return e;
}

static void test_both_directions(void **state) {
    static const char *const texts[] = {
            "{\"yes\":true,\"small\":200,\"port\":65535,\"id\":4294967294,\"wide\":-9223372036854775808,"
            "\"text\":\"seven77\",\"string\":\"a \\\"\\\\\\n\\u0001/\xc3\xa4\",\"colour\":\"blue\","
            "\"colours\":[\"red\",\"blue\"],\"fact\":7,\"inner\":{\"number\":-1,\"name\":\"x\"},"
            "\"parts\":[{\"number\":1,\"name\":\"\"},{\"number\":2,\"name\":\"b\"},"
            "{\"number\":3,\"name\":\"c\"}],\"numbers\":[0,9],\"maybe\":10}",
            "{\"yes\":false,\"small\":0,\"port\":0,\"wide\":0,\"text\":\"\",\"colour\":\"none\","
            "\"colours\":[],\"inner\":{\"number\":0,\"name\":\"\"},\"parts\":[],\"numbers\":[]}",
    };

    for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
        _cleanup_(whole_done) Whole w = {};
        _cleanup_strbuf_ StrBuf b = {};
        char *problem;

        assert_int_equal(read_whole(texts[i], &w, &problem), 0);
        fields_write(&b, &whole_table, &w);
        assert_string_equal(b.text, texts[i]);
    }
}

static void test_problems(void **state) {
    static const struct {
        const char *text, *problem;
    } cases[] = {
            {"[]", "the whole (line 1): expected object, found array"},
            {"{\n\"small\": 256}", "small (line 2): 256 is not from 0 to 255"},
            {"{\"yes\": 1}", "yes (line 1): expected boolean, found integer"},
            {"{\"id\": 4294967295}", "id (line 1): 4294967295 is not from 0 to 4294967294"},
            {"{\"text\": \"longer than\"}", "text (line 1): longer than 7 bytes"},
            {"{\"colour\": \"green\"}", "colour (line 1): not a colour"},
            {"{\"colours\": [\"red\", 7]}", "colours[1] (line 1): expected string, found integer"},
            {"{\"inner\": {}}", "inner (line 1): \"number\" is missing"},
            {"{\"parts\": [{\"number\": 1}, {\"number\": 101}]}",
                    "parts[1].number (line 1): 101 is not from -1 to 100"},
            {"{\"numbers\": [1, 2, 3, 4]}", "numbers (line 1): 4 elements are not from 0 to 3"},
            {"{\"color\": \"red\"}", "color (line 1): unknown member; did you mean 'colour'?"},
    };

    for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
        _cleanup_(whole_done) Whole w = {};
        char *problem;

        assert_int_equal(read_whole(cases[i].text, &w, &problem), -EBADMSG);
        assert_string_equal(problem, cases[i].problem);
        free(problem);
    }
}

static void test_bytes_that_are_no_text(void **state) {
    _cleanup_strbuf_ StrBuf b = {};

    strbuf_add_json(&b, "a\xff\xc3\tz");
    assert_string_equal(b.text, "\"a\xef\xbf\xbd\xef\xbf\xbd\\tz\"");
}

/* Records of version 0.1.0. New members may be added, and nothing else may change. */
static const char *const old_records[] = {
        /* parks */
        "{\"id\":\"3f6e9284a0e7466b\",\"state\":\"held\",\"uid\":0,\"pid\":5357,\"command\":\"python3\","
        "\"unit\":\"\",\""
        "reason\":\"\",\"since\":1795901843439177,\"failure\":\"\",\"backend\":\"group\",\"rule\":\"parks "
        "(\\/etc\\/p"
        "olicy.d\\/50-test.json:19), rest (\\/etc\\/policy.d\\/50-test.json:75)\",\"ask\":false,\"resetDema"
        "nd\":\"required\",\"memlock\":0,\"noiommuReason\":\"\",\"charges\":[{\"rule\":\"parks\",\"devices\":"
        "1},{\"ru"
        "le\":\"rest\",\"devices\":1}],\"groups\":[40],\"members\":[{\"name\":\"pci:0000:0b:00.0\",\"group\":"
        "40,\"d"
        "isposition\":\"claim\",\"vendor\":32902,\"product\":4307,\"bind\":true,\"targetDriver\":\"vfio-"
        "pci\",\"o"
        "riginalDriver\":\"e1000e\",\"originalOverride\":\"\",\"reset\":true,\"resetMethods\":[\"flr\","
        "\"bus\"],\"e"
        "nableBaseline\":0},{\"name\":\"pci:0000:0c:00.0\",\"group\":40,\"disposition\":\"park\",\"vendor\":"
        "3290"
        "2,\"product\":4308,\"bind\":true,\"targetDriver\":\"vfio-pci\",\"originalDriver\":\"snd_hda_intel\","
        "\"o"
        "riginalOverride\":\"\",\"reset\":true,\"resetMethods\":[\"flr\",\"bus\"],\"enableBaseline\":0}],"
        "\"versio"
        "n\":2,\"subject\":{\"capabilities\":2199006478335,\"gids\":[0],\"userNamespace\":\"host\","
        "\"pidNamespa"
        "ce\":\"host\"},\"bootId\":\"boot\"}",
        /* quarantined */
        "{\"id\":\"3319fa2e6c555a18\",\"state\":\"quarantined\",\"uid\":0,\"pid\":5357,\"command\":"
        "\"python3\",\"uni"
        "t\":\"\",\"reason\":\"\",\"since\":1795901843544805,\"failure\":\"pci:0000:14:00.0: it could not be "
        "re"
        "set after its owner (reset: Inappropriate ioctl for device). The operator must look at it:"
        " 'vfioctl status DEVICE' tells why, 'vfioctl release' lifts it.\",\"backend\":\"iommufd\",\"rule"
        "\":\"rest "
        "(\\/etc\\/policy.d\\/50-test.json:75)\",\"ask\":false,\"resetDemand\":\"required\",\"memlock\""
        ":0,\"noiommuReason\":\"\",\"charges\":[{\"rule\":\"rest\",\"devices\":1}],\"groups\":[24],"
        "\"members\":[{\"n"
        "ame\":\"pci:0000:14:00.0\",\"group\":24,\"disposition\":\"claim\",\"vendor\":32902,\"product\":4307,"
        "\"bi"
        "nd\":false,\"targetDriver\":\"vfio-pci\",\"originalDriver\":\"vfio-pci\",\"originalOverride\":\"\","
        "\"res"
        "et\":true,\"resetMethods\":[\"flr\",\"bus\"],\"enableBaseline\":0}],\"version\":2,\"subject\":{"
        "\"capabil"
        "ities\":2199006478335,\"gids\":[0],\"userNamespace\":\"host\",\"pidNamespace\":\"host\"},\"bootId\":"
        "\"bo"
        "ot\"}",
        /* noiommu */
        "{\"id\":\"dc887806a1afe0a4\",\"state\":\"held\",\"uid\":0,\"pid\":5357,\"command\":\"python3\","
        "\"unit\":\"\",\""
        "reason\":\"\",\"since\":1795901843484650,\"failure\":\"\",\"backend\":\"noiommu\",\"rule\":"
        "\"noiommu (\\/et"
        "c\\/policy.d\\/"
        "50-test.json:46)\",\"ask\":false,\"resetDemand\":\"required\",\"memlock\":0,\"noiommuRe"
        "ason\":\"a machine for "
        "tests\",\"charges\":[{\"rule\":\"noiommu\",\"devices\":1}],\"groups\":[],\"member"
        "s\":[{\"name\":\"pci:0000:0e:00.0\",\"group\":900,\"disposition\":\"claim\",\"vendor\":32902,"
        "\"product\":"
        "4307,\"bind\":true,\"targetDriver\":\"vfio-pci\",\"originalDriver\":\"e1000e\",\"originalOverride\":"
        "\"\""
        ",\"reset\":true,\"resetMethods\":[\"flr\",\"bus\"],\"enableBaseline\":0}],\"version\":2,\"subject\":"
        "{\"ca"
        "pabilities\":2199006478335,\"gids\":[0],\"userNamespace\":\"host\",\"pidNamespace\":\"host\"},"
        "\"bootId"
        "\":\"boot\"}",
};

static void test_old_records(void **state) {
    for (size_t i = 0; i < ELEMENTSOF(old_records); i++) {
        _cleanup_(claim_done) Claim c = CLAIM_NULL;
        _cleanup_free_ char *text = NULL;
        struct json_object *old = json_tokener_parse(old_records[i]), *now, *members, *subject;

        assert_int_equal(claim_from_record(old_records[i], strlen(old_records[i]), "boot", &c, NULL), 0);
        text = claim_to_record(&c, "boot");
        now = json_tokener_parse(text);
        assert_true(json_object_object_get_ex(now, "members", &members));
        for (size_t k = 0; k < json_object_array_length(members); k++)
            json_object_object_del(json_object_array_get_idx(members, k), "progress");
        assert_true(json_object_object_get_ex(now, "subject", &subject));
        json_object_object_del(subject, "capabilitiesUnsure");
        assert_int_equal(c.plan.grant, GRANT_FD);
        assert_int_equal(c.plan.tether, TETHER_LIFELINE);
        assert_int_equal(c.plan.tethers, TETHERS_DEFAULT);
        assert_string_equal(c.cookie, "");
        json_object_object_del(now, "grant");
        json_object_object_del(now, "tether");
        json_object_object_del(now, "tethers");
        if (!json_object_equal(old, now))
            fail_msg("%s became %s", old_records[i], text);
        json_object_put(old);
        json_object_put(now);
    }
}

/* A record of an older daemon has neither a deadline nor a limit. */
static void test_deadline(void **state) {
    const char *first = old_records[0];
    _cleanup_(claim_done) Claim c = CLAIM_NULL, again = CLAIM_NULL;
    _cleanup_free_ char *text = NULL;

    assert_int_equal(claim_from_record(first, strlen(first), "boot", &c, NULL), 0);
    assert_true(c.until_usec == 0 && c.deadline_usec == 0 && c.plan.duration_sec == 0);
    assert_true(c.stop.state == STOP_NONE && c.plan.hold.stop_after_sec == 0 &&
            c.plan.hold.drain_timeout_sec == 0);
    assert_true(c.plan.hold.max_duration_sec == 0 && c.plan.hold.eviction_delay_sec == 0);
    assert_int_equal(c.eviction.cause, EVICTION_BY_OPERATOR);
    c.until_usec = 5;
    c.plan.duration_sec = 7;
    c.plan.hold.max_duration_sec = 8;
    c.plan.hold.preemptible = true;
    c.plan.priority = -3;
    c.plan.hold.stop_after_sec = 9;
    c.plan.hold.drain_timeout_sec = 10;
    c.stop = (Stop){.state = STOP_ASKED, .at_usec = 3, .deadline_usec = 4};
    c.eviction = (Eviction){
            .state = EVICTION_ANNOUNCED, .cause = EVICTION_BY_DEADLINE, .at_usec = 1, .deadline_usec = 2};
    text = claim_to_record(&c, "boot");
    assert_int_equal(claim_from_record(text, strlen(text), "boot", &again, NULL), 0);
    assert_true(again.until_usec == 5 && again.deadline_usec == 0 && again.plan.duration_sec == 7);
    assert_int_equal(again.plan.hold.max_duration_sec, 8);
    assert_true(again.plan.hold.preemptible && again.plan.priority == -3);
    assert_true(again.plan.hold.stop_after_sec == 9 && again.plan.hold.drain_timeout_sec == 10);
    assert_true(again.stop.state == STOP_ASKED && again.stop.at_usec == 3 && again.stop.deadline_usec == 4);
    assert_int_equal(again.eviction.cause, EVICTION_BY_DEADLINE);
}

/* Only a reservation has a ticket. A record that contradicts this is damaged, and frees nothing. */
static void test_reservation(void **state) {
    static const char *const secrets[] = {
            "", "x", "0123456789abcdef0123456789abcde", "0123456789ABCDEF0123456789abcdef"};
    const char *first = old_records[0];
    _cleanup_(claim_done) Claim c = CLAIM_NULL, again = CLAIM_NULL;
    _cleanup_free_ char *text = NULL;
    char ticket[REQUEST_TICKET_MAX];

    assert_int_equal(claim_from_record(first, strlen(first), "boot", &c, NULL), 0);
    c.state = CLAIM_RESERVED;
    c.until_usec = 5;
    c.deadline_usec = 6;
    strcpy(c.ticket, "0123456789abcdef0123456789abcdef");
    text = claim_to_record(&c, "boot");
    assert_int_equal(claim_from_record(text, strlen(text), "boot", &again, NULL), 0);
    assert_int_equal(again.state, CLAIM_RESERVED);
    assert_true(again.until_usec == 5 && again.deadline_usec == 6);
    assert_true(claim_has_ticket(&again, claim_format_ticket(&c, ticket)));
    for (size_t i = 0; ticket[i]; i++) {
        ticket[i]++;
        assert_false(claim_has_ticket(&again, ticket));
        ticket[i]--;
    }
    ticket[REQUEST_TICKET_MAX - 2] = '\0';
    assert_false(claim_has_ticket(&again, ticket));
    assert_false(claim_has_ticket(&again, ""));
    for (size_t i = 0; i < ELEMENTSOF(secrets); i++) {
        _cleanup_free_ char *damaged = NULL;

        strcpy(c.ticket, secrets[i]);
        damaged = claim_to_record(&c, "boot");
        assert_int_equal(claim_from_record(damaged, strlen(damaged), "boot", &again, NULL), -EBADMSG);
    }
    c.state = CLAIM_HELD;
    c.ticket[0] = '\0';
    assert_false(claim_has_ticket(&c, claim_format_ticket(&c, ticket)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_deadline),
            cmocka_unit_test(test_reservation),
            cmocka_unit_test(test_both_directions),
            cmocka_unit_test(test_problems),
            cmocka_unit_test(test_bytes_that_are_no_text),
            cmocka_unit_test(test_old_records),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
