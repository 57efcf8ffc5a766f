/* Integer operators in C11, faster on cores with the DSP instructions of Arm: see the header. */
#include "pulsehr_kernels.h"

#include <stddef.h>
#include <string.h>

_Static_assert((-1 >> 1) == -1, "the compiler must shift negative numbers arithmetically");
_Static_assert((int8_t)-1 == -1, "integers must be of two's complement");

/* GNU assembler in Thumb that loads words of any address; without optimisation registers run out */
#if defined(__ARM_FEATURE_SIMD32) && defined(__ARM_FEATURE_UNALIGNED) && defined(__thumb2__) && \
    defined(__GNUC__) && defined(__OPTIMIZE__) && !defined(PULSEHR_NO_DSP)
#define PULSEHR_DSP 1
#else
#define PULSEHR_DSP 0
#endif

/* sum * multiplier * 2^-31, halves up; |sum| is under 2^30 */
static inline int32_t pulsehr_high_product(int32_t sum, int32_t multiplier)
{
#if PULSEHR_DSP
    int32_t high;

    __asm__("smmulr %0, %1, %2" : "=r"(high) : "r"(sum * 2), "r"(multiplier));
    return high;
#else
    return (int32_t)(((int64_t)sum * 2 * multiplier + INT64_C(0x80000000)) >> 32);
#endif
}

/* What turns a sum into an int8 output: its shift is from -20 to -1. */
typedef struct {
    int32_t bias, multiplier, right, offset;
} pulsehr_scaling;

static inline pulsehr_scaling pulsehr_scaling_of(const pulsehr_layer *layer, int32_t index)
{
    const int32_t right = -layer->shift[index];
    /* half a step, and the zero of the output, before the shift to the right */
    const int32_t offset = (1 << (right - 1)) + layer->output_zero * (1 << right);
    const int32_t multiplier = (int32_t)layer->multiplier[index] * PULSEHR_MULTIPLIER_UNIT;
    const pulsehr_scaling scaling = {layer->bias[index], multiplier, right, offset};

    return scaling;
}

/*
 * The output of a sum, rounded twice as CMSIS-NN does: the high half of the doubled product with
 * halves up, then its division by a power of two with halves away from zero.
 */
static inline int32_t pulsehr_output(const pulsehr_scaling *scaling, int32_t sum)
{
    const int32_t high = pulsehr_high_product(sum, scaling->multiplier);
    int32_t value = (high + (high >> 31) + scaling->offset) >> scaling->right;

#if PULSEHR_DSP
    __asm__("ssat %0, #8, %0" : "+r"(value));
#else
    value = value < INT8_MIN ? INT8_MIN : value;
    value = value > INT8_MAX ? INT8_MAX : value;
#endif
    return value;
}

/* Where the inputs of an output lie: `taps` runs of `depth` bytes, with a gap between them. */
typedef struct {
    const int8_t *input;
    int32_t taps, depth, gap, stride; /* stride: bytes from output to output */
    int32_t rounds;                   /* of eight bytes in a tap */
    const uint32_t *end;              /* of the widened weights */
} pulsehr_patches;

