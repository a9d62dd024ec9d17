/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/str.h"
#include "daemon/kernel/node-watch.h"

/* Files replace device nodes: for inotify there is no difference. */
typedef struct Fixture {
    char directory[32], path[48];
    sd_event *event;
    NodeWatch *watch;
    unsigned n_changes;
} Fixture;

static void make_file(const char *path) {
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    (void) close(fd);
}

static int set_up(void **state) {
    Fixture *f = calloc(1, sizeof(*f));

    strcpy(f->directory, "/tmp/vfiod-node.XXXXXX");
    assert_non_null(mkdtemp(f->directory));
    (void) snprintf(f->path, sizeof(f->path), "%s/node", f->directory);
    make_file(f->path);
    assert_int_equal(sd_event_new(&f->event), 0);
    assert_int_equal(node_watch_new(f->event, &f->watch), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    _cleanup_free_ char *command = NULL;
    Fixture *f = *state;

    f->watch = node_watch_free(f->watch);
    sd_event_unref(f->event);
    command = format_string("rm -r %s", f->directory);
    assert_int_equal(system(command), 0);
    free(f);
    return 0;
}

/* Returns the number of inodes that the kernel watches for this process. */
static unsigned n_watches(void) {
    _cleanup_(closedirp) DIR *d = opendir("/proc/self/fdinfo");
    unsigned n = 0;

    assert_non_null(d);
    for (const struct dirent *e; (e = readdir(d));) {
        _cleanup_free_ char *text = NULL;

        if (e->d_name[0] == '.' || read_file_at(dirfd(d), e->d_name, 1024 * 1024, &text, NULL) < 0)
            continue;
        for (const char *p = text; (p = strstr(p, "inotify wd:")); p++)
            n++;
    }
    return n;
}

static void on_changed(void *userdata) {
    Fixture *f = userdata;

    f->n_changes++;
}

static void run(Fixture *f) {
    while (sd_event_run(f->event, 0) > 0)
        ;
}

static NodeEntry *add(Fixture *f, const char *path) {
    NodeEntry *e;

    assert_int_equal(node_watch_add(f->watch, path, on_changed, f, &e), 0);
    return e;
}

static int open_node(const char *path) {
    int fd = open(path, O_RDWR | O_CLOEXEC);

    assert_true(fd >= 0);
    return fd;
}

/* Opens the node for a client's claim and notes that. */
static NodeEntry *open_for_client(Fixture *f, int *ret_fd) {
    NodeEntry *e = add(f, f->path);

    *ret_fd = open_node(f->path);
    node_watch_settle(f->watch, e);
    return e;
}

static void replace_node(Fixture *f) {
    assert_int_equal(unlink(f->path), 0);
    make_file(f->path);
}

static void test_claim_after_claim(void **state) {
    Fixture *f = *state;
    NodeEntry *e;
    int fd;

    for (unsigned i = 0; i < 3; i++) {
        e = open_for_client(f, &fd);
        run(f);
        assert_int_equal(node_entry_state(e), NODE_OPEN);
        (void) close(fd);
        assert_int_equal(sd_event_run(f->event, UINT64_MAX), 1);
        assert_int_equal(node_entry_state(e), NODE_CLOSED);
        assert_int_equal(f->n_changes, i + 1);
        (void) node_entry_free(e);
        /* The watch is kept for the next one. */
        assert_int_equal(n_watches(), 1);
    }
    node_watch_drop_idle(f->watch);
    assert_int_equal(n_watches(), 0);
}

/* A noted close stops reports of further closes. The next claim of the node gets them again. */
static void test_close_is_noted(void **state) {
    Fixture *f = *state;
    NodeEntry *e, *next;
    int fd, other;

    e = open_for_client(f, &fd);
    (void) close(fd);
    run(f);
    assert_int_equal(node_entry_state(e), NODE_CLOSED);
    (void) close(open_node(f->path));
    next = open_for_client(f, &fd);
    (void) node_entry_free(e);
    (void) close(fd);
    run(f);
    assert_int_equal(node_entry_state(next), NODE_CLOSED);
    (void) node_entry_free(next);
    assert_int_equal(n_watches(), 1);
    /* If the state is in doubt, the watch is not kept. */
    e = open_for_client(f, &fd);
    other = open_node(f->path);
    run(f);
    assert_int_equal(node_entry_state(e), NODE_DOUBT);
    (void) node_entry_free(e);
    assert_int_equal(n_watches(), 0);
    (void) close(other);
    (void) close(fd);
}

/* The node now belongs to another device. Nothing reports that while a program holds the old node by
 * O_PATH. */
static void test_another_node(void **state) {
    Fixture *f = *state;
    NodeEntry *e;
    int fd, holder;

    for (unsigned held = 0; held < 2; held++) {
        e = open_for_client(f, &fd);
        (void) close(fd);
        run(f);
        (void) node_entry_free(e);
        e = open_for_client(f, &fd);
        (void) close(fd);
        assert_int_equal(sd_event_run(f->event, UINT64_MAX), 1);
        (void) node_entry_free(e);
        assert_int_equal(n_watches(), 1);
        holder = held ? open(f->path, O_PATH | O_CLOEXEC) : -EBADF;
        replace_node(f);
        e = open_for_client(f, &fd);
        assert_int_not_equal(node_entry_state(e), NODE_CLOSED);
        (void) safe_close(holder);
        run(f);
        assert_int_not_equal(node_entry_state(e), NODE_CLOSED);
        (void) close(fd);
        assert_int_equal(unlink(f->path), 0);
        run(f);
        /* The watched inode is the new one. */
        assert_int_equal(node_entry_state(e), NODE_CLOSED);
        (void) node_entry_free(e);
        make_file(f->path);
    }
}

/* A program that uses a node without a claim wakes the daemon once. */
static void test_a_stranger(void **state) {
    Fixture *f = *state;
    NodeEntry *e;
    int fd;

    (void) node_entry_free(add(f, f->path));
    assert_int_equal(n_watches(), 1);
    (void) close(open_node(f->path));
    run(f);
    assert_int_equal(n_watches(), 0);
    assert_int_equal(f->n_changes, 0);
    e = open_for_client(f, &fd);
    run(f);
    assert_int_equal(node_entry_state(e), NODE_OPEN);
    (void) close(fd);
    (void) node_entry_free(e);
}

static void test_there_is_an_end(void **state) {
    Fixture *f = *state;

    for (unsigned i = 0; i < 100; i++) {
        _cleanup_free_ char *path = format_string("%s/%u", f->directory, i);

        make_file(path);
        (void) node_entry_free(add(f, path));
    }
    assert_int_equal(n_watches(), 64);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test_setup_teardown(test_claim_after_claim, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_close_is_noted, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_another_node, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_a_stranger, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_there_is_an_end, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
