/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The few macros that every file may use: scope-bound ownership (_cleanup_, TAKE_), string tables for
 * enums, and the usual array helpers. Nothing here knows what VFIO is. */

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#define _cleanup_(f) __attribute__((cleanup(f)))
#define _unused_ __attribute__((unused))
#define _printf_(fmt, args) __attribute__((format(printf, fmt, args)))
#define _sentinel_ __attribute__((sentinel))

#define ELEMENTSOF(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *) ((char *) (ptr) -offsetof(type, member)))

/* Evaluate each argument once, unlike those of <sys/param.h>. */
#undef MIN
#undef MAX
#define MIN(a, b) PICK_(a, <, b, __COUNTER__)
#define MAX(a, b) PICK_(a, >, b, __COUNTER__)
#define PICK_(a, operator, b, unique) PICK__(a, operator, b, unique)
#define PICK__(a, operator, b, unique)                                                                       \
    ({                                                                                                       \
        const __auto_type a_##unique = (a);                                                                  \
        const __auto_type b_##unique = (b);                                                                  \
        a_##unique operator b_##unique ? a_##unique : b_##unique;                                            \
    })

/* Hands ownership over: yields the value and leaves the variable empty, so that its cleanup does nothing. */
#define TAKE_GENERIC(var, empty)                                                                             \
    ({                                                                                                       \
        __typeof__(var) *_p = &(var);                                                                        \
        __typeof__(var) _v = *_p;                                                                            \
        *_p = (empty);                                                                                       \
        _v;                                                                                                  \
    })
#define TAKE_PTR(p) TAKE_GENERIC(p, NULL)
#define TAKE_FD(fd) TAKE_GENERIC(fd, -EBADF)

/* Defines FUNCp(), the form that _cleanup_ wants, for a destructor that takes NULL. */
#define DEFINE_TRIVIAL_CLEANUP_FUNC(type, func)                                                              \
    static inline void func##p(type *p) {                                                                    \
        if (*p)                                                                                              \
            *p = func(*p);                                                                                   \
    }                                                                                                        \
    struct useless_struct_to_allow_trailing_semicolon

static inline void freep(void *p) {
    free(*(void **) p);
}
#define _cleanup_free_ _cleanup_(freep)

static inline bool streq(const char *a, const char *b) {
    return strcmp(a, b) == 0;
}

/* Equal also when both are NULL. */
static inline bool streq_ptr(const char *a, const char *b) {
    return a == b || (a && b && streq(a, b));
}

/* The rest of s after prefix, or NULL. */
static inline const char *startswith(const char *s, const char *prefix) {
    size_t n = strlen(prefix);

    return strncmp(s, prefix, n) == 0 ? s + n : NULL;
}

/* An enum ends with _X_MAX and _X_INVALID = -EINVAL. Its table is NAME_table and has a string for every
 * value. tests/unit/test-tables.c converts each value to its string and back. */
#define DECLARE_STRING_TABLE(name, type)                                                                     \
    const char *name##_to_string(type v);                                                                    \
    type name##_from_string(const char *s)

#define DEFINE_STRING_TABLE(name, type)                                                                      \
    const char *name##_to_string(type v) {                                                                   \
        if ((int) v < 0 || (size_t) v >= ELEMENTSOF(name##_table))                                           \
            return NULL;                                                                                     \
        return name##_table[v];                                                                              \
    }                                                                                                        \
    type name##_from_string(const char *s) {                                                                 \
        for (size_t i = 0; s && i < ELEMENTSOF(name##_table); i++)                                           \
            if (name##_table[i] && streq(name##_table[i], s))                                                \
                return (type) i;                                                                             \
        return (type) -EINVAL;                                                                               \
    }                                                                                                        \
    struct useless_struct_to_allow_trailing_semicolon
