/* Load over gRPC: unary calls, so many in flight on each of some HTTP/2 connections without TLS.

   load_grpc ADDRESS CONNECTIONS STREAMS WARM_S SECONDS PATH FILE

   ADDRESS is a port of the loopback or unix:/path; PATH is /package.Service/Method; FILE holds the request message.
   A closed loop. The least of HTTP/2 (RFC 9113) that a client needs: literal headers, so that
   no table is kept; settings and pings are acknowledged, windows are respected. Every call must end with one message and
   grpc-status 0; anything else ends the run with a word about it. Prints one line of JSON. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "histogram.h"

#define BUFFER (1 << 18)
#define SLOTS 1024
#define WINDOW_BIG 0x7fff0000u
#define STALLED_NS 20000000000ull

enum { DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4, PADDED = 8 };

struct connection {
    int socket;
    uint32_t next_stream;
    int64_t window; /* bytes that we may send */
    uint32_t taken; /* bytes that came since we gave the server new room */
    int wanting;    /* calls that wait for a window */
    size_t held, ready;
    struct { uint64_t sent; uint32_t stream, bytes; } slots[SLOTS];
    uint8_t in[BUFFER], out[BUFFER];
};

static uint8_t block[512], message[4096];
static size_t block_size, message_size;
static struct histogram latencies;
static uint64_t answers, last_answer, measured, until;

static void fail(const char *what, const void *shown, size_t size) {
    fprintf(stderr, "load_grpc: %s", what);
    for (size_t i = 0; i < size && i < 200; i++) {
        uint8_t one = ((const uint8_t *)shown)[i];
        fprintf(stderr, one >= ' ' && one < 127 ? "%c" : " %02x ", one);
    }
    fprintf(stderr, "\n");
    exit(1);
}

static void put32(uint8_t *at, uint32_t value) {
    for (int i = 0; i < 4; i++) at[i] = (uint8_t)(value >> (24 - 8 * i));
}

static uint32_t get32(const uint8_t *at) { return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3]; }

static void frame(struct connection *over, int kind, int flags, uint32_t stream, const void *data, size_t size) {
    if (over->ready + 9 + size > BUFFER) fail("too much to send at once", "", 0);
    uint8_t *at = over->out + over->ready;
    put32(at, (uint32_t)size << 8 | (uint32_t)kind);
    at[4] = (uint8_t)flags;
    put32(at + 5, stream);
    memcpy(at + 9, data, size);
    over->ready += 9 + size;
}

static void flush(struct connection *over) {
    for (size_t done = 0; done < over->ready;) {
        ssize_t sent = send(over->socket, over->out + done, over->ready - done, MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR) fail("cannot send: ", strerror(errno), 40);
        if (sent > 0) done += (size_t)sent;
    }
    over->ready = 0;
}

static void call(struct connection *over) {
    if (over->window < (int64_t)message_size) {
        over->wanting++;
        return;
    }
    uint32_t stream = over->next_stream, slot = stream / 2 % SLOTS;
    over->next_stream += 2;
    over->window -= (int64_t)message_size;
    over->slots[slot].stream = stream;
    over->slots[slot].bytes = 0;
    over->slots[slot].sent = now_ns();
    frame(over, HEADERS, END_HEADERS, stream, block, block_size);
    frame(over, DATA, END_STREAM, stream, message, message_size);
}

static void header(int name_index, const char *name, const char *value) {
    uint8_t *at = block + block_size;
    if (name_index < 0) { /* the whole field stands in the static table */
        *at++ = (uint8_t)(0x80 | -name_index);
    } else {
        if (name_index >= 15) *at++ = 0x0f, *at++ = (uint8_t)(name_index - 15);
        else *at++ = (uint8_t)name_index;
        if (!name_index) {
            *at++ = (uint8_t)strlen(name);
            at = mempcpy(at, name, strlen(name));
        }
        *at++ = (uint8_t)strlen(value);
        at = mempcpy(at, value, strlen(value));
    }
    block_size = (size_t)(at - block);
}

static void ended(struct connection *over, uint32_t stream, const uint8_t *trailers, size_t size) {
    static const char good[] = "grpc-status\001" "0";
    uint32_t slot = stream / 2 % SLOTS;
    if (over->slots[slot].stream != stream) fail("an answer to no call", "", 0);
    if (!memmem(trailers, size, good, sizeof good - 1)) fail("no status 0 in: ", trailers, size);
    if (over->slots[slot].bytes < 6) fail("no message came", "", 0);
    uint64_t at = now_ns();
    if (at >= measured && at < until) record(&latencies, at - over->slots[slot].sent);
    answers++;
    last_answer = at;
    over->slots[slot].stream = 0;
    call(over);
}

