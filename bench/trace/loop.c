/* Allocates and frees, in rounds, and prints after each nanoseconds of processor time for a pair. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static void *volatile kept[64];

static double processor_time(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

__attribute__((noinline)) static void pair(unsigned n)
{
    free(kept[n % 64]);
    kept[n % 64] = malloc(40 + n % 200);
}

int main(int argc, char **argv)
{
    unsigned pairs = argc > 1 ? atoi(argv[1]) : 200000;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (;;) {
        double started = processor_time();
        for (unsigned n = 0; n < pairs; n++)
            pair(n);
        printf("%.1f\n", (processor_time() - started) / pairs * 1e9);
    }
}
