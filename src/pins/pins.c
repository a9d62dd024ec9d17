/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pins/pins.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/json-build.h"
#include "core/device-spelling.h"
#include "pins/pin-apply.h"

#define DEFAULT_DRIVER "vfio-pci"
#define WORD_SHOWN_MAX 120U

static const char *directory_or_default(const char *directory) {
    return directory ?: secure_getenv("VFIOD_PINS_DIRECTORY") ?: PINS_DIRECTORY;
}

/* Sets the problem and returns r. */
static int fail(char **ret_problem, int r, char *text) {
    *ret_problem = text;
    return text ? r : -ENOMEM;
}

/* ---- Showing ---- */

static int add_pin(struct json_object *o, const Pin *pin) {
    if (json_add_string(o, "path", pin->path) < 0 || json_add_string(o, "id", pin->id) < 0 ||
            json_add_string(o, "serial", pin->serial) < 0 || json_add_string(o, "driver", pin->driver) < 0)
        return -ENOMEM;
    return 0;
}

static struct json_object *pin_to_json(const PinFile *file, PinDevices *devices) {
    _cleanup_json_ struct json_object *o = json_object_new_object();
    char name[DEVICE_NAME_MAX];
    PinDevice *at_place, *elsewhere;
    const PinDevice *device;
    PinState state = pin_look(&file->pin, devices, &at_place, &elsewhere);
    _cleanup_free_ char *why = pin_explain(&file->pin, state, at_place, elsewhere);

    device = elsewhere ?: at_place;
    if (!o || !why || json_add_string(o, "file", file->name) < 0 ||
            json_add_string(o, "device", device ? device_name_format(&device->name, name) : NULL) < 0 ||
            add_pin(o, &file->pin) < 0 || json_add_string(o, "state", pin_state_to_string(state)) < 0 ||
            json_add_string(o, "boundTo", device ? device->driver : NULL) < 0 ||
            json_add_string(o, "why", why) < 0)
        return NULL;
    return TAKE_PTR(o);
}

static int add_errors(struct json_object *o, const PinFiles *files) {
    _cleanup_json_ struct json_object *errors = json_object_new_array();

    for (size_t i = 0; errors && i < problems_count(&files->problems); i++)
        if (json_append(errors, json_object_new_string(problems_get(&files->problems, i))) < 0)
            return -ENOMEM;
    return json_add(o, "errors", TAKE_PTR(errors));
}

static int files_to_json(const PinFiles *files, PinDevices *devices, struct json_object **ret) {
    _cleanup_json_ struct json_object *o = json_object_new_object(), *pins = json_object_new_array();

    if (!o || !pins)
        return -ENOMEM;
    for (size_t i = 0; i < files->n; i++)
        if (json_append(pins, pin_to_json(files->items + i, devices)) < 0)
            return -ENOMEM;
    if (json_add(o, "pins", TAKE_PTR(pins)) < 0 || add_errors(o, files) < 0)
        return -ENOMEM;
    *ret = TAKE_PTR(o);
    return 0;
}

/* Reads files and devices. The caller frees both, also after a failure. Without a PCI bus there are no
 * devices. */
static int look(const char *directory, PinFiles *files, PinDevices *devices, char **ret_problem) {
    int r;

    r = pin_files_load(directory, files);
    if (r >= 0)
        r = pin_devices_scan(devices);
    if (r >= 0 || r == -ENOENT)
        return 0;
    return fail(ret_problem, r, format_string("Cannot list the PCI devices: %s", strerrordesc_np(-r)));
}

int pins_list(const char *directory, struct json_object **ret, char **ret_problem) {
    _cleanup_(pin_devices_done) PinDevices devices = {};
    _cleanup_(pin_files_done) PinFiles files = {};
    int r;

    r = look(directory_or_default(directory), &files, &devices, ret_problem);
    return r < 0 ? r : files_to_json(&files, &devices, ret);
}

/* ---- Adding ---- */

