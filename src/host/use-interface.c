/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Who uses a network interface? The host does if it has an address that is not link-local, or if a default
 * route uses it. So does whatever is stacked upon it: an upper interface was put there on purpose and carries
 * traffic even without an address. Bridges and Open vSwitch serve guests, and the host's own address may be
 * on another port of the same switch, which sysfs does not link.
 *
 * Not found: routes of policy routing tables other than main; an upper interface in another network
 * namespace, while the lower one stayed here. */

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "core/host-tables.h"
#include "host/use.h"

/* Writes the address if it is not link-local. */
static bool address_counts(const struct sockaddr *address, char *text, socklen_t size) {
    if (!address)
        return false;

    if (address->sa_family == AF_INET) {
        const struct in_addr *in = &((const struct sockaddr_in *) (const void *) address)->sin_addr;

        return ntohl(in->s_addr) >> 16 != 0xa9fe /* 169.254/16 */ && inet_ntop(AF_INET, in, text, size);
    }
    if (address->sa_family == AF_INET6) {
        const struct in6_addr *in6 = &((const struct sockaddr_in6 *) (const void *) address)->sin6_addr;

        return !IN6_IS_ADDR_LINKLOCAL(in6) && inet_ntop(AF_INET6, in6, text, size);
    }
    return false;
}

static int check_addresses(UseSearch *s, const char *name) {
    if (!s->addresses && getifaddrs(&s->addresses) < 0)
        return -errno;

    for (const struct ifaddrs *a = s->addresses; a; a = a->ifa_next) {
        char text[INET6_ADDRSTRLEN];

        if (streq(a->ifa_name, name) && a->ifa_flags & IFF_UP &&
                address_counts(a->ifa_addr, text, sizeof(text)))
            return use_found(s, "network address %s (%s)", text, name);
    }
    return 0;
}

static int check_routes(UseSearch *s, const char *name) {
    int r;

    r = use_read_table("/proc/net/route", &s->routes);
    if (r >= 0)
        r = route_table_has_default(s->routes, name);
    if (r == 0) {
        r = use_read_table("/proc/net/ipv6_route", &s->ipv6_routes);
        if (r >= 0)
            r = ipv6_route_table_has_default(s->ipv6_routes, name);
    }
    return r > 0 ? use_found(s, "default route (%s)", name) : r;
}

/* ---- What only netlink shows, and not sysfs ---- */

static int receive_links(int fd, UseSearch *s) {
    for (;;) {
        _cleanup_free_ char *grown = NULL;
        ssize_t n = recv(fd, NULL, 0, MSG_PEEK | MSG_TRUNC);
        const struct nlmsghdr *h;

        if (n < 0)
            return -errno;
        if (s->links_size + (size_t) n > USE_TABLE_MAX)
            return -E2BIG;
        grown = realloc(s->links, s->links_size + (size_t) n + 1);
        if (!grown)
            return -ENOMEM;
        s->links = TAKE_PTR(grown);
        n = recv(fd, s->links + s->links_size, (size_t) n, 0);
        if (n < 0)
            return -errno;
        h = (const struct nlmsghdr *) (const void *) (s->links + s->links_size);
        for (unsigned left = (unsigned) n; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
            if (h->nlmsg_type == NLMSG_ERROR)
                return -EIO;
            if (h->nlmsg_type == NLMSG_DONE)
                return 0;
        }
        s->links_size += NLMSG_ALIGN((size_t) n);
    }
}

static int read_links(UseSearch *s) {
    struct {
        struct nlmsghdr head;
        struct ifinfomsg body;
    } request = {
            .head = {.nlmsg_len = sizeof(request),
                    .nlmsg_type = RTM_GETLINK,
                    .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
    };
    _cleanup_close_ int fd = -EBADF;
    int r;

    if (s->links)
        return 0;
    fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0 || send(fd, &request, sizeof(request), 0) < 0)
        return -errno;
    r = receive_links(fd, s);
    if (r < 0) {
        free(s->links);
        s->links = NULL;
        s->links_size = 0;
    }
    return r;
}

typedef struct Link {
    const char *name;
    int lower;    /* the ifindex of the interface below; 0: none */
    bool has_xdp; /* a program gets the packets before the host */
} Link;

static bool xdp_is_attached(const struct rtattr *xdp) {
    const struct rtattr *a = RTA_DATA(xdp);

    for (unsigned left = (unsigned) RTA_PAYLOAD(xdp); RTA_OK(a, left); a = RTA_NEXT(a, left))
        if ((a->rta_type & NLA_TYPE_MASK) == IFLA_XDP_ATTACHED && RTA_PAYLOAD(a) >= 1)
            return *(const uint8_t *) RTA_DATA(a) != XDP_ATTACHED_NONE;
    return false;
}

