/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Which parts of the kernel's command line and taint bits concern isolation.
 *
 * The command line is split as the kernel does it (lib/cmdline.c: next_arg). Blanks separate, except within
 * double quotes, which are removed around a whole word or value. "--" ends the kernel's part. In names '-'
 * and '_' are the same (kernel/params.c). Every weak word counts, also if a later one overrides it: an
 * operator who requires an untainted host can clean up its command line.
 *
 * A word "weakens" if it lets a device reach memory or interrupts that are not its owner's. Identity mappings
 * for the host's own drivers (iommu=pt) and lazy flushes do not, since a claimed device has a domain of its
 * own. They are listed nevertheless, because people look for them. */

#include <stdio.h>

#include "base/str.h"
#include "core/taint.h"

static const char *const taint_kind_table[_TAINT_KIND_MAX] = {
        [TAINT_NOIOMMU_CLAIM] = "noiommu-claim",
        [TAINT_NOIOMMU_ENABLED] = "noiommu-enabled",
        [TAINT_UNSAFE_INTERRUPTS] = "unsafe-interrupts",
        [TAINT_COMMAND_LINE] = "command-line",
        [TAINT_KERNEL] = "kernel",
        [TAINT_OPEN_NODE] = "open-node",
};
DEFINE_STRING_TABLE(taint_kind, TaintKind);

static void copy_printable(const char *s, char *buf, size_t size) {
    size_t i;

    for (i = 0; s[i] && i + 1 < size; i++)
        buf[i] = s[i] >= 0x20 && s[i] < 0x7f ? s[i] : '?';
    buf[i] = '\0';
}

Taint *taint_list_add(TaintList *l, TaintKind kind, bool weakens, const char *what) {
    Taint t = {.kind = kind, .weakens = weakens, .uid = (uid_t) -1};

    copy_printable(what, t.what, sizeof(t.what));
    for (size_t i = 0; i < l->n; i++)
        if (l->entries[i].kind == kind && streq(l->entries[i].what, t.what) && !l->entries[i].device[0])
            return &l->entries[i];
    if (l->n >= TAINTS_MAX) {
        l->more++;
        return NULL;
    }
    l->entries[l->n] = t;
    return &l->entries[l->n++];
}

/* ---- The command line ---- */

typedef enum Wanted {
    WANTED_ANY,    /* the parameter itself, with any value */
    WANTED_OPTION, /* a word of a list that commas separate */
    WANTED_PREFIX, /* a word of such a list begins like this */
    WANTED_YES,    /* a boolean value */
    WANTED_NO,
} Wanted;

static const struct {
    const char *parameter;
    Wanted wanted;
    const char *option;
    bool weakens;
} parameters[] = {
        /* these are patches of several distributions */
        {"pcie_acs_override", WANTED_ANY, NULL, true},
        {"pci", WANTED_PREFIX, "config_acs=", true},
        {"pci", WANTED_PREFIX, "disable_acs_redir=", true},
        {"iommu", WANTED_OPTION, "off", true},
        {"iommu", WANTED_OPTION, "pt", false},
        {"iommu", WANTED_OPTION, "soft", false},
        {"iommu.passthrough", WANTED_YES, NULL, false},
        {"iommu.strict", WANTED_NO, NULL, false},
        {"intel_iommu", WANTED_OPTION, "off", true},
        {"intel_iommu", WANTED_OPTION, "igfx_off", true}, /* excludes one device */
        {"amd_iommu", WANTED_OPTION, "off", true},
        {"intremap", WANTED_OPTION, "off", true},
        {"intremap", WANTED_OPTION, "nosid",
                true}, /* a device may send interrupts under the name of another */
        {"nointremap", WANTED_ANY, NULL, true},
        {"arm_smmu.disable_bypass", WANTED_NO, NULL, true},
};

/* Compares names as the kernel does. */
static bool is_parameter(const char *name, const char *wanted) {
    size_t i;

    for (i = 0; name[i] && wanted[i]; i++)
        if ((name[i] == '-' ? '_' : name[i]) != (wanted[i] == '-' ? '_' : wanted[i]))
            return false;
    return name[i] == wanted[i];
}

/* kstrtobool(): the first letters decide. A boolean parameter without a value is true. */
static int parse_boolean(const char *value) {
    if (!value || strchr("yYtT1", value[0]))
        return value && !value[0] ? -EINVAL : 1;
    if (strchr("nNfF0", value[0]))
        return 0;
    if ((value[0] | 0x20) != 'o')
        return -EINVAL;
    return (value[1] | 0x20) == 'n' ? 1 : (value[1] | 0x20) == 'f' ? 0 : -EINVAL;
}

static void add_parameter(
        TaintList *l, const char *name, const char *value, const char *option, bool weakens) {
    char what[sizeof(l->entries[0].what)];

    (void) snprintf(what, sizeof(what), "%s%s%s", name, value ? "=" : "", option ?: value ?: "");
    (void) taint_list_add(l, TAINT_COMMAND_LINE, weakens, what);
}

