/* Answers every question over UDP with one A record, TTL 3600, at what it costs to be woken, to receive and to send.
 *
 *   answer ADDRESS PORT
 *
 * It is the limit that the forwarder is measured against, and the upstream that every server of the bench asks. A
 * question without records behind it is turned round in the buffer that it came in, unread; one with OPT, which only
 * the upstream sees, is read as far as the question's end, and gets an OPT back. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { BATCH = 64, MESSAGE = 512, SPACE = 64, HEADER = 12 };

static const unsigned char RECORD[] = {0xc0, HEADER, 0, 1, 0, 1, 0, 0, 0x0e, 0x10, 0, 4, 10, 96, 0, 1};
static const unsigned char OPT[] = {0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0};

/* Octets of the answer, 0 for none. */
static size_t answer(unsigned char *packet, size_t size) {
    if (size < HEADER + 5 || packet[2] & 0x80) return 0;
    int has_opt = packet[11];
    size_t end = size;
    if (has_opt) {
        for (end = HEADER; end < size && packet[end]; end += packet[end] + 1u)
            ;
        end += 5;
        if (end > size) return 0;
    }
    packet[2] = 0x84 | (packet[2] & 0x01); /* an answer, authoritative; RD as it was */
    packet[3] = 0x80;
    memcpy(packet + 4, (unsigned char[]){0, 1, 0, 1, 0, 0, 0, has_opt ? 1 : 0}, 8);
    memcpy(packet + end, RECORD, sizeof RECORD);
    end += sizeof RECORD;
    if (has_opt) {
        memcpy(packet + end, OPT, sizeof OPT);
        end += sizeof OPT;
    }
    return end;
}

int main(int count, char **words) {
    if (count != 3) {
        fprintf(stderr, "usage: answer ADDRESS PORT\n");
        return 2;
    }
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(words[2]))};
    int sock = socket(AF_INET, SOCK_DGRAM, 0), buffer = 1 << 20;
    setsockopt(sock, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
    if (inet_pton(AF_INET, words[1], &own.sin_addr) != 1 || bind(sock, (void *)&own, sizeof own)) {
        perror("answer: bind");
        return 1;
    }
    static unsigned char packets[BATCH][MESSAGE + SPACE];
    static struct sockaddr_in sources[BATCH];
    static struct iovec pieces[BATCH];
    static struct mmsghdr messages[BATCH];
    for (int i = 0; i < BATCH; i++) {
        pieces[i].iov_base = packets[i];
        messages[i].msg_hdr =
            (struct msghdr){.msg_name = &sources[i], .msg_iov = &pieces[i], .msg_iovlen = 1};
    }
    for (;;) {
        for (int i = 0; i < BATCH; i++) {
            pieces[i].iov_len = MESSAGE;
            messages[i].msg_hdr.msg_namelen = sizeof sources[i];
        }
        int received = recvmmsg(sock, messages, BATCH, MSG_WAITFORONE, NULL);
        if (received < 0 && errno != EINTR && errno != ECONNREFUSED) {
            perror("answer: recvmmsg");
            return 1;
        }
        int ready = 0;
        for (int i = 0; i < received; i++) {
            size_t size = answer(packets[i], messages[i].msg_len);
            if (!size) continue;
            /* Answers stand together at the front, for one sendmmsg. */
            struct mmsghdr swapped = messages[ready];
            messages[ready] = messages[i];
            messages[i] = swapped;
            messages[ready++].msg_hdr.msg_iov->iov_len = size;
        }
        for (int sent = 0; sent < ready;) {
            int now = sendmmsg(sock, messages + sent, (unsigned)(ready - sent), 0);
            sent += now > 0 ? now : 1; /* one that cannot be sent (its asker has gone) is left out */
        }
    }
}
