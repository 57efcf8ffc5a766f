
# needed on cores with Helium: folders of CMSIS-NN and CMSIS-Core
CMSIS_CORE_DIR ?= $(patsubst %/Include/cmsis_compiler.h,%,$(firstword $(wildcard \
	$(addsuffix /Include/cmsis_compiler.h,$(addprefix $(CMSIS_NN_DIR)/,@core_places@)))))
ifneq ($(CMSIS_NN_DIR),)
INCLUDES := -isystem $(CMSIS_NN_DIR)/Include -isystem $(CMSIS_CORE_DIR)/Include
ifneq ($(filter cortex-m55 cortex-m85,$(CORE)),)
LIBRARY := $(shell find -L $(CMSIS_NN_DIR)/Source -name '*.c')
endif
else ifneq ($(filter cortex-m55 cortex-m85,$(CORE)),)
ifeq ($(findstring -D@upper@_CMSIS_NN=0,$(CFLAGS)),)
$(error set CMSIS_NN_DIR (and CMSIS_CORE_DIR) to your copy, or CFLAGS='-O2 -D@upper@_CMSIS_NN=0')
endif
endif
