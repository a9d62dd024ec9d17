/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/str.h"
#include "client/show.h"
#include "client/topology-picture.h"
#include "rehearsal/rehearsal.h"

#define DATA SOURCE_ROOT "/tests/unit/data/topology/"

/* ---- Recorded hosts ---- */

typedef struct Host {
    struct json_object *list, *devices, *claims;
    Topology topology;
} Host;

static void host_done(Host *h) {
    topology_done(&h->topology);
    json_object_put(h->list);
    json_object_put(h->claims);
}
#define _cleanup_host_ _cleanup_(host_done)

static struct json_object *find(struct json_object *devices, const char *name) {
    for (size_t i = 0; i < json_object_array_length(devices); i++) {
        struct json_object *device = json_object_array_get_idx(devices, i);

        if (streq(json_text(device, "name"), name))
            return device;
    }
    fail_msg("there is no %s", name);
    return NULL;
}

static void set(struct json_object *device, const char *key, const char *text) {
    assert_int_equal(json_add(device, key, json_object_new_string(text)), 0);
}

static void claim(Host *h, const char *name, const char *state, const char *id) {
    struct json_object *device = find(h->devices, name);

    set(device, "state", state);
    set(device, "claim", id);
}

/* Names and claims, which no record contains. */
static void adorn(Host *h) {
    struct json_object *gpu = find(h->devices, "pci:0000:01:00.0");

    set(gpu, "vendorName", "NVIDIA Corporation");
    set(gpu, "modelName", "GA102 [GeForce RTX 3090]");
    claim(h, "pci:0000:00:17.0", "claimed", "0123456789abcdef");
    claim(h, "pci:0000:05:00.0", "draining", "fedcba9876543210");
    claim(h, "pci:0000:05:01.0", "quarantined", "none");
    h->claims = json_tokener_parse("[{\"id\": \"0123456789abcdef\", \"uid\": 1000, \"user\": \"alice\"},"
                                   " {\"id\": \"fedcba9876543210\", \"uid\": 4711, \"user\": null}]");
    assert_non_null(h->claims);
}

static void open_host(const char *path, Host *h) {
    char *problem = NULL;

    *h = (Host){};
    assert_int_equal(rehearsal_list(path, NULL, &h->list, &problem), 0);
    h->devices = json_list(h->list, "devices");
    if (streq(path, DATA "desktop.json"))
        adorn(h);
    assert_int_equal(topology_build(h->devices, h->claims, &h->topology), 0);
}

static char *read_file(const char *path) {
    _cleanup_strbuf_ StrBuf b = {};
    char buf[4096];
    FILE *f = fopen(path, "re");
    size_t n;

    strbuf_add(&b, "");
    while (f && (n = fread(buf, 1, sizeof(buf), f)) > 0)
        strbuf_add_bytes(&b, buf, n);
    if (f)
        (void) fclose(f);
    return strbuf_steal(&b);
}

/* With TOPOLOGY_WRITE=1 the expected files are written. Check them before you commit them. */
static void assert_file(const char *path, const char *text) {
    _cleanup_free_ char *expected = NULL;

    assert_non_null(text);
    if (getenv("TOPOLOGY_WRITE")) {
        FILE *f = fopen(path, "we");

        assert_non_null(f);
        assert_true(fputs(text, f) >= 0);
        assert_int_equal(fclose(f), 0);
    }
    expected = read_file(path);
    assert_string_equal(text, expected);
}

static void shows(const char *host, TableStyle style, bool utf8, const char *path) {
    _cleanup_host_ Host h = {};
    _cleanup_free_ char *text = NULL;

    open_host(host, &h);
    text = topology_format_tree(&h.topology, &style, utf8);
    assert_file(path, text);
    for (const char *c = utf8 ? "" : text; *c; c++)
        assert_true((unsigned char) *c < 0x80);
}

static void test_trees(void **state) {
    const TableStyle wide = {.legend = true};

    shows(DATA "desktop.json", wide, true, DATA "desktop.txt");
    shows(DATA "server.json", wide, true, DATA "server.txt");
    shows(SOURCE_ROOT "/tests/rehearsal/host.json", wide, true, DATA "rehearsal.txt");
}

