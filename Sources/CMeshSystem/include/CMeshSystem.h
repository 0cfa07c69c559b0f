// What Swift can't say well of Linux: a packed epoll_event, errno as a macro, calls with flags of their own. No decision is taken here.
// Every call that can fail returns -errno instead of setting errno, and repeats itself on EINTR.
//
// No system header is included: with the feature macros that accept4 needs, Swift's own view of those headers would differ from ours.

#ifndef CMESHSYSTEM_H
#define CMESHSYSTEM_H

#include <stdbool.h>
#include <stdint.h>

// An address as the calls below take it; `port` in host order, `length` of `bytes` 4 or 16.
struct mesh_address {
    uint8_t bytes[16];
    uint8_t length;
    uint16_t port;
};

int mesh_epoll_create(void);
int mesh_epoll_add(int epoll, int fd, uint32_t events, uint64_t tag);
int mesh_epoll_change(int epoll, int fd, uint32_t events, uint64_t tag);
int mesh_epoll_remove(int epoll, int fd);
uint32_t mesh_epoll_edges(void);
uint32_t mesh_epoll_reading_edges(void);
uint32_t mesh_epoll_readable(void);
long mesh_epoll_event_size(void);
int mesh_epoll_wait(int epoll, void *events, int count, int milliseconds);
uint64_t mesh_epoll_event(const void *events, int index, uint32_t *flags);
// Whether a call of those below only had to wait.
bool mesh_says_again(long result);
// Whether a connection came to nothing because nobody listens there.
bool mesh_says_refused(int error);
// What an error means, for a person.
const char *mesh_error_text(int error);
bool mesh_says_readable(uint32_t flags);
bool mesh_says_done(uint32_t flags);
bool mesh_says_broken(uint32_t flags);
int mesh_eventfd(void);
void mesh_eventfd_signal(int fd);
void mesh_eventfd_clear(int fd);
// A listener that shares its port with others of its kind. Accepted sockets inherit TCP_NODELAY.
int mesh_listen(const struct mesh_address *address, int backlog);
// Whether somebody listens at an address already, whom a listener that shares its port would silently join: 0, or the error.
int mesh_probe(const struct mesh_address *address);
// A listener; with a backlog of 0 a socket for datagrams. That one does without SO_REUSEADDR: two processes could share the port, each hearing half.
int mesh_bind(const struct mesh_address *address, int backlog);
// A listener at a path, whose file has that mode before anybody can connect.
int mesh_bind_path(const char *path, unsigned int mode, int backlog);
// Whether somebody listens at a path: 0, or the error.
int mesh_probe_path(const char *path);
int mesh_local_address(int fd, struct mesh_address *address);
int mesh_accept(int listener, struct mesh_address *peer);
// A socket that is connecting, from `source` when it isn't null: success or failure shows with writability. A failure that is known at once is returned.
int mesh_connect(const struct mesh_address *address, const struct mesh_address *source);
int mesh_socket_error(int fd);
long mesh_recv(int fd, void *bytes, long count);
long mesh_send(int fd, const void *bytes, long count);
// A datagram and who sent it. One that is longer than the room for it is cut off, and its own length returned.
long mesh_recv_from(int fd, void *bytes, long count, struct mesh_address *source);
long mesh_send_to(int fd, const void *bytes, long count, const struct mesh_address *target);
// TCP_NODELAY, SO_KEEPALIVE and TCP_USER_TIMEOUT (tcp(7)): how long what was sent may go unacknowledged.
void mesh_set_link_options(int fd, int unacknowledged_milliseconds);
void mesh_set_no_delay(int fd);
// The kernel caps it.
void mesh_set_receive_buffer(int fd, int bytes);
// Whether an idle connection is as it should be: open, with nothing to read.
bool mesh_is_quiet(int fd);
void mesh_finish_writing(int fd);
void mesh_close(int fd);
int64_t mesh_uptime(void);
uint64_t mesh_descriptor_limit(void);
// The cores that this process may run on, INT_MAX if the system won't tell; a container's quota is not among its reasons.
int mesh_core_count(void);
// Starts a program with three descriptors and no more: standard input (`input`, empty if negative), output and error (ours if negative), no signal
// blocked or ignored, and a process group of its own: a terminal's Ctrl-C is for the parent.
int mesh_spawn(const char *path, char *const arguments[], char *const environment[], int input, int output, int errors, int *pid);
// Readable when the process has ended: pidfd_open(2).
int mesh_pidfd(int pid);
// From now on, processes whose parent dies become this one's children: PR_SET_CHILD_SUBREAPER of prctl(2).
int mesh_adopt_orphans(void);
// A child that has ended and wasn't reaped yet, or 0.
int mesh_ended_child(void);
// A socket for datagrams at a path that any process of this user may write to.
int mesh_datagrams_at(const char *path);
// A pipe that no program which is started meanwhile inherits.
int mesh_pipe(int *reading, int *writing);
// What an SRV record of the name system says (RFC 2782): a host's name and a port.
struct mesh_service {
    char target[256];
    uint16_t priority;
    uint16_t port;
};
// The name server gave no answer, or one that makes no sense.
#define MESH_SERVICES_UNKNOWN (-1)
// Asks the system's name servers, or `server` (IPv4) when it isn't null, for the SRV records of a name; blocks for as long as resolv.conf says.
// At most `count` records are given; 0 says that there is none.
int mesh_services(const char *name, const struct mesh_address *server, struct mesh_service *services, int count);
// From now on, and after an exec, the death of the thread that started this process kills it.
int mesh_die_with_parent(void);

#endif
