/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/pager.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <systemd/sd-login.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"

/* Quit if everything fits on the screen, keep the output there, pass colours through, cut long lines, show a
 * status, no prompt at the end. */
#define LESS_OPTIONS "FRSXMK"

static struct {
    pid_t pid; /* 0: none */
    int terminal;
} pager = {.terminal = -EBADF};

bool screen_is_terminal(void) {
    return pager.pid > 0 || isatty(STDOUT_FILENO);
}

int screen_get_size(struct winsize *ret) {
    return ioctl(pager.pid > 0 ? pager.terminal : STDOUT_FILENO, TIOCGWINSZ, ret) < 0 ? -errno : 0;
}

bool pager_must_be_secure(const PagerSituation *s) {
    if (s->wish && *s->wish)
        return !(streq(s->wish, "0") || streq(s->wish, "no") || streq(s->wish, "false") ||
                streq(s->wish, "off"));
    return s->elevated || s->uid != s->euid || !s->has_owner || s->owner != s->euid;
}

static bool is_secure(void) {
    PagerSituation s = {
            .wish = secure_getenv("SYSTEMD_PAGERSECURE"),
            .uid = getuid(),
            .euid = geteuid(),
            .elevated = getenv("SUDO_UID") || getenv("PKEXEC_UID") || getenv("DOAS_USER"),
    };

    s.has_owner = sd_pid_get_owner_uid(0, &s.owner) >= 0;
    return pager_must_be_secure(&s);
}

static void run_with_shell(const char *command) {
    if (*command)
        (void) execl("/bin/sh", "sh", "-c", command, NULL);
}

/* In the child. Returns only when nothing can be run. */
static void run_pager(const char *wanted, bool secure) {
    const char *less = getenv("SYSTEMD_LESS");

    if (setenv("LESS", less && !secure ? less : LESS_OPTIONS, 1) < 0)
        return;
    if (secure && setenv("LESSSECURE", "1", 1) < 0)
        return;
    if (wanted)
        run_with_shell(wanted);
    (void) execlp("less", "less", NULL);
    if (!secure) /* it has no secure mode */
        (void) execlp("more", "more", NULL);
}

static void copy_to(int to) {
    char buffer[4096];
    ssize_t n;

    while ((n = read(STDIN_FILENO, buffer, sizeof(buffer))) > 0 || (n < 0 && errno == EINTR))
        for (ssize_t done = 0; done < n;) {
            ssize_t k = write(to, buffer + done, (size_t) (n - done));

            if (k < 0)
                return;
            done += k;
        }
}

static _Noreturn void be_pager(const char *wanted, bool secure, const int *ends) {
    if (dup2(ends[0], STDIN_FILENO) < 0)
        _exit(EXIT_FAILURE);
    (void) safe_close(ends[1]); /* otherwise the pager would never see the end */
    run_pager(wanted, secure);
    copy_to(STDOUT_FILENO); /* so that the output is not lost */
    _exit(EXIT_SUCCESS);
}

void pager_open(const Options *o) {
    bool secure = is_secure();
    const char *wanted = getenv("SYSTEMD_PAGER") ?: getenv("PAGER");
    const char *term = getenv("TERM");
    int ends[2] = {-EBADF, -EBADF};
    pid_t pid;

    if (!o->pager || pager.pid > 0 || !isatty(STDOUT_FILENO) || !term || streq(term, "dumb"))
        return;
    if (wanted && (!*wanted || streq(wanted, "cat"))) /* "cat" is never less secure */
        return;
    if (secure)
        wanted = NULL;
    (void) fflush(stdout);
    pager.terminal = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    if (pager.terminal < 0 || pipe2(ends, O_CLOEXEC) < 0)
        return;
    pid = fork();
    if (pid == 0)
        be_pager(wanted, secure, ends);
    if (pid > 0 && dup2(ends[1], STDOUT_FILENO) >= 0)
        pager.pid = pid;
    (void) safe_close(ends[0]);
    (void) safe_close(ends[1]);
}

void pager_close(void) {
    if (pager.pid <= 0)
        return;
    /* ^C is for the pager now. */
    (void) signal(SIGINT, SIG_IGN);
    (void) fflush(stdout);
    (void) dup2(pager.terminal, STDOUT_FILENO);
    while (waitpid(pager.pid, NULL, 0) < 0 && errno == EINTR)
        ;
    pager.pid = 0;
    pager.terminal = safe_close(pager.terminal);
}
