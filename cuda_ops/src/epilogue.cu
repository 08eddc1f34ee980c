// The epilogue of a convolution on the GPU, its gradient, and the gradient of modulation; each one pass over memory.
#include "epilogue.cuh"

namespace latentedit {
namespace {

struct Shape { int64_t n, channels, height, width; };

// A thread keeps one image and V channels and walks over pixels, so that the vectors stay in registers.
// Channels-last: neighbours differ in channel, then in pixel. NCHW (`last` false): V pixels of one channel.
struct Walk {
    int64_t image, channel, first, step, pixels;
    bool valid;
};

template <int V> LE_DEVICE Walk walk(const Shape& s, int64_t walkers) {
    const uint32_t id = blockIdx.x * kThreads + threadIdx.x, groups = uint32_t(s.channels / V), rest = id / groups;
    const uint32_t image = rest / uint32_t(walkers), channel = id % groups * V, walker = rest % uint32_t(walkers);
    return {image, channel, walker, walkers, s.height * s.width, image < s.n};
}

template <class T, int V> LE_KERNEL void epilogue_last_kernel(Epilogue e, const T* x, T* y, Shape s, int64_t walkers) {
    const Walk w = walk<V>(s, walkers);
    if (!w.valid) return;
    EpilogueVectors<V, AnyAct> vectors;
    vectors.fill(e, w.image, w.channel, s.channels);
    for (int64_t p = w.first; p < w.pixels; p += w.step) {
        const int64_t at = (w.image * w.pixels + p) * s.channels + w.channel;
        float u[V];
        read<T, V>(x + at, u);
        vectors.apply(e, w.image, p, u);
        deliver<T, V, 1>(e, w.image * s.channels + w.channel, y, at, u);
    }
}

template <class T, int V> LE_KERNEL void epilogue_plane_kernel(Epilogue e, const T* x, T* y, Shape s, int64_t walkers) {
    const uint32_t id = blockIdx.x * kThreads + threadIdx.x;
    const int64_t pixels = s.height * s.width, plane = id / uint32_t(walkers);
    const int64_t image = uint32_t(plane) / uint32_t(s.channels), channel = uint32_t(plane) % uint32_t(s.channels);
    if (image >= s.n) return;
    const float scale = e.scale ? e.scale[plane] : 1.0f, bias = e.bias ? e.bias[channel] : 0.0f;
    for (int64_t p = int64_t(id % uint32_t(walkers)) * V; p < pixels; p += walkers * V) {
        float u[V], noise[V];
        read<T, V>(x + plane * pixels + p, u);
        vector_of<V>(e.noise, image * e.noise_stride + p, 0.0f, noise);
#pragma unroll
        for (int i = 0; i < V; ++i) u[i] = u[i] * scale + (noise[i] + bias);
        AnyAct::apply(e, u);
        deliver<T, V, 0>(e, plane, y, plane * pixels + p, u);
    }
}

// Thread (part, n, V channels) sums over the pixels of its part; see epilogue.cpp. noise_grad:
// [n, channels / V, pixels].
template <class T, int V, int A>
LE_KERNEL void epilogue_grad_kernel(Epilogue e, const T* dy, const T* y, T* dx, float* sums, float* noise_grad, Shape s,
                                    int64_t parts) {
    const Walk w = walk<V>(s, parts);
    if (!w.valid) return;
    const float per_gain = 1.0f / e.gain, per_alpha = A == LRELU ? 1.0f / e.alpha : 0.0f;
    EpilogueVectors<V, AnyAct> vectors;
    vectors.fill(e, w.image, w.channel, s.channels);
    float sum[V];
#pragma unroll
    for (int i = 0; i < V; ++i) sum[i] = 0.0f;
    for (int64_t p = w.first; p < w.pixels; p += w.step) {
        const int64_t at = (w.image * w.pixels + p) * s.channels + w.channel;
        float d[V], u[V], total = 0.0f;
        read<T, V>(dy + at, d);
        read<T, V>(y + at, u);
        const float shift = e.noise ? e.noise[w.image * e.noise_stride + p] : 0.0f;
#pragma unroll
        for (int i = 0; i < V; ++i) {
            const float dz = bias_act_slope<A>(d[i], u[i], e.alpha, e.gain, e.clamp);
            const float a = u[i] * per_gain;
            const float z = A == LINEAR ? a : a < 0.0f ? a * per_alpha : a;
            sum[i] += dz * (z - (shift + vectors.bias[i]));
            total += dz;
            d[i] = dz * vectors.scale[i];
        }
        write<T, V>(dx + at, d);
        if (noise_grad) noise_grad[(w.image * (s.channels / V) + w.channel / V) * w.pixels + p] = total;
    }
#pragma unroll
    for (int i = 0; i < V; ++i)
        sums[(w.first * s.n + w.image) * s.channels + w.channel + i] = sum[i] / vectors.scale[i];
}

template <class T, int V>
LE_KERNEL void modulation_grad_kernel(const T* g, const T* x, const float* scale, T* dx, float* sums, Shape s,
                                      int64_t parts) {
    const Walk w = walk<V>(s, parts);
    if (!w.valid) return;
    float by[V], sum[V];
    vector_of<V>(scale, w.image * s.channels + w.channel, 1.0f, by);
#pragma unroll
    for (int i = 0; i < V; ++i) sum[i] = 0.0f;
    for (int64_t p = w.first; p < w.pixels; p += w.step) {
        const int64_t at = (w.image * w.pixels + p) * s.channels + w.channel;
        float a[V], b[V];
        read<T, V>(g + at, a);
        read<T, V>(x + at, b);
#pragma unroll
        for (int i = 0; i < V; ++i) sum[i] += a[i] * b[i], a[i] *= by[i];
        write<T, V>(dx + at, a);
    }
#pragma unroll
    for (int i = 0; i < V; ++i) sums[(w.first * s.n + w.image) * s.channels + w.channel + i] = sum[i];
}

int64_t grid(int64_t threads) { return (threads + kThreads - 1) / kThreads; }

// Thread indices are 32 bits wide, addresses 64.
bool countable(int64_t threads) { return threads < (int64_t(1) << 32) - kThreads; }

// Walkers per image: enough threads to fill any GPU, at least four pixels each.
int64_t walkers_for(const Shape& s, int64_t groups, int64_t items) {
    const int64_t wanted = ((int64_t(1) << 19) + s.n * groups - 1) / (s.n * groups), most = (items + 3) / 4;
    return wanted < most ? wanted : most;
}

}  // namespace
}  // namespace latentedit

