/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* In the bench every VFIO node is another /dev/null: a real character device that costs as much to open.
 * Loaded into the daemon, this answers the one ioctl that the broker calls on a node, and changes nothing
 * else. */

#include <dlfcn.h>
#include <stdarg.h>
#include <stddef.h>

#define IOMMU_OPTION 0x3b87UL

int ioctl(int fd, unsigned long request, ...);

int ioctl(int fd, unsigned long request, ...) {
    static int (*next)(int fd, unsigned long request, ...);
    va_list arguments;
    void *argument;

    va_start(arguments, request);
    argument = va_arg(arguments, void *);
    va_end(arguments);
    if ((request & 0xffffffffUL) == IOMMU_OPTION)
        return 0;
    if (!next)
        next = (__typeof__(next)) dlsym(RTLD_NEXT, "ioctl");
    return next(fd, request, argument);
}
