/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cmocka.h>
#include <systemd/sd-login.h>

#include "base/fd.h"
#include "base/str.h"
#include "core/cgroup.h"

/* The expected unit and slice of a path, and of the path of PID 1. */
static const struct {
    const char *path, *init, *unit;
} units[] = {
        {"/system.slice/libvirtd.service", "/init.scope", "libvirtd.service"},
        {"/user.slice/user-1000.slice/session-3.scope", "/init.scope", "session-3.scope"},
        {"/user.slice/user-1000.slice/user@1000.service/app.slice/vm.service", "/init.scope",
                "user@1000.service"},
        {"/init.scope", "/init.scope", "init.scope"},
        {"/", "/init.scope", NULL},
        {"/user.slice", "/init.scope", NULL},
        {"/system.slice/system-getty.slice/getty@tty1.service", "/init.scope", "getty@tty1.service"},
        {"/system.slice/a@.service", "/init.scope", NULL},
        {"/system.slice/@a.service", "/init.scope", NULL},
        {"/system.slice/.service", "/init.scope", NULL},
        {"/system.slice/service", "/init.scope", NULL},
        {"/system.slice/x.device", "/init.scope", "x.device"},
        {"/system.slice/x.unit", "/init.scope", NULL},
        {"/system.slice/a b.service", "/init.scope", NULL},
        {"/system.slice/a\\x2db.mount", "/init.scope", "a\\x2db.mount"},
        {"/a@b.slice/c.service", "/init.scope", NULL},
        {"/a b.slice/c.service", "/init.scope", NULL},
        {"//system.slice//c.service", "/init.scope", "c.service"},
        /* names that the kernel would take for a file of its own */
        {"/system.slice/_cpu.service", "/init.scope", "cpu.service"},
        {"/_memory.slice/x.service", "/init.scope", "x.service"},
        {"/system.slice/__x.service", "/init.scope", "_x.service"},
        {"/_.slice/x.service", "/init.scope", NULL},
        /* what another manager has created, and what is below it */
        {"/docker/0123abcd/system.slice/measure.service", "/init.scope", NULL},
        {"/lxc.payload.gpu1/init.scope", "/init.scope", NULL},
        {"/machine.slice/libpod-01.scope/container/init.scope", "/init.scope", "libpod-01.scope"},
        {"/machine.slice/machine-x.scope/payload/system.slice/y.service", "/init.scope", "machine-x.scope"},
        {"/kubepods.slice/kubepods-pod1.slice/cri-containerd-1.scope", "/init.scope",
                "cri-containerd-1.scope"},
        {"/system.slice/docker-1.scope (deleted)", "/init.scope", "docker-1.scope"},
        /* systemd itself runs in a container that shares the host's tree */
        {"/docker/1/system.slice/a.service", "/docker/1/init.scope", "a.service"},
        {"/docker/12/system.slice/a.service", "/docker/1/init.scope", NULL},
        {"/docker/1", "/docker/1/init.scope", NULL},
        {"/system.slice/a.service", "/", "a.service"},
};

static char *text_of(const char *path) {
    return format_string("12:cpu,cpuacct:/\n1:name=systemd:%s\n0::%s\n", path, path);
}

static void expect_unit(const char *path, const char *init, const char *expected) {
    _cleanup_free_ char *text = text_of(path), *init_text = text_of(init), *found = NULL, *root = NULL;
    char unit[UNIT_NAME_SIZE] = "untouched";
    int r;

    assert_int_equal(cgroup_of_process(text, true, &found), 0);
    assert_int_equal(cgroup_of_process(init_text, true, &root), 0);
    cgroup_cut_to_root(root);
    r = cgroup_find_unit(found, root, unit);
    if (r != (expected ? 0 : -ENXIO) || !streq(unit, expected ?: "untouched"))
        fail_msg("%s: %d %s, expected %s", path, r, unit, expected ?: "none");
}

static void test_units(void **state) {
    for (size_t i = 0; i < ELEMENTSOF(units); i++)
        expect_unit(units[i].path, units[i].init, units[i].unit);
}

static void test_length(void **state) {
    char path[300] = "/";

    memset(path + 1, 'a', 255 - strlen(".service"));
    strcpy(path + 256 - strlen(".service"), ".service");
    expect_unit(path, "/init.scope", path + 1);
    memset(path + 1, 'a', 256);
    strcpy(path + 257 - strlen(".service"), ".service");
    expect_unit(path, "/init.scope", NULL);
}

static void put(const char *file, const char *text) {
    int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t) strlen(text));
    close(fd);
}

/* Two files replace those in /proc, so that libsystemd reads them in a mount namespace of ours. */
typedef struct Fakes {
    char directory[32], self[64], init[64];
} Fakes;

static bool cover(const char *file, pid_t pid) {
    char path[64];

    put(file, "");
    snprintf(path, sizeof(path), "/proc/%d/cgroup", (int) pid);
    return mount(file, path, NULL, MS_BIND, NULL) == 0;
}

