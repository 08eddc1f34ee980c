// What the CUDA kernels share: dtypes, 16-byte vectors, launches. Without nvcc the same kernels compile as plain C++
// that runs the threads one after another: no kernel here uses shared memory or talks to its neighbours, so its
// arithmetic and its indexing can be tested on a machine without a GPU.
#pragma once
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "activation.h"

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#define LE_DEVICE __device__ __forceinline__
#define LE_KERNEL __global__
#define LE_LAUNCH(kernel, grid, block, stream, ...) \
    (kernel<<<static_cast<unsigned>(grid), block, 0, reinterpret_cast<cudaStream_t>(stream)>>>(__VA_ARGS__), \
     static_cast<int>(cudaGetLastError()))
#else
#include "half.h"
#define LE_DEVICE inline
#define LE_KERNEL static
#define __launch_bounds__(...)
struct Index3 { unsigned x; };
inline Index3 blockIdx, threadIdx, blockDim, gridDim;
template <class F> int emulate(unsigned grid, unsigned block, F&& thread) {
    gridDim.x = grid, blockDim.x = block;
    for (blockIdx.x = 0; blockIdx.x < grid; ++blockIdx.x)
        for (threadIdx.x = 0; threadIdx.x < block; ++threadIdx.x) thread();
    return 0;
}
#define LE_LAUNCH(kernel, grid, block, stream, ...) \
    ((void)stream, emulate(static_cast<unsigned>(grid), block, [&] { kernel(__VA_ARGS__); }))
#endif

#define LE_API extern "C" __attribute__((visibility("default")))

namespace latentedit {

enum Dtype { F32, F16, BF16 };
constexpr int kThreads = 256;

#ifdef __CUDACC__
using Half = __half;
using BFloat = __nv_bfloat16;
LE_DEVICE float load(Half x) { return __half2float(x); }
LE_DEVICE float load(BFloat x) { return __bfloat162float(x); }
LE_DEVICE void store(Half& to, float x) { to = __float2half_rn(x); }
LE_DEVICE void store(BFloat& to, float x) { to = __float2bfloat16_rn(x); }
LE_DEVICE float load(float x) { return x; }
LE_DEVICE void store(float& to, float x) { to = x; }
#else
using Half = float16;
using BFloat = bfloat16;
#endif

// V elements moved by one access: 16 bytes where V * sizeof(T) is 16.
template <class T, int V> struct alignas(sizeof(T) * V) Pack { T data[V]; };

template <class T, int V> LE_DEVICE void read(const T* from, float (&to)[V]) {
    const Pack<T, V> pack = *reinterpret_cast<const Pack<T, V>*>(from);
#pragma unroll
    for (int i = 0; i < V; ++i) to[i] = load(pack.data[i]);
}

template <class T, int V> LE_DEVICE void write(T* to, const float (&from)[V]) {
    Pack<T, V> pack;
#pragma unroll
    for (int i = 0; i < V; ++i) store(pack.data[i], from[i]);
    *reinterpret_cast<Pack<T, V>*>(to) = pack;
}

template <class F> LE_DEVICE void with_act(int act, F&& f) {  // one uniform branch, then code for one activation
    switch (act) {
#define LE_CASE(A) \
    case A: f.template run<A>(); break
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
        default: break;
    }
}

// Calls f with a null pointer of the element type; -1 for an unknown dtype.
template <class F> int with_dtype(int dtype, F&& f) {
    switch (dtype) {
        case F32: return f(static_cast<float*>(nullptr));
        case F16: return f(static_cast<Half*>(nullptr));
        case BF16: return f(static_cast<BFloat*>(nullptr));
    }
    return -1;
}

// Calls f with std::integral_constant-like Width<V>: 16-byte accesses where every address and length allows them.
template <int N> struct Width { static constexpr int value = N; };
template <class T, class F> int with_width(bool wide, F&& f) {
    return wide ? f(Width<16 / sizeof(T)>{}) : f(Width<1>{});
}
inline bool aligned(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

}  // namespace latentedit
