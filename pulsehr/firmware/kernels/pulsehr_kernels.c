/* Integer operators in C11, faster on cores with the DSP instructions of Arm: see the header. */
#include "pulsehr_kernels.h"

#include <stddef.h>
#include <string.h>

_Static_assert((-1 >> 1) == -1, "the compiler must shift negative numbers arithmetically");
_Static_assert((int8_t)-1 == -1, "integers must be of two's complement");

#if defined(__ARM_FEATURE_SIMD32) && !defined(PULSEHR_NO_DSP)
#define PULSEHR_DSP 1
#include <arm_acle.h>
#else
#define PULSEHR_DSP 0
#endif

/* What turns a sum into an output. */
typedef struct {
    int32_t bias, multiplier, doubling, right, half;
} pulsehr_scaling;

static pulsehr_scaling pulsehr_scaling_of(
    const int32_t *bias, const int32_t *multiplier, const int8_t *shift, int32_t index)
{
    const int32_t left = shift[index] > 0 ? shift[index] : 0;
    const int32_t right = shift[index] < 0 ? -shift[index] : 0;
    const pulsehr_scaling scaling = {
        bias[index], multiplier[index], (int32_t)(2U << left), right, (int32_t)((1U << right) >> 1)};

    return scaling;
}

/*
 * sum * multiplier * 2^(shift - 31), rounded twice as CMSIS-NN does: the high half of the doubled
 * product with halves up, then its division by a power of two with halves away from zero.
 */
static inline int32_t pulsehr_requantize(const pulsehr_scaling *scaling, int32_t sum)
{
    const int64_t product = (int64_t)(sum * scaling->doubling) * scaling->multiplier;
    const int32_t high = (int32_t)((product + INT64_C(0x80000000)) >> 32);
    const int32_t below = scaling->right > 0 ? high >> 31 : 0;

    return (high + below + scaling->half) >> scaling->right;
}

static inline int32_t pulsehr_clamp(int32_t value, int32_t low, int32_t high)
{
    value = value < low ? low : value;
    return value > high ? high : value;
}

/* Where the inputs of an output lie: `taps` runs of `depth` bytes, tap_step apart. */
typedef struct {
    const int8_t *input;
    int32_t taps, depth, tap_step, stride; /* stride: bytes from output to output */
} pulsehr_patches;

/* Two features of two outputs: sums of feature 0 at both outputs, then of feature 1. */
typedef struct {
    int32_t first[2], second[2];
} pulsehr_sums;

#if PULSEHR_DSP

/* Four bytes as two pairs of int16: the even ones, the odd ones */
static inline uint32_t pulsehr_even(uint32_t bytes)
{
    uint32_t pair;

    __asm__("sxtb16 %0, %1" : "=r"(pair) : "r"(bytes));
    return pair;
}

static inline uint32_t pulsehr_odd(uint32_t bytes)
{
    uint32_t pair;

    __asm__("sxtb16 %0, %1, ror #8" : "=r"(pair) : "r"(bytes));
    return pair;
}

static inline uint32_t pulsehr_bytes(const int8_t *values, int32_t n)
{
    uint32_t word = 0;

    memcpy(&word, values, n < 4 ? (uint32_t)n : 4U);
    return word;
}

/*
 * Widen two rows of n weights to pairs of int16: of each four bytes the even ones of both rows,
 * then the odd ones.
 */
static void pulsehr_widen(const int8_t *first, const int8_t *second, int32_t n, uint32_t *wide)
{
    for (int32_t k = 0; k < n; k += 4) {
        const uint32_t one = pulsehr_bytes(first + k, n - k);
        const uint32_t two = pulsehr_bytes(second + k, n - k);

        *wide++ = pulsehr_even(one);
        *wide++ = pulsehr_even(two);
        *wide++ = pulsehr_odd(one);
        *wide++ = pulsehr_odd(two);
    }
}

