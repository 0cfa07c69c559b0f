#define _GNU_SOURCE
#include "CMeshSystem.h"

#include <arpa/nameser.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netdb.h>
#include <resolv.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static socklen_t mesh_sockaddr(const struct mesh_address *from, struct sockaddr_storage *to) {
    memset(to, 0, sizeof *to);
    if (from->length == 4) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)to;
        v4->sin_family = AF_INET;
        v4->sin_port = htons(from->port);
        memcpy(&v4->sin_addr, from->bytes, 4);
        return sizeof *v4;
    }
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)to;
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(from->port);
    memcpy(&v6->sin6_addr, from->bytes, 16);
    return sizeof *v6;
}

static void mesh_address_of(const struct sockaddr_storage *from, struct mesh_address *to) {
    memset(to, 0, sizeof *to);
    if (from->ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)from;
        to->length = 4;
        to->port = ntohs(v4->sin_port);
        memcpy(to->bytes, &v4->sin_addr, 4);
    } else if (from->ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)from;
        to->length = 16;
        to->port = ntohs(v6->sin6_port);
        memcpy(to->bytes, &v6->sin6_addr, 16);
    }
}

int mesh_epoll_create(void) {
    int fd = epoll_create1(EPOLL_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int mesh_epoll_add(int epoll, int fd, uint32_t events, uint64_t tag) {
    struct epoll_event event;
    event.events = events;
    event.data.u64 = tag;
    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

int mesh_epoll_change(int epoll, int fd, uint32_t events, uint64_t tag) {
    struct epoll_event event;
    event.events = events;
    event.data.u64 = tag;
    return epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event) < 0 ? -errno : 0;
}

int mesh_epoll_remove(int epoll, int fd) {
    struct epoll_event event;
    return epoll_ctl(epoll, EPOLL_CTL_DEL, fd, &event) < 0 ? -errno : 0;
}

uint32_t mesh_epoll_edges(void) { return EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET; }

uint32_t mesh_epoll_reading_edges(void) { return EPOLLIN | EPOLLRDHUP | EPOLLET; }

uint32_t mesh_epoll_readable(void) { return EPOLLIN; }

long mesh_epoll_event_size(void) { return sizeof(struct epoll_event); }

int mesh_epoll_wait(int epoll, void *events, int count, int milliseconds) {
    int n = epoll_wait(epoll, (struct epoll_event *)events, count, milliseconds);
    return n < 0 ? (errno == EINTR ? 0 : -errno) : n;
}

uint64_t mesh_epoll_event(const void *events, int index, uint32_t *flags) {
    const struct epoll_event *event = (const struct epoll_event *)events + index;
    *flags = event->events;
    return event->data.u64;
}

bool mesh_says_again(long result) { return result == -EAGAIN || result == -EWOULDBLOCK; }

bool mesh_says_refused(int error) { return error == ECONNREFUSED; }

const char *mesh_error_text(int error) { return strerror(error); }

bool mesh_says_readable(uint32_t flags) { return flags & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR); }
bool mesh_says_done(uint32_t flags) { return flags & (EPOLLRDHUP | EPOLLHUP | EPOLLERR); }
bool mesh_says_broken(uint32_t flags) { return flags & (EPOLLHUP | EPOLLERR); }

int mesh_eventfd(void) {
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

void mesh_eventfd_signal(int fd) {
    uint64_t one = 1;
    ssize_t n = write(fd, &one, sizeof one);
    (void)n;  // Full means that the reader is already due to wake.
}

void mesh_eventfd_clear(int fd) {
    uint64_t count;
    ssize_t n = read(fd, &count, sizeof count);
    (void)n;
}

int mesh_listen(const struct mesh_address *address, int backlog) {
    struct sockaddr_storage storage;
    socklen_t length = mesh_sockaddr(address, &storage);
    int fd = socket(storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    int one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) < 0 || bind(fd, (struct sockaddr *)&storage, length) < 0
        || listen(fd, backlog) < 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

int mesh_probe(const struct mesh_address *address) {
    struct sockaddr_storage storage;
    socklen_t length = mesh_sockaddr(address, &storage);
    int fd = socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    int one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    int result = bind(fd, (struct sockaddr *)&storage, length) < 0 || listen(fd, 1) < 0 ? -errno : 0;
    close(fd);
    return result;
}

int mesh_bind(const struct mesh_address *address, int backlog) {
    struct sockaddr_storage storage;
    socklen_t length = mesh_sockaddr(address, &storage);
    int fd = socket(storage.ss_family, (backlog ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    int one = 1;
    if (backlog) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&storage, length) < 0 || (backlog && listen(fd, backlog) < 0)) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

static int mesh_path_socket(const char *path, int type, struct sockaddr_un *address) {
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    if (strlen(path) >= sizeof address->sun_path) return -ENAMETOOLONG;
    strcpy(address->sun_path, path);
    int fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return fd < 0 ? -errno : fd;
}

int mesh_bind_path(const char *path, unsigned int mode, int backlog) {
    struct sockaddr_un address;
    int fd = mesh_path_socket(path, SOCK_STREAM, &address);
    if (fd < 0) return fd;
    // Nobody can connect between bind and listen, so the mode is in force before the first connection.
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || chmod(path, mode) < 0 || listen(fd, backlog) < 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

int mesh_probe_path(const char *path) {
    struct sockaddr_un address;
    int fd = mesh_path_socket(path, SOCK_STREAM, &address);
    if (fd < 0) return fd;
    int result = connect(fd, (struct sockaddr *)&address, sizeof address) < 0 ? -errno : 0;
    close(fd);
    return result;
}

int mesh_local_address(int fd, struct mesh_address *address) {
    struct sockaddr_storage storage;
    socklen_t length = sizeof storage;
    if (getsockname(fd, (struct sockaddr *)&storage, &length) < 0) return -errno;
    mesh_address_of(&storage, address);
    return 0;
}

int mesh_accept(int listener, struct mesh_address *peer) {
    struct sockaddr_storage storage;
    socklen_t length = sizeof storage;
    int fd;
    do fd = accept4(listener, (struct sockaddr *)&storage, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
    if (fd < 0) return -errno;
    mesh_address_of(&storage, peer);
    return fd;
}

int mesh_connect(const struct mesh_address *address, const struct mesh_address *source) {
    struct sockaddr_storage storage, from;
    socklen_t length = mesh_sockaddr(address, &storage);
    int fd = socket(storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if ((source && bind(fd, (struct sockaddr *)&from, mesh_sockaddr(source, &from)) < 0)
        || (connect(fd, (struct sockaddr *)&storage, length) < 0 && errno != EINPROGRESS)) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

int mesh_socket_error(int fd) {
    int error = 0;
    socklen_t length = sizeof error;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0 ? errno : error;
}

// Not by libc's recv and send: in a process of several threads these are points of cancellation, which costs two atomic operations each, and no
// thread of ours is ever cancelled.
long mesh_recv(int fd, void *bytes, long count) {
    ssize_t n;
    do n = syscall(SYS_recvfrom, fd, bytes, count, 0, NULL, NULL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

long mesh_send(int fd, const void *bytes, long count) {
    ssize_t n;
    do n = syscall(SYS_sendto, fd, bytes, count, MSG_NOSIGNAL, NULL, 0);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

long mesh_recv_from(int fd, void *bytes, long count, struct mesh_address *source) {
    struct sockaddr_storage storage;
    socklen_t length = sizeof storage;
    ssize_t n;
    do n = recvfrom(fd, bytes, count, MSG_DONTWAIT | MSG_TRUNC, (struct sockaddr *)&storage, &length);
    while (n < 0 && errno == EINTR);
    if (n < 0) return -errno;
    mesh_address_of(&storage, source);
    return n;
}

long mesh_send_to(int fd, const void *bytes, long count, const struct mesh_address *target) {
    struct sockaddr_storage storage;
    socklen_t length = mesh_sockaddr(target, &storage);
    ssize_t n;
    do n = sendto(fd, bytes, count, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&storage, length);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

void mesh_set_link_options(int fd, int unacknowledged_milliseconds) {
    int one = 1;
    unsigned int milliseconds = unacknowledged_milliseconds;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &milliseconds, sizeof milliseconds);
}

void mesh_set_no_delay(int fd) {
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

void mesh_set_receive_buffer(int fd, int bytes) { setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes); }

bool mesh_is_quiet(int fd) {
    char byte;
    return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

void mesh_finish_writing(int fd) { shutdown(fd, SHUT_WR); }

void mesh_close(int fd) { close(fd); }

int64_t mesh_uptime(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

uint64_t mesh_descriptor_limit(void) {
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) < 0 ? 1024 : (uint64_t)limit.rlim_cur;
}

int mesh_core_count(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) < 0) return INT_MAX;
    return CPU_COUNT(&set);
}

int mesh_pipe(int *reading, int *writing) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) return -errno;
    *reading = ends[0];
    *writing = ends[1];
    return 0;
}

int mesh_spawn(const char *path, char *const arguments[], char *const environment[], int input, int output, int errors, int *pid) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t signals;
    int error = posix_spawn_file_actions_init(&actions);
    if (error) return -error;
    error = posix_spawnattr_init(&attributes);
    if (error) {
        posix_spawn_file_actions_destroy(&actions);
        return -error;
    }
    if (input < 0) error = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    else error = posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
    if (!error && output >= 0) error = posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    if (!error && errors >= 0) error = posix_spawn_file_actions_adddup2(&actions, errors, STDERR_FILENO);
    if (!error) error = posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
    sigemptyset(&signals);
    if (!error) error = posix_spawnattr_setsigmask(&attributes, &signals);
    sigfillset(&signals);
    if (!error) error = posix_spawnattr_setsigdefault(&attributes, &signals);
    if (!error) error = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    if (!error) error = posix_spawn(pid, path, &actions, &attributes, arguments, environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return -error;
}

int mesh_services(const char *name, const struct mesh_address *server, struct mesh_service *services, int count) {
    struct __res_state state;
    memset(&state, 0, sizeof state);
    if (res_ninit(&state) < 0) return MESH_SERVICES_UNKNOWN;
    if (server) {
        struct sockaddr_storage storage;
        mesh_sockaddr(server, &storage);
        memcpy(&state.nsaddr_list[0], &storage, sizeof state.nsaddr_list[0]);
        state.nscount = 1;
        // One try: a test that gives no answer means it.
        state.retry = 1;
    }
    static const int answer_bytes = 16384;
    unsigned char *answer = malloc(answer_bytes);
    int found = MESH_SERVICES_UNKNOWN;
    int length = answer ? res_nquery(&state, name, ns_c_in, ns_t_srv, answer, answer_bytes) : -1;
    if (length < 0 && answer && (state.res_h_errno == HOST_NOT_FOUND || state.res_h_errno == NO_DATA)) found = 0;
    ns_msg message;
    // An answer that was longer than the room for it counts as none: its records can't be told from garbage.
    if (length >= 0 && length <= answer_bytes && ns_initparse(answer, length, &message) == 0) {
        found = 0;
        for (int i = 0; i < ns_msg_count(message, ns_s_an) && found < count; i++) {
            ns_rr record;
            if (ns_parserr(&message, ns_s_an, i, &record) < 0) break;
            // Priority, weight and port stand before the target (RFC 2782); aliases on the way there are skipped.
            if (ns_rr_type(record) != ns_t_srv || ns_rr_rdlen(record) < 7) continue;
            struct mesh_service *service = &services[found];
            if (dn_expand(ns_msg_base(message), ns_msg_end(message), ns_rr_rdata(record) + 6, service->target, sizeof service->target) < 0)
                continue;
            service->priority = ns_get16(ns_rr_rdata(record));
            service->port = ns_get16(ns_rr_rdata(record) + 4);
            found++;
        }
    }
    free(answer);
    res_nclose(&state);
    return found;
}

int mesh_die_with_parent(void) {
    return prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 ? -errno : 0;
}

int mesh_pidfd(int pid) {
    // Closed on exec by itself.
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    return fd < 0 ? -errno : fd;
}

int mesh_adopt_orphans(void) {
    return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0 ? -errno : 0;
}

int mesh_ended_child(void) {
    siginfo_t info;
    memset(&info, 0, sizeof info);
    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 ? 0 : info.si_pid;
}

int mesh_datagrams_at(const char *path) {
    struct sockaddr_un address;
    int fd = mesh_path_socket(path, SOCK_DGRAM, &address);
    if (fd < 0) return fd;
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || chmod(path, 0600) < 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}
