// Load generator and origin in one thread, so that the proxy in between is the limit.
//
// Prints the two ports on which it plays origin, then obeys lines on standard input:
//     run PORT CONNECTIONS MILLISECONDS COOKIES-FILE
// keeps that many keep-alive connections busy, each with its own cookie, and answers with: requests, requests per second, p50 and p99 in microseconds,
// errors, and how many connections the proxy has opened to the origin during the run.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum kind { LISTENER, ORIGIN, CLIENT };
enum { BODY = 1024, CONNECTIONS_MAX = 1024, BUCKETS = 200000 };

struct connection {
    enum kind kind;
    int fd;
    size_t have;
    int64_t sent_at;
    size_t request_length;
    char request[512];
    char buffer[8192];
};

static int epoll_fd;
static long accepts, done, errors;
static uint32_t latency[BUCKETS];  // by microsecond
static char response[2048];
static size_t response_length;

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void add(struct connection *c) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event) < 0) exit(71);
}

static struct connection *make(enum kind kind, int fd) {
    struct connection *c = calloc(1, sizeof *c);
    if (!c) exit(71);
    c->kind = kind;
    c->fd = fd;
    return c;
}

static int listen_anywhere(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) < 0 || listen(fd, 1024) < 0) exit(71);
    getsockname(fd, (struct sockaddr *)&address, &length);
    add(make(LISTENER, fd));
    return ntohs(address.sin_port);
}

static void ask(struct connection *c) {
    c->sent_at = now_ns();
    c->have = 0;
    if (send(c->fd, c->request, c->request_length, MSG_NOSIGNAL) != (ssize_t)c->request_length) errors++;
}

static int serve_origin(struct connection *c) {
    ssize_t n = recv(c->fd, c->buffer + c->have, sizeof c->buffer - c->have, 0);
    if (n <= 0) return n < 0 && errno == EAGAIN;
    c->have += n;
    char *end;
    while ((end = memmem(c->buffer, c->have, "\r\n\r\n", 4))) {
        size_t used = end + 4 - c->buffer;
        memmove(c->buffer, c->buffer + used, c->have -= used);
        if (send(c->fd, response, response_length, MSG_NOSIGNAL) != (ssize_t)response_length) return 0;
    }
    return c->have < sizeof c->buffer;
}

static int serve_client(struct connection *c, int goes_on) {
    ssize_t n = recv(c->fd, c->buffer + c->have, sizeof c->buffer - c->have, 0);
    if (n <= 0) return n < 0 && errno == EAGAIN;
    c->have += n;
    char *end = memmem(c->buffer, c->have, "\r\n\r\n", 4);
    if (!end || c->have < (size_t)(end + 4 - c->buffer) + BODY) return 1;
    if (memcmp(c->buffer, "HTTP/1.1 200", 12) || c->have != (size_t)(end + 4 - c->buffer) + BODY) errors++;
    int64_t us = (now_ns() - c->sent_at) / 1000;
    latency[us < BUCKETS ? us : BUCKETS - 1]++;
    done++;
    if (goes_on) ask(c);
    return 1;
}

static void turn(int timeout, int goes_on) {
    struct epoll_event events[256];
    int n = epoll_wait(epoll_fd, events, 256, timeout);
    for (int i = 0; i < n; i++) {
        struct connection *c = events[i].data.ptr;
        if (c->kind == LISTENER) {
            int fd = accept4(c->fd, 0, 0, SOCK_NONBLOCK);
            if (fd >= 0) {
                accepts++;
                add(make(ORIGIN, fd));
            }
        } else if (!(c->kind == ORIGIN ? serve_origin(c) : serve_client(c, goes_on))) {
            if (c->kind == CLIENT) errors++;
            close(c->fd);
            if (c->kind == ORIGIN) free(c); else c->fd = -1;
        }
    }
}

static long percentile(double share) {
    long rest = done * share;
    for (int us = 0; us < BUCKETS; us++)
        if ((rest -= latency[us]) < 0) return us;
    return BUCKETS;
}

static void run(int port, int count, int milliseconds, const char *cookies_path) {
    static char cookies[CONNECTIONS_MAX][128];
    int cookie_count = 0;
    FILE *file = fopen(cookies_path, "r");
    while (file && cookie_count < CONNECTIONS_MAX && fscanf(file, "%127s", cookies[cookie_count]) == 1) cookie_count++;
    if (!file || cookie_count == 0) exit(66);
    fclose(file);

    accepts = done = errors = 0;
    memset(latency, 0, sizeof latency);
    struct connection *clients[CONNECTIONS_MAX];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (int i = 0; i < count; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
        if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) exit(69);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        clients[i] = make(CLIENT, fd);
        clients[i]->request_length = snprintf(clients[i]->request, sizeof clients[i]->request,
            "GET /page/%d HTTP/1.1\r\nHost: www.example.org\r\nUser-Agent: load/1.0\r\nAccept: text/html,*/*\r\n"
            "Accept-Encoding: gzip, deflate\r\nCookie: theme=dark; sid=%s\r\nConnection: keep-alive\r\n\r\n", i, cookies[i % cookie_count]);
        add(clients[i]);
        ask(clients[i]);
    }
    int64_t start = now_ns(), end = start + milliseconds * 1000000LL;
    while (now_ns() < end) turn(100, 1);
    double seconds = (now_ns() - start) / 1e9;
    printf("%ld %.0f %ld %ld %ld %ld\n", done, done / seconds, percentile(0.5), percentile(0.99), errors, accepts);
    fflush(stdout);
    for (int64_t stop = now_ns() + 100000000LL; now_ns() < stop;) turn(10, 0);
    for (int i = 0; i < count; i++) {
        if (clients[i]->fd >= 0) close(clients[i]->fd);
        free(clients[i]);
    }
}

int main(void) {
    epoll_fd = epoll_create1(0);
    response_length = snprintf(response, sizeof response,
        "HTTP/1.1 200 OK\r\nServer: load\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Type: text/html; charset=utf-8\r\n"
        "Content-Length: %d\r\nCache-Control: private\r\nConnection: keep-alive\r\nKeep-Alive: timeout=60\r\n\r\n", BODY);
    memset(response + response_length, 'x', BODY);
    response_length += BODY;
    printf("%d ", listen_anywhere());
    printf("%d\n", listen_anywhere());
    fflush(stdout);

    // Between runs the origin must go on answering the closing of connections, so standard input is just another descriptor here.
    char line[1024];
    size_t have = 0;
    for (;;) {
        fd_set set;
        FD_ZERO(&set);
        FD_SET(0, &set);
        struct timeval wait = {0, 10000};
        if (select(1, &set, 0, 0, &wait) > 0) {
            ssize_t n = read(0, line + have, sizeof line - have - 1);
            if (n <= 0) return 0;
            line[have += n] = 0;
            int port, count, milliseconds;
            char path[512];
            if (strchr(line, '\n')) {
                if (sscanf(line, "run %d %d %d %511s", &port, &count, &milliseconds, path) == 4 && count <= CONNECTIONS_MAX)
                    run(port, count, milliseconds, path);
                have = 0;
            }
        }
        turn(0, 0);
    }
}
