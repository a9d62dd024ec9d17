/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Shared by the files that implement rehearsal.h. */

#include "base/json-build.h"
#include "host/policy-files.h"
#include "rehearsal/decide.h"
#include "rehearsal/persona.h"

/* A policy file as it was found. */
typedef struct PolicyText {
    char *path, *hidden_by; /* owned */
    PolicyFileFate fate;
    char *text; /* owned; NULL when it was not read */
    size_t size;
} PolicyText;

struct Rehearsal {
    HostView host;
    char **names;           /* owned: the policy's files, as in the config; NULL: those of the host */
    PolicyStandIn stand_in; /* borrowed; without a name: none */
    PolicyText *texts;      /* owned, in the order in which they apply; includes files that do not apply */
    size_t n_texts;
    PolicyLoad load;
};

/* The directories of this host, and the credentials of the service if they can be read. */
PolicySource rehearsal_source(void);
/* Reads the policy again, with other accounts. Returns -ENOMEM only: errors are in *ret. */
int rehearsal_load_policy(const Rehearsal *r, resolve_name_t resolve, void *userdata, PolicyLoad *ret);

/* Loads a test file. Errors in it are added to errors as text; an unreadable file is a failure. */
int test_file_load(const char *path, TestFile *ret, struct json_object *errors, char **ret_problem);

/* Joins accounts and subjects of all files, without their cases. paths ends with NULL; NULL: none. */
int test_files_merge(const char *const *paths, TestFile *ret, char **ret_problem);

/* The parsed policy, borrowed. Fails when it has errors. */
int rehearsal_get_policy(Rehearsal *r, const Policy **ret, char **ret_problem);

/* Parses the words of a request. */
int make_request(const RehearsalRequest *from, Request *ret, char **ret_problem);
/* The explanation of a request, as rehearsal_explain() returns it. user: the subject's name. */
int explain_request(HostView *host, const Policy *policy, const Subject *subject, const char *user,
        const Request *request, struct json_object **ret, char **ret_problem);
