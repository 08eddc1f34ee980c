// What the CPU kernels share: dtypes, conversion to the arithmetic type, threads, and huge pages.
#pragma once
#include <cstdint>
#include <cstring>
#include <functional>
#include <type_traits>

#include "activation.h"
#include "half.h"

#define LE_API extern "C" __attribute__((visibility("default")))

namespace latentedit {

enum Dtype { F32, F16, BF16, F64 };

template <class T> using Arith = std::conditional_t<std::is_same_v<T, double>, double, float>;

// Calls f with a null pointer of the element type that `dtype` names; false for an unknown one.
template <class F> bool with_dtype(int dtype, F&& f) {
    switch (dtype) {
        case F32: f(static_cast<float*>(nullptr)); return true;
        case F16: f(static_cast<float16*>(nullptr)); return true;
        case BF16: f(static_cast<bfloat16*>(nullptr)); return true;
        case F64: f(static_cast<double*>(nullptr)); return true;
    }
    return false;
}

// Calls f with std::integral_constant of the activation.
template <class F> bool with_act(int act, F&& f) {
    switch (act) {
#define LE_CASE(A) \
    case A: f(std::integral_constant<int, A>{}); return true
        LE_CASE(LINEAR);
        LE_CASE(RELU);
        LE_CASE(LRELU);
        LE_CASE(TANH);
        LE_CASE(SIGMOID);
        LE_CASE(ELU);
        LE_CASE(SELU);
        LE_CASE(SOFTPLUS);
        LE_CASE(SWISH);
#undef LE_CASE
    }
    return false;
}

// body(begin, end, worker) over [0, count) in pieces of `grain`, on at most `threads` threads; worker < threads.
void parallel(int64_t count, int64_t grain, int threads, const std::function<void(int64_t, int64_t, int)>& body);

// Asks for huge pages under a large buffer before it is touched first: page faults cost more than the arithmetic.
void expect_writes(void* data, int64_t bytes);

}  // namespace latentedit
