/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Patterns that can never match are errors, with a suggestion. In a deny rule such a mistake is silent and
 * lets through what the rule was written to stop. This file knows the names that systemd, the kernel and udev
 * make; device-pattern.c knows those of devices. */

#include "policy/parser.h"

static bool has_wildcard(const char *s) {
    return strpbrk(s, "*?[") != NULL;
}

/* meant is the suggestion. NULL: none, or there was no memory for it. */
static void report_never(PolicyParser *p, const JsonNode *value, const char *why, const char *meant) {
    _cleanup_free_ char *shown = show(p, value->string), *shown_meant = meant ? show(p, meant) : NULL;

    if (shown_meant)
        report_value(p, value, "\"%s\" can never match: %s, did you mean \"%s\"?", shown, why, shown_meant);
    else
        report_value(p, value, "\"%s\" can never match: %s", shown, why);
}

static void warn_value(PolicyParser *p, const JsonNode *value, const char *text, const char *meant) {
    _cleanup_free_ char *shown = show(p, value->string);

    p->warnings.file = p->problems.file;
    problems_report_value(&p->warnings, value, "\"%s\" %s, did you mean \"%s\"?", shown, text, meant);
    p->warnings.file = NULL;
}

/* --- syntax that is not a glob here --- */

bool parser_refuse_glob(PolicyParser *p, const JsonNode *value, const char *what, const char *advice) {
    _cleanup_free_ char *shown = NULL;

    if (!has_wildcard(value->string))
        return true;
    shown = show(p, value->string);
    report_value(p, value, "\"%s\" looks like a glob, but %s is compared as it is written: %s", shown, what,
            advice);
    return false;
}

/* Wildcards that other programs support in a glob. Here they would be compared literally. */
static const char *foreign_glob(const char *s) {
    const char *brace = strchr(s, '{');

    if (strstr(s, "[[:"))
        return "a glob has no classes of characters like [:digit:], write a range like [0-9]";
    if (brace && strchr(brace, ',') && strchr(brace, '}'))
        return "a glob has no alternatives in braces, write a list of globs";
    /* "^" alone is a label of Smack */
    if ((s[0] == '^' && s[1]) || strstr(s, "\\."))
        return "this is a glob and not a regular expression: \"*\" stands for any text and \".\" for itself";
    return NULL;
}

bool parser_check_foreign_glob(PolicyParser *p, const JsonNode *value) {
    const char *why = foreign_glob(value->string);
    _cleanup_free_ char *shown = NULL;

    if (!why)
        return true;
    shown = show(p, value->string);
    report_value(p, value, "\"%s\": %s", shown, why);
    return false;
}

/* --- names of systemd --- */

/* Can the glob match a name that ends in suffix? The text after its last wildcard must agree with suffix. */
static bool may_end_in(const char *glob, const char *suffix) {
    const char *tail = glob, *wildcard;
    size_t n, m = strlen(suffix);

    while ((wildcard = strpbrk(tail, "*?]")))
        tail = wildcard + 1;
    n = strlen(tail);
    return n < m ? streq(suffix + m - n, tail) : streq(tail + n - m, suffix);
}

static bool ends_in(const char *s, const char *suffix) {
    size_t n = strlen(s), m = strlen(suffix);

    return n >= m && streq(s + n - m, suffix);
}

/* Only units of these kinds have processes. "crio" is accepted by systemctl(1), but is not the name of a
 * unit. */
static bool may_be_unit(const char *glob) {
    static const char *const suffixes[] = {".service", ".scope", ".socket", ".mount", ".swap"};

    for (size_t i = 0; i < ELEMENTSOF(suffixes); i++)
        if (may_end_in(glob, suffixes[i]))
            return true;
    return false;
}

/* Is there a character outside of brackets that no name of a unit contains? */
static bool has_strange_letter(const char *glob) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@*?";

    for (const char *s = glob; *s; s++) {
        if (*s == '[') {
            s += s[1] == '!' || s[1] == '^' ? 2 : 1;
            s = strchr(s + 1, ']');
            if (!s)
                return true;
        } else if (!strchr(letters, *s))
            return true;
    }
    return false;
}

/* "crio.timer" -> "crio.service", "crio" -> "crio.service". Owned. */
static char *with_suffix(const char *s, const char *suffix) {
    static const char *const others[] = {".timer", ".target", ".path", ".device", ".automount", ".slice"};

    for (size_t i = 0; i < ELEMENTSOF(others); i++)
        if (ends_in(s, others[i]))
            return format_string("%.*s%s", (int) (strlen(s) - strlen(others[i])), s, suffix);
    return format_string("%s%s", s, suffix);
}

void parser_check_unit(PolicyParser *p, const JsonNode *value) {
    const char *s = value->string;
    _cleanup_free_ char *meant = NULL;

    if (strchr(s, '/'))
        report_never(p, value, "the name of a unit has no \"/\"; paths are for \"cgroup\"", NULL);
    else if (has_strange_letter(s))
        report_never(p, value,
                "names of units consist of letters, digits and \":\", \"-\", \"_\", \".\", \"\\\", \"@\"",
                NULL);
    else if (ends_in(s, ".slice"))
        report_never(p, value, "this is the name of a slice, use the key \"slice\"", NULL);
    else if (!may_be_unit(s)) {
        meant = with_suffix(s, ".service");
        report_never(p, value, "the names of units end in \".service\" or \".scope\"", meant);
    } else if (startswith(s, "machine-qemu-") || startswith(s, "machine-lxc-"))
        warn_value(p, value,
                "does not match the names that systemd-machined makes, in which a \"-\" is \"\\x2d\"",
                s[8] == 'q' ? "machine-qemu\\\\x2d*.scope" : "machine-lxc\\\\x2d*.scope");
}

