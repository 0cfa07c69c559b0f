// Load generator for whatever speaks RESP at a Unix socket: an agent, or Redis. One thread, closed loop.
//
//     session-load SOCKET REQUESTS [option value]...
//
// REQUESTS is a file of commands as they go over the wire, one after the other. Each time one is sent, the first 32 bytes of every run of 32 or more '@' in
// it are drawn anew as hexadecimal digits: a commit's id, a value that was never there before. Options:
//     connections N   default 1
//     depth N         requests that are unanswered on each connection, default 1
//     milliseconds N  how long; default 2000
//     requests N      how many, instead of how long; the file's commands are then sent in turn, from the first again after the last, not at random
//     save FOLDER     of the first answers to commits, makes files of commands about those sessions: read, open, commit (the same changes again)
//     save-max N      how many answers that is, default all
// Prints: requests answered, requests per second, p50, p99 and p99.9 in microseconds, errors, and the share of a CPU that it used itself, in percent. An
// error reply, and a null at the top, is an error; the first one is shown on standard error.

#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 1024, DEPTH_MAX = 64, MARKS_MAX = 4, MARK = 32, REQUEST_MAX = 2048, BUFFER = 256 * 1024, BUCKETS = 1000000 };

struct request {
    const char *bytes;
    size_t length;
    int marks;
    uint32_t mark[MARKS_MAX];
};

struct connection {
    int fd;
    int unanswered;
    unsigned first;  // of the requests below, the oldest
    int64_t sent_at[DEPTH_MAX];
    const struct request *asked[DEPTH_MAX];
    size_t have, pending;
    char buffer[BUFFER];
    char out[DEPTH_MAX * REQUEST_MAX];  // gathered, so that what became due at once is sent at once
};

static struct request *requests;
static size_t request_count, turn;
static long sent, done, errors, limit, saved, save_max;
static FILE *save_read, *save_open, *save_commit;
static uint32_t latency[BUCKETS];  // by microsecond
static uint64_t state;

static void fail(const char *what) {
    fprintf(stderr, "session-load: %s (%s)\n", what, strerror(errno));
    exit(70);
}

static int64_t now_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

// splitmix64: one addition and a few shifts, and no two draws of a process repeat.
static uint64_t draw(void) {
    uint64_t z = state += 0x9E3779B97F4A7C15;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
}

// The length of the value at the front, 0 when it isn't whole yet, -1 when it is none. Aggregates are counted, not entered.
static long scan(const char *bytes, size_t count) {
    size_t at = 0;
    for (long open = 1; open > 0; open--) {
        const char *end = at < count ? memchr(bytes + at, '\n', count - at) : 0;
        if (!end) return 0;
        char kind = bytes[at];
        long number = atol(bytes + at + 1);
        at = end + 1 - bytes;
        switch (kind) {
        case '+': case '-': case ':': case '_': case '#': case ',': case '(': break;
        case '$': case '=': if (number >= 0) at += number + 2; break;
        case '*': case '~': case '>': open += number > 0 ? number : 0; break;
        case '%': open += 2 * number; break;
        default: return -1;
        }
        if (at > count) return 0;
    }
    return at;
}

static void load(const char *path) {
    FILE *file = fopen(path, "r");
    if (!file || fseek(file, 0, SEEK_END)) fail(path);
    size_t count = ftell(file), room = 0;
    char *bytes = malloc(count + 1);
    rewind(file);
    if (!bytes || fread(bytes, 1, count, file) != count) fail(path);
    bytes[count] = 0;
    fclose(file);
    for (size_t at = 0; at < count;) {
        long length = scan(bytes + at, count - at);
        if (length <= 0 || length > REQUEST_MAX) fail("the file of requests has something else in it");
        if (request_count == room && !(requests = realloc(requests, (room = room ? 2 * room : 1024) * sizeof *requests))) fail("no memory");
        struct request *r = &requests[request_count++];
        *r = (struct request){.bytes = bytes + at, .length = length};
        for (long i = 0, run = 0; i <= length; i++) {
            if (i < length && r->bytes[i] == '@') { run++; continue; }
            if (run >= MARK && r->marks < MARKS_MAX) r->mark[r->marks++] = i - run;
            run = 0;
        }
        at += length;
    }
    if (request_count == 0) fail("the file of requests is empty");
}

static void ask(struct connection *c) {
    static const char digits[] = "0123456789abcdef";
    const struct request *r = &requests[limit ? turn++ % request_count : draw() % request_count];
    char *out = c->out + c->pending;
    memcpy(out, r->bytes, r->length);
    for (int m = 0; m < r->marks; m++)
        for (int i = 0; i < MARK; i += 16) {
            uint64_t word = draw();
            for (int k = 0; k < 16; k++, word >>= 4) out[r->mark[m] + i + k] = digits[word & 15];
        }
    c->pending += r->length;
    c->asked[(c->first + c->unanswered) % DEPTH_MAX] = r;
    c->sent_at[(c->first + c->unanswered) % DEPTH_MAX] = now_ns(CLOCK_MONOTONIC);
    c->unanswered++;
    sent++;
}

static void flush(struct connection *c) {
    // Requests are short: all that may be unanswered on a connection fits into the socket's buffer.
    if (c->pending && send(c->fd, c->out, c->pending, MSG_NOSIGNAL) != (ssize_t)c->pending) fail("a request could not be sent");
    c->pending = 0;
}

// The bulk string that follows a word, in the answer to a commit.
static const char *after(const char *answer, const char *word, int *length) {
    const char *at = strstr(answer, word);
    if (!at || (at = at + strlen(word))[0] != '$') fail("a commit's answer has no key or no cookie");
    *length = atoi(at + 1);
    return strchr(at, '\n') + 1;
}

