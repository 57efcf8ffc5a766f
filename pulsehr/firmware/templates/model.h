/*
 * Heart rate from a wrist's PPG@and_acc@, in integers.
 *
@usage@
 *
 * All working memory is the caller's; nothing is kept elsewhere, so that calls with different
 * memory may run at the same time. Calls with the same memory must not interrupt each other.
 */
#ifndef @upper@_H
#define @upper@_H

#include <stdint.h>

#if defined(__ARM_BIG_ENDIAN) || \
    (defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__)
#error "@prefix@ needs a little-endian target"
#endif

/* The pulsehr that wrote this: major * 10000 + minor * 100 + patch, and its full name */
#define @upper@_VERSION        @version_number@
#define @upper@_VERSION_STRING "@version@"

@sizes@

@statuses@

#ifdef __cplusplus
extern "C" {
#endif
@stream_api@
/*
 * Estimate the heart rate of a window that was normalised elsewhere.
 *
 * window: @input_bytes@ int8 samples, signal after signal (@signals@),
 *         normalised as in training and quantized: integer = round(sample / INPUT_SCALE) +
 *         INPUT_ZERO_POINT, saturated. Not changed, not part of the arena.
 * arena:  @arena_bytes@ bytes at a multiple of @alignment@; overwritten.
 * bpm_q8: the heart rate in 1/256 bpm: bpm_q8 / 256 are whole bpm.
 *
 * Returns @upper@_OK, @upper@_ERROR_NULL or @upper@_ERROR_ALIGNMENT; nothing is written on errors.
 */
int @prefix@_predict(const int8_t window[@upper@_INPUT_BYTES], void *arena, int32_t *bpm_q8);
@std_api@
#ifdef __cplusplus
}
#endif

#endif