static void test_narrow(void **state) {
    shows(DATA "desktop.json", (TableStyle){.legend = true, .width = 80}, true, DATA "desktop-80.txt");
    shows(DATA "desktop.json", (TableStyle){.width = 1, .ascii = true}, false, DATA "desktop-ascii.txt");
    shows(DATA "desktop.json", (TableStyle){.legend = true, .colours = true}, true,
            DATA "desktop-colours.txt");
}

/* No line is wider than the terminal, except for the sentences, and no address is cut. */
static void test_width(void **state) {
    const TableStyle style = {.legend = true, .width = 72};
    _cleanup_free_ char *text = NULL;
    _cleanup_host_ Host h = {};
    char *rest, *line;

    open_host(DATA "desktop.json", &h);
    text = topology_format_tree(&h.topology, &style, true);
    assert_non_null(text);
    for (size_t i = 0; i < h.topology.n_nodes; i++)
        assert_non_null(strstr(text, h.topology.nodes[i].name));
    *strstr(text, "\n\n") = '\0';
    for (rest = text; (line = strsep(&rest, "\n"));)
        assert_true(text_width(line) <= 72);
}

static void test_selection(void **state) {
    const char *const names[] = {"pci:0000:01:00.1"};
    _cleanup_free_ char *text = NULL;
    _cleanup_host_ Host h = {};

    open_host(DATA "desktop.json", &h);
    assert_int_equal(topology_select(&h.topology, names, 1), 0);
    assert_int_equal(h.topology.n_nodes, 5); /* the members of its group, and the ports above */
    text = topology_format_tree(&h.topology, &(TableStyle){.legend = true}, true);
    assert_file(DATA "desktop-selected.txt", text);
    assert_int_equal(topology_select(&h.topology, names, 0), 0);
    assert_int_equal(h.topology.n_nodes, 0);
    assert_int_equal(h.topology.n_roots, 0);
}

static void count(struct json_object *below, size_t *n) {
    for (size_t i = 0; i < json_object_array_length(below); i++) {
        struct json_object *o = json_object_array_get_idx(below, i);

        (*n)++;
        assert_true(topology_role_from_string(json_text(o, "role")) >= 0);
        count(json_list(o, "below"), n);
    }
}

static void test_json(void **state) {
    _cleanup_json_ struct json_object *o = NULL;
    struct json_object *port, *groups;
    _cleanup_host_ Host h = {};
    size_t n = 0;

    open_host(DATA "desktop.json", &h);
    o = topology_to_json(&h.topology);
    assert_non_null(o);
    for (size_t i = 0; i < json_object_array_length(json_list(o, "roots")); i++)
        count(json_list(json_object_array_get_idx(json_list(o, "roots"), i), "below"), &n);
    assert_int_equal(n, json_object_array_length(h.devices));
    port = json_object_array_get_idx(
            json_list(json_object_array_get_idx(json_list(o, "roots"), 0), "below"), 1);
    assert_string_equal(json_text(port, "name"), "pci:0000:00:01.0");
    assert_string_equal(json_text(port, "role"), "root-port");
    assert_false(json_flag(port, "isolates"));
    assert_true(json_object_object_get_ex(port, "isolates", NULL));
    groups = json_list(o, "groups");
    assert_int_equal(json_object_array_length(groups), 11);
    assert_int_equal(json_object_array_length(json_list(json_object_array_get_idx(groups, 1), "devices")), 5);
    assert_non_null(strstr(json_text(json_object_array_get_idx(groups, 1), "why"), "lack ACS"));
    assert_true(json_member(json_object_array_get_idx(groups, 0), "why") == NULL);
    assert_int_equal(json_object_array_length(json_list(o, "claims")), 2);
}

/* ---- Pictures: tests/integration/test-topology.py measures them; these tests check names and claims ---- */

