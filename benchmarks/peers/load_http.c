/* Load over HTTP/1.1: keep-alive connections with one request in flight on each.

   load_http PORT CONNECTIONS WARM_S SECONDS RATE FILE

   RATE 0 is a closed loop: the next request goes out when the answer is there. Any other RATE is an open
   loop: requests are due at even distances, whether or not the server keeps up, and a latency
   counts from the moment its request was due, so that a server which stands still is not spared those that
   it kept from being sent.

   In an open loop, what this program itself is late by is no latency of the server's: an answer ends when the kernel
   put it into our socket (SO_TIMESTAMPNS), not when we came to read it; a request that was due while a connection was
   free begins when it was sent; and where we were off our core for long, what follows is due that much later, so that
   no burst makes up for it. `paused` tells the part of the time that went by so.

   FILE holds one or several requests without bodies, sent in turns. Every answer must be a 200 with a Content-Length
   and a JSON object of that size; anything else ends the run with a word about it. Prints one line of JSON. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "histogram.h"

#define ANSWER_MAX 16384
#define REQUESTS_MAX 256
#define STALLED_NS 20000000000ull
#define PAUSED_NS 100000ull /* later than this is no delay of a busy loop */

struct connection {
    int socket;
    int busy;
    size_t held;
    uint64_t due;  /* when its request was due, or could first be sent, and how long it had waited for that */
    uint64_t waited;
    uint64_t sent;
    uint64_t free; /* since when it has had nothing to wait for */
    char data[ANSWER_MAX];
};

static struct { const char *data; size_t size; } requests[REQUESTS_MAX];
static unsigned request_count, next_request;
static struct histogram latencies;

static void fail(const char *what, const char *shown, size_t size) {
    fprintf(stderr, "load_http: %s%s%.*s\n", what, size ? ": " : "", (int)(size > 600 ? 600 : size), shown);
    exit(1);
}

static void ask(struct connection *over, uint64_t due) {
    unsigned which = next_request++ % request_count;
    uint64_t began = now_ns();
    ssize_t sent = send(over->socket, requests[which].data, requests[which].size, MSG_NOSIGNAL);
    if (sent != (ssize_t)requests[which].size) fail("a request was not taken whole", strerror(errno), 60);
    over->busy = 1;
    over->due = due;
    over->waited = over->free > due ? over->free - due : 0;
    over->sent = began;
}

