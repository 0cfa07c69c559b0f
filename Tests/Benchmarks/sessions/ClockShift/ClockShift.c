// Preloaded into a program, it sets that program's wall clock wrong, and no other's: by as many milliseconds as the file that CLOCK_SHIFT_FILE names says,
// whenever it was last written. Every other clock stays as it is.
//
// The file is read again when a tenth of a second has gone by, so that a read of the clock costs what it did. A program that has dropped the right to read
// it goes on with what it read last.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int (*real_clock_gettime)(clockid_t, struct timespec *);
static _Atomic int64_t shift_ns, next_look_ns;

// The file's number; what was there before when there is none.
static void look(void) {
    const char *path = getenv("CLOCK_SHIFT_FILE");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    char text[32];
    ssize_t count = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    if (fd >= 0) close(fd);
    if (count <= 0) return;
    text[count] = 0;
    atomic_store(&shift_ns, strtoll(text, 0, 10) * 1000000);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    if (!real_clock_gettime) real_clock_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real_clock_gettime(clock, time);
    if (result != 0 || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)) return result;
    struct timespec steady;
    real_clock_gettime(CLOCK_MONOTONIC, &steady);
    int64_t now = steady.tv_sec * 1000000000LL + steady.tv_nsec, due = atomic_load(&next_look_ns);
    // One thread looks, and the others don't wait for it.
    if (now >= due && atomic_compare_exchange_strong(&next_look_ns, &due, now + 100000000)) look();
    int64_t shifted = time->tv_sec * 1000000000LL + time->tv_nsec + atomic_load(&shift_ns);
    time->tv_sec = shifted / 1000000000;
    time->tv_nsec = shifted % 1000000000;
    return 0;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone) {
    (void)zone;
    struct timespec time;
    int result = clock_gettime(CLOCK_REALTIME, &time);
    *tv = (struct timeval){.tv_sec = time.tv_sec, .tv_usec = time.tv_nsec / 1000};
    return result;
}

time_t time(time_t *at) {
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    if (at) *at = time.tv_sec;
    return time.tv_sec;
}
