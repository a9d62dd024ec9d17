/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The command line: a table of options, and a table of verbs with the options that each takes. Global options
 * may come before or after the verb. All errors are printed here only. */

#include "client/vfioctl.h"

#include <getopt.h>
#include <locale.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/str.h"
#include "client/complete.h"
#include "client/convert.h"
#include "client/pager.h"
#include "client/show.h"

static const char *const colour_mode_table[_COLOUR_MODE_MAX] = {
        [COLOUR_MODE_AUTO] = "auto",
        [COLOUR_MODE_ALWAYS] = "always",
        [COLOUR_MODE_NEVER] = "never",
};
DEFINE_STRING_TABLE(colour_mode, ColourMode);

static const char *const output_format_table[_OUTPUT_FORMAT_MAX] = {
        [OUTPUT_TEXT] = "text",
        [OUTPUT_WIDE] = "wide",
        [OUTPUT_NAME] = "name",
        [OUTPUT_JSON] = "json",
};
DEFINE_STRING_TABLE(output_format, OutputFormat);

typedef enum OptionFlag {
    OPTION_HELP = 1 << 0,
    OPTION_JSON = 1 << 2,
    OPTION_NO_LEGEND = 1 << 3,
    OPTION_COLOUR = 1 << 4,
    OPTION_DEVICE = 1 << 5,
    OPTION_BACKEND = 1 << 6,
    OPTION_REASON = 1 << 7,
    OPTION_GROUPS = 1 << 8,
    OPTION_NO_WAIT = 1 << 9,
    OPTION_MEMLOCK = 1 << 10,
    OPTION_UNTAINTED = 1 << 11,
    OPTION_NO_ASK = 1 << 12,
    OPTION_HOST = 1 << 13,
    OPTION_POLICY = 1 << 14,
    OPTION_USER = 1 << 15,
    OPTION_GROUP = 1 << 16,
    OPTION_UNIT = 1 << 17,
    OPTION_CGROUP = 1 << 18,
    OPTION_LABEL = 1 << 19,
    OPTION_CAPABILITY = 1 << 20,
    OPTION_NAMESPACE = 1 << 21,
    OPTION_SLICE = 1 << 22,
    OPTION_SCOPE = 1 << 23,
    OPTION_TEST = 1 << 24,
    OPTION_SERIALS = 1 << 25,
    OPTION_CLAIM = 1 << 26,
    OPTION_LAST_REFUSAL = 1 << 27,
    OPTION_GRANT = 1 << 28,
    OPTION_TETHER = 1 << 29,
    OPTION_COOKIE = 1 << 30,
    OPTION_QEMU = UINT64_C(1) << 31,
    OPTION_CLOUD_HYPERVISOR = UINT64_C(1) << 32,
    OPTION_PRINT = UINT64_C(1) << 33,
    OPTION_WAIT = UINT64_C(1) << 34,
    OPTION_HOTPLUG = UINT64_C(1) << 35,
    OPTION_RAM = UINT64_C(1) << 36,
    OPTION_DEVICES = UINT64_C(1) << 37,
    OPTION_VIOMMU = UINT64_C(1) << 38,
    OPTION_PID = UINT64_C(1) << 39,
    OPTION_CONNECT = UINT64_C(1) << 40,
    OPTION_DRIVER = UINT64_C(1) << 57,
    OPTION_COUNT = UINT64_C(1) << 41,
    OPTION_AUTOPROBE = UINT64_C(1) << 42,
    OPTION_PROBE = UINT64_C(1) << 43,
    OPTION_LIBVIRT = UINT64_C(1) << 45,
    OPTION_PODMAN = UINT64_C(1) << 46,
    OPTION_WRITE = UINT64_C(1) << 47,
    OPTION_REQUIRE = UINT64_C(1) << 44,
    OPTION_FULL = UINT64_C(1) << 48,
    OPTION_NO_PAGER = UINT64_C(1) << 49,
    OPTION_OUTPUT = UINT64_C(1) << 50,
    OPTION_SORT = UINT64_C(1) << 51,
    OPTION_NETWORK = UINT64_C(1) << 55,
    OPTION_TICKET = UINT64_C(1) << 52,
    OPTION_IN = UINT64_C(1) << 62,
    OPTION_MORE = UINT64_C(1) << 59,
    OPTION_TTL = UINT64_C(1) << 53,
    OPTION_CANCEL = UINT64_C(1) << 54,
    OPTION_FOR = UINT64_C(1) << 58,
    OPTION_CHECK = UINT64_C(1) << 56,
    OPTION_SVG = UINT64_C(1) << 60,
    OPTION_DOT = UINT64_C(1) << 61,
    OPTION_LOADED = UINT64_C(1) << 63,
    OPTION_ROUNDS = UINT64_C(1) << 1,
} OptionFlag;

/* The number of an option for getopt_long(3): the flag does not fit into an int, and letters keep their
 * values. */
#define OPTION_NUMBER(flag) (256 + __builtin_ctzll(flag))
#define OPTION_OF_NUMBER(number) (UINT64_C(1) << (((number) -256) % 64))
/* All verbs accept --version, which is handled like --help and has no flag. */
#define NUMBER_VERSION (OPTION_NUMBER(OPTION_HELP) + 64)

#define OPTIONS_GLOBAL                                                                                       \
    (OPTION_HELP | OPTION_JSON | OPTION_NO_LEGEND | OPTION_COLOUR | OPTION_FULL | OPTION_NO_PAGER)
#define OPTIONS_REQUEST                                                                                      \
    (OPTION_BACKEND | OPTION_REASON | OPTION_MEMLOCK | OPTION_UNTAINTED | OPTION_GRANT | OPTION_TETHER)
#define OPTIONS_GIVING                                                                                       \
    (OPTIONS_REQUEST | OPTION_COOKIE | OPTION_PID | OPTION_REQUIRE | OPTION_NETWORK | OPTION_TICKET |        \
            OPTION_FOR)
#define OPTIONS_CLAIM (OPTIONS_GIVING | OPTION_NO_ASK | OPTION_WAIT)
#define OPTIONS_SUBJECT                                                                                      \
    (OPTION_USER | OPTION_GROUP | OPTION_UNIT | OPTION_CGROUP | OPTION_LABEL | OPTION_SCOPE |                \
            OPTION_CAPABILITY | OPTION_NAMESPACE | OPTION_SLICE)

