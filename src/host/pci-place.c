/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host/pci-place.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "core/device-kind.h"

#define CONFIG_MAX 4096U

static int gone_error(int error) {
    return error == ENOENT || error == ENXIO ? -ENODEV : -error;
}

/* /sys/devices/pci0000:00/0000:00:1c.0/0000:01:00.0: the ports are the parent directories. */
static size_t split_ports(char *path, DeviceName ports[static PORTS_MAX]) {
    char *rest = NULL;
    size_t n = 0;

    for (char *word = strtok_r(path, "/", &rest); word; word = strtok_r(NULL, "/", &rest))
        if (n < PORTS_MAX && device_name_parse_pci_address(word, &ports[n]) >= 0)
            n++;
    return n;
}

int pci_place_read_ports(const DeviceName *name, DeviceName ports[static PORTS_MAX]) {
    char path[DEVICE_PATH_MAX];
    _cleanup_free_ char *real = NULL;
    size_t n;

    (void) device_sysfs_path(name, path);
    real = realpath(path, NULL);
    if (!real)
        return gone_error(errno);
    n = split_ports(real, ports);
    if (n == 0 || n == PORTS_MAX || device_name_compare(&ports[n - 1], name) != 0)
        return -EBADMSG;
    return (int) n;
}

/* Every dword of config space costs a cycle on the bus, so it is read in steps until parse has what it needs:
 * usually 512 of the 4096 bytes. Without CAP_SYS_ADMIN the file ends after the header. parse returns -EINVAL
 * as long as it needs more. */
int pci_place_read_config(
        int device, int (*parse)(const uint8_t *config, size_t size, void *userdata), void *userdata) {
    static const size_t steps[] = {256, 512, 1024, 2048, CONFIG_MAX};
    _cleanup_close_ int fd = -EBADF;
    uint8_t config[CONFIG_MAX];
    size_t size = 0;

    fd = openat(device, "config", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return gone_error(errno);

    for (size_t i = 0; i < ELEMENTSOF(steps); i++) {
        ssize_t n = pread(fd, config + size, steps[i] - size, (off_t) size);
        int r;

        if (n < 0)
            return -errno;
        size += (size_t) n;
        r = parse(config, size, userdata);
        if (r != -EINVAL || size < steps[i])
            return r;
    }
    return -EINVAL;
}
