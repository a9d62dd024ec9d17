/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host/cgroup-layout.h"

#include <linux/magic.h>
#include <sys/statfs.h>

int cgroup_layout_is_unified(bool *ret) {
    static const char *const paths[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"};
    struct statfs fs;

    for (size_t i = 0; i < ELEMENTSOF(paths); i++) {
        if (statfs(paths[i], &fs) < 0) {
            if (i == 1 && errno == ENOENT)
                continue;
            return -errno;
        }
        *ret = fs.f_type == CGROUP2_SUPER_MAGIC;
        if (*ret || fs.f_type == CGROUP_SUPER_MAGIC)
            return 0;
    }
    return -ENODATA;
}