/* Short options are mapped to the same flags. */
static const struct option long_options[] = {
        {"help", no_argument, NULL, OPTION_NUMBER(OPTION_HELP)},
        {"version", no_argument, NULL, NUMBER_VERSION},
        {"json", no_argument, NULL, OPTION_NUMBER(OPTION_JSON)},
        {"no-legend", no_argument, NULL, OPTION_NUMBER(OPTION_NO_LEGEND)},
        {"color", required_argument, NULL, OPTION_NUMBER(OPTION_COLOUR)},
        {"device", required_argument, NULL, OPTION_NUMBER(OPTION_DEVICE)},
        {"backend", required_argument, NULL, OPTION_NUMBER(OPTION_BACKEND)},
        {"reason", required_argument, NULL, OPTION_NUMBER(OPTION_REASON)},
        {"groups", no_argument, NULL, OPTION_NUMBER(OPTION_GROUPS)},
        {"no-wait", no_argument, NULL, OPTION_NUMBER(OPTION_NO_WAIT)},
        {"memlock", required_argument, NULL, OPTION_NUMBER(OPTION_MEMLOCK)},
        {"untainted", no_argument, NULL, OPTION_NUMBER(OPTION_UNTAINTED)},
        {"no-ask-password", no_argument, NULL, OPTION_NUMBER(OPTION_NO_ASK)},
        {"host", required_argument, NULL, OPTION_NUMBER(OPTION_HOST)},
        {"policy", required_argument, NULL, OPTION_NUMBER(OPTION_POLICY)},
        {"user", required_argument, NULL, OPTION_NUMBER(OPTION_USER)},
        {"group", required_argument, NULL, OPTION_NUMBER(OPTION_GROUP)},
        {"unit", required_argument, NULL, OPTION_NUMBER(OPTION_UNIT)},
        {"slice", required_argument, NULL, OPTION_NUMBER(OPTION_SLICE)},
        {"cgroup", required_argument, NULL, OPTION_NUMBER(OPTION_CGROUP)},
        {"label", required_argument, NULL, OPTION_NUMBER(OPTION_LABEL)},
        {"scope", required_argument, NULL, OPTION_NUMBER(OPTION_SCOPE)},
        {"capability", required_argument, NULL, OPTION_NUMBER(OPTION_CAPABILITY)},
        {"namespace", required_argument, NULL, OPTION_NUMBER(OPTION_NAMESPACE)},
        {"test", required_argument, NULL, OPTION_NUMBER(OPTION_TEST)},
        {"claim", required_argument, NULL, OPTION_NUMBER(OPTION_CLAIM)},
        {"last-refusal", no_argument, NULL, OPTION_NUMBER(OPTION_LAST_REFUSAL)},
        {"serials", no_argument, NULL, OPTION_NUMBER(OPTION_SERIALS)},
        {"grant", required_argument, NULL, OPTION_NUMBER(OPTION_GRANT)},
        {"tether", required_argument, NULL, OPTION_NUMBER(OPTION_TETHER)},
        {"cookie", required_argument, NULL, OPTION_NUMBER(OPTION_COOKIE)},
        {"qemu", no_argument, NULL, OPTION_NUMBER(OPTION_QEMU)},
        {"cloud-hypervisor", no_argument, NULL, OPTION_NUMBER(OPTION_CLOUD_HYPERVISOR)},
        {"wait", optional_argument, NULL, OPTION_NUMBER(OPTION_WAIT)},
        {"hotplug", required_argument, NULL, OPTION_NUMBER(OPTION_HOTPLUG)},
        {"ram", required_argument, NULL, OPTION_NUMBER(OPTION_RAM)},
        {"devices", required_argument, NULL, OPTION_NUMBER(OPTION_DEVICES)},
        {"viommu", optional_argument, NULL, OPTION_NUMBER(OPTION_VIOMMU)},
        {"print", no_argument, NULL, OPTION_NUMBER(OPTION_PRINT)},
        {"pid", required_argument, NULL, OPTION_NUMBER(OPTION_PID)},
        {"connect", required_argument, NULL, OPTION_NUMBER(OPTION_CONNECT)},
        {"libvirt", no_argument, NULL, OPTION_NUMBER(OPTION_LIBVIRT)},
        {"podman", no_argument, NULL, OPTION_NUMBER(OPTION_PODMAN)},
        {"write", no_argument, NULL, OPTION_NUMBER(OPTION_WRITE)},
        {"driver", required_argument, NULL, OPTION_NUMBER(OPTION_DRIVER)},
        {"count", required_argument, NULL, OPTION_NUMBER(OPTION_COUNT)},
        {"autoprobe", required_argument, NULL, OPTION_NUMBER(OPTION_AUTOPROBE)},
        {"probe", no_argument, NULL, OPTION_NUMBER(OPTION_PROBE)},
        {"require", required_argument, NULL, OPTION_NUMBER(OPTION_REQUIRE)},
        {"ticket", required_argument, NULL, OPTION_NUMBER(OPTION_TICKET)},
        {"for", required_argument, NULL, OPTION_NUMBER(OPTION_FOR)},
        {"in", required_argument, NULL, OPTION_NUMBER(OPTION_IN)},
        {"more", optional_argument, NULL, OPTION_NUMBER(OPTION_MORE)},
        {"ttl", required_argument, NULL, OPTION_NUMBER(OPTION_TTL)},
        {"cancel", no_argument, NULL, OPTION_NUMBER(OPTION_CANCEL)},
        {"check", no_argument, NULL, OPTION_NUMBER(OPTION_CHECK)},
        {"svg", no_argument, NULL, OPTION_NUMBER(OPTION_SVG)},
        {"dot", no_argument, NULL, OPTION_NUMBER(OPTION_DOT)},
        {"loaded", no_argument, NULL, OPTION_NUMBER(OPTION_LOADED)},
        {"rounds", required_argument, NULL, OPTION_NUMBER(OPTION_ROUNDS)},
        {"full", no_argument, NULL, OPTION_NUMBER(OPTION_FULL)},
        {"no-pager", no_argument, NULL, OPTION_NUMBER(OPTION_NO_PAGER)},
        {"output", required_argument, NULL, OPTION_NUMBER(OPTION_OUTPUT)},
        {"sort", required_argument, NULL, OPTION_NUMBER(OPTION_SORT)},
        {"network", required_argument, NULL, OPTION_NUMBER(OPTION_NETWORK)},
        {},
};
/* '+': stop at the first argument; ':': report a missing argument differently from an unknown option. */
#define SHORT_OPTIONS "hd:b:r:go:l"

#define ROUNDS_MAX 100000U

typedef struct Verb {
    const char *name, *arguments;
    const char *summary; /* NULL: hidden */
    uint64_t options;    /* mask of OptionFlag, besides the global ones */
    size_t min, max;     /* number of arguments */
    bool takes_command;  /* options end with the first argument */
    int (*run)(const Options *o, VfiodErrorText *error);
} Verb;

static int verb_help(const Options *o, VfiodErrorText *error);
static uint64_t flag_of(int c);

