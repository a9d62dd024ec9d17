/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/template.h"

#include <inttypes.h>

#include "base/str.h"

static int problem(char **ret_problem, char *text) {
    if (!text)
        return -ENOMEM;
    *ret_problem = text;
    return -EINVAL;
}

static int hand_over(char *name, char **ret) {
    if (!name)
        return -ENOMEM;
    *ret = name;
    return 0;
}

/* By index from 0, by full name, without the kind, or as it was spelled. */
static const TemplateDevice *find_device(const char *which, const TemplateDevice *devices, size_t n_devices) {
    uint64_t index;

    if (parse_unsigned(which, 10, UINT32_MAX, &index) >= 0)
        return index < n_devices ? devices + index : NULL;
    for (size_t i = 0; i < n_devices; i++) {
        const char *colon = strchr(devices[i].name, ':');

        if (streq(which, devices[i].name) || streq(which, devices[i].spelling) ||
                (colon && streq(which, colon + 1)))
            return devices + i;
    }
    return NULL;
}

static const TemplateDevice *find_group(const char *which, const TemplateDevice *devices, size_t n_devices) {
    uint64_t group;

    if (parse_unsigned(which, 10, INT32_MAX, &group) < 0)
        return NULL;
    for (size_t i = 0; i < n_devices; i++)
        if (devices[i].group == (int64_t) group)
            return devices + i;
    return NULL;
}

/* The name of the file descriptor for the text between the braces. */
static int resolve(
        const char *text, const TemplateDevice *devices, size_t n_devices, char **ret, char **ret_problem) {
    const TemplateDevice *device;
    const char *which;

    if (streq(text, "iommufd") || streq(text, "container"))
        return hand_over(strdup(text), ret);
    if (streq(text, "device"))
        text = "device:0";
    if (streq(text, "group") && n_devices > 0 && devices[0].group >= 0)
        return hand_over(format_string("group:%" PRIi64, devices[0].group), ret);
    which = startswith(text, "device:");
    if (which) {
        device = find_device(which, devices, n_devices);
        if (device)
            return hand_over(format_string("device:%s", device->name), ret);
        return problem(ret_problem, format_string("{%s}: no --device names such a device.", text));
    }
    which = startswith(text, "group:");
    if (which || streq(text, "group")) {
        device = which ? find_group(which, devices, n_devices) : NULL;
        if (device)
            return hand_over(format_string("group:%" PRIi64, device->group), ret);
        return problem(ret_problem, format_string("{%s}: no device of --device is in that group.", text));
    }
    return problem(ret_problem,
            format_string(
                    "{%s}: unknown template, expected {iommufd}, {container}, {device}, {device:WHICH}, "
                    "{group} and {group:N}. Write {{ for a brace.",
                    text));
}

/* Expands the template at *p, a single '{', and advances *p. */
static int expand_one(const char **p, const TemplateDevice *devices, size_t n_devices,
        template_number_t number, void *userdata, StrBuf *out, char **ret_problem) {
    _cleanup_free_ char *text = NULL, *fd_name = NULL;
    const char *end = strchr(*p, '}');
    int r;

    if (!end)
        return problem(ret_problem, format_string("%s: '{' without '}'. Write {{ for a brace.", *p));
    text = strndup(*p + 1, (size_t) (end - *p - 1));
    if (!text)
        return -ENOMEM;
    r = resolve(text, devices, n_devices, &fd_name, ret_problem);
    if (r < 0)
        return r;
    r = number(userdata, fd_name);
    if (r == -ENOENT)
        return problem(ret_problem, format_string("{%s}: the claim has no such file descriptor.", text));
    if (r < 0)
        return r;
    strbuf_addf(out, "%i", r);
    *p = end + 1;
    return 0;
}

int template_expand(const char *argument, const TemplateDevice *devices, size_t n_devices,
        template_number_t number, void *userdata, char **ret, char **ret_problem) {
    _cleanup_strbuf_ StrBuf out = {};
    const char *p = argument;
    char *text;
    int r;

    while (*p) {
        if (p[0] == '{' && p[1] != '{') {
            r = expand_one(&p, devices, n_devices, number, userdata, &out, ret_problem);
            if (r < 0)
                return r;
            continue;
        }
        strbuf_addf(&out, "%c", *p);
        p += p[0] == '{' ? 2 : 1;
    }
    text = strbuf_steal(&out);
    if (!text)
        return -ENOMEM;
    *ret = text;
    return 0;
}
