/*
 * Integer operators on tensors (height, width, depth): rows are the channels of a window,
 * width is time, depth holds features and varies fastest.
 *
 * A real value is scale * (integer - zero). Sums are 32-bit and cannot overflow for the tables
 * that come with these operators. Input and output must not overlap.
 */
#ifndef PULSEHR_KERNELS_H
#define PULSEHR_KERNELS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The tables of weighted sums and the integers around them.
 * One bias, multiplier and shift per output; the sum is multiplied by multiplier * 2^(shift - 31).
 */
typedef struct {
    const int8_t *weights;
    const int32_t *bias;
    const int32_t *multiplier;
    const int8_t *shift;
    int32_t input_zero;
    int32_t output_zero;
    int32_t output_low;  /* outputs are cut to output_low .. output_high; */
    int32_t output_high; /* a ReLU has output_low = output_zero */
} pulsehr_products;

/* A convolution over rows (unpadded) and time (dilated, padded with real zeros). */
typedef struct {
    int32_t input_height, input_width, input_depth;
    int32_t output_height, output_width, output_depth;
    int32_t kernel_height, kernel_width, dilation, padding;
    /* weights (output_depth, kernel_height, kernel_width, input_depth) */
    pulsehr_products products;
} pulsehr_conv_layer;

/* Means of `size` time steps; the last group may be shorter. */
typedef struct {
    int32_t height, input_width, depth, output_width, size;
} pulsehr_mean_pool_layer;

/* A dense layer on the flattened input. */
typedef struct {
    int32_t n_inputs, n_outputs;
    /* weights (n_outputs, n_inputs) */
    pulsehr_products products;
} pulsehr_dense_layer;

/* (input_height, input_width, input_depth) to (output_height, output_width, output_depth) */
void pulsehr_conv_s8(const pulsehr_conv_layer *layer, const int8_t *input, int8_t *output);

/* (height, input_width, depth) to (height, output_width, depth), with the same scale and zero */
void pulsehr_mean_pool_s8(
    const pulsehr_mean_pool_layer *layer, const int8_t *input, int8_t *output);

/* int8 (n_inputs) to int16 (n_outputs) */
void pulsehr_dense_s8_s16(const pulsehr_dense_layer *layer, const int8_t *input, int16_t *output);

/* int16 (n_inputs) to int32 (n_outputs) */
void pulsehr_dense_s16_s32(const pulsehr_dense_layer *layer, const int16_t *input, int32_t *output);

#ifdef __cplusplus
}
#endif

#endif