static const Verb verbs[] = {
        {"list", "[COLUMN=VALUE…]", "Show devices, or the tree of IOMMU groups",
                OPTION_GROUPS | OPTION_OUTPUT | OPTION_SORT, 0, SIZE_MAX, false, verb_list},
        {"status", "[DEVICE|CLAIM|group:N…]",
                "Show the daemon, or everything about devices, claims and groups",
                OPTION_OUTPUT | OPTION_SORT | OPTION_CHECK, 0, SIZE_MAX, false, verb_status},
        {"topology", "[--svg|--dot] [DEVICE|CLAIM|group:N…]",
                "Show what is below which port, and why devices share a group",
                OPTION_HOST | OPTION_SVG | OPTION_DOT, 0, SIZE_MAX, false, verb_topology},
        {"plan", "DEVICE…", "Show what a claim would do to every device concerned", OPTIONS_GIVING, 1,
                SIZE_MAX, false, verb_plan},
        {"setup", "DEVICE… --user USER [--qemu|--libvirt|--podman] [--write]",
                "Write the rule and the commands with which a user gets devices",
                OPTION_USER | OPTION_QEMU | OPTION_LIBVIRT | OPTION_PODMAN | OPTION_RAM | OPTION_WRITE |
                        OPTION_HOST | OPTION_POLICY,
                1, SIZE_MAX, false, verb_setup},
        {"exec", "--device DEVICE… [--] COMMAND…", "Claim devices and run a command that gets their fds",
                OPTIONS_CLAIM | OPTION_DEVICE | OPTION_QEMU | OPTION_CLOUD_HYPERVISOR | OPTION_HOTPLUG |
                        OPTION_PRINT,
                0, SIZE_MAX, true, verb_exec},
        {"hold", "DEVICE…", "Claim devices until interrupted", OPTIONS_CLAIM, 1, SIZE_MAX, false, verb_hold},
        {"reserve", "DEVICE|class:CLASS|tag:TAG|template:NAME",
                "Reserve a device, and print the ticket for claiming it",
                (OPTIONS_REQUEST & ~OPTION_MEMLOCK) | OPTION_REQUIRE | OPTION_NO_ASK | OPTION_TTL |
                        OPTION_USER | OPTION_CANCEL,
                1, 1, false, verb_reserve},
        {"release", "CLAIM|DEVICE…", "End claims and wait until the devices are given back",
                OPTION_NO_WAIT | OPTION_DEVICE, 1, SIZE_MAX, false, verb_release},
        {"evict", "CLAIM|DEVICE [--in=SECONDS]", "Ask the holder to give a claim back in time",
                OPTION_IN | OPTION_REASON | OPTION_CANCEL | OPTION_MORE, 1, 1, false, verb_evict},
        {"quarantine", "[list|retry DEVICE…|clear DEVICE… --reason=TEXT]",
                "Show the devices that could not be restored, try again, or free them",
                OPTION_REASON | OPTION_NO_WAIT | OPTION_SORT, 0, SIZE_MAX, false, verb_quarantine},
        {"transfer", "--pid=PID|--tether=WHAT CLAIM|DEVICE", "Tie a claim to another process or your unit",
                OPTION_PID | OPTION_TETHER, 1, 1, false, verb_transfer},
        {"memlock-for", "--ram SIZE [--devices N] [--viommu]",
                "Show how much memory a virtual machine must be able to lock",
                OPTION_RAM | OPTION_DEVICES | OPTION_VIOMMU, 0, 0, false, verb_memlock_for},
        {"vf", "DEVICE [--count N]", "Show the virtual functions of a device, or change their number",
                OPTION_COUNT | OPTION_AUTOPROBE, 1, 1, false, verb_vf},
        {"pin", "DEVICE [--driver DRIVER]", "Bind a device at every boot, before the host's driver takes it",
                OPTION_DRIVER, 1, 1, false, verb_pin},
        {"unpin", "DEVICE|PATH|FILE…", "Remove a pin: the host's driver takes the device at the next boot", 0,
                1, SIZE_MAX, false, verb_unpin},
        {"import", "[FILE…] [--write]", "Pin what driverctl and vfio-pci's ids= bind on this host",
                OPTION_WRITE, 0, SIZE_MAX, false, verb_import},
        {"pins", "", "Show the pinned devices, and what keeps a pin from working", 0, 0, 0, false, verb_pins},
        {"types", "[PARENT…]", "Show the mediated devices that drivers can make", 0, 0, SIZE_MAX, false,
                verb_types},
        {"virt", "start|attach|detach|follow DOMAIN [DEVICE…]",
                "Give devices to a libvirt domain of your own", OPTION_CONNECT, 1, SIZE_MAX, false,
                verb_virt},
        {"watch", "[COLUMN=VALUE…]", "Show the list again whenever something changes",
                OPTION_GROUPS | OPTION_OUTPUT | OPTION_SORT, 0, SIZE_MAX, false, verb_watch},
        {"monitor", "", "Print changes as they happen", 0, 0, 0, false, verb_monitor},
        {"caps", "[--probe] [DEVICE…]", "Show what devices can do together with their IOMMU", OPTION_PROBE, 0,
                SIZE_MAX, false, verb_caps},
        {"taint", "", "Show what weakens this host, and since when", OPTION_SORT, 0, 0, false, verb_taint},
        {"doctor", "", "Look for what is wrong with this host, and how to fix it", 0, 0, 0, false,
                verb_doctor},
        {"selftest", "DEVICE… [--rounds N]", "Claim and give back devices, and check every step",
                OPTION_BACKEND | OPTION_REASON | OPTION_NO_ASK | OPTION_ROUNDS, 1, SIZE_MAX, false,
                verb_selftest},
        {"edit", "[NAME]", "Edit a policy file: check it, install it, reload", OPTION_POLICY, 0, 1, false,
                verb_edit},
        {"reload", "", "Reload the policy files", 0, 0, 0, false, verb_reload},
        {"policy check", "[FILE…]", "Check policy files for errors", OPTION_HOST, 0, SIZE_MAX, false,
                verb_policy_check},
        {"policy show", "[--loaded|FILE…]", "Show the rules in the order in which they are tried",
                OPTION_HOST | OPTION_LOADED, 0, SIZE_MAX, false, verb_policy_show},
        {"policy explain", "[--user USER] DEVICE…", "Explain what the policy decides, and why",
                OPTION_HOST | OPTION_POLICY | OPTIONS_SUBJECT | OPTIONS_REQUEST | OPTION_REQUIRE |
                        OPTION_NETWORK | OPTION_CLAIM | OPTION_LAST_REFUSAL,
                0, SIZE_MAX, false, verb_policy_explain},
        {"policy test", "FILE…", "Run the cases of test files", OPTION_HOST | OPTION_POLICY, 1, SIZE_MAX,
                false, verb_policy_test},
        {"policy diff", "OLD NEW", "Show which decisions change", OPTION_HOST | OPTION_TEST, 2, 2, false,
                verb_policy_diff},
        {"policy generate", "", "Write a policy to start from", OPTION_HOST, 0, 0, false,
                verb_policy_generate},
        {"policy reload", "", "The same as reload", 0, 0, 0, false, verb_reload},
        {"snapshot", "[--serials]", "Record the host, for --host", OPTION_SERIALS | OPTION_POLICY, 0, 0,
                false, verb_snapshot},
        {"__complete", "-- WORD…", NULL, 0, 1, SIZE_MAX, true, verb_complete},
        {"help", "[VERB]", "Show this help, or that of a verb", 0, 0, 2, false, verb_help},
};

#define VERB_POLICY "policy" /* first word of verbs with two words */