static void save(const struct request *r, char *answer, long count) {
    char rest = answer[count];
    answer[count] = 0;
    int key_length, cookie_length;
    const char *key = after(answer, "key\r\n", &key_length), *cookie = after(answer, "cookie\r\n", &cookie_length);
    fprintf(save_read, "*2\r\n$12\r\nSESSION.READ\r\n$%d\r\n%.*s\r\n", key_length, key_length, key);
    fprintf(save_open, "*2\r\n$12\r\nSESSION.OPEN\r\n$%d\r\n%.*s\r\n", cookie_length, cookie_length, cookie);
    // The command that made the session, with its key in the place of the star.
    const char *star = memmem(r->bytes, r->length, "$1\r\n*\r\n", 7);
    if (!star) fail("only a commit that creates has a star to replace");
    fprintf(save_commit, "%.*s$%d\r\n%.*s\r\n%.*s", (int)(star - r->bytes), r->bytes, key_length, key_length, key,
        (int)(r->bytes + r->length - star - 7), star + 7);
    answer[count] = rest;
    saved++;
}

static void hear(struct connection *c, int64_t end) {
    ssize_t n = recv(c->fd, c->buffer + c->have, BUFFER - 1 - c->have, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) fail("the connection broke");
    c->have += n;
    size_t used = 0;
    for (long length; used < c->have && (length = scan(c->buffer + used, c->have - used)) != 0; used += length) {
        if (length < 0 || c->unanswered == 0) fail("that is no answer");
        char *answer = c->buffer + used;
        int64_t now = now_ns(CLOCK_MONOTONIC), us = (now - c->sent_at[c->first]) / 1000;
        latency[us < BUCKETS ? us : BUCKETS - 1]++;
        done++;
        if (answer[0] == '-' || answer[0] == '_' || !strncmp(answer, "$-1", 3)) {
            if (errors++ == 0) fprintf(stderr, "session-load: the first error: %.*s\n", (int)(length - 2), answer);
        } else if (save_read && saved < save_max) {
            save(c->asked[c->first], answer, length);
        }
        c->first = (c->first + 1) % DEPTH_MAX;
        c->unanswered--;
        if (limit ? sent < limit : now < end) ask(c);
    }
    memmove(c->buffer, c->buffer + used, c->have -= used);
    if (c->have == BUFFER - 1) fail("an answer is longer than the buffer");
    flush(c);
}

static long percentile(double share) {
    long rest = done * share;
    for (int us = 0; us < BUCKETS; us++)
        if ((rest -= latency[us]) < 0) return us;
    return BUCKETS;
}

static FILE *file_in(const char *folder, const char *name) {
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    if (!file) fail(path);
    return file;
}

int main(int count, char **words) {
    long connections = 1, depth = 1, milliseconds = 2000;
    save_max = INT64_MAX;
    if (count < 3 || count % 2 == 0) return 64;
    for (int i = 3; i < count; i += 2) {
        long number = atol(words[i + 1]);
        if (!strcmp(words[i], "connections")) connections = number;
        else if (!strcmp(words[i], "depth")) depth = number;
        else if (!strcmp(words[i], "milliseconds")) milliseconds = number;
        else if (!strcmp(words[i], "requests")) limit = number;
        else if (!strcmp(words[i], "save-max")) save_max = number;
        else if (!strcmp(words[i], "save")) {
            save_read = file_in(words[i + 1], "read");
            save_open = file_in(words[i + 1], "open");
            save_commit = file_in(words[i + 1], "commit");
        } else return 64;
    }
    if (connections < 1 || connections > CONNECTIONS_MAX || depth < 1 || depth > DEPTH_MAX) return 64;
    load(words[2]);
    state = now_ns(CLOCK_REALTIME);

    int epoll_fd = epoll_create1(0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(words[1]) >= sizeof address.sun_path) fail("the socket's path is too long");
    strcpy(address.sun_path, words[1]);
    struct connection **all = calloc(connections, sizeof *all);
    if (epoll_fd < 0 || !all) fail("no memory");
    for (int i = 0; i < connections; i++) {
        struct connection *c = all[i] = calloc(1, sizeof *c);
        if (!c) fail("no memory");
        c->fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0) fail(words[1]);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event) < 0) fail("epoll");
    }

    int64_t start = now_ns(CLOCK_MONOTONIC), used = now_ns(CLOCK_PROCESS_CPUTIME_ID), end = start + milliseconds * 1000000;
    for (int i = 0; i < connections; i++) {
        for (int k = 0; k < depth && (!limit || sent < limit); k++) ask(all[i]);
        flush(all[i]);
    }
    long in_time = 0;
    while (done < sent) {
        struct epoll_event events[256];
        int n = epoll_wait(epoll_fd, events, 256, 10000);
        if (n == 0) fail("no answer for ten seconds");
        for (int i = 0; i < n; i++) hear(events[i].data.ptr, end);
        if (!limit && in_time == 0 && now_ns(CLOCK_MONOTONIC) >= end) in_time = done;
    }
    if (limit) {
        in_time = done;
        end = now_ns(CLOCK_MONOTONIC);
    }
    double seconds = (end - start) / 1e9;
    printf("%ld %.0f %ld %ld %ld %ld %.0f\n", done, in_time / seconds, percentile(0.5), percentile(0.99), percentile(0.999), errors,
        (now_ns(CLOCK_PROCESS_CPUTIME_ID) - used) / seconds / 1e7);
    if (save_read && (fclose(save_read) || fclose(save_open) || fclose(save_commit))) fail("what was to be saved");
    return 0;
}
