/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/editor.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/str.h"
#include "client/command.h"

/* As git and crontab do, so that the command can have options and quotes. */
#define SHELL "/bin/sh"
#define SHELL_NOT_FOUND 127

int editor_find(char **ret, VfiodErrorText *error) {
    static const char *const variables[] = {"SUDO_EDITOR", "VISUAL", "EDITOR"};
    static const char *const programs[] = {"editor", "nano", "vim", "vi"};

    for (size_t i = 0; i < ELEMENTSOF(variables); i++) {
        const char *value = getenv(variables[i]);

        if (value && *value)
            return (*ret = strdup(value)) ? 0 : error_text_errno(error, ENOMEM, "Cannot find an editor");
    }
    for (size_t i = 0; i < ELEMENTSOF(programs); i++)
        if (command_find(programs[i], ret, NULL) >= 0)
            return 0;
    return error_text_set(error, ENOENT, ERROR_NAME_NOT_FOUND,
            "There is no editor. Install one, or set EDITOR to the command of yours.");
}

/* In the child. */
static void exec_editor(const char *command, const char *path, const sigset_t *mask) {
    _cleanup_free_ char *script = format_string("%s \"$@\"", command);

    (void) signal(SIGINT, SIG_DFL);
    (void) signal(SIGQUIT, SIG_DFL);
    (void) sigprocmask(SIG_SETMASK, mask, NULL);
    if (script)
        execl(SHELL, SHELL, "-c", script, command, path, (char *) NULL);
    _exit(SHELL_NOT_FOUND);
}

static int report(const char *command, int status, VfiodErrorText *error) {
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    if (WIFSIGNALED(status))
        return error_text_set(error, EIO, ERROR_NAME_FAILED, "The editor (%s) was killed by signal %d (%s).",
                command, WTERMSIG(status), sigdescr_np(WTERMSIG(status)) ?: "unknown");
    if (WEXITSTATUS(status) == SHELL_NOT_FOUND)
        return error_text_set(error, ENOENT, ERROR_NAME_NOT_FOUND,
                "The editor (%s) cannot be run. Set EDITOR to the command of yours.", command);
    return error_text_set(error, EIO, ERROR_NAME_FAILED, "The editor (%s) ended with status %d.", command,
            WEXITSTATUS(status));
}

int editor_run(const char *command, const char *path, VfiodErrorText *error) {
    struct sigaction ignore = {.sa_handler = SIG_IGN}, interrupt, quit;
    sigset_t mask;
    int status = 0, r = 0;
    pid_t pid;

    /* Signals from the terminal are for the editor only, as with system(3). */
    (void) sigaction(SIGINT, &ignore, &interrupt);
    (void) sigaction(SIGQUIT, &ignore, &quit);
    (void) sigprocmask(SIG_SETMASK, NULL, &mask);
    pid = fork();
    if (pid == 0)
        exec_editor(command, path, &mask);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && r == 0)
        r = errno == EINTR ? 0 : -errno;
    if (pid < 0)
        r = -errno;
    (void) sigaction(SIGINT, &interrupt, NULL);
    (void) sigaction(SIGQUIT, &quit, NULL);
    return r < 0 ? error_text_errno(error, r, "Cannot run the editor") : report(command, status, error);
}
