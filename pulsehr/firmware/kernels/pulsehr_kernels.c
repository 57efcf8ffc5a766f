/* Integer operators in portable C: see the header for shapes. */
#include "pulsehr_kernels.h"

/* floor(value / 2^bits): C leaves the shift of a negative number to the compiler */
static int64_t pulsehr_shift_down(int64_t value, int32_t bits)
{
    return value < 0 ? ~(~value >> bits) : value >> bits;
}

/*
 * sum * multiplier * 2^(shift - 31), rounded twice as CMSIS-NN does: the high half of the doubled
 * product with halves up, then its division by a power of two with halves away from zero.
 */
static int32_t pulsehr_requantize(int32_t sum, int32_t multiplier, int32_t shift)
{
    const int32_t left = shift > 0 ? shift : 0;
    const int32_t right = shift < 0 ? -shift : 0;
    const int64_t half = ((int64_t)1 << right) >> 1;
    const int64_t product = sum * ((int64_t)1 << left) * multiplier;
    const int64_t high = pulsehr_shift_down(product + ((int64_t)1 << 30), 31);

    return (int32_t)(high < 0 ? -((half - high) >> right) : (half + high) >> right);
}

/* The output number `index` of a layer, from its sum of products */
static int32_t pulsehr_finish(const pulsehr_products *products, int32_t index, int32_t sum)
{
    const int32_t scaled =
        pulsehr_requantize(sum, products->multiplier[index], products->shift[index]);
    const int32_t value = scaled + products->output_zero;

    if (value < products->output_low) {
        return products->output_low;
    }
    return value > products->output_high ? products->output_high : value;
}

/* (input_height, input_width, input_depth) to (output_height, output_width, output_depth) */
void pulsehr_conv_s8(const pulsehr_conv_layer *layer, const int8_t *input, int8_t *output)
{
    const pulsehr_products *products = &layer->products;
    const int32_t depth = layer->input_depth;

    for (int32_t row = 0; row < layer->output_height; ++row) {
        for (int32_t step = 0; step < layer->output_width; ++step) {
            const int8_t *weights = products->weights;

            for (int32_t feature = 0; feature < layer->output_depth; ++feature) {
                int32_t sum = products->bias[feature];

                for (int32_t i = 0; i < layer->kernel_height; ++i) {
                    const int8_t *line = input + (row + i) * layer->input_width * depth;

                    for (int32_t j = 0; j < layer->kernel_width; ++j) {
                        const int32_t time = step + j * layer->dilation - layer->padding;

                        if (time >= 0 && time < layer->input_width) {
                            const int8_t *values = line + time * depth;

                            for (int32_t k = 0; k < depth; ++k) {
                                sum += weights[k] * (values[k] - products->input_zero);
                            }
                        }
                        weights += depth;
                    }
                }
                *output++ = (int8_t)pulsehr_finish(products, feature, sum);
            }
        }
    }
}

/* (height, input_width, depth) to (height, output_width, depth), halves away from zero */
void pulsehr_mean_pool_s8(const pulsehr_mean_pool_layer *layer, const int8_t *input, int8_t *output)
{
    for (int32_t row = 0; row < layer->height; ++row) {
        const int8_t *line = input + row * layer->input_width * layer->depth;

        for (int32_t group = 0; group < layer->output_width; ++group) {
            const int32_t first = group * layer->size;
            const int32_t left = layer->input_width - first;
            const int32_t count = left < layer->size ? left : layer->size;

            for (int32_t feature = 0; feature < layer->depth; ++feature) {
                const int8_t *values = line + first * layer->depth + feature;
                int32_t sum = 0;

                for (int32_t i = 0; i < count; ++i) {
                    sum += values[i * layer->depth];
                }
                sum += sum < 0 ? -(count / 2) : count / 2;
                *output++ = (int8_t)(sum / count);
            }
        }
    }
}

/* int8 (n_inputs) to int16 (n_outputs) */
void pulsehr_dense_s8_s16(const pulsehr_dense_layer *layer, const int8_t *input, int16_t *output)
{
    const pulsehr_products *products = &layer->products;
    const int8_t *weights = products->weights;

    for (int32_t feature = 0; feature < layer->n_outputs; ++feature) {
        int32_t sum = products->bias[feature];

        for (int32_t k = 0; k < layer->n_inputs; ++k) {
            sum += *weights++ * (input[k] - products->input_zero);
        }
        output[feature] = (int16_t)pulsehr_finish(products, feature, sum);
    }
}

/* int16 (n_inputs) to int32 (n_outputs) */
void pulsehr_dense_s16_s32(const pulsehr_dense_layer *layer, const int16_t *input, int32_t *output)
{
    const pulsehr_products *products = &layer->products;
    const int8_t *weights = products->weights;

    for (int32_t feature = 0; feature < layer->n_outputs; ++feature) {
        int32_t sum = products->bias[feature];

        for (int32_t k = 0; k < layer->n_inputs; ++k) {
            sum += *weights++ * (input[k] - products->input_zero);
        }
        output[feature] = pulsehr_finish(products, feature, sum);
    }
}
