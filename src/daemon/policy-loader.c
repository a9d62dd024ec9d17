/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/policy-loader.h"

#include <fcntl.h>
#include <sys/inotify.h>

#include "base/fd.h"
#include "base/local-time.h"
#include "base/log.h"
#include "base/user-name.h"
#include "daemon/account-lookup.h"

#define RETRY_USEC_MIN (2 * UINT64_C(1000000))
#define RETRY_USEC_MAX (300 * UINT64_C(1000000))

struct PolicyLoader {
    sd_event *event;
    PolicySource source, shadow_source;
    bool own_accounts;  /* the source has its own lookup */
    const char *passwd; /* borrowed; NULL: texts have uids only */
    policy_loaded_t loaded;
    void *userdata;
    PolicyLoad policy, shadow;
    /* loads that wait for accounts */
    PolicyLoading *policy_loading, *shadow_loading;
    /* of a load, or of a later lookup */
    AccountTable accounts;
    AccountLookup *lookup;
    sd_event_source *retry, *account_files;
    uint64_t retry_usec;
};

static void look_up_again(PolicyLoader *l);

/* ---- looking up again ---- */

static int add_unknown(PolicyLoader *l) {
    int r = policy_foreach_unknown_account(l->policy.policy, account_table_add, &l->accounts);

    return r < 0 ? r : policy_foreach_unknown_account(l->shadow.policy, account_table_add, &l->accounts);
}

static int note_any(_unused_ void *userdata, _unused_ bool is_group, _unused_ const char *name) {
    return -EEXIST;
}

static bool has_unknown(const PolicyLoader *l) {
    return !l->own_accounts &&
            (policy_foreach_unknown_account(l->policy.policy, note_any, NULL) < 0 ||
                    policy_foreach_unknown_account(l->shadow.policy, note_any, NULL) < 0);
}

