/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The same Acquire over Varlink and over D-Bus, in turns, and the least that a socket service can do: `bare`
 * is a process that opens nodes of the same kind and a pipe and answers in the same shape.
 *
 * "varlink" and "connect" (connecting included) are measured against bare, "dbus" is Varlink against D-Bus.
 * "crowd-N" is what one claim takes when N clients ask at once, each for a device of its own; measured
 * against one client that calls without a pause.
 *
 * bench-varlink SOCKET NODE SAMPLES DEVICE...: the node is that of a device that nobody claims. Prints lines
 * as bench-acquire does. */

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "base/json-build.h"
#include "bench.h"

#define CLIENTS_MAX 64U
#define FDS_MAX 16U
#define BARE_SOCKET "/run/bare-socket"
#define SETTLE_USEC 5000000.0
/* The pause of each client after all have called: a client without pauses would exceed its budget and
 * wait. */
#define REST_USEC 1000U
#define CLAIMS_ALONE 8U

typedef struct Bench {
    const char *socket, *node;
    char **devices;
    size_t n_devices, n_samples;
    sd_bus *bus;
} Bench;

static int fail(int r, const char *what) {
    (void) fprintf(stderr, "bench-varlink: %s: %s\n", what, strerror(-r));
    return r;
}

/* ---- Messages ---- */

static int make_address(const char *path, struct sockaddr_un *ret) {
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(ret->sun_path))
        return -ENAMETOOLONG;
    strcpy(ret->sun_path, path);
    return 0;
}

static int connect_to(const char *path) {
    struct sockaddr_un address;
    int fd;

    if (make_address(path, &address) < 0)
        return -ENAMETOOLONG;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *) &address, sizeof(address)) < 0)
        return fail(-errno, path);
    return fd;
}

static int send_message(int fd, const char *text, const int *fds, size_t n_fds) {
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int) * FDS_MAX)];
    } control;
    struct iovec data = {.iov_base = (char *) text, .iov_len = strlen(text) + 1};
    struct msghdr m = {.msg_iov = &data, .msg_iovlen = 1};

    if (n_fds > 0) {
        m.msg_control = &control;
        m.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
        control.header = (struct cmsghdr){
                .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int) * n_fds)};
        memcpy(CMSG_DATA(&control.header), fds, sizeof(int) * n_fds);
    }
    return sendmsg(fd, &m, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* One whole message; how many fds came with it, or negative errno. */
static int receive_message(int fd, char *text, size_t size, int fds[static FDS_MAX]) {
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int) * FDS_MAX)];
    } control;
    size_t length = 0, n_fds = 0;

    do {
        struct iovec data = {.iov_base = text + length, .iov_len = size - length};
        struct msghdr m = {.msg_iov = &data,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = sizeof(control)};
        ssize_t n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
        struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&m) : NULL;

        if (n <= 0)
            return n < 0 ? -errno : -ECONNRESET;
        if (c && c->cmsg_type == SCM_RIGHTS) {
            n_fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            memcpy(fds, CMSG_DATA(c), n_fds * sizeof(int));
        }
        length += (size_t) n;
    } while (text[length - 1] != '\0' && length < size);
    return text[length - 1] == '\0' ? (int) n_fds : -EMSGSIZE;
}

/* ---- The bare service ---- */

static int send_json(int fd, struct json_object *o, const int *fds, size_t n_fds) {
    return send_message(fd, json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN), fds, n_fds);
}

static int add_fd(struct json_object *list, const char *name, int64_t index) {
    struct json_object *fd = json_object_new_object();

    return json_add_string(fd, "name", name) < 0 ||
                    json_add(fd, "fileDescriptorIndex", json_object_new_int64(index)) < 0 ||
                    json_append(list, fd) < 0
            ? -ENOMEM
            : 0;
}