static const struct {
    uint64_t option;
    const char *syntax, *summary;
} option_help[] = {
        {OPTION_JSON, "      --json", "Print JSON, for scripts; errors too"},
        {OPTION_NO_LEGEND, "      --no-legend", "Print no headings"},
        {OPTION_COLOUR, "      --color=WHEN", "auto, always or never"},
        {OPTION_FULL, "  -l, --full", "Do not fit tables into the terminal"},
        {OPTION_NO_PAGER, "      --no-pager", "Do not use a pager"},
        {OPTION_OUTPUT, "  -o, --output=FORMAT", "text, wide, name or json"},
        {OPTION_SORT, "      --sort=COLUMN", "order by a column"},
        {OPTION_GROUPS, "  -g, --groups", "the tree of groups"},
        {OPTION_DEVICE, "  -d, --device=DEVICE", "this device; repeatable"},
        {OPTION_BACKEND, "  -b, --backend=BACKEND", "the kernel's interface"},
        {OPTION_REASON, "  -r, --reason=TEXT", "why, for the audit record"},
        {OPTION_MEMLOCK, "      --memlock=SIZE", "raise RLIMIT_MEMLOCK"},
        {OPTION_UNTAINTED, "      --untainted", "require an untainted host"},
        {OPTION_GRANT, "      --grant=HOW", "fd, node or none"},
        {OPTION_TETHER, "      --tether=WHAT", "what the claim is tied to"},
        {OPTION_COOKIE, "      --cookie=TEXT", "a name for the claim"},
        {OPTION_REQUIRE, "      --require=WHAT", "pasid, migration…"},
        {OPTION_NETWORK, "      --network=SETTINGS", "mac=MAC,vlan=N…"},
        {OPTION_TICKET, "      --ticket=TICKET", "redeem a reservation"},
        {OPTION_FOR, "      --for=TIME", "for how long: 90s, 5m, 8h"},
        {OPTION_TTL, "      --ttl=SECONDS", "for how long (default: 300)"},
        {OPTION_CHECK, "      --check", "show only what is wrong with vfiod"},
        {OPTION_SVG, "      --svg", "a picture for a browser"},
        {OPTION_DOT, "      --dot", "a graph for dot(1) of graphviz"},
        {OPTION_CANCEL, "      --cancel", "end a reservation, or an eviction"},
        {OPTION_IN, "      --in=SECONDS", "by when (default: 30)"},
        {OPTION_MORE, "      --more[=SECONDS]", "answer as the holder: ask for more time"},
        {OPTION_QEMU, "      --qemu", "for QEMU; exec adds its arguments"},
        {OPTION_CLOUD_HYPERVISOR, "      --cloud-hypervisor", "add cloud-hypervisor's arguments"},
        {OPTION_HOTPLUG, "      --hotplug=QMP-SOCKET", "add the devices to a running QEMU"},
        {OPTION_LIBVIRT, "      --libvirt", "for libvirt (the system libvirt if the user is root)"},
        {OPTION_PODMAN, "      --podman", "for containers of podman"},
        {OPTION_WRITE, "      --write", "put the files in place"},
        {OPTION_ROUNDS, "      --rounds=N", "how many hand-overs (default: 3)"},
        {OPTION_RAM, "      --ram=SIZE", "memory of the guest"},
        {OPTION_DEVICES, "      --devices=N", "how many devices it has (default: 1)"},
        {OPTION_VIOMMU, "      --viommu[=KIND]", "the guest has an emulated or nested IOMMU"},
        {OPTION_PRINT, "      --print", "show the command instead of running it"},
        {OPTION_WAIT, "      --wait[=SECONDS]", "wait in the queue until the device is free"},
        {OPTION_NO_ASK, "      --no-ask-password", "do not ask for authentication"},
        {OPTION_PID, "      --pid=PID", "the process that the claim is tied to"},
        {OPTION_DRIVER, "      --driver=DRIVER", "default: vfio-pci; none: no driver"},
        {OPTION_COUNT, "      --count=N", "the new number of virtual functions"},
        {OPTION_AUTOPROBE, "      --autoprobe=WHETHER", "let drivers take new virtual functions: yes or no"},
        {OPTION_CONNECT, "      --connect=URI", "libvirt's URI (default: qemu:///session)"},
        {OPTION_PROBE, "      --probe", "open the devices to find out; resets them"},
        {OPTION_NO_WAIT, "      --no-wait", "do not wait until it is done"},
        {OPTION_HOST, "      --host=FILE", "a recorded host (-: stdin)"},
        {OPTION_POLICY, "      --policy=FILE", "this policy"},
        {OPTION_USER, "      --user=USER", "the user (default: you, except for setup)"},
        {OPTION_GROUP, "      --group=GROUP", "a group of the caller; repeatable"},
        {OPTION_UNIT, "      --unit=UNIT", "the caller's unit"},
        {OPTION_SLICE, "      --slice=SLICE", "the caller's slice"},
        {OPTION_CGROUP, "      --cgroup=PATH", "the caller's control group"},
        {OPTION_LABEL, "      --label=LABEL", "the caller's security label"},
        {OPTION_SCOPE, "      --scope=NAME", "the scope of the socket that the caller uses"},
        {OPTION_CAPABILITY, "      --capability=CAP", "a capability of the caller; repeatable"},
        {OPTION_NAMESPACE, "      --namespace=WHICH", "the caller's namespaces: host or other"},
        {OPTION_CLAIM, "      --claim=ID", "why the daemon allowed this claim"},
        {OPTION_LAST_REFUSAL, "      --last-refusal", "why the daemon refused the last request"},
        {OPTION_LOADED, "      --loaded", "the policy that the daemon has in force"},
        {OPTION_TEST, "      --test=FILE", "add the subjects of this test file; repeatable"},
        {OPTION_SERIALS, "      --serials", "record serial numbers"},
        {OPTION_HELP, "  -h, --help", "Show this help, or that of the verb"},
        {OPTION_HELP, "      --version", "Show the version"},
};

/* ---- For completion ---- */

const char *grammar_verb(size_t i, const char **ret_summary) {
    size_t n = 0;

    for (const Verb *verb = verbs; verb < verbs + ELEMENTSOF(verbs); verb++)
        if (verb->summary && n++ == i) {
            if (ret_summary)
                *ret_summary = verb->summary;
            return verb->name;
        }
    return NULL;
}

static const Verb *verb_with_name(const char *name) {
    for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
        if (streq(verbs[i].name, name))
            return &verbs[i];
    return NULL;
}

bool grammar_takes_command(const char *name) {
    const Verb *verb = verb_with_name(name);

    return verb && verb->takes_command;
}

const struct option *grammar_option(size_t i) {
    return i < ELEMENTSOF(long_options) - 1 ? &long_options[i] : NULL;
}

bool grammar_takes_option(const char *name, const struct option *option) {
    const Verb *verb = name ? verb_with_name(name) : NULL;

    return OPTION_OF_NUMBER(option->val) & (OPTIONS_GLOBAL | (verb ? verb->options : 0));
}

