/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "metrics/connections.h"

#include <netinet/in.h>
#include <stddef.h>
#include <string.h>

void connections_init(struct connections *all)
{
    *all = (struct connections){.order = 0};
    pthread_mutex_init(&all->lock, NULL);
    for (int i = 0; i < CONNECTIONS_SLOTS; i++)
        all->slot[i].fd = -1;
}

void connections_destroy(struct connections *all)
{
    pthread_mutex_destroy(&all->lock);
}

static bool counts(const struct connection *c)
{
    return c->fd >= 0 && !c->leaving;
}

/* The descriptor is the library's: it finds the end of the input, and closes. */
static void dismiss(struct connection *c)
{
    c->leaving = true;
    shutdown(c->fd, SHUT_RDWR);
}

static int count_of(const struct connections *all, const uint8_t *address)
{
    int n = 0;

    for (int i = 0; i < CONNECTIONS_SLOTS; i++)
        n += counts(&all->slot[i]) &&
             (!address || memcmp(all->slot[i].address, address, sizeof(all->slot[i].address)) == 0);
    return n;
}

/* Who has been at a request for longest, of the address with the most connections. */
static struct connection *find_longest(struct connections *all)
{
    struct connection *longest = NULL;
    int most = 0;

    for (int i = 0; i < CONNECTIONS_SLOTS; i++) {
        struct connection *c = &all->slot[i];
        int n = counts(c) ? count_of(all, c->address) : 0;

        if (n > most || (n > 0 && n == most && c->order < longest->order)) {
            most = n;
            longest = c;
        }
    }
    return longest;
}

/* Its time counts from the next tick: the last one may be long ago where the daemon was kept busy.
 */
static void begin(struct connections *all, struct connection *c)
{
    c->order = all->order++;
    c->since_ns = 0;
}

static void take_address(int fd, const struct sockaddr *from, uint8_t to[static 8])
{
    struct ucred peer = {.uid = (uid_t)-1};
    socklen_t len = sizeof(peer);

    if (from->sa_family == AF_INET6) {
        memcpy(to, &((const struct sockaddr_in6 *)(const void *)from)->sin6_addr, 8);
    } else if (from->sa_family == AF_INET) {
        memcpy(to, &((const struct sockaddr_in *)(const void *)from)->sin_addr, 4);
    } else {
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len);
        memcpy(to, &peer.uid, sizeof(peer.uid));
    }
}

struct connection *connections_add(struct connections *all, int fd, const struct sockaddr *address)
{
    struct connection *c = NULL;

    pthread_mutex_lock(&all->lock);
    for (int i = 0; i < CONNECTIONS_SLOTS && !c; i++) {
        if (all->slot[i].fd < 0)
            c = &all->slot[i];
    }
    if (c) {
        *c = (struct connection){.fd = fd};
        take_address(fd, address, c->address);
        begin(all, c);
        if (count_of(all, c->address) > CONNECTIONS_PER_ADDRESS ||
            count_of(all, NULL) > CONNECTIONS_MAX)
            dismiss(find_longest(all));
    }
    pthread_mutex_unlock(&all->lock);
    return c;
}

void connections_remove(struct connections *all, struct connection *c)
{
    pthread_mutex_lock(&all->lock);
    c->fd = -1;
    pthread_mutex_unlock(&all->lock);
}

void connections_answered(struct connections *all, struct connection *c)
{
    pthread_mutex_lock(&all->lock);
    begin(all, c);
    pthread_mutex_unlock(&all->lock);
}

void connections_tick(struct connections *all, int64_t now_ns)
{
    pthread_mutex_lock(&all->lock);
    for (int i = 0; i < CONNECTIONS_SLOTS; i++) {
        struct connection *c = &all->slot[i];

        if (c->since_ns == 0)
            c->since_ns = now_ns;
        if (counts(c) && now_ns - c->since_ns >= CONNECTIONS_DEADLINE_NS)
            dismiss(c);
    }
    pthread_mutex_unlock(&all->lock);
}