static int build_answer(struct json_object *request, struct json_object *o) {
    struct json_object *p = json_object_new_object(), *fds = json_object_new_array(), *devices = NULL;

    (void) json_object_object_get_ex(json_object_object_get(request, "parameters"), "devices", &devices);
    return json_add(o, "parameters", p) < 0 || json_add_string(p, "claim", "0123456789abcdef") < 0 ||
                    json_add_string(p, "backend", "iommufd") < 0 || json_add_string(p, "grant", "fd") < 0 ||
                    json_add_string(p, "tether", "lifeline") < 0 ||
                    json_add_string(p, "rule", "bench (/etc/vfiod/policy.d/50-bench.json:1)") < 0 ||
                    json_add(p, "devices", json_object_get(devices)) < 0 || json_add(p, "fds", fds) < 0 ||
                    add_fd(fds, "iommufd", 0) < 0 || add_fd(fds, "device:pci:0000:00:00.0", 1) < 0 ||
                    add_fd(fds, "lifeline", 2) < 0
            ? -ENOMEM
            : 0;
}

static int answer_acquire(int fd, struct json_object *request, const char *node) {
    int fds[3] = {open("/dev/iommu", O_RDWR | O_CLOEXEC), open(node, O_RDWR | O_CLOEXEC)}, pipe_fds[2], r;
    _cleanup_json_ struct json_object *o = json_object_new_object();

    if (fds[0] < 0 || fds[1] < 0 || pipe2(pipe_fds, O_CLOEXEC) < 0)
        return -errno;
    fds[2] = pipe_fds[1];
    r = build_answer(request, o);
    if (r >= 0)
        r = send_json(fd, o, fds, 3);
    for (size_t i = 0; i < 3; i++)
        (void) close(fds[i]);
    (void) close(pipe_fds[0]);
    return r;
}

static int on_message(sd_event_source *source, int fd, uint32_t events, void *userdata) {
    _cleanup_json_ struct json_object *request = NULL;
    char text[4096];
    int fds[FDS_MAX];

    if (receive_message(fd, text, sizeof(text), fds) < 0) {
        sd_event_source_disable_unref(source); /* and closes it */
        return 0;
    }
    request = json_tokener_parse(text);
    return json_object_object_get(request, "parameters") ? answer_acquire(fd, request, userdata)
                                                         : send_message(fd, "{}", NULL, 0);
}

static int on_connection(sd_event_source *source, int fd, uint32_t events, void *userdata) {
    sd_event_source *peer;
    int r;

    fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    r = fd < 0 ? -errno
               : sd_event_add_io(sd_event_source_get_event(source), &peer, fd, EPOLLIN, on_message, userdata);
    return r < 0 ? r : sd_event_source_set_io_fd_own(peer, true);
}