static void take_options(TaintList *l, const char *name, char *value) {
    char *rest = NULL;

    for (char *word = strtok_r(value, ",", &rest); word; word = strtok_r(NULL, ",", &rest))
        for (size_t i = 0; i < ELEMENTSOF(parameters); i++)
            if (is_parameter(name, parameters[i].parameter) &&
                    ((parameters[i].wanted == WANTED_OPTION && streq(word, parameters[i].option)) ||
                            (parameters[i].wanted == WANTED_PREFIX &&
                                    startswith(word, parameters[i].option))))
                add_parameter(l, name, "", word, parameters[i].weakens);
}

static void take_parameter(TaintList *l, const char *name, char *value) {
    for (size_t i = 0; i < ELEMENTSOF(parameters); i++)
        if (is_parameter(name, parameters[i].parameter) &&
                (parameters[i].wanted == WANTED_ANY ||
                        (parameters[i].wanted == WANTED_YES && parse_boolean(value) == 1) ||
                        (parameters[i].wanted == WANTED_NO && parse_boolean(value) == 0)))
            add_parameter(l, name, value, NULL, parameters[i].weakens);
    if (value)
        take_options(l, name, value);
}

static bool is_blank(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r') || (unsigned char) c == 0xa0;
}

/* Cuts off the next word in place; NULL: there is none. *ret_value is NULL if the word has no '='. */
static char *next_argument(char **cursor, char **ret_value) {
    char *word = *cursor, *equals = NULL, *p;
    bool quoted = false, whole = false;

    while (is_blank(*word))
        word++;
    if (!*word)
        return NULL;
    if (*word == '"') {
        word++;
        quoted = whole = true;
    }
    for (p = word; *p && (quoted || !is_blank(*p)); p++) {
        if (*p == '=' && !equals && p > word)
            equals = p;
        if (*p == '"')
            quoted = !quoted;
    }
    *cursor = *p ? p + 1 : p;
    *p = '\0';

    *ret_value = NULL;
    if (equals) {
        *equals = '\0';
        *ret_value = equals + 1;
        if (**ret_value == '"') {
            (*ret_value)++;
            whole = true;
        }
    }
    if (whole && p > word && p[-1] == '"' && p - 1 >= (*ret_value ?: word))
        p[-1] = '\0';
    return word;
}

void taint_list_add_command_line(TaintList *l, const char *text) {
    _cleanup_free_ char *copy = strdup(text);
    char *cursor = copy, *name, *value;

    if (!copy) { /* out of memory: the content is unknown */
        (void) taint_list_add(l, TAINT_COMMAND_LINE, true, "out of memory while reading the command line");
        return;
    }
    while ((name = next_argument(&cursor, &value))) {
        if (streq(name, "--") && !value)
            return;
        take_parameter(l, name, value);
    }
}

/* ---- The kernel's taint ---- */

/* include/linux/panic.h */
static const char *const kernel_bits[] = {
        "TAINT_PROPRIETARY_MODULE",
        "TAINT_FORCED_MODULE",
        "TAINT_CPU_OUT_OF_SPEC",
        "TAINT_FORCED_RMMOD",
        "TAINT_MACHINE_CHECK",
        "TAINT_BAD_PAGE",
        "TAINT_USER",
        "TAINT_DIE",
        "TAINT_OVERRIDDEN_ACPI_TABLE",
        "TAINT_WARN",
        "TAINT_CRAP",
        "TAINT_FIRMWARE_WORKAROUND",
        "TAINT_OOT_MODULE",
        "TAINT_UNSIGNED_MODULE",
        "TAINT_SOFTLOCKUP",
        "TAINT_LIVEPATCH",
        "TAINT_AUX",
        "TAINT_RANDSTRUCT",
        "TAINT_TEST",
        "TAINT_FWCTL",
};

/* TAINT_USER: a device was bound in noiommu mode, or somebody wrote to the config space of a device that a
 * driver has, where ACS can be switched off. An unknown bit may be as bad. */
#define USER_BIT 6U

void taint_list_add_kernel(TaintList *l, uint64_t tainted) {
    for (unsigned bit = 0; bit < 64; bit++) {
        char unknown[24];

        if (!(tainted >> bit & 1))
            continue;
        (void) snprintf(unknown, sizeof(unknown), "unknown taint %u", bit);
        (void) taint_list_add(l, TAINT_KERNEL, bit == USER_BIT || bit >= ELEMENTSOF(kernel_bits),
                bit < ELEMENTSOF(kernel_bits) ? kernel_bits[bit] : unknown);
    }
}

/* ---- Texts ---- */

char *taint_list_describe_weakness(const TaintList *l, int *ret_error) {
    _cleanup_strbuf_ StrBuf b = {};
    bool first = true;
    char *text;

    *ret_error = 0;
    for (size_t i = 0; i < l->n; i++) {
        const Taint *t = &l->entries[i];

        if (!t->weakens)
            continue;
        strbuf_addf(&b, "%s%s", first ? "" : ", ", t->what[0] ? t->what : taint_kind_to_string(t->kind));
        if (t->device[0])
            strbuf_addf(&b, " (%s)", t->device);
        first = false;
    }
    /* What did not fit is unknown, so it counts as weakening. */
    if (l->more > 0)
        strbuf_addf(&b, "%s%zu more", first ? "" : ", ", l->more);
    else if (first)
        return NULL;

    text = strbuf_steal(&b);
    if (!text)
        *ret_error = -ENOMEM;
    return text;
}
