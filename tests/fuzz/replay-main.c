/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Runs a harness over every file of one directory, in the order of their names, and prints TAP. */

#include <dirent.h>
#include <fcntl.h>

#include "base/fd.h"
#include "fuzz.h"

#define INPUT_SIZE_MAX ((size_t) 16 * 1024 * 1024)

static int is_input(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

static int replay(int dirfd, const char *name) {
    _cleanup_free_ char *text = NULL;
    _cleanup_free_ uint8_t *exact = NULL;
    size_t size;
    int r;

    r = read_file_at(dirfd, name, INPUT_SIZE_MAX, &text, &size);
    if (r < 0)
        return r;
    /* Without the NUL that read_file_at() adds, so that a sanitizer sees a read behind the end. */
    exact = malloc(MAX(size, (size_t) 1));
    if (!exact)
        return -ENOMEM;
    memcpy(exact, text, size);
    return LLVMFuzzerTestOneInput(exact, size);
}

int main(int argc, char **argv) {
    _cleanup_close_ int fd = -EBADF;
    struct dirent **entries;
    int n, n_failed = 0;

    if (argc != 2 || (fd = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0 ||
            (n = scandir(argv[1], &entries, is_input, alphasort)) <= 0) {
        fprintf(stderr, "Usage: %s DIRECTORY (with at least one file)\n", argv[0]);
        return EXIT_FAILURE;
    }
    printf("1..%d\n", n);
    for (int i = 0; i < n; i++) {
        int r;

        /* First the name, in case the harness does not come back. */
        printf("# %s\n", entries[i]->d_name);
        (void) fflush(stdout);
        r = replay(fd, entries[i]->d_name);
        printf("%s %d - %s\n", r == 0 ? "ok" : "not ok", i + 1, entries[i]->d_name);
        n_failed += r != 0;
        free(entries[i]);
    }
    free(entries);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