const char *grammar_option_summary(const struct option *option) {
    for (size_t i = 0; i < ELEMENTSOF(option_help); i++)
        if (option_help[i].option & OPTION_OF_NUMBER(option->val) &&
                strstr(option_help[i].syntax, option->name))
            return option_help[i].summary;
    return NULL;
}

const struct option *grammar_option_of_letter(char letter) {
    uint64_t flag = strchr(SHORT_OPTIONS, letter) ? flag_of(letter) : 0;
    const struct option *option;

    for (size_t i = 0; (option = grammar_option(i)); i++)
        if (OPTION_OF_NUMBER(option->val) == flag)
            return option;
    return NULL;
}

#define HELP_INDENT 27
#define HELP_WIDTH 80U

/* Wraps words from a column on. */
static void show_wrapped(const char *text) {
    size_t column = HELP_INDENT;

    while (*text) {
        size_t n = strcspn(text, " ");

        if (column > HELP_INDENT && column + 1 + n > HELP_WIDTH) {
            printf("\n%*s", HELP_INDENT, "");
            column = HELP_INDENT;
        } else if (column > HELP_INDENT) {
            putchar(' ');
            column++;
        }
        printf("%.*s", (int) n, text);
        column += n;
        text += n + strspn(text + n, " ");
    }
    putchar('\n');
}

/* Appends "exec, hold: ", the verbs (of the group) that take the option. Nothing where all do. */
static void add_takers(StrBuf *b, uint64_t option, const char *group) {
    size_t n = 0;

    if (option & OPTIONS_GLOBAL)
        return;
    for (size_t i = 0; i < ELEMENTSOF(verbs); i++) {
        const char *rest = group ? startswith(verbs[i].name, group) : verbs[i].name;

        if (rest && verbs[i].summary && verbs[i].options & option)
            strbuf_addf(b, "%s%s", n++ > 0 ? ", " : "", rest + (group ? strspn(rest, " ") : 0));
    }
    strbuf_add(b, n > 0 ? ": " : "");
}

/* with_verbs: of a group, or of all verbs. */
static void show_option_help(uint64_t options, bool with_verbs, const char *group) {
    printf("\nOptions:\n");
    for (size_t i = 0; i < ELEMENTSOF(option_help); i++) {
        _cleanup_strbuf_ StrBuf text = {};

        if ((option_help[i].option & options) == 0)
            continue;
        if (with_verbs)
            add_takers(&text, option_help[i].option, group);
        strbuf_add(&text, option_help[i].summary);
        printf("%-*s", HELP_INDENT, option_help[i].syntax);
        show_wrapped(text.error < 0 ? option_help[i].summary : text.text);
    }
}

static void show_verb_line(const Verb *verb) {
    printf("  %s%s%s\n        %s\n", verb->name, *verb->arguments ? " " : "", verb->arguments, verb->summary);
}

static void show_group_help(void) {
    uint64_t options = OPTIONS_GLOBAL;

    printf("vfioctl " VERB_POLICY
           " VERB [OPTION…] [ARGUMENT…]\n\nTries, shows and explains policies.\n\nVerbs:\n");
    for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
        if (startswith(verbs[i].name, VERB_POLICY " ")) {
            show_verb_line(verbs + i);
            options |= verbs[i].options;
        }
    show_option_help(options, true, VERB_POLICY);
    printf("\nSee vfioctl(1).\n");
}

/* For the verb, or for all. */
static void show_help(const Verb *verb) {
    if (verb) {
        printf("vfioctl %s [OPTION…] %s\n\n%s.\n", verb->name, verb->arguments, verb->summary);
        show_option_help(OPTIONS_GLOBAL | verb->options, false, NULL);
    } else {
        printf("vfioctl [OPTION…] VERB [ARGUMENT…]\n\n"
               "Shows VFIO devices and claims them from vfiod.\n\n"
               "Verbs:\n");
        for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
            if (verbs[i].summary)
                show_verb_line(verbs + i);
        show_option_help(UINT64_MAX, true, NULL);
    }
    printf("\nSee vfioctl(1).\n");
}

/* group: the first word of a verb with two, or NULL. */
static bool is_verb(const Verb *verb, const char *group, const char *name) {
    const char *rest = group ? startswith(verb->name, group) : verb->name;

    if (!rest || (group && *rest != ' '))
        return false;
    return streq(group ? rest + 1 : rest, name);
}

static const Verb *find_verb(const char *group, const char *name) {
    for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
        if (is_verb(verbs + i, group, name))
            return verbs + i;
    return NULL;
}

/* Names from other tools, and second words without the first. */
static const struct {
    const char *word, *verb;
} verb_guesses[] = {
        {"acquire", "hold DEVICE' or 'exec"},
        {"attach", "virt attach"},
        {"bind", "hold DEVICE', or, from the boot on, 'pin"},
        {"cancel", "reserve --cancel"},
        {"claim", "hold DEVICE' or 'exec"},
        {"claims", "status"},
        {"detach", "virt detach"},
        {"devices", "list"},
        {"events", "monitor"},
        {"free", "release"},
        {"groups", "list --groups"},
        {"health", "status --check"},
        {"info", "status"},
        {"lock", "hold"},
        {"ls", "list"},
        {"queue", "status"},
        {"rules", "policy show"},
        {"run", "exec"},
        {"show", "policy show' or 'status"},
        {"start", "virt start"},
        {"taints", "taint"},
        {"tree", "topology"},
        {"unbind", "release CLAIM', or, for a pinned device, 'unpin"},
        {"version", "--version"},
};

static const char *guess_verb(const char *name) {
    const Verb *verb;

    for (size_t i = 0; i < ELEMENTSOF(verb_guesses); i++)
        if (streq(verb_guesses[i].word, name))
            return verb_guesses[i].verb;
    verb = find_verb(VERB_POLICY, name);
    return verb ? verb->name : NULL;
}

/* The second words of verbs also match without the first. */
static const char *nearest_verb(const char *group, const char *name) {
    const char *names[2 * ELEMENTSOF(verbs) + 2], *near;
    size_t n = 0;

    if (!group)
        names[n++] = VERB_POLICY;
    for (size_t i = 0; i < ELEMENTSOF(verbs); i++) {
        const char *second = startswith(verbs[i].name, VERB_POLICY " ");

        if (verbs[i].summary && !group)
            names[n++] = verbs[i].name;
        if (second)
            names[n++] = second;
    }
    names[n] = NULL;
    near = nearest(name, names);
    if (!near || group || find_verb(NULL, near) || streq(near, VERB_POLICY))
        return near;
    return find_verb(VERB_POLICY, near)->name;
}

static int unknown_verb(const char *group, const char *name, VfiodErrorText *error) {
    const char *meant = group ? NULL : guess_verb(name);

    if (!meant)
        meant = nearest_verb(group, name);
    /* "policy list": not in the group, but a verb */
    if (!meant && group && find_verb(NULL, name))
        meant = find_verb(NULL, name)->name;
    return error_text_set(error, EINVAL, ERROR_NAME_USAGE, "%s%s%s: unknown verb%s%s%s See vfioctl --help.",
            group ? group : "", group ? " " : "", name, meant ? "; did you mean '" : "", meant ? meant : "",
            meant ? "'?" : ".");
}

