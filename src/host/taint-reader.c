/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host/taint-reader.h"

#include <fcntl.h>
#include <stdio.h>

#include "base/fd.h"
#include "base/str.h"

#define COMMAND_LINE_MAX (64U * 1024)

/* "Y" or "N" in the kernel's words. There is none while its module is not loaded. */
static const struct {
    const char *module, *parameter;
    TaintKind kind;
} parameters[] = {
        {"vfio", "enable_unsafe_noiommu_mode", TAINT_NOIOMMU_ENABLED},
        {"vfio_iommu_type1", "allow_unsafe_interrupts", TAINT_UNSAFE_INTERRUPTS},
        {"iommufd", "allow_unsafe_interrupts", TAINT_UNSAFE_INTERRUPTS},
};

static void read_parameter(TaintList *l, size_t i) {
    char path[128], text[16], what[128];
    ssize_t n;

    snprintf(path, sizeof(path), "/sys/module/%s/parameters/%s", parameters[i].module,
            parameters[i].parameter);
    n = read_attribute_at(AT_FDCWD, path, text, sizeof(text));
    if (n == -ENOENT || (n >= 0 && streq(text, "N")))
        return;
    snprintf(what, sizeof(what), "%s.%s%s", parameters[i].module, parameters[i].parameter,
            n < 0 ? " (unreadable)" : "");
    (void) taint_list_add(l, parameters[i].kind, true, what);
}

static void read_command_line(TaintList *l) {
    _cleanup_free_ char *text = NULL;

    if (read_file_at(AT_FDCWD, "/proc/cmdline", COMMAND_LINE_MAX, &text, NULL) >= 0)
        taint_list_add_command_line(l, text);
    else
        (void) taint_list_add(l, TAINT_COMMAND_LINE, true, "/proc/cmdline (unreadable)");
}

static void read_kernel(TaintList *l) {
    char text[32];
    uint64_t v;

    if (read_attribute_at(AT_FDCWD, "/proc/sys/kernel/tainted", text, sizeof(text)) >= 0 &&
            parse_unsigned(text, 10, UINT64_MAX, &v) >= 0)
        taint_list_add_kernel(l, v);
    else
        (void) taint_list_add(l, TAINT_KERNEL, true, "/proc/sys/kernel/tainted (unreadable)");
}

void taint_reader_read(TaintList *l) {
    for (size_t i = 0; i < ELEMENTSOF(parameters); i++)
        read_parameter(l, i);
    read_command_line(l);
    read_kernel(l);
}