static bool begin(Fakes *f) {
    _cleanup_free_ char *cgroup = NULL;

    if (sd_pid_get_cgroup(getpid(), &cgroup) < 0)
        return false; /* no control groups are mounted here */
    strcpy(f->directory, "/tmp/vfiod-test-XXXXXX");
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            !mkdtemp(f->directory))
        return false;
    snprintf(f->self, sizeof(f->self), "%s/self", f->directory);
    snprintf(f->init, sizeof(f->init), "%s/init", f->directory);
    return cover(f->self, getpid()) && cover(f->init, 1);
}

static void end(Fakes *f) {
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/cgroup", (int) getpid());
    (void) umount2(path, MNT_DETACH);
    (void) umount2("/proc/1/cgroup", MNT_DETACH);
    (void) unlink(f->self);
    (void) unlink(f->init);
    (void) rmdir(f->directory);
}

/* The table is right if libsystemd agrees. */
static void test_as_systemd_does(void **state) {
    Fakes f = {};
    bool can = begin(&f);

    for (size_t i = 0; can && i < ELEMENTSOF(units); i++) {
        _cleanup_free_ char *text = text_of(units[i].path), *init = text_of(units[i].init), *unit = NULL,
                            *cgroup = NULL, *ours = NULL;
        int r;

        put(f.self, text);
        put(f.init, init);
        r = sd_pid_get_unit(getpid(), &unit);
        if (r != (units[i].unit ? 0 : -ENODATA) || !streq_ptr(unit, units[i].unit))
            fail_msg("%s: systemd says %d %s", units[i].path, r, unit ?: "-");
        assert_int_equal(sd_pid_get_cgroup(getpid(), &cgroup), 0);
        assert_int_equal(cgroup_of_process(text, true, &ours), 0);
        assert_string_equal(cgroup, ours);
    }
    end(&f);
    if (!can)
        skip();
}

static void test_slices(void **state) {
    static const struct {
        const char *component, *name;
    } table[] = {{"user-1000.slice", "user-1000.slice"}, {"_cpu.slice", "cpu.slice"}, {"-.slice", "-.slice"},
            {".slice", NULL}, {"a b.slice", NULL}, {"a@b.slice", NULL}, {"a.service", NULL}, {"a", NULL},
            {"", NULL}, {"_", NULL}};

    for (size_t i = 0; i < ELEMENTSOF(table); i++) {
        char name[UNIT_NAME_SIZE] = "";
        bool is = cgroup_is_slice(table[i].component, strlen(table[i].component), name);

        if (is != !!table[i].name || (is && !streq(name, table[i].name)))
            fail_msg("%s: %d %s", table[i].component, is, name);
    }
    assert_true(cgroup_is_slice("a.slice/b.scope", strlen("a.slice"), (char[UNIT_NAME_SIZE]){}));
}

static void test_hierarchies(void **state) {
    static const struct {
        const char *text;
        bool unified;
        int result;
        const char *path;
    } table[] = {
            {"0::/a\n", true, 0, "/a"},
            {"1:name=systemd:/a\n0::/b\n", true, 0, "/b"},
            {"1:name=systemd:/a\n0::/b\n", false, 0, "/a"},
            {"3:cpu,name=systemd,x:/a:0::/b\n", false, 0, "/a:0::/b"},
            {"2:xname=systemd:/a\n1:name=systemdx:/b\n", false, -ENODATA, NULL},
            {"1:name=systemd:/a\n", true, -ENODATA, NULL},
            {"0::/a\n", false, -ENODATA, NULL},
            {"", true, -ENODATA, NULL},
            {"0::/cut", true, -ENODATA, NULL},
            {"\n:\n::\nx\n0::/a\n", false, -ENODATA, NULL},
            {"0::\n", true, -EBADMSG, NULL},
            {"0::a\n", true, -EBADMSG, NULL},
            {"0::/\xff\n", true, -EBADMSG, NULL},
            /* a name with a carriage return, which does not end a line */
            {"1:name=systemd:/u\r0::/system.slice/vm.service\n0::/u\n", true, 0, "/u"},
            {"1:name=systemd:/u\r0::/system.slice/vm.service\n0::/u\n", false, -EBADMSG, NULL},
            {"2:cpu:/u\r1:name=systemd:/system.slice/vm.service\n1:name=systemd:/u\n", false, 0, "/u"},
            {"0::/u\r/x\n", true, -EBADMSG, NULL},
            {"0::/u\x7f\n", true, -EBADMSG, NULL},
            {"0::/a/b (deleted)\n", true, 0, "/a/b"},
    };

    for (size_t i = 0; i < ELEMENTSOF(table); i++) {
        _cleanup_free_ char *path = NULL;
        int r = cgroup_of_process(table[i].text, table[i].unified, &path);

        if (r != table[i].result || !streq_ptr(path, table[i].path))
            fail_msg("%s: %d %s", table[i].text, r, path ?: "-");
    }
}

int main(void) {
    static const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_units),
            cmocka_unit_test(test_length),
            cmocka_unit_test(test_slices),
            cmocka_unit_test(test_hierarchies),
            cmocka_unit_test(test_as_systemd_does),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
