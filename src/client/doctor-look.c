/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "client/command.h"
#include "client/doctor.h"
#include "client/doctor-memory.h"
#include "client/vmm.h"
#include "pins/pins.h"
#include "rehearsal/rehearsal.h"

#define FILE_MAX (8U << 20)

static bool exists(const char *path) {
    return access(path, F_OK) == 0;
}

/* NULL if it cannot be read for any reason: then there is no finding. */
static char *read_text(const char *path) {
    char *text = NULL;
    size_t size;

    return read_file_at(AT_FDCWD, path, FILE_MAX, &text, &size) < 0 ? NULL : text;
}

/* The names in a directory, separated by blanks, and their number. */
static int list_names(const char *path, char **ret, unsigned *ret_n) {
    _cleanup_closedir_ DIR *d = NULL;
    _cleanup_strbuf_ StrBuf names = {};
    struct dirent *e;

    *ret_n = 0;
    if (open_directory_at(AT_FDCWD, path, &d) >= 0)
        while ((e = readdir(d))) {
            if (e->d_name[0] == '.')
                continue;
            strbuf_addf(&names, "%s%s", names.length > 0 ? " " : "", e->d_name);
            ++*ret_n;
        }
    if (names.error < 0)
        return names.error;
    free(*ret);
    *ret = names.text ? strbuf_steal(&names) : strdup("");
    return *ret ? 0 : -ENOMEM;
}

static const char *find_firmware_table(void) {
    static const char *const tables[] = {"DMAR", "IVRS", "IORT", "VIOT"};
    char path[64];

    for (size_t i = 0; i < ELEMENTSOF(tables); i++) {
        snprintf(path, sizeof(path), "/sys/firmware/acpi/tables/%s", tables[i]);
        if (exists(path))
            return tables[i];
    }
    return NULL;
}

/* Looks at the names of the kernel's interrupt chips: with remapping they begin with IR-. */
static int look_at_interrupts(void) {
    _cleanup_free_ char *text = read_text("/proc/interrupts");

    if (!text)
        return -1;
    if (strstr(text, " IR-"))
        return 1;
    return strstr(text, "IO-APIC") || strstr(text, "PCI-MSI") ? 0 : -1;
}

static bool look_for_hypervisor(void) {
    _cleanup_free_ char *text = read_text("/proc/cpuinfo");

    return text && strstr(text, " hypervisor");
}

/* ---- Programs ---- */

/* The output of the program; NULL if it is not installed. */
static char *ask(const char *name, const char *option) {
    _cleanup_free_ char *program = NULL;
    char *text = NULL;

    if (command_find(name, &program, NULL) < 0 || command_ask(program, option, &text) < 0)
        return NULL;
    return text;
}

char *doctor_name_version(const char *name, const char *text) {
    const char *at = text;

    while (at && *at &&
            !(isdigit((unsigned char) at[0]) && strspn(at, "0123456789.") > strspn(at, "0123456789")))
        at++;
    return at && *at ? format_string("%s %.*s", name, (int) MIN(strspn(at, "0123456789."), (size_t) 16), at)
                     : strdup(name);
}

static int look_for_qemu(DoctorFacts *f) {
    _cleanup_free_ char *text = NULL;
    struct utsname kernel;
    VmmAbilities abilities;
    char name[sizeof(kernel.machine) + sizeof("qemu-system-")];

    if (uname(&kernel) < 0)
        return 0;
    snprintf(name, sizeof(name), "qemu-system-%s", kernel.machine);
    text = ask(name, "--version") ?: ask("/usr/libexec/qemu-kvm", "--version");
    if (!text || vmm_parse_abilities(VMM_QEMU, text, &abilities) < 0)
        return 0;
    f->qemu_takes_fds = abilities.takes_fds;
    return free_and_strdup(&f->qemu, abilities.name);
}

