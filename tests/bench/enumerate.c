/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The floor of the daemon's start: a program that enumerates all PCI and mediated devices with plain libudev
 * and reads of each what the daemon must know. It says READY=1 as the daemon does and waits, so that both are
 * measured from outside in the same way. With --only it enumerates and reads nothing.
 *
 * It prints one line, the number of devices and a sum over what it read: nobody can optimise the reading
 * away, and the caller sees that both modes met the same tree. */

#include <dirent.h>
#include <fcntl.h>
#include <libudev.h>
#include <stdio.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/macro.h"

static struct udev *unref_udev(struct udev *u) {
    return udev_unref(u);
}
static struct udev_enumerate *unref_enumerate(struct udev_enumerate *e) {
    return udev_enumerate_unref(e);
}
static struct udev_device *unref_device(struct udev_device *d) {
    return udev_device_unref(d);
}
DEFINE_TRIVIAL_CLEANUP_FUNC(struct udev *, unref_udev);
DEFINE_TRIVIAL_CLEANUP_FUNC(struct udev_enumerate *, unref_enumerate);
DEFINE_TRIVIAL_CLEANUP_FUNC(struct udev_device *, unref_device);

static size_t text_sum(const char *s) {
    return s ? strlen(s) : 0;
}

static void closedirp(DIR **d) {
    if (*d)
        (void) closedir(*d);
}

/* The vfio-dev/vfioN below a device and its device number; a device that is not on a vfio driver has none. */
static size_t read_vfio(const char *syspath) {
    _cleanup_(closedirp) DIR *d = NULL;
    char path[512];
    size_t sum = 0;

    (void) snprintf(path, sizeof(path), "%s/vfio-dev", syspath);
    d = opendir(path);
    if (!d)
        return 0;
    for (struct dirent *entry; (entry = readdir(d));) {
        char dev[512 + 300], text[32];
        int fd;
        ssize_t n;

        if (!startswith(entry->d_name, "vfio"))
            continue;
        (void) snprintf(dev, sizeof(dev), "%s/%s/dev", path, entry->d_name);
        fd = open(dev, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            continue;
        n = read(fd, text, sizeof(text));
        (void) close(fd);
        sum += n > 0 ? (size_t) n : 0;
    }
    return sum;
}

static size_t read_device(struct udev *udev, const char *syspath) {
    static const char *const attributes[] = {
            "vendor",
            "device",
            "subsystem_vendor",
            "subsystem_device",
            "class",
            "revision",
    };
    _cleanup_(unref_devicep) struct udev_device *device = NULL;
    char path[512], target[256];
    size_t sum = 0;
    ssize_t n;

    device = udev_device_new_from_syspath(udev, syspath);
    if (!device)
        return 0;
    for (size_t i = 0; i < ELEMENTSOF(attributes); i++)
        sum += text_sum(udev_device_get_sysattr_value(device, attributes[i]));
    sum += text_sum(udev_device_get_driver(device));
    /* libudev follows only the links that it knows: this one it does not. */
    (void) snprintf(path, sizeof(path), "%s/iommu_group", syspath);
    n = readlink(path, target, sizeof(target));
    sum += n > 0 ? (size_t) n : 0;
    return sum + read_vfio(syspath);
}

int main(int argc, char **argv) {
    _cleanup_(unref_udevp) struct udev *udev = NULL;
    _cleanup_(unref_enumeratep) struct udev_enumerate *enumerate = NULL;
    struct udev_list_entry *entry;
    bool only = argc == 2 && streq(argv[1], "--only");
    size_t count = 0, sum = 0;

    if (argc > 1 && !only) {
        (void) fprintf(stderr, "usage: %s [--only]\n", argv[0]);
        return EXIT_FAILURE;
    }
    udev = udev_new();
    enumerate = udev ? udev_enumerate_new(udev) : NULL;
    if (!enumerate || udev_enumerate_add_match_subsystem(enumerate, "pci") < 0 ||
            udev_enumerate_add_match_subsystem(enumerate, "mdev") < 0 ||
            udev_enumerate_scan_devices(enumerate) < 0) {
        (void) fprintf(stderr, "cannot enumerate\n");
        return EXIT_FAILURE;
    }
    udev_list_entry_foreach(entry, udev_enumerate_get_list_entry(enumerate)) {
        count++;
        sum += only ? 1 : read_device(udev, udev_list_entry_get_name(entry));
    }
    (void) printf("%zu %zu\n", count, sum);
    (void) fflush(stdout);
    (void) sd_notify(0, "READY=1");
    /* Until the caller, which holds the other end of our stdin, has looked at us. */
    return read(STDIN_FILENO, &(char){0}, 1) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