void parser_check_slice(PolicyParser *p, const JsonNode *value) {
    const char *s = value->string, *slash = strrchr(s, '/');
    _cleanup_free_ char *meant = NULL;

    if (slash)
        report_never(p, value, "a slice is named without the slices that it is in",
                may_end_in(slash + 1, ".slice") ? slash + 1 : NULL);
    else if (has_strange_letter(s))
        report_never(p, value,
                "names of slices consist of letters, digits and \":\", \"-\", \"_\", \".\", \"\\\"", NULL);
    else if (streq(s, "-.slice"))
        report_never(
                p, value, "everything is in the root slice and no path names it; leave \"slice\" out", NULL);
    else if (!has_wildcard(s) && (s[0] == '-' || strstr(s, "--") || ends_in(s, "-.slice")))
        report_never(p, value, "each \"-\" in the name of a slice stands between two slices", NULL);
    else if (!may_end_in(s, ".slice")) {
        meant = with_suffix(s, ".slice");
        report_never(p, value, "the names of slices end in \".slice\"", ends_in(s, ".scope") ? NULL : meant);
    }
}

void parser_check_cgroup(PolicyParser *p, const JsonNode *value) {
    const char *s = value->string, *rest;
    _cleanup_free_ char *meant = NULL;
    size_t n = strlen(s);

    rest = startswith(s, "/sys/fs/cgroup");
    if (rest && (*rest == '/' || *rest == '\0')) {
        report_never(p, value, "the path of a cgroup begins below /sys/fs/cgroup", *rest ? rest : "/");
        return;
    }
    rest = startswith(s, "0::");
    if (rest || !strchr("/*?[", s[0])) {
        meant = rest ? strdup(rest) : format_string("/%s", s);
        report_never(p, value, "the path of a cgroup begins with \"/\"", meant);
    } else if (n > 1 && s[n - 1] == '/') {
        meant = strndup(s, n - 1);
        report_never(p, value, "the path of a cgroup does not end with \"/\"", meant);
    } else if (strstr(s, "//"))
        report_never(p, value, "the path of a cgroup has no \"//\"", NULL);
}

/* --- names of the kernel and of udev --- */

/* Drivers that policies often name. Some have another name than their module. */
static const char *const drivers[] = {"vfio-pci", "mlx5_vfio_pci", "pci-stub", "uio_pci_generic", "igb_uio",
        "virtio-pci", "snd_hda_intel", "xhci_hcd", "ehci-pci", "ohci-pci", "uhci_hcd", "mlx5_core",
        "mlx4_core", "bnxt_en", "i801_smbus", "mei_me", "intel-lpss", "sdhci-pci"};
static const struct {
    const char *module, *driver;
} renamed_drivers[] = {
        {"vfio", "vfio-pci"},
        {"xhci-pci", "xhci_hcd"},
        {"i2c-i801", "i801_smbus"},
        {"xen-pciback", "pciback"},
        {"nvidia-drm", "nvidia"},
        {"nvidia-modeset", "nvidia"},
        {"nvidia-uvm", "nvidia"},
};

/* Equal except for "_" and "-". */
static bool is_mixed_up(const char *a, const char *b) {
    for (; *a && *b; a++, b++)
        if (*a != *b && !(strchr("_-", *a) && strchr("_-", *b)))
            return false;
    return *a == *b;
}

static const char *find_meant_driver(const char *s) {
    const char *meant = NULL;

    for (size_t i = 0; i < ELEMENTSOF(drivers); i++) {
        if (streq(s, drivers[i]))
            return NULL;
        if (is_mixed_up(s, drivers[i]))
            meant = drivers[i];
    }
    for (size_t i = 0; i < ELEMENTSOF(renamed_drivers); i++)
        if (is_mixed_up(s, renamed_drivers[i].module))
            meant = renamed_drivers[i].driver;
    return meant;
}

void parser_check_driver(PolicyParser *p, const JsonNode *value) {
    const char *meant = find_meant_driver(value->string);

    if (meant)
        warn_value(p, value, "is not the name of a PCI driver", meant);
}

void parser_check_property(PolicyParser *p, const char *key, const JsonNode *value) {
    _cleanup_free_ char *meant = strdup(value->string);
    bool lower = false;

    if (!meant) {
        p->problems.out_of_memory = true;
        return;
    }
    if (!streq(key, "PCI_ID") && !streq(key, "PCI_SUBSYS_ID"))
        return;
    for (char *s = meant; *s; s++)
        if (*s >= 'a' && *s <= 'f') {
            *s = (char) (*s - 'a' + 'A');
            lower = true;
        }
    if (lower)
        report_never(p, value, "the kernel writes this property in upper case", meant);
}

/* Keys of udev properties are in upper case by convention only. */
void parser_check_property_key(PolicyParser *p, const JsonNode *member) {
    _cleanup_free_ char *shown = show(p, member->key), *meant = strdup(member->key);
    bool strange = false;

    for (char *s = meant; s && *s; s++) {
        char c = (char) (*s >= 'a' && *s <= 'z' ? *s - 'a' + 'A' : *s == '-' ? '_' : *s);

        strange = strange || c != *s;
        *s = c;
    }
    if (!strange)
        return;
    p->warnings.file = p->problems.file;
    problems_report(&p->warnings, member->key_line, member->key_column,
            "\"%s\" is an unusual name of a property, did you mean \"%s\"?", shown, meant);
    p->warnings.file = NULL;
}