static void take(struct connection *over, int kind, int flags, uint32_t stream, const uint8_t *data, size_t size) {
    uint8_t room[4];
    if (kind == DATA) {
        over->slots[stream / 2 % SLOTS].bytes += (uint32_t)size;
        over->taken += (uint32_t)size;
        if (over->taken > WINDOW_BIG / 2) {
            put32(room, over->taken);
            frame(over, WINDOW_UPDATE, 0, 0, room, 4);
            over->taken = 0;
        }
        if (flags & END_STREAM) fail("a call ended without a status", "", 0);
    } else if (kind == HEADERS) {
        if (!(flags & END_HEADERS) || flags & PADDED) fail("headers of a kind that is not read here", "", 0);
        if (flags & END_STREAM) ended(over, stream, data, size);
    } else if (kind == SETTINGS && !(flags & ACK)) {
        frame(over, SETTINGS, ACK, 0, "", 0);
    } else if (kind == PING && !(flags & ACK)) {
        frame(over, PING, ACK, 0, data, size);
    } else if (kind == WINDOW_UPDATE && !stream) {
        over->window += get32(data);
        for (int calls = over->wanting; calls; calls--) over->wanting--, call(over);
    } else if (kind == RST_STREAM || kind == GOAWAY) {
        fail(kind == GOAWAY ? "the server ends the connection: " : "the server ends a call: ", data, size);
    }
}

static int connect_to(const char *address) {
    int made, on = 1, failed;
    if (!strncmp(address, "unix:", 5)) {
        struct sockaddr_un where = {.sun_family = AF_UNIX};
        snprintf(where.sun_path, sizeof where.sun_path, "%s", address + 5);
        made = socket(AF_UNIX, SOCK_STREAM, 0);
        failed = connect(made, (struct sockaddr *)&where, sizeof where);
    } else {
        struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(address))};
        where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        made = socket(AF_INET, SOCK_STREAM, 0);
        failed = connect(made, (struct sockaddr *)&where, sizeof where);
        setsockopt(made, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    if (failed) fail("cannot connect: ", strerror(errno), 40);
    return made;
}

int main(int count, char **words) {
    if (count != 8) fail("usage: load_grpc ADDRESS CONNECTIONS STREAMS WARM_S SECONDS PATH FILE", "", 0);
    int connections = atoi(words[2]), streams = atoi(words[3]);
    FILE *file = fopen(words[7], "rb");
    if (!file) fail("cannot read ", words[7], strlen(words[7]));
    message_size = 5 + fread(message + 5, 1, sizeof message - 5, file);
    fclose(file);
    put32(message + 1, (uint32_t)message_size - 5);
    if (strlen(words[6]) > 120) fail("PATH is too long", "", 0);
    header(-3, NULL, NULL); /* :method POST */
    header(-6, NULL, NULL); /* :scheme http */
    header(4, ":path", words[6]);
    header(1, ":authority", "localhost");
    header(31, "content-type", "application/grpc");
    header(0, "te", "trailers");
    header(0, "grpc-timeout", "10S");

    int epoll = epoll_create1(0);
    struct connection *all = calloc((size_t)connections, sizeof *all);
    uint64_t began = now_ns();
    measured = began + (uint64_t)(atof(words[4]) * 1e9);
    until = measured + (uint64_t)(atof(words[5]) * 1e9);
    last_answer = began;
    for (int each = 0; each < connections; each++) {
        static const uint8_t no_table[6] = {0, 1, 0, 0, 0, 0}; /* SETTINGS_HEADER_TABLE_SIZE 0 */
        uint8_t room[4];
        struct connection *one = &all[each];
        one->socket = connect_to(words[1]);
        one->next_stream = 1;
        one->window = 65535;
        one->ready = sizeof "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" - 1;
        memcpy(one->out, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", one->ready);
        frame(one, SETTINGS, 0, 0, no_table, sizeof no_table);
        put32(room, WINDOW_BIG - 65535);
        frame(one, WINDOW_UPDATE, 0, 0, room, 4);
        struct epoll_event wanted = {.events = EPOLLIN, .data.ptr = one};
        epoll_ctl(epoll, EPOLL_CTL_ADD, one->socket, &wanted);
        for (int stream = 0; stream < streams; stream++) call(one);
        flush(one);
    }
    for (uint64_t now = began; now < until; now = now_ns()) {
        if (now > last_answer && now - last_answer > STALLED_NS) fail("no answer for 20 s", "", 0);
        struct epoll_event events[64];
        int ready = epoll_wait(epoll, events, 64, 100);
        for (int each = 0; each < ready; each++) {
            struct connection *one = events[each].data.ptr;
            ssize_t got = recv(one->socket, one->in + one->held, BUFFER - one->held, MSG_DONTWAIT);
            if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
            if (got <= 0) fail("the server closed a connection", "", 0);
            one->held += (size_t)got;
            size_t at = 0;
            while (one->held - at >= 9) {
                size_t size = get32(one->in + at) >> 8;
                if (size + 9 > BUFFER) fail("a frame is too long", "", 0);
                if (one->held - at < 9 + size) break;
                take(one, one->in[at + 3], one->in[at + 4], get32(one->in + at + 5) & 0x7fffffff, one->in + at + 9, size);
                at += 9 + size;
            }
            one->held -= at;
            memmove(one->in, one->in + at, one->held);
            flush(one);
        }
    }
    report(&latencies, (double)latencies.total / atof(words[5]), answers, 0, answers, 0);
    return 0;
}
