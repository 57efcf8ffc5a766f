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
#define PULSEHR_HIDE(variable) __asm__("" : "+r"(variable))
#else
#define PULSEHR_DSP 0
#define PULSEHR_HIDE(variable) (void)(variable)
#endif

/* sum * multiplier * 2^-32, halves up */
static inline int32_t pulsehr_high_product(int32_t sum, int32_t multiplier)
{
#if PULSEHR_DSP
    int32_t high;

    __asm__("smmulr %0, %1, %2" : "=r"(high) : "r"(sum), "r"(multiplier));
    return high;
#else
    return (int32_t)(((int64_t)sum * multiplier + INT64_C(0x80000000)) >> 32);
#endif
}

/* How a sum becomes an int8 output */
typedef struct {
    int32_t multiplier, right, offset;
} pulsehr_scaling;

static inline pulsehr_scaling pulsehr_scaling_of(const pulsehr_scale *scale, int32_t output_zero)
{
    const int32_t right = -scale->shift;
    /* half a step, and the zero of the output, before the shift to the right */
    const int32_t offset = (1 << (right - 1)) + output_zero * (1 << right);
    const pulsehr_scaling scaling = {(int32_t)scale->multiplier * (1 << 15), right, offset};

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

/* The inputs of an output: `taps` runs of `depth` bytes, the first byte of one `step` after the
 * other's. */
typedef struct {
    int32_t taps, depth, step;
} pulsehr_patch;

/* Bytes from something of the first of four outputs to that of the others */
typedef struct {
    int32_t b, c, d;
} pulsehr_steps;

/* Sums of one feature for four outputs */
typedef struct {
    int32_t a, b, c, d;
} pulsehr_sums;

/* Of n outputs, those that are missing to four lie where the last one does. */
static pulsehr_steps pulsehr_steps_of(int32_t n, int32_t step)
{
    const pulsehr_steps steps = {
        n > 1 ? step : 0, (n > 2 ? 2 : n - 1) * step, (n > 3 ? 3 : n - 1) * step};

    return steps;
}

#if PULSEHR_DSP

/* Four bytes of any address */
static inline uint32_t pulsehr_word(const void *bytes)
{
    uint32_t word;

    memcpy(&word, bytes, sizeof word);
    return word;
}

/* Lay the inputs of an output side by side; zeros fill them up to n_bytes. */
static void pulsehr_gather(
    const pulsehr_patch *patch, const int8_t *input, int32_t n_bytes, int8_t *gathered)
{
    const int8_t *const end = gathered + n_bytes;

    for (int32_t tap = 0; tap < patch->taps; ++tap) {
        for (int32_t k = 0; k < patch->depth; ++k) {
            *gathered++ = input[tap * patch->step + k];
        }
    }
    while (gathered < end) {
        *gathered++ = 0;
    }
}

/*
 * Widen the inputs of four outputs to pairs of int16: of each four bytes the even ones of all
 * outputs, then the odd ones. depth: a multiple of four.
 */
static void pulsehr_widen(
    const pulsehr_patch *patch, const int8_t *input, pulsehr_steps next, uint32_t *wide)
{
    const int32_t depth = patch->depth;

    for (int32_t tap = 0; tap < patch->taps; ++tap) {
        for (const int8_t *values = input; values < input + depth; values += 4) {
            const uint32_t a = pulsehr_word(values);
            const uint32_t b = pulsehr_word(values + next.b);
            const uint32_t c = pulsehr_word(values + next.c);
            const uint32_t d = pulsehr_word(values + next.d);

            __asm__ volatile("sxtb16 r4, %[a]\n\t"
                             "sxtb16 r5, %[b]\n\t"
                             "sxtb16 r6, %[c]\n\t"
                             "sxtb16 r8, %[d]\n\t"
                             "stmia  %[wide]!, {r4, r5, r6, r8}\n\t"
                             "sxtb16 r4, %[a], ror #8\n\t"
                             "sxtb16 r5, %[b], ror #8\n\t"
                             "sxtb16 r6, %[c], ror #8\n\t"
                             "sxtb16 r8, %[d], ror #8\n\t"
                             "stmia  %[wide]!, {r4, r5, r6, r8}"
                             : [wide] "+r"(wide)
                             : [a] "r"(a), [b] "r"(b), [c] "r"(c), [d] "r"(d)
                             : "r4", "r5", "r6", "r8", "memory");
        }
        input += patch->step;
    }
}

/* Four bytes of weights times the inputs of four outputs */
#define PULSEHR_FOUR_BYTES                                                                         \
    "ldr    %[v], [%[weights]], #4\n\t"                                                            \
    "ldmia  %[wide]!, {r4, r5, r6, r8}\n\t"                                                        \
    "sxtb16 %[w], %[v]\n\t"                                                                        \
    "smlad  %[a], %[w], r4, %[a]\n\t"                                                              \
    "smlad  %[b], %[w], r5, %[b]\n\t"                                                              \
    "smlad  %[c], %[w], r6, %[c]\n\t"                                                              \
    "smlad  %[d], %[w], r8, %[d]\n\t"                                                              \
    "ldmia  %[wide]!, {r4, r5, r6, r8}\n\t"                                                        \
    "sxtb16 %[w], %[v], ror #8\n\t"                                                                \
    "smlad  %[a], %[w], r4, %[a]\n\t"                                                              \
    "smlad  %[b], %[w], r5, %[b]\n\t"                                                              \
    "smlad  %[c], %[w], r6, %[c]\n\t"                                                              \
    "smlad  %[d], %[w], r8, %[d]\n\t"

/* Add the products of one feature; between wide and end lies a multiple of eight bytes, widened. */
static inline pulsehr_sums pulsehr_multiply(
    const int8_t *weights, const uint32_t *wide, const uint32_t *end, pulsehr_sums sums)
{
    uint32_t v, w;

    __asm__ volatile("1:\n\t" PULSEHR_FOUR_BYTES PULSEHR_FOUR_BYTES
                     "cmp    %[wide], %[end]\n\t"
                     "bne    1b"
                     : [a] "+r"(sums.a), [b] "+r"(sums.b), [c] "+r"(sums.c), [d] "+r"(sums.d),
                       [weights] "+r"(weights), [wide] "+r"(wide), [v] "=&r"(v), [w] "=&r"(w)
                     : [end] "r"(end)
                     : "r4", "r5", "r6", "r8", "cc", "memory");
    return sums;
}

#else

/* Add the products of one feature. */
static inline pulsehr_sums pulsehr_multiply(
    const pulsehr_patch *patch, const int8_t *weights, const int8_t *input, pulsehr_steps next,
    pulsehr_sums sums)
{
    for (int32_t tap = 0; tap < patch->taps; ++tap) {
        for (int32_t k = 0; k < patch->depth; ++k) {
            const int8_t *const values = input + k;
            const int32_t weight = weights[k];

            sums.a += weight * values[0];
            sums.b += weight * values[next.b];
            sums.c += weight * values[next.c];
            sums.d += weight * values[next.d];
        }
        weights += patch->depth;
        input += patch->step;
    }
    return sums;
}

#endif

void pulsehr_conv(
    const pulsehr_layer *layer, const int8_t *input, int32_t n, int8_t *output,
    int32_t output_step, uint8_t *scratch)
{
    const int32_t n_weights = layer->kernel * layer->depth;
    const int32_t stride = layer->stride * layer->depth;
    const pulsehr_patch patch = {layer->kernel, layer->depth, layer->dilation * layer->depth};

#if PULSEHR_CONV_BY_CMSIS_NN
    if (pulsehr_conv_cmsis_nn(layer, input, n, output, output_step, scratch)) {
        return;
    }
#endif
#if PULSEHR_DSP
    const int32_t n_bytes = (n_weights + 7) / 8 * 8;
    uint32_t *const wide = (uint32_t *)(void *)scratch;
    uint32_t *const end = wide + 2 * n_bytes;
#else
    (void)scratch;
#endif
    for (int32_t step = 0; step < n; step += 4) {
        const int32_t left = n - step;
        const int8_t *const values = input + step * stride;
        const pulsehr_steps next = pulsehr_steps_of(left, stride);
        const pulsehr_steps after = pulsehr_steps_of(left, output_step);
        const int8_t *weights = layer->weights;
        const pulsehr_scale *scale = layer->scales;
        int8_t *place = output + step * output_step;

#if PULSEHR_DSP
        if (layer->depth % 8 == 0) {
            pulsehr_widen(&patch, values, next, wide);
        } else {
            const pulsehr_patch whole = {1, n_bytes, 0};
            const pulsehr_steps apart = {n_bytes, 2 * n_bytes, 3 * n_bytes};
            const int32_t from[4] = {0, next.b, next.c, next.d};
            int8_t *const gathered = (int8_t *)(void *)end;

            for (int32_t k = 0; k < 4; ++k) {
                pulsehr_gather(&patch, values + from[k], n_bytes, gathered + k * n_bytes);
            }
            pulsehr_widen(&whole, gathered, apart, wide);
        }
#endif
        for (int32_t feature = 0; feature < layer->n_outputs; ++feature) {
            const pulsehr_scaling scaling = pulsehr_scaling_of(scale, layer->output_zero);
            pulsehr_sums sums = {scale->bias, scale->bias, scale->bias, scale->bias};

#if PULSEHR_DSP
            sums = pulsehr_multiply(weights, wide, end, sums);
#else
            sums = pulsehr_multiply(&patch, weights, values, next, sums);
#endif
            place[0] = (int8_t)pulsehr_output(&scaling, sums.a);
            place[after.b] = (int8_t)pulsehr_output(&scaling, sums.b);
            place[after.c] = (int8_t)pulsehr_output(&scaling, sums.c);
            place[after.d] = (int8_t)pulsehr_output(&scaling, sums.d);
            PULSEHR_HIDE(place); /* or compilers keep four pointers instead of one */
            ++place;
            ++scale;
            weights += n_weights;
        }
    }
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
            const uint32_t word = pulsehr_word(values + k);

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

void pulsehr_move_down(void *memory, int32_t step, int32_t n)
{
    int8_t *bytes = memory;
    int32_t k = 0;

    for (; k + 4 <= n; k += 4) {
        uint32_t word;

        memcpy(&word, bytes + k + step, sizeof word);
        memcpy(bytes + k, &word, sizeof word);
        PULSEHR_HIDE(bytes); /* or compilers call memmove */
    }
    for (; k < n; ++k) {
        bytes[k] = bytes[k + step];
        PULSEHR_HIDE(bytes);
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
                pulsehr_move_down(lines, used * layer->depth, held[index] * layer->depth);
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
        pulsehr_high_product(sum * (shift > 0 ? 2 << shift : 2), layer->multiplier[index]);

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
