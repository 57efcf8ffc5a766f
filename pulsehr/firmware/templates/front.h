/*
 * Heart rate from samples of the sensors, in integers.
 *
 * Feed every sample with a push as it comes; when one returns @upper@_READY, a window is complete,
 * and @prefix@_heart_rate estimates the heart rate at its end:
 *
 *     static @prefix@_state state;
 *
 *     @prefix@_init(&state);
 *     for each sample, as it comes:
 *         status = @example_push@;
 *         if (status == @upper@_READY) {
 *             int32_t bpm_q8;
 *             if (@prefix@_heart_rate(&state, &bpm_q8) == @upper@_OK) { use bpm_q8 / 256 }
 *         }
 *
@units@
 *
 * The state is the caller's and holds all memory; nothing is kept elsewhere, so that calls with
 * different states may run at the same time. Calls with one state must not interrupt each other.
 */
#ifndef @upper@_FRONT_H
#define @upper@_FRONT_H

#include <stdint.h>

#include "@prefix@.h"

@macros@

#define @upper@_READY            1 /* a window is complete: call @prefix@_heart_rate */
#define @upper@_ERROR_NOT_READY (-3) /* no window is complete that was not estimated before */
#define @upper@_ERROR_LATE      (-4) /* samples of the window were overwritten; await the next */
#define @upper@_ERROR_AHEAD     (-5) /* the sample was refused: push the other sensor's first */

#ifdef __cplusplus
extern "C" {
#endif
@filter@
/* All that is kept between calls; its fields are no part of the interface. */
typedef struct {
@state@
} @prefix@_state;

/* Start a stream. Returns @upper@_OK or @upper@_ERROR_NULL. */
int @prefix@_init(@prefix@_state *state);

/*
 * Take a sample of the PPG@clause_acc@. Counts beyond 24 bits are
 * limited to them.
 *
 * Returns @upper@_READY if a window is complete, @upper@_OK if not@clause_ahead@,
 * or @upper@_ERROR_NULL.
 */
@pushes@

/*
 * Estimate the heart rate at the end of the newest complete window, once for each window.
 *
 * bpm_q8: the heart rate in 1/256 bpm; written only if @upper@_OK is returned.
 *
 * Call it before more than @upper@_SLACK samples (of the windows' rate) of a sensor have come
 * after the window, of which a sensor that is ahead uses up what it is ahead.
 *
 * Returns @upper@_OK, @upper@_ERROR_NULL, @upper@_ERROR_NOT_READY or @upper@_ERROR_LATE.
 */
int @prefix@_heart_rate(@prefix@_state *state, int32_t *bpm_q8);

#ifdef __cplusplus
}
#endif

#endif