/* Take what has come; when it came is put into `at`, on our clock: when the kernel had it where that is timed. */
static ssize_t take(struct connection *from, int timed, uint64_t *at) {
    if (!timed) {
        ssize_t got = recv(from->socket, from->data + from->held, ANSWER_MAX - from->held, MSG_DONTWAIT);
        *at = now_ns();
        return got;
    }
    char control[CMSG_SPACE(sizeof(struct timespec))];
    struct iovec place = {from->data + from->held, ANSWER_MAX - from->held};
    struct msghdr message = {.msg_iov = &place, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t got = recvmsg(from->socket, &message, MSG_DONTWAIT);
    if (got <= 0) return got;
    *at = now_ns();
    for (struct cmsghdr *one = CMSG_FIRSTHDR(&message); one; one = CMSG_NXTHDR(&message, one))
        if (one->cmsg_level == SOL_SOCKET && one->cmsg_type == SCM_TIMESTAMPNS) {
            struct timespec came, real;
            clock_gettime(CLOCK_REALTIME, &real);
            memcpy(&came, CMSG_DATA(one), sizeof came);
            int64_t age = (real.tv_sec - came.tv_sec) * 1000000000ll + real.tv_nsec - came.tv_nsec;
            if (age > 0 && (uint64_t)age < *at - from->sent) *at -= (uint64_t)age;
        }
    return got;
}

/* The size of the answer that stands at the beginning of what is held; 0 when it is not whole yet. */
static size_t whole_answer(const struct connection *from) {
    const char *end = memmem(from->data, from->held, "\r\n\r\n", 4);
    if (!end) return 0;
    if (from->held < 12 || memcmp(from->data, "HTTP/1.1 200", 12)) fail("not a 200", from->data, from->held);
    const char *line = memchr(from->data, '\n', from->held), *found = NULL;
    while (line && line < end) {
        line++;
        if ((*line | 32) == 'c' && !strncasecmp(line, "content-length:", 15)) {
            found = line + 15;
            break;
        }
        line = memchr(line, '\n', (size_t)(end + 2 - line));
    }
    if (!found) fail("no Content-Length", from->data, from->held);
    size_t body = strtoul(found, NULL, 10), head = (size_t)(end + 4 - from->data);
    if (head + body > ANSWER_MAX) fail("the answer is too long", from->data, 200);
    if (from->held < head + body) return 0;
    if (body < 2 || end[4] != '{' || from->data[head + body - 1] != '}') fail("no JSON object", from->data, head + body);
    return head + body;
}

static int connect_to(int port, int timed) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int made = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    if (made < 0 || connect(made, (struct sockaddr *)&address, sizeof address)) fail("cannot connect", strerror(errno), 60);
    setsockopt(made, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (timed) setsockopt(made, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
    return made;
}

static void read_requests(const char *path) {
    static char data[1 << 20];
    FILE *file = fopen(path, "rb");
    if (!file) fail("cannot read", path, strlen(path));
    size_t size = fread(data, 1, sizeof data, file);
    fclose(file);
    for (const char *at = data; at < data + size;) {
        const char *end = memmem(at, (size_t)(data + size - at), "\r\n\r\n", 4);
        if (!end || request_count == REQUESTS_MAX) fail("a request is not whole, or there are too many", at, 100);
        requests[request_count].data = at;
        requests[request_count++].size = (size_t)(end + 4 - at);
        at = end + 4;
    }
    if (!request_count) fail("no request in", path, strlen(path));
}

int main(int count, char **words) {
    if (count != 7) fail("usage: load_http PORT CONNECTIONS WARM_S SECONDS RATE FILE", "", 0);
    int port = atoi(words[1]), connections = atoi(words[2]);
    double warm = atof(words[3]), seconds = atof(words[4]), rate = atof(words[5]);
    read_requests(words[6]);
    prctl(PR_SET_TIMERSLACK, 1);

    int epoll = epoll_create1(0), timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    struct connection *all = calloc((size_t)connections, sizeof *all), **idle = calloc((size_t)connections, sizeof *idle);
    int idle_count = 0, idle_first = 0; /* a ring: the connection that rested longest is next */
    for (int each = 0; each < connections; each++) {
        all[each].socket = connect_to(port, rate > 0);
        struct epoll_event wanted = {.events = EPOLLIN, .data.ptr = &all[each]};
        epoll_ctl(epoll, EPOLL_CTL_ADD, all[each].socket, &wanted);
        idle[idle_count++] = &all[each];
    }
    struct epoll_event on_timer = {.events = EPOLLIN, .data.ptr = NULL};
    if (rate > 0) epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &on_timer);

    uint64_t began = now_ns(), measured = began + (uint64_t)(warm * 1e9), until = measured + (uint64_t)(seconds * 1e9);
    uint64_t answers = 0, in_time = 0, asked = 0, last_answer = began, paused = 0;
    double step = rate > 0 ? 1e9 / rate : 0;
    if (rate == 0)
        for (int each = 0; each < connections; each++) ask(&all[each], now_ns());

    for (;;) {
        uint64_t now = now_ns();
        if (now >= until) break;
        if (now - last_answer > STALLED_NS) fail("no answer for 20 s", "", 0);
        if (rate > 0) {
            uint64_t due = began + paused + (uint64_t)((double)asked * step);
            if (due <= now && idle_count) {
                uint64_t since = idle[idle_first]->free > due ? idle[idle_first]->free : due;
                if (now > since + PAUSED_NS) {
                    paused += now - since;
                    due += now - since;
                }
            }
            while (due <= now && idle_count) {
                ask(idle[idle_first], due);
                idle_first = (idle_first + 1) % connections;
                idle_count--;
                due = began + paused + (uint64_t)((double)++asked * step);
            }
            if (idle_count) {
                struct itimerspec at = {.it_value = {(time_t)(due / 1000000000u), (long)(due % 1000000000u)}};
                timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, NULL);
            }
        }
        struct epoll_event events[256];
        int ready = epoll_wait(epoll, events, 256, 100);
        for (int each = 0; each < ready; each++) {
            struct connection *one = events[each].data.ptr;
            if (!one) {
                uint64_t expired;
                if (read(timer, &expired, sizeof expired) < 0 && errno != EAGAIN) fail("timer", strerror(errno), 60);
                continue;
            }
            uint64_t at = 0;
            ssize_t got = take(one, rate > 0, &at);
            if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
            if (got <= 0) fail("the server closed a connection", got ? strerror(errno) : one->data, got ? 60 : one->held);
            one->held += (size_t)got;
            size_t size = whole_answer(one);
            if (!size) continue;
            if (size != one->held || !one->busy) fail("more than one answer to one request", one->data, one->held);
            if (at >= measured && at < until) {
                record(&latencies, at - one->sent + one->waited);
                in_time++;
            }
            answers++;
            last_answer = at;
            one->held = 0;
            one->busy = 0;
            one->free = at;
            if (rate > 0) idle[(idle_first + idle_count++) % connections] = one;
            else ask(one, now_ns());
        }
    }
    if (rate > 0) {
        /* What is due and not answered is as late as it is by now, at the least. */
        for (int each = 0; each < connections; each++)
            if (all[each].busy && all[each].due >= measured) record(&latencies, until - all[each].due);
        for (uint64_t due = began + paused + (uint64_t)((double)asked * step); due < until; due = began + paused + (uint64_t)((double)++asked * step))
            if (due >= measured) record(&latencies, until - due);
    }
    report(&latencies, (double)in_time / seconds, answers, 0, answers, (double)paused / (double)(until - began));
    return 0;
}