using namespace latentedit;

LE_API int le_epilogue(int dtype, const void* x, void* y, int64_t n, int64_t channels, int64_t height, int64_t width,
                       int channels_last, const Epilogue* e, int64_t stream) {
    const Shape s{n, channels, height, width};
    if (n * channels * height * width == 0) return 0;
    if (!countable(n * channels + (int64_t(1) << 19))) return -1;
    return with_dtype(dtype, [&](auto* p) {
        using T = std::remove_pointer_t<decltype(p)>;
        const int64_t run = channels_last ? channels : height * width;
        const bool wide = run % (16 / sizeof(T)) == 0 && aligned(x) && aligned(y) && aligned(e->product);
        return with_width<T>(wide, [&](auto v) {
            constexpr int V = decltype(v)::value;
            const T* from = static_cast<const T*>(x);
            T* to = static_cast<T*>(y);
            if (channels_last) {
                const int64_t walkers = walkers_for(s, channels / V, height * width);
                return LE_LAUNCH((epilogue_last_kernel<T, V>), grid(n * walkers * (channels / V)), kThreads, stream, *e,
                                 from, to, s, walkers);
            }
            const int64_t walkers = walkers_for(s, channels, height * width / V);
            return LE_LAUNCH((epilogue_plane_kernel<T, V>), grid(n * walkers * channels), kThreads, stream, *e, from,
                             to, s, walkers);
        });
    });
}

// Width of the accesses of the gradients, which is also how many channels one entry of noise_grad sums over.
LE_API int64_t le_group(int dtype, int64_t channels) {
    const int wide = dtype == F32 ? 4 : 8;
    return channels % wide == 0 ? wide : 1;
}

LE_API int le_epilogue_grad(int dtype, const void* dy, const void* y, void* dx, float* sums, float* noise_grad,
                            int64_t n, int64_t channels, int64_t height, int64_t width, int parts, const Epilogue* e,
                            int64_t stream) {
    const Shape s{n, channels, height, width};
    if (n * channels * height * width == 0) return 0;
    if ((e->act != LINEAR && e->act != LRELU) || !countable(n * channels * parts) || !aligned(dy) || !aligned(y) ||
        !aligned(dx))
        return -1;
    return with_dtype(dtype, [&](auto* p) {
        using T = std::remove_pointer_t<decltype(p)>;
        return with_width<T>(le_group(dtype, channels) > 1, [&](auto v) {
            constexpr int V = decltype(v)::value;
            const T *gradient = static_cast<const T*>(dy), *output = static_cast<const T*>(y);
            T* to = static_cast<T*>(dx);
            const int64_t blocks = grid(n * parts * (channels / V));
            if (e->act == LINEAR)
                return LE_LAUNCH((epilogue_grad_kernel<T, V, LINEAR>), blocks, kThreads, stream, *e, gradient, output,
                                 to, sums, noise_grad, s, int64_t(parts));
            return LE_LAUNCH((epilogue_grad_kernel<T, V, LRELU>), blocks, kThreads, stream, *e, gradient, output, to,
                             sums, noise_grad, s, int64_t(parts));
        });
    });
}

LE_API int le_modulation_grad(int dtype, const void* g, const void* x, const float* scale, void* dx, float* sums,
                              int64_t n, int64_t channels, int64_t height, int64_t width, int parts, int64_t stream) {
    const Shape s{n, channels, height, width};
    if (n * channels * height * width == 0) return 0;
    if (!countable(n * channels * parts)) return -1;
    return with_dtype(dtype, [&](auto* p) {
        using T = std::remove_pointer_t<decltype(p)>;
        const bool wide = channels % (16 / sizeof(T)) == 0 && aligned(g) && aligned(x) && aligned(dx);
        return with_width<T>(wide, [&](auto v) {
            constexpr int V = decltype(v)::value;
            return LE_LAUNCH((modulation_grad_kernel<T, V>), grid(n * parts * (channels / V)), kThreads, stream,
                             static_cast<const T*>(g), static_cast<const T*>(x), scale, static_cast<T*>(dx), sums, s,
                             int64_t(parts));
        });
    });
}
