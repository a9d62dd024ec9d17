/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/cdi-files.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "core/cdi.h"

#define NAME_MAX_ (sizeof(CDI_FILE_PREFIX) + CLAIM_ID_MAX + sizeof(CDI_FILE_SUFFIX))

int cdi_open_directory(const char *path) {
    int fd = path ? open(path, O_DIRECTORY | O_CLOEXEC | O_RDONLY) : -EBADF;

    if (fd < 0 && path && errno != ENOENT)
        log_warning_errno(-errno, "Cannot open %s: container engines will not find claims there", path);
    return fd < 0 ? -EBADF : fd;
}

/* Engines read every file with the suffix, so the file gets it last. The umask lets only root read. */
static int write_file(int directory, const char *id, const char *text) {
    char unfinished[NAME_MAX_], name[NAME_MAX_];
    int r;

    (void) snprintf(unfinished, sizeof(unfinished), CDI_FILE_PREFIX "%s", id);
    (void) snprintf(name, sizeof(name), CDI_FILE_PREFIX "%s" CDI_FILE_SUFFIX, id);
    r = write_file_atomic_at(directory, unfinished, text, strlen(text), 0644);
    if (r >= 0 &&
            (fchmodat(directory, unfinished, 0644, 0) < 0 ||
                    renameat(directory, unfinished, directory, name) < 0))
        r = -errno;
    return r;
}

void cdi_write(ClaimRun *j) {
    int directory = j->broker->cdi_directory;
    _cleanup_free_ char *text = NULL;
    int r;

    if (directory < 0)
        return;
    text = cdi_describe(&j->claim);
    r = text ? write_file(directory, j->claim.id, text) : -ENOMEM;
    j->described = true;
    if (r < 0)
        log_warning_errno(r, "Claim %s: cannot describe its nodes to container engines", j->claim.id);
}

void cdi_remove(ClaimRun *j) {
    char name[NAME_MAX_];

    if (!j->described)
        return;
    j->described = false;
    (void) snprintf(name, sizeof(name), CDI_FILE_PREFIX "%s" CDI_FILE_SUFFIX, j->claim.id);
    if (unlinkat(j->broker->cdi_directory, name, 0) < 0 && errno != ENOENT)
        log_warning_errno(-errno, "Claim %s: container engines still find it", j->claim.id);
}

static bool is_current(Broker *e, const char *name, const char *id) {
    const ClaimRun *j = claims_find(e, id);

    return j && j->described && strstr(name, CDI_FILE_SUFFIX);
}

void cdi_sweep(Broker *e) {
    _cleanup_closedir_ DIR *d = NULL;
    char id[CLAIM_ID_MAX];
    struct dirent *entry;

    if (e->cdi_directory < 0 || open_directory_at(e->cdi_directory, ".", &d) < 0)
        return;
    while ((entry = readdir(d)))
        if (cdi_claim_of_file(entry->d_name, id) && !is_current(e, entry->d_name, id))
            (void) unlinkat(e->cdi_directory, entry->d_name, 0);
}
