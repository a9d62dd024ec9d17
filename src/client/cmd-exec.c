/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Claims devices and executes COMMAND in this process. COMMAND gets the fds from 3 on, as sd_listen_fds(3)
 * defines, and their numbers in the place of templates in its arguments. COMMAND then is the owner of the
 * claim in every way. The lifeline stays open across exec, and ends with it.
 *
 * The command line is checked completely before anything is claimed: the command itself, what it supports,
 * and the templates. */

#include <fcntl.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "client/ask.h"
#include "client/calls.h"
#include "client/command.h"
#include "client/handover.h"
#include "client/hotplug.h"
#include "client/show.h"
#include "client/vmm-request.h"
#include "client/wait.h"

DEFINE_TRIVIAL_CLEANUP_FUNC(VfiodClaim *, vfiod_claim_free);

typedef struct Exec {
    const Options *o;
    char *program; /* owned; its path */
    VmmAbilities abilities;
    TemplateDevice *devices; /* owned, names too */
    size_t n_devices;
    char *reserved;   /* owned; the name of the device that the ticket is for */
    char **arguments; /* owned; with templates, and those that a virtual machine monitor needs */
    VfiodRequest request;
} Exec;

static void exec_done(Exec *e) {
    for (size_t i = 0; i < e->n_devices; i++)
        free((char *) e->devices[i].name);
    free(e->devices);
    free(e->reserved);
    free_arguments(&e->arguments);
    free(e->program);
}

static bool has_templates(const Options *o) {
    for (size_t i = 0; i < o->n_arguments; i++)
        if (strchr(o->arguments[i], '{'))
            return true;
    return false;
}

static int find_device(VfiodConnection *c, const char *word, TemplateDevice *ret, VfiodErrorText *error) {
    _cleanup_object_ Object device = OBJECT_NULL;
    struct json_object *group;
    int r;

    r = call_find_object(c, word, &device, error);
    if (r < 0)
        return r;
    if (device.kind != OBJECT_DEVICE)
        return error_text_set(error, EINVAL, "InvalidName", "%s: not a device.", word);
    group = json_member(device.properties, "group");
    *ret = (TemplateDevice){.name = TAKE_PTR(device.name),
            .spelling = word,
            .group = group ? json_object_get_int(group) : -1};
    return 0;
}

/* The reservation shows which device the ticket is for. */
static int find_reserved(Exec *e, VfiodConnection *c, VfiodErrorText *error) {
    int r;

    r = call_find_reserved(c, e->o->more.ticket, &e->reserved, error);
    if (r >= 0)
        r = find_device(c, e->reserved, e->devices, error);
    e->n_devices = r >= 0;
    return r;
}

static int find_devices(Exec *e, VfiodErrorText *error) {
    _cleanup_connection_ VfiodConnection *c = NULL;
    const Options *o = e->o;
    int r;

    e->devices = calloc(MAX(o->n_devices, (size_t) 1), sizeof(TemplateDevice));
    if (!e->devices)
        return error_text_errno(error, ENOMEM, "Cannot claim");
    r = vfiod_connection_new(&c, error);
    if (r >= 0 && o->more.ticket)
        r = find_reserved(e, c, error);
    for (size_t i = 0; i < o->n_devices && r >= 0; i++) {
        r = find_device(c, o->devices[i], e->devices + i, error);
        e->n_devices += r >= 0;
    }
    return r;
}

/* ---- templates ---- */

/* What the templates require, noted instead of expanded. */
typedef struct Wishes {
    bool iommufd, device, container, group;
} Wishes;

static int note_wish(void *userdata, const char *fd_name) {
    Wishes *wishes = userdata;

    if (streq(fd_name, "iommufd"))
        wishes->iommufd = true;
    else if (startswith(fd_name, "device:"))
        wishes->device = true;
    else if (streq(fd_name, "container"))
        wishes->container = true;
    else
        wishes->group = true;
    return 0;
}

static int number_of(void *userdata, const char *fd_name) {
    return handover_number(userdata, fd_name);
}

