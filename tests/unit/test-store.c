/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Tests of records in slots: a write that ends anywhere, a changed byte anywhere, a full disk, a killed
 * process. Every record is found again, or the store reports that one is missing. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "core/salvage.h"
#include "core/slot.h"
#include "daemon/broker/store.h"

#define TEXT_1 "{\"name\":\"pci:0000:06:00.0\",\"n\":1}"
#define TEXT_2 "{\"name\":\"pci:0000:06:00.0\",\"n\":2,\"longer\":\"than the first\"}"

/* ---- Slots ---- */

static void assert_view(const char *slot, SlotState state, const char *text) {
    SlotView v;

    slot_view(slot, &v);
    assert_int_equal(v.state, state);
    if (text) {
        assert_int_equal(v.length, strlen(text));
        assert_memory_equal(v.text, text, v.length);
    }
}

/* A slot with a record that has been written once, or twice. */
static void make_slot(char slot[static SLOT_SIZE], bool twice) {
    memset(slot, 0, SLOT_SIZE);
    (void) slot_fill(slot, 7, "", 0);
    (void) slot_fill(slot + SLOT_HALF_SIZE, 8, TEXT_1, strlen(TEXT_1));
    if (twice)
        (void) slot_fill(slot, 9, TEXT_2, strlen(TEXT_2));
}

static void test_blank(void **state) {
    char slot[SLOT_SIZE] = {};

    assert_view(slot, SLOT_FREE, NULL);
    make_slot(slot, false);
    assert_view(slot, SLOT_TAKEN, TEXT_1);
    make_slot(slot, true);
    assert_view(slot, SLOT_TAKEN, TEXT_2);
}

/* A record that an earlier version wrote. */
static void test_a_checksum_by_bytes(void **state) {
    char slot[SLOT_SIZE] = {};
    SlotHeader h = {.magic = "vfiodrec", .checksum = 0x519956880fd0a65a, .generation = 9, .length = 13};
    SlotView v;

    static_assert(sizeof(h) == 32, "as it is on disk");
    memcpy(slot, &h, sizeof(h));
    memcpy(slot + sizeof(h), "a record of 8", 13);
    slot_view(slot, &v);
    assert_int_equal(v.state, SLOT_TAKEN);
    assert_int_equal(v.length, 13);
    slot[sizeof(h) + 3] ^= 1;
    slot_view(slot, &v);
    assert_int_equal(v.state, SLOT_DAMAGED);
}

static void test_a_write_that_ends_anywhere(void **state) {
    char slot[SLOT_SIZE], half[SLOT_HALF_SIZE];
    size_t n = slot_fill(half, 9, TEXT_2, strlen(TEXT_2));

    for (size_t i = 0; i <= n; i++) {
        make_slot(slot, false);
        memcpy(slot, half, i);
        assert_view(slot, SLOT_TAKEN, i == n ? TEXT_2 : TEXT_1);
        /* The first record of a claim, in a freed slot and in a new one. */
        memset(slot, 0, SLOT_SIZE);
        memcpy(slot, half, i);
        assert_view(slot, i == 0 ? SLOT_FREE : i == n ? SLOT_TAKEN : SLOT_DAMAGED, NULL);
        (void) slot_fill(slot + SLOT_HALF_SIZE, 8, "", 0);
        assert_view(slot, i == 0 ? SLOT_FREE : i == n ? SLOT_TAKEN : SLOT_DAMAGED, NULL);
    }
}

static void test_a_byte_that_changes_anywhere(void **state) {
    const size_t size_1 = sizeof(SlotHeader) + strlen(TEXT_1), size_2 = sizeof(SlotHeader) + strlen(TEXT_2);
    char slot[SLOT_SIZE];

    for (size_t i = 0; i < size_2; i++)
        for (unsigned bit = 0; bit < 8; bit++) {
            make_slot(slot, true);
            slot[i] ^= (char) (1U << bit);
            assert_view(slot, SLOT_TAKEN, TEXT_1);
        }
    /* The only record of a claim: damage must not make it count as no record. */
    for (size_t i = 0; i < size_1; i++)
        for (unsigned bit = 0; bit < 8; bit++) {
            make_slot(slot, false);
            slot[SLOT_HALF_SIZE + i] ^= (char) (1U << bit);
            assert_view(slot, SLOT_DAMAGED, NULL);
        }
}

/* ---- The store ---- */

typedef struct Fixture {
    char directory[64];
    Store *store;
} Fixture;