static void assert_fits(const PictureBox *box) {
    size_t first = text_width(box->name) + 1 + text_width(box->lines[0].text) +
            (box->group ? 2 + text_width(box->group) : 0);

    assert_true(box->n_lines >= 1 && box->n_lines <= PICTURE_LINES_MAX);
    assert_true(picture_text_width(first) + 2 * PICTURE_PADDING <= box->width);
    for (size_t i = 1; i < box->n_lines; i++)
        assert_true(picture_text_width(text_width(box->lines[i].text)) + 2 * PICTURE_PADDING <= box->width);
    assert_true((int) box->n_lines * PICTURE_LINE_HEIGHT < box->height);
}

static size_t place_of(const Topology *t, const char *name) {
    for (size_t i = 0; i < t->n_nodes; i++)
        if (streq(t->nodes[i].name, name))
            return i;
    fail_msg("there is no %s", name);
    return 0;
}

static void test_picture(void **state) {
    _cleanup_free_ char *long_name = malloc(5001), *svg = NULL;
    _cleanup_host_ Host h = {}; /* the picture refers to its topology, so it is freed first */
    _cleanup_(picture_done) Picture p = {};
    const PictureBox *gpu, *held, *quarantined;

    assert_non_null(long_name);
    memset(long_name, 'W', 5000);
    long_name[5000] = '\0';
    open_host(DATA "desktop.json", &h);
    set(find(h.devices, "pci:0000:00:14.0"), "modelName", long_name);
    set(find(h.devices, "pci:0000:00:14.0"), "driver", long_name);
    assert_int_equal(picture_lay_out(&h.topology, &p), 0);
    for (size_t i = 0; i < h.topology.n_nodes; i++) {
        assert_fits(&p.boxes[i]);
        assert_true(p.boxes[i].x + p.boxes[i].width <= p.width);
        assert_true(p.boxes[i].y + p.boxes[i].height <= p.height);
    }
    gpu = &p.boxes[place_of(&h.topology, "pci:0000:01:00.0")];
    held = &p.boxes[place_of(&h.topology, "pci:0000:00:17.0")];
    quarantined = &p.boxes[place_of(&h.topology, "pci:0000:05:01.0")];
    assert_string_equal(gpu->lines[0].text, "vga, nvidia");
    assert_string_equal(gpu->lines[1].text, "NVIDIA GA102 [GeForce RTX 3090]");
    assert_string_equal(gpu->lines[2].text, "it is the boot display");
    assert_int_equal(gpu->colour, COLOUR_YELLOW);
    assert_string_equal(held->lines[1].text, "held by alice (1000)");
    assert_int_equal(held->colour, COLOUR_GREEN);
    assert_string_equal(held->group, "group 5");
    assert_int_equal(quarantined->colour, COLOUR_RED);
    assert_null(quarantined->group);
    assert_int_equal(p.n_keys, PICTURE_KEYS_MAX);
    svg = picture_to_svg(&p);
    assert_non_null(svg);
    assert_non_null(strstr(svg, ">quarantined</text>"));
    assert_non_null(strstr(svg, "\nState: held by alice (1000)\n"));
}

static void test_picture_of_nothing(void **state) {
    _cleanup_free_ char *svg = NULL;
    _cleanup_host_ Host h = {.list = json_object_new_array()};
    _cleanup_(picture_done) Picture p = {};

    assert_int_equal(topology_build(h.list, NULL, &h.topology), 0);
    assert_int_equal(picture_lay_out(&h.topology, &p), 0);
    svg = picture_to_svg(&p);
    assert_non_null(svg);
    assert_true(p.width > 0 && p.height > 0 && p.n_keys == 0);
}

/* ---- Unusual hosts ---- */

static void parse_host(const char *devices, Host *h) {
    *h = (Host){.list = json_tokener_parse(devices)};
    assert_non_null(h->list);
    h->devices = h->list;
    assert_int_equal(topology_build(h->devices, NULL, &h->topology), 0);
}

