/* A monotonic clock that goes a thousand times slower.
 *
 * valgrind makes a program some fifty times slower, and fastws looks at the time: a consumer that has taken messages for
 * 500 us gives the loop its turn. Under valgrind that is after a few dozen messages, and the rest goes a way that a
 * program hardly ever takes. By this clock it has the time that it has without valgrind. Loaded by LD_PRELOAD.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>

enum { SLOWER = 1000 };
static const long long SECOND = 1000000000LL;

static int (*the_real)(clockid_t, struct timespec *);
static long long begin;

static long long read_monotonic(void) {
    struct timespec now;
    the_real(CLOCK_MONOTONIC, &now);
    return now.tv_sec * SECOND + now.tv_nsec;
}

__attribute__((constructor)) static void start(void) {
    the_real = dlsym(RTLD_NEXT, "clock_gettime");
    begin = read_monotonic();
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    if (the_real == NULL) start();
    if (clock != CLOCK_MONOTONIC && clock != CLOCK_MONOTONIC_COARSE && clock != CLOCK_MONOTONIC_RAW)
        return the_real(clock, now);
    long long slowed = begin + (read_monotonic() - begin) / SLOWER;
    now->tv_sec = slowed / SECOND;
    now->tv_nsec = slowed % SECOND;
    return 0;
}