/* Four products for each of the four sums; compilers spill registers here. */
#define PULSEHR_FOUR                                                                              \
    "ldr    %[x], [%[input]], #4\n\t"                                                              \
    "ldr    %[y], [%[next]], #4\n\t"                                                               \
    "ldrd   %[v], %[w], [%[weights]], #8\n\t"                                                      \
    "sxtb16 %[t], %[x]\n\t"                                                                        \
    "smlad  %[a], %[t], %[v], %[a]\n\t"                                                            \
    "smlad  %[c], %[t], %[w], %[c]\n\t"                                                            \
    "sxtb16 %[t], %[y]\n\t"                                                                        \
    "smlad  %[b], %[t], %[v], %[b]\n\t"                                                            \
    "smlad  %[d], %[t], %[w], %[d]\n\t"                                                            \
    "ldrd   %[v], %[w], [%[weights]], #8\n\t"                                                      \
    "sxtb16 %[x], %[x], ror #8\n\t"                                                                \
    "smlad  %[a], %[x], %[v], %[a]\n\t"                                                            \
    "smlad  %[c], %[x], %[w], %[c]\n\t"                                                            \
    "sxtb16 %[y], %[y], ror #8\n\t"                                                                \
    "smlad  %[b], %[y], %[v], %[b]\n\t"                                                            \
    "smlad  %[d], %[y], %[w], %[d]\n\t"

#define PULSEHR_LOOP(body)                                                                         \
    __asm__ volatile("1:\n\t" body "cmp %[input], %[end]\n\t"                                      \
                     "bne 1b"                                                                      \
                     : [a] "+r"(a), [b] "+r"(b), [c] "+r"(c), [d] "+r"(d), [input] "+r"(input),    \
                       [next] "+r"(next), [weights] "+r"(weights), [x] "=&r"(x), [y] "=&r"(y),     \
                       [t] "=&r"(t), [v] "=&r"(v), [w] "=&r"(w)                                    \
                     : [end] "r"(end)                                                              \
                     : "cc", "memory")

/* depth: a multiple of four; next: input of the second output */
static inline void pulsehr_multiply(
    const pulsehr_patches *patches, const int8_t *input, const int8_t *next,
    const uint32_t *weights, pulsehr_sums *sums)
{
    int32_t a = sums->first[0], b = sums->first[1], c = sums->second[0], d = sums->second[1];
    const int32_t gap = patches->tap_step - patches->depth;

    for (int32_t tap = 0; tap < patches->taps; ++tap) {
        const int8_t *const end = input + patches->depth;
        uint32_t x, y, t, v, w;

        if (patches->depth % 8 == 0) {
            PULSEHR_LOOP(PULSEHR_FOUR PULSEHR_FOUR);
        } else {
            PULSEHR_LOOP(PULSEHR_FOUR);
        }
        input += gap;
        next += gap;
    }
    sums->first[0] = a;
    sums->first[1] = b;
    sums->second[0] = c;
    sums->second[1] = d;
}

#else

static inline void pulsehr_multiply(
    const pulsehr_patches *patches, const int8_t *input, const int8_t *next,
    const int8_t *first, const int8_t *second, pulsehr_sums *sums)
{
    int32_t a = sums->first[0], b = sums->first[1], c = sums->second[0], d = sums->second[1];

    for (int32_t tap = 0; tap < patches->taps; ++tap) {
        for (int32_t k = 0; k < patches->depth; ++k) {
            a += first[k] * input[k];
            b += first[k] * next[k];
            c += second[k] * input[k];
            d += second[k] * next[k];
        }
        first += patches->depth;
        second += patches->depth;
        input += patches->tap_step;
        next += patches->tap_step;
    }
    sums->first[0] = a;
    sums->first[1] = b;
    sums->second[0] = c;
    sums->second[1] = d;
}

#endif