static Link parse_link(const struct nlmsghdr *h) {
    const struct ifinfomsg *body = NLMSG_DATA(h);
    const struct rtattr *a = IFLA_RTA(body);
    bool elsewhere = false;
    Link link = {.name = ""};

    for (unsigned left = (unsigned) IFLA_PAYLOAD(h); RTA_OK(a, left); a = RTA_NEXT(a, left))
        switch (a->rta_type & NLA_TYPE_MASK) {
        case IFLA_IFNAME:
            link.name = RTA_DATA(a);
            break;
        case IFLA_LINK:
            memcpy(&link.lower, RTA_DATA(a), sizeof(link.lower));
            break;
        case IFLA_LINK_NETNSID: /* the number belongs to another namespace then */
            elsewhere = true;
            break;
        case IFLA_XDP:
            link.has_xdp = xdp_is_attached(a);
            break;
        default:
            break;
        }
    if (elsewhere || link.lower == body->ifi_index)
        link.lower = 0;
    return link;
}

/* An interface may be on top of another without a link in sysfs (tunnels bound to a device). A program of XDP
 * may take all packets (AF_XDP, load balancers). */
static int check_links(UseSearch *s, const char *name) {
    int index = (int) if_nametoindex(name), r;
    const struct nlmsghdr *h;

    if (index == 0)
        return 0;
    r = read_links(s);
    if (r < 0)
        return r;
    h = (const struct nlmsghdr *) (const void *) s->links;
    for (unsigned left = (unsigned) s->links_size; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
        Link link;

        if (h->nlmsg_type != RTM_NEWLINK)
            continue;
        link = parse_link(h);
        if (link.lower == index)
            return use_found(s, "held by %s (%s)", link.name, name);
        if (link.has_xdp && streq(link.name, name))
            return use_found(s, "XDP program (%s)", name);
    }
    return 0;
}

/* ---- Storage over a named interface, with or without an address ---- */

static int check_storage(UseSearch *s, const char *name) {
    char word[80];
    int r;

    r = use_find_word(s, "/sys/class/iscsi_host", "*/netdev", name);
    if (r > 0)
        return use_found(s, "iSCSI disks (over %s)", name);
    (void) snprintf(word, sizeof(word), "host_iface=%.64s", name);
    if (r == 0)
        r = use_find_word(s, "/sys/class/nvme", "*/address", word);
    return r > 0 ? use_found(s, "NVMe disks over TCP (%s)", name) : r;
}

/* ---- One interface ---- */

/* The use of the upper interface is a better reason than its existence. */
static int check_upper(UseSearch *s, int at, const char *entry, const char *name) {
    const char *upper = entry + strlen("upper_");
    _cleanup_close_ int fd = -EBADF;
    int r;

    fd = openat(at, entry, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    r = use_check_interface(s, fd, upper);
    if (r > 0)
        return use_found_above(s, name);
    return r < 0 ? r : use_found(s, "held by %s (%s)", upper, name);
}

static int check_uppers(UseSearch *s, int fd, const char *name) {
    _cleanup_closedir_ DIR *d = NULL;
    char master[64];
    struct dirent *e;
    int r;

    r = open_directory_at(fd, ".", &d);
    if (r < 0)
        return r;
    while ((r = use_next_entry(d, &e)) > 0) {
        if (!startswith(e->d_name, "upper_"))
            continue;
        r = check_upper(s, dirfd(d), e->d_name, name);
        if (r != 0)
            return r;
    }
    if (r == 0 && read_link_basename_at(fd, "master", master, sizeof(master)) > 0)
        return use_found(s, "held by %s (%s)", master, name);
    return r;
}

int use_check_interface(UseSearch *s, int fd, const char *name) {
    int r;

    if (!(s->wanted & USE_BY_HOST))
        return 0;
    if (s->depth >= USE_DEPTH_MAX || ++s->n_directories > USE_DIRECTORIES_MAX)
        return -E2BIG;

    s->depth++;
    r = check_addresses(s, name);
    if (r == 0)
        r = check_routes(s, name);
    if (r == 0)
        r = check_uppers(s, fd, name);
    if (r == 0)
        r = check_links(s, name);
    if (r == 0)
        r = check_storage(s, name);
    s->depth--;
    return r;
}

int use_check_hidden_interface(UseSearch *s, int fd) {
    _cleanup_closedir_ DIR *d = NULL;
    struct dirent *e;
    int r;

    if (!(s->wanted & USE_BY_HOST))
        return 0;
    r = open_directory_at(fd, ".", &d);
    if (r == 0)
        r = use_next_entry(d, &e);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    return r > 0 ? 0 : use_found(s, "network interface in another network namespace");
}
