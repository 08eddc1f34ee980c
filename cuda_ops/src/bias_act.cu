// bias_act on the GPU: forward, first and second derivative; 16-byte accesses, float32 arithmetic.
#include "device.cuh"

namespace latentedit {
namespace {

struct Task {
    const void *x, *b, *y, *dy, *v;
    void* out;
    int64_t total, rows, channels, inner;  // elements; rows = outer * channels; x viewed as [outer, channels, inner]
    int act;
    float alpha, gain, clamp;
};

template <int Order, int V> struct Apply {
    float (&u)[V], (&d)[V], (&w)[V];
    const Task& t;
    template <int A> LE_DEVICE void run() {
#pragma unroll
        for (int i = 0; i < V; ++i) {
            if constexpr (Order == 0) u[i] = bias_act_value<A>(u[i], t.alpha, t.gain, t.clamp);
            else if constexpr (Order == 1) u[i] = bias_act_slope<A>(d[i], u[i], t.alpha, t.gain, t.clamp);
            else u[i] = bias_act_curvature<A>(w[i], d[i], u[i], t.alpha, t.gain, t.clamp);
        }
    }
};

// x is cut into rows of `length` elements that share a channel (inner > 1, one bias each) or hold all of them
// (inner == 1, one bias per element); without a bias there is one row. A thread keeps its channels, hence its biases.
template <class T, int Order, int V> LE_KERNEL void bias_act_kernel(Task t, uint32_t walkers) {
    const uint32_t id = blockIdx.x * kThreads + threadIdx.x;
    const bool from_output = Order == 1 && piecewise_linear(t.act), biased = t.b && !from_output;
    float bias[V];
#pragma unroll
    for (int i = 0; i < V; ++i) bias[i] = 0.0f;
    int64_t at, step, end;
    if (!t.b) {
        at = int64_t(id) * V, step = int64_t(walkers) * V, end = t.total;
    } else if (t.inner == 1) {
        const uint32_t groups = uint32_t(t.channels / V), c = id % groups * V;
        at = int64_t(id / groups) * t.channels + c, step = walkers * t.channels,
        end = id / groups < walkers ? t.total : 0;
        if (biased) read<T, V>(static_cast<const T*>(t.b) + c, bias);
    } else {
        const uint32_t row = id / walkers;
        at = row * t.inner + int64_t(id % walkers) * V, step = int64_t(walkers) * V;
        end = row < t.rows ? (row + 1) * t.inner : 0;
        if (biased) {
            const float value = load(static_cast<const T*>(t.b)[row % uint32_t(t.channels)]);
#pragma unroll
            for (int i = 0; i < V; ++i) bias[i] = value;
        }
    }
    for (; at < end; at += step) {
        float u[V], d[V], w[V];
        read<T, V>(static_cast<const T*>(from_output ? t.y : t.x) + at, u);
        if constexpr (Order >= 1) read<T, V>(static_cast<const T*>(t.dy) + at, d);
        if constexpr (Order == 2) read<T, V>(static_cast<const T*>(t.v) + at, w);
#pragma unroll
        for (int i = 0; i < V; ++i) u[i] += bias[i];
        Apply<Order, V> apply{u, d, w, t};
        with_act(t.act, apply);
        write<T, V>(static_cast<T*>(t.out) + at, u);
    }
}

template <class T, int V> int launch(const Task& t, int order, int64_t stream) {
    // At most 2^22 threads where the work allows, so that each does several accesses, and never more than it needs.
    const int64_t most = int64_t(1) << 22, groups = t.channels / V;
    int64_t walkers, threads;
    const auto share = [&](int64_t units, int64_t each) {  // walkers for `units` steps beside `each` fixed threads
        const int64_t wanted = (most + each - 1) / each;
        return units < wanted ? units : wanted;
    };
    if (!t.b) threads = walkers = share((t.total + V - 1) / V, 1);
    else if (t.inner == 1) walkers = share(t.total / t.channels, groups), threads = walkers * groups;
    else walkers = share((t.inner + V - 1) / V, t.rows), threads = walkers * t.rows;
    if (threads >= (int64_t(1) << 32) - kThreads) return -1;
    const int64_t blocks = (threads + kThreads - 1) / kThreads;
    const uint32_t w = uint32_t(walkers);
    if (order == 0) return LE_LAUNCH((bias_act_kernel<T, 0, V>), blocks, kThreads, stream, t, w);
    if (order == 1) return LE_LAUNCH((bias_act_kernel<T, 1, V>), blocks, kThreads, stream, t, w);
    return LE_LAUNCH((bias_act_kernel<T, 2, V>), blocks, kThreads, stream, t, w);
}

}  // namespace
}  // namespace latentedit

using namespace latentedit;

LE_API int le_bias_act(int dtype, int order, const void* x, const void* b, const void* y, const void* dy, const void* v,
                       void* out, int64_t outer, int64_t channels, int64_t inner, int act, double alpha, double gain,
                       double clamp, int64_t stream) {
    const Task t{
        x,        b,     y,   dy,           v,           out,         outer * channels * inner, outer * channels,
        channels, inner, act, float(alpha), float(gain), float(clamp)};
    if (!t.total) return 0;
    return with_dtype(dtype, [&](auto* p) {
        using T = std::remove_pointer_t<decltype(p)>;
        constexpr int V = 16 / sizeof(T);
        const int64_t run = !b           ? t.total
                            : inner == 1 ? channels
                                         : inner;  // length that one bias or row of biases covers
        const bool wide =
            run % V == 0 && aligned(x) && aligned(b) && aligned(y) && aligned(dy) && aligned(v) && aligned(out);
        return with_width<T>(wide, [&](auto w) { return launch<T, decltype(w)::value>(t, order, stream); });
    });
}

#ifdef __CUDACC__
LE_API const char* le_error(int status) { return cudaGetErrorString(static_cast<cudaError_t>(status)); }
#else
LE_API const char* le_error(int) { return "error in emulation"; }
#endif
LE_API int le_abi() { return 2; }
