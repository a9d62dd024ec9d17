/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files behind rehearsal.h share. */

#include "base/json-build.h"
#include "host/policy-files.h"
#include "rehearsal/decide.h"
#include "rehearsal/persona.h"

/* A policy file as it was found. */
typedef struct PolicyText {
    char *path, *hidden_by; /* owned */
    PolicyFileFate fate;
    char *text; /* owned; NULL unless it was read */
    size_t size;
} PolicyText;

struct Rehearsal {
    HostView host;
    char **names;           /* owned: of the policy's files, as in the config; NULL: where vfiod looks */
    PolicyStandIn stand_in; /* borrowed; without a name: none */
    PolicyText *texts; /* owned, in the order in which they apply; those that do not apply stand between */
    size_t n_texts;
    PolicyLoad load;
};

/* Reads the policy once more, with other accounts. -ENOMEM only: errors are in *ret. */
/* The directories of this host, with the credentials of the service where these can be read. */
PolicySource rehearsal_source(void);
int rehearsal_load_policy(const Rehearsal *r, resolve_name_t resolve, void *userdata, PolicyLoad *ret);

/* What is wrong with the file goes to errors, as text; unreadable is a failure. */
int test_file_load(const char *path, TestFile *ret, struct json_object *errors, char **ret_problem);

/* Accounts and subjects of all files (ended by NULL; NULL: none), without their cases. */
int test_files_merge(const char *const *paths, TestFile *ret, char **ret_problem);

/* The policy, to evaluate it: fails when it has errors. Borrowed. */
int rehearsal_get_policy(Rehearsal *r, const Policy **ret, char **ret_problem);

/* From words to what the planner takes. */
int make_request(const RehearsalRequest *from, Request *ret, char **ret_problem);
/* The explanation of a request as rehearsal_explain() has it. user: what to call the subject. */
int explain_request(HostView *host, const Policy *policy, const Subject *subject, const char *user,
        const Request *request, struct json_object **ret, char **ret_problem);
