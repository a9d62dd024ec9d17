/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "base/fd.h"
#include "base/str.h"
#include "client/doctor.h"
#include "client/policy-directory.h"
#include "client/policy-door.h"
#include "client/show-explanation.h"

#define POLICY_DIRECTORY "/etc/vfiod/policy.d"
#define DEFAULT_RAM (UINT64_C(4) << 30)
#define FILE_MAX (1U << 20)

static bool is_root(const char *user) {
    return streq(user, "root") || streq(user, "0");
}

typedef struct Wish {
    RehearsalSetup setup;
    char memlock[FORMAT_SIZE_MAX];
} Wish;

/* Of this host; a recorded one has no programs. */
static int look_for_clients(const Options *o, Wish *w, VfiodErrorText *error) {
    DoctorFacts facts = {};
    int r;

    if (o->host)
        return 0;
    r = doctor_look(&facts);
    if (r < 0)
        return error_text_errno(error, r, "Cannot look at this host");
    w->setup.has_iommufd = facts.iommufd == MODULE_AVAILABLE || facts.iommufd == MODULE_PRESENT;
    if (o->vmm == VMM_QEMU && facts.qemu && !facts.qemu_takes_fds)
        w->setup.grant = "node";
    doctor_facts_done(&facts);
    return 0;
}

static int make_wish(const Options *o, Wish *ret, VfiodErrorText *error) {
    static const char *const units[] = {"libvirtd.service", "virtqemud.service", NULL};
    bool machine = o->vmm == VMM_QEMU || o->libvirt;
    VfiodMemlock memlock;
    int r;

    *ret = (Wish){.setup = {.user = o->user,
                          .devices = (const char *const *) o->arguments,
                          .needs_iommufd = o->vmm == VMM_QEMU}};
    r = look_for_clients(o, ret, error);
    if (r < 0)
        return r;
    if (o->libvirt)
        ret->setup.grant = is_root(o->user) ? "none" : "node";
    if (o->libvirt && is_root(o->user))
        ret->setup.units = units;
    if (machine && !is_root(o->user)) {
        r = vfiod_memlock_for(
                o->ram > 0 ? o->ram : DEFAULT_RAM, (unsigned) o->n_arguments, VFIOD_VIOMMU_NONE, &memlock);
        if (r < 0)
            return error_text_errno(error, r, "Cannot compute how much memory must be locked");
        ret->setup.memlock = format_size(memlock.bytes, ret->memlock);
    }
    return 0;
}

/* ---- The commands ---- */

static void add_devices(StrBuf *b, struct json_object *devices) {
    for (size_t i = 0; i < json_object_array_length(devices); i++) {
        const char *name = json_object_get_string(json_object_array_get_idx(devices, i));

        strbuf_addf(b, " --device %s", startswith(name, "pci:") ?: name);
    }
}

/* All devices are of one kind. */
static bool are_of_kind(struct json_object *result, const char *kind) {
    return startswith(
            json_object_get_string(json_object_array_get_idx(json_list(result, "devices"), 0)), kind);
}

/* For libvirt's definition: a <hostdev> for each. */
static void add_hostdevs(StrBuf *b, struct json_object *devices, bool managed) {
    for (size_t i = 0; i < json_object_array_length(devices); i++) {
        unsigned domain, bus, slot, function;

        if (sscanf(json_object_get_string(json_object_array_get_idx(devices, i)), "pci:%x:%x:%x.%x", &domain,
                    &bus, &slot, &function) != 4)
            continue;
        strbuf_addf(b,
                "    <hostdev mode='subsystem' type='pci' managed='%s'>\n"
                "      <source><address domain='0x%04x' bus='0x%02x' slot='0x%02x' "
                "function='0x%x'/></source>\n"
                "    </hostdev>\n",
                managed ? "yes" : "no", domain, bus, slot, function);
    }
}

