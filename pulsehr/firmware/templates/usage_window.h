 * A window of @n_channels@ x @n_times@ normalised samples in, a heart rate out:
 *
 *     static int8_t window[@upper@_INPUT_BYTES];
 *     static uint32_t arena[@upper@_ARENA_BYTES / 4];
 *     int32_t bpm_q8;
 *
 *     if (@prefix@_predict(window, arena, &bpm_q8) == @upper@_OK) { use bpm_q8 / 256 }
 *
 * @prefix@_quantize.h turns normalised samples in floating point into the int8 of a window.
