// upfirdn2d on the CPU, optionally followed by an epilogue or by adding another image.
//
// A row of channels-last pixels is `width * inner` contiguous numbers with inner = C; a row of an NCHW plane is the
// same with inner = 1. The vertical pass of a separable filter is then one loop over contiguous memory for both.
#include <cmath>
#include <numeric>

#include "epilogue.h"

namespace latentedit {
namespace {

struct Taps { int first, tap, count; };  // out = sum over m < count of f[tap + m * up] * in[first + m]

// Every rank-1 filter is the outer product of its row and column sums over its sum.
bool factorise(const float* f, int kx, int ky, std::vector<double>& fx, std::vector<double>& fy) {
    fx.assign(kx, 0.0);
    fy.assign(ky, 0.0);
    double sum = 0, largest = 0;
    for (int j = 0; j < ky; ++j)
        for (int i = 0; i < kx; ++i) {
            fx[i] += f[j * kx + i];
            fy[j] += f[j * kx + i];
            sum += f[j * kx + i];
            largest = std::fmax(largest, std::fabs(double(f[j * kx + i])));
        }
    if (std::fabs(sum) < 1e-3 * largest || kx * ky == 1) return false;
    for (auto& v : fx) v /= sum;
    for (int j = 0; j < ky; ++j)
        for (int i = 0; i < kx; ++i)
            if (!(std::fabs(fy[j] * fx[i] - f[j * kx + i]) <= 2e-7 * largest)) return false;
    return true;
}

std::vector<Taps> plan(int64_t in, int64_t out, int up, int down, int pad, int taps) {
    std::vector<Taps> steps(out);
    for (int64_t o = 0; o < out; ++o) {
        int64_t tap = pad - o * down;  // of input pixel 0; tap of pixel i is tap + i * up
        int64_t first = tap >= 0 ? 0 : (-tap + up - 1) / up;
        tap += first * up;
        int64_t count = tap < taps ? (taps - tap + up - 1) / up : 0;
        if (first + count > in) count = in - first;
        steps[o] = {int(first), int(tap), int(count > 0 ? count : 0)};
    }
    return steps;
}

struct Job {
    int64_t images, height, width, inner, out_height, out_width;
    int up_x, down_x, kx, up_y;
    std::vector<double> fx, fy, f;  // correlation order, gain included; fx and fy only where separable
    bool separable;
    std::vector<Taps> across, along;
    int64_t inside0, inside1;  // output columns that all taps reach
};

template <class S> void across(const Job& job, const S* __restrict in, const double* f, S* __restrict out, bool add) {
    const int64_t inner = job.inner;
    const auto general = [&](int64_t x) {
        const Taps t = job.across[x];
        S* __restrict to = out + x * inner;
        if (!add) for (int64_t c = 0; c < inner; ++c) to[c] = 0;
        for (int m = 0; m < t.count; ++m) {
            const S k = f[t.tap + m * job.up_x];
            const S* __restrict from = in + (t.first + m) * inner;
            for (int64_t c = 0; c < inner; ++c) to[c] += k * from[c];
        }
    };
    const int divisor = std::gcd(job.up_x, job.down_x), step_out = job.up_x / divisor, step_in = job.down_x / divisor;
    const bool contiguous = step_out == 1 && step_in == 1;
    if (inner > 1 && !contiguous) {
        for (int64_t x = 0; x < job.out_width; ++x) {
            const Taps t = job.across[x];
            const S* __restrict a = in + t.first * inner;
            S* __restrict to = out + x * inner;
            if (t.count == 2 && !add) {
                const S k0 = f[t.tap], k1 = f[t.tap + job.up_x];
                for (int64_t c = 0; c < inner; ++c) to[c] = k0 * a[c] + k1 * a[c + inner];
            } else if (t.count == 4 && !add) {
                const S k0 = f[t.tap], k1 = f[t.tap + job.up_x], k2 = f[t.tap + 2 * job.up_x], k3 = f[t.tap + 3 * job.up_x];
                for (int64_t c = 0; c < inner; ++c)
                    to[c] = k0 * a[c] + k1 * a[c + inner] + k2 * a[c + 2 * inner] + k3 * a[c + 3 * inner];
            } else {
                general(x);
            }
        }
        return;
    }
    for (int64_t x = 0; x < job.inside0; ++x) general(x);
    for (int64_t x = job.inside1; x < job.out_width; ++x) general(x);
    for (int p = 0; p < step_out; ++p) {
        if (job.inside0 + p >= job.inside1) break;
        const int64_t n = (job.inside1 - job.inside0 - p + step_out - 1) / step_out * inner;
        const Taps t = job.across[job.inside0 + p];
        S* __restrict to = out + (job.inside0 + p) * inner;
        const S* __restrict from = in + t.first * inner;
        if (contiguous && t.count == 4 && !add) {
            const S k0 = f[0], k1 = f[1], k2 = f[2], k3 = f[3];
            for (int64_t i = 0; i < n; ++i)
                to[i] = k0 * from[i] + k1 * from[i + inner] + k2 * from[i + 2 * inner] + k3 * from[i + 3 * inner];
            continue;
        }
        if (!add) for (int64_t i = 0; i < n; ++i) to[i * step_out] = 0;
        for (int m = 0; m < t.count; ++m) {
            const S k = f[t.tap + m * job.up_x];
            const S* __restrict source = from + m * inner;
            if (contiguous) for (int64_t i = 0; i < n; ++i) to[i] += k * source[i];
            else for (int64_t i = 0; i < n; ++i) to[i * step_out] += k * source[i * step_in];
        }
    }
}

template <class T, class S> void vertical(const Job& job, const T* image, const Taps& t, S* __restrict to) {
    const int64_t length = job.width * job.inner;
    const T* __restrict row = image + t.first * length;
    const double* f = job.fy.data() + t.tap;
    const int u = job.up_y;
    if (t.count == 4) {
        const S k0 = f[0], k1 = f[u], k2 = f[2 * u], k3 = f[3 * u];
        const T *__restrict b = row + length, *__restrict c = b + length, *__restrict d = c + length;
        for (int64_t i = 0; i < length; ++i) to[i] = k0 * load(row[i]) + k1 * load(b[i]) + k2 * load(c[i]) + k3 * load(d[i]);
    } else if (t.count == 2) {
        const S k0 = f[0], k1 = f[u];
        const T* __restrict b = row + length;
        for (int64_t i = 0; i < length; ++i) to[i] = k0 * load(row[i]) + k1 * load(b[i]);
    } else {
        for (int64_t i = 0; i < length; ++i) to[i] = 0;
        for (int m = 0; m < t.count; ++m)
            for (int64_t i = 0; i < length; ++i) to[i] += S(f[m * u]) * load(row[m * length + i]);
    }
}

template <class T>
void filter_row(const Job& job, const T* image, int64_t y, Arith<T>* tmp, Arith<T>* out) {
    using S = Arith<T>;
    const Taps t = job.along[y];
    const int64_t length = job.width * job.inner;
    if (job.separable) {
        vertical(job, image, t, tmp);
        return across<S>(job, tmp, job.fx.data(), out, false);
    }
    if (t.count == 0) for (int64_t i = 0; i < job.out_width * job.inner; ++i) out[i] = 0;
    for (int m = 0; m < t.count; ++m) {
        const T* __restrict row = image + (t.first + m) * length;
        for (int64_t i = 0; i < length; ++i) tmp[i] = load(row[i]);
        across<S>(job, tmp, job.f.data() + (t.tap + m * job.up_y) * job.kx, out, m > 0);
    }
}

template <class T> void filter(const Job& job, const T* x, const T* add, T* y, int64_t channels, const Epilogue* e, int threads) {
    using S = Arith<T>;
    const int64_t row = job.out_width * job.inner, grain = row >= 16384 ? 1 : 16384 / row;
    expect_writes(y, job.images * job.out_height * row * int64_t(sizeof(T)));
    parallel(job.images * job.out_height, grain, threads, [&](int64_t begin, int64_t end, int) {
        std::vector<S> tmp(job.width * job.inner + 1), out(row + 1);
        const int64_t planes = job.inner == 1 ? channels : 1;
        int64_t current = -1;
        EpilogueRow epilogue(nullptr, 0, 0, 0);
        for (int64_t i = begin; i < end; ++i) {
            const int64_t image = i / job.out_height, oy = i % job.out_height;
            filter_row<T>(job, x + image * job.height * job.width * job.inner, oy, tmp.data(), out.data());
            if constexpr (std::is_same_v<S, float>) {
                if (e && current != image / planes) {
                    current = image / planes;
                    epilogue = EpilogueRow(e, current, channels, job.out_width);
                }
                if (job.inner == 1) epilogue.plane(out.data(), oy, image % planes);
                else epilogue.pixels(out.data(), oy, 0, job.out_width);
            }
            T* __restrict to = y + i * row;
            if (add) for (int64_t j = 0; j < row; ++j) store(to[j], S(out[j] + load(add[i * row + j])));
            else for (int64_t j = 0; j < row; ++j) store(to[j], out[j]);
        }
    });
}

}  // namespace
}  // namespace latentedit

