#include <stddef.h>
#include <stdint.h>

// From LLVM's FuzzerInterface; the library is the toolchain's, linked by `-sanitize=fuzzer`.
// https://llvm.org/docs/LibFuzzer.html#using-libfuzzer-as-a-library
int LLVMFuzzerRunDriver(int *argc, char ***argv, int (*input)(const uint8_t *data, size_t size));
