/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vfiod-metrics: what vfiod shows to every user, as OpenMetrics text. It has no privilege and asks nothing
 * that vfioctl does not ask. The names are an interface, see vfiod-metrics(8); the values of labels are words
 * of vfiod, of which there are few. With --http it answers the one request of a connection that systemd has
 * accepted. */

#include <getopt.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/str.h"
#include "client/calls.h"
#include "client/show.h"

#define REQUEST_MAX 8192U
#define REQUEST_TIMEOUT_MSEC 5000

/* ---- figures ---- */

typedef struct Sample {
    char *labels; /* owned */
    unsigned n;
} Sample;

/* So many objects have these labels. */
typedef struct Family {
    Sample *items; /* owned */
    size_t n_items;
} Family;

static void family_done(Family *f) {
    for (size_t i = 0; i < f->n_items; i++)
        free(f->items[i].labels);
    free(f->items);
}
#define _cleanup_family_ _cleanup_(family_done)

static void add_label(StrBuf *labels, const char *name, const char *value) {
    strbuf_addf(labels, "%s%s=\"", labels->length > 0 ? "," : "", name);
    for (; *value; value++)
        strbuf_add_byte(labels, strchr("abcdefghijklmnopqrstuvwxyz0123456789.-", *value) ? *value : '_');
    strbuf_add(labels, "\"");
}

