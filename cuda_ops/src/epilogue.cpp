// The epilogue of a convolution on the CPU, its gradient, and the gradient of modulation; each one pass over memory.
#include "epilogue.h"

namespace latentedit {
namespace {

struct Shape { int64_t n, channels, height, width; };

template <class T> void forward(const Epilogue& e, const T* x, T* y, Shape s, bool last, int threads) {
    const int64_t planes = last ? 1 : s.channels, row = s.width * (last ? s.channels : 1);
    const int64_t grain = row >= 16384 ? 1 : 16384 / row;
    expect_writes(y, s.n * planes * s.height * row * int64_t(sizeof(T)));
    parallel(s.n * planes * s.height, grain, threads, [&](int64_t begin, int64_t end, int) {
        std::vector<float> buffer(row);
        int64_t current = -1;
        EpilogueRow epilogue(nullptr, 0, 0, 0);
        for (int64_t i = begin; i < end; ++i) {
            const int64_t plane = i / s.height, oy = i % s.height;
            if (current != plane / planes) {
                current = plane / planes;
                epilogue = EpilogueRow(&e, current, s.channels, s.width);
            }
            widen(x + i * row, buffer.data(), row);
            if (last) epilogue.pixels(buffer.data(), oy, 0, s.width);
            else epilogue.plane(buffer.data(), oy, 0, s.width, plane % planes);
            narrow(buffer.data(), y + i * row, row);
        }
    });
}

// Channels-last only. From dy and the output y of leaky ReLU (post absent): dx = dz * scale with dz = dy * act',
// sums[part, n, c] = sum of dz * x over pixels with x recovered from y, noise_grad[n, pixel] = sum of dz over channels.
template <class T, int A>
void gradient(const Epilogue& e, const T* dy, const T* y, T* dx, float* sums, float* noise_grad, Shape s, int parts,
              int threads) {
    const int64_t pixels = s.height * s.width, C = s.channels, length = (pixels + parts - 1) / parts;
    expect_writes(dx, s.n * pixels * C * int64_t(sizeof(T)));
    parallel(s.n * parts, 1, threads, [&](int64_t begin, int64_t end, int) {
        std::vector<float> scale(C, 1.0f), inverse(C), bias(C, 0.0f), d(C), u(C), sum(C);
        if (e.bias) bias.assign(e.bias, e.bias + C);
        const float alpha = e.alpha, gain = e.gain, clamp = e.clamp, per_gain = 1.0f / gain,
                    per_alpha = A == LRELU ? 1.0f / alpha : 0.0f;
        for (int64_t job = begin; job < end; ++job) {
            const int64_t image = job / parts, part = job % parts;
            if (e.scale) scale.assign(e.scale + image * C, e.scale + (image + 1) * C);
            sum.assign(C, 0.0f);
            const float* noise = e.noise ? e.noise + image * e.noise_stride : nullptr;
            const int64_t stop = (part + 1) * length < pixels ? (part + 1) * length : pixels;
            for (int64_t p = part * length; p < stop; ++p) {
                const int64_t at = (image * pixels + p) * C;
                widen(dy + at, d.data(), C);
                widen(y + at, u.data(), C);
                const float shift = noise ? noise[p] : 0.0f;
                float total = 0.0f;
                float* __restrict dp = d.data();
                float* __restrict up = u.data();
                float* __restrict sp = sum.data();
                const float* __restrict bp = bias.data();
                const float* __restrict cp = scale.data();
#pragma omp simd reduction(+ : total)
                for (int64_t c = 0; c < C; ++c) {
                    const float dz = bias_act_slope<A>(dp[c], up[c], alpha, gain, clamp);
                    const float a = up[c] * per_gain;
                    const float z = A == LINEAR ? a : a < 0.0f ? a * per_alpha : a;
                    sp[c] += dz * (z - (shift + bp[c]));
                    total += dz;
                    dp[c] = dz * cp[c];
                }
                if (noise_grad) noise_grad[image * pixels + p] = total;
                narrow(d.data(), dx + at, C);
            }
            float* to = sums + (part * s.n + image) * C;
            for (int64_t c = 0; c < C; ++c) to[c] = sum[c] / scale[c];
        }
    });
}

// The numbers themselves where they are float already, else their copies in `buffer`.
inline const float* direct(const float* from, float*, int64_t) { return from; }
template <class T> const float* direct(const T* from, float* buffer, int64_t n) {
    widen(from, buffer, n);
    return buffer;
}

// Channels-last only: g = gradient of x * scale. dx = g * scale, sums[part, n, c] = sum of g * x over pixels.
template <class T>
void modulation(const T* g, const T* x, const float* scale, T* dx, float* sums, Shape s, int parts, int threads) {
    const int64_t pixels = s.height * s.width, C = s.channels, length = (pixels + parts - 1) / parts;
    expect_writes(dx, s.n * pixels * C * int64_t(sizeof(T)));
    parallel(s.n * parts, 1, threads, [&](int64_t begin, int64_t end, int) {
        std::vector<float> sum(C), gs(C), xs(C);
        for (int64_t job = begin; job < end; ++job) {
            const int64_t image = job / parts, part = job % parts;
            const int64_t stop = (part + 1) * length < pixels ? (part + 1) * length : pixels;
            sum.assign(C, 0.0f);
            float* __restrict sp = sum.data();
            const float* __restrict by = scale + image * C;
            for (int64_t p = part * length; p < stop; ++p) {
                const int64_t at = (image * pixels + p) * C;
                const float* __restrict gp = direct(g + at, gs.data(), C);
                const float* __restrict xp = direct(x + at, xs.data(), C);
                float* __restrict to = std::is_same_v<T, float> ? reinterpret_cast<float*>(dx + at) : gs.data();
#pragma GCC ivdep
                for (int64_t c = 0; c < C; ++c) {
                    const float v = gp[c];
                    sp[c] += v * xp[c];
                    to[c] = v * by[c];
                }
                if constexpr (!std::is_same_v<T, float>) narrow(gs.data(), dx + at, C);
            }
            std::memcpy(sums + (part * s.n + image) * C, sp, C * sizeof(float));
        }
    });
}

}  // namespace
}  // namespace latentedit