static _Noreturn void serve(int listener, const char *node) {
    sd_event *event;

    (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (sd_event_new(&event) >= 0 &&
            sd_event_add_io(event, NULL, listener, EPOLLIN, on_connection, (void *) node) >= 0)
        (void) sd_event_loop(event);
    _exit(EXIT_FAILURE);
}

static int start_bare(const char *node) {
    struct sockaddr_un address;
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    pid_t pid;

    (void) unlink(BARE_SOCKET);
    if (listener < 0 || make_address(BARE_SOCKET, &address) < 0 ||
            bind(listener, (struct sockaddr *) &address, sizeof(address)) < 0 || listen(listener, 16) < 0)
        return fail(-errno, BARE_SOCKET);
    pid = fork();
    if (pid < 0)
        return fail(-errno, "fork");
    if (pid == 0)
        serve(listener, node);
    (void) close(listener);
    return 0;
}

/* ---- Clients ---- */

static int ask(int fd, const char *device) {
    char text[256];

    (void) snprintf(text, sizeof(text),
            "{\"method\":\"org.vfiod.Broker.Acquire\",\"parameters\":{\"devices\":[\"%s\"]}}", device);
    return send_message(fd, text, NULL, 0);
}

/* All fds that came are closed. */
static int take_answer(int fd) {
    char text[8192];
    int fds[FDS_MAX], n;

    n = receive_message(fd, text, sizeof(text), fds);
    for (int i = 0; i < n; i++)
        (void) close(fds[i]);
    if (n < 3) {
        (void) fprintf(stderr, "bench-varlink: %d fds came with: %s\n", n, n < 0 ? "nothing" : text);
        return n < 0 ? n : -EBADMSG;
    }
    return 0;
}

static int acquire(int fd, const char *device) {
    int r = ask(fd, device);

    return r < 0 ? r : take_answer(fd);
}

static int acquire_by_bus(const Bench *b) {
    _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    int r;

    r = sd_bus_call_method(b->bus, "org.vfiod1", "/org/vfiod1", "org.vfiod1.Manager", "Acquire", &error,
            &reply, "asa{sv}", 1, b->devices[0], 0);
    return r < 0 ? fail(r, error.message ?: "Acquire") : 0;
}

/* Until the daemon has no claim left. */
static int settle(const Bench *b) {
    double begin = now_usec();
    uint32_t claims;
    int r;

    do {
        r = sd_bus_get_property_trivial(
                b->bus, "org.vfiod1", "/org/vfiod1", "org.vfiod1.Manager", "Claims", NULL, 'u', &claims);
        if (r < 0)
            return fail(r, "Claims");
        if (now_usec() - begin > SETTLE_USEC)
            return fail(-ETIMEDOUT, "the last claim does not go");
    } while (claims > 0);
    return 0;
}

static int connect_and_acquire(const char *path, const char *device, Series *ret) {
    double begin = now_usec();
    int fd = connect_to(path), r;

    r = fd < 0 ? fd : acquire(fd, device);
    ret->values[ret->n++] = now_usec() - begin;
    if (fd >= 0)
        (void) close(fd);
    return r;
}

typedef struct Round {
    Series bare, varlink, dbus, bare_connect, connect;
} Round;

static void round_done(Round *r) {
    series_done(&r->bare);
    series_done(&r->varlink);
    series_done(&r->dbus);
    series_done(&r->bare_connect);
    series_done(&r->connect);
}

static int ping(int fd) {
    char text[256];
    int fds[FDS_MAX], r;

    r = send_message(fd, "{\"method\":\"io.systemd.service.Ping\"}", NULL, 0);
    return r < 0 ? r : receive_message(fd, text, sizeof(text), fds);
}

/* Before each call the daemon is left alone, and the next service is called once, as in bench-acquire. */
static int take_round(const Bench *b, int bare, int varlink, Round *round) {
    double begin;
    int r;

    r = settle(b);
    if (r >= 0)
        r = ping(bare);
    begin = now_usec();
    if (r >= 0)
        r = acquire(bare, b->devices[0]);
    round->bare.values[round->bare.n++] = now_usec() - begin;

    if (r >= 0)
        r = ping(varlink);
    begin = now_usec();
    if (r >= 0)
        r = acquire(varlink, b->devices[0]);
    round->varlink.values[round->varlink.n++] = now_usec() - begin;

    if (r >= 0)
        r = settle(b); /* its last round trip is the ping */
    begin = now_usec();
    if (r >= 0)
        r = acquire_by_bus(b);
    round->dbus.values[round->dbus.n++] = now_usec() - begin;

    if (r >= 0)
        r = settle(b);
    if (r >= 0)
        r = ping(bare);
    if (r >= 0)
        r = connect_and_acquire(BARE_SOCKET, b->devices[0], &round->bare_connect);
    if (r >= 0)
        r = ping(varlink);
    return r < 0 ? r : connect_and_acquire(b->socket, b->devices[0], &round->connect);
}

static int bench_turns(const Bench *b) {
    _cleanup_(round_done) Round round = {};
    int bare = connect_to(BARE_SOCKET), varlink = connect_to(b->socket), r;

    if (bare < 0 || varlink < 0)
        return -EIO;
    if (series_init(&round.bare, b->n_samples) < 0 || series_init(&round.varlink, b->n_samples) < 0 ||
            series_init(&round.dbus, b->n_samples) < 0 ||
            series_init(&round.bare_connect, b->n_samples) < 0 ||
            series_init(&round.connect, b->n_samples) < 0)
        return -ENOMEM;
    r = acquire(varlink, b->devices[0]);
    if (r >= 0)
        r = settle(b);
    if (r >= 0)
        r = acquire_by_bus(b);
    for (size_t i = 0; i < b->n_samples && r >= 0; i++)
        r = take_round(b, bare, varlink, &round);
    if (r < 0)
        return fail(r, "a round");
    series_print("varlink", 50, &round.varlink, &round.bare);
    series_print("varlink", 99, &round.varlink, &round.bare);
    series_print("dbus", 50, &round.varlink, &round.dbus);
    series_print("connect", 50, &round.connect, &round.bare_connect);
    (void) close(bare);
    (void) close(varlink);
    return settle(b);
}

/* ---- Many at once ---- */

static int crowd(const Bench *b, const int *fds, size_t n, Series *ret) {
    double begin;
    int r = settle(b);

    for (size_t i = 0; i < n && r >= 0; i++)
        r = ping(fds[i]);
    begin = now_usec();
    for (size_t i = 0; i < n && r >= 0; i++)
        r = ask(fds[i], b->devices[i]);
    for (size_t i = 0; i < n && r >= 0; i++)
        r = take_answer(fds[i]);
    ret->values[ret->n++] = (now_usec() - begin) / (double) n;
    return r;
}

static void rest(size_t n) {
    (void) usleep(REST_USEC * (useconds_t) n);
}

/* One client, call after call. The first comes after a pause, which costs a call more than anything else
 * does: it is left out. A crowd has this cost once for all of it. */
static int alone(const Bench *b, int fd, Series *ret) {
    int r = 0;

    for (size_t i = 0; i <= CLAIMS_ALONE && r >= 0; i++) {
        r = crowd(b, &fd, 1, ret);
        if (i == 0)
            ret->n--;
    }
    rest(CLAIMS_ALONE + 1);
    return r;
}

static int bench_crowds(const Bench *b) {
    static const size_t sizes[] = {8, CLIENTS_MAX};
    size_t n_rounds = MAX(b->n_samples / 10, (size_t) 5);
    Series series[ELEMENTSOF(sizes)] = {}, one = {};
    int fds[CLIENTS_MAX], r;
    char name[32];

    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        fds[i] = connect_to(b->socket);
        if (fds[i] < 0)
            return fds[i];
    }
    r = series_init(&one, n_rounds * CLAIMS_ALONE + 1);
    for (size_t k = 0; k < ELEMENTSOF(sizes) && r >= 0; k++)
        r = series_init(&series[k], n_rounds);
    for (size_t i = 0; i < n_rounds && r >= 0; i++) {
        r = alone(b, fds[0], &one);
        for (size_t k = 0; k < ELEMENTSOF(sizes) && r >= 0; k++) {
            r = crowd(b, fds, sizes[k], &series[k]);
            rest(sizes[k]);
        }
    }
    if (r < 0)
        return fail(r, "a crowd");
    for (size_t k = 0; k < ELEMENTSOF(sizes); k++) {
        (void) snprintf(name, sizeof(name), "crowd-%zu", sizes[k]);
        series_print(name, 50, &series[k], &one);
        series_done(&series[k]);
    }
    series_done(&one);
    return 0;
}

int main(int argc, char **argv) {
    _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
    Bench b = {};
    int r;

    if (argc < 4 + (int) CLIENTS_MAX) {
        (void) fprintf(
                stderr, "usage: %s SOCKET NODE SAMPLES DEVICE... (%u at least)\n", argv[0], CLIENTS_MAX);
        return 2;
    }
    b = (Bench){.socket = argv[1],
            .node = argv[2],
            .n_samples = strtoul(argv[3], NULL, 10),
            .devices = argv + 4,
            .n_devices = (size_t) argc - 4};
    r = start_bare(b.node);
    if (r >= 0)
        r = sd_bus_open_system(&bus);
    b.bus = bus;
    if (r >= 0)
        r = bench_turns(&b);
    if (r >= 0)
        r = bench_crowds(&b);
    return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