/* Sums of the first feature for two outputs, then of the second feature. */
typedef struct {
    int32_t a, b, c, d;
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

/* Up to four bytes of any address, those after n as zero */
static inline uint32_t pulsehr_bytes(const int8_t *values, int32_t n)
{
    uint32_t word = 0;

    if (n >= 4) {
        memcpy(&word, values, 4);
    } else {
        while (n > 0) {
            --n;
            word = word << 8 | (uint8_t)values[n];
        }
    }
    return word;
}

/* Of four bytes of two rows the even ones, then the odd ones, as pairs of int16 */
static inline uint32_t *pulsehr_widen_four(uint32_t one, uint32_t two, uint32_t *wide)
{
    wide[0] = pulsehr_even(one);
    wide[1] = pulsehr_even(two);
    wide[2] = pulsehr_odd(one);
    wide[3] = pulsehr_odd(two);
    return wide + 4;
}

/* Widen two rows of n weights; zeros fill them up to n_bytes. */
static void pulsehr_widen(
    const int8_t *first, const int8_t *second, int32_t n, int32_t n_bytes, uint32_t *wide)
{
    int32_t k = 0;

    for (; k + 4 <= n; k += 4) {
        wide = pulsehr_widen_four(pulsehr_bytes(first + k, 4), pulsehr_bytes(second + k, 4), wide);
    }
    for (; k < n_bytes; k += 4) {
        const uint32_t one = pulsehr_bytes(first + k, n - k);

        wide = pulsehr_widen_four(one, pulsehr_bytes(second + k, n - k), wide);
    }
}

/* Lay the inputs of each output side by side, each run filled up to n_bytes; returns the runs. */
static pulsehr_patches pulsehr_gather(
    const pulsehr_patches *patches, int32_t n, int32_t n_bytes, int8_t *gathered)
{
    const pulsehr_patches result = {gathered, 1, n_bytes, 0, n_bytes, n_bytes / 8, patches->end};

    memset(gathered, 0, (size_t)(n * n_bytes));
    for (int32_t step = 0; step < n; ++step) {
        const int8_t *input = patches->input + step * patches->stride;
        int8_t *place = gathered + step * n_bytes;

        for (int32_t tap = 0; tap < patches->taps; ++tap) {
            for (int32_t k = 0; k < patches->depth; ++k) {
                *place++ = *input++;
            }
            input += patches->gap;
        }
    }
    return result;
}

#if defined(__clang__)

/* sum + the products of two pairs */
static inline int32_t pulsehr_two_products(uint32_t one, uint32_t two, int32_t sum)
{
    int32_t result;

    __asm__("smlad %0, %1, %2, %3" : "=r"(result) : "r"(one), "r"(two), "r"(sum));
    return result;
}

/* As below, for a compiler that finds too few registers for so many operands of assembler */
static inline pulsehr_sums pulsehr_multiply(
    const pulsehr_patches *patches, const int8_t *input, int32_t next, const uint32_t *weights,
    pulsehr_sums sums)
{
    while (weights != patches->end) {
        for (int32_t count = 2 * patches->rounds; count > 0; --count) {
            const uint32_t x = pulsehr_bytes(input, 4);
            const uint32_t y = pulsehr_bytes(input + next, 4);

            sums.a = pulsehr_two_products(pulsehr_even(x), weights[0], sums.a);
            sums.b = pulsehr_two_products(pulsehr_even(y), weights[0], sums.b);
            sums.c = pulsehr_two_products(pulsehr_even(x), weights[1], sums.c);
            sums.d = pulsehr_two_products(pulsehr_even(y), weights[1], sums.d);
            sums.a = pulsehr_two_products(pulsehr_odd(x), weights[2], sums.a);
            sums.b = pulsehr_two_products(pulsehr_odd(y), weights[2], sums.b);
            sums.c = pulsehr_two_products(pulsehr_odd(x), weights[3], sums.c);
            sums.d = pulsehr_two_products(pulsehr_odd(y), weights[3], sums.d);
            input += 4;
            weights += 4;
        }
        input += patches->gap;
    }
    return sums;
}

#else

/* Four products for each of the four sums. In assembler, as compilers run out of registers. */
#define PULSEHR_FOUR_PRODUCTS                                                                      \
    "ldr    %[y], [%[input], %[next]]\n\t"                                                         \
    "ldr    %[x], [%[input]], #4\n\t"                                                              \
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

/* next: bytes to the second output's input. What is needed once for a tap stays in memory. */
static inline pulsehr_sums pulsehr_multiply(
    const pulsehr_patches *patches, const int8_t *input, int32_t next, const uint32_t *weights,
    pulsehr_sums sums)
{
    int32_t count;
    uint32_t x, y, t, v, w;

    __asm__ volatile("1:\n\t"
                     "ldr  %[count], %[rounds]\n\t"
                     "2:\n\t" PULSEHR_FOUR_PRODUCTS PULSEHR_FOUR_PRODUCTS
                     "subs %[count], %[count], #1\n\t"
                     "bne  2b\n\t"
                     "ldr  %[x], %[gap]\n\t"
                     "ldr  %[y], %[end]\n\t"
                     "add  %[input], %[input], %[x]\n\t"
                     "cmp  %[weights], %[y]\n\t"
                     "bne  1b"
                     : [a] "+r"(sums.a), [b] "+r"(sums.b), [c] "+r"(sums.c), [d] "+r"(sums.d),
                       [input] "+r"(input), [weights] "+r"(weights), [count] "=&r"(count),
                       [x] "=&r"(x), [y] "=&r"(y), [t] "=&r"(t), [v] "=&r"(v), [w] "=&r"(w)
                     : [next] "r"(next), [rounds] "m"(patches->rounds), [gap] "m"(patches->gap),
                       [end] "m"(patches->end)
                     : "cc", "memory");
    return sums;
}

#endif

#else

/* first and second: the weights of both features; next: bytes to the second output's input */
static inline pulsehr_sums pulsehr_multiply(
    const pulsehr_patches *patches, const int8_t *input, int32_t next, const int8_t *first,
    const int8_t *second, pulsehr_sums sums)
{
    for (int32_t tap = 0; tap < patches->taps; ++tap) {
        const int8_t *const after = input + next;

        for (int32_t k = 0; k < patches->depth; ++k) {
            sums.a += first[k] * input[k];
            sums.b += first[k] * after[k];
            sums.c += second[k] * input[k];
            sums.d += second[k] * after[k];
        }
        first += patches->depth;
        second += patches->depth;
        input += patches->depth + patches->gap;
    }
    return sums;
}

#endif

/* Cut n outputs to low or more, beyond what int8 does; a ReLU has its zero there already. */
static void pulsehr_cut(
    const pulsehr_layer *layer, int8_t *output, int32_t n, int32_t output_step)
{
    if (layer->low == INT8_MIN) {
        return;
    }
    for (int32_t step = 0; step < n; ++step) {
        for (int32_t feature = 0; feature < layer->n_outputs; ++feature) {
            if (output[feature] < layer->low) {
                output[feature] = layer->low;
            }
        }
        output += output_step;
    }
}

void pulsehr_conv(
    const pulsehr_layer *layer, const int8_t *input, int32_t n, int8_t *output,
    int32_t output_step, uint8_t *scratch)
{
    const int32_t depth = layer->depth;
    const int32_t n_weights = layer->kernel * depth;
    pulsehr_patches patches = {
        input, layer->kernel, depth, (layer->dilation - 1) * depth, layer->stride * depth,
        depth / 8, NULL};

#if PULSEHR_CONV_BY_CMSIS_NN
    if (pulsehr_conv_cmsis_nn(layer, input, n, output, output_step, scratch)) {
        return;
    }
#endif
#if PULSEHR_DSP
    const int32_t n_bytes = (n_weights + 7) / 8 * 8;
    uint32_t *const wide = (uint32_t *)(void *)scratch;

    patches.end = wide + n_bytes;
    if (depth % 8 != 0) {
        patches = pulsehr_gather(&patches, n, n_bytes, (int8_t *)(wide + n_bytes));
    }
#else
    (void)scratch;
#endif
    const int32_t next = n > 1 ? patches.stride : 0;
    const int32_t after = n > 1 ? output_step : 0;

    for (int32_t feature = 0; feature < layer->n_outputs; feature += 2) {
        /* of an odd number of features or of outputs, one is computed twice */
        const int32_t other = feature + 1 < layer->n_outputs ? 1 : 0;
        const int8_t *const first = layer->weights + feature * n_weights;
        const int8_t *const second = first + other * n_weights;
        const pulsehr_scaling one = pulsehr_scaling_of(layer, feature);
        const pulsehr_scaling two = pulsehr_scaling_of(layer, feature + other);
        const int8_t *values = patches.input;
        int8_t *place = output + feature;

#if PULSEHR_DSP
        pulsehr_widen(first, second, n_weights, n_bytes, wide);
#endif
        for (int32_t left = n; left > 0; left -= 2) {
            pulsehr_sums sums = {one.bias, one.bias, two.bias, two.bias};

#if PULSEHR_DSP
            sums = pulsehr_multiply(&patches, values, next, wide, sums);
#else
            sums = pulsehr_multiply(&patches, values, next, first, second, sums);
#endif
            place[0] = (int8_t)pulsehr_output(&one, sums.a);
            place[after] = (int8_t)pulsehr_output(&one, sums.b);
            place += other;
            place[0] = (int8_t)pulsehr_output(&two, sums.c);
            place[after] = (int8_t)pulsehr_output(&two, sums.d);
            place -= other;
            if (left != 3) {
                values += next;
                place += after;
            }
            values += next;
            place += after;
        }
    }
    pulsehr_cut(layer, output, n, output_step);
}

/* A sum over a count, halves away from zero; both are small */
static inline int8_t pulsehr_mean(int32_t sum, int32_t count)
{
    const int32_t half = (int32_t)((uint32_t)count >> 1);

    return (int8_t)((sum + (sum < 0 ? -half : half)) / count);
}

/* Means of `count` steps: (count, depth) to (depth) */
static void pulsehr_mean_of_steps(
    const int8_t *values, int32_t count, int32_t depth, int8_t *output)
{
    int32_t feature = 0;

#if PULSEHR_DSP
    for (; count < 256 && feature + 4 <= depth; feature += 4) {
        uint32_t even = 0, odd = 0; /* two sums of 16 bits in each */

        for (int32_t k = feature; k < count * depth; k += depth) {
            const uint32_t word = pulsehr_bytes(values + k, 4);

            __asm__("sxtab16 %0, %0, %1" : "+r"(even) : "r"(word));
            __asm__("sxtab16 %0, %0, %1, ror #8" : "+r"(odd) : "r"(word));
        }
        output[feature] = pulsehr_mean((int16_t)even, count);
        output[feature + 1] = pulsehr_mean((int16_t)odd, count);
        output[feature + 2] = pulsehr_mean((int32_t)even >> 16, count);
        output[feature + 3] = pulsehr_mean((int32_t)odd >> 16, count);
    }
#endif
    for (; feature < depth; ++feature) {
        int32_t sum = 0;

        for (int32_t k = feature; k < count * depth; k += depth) {
            sum += values[k];
        }
        output[feature] = pulsehr_mean(sum, count);
    }
}

/* n means of `kernel` steps, the last of what is left of those held */
static void pulsehr_mean_pool(
    const pulsehr_layer *layer, const int8_t *input, int32_t held, int32_t n, int8_t *output,
    int32_t output_step)
{
    for (int32_t step = 0; step < n; ++step) {
        const int32_t count = held < layer->kernel ? held : layer->kernel;

        pulsehr_mean_of_steps(input, count, layer->depth, output);
        held -= count;
        input += count * layer->depth;
        output += output_step;
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

/* A sum as an integer of any width, rounded twice; shift: of either sign */
static int32_t pulsehr_wide_output(const pulsehr_dense_layer *layer, int32_t index, int32_t sum)
{
    const int32_t shift = layer->shift[index];
    int32_t value =
        pulsehr_high_product(shift > 0 ? sum * (1 << shift) : sum, layer->multiplier[index]);

    if (shift < 0) {
        value = (value + (value >> 31) + (1 << (-shift - 1))) >> -shift;
    }
    value = value < layer->low ? layer->low : value;
    return value > layer->high ? layer->high : value;
}

void pulsehr_dense_s8_s16(const pulsehr_dense_layer *layer, const int8_t *input, int16_t *output)
{
    const int8_t *weights = layer->weights;

    for (int32_t feature = 0; feature < layer->n_outputs; ++feature) {
        int32_t sum = layer->bias[feature];

        for (int32_t k = 0; k < layer->n_inputs; ++k) {
            sum += *weights++ * input[k];
        }
        output[feature] = (int16_t)pulsehr_wide_output(layer, feature, sum);
    }
}

void pulsehr_dense_s16_s32(const pulsehr_dense_layer *layer, const int16_t *input, int32_t *output)
{
    const int8_t *weights = layer->weights;

    for (int32_t feature = 0; feature < layer->n_outputs; ++feature) {
        int32_t sum = layer->bias[feature];

        for (int32_t k = 0; k < layer->n_inputs; ++k) {
            sum += *weights++ * input[k];
        }
        output[feature] = pulsehr_wide_output(layer, feature, sum);
    }
}
