// A model in TensorFlow Lite for Microcontrollers, called as generated C code is. Given on the
// command line: HEADER (of the generated code), RUN, MODEL (an array's text), KINDS, ADD_KINDS,
// ARENA; with SAY_ARENA it prints how much of the arena is used.
#include HEADER

#include <cstring>
#include <new>

#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/schema/schema_generated.h"

using Resolver = tflite::MicroMutableOpResolver<KINDS>;

alignas(16) static const unsigned char model[] = {
#include MODEL
};
alignas(16) static uint8_t arena[ARENA];
alignas(16) static uint8_t room_of_resolver[sizeof(Resolver)];
alignas(16) static uint8_t room_of_interpreter[sizeof(tflite::MicroInterpreter)];
static tflite::MicroInterpreter *interpreter;

void operator delete(void *) noexcept {}
void operator delete(void *, size_t) noexcept {}

extern "C" {
void say(const char *text);
int __real_main(void);

static void say_arena(size_t used)
{
    char digits[] = "arena 0000000000\n";
    for (char *at = digits + 15; used > 0; used /= 10)
        *at-- = static_cast<char>('0' + used % 10);
    say(digits);
}

int __wrap_main(void)
{
    auto *resolver = new (room_of_resolver) Resolver;
    ADD_KINDS;
    interpreter = new (room_of_interpreter)
        tflite::MicroInterpreter(tflite::GetModel(model), *resolver, arena, ARENA);
    if (interpreter->AllocateTensors() != kTfLiteOk)
        return 1;
#ifdef SAY_ARENA
    say_arena(interpreter->arena_used_bytes());
#endif
    return __real_main();
}

int RUN(const int8_t *input, int8_t *output, void *)
{
    memcpy(interpreter->input(0)->data.int8, input, interpreter->input(0)->bytes);
    if (interpreter->Invoke() != kTfLiteOk)
        return 1;
    memcpy(output, interpreter->output(0)->data.int8, interpreter->output(0)->bytes);
    return 0;
}
}