static void check_shape(const Topology *t) {
    size_t n = 0;

    for (size_t i = 0; i < t->n_nodes; i++) {
        const TopologyNode *node = &t->nodes[i];

        assert_true(node->depth <= TOPOLOGY_DEPTH_MAX);
        assert_true(node->parent == TOPOLOGY_NONE || node->parent < i);
        assert_int_equal(node->depth, node->parent == TOPOLOGY_NONE ? 0 : t->nodes[node->parent].depth + 1);
        assert_true(node->root < t->n_roots);
    }
    for (size_t i = 0; i < t->n_roots; i++) {
        assert_int_equal(t->roots[i].first, n);
        n += t->roots[i].n;
    }
    assert_int_equal(n, t->n_nodes);
}

#define DEVICE(name, more) "{\"name\": \"" name "\", \"class\": 0, \"state\": \"free\"" more "}"

static void test_circles(void **state) {
    _cleanup_free_ char *text = NULL;
    _cleanup_host_ Host h = {};

    parse_host("[" DEVICE("vdpa:a", ", \"parent\": \"vdpa:b\"") "," DEVICE(
                       "vdpa:b", ", \"parent\": \"vdpa:a\"") "," DEVICE("vdpa:c",
                       ", \"parent\": \"vdpa:c\"") "," DEVICE("vdpa:d", ", \"parent\": \"nobody\"") "]",
            &h);
    check_shape(&h.topology);
    assert_int_equal(h.topology.n_nodes, 4);
    text = topology_format_tree(&h.topology, &(TableStyle){}, true);
    assert_non_null(text);
    for (const char *const *name = (const char *const[]){"vdpa:a", "vdpa:b", "vdpa:c", "vdpa:d", NULL}; *name;
            name++)
        assert_non_null(strstr(text, *name));
}

/* The port in between does not exist, or is not visible. */
static void test_missing_parent(void **state) {
    _cleanup_host_ Host h = {};

    parse_host(
            "[" DEVICE("pci:0000:00:1c.0", ", \"slotPath\": \"0000:00:1c.0\"") "," DEVICE("pci:0000:03:00.0",
                    ", \"slotPath\": \"0000:00:1c.0/00.0/01.0/00.0\"") "," DEVICE("pci:0000:05:00.0",
                    ", \"slotPath\": \"0000:00:1d.0/00.0\"") "," DEVICE("pci:0000:06:00.0", "") "]",
            &h);
    check_shape(&h.topology);
    assert_int_equal(h.topology.n_roots, 2);
    assert_string_equal(h.topology.roots[0].label, "root bus 0000:00");
    assert_int_equal(h.topology.roots[0].n, 3);
    assert_int_equal(h.topology.nodes[1].parent, 0);
    assert_true(h.topology.nodes[2].parent == TOPOLOGY_NONE);
    assert_string_equal(h.topology.roots[1].label, "root bus 0000:06");
}

static void test_chain(void **state) {
    _cleanup_strbuf_ StrBuf b = {};
    _cleanup_free_ char *text = NULL;
    _cleanup_host_ Host h = {};

    strbuf_add(&b, "[");
    for (unsigned i = 0; i < 4096; i++)
        strbuf_addf(&b, "%s{\"name\": \"mdev:%u\", \"parent\": \"mdev:%u\", \"group\": 7}", i > 0 ? "," : "",
                i, i + 1);
    strbuf_add(&b, "]");
    assert_int_equal(b.error, 0);
    parse_host(b.text, &h);
    check_shape(&h.topology);
    assert_int_equal(h.topology.n_nodes, 4096);
    text = topology_format_tree(&h.topology, &(TableStyle){.width = 80}, true);
    assert_non_null(text);
}

/* An entry that is no object, has no name or has a duplicate name is shown. Its escape sequences do not reach
 * the terminal. */
