/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Makes a claim hang on something that outlasts vfioctl: another process, vfioctl's unit, or nothing. A fresh
 * lifeline would be of no use here; programs ask for it themselves. */

#include <linux/magic.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "client/bus-call.h"
#include "client/claim-watch.h"
#include "client/libvfiod-internal.h"
#include "client/show.h"

#ifndef PID_FS_MAGIC
#define PID_FS_MAGIC 0x50494446 /* since Linux 6.9 */
#endif

static bool outlasts_us(const char *tether) {
    return streq(tether, "unit") || streq(tether, "explicit");
}

static int check_options(const Options *o, VfiodErrorText *error) {
    if (o->pid != 0 && o->tether && !streq(o->tether, "process"))
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE, "--pid is for --tether=process.");
    if (o->pid == 0 && (!o->tether || !outlasts_us(o->tether)))
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE,
                "transfer requires --pid=PID, --tether=unit or --tether=explicit: the claim cannot "
                "hang on vfioctl, which exits at once.");
    return 0;
}

/* The number alone may be that of another process by the time the daemon looks. */
static int open_process(uint64_t pid, int *ret_fd, uint64_t *ret_id, VfiodErrorText *error) {
    _cleanup_close_ int fd = (int) syscall(SYS_pidfd_open, (pid_t) pid, 0);
    struct statfs fs;
    struct stat st;

    if (fd < 0)
        return error_text_set(error, errno, ERROR_NAME_FAILED, "Process %llu: %s", (unsigned long long) pid,
                strerrordesc_np(errno));
    *ret_id = fstatfs(fd, &fs) >= 0 && fs.f_type == PID_FS_MAGIC && fstat(fd, &st) >= 0 ? st.st_ino : 0;
    *ret_fd = TAKE_FD(fd);
    return 0;
}

static int append_options(sd_bus_message *m, const Options *o, uint64_t id) {
    int r;

    r = sd_bus_message_open_container(m, 'a', "{sv}");
    if (r >= 0)
        r = sd_bus_message_append(m, "{sv}", "tether", "s", o->tether ? o->tether : "process");
    if (r >= 0 && o->pid != 0)
        r = sd_bus_message_append(m, "{sv}", "pid", "t", o->pid);
    if (r >= 0 && id != 0)
        r = sd_bus_message_append(m, "{sv}", "pidfdId", "t", id);
    return r < 0 ? r : sd_bus_message_close_container(m);
}

static int call_transfer(
        sd_bus *bus, const char *claim, const Options *o, uint64_t id, VfiodErrorText *error) {
    _cleanup_bus_error_ sd_bus_error bus_error = SD_BUS_ERROR_NULL;
    _cleanup_message_ sd_bus_message *m = NULL;
    int r;

    r = sd_bus_message_new_method_call(
            bus, &m, VFIOD_BUS_NAME, VFIOD_OBJECT_PATH, VFIOD_MANAGER_INTERFACE, "Transfer");
    if (r >= 0)
        r = sd_bus_message_append(m, "s", claim);
    if (r >= 0)
        r = append_options(m, o, id);
    if (r >= 0)
        r = sd_bus_call(bus, m, 0, &bus_error, NULL);
    return r < 0 ? error_text_from_bus(error, &bus_error, r) : 0;
}

static int show(const char *id, const Options *o) {
    const char *tether = o->tether ? o->tether : "process";
    _cleanup_json_ struct json_object *line = NULL;

    if (!o->json) {
        printf("%s: tether %s\n", id, tether);
        return fflush(stdout) == 0 ? 0 : -errno;
    }
    line = json_object_new_object();
    if (!line || json_add(line, "claim", json_object_new_string(id)) < 0 ||
            json_add(line, "tether", json_object_new_string(tether)) < 0)
        return -ENOMEM;
    return show_json(stdout, line, /* pretty= */ false);
}

int verb_transfer(const Options *o, VfiodErrorText *error) {
    _cleanup_object_ Object object = OBJECT_NULL;
    _cleanup_bus_ sd_bus *bus = NULL;
    _cleanup_close_ int process = -EBADF;
    struct pollfd ended = {.events = POLLIN};
    uint64_t process_id = 0;
    const char *id;
    int r;

    r = check_options(o, error);
    if (r >= 0 && o->pid != 0)
        r = open_process(o->pid, &process, &process_id, error);
    if (r >= 0)
        r = call_open_bus(&bus, error);
    if (r >= 0)
        r = call_find_object(bus, o->arguments[0], &object, error);
    if (r < 0)
        return r;
    id = json_text(object.properties, object.kind == OBJECT_CLAIM ? "id" : "claim");
    if (!*id)
        return error_text_set(
                error, ENOENT, "NoSuchClaim", "%s: the device is not claimed.", o->arguments[0]);
    r = call_transfer(bus, id, o, process_id, error);
    if (r < 0)
        return r;
    ended.fd = process;
    if (process >= 0 && poll(&ended, 1, 0) != 0)
        return error_text_set(error, ESRCH, ERROR_NAME_FAILED,
                "Process %llu has ended, and with it claim %s.", (unsigned long long) o->pid, id);
    r = show(id, o);
    return r < 0 ? error_text_errno(error, r, "Cannot write") : 0;
}
