/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/command.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"

#define DEFAULT_PATH "/bin:/usr/bin" /* as for execvp(3) of glibc */
#define OUTPUT_MAX (256U * 1024)
#define PROBE_MSEC 10000
#define SHEBANG_MAX 256U /* the kernel reads this much */

static int check_file(const char *path) {
    struct stat st;

    if (stat(path, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -EACCES;
    return faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0 ? -errno : 0;
}

/* If the interpreter of a script is missing, execve(2) fails with ENOENT, as if the script were missing. A
 * file that cannot be read does not count as a script here; the kernel can execute it without read
 * permission. */
static int check_interpreter(const char *path) {
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    char line[SHEBANG_MAX], *interpreter;
    ssize_t n = fd < 0 ? 0 : read(fd, line, sizeof(line) - 1);

    if (n < 2 || line[0] != '#' || line[1] != '!')
        return 0;
    line[n] = '\0';
    line[strcspn(line, "\n")] = '\0';
    interpreter = line + 2 + strspn(line + 2, " \t");
    interpreter[strcspn(interpreter, " \t")] = '\0';
    return *interpreter ? check_file(interpreter) : 0;
}

static int check_program(const char *path) {
    int r = check_file(path);

    return r < 0 ? r : check_interpreter(path);
}

int command_error(const char *name, int errnum, VfiodErrorText *error) {
    errnum = errnum < 0 ? -errnum : errnum;
    return error_text_set(error, errnum, errnum == ENOENT ? ERROR_NAME_NOT_FOUND : ERROR_NAME_NOT_EXECUTABLE,
            "%s: cannot run the command: %s", name, strerrordesc_np(errnum));
}

static bool is_missing(int r) {
    return r == -ENOENT || r == -ENOTDIR;
}

/* Tries one directory of the path; an empty one is the current directory. */
static int try_directory(const char *directory, size_t n, const char *name, char **ret) {
    _cleanup_free_ char *path = NULL;
    int r;

    path = n > 0 ? format_string("%.*s/%s", (int) n, directory, name) : format_string("./%s", name);
    if (!path)
        return -ENOMEM;
    r = check_program(path);
    if (r >= 0)
        *ret = TAKE_PTR(path);
    return r;
}

/* Skips files that cannot be executed, and reports that only if there is no other. */
static int search_path(const char *name, char **ret) {
    const char *path = getenv("PATH") ?: DEFAULT_PATH;
    int first_error = -ENOENT;

    for (;;) {
        size_t n = strcspn(path, ":");
        int r = try_directory(path, n, name, ret);

        if (r >= 0 || r == -ENOMEM)
            return r;
        if (!is_missing(r))
            first_error = r;
        if (path[n] == '\0')
            return first_error;
        path += n + 1;
    }
}

int command_find(const char *name, char **ret, VfiodErrorText *error) {
    int r;

    if (strchr(name, '/')) {
        r = check_program(name);
        if (r >= 0)
            r = free_and_strdup(ret, name);
    } else
        r = *name ? search_path(name, ret) : -ENOENT;
    if (is_missing(r))
        r = -ENOENT;
    return r < 0 ? command_error(name, r, error) : 0;
}

/* ---- The output of a program ---- */

static int64_t now_msec(void) {
    struct timespec ts;

    (void) clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Until the program closes its output, writes too much, or takes too long. */
static int read_output(int fd, char **ret) {
    _cleanup_free_ char *text = malloc(OUTPUT_MAX);
    int64_t end = now_msec() + PROBE_MSEC;
    size_t n = 0;

    if (!text)
        return -ENOMEM;
    while (n < OUTPUT_MAX - 1) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int r = poll(&p, 1, (int) MAX(end - now_msec(), INT64_C(0)));
        ssize_t k;

        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            return r < 0 ? -errno : -ETIMEDOUT;
        k = read(fd, text + n, OUTPUT_MAX - 1 - n);
        if (k < 0)
            return -errno;
        if (k == 0)
            break;
        n += (size_t) k;
    }
    text[n] = '\0';
    *ret = TAKE_PTR(text);
    return 0;
}

#define ARGUMENTS_MAX 32U

static void run_probe(const char *program, const char *const *arguments, int output) {
    const char *argv[ARGUMENTS_MAX + 2] = {program};
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(output, STDOUT_FILENO) < 0 ||
            dup2(null, STDERR_FILENO) < 0)
        _exit(EXIT_FAILURE);
    for (size_t i = 0; i < ARGUMENTS_MAX && arguments[i]; i++)
        argv[i + 1] = arguments[i];
    execvp(program, (char *const *) argv);
    _exit(EXIT_FAILURE);
}

int command_ask_with(const char *program, const char *const *arguments, char **ret) {
    int ends[2], r;
    pid_t pid;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    pid = fork();
    if (pid == 0)
        run_probe(program, arguments, ends[1]);
    r = pid < 0 ? -errno : 0;
    (void) safe_close(ends[1]);
    if (r >= 0)
        r = read_output(ends[0], ret);
    (void) safe_close(ends[0]);
    if (pid > 0) {
        (void) kill(pid, SIGKILL); /* it has written everything, or too much */
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    return r;
}

int command_ask(const char *program, const char *option, char **ret) {
    const char *const arguments[] = {option, NULL};

    return command_ask_with(program, arguments, ret);
}
