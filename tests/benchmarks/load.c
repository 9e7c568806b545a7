/* Asks a DNS server on loopback, checks each reply, and prints one JSON object about it.
 *
 *   load udp ADDRESS PORT SUFFIX FIRST NAMES COUNT SECONDS WINDOW
 *   load tcp ADDRESS PORT SUFFIX FIRST NAMES COUNT SECONDS WINDOW CONNECTIONS
 *   load paced ADDRESS PORT SUFFIX FIRST NAMES COUNT SECONDS RATE
 *
 * Question i is `nNNNNNNN.SUFFIX`, A, with the number FIRST + i, or FIRST + i % NAMES where NAMES is not 0. It ends
 * after COUNT questions (0: no limit) or SECONDS. `udp` and `tcp` are closed loops: WINDOW questions are on their way
 * (of each connection), and each reply is the occasion for the next. `paced` asks RATE times a second and measures how
 * long each reply takes. A question without a reply after a second is lost, and another takes its place.
 *
 * A reply is right when its id and question are those of a question on its way, it is a whole answer (QR, no TC,
 * NOERROR) and has a record. All others are counted as wrong. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEADER = 12, DIGITS = 7, LARGEST = 128, REPLY = 1500, SLOTS = 256, CHUNK = 1 << 16 };
static const double PATIENCE = 1.0; /* seconds until a question counts as lost */

/* A question on its way. Its id is its place in the low octet, and how often the place was used in the high one. */
struct slot {
    unsigned char packet[2 + LARGEST]; /* behind the two octets of TCP's length */
    double sent;
    int waiting;
};

static struct slot slots[SLOTS]; /* one for each value of an octet */
static unsigned char question[2 + LARGEST];
static size_t size; /* octets of every question, without the length */
static long first, names, limit, asked, answered, lost, wrong, in_time, reopened;
static double began, until;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void make_question(const char *suffix) {
    unsigned char *at = question + 2;
    memcpy(at, (unsigned char[]){0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}, HEADER);
    at += HEADER;
    *at++ = DIGITS + 1;
    *at++ = 'n';
    at += DIGITS;
    if (strlen(suffix) > LARGEST - HEADER - DIGITS - 8) {
        fprintf(stderr, "load: the suffix is too long\n");
        exit(2);
    }
    for (const char *label = suffix; *label;) {
        size_t length = strcspn(label, ".");
        *at++ = (unsigned char)length;
        memcpy(at, label, length);
        at += length;
        label += length + (label[length] == '.');
    }
    memcpy(at, (unsigned char[]){0, 0, 1, 0, 1}, 5);
    size = (size_t)(at + 5 - question) - 2;
    question[0] = (unsigned char)(size >> 8);
    question[1] = (unsigned char)size;
}

static int may_ask(double time) { return time < until && (!limit || asked < limit); }

static void fill(int place, double time) {
    struct slot *slot = &slots[place];
    unsigned char use = (unsigned char)(slot->packet[2] + 1);
    memcpy(slot->packet, question, 2 + size);
    slot->packet[2] = use;
    slot->packet[3] = (unsigned char)place;
    long number = first + (names ? asked % names : asked);
    for (int i = DIGITS; i; i--, number /= 10) slot->packet[2 + HEADER + 1 + i] = (unsigned char)('0' + number % 10);
    slot->sent = time;
    slot->waiting = 1;
    asked++;
}

/* The place of the question that this is the right reply to; -1 if it is none. */
static int take(const unsigned char *reply, size_t length, double time) {
    if (length >= HEADER) {
        struct slot *slot = &slots[reply[1]];
        const unsigned char *packet = slot->packet + 2;
        if (slot->waiting && length > size && !memcmp(reply, packet, 2) && (reply[2] & 0x82) == 0x80 &&
            !(reply[3] & 15) && (reply[6] || reply[7]) && !memcmp(reply + HEADER, packet + HEADER, size - HEADER)) {
            slot->waiting = 0;
            answered++;
            in_time += time < until;
            return reply[1];
        }
    }
    wrong++;
    return -1;
}

static int any_waiting(void) {
    for (int i = 0; i < SLOTS; i++)
        if (slots[i].waiting) return 1;
    return 0;
}

/* Gives up what has waited for too long; how many places of those from `low` to `high` are free now, and which. */
static int give_up(double time, int low, int high, int *free_places) {
    int count = 0;
    for (int i = low; i < high; i++) {
        if (slots[i].waiting && time - slots[i].sent > PATIENCE) {
            slots[i].waiting = 0;
            lost++;
            free_places[count++] = i;
        }
    }
    return count;
}

