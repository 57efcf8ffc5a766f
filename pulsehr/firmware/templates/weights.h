/* The layers: shape, weights and multipliers of each. */
#ifndef @upper@_WEIGHTS_H
#define @upper@_WEIGHTS_H

#include "@prefix@_kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

@records@

#ifdef __cplusplus
}
#endif

#endif