static int expand_command(
        const Exec *e, template_number_t number, void *userdata, char ***ret, VfiodErrorText *error) {
    size_t n = 0;

    while (e->arguments[n])
        n++;

    _cleanup_(free_arguments) char **command = calloc(n + 1, sizeof(char *));

    if (!command)
        return error_text_errno(error, ENOMEM, "Cannot run the command");
    for (size_t i = 0; i < n; i++) {
        _cleanup_free_ char *problem = NULL;
        int r = template_expand(
                e->arguments[i], e->devices, e->n_devices, number, userdata, command + i, &problem);

        if (r == -EINVAL)
            return error_text_set(error, EINVAL, ERROR_NAME_USAGE, "%s", problem);
        if (r < 0)
            return error_text_errno(error, r, "Cannot run the command");
    }
    *ret = TAKE_PTR(command);
    return 0;
}

/* vDPA devices have only one backend, which hands out their own files. */
static bool is_for_vdpa(const Exec *e) {
    for (size_t i = 0; i < e->n_devices; i++)
        if (!startswith(e->devices[i].name, "vdpa:"))
            return false;
    return e->n_devices > 0;
}

/* The files of each backend. If none is requested, the first one with all required files is used. */
static const struct BackendFiles {
    const char *name;
    Wishes has;
    bool by_name_only;
} backend_files[] = {
        {"iommufd", {.iommufd = true, .device = true}},
        {"group", {.container = true, .group = true}},
        {"compat", {.container = true, .device = true}},
        {"vhost-vdpa", {.device = true}, .by_name_only = true},
        {"noiommu", {.device = true}, .by_name_only = true},
};

static bool has_all(const Wishes *has, const Wishes *wishes) {
    return (has->iommufd || !wishes->iommufd) && (has->device || !wishes->device) &&
            (has->container || !wishes->container) && (has->group || !wishes->group);
}

static const char *find_backend(const Wishes *wishes, const char *backend) {
    for (size_t i = 0; i < ELEMENTSOF(backend_files); i++)
        if ((backend ? streq(backend_files[i].name, backend) : !backend_files[i].by_name_only) &&
                has_all(&backend_files[i].has, wishes))
            return backend_files[i].name;
    return NULL;
}

/* The templates show for which backend the command line is made. Requesting that one makes the claim fail
 * with a reason, instead of succeeding with useless files. */
static int choose_backend(
        const Wishes *wishes, bool vdpa, const char *backend, const char **ret, VfiodErrorText *error) {
    const char *wanted = find_backend(wishes, vdpa ? "vhost-vdpa" : NULL);

    if (has_all(&(Wishes){}, wishes)) {
        *ret = backend;
        return 0;
    }
    if (!wanted)
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE,
                "{iommufd} and {device} require the backend iommufd, {container} and {group} the backend "
                "group, {container} and {device} the backend compat.");
    if (backend && !find_backend(wishes, backend))
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE,
                "The command's templates require --backend=%s, not --backend=%s.", wanted, backend);
    *ret = backend ?: wanted;
    return 0;
}

static int check_templates(Exec *e, VfiodErrorText *error) {
    _cleanup_(free_arguments) char **checked = NULL;
    Wishes wishes = {};
    int r;

    r = expand_command(e, note_wish, &wishes, &checked, error);
    return r < 0 ? r
                 : choose_backend(&wishes, is_for_vdpa(e), e->request.backend, &e->request.backend, error);
}

/* ---- virtual machine monitors ---- */

static int write_arguments(Exec *e, VfiodErrorText *error) {
    free_arguments(&e->arguments);
    return vmm_add_arguments(e->o->vmm, streq(e->request.grant, "fd"), e->o->arguments, e->devices,
            e->n_devices, &e->arguments, error);
}

/* Tokens are known only after the claim. */
static int add_tokens(Exec *e, const VfiodClaim *claim, VfiodErrorText *error) {
    bool any = false;
    int r;

    for (size_t i = 0; i < e->n_devices; i++) {
        e->devices[i].vf_token = vfiod_claim_vf_token(claim, e->devices[i].name);
        any |= e->devices[i].vf_token != NULL;
    }
    if (!any || e->o->vmm == VMM_NONE)
        return 0;
    r = vmm_check_tokens(e->o->vmm, &e->abilities, e->devices, e->n_devices, error);
    return r < 0 ? r : write_arguments(e, error);
}

