/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/privileges.h"

static bool kernel_refuses;
static unsigned n_sets;

/* Instead of libcap's, for the whole program. */
int cap_set_proc(cap_t caps) {
    n_sets++;
    if (!kernel_refuses)
        return 0;
    errno = EPERM;
    return -1;
}

static void test_lowered(void **state) {
    n_sets = 0;
    errno = ENOENT;
    privileges_raise(CAP_SYS_PTRACE);
    privileges_lower();
    assert_int_equal(n_sets, 2);
    assert_int_equal(errno, ENOENT);
}

/* Nothing goes on with a privilege that could not be put down. */
static void test_cannot_be_lowered(void **state) {
    pid_t pid = fork();
    int status = 0;

    assert_true(pid >= 0);
    if (pid == 0) {
        privileges_raise(CAP_SYS_PTRACE);
        kernel_refuses = true;
        privileges_lower();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_lowered),
            cmocka_unit_test(test_cannot_be_lowered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
