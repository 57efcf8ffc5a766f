/*
 * The network's operators on integers. A tensor is (steps, depth): time steps, and at each of
 * them the features, which vary fastest. A real value is scale * (integer - zero).
 *
 * Sums are 32-bit and stay under 2^30 for the tables that come with these operators. The bias of
 * an output holds the zero of the input already: bias - zero * sum of weights.
 */
#ifndef PULSEHR_KERNELS_H
#define PULSEHR_KERNELS_H

#include <stdint.h>

#if defined(__BYTE_ORDER__) && defined(__ORDER_LITTLE_ENDIAN__)
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "big-endian targets are not supported"
#endif
#endif

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Who runs the convolutions: 0: the kernels here. 1: CMSIS-NN on cores with Helium, where it is
 * faster. 2: CMSIS-NN on every core. All give the same bits.
 */
#ifndef PULSEHR_CMSIS_NN
#define PULSEHR_CMSIS_NN 0
#endif

#if PULSEHR_CMSIS_NN == 2 || (PULSEHR_CMSIS_NN == 1 && defined(__ARM_FEATURE_MVE))
#define PULSEHR_CONV_BY_CMSIS_NN 1
#else
#define PULSEHR_CONV_BY_CMSIS_NN 0
#endif

/* Most layers of a segment */
#define PULSEHR_MAX_LAYERS 8

/* What turns a sum of products into an int8: (bias + sum) * multiplier * 2^(shift - 17) */
typedef struct {
    int32_t bias;
    uint16_t multiplier; /* from 2^15 up */
    int8_t shift;        /* from -20 to -1 */
} pulsehr_scale;

/*
 * A layer along time: a convolution, or without weights the mean of `kernel` steps.
 * Outputs saturate; the zero of a layer with a ReLU is -128.
 */
typedef struct {
    const int8_t *weights;       /* (n_outputs, kernel, depth) */
    const pulsehr_scale *scales; /* (n_outputs) */
    uint16_t depth, n_outputs;
    uint16_t kernel, dilation, stride, padding; /* in time steps */
    uint16_t lines;                             /* first byte in the arena of its input */
    int8_t input_zero, output_zero;
} pulsehr_layer;

/* Layers that a row runs through, `tile` time steps at a time. */
typedef struct {
    const pulsehr_layer *layers;
    uint16_t n_layers, width, tile;         /* width: time steps of the input */
    uint16_t output, output_step, row_step; /* bytes: first output, from step to step, row to row */
    uint16_t scratch;                       /* first byte in the arena */
} pulsehr_segment;

/*
 * A dense layer on n_inputs integers. The sum of output k is multiplied by
 * multiplier[k] * 2^(shift[k] - 31) and cut to low .. high.
 */
typedef struct {
    const int8_t *weights; /* (n_outputs, n_inputs) */
    const int32_t *bias;
    const int32_t *multiplier;
    const int8_t *shift;
    uint16_t n_inputs, n_outputs;
    int32_t low, high;
} pulsehr_dense_layer;

/* Move n bytes down by `step`. Not memmove, whose usual forms take more flash than the pools. */
void pulsehr_move_down(void *memory, int32_t step, int32_t n);

/* Run a row through a segment; its input lies in the arena, after the first layer's padding. */
void pulsehr_run_segment(const pulsehr_segment *segment, int32_t row, uint8_t *arena);

/* int8 (n_inputs) to int16 (n_outputs) */
void pulsehr_dense_s8_s16(const pulsehr_dense_layer *layer, const int8_t *input, int16_t *output);

/* int16 (n_inputs) to int32 (n_outputs) */
void pulsehr_dense_s16_s32(const pulsehr_dense_layer *layer, const int16_t *input, int32_t *output);

/*
 * A convolution: n outputs (n, n_outputs), output_step bytes apart, from (n - 1) * stride +
 * (kernel - 1) * dilation + 1 steps of input. scratch: words may lie there.
 */
void pulsehr_conv(
    const pulsehr_layer *layer, const int8_t *input, int32_t n, int8_t *output,
    int32_t output_step, uint8_t *scratch);

/* The same by CMSIS-NN; returns 0 if that refuses, which leaves any outputs. */
int32_t pulsehr_conv_cmsis_nn(
    const pulsehr_layer *layer, const int8_t *input, int32_t n, int8_t *output,
    int32_t output_step, uint8_t *scratch);

#ifdef __cplusplus
}
#endif

#endif
