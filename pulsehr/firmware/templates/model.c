/* The layers in the order in which they run, and where their outputs lie in the arena. */
#include "@prefix@.h"

#include <stddef.h>
#include <stdint.h>

#include "@prefix@_kernels.h"
#include "@prefix@_weights.h"

/* first byte of each output: (height, width, depth) */
@offsets@

_Static_assert(@upper@_N_CHANNELS * @upper@_N_TIMES == @upper@_INPUT_BYTES, "window size");
@fits@

int @prefix@_predict(const int8_t window[@upper@_INPUT_BYTES], void *arena, int32_t *bpm_q8)
{
    if (window == NULL || arena == NULL || bpm_q8 == NULL) {
        return @upper@_ERROR_NULL;
    }
    if ((uintptr_t)arena % @upper@_ARENA_ALIGNMENT != 0) {
        return @upper@_ERROR_ALIGNMENT;
    }

    int8_t *const bytes = arena;
@tensors@

@calls@
    return @upper@_OK;
}
