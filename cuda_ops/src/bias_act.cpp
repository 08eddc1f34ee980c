// bias_act on the CPU: forward, first and second derivative, in one pass over memory.
#include "cpu.h"

namespace latentedit {
namespace {

constexpr int kBlock = 512;  // elements converted to the arithmetic type at a time; they stay in the L1 cache

struct Task {
    int order;                       // 0 forward, 1 first derivative, 2 second
    const void *x, *b, *y, *dy, *v;  // those that the order and activation need; b may be null
    void* out;
    int64_t channels, inner;         // x viewed as [outer, channels, inner]
    int act;
    double alpha, gain, clamp;
};

// u becomes the result; n is a multiple of 16 so that no loop needs a remainder.
template <class S> __attribute__((noinline)) void compute(const Task& t, S* u, const S* d, const S* w, int n) {
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

template <class T> void fill(Arith<T>* to, const void* from, int64_t at, int n) {
    const T* source = static_cast<const T*>(from) + at;
    for (int i = 0; i < n; ++i) to[i] = load(source[i]);
}

// One run of elements: `b`, one bias per element, or `bias`, one for all.
template <class T> void run(const Task& t, int64_t at, const T* b, Arith<T> bias, int n) {
    using S = Arith<T>;
    alignas(64) S u[kBlock], d[kBlock], w[kBlock];
    const bool from_output = t.order == 1 && piecewise_linear(t.act);
    fill<T>(u, from_output ? t.y : t.x, at, n);
    if (!from_output) {
        if (b) for (int i = 0; i < n; ++i) u[i] += load(b[i]);
        else for (int i = 0; i < n; ++i) u[i] += bias;
    }
    if (t.order >= 1) fill<T>(d, t.dy, at, n);
    if (t.order == 2) fill<T>(w, t.v, at, n);
    const int padded = (n + 15) / 16 * 16;
    for (int i = n; i < padded; ++i) u[i] = d[i] = w[i] = S(0);
    compute<S>(t, u, d, w, padded);
    T* out = static_cast<T*>(t.out) + at;
    for (int i = 0; i < n; ++i) store(out[i], u[i]);
}

template <class T> void rows(const Task& t, int64_t begin, int64_t end) {
    const T* b = static_cast<const T*>(t.b);
    const bool per_element = b && t.inner == 1;
    const int64_t length = per_element ? t.channels : t.inner;
    for (int64_t row = begin; row < end; ++row) {
        const Arith<T> bias = b && !per_element ? load(b[row % t.channels]) : Arith<T>(0);
        for (int64_t i = 0; i < length; i += kBlock)
            run<T>(t, row * length + i, per_element ? b + i : nullptr, bias,
                   int(length - i < kBlock ? length - i : kBlock));
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
    const bool known = act >= 0 && act < NUM_ACTS && with_dtype(dtype, [&](auto* p) {
        using T = std::remove_pointer_t<decltype(p)>;
        expect_writes(out, total * int64_t(sizeof(T)));
        parallel(count, grain, int(threads), [&](int64_t i, int64_t j, int) { rows<T>(task, i, j); });
    });
    return known ? 0 : 1;
}
