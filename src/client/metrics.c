/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vfiod-metrics: vfiod's figures as OpenMetrics text. It has no privilege, and requests only what everybody
 * may. With --http it answers one request on a connection that systemd has accepted. */

#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client/metrics.h"

#define REQUEST_MAX 8192U
#define REQUEST_TIMEOUT_MSEC 5000
/* less than the ten seconds that Prometheus waits */
#define VFIOD_TIMEOUT_SEC 8U
#define WRITE_TIMEOUT_SEC 20U

#define LATE                                                                                                 \
    "vfiod has not answered within 8 seconds. See 'systemctl status vfiod.service' and its journal.\n"

/* ---- HTTP ---- */

static int64_t now_msec(void) {
    struct timespec t;

    (void) clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t) t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Reads the head of a request up to the empty line. False when it is incomplete, too long, or too late. */
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
    (void) alarm(WRITE_TIMEOUT_SEC); /* for a peer that does not read */
    for (size_t sent = 0; sent < out.length;) {
        ssize_t n = write(fd, out.text + sent, out.length - sent);

        if (n <= 0)
            return EXIT_FAILURE;
        sent += (size_t) n;
    }
    return EXIT_SUCCESS;
}

/* ---- Time limit ---- */

static const char *late_answer; /* NULL: none will be sent */

static void on_alarm(int signal) {
    ssize_t n = late_answer ? write(STDOUT_FILENO, late_answer, strlen(late_answer)) : 0;

    _exit(n < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}

/* If vfiod does not answer in time, `late` is sent and the process ends. */
static struct json_object *ask(const char *late, VfiodErrorText *error) {
    struct json_object *figures;

    late_answer = late;
    (void) alarm(VFIOD_TIMEOUT_SEC);
    figures = metrics_ask(error);
    (void) alarm(0);
    late_answer = NULL;
    return figures;
}

static int answer_figures(void) {
    static const char late[] = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\n"
                               "Connection: close\r\n\r\n" LATE;
    _cleanup_json_ struct json_object *figures = NULL;
    _cleanup_free_ char *text = NULL;
    VfiodErrorText error = {};

    figures = ask(late, &error);
    text = metrics_format_text(figures);
    if (!text)
        return answer(STDOUT_FILENO, "503 Service Unavailable", "text/plain", "Out of memory.\n");
    return answer(
            STDOUT_FILENO, "200 OK", "application/openmetrics-text; version=1.0.0; charset=utf-8", text);
}

static int serve(void) {
    char request[REQUEST_MAX];

    if (!read_request(STDIN_FILENO, request))
        return answer(STDOUT_FILENO, "400 Bad Request", "text/plain", "This is no request.\n");
    if (!startswith(request, "GET "))
        return answer(STDOUT_FILENO, "405 Method Not Allowed", "text/plain", "Only GET.\n");
    if (!takes_path(request + 4))
        return answer(STDOUT_FILENO, "404 Not Found", "text/plain", "There is only /metrics.\n");
    return answer_figures();
}

static int show(void) {
    _cleanup_json_ struct json_object *figures = NULL;
    _cleanup_free_ char *text = NULL, *late = metrics_format_text(NULL);
    VfiodErrorText error = {};

    figures = late ? ask(late, &error) : NULL;
    text = metrics_format_text(figures);
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
            {"report", no_argument, NULL, 'R'},
            {"version", no_argument, NULL, 'V'},
            {},
    };
    bool http = false, report = false;
    int c;

    while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0)
        switch (c) {
        case 'h':
            puts("vfiod-metrics [--http|--report]\n\n"
                 "Print figures of vfiod as OpenMetrics text, see vfiod-metrics(8).\n\n"
                 "      --http       Answer one HTTP request on standard input\n"
                 "      --report     Answer calls of io.systemd.Metrics on standard input\n"
                 "  -h, --help       Show this help\n"
                 "      --version    Show the version");
            return EXIT_SUCCESS;
        case 'V':
            puts("vfiod-metrics " VFIOD_VERSION);
            return EXIT_SUCCESS;
        case 'H':
            http = true;
            break;
        case 'R':
            report = true;
            break;
        default:
            return 2;
        }
    if (signal(SIGALRM, on_alarm) == SIG_ERR)
        return EXIT_FAILURE;
    if (optind < argc) {
        fputs("vfiod-metrics: takes no arguments, see --help\n", stderr);
        return 2;
    }
    if (report)
        return metrics_serve_report(STDIN_FILENO);
    return http ? serve() : show();
}