static int verb_help(const Options *o, VfiodErrorText *error) {
    const char *first = o->n_arguments > 0 ? o->arguments[0] : NULL;
    const char *second = o->n_arguments > 1 ? o->arguments[1] : NULL;
    const Verb *verb = NULL;

    if (second && !streq(first, VERB_POLICY))
        return error_text_set(
                error, EINVAL, ERROR_NAME_USAGE, "%s: expected one verb. See vfioctl --help.", second);
    if (first && !second && streq(first, VERB_POLICY)) {
        pager_open(o);
        show_group_help();
        return 0;
    }
    if (first) {
        verb = second ? find_verb(first, second) : find_verb(NULL, first);
        if (!verb)
            return second ? unknown_verb(first, second, error) : unknown_verb(NULL, first, error);
    }
    pager_open(o);
    show_help(verb);
    return 0;
}

static uint64_t flag_of(int c) {
    switch (c) {
    case 'h':
        return OPTION_HELP;
    case 'd':
        return OPTION_DEVICE;
    case 'b':
        return OPTION_BACKEND;
    case 'r':
        return OPTION_REASON;
    case 'g':
        return OPTION_GROUPS;
    case 'o':
        return OPTION_OUTPUT;
    case 'l':
        return OPTION_FULL;
    default:
        return OPTION_OF_NUMBER(c);
    }
}

/* The long name of an option: argv[optind - 1] may be the option's argument. */
static const char *option_name(uint64_t flag) {
    const struct option *option = long_options;

    while (option->name && option->val != OPTION_NUMBER(flag))
        option++;
    return option->name ? option->name : "?";
}

static int take_namespace(Options *o, const char *value, VfiodErrorText *error) {
    if (!streq(value, "host") && !streq(value, "other"))
        return error_text_set(
                error, EINVAL, ERROR_NAME_USAGE, "--namespace=%s: expected host or other.", value);
    o->foreign_namespace = streq(value, "other");
    return 0;
}

static void append(OptionList *list, const char *value) {
    list->items[list->n++] = value;
}

/* Stores the value of a simple option, or sets a flag. False: the option is not simple. */
static bool store_option(Options *o, uint64_t flag, const char *value) {
    const struct {
        uint64_t flag;
        const char **text; /* one of these */
        OptionList *list;
        bool *set;
        bool *clear;
    } targets[] = {
            {OPTION_BACKEND, .text = &o->backend},
            {OPTION_REASON, .text = &o->reason},
            {OPTION_GRANT, .text = &o->grant},
            {OPTION_TETHER, .text = &o->tether},
            {OPTION_COOKIE, .text = &o->cookie},
            {OPTION_REQUIRE, .text = &o->more.require},
            {OPTION_NETWORK, .text = &o->more.network},
            {OPTION_TICKET, .text = &o->more.ticket},
            {OPTION_HOTPLUG, .text = &o->hotplug},
            {OPTION_CONNECT, .text = &o->connect},
            {OPTION_DRIVER, .text = &o->driver},
            {OPTION_SORT, .text = &o->sort},
            {OPTION_HOST, .text = &o->host},
            {OPTION_USER, .text = &o->user},
            {OPTION_UNIT, .text = &o->unit},
            {OPTION_SLICE, .text = &o->slice},
            {OPTION_CGROUP, .text = &o->cgroup},
            {OPTION_LABEL, .text = &o->label},
            {OPTION_SCOPE, .text = &o->scope},
            {OPTION_CLAIM, .text = &o->claim},
            {OPTION_POLICY, .list = &o->policies},
            {OPTION_GROUP, .list = &o->groups_of_user},
            {OPTION_CAPABILITY, .list = &o->capabilities},
            {OPTION_TEST, .list = &o->tests},
            {OPTION_JSON, .set = &o->json},
            {OPTION_UNTAINTED, .set = &o->untainted},
            {OPTION_PRINT, .set = &o->print},
            {OPTION_LIBVIRT, .set = &o->libvirt},
            {OPTION_PODMAN, .set = &o->podman},
            {OPTION_WRITE, .set = &o->write},
            {OPTION_GROUPS, .set = &o->groups},
            {OPTION_LAST_REFUSAL, .set = &o->last_refusal},
            {OPTION_SERIALS, .set = &o->serials},
            {OPTION_PROBE, .set = &o->probe},
            {OPTION_CANCEL, .set = &o->cancel},
            {OPTION_CHECK, .set = &o->check},
            {OPTION_SVG, .set = &o->svg},
            {OPTION_DOT, .set = &o->dot},
            {OPTION_LOADED, .set = &o->loaded},
            {OPTION_FULL, .set = &o->full},
            {OPTION_NO_LEGEND, .clear = &o->legend},
            {OPTION_NO_PAGER, .clear = &o->pager},
            {OPTION_NO_ASK, .clear = &o->ask},
            {OPTION_NO_WAIT, .clear = &o->wait},
    };

    for (size_t i = 0; i < ELEMENTSOF(targets); i++) {
        if (targets[i].flag != flag)
            continue;
        if (targets[i].text)
            *targets[i].text = value;
        else if (targets[i].list)
            append(targets[i].list, value);
        else if (targets[i].set)
            *targets[i].set = true;
        else
            *targets[i].clear = false;
        return true;
    }
    return false;
}

static int take_colour(Options *o, const char *value, VfiodErrorText *error) {
    o->colour = colour_mode_from_string(value);
    if (o->colour < 0)
        return error_text_set(
                error, EINVAL, ERROR_NAME_USAGE, "--color=%s: expected auto, always or never.", value);
    return 0;
}

static int take_output(Options *o, const char *value, VfiodErrorText *error) {
    o->output = output_format_from_string(value);
    if (o->output < 0)
        return error_text_set(
                error, EINVAL, ERROR_NAME_USAGE, "--output=%s: expected text, wide, name or json.", value);
    o->json = o->json || o->output == OUTPUT_JSON;
    return 0;
}

static int take_device(Options *o, const char *value, VfiodErrorText *error) {
    o->devices[o->n_devices++] = value;
    return 0;
}

static int take_memlock(Options *o, const char *value, VfiodErrorText *error) {
    if (parse_size(value, &o->memlock) < 0 || o->memlock == 0)
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE,
                "--memlock=%s: expected bytes, or a size such as 16G.", value);
    return 0;
}

static int take_ram(Options *o, const char *value, VfiodErrorText *error) {
    if (parse_size(value, &o->ram) < 0 || o->ram < 1U << 20)
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE,
                "--ram=%s: expected a size such as 64G (K, M, G or T; at least 1M).", value);
    return 0;
}

static int take_pid(Options *o, const char *value, VfiodErrorText *error) {
    if (parse_unsigned(value, 10, INT32_MAX, &o->pid) < 0 || o->pid == 0)
        return error_text_set(
                error, EINVAL, ERROR_NAME_USAGE, "--pid=%s: expected the number of a process.", value);
    return 0;
}