static int look_for_program(const char *name, const char *called, char **ret) {
    _cleanup_free_ char *text = ask(name, "--version");

    if (!text)
        return 0;
    *ret = doctor_name_version(called, text);
    return *ret ? 0 : -ENOMEM;
}

/* ---- The distribution ---- */

/* ID=… and ID_LIKE=… as one list of words. os-release(5) allows values with and without quotation marks. */
static int look_at_distribution(DoctorFacts *f) {
    _cleanup_free_ char *text = read_text("/etc/os-release");
    _cleanup_strbuf_ StrBuf words = {};
    char *rest = NULL;

    for (char *line = text ? strtok_r(text, "\n", &rest) : NULL; line; line = strtok_r(NULL, "\n", &rest)) {
        const char *value = startswith(line, "ID=") ?: startswith(line, "ID_LIKE=");

        if (!value)
            continue;
        strbuf_add(&words, words.length > 0 ? " " : "");
        for (; *value; value++)
            if (*value != '"' && *value != '\'')
                strbuf_add_byte(&words, *value);
    }
    if (words.error < 0)
        return words.error;
    f->distribution = strbuf_steal(&words);
    return 0;
}

static int look_at_host(DoctorFacts *f) {
    static const char *const no_policy[] = {NULL};
    char *problem = NULL;
    int r;

    r = rehearsal_snapshot(no_policy, /* with_serials= */ false, &f->host, &problem);
    free(problem); /* the other facts do not depend on it */
    return r == -ENOMEM ? r : 0;
}

static int look_at_pins(DoctorFacts *f) {
    char *problem = NULL;
    int r;

    r = pins_list(NULL, &f->pins, &problem);
    free(problem); /* as above */
    return r == -ENOMEM ? r : 0;
}

static int look_at_memory(DoctorFacts *f) {
    f->rules = memory_read_rules();
    f->limits = f->rules ? memory_read_limits(f->rules) : NULL;
    return f->rules && !f->limits ? -ENOMEM : 0;
}

int doctor_look(DoctorFacts *ret) {
    DoctorFacts f = {.uid = getuid(), .memlock = UINT64_MAX};
    _cleanup_free_ char *groups = NULL;
    struct rlimit limit;
    unsigned n_iommus;
    int r;

    f.command_line = read_text("/proc/cmdline");
    f.firmware_table = find_firmware_table();
    f.interrupts_remapped = look_at_interrupts();
    f.vfio_pci = kernel_module_find("vfio-pci");
    f.iommufd = kernel_module_find("iommufd");
    f.is_virtual_machine = look_for_hypervisor();
    f.has_kvm = exists("/dev/kvm");
    f.may_use_kvm = access("/dev/kvm", R_OK | W_OK) >= 0;
    f.polkit = exists("/usr/share/dbus-1/system-services/org.freedesktop.PolicyKit1.service");
    f.polkit_agent = exists("/usr/bin/pkttyagent") || exists("/usr/local/bin/pkttyagent");
    f.has_grub = exists("/etc/default/grub");
    f.has_kernel_cmdline = exists("/etc/kernel/cmdline");
    if (getrlimit(RLIMIT_MEMLOCK, &limit) >= 0 && limit.rlim_max != RLIM_INFINITY)
        f.memlock = limit.rlim_max;

    r = look_at_host(&f);
    if (r >= 0)
        r = look_at_pins(&f);
    if (r >= 0)
        r = look_at_memory(&f);
    if (r >= 0)
        r = list_names("/sys/class/iommu", &f.iommus, &n_iommus);
    if (r >= 0)
        r = list_names("/sys/kernel/iommu_groups", &groups, &f.n_groups);
    if (r >= 0)
        r = look_at_distribution(&f);
    if (r >= 0)
        r = look_for_qemu(&f);
    if (r >= 0)
        r = look_for_program("virsh", "libvirt", &f.libvirt);
    if (r >= 0)
        r = look_for_program("podman", "podman", &f.podman);
    if (r < 0) {
        doctor_facts_done(&f);
        return r;
    }
    *ret = f;
    return 0;
}
