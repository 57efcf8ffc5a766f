/*
 * Heart rates on this machine.
 *
 *     @prefix@_example            the self-test
 *     @prefix@_example WINDOWS    a file of @input_bytes@ int8 samples on each line
 */
#include <inttypes.h>
#include <stdio.h>

#include "@prefix@_self_test.h"

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

int main(int argc, char **argv)
{
    static int8_t window[@upper@_INPUT_BYTES];
    int32_t k = 0;
    int32_t sample;
    long n = 0;

    if (argc == 1) {
        return self_test();
    }

    FILE *const file = argc == 2 ? fopen(argv[1], "r") : NULL;

    if (file == NULL) {
        fputs("usage: @prefix@_example [WINDOWS]\n", stderr);
        return 2;
    }
    while (fscanf(file, "%" SCNd32 "%*[ ,;]", &sample) == 1 && (int8_t)sample == sample) {
        window[k++] = (int8_t)sample;
        if (k == @upper@_INPUT_BYTES) {
            int32_t bpm_q8;

            if (@prefix@_predict(window, memory, &bpm_q8) != @upper@_OK) {
                return 1;
            }
            printf("%.11g bpm\n", bpm_q8 / 256.0);
            k = 0;
            ++n;
        }
    }
    if (k != 0 || !feof(file)) {
        fprintf(stderr, "%s: window %ld: not @input_bytes@ int8 samples\n", argv[1], n + 1);
        return 2;
    }
    fclose(file);
    return 0;
}
