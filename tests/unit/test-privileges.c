/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <linux/capability.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/privileges.h"

static bool kernel_refuses;
static unsigned n_sets;
static cap_t last; /* the set that was set last */

/* Replaces libcap's function in the whole program. */
int cap_set_proc(cap_t caps) {
    n_sets++;
    cap_free(last);
    last = cap_dup(caps);
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

static bool last_has(cap_value_t capability, cap_flag_t flag) {
    cap_flag_value_t value;

    assert_int_equal(cap_get_flag(last, capability, flag, &value), 0);
    return value == CAP_SET;
}

/* A capability that was raised before is not raised with the next one. A dropped one is in neither set. */
static void test_alone(void **state) {
    privileges_raise(CAP_SYS_PTRACE);
    assert_true(last_has(CAP_SYS_PTRACE, CAP_EFFECTIVE));
    privileges_lower();
    assert_false(last_has(CAP_SYS_PTRACE, CAP_EFFECTIVE));
    privileges_raise(CAP_SYS_RESOURCE);
    assert_true(last_has(CAP_SYS_RESOURCE, CAP_EFFECTIVE));
    assert_false(last_has(CAP_SYS_PTRACE, CAP_EFFECTIVE));
    privileges_lower();
    assert_int_equal(privileges_give_up(CAP_SYS_PTRACE), 0);
    privileges_raise(CAP_SYS_PTRACE);
    assert_false(last_has(CAP_SYS_PTRACE, CAP_PERMITTED));
    privileges_lower();
}

/* The process aborts if a capability cannot be lowered. */
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

/* As in the daemon, no capability is effective at rest. So these tests can fail for root, too. */
static void rest(void) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];

    assert_int_equal(syscall(SYS_capget, &header, data), 0);
    data[0].effective = data[1].effective = 0;
    assert_int_equal(syscall(SYS_capset, &header, data), 0);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_lowered),
            cmocka_unit_test(test_alone),
            cmocka_unit_test(test_cannot_be_lowered),
    };

    rest();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
