/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* QEMU takes an iommufd and a device by file descriptor since 9.0 (docs/devel/vfio-iommufd.rst there), and
 * the token of a physical function since 8.1. It takes no group: with the group backend it opens /dev/vfio/N
 * itself, so the claim must make that node usable.
 *
 * cloud-hypervisor has no released version number to go by: its help names the parameter "iommufd_fd" of
 * --platform when it is built with it. It requires iommufd=on beside it. --platform may be given once, so
 * ours is added to the user's own. */

#include "client/vmm.h"

#include <stdio.h>

#include "base/str.h"
#include "client/command.h"

#define QEMU_TAKES_FDS 9U
#define IOMMUFD_ID "vfiod"

void free_arguments(char ***arguments) {
    for (char **p = *arguments; p && *p; p++)
        free(*p);
    free(*arguments);
    *arguments = NULL;
}

/* ---- what it can do ---- */

static int parse_qemu(const char *text, VmmAbilities *ret) {
    const char *version = strstr(text, "QEMU"), *number;
    unsigned major, minor;

    number = version ? strstr(version, " version ") : NULL;
    if (!number || sscanf(number, " version %3u.%3u", &major, &minor) != 2)
        return -EBADMSG;
    *ret = (VmmAbilities){.takes_fds = major >= QEMU_TAKES_FDS,
            .opens_groups = true,
            .takes_tokens = major > 8 || (major == 8 && minor >= 1)};
    snprintf(ret->name, sizeof(ret->name), "QEMU %u.%u", major, minor);
    return 0;
}

static int parse_cloud_hypervisor(const char *text, VmmAbilities *ret) {
    if (!strstr(text, "--platform"))
        return -EBADMSG;
    *ret = (VmmAbilities){.name = "this cloud-hypervisor", .takes_fds = strstr(text, "iommufd_fd=") != NULL};
    return 0;
}

int vmm_parse_abilities(Vmm vmm, const char *text, VmmAbilities *ret) {
    return vmm == VMM_QEMU ? parse_qemu(text, ret) : parse_cloud_hypervisor(text, ret);
}

int vmm_probe(Vmm vmm, const char *program, VmmAbilities *ret, VfiodErrorText *error) {
    const char *option = vmm == VMM_QEMU ? "--version" : "--help";
    _cleanup_free_ char *text = NULL;
    int r;

    r = command_ask(program, option, &text);
    if (r < 0)
        return error_text_set(error, -r, ERROR_NAME_FAILED, "%s %s: cannot read what it prints: %s", program,
                option, strerrordesc_np(-r));
    r = vmm_parse_abilities(vmm, text, ret);
    if (r < 0)
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE,
                "%s is not %s, judging by its output for %s. Without --%s, templates such as {device} work "
                "with every program.",
                program, vmm == VMM_QEMU ? "QEMU" : "cloud-hypervisor", option,
                vmm == VMM_QEMU ? "qemu" : "cloud-hypervisor");
    return 0;
}

int vmm_grant(Vmm vmm, const VmmAbilities *abilities, const char *backend, const char **ret,
        VfiodErrorText *error) {
    if (streq(backend, "iommufd") && abilities->takes_fds)
        *ret = "fd";
    else if (streq(backend, "group") && abilities->opens_groups)
        *ret = "node";
    else if (streq(backend, "noiommu"))
        return error_text_set(error, EOPNOTSUPP, "BackendUnavailable",
                "A virtual machine cannot use a device without an IOMMU (backend noiommu).");
    else if (streq(backend, "compat"))
        return error_text_set(error, EOPNOTSUPP, "BackendUnavailable",
                "%s cannot use the backend compat: it opens groups, or binds devices to an iommufd, by "
                "itself.",
                abilities->name);
    else if (vmm == VMM_QEMU)
        return error_text_set(error, EOPNOTSUPP, "BackendUnavailable",
                "%s takes no file descriptors of iommufd: QEMU does since 9.0. Use that, or --backend=group, "
                "which "
                "requires a rule that grants nodes (\"grant\": [\"node\"]).",
                abilities->name);
    else if (streq(backend, "iommufd"))
        return error_text_set(error, EOPNOTSUPP, "BackendUnavailable",
                "%s takes no file descriptors: its help does not mention iommufd_fd. Use a newer version.",
                abilities->name);
    else
        return error_text_set(error, EOPNOTSUPP, "BackendUnavailable",
                "cloud-hypervisor takes file descriptors of iommufd only, and the backend is %s. 'vfioctl "
                "status' "
                "shows what the kernel supports.",
                backend);
    return 0;
}

/* ---- its arguments ---- */

char *vmm_device_id(const char *device) {
    char *id = strdup(device);

    for (char *p = id; p && *p; p++)
        if (*p == ':')
            *p = '-';
    return id;
}

