/* A wait until a time of day, as the kernel does it when somebody sets the clock: it ends when the clock shows that time,
 * be that at once or an hour later. libfaketime does not know this function of C11, which librdkafka waits with. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <threads.h>
#include <time.h>

#define SLICE 20000000L
#define SECOND 1000000000L

int cnd_timedwait(cnd_t *restrict cond, mtx_t *restrict mutex, const struct timespec *restrict until) {
    for (;;) {
        struct timespec now, end;
        clock_gettime(CLOCK_REALTIME, &now); /* as libfaketime has it */
        if (now.tv_sec > until->tv_sec || (now.tv_sec == until->tv_sec && now.tv_nsec >= until->tv_nsec))
            return thrd_timedout;
        long left = SLICE;
        if (until->tv_sec - now.tv_sec < 2) {
            long exact = (until->tv_sec - now.tv_sec) * SECOND + until->tv_nsec - now.tv_nsec;
            left = exact < SLICE ? exact : SLICE;
        }
        clock_gettime(CLOCK_MONOTONIC, &end);
        end.tv_nsec += left;
        end.tv_sec += end.tv_nsec / SECOND;
        end.tv_nsec %= SECOND;
        int result = pthread_cond_clockwait((pthread_cond_t *)cond, (pthread_mutex_t *)mutex, CLOCK_MONOTONIC, &end);
        if (result != ETIMEDOUT)
            return result == 0 ? thrd_success : thrd_error;
    }
}
