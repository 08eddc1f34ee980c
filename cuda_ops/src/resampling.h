// What upfirdn2d on the CPU settles before it touches a pixel: which taps meet which inputs, and how rows are cut.
//
// A row of channels-last pixels is `width * inner` contiguous numbers with inner = C; a row of an NCHW plane is the
// same with inner = 1. The vertical pass of a separable filter is then one loop over contiguous memory for both.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace latentedit {

struct Taps { int first, tap, count; };  // out = sum over m < count of f[tap + m * up] * in[first + m]

struct Chunk { int64_t x0, x1; };  // output columns of a row, few enough for the L1 cache

struct Job {
    int64_t images, height, width, inner, out_height, out_width;
    int up_x, down_x, kx, up_y, pad_x;
    std::vector<double> fx, fy, f;  // correlation order, gain included; fx and fy only where separable
    bool separable;
    std::vector<Taps> across, along;
    int64_t inside0, inside1;  // output columns that all taps reach
    std::vector<Chunk> chunks;
};

constexpr int64_t kChunk = 2048;  // numbers in a chunk of an output row

// Every rank-1 filter is the outer product of its row and column sums over its sum.
inline bool factorise(const float* f, int kx, int ky, std::vector<double>& fx, std::vector<double>& fy) {
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

inline std::vector<Taps> plan(int64_t in, int64_t out, int up, int down, int pad, int taps) {
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

// Fills in what follows from the sizes: `f` and `separable` as in le_upfirdn2d.
inline void set_filter(Job& job, const float* f, int kx, int ky, bool separable, bool exact, bool flip, float gain) {
    if (separable) {
        job.fx.assign(f, f + kx);
        job.fy.assign(f + kx, f + kx + ky);
    } else {
        job.f.assign(f, f + kx * ky);
    }
    job.separable = separable || (!exact && factorise(f, kx, ky, job.fx, job.fy));
    if (!flip)
        for (auto* taps : {&job.f, &job.fx, &job.fy}) std::reverse(taps->begin(), taps->end());
    // A separable filter carries the root of the gain per axis, rounded to float32 as the reference rounds it.
    const float root = float(std::sqrt(std::fabs(double(gain))));
    for (auto& v : job.f) v = double(float(v) * gain);
    for (auto& v : job.fx) v = separable ? double(float(v) * root) : v;
    for (auto& v : job.fy) v = separable ? double(float(v) * (gain < 0 ? -root : root)) : v * double(gain);
}

inline void set_columns(Job& job, int64_t columns) {
    job.across = plan(job.width, job.out_width, job.up_x, job.down_x, job.pad_x, job.kx);
    const auto full = [&](int64_t o) {
        const Taps t = job.across[o];
        return t.tap < job.up_x && t.count == (job.kx - t.tap + job.up_x - 1) / job.up_x;
    };
    while (job.inside0 < job.out_width && !full(job.inside0)) ++job.inside0;
    job.inside1 = job.inside0;
    while (job.inside1 < job.out_width && full(job.inside1)) ++job.inside1;
    for (int64_t x0 = 0; x0 < job.out_width; x0 += columns)
        job.chunks.push_back({x0, std::min(x0 + columns, job.out_width)});
}

}  // namespace latentedit
