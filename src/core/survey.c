/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/survey.h"

void survey_done(Survey *s) {
    for (size_t i = 0; i < s->n_devices; i++)
        device_facts_done(&s->devices[i].facts);
    free(s->devices);
    free(s->weakness);
    s->mdev_types = mdev_types_unref(s->mdev_types);
    *s = (Survey){};
}

static SurveyDevice *find(Survey *s, const DeviceName *name) {
    for (size_t i = 0; i < s->n_devices; i++)
        if (device_name_compare(&s->devices[i].name, name) == 0)
            return &s->devices[i];
    return NULL;
}

static SurveyDevice *add(Survey *s, const DeviceName *name) {
    SurveyDevice *grown = reallocarray(s->devices, s->n_devices + 1, sizeof(*s->devices));

    if (!grown)
        return NULL;
    s->devices = grown;
    s->devices[s->n_devices] = (SurveyDevice){.name = *name, .facts = DEVICE_FACTS_NULL};
    return &s->devices[s->n_devices++];
}

int survey_want(Survey *s, const DeviceName *name, unsigned what) {
    SurveyDevice *d = find(s, name) ?: add(s, name);

    if (!d)
        return -ENOMEM;
    d->wanted |= what;
    return 0;
}

int survey_get(Survey *s, const DeviceName *name, unsigned what, const DeviceFacts **ret) {
    const SurveyDevice *d = find(s, name);
    int r;

    if (!d || (what & ~d->taken)) {
        r = survey_want(s, name, what);
        return r < 0 ? r : -EAGAIN;
    }
    if (what & d->failed)
        return d->error;
    *ret = &d->facts;
    return 0;
}

int survey_get_kernel(Survey *s, const KernelFacts **ret) {
    s->kernel_wanted = true;
    if (!s->kernel_taken)
        return -EAGAIN;
    if (s->kernel_error < 0)
        return s->kernel_error;
    *ret = &s->kernel;
    return 0;
}

int survey_get_weakness(Survey *s, const char **ret) {
    s->weakness_wanted = true;
    if (!s->weakness_taken)
        return -EAGAIN;
    if (s->weakness_error < 0)
        return s->weakness_error;
    *ret = s->weakness;
    return 0;
}

int survey_get_mdev_types(Survey *s, const MdevTypes **ret) {
    s->mdev_types_wanted = true;
    if (!s->mdev_types_taken)
        return -EAGAIN;
    if (s->mdev_types_error < 0)
        return s->mdev_types_error;
    *ret = &s->mdev_types->list;
    return 0;
}

bool survey_wants_mdev_types(const Survey *s) {
    return s->mdev_types_wanted && !s->mdev_types_taken;
}

void survey_put_mdev_types(Survey *s, SharedMdevTypes *types, int error) {
    s->mdev_types_taken = true;
    s->mdev_types_error = types ? 0 : error == -EAGAIN || error >= 0 ? -EIO : error;
    s->mdev_types = mdev_types_unref(s->mdev_types);
    s->mdev_types = types;
}

bool survey_is_open(const Survey *s) {
    if (survey_wants_mdev_types(s))
        return true;
    if ((s->kernel_wanted && !s->kernel_taken) || (s->weakness_wanted && !s->weakness_taken))
        return true;
    for (size_t i = 0; i < s->n_devices; i++)
        if (s->devices[i].wanted & ~s->devices[i].taken)
            return true;
    return false;
}

/* Copies one member for each bit of the mask. Other facts are left as they are. */
static void merge(DeviceFacts *to, unsigned what, DeviceFacts *from) {
    if (what & DEVICE_FACT_RESET_METHODS)
        to->reset_methods = from->reset_methods;
    if (what & DEVICE_FACT_NUMA_NODE)
        to->numa_node = from->numa_node;
    if (what & DEVICE_FACT_DRIVER_OVERRIDE)
        memcpy(to->driver_override, from->driver_override, sizeof(to->driver_override));
    if (what & DEVICE_FACT_REMOVABLE)
        to->removable = from->removable;
    if ((what & (DEVICE_FACT_HOST_CRITICAL | DEVICE_FACT_EXCLUSIVE_USE)) && !to->host_critical)
        to->host_critical = TAKE_PTR(from->host_critical);
    if (what & DEVICE_FACT_DESCENDANTS)
        to->descendants = TAKE_PTR(from->descendants);
    if (what & DEVICE_FACT_LINKS)
        to->links = TAKE_PTR(from->links);
    if ((what & (DEVICE_FACT_CAPS | DEVICE_FACT_SEEN_CAPS)) && !to->caps)
        to->caps = TAKE_PTR(from->caps);
    if (what & DEVICE_FACT_DIRECT_REGION)
        to->direct_region = from->direct_region;
    if (what & DEVICE_FACT_ENABLE_COUNT)
        to->enable_count = from->enable_count;
    if (what & DEVICE_FACT_ACS) {
        to->acs = from->acs;
        to->has_acs_blocker = from->has_acs_blocker;
        to->acs_blocker = from->acs_blocker;
    }
    if (what & DEVICE_FACT_SLOT_PATH)
        memcpy(to->slot_path, from->slot_path, sizeof(to->slot_path));
    if (what & DEVICE_FACT_SERIAL)
        memcpy(to->serial, from->serial, sizeof(to->serial));
    if (what & DEVICE_FACT_PROPERTIES)
        to->properties = TAKE_PTR(from->properties);
    if (what & DEVICE_FACT_VARIANT) {
        memcpy(to->variant, from->variant, sizeof(to->variant));
        memcpy(to->variant_driver, from->variant_driver, sizeof(to->variant_driver));
        to->variant_blocked = from->variant_blocked;
    }
    to->known |= from->known & what;
}

