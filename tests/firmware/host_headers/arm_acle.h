/* Empty: CMSIS-NN includes it on every machine, and needs it on Arm alone. */
