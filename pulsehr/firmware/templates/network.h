/* The network row by row, for this library alone: a row is one signal of a window. */
#ifndef @upper@_NETWORK_H
#define @upper@_NETWORK_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Where the @n_times@ int8 samples of a row go: in the arena of @upper@_ARENA_BYTES. */
int8_t *@prefix@_network_input(void *arena);

/* Run the layers that all rows share on the row that lies there; each row once, in any order. */
void @prefix@_network_row(void *arena, int32_t row);

/* Run what follows on the @n_channels@ rows together; returns the heart rate in 1/256 bpm. */
int32_t @prefix@_network_result(void *arena);

#ifdef __cplusplus
}
#endif

#endif