static void test_hostile_text(void **state) {
    _cleanup_free_ char *text = NULL;
    _cleanup_host_ Host h = {};

    parse_host(
            "[null, 3, {}, \"x\", " DEVICE("pci:0000:00:00.0", "") "," DEVICE("pci:0000:00:00.0",
                    "") ","
                        "{\"name\": \"\\u001b[2Jpci:\\n<&\\\">\", \"group\": \"x\", \"slotPath\": 4, "
                        "\"numaNode\": {},"
                        " \"driver\": \"a\\u0000b\\u001b\", \"modelName\": \"\\u202eevil\", \"acsPath\": [1],"
                        " \"state\": \"a\\tb\", \"claim\": \"x\", \"hostCritical\": \"\\u001b]0;\"}]",
            &h);
    check_shape(&h.topology);
    assert_int_equal(h.topology.n_nodes, 7);
    text = topology_format_tree(&h.topology, &(TableStyle){.legend = true}, true);
    assert_non_null(text);
    assert_null(strchr(text, 0x1b));
    assert_null(strchr(text, '\t'));
    assert_null(strstr(text, "\u202e"));
}

/* ---- Why ---- */

#define PORT(name, path, group)                                                                              \
    "{\"name\": \"pci:" name "\", \"class\": 394240, \"driver\": \"pcieport\", \"slotPath\": \"" path        \
    "\", \"group\": " group "}"
#define CARD(name, path, group, more)                                                                        \
    "{\"name\": \"pci:" name "\", \"class\": 131072, \"slotPath\": \"" path "\", \"group\": " group more "}"

static const TopologyNode *node(const Host *h, const char *name) {
    for (size_t i = 0; i < h->topology.n_nodes; i++)
        if (streq(h->topology.nodes[i].name, name))
            return &h->topology.nodes[i];
    fail_msg("there is no %s", name);
    return NULL;
}

static void assert_why(const Host *h, int64_t group, const char *why) {
    for (size_t i = 0; i < h->topology.n_groups; i++)
        if (h->topology.groups[i].id == group) {
            if (why)
                assert_string_equal(h->topology.groups[i].why, why);
            else
                assert_null(h->topology.groups[i].why);
            return;
        }
    fail_msg("there is no group %d", (int) group);
}

/* The topmost port is known from the groups. A port in between is known only if it is reported. */
static void test_ports_of_a_switch(void **state) {
    _cleanup_host_ Host h = {};

    parse_host(
            "[" PORT("0000:00:01.0", "0000:00:01.0", "1") "," PORT("0000:01:00.0", "0000:00:01.0/00.0",
                    "2") "," PORT("0000:02:00.0", "0000:00:01.0/00.0/00.0", "2") "," PORT("0000:02:01.0",
                    "0000:00:01.0/00.0/01.0",
                    "2") "," CARD("0000:03:00.0", "0000:00:01.0/00.0/00.0/00.0", "2",
                    ", \"acsPath\": {\"path\": \"incomplete\", \"blocker\": \"pci:0000:02:00.0\"}") "," CARD("0000:04:00.0",
                    "0000:00:01.0/00.0/01.0/00.0", "2",
                    ", \"acsPath\": {\"path\": \"complete\", \"blocker\": \"pci:0000:02:01.0\"}") "]",
            &h);
    assert_int_equal(node(&h, "pci:0000:00:01.0")->role, TOPOLOGY_ROOT_PORT);
    assert_int_equal(node(&h, "pci:0000:01:00.0")->role, TOPOLOGY_UPSTREAM_PORT);
    assert_int_equal(node(&h, "pci:0000:02:01.0")->role, TOPOLOGY_DOWNSTREAM_PORT);
    assert_false(node(&h, "pci:0000:00:01.0")->does_not_isolate);
    assert_true(node(&h, "pci:0000:01:00.0")->does_not_isolate);
    assert_true(node(&h, "pci:0000:02:00.0")->does_not_isolate);
    assert_false(node(&h, "pci:0000:02:01.0")->does_not_isolate);
    assert_why(&h, 1, NULL);
    assert_why(&h, 2,
            "pci:0000:01:00.0 (switch) and pci:0000:02:00.0 (switch port) lack ACS, and so do not isolate "
            "what is "
            "below them");
}