static int choose_for_vmm(Exec *e, VfiodErrorText *error) {
    int r;

    if (is_for_vdpa(e))
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE,
                "%s: the arguments for vDPA devices are not written by vfioctl. Write them with {device}, "
                "see "
                "vfioctl(1).",
                e->devices[0].name);
    r = vmm_choose(e->o->vmm, &e->abilities, &e->request, error);
    return r < 0 ? r : write_arguments(e, error);
}

static int copy_arguments(Exec *e, VfiodErrorText *error) {
    e->arguments = calloc(e->o->n_arguments + 1, sizeof(char *));
    if (!e->arguments)
        return error_text_errno(error, ENOMEM, "Cannot run the command");
    for (size_t i = 0; i < e->o->n_arguments; i++) {
        e->arguments[i] = strdup(e->o->arguments[i]);
        if (!e->arguments[i])
            return error_text_errno(error, ENOMEM, "Cannot run the command");
    }
    return 0;
}

static int prepare(Exec *e, VfiodErrorText *error) {
    const Options *o = e->o;
    int r;

    r = command_find(o->arguments[0], &e->program, error);
    if (r >= 0 && o->vmm != VMM_NONE)
        r = vmm_probe(o->vmm, e->program, &e->abilities, error);
    if (r >= 0 && (o->vmm != VMM_NONE || o->print || has_templates(o)))
        r = find_devices(e, error);
    return r;
}

/* Chooses backend, grant and the arguments that follow from them. Again for each try, because another backend
 * may have become possible. */
static int choose(Exec *e, VfiodErrorText *error) {
    int r;

    free_arguments(&e->arguments);
    e->request = options_request(e->o, e->o->devices, e->o->n_devices);
    r = e->o->vmm != VMM_NONE ? choose_for_vmm(e, error) : copy_arguments(e, error);
    return r < 0 ? r : check_templates(e, error);
}

/* ---- --dry-run ---- */

