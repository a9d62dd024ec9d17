/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/ask.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "client/calls.h"
#include "client/claim.h"
#include "client/progress.h"
#include "client/show.h"
#include "client/transport.h"

#define AGENT "pkttyagent"
#define AGENT_READY_MSEC 5000 /* it has to connect to polkit, and then closes the pipe */

/* 0: the rule asks nobody, or the claim will be refused, whose error says why. */
static bool will_ask(const VfiodRequest *request) {
    _cleanup_json_ struct json_object *plan = NULL;

    return call_plan(request, &plan, NULL) >= 0 && json_flag(plan, "ask");
}

/* In the child. --fallback: an agent of the desktop is preferred. */
static void run_agent(pid_t parent, int ready) {
    char notify[16];

    (void) prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent || dup2(ready, STDERR_FILENO + 1) < 0)
        _exit(EXIT_FAILURE);
    snprintf(notify, sizeof(notify), "%d", STDERR_FILENO + 1);
    execlp(AGENT, AGENT, "--notify-fd", notify, "--fallback", NULL);
    _exit(EXIT_FAILURE);
}

/* 0: there is none. The other end of the pipe is closed when the agent is ready, or has failed. */
static pid_t start_agent(void) {
    int ends[2];
    struct pollfd p;
    pid_t pid, parent = getpid();

    if (pipe2(ends, O_CLOEXEC) < 0)
        return 0;
    pid = fork();
    if (pid == 0)
        run_agent(parent, ends[1]);
    (void) safe_close(ends[1]);
    p = (struct pollfd){.fd = ends[0], .events = POLLIN};
    if (pid > 0)
        (void) poll(&p, 1, AGENT_READY_MSEC);
    (void) safe_close(ends[0]);
    return MAX(pid, 0);
}

static void stop_agent(pid_t pid) {
    if (pid == 0)
        return;
    (void) kill(pid, SIGTERM);
    (void) kill(pid, SIGCONT);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

typedef struct Acquisition {
    bool done;
    VfiodClaim *claim;
    VfiodErrorText error;
} Acquisition;

static void on_claim(VfiodConnection *c, VfiodClaim *claim, const VfiodErrorText *error, void *userdata) {
    Acquisition *a = userdata;

    a->done = true;
    a->claim = claim;
    if (error)
        a->error = *error;
}

static char *join(const char *const *words, size_t n) {
    _cleanup_strbuf_ StrBuf b = {};

    for (size_t i = 0; i < n; i++)
        strbuf_addf(&b, "%s%s", i > 0 ? ", " : "", words[i]);
    return strbuf_steal(&b);
}

static int acquire(const VfiodRequest *request, VfiodClaim **ret_claim, VfiodErrorText *error) {
    _cleanup_free_ char *devices = join(request->devices, request->n_devices);
    _cleanup_(vfiod_connection_freep) VfiodConnection *c = NULL;
    _cleanup_progress_ Progress progress = {};
    Acquisition a = {};
    int r;

    r = vfiod_connection_new(&c, error);
    if (r >= 0)
        r = vfiod_connection_acquire(c, request, on_claim, &a, error);
    if (r < 0)
        return r;
    progress_begin(&progress, "%s %s", request_wait(request) > 0 ? "Waiting for" : "Claiming",
            devices && *devices ? devices : "what is reserved");
    r = progress_wait(&progress, c, &a.done, UINT64_MAX);
    if (r < 0)
        return error_text_set(error, EHOSTUNREACH, ERROR_NAME_UNREACHABLE, "The connection to vfiod broke.");
    if (!a.claim) {
        *error = a.error;
        return -a.error.error;
    }
    if (request->tether && streq(request->tether, "connection"))
        a.claim->connection = TAKE_PTR(c);
    *ret_claim = a.claim;
    return 0;
}

int ask_and_acquire(
        const Options *o, const VfiodRequest *request, VfiodClaim **ret_claim, VfiodErrorText *error) {
    pid_t agent = 0;
    int r;

    if (o->ask && isatty(STDIN_FILENO) && isatty(STDERR_FILENO) && will_ask(request)) {
        fputs("vfioctl: Waiting for authentication (--no-ask-password: do not wait)…\n", stderr);
        agent = geteuid() != 0 ? start_agent() : 0;
    }
    r = acquire(request, ret_claim, error);
    stop_agent(agent);
    return r;
}