static void send_all(int sock, const int *places, int count, double time) {
    static struct iovec pieces[SLOTS];
    static struct mmsghdr messages[SLOTS];
    int ready = 0;
    for (int i = 0; i < count && may_ask(time); i++, ready++) {
        fill(places[i], time);
        pieces[ready] = (struct iovec){slots[places[i]].packet + 2, size};
        messages[ready].msg_hdr = (struct msghdr){.msg_iov = &pieces[ready], .msg_iovlen = 1};
    }
    for (int sent = 0; sent < ready;) {
        int more = sendmmsg(sock, messages + sent, (unsigned)(ready - sent), 0);
        if (more < 0 && errno != EINTR && errno != ECONNREFUSED) die("load: sendmmsg");
        sent += more > 0 ? more : 0;
    }
}

static void udp(int sock, int window) {
    static unsigned char replies[SLOTS][REPLY];
    static struct iovec pieces[SLOTS];
    static struct mmsghdr messages[SLOTS];
    struct timeval nap = {.tv_usec = 100000};
    setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &nap, sizeof nap);
    for (int i = 0; i < window; i++) {
        pieces[i] = (struct iovec){replies[i], REPLY};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &pieces[i], .msg_iovlen = 1};
    }
    int places[SLOTS], count = window;
    for (int i = 0; i < window; i++) places[i] = i;
    send_all(sock, places, count, now());
    while (any_waiting()) {
        int received = recvmmsg(sock, messages, (unsigned)window, MSG_WAITFORONE, NULL);
        if (received < 0 && errno != EAGAIN && errno != EINTR && errno != ECONNREFUSED) die("load: recvmmsg");
        double time = now();
        count = received < 0 ? give_up(time, 0, window, places) : 0;
        for (int i = 0; i < received; i++) {
            int place = take(replies[i], messages[i].msg_len, time);
            if (place >= 0) places[count++] = place;
        }
        send_all(sock, places, count, time);
    }
}

struct connection {
    int sock, low, high; /* its places: from low, below high */
    size_t held;
    unsigned char buffer[CHUNK];
};

static void send_bytes(struct connection *c, const unsigned char *bytes, size_t length) {
    /* Far less than a socket takes, so it never blocks for long. */
    for (size_t sent = 0; sent < length;) {
        ssize_t more = send(c->sock, bytes + sent, length - sent, MSG_NOSIGNAL);
        if (more < 0) return; /* the server has closed it: reading will tell, and everything is asked again */
        sent += (size_t)more;
    }
}

static void send_joined(struct connection *c, const int *places, int count, double time) {
    unsigned char joined[SLOTS * (2 + LARGEST)];
    size_t length = 0;
    for (int i = 0; i < count && may_ask(time); i++, length += 2 + size) {
        fill(places[i], time);
        memcpy(joined + length, slots[places[i]].packet, 2 + size);
    }
    send_bytes(c, joined, length);
}

/* A server may close a connection when it likes (dnsmasq: after 100 questions). What waits is then asked once more. */
static void open_again(struct connection *c, const struct sockaddr_in *server, int waiting) {
    int one = 1;
    if (c->sock >= 0) {
        close(c->sock);
        reopened++;
    }
    c->held = 0;
    c->sock = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(c->sock, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(c->sock, (const void *)server, sizeof *server)) die("load: connect");
    struct epoll_event wanted = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(waiting, EPOLL_CTL_ADD, c->sock, &wanted);
    for (int i = c->low; i < c->high; i++)
        if (slots[i].waiting) send_bytes(c, slots[i].packet, 2 + size);
}

/* Takes in what has come, and asks as much again. 0 if the server has closed the connection. */
static int serve(struct connection *c, double time) {
    ssize_t more = recv(c->sock, c->buffer + c->held, CHUNK - c->held, MSG_DONTWAIT);
    if (more <= 0) return more < 0 && (errno == EAGAIN || errno == EINTR);
    c->held += (size_t)more;
    int places[SLOTS], count = 0;
    size_t at = 0;
    while (c->held - at >= 2) {
        size_t length = (size_t)c->buffer[at] << 8 | c->buffer[at + 1];
        if (c->held - at < 2 + length) break;
        int place = take(c->buffer + at + 2, length, time);
        if (place >= 0) places[count++] = place;
        at += 2 + length;
    }
    memmove(c->buffer, c->buffer + at, c->held -= at);
    send_joined(c, places, count, time);
    return 1;
}

