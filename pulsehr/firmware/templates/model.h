/*
 * Heart rate from a window of @n_channels@ signals with @n_times@ samples, in integers.
 *
 * A window is int8, signal after signal (the PPG first, then acceleration x, y, z), normalised
 * as in training and quantized: integer = round(sample / scale) + zero point, saturated.
 * @prefix@_quantize.h does that for samples in floating point.
 *
 * All working memory is the caller's arena; nothing is kept between calls, so that calls with
 * different arenas may run at the same time.
 */
#ifndef @upper@_H
#define @upper@_H

#include <stdint.h>

@sizes@

#define @upper@_OK               0 /* the heart rate is written */
#define @upper@_ERROR_NULL      (-1) /* a pointer is NULL; nothing is written */
#define @upper@_ERROR_ALIGNMENT (-2) /* the arena is misaligned; nothing is written */

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Estimate the heart rate of a window.
 *
 * window: @input_bytes@ samples; not changed, not part of the arena.
 * arena:  @arena_bytes@ bytes at a multiple of @alignment@; overwritten.
 * bpm_q8: the heart rate in 1/256 bpm, so that bpm_q8 / 256 are its whole bpm.
 *
 * Returns @upper@_OK or one of the errors above.
 */
int @prefix@_predict(const int8_t window[@upper@_INPUT_BYTES], void *arena, int32_t *bpm_q8);

#ifdef __cplusplus
}
#endif

#endif
