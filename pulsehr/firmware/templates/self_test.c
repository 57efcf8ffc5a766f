/* Made-up windows@and_stream@, and the heart rates that they must give. */
#include "@prefix@_self_test.h"

#include <stddef.h>

/* heart rates in 1/256 bpm */
@expected@
/* From -96 to 95: a triangle of `period` samples, and noise that differs from signal to signal */
static int32_t @prefix@_wave(int32_t index, int32_t signal, int32_t period)
{
    const int32_t phase = index % period;
    const int32_t up = 2 * phase < period ? phase : period - phase;
    uint32_t noise = ((uint32_t)index * 4u + (uint32_t)signal + 1u) * 2654435769u;

    noise ^= noise >> 15;
    noise *= 2246822519u;
    return up * 256 / period - 64 + (int32_t)(noise >> 26) - 32;
}

void @prefix@_self_test_window(int32_t vector, int8_t window[@upper@_INPUT_BYTES])
{
    for (int32_t k = 0; k < @upper@_INPUT_BYTES; ++k) {
        const int32_t row = k / @upper@_N_TIMES;
        const int32_t index = k % @upper@_N_TIMES;
        int32_t value = index % 2 == 0 ? INT8_MIN : INT8_MAX;

        if (vector == 0) {
            value = INT8_MIN;
        } else if (vector == 1) {
            value = INT8_MAX;
        } else if (vector > 2) {
            value = @prefix@_wave(index + 1000 * vector, row, 8 * vector);
        }
        window[k] = (int8_t)value;
    }
}
@stream_functions@
int @prefix@_self_test(void *memory)
{
    if (memory == NULL) {
        return @upper@_ERROR_NULL;
    }

    uint8_t *const arena = memory;
    int8_t *const window = (int8_t *)memory + @upper@_ARENA_BYTES;

    for (int32_t vector = 0; vector < @upper@_SELF_TEST_WINDOWS; ++vector) {
        int32_t bpm_q8 = 0;

        @prefix@_self_test_window(vector, window);
        if (@prefix@_predict(window, arena, &bpm_q8) != @upper@_OK ||
            bpm_q8 != @prefix@_expected_windows[vector]) {
            return (int)vector + 1;
        }
@std@    }
    return @result@;
}
