/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host/variant-reader.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <libkmod.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"

#define ALIAS_MAX 128U
#define GENERIC_ALIAS VARIANT_PREFIX "v*d*sv*sd*bc*sc*i*" /* the alias of vfio_pci itself */
#define MODULES_MAX 64U                                   /* that match one device; others are ignored */

/* ---- libkmod ---- */

#define FUNCTIONS(X)                                                                                         \
    X(kmod_new)                                                                                              \
    X(kmod_unref)                                                                                            \
    X(kmod_set_log_priority)                                                                                 \
    X(kmod_list_next)                                                                                        \
    X(kmod_module_new_from_lookup)                                                                           \
    X(kmod_module_apply_filter)                                                                              \
    X(kmod_module_get_module)                                                                                \
    X(kmod_module_get_name)                                                                                  \
    X(kmod_module_get_info)                                                                                  \
    X(kmod_module_info_get_key)                                                                              \
    X(kmod_module_info_get_value)                                                                            \
    X(kmod_module_info_free_list)                                                                            \
    X(kmod_module_unref)                                                                                     \
    X(kmod_module_unref_list)

#define POINTER(f) __typeof__(f) *f##_;
static struct {
    bool tried, loaded;
    FUNCTIONS(POINTER)
} kmod;

static bool load_kmod(void) {
    void *library;

    if (kmod.tried)
        return kmod.loaded;
    kmod.tried = true;
    library = dlopen("libkmod.so.2", RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!library)
        return false;
#define FIND(f)                                                                                              \
    kmod.f##_ = (__typeof__(f) *) dlsym(library, #f);                                                        \
    if (!kmod.f##_)                                                                                          \
        return false;
    FUNCTIONS(FIND)
    kmod.loaded = true;
    return true;
}

static void context_unref(struct kmod_ctx **context) {
    if (*context)
        (void) kmod.kmod_unref_(*context);
}

static void list_unref(struct kmod_list **list) {
    if (*list)
        (void) kmod.kmod_module_unref_list_(*list);
}

static void info_free(struct kmod_list **list) {
    if (*list)
        kmod.kmod_module_info_free_list_(*list);
}

static void module_unref(struct kmod_module **module) {
    if (*module)
        (void) kmod.kmod_module_unref_(*module);
}

#define FOREACH(entry, list)                                                                                 \
    for (struct kmod_list *entry = (list); entry; entry = kmod.kmod_list_next_((list), entry))

/* ---- The most specific ---- */

/* The narrowest alias of the module that matches. If only an alias of modprobe.d matches, the operator means
 * this module. UINT_MAX: its file cannot be read. */
static unsigned module_width(struct kmod_module *module, const char *alias) {
    _cleanup_(info_free) struct kmod_list *info = NULL;
    unsigned width = 0;
    bool found = false;

    if (kmod.kmod_module_get_info_(module, &info) < 0)
        return UINT32_MAX;
    FOREACH(entry, info) {
        const char *key = kmod.kmod_module_info_get_key_(entry),
                   *value = kmod.kmod_module_info_get_value_(entry);

        if (!streq_ptr(key, "alias") || !value || fnmatch(value, alias, 0) != 0)
            continue;
        width = found ? MIN(width, variant_alias_width(value)) : variant_alias_width(value);
        found = true;
    }
    return width;
}

static bool is_blacklisted(struct kmod_ctx *context, struct kmod_list *list, const char *name) {
    _cleanup_(list_unref) struct kmod_list *kept = NULL;

    if (kmod.kmod_module_apply_filter_(context, KMOD_FILTER_BLACKLIST, list, &kept) < 0)
        return false;
    FOREACH(entry, kept) {
        _cleanup_(module_unref) struct kmod_module *module = kmod.kmod_module_get_module_(entry);

        if (streq(kmod.kmod_module_get_name_(module), name))
            return false;
    }
    return true;
}

/* Returns false if not even vfio_pci is in the index: then the index is not that of this kernel's drivers. */
static bool choose(struct kmod_list *list, const char *alias, DeviceFacts *f) {
    unsigned best = variant_alias_width(GENERIC_ALIAS), n = 0;
    bool any = false;

    FOREACH(entry, list) {
        _cleanup_(module_unref) struct kmod_module *module = kmod.kmod_module_get_module_(entry);
        const char *name = kmod.kmod_module_get_name_(module);
        unsigned width;

        any = true;
        if (streq(name, VARIANT_GENERIC) || !driver_name_is_valid(name) || n++ >= MODULES_MAX)
            continue;
        width = module_width(module, alias);
        if (width == UINT32_MAX) /* it is not generic, since there is only one generic module */
            width = best > 0 ? best - 1 : 0;
        if (width >= best)
            continue;
        best = width;
        put_text(f->variant, sizeof(f->variant), name);
    }
    return any;
}

static void find_driver(DeviceFacts *f) {
    const VariantInfo *known = variant_of_module(f->variant);

    if (variant_read_driver(f->variant, f->variant_driver) < 0)
        put_text(f->variant_driver, sizeof(f->variant_driver), known ? known->driver : f->variant);
}

int variant_find(const char *modules, const char *alias, DeviceFacts *f) {
    _cleanup_(context_unref) struct kmod_ctx *context = NULL;
    _cleanup_(list_unref) struct kmod_list *list = NULL;

    if (!load_kmod())
        return 0;
    context = kmod.kmod_new_(modules, NULL);
    if (!context)
        return 0;
    kmod.kmod_set_log_priority_(context, 0); /* it logs to stderr; the result is enough */
    if (kmod.kmod_module_new_from_lookup_(context, alias, &list) < 0 || !choose(list, alias, f))
        return 0;
    if (f->variant[0]) {
        f->variant_blocked = is_blacklisted(context, list, f->variant);
        find_driver(f);
    }
    return 1;
}

int variant_read(int at, DeviceFacts *f) {
    char modalias[ALIAS_MAX], alias[ALIAS_MAX];

    if (read_attribute_at(at, "modalias", modalias, sizeof(modalias)) < 0 ||
            variant_alias(modalias, alias, sizeof(alias)) < 0)
        return 0;
    return variant_find(NULL, alias, f);
}

/* ---- Drivers that are loaded ---- */

bool variant_is_loaded(const char *driver) {
    char path[128];

    if (!driver_name_is_valid(driver))
        return false;
    (void) snprintf(path, sizeof(path), "/sys/bus/pci/drivers/%s", driver);
    return access(path, F_OK) == 0;
}

/* Entries are "pci:mlx5_vfio_pci". */
int variant_read_driver(const char *module, char ret[static VARIANT_NAME_MAX]) {
    _cleanup_closedir_ DIR *d = NULL;
    const struct dirent *entry;
    char path[128];
    int r;

    (void) snprintf(path, sizeof(path), "/sys/module/%s/drivers", module);
    r = open_directory_at(AT_FDCWD, path, &d);
    if (r < 0)
        return -ENOENT;
    while ((entry = readdir(d))) {
        const char *name = startswith(entry->d_name, "pci:");

        if (!name || !driver_name_is_valid(name))
            continue;
        put_text(ret, VARIANT_NAME_MAX, name);
        return 0;
    }
    return -ENOENT;
}