static int set_up(void **state) {
    Fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    strcpy(f->directory, "/tmp/vfiod-test-store.XXXXXX");
    assert_non_null(mkdtemp(f->directory));
    assert_int_equal(store_new(NULL, f->directory, &f->store), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    Fixture *f = *state;
    _cleanup_free_ char *command = format_string("rm -rf %s", f->directory);

    store_free(f->store);
    assert_int_equal(system(command), 0);
    free(f);
    return 0;
}

static void restart(Fixture *f, StoredClaims *ret) {
    store_free(f->store);
    assert_int_equal(store_new(NULL, f->directory, &f->store), 0);
    *ret = (StoredClaims){};
    assert_int_equal(store_load(f->store, ret), 0);
}

static void make_claim(Claim *c, unsigned number, const char *reason) {
    PlanMember *m;

    *c = CLAIM_NULL;
    (void) snprintf(c->id, sizeof(c->id), "%016x", number);
    c->state = CLAIM_HELD;
    c->uid = 1000;
    c->subject.uid = 1000;
    c->reason = strdup(reason);
    c->plan.backend = BACKEND_IOMMUFD;
    c->plan.groups[0] = (int) number;
    c->plan.n_groups = 1;
    m = plan_add_member(&c->plan);
    assert_non_null(m);
    m->name = (DeviceName){.domain = number};
    m->group = (int) number;
    c->plan.n_claimed = 1;
}

static int save(Store *s, unsigned number, const char *reason) {
    _cleanup_(claim_done) Claim c = CLAIM_NULL;

    make_claim(&c, number, reason);
    return store_save(s, &c);
}

static const StoredClaim *find(const StoredClaims *claims, unsigned number) {
    for (size_t i = 0; i < claims->n; i++)
        if (strtoul(claims->entries[i].id, NULL, 16) == number)
            return &claims->entries[i];
    return NULL;
}

static void assert_reason(const StoredClaims *claims, unsigned number, const char *reason) {
    const StoredClaim *c = find(claims, number);

    assert_non_null(c);
    assert_false(c->damaged);
    assert_string_equal(c->claim.reason, reason);
}

static off_t size_of(const Fixture *f, const char *name) {
    _cleanup_free_ char *path = format_string("%s/claims/%s", f->directory, name);
    struct stat st;

    return stat(path, &st) < 0 ? -errno : st.st_size;
}

static void test_the_last_one_counts(void **state) {
    _cleanup_(stored_claims_done) StoredClaims claims = {};
    Fixture *f = *state;

    for (unsigned i = 0; i < 512; i++)
        assert_int_equal(save(f->store, i, "first"), 0);
    for (unsigned i = 0; i < 512; i += 2)
        assert_int_equal(save(f->store, i, "second"), 0);
    assert_int_equal(store_remove(f->store, "0000000000000007"), 0);
    restart(f, &claims);
    assert_int_equal(claims.n, 511);
    assert_reason(&claims, 0, "second");
    assert_reason(&claims, 1, "first");
    assert_null(find(&claims, 7));
    /* Freed slots are used again. */
    assert_int_equal(save(f->store, 600, "new"), 0);
    assert_int_equal(size_of(f, "slots"), 512 * SLOT_SIZE);
}

static void test_too_long_for_a_slot(void **state) {
    _cleanup_(stored_claims_done) StoredClaims claims = {}, again = {}, none = {};
    Fixture *f = *state;
    char reason[5000] = "";

    memset(reason, 'x', sizeof(reason) - 1);
    assert_int_equal(save(f->store, 1, "short"), 0);
    assert_int_equal(save(f->store, 1, reason), 0);
    assert_int_equal(save(f->store, 2, "short"), 0);
    restart(f, &claims);
    assert_int_equal(claims.n, 2);
    assert_reason(&claims, 1, reason);
    /* The record stays a file, so no slot beside it can take precedence. */
    assert_int_equal(save(f->store, 1, "short again"), 0);
    restart(f, &again);
    assert_int_equal(again.n, 2);
    assert_reason(&again, 1, "short again");
    assert_int_equal(store_remove(f->store, "0000000000000001"), 0);
    assert_int_equal(store_remove(f->store, "0000000000000002"), 0);
    assert_int_equal(size_of(f, "0000000000000001.json"), -ENOENT);
    restart(f, &none);
    assert_int_equal(none.n, 0);
}

static void test_a_damaged_slot(void **state) {
    _cleanup_(stored_claims_done) StoredClaims claims = {}, again = {};
    _cleanup_free_ char *path = NULL, *copy = NULL;
    Fixture *f = *state;
    const StoredClaim *c;
    int fd;

    assert_int_equal(save(f->store, 1, "first"), 0);
    assert_int_equal(save(f->store, 2, "second"), 0);
    path = format_string("%s/claims/slots", f->directory);
    fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "!", 1, SLOT_HALF_SIZE + 9), 1);
    close(fd);
    restart(f, &claims);
    assert_int_equal(claims.n, 2);
    assert_reason(&claims, 2, "second");
    c = find(&claims, 1);
    assert_non_null(c);
    assert_true(c->damaged);
    assert_false(c->names.complete);
    assert_int_equal(c->names.n, 1);
    assert_int_equal(c->names.names[0].domain, 1);
    /* It is not overwritten before it was examined. */
    assert_int_equal(save(f->store, 3, "third"), 0);
    assert_int_equal(size_of(f, "slots"), 3 * SLOT_SIZE);
    copy = store_keep_copy(f->store, c);
    assert_string_equal(copy, "0000000000000001.json.bad");
    assert_int_equal(size_of(f, copy), SLOT_SIZE);
    store_drop(f->store, c);
    restart(f, &again);
    assert_int_equal(again.n, 2);
    assert_null(find(&again, 1));
}