static void test_other_reasons(void **state) {
    _cleanup_host_ Host h = {};

    parse_host("[" CARD("0000:00:02.0", "0000:00:02.0", "1", "") "," CARD(
                       "0000:00:02.1", "0000:00:02.1", "1", "") "," CARD("0000:00:03.0", "0000:00:03.0", "2",
                       "") "," CARD("0000:00:04.0", "0000:00:04.0", "2", "") "," CARD("0000:00:05.0",
                       "0000:00:05.0", "3", "") "," CARD("0000:00:05.1", "0000:00:05.1", "3",
                       ", \"parent\": \"pci:0000:00:05.0\"") ","
                                                             "{\"name\": \"platform:a\", \"group\": 4}, "
                                                             "{\"name\": \"platform:b\", \"group\": 4}]",
            &h);
    assert_why(&h, 1, "functions of one card, which does not isolate them from each other");
    assert_why(&h, 2, "the kernel does not isolate them from each other; why is unknown");
    assert_why(&h, 3, "functions of one card, which does not isolate them from each other");
    assert_why(&h, 4, "the kernel does not isolate them from each other; why is unknown");
    assert_int_equal(node(&h, "pci:0000:00:05.1")->role, TOPOLOGY_VIRTUAL_FUNCTION);
    assert_string_equal(h.topology.roots[1].label, "platform devices");
}

/* Members of two groups alternate, so each has several brackets. */
static void test_mixed_groups(void **state) {
    _cleanup_free_ char *text = NULL;
    _cleanup_host_ Host h = {};

    parse_host(
            "[" CARD("0000:00:02.0", "0000:00:02.0", "1", "") "," CARD("0000:00:02.1", "0000:00:02.1", "2",
                    "") "," CARD("0000:00:02.2", "0000:00:02.2", "1", "") "," CARD("0000:00:02.3",
                    "0000:00:02.3", "1",
                    "") ","
                        "{\"name\": \"pci:0000:00:03.0\", \"slotPath\": \"0000:00:03.0\", \"group\": null}]",
            &h);
    text = topology_format_tree(&h.topology, &(TableStyle){}, true);
    assert_string_equal(text,
            "     root bus 0000:00\n"
            "1 ╶  ├─pci:0000:00:02.0  ethernet\n"
            "2    ├─pci:0000:00:02.1  ethernet\n"
            "1 ┌  ├─pci:0000:00:02.2  ethernet\n"
            "  └  ├─pci:0000:00:02.3  ethernet\n"
            "     └─pci:0000:00:03.0  class 0x00      no IOMMU\n"
            "\nGroup 1 has 3 devices: functions of one card, which does not isolate them from each other.\n");
}

static void test_no_iommu(void **state) {
    _cleanup_free_ char *text = NULL;
    _cleanup_host_ Host h = {};

    parse_host("[" CARD("0000:00:02.0", "0000:00:02.0", "null", "") "]", &h);
    text = topology_format_tree(&h.topology, &(TableStyle){}, true);
    assert_string_equal(text,
            "  root bus 0000:00\n"
            "  └─pci:0000:00:02.0  ethernet\n"
            "\nThere are no IOMMU groups: no device is isolated from the host.\n");
}

static void test_nothing(void **state) {
    _cleanup_free_ char *text = NULL;
    _cleanup_host_ Host h = {};

    parse_host("[]", &h);
    text = topology_format_tree(&h.topology, &(TableStyle){}, false);
    assert_string_equal(text, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_trees),
            cmocka_unit_test(test_narrow),
            cmocka_unit_test(test_width),
            cmocka_unit_test(test_selection),
            cmocka_unit_test(test_json),
            cmocka_unit_test(test_picture),
            cmocka_unit_test(test_picture_of_nothing),
            cmocka_unit_test(test_circles),
            cmocka_unit_test(test_missing_parent),
            cmocka_unit_test(test_chain),
            cmocka_unit_test(test_hostile_text),
            cmocka_unit_test(test_ports_of_a_switch),
            cmocka_unit_test(test_other_reasons),
            cmocka_unit_test(test_mixed_groups),
            cmocka_unit_test(test_no_iommu),
            cmocka_unit_test(test_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
