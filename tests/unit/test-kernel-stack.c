/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/str.h"
#include "core/kernel-stack.h"

static void assert_reads(const char *text, const char *expected) {
    _cleanup_free_ char *shown = NULL;
    KernelStack stack;

    kernel_stack_parse(text, &stack);
    shown = kernel_stack_format(&stack);
    assert_string_equal(shown, expected);
}

static void test_as_the_kernel_writes_it(void **state) {
    assert_reads("[<0>] vfio_unregister_group_dev+0x9a/0x130 [vfio]\n[<0>] unbind_store+0xf/0x20\n"
                 "[<0>] do_syscall_64+0x82/0x190\n",
            "vfio_unregister_group_dev unbind_store do_syscall_64");
    assert_reads("[<ffffffff810a0b1c>] msleep.isra.0+0x1c/0x20\n[<ffffffffffffffff>] 0xffffffffffffffff\n",
            "msleep.isra.0");
    assert_reads("ptrace_stop", "ptrace_stop"); /* wchan */
    assert_reads("0", "");
    assert_reads("", "");
}

static void test_hostile(void **state) {
    _cleanup_strbuf_ StrBuf many = {};
    char frame[KERNEL_FUNCTION_MAX + 1];
    KernelStack stack;

    assert_reads("[<0", "");
    assert_reads("[<0>]", "");
    assert_reads("[<0>] \n]\n[]\n\n", "");
    assert_reads("[<0>\n] a\nb\033[31mc\n.d\n\303\244\n", "b");
    memset(frame, 'x', KERNEL_FUNCTION_MAX);
    frame[KERNEL_FUNCTION_MAX] = '\0';
    assert_reads(frame, "");
    frame[KERNEL_FUNCTION_MAX - 1] = '\0';
    assert_reads(frame, frame);
    for (size_t i = 0; i < 10 * KERNEL_STACK_FRAMES_MAX; i++)
        strbuf_addf(&many, "[<0>] f%zu+0x1/0x2\n", i);
    kernel_stack_parse(many.text, &stack);
    assert_int_equal(stack.n, KERNEL_STACK_FRAMES_MAX);
    assert_string_equal(stack.frames[KERNEL_STACK_FRAMES_MAX - 1], "f15");
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_as_the_kernel_writes_it),
            cmocka_unit_test(test_hostile),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
