/* The network one signal at a time: here signals are gathered, and all layers run at the end. */
#include "@prefix@_network.h"

#include <string.h>

#include "@prefix@.h"

int8_t *@prefix@_network_input(void *arena)
{
    return (int8_t *)arena + @upper@_ARENA_BYTES + @upper@_INPUT_BYTES;
}

void @prefix@_network_row(void *arena, int32_t row)
{
    int8_t *const window = (int8_t *)arena + @upper@_ARENA_BYTES;

    memcpy(window + row * @upper@_N_TIMES, @prefix@_network_input(arena), @upper@_N_TIMES);
}

int32_t @prefix@_network_result(void *arena)
{
    int32_t bpm_q8 = 0;

    (void)@prefix@_predict((int8_t *)arena + @upper@_ARENA_BYTES, arena, &bpm_q8);
    return bpm_q8;
}
