/* Load over UDP: datagrams in flight on one socket or several, sent and taken in batches (sendmmsg, recvmmsg).

   load_udp FORM PORT IN_FLIGHT WARM_S SECONDS FILE [KEY [SOCKETS]]

   With several sockets they take turns, so that datagrams next to each other come from different ports.

   A closed loop: for each answer, or datagram given up after 300 ms, the next one goes out. FILE holds one
   datagram as a pattern, FORM says what is filled in:

   text     a line with `id=00000000`: the eight digits become the datagram's number, which the answer tells
   signed   likewise, without line end; ` t=<unix seconds> q=<number> m=<MAC>` of the session is put behind it
   binary   version, flags, length, id, session, time and sequence as docs/udp.md orders them, payload, and room for
            the MAC: id, time, sequence and MAC are filled in

   KEY is the session's, in hexadecimal digits. Every answer is matched with its datagram by the id; a text
   answer must begin with `OK`, a binary one must have the response flag and not the refused one, and every
   eighth one's MAC is computed and compared. Prints one line of JSON. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "histogram.h"
#include "sha256.h"

#define BATCH 64
#define DATAGRAM_MAX 1232
#define SLOTS 4096
#define SOCKETS_MAX 64
#define GIVEN_UP_NS 300000000ull
#define STALLED_NS 20000000000ull
#define MAC_BYTES 16
#define HEAD_BYTES 28
#define FLAG_RESPONSE 1
#define FLAG_REFUSED 16
#define CHECKED_EVERY 8

enum form { TEXT, SIGNED, BINARY };

static struct { uint64_t sent; uint32_t number; int waiting; uint8_t mac[MAC_BYTES]; } slots[SLOTS];
static uint8_t pattern[DATAGRAM_MAX], out_data[BATCH][DATAGRAM_MAX], in_data[BATCH][DATAGRAM_MAX + 1];
static size_t pattern_size, id_place;
static struct hmac_key key;
static struct histogram latencies;
static uint64_t checked;

static void fail(const char *what, const void *shown, size_t size) {
    fprintf(stderr, "load_udp: %s%s%.*s\n", what, size ? ": " : "", (int)size, (const char *)shown);
    exit(1);
}

static void put(uint8_t *at, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) at[i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
}

static void put_hex(uint8_t *at, uint32_t value) {
    for (int i = 0; i < 8; i++) at[i] = (uint8_t)"0123456789abcdef"[value >> (28 - 4 * i) & 15];
}

/* Fill in the datagram with a number; its size. */
static size_t fill(enum form form, uint8_t *out, uint32_t number, uint32_t unix_s, uint8_t mac[MAC_BYTES]) {
    uint8_t labelled[DATAGRAM_MAX + 2];
    memcpy(out, pattern, pattern_size);
    size_t size = pattern_size;
    if (form == BINARY) {
        put(out + 4, number, 8);
        put(out + 20, unix_s, 4);
        put(out + 24, number, 4);
        labelled[0] = 'q';
        memcpy(labelled + 1, out, size - MAC_BYTES);
        hmac_of(&key, labelled, 1 + size - MAC_BYTES, mac, MAC_BYTES);
        memcpy(out + size - MAC_BYTES, mac, MAC_BYTES);
        return size;
    }
    put_hex(out + id_place, number);
    if (form == SIGNED) {
        size += (size_t)sprintf((char *)out + size, " t=%u q=%u", unix_s, number);
        memcpy(labelled, "qt", 2);
        memcpy(labelled + 2, out, size);
        hmac_of(&key, labelled, 2 + size, mac, MAC_BYTES);
        memcpy(out + size, " m=", 3);
        size += 3;
        for (int i = 0; i < MAC_BYTES; i++, size += 2) sprintf((char *)out + size, "%02x", mac[i]);
        out[size++] = '\n';
    }
    return size;
}

/* The number of the datagram that an answer answers. */
static uint32_t number_of(enum form form, const uint8_t *in, size_t size) {
    if (form == BINARY) {
        if (size < HEAD_BYTES + MAC_BYTES || !(in[1] & FLAG_RESPONSE) || in[1] & FLAG_REFUSED) fail("a refusal, or no answer", "", 0);
        return (uint32_t)in[8] << 24 | (uint32_t)in[9] << 16 | (uint32_t)in[10] << 8 | in[11];
    }
    if (size < 12 || memcmp(in, "OK ", 3)) fail("not an OK", in, size);
    return (uint32_t)strtoul((const char *)in + 3, NULL, 16);
}

static void check_mac(const uint8_t *in, size_t size, const uint8_t *request_mac) {
    uint8_t labelled[1 + MAC_BYTES + DATAGRAM_MAX], mac[MAC_BYTES];
    labelled[0] = 'r';
    memcpy(labelled + 1, request_mac, MAC_BYTES);
    memcpy(labelled + 1 + MAC_BYTES, in, size - MAC_BYTES);
    hmac_of(&key, labelled, 1 + size, mac, MAC_BYTES);
    if (memcmp(mac, in + size - MAC_BYTES, MAC_BYTES)) fail("the MAC of an answer is wrong", "", 0);
    checked++;
}

