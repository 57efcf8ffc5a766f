/*
 * Convolutions by CMSIS-NN. Its wrapper is right in every version and on every core for an input
 * that holds its padding already and just the time steps that the outputs need, as ours do.
 */
#include "pulsehr_kernels.h"

#if PULSEHR_CONV_BY_CMSIS_NN

#include "arm_nnfunctions.h"

int32_t pulsehr_conv_cmsis_nn(
    const pulsehr_layer *layer, const int8_t *input, int32_t n, int8_t *output,
    int32_t output_step, uint8_t *scratch)
{
    const int32_t n_outputs = layer->n_outputs;
    /* outputs that do not lie side by side are computed one by one */
    const int32_t n_at_once = output_step == n_outputs ? n : 1;
    const int32_t reach = (layer->kernel - 1) * layer->dilation + 1;
    int32_t *const multiplier = (int32_t *)(void *)scratch;
    int32_t *const shift = multiplier + n_outputs;
    int32_t *const bias = shift + n_outputs;
    const cmsis_nn_context context = {bias + n_outputs, 0};
    const cmsis_nn_per_channel_quant_params scales = {multiplier, shift};
    const cmsis_nn_conv_params params = {
        .input_offset = 0, /* the bias holds it */
        .output_offset = layer->output_zero,
        .stride = {.w = layer->stride, .h = 1},
        .padding = {.w = 0, .h = 0},
        .dilation = {.w = layer->dilation, .h = 1},
        .activation = {.min = INT8_MIN, .max = INT8_MAX}};
    const cmsis_nn_dims input_dims = {
        .n = 1, .h = 1, .w = (n_at_once - 1) * layer->stride + reach, .c = layer->depth};
    const cmsis_nn_dims filter_dims = {
        .n = n_outputs, .h = 1, .w = layer->kernel, .c = layer->depth};
    const cmsis_nn_dims bias_dims = {.n = 1, .h = 1, .w = 1, .c = n_outputs};
    const cmsis_nn_dims output_dims = {.n = 1, .h = 1, .w = n_at_once, .c = n_outputs};

    for (int32_t index = 0; index < n_outputs; ++index) {
        multiplier[index] = (int32_t)layer->scales[index].multiplier * (1 << 14);
        shift[index] = layer->scales[index].shift;
        bias[index] = layer->scales[index].bias;
    }
    for (int32_t done = 0; done < n; done += n_at_once) {
        const arm_cmsis_nn_status status = arm_convolve_wrapper_s8(
            &context, &params, &scales, &input_dims, input + done * layer->stride * layer->depth,
            &filter_dims, layer->weights, &bias_dims, bias, &output_dims,
            output + done * output_step);

        if (status != ARM_CMSIS_NN_SUCCESS) {
            return 0;
        }
    }
    return 1;
}

#endif