/* Parses the name of an existing device. */
static int parse_name(const char *word, DeviceName *ret, char **ret_problem) {
    _cleanup_free_ char *shown = NULL, *meant = NULL;

    if (device_name_parse(word, ret) >= 0)
        return 0;
    shown = sanitize(word, WORD_SHOWN_MAX);
    meant = device_spelling_explain(word, /* in_pattern= */ false);
    return fail(ret_problem, -EINVAL,
            shown && meant ? format_string("\"%s\" is not the name of a device%s.", shown, meant) : NULL);
}

static int parse_pci(const char *word, DeviceName *ret, char **ret_problem) {
    char name[DEVICE_NAME_MAX];
    int r;

    r = parse_name(word, ret, ret_problem);
    if (r < 0 || ret->kind == DEVICE_KIND_PCI)
        return r;
    return fail(ret_problem, -EOPNOTSUPP,
            format_string("%s cannot be pinned: pins are for PCI devices.", device_name_format(ret, name)));
}

int pins_check(const char *device, char **ret_name, char **ret_problem) {
    char text[DEVICE_NAME_MAX];
    DeviceName name;
    int r;

    r = parse_pci(device, &name, ret_problem);
    if (r < 0)
        return r;
    *ret_name = strdup(device_name_format(&name, text));
    return *ret_name ? 0 : -ENOMEM;
}

static int check_device(const PinDevice *d, char **ret_problem) {
    char name[DEVICE_NAME_MAX];

    (void) device_name_format(&d->name, name);
    if (pin_device_is_bridge(d))
        return fail(ret_problem, -EOPNOTSUPP,
                format_string(
                        "%s is a bridge, and cannot be pinned: the devices below it need its driver.", name));
    if (!d->has_override)
        return fail(ret_problem, -EOPNOTSUPP,
                format_string("%s cannot be pinned: it has no driver_override.", name));
    return 0;
}

/* Makes a pin of the device as it is now. */
static int make_pin(const PinDevice *found, const char *driver, Pin *ret, char **ret_problem) {
    _cleanup_close_ int dir = pin_device_open(found);
    PinDevice d = *found;
    int r = dir < 0 ? dir : pin_device_read(dir, &d, /* with_serial= */ true);

    if (r < 0)
        return fail(ret_problem, r,
                format_string("Cannot read the device at %s: %s", found->path, strerrordesc_np(-r)));
    r = check_device(&d, ret_problem);
    if (r < 0)
        return r;
    *ret = (Pin){};
    put_text(ret->path, sizeof(ret->path), d.path);
    put_text(ret->id, sizeof(ret->id), d.id);
    put_text(ret->serial, sizeof(ret->serial), d.serial_known ? d.serial : "");
    put_text(ret->driver, sizeof(ret->driver), driver);
    return 0;
}

static int check_driver(const char *driver, char **ret_problem) {
    _cleanup_free_ char *shown = NULL;

    if (pin_driver_is_valid(driver))
        return 0;
    shown = sanitize(driver, WORD_SHOWN_MAX);
    return fail(ret_problem, -EINVAL,
            shown ? format_string("\"%s\" is not the name of a driver, like vfio-pci.", shown) : NULL);
}

static int fail_absent(const DeviceName *name, char **ret_problem) {
    char text[DEVICE_NAME_MAX];

    return fail(ret_problem, -ENODEV,
            format_string("There is no device %s. 'vfioctl list' shows the devices of this host.",
                    device_name_format(name, text)));
}

static int save(const char *directory, const Pin *pin, char **ret_problem) {
    char name[PIN_FILE_NAME_MAX];
    int r;

    r = pin_files_save(directory, pin);
    if (r >= 0)
        return 0;
    return fail(ret_problem, r,
            format_string("Cannot write %s/%s: %s%s", directory, pin_file_name(pin->path, name),
                    strerrordesc_np(-r), r == -EACCES || r == -EPERM ? ". Only root can pin a device." : ""));
}

