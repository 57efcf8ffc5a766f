#ifndef @upper@_KALMAN_H
#define @upper@_KALMAN_H

#include <stdint.h>

#include "@prefix@.h"

@constants@

/*
 * Filter a heart rate that comes `rows` after the one before; 0: start anew. Returns the filtered
 * one, from 0 to @upper@_KALMAN_REACH, both in 1/256 bpm.
 */
int32_t @prefix@_kalman(@prefix@_state *state, int32_t bpm_q8, int32_t rows);

#endif
