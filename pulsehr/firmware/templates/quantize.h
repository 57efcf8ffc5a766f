/* Optional: samples in floating point to the integers of @prefix@_predict. */
#ifndef @upper@_QUANTIZE_H
#define @upper@_QUANTIZE_H

#include <stdint.h>

#include "@prefix@.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Quantize a normalised window: divide by the scale, round to the nearest integer with halves
 * away from zero, add the zero point, saturate. NaN becomes the zero point.
 *
 * window:    @input_bytes@ samples, signal after signal.
 * quantized: @input_bytes@ integers.
 */
void @prefix@_quantize_window(
    const float window[@upper@_INPUT_BYTES], int8_t quantized[@upper@_INPUT_BYTES]);

#ifdef __cplusplus
}
#endif

#endif