static int take_number_of_devices(Options *o, const char *value, VfiodErrorText *error) {
    uint64_t n;

    if (parse_unsigned(value, 10, UINT16_MAX, &n) < 0 || n == 0)
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE,
                "--devices=%s: expected a number from 1 to %u.", value, UINT16_MAX);
    o->n_of_devices = (unsigned) n;
    return 0;
}

static int take_rounds(Options *o, const char *value, VfiodErrorText *error) {
    if (parse_unsigned(value, 10, ROUNDS_MAX, &o->rounds) < 0 || o->rounds == 0)
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE, "--rounds=%s: expected a number from 1 to %u.",
                value, ROUNDS_MAX);
    return 0;
}

static int take_count(Options *o, const char *value, VfiodErrorText *error) {
    if (parse_unsigned(value, 10, UINT16_MAX, &o->count) < 0)
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE, "--count=%s: expected a number from 0 to %u.",
                value, UINT16_MAX);
    return 0;
}

/* Also "90s", "5m", "1h", as people write it. */
static int take_seconds(
        const char *option, const char *value, uint64_t least, uint64_t *ret, VfiodErrorText *error) {
    static const struct {
        char unit;
        unsigned seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}};
    size_t n = strlen(value);
    char number[16] = "";
    unsigned factor = 1;

    for (size_t i = 0; n > 0 && i < ELEMENTSOF(units); i++)
        if (value[n - 1] == units[i].unit) {
            factor = units[i].seconds;
            n--;
            break;
        }
    if (n < sizeof(number))
        memcpy(number, value, n);
    if (parse_unsigned(number, 10, UINT32_MAX, ret) < 0 || *ret < least)
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE,
                "--%s=%s: expected a number of seconds, or a time such as 5m.", option, value);
    *ret *= factor;
    return 0;
}

static int take_for(Options *o, const char *value, VfiodErrorText *error) {
    return take_seconds("for", value, 1, &o->more.duration, error);
}

static int take_in(Options *o, const char *value, VfiodErrorText *error) {
    uint64_t seconds = 0;
    int r = take_seconds("in", value, 0, &seconds, error);

    o->in_sec = (int64_t) seconds;
    return r;
}

static int take_more(Options *o, const char *value, VfiodErrorText *error) {
    o->answers = true;
    return value ? take_seconds("more", value, 0, &o->more_sec, error) : 0;
}

static int take_wait(Options *o, const char *value, VfiodErrorText *error) {
    uint64_t seconds;
    int r;

    o->wait_usec = UINT64_MAX;
    if (!value)
        return 0;
    r = take_seconds("wait", value, 1, &seconds, error);
    if (r >= 0)
        o->wait_usec = seconds * 1000000;
    return r;
}

static int take_ttl(Options *o, const char *value, VfiodErrorText *error) {
    return take_seconds("ttl", value, 1, &o->ttl, error);
}

static int take_autoprobe(Options *o, const char *value, VfiodErrorText *error) {
    if (!streq(value, "yes") && !streq(value, "no"))
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE, "--autoprobe=%s: expected yes or no.", value);
    o->autoprobe = streq(value, "yes");
    return 0;
}

static int take_viommu(Options *o, const char *value, VfiodErrorText *error) {
    if (value && !streq(value, "emulated") && !streq(value, "nested"))
        return error_text_set(
                error, EINVAL, ERROR_NAME_USAGE, "--viommu=%s: expected emulated or nested.", value);
    o->viommu = value && streq(value, "nested") ? VFIOD_VIOMMU_NESTED : VFIOD_VIOMMU_EMULATED;
    return 0;
}

static int take_vmm(Options *o, Vmm vmm, VfiodErrorText *error) {
    if (o->vmm != VMM_NONE && o->vmm != vmm)
        return error_text_set(
                error, EINVAL, ERROR_NAME_USAGE, "--qemu and --cloud-hypervisor exclude each other.");
    o->vmm = vmm;
    return 0;
}

static int take_qemu(Options *o, const char *value, VfiodErrorText *error) {
    return take_vmm(o, VMM_QEMU, error);
}

static int take_cloud_hypervisor(Options *o, const char *value, VfiodErrorText *error) {
    return take_vmm(o, VMM_CLOUD_HYPERVISOR, error);
}

static int take_option(Options *o, uint64_t flag, const char *value, VfiodErrorText *error) {
    static const struct {
        uint64_t flag;
        int (*take)(Options *o, const char *value, VfiodErrorText *error);
    } parsers[] = {
            {OPTION_COLOUR, take_colour},
            {OPTION_OUTPUT, take_output},
            {OPTION_DEVICE, take_device},
            {OPTION_MEMLOCK, take_memlock},
            {OPTION_QEMU, take_qemu},
            {OPTION_CLOUD_HYPERVISOR, take_cloud_hypervisor},
            {OPTION_PID, take_pid},
            {OPTION_COUNT, take_count},
            {OPTION_ROUNDS, take_rounds},
            {OPTION_TTL, take_ttl},
            {OPTION_FOR, take_for},
            {OPTION_IN, take_in},
            {OPTION_MORE, take_more},
            {OPTION_AUTOPROBE, take_autoprobe},
            {OPTION_RAM, take_ram},
            {OPTION_DEVICES, take_number_of_devices},
            {OPTION_VIOMMU, take_viommu},
            {OPTION_WAIT, take_wait},
            {OPTION_NAMESPACE, take_namespace},
    };

    if (store_option(o, flag, value))
        return 0;
    for (size_t i = 0; i < ELEMENTSOF(parsers); i++)
        if (parsers[i].flag == flag)
            return parsers[i].take(o, value, error);
    assert(false);
    return -EINVAL;
}

/* word: "--opshun" or "--option=VALUE", which getopt_long(3) rejected. */
static int unknown_option(const char *word, uint64_t allowed, VfiodErrorText *error) {
    const char *names[ELEMENTSOF(long_options)], *near;
    _cleanup_free_ char *name = NULL;
    size_t n = 0;

    name = strndup(word + strspn(word, "-"), strcspn(word + strspn(word, "-"), "="));
    if (!name)
        return error_text_errno(error, ENOMEM, "Cannot read the options");
    for (const struct option *option = long_options; option->name; option++) {
        if (streq(option->name, name))
            return error_text_set(
                    error, EINVAL, ERROR_NAME_USAGE, "--%s: the option takes no argument.", name);
        if (OPTION_OF_NUMBER(option->val) & allowed)
            names[n++] = option->name;
    }
    names[n] = NULL;
    near = nearest(name, names);
    return error_text_set(error, EINVAL, ERROR_NAME_USAGE, "--%s: unknown option%s%s%s See vfioctl --help.",
            name, near ? "; did you mean '--" : "", near ? near : "", near ? "'?" : ".");
}

/* "--wait 5": an optional argument must follow '='. Otherwise the next word would be taken for a device or
 * command, with a misleading error. */