static void add_libvirt(const Options *o, StrBuf *b, struct json_object *result) {
    struct json_object *devices = json_list(result, "devices");

    if (is_root(o->user)) {
        strbuf_add(b,
                "install -D -m 755 /usr/share/vfiod/libvirt-hook /etc/libvirt/hooks/qemu.d/50-vfiod\n"
                "systemctl try-restart libvirtd.service virtqemud.service\n"
                "virsh edit DOMAIN      # put this into <devices>:\n");
        add_hostdevs(b, devices, true);
        strbuf_add(b, "virsh start DOMAIN\n");
        return;
    }
    strbuf_add(b, "virsh --connect qemu:///session edit DOMAIN      # put this into <devices>:\n");
    add_hostdevs(b, devices, false);
    if (json_flag(result, "iommufd")) /* libvirt 12.2 or newer */
        strbuf_add(b,
                "                       # and this before <devices>:\n"
                "  <iommufd enabled='yes' fdgroup='iommu'/>\n");
    strbuf_add(b, "vfioctl virt start DOMAIN\n");
}

/* The user's commands, one per line. Owned by the caller; NULL on ENOMEM. */
static char *make_commands(const Options *o, const Wish *wish, struct json_object *result) {
    const char *grant = json_text(result, "grant");
    _cleanup_strbuf_ StrBuf b = {};
    char ram[FORMAT_SIZE_MAX];

    if (o->libvirt) {
        add_libvirt(o, &b, result);
        return strbuf_steal(&b);
    }
    strbuf_add(&b, "vfioctl exec");
    if (!streq(grant, "fd"))
        strbuf_addf(&b, " --backend group --grant %s", grant);
    if (wish->setup.memlock)
        strbuf_addf(&b, " --memlock %s", wish->setup.memlock);
    add_devices(&b, json_list(result, "devices"));
    if (are_of_kind(result, "vdpa:"))
        strbuf_add(&b, " -- COMMAND {device}\n");
    else if (o->vmm == VMM_QEMU)
        strbuf_addf(&b, " --qemu -- qemu-system-x86_64 -machine q35 -accel kvm -cpu host -m %s\n",
                format_size(o->ram > 0 ? o->ram : DEFAULT_RAM, ram));
    else if (o->podman)
        strbuf_add(&b, " -- podman run --env VFIOD_DEVICES --env VFIOD_BACKEND --env LISTEN_FDNAMES IMAGE\n");
    else
        strbuf_add(&b, " -- COMMAND\n");
    return strbuf_steal(&b);
}

/* ---- Writing ---- */

/* 1: the file exists with this text. */
static int is_there(int directory, const char *file, const char *text) {
    _cleanup_free_ char *old = NULL;
    int r;

    r = read_file_at(directory, file, FILE_MAX, &old, NULL);
    if (r == -ENOENT)
        return 0;
    if (r < 0)
        return r;
    return streq(old, text) ? 1 : -EEXIST;
}

static int write_file(const char *file, const char *text, VfiodErrorText *error) {
    _cleanup_close_ int directory = -EBADF;
    int r;

    r = policy_directory_open(POLICY_DIRECTORY, /* make= */ true, &directory, error);
    if (r < 0)
        return r;
    r = is_there(directory, file, text);
    if (r == 0)
        r = policy_directory_install(directory, file, text, strlen(text));
    if (r == -EEXIST)
        return error_text_set(error, EEXIST, ERROR_NAME_FAILED,
                POLICY_DIRECTORY "/%s already exists with different content. Remove it or edit it first.",
                file);
    if (r < 0)
        return error_text_set(error, -r, ERROR_NAME_FAILED, "Cannot write " POLICY_DIRECTORY "/%s: %s", file,
                strerrordesc_np(-r));
    return 0;
}

/* ---- Showing ---- */

static void show_list_of(const Options *o, const char *heading, struct json_object *list) {
    if (!list || json_object_array_length(list) == 0)
        return;
    puts("");
    show_heading(o, heading);
    for (size_t i = 0; i < json_object_array_length(list); i++)
        policy_print("  - %s", json_object_get_string(json_object_array_get_idx(list, i)));
}

static void show_next(const Options *o, bool written) {
    _cleanup_free_ char *text = NULL;
    const char *user = is_root(o->user) ? "root" : o->user;

    if (written)
        text = format_string("As root: 'vfioctl reload'. Then, as %s:", user);
    else if (o->host)
        text = format_string(
                "A claim would be granted. On that host, run this as root with --write. Then, as %s:", user);
    else
        text = format_string(
                "A claim would be granted. Run the same as root with --write. Then, as %s:", user);
    show_heading(o, text ? text : "Then:");
}