static void schedule_retry(PolicyLoader *l, uint64_t usec) {
    int r;

    l->retry_usec = MIN(usec, RETRY_USEC_MAX);
    r = sd_event_source_set_time_relative(l->retry, l->retry_usec);
    if (r >= 0)
        r = sd_event_source_set_enabled(l->retry, has_unknown(l) ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
    if (r < 0)
        log_warning_errno(r, "Cannot set the timer for looking up accounts again");
}

static void end_lookup(PolicyLoader *l) {
    l->lookup = account_lookup_free(l->lookup);
    account_table_done(&l->accounts);
}

static void on_looked_up_again(void *userdata) {
    PolicyLoader *l = userdata;
    int n, k;

    n = l->policy.policy ? policy_resolve_again(l->policy.policy, account_table_resolve, &l->accounts) : 0;
    k = l->shadow.policy ? policy_resolve_again(l->shadow.policy, account_table_resolve, &l->accounts) : 0;
    end_lookup(l);
    schedule_retry(l, 2 * l->retry_usec);
    if (n <= 0 && k <= 0)
        return;
    log_info("%d account name(s) in the policy now resolve", MAX(n, 0) + MAX(k, 0));
    l->loaded(l->userdata, 0, /* resolved= */ true);
}

static void look_up_again(PolicyLoader *l) {
    int r;

    if (l->lookup || !has_unknown(l))
        return;
    r = add_unknown(l);
    if (r >= 0)
        r = account_lookup_new(l->event, &l->accounts, on_looked_up_again, l, &l->lookup);
    if (r >= 0)
        return;
    log_warning_errno(r, "Cannot look up accounts of the policy again");
    end_lookup(l);
    schedule_retry(l, 2 * l->retry_usec);
}

static int on_retry(sd_event_source *s, uint64_t usec, void *userdata) {
    look_up_again(userdata);
    return 0;
}

#define ACCOUNTS_SIZE_MAX (4U * 1024 * 1024)

static void read_names_from(const char *path, int (*take)(const char *text)) {
    _cleanup_free_ char *text = NULL;
    int r = path ? read_file_at(AT_FDCWD, path, ACCOUNTS_SIZE_MAX, &text, NULL) : -ENOMEM;

    if (r >= 0)
        r = take(text);
    if (r < 0)
        log_debug("Cannot read the names in %s: %s", path ?: "a file", strerror(-r));
}

/* Names for texts. Accounts that are not in these files are not looked up, because the name service may take
 * minutes. */
static void read_names(const PolicyLoader *l) {
    const char *slash = l->passwd ? strrchr(l->passwd, '/') : NULL;
    _cleanup_free_ char *group = NULL;

    if (!slash)
        return;
    read_names_from(l->passwd, user_names_read);
    group = format_string("%.*s/group", (int) (slash - l->passwd), l->passwd);
    read_names_from(group, group_names_read);
}

/* Texts follow a change of the zone of this host. */
static int on_etc_file(sd_event_source *s, const struct inotify_event *event, void *userdata) {
    static const char *const names[] = {"passwd", "group", "nsswitch.conf"};

    for (size_t i = 0; event->len > 0 && i < ELEMENTSOF(names); i++)
        if (streq(event->name, names[i])) {
            log_debug("%s changed, looking unknown account names up again", names[i]);
            read_names(userdata);
            look_up_again(userdata);
        }
    if (event->len > 0 && streq(event->name, "localtime"))
        local_time_read_zone();
    return 0;
}

/* ---- loading ---- */

static uint64_t now_of(const PolicyLoader *l) {
    uint64_t usec;

    return sd_event_now(l->event, CLOCK_REALTIME, &usec) >= 0 ? usec : 0;
}

/* Moves *set to *ret_old, where it stays while its policy is borrowed. Of a load with errors only the errors
 * are taken. */
static void replace_policy(PolicyLoad *set, PolicyLoad *load, uint64_t now_usec, PolicyLoad *ret_old) {
    load->generation = set->generation + (load->policy != NULL);
    load->loaded_usec = load->policy ? now_usec : set->loaded_usec;
    if (!load->policy) {
        load->policy = TAKE_PTR(set->policy);
        load->digest = set->digest;
    }
    *ret_old = *set;
    *set = TAKE_GENERIC(*load, (PolicyLoad){});
}

static void report_policy(const PolicyLoad *load, bool has_policy) {
    for (size_t i = 0; i < load->n_errors; i++)
        log_record(LOG_ERR, VFIOD_MESSAGE_POLICY_BROKEN, load->errors[i], NULL);
    for (size_t i = 0; i < load->n_warnings; i++)
        log_warning("%s", load->warnings[i]);
    if (load->n_errors > 0)
        log_error("The policy has errors: %s",
                has_policy ? "the policy loaded before stays in force" : "everything is denied");
}

static void report_shadow(const PolicyLoad *load, const PolicyLoad *before) {
    for (size_t i = 0; i < load->n_errors; i++)
        log_warning("Shadow policy: %s", load->errors[i]);
    if (load->policy || before->policy)
        log_info("Shadow policy loaded: %zu rule(s). It decides nothing; differences are logged",
                policy_n_rules(load->policy ?: before->policy));
}

/* Errors in the shadow policy have no effect on the policy in force, because it decides nothing. */
static void finish_shadow(PolicyLoader *l, PolicyLoad *ret_old) {
    _cleanup_(policy_load_done) PolicyLoad load = {};
    int r = l->shadow_loading ? policy_files_finish(l->shadow_loading, &load) : -ENOMEM;

    if (r < 0) {
        log_warning_errno(r, "Cannot read the shadow policy, it stays as it was");
        return;
    }
    if (load.n_directories == 0 && load.n_errors == 0) {
        *ret_old = TAKE_GENERIC(l->shadow, (PolicyLoad){});
        return;
    }
    report_shadow(&load, &l->shadow);
    replace_policy(&l->shadow, &load, now_of(l), ret_old);
}

static void finish_load(PolicyLoader *l) {
    _cleanup_(policy_load_done) PolicyLoad load = {}, old = {}, old_shadow = {};
    int r = policy_files_finish(l->policy_loading, &load);

    if (r >= 0) {
        report_policy(&load, load.policy || l->policy.policy);
        replace_policy(&l->policy, &load, now_of(l), &old);
        finish_shadow(l, &old_shadow);
    }
    l->policy_loading = policy_loading_free(l->policy_loading);
    l->shadow_loading = policy_loading_free(l->shadow_loading);
    end_lookup(l);
    schedule_retry(l, RETRY_USEC_MIN);
    l->loaded(l->userdata, r, /* resolved= */ false);
}

static void on_looked_up(void *userdata) {
    finish_load(userdata);
}

static int begin_load(PolicyLoader *l) {
    int r;

    l->policy_loading = policy_loading_free(l->policy_loading);
    l->shadow_loading = policy_loading_free(l->shadow_loading);
    end_lookup(l);
    r = policy_files_begin(&l->source, &l->policy_loading);
    if (r < 0)
        return r;
    (void) policy_files_begin(&l->shadow_source, &l->shadow_loading);
    if (l->own_accounts)
        return 0;
    r = policy_loading_foreach_account(l->policy_loading, account_table_add, &l->accounts);
    if (r >= 0 && l->shadow_loading)
        r = policy_loading_foreach_account(l->shadow_loading, account_table_add, &l->accounts);
    return r;
}

void policy_loader_load(PolicyLoader *l) {
    int r = begin_load(l);

    local_time_read_zone();
    read_names(l);
    if (r < 0) {
        l->policy_loading = policy_loading_free(l->policy_loading);
        l->loaded(l->userdata, r, /* resolved= */ false);
        return;
    }
    if (l->accounts.n > 0) {
        r = account_lookup_new(l->event, &l->accounts, on_looked_up, l, &l->lookup);
        if (r >= 0)
            return;
        log_warning_errno(r, "Cannot look up the accounts of the policy, they are unknown for now");
    }
    finish_load(l);
}

bool policy_loader_is_busy(const PolicyLoader *l) {
    return l->policy_loading;
}

const PolicyLoad *policy_loader_policy(const PolicyLoader *l) {
    return &l->policy;
}

const PolicyLoad *policy_loader_shadow(const PolicyLoader *l) {
    return &l->shadow;
}

PolicyLoader *policy_loader_free(PolicyLoader *l) {
    if (!l)
        return NULL;
    end_lookup(l);
    policy_loading_free(l->policy_loading);
    policy_loading_free(l->shadow_loading);
    policy_load_done(&l->policy);
    policy_load_done(&l->shadow);
    user_names_done();
    sd_event_source_disable_unref(l->account_files);
    sd_event_source_disable_unref(l->retry);
    sd_event_unref(l->event);
    free(l);
    return NULL;
}

static PolicySource make_source(
        PolicyLoader *l, const PolicyLoaderConfig *config, const char *const *directories) {
    return (PolicySource){
            .directories = directories,
            .credentials = config->credentials,
            .resolve = config->resolve ?: account_table_resolve,
            .resolve_userdata = config->resolve ? config->resolve_userdata : &l->accounts,
    };
}

int policy_loader_new(sd_event *event, const PolicyLoaderConfig *config, policy_loaded_t loaded,
        void *userdata, PolicyLoader **ret) {
    _cleanup_(policy_loader_freep) PolicyLoader *l = calloc(1, sizeof(*l));
    int r;

    if (!l)
        return -ENOMEM;
    l->event = sd_event_ref(event);
    l->loaded = loaded;
    l->userdata = userdata;
    l->own_accounts = config->resolve;
    l->passwd = config->passwd;
    l->source = make_source(l, config, config->directories);
    l->shadow_source = make_source(l, config, config->shadow_directories);
    r = sd_event_add_time_relative(event, &l->retry, CLOCK_MONOTONIC, 0, 0, on_retry, l);
    if (r >= 0)
        r = sd_event_source_set_enabled(l->retry, SD_EVENT_OFF);
    if (r < 0)
        return r;
    /* the timer works without it */
    if (!l->own_accounts)
        (void) sd_event_add_inotify(event, &l->account_files, "/etc",
                IN_MOVED_TO | IN_CLOSE_WRITE | IN_CREATE | IN_DELETE, on_etc_file, l);
    *ret = TAKE_PTR(l);
    return 0;
}