using namespace latentedit;

// f: [ky, kx] float32, or [kx] and [ky] in a row where `separable`; correlation order if `flip`.
LE_API int le_upfirdn2d(int dtype, const void* x, const float* f, const void* add, void* y, int64_t n, int64_t channels,
                        int64_t height, int64_t width, int64_t out_height, int64_t out_width, int channels_last, int kx,
                        int ky, int separable, int up_x, int up_y, int down_x, int down_y, int pad_x, int pad_y, int flip,
                        float gain, const Epilogue* epilogue, int64_t threads) {
    if (n * channels * out_height * out_width == 0) return 0;
    if (epilogue && epilogue->product) return 1;
    Job job{};
    job.images = channels_last ? n : n * channels;
    job.inner = channels_last ? channels : 1;
    job.height = height, job.width = width, job.out_height = out_height, job.out_width = out_width;
    job.up_x = up_x, job.down_x = down_x, job.kx = kx, job.up_y = up_y;
    if (separable) {
        job.fx.assign(f, f + kx);
        job.fy.assign(f + kx, f + kx + ky);
        job.separable = true;
    } else {
        job.f.assign(f, f + kx * ky);
        job.separable = dtype != F64 && factorise(f, kx, ky, job.fx, job.fy);  // exact for float64
    }
    if (!flip) {
        job.f = std::vector<double>(job.f.rbegin(), job.f.rend());
        job.fx = std::vector<double>(job.fx.rbegin(), job.fx.rend());
        job.fy = std::vector<double>(job.fy.rbegin(), job.fy.rend());
    }
    // A separable filter carries the root of the gain per axis, rounded to float32 as the reference rounds it.
    const float root = float(std::sqrt(std::fabs(double(gain))));
    for (auto& v : job.f) v = separable ? v : double(float(v) * gain);
    for (auto& v : job.fx) v = separable ? double(float(v) * root) : v;
    for (auto& v : job.fy) v = separable ? double(float(v) * (gain < 0 ? -root : root)) : v * double(gain);
    job.across = plan(width, out_width, up_x, down_x, pad_x, kx);
    job.along = plan(height, out_height, up_y, down_y, pad_y, ky);
    const auto full = [&](int64_t o) {
        const Taps t = job.across[o];
        return t.tap < up_x && t.count == (kx - t.tap + up_x - 1) / up_x;
    };
    while (job.inside0 < out_width && !full(job.inside0)) ++job.inside0;
    job.inside1 = job.inside0;
    while (job.inside1 < out_width && full(job.inside1)) ++job.inside1;
    return with_dtype(dtype, [&](auto* p) {
        using T = std::remove_pointer_t<decltype(p)>;
        filter<T>(job, static_cast<const T*>(x), static_cast<const T*>(add), static_cast<T*>(y), channels, epilogue, int(threads));
    }) ? 0 : 1;
}