/* The pin of this device, after the files were written. */
static int show_one(const char *directory, const DeviceName *name,
        int (*change)(const PinFile *, PinDevices *), struct json_object **ret, char **ret_problem) {
    _cleanup_(pin_devices_done) PinDevices devices = {};
    _cleanup_(pin_files_done) PinFiles files = {};
    PinDevice *device;
    const PinFile *file;
    int r;

    r = look(directory, &files, &devices, ret_problem);
    if (r < 0)
        return r;
    device = pin_devices_find_name(&devices, name);
    file = device ? pin_files_find(&files, device->path) : NULL;
    if (!file)
        return fail_absent(name, ret_problem);
    r = change(file, &devices);
    if (r < 0)
        return fail(ret_problem, r,
                format_string("The driver %s did not take the device: %s", file->pin.driver,
                        r == -ENODEV ? "it is not loaded" : strerrordesc_np(-r)));
    *ret = pin_to_json(file, &devices);
    return *ret ? 0 : -ENOMEM;
}

static int set_override(const PinFile *file, PinDevices *devices) {
    const PinFiles one = {.items = (PinFile *) file, .n = 1};

    pins_set_overrides(&one, devices);
    return 0;
}

static int bind_device(const PinFile *file, PinDevices *devices) {
    return pin_bind(&file->pin, pin_devices_find_path(devices, file->pin.path));
}

/* A file of another name for the same place would make its name decide which of the two counts. */
static int check_other(const char *directory, const Pin *pin, char **ret_problem) {
    _cleanup_(pin_files_done) PinFiles files = {};
    char name[PIN_FILE_NAME_MAX];
    const PinFile *other;
    int r;

    r = pin_files_load(directory, &files);
    if (r < 0)
        return r;
    other = pin_files_find(&files, pin->path);
    if (!other || streq(other->name, pin_file_name(pin->path, name)))
        return 0;
    return fail(ret_problem, -EEXIST,
            format_string("The place %s is pinned by %s/%s. Edit or remove that file.", pin->path, directory,
                    other->name));
}

static int propose(const char *directory, const char *device, const char *driver, DeviceName *ret_name,
        Pin *ret, char **ret_problem) {
    _cleanup_(pin_devices_done) PinDevices devices = {};
    PinDevice *found;
    int r;

    driver = driver ?: DEFAULT_DRIVER;
    r = parse_pci(device, ret_name, ret_problem);
    if (r >= 0)
        r = check_driver(driver, ret_problem);
    if (r < 0)
        return r;
    r = pin_devices_scan(&devices);
    if (r < 0 && r != -ENOENT)
        return fail(ret_problem, r, format_string("Cannot list the PCI devices: %s", strerrordesc_np(-r)));
    found = pin_devices_find_name(&devices, ret_name);
    if (!found)
        return fail_absent(ret_name, ret_problem);
    r = make_pin(found, driver, ret, ret_problem);
    return r < 0 ? r : check_other(directory, ret, ret_problem);
}

int pins_propose(const char *directory, const char *device, const char *driver, struct json_object **ret,
        char **ret_problem) {
    _cleanup_json_ struct json_object *o = NULL;
    char file[PIN_FILE_NAME_MAX], text[DEVICE_NAME_MAX];
    DeviceName name;
    Pin pin;
    int r;

    r = propose(directory_or_default(directory), device, driver, &name, &pin, ret_problem);
    if (r < 0)
        return r;
    o = json_object_new_object();
    if (!o || json_add_string(o, "file", pin_file_name(pin.path, file)) < 0 ||
            json_add_string(o, "device", device_name_format(&name, text)) < 0 || add_pin(o, &pin) < 0)
        return -ENOMEM;
    *ret = TAKE_PTR(o);
    return 0;
}

/* Removes the override of the pin that this one replaces: if the device has no driver, it would be in the
 * way. */
static int clear_former(const char *directory, const Pin *pin, char **ret_problem) {
    _cleanup_(pin_devices_done) PinDevices devices = {};
    _cleanup_(pin_files_done) PinFiles files = {};
    const PinFile *former;
    PinDevice *found;
    int r;

    r = look(directory, &files, &devices, ret_problem);
    if (r < 0)
        return r;
    former = pin_files_find(&files, pin->path);
    found = pin_devices_find_path(&devices, pin->path);
    if (former && found && !streq(former->pin.driver, pin->driver) &&
            pin_device_look(found, /* with_serial= */ false) >= 0 && !*found->driver)
        (void) pin_clear_override(former->pin.driver, found);
    return 0;
}