/* Takes the labels. */
static int family_count(Family *f, StrBuf *labels) {
    _cleanup_free_ char *text = strbuf_steal(labels);
    Sample *grown;

    if (!text)
        return -ENOMEM;
    for (size_t i = 0; i < f->n_items; i++)
        if (streq(f->items[i].labels, text)) {
            f->items[i].n++;
            return 0;
        }
    grown = reallocarray(f->items, f->n_items + 1, sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    f->items = grown;
    f->items[f->n_items++] = (Sample){.labels = TAKE_PTR(text), .n = 1};
    return 0;
}

static void describe(StrBuf *out, const char *name, const char *help) {
    strbuf_addf(out, "# TYPE %s gauge\n# HELP %s %s\n", name, name, help);
}

static void add_gauge(StrBuf *out, const char *name, const char *help, int64_t value) {
    describe(out, name, help);
    strbuf_addf(out, "%s %" PRIi64 "\n", name, value);
}

static void add_family(StrBuf *out, const char *name, const char *help, const Family *f) {
    describe(out, name, help);
    for (size_t i = 0; i < f->n_items; i++)
        strbuf_addf(out, "%s{%s} %u\n", name, f->items[i].labels, f->items[i].n);
}

/* ---- what vfiod says ---- */

static size_t list_length(struct json_object *o, const char *key) {
    struct json_object *list = json_list(o, key);

    return list ? json_object_array_length(list) : 0;
}

static int add_taints(StrBuf *out, struct json_object *host) {
    struct json_object *taints = json_list(host, "taints");
    _cleanup_family_ Family family = {};

    for (size_t i = 0; taints && i < json_object_array_length(taints); i++) {
        struct json_object *taint = json_object_array_get_idx(taints, i);
        _cleanup_strbuf_ StrBuf labels = {};

        add_label(&labels, "kind", json_text(taint, "kind"));
        add_label(&labels, "weakens", json_flag(taint, "weakens") ? "yes" : "no");
        if (family_count(&family, &labels) < 0)
            return -ENOMEM;
    }
    add_family(
            out, "vfiod_taints", "What weakens the isolation of devices, or was recorded about it.", &family);
    return 0;
}

static int add_host(StrBuf *out, struct json_object *host) {
    _cleanup_strbuf_ StrBuf labels = {};
    _cleanup_family_ Family state = {};

    add_label(&labels, "version", json_text(host, "version"));
    strbuf_addf(out,
            "# TYPE vfiod_build info\n# HELP vfiod_build The version of vfiod.\nvfiod_build_info{%s} 1\n",
            labels.text ? labels.text : "");
    strbuf_done(&labels);
    labels = (StrBuf){};
    add_label(&labels, "state", json_text(host, "policyState"));
    if (family_count(&state, &labels) < 0)
        return -ENOMEM;
    add_family(out, "vfiod_policy", "1 for the state of the policy: loaded, stale or broken.", &state);
    add_gauge(out, "vfiod_policy_rules", "Rules in force.", json_number(host, "policyRules"));
    add_gauge(out, "vfiod_policy_errors", "Errors in the policy files.",
            (int64_t) list_length(host, "policyErrors"));
    add_gauge(out, "vfiod_policy_warnings", "Warnings about the policy files.",
            (int64_t) list_length(host, "policyWarnings"));
    add_gauge(out, "vfiod_claims_denied_by_policy",
            "Claims that are kept although the policy no longer allows them.",
            (int64_t) list_length(host, "claimsDeniedByPolicy"));
    add_gauge(out, "vfiod_shadow_differences",
            "Requests that the shadow policy would have decided otherwise.",
            json_number(host, "shadowDifferences"));
    return add_taints(out, host);
}

typedef struct Figures {
    Family devices, causes, groups, claims;
    int64_t oldest; /* CLOCK_REALTIME, microseconds; 0: no claim */
} Figures;

static void figures_done(Figures *f) {
    family_done(&f->devices);
    family_done(&f->causes);
    family_done(&f->groups);
    family_done(&f->claims);
}
#define _cleanup_figures_ _cleanup_(figures_done)

/* "pci:0000:06:0d.0" */
static void add_kind(StrBuf *labels, const char *device) {
    _cleanup_free_ char *kind = strndup(device, strcspn(device, ":"));

    add_label(labels, "kind", kind ? kind : "");
}

static int count_device(Figures *f, const Object *device) {
    const char *cause = json_text(device->properties, "quarantineCause");
    _cleanup_strbuf_ StrBuf labels = {}, causes = {};

    add_kind(&labels, device->name);
    add_label(&labels, "state", json_text(device->properties, "state"));
    if (family_count(&f->devices, &labels) < 0)
        return -ENOMEM;
    if (!*cause)
        return 0;
    add_label(&causes, "cause", cause);
    return family_count(&f->causes, &causes);
}

static int count_group(Figures *f, const Object *group) {
    _cleanup_strbuf_ StrBuf labels = {};

    add_label(&labels, "state", json_text(group->properties, "state"));
    add_label(&labels, "viable", json_flag(group->properties, "viable") ? "yes" : "no");
    return family_count(&f->groups, &labels);
}

static int count_claim(Figures *f, const Object *claim) {
    int64_t since = json_number(claim->properties, "since");
    _cleanup_strbuf_ StrBuf labels = {};

    if (since > 0 && (f->oldest == 0 || since < f->oldest))
        f->oldest = since;
    add_label(&labels, "state", json_text(claim->properties, "state"));
    add_label(&labels, "backend", json_text(claim->properties, "backend"));
    add_label(&labels, "grant", json_text(claim->properties, "grant"));
    return family_count(&f->claims, &labels);
}

static int count_object(Figures *f, const Object *object) {
    if (object->kind == OBJECT_DEVICE)
        return count_device(f, object);
    if (object->kind == OBJECT_GROUP)
        return count_group(f, object);
    return object->kind == OBJECT_CLAIM ? count_claim(f, object) : 0;
}

static int add_objects(StrBuf *out, const Objects *objects) {
    _cleanup_figures_ Figures f = {};

    for (size_t i = 0; i < objects->n_items; i++)
        if (count_object(&f, objects->items + i) < 0)
            return -ENOMEM;
    add_family(out, "vfiod_devices", "Devices of the host.", &f.devices);
    add_family(out, "vfiod_quarantined_devices", "Devices that could not be reset or restored.", &f.causes);
    add_family(out, "vfiod_groups", "IOMMU groups of the host.", &f.groups);
    add_family(out, "vfiod_claims", "Claims.", &f.claims);
    if (f.oldest > 0)
        add_gauge(out, "vfiod_oldest_claim_timestamp_seconds", "When the oldest claim began.",
                f.oldest / 1000000);
    return 0;
}

static int ask_vfiod(StrBuf *out, VfiodErrorText *error) {
    _cleanup_connection_ VfiodConnection *c = NULL;
    _cleanup_objects_ Objects objects = {};
    _cleanup_object_ Object host = OBJECT_NULL;
    int r;

    r = vfiod_connection_new(&c, error);
    if (r >= 0)
        r = call_get_manager(c, &host, error);
    if (r >= 0)
        r = call_get_objects(c, &objects, error);
    if (r < 0)
        return r;
    r = add_host(out, host.properties);
    if (r >= 0)
        r = add_objects(out, &objects);
    return r < 0 ? error_text_errno(error, r, "Cannot count") : 0;
}

/* A vfiod that does not answer is a figure, too. The text is owned by the caller; NULL on ENOMEM. */
static char *metrics(VfiodErrorText *error) {
    _cleanup_strbuf_ StrBuf said = {}, out = {};
    bool up = ask_vfiod(&said, error) >= 0;

    add_gauge(&out, "vfiod_up", "Whether vfiod answered.", up);
    if (up)
        strbuf_add(&out, said.text ? said.text : "");
    strbuf_add(&out, "# EOF\n");
    return said.error < 0 ? NULL : strbuf_steal(&out);
}

/* ---- HTTP ---- */

static int64_t now_msec(void) {
    struct timespec t;

    (void) clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t) t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* The head of a request, up to the empty line. False when it does not come whole, small, and in time. */
static bool read_request(int fd, char request[static REQUEST_MAX]) {
    int64_t end = now_msec() + REQUEST_TIMEOUT_MSEC, left;
    size_t size = 0;

    while ((left = end - now_msec()) > 0 && size < REQUEST_MAX - 1) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ssize_t n;

        if (poll(&p, 1, (int) left) <= 0)
            return false;
        n = read(fd, request + size, REQUEST_MAX - 1 - size);
        if (n <= 0)
            return false;
        size += (size_t) n;
        request[size] = '\0';
        if (strlen(request) != size)
            return false;
        if (strstr(request, "\r\n\r\n"))
            return true;
    }
    return false;
}

