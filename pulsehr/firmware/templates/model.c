/* The layers in the order in which they run. */
#include "@prefix@.h"

#include <stddef.h>
#include <string.h>

#include "@prefix@_kernels.h"
#include "@prefix@_network.h"
#include "@prefix@_weights.h"

/* numbers of segments, and first byte in the arena of what enters the dense layers */
@places@

_Static_assert(@upper@_N_CHANNELS * @upper@_N_TIMES == @upper@_INPUT_BYTES, "window size");

int8_t *@prefix@_network_input(void *arena)
{
    return (int8_t *)arena + @upper@_ROW_OFFSET;
}

void @prefix@_network_row(void *arena, int32_t row)
{
#if @upper@_ROW_SEGMENTS > 0
    for (int32_t index = 0; index < @upper@_ROW_SEGMENTS; ++index) {
        @prefix@_run_segment(&@prefix@_segments[index], row, arena);
    }
#else
    /* the rows meet at once: a time step holds the samples of all */
    const int8_t *const samples = @prefix@_network_input(arena);
    int8_t *const place = (int8_t *)arena + @upper@_FIRST_OFFSET + row;

    for (int32_t step = 0; step < @upper@_N_TIMES; ++step) {
        place[step * @upper@_N_CHANNELS] = samples[step];
    }
#endif
}

int32_t @prefix@_network_result(void *arena)
{
    int8_t *const bytes = arena;
    @outputs@

    for (int32_t index = @upper@_ROW_SEGMENTS; index < @upper@_SEGMENTS; ++index) {
        @prefix@_run_segment(&@prefix@_segments[index], 0, arena);
    }
@dense_calls@
@return@
}

int @prefix@_predict(const int8_t window[@upper@_INPUT_BYTES], void *arena, int32_t *bpm_q8)
{
    if (window == NULL || arena == NULL || bpm_q8 == NULL) {
        return @upper@_ERROR_NULL;
    }
    if ((uintptr_t)arena % @upper@_ARENA_ALIGNMENT != 0) {
        return @upper@_ERROR_ALIGNMENT;
    }
    for (int32_t row = 0; row < @upper@_N_CHANNELS; ++row) {
        const int8_t *const samples = window + row * @upper@_N_TIMES;

        memcpy(@prefix@_network_input(arena), samples, @upper@_N_TIMES);
        @prefix@_network_row(arena, row);
    }
    *bpm_q8 = @prefix@_network_result(arena);
    return @upper@_OK;
}
@std@