const char *vmm_pci_address(const char *device) {
    return startswith(device, "pci:");
}

typedef struct Arguments {
    char **items; /* owned; ended by NULL */
    size_t n;
    bool failed;
} Arguments;

static void add(Arguments *a, char *text) {
    char **bigger = text ? reallocarray(a->items, a->n + 2, sizeof(char *)) : NULL;

    if (!bigger) {
        free(text);
        a->failed = true;
        return;
    }
    a->items = bigger;
    a->items[a->n++] = text;
    a->items[a->n] = NULL;
}

int vmm_check_tokens(Vmm vmm, const VmmAbilities *abilities, const TemplateDevice *devices, size_t n_devices,
        VfiodErrorText *error) {
    for (size_t i = 0; i < n_devices && !abilities->takes_tokens; i++)
        if (devices[i].vf_token)
            return error_text_set(error, EOPNOTSUPP, "BackendUnavailable",
                    "%s: the kernel opens it only with the token of its physical function, which %s does not "
                    "take.%s",
                    devices[i].name, abilities->name, vmm == VMM_QEMU ? " QEMU does since 8.1." : "");
    return 0;
}

static void add_qemu_device(Arguments *a, bool fds, const TemplateDevice *device, size_t index) {
    _cleanup_free_ char *id = vmm_device_id(device->name);
    const char *separator = device->vf_token ? ",vf-token=" : "", *token = device->vf_token ?: "";

    if (!id)
        a->failed = true;
    add(a, strdup("-device"));
    add(a,
            fds ? format_string("vfio-pci,id=%s,iommufd=" IOMMUFD_ID ",fd={device:%zu}%s%s", id, index,
                          separator, token)
                : format_string(
                          "vfio-pci,id=%s,host=%s%s%s", id, vmm_pci_address(device->name), separator, token));
}

static void add_qemu(Arguments *a, bool fds, const TemplateDevice *devices, size_t n_devices) {
    if (fds) {
        add(a, strdup("-object"));
        add(a, strdup("iommufd,id=" IOMMUFD_ID ",fd={iommufd}"));
    }
    for (size_t i = 0; i < n_devices; i++)
        add_qemu_device(a, fds, devices + i, i);
}

#define CLOUD_HYPERVISOR_PLATFORM "iommufd=on,iommufd_fd={iommufd}"

/* The user's --platform, with ours behind it. Where: its index, of the word that has the value. */
static bool find_platform(const Arguments *a, size_t *ret, const char **ret_value) {
    for (size_t i = 1; i < a->n; i++) {
        const char *value = startswith(a->items[i], "--platform=");

        if (value || (streq(a->items[i], "--platform") && i + 1 < a->n)) {
            *ret = value ? i : i + 1;
            *ret_value = value ?: a->items[i + 1];
            return true;
        }
    }
    return false;
}

static void add_platform(Arguments *a) {
    const char *value;
    char *joined;
    size_t i;

    if (!find_platform(a, &i, &value)) {
        add(a, strdup("--platform"));
        add(a, strdup(CLOUD_HYPERVISOR_PLATFORM));
        return;
    }
    joined = strstr(value, "iommufd=on") ? format_string("%s,iommufd_fd={iommufd}", a->items[i])
                                         : format_string("%s," CLOUD_HYPERVISOR_PLATFORM, a->items[i]);
    if (!joined) {
        a->failed = true;
        return;
    }
    free(a->items[i]);
    a->items[i] = joined;
}

static void add_cloud_hypervisor(Arguments *a, const TemplateDevice *devices, size_t n_devices) {
    add_platform(a);
    add(a, strdup("--device"));
    for (size_t i = 0; i < n_devices; i++) {
        _cleanup_free_ char *id = vmm_device_id(devices[i].name);

        if (!id)
            a->failed = true;
        add(a, format_string("id=%s,fd={device:%zu}", id, i));
    }
}

int vmm_add_arguments(Vmm vmm, bool fds, char *const *arguments, const TemplateDevice *devices,
        size_t n_devices, char ***ret, VfiodErrorText *error) {
    Arguments a = {};

    for (size_t i = 0; i < n_devices; i++)
        if (!vmm_pci_address(devices[i].name))
            return error_text_set(error, EINVAL, ERROR_NAME_USAGE,
                    "%s: arguments are known for PCI devices only. Write them with templates such as "
                    "{device}.",
                    devices[i].name);
    for (char *const *p = arguments; *p; p++)
        add(&a, strdup(*p));
    if (vmm == VMM_QEMU)
        add_qemu(&a, fds, devices, n_devices);
    else
        add_cloud_hypervisor(&a, devices, n_devices);
    if (a.failed) {
        free_arguments(&a.items);
        return error_text_errno(error, ENOMEM, "Cannot run the command");
    }
    *ret = a.items;
    return 0;
}
