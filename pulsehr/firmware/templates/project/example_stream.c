/*
 * Heart rates on this machine.
 *
 *     @prefix@_example                  the self-test
 *     @prefix@_example PPG@example_acc@
 *
 * PPG: a file of counts at @ppg_rate@ Hz, one on each line.
@example_acc_note@ * A line that begins with nan is a sample that is missing.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

typedef struct {
    FILE *file;
    const char *name;
    long line;
} input;

enum { AT_END = -100, UNREADABLE = -101, MISSING = -102 };

/*
 * Read a line of `n` numbers from -limit - 1 to limit. Returns @upper@_OK, AT_END, MISSING or
 * UNREADABLE.
 */
static int read_line(input *from, int n, int32_t limit, int32_t *counts)
{
    char line[128];
    char *at = line;

    if (fgets(line, (int)sizeof line, from->file) == NULL) {
        return AT_END;
    }
    ++from->line;
    if (strncmp(line, "nan", 3) == 0) {
        return MISSING;
    }
    for (int k = 0; k < n; ++k) {
        char *after;
        const long long count = strtoll(at, &after, 10);

        if (after == at || count > limit || count < -(long long)limit - 1) {
            n = -1;
            break;
        }
        counts[k] = (int32_t)count;
        at = after + strspn(after, " \t,;\r\n");
    }
    if (n < 0 || *at != '\0') {
        fprintf(stderr, "%s: line %ld: not the counts of a sample\n", from->name, from->line);
        return UNREADABLE;
    }
    return @upper@_OK;
}

#if @upper@_ACC_FACTOR > 0
/* Read and push a sample of the acceleration. */
static int push_acc(@prefix@_state *state, input *acc)
{
    int32_t xyz[3];
    const int status = read_line(acc, 3, INT16_MAX, xyz);

    if (status == MISSING) {
        return @prefix@_skip_acc(state, 1);
    }
    return status != @upper@_OK
               ? status
               : @prefix@_push_acc(state, (int16_t)xyz[0], (int16_t)xyz[1], (int16_t)xyz[2]);
}
#endif

static int push_ppg(@prefix@_state *state, input *ppg)
{
    int32_t count;
    const int status = read_line(ppg, 1, INT32_MAX, &count);

    if (status == MISSING) {
        return @prefix@_skip_ppg(state, 1);
    }
    return status != @upper@_OK ? status : @prefix@_push_ppg(state, count);
}

int main(int argc, char **argv)
{
    static @prefix@_state state;
    input files[2] = {{NULL, NULL, 0}, {NULL, NULL, 0}};
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
        files[k - 1] = (input){fopen(argv[k], "r"), argv[k], 0};
        if (files[k - 1].file == NULL) {
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
            status = push_acc(&state, &files[1]);
            ++j;
        } else
#endif
        {
            status = push_ppg(&state, &files[0]);
            ++i;
        }
        if (status == @upper@_READY) {
            const double seconds = (@upper@_WINDOW_MS + (double)n * @upper@_STRIDE_MS) / 1000.0;
            int32_t bpm_q8;

            status = @prefix@_heart_rate(&state, &bpm_q8);
            if (status == @upper@_OK) {
                printf("%.2f s %.11g bpm\n", seconds, bpm_q8 / 256.0);
                ++n;
            } else if (status == @upper@_ERROR_GAP) {
                printf("%.2f s nan bpm\n", seconds);
                ++n;
                status = @upper@_OK;
            }
        }
    }
    return status == AT_END ? 0 : status == UNREADABLE ? 2 : 1;
}
