/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* udev runs this for each new PCI device, see units/60-vfiod-pins.rules. It needs neither daemon nor bus, so
 * it works in an initramfs.
 *
 * vfiod-pin [--directory=DIR] ADDRESS
 *     Sets the overrides of all pins, and prints the driver of the device at ADDRESS for udev to load.
 *
 * vfiod-pin [--directory=DIR] --bind ADDRESS
 *     Binds that device to it.
 *
 * vfiod-pin --sibling[=DIR] ADDRESS
 *     Keeps drivers from the device if its group is claimed, see claimed-group.h.
 *
 * Problems with the device's pin go to the kernel's log, because no other log is kept this early. Errors in
 * files are left to "vfioctl pins": here they would be reported for each device. */

#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fd.h"
#include "pins/claimed-group.h"
#include "pins/pin-apply.h"

typedef struct Job {
    const char *directory;
    const char *claims; /* NULL unless --sibling was given */
    bool bind;
    DeviceName name;
} Job;

static void report(const DeviceName *name, const char *why) {
    _cleanup_close_ int fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC | O_NOCTTY);
    _cleanup_free_ char *line = NULL;
    char shown[DEVICE_NAME_MAX];

    (void) device_name_format(name, shown);
    line = format_string("<4>vfiod-pin: %s is pinned. %s\n", shown, why);
    if (fd >= 0 && line)
        (void) !write(fd, line, strlen(line)); /* udev's log gets the problem as well */
    fprintf(stderr, "%s is pinned. %s\n", shown, why);
}

static int prepare(const PinFiles *files, PinDevices *devices, const Job *job) {
    PinDevice *device, *elsewhere;
    const PinFile *file;
    PinState state;

    pins_set_overrides(files, devices);
    device = pin_devices_find_name(devices, &job->name);
    file = device ? pin_files_find(files, device->path) : NULL;
    if (!file)
        return 0;
    state = pin_look(&file->pin, devices, &device, &elsewhere);
    if (state == PIN_PENDING && *device->override) {
        printf("VFIOD_PIN_DRIVER=%s\n", file->pin.driver);
        return fflush(stdout) == 0 ? 0 : -EIO;
    }
    if (state != PIN_IN_FORCE) {
        _cleanup_free_ char *why = pin_explain(&file->pin, state, device, elsewhere);

        report(&job->name, why ?: "");
    }
    return 0;
}

static int bind_device(const PinFiles *files, PinDevices *devices, const Job *job) {
    PinDevice *device = pin_devices_find_name(devices, &job->name);
    const PinFile *file = device ? pin_files_find(files, device->path) : NULL;
    _cleanup_free_ char *why = NULL;
    int r;

    if (!file)
        return 0;
    r = pin_bind(&file->pin, device);
    if (r >= 0)
        return 0;
    why = format_string("The driver %s did not take it: %s", file->pin.driver,
            r == -ENODEV ? "it is not loaded" : strerrordesc_np(-r) ?: "unknown error");
    report(&job->name, why ?: "");
    return r;
}

static int run(const Job *job) {
    _cleanup_(pin_devices_done) PinDevices devices = {};
    _cleanup_(pin_files_done) PinFiles files = {};
    int r;

    if (job->claims)
        return claimed_group_park(job->claims, &job->name);
    r = pin_files_load(job->directory, &files);
    for (size_t i = 0; r >= 0 && i < problems_count(&files.problems); i++)
        fprintf(stderr, "%s\n", problems_get(&files.problems, i));
    if (r < 0 || files.n == 0)
        return r;
    r = pin_devices_scan(&devices);
    if (r < 0)
        return r;
    return (job->bind ? bind_device : prepare)(&files, &devices, job);
}

static int parse_arguments(int argc, char **argv, Job *ret) {
    static const struct option options[] = {
            {"directory", required_argument, NULL, 'd'},
            {"bind", no_argument, NULL, 'b'},
            {"sibling", optional_argument, NULL, 's'},
            {},
    };
    int c;

    *ret = (Job){.directory = PINS_DIRECTORY};
    while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
        if (c == 'd')
            ret->directory = optarg;
        else if (c == 'b')
            ret->bind = true;
        else if (c == 's')
            ret->claims = optarg ?: CLAIMS_DIRECTORY;
        else
            return -EINVAL;
    return optind + 1 == argc ? device_name_parse_pci_address(argv[optind], &ret->name) : -EINVAL;
}

int main(int argc, char **argv) {
    Job job;
    int r;

    if (parse_arguments(argc, argv, &job) < 0) {
        fprintf(stderr, "Usage: vfiod-pin [--directory=DIR] [--bind | --sibling[=DIR]] ADDRESS\n");
        return 2;
    }
    r = run(&job);
    if (r < 0)
        fprintf(stderr, "vfiod-pin: %s\n", strerrordesc_np(-r));
    return r < 0 ? 1 : 0;
}
