/* Constants of the front end; included by @prefix@_front.c alone. */
#ifndef @upper@_FRONT_TABLES_H
#define @upper@_FRONT_TABLES_H

#include <stdint.h>

@constants@

/* how a value becomes an int8: (value * multiplier + offset) >> shift, saturated */
typedef struct {
    int64_t offset;
    int32_t multiplier;
    int32_t shift;
} @prefix@_sample_scaling;

@tables@
#endif
