/* Checks the library, then estimates the heart rate of a made-up window again and again. */
#include <@prefix@.h>
#include <@prefix@_self_test.h>

static uint32_t memory[@upper@_SELF_TEST_BYTES / 4 + 1];
static int8_t window[@upper@_INPUT_BYTES];

void setup() {
  Serial.begin(115200);
  int result = @prefix@_self_test(memory);
  Serial.print("self-test: ");
  Serial.println(result);  // 0: as expected
}

void loop() {
  int32_t bpm_q8;
  @prefix@_self_test_window(3, window);  // replace by your normalised window
  unsigned long start = micros();
  if (@prefix@_predict(window, memory, &bpm_q8) == @upper@_OK) {
    Serial.print(bpm_q8 / 256.0);
    Serial.print(" bpm in ");
    Serial.print(micros() - start);
    Serial.println(" us");
  }
  delay(2000);
}
