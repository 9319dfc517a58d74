/* The least that answers a datagram: recvmmsg, one line made of another, sendmmsg. No lookup, no check, no count.

   udp_recvmmsg PORT          GET BTC USD id=1 -> OK 1 BTC 67000.10 USD 1767322800 6 F* */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define BATCH 64
#define DATAGRAM_MAX 1232

static const char tail[] = " BTC 67000.10 USD 1767322800 6 F*\n";

int main(int count, char **words) {
    static char in_data[BATCH][DATAGRAM_MAX], out_data[BATCH][128];
    static struct sockaddr_in from[BATCH];
    struct mmsghdr in[BATCH] = {0}, out[BATCH] = {0};
    struct iovec in_place[BATCH], out_place[BATCH];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)(count > 1 ? atoi(words[1]) : 0))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int bound = socket(AF_INET, SOCK_DGRAM, 0), buffer = 4 << 20;
    setsockopt(bound, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
    if (bind(bound, (struct sockaddr *)&address, sizeof address)) return perror("udp_recvmmsg: bind"), 1;
    for (int i = 0; i < BATCH; i++) {
        in_place[i] = (struct iovec){in_data[i], DATAGRAM_MAX};
        in[i].msg_hdr = (struct msghdr){.msg_iov = &in_place[i], .msg_iovlen = 1, .msg_name = &from[i]};
    }
    for (;;) {
        for (int i = 0; i < BATCH; i++) in[i].msg_hdr.msg_namelen = sizeof from[i];
        int got = recvmmsg(bound, in, BATCH, MSG_WAITFORONE, NULL), answers = 0;
        if (got < 0) return perror("udp_recvmmsg: recvmmsg"), 1;
        for (int i = 0; i < got; i++) {
            const char *id = memmem(in_data[i], in[i].msg_len, " id=", 4);
            size_t most = id ? (size_t)(in_data[i] + in[i].msg_len - id - 4) : 0, size = 0;
            while (size < most && size < 16 && id[4 + size] > ' ') size++;
            if (!size || memcmp(in_data[i], "GET ", 4)) continue;
            char *data = out_data[answers];
            memcpy(data, "OK ", 3);
            memcpy(data + 3, id + 4, size);
            memcpy(data + 3 + size, tail, sizeof tail - 1);
            out_place[answers] = (struct iovec){data, size + 3 + sizeof tail - 1};
            out[answers].msg_hdr = (struct msghdr){
                .msg_iov = &out_place[answers], .msg_iovlen = 1, .msg_name = &from[i], .msg_namelen = sizeof from[i]};
            answers++;
        }
        for (int done = 0; done < answers;) {
            int sent = sendmmsg(bound, out + done, (unsigned)(answers - done), 0);
            if (sent < 0) break; /* what the kernel does not take is lost, as any datagram may be */
            done += sent;
        }
    }
}