/* Quotes the word for a shell. */
static void add_quoted(StrBuf *b, const char *word) {
    if (*word &&
            word[strspn(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_@%+=:,./-")] ==
                    '\0') {
        strbuf_add(b, word);
        return;
    }
    strbuf_add(b, "'");
    for (const char *p = word; *p; p++)
        if (*p == '\'')
            strbuf_add(b, "'\\''");
        else
            strbuf_addf(b, "%c", *p);
    strbuf_add(b, "'");
}

static int print_text(char *const *environment, char *const *command) {
    _cleanup_strbuf_ StrBuf b = {};
    _cleanup_free_ char *text = NULL;

    for (char *const *p = environment; *p; p++)
        strbuf_addf(&b, "%s\n", *p);
    for (char *const *p = command; *p; p++) {
        strbuf_add(&b, p == command ? "" : " ");
        add_quoted(&b, *p);
    }
    text = strbuf_steal(&b);
    if (!text)
        return -ENOMEM;
    return puts(text) < 0 ? -errno : 0;
}

static int add_list(struct json_object *o, const char *key, char *const *list) {
    struct json_object *array = json_object_new_array();
    int r;

    r = json_add(o, key, array);
    for (char *const *p = list; r >= 0 && *p; p++)
        r = json_append(array, json_object_new_string(*p));
    return r;
}

static int print_json(char *const *environment, char *const *command) {
    _cleanup_json_ struct json_object *o = json_object_new_object(), *variables = json_object_new_object();
    int r = o && variables ? add_list(o, "command", command) : -ENOMEM;

    for (char *const *p = environment; r >= 0 && *p; p++) {
        _cleanup_free_ char *name = strndup(*p, strcspn(*p, "="));

        r = name ? json_add(variables, name, json_object_new_string(strchr(*p, '=') + 1)) : -ENOMEM;
    }
    if (r >= 0)
        r = json_add(o, "environment", TAKE_PTR(variables));
    return r < 0 ? r : show_json(stdout, o, /* pretty= */ true);
}

/* Before the claim, its id and the pid are unknown. */
static int print_command(const Exec *e, VfiodErrorText *error) {
    _cleanup_(free_arguments) char **environment = NULL, **command = NULL;
    _cleanup_json_ struct json_object *plan = NULL;
    _cleanup_handover_ Handover handover = {};
    int r;

    r = call_plan(&e->request, &plan, error);
    if (r < 0)
        return r;
    r = handover_from_plan(plan, e->request.grant, e->devices, e->n_devices, &handover);
    if (r >= 0)
        r = handover_environment(&handover, 0, &environment);
    if (r < 0)
        return error_text_errno(error, r, "Cannot show the command");
    r = expand_command(e, number_of, &handover, &command, error);
    if (r < 0)
        return r;
    r = e->o->json ? print_json(environment, command) : print_text(environment, command);
    return r < 0 ? error_text_errno(error, r, "Cannot show the command") : 0;
}

/* ---- running it ---- */

/* Two passes, because a target number may be in use by another fd. The copies are above all targets; they and
 * the remaining originals are closed on exec. */
static int place_fds(const VfiodClaim *claim, size_t n) {
    _cleanup_free_ int *copies = calloc(n, sizeof(int));

    if (!copies)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        copies[i] = fcntl(vfiod_claim_nth_fd(claim, i, NULL), F_DUPFD_CLOEXEC, HANDOVER_FIRST_FD + (int) n);
        if (copies[i] < 0)
            return -errno;
    }
    for (size_t i = 0; i < n; i++)
        if (dup2(copies[i], HANDOVER_FIRST_FD + (int) i) < 0)
            return -errno;
    return 0;
}

static int set_environment(const Handover *handover) {
    _cleanup_(free_arguments) char **environment = NULL;
    int r;

    r = handover_environment(handover, getpid(), &environment);
    if (r < 0)
        return r;
    /* newer systemd adds another id of the receiving process */
    unsetenv("LISTEN_PIDFDID");
    /* may be inherited, and is set below only if there are nodes */
    unsetenv("VFIOD_NODES");
    unsetenv("VFIOD_VF_TOKENS");
    for (char **p = environment; *p; p++) {
        char *value = strchr(*p, '=');

        *value = '\0';
        if (setenv(*p, value + 1, 1) < 0)
            return -errno;
    }
    return 0;
}

/* Returns only when the command cannot be executed. The claim then ends with this process. */
static int become_command(Exec *e, const VfiodClaim *claim, VfiodErrorText *error) {
    _cleanup_(free_arguments) char **command = NULL;
    _cleanup_handover_ Handover handover = {};
    int r;

    r = handover_from_claim(claim, &handover);
    if (r < 0)
        return error_text_errno(error, r, "Cannot run the command");
    r = add_tokens(e, claim, error);
    if (r >= 0)
        r = expand_command(e, number_of, &handover, &command, error);
    if (r < 0)
        return r;
    r = set_environment(&handover);
    if (r >= 0)
        r = place_fds(claim, handover.n_fds);
    if (r < 0)
        return error_text_errno(error, r, "Cannot run the command");
    execvp(e->program, command);
    return command_error(command[0], errno, error);
}

/* The daemon records the name of the calling process, for display only. Instead of "vfioctl" this uses the
 * name of the command, which this process becomes. */
static void take_name_of(const char *command) {
    const char *slash = strrchr(command, '/');

    (void) prctl(PR_SET_NAME, slash ? slash + 1 : command);
}

int verb_exec(const Options *o, VfiodErrorText *error) {
    _cleanup_(vfiod_claim_freep) VfiodClaim *claim = NULL;
    _cleanup_(exec_done) Exec e = {.o = o};
    Waiter waiter = waiter_new(o);
    int r;

    if (o->n_devices == 0 && !o->more.ticket)
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE, "exec requires --device or --ticket.");
    if (o->n_devices > 0 && o->more.ticket)
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE,
                "--ticket stands for its device: name none, or claim the others on their own.");
    if (o->hotplug)
        return exec_hotplug(o, error);
    if (o->n_arguments == 0)
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE, "exec requires a command.");
    if (o->tether && streq(o->tether, "connection"))
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE,
                "--tether=connection: the connection is vfioctl's and ends when the command is executed.");
    r = prepare(&e, error);
    if (r < 0)
        return r;
    if (o->print) {
        r = choose(&e, error);
        return r < 0 ? r : print_command(&e, error);
    }
    take_name_of(o->arguments[0]);
    do {
        r = choose(&e, error);
        waiter_prepare(&waiter, &e.request);
        if (r >= 0)
            r = ask_and_acquire(o, &e.request, &claim, error);
    } while (r < 0 && waiter_try_again(&waiter, &e.request, error));
    return r < 0 ? r : become_command(&e, claim, error);
}