static void tcp(const struct sockaddr_in *server, int window, int connections) {
    static struct connection all[SLOTS];
    int waiting = epoll_create1(0), places[SLOTS];
    for (int i = 0; i < connections * window; i++) places[i] = i;
    for (int i = 0; i < connections; i++) {
        all[i] = (struct connection){.sock = -1, .low = i * window, .high = (i + 1) * window};
        open_again(&all[i], server, waiting);
        send_joined(&all[i], places + all[i].low, window, now());
    }
    while (any_waiting()) {
        struct epoll_event ready[SLOTS];
        int count = epoll_wait(waiting, ready, SLOTS, 100);
        double time = now();
        for (int i = 0; i < count; i++) {
            struct connection *c = ready[i].data.ptr;
            if (!serve(c, time)) open_again(c, server, waiting);
        }
        for (int i = 0; count <= 0 && i < connections; i++)
            send_joined(&all[i], places, give_up(time, all[i].low, all[i].high, places), time);
    }
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The value that a share of all is not above: the nearest rank. */
static double quantile(const double *sorted, long count, double share) {
    long rank = (long)ceil(share * (double)count);
    return count ? sorted[rank > 0 ? rank - 1 : 0] : 0;
}

static void paced(int sock, double rate) {
    long room = (long)((until - began) * rate) + 1;
    double *took = calloc((size_t)room, sizeof *took), next = now();
    struct timeval patience = {.tv_sec = 1};
    setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    while (may_ask(next) && answered < room) {
        struct timespec due = {(time_t)next, (long)((next - (double)(time_t)next) * 1e9)};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
        unsigned char reply[REPLY];
        double asked_at = now();
        fill(0, asked_at);
        if (send(sock, slots[0].packet + 2, size, 0) < 0) die("load: send");
        while (slots[0].waiting) {
            ssize_t length = recv(sock, reply, sizeof reply, 0);
            double time = now();
            if (length < 0) {
                slots[0].waiting = 0;
                lost++;
            } else if (take(reply, (size_t)length, time) >= 0) {
                took[answered - 1] = time - asked_at;
            }
        }
        next += 1 / rate;
        if (next < now()) next = now() + 1 / rate;
    }
    qsort(took, (size_t)answered, sizeof *took, by_size);
    printf("\"p50_us\": %.1f, \"p99_us\": %.1f, ", quantile(took, answered, 0.5) * 1e6,
           quantile(took, answered, 0.99) * 1e6);
    free(took);
}

/* Seconds that this process had to wait for its CPU, as the scheduler counted it. */
static double waited(void) {
    unsigned long long ran, waiting = 0;
    FILE *file = fopen("/proc/self/schedstat", "r");
    if (file && fscanf(file, "%llu %llu", &ran, &waiting) != 2) waiting = 0;
    if (file) fclose(file);
    return (double)waiting / 1e9;
}

int main(int count, char **words) {
    int over_tcp = count == 11 && !strcmp(words[1], "tcp"), is_paced = count == 10 && !strcmp(words[1], "paced");
    if (!over_tcp && !is_paced && (count != 10 || strcmp(words[1], "udp"))) {
        fprintf(stderr, "usage: load udp|tcp|paced ADDRESS PORT SUFFIX FIRST NAMES COUNT SECONDS ..., see load.c\n");
        return 2;
    }
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(words[3]))};
    if (inet_pton(AF_INET, words[2], &server.sin_addr) != 1) die("load: address");
    make_question(words[4]);
    first = atol(words[5]), names = atol(words[6]), limit = atol(words[7]);
    int window = is_paced ? 1 : atoi(words[9]), connections = over_tcp ? atoi(words[10]) : 1;
    if (window < 1 || connections < 1 || window * connections > SLOTS) {
        fprintf(stderr, "load: at least 1 and at most %d questions can be on their way\n", SLOTS);
        return 2;
    }
    printf("{");
    double waited_before = waited();
    began = now();
    until = began + atof(words[8]);
    if (over_tcp) {
        tcp(&server, window, connections);
    } else {
        int sock = socket(AF_INET, SOCK_DGRAM, 0);
        if (connect(sock, (void *)&server, sizeof server)) die("load: connect");
        if (is_paced)
            paced(sock, atof(words[9]));
        else
            udp(sock, window);
    }
    double end = now();
    printf("\"waited\": %.6f, ", waited() - waited_before);
    printf("\"seconds\": %.6f, \"asked\": %ld, \"answered\": %ld, \"in_time\": %ld, \"lost\": %ld, \"wrong\": %ld, "
           "\"reopened\": %ld}\n",
           (end < until ? end : until) - began, asked, answered, in_time, lost, wrong, reopened);
    return 0;
}