using namespace latentedit;

// y may be x: the pass then works in place.
LE_API int le_epilogue(int dtype, const void* x, void* y, int64_t n, int64_t channels, int64_t height, int64_t width,
                       int channels_last, const Epilogue* e, int64_t threads) {
    const Shape s{n, channels, height, width};
    if (n * channels * height * width == 0) return 0;
    if (e->product) return 1;
    bool known = false;
    with_dtype(dtype, [&](auto* p) {
        using T = std::remove_pointer_t<decltype(p)>;
        if constexpr (!std::is_same_v<T, double>) {
            forward<T>(*e, static_cast<const T*>(x), static_cast<T*>(y), s, channels_last, int(threads));
            known = true;
        }
    });
    return known ? 0 : 1;
}

LE_API int le_epilogue_grad(int dtype, const void* dy, const void* y, void* dx, float* sums, float* noise_grad,
                            int64_t n, int64_t channels, int64_t height, int64_t width, int parts, const Epilogue* e,
                            int64_t threads) {
    const Shape s{n, channels, height, width};
    if (n * channels * height * width == 0) return 0;
    bool known = false;
    with_dtype(dtype, [&](auto* p) {
        using T = std::remove_pointer_t<decltype(p)>;
        if constexpr (!std::is_same_v<T, double>) {
            const auto go = [&](auto a) {
                gradient<T, decltype(a)::value>(*e, static_cast<const T*>(dy), static_cast<const T*>(y),
                                                static_cast<T*>(dx), sums, noise_grad, s, parts, int(threads));
                known = true;
            };
            if (e->act == LINEAR) go(std::integral_constant<int, LINEAR>{});
            if (e->act == LRELU) go(std::integral_constant<int, LRELU>{});
        }
    });
    return known ? 0 : 1;
}

// Channels that one entry of noise_grad sums over.
LE_API int64_t le_group(int, int64_t channels) { return channels; }

LE_API int le_modulation_grad(int dtype, const void* g, const void* x, const float* scale, void* dx, float* sums,
                              int64_t n, int64_t channels, int64_t height, int64_t width, int parts, int64_t threads) {
    const Shape s{n, channels, height, width};
    if (n * channels * height * width == 0) return 0;
    bool known = false;
    with_dtype(dtype, [&](auto* p) {
        using T = std::remove_pointer_t<decltype(p)>;
        if constexpr (!std::is_same_v<T, double>) {
            modulation<T>(static_cast<const T*>(g), static_cast<const T*>(x), scale, static_cast<T*>(dx), sums, s,
                          parts, int(threads));
            known = true;
        }
    });
    return known ? 0 : 1;
}