static bool takes_path(const char *path) {
    const char *rest = startswith(path, "/metrics");

    return rest && (*rest == ' ' || *rest == '?');
}

static int answer(int fd, const char *status, const char *type, const char *body) {
    _cleanup_strbuf_ StrBuf out = {};

    strbuf_addf(&out, "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
            status, type, strlen(body), body);
    if (out.error < 0)
        return EXIT_FAILURE;
    for (size_t sent = 0; sent < out.length;) {
        ssize_t n = write(fd, out.text + sent, out.length - sent);

        if (n <= 0)
            return EXIT_FAILURE;
        sent += (size_t) n;
    }
    return EXIT_SUCCESS;
}

static int serve(void) {
    _cleanup_free_ char *text = NULL;
    char request[REQUEST_MAX];
    VfiodErrorText error = {};

    if (!read_request(STDIN_FILENO, request))
        return answer(STDOUT_FILENO, "400 Bad Request", "text/plain", "This is no request.\n");
    if (!startswith(request, "GET "))
        return answer(STDOUT_FILENO, "405 Method Not Allowed", "text/plain", "Only GET.\n");
    if (!takes_path(request + 4))
        return answer(STDOUT_FILENO, "404 Not Found", "text/plain", "There is only /metrics.\n");
    text = metrics(&error);
    if (!text)
        return answer(STDOUT_FILENO, "503 Service Unavailable", "text/plain", "Out of memory.\n");
    return answer(
            STDOUT_FILENO, "200 OK", "application/openmetrics-text; version=1.0.0; charset=utf-8", text);
}

static int show(void) {
    _cleanup_free_ char *text = NULL;
    VfiodErrorText error = {};

    text = metrics(&error);
    if (!text || fputs(text, stdout) < 0 || fflush(stdout) != 0) {
        fputs("vfiod-metrics: cannot write the figures\n", stderr);
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}

int main(int argc, char **argv) {
    static const struct option options[] = {
            {"help", no_argument, NULL, 'h'},
            {"http", no_argument, NULL, 'H'},
            {"version", no_argument, NULL, 'V'},
            {},
    };
    bool http = false;
    int c;

    while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0)
        switch (c) {
        case 'h':
            puts("vfiod-metrics [--http]\n\n"
                 "Print figures of vfiod as OpenMetrics text, see vfiod-metrics(8).\n\n"
                 "      --http       Answer one HTTP request on standard input\n"
                 "  -h, --help       Show this help\n"
                 "      --version    Show the version");
            return EXIT_SUCCESS;
        case 'V':
            puts("vfiod-metrics " VFIOD_VERSION);
            return EXIT_SUCCESS;
        case 'H':
            http = true;
            break;
        default:
            return 2;
        }
    if (optind < argc) {
        fputs("vfiod-metrics: takes no arguments, see --help\n", stderr);
        return 2;
    }
    return http ? serve() : show();
}