void survey_put(SurveyDevice *d, unsigned what, DeviceFacts *facts, int error) {
    what &= ~d->taken;
    if (error < 0) {
        d->failed |= what;
        d->error = error == -EAGAIN ? -EIO : error; /* -EAGAIN means "wanted" to the callers */
    } else
        merge(&d->facts, what, facts);
    d->taken |= what;
    device_facts_done(facts);
}

static void forget(DeviceFacts *f, unsigned what) {
    DeviceFacts none = DEVICE_FACTS_NULL, dropped = DEVICE_FACTS_NULL;

    if (what & DEVICE_FACT_PROPERTIES)
        dropped.properties = TAKE_PTR(f->properties);
    if (what & DEVICE_FACT_DESCENDANTS)
        dropped.descendants = TAKE_PTR(f->descendants);
    if (what & DEVICE_FACT_LINKS)
        dropped.links = TAKE_PTR(f->links);
    if (what & (DEVICE_FACT_CAPS | DEVICE_FACT_SEEN_CAPS))
        dropped.caps = TAKE_PTR(f->caps);
    if (what & (DEVICE_FACT_HOST_CRITICAL | DEVICE_FACT_EXCLUSIVE_USE))
        dropped.host_critical = TAKE_PTR(f->host_critical);
    device_facts_done(&dropped);
    merge(f, what, &none);
    f->known &= ~what;
}

static bool is_same_device(SurveyDevice *d, Inventory *inventory) {
    const Device *device = inventory_find_device(inventory, &d->name);
    DeviceIds ids = device ? device_ids(device) : (DeviceIds){};

    return device && device_ids_are_same(&ids, &d->ids) && device->since_seqnum == d->since_seqnum;
}

void survey_age(Survey *s, Inventory *inventory) {
    for (size_t i = 0; i < s->n_devices; i++) {
        SurveyDevice *d = &s->devices[i];
        unsigned keep = is_same_device(d, inventory) ? SURVEY_FACTS_SLEEPING : 0;

        forget(&d->facts, ~keep);
        d->taken &= keep;
        d->failed &= keep;
    }
    s->kernel_taken = s->weakness_taken = false;
    free(s->weakness);
    s->weakness = NULL;
}

static void note_identity(SurveyDevice *d, const Device *device) {
    if (d->taken != 0)
        return;
    d->ids = device_ids(device);
    d->since_seqnum = device->since_seqnum;
}

/* The source cannot know these. */
static int add_seen_caps(DeviceFacts *facts, Inventory *inventory, const DeviceName *name) {
    const DeviceCaps *caps = inventory_find_caps(inventory, name);

    if (!caps)
        return 0;
    facts->caps = malloc(sizeof(*facts->caps));
    if (!facts->caps)
        return -ENOMEM;
    *facts->caps = *caps;
    facts->known |= DEVICE_FACT_SEEN_CAPS;
    return 0;
}

static void take_device(SurveyDevice *d, const FactSource *source, Inventory *inventory, unsigned later) {
    const Device *device = inventory_find_device(inventory, &d->name);
    unsigned what = d->wanted & ~d->taken & ~later;
    DeviceFacts facts = DEVICE_FACTS_NULL;
    int r;

    if (device)
        note_identity(d, device);
    if (what == 0)
        return;
    if (!device)
        r = -ENODEV;
    else
        r = source->read_facts
                ? source->read_facts(source->userdata, device, what & ~DEVICE_FACT_SEEN_CAPS, &facts)
                : -EOPNOTSUPP;
    if (r >= 0 && (what & DEVICE_FACT_SEEN_CAPS))
        r = add_seen_caps(&facts, inventory, &d->name);
    survey_put(d, what, &facts, r);
}

static void take_mdev_types(Survey *s, const FactSource *source) {
    MdevTypes types = {};
    int r = source->read_mdev_types ? source->read_mdev_types(source->userdata, &types) : -EOPNOTSUPP;

    survey_put_mdev_types(s, r >= 0 ? mdev_types_share(&types) : NULL, r < 0 ? r : -ENOMEM);
}

void survey_take(Survey *s, const FactSource *source, Inventory *inventory, unsigned later) {
    for (size_t i = 0; i < s->n_devices; i++)
        take_device(&s->devices[i], source, inventory, later);
    if (s->kernel_wanted && !s->kernel_taken) {
        s->kernel_error = source->read_kernel_facts ? source->read_kernel_facts(source->userdata, &s->kernel)
                                                    : -EOPNOTSUPP;
        s->kernel_taken = true;
    }
    if (s->weakness_wanted && !s->weakness_taken) {
        s->weakness_error =
                source->read_weakness ? source->read_weakness(source->userdata, &s->weakness) : -EOPNOTSUPP;
        s->weakness_taken = true;
    }
    if (survey_wants_mdev_types(s) && !(later & DEVICE_FACT_MDEV_TYPES))
        take_mdev_types(s, source);
}
