// bias_act on the CPU: forward, first and second derivative, in one pass over memory.
#include <algorithm>
#include <vector>

#include "cpu.h"

namespace latentedit {
namespace {

constexpr int kBlock = 512;  // elements converted to the arithmetic type at a time; they stay in the L1 cache

struct Task {
    int order;                       // 0 forward, 1 first derivative, 2 second
    const void *x, *b, *y, *dy, *v;  // those that the order and activation need; b may be null
    void* out;
    int64_t channels, inner;  // x viewed as [outer, channels, inner]
    int act;
    double alpha, gain, clamp;
};

// u becomes the result; n is a multiple of 16 so that no loop needs a remainder.
template <class S> __attribute__((noinline)) void compute(const Task& t, S* u, S* d, S* w, int n) {
    const S alpha = S(t.alpha), gain = S(t.gain), clamp = S(t.clamp);
    with_act(t.act, [&](auto a) {
        constexpr int A = decltype(a)::value;
        if (t.order == 0) {
            for (int i = 0; i < n; ++i) u[i] = bias_act_value<A>(u[i], alpha, gain, clamp);
        } else if (t.order == 1) {
            for (int i = 0; i < n; ++i) u[i] = bias_act_slope<A>(d[i], u[i], alpha, gain, clamp);
        } else {
            for (int i = 0; i < n; ++i) u[i] = bias_act_curvature<A>(w[i], d[i], u[i], alpha, gain, clamp);
        }
    });
}

// One run of elements: `b`, one bias per element, or `bias`, one for all.
template <class T> void run(const Task& t, int64_t at, const Arith<T>* b, Arith<T> bias, int n) {
    using S = Arith<T>;
    alignas(64) S u[kBlock], d[kBlock], w[kBlock];
    const bool from_output = t.order == 1 && piecewise_linear(t.act);
    widen(static_cast<const T*>(from_output ? t.y : t.x) + at, u, n);
    if (!from_output) {
        if (b)
            for (int i = 0; i < n; ++i) u[i] += b[i];
        else
            for (int i = 0; i < n; ++i) u[i] += bias;
    }
    if (t.order >= 1) widen(static_cast<const T*>(t.dy) + at, d, n);
    if (t.order == 2) widen(static_cast<const T*>(t.v) + at, w, n);
    const int padded = (n + 15) / 16 * 16;
    for (int i = n; i < padded; ++i) u[i] = d[i] = w[i] = S(0);
    compute<S>(t, u, d, w, padded);
    narrow(u, static_cast<T*>(t.out) + at, n);
}

// One bias per element: the biases are laid side by side until they fill a block.
template <class T> void tiled(const Task& t, int64_t begin, int64_t end) {
    const int64_t C = t.channels, copies = C < kBlock ? kBlock / C : 1, length = copies * C;
    std::vector<Arith<T>> biases(length);
    for (int64_t i = 0; i < copies; ++i) widen(static_cast<const T*>(t.b), biases.data() + i * C, C);
    for (int64_t at = begin * C; at < end * C; at += length) {
        const int64_t rest = std::min(end * C - at, length);
        for (int64_t i = 0; i < rest; i += kBlock)
            run<T>(t, at + i, biases.data() + i, Arith<T>(0), int(std::min<int64_t>(rest - i, kBlock)));
    }
}

template <class T> void rows(const Task& t, int64_t begin, int64_t end) {
    if (t.b && t.inner == 1) return tiled<T>(t, begin, end);
    const T* b = static_cast<const T*>(t.b);
    for (int64_t row = begin; row < end; ++row) {
        const Arith<T> bias = b ? load(b[row % t.channels]) : Arith<T>(0);
        for (int64_t i = 0; i < t.inner; i += kBlock)
            run<T>(t, row * t.inner + i, nullptr, bias, int(std::min<int64_t>(t.inner - i, kBlock)));
    }
}

}  // namespace
}  // namespace latentedit

using namespace latentedit;

LE_API int le_bias_act(int dtype, int order, const void* x, const void* b, const void* y, const void* dy, const void* v,
                       void* out, int64_t outer, int64_t channels, int64_t inner, int act, double alpha, double gain,
                       double clamp, int64_t threads) {
    const int64_t total = outer * channels * inner;
    if (!total) return 0;
    if (!b) {  // nothing depends on the channel: any cut will do
        inner = total % 4096 == 0 ? 4096 : inner * channels;
        channels = 1;
        outer = total / inner;
    }
    const Task task{order, x, b, y, dy, v, out, channels, inner, act, alpha, gain, clamp};
    const int64_t count = b && inner > 1 ? outer * channels : outer;
    const int64_t length = total / count;
    const int64_t grain = length >= 16384 ? 1 : (16384 + length - 1) / length;
    if (act < 0 || act >= NUM_ACTS) return 1;
    const bool known = with_dtype(dtype, [&](auto* p) {
        using T = std::remove_pointer_t<decltype(p)>;
        expect_writes(out, total * int64_t(sizeof(T)));
        parallel(count, grain, int(threads), [&](int64_t i, int64_t j, int) { rows<T>(task, i, j); });
    });
    return known ? 0 : 1;
}
