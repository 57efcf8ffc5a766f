/*
 * Heart rates on this machine.
 *
 *     @prefix@_example                  the self-test
 *     @prefix@_example PPG@example_acc@
 *
 * PPG: a file of counts at @ppg_rate@ Hz, one on each line.
@example_acc_note@ */
#include <inttypes.h>
#include <stdio.h>

#include "@prefix@_self_test.h"

#define USAGE "usage: @prefix@_example [PPG@example_acc@]\n"

static uint32_t memory[@upper@_SELF_TEST_BYTES / 4 + 1];

static int self_test(void)
{
    const int result = @prefix@_self_test(memory);

    if (result == 0) {
        printf("self-test: as expected\n");
    } else {
        printf("self-test: vector %d differs\n", result);
    }
    return result == 0 ? 0 : 1;
}

#if @upper@_ACC_FACTOR > 0
/* Read and push a sample of the acceleration; returns -100 at the end of the file. */
static int push_acc(@prefix@_state *state, FILE *acc)
{
    int16_t x, y, z;

    if (fscanf(acc, "%" SCNd16 "%*[ ,;]%" SCNd16 "%*[ ,;]%" SCNd16, &x, &y, &z) != 3) {
        return -100;
    }
    return @prefix@_push_acc(state, x, y, z);
}
#endif

static int push_ppg(@prefix@_state *state, FILE *ppg)
{
    int32_t sample;

    return fscanf(ppg, "%" SCNd32, &sample) == 1 ? @prefix@_push_ppg(state, sample) : -100;
}

int main(int argc, char **argv)
{
    static @prefix@_state state;
    FILE *files[2] = {NULL, NULL};
    int32_t i = 0;
    int32_t n = 0;

    if (argc == 1) {
        return self_test();
    }
    if (argc != 2 + (@upper@_ACC_FACTOR > 0)) {
        fputs(USAGE, stderr);
        return 2;
    }
    for (int k = 1; k < argc; ++k) {
        files[k - 1] = fopen(argv[k], "r");
        if (files[k - 1] == NULL) {
            perror(argv[k]);
            return 2;
        }
    }
#if @upper@_ACC_FACTOR > 0
    int32_t j = 0;
#endif
    int status = @prefix@_init(&state);

    while (status >= 0) {
        /* whichever was sampled first */
#if @upper@_ACC_FACTOR > 0
        if (j * @upper@_PPG_FACTOR <= i * @upper@_ACC_FACTOR) {
            status = push_acc(&state, files[1]);
            ++j;
        } else
#endif
        {
            status = push_ppg(&state, files[0]);
            ++i;
        }
        if (status == @upper@_READY) {
            const double seconds = (@upper@_WINDOW_MS + (double)n * @upper@_STRIDE_MS) / 1000.0;
            int32_t bpm_q8;

            status = @prefix@_heart_rate(&state, &bpm_q8);
            if (status == @upper@_OK) {
                printf("%.2f s %.11g bpm\n", seconds, bpm_q8 / 256.0);
                ++n;
            }
        }
    }
    return status == -100 ? 0 : 1;
}