#if PULSEHR_DSP
/* Lay the inputs of each output side by side, each run filled up to n_bytes; returns the runs. */
static pulsehr_patches pulsehr_gather(
    const pulsehr_patches *patches, int32_t n, int32_t n_bytes, int8_t *gathered)
{
    const pulsehr_patches result = {gathered, 1, n_bytes, 0, n_bytes};

    for (int32_t step = 0; step < n; ++step) {
        const int8_t *input = patches->input + step * patches->stride;
        int8_t *place = gathered + step * n_bytes;

        for (int32_t tap = 0; tap < patches->taps; ++tap) {
            for (int32_t k = 0; k < patches->depth; ++k) {
                *place++ = input[tap * patches->tap_step + k];
            }
        }
        while (place < gathered + (step + 1) * n_bytes) {
            *place++ = 0;
        }
    }
    return result;
}
#endif

static inline int8_t pulsehr_output(
    const pulsehr_layer *layer, const pulsehr_scaling *scaling, int32_t sum)
{
    const int32_t value = pulsehr_requantize(scaling, sum) + layer->output_zero;

    return (int8_t)pulsehr_clamp(value, layer->low, INT8_MAX);
}

void pulsehr_conv(
    const pulsehr_layer *layer, const int8_t *input, int32_t n, int8_t *output,
    int32_t output_step, uint8_t *scratch)
{
    const int32_t n_weights = layer->kernel * layer->depth;
    pulsehr_patches patches = {
        input, layer->kernel, layer->depth, layer->dilation * layer->depth,
        layer->stride * layer->depth};

#if PULSEHR_DSP
    const int32_t n_bytes = (n_weights + 3) / 4 * 4;
    uint32_t *const wide = (uint32_t *)(void *)scratch;

    if (layer->depth % 4 != 0) {
        patches = pulsehr_gather(&patches, n, n_bytes, (int8_t *)scratch + 4 * n_bytes);
    }
#else
    (void)scratch;
#endif
    for (int32_t feature = 0; feature < layer->n_outputs; feature += 2) {
        const int32_t other = feature + 1 < layer->n_outputs ? feature + 1 : feature;
        const int8_t *const first = layer->weights + feature * n_weights;
        const int8_t *const second = layer->weights + other * n_weights;
        const pulsehr_scaling one =
            pulsehr_scaling_of(layer->bias, layer->multiplier, layer->shift, feature);
        const pulsehr_scaling two =
            pulsehr_scaling_of(layer->bias, layer->multiplier, layer->shift, other);

#if PULSEHR_DSP
        pulsehr_widen(first, second, n_weights, wide);
#endif
        for (int32_t step = 0; step < n; step += 2) {
            const int32_t more = step + 1 < n ? 1 : 0; /* else the same output twice */
            const int8_t *const values = patches.input + step * patches.stride;
            const int8_t *const next = values + more * patches.stride;
            int8_t *const place = output + step * output_step;
            int8_t *const after = place + more * output_step;
            pulsehr_sums sums = {{one.bias, one.bias}, {two.bias, two.bias}};

#if PULSEHR_DSP
            pulsehr_multiply(&patches, values, next, wide, &sums);
#else
            pulsehr_multiply(&patches, values, next, first, second, &sums);
#endif
            place[feature] = pulsehr_output(layer, &one, sums.first[0]);
            after[feature] = pulsehr_output(layer, &one, sums.first[1]);
            place[other] = pulsehr_output(layer, &two, sums.second[0]);
            after[other] = pulsehr_output(layer, &two, sums.second[1]);
        }
    }
}

/* Means of `kernel` steps, the last of what is left; halves away from zero. */
static void pulsehr_mean_pool(
    const pulsehr_layer *layer, const int8_t *input, int32_t held, int32_t n, int8_t *output,
    int32_t output_step)
{
    for (int32_t step = 0; step < n; ++step) {
        const int32_t left = held - step * layer->kernel;
        const int32_t count = left < layer->kernel ? left : layer->kernel;
        const int8_t *const values = input + step * layer->kernel * layer->depth;

        for (int32_t feature = 0; feature < layer->depth; ++feature) {
            int32_t sum = 0;

            for (int32_t i = 0; i < count; ++i) {
                sum += values[i * layer->depth + feature];
            }
            sum += sum < 0 ? -(count / 2) : count / 2;
            output[step * output_step + feature] = (int8_t)(sum / count);
        }
    }
}

