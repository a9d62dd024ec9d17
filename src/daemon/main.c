/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vfiod, the owner of this host's VFIO privilege. Its helper processes are the same program: see
 * kernel/worker.h, kernel/spawner.h and account-lookup.h. */

#include <malloc.h>

#include "base/fd.h"
#include "base/log.h"
#include "daemon/account-lookup.h"
#include "daemon/bus/bus.h"
#include "daemon/manager.h"
#include "daemon/options.h"
#include "daemon/privileges.h"
#include "daemon/kernel/spawner.h"
#include "daemon/kernel/worker.h"

#define LONG_BLOCK (128 * 1024)

static int run_worker(void) {
    if (privileges_drop_in_worker() < 0)
        return EXIT_FAILURE;
    return worker_main();
}

static int run_spawner(void) {
    if (privileges_drop_in_spawner() < 0)
        return EXIT_FAILURE;
    return spawner_main();
}

static int run_lookup(void) {
    if (privileges_drop_all() < 0)
        return EXIT_FAILURE;
    return account_lookup_main();
}

static int run_daemon(ManagerConfig *config) {
    _cleanup_close_ int spawner_process = -EBADF, spawner = spawner_start(&spawner_process);
    _cleanup_(manager_freep) Manager *m = NULL;
    int r;

    /* Buffers as long as a message are returned to the kernel. By default malloc(3) raises this limit when
     * the first of them is freed, and then keeps the memory. */
    (void) mallopt(M_MMAP_THRESHOLD, LONG_BLOCK);
    if (spawner < 0)
        return log_error_errno(spawner, "Cannot start another process");
    config->spawner = spawner;
    config->spawner_process = spawner_process;
    r = privileges_drop();
    if (r < 0)
        return log_error_errno(r, "Cannot drop privileges");
    r = manager_new(config, &m);
    if (r < 0)
        return r;
    return manager_run(m);
}

int main(int argc, char **argv) {
    _cleanup_(options_done) Options options = {};
    int r;

    if (argc == 2 && streq(argv[1], "--worker"))
        return run_worker();
    if (argc == 2 && streq(argv[1], "--spawner"))
        return run_spawner();
    if (argc == 2 && streq(argv[1], "--look-up"))
        return run_lookup();

    r = options_parse(argc, argv, &options);
    if (r <= 0)
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
    if (options.introspect) {
        r = bus_face_introspect(options.introspect);
        if (r < 0)
            (void) log_error_errno(r, "Cannot introspect %s", options.introspect);
    } else
        r = run_daemon(&options.manager);
    return r < 0 ? EXIT_FAILURE : r;
}