/* Without the rule, because one that says "allow" would promise what it cannot keep. */
static void show_refused(const Options *o, struct json_object *explanation) {
    struct json_object *obstacles = json_list(explanation, "obstacles");

    show_heading(o,
            o->write ? "Nothing is written, since a claim would still be refused:"
                     : "A claim would still be refused, so there is no rule to show:");
    if (!obstacles || json_object_array_length(obstacles) < 2)
        policy_print("  %s", json_text(explanation, "message"));
    show_obstacles(o, obstacles);
    puts("\nRun setup again when that has changed. With --json it shows the rule that it has tried.");
}

/* The program is unknown, and so is the memory that it locks. */
static void show_memory(const Options *o) {
    if (o->vmm == VMM_QEMU || o->libvirt)
        return;
    puts("");
    show_heading(o, "Locked memory:");
    policy_print("  What the program maps for the device counts against its locked-memory limit (ulimit -l). "
                 "If that is "
                 "too low, add \"memlock\": \"SIZE\" to the rule%s. For a virtual machine, 'vfioctl "
                 "memlock-for --ram "
                 "SIZE' shows the number.",
            o->podman ? ", and --memlock SIZE to vfioctl exec" : " and --memlock SIZE to the command");
}

static void show_setup(const Options *o, struct json_object *result, const char *commands, bool written) {
    _cleanup_free_ char *added = json_list_text(result, "added"), *heading = NULL;
    struct json_object *explanation = json_member(result, "explanation");

    if (!json_flag(result, "claimable")) {
        show_heading(o, "No rule helps:");
        policy_print("  %s", json_text(explanation, "message"));
        return;
    }
    if (added && *added)
        policy_print("Other functions of the same card are claimed with it: %s", added);
    if (*json_text(explanation, "error")) {
        show_refused(o, explanation);
        return;
    }
    heading = format_string("%s " POLICY_DIRECTORY "/%s:", written ? "Written to" : "The policy, for",
            json_text(result, "file"));
    show_heading(o, heading ? heading : "The policy:");
    fputs(json_text(result, "policy"), stdout);
    show_list_of(o, "What is dangerous about it:", json_list(result, "dangers"));
    puts("");
    show_next(o, written);
    fputs(commands, stdout);
    show_memory(o);
}

static int check_options(const Options *o, VfiodErrorText *error) {
    if (!o->user)
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE, "setup requires --user.");
    if ((o->vmm == VMM_QEMU) + o->libvirt + o->podman > 1)
        return error_text_set(
                error, EINVAL, ERROR_NAME_USAGE, "--qemu, --libvirt and --podman: give one of them.");
    if (o->ram > 0 && o->vmm != VMM_QEMU && !o->libvirt)
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE, "--ram is for --qemu and --libvirt.");
    if (o->write && o->host)
        return error_text_set(
                error, EINVAL, ERROR_NAME_USAGE, "--write is for this machine, not for a recorded one.");
    return 0;
}

int verb_setup(const Options *o, VfiodErrorText *error) {
    _cleanup_json_ struct json_object *result = NULL;
    _cleanup_rehearsal_ Rehearsal *rehearsal = NULL;
    _cleanup_free_ char *commands = NULL;
    struct json_object *explanation;
    char *problem = NULL;
    const char *refusal;
    Wish wish;
    int r;

    r = check_options(o, error);
    if (r >= 0)
        r = make_wish(o, &wish, error);
    if (r >= 0)
        r = policy_open(o, o->policies.items, &rehearsal, error);
    if (r < 0)
        return r;
    r = rehearsal_setup(rehearsal, &wish.setup, &result, &problem);
    if (r < 0)
        return policy_failed(r, problem, error);
    if (o->libvirt && !are_of_kind(result, "pci:"))
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE,
                "--libvirt: setup writes definitions of libvirt for PCI devices only.");
    explanation = json_member(result, "explanation");
    refusal = json_text(explanation, "error");
    commands = make_commands(o, &wish, result);
    if (!commands || json_add_string(result, "commands", commands) < 0)
        return error_text_errno(error, ENOMEM, "Cannot show the commands");
    if (o->write && !*refusal) {
        r = write_file(json_text(result, "file"), json_text(result, "policy"), error);
        if (r < 0)
            return r;
    }
    if (!o->json)
        show_setup(o, result, commands, o->write && !*refusal);
    else if (show_json(stdout, result, /* pretty= */ true) < 0)
        return error_text_errno(error, EIO, "Cannot show the result");
    return *refusal ? exit_status_of(refusal) : 0;
}
