/* A monotonic clock that goes a thousand times slower.
 *
 * valgrind makes a program some fifty times slower, and fastws looks at the time: a consumer that has taken messages for
 * 500 us gives the loop its turn. Under valgrind that is after a few dozen messages, and the rest goes a way that a
 * program hardly ever takes. By this clock it has the time that it has without valgrind. Loaded by LD_PRELOAD.
 *
 * The kernel goes by its own clock: a timer that is set to a moment of this one is set to the moment that it stands for.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/timerfd.h>
#include <time.h>

enum { SLOWER = 1000 };
static const long long SECOND = 1000000000LL;

static int (*the_real)(clockid_t, struct timespec *);
static int (*set_really)(int, int, const struct itimerspec *, struct itimerspec *);
static long long begin;

static long long nanoseconds(struct timespec time) { return time.tv_sec * SECOND + time.tv_nsec; }

static struct timespec timespec_of(long long time) {
    return (struct timespec){.tv_sec = time / SECOND, .tv_nsec = time % SECOND};
}

static long long read_monotonic(void) {
    struct timespec now;
    the_real(CLOCK_MONOTONIC, &now);
    return nanoseconds(now);
}

__attribute__((constructor)) static void start(void) {
    the_real = dlsym(RTLD_NEXT, "clock_gettime");
    set_really = dlsym(RTLD_NEXT, "timerfd_settime");
    begin = read_monotonic();
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    if (the_real == NULL) start();
    if (clock != CLOCK_MONOTONIC && clock != CLOCK_MONOTONIC_COARSE && clock != CLOCK_MONOTONIC_RAW)
        return the_real(clock, now);
    *now = timespec_of(begin + (read_monotonic() - begin) / SLOWER);
    return 0;
}

int timerfd_settime(int fd, int flags, const struct itimerspec *set, struct itimerspec *old) {
    if (set_really == NULL) start();
    struct itimerspec real = *set;
    long long at = nanoseconds(set->it_value);
    if ((flags & TFD_TIMER_ABSTIME) && at > begin) real.it_value = timespec_of(begin + (at - begin) * SLOWER);
    return set_really(fd, flags, &real, old);
}