/* How many outputs the steps of a layer's input that are held give */
static int32_t pulsehr_ready(const pulsehr_layer *layer, int32_t held, int32_t is_last)
{
    const int32_t reach = (layer->kernel - 1) * layer->dilation + 1;

    if (layer->weights == NULL && is_last) {
        return (held + layer->kernel - 1) / layer->kernel;
    }
    return held < reach ? 0 : (held - reach) / layer->stride + 1;
}

void pulsehr_run_segment(const pulsehr_segment *segment, int32_t row, uint8_t *arena)
{
    const int32_t n_layers = segment->n_layers;
    int8_t *output = (int8_t *)arena + segment->output + row * segment->row_step;
    int32_t held[PULSEHR_MAX_LAYERS]; /* time steps in the lines of each layer */

    for (int32_t index = 0; index < n_layers; ++index) {
        const pulsehr_layer *const layer = &segment->layers[index];

        held[index] = layer->padding;
        memset(arena + layer->lines, layer->input_zero, (size_t)(layer->padding * layer->depth));
    }

    int8_t *input = (int8_t *)arena + segment->layers[0].lines;

    for (int32_t start = 0; start < segment->width; start += segment->tile) {
        const int32_t left = segment->width - start;
        const int32_t is_last = left <= segment->tile;
        int32_t n = is_last ? left : segment->tile;

        for (int32_t index = 0; index < n_layers; ++index) {
            const pulsehr_layer *const layer = &segment->layers[index];
            int8_t *const lines = (int8_t *)arena + layer->lines;
            int8_t *const from = index == 0 ? input : lines;
            int8_t *to = output;
            int32_t step = segment->output_step;

            held[index] += n;
            if (is_last) { /* the padding at the end */
                memset(
                    from + held[index] * layer->depth, layer->input_zero,
                    (size_t)(layer->padding * layer->depth));
                held[index] += layer->padding;
            }
            if (index + 1 < n_layers) {
                step = layer->n_outputs;
                to = (int8_t *)arena + layer[1].lines + held[index + 1] * step;
            }
            n = pulsehr_ready(layer, held[index], is_last);
            if (layer->weights == NULL) {
                pulsehr_mean_pool(layer, from, held[index], n, to, step);
            } else if (n > 0) {
                pulsehr_conv(layer, from, n, to, step, arena + segment->scratch);
            }

            const int32_t used = n * layer->stride < held[index] ? n * layer->stride : held[index];

            held[index] -= used;
            if (index == 0) {
                input += used * layer->depth;
            } else {
                memmove(lines, lines + used * layer->depth, (size_t)(held[index] * layer->depth));
            }
        }
        output += n * segment->output_step;
    }
}

void pulsehr_dense_s8_s16(const pulsehr_dense_layer *layer, const int8_t *input, int16_t *output)
{
    const int8_t *weights = layer->weights;

    for (int32_t feature = 0; feature < layer->n_outputs; ++feature) {
        const pulsehr_scaling scaling =
            pulsehr_scaling_of(layer->bias, layer->multiplier, layer->shift, feature);
        int32_t sum = scaling.bias;

        for (int32_t k = 0; k < layer->n_inputs; ++k) {
            sum += *weights++ * input[k];
        }
        sum = pulsehr_requantize(&scaling, sum);
        output[feature] = (int16_t)pulsehr_clamp(sum, layer->low, layer->high);
    }
}

void pulsehr_dense_s16_s32(const pulsehr_dense_layer *layer, const int16_t *input, int32_t *output)
{
    const int8_t *weights = layer->weights;

    for (int32_t feature = 0; feature < layer->n_outputs; ++feature) {
        const pulsehr_scaling scaling =
            pulsehr_scaling_of(layer->bias, layer->multiplier, layer->shift, feature);
        int32_t sum = scaling.bias;

        for (int32_t k = 0; k < layer->n_inputs; ++k) {
            sum += *weights++ * input[k];
        }
        sum = pulsehr_requantize(&scaling, sum);
        output[feature] = pulsehr_clamp(sum, layer->low, layer->high);
    }
}
