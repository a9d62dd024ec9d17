/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/account-lookup.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "host/policy-files.h"

/* For all names together. A working directory service is faster; the caller tries again later. */
#define TIMEOUT_SEC 10U

#define NAMES_FD 3   /* "u" or "g", the name, NUL; and so on */
#define RESULTS_FD 4 /* a Result for each of these */
#define NAMES_SIZE_MAX (16U * 1024 * 1024)

typedef struct Result {
    int32_t result;
    uint32_t id;
} Result;

/* ---- the table ---- */

void account_table_done(AccountTable *t) {
    for (size_t i = 0; i < t->n; i++)
        free(t->items[i].name);
    free(t->items);
    *t = (AccountTable){};
}

int account_table_add(void *table, bool is_group, const char *name) {
    AccountTable *t = table;
    Account *grown;

    if (t->n == t->allocated) {
        grown = reallocarray(t->items, t->n == 0 ? 16 : 2 * t->n, sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        t->items = grown;
        t->allocated = t->n == 0 ? 16 : 2 * t->n;
    }
    t->items[t->n] = (Account){.is_group = is_group, .name = strdup(name), .result = -ETIMEDOUT};
    if (!t->items[t->n].name)
        return -ENOMEM;
    t->n++;
    return 0;
}

static int compare_accounts(const void *a, const void *b) {
    const Account *x = a, *y = b;

    if (x->is_group != y->is_group)
        return x->is_group ? 1 : -1;
    return strcmp(x->name, y->name);
}

/* Sorted, each once. */
static void account_table_settle(AccountTable *t) {
    size_t n = 0;

    qsort(t->items, t->n, sizeof(*t->items), compare_accounts);
    for (size_t i = 0; i < t->n; i++) {
        if (n > 0 && compare_accounts(t->items + n - 1, t->items + i) == 0)
            free(t->items[i].name);
        else
            t->items[n++] = t->items[i];
    }
    t->n = n;
}

int account_table_resolve(void *table, bool is_group, const char *name, uint32_t *ret) {
    const AccountTable *t = table;
    const Account key = {.is_group = is_group, .name = (char *) name};
    const Account *found =
            t->n == 0 ? NULL : bsearch(&key, t->items, t->n, sizeof(*t->items), compare_accounts);

    if (!found)
        return -ENODATA;
    *ret = found->id;
    return found->result;
}

/* ---- the process ---- */

int account_lookup_main(void) {
    _cleanup_free_ char *names = NULL;
    size_t size;

    (void) prctl(PR_SET_NAME, "vfiod-look-up");
    (void) signal(SIGALRM, SIG_DFL);
    (void) alarm(TIMEOUT_SEC + 1);
    if (read_file(NAMES_FD, NAMES_SIZE_MAX, &names, &size) < 0)
        return EXIT_FAILURE;
    for (const char *p = names; p < names + size; p += strlen(p) + 1) {
        Result result = {};

        result.result = policy_resolve_account(NULL, *p == 'g', p + 1, &result.id);
        if (write(RESULTS_FD, &result, sizeof(result)) != (ssize_t) sizeof(result))
            return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}

/* In the child: a grandchild with nothing open but these, so that nobody has to reap it. */
static void exec_lookup(int names, int results) {
    pid_t pid = fork();

    if (pid != 0)
        _exit(pid < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
    names = fcntl(names, F_DUPFD, RESULTS_FD + 1);
    results = fcntl(results, F_DUPFD, RESULTS_FD + 1);
    if (names < 0 || results < 0 || dup2(names, NAMES_FD) < 0 || dup2(results, RESULTS_FD) < 0 ||
            close_range(RESULTS_FD + 1, UINT_MAX, 0) < 0)
        _exit(EXIT_FAILURE);
    (void) unsetenv("NOTIFY_SOCKET");
    (void) execl("/proc/self/exe", "vfiod", "--look-up", NULL);
    _exit(EXIT_FAILURE);
}

static int write_names(const AccountTable *t) {
    _cleanup_close_ int fd = make_memfd("names", /* flags= */ 0);

    if (fd < 0)
        return fd;
    for (size_t i = 0; i < t->n; i++) {
        const char *name = t->items[i].name;

        if (dprintf(fd, "%c%s%c", t->items[i].is_group ? 'g' : 'u', name, 0) < 0)
            return -errno;
    }
    if (lseek(fd, 0, SEEK_SET) < 0)
        return -errno;
    return TAKE_FD(fd);
}

static int spawn(const AccountTable *t, int *ret_results) {
    _cleanup_close_ int names = write_names(t), reading = -EBADF, writing = -EBADF;
    int pair[2];
    pid_t pid;

    if (names < 0)
        return names;
    if (pipe2(pair, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    reading = pair[0];
    writing = pair[1];
    /* Only our end is non-blocking. */
    if (fcntl(writing, F_SETFL, 0) < 0)
        return -errno;
    pid = fork();
    if (pid == 0)
        exec_lookup(names, writing);
    if (pid < 0)
        return -errno;
    while (waitpid(pid, NULL, 0) < 0)
        if (errno != EINTR)
            return -errno;
    *ret_results = TAKE_FD(reading);
    return 0;
}

/* ---- the daemon's side ---- */

struct AccountLookup {
    AccountTable *table; /* borrowed */
    void (*done)(void *userdata);
    void *userdata;
    int fd;
    sd_event_source *io, *deadline;
    size_t n; /* answered so far */
};

AccountLookup *account_lookup_free(AccountLookup *l) {
    if (!l)
        return NULL;
    sd_event_source_disable_unref(l->io);
    sd_event_source_disable_unref(l->deadline);
    (void) safe_close(l->fd);
    free(l);
    return NULL;
}

static void finish(AccountLookup *l, int error) {
    for (; l->n < l->table->n; l->n++)
        l->table->items[l->n].result = error;
    l->done(l->userdata);
}

static int on_deadline(sd_event_source *s, uint64_t usec, void *userdata) {
    finish(userdata, -ETIMEDOUT);
    return 0;
}

/* Results are read whole, because writes as short as this are atomic in a pipe. */
static int on_results(sd_event_source *s, int fd, uint32_t events, void *userdata) {
    AccountLookup *l = userdata;
    Result results[64];
    ssize_t n = read(l->fd, results, sizeof(results));

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    for (size_t i = 0; n > 0 && i < (size_t) n / sizeof(results[0]) && l->n < l->table->n; i++, l->n++) {
        l->table->items[l->n].result = results[i].result;
        l->table->items[l->n].id = results[i].id;
    }
    if (n <= 0 || l->n == l->table->n)
        finish(l, -EIO);
    return 0;
}

int account_lookup_new(sd_event *event, AccountTable *table, void (*done)(void *userdata), void *userdata,
        AccountLookup **ret) {
    _cleanup_(account_lookup_freep) AccountLookup *l = malloc(sizeof(*l));
    int r;

    if (!l)
        return -ENOMEM;
    *l = (AccountLookup){.table = table, .done = done, .userdata = userdata, .fd = -EBADF};
    account_table_settle(table);
    r = spawn(table, &l->fd);
    if (r >= 0)
        r = sd_event_add_io(event, &l->io, l->fd, EPOLLIN, on_results, l);
    if (r >= 0)
        r = sd_event_add_time_relative(
                event, &l->deadline, CLOCK_MONOTONIC, TIMEOUT_SEC * UINT64_C(1000000), 0, on_deadline, l);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(l);
    return 0;
}
