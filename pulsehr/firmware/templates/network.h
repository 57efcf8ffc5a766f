/* The network one signal at a time. */
#ifndef @upper@_NETWORK_H
#define @upper@_NETWORK_H

#include <stdint.h>

/* Where the int8 samples of one signal go */
int8_t *@prefix@_network_input(void *arena);

/* Run the layers that signals share on the signal in the input; rows in any order, each once */
void @prefix@_network_row(void *arena, int32_t row);

/* Run the rest after all rows; the heart rate in 1/256 bpm */
int32_t @prefix@_network_result(void *arena);

#endif