int pins_add(const char *directory, const char *device, const char *driver, struct json_object **ret,
        char **ret_problem) {
    DeviceName name;
    Pin pin;
    int r;

    directory = directory_or_default(directory);
    r = propose(directory, device, driver, &name, &pin, ret_problem);
    if (r >= 0)
        r = clear_former(directory, &pin, ret_problem);
    if (r >= 0)
        r = save(directory, &pin, ret_problem);
    return r < 0 ? r : show_one(directory, &name, set_override, ret, ret_problem);
}

int pins_clear_override(const char *device, const char *driver, char **ret_problem) {
    _cleanup_(pin_devices_done) PinDevices devices = {};
    PinDevice *found;
    DeviceName name;
    int r;

    r = parse_pci(device, &name, ret_problem);
    if (r >= 0)
        r = pin_devices_scan(&devices);
    if (r < 0)
        return r;
    found = pin_devices_find_name(&devices, &name);
    return found && pin_clear_override(driver, found);
}

int pins_bind(const char *directory, const char *device, struct json_object **ret, char **ret_problem) {
    DeviceName name;
    int r;

    r = parse_pci(device, &name, ret_problem);
    return r < 0 ? r : show_one(directory_or_default(directory), &name, bind_device, ret, ret_problem);
}

/* ---- Removing ---- */

static const PinFile *find_meant(const PinFiles *files, const PinDevices *devices, const char *word) {
    const PinFile *file = pin_files_find(files, word);
    const PinDevice *device;
    DeviceName name;

    for (size_t i = 0; !file && i < files->n; i++)
        if (streq(files->items[i].name, word))
            file = files->items + i;
    if (file || device_name_parse(word, &name) < 0)
        return file;
    device = pin_devices_find_name(devices, &name);
    return device ? pin_files_find(files, device->path) : NULL;
}

/* Does the word name a file? A file with errors can be named only in this way. */
static bool is_file(const char *directory, const char *word) {
    _cleanup_free_ char *path = format_string("%s/%s", directory, word);
    size_t n = strlen(word);

    return path && !strchr(word, '/') && word[0] != '.' && n > strlen(".json") &&
            streq(word + n - strlen(".json"), ".json") && access(path, F_OK) == 0;
}

static int remove_file(const char *directory, const char *name, char **ret_problem) {
    int r = pin_files_remove(directory, name);

    if (r >= 0)
        return 0;
    return fail(ret_problem, r,
            format_string("Cannot remove %s/%s: %s%s", directory, name, strerrordesc_np(-r),
                    r == -EACCES || r == -EPERM ? ". Only root can unpin a device." : ""));
}

int pins_remove(const char *directory, const char *word, struct json_object **ret, char **ret_problem) {
    _cleanup_json_ struct json_object *o = NULL;
    _cleanup_(pin_devices_done) PinDevices devices = {};
    _cleanup_(pin_files_done) PinFiles files = {};
    const PinFile *file;
    int r;

    directory = directory_or_default(directory);
    r = look(directory, &files, &devices, ret_problem);
    if (r < 0)
        return r;
    file = find_meant(&files, &devices, word);
    if (!file && !is_file(directory, word)) {
        _cleanup_free_ char *shown = sanitize(word, WORD_SHOWN_MAX);

        return fail(ret_problem, -ENOENT,
                shown ? format_string("%s is not pinned. 'vfioctl pins' shows the pins.", shown) : NULL);
    }
    if (file)
        o = pin_to_json(file, &devices);
    else if ((o = json_object_new_object()) && json_add_string(o, "file", word) < 0)
        return -ENOMEM;
    if (!o)
        return -ENOMEM;
    r = remove_file(directory, file ? file->name : word, ret_problem);
    if (r >= 0)
        *ret = TAKE_PTR(o);
    return r;
}
