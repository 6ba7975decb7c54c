/* The writer's side of OTEP 4947, "Thread-Local Variable". */

#include <stddef.h>

__attribute__((visibility("default"))) __thread const void *otel_thread_ctx_v1 = NULL;

__attribute__((visibility("default"))) int attach(const void *record) {
    otel_thread_ctx_v1 = record;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    return 0;
}