/* Names of every kind. The end of another word is not a name. */
static void test_salvaged_names(void **state) {
    static const char text[] =
            "{\"id\": \"0123456789abcdef\", \"reason\": \"snap:x map:y cap:z\", \"members\": [{\"name\": "
            "\"vdpa:v0\"},"
            " {\"name\": \"mdev:83b8f4f2-509f-382f-3c1e-e6bfe0fa1001\"}, {\"name\": \"pci:0000:06:0d.0\"},"
            " {\"name\": \"platform:QEMU0002:00\"}, {\"name\": \"vdpa:v0\"}]}";
    static const char *const expected[] = {"pci:0000:06:0d.0", "mdev:83b8f4f2-509f-382f-3c1e-e6bfe0fa1001",
            "platform:QEMU0002:00", "vdpa:v0"};
    _cleanup_(salvaged_names_done) SalvagedNames found = {}, cut = {};
    char name[DEVICE_NAME_MAX];

    assert_int_equal(salvage_names(text, strlen(text), &found), 0);
    assert_true(found.complete);
    assert_int_equal(found.n, ELEMENTSOF(expected));
    for (size_t i = 0; i < found.n; i++)
        assert_string_equal(device_name_format(&found.names[i], name), expected[i]);
    assert_int_equal(salvage_names(text, strlen(text) - 40, &cut), 0);
    assert_false(cut.complete);
}

