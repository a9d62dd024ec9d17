/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A program that uses only vfiod.h and libvfiod.so. It claims the two devices on its command line (in the
 * test, the "file" of a device contains its name), prints what it got as JSON, and releases everything. */

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/vfiod.h"

static int print_failure(const VfiodErrorText *error) {
    printf("%s %i %s\n", error->name, error->error, error->message);
    return 1;
}

static void print_content(const char *key, int fd) {
    char buf[64] = "";
    ssize_t n = fd < 0 ? -1 : pread(fd, buf, sizeof(buf) - 1, 0);

    printf(", \"%s\": \"%s\"", key, n < 0 ? "" : buf);
}

static int all_close_on_exec(const VfiodClaim *claim) {
    int fd;

    for (size_t i = 0; (fd = vfiod_claim_nth_fd(claim, i, NULL)) >= 0; i++)
        if (fd <= STDERR_FILENO || (fcntl(fd, F_GETFD) & FD_CLOEXEC) == 0)
            return 0;
    return 1;
}

static void print_claim(const VfiodClaim *claim, const char *spelling) {
    printf("{\"id\": \"%s\", \"backend\": \"%s\", \"rule\": \"%s\"", vfiod_claim_id(claim),
            vfiod_claim_backend(claim), vfiod_claim_rule(claim));
    printf(", \"devices\": [\"%s\", \"%s\"]", vfiod_claim_device(claim, 0), vfiod_claim_device(claim, 1));
    printf(", \"cloexec\": %s", all_close_on_exec(claim) ? "true" : "false");
    print_content("iommufd", vfiod_claim_fd(claim, "iommufd"));
    print_content("first", vfiod_claim_device_fd(claim, NULL));
    print_content("spelled", vfiod_claim_device_fd(claim, spelling));
    print_content("full", vfiod_claim_device_fd(claim, vfiod_claim_device(claim, 0)));
    print_content("last", vfiod_claim_device_fd(claim, vfiod_claim_device(claim, 1)));
    printf(", \"tokens\": [\"%s\", \"%s\"]", vfiod_claim_vf_token(claim, NULL) ?: "none",
            vfiod_claim_vf_token(claim, vfiod_claim_device(claim, 1)) ?: "none");
    printf(", \"none\": %s",
            vfiod_claim_device_fd(claim, "pci:0:0:0.0") == -ENOENT &&
                            vfiod_claim_fd(claim, "container") == -ENOENT && !vfiod_claim_device(claim, 2)
                    ? "true"
                    : "false");
}

static int takes_unknown_members(const char *const *devices) {
    /* Of a later version, with something that this one does not know. */
    struct {
        VfiodRequestMore more;
        int later[2];
    } wrong[] = {
            {.more = {.size = sizeof(wrong[0])}, .later = {0, 1}},
            {.more = {.size = sizeof(wrong[0].more), .reserved = 1}},
            {.more = {.size = offsetof(VfiodRequestMore, require) - 1}},
            {.more = {.size = sizeof(wrong[0].more), .require = "\xff"}},
            {.more = {.size = SIZE_MAX}},
            {.more = {.size = 0}},
    };
    VfiodErrorText error;
    VfiodClaim *claim;

    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        VfiodRequest request = {.devices = devices, .n_devices = 1, .more = &wrong[i].more};

        if (vfiod_acquire_request(&request, &claim, &error) != -EINVAL)
            return 1;
    }
    return 0;
}

int main(int argc, char **argv) {
    VfiodErrorText error;
    VfiodClaim *claim;
    int lifeline, taken;

    if (argc != 3)
        return 2;
    if (takes_unknown_members((const char *const *) argv + 1))
        return 3;
    if (vfiod_acquire((const char *const *) argv + 1, 2, NULL, "an example", &claim, &error) < 0)
        return print_failure(&error);
    print_claim(claim, argv[1]);

    lifeline = vfiod_claim_take_fd(claim, "lifeline");
    taken = lifeline >= 0 && vfiod_claim_fd(claim, "lifeline") == -ENOENT;
    if (vfiod_release(vfiod_claim_id(claim), &error) < 0)
        return print_failure(&error);
    vfiod_claim_free(claim);
    /* Ours now: freeing the claim has not closed it. */
    printf(", \"taken\": %s}\n", taken && fcntl(lifeline, F_GETFD) >= 0 ? "true" : "false");
    close(lifeline);
    return 0;
}
