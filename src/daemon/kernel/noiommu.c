/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/kernel/noiommu.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "host/sysfs.h"

#define PARAMETER "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode"
#define BOOT_ID "/proc/sys/kernel/random/boot_id"
#define NOTE "noiommu-enabled"
#define NOTE_SIZE_MAX 4096U

struct NoiommuSwitch {
    int directory;
    bool ours; /* the note is on disk */
    char boot_id[40];
};

/* The note contains the boot id: after a reboot the kernel has forgotten our change, but a state directory
 * outside of /run still has the note. An unreadable note counts as ours, so the switch is turned off: that is
 * the safe side. */
static int read_note(NoiommuSwitch *s) {
    _cleanup_free_ char *text = NULL;
    int r;

    r = read_file_at(s->directory, NOTE, NOTE_SIZE_MAX, &text, NULL);
    if (r == -ENOENT)
        return 0;
    s->ours = true;
    if (r < 0)
        log_warning_errno(r, "Cannot read %s, taking it for ours", NOTE);
    else if (strlen(text) == strlen(s->boot_id) + 1 && !startswith(text, s->boot_id)) {
        s->ours = false;
        if (unlinkat(s->directory, NOTE, 0) < 0)
            return -errno;
    }
    return 0;
}

int noiommu_switch_new(const char *state_directory, NoiommuSwitch **ret) {
    _cleanup_(noiommu_switch_freep) NoiommuSwitch *s = NULL;
    ssize_t n;
    int r;

    s = malloc(sizeof(*s));
    if (!s)
        return -ENOMEM;
    *s = (NoiommuSwitch){.directory = -EBADF};
    n = read_attribute_at(AT_FDCWD, BOOT_ID, s->boot_id, sizeof(s->boot_id));
    if (n < 0)
        return (int) n;
    s->directory = open(state_directory, O_DIRECTORY | O_CLOEXEC | O_RDONLY);
    if (s->directory < 0)
        return -errno;
    r = read_note(s);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(s);
    return 0;
}

NoiommuSwitch *noiommu_switch_free(NoiommuSwitch *s) {
    if (!s)
        return NULL;
    (void) safe_close(s->directory);
    free(s);
    return NULL;
}

/* 1: on; 0: off; -ENOENT: this kernel does not support it, or vfio is not loaded. */
static int read_parameter(void) {
    char text[16];
    ssize_t n = read_attribute_at(AT_FDCWD, PARAMETER, text, sizeof(text));

    return n < 0 ? (int) n : streq(text, "Y") ? 1 : streq(text, "N") ? 0 : -EBADMSG;
}

/* Reads the parameter back, because only the kernel's value counts. */
static int write_parameter(bool on) {
    int r;

    r = write_attribute_at(AT_FDCWD, PARAMETER, on ? "Y" : "N");
    if (r >= 0)
        r = read_parameter();
    return r < 0 ? r : (r == 1) == on ? 0 : -EIO;
}

static int refuse_disabled(Refusal *refusal, const DeviceName *name, const char *why, const char *remedy) {
    int r = refuse(refusal, VFIOD_ERROR_NOIOMMU_DISABLED, name, "%s", why);

    if (remedy)
        refusal->remedy = strdup(remedy);
    return r;
}

static int check(NoiommuMode mode, const DeviceName *name, Refusal *refusal, bool *ret_on) {
    KernelFacts kernel = {};
    int r;

    if (mode == NOIOMMU_OFF)
        return refuse_disabled(
                refusal, name, "the host setting \"noiommu\" does not allow devices without an IOMMU", NULL);
    r = sysfs_read_kernel_facts(&kernel);
    if (r < 0)
        return refuse(refusal, VFIOD_ERROR_INTERNAL, name, "cannot find out what the kernel supports: %s",
                strerror(-r));
    if (kernel.lockdown)
        return refuse_disabled(refusal, name,
                "the kernel is locked down, and a device without an IOMMU can write to all of its memory",
                "Turn an IOMMU on: lockdown ends only with another boot.");
    if (!kernel.noiommu_support)
        return refuse_disabled(refusal, name,
                "the kernel does not support devices without an IOMMU, or the module vfio is not loaded",
                "Load the module ('modprobe vfio-pci') and restart vfiod. The kernel must have "
                "CONFIG_VFIO_NOIOMMU.");
    if (!kernel.noiommu_enabled && mode == NOIOMMU_ON)
        return refuse_disabled(refusal, name, "the kernel's parameter vfio.enable_unsafe_noiommu_mode is off",
                "The operator can turn it on (modprobe.d: options vfio enable_unsafe_noiommu_mode=1), or let "
                "vfiod do it with \"noiommu\": \"managed\".");
    *ret_on = kernel.noiommu_enabled;
    return 0;
}

static int switch_on(NoiommuSwitch *s) {
    _cleanup_free_ char *text = format_string("%s\n", s->boot_id);
    int r;

    if (!text)
        return -ENOMEM;
    r = write_file_atomic_at(s->directory, NOTE, text, strlen(text), 0600);
    if (r < 0)
        return r;
    s->ours = true;
    r = write_parameter(true);
    if (r < 0) {
        noiommu_switch_release(s);
        return r;
    }
    log_debug("Turned vfio.enable_unsafe_noiommu_mode on, until the last claim that needs it ends");
    return 0;
}

int noiommu_switch_require(NoiommuSwitch *s, NoiommuMode mode, const DeviceName *name, Refusal *refusal) {
    bool on = false;
    int r;

    r = check(mode, name, refusal, &on);
    if (r < 0 || on)
        return r;
    r = switch_on(s);
    if (r < 0)
        return refuse(refusal, VFIOD_ERROR_INTERNAL, name, "cannot turn %s on: %s", PARAMETER, strerror(-r));
    return 0;
}

void noiommu_switch_release(NoiommuSwitch *s) {
    int r;

    if (!s->ours)
        return;
    /* If the module was unloaded or somebody else turned it off, there is nothing to restore. */
    r = read_parameter();
    if (r == 1)
        r = write_parameter(false);
    if (r < 0 && r != -ENOENT) {
        log_error_errno(r,
                "Cannot turn vfio.enable_unsafe_noiommu_mode off again. vfiod tries again when the next "
                "claim ends, or when it starts");
        return;
    }
    s->ours = false;
    if (unlinkat(s->directory, NOTE, 0) < 0 && errno != ENOENT)
        log_warning_errno(-errno, "Cannot remove %s", NOTE);
    log_debug("Turned vfio.enable_unsafe_noiommu_mode off again");
}

bool noiommu_switch_is_ours(const NoiommuSwitch *s) {
    return s->ours;
}