static void test_a_file_that_was_removed(void **state) {
    Fixture *f = *state;
    _cleanup_free_ char *path = format_string("%s/claims/slots", f->directory);

    assert_int_equal(save(f->store, 1, "first"), 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(save(f->store, 1, "second"), -ENOENT);
    assert_int_equal(save(f->store, 2, "first"), -ENOENT);
}

/* In the daemon, the loop reports that before anything else. */
static void test_a_file_that_was_removed_is_reported(void **state) {
    Fixture *f = *state;
    _cleanup_free_ char *path = format_string("%s/claims/slots", f->directory);
    _cleanup_(sd_event_unrefp) sd_event *event = NULL;

    assert_int_equal(sd_event_new(&event), 0);
    store_free(f->store);
    assert_int_equal(store_new(event, f->directory, &f->store), 0);
    assert_int_equal(save(f->store, 1, "first"), 0);
    assert_int_equal(unlink(path), 0);
    assert_true(sd_event_run(event, 0) >= 0);
    assert_int_equal(save(f->store, 1, "second"), -ENOENT);
}

/* A disk on which nothing can be written, simulated by a limit on file sizes. */
static void set_writable(bool writable) {
    const struct rlimit limit = {writable ? RLIM_INFINITY : 0, RLIM_INFINITY};

    assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void test_a_removal_that_fails(void **state) {
    _cleanup_(stored_claims_done) StoredClaims claims = {};
    Fixture *f = *state;
    sd_event *event;

    assert_int_equal(sd_event_new(&event), 0);
    store_free(f->store);
    assert_int_equal(store_new(event, f->directory, &f->store), 0);
    assert_int_equal(save(f->store, 1, "first"), 0);
    assert_int_equal(save(f->store, 2, "first"), 0);
    set_writable(false);
    assert_int_equal(store_remove(f->store, "0000000000000001"), -EFBIG);
    assert_int_equal(save(f->store, 2, "second"), -EFBIG);
    set_writable(true);
    /* Its slot is not given to another record meanwhile. */
    assert_int_equal(save(f->store, 3, "first"), 0);
    assert_int_equal(size_of(f, "slots"), 3 * SLOT_SIZE);
    assert_int_equal(sd_event_run(event, 10 * 1000 * 1000), 1);
    restart(f, &claims);
    assert_int_equal(claims.n, 2);
    assert_null(find(&claims, 1));
    assert_reason(&claims, 2, "first");
    sd_event_unref(event);
}

/* Runs in a child, which has mounts of its own. Its exit status is 77 if it may not mount. */
static int fill_the_disk(const char *directory) {
    _cleanup_(stored_claims_done) StoredClaims claims = {};
    Store *s;
    unsigned n = 0;
    int r;

    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount("tmpfs", directory, "tmpfs", 0, "size=64k") < 0)
        return 77;
    if (store_new(NULL, directory, &s) < 0)
        return 1;
    while ((r = save(s, n, "first")) >= 0 && n < 100)
        n++;
    if (r != -ENOSPC || n == 0)
        return 2;
    /* Present records are written, freed and replaced as usual. */
    for (unsigned i = 0; i < n; i++)
        if (save(s, i, "second") < 0)
            return 3;
    if (store_remove(s, "0000000000000000") < 0)
        return 8;
    if (save(s, 200, "new") < 0 || save(s, 201, "too many") != -ENOSPC)
        return 4;
    store_free(s);
    if (store_new(NULL, directory, &s) < 0 || store_load(s, &claims) < 0 || claims.n != n)
        return 5;
    for (size_t i = 0; i < claims.n; i++)
        if (claims.entries[i].damaged)
            return 6;
    return find(&claims, 200) && !find(&claims, 0) ? 0 : 7;
}

static void test_a_full_disk(void **state) {
    Fixture *f = *state;
    pid_t pid = fork();
    int status;

    assert_true(pid >= 0);
    if (pid == 0)
        _exit(fill_the_disk(f->directory));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* Reports each record after writing it, and keeps one claim in four. */
static void write_until_killed(Store *s, int fd) {
    for (unsigned i = 0;; i++) {
        char id[CLAIM_ID_MAX];

        if (save(s, i, "first") < 0 || save(s, i, "second") < 0)
            _exit(1);
        if (i % 4 > 0) {
            (void) snprintf(id, sizeof(id), "%016x", i);
            (void) store_remove(s, id);
        }
        if (write(fd, &i, sizeof(i)) != sizeof(i))
            _exit(2);
    }
}

static void test_killed_at_any_moment(void **state) {
    Fixture *f = *state;

    for (unsigned round = 0; round < 20; round++) {
        _cleanup_(stored_claims_done) StoredClaims claims = {};
        unsigned last = 0, number;
        int ends[2], status;
        pid_t pid;

        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            write_until_killed(f->store, ends[1]);
        close(ends[1]);
        for (unsigned i = 0; i <= round * 7 && read(ends[0], &number, sizeof(number)) == sizeof(number); i++)
            last = number;
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        while (read(ends[0], &number, sizeof(number)) == sizeof(number))
            last = number;
        close(ends[0]);
        restart(f, &claims);
        for (size_t i = 0; i < claims.n; i++)
            assert_false(claims.entries[i].damaged);
        for (unsigned i = 0; i <= last; i++) {
            if (i % 4 == 0)
                assert_reason(&claims, i, "second");
            else
                assert_null(find(&claims, i));
        }
        for (size_t i = 0; i < claims.n; i++)
            (void) store_remove(f->store, claims.entries[i].id);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_blank),
            cmocka_unit_test(test_a_checksum_by_bytes),
            cmocka_unit_test(test_a_write_that_ends_anywhere),
            cmocka_unit_test(test_a_byte_that_changes_anywhere),
            cmocka_unit_test_setup_teardown(test_the_last_one_counts, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_too_long_for_a_slot, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_a_damaged_slot, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_salvaged_names, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_a_file_that_was_removed, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_a_file_that_was_removed_is_reported, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_a_removal_that_fails, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_a_full_disk, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_killed_at_any_moment, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