int main(int count, char **words) {
    if (count < 7) fail("usage: load_udp text|signed|binary PORT IN_FLIGHT WARM_S SECONDS FILE [KEY [SOCKETS]]", "", 0);
    enum form form = !strcmp(words[1], "text") ? TEXT : !strcmp(words[1], "signed") ? SIGNED : BINARY;
    int in_flight = atoi(words[3]);
    double warm = atof(words[4]), seconds = atof(words[5]);
    FILE *file = fopen(words[6], "rb");
    if (!file) fail("cannot read", words[6], strlen(words[6]));
    pattern_size = fread(pattern, 1, sizeof pattern - 128, file);
    fclose(file);
    if (form != BINARY) {
        const uint8_t *found = memmem(pattern, pattern_size, "id=00000000", 11);
        if (!found) fail("no id=00000000 in the pattern", pattern, pattern_size);
        id_place = (size_t)(found - pattern) + 3;
    } else if (pattern_size < HEAD_BYTES + MAC_BYTES) fail("the pattern is too short", "", 0);
    if (form != TEXT) {
        uint8_t bytes[64];
        size_t size = count > 7 ? strlen(words[7]) / 2 : 0;
        if (!size || size > sizeof bytes) fail("a KEY of 1 to 64 bytes is needed", "", 0);
        for (size_t i = 0; i < size; i++) {
            unsigned value;
            if (sscanf(words[7] + 2 * i, "%2x", &value) != 1) fail("KEY is not hexadecimal", "", 0);
            bytes[i] = (uint8_t)value;
        }
        hmac_begin(&key, bytes, size);
    }
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(words[2]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int sockets = count > 8 ? atoi(words[8]) : 1, buffer = 4 << 20;
    if (sockets < 1 || sockets > SOCKETS_MAX) fail("SOCKETS must be 1 to 64", "", 0);
    struct pollfd watched[SOCKETS_MAX];
    for (int i = 0; i < sockets; i++) {
        watched[i] = (struct pollfd){socket(AF_INET, SOCK_DGRAM, 0), POLLIN, 0};
        setsockopt(watched[i].fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
        if (connect(watched[i].fd, (struct sockaddr *)&address, sizeof address)) fail("cannot connect", strerror(errno), 40);
    }

    struct mmsghdr out[BATCH], in[BATCH];
    struct iovec out_place[BATCH], in_place[BATCH];
    memset(out, 0, sizeof out);
    memset(in, 0, sizeof in);
    for (int i = 0; i < BATCH; i++) {
        out_place[i].iov_base = out_data[i];
        in_place[i] = (struct iovec){in_data[i], DATAGRAM_MAX};
        out[i].msg_hdr.msg_iov = &out_place[i];
        in[i].msg_hdr.msg_iov = &in_place[i];
        out[i].msg_hdr.msg_iovlen = in[i].msg_hdr.msg_iovlen = 1;
    }

    uint64_t began = now_ns(), measured = began + (uint64_t)(warm * 1e9), until = measured + (uint64_t)(seconds * 1e9);
    uint64_t answers = 0, lost = 0, swept = began, last_answer = began;
    uint32_t number = 0;
    int waiting = 0, turn = 0, from = 0;
    for (;;) {
        uint64_t now = now_ns();
        if (now >= until) break;
        if (now - last_answer > STALLED_NS) fail("no answer for 20 s", "", 0);
        if (now - swept > GIVEN_UP_NS / 4) {
            swept = now;
            for (int i = 0; i < SLOTS; i++)
                if (slots[i].waiting && now - slots[i].sent > GIVEN_UP_NS) {
                    slots[i].waiting = 0;
                    waiting--;
                    lost++;
                }
        }
        while (waiting < in_flight) {
            int batch = in_flight - waiting < BATCH ? in_flight - waiting : BATCH;
            uint32_t unix_s = (uint32_t)time(NULL);
            for (int i = 0; i < batch; i++) {
                uint32_t own = ++number, slot = own % SLOTS;
                if (slots[slot].waiting) waiting--, lost++;
                out_place[i].iov_len = fill(form, out_data[i], own, unix_s, slots[slot].mac);
                slots[slot].number = own;
                slots[slot].waiting = 1;
                slots[slot].sent = now_ns();
                waiting++;
            }
            for (int done = 0; done < batch;) {
                if (sockets > 1) turn = (turn + 1) % sockets;
                int sent = sendmmsg(watched[turn].fd, out + done, sockets > 1 ? 1 : (unsigned)(batch - done), 0);
                if (sent < 0 && errno != EINTR) fail("cannot send", strerror(errno), 40);
                if (sent > 0) done += sent;
            }
        }
        if (poll(watched, (nfds_t)sockets, 100) <= 0) continue;
        int got = 0;
        for (int i = 0; i < sockets && got < BATCH; i++) {
            from = (from + 1) % sockets;
            if (!(watched[from].revents & POLLIN)) continue;
            int more = recvmmsg(watched[from].fd, in + got, (unsigned)(BATCH - got), MSG_DONTWAIT, NULL);
            if (more < 0 && errno != EAGAIN && errno != EINTR) fail("cannot receive", strerror(errno), 40);
            if (more > 0) got += more;
        }
        uint64_t at = now_ns();
        for (int i = 0; i < got; i++) {
            size_t size = in[i].msg_len;
            in_data[i][size] = 0;
            uint32_t own = number_of(form, in_data[i], size), slot = own % SLOTS;
            if (!slots[slot].waiting || slots[slot].number != own) continue;
            if (form == BINARY && own % CHECKED_EVERY == 0) check_mac(in_data[i], size, slots[slot].mac);
            slots[slot].waiting = 0;
            waiting--;
            answers++;
            last_answer = at;
            if (at >= measured && at < until) record(&latencies, at - slots[slot].sent);
        }
    }
    report(&latencies, (double)latencies.total / seconds, answers, lost, checked, 0);
    return 0;
}
