/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * load redis|memcached SOCKET KEYS BYTES: writes values of that many bytes to a key-value store,
 * one batch after the other, mostly to its favourite keys, and reads them back: a value says of
 * which key and which version it is, and the rest of it follows from that. Each command is an
 * operation; a value that is not the one written last is a bad one. Says READY when each key has
 * been written.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "count.h"

#define BATCH      16
#define READ_EVERY 4 /* one command of so many reads */

struct load {
    struct count *count;
    bool redis;
    FILE *in, *out;
    uint32_t keys, *versions;
    size_t bytes;
    char *value, *read;
};

static uint64_t random_state = 88172645463325252;

static uint64_t random_u64(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    return random_state ^= random_state << 17;
}

/* Half of the picks fall on an eighth of the keys. */
static uint32_t pick(uint32_t keys)
{
    double u = (double)(random_u64() >> 11) / 9007199254740992.0;

    return (uint32_t)(u * u * u * keys);
}

static void die(const char *what)
{
    printf("BAD load: %s\n", what);
    fflush(stdout);
    exit(1);
}

static void value_of(const struct load *load, uint32_t key, char *value)
{
    uint64_t word = ((uint64_t)key << 32 | load->versions[key]) * 0x9e3779b97f4a7c15;

    for (size_t i = 0; i + 8 <= load->bytes; i += 8, word = word * 6364136223846793005 + 1)
        memcpy(value + i, &word, 8);
}

static void send_set(struct load *load, uint32_t key)
{
    value_of(load, key, load->value);
    if (load->redis)
        fprintf(load->out, "*3\r\n$3\r\nSET\r\n$10\r\n%010u\r\n$%zu\r\n", key, load->bytes);
    else
        fprintf(load->out, "set %010u 0 0 %zu\r\n", key, load->bytes);
    fwrite(load->value, 1, load->bytes, load->out);
    fputs("\r\n", load->out);
}

static void send_get(struct load *load, uint32_t key)
{
    fprintf(load->out, load->redis ? "*2\r\n$3\r\nGET\r\n$10\r\n%010u\r\n" : "get %010u\r\n", key);
}

static void expect(struct load *load, const char *answer)
{
    char line[128];

    if (!fgets(line, sizeof(line), load->in))
        die("the server has gone");
    if (strncmp(line, answer, strlen(answer)) != 0)
        die(line);
}

static void check_get(struct load *load, uint32_t key)
{
    expect(load, load->redis ? "$" : "VALUE");
    if (fread(load->read, 1, load->bytes + 2, load->in) != load->bytes + 2)
        die("the server has gone");
    if (!load->redis)
        expect(load, "END");
    value_of(load, key, load->value);
    if (memcmp(load->read, load->value, load->bytes) != 0)
        count_add(&load->count->bad, 1);
}

/* One round trip. Keys of a batch that is not `fresh` are picked, each at most once. */
static void batch(struct load *load, bool fresh, uint32_t first)
{
    uint32_t key[BATCH];

    for (uint32_t i = 0; i < BATCH; i++) {
        key[i] = fresh ? first + i : pick(load->keys / BATCH) * BATCH + i;
        if (fresh || i % READ_EVERY != 0) {
            load->versions[key[i]]++;
            send_set(load, key[i]);
        } else {
            send_get(load, key[i]);
        }
    }
    fflush(load->out);
    for (uint32_t i = 0; i < BATCH; i++) {
        if (fresh || i % READ_EVERY != 0)
            expect(load, load->redis ? "+OK" : "STORED");
        else
            check_get(load, key[i]);
        count_add(&load->count->ops, 1);
    }
}

static void connect_to(struct load *load, const char *path)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    snprintf(to.sun_path, sizeof(to.sun_path), "%s", path);
    for (int tries = 0; connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0; tries++) {
        if (tries > 600)
            die("no server");
        usleep(100000);
    }
    load->in = fdopen(fd, "r");
    load->out = fdopen(dup(fd), "w");
    setvbuf(load->out, NULL, _IOFBF, BATCH * (load->bytes + 128));
}

int main(int argc, char **argv)
{
    struct load load = {.count = count_map()};

    if (argc != 5 || !load.count)
        return 2;
    load.redis = strcmp(argv[1], "redis") == 0;
    load.keys = (uint32_t)strtoul(argv[3], NULL, 10) / BATCH * BATCH;
    if (!load.keys)
        return 2;
    load.bytes = strtoul(argv[4], NULL, 10) / 8 * 8;
    load.versions = calloc(load.keys, sizeof(*load.versions));
    load.value = malloc(load.bytes);
    load.read = malloc(load.bytes + 2);
    connect_to(&load, argv[2]);
    for (uint32_t first = 0; first < load.keys; first += BATCH)
        batch(&load, true, first);
    printf("READY\n");
    fflush(stdout);
    for (;;)
        batch(&load, false, 0);
}