static int check_next_word(const Options *o, uint64_t flag, const char *word, VfiodErrorText *error) {
    const struct option *option = long_options;
    VfiodErrorText ignored = {};
    Options scratch = *o;

    while (option->name && option->val != OPTION_NUMBER(flag))
        option++;
    if (!option->name || option->has_arg != optional_argument ||
            take_option(&scratch, flag, word, &ignored) < 0)
        return 0;
    return error_text_set(error, EINVAL, ERROR_NAME_USAGE, "--%s %s: write --%s=%s.", option->name, word,
            option->name, word);
}

/* Parses options from argv[1] on: up to the first argument, or all of them if the verb takes no command.
 * Before the verb is known (NULL), only global ones. Returns the index of the first argument, or a negative
 * errno. *ret_done: --help or --version was handled. */
static int parse_options(int argc, char **argv, const char *group, const Verb *verb, Options *o,
        bool *ret_done, VfiodErrorText *error) {
    uint64_t allowed = OPTIONS_GLOBAL | (verb ? verb->options : 0);
    bool stop = !verb || verb->takes_command;

    opterr = 0;
    optind = 0;
    for (;;) {
        int r, c = getopt_long(argc, argv, stop ? "+:" SHORT_OPTIONS : ":" SHORT_OPTIONS, long_options, NULL);
        uint64_t flag;

        if (c < 0)
            return optind;
        if (c == ':')
            return error_text_set(error, EINVAL, ERROR_NAME_USAGE, "%s: the option requires an argument.",
                    argv[optind - 1]);
        if (c == '?' && optopt > 0 && optopt < 128 && strchr(SHORT_OPTIONS, optopt) == NULL)
            return error_text_set(
                    error, EINVAL, ERROR_NAME_USAGE, "-%c: unknown option. See vfioctl --help.", optopt);
        if (c == '?')
            return unknown_option(argv[optind - 1], allowed, error);
        flag = flag_of(c);
        if ((flag & allowed) == 0)
            return error_text_set(error, EINVAL, ERROR_NAME_USAGE,
                    "--%s: this verb does not take the option. See vfioctl --help.", option_name(flag));
        if (flag == OPTION_HELP) {
            if (c != NUMBER_VERSION) {
                pager_open(o);
                if (group && !verb)
                    show_group_help();
                else
                    show_help(verb);
            } else
                puts("vfioctl " VFIOD_VERSION);
            *ret_done = true;
            return optind;
        }
        r = !optarg && optind < argc ? check_next_word(o, flag, argv[optind], error) : 0;
        if (r >= 0)
            r = take_option(o, flag, optarg, error);
        if (r < 0)
            return r;
    }
}

static int check_arguments(const Verb *verb, const Options *o, VfiodErrorText *error) {
    if (o->n_arguments < verb->min && !o->more.ticket) /* a ticket stands for a device */
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE, "Too few arguments: vfioctl %s %s", verb->name,
                verb->arguments);
    if (o->n_arguments > verb->max)
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE, "Too many arguments: vfioctl %s%s%s",
                verb->name, *verb->arguments ? " " : "", verb->arguments);
    return 0;
}

/* A number alone could mean another process when the daemon uses it. */
static int open_process(Options *o, VfiodErrorText *error) {
    if (o->pid == 0)
        return 0;
    if (o->tether && !streq(o->tether, "process"))
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE, "--pid is for --tether=process.");
    o->more.pidfd = (int) syscall(SYS_pidfd_open, (pid_t) o->pid, 0);
    return o->more.pidfd >= 0 ? 0
                              : error_text_set(error, errno, ERROR_NAME_FAILED, "Process %" PRIu64 ": %s",
                                        o->pid, strerrordesc_np(errno));
}

static int run(int argc, char **argv, Options *o, VfiodErrorText *error) {
    const char *group = NULL;
    const Verb *verb;
    bool done = false;
    int first, r;

    first = parse_options(argc, argv, NULL, NULL, o, &done, error);
    if (first >= 0 && first < argc && !done && streq(argv[first], VERB_POLICY)) {
        group = argv[first];
        argc -= first;
        argv += first;
        first = parse_options(argc, argv, group, NULL, o, &done, error);
    }
    if (first < 0 || done)
        return MIN(first, 0);
    if (first == argc)
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE, "No verb%s%s. See vfioctl --help.",
                group ? " after " : "", group ? group : "");
    verb = find_verb(group, argv[first]);
    if (!verb)
        return unknown_verb(group, argv[first], error);
    argc -= first;
    argv += first;
    first = parse_options(argc, argv, group, verb, o, &done, error);
    if (first < 0 || done)
        return MIN(first, 0);
    o->arguments = argv + first;
    o->n_arguments = (size_t) (argc - first);
    r = check_arguments(verb, o, error);
    if (r >= 0)
        r = open_process(o, error);
    return r < 0 ? r : verb->run(o, error);
}

static void show_error(const Options *o, const VfiodErrorText *error) {
    _cleanup_json_ struct json_object *object = NULL;

    if (!o->json) {
        fprintf(stderr, "vfioctl: %s\n", error->message);
        return;
    }
    object = json_object_new_object();
    if (!object || json_add(object, "error", json_object_new_string(error->name)) < 0 ||
            json_add(object, "message", json_object_new_string(error->message)) < 0 ||
            show_json(stderr, object, /* pretty= */ false) < 0)
        fprintf(stderr, "vfioctl: %s\n", error->message);
}

/* An error in the options may come before --json was parsed, so look for it everywhere. */
static bool json_is_wanted(int argc, char **argv) {
    for (int i = 1; i < argc && !streq(argv[i], "--"); i++)
        if (streq(argv[i], "--json"))
            return true;
    return false;
}

/* Each word of the command line has at most one option. */
#define N_LISTS 5U

int main(int argc, char **argv) {
    size_t n = (size_t) argc + 1;
    _cleanup_free_ const char **words = calloc(N_LISTS * n, sizeof(char *));
    Options options = {.legend = true,
            .pager = true,
            .wait = true,
            .ask = true,
            .count = UINT64_MAX,
            .autoprobe = -1,
            .in_sec = -1,
            .more = {.size = sizeof(VfiodRequestMore)}};
    VfiodErrorText error = {.name = ERROR_NAME_FAILED, .message = "Out of memory"};
    int r = -ENOMEM;

    setlocale(LC_ALL, "");
    if (words) {
        options.devices = words;
        options.policies.items = words + n;
        options.groups_of_user.items = words + 2 * n;
        options.capabilities.items = words + 3 * n;
        options.tests.items = words + 4 * n;
        r = run(argc, argv, &options, &error);
    }
    pager_close();
    /* An earlier write of a full buffer may have failed, which ferror() shows. */
    if (r >= 0 && (fflush(stdout) != 0 || ferror(stdout)))
        r = error_text_errno(&error, errno > 0 ? errno : EIO, "Cannot write");
    if (r >= 0)
        return r;
    if (streq(error.name, ERROR_NAME_USAGE))
        options.json = options.json || json_is_wanted(argc, argv);
    show_error(&options, &error);
    return exit_status_of(error.name);
}